"""The read models: what is in each, and how an event changes it.

A row holds the aggregate's own state, folded with the aggregate's own `evolve`, sealed fields
copied as they are, and beside it the columns that queries need. Nothing here is a source of truth:
each read model can be made again from the history, and `read_models` does so beside the live one.

Who changes what a read model holds (its columns, or the state that its documents are) gives it a
new version, and leaves the old one in `ALL` for as long as an installation may still be served by
it: docs/architecture.md says how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.codec import decode_document, encode_document
from siutindei.app.ports import Recorded, Unusable
from siutindei.app.times import micros
from siutindei.domain import (
    access,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from siutindei.adapters.sql import Cursor

Row = Mapping[str, Any]

#: The largest number of a ticket: the next ones have to find room behind it.
_LARGEST: Final = 999_999_999
#: How many rows are asked for at once.
_PAGE: Final = 500


@attrs.frozen(kw_only=True, eq=False)
class Projection:
    """One version of one read model.

    Attributes:
        name: what it is called.
        version: counted up when what it holds changes.
        category: whose events it is made from.
        columns: their names and types; the first is the key.
        constraints: what is unique besides.
        indexes: what each is on, by the end of its name.
        key: which row an event concerns, None when none.
        row: what that row is after the event (None: not there any more), given what it was before.
    """

    name: str
    version: int
    category: str
    columns: Mapping[str, str]
    constraints: tuple[str, ...] = ()
    indexes: Mapping[str, str]
    key: Callable[[Recorded], str | None]
    row: Callable[[Row | None, Recorded], Row | None]

    @property
    def key_column(self) -> str:
        """The column of the key."""
        return next(iter(self.columns))


@attrs.frozen(kw_only=True)
class Table:
    """One generation of a read model: made by one version of it, and a table of its own."""

    projection: Projection
    generation: int

    @property
    def name(self) -> str:
        """The table's name."""
        return f"{self.projection.name}_{self.generation}"

    @property
    def statements(self) -> tuple[str, ...]:
        """The statements that make it."""
        of = self.projection
        columns = [f"{name} {kind}" for name, kind in of.columns.items()]
        return (
            f"CREATE TABLE {self.name} ({', '.join([*columns, *of.constraints])})",
            *(
                f"CREATE INDEX {self.name}_by_{end} ON {self.name} {what}"
                for end, what in of.indexes.items()
            ),
        )


# --- what each holds ------------------------------------------------------------------------------


def _id(recorded: Recorded) -> str:
    """Give what a stream is about: its name without the category."""
    return recorded.stream.partition("-")[2]


def _first(row: Row | None, recorded: Recorded) -> int:
    """Give the position of the event that made a row."""
    return recorded.position if row is None else int(row["position"])


def _due(state: notification.Notification | grant.Grant) -> int | None:
    return None if state.due_at is None else micros(state.due_at)


def _ticket_row(row: Row | None, recorded: Recorded) -> Row | None:
    before = ticket.INITIAL if row is None else decode_document(ticket.Ticket, row["document"])
    event: Any = recorded.event
    state = ticket.evolve(before, event)
    if state.submitted is None:
        return None
    reference = _id(recorded)
    number = int(reference[1:])
    if not 0 < number <= _LARGEST:
        msg = f"{reference} is no ticket's number"
        raise ValueError(msg)
    return {
        "reference": reference,
        "uuid": state.submitted.id,
        "ticket_type": state.submitted.ticket_type,
        "number": number,
        "submitter": state.submitted.submitter,
        "status": state.status,
        "position": _first(row, recorded),
        "stars": 0 if state.decision is None else state.decision.stars,
        "document": encode_document(state),
    }


def _pending_row(_: Row | None, recorded: Recorded) -> Row | None:
    event = recorded.event
    if not isinstance(event, ticket.Submitted):
        return None
    return {
        "reference": _id(recorded),
        "submitter": event.submitter,
        "ticket_type": event.ticket_type,
    }


def _audit_key(recorded: Recorded) -> str:
    return f"{_id(recorded)}-{recorded.version}"


def _audit_row(_: Row | None, recorded: Recorded) -> Row:
    event: Any = recorded.event
    is_new = isinstance(event, ticket.Submitted)
    return {
        "id": _audit_key(recorded),
        "reference": _id(recorded),
        "action": "INSERT" if is_new else "UPDATE",
        "person": event.submitter if is_new else event.reviewer,
        "at": micros(event.at),
        "position": recorded.position,
    }


