"""Which event asks for which mail or grant: one pure table.

It is applied inside the command, so that an effect is decided together with its cause: what this
module does not name cannot be mailed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from siutindei.domain import challenge, grant, ticket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.domain import notification

MAILS: Final[Mapping[type, notification.Kind]] = {
    challenge.Issued: "sign_in_code",
    ticket.Submitted: "ticket_received",
    ticket.Approved: "ticket_decided",
    ticket.Declined: "ticket_decided",
}

GRANTS: Final[Mapping[ticket.Type, tuple[grant.Kind, ...]]] = {
    "access_request": ("organization", "manager"),
    "organization_suggestion": ("organization",),
    "organization_feedback": ("feedback", "stars"),
}


def mail_for(event: object) -> notification.Kind | None:
    """Name the mail that an event asks for; a sign-in of an unknown address asks for none."""
    if isinstance(event, challenge.Issued) and event.user is None:
        return None
    return MAILS.get(type(event))


def grants_for(
    submitted: ticket.Submitted, event: object, *, cause: str
) -> tuple[grant.Requested, ...]:
    """Make the grants that an event about a ticket asks for: an approval's, and no other's.

    A suggestion makes an organization only when the approval says so, and its manager is the
    reviewing administrator; otherwise whoever submitted is the one it is about.
    """
    if not isinstance(event, ticket.Approved):
        return ()
    kinds = GRANTS[submitted.ticket_type]
    if submitted.ticket_type == "organization_suggestion" and not event.create_organization:
        return ()
    manager = (
        event.reviewer
        if submitted.ticket_type == "organization_suggestion"
        else submitted.submitter
    )
    return tuple(
        grant.Requested(
            id=grant.grant_id(submitted.reference, kind),
            kind=kind,
            cause=cause,
            ticket=submitted.reference,
            user=manager,
            organization_id=event.organization_id or submitted.organization_id,
            create=kind == "organization" and event.create_organization,
            at=event.at,
        )
        for kind in kinds
    )
