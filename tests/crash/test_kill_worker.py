"""Workers that are killed at any moment lose no mail, and send none twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.app.books import reconcile
from siutindei.domain import notification, policy
from tests.crash.stage import (
    Part,
    Port,
    ShiftedClock,
    act,
    context,
    installation,
    lines,
    share,
    started,
)
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from pathlib import Path

    from siutindei.app.ports import Recorded
    from siutindei.bootstrap import Services

pytestmark = pytest.mark.slow

EMAIL: Final = "ann@example.com"


class Story:
    """A home whose workers are killed while work arrives."""

    def __init__(self, home: Path, port: Port, seed: int, database: str | None = None) -> None:
        self.home, self.port, self.database = home, port, database
        self.chance = random.Random(seed)
        self.clock = ShiftedClock(0)
        self.services: Services = installation(home, port, clock=self.clock, database=database)
        self.count = 0
        self.people: list[tuple[str, str]] = []

    def submit(self) -> None:
        """Submit a ticket, and decide some other."""
        self.count += 1
        taken = self.services.tickets.submit(
            context(f"submit-{self.count}"),
            ticket_type="access_request",
            user=f"user-{self.count}",
            email=EMAIL,
            body={"organization_name": "Star Dance"},
            vouched=True,
        )
        assert taken.submitted is not None
        if self.count % 2:
            self.services.tickets.decline(
                context(f"decline-{self.count}"), taken.submitted.reference, by="admin-7"
            )

    def round(self, *, sign_ins: int = 0) -> None:
        """Let a worker begin, let work arrive, kill it, and let some time go by."""
        for _ in range(sign_ins):
            email = f"u{len(self.people)}@example.com"
            user = self.services.sign_in.sign_up(context(f"sign-up-{email}"), email=email)
            self.people.append((user, email))
        chance = self.chance
        # Some die between two lines of ours, the others wherever they are.
        die_at = chance.choice([None, None, 1, 1, 2, 2, 3, 4])
        self.submit()
        part = Part(
            home=self.home,
            port=self.port,
            ahead=self.clock.ahead,
            die_at=die_at,
            sign_ins=tuple(self.people[-2:]) if sign_ins else (),
            database=self.database,
        )
        process, wire = started(act, part)
        self.submit()
        process.join(chance.uniform(0, 0.08) if die_at is None else 1)
        process.kill()
        process.join()
        wire.close()

        assert process.exitcode == -signal.SIGKILL
        self.clock.ahead += chance.choice([0, 0, 1, 2.5, 21, 40, 200])

    def end(self) -> None:
        """Do everything that is left, whatever has to be waited for."""
        while True:
            self.services.delivery.drain(report=lambda _: None)
            letters = [letter.id for letter in self.services.dead_letters.all()]
            if letters:
                self.services.dead_letters.redrive(
                    context(f"redrive-{self.clock.ahead}"), letters, by="op"
                )
            due = self.services.store.views.next_due()
            if due is None:
                return
            left = (due - self.clock.now()).total_seconds()
            self.clock.ahead += max(0.001, left)

    def ledgers(self) -> dict[str, list[Recorded]]:
        """Give the events of every notification."""
        found: dict[str, list[Recorded]] = {}
        for entry in self.services.store.read():
            if entry.stream.startswith("notification-"):
                found.setdefault(entry.stream.removeprefix("notification-"), []).append(entry)
        return found

    def close_the_books(self) -> dict[str, list[Recorded]]:
        """Check what holds over any port: each cause has its notification, each call its event."""
        entries = list(self.services.store.read())
        causes = [entry.id for entry in entries if policy.mail_for(entry.event) is not None]
        requested = [
            entry.event.cause
            for entry in entries
            if isinstance(entry.event, notification.Requested)
        ]
        ledgers = self.ledgers()
        announced = {
            id: sum(isinstance(entry.event, notification.AttemptStarted) for entry in ledger)
            for id, ledger in ledgers.items()
        }
        called = Counter(id for when, id, _ in lines(self.home / "journal") if when == "before")

        assert () == reconcile(self.services.store, at=self.clock.now()).findings
        assert causes == requested
        assert all(called[id] <= announced[id] for id in ledgers)
        for ledger in ledgers.values():
            _check_attempts([entry.event for entry in ledger])
        return ledgers


def _check_attempts(events: list[Any]) -> None:
    """Check that no call follows another before the ledger allows it."""
    deadline = settles = None
    may_call = True
    for event in events:
        match event:
            case notification.AttemptStarted():
                assert may_call
                may_call, deadline = False, event.deadline
            case notification.OutcomeUnknown():
                # Nobody saw an end to the call, and it was left alone until its deadline.
                assert deadline is not None
                assert event.at >= deadline
                settles = event.settle_at
            case notification.Failed():
                assert deadline is not None
                was_ended_by_others = event.error == "the call ended without sending"
                assert not was_ended_by_others or event.at >= deadline
                assert settles is None or event.at >= settles
                may_call, settles = True, None
            case notification.Redriven():
                may_call = True
            case _:
                pass


@pytest.mark.parametrize("seed", [1])
def test_a_killed_worker_loses_no_mail_and_sends_none_twice(tmp_path: Path, seed: int) -> None:
    """Fifty workers are killed while work arrives: each cause has one mail, and the books agree."""
    story = Story(tmp_path, "maildir", seed)
    for _ in range(50):
        story.round()
    story.end()
    ledgers = story.close_the_books()
    files = sorted(path.name for path in (tmp_path / "mail" / "new").iterdir())
    calls = [line for line in lines(tmp_path / "journal") if line[0] == "before"]
    errors = Counter(
        entry.event.error
        for ledger in ledgers.values()
        for entry in ledger
        if isinstance(entry.event, notification.Failed)
    )
    looked_up = [
        entry
        for ledger in ledgers.values()
        for entry in ledger
        if isinstance(entry.event, notification.Accepted) and entry.event.how == "lookup"
    ]

    assert sorted(f"maildir-{id}" for id in ledgers) == files
    assert {"accepted"} == {item.status for item in story.services.store.views.notifications()}
    # No call was made for a mail that had been delivered.
    assert not [line for line in calls if line[2] == "there"]
    # And the workers did die where it hurts: before a mail was delivered, and after.
    assert errors["the call ended without sending"] > 3
    assert len(looked_up) > 3
    story.services.store.close()


def test_a_worker_killed_on_postgresql_loses_no_mail_and_sends_none_twice(tmp_path: Path) -> None:
    """Twelve workers are killed while work arrives: each cause has one mail, the books agree."""
    with fresh_database() as database:
        story = Story(tmp_path, "maildir", 5, database)
        for _ in range(12):
            story.round()
        story.end()
        ledgers = story.close_the_books()
        statuses = {item.status for item in story.services.store.views.notifications()}
        story.services.store.close()
    calls = [line for line in lines(tmp_path / "journal") if line[0] == "before"]

    assert not (tmp_path / "siutindei.db").exists()
    assert sorted(f"maildir-{id}" for id in ledgers) == sorted(
        path.name for path in (tmp_path / "mail" / "new").iterdir()
    )
    assert {"accepted"} == statuses
    assert not [line for line in calls if line[2] == "there"]


def test_a_killed_worker_over_a_port_that_cannot_tell(tmp_path: Path) -> None:
    """When nobody can tell, tickets' mails go again after the settle time, and codes never."""
    story = Story(tmp_path, "file", 2)
    for _ in range(30):
        story.round(sign_ins=1)
    story.end()
    ledgers = story.close_the_books()
    sent = Counter(id for id, _ in lines(tmp_path / "sent"))
    codes = {
        id
        for id, ledger in ledgers.items()
        if isinstance(ledger[0].event, notification.Requested)
        and ledger[0].event.kind == "sign_in_code"
    }
    unknown = [
        entry.event
        for ledger in ledgers.values()
        for entry in ledger
        if isinstance(entry.event, notification.OutcomeUnknown)
    ]

    assert all(sent[id] <= 1 for id in codes)
    assert all(sent[id] >= 1 for id in ledgers.keys() - codes)
    # Twice is what a lost answer may cost; the ledger knows of each.
    assert all(
        sent[id] == 1
        or any(isinstance(entry.event, notification.OutcomeUnknown) for entry in ledgers[id])
        for id in sent.keys() - codes
    )
    assert {None} < {event.settle_at for event in unknown}
    assert [id for id, count in sent.items() if count > 1]
    story.services.store.close()


