"""Tickets: submitted by users, decided once, and what follows from a decision."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from siutindei.adapters.sqlite import prepare
from siutindei.adapters.system import RandomIds
from siutindei.app.ports import Conflict, Organization
from siutindei.app.tickets import wire
from siutindei.domain import person, ticket
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import Personal
from tests.app.world import ANN, BOB, BODIES, CLUB, LABEL, FlakyStore, World, make_world
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = {
    "id",
    "ticket_id",
    "ticket_type",
    "organization_name",
    "message",
    "status",
    "submitter_email",
    "submitter_id",
    "created_at",
    "reviewed_at",
    "reviewed_by",
    "admin_notes",
    "description",
    "suggested_district",
    "suggested_address",
    "suggested_lat",
    "suggested_lng",
    "media_urls",
    "organization_id",
    "feedback_stars",
    "feedback_label_ids",
    "feedback_text",
    "created_organization_id",
}
PREFIXES: dict[ticket.Type, str] = {
    "access_request": "R",
    "organization_suggestion": "S",
    "organization_feedback": "F",
}


@pytest.fixture(name="disk")
def _disk(tmp_path: Path) -> Iterator[World]:
    """Build an application on a file, for several threads."""
    clock, database = VirtualClock(), str(tmp_path / "siutindei.db")
    prepare(database)
    world = make_world(tmp_path, clock=clock, store=FlakyStore(clock, database), ids=RandomIds())
    yield world
    world.store.close()


def shown(world: World, reference: str) -> dict[str, Any]:
    """Show a ticket as the wire contract has it."""
    return wire(world.services.tickets.show(reference))


def sent(world: World, kind: str) -> list[str]:
    """Name who got mails of a kind."""
    return [mail.recipient for mail in world.mail.sent if mail.kind == kind]


# --- submitting -----------------------------------------------------------------------------------


def test_an_access_request_is_kept_as_it_was_written(world: World) -> None:
    """An access request shows what was typed, and nothing of the other types."""
    found = shown(world, world.submit())

    assert KEYS == set(found)
    assert str(UUID(found["id"])) == found["id"]
    assert {
        "ticket_id": "R00001",
        "ticket_type": "access_request",
        "organization_name": "Star Dance",
        "message": "Please.",
        "status": "pending",
        "submitter_email": ANN,
        "submitter_id": "user-1",
        "created_at": "2026-01-31T01:30:00+00:00",
        "media_urls": [],
        "feedback_label_ids": [],
    } == {name: value for name, value in found.items() if value is not None and name != "id"}


def test_a_suggestion_is_kept_as_it_was_written(world: World) -> None:
    """A suggestion shows its notes as its message, and a latitude of 0 as a number."""
    found = shown(world, world.submit("organization_suggestion"))

    assert KEYS == set(found)
    assert {
        "ticket_id": "S00001",
        "ticket_type": "organization_suggestion",
        "organization_name": "Harbour Chess",
        "message": "They meet on Sundays.",
        "status": "pending",
        "submitter_email": ANN,
        "submitter_id": "user-1",
        "created_at": "2026-01-31T01:30:00+00:00",
        "description": "A club by the harbour.",
        "suggested_district": "Central",
        "suggested_address": "1 Pier Road",
        "suggested_lat": 0.0,
        "suggested_lng": 114.15,
        "media_urls": ["https://example.com/a.png"],
        "feedback_label_ids": [],
    } == {name: value for name, value in found.items() if value is not None and name != "id"}


def test_a_feedback_is_kept_as_it_was_written(world: World) -> None:
    """A feedback is named after the organization in the catalogue, not after what a user types."""
    reference = world.submit("organization_feedback", organization_name="Somebody else", stars=0)
    found = shown(world, reference)

    assert KEYS == set(found)
    assert {
        "ticket_id": "F00001",
        "ticket_type": "organization_feedback",
        "organization_name": "Kowloon Swimming",
        "status": "pending",
        "submitter_email": ANN,
        "submitter_id": "user-1",
        "created_at": "2026-01-31T01:30:00+00:00",
        "organization_id": CLUB,
        "feedback_stars": 0,
        "feedback_label_ids": [LABEL],
        "feedback_text": "Very kind teachers.",
        "media_urls": [],
    } == {name: value for name, value in found.items() if value is not None and name != "id"}


def test_a_ticket_is_found_by_its_number_and_by_its_uuid(world: World) -> None:
    """Both names find a ticket, in any case, and another name finds none."""
    reference = world.submit()
    uuid = shown(world, reference)["id"]

    assert shown(world, reference) == shown(world, uuid.upper()) == shown(world, "r00001")
    with pytest.raises(NotFound):
        shown(world, "R00002")


@pytest.mark.parametrize("ticket_type", ticket.TYPES)
def test_a_user_has_one_pending_ticket_of_a_type(world: World, ticket_type: ticket.Type) -> None:
    """A second ticket of the type is refused until the first is decided, and says which it is."""
    first = world.submit(ticket_type)

    with pytest.raises(ticket.PendingTicket) as refused:
        world.submit(ticket_type)
    assert first == refused.value.reference

    world.decline(first)
    assert f"{PREFIXES[ticket_type]}00002" == world.submit(ticket_type)


def test_pending_tickets_of_other_types_and_users_are_no_matter(world: World) -> None:
    """Each type and each user has a pending ticket of its own, with numbers of the type."""
    references = [
        world.submit(ticket_type, user=user)
        for user in ("user-1", "user-2")
        for ticket_type in ticket.TYPES
    ]

    assert ["R00001", "S00001", "F00001", "R00002", "S00002", "F00002"] == references


def test_of_submissions_at_once_one_is_taken(disk: World) -> None:
    """Ten times the same at the same time is one pending ticket, one number and one notice."""

    def submit(_: int) -> str | None:
        try:
            return disk.submit()
        except ticket.PendingTicket:
            return None

    with ThreadPoolExecutor(5) as pool:
        taken = [reference for reference in pool.map(submit, range(10)) if reference]

    assert ["R00001"] == taken
    assert ["sent"] == disk.drain()


def test_of_users_at_once_everyone_gets_a_number(disk: World) -> None:
    """Numbers of tickets that come at the same time are consecutive, and each is given once."""
    with ThreadPoolExecutor(5) as pool:
        taken = list(pool.map(lambda n: disk.submit(user=f"user-{n}"), range(12)))

    assert [f"R{number:05d}" for number in range(1, 13)] == sorted(taken)


def test_a_lost_race_takes_the_next_number(world: World) -> None:
    """When somebody else was first, the ticket is taken all the same."""
    world.store.then_fails(*[Conflict("first")] * 4)

    assert "R00001" == world.submit()


def test_a_race_that_is_always_lost_ends(world: World) -> None:
    """A submission that loses five times is refused, and leaves nothing."""
    world.store.then_fails(*[Conflict("first")] * 5)

    with pytest.raises(Conflict):
        world.submit()

    assert 0 == world.store.last_position()


def test_a_repeated_submission_gives_the_first_answer(world: World) -> None:
    """A command that comes again under its id is one ticket, even when that one is decided."""
    first = world.submit(command="again")
    second = world.submit(command="again")
    world.decline(first)
    third = world.submit(command="again")
    world.services.people.erase(context(), "user-1", by="op", reason="asked")
    fourth = world.submit(command="again")

    assert [first] * 4 == [first, second, third, fourth]
    assert 1 == world.store.views.next_number("access_request") - 1


def test_another_submission_under_the_same_id_is_refused(world: World) -> None:
    """Other words, or another person's, are not answered with the first ticket."""
    world.submit(command="again")
    with pytest.raises(Invalid, match="command_id"):
        world.submit(command="again", organization_name="Other words")
    with pytest.raises(Invalid, match="command_id"):
        world.submit(command="again", user="user-2", email=BOB)


