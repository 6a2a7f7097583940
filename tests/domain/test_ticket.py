"""A ticket: what may be said in one, and that it is decided once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs
import pytest

from siutindei.domain import ticket
from siutindei.domain.errors import Invalid
from siutindei.domain.personal import of
from tests.support import START, Then, given

UUID: Final = "123e4567-e89b-12d3-a456-426614174000"
OTHER: Final = "123e4567-e89b-12d3-a456-426614174001"
LATER: Final = START + timedelta(hours=1)
BOB: Final = of("bob", "bob")

Body = Mapping[str, object]


def feedback(body: Body) -> ticket.Submission:
    """Check feedback on an organization that the directory knows."""
    return ticket.feedback(body, organization_name="Swim School")


#: For each sort of ticket: its check, and the least body that passes it.
LEAST: Final[dict[ticket.Type, tuple[Callable[[Body], ticket.Submission], dict[str, object]]]] = {
    "access_request": (ticket.access_request, {"organization_name": "Swim School"}),
    "organization_suggestion": (ticket.suggestion, {"organization_name": "Swim School"}),
    "organization_feedback": (feedback, {"organization_id": UUID, "stars": 3}),
}
#: Every text of the contract: the sort of ticket, the body's key, the submission's, and the most.
TEXTS: Final[list[tuple[ticket.Type, str, str, int]]] = [
    ("access_request", "request_message", "message", 5000),
    ("organization_suggestion", "additional_notes", "message", 5000),
    ("organization_suggestion", "description", "description", 5000),
    ("organization_suggestion", "suggested_address", "suggested_address", 500),
    ("organization_feedback", "description", "feedback_text", 5000),
]
LINES: Final[list[tuple[ticket.Type, str, str, int]]] = [
    ("access_request", "organization_name", "organization_name", 200),
    ("organization_suggestion", "organization_name", "organization_name", 200),
    ("organization_suggestion", "suggested_district", "suggested_district", 100),
]
OPTIONAL: Final = [*TEXTS, LINES[2]]
NAMES: Final = LINES[:2]


def check(ticket_type: ticket.Type, **changes: object) -> ticket.Submission:
    """Check the least body of a sort, with changes."""
    checked, body = LEAST[ticket_type]
    return checked(body | changes)


def refuse(ticket_type: ticket.Type, **changes: object) -> str:
    """Expect that the one field that is named is refused; give the reason."""
    (name,) = changes
    with pytest.raises(Invalid) as caught:
        check(ticket_type, **changes)

    assert name == caught.value.field
    return caught.value.why


def keys(case: tuple[str, str, str, int]) -> str:
    """Name a case by sort and key."""
    return f"{case[0]}.{case[1]}"


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticket_type", "number", "reference"),
    [
        ("access_request", 1, "R00001"),
        ("organization_suggestion", 42, "S00042"),
        ("organization_feedback", 99999, "F99999"),
        ("access_request", 100000, "R100000"),
    ],
)
def test_a_number_has_five_digits_or_more(
    ticket_type: ticket.Type, number: int, reference: str
) -> None:
    """A ticket's number says its sort, has at least five digits, and grows past 99999."""
    assert reference == ticket.reference(ticket_type, number)
    assert f"ticket-{reference}" == ticket.stream(reference)


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*TEXTS, *LINES], ids=keys)
def test_a_text_may_be_as_long_as_its_limit(case: tuple[ticket.Type, str, str, int]) -> None:
    """Each limit counts characters after trimming: the limit passes, one more does not."""
    ticket_type, key, attribute, most = case
    for length in (1, most - 1, most):
        text = "牛" * length

        assert text == getattr(check(ticket_type, **{key: f"  {text}\n"}), attribute)
    assert f"is longer than {most} characters" == refuse(ticket_type, **{key: "x" * (most + 1)})


