"""Carrying out what was decided: every error, every step, and what comes between."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import attrs
import pytest

from siutindei.adapters.directory import JsonDirectory
from siutindei.adapters.keys import KeyRing
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import SqliteStore, prepare
from siutindei.adapters.system import RandomIds
from siutindei.app.delivery import GRACE, GRANT_WITHIN, Outcome
from siutindei.app.ports import (
    AccountHalted,
    Conflict,
    Due,
    Found,
    GrantError,
    MailError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
    Unreadable,
    Unusable,
)
from siutindei.domain import grant, notification
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Senders
from tests.app.world import ANN, BOB, CLUB, FlakyStore, World, make_world
from tests.aws_events import published
from tests.support import CountingIds, VirtualClock, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siutindei.domain.mail import Mail

DOWN = MailNotSent("the server is busy")
LOST = MailOutcomeUnknown("no answer came")


class Bug(RuntimeError):
    """What nobody foresaw; its text may be personal."""

    def __init__(self) -> None:
        super().__init__(f"cannot handle {ANN}")


class BuggyMail(MemoryMail):
    """A mail port with a fault: it fails as no port may, before or after it took the mail."""

    def __init__(self, fault: Literal["before", "after", "lookup"], **options: Any) -> None:
        super().__init__(**options)
        self.fault: str | None = fault

    def send(self, mail: Mail) -> str:
        """Fail, and work from the second call on."""
        fault, self.fault = self.fault, "lookup" if self.fault == "lookup" else None
        if fault == "before":
            raise Bug
        message_id = super().send(mail)
        if fault == "after":
            raise Bug
        return message_id

    def lookup(self, notification_id: str) -> Found:
        """Fail, if that is the fault."""
        if self.fault == "lookup":
            raise Bug
        return super().lookup(notification_id)


class BuggyDirectory(JsonDirectory):
    """A catalogue that fails as it is told."""

    errors: list[Exception]

    def add_manager(self, *, grant_id: str, id: str, manager: str) -> None:
        """Fail as long as there is an error left."""
        if self.errors:
            raise self.errors.pop(0)
        super().add_manager(grant_id=grant_id, id=id, manager=manager)


def buggy_directory(home: Path, *errors: Exception) -> BuggyDirectory:
    """Make a catalogue whose next changes fail."""
    directory = BuggyDirectory(home / "directory.json")
    object.__setattr__(directory, "errors", list(errors))
    return directory


def states(world: World, id: str) -> list[str]:
    """List what happened to a notification, in words."""
    return [
        name.removeprefix("notification.").removesuffix(".v1")
        for name in world.names(notification.stream(id))
    ]


def steps(world: World, *waits: float) -> list[list[str]]:
    """Work on what is due, after each wait."""
    results = []
    for seconds in waits:
        world.clock.advance(seconds=seconds)
        results.append(world.drain())
    return results


# --- what a call may end in -----------------------------------------------------------------------


def test_a_mail_is_announced_sent_and_recorded(world: World) -> None:
    """A mail that goes well leaves its announcement, with a deadline, and what it was called."""
    id = world.notice_id(world.submit())

    assert ["sent"] == world.drain()
    _, started, accepted = (entry.event for entry in world.store.load(notification.stream(id)))
    assert isinstance(started, notification.AttemptStarted)
    assert isinstance(accepted, notification.Accepted)
    assert started.deadline == world.clock.now() + world.mail.time_out + timedelta(seconds=1)
    assert (1, f"memory-{id}", "call") == (accepted.attempt, accepted.message_id, accepted.how)


def test_an_outcome_says_what_happened_and_why(world: World) -> None:
    """Who works on a mail learns its kind, attempt, name, and the request and event behind it."""
    reference = world.submit(command="request-1")
    id = world.notice_id(reference)
    world.mail.then_raises(DOWN)
    failed = world.services.delivery.deliver(context(), id)
    world.clock.advance(minutes=1)
    sent = world.services.delivery.deliver(context(), id)

    assert failed == Outcome(
        work="notification",
        id=id,
        kind="ticket_received",
        result="failed",
        attempt=1,
        error="the server is busy",
        error_class="transient",
        correlation_id="request-1",
        causation_id=f"ticket-{reference}/1",
    )
    assert sent == attrs.evolve(
        failed,
        result="sent",
        attempt=2,
        error=None,
        error_class=None,
        message_id=f"memory-{id}",
    )


@pytest.mark.parametrize(
    ("call", "longest"),
    [(timedelta(seconds=5), GRANT_WITHIN), (timedelta(seconds=30), timedelta(seconds=31))],
)
def test_how_long_one_effect_may_take(tmp_path: Path, call: timedelta, longest: timedelta) -> None:
    """As long as a grant, or as long as an attempt at a mail is left alone."""
    world = make_world(tmp_path, mail=MemoryMail(time_out=call))

    assert longest == world.services.delivery.longest


def test_what_is_unknown_or_not_due_is_left_alone(world: World) -> None:
    """Nothing is done for a notification or grant that nobody asked for, or before its time."""
    delivery = world.services.delivery
    id = world.notice_id(world.submit())
    world.drain()

    assert Outcome(work="notification", id="nobody") == delivery.deliver(context(), "nobody")
    assert Outcome(work="grant", id="nobody") == delivery.carry_out(context(), "nobody")
    assert "nothing_to_do" == delivery.deliver(context(), id).result
    assert 1 == len(world.mail.sent)


def test_three_tries_and_then_a_dead_letter(world: World) -> None:
    """A transient error is tried again after 30 seconds and two minutes, and then given up."""
    id = world.notice_id(world.submit())
    for _ in range(3):
        world.mail.then_raises(DOWN)

    assert [["failed"], [], ["failed"], [], ["dead_lettered"]] == steps(
        world, 0, 29.9, 7.7, 112.3, 37.8
    )
    assert [
        "requested",
        "attempt_started",
        "failed",
        "attempt_started",
        "failed",
        "attempt_started",
        "failed",
        "dead_lettered",
    ] == states(world, id)
    assert ("attempts_exhausted", 3) == (world.notices(id).why, world.notices(id).calls)
    assert [[]] == steps(world, 86400 * 365)
    assert [] == world.mail.sent


def test_a_second_try_that_goes_well_ends_it(world: World) -> None:
    """A mail that the second try sent is sent once."""
    world.mail.then_raises(DOWN)
    id = world.notice_id(world.submit())

    assert [["failed"], ["sent"], []] == steps(world, 0, 38, 3600)
    assert 1 == len(world.mail.sent)
    assert "accepted" == world.notices(id).status


def test_a_permanent_error_gives_up_at_once(world: World) -> None:
    """A mail that will never be taken is a dead letter after one call."""
    world.mail.then_raises(MailRefused("no such mailbox"))
    id = world.notice_id(world.submit())

    assert [["dead_lettered"], []] == steps(world, 0, 3600)
    assert ["requested", "attempt_started", "refused", "dead_lettered"] == states(world, id)
    assert ("permanent_error", "no such mailbox") == (
        world.notices(id).why,
        world.notices(id).last_error,
    )


def test_an_error_of_the_account_never_gives_up(world: World) -> None:
    """A halted account takes no attempt away, however long it is halted."""
    id = world.notice_id(world.submit())
    for _ in range(10):
        world.mail.then_raises(AccountHalted("sending is paused"))
    results = steps(world, *[600] * 11)

    assert [["failed"]] * 10 + [["sent"]] == results
    assert 11 == world.notices(id).calls
    assert [] == world.services.dead_letters.all()


def test_an_error_text_is_one_short_line(world: World) -> None:
    """What a server says is kept in one line of at most 300 characters."""
    world.mail.then_raises(MailNotSent("a\r\nb\u202e" + "c" * 1000))
    id = world.notice_id(world.submit())
    world.drain()
    error = world.notices(id).last_error or ""

    assert error.startswith("a bccc")
    assert 300 == len(error)


@pytest.mark.parametrize("fault", ["before", "after"])
def test_a_fault_of_the_adapter_leaves_the_outcome_unknown(
    tmp_path: Path, fault: Literal["before", "after"]
) -> None:
    """An adapter that breaks may have sent: it is asked after the settle time; no text is kept."""
    world = make_world(tmp_path, mail=BuggyMail(fault))
    id = world.notice_id(world.submit())
    results = steps(world, 0, 899, 1, 38)

    assert [
        ["unknown"],
        [],
        ["sent"] if fault == "after" else ["failed"],
        [] if fault == "after" else ["sent"],
    ] == results
    assert 1 == len(world.mail.sent)
    assert "the mail adapter failed: Bug" == world.notices(id).first_error


def test_a_lookup_that_breaks_cannot_tell(tmp_path: Path) -> None:
    """An adapter that cannot even be asked is one that cannot tell."""
    world = make_world(tmp_path, mail=BuggyMail("lookup"))
    world.mail.then_raises(LOST, takes_it=True)
    world.submit()

    # The settle time decides; the memory recognises what it took before.
    assert [["unknown"], ["failed"], ["sent"]] == steps(world, 0, 900, 38)
    assert 1 == len(world.mail.sent)


# --- when nobody can tell -------------------------------------------------------------------------


@pytest.mark.parametrize("takes_it", [True, False])
def test_an_unknown_outcome_is_looked_up_after_the_settle_time(
    world: World, takes_it: bool
) -> None:
    """A port that can tell settles an unknown outcome: accepted, or sent again."""
    world.mail.then_raises(LOST, takes_it=takes_it)
    id = world.notice_id(world.submit())
    results = steps(world, 0, 899, 1, 38)

    assert [["unknown"], [], ["sent" if takes_it else "failed"]] == results[:3]
    assert 1 == len(world.mail.sent)
    assert "accepted" == world.notices(id).status
    assert ("lookup" if takes_it else "call") == getattr(
        world.store.load(notification.stream(id))[-1].event, "how", None
    )


def test_a_mail_without_feedback_is_sent_again_after_the_settle_time(tmp_path: Path) -> None:
    """When there is no feedback path, the settle time alone decides that a mail goes again."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False))
    world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())

    assert [["unknown"], [], ["failed"], ["sent"]] == steps(world, 0, 899, 1, 38)
    assert 2 == len(world.mail.sent)
    assert ["requested", "attempt_started", "outcome_unknown", "failed"] == states(world, id)[:4]


