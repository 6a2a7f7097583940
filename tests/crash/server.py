"""A PostgreSQL server that is killed, at any moment or at the worst one, and started again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg

from siutindei.adapters.postgres import PostgresSchema
from tests.postgres import start_server

T = TypeVar("T")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: How long to wait for what happens at once.
SECONDS: Final = 30


class Server:
    """A server of the test's own: what was committed survives the death of its processes."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._server: Any = start_server(survives_death=True)

    def database(self) -> str:
        """Make a migrated database without an event, and give its address."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        PostgresSchema(self._url(name)).migrate()
        return self._url(name)

    def _url(self, database: str | None = None) -> str:
        return str(self._server.get_uri(database=database))

    def kill(self) -> None:
        """Kill every process of it at once: nobody says goodbye, and nothing is tidied up."""
        info: Any = self._server.get_postmaster_info()
        process = info.process
        # Stopped first, it starts no other process meanwhile, and mends nothing.
        process.suspend()
        family = [*process.children(recursive=True), process]
        for member in family:
            member.kill()
        wait(lambda: not any(map(_lives, family)))
        # Somebody may take long to fetch what is left of it, and it would be taken for alive.
        (self._server.pgdata / "postmaster.pid").unlink()
        info.socket_path.with_suffix(".5432.lock").unlink()

    def start(self) -> None:
        """Start it again: it recovers by itself from what it had written."""
        # What it was told by `hold` is forgotten.
        (self._server.pgdata / "postgresql.auto.conf").write_text("")
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it for good."""
        self._server.cleanup()

    def hold(self, wanted: str) -> None:
        """Let the next commit of an application hang when it is done, before anybody is told.

        The server waits for a standby that does not exist; what it waits for is committed already.
        """
        with psycopg.connect(self._url(), autocommit=True) as connection:
            while True:
                connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                connection.execute("SELECT pg_reload_conf()")
                held = wait(lambda: _held(connection))
                if wanted in held:
                    return
                connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
                connection.execute("SELECT pg_reload_conf()")
                wait(lambda: not _held(connection))


def _held(connection: psycopg.Connection[Any]) -> list[str]:
    """List the applications whose commits hang."""
    rows = connection.execute(
        "SELECT application_name FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    )
    return [name for (name,) in rows]


def _lives(process: Any) -> bool:
    """Whether a process is more than a zombie."""
    return bool(process.is_running() and process.status() != "zombie")


def wait(condition: Callable[[], T]) -> T:
    """Wait until something is there, and give it."""
    until = time.monotonic() + SECONDS
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.002)
    return found


@contextmanager
def own_server() -> Iterator[Server]:
    """Have a server for a while."""
    server = Server()
    try:
        yield server
    finally:
        server.close()