@pytest.mark.parametrize("case", OPTIONAL, ids=keys)
@pytest.mark.parametrize("blank", [None, "", " ", "\n\t ", "\u3000", "\u200b", "\u202e \u2066"])
def test_a_blank_text_is_none(case: tuple[ticket.Type, str, str, int], blank: str | None) -> None:
    """What shows nothing was not said."""
    ticket_type, key, attribute, _ = case

    assert getattr(check(ticket_type, **{key: blank}), attribute) is None


@pytest.mark.parametrize("case", NAMES, ids=keys)
@pytest.mark.parametrize("blank", [None, "", " ", "\n\t ", "\u3000", "\u200b", "\u202e \u2066"])
def test_a_name_is_required(case: tuple[ticket.Type, str, str, int], blank: str | None) -> None:
    """An organization without a name, or with one that shows nothing, is none."""
    assert "is required" == refuse(case[0], **{case[1]: blank})


@pytest.mark.parametrize("ticket_type", ["access_request", "organization_suggestion"])
def test_a_name_that_is_missing_is_required(ticket_type: ticket.Type) -> None:
    """An empty body is refused for its name."""
    with pytest.raises(Invalid, match="organization_name: is required"):
        LEAST[ticket_type][0]({})


@pytest.mark.parametrize("case", [*TEXTS, *LINES], ids=keys)
@pytest.mark.parametrize("value", [7, 1.5, True, ["x"], {"x": 1}, b"x"], ids=repr)
def test_a_text_is_text(case: tuple[ticket.Type, str, str, int], value: object) -> None:
    """A number, a truth value or a list is no text."""
    assert "must be text" == refuse(case[0], **{case[1]: value})


@pytest.mark.parametrize("case", [*TEXTS, *LINES], ids=keys)
@pytest.mark.parametrize("char", ["\0", "\x07", "\x0b", "\x1b", "\x7f", "\x85", "\x9b"], ids=repr)
def test_control_characters_are_refused(case: tuple[ticket.Type, str, str, int], char: str) -> None:
    """No text has a control character, and the refusal names it."""
    why = refuse(case[0], **{case[1]: f"a{char}b"})

    assert f"has a control character (U+{ord(char):04X})" == why


@pytest.mark.parametrize("case", [*TEXTS, *LINES], ids=keys)
@pytest.mark.parametrize("char", [chr(0xD800), chr(0xDFFF)], ids=ascii)
def test_lone_surrogates_are_refused(case: tuple[ticket.Type, str, str, int], char: str) -> None:
    """What cannot be written as UTF-8 is no text."""
    why = refuse(case[0], **{case[1]: f"a{char}b"})

    assert "is not valid text (a lone surrogate)" == why


@pytest.mark.parametrize("char", ["\n", "\r", "\t", "\u2028", "\u2029"], ids=repr)
def test_line_breaks_are_for_texts_of_several_lines(char: str) -> None:
    """A message may have several lines; a name has one, for it stands in one."""
    text = f"a{char}b"
    for ticket_type, key, attribute, _ in TEXTS:
        assert text == getattr(check(ticket_type, **{key: text}), attribute)
    for ticket_type, key, _, _ in LINES:
        assert "has a control character" in refuse(ticket_type, **{key: text})


@pytest.mark.parametrize("case", [*TEXTS, *LINES], ids=keys)
@pytest.mark.parametrize("text", ["a\u202eb", "\u2067x", "👩‍👧 family", "e\u0301", "\ufffe"])
def test_every_other_character_is_kept(case: tuple[ticket.Type, str, str, int], text: str) -> None:
    """Text is kept as it was typed; marks that reorder it are taken out where it is shown."""
    assert text == getattr(check(case[0], **{case[1]: text}), case[2])


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "most"), [("suggested_lat", 90), ("suggested_lng", 180)])
def test_a_place_is_on_the_globe(key: str, most: int) -> None:
    """A latitude is -90..90 and a longitude -180..180, both ends included."""
    beyond = math.nextafter(most, math.inf)
    for value in (most, -most, float(most), 22.3193, 0, 0.0, math.nextafter(most, 0)):
        found = getattr(check("organization_suggestion", **{key: value}), key)

        assert (value, float) == (found, type(found))
    for value in (beyond, -beyond, most + 1, 10**400, -(10**400), math.inf, -math.inf, math.nan):
        why = refuse("organization_suggestion", **{key: value})

        assert f"must be between -{most} and {most}" == why