def test_a_submission_under_another_commands_id_is_refused(world: World) -> None:
    """An id that decided a ticket submits none."""
    world.decline(world.submit(), command="used")

    with pytest.raises(Invalid) as refused:
        world.submit(command="used")

    assert "command_id" == refused.value.field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"organization_id": LABEL}, None),
        ({"label_ids": [CLUB]}, "label_ids"),
        ({"label_ids": [LABEL] * 21}, "label_ids"),
        ({"organization_id": "club"}, "organization_id"),
        ({"stars": 6}, "stars"),
        ({"stars": None}, "stars"),
    ],
    ids=["unknown club", "unknown label", "many labels", "no uuid", "six stars", "no stars"],
)
def test_feedback_names_what_exists(world: World, body: dict[str, Any], field: str | None) -> None:
    """Feedback on an unknown organization is not found; an unknown label is an error."""
    with pytest.raises((NotFound, Invalid)) as refused:
        world.submit("organization_feedback", **body)

    assert field == getattr(refused.value, "field", None)
    assert 0 == world.store.last_position()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"user": ""}, "user"),
        ({"user": ANN}, "user"),
        ({"email": "nobody"}, "email"),
        ({"locale": 7}, "locale"),
    ],
    ids=["no user", "an address as user", "no address", "no locale"],
)
def test_who_submits_has_an_id_and_an_address(
    world: World, options: dict[str, Any], field: str
) -> None:
    """A ticket names its submitter by an id that is no address, and by an address that is one."""
    with pytest.raises(Invalid) as refused:
        world.submit(**options)

    assert field == refused.value.field