def test_a_mail_with_feedback_waits_for_it(tmp_path: Path) -> None:
    """As long as feedback may settle it and has not, a mail stays unknown and is not sent again."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False, has_feedback=True))
    world.mail.then_raises(LOST)
    id = world.notice_id(world.submit())

    assert [["unknown"], ["deferred"], [], ["deferred"]] == steps(world, 0, 900, 899, 1)
    assert "unknown" == world.notices(id).status
    assert [] == world.mail.sent


def test_no_settle_time_is_no_loop(tmp_path: Path) -> None:
    """Without a settle time a drain that waits for feedback ends all the same."""
    mail = MemoryMail(can_tell=False, has_feedback=True)
    world = make_world(tmp_path, mail=mail)
    delivery = attrs.evolve(world.services.delivery, settle=timedelta(0))
    world.mail.then_raises(LOST)
    world.submit()
    seen: list[str] = []
    delivery.drain(report=lambda outcome: seen.append(outcome.result))

    assert ["unknown", "deferred"] == seen


def test_three_unknown_outcomes_are_a_dead_letter(tmp_path: Path) -> None:
    """A mail whose fate nobody knows is tried three times and then left to a person."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False))
    for _ in range(3):
        world.mail.then_raises(LOST)
    id = world.notice_id(world.submit())
    steps(world, 0, 900, 38, 900, 150, 900)

    assert ("dead_lettered", "attempts_exhausted", 3) == (
        world.notices(id).status,
        world.notices(id).why,
        world.notices(id).calls,
    )


