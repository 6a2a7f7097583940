"""`python -m siutindei.entrypoints.cli` is `siutindei`."""

from siutindei.entrypoints.cli import main

main()
