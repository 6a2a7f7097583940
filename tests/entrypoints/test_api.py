"""The HTTP API keeps the platform's wire contract, whatever it is sent."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.sqlite import prepare
from siutindei.app.ports import Conflict, PortError, Unavailable, Unusable
from siutindei.entrypoints import api, runtime
from siutindei.entrypoints.requests import BODY_MOST
from tests.app.world import ANN, BOB, BODIES, CLUB, LABEL, FlakyStore, make_world
from tests.entrypoints.gateway import (
    ADMIN,
    LAMBDA,
    Gateway,
    check,
    event,
    flat,
    nested,
)
from tests.postgres import fresh_database
from tests.support import RING, VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.app.world import World

PATHS: Final = {
    "access_request": "/v1/user/access-request",
    "organization_suggestion": "/v1/user/organization-suggestion",
    "organization_feedback": "/v1/user/organization-feedback",
}
REQUEST: Final = PATHS["access_request"]
REQUESTED: Final = BODIES["access_request"]
KEYS: Final = {
    *("id", "ticket_id", "ticket_type", "organization_name", "message", "status"),
    *("submitter_email", "submitter_id", "created_at", "reviewed_at", "reviewed_by"),
    *("admin_notes", "description", "suggested_district", "suggested_address"),
    *("suggested_lat", "suggested_lng", "media_urls", "organization_id", "feedback_stars"),
    *("feedback_label_ids", "feedback_text", "created_organization_id"),
}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """The API over an application in memory, whose catalogue has one club and one label."""
    world = make_world(tmp_path)
    yield Gateway(world)
    world.store.close()


def mailed(world: World) -> list[str]:
    """Give the addresses of submitters that decisions were mailed to."""
    return [mail.recipient for mail in world.mail.sent if mail.kind == "ticket_decided"]


# --- what users call ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticket_type", "reference", "pending", "conflict"),
    [
        ("access_request", "R00001", "has_pending_request", "request"),
        ("organization_suggestion", "S00001", "has_pending_suggestion", "suggestion"),
        ("organization_feedback", "F00001", "has_pending_feedback", "feedback"),
    ],
)
def test_a_ticket_is_taken_shown_and_not_taken_twice(
    gateway: Gateway, ticket_type: Any, reference: str, pending: str, conflict: str
) -> None:
    """After a 202 the very next GET shows the ticket, and a second one is refused with it."""
    path, body = PATHS[ticket_type], BODIES[ticket_type]
    before = gateway.get(path)
    taken = gateway.post(path, body)
    after = gateway.get(path)
    again = gateway.post(path, body)
    others = gateway.get(path, authorizer=flat("bob", BOB))

    assert (200, False) == (before.status, before.document[pending])
    assert (202, {"message", "ticket_id"}) == (taken.status, set(taken.document))
    assert reference == taken.document["ticket_id"]
    assert (200, True) == (after.status, after.document[pending])
    assert (409, {"error", conflict}) == (again.status, set(again.document))
    assert (reference, KEYS) == (
        again.document[conflict]["ticket_id"],
        set(again.document[conflict]),
    )
    assert not others.document[pending]


def test_an_access_request_is_shown_as_long_as_it_is_pending(gateway: Gateway) -> None:
    """`pending_request` is the ticket or null; what they manage is counted."""
    empty = gateway.get(REQUEST).document
    gateway.post(REQUEST, {"organization_name": "  Star Dance ", "request_message": "  "})
    pending = gateway.get(REQUEST).document
    gateway.review("R00001", {"action": "approve", "organization_id": CLUB})
    gateway.world.drain()
    decided = gateway.get(REQUEST).document

    assert {
        "has_pending_request": False,
        "pending_request": None,
        "organizations_count": 0,
    } == empty
    assert KEYS == set(pending["pending_request"])
    assert ("Star Dance", None, "ann", ANN) == tuple(
        pending["pending_request"][key]
        for key in ("organization_name", "message", "submitter_id", "submitter_email")
    )
    assert {
        "has_pending_request": False,
        "pending_request": None,
        "organizations_count": 1,
    } == decided


@pytest.mark.parametrize(
    ("ticket_type", "pending", "all_of_them"),
    [
        ("organization_suggestion", "has_pending_suggestion", "suggestions"),
        ("organization_feedback", "has_pending_feedback", "feedbacks"),
    ],
)
def test_the_callers_tickets_are_listed_newest_first(
    gateway: Gateway, ticket_type: Any, pending: str, all_of_them: str
) -> None:
    """All of one type, decided ones too, at most fifty."""
    path, body = PATHS[ticket_type], BODIES[ticket_type]
    for _ in range(51):
        reference = gateway.post(path, body).document["ticket_id"]
        gateway.review(reference, {"action": "reject"})
    listed = gateway.get(path).document

    assert {pending, all_of_them} == set(listed)
    assert (False, 50) == (listed[pending], len(listed[all_of_them]))
    assert [f"{reference[0]}{number:05d}" for number in range(51, 1, -1)] == [
        one["ticket_id"] for one in listed[all_of_them]
    ]


@pytest.mark.parametrize(
    ("ticket_type", "change", "field"),
    [
        ("access_request", {"organization_name": None}, "organization_name"),
        ("access_request", {"organization_name": "  "}, "organization_name"),
        ("access_request", {"organization_name": "x" * 201}, "organization_name"),
        ("access_request", {"organization_name": ["x"]}, "organization_name"),
        ("access_request", {"request_message": "x" * 5001}, "request_message"),
        ("organization_suggestion", {"description": "x" * 5001}, "description"),
        ("organization_suggestion", {"suggested_district": "x" * 101}, "suggested_district"),
        ("organization_suggestion", {"suggested_address": "x" * 501}, "suggested_address"),
        ("organization_suggestion", {"additional_notes": "x" * 5001}, "additional_notes"),
        ("organization_suggestion", {"suggested_lat": 90.1}, "suggested_lat"),
        ("organization_suggestion", {"suggested_lat": "1"}, "suggested_lat"),
        ("organization_suggestion", {"suggested_lng": -181}, "suggested_lng"),
        ("organization_suggestion", {"media_urls": ["ftp://example.com/a"]}, "media_urls"),
        ("organization_suggestion", {"media_urls": "https://example.com,http:///"}, "media_urls"),
        ("organization_suggestion", {"media_urls": [f"https://{n}.example.com" for n in range(21)]},
         "media_urls"),
        ("organization_suggestion", {"media_urls": {"a": 1}}, "media_urls"),
        ("organization_feedback", {"organization_id": "x"}, "organization_id"),
        ("organization_feedback", {"stars": 6}, "stars"),
        ("organization_feedback", {"stars": None}, "stars"),
        ("organization_feedback", {"stars": True}, "stars"),
        ("organization_feedback", {"label_ids": ["x"]}, "label_ids"),
        ("organization_feedback", {"label_ids": [CLUB]}, "label_ids"),
        ("organization_feedback", {"label_ids": LABEL}, "label_ids"),
        ("organization_feedback", {"description": "x" * 5001}, "description"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(
    gateway: Gateway, ticket_type: Any, change: dict[str, Any], field: str
) -> None:
    """A validation error is a 400 that says which field it was."""
    got = gateway.post(PATHS[ticket_type], BODIES[ticket_type] | change)

    assert (400, field) == (got.status, got.field)


@pytest.mark.parametrize(
    "change",
    [
        {"organization_name": "x" * 200, "description": "x" * 5000, "suggested_lat": 0},
        {"suggested_lat": -90, "suggested_lng": 180, "media_urls": None},
        {"media_urls": " https://example.com/a , ,https://example.com/b"},
        {"media_urls": [], "additional_notes": " ", "unknown": {"a": [1]}},
    ],
)
def test_what_is_at_the_limits_is_taken(gateway: Gateway, change: dict[str, Any]) -> None:
    """Limits are within; 0 is a number; what nobody knows is left aside."""
    path = PATHS["organization_suggestion"]
    assert 202 == gateway.post(path, BODIES["organization_suggestion"] | change).status
    (shown,) = gateway.get(path).document["suggestions"]

    assert change.get("suggested_lat", 0) == shown["suggested_lat"]
    assert isinstance(shown["media_urls"], list)


def test_feedback_on_an_organization_that_nobody_knows_is_not_found(gateway: Gateway) -> None:
    """404, and not a validation error."""
    body = BODIES["organization_feedback"] | {"organization_id": LABEL}

    assert 404 == gateway.post(PATHS["organization_feedback"], body).status


def test_labels_are_listed(gateway: Gateway) -> None:
    """With their translations and their order."""
    assert {
        "items": [{"id": LABEL, "name": "Friendly", "name_translations": {}, "display_order": 0}]
    } == gateway.get("/v1/user/feedback-labels").document


def test_organizations_are_searched(gateway: Gateway) -> None:
    """By a part of the name; an empty text finds none, and the limit is at most fifty."""
    for number in range(60):
        gateway.world.services.directory.add_organization(id=f"{number}", name=f"Club {number:02d}")

    def search(**query: Any) -> Any:
        return gateway.get("/v1/user/organizations", query=query)

    assert [{"id": CLUB, "name": "Kowloon Swimming"}] == search(q="swim").document["items"]
    assert [] == search().document["items"] == search(q="  ").document["items"]
    assert (20, 50) == tuple(
        len(found.document["items"]) for found in (search(q="club"), search(q="club", limit="50"))
    )
    for limit in ("0", "51", "x"):
        assert (400, "limit") == (search(q="a", limit=limit).status, search(limit=limit).field)


# --- what administrators call ---------------------------------------------------------------------


@pytest.fixture
def busy(gateway: Gateway) -> Gateway:
    """Three tickets, the second of which was declined."""
    gateway.post(REQUEST, REQUESTED)
    gateway.post(REQUEST, REQUESTED, authorizer=flat("bob", BOB))
    gateway.review("R00002", {"action": "reject"})
    gateway.post(PATHS["organization_suggestion"], BODIES["organization_suggestion"])
    return gateway


@pytest.mark.parametrize(
    ("query", "expected", "pending"),
    [
        ({}, ["S00001", "R00002", "R00001"], 2),
        ({"status": "pending"}, ["S00001", "R00001"], 2),
        ({"status": "rejected"}, ["R00002"], 2),
        ({"status": "approved"}, [], 2),
        ({"status": ""}, ["S00001", "R00002", "R00001"], 2),
        ({"ticket_type": "access_request"}, ["R00002", "R00001"], 1),
        ({"type": "access_request"}, ["R00002", "R00001"], 1),
        ({"": "access_request"}, ["S00001", "R00002", "R00001"], 2),
        ({"type": "access_request", "ticket_type": "organization_suggestion"}, ["S00001"], 1),
        ({"type": "nonsense", "ticket_type": "organization_suggestion"}, ["S00001"], 1),
        ({"ticket_type": "organization_feedback"}, [], 0),
        ({"ticket_type": "access_request", "status": "pending"}, ["R00001"], 1),
        ({"limit": "200", "cursor": None, "nobody": "asked"}, ["S00001", "R00002", "R00001"], 2),
    ],
)  # fmt: skip
def test_tickets_are_listed_newest_first(
    busy: Gateway, query: dict[str, Any], expected: list[str], pending: int
) -> None:
    """Filters combine; `ticket_type` wins over `type`; the count is of the type alone."""
    got = busy.admin("tickets", **query)

    assert {"items", "next_cursor", "pending_count"} == set(got.document)
    assert expected == [item["ticket_id"] for item in got.document["items"]]
    assert (200, pending, None) == (
        got.status, got.document["pending_count"], got.document["next_cursor"]
    )  # fmt: skip
    assert all(KEYS == set(item) for item in got.document["items"])


@pytest.mark.parametrize("path", ["tickets", "audit-logs"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        *(({"limit": limit}, "limit") for limit in ("0", "201", "-1", "1.5", "x", "٣", "9" * 99)),
        *(({"cursor": cursor}, "cursor") for cursor in ("x", "cDE=", "é", "\ud800", "p1")),
    ],
)
def test_a_page_that_cannot_be_is_refused(
    busy: Gateway, path: str, query: dict[str, str], field: str
) -> None:
    """A limit is between 1 and 200, and a cursor is one of ours."""
    got = busy.admin(path, **query)

    assert (400, field) == (got.status, got.field)


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("tickets", {"status": "declined"}, "status"),
        ("tickets", {"status": "PENDING"}, "status"),
        ("tickets", {"ticket_type": "R"}, "ticket_type"),
        ("tickets", {"type": "R"}, "ticket_type"),
        ("audit-logs", {"table": "people"}, "table"),
        ("audit-logs", {"action": "insert"}, "action"),
        ("audit-logs", {"since": "yesterday"}, "since"),
        ("audit-logs", {"since": "2026-01-31"}, "since"),
        ("audit-logs", {"since": "2026-01-31T00:00:00"}, "since"),
        ("audit-logs", {"since": "12"}, "since"),
        ("audit-logs", {"user_id": "a b"}, "user_id"),
        ("audit-logs", {"record_id": "\0"}, "record_id"),
    ],
)
def test_a_filter_that_cannot_be_is_named(
    busy: Gateway, path: str, query: dict[str, str], field: str
) -> None:
    """A value that is none of those that there are is a 400."""
    got = busy.admin(path, **query)

    assert (400, field) == (got.status, got.field)


@pytest.mark.parametrize("path", ["tickets", "audit-logs"])
def test_a_list_is_followed_while_rows_arrive(gateway: Gateway, path: str) -> None:
    """Following `next_cursor` to null visits every row once."""
    for number in range(5):
        gateway.post(REQUEST, REQUESTED, authorizer=flat(f"u{number}"))
    seen, cursor = [], None
    for number in range(9):
        got = gateway.admin(path, limit="2", cursor=cursor).document
        seen += [item.get("ticket_id") or item["id"][:6] for item in got["items"]]
        cursor = got["next_cursor"]
        gateway.post(REQUEST, REQUESTED, authorizer=flat(f"late{number}"))
        if cursor is None:
            break

    assert [f"R0000{number}" for number in range(5, 0, -1)] == seen


@pytest.mark.parametrize("path", ["tickets", "audit-logs"])
def test_a_page_is_no_longer_than_lambda_hands_over(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A page that would be too long has fewer rows, at least one; none is left out."""
    long = {"organization_name": "Club", "request_message": "風" * 3000}
    for number in range(5):
        gateway.post(REQUEST, long, authorizer=flat(f"u{number}"))
    monkeypatch.setattr(api, "ANSWER_MOST", 25_000)
    pages, cursor = [], None
    for _ in range(9):
        got = gateway.admin(path, cursor=cursor).document
        pages.append([item.get("ticket_id") or item["id"][:6] for item in got["items"]])
        cursor = got["next_cursor"]
        if cursor is None:
            break
    monkeypatch.setattr(api, "ANSWER_MOST", 1)
    alone = gateway.admin(path).document

    assert [["R00005"], ["R00004"], ["R00003"], ["R00002"], ["R00001"]] != pages
    assert [f"R0000{number}" for number in range(5, 0, -1)] == [
        one for page in pages for one in page
    ]
    assert (1, True) == (len(alone["items"]), alone["next_cursor"] is not None)


