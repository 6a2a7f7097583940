"""A sign-in challenge: one code, three answers, five minutes, and limits on all of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from typing import Any, Final

import attrs
import pytest

from siutindei.domain import challenge
from siutindei.domain.challenge import Counts, Limits
from siutindei.domain.errors import Invalid, NotFound
from tests.support import START, Then, given

LIMITS: Final = Limits()
NONE: Final = Counts()
JUST: Final = timedelta(microseconds=1)
ISSUED: Final = challenge.Issued(
    challenge="c1",
    client="console",
    fingerprint="f",
    user="ann",
    proved=True,
    locale="en",
    key_id="key",
    attempts=3,
    expires_at=START + LIMITS.ttl,
    at=START,
)
PASSED: Final = challenge.Passed(challenge="c1", at=START)
EXHAUSTED: Final = challenge.Closed(challenge="c1", why="exhausted", at=START)


def missed(left: int, name: str = "c1", at: datetime = START) -> challenge.Missed:
    """Make a wrong answer."""
    return challenge.Missed(challenge=name, attempts_left=left, at=at)


def reached(limit: challenge.Limit, at: datetime = START) -> challenge.LimitReached:
    """Make the refusal of a limit."""
    return challenge.LimitReached(client="console", fingerprint="f", limit=limit, at=at)


def new(at: datetime, name: str = "c2", **changes: Any) -> challenge.Issued:
    """Make a challenge that was started at a time."""
    return attrs.evolve(ISSUED, challenge=name, at=at, expires_at=at + LIMITS.ttl, **changes)


def start(
    *history: Any,
    at: datetime,
    counts: Counts = NONE,
    limits: Limits = LIMITS,
    proved: bool = True,
    user: str | None = "ann",
) -> Then:
    """Start a challenge `c2` after a history."""
    return given(challenge, *history).when(
        challenge.issue,
        challenge="c2",
        client="console",
        fingerprint="f",
        user=user,
        proved=proved,
        locale="en",
        key_id="key",
        counts=counts,
        limits=limits,
        at=at,
    )


def answer(*history: Any, correct: bool, at: datetime = START, name: str = "c1") -> Then:
    """Answer a challenge after a history."""
    return given(challenge, *history).when(challenge.answer, challenge=name, correct=correct, at=at)


def test_each_address_has_a_stream_at_each_client() -> None:
    """The stream is named after the client and the fingerprint of the address."""
    assert "challenge-console-f" == challenge.stream("console", "f")


# --- starting ------------------------------------------------------------------------------------


def test_a_sign_in_starts_a_challenge() -> None:
    """The first sign-in starts a challenge that lives five minutes and takes three answers."""
    start(at=START).then(new(START))

    assert (300, 60, 3, 5, 60, 300) == (
        LIMITS.ttl.total_seconds(),
        LIMITS.cooldown.total_seconds(),
        LIMITS.attempts,
        LIMITS.per_address,
        LIMITS.unproved,
        LIMITS.per_client,
    )
    assert 6 == challenge.CODE_DIGITS


def test_an_unknown_address_gets_a_challenge_too() -> None:
    """Nobody can tell from the challenge whether the address is known."""
    start(at=START, user=None, proved=False).then(new(START, user=None, proved=False))


@pytest.mark.parametrize(
    "after", [timedelta(), timedelta(seconds=59), LIMITS.cooldown - JUST], ids=str
)
def test_within_the_cool_down_the_open_challenge_is_given_again(after: timedelta) -> None:
    """A second start within the cool-down starts nothing and is charged to nobody."""
    start(ISSUED, at=START + after).then_nothing()

    assert ISSUED == challenge.reusable(
        given(challenge, ISSUED).state, user=ISSUED.user, limits=LIMITS, at=START + after
    )


def test_somebody_elses_challenge_is_not_given_again() -> None:
    """Whoever signs up meanwhile gets a challenge that carries a mail, and the old one closes."""
    nobody = attrs.evolve(ISSUED, user=None)

    assert None is challenge.reusable(
        given(challenge, nobody).state, user="ann", limits=LIMITS, at=START
    )


def test_a_full_limit_does_not_take_the_open_challenge_away() -> None:
    """Within the cool-down no limit is looked at: nothing is started."""
    start(ISSUED, at=START, counts=Counts(address=99, unproved=99, client=999)).then_nothing()


@pytest.mark.parametrize("after", [LIMITS.cooldown, LIMITS.ttl - JUST], ids=str)
def test_after_the_cool_down_a_new_challenge_closes_the_old_one(after: timedelta) -> None:
    """The older code is worth nothing from the moment when a newer one is made."""
    at = START + after
    closed = challenge.Closed(challenge="c1", why="superseded", at=at)

    start(ISSUED, at=at).then(closed, new(at))
    answer(ISSUED, closed, new(at), correct=True, at=at).then_nothing()


@pytest.mark.parametrize("after", [LIMITS.ttl, timedelta(days=1)], ids=str)
def test_a_challenge_whose_time_is_over_is_closed_as_expired(after: timedelta) -> None:
    """A new challenge says of the one before it that its time was over."""
    at = START + after

    start(ISSUED, at=at).then(challenge.Closed(challenge="c1", why="expired", at=at), new(at))


@pytest.mark.parametrize("end", [PASSED, EXHAUSTED], ids=["passed", "exhausted"])
def test_a_challenge_that_had_its_end_is_not_given_again(end: challenge.Event) -> None:
    """After a right answer or three wrong ones the next start is a new challenge, at once."""
    start(ISSUED, end, at=START + JUST).then(new(START + JUST))


def test_an_open_challenge_whose_time_is_over_within_the_cool_down_is_not_given_again() -> None:
    """A cool-down that is longer than a code lives does not keep a dead code."""
    limits = attrs.evolve(LIMITS, cooldown=timedelta(hours=1))
    at = START + limits.ttl

    assert (
        challenge.reusable(given(challenge, ISSUED).state, user=ISSUED.user, limits=limits, at=at)
        is None
    )


def test_a_clock_that_jumps_back_gives_the_open_challenge_again() -> None:
    """A challenge that seems to be from the future is given again: no clock makes two codes."""
    before = START - LIMITS.ttl
    start(ISSUED, at=before).then_nothing()
    answer(ISSUED, correct=True, at=before).then(attrs.evolve(PASSED, at=before))


def test_a_challenge_from_farther_off_than_a_code_lives_takes_no_answers() -> None:
    """A clock that was ahead does not make a code live for as long as it was ahead."""
    answer(ISSUED, correct=True, at=START - LIMITS.ttl - JUST).then_nothing()


def test_without_a_cool_down_each_start_is_a_new_challenge() -> None:
    """A cool-down of nothing gives nothing again."""
    limits = attrs.evolve(LIMITS, cooldown=timedelta())

    start(ISSUED, at=START, limits=limits).then(
        challenge.Closed(challenge="c1", why="superseded", at=START), new(START)
    )


def test_before_the_first_sign_in_nothing_is_open() -> None:
    """An empty history has no challenge, takes no answer and was charged nothing."""
    state = given(challenge).state

    assert (None, 0, False, False) == (
        state.issued,
        state.attempts_left,
        state.is_open,
        state.passed,
    )
    assert Counts(address=0, unproved=0, client=0) == Counts()


# --- limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "proved", "limit"),
    [
        (Counts(address=5), True, "address"),
        (Counts(address=6), True, "address"),
        (Counts(unproved=60), False, "unproved"),
        (Counts(client=300), True, "client"),
        (Counts(client=300), False, "client"),
        # The order is address, unproved, client.
        (Counts(address=5, unproved=60, client=300), False, "address"),
        (Counts(unproved=60, client=300), False, "unproved"),
        (Counts(unproved=60, client=300), True, "client"),
    ],
)
def test_a_limit_that_is_reached_forbids_a_challenge(
    counts: Counts, proved: bool, limit: challenge.Limit
) -> None:
    """What is refused is said, names the first limit that forbids it, and starts nothing."""
    start(at=START, counts=counts, proved=proved).then(reached(limit))
    refused = challenge.refused(counts, LIMITS, proved=proved)

    assert isinstance(refused, challenge.TooManySignIns)
    assert limit == refused.limit


@pytest.mark.parametrize(
    ("counts", "proved"),
    [
        (Counts(address=4, unproved=59, client=299), False),
        (Counts(address=4, unproved=60, client=299), True),
        (Counts(address=4, unproved=6000, client=299), True),
    ],
)
def test_just_below_every_limit_a_challenge_starts(counts: Counts, proved: bool) -> None:
    """The last one that a limit allows is started; who proved the address shares no allowance."""
    start(at=START, counts=counts, proved=proved).then(new(START, proved=proved))

    assert challenge.refused(counts, LIMITS, proved=proved) is None


def test_a_refusal_does_not_say_which_limit_it_was() -> None:
    """Who signs in reads the same words whichever limit it was."""
    texts = {str(challenge.TooManySignIns(limit)) for limit in ("address", "unproved", "client")}

    assert {"too many sign-ins were started; wait an hour and start again"} == texts


def test_a_limit_is_said_once_an_hour() -> None:
    """Within an hour of the first refusal the same limit makes no further event."""
    full = Counts(address=5)
    within, after = START + challenge.WINDOW - JUST, START + challenge.WINDOW

    start(reached("address"), at=START, counts=full).then_nothing()
    start(reached("address"), at=within, counts=full).then_nothing()
    start(reached("address"), at=after, counts=full).then(reached("address", after))


def test_each_limit_is_said_for_itself() -> None:
    """That one limit was said keeps no other one quiet."""
    start(reached("address"), at=START, counts=Counts(client=300)).then(reached("client"))
    start(reached("address"), reached("client"), at=START, counts=Counts(address=5)).then_nothing()


def test_a_clock_that_jumps_back_does_not_say_a_limit_again() -> None:
    """A refusal that seems to be from the future was said."""
    at = START - timedelta(minutes=5)

    start(reached("address"), at=at, counts=Counts(address=5)).then_nothing()


def test_what_a_limit_refuses_leaves_the_open_challenge_as_it_is() -> None:
    """A refused start closes nothing: the code that was mailed before still works."""
    at = START + LIMITS.cooldown

    start(ISSUED, at=at, counts=Counts(address=5)).then(reached("address", at))
    answer(ISSUED, reached("address", at), correct=True, at=at).then(attrs.evolve(PASSED, at=at))


@pytest.mark.parametrize("attempts", [1, 10])
def test_one_answer_and_ten_are_still_a_few(attempts: int) -> None:
    """Both ends of what may be configured are allowed."""
    assert attempts == Limits(attempts=attempts).attempts


@pytest.mark.parametrize("attempts", [0, -1, 11])
def test_a_challenge_takes_a_few_answers(attempts: int) -> None:
    """No answer at all is no sign-in, and many would let a code be guessed."""
    with pytest.raises(Invalid) as caught:
        Limits(attempts=attempts)

    assert "attempts" == caught.value.field


def test_the_newest_events_hold_all_that_matters() -> None:
    """The longest hour that the limits allow still shows the open challenge and what was said."""
    history: list[challenge.Event] = [reached("unproved")]
    for number in range(LIMITS.per_address):
        name = f"c{number}"
        history.append(new(START, name, attempts=challenge.ATTEMPTS_MOST))
        history += [missed(left, name) for left in reversed(range(challenge.ATTEMPTS_MOST))]
        history.append(challenge.Closed(challenge=name, why="exhausted", at=START))
    history += [reached("address"), reached("client")]
    newest = history[-challenge.NEWEST :]

    assert given(challenge, *history).state == given(challenge, *newest).state


def test_a_new_challenge_is_not_passed_by_the_one_before_it() -> None:
    """A wrong answer to a second challenge is wrong, although the first one passed."""
    at = START + LIMITS.cooldown
    history = (ISSUED, PASSED, new(at))
    answer(*history, correct=False, at=at, name="c2").then(missed(2, "c2", at))
    state = given(challenge, *history, missed(2, "c2", at)).state

    assert (False, True, 2) == (state.passed, state.is_open, state.attempts_left)


# --- answering -----------------------------------------------------------------------------------


def test_the_right_code_passes() -> None:
    """A right answer passes the challenge, and it takes no more."""
    answer(ISSUED, correct=True).then(PASSED)

    assert given(challenge, ISSUED, PASSED).state.passed


@pytest.mark.parametrize("correct", [True, False])
def test_a_code_is_of_one_use(correct: bool) -> None:
    """After the right answer every other one is quiet, the same one too."""
    answer(ISSUED, PASSED, correct=correct).then_nothing()


def test_a_wrong_code_takes_one_answer_away() -> None:
    """Two wrong answers leave one, which may be right."""
    answer(ISSUED, correct=False).then(missed(2))
    answer(ISSUED, missed(2), correct=False).then(missed(1))
    answer(ISSUED, missed(2), missed(1), correct=True).then(PASSED)


def test_the_third_wrong_code_closes_the_challenge() -> None:
    """Three wrong answers are the end, and the right one comes too late then."""
    answer(ISSUED, missed(2), missed(1), correct=False).then(missed(0), EXHAUSTED)
    answer(ISSUED, missed(2), missed(1), missed(0), EXHAUSTED, correct=True).then_nothing()


def test_a_challenge_of_one_answer_takes_one() -> None:
    """The number of answers is the challenge's own, as it was when it was issued."""
    answer(attrs.evolve(ISSUED, attempts=1), correct=False).then(missed(0), EXHAUSTED)


