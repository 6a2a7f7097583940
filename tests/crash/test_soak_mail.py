"""The soak of mail: thousands of requests, a service that errs, workers that are killed all along.

What the mail server captured is the truth. At the end causes, notifications, mails and events have
to agree, and every mail that came twice has to have a reason that is documented.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import pytest

from siutindei.app.books import reconcile
from siutindei.domain import notification, policy, suppression
from tests.adapters.test_smtp import Relayed, relay
from tests.crash.mail_service import SETTLE, Part, ask, deliver, installed, names, report, write
from tests.crash.stage import PROCESSES, ShiftedClock, context, lines
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from siutindei.app.ports import Recorded

Service = Literal["ses", "smtp"]

pytestmark = pytest.mark.slow

WORKERS: Final = 2
PEOPLE_WHO_ASK: Final = 2
PER_ROUND: Final = 40
#: A round in which something is due for longer than this is stuck.
STUCK: Final = 120
GONE: Final = frozenset({"accepted", "delayed", "delivered", "bounced", "complained"})


class Office(Relayed):
    """A mail server that writes down what it took before it says so."""

    def __init__(self, captured: Path) -> None:
        super().__init__()
        self.captured = captured

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        write(self.captured, *names(envelope.content))
        return "250 OK, queued as 4711"


class Soak:
    """An installation under load, its processes, and its clock."""

    def __init__(self, part: Part, *, count: int) -> None:
        self.part, self.count = part, count
        self.chance = random.Random(part.seed)
        self.clock = ShiftedClock(0)
        self.services = installed(part, self.clock)
        self.numbers = iter(range(count))
        self.killed: set[str] = set()
        self.made = self.people = 0
        self.workers: list[tuple[Any, Connection]] = []
        self.asking = [self._start(ask) for _ in range(PEOPLE_WHO_ASK)]
        self.reporting = self._start(report) if part.has_feedback else None

    def _start(self, target: Callable[[Part, Any], None], **more: Any) -> tuple[Any, Connection]:
        self.made += 1
        part = attrs.evolve(
            self.part, seed=f"{self.part.seed}-{self.made}", ahead=self.clock.ahead, **more
        )
        ours, theirs = PROCESSES.Pipe()
        process = PROCESSES.Process(target=target, args=(part, theirs), daemon=True)
        process.start()
        theirs.close()
        assert ours.poll(60)
        assert ours.recv() == "ready"
        return process, ours

    def run(self) -> None:
        """Ask for everything, wait for what can be waited for, redrive once, and wait again."""
        while numbers := list(islice(self.numbers, PER_ROUND)):
            self._sign_up()
            self._round(numbers)
            self._pass(self.chance.choice([2, 12, 61, 61, 300, 1000, 8000]))
            # The service halts a lane so often that more would come than goes.
            while len(self.services.store.views.notifications(status="deferred")) > PER_ROUND:
                self._round([])
                self._pass(61)
        self._settle()
        letters = [letter.id for letter in self.services.dead_letters.all()]
        if letters:
            self.services.dead_letters.redrive(context("redrive"), letters, by="op")
        self._settle()

    def end(self) -> None:
        """End all processes."""
        for process, wire in [*self.workers, *self.asking, *filter(None, [self.reporting])]:
            process.kill()
            process.join()
            wire.close()
        self.services.store.close()

    def _sign_up(self) -> None:
        self.sign_ins: tuple[tuple[str, str], ...] = ()
        for _ in range(2):
            self.people += 1
            email = f"signs-in-{self.people}@example.com"
            user = self.services.sign_in.sign_up(context(f"sign-up-{email}"), email=email)
            self.sign_ins += ((user, email),)

    def _round(self, numbers: list[int]) -> None:
        """Ask, and kill workers and replace them until nothing is due; then kill them all."""
        began = time.monotonic()
        asking = []
        for index, (_, wire) in enumerate(self.asking):
            wire.send((self.clock.ahead, numbers[index :: len(self.asking)]))
            asking.append(wire)
        sign_ins = self.sign_ins if numbers else ()
        self.workers = [
            self._start(deliver, sign_ins=sign_ins[index::WORKERS]) for index in range(WORKERS)
        ]
        while asking or self.services.store.views.count_due(at=self.clock.now()):
            assert time.monotonic() - began < STUCK
            time.sleep(self.chance.uniform(0.02, 0.4))
            asking = [wire for wire in asking if not wire.poll() or wire.recv() != "done"]
            if self.chance.random() < 0.7:
                self.chance.choice(self.workers)[0].kill()
                time.sleep(0.005)
            self.workers = [
                worker if worker[0].is_alive() else self._replaced(worker)
                for worker in self.workers
            ]
        for process, wire in self.workers:
            process.kill()
            self._bury(process, wire)
        self.workers = []

    def _replaced(self, worker: tuple[Any, Connection]) -> tuple[Any, Connection]:
        self._bury(*worker)
        return self._start(deliver)

    def _bury(self, process: Any, wire: Connection) -> None:
        process.join()
        wire.close()
        assert process.exitcode == -signal.SIGKILL
        self.killed.add(str(process.pid))

    def _pass(self, seconds: float) -> None:
        """Move the clock on while nobody works."""
        self.clock.ahead += seconds
        if self.reporting is not None:
            self._tell(self.clock.ahead)

    def _tell(self, ahead: float | None) -> None:
        assert self.reporting is not None
        _, wire = self.reporting
        wire.send(ahead)
        assert wire.poll(STUCK)
        wire.recv()

    def _settle(self) -> None:
        """Work until nothing is left but what only feedback can settle, and hear all of that."""
        self._finish()
        # Who waits for feedback looks again after the settle time, and has to wait on.
        self._pass(SETTLE + 1)
        self._round([])
        self._finish()
        if self.reporting is not None:
            self._tell(None)

    def _finish(self) -> None:
        while (due := self._next_due()) is not None:
            self._pass(max(0.0, (due - self.clock.now()).total_seconds()) + 0.1)
            self._round([])

    def _next_due(self) -> Any:
        views = self.services.store.views
        words: list[notification.Status] = ["requested", "attempting", "failed", "deferred"]
        if not self.part.has_feedback:
            words.append("unknown")
        left: list[Any] = [item for word in words for item in views.notifications(status=word)]
        left += views.grants()
        return min((item.due_at for item in left if item.due_at is not None), default=None)


# --- the end --------------------------------------------------------------------------------------


@attrs.frozen
class Account:
    """What is known at the end: from the events, from the mail server, and from the service.

    Attributes:
        ledgers: the events of each notification.
        captured: the calls whose mails the server took, for each notification, in their order.
        calls: the calls: notification, kind, answer, process.
        ends: how each call ended whose process was there to see it.
        reports: what was reported: notification, call, kind, tagged or not, what came of it.
    """

    ledgers: dict[str, list[Any]]
    captured: dict[str, list[str]]
    calls: dict[str, list[str]]
    ends: dict[str, str]
    reports: list[list[str]]


def _read(home: Path, entries: Iterable[Recorded]) -> Account:
    captured: dict[str, list[str]] = defaultdict(list)
    for id, message_id, _ in lines(home / "captured"):
        captured[id].append(message_id)
    ledgers: dict[str, list[Any]] = {}
    causes: list[str] = []
    asked: list[str] = []
    for entry in entries:
        event = entry.event
        if policy.mail_for(event) is not None:
            causes.append(entry.id)
        if isinstance(event, notification.Requested):
            asked.append(event.cause)
        if isinstance(event, notification.Event):
            ledgers.setdefault(entry.stream.removeprefix("notification-"), []).append(event)
    assert causes == asked
    return Account(
        ledgers,
        dict(captured),
        {words[0]: words[1:] for words in lines(home / "calls")},
        dict(lines(home / "ends")),
        lines(home / "reports"),
    )


def _check_suppressions(entries: Iterable[Recorded]) -> int:
    """Check that nothing was announced to an address after it was suppressed; count those."""
    to: dict[str, str | None] = {}
    suppressed: set[str] = set()
    wanted: set[str] = set()
    for entry in entries:
        match entry.event:
            case notification.Requested() as event:
                to[entry.stream] = event.fingerprint
            case notification.AttemptStarted():
                assert to[entry.stream] not in suppressed, entry.id
            case notification.Withheld() as event if event.why == "suppressed":
                assert to[entry.stream] in suppressed, entry.id
            case notification.Complained():
                wanted.add(to[entry.stream] or "")
            case notification.Bounced() as event if event.bounce_type == "Permanent":
                wanted.add(to[entry.stream] or "")
            case suppression.Suppressed() as event:
                suppressed.add(event.fingerprint)
            case _:
                pass
    assert wanted <= suppressed
    return len(suppressed)


def _check_notification(
    id: str, state: notification.Notification, account: Account, *, has_feedback: bool
) -> None:
    """Check that what is said of a notification is what the mail server knows."""
    assert state.requested is not None
    taken = account.captured.get(id, [])
    assert len(taken) <= 1 or state.requested.kind != "sign_in_code", (id, taken)
    # What went is known to have gone, or that it may have.
    assert not taken or state.maybe_sent, (id, state)
    if state.status in GONE:
        assert set(state.message_ids) <= set(taken), (id, state)
        assert taken, (id, state)
        return
    match state.status:
        case "withheld" if state.why == "expired":
            assert state.requested.kind == "sign_in_code"
        case "withheld":
            assert state.why == "suppressed", (id, state)
        case "dead_lettered":
            assert state.why in {"permanent_error", "attempts_exhausted"}, (id, state)
            assert state.last_error
        case "unknown":
            assert has_feedback or state.requested.kind == "sign_in_code", (id, state)
            assert not [one for one in account.reports if one[0] == id and one[3] == "tagged"]
        case _:
            pytest.fail(f"{id} is left alone: {state}")


def _check_feedback(account: Account, states: dict[str, notification.Notification]) -> None:
    """Check that every report was heard of that could be, and counted once."""
    heard: dict[str, set[tuple[str, str]]] = defaultdict(set)
    parked: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for id, message_id, kind, tagged, result in account.reports:
        assert result in {"recorded", "known"} or tagged == "untagged"
        if kind != "Send":
            place = heard if result in {"recorded", "known"} else parked
            place[id].add((message_id, kind))
    for id, state in states.items():
        # What is parked is applied if the send is ever recorded.
        assert len(heard[id]) <= len(state.feedback) <= len(heard[id] | parked[id]), (id, state)


def _duplicates(account: Account, killed: set[str]) -> list[tuple[str, str, str]]:
    """Name every mail that came again after its notification's was taken, and say why."""
    found = []
    for id, taken in account.captured.items():
        for message_id in taken[:-1]:
            process = account.calls[message_id][-1]
            accepted = _learned(account.ledgers[id], message_id)
            if accepted == "after the settle time":
                why = "its report came after the settle time"
            elif account.ends.get(message_id) == "MailOutcomeUnknown":
                why = "outcome unknown, and it had gone"
            elif process in killed and not accepted:
                why = "worker killed between the call and the record"
            else:
                why = "NO REASON"
            found.append((id, message_id, why))
    return found


