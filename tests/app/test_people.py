"""People: what is kept of them, in full, and how it is erased."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters.codec import PERSONAL
from siutindei.adapters.maildir import Maildir
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import prepare
from siutindei.app.people import Erasure
from siutindei.app.ports import Conflict, Unavailable
from siutindei.app.tickets import wire
from siutindei.domain import person, ticket
from siutindei.domain.errors import Invalid, NotFound
from tests.app.world import ANN, BOB, CLUB, FlakyStore, World, make_world
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.domain.mail import Mail
    from siutindei.domain.personal import Personal


def erase(world: World, user: str, **options: Any) -> Erasure:
    """Erase a person."""
    command = options.pop("command", None)
    return world.services.people.erase(
        context(command), user, **({"by": "op", "reason": "they asked"} | options)
    )


def listed(world: World) -> list[str]:
    """Say who is on the list of erasures."""
    return [erasure.user for erasure in world.services.erasures.all()]


def personal(world: World) -> Iterator[Personal]:
    """Give every personal field of every event, sealed as it is stored."""
    for entry in world.store.read():
        for name in PERSONAL[type(entry.event)]:
            value = getattr(entry.event, name)
            if value is not None:
                yield value


def texts(world: World) -> list[str]:
    """Open every personal field of every event and every read model."""
    views = world.store.views
    documents: list[Any] = [
        *views.tickets(limit=200).items,
        *views.notifications(),
        *views.grants(),
    ]
    opened = [repr_clear(world.store.open_all(document)) for document in documents]
    return [*(world.store.open(value).text for value in personal(world)), *opened]


def repr_clear(document: Any) -> str:
    """Write a document with its personal fields in clear."""
    return json.dumps(document, default=_clear)


def _clear(value: Any) -> Any:
    text = getattr(value, "text", None)
    if isinstance(text, str):
        return text
    names = getattr(type(value), "__attrs_attrs__", None)
    return (
        str(value) if names is None else {field.name: getattr(value, field.name) for field in names}
    )


def busy(world: World) -> str:
    """Let Ann do everything that a person can do, and Bob too; give Ann's id."""
    for email in (ANN, BOB):
        user = world.signed_in(email)
        for ticket_type in ticket.TYPES:
            world.submit(ticket_type, user=user, email=email, vouched=False)
    world.approve("R00001", create_organization=True, note="Welcome, Ann.")
    world.decline("S00001", note="Sorry, Ann.", by=BOB)
    world.drain()
    world.clock.advance(minutes=2)
    ann = world.store.views.person_by_address(world.services.addresses.fingerprint(ANN))
    assert ann is not None
    return ann.user


# --- export ---------------------------------------------------------------------------------------


def test_an_export_holds_everything_in_full(world: World) -> None:
    """A person gets their address, tickets, decisions, mails and what happened, as JSON."""
    user = busy(world)
    found = json.loads(json.dumps(world.services.people.export(context(), user, by="op")))

    assert (user, ANN, None, "2026-01-31T01:30:00+00:00", None) == (
        found["user"],
        found["email"],
        found["locale"],
        found["signed_up_at"],
        found["erased_at"],
    )
    assert ["code"] == list(found["proofs"].values())
    assert [
        wire(world.services.tickets.show(reference)) for reference in ("F00001", "S00001", "R00001")
    ] == found["tickets"]
    assert "Please." in json.dumps(found)
    assert "Welcome, Ann." in json.dumps(found)
    assert ["sign_in_code", "ticket_decided", "ticket_decided"] == [
        mail["kind"] for mail in found["mails"]
    ]
    assert {ANN} == {mail["recipient"] for mail in found["mails"]}
    assert {"accepted"} == {mail["status"] for mail in found["mails"]}
    assert [("R00001-organization", "done"), ("R00001-manager", "done")] == [
        (entry["id"], entry["status"]) for entry in found["grants"]
    ]


