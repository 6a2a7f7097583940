"""The event store on PostgreSQL, on `eventsourcing`'s recorder.

What the recorder is given here that it does not have by itself: one connection, made again when it
was lost; a lock that is taken before anything is read; an end to every wait; a commit whose answer
was lost is recognised by what it appended; the schema is migrated by command, forward only.
"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import contextmanager
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, LiteralString, cast

import psycopg
from eventsourcing.persistence import IntegrityError, PersistenceError
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
)
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from siutindei.adapters import leaves, projections, vault
from siutindei.adapters.projections import LIVE
from siutindei.adapters.store import Change, Lost, SqlStore, TablesOnce
from siutindei.app.ports import CommandRepeated, Conflict, Unavailable, Unusable
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from eventsourcing.persistence import Notification, StoredEvent
    from psycopg.rows import DictRow

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.projections import Table
    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Clock, Context, Recorded

    Password = Callable[[], str]

SCHEMA_VERSION: Final = 3
#: How long to wait while others write.
LOCK_SECONDS: Final = 20.0
#: How long one statement may take.
STATEMENT_SECONDS: Final = 30.0
#: How long a transaction may stand still before the server ends it: others wait for its lock.
IDLE_SECONDS: Final = 10.0
#: The same for a transaction that holds one moment still.
MOMENT_SECONDS: Final = 900.0
CONNECT_SECONDS: Final = 5
#: Who waits no longer than this while others write is in a hurry, and waits briefly for the rest.
HURRY_SECONDS: Final = 1.0
_HURRIED_STATEMENT: Final = 1.5
_HURRIED_IDLE: Final = 2.0
_HURRIED_CONNECT: Final = 2  # libpq knows nothing shorter
#: How long a table that others read is waited for, and how long between two tries.
_REWRITE_SECONDS: Final = 10.0
_REWRITE_PAUSE: Final = 0.3
#: How long one try waits in the queue for the table.
_BRIEFLY: Final = "SET LOCAL lock_timeout = '100ms'"
#: Two migrations at once: the second waits for the first under this lock.
_MIGRATION_LOCK: Final = 0x5354_4431

#: libpq's parameters, where the address says nothing else. A network that died is noticed.
_DEFAULTS: Final = {
    "connect_timeout": str(CONNECT_SECONDS),
    "application_name": "siutindei",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

#: Lets one transaction write at a time: positions are then in the order of commits.
LOCK: Final = "LOCK TABLE public.write_lock IN EXCLUSIVE MODE"

#: What is committed survives the server's death, also where its configuration gives that up.
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', true)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)

_TABLES: Final = (
    "CREATE TABLE siutindei_schema (version INTEGER NOT NULL)",
    "INSERT INTO siutindei_schema VALUES (0)",
    "CREATE TABLE stored_events (originator_id TEXT NOT NULL, originator_version INTEGER NOT NULL,"
    " topic TEXT NOT NULL, state BLOB NOT NULL,"
    " notification_id INTEGER GENERATED ALWAYS AS IDENTITY,"
    " PRIMARY KEY (originator_id, originator_version))",
    "CREATE UNIQUE INDEX stored_events_notification_id_idx ON stored_events (notification_id)",
    "CREATE TYPE stored_event_text AS"
    " (originator_id TEXT, originator_version INTEGER, topic TEXT, state BLOB)",
    # Who locks it has the turn to write. (A lock on the events themselves asks for the right to
    # change them; PostgreSQL has a right of its own for that only from version 17 on.)
    "CREATE TABLE write_lock ()",
    "CREATE TABLE commands (command_id TEXT PRIMARY KEY, event_ids TEXT NOT NULL)",
    "CREATE TABLE key_checks (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    *vault.TABLES,
    leaves.TABLE,
    # It runs as the owner, who alone may rewrite a table.
    "CREATE FUNCTION scrub_vault_keys() RETURNS void LANGUAGE sql SECURITY DEFINER"
    " SET search_path = public, pg_temp AS 'CLUSTER VERBOSE vault_keys USING vault_keys_pkey'",
    "REVOKE ALL ON FUNCTION scrub_vault_keys() FROM PUBLIC",
    *projections.first_statements(),
)
#: What each version of the schema adds to the one before, by the version that it makes.
_UPGRADES: Final = {2: projections.TO_VERSION_2, 3: (leaves.TABLE,)}


# --- connections ---------------------------------------------------------------------------------


def connect(
    url: str, password: Password | None = None, *, lock_seconds: float = LOCK_SECONDS
) -> psycopg.Connection[Any]:
    """Open a connection; its statements are never prepared, which a proxy between would mind.

    Args:
        url: `postgresql://...` as libpq has it.
        password: asked for a password.
        lock_seconds: how long to wait while others write, which says who is in a hurry.

    Raises:
        Unusable: the address cannot be understood; its text may hold a password and is not quoted.
    """
    try:
        parameters: dict[str, Any] = _DEFAULTS | conninfo_to_dict(url)
        if lock_seconds <= HURRY_SECONDS:
            parameters["connect_timeout"] = str(_HURRIED_CONNECT)
    except psycopg.ProgrammingError:
        raise Unusable(
            "SIUTINDEI_DATABASE is no address of a PostgreSQL database; write it as "
            "postgresql://USER@HOST:PORT/NAME, special characters in it as %XX"
        ) from None
    if password is not None:
        parameters["password"] = password()
    return psycopg.connect(
        **parameters, autocommit=True, prepare_threshold=None, row_factory=dict_row
    )


def _waits(lock_seconds: float, idle_seconds: float) -> LiteralString:
    """Give the statements that put an end to every wait of the transaction that they are in.

    They are not the session's: behind a proxy the next transaction may be in another one.
    """
    hurried = lock_seconds <= HURRY_SECONDS
    statement = min(STATEMENT_SECONDS, _HURRIED_STATEMENT) if hurried else STATEMENT_SECONDS
    idle = min(idle_seconds, _HURRIED_IDLE) if hurried else idle_seconds
    settings = {
        "lock_timeout": f"{int(lock_seconds * 1000)}ms",
        "statement_timeout": f"{int(statement * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{int(idle * 1000)}ms",
        "search_path": "public, pg_temp",
        # What the digest and the read models say does not depend on the server.
        "timezone": "UTC",
    }
    return "; ".join(
        f"SET LOCAL {name} = {value if name == 'search_path' else repr(value)}"
        for name, value in settings.items()
    )


class _Pool:
    """One connection: opened when it is first needed, checked before use, replaced when lost."""

    def __init__(self, opened: Callable[[], psycopg.Connection[Any]], seconds: float) -> None:
        self._open = opened
        self._seconds = seconds
        self._turn = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._is_closed = False

    def open(self, wait: bool = False, timeout: float = 0) -> None:  # noqa: FBT001, FBT002
        """Do nothing: it is opened when it is needed."""

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection to one thread at a time."""
        if not self._turn.acquire(timeout=self._seconds):
            raise errors.LockNotAvailable("another thread keeps the connection")
        try:
            if self._is_closed:
                raise psycopg.ProgrammingError("the store is closed")
            connection = self._checked()
            try:
                yield connection
            finally:
                self._tidy(connection)
        finally:
            self._turn.release()

    def _checked(self) -> psycopg.Connection[Any]:
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
            except psycopg.OperationalError:
                # Closed while it was idle, by the server, a proxy or a fail-over.
                self._drop()
        if self._connection is None or self._connection.closed:
            self._connection = self._open()
        return self._connection

    def _tidy(self, connection: psycopg.Connection[Any]) -> None:
        """Leave no transaction open behind a block that did not end well."""
        if connection.info.transaction_status != TransactionStatus.IDLE:
            try:
                connection.rollback()
            except psycopg.Error:
                self._drop()

    def close(self) -> None:
        """Close the connection for good, when nobody uses it any more."""
        if self._turn.acquire(timeout=self._seconds):
            try:
                self._is_closed = True
                self._drop()
            finally:
                self._turn.release()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Datastore(PostgresDatastore):
    """`eventsourcing`'s datastore with one connection, and an end to every wait."""

    def __init__(
        self,
        url: str,
        *,
        lock_seconds: float = LOCK_SECONDS,
        idle_seconds: float | None = None,
        password: Password | None = None,
    ) -> None:
        """Prepare to connect; nothing is opened before it is used.

        Args:
            url: `postgresql://...` as libpq has it.
            lock_seconds: how long to wait while others write.
            idle_seconds: how long a transaction may stand still, `IDLE_SECONDS` by default.
            password: asked for a password at every connection (IAM authentication).
        """
        super().__init__("", "", "", "", "", originator_id_type="text")
        self.pool.close()
        pool: Any = _Pool(lambda: connect(url, password, lock_seconds=lock_seconds), lock_seconds)
        self.pool = pool
        self.lock_timeout = max(1, int(lock_seconds))  # for the recorder's own statements
        self._waits = _waits(lock_seconds, idle_seconds or IDLE_SECONDS)

    @contextmanager
    def transaction(
        self, *, commit: bool = False, first: LiteralString = ""
    ) -> Iterator[psycopg.Cursor[DictRow]]:
        """Begin a transaction in which no wait is without an end.

        Args:
            commit: whether it changes something.
            first: statements that go out with the beginning; the cursor has what the last gave.
        """
        begin: LiteralString = (
            # Each statement sees what was committed before it; under the lock nothing is.
            "BEGIN ISOLATION LEVEL READ COMMITTED; "
            if commit
            else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
        )
        begin = "; ".join(part for part in (begin + self._waits, first) if part)
        with self.get_connection() as connection:
            cursor = connection.execute(begin)
            while cursor.nextset():
                pass
            yield cursor
            if not commit:
                connection.rollback()
                return
            if connection.info.transaction_status == TransactionStatus.INERROR:
                # PostgreSQL would answer a COMMIT with a silent ROLLBACK.
                raise Conflict("a part of the change failed; nothing was changed")
            connection.commit()


