"""The event store on a SQL database: what is the same for all of them.

A database adds to it how a transaction begins, how an event is inserted, and how its errors are the
port's. Statements are written with `?`; what differs beyond that is named here.
"""

from __future__ import annotations

import json
import re
import secrets
from abc import ABC, abstractmethod
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import msgspec
from eventsourcing.persistence import Notification

from siutindei.adapters import codec, projections
from siutindei.adapters.codec import EventMapper, UnreadableEvent
from siutindei.adapters.vault import CursorVault
from siutindei.adapters.views import SqlViews
from siutindei.app.ports import (
    CommandRepeated,
    Reading,
    Recorded,
    Unavailable,
    Unread,
    Unusable,
)
from siutindei.domain.catalogue import NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from eventsourcing.persistence import StoredEvent

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.projections import Table, Tables
    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Clock, Context, Entry, Views
    from siutindei.domain.catalogue import Event
    from siutindei.domain.personal import Personal

T = TypeVar("T")

#: The note that says that files still hold what was destroyed.
_OWED: Final = "scrub"
#: The note that says that a backup made this database.
COPIED: Final = "copied"
#: What the notes begin with that say whose mails are yet to be forgotten.
_UNFORGOTTEN: Final = "forget:"
_PAGE: Final = 500
#: As many events are looked through for texts at once, and for as many texts.
_LOOKED_THROUGH: Final = 5000
_TEXTS: Final = 200
#: How often a lost answer is asked for.
_QUESTIONS: Final = 3
_BIGGEST: Final = 2**63 - 1
#: How the text of an event begins; behind it is when it was recorded, to the second and finer.
_HEAD: Final = b'{"recorded_at":"'
#: Leaves out most of what was recorded at another time, before it is read: to the second, and as
#: far apart as clocks of any zone. What does not begin like that is not left out.
_RECORDED: Final = (
    f"(substr(state, 1, {len(_HEAD)}) <> ? OR substr(state, {len(_HEAD) + 1}, 19) {{}} ?)"
)
_ZONES: Final = timedelta(days=1)


class Lost(Unavailable):
    """The connection died; a change that was being committed may have been or not."""


class TablesOnce(ABC):
    """A cursor that finds out once, when it is asked, which tables serve in its transaction."""

    _tables: Tables | None = None

    @abstractmethod
    def live(self) -> Iterable[Any]:
        """Give the rows of `projections.LIVE`."""

    @property
    def tables(self) -> Tables:
        """The tables of the read models that serve, as this transaction sees them."""
        if self._tables is None:
            self._tables = projections.tables_of(self.live())
        return self._tables


class Change:
    """A transaction: see `ports.Transaction`."""

    def __init__(self, store: SqlStore, cursor: Cursor, context: Context) -> None:
        self._store = store
        self._cursor = cursor
        self._context = context
        self._vault = CursorVault(cursor, store.master)
        self._at = store.clock.now()
        self.appended: list[Recorded] = []
        self._views = SqlViews(self._reading)

    @contextmanager
    def _reading(self) -> Iterator[Cursor]:
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

    def has(self, stream: str) -> bool:
        """Whether anything happened in a stream."""
        return self._is_there(stream, 1)

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
        if events and version and not self._is_there(stream, version):
            msg = f"there is no {stream}/{version} to append behind"
            raise ValueError(msg)
        appended, sealed_events = [], []
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
            position = self._store.insert(self._cursor, stored)
            sealed = attrs.evolve(sealed, position=position)
            sealed_events.append(sealed)
            # The caller goes on with what it knows: the clear event.
            appended.append(attrs.evolve(sealed, event=event))
        projections.project(self._cursor, sealed_events)
        self.appended.extend(sealed_events)
        return tuple(appended)

    def _is_there(self, stream: str, version: int) -> bool:
        self._cursor.execute(
            "SELECT 1 FROM stored_events WHERE originator_id = ? AND originator_version = ?",
            (stream, version),
        )
        return self._cursor.fetchone() is not None

    def open(self, personal: Personal) -> Personal:
        """Open what is personal, with the keys that this transaction sees."""
        return self._vault.open(personal)

    def open_all(self, value: Any) -> Any:
        """Open everything personal in an attrs object."""
        return self._vault.open_all(value)

    def keys_of(self, owner: str) -> Mapping[str, str]:
        """Give the streams that an owner has a key for, by the key's id."""
        return self._vault.keys_of(owner)

    def destroy_keys(self, owner: str, *, forever: bool) -> None:
        """Destroy every key of an owner."""
        self._vault.destroy(owner, forever=forever)
        # Whoever is killed before the files are clean leaves word of it.
        _note(self._cursor, _OWED, secrets.token_hex(4))
        if forever:
            _note(self._cursor, f"{_UNFORGOTTEN}{owner}", "owed")

    def is_erased(self, owner: str) -> bool:
        """Whether an owner has no key, and never gets one."""
        return self._vault.is_erased(owner)

    def take_copy_mark(self) -> bool:
        """Say whether the database is an unopened copy; from now on it is none."""
        if not _noted(self._cursor, COPIED):
            return False
        _note(self._cursor, COPIED, "")
        return True

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
        if self.appended:
            self._cursor.execute(
                "INSERT INTO commands (command_id, event_ids) VALUES (?, ?)",
                (self._context.command_id, json.dumps([entry.id for entry in self.appended])),
            )


