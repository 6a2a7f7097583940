"""How the budget stands: what went, what may still go, what waits, and when it is full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.ports import Clock, EventStore, SesAccount, SesSettings, Views
from siutindei.domain import budget
from siutindei.domain.notification import KINDS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOUR: Final = timedelta(hours=1)
#: How far our count and SES's may be apart, as a part of the larger one.
_APART: Final = 10


@attrs.frozen(kw_only=True)
class Standing:
    """How the budget stands.

    Attributes:
        limits: its numbers.
        usage: what went in the last 24 hours.
        waiting: the mails that wait for room, by kind.
        last_hour: how many mails went in the last hour.
        full_at: when it is full if that goes on, to the hour; None when it is not.
        account: what SES says; None when mails go elsewhere.
        findings: what is wrong, in sentences.
    """

    limits: budget.Limits
    usage: budget.Usage
    waiting: Mapping[Kind, int]
    last_hour: int
    full_at: datetime | None
    account: SesAccount | None = None
    findings: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Budget:
    """What may be asked of the budget; `ses` is None when mails go elsewhere."""

    store: EventStore
    clock: Clock
    limits: budget.Limits
    ses: SesSettings | None

    def standing(self) -> Standing:
        """Say how the budget stands.

        Raises:
            Unavailable: the store or SES cannot be reached.
            Unusable: SES cannot be asked with these credentials, or without any.
        """
        at, views = self.clock.now(), self.store.views
        account = None if self.ses is None else self.ses.account()
        found = standing(views, at=at, limits=self.limits)
        return attrs.evolve(
            found, account=account, findings=tuple(self._findings(found.usage, account))
        )

    def _findings(self, usage: budget.Usage, account: SesAccount | None) -> Iterator[str]:
        yield from misfits(self.limits)
        if account is None:
            return
        if 0 <= account.quota < self.limits.quota:
            yield (
                f"SES takes {account.quota:.0f} mails in 24 hours and SIUTINDEI_DAILY_QUOTA is "
                f"{self.limits.quota}: set it to {account.quota:.0f}, or ask AWS for more"
            )
        if abs(account.sent - usage.used) * _APART > max(account.sent, usage.used):
            yield (
                f"SES counts {account.sent:.0f} mails in 24 hours and we count {usage.used}: "
                "find out who else sends with this account, or what was restored or repeated"
            )


def standing(views: Views, *, at: datetime, limits: budget.Limits) -> Standing:
    """Say how the budget stands at a moment, of which the read models are."""
    # What is counted now, and what of it still is in an hour, in two...
    since = at - budget.WINDOW
    first = views.sends(since=since)
    hours = budget.WINDOW // _HOUR
    later = [views.sends(since=since + hour * _HOUR) for hour in range(1, hours + 1)]
    remaining = [sends.usage.used for sends in (first, *later)]
    last_hour = remaining[hours - 1]
    full_in = budget.hours_until_full(limits, remaining=remaining, hourly=last_hour)
    deferred = Counter(
        found.requested.kind
        for found in views.notifications(status="deferred")
        if found.requested is not None
        and found.why == "over_budget"
        # A code that has expired waits for being withheld, and for no room.
        and (found.requested.expires_at is None or found.requested.expires_at > at)
    )
    return Standing(
        limits=limits,
        usage=first.usage,
        waiting={kind: deferred[kind] for kind in KINDS},
        last_hour=last_hour,
        full_at=None if full_in is None else at + full_in * _HOUR,
    )


def misfits(limits: budget.Limits) -> Iterator[str]:
    """Say which mails would wait forever, because all there is is kept for others."""
    never = budget.never_sent(limits)
    if never:
        yield (
            f"{', '.join(never)}: no such mail is ever sent, because SIUTINDEI_DECISION_FLOOR and "
            "SIUTINDEI_CODE_RESERVE keep all of SIUTINDEI_DAILY_QUOTA for others: "
            f"make them less than {limits.quota}, together"
        )
