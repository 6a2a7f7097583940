"""A grant: one change in the platform, made once however often it is tried."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import pytest

from siutindei.domain import grant
from siutindei.domain.personal import of
from tests.support import START, Then, given

JUST: Final = timedelta(microseconds=1)
DEADLINE: Final = START + timedelta(seconds=10)
REQUESTED: Final = grant.Requested(
    id="R00001-organization",
    kind="organization",
    cause="ticket-R00001/2",
    ticket="R00001",
    user="ann",
    organization_id="o1",
    create=True,
    at=START,
)
DONE: Final = grant.CarriedOut(attempt=1, at=START)
WITHHELD: Final = grant.Withheld(why="erased", rule="grant.nothing_for_the_erased.v1", at=START)
REDRIVEN: Final = grant.Redriven(by="bob", at=START)
DISCARDED: Final = grant.Discarded(by="bob", reason=of("bob", "no use"), at=START)


def started(attempt: int = 1, at: datetime = START) -> grant.AttemptStarted:
    """Make an attempt that was announced."""
    return grant.AttemptStarted(attempt=attempt, deadline=at + (DEADLINE - START), at=at)


def failed(attempt: int = 1, retry_at: datetime | None = None) -> grant.Failed:
    """Make an attempt that failed."""
    return grant.Failed(attempt=attempt, error="no", retry_at=retry_at, at=START)


def dead(why: Any = "attempts_exhausted", at: datetime = START) -> grant.DeadLettered:
    """Make a grant that was given up."""
    return grant.DeadLettered(why=why, at=at)


THIRD: Final = (
    *(REQUESTED, started(1), failed(1, START)),
    *(started(2), failed(2, START), started(3)),
)
DEAD: Final = (*THIRD, failed(3), dead())


def start(*history: Any, at: datetime = START) -> Then:
    """Announce an attempt after a history."""
    return given(grant, *history).when(grant.start_attempt, deadline=at + (DEADLINE - START), at=at)


def carry_out(*history: Any, attempt: int = 1) -> Then:
    """Say that it was made."""
    return given(grant, *history).when(grant.carry_out, attempt=attempt, at=START)


def fail(*history: Any, attempt: int = 1, permanent: bool = False) -> Then:
    """Say that an attempt failed."""
    return given(grant, *history).when(
        grant.fail, attempt=attempt, error="no", permanent=permanent, at=START
    )


def withhold(*history: Any) -> Then:
    """Withhold it."""
    return given(grant, *history).when(grant.withhold, at=START)


def redrive(*history: Any) -> Then:
    """Redrive it."""
    return given(grant, *history).when(grant.redrive, by="bob", at=START)


def discard(*history: Any) -> Then:
    """Discard it."""
    return given(grant, *history).when(
        grant.discard, by="bob", reason=of("bob", "no use"), at=START
    )


def facts(*history: Any) -> tuple[Any, ...]:
    """Give status, attempts, calls and when it is due."""
    state = given(grant, *history).state
    return (state.status, state.attempts, state.calls, state.due_at)


# --- asking --------------------------------------------------------------------------------------


def test_a_grant_is_named_after_its_ticket_and_kind() -> None:
    """One approval asks for one grant of a kind, which a person can read."""
    assert "R00001-organization" == grant.grant_id("R00001", "organization")
    assert "grant-R00001-organization" == grant.stream("R00001-organization")


def test_a_change_is_asked_for() -> None:
    """What nobody asked for is asked for, and is due at once."""
    given(grant).when(grant.request, requested=REQUESTED).then(REQUESTED)

    assert ("requested", 0, 0, START) == facts(REQUESTED)
    assert ("none", 0, 0, None) == facts()


@pytest.mark.parametrize("history", [(REQUESTED,), DEAD, (REQUESTED, started(), DONE)])
def test_asking_twice_is_quiet(history: tuple[Any, ...]) -> None:
    """A change that was asked for is not asked for again, whatever became of it."""
    given(grant, *history).when(grant.request, requested=REQUESTED).then_nothing()


# --- trying --------------------------------------------------------------------------------------


def test_an_attempt_is_announced() -> None:
    """An attempt has a number and a deadline, until which nobody else tries."""
    start(REQUESTED).then(started())

    assert ("attempting", 1, 1, DEADLINE) == facts(REQUESTED, started())


@pytest.mark.parametrize(
    ("history", "at"),
    [
        ((), START),
        ((REQUESTED,), START - JUST),
        ((REQUESTED, started()), DEADLINE - JUST),
        ((REQUESTED, started(), failed(1, DEADLINE)), DEADLINE - JUST),
        ((REQUESTED, started(), DONE), DEADLINE),
        ((REQUESTED, WITHHELD), DEADLINE),
        (DEAD, DEADLINE),
        ((*DEAD, DISCARDED), DEADLINE),
    ],
)
def test_an_attempt_that_is_not_due_is_not_made(history: tuple[Any, ...], at: datetime) -> None:
    """Neither too early, nor beside another one, nor after the end."""
    start(*history, at=at).then_nothing()


def test_an_attempt_that_died_is_made_again_and_counted() -> None:
    """Grants are idempotent: after the deadline somebody else tries, three times in all."""
    second, third = DEADLINE, 2 * (DEADLINE - START) + START
    at = third + (DEADLINE - START)
    history = (REQUESTED, started(1), started(2, second), started(3, third))

    start(*history[:2], at=second).then(started(2, second))
    start(*history[:3], at=third).then(started(3, third))
    start(*history, at=at).then(dead(at=at))
    assert ("dead_lettered", 3, 3, None) == facts(*history, dead(at=at))
    start(*history, at=at - JUST).then_nothing()


def test_a_change_that_was_made_is_done() -> None:
    """Nothing is due after it."""
    carry_out(REQUESTED, started()).then(DONE)

    assert ("done", 1, 1, None) == facts(REQUESTED, started(), DONE)


def test_a_change_that_is_known_to_be_made_is_quiet() -> None:
    """A second attempt that finds it made has no news."""
    carry_out(REQUESTED, started(), DONE).then_nothing()
    carry_out(REQUESTED, started(), started(2), DONE, attempt=2).then_nothing()


@pytest.mark.parametrize(
    "history",
    [(REQUESTED, started(), started(2)), DEAD, (*DEAD, REDRIVEN), (REQUESTED, started(), WITHHELD)],
)
def test_a_change_that_turns_out_to_be_made_is_done(history: tuple[Any, ...]) -> None:
    """An attempt that ends late made the change all the same, and it is not made again."""
    carry_out(*history).then(DONE)

    assert ("done", None) == (facts(*history, DONE)[0], facts(*history, DONE)[3])
    redrive(*history, DONE).then_raises(grant.NotADeadLetter)


# --- failing -------------------------------------------------------------------------------------


def test_a_failed_attempt_is_made_again() -> None:
    """The first two failures are tried again, the second after a longer wait."""
    fail(REQUESTED, started()).then(failed(1, START + timedelta(seconds=30)))
    fail(*THIRD[:-2], attempt=2).then(failed(2, START + timedelta(seconds=120)))

    assert ("failed", 1, 1, START) == facts(REQUESTED, started(), failed(1, START))


def test_the_third_failure_gives_it_up() -> None:
    """The dead letter names the rule, and keeps the first and the newest error."""
    fail(*THIRD, attempt=3).then(failed(3), dead())
    last = attrs.evolve(failed(3), error="last")
    state = given(grant, *THIRD, last, dead()).state

    assert ("dead_lettered", 3, 3, None) == facts(*DEAD)
    assert ("attempts_exhausted", "no", "last") == (state.why, state.first_error, state.last_error)
    assert "grant.3_attempts.v1" == dead().rule


@pytest.mark.parametrize(("history", "attempt"), [((REQUESTED, started()), 1), (THIRD, 3)])
def test_a_permanent_error_gives_it_up_at_once(history: tuple[Any, ...], attempt: int) -> None:
    """What cannot be made is not tried again."""
    fail(*history, attempt=attempt, permanent=True).then(failed(attempt), dead("permanent_error"))


@pytest.mark.parametrize("permanent", [True, False])
@pytest.mark.parametrize(
    "history",
    [
        (),
        (REQUESTED,),
        (REQUESTED, started(), DONE),
        (REQUESTED, started(), failed(1, START)),
        (REQUESTED, started(), started(2)),
        (REQUESTED, started(), WITHHELD),
        (REQUESTED, started(), dead()),
    ],
)
def test_a_failure_that_is_not_of_the_open_attempt_is_quiet(
    history: tuple[Any, ...], permanent: bool
) -> None:
    """Neither a late failure nor one of an older attempt takes away what is known."""
    fail(*history, permanent=permanent).then_nothing()


# --- never ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [
        (REQUESTED,),
        (REQUESTED, started()),
        (REQUESTED, started(), failed(1, START)),
        (*DEAD, REDRIVEN),
    ],
)
def test_nothing_is_granted_to_the_erased(history: tuple[Any, ...]) -> None:
    """What is not made yet is withheld for good."""
    withhold(*history).then(WITHHELD)
    state = given(grant, *history, WITHHELD).state

    assert ("withheld", "erased", None) == (state.status, state.why, state.due_at)


@pytest.mark.parametrize(
    "history",
    [(), (REQUESTED, started(), DONE), (REQUESTED, WITHHELD), DEAD, (*DEAD, DISCARDED)],
)
def test_withholding_what_is_settled_is_quiet(history: tuple[Any, ...]) -> None:
    """What was made or given up is not withheld."""
    withhold(*history).then_nothing()


# --- dead letters --------------------------------------------------------------------------------


def test_a_redrive_gives_three_more_attempts() -> None:
    """The attempts are counted anew, and numbered on."""
    redrive(*DEAD).then(REDRIVEN)
    history: tuple[Any, ...] = (*DEAD, REDRIVEN)

    assert ("requested", 0, 3, START) == facts(*history)
    for attempt in (4, 5):
        start(*history).then(started(attempt))
        history = (*history, started(attempt), failed(attempt, START))
    fail(*history, started(6), attempt=6).then(failed(6), dead())


def test_a_dead_letter_is_discarded_with_a_reason() -> None:
    """It stays a dead letter that nobody has to look at any more."""
    discard(*DEAD).then(DISCARDED)

    assert ("dead_lettered", 3, 3, None) == facts(*DEAD, DISCARDED)
    assert given(grant, *DEAD, DISCARDED).state.discarded


@pytest.mark.parametrize("decide", [redrive, discard])
@pytest.mark.parametrize(
    ("history", "word"),
    [
        ((), "grant  is none, not a dead letter"),
        ((REQUESTED,), "grant R00001-organization is requested, not a dead letter"),
        ((*DEAD, REDRIVEN), "grant R00001-organization is requested, not a dead letter"),
        ((*DEAD, DISCARDED), "grant R00001-organization is discarded, not a dead letter"),
        ((*DEAD, DONE), "grant R00001-organization is done, not a dead letter"),
    ],
)
def test_only_a_dead_letter_is_redriven_or_discarded(
    history: tuple[Any, ...], word: str, decide: Any
) -> None:
    """Whoever comes second is told what it is by now."""
    error = decide(*history).then_raises(grant.NotADeadLetter)

    assert word == str(error)