@pytest.mark.parametrize("key", ["suggested_lat", "suggested_lng"])
@pytest.mark.parametrize("value", ["22.3", "", True, False, [1], {}], ids=repr)
def test_a_place_is_a_number(key: str, value: object) -> None:
    """Neither a number that is written as text nor a truth value is a number."""
    assert "must be a number" == refuse("organization_suggestion", **{key: value})


@pytest.mark.parametrize("key", ["suggested_lat", "suggested_lng"])
def test_a_place_need_not_be_given(key: str) -> None:
    """Null is no number, and not 0."""
    assert getattr(check("organization_suggestion", **{key: None}), key) is None
    assert getattr(check("organization_suggestion"), key) is None


# --- links ---------------------------------------------------------------------------------------


def links(value: object) -> tuple[str, ...]:
    """Check links, and give them."""
    return check("organization_suggestion", media_urls=value).media_urls


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ([], ()),
        ("", ()),
        (" , ,", ()),
        (["https://example.com/a"], ("https://example.com/a",)),
        (("https://example.com/a",), ("https://example.com/a",)),
        ("https://example.com/a", ("https://example.com/a",)),
        (
            " https://example.com/a ,http://example.com/b,, ",
            ("https://example.com/a", "http://example.com/b"),
        ),
        (["https://example.com/?q=1,2"], ("https://example.com/?q=1,2",)),
        (
            ["https://example.com/b", "https://example.com/a", " https://example.com/b "],
            ("https://example.com/b", "https://example.com/a"),
        ),
    ],
    ids=repr,
)
def test_links_come_as_a_list_or_with_commas(value: object, expected: tuple[str, ...]) -> None:
    """Links keep their order, are trimmed, and are kept once."""
    assert expected == links(value)


@pytest.mark.parametrize("write", [list, ",".join], ids=["list", "commas"])
def test_twenty_links_are_the_most(write: Callable[[list[str]], object]) -> None:
    """Twenty links pass and twenty-one do not, however they are written."""
    twenty = [f"https://example.com/{number}" for number in range(20)]

    assert tuple(twenty) == links(write(twenty))
    assert "has more than 20 entries" == refuse(
        "organization_suggestion", media_urls=write([*twenty, "https://example.com/20"])
    )


@pytest.mark.parametrize("value", [7, True, {"https://example.com": 1}, {"x"}], ids=repr)
def test_links_are_a_list(value: object) -> None:
    """Neither a number nor an object is a list of links."""
    assert "must be a list" == refuse("organization_suggestion", media_urls=value)


@pytest.mark.parametrize("entry", [None, "", " ", 7, True, ["https://example.com"]], ids=repr)
def test_an_entry_that_is_no_text_is_no_link(entry: object) -> None:
    """One wrong entry among right ones is refused, with the name of the list."""
    refuse("organization_suggestion", media_urls=["https://example.com", entry])


# --- feedback ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stars", [0, 1, 5])
def test_stars_are_zero_to_five(stars: int) -> None:
    """No star at all is a rating too."""
    assert stars == check("organization_feedback", stars=stars).feedback_stars


@pytest.mark.parametrize("stars", [-1, 6, 10**400, -(10**400)])
def test_other_numbers_of_stars_are_refused(stars: int) -> None:
    """Neither fewer than none nor more than five."""
    assert "must be between 0 and 5" == refuse("organization_feedback", stars=stars)


@pytest.mark.parametrize("stars", [None, "3", "", True, False, 2.5, 3.0, math.nan, [3]], ids=repr)
def test_stars_are_a_whole_number(stars: object) -> None:
    """Stars are counted: text, truth values and fractions are no count."""
    assert "must be a whole number" == refuse("organization_feedback", stars=stars)