class CrowdedMail(MemoryMail):
    """A mail port at which somebody else comes first with the same question."""

    first: Callable[[], object] | None = None

    def lookup(self, notification_id: str) -> Found:
        """Let the other ask, and answer."""
        first, self.first = self.first, None
        if first is not None:
            first()
        return super().lookup(notification_id)


@pytest.mark.parametrize("takes_it", [True, False])
def test_an_answer_that_somebody_recorded_before_changes_nothing(
    tmp_path: Path, takes_it: bool
) -> None:
    """Of two who look up the same call, the second one's answer is not recorded again."""
    mail = CrowdedMail()
    world = make_world(tmp_path, mail=mail)
    mail.then_raises(LOST, takes_it=takes_it)
    id = world.notice_id(world.submit())
    world.drain()
    world.clock.advance(seconds=900)
    mail.first = world.drain
    late = world.services.delivery.deliver(context(), id)

    assert ("nothing_to_do", 0) == (late.result, late.attempt)
    assert ["outcome_unknown", "accepted" if takes_it else "failed"] == states(world, id)[-2:]


# --- a process that dies --------------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process in the middle; no handler of ours may stop it."""


class DyingMail(MemoryMail):
    """A mail port in whose call the process dies, before or after the mail was taken."""

    def __init__(self, *moments: str, **options: Any) -> None:
        super().__init__(**options)
        self.moments = list(moments)

    def send(self, mail: Mail) -> str:
        """Die when it is time."""
        moment = self.moments.pop(0) if self.moments else ""
        if moment == "before":
            raise Killed
        message_id = super().send(mail)
        if moment == "after":
            raise Killed
        return message_id


@pytest.mark.parametrize("moment", ["before", "after"])
def test_nobody_touches_an_attempt_before_its_deadline(tmp_path: Path, moment: str) -> None:
    """What a dead process left is looked up when its deadline is over, and not a moment sooner."""
    world = make_world(tmp_path, mail=DyingMail(moment))
    id = world.notice_id(world.submit())
    with pytest.raises(Killed):
        world.drain()
    left = (world.mail.time_out + GRACE).total_seconds()
    results = steps(world, 0, left - 0.001, 0.001, 38)

    assert [[], [], ["sent"] if moment == "after" else ["failed"]] == results[:3]
    assert 1 == len(world.mail.sent)
    assert "accepted" == world.notices(id).status


def test_a_call_that_died_and_cannot_be_looked_up_settles_first(tmp_path: Path) -> None:
    """A call that ended without an answer is unknown from its deadline on."""
    world = make_world(tmp_path, mail=DyingMail("after", can_tell=False))
    world.submit()
    with pytest.raises(Killed):
        world.drain()

    assert [["unknown"], [], ["failed"], ["sent"]] == steps(world, 6, 899, 1, 38)
    assert 2 == len(world.mail.sent)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_code_whose_call_died_is_not_mailed_again(tmp_path: Path, moment: str) -> None:
    """When the process that mailed a code died and nobody can tell, no second mail goes."""
    world = make_world(tmp_path, mail=DyingMail(moment, can_tell=False))
    user = world.person()
    with pytest.raises(Killed):
        world.start(user)
    again = world.start(user)
    results = steps(world, 6, 20, 900)

    assert [["unknown"], [], []] == results
    assert int(moment == "after") == len(world.mail.sent)
    assert again == world.services.sign_in.resume(again.challenge)


def test_crashes_count_as_attempts(tmp_path: Path) -> None:
    """A mail that kills whoever sends it is a dead letter after three calls."""
    world = make_world(tmp_path, mail=DyingMail("before", "before", "before"))
    id = world.notice_id(world.submit())
    looked_up = []
    for seconds in (0, 38, 150):
        with pytest.raises(Killed):
            steps(world, seconds)
        looked_up += steps(world, 6)

    assert [["failed"], ["failed"], ["dead_lettered"]] == looked_up
    assert "dead_lettered" == world.notices(id).status
    assert ["R00001"] == [letter.ticket for letter in world.services.dead_letters.all()]


