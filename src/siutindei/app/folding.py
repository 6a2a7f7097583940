"""Streams as states."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from siutindei.domain import (
    access,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from siutindei.app.ports import Recorded


def person_of(events: Iterable[Recorded]) -> person.Person:
    """Fold a person's stream."""
    return reduce(person.evolve, _events(events), person.INITIAL)


def challenges_of(events: Iterable[Recorded]) -> challenge.Challenges:
    """Fold the newest events of a challenge stream."""
    return reduce(challenge.evolve, _events(events), challenge.INITIAL)


def ticket_of(events: Iterable[Recorded]) -> ticket.Ticket:
    """Fold a ticket's stream."""
    return reduce(ticket.evolve, _events(events), ticket.INITIAL)


def notification_of(events: Iterable[Recorded]) -> notification.Notification:
    """Fold a notification's stream."""
    return reduce(notification.evolve, _events(events), notification.INITIAL)


def grant_of(events: Iterable[Recorded]) -> grant.Grant:
    """Fold a grant's stream."""
    return reduce(grant.evolve, _events(events), grant.INITIAL)


def suppression_of(events: Iterable[Recorded]) -> suppression.Suppression:
    """Fold the stream of a suppression."""
    return reduce(suppression.evolve, _events(events), suppression.INITIAL)


def lane_of(events: Iterable[Recorded]) -> lane.Lane:
    """Fold the newest events of a lane's stream."""
    return reduce(lane.evolve, _events(events), lane.INITIAL)


def reports_of(events: Iterable[Recorded]) -> report.Reports:
    """Fold the stream of what is reported of one mail."""
    return reduce(report.evolve, _events(events), report.INITIAL)


def accesses_of(events: Iterable[Recorded]) -> access.Accesses:
    """Fold the stream of who looked at one thing."""
    return reduce(access.evolve, _events(events), access.INITIAL)


def _events(recorded: Iterable[Recorded]) -> Any:
    return (entry.event for entry in recorded)


def version_of(events: list[Recorded] | tuple[Recorded, ...] | Any) -> int:
    """Give the version of the last event of a stream, 0 when there is none."""
    return events[-1].version if events else 0


#: What folds a stream, by its category.
FOLDS: Final[Mapping[str, Callable[[Iterable[Recorded]], Any]]] = {
    person.CATEGORY: person_of,
    challenge.CATEGORY: challenges_of,
    ticket.CATEGORY: ticket_of,
    notification.CATEGORY: notification_of,
    grant.CATEGORY: grant_of,
    suppression.CATEGORY: suppression_of,
    lane.CATEGORY: lane_of,
    report.CATEGORY: reports_of,
    access.CATEGORY: accesses_of,
}
