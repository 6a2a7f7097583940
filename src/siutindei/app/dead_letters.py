"""Dead letters: what was given up, until a person looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from siutindei.app.folding import grant_of, notification_of, version_of
from siutindei.app.identity import someone
from siutindei.app.ports import AddressBook, Clock, EventStore, Ids, Work
from siutindei.domain import fields, grant, notification
from siutindei.domain.errors import NotFound
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Context


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A notification or grant that was given up.

    Attributes:
        work: which of the two.
        id: its id.
        kind: its kind.
        cause: the event that asked for it.
        ticket: the number of the ticket that it is about.
        why: why it was given up.
        calls: calls that were made, ever.
        first_error: the first thing that went wrong.
        last_error: the newest thing that went wrong.
        would_do_nothing: whether a redrive would send nothing (its time is over).
    """

    work: Work
    id: str
    kind: str
    cause: str
    ticket: str | None
    why: str | None
    calls: int
    first_error: str | None
    last_error: str | None
    would_do_nothing: bool


@attrs.frozen(kw_only=True)
class DeadLetters:
    """The use cases of dead letters."""

    store: EventStore
    clock: Clock
    ids: Ids
    addresses: AddressBook

    def all(self) -> list[DeadLetter]:
        """List what was given up and not looked at yet, mails first."""
        at = self.clock.now()
        views = self.store.views
        return [
            *(
                _of_notification(item, at)
                for item in views.notifications(status="dead_lettered")
                if not item.discarded
            ),
            *(
                _of_grant(item)
                for item in views.grants(status="dead_lettered")
                if not item.discarded
            ),
        ]

    def show(self, id: str) -> DeadLetter:
        """Give one.

        Raises:
            NotFound: no dead letter has that id.
        """
        for letter in self.all():
            if letter.id == id:
                return letter
        raise NotFound("dead letter", id)

    def redrive(self, context: Context, ids: list[str], *, by: object) -> list[DeadLetter]:
        """Give dead letters three more attempts, all of them or none.

        Raises:
            NotFound: no dead letter has one of the ids.
        """
        operator = someone(self.addresses, "by", by)
        letters = [self.show(id) for id in dict.fromkeys(ids)]
        with self.store.transaction(context) as tx:
            at = self.clock.now()
            for letter in letters:
                stream = _stream(letter)
                events = tx.load(stream)
                decided = (
                    notification.redrive(notification_of(events), by=operator.id, at=at)
                    if letter.work == "notification"
                    else grant.redrive(grant_of(events), by=operator.id, at=at)
                )
                tx.append(stream, version_of(events), decided, cause=events[-1])
        return letters

    def discard(
        self, context: Context, ids: list[str], *, by: object, reason: object
    ) -> list[DeadLetter]:
        """Close dead letters without doing what they were for, all of them or none.

        Raises:
            NotFound: no dead letter has one of the ids.
        """
        operator = someone(self.addresses, "by", by)
        text = fields.required_line("reason", reason, most=500)
        letters = [self.show(id) for id in dict.fromkeys(ids)]
        with self.store.transaction(context) as tx:
            at = self.clock.now()
            for letter in letters:
                stream = _stream(letter)
                events = tx.load(stream)
                why = Personal(owner=operator.id, clear=text)
                decided = (
                    notification.discard(notification_of(events), by=operator.id, reason=why, at=at)
                    if letter.work == "notification"
                    else grant.discard(grant_of(events), by=operator.id, reason=why, at=at)
                )
                tx.append(stream, version_of(events), decided, cause=events[-1])
        return letters


def _stream(letter: DeadLetter) -> str:
    if letter.work == "notification":
        return notification.stream(letter.id)
    return grant.stream(letter.id)


def _of_notification(item: notification.Notification, at: datetime) -> DeadLetter:
    requested = item.requested
    if requested is None:
        raise AssertionError
    return DeadLetter(
        work="notification",
        id=requested.id,
        kind=requested.kind,
        cause=requested.cause,
        ticket=requested.ticket,
        why=item.why,
        calls=item.calls,
        first_error=item.first_error,
        last_error=item.last_error,
        would_do_nothing=notification.is_expired(item, at=at),
    )


def _of_grant(item: grant.Grant) -> DeadLetter:
    requested = item.requested
    if requested is None:
        raise AssertionError
    return DeadLetter(
        work="grant",
        id=requested.id,
        kind=requested.kind,
        cause=requested.cause,
        ticket=requested.ticket,
        why=item.why,
        calls=item.calls,
        first_error=item.first_error,
        last_error=item.last_error,
        would_do_nothing=False,
    )
