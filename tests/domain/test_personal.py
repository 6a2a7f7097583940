"""Personal data: clear, sealed or erased, and never shown by accident."""

from __future__ import annotations

import copy
import json
import traceback
from pprint import pformat
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.domain.personal import ERASED, ERASED_TEXT, Personal, address_owner, maybe, of
from tests.strategies import events

SECRET: Final = "ann.secret@example.com"
TOKEN: Final = "key.c2VjcmV0"
PLACE: Final = "ticket-R00001/1/submitter_email"


def clear() -> Personal:
    """Make a clear one."""
    return of("ann", SECRET)


def sealed() -> Personal:
    """Make a sealed one."""
    return Personal(token=TOKEN, place=PLACE)


@attrs.frozen
class Holder:
    """Something that holds personal data, as events and states do."""

    value: Personal
    more: tuple[Personal, ...]


def shown(value: Personal) -> list[str]:
    """Show it in all the ways in which a program shows things by accident."""
    holder = Holder(value, (value,))
    return [
        repr(value),
        str(value),
        format(value),
        f"{value}",
        f"{value!r}",
        f"{value!s:>40}",
        f"{value!a}",
        "%s %r" % (value, value),  # noqa: UP031  # the way of log messages
        "{} {!r}".format(value, value),  # noqa: UP032  # the same
        repr([value, {"value": value}]),
        pformat({"value": value}),
        repr(holder),
        str(holder),
        repr(attrs.asdict(holder)),
        repr(attrs.astuple(holder)),
        json.dumps({"value": value}, default=str),
        str(ValueError("wrong", value)),
        repr(ValueError("wrong", value)),
        repr(KeyError(value)),
        "".join(traceback.format_exception(ValueError(value))),
        repr(copy.copy(value)),
        repr(copy.deepcopy(holder)),
    ]


@pytest.mark.parametrize(
    ("value", "word"),
    [(clear(), "clear"), (sealed(), "sealed"), (ERASED, "erased")],
    ids=["clear", "sealed", "erased"],
)
def test_nothing_shows_what_is_inside(value: Personal, word: str) -> None:
    """Whichever way it is shown, it says in which state it is and nothing else."""
    texts = shown(value)

    assert f"<Personal {word}>" == texts[0]
    assert all(f"<Personal {word}>" in text for text in texts)
    assert not any("secret" in text.lower() or TOKEN in text for text in texts)
    assert not any("ann" in text for text in texts)


def test_a_format_of_its_own_is_refused_without_the_text() -> None:
    """A width cannot be asked for, and the fault does not show the text."""
    with pytest.raises(TypeError) as caught:
        f"{clear():>40}"

    assert SECRET not in str(caught.value)


def test_it_is_no_json_of_itself() -> None:
    """Without somebody who seals it, it cannot be written, and the fault does not show the text."""
    with pytest.raises(TypeError) as caught:
        json.dumps({"value": clear()})

    assert SECRET not in str(caught.value)


def test_a_traceback_with_its_variables_does_not_show_it() -> None:
    """Even a report of a crash that prints local variables keeps it to itself."""

    def crash(value: Personal) -> None:
        raise LookupError(value)

    try:
        crash(clear())
    except LookupError as error:
        report = "".join(
            traceback.TracebackException.from_exception(error, capture_locals=True).format()
        )

    assert "value = <Personal clear>" in report
    assert SECRET not in report


@given(event=events, text=st.text("☀☁☂☃", min_size=5))
def test_no_event_shows_what_was_typed(event: Any, text: str) -> None:
    """The `repr` of an event holds none of its personal texts, as an object or as a dict."""
    names = [
        field.name
        for field in attrs.fields(type(event))
        if isinstance(getattr(event, field.name), Personal)
    ]
    typed = attrs.evolve(event, **{name: of("ann", text) for name in names})
    changed = [value for value in attrs.asdict(typed).values() if isinstance(value, Personal)]

    assert [text] * len(names) == [value.text for value in changed]
    assert text not in repr(typed)
    assert text not in repr(attrs.asdict(typed))


# --- the three states ----------------------------------------------------------------------------


def test_a_clear_one_gives_its_text() -> None:
    """It belongs to somebody, and is neither sealed nor erased."""
    value = clear()

    assert (SECRET, "ann", False, False) == (
        value.text,
        value.owner,
        value.is_sealed,
        value.is_erased,
    )


def test_an_empty_text_is_a_text() -> None:
    """Nothing typed is not the same as erased."""
    assert ("", False) == (of("ann", "").text, of("ann", "").is_erased)


def test_a_sealed_one_has_to_be_opened() -> None:
    """Asking it for its text is a fault of the program, which does not show the token."""
    value = sealed()
    with pytest.raises(TypeError, match="sealed: open it with the vault first") as caught:
        _ = value.text

    assert TOKEN not in str(caught.value)
    assert (True, False) == (value.is_sealed, value.is_erased)


def test_an_erased_one_says_so() -> None:
    """Reading what was erased is no fault: it reads `[erased]`."""
    assert (ERASED_TEXT, True, False) == (ERASED.text, ERASED.is_erased, ERASED.is_sealed)
    assert "[erased]" == ERASED_TEXT


def test_no_text_is_nothing_personal() -> None:
    """Where nothing was typed there is nothing to own."""
    assert maybe("ann", None) is None
    assert of("ann", "") == maybe("ann", "")
    assert "ann" == getattr(maybe("ann", "x"), "owner", None)


def test_an_address_owns_what_belongs_to_no_user() -> None:
    """Its owner is named by the fingerprint, not by the address."""
    assert "address-f1" == address_owner("f1")


# --- comparing -----------------------------------------------------------------------------------


def test_what_is_inside_is_compared() -> None:
    """Whose it is and where it stood do not count."""
    elsewhere = Personal(owner="bob", clear=SECRET, place=PLACE)

    assert clear() == elsewhere
    assert hash(clear()) == hash(elsewhere)
    assert sealed() == Personal(token=TOKEN)


@pytest.mark.parametrize(
    "other",
    [of("ann", "other"), sealed(), ERASED, SECRET, None, Personal(token=SECRET)],
    ids=["text", "sealed", "erased", "bare", "nothing", "token"],
)
def test_another_text_or_state_is_not_equal(other: Any) -> None:
    """Neither another text, nor another state, nor the bare text is the same."""
    assert clear() != other
    assert not clear() == other  # noqa: SIM201  # both ways are asked for


def test_equal_ones_are_one_in_a_set() -> None:
    """Equality and hash agree."""
    assert 3 == len({clear(), clear(), sealed(), sealed(), ERASED, Personal()})


def test_it_holds_nothing_else() -> None:
    """A misspelt attribute is a fault, and there is no dict to look into."""
    value: Any = clear()
    with pytest.raises(AttributeError):
        value.txt = "x"

    assert not hasattr(value, "__dict__")
