"""PostgreSQL that is killed under load and started again loses nothing, and doubles nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.app.books import Books, reconcile
from siutindei.app.ports import Recorded
from siutindei.domain import challenge, notification, ticket
from tests.crash.load import NOBODY_KNOWS, Load, use, work
from tests.crash.server import Server, own_server, wait
from tests.crash.stage import PROCESSES, ShiftedClock, installation, lines
from tests.entrypoints.commands import command, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


pytestmark = pytest.mark.slow
#: Who gives up soon, and starts no sign-in: that succeeds whatever becomes of its mail.
HASTY: Final[dict[str, Any]] = {"patience": 0.01, "sign_in_every": 10**6}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server that is killed."""
    with own_server() as made:
        yield made


class Crowd:
    """People and workers on one home, over a server that is killed under them.

    Attributes:
        home: where.
        database: the database's address.
        held: whose commits were done, and not answered, when the server was killed.
        kills: how often it was.
        killed_workers: how many workers were killed.
    """

    def __init__(self, home: Path, server: Server, seed: int) -> None:
        self.home, self.server = home, server
        self.database = server.database()
        self.chance = random.Random(seed)
        self.members: list[tuple[Any, Any]] = []
        self.workers: list[tuple[Any, Any]] = []
        self.held: Counter[str] = Counter()
        self.kills = self.killed_workers = 0
        # The keys are made before there are many of us.
        installation(home, "maildir", clock=ShiftedClock(0), database=self.database).store.close()

    def come(self, target: Callable[[Load, Any], None], name: str, **options: Any) -> None:
        """Let somebody come, and wait until they are about to begin."""
        ours, theirs = PROCESSES.Pipe()
        load = Load(home=self.home, database=self.database, name=name, **options)
        process = PROCESSES.Process(target=target, args=(load, theirs), daemon=True)
        process.start()
        theirs.close()
        self.members.append((process, ours))
        assert ours.poll(30)
        assert "ready" == ours.recv()

    def kill_server(self, held: str | None = None) -> None:
        """Kill the server: anywhere, or when somebody's commit is done and they do not know it.

        It stays away until the hasty have given up asking what became of theirs.
        """
        time.sleep(self.chance.uniform(0.1, 0.4))
        if held is not None:
            self.server.hold(held)
            self.held[held] += 1
        before = self.count("outages")["hasty"]
        self.server.kill()
        self.kills += 1
        if held == "hasty":
            wait(lambda: self.count("outages")["hasty"] > before)
        self.server.start()

    def kill_worker(self, *, dies_by_itself: bool) -> None:
        """Kill the newest comer wherever it is, or let it kill itself."""
        process, wire = self.members.pop()
        process.join(30 if dies_by_itself else self.chance.uniform(0.05, 0.4))
        process.kill()
        process.join()
        wire.close()
        self.killed_workers += 1

        assert -signal.SIGKILL == process.exitcode

    def leave(self) -> None:
        """Let everybody finish what they do."""
        for _, wire in self.members:
            wire.send("enough")
        for process, wire in self.members:
            assert wire.poll(30)
            assert "done" == wire.recv()
            process.join(30)
            wire.close()

    def lines(self, name: str) -> list[list[str]]:
        """Read what was written down."""
        return lines(self.home / name)

    def count(self, name: str, column: int = 0) -> Counter[str]:
        """Count what was written down by whoever it was about."""
        return Counter(line[column].rpartition("-")[0] for line in self.lines(name))


@contextmanager
def crowd(home: Path, server: Server, seed: int) -> Iterator[Crowd]:
    """Have a crowd for a while; nobody stays."""
    made = Crowd(home, server, seed)
    try:
        yield made
    finally:
        for process, _ in made.members:
            process.kill()
            process.join()


@attrs.frozen
class Left:
    """What a crowd left, when everything that was due was done."""

    entries: list[Recorded]
    mails: list[notification.Notification]
    books: Books
    live: str
    replayed: str


def drained(crowd: Crowd) -> Left:
    """Do what is left to do, whatever has to be waited for, and read everything."""
    clock = ShiftedClock(0)
    services = installation(crowd.home, "maildir", clock=clock, database=crowd.database)
    views = services.store.views
    services.delivery.drain(report=lambda _: None)
    while (due := views.next_due()) is not None:
        clock.ahead += max(0.001, (due - clock.now()).total_seconds())
        services.delivery.drain(report=lambda _: None)
    left = Left(
        entries=list(services.store.read()),
        mails=list(views.notifications()),
        books=reconcile(services.store, at=clock.now()),
        live=services.store.digest(services.history.projections),
        replayed=services.history.replay().digest,
    )
    services.store.close()
    return left


def check(crowd: Crowd, left: Left) -> None:
    """Check that what everybody was told is what happened, once, and that the books agree."""
    told = dict(crowd.lines("answers"))
    happened: dict[str, list[str]] = {}
    for entry in left.entries:
        if (answer := _answer(entry)) is not None:
            happened.setdefault(entry.context.command_id, []).append(answer)
    numbers = sorted(told[command] for command in told if command.startswith("submit-"))

    assert [] == crowd.lines("refused")
    assert [] == crowd.lines("lies")
    assert {command: [answer] for command, answer in told.items()} == happened
    assert [f"R{number:05d}" for number in range(1, len(numbers) + 1)] == numbers
    assert () == left.books.findings
    assert left.replayed == left.live
    # Every mail was taken once, and the mailbox has it once, and no other.
    assert {("accepted", 1)} == {(item.status, len(item.message_ids)) for item in left.mails}
    assert sorted(item.message_id or "" for item in left.mails) == sorted(
        path.name for path in (crowd.home / "mail" / "new").iterdir()
    )
    assert notification.ATTEMPTS >= max(item.calls for item in left.mails)
    assert [] == [line for line in crowd.lines("journal") if line[::2] == ["before", "there"]]


