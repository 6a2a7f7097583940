"""The event store on PostgreSQL, on `eventsourcing`'s recorder.

What the recorder is given here that it does not have by itself: the table lock is taken first, so
that rows of read models are never locked before it; every wait has a time-out; a commit whose answer
was lost is recognised by its command id; the schema is migrated by command, forward only.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from eventsourcing.persistence import IntegrityError, PersistenceError
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
)
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from siutindei.adapters import projections, vault
from siutindei.adapters.store import Change, SqlStore
from siutindei.app.ports import Conflict, Unavailable, Unusable
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from eventsourcing.persistence import StoredEvent
    from psycopg.rows import DictRow

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Clock, Context

SCHEMA_VERSION: Final = 1
LOCK_SECONDS: Final = 10
#: How long one statement may take.
STATEMENT_SECONDS: Final = 30
CONNECT_SECONDS: Final = 5
#: Two migrations at once: the second waits for the first under this lock.
_MIGRATION_LOCK: Final = 0x5354_4431

_TABLES: Final = (
    "CREATE TABLE stored_events (originator_id TEXT NOT NULL, originator_version BIGINT NOT NULL,"
    " topic TEXT NOT NULL, state BYTEA NOT NULL,"
    " notification_id BIGINT GENERATED ALWAYS AS IDENTITY,"
    " PRIMARY KEY (originator_id, originator_version))",
    "CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id)",
    "CREATE TYPE stored_event_text AS"
    " (originator_id TEXT, originator_version BIGINT, topic TEXT, state BYTEA)",
    "CREATE TABLE commands (command_id TEXT PRIMARY KEY, event_ids TEXT NOT NULL)",
    "CREATE TABLE key_checks (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    *vault.TABLES,
    *projections.TABLES,
)


# --- the recorder --------------------------------------------------------------------------------


class Datastore(PostgresDatastore):
    """`eventsourcing`'s datastore with one connection, checked before use, and time-outs."""

    def __init__(
        self, url: str, *, lock_seconds: int = LOCK_SECONDS, password: Callable[[], str] | None = None
    ) -> None:
        """Prepare to connect; nothing is opened before it is used.

        Args:
            url: `postgresql://...` as libpq has it.
            lock_seconds: how long to wait while others write.
            password: asked for a password at every connection (IAM authentication).
        """
        given = conninfo_to_dict(url)
        super().__init__(
            dbname=str(given.pop("dbname", "")),
            host=str(given.pop("host", "")),
            port=str(given.pop("port", "") or 5432),
            user=str(given.pop("user", "")),
            password=str(given.pop("password", "")),
            connect_timeout=CONNECT_SECONDS,
            lock_timeout=lock_seconds,
            pre_ping=True,
            get_password_func=password,
            originator_id_type="text",
        )
        kwargs = cast("dict[str, Any]", self.pool.kwargs)
        kwargs["connect_timeout"] = CONNECT_SECONDS
        kwargs.update(given)

    def after_connect_func(self) -> Callable[[psycopg.Connection[Any]], None]:
        """Give what is done to a new connection: every wait in it gets an end."""
        lock = int(self.lock_timeout * 1000)
        statement = STATEMENT_SECONDS * 1000

        def after_connect(connection: psycopg.Connection[Any]) -> None:
            connection.autocommit = True
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false),"
                " set_config('statement_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false)",
                (f"{lock}ms", f"{statement}ms", f"{statement}ms"),
            )

        return after_connect


class Recorder(PostgresApplicationRecorder):
    """`eventsourcing`'s recorder, used inside a transaction that holds the table's lock."""

    def lock(self, cursor: psycopg.Cursor[DictRow]) -> None:
        """Let one transaction append at a time: positions are then in the order of commits."""
        cursor.execute(self.lock_table_statements[-1])

    def insert(self, cursor: psycopg.Cursor[DictRow], stored: StoredEvent) -> int:
        """Insert one event in a transaction of the caller's, and give its position."""
        PostgresAggregateRecorder._insert_stored_events(self, cursor, [stored])  # noqa: SLF001
        positions = self._fetch_ids_after_insert_events(cursor, [stored])
        if not positions:
            msg = "the recorder gave no position"
            raise PersistenceError(msg)
        return positions[0]


class _Cursor:
    """A cursor that takes `?` for values."""

    def __init__(self, cursor: psycopg.Cursor[DictRow]) -> None:
        self.psycopg = cursor

    def execute(self, statement: str, values: Sequence[object] = (), /) -> None:
        """Execute one statement."""
        query: Any = statement.replace("?", "%s")
        self.psycopg.execute(query, values or None)

    def fetchone(self) -> Any:
        """Give the next row, or None."""
        return self.psycopg.fetchone()

    def fetchall(self) -> Any:
        """Give the rows that are left."""
        return self.psycopg.fetchall()


# --- the schema ----------------------------------------------------------------------------------


def _dialect(statement: str) -> str:
    return statement.replace(" BLOB", " BYTEA").replace(" INTEGER", " BIGINT")


