"""Lanes: one sender's mail, which a person can halt and resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.folding import lane_of, notification_of, version_of
from siutindei.app.identity import someone
from siutindei.app.ports import AddressBook, Clock, CommandRepeated, Context, EventStore, Ids
from siutindei.domain import fields, lane, notification
from siutindei.domain.errors import Refused
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from siutindei.app.ports import Recorded, Transaction

_RESTORED = "the database is a copy: what was mailed after it was made is not known here yet"


@attrs.frozen(kw_only=True)
class Lanes:
    """The use cases of lanes.

    Attributes:
        store: the history.
        clock: the time.
        addresses: find who acts.
        forgotten: counts the addresses that SES has on its list and that are not suppressed here.
    """

    store: EventStore
    clock: Clock
    addresses: AddressBook
    forgotten: Callable[[], int]

    def all(self) -> Mapping[lane.Name, lane.Lane]:
        """Say how every lane stands."""
        found = self.store.views.lanes()
        return {name: self.store.open_all(state) for name, state in found.items()}

    def halt(self, context: Context, name: lane.Name, *, by: object, reason: object) -> lane.Lane:
        """Let no mail of a lane go until somebody resumes it.

        Raises:
            Invalid: `by` or `reason`.
        """
        operator = someone(self.addresses, "by", by)
        note = of(operator.id, fields.required_line("reason", reason, most=500))
        return self._change(
            context,
            name,
            lambda state, at: lane.halt(state, why="person", by=operator.id, note=note, at=at),
        )

    def resume(self, context: Context, name: lane.Name, *, by: object, reason: object) -> lane.Lane:
        """Let mail of a lane go again.

        Raises:
            Invalid: `by` or `reason`.
            NotHalted: it is not halted.
            SuppressionsForgotten: a restored backup knows of fewer suppressions than SES.
            Unavailable: SES, which is asked after a restore, cannot be reached.
        """
        operator = someone(self.addresses, "by", by)
        note = of(operator.id, fields.required_line("reason", reason, most=500))
        if self.all()[name].why == "restored" and (count := self.forgotten()):
            raise SuppressionsForgotten(count)
        return self._change(
            context,
            name,
            lambda state, at: lane.resume(state, by=operator.id, note=note, at=at),
        )

    def _change(
        self,
        context: Context,
        name: lane.Name,
        decide: Callable[[lane.Lane, datetime], tuple[lane.Event, ...]],
    ) -> lane.Lane:
        stream = lane.stream(name)

        def work(tx: Transaction) -> lane.Lane:
            events = tx.load(stream, newest=lane.NEWEST)
            decided = decide(lane_of(events), self.clock.now())
            appended = tx.append(stream, version_of(events), decided)
            return tx.open_all(lane_of([*events, *appended]))

        try:
            return transact(self.store, context, work)
        except CommandRepeated as repeated:
            first_answer(
                self.store,
                repeated,
                lane.Halted,
                lane.Resumed,
                same=lambda entry: entry.stream == stream,
            )
            return self.all()[name]


def halt_after(
    tx: Transaction, known: Sequence[Recorded], *, whole: bool, error: str, at: datetime
) -> None:
    """Halt what a mail's newest call met, or for longer: its lane, or with `whole` every lane."""
    for requested, began in _newest_call(known):
        for name in lane.NAMES if whole else (notification.LANES[requested.kind],):
            stream = lane.stream(name)
            events = tx.load(stream, newest=lane.NEWEST)
            decided = lane.fail(
                lane_of(events),
                notification=requested.id,
                whole=whole,
                error=error,
                began=began,
                at=at,
            )
            tx.append(stream, version_of(events), decided, cause=known[-1])


def resume_after(tx: Transaction, known: Sequence[Recorded], *, at: datetime) -> None:
    """Resume the lane of a mail that was taken, and what the whole account halted.

    Whoever says that it was taken: the call's answer, a look-up, or a report.
    """
    for requested, began in _newest_call(known):
        for name, state in tx.views.lanes().items():
            if not state.whole and name != notification.LANES[requested.kind]:
                continue
            decided = lane.succeed(state, notification=requested.id, began=began, at=at)
            if decided:
                stream = lane.stream(name)
                version = version_of(tx.load(stream, newest=1))
                tx.append(stream, version, decided, cause=known[-1])


def _newest_call(known: Sequence[Recorded]) -> Sequence[tuple[notification.Requested, datetime]]:
    """Give what a mail is, and when its newest call was announced; nothing when none was."""
    requested = notification_of(known).requested
    return [
        (requested, entry.event.at)
        for entry in known
        if requested is not None and isinstance(entry.event, notification.AttemptStarted)
    ][-1:]


def halt_restored(store: EventStore, *, clock: Clock, ids: Ids) -> bool:
    """Halt every lane where the database is a copy that was put in place; say whether it was.

    Raises:
        Unavailable: not now.
        Unusable: this process may not do it.
    """
    if not store.is_copy:
        return False
    id = ids.uuid()
    context = Context(command_id=id, actor="restore", request_id=id, correlation_id=id)

    def work(tx: Transaction) -> bool:
        if not tx.take_copy_mark():
            # Another process was first.
            return False
        for name in lane.NAMES:
            stream = lane.stream(name)
            events = tx.load(stream, newest=lane.NEWEST)
            decided = lane.halt(
                lane_of(events),
                why="restored",
                by="restore",
                note=of("restore", _RESTORED),
                at=clock.now(),
            )
            tx.append(stream, version_of(events), decided)
        return True

    return transact(store, context, work)


class SuppressionsForgotten(Refused):
    """A restored backup would mail to addresses that SES does not mail to."""

    def __init__(self, count: int) -> None:
        super().__init__(
            f"SES does not mail to {count} addresses that are not suppressed here, the backup being"
            " older; run siutindei suppression sync, and resume the lane then"
        )
