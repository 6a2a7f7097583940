"""Suppressions and lanes, through the application: who is not mailed to, and whose mail waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.lanes import halt_restored
from siutindei.app.ports import (
    AccountHalted,
    MailNotSent,
    MailOutcomeUnknown,
    SesSuppression,
    Unavailable,
    Unusable,
    WholeAccountHalted,
)
from siutindei.app.suppressions import Drift, mask
from siutindei.domain import lane, suppression
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.suppression import NotSuppressed
from tests.app.test_feedback import hear, sent
from tests.app.test_people import erase
from tests.app.world import ANN, BOB, World, make_world
from tests.aws_events import published
from tests.support import START, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUPPORT: Final = "support@lx-software.com"
PAUSED: Final = AccountHalted("sending is paused")


@attrs.define
class SesList:
    """SES's list of the account."""

    entries: dict[str, SesSuppression] = attrs.field(factory=dict)

    def list(self) -> Iterator[SesSuppression]:
        """Give every address."""
        yield from list(self.entries.values())

    def get(self, address: str) -> SesSuppression | None:
        """Look for one."""
        return self.entries.get(address)

    def put(self, address: str, reason: Any, since: datetime = START) -> None:
        """Put one there."""
        self.entries[address] = SesSuppression(address=address, reason=reason, since=since)

    def delete(self, address: str) -> None:
        """Take one away."""
        self.entries.pop(address, None)


@pytest.fixture
def ses() -> SesList:
    """Give SES's list."""
    return SesList()


@pytest.fixture(name="world")
def _world(tmp_path: Path, ses: SesList) -> World:
    """Give an application whose mail port is as SES is."""
    mail = MemoryMail(can_tell=False, has_feedback=True)
    return make_world(tmp_path, mail=mail, ses_suppressions=ses)


def decided(world: World, email: str = ANN) -> str:
    """Submit and decline, and send both mails; give the id of the decision's."""
    reference = world.submit(email=email, user=f"user-{email[:3]}")
    world.decline(reference)
    world.drain()
    return world.notice_id(reference, "ticket_decided")


def report(world: World, id: str, name: str, **details: Any) -> Any:
    """Hear of what became of a mail."""
    message_id = world.notices(id).message_id or ""
    return hear(world, published(name, tag=id, message_id=message_id, **details))


def suppressed(world: World, email: str) -> suppression.Suppression | None:
    """Say what is known of an address."""
    return world.store.views.find_suppression(world.services.addresses.fingerprint(email))


def add(world: World, email: str = ANN) -> Any:
    """Suppress an address by hand."""
    return world.services.suppressions.add(context(), email, by="op", reason="asked")


def lift(world: World, name: str = ANN) -> Any:
    """Lift it."""
    return world.services.suppressions.lift(context(), name, by="op", reason="a new mailbox")


# --- what is reported leads to one ----------------------------------------------------------------


@pytest.mark.parametrize(("name", "reason"), [("Bounce", "bounce"), ("Complaint", "complaint")])
def test_a_bounce_and_a_complaint_suppress_in_the_same_change(
    world: World, name: str, reason: str
) -> None:
    """The evidence is the event that says so, and the command is that of the report."""
    id = decided(world)
    heard = report(world, id, name)
    (entry,) = [one for one in world.store.read() if one.name == "suppression.suppressed.v1"]
    event: Any = entry.event

    assert heard.suppressed
    assert (reason, f"notification-{id}/4") == (event.reason, event.evidence)
    assert event.evidence == entry.context.causation_id
    assert entry.id in heard.events
    assert ANN == world.store.open(event.address).text


def test_nothing_is_mailed_to_the_suppressed(world: World) -> None:
    """The next mail is withheld at the last moment, and says why; others are mailed."""
    id = decided(world)
    reference = world.submit(user="user-ann")
    report(world, id, "Bounce")
    world.drain()
    world.decline(reference)
    other = decided(world, BOB)
    world.drain()

    withheld = world.notice(reference, "ticket_decided")
    assert ("withheld", "suppressed") == (withheld.status, withheld.why)
    assert "accepted" == world.notices(other).status
    assert 1 == sum(mail.recipient == ANN for mail in world.mail.sent)


