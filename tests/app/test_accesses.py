"""Accesses: each look is recorded, and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from siutindei.app.ports import Unavailable
from siutindei.domain.errors import Invalid, NotFound
from tests.app.world import ANN, World
from tests.support import context

if TYPE_CHECKING:
    from siutindei.app.accesses import Accesses


def looks(accesses: Accesses, subject: str | None = None) -> list[tuple[str, str, str, int]]:
    """List who looked at what, newest first."""
    found = accesses.list(subject=subject).items
    return [(one.what, one.subject, one.by, one.shown) for one in found]


def test_who_looked_is_listed(world: World) -> None:
    """Newest first; one ticket's, by its number or its UUID, one person's, or the addresses'."""
    accesses = world.services.accesses
    world.submit(user="user-ann")
    found = world.services.tickets.show("R00001").submitted
    assert found is not None
    accesses.record(context(), "dossier", "R00001", by="eve", shown=1)
    world.services.people.export(context("look"), "user-ann", by=ANN)
    accesses.record(context(), "addresses", "suppressions", by="bob", shown=7)
    ann = f"address-{world.services.addresses.fingerprint(ANN)}"
    dossier, export = ("dossier", "R00001", "eve", 1), ("export", "user-ann", ann, 1)
    addresses = ("addresses", "suppressions", "bob", 7)

    assert [addresses, export, dossier] == looks(accesses)
    assert [dossier] == looks(accesses, "r00001") == looks(accesses, found.id)
    assert [export] == looks(accesses, "user-ann")
    assert [addresses] == looks(accesses, "suppressions")
    assert [] == looks(accesses, "R00002")
    (one,) = accesses.list(subject="user-ann").items
    assert ("operator:test", "look", world.clock.now()) == (one.actor, one.request_id, one.at)
    assert "access-person-user-ann/1" == one.id


def test_a_list_goes_on_at_its_cursor(world: World) -> None:
    """Following it visits every look once."""
    accesses = world.services.accesses
    for by in ("one", "two", "three"):
        accesses.record(context(), "addresses", "suppressions", by=by, shown=1)
    first = accesses.list(limit=2)
    rest = accesses.list(limit=2, cursor=first.next_cursor)

    assert ["three", "two"] == [one.by for one in first.items]
    assert (["one"], None) == ([one.by for one in rest.items], rest.next_cursor)
    for wrong in ({"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"subject": " "}):
        with pytest.raises(Invalid):
            accesses.list(**wrong)


def test_a_look_is_recorded_each_time_under_the_same_command(world: World) -> None:
    """Whoever repeats a command looks again; an id of another command is refused."""
    accesses = world.services.accesses
    for _ in range(2):
        accesses.record(context("same"), "dossier", "R00001", by="eve", shown=1)
    with pytest.raises(Invalid, match="command_id"):
        accesses.record(context("same"), "export", "user-1", by="eve", shown=1)

    assert 2 == len(looks(accesses))


def test_an_export_is_recorded_before_it_is_given(world: World) -> None:
    """Who cannot be recorded sees nothing; of somebody unknown nothing is recorded."""
    people = world.services.people
    world.submit(user="user-ann")
    exported = people.export(context(), "user-ann", by="eve")
    world.store.then_fails(Unavailable("locked"))
    with pytest.raises(Unavailable):
        people.export(context(), "user-ann", by="eve")
    with pytest.raises(NotFound):
        people.export(context(), "nobody", by="eve")

    assert ANN == exported["tickets"][0]["submitter_email"]
    assert [("export", "user-ann", "eve", 1)] == looks(world.services.accesses)
