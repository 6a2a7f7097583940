"""An effect is decided together with its cause, and requested in the cause's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siutindei.domain import grant, notification, policy
from siutindei.domain.mail import TEMPLATES

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Recorded, Transaction
    from siutindei.domain import ticket
    from siutindei.domain.personal import Personal


def request_mail(
    tx: Transaction,
    cause: Recorded,
    *,
    at: datetime,
    about: str,
    ticket: str | None = None,
    challenge: str | None = None,
    user: str | None = None,
    recipient: Personal | None = None,
    fingerprint: str | None = None,
    locale: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[Recorded, ...]:
    """Ask for the mail that an event asks for, if it does; give what was appended.

    Args:
        tx: the transaction that appended the event.
        cause: the event.
        at: when.
        about: the ticket's UUID or the challenge's id, which no other mail is ever about.
        ticket: the number of the ticket that the mail is about.
        challenge: the challenge whose code the mail carries.
        user: who is mailed; None for the support mailbox.
        recipient: their address, clear or erased; None for the support mailbox.
        fingerprint: the keyed hash of that address.
        locale: the language that they read.
        expires_at: when the mail is of no use any more.
    """
    kind = policy.mail_for(cause.event)
    if kind is None:
        return ()
    id = notification.notification_id(cause.id, kind, about=about)
    template = TEMPLATES[kind]
    return tx.append(
        notification.stream(id),
        0,
        notification.request(
            notification.INITIAL,
            notification.Requested(
                id=id,
                kind=kind,
                cause=cause.id,
                ticket=ticket,
                challenge=challenge,
                user=user,
                recipient=recipient,
                fingerprint=fingerprint,
                locale=locale,
                template=template.name,
                template_version=template.version,
                template_hash=template.hash,
                expires_at=expires_at,
                at=at,
            ),
        ),
        cause=cause,
    )


def request_grants(
    tx: Transaction, submitted: ticket.Submitted, cause: Recorded
) -> tuple[Recorded, ...]:
    """Ask for the grants that an event about a ticket asks for; give what was appended."""
    return tuple(
        entry
        for requested in policy.grants_for(submitted, cause.event, cause=cause.id)
        for entry in tx.append(
            grant.stream(requested.id), 0, grant.request(grant.INITIAL, requested), cause=cause
        )
    )