def test_the_same_report_again_suppresses_nobody_again(world: World) -> None:
    """Also after a person lifted it."""
    id = decided(world)
    report(world, id, "Bounce")
    lift(world)
    again = report(world, id, "Bounce")

    assert ("known", False) == (again.result, again.suppressed)
    assert [] == list(world.services.suppressions.list())


def test_soft_bounces_suppress_for_a_while(world: World) -> None:
    """The third within a week does, for thirty days; then mails go again."""
    ids = [decided(world) for _ in range(3)]
    heard = [
        report(world, id, "Bounce", bounceType="Transient", bounceSubType="MailboxFull",
               feedbackId=f"f-{id}")
        for id in ids
    ]  # fmt: skip
    found = suppressed(world, ANN)
    reference = world.submit(user="user-ann")
    world.decline(reference)
    world.drain()

    assert [False, False, True] == [one.suppressed for one in heard]
    assert found is not None
    assert found.suppressed is not None
    assert ("soft_bounces", True) == (
        found.suppressed.reason,
        found.suppressed.expires_at is not None,
    )
    assert "withheld" == world.notice(reference, "ticket_decided").status
    world.clock.advance(days=10_000)
    assert "accepted" == world.notices(decided(world)).status


@pytest.mark.parametrize(
    ("name", "details"),
    [
        ("Bounce", {"bounceType": "Transient", "bounceSubType": "General",
                    "bouncedRecipients": []}),
        ("Complaint", {"complaintFeedbackType": "not-spam"}),
        ("Delivery", {}),
        ("DeliveryDelay", {}),
    ],
)  # fmt: skip
def test_what_is_no_reason_suppresses_nobody(
    world: World, name: str, details: dict[str, Any]
) -> None:
    """An out-of-office answer, a mail taken out of the spam folder, a delay."""
    for number in range(4):
        report(world, decided(world), name, feedbackId=f"f-{number}", **details)

    assert [] == list(world.services.suppressions.list(every=True))


def test_the_support_mailbox_is_suppressed_as_any(world: World) -> None:
    """A notice that bounced suppresses the mailbox of the team, which is configuration."""
    id, _ = sent(world)
    report(world, id, "Bounce")
    reference = world.submit(user="user-2", email=BOB)

    assert ["withheld"] == world.drain()
    assert "suppressed" == world.notice(reference).why
    (one,) = world.services.suppressions.list()
    assert "s***@lx-software.com" == one.address
    lift(world, SUPPORT)


# --- what outlives what ---------------------------------------------------------------------------


def test_a_suppression_outlives_an_erasure_and_a_new_account(world: World) -> None:
    """By its fingerprint: whoever signs up with the address again is not mailed to."""
    user = world.signed_in(ANN)
    world.decline(world.submit(user=user))
    world.drain()
    (id,) = [
        item.requested.id
        for item in world.store.views.notifications(user=user)
        if item.requested and item.requested.kind == "ticket_decided"
    ]
    report(world, id, "Complaint")
    erase(world, user)
    (one,) = world.services.suppressions.list()
    world.clock.advance(hours=2)
    again = world.person(ANN)
    started = world.start(again, ANN)

    assert "[erased]" == one.address
    assert user != again
    assert started.mail is not None
    assert "withheld" == started.mail.result


def test_a_bounce_of_an_erased_person_suppresses_by_fingerprint(world: World) -> None:
    """The report comes after the erasure: the address is gone, and not mailed to all the same."""
    id = decided(world)
    erase(world, "user-ann")
    report(world, id, "Bounce")
    found = suppressed(world, ANN)

    assert found is not None
    assert found.suppressed is not None
    assert found.suppressed.address is None
    assert ["[erased]"] == [one.address for one in world.services.suppressions.list()]


def test_a_sign_in_gives_a_suppression_away_to_nobody(world: World) -> None:
    """The challenge is the same, and takes as long as one whose mail is sent."""
    user, other = world.signed_in(ANN), world.signed_in(BOB)
    world.clock.advance(hours=2)
    add(world)
    noted: list[float] = []
    world.services.sign_in.pace.note(0.7)
    before = world.clock.now()
    started = world.start(user, ANN)
    noted.append((world.clock.now() - before).total_seconds())

    assert started.challenge
    assert started.notification is not None
    assert noted[0] > 0
    assert world.start(other, BOB).mail is not None


