"""The sweep: whatever the queues lost is found in the ledger, and nudged again.

It sends no mail. What needs no sending (an outcome that nobody knew, a code whose time is over) it
settles itself.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.commands import transact
from siutindei.app.delivery import Delivery
from siutindei.app.erasing import scrub_what_is_owed
from siutindei.app.folding import notification_of, version_of
from siutindei.app.nudging import nudge, nudge_of
from siutindei.app.ports import (
    Clock,
    DeadLetterQueue,
    EventStore,
    Ids,
    Nudges,
    PortError,
    Unavailable,
)
from siutindei.app.processing import find_effect, named
from siutindei.app.proof import Proof
from siutindei.domain import budget, grant, notification
from siutindei.domain.due import is_due

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Context, Due, Nudge, QueuedLetter, Transaction

#: How much one sweep looks at.
EFFECTS: Final = 500
LETTERS: Final = 100
#: What is due for as long as this is late: several sweeps and three attempts did not settle it.
OVERDUE: Final = timedelta(minutes=15)

_Verdict = Literal["redrive", "remove", "exhaust", "leave"]


@attrs.frozen(kw_only=True)
class Swept:
    """What one sweep did, and what it saw when it was done.

    Attributes:
        nudged: effects that were nudged.
        lost: effects whose nudges could not be sent; the next sweep tries again.
        settled: effects that it settled itself.
        redriven: messages that it took from the dead-letter queue and sent again.
        removed: messages that it took from there because they were of no use any more.
        exhausted: notifications that it gave up because two rounds of receives came to nothing.
        problems: effects and messages that could not be looked at.
        due: effects that are due.
        overdue: effects that are due for long.
        unknown: mails whose outcome nobody knows although the settle time is over.
        dead_letters: effects that wait for a person.
        halted_lanes: senders whose mail does not go.
        checkpoints: checkpoints that were taken.
        checkpoints_refused: checkpoints that could not be taken.
        budget_left: codes that the budget has room for.
        budget_left_for_decisions: decisions that it has room for.
    """

    nudged: int = 0
    lost: int = 0
    settled: int = 0
    redriven: int = 0
    removed: int = 0
    exhausted: int = 0
    problems: int = 0
    due: int = 0
    overdue: int = 0
    unknown: int = 0
    dead_letters: int = 0
    halted_lanes: int = 0
    checkpoints: int = 0
    checkpoints_refused: int = 0
    budget_left: int = 0
    budget_left_for_decisions: int = 0


@attrs.frozen(kw_only=True)
class Sweep:
    """The use case of the sweep; `topic` is the ARN that envelopes come from."""

    store: EventStore
    clock: Clock
    ids: Ids
    delivery: Delivery
    nudges: Nudges
    letters: DeadLetterQueue
    topic: str
    proof: Proof

    def run(self, context: Context) -> Swept:
        """Sweep once.

        Raises:
            Unavailable: the store is not there.
        """
        swept = self._queue(context, Swept()) if self.nudges.can_send else Swept()
        swept = self._ledger(context, swept)
        scrub_what_is_owed(self.store)
        swept = self._checkpoint(swept)
        at, views = self.clock.now(), self.store.views
        mails = views.notifications(status="dead_lettered")
        grants = views.grants(status="dead_lettered")
        usage, limits = views.sends(since=at - budget.WINDOW).usage, self.delivery.limits
        return attrs.evolve(
            swept,
            due=views.count_due(at=at),
            overdue=views.count_due(at=at - OVERDUE),
            unknown=sum(
                _waits_too_long(item, at) for item in views.notifications(status="unknown")
            ),
            dead_letters=sum(not mail.discarded for mail in mails)
            + sum(not given.discarded for given in grants),
            halted_lanes=sum(state.why is not None for state in views.lanes().values()),
            budget_left=budget.left("sign_in_code", usage=usage, limits=limits),
            budget_left_for_decisions=budget.left("ticket_decided", usage=usage, limits=limits),
        )

    # --- the ledger -------------------------------------------------------------------------------

    def _ledger(self, context: Context, swept: Swept) -> Swept:
        wanted: list[Nudge] = []
        settled = problems = 0
        for entry in self.store.views.due(at=self.clock.now(), limit=EFFECTS):
            try:
                found = self._look_at(context, entry)
            except Unavailable:
                raise
            except Exception:  # noqa: BLE001  # one effect must not hold up the others
                problems += 1
                continue
            if isinstance(found, bool):
                settled += found
            elif self.nudges.can_send:
                wanted.append(found)
        sent = nudge(self.nudges, wanted)
        return attrs.evolve(
            swept,
            nudged=len(wanted) if sent else 0,
            lost=0 if sent else len(wanted),
            settled=settled,
            problems=swept.problems + problems,
        )

    def _look_at(self, context: Context, entry: Due) -> Nudge | bool:
        """Give the nudge that an effect wants, or settle it and say whether that was possible."""
        first = self.store.load(_stream(entry), until=1)[0]
        event = first.event
        if isinstance(event, notification.Requested):
            state = self.store.views.find_notification(entry.id)
            if state is not None and (
                event.kind == "sign_in_code" or state.call_open or state.status == "unknown"
            ):
                outcome = self.delivery.settle_only(context, entry.id)
                return outcome.result != "nothing_to_do"
        return nudge_of(entry.work, entry.id, getattr(event, "ticket", None), first)

    # --- the signed log ---------------------------------------------------------------------------

    def _checkpoint(self, swept: Swept) -> Swept:
        """Take a checkpoint when it is time for one; whatever becomes of it, the rest goes on."""
        try:
            return attrs.evolve(swept, checkpoints=int(self.proof.keep_up()))
        except PortError:
            return attrs.evolve(swept, checkpoints_refused=1)

    # --- the dead-letter queue --------------------------------------------------------------------

    def _queue(self, context: Context, swept: Swept) -> Swept:
        """Send again, once, what lies on the dead-letter queue and is no dead letter."""
        redriven = removed = exhausted = problems = 0
        left: list[QueuedLetter] = []
        try:
            for letter in self.letters.letters(limit=LETTERS):
                verdict = self._verdict(letter)
                if verdict == "redrive":
                    self.letters.redrive(letter)
                    redriven += 1
                elif verdict == "remove":
                    self.letters.remove(letter)
                    removed += 1
                else:
                    left.append(letter)
                    exhausted += verdict == "exhaust" and self._exhaust(context, letter)
            self.letters.release(left)
        except PortError:
            # What it had taken up comes back by itself; the ledger is what matters.
            problems = 1
        return attrs.evolve(
            swept, redriven=redriven, removed=removed, exhausted=exhausted, problems=problems
        )

    def _verdict(self, letter: QueuedLetter) -> _Verdict:
        effect = named(letter.body, topic=self.topic)
        found = None if isinstance(effect, str) else find_effect(self.store, *effect)
        if found is None:
            return "leave"
        if found.status == "dead_lettered":
            return "remove" if found.discarded else "leave"
        if not letter.was_redriven:
            return "redrive"
        if found.due_at is None or found.status == "deferred":
            # Somebody could begin, and put it off: the ledger says when it is due.
            return "remove"
        is_mail = isinstance(found, notification.Notification)
        return "exhaust" if is_mail and is_due(found.due_at, at=self.clock.now()) else "leave"

    def _exhaust(self, context: Context, letter: QueuedLetter) -> bool:
        """Give a notification up that nobody could even begin, twice."""
        stream = notification.stream(named(letter.body, topic=self.topic)[1])

        def work(tx: Transaction) -> bool:
            events = tx.load(stream)
            decided = notification.exhaust_receives(notification_of(events), at=self.clock.now())
            return bool(tx.append(stream, version_of(events), decided, cause=events[0]))

        step = attrs.evolve(context, command_id=self.ids.uuid())
        return transact(self.store, step, work)


def _stream(entry: Due) -> str:
    return grant.stream(entry.id) if entry.work == "grant" else notification.stream(entry.id)


def _waits_too_long(state: notification.Notification, at: datetime) -> bool:
    """Whether an outcome is unknown longer than the settle time; a code's is left alone."""
    if state.due_at is None:
        return False
    return state.why == "settling" or is_due(state.due_at, at=at)
