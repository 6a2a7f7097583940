"""The budget: what has no room waits, loses nothing, and goes when there is room again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.ports import AccountHalted, MailNotSent, MailOutcomeUnknown
from siutindei.domain import notification
from siutindei.domain.budget import Usage
from tests.app.world import ANN, BOB, World, make_world
from tests.support import context, drain

if TYPE_CHECKING:
    from pathlib import Path

DOWN: Final = MailNotSent("the server is busy")
DAY: Final = timedelta(days=1)


def make(home: Path, quota: int, *, floor: int = 0, reserve: int = 0, **seams: Any) -> World:
    """Build an application with a budget."""
    return make_world(
        home,
        environment={
            "SIUTINDEI_DAILY_QUOTA": str(quota),
            "SIUTINDEI_DECISION_FLOOR": str(floor),
            "SIUTINDEI_CODE_RESERVE": str(reserve),
        },
        **seams,
    )


def usage(world: World) -> Usage:
    """Count what went in the last day."""
    return world.store.views.sends(since=world.clock.now() - DAY).usage


def submit(world: World, number: int) -> str:
    """Let a user of one's own submit a ticket, and give its notice."""
    return world.notice_id(world.submit(user=f"user-{number}"))


def newest(world: World, id: str) -> Any:
    """Give the newest event of a notification."""
    return world.store.load(notification.stream(id))[-1].event


def test_a_mail_over_the_budget_waits(tmp_path: Path) -> None:
    """It is said for how long and by which rule; no call is made, and no attempt is burnt."""
    world = make(tmp_path, 1)
    first, second = submit(world, 1), submit(world, 2)
    results = world.drain()
    waiting = world.notices(second)

    assert ["sent", "deferred"] == results
    assert ("deferred", "over_budget", 0, 0) == (
        waiting.status,
        waiting.why,
        waiting.attempts,
        waiting.calls,
    )
    assert notification.Deferred(
        until=world.clock.now() + timedelta(hours=1),
        why="over_budget",
        rule="budget.rolling_day.v1",
        at=world.clock.now(),
    ) == newest(world, second)
    assert [first] == [mail.notification_id for mail in world.mail.sent]


def test_it_goes_when_the_oldest_has_left_the_window(tmp_path: Path) -> None:
    """A day after the first mail there is room again, and not a moment before."""
    world = make(tmp_path, 1)
    submit(world, 1)
    second = submit(world, 2)
    world.drain()
    world.clock.advance(hours=23, minutes=30)
    world.drain()
    due_at = world.notices(second).due_at
    world.clock.advance(minutes=30, microseconds=-1)
    early = world.drain()
    world.clock.advance(microseconds=1)

    assert world.clock.now() == due_at
    assert [] == early
    assert ["sent"] == world.drain()
    assert Usage(notices=1) == usage(world)


def test_waiting_for_days_burns_no_attempt(tmp_path: Path) -> None:
    """After it had no room many times, three attempts are still there."""
    world = make(tmp_path, 1)
    submit(world, 1)
    second = submit(world, 2)
    waits = []
    for _ in range(23):
        waits += world.drain()
        world.clock.advance(hours=1)
    world.clock.advance(hours=1)
    world.mail.then_raises(DOWN)
    failed = world.drain()
    world.clock.advance(minutes=2)

    assert ["sent", *["deferred"] * 23] == waits
    assert ["failed"] == failed
    assert 1 == world.notices(second).attempts
    assert ["sent"] == world.drain()


def test_a_code_waits_no_longer_than_it_lives(tmp_path: Path) -> None:
    """When its time is over it is withheld as expired; the challenge was given all the same."""
    world = make(tmp_path, 1)
    submit(world, 1)
    world.drain()
    started = world.start(world.person())
    assert started.notification is not None
    waiting = world.notices(started.notification)
    world.clock.advance(seconds=299)
    early = world.drain()
    world.clock.advance(seconds=1)

    assert ("deferred", "over_budget") == (waiting.status, waiting.why)
    assert waiting.due_at is not None
    assert waiting.due_at < started.expires_at
    assert ["deferred"] == early
    assert ["withheld"] == world.drain()
    assert "expired" == world.notices(started.notification).why


