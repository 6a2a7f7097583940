"""Dead letters: what was given up, until a person looks at it, and what was done about it then.

A letter is told from the events of its mail or grant. It stays one for good: whoever asks later
sees whose fault it was, who redrove or discarded it, and whether it was delivered meanwhile.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.delivery import OUR_FAULT
from siutindei.app.folding import grant_of, notification_of, version_of
from siutindei.app.identity import someone
from siutindei.app.nudging import nudge, nudge_of
from siutindei.app.ports import (
    AddressBook,
    Clock,
    CommandRepeated,
    DeadLetterQueue,
    EventStore,
    Nudges,
    Work,
)
from siutindei.app.processing import find_effect, named
from siutindei.domain import fields, grant, notification
from siutindei.domain.errors import NotFound
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from siutindei.app.ports import Context, QueuedLetter, Recorded, Transaction, Views
    from siutindei.domain.catalogue import Event

#: Whose fault it is: what might have worked another time; the mail or the change itself; messages
#: whose receives came to nothing, so that nobody could even begin; or this program's.
Fault = Literal["transient_exhausted", "permanent", "receives_exhausted", "our_fault"]
#: As many messages of the dead-letter queue are looked at.
MOST: Final = 100


@attrs.frozen(kw_only=True)
class Action:
    """What a person did about a dead letter; `reason` is their text, None unless it is shown."""

    what: Literal["redriven", "discarded"]
    by: str
    at: datetime
    reason: str | None = None


@attrs.frozen(kw_only=True)
class DeadLetter:
    """A notification or grant that was given up.

    Attributes:
        work: which of the two.
        id: its id.
        kind: its kind.
        cause: the event that asked for it.
        ticket: the number of the ticket that it is about.
        status: where it stands now; `dead_lettered` as long as it waits for a person.
        fault: whose fault it was.
        why: why it was given up.
        since: when it was given up, the last time.
        calls: calls that were made, ever.
        first_error: the first thing that went wrong.
        first_error_at: when that was.
        last_error: the newest thing that went wrong.
        last_error_at: when that was.
        maybe_sent: whether some call may have sent it after all (its outcome was never known).
        no_op: why a redrive would send nothing: what became of it meanwhile (`delivered`,
            `discarded`, `under_way`, ...), or why it is withheld (`expired`, `erased`,
            `suppressed`); None when it would be tried again.
        actions: what was done about it, in order.
    """

    work: Work
    id: str
    kind: str
    cause: str
    ticket: str | None
    status: str
    fault: Fault
    why: str
    since: datetime
    calls: int
    first_error: str | None
    first_error_at: datetime | None
    last_error: str | None
    last_error_at: datetime | None
    maybe_sent: bool
    no_op: str | None
    actions: tuple[Action, ...] = ()

    @property
    def would_do_nothing(self) -> bool:
        """Whether a redrive would send nothing."""
        return self.no_op is not None


@attrs.frozen(kw_only=True)
class Lying:
    """A message that lies on the dead-letter queue; nothing personal is in it.

    Attributes:
        work: what it is a nudge for; None when it is none.
        id: of what there is.
        status: where that stands.
        wrong: in a word what is wrong with a message that is no nudge for anything.
        reason: why it was put there; None when the queue moved it.
        was_redriven: whether it was sent again once before.
    """

    work: Work | None = None
    id: str | None = None
    status: str | None = None
    wrong: str | None = None
    reason: str | None = None
    was_redriven: bool = False


@attrs.frozen(kw_only=True)
class DeadLetters:
    """The use cases of dead letters.

    Attributes:
        topic: the ARN that envelopes come from.
        support: the address of the support mailbox, which is configuration.
    """

    store: EventStore
    clock: Clock
    addresses: AddressBook
    nudges: Nudges
    letters: DeadLetterQueue
    topic: str
    support: str

    def all(self) -> list[DeadLetter]:
        """List what was given up and not looked at yet, mails first."""
        views = self.store.views
        given_up: list[notification.Notification | grant.Grant] = [
            *views.notifications(status="dead_lettered"),
            *views.grants(status="dead_lettered"),
        ]
        found = [self._letter(self.store, item) for item in given_up if not item.discarded]
        return [letter for letter in found if letter is not None]

    def show(self, id: str) -> DeadLetter:
        """Give one, settled or not, with the reasons that people gave.

        Raises:
            NotFound: nothing of that id was ever given up.
        """
        letter = self._find(self.store, id)
        reasons = [
            self.store.open(entry.event.reason).text
            if isinstance(entry.event, _DISCARDED)
            else None
            for entry in self.store.load(_STREAMS[letter.work](id))
            if isinstance(entry.event, _ACTIONS)
        ]
        actions = zip(letter.actions, reasons, strict=True)
        return attrs.evolve(
            letter, actions=tuple(attrs.evolve(done, reason=why) for done, why in actions)
        )

    def lying(self) -> list[Lying] | None:
        """List the messages on the dead-letter queue, and let them lie; None without a queue.

        What somebody else has taken up at this moment is not seen.

        Raises:
            Unavailable: the queue is out of reach.
            Unusable: it cannot be used as this is set up.
        """
        if not self.nudges.can_send:
            return None
        taken = self.letters.letters(limit=MOST)
        try:
            return [self._lying(letter) for letter in taken]
        finally:
            self.letters.release(taken)

    def _lying(self, letter: QueuedLetter) -> Lying:
        reason = letter.reason
        if reason is not None and not _REASON.fullmatch(reason):
            reason = "other"
        lying = Lying(reason=reason, was_redriven=letter.was_redriven)
        found = named(letter.body, topic=self.topic)
        if isinstance(found, str):
            return attrs.evolve(lying, wrong=found)
        work, id = found
        effect = find_effect(self.store, work, id)
        if effect is None:
            # What it calls itself may be anything.
            return attrs.evolve(lying, work=work, wrong="unknown_id")
        return attrs.evolve(lying, work=work, id=id, status=effect.status)

    def redrive(self, context: Context, ids: list[str], *, by: object) -> list[DeadLetter]:
        """Give dead letters three more attempts; what was settled meanwhile is left alone.

        Raises:
            NotFound: nothing of one of the ids was ever given up; then none is redriven.
        """
        operator = someone(self.addresses, "by", by)

        def decide(work: Work, events: Sequence[Recorded], at: datetime) -> tuple[Event, ...]:
            if work == "notification":
                mail = notification_of(events)
                return notification.redrive(mail, by=operator.id, at=at) if _waits(mail) else ()
            change = grant_of(events)
            return grant.redrive(change, by=operator.id, at=at) if _waits(change) else ()

        return self._decide(context, ids, _REDRIVEN, decide)

    def discard(
        self, context: Context, ids: list[str], *, by: object, reason: object
    ) -> list[DeadLetter]:
        """Close dead letters without doing what they were for, all of them or none.

        Raises:
            NotFound: nothing of one of the ids was ever given up.
            NotADeadLetter: one of them was settled meanwhile.
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
        def work(tx: Transaction) -> list[tuple[DeadLetter, tuple[Recorded, ...]]]:
            found = []
            for letter in [self._find(tx, id) for id in dict.fromkeys(ids)]:
                stream = _STREAMS[letter.work](letter.id)
                events = tx.load(stream)
                decided = decide(letter.work, events, self.clock.now())
                appended = tx.append(stream, version_of(events), decided, cause=events[-1])
                found.append((letter, appended))
            return found

        try:
            settled = transact(self.store, context, work)
        except CommandRepeated as repeated:
            streams = {stream(id) for stream in _STREAMS.values() for id in ids}
            first_answer(self.store, repeated, *kinds, same=lambda entry: entry.stream in streams)
            before = dict(map(_place, repeated.event_ids))
            letters = (self._find(self.store, id) for id in dict.fromkeys(ids))
            return [self._before(letter, before) for letter in letters]
        woken = [
            nudge_of(letter.work, letter.id, letter.ticket, entry)
            for letter, appended in settled
            for entry in appended
            if isinstance(entry.event, _REDRIVEN) and letter.kind != "sign_in_code"
        ]
        nudge(self.nudges, woken)
        return [letter for letter, _ in settled]

    def _before(self, letter: DeadLetter, before: Mapping[str, int]) -> DeadLetter:
        """Give a dead letter as it was before a person decided about it."""
        stream = _STREAMS[letter.work](letter.id)
        if stream not in before:
            return letter
        events = self.store.load(stream, until=before[stream] - 1)
        return self._told(letter.work, events, self.store.views) or letter

    def _find(self, reader: EventStore | Transaction, id: str) -> DeadLetter:
        item = reader.views.find_notification(id) or reader.views.find_grant(id)
        letter = None if item is None else self._letter(reader, item)
        if letter is None:
            raise NotFound("dead letter", id)
        return letter

    def _letter(
        self, reader: EventStore | Transaction, item: notification.Notification | grant.Grant
    ) -> DeadLetter | None:
        work: Work = "notification" if isinstance(item, notification.Notification) else "grant"
        id = "" if item.requested is None else item.requested.id
        return self._told(work, reader.load(_STREAMS[work](id)), reader.views)

    def _told(self, work: Work, entries: Sequence[Recorded], views: Views) -> DeadLetter | None:
        at = self.clock.now()
        letter = _letter(work, entries, views, at)
        if letter is None or letter.no_op is not None or work == "grant":
            return letter
        requested = notification_of(entries).requested
        known = None if requested is None else requested.fingerprint
        found = views.find_suppression(known or self.addresses.fingerprint(self.support))
        is_suppressed = found is not None and found.is_active(at)
        return attrs.evolve(letter, no_op="suppressed") if is_suppressed else letter