class Recorder(PostgresApplicationRecorder):
    """`eventsourcing`'s recorder, used inside a transaction that has the turn to write."""

    def __init__(self, datastore: Datastore) -> None:
        super().__init__(datastore)
        self.lock_table_statements[-1] = LOCK

    def insert(self, cursor: psycopg.Cursor[DictRow], stored: StoredEvent) -> int:
        """Insert one event in a transaction of the caller's, and give its position."""
        PostgresAggregateRecorder._insert_stored_events(self, cursor, [stored])  # noqa: SLF001
        positions = self._fetch_ids_after_insert_events(cursor, [stored])
        if not positions:
            msg = "the recorder gave no position"
            raise PersistenceError(msg)
        return positions[0]


class _Cursor(TablesOnce):
    """A cursor that takes `?` for values; what it has at first are the rows of `LIVE`."""

    def __init__(self, cursor: psycopg.Cursor[DictRow]) -> None:
        self.psycopg = cursor
        self._live = cursor.fetchall()

    def live(self) -> Iterable[Any]:
        """Give the tables that serve: they came with the beginning of the transaction."""
        return self._live

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        return self.psycopg.rowcount

    def execute(self, statement: str, values: Sequence[object] = (), /) -> None:
        """Execute one statement."""
        query: Any = statement.replace("?", "%s")
        self.psycopg.execute(query, values or None)

    def executemany(self, statement: str, values: Sequence[Sequence[object]], /) -> None:
        """Execute one statement for each of several rows of values."""
        query: Any = statement.replace("?", "%s")
        self.psycopg.executemany(query, values)

    def fetchone(self) -> Any:
        """Give the next row, or None."""
        return self.psycopg.fetchone()

    def fetchall(self) -> Any:
        """Give the rows that are left."""
        return self.psycopg.fetchall()


