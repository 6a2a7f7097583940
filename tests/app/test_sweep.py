"""The sweep: what the queues lost is nudged again, and what needs no mail is settled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.app import sweep
from siutindei.app.ports import MailNotSent, MailOutcomeUnknown, MailRefused, Unavailable, Unusable
from siutindei.app.sweep import Swept
from tests.app.world import World, make_world
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from pathlib import Path

DOWN: Final = MailNotSent("the server is down")
LOST: Final = MailOutcomeUnknown("no answer")


@pytest.fixture(name="queue")
def _queue() -> MemoryQueue:
    return MemoryQueue(VirtualClock())


def make(folder: Path, queue: MemoryQueue, **seams: Any) -> World:
    """Build an application over a queue."""
    return make_world(
        folder,
        clock=queue._clock,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
        **{"nudges": queue, "dead_letter_queue": queue} | seams,
    )


@pytest.fixture(name="world")
def _world(tmp_path: Path, queue: MemoryQueue) -> World:
    return make(tmp_path, queue)


def swept(world: World) -> dict[str, int]:
    """Sweep, and give what is not nothing; the budget and checkpoints have tests of their own."""
    found = attrs.asdict(world.services.sweep.run(context()))
    return {
        name: count
        for name, count in found.items()
        if count and "budget" not in name and name != "checkpoints"
    }


def due(id: str, work: str = "notification") -> str:
    """Write a nudge."""
    return json.dumps({"event_type": f"{work}.due", f"{work}_id": id})


# --- the ledger -----------------------------------------------------------------------------------


def test_nothing_to_do_is_nothing_done(world: World) -> None:
    """An idle system is swept, and nothing is counted."""
    assert {} == swept(world)


def test_what_is_due_is_nudged_again(world: World, queue: MemoryQueue) -> None:
    """Mails and grants alike, with the request that asked for them."""
    reference = world.submit(command="one")
    world.approve(reference, create_organization=True, command="two")
    queue.lose()
    found = swept(world)
    nudges = [json.loads(json.loads(body)["Message"]) for body in queue.waiting]

    assert {"nudged": 4, "due": 4} == found
    assert ["one", "two", "two", "two"] == sorted(nudge["request_id"] for nudge in nudges)
    assert {"notification.due", "grant.due"} == {nudge["event_type"] for nudge in nudges}
    assert {reference} == {nudge["ticket_id"] for nudge in nudges}


def test_what_is_not_due_yet_is_left_alone(world: World, queue: MemoryQueue) -> None:
    """An attempt that failed is nudged when its time has come."""
    world.submit()
    queue.lose()
    world.mail.then_raises(DOWN)
    world.drain()
    early = swept(world)
    world.clock.advance(seconds=40)

    assert {} == early
    assert {"nudged": 1, "due": 1} == swept(world)


def test_nudges_that_cannot_be_sent_are_counted(world: World, queue: MemoryQueue) -> None:
    """The next sweep tries again."""
    world.submit()
    queue.lose()
    queue._refusals = []
    queue.then_fails(2)
    found = swept(world)

    assert {"lost": 1, "problems": 1, "due": 1} == found
    assert {"nudged": 1, "due": 1} == swept(world)


def test_one_sweep_looks_at_so_much(
    world: World, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due longest is nudged first, and the rest by the next sweep."""
    monkeypatch.setattr(sweep, "EFFECTS", 2)
    for number in range(3):
        world.submit(user=f"user-{number}")
        world.clock.advance(seconds=1)
    queue.lose()

    assert {"nudged": 2, "due": 3} == swept(world)


def test_what_is_left_of_the_budget_is_measured(world: World) -> None:
    """For codes and for decisions, after what went and beside what is kept for others."""
    empty = world.services.sweep.run(context())
    world.submit()
    world.drain()
    found = world.services.sweep.run(context())

    assert (900, 700) == (empty.budget_left, empty.budget_left_for_decisions)
    assert (899, 699) == (found.budget_left, found.budget_left_for_decisions)


