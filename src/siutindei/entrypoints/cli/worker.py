"""`worker`: carry out what is due."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from siutindei.app.erasing import scrub_what_is_owed
from siutindei.app.ports import PortError
from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json, when
from siutindei.entrypoints.cli.stopping import stopping
from siutindei.entrypoints.logs import configure

if TYPE_CHECKING:
    from siutindei.app.delivery import Outcome

#: How often an idle worker asks the ledger, in seconds.
POLL: Final = 0.1
#: How long it waits when something cannot be worked on now, in seconds.
PAUSE: Final = 1.0


@click.command(cls=Command, epilog=example("siutindei worker --once"))
@click.option("--once", is_flag=True, help="Do what is due, and stop.")
@pass_installation
def worker(installation: Installation, once: bool) -> None:
    """Send what is due, carry out grants, retry, settle.

    Without --once it goes on until it is stopped; SIGTERM and SIGINT let it finish what it does.
    Any number of workers may run on one home.
    """
    log = configure(installation.settings.text("LOG_LEVEL"))
    counts: Counter[str] = Counter()

    def report(outcome: Outcome) -> None:
        if outcome.result == "nothing_to_do":
            return
        counts[outcome.result] += 1
        level = "info" if outcome.error is None else "warning"
        getattr(log, level)(
            f"{outcome.work} {outcome.result}",
            **{f"{outcome.work}_id": outcome.id},
            kind=outcome.kind,
            attempt=outcome.attempt or None,
            message_id=outcome.message_id,
            error=outcome.error,
            correlation_id=outcome.correlation_id,
            causation_id=outcome.causation_id,
        )

    services = installation.services
    if not scrub_what_is_owed(services.store):
        log.warning("files still hold what was erased")
    try:
        services.people.forget_what_is_owed()
    except PortError as error:
        log.warning("mails of somebody who was erased are still there", error=str(error))
    delivery = services.delivery
    with stopping() as state:
        while not state.asked:
            try:
                worked = delivery.drain(report=report, stop=lambda: state.asked)
            except PortError as error:
                # The store is not there, or one entry cannot be worked on: the others were.
                if once:
                    raise
                log.warning("waiting", error=str(error))
                state.wait(PAUSE)
                continue
            if once:
                break
            if not worked:
                state.wait(POLL)
    _summary(installation, counts)


def _summary(installation: Installation, counts: Counter[str]) -> None:
    next_due = installation.services.store.views.next_due()
    if installation.json:
        document: dict[str, Any] = {
            name: counts[name]
            for name in (
                "sent",
                "done",
                "failed",
                "refused",
                "unknown",
                "deferred",
                "withheld",
                "dead_lettered",
            )
        }
        print_json(document | {"next_due": next_due and next_due.isoformat()})
        return
    done = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()))
    echo(done or "nothing was due")
    if next_due is not None:
        echo(f"next due: {when(next_due)}")
