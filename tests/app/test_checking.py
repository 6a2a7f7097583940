"""The check of what is stored: all of it is read, as it was written and as it was read before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given

from siutindei.adapters import codec
from siutindei.adapters.baselines import BaselineFiles
from siutindei.app.checking import BLOCK, Check, Checking, Found, spelled
from siutindei.app.ports import Unusable
from siutindei.domain import catalogue, notification, ticket
from siutindei.domain.errors import Invalid
from siutindei.domain.personal import Personal
from tests import strategies
from tests.golden import samples
from tests.strategies import unhurried

if TYPE_CHECKING:
    from pathlib import Path

    from tests.app.world import World

DELAYED: Final = "notification.delayed.v1"


def checking(world: World, program: str = "0.1.0") -> Checking:
    """Build the use case over the store of an application."""
    return Checking(
        store=world.store, clock=world.clock, baselines=BaselineFiles(), program=program
    )


def check(world: World, **options: Any) -> Check:
    """Check what is stored."""
    return checking(world).check(**options)


def put(world: World, stream: object, version: object, name: object, state: object) -> int:
    """Put a row into the database behind the back of the program, and give its position."""
    with world.store.writing() as cursor:
        cursor.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES (?, ?, ?, ?)",
            (stream, version, name, state),
        )
    return world.store.last_position()


def golden(sample: str) -> bytes:
    """Read a golden file."""
    return (samples.FOLDER / f"{sample}.json").read_bytes()


@pytest.fixture(name="old")
def _old(world: World) -> World:
    """An installation that holds everything that was ever stored."""
    samples.fill(world.store)
    return world


# --- all is well ----------------------------------------------------------------------------------


def test_everything_that_was_ever_stored_is_read(old: World) -> None:
    """Every golden file, those of old versions too, is read, and read the same."""
    found = check(old)

    assert found.is_well
    assert len(samples.SAMPLES) == found.read == found.position
    assert not found.saved


def test_nothing_is_well(world: World) -> None:
    """An empty history has nothing that could not be read."""
    assert Check(read=0, unreadable=(), changed=(), position=0, seconds=0, saved=False) == check(
        world
    )


def test_what_the_program_writes_is_read_the_same(world: World) -> None:
    """A history that the application made is well, with personal fields sealed and erased."""
    user = world.signed_in()
    world.submit(user=user)
    world.drain()
    before = list(world.store.read())

    assert len(before) == check(world).read
    assert before == list(world.store.read())


def test_a_long_check_tells_how_far_it_is(world: World) -> None:
    """Progress comes with positions, and ends at the last one."""
    for number in range(260):
        world.submit(user=f"user-{number}", vouched=False)
    told: list[tuple[int, int]] = []
    check(world, progress=lambda done, total: told.append((done, total)))

    assert [(500, 520), (520, 520)] == told


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "name", "why"),
    [
        (("lane-codes", 1, "lane.painted.v1", b"{}"), "lane.painted.v1", "missing required field"),
        (
            ("lane-codes", 1, "lane.painted.v1", golden("lane.halted.v1")),
            "lane.painted.v1",
            "this version does not know lane.painted.v1; install the version that wrote it",
        ),
        (
            (
                "lane-codes",
                1,
                "lane.halted.v1",
                golden("lane.halted.v1").replace(b'"since":', b'"colour":1,"since":'),
            ),
            "lane.halted.v1",
            "this version does not know its colour; install the version that wrote it",
        ),
        (("lane-codes", 1, "lane.halted.v1", b'{"x'), "lane.halted.v1", "truncated"),
        (("lane-codes", 1, "lane.halted.v1", "text"), "lane.halted.v1", "types"),
        (("lane-codes", 1, b"lane\xff", b"{}"), "?", "types"),
        ((b"\xff", "x", "lane.halted.v1", b"{}"), "lane.halted.v1", "types"),
        (
            ("laneless", 1, "lane.halted.v1", golden("lane.halted.v1")),
            "lane.halted.v1",
            "it stands where no event of its kind can",
        ),
        (
            ("lane-codes", 0, "lane.halted.v1", golden("lane.halted.v1")),
            "lane.halted.v1",
            "it stands where no event of its kind can",
        ),
    ],
    ids=range(9),
)
def test_what_cannot_be_read_is_named(
    old: World, row: tuple[Any, ...], name: str, why: str
) -> None:
    """A row with any trouble is named with its reason, and everything else is read."""
    position = put(old, *row)
    found = check(old)
    (trouble,) = found.unreadable

    assert (name, 1) == (trouble.name, trouble.count)
    assert why in trouble.why
    assert [position] == [event.position for event in trouble.events]
    assert len(samples.SAMPLES) == found.read
    assert ((), False) == (found.changed, found.is_well)


@pytest.mark.parametrize("column", ["originator_id", "topic", "state"])
def test_text_that_is_none_keeps_nobody_from_reading_on(old: World, column: str) -> None:
    """SQLite keeps text that is no UTF-8: that row is named, and the page is read on."""
    with old.store.writing() as cursor:
        cursor.execute(
            f"UPDATE stored_events SET {column} = CAST(? AS TEXT) WHERE rowid = 2",  # noqa: S608  # our own names
            (b"\xff" + golden("person.signed_up.v1--least"),),
        )
    found = check(old)
    (trouble,) = found.unreadable

    assert "what is stored is not of the types that it should be" == trouble.why
    assert [2] == [event.position for event in trouble.events]
    assert len(samples.SAMPLES) - 1 == found.read


def test_what_nobody_else_reads_is_found(old: World) -> None:
    """The log begins at position 1: what is before it is read by nobody, and named here."""
    with old.store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET rowid = -3 WHERE rowid = 1")
    found = check(old)

    assert [-3] == [event.position for event in found.unreadable[0].events]
    assert len(samples.SAMPLES) - 1 == found.read == len(list(old.store.read()))


def test_the_same_trouble_is_told_once(world: World) -> None:
    """Rows of one name and one reason are counted, and the first few of them are named."""
    for version in range(1, 8):
        put(world, "lane-codes", version, "lane.halted.v1", b"{" + b" " * version)
    (trouble,) = check(world).unreadable

    assert 7 == trouble.count
    assert [Found(id=f"lane-codes/{version}", position=version) for version in range(1, 6)] == (
        trouble.events
    )


def test_damage_of_every_kind_takes_no_more_room(world: World) -> None:
    """Beyond a hundred kinds of trouble the rest is counted together."""
    for version in range(1, 106):
        put(world, "lane-codes", version, f"lane.x{version:03}.v1", b"{}")
    found = check(world).unreadable

    assert 101 == len(found)
    assert ("", 5) == (found[0].name, found[0].count)


# --- what is read otherwise -----------------------------------------------------------------------


def test_what_is_read_otherwise_than_it_was_written_is_named(old: World) -> None:
    """A row that this program would not write so counts as read, and as changed."""
    state = golden("lane.halted.v1--person")
    put(old, "lane-codes", 1, "lane.halted.v1", state.replace(b'"data":', b'"data": '))
    put(old, "lane-codes", 2, "lane.halted.v1", state.replace(b'"why":', b'"whole":false,"why":'))
    found = check(old)

    assert () == found.unreadable
    assert [
        ("it says the same in other bytes: another program wrote them", "lane-codes/1"),
        ("this program writes it otherwise: whole", "lane-codes/2"),
    ] == [(trouble.why, trouble.events[0].id) for trouble in found.changed]
    assert len(samples.SAMPLES) + 2 == found.read


# --- baselines ------------------------------------------------------------------------------------


def become(monkeypatch: pytest.MonkeyPatch, name: str, kind: type) -> None:
    """Let a stored name be read as another class from now on."""
    events: Any = catalogue.EVENTS
    names: Any = catalogue.NAMES
    monkeypatch.delitem(names, events[name])
    monkeypatch.setitem(events, name, kind)
    monkeypatch.setitem(names, kind, name)
    monkeypatch.setitem(codec.PERSONAL, kind, ())


@attrs.frozen(kw_only=True)
class Bounced(notification.Bounced):
    """A later version, whose default is another one: as empty as the one before."""

    status: str | None = ""


@attrs.frozen(kw_only=True)
class BouncedWith(notification.Bounced):
    """A later version with one field more."""

    diagnostic: str | None = None


@pytest.fixture(name="bounced")
def _bounced(world: World) -> World:
    """An installation with bounces of which no status was told, in three blocks."""
    state = golden("notification.bounced.v1").replace(b',"status":"5.1.1"', b"")
    for version in range(1, 2 * BLOCK + 11):
        kind = "delayed" if version == BLOCK + 5 else "bounced"
        put(
            world,
            "notification-1",
            version,
            f"notification.{kind}.v1",
            golden(DELAYED) if kind == "delayed" else state,
        )
    return world


def test_a_default_that_changed_is_found_by_a_baseline(
    bounced: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No round trip shows that what was None is an empty text now; what was read before does."""
    file = str(tmp_path / "baseline.json")

    assert check(bounced, save=file).saved
    assert check(bounced, against=file).is_well
    become(monkeypatch, "notification.bounced.v1", Bounced)
    assert check(bounced).is_well
    (trouble,) = check(bounced, against=file).changed
    assert "notification.bounced.v1" == trouble.name
    assert "siutindei 0.1.0 read them otherwise" == trouble.why
    assert 2 * BLOCK + 9 == trouble.count
    assert [(1, 1000), (1001, 2000), (2001, 2010)] == trouble.blocks
    assert [] == trouble.events


