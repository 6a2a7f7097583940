"""A ticket: submitted by a user, decided once by an administrator.

Stream `ticket-<reference>`: `R00001` an access request, `S00001` an organization suggestion,
`F00001` organization feedback.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, assert_never, get_args

import attrs

from siutindei.domain import fields
from siutindei.domain.errors import Invalid, Refused
from siutindei.domain.personal import Personal, maybe, of

if TYPE_CHECKING:
    from collections.abc import Mapping

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "ticket"
Type = Literal["access_request", "organization_suggestion", "organization_feedback"]
Status = Literal["none", "pending", "approved", "declined"]
#: How we know that the address is the submitter's: they answered a code, the identity provider's
#: token says so, or (a ticket entered by hand) nobody vouched for it.
Assurance = Literal["code", "token", "none"]

TYPES: Final[tuple[Type, ...]] = get_args(Type)
PREFIXES: Final[Mapping[Type, str]] = {
    "access_request": "R",
    "organization_suggestion": "S",
    "organization_feedback": "F",
}
SUBMIT_RULE: Final = "ticket.one_pending_per_user_and_type.v1"
#: What the platform's old API took is taken, however many tickets of the user are pending: the
#: user was told so already.
TAKEN_RULE: Final = "ticket.taken_by_the_old_api.v1"
DECIDE_RULE: Final = "ticket.decided_once.v1"
TEXT_MOST: Final = 5000


def stream(reference: str) -> str:
    """Name the stream of one ticket."""
    return f"{CATEGORY}-{reference}"


def reference(ticket_type: Type, number: int) -> str:
    """Write a ticket's number: at least five digits, more when they are needed."""
    return f"{PREFIXES[ticket_type]}{number:05d}"


def claimed(name: str, value: object, ticket_type: Type) -> str:
    """Check a number that a ticket of a type comes with.

    Raises:
        Invalid: names the field.
    """
    text = fields.required_line(name, value, most=10)
    digits = text[1:]
    if (
        not (digits.isascii() and digits.isdigit())
        or int(digits) == 0
        or (reference(ticket_type, int(digits)) != text)
    ):
        raise Invalid(name, f"must be a number such as {reference(ticket_type, 1)}")
    return text


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Submitted:
    """A user asked for something; everything that they typed is theirs."""

    id: str
    reference: str
    ticket_type: Type
    submitter: str
    submitter_email: Personal
    fingerprint: str
    assurance: Assurance
    locale: str | None = None
    organization_name: Personal
    message: Personal | None = None
    description: Personal | None = None
    suggested_district: Personal | None = None
    suggested_address: Personal | None = None
    suggested_lat: Personal | None = None
    suggested_lng: Personal | None = None
    media_urls: Personal | None = None
    organization_id: str | None = None
    feedback_stars: int | None = None
    feedback_label_ids: tuple[str, ...] = ()
    feedback_text: Personal | None = None
    #: The number that an older sender gave it, when that number was taken by another submission.
    claimed_reference: str | None = None
    rule: str = SUBMIT_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class Approved:
    """An administrator said yes; the note is for the submitter and theirs."""

    by: Personal
    reviewer: str
    note: Personal | None = None
    organization_id: str | None = None
    create_organization: bool = False
    #: Stars that this approval adds to the submitter of a feedback.
    stars: int = 0
    rule: str = DECIDE_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class Declined:
    """An administrator said no; the note is for the submitter and theirs."""

    by: Personal
    reviewer: str
    note: Personal | None = None
    rule: str = DECIDE_RULE
    at: datetime


Event = Submitted | Approved | Declined

EVENTS: Final[dict[str, type]] = {
    "ticket.submitted.v1": Submitted,
    "ticket.approved.v1": Approved,
    "ticket.declined.v1": Declined,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Decision:
    """What an administrator decided, either way."""

    by: Personal
    reviewer: str
    note: Personal | None = None
    organization_id: str | None = None
    create_organization: bool = False
    stars: int = 0
    rule: str
    at: datetime


@attrs.frozen(kw_only=True)
class Ticket:
    """A ticket as it stands; `submitted` holds what the user said."""

    status: Status = "none"
    submitted: Submitted | None = None
    decision: Decision | None = None

    @property
    def exists(self) -> bool:
        """Whether it was ever submitted."""
        return self.submitted is not None


INITIAL: Final = Ticket()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Ticket, event: Event) -> Ticket:
    """Fold one fact."""
    match event:
        case Submitted():
            return attrs.evolve(state, status="pending", submitted=event)
        case Approved():
            decision = Decision(
                by=event.by,
                reviewer=event.reviewer,
                note=event.note,
                organization_id=event.organization_id,
                create_organization=event.create_organization,
                stars=event.stars,
                rule=event.rule,
                at=event.at,
            )
            return attrs.evolve(state, status="approved", decision=decision)
        case Declined():
            decision = Decision(
                by=event.by, reviewer=event.reviewer, note=event.note, rule=event.rule, at=event.at
            )
            return attrs.evolve(state, status="declined", decision=decision)
        case _:
            assert_never(event)