def test_the_callers_own_list_is_cut_at_its_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest are shown, and with them the one that is pending."""
    path, body = PATHS["organization_suggestion"], BODIES["organization_suggestion"]
    for _ in range(3):
        reference = gateway.post(path, body).document["ticket_id"]
        gateway.review(reference, {"action": "reject"})
    gateway.post(path, body)
    monkeypatch.setattr(api, "ANSWER_MOST", 1)
    shown = gateway.get(path).document

    assert (True, ["S00004"]) == (
        shown["has_pending_suggestion"],
        [one["ticket_id"] for one in shown["suggestions"]],
    )


@pytest.mark.parametrize("form", ["{uuid}", "{reference}", "{uuid}/review", "{reference}/review"])
@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("note", ["admin_notes", "message"])
def test_a_ticket_is_declined_in_either_dialect(
    gateway: Gateway, form: str, prefix: str, note: str
) -> None:
    """By either path, either form of the id, either name of the note, with `/v1` or without."""
    gateway.post(REQUEST, REQUESTED)
    uuid = gateway.get(REQUEST).document["pending_request"]["id"]
    path = f"{prefix}/admin/tickets/{form.format(uuid=uuid, reference='r00001')}"
    identity = nested(ADMIN, groups="editor,admin")
    got = gateway.ask(
        event("PUT", path, body={"action": "reject", note: " Sorry. "}, authorizer=identity)
    )

    assert (200, {"message", "ticket"}) == (got.status, set(got.document))
    assert ("rejected", "Sorry.", ADMIN) == tuple(
        got.document["ticket"][key] for key in ("status", "admin_notes", "reviewed_by")
    )
    assert KEYS == set(got.document["ticket"])


def test_an_access_request_is_approved_with_an_organization(gateway: Gateway) -> None:
    """The answer names the one that was assigned; they become its manager."""
    gateway.post(REQUEST, REQUESTED)
    got = gateway.review("R00001", {"action": "approve", "organization_id": CLUB})
    gateway.world.drain()

    assert {"id": CLUB, "name": "Kowloon Swimming"} == got.document["organization"]
    assert ("approved", CLUB, None) == tuple(
        got.document["ticket"][key]
        for key in ("status", "organization_id", "created_organization_id")
    )
    assert ["ann"] == gateway.world.catalogue()["managers"]


@pytest.mark.parametrize("ticket_type", ["access_request", "organization_suggestion"])
def test_an_organization_is_made(gateway: Gateway, ticket_type: Any) -> None:
    """The answer names the one that will be made, before it is made."""
    reference = gateway.post(PATHS[ticket_type], BODIES[ticket_type]).document["ticket_id"]
    body = {"action": "approve", "create_organization": True, "organization_id": ""}
    got = gateway.review(reference, body)
    made = got.document["organization"]
    before = gateway.world.catalogue()["organizations"]
    gateway.world.drain()

    assert made["id"] == got.document["ticket"]["created_organization_id"]
    assert BODIES[ticket_type]["organization_name"] == made["name"]
    assert {CLUB} == set(before)
    assert {CLUB, made["id"]} == set(gateway.world.catalogue()["organizations"])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "action"),
        ({"action": "approved"}, 400, "action"),
        ({"action": ["approve"]}, 400, "action"),
        ({"action": "approve"}, 400, "organization_id"),
        ({"action": "approve", "organization_id": ""}, 400, "organization_id"),
        ({"action": "approve", "organization_id": 0}, 400, "organization_id"),
        ({"action": "approve", "organization_id": LABEL}, 400, "organization_id"),
        ({"action": "approve", "organization_id": CLUB, "create_organization": True}, 400,
         "organization_id"),
        ({"action": "approve", "create_organization": "yes"}, 400, "create_organization"),
        ({"action": "reject", "admin_notes": "x" * 5001}, 400, "admin_notes"),
        ({"action": "reject", "message": "x" * 5001}, 400, "admin_notes"),
        ({"action": "reject", "admin_notes": {"a": 1}}, 400, "admin_notes"),
    ],
    ids=str,
)  # fmt: skip
def test_a_review_that_is_wrong_is_refused(
    gateway: Gateway, body: dict[str, Any], status: int, field: str
) -> None:
    """The field is named, and the ticket stays pending."""
    gateway.post(REQUEST, REQUESTED)
    got = gateway.review("R00001", body)

    assert (status, field) == (got.status, got.field)
    assert gateway.get(REQUEST).document["has_pending_request"]


@pytest.mark.parametrize(
    "id", ["R00099", "7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c11", "%00", "a%2Fb", "x" * 65, "\ud800"]
)
def test_a_ticket_that_nobody_knows_is_not_found(gateway: Gateway, id: str) -> None:
    """Whatever stands for an id: 404."""
    assert 404 == gateway.review(id, {"action": "reject"}).status
    assert 404 == gateway.review(f"{id}/review", {"action": "reject"}).status


def test_a_ticket_is_decided_once(gateway: Gateway) -> None:
    """The second decision is a 409, the same one too, and one mail goes out."""
    gateway.post(REQUEST, REQUESTED)
    first = gateway.review("R00001", {"action": "reject"})
    again = gateway.review("R00001", {"action": "reject"})
    other = gateway.review("R00001/review", {"action": "approve", "create_organization": True})
    gateway.world.drain()

    assert (200, 409, 409) == (first.status, again.status, other.status)
    assert {"error"} == set(again.document)
    assert [ANN] == mailed(gateway.world)


def test_of_two_administrators_at_once_one_wins(tmp_path: Path) -> None:
    """One 200, one 409, one mail."""
    clock, database = VirtualClock(), str(tmp_path / "siutindei.db")
    prepare(database)
    world = make_world(tmp_path, clock=clock, store=FlakyStore(clock, database))
    gateway = Gateway(world)
    gateway.post(REQUEST, REQUESTED)

    def decide(number: int) -> int:
        identity = flat(f"admin-{number}", groups="admin")
        raw = event(
            "PUT",
            "/v1/admin/tickets/R00001",
            body={"action": "reject"},
            authorizer=identity,
            request_id=f"decision-{number}",
        )
        return check(api.handler(raw, LAMBDA)).status

    with runtime.use(world.services), ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(decide, range(8)))
    world.drain()
    world.store.close()

    assert [200, *[409] * 7] == statuses
    assert [ANN] == mailed(world)


# --- the audit log --------------------------------------------------------------------------------


def test_what_was_done_is_shown(busy: Gateway) -> None:
    """An entry for each submission and each decision, newest first, one of them by its id."""
    listed = busy.admin("audit-logs").document
    one = busy.admin("audit-logs/R00002-2")

    assert {"items", "next_cursor"} == set(listed)
    assert [
        ("S00001-1", "INSERT", "ann"),
        ("R00002-2", "UPDATE", ADMIN),
        ("R00002-1", "INSERT", "bob"),
        ("R00001-1", "INSERT", "ann"),
    ] == [tuple(item[key] for key in ("id", "action", "user_id")) for item in listed["items"]]
    assert (200, listed["items"][1]) == (one.status, one.document)
    assert ("tickets", "api", "pending", "rejected") == (
        *(one.document[key] for key in ("table_name", "source")),
        one.document["old_values"]["status"],
        one.document["new_values"]["status"],
    )
    assert 404 == busy.admin("audit-logs/R00002-3").status


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"table": "tickets"}, 4),
        ({"table": "organization_access_requests"}, 3),
        ({"table": "organization_suggestions"}, 1),
        ({"user_id": "bob"}, 1),
        ({"action": "UPDATE"}, 1),
        ({"action": "DELETE"}, 0),
        ({"record_id": "R00002"}, 2),
        ({"record_id": "nobody"}, 0),
        ({"since": "2026-01-31T09:30:00+08:00"}, 4),
        ({"since": "2026-01-31T09:30:00 08:00"}, 4),
        ({"since": "2026-01-31T01:30:01Z"}, 0),
        ({"since": "2026-01-31T01:30:00Z", "action": "INSERT", "user_id": "ann"}, 2),
    ],
)
def test_the_audit_log_is_filtered(busy: Gateway, query: dict[str, str], expected: int) -> None:
    """All filters combine; a plus that was not encoded is understood."""
    assert expected == len(busy.admin("audit-logs", **query).document["items"])


# --- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorizer",
    [
        None,
        {},
        [],
        "ann",
        flat(""),
        flat("  "),
        {"userSub": None, "email": ANN},
        {"userSub": 7},
        {"userSub": ["ann"]},
        {"sub": "ann", "cognito:groups": "admin"},
        {"claims": None},
        {"claims": {}},
        {"claims": "ann"},
        {"claims": {"userSub": "ann"}},
        {"claims": {}, "userSub": "ann"},
        {"jwt": {"claims": {"sub": "ann"}}},
        flat("ann/bob"),
        flat(ANN),
        flat("x" * 200),
        flat("a\0"),
    ],
    ids=str,
)
def test_without_an_identity_nothing_is_answered(gateway: Gateway, authorizer: Any) -> None:
    """Whoever cannot be named gets a 401, wherever they ask."""
    for method, path in (("GET", REQUEST), ("POST", REQUEST), ("GET", "/v1/admin/tickets")):
        raw = event(method, path, authorizer=authorizer, body=REQUESTED)
        assert 401 == gateway.ask(raw).status
    broken: Any
    for broken in (None, [], "x"):
        assert 401 == gateway.ask(event() | {"requestContext": broken}).status


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        ("admin", 200),
        ("manager,admin", 200),
        (" manager , admin ", 200),
        (["manager", "admin"], 200),
        (["manager", None, 7, " admin"], 200),
        ("", 403),
        (None, 403),
        ("administrator", 403),
        ("Admin", 403),
        ("not admin", 403),
        ("[admin]", 403),
        (["manager"], 403),
        ({"admin": True}, 403),
        (True, 403),
    ],
    ids=str,
)
def test_administrators_are_in_the_group(gateway: Gateway, groups: Any, status: int) -> None:
    """In either form of the list, by the very name."""
    for authorizer in (flat(groups=groups), nested(groups=groups)):
        for path in ("tickets", "audit-logs"):
            assert status == gateway.get(f"/v1/admin/{path}", authorizer=authorizer).status


def test_nothing_is_mixed_between_the_forms_of_an_identity(gateway: Gateway) -> None:
    """Claims stand for themselves: what is beside them is not theirs."""
    both = {**flat("eve", groups="admin"), **nested("ann")}

    assert 403 == gateway.get("/v1/admin/tickets", authorizer=both).status


def test_the_administrators_group_is_a_setting(tmp_path: Path) -> None:
    """Another group may decide."""
    gateway = Gateway(make_world(tmp_path, environment={"ADMIN_GROUP": "staff"}))

    assert 403 == gateway.admin("tickets").status
    assert 200 == gateway.get("/v1/admin/tickets", authorizer=flat(groups="staff")).status


@pytest.mark.parametrize(
    ("authorizer", "status"),
    [
        (flat(), 202),
        (nested(), 202),
        (nested(email_verified=True), 202),
        (nested(email_verified="true"), 202),
        (flat() | {"email_verified": "true"}, 202),
        (nested(email_verified="false"), 403),
        (nested(email_verified=False), 403),
        (nested(email_verified=""), 403),
        (nested(email_verified=1), 403),
        (flat() | {"email_verified": "false"}, 403),
    ],
    ids=str,
)
def test_an_address_that_the_token_does_not_vouch_for_is_refused(
    gateway: Gateway, authorizer: Any, status: int
) -> None:
    """A token that says that the address is not verified vouches for nobody."""
    assert status == gateway.post(REQUEST, REQUESTED, authorizer=authorizer).status


def test_an_answered_code_proves_the_address_whatever_the_token_says(gateway: Gateway) -> None:
    """Who answered a code at the address submits with it."""
    user = gateway.world.signed_in(ANN)
    unverified = nested(user, email_verified="false")

    assert 202 == gateway.post(REQUEST, REQUESTED, authorizer=unverified).status


@pytest.mark.parametrize("email", [None, "", "no address", 7, ["a@example.com"], "a@b\0.com"])
def test_a_token_without_an_address_submits_nothing(gateway: Gateway, email: Any) -> None:
    """The address is what the decision is mailed to."""
    for authorizer in (flat(email=email), nested(email=email)):
        got = gateway.post(REQUEST, REQUESTED, authorizer=authorizer)

        assert (400, "email") == (got.status, got.field)


def test_an_erased_person_submits_nothing(gateway: Gateway) -> None:
    """A token outlives an erasure: what they would write could not be kept."""
    gateway.world.signed_in(BOB)
    gateway.post(REQUEST, REQUESTED)
    gateway.world.services.people.erase(context(), user="ann", by=ADMIN, reason="They asked.")
    gateway.review("R00001", {"action": "reject"})

    assert 403 == gateway.post(REQUEST, REQUESTED).status
    assert "[erased]" == gateway.admin("tickets").document["items"][0]["submitter_email"]


def test_the_tokens_language_is_the_mails(gateway: Gateway) -> None:
    """A locale that is no text is left aside."""
    gateway.post(REQUEST, REQUESTED, authorizer=nested("ann", locale="zh-HK"))
    gateway.post(REQUEST, REQUESTED, authorizer=nested("bob", locale=["en"]))
    tickets = [gateway.world.services.tickets.show(f"R0000{n}").submitted for n in (1, 2)]

    assert ["zh-HK", None] == [found and found.locale for found in tickets]


def test_who_acts_and_by_which_request_is_in_the_history(gateway: Gateway) -> None:
    """API Gateway's request id is the command's, and Lambda's is beside it."""
    gateway.post(REQUEST, REQUESTED, request_id="c6af9ac6-7b61-11e6-9a41-93e8deadbeef")
    gateway.review("R00001", {"action": "reject"}, request_id="r-2")
    first, second = (entry.context for entry in gateway.world.store.load("ticket-R00001"))

    assert ("user:ann", *["c6af9ac6-7b61-11e6-9a41-93e8deadbeef"] * 3, "8f5b7c1e") == (
        first.actor,
        first.command_id,
        first.request_id,
        first.correlation_id,
        first.aws_request_id,
    )
    assert (f"admin:{ADMIN}", "r-2") == (second.actor, second.command_id)