class LateClock(VirtualClock):
    """A clock that jumps when it is asked for the time, so many times from now."""

    def __init__(self) -> None:
        super().__init__()
        self.jump_after: int | None = None

    def now(self) -> Any:
        """Give the time."""
        if self.jump_after is not None:
            self.jump_after -= 1
            if self.jump_after < 0:
                self.jump_after = None
                self.advance(seconds=30)
        return super().now()


def test_a_call_is_not_made_after_its_deadline(tmp_path: Path) -> None:
    """A process that stood still since it announced a call must not make it any more."""
    clock = LateClock()
    world = make_world(tmp_path, clock=clock)
    id = world.notice_id(world.submit())
    clock.jump_after = 2  # the store reads it once, the step once
    outcome = world.services.delivery.deliver(context(), id)

    assert [] == world.mail.sent
    assert ("failed", "too late: the call was not made") == (outcome.result, outcome.error)
    assert 0 == world.notices(id).attempts
    assert ["failed"] == states(world, id)[-1:]
    assert [["sent"]] == steps(world, 38)


# --- a store that fails ---------------------------------------------------------------------------


def test_an_outcome_is_recorded_when_the_store_is_back(world: World) -> None:
    """What was sent is recorded at the first try that works, and not sent again."""
    world.submit()
    world.store.then_fails(None, *[Unavailable("locked")] * 4)

    assert ["sent"] == world.drain()
    assert [[]] == steps(world, 3600)
    assert 1 == len(world.mail.sent)


def test_an_outcome_that_cannot_be_recorded_is_looked_up_later(world: World) -> None:
    """When the store stays away, the mail was sent all the same; later it is looked up."""
    world.submit()
    world.store.then_fails(None, *[Unavailable("locked")] * 5)
    with pytest.raises(Unavailable):
        world.drain()

    assert [[], ["sent"]] == steps(world, 0, 6)
    assert 1 == len(world.mail.sent)


def test_a_code_whose_outcome_cannot_be_recorded_is_not_mailed_again(tmp_path: Path) -> None:
    """A code that was mailed while the store was away stays one mail."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False))
    user = world.person()
    world.store.then_fails(None, None, *[Unavailable("locked")] * 5)
    started = world.start(user)
    steps(world, 6, 20, 900)

    assert started.notification is not None
    assert "unknown" == world.notices(started.notification).status
    assert 1 == len(world.mail.sent)


def test_an_outcome_survives_a_lost_race(world: World) -> None:
    """Feedback that is recorded at the same time does not push the outcome of the call aside."""
    id = world.notice_id(world.submit())
    world.store.then_fails(None, Conflict("feedback came first"))

    assert ["sent"] == world.drain()
    assert ["requested", "attempt_started", "accepted"] == states(world, id)


def test_what_others_always_come_first_at_is_left_to_them(world: World) -> None:
    """A worker that loses every race for a mail goes on with the next one."""
    world.submit()
    world.clock.advance(seconds=1)
    world.submit(user="user-2", email=BOB)
    world.store.then_fails(*[Conflict("first")] * 5)

    assert ["sent"] == world.drain()
    assert ["sent"] == world.drain()


def test_an_attempt_that_cannot_be_announced_is_not_made(world: World) -> None:
    """No call is made that the ledger does not know of."""
    world.submit()
    world.store.then_fails(Unavailable("full"))
    with pytest.raises(Unavailable):
        world.drain()

    assert [] == world.mail.sent
    assert ["sent"] == world.drain()


def test_feedback_during_the_call_is_not_overwritten(tmp_path: Path) -> None:
    """A bounce that comes before the call has returned stays the newest word."""
    worlds: list[World] = []

    def bounce(when: str, id: str) -> None:
        (world,) = worlds
        stream = notification.stream(id)
        if when == "before":
            with world.store.transaction(context()) as tx:
                bounced = notification.Bounced(
                    feedback_id="f-1",
                    bounce_type="Permanent",
                    bounce_subtype="General",
                    at=world.clock.now(),
                )
                tx.append(stream, len(tx.load(stream)), (bounced,))

    world = make_world(tmp_path, mail=MemoryMail(journal=bounce))
    worlds.append(world)
    id = world.notice_id(world.submit())

    assert ["sent"] == world.drain()
    assert "bounced" == world.notices(id).status
    assert [[]] == steps(world, 3600)


# --- many at once ---------------------------------------------------------------------------------


def test_two_workers_in_turn_send_a_mail_once(tmp_path: Path) -> None:
    """Who comes while another makes the call finds it announced, and leaves it alone."""
    others: list[tuple[str, str]] = []
    worlds: list[World] = []

    def other(when: str, id: str) -> None:
        others.append((when, worlds[0].services.delivery.deliver(context(), id).result))

    world = make_world(tmp_path, mail=MemoryMail(journal=other))
    worlds.append(world)
    world.submit()

    assert ["sent"] == world.drain()
    assert [("before", "nothing_to_do"), ("after", "nothing_to_do")] == others
    assert 1 == len(world.mail.sent)


@pytest.mark.parametrize("can_tell", [True, False])
def test_workers_at_once_send_each_mail_once(tmp_path: Path, can_tell: bool) -> None:
    """Four workers on one home share the work; no mail is sent twice and none is left."""
    clock, database = VirtualClock(), str(tmp_path / "siutindei.db")
    prepare(database)
    mail = MemoryMail(can_tell=can_tell)
    world = make_world(
        tmp_path, mail=mail, clock=clock, store=FlakyStore(clock, database), ids=RandomIds()
    )
    for number in range(12):
        world.submit(user=f"user-{number}")
    for number in range(1, 7):
        world.approve(f"R{number:05d}", create_organization=True)
    start = threading.Barrier(4)

    def work(_: int) -> list[str]:
        start.wait()
        return drain(world.services)

    with ThreadPoolExecutor(4) as pool:
        results = [result for results in pool.map(work, range(4)) for result in results]

    assert ["done"] * 12 + ["sent"] * 18 == sorted(results)
    assert 18 == len({sent.notification_id for sent in mail.sent}) == len(mail.sent)
    world.store.close()


def test_the_worker_stops_when_it_is_told(world: World) -> None:
    """A drain that is told to stop does not begin the next thing."""
    for number in range(3):
        world.submit(user=f"user-{number}")
    outcomes: list[Outcome] = []

    assert 1 == world.services.delivery.drain(
        report=outcomes.append, stop=lambda: len(outcomes) == 1
    )
    assert 1 == len(world.mail.sent)


def test_a_drain_does_more_than_a_page(world: World) -> None:
    """However many are due, a drain works until nothing is."""
    for number in range(230):
        world.submit(user=f"user-{number}", vouched=False)

    assert ["sent"] * 230 == world.drain()


def test_a_drain_does_not_wait_for_what_others_do(world: World) -> None:
    """What is due and in other hands is looked at once, however much of it there is."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(120)]
    due = [Due(work="notification", id=id, due_at=world.clock.now()) for id in ids]
    seen: list[Outcome] = []
    stale: Any = Stale(world.store, due)
    delivery = attrs.evolve(world.services.delivery, store=stale)

    world.drain()
    assert 0 == delivery.drain(report=seen.append)
    assert ["nothing_to_do"] * 120 == [outcome.result for outcome in seen]