@pytest.mark.parametrize("value", [UUID, UUID.upper(), f" {UUID} ", UUID.replace("-", "")])
def test_an_organization_is_named_by_its_uuid(value: str) -> None:
    """A UUID is kept in its usual form, however it was written."""
    assert UUID == check("organization_feedback", organization_id=value).organization_id


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", "R00001", 7, True, [UUID], UUID[:-1], UUID + "0", UUID.replace("1", "g")),
        *(f"{{{UUID}}}", f"urn:uuid:{UUID}", "1_" + UUID[2:], "+" + UUID[1:], "\u0661" + UUID[1:]),
        *(f"{UUID}\n{UUID}", UUID.replace("-", "\u2010")),
    ],
    ids=ascii,
)
def test_what_is_no_uuid_names_no_organization(value: object) -> None:
    """Nothing but a UUID in ASCII is one."""
    assert "must be a UUID" == refuse("organization_feedback", organization_id=value)
    assert "must be a UUID" == refuse("organization_feedback", label_ids=[UUID, value])


def test_labels_are_kept_once_and_in_order() -> None:
    """Two ways of writing one UUID are one label."""
    given_labels = [OTHER, UUID, OTHER.upper(), UUID.replace("-", "")]

    assert (OTHER, UUID) == check(
        "organization_feedback", label_ids=given_labels
    ).feedback_label_ids


def test_twenty_labels_are_the_most() -> None:
    """Twenty labels pass; a twenty-first does not, whether it is new or not."""
    twenty = [f"{UUID[:-2]}{number:02d}" for number in range(20)]

    assert tuple(twenty) == check("organization_feedback", label_ids=twenty).feedback_label_ids
    for another in (OTHER, twenty[0]):
        assert "has more than 20 entries" == refuse(
            "organization_feedback", label_ids=[*twenty, another]
        )


@pytest.mark.parametrize("value", [UUID, f"{UUID},{OTHER}", 7, True, {}], ids=repr)
def test_labels_are_a_list(value: object) -> None:
    """Text with commas is a list of links, not of labels."""
    assert "must be a list" == refuse("organization_feedback", label_ids=value)


@pytest.mark.parametrize("labels", [None, [], ()])
def test_labels_need_not_be_given(labels: object) -> None:
    """No labels are none."""
    assert () == check("organization_feedback", label_ids=labels).feedback_label_ids


def test_feedback_takes_the_name_from_the_directory() -> None:
    """What a user says the organization is called counts for nothing."""
    submission = feedback({"organization_id": UUID, "stars": 3, "organization_name": "Other"})

    assert "Swim School" == submission.organization_name


def test_what_the_contract_does_not_name_is_not_taken_in() -> None:
    """Each sort of ticket holds its own fields and nothing of another's."""
    body = {
        "organization_name": "Swim School",
        "description": "d",
        "suggested_lat": 1,
        "stars": 3,
        "status": "approved",
    }
    submission = ticket.access_request(body)

    assert submission == ticket.Submission(
        ticket_type="access_request", organization_name="Swim School"
    )


def test_a_submission_does_not_show_what_was_said() -> None:
    """The `repr` of a submission holds none of its texts."""
    shown = repr(check("access_request", request_message="my secret"))

    assert "secret" not in shown
    assert "Swim School" not in shown


# --- submitting ----------------------------------------------------------------------------------

FULL: Final = ticket.Submission(
    ticket_type="organization_suggestion",
    organization_name="Swim School",
    message="notes",
    description="long",
    suggested_district="Sha Tin",
    suggested_address="1 Road\nSha Tin",
    suggested_lat=0.0,
    suggested_lng=114.1,
    media_urls=("https://example.com/a", "https://example.com/b"),
    organization_id=UUID,
    feedback_stars=0,
    feedback_label_ids=(UUID,),
    feedback_text="good",
)


def _submit(_: ticket.Ticket, **arguments: Any) -> tuple[ticket.Event, ...]:
    return ticket.submit(**arguments)


def submit(submission: ticket.Submission, *, pending: str | None = None, **more: Any) -> Then:
    """Submit."""
    return given(ticket).when(
        _submit,
        submission=submission,
        id=UUID,
        reference="S00001",
        submitter="ann",
        email="ann@example.com",
        fingerprint="f",
        assurance="code",
        locale="en",
        pending=pending,
        at=START,
        **more,
    )


