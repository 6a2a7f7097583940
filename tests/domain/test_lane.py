"""A lane: one sender's mail, which goes or is halted as a whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import attrs
import pytest

from siutindei.domain import lane
from siutindei.domain.personal import of
from tests.support import START, Then, given

MINUTE: Final = timedelta(minutes=1)
NOTE: Final = of("bob", "why")
RESUMED: Final = lane.Resumed(how="accepted", at=START)


def halted(failures: int = 1, at: Any = START, **more: Any) -> lane.Halted:
    """Make a lane that the mail service halted."""
    wait = lane.PROBES[min(failures, len(lane.PROBES)) - 1]
    return lane.Halted(
        why="account",
        error="paused",
        failures=failures,
        probe_at=at + wait,
        **{"since": START} | more,
        at=at,
    )


def probed(failures: int = 1, at: Any = START + MINUTE) -> lane.Probed:
    """Make a mail that tries."""
    return lane.Probed(
        notification="n",
        failures=failures,
        error="paused",
        since=START,
        probe_at=at + MINUTE,
        at=at,
    )


def by_hand(why: Any = "person") -> lane.Halted:
    """Make a lane that waits for a person."""
    return lane.Halted(why=why, since=START, by="bob", note=NOTE, at=START)


def fail(*history: Any, id: str = "n", began: Any = START, at: Any = START) -> Then:
    """Let a call meet a halted account."""
    return given(lane, *history).when(
        lane.fail, notification=id, whole=False, error="paused", began=began, at=at
    )


def succeed(*history: Any, id: str = "n", began: Any = START, at: Any = START) -> Then:
    """Let a call succeed."""
    return given(lane, *history).when(lane.succeed, notification=id, began=began, at=at)


def test_an_account_that_takes_no_mail_halts_the_lane() -> None:
    """One mail may try a minute later."""
    fail().then(halted())


def test_the_calls_that_were_under_way_say_nothing_new() -> None:
    """Many that fail at once are one failure."""
    fail(halted(), id="m", began=START).then()
    succeed(halted(), id="m", began=START).then()


def test_one_mail_tries_at_a_time() -> None:
    """When it is time one may; whoever comes after it waits."""
    when = given(lane, halted())
    until = START + MINUTE + timedelta(seconds=9)
    when.when(lane.probe, notification="n", until=until, at=START).then()
    when.when(lane.probe, notification="n", until=until, at=START + MINUTE).then(probed())
    given(lane, halted(), probed()).when(
        lane.probe, notification="m", until=until, at=START + MINUTE
    ).then()
    given(lane).when(lane.probe, notification="n", until=until, at=START).then()


def test_a_try_that_takes_longer_keeps_the_next_one_waiting_for_longer() -> None:
    """The next may try when its call has surely ended."""
    (event,) = lane.probe(
        given(lane, halted()).state,
        notification="n",
        until=START + 5 * MINUTE,
        at=START + MINUTE,
    )

    assert START + 5 * MINUTE == event.probe_at  # type: ignore[union-attr]


def test_each_try_in_vain_makes_the_wait_longer() -> None:
    """One minute, two, four, eight, then ten; since when it is halted stays."""
    at = START + MINUTE
    fail(halted(), probed(), began=at, at=at).then(halted(2, at))
    fail(halted(4), probed(4), began=at, at=at).then(halted(5, at))
    fail(halted(9), probed(9), began=at, at=at).then(halted(10, at))


def test_a_mail_that_is_taken_resumes_the_lane() -> None:
    """The one that tried, or one that began since."""
    at = START + MINUTE
    succeed(halted(), probed(), began=at, at=START).then(RESUMED)
    succeed(halted(), id="m", began=at, at=START).then(RESUMED)
    succeed(halted(), probed(), id="m", began=START, at=at).then()
    succeed().then()


@pytest.mark.parametrize("why", ["person", "restored"])
def test_a_lane_that_waits_for_a_person_waits(why: Any) -> None:
    """No mail may try, and what a call meets does not change that."""
    state = given(lane, by_hand(why)).state

    assert "wait" == state.standing(START + timedelta(days=365))
    fail(by_hand(why), began=START + MINUTE).then()
    succeed(by_hand(why), began=START + MINUTE).then()


def test_a_person_halts_and_resumes() -> None:
    """Also what the mail service halted; a second time is quiet, and nothing to resume refused."""
    halt: dict[str, Any] = {"why": "person", "by": "bob", "note": NOTE, "at": START}
    resume: dict[str, Any] = {"by": "bob", "note": NOTE, "at": START}
    resumed = lane.Resumed(how="person", by="bob", note=NOTE, at=START)
    given(lane).when(lane.halt, **halt).then(by_hand())
    given(lane, halted()).when(lane.halt, **halt).then(by_hand())
    given(lane, by_hand()).when(lane.halt, **halt).then()
    given(lane, by_hand()).when(lane.halt, **halt | {"why": "restored"}).then()
    # Somebody has a reason of their own: the reports that are in do not undo it unseen.
    given(lane, by_hand("restored")).when(lane.halt, **halt).then(by_hand())
    given(lane, by_hand()).when(lane.resume, **resume).then(resumed)
    given(lane, halted()).when(lane.resume, **resume).then(resumed)
    given(lane).when(lane.resume, **resume).then_raises(lane.NotHalted)
    given(lane, by_hand(), resumed).when(lane.resume, **resume).then_raises(lane.NotHalted)


def test_a_clock_that_was_ahead_halts_nothing_for_long() -> None:
    """A try that seems far off is due now, and a change of the future is in nobody's way."""
    ahead = START + timedelta(hours=40)

    assert "probe" == given(lane, halted(1, ahead)).state.standing(START)
    assert "wait" == given(lane, halted(5)).state.standing(START)
    fail(attrs.evolve(RESUMED, at=ahead)).then(halted())


def test_how_a_lane_stands() -> None:
    """It goes, or one may try, or all waits."""
    assert "go" == lane.INITIAL.standing(START)
    assert "go" == given(lane, halted(), RESUMED).state.standing(START)
    assert "wait" == given(lane, halted()).state.standing(START)
    assert "probe" == given(lane, halted()).state.standing(START + MINUTE)


def test_the_newest_events_say_all() -> None:
    """A lane is known from its last events, however long its history is."""
    history = [halted(), probed(), halted(2, START + MINUTE), probed(2, START + 3 * MINUTE)]

    assert given(lane, *history).state == given(lane, *history[-lane.NEWEST :]).state
