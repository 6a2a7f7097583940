"""Instants as whole microseconds, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


#: Beyond these nothing happens, and nobody can count any more: a day more is no date.
FIRST: Final = EPOCH
LAST: Final = datetime(9000, 1, 1, tzinfo=UTC)


def is_moment(at: datetime) -> bool:
    """Whether something can have happened at a time: it has an offset, and can be counted with."""
    return at.tzinfo is not None and FIRST.year <= at.year < LAST.year


def micros(at: datetime) -> int:
    """Count the microseconds since 1970, exactly."""
    return (at - EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime:
    """Give the instant of a count of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=value)