# --- people ---------------------------------------------------------------------------------------


def test_a_person_suppresses_and_lifts(world: World) -> None:
    """With a reason; the same command again has one effect, and answers the same."""
    suppressions = world.services.suppressions
    first, second = (
        suppressions.add(context("c1"), " ann@example.com ", by="op", reason="asked")
        for _ in range(2)
    )
    lifted = [
        suppressions.lift(context("c2"), first.fingerprint, by="op", reason="mended")
        for _ in range(2)
    ]

    assert (first.fingerprint, first.active) == (second.fingerprint, second.active)
    assert (True, "asked", "a***@example.com") == (first.active, first.note, first.address)
    assert [False, False] == [one.active for one in lifted]
    assert ["suppression.suppressed.v1", "suppression.lifted.v1"] == world.names(
        suppression.stream(first.fingerprint)
    )
    assert [first.fingerprint] == [one.fingerprint for one in suppressions.list(every=True)]


def test_what_cannot_be_lifted(world: World) -> None:
    """What nobody knows of, what is no address, and what is lifted."""
    for name, error in (("not an address", Invalid), (BOB, NotFound), ("f" * 32, NotFound)):
        with pytest.raises(error):
            lift(world, name)
    add(world)
    lift(world)
    with pytest.raises(NotSuppressed):
        lift(world)


def test_who_looks_at_addresses_is_recorded(world: World) -> None:
    """One event for each call, however many addresses it shows; none in their own streams."""
    reveal = world.services.suppressions.reveal
    nobody = reveal(context(), by="eve")
    add(world)
    add(world, BOB)
    found = reveal(context(), by="eve")
    looks = [entry.event for entry in world.store.load("access-suppressions")]

    assert [] == list(nobody)
    assert {ANN, BOB} == {one.address for one in found}
    assert [("eve", 0), ("eve", 2)] == [(look.by, look.shown) for look in looks]  # type: ignore[union-attr]
    assert [] == [name for name in world.events("suppression") if "revealed" in name]


def test_no_address_is_shown_without_a_record(world: World) -> None:
    """A look that cannot be recorded shows nothing."""
    add(world)
    world.store.then_fails(Unavailable("full"))
    with pytest.raises(Unavailable, match="full"):
        world.services.suppressions.reveal(context(), by="eve")
    with pytest.raises(Invalid, match="by"):
        world.services.suppressions.reveal(context(), by="")

    assert () == world.services.accesses.list().items


def test_what_is_erased_cannot_be_revealed(world: World) -> None:
    """There is nothing to show."""
    id = decided(world)
    erase(world, "user-ann")
    report(world, id, "Bounce")
    (one,) = world.services.suppressions.reveal(context(), by="eve")

    assert "[erased]" == one.address


def test_an_address_is_masked() -> None:
    """Its first letter and its domain are shown."""
    assert "a***@example.com" == mask("ann@example.com")


# --- SES's list -----------------------------------------------------------------------------------


def drift(world: World) -> list[tuple[str, str]]:
    """Compare the lists."""
    return sorted((one.address, one.where) for one in world.services.suppressions.drift())


def test_the_lists_are_compared_and_brought_together(world: World, ses: SesList) -> None:
    """What one of them lacks it gets, and what a person lifted leaves SES's."""
    report(world, decided(world, ANN), "Bounce")
    report(world, decided(world, BOB), "Complaint")
    add(world, "hand@example.com")
    ses.put("seen@example.com", "BOUNCE")
    ses.put("lifted@example.com", "BOUNCE")
    ses.put("both@example.com", "COMPLAINT")
    add(world, "lifted@example.com")
    world.clock.advance(hours=1)
    lift(world, "lifted@example.com")
    add(world, "both@example.com")
    before = drift(world)
    done: list[Drift] = []
    count = world.services.suppressions.sync(context(), report=done.append)

    assert [
        ("a***@example.com", "only_here"),
        ("b***@example.com", "only_here"),
        ("l***@example.com", "lifted_here"),
        ("s***@example.com", "only_at_ses"),
    ] == before
    assert 4 == count == len(done)
    assert [] == drift(world)
    assert {
        ANN: "BOUNCE",
        BOB: "COMPLAINT",
        "seen@example.com": "BOUNCE",
        "both@example.com": "COMPLAINT",
    } == {address: entry.reason for address, entry in ses.entries.items()}
    found = suppressed(world, "seen@example.com")
    assert found is not None
    assert found.is_active(world.clock.now())


