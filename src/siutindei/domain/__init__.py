"""The rules: standard library and attrs, nothing else."""
