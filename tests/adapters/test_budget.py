"""Two processors and one place left in the budget, on each database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.sqlite import SqliteStore, prepare
from siutindei.domain import notification
from siutindei.domain.budget import WINDOW, Usage
from tests.postgres import fresh_database
from tests.support import RING, START, VirtualClock, context, make_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siutindei.adapters.store import SqlStore

pytestmark = pytest.mark.slow
QUOTA: Final = 1000
ROUNDS: Final = 10
ENVIRONMENT: Final = {
    "SIUTINDEI_DAILY_QUOTA": str(QUOTA),
    "SIUTINDEI_DECISION_FLOOR": "0",
    "SIUTINDEI_CODE_RESERVE": "0",
}


@pytest.fixture(name="opened", params=["sqlite", "postgres"])
def _opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], SqlStore]]:
    """What opens one more store on the same database."""
    with ExitStack() as stack:
        kind: type[Any] = SqliteStore
        place = str(tmp_path / "siutindei.db")
        if request.param == "postgres":
            kind, place = PostgresStore, stack.enter_context(fresh_database())
        else:
            prepare(place)

        def opened() -> SqlStore:
            store: SqlStore = kind(place, master=RING, clock=VirtualClock())
            stack.callback(store.close)
            return store

        yield opened


def requested(id: str) -> notification.Requested:
    """Make a notice that was asked for."""
    return notification.Requested(
        id=id,
        kind="ticket_received",
        cause="ticket-R00001/1",
        template="t",
        template_version=1,
        template_hash="h",
        at=START,
    )


def fill(store: SqlStore, count: int) -> None:
    """Let as many mails be under way."""
    started = notification.AttemptStarted(attempt=1, deadline=START + timedelta(hours=1), at=START)
    with store.transaction(context()) as tx:
        for number in range(count):
            id = f"{number:032d}"
            tx.append(notification.stream(id), 0, [requested(id), started])


def give_back(store: SqlStore, number: int) -> None:
    """Let one of them surely not have been sent: its place is free."""
    failed = notification.Failed(attempt=1, error_class="transient", error="down", at=START)
    with store.transaction(context()) as tx:
        tx.append(notification.stream(f"{number:032d}"), 2, [failed])


def test_two_processors_send_the_last_mail_once(
    opened: Callable[[], SqlStore], tmp_path: Path
) -> None:
    """At 999 of 1000, however often they meet, one of them sends and the other puts its off."""
    mail, gate = MemoryMail(), threading.Barrier(2)
    both = [
        make_services(tmp_path, environment=ENVIRONMENT, store=opened(), mail=mail)
        for _ in range(2)
    ]
    store = both[0].store
    fill(store, QUOTA - 1)
    for number in range(2 * ROUNDS):
        both[0].tickets.submit(
            context(),
            ticket_type="access_request",
            user=f"user-{number}",
            email=f"user-{number}@example.com",
            body={"organization_name": "Star Dance"},
            vouched=True,
        )
    waiting = [entry.id for entry in store.views.due(at=START)]

    def deliver(number: int, id: str) -> str:
        gate.wait(10)
        return both[number].delivery.deliver(context(), id).result

    with ThreadPoolExecutor(2) as pool:
        for count in range(ROUNDS):
            pair = waiting[2 * count : 2 * count + 2]

            assert ["deferred", "sent"] == sorted(pool.map(deliver, range(2), pair))
            assert count + 1 == len(mail.sent)
            assert Usage(notices=QUOTA) == store.views.sends(since=START - WINDOW).usage
            give_back(store, count)
