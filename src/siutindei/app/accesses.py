"""Accesses: who looked at what is personal, recorded before it is shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.folding import accesses_of, version_of
from siutindei.app.identity import someone
from siutindei.app.ports import AddressBook, Clock, CommandRepeated, EventStore, Ids, Page
from siutindei.domain import access, fields

if TYPE_CHECKING:
    from siutindei.app.ports import Context, Transaction

LIST_DEFAULT: Final = 50
LIST_MOST: Final = 200


@attrs.frozen(kw_only=True)
class Access:
    """One look, and the event that records it.

    Attributes:
        id: the event's id.
        what: a dossier, an export, or addresses.
        subject: the ticket's number, the user's id, or `suppressions`.
        by: who looked.
        shown: how much.
        at: when.
        actor: who gave the command, as the machine knows them.
        request_id: the request.
    """

    id: str
    what: access.What
    subject: str
    by: str
    shown: int
    at: datetime
    actor: str
    request_id: str


@attrs.frozen(kw_only=True)
class Accesses:
    """The use cases of accesses."""

    store: EventStore
    clock: Clock
    ids: Ids
    addresses: AddressBook

    def record(
        self, context: Context, what: access.What, subject: str, *, by: object, shown: int
    ) -> None:
        """Record that somebody looks; whoever shows something does so after this.

        A look is recorded each time, also when its command is repeated under the same id.

        Raises:
            Invalid: `by`, or an id that was used for another command.
            Unavailable: not recorded; nothing may be shown.
            Unusable: it cannot be recorded, such as by a role that may only read.
        """
        viewer = someone(self.addresses, "by", by)
        stream = access.stream(what, subject)

        def work(tx: Transaction) -> None:
            events = tx.load(stream, newest=1)
            known, at = accesses_of(events), self.clock.now()
            looked = access.look(
                known, what=what, subject=subject, by=viewer.id, shown=shown, at=at
            )
            tx.append(stream, version_of(events), looked)

        def append(context: Context) -> None:
            transact(self.store, context, work)

        try:
            append(context)
        except CommandRepeated as repeated:
            first_answer(
                self.store, repeated, access.Opened, same=lambda entry: entry.stream == stream
            )
            append(attrs.evolve(context, command_id=self.ids.uuid()))

    def list(
        self,
        *,
        subject: str | None = None,
        limit: int = LIST_DEFAULT,
        cursor: str | None = None,
    ) -> Page[Access]:
        """List who looked, newest first; following the cursor visits every look once.

        Args:
            subject: a ticket's number or UUID, a user's id, or `suppressions`; None is everything.
            limit: how many at the most.
            cursor: where the page before ended.

        Raises:
            Invalid: `subject`, `limit` or `cursor`.
        """
        fields.whole("limit", limit, least=1, most=LIST_MOST)
        page = self.store.views.accesses(
            subject=None if subject is None else self._subject(subject), limit=limit, cursor=cursor
        )
        return Page(items=tuple(map(self._access, page.items)), next_cursor=page.next_cursor)

    def _subject(self, text: str) -> str:
        named = fields.required_line("subject", text, most=128)
        found = self.store.views.find_ticket(named)
        return named if found is None or found.submitted is None else found.submitted.reference

    def _access(self, id: str) -> Access:
        stream, _, version = id.rpartition("/")
        (entry,) = self.store.load(stream, newest=1, until=int(version))
        event: Any = entry.event
        return Access(
            id=id,
            what=event.what,
            subject=event.subject,
            by=event.by,
            shown=event.shown,
            at=event.at,
            actor=entry.context.actor,
            request_id=entry.context.request_id,
        )
