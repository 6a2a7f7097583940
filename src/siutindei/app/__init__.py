"""The use cases: they import the domain, and reach everything else through ports."""