def test_an_export_tells_what_happened_in_its_order(world: World) -> None:
    """The history of a person runs over every stream about them, and nobody else's."""
    user = busy(world)
    history = world.services.people.export(context(), user, by="op")["history"]
    streams = {entry["id"].rpartition("/")[0] for entry in history}
    positions = {entry.id: entry.position for entry in world.store.read()}
    fingerprint = world.services.addresses.fingerprint(ANN)

    assert sorted(history, key=lambda entry: positions[entry["id"]]) == history
    assert {"person", "challenge", "ticket", "notification", "grant"} == {
        stream.partition("-")[0] for stream in streams
    }
    assert {f"challenge-app-{fingerprint}", f"person-{user}"} <= streams
    assert {"ticket-R00001", "ticket-S00001", "ticket-F00001"} == {
        stream for stream in streams if stream.startswith("ticket-")
    }
    assert 1 + 1 + 3 + 6 + 2 == len(streams)


def test_an_export_holds_nothing_of_others(world: World) -> None:
    """What another person wrote is in nobody else's export."""
    user = busy(world)
    found = json.dumps(world.services.people.export(context(), user, by="op"))
    others = {
        requested.id
        for item in world.store.views.notifications()
        if (requested := item.requested) is not None and requested.ticket in {"R00002", "S00002"}
    }

    assert "R00002" not in found
    assert not [id for id in others if id in found]


def test_an_export_goes_beyond_a_page(world: World) -> None:
    """However many tickets a person wrote, they get all of them."""
    for _ in range(203):
        world.decline(world.submit(vouched=False))

    assert 203 == len(world.services.people.export(context(), "user-1", by="op")["tickets"])


def test_nobody_is_exported_who_is_not_known(world: World) -> None:
    """There is no export of nobody."""
    busy(world)

    with pytest.raises(NotFound):
        world.services.people.export(context(), "nobody", by="op")


def test_an_erased_export_keeps_its_shape(world: World) -> None:
    """After an erasure the export says what is left: numbers, times and decisions."""
    user = busy(world)
    before = world.services.people.export(context(), user, by="op")
    erase(world, user)
    after = world.services.people.export(context(), user, by="op")

    assert before.keys() == after.keys()
    assert (None, "2026-01-31T01:32:00+00:00") == (after["email"], after["erased_at"])
    assert {"[erased]"} == {mail["recipient"] for mail in after["mails"]}
    assert [entry["ticket_id"] for entry in before["tickets"]] == [
        entry["ticket_id"] for entry in after["tickets"]
    ]
    assert ANN not in json.dumps(after)


# --- erasing --------------------------------------------------------------------------------------


def test_an_erasure_leaves_no_field_of_the_person_readable(world: World) -> None:
    """Every personal field in every stream and read model is erased, and nobody else's is."""
    user = busy(world)
    before = texts(world)
    erased = erase(world, user)
    after = texts(world)

    assert any(ANN in text for text in before)
    assert not [text for text in after if ANN in text or "Ann." in text]
    assert before.count(BOB) == after.count(BOB)
    assert len(before) - before.count("[erased]") > erased.erased_fields > 0
    # One more event was written: the erasure, whose reason is the operator's.
    assert erased.erased_fields == sum(text == "[erased]" for text in after)
    assert "they asked" in after


def test_what_is_counted_is_what_was_erased(world: World) -> None:
    """The number of erased fields is the number that could be read before."""
    reference = world.submit(vouched=False)
    world.decline(reference, note="No.")

    # Its name, message and address, the note, and the recipient of the mail.
    assert Erasure(user="user-1", erased_fields=5) == erase(world, "user-1")


def test_numbers_and_decisions_survive_an_erasure(world: World) -> None:
    """A ticket stays, with its number, its type, its status and who decided when."""
    user = busy(world)
    erase(world, user)
    found = wire(world.services.tickets.show("R00001"))

    assert ("R00001", "access_request", "approved", user, "admin-7") == (
        found["ticket_id"],
        found["ticket_type"],
        found["status"],
        found["submitter_id"],
        found["reviewed_by"],
    )
    assert "R00003" == world.submit(user="user-3")


def test_an_erasure_takes_the_mails_away(world: World) -> None:
    """Mails to the person, and those to support that tell what they wrote, are gone."""
    user = busy(world)
    before = len(world.mail.sent)
    erase(world, user)

    assert (10, 4) == (before, len(world.mail.sent))
    assert not [mail for mail in world.mail.sent if ANN in mail.text or ANN == mail.recipient]