def test_a_submission_is_kept_whole() -> None:
    """Everything that the user typed is in the event and personal; 0 is a number, of stars too."""
    submit(FULL).then(
        ticket.Submitted(
            id=UUID,
            reference="S00001",
            ticket_type="organization_suggestion",
            submitter="ann",
            submitter_email=of("ann", "ann@example.com"),
            fingerprint="f",
            assurance="code",
            locale="en",
            organization_name=of("ann", "Swim School"),
            message=of("ann", "notes"),
            description=of("ann", "long"),
            suggested_district=of("ann", "Sha Tin"),
            suggested_address=of("ann", "1 Road\nSha Tin"),
            suggested_lat=of("ann", "0.0"),
            suggested_lng=of("ann", "114.1"),
            media_urls=of("ann", "https://example.com/a\nhttps://example.com/b"),
            organization_id=UUID,
            feedback_stars=0,
            feedback_label_ids=(UUID,),
            feedback_text=of("ann", "good"),
            at=START,
        )
    )


def test_everything_that_was_typed_belongs_to_the_submitter() -> None:
    """Erasing the submitter takes every text of the ticket with it."""
    (event,) = submit(FULL).events or ()
    owners = {
        field.name: getattr(event, field.name).owner
        for field in attrs.fields(ticket.Submitted)
        if hasattr(getattr(event, field.name), "owner")
    }

    assert 10 == len(owners)
    assert {"ann"} == set(owners.values())


def test_what_was_not_said_is_not_in_the_event() -> None:
    """A ticket with a name alone has no other text."""
    least = ticket.Submission(ticket_type="access_request", organization_name="Swim School")

    submit(least).then(
        ticket.Submitted(
            id=UUID,
            reference="S00001",
            ticket_type="access_request",
            submitter="ann",
            submitter_email=of("ann", "ann@example.com"),
            fingerprint="f",
            assurance="code",
            locale="en",
            organization_name=of("ann", "Swim School"),
            at=START,
        )
    )


def test_one_ticket_of_a_sort_may_be_pending() -> None:
    """A second pending ticket is refused, and the refusal names the first."""
    error = submit(FULL, pending="S00007").then_raises(ticket.PendingTicket)

    assert isinstance(error, ticket.PendingTicket)
    assert "S00007" == error.reference
    assert str(error).startswith("S00007 of the same type is still pending")


# --- deciding ------------------------------------------------------------------------------------


def submitted(ticket_type: ticket.Type) -> ticket.Submitted:
    """Make a ticket with a name alone."""
    return ticket.Submitted(
        id=UUID,
        reference=ticket.reference(ticket_type, 1),
        ticket_type=ticket_type,
        submitter="ann",
        submitter_email=of("ann", "ann@example.com"),
        fingerprint="f",
        assurance="code",
        organization_name=of("ann", "Swim School"),
        at=START,
    )


APPROVED: Final = ticket.Approved(
    by=BOB, reviewer="bob", note=of("ann", "Welcome"), organization_id=UUID, at=START
)
DECLINED: Final = ticket.Declined(by=BOB, reviewer="bob", note=of("ann", "Sorry"), at=START)


def approve(*history: Any, **changes: Any) -> Then:
    """Approve after a history, with nothing but what is changed."""
    arguments: dict[str, Any] = {
        "by": BOB,
        "reviewer": "bob",
        "note": None,
        "organization_id": None,
        "new_organization_id": None,
        "stars": 1,
        "at": START,
    }
    return given(ticket, *history).when(ticket.approve, **(arguments | changes))


def decline(*history: Any, note: Any = None) -> Then:
    """Decline after a history."""
    return given(ticket, *history).when(ticket.decline, by=BOB, reviewer="bob", note=note, at=START)


def approved(**changes: Any) -> ticket.Approved:
    """Make an approval without note and organization."""
    return attrs.evolve(APPROVED, note=None, organization_id=None, **changes)