# --- the schema ----------------------------------------------------------------------------------


def roles() -> str:
    """Give the SQL of the roles with the least rights."""
    return resources.files("siutindei.adapters").joinpath("roles.sql").read_text("utf-8")


class PostgresSchema:
    """See `ports.Schema`."""

    newest = SCHEMA_VERSION

    def __init__(
        self, url: str, *, password: Password | None = None, lock_seconds: float = LOCK_SECONDS
    ) -> None:
        self._url = url
        self._password = password
        self._lock_seconds = lock_seconds

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Connection[Any]]:
        with (
            translated(),
            connect(self._url, self._password, lock_seconds=self._lock_seconds) as connection,
            connection.transaction(),
        ):
            connection.execute(_waits(self._lock_seconds, IDLE_SECONDS))
            yield connection

    def version(self) -> int:
        """Say which version the schema has, 0 when there is none."""
        with self._transaction() as connection:
            return _version(connection)

    def migrate(self) -> int:
        """Bring the schema up to this version, whoever else does so too; give the one before."""
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATION_LOCK,))
            before = _version(connection)
            statements = (
                _TABLES
                if before == 0
                else [
                    statement
                    for version in range(before + 1, SCHEMA_VERSION + 1)
                    for statement in _UPGRADES[version]
                ]
            )
            for statement in statements:
                query: Any = _dialect(statement)
                connection.execute(query)
            connection.execute("UPDATE siutindei_schema SET version = %s", (SCHEMA_VERSION,))
            return before

    def damage(self) -> str | None:
        """Say nothing: looking for damage is the server's own work (its checksums, amcheck)."""
        return None

    def prepare(self) -> bool:
        """Check the schema; say whether there is no event yet."""
        with self._transaction() as connection:
            if _version(connection) < SCHEMA_VERSION:
                raise Unusable(_NOT_MIGRATED)
            return connection.execute("SELECT 1 FROM stored_events LIMIT 1").fetchone() is None

    def backup(self, file: str) -> int:
        """Refuse: PostgreSQL has better means."""
        raise Unusable(_PG_DUMP)


