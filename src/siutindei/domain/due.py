"""When something that was put off is due."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

#: Nothing is put off for as long: the budget's rolling day and the longest settle time are a day.
FARTHEST: Final = timedelta(days=2)


def is_due(due_at: datetime, *, at: datetime) -> bool:
    """Whether it is time.

    What seems to be farther off than anything is put off was written by a clock that was ahead, and
    is due now.
    """
    return due_at <= at or due_at > at + FARTHEST
