"""Messages as SNS and SQS bring them: enveloped or raw, and whatever else somebody puts there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from typing import NoReturn


class Unreadable(ValueError):
    """A message that is none of ours; the text says in a word what is wrong with it."""


@attrs.frozen(kw_only=True)
class Message:
    """What a message says.

    Attributes:
        event_type: what it is about, "" when it does not say so.
        fields: the JSON object that it is.
    """

    event_type: str
    fields: Mapping[str, Any] = attrs.field(repr=False)

    def text(self, name: str) -> str:
        """Give a field that is text, "" when it is none."""
        value = self.fields.get(name)
        return value if isinstance(value, str) else ""


def read(body: object, *, topic: str = "", event_type: str = "") -> Message:
    """Read the body of a message.

    Args:
        body: the body, unchecked.
        topic: the ARN of the topic that an envelope must come from; any when it is empty.
        event_type: what the message's own attribute says, when the body does not.

    Raises:
        Unreadable: it is no JSON object, or an envelope of something else.
    """
    found, said = unwrap(body, topic=topic)
    fields = parse(found)
    named = fields.get("event_type", said or event_type)
    return Message(event_type=named if isinstance(named, str) else "", fields=fields)


def unwrap(body: object, *, topic: str = "") -> tuple[str, str]:
    """Take a message out of the envelope of SNS, if it is in one; give it and its event type.

    Raises:
        Unreadable: it is empty, or an envelope of something else.
    """
    if not isinstance(body, str) or not body.strip():
        raise Unreadable("empty")
    try:
        outer = parse(body)
    except Unreadable:
        return body, ""
    if "Type" not in outer or "TopicArn" not in outer:
        return body, ""
    message = outer.get("Message")
    is_ours = not topic or outer["TopicArn"] == topic
    if outer["Type"] != "Notification" or not is_ours or not isinstance(message, str):
        raise Unreadable("foreign_envelope")
    if not message.strip():
        raise Unreadable("empty")
    return message, attribute(outer.get("MessageAttributes"), "event_type", "Value")


def attribute(attributes: object, name: str, value: str) -> str:
    """Give an attribute of a message, "" when it has none; `value` is what holds it."""
    found = attributes.get(name) if isinstance(attributes, dict) else None
    text = found.get(value) if isinstance(found, dict) else None
    return text if isinstance(text, str) else ""


def parse(text: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        Unreadable: it is none.
    """
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Unreadable("not_json") from None
    if not isinstance(found, dict):
        raise Unreadable("not_an_object")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError
