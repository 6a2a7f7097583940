"""The event store on SQLite: one file, or memory, on `eventsourcing`'s recorder.

What the recorder is given here that it does not have by itself: write transactions that begin
IMMEDIATE (a deferred one fails when another process commits between its read and its write), a
schema that is made once under a lock, an explicit integer primary key (VACUUM renumbers implicit
ones, and positions must not move), secure deletion, and read models in the same transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from eventsourcing.persistence import IntegrityError, Notification, PersistenceError
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

from siutindei.adapters import codec, projections, vault
from siutindei.adapters.codec import EventMapper
from siutindei.adapters.locks import locked
from siutindei.adapters.projections import SqlViews
from siutindei.adapters.vault import CursorVault
from siutindei.app.ports import CommandRepeated, Conflict, Recorded, Unavailable, Unusable
from siutindei.domain.catalogue import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from siutindei.adapters.keys import KeyRing
    from siutindei.app.ports import Clock, Context, Views
    from siutindei.domain.catalogue import Event
    from siutindei.domain.personal import Personal

MEMORY: Final = ":memory:"
APPLICATION_ID: Final = 0x5354_4431  # "STD1" in the file's header tells our databases from others
SCHEMA_VERSION: Final = 1
LOCK_SECONDS: Final = 30
_PAGE: Final = 500
_SCRUB_SECONDS: Final = 10.0

_TABLES: Final = (
    "CREATE TABLE stored_events (rowid INTEGER PRIMARY KEY, originator_id TEXT NOT NULL,"
    " originator_version INTEGER NOT NULL, topic TEXT NOT NULL, state BLOB NOT NULL,"
    " UNIQUE (originator_id, originator_version))",
    # The unique key that makes a repeated command find what it did the first time.
    "CREATE TABLE commands (command_id TEXT PRIMARY KEY, event_ids TEXT NOT NULL)",
    "CREATE TABLE key_checks (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    *vault.TABLES,
    *projections.TABLES,
)


# --- the recorder --------------------------------------------------------------------------------


class _Transaction(SQLiteTransaction):
    def __enter__(self) -> SQLiteCursor:
        cursor = self.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        return cursor


class _Connection(SQLiteConnection):
    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        with _Transaction(self, commit=commit) as cursor, cursor:
            yield cursor


class _Pool(SQLiteConnectionPool):
    def _create_connection(self) -> SQLiteConnection:
        return _Connection(connect(self.db_name), max_age=self.max_age)


class Datastore(SQLiteDatastore):
    """`eventsourcing`'s datastore with our connections."""

    def __init__(self, database: str) -> None:
        super().__init__(database, originator_id_type="text")
        self.pool.close()
        # Memory is one connection: another would see another, empty database.
        self.pool = (
            _Pool(db_name=database, pool_size=1, max_overflow=0)
            if database == MEMORY
            else _Pool(db_name=database)
        )


class Recorder(SQLiteApplicationRecorder):
    """`eventsourcing`'s recorder over a table whose positions VACUUM does not move."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.insert_events_statement = (
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES (?,?,?,?)"
        )

    def construct_create_table_statements(self) -> list[str]:
        """Give our table; it is made once, with everything else, by `create_schema`."""
        return [_TABLES[0].replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS")]

    def insert(self, cursor: SQLiteCursor, stored: Any) -> int:
        """Insert one event in a transaction of the caller's, and give its position."""
        positions = self._insert_events(cursor, [stored])
        if positions is None:
            msg = "the recorder gave no position"
            raise PersistenceError(msg)
        return positions[0]


