"""A lane: one sender's mail, which goes or is halted as a whole.

Stream `lane-<name>`. A lane that the mail service halted lets one mail through now and then, to see
whether mail goes again; one that a person halted, or a restored backup, waits for a person.

    Halted -> Probed (one mail may try) -> Resumed, or Halted for longer
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, assert_never, get_args

import attrs

from siutindei.domain.errors import Refused
from siutindei.domain.personal import Personal

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "lane"
Name = Literal["codes", "tickets"]
#: The mail service takes no mail of this sender; a backup was restored; a person decided it.
Why = Literal["account", "restored", "person"]
Standing = Literal["go", "probe", "wait"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
RULE: Final = "lane.halted_lanes_wait.v1"
#: How long until one mail may try, after the first failure, the second, and so on.
PROBES: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 4, 8, 10))
#: No mail that may try is farther off.
FARTHEST: Final = PROBES[-1] + timedelta(minutes=1)
#: How long a mail waits where only a person can say more.
WAIT: Final = timedelta(minutes=10)
#: As many of the newest events of a lane's stream say how it stands.
NEWEST: Final = 2


def stream(name: Name) -> str:
    """Name the stream of one lane."""
    return f"{CATEGORY}-{name}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Halted:
    """No mail of the lane goes; at `probe_at` one may try, where that can help."""

    why: Why
    #: Whether it is the whole account: a mail that is taken of any lane ends it.
    whole: bool = False
    #: What the mail service said.
    error: str | None = None
    #: How many mails have tried in vain.
    failures: int = 0
    probe_at: datetime | None = None
    since: datetime
    by: str | None = None
    note: Personal | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Probed:
    """One mail tries whether mail goes again; the next one may at `probe_at`."""

    notification: str
    whole: bool = False
    failures: int
    error: str | None = None
    since: datetime
    probe_at: datetime
    at: datetime


@attrs.frozen(kw_only=True)
class Resumed:
    """Mail of the lane goes again: one was taken, or a person says so."""

    how: Literal["accepted", "person"]
    by: str | None = None
    note: Personal | None = None
    at: datetime


Event = Halted | Probed | Resumed

EVENTS: Final[dict[str, type]] = {
    "lane.halted.v1": Halted,
    "lane.probed.v1": Probed,
    "lane.resumed.v1": Resumed,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Lane:
    """A lane as it stands.

    Attributes:
        why: why it is halted; None when it is not.
        whole: whether it is the whole account.
        since: since when.
        error: what the mail service said last.
        failures: how many mails have tried in vain.
        probe_at: when one may try; None when a person has to resume it.
        by: who halted it, where a person did.
        note: why, in their words.
        probing: the mail that tries.
        changed_at: when something last happened.
    """

    why: Why | None = None
    whole: bool = False
    since: datetime | None = None
    error: str | None = None
    failures: int = 0
    probe_at: datetime | None = None
    by: str | None = None
    note: Personal | None = None
    probing: str | None = None
    changed_at: datetime | None = None

    def is_news(self, notification: str, *, began: datetime, at: datetime) -> bool:
        """Whether the outcome of a call says anything new.

        What a call met that began before the lane last changed is known by now, or over. A change
        of the future was written by a clock that was ahead.
        """
        changed = self.changed_at
        return changed is None or began > changed or changed > at or self.probing == notification

    def standing(self, at: datetime) -> Standing:
        """Say whether mail goes, one may try, or all waits."""
        if self.why is None:
            return "go"
        if self.probe_at is None:
            return "wait"
        # Nothing is put off for longer: that was written by a clock that was ahead.
        is_time = self.probe_at <= at or self.probe_at > at + FARTHEST
        return "probe" if is_time else "wait"


INITIAL: Final = Lane()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Lane, event: Event) -> Lane:
    """Fold one fact; each says all that there is to know, so that the newest are enough."""
    match event:
        case Halted():
            return attrs.evolve(
                state,
                why=event.why,
                whole=event.whole,
                since=event.since,
                error=event.error,
                failures=event.failures,
                probe_at=event.probe_at,
                by=event.by,
                note=event.note,
                probing=None,
                changed_at=event.at,
            )
        case Probed():
            return attrs.evolve(
                state,
                why="account",
                whole=event.whole,
                since=event.since,
                error=event.error,
                failures=event.failures,
                probe_at=event.probe_at,
                probing=event.notification,
                changed_at=event.at,
            )
        case Resumed():
            return attrs.evolve(INITIAL, changed_at=event.at)
        case _:
            assert_never(event)


# --- decisions -----------------------------------------------------------------------------------


def fail(
    lane: Lane, *, notification: str, whole: bool, error: str, began: datetime, at: datetime
) -> tuple[Event, ...]:
    """Halt the lane because the mail service takes none of its mail, or halt it for longer.

    `whole` says that it takes nobody's.

    Quiet when that is no news, and when the lane waits for a person.
    """
    if not lane.is_news(notification, began=began, at=at) or lane.why in {"restored", "person"}:
        return ()
    failures = lane.failures + 1
    return (
        Halted(
            why="account",
            whole=whole,
            error=error,
            failures=failures,
            probe_at=at + PROBES[min(failures, len(PROBES)) - 1],
            since=lane.since or at,
            at=at,
        ),
    )


def probe(lane: Lane, *, notification: str, until: datetime, at: datetime) -> tuple[Event, ...]:
    """Let one mail try; whoever comes until its call has ended waits.

    Quiet unless it is time to.
    """
    if lane.standing(at) != "probe" or lane.since is None:
        return ()
    return (
        Probed(
            notification=notification,
            whole=lane.whole,
            failures=lane.failures,
            error=lane.error,
            since=lane.since,
            probe_at=max(until, at + PROBES[0]),
            at=at,
        ),
    )


def succeed(lane: Lane, *, notification: str, began: datetime, at: datetime) -> tuple[Event, ...]:
    """Resume the lane because the mail service took a mail of it; quiet unless that is news."""
    if lane.why != "account" or not lane.is_news(notification, began=began, at=at):
        return ()
    return (Resumed(how="accepted", at=at),)


def halt(
    lane: Lane, *, why: Literal["restored", "person"], by: str, note: Personal, at: datetime
) -> tuple[Event, ...]:
    """Halt the lane until a person resumes it; quiet when it is, for that reason."""
    if lane.why == why or (lane.why == "person" and why == "restored"):
        return ()
    return (Halted(why=why, since=lane.since or at, by=by, note=note, at=at),)


def resume(lane: Lane, *, by: str, note: Personal, at: datetime) -> tuple[Event, ...]:
    """Let mail go again because a person says so.

    Raises:
        NotHalted: it is not halted.
    """
    if lane.why is None:
        raise NotHalted
    return (Resumed(how="person", by=by, note=note, at=at),)


# --- errors --------------------------------------------------------------------------------------


class NotHalted(Refused):
    """Only a halted lane can be resumed."""

    def __init__(self) -> None:
        super().__init__("the lane is not halted; siutindei lane list shows how they stand")
