"""`history`: the events themselves, a stream's state at a moment, a replay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from siutindei.app.history import describe, moment
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import (
    cell,
    console,
    print_fields,
    print_json,
    print_table,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siutindei.app.ports import Recorded

_FOLLOW_EVERY: Final = 0.2
_NOT_IN_GIST: Final = frozenset({"at", "rule", "template_hash", "id", "cause"})


@click.group(cls=Group)
def history() -> None:
    """Read the history and replay it; nothing here can send a mail."""


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
    """Show the events of the stream ID, or its state at a moment; what is personal stays sealed."""
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
@click.option("--after", type=click.IntRange(min=0), default=0, help="Start behind this position.")
@click.option("--type", "name", metavar="NAME", help="Only events of this name.")
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
    """Show the log in order of position."""
    service = installation.services.history
    end = None if until is None else moment("until", until)
    while True:
        position = installation.services.store.last_position()
        _print_events(
            installation, service.tail(after=after, until=end, name=name, stream=stream_id)
        )
        if not follow:
            return
        after = max(after, position)
        while installation.services.store.last_position() <= after:
            time.sleep(_FOLLOW_EVERY)


def _print_events(installation: Installation, events: Iterable[Recorded]) -> None:
    if installation.json:
        for entry in events:
            print_json(describe(entry))
        return
    for entry in events:
        click.echo(
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
    """Replay the history into memory, and print a digest of the read models that come out."""
    service = installation.services.history
    end = None if until is None else moment("until", until)
    total = installation.services.store.last_position()
    with Progress(
        SpinnerColumn(),
        TextColumn("replaying"),
        MofNCompleteColumn(),
        TextColumn("{task.speed:.0f} events/s"),
        console=console(error=True),
        transient=True,
        disable=installation.json,
    ) as bar:
        task = bar.add_task("replaying", total=total)
        result = service.replay(
            until=end,
            projection=projection,
            progress=lambda done: bar.update(task, completed=done),
        )
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
    rate = result.events / result.seconds if result.seconds else 0.0
    print_table(
        ("events", "seconds", "events/s", "digest", "read models"),
        [
            (
                result.events,
                f"{result.seconds:.3f}",
                f"{rate:.0f}",
                result.digest,
                ", ".join(result.projections),
            )
        ],
        empty="",
    )