def test_a_field_that_was_added_changes_nothing_that_was_read(
    bounced: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline knows its fields, and asks for no other."""
    file = str(tmp_path / "baseline.json")
    check(bounced, save=file)
    become(monkeypatch, "notification.bounced.v1", BouncedWith)

    assert check(bounced, against=file).is_well


def test_a_field_that_is_gone_is_found_by_a_baseline(
    old: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of an old version, whose upcast gives what it likes."""
    file = str(tmp_path / "baseline.json")
    check(old, save=file)
    name, upcast = catalogue.UPCASTS["person.address_proved.v1"]
    upcasts: Any = catalogue.UPCASTS
    other = (name, lambda payload: {**upcast(payload), "challenge": None})
    monkeypatch.setitem(upcasts, "person.address_proved.v1", other)
    found = check(old, against=file).changed

    assert ["person.address_proved.v1"] == [trouble.name for trouble in found]
    assert check(old).is_well

    document = attrs.evolve(
        BaselineFiles().read(file), fields={"ticket.declined.v1": ["by", "colour"]}
    )
    BaselineFiles().write(str(tmp_path / "other.json"), document)
    assert "ticket.declined.v1" in {
        trouble.name for trouble in check(old, against=str(tmp_path / "other.json")).changed
    }


def test_events_that_came_later_are_no_change(bounced: World, tmp_path: Path) -> None:
    """What is behind the last position of a baseline is read, and held against nothing."""
    file = str(tmp_path / "baseline.json")
    check(bounced, save=file)
    put(bounced, "notification-2", 1, DELAYED, golden(DELAYED))
    found = check(bounced, against=file)

    assert found.is_well
    assert 2 * BLOCK + 11 == found.read


def test_events_that_are_missing_are_a_change(bounced: World, tmp_path: Path) -> None:
    """A baseline of another history, or of one that lost events, says so."""
    file = str(tmp_path / "baseline.json")
    check(bounced, save=file)
    with bounced.store.writing() as cursor:
        cursor.execute("DELETE FROM stored_events WHERE topic = ?", (DELAYED,))
        cursor.execute("DELETE FROM stored_events WHERE rowid = 2010")
    found = check(bounced, against=file)

    assert [
        ("notification.bounced.v1", 10, [(2001, 2010)]),
        (DELAYED, 1, [(1001, 2000)]),
    ] == [(trouble.name, trouble.count, trouble.blocks) for trouble in found.changed]
    assert {"they are more or fewer than the baseline has"} == {
        trouble.why for trouble in found.changed
    }


def test_no_baseline_is_made_of_what_cannot_be_read(old: World, tmp_path: Path) -> None:
    """A baseline is one of everything, or it is not written."""
    put(old, "lane-codes", 1, "lane.painted.v1", b"{}")
    found = check(old, save=str(tmp_path / "baseline.json"))

    assert not found.saved
    assert [] == list(tmp_path.glob("baseline*"))


def test_a_file_that_is_there_is_refused_before_anything_is_read(
    old: World, tmp_path: Path
) -> None:
    """No history is read for a baseline that could not be written."""
    (tmp_path / "baseline.json").write_text("mine")
    with pytest.raises(Unusable, match="is there already"):
        check(old, save=str(tmp_path / "baseline.json"), progress=pytest.fail)


def test_a_baseline_is_saved_or_compared_with(old: World) -> None:
    """Both at once are refused."""
    with pytest.raises(Invalid, match="save: goes without --against"):
        check(old, save="a", against="b")


def test_values_that_are_not_the_same_are_not_told_the_same() -> None:
    """What is empty, and what looks alike, is kept apart."""
    moment = samples.AT
    values = [None, "", 0, (), Personal(token="x"), Personal(), "x", moment, moment.isoformat()]
    told = [repr(spelled(value)) for value in values]

    assert len(values) == len(set(told))
    assert repr(spelled(False)) not in told


@unhurried
@given(event=strategies.events)
def test_every_field_of_every_event_is_told(event: Any) -> None:
    """There is no value of any event that a baseline cannot take in."""
    for field in attrs.fields(type(event)):
        value = spelled(getattr(event, field.name))

        assert isinstance(value, str | int | list | dict | None)


def test_the_catalogue_that_tests_change_is_the_real_one() -> None:
    """Tests above let a stored name be read as another class, and put it back."""
    assert isinstance(catalogue.EVENTS, Mapping)
    assert catalogue.EVENTS["notification.bounced.v1"] is notification.Bounced
    assert catalogue.NAMES[ticket.Submitted] == "ticket.submitted.v1"
