"""A mail as an Internet message (RFC 5322, MIME by RFC 2045 to 2047)."""

from __future__ import annotations

from email.headerregistry import Address, HeaderRegistry, MessageIDHeader
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Final

from siutindei.domain.mail import SENDER_NAME

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.domain.mail import Mail

NOTIFICATION_HEADER: Final = "X-Siutindei-Notification-Id"
KIND_HEADER: Final = "X-Siutindei-Kind"


def _registry() -> HeaderRegistry:
    """Know References as what it is: as free text, a long one would be cut into encoded words."""
    registry = HeaderRegistry()
    registry.map_to_type("references", MessageIDHeader)  # type: ignore[arg-type]  # a mixin, by design
    return registry


#: Lines end in CRLF, everything is 7-bit, and no line is longer than quoted-printable allows.
_POLICY: Final = SMTP.clone(cte_type="7bit", max_line_length=76, header_factory=_registry())


def message(mail: Mail, *, at: datetime) -> EmailMessage:
    """Make the message: a text part, and the HTML part as its alternative.

    Args:
        mail: the mail.
        at: when it is sent, with an offset: the Date header.
    """
    made = EmailMessage(policy=_POLICY)
    made["From"] = Address(SENDER_NAME, addr_spec=mail.sender)
    made["To"] = Address(addr_spec=mail.recipient)
    made["Subject"] = mail.subject
    made["Date"] = at
    for name, value in mail.headers:
        made[name] = value
    made[NOTIFICATION_HEADER] = mail.notification_id
    made[KIND_HEADER] = mail.kind
    # Always quoted-printable: people can read it in the file, and no line of it can be mistaken
    # for the boundary, since "=_" cannot occur in it (RFC 2045 section 6.7).
    made.set_content(mail.text, charset="utf-8", cte="quoted-printable")
    made.add_alternative(mail.html, subtype="html", charset="utf-8", cte="quoted-printable")
    made.set_boundary(f"=_{mail.notification_id}")
    return made


def encode(mail: Mail, *, at: datetime) -> bytes:
    """Write the message: the same mail at the same time is the same bytes."""
    return message(mail, at=at).as_bytes()
