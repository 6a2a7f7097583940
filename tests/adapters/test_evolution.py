"""Every recipe of docs/evolution.md, carried out on a database that was filled before."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import attrs
import pytest

from siutindei.adapters import codec
from siutindei.adapters.baselines import BaselineFiles
from siutindei.adapters.codec import UnreadableEvent
from siutindei.adapters.projections import NAMES
from siutindei.app.checking import Check, Checking
from siutindei.app.ports import Unusable
from siutindei.domain import catalogue, lane, notification, ticket
from siutindei.domain.personal import Personal, of
from tests.app.world import World, make_world
from tests.contracts import append, submitted
from tests.golden import samples
from tests.strategies import AGGREGATES
from tests.support import START

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.ports import Recorded

PAGE: Final = Path(__file__).parents[2] / "docs" / "evolution.md"
RECIPES: Final = (
    "Adding a field",
    "Renaming a field",
    "Renaming an event",
    "Splitting an event",
)
TICKET: Final = "ticket-R00001"
DECLINED: Final = "ticket-R00002"
LANE: Final = lane.stream("codes")
MAIL: Final = notification.stream("m-1")


def code(recipe: str) -> dict[str, Any]:
    """Run the Python of a recipe, as it stands on the page."""
    section = PAGE.read_text("utf-8").partition(f"\n## {recipe}\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {"__name__": "evolution"}
    exec(compile(block, str(PAGE), "exec", dont_inherit=True), made)  # noqa: S102  # our own page
    return made


@contextmanager
def evolved(made: dict[str, Any]) -> Iterator[None]:
    """Be the program that a recipe makes, for a while."""
    events: Any = catalogue.EVENTS
    names: Any = catalogue.NAMES
    upcasts: Any = catalogue.UPCASTS
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in made["EVENTS"].items():
            patch.setitem(names, kind, name)
            patch.setitem(
                codec.PERSONAL,
                kind,
                tuple(
                    field
                    for field, hint in get_type_hints(kind).items()
                    if hint in {Personal, Personal | None}
                ),
            )
        before = {name: (name, name) for name in made["EVENTS"] if name in events} | {
            name: (name, becomes) for name, (becomes, _) in made.get("UPCASTS", {}).items()
        }
        for name, becomes in before.values():
            old = events[name]
            (module,) = (one for one in AGGREGATES if name.startswith(f"{one.CATEGORY}."))
            # The class stands in the place of the old one, wherever that is named.
            patch.setattr(module, old.__name__, made["EVENTS"][becomes])
            patch.delitem(names, old)
            patch.delitem(events, name)
        for name, kind in made["EVENTS"].items():
            patch.setitem(events, name, kind)
        for name, upcast in made.get("UPCASTS", {}).items():
            patch.setitem(upcasts, name, upcast)
        if "evolve" in made:
            patch.setattr(lane, "evolve", made["evolve"])
        yield


@pytest.fixture(name="old")
def _old(tmp_path: Path) -> World:
    """An installation that today's program filled."""
    world = make_world(tmp_path / "home")
    by = of("eve", "eve")
    append(world.store, TICKET, submitted(1))
    append(world.store, TICKET, ticket.Approved(by=by, reviewer="eve", stars=3, at=START))
    append(world.store, DECLINED, submitted(2, user="bob"))
    append(
        world.store,
        DECLINED,
        ticket.Declined(by=by, reviewer="eve", note=of("bob", "not now"), at=START),
    )
    halted = lane.Halted(why="account", since=START, at=START)
    probed = lane.Probed(notification="m-1", failures=1, since=START, probe_at=START, at=START)
    append(world.store, LANE, halted, probed)
    requested: Any = samples.SAMPLES["notification.requested.v1--support"][0]
    append(
        world.store,
        MAIL,
        attrs.evolve(requested, id="m-1"),
        notification.Delayed(feedback_id="f-1", delay_type="MailboxFull", at=START),
    )
    return world


def check(world: World, **options: Any) -> Check:
    """Check what is stored."""
    checking = Checking(
        store=world.store, clock=world.clock, baselines=BaselineFiles(), program="0.1.0"
    )
    return checking.check(**options)


def rows(world: World) -> list[Any]:
    """Give everything as it is stored."""
    with world.store.reading() as cursor:
        return [tuple(row) for row in world.store.stored_page(cursor, 0, 500)]


def last(world: World, stream: str) -> Recorded:
    """Give the newest event of a stream."""
    return world.store.load(stream)[-1]


# --- every recipe ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_stored_before_is_well(old: World, recipe: str) -> None:
    """Every old event is read, the read models come out as they were, and no byte changes."""
    before, digest = rows(old), old.services.history.replay().digest
    with evolved(code(recipe)):
        assert check(old).is_well
        assert digest == old.services.history.replay().digest
    assert before == rows(old)


@pytest.mark.parametrize("recipe", RECIPES)
def test_whatever_was_ever_stored_is_well(tmp_path: Path, recipe: str) -> None:
    """An installation that holds every golden file passes the check of the changed program."""
    world = make_world(tmp_path / "home")
    samples.fill(world.store)
    with evolved(code(recipe)):
        assert check(world).is_well


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_leaves_nothing_behind(recipe: str) -> None:
    """The program is what it was when a recipe was tried out."""
    before = (dict(catalogue.EVENTS), dict(catalogue.NAMES), dict(catalogue.UPCASTS))
    with evolved(code(recipe)):
        assert before != (catalogue.EVENTS, catalogue.NAMES, catalogue.UPCASTS)
    assert before == (catalogue.EVENTS, catalogue.NAMES, catalogue.UPCASTS)


