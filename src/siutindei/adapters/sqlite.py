"""The event store on SQLite: one file, or memory, on `eventsourcing`'s recorder.

What the recorder is given here that it does not have by itself: write transactions that begin
IMMEDIATE (a deferred one fails when another process commits between its read and its write), a
schema that is made once under a lock, an explicit integer primary key (VACUUM renumbers implicit
ones, and positions must not move), secure deletion, and read models in the same transaction.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from eventsourcing.persistence import (
    ConnectionUnavailableError,
    IntegrityError,
    PersistenceError,
)
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteConnection,
    SQLiteConnectionPool,
    SQLiteCursor,
    SQLiteDatastore,
    SQLiteTransaction,
)

from siutindei.adapters import leaves, projections, vault
from siutindei.adapters.files import refusal, sync_folder, whole
from siutindei.adapters.locks import locked
from siutindei.adapters.store import COPIED, SqlStore, TablesOnce
from siutindei.app.ports import Conflict, Damaged, Unavailable, Unusable
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from eventsourcing.persistence import Notification, StoredEvent

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.projections import Table
    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Clock

MEMORY: Final = ":memory:"
APPLICATION_ID: Final = 0x5354_4431  # "STD1" in the file's header tells our databases from others
SCHEMA_VERSION: Final = 3
LOCK_SECONDS: Final = 30
_SCRUB_SECONDS: Final = 10.0
_MANY: Final = 1_000_000
_SLICE: Final = 500
#: How many pages of a backup are copied before others have their turn.
_STEP: Final = 256
# https://sqlite.org/fileformat.html#the_database_header
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"
_ID_AT: Final = 68

_TABLES: Final = (
    "CREATE TABLE stored_events (rowid INTEGER PRIMARY KEY, originator_id TEXT NOT NULL,"
    " originator_version INTEGER NOT NULL, topic TEXT NOT NULL, state BLOB NOT NULL,"
    " UNIQUE (originator_id, originator_version))",
    # The unique key that makes a repeated command find what it did the first time.
    "CREATE TABLE commands (command_id TEXT PRIMARY KEY, event_ids TEXT NOT NULL)",
    "CREATE TABLE key_checks (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    *vault.TABLES,
    leaves.TABLE,
    *projections.first_statements(),
)
#: What each version of the schema adds to the one before, by the version that it makes.
_UPGRADES: Final = {2: projections.TO_VERSION_2, 3: (leaves.TABLE,)}


# --- the recorder --------------------------------------------------------------------------------


class _Transaction(SQLiteTransaction):
    def __enter__(self) -> SQLiteCursor:
        cursor = self.connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self.commit else "BEGIN")
        return cursor

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(exc_type, exc_val, exc_tb)
        finally:
            # A commit that failed leaves the transaction open, and the next one is not its.
            self.connection.rollback()


class _Connection(SQLiteConnection):
    """A connection that its first transaction opens.

    `eventsourcing`'s pool keeps a writer's turn for ever when it fails to make a connection: so
    nothing that can fail happens there.
    """

    _sqlite_conn: sqlite3.Connection | None  # type: ignore[assignment]

    def __init__(self, database: str, *, seconds: float, max_age: float | None) -> None:
        nothing: Any = None
        super().__init__(nothing, max_age)
        self._database = database
        self._seconds = seconds

    @property
    def opened(self) -> sqlite3.Connection:
        """The connection itself."""
        if self._sqlite_conn is None:
            self._sqlite_conn = connect(self._database, seconds=self._seconds)
        return self._sqlite_conn

    @contextmanager
    def transaction(self, *, commit: bool) -> Iterator[SQLiteCursor]:
        with _Transaction(self, commit=commit) as cursor, cursor:
            yield cursor

    def cursor(self) -> SQLiteCursor:
        return SQLiteCursor(self.opened.cursor())

    def _close(self) -> None:
        if self._sqlite_conn is None:
            self._sqlite_conn = sqlite3.connect(MEMORY)
        super()._close()


class _Pool(SQLiteConnectionPool):
    def __init__(self, database: str, *, seconds: float) -> None:
        # Memory is one connection: another would see another, empty database. A file has as many
        # as are asked for: the pool also keeps the turn of a writer who waited for one in vain.
        size, more = (1, 0) if database == MEMORY else (5, _MANY)
        super().__init__(db_name=database, pool_size=size, max_overflow=more, pool_timeout=seconds)

    def _create_connection(self) -> SQLiteConnection:
        return _Connection(self.db_name, seconds=self.pool_timeout, max_age=self.max_age)


class Datastore(SQLiteDatastore):
    """`eventsourcing`'s datastore with our connections."""

    def __init__(self, database: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        super().__init__(database, originator_id_type="text")
        self.pool.close()
        self.pool = _Pool(database, seconds=lock_seconds)


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


class _Cursor(TablesOnce):
    """A cursor that knows which tables serve."""

    def __init__(self, cursor: SQLiteCursor) -> None:
        self.sqlite = cursor
        self.execute = cursor.execute
        self.executemany = cursor.executemany
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    def live(self) -> Iterable[Any]:
        """Ask which tables serve."""
        self.execute(projections.LIVE)
        return cast("list[Any]", self.fetchall())

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        return self.sqlite.sqlite_cursor.rowcount


def connect(database: str, *, seconds: float = LOCK_SECONDS) -> sqlite3.Connection:
    """Open a connection the way this store needs it; a file that is not there is not made.

    Durable: a commit is on the disk when it returns (`synchronous=FULL`). What is deleted is
    overwritten (`secure_delete`), and nothing goes to temporary files.
    """
    name = database if database == MEMORY else f"{Path(database).absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        name, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False
    )
    try:
        connection.row_factory = sqlite3.Row
        for pragma in ("synchronous=FULL", "secure_delete=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def scratch() -> Iterator[Cursor]:
    """Give a cursor on an empty database: in memory as long as it is small, then on the disk."""
    # https://sqlite.org/inmemorydb.html#temp_db
    connection = sqlite3.connect("", isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        with translated("a temporary database"):
            yield _Cursor(SQLiteCursor(connection.cursor()))
    finally:
        connection.close()


# --- the schema ----------------------------------------------------------------------------------


@attrs.frozen
class SqliteSchema:
    """See `ports.Schema`: a file gets its tables, and newer ones, when it is first needed."""

    database: str
    newest: int = SCHEMA_VERSION
    lock_seconds: float = LOCK_SECONDS

    def version(self) -> int:
        """Say which version the file has, 0 when there is none; none is made."""
        with translated(self.database):
            try:
                if not _is_there(Path(self.database)):
                    return 0
            except OSError as error:
                raise refusal(f"{self.database} cannot be read", error) from error
            with closing(connect(self.database)) as connection:
                return _checked_version(self.database, connection)

    def migrate(self) -> int:
        """Make the tables, or bring them up to this version; give the version before."""
        before = self.version()
        self.prepare()
        return before

    def prepare(self) -> bool:
        """Make the tables when there are none; say whether there is no event yet."""
        return prepare(self.database, lock_seconds=self.lock_seconds)

    def damage(self) -> str | None:
        """Let SQLite compare every page, index and row; writers wait for nothing."""
        with translated(self.database), closing(connect(self.database)) as connection:
            return _damage(self.database, connection)

    def backup(self, file: str) -> int:
        """Copy the database, and see that the copy is sound.

        The copy is of the moment at which this transaction begins: without it, each change that is
        made meanwhile would begin the copying anew.
        """
        if not self.version():
            msg = f"there is no database {self.database} to copy"
            raise Unusable(msg)
        for end in ("-wal", "-shm", "-journal"):
            # SQLite would replay an old log into the copy.
            if Path(f"{file}{end}").exists():
                msg = f"{file}{end} is there, and belongs to another database; move it away"
                raise Unusable(msg)
        with (
            whole(Path(file)) as draft,
            translated(self.database),
            closing(connect(self.database)) as source,
        ):
            source.execute("BEGIN")
            source.execute("SELECT 1 FROM stored_events LIMIT 1").fetchone()
            with translated(file), closing(connect(str(draft))) as target:
                source.backup(target, pages=_STEP, sleep=0)
                # In a file that is read by nobody else a log beside it has no use.
                target.execute("PRAGMA journal_mode=DELETE")
                found = _damage(self.database, target)
                if found is not None:
                    msg = f"it was not copied: {found}"
                    raise Unusable(msg)
                # Whoever opens it has restored it.
                target.execute(
                    "INSERT INTO key_checks (name, value) VALUES (?, 'yes')"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (COPIED,),
                )
                target.execute("PRAGMA journal_mode=WAL")
                return int(target.execute("SELECT count(*) FROM stored_events").fetchone()[0])


def _damage(name: str, connection: sqlite3.Connection) -> str | None:
    found = " ".join(connection.execute("PRAGMA integrity_check(1)").fetchone()[0].split())
    return None if found == "ok" else f"{name} is damaged ({found}); restore a backup"


def prepare(database: str, *, lock_seconds: float = LOCK_SECONDS) -> bool:
    """Make the schema, or bring it up to this version; say whether there is no event yet.

    Raises:
        Unusable: not a database, not ours, or of a newer version.
        Unavailable: locked, or the disk is full.
    """
    if database == MEMORY:
        return True
    path = Path(database)
    with translated(database):
        try:
            if not _is_there(path):
                _make(path.resolve(), lock_seconds)
        except OSError as error:
            raise refusal(f"{database} cannot be made or read", error) from error
        connection = connect(database, seconds=lock_seconds)
        try:
            if _checked_version(database, connection) < SCHEMA_VERSION:
                _upgrade(database, connection)
            return connection.execute("SELECT 1 FROM stored_events LIMIT 1").fetchone() is None
        finally:
            connection.close()


def _checked_version(database: str, connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        msg = (
            f"{database} was made by a newer version (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); install that version"
        )
        raise Unusable(msg)
    if version < 1:
        # A draft becomes the database when it has its version: something else wrote this one.
        msg = f"{database} is damaged (schema {version}, which there is not); restore a backup"
        raise Damaged(msg)
    return version


def _is_there(path: Path) -> bool:
    """Whether our database is there; no file, or an empty one, is none, and others are refused.

    The header is read as bytes: SQLite itself would write to another program's file.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return False
    if not header:
        return False
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        msg = f"{path} is damaged or no database; restore a backup or name another one"
        raise Damaged(msg)
    if int.from_bytes(header[_ID_AT : _ID_AT + 4], "big") != APPLICATION_ID:
        msg = f"{path} is a database of another program; name another one"
        raise Unusable(msg)
    return True


def _make(path: Path, lock_seconds: float) -> None:
    """Make the file whole beside its place and put it there: nobody ever sees half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(path.with_name(f"{path.name}.lock"), seconds=lock_seconds):
        if _is_there(path):
            return
        # SQLite would replay an old log into the new database.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            msg = f"{path} is gone or empty, but its log {log.name} is there; restore both"
            raise Unusable(msg)
        draft = path.with_name(f".{path.name}.draft")
        for rest in (draft, *(Path(f"{draft}-{kind}") for kind in ("journal", "wal", "shm")), log):
            rest.unlink(missing_ok=True)
        # The file has its mode before anything is in it; -wal and -shm inherit it.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        connection = connect(str(draft))
        try:
            # In this order: all of it stands in the file itself, and nothing in a log beside it.
            create_schema(connection)
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()
        draft.replace(path)
        sync_folder(path.parent)


def _upgrade(database: str, connection: sqlite3.Connection) -> None:
    """Bring the tables up to this version, all of it or nothing; whoever waited finds it done."""
    connection.execute("BEGIN IMMEDIATE")
    for version in range(_checked_version(database, connection) + 1, SCHEMA_VERSION + 1):
        for statement in _UPGRADES[version]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    connection.execute("COMMIT")


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
    except UnicodeEncodeError:
        # Nothing is called so; its cause would quote the text, which may be personal.
        raise Invalid("text", "is not valid text (a lone surrogate)") from None
    except UnicodeDecodeError:
        # The file's header says that its texts are of another encoding than ours are.
        msg = f"{database} is damaged (what should be text is none); restore a backup"
        raise Damaged(msg) from None


def _translate(database: str, error: Exception) -> Exception:
    cause = error if isinstance(error, sqlite3.Error) else error.__cause__
    code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY or isinstance(error, ConnectionUnavailableError):
        return Unavailable(f"{database} is locked by another process; try again")
    if code in _DISK:
        return Unavailable(
            f"{database} cannot be written ({cause}): the disk is full or failing; "
            "nothing was changed, make room and try again"
        )
    if code in _CLOSED:
        return Unusable(f"{database} cannot be opened for writing ({cause}); check its permissions")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return Damaged(f"{database} is damaged or no database ({cause}); restore a backup")
    if isinstance(error, IntegrityError) or code == sqlite3.SQLITE_CONSTRAINT:
        return Conflict("somebody else was first; load it and decide again")
    if isinstance(cause, sqlite3.OperationalError):
        return Damaged(f"{database} does not have the tables that it should ({cause})")
    return error


# --- the store -----------------------------------------------------------------------------------


class SqliteStore(SqlStore):
    """See `ports.EventStore` and `ports.Vault`."""

    position = "rowid"
    holds = "instr(state, ?) > 0"

    def __init__(
        self,
        database: str,
        *,
        master: KeyRing,
        clock: Clock,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        """Open a database that `prepare` made ready, or memory.

        Args:
            database: a path, or `MEMORY`.
            master: the ring that wraps the keys of what is personal.
            clock: the time.
            lock_seconds: how long to wait while others write.
        """
        super().__init__(database, master=master, clock=clock)
        self._lock_seconds = lock_seconds
        self._datastore = Datastore(database, lock_seconds=lock_seconds)
        self._recorder = Recorder(self._datastore)
        if database == MEMORY:
            with self._datastore.get_connection(commit=True) as connection:
                create_schema(cast("_Connection", connection).opened)

    @property
    def bare_columns(self) -> str:
        """What to ask for when nothing is taken for granted.

        SQLite keeps what it is given, whatever the column says; text that is no UTF-8 would end the
        reading of a whole page.
        """
        return (
            "rowid AS position, CAST(originator_id AS BLOB) AS originator_id,"
            " CAST(originator_version AS INTEGER) AS originator_version,"
            " CAST(topic AS BLOB) AS topic, CAST(state AS BLOB) AS state,"
            " typeof(originator_id) || typeof(originator_version) || typeof(topic) || typeof(state)"
            " = 'textintegertextblob' AS is_sound"
        )

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """Begin a transaction that changes nothing."""
        with translated(self.database), self._datastore.transaction(commit=False) as cursor:
            yield _Cursor(cursor)

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """Begin a transaction that holds the write lock."""
        with translated(self.database), self._datastore.transaction(commit=True) as cursor:
            yield _Cursor(cursor)

    def building(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that changes a new table: here it holds the write lock too."""
        return self.writing()

    def snapshot(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that sees one moment: each transaction has its own connection."""
        return self.reading()

    def create(self, cursor: Cursor, table: Table, *, like: str | None) -> None:
        """Make a table."""
        for statement in table.statements:
            cursor.execute(statement)

    def analyze(self, table: str) -> None:
        """Do nothing: each of our queries has one index that fits, which SQLite finds by itself."""

    def drop(self, table: str) -> None:
        """Take a table away, a part at a time: what is deleted is overwritten, and others wait."""
        with self.reading() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,))
            if cursor.fetchone() is None:
                return
        deleted = _SLICE
        while deleted == _SLICE:
            with self.writing() as cursor:
                cursor.execute(
                    f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} LIMIT {_SLICE})"
                )
                deleted = cursor.rowcount
        with self.writing() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")

    def insert(self, cursor: Cursor, stored: StoredEvent) -> int:
        """Insert one event, and give its position."""
        return self._recorder.insert(cast("_Cursor", cursor).sqlite, stored)

    def put(self, cursor: Cursor, stored: Notification) -> None:
        """Insert one event at the position that it has."""
        cursor.execute(
            "INSERT INTO stored_events (rowid, originator_id, originator_version, topic, state)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                stored.id,
                stored.originator_id,
                stored.originator_version,
                stored.topic,
                stored.state,
            ),
        )

    def go_on_after(self, cursor: Cursor, position: int) -> None:
        """Do nothing: the next position is the one after the highest."""

    def close(self) -> None:
        """Close every connection."""
        self._datastore.close()

    def rewrite(self) -> None:
        """Rewrite the file without what was deleted, and empty the write-ahead log.

        Raises:
            Unavailable: other processes kept reading the log; what was destroyed may still be in
                it until this is done again.
        """
        if self.database == MEMORY:
            return
        seconds = min(_SCRUB_SECONDS, self._lock_seconds)
        until = time.monotonic() + seconds
        with translated(self.database):
            connection = connect(self.database, seconds=min(1.0, seconds))
            try:
                for statement in (_EMPTY_LOG, "VACUUM", _EMPTY_LOG):
                    _insist(connection, statement, until)
            except sqlite3.Error as error:
                if error.sqlite_errorcode & 0xFF not in _DISK:
                    raise
                msg = f"erased, but {self.database} could not be rewritten ({error}); {_AGAIN}"
                raise Unavailable(msg) from error
            finally:
                connection.close()


_EMPTY_LOG: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_AGAIN: Final = "make room: until the next worker starts the files may still hold it"


def _insist(connection: sqlite3.Connection, statement: str, until: float) -> None:
    """Carry out a statement that others keep from its end, again and again for a while."""
    while True:
        try:
            row = connection.execute(statement).fetchone()
            if row is None or not row[0]:
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY:
                raise
        if time.monotonic() > until:
            msg = (
                "erased, but other processes kept the write-ahead log open: "
                "stop them: the next worker empties it"
            )
            raise Unavailable(msg)
        time.sleep(0.05)
