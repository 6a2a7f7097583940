"""Requests as API Gateway hands them over, and an application that answers them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import attrs

from siutindei.entrypoints import api, runtime
from tests.app.world import ANN, World

LAMBDA: Final = SimpleNamespace(aws_request_id="8f5b7c1e")
JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
ADMIN: Final = "admin-7"
_DEFAULT: Final[Any] = object()

#: Every status that docs/api.md names.
STATUSES: Final = {200, 202, 204, 400, 401, 403, 404, 405, 409, 500, 503}


def flat(user: str = "ann", email: Any = ANN, groups: Any = "") -> dict[str, Any]:
    """Write an identity as the platform's own authorizer does."""
    return {"principalId": user, "userSub": user, "email": email, "groups": groups}


def nested(user: str = "ann", email: Any = ANN, groups: Any = None, **claims: Any) -> Any:
    """Write an identity as a Cognito authorizer does."""
    known = {"sub": user, "email": email} | ({"cognito:groups": groups} if groups else {})
    return {"claims": known | claims}


def event(
    method: str = "GET",
    path: str = "/v1/user/access-request",
    *,
    authorizer: Any = _DEFAULT,
    headers: Mapping[str, Any] | None = None,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    is_base64: bool = False,
    request_id: Any = "request-1",
) -> dict[str, Any]:
    """Make an event; a body that is no text is written as JSON."""
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": JSON | dict(headers or {}),
        "multiValueHeaders": None,
        "queryStringParameters": query,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "requestId": request_id,
            "stage": "prod",
            "authorizer": flat() if authorizer is _DEFAULT else authorizer,
        },
        "body": base64.b64encode((body or "").encode()).decode() if is_base64 else body,
        "isBase64Encoded": is_base64,
    }


@attrs.frozen
class Got:
    """An answer, taken apart."""

    status: int
    headers: Mapping[str, str]
    document: Any

    @property
    def field(self) -> str | None:
        """The field that a 400 names."""
        detail = (self.document or {}).get("detail")
        return None if detail is None else detail.removeprefix("Field: ")


def check(answer: Any) -> Got:
    """Take an answer apart, and expect of it what is true of every answer."""
    assert {"statusCode", "headers", "body", "isBase64Encoded"} == set(answer)
    assert answer["isBase64Encoded"] is False
    status, headers, body = answer["statusCode"], answer["headers"], answer["body"]
    document: Any = json.loads(body) if body else None

    assert status in STATUSES
    assert {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
        "Vary": "Origin",
    }.items() <= headers.items()
    assert all(isinstance(value, str) and "\n" not in value for value in headers.values())
    if status >= 400:  # errors
        assert {"error", "detail"} >= set(document) or status == 409  # shows it
        assert document["error"]
        assert ("detail" in document) == (status == 400)  # names the field
        assert "Traceback" not in body
        assert "siutindei" not in body
    return Got(status, headers, document)


@attrs.frozen
class Gateway:
    """The HTTP API over an application in memory."""

    world: World

    def ask(self, raw: object) -> Got:
        """Hand over an event; what is refused leaves nothing behind."""
        before = self.world.store.last_position()
        with runtime.use(self.world.services):
            got = check(api.handler(raw, LAMBDA))
        if got.status >= 400:  # errors
            assert before == self.world.store.last_position()
        return got

    def get(self, path: str, **options: Any) -> Got:
        """Ask for something."""
        return self.ask(event("GET", path, **options))

    def post(self, path: str, body: Any, **options: Any) -> Got:
        """Submit something; every request has an id of its own."""
        options.setdefault("request_id", self.world.services.ids.uuid())
        return self.ask(event("POST", path, body=body, **options))

    def review(self, reference: str, body: Any, **options: Any) -> Got:
        """Decide a ticket as an administrator."""
        options.setdefault("authorizer", flat(ADMIN, "eve@example.com", "admin"))
        options.setdefault("request_id", self.world.services.ids.uuid())
        return self.ask(event("PUT", f"/v1/admin/tickets/{reference}", body=body, **options))

    def admin(self, path: str, **query: Any) -> Got:
        """Ask for something as an administrator."""
        identity = flat(ADMIN, "eve@example.com", "admin")
        return self.get(f"/v1/admin/{path}", authorizer=identity, query=query or None)