@pytest.mark.parametrize("id", [None, "", 7, "x" * 200, "a b", "a\n"])
def test_a_request_without_an_id_gets_one(gateway: Gateway, id: Any) -> None:
    """What API Gateway does not name is called by Lambda's id, or named here."""
    gateway.post(REQUEST, REQUESTED, request_id=id)
    raw = event("POST", REQUEST, body=REQUESTED, request_id=id, authorizer=flat("bob"))
    with runtime.use(gateway.world.services):
        assert 202 == check(api.handler(raw, None)).status
    first, second = (gateway.world.store.load(f"ticket-R0000{n}")[0].context for n in (1, 2))

    assert (LAMBDA.aws_request_id, LAMBDA.aws_request_id) == (first.request_id, first.command_id)
    assert (36, second.command_id) == (len(second.request_id), second.request_id)


# --- once -----------------------------------------------------------------------------------------


def test_a_request_with_the_same_key_gets_the_first_answer(gateway: Gateway) -> None:
    """A client that never got its answer asks again: one ticket, one decision."""
    key = {"idempotency-KEY": " once "}
    first = gateway.post(REQUEST, REQUESTED, headers=key)
    again = gateway.post(REQUEST, REQUESTED, headers=key)
    decided = [gateway.review("R00001", {"action": "reject"}, headers=key) for _ in range(2)]
    (submitted, _) = gateway.world.store.load("ticket-R00001")

    assert (202, first) == (first.status, again)
    assert (200, decided[0]) == (decided[0].status, decided[1])
    assert "once" not in submitted.context.command_id


