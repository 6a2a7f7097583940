"""Who looked: one event for each call."""

from __future__ import annotations

from typing import Any, Final

from siutindei.domain import access
from tests.support import START, given

LOOK: Final[dict[str, Any]] = {
    "what": "dossier",
    "subject": "R00001",
    "by": "eve",
    "shown": 3,
    "at": START,
}
OPENED: Final = access.Opened(**LOOK)


def test_a_look_is_recorded() -> None:
    """It says who looked at what, how much was shown, and when."""
    given(access).when(access.look, **LOOK).then(OPENED)


def test_a_second_look_is_another_one() -> None:
    """Nothing keeps a look from being recorded, not even the same one before it."""
    given(access, OPENED).when(access.look, **LOOK).then(OPENED)

    assert access.Accesses(count=2, newest=OPENED) == given(access, OPENED, OPENED).state


def test_each_thing_has_a_stream_of_its_own() -> None:
    """A ticket, a person, and all suppressions together."""
    assert "access-ticket-R00001" == access.stream("dossier", "R00001")
    assert "access-person-u-1" == access.stream("export", "u-1")
    assert "access-suppressions" == access.stream("addresses", access.SUPPRESSIONS)
