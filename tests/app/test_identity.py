"""Who acts: ids in clear, addresses as their fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from siutindei.app.identity import someone, user_id
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from tests.app.world import World


def test_an_id_is_kept_as_it_is() -> None:
    """The id of a user is a line that is trimmed and otherwise left alone."""
    assert user_id("user", " 7b0e-Az_. ") == "7b0e-Az_."


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "  ",
        "a b",
        "a/b",
        "a\nb",
        "a\u00a0b",
        "a\x00b",
        "a" * 129,
        "ann@example.com",
    ],
)
def test_what_is_no_id_is_refused(value: object) -> None:
    """An id has no blank, no slash and no control character, and is no address."""
    with pytest.raises(Invalid) as refused:
        user_id("by", value)

    assert refused.value.field == "by"


def test_the_refusal_does_not_repeat_the_address() -> None:
    """An address that was given for an id is not repeated to whoever reads the log."""
    with pytest.raises(Invalid) as refused:
        user_id("user", "ann@example.com")

    assert "ann" not in str(refused.value)


def test_an_id_acts_under_its_own_name(world: World) -> None:
    """Somebody who is named by an id is shown by it, and owns how they are shown."""
    found = someone(world.services.addresses, "by", "admin-7")

    assert ("admin-7", "admin-7", "admin-7") == (found.id, found.shown.text, found.shown.owner)


def test_an_address_acts_under_its_fingerprint(world: World) -> None:
    """Somebody who is named by an address is known by its fingerprint, whatever its case."""
    lower = someone(world.services.addresses, "by", "lee@example.com")
    upper = someone(world.services.addresses, "by", "LEE@example.com")

    assert lower.id == upper.id
    assert lower.id == f"address-{world.services.addresses.fingerprint('lee@example.com')}"
    assert (lower.shown.text, lower.shown.owner) == ("lee@example.com", lower.id)
    assert "lee" not in lower.id


@pytest.mark.parametrize("value", ["lee@", "@example.com", "a@b@example.com", ""])
def test_what_is_neither_is_refused(world: World, value: str) -> None:
    """Nobody acts under half an address."""
    with pytest.raises(Invalid) as refused:
        someone(world.services.addresses, "by", value)

    assert refused.value.field == "by"


@pytest.mark.parametrize("at", ["@", "\uff20", "\ufe6b"])
def test_an_address_is_no_id_however_its_at_is_written(at: str) -> None:
    """What is kept in clear is never an address, also with a letter that looks like an @."""
    with pytest.raises(Invalid, match="is an address"):
        user_id("user", f"eve{at}example.com")