def test_a_key_is_its_users(gateway: Gateway) -> None:
    """Two users may choose the same key."""
    key = {"Idempotency-Key": "1"}

    assert [202, 202] == [
        gateway.post(REQUEST, REQUESTED, headers=key, authorizer=flat(user)).status
        for user in ("ann", "bob")
    ]


@pytest.mark.parametrize("headers", [{"Idempotency-Key": "1"}, {}])
def test_an_id_that_was_used_for_another_request_is_refused(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    """A key, or a request's id, that comes back with another body is not answered with success."""
    gateway.post(REQUEST, REQUESTED, headers=headers, request_id="r")
    other = REQUESTED | {"organization_name": "Other"}
    got = gateway.post(REQUEST, other, headers=headers, request_id="r")

    assert (400, "Idempotency-Key") == (got.status, got.field)


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ä", "\x7f"])
def test_a_key_that_is_none_is_refused(gateway: Gateway, key: str) -> None:
    """A key is printable ASCII; who only asks needs none, and theirs is not looked at."""
    assert 200 == gateway.get(REQUEST, headers={"Idempotency-Key": key}).status
    got = gateway.post(REQUEST, REQUESTED, headers={"Idempotency-Key": key})

    assert (400, "Idempotency-Key") == (got.status, got.field)


# --- what is sent ---------------------------------------------------------------------------------

DEEP: Final = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        None,
        "",
        " ",
        "null",
        "[]",
        "7",
        '"text"',
        "true",
        "{",
        '{"organization_name": NaN}',
        "organization_name=x",
        "\ud800",
        '{"organization_name": "\ud800"}',
        '{"organization_name": "\\ud800"}',
        '{"a": ' + DEEP + "}",
        "{}" + " " * 6_000_000,
        "x" * BODY_MOST,
    ],
    ids=lambda body: repr(body)[:30],
)
def test_a_body_that_is_no_object_is_refused(gateway: Gateway, body: str | None) -> None:
    """400, and never 500."""
    for method, path in (("POST", REQUEST), ("PUT", "/v1/admin/tickets/R00001")):
        raw = event(method, path, authorizer=flat(groups="admin")) | {"body": body}
        got = gateway.ask(raw)

        assert (400, True) == (got.status, got.field in {"body", "organization_name"})


