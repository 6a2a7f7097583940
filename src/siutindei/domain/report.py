"""What is reported of one mail that nobody knows (yet): kept until its send is recorded.

Stream `report-<hash>`, the hash of what the mail service calls the mail.

    Parked, as often as something else is reported -> Applied, when the send is recorded
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final, Literal, assert_never

import attrs

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "report"
#: What became of the mail.
Kind = Literal["accepted", "delivered", "delayed", "bounced", "complained", "rejected"]
#: `parked`: the mail may be ours; `foreign`: it is somebody else's, as far as its tags say;
#: `applied`: the mail is known by now, and everything that was reported of it is recorded with it.
Status = Literal["none", "parked", "foreign", "applied"]


def stream(message_id: str) -> str:
    """Name the stream of what is reported of one mail, by what the mail service calls it."""
    return f"{CATEGORY}-{hashlib.sha256(message_id.encode()).hexdigest()[:32]}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Parked:
    """Something was reported of a mail that nobody knows; `happened_at` is when it happened."""

    kind: Kind
    #: What the mail service calls this kind of report.
    name: str
    message_id: str
    feedback_id: str
    main_type: str = ""
    sub_type: str = ""
    status: str | None = None
    #: Whether its tags are not of a notification of ours.
    foreign: bool = False
    happened_at: datetime
    at: datetime


@attrs.frozen(kw_only=True)
class Applied:
    """The send of the mail was recorded, and with it what had been reported of it."""

    notification: str
    at: datetime


Event = Parked | Applied

EVENTS: Final[dict[str, type]] = {
    "report.parked.v1": Parked,
    "report.applied.v1": Applied,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Reports:
    """What was reported of one mail.

    Attributes:
        message_id: what the mail service calls it.
        waiting: what is kept until the send is recorded, in order.
        notification: the mail that it turned out to be.
    """

    message_id: str = ""
    waiting: tuple[Parked, ...] = ()
    notification: str | None = None

    @property
    def status(self) -> Status:
        """Where it stands."""
        if not self.waiting:
            return "none" if self.notification is None else "applied"
        return "foreign" if any(said.foreign for said in self.waiting) else "parked"


INITIAL: Final = Reports()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Reports, event: Event) -> Reports:
    """Fold one fact."""
    match event:
        case Parked():
            return attrs.evolve(state, message_id=event.message_id, waiting=(*state.waiting, event))
        case Applied():
            return attrs.evolve(state, waiting=(), notification=event.notification)
        case _:
            assert_never(event)


# --- decisions -----------------------------------------------------------------------------------


def park(reports: Reports, parked: Parked) -> tuple[Event, ...]:
    """Keep what was reported; quiet when that is kept, and nothing new says whose mail it is."""
    is_known = any(
        said.feedback_id == parked.feedback_id and (said.foreign or not parked.foreign)
        for said in reports.waiting
    )
    return () if is_known else (parked,)


def apply(reports: Reports, *, notification: str, at: datetime) -> tuple[Event, ...]:
    """Record which mail it was; quiet when nothing is kept.

    Whoever does so records what is kept with that mail, in the same transaction.
    """
    return (Applied(notification=notification, at=at),) if reports.waiting else ()