def test_a_code_goes_when_there_is_room_in_time(tmp_path: Path) -> None:
    """Who waits for it gets it, and can sign in."""
    world = make(tmp_path, 1)
    submit(world, 1)
    world.drain()
    world.clock.advance(hours=23, minutes=58)
    started = world.start(world.person())
    world.clock.advance(minutes=2)

    assert ["sent"] == world.drain()
    assert world.answer(started.challenge).correct


@pytest.mark.parametrize(
    ("error", "counted", "then"),
    [
        (DOWN, 0, "sent"),
        (AccountHalted("paused"), 0, "deferred"),
        (MailOutcomeUnknown("no answer"), 1, "deferred"),
    ],
)
def test_what_surely_was_not_sent_takes_no_room(
    tmp_path: Path, error: Any, counted: int, then: str
) -> None:
    """A call that failed gives its room back; one that may have sent the mail does not."""
    world = make(tmp_path, 1, mail=MemoryMail(can_tell=False))
    world.mail.then_raises(error)
    submit(world, 1)
    world.drain()
    submit(world, 2)

    assert Usage(notices=counted) == usage(world)
    assert [then] == world.drain()


def test_a_mail_that_is_sent_again_counts_twice(tmp_path: Path) -> None:
    """What nobody could tell of after the settle time may have been sent both times."""
    world = make(tmp_path, 2, mail=MemoryMail(can_tell=False))
    world.mail.then_raises(MailOutcomeUnknown("no answer"), takes_it=True)
    submit(world, 1)
    results = world.drain()
    for _ in range(2):
        world.clock.advance(seconds=960)
        results += world.drain()
    submit(world, 2)

    assert ["unknown", "failed", "sent"] == results
    assert Usage(notices=2) == usage(world)
    assert ["deferred"] == world.drain()


def test_what_is_never_sent_does_not_wait(tmp_path: Path) -> None:
    """A mail of somebody who was erased is withheld at once, room or not."""
    world = make(tmp_path, 1)
    submit(world, 1)
    world.drain()
    user = world.signed_in(BOB)
    reference = world.submit(user=user, email=BOB)
    world.services.people.erase(context(), user, by="ann", reason="asked")
    world.drain()

    assert "erased" == world.notice(reference).why


def test_notices_wait_for_decisions_and_decisions_for_codes(tmp_path: Path) -> None:
    """What is kept for codes and for decisions is there for them, and for nobody else."""
    world = make(tmp_path, 3, floor=1, reserve=1)
    user = world.signed_in(ANN)
    references = [world.submit(user=f"user-{number}", email=BOB) for number in range(3)]
    world.drain()
    after_notices = usage(world)
    for reference in references:
        world.decline(reference)
    world.drain()
    after_decisions = usage(world)
    world.clock.advance(minutes=10)
    started = world.start(user)

    assert Usage(codes=1, notices=1) == after_notices
    assert Usage(codes=1, notices=1, decisions=1) == after_decisions
    assert "deferred" == world.notices(started.notification or "").status


def test_a_call_counts_from_its_beginning(tmp_path: Path) -> None:
    """While the last mail is under way another process has no room."""
    others: list[list[str]] = []

    def journal(when: str, _: str) -> None:
        if when == "before":
            others.append(drain(other.services))

    world = make(tmp_path, 1, mail=MemoryMail(journal=journal))
    other = make(tmp_path, 1, store=world.store, clock=world.clock)
    submit(world, 1)
    submit(world, 2)

    assert ["sent"] == world.drain()
    assert [["deferred"]] == others
    assert Usage(notices=1) == usage(world)