class Stale:
    """A store whose list of what is due lags behind."""

    def __init__(self, store: SqliteStore, due: list[Due]) -> None:
        self._store, self._due = store, due

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def views(self) -> Stale:
        """The read models, as they were."""
        return self

    def due(self, *, at: object, limit: int) -> list[Due]:
        """List what was due."""
        return self._due[:limit]


# --- what cannot be sent --------------------------------------------------------------------------


def test_a_code_whose_key_is_gone_holds_up_nothing(tmp_path: Path) -> None:
    """A code that cannot be derived any more is a dead letter; the mails behind it go."""
    world = make_world(tmp_path)
    for _ in range(2):
        world.mail.then_raises(DOWN)
    started = world.start(world.person())
    world.clock.advance(seconds=13)
    world.submit(user="user-2", email=BOB)
    other = KeyRing(current="new", keys={"new": bytes(32)})
    rotated = world.rebuilt(code_keys=other)

    assert ["dead_lettered", "sent"] == rotated.drain()
    found = world.notices(started.notification or "")
    assert ("permanent_error", "the ring of code keys lacks the key test; put it back") == (
        found.why,
        found.last_error,
    )


def request(world: World, cause: str, kind: notification.Kind) -> str:
    """Ask for a mail as no use case does."""
    id = notification.notification_id(cause, kind, about="x")
    requested = notification.Requested(
        id=id,
        kind=kind,
        cause=cause,
        template="ticket_decided",
        template_version=1,
        template_hash="none",
        at=world.clock.now(),
    )
    with world.store.transaction(context()) as tx:
        tx.append(notification.stream(id), 0, (requested,))
    return id


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ("challenge-app-0/1", "sign_in_code"),
        ("ticket-R00001/1", "sign_in_code"),
        ("ticket-R00001/1", "ticket_decided"),
        ("ticket-R09999/1", "ticket_received"),
        ("nonsense", "ticket_received"),
    ],
)
def test_a_poisoned_mail_holds_up_nothing(
    world: World, cause: str, kind: notification.Kind
) -> None:
    """A mail that cannot be written is a dead letter at once; the mails behind it go."""
    poisoned = request(world, cause, kind)
    world.clock.advance(seconds=1)
    world.submit()

    assert ["dead_lettered", "sent"] == world.drain()
    assert ["requested", "refused", "dead_lettered"] == states(world, poisoned)
    assert [cause] == [letter.cause for letter in world.services.dead_letters.all()]


class BuggySenders(Senders):
    """Senders with a fault that nobody foresaw."""

    def route(self, kind: notification.Kind, recipient: str | None) -> tuple[str, str]:
        """Fail for people, and work for the mailbox of the team."""
        if recipient is not None:
            raise Bug
        return super().route(kind, recipient)


def test_a_fault_of_the_template_holds_up_nothing(world: World) -> None:
    """A mail that the renderer breaks on is a dead letter, and its error names no person."""
    world.decline(world.submit())
    delivery = attrs.evolve(world.services.delivery, senders=BuggySenders())
    results: list[str] = []
    delivery.drain(report=lambda outcome: results.append(outcome.result))
    (letter,) = world.services.dead_letters.all()

    assert ["dead_lettered", "sent"] == sorted(results)
    assert "our fault: Bug" == letter.last_error


