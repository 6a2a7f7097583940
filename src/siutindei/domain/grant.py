"""A grant: one change in the platform that an approval asked for, and how it went.

Stream `grant-<reference>-<kind>`. Grants are idempotent by their id, so an attempt whose end is
unknown is simply made again.

    Requested -> AttemptStarted -> CarriedOut | Failed
    DeadLettered (given up), Redriven (again), Withheld (never), Discarded
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, assert_never, get_args

import attrs

from siutindei.domain.due import is_due
from siutindei.domain.errors import Refused
from siutindei.domain.personal import Personal

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "grant"
#: `organization`: make it, or take the manager in; `manager`: join the managers' group;
#: `feedback`: publish it; `stars`: set the submitter's stars.
Kind = Literal["organization", "manager", "feedback", "stars"]
Status = Literal["none", "requested", "attempting", "failed", "done", "withheld", "dead_lettered"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ATTEMPTS: Final = 3
ATTEMPTS_RULE: Final = f"grant.{ATTEMPTS}_attempts.v1"
BACKOFF: Final = (timedelta(seconds=30), timedelta(seconds=120))


def grant_id(reference: str, kind: Kind) -> str:
    """Name a grant by the ticket that it follows from and what it does."""
    return f"{reference}-{kind}"


def stream(id: str) -> str:
    """Name the stream of one grant."""
    return f"{CATEGORY}-{id}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Requested:
    """An approval asked for a change in the platform."""

    id: str
    kind: Kind
    cause: str
    ticket: str
    user: str
    organization_id: str | None = None
    #: Whether the organization is to be made; it is named as the ticket names it.
    create: bool = False
    at: datetime


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """The change is about to be made; until the deadline nobody else tries."""

    attempt: int
    deadline: datetime
    at: datetime


@attrs.frozen(kw_only=True)
class CarriedOut:
    """The change was made (or had been made before)."""

    attempt: int
    at: datetime


@attrs.frozen(kw_only=True)
class Failed:
    """The change could not be made; `retry_at` is when it is tried again."""

    attempt: int
    error: str
    retry_at: datetime | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Withheld:
    """The change is not made: the person it was for was erased."""

    why: Literal["erased"]
    rule: str
    at: datetime


@attrs.frozen(kw_only=True)
class DeadLettered:
    """Given up until a person looks at it."""

    why: Literal["attempts_exhausted", "permanent_error"]
    rule: str = ATTEMPTS_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class Redriven:
    """A person gave it three more attempts."""

    by: str
    at: datetime


@attrs.frozen(kw_only=True)
class Discarded:
    """A person decided that it is not to be made any more; the reason is their text."""

    by: str
    reason: Personal
    at: datetime


Event = (
    Requested
    | AttemptStarted
    | CarriedOut
    | Failed
    | Withheld
    | DeadLettered
    | Redriven
    | Discarded
)

EVENTS: Final[dict[str, type]] = {
    "grant.requested.v1": Requested,
    "grant.attempt_started.v1": AttemptStarted,
    "grant.carried_out.v1": CarriedOut,
    "grant.failed.v1": Failed,
    "grant.withheld.v1": Withheld,
    "grant.dead_lettered.v1": DeadLettered,
    "grant.redriven.v1": Redriven,
    "grant.discarded.v1": Discarded,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Grant:
    """A grant as it stands.

    Attributes:
        requested: what was asked for.
        status: where it is.
        attempts: attempts since it was asked for or last redriven.
        calls: attempts, ever.
        due_at: when somebody should look at it again; None when there is nothing to do.
        first_error: the first thing that went wrong.
        last_error: the newest thing that went wrong.
        discarded: whether a person decided that it is not to be made any more.
    """

    requested: Requested | None = None
    status: Status = "none"
    attempts: int = 0
    calls: int = 0
    due_at: datetime | None = None
    first_error: str | None = None
    last_error: str | None = None
    why: str | None = None
    discarded: bool = False

    @property
    def exists(self) -> bool:
        """Whether it was ever asked for."""
        return self.requested is not None


INITIAL: Final = Grant()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Grant, event: Event) -> Grant:
    """Fold one fact."""
    match event:
        case Requested():
            return attrs.evolve(state, requested=event, status="requested", due_at=event.at)
        case AttemptStarted():
            return attrs.evolve(
                state,
                status="attempting",
                attempts=state.attempts + 1,
                calls=state.calls + 1,
                due_at=event.deadline,
            )
        case CarriedOut():
            return attrs.evolve(state, status="done", due_at=None)
        case Failed():
            return attrs.evolve(
                state,
                status="failed",
                due_at=event.retry_at,
                first_error=state.first_error or event.error,
                last_error=event.error,
            )
        case Withheld():
            return attrs.evolve(state, status="withheld", why=event.why, due_at=None)
        case DeadLettered():
            return attrs.evolve(state, status="dead_lettered", why=event.why, due_at=None)
        case Redriven():
            return attrs.evolve(state, status="requested", attempts=0, due_at=event.at)
        case Discarded():
            return attrs.evolve(state, discarded=True, due_at=None)
        case _:
            assert_never(event)


# --- decisions -----------------------------------------------------------------------------------


def request(grant: Grant, requested: Requested) -> tuple[Event, ...]:
    """Ask for the change; quiet when it was asked for before."""
    return () if grant.exists else (requested,)


def start_attempt(grant: Grant, *, deadline: datetime, at: datetime) -> tuple[Event, ...]:
    """Announce an attempt; quiet when it is not due.

    An attempt that died with its process (its deadline is over) counts: after the third the grant
    is a dead letter.
    """
    if grant.due_at is None or not is_due(grant.due_at, at=at):
        return ()
    if grant.attempts >= ATTEMPTS:
        return (DeadLettered(why="attempts_exhausted", at=at),)
    return (AttemptStarted(attempt=grant.calls + 1, deadline=deadline, at=at),)


def carry_out(grant: Grant, *, attempt: int, at: datetime) -> tuple[Event, ...]:
    """Record that the change was made; quiet when that is known."""
    return () if grant.status == "done" else (CarriedOut(attempt=attempt, at=at),)


def fail(
    grant: Grant, *, attempt: int, error: str, permanent: bool, at: datetime
) -> tuple[Event, ...]:
    """Record an attempt that failed; the third one, or a permanent error, gives the grant up."""
    if attempt != grant.calls or grant.status != "attempting":
        return ()
    if permanent or grant.attempts >= ATTEMPTS:
        return (
            Failed(attempt=attempt, error=error, at=at),
            DeadLettered(why="permanent_error" if permanent else "attempts_exhausted", at=at),
        )
    retry_at = at + BACKOFF[min(grant.attempts, len(BACKOFF)) - 1]
    return (Failed(attempt=attempt, error=error, retry_at=retry_at, at=at),)


def withhold(grant: Grant, *, at: datetime) -> tuple[Event, ...]:
    """Decide that it is not made, because the person was erased; quiet when it is settled."""
    if grant.due_at is None:
        return ()
    return (Withheld(why="erased", rule="grant.nothing_for_the_erased.v1", at=at),)


def redrive(grant: Grant, *, by: str, at: datetime) -> tuple[Event, ...]:
    """Give a dead letter three more attempts.

    Raises:
        NotADeadLetter: it is none (any more).
    """
    _require_dead_letter(grant)
    return (Redriven(by=by, at=at),)


def discard(grant: Grant, *, by: str, reason: Personal, at: datetime) -> tuple[Event, ...]:
    """Close a dead letter without making the change.

    Raises:
        NotADeadLetter: it is none (any more).
    """
    _require_dead_letter(grant)
    return (Discarded(by=by, reason=reason, at=at),)


def _require_dead_letter(grant: Grant) -> None:
    if grant.status != "dead_lettered" or grant.discarded:
        raise NotADeadLetter(
            grant.requested.id if grant.requested else "",
            "discarded" if grant.discarded else grant.status,
        )


# --- errors --------------------------------------------------------------------------------------


class NotADeadLetter(Refused):
    """Only a dead letter can be redriven or discarded."""

    def __init__(self, id: str, status: str) -> None:
        super().__init__(f"grant {id} is {status}, not a dead letter")
