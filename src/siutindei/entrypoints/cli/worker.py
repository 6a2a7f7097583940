"""`worker`: carry out what is due."""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from siutindei.app.ports import Unavailable
from siutindei.entrypoints.cli.base import Installation, example, pass_installation
from siutindei.entrypoints.cli.output import print_json, when
from siutindei.entrypoints.logs import configure

if TYPE_CHECKING:
    from siutindei.app.delivery import Outcome

#: How often an idle worker asks the ledger, in seconds.
POLL: Final = 0.05
#: How long it waits when the database is locked or full, in seconds.
PAUSE: Final = 1.0


@click.command(epilog=example("siutindei worker --once"))
@click.option("--once", is_flag=True, help="Do what is due, and stop.")
@pass_installation
def worker(installation: Installation, once: bool) -> None:
    """Send the mails that are due, carry out grants, retry, settle.

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
        )

    delivery = installation.services.delivery
    if once:
        delivery.drain(report=report)
    else:
        stopping = _Stopping()
        while not stopping.asked:
            try:
                worked = delivery.drain(report=report, stop=lambda: stopping.asked)
            except Unavailable as error:
                log.warning("waiting", error=str(error))
                stopping.wait(PAUSE)
                continue
            if not worked:
                stopping.wait(POLL)
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
    click.echo(done or "nothing was due")
    if next_due is not None:
        click.echo(f"next due: {when(next_due)}")


class _Stopping:
    """Whether somebody asked the process to stop; waiting ends when they do."""

    def __init__(self) -> None:
        import threading

        self._event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._event.set())

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)
