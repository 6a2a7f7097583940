"""The ways in: each parses what came, makes one call, and renders what it gave."""