def test_an_unreadable_stream_holds_up_nothing_and_is_not_passed_over(world: World) -> None:
    """What a newer version wrote stops nobody else's mail; at the end the drain says so."""
    first = world.notice_id(world.submit())
    world.clock.advance(seconds=1)
    world.submit(user="user-2", email=BOB)
    with world.store._datastore.transaction(commit=True) as cursor:
        cursor.execute(
            "UPDATE stored_events SET topic = 'notification.requested.v9' WHERE originator_id = ?",
            (notification.stream(first),),
        )
    with pytest.raises(Unusable, match=r"requested\.v9"):
        world.drain()

    assert 1 == len(world.mail.sent)
    assert "requested" == world.notices(first).status


def test_a_mail_about_what_a_newer_version_wrote_is_left_to_it(world: World) -> None:
    """A mail whose ticket this version cannot read is no dead letter: it stays due."""
    reference = world.submit()
    with world.store._datastore.transaction(commit=True) as cursor:
        cursor.execute(
            "UPDATE stored_events SET topic = 'ticket.submitted.v9' WHERE originator_id = ?",
            (f"ticket-{reference}",),
        )
    with pytest.raises(Unreadable, match=r"submitted\.v9"):
        world.drain()

    assert "requested" == world.notices(world.notice_id(reference)).status


def test_a_mail_to_an_erased_person_is_withheld(world: World) -> None:
    """Mails to and about an erased person that are still due are never sent."""
    reference = world.submit()
    world.decline(reference)
    user = world.person(BOB)
    for _ in range(2):
        world.mail.then_raises(DOWN)
    started = world.start(user, BOB)
    for erased in ("user-1", user):
        world.services.people.erase(context(), erased, by="op", reason="asked")
    world.clock.advance(seconds=13)

    assert ["withheld"] * 3 == world.drain()
    assert [] == world.mail.sent
    assert {"erased"} == {
        world.notice(reference).why,
        world.notice(reference, "ticket_decided").why,
        world.notices(started.notification or "").why,
    }


def test_a_key_that_got_lost_erases_nobody(world: World) -> None:
    """What nobody can open because its key is missing stays due: its person was not erased."""
    world.approve(world.submit(), organization_id=CLUB)
    with world.store.writing() as cursor:
        cursor.execute("SELECT * FROM vault_keys WHERE owner = 'user-1'")
        keys = [tuple(row) for row in cursor.fetchall()]
        cursor.execute("DELETE FROM vault_keys WHERE owner = 'user-1'")
    with pytest.raises(Unreadable, match="a key of user-1 is missing, and they were not erased"):
        world.drain()
    with world.store.writing() as cursor:
        cursor.executemany("INSERT INTO vault_keys VALUES (?, ?, ?, ?, ?)", keys)

    assert {"sent", "done"} == set(world.drain())


def test_nothing_is_remembered_between_calls(tmp_path: Path) -> None:
    """Another process, built anew over the same store, goes on where the first one stopped."""
    world = make_world(tmp_path)
    world.mail.then_raises(DOWN)
    world.decline(world.submit())
    first = world.drain()
    world.clock.advance(seconds=38)
    fresh = world.rebuilt()

    assert ["failed", "sent"] == sorted(first)
    assert ["sent"] == fresh.drain()
    assert 2 == len(world.mail.sent)


def test_what_was_forgotten_is_not_said_to_be_unsent(world: World) -> None:
    """When a mail was taken out of the port, the port's not having it says nothing."""
    id = world.notice_id(world.submit())
    world.store.then_fails(None, *[Unavailable("locked")] * 5)
    with pytest.raises(Unavailable):
        world.drain()
    world.services.people.erase(context(), "user-1", by="op", reason="asked")
    results = steps(world, 6, 900, 38)

    assert [["unknown"], ["failed"], ["withheld"]] == results
    assert world.notices(id).maybe_sent
    assert [] == world.mail.sent


# --- grants ---------------------------------------------------------------------------------------


@pytest.fixture(name="granting")
def _granting(tmp_path: Path) -> Callable[..., World]:
    """Make an application whose catalogue fails, with an approved access request."""

    def make(*errors: Exception) -> World:
        world = make_world(tmp_path)
        world = world.rebuilt(directory=buggy_directory(tmp_path, *errors))
        world.approve(world.submit(), organization_id=CLUB)
        return world

    return make


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GrantError("the platform is away", permanent=False), "the platform is away"),
        (Unavailable("locked"), "locked"),
        (Unusable("the file is damaged"), "the file is damaged"),
        (Bug(), "our fault: Bug"),
    ],
    ids=["grant error", "unavailable", "unusable", "bug"],
)
def test_a_grant_that_fails_is_tried_again(
    granting: Callable[..., World], error: Exception, text: str
) -> None:
    """Whatever the platform's port raises, the decision stands and the change is made later."""
    world = granting(error)

    assert ["done", "failed", "sent", "sent"] == sorted(world.drain())
    assert [[], ["done"]] == steps(world, 29, 1)
    found = world.grant("R00001-organization")
    assert ("done", 2, text) == (found.status, found.calls, found.last_error)
    assert "approved" == world.services.tickets.show("R00001").status
    assert ["user-1"] == world.catalogue()["organizations"][CLUB]["managers"]


