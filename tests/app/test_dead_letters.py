"""Dead letters: what was given up, until a person looks at it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.app.dead_letters import Action, DeadLetter, Lying
from siutindei.app.ports import (
    Conflict,
    GrantError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
)
from siutindei.domain import notification
from siutindei.domain.errors import Invalid, NotFound, Refused
from tests.app.test_delivery import buggy_directory
from tests.app.world import ANN, BOB, CLUB, World, make_world
from tests.aws_events import published
from tests.support import START, VirtualClock, context

if TYPE_CHECKING:
    from pathlib import Path


def dead_mail(world: World, user: str = "user-1") -> str:
    """Make a dead letter of the notice of a new ticket."""
    world.mail.then_raises(MailRefused("never"))
    id = world.notice_id(world.submit(user=user))
    world.drain()
    return id


@pytest.fixture(name="both")
def _both(tmp_path: Path) -> World:
    """Make an application with a dead mail and a dead grant."""
    world = make_world(tmp_path)
    world = world.rebuilt(directory=buggy_directory(tmp_path, GrantError("no", permanent=True)))
    dead_mail(world)
    world.approve("R00001", organization_id=CLUB)
    world.drain()
    return world


def ids(world: World) -> list[str]:
    """List the dead letters."""
    return [letter.id for letter in world.services.dead_letters.all()]


def test_a_dead_letter_says_what_it_was(world: World) -> None:
    """A dead letter shows its cause, its ticket, its errors and how often it was tried."""
    world.mail.then_raises(MailNotSent("busy"))
    world.mail.then_raises(MailRefused("no such mailbox"))
    id = world.notice_id(world.submit())
    world.drain()
    world.clock.advance(minutes=1)
    world.drain()

    assert [
        DeadLetter(
            work="notification",
            id=id,
            kind="ticket_received",
            cause="ticket-R00001/1",
            ticket="R00001",
            status="dead_lettered",
            fault="permanent",
            why="permanent_error",
            since=START + timedelta(minutes=1),
            calls=2,
            first_error="busy",
            first_error_at=START,
            last_error="no such mailbox",
            last_error_at=START + timedelta(minutes=1),
            maybe_sent=False,
            no_op=None,
        )
    ] == world.services.dead_letters.all()
    assert world.services.dead_letters.all() == [world.services.dead_letters.show(id)]


def test_a_code_that_expired_would_do_nothing(world: World) -> None:
    """Giving an expired code more attempts sends nothing, and that is said beforehand."""
    world.mail.then_raises(MailRefused("never"))
    started = world.start(world.person())
    id = started.notification or ""
    before = world.services.dead_letters.show(id).would_do_nothing
    world.clock.advance(minutes=5)
    after = world.services.dead_letters.show(id).would_do_nothing
    world.services.dead_letters.redrive(context(), [id], by="op")

    assert (False, True) == (before, after)
    assert ["withheld"] == world.drain()
    assert [] == world.mail.sent


def test_a_redriven_mail_gets_three_more_attempts(world: World) -> None:
    """A redrive starts the count anew; the calls that were made stay counted."""
    id = dead_mail(world)
    world.services.dead_letters.redrive(context(), [id], by="op")
    for _ in range(3):
        world.mail.then_raises(MailNotSent("busy"))
    for _ in range(3):
        world.drain()
        world.clock.advance(minutes=3)
    found = world.services.dead_letters.show(id)
    world.services.dead_letters.redrive(context(), [id], by="op")

    assert ("attempts_exhausted", 4) == (found.why, found.calls)
    assert ["sent"] == world.drain()
    assert 1 == len(world.mail.sent)


def test_a_discarded_letter_is_closed(both: World) -> None:
    """What a person discarded is listed no more, and a redrive leaves it alone; nothing is sent."""
    letters = both.services.dead_letters.discard(
        context(), ids(both), by="op", reason="done by phone"
    )

    assert ["notification", "grant"] == [letter.work for letter in letters]
    assert [] == ids(both)
    position = both.store.last_position()
    for letter in letters:
        (left,) = both.services.dead_letters.redrive(context(), [letter.id], by="op")
        assert ("discarded", True) == (left.no_op, left.would_do_nothing)
        with pytest.raises(Refused, match="is discarded, not a dead letter"):
            both.services.dead_letters.discard(context(), [letter.id], by="op", reason="again")
    assert (position, []) == (both.store.last_position(), both.drain())
    assert b"by phone" not in both.bytes()


def test_both_kinds_are_redriven_together(both: World) -> None:
    """Mails and grants are redriven by the same command; an id that comes twice counts once."""
    redriven = both.services.dead_letters.redrive(context(), ids(both) * 2, by="op")

    assert ["notification", "grant"] == [letter.work for letter in redriven]
    assert ["done", "sent"] == sorted(both.drain())


def test_all_or_none_are_redriven(world: World) -> None:
    """An id that is no dead letter stops the others too."""
    id = dead_mail(world)
    other = world.notice_id(world.submit(user="user-2", email=BOB))
    for wrong in ("nobody", other):
        with pytest.raises(NotFound):
            world.services.dead_letters.redrive(context(), [id, wrong], by="op")

    assert [id] == ids(world)


@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_a_repeated_command_gives_the_first_answer(both: World, verb: str) -> None:
    """A redrive or discard that comes again under its id is answered as it was, and done once."""
    options: dict[str, Any] = {"by": "op"} | ({"reason": "old"} if verb == "discard" else {})
    act = getattr(both.services.dead_letters, verb)
    first = act(context("again"), ids(both), **options)
    both.drain()
    position = both.store.last_position()

    assert first == act(context("again"), [letter.id for letter in first], **options)
    assert position == both.store.last_position()


def test_another_commands_id_redrives_nothing(world: World) -> None:
    """The id of a command that did something else is refused."""
    id = dead_mail(world)
    world.decline("R00001", command="used")

    with pytest.raises(Invalid):
        world.services.dead_letters.redrive(context("used"), [id], by="op")


def test_a_lost_race_is_decided_again(world: World) -> None:
    """A redrive that somebody disturbed is done all the same."""
    id = dead_mail(world)
    world.store.then_fails(Conflict("first"))
    world.services.dead_letters.redrive(context(), [id], by="op")

    assert ["sent"] == world.drain()


def test_who_redrives_is_recorded(world: World) -> None:
    """The history says who gave it more attempts; an address is recorded by its fingerprint."""
    id = dead_mail(world)
    world.services.dead_letters.redrive(context(), [id], by="lee@example.com")
    redriven: Any = world.store.load(notification.stream(id))[-1].event

    fingerprint = world.services.addresses.fingerprint("lee@example.com")
    assert f"address-{fingerprint}" == redriven.by


@pytest.mark.parametrize(("by", "reason", "field"), [("", "x", "by"), ("op", " ", "reason")])
def test_a_discard_needs_a_name_and_a_reason(
    world: World, by: str, reason: str, field: str
) -> None:
    """Nothing is closed by nobody, or for no reason."""
    id = dead_mail(world)

    with pytest.raises(Invalid) as refused:
        world.services.dead_letters.discard(context(), [id], by=by, reason=reason)

    assert field == refused.value.field
    assert [id] == ids(world)


# --- whose fault it was ---------------------------------------------------------------------------


class _Broken(MemoryMail):
    """A port that takes no mail at all, for a reason of its own."""

    def send(self, mail: Any) -> str:
        raise MailNotSent("busy")


def test_three_failures_are_nobodys_fault(world: World) -> None:
    """It might have worked another time."""
    id = world.notice_id(world.submit())
    broken = world.rebuilt(mail=_Broken())
    for _ in range(3):
        broken.drain()
        world.clock.advance(minutes=3)
    (letter,) = world.services.dead_letters.all()

    assert (id, "transient_exhausted", 3) == (letter.id, letter.fault, letter.calls)
    assert (START, START + timedelta(minutes=6)) == (letter.first_error_at, letter.last_error_at)


def test_what_cannot_be_written_is_our_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call was made; whoever mends the program redrives it."""

    def wrong(*_: object, **__: object) -> None:
        raise KeyError("template")

    monkeypatch.setattr("siutindei.domain.mail.ticket_received", wrong)
    world.submit()
    world.drain()
    (letter,) = world.services.dead_letters.all()

    assert ("our_fault", "permanent_error", 0) == (letter.fault, letter.why, letter.calls)