def test_without_a_queue_the_ledger_is_measured_all_the_same(tmp_path: Path) -> None:
    """Nobody is nudged; the worker asks by itself."""
    world = make_world(tmp_path)
    world.submit()
    world.clock.advance(minutes=16)

    assert {"due": 1, "overdue": 1} == swept(world)


def test_a_code_is_never_nudged(world: World, queue: MemoryQueue) -> None:
    """One that nobody could send is withheld when its time is over."""
    for _ in range(2):
        world.mail.then_raises(DOWN)
    code = world.start(world.person()).notification or ""
    world.clock.advance(seconds=100)
    waiting = swept(world)
    world.clock.advance(seconds=300)

    assert {"due": 1} == waiting
    assert {"settled": 1} == swept(world)
    assert ("withheld", []) == (world.notices(code).status, queue.waiting)


def test_an_outcome_that_nobody_knew_is_settled_in_time(tmp_path: Path, queue: MemoryQueue) -> None:
    """Without feedback it fails after the settle time, and is nudged when it may go again."""
    world = make(tmp_path, queue, mail=MemoryMail(can_tell=False))
    world.mail.then_raises(LOST)
    id = world.notice_id(world.submit())
    world.drain()
    queue.lose()
    early = swept(world)
    world.clock.advance(seconds=900)
    settled, status = swept(world), world.notices(id).status
    world.clock.advance(seconds=40)

    assert ({}, {"settled": 1}, "failed") == (early, settled, status)
    assert {"nudged": 1, "due": 1} == swept(world)


def test_an_outcome_that_feedback_does_not_settle_is_counted(
    tmp_path: Path, queue: MemoryQueue
) -> None:
    """Over a port with feedback it waits on, and somebody is told; a code's is left alone."""
    world = make(tmp_path, queue, mail=MemoryMail(can_tell=False, has_feedback=True))
    for _ in range(2):
        world.mail.then_raises(LOST)
    world.start(world.person())
    world.submit()
    world.drain()
    world.clock.advance(seconds=900)

    assert {"settled": 1, "unknown": 1} == swept(world)


def test_a_process_that_died_in_an_attempt_is_found(world: World, queue: MemoryQueue) -> None:
    """Its deadline is over: the port is asked, and nothing is sent by the sweep."""
    id = world.notice_id(world.submit())
    queue.lose()
    # The start of the attempt is committed, and its end is not.
    world.store.then_fails(None, *[Unavailable("gone")] * 5)
    with pytest.raises(Unavailable):
        world.services.delivery.deliver(context(), id)
    world.clock.advance(seconds=60)

    assert {"settled": 1} == swept(world)
    assert ("accepted", 1) == (world.notices(id).status, len(world.mail.sent))