@pytest.mark.parametrize(
    "body",
    [
        "not base64!",
        "YQ",
        base64.b64encode(b"\xff\xfe").decode(),
        base64.b64encode('{"organization_name": "Ä"}'.encode("latin-1")).decode(),
        base64.b64encode(b"[]").decode(),
        "é",
        7,
        ["e30="],
    ],
    ids=str,
)
def test_a_body_that_is_badly_encoded_is_refused(gateway: Gateway, body: Any) -> None:
    """A body that says that it is base64 is, and UTF-8 inside."""
    raw = event("POST", REQUEST) | {"body": body, "isBase64Encoded": True}
    got = gateway.ask(raw)

    assert (400, "body") == (got.status, got.field)


def test_a_body_may_be_base64(gateway: Gateway) -> None:
    """It is read as what it is."""
    body = {"organization_name": "彩虹"}
    got = gateway.post(REQUEST, json.dumps(body, ensure_ascii=False), is_base64=True)

    assert 202 == got.status
    assert "彩虹" == gateway.get(REQUEST).document["pending_request"]["organization_name"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json"}, 202),
        ({"CONTENT-TYPE": "Application/JSON;charset=UTF-8"}, 202),
        ({"Content-Type": " application/json "}, 202),
        ({}, 400),
        (None, 400),
        ({"Content-Type": None}, 400),
        ({"Content-Type": 7}, 400),
        ({"Content-Type": "text/plain"}, 400),
        ({"Content-Type": "application/jsonx"}, 400),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 400),
    ],
    ids=str,
)
def test_a_body_says_that_it_is_json(gateway: Gateway, headers: Any, status: int) -> None:
    """By its header, in any case; else 400."""
    got = gateway.ask(event("POST", REQUEST, body=REQUESTED) | {"headers": headers})

    assert (status, "Content-Type" if status == 400 else None) == (got.status, got.field)