class SqlStore(ABC):
    """See `ports.EventStore` and `ports.Vault`.

    Attributes:
        database: what it is called in messages.
        position: the column of the events' positions.
        holds: the condition that an event's stored bytes hold some others.
    """

    position: str
    holds: str

    def __init__(self, database: str, *, master: KeyRing, clock: Clock) -> None:
        self.database = database
        self.master = master
        self.clock = clock
        self.mapper = EventMapper()
        self._views = SqlViews(self.reading)

    @abstractmethod
    def reading(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that changes nothing; errors are the port's."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that holds the write lock; errors are the port's."""

    @abstractmethod
    def building(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that changes only what nobody else does, such as a new table."""

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[Cursor]:
        """Begin a transaction that sees one moment, while others of this thread go on."""

    @abstractmethod
    def create(self, cursor: Cursor, table: Table, *, like: str | None) -> None:
        """Make a table; whoever may use the one that it is like may use it too."""

    @abstractmethod
    def analyze(self, table: str) -> None:
        """Let the database learn what is in a new table, so that it plans its queries well."""

    @abstractmethod
    def drop(self, table: str) -> None:
        """Take a table away that nobody uses any more, if it is there."""

    @abstractmethod
    def insert(self, cursor: Cursor, stored: StoredEvent) -> int:
        """Insert one event, and give its position."""

    @abstractmethod
    def put(self, cursor: Cursor, stored: Notification) -> None:
        """Insert one event at the position that it has."""

    @abstractmethod
    def go_on_after(self, cursor: Cursor, position: int) -> None:
        """Let the next event come after a position at which one was put; 0 when none was."""

    @abstractmethod
    def rewrite(self) -> None:
        """Write the files again without what was deleted."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    @contextmanager
    def transaction(self, context: Context) -> Iterator[Change]:
        """Begin a change."""
        with self.writing() as cursor:
            change = Change(self, cursor, context)
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
        with self.reading() as cursor:
            return self.select(cursor, stream, newest=newest, until=until)

    def select(
        self, cursor: Cursor, stream: str, *, newest: int | None, until: int | None
    ) -> Sequence[Recorded]:
        """Read a stream in order with a cursor."""
        where = "originator_id = ?"
        values: list[object] = [stream]
        if until is not None:
            where, values = f"{where} AND originator_version <= ?", [*values, _bounded(until)]
        order = "ASC"
        if newest is not None:
            order, values = "DESC LIMIT ?", [*values, _bounded(newest)]
        cursor.execute(
            f"SELECT {self._columns} FROM stored_events WHERE {where}"
            f" ORDER BY originator_version {order}",
            values,
        )
        rows = cursor.fetchall()
        return [self._recorded(row) for row in (rows if newest is None else reversed(rows))]

    def _recorded(self, row: Any) -> Recorded:
        stored = Notification(
            id=row["position"],
            originator_id=row["originator_id"],
            originator_version=row["originator_version"],
            topic=row["topic"],
            state=row["state"],
        )
        if not isinstance(stored.state, bytes):
            # SQLite keeps what it is given, whatever the column says.
            raise UnreadableEvent(stored, "what is stored is not bytes")
        recorded: Recorded = self.mapper.to_domain_event(stored)
        return recorded

    def read(
        self,
        *,
        after: int | datetime = 0,
        until: int | datetime | None = None,
        names: Sequence[str] = (),
        stream: str | None = None,
        holding: str | None = None,
    ) -> Iterator[Recorded]:
        """Read the log in order of position."""
        where = [f"{self.position} > ?"]
        values: list[Any] = []
        if isinstance(until, int):
            where.append(f"{self.position} <= ?")
            values.append(_bounded(until))
        elif until is not None:
            where.append(_RECORDED.format("<="))
            values.extend((_HEAD, _second(until, _ZONES)))
        if isinstance(after, datetime):
            where.append(_RECORDED.format(">="))
            values.extend((_HEAD, _second(after, -_ZONES)))
        if names:
            where.append(f"topic IN ({', '.join('?' * len(names))})")
            values.extend(names)
        if stream is not None:
            where.append("originator_id = ?")
            values.append(stream)
        if holding is not None:
            where.append(f"({self.holds} OR originator_id LIKE ? ESCAPE '!')")
            named = re.sub("([!%_])", r"!\1", holding)
            values.extend((msgspec.json.encode(holding), f"%-{named}"))
        statement = (
            f"SELECT {self._columns} FROM stored_events WHERE {' AND '.join(where)}"
            f" ORDER BY {self.position} LIMIT ?"
        )
        position = 0 if isinstance(after, datetime) else _bounded(after)
        while True:
            with self.reading() as cursor:
                cursor.execute(statement, (position, *values, _PAGE))
                rows = cursor.fetchall()
            for row in rows:
                recorded = self._recorded(row)
                # A clock can jump back: an event that is too late says nothing about the next.
                is_early = isinstance(after, datetime) and recorded.recorded_at <= after
                is_late = isinstance(until, datetime) and recorded.recorded_at > until
                if not is_early and not is_late:
                    yield recorded
            if len(rows) < _PAGE:
                return
            position = rows[-1]["position"]

    def entries(self, stream: str) -> Sequence[Entry]:
        """Read a stream in order, also what cannot be read."""
        with self.reading() as cursor:
            cursor.execute(
                f"SELECT {self._columns} FROM stored_events WHERE originator_id = ?"
                " ORDER BY originator_version",
                (stream,),
            )
            return [self._entry(row) for row in cursor.fetchall()]

    def mentions(self, texts: Sequence[str], *, after: int = 0) -> Iterator[Entry]:
        """Give the events that hold one of some texts, each in its quotation marks."""
        found = [msgspec.json.encode(text) for text in texts]
        after = _bounded(after)
        while True:
            rows: dict[int, Any] = {}
            with self.reading() as cursor:
                cursor.execute(
                    f"SELECT max({self.position}) AS n FROM (SELECT {self.position}"
                    f" FROM stored_events WHERE {self.position} > ?"
                    f" ORDER BY {self.position} LIMIT ?) AS page",
                    (after, _LOOKED_THROUGH),
                )
                last = cursor.fetchone()["n"]
                if last is None:
                    return
                for start in range(0, len(found), _TEXTS):
                    some = found[start : start + _TEXTS]
                    cursor.execute(
                        f"SELECT {self._columns} FROM stored_events"
                        f" WHERE {self.position} > ? AND {self.position} <= ?"
                        f" AND ({' OR '.join([self.holds] * len(some))})",
                        (after, last, *some),
                    )
                    rows.update((row["position"], row) for row in cursor.fetchall())
            yield from (self._entry(rows[position]) for position in sorted(rows))
            after = last

    def _entry(self, row: Any) -> Entry:
        try:
            return self._recorded(row)
        except UnreadableEvent as problem:
            recorded_at, context, texts = self.mapper.outline(row["state"])
            return Unread(
                stream=row["originator_id"],
                version=row["originator_version"],
                position=row["position"],
                name=row["topic"],
                why=problem.why,
                recorded_at=recorded_at,
                context=context,
                texts=texts,
            )

    def page(self, cursor: Cursor, *, after: int, until: int, category: str) -> Sequence[Recorded]:
        """Read the events of one category between two positions with a cursor, in order."""
        cursor.execute(
            f"SELECT {self._columns} FROM stored_events"
            f" WHERE {self.position} > ? AND {self.position} <= ?"
            # Every stream of the category, and no other: "." comes after "-". (What is added to
            # the name keeps the database from looking there: a category is a third of the log.)
            " AND originator_id || '' >= ? AND originator_id || '' < ?"
            f" ORDER BY {self.position}",
            (after, until, f"{category}-", f"{category}."),
        )
        return [self._recorded(row) for row in cursor.fetchall()]

    def next_position(self, cursor: Cursor, position: int) -> int:
        """Give the position of the first event behind one; where there is none, the next number."""
        cursor.execute(
            f"SELECT min({self.position}) AS n FROM stored_events WHERE {self.position} > ?",
            (position,),
        )
        found = cursor.fetchone()["n"]
        return position + 1 if found is None else int(found)

    def stored_page(self, cursor: Cursor, after: int, limit: int) -> Sequence[Any]:
        """Read a page of the log as it is stored."""
        cursor.execute(
            f"SELECT {self._columns} FROM stored_events WHERE {self.position} > ?"
            f" ORDER BY {self.position} LIMIT ?",
            (after, limit),
        )
        rows: Sequence[Any] = cursor.fetchall()
        return rows

    def readings(self, *, until: int) -> Iterator[Reading]:
        """Read everything that is stored, and look whether it is all there."""
        after, rows = -_BIGGEST, [None] * _PAGE
        while len(rows) == _PAGE:
            with self.reading() as cursor:
                cursor.execute(
                    f"SELECT {self.bare_columns} FROM stored_events"
                    f" WHERE {self.position} > ? AND {self.position} <= ?"
                    f" ORDER BY {self.position} LIMIT ?",
                    (after, _bounded(until), _PAGE),
                )
                rows = cursor.fetchall()
            for row in rows:
                yield self._reading(row)
                after = row["position"]

    def _reading(self, row: Any) -> Reading:
        stream, name = _text(row["originator_id"]), _text(row["topic"])
        stored = Notification(
            id=row["position"],
            originator_id=stream or "?",
            originator_version=row["originator_version"],
            topic=name or "?",
            state=bytes(row["state"]),
        )
        recorded, trouble = None, "what is stored is not of the types that it should be"
        if row["is_sound"] and stream and name:
            try:
                recorded = self.mapper.to_domain_event(stored)
                trouble = self.mapper.deviation(stored, recorded)
            except UnreadableEvent as error:
                trouble = error.why
        return Reading(
            id=f"{stored.originator_id}/{stored.originator_version}",
            position=stored.id,
            name=stored.topic,
            recorded=recorded,
            trouble=trouble,
        )

    def last_position(self) -> int:
        """Give the position of the newest event, 0 when there is none."""
        with self.reading() as cursor:
            return self.head(cursor)

    def head(self, cursor: Cursor) -> int:
        """Give the position of the newest event that a cursor sees, 0 when there is none."""
        cursor.execute(f"SELECT coalesce(max({self.position}), 0) AS n FROM stored_events")
        return int(cursor.fetchone()["n"])

    def open(self, personal: Personal) -> Personal:
        """Open what is personal."""
        if not personal.is_sealed:
            return personal
        with self.reading() as cursor:
            return CursorVault(cursor, self.master).open(personal)

    def open_all(self, value: Any) -> Any:
        """Open everything personal in an attrs object."""
        with self.reading() as cursor:
            return CursorVault(cursor, self.master).open_all(value)

    def not_erased(self, owners: Sequence[str]) -> Sequence[str]:
        """Say which of some owners have a key, or might get one."""
        erased: set[str] = set()
        with self.reading() as cursor:
            for start in range(0, len(owners), _PAGE):
                page = owners[start : start + _PAGE]
                cursor.execute(
                    "SELECT owner FROM vault_erased AS e"
                    f" WHERE owner IN ({', '.join('?' * len(page))})"
                    " AND NOT EXISTS (SELECT 1 FROM vault_keys AS k WHERE k.owner = e.owner)",
                    tuple(page),
                )
                erased.update(row["owner"] for row in cursor.fetchall())
        return [owner for owner in owners if owner not in erased]

    def erased_owners(self) -> Sequence[str]:
        """List the owners who never get a key again, in order."""
        with self.reading() as cursor:
            cursor.execute("SELECT owner FROM vault_erased ORDER BY owner")
            return [row["owner"] for row in cursor.fetchall()]

    def ask_again(self, question: Callable[[Cursor], T], *, learn: str) -> T:
        """Ask what became of a transaction whose answer was lost.

        Args:
            question: asked when that one is over: nobody holds its lock any more.
            learn: how somebody else finds out, when this did not.

        Raises:
            Unavailable: nobody could tell.
        """
        asked = 0
        while True:
            try:
                with self.writing() as cursor:
                    return question(cursor)
            except Unavailable as error:
                asked += 1
                if asked == _QUESTIONS:
                    raise Unavailable(
                        "the database went away while it committed, and nobody can tell whether "
                        f"it did; {learn}"
                    ) from error
                self.clock.sleep(asked)

    def scrub(self) -> None:
        """Make sure that what was destroyed is in no file any more."""
        owed = self.owed
        self.rewrite()
        if owed:
            with self.writing() as cursor:
                # What was destroyed meanwhile is owed still.
                cursor.execute(
                    "UPDATE key_checks SET value = '' WHERE name = ? AND value = ?", (_OWED, owed)
                )

    @property
    def owed(self) -> str:
        """What `scrub` has yet to do; empty when that is nothing."""
        with self.reading() as cursor:
            return _noted(cursor, _OWED)

    @property
    def is_copy(self) -> bool:
        """Whether the database is a copy that nobody has opened yet."""
        with self.reading() as cursor:
            return bool(_noted(cursor, COPIED))

    @property
    def unforgotten(self) -> Sequence[str]:
        """List who was erased and whose mails are yet to be forgotten."""
        with self.reading() as cursor:
            cursor.execute(
                "SELECT name FROM key_checks WHERE name LIKE ? AND value <> '' ORDER BY name",
                (f"{_UNFORGOTTEN}%",),
            )
            return [row["name"].removeprefix(_UNFORGOTTEN) for row in cursor.fetchall()]

    def note_forgotten(self, owner: str) -> None:
        """Remember that somebody's mails were forgotten."""
        with self.writing() as cursor:
            cursor.execute(
                "UPDATE key_checks SET value = '' WHERE name = ?", (f"{_UNFORGOTTEN}{owner}",)
            )

    def check_ring(self, name: str, ring: KeyRing, *, rotates: bool) -> None:
        """Remember which key the database was made with, or refuse a ring that lacks it.

        A ring that does not rotate has to have that key as its current one.

        Raises:
            Unusable: the key is another one.
        """
        with self.reading() as cursor:
            if _passes(cursor, name, ring, rotates=rotates):
                return
        with self.writing() as cursor:
            if _passes(cursor, name, ring, rotates=rotates):
                return
            cursor.execute("SELECT 1 FROM stored_events LIMIT 1")
            if cursor.fetchone() is not None:
                msg = (
                    f"the {name} is not the one that this database was made with; put that one back"
                )
                raise Unusable(msg)
            # Nothing is lost with a key that nothing was ever written with.
            _note(cursor, name, ring.check)

    def digest(self, names: Sequence[str]) -> str:
        """Give the SHA-256 of every row of the read models named, in a fixed order."""
        with self.reading() as cursor:
            return projections.digest(cursor, names)

    @property
    def bare_columns(self) -> str:
        """What to ask for when nothing is taken for granted: the columns, and `is_sound`."""
        return f"{self._columns}, TRUE AS is_sound"

    @property
    def _columns(self) -> str:
        return f"{self.position} AS position, originator_id, originator_version, topic, state"


def mark_copy(cursor: Cursor) -> None:
    """Note that the database is a copy: whoever opens it next lets no mail go at first."""
    _note(cursor, COPIED, "yes")


def _text(stored: str | bytes) -> str:
    """Give what is stored as a text; empty when it is none."""
    try:
        return stored if isinstance(stored, str) else stored.decode()
    except UnicodeDecodeError:
        return ""


def _noted(cursor: Cursor, name: str) -> str:
    """Give what is remembered under a name, empty when nothing is."""
    cursor.execute("SELECT value FROM key_checks WHERE name = ?", (name,))
    row = cursor.fetchone()
    return "" if row is None else str(row["value"])


def _note(cursor: Cursor, name: str, value: str) -> None:
    """Remember something about the keys of this database."""
    cursor.execute(
        "INSERT INTO key_checks (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _passes(cursor: Cursor, name: str, ring: KeyRing, *, rotates: bool) -> bool:
    cursor.execute("SELECT value FROM key_checks WHERE name = ?", (name,))
    row = cursor.fetchone()
    if row is None:
        return False
    return ring.passes(row["value"]) if rotates else bool(row["value"] == ring.check)


def _second(at: datetime, apart: timedelta) -> bytes:
    """Give the second that is so far from a moment, as the text of an event has it."""
    try:
        return (at.astimezone(UTC) + apart).isoformat(timespec="seconds")[:19].encode()
    except OverflowError:
        return b"9" if apart > timedelta(0) else b"0"


def _bounded(number: int) -> int:
    """Keep a number within what SQLite counts with: no position and no version is beyond it."""
    return max(-_BIGGEST, min(number, _BIGGEST))