def test_a_grant_that_fails_in_a_way_nobody_foresaw_is_our_fault(tmp_path: Path) -> None:
    """Also when it was tried three times."""
    world = make_world(tmp_path)
    world = world.rebuilt(directory=buggy_directory(tmp_path, *[KeyError("x")] * 6))
    world.submit()
    world.approve("R00001", organization_id=CLUB)
    for _ in range(3):
        world.drain()
        world.clock.advance(minutes=3)
    letter = world.services.dead_letters.all()[0]

    assert ("our_fault", "attempts_exhausted", "grant") == (letter.fault, letter.why, letter.work)


def test_receives_that_came_to_nothing_have_no_error(world: World) -> None:
    """Nobody could even begin: there is nothing that went wrong and was noted."""
    id = world.notice_id(world.submit())
    with world.store.transaction(context()) as tx:
        state = notification.INITIAL
        for entry in (events := tx.load(notification.stream(id))):
            state = notification.evolve(state, entry.event)
        given_up = notification.exhaust_receives(state, at=world.clock.now())
        tx.append(notification.stream(id), len(events), given_up)
    (letter,) = world.services.dead_letters.all()

    assert ("receives_exhausted", None, None, 0) == (
        letter.fault,
        letter.first_error,
        letter.last_error_at,
        letter.calls,
    )