def assurance(world: World, reference: str) -> str:
    """Say how we know that a ticket's address is the submitter's."""
    submitted = world.services.tickets.show(reference).submitted
    assert submitted is not None
    return submitted.assurance


def test_a_token_vouches_for_the_address_and_proves_it_once(world: World) -> None:
    """A ticket that came with a token proves its address; the history says it was the token."""
    first = world.submit()
    second = world.submit("organization_suggestion")
    entries = world.store.load(person.stream("user-1"))
    proof: Any = entries[0].event

    assert ("token", "token") == (assurance(world, first), assurance(world, second))
    assert ["person.address_proved.v2"] == [entry.name for entry in entries]
    assert ("token", None) == (proof.how, proof.challenge)
    assert f"ticket-{first}/1" == entries[0].context.causation_id


def test_a_code_that_was_answered_vouches_for_the_address(world: World) -> None:
    """Whoever answered a code needs no token; it holds for that address alone."""
    user = world.signed_in()

    assert "code" == assurance(world, world.submit(user=user, vouched=False))
    other = world.submit("organization_suggestion", user=user, email=BOB, vouched=False)
    assert "none" == assurance(world, other)


def test_a_ticket_entered_by_hand_proves_nothing(world: World) -> None:
    """A ticket with nobody to vouch for it says so, and makes nobody known."""
    assert "none" == assurance(world, world.submit(vouched=False))
    assert [] == world.events("person")


def test_where_a_proof_is_needed_there_is_one(world: World) -> None:
    """Without a token that vouches and without an answered code nothing is taken; with one it is.

    What was refused leaves nothing behind.
    """
    user = world.signed_in(BOB)

    def submit(user: str, email: str, *, vouched: bool) -> ticket.Ticket:
        return world.services.tickets.submit(
            context(),
            ticket_type="access_request",
            user=user,
            email=email,
            body=BODIES["access_request"],
            vouched=vouched,
            needs_proof=True,
        )

    before = world.store.last_position()
    for who, address in (("user-1", ANN), (user, ANN)):
        with pytest.raises(ticket.AddressNotProved):
            submit(who, address, vouched=False)

    assert before == world.store.last_position()
    submit(user, BOB, vouched=False)
    submit("user-1", ANN, vouched=True)
    assert ("code", "token") == (assurance(world, "R00001"), assurance(world, "R00002"))


def test_an_erased_person_submits_nothing(world: World) -> None:
    """What an erased person writes could not be kept, so it is refused instead of lost."""
    world.submit()
    world.services.people.erase(context(), "user-1", by="op", reason="asked")

    with pytest.raises(person.PersonErased):
        world.submit("organization_suggestion")


