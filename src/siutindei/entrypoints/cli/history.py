"""`history`: the events themselves, a stream's state at a moment, a replay."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from siutindei.app.history import describe, moment
from siutindei.app.what_if import NOT_ENACTED, Comparison, Difference, Fate
from siutindei.domain import fields
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import (
    cell,
    echo,
    iso,
    print_fields,
    print_json,
    print_table,
    when,
)
from siutindei.entrypoints.cli.progress import shown_progress
from siutindei.entrypoints.cli.stopping import is_output_closed, stopping

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from siutindei.app.ports import Recorded

#: How often somebody who follows the log looks for more, in seconds.
_FOLLOW_EVERY: Final = 0.2
#: The largest position that a store can have.
_MOST: Final = 2**63 - 1
_NOT_IN_GIST: Final = frozenset({"at", "rule", "template_hash", "id", "cause"})


@click.group(cls=Group)
def history() -> None:
    """Read the history and replay it; this sends nothing."""


@history.command(
    epilog=example(
        "siutindei history stream ticket-R00001",
        "siutindei history stream ticket-R00001 --at 1",
    )
)
@click.argument("id")
@click.option("--at", metavar="VERSION|TIME", help="Show the state at that moment instead.")
@pass_installation
def stream(installation: Installation, id: str, at: str | None) -> None:
    """Show a stream's events, or its state at a moment.

    ID names the stream, as an event's id does up to its slash. What is personal stays sealed.
    """
    service = installation.services.history
    if at is None:
        _print_events(installation, service.stream(id))
        return
    state = service.state(id, at=moment("at", at))
    if installation.json:
        print_json({"stream": id, "state": state})
    else:
        print_fields(_flat(state))


def _flat(state: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in state.items():
        if isinstance(value, dict):
            pairs.extend(_flat(value, f"{prefix}{name}."))
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


@history.command(
    epilog=example(
        "siutindei history tail --type ticket.approved",
        "siutindei --json history tail --follow --after 120",
    )
)
@click.option("--follow", is_flag=True, help="Go on with what is appended from now on.")
@click.option("--after", type=int, default=0, metavar="POSITION", help="Start behind it.")
@click.option(
    "--type", "name", metavar="NAME", help="Only events of this name, with its version or without."
)
@click.option("--stream", "stream_id", metavar="ID", help="Only events of this stream.")
@click.option("--until", metavar="TIME|POSITION", help="Stop at this moment or position.")
@pass_installation
def tail(
    installation: Installation,
    follow: bool,
    after: int,
    name: str | None,
    stream_id: str | None,
    until: str | None,
) -> None:
    """Show the log in order of position.

    With --follow it goes on until it is stopped, or until nobody reads it any more.
    """
    fields.whole("after", after, least=0, most=_MOST)
    service, store = installation.services.history, installation.services.store
    end = None if until is None else moment("until", until)
    with stopping() as state:
        while True:
            # Only what is there by now: what comes meanwhile is for the next round.
            last = store.last_position()
            found = service.tail(after=after, until=end, name=name, stream=stream_id)
            _print_events(
                installation,
                takewhile(lambda entry: entry.position <= last and not state.asked, found),  # noqa: B023
            )
            after = max(after, last)
            while store.last_position() <= after:
                over = after >= end if isinstance(end, int) else _is_past(installation, end)
                if not follow or over or state.asked or is_output_closed():
                    return
                state.wait(_FOLLOW_EVERY)
            if not follow:
                return


def _is_past(installation: Installation, end: datetime | None) -> bool:
    return end is not None and installation.services.clock.now() > end


def _print_events(installation: Installation, events: Iterable[Recorded]) -> None:
    if installation.json:
        for entry in events:
            print_json(describe(entry))
        return
    for entry in events:
        echo(
            f"{entry.position:>6}  {when(entry.recorded_at)}  {entry.id}  {entry.name}"
            f"  {cell(_gist(entry))}"
        )


def _gist(entry: Recorded) -> str:
    """Say in a few words what an event holds, without what every event has."""
    return " ".join(
        f"{name}={value}"
        for name, value in describe(entry)["data"].items()
        if value and not isinstance(value, list | dict) and name not in _NOT_IN_GIST
    )


@history.command(
    epilog=example(
        "siutindei history replay",
        "siutindei history replay --until 2026-01-31T09:30:00+08:00 --projection tickets",
    )
)
@click.option("--until", metavar="TIME|POSITION", help="Stop at this moment or position.")
@click.option("--projection", metavar="NAME", help="Digest this read model only.")
@pass_installation
def replay(installation: Installation, until: str | None, projection: str | None) -> None:
    """Replay the history into memory.

    Prints a digest of the read models that come out: the same history gives the same digest.
    """
    service = installation.services.history
    end = None if until is None else moment("until", until)
    total = installation.services.store.last_position()
    if isinstance(end, int):
        total = min(total, end)
    with shown_progress("replaying", quiet=installation.json) as progress:
        result = service.replay(
            until=end, projection=projection, progress=lambda done: progress(done, total)
        )
    rate = round(result.events / result.seconds) if result.seconds else None
    if installation.json:
        print_json(
            {
                "events": result.events,
                "seconds": result.seconds,
                "digest": result.digest,
                "projections": list(result.projections),
            }
        )
        return
    print_fields(
        [
            ("events", result.events),
            ("seconds", f"{result.seconds:.3f}"),
            ("events a second", rate),
            ("digest", result.digest),
            ("read models", result.projections),
        ]
    )


# --- what-if --------------------------------------------------------------------------------------


@history.command(
    "what-if",
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
                "at": iso(one.at),
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
        "not_enacted": list(NOT_ENACTED),
    }


def _difference(one: Difference) -> dict[str, object]:
    return {
        "kind": one.kind,
        "about": one.about,
        "ticket": one.ticket,
        "event": one.event,
        "asked_at": iso(one.asked_at),
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
        "mailed_at": iso(fate.mailed_at),
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
            columns = ("mail", "about", "asked for", "before", "after", "late", "event")
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
    for sentence in NOT_ENACTED:
        echo(f"  {sentence}")


def _row(one: Difference) -> tuple[object, ...]:
    late = None if one.late is None else f"{one.late.total_seconds():+.1f} s"
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
