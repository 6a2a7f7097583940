"""Dead letters: what was given up, until a person looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.folding import grant_of, notification_of, version_of
from siutindei.app.identity import someone
from siutindei.app.nudging import nudge, nudge_of
from siutindei.app.ports import AddressBook, Clock, CommandRepeated, EventStore, Nudges, Work
from siutindei.domain import fields, grant, notification
from siutindei.domain.errors import NotFound
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from siutindei.app.ports import Context, Recorded, Transaction, Views
    from siutindei.domain.catalogue import Event


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
        maybe_sent: whether some call may have sent it after all (its outcome was never known).
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
    maybe_sent: bool
    would_do_nothing: bool


@attrs.frozen(kw_only=True)
class DeadLetters:
    """The use cases of dead letters."""

    store: EventStore
    clock: Clock
    addresses: AddressBook
    nudges: Nudges

    def all(self) -> list[DeadLetter]:
        """List what was given up and not looked at yet, mails first."""
        at = self.clock.now()
        views = self.store.views
        given_up: list[notification.Notification | grant.Grant] = [
            *views.notifications(status="dead_lettered"),
            *views.grants(status="dead_lettered"),
        ]
        return [letter for item in given_up if (letter := _letter(item, at)) is not None]

    def show(self, id: str) -> DeadLetter:
        """Give one.

        Raises:
            NotFound: no dead letter has that id.
        """
        return self._find(self.store.views, id)

    def _find(self, views: Views, id: str) -> DeadLetter:
        item = views.find_notification(id) or views.find_grant(id)
        letter = None if item is None else _letter(item, self.clock.now())
        if letter is None:
            raise NotFound("dead letter", id)
        return letter

    def redrive(self, context: Context, ids: list[str], *, by: object) -> list[DeadLetter]:
        """Give dead letters three more attempts, all of them or none.

        Raises:
            NotFound: no dead letter has one of the ids.
        """
        operator = someone(self.addresses, "by", by)

        def decide(work: Work, events: Sequence[Recorded], at: datetime) -> tuple[Event, ...]:
            if work == "notification":
                return notification.redrive(notification_of(events), by=operator.id, at=at)
            return grant.redrive(grant_of(events), by=operator.id, at=at)

        return self._decide(context, ids, _REDRIVEN, decide)

    def discard(
        self, context: Context, ids: list[str], *, by: object, reason: object
    ) -> list[DeadLetter]:
        """Close dead letters without doing what they were for, all of them or none.

        Raises:
            NotFound: no dead letter has one of the ids.
        """
        operator = someone(self.addresses, "by", by)
        why = of(operator.id, fields.required_line("reason", reason, most=500))

        def decide(work: Work, events: Sequence[Recorded], at: datetime) -> tuple[Event, ...]:
            if work == "notification":
                state = notification_of(events)
                return notification.discard(state, by=operator.id, reason=why, at=at)
            return grant.discard(grant_of(events), by=operator.id, reason=why, at=at)

        return self._decide(context, ids, _DISCARDED, decide)

    def _decide(
        self,
        context: Context,
        ids: list[str],
        kinds: tuple[type, ...],
        decide: Callable[[Work, Sequence[Recorded], datetime], tuple[Event, ...]],
    ) -> list[DeadLetter]:
        def work(tx: Transaction) -> list[tuple[DeadLetter, Recorded]]:
            found = []
            for letter in [self._find(tx.views, id) for id in dict.fromkeys(ids)]:
                stream = _STREAMS[letter.work](letter.id)
                events = tx.load(stream)
                decided = decide(letter.work, events, self.clock.now())
                (entry,) = tx.append(stream, version_of(events), decided, cause=events[-1])
                found.append((letter, entry))
            return found

        try:
            settled = transact(self.store, context, work)
        except CommandRepeated as repeated:
            streams = {stream(id) for stream in _STREAMS.values() for id in ids}
            first_answer(self.store, repeated, *kinds, same=lambda entry: entry.stream in streams)
            letters = (self._before(id) for id in repeated.event_ids)
            return [letter for letter in letters if letter is not None]
        woken = [
            nudge_of(letter.work, letter.id, letter.ticket, entry)
            for letter, entry in settled
            if isinstance(entry.event, _REDRIVEN) and letter.kind != "sign_in_code"
        ]
        nudge(self.nudges, woken)
        return [letter for letter, _ in settled]

    def _before(self, event_id: str) -> DeadLetter | None:
        """Give a dead letter as it was before a person decided about it."""
        stream, _, version = event_id.rpartition("/")
        events = self.store.load(stream, until=int(version) - 1)
        is_mail = stream.startswith(f"{notification.CATEGORY}-")
        return _letter(notification_of(events) if is_mail else grant_of(events), self.clock.now())


_STREAMS: Final[Mapping[Work, Callable[[str], str]]] = {
    "notification": notification.stream,
    "grant": grant.stream,
}
_REDRIVEN: Final = (notification.Redriven, grant.Redriven)
_DISCARDED: Final = (notification.Discarded, grant.Discarded)


def _letter(item: notification.Notification | grant.Grant, at: datetime) -> DeadLetter | None:
    """Show what was given up; None when it was not, or is settled."""
    requested = item.requested
    if requested is None or item.status != "dead_lettered" or item.discarded:
        return None
    is_mail = isinstance(item, notification.Notification)
    return DeadLetter(
        work="notification" if is_mail else "grant",
        id=requested.id,
        kind=requested.kind,
        cause=requested.cause,
        ticket=requested.ticket,
        why=item.why,
        calls=item.calls,
        first_error=item.first_error,
        last_error=item.last_error,
        maybe_sent=isinstance(item, notification.Notification) and item.maybe_sent,
        would_do_nothing=isinstance(item, notification.Notification)
        and notification.is_expired(item, at=at),
    )