def _pending_row_2(before: Row | None, recorded: Recorded) -> Row | None:
    row = _pending_row(before, recorded)
    if row is None:
        return None
    event: Any = recorded.event
    # What the old API took keeps nobody from anything: it has a place of its own.
    return {**row, "place": _id(recorded) if event.rule == ticket.TAKEN_RULE else ""}


def _person_row(row: Row | None, recorded: Recorded) -> Row:
    event: Any = recorded.event
    erased = isinstance(event, person.Erased)
    fingerprint = ("" if row is None else row["fingerprint"]) if erased else event.fingerprint
    return {
        "person": _id(recorded),
        "fingerprint": fingerprint,
        "erased": int(erased) if row is None else row["erased"] | erased,
        "position": _first(row, recorded),
    }


def _challenge_key(recorded: Recorded) -> str | None:
    event = recorded.event
    return event.challenge if isinstance(event, challenge.Issued) else None


def _challenge_row(_: Row | None, recorded: Recorded) -> Row:
    event: Any = recorded.event
    return {
        "challenge": event.challenge,
        "client": event.client,
        "fingerprint": event.fingerprint,
        "proved": int(event.proved),
        "issued_at": micros(event.at),
    }


def _notification_row(row: Row | None, recorded: Recorded) -> Row | None:
    kind = notification.Notification
    before = notification.INITIAL if row is None else decode_document(kind, row["document"])
    event: Any = recorded.event
    state = notification.evolve(before, event)
    if state.requested is None:
        return None
    return {
        "id": _id(recorded),
        "kind": state.requested.kind,
        "status": state.status,
        "ticket": state.requested.ticket,
        "person": state.requested.user,
        "due_at": _due(state),
        "position": _first(row, recorded),
        "document": encode_document(state),
    }


def _message_key(recorded: Recorded) -> str | None:
    event = recorded.event
    return event.message_id if isinstance(event, notification.Accepted) else None


def _message_row(_: Row | None, recorded: Recorded) -> Row:
    return {"message_id": _message_key(recorded), "notification": _id(recorded)}


def _send_key(recorded: Recorded) -> str | None:
    attempt = getattr(recorded.event, "attempt", None)
    return None if attempt is None else f"{_id(recorded)}-{attempt}"


def _send_row(row: Row | None, recorded: Recorded) -> Row | None:
    event = recorded.event
    if isinstance(event, notification.AttemptStarted):
        return {
            "send": _send_key(recorded),
            # Its kind is there: the event does not repeat it.
            "notification": _id(recorded),
            "at": micros(event.at),
            "was_unknown": 0,
            "position": recorded.position,
        }
    if row is not None and isinstance(event, notification.OutcomeUnknown):
        return {**row, "was_unknown": 1}
    if row is not None and isinstance(event, notification.Failed):
        # After an unknown outcome "failed" is what was decided, not what is known.
        return row if row["was_unknown"] else None
    return row


def _grant_row(row: Row | None, recorded: Recorded) -> Row | None:
    before = grant.INITIAL if row is None else decode_document(grant.Grant, row["document"])
    event: Any = recorded.event
    state = grant.evolve(before, event)
    if state.requested is None:
        return None
    return {
        "id": _id(recorded),
        "status": state.status,
        "ticket": state.requested.ticket,
        "due_at": _due(state),
        "position": _first(row, recorded),
        "document": encode_document(state),
    }


def _suppression_row(row: Row | None, recorded: Recorded) -> Row:
    kind = suppression.Suppression
    before = suppression.INITIAL if row is None else decode_document(kind, row["document"])
    event: Any = recorded.event
    state = suppression.evolve(before, event)
    return {
        "fingerprint": _id(recorded),
        "position": _first(row, recorded),
        "document": encode_document(state),
    }


def _report_row(row: Row | None, recorded: Recorded) -> Row | None:
    before = report.INITIAL if row is None else decode_document(report.Reports, row["document"])
    event: Any = recorded.event
    state = report.evolve(before, event)
    return {
        "id": _id(recorded),
        "status": state.status,
        "position": _first(row, recorded),
        "document": encode_document(state),
    }


def _event_id(recorded: Recorded) -> str:
    return recorded.id


def _access_row(_: Row | None, recorded: Recorded) -> Row:
    event: Any = recorded.event
    return {"id": recorded.id, "subject": event.subject, "position": recorded.position}


def _lane_row(row: Row | None, recorded: Recorded) -> Row:
    before = lane.INITIAL if row is None else decode_document(lane.Lane, row["document"])
    event: Any = recorded.event
    return {"name": _id(recorded), "document": encode_document(lane.evolve(before, event))}