def test_mails_that_are_due_are_withheld(world: World) -> None:
    """What was not sent before the erasure never is."""
    world.submit()
    world.decline("R00001")
    erase(world, "user-1")

    assert ["withheld", "withheld"] == world.drain()
    assert [] == world.mail.sent


def test_an_erased_person_can_still_be_decided_about(world: World) -> None:
    """A pending ticket of an erased person is decided like any; the mail is withheld."""
    world.submit()
    world.drain()
    erase(world, "user-1")
    world.decline("R00001", note="To nobody.")

    assert ["withheld"] == world.drain()
    assert b"To nobody" not in world.bytes()
    assert "declined" == world.services.tickets.show("R00001").status


def test_an_erasure_can_be_done_again(world: World) -> None:
    """A second erasure finds nothing left to erase, and is no error."""
    user = busy(world)
    erase(world, user)
    again = erase(world, user)

    assert Erasure(user=user, erased_fields=0) == again
    assert 1 == world.names(person.stream(user)).count("person.erased.v1")


def test_a_repeated_erasure_is_done_once(world: World) -> None:
    """An erasure that comes again under its id writes no second event."""
    user = busy(world)
    erase(world, user, command="again")
    position = world.store.last_position()

    assert Erasure(user=user, erased_fields=0) == erase(world, user, command="again")
    assert position == world.store.last_position()


def test_an_erasure_that_could_not_remove_a_mail_goes_on_when_it_is_done_again(
    tmp_path: Path,
) -> None:
    """The keys are gone at once; a mail that could not be removed is removed by the next run."""
    mail = StubbornMail()
    world = make_world(tmp_path, mail=mail)
    world.submit()
    world.drain()
    mail.stubborn = True
    with pytest.raises(Unavailable):
        erase(world, "user-1")
    sealed_off = "[erased]" == wire(world.services.tickets.show("R00001"))["submitter_email"]
    mail.stubborn = False
    left = len(mail.sent)
    erase(world, "user-1")

    assert (True, 1, 0) == (sealed_off, left, len(mail.sent))


class StubbornMail(MemoryMail):
    """A mail port that may refuse to remove what it keeps."""

    stubborn = False

    def forget(self, notification_id: str) -> None:
        """Remove it, or say that it is there."""
        if self.stubborn:
            raise Unavailable("the mail was not removed")
        super().forget(notification_id)


def test_an_unknown_person_cannot_be_erased(world: World) -> None:
    """Erasing nobody is not found, and lists nobody."""
    busy(world)

    with pytest.raises(NotFound):
        erase(world, "nobody")

    assert [] == listed(world)


@pytest.mark.parametrize(
    ("options", "field"),
    [({"by": ""}, "by"), ({"reason": " "}, "reason"), ({"reason": "x" * 501}, "reason")],
    ids=["nobody", "no reason", "long reason"],
)
def test_an_erasure_needs_a_name_and_a_reason(
    world: World, options: dict[str, Any], field: str
) -> None:
    """Nothing is erased by nobody, or for no reason."""
    user = busy(world)

    with pytest.raises(Invalid) as refused:
        erase(world, user, **options)

    assert field == refused.value.field


def test_an_erasure_is_listed_outside_the_database(world: World) -> None:
    """A backup that is restored later can apply the erasures of the list."""
    user = busy(world)
    erase(world, user)
    world.submit(user="user-9")
    erase(world, "user-9")

    assert [user, "user-9"] == listed(world)
    assert ANN not in (world.home / "erasures.jsonl").read_text()


def test_an_erasure_that_was_not_committed_is_listed_all_the_same(world: World) -> None:
    """Better a name too many on the list than an erasure that a backup undoes."""
    user = busy(world)
    world.store.then_fails(Unavailable("full"))
    with pytest.raises(Unavailable, match=r"on the list of erasures, and not erased yet \(full\)"):
        erase(world, user)

    assert [user] == listed(world)
    assert ANN == world.services.people.export(context(), user, by="op")["email"]