def test_a_grant_that_fails_thrice_is_a_dead_letter_and_can_be_redriven(
    granting: Callable[..., World],
) -> None:
    """After three tries a grant is left to a person, who gives it three more."""
    world = granting(*[GrantError("away", permanent=False)] * 3)
    steps(world, 0, 30, 120)
    (letter,) = world.services.dead_letters.all()
    world.services.dead_letters.redrive(context(), [letter.id], by="op")

    assert ("grant", "attempts_exhausted", 3) == (letter.work, letter.why, letter.calls)
    assert ["done"] == world.drain()
    assert [] == world.services.dead_letters.all()


def test_a_grant_that_can_never_be_made_is_given_up_at_once(
    granting: Callable[..., World],
) -> None:
    """A permanent error of the platform makes a dead letter after one try."""
    world = granting(GrantError("no such organization", permanent=True))
    world.drain()
    (letter,) = world.services.dead_letters.all()

    assert ("permanent_error", 1) == (letter.why, letter.calls)
    assert [[]] == steps(world, 3600)


class DyingDirectory(BuggyDirectory):
    """A catalogue in whose change the process dies."""

    def join_managers(self, *, grant_id: str, user: str) -> None:
        """Make the change, and die."""
        super().join_managers(grant_id=grant_id, user=user)
        if self.errors:
            self.errors.pop()
            raise Killed


def test_a_grant_whose_process_died_is_made_again_after_its_time(tmp_path: Path) -> None:
    """A change is made again when whoever made it said nothing for ten seconds; it counts once."""
    directory = DyingDirectory(tmp_path / "directory.json")
    object.__setattr__(directory, "errors", [])
    world = make_world(tmp_path, directory=directory)
    world.approve(world.submit(), organization_id=CLUB)
    world.drain()
    world.approve(world.submit(user="user-2", email=BOB), organization_id=CLUB)
    directory.errors.append(Bug())
    with pytest.raises(Killed):
        world.drain()
    world.drain()
    seconds = GRANT_WITHIN.total_seconds()

    assert [[], ["done"]] == steps(world, seconds - 0.001, 0.001)
    assert ["user-1", "user-2"] == world.catalogue()["managers"]


def test_a_grant_for_an_erased_person_is_withheld(world: World) -> None:
    """Nothing is granted to whom, or named after what, was erased."""
    world.approve(world.submit(), organization_id=CLUB)
    world.approve(world.submit("organization_suggestion"), create_organization=True)
    world.services.people.erase(context(), "user-1", by="op", reason="asked")
    results = world.drain()

    assert {"withheld"} == set(results)
    assert {"withheld"} == {item.status for item in world.store.views.grants()}
    assert [] == world.catalogue().get("managers", [])


def test_an_organization_is_made_though_its_administrator_was_erased(world: World) -> None:
    """The erasure of whoever decided takes nothing from the one who suggested it."""
    world.approve(world.submit("organization_suggestion"), create_organization=True)
    world.services.people.erase(context(), "admin-7", by="op", reason="asked")

    assert ["done", "sent", "sent"] == sorted(world.drain())
    assert 2 == len(world.catalogue()["organizations"])


def test_what_was_asked_for_under_a_clock_that_was_ahead_is_due_now(world: World) -> None:
    """A mail and a grant from a year ahead are not put off for a year."""
    world.clock.advance(days=365)
    world.approve(world.submit("organization_suggestion"), create_organization=True)
    world.clock.advance(days=-365)

    assert ["done", "sent", "sent"] == sorted(world.drain())


def test_a_new_ticket_under_an_old_number_has_mails_and_grants_of_its_own(world: World) -> None:
    """After a restore a number comes again; the ports do not take its mails for the old ones."""
    first = world.submit("organization_suggestion")
    world.approve(first, create_organization=True)
    world.drain()
    ids = CountingIds()
    ids.count = 1000
    restored = make_services(
        world.home, mail=world.mail, clock=world.clock, ids=ids, store=FlakyStore(world.clock)
    )
    second = restored.tickets.submit(
        context(),
        ticket_type="organization_suggestion",
        user="user-2",
        email=BOB,
        body={"organization_name": "Bob Club"},
    )
    restored.tickets.approve(context(), first, by="admin-7", create_organization=True)

    assert second.submitted is not None
    assert first == second.submitted.reference
    assert ["done", "sent", "sent"] == sorted(drain(restored))
    assert 4 == len(world.mail.sent)
    assert 3 == len(world.catalogue()["organizations"])


def test_a_grant_without_its_ticket_is_withheld(world: World) -> None:
    """A grant whose ticket does not exist changes nothing."""
    requested = grant.Requested(
        id="R00009-manager",
        kind="manager",
        cause="ticket-R00009/2",
        ticket="R00009",
        user="user-9",
        at=world.clock.now(),
    )
    with world.store.transaction(context()) as tx:
        tx.append(grant.stream(requested.id), 0, (requested,))

    assert ["withheld"] == world.drain()
    assert [[]] == steps(world, 3600)