def _learned(ledger: list[Any], message_id: str) -> str | None:
    """Say when it was learned that a mail had been taken; None when it never was."""
    was_given_up = False
    for event in ledger:
        match event:
            case notification.Failed():
                was_given_up = was_given_up or "still unknown" in event.error
            case notification.Accepted() if event.message_id == message_id:
                return "after the settle time" if was_given_up else "in time"
            case _:
                pass
    return None


def _check_waits(ledger: list[Any]) -> None:
    """Check that no call follows one of unknown outcome before its settle time is over."""
    settle_at = None
    for event in ledger:
        match event:
            case notification.OutcomeUnknown():
                settle_at = event.settle_at
            case notification.AttemptStarted() if settle_at is not None:
                assert event.at >= settle_at
            case _:
                pass


def _check(soak: Soak) -> dict[str, object]:
    """Check that everything agrees; give the figures."""
    part, store = soak.part, soak.services.store
    books = reconcile(store, at=soak.clock.now())
    # A report without a tag, of a mail whose send was never recorded, stays aside: that is said.
    assert [] == [found for found in books.findings if not found.stream.startswith("report-")]
    account = _read(part.home, store.read())
    states = {}
    for id, ledger in account.ledgers.items():
        state = notification.INITIAL
        for event in ledger:
            state = notification.evolve(state, event)
        states[id] = state
        _check_waits(ledger)
        _check_notification(id, state, account, has_feedback=part.has_feedback)
    suppressed = _check_suppressions(store.read())
    _check_feedback(account, states)
    submitted = [word for (word,) in lines(part.home / "submitted")]
    announced = sum(state.calls for state in states.values())

    assert soak.count == len(set(submitted)) == books.tickets
    assert account.captured.keys() <= account.ledgers.keys()
    assert {id for ids in account.captured.values() for id in ids} <= account.calls.keys()
    assert len(account.calls) <= announced
    duplicates = _duplicates(account, soak.killed)
    for id, message_id, why in duplicates:
        print(f"duplicate of {id} after {message_id}: {why}")
    assert not [one for one in duplicates if one[2] == "NO REASON"]
    events = [event for ledger in account.ledgers.values() for event in ledger]
    early = sum(isinstance(e, notification.Accepted) and e.how == "feedback" for e in events)
    return {
        "submissions": len(submitted),
        "decisions": len(lines(part.home / "decided")),
        "sign-ins": sum(
            s.requested is not None and s.requested.challenge is not None for s in states.values()
        ),
        "events": books.events,
        "calls": len(account.calls),
        "errors": dict(Counter(word for word in account.ends.values() if word != "taken")),
        "answers": dict(Counter(words[2] for words in account.calls.values())),
        "kills": len(soak.killed),
        "captured mails": sum(map(len, account.captured.values())),
        "duplicates": dict(Counter(why for _, _, why in duplicates)),
        "reports": dict(Counter(words[4] for words in account.reports)),
        "known by feedback first": early,
        "suppressed addresses": suppressed,
        "lanes halted": sum(name == "lane.halted.v1" for name in (e.name for e in store.read())),
        "statuses": dict(Counter(state.status for state in states.values())),
        "dead letters redriven": sum(isinstance(e, notification.Redriven) for e in events),
    }


