"""`history`: the events themselves, a stream's state at a moment, a replay."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import click

from siutindei.app import wording
from siutindei.app.history import describe, flat, moment
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.explanation import document, tree_lines
from siutindei.entrypoints.cli.output import (
    cell,
    echo,
    print_fields,
    print_json,
    print_table,
    when,
)
from siutindei.entrypoints.cli.progress import shown_progress
from siutindei.entrypoints.cli.stopping import is_output_closed, stopping
from siutindei.entrypoints.cli.what_if import what_if
from siutindei.entrypoints.explanation_page import page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from siutindei.app.checking import Check, Trouble
    from siutindei.app.ports import Recorded

#: How often somebody who follows the log looks for more, in seconds.
_FOLLOW_EVERY: Final = 0.2
#: How many blocks of a baseline are named.
_NAMED: Final = 5
#: The exit code of a history that is not what it should be.
_FAILED: Final = 4


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
        print_fields(list(flat(state)))


@history.command(
    epilog=example(
        "siutindei history tail --type ticket.approved",
        "siutindei --json history tail --follow --after 120",
    )
)
@click.option("--follow", is_flag=True, help="Go on with what is appended from now on.")
@click.option("--after", default="0", metavar="TIME|POSITION", help="Start behind it.")
@click.option(
    "--type", "name", metavar="NAME", help="Only events of this name, with its version or without."
)
@click.option("--stream", "stream_id", metavar="ID", help="Only events of this stream.")
@click.option("--address", metavar="EMAIL", help="Only events that are about this address.")
@click.option("--until", metavar="TIME|POSITION", help="Stop at this moment or position.")
@pass_installation
def tail(
    installation: Installation,
    follow: bool,
    after: str,
    name: str | None,
    stream_id: str | None,
    address: str | None,
    until: str | None,
) -> None:
    """Show the log in order of position.

    With --follow it goes on until it is stopped, or until nobody reads it any more.
    """
    behind = moment("after", after)
    service, store = installation.services.history, installation.services.store
    end = None if until is None else moment("until", until)
    fingerprint = None if address is None else _fingerprint(installation, address)
    with stopping() as state:
        while True:
            # Only what is there by now: what comes meanwhile is for the next round.
            last = store.last_position()
            found = service.tail(
                after=behind, until=end, name=name, stream=stream_id, fingerprint=fingerprint
            )
            _print_events(
                installation,
                takewhile(lambda entry: entry.position <= last and not state.asked, found),  # noqa: B023
            )
            behind = max(behind, last) if isinstance(behind, int) else last
            while store.last_position() <= behind:
                over = behind >= end if isinstance(end, int) else _is_past(installation, end)
                if not follow or over or state.asked or is_output_closed():
                    return
                state.wait(_FOLLOW_EVERY)
            if not follow:
                return


def _fingerprint(installation: Installation, address: str) -> str:
    addresses = installation.services.addresses
    return addresses.fingerprint(addresses.normalise(address, field="address"))


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
            f"  {cell(wording.line(entry))}"
        )


@history.command(
    epilog=example(
        "siutindei history explain R00001",
        "siutindei --json history explain ticket-R00001/2",
        "siutindei history explain R00001 --html R00001.html",
    )
)
@click.argument("id")
@click.option(
    "--html",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page with the picture into a new file.",
)
@pass_installation
def explain(installation: Installation, id: str, file: Path | None) -> None:
    """Show what caused something, and what came of it, as a tree.

    ID is that of a ticket, a notification, a grant, a challenge, an event or a stream; SES's id of
    a mail or a report; or the id of a request, a command, a correlation, a Lambda request or an SQS
    message. What is personal stays sealed.
    """
    explanation = installation.services.explain.explain(id)
    if file is not None:
        installation.services.write(file, page(explanation))
    if installation.json:
        print_json(document(explanation))
        return
    for line in tree_lines(explanation):
        echo(line)
    if file is not None:
        echo(f"written: {file}")


@history.command(
    epilog=example(
        "siutindei history replay",
        "siutindei history replay --until 2026-01-31T09:30:00+08:00 --projection tickets",
    )
)
@click.option("--until", metavar="TIME|POSITION", help="Stop at this moment or position.")
@click.option("--projection", metavar="NAME", help="Make this read model only.")
@click.option("--rows", is_flag=True, help="Show its rows as they were, one JSON document a line.")
@pass_installation
def replay(
    installation: Installation, until: str | None, projection: str | None, rows: bool
) -> None:
    """Replay the history; this sends nothing.

    Prints a digest of the read models that come out: the same history gives the same digest. With
    --rows it prints what one held at that moment; what is personal stays sealed.
    """
    end = None if until is None else moment("until", until)
    if rows:
        if projection is None:
            raise Invalid("rows", "are of one read model: name it with --projection")
        _print_rows(installation, end, projection)
        return
    with shown_progress("replaying", quiet=installation.json) as progress:
        result = installation.services.history.replay(
            until=end, projection=projection, progress=progress
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


def _print_rows(installation: Installation, end: int | datetime | None, projection: str) -> None:
    with ExitStack() as stack:
        with shown_progress("replaying", quiet=installation.json) as progress:
            past = stack.enter_context(
                installation.services.history.past(
                    until=end, projection=projection, progress=progress
                )
            )
        for row in past.rows(projection):
            print_json(row)


# --- check ----------------------------------------------------------------------------------------


@history.command(
    epilog=example(
        "siutindei history check",
        "siutindei history check --save baseline.json",
        "siutindei history check --against baseline.json",
    )
)
@click.option("--save", metavar="FILE", help="Write what this program reads into a new file.")
@click.option("--against", metavar="FILE", help="Compare with what another program wrote there.")
@click.pass_context
def check(ctx: click.Context, save: str | None, against: str | None) -> None:
    """Check that everything stored can be read, and reads the same.

    Every event is read, written again in memory, and compared with what is stored. --save before
    an upgrade and --against after it show what the newer program reads otherwise.
    Exit code 4 says that something cannot be read, or is read otherwise.
    """
    installation = ctx.ensure_object(Installation)
    with (
        installation.services.checking() as checking,
        shown_progress("checking", quiet=installation.json) as progress,
    ):
        found = checking.check(save=save, against=against, progress=progress)
    if installation.json:
        print_json(attrs.asdict(found))
    else:
        _print_check(found, save)
    if not found.is_well:
        ctx.exit(_FAILED)


def _print_check(found: Check, save: str | None) -> None:
    print_table(
        ("what", "name", "events", "why", "which"),
        [
            (what, group.name, group.count, group.why, _which(group))
            for what, groups in (("unreadable", found.unreadable), ("changed", found.changed))
            for group in groups
        ],
        empty="every event can be read, and is read the same",
    )
    print_fields(
        [
            ("read", found.read),
            ("unreadable", sum(group.count for group in found.unreadable)),
            ("changed", sum(group.count for group in found.changed)),
            ("last position", found.position),
            ("seconds", f"{found.seconds:.3f}"),
            ("baseline", save if found.saved else None),
        ]
    )
    if save is not None and not found.saved:
        echo("note: no baseline was written: it is one of a history that can be read to its end")


def _which(trouble: Trouble) -> str:
    """Name the first few events of one trouble, or of the blocks of a baseline."""
    named = [f"{event.id} at {event.position}" for event in trouble.events]
    named += [f"positions {first} to {last}" for first, last in trouble.blocks[:_NAMED]]
    more = len(trouble.blocks) - _NAMED if trouble.blocks else trouble.count - len(trouble.events)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


history.add_command(what_if)
