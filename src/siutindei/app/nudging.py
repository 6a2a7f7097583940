"""Nudges: after a commit, whoever works on effects is told that there is something to do.

They are a courtesy: the ledger says what is due, and the sweep finds what no nudge came for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from siutindei.app.ports import Nudge, Nudges, Recorded, Work
from siutindei.domain import grant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def nudge(nudges: Nudges, wanted: Sequence[Nudge]) -> bool:
    """Send nudges and say whether that worked; what was committed stands either way."""
    if not wanted:
        return True
    try:
        nudges.send(wanted)
    except Exception:  # noqa: BLE001  # a courtesy that fails must not fail what was done
        return False
    return True


def nudges_for(asked: Iterable[Recorded]) -> list[Nudge]:
    """Give the nudges of effects that were just asked for.

    Who starts a sign-in asks for none: a code never goes through a queue.
    """
    found = []
    for entry in asked:
        event: Any = entry.event
        work: Work = "grant" if isinstance(event, grant.Requested) else "notification"
        found.append(nudge_of(work, event.id, event.ticket, entry))
    return found


def nudge_of(work: Work, id: str, ticket: str | None, entry: Recorded) -> Nudge:
    """Give the nudge of an effect, which an event made due."""
    return Nudge(
        work=work,
        id=id,
        ticket=ticket,
        event_id=entry.id,
        request_id=entry.context.request_id,
        correlation_id=entry.context.correlation_id,
    )