def test_values_that_come_many_times_are_read_once(gateway: Gateway) -> None:
    """The last one counts; where they come singly too, that one."""
    raw = event("POST", REQUEST, body=REQUESTED) | {
        "headers": None,
        "multiValueHeaders": {"Content-Type": ["text/plain", "application/json"], "X": [], "Y": 1},
    }
    assert 202 == gateway.ask(raw).status

    def listed(one: Any, many: Any) -> int:
        return gateway.ask(
            event("GET", "/v1/admin/tickets", authorizer=flat(groups="admin"), query=one)
            | {"multiValueQueryStringParameters": many}
        ).status

    assert (200, 400) == (listed(None, {"limit": ["0", "1"]}), listed(None, {"limit": ["1", "0"]}))
    assert (200, 200) == (listed({"limit": "1"}, {"limit": ["0"]}), listed({"limit": 7}, []))


# --- where it is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v2/user/access-request",
        "/v1/v1/user/access-request",
        "/v1/user/access-request/",
        "//v1/user/access-request",
        "/v1/user//access-request",
        "/v1/user/Access-Request",
        "/v1/user%2Faccess-request",
        "/v1/user/access-request%00",
        "/v1/user/%ff",
        "/v1/admin/tickets/%E0%A4%A",
        "/v1/admin/tickets/a/b/review",
        "/v1/admin/tickets/a/delete",
        "/v1/admin/tickets//review",
        "/v1/admin/../admin/tickets",
        "user/access-request",
        None,
        7,
        "/" + "a/" * 5000,
    ],
    ids=lambda path: repr(path)[:30],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE"])
def test_a_path_that_leads_nowhere_is_not_found(gateway: Gateway, path: Any, method: str) -> None:
    """404, whoever asks and however."""
    assert 404 == gateway.ask(event(method, path, authorizer=None)).status