_TEXT: Final = "TEXT NOT NULL"
_NUMBER: Final = "INTEGER NOT NULL"
_KEY: Final = "TEXT PRIMARY KEY"
_BYTES: Final = "BLOB NOT NULL"

#: Every version that this program can write and read; the newest of each name is the last.
ALL: Final[tuple[Projection, ...]] = (
    Projection(
        name="tickets",
        version=1,
        category=ticket.CATEGORY,
        columns={
            "reference": _KEY,
            "uuid": _TEXT,
            "ticket_type": _TEXT,
            "number": _NUMBER,
            "submitter": _TEXT,
            "status": _TEXT,
            "position": _NUMBER,
            "stars": _NUMBER,
            "document": _BYTES,
        },
        constraints=("UNIQUE (uuid)",),
        indexes={
            "number": "(ticket_type, number)",
            "position": "(position)",
            "submitter": "(submitter, ticket_type)",
            "status": "(status, ticket_type)",
        },
        key=_id,
        row=_ticket_row,
    ),
    Projection(
        name="pending",
        version=1,
        category=ticket.CATEGORY,
        columns={"reference": _KEY, "submitter": _TEXT, "ticket_type": _TEXT},
        # What refuses a second pending ticket.
        constraints=("UNIQUE (submitter, ticket_type)",),
        indexes={},
        key=_id,
        row=_pending_row,
    ),
    Projection(
        name="pending",
        version=2,
        category=ticket.CATEGORY,
        columns={"reference": _KEY, "submitter": _TEXT, "ticket_type": _TEXT, "place": _TEXT},
        constraints=("UNIQUE (submitter, ticket_type, place)",),
        indexes={},
        key=_id,
        row=_pending_row_2,
    ),
    Projection(
        # What was done to tickets: where each event is, and nothing of what is in it.
        name="audit_logs",
        version=1,
        category=ticket.CATEGORY,
        columns={
            "id": _KEY,
            "reference": _TEXT,
            "action": _TEXT,
            "person": _TEXT,
            "at": _NUMBER,
            "position": _NUMBER,
        },
        constraints=("UNIQUE (position)",),
        indexes={"reference": "(reference, position)", "person": "(person, position)"},
        key=_audit_key,
        row=_audit_row,
    ),
    Projection(
        name="people",
        version=1,
        category=person.CATEGORY,
        columns={"person": _KEY, "fingerprint": _TEXT, "erased": _NUMBER, "position": _NUMBER},
        indexes={"fingerprint": "(fingerprint)"},
        key=_id,
        row=_person_row,
    ),
    Projection(
        name="challenges",
        version=1,
        category=challenge.CATEGORY,
        columns={
            "challenge": _KEY,
            "client": _TEXT,
            "fingerprint": _TEXT,
            "proved": _NUMBER,
            "issued_at": _NUMBER,
        },
        indexes={"time": "(issued_at)", "fingerprint": "(fingerprint, issued_at)"},
        key=_challenge_key,
        row=_challenge_row,
    ),
    Projection(
        name="notifications",
        version=1,
        category=notification.CATEGORY,
        columns={
            "id": _KEY,
            "kind": _TEXT,
            "status": _TEXT,
            "ticket": "TEXT",
            "person": "TEXT",
            "due_at": "INTEGER",
            "position": _NUMBER,
            "document": _BYTES,
        },
        indexes={
            "due": "(due_at) WHERE due_at IS NOT NULL",
            "ticket": "(ticket)",
            "person": "(person)",
            "status": "(status)",
        },
        key=_id,
        row=_notification_row,
    ),
    Projection(
        name="grants",
        version=1,
        category=grant.CATEGORY,
        columns={
            "id": _KEY,
            "status": _TEXT,
            "ticket": _TEXT,
            "due_at": "INTEGER",
            "position": _NUMBER,
            "document": _BYTES,
        },
        indexes={"due": "(due_at) WHERE due_at IS NOT NULL", "ticket": "(ticket)"},
        key=_id,
        row=_grant_row,
    ),
    Projection(
        name="messages",
        version=1,
        category=notification.CATEGORY,
        columns={"message_id": _KEY, "notification": _TEXT},
        indexes={},
        key=_message_key,
        row=_message_row,
    ),
    Projection(
        name="suppressions",
        version=1,
        category=suppression.CATEGORY,
        columns={"fingerprint": _KEY, "position": _NUMBER, "document": _BYTES},
        indexes={"position": "(position)"},
        key=_id,
        row=_suppression_row,
    ),
    Projection(
        name="lanes",
        version=1,
        category=lane.CATEGORY,
        columns={"name": _KEY, "document": _BYTES},
        indexes={},
        key=_id,
        row=_lane_row,
    ),
    Projection(
        # What the budget counts: attempts that sent a mail, or may have.
        name="sends",
        version=1,
        category=notification.CATEGORY,
        columns={
            "send": _KEY,
            "notification": _TEXT,
            "at": _NUMBER,
            "was_unknown": _NUMBER,
            "position": _NUMBER,
        },
        indexes={"time": "(at)"},
        key=_send_key,
        row=_send_row,
    ),
    Projection(
        name="reports",
        version=1,
        category=report.CATEGORY,
        columns={"id": _KEY, "status": _TEXT, "position": _NUMBER, "document": _BYTES},
        indexes={"status": "(status, position)"},
        key=_id,
        row=_report_row,
    ),
    Projection(
        # Who looked: where each event is, and whom or what it is about.
        name="accesses",
        version=1,
        category=access.CATEGORY,
        columns={"id": _KEY, "subject": _TEXT, "position": _NUMBER},
        constraints=("UNIQUE (position)",),
        indexes={"subject": "(subject, position)"},
        key=_event_id,
        row=_access_row,
    ),
)
#: The read models, in the order in which their digests are taken.
NAMES: Final = tuple(dict.fromkeys(each.name for each in ALL))