# --- what became of it ----------------------------------------------------------------------------


def test_what_was_done_about_it_stays_told(world: World) -> None:
    """Who redrove or discarded it, when, and why: the reason only where it is shown."""
    letters = world.services.dead_letters
    id = dead_mail(world)
    letters.redrive(context(), [id], by="lee")
    world.clock.advance(minutes=1)
    world.mail.then_raises(MailRefused("never"))
    world.drain()
    (waiting,) = letters.all()
    letters.discard(context(), [id], by="mei", reason="told by telephone")
    shown = letters.show(id)

    redriven = Action(what="redriven", by="lee", at=START)
    assert ((redriven,), START + timedelta(minutes=1)) == (waiting.actions, waiting.since)
    assert [] == letters.all()
    assert (
        redriven,
        Action(
            what="discarded",
            by="mei",
            at=START + timedelta(minutes=1),
            reason="told by telephone",
        ),
    ) == shown.actions


def test_a_mail_that_was_never_given_up_is_no_dead_letter(world: World) -> None:
    """It is not found among them."""
    id = world.notice_id(world.submit())
    with pytest.raises(NotFound):
        world.services.dead_letters.show(id)


LOST: Final = MailOutcomeUnknown("no answer")


def maybe_sent(world: World) -> str:
    """Make a dead letter of a mail that one of its calls may have sent."""
    world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())
    world.drain()
    world.clock.advance(seconds=900)
    world.drain()
    world.clock.advance(minutes=1)
    world.mail.then_raises(MailRefused("no"))
    world.drain()
    return id


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Delivery", "delivered"),
        ("Bounce", "bounced"),
        ("DeliveryDelay", "delayed"),
        ("Send", "accepted"),
    ],
)
def test_what_was_sent_meanwhile_is_not_sent_again(tmp_path: Path, name: str, status: str) -> None:
    """Feedback came after it was given up: a redrive of it sends and records nothing."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False))
    id = maybe_sent(world)
    before = world.services.dead_letters.show(id)
    report = world.services.feedback.read(json.dumps(published(name, tag=id)))
    world.services.feedback.hear(context(), report)
    position = world.store.last_position()
    (left,) = world.services.dead_letters.redrive(context("again"), [id], by="op")

    assert (True, None, status) == (before.maybe_sent, before.no_op, left.no_op)
    assert (position, [], 1) == (world.store.last_position(), world.drain(), len(world.mail.sent))
    assert [] == world.services.dead_letters.all()


def test_what_is_under_way_is_left_alone(both: World) -> None:
    """A second redrive adds nothing; when it is done, that is what is said."""
    letters = both.services.dead_letters
    redriven = [letter.id for letter in letters.redrive(context(), ids(both), by="op")]
    position = both.store.last_position()
    again = letters.redrive(context(), redriven, by="op")
    unchanged = both.store.last_position()
    both.drain()

    assert ["under_way"] * 2 == [letter.no_op for letter in again]
    assert position == unchanged
    assert ["accepted", "done"] == [letters.show(id).no_op for id in redriven]


def test_a_repeated_redrive_tells_what_it_left_alone_too(world: World) -> None:
    """Its first answer named both: the one that it redrove, and the one that was discarded."""
    letters = world.services.dead_letters
    one, two = dead_mail(world), dead_mail(world, "user-2")
    letters.discard(context(), [two], by="op", reason="old")
    first = letters.redrive(context("again"), [one, two], by="op")
    world.drain()

    assert [None, "discarded"] == [letter.no_op for letter in first]
    assert first == letters.redrive(context("again"), [one, two], by="op")


def test_what_was_for_somebody_erased_would_do_nothing(world: World) -> None:
    """A redrive of it is withheld, and that is said beforehand."""
    user = world.signed_in(ANN)
    id = dead_mail(world, user)
    world.services.people.erase(context(), user, by="op", reason="asked")
    before = world.services.dead_letters.show(id).no_op
    world.services.dead_letters.redrive(context(), [id], by="op")
    done = world.drain()

    assert ("erased", ["withheld"]) == (before, done)
    assert ("withheld", "erased") == (
        world.services.dead_letters.show(id).status,
        world.services.dead_letters.show(id).no_op,
    )


# --- the dead-letter queue ------------------------------------------------------------------------


@pytest.fixture(name="queue")
def _queue() -> MemoryQueue:
    return MemoryQueue(VirtualClock())


@pytest.fixture(name="queued")
def _queued(tmp_path: Path, queue: MemoryQueue) -> World:
    """Make an application over a queue."""
    return make_world(
        tmp_path,
        clock=queue._clock,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
        nudges=queue,
        dead_letter_queue=queue,
    )


def test_without_a_queue_nothing_lies_on_it(world: World) -> None:
    """The worker asks the ledger, and there is no such list."""
    assert world.services.dead_letters.lying() is None


def test_what_lies_on_the_queue_is_named_and_let_lie(queued: World, queue: MemoryQueue) -> None:
    """A nudge by what it is about; what is none by what is wrong with it, and nothing of what is
    in it.
    """
    id = dead_mail(queued)
    secret = "ann@example.com"
    for body, reason in [
        (json.dumps({"event_type": "notification.due", "notification_id": id}), "permanent_error"),
        (json.dumps({"event_type": "grant.due", "grant_id": secret}), "x ann@example.com"),
        (json.dumps({"event_type": "grant.due", "grant_id": "x" * 65}), "without_id"),
        (json.dumps({"event_type": "manager_request.submitted"}), "invalid: requester_email"),
        (json.dumps({"event_type": secret}), "r"),
        (secret, "not_json"),
        ("", "empty"),
    ]:
        queue.put(body, reason=reason)
    queue._letters.append(queue._message("{}", redriven="1"))
    found = queued.services.dead_letters.lying()

    assert [
        Lying(work="notification", id=id, status="dead_lettered", reason="permanent_error"),
        Lying(work="grant", wrong="unknown_id", reason="other"),
        Lying(wrong="without_id", reason="without_id"),
        Lying(wrong="submission", reason="invalid: requester_email"),
        Lying(wrong="unknown_event_type", reason="r"),
        Lying(wrong="not_json", reason="not_json"),
        Lying(wrong="empty", reason="empty"),
        Lying(wrong="unknown_event_type", was_redriven=True),
    ] == found
    assert found == queued.services.dead_letters.lying()


def test_a_queue_out_of_reach_says_so(queued: World, queue: MemoryQueue) -> None:
    """Its letters are not there to be listed."""
    queue.then_fails()
    with pytest.raises(Unavailable):
        queued.services.dead_letters.lying()


@pytest.mark.parametrize("kind", ["ticket_received", "ticket_decided"])
def test_a_redrive_to_a_suppressed_address_would_do_nothing(world: World, kind: Any) -> None:
    """It would be withheld: that is said beforehand, of the support mailbox too."""
    reference = world.submit(email=ANN)
    if kind == "ticket_decided":
        world.drain()
        world.decline(reference)
    world.mail.then_raises(MailRefused("no"))
    world.drain()
    before = world.services.dead_letters.show(world.notice_id(reference, kind)).no_op
    address = ANN if kind == "ticket_decided" else "support@lx-software.com"
    world.services.suppressions.add(context(), address, by="op", reason="asked")
    (letter,) = world.services.dead_letters.all()

    assert (None, "suppressed") == (before, letter.no_op)