def test_an_access_request_is_approved_for_an_organization() -> None:
    """The organization is one that exists."""
    approve(submitted("access_request"), organization_id=UUID, note=" Welcome ").then(APPROVED)


def test_an_access_request_is_approved_with_a_new_organization() -> None:
    """The organization is made, under an id that is known at once."""
    approve(submitted("access_request"), new_organization_id=OTHER).then(
        attrs.evolve(approved(create_organization=True), organization_id=OTHER)
    )


@pytest.mark.parametrize("ids", [(None, None), (UUID, OTHER)], ids=["neither", "both"])
def test_an_access_request_needs_exactly_one_organization(
    ids: tuple[str | None, str | None],
) -> None:
    """Neither none nor two: the refusal names the field."""
    error = approve(
        submitted("access_request"), organization_id=ids[0], new_organization_id=ids[1]
    ).then_raises(Invalid)

    assert isinstance(error, Invalid)
    assert "organization_id" == error.field


def test_a_suggestion_is_approved_with_or_without_an_organization() -> None:
    """A suggestion may be approved as it is, or by making what it suggests."""
    approve(submitted("organization_suggestion")).then(approved())
    approve(submitted("organization_suggestion"), new_organization_id=OTHER).then(
        attrs.evolve(approved(create_organization=True), organization_id=OTHER)
    )


def test_feedback_is_approved_with_its_stars() -> None:
    """Only feedback earns stars, as many as are configured."""
    approve(submitted("organization_feedback"), stars=2).then(approved(stars=2))


@pytest.mark.parametrize(
    ("ticket_type", "field", "ids"),
    [
        ("organization_suggestion", "organization_id", {"organization_id": UUID}),
        ("organization_feedback", "organization_id", {"organization_id": UUID}),
        ("organization_feedback", "create_organization", {"new_organization_id": UUID}),
    ],
)
def test_an_organization_that_does_not_fit_is_refused(
    ticket_type: ticket.Type, field: str, ids: dict[str, str]
) -> None:
    """What an approval cannot use is not silently left out."""
    error = approve(submitted(ticket_type), **ids).then_raises(Invalid)

    assert isinstance(error, Invalid)
    assert field == error.field


def test_a_ticket_of_any_sort_is_declined() -> None:
    """An administrator may say no to every sort of ticket."""
    for ticket_type in ticket.TYPES:
        decline(submitted(ticket_type), note="Sorry").then(DECLINED)


@pytest.mark.parametrize("decision", [APPROVED, DECLINED], ids=["approved", "declined"])
def test_a_decided_ticket_takes_no_second_decision(decision: ticket.Event) -> None:
    """A decision stands: whoever comes second, with the same decision too, is told so."""
    history = [submitted("access_request"), decision]
    word = given(ticket, *history).state.status
    for error in (
        approve(*history, organization_id=UUID).then_raises(ticket.AlreadyDecided),
        # That it was decided comes before what is wrong with the second decision.
        approve(*history).then_raises(ticket.AlreadyDecided),
        decline(*history, note="Sorry").then_raises(ticket.AlreadyDecided),
        decline(*history, note="x" * 5001).then_raises(ticket.AlreadyDecided),
    ):
        assert isinstance(error, ticket.AlreadyDecided)
        assert ("R00001", word) == (error.reference, error.status)
        assert f"R00001 was {word} before; a ticket is decided once" == str(error)


@pytest.mark.parametrize("blank", [None, "", " \n ", "\u200b"], ids=ascii)
def test_a_blank_note_is_none(blank: str | None) -> None:
    """A note that says nothing is not mailed."""
    decline(submitted("access_request"), note=blank).then(attrs.evolve(DECLINED, note=None))


def test_a_note_may_be_5000_characters_long() -> None:
    """The note is counted after trimming, in both decisions."""
    request = submitted("access_request")
    longest = "牛" * 5000

    decline(request, note=f" {longest} ").then(attrs.evolve(DECLINED, note=of("ann", longest)))
    approve(request, organization_id=UUID, note=longest).then(
        attrs.evolve(APPROVED, note=of("ann", longest))
    )


