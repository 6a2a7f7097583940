"""The budget: what may go, what waits first, and what nothing can take from codes and decisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import pytest
from hypothesis import given, strategies

from siutindei.domain import budget
from siutindei.domain.budget import Limits, Usage
from siutindei.domain.notification import KINDS, Kind
from tests.support import START

CODE: Final = "sign_in_code"
DECISION: Final = "ticket_decided"
NOTICE: Final = "ticket_received"
COUNTS: Final[dict[Kind, str]] = {CODE: "codes", DECISION: "decisions", NOTICE: "notices"}
DEFAULT: Final = Limits()
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)

numbers = strategies.integers(0, 40)
all_limits = strategies.builds(Limits, quota=numbers, floor=numbers, reserve=numbers)
usages = strategies.builds(Usage, codes=numbers, decisions=numbers, notices=numbers)
kinds = strategies.sampled_from(KINDS)


def used(**counts: int) -> Usage:
    """Say what went."""
    return Usage(**counts)


def may_go(usage: Usage, limits: Limits = DEFAULT) -> set[Kind]:
    """Say which kinds may go now."""
    return {kind for kind in KINDS if budget.has_room(kind, usage=usage, limits=limits)}


def lefts(usage: Usage, limits: Limits = DEFAULT) -> tuple[int, ...]:
    """Say how many codes, decisions and notices may still go."""
    return tuple(budget.left(kind, usage=usage, limits=limits) for kind in COUNTS)


def sent(usage: Usage, kind: Kind, count: int = 1) -> Usage:
    """Count more mails of a kind, or fewer."""
    changed: dict[str, Any] = {COUNTS[kind]: getattr(usage, COUNTS[kind]) + count}
    return attrs.evolve(usage, **changed)


# --- the three formulas ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "kind", "is_last"),
    [
        (used(codes=899), CODE, True),
        (used(codes=900), CODE, False),
        (used(codes=939, decisions=60), CODE, False),
        (used(codes=899, decisions=100), CODE, True),
        (used(decisions=699), DECISION, True),
        (used(decisions=700), DECISION, False),
        (used(codes=200, decisions=699), DECISION, True),
        (used(codes=200, decisions=700), DECISION, False),
        (used(codes=300, decisions=699), DECISION, True),
        (used(notices=599), NOTICE, True),
        (used(notices=600), NOTICE, False),
        (used(codes=300, decisions=100, notices=599), NOTICE, True),
        (used(codes=300, decisions=100, notices=600), NOTICE, False),
    ],
)
def test_the_formulas_at_their_edges(usage: Usage, kind: Kind, is_last: bool) -> None:
    """The last mail that has room goes, and the next one of its kind has none."""
    assert is_last is budget.has_room(kind, usage=usage, limits=DEFAULT)
    assert not budget.has_room(kind, usage=sent(usage, kind), limits=DEFAULT)


@given(usages, all_limits)
def test_what_may_go_is_what_the_formulas_say(usage: Usage, limits: Limits) -> None:
    """Written out, as the settings are described."""
    for_decisions = max(0, limits.floor - usage.decisions)
    for_codes = max(0, limits.reserve - usage.codes)
    total = usage.codes + usage.decisions + usage.notices

    assert may_go(usage, limits) == {
        kind
        for kind, kept in (
            (CODE, for_decisions),
            (DECISION, for_codes),
            (NOTICE, for_codes + for_decisions),
        )
        if total + kept < limits.quota
    }


def test_what_is_left_by_default() -> None:
    """Nobody may use what is kept for others."""
    assert (900, 700, 600) == lefts(used())
    assert (600, 700, 600) == lefts(used(codes=300))
    assert (0, 0, 0) == lefts(used(codes=1200))


@given(usages, all_limits, kinds)
def test_as_many_go_as_are_left(usage: Usage, limits: Limits, kind: Kind) -> None:
    """What is said to be left is what goes of a kind when nothing else does."""
    count = 0
    while budget.has_room(kind, usage=sent(usage, kind, count), limits=limits):
        count += 1

    assert count == budget.left(kind, usage=usage, limits=limits)


# --- what always holds ----------------------------------------------------------------------------

#: A mail that is wanted, or (None) the oldest one leaving the window.
steps = strategies.lists(strategies.one_of(kinds, strategies.none()), max_size=150)


@given(all_limits, steps)
def test_the_quota_is_never_exceeded(limits: Limits, wanted: list[Kind | None]) -> None:
    """However mails come and leave the window, there are never more in it than the quota."""
    window: list[Kind] = []
    for kind in wanted:
        usage = count(window)
        if kind is None:
            window = window[1:]
        elif budget.has_room(kind, usage=usage, limits=limits):
            window.append(kind)

        assert count(window).used <= limits.quota


@given(all_limits, steps)
def test_what_is_kept_is_there_when_it_is_wanted(limits: Limits, wanted: list[Kind | None]) -> None:
    """Where both fit into the quota, no code of the reserve and no decision of the floor waits."""
    limits = attrs.evolve(limits, quota=limits.quota + limits.floor + limits.reserve)
    window: list[Kind] = []
    for kind in wanted:
        usage = count(window)
        goes = kind is not None and budget.has_room(kind, usage=usage, limits=limits)

        assert goes or kind != CODE or usage.codes >= limits.reserve
        assert goes or kind != DECISION or usage.decisions >= limits.floor
        if kind is None:
            window = window[1:]
        elif goes:
            window.append(kind)


@given(usages, all_limits)
def test_notices_wait_first(usage: Usage, limits: Limits) -> None:
    """As long as a notice may go, so may everything else."""
    assert NOTICE not in may_go(usage, limits) or may_go(usage, limits) == set(KINDS)


@given(usages, all_limits)
def test_codes_wait_last(usage: Usage, limits: Limits) -> None:
    """As long as a decision may go, so may a code, unless it would be at the decisions' cost."""
    is_at_their_cost = limits.floor - usage.decisions > max(0, limits.reserve - usage.codes)

    assert DECISION not in may_go(usage, limits) or CODE in may_go(usage, limits) | (
        {CODE} if is_at_their_cost else set()
    )