# --- listing --------------------------------------------------------------------------------------


def test_a_list_goes_on_at_its_cursor_while_tickets_arrive(world: World) -> None:
    """Following the cursor shows each ticket once, newest first, whatever arrives meanwhile."""
    for number in range(7):
        world.submit(user=f"user-{number}")
    seen: list[object] = []
    cursor = None
    while True:
        page = world.services.tickets.list(limit=3, cursor=cursor)
        seen.extend(wire(item)["ticket_id"] for item in page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
        world.submit(user=f"late-{len(seen)}")

    assert [f"R{number:05d}" for number in range(7, 0, -1)] == seen


def test_a_list_is_filtered(world: World) -> None:
    """Status, type and submitter choose together, and what is shown is open."""
    world.decline(world.submit())
    world.submit(user="user-2", email=BOB)
    world.submit("organization_suggestion", user="user-2", email=BOB)
    tickets = world.services.tickets

    def listed(**filters: Any) -> list[object]:
        return [wire(item)["ticket_id"] for item in tickets.list(**filters).items]

    assert ["R00001"] == listed(status="declined")
    assert ["S00001", "R00002"] == listed(submitter="user-2")
    assert ["R00002"] == listed(status="pending", ticket_type="access_request")
    assert [BOB, BOB, ANN] == [wire(item)["submitter_email"] for item in tickets.list().items]


def test_what_waits_for_a_decision_is_counted(world: World) -> None:
    """Of one type, or of all."""
    world.submit()
    world.submit("organization_suggestion")
    world.decline("S00001")

    assert (1, 1, 0) == (
        world.services.tickets.pending_count(),
        world.services.tickets.pending_count("access_request"),
        world.services.tickets.pending_count("organization_suggestion"),
    )


@pytest.mark.parametrize("limit", [0, 201, True, "5", None])
def test_a_list_has_a_size(world: World, limit: Any) -> None:
    """A list has 1 to 200 rows."""
    with pytest.raises(Invalid) as refused:
        world.services.tickets.list(limit=limit)

    assert "limit" == refused.value.field


# --- deciding -------------------------------------------------------------------------------------


def test_a_decision_is_mailed_once_to_the_submitter(world: World) -> None:
    """Whoever submitted gets one mail about the decision, and support gets none."""
    reference = world.submit()
    world.drain()
    world.clock.advance(hours=1)
    decided = world.decline(reference, note="  Not now.  ")
    world.drain()

    assert [ANN] == sent(world, "ticket_decided")
    assert ["support@lx-software.com"] == sent(world, "ticket_received")
    assert "Not now." in world.mail.sent[-1].text
    assert {
        "status": "rejected",
        "reviewed_at": "2026-01-31T02:30:00+00:00",
        "reviewed_by": "admin-7",
        "admin_notes": "Not now.",
    } == {
        name: wire(decided.ticket)[name]
        for name in ("status", "reviewed_at", "reviewed_by", "admin_notes")
    }
    assert shown(world, reference) == wire(decided.ticket)
    assert decided.organization is None


def test_a_second_decision_is_refused(world: World) -> None:
    """Another administrator is told that it was decided, whatever they would have decided."""
    reference = world.submit()
    world.approve(reference, organization_id=CLUB)
    for decide in (world.decline, world.approve):
        with pytest.raises(ticket.AlreadyDecided):
            decide(reference, by="admin-8")
    world.drain()

    assert [ANN] == sent(world, "ticket_decided")


def test_of_decisions_at_once_one_wins(disk: World) -> None:
    """Administrators who decide at the same time: one does, the others are told, one mail goes."""
    reference = disk.submit()

    def decide(number: int) -> bool:
        try:
            if number % 2:
                disk.decline(reference, by=f"admin-{number}")
            else:
                disk.approve(reference, by=f"admin-{number}", create_organization=True)
        except ticket.AlreadyDecided:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(decide, range(8)))
    disk.drain()

    assert 1 == sum(won)
    assert [ANN] == sent(disk, "ticket_decided")


