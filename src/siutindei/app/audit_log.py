"""What was done to tickets, as the platform's audit log shows it: rows, before and after.

An entry is an event about a ticket: its submission is an INSERT, its decision an UPDATE. What the
row was before and after is folded from the ticket's own events, so nothing of it is kept twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.app.folding import ticket_of
from siutindei.app.identity import user_id
from siutindei.app.ports import AuditRow, EventStore, Page
from siutindei.app.tickets import LIST_DEFAULT, LIST_MOST, wire
from siutindei.domain import fields, ticket
from siutindei.domain.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.app.ports import Context, Recorded

Action = Literal["INSERT", "UPDATE", "DELETE"]
Source = Literal["api", "command_line", "queue"]

TABLE: Final = "tickets"
#: The tables that clients ask for; the older ones hold the tickets of one type.
TABLES: Final[Mapping[str, ticket.Type | None]] = {
    TABLE: None,
    "organization_access_requests": "access_request",
    "organization_suggestions": "organization_suggestion",
}
_ID: Final = re.compile("([RSF][0-9]{5,18})-([0-9]{1,9})")


@attrs.frozen(kw_only=True, repr=False)
class Entry:
    """One entry; personal fields are opened, or erased.

    Attributes:
        id: the ticket's number and the event's version: `R00001-1`.
        record_id: the ticket's UUID.
        action: what was done to the row.
        user_id: who did it.
        request_id: the request that did it.
        old_values: the row before, None when there was none.
        new_values: the row after.
        at: when.
        source: the way in.
    """

    id: str
    record_id: str
    action: Action
    user_id: str
    request_id: str
    old_values: Mapping[str, object] | None
    new_values: Mapping[str, object]
    at: datetime
    source: Source

    @property
    def changed_fields(self) -> list[str]:
        """The names of the values that are not what they were; none of a new row."""
        if self.old_values is None:
            return []
        old = self.old_values
        return [name for name, value in self.new_values.items() if value != old[name]]


@attrs.frozen(kw_only=True)
class AuditLog:
    """The use cases of reading the audit log."""

    store: EventStore

    def list(
        self,
        *,
        table: str = TABLE,
        record_id: str | None = None,
        user: str | None = None,
        action: Action | None = None,
        since: datetime | None = None,
        limit: int = LIST_DEFAULT,
        cursor: str | None = None,
    ) -> Page[Entry]:
        """List entries, newest first; following `next_cursor` to None visits every one once.

        Args:
            table: one of `TABLES`.
            record_id: the UUID or the number of the ticket.
            user: who did it.
            action: what was done; nothing ever deletes a ticket.
            since: the first moment that counts.
            limit: how many at the most.
            cursor: where the page before ended.

        Raises:
            Invalid: names the field.
        """
        fields.whole("limit", limit, least=1, most=LIST_MOST)
        if table not in TABLES:
            raise Invalid("table", f"must be one of {', '.join(TABLES)}")
        who = None if user is None else user_id("user_id", user)
        reference = None
        if record_id is not None:
            reference = self._reference(record_id)
            if reference is None:
                return Page(items=(), next_cursor=None)
        if action == "DELETE":
            return Page(items=(), next_cursor=None)
        page = self.store.views.audit_logs(
            ticket_type=TABLES[table],
            reference=reference,
            user=who,
            action=action,
            since=since,
            limit=limit,
            cursor=cursor,
        )
        return Page(items=tuple(map(self._entry, page.items)), next_cursor=page.next_cursor)

    def show(self, id: str) -> Entry:
        """Give one entry.

        Raises:
            NotFound: there is none.
        """
        found = _ID.fullmatch(id)
        if found is None:
            raise NotFound("audit log", id)
        row = AuditRow(reference=found[1], version=int(found[2]))
        if not row.version or len(self._events(row)) < row.version:
            raise NotFound("audit log", id)
        return self._entry(row)

    def _reference(self, record_id: str) -> str | None:
        found = self.store.views.find_ticket(fields.required_line("record_id", record_id, most=64))
        return found.submitted.reference if found and found.submitted else None

    def _events(self, row: AuditRow) -> Sequence[Recorded]:
        return self.store.load(ticket.stream(row.reference), until=row.version)

    def _entry(self, row: AuditRow) -> Entry:
        events = self._events(row)
        after: Any = self.store.open_all(ticket_of(events))
        before = None if row.version == 1 else ticket.evolve(ticket.INITIAL, after.submitted)
        newest: Any = events[-1].event
        return Entry(
            id=f"{row.reference}-{row.version}",
            record_id=after.submitted.id,
            action="INSERT" if before is None else "UPDATE",
            user_id=after.submitted.submitter if before is None else newest.reviewer,
            request_id=events[-1].context.request_id,
            old_values=None if before is None else wire(before),
            new_values=wire(after),
            at=newest.at,
            source=_source(events[-1].context),
        )


def _source(context: Context) -> Source:
    if context.sqs_message_id is not None:
        return "queue"
    return "command_line" if context.actor.startswith("operator:") else "api"


def wire_entry(entry: Entry) -> dict[str, object]:
    """Write an entry as the wire contract has it."""
    return {
        "id": entry.id,
        "table_name": TABLE,
        "record_id": entry.record_id,
        "action": entry.action,
        "user_id": entry.user_id,
        "request_id": entry.request_id,
        "old_values": entry.old_values,
        "new_values": entry.new_values,
        "changed_fields": entry.changed_fields,
        "timestamp": entry.at.isoformat(),
        "source": entry.source,
    }
