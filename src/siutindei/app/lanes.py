"""Lanes: one sender's mail, which a person can halt and resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.folding import lane_of, version_of
from siutindei.app.identity import someone
from siutindei.app.ports import AddressBook, Clock, CommandRepeated, Context, EventStore, Ids
from siutindei.domain import fields, lane
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from siutindei.app.ports import Transaction

_RESTORED = "the database is a copy: what was mailed after it was made is not known here yet"


@attrs.frozen(kw_only=True)
class Lanes:
    """The use cases of lanes."""

    store: EventStore
    clock: Clock
    addresses: AddressBook

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
        """
        operator = someone(self.addresses, "by", by)
        note = of(operator.id, fields.required_line("reason", reason, most=500))
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