@pytest.mark.parametrize("path", ["/user/access-request", "/v1/user/access%2Drequest"])
def test_a_path_may_be_written_in_other_ways(gateway: Gateway, path: str) -> None:
    """Without `/v1`, or with characters encoded that need not be."""
    assert 200 == gateway.get(path).status


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", REQUEST, "GET, OPTIONS, POST"),
        ("HEAD", REQUEST, "GET, OPTIONS, POST"),
        ("PUT", "/v1/user/feedback-labels", "GET, OPTIONS"),
        ("POST", "/v1/admin/tickets", "GET, OPTIONS"),
        ("GET", "/v1/admin/tickets/R00001", "OPTIONS, PUT"),
        ("PATCH", "/v1/admin/tickets/R00001/review", "OPTIONS, PUT"),
        ("DELETE", "/v1/admin/audit-logs/R00001-1", "GET, OPTIONS"),
        (None, REQUEST, "GET, OPTIONS, POST"),
        (7, REQUEST, "GET, OPTIONS, POST"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_refused(
    gateway: Gateway, method: Any, path: str, allow: str
) -> None:
    """405, and the answer names those that it takes."""
    got = gateway.ask(event(method, path, authorizer=None))

    assert (405, allow) == (got.status, got.headers["Allow"])


# --- other sites ----------------------------------------------------------------------------------

SITE: Final = "https://siutindei.lx-software.com"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (SITE, SITE),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://evil.example.com", None),
        (f"{SITE}.example.com", None),
        (f"{SITE}/", None),
        ("null", None),
        ("*", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("status", [200, 204, 401, 404, 405])
def test_a_site_is_named_only_when_it_is_on_the_list(
    gateway: Gateway, origin: str | None, allowed: str | None, status: int
) -> None:
    """On every answer, errors too; every answer depends on who asks."""
    raw = {
        200: event(),
        204: event("OPTIONS", authorizer=None),
        401: event(authorizer=None),
        404: event(path="/nowhere"),
        405: event("DELETE"),
    }[status]
    got = gateway.ask(raw | {"headers": {"ORIGIN": origin}})
    cors = {name: value for name, value in got.headers.items() if name.startswith("Access-")}

    assert status == got.status
    assert (
        {}
        if allowed is None
        else {
            "Access-Control-Allow-Origin": allowed,
            "Access-Control-Allow-Headers": (
                "Content-Type,Authorization,X-Amz-Date,X-Api-Key,X-Amz-Security-Token"
            ),
            "Access-Control-Allow-Methods": "GET,POST,PUT,DELETE,OPTIONS",
        }
    ) == cors


def test_a_question_before_a_request_needs_nobody(gateway: Gateway) -> None:
    """OPTIONS is answered without an identity, with an empty body."""
    for path in (REQUEST, "/v1/admin/tickets", "/admin/tickets/R00001/review"):
        got = gateway.ask(event("OPTIONS", path, authorizer=None))

        assert (204, None) == (got.status, got.document)


# --- what goes wrong on our side ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("/var/siutindei.db is locked; try again"), 503),
        (Unusable("/var/siutindei.db is damaged"), 500),
        (RuntimeError(f"siutindei {ANN}"), 500),
        (RecursionError(), 500),
    ],
)
def test_a_fault_says_nothing_of_the_inside(
    gateway: Gateway, error: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not now is a 503 that says when; everything else a 500. The log has the kind and the place,
    and the words when they are our own.
    """
    gateway.world.store.then_fails(error)
    got = gateway.post(REQUEST, REQUESTED)
    captured = capsys.readouterr()
    line = json.loads(captured.err)

    assert (status, "2" if status == 503 else None) == (got.status, got.headers.get("Retry-After"))
    assert ("error", type(error).__name__) == (line["level"], line["error"])
    assert line["at"].startswith("world.py:")
    assert ANN not in captured.err + captured.out
    assert "/var" not in json.dumps(got.document)
    assert (str(error) if isinstance(error, PortError) else None) == line.get("why")


def test_a_race_that_is_always_lost_is_worth_another_try(gateway: Gateway) -> None:
    """Nothing was changed: 503."""
    gateway.world.store.then_fails(*[Conflict("again")] * 5)

    assert 503 == gateway.post(REQUEST, REQUESTED).status


def test_an_application_that_cannot_be_built_answers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A setting that is wrong is our fault, and is answered as one."""
    monkeypatch.setattr(runtime, "_container", runtime._Container())
    monkeypatch.setenv("SIUTINDEI_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "siutindei-api")

    assert 500 == check(api.handler(event(headers={"Origin": SITE}), None)).status
    monkeypatch.setenv("ADMIN_GROUP", "a,b")
    assert 500 == check(api.handler(event(), None)).status


# --- logs and metrics -----------------------------------------------------------------------------


def test_a_request_leaves_one_line_and_one_metric(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which request, which route, how it went and how long; nothing that anybody sent."""
    secret = "secret-words"
    body = {"organization_name": secret, "request_message": ANN}
    gateway.post(REQUEST, body, request_id="r-1", headers={"Idempotency-Key": secret})
    gateway.get(f"/v1/admin/tickets/{ANN}", query={"q": secret}, authorizer=flat(secret))
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.err.splitlines()]
    metrics = [json.loads(line) for line in captured.out.splitlines()]

    assert {
        "event": "request",
        "level": "info",
        "aws_request_id": "8f5b7c1e",
        "request_id": "r-1",
        "route": "submitAccessRequest",
        "status": 202,
    }.items() <= lines[0].items()
    assert {"duration_ms", "timestamp"} < set(lines[0])
    assert ("none", 404) == (lines[1]["route"], lines[1]["status"])
    assert [("submitAccessRequest", "202", 1), ("none", "404", 1)] == [
        (line["Route"], line["Status"], line["Requests"]) for line in metrics
    ]
    for personal in (secret, ANN, "ann"):
        assert personal not in captured.err + captured.out


@pytest.mark.slow
def test_a_container_starts_with_what_it_needs(tmp_path: Path) -> None:
    """An answer loads no command line, no AWS client and no other database's driver.

    (rich comes with structlog, where it is installed.)
    """
    script = (
        "import sys\n"
        "from siutindei.entrypoints.api import handler\n"
        "raw = {'httpMethod': 'GET', 'path': '/user/access-request', 'requestContext':"
        " {'authorizer': {'userSub': 'ann'}}}\n"
        "assert handler(raw, None)['statusCode'] == 200\n"
        "heavy = {'click', 'boto3', 'botocore', 'psycopg', 'jinja2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        capture_output=True,
        env={"SIUTINDEI_HOME": str(tmp_path), "PATH": ""},
    )


# --- anything at all ------------------------------------------------------------------------------


def test_awss_sample_event_is_answered(gateway: Gateway) -> None:
    """The event of API Gateway's own documentation leads nowhere here, and is answered so.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    assert 404 == gateway.ask(SAMPLE).status
    assert 401 == gateway.ask(SAMPLE | {"path": REQUEST}).status
    raw = SAMPLE | {"path": REQUEST, "httpMethod": "OPTIONS"}
    assert 204 == gateway.ask(raw).status


SAMPLE: Final[dict[str, Any]] = {
    "resource": "/my/path",
    "path": "/my/path",
    "httpMethod": "GET",
    "headers": {"header1": "value1", "header2": "value1,value2"},
    "multiValueHeaders": {"header1": ["value1"], "header2": ["value1", "value2"]},
    "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
    "multiValueQueryStringParameters": {
        "parameter1": ["value1", "value2"],
        "parameter2": ["value"],
    },
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "id",
        "authorizer": {"claims": None, "scopes": None},
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "extendedRequestId": "request-id",
        "httpMethod": "GET",
        "identity": {
            "accessKey": None,
            "accountId": None,
            "caller": None,
            "cognitoAuthenticationProvider": None,
            "cognitoAuthenticationType": None,
            "cognitoIdentityId": None,
            "cognitoIdentityPoolId": None,
            "principalOrgId": None,
            "sourceIp": "192.0.2.1",
            "user": None,
            "userAgent": "user-agent",
            "userArn": None,
        },
        "path": "/my/path",
        "protocol": "HTTP/1.1",
        "requestId": "id=",
        "requestTime": "04/Mar/2020:19:15:17 +0000",
        "requestTimeEpoch": 1583349317135,
        "resourceId": None,
        "resourcePath": "/my/path",
        "stage": "$default",
    },
    "pathParameters": None,
    "stageVariables": None,
    "body": "Hello from Lambda!",
    "isBase64Encoded": False,
}

ANYTHING: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)
TEXTS: Final = st.text(max_size=12) | st.sampled_from(
    ["1", "50", "pending", "access_request", "tickets", "INSERT", "application/json", SITE, "admin"]
)
NAMES: Final = TEXTS | st.sampled_from(
    ["limit", "cursor", "status", "type", "since", "q", "record_id", "Origin", "content-type"]
)
MAPS: Final = st.dictionaries(NAMES, TEXTS | ANYTHING, max_size=4)
IDENTITIES: Final = st.one_of(
    ANYTHING,
    st.builds(flat, TEXTS | st.just("ann"), TEXTS | st.just(ANN), TEXTS | ANYTHING),
    st.builds(nested, TEXTS | st.just("ann"), TEXTS | st.just(ANN), TEXTS | ANYTHING),
)
BODY: Final = st.one_of(
    ANYTHING,
    st.sampled_from([json.dumps(body) for body in BODIES.values()]),
    ANYTHING.map(json.dumps),
    st.dictionaries(
        st.sampled_from(["action", "organization_name", "stars", "media_urls", "label_ids"]),
        ANYTHING | st.sampled_from(["approve", "reject"]),
    ).map(json.dumps),
)
#: What an event can have instead of what it should.
ODDITIES: Final = st.fixed_dictionaries(
    {},
    optional={
        "path": ANYTHING,
        "httpMethod": st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "DELETE"]) | ANYTHING,
        "headers": MAPS | ANYTHING,
        "multiValueHeaders": MAPS | ANYTHING,
        "queryStringParameters": MAPS | ANYTHING,
        "multiValueQueryStringParameters": MAPS | ANYTHING,
        "requestContext": ANYTHING
        | st.fixed_dictionaries({"authorizer": IDENTITIES, "requestId": TEXTS | ANYTHING}),
        "body": BODY,
        "isBase64Encoded": st.booleans() | ANYTHING,
    },
)


