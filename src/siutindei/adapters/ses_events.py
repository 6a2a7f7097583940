"""What SES reports of mails: event publishing, and the older notifications of an identity.

Both are JSON that may have more in it tomorrow, and less today. Nothing personal leaves this
module: addresses and what receiving servers write stay behind, and what remains is checked to be
words, ids and status codes.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from siutindei.app.ports import Report
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from siutindei.app.ports import ReportKind

#: Kinds of reports by their names without blanks, in small letters, and where their details are.
_KINDS: Final[Mapping[str, tuple[ReportKind, str]]] = {
    "send": ("accepted", "send"),
    "delivery": ("delivered", "delivery"),
    "deliverydelay": ("delayed", "deliveryDelay"),
    "bounce": ("bounced", "bounce"),
    "complaint": ("complained", "complaint"),
    "reject": ("rejected", "reject"),
    "renderingfailure": ("rejected", "failure"),
}
#: Where the details of a report name its type, and its type more precisely.
_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "deliveryDelay": ("delayType", ""),
    "bounce": ("bounceType", "bounceSubType"),
    "complaint": ("complaintFeedbackType", "complaintSubType"),
    "reject": ("reason", ""),
}
_ID: Final = re.compile(r"[A-Za-z0-9._+=/:-]{1,150}")
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,63}")
_TAG: Final = re.compile(r"[0-9a-f]{32}")
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_BLANK: Final = re.compile(r"\s+")


class SesEvents:
    """A ReportReader for SES; it implements `siutindei.app.ports.ReportReader`."""

    def read(self, message: Mapping[str, object]) -> Report:
        said = message.get("eventType")
        if said is None:
            said = message.get("notificationType")
        if not isinstance(said, str):
            raise Invalid("report", "names no eventType and no notificationType")
        name = _word(said)
        kind, where = _KINDS.get(_BLANK.sub("", said).lower(), ("ignored", ""))
        if kind == "ignored":
            return Report(kind="ignored", name=name)
        mail, details = _object(message.get("mail")), _object(message.get(where))
        if not mail:
            raise Invalid("report", "has no mail that it is about")
        main, sub = _TYPES.get(where, ("", ""))
        message_id = _id(mail.get("messageId"))
        when = details.get("timestamp", mail.get("timestamp"))
        return Report(
            kind=kind,
            name=name,
            message_id=message_id,
            notification_id=_tag(mail.get("tags")),
            is_tagged=bool(_object(mail.get("tags"))),
            feedback_id=_id(details.get("feedbackId")) or _made_id(kind, message_id, when),
            at=_time(when),
            main_type=_word(details.get(main)),
            sub_type=_word(details.get(sub)),
            status=_status(details.get("bouncedRecipients")),
        )


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _id(value: object) -> str:
    """Give an id; of what does not look like one only a hash, as it may be anything."""
    if not isinstance(value, str) or not value:
        return ""
    if _ID.fullmatch(value):
        return value
    return f"sha256:{_hash(value)}"


def _made_id(kind: str, message_id: str, when: object) -> str:
    """Make an id for a report that has none: a mail is delivered once, and delayed at times."""
    said = when if isinstance(when, str) and kind != "delivered" else ""
    return f"{kind}:{message_id}:{_hash(said)}" if said else f"{kind}:{message_id}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


def _word(value: object) -> str:
    """Give a type; new ones are taken as they are, as long as they are words."""
    if not isinstance(value, str) or not value:
        return ""
    return value if _WORD.fullmatch(value) else "other"


def _tag(tags: object) -> str | None:
    found = _object(tags).get("notification_id")
    for value in found if isinstance(found, list) else [found]:
        if isinstance(value, str) and _TAG.fullmatch(value):
            return value
    return None


def _status(recipients: object) -> str | None:
    """Give the first status code of a bounce; our mails have one recipient."""
    for recipient in recipients if isinstance(recipients, list) else []:
        status = _object(recipient).get("status")
        if isinstance(status, str) and _STATUS.fullmatch(status):
            return status
    return None


def _time(value: object) -> datetime | None:
    """Read a time, ISO 8601 or nearly so; without an offset it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(_BLANK.sub(" ", value.strip()).replace(" +", "+"))
        return found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