def connect(database: str) -> sqlite3.Connection:
    """Open a connection the way this store needs it.

    Durable: a commit is on the disk when it returns (`synchronous=FULL`). What is deleted is
    overwritten (`secure_delete`), and nothing goes to temporary files.
    """
    connection = sqlite3.connect(
        database, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    for pragma in ("synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


# --- the schema ----------------------------------------------------------------------------------


def prepare(database: str) -> bool:
    """Make the schema when there is none; say whether there is no event yet.

    Raises:
        Unusable: not a database, not ours, or of a newer version.
        Unavailable: locked, or the disk is full.
    """
    if database == MEMORY:
        return True
    path = Path(database)
    with translated(database):
        _make_folder(path.parent)
        if not path.exists() or _state(database) == "empty":
            with locked(path.with_name(f"{path.name}.lock")):
                _create(path)
        connection = connect(database)
        try:
            return connection.execute("SELECT 1 FROM stored_events LIMIT 1").fetchone() is None
        finally:
            connection.close()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}"
        raise Unusable(msg) from error


def _state(database: str) -> str:
    """Say `empty` or `ours`; everything else is an error."""
    connection = connect(database)
    try:
        application_id = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    finally:
        connection.close()
    if application_id == 0 and tables == 0:
        return "empty"
    if application_id != APPLICATION_ID:
        msg = f"{database} is a database of another program; name another one"
        raise Unusable(msg)
    if version > SCHEMA_VERSION:
        msg = (
            f"{database} was made by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); install that version"
        )
        raise Unusable(msg)
    return "ours"


def _create(path: Path) -> None:
    # The file exists with its mode before anything is in it; -wal and -shm inherit the mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    if _state(str(path)) == "ours":
        return
    connection = connect(str(path))
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        create_schema(connection)
    finally:
        connection.close()


def create_schema(connection: sqlite3.Connection) -> None:
    """Make every table in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


# --- errors --------------------------------------------------------------------------------------

_BUSY: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DISK: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
_CLOSED: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


@contextmanager
def translated(database: str) -> Iterator[None]:
    """Turn the database's errors into the port's."""
    try:
        yield
    except (sqlite3.Error, PersistenceError) as error:
        raise _translate(database, error) from error


def _translate(database: str, error: Exception) -> Exception:
    cause = error if isinstance(error, sqlite3.Error) else error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        return Unavailable(f"{database} is locked by another process; try again")
    if code in _DISK:
        return Unavailable(
            f"{database} cannot be written ({cause}): the disk is full or failing; "
            "nothing was changed, make room and try again"
        )
    if code in _CLOSED:
        return Unusable(f"{database} cannot be opened for writing ({cause}); check its permissions")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return Unusable(f"{database} is damaged or no database ({cause}); restore a backup")
    if isinstance(error, IntegrityError) or code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict("somebody else was first; load it and decide again")
    if isinstance(cause, sqlite3.OperationalError):
        return Unusable(f"{database} does not have the tables that it should ({cause})")
    return error


# --- the store -----------------------------------------------------------------------------------


class _Change:
    """A transaction: see `ports.Transaction`."""

    def __init__(self, store: SqliteStore, cursor: SQLiteCursor, context: Context) -> None:
        self._store = store
        self._cursor = cursor
        self._context = context
        self._vault = CursorVault(cursor, store.master)
        self._at = store.clock.now()
        self._event_ids: list[str] = []
        self._views = SqlViews(self._reading)

    @contextmanager
    def _reading(self) -> Iterator[SQLiteCursor]:
        yield self._cursor

    @property
    def views(self) -> Views:
        """The read models, as this transaction sees them."""
        return self._views

    def load(
        self, stream: str, *, newest: int | None = None, until: int | None = None
    ) -> Sequence[Recorded]:
        """Read a stream in order."""
        return self._store.select(self._cursor, stream, newest=newest, until=until)

    def append(
        self,
        stream: str,
        version: int,
        events: Sequence[Event],
        *,
        cause: Recorded | None = None,
    ) -> tuple[Recorded, ...]:
        """Append events behind `version`."""
        context = self._context
        if cause is not None:
            context = attrs.evolve(
                context, causation_id=cause.id, correlation_id=cause.context.correlation_id
            )
        appended = []
        for number, event in enumerate(events, start=version + 1):
            sealed = Recorded(
                stream=stream,
                version=number,
                position=0,
                name=NAMES[type(event)],
                recorded_at=self._at,
                context=context,
                event=codec.seal(event, stream, number, self._vault.seal),
            )
            stored = self._store.mapper.to_stored_event(sealed)
            position = self._store.recorder.insert(self._cursor, stored)
            sealed = attrs.evolve(sealed, position=position)
            projections.project(self._cursor, sealed)
            # The caller goes on with what it knows: the clear event.
            appended.append(attrs.evolve(sealed, event=event))
            self._event_ids.append(sealed.id)
        return tuple(appended)

    def open(self, personal: Personal) -> Personal:
        """Open what is personal, with the keys that this transaction sees."""
        return self._vault.open(personal)

    def open_all(self, value: Any) -> Any:
        """Open everything personal in an attrs object."""
        return self._vault.open_all(value)

    def keys_of(self, owner: str) -> Mapping[str, str]:
        """Give the streams that an owner has a key for, by the key's id."""
        return self._vault.keys_of(owner)

    def destroy_keys(self, owner: str) -> None:
        """Destroy every key of an owner for good."""
        self._vault.destroy(owner)

    def begin(self) -> None:
        """Refuse a command that was carried out before."""
        self._cursor.execute(
            "SELECT event_ids FROM commands WHERE command_id = ?", (self._context.command_id,)
        )
        row = self._cursor.fetchone()
        if row is not None:
            raise CommandRepeated(json.loads(row["event_ids"]))

    def finish(self) -> None:
        """Remember the command, when it changed anything."""
        if self._event_ids:
            self._cursor.execute(
                "INSERT INTO commands (command_id, event_ids) VALUES (?, ?)",
                (self._context.command_id, json.dumps(self._event_ids)),
            )


class SqliteStore:
    """See `ports.EventStore` and `ports.Vault`."""

    def __init__(self, database: str, *, master: KeyRing, clock: Clock) -> None:
        """Open a database that `prepare` made ready, or memory."""
        self.database = database
        self.master = master
        self.clock = clock
        self.mapper = EventMapper()
        self._datastore = Datastore(database)
        self.recorder = Recorder(self._datastore)
        self._views = SqlViews(self._reading)
        if database == MEMORY:
            with self._datastore.get_connection(commit=True) as connection:
                create_schema(connection._sqlite_conn)  # noqa: SLF001  # the pool wraps it

    def close(self) -> None:
        """Close every connection."""
        self._datastore.close()

    @contextmanager
    def _reading(self) -> Iterator[SQLiteCursor]:
        with translated(self.database), self._datastore.transaction(commit=False) as cursor:
            yield cursor

    @contextmanager
    def transaction(self, context: Context) -> Iterator[_Change]:
        """Begin a change."""
        with translated(self.database), self._datastore.transaction(commit=True) as cursor:
            change = _Change(self, cursor, context)
            change.begin()
            yield change
            change.finish()

    @property
    def views(self) -> Views:
        """The read models."""
        return self._views

    def load(
        self, stream: str, *, newest: int | None = None, until: int | None = None
    ) -> Sequence[Recorded]:
        """Read a stream in order."""
        with self._reading() as cursor:
            return self.select(cursor, stream, newest=newest, until=until)

    def select(
        self, cursor: SQLiteCursor, stream: str, *, newest: int | None, until: int | None
    ) -> Sequence[Recorded]:
        """Read a stream in order with a cursor."""
        where = "originator_id = ?"
        values: list[object] = [stream]
        if until is not None:
            where, values = f"{where} AND originator_version <= ?", [*values, until]
        order = "ASC"
        if newest is not None:
            order, values = "DESC LIMIT ?", [*values, newest]
        cursor.execute(
            f"SELECT * FROM stored_events WHERE {where} ORDER BY originator_version {order}",
            values,
        )
        rows = cursor.fetchall()
        return [self._recorded(row) for row in (rows if newest is None else reversed(rows))]

    def _recorded(self, row: Any) -> Recorded:
        recorded: Recorded = self.mapper.to_domain_event(
            Notification(
                id=row["rowid"],
                originator_id=row["originator_id"],
                originator_version=row["originator_version"],
                topic=row["topic"],
                state=row["state"],
            )
        )
        return recorded

    def read(
        self,
        *,
        after: int = 0,
        until: int | datetime | None = None,
        names: Sequence[str] = (),
        stream: str | None = None,
    ) -> Iterator[Recorded]:
        """Read the log in order of position."""
        where = ["rowid > ?"]
        values: list[Any] = []
        if isinstance(until, int):
            where.append("rowid <= ?")
            values.append(until)
        if names:
            where.append(f"topic IN ({', '.join('?' * len(names))})")
            values.extend(names)
        if stream is not None:
            where.append("originator_id = ?")
            values.append(stream)
        statement = (
            f"SELECT * FROM stored_events WHERE {' AND '.join(where)} ORDER BY rowid LIMIT ?"
        )
        while True:
            with self._reading() as cursor:
                cursor.execute(statement, (after, *values, _PAGE))
                rows = cursor.fetchall()
            for row in rows:
                recorded = self._recorded(row)
                # A clock can jump back: an event that is too late says nothing about the next.
                if until is None or isinstance(until, int) or recorded.recorded_at <= until:
                    yield recorded
            if len(rows) < _PAGE:
                return
            after = rows[-1]["rowid"]

    def last_position(self) -> int:
        """Give the position of the newest event, 0 when there is none."""
        with self._reading() as cursor:
            cursor.execute("SELECT coalesce(max(rowid), 0) AS n FROM stored_events")
            return int(cursor.fetchone()["n"])

    def open(self, personal: Personal) -> Personal:
        """Open what is personal."""
        if not personal.is_sealed:
            return personal
        with self._reading() as cursor:
            return CursorVault(cursor, self.master).open(personal)

    def open_all(self, value: Any) -> Any:
        """Open everything personal in an attrs object."""
        with self._reading() as cursor:
            return CursorVault(cursor, self.master).open_all(value)

    def check_ring(self, name: str, ring: KeyRing) -> None:
        """Remember which key the database was made with, or refuse a ring that lacks it.

        Raises:
            Unusable: the key is another one.
        """
        with self._reading() as cursor:
            cursor.execute("SELECT value FROM key_checks WHERE name = ?", (name,))
            row = cursor.fetchone()
        if row is None:
            with translated(self.database), self._datastore.transaction(commit=True) as cursor:
                cursor.execute(
                    "INSERT INTO key_checks (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (name, ring.check),
                )
        elif not ring.passes(row["value"]):
            msg = f"the {name} is not the one that this database was made with; put that one back"
            raise Unusable(msg)

    def project_all(self, events: Iterable[Recorded]) -> None:
        """Bring the read models up to events of another store: this one holds a replay."""
        with translated(self.database), self._datastore.transaction(commit=True) as cursor:
            for recorded in events:
                projections.project(cursor, recorded)

    def digest(self, names: Sequence[str]) -> str:
        """Give the SHA-256 of every row of the read models named, in a fixed order."""
        digest = sha256()
        with self._reading() as cursor:
            for row in projections.rows(cursor, names):
                digest.update(repr(row).encode())
        return digest.hexdigest()

    def scrub(self) -> None:
        """Rewrite the file without what was deleted, and empty the write-ahead log.

        Raises:
            Unavailable: other processes kept reading the log; what was destroyed may still be in
                it until this is done again.
        """
        if self.database == MEMORY:
            return
        with translated(self.database):
            connection = connect(self.database)
            try:
                until = time.monotonic() + _SCRUB_SECONDS
                _truncate_log(connection, until)
                connection.execute("VACUUM")
                _truncate_log(connection, until)
            finally:
                connection.close()


def _truncate_log(connection: sqlite3.Connection, until: float) -> None:
    while True:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if not busy:
            return
        if time.monotonic() > until:
            msg = (
                "erased, but other processes kept the write-ahead log open: "
                "stop them and erase again to empty it"
            )
            raise Unavailable(msg)
        time.sleep(0.05)
