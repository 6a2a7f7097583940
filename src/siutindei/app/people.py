"""People: export what is known of one, and erase it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from siutindei.app.accesses import Accesses
from siutindei.app.commands import first_answer, transact
from siutindei.app.delivery import GRACE
from siutindei.app.erasing import destroy, reach
from siutindei.app.folding import person_of
from siutindei.app.identity import someone, user_id
from siutindei.app.ports import (
    AddressBook,
    Clock,
    CommandRepeated,
    ErasureList,
    EventStore,
    MailPort,
    Unavailable,
)
from siutindei.app.tickets import wire
from siutindei.domain import fields, grant, notification, person, ticket
from siutindei.domain.errors import NotFound
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siutindei.app.ports import (
        Context,
        Recorded,
        Transaction,
    )


@attrs.frozen(kw_only=True)
class Erasure:
    """What an erasure did."""

    user: str
    erased_fields: int


@attrs.frozen(kw_only=True)
class People:
    """The use cases about people."""

    store: EventStore
    clock: Clock
    addresses: AddressBook
    mail: MailPort
    erasures: ErasureList
    accesses: Accesses

    def export(self, context: Context, user: str, *, by: object) -> dict[str, Any]:
        """Give everything that is kept about a person, in full, once it is recorded who looks.

        Raises:
            Invalid: `by`.
            NotFound: nothing is known of them.
        """
        known = self.store.open_all(person_of(self.store.load(person.stream(user))))
        views = self.store.views
        tickets = self._tickets(user)
        mails = [self.store.open_all(item) for item in views.notifications(user=user)]
        if not known.exists and not tickets and not mails:
            raise NotFound("person", user)
        exported = {
            "user": user,
            "email": known.email.text if known.email else None,
            "locale": known.locale,
            "signed_up_at": _time(known.signed_up_at),
            "erased_at": _time(known.erased_at),
            "proofs": dict(known.proofs),
            "tickets": [wire(self.store.open_all(item)) for item in tickets],
            "mails": [
                {
                    "id": item.requested.id,
                    "kind": item.requested.kind,
                    "cause": item.requested.cause,
                    "recipient": item.requested.recipient and item.requested.recipient.text,
                    "status": item.status,
                    "requested_at": _time(item.requested.at),
                    "accepted_at": _time(item.accepted_at),
                }
                for item in mails
                if item.requested is not None
            ],
            "grants": [
                {
                    "id": item.requested.id,
                    "kind": item.requested.kind,
                    "organization_id": item.requested.organization_id,
                    "status": item.status,
                    "requested_at": _time(item.requested.at),
                }
                for reference in map(_reference, tickets)
                for item in views.grants(ticket=reference)
                if item.requested is not None
            ],
            "history": [
                {"id": entry.id, "name": entry.name, "recorded_at": _time(entry.recorded_at)}
                for entry in self._history(user, tickets)
            ],
        }
        shown = len(tickets) + len(mails)
        self.accesses.record(context, "export", user, by=by, shown=shown)
        return exported

    def _tickets(self, user: str) -> list[ticket.Ticket]:
        tickets: list[ticket.Ticket] = []
        cursor = None
        while True:
            page = self.store.views.tickets(submitter=user, limit=200, cursor=cursor)
            tickets.extend(page.items)
            cursor = page.next_cursor
            if cursor is None:
                return tickets

    def _about(self, user: str, tickets: Sequence[ticket.Ticket]) -> list[notification.Requested]:
        """Find the mails to a person, and those to others that tell what they wrote."""
        views = self.store.views
        found = [
            *views.notifications(user=user),
            *(item for one in tickets for item in views.notifications(ticket=_reference(one))),
        ]
        return list(dict.fromkeys(item.requested for item in found if item.requested is not None))

    def _history(self, user: str, tickets: Sequence[ticket.Ticket]) -> list[Recorded]:
        """Read every stream that is about a person, in the order in which things happened."""
        about = self._about(user, tickets)
        grants = (
            item.requested
            for one in tickets
            for item in self.store.views.grants(ticket=_reference(one))
        )
        streams = {
            person.stream(user),
            *(ticket.stream(_reference(one)) for one in tickets),
            *(notification.stream(requested.id) for requested in about),
            *(requested.cause.rpartition("/")[0] for requested in about),
            *(grant.stream(requested.id) for requested in grants if requested is not None),
        }
        entries = [entry for stream in streams for entry in self.store.load(stream)]
        return sorted(entries, key=lambda entry: entry.position)

    def erase(self, context: Context, user: object, *, by: object, reason: object) -> Erasure:
        """Destroy every key of a person, and every file that still holds what they sealed.

        It can be done again, and does then what an earlier one could not finish.

        Raises:
            Invalid: `user`, `by` or `reason`.
            NotFound: nothing is known of them.
            Unavailable: not erased, or erased but a file could not be cleaned: the text says which.
        """
        id = user_id("user", user)
        operator = someone(self.addresses, "by", by)
        text = fields.required_line("reason", reason, most=500)
        is_listed = False

        def work(tx: Transaction) -> int:
            nonlocal is_listed
            at = self.clock.now()
            reached = reach(tx, id)
            if not reached.known.exists and not reached.keys:
                raise NotFound("person", id)
            erased_fields = _count_fields(tx, reached.keys)
            # Listed before it is done: a backup that is restored later applies it again.
            self.erasures.add(reached.listed, at=at)
            is_listed = True
            by_them = Personal(owner=operator.id, clear=text)
            destroy(tx, reached, by=operator.id, reason=by_them, at=at)
            return erased_fields

        try:
            erased_fields = transact(self.store, context, work)
        except CommandRepeated as repeated:
            same = person.stream(id)
            first_answer(
                self.store, repeated, person.Erased, same=lambda entry: entry.stream == same
            )
            # What the first one destroyed is gone; what it could not finish is done below.
            erased_fields = 0
        except Unavailable as error:
            if not is_listed:
                raise
            raise Unavailable(
                f"{id} is on the list of erasures, and not erased yet ({error}): the next command "
                "that opens the database erases them; take the line out of the list to prevent it"
            ) from error
        try:
            # What was destroyed leaves the files before anything is waited for.
            self.store.scrub()
        finally:
            self._forget_mails(id)
        return Erasure(user=id, erased_fields=erased_fields)

    def forget_what_is_owed(self) -> None:
        """Take out the mails of whoever was erased by a process that could not do so any more.

        Raises:
            Unavailable: a mail could not be removed; it is owed still.
        """
        for user in self.store.unforgotten:
            self._forget_mails(user)

    def _forget_mails(self, user: str) -> None:
        """Take the mails to and about them out of the mail adapter, where it keeps any."""
        about = self._about(user, self._tickets(user))
        found = [self.store.views.find_notification(requested.id) for requested in about]
        # A call that is under way was written before the keys were gone: it is waited for.
        under_way = [item.deadline for item in found if item and item.call_open and item.deadline]
        left = max((at - self.clock.now() for at in under_way), default=timedelta(0))
        # No call takes longer than this, whatever a clock that was ahead has written.
        left = min(left, self.mail.time_out + GRACE)
        if left > timedelta(0):
            self.clock.sleep(left.total_seconds())
        for requested in about:
            self.mail.forget(requested.id)
        self.store.note_forgotten(user)


def _reference(state: ticket.Ticket) -> str:
    return state.submitted.reference if state.submitted is not None else ""


def _count_fields(tx: Transaction, keys: Mapping[str, str]) -> int:
    """Count the fields that nobody can read when these keys are gone."""
    tokens = (
        value.token
        for stream in set(keys.values())
        for entry in tx.load(stream)
        for value in _personal(entry.event)
    )
    return sum(token is not None and token.partition(".")[0] in keys for token in tokens)


def _personal(event: object) -> list[Personal]:
    values = (getattr(event, field.name) for field in attrs.fields(type(event)))  # type: ignore[arg-type]
    return [value for value in values if isinstance(value, Personal)]


def _time(at: Any) -> str | None:
    return None if at is None else at.isoformat()