def test_a_grant_in_other_hands_is_left_alone(world: World) -> None:
    """A grant is made by one worker at a time."""
    world.approve(world.submit(), organization_id=CLUB)
    id = "R00001-manager"
    with world.store.transaction(context()) as tx:
        events = tx.load(grant.stream(id))
        deadline = world.clock.now() + timedelta(seconds=10)
        started = grant.AttemptStarted(attempt=1, deadline=deadline, at=world.clock.now())
        tx.append(grant.stream(id), len(events), (started,))

    assert "nothing_to_do" == world.services.delivery.carry_out(context(), id).result


# --- while somebody waits -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "errors",
    [
        [MailRefused("never")],
        [LOST],
        [DOWN, MailRefused("never")],
        [DOWN, LOST],
    ],
    ids=["refused", "unknown", "then refused", "then unknown"],
)
def test_delivering_now_ends_with_a_final_word(world: World, errors: list[MailError]) -> None:
    """Only what surely was not sent, and may go, is tried again while somebody waits."""
    for error in errors:
        world.mail.then_raises(error)
    started = world.start(world.person())

    assert len(errors) == world.notices(started.notification or "").calls
    assert [] == world.mail.sent


def test_delivering_now_waits_for_a_mail_that_is_soon_due(world: World) -> None:
    """A mail is tried again when it may, if that is in time, and otherwise left."""
    id = world.notice_id(world.submit())
    world.mail.then_raises(DOWN)
    world.mail.then_raises(DOWN)
    soon = world.services.delivery.deliver_now(context(), id, tries=2, within=timedelta(seconds=1))
    calls = world.notices(id).calls
    late = world.services.delivery.deliver_now(context(), id, tries=3, within=timedelta(minutes=10))

    assert soon is not None
    assert ("failed", 1) == (soon.result, calls)
    assert late is not None
    assert "nothing_to_do" == late.result


def test_delivering_now_does_not_wait_after_its_last_try(world: World) -> None:
    """When all tries are used up, whoever waits is told at once."""
    id = world.notice_id(world.submit())
    for _ in range(3):
        world.mail.then_raises(DOWN)
    before = world.clock.now()
    outcome = world.services.delivery.deliver_now(context(), id, tries=2, within=timedelta(hours=1))

    assert outcome is not None
    assert ("failed", 2) == (outcome.result, outcome.attempt)
    assert timedelta(seconds=38) > world.clock.now() - before


def test_delivering_now_gives_nothing_when_it_was_never_possible(world: World) -> None:
    """A store that is away from the start leaves no outcome, and raises nothing."""
    id = world.notice_id(world.submit())
    world.store.then_fails(Unavailable("locked"))

    assert (
        world.services.delivery.deliver_now(context(), id, tries=2, within=timedelta(seconds=1))
        is None
    )


def test_a_refused_address_is_a_dead_letter(tmp_path: Path) -> None:
    """An address that the store holds and no mail can go to gives the mail up with its reason."""
    world = make_world(tmp_path)
    delivery = attrs.evolve(world.services.delivery, senders=RefusingSenders())
    world.decline(world.submit())
    delivery.drain(report=lambda _: None)
    (letter,) = [
        letter for letter in world.services.dead_letters.all() if letter.kind == "ticket_decided"
    ]

    assert "recipient: is no address" == letter.last_error


class RefusingSenders(Senders):
    """Senders that know no address."""

    def route(self, kind: notification.Kind, recipient: str | None) -> tuple[str, str]:
        """Refuse every one."""
        raise Invalid("recipient", "is no address")


def test_an_unknown_outcome_is_sent_again_when_later_mails_are_heard_of(tmp_path: Path) -> None:
    """With feedback, silence about one mail says nothing until reports of later ones have come."""
    mail = MemoryMail(can_tell=False, has_feedback=True)
    world = make_world(tmp_path, mail=mail)
    mail.then_raises(MailOutcomeUnknown("no answer"))
    lost = world.notice_id(world.submit())
    world.drain()
    world.clock.advance(minutes=16)
    silent = world.drain()
    later = world.notice_id(world.submit(user="user-2", email=BOB))
    world.drain()
    world.clock.advance(minutes=16)
    unheard = world.drain()
    heard_of(world, later)
    world.clock.advance(minutes=16)
    heard = world.drain()
    world.clock.advance(minutes=1)

    assert [["deferred"], ["deferred"], ["failed"]] == [silent, unheard, heard]
    assert ["sent"] == world.drain()
    assert [later, lost] == [one.notification_id for one in mail.sent]


def test_a_report_of_the_other_senders_mail_says_nothing(tmp_path: Path) -> None:
    """Each sender has a way of its own for reports."""
    mail = MemoryMail(can_tell=False, has_feedback=True)
    world = make_world(tmp_path, mail=mail)
    mail.then_raises(MailOutcomeUnknown("no answer"))
    world.submit()
    world.drain()
    world.clock.advance(minutes=1)
    started = world.start(world.person(BOB), BOB)
    assert started.notification is not None
    heard_of(world, started.notification)
    world.clock.advance(minutes=16)

    assert ["deferred"] == world.drain()


def heard_of(world: World, id: str) -> None:
    """Hear that a mail was delivered."""
    feedback = world.services.feedback
    report = published("Delivery", tag=id, message_id=world.notices(id).message_id or "")
    feedback.hear(context(), feedback.read(json.dumps(report)))