@pytest.mark.parametrize("note", ["x" * 5001, "a\0b", "a\ud800b", 7, True, ["x"]], ids=ascii)
def test_a_note_is_text_within_its_limit(note: object) -> None:
    """The refusal names the note as the contract does, in both decisions."""
    request = submitted("access_request")
    for then in (decline(request, note=note), approve(request, organization_id=UUID, note=note)):
        error = then.then_raises(Invalid)

        assert isinstance(error, Invalid)
        assert "admin_notes" == error.field


def test_a_note_belongs_to_the_submitter() -> None:
    """What an administrator writes to a submitter goes when the submitter is erased."""
    for then in (
        decline(submitted("access_request"), note="Sorry"),
        approve(submitted("access_request"), organization_id=UUID, note="Welcome"),
    ):
        (event,) = then.events or ()

        assert "ann" == event.note.owner


def test_only_a_ticket_that_exists_is_decided() -> None:
    """A decision about nothing is a fault of the program, not a refusal."""
    for error in (approve().then_raises(ValueError), decline().then_raises(ValueError)):
        assert "a decision needs a ticket that exists" == str(error)


# --- state ---------------------------------------------------------------------------------------


def test_a_ticket_is_pending_until_it_is_decided() -> None:
    """The state names what was said and, later, what was decided, by whom and under which rule."""
    request = submitted("access_request")
    pending = given(ticket, request).state
    after = given(ticket, request, APPROVED).state

    assert (True, "pending", None) == (pending.exists, pending.status, pending.decision)
    assert (request, "approved") == (after.submitted, after.status)
    assert (
        ticket.Decision(
            by=BOB,
            reviewer="bob",
            note=of("ann", "Welcome"),
            organization_id=UUID,
            rule=ticket.DECIDE_RULE,
            at=START,
        )
        == after.decision
    )


def test_an_approval_is_in_the_state_whole() -> None:
    """That an organization was made, and the stars that were earned, can be asked for."""
    event = attrs.evolve(APPROVED, create_organization=True, stars=2)
    decision = given(ticket, submitted("organization_feedback"), event).state.decision

    assert (UUID, True, 2) == (
        decision.organization_id,
        decision.create_organization,
        decision.stars,
    )


def test_a_declined_ticket_has_no_organization_and_no_stars() -> None:
    """Nothing in the platform changes when a ticket is declined."""
    state = given(ticket, submitted("organization_feedback"), DECLINED).state

    assert ("declined", of("ann", "Sorry")) == (state.status, state.decision.note)
    assert (None, False, 0) == (
        state.decision.organization_id,
        state.decision.create_organization,
        state.decision.stars,
    )


def test_a_ticket_that_was_not_submitted_does_not_exist() -> None:
    """An empty history is no ticket."""
    state = given(ticket).state

    assert (False, "none") == (state.exists, state.status)


# --- what the old API took ------------------------------------------------------------------------


def test_what_the_old_api_took_is_taken() -> None:
    """A pending ticket is no hindrance; the event names the rule, and a number that was taken."""
    then = submit(FULL, pending="S00009", taken=True, claimed_reference="S00007")

    assert then.events is not None
    (event,) = then.events
    assert (ticket.TAKEN_RULE, "S00007") == (event.rule, event.claimed_reference)


@pytest.mark.parametrize("number", ["R00001", "R12345", "R123456789"])
def test_a_number_that_a_ticket_comes_with_is_checked(number: str) -> None:
    """It is written as we write it."""
    assert number == ticket.claimed("ticket_id", f" {number} ", "access_request")


@pytest.mark.parametrize(
    "number", ["", None, 7, "R1", "R000001", "R00000", "S00001", "R1234567890", "R0000٣", "R"]
)
def test_what_is_no_number_of_that_type_is_refused(number: object) -> None:
    """Another type's, another spelling, and what is too long."""
    with pytest.raises(Invalid) as refused:
        ticket.claimed("ticket_id", number, "access_request")

    assert "ticket_id" == refused.value.field
