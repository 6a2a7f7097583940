"""Dead letters: what was given up, until a person looks at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from siutindei.app.dead_letters import DeadLetter
from siutindei.app.ports import Conflict, GrantError, MailNotSent, MailRefused
from siutindei.domain import notification
from siutindei.domain.errors import Invalid, NotFound
from tests.app.test_delivery import buggy_directory
from tests.app.world import BOB, CLUB, World, make_world
from tests.support import context

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
            why="permanent_error",
            calls=2,
            first_error="busy",
            last_error="no such mailbox",
            maybe_sent=False,
            would_do_nothing=False,
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
    """What a person discarded is listed no more and cannot be redriven; nothing is sent."""
    letters = both.services.dead_letters.discard(
        context(), ids(both), by="op", reason="done by phone"
    )

    assert ["notification", "grant"] == [letter.work for letter in letters]
    assert [] == ids(both)
    for letter in letters:
        with pytest.raises(NotFound):
            both.services.dead_letters.redrive(context(), [letter.id], by="op")
        with pytest.raises(NotFound):
            both.services.dead_letters.show(letter.id)
    assert [] == both.drain()
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