def test_an_answer_counts_until_the_time_is_over() -> None:
    """The last moment is just before the expiry, and no clock helps after it."""
    last = ISSUED.expires_at - JUST

    answer(ISSUED, correct=True, at=last).then(attrs.evolve(PASSED, at=last))
    answer(ISSUED, correct=True, at=ISSUED.expires_at).then_nothing()
    answer(ISSUED, correct=False, at=ISSUED.expires_at).then_nothing()


@pytest.mark.parametrize("correct", [True, False])
def test_an_older_challenge_takes_no_answer(correct: bool) -> None:
    """An answer to a challenge that is not the newest is quiet, and takes none from the newest."""
    answer(ISSUED, new(START), correct=correct, name="c1").then_nothing()


@pytest.mark.parametrize("correct", [True, False])
def test_an_unknown_challenge_takes_no_answer(correct: bool) -> None:
    """Where no challenge was issued there is nothing to answer."""
    answer(correct=correct).then_nothing()
    answer(ISSUED, correct=correct, name="c9").then_nothing()


@pytest.mark.parametrize("late", [PASSED, missed(0), EXHAUSTED], ids=["passed", "missed", "closed"])
def test_what_is_said_of_an_older_challenge_changes_nothing(late: challenge.Event) -> None:
    """Facts about an older challenge leave the newest one open, with all its answers."""
    history = [ISSUED, new(START)]
    before = given(challenge, *history).state

    assert before == reduce(challenge.evolve, [late], before)
    assert (3, True, False) == (before.attempts_left, before.is_open, before.passed)


def test_an_unknown_challenge_is_named() -> None:
    """That there is no such challenge is said with its id, which reveals nothing."""
    error = challenge.UnknownChallenge("c9")

    assert isinstance(error, NotFound)
    assert ("challenge", "c9", "there is no challenge 'c9'") == (error.what, error.name, str(error))
