"""The OpenAPI document says what the API does: requests made from it are answered as it says."""

from __future__ import annotations

import json
from http import HTTPStatus
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings

from siutindei.app.audit_log import wire_entry
from siutindei.app.tickets import wire
from siutindei.entrypoints import openapi
from siutindei.entrypoints.api import ROUTES
from tests.app.world import BODIES, CLUB, make_world
from tests.entrypoints.gateway import STATUSES, Gateway, flat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from siutindei.entrypoints.api import Route

DOCUMENT: Final = openapi.document()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """The API over an application that has a ticket of each type, one of them decided."""
    world = make_world(tmp_path)
    for ticket_type in BODIES:
        world.submit(ticket_type)
    world.approve("R00001", organization_id=CLUB)
    yield Gateway(world)
    world.store.close()


def web(gateway: Gateway) -> Callable[..., Iterable[bytes]]:
    """Give a WSGI application that hands requests over as API Gateway does."""
    users = count()

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "surrogateescape")
        if path == "/openapi.json":
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(DOCUMENT).encode()]
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").title(): value
            for name, value in environ.items()
            if name.startswith(("HTTP_", "CONTENT_TYPE"))
        }
        query = [part.partition("=") for part in environ.get("QUERY_STRING", "").split("&") if part]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        got = gateway.ask(
            {
                "path": path,
                "httpMethod": environ["REQUEST_METHOD"],
                "headers": headers,
                "queryStringParameters": {
                    decoded(name): decoded(value) for name, _, value in query
                },
                "body": body.decode("utf-8", "replace") or None,
                "requestContext": {
                    "requestId": gateway.world.services.ids.uuid(),
                    "authorizer": flat(f"user-{next(users)}", groups="admin"),
                },
            }
        )
        start(f"{got.status} {HTTPStatus(got.status).phrase}", list(got.headers.items()))
        return [b"" if got.document is None else json.dumps(got.document).encode()]

    return application


def decoded(text: str) -> str:
    """Decode a part of a query as API Gateway does."""
    from urllib.parse import unquote_plus

    return unquote_plus(text)


#: A route that takes nothing cannot be asked wrongly.
ASKED: Final = [
    pytest.param(route, mode, id=f"{route.name}-{mode.lower()}")
    for route in ROUTES
    for mode in ("POSITIVE", "NEGATIVE")
    if mode == "POSITIVE"
    or "{id}" in route.path
    or openapi.DESCRIBED[route.name].query
    or openapi.DESCRIBED[route.name].body
]


@pytest.mark.parametrize(("route", "mode"), ASKED)
def test_requests_are_answered_as_documented(gateway: Gateway, route: Route, mode: str) -> None:
    """Whether they fit the document or not, statuses and bodies are those that it names."""
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    schema = schemathesis.openapi.from_wsgi("/openapi.json", web(gateway))
    operation = schema[f"/v1{route.path}"][route.method]
    modes = schemathesis.GenerationMode

    statuses = set()

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=modes[mode]))
    def ask(case: Any) -> None:
        answer = case.call_and_validate(
            checks=[
                not_a_server_error,
                checks.status_code_conformance,
                checks.content_type_conformance,
                checks.response_schema_conformance,
            ]
        )

        statuses.add(answer.status_code)

    ask()

    assert mode == "NEGATIVE" or statuses & {200, 202, 404}
    assert mode == "POSITIVE" or statuses & {400, 404, 405}


def test_every_route_is_documented() -> None:
    """Each route has an operation, each operation a route; every status is one that we answer."""
    operations = {
        (method.upper(), path): operation
        for path, found in DOCUMENT["paths"].items()
        for method, operation in found.items()
    }

    assert {(route.method, f"/v1{route.path}") for route in ROUTES} == set(operations)
    assert {route.name for route in ROUTES} == set(openapi.DESCRIBED)
    assert len(ROUTES) == len({route.name for route in ROUTES})
    for operation in operations.values():
        statuses = {int(status) for status in operation["responses"]}

        assert {401, 500, 503} < statuses < STATUSES
        assert {200, 202} & statuses


def test_a_ticket_has_the_keys_that_the_document_says(gateway: Gateway) -> None:
    """What is rendered and what is documented are the same keys, in the same order."""
    schemas = DOCUMENT["components"]["schemas"]
    entry = wire_entry(gateway.world.services.audit_log.show("R00001-2"))

    assert list(wire(gateway.world.services.tickets.show("R00001"))) == list(
        schemas["Ticket"]["properties"]
    )
    assert list(entry) == list(schemas["AuditLog"]["properties"])
    for schema in ("Ticket", "AuditLog"):
        assert list(schemas[schema]["properties"]) == schemas[schema]["required"]