def test_a_store_that_is_away_lists_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who could not even be looked up is not listed, and the error says what it was."""

    def away(*_: object) -> Any:
        raise Unavailable("away")

    monkeypatch.setattr(world.store, "transaction", away)
    with pytest.raises(Unavailable, match=r"^away$"):
        erase(world, "user-1")

    assert [] == listed(world)


def test_mails_are_taken_out_though_a_file_could_not_be_cleaned(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the database's file from being rewritten keeps no mail in the mailbox."""

    def busy_file() -> None:
        raise Unavailable("erased, but others read")

    world.submit()
    world.drain()
    monkeypatch.setattr(world.store, "scrub", busy_file)
    with pytest.raises(Unavailable, match="erased, but others read"):
        erase(world, "user-1")

    assert [] == world.mail.sent


def test_a_lost_race_erases_all_the_same(world: World) -> None:
    """An erasure that somebody disturbed is done with what they left."""
    user = busy(world)
    world.store.then_fails(Conflict("first"))

    assert erase(world, user).erased_fields > 0


def test_a_person_known_by_a_ticket_alone_can_be_erased(world: World) -> None:
    """Who never signed up and wrote a ticket is exported, and erased, like any."""
    world.submit(vouched=False, user="walk-in")
    world.drain()
    exported = world.services.people.export(context(), "walk-in", by="op")
    erase(world, "walk-in")

    assert [ANN] == [entry["submitter_email"] for entry in exported["tickets"]]
    assert ["person.erased.v1"] == world.names(person.stream("walk-in"))
    assert not [text for text in texts(world) if ANN in text]
    assert [] == world.mail.sent


def test_a_reviewer_can_be_erased(world: World) -> None:
    """An administrator's name is theirs: erasing them leaves the decision, signed by their id."""
    world.decline(world.submit(), by="admin-7", note="Sorry, Ann.")
    erase(world, "admin-7")
    found = wire(world.services.tickets.show("R00001"))

    assert ("rejected", "[erased]", ANN, "Sorry, Ann.") == (
        found["status"],
        found["reviewed_by"],
        found["submitter_email"],
        found["admin_notes"],
    )


def test_what_an_erased_person_decided_by_address_is_erased(world: World) -> None:
    """A reviewer who was named by an address is erased with the account that has it."""
    reviewer = world.person(BOB)
    assert world.answer(world.start(reviewer, BOB).challenge).correct
    world.decline(world.submit(), by=BOB)
    erase(world, reviewer)

    assert not [text for text in texts(world) if BOB in text]
    assert any(ANN in text for text in texts(world))


def test_the_same_address_signs_up_anew(world: World) -> None:
    """An erased account does not come back; its address may open another one."""
    first = world.signed_in()
    world.clock.advance(minutes=2)
    erase(world, first)
    second = world.signed_in()
    reference = world.submit(user=second, vouched=False)
    world.drain()

    assert first != second
    assert ANN == wire(world.services.tickets.show(reference))["submitter_email"]
    assert ["support@lx-software.com"] == [
        mail.recipient for mail in world.mail.sent if mail.kind == "ticket_received"
    ]


def test_a_grant_to_an_erased_person_is_withheld(world: World) -> None:
    """Nothing is given in the platform to whom was erased before it happened."""
    world.approve(world.submit(), organization_id=CLUB)
    erase(world, "user-1")

    assert {"withheld"} == set(world.drain())


# --- on a disk ------------------------------------------------------------------------------------


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[World]:
    """Build an application whose history and mails are files."""
    clock, database = VirtualClock(), str(tmp_path / "siutindei.db")
    prepare(database)
    port: Any = Maildir(tmp_path / "mail", now=clock.now)
    world = make_world(tmp_path, mail=port, clock=clock, store=FlakyStore(clock, database))
    yield world
    world.store.close()


def files(world: World) -> bytes:
    """Read every file under the home."""
    return b"".join(path.read_bytes() for path in world.home.rglob("*") if path.is_file())


def test_an_erasure_reaches_every_file(disk: World) -> None:
    """Neither the database, nor its log, nor the mailbox holds the person's address or keys."""
    user = busy(disk)
    with disk.store.reading() as cursor:
        cursor.execute("SELECT wrapped FROM vault_keys WHERE owner = ?", (user,))
        keys = [row["wrapped"] for row in cursor.fetchall()]
    before = files(disk)
    erase(disk, user)
    after = files(disk)

    assert ANN.encode() in before
    assert ANN.encode() not in after
    assert keys
    assert not [key for key in keys if key in after]
    assert BOB.encode() in after