def _version(connection: psycopg.Connection[Any]) -> int:
    """Say which version the schema has; another program's database is refused."""
    if _one(connection, "SELECT to_regclass('public.siutindei_schema') IS NOT NULL AS found"):
        version = int(_one(connection, "SELECT max(version) AS found FROM siutindei_schema"))
        if version > SCHEMA_VERSION:
            raise Unusable(
                f"the database was made by a newer version (schema {version}, this one knows "
                f"{SCHEMA_VERSION}); install that version"
            )
        return version
    if _one(connection, _FOREIGN):
        raise Unusable("the database holds the tables of another program; name another one")
    return 0


def _one(connection: psycopg.Connection[Any], query: LiteralString) -> Any:
    row = connection.execute(query).fetchone()
    return row["found"] if row is not None else None


#: Whether there is a table that is neither ours nor an extension's.
_FOREIGN: Final = (
    "SELECT EXISTS (SELECT 1 FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace"
    " AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_depend AS d"
    " WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) AS found"
)
_PG_DUMP: Final = "PostgreSQL is backed up with its own pg_dump; docs/backup.md says how"
_NOT_MIGRATED: Final = "the database is not migrated; run: siutindei database migrate"


def _dialect(statement: str) -> str:
    """Write a statement as PostgreSQL has it; texts are compared byte by byte, as SQLite does."""
    if not statement.startswith(("CREATE TABLE", "CREATE TYPE")):
        return statement
    for pattern, replacement in _TYPES:
        statement = re.sub(pattern, replacement, statement)
    return statement


_TYPES: Final = (
    (r"\bTEXT\b", 'TEXT COLLATE "C"'),
    (r"\bBLOB\b", "BYTEA"),
    (r"\bINTEGER\b", "BIGINT"),
)


