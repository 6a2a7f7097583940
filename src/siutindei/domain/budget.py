"""The budget: how many mails may go in a rolling day, and which of them wait when it runs short.

Mails of every kind are counted together. Some are kept for codes and some for decisions, for as
long as that many were not counted; whatever is kept for one kind, the others leave alone:

    a code      may go while used + kept for decisions                   < quota
    a decision  may go while used + kept for codes                       < quota
    a notice    may go while used + kept for codes + kept for decisions  < quota
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.domain.notification import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from siutindei.domain.notification import Kind

RULE: Final = "budget.rolling_day.v1"
WINDOW: Final = timedelta(days=1)
#: Who has to wait looks again no sooner and no later than this.
SOONEST: Final = timedelta(minutes=1)
LATEST: Final = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Limits:
    """The numbers of the budget.

    Attributes:
        quota: mails in a rolling day, of every kind.
        floor: how many of them are kept for decisions.
        reserve: how many of them are kept for codes.
    """

    quota: int = 1000
    floor: int = 100
    reserve: int = 300


@attrs.frozen(kw_only=True)
class Usage:
    """The mails of a rolling day that went, or may have gone."""

    codes: int = 0
    decisions: int = 0
    notices: int = 0

    @property
    def used(self) -> int:
        """All of them."""
        return self.codes + self.decisions + self.notices


def kept(kind: Kind, *, usage: Usage, limits: Limits) -> int:
    """Say how many mails are still kept for a kind; none for notices."""
    if kind == "sign_in_code":
        return max(0, limits.reserve - usage.codes)
    return max(0, limits.floor - usage.decisions) if kind == "ticket_decided" else 0


def left(kind: Kind, *, usage: Usage, limits: Limits) -> int:
    """Say how many mails of a kind may still go, when no other goes meanwhile."""
    others = sum(kept(other, usage=usage, limits=limits) for other in KINDS if other != kind)
    return max(0, limits.quota - usage.used - others)


def has_room(kind: Kind, *, usage: Usage, limits: Limits) -> bool:
    """Whether a mail of a kind may go now."""
    return left(kind, usage=usage, limits=limits) > 0


def never_sent(limits: Limits) -> tuple[Kind, ...]:
    """List the kinds that have no room even in an empty window: they would wait forever."""
    return tuple(kind for kind in KINDS if not has_room(kind, usage=Usage(), limits=limits))


def look_again(oldest: datetime | None, *, at: datetime) -> datetime:
    """Say when who has to wait looks again: when the oldest mail has left the window.

    Not sooner than in a minute and not later than in an hour: another one may have left by then, or
    have been found not to be sent.
    """
    if oldest is None:
        return at + LATEST
    return min(max(oldest + WINDOW, at + SOONEST), at + LATEST)


def hours_until_full(limits: Limits, *, remaining: Sequence[int], hourly: int) -> int | None:
    """Say in how many hours the window is full if mails go on as they do, or None.

    Args:
        limits: the numbers of the budget.
        remaining: how many of the mails that are counted now still are, now, in an hour, in two...
        hourly: how many mails go in an hour.
    """
    for hours, count in enumerate(remaining):
        if count + hours * hourly >= limits.quota:
            return hours
    return None