def test_what_bounced_again_at_ses_after_it_was_lifted_is_suppressed(
    world: World, ses: SesList
) -> None:
    """SES's entry is newer than the person's word."""
    add(world)
    lift(world)
    ses.put(ANN, "BOUNCE", since=world.clock.now() + timedelta(hours=1))

    assert [("a***@example.com", "only_at_ses")] == drift(world)


def test_where_mails_do_not_go_to_ses_there_is_no_list(tmp_path: Path) -> None:
    """A maildir has none: that is said."""
    with pytest.raises(Unusable, match="SIUTINDEI_MAIL=ses"):
        make_world(tmp_path).services.suppressions.drift()


# --- lanes ----------------------------------------------------------------------------------------


def standing(world: World) -> dict[str, str | None]:
    """Say why each lane is halted."""
    return {name: state.why for name, state in world.services.lanes.all().items()}


def test_an_account_that_takes_no_mail_halts_one_lane(world: World) -> None:
    """Its mails wait, burn no attempt and are all sent when a try succeeds; codes go on."""
    for number in range(3):
        world.submit(user=f"user-{number}")
    world.mail.then_raises(PAUSED)
    first = world.drain()
    halted = standing(world)
    user = world.person(BOB)
    code = world.start(user, BOB)
    world.clock.advance(minutes=1)
    world.mail.then_raises(PAUSED)
    second = world.drain()
    world.clock.advance(minutes=2)
    third = world.drain()
    world.clock.advance(minutes=10)
    world.drain()

    assert ["failed", "deferred", "deferred"] == first
    assert {"codes": None, "tickets": "account"} == halted
    assert code.mail is not None
    assert "sent" == code.mail.result
    assert "failed" in second
    assert "sent" in third
    assert {"codes": None, "tickets": None} == standing(world)
    assert {"accepted"} == {item.status for item in world.store.views.notifications()}
    assert 4 == len(world.mail.sent)


def test_a_suspended_account_halts_every_lane(world: World) -> None:
    """A code waits too, and is of no use after its time."""
    world.submit()
    world.mail.then_raises(WholeAccountHalted("suspended"))
    world.drain()
    user = world.person(BOB)
    started = world.start(user, BOB)
    assert started.mail is not None
    assert ("deferred", "lane_halted") == (started.mail.result, started.mail.error)
    assert {"codes": "account", "tickets": "account"} == standing(world)
    world.services.lanes.halt(context(), "codes", by="op", reason="for long")
    for _ in range(7):
        world.clock.advance(minutes=1)
        world.drain()

    assert started.notification is not None
    assert ("withheld", "expired") == (
        world.notices(started.notification).status,
        world.notices(started.notification).why,
    )


def test_a_try_that_fails_otherwise_leaves_the_lane_halted(world: World) -> None:
    """A passing error is no word on the account: the next one tries a minute later."""
    world.submit()
    world.mail.then_raises(PAUSED)
    world.drain()
    world.clock.advance(minutes=3)
    world.mail.then_raises(MailNotSent("busy"))
    world.drain()
    halted = standing(world)
    world.clock.advance(minutes=10)
    world.drain()

    assert {"codes": None, "tickets": "account"} == halted
    assert {"codes": None, "tickets": None} == standing(world)


def test_a_person_halts_and_resumes_a_lane(world: World) -> None:
    """Mails wait for as long as that takes; the same command again answers the same."""
    lanes = world.services.lanes
    halts = [lanes.halt(context("c1"), "tickets", by="op", reason="wrong text") for _ in range(2)]
    world.submit()
    waited = world.drain()
    world.clock.advance(days=30)
    still = world.drain()
    resumes = [lanes.resume(context("c2"), "tickets", by="op", reason="mended") for _ in range(2)]
    world.clock.advance(minutes=10)

    assert [["deferred"], ["deferred"]] == [waited, still]
    assert ["sent"] == world.drain()
    assert ["person", "person", None, None] == [state.why for state in (*halts, *resumes)]
    with pytest.raises(lane.NotHalted):
        lanes.resume(context(), "tickets", by="op", reason="again")