@st.composite
def events(draw: st.DrawFn) -> Any:
    """Make the event of some route, and change up to three things in it."""
    route = draw(st.sampled_from(api.ROUTES))
    path = route.path.replace("{id}", draw(st.sampled_from(["R00001", "R00001-1", "S00009"])))
    right = event(
        route.method,
        draw(st.sampled_from(["", "/v1"])) + path,
        authorizer=draw(st.sampled_from([flat(groups="admin"), nested("bob", BOB, "admin")])),
        query=draw(MAPS),
        body=draw(BODY),
        request_id=str(draw(st.uuids())),
    )
    odd = draw(ODDITIES)
    return right | {name: odd[name] for name in list(odd)[:3]}


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    """The API over each database."""
    with ExitStack() as stack:
        seams: dict[str, Any] = {}
        if request.param == "postgres":
            url = stack.enter_context(fresh_database())
            seams["store"] = PostgresStore(url, master=RING, clock=VirtualClock())
        world = make_world(tmp_path, **seams)
        stack.callback(world.store.close)
        yield Gateway(world)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(raw=events() | ANYTHING)
def test_whatever_arrives_is_answered(either: Gateway, raw: Any) -> None:
    """A documented status, the headers, JSON or nothing; a refusal leaves no event; no fault."""
    status = either.ask(raw).status
    hypothesis.event(f"{status}")

    assert status < 500


#: What one database takes and the other does not, or what looks like something that it is not.
ODD: Final = ("\0", "a\0b", "\ud800", "'", "%", "\u202e", "\U0001f600" * 99, "R00001\n", "9" * 40)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_odd_texts_are_answered(either: Gateway, odd: str) -> None:
    """In every place where a client may put a text, on every database: no fault."""
    admin = flat(ADMIN, groups="admin")
    either.post(REQUEST, REQUESTED)
    for name in ("cursor", "user_id", "record_id", "since", "table", "action", "status", "limit"):
        for path in ("audit-logs", "tickets"):
            assert {200, 400} >= {either.admin(path, **{name: odd}).status}
    assert {200} == {either.get("/v1/user/organizations", query={"q": odd}).status}
    assert {401, 200} >= {either.get(REQUEST, authorizer=flat(odd)).status}
    assert {400, 404} >= {either.review(odd, {"action": "reject"}, authorizer=admin).status}
    assert 404 == either.admin(f"audit-logs/{odd}").status
    for field in ("organization_id", "admin_notes", "action"):
        body = {"action": "reject", field: odd}
        assert {200, 400, 409} >= {either.review("R00001", json.dumps(body)).status}
    for ticket_type, right in BODIES.items():
        for field in right:
            changed = json.dumps(right | {field: odd})
            identity = flat(f"user-{field}")
            got = either.post(PATHS[ticket_type], changed, authorizer=identity)
            assert {202, 400, 409} >= {got.status}
