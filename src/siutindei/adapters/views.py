"""The read models as queries, whatever the database; `{tickets}` is the table that serves."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.codec import decode_document
from siutindei.adapters.sql import Cursor
from siutindei.app.ports import Action, AuditRow, CodeRow, Due, Page, PersonRow, Sends
from siutindei.app.times import from_micros, micros
from siutindei.domain import (
    budget,
    challenge,
    grant,
    lane,
    notification,
    report,
    suppression,
    ticket,
)
from siutindei.domain.due import FARTHEST
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

#: As many digits as any position has.
_DIGITS: Final = 18


@attrs.frozen
class SqlViews:
    """The read models as queries; `reading` gives a cursor for one query."""

    reading: Callable[[], AbstractContextManager[Cursor]]

    def _rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        with self.reading() as cursor:
            cursor.execute(sql.format_map(cursor.tables.names), tuple(values))
            return list(cursor.fetchall())

    def _row(self, sql: str, values: Sequence[object] = ()) -> Any:
        rows = self._rows(sql, values)
        return rows[0] if rows else None

    def find_ticket(self, reference_or_id: str) -> ticket.Ticket | None:
        """Find a ticket by its number or its UUID."""
        row = self._row(
            "SELECT document FROM {tickets} WHERE reference = ? OR uuid = ?",
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
            f"SELECT position, document FROM {{tickets}} {_clause(where)}"
            " ORDER BY position DESC LIMIT ?",
            (*values, limit + 1),
        )
        return Page(
            items=tuple(decode_document(ticket.Ticket, row["document"]) for row in rows[:limit]),
            next_cursor=_next_cursor(rows, limit),
        )

    def audit_logs(
        self,
        *,
        ticket_type: ticket.Type | None = None,
        reference: str | None = None,
        user: str | None = None,
        action: Action | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditRow]:
        """List what was done to tickets, newest first."""
        where, values = _where(reference=reference, person=user, action=action)
        if ticket_type is not None:
            where.append("substr(reference, 1, 1) = ?")
            values.append(ticket.PREFIXES[ticket_type])
        if since is not None:
            where.append("at >= ?")
            values.append(micros(since))
        if cursor is not None:
            where.append("position < ?")
            values.append(_decode_cursor(cursor))
        rows = self._rows(
            f"SELECT id, position FROM {{audit_logs}} {_clause(where)}"
            " ORDER BY position DESC LIMIT ?",
            (*values, limit + 1),
        )
        return Page(
            items=tuple(_audit_row(row) for row in rows[:limit]),
            next_cursor=_next_cursor(rows, limit),
        )

    def pending_count(self, ticket_type: ticket.Type | None = None) -> int:
        """Count pending tickets."""
        where, values = _where(ticket_type=ticket_type)
        row = self._row(f"SELECT count(*) AS n FROM {{pending}} {_clause(where)}", values)
        return int(row["n"])

    def pending(self, *, submitter: str, ticket_type: ticket.Type) -> str | None:
        """Give the number of the user's pending ticket of a type."""
        row = self._row(
            "SELECT reference FROM {pending} WHERE submitter = ? AND ticket_type = ?",
            (submitter, ticket_type),
        )
        return None if row is None else str(row["reference"])

    def find_suppression(self, fingerprint: str) -> suppression.Suppression | None:
        """Give what is known of an address that mails had trouble with."""
        row = self._row("SELECT document FROM {suppressions} WHERE fingerprint = ?", (fingerprint,))
        return None if row is None else decode_document(suppression.Suppression, row["document"])

    def suppressions(self) -> Sequence[tuple[str, suppression.Suppression]]:
        """Give all of them, by fingerprint, the oldest first."""
        return [
            (row["fingerprint"], decode_document(suppression.Suppression, row["document"]))
            for row in self._rows(
                "SELECT fingerprint, document FROM {suppressions} ORDER BY position"
            )
        ]

    def lanes(self) -> Mapping[lane.Name, lane.Lane]:
        """Say how every lane stands."""
        found = {
            row["name"]: decode_document(lane.Lane, row["document"])
            for row in self._rows("SELECT name, document FROM {lanes}")
        }
        return {name: found.get(name, lane.INITIAL) for name in lane.NAMES}

    def next_number(self, ticket_type: ticket.Type) -> int:
        """Give the number after the highest that a ticket of this type has."""
        row = self._row(
            "SELECT coalesce(max(number), 0) + 1 AS n FROM {tickets} WHERE ticket_type = ?",
            (ticket_type,),
        )
        return int(row["n"])

    def approved_stars(self, submitter: str) -> int:
        """Add up the stars that a user's approved feedback earned."""
        row = self._row(
            "SELECT coalesce(sum(stars), 0) AS n FROM {tickets} WHERE submitter = ?", (submitter,)
        )
        return int(row["n"])

    def find_person(self, user: str) -> PersonRow | None:
        """Find a person by id."""
        return _person(self._row("SELECT * FROM {people} WHERE person = ?", (user,)))

    def person_by_address(self, fingerprint: str) -> PersonRow | None:
        """Find the person who has an address now; an erased one is not found."""
        return _person(
            self._row(
                "SELECT * FROM {people} WHERE fingerprint = ? AND erased = 0"
                " ORDER BY position DESC LIMIT 1",
                (fingerprint,),
            )
        )

    def find_code(self, challenge: str) -> CodeRow | None:
        """Find the stream of a challenge."""
        row = self._row("SELECT * FROM {challenges} WHERE challenge = ?", (challenge,))
        if row is None:
            return None
        return CodeRow(
            challenge=row["challenge"], client=row["client"], fingerprint=row["fingerprint"]
        )

    def code_counts(self, *, client: str, fingerprint: str, since: datetime) -> challenge.Counts:
        """Count the challenges that were started after `since`."""
        address = self._row(
            "SELECT count(*) AS n FROM {challenges} WHERE fingerprint = ? AND issued_at > ?",
            (fingerprint, micros(since)),
        )
        others = self._row(
            "SELECT coalesce(sum(CASE WHEN client = ? THEN 1 ELSE 0 END), 0) AS client,"
            " coalesce(sum(1 - proved), 0) AS unproved FROM {challenges} WHERE issued_at > ?",
            (client, micros(since)),
        )
        return challenge.Counts(
            address=int(address["n"]),
            unproved=int(others["unproved"]),
            client=int(others["client"]),
        )

    def find_notification(self, id: str) -> notification.Notification | None:
        """Find a notification."""
        row = self._row("SELECT document FROM {notifications} WHERE id = ?", (id,))
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
            f"SELECT document FROM {{notifications}} {_clause(where)} ORDER BY position",
            values,
        )
        return [decode_document(notification.Notification, row["document"]) for row in rows]

    def grants(
        self, *, ticket: str | None = None, status: grant.Status | None = None
    ) -> Sequence[grant.Grant]:
        """List grants, oldest first."""
        where, values = _where(ticket=ticket, status=status)
        rows = self._rows(
            f"SELECT document FROM {{grants}} {_clause(where)} ORDER BY position",
            values,
        )
        return [decode_document(grant.Grant, row["document"]) for row in rows]

    def find_grant(self, id: str) -> grant.Grant | None:
        """Find a grant."""
        row = self._row("SELECT document FROM {grants} WHERE id = ?", (id,))
        return None if row is None else decode_document(grant.Grant, row["document"])

    def due(self, *, at: datetime, limit: int = 100) -> Sequence[Due]:
        """List what is due (`domain.due.is_due`), longest due first."""
        rows = self._rows(f"{_DUE} ORDER BY due_at, id LIMIT ?", (*_due_at(at), limit))
        return [
            Due(work=row["work"], id=row["id"], due_at=from_micros(row["due_at"])) for row in rows
        ]

    def next_due(self) -> datetime | None:
        """Say when the next thing is due, past or future."""
        row = self._row(
            "SELECT min(due_at) AS due_at FROM ("
            "SELECT min(due_at) AS due_at FROM {notifications} WHERE due_at IS NOT NULL"
            " UNION ALL SELECT min(due_at) FROM {grants} WHERE due_at IS NOT NULL) AS both_kinds"
        )
        return None if row["due_at"] is None else from_micros(row["due_at"])

    def count_due(self, *, at: datetime) -> int:
        """Count what is due."""
        row = self._row(f"SELECT count(*) AS n FROM ({_DUE}) AS both_kinds", _due_at(at))
        return int(row["n"])

    def find_message(self, message_id: str) -> str | None:
        """Give the notification that the mail port took under an id."""
        row = self._row("SELECT notification FROM {messages} WHERE message_id = ?", (message_id,))
        return None if row is None else str(row["notification"])

    def is_heard_of(
        self, kinds: Sequence[notification.Kind], *, after: datetime, until: datetime
    ) -> bool:
        """Whether anything was reported of a mail of these kinds that was called for meanwhile."""
        reported = ("delivered", "delayed", "bounced", "complained")
        row = self._row(
            "SELECT 1 FROM {sends} JOIN {notifications} ON id = notification"
            f" WHERE at > ? AND at <= ? AND status IN ({', '.join('?' * len(reported))})"
            f" AND kind IN ({', '.join('?' * len(kinds))}) LIMIT 1",
            (micros(after), micros(until), *reported, *kinds),
        )
        return row is not None

    def sends(self, *, since: datetime) -> Sends:
        """Count the mails that were announced after `since`, and are not known not to be sent."""
        # What a clock that was far ahead wrote would be counted for as long as it was ahead.
        farthest = since + budget.WINDOW + FARTHEST
        rows = self._rows(
            "SELECT kind, count(*) AS n, min(at) AS oldest"
            " FROM {sends} JOIN {notifications} ON id = notification"
            " WHERE at > ? AND at <= ? GROUP BY kind",
            (micros(since), micros(farthest)),
        )
        counts = {row["kind"]: int(row["n"]) for row in rows}
        oldest = min((row["oldest"] for row in rows), default=None)
        return Sends(
            usage=budget.Usage(
                codes=counts.get("sign_in_code", 0),
                decisions=counts.get("ticket_decided", 0),
                notices=counts.get("ticket_received", 0),
            ),
            oldest=None if oldest is None else from_micros(oldest),
        )

    def reports(self, *, status: report.Status) -> Sequence[report.Reports]:
        """List what was reported of mails that nobody knows, or knew, oldest first."""
        rows = self._rows(
            "SELECT document FROM {reports} WHERE status = ? ORDER BY position", (status,)
        )
        return [decode_document(report.Reports, row["document"]) for row in rows]

    def count_reports(self) -> dict[report.Status, int]:
        """Count them by status; a status that none has is left out."""
        rows = self._rows("SELECT status, count(*) AS n FROM {reports} GROUP BY status")
        return {row["status"]: int(row["n"]) for row in rows}

    def accesses(
        self, *, subject: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[str]:
        """List the ids of the events of who looked, newest first."""
        where, values = _where(subject=subject)
        if cursor is not None:
            where.append("position < ?")
            values.append(_decode_cursor(cursor))
        rows = self._rows(
            f"SELECT id, position FROM {{accesses}} {_clause(where)}"
            " ORDER BY position DESC LIMIT ?",
            (*values, limit + 1),
        )
        return Page(
            items=tuple(row["id"] for row in rows[:limit]), next_cursor=_next_cursor(rows, limit)
        )


#: What is due of either kind, as `domain.due.is_due` says it.
_DUE: Final = (
    "SELECT 'notification' AS work, id, due_at FROM {notifications} WHERE due_at <= ? OR due_at > ?"
    " UNION ALL SELECT 'grant' AS work, id, due_at FROM {grants} WHERE due_at <= ? OR due_at > ?"
)


def _due_at(at: datetime) -> tuple[int, ...]:
    return (micros(at), micros(at + FARTHEST)) * 2


def _audit_row(row: Any) -> AuditRow:
    reference, _, version = row["id"].rpartition("-")
    return AuditRow(reference=reference, version=int(version))


def _next_cursor(rows: Sequence[Any], limit: int) -> str | None:
    """Give the cursor behind the rows that are shown, when one more was found than that."""
    return _encode_cursor(rows[limit - 1]["position"]) if len(rows) > limit else None


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
