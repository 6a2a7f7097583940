"""Instants: as whole microseconds and back, and as clocks in Hong Kong show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HONG_KONG: Final = timezone(timedelta(hours=8))


#: In other years nothing happens: at the ends of what a date can be nobody can count any more.
YEARS: Final = range(EPOCH.year, 9000)


def is_moment(at: datetime) -> bool:
    """Whether something can have happened at a time: it has an offset, and can be counted with."""
    return at.tzinfo is not None and at.year in YEARS


def bounded(at: datetime) -> datetime:
    """Give a time that can be counted with, before or after everything when that one is."""
    if at.year in YEARS:
        return at
    return EPOCH if at.year < YEARS.start else datetime(YEARS.stop, 1, 1, tzinfo=UTC)


def micros(at: datetime) -> int:
    """Count the microseconds since 1970, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """Give the instant of a count of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)


def hong_kong(at: datetime) -> datetime:
    """Give a time as clocks show it in Hong Kong."""
    return at.astimezone(_HONG_KONG)
