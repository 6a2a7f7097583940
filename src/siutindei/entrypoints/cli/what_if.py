"""`history what-if`: what would differ under other rules."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table
from siutindei.entrypoints.cli.progress import shown_progress

if TYPE_CHECKING:
    from siutindei.app.what_if import Comparison, Difference, Fate


@click.command(
    "what-if",
    cls=Command,
    epilog=example(
        "siutindei history what-if --policy policy.json",
        "siutindei --json history what-if --policy policy.toml",
    ),
)
@click.option(
    "--policy",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The changed numbers, in JSON or TOML (docs/what-if.md).",
)
@pass_installation
@click.pass_context
def what_if(ctx: click.Context, installation: Installation, policy: Path) -> None:
    """Enact the history under changed rules, and show what would differ.

    Nothing is sent or written. The exit code is 1 when something would differ.
    """
    rules = installation.services.changed_rules(policy)
    with shown_progress("enacting", quiet=installation.json) as progress:
        found = installation.services.what_if.compare(rules, progress=progress)
    if installation.json:
        print_json(_comparison(found))
    else:
        _print_comparison(found)
    if not found.is_same:
        ctx.exit(1)


def _comparison(found: Comparison) -> dict[str, object]:
    return {
        "events": found.events,
        "mails": found.mails,
        "added": [_difference(one) for one in found.added],
        "removed": [_difference(one) for one in found.removed],
        "changed": [_difference(one) for one in found.changed],
        "refused": [
            {
                "about": one.about,
                "event": one.event,
                "client": one.client,
                "fingerprint": one.fingerprint,
                "limit": one.limit,
                "at": one.at,
            }
            for one in found.refused
        ],
        "budget": [
            {
                "day": day.day.isoformat(),
                "used": day.used,
                "limit": day.limit,
                "waited": day.waited,
            }
            for day in found.budget
        ],
        "fidelity": {
            "mails": found.mails,
            "same": found.mails - len(found.unlike),
            "unlike": [_difference(one) for one in found.unlike],
        },
        "not_enacted": list(found.not_enacted),
    }


def _difference(one: Difference) -> dict[str, object]:
    return {
        "kind": one.kind,
        "about": one.about,
        "ticket": one.ticket,
        "event": one.event,
        "asked_at": one.asked_at,
        "before": _fate(one.before),
        "after": _fate(one.after),
        "why": one.why,
        "late_seconds": None if one.late is None else one.late.total_seconds(),
    }


def _fate(fate: Fate | None) -> dict[str, object] | None:
    if fate is None:
        return None
    return {
        "fate": fate.word,
        "why": fate.why,
        "mailed_at": fate.mailed_at,
        "copies": fate.copies,
    }


def _print_comparison(found: Comparison) -> None:
    print_fields(
        [
            ("events", found.events),
            ("mails", found.mails),
            ("enacted as they were", found.mails - len(found.unlike)),
            ("added", len(found.added)),
            ("removed", len(found.removed)),
            ("changed", len(found.changed)),
            ("sign-ins refused", len(found.refused)),
            ("days short of budget", len(found.budget)),
        ]
    )
    for title, some in (
        ("Added: would be mailed, and are not", found.added),
        ("Removed: would not be mailed, and are", found.removed),
        ("Changed: would be mailed at another time, or have another fate", found.changed),
        ("Enacted under the rules of now, and yet not as it was", found.unlike),
    ):
        if some:
            echo(f"\n{title}")
            columns = ("mail", "about", "asked for", "before", "after", "when", "event")
            print_table(columns, map(_row, some), empty="")
    if found.refused:
        echo("\nSign-ins that would be refused")
        rows = [(one.at, one.client, one.limit, one.event) for one in found.refused]
        print_table(("at", "client", "limit", "event"), rows, empty="")
    if found.budget:
        echo("\nDays short of budget")
        days = [(day.day, day.used, day.limit, day.waited) for day in found.budget]
        print_table(("day", "used", "limit", "would wait"), days, empty="")
    echo("\nNot enacted")
    for sentence in found.not_enacted:
        echo(f"  {sentence}")


def _row(one: Difference) -> tuple[object, ...]:
    late = None if one.late is None else _late(one.late)
    before, after = _told(one.before, None), _told(one.after, one.why)
    return one.kind, one.ticket or one.about, one.asked_at, before, after, late, one.event


def _told(fate: Fate | None, why: str | None) -> str:
    """Say in a few words what became of a mail."""
    if fate is None:
        return why or "not asked for"
    why = fate.why
    if fate.copies > 1:
        why = f"{fate.copies} times"
    return f"{fate.word} ({why})" if why else fate.word


def _late(late: timedelta) -> str:
    """Say by how much a mail is later, or earlier."""
    seconds, word = abs(late.total_seconds()), "later" if late > timedelta(0) else "earlier"
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit} {word}"
    return f"{seconds:.1f} s {word}"