@pytest.mark.parametrize(
    ("service", "database", "count"),
    [
        ("ses", "sqlite", 300),
        ("smtp", "sqlite", 100),
        ("ses", "postgres", 100),
        pytest.param("ses", "sqlite", 20_000, marks=pytest.mark.soak),
        pytest.param("smtp", "sqlite", 2_000, marks=pytest.mark.soak),
    ],
)
def test_nothing_is_lost_or_repeated_without_a_reason(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
    service: Service,
    database: str,
    count: int,
) -> None:
    """Workers are killed all along, and the service errs: all that was asked for has an end, and
    every mail that came twice has a reason.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        server = stack.enter_context(relay(Office(tmp_path / "captured")))
        url = stack.enter_context(fresh_database()) if database == "postgres" else None
        part = Part(
            home=tmp_path,
            relay=server,
            seed=f"{service}-{database}",
            has_feedback=service == "ses",
            people=count // 2,
            database=url,
        )
        soak = Soak(part, count=count)
        stack.callback(soak.end)
        soak.run()
        figures = _check(soak) | {"seconds": round(time.monotonic() - began)}

    table = "\n".join(f"{name:<24} {figure}" for name, figure in figures.items())
    print(table)
    if request.node.get_closest_marker("soak") is not None:
        with capsys.disabled():
            print(f"\n{table}")
    assert len(soak.killed) > count // 20
    assert figures["captured mails"] != figures["calls"]
    assert service == "smtp" or figures["known by feedback first"]
