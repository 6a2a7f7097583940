"""The catalogue: every event under a name that never changes."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

import attrs
import pytest

from siutindei.domain import catalogue
from siutindei.domain.personal import Personal
from tests.strategies import AGGREGATES

if TYPE_CHECKING:
    from types import ModuleType

NAME: Final = re.compile(
    r"(?P<category>[a-z]+)\.(?P<what>[a-z]+(_[a-z]+)*)\.v(?P<version>[1-9]\d*)"
)
#: What is in the past tense without ending in -ed.
IRREGULAR: Final = {"signed_up", "outcome_unknown", "carried_out", "withheld", "redriven"}
CASES: Final = [
    (module, name, kind) for module in AGGREGATES for name, kind in module.EVENTS.items()
]


def ids(value: object) -> str:
    """Name a case by its stored name."""
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda module: str(module.CATEGORY))
def test_every_event_of_a_module_has_a_stored_name(aggregate: ModuleType) -> None:
    """The module's union of events and its table of names hold the same, each once."""
    union = get_args(aggregate.Event) or (aggregate.Event,)

    assert set(union) == set(aggregate.EVENTS.values())
    assert len(union) == len(aggregate.EVENTS)


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda module: str(module.CATEGORY))
def test_no_event_is_left_out_of_its_union(aggregate: ModuleType) -> None:
    """Every class of a module whose instances carry a time is one of its events, or its state."""
    timed = {
        kind
        for _, kind in inspect.getmembers(aggregate, inspect.isclass)
        if kind.__module__ == aggregate.__name__ and attrs.has(kind) and hasattr(kind, "at")
    }
    state = {kind for kind in timed if kind.__name__ == "Decision"}

    assert set(get_args(aggregate.Event) or (aggregate.Event,)) == timed - state


def test_the_catalogue_is_all_modules_together() -> None:
    """No name is used twice, no class has two, and nothing else is in it."""
    assert len(CASES) == len(catalogue.EVENTS) == len(catalogue.NAMES)
    assert {name: kind for _, name, kind in CASES} == catalogue.EVENTS
    assert {kind: name for name, kind in catalogue.EVENTS.items()} == catalogue.NAMES
    assert set(get_args(catalogue.Event)) == set(catalogue.NAMES)


@pytest.mark.parametrize(("module", "name", "kind"), CASES, ids=ids)
def test_a_stored_name_is_module_past_tense_and_version(
    module: ModuleType, name: str, kind: type
) -> None:
    """The category is the module's, and the words say what happened as the class does."""
    match = NAME.fullmatch(name)

    assert match is not None
    assert (module.CATEGORY, module.__name__.rpartition(".")[2]) == (match["category"],) * 2
    assert kind.__name__ == "".join(word.capitalize() for word in match["what"].split("_"))
    assert match["what"].endswith("ed") or match["what"] in IRREGULAR


@pytest.mark.parametrize(("module", "name", "kind"), CASES, ids=ids)
def test_an_event_is_a_fact(module: ModuleType, name: str, kind: Any) -> None:
    """It is frozen, is made with named arguments, says when, and says in a sentence what it is."""
    fields = attrs.fields_dict(kind)
    hints = get_type_hints(kind)

    assert all(field.kw_only for field in fields.values())
    assert "at" in fields
    assert fields["at"].default is attrs.NOTHING
    assert kind.__setattr__ is not object.__setattr__
    assert (kind.__doc__ or "").rstrip().endswith(".")
    # Storage leaves out what is empty and equal to its default: other defaults are always written.
    assert all(
        field.default in {attrs.NOTHING, None, False, ()} or isinstance(field.default, str)
        for field in fields.values()
    )
    assert all(
        field.default is None for field in fields.values() if hints[field.name] == Personal | None
    )


@pytest.mark.parametrize("old", sorted(catalogue.UPCASTS))
def test_an_upcast_leads_to_a_current_event(old: str) -> None:
    """An old name is not a current one, and its chain ends at one, a version later at each step."""
    name = old
    steps = [old]
    while name in catalogue.UPCASTS:
        name, upcast = catalogue.UPCASTS[name]
        before, after = NAME.fullmatch(steps[-1]), NAME.fullmatch(name)

        assert before is not None
        assert after is not None
        assert int(after["version"]) > int(before["version"])
        assert upcast.__doc__
        steps.append(name)

    assert old not in catalogue.EVENTS
    assert name in catalogue.EVENTS


def test_a_later_version_has_all_earlier_ones() -> None:
    """What is at version 3 can be read at versions 1 and 2: nothing that was stored is left out."""
    for name in catalogue.EVENTS:
        stem, _, version = name.rpartition(".v")

        assert {f"{stem}.v{earlier}" for earlier in range(1, int(version))} <= set(
            catalogue.UPCASTS
        )
