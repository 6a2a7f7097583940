"""The read models: indexed documents of the aggregates, written in the transaction that appends.

A document is the aggregate's own state, folded with the aggregate's own `evolve`, sealed fields
copied as they are. The columns beside it are what queries need. Nothing here is a source of truth:
each can be made again from the history.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.codec import decode_document, encode_document
from siutindei.adapters.sql import Cursor
from siutindei.app.ports import CodeRow, Due, Page, PersonRow
from siutindei.app.times import from_micros, micros
from siutindei.domain import challenge, grant, notification, person, ticket
from siutindei.domain.due import FARTHEST
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from siutindei.app.ports import Recorded

TABLES: Final = (
    "CREATE TABLE tickets (reference TEXT PRIMARY KEY, uuid TEXT NOT NULL UNIQUE,"
    " ticket_type TEXT NOT NULL, number INTEGER NOT NULL, submitter TEXT NOT NULL,"
    " status TEXT NOT NULL, position INTEGER NOT NULL, stars INTEGER NOT NULL,"
    " document BLOB NOT NULL)",
    "CREATE INDEX tickets_by_number ON tickets (ticket_type, number)",
    "CREATE INDEX tickets_by_position ON tickets (position)",
    "CREATE INDEX tickets_by_submitter ON tickets (submitter, ticket_type)",
    "CREATE INDEX tickets_by_status ON tickets (status, ticket_type)",
    "CREATE TABLE pending (submitter TEXT NOT NULL, ticket_type TEXT NOT NULL,"
    " reference TEXT NOT NULL UNIQUE, PRIMARY KEY (submitter, ticket_type))",
    "CREATE TABLE people (person TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,"
    " erased INTEGER NOT NULL, position INTEGER NOT NULL)",
    "CREATE INDEX people_by_fingerprint ON people (fingerprint)",
    "CREATE TABLE codes (challenge TEXT PRIMARY KEY, client TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, proved INTEGER NOT NULL, issued_at INTEGER NOT NULL)",
    "CREATE INDEX codes_by_time ON codes (issued_at)",
    "CREATE INDEX codes_by_fingerprint ON codes (fingerprint, issued_at)",
    "CREATE TABLE notifications (id TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT NOT NULL,"
    " ticket TEXT, person TEXT, due_at INTEGER, position INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE INDEX notifications_by_due ON notifications (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX notifications_by_ticket ON notifications (ticket)",
    "CREATE INDEX notifications_by_person ON notifications (person)",
    "CREATE INDEX notifications_by_status ON notifications (status)",
    "CREATE TABLE grants (id TEXT PRIMARY KEY, status TEXT NOT NULL, ticket TEXT NOT NULL,"
    " due_at INTEGER, position INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE INDEX grants_by_due ON grants (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX grants_by_ticket ON grants (ticket)",
)


#: Each read model, and what puts its rows into an order that does not depend on how they got there.
NAMES: Final = {
    "tickets": "reference",
    "pending": "reference",
    "people": "person",
    "codes": "challenge",
    "notifications": "id",
    "grants": "id",
}

#: As many digits as any position has.
_DIGITS: Final = 18

# --- writing -------------------------------------------------------------------------------------


def project(cursor: Cursor, recorded: Recorded) -> None:
    """Bring every read model up to one event, which is sealed and the next of its stream."""
    category = recorded.stream.split("-", 1)[0]
    _PROJECTIONS[category](cursor, recorded)


def _project_ticket(cursor: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.event
    reference = recorded.stream.removeprefix(f"{ticket.CATEGORY}-")
    if isinstance(event, ticket.Submitted):
        state = ticket.evolve(ticket.INITIAL, event)
        cursor.execute(
            "INSERT INTO tickets (reference, uuid, ticket_type, number, submitter, status,"
            " position, stars, document) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                reference,
                event.id,
                event.ticket_type,
                int(reference[1:]),
                event.submitter,
                state.status,
                recorded.position,
                encode_document(state),
            ),
        )
        cursor.execute(
            "INSERT INTO pending (submitter, ticket_type, reference) VALUES (?, ?, ?)",
            (event.submitter, event.ticket_type, reference),
        )
        return
    state = ticket.evolve(_document(cursor, "tickets", reference, ticket.Ticket), event)
    cursor.execute(
        "UPDATE tickets SET status = ?, stars = ?, document = ? WHERE reference = ?",
        (
            state.status,
            0 if state.decision is None else state.decision.stars,
            encode_document(state),
            reference,
        ),
    )
    if state.status != "pending":
        cursor.execute("DELETE FROM pending WHERE reference = ?", (reference,))


def _project_person(cursor: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.event
    if isinstance(event, person.Erased):
        cursor.execute(
            "INSERT INTO people (person, fingerprint, erased, position) VALUES (?, '', 1, ?)"
            " ON CONFLICT (person) DO UPDATE SET erased = 1",
            (event.user, recorded.position),
        )
        return
    if not isinstance(event, person.SignedUp | person.AddressChanged | person.AddressProved):
        return
    cursor.execute(
        "INSERT INTO people (person, fingerprint, erased, position) VALUES (?, ?, 0, ?)"
        " ON CONFLICT (person) DO UPDATE SET fingerprint = excluded.fingerprint",
        (event.user, event.fingerprint, recorded.position),
    )


def _project_challenge(cursor: Cursor, recorded: Recorded) -> None:
    event = recorded.event
    if isinstance(event, challenge.Issued):
        cursor.execute(
            "INSERT INTO codes (challenge, client, fingerprint, proved, issued_at)"
            " VALUES (?, ?, ?, ?, ?)",
            (
                event.challenge,
                event.client,
                event.fingerprint,
                int(event.proved),
                micros(event.at),
            ),
        )


def _project_notification(cursor: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.event
    id = recorded.stream.removeprefix(f"{notification.CATEGORY}-")
    state = notification.evolve(
        _document(cursor, "notifications", id, notification.Notification),
        event,
    )
    due_at = None if state.due_at is None else micros(state.due_at)
    if isinstance(event, notification.Requested):
        cursor.execute(
            "INSERT INTO notifications (id, kind, status, ticket, person, due_at, position,"
            " document) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                id,
                event.kind,
                state.status,
                event.ticket,
                event.user,
                due_at,
                recorded.position,
                encode_document(state),
            ),
        )
        return
    cursor.execute(
        "UPDATE notifications SET status = ?, due_at = ?, document = ? WHERE id = ?",
        (state.status, due_at, encode_document(state), id),
    )


def _project_grant(cursor: Cursor, recorded: Recorded) -> None:
    event: Any = recorded.event
    id = recorded.stream.removeprefix(f"{grant.CATEGORY}-")
    state = grant.evolve(_document(cursor, "grants", id, grant.Grant), event)
    due_at = None if state.due_at is None else micros(state.due_at)
    if isinstance(event, grant.Requested):
        cursor.execute(
            "INSERT INTO grants (id, status, ticket, due_at, position, document)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (id, state.status, event.ticket, due_at, recorded.position, encode_document(state)),
        )
        return
    cursor.execute(
        "UPDATE grants SET status = ?, due_at = ?, document = ? WHERE id = ?",
        (state.status, due_at, encode_document(state), id),
    )


_PROJECTIONS: Final[dict[str, Callable[[Cursor, Recorded], None]]] = {
    ticket.CATEGORY: _project_ticket,
    person.CATEGORY: _project_person,
    challenge.CATEGORY: _project_challenge,
    notification.CATEGORY: _project_notification,
    grant.CATEGORY: _project_grant,
}


def _document(cursor: Cursor, table: str, id: str, kind: type) -> Any:
    cursor.execute(f"SELECT document FROM {table} WHERE {NAMES[table]} = ?", (id,))
    row = cursor.fetchone()
    return kind() if row is None else decode_document(kind, row["document"])


# --- reading -------------------------------------------------------------------------------------


@attrs.frozen
class SqlViews:
    """The read models as queries; `reading` gives a cursor for one query."""

    reading: Callable[[], AbstractContextManager[Cursor]]

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self.reading() as cursor:
            cursor.execute(sql, tuple(values))
            return list(cursor.fetchall())

    def _row(self, sql: str, values: Sequence[object] = ()) -> Any:
        rows = self._rows(sql, values)
        return rows[0] if rows else None

    def find_ticket(self, reference_or_id: str) -> ticket.Ticket | None:
        """Find a ticket by its number or its UUID."""
        row = self._row(
            "SELECT document FROM tickets WHERE reference = ? OR uuid = ?",
            (reference_or_id.upper(), reference_or_id.lower()),
        )
        return None if row is None else decode_document(ticket.Ticket, row["document"])

    def tickets(
        self,
        *,
        status: ticket.Status | None = None,
        ticket_type: ticket.Type | None = None,
        submitter: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ticket.Ticket]:
        """List tickets, newest first."""
        where, values = _where(status=status, ticket_type=ticket_type, submitter=submitter)
        if cursor is not None:
            where.append("position < ?")
            values.append(_decode_cursor(cursor))
        rows = self._rows(
            f"SELECT position, document FROM tickets {_clause(where)}"
            " ORDER BY position DESC LIMIT ?",
            (*values, limit + 1),
        )
        more = len(rows) > limit
        return Page(
            items=tuple(decode_document(ticket.Ticket, row["document"]) for row in rows[:limit]),
            next_cursor=_encode_cursor(rows[limit - 1]["position"]) if more else None,
        )

    def pending_count(self, ticket_type: ticket.Type | None = None) -> int:
        """Count pending tickets."""
        where, values = _where(ticket_type=ticket_type)
        row = self._row(f"SELECT count(*) AS n FROM pending {_clause(where)}", values)
        return int(row["n"])

    def pending(self, *, submitter: str, ticket_type: ticket.Type) -> str | None:
        """Give the number of the user's pending ticket of a type."""
        row = self._row(
            "SELECT reference FROM pending WHERE submitter = ? AND ticket_type = ?",
            (submitter, ticket_type),
        )
        return None if row is None else str(row["reference"])

    def next_number(self, ticket_type: ticket.Type) -> int:
        """Give the number after the highest that a ticket of this type has."""
        row = self._row(
            "SELECT coalesce(max(number), 0) + 1 AS n FROM tickets WHERE ticket_type = ?",
            (ticket_type,),
        )
        return int(row["n"])

    def approved_stars(self, submitter: str) -> int:
        """Add up the stars that a user's approved feedback earned."""
        row = self._row(
            "SELECT coalesce(sum(stars), 0) AS n FROM tickets WHERE submitter = ?", (submitter,)
        )
        return int(row["n"])

    def find_person(self, user: str) -> PersonRow | None:
        """Find a person by id."""
        return _person(self._row("SELECT * FROM people WHERE person = ?", (user,)))

    def person_by_address(self, fingerprint: str) -> PersonRow | None:
        """Find the person who has an address now; an erased one is not found."""
        return _person(
            self._row(
                "SELECT * FROM people WHERE fingerprint = ? AND erased = 0"
                " ORDER BY position DESC LIMIT 1",
                (fingerprint,),
            )
        )

    def find_code(self, challenge: str) -> CodeRow | None:
        """Find the stream of a challenge."""
        row = self._row("SELECT * FROM codes WHERE challenge = ?", (challenge,))
        if row is None:
            return None
        return CodeRow(
            challenge=row["challenge"], client=row["client"], fingerprint=row["fingerprint"]
        )

    def code_counts(self, *, client: str, fingerprint: str, since: datetime) -> challenge.Counts:
        """Count the challenges that were started after `since`."""
        address = self._row(
            "SELECT count(*) AS n FROM codes WHERE fingerprint = ? AND issued_at > ?",
            (fingerprint, micros(since)),
        )
        others = self._row(
            "SELECT coalesce(sum(CASE WHEN client = ? THEN 1 ELSE 0 END), 0) AS client,"
            " coalesce(sum(1 - proved), 0) AS unproved FROM codes WHERE issued_at > ?",
            (client, micros(since)),
        )
        return challenge.Counts(
            address=int(address["n"]),
            unproved=int(others["unproved"]),
            client=int(others["client"]),
        )

    def find_notification(self, id: str) -> notification.Notification | None:
        """Find a notification."""
        row = self._row("SELECT document FROM notifications WHERE id = ?", (id,))
        return None if row is None else decode_document(notification.Notification, row["document"])

    def notifications(
        self,
        *,
        status: notification.Status | None = None,
        kind: notification.Kind | None = None,
        ticket: str | None = None,
        user: str | None = None,
    ) -> Sequence[notification.Notification]:
        """List notifications, oldest first."""
        where, values = _where(status=status, kind=kind, ticket=ticket, person=user)
        rows = self._rows(
            f"SELECT document FROM notifications {_clause(where)} ORDER BY position",
            values,
        )
        return [decode_document(notification.Notification, row["document"]) for row in rows]

    def grants(
        self, *, ticket: str | None = None, status: grant.Status | None = None
    ) -> Sequence[grant.Grant]:
        """List grants, oldest first."""
        where, values = _where(ticket=ticket, status=status)
        rows = self._rows(
            f"SELECT document FROM grants {_clause(where)} ORDER BY position",
            values,
        )
        return [decode_document(grant.Grant, row["document"]) for row in rows]

    def find_grant(self, id: str) -> grant.Grant | None:
        """Find a grant."""
        row = self._row("SELECT document FROM grants WHERE id = ?", (id,))
        return None if row is None else decode_document(grant.Grant, row["document"])

    def due(self, *, at: datetime, limit: int = 100) -> Sequence[Due]:
        """List what is due (`domain.due.is_due`), longest due first."""
        rows = self._rows(
            "SELECT 'notification' AS work, id, due_at FROM notifications"
            " WHERE due_at <= ? OR due_at > ?"
            " UNION ALL SELECT 'grant' AS work, id, due_at FROM grants"
            " WHERE due_at <= ? OR due_at > ?"
            " ORDER BY due_at, id LIMIT ?",
            (
                micros(at),
                micros(at + FARTHEST),
                micros(at),
                micros(at + FARTHEST),
                limit,
            ),
        )
        return [
            Due(work=row["work"], id=row["id"], due_at=from_micros(row["due_at"])) for row in rows
        ]

    def next_due(self) -> datetime | None:
        """Say when the next thing is due, past or future."""
        row = self._row(
            "SELECT min(due_at) AS due_at FROM ("
            "SELECT min(due_at) AS due_at FROM notifications WHERE due_at IS NOT NULL"
            " UNION ALL SELECT min(due_at) FROM grants WHERE due_at IS NOT NULL) AS both_kinds"
        )
        return None if row["due_at"] is None else from_micros(row["due_at"])


def rows(cursor: Cursor, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """Give every row of the read models named, in a fixed order."""
    for name in names:
        cursor.execute(f"SELECT * FROM {name} ORDER BY {NAMES[name]}")
        while (row := cursor.fetchone()) is not None:
            yield name, *(row[column] for column in row.keys())  # noqa: SIM118  # not a dict on SQLite


def _person(row: Any) -> PersonRow | None:
    if row is None:
        return None
    return PersonRow(user=row["person"], fingerprint=row["fingerprint"], erased=bool(row["erased"]))


def _where(**columns: object) -> tuple[list[str], list[Any]]:
    asked = {column: value for column, value in columns.items() if value is not None}
    return [f"{column} = ?" for column in asked], list(asked.values())


def _clause(where: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(where)}" if where else ""


def _encode_cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"p{position}".encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (ValueError, binascii.Error, UnicodeError):
        text = ""
    position = text.removeprefix("p")
    # Only the very text that we gave counts: base64 has several for the same bytes.
    known = position.isdecimal() and len(position) <= _DIGITS
    if not known or _encode_cursor(int(position)) != cursor:
        raise Invalid("cursor", "is none of ours; leave it out to start again")
    return int(position)
