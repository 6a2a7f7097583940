"""How far one installation goes: the figures of docs/scaling.md, on this machine.

    make bench ARGS=200000

A history of that many events is made on each database, read, replayed, rebuilt and written to.
What has a ratio is put beside the floor of the same database in the same run: one row committed by
itself. PostgreSQL is the one of the tests, told to be durable.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters import projections
from siutindei.bootstrap import Services, build
from siutindei.settings import read_settings
from tests.adapters.busy import busy
from tests.histories import fill
from tests.postgres import execute, fresh_database
from tests.support import context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SUBMITS: Final = 300
DATABASES: Final = ("SQLite", "PostgreSQL")
Row = tuple[str, str, str]


def quietly(done: int, total: int) -> None:
    """Look at no progress."""


@contextmanager
def installed(kind: str, home: Path) -> Iterator[tuple[str, Services]]:
    """Give a database of a kind, and the application on it."""
    with ExitStack() as stack:
        url = f"sqlite:///{home}/siutindei.db"
        if kind == "PostgreSQL":
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                execute(f"ALTER SYSTEM SET {name} = on")
            execute("ALTER SYSTEM SET shared_buffers = '512MB'")
            execute("SELECT pg_reload_conf()")
            url = stack.enter_context(fresh_database())
        services = build(read_settings({"SIUTINDEI_DATABASE": url}, home=home))
        stack.callback(services.store.close)
        yield url, services


def timed(work: Callable[[], object]) -> float:
    """Give the seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def each(times: int, work: Callable[[int], object]) -> list[float]:
    """Give the seconds that something takes, each time that it is done."""
    return [timed(partial(work, number)) for number in range(times)]


def submit(services: Services, user: str) -> None:
    """Submit one ticket."""
    services.tickets.submit(
        context(f"{user}-submits"),
        ticket_type="access_request",
        user=user,
        email=f"{user}@example.com",
        body={"organization_name": "Harbour Chess"},
        vouched=True,
    )


def commit_one_row(services: Services) -> None:
    """Commit one row by itself: what everything durable costs at least."""
    with services.store.writing() as cursor:
        cursor.execute("UPDATE projections SET events = events + 1 WHERE name = 'tickets'")


def spread(seconds: list[float]) -> str:
    """Give median and 99th percentile in milliseconds."""
    return f"{median(seconds) * 1000:.1f} / {quantiles(seconds, n=100)[98] * 1000:.1f} ms"


def size(kind: str, url: str, home: Path) -> int:
    """Give the bytes that a database takes."""
    if kind == "SQLite":
        return sum(path.stat().st_size for path in home.glob("siutindei.db*"))
    name = url.partition("@/")[2].partition("?")[0]
    return int(execute("SELECT pg_database_size(%s) AS n", values=[name])[0][0])


def crowd(home: Path, url: str, writers: int, seconds: float) -> float:
    """Let some processes submit and send for a while, and give the tickets in a second."""
    with busy(home, database=url, writers=writers) as done:
        time.sleep(seconds)
    return sum(float(each["tickets"]) for each in done) / seconds


def measure(kind: str, events: int) -> Iterator[Row]:
    """Measure one database."""
    with (
        TemporaryDirectory(prefix="siutindei-bench-") as folder,
        installed(kind, Path(folder)) as (url, services),
    ):
        home, store = Path(folder), services.store
        empty = size(kind, url, home)
        fill(store, events)
        total = sum(1 for _ in store.read())
        if kind == "PostgreSQL":
            # As its housekeeping would do within a minute; that of the tests is turned off.
            execute("VACUUM ANALYZE", url.partition("@/")[2].partition("?")[0])
        history = size(kind, url, home) - empty
        rebuilt = {}
        for name in projections.NAMES:
            rebuild = partial(services.read_models.rebuild, name, progress=quietly)
            rebuild()
            rebuilt[name] = timed(rebuild)
        yield "history", "events", f"{total:,}"
        yield "history", "bytes an event, with its index", f"{history / total:.0f}"
        rows = sum(model.rows for model in services.read_models.all())
        yield (
            "history",
            "bytes an event, all read models included",
            (f"{(size(kind, url, home) - empty) / total:.0f} ({rows:,} rows, two generations)"),
        )

        seconds = timed(lambda: sum(1 for _ in store.read()))
        yield "reading", "the log, typed, in order", f"{total / seconds:,.0f} events/s"
        seconds = timed(services.history.replay)
        yield "reading", "replay into memory, all read models", f"{total / seconds:,.0f} events/s"
        used = services.read_models.verify("notifications", progress=quietly).events
        yield (
            "reading",
            "rebuild of notifications, beside the live one",
            (f"{used / rebuilt['notifications']:,.0f} events/s"),
        )
        for what, work in (
            ("first page of 50 tickets", lambda _: services.store.views.tickets(limit=50)),
            ("what is due", lambda _: services.store.views.due(at=services.clock.now())),
        ):
            yield "reading", what, spread(each(200, work))

        floor = each(SUBMITS, lambda _: commit_one_row(services))
        yield "writing", "one row, committed (the floor)", spread(floor)
        submits = each(SUBMITS, lambda n: submit(services, f"warm-{n}"))
        ratio = median(submits) / median(floor)
        yield "writing", "submit a ticket, durable", f"{spread(submits)} ({ratio:.1f} x the floor)"
        results: list[Any] = []
        seconds = timed(lambda: services.delivery.drain(report=results.append))
        sent = sum(outcome.result == "sent" for outcome in results)
        yield "writing", "mails into a maildir, one worker", f"{sent / seconds:.0f} mails/s"
        for writers in (1, 2, 4):
            rate = crowd(home, url, writers, 6)
            yield "writing", f"tickets with their mail, {writers} processes", f"{rate:.0f} a second"

        quiet = each(SUBMITS, lambda n: submit(services, f"quiet-{n}"))
        with rebuilding(home, url):
            during = each(SUBMITS, lambda n: submit(services, f"during-{n}"))
        yield "writing", "submit while nothing is rebuilt", spread(quiet)
        yield (
            "writing",
            "submit while read models are rebuilt",
            (f"{spread(during)}, longest {max(during) * 1000:.0f} ms"),
        )


@contextmanager
def rebuilding(home: Path, url: str) -> Iterator[None]:
    """Make read models again, one after the other, in another process."""
    code = (
        "import itertools, os, sys\n"
        "from pathlib import Path\n"
        "from siutindei.bootstrap import build\n"
        "from siutindei.settings import read_settings\n"
        "services = build(read_settings(os.environ, home=Path(sys.argv[1])))\n"
        "print('ready', flush=True)\n"
        "for name in itertools.cycle(['notifications', 'tickets', 'grants']):\n"
        "    services.read_models.rebuild(name, progress=lambda *_: None)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        env={**os.environ, "SIUTINDEI_DATABASE": url},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)
        yield
    finally:
        process.kill()
        process.communicate()


def main(events: int) -> None:
    """Print the table."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}, "
        f"Python {platform.python_version()}\n"
    )
    found = {kind: list(measure(kind, events)) for kind in DATABASES}
    print("| | | SQLite | PostgreSQL |\n| --- | --- | --- | --- |")
    before = ""
    for (part, what, one), (_, _, other) in zip(*found.values(), strict=True):
        print(f"| {part if part != before else ''} | {what} | {one} | {other} |")
        before = part
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nMost memory that the measuring process used: {peak:.0f} MiB.")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