def newest(name: str) -> Projection:
    """Give the version of a read model that this program makes."""
    return [each for each in ALL if each.name == name][-1]


def find(name: str, version: int) -> Projection | None:
    """Give a version of a read model, None when this program does not know it."""
    found = [each for each in ALL if (each.name, each.version) == (name, version)]
    return found[0] if found else None


# --- which table serves ---------------------------------------------------------------------------

#: The generations of every read model. One of each is live; there may be one that is being built
#: beside it, and the one that was live before. `position` says how far those two have come.
CATALOGUE: Final = (
    "CREATE TABLE projections (name TEXT NOT NULL, generation INTEGER NOT NULL,"
    " version INTEGER NOT NULL, state TEXT NOT NULL, position INTEGER NOT NULL,"
    " events INTEGER NOT NULL, PRIMARY KEY (name, generation))",
    "CREATE UNIQUE INDEX projections_by_state ON projections (name, state)"
    " WHERE state <> 'dropped'",
)
LIVE: Final = "SELECT name, generation, version FROM projections WHERE state = 'live'"


def register(table: Table, state: str) -> str:
    """Give the statement that writes a generation into the catalogue."""
    return (
        "INSERT INTO projections (name, generation, version, state, position, events) VALUES"
        f" ('{table.projection.name}', {table.generation}, {table.projection.version},"
        f" '{state}', 0, 0)"
    )


def first_statements() -> tuple[str, ...]:
    """Give what makes the catalogue and the first generation of every read model."""
    tables = [Table(projection=newest(name), generation=1) for name in NAMES]
    return (
        *CATALOGUE,
        *(statement for table in tables for statement in table.statements),
        *(register(table, "live") for table in tables),
    )


#: What makes a schema of version 1 one of version 2: there the read models had one table each.
TO_VERSION_2: Final = (
    *CATALOGUE,
    *(
        statement
        for before, name in (
            ("tickets", "tickets"),
            ("pending", "pending"),
            ("people", "people"),
            ("codes", "challenges"),
            ("notifications", "notifications"),
            ("grants", "grants"),
        )
        for statement in (
            f"ALTER TABLE {before} RENAME TO {name}_1",
            f"INSERT INTO projections VALUES ('{name}', 1, 1, 'live', 0, 0)",
        )
    ),
)


class Tables:
    """The tables that serve, as one transaction sees them."""

    def __init__(self, found: Mapping[str, Table]) -> None:
        self._found = found
        #: The tables' names by the read models'.
        self.names = {name: table.name for name, table in found.items()}

    def __getitem__(self, name: str) -> Table:
        return self._found[name]

    def of(self, category: str) -> list[Table]:
        """Give those that are made from the events of a category.

        Raises:
            LookupError: there are none: no event is of that category.
        """
        found = [table for table in self._found.values() if table.projection.category == category]
        if not found:
            msg = f"no read model is made from {category}"
            raise LookupError(msg)
        return found


def tables_of(live: Iterable[Row]) -> Tables:
    """Give the tables that serve, of the rows that `LIVE` gave.

    Raises:
        Unusable: one was made by a version that this program does not know, or is not there.
    """
    rows = sorted((row["name"], row["generation"], row["version"]) for row in live)
    return _tables(tuple(rows), ALL)