# --- decisions -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Submission:
    """What a user may say in a ticket, checked against every limit of the wire contract."""

    ticket_type: Type
    organization_name: str
    message: str | None = None
    description: str | None = None
    suggested_district: str | None = None
    suggested_address: str | None = None
    suggested_lat: float | None = None
    suggested_lng: float | None = None
    media_urls: tuple[str, ...] = ()
    organization_id: str | None = None
    feedback_stars: int | None = None
    feedback_label_ids: tuple[str, ...] = ()
    feedback_text: str | None = None


def access_request(body: Mapping[str, object]) -> Submission:
    """Check an access request as the contract's request body has it.

    Raises:
        Invalid: names the first field that is wrong.
    """
    return Submission(
        ticket_type="access_request",
        organization_name=_organization_name(body),
        message=fields.text("request_message", body.get("request_message"), most=TEXT_MOST),
    )


def suggestion(body: Mapping[str, object]) -> Submission:
    """Check an organization suggestion as the contract's request body has it.

    Raises:
        Invalid: names the first field that is wrong.
    """
    urls = body.get("media_urls")
    if isinstance(urls, str):
        urls = [part for part in (piece.strip() for piece in urls.split(",")) if part]
    return Submission(
        ticket_type="organization_suggestion",
        organization_name=_organization_name(body),
        message=fields.text("additional_notes", body.get("additional_notes"), most=TEXT_MOST),
        description=fields.text("description", body.get("description"), most=TEXT_MOST),
        suggested_district=fields.line(
            "suggested_district", body.get("suggested_district"), most=100
        ),
        suggested_address=fields.text("suggested_address", body.get("suggested_address"), most=500),
        suggested_lat=fields.number("suggested_lat", body.get("suggested_lat"), least=-90, most=90),
        suggested_lng=fields.number(
            "suggested_lng", body.get("suggested_lng"), least=-180, most=180
        ),
        media_urls=tuple(fields.some("media_urls", urls, most=20, each=fields.url)),
    )


def feedback(body: Mapping[str, object], *, organization_name: str) -> Submission:
    """Check organization feedback as the contract's request body has it.

    The organization's name is not the user's to give: it comes from the directory.

    Raises:
        Invalid: names the first field that is wrong.
    """
    return Submission(
        ticket_type="organization_feedback",
        organization_name=organization_name,
        organization_id=fields.uuid("organization_id", body.get("organization_id")),
        feedback_stars=fields.whole("stars", body.get("stars"), least=0, most=5),
        feedback_label_ids=tuple(
            fields.some("label_ids", body.get("label_ids"), most=20, each=fields.uuid)
        ),
        feedback_text=fields.text("description", body.get("description"), most=TEXT_MOST),
    )


def _organization_name(body: Mapping[str, object]) -> str:
    return fields.required_line("organization_name", body.get("organization_name"), most=200)