def test_an_effect_that_cannot_be_read_holds_up_no_other(
    world: World, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and the others are nudged."""
    bad = world.notice_id(world.submit())
    world.submit(user="user-2")
    queue.lose()
    load = type(world.store).load

    def broken(self: Any, stream: str, **more: Any) -> Any:
        if bad in stream:
            raise Unusable("an event that nobody can read")
        return load(self, stream, **more)

    monkeypatch.setattr(type(world.store), "load", broken)

    assert {"nudged": 1, "problems": 1, "due": 2} == swept(world)


def test_a_store_that_is_not_there_ends_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one finds what this one did not."""

    def gone(*_: object, **__: object) -> None:
        raise Unavailable("locked")

    world.submit()
    monkeypatch.setattr(type(world.store), "load", gone)
    with pytest.raises(Unavailable):
        swept(world)


# --- the dead-letter queue ------------------------------------------------------------------------


def test_a_message_whose_mail_is_no_dead_letter_is_sent_again_once(
    world: World, queue: MemoryQueue
) -> None:
    """Crashes ate its receives; when they do so again, the mail is given up and a person looks."""
    id = world.notice_id(world.submit())
    queue.lose()
    queue.put(due(id), reason="moved")
    first = swept(world)
    queue.lose()
    queue._letters.append(queue._message(due(id), redriven="1"))
    second = swept(world)

    assert {"redriven": 1, "nudged": 1, "due": 1} == first
    assert {"exhausted": 1, "dead_letters": 1} == second
    assert "receives_exhausted" == world.notices(id).why
    assert {"dead_letters": 1} == swept(world)
    assert 1 == len(queue.lying)


def test_a_dead_letters_message_lies_there_until_a_person_decides(
    world: World, queue: MemoryQueue
) -> None:
    """The alarm goes on until then; after a redrive it is sent again, after a discard removed."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(2)]
    queue.lose()
    for id in ids:
        world.mail.then_raises(MailRefused("no"))
        queue.put(due(id), reason="permanent_error")
    world.drain()
    waiting = swept(world)
    world.services.dead_letters.redrive(context(), ids[:1], by="ops-1")
    world.services.dead_letters.discard(context(), ids[1:], by="ops-1", reason="known")
    queue.lose()

    assert {"dead_letters": 2} == waiting
    assert {"redriven": 1, "removed": 1, "nudged": 1, "due": 1} == swept(world)
    assert [] == queue.lying


def test_a_message_of_no_use_any_more_is_removed(world: World, queue: MemoryQueue) -> None:
    """It was sent again, and its mail went out another way."""
    id = world.notice_id(world.submit())
    queue.lose()
    world.drain()
    queue._letters.append(queue._message(due(id), redriven="1"))

    assert {"removed": 1} == swept(world)


def test_a_mail_that_was_put_off_is_not_given_up(world: World, queue: MemoryQueue) -> None:
    """Whoever could put it off could begin: its message is of no use, and the ledger knows it."""
    id = world.notice_id(world.submit())
    world.services.lanes.halt(context(), "tickets", by="op", reason="wrong text")
    world.drain()
    queue.lose()
    queue._letters.append(queue._message(due(id), redriven="1"))
    world.clock.advance(minutes=11)
    found = world.services.sweep.run(context())

    assert (1, 0, 1) == (found.removed, found.exhausted, found.nudged)
    assert "deferred" == world.notices(id).status


def test_a_mail_that_waits_is_not_given_up(world: World, queue: MemoryQueue) -> None:
    """Its next attempt is not due yet; nor is a grant ever given up in this way."""
    reference = world.submit()
    id = world.notice_id(reference)
    world.mail.then_raises(DOWN)
    world.drain()
    world.approve(reference, create_organization=True)
    queue.lose()
    for body in (due(id), due(f"{reference}-organization", "grant")):
        queue._letters.append(queue._message(body, redriven="1"))

    assert {"nudged": 3, "due": 3} == swept(world)
    assert 2 == len(queue.lying)


def test_a_call_that_may_have_sent_it_is_asked_about_first(
    world: World, queue: MemoryQueue
) -> None:
    """A mail whose attempt died is settled, not given up."""
    id = world.notice_id(world.submit())
    queue.lose()
    world.store.then_fails(None, *[Unavailable("gone")] * 5)
    with pytest.raises(Unavailable):
        world.services.delivery.deliver(context(), id)
    world.clock.advance(seconds=60)
    queue._letters.append(queue._message(due(id), redriven="1"))

    assert {"settled": 1} == swept(world)
    assert "accepted" == world.notices(id).status


@pytest.mark.parametrize(
    "body",
    ["x", "{}", due("f" * 32), due("\ud800"), '{"event_type": "manager_request.submitted"}'],
)
def test_what_is_no_nudge_of_ours_lies_there(world: World, queue: MemoryQueue, body: str) -> None:
    """A person looks at it; it is in sight again as soon as the sweep has looked."""
    queue.put(body, reason="r")

    assert {} == swept(world)
    assert 1 == len(queue.letters(limit=10))


def test_everything_that_is_counted_begins_with_nothing() -> None:
    """What a sweep did not do is none."""
    assert {0} == set(attrs.asdict(Swept()).values())