@cache
def _tables(rows: tuple[tuple[str, int, int], ...], _: tuple[Projection, ...]) -> Tables:
    found = {}
    for name, generation, version in rows:
        projection = find(name, version)
        if projection is None:
            raise Unusable(
                f"the read model {name} has version {version}, which this version of the program "
                "does not know; install the one that made it (docs/architecture.md says how to go "
                "back)"
            )
        found[name] = Table(projection=projection, generation=generation)
    missing = [name for name in NAMES if name not in found]
    if missing:
        raise Unusable(
            f"the read models {', '.join(missing)} are not there; run: siutindei database migrate"
        )
    return Tables({name: found[name] for name in NAMES})


# --- writing --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Changes:
    """What events change in a table."""

    gone: Sequence[str]
    changed: Sequence[Row]
    made: Sequence[Row]


def project(cursor: Cursor, events: Sequence[Recorded]) -> None:
    """Bring every read model up to some events, which are sealed and the next of their streams."""
    for category in dict.fromkeys(map(_category, events)):
        for table in cursor.tables.of(category):
            write(cursor, table, changes(cursor, table, events))


def _category(recorded: Recorded) -> str:
    return recorded.stream.partition("-")[0]


def changes(cursor: Cursor, table: Table, events: Iterable[Recorded]) -> Changes:
    """Work out what some events, which come next, change in a table."""
    of = table.projection
    concerned = [
        (key, recorded)
        for recorded in events
        if _category(recorded) == of.category and (key := of.key(recorded)) is not None
    ]
    before = _load(cursor, table, list(dict.fromkeys(key for key, _ in concerned)))
    after: dict[str, Row | None] = dict(before)
    for key, recorded in concerned:
        after[key] = of.row(after.get(key), recorded)
    return Changes(
        gone=[key for key, row in after.items() if row is None and key in before],
        changed=[row for key, row in after.items() if row is not None and key in before],
        made=[row for key, row in after.items() if row is not None and key not in before],
    )


def _load(cursor: Cursor, table: Table, keys: list[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    column = table.projection.key_column
    for start in range(0, len(keys), _PAGE):
        some = keys[start : start + _PAGE]
        cursor.execute(
            f"SELECT * FROM {table.name} WHERE {column} IN ({', '.join('?' * len(some))})", some
        )
        found.update((row[column], row) for row in cursor.fetchall())
    return found


def write(cursor: Cursor, table: Table, changes: Changes) -> None:
    """Carry out changes."""
    of = table.projection
    columns = list(of.columns)
    # What leaves goes first: it may make room for what comes.
    _each(
        cursor,
        f"DELETE FROM {table.name} WHERE {of.key_column} = ?",
        [(key,) for key in changes.gone],
    )
    _each(
        cursor,
        f"UPDATE {table.name} SET {', '.join(f'{name} = ?' for name in columns)}"
        f" WHERE {of.key_column} = ?",
        [(*(row[name] for name in columns), row[of.key_column]) for row in changes.changed],
    )
    _each(
        cursor,
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        [tuple(row[name] for name in columns) for row in changes.made],
    )


def _each(cursor: Cursor, statement: str, values: list[tuple[Any, ...]]) -> None:
    if len(values) == 1:
        cursor.execute(statement, values[0])
    elif values:
        cursor.executemany(statement, values)


def rows(cursor: Cursor, table: Table) -> Iterator[tuple[Any, ...]]:
    """Give every row of a table in the order of its keys, in flat memory."""
    of = table.projection
    select = f"SELECT {', '.join(of.columns)} FROM {table.name}"
    order = f"ORDER BY {of.key_column} LIMIT {_PAGE}"
    cursor.execute(f"{select} {order}")
    while found := cursor.fetchall():
        for row in found:
            yield tuple(row[name] for name in of.columns)
        if len(found) < _PAGE:
            return
        cursor.execute(f"{select} WHERE {of.key_column} > ? {order}", (found[-1][of.key_column],))


def digest(cursor: Cursor, names: Iterable[str]) -> str:
    """Give the SHA-256 of every row of the read models named, in the order of their keys."""
    found = sha256()
    for name in names:
        for row in rows(cursor, cursor.tables[name]):
            found.update(as_bytes(name, row))
    return found.hexdigest()


def as_bytes(name: str, row: tuple[Any, ...]) -> bytes:
    """Give what is digested of a row of a read model: the same on every database."""
    return repr((name, *row)).encode()
