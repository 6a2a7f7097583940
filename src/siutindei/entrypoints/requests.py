"""What API Gateway hands over (a REST proxy event), as a request; nothing in it is trusted.

Every key may be missing, null or of another type: what is not what it should be counts as not
there, and what follows from that (no route, no identity, a wrong body) is said by the one answer
that fits.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import attrs
import msgspec

from siutindei.app.identity import user_id
from siutindei.domain.errors import Invalid

#: No body that fits the contract is longer, however its characters are escaped.
BODY_MOST: Final = 512 * 1024
_JSON: Final = "application/json"
_VERSION: Final = "v1"
_REQUEST_ID: Final = re.compile("[A-Za-z0-9_=.:/+-]{1,128}")


class NoIdentity(Exception):
    """The request does not say who asks."""


@attrs.frozen(kw_only=True)
class Caller:
    """Who asks, as the authorizer's token has it.

    Attributes:
        user: the identity provider's id.
        email: their address as it stands in the token, unchecked.
        vouched: whether the token says that the address is theirs.
        groups: the groups that they are in.
        locale: the language that they read, None when the token does not say.
    """

    user: str
    email: object
    vouched: bool
    groups: frozenset[str]
    locale: str | None


@attrs.frozen(kw_only=True, repr=False)
class Request:
    """A request.

    Attributes:
        id: API Gateway's id of it, None when there is none.
        method: in upper case.
        path: its segments, decoded, without a leading `v1`; None when it cannot be decoded.
        query: the last value of each parameter; one without a text counts as not given.
        headers: by their names in lower case.
        authorizer: what the authorizer gave.
        body: as it came.
        is_base64: whether it is encoded.
    """

    id: str | None
    method: str
    path: tuple[str, ...] | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    authorizer: Mapping[str, Any]
    body: object
    is_base64: bool

    def caller(self) -> Caller:
        """Say who asks.

        Raises:
            NoIdentity: nobody whom we could name.
        """
        claims = self.authorizer.get("claims")
        if isinstance(claims, Mapping):
            user, groups = claims.get("sub"), claims.get("cognito:groups")
        else:
            claims = self.authorizer
            user, groups = claims.get("userSub"), claims.get("groups")
        try:
            checked = user_id("sub", user)
        except Invalid:
            raise NoIdentity from None
        locale = claims.get("locale")
        return Caller(
            user=checked,
            email=claims.get("email"),
            vouched=_is_vouched(claims.get("email_verified")),
            groups=_groups(groups),
            locale=locale if isinstance(locale, str) else None,
        )

    def document(self) -> dict[str, object]:
        """Give the body, which is to be a JSON object.

        Raises:
            Invalid: `Content-Type` or `body`.
        """
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON:
            raise Invalid("Content-Type", f"must be {_JSON}")
        if not isinstance(self.body, str) or not self.body:
            raise Invalid("body", "is required")
        if len(self.body) > BODY_MOST:
            raise Invalid("body", f"is longer than {BODY_MOST} characters")
        try:
            text = base64.b64decode(self.body, validate=True) if self.is_base64 else self.body
            document = msgspec.json.decode(text)
        except binascii.Error:
            raise Invalid("body", "is not base64") from None
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise Invalid("body", "is not JSON") from None
        if not isinstance(document, dict):
            raise Invalid("body", "must be a JSON object")
        return document


def read(event: object) -> Request:
    """Read an event."""
    known = _mapping(event)
    context = _mapping(known.get("requestContext"))
    id = context.get("requestId")
    headers = _last(known, "headers", "multiValueHeaders")
    return Request(
        id=id if isinstance(id, str) and _REQUEST_ID.fullmatch(id) else None,
        method=_text(known.get("httpMethod")).upper(),
        path=_path(_text(known.get("path"))),
        query=_last(known, "queryStringParameters", "multiValueQueryStringParameters"),
        headers={name.lower(): value for name, value in headers.items()},
        authorizer=_mapping(context.get("authorizer")),
        body=known.get("body"),
        is_base64=known.get("isBase64Encoded") is True,
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _path(text: str) -> tuple[str, ...] | None:
    if not text.startswith("/"):
        return None
    try:
        # First the segments, then their characters: a slash that is encoded ends no segment.
        path = tuple(unquote(part, errors="strict") for part in text[1:].split("/"))
    except UnicodeDecodeError:
        return None
    return path[1:] if path[0] == _VERSION else path


def _last(event: Mapping[str, Any], one: str, many: str) -> dict[str, str]:
    """Give the last value of each name; API Gateway sends them singly, and all of them."""
    found = {
        name: values[-1]
        for name, values in _mapping(event.get(many)).items()
        if isinstance(values, list) and values
    } | {name: value for name, value in _mapping(event.get(one)).items() if value is not None}
    return {
        name: value for name, value in found.items() if isinstance(value, str) and value.strip()
    }


def _is_vouched(verified: object) -> bool:
    """Whether the token says so: the flag is left out by authorizers that pass no more than ids."""
    if verified is None or isinstance(verified, bool):
        return verified is not False
    return isinstance(verified, str) and verified.strip().lower() == "true"


def _groups(value: object) -> frozenset[str]:
    """Read a list of groups, or one text with commas; a group's name has no blanks in it."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list):
        return frozenset()
    return frozenset(part.strip() for part in parts if isinstance(part, str))