#: What the changed program writes, and what is wrong with it for the program as it was.
WRITTEN: Final[dict[str, tuple[str, str, dict[str, Any], str]]] = {
    "Adding a field": (
        "ticket-R00003",
        "Declined",
        {"by": of("eve", "eve"), "reviewer": "eve", "ground": "spam", "at": START},
        r"ticket-R00003/2 \(ticket.declined.v1\) .* does not know its ground; install the version",
    ),
    "Renaming a field": (
        MAIL,
        "Delayed",
        {"feedback_id": "f-2", "reason": "MailboxFull", "at": START},
        r"does not know notification.delayed.v2; install the version that wrote it",
    ),
    "Renaming an event": (
        LANE,
        "Tried",
        {"notification": "m", "failures": 2, "since": START, "probe_at": START, "at": START},
        r"does not know lane.tried.v1; install the version that wrote it",
    ),
    "Splitting an event": (
        LANE,
        "Explained",
        {"note": of("eve", "the account is looked into"), "at": START},
        r"does not know lane.explained.v1; install the version that wrote it",
    ),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_older_program_refuses_what_a_newer_one_wrote(old: World, recipe: str) -> None:
    """The new event is read by the program that wrote it, and named by the one before."""
    stream, kind, said, why = WRITTEN[recipe]
    append(old.store, "ticket-R00003", submitted(3, user="cem"))
    made = code(recipe)
    with evolved(made):
        append(old.store, stream, made[kind](**said))
        read = last(old, stream).event
        assert type(read) is made[kind]
        assert check(old).is_well
        assert old.store.digest(NAMES) == old.services.history.replay().digest

    with pytest.raises(UnreadableEvent, match=why):
        old.store.load(stream)
    (trouble,) = check(old).unreadable
    assert 1 == trouble.count
    assert trouble.events[0].id.startswith(f"{stream}/")
    # Everything else goes on.
    assert old.store.load(DECLINED)


# --- what each one means --------------------------------------------------------------------------


def test_a_field_that_was_added_is_empty_in_what_is_older(old: World, tmp_path: Path) -> None:
    """An old decline has no ground, and a baseline of the program before is kept."""
    file = str(tmp_path / "before.json")
    check(old, save=file)
    with evolved(code("Adding a field")):
        event: Any = last(old, DECLINED).event
        assert event.ground is None
        assert "not now" == old.store.open(event.note).text
        assert check(old, against=file).is_well


def test_a_field_that_a_state_keeps_makes_another_read_model(old: World) -> None:
    """A state that holds an event whole holds its new field: the documents are others."""

    @attrs.frozen(kw_only=True)
    class Submitted(ticket.Submitted):
        phone: str | None = None

    append(old.store, "ticket-R00003", submitted(3, user="cem"))
    digest = old.services.history.replay(projection="tickets").digest
    with evolved({"EVENTS": {"ticket.submitted.v1": Submitted}}):
        assert digest != old.services.history.replay(projection="tickets").digest


def test_a_field_that_was_renamed_keeps_its_value(old: World, tmp_path: Path) -> None:
    """What was a delay type is the reason; a baseline tells that this event is another one."""
    file = str(tmp_path / "before.json")
    check(old, save=file)
    with evolved(code("Renaming a field")):
        entry = last(old, MAIL)
        event: Any = entry.event
        assert ("notification.delayed.v1", "MailboxFull") == (entry.name, event.reason)
        assert ["notification.delayed.v1"] == [
            trouble.name for trouble in check(old, against=file).changed
        ]


def test_a_personal_field_cannot_be_renamed(old: World) -> None:
    """What was sealed as a note opens under no other name."""

    @attrs.frozen(kw_only=True)
    class Declined:
        by: Personal
        reviewer: str
        comment: Personal | None = None
        rule: str = ""
        at: Any

    def renamed(payload: dict[str, Any]) -> dict[str, Any]:
        return {"comment" if name == "note" else name: payload[name] for name in payload}

    made = {
        "EVENTS": {"ticket.declined.v2": Declined},
        "UPCASTS": {"ticket.declined.v1": ("ticket.declined.v2", renamed)},
    }
    with evolved(made):
        event: Any = last(old, DECLINED).event
        with pytest.raises(Unusable, match=r"ticket-R00002/2/comment was altered or moved"):
            old.store.open(event.comment)
        assert "eve" == old.store.open(event.by).text


def test_an_event_that_was_renamed_keeps_its_old_name_in_the_history(old: World) -> None:
    """It is read as the new class, shown under the name that it was stored with, and found so."""
    made = code("Renaming an event")
    with evolved(made):
        append(
            old.store,
            LANE,
            made["Tried"](notification="m", failures=2, since=START, probe_at=START, at=START),
        )
        _, before, after = old.store.load(LANE)
        assert type(before.event) is type(after.event) is made["Tried"]
        assert ("lane.probed.v1", "lane.tried.v1") == (before.name, after.name)
        history = old.services.history
        for name, entry in (("lane.probed", before), ("lane.tried", after)):
            assert [entry.id] == [found.id for found in history.tail(name=name)]
        assert 2 == old.store.views.lanes()["codes"].failures


def test_an_event_that_was_split_amounts_to_the_same(old: World) -> None:
    """A note that came with an old halt, and one behind a new one, are the same to who asks."""
    made = code("Splitting an event")
    halted = lane.Halted(why="person", since=START, by="eve", at=START)
    note = of("eve", "paused for the holidays")
    append(old.store, lane.stream("tickets"), attrs.evolve(halted, note=note))
    with evolved(made):
        append(old.store, LANE, halted, made["Explained"](note=note, at=START))
        lanes = old.store.views.lanes()
        before, after = (old.store.open_all(lanes[name]) for name in ("tickets", "codes"))
        assert before == after
        assert note == after.note
        assert old.store.digest(NAMES) == old.services.history.replay().digest
