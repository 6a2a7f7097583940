"""A sign-in challenge: one mailed code, three answers, five minutes.

Stream `challenge-<client>-<fingerprint>`: all challenges of one address at one client, so that the
store's optimistic concurrency serialises calls that come twice. Only its newest events are read.
The code is derived (HOTP, RFC 4226) from a key that the event names and the challenge's id: it is
stored nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal

import attrs

from siutindei.domain.errors import Invalid, NotFound, Refused

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "challenge"
Closing = Literal["superseded", "exhausted", "expired"]
Limit = Literal["address", "unproved", "client"]
ISSUE_RULE: Final = "challenge.limits_of_address_unproved_client.v1"
CODE_DIGITS: Final = 6
WINDOW: Final = timedelta(hours=1)
ATTEMPTS_MOST: Final = 10
#: The newest events of a stream that can matter: the open challenge (issued, `ATTEMPTS_MOST`
#: answers and closed at most), and the limits that were said within the hour.
NEWEST: Final = 64


def stream(client: str, fingerprint: str) -> str:
    """Name the stream of one address at one client."""
    return f"{CATEGORY}-{client}-{fingerprint}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Issued:
    """A sign-in was started; `user` is None for an address that nobody signed up with."""

    challenge: str
    client: str
    fingerprint: str
    user: str | None = None
    #: Whether the address had answered a code before.
    proved: bool = False
    locale: str | None = None
    key_id: str
    attempts: int
    expires_at: datetime
    rule: str = ISSUE_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class LimitReached:
    """A sign-in was not started, and charged to nobody; said once for each limit and hour."""

    client: str
    fingerprint: str
    limit: Limit
    rule: str = ISSUE_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class Passed:
    """The right code came; a challenge passes once."""

    challenge: str
    at: datetime


@attrs.frozen(kw_only=True)
class Missed:
    """A wrong code came."""

    challenge: str
    attempts_left: int
    at: datetime


@attrs.frozen(kw_only=True)
class Closed:
    """The challenge takes no more answers."""

    challenge: str
    why: Closing
    at: datetime


Event = Issued | LimitReached | Passed | Missed | Closed

EVENTS: Final[dict[str, type]] = {
    "challenge.issued.v1": Issued,
    "challenge.limit_reached.v1": LimitReached,
    "challenge.passed.v1": Passed,
    "challenge.missed.v1": Missed,
    "challenge.closed.v1": Closed,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Challenges:
    """The newest challenge of an address at a client.

    Attributes:
        issued: the newest challenge, or None.
        attempts_left: answers it still takes.
        is_open: whether it takes answers (its time may be over all the same).
        passed: whether the right code came.
        limit_reached_at: when each limit was last said to be reached.
    """

    issued: Issued | None = None
    attempts_left: int = 0
    is_open: bool = False
    passed: bool = False
    limit_reached_at: Mapping[Limit, datetime] = attrs.field(factory=dict)

    def takes_answers(self, challenge: str, at: datetime) -> bool:
        """Whether `challenge` is the newest, open, and its time is not over.

        A clock that goes back may make it live twice as long, and no longer: a challenge from
        farther in the future than a code lives is not believed.
        """
        issued = self.issued
        if issued is None or issued.challenge != challenge or not self.is_open:
            return False
        life = issued.expires_at - issued.at
        return issued.at - life <= at < issued.expires_at


INITIAL: Final = Challenges()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Challenges, event: Event) -> Challenges:
    """Fold one fact; facts about an older challenge change nothing."""
    match event:
        case Issued():
            return attrs.evolve(
                state, issued=event, attempts_left=event.attempts, is_open=True, passed=False
            )
        case LimitReached():
            return attrs.evolve(
                state, limit_reached_at={**state.limit_reached_at, event.limit: event.at}
            )
        case Passed() if _is_newest(state, event.challenge):
            return attrs.evolve(state, is_open=False, passed=True)
        case Missed() if _is_newest(state, event.challenge):
            return attrs.evolve(state, attempts_left=event.attempts_left)
        case Closed() if _is_newest(state, event.challenge):
            return attrs.evolve(state, is_open=False)
        case _:
            return state


def _is_newest(state: Challenges, challenge: str) -> bool:
    return state.issued is not None and state.issued.challenge == challenge


# --- decisions -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Limits:
    """The numbers of a sign-in.

    Attributes:
        ttl: how long a code lives.
        cooldown: how long an open challenge is given again instead of a new one.
        attempts: answers that a challenge takes.
        per_address: challenges that an address may start in an hour.
        unproved: challenges that all addresses that never answered a code may start in an hour.
        per_client: challenges that a client may start in an hour.

    Raises:
        Invalid: a challenge takes no answer, or so many that a code can be guessed.
    """

    ttl: timedelta = timedelta(seconds=300)
    cooldown: timedelta = timedelta(seconds=60)
    attempts: int = 3
    per_address: int = 5
    unproved: int = 60
    per_client: int = 300

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.attempts <= ATTEMPTS_MOST:
            raise Invalid("attempts", f"a challenge takes 1 to {ATTEMPTS_MOST} answers")


@attrs.frozen(kw_only=True)
class Counts:
    """Challenges that were started in the last hour, by what they are charged to."""

    address: int = 0
    unproved: int = 0
    client: int = 0


def reusable(state: Challenges, *, user: str | None, limits: Limits, at: datetime) -> Issued | None:
    """Give the open challenge that a second call gets instead of a new one, or None.

    It has to be the same user's: a challenge of an address that nobody had signed up with carries
    no mail, and whoever signs up meanwhile gets one that does. A clock that went back makes a
    challenge look issued in the future: within a code's life it is given again too.
    """
    issued = state.issued
    if issued is None or issued.user != user or not state.takes_answers(issued.challenge, at):
        return None
    return issued if at < issued.at + limits.cooldown else None


def issue(
    state: Challenges,
    *,
    challenge: str,
    client: str,
    fingerprint: str,
    user: str | None,
    proved: bool,
    locale: str | None,
    key_id: str,
    counts: Counts,
    limits: Limits,
    at: datetime,
) -> tuple[Event, ...]:
    """Start a challenge, or say which limit forbids it; quiet when the open one is fresh.

    The limits are looked at in the order address, unproved, client; what one of them refuses is
    not charged to the next. A refusal is an event too, once for each limit and hour: see `refused`.
    """
    if reusable(state, user=user, limits=limits, at=at) is not None:
        return ()
    reached = _reached(counts, limits, proved=proved)
    if reached is not None:
        said = state.limit_reached_at.get(reached)
        if said is not None and at - said < WINDOW:
            return ()
        return (LimitReached(client=client, fingerprint=fingerprint, limit=reached, at=at),)
    closing: tuple[Event, ...] = ()
    if state.issued is not None and state.is_open:
        why: Closing = "expired" if at >= state.issued.expires_at else "superseded"
        closing = (Closed(challenge=state.issued.challenge, why=why, at=at),)
    return (
        *closing,
        Issued(
            challenge=challenge,
            client=client,
            fingerprint=fingerprint,
            user=user,
            proved=proved,
            locale=locale,
            key_id=key_id,
            attempts=limits.attempts,
            expires_at=at + limits.ttl,
            at=at,
        ),
    )


def refused(counts: Counts, limits: Limits, *, proved: bool) -> TooManySignIns | None:
    """Give the refusal that `issue` decided, if it decided one."""
    reached = _reached(counts, limits, proved=proved)
    return None if reached is None else TooManySignIns(reached)


def _reached(counts: Counts, limits: Limits, *, proved: bool) -> Limit | None:
    if counts.address >= limits.per_address:
        return "address"
    if not proved and counts.unproved >= limits.unproved:
        return "unproved"
    if counts.client >= limits.per_client:
        return "client"
    return None


def answer(state: Challenges, *, challenge: str, correct: bool, at: datetime) -> tuple[Event, ...]:
    """Record an answer; quiet when the challenge takes none any more.

    Whether it was right is compared by the caller, in constant time, before it is known whether the
    challenge still takes answers.
    """
    if not state.takes_answers(challenge, at):
        return ()
    if correct:
        return (Passed(challenge=challenge, at=at),)
    left = max(0, state.attempts_left - 1)
    missed = Missed(challenge=challenge, attempts_left=left, at=at)
    return (missed,) if left else (missed, Closed(challenge=challenge, why="exhausted", at=at))


# --- errors --------------------------------------------------------------------------------------


class TooManySignIns(Refused):
    """A limit forbids another challenge now.

    Attributes:
        limit: which one; not shown to the one who signs in, to whom all are the same.
    """

    def __init__(self, limit: Limit) -> None:
        super().__init__("too many sign-ins were started; wait an hour and start again")
        self.limit = limit


class UnknownChallenge(NotFound):
    """No challenge has that id."""

    def __init__(self, challenge: str) -> None:
        super().__init__("challenge", challenge)