# --- errors --------------------------------------------------------------------------------------


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's errors into the port's; none of them quotes a value."""
    try:
        yield
    except (psycopg.Error, PersistenceError) as error:
        raise _translate(error) from error
    except UnicodeEncodeError:
        raise Invalid("text", "is not valid text (a lone surrogate)") from None


def _translate(error: Exception) -> Exception:
    cause = error if isinstance(error, psycopg.Error) else error.__cause__ or error
    match cause:
        case errors.UniqueViolation():
            return Conflict("somebody else was first; load it and decide again")
        case errors.LockNotAvailable() | errors.DeadlockDetected():
            return Unavailable("the database is locked by another process; try again")
        case errors.QueryCanceled():
            return Unavailable("the database is too slow; nothing was changed, try again")
        case errors.DiskFull():
            return Unavailable(
                "the database's disk is full; nothing was changed, make room and try again"
            )
        case errors.ReadOnlySqlTransaction() | errors.ObjectNotInPrerequisiteState():
            return Lost("the database can only be read now (a standby, or a fail-over); try again")
        case errors.UndefinedTable() | errors.UndefinedColumn() | errors.UndefinedObject():
            return Unusable(_NOT_MIGRATED)
        case errors.InsufficientPrivilege():
            return Unusable("the database's role may not do this; see docs/postgresql.md")
        case errors.UntranslatableCharacter() | errors.CharacterNotInRepertoire():
            return Invalid("text", "is not valid text")
        case psycopg.DataError():
            return Invalid("text", "is not valid text (a NUL)")
        case (
            psycopg.OperationalError()
            | psycopg.InterfaceError()
            | errors.IdleInTransactionSessionTimeout()
        ):
            return _unreached(cause)
    if isinstance(error, IntegrityError):
        return Conflict("somebody else was first; load it and decide again")
    return error


def _unreached(error: psycopg.Error) -> Exception:
    """Tell a server that refuses us from one that is away; libpq says which in words only."""
    text = str(error)
    for words, mend in _REFUSALS:
        if words in text:
            return Unusable(f"the database refuses the connection: {mend}")
    return Lost("the database is down or out of reach; try again")


_REFUSALS: Final = (
    ("password authentication failed", "correct the name or the password in SIUTINDEI_DATABASE"),
    ("invalid ", "correct SIUTINDEI_DATABASE"),
    ("no password supplied", "it wants a password; see docs/postgresql.md"),
    ("no pg_hba.conf entry", "its rules do not allow this host, name or encryption"),
    ('" does not exist', "there is no such database or role; correct SIUTINDEI_DATABASE"),
    ("permission denied for database", "this role may not connect; see docs/postgresql.md"),
)


# --- the store -----------------------------------------------------------------------------------


class PostgresStore(SqlStore):
    """See `ports.EventStore` and `ports.Vault`."""

    position = "notification_id"
    holds = "position(?::bytea IN state) > 0"

    def __init__(
        self,
        url: str,
        *,
        master: KeyRing,
        clock: Clock,
        lock_seconds: float = LOCK_SECONDS,
        password: Password | None = None,
    ) -> None:
        """Prepare to use a database that was migrated.

        Args:
            url: `postgresql://...`
            master: the ring that wraps the keys of what is personal.
            clock: the time.
            lock_seconds: how long to wait while others write.
            password: asked for a password at every connection (IAM authentication).
        """
        super().__init__("the database", master=master, clock=clock)
        self._lock_seconds = lock_seconds
        self._connect = partial(Datastore, url, lock_seconds=lock_seconds, password=password)
        self._datastore = self._connect()
        with translated():
            self._recorder = Recorder(self._datastore)

    @contextmanager
    def reading(self) -> Iterator[Cursor]:
        """Begin a transaction that changes nothing and sees one moment."""
        with translated(), self._datastore.transaction(first=LIVE) as cursor:
            yield _Cursor(cursor)

    @contextmanager
    def writing(self) -> Iterator[Cursor]:
        """Begin a transaction that has the turn to write."""
        # What is asked under the lock is what stays until the end.
        first = f"{LOCK}; {_DURABLE}; {LIVE}"
        with translated(), self._datastore.transaction(commit=True, first=first) as cursor:
            yield _Cursor(cursor)

    @contextmanager
    def transaction(self, context: Context) -> Iterator[Change]:
        """Begin a change; a commit whose answer was lost succeeded all the same."""
        change: Change | None = None
        try:
            with super().transaction(context) as begun:
                yield begun
                change = begun
        except Lost:
            if change is None or not change.appended:
                raise
            self._ask(context, change.appended[-1])

    def _ask(self, context: Context, newest: Recorded) -> None:
        """Find out whether a change was committed.

        Raises:
            CommandRepeated: it was not, but meanwhile the command was carried out elsewhere.
            Unavailable: it was not, or nobody could tell.
        """

        def find(cursor: Cursor) -> Any:
            cursor.execute(
                "SELECT c.event_ids, e.notification_id FROM commands AS c"
                " LEFT JOIN stored_events AS e ON e.notification_id = ?"
                " AND e.originator_id = ? AND e.originator_version = ?"
                " WHERE c.command_id = ?",
                (newest.position, newest.stream, newest.version, context.command_id),
            )
            return cursor.fetchone()

        row = self.ask_again(find, learn="repeat the command under the same command id to learn")
        if row is None:
            raise Unavailable("the database went away; nothing was changed, try again")
        if row["notification_id"] is None:
            raise CommandRepeated(json.loads(row["event_ids"]))

    @contextmanager
    def building(self) -> Iterator[Cursor]:
        """Begin a transaction that changes a new table, which needs no turn to write."""
        with translated(), self._datastore.transaction(commit=True, first=LIVE) as cursor:
            yield _Cursor(cursor)

    @contextmanager
    def snapshot(self) -> Iterator[Cursor]:
        """Begin a transaction that sees one moment, on a connection of its own.

        It holds no lock that others wait for, so it may stand still while another table is read.
        """
        beside = self._connect(idle_seconds=MOMENT_SECONDS)
        try:
            with translated(), beside.transaction(first=LIVE) as cursor:
                yield _Cursor(cursor)
        finally:
            beside.close()

    def create(self, cursor: Cursor, table: Table, *, like: str | None) -> None:
        """Make a table; whoever may use the one that it is like may use it too."""
        for statement in table.statements:
            cursor.execute(_dialect(statement))
        if like is None:
            return
        cursor.execute(
            "SELECT format('GRANT %%s ON %%I TO %%s', privilege_type, ?::text, CASE grantee"
            " WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) AS statement"
            " FROM pg_class, aclexplode(relacl) WHERE oid = to_regclass(?) AND grantee <> relowner"
            # It belongs to whom the other one belongs to, whoever makes it.
            " UNION ALL SELECT format('ALTER TABLE %%I OWNER TO %%I', ?::text, pg_get_userbyid("
            "relowner)) FROM pg_class WHERE oid = to_regclass(?)"
            " AND pg_get_userbyid(relowner) <> current_user",
            (table.name, like, table.name, like),
        )
        for row in cursor.fetchall():
            cursor.execute(row["statement"])

    def analyze(self, table: str) -> None:
        """Gather statistics, which would otherwise come a minute after the table serves."""
        with self.building() as cursor:
            cursor.execute(f"ANALYZE {table}")

    def drop(self, table: str) -> None:
        """Take a table away."""
        with self.building() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")

    def insert(self, cursor: Cursor, stored: StoredEvent) -> int:
        """Insert one event, and give its position."""
        return self._recorder.insert(cast("_Cursor", cursor).psycopg, stored)

    def put(self, cursor: Cursor, stored: Notification) -> None:
        """Insert one event at the position that it has."""
        cursor.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state,"
            " notification_id) OVERRIDING SYSTEM VALUE VALUES (?, ?, ?, ?, ?)",
            (
                stored.originator_id,
                stored.originator_version,
                stored.topic,
                stored.state,
                stored.id,
            ),
        )

    def go_on_after(self, cursor: Cursor, position: int) -> None:
        """Let the next event come after a position; this is done whatever becomes of the rest."""
        if position:
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence('stored_events', 'notification_id'), ?)",
                (position,),
            )

    def close(self) -> None:
        """Close the connection."""
        self._datastore.close()

    def rewrite(self) -> None:
        """Rewrite the table of keys without what was deleted.

        What the server's own log and its backups hold until they are recycled is out of reach from
        here: see docs/postgresql.md.

        Raises:
            Unavailable: others still read from before, a dump perhaps; what was destroyed is in the
                file until this is done again.
        """
        until = time.monotonic() + min(_REWRITE_SECONDS, self._lock_seconds)
        while not self._rewritten():
            if time.monotonic() > until:
                raise Unavailable(
                    "erased, but others still read the database as it was before, a dump perhaps: "
                    "the next worker that starts rewrites the file without it"
                )
            time.sleep(_REWRITE_PAUSE)

    def _rewritten(self) -> bool:
        """Try once; whoever queues for the whole table keeps everybody behind them waiting."""
        kept: list[int] = []

        def note(notice: psycopg.errors.Diagnostic) -> None:
            # "5 dead row versions cannot be removed yet.", in the server's language.
            found = re.match(r"\s*(\d+)", notice.message_detail or "")
            kept.append(int(found.group(1)) if found else 0)

        with translated(), self._datastore.transaction(commit=True, first=_BRIEFLY) as cursor:
            connection = cursor.connection
            connection.add_notice_handler(note)
            try:
                cursor.execute("SAVEPOINT before")
                cursor.execute("SELECT scrub_vault_keys()")
            except errors.LockNotAvailable:
                cursor.execute("ROLLBACK TO before")
                return False
            finally:
                connection.remove_notice_handler(note)
        return not any(kept)
