"""What the ports are made of: one module for each technology."""