def test_a_lost_race_finds_the_decision(world: World) -> None:
    """Who lost the race sees what the winner decided."""
    reference = world.submit()
    world.store.then_fails(Conflict("first"))

    assert "declined" == world.decline(reference).ticket.status


def test_a_repeated_decision_gives_the_first_answer(world: World) -> None:
    """A decision that comes again under its id is answered as it was, and mailed once."""
    reference = world.submit()
    first = world.approve(reference, command="yes", create_organization=True)
    again = world.approve(reference, command="yes", create_organization=True)
    other = world.submit(user="user-2", email=BOB)
    for mixed_up in (world.decline, world.approve):
        with pytest.raises(Invalid, match="command_id"):
            mixed_up(other, command="yes")
    with pytest.raises(Invalid, match="command_id"):
        world.decline(reference, command="yes")
    world.drain()

    assert first == again
    assert first.organization is not None
    assert [ANN] == sent(world, "ticket_decided")
    assert "pending" == world.services.tickets.show(other).status


def test_a_repeated_decline_gives_the_first_answer(world: World) -> None:
    """A refusal that comes again is no second decision."""
    reference = world.submit()
    first = world.decline(reference, command="no", note="Sorry.")

    assert first == world.decline(reference, command="no", note="Other words.")


def test_a_repeated_assignment_names_its_organization(world: World) -> None:
    """The organization is named as at first, also when it has left the catalogue since."""
    reference = world.submit()
    first = world.approve(reference, command="yes", organization_id=CLUB)
    again = world.approve(reference, command="yes", organization_id=CLUB)
    (world.home / "directory.json").write_text("{}")
    gone = world.approve(reference, command="yes", organization_id=CLUB)

    assert Organization(id=CLUB, name="Kowloon Swimming") == first.organization
    assert first == again
    assert gone.organization is not None
    assert CLUB == gone.organization.id


def test_a_repeated_decision_names_the_organization_of_the_first(world: World) -> None:
    """Whatever the repeat asks for, the organization is the one that was decided at first."""
    reference = world.submit()
    first = world.approve(reference, command="yes", create_organization=True)

    assert first == world.approve(reference, command="yes", organization_id=CLUB)


def test_a_decision_speaks_the_submitters_language(world: World) -> None:
    """The mail is in the language that was signed up with, unless the ticket named another."""
    user = world.person(locale="zh-HK")
    world.decline(world.submit("access_request", user=user))
    world.decline(world.submit("organization_suggestion", user=user, locale="en"))
    world.drain()
    decided = [mail for mail in world.mail.sent if mail.kind == "ticket_decided"]
    (chinese,) = (mail for mail in decided if "[R00001]" in mail.subject)
    (english,) = (mail for mail in decided if "[S00001]" in mail.subject)

    assert not chinese.subject.isascii()
    assert english.subject.isascii()


def test_what_does_not_exist_is_not_decided(world: World) -> None:
    """A decision names a ticket that exists."""
    with pytest.raises(NotFound):
        world.approve("R00009", create_organization=True)
    with pytest.raises(NotFound):
        world.decline("R00009")


@pytest.mark.parametrize(
    ("ticket_type", "options", "field"),
    [
        ("access_request", {}, "organization_id"),
        (
            "access_request",
            {"organization_id": CLUB, "create_organization": True},
            "organization_id",
        ),
        ("access_request", {"organization_id": LABEL}, "organization_id"),
        ("access_request", {"organization_id": "club"}, "organization_id"),
        ("access_request", {"create_organization": "yes"}, "create_organization"),
        ("access_request", {"create_organization": True, "by": ""}, "by"),
        ("access_request", {"create_organization": True, "note": "x" * 5001}, "admin_notes"),
        ("organization_suggestion", {"organization_id": CLUB}, "organization_id"),
        ("organization_feedback", {"organization_id": CLUB}, "organization_id"),
        ("organization_feedback", {"create_organization": True}, "create_organization"),
    ],
    ids=str,
)
def test_an_approval_names_the_organization_that_fits(
    world: World, ticket_type: ticket.Type, options: dict[str, Any], field: str
) -> None:
    """An approval that does not fit its ticket is an error, and decides nothing."""
    reference = world.submit(ticket_type)

    with pytest.raises(Invalid) as refused:
        world.approve(reference, **options)

    assert field == refused.value.field
    assert "pending" == world.services.tickets.show(reference).status