def test_of_two_who_open_a_copy_one_halts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds under the lock that another was first does nothing more."""
    monkeypatch.setattr(type(world.store), "is_copy", True)

    assert not halt_restored(world.store, clock=world.clock, ids=world.services.ids)
    assert {"codes": None, "tickets": None} == standing(world)


def test_a_code_goes_soon_after_its_lane_was_resumed(world: World) -> None:
    """Somebody waits for it: it is looked at twice a minute, as long as it lives."""
    lanes = world.services.lanes
    lanes.halt(context(), "codes", by="op", reason="wrong text")
    started = world.start(world.person(ANN), ANN)
    lanes.resume(context(), "codes", by="op", reason="mended")
    world.clock.advance(seconds=30)

    assert started.mail is not None
    assert "deferred" == started.mail.result
    assert ["sent"] == world.drain()


def test_who_halted_and_lifted_and_why_can_be_read(world: World) -> None:
    """The words of the people who decided are shown to whoever looks."""
    halted = world.services.lanes.halt(context(), "tickets", by="op", reason="wrong text")
    add(world)
    lifted = lift(world)
    note = world.services.lanes.all()["tickets"].note

    assert ("op", "wrong text") == (halted.by, halted.note and halted.note.text)
    assert note is not None
    assert "wrong text" == note.text
    assert ("a***@example.com", "a new mailbox") == (lifted.address, lifted.lifted_because)


def test_an_address_that_nobody_proved_goes_with_who_gave_it(world: World) -> None:
    """A sign-up that bounces keeps no address after an erasure; its fingerprint stays."""
    user = world.person(ANN)
    started = world.start(user, ANN)
    assert started.notification is not None
    report(world, started.notification, "Bounce")
    before = world.services.suppressions.reveal(context(), by="op")
    erase(world, user)
    after = world.services.suppressions.reveal(context(), by="op")

    assert [[ANN], ["[erased]"]] == [[one.address for one in found] for found in (before, after)]
    assert after[0].active


@pytest.mark.parametrize("died", [False, True])
def test_a_report_of_a_mail_that_tried_resumes_its_lane(world: World, died: bool) -> None:
    """Also when it comes before the call's own answer, or instead of it."""
    world.submit()
    world.mail.then_raises(PAUSED)
    world.drain()
    world.clock.advance(minutes=3)
    send = world.mail.send

    def heard_at_once(mail: Any) -> str:
        message_id = send(mail)
        hear(world, published("Delivery", tag=mail.notification_id, message_id=message_id))
        if died:
            raise KeyboardInterrupt
        return message_id

    world.mail.send = heard_at_once  # type: ignore[method-assign]
    if died:
        with pytest.raises(KeyboardInterrupt):
            world.drain()
    else:
        world.drain()

    assert {"codes": None, "tickets": None} == standing(world)
    assert ["delivered"] == [item.status for item in world.store.views.notifications()]


def test_a_clock_that_was_ahead_halts_a_lane_no_longer_than_any(world: World) -> None:
    """What it wrote about the next try is not waited for."""
    world.clock.advance(hours=40)
    world.submit()
    world.mail.then_raises(PAUSED)
    world.drain()
    world.clock.advance(hours=-40)
    late = world.notice_id(world.submit(user="user-2", email=BOB))
    for _ in range(3):
        world.drain()
        world.clock.advance(minutes=5)

    assert "accepted" == world.notices(late).status
    assert {"codes": None, "tickets": None} == standing(world)


def test_a_report_of_a_clock_that_was_ahead_is_no_later_one(world: World) -> None:
    """A mail of unknown outcome waits for reports of mails that were called for since, by now."""
    world.clock.advance(days=400)
    heard = decided(world, BOB)
    report(world, heard, "Delivery")
    world.clock.advance(days=-400)
    world.mail.then_raises(MailOutcomeUnknown("no answer"))
    lost = world.notice_id(world.submit())
    for _ in range(4):
        world.drain()
        world.clock.advance(minutes=20)

    assert "unknown" == world.notices(lost).status
    assert 1 == world.notices(lost).calls
