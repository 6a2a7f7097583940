"""The audit log: what was done to tickets, before and after, newest first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.app.audit_log import Entry, wire_entry
from siutindei.app.tickets import wire
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import ERASED_TEXT
from tests.app.world import ANN, BOB, BODIES, CLUB
from tests.support import START, context

if TYPE_CHECKING:
    from tests.app.world import World

KEYS: Final = {
    *("id", "table_name", "record_id", "action", "user_id", "request_id", "old_values"),
    *("new_values", "changed_fields", "timestamp", "source"),
}


def ids(world: World, **filters: Any) -> list[str]:
    """List the ids of entries."""
    return [entry.id for entry in world.services.audit_log.list(**filters).items]


def told(world: World) -> None:
    """Let four things happen to three tickets, a minute apart."""
    world.submit(user="ann", email=ANN, command="c1")
    world.clock.advance(minutes=1)
    world.submit("organization_suggestion", user="bob", email=BOB)
    world.clock.advance(minutes=1)
    world.approve("R00001", note="Welcome.", organization_id=CLUB, command="c2")
    world.clock.advance(minutes=1)
    world.submit("organization_feedback", user="ann", email=ANN)


def test_a_submission_is_a_row_that_is_new(world: World) -> None:
    """It has no values before, and the wire contract's values after."""
    told(world)
    (entry,) = world.services.audit_log.list(record_id="R00001", action="INSERT").items
    told_of = wire_entry(entry)

    assert set(told_of) == KEYS
    assert ("R00001-1", "tickets", "INSERT", "ann", "c1", None, [], "command_line") == tuple(
        told_of[key]
        for key in (
            *("id", "table_name", "action", "user_id", "request_id", "old_values"),
            *("changed_fields", "source"),
        )
    )
    assert START.isoformat() == told_of["timestamp"]
    assert (told_of["record_id"], "pending", ANN) == tuple(
        entry.new_values[key] for key in ("id", "status", "submitter_email")
    )


def test_a_decision_is_a_row_that_changed(world: World) -> None:
    """It has the values before and after, and names what is different."""
    told(world)
    entry = world.services.audit_log.show("R00001-2")

    assert ("UPDATE", "admin-7", "c2") == (entry.action, entry.user_id, entry.request_id)
    assert {
        "status": ("pending", "approved"),
        "reviewed_at": (None, (START + timedelta(minutes=2)).isoformat()),
        "reviewed_by": (None, "admin-7"),
        "admin_notes": (None, "Welcome."),
        "organization_id": (None, CLUB),
    } == {
        name: ((entry.old_values or {})[name], entry.new_values[name])
        for name in entry.changed_fields
    }
    assert wire(world.services.tickets.show("R00001")) == entry.new_values


def test_the_newest_entry_comes_first_and_filters_combine(world: World) -> None:
    """Every filter leaves what fits it; the old names of tables stand for a type."""
    told(world)
    id = world.services.audit_log.show("R00001-1").record_id

    assert ["F00001-1", "R00001-2", "S00001-1", "R00001-1"] == ids(world)
    assert ["R00001-2", "R00001-1"] == ids(world, table="organization_access_requests")
    assert ["S00001-1"] == ids(world, table="organization_suggestions")
    assert ["R00001-2", "R00001-1"] == ids(world, record_id=id) == ids(world, record_id="r00001")
    assert ["F00001-1", "R00001-1"] == ids(world, user="ann")
    assert ["R00001-2"] == ids(world, user="admin-7") == ids(world, action="UPDATE")
    assert [] == ids(world, action="DELETE")
    assert ["F00001-1", "R00001-2"] == ids(world, since=START + timedelta(minutes=2))
    assert ["R00001-1"] == ids(
        world, table="organization_access_requests", user="ann", action="INSERT", record_id=id
    )
    assert [] == ids(world, user="ann", action="UPDATE")
    assert [] == ids(world, record_id="R00099")


def test_the_log_is_followed_while_things_happen(world: World) -> None:
    """Following the cursor visits every entry that was there once."""
    told(world)
    seen: list[str] = []
    cursor = None
    for number in range(4):
        page = world.services.audit_log.list(limit=1, cursor=cursor)
        seen += [entry.id for entry in page.items]
        cursor = page.next_cursor
        world.submit(user=f"user-{number}")

    assert (["F00001-1", "R00001-2", "S00001-1", "R00001-1"], None) == (seen, cursor)


@pytest.mark.parametrize(
    ("field", "filters"),
    [
        ("table", {"table": "people"}),
        ("limit", {"limit": 0}),
        ("limit", {"limit": 201}),
        ("cursor", {"cursor": "x"}),
        ("user_id", {"user": ANN}),
        ("user_id", {"user": "a\0"}),
        ("record_id", {"record_id": "\0"}),
        ("record_id", {"record_id": "x" * 65}),
    ],
)
def test_a_filter_that_cannot_be_is_refused(
    world: World, field: str, filters: dict[str, Any]
) -> None:
    """What can find nothing, whatever there is, is named."""
    with pytest.raises(Invalid) as refused:
        world.services.audit_log.list(**filters)

    assert field == refused.value.field


@pytest.mark.parametrize(
    "id", ["", "R00001", "R00001-0", "R00001-2", "R00002-1", "R00001-01x", "ticket-R00001/1", "\0"]
)
def test_an_entry_that_is_not_there_is_not_found(world: World, id: str) -> None:
    """An id is a ticket's number and a version that it has."""
    world.submit()
    with pytest.raises(NotFound, match="audit log"):
        world.services.audit_log.show(id)


def test_what_was_erased_reads_as_erased(world: World) -> None:
    """An entry shows what the ticket shows: after an erasure nothing personal, in any column."""
    told(world)
    world.services.people.erase(context(), user="ann", by="admin-7", reason="They asked.")
    entry = world.services.audit_log.show("R00001-2")

    assert (ERASED_TEXT, ERASED_TEXT, ERASED_TEXT) == tuple(
        entry.new_values[key] for key in ("submitter_email", "organization_name", "admin_notes")
    )
    assert ERASED_TEXT == (entry.old_values or {})["submitter_email"]


def test_an_entry_says_which_way_it_came_in(world: World) -> None:
    """By the command line, by a message, or by the API."""
    ways = {
        "R00001": context(actor="operator:ann"),
        "R00002": attrs.evolve(context(actor="worker"), sqs_message_id="m"),
        "R00003": context(actor="user:ann"),
    }
    for reference, command in ways.items():
        world.services.tickets.submit(
            command,
            ticket_type="access_request",
            user=reference,
            email=ANN,
            body=BODIES["access_request"],
        )
    sources = [entry.source for entry in world.services.audit_log.list().items]

    assert ["api", "queue", "command_line"] == sources


def test_an_entry_is_not_shown_by_accident() -> None:
    """An entry holds what people typed; none of it is in its `repr`."""
    entry = Entry(
        id="R00001-1",
        record_id="x",
        action="INSERT",
        user_id="ann",
        request_id="r",
        old_values=None,
        new_values={"submitter_email": ANN},
        at=START,
        source="api",
    )

    assert ANN not in repr(entry)
