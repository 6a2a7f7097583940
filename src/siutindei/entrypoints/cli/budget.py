"""`budget`: the mails of the rolling day, against what may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from siutindei.app.history import moment
from siutindei.domain import budget as rules
from siutindei.domain.notification import KINDS
from siutindei.entrypoints.cli.base import Command, Installation, example
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.app.budgeting import Standing
    from siutindei.domain.budget import Usage
    from siutindei.domain.notification import Kind

#: What something is kept for; nothing is for notices.
_KEPT_FOR: Final[tuple[Kind, ...]] = ("sign_in_code", "ticket_decided")


@click.command(
    cls=Command,
    epilog=example("siutindei budget", "siutindei budget --at 2026-01-31T09:30:00+08:00"),
)
@click.option("--at", metavar="TIME|POSITION", help="Show how it stood then, by today's numbers.")
@click.pass_context
def budget(ctx: click.Context, at: str | None) -> None:
    """Show what is used and left of the day's mails.

    A day is the last 24 hours. When mails go to SES, what SES counts stands beside it. Exit code 1
    says that something is wrong, 75 that SES cannot be reached. docs/budget.md says what to do when
    it runs low.
    """
    installation = ctx.ensure_object(Installation)
    if at is None:
        standing = installation.services.budget.standing()
    else:
        standing = installation.services.history.budget(at=moment("at", at))
    if installation.json:
        print_json(_document(standing))
    else:
        _print(standing)
    if standing.findings:
        ctx.exit(1)


def _counts(usage: Usage) -> Mapping[Kind, int]:
    return {
        "sign_in_code": usage.codes,
        "ticket_received": usage.notices,
        "ticket_decided": usage.decisions,
    }


def _kept(standing: Standing) -> dict[Kind, int]:
    """Say what is still kept for each kind."""
    return {
        kind: rules.kept(kind, usage=standing.usage, limits=standing.limits) for kind in _KEPT_FOR
    }


def _left(standing: Standing) -> dict[Kind, int]:
    return {kind: rules.left(kind, usage=standing.usage, limits=standing.limits) for kind in KINDS}


def _document(standing: Standing) -> dict[str, Any]:
    account = standing.account
    return {
        "used": standing.usage.used,
        "limit": standing.limits.quota,
        "reserve": _kept(standing),
        "left": _left(standing),
        "counts": _counts(standing.usage),
        "waiting": standing.waiting,
        "forecast": {"last_hour": standing.last_hour, "full_at": standing.full_at},
        "ses": account and {"used": int(account.sent), "limit": int(account.quota)},
        "findings": standing.findings,
    }


def _print(standing: Standing) -> None:
    counts, kept, left = _counts(standing.usage), _kept(standing), _left(standing)
    print_table(
        ("kind", "used", "kept for it", "left", "waiting"),
        (
            (kind, counts[kind], kept.get(kind), left[kind], standing.waiting[kind])
            for kind in KINDS
        ),
        empty="",
    )
    echo()
    full = "not full at that rate" if standing.full_at is None else when(standing.full_at)
    account = standing.account
    print_fields(
        [
            ("used", f"{standing.usage.used} of {standing.limits.quota} in 24 hours"),
            ("last hour", standing.last_hour),
            ("full", full),
            ("SES", account and f"{account.sent:.0f} of {_most(account.quota)} in 24 hours"),
        ]
    )
    for finding in standing.findings:
        echo(f"wrong: {finding}")


def _most(quota: float) -> str:
    return "any number" if quota < 0 else f"{quota:.0f}"