def submit(
    submission: Submission,
    *,
    id: str,
    reference: str,
    submitter: str,
    email: str,
    fingerprint: str,
    assurance: Assurance,
    locale: str | None,
    pending: str | None,
    taken: bool = False,
    claimed_reference: str | None = None,
    at: datetime,
) -> tuple[Event, ...]:
    """Record a submission.

    Args:
        submission: what was said, already checked.
        id: the ticket's UUID.
        reference: its number.
        submitter: the user's id.
        email: their address.
        fingerprint: the keyed hash of that address.
        assurance: how we know that the address is theirs.
        locale: the language that they read.
        pending: the reference of their pending ticket of this type.
        taken: whether the platform's old API took it already: then a pending one is no hindrance.
        claimed_reference: the number that the old API gave it, when another submission has that.
        at: when.

    Raises:
        PendingTicket: they have a pending ticket of this type.
    """
    if pending is not None and not taken:
        raise PendingTicket(pending)

    def own(text: str | None) -> Personal | None:
        return maybe(submitter, text)

    return (
        Submitted(
            id=id,
            reference=reference,
            ticket_type=submission.ticket_type,
            submitter=submitter,
            submitter_email=of(submitter, email),
            fingerprint=fingerprint,
            assurance=assurance,
            locale=locale,
            organization_name=of(submitter, submission.organization_name),
            message=own(submission.message),
            description=own(submission.description),
            suggested_district=own(submission.suggested_district),
            suggested_address=own(submission.suggested_address),
            suggested_lat=own(_number(submission.suggested_lat)),
            suggested_lng=own(_number(submission.suggested_lng)),
            media_urls=own("\n".join(submission.media_urls) or None),
            organization_id=submission.organization_id,
            feedback_stars=submission.feedback_stars,
            feedback_label_ids=submission.feedback_label_ids,
            feedback_text=own(submission.feedback_text),
            claimed_reference=claimed_reference,
            rule=TAKEN_RULE if taken else SUBMIT_RULE,
            at=at,
        ),
    )


def _number(value: float | None) -> str | None:
    return None if value is None else repr(value)


def approve(
    ticket: Ticket,
    *,
    by: Personal,
    reviewer: str,
    note: str | None,
    organization_id: str | None,
    new_organization_id: str | None,
    stars: int,
    at: datetime,
) -> tuple[Event, ...]:
    """Say yes.

    Args:
        ticket: the ticket, which exists.
        by: the administrator, as they are shown.
        reviewer: the administrator's id.
        note: a text for the submitter.
        organization_id: an existing organization that an access request is for.
        new_organization_id: the id of the organization to make, when one is to be made.
        stars: what an approved feedback adds to its submitter.
        at: when.

    Raises:
        AlreadyDecided: somebody decided it before.
        Invalid: `organization_id` or `create_organization` does not fit this type of ticket.
    """
    submitted = _pending(ticket)
    if submitted.ticket_type == "access_request":
        if (organization_id is None) == (new_organization_id is None):
            raise Invalid(
                "organization_id",
                "approving an access request needs exactly one of "
                "organization_id and create_organization",
            )
    elif organization_id is not None:
        raise Invalid("organization_id", "goes with an access request alone")
    elif submitted.ticket_type == "organization_feedback" and new_organization_id is not None:
        raise Invalid("create_organization", "does not go with feedback")
    return (
        Approved(
            by=by,
            reviewer=reviewer,
            note=maybe(submitted.submitter, _note(note)),
            organization_id=organization_id or new_organization_id,
            create_organization=new_organization_id is not None,
            stars=stars if submitted.ticket_type == "organization_feedback" else 0,
            at=at,
        ),
    )


def decline(
    ticket: Ticket, *, by: Personal, reviewer: str, note: str | None, at: datetime
) -> tuple[Event, ...]:
    """Say no.

    Raises:
        AlreadyDecided: somebody decided it before.
    """
    submitted = _pending(ticket)
    return (
        Declined(by=by, reviewer=reviewer, note=maybe(submitted.submitter, _note(note)), at=at),
    )


def _pending(ticket: Ticket) -> Submitted:
    if ticket.submitted is None:
        msg = "a decision needs a ticket that exists"
        raise ValueError(msg)
    if ticket.status != "pending":
        raise AlreadyDecided(ticket.submitted.reference, ticket.status)
    return ticket.submitted


def _note(note: str | None) -> str | None:
    return fields.text("admin_notes", note, most=TEXT_MOST)


# --- errors --------------------------------------------------------------------------------------


class PendingTicket(Refused):
    """The user has a pending ticket of this type.

    Attributes:
        reference: that ticket's number.
    """

    def __init__(self, reference: str) -> None:
        super().__init__(f"{reference} of the same type is still pending; wait for its decision")
        self.reference = reference


class AddressNotProved(Refused):
    """Nobody vouches for the submitter's address, and they never answered a code at it."""

    def __init__(self) -> None:
        super().__init__("the address is not verified; sign in with a mailed code once")


class AlreadyDecided(Refused):
    """The ticket was decided before, and a ticket is decided once."""

    def __init__(self, reference: str, status: Status) -> None:
        super().__init__(f"{reference} was {status} before; a ticket is decided once")
        self.reference = reference
        self.status = status
