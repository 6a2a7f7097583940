"""Every event that can be stored, by its stored name, and how old versions are read."""

from __future__ import annotations

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
    from collections.abc import Callable, Mapping

Event = (
    person.Event
    | challenge.Event
    | ticket.Event
    | notification.Event
    | grant.Event
    | suppression.Event
    | lane.Event
    | report.Event
    | access.Event
)

EVENTS: Final[Mapping[str, type]] = {
    **person.EVENTS,
    **challenge.EVENTS,
    **ticket.EVENTS,
    **notification.EVENTS,
    **grant.EVENTS,
    **suppression.EVENTS,
    **lane.EVENTS,
    **report.EVENTS,
    **access.EVENTS,
}
NAMES: Final[Mapping[type, str]] = {event: name for name, event in EVENTS.items()}
UPCASTS: Final[Mapping[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    **person.UPCASTS,
}