def test_a_reviewers_address_is_nowhere_in_clear(world: World) -> None:
    """An administrator who is named by an address is shown by it and stored sealed."""
    reference = world.submit()
    world.decline(reference, by="Lee@Example.com")
    world.drain()

    assert b"lee@example" not in world.bytes().lower()
    assert "Lee@example.com" == shown(world, reference)["reviewed_by"]
    decided: Any = world.store.load(f"ticket-{reference}")[-1].event
    fingerprint = world.services.addresses.fingerprint("lee@example.com")
    assert f"address-{fingerprint}" == decided.reviewer


def test_nothing_that_a_user_typed_is_stored_in_clear(world: World) -> None:
    """Addresses, names, free texts and coordinates are stored sealed, in events and read models."""
    for ticket_type in ticket.TYPES:
        world.submit(ticket_type)
    world.decline("S00001", note="Thank you anyway.")
    stored = world.bytes()

    for text in (
        ANN,
        "Star Dance",
        "Please.",
        "Harbour Chess",
        "harbour",
        "Central",
        "Pier Road",
        "114.15",
        "a.png",
        "Sundays",
        "teachers",
        "Thank you",
    ):
        assert text.encode() not in stored


# --- grants ---------------------------------------------------------------------------------------


def granted(world: World, reference: str) -> list[tuple[str, str]]:
    """List the grants of a ticket, and what became of them."""
    return [
        (item.requested.kind, item.status)
        for item in world.store.views.grants(ticket=reference)
        if item.requested is not None
    ]


def test_an_access_request_makes_a_manager_of_an_organization(world: World) -> None:
    """The submitter manages the organization that was assigned, and joins the managers."""
    reference = world.submit()
    decided = world.approve(reference, organization_id=CLUB.upper())
    asked = granted(world, reference)
    world.drain()

    assert [("organization", "requested"), ("manager", "requested")] == asked
    assert [("organization", "done"), ("manager", "done")] == granted(world, reference)
    assert ["user-1"] == world.catalogue()["organizations"][CLUB]["managers"]
    assert ["user-1"] == world.catalogue()["managers"]
    assert Organization(id=CLUB, name="Kowloon Swimming") == decided.organization
    assert (CLUB, None) == (
        wire(decided.ticket)["organization_id"],
        wire(decided.ticket)["created_organization_id"],
    )


def test_an_access_request_may_make_the_organization(world: World) -> None:
    """The answer names the organization before it is made, as the ticket calls it."""
    reference = world.submit()
    decided = world.approve(reference, create_organization=True)
    assert decided.organization is not None
    id = decided.organization.id
    world.drain()

    assert "Star Dance" == decided.organization.name
    assert {"name": "Star Dance", "managers": ["user-1"]} == world.catalogue()["organizations"][id]
    assert (id, id) == (
        wire(decided.ticket)["organization_id"],
        wire(decided.ticket)["created_organization_id"],
    )


def test_a_suggestion_makes_an_organization_when_the_approval_says_so(world: World) -> None:
    """The reviewing administrator becomes the manager of what was suggested."""
    reference = world.submit("organization_suggestion")
    decided = world.approve(reference, create_organization=True)
    assert decided.organization is not None
    world.drain()

    assert [("organization", "done")] == granted(world, reference)
    made = world.catalogue()["organizations"][decided.organization.id]
    assert {"name": "Harbour Chess", "managers": ["admin-7"]} == made
    assert [] == world.catalogue()["managers"]