def test_a_mail_that_is_being_sent_is_waited_for(tmp_path: Path) -> None:
    """An erasure that comes between a call and its end removes the mail that the call leaves."""
    clock, database = VirtualClock(), str(tmp_path / "siutindei.db")
    prepare(database)
    written, go_on = threading.Event(), threading.Event()

    class SlowMaildir(Maildir):
        """A mailbox whose delivery has begun and takes its time."""

        def send(self, mail: Mail) -> str:
            """Deliver when the clock is told to wait."""
            written.set()
            assert go_on.wait(10)
            return super().send(mail)

    class WaitingClock(VirtualClock):
        """A clock whose sleep lets the delivery end."""

        def sleep(self, seconds: float) -> None:
            """Let the other go on, and wait for its end."""
            go_on.set()
            worker.join(10)
            super().sleep(seconds)

    clock = WaitingClock()
    port: Any = SlowMaildir(tmp_path / "mail")
    world = make_world(tmp_path, mail=port, clock=clock, store=FlakyStore(clock, database))
    world.submit()
    worker = threading.Thread(target=world.drain)
    worker.start()
    assert written.wait(10)
    erase(world, "user-1")

    assert not worker.is_alive()
    assert [] == os.listdir(tmp_path / "mail" / "new")  # noqa: PTH208  # names are all that counts
    assert "accepted" == world.notice("R00001").status
    world.store.close()


def test_a_call_that_has_ended_is_not_waited_for(world: World) -> None:
    """An erasure right after a mail was sent does not wait for the deadline that it had."""
    world.submit()
    world.drain()
    before = world.clock.now()
    erase(world, "user-1")

    assert before == world.clock.now()
    assert [] == world.mail.sent


def test_a_call_that_died_holds_up_no_erasure(world: World) -> None:
    """A call whose deadline is over is not waited for."""
    world.submit()
    world.store.then_fails(None, *[Unavailable("locked")] * 5)
    with pytest.raises(Unavailable):
        world.drain()
    world.clock.advance(hours=1)
    before = world.clock.now()
    erase(world, "user-1")

    assert before == world.clock.now()
    assert [] == world.mail.sent


def test_an_erasure_under_another_commands_id_is_refused_and_touches_nothing(world: World) -> None:
    """An id that was used before, for another person too, never says that somebody is erased."""
    for user, email in (("user-1", ANN), ("user-2", BOB)):
        world.submit(user=user, email=email)
    world.drain()
    world.services.people.erase(context("used"), "user-1", by="op", reason="asked")
    mails = len(world.mail.sent)
    with pytest.raises(Invalid, match="command_id"):
        world.services.people.erase(context("used"), "user-2", by="op", reason="asked")

    assert mails == len(world.mail.sent)
    assert (
        BOB
        == world.services.people.export(context(), "user-2", by="op")["tickets"][0][
            "submitter_email"
        ]
    )


def test_an_erasure_takes_nothing_from_an_address_that_was_never_proved(world: World) -> None:
    """Whoever only claims an administrator's address cannot have their decisions erased."""
    stranger = world.person()
    world.decline(world.submit(), by=BOB)
    world.start(stranger, BOB)
    erase(world, stranger)
    later = world.submit(user="user-2", email="c@example.com")
    world.decline(later, by=BOB)

    for reference in ("R00001", later):
        decision = world.services.tickets.show(reference).decision

        assert decision is not None
        assert BOB == decision.by.text


def test_mails_that_an_erasure_left_are_taken_out_later(world: World) -> None:
    """Whoever erases somebody and dies before their mails are out leaves that to the next one."""
    ann = busy(world)
    forget = world.mail.forget

    def dies(_: str) -> None:
        raise KeyboardInterrupt

    vars(world.mail)["forget"] = dies
    with pytest.raises(KeyboardInterrupt):
        erase(world, ann)
    theirs = {
        item.requested.id for item in world.store.views.notifications(user=ann) if item.requested
    }
    before = theirs & {mail.notification_id for mail in world.mail.sent}
    owed = world.store.unforgotten
    vars(world.mail)["forget"] = forget
    world.services.people.forget_what_is_owed()

    assert theirs == before
    assert ([ann], []) == (owed, world.store.unforgotten)
    assert not theirs & {mail.notification_id for mail in world.mail.sent}