def test_two_workers_on_one_home_share_the_work(tmp_path: Path) -> None:
    """Two workers that begin at the same moment send each mail once, and both have their part."""
    story = Story(tmp_path, "maildir", 3)
    for _ in range(60):
        story.submit()
    workers = [started(share, Part(home=tmp_path)) for _ in range(2)]
    for _, wire in workers:
        wire.send("go")
    results = []
    for process, wire in workers:
        assert wire.poll(60)
        results.append(wire.recv())
        process.join(10)
        wire.close()
    calls = Counter(id for when, id, _ in lines(tmp_path / "journal") if when == "before")
    done = [result for part in results for result in part if result != "nothing_to_do"]

    assert ["sent"] * 90 == done
    assert {1} == set(calls.values())
    assert 90 == len(list((tmp_path / "mail" / "new").iterdir()))
    assert all("sent" in part for part in results)
    story.services.store.close()


_WORKER: Final = "from siutindei.entrypoints.cli import main; main()"


def test_a_worker_that_is_told_to_stop_ends_cleanly(tmp_path: Path) -> None:
    """After SIGTERM a worker finishes what it does, says what it did, and leaves nothing open."""
    story = Story(tmp_path, "maildir", 4)
    for _ in range(40):
        story.submit()
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, "--home", str(tmp_path), "--json", "worker"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    counts = json.loads(out)
    statuses = Counter(item.status for item in story.services.store.views.notifications())

    assert (0, "") == (process.returncode, "".join(_tracebacks(err)))
    assert counts["sent"] == statuses["accepted"] > 0
    assert {"accepted", "requested"} >= set(statuses)
    assert 60 == sum(statuses.values())
    story.end()
    assert 60 == len(list((tmp_path / "mail" / "new").iterdir()))
    story.services.store.close()


def _tracebacks(text: str) -> list[str]:
    return [line for line in text.splitlines() if "Traceback" in line]