def test_no_address_becomes_the_manager_of_an_organization(world: World) -> None:
    """Who makes an organization of a suggestion manages it, and so has to be named by an id."""
    reference = world.submit("organization_suggestion")

    with pytest.raises(Invalid) as refused:
        world.approve(reference, by="lee@example.com", create_organization=True)

    assert "by" == refused.value.field
    assert "approved" == world.approve(reference, by="lee@example.com").ticket.status


def test_a_suggestion_may_be_approved_without_an_organization(world: World) -> None:
    """An approval that makes nothing asks for nothing but the mail."""
    reference = world.submit("organization_suggestion")
    decided = world.approve(reference)

    assert [] == granted(world, reference)
    assert decided.organization is None
    assert ["sent", "sent"] == world.drain()


def test_an_approved_feedback_is_published_and_earns_stars(world: World) -> None:
    """Feedback is published as it was written, and its stars are counted and set."""
    reference = world.submit("organization_feedback")
    uuid = shown(world, reference)["id"]
    world.approve(reference)
    world.drain()

    assert [("feedback", "done"), ("stars", "done")] == granted(world, reference)
    assert {
        "organization_id": CLUB,
        "stars": 4,
        "label_ids": [LABEL],
        "text": "Very kind teachers.",
    } == world.catalogue()["feedback"][uuid]
    assert {"user-1": 1} == world.catalogue()["stars"]


def test_stars_are_counted_from_the_history(tmp_path: Path) -> None:
    """Every approved feedback adds its stars, a declined one none, another user's none."""
    world = make_world(tmp_path, environment={"SIUTINDEI_FEEDBACK_STARS": "3"})
    for decide in (world.approve, world.decline, world.approve):
        decide(world.submit("organization_feedback", description=None))
    world.approve(world.submit("organization_feedback", user="user-2"))
    world.drain()

    assert {"user-1": 6, "user-2": 3} == world.catalogue()["stars"]


def test_a_decline_grants_nothing(world: World) -> None:
    """Nothing changes in the platform when the answer is no."""
    for ticket_type in ticket.TYPES:
        reference = world.submit(ticket_type)
        world.decline(reference)

        assert [] == granted(world, reference)


# --- the wire -------------------------------------------------------------------------------------


def test_an_erased_ticket_keeps_its_shape(world: World) -> None:
    """What was erased is said to be, and is null or empty where a number or a list belongs."""
    reference = world.submit("organization_suggestion")
    world.decline(reference, note="No.")
    world.services.people.erase(context(), "user-1", by="op", reason="asked")
    found = shown(world, reference)

    assert KEYS == set(found)
    assert {"[erased]"} == {
        found[name]
        for name in (
            "organization_name",
            "message",
            "submitter_email",
            "admin_notes",
            "description",
            "suggested_district",
            "suggested_address",
        )
    }
    assert (None, None, []) == (
        found["suggested_lat"],
        found["suggested_lng"],
        found["media_urls"],
    )
    assert ("S00001", "rejected", "user-1", "admin-7") == (
        found["ticket_id"],
        found["status"],
        found["submitter_id"],
        found["reviewed_by"],
    )


def test_what_was_never_submitted_has_no_wire_form() -> None:
    """A ticket that does not exist is nothing to show."""
    with pytest.raises(ValueError, match="does not exist"):
        wire(ticket.INITIAL)


def test_what_is_still_sealed_is_not_shown(world: World) -> None:
    """A ticket whose fields nobody opened cannot be written for a client."""
    found = world.store.views.find_ticket(world.submit())
    assert found is not None
    assert found.submitted is not None

    assert isinstance(found.submitted.organization_name, Personal)
    with pytest.raises(TypeError):
        wire(found)


def test_a_ticket_that_cannot_be_read_keeps_its_number(world: World) -> None:
    """What a newer version submitted is in no read model here; the next ticket goes on after it."""
    for reference in ("R00001", "R00002"):
        with world.store.writing() as cursor:
            cursor.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                " VALUES (?, 1, 'ticket.submitted.v9', x'7b7d')",
                (ticket.stream(reference),),
            )

    assert "R00003" == world.submit()