def migrate(url: str) -> tuple[int, int]:
    """Bring the schema up to this version, forward only; give the version before and after.

    Safe to repeat, and to run from two machines at once.

    Raises:
        Unusable: the schema is newer than this version, or may not be changed by this role.
        Unavailable: the database is down or locked.
    """
    with translated(), psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_SECONDS}s",))
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
        before = _version(connection)
        if before > SCHEMA_VERSION:
            raise _newer(before)
        if before < SCHEMA_VERSION:
            connection.execute("CREATE TABLE schema_version (version BIGINT NOT NULL)")
            for statement in _TABLES:
                query: Any = _dialect(statement)
                connection.execute(query)
            connection.execute("INSERT INTO schema_version VALUES (%s)", (SCHEMA_VERSION,))
        return before, SCHEMA_VERSION


def prepare(url: str) -> bool:
    """Check the schema; say whether there is no event yet.

    Raises:
        Unusable: not migrated, newer, or another database than ours.
        Unavailable: down or locked.
    """
    with translated(), psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        version = _version(connection)
        if version > SCHEMA_VERSION:
            raise _newer(version)
        if version < SCHEMA_VERSION:
            msg = "the database is not migrated; run: siutindei database migrate"
            raise Unusable(msg)
        return connection.execute("SELECT 1 FROM stored_events LIMIT 1").fetchone() is None


def _version(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT to_regclass('schema_version') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return 0
    found = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return 0 if found is None else int(found[0])


def _newer(version: int) -> Unusable:
    return Unusable(
        f"the database was made by a newer version (schema {version}, this one knows "
        f"{SCHEMA_VERSION}); install that version"
    )


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into the port's; none of them quotes a value."""
    try:
        yield
    except (psycopg.Error, PersistenceError, PoolTimeout) as error:
        raise _translate(error) from error
    except UnicodeEncodeError:
        raise Invalid("text", "is not valid text (a lone surrogate)") from None


def _translate(error: Exception) -> Exception:
    cause = error if isinstance(error, psycopg.Error) else error.__cause__ or error
    match cause:
        case errors.UniqueViolation():
            return Conflict("somebody else was first; load it and decide again")
        case errors.LockNotAvailable() | errors.QueryCanceled() | errors.DeadlockDetected():
            return Unavailable("the database is locked by another process; try again")
        case errors.DiskFull():
            return Unavailable(
                "the database's disk is full; nothing was changed, make room and try again"
            )
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.UndefinedObject():
            return Unusable("the database is not migrated; run: siutindei database migrate")
        case errors.InsufficientPrivilege():
            return Unusable("the database's role may not do this; see docs/postgresql.md")
        case errors.UntranslatableCharacter() | errors.CharacterNotInRepertoire():
            return Invalid("text", "is not valid text")
        case psycopg.DataError():
            return Invalid("text", "is not valid text (a NUL)")
        case psycopg.OperationalError() | psycopg.InterfaceError() | PoolTimeout():
            return Unavailable("the database is down or out of reach; try again")
    if isinstance(error, IntegrityError):
        return Conflict("somebody else was first; load it and decide again")
    return error


# --- the store -----------------------------------------------------------------------------------


class PostgresStore(SqlStore):
    """See `ports.EventStore` and `ports.Vault`."""

    position = "notification_id"

    def __init__(
        self,
        url: str,
        *,
        master: KeyRing,
        clock: Clock,
        lock_seconds: int = LOCK_SECONDS,
        password: Callable[[], str] | None = None,
    ) -> None:
        """Prepare to use a database that `migrate` made ready.

        Args:
            url: `postgresql://...`
            master: the ring that wraps the keys of what is personal.
            clock: the time.
            lock_seconds: how long to wait while others write.
            password: asked for a password at every connection (IAM authentication).
        """
        super().__init__("the database", master=master, clock=clock)
        self._datastore = Datastore(url, lock_seconds=lock_seconds, password=password)
        with translated():
            self._recorder = Recorder(self._datastore)

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """Begin a transaction that changes nothing and sees one moment."""
        with translated(), self._datastore.transaction(commit=False) as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield _Cursor(cursor)

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """Begin a transaction that holds the write lock."""
        with translated(), self._datastore.transaction(commit=True) as cursor:
            self._recorder.lock(cursor)
            yield _Cursor(cursor)

    @contextmanager
    def transaction(self, context: Context) -> Iterator[Change]:
        """Begin a change; when only the answer to its commit was lost, it succeeded all the same."""
        finished = False
        try:
            with super().transaction(context) as change:
                yield change
                finished = True
        except Unavailable:
            if not finished or not self._was_committed(context.command_id):
                raise

    def _was_committed(self, command_id: str) -> bool:
        with self.reading() as cursor:
            cursor.execute("SELECT 1 FROM commands WHERE command_id = ?", (command_id,))
            return cursor.fetchone() is not None

    def insert(self, cursor: Cursor, stored: StoredEvent) -> int:
        """Insert one event, and give its position."""
        return self._recorder.insert(cast("_Cursor", cursor).psycopg, stored)

    def close(self) -> None:
        """Close every connection."""
        self._datastore.close()

    def scrub(self) -> None:
        """Rewrite the table of keys without what was deleted.

        What the server's own log and its backups hold until they are recycled is out of reach from
        here: see docs/privacy.md.
        """
        with translated(), self._datastore.get_connection() as connection:
            connection.execute("VACUUM FULL vault_keys")
