"""The rules whose numbers an installation can choose, and those that a what-if can."""

from __future__ import annotations

from datetime import timedelta

import attrs

from siutindei.domain import budget, challenge, notification, suppression


@attrs.frozen(kw_only=True)
class Rules:
    """What decides whether and when mails go.

    Attributes:
        sign_in: the limits of sign-ins.
        budget: the mails of a rolling day.
        settle: how long an unknown outcome is left to feedback.
        soft_bounces: how many bounces for now suppress an address.
        retries: when mails are tried again.
        terms: how long soft bounces count, and suppress.
    """

    sign_in: challenge.Limits
    budget: budget.Limits
    settle: timedelta
    soft_bounces: int
    retries: notification.Retries = notification.RETRIES
    terms: suppression.Terms = suppression.TERMS