#: What we write as a reason; whatever else stands there was written by somebody else.
_REASON: Final = re.compile(r"[a-z_]{1,40}(: [a-z_]{1,40})?")
_STREAMS: Final[Mapping[Work, Callable[[str], str]]] = {
    "notification": notification.stream,
    "grant": grant.stream,
}
_REDRIVEN: Final = (notification.Redriven, grant.Redriven)
_DISCARDED: Final = (notification.Discarded, grant.Discarded)
_ACTIONS: Final = (*_REDRIVEN, *_DISCARDED)
_GIVEN_UP: Final = (notification.DeadLettered, grant.DeadLettered)
_FAULTS: Final[Mapping[str, Fault]] = {
    "attempts_exhausted": "transient_exhausted",
    "permanent_error": "permanent",
    "receives_exhausted": "receives_exhausted",
}
#: Statuses after which nothing is to be done any more.
_DONE: Final = frozenset({"accepted", "delayed", "delivered", "bounced", "complained", "done"})


def _place(event_id: str) -> tuple[str, int]:
    stream, _, version = event_id.rpartition("/")
    return stream, int(version)


def _waits(state: notification.Notification | grant.Grant) -> bool:
    """Whether it waits for a person."""
    return state.status == "dead_lettered" and not state.discarded


def _letter(
    work: Work, entries: Sequence[Recorded], views: Views, at: datetime
) -> DeadLetter | None:
    """Tell what was given up from its events; None when it never was."""
    errors: list[tuple[str, datetime]] = []
    actions: list[Action] = []
    given_up: notification.DeadLettered | grant.DeadLettered | None = None
    fault: Fault = "permanent"
    is_ours = False
    for entry in entries:
        event = entry.event
        match event:
            case notification.Failed() | notification.Refused() | grant.Failed():
                errors.append((event.error, event.at))
                # What could not even be written never got as far as a call.
                is_ours = not event.attempt or event.error.startswith(OUR_FAULT)
            case notification.OutcomeUnknown():
                errors.append((event.why, event.at))
            case notification.DeadLettered() | grant.DeadLettered():
                given_up, fault = event, _FAULTS[event.why]
                if is_ours and fault != "receives_exhausted":
                    fault = "our_fault"
            case notification.Redriven() | grant.Redriven():
                actions.append(Action(what="redriven", by=event.by, at=event.at))
            case notification.Discarded() | grant.Discarded():
                actions.append(Action(what="discarded", by=event.by, at=event.at))
            case _:
                pass
    state: notification.Notification | grant.Grant = (
        notification_of(entries) if work == "notification" else grant_of(entries)
    )
    requested = state.requested
    if given_up is None or requested is None:
        return None
    first, last = (errors[0], errors[-1]) if errors else (None, None)
    return DeadLetter(
        work=work,
        id=requested.id,
        kind=requested.kind,
        cause=requested.cause,
        ticket=requested.ticket,
        status=state.status,
        fault=fault,
        why=given_up.why,
        since=given_up.at,
        calls=state.calls,
        first_error=first and first[0],
        first_error_at=first and first[1],
        last_error=last and last[0],
        last_error_at=last and last[1],
        maybe_sent=isinstance(state, notification.Notification) and state.maybe_sent,
        no_op=_no_op(state, requested, views, at),
        actions=tuple(actions),
    )


def _no_op(
    state: notification.Notification | grant.Grant,
    requested: notification.Requested | grant.Requested,
    views: Views,
    at: datetime,
) -> str | None:
    """Say why a redrive would send nothing; None when it would."""
    if state.status in _DONE:
        return state.status
    if state.discarded:
        return "discarded"
    if state.status == "withheld":
        return state.why
    if state.status != "dead_lettered":
        return "under_way"
    if isinstance(state, notification.Notification) and notification.is_expired(state, at=at):
        return "expired"
    about = views.find_ticket(requested.ticket or "")
    submitted = None if about is None else about.submitted
    person = views.find_person((submitted.submitter if submitted else requested.user) or "")
    return "erased" if person is not None and person.erased else None
