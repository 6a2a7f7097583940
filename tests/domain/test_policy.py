"""Which event asks for which mail or grant: a table, read row by row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import hypothesis
import pytest

from siutindei.domain import catalogue, challenge, grant, notification, policy, ticket
from siutindei.domain.personal import of
from tests import strategies
from tests.support import START

CAUSE: Final = "ticket-R00001/2"
ISSUED: Final = challenge.Issued(
    challenge="c1",
    client="console",
    fingerprint="f",
    user="ann",
    key_id="key",
    attempts=3,
    expires_at=START + timedelta(seconds=300),
    at=START,
)
DECLINED: Final = ticket.Declined(by=of("bob", "bob"), reviewer="bob", at=START)


def submitted(ticket_type: ticket.Type, organization_id: str | None = None) -> ticket.Submitted:
    """Make a ticket."""
    return ticket.Submitted(
        id="u",
        reference=ticket.reference(ticket_type, 1),
        ticket_type=ticket_type,
        submitter="ann",
        submitter_email=of("ann", "ann@example.com"),
        fingerprint="f",
        assurance="code",
        organization_name=of("ann", "Swim School"),
        organization_id=organization_id,
        at=START,
    )


def approved(organization_id: str | None = None, *, create: bool = False) -> ticket.Approved:
    """Make an approval."""
    return ticket.Approved(
        by=of("bob", "bob"),
        reviewer="bob",
        organization_id=organization_id,
        create_organization=create,
        at=START + timedelta(hours=1),
    )


# --- mails ---------------------------------------------------------------------------------------


def test_four_events_ask_for_a_mail() -> None:
    """A sign-in mails its code, a ticket its notice, either decision its outcome."""
    assert {
        challenge.Issued: "sign_in_code",
        ticket.Submitted: "ticket_received",
        ticket.Approved: "ticket_decided",
        ticket.Declined: "ticket_decided",
    } == policy.MAILS
    assert set(notification.KINDS) == set(policy.MAILS.values())


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (ISSUED, "sign_in_code"),
        (submitted("organization_feedback"), "ticket_received"),
        (approved(), "ticket_decided"),
        (DECLINED, "ticket_decided"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_event_names_its_mail(event: object, kind: notification.Kind) -> None:
    """Each of the four asks for exactly its mail."""
    assert kind == policy.mail_for(event)


@hypothesis.given(event=strategies.EVENTS[challenge.Issued])
def test_an_unknown_address_gets_no_mail(event: challenge.Issued) -> None:
    """A code is mailed exactly when somebody signed up with the address."""
    assert (None if event.user is None else "sign_in_code") == policy.mail_for(event)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in catalogue.NAMES if kind not in policy.MAILS],
    ids=[name for kind, name in catalogue.NAMES.items() if kind not in policy.MAILS],
)
@hypothesis.settings(max_examples=5)
@hypothesis.given(data=hypothesis.strategies.data())
def test_no_other_event_asks_for_a_mail(kind: type, data: Any) -> None:
    """What the table does not name cannot be mailed: not a mail's own events, not a sign-up."""
    assert policy.mail_for(data.draw(strategies.EVENTS[kind])) is None


# --- grants --------------------------------------------------------------------------------------


def grants(event: object, about: ticket.Submitted) -> dict[str, tuple[Any, ...]]:
    """Give the grants that an event asks for, by id."""
    found = policy.grants_for(about, event, cause=CAUSE)

    assert {CAUSE} == {requested.cause for requested in found} | {CAUSE}
    return {
        requested.id: (requested.kind, requested.user, requested.organization_id, requested.create)
        for requested in found
    }


def test_an_approved_access_request_makes_a_manager() -> None:
    """The submitter becomes the organization's manager and joins the managers' group."""
    assert {
        "R00001-organization": ("organization", "ann", "o1", False),
        "R00001-manager": ("manager", "ann", "o1", False),
    } == grants(approved("o1"), submitted("access_request"))


def test_an_approved_access_request_may_make_the_organization() -> None:
    """Only the grant that is about the organization makes it."""
    assert {
        "R00001-organization": ("organization", "ann", "o2", True),
        "R00001-manager": ("manager", "ann", "o2", False),
    } == grants(approved("o2", create=True), submitted("access_request"))


def test_an_approved_suggestion_makes_what_it_suggests_when_the_approval_says_so() -> None:
    """The manager of a suggested organization is the administrator who approved it."""
    about = submitted("organization_suggestion")

    assert {"S00001-organization": ("organization", "bob", "o2", True)} == grants(
        approved("o2", create=True), about
    )
    assert {} == grants(approved(), about)


def test_approved_feedback_is_published_and_earns_stars() -> None:
    """Both are about the organization that the feedback is about, and for its submitter."""
    assert {
        "F00001-feedback": ("feedback", "ann", "o1", False),
        "F00001-stars": ("stars", "ann", "o1", False),
    } == grants(approved(), submitted("organization_feedback", "o1"))


def test_a_grant_tells_its_ticket_and_time() -> None:
    """A grant names its ticket, and was asked for when the ticket was approved."""
    (organization, _) = policy.grants_for(submitted("access_request"), approved("o1"), cause=CAUSE)

    assert ("R00001", approved().at) == (organization.ticket, organization.at)


@pytest.mark.parametrize("ticket_type", ticket.TYPES)
def test_nothing_but_an_approval_grants_anything(ticket_type: ticket.Type) -> None:
    """A declined ticket changes nothing in the platform, nor does one that is pending."""
    about = submitted(ticket_type, "o1")

    assert {} == grants(DECLINED, about)
    assert {} == grants(about, about)


def test_every_grant_has_its_place_in_the_table() -> None:
    """Each sort of ticket has a row, and no kind of grant is left over."""
    assert set(ticket.TYPES) == set(policy.GRANTS)
    assert set(grant.KINDS) == {kind for kinds in policy.GRANTS.values() for kind in kinds}