def test_the_order_on_a_day_of_everything() -> None:
    """When all kinds come at the same rate, notices wait first, decisions next, codes last."""
    limits, usage, waiting = Limits(quota=100, floor=30, reserve=60), Usage(), list[Kind]()
    for _ in range(100):
        for kind in (NOTICE, DECISION, CODE):
            if budget.has_room(kind, usage=usage, limits=limits):
                usage = sent(usage, kind)
            elif kind not in waiting:
                waiting.append(kind)

    assert [NOTICE, DECISION, CODE] == waiting
    assert used(codes=60, decisions=30, notices=10) == usage


def count(window: list[Kind]) -> Usage:
    """Count the mails in a window."""
    return Usage(**{name: window.count(kind) for kind, name in COUNTS.items()})


# --- numbers that do not fit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (DEFAULT, ()),
        (Limits(quota=401), ()),
        (Limits(quota=400), (NOTICE,)),
        (Limits(quota=300), (NOTICE, DECISION)),
        (Limits(quota=100), (CODE, NOTICE, DECISION)),
        (Limits(quota=1, floor=0, reserve=0), ()),
    ],
)
def test_what_would_wait_forever(limits: Limits, expected: tuple[Kind, ...]) -> None:
    """What is kept for others may be all there is."""
    assert expected == budget.never_sent(limits)


@given(usages, all_limits)
def test_what_has_no_room_in_an_empty_window_never_has(usage: Usage, limits: Limits) -> None:
    """Mails that go leave no more room to anybody than there was."""
    assert not may_go(usage, limits) & set(budget.never_sent(limits))


# --- when to look again ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oldest", "wait"),
    [
        (None, HOUR),
        (timedelta(0), HOUR),
        (timedelta(hours=23), HOUR),
        (timedelta(hours=23, minutes=30), timedelta(minutes=30)),
        (timedelta(hours=23, minutes=59, seconds=30), MINUTE),
        (timedelta(days=2), MINUTE),
        (-timedelta(days=1), HOUR),
    ],
)
def test_who_waits_looks_again_when_there_may_be_room(
    oldest: timedelta | None, wait: timedelta
) -> None:
    """When the oldest mail leaves the window, within the minute and the hour that bound it."""
    first: datetime | None = None if oldest is None else START - oldest

    assert START + wait == budget.look_again(first, at=START)


# --- the forecast ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("remaining", "hourly", "expected"),
    [
        ([100, 90, 80], 0, 0),
        ([99, 99, 99], 0, None),
        ([90, 90, 90], 5, 2),
        ([90, 80, 70], 5, None),
        ([0] * 25, 4, None),
        ([0] * 25, 5, 20),
    ],
)
def test_the_window_gets_full_when_more_come_than_leave(
    remaining: list[int], hourly: int, expected: int | None
) -> None:
    """What leaves it by then is taken off, and what comes is added."""
    limits = Limits(quota=100)

    assert expected == budget.hours_until_full(limits, remaining=remaining, hourly=hourly)