def _answer(entry: Recorded) -> str | None:
    """Say what whoever gave the command of an event was told."""
    match entry.event:
        case challenge.Issued():
            return entry.event.challenge
        case ticket.Submitted():
            return entry.event.reference
        case ticket.Approved():
            return f"{entry.stream.removeprefix('ticket-')}-approved"
        case ticket.Declined():
            return f"{entry.stream.removeprefix('ticket-')}-declined"
        case _:
            return None


def check_outages(crowd: Crowd) -> None:
    """Check that the server really was away, and that answers really were lost."""
    asked = crowd.count("asked")
    unknown = [line for line in crowd.lines("outages") if NOBODY_KNOWS in line[2]]

    assert len(crowd.lines("outages")) >= crowd.kills
    assert all(asked[name] >= times for name, times in crowd.held.items())
    # The patient learned what became of their commit; the hasty were told that nobody knows.
    assert "hasty" in {line[0].rpartition("-")[0] for line in unknown}


def test_a_server_that_is_killed_under_load_loses_nothing(tmp_path: Path, server: Server) -> None:
    """Killed anywhere, and when commits were done and not answered: what everybody was told is what
    happened, once; each cause has one mail; the books agree.
    """
    with crowd(tmp_path, server, seed=1) as us:
        for name in ("worker-1", "worker-2"):
            us.come(work, name)
        us.come(use, "user-1")
        us.come(use, "user-2")
        us.come(use, "hasty-1", **HASTY)
        for held in (None, "user", "worker", "hasty", None):
            us.kill_server(held)
        us.leave()
        left = drained(us)

    assert 5 == us.kills
    check_outages(us)
    check(us, left)


def test_workers_and_the_server_are_killed_under_load(tmp_path: Path, server: Server) -> None:
    """Workers die between a mail and its record while the server dies too: each cause has one mail,
    each attempt an outcome.
    """
    with crowd(tmp_path, server, seed=2) as us:
        us.come(work, "worker-0")
        us.come(use, "user-1")
        us.come(use, "hasty-1", **HASTY)
        for number, (die_at, held) in enumerate(
            [(2, None), (1, "hasty"), (None, "worker"), (4, None)], start=1
        ):
            us.come(work, f"worker-{number}", die_at=die_at)
            us.kill_worker(dies_by_itself=die_at is not None)
            us.kill_server(held)
        us.leave()
        left = drained(us)
    ends = Counter(
        getattr(entry.event, "how", None) or getattr(entry.event, "error", None)
        for entry in left.entries
        if isinstance(entry.event, notification.Accepted | notification.Failed)
    )

    assert (4, 4) == (us.kills, us.killed_workers)
    check_outages(us)
    check(us, left)
    # They did die where it hurts: before a mail was delivered, and after.
    assert ends["lookup"] > 0
    assert ends["the call ended without sending"] > 0


@pytest.mark.parametrize(
    ("options", "file"), [({"repeats": False}, "refused"), ({"asks": False}, "lies")]
)
def test_a_lost_answer_is_what_this_is_about(
    tmp_path: Path, server: Server, options: dict[str, bool], file: str
) -> None:
    """Who asks again under another command id is refused what they have; without the question that
    the store asks after a lost commit, people are told that nothing was changed.
    """
    with crowd(tmp_path, server, seed=3) as us:
        us.come(use, "hasty-1", **HASTY, **options)
        us.kill_server("hasty")
        us.leave()
        left = drained(us)

    assert 1 == len(us.lines(file))
    with pytest.raises(AssertionError):
        check(us, left)


def test_a_worker_outlives_the_server(tmp_path: Path, server: Server) -> None:
    """While the server is dead a command ends with exit code 75 and a worker waits; afterwards the
    same command is done once, and the worker sends its mail.
    """
    env = environment(SIUTINDEI_DATABASE=server.database())

    def run(*words: str) -> tuple[int, Any]:
        done = subprocess.run(
            [*command(tmp_path), "--json", *words], env=env, capture_output=True, check=False
        )
        return done.returncode, json.loads(done.stdout)

    def submit(number: int) -> tuple[int, Any]:
        user = ("--user", f"u-{number}", "--email", "ann@example.com")
        words = ("ticket", "submit", "suggestion", *user, "--organization-name", "Chess")
        return run("--command-id", f"c{number}", *words)

    log = tmp_path / "log"
    first = submit(1)
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*command(tmp_path), "--json", "worker"], env=env, stdout=subprocess.PIPE, stderr=errors
        ) as worker,
    ):
        try:
            wait(lambda: 1 == log.read_text().count("notification sent"))
            server.kill()
            refused = submit(2)
            wait(lambda: "down or out of reach" in log.read_text())
            server.start()
            second = submit(2)
            wait(lambda: 2 == log.read_text().count("notification sent"))
            worker.send_signal(signal.SIGTERM)
            out, _ = worker.communicate(timeout=30)
        finally:
            worker.kill()
    books = run("doctor", "--deep")[1]["books"]

    assert (75, "the database is down or out of reach; try again") == (
        refused[0],
        refused[1]["error"].removeprefix("siutindei: "),
    )
    assert [(0, "S00001"), (0, "S00002")] == [(code, t["ticket_id"]) for code, t in (first, second)]
    assert (0, 2) == (worker.returncode, json.loads(out)["sent"])
    assert 2 == len(list((tmp_path / "mail" / "new").iterdir()))
    assert (2, 2, 0) == (books["tickets"], books["notifications"]["done"], books["findings"])
