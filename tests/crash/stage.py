"""What the crash tests put on the stage: a home, a clock, and workers that die when they are told.

Workers are processes of their own. Time inside one is real; the test moves the clock of the next
one on, so that nobody has to wait for deadlines and back-offs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.adapters.maildir import Maildir
from siutindei.app.ports import Context, Found
from siutindei.bootstrap import Services, build
from siutindei.settings import read_settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from siutindei.app.delivery import Outcome
    from siutindei.domain.mail import Mail

Port = Literal["maildir", "file"]

SETTLE: Final = 20
#: A fresh process for each worker, without the cost of importing everything again.
PROCESSES: Final = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.crash.stage", *(f"siutindei.adapters.{name}" for name in ("sqlite", "postgres"))]
)


class ShiftedClock:
    """The machine's clock, so many seconds ahead."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead

    def now(self) -> datetime:
        """Give the time."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def append(path: Path, line: str) -> None:
    """Write one line that survives whatever happens next."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def lines(path: Path) -> list[list[str]]:
    """Read what was written, in words."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class Journal:
    """Writes down every call to a mail port, and ends the process at the one that it is told."""

    def __init__(self, home: Path, die_at: int | None = None) -> None:
        self.home = home
        self.die_at = die_at
        self.count = 0

    def __call__(self, when: str, id: str) -> None:
        """Write down a call, and whether the mail was there already."""
        is_there = (self.home / "mail" / "new" / f"maildir-{id}").exists()
        append(self.home / "journal", f"{when} {id} {'there' if is_there else 'missing'}")
        self.count += 1
        if self.count == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


@attrs.frozen
class QuickMaildir:
    """A Maildir whose calls are said to take a second at the most."""

    maildir: Maildir
    time_out: timedelta = timedelta(seconds=1)
    has_feedback: bool = False

    def send(self, mail: Mail) -> str:
        """Deliver."""
        return self.maildir.send(mail)

    def lookup(self, notification_id: str) -> Found:
        """Look."""
        return self.maildir.lookup(notification_id)

    def forget(self, notification_id: str) -> None:
        """Remove."""
        self.maildir.forget(notification_id)


@attrs.frozen
class FileMail:
    """A port that cannot tell what it took: every call is a line in a file, as it is for SES."""

    path: Path
    journal: Callable[[str, str], None]
    time_out: timedelta = timedelta(seconds=1)
    has_feedback: bool = False

    def send(self, mail: Mail) -> str:
        """Take it, whether it was taken before or not."""
        self.journal("before", mail.notification_id)
        append(self.path, f"{mail.notification_id} {mail.kind}")
        self.journal("after", mail.notification_id)
        return f"file-{mail.notification_id}-{time.monotonic_ns()}"

    def lookup(self, notification_id: str) -> Found:
        """Know nothing."""
        return Found(answer="cannot_tell")

    def forget(self, notification_id: str) -> None:
        """Keep nothing."""


def installation(
    home: Path,
    port: Port,
    *,
    clock: ShiftedClock,
    die_at: int | None = None,
    database: str | None = None,
) -> Services:
    """Build the application of a home, with a journal on its mail port."""
    journal = Journal(home, die_at)
    mail: QuickMaildir | FileMail = (
        QuickMaildir(Maildir(home / "mail", journal=journal))
        if port == "maildir"
        else FileMail(home / "sent", journal)
    )
    environment = {"SIUTINDEI_SETTLE": str(SETTLE)}
    if database is not None:
        environment["SIUTINDEI_DATABASE"] = database
    settings = read_settings(environment, home=home)
    return build(settings, clock=clock, mail=mail)


def context(name: str) -> Context:
    """Say who acts."""
    return Context(command_id=name, actor="operator:test", request_id=name, correlation_id=name)


@attrs.frozen(kw_only=True)
class Part:
    """What a worker does until it dies.

    Attributes:
        home: where.
        port: the mail port.
        ahead: how far its clock is ahead.
        die_at: the entry of the journal at which it dies by itself; None when somebody kills it.
        sign_ins: who starts a sign-in first: users and addresses.
        database: the database, when it is another one than the home's.
    """

    home: Path
    port: Port = "maildir"
    ahead: float = 0
    die_at: int | None = None
    sign_ins: tuple[tuple[str, str], ...] = ()
    database: str | None = None


def act(part: Part, ready: Connection) -> None:
    """Work until the end."""
    clock = ShiftedClock(part.ahead)
    services = installation(
        part.home, part.port, clock=clock, die_at=part.die_at, database=part.database
    )
    _ = services.delivery
    ready.send("ready")
    for user, email in part.sign_ins:
        services.sign_in.start(context(services.ids.uuid()), client="app", email=email, user=user)
    while True:
        services.delivery.drain(report=lambda _: None)
        clock.sleep(0.005)


def share(part: Part, wire: Connection) -> None:
    """Work beside others from the moment when all are there, and say what was done."""
    services = installation(part.home, part.port, clock=ShiftedClock(part.ahead))
    _ = services.delivery
    wire.send("ready")
    wire.recv()
    results: list[str] = []

    def report(outcome: Outcome) -> None:
        results.append(outcome.result)

    services.delivery.drain(report=report)
    wire.send(results)


def started(target: Callable[[Part, Any], None], part: Part) -> tuple[Any, Connection]:
    """Start a worker, and wait until it is about to work."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=target, args=(part, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.poll(30)
    assert ours.recv() == "ready"
    return process, ours
