"""How the budget stands: what went, what waits, the forecast, and what SES says beside it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from siutindei.app.budgeting import Budget, misfits
from siutindei.app.ports import Unavailable
from siutindei.domain import notification
from siutindei.domain.budget import Limits, Usage
from tests.app.test_sending import ACCOUNT, FakeSes
from tests.app.world import ANN, World, make_world
from tests.support import context

if TYPE_CHECKING:
    from pathlib import Path

    from siutindei.app.budgeting import Standing

FREE = Limits(quota=10, floor=0, reserve=0)


def make(home: Path, quota: int = 10) -> World:
    """Build an application whose budget is so large, and for everybody."""
    return make_world(
        home,
        environment={
            "SIUTINDEI_DAILY_QUOTA": str(quota),
            "SIUTINDEI_DECISION_FLOOR": "0",
            "SIUTINDEI_CODE_RESERVE": "0",
        },
    )


def standing(world: World, limits: Limits = FREE, ses: FakeSes | None = None) -> Standing:
    """Say how the budget of an application stands."""
    return Budget(store=world.store, clock=world.clock, limits=limits, ses=ses).standing()


def send(world: World, count: int, first: int = 0) -> None:
    """Let so many notices go."""
    for number in range(first, first + count):
        world.submit(user=f"user-{number}")
    world.drain()


def test_an_empty_budget(tmp_path: Path) -> None:
    """Nothing went, nothing waits, nothing is wrong."""
    found = standing(make(tmp_path))

    assert (Usage(), 0, None, None, ()) == (
        found.usage,
        found.last_hour,
        found.full_at,
        found.account,
        found.findings,
    )
    assert {0} == set(found.waiting.values())


def test_what_went_and_what_waits(tmp_path: Path) -> None:
    """Mails are counted by kind; what waits for something else than room is not counted."""
    world = make(tmp_path, quota=2)
    user = world.signed_in(ANN)
    reference = world.submit(user=user)
    world.drain()
    send(world, 2)
    world.decline(reference)
    world.drain()
    halted = notification.stream(world.notice_id(world.submit(user="user-9")))
    until = world.clock.now() + timedelta(hours=1)
    rule = "lane.halted.v1"
    with world.store.transaction(context()) as tx:
        deferred = notification.Deferred(until=until, why="lane_halted", rule=rule, at=until)
        tx.append(halted, 1, [deferred])
    found = standing(world, attrs.evolve(FREE, quota=2))

    assert Usage(codes=1, notices=1) == found.usage
    assert {"sign_in_code": 0, "ticket_received": 2, "ticket_decided": 1} == found.waiting
    assert world.clock.now() == found.full_at


def test_the_forecast_goes_by_the_last_hour(tmp_path: Path) -> None:
    """What leaves the window until then is taken off."""
    world = make(tmp_path)
    send(world, 3)
    world.clock.advance(hours=1, minutes=30)
    quiet = standing(world)
    send(world, 2, first=3)
    busy, at = standing(world), world.clock.now()
    world.clock.advance(hours=21)
    send(world, 2, first=5)
    leaving = standing(world)

    assert (0, None) == (quiet.last_hour, quiet.full_at)
    # Five went, two of them in the last hour: nine in two hours, and full in three.
    assert 2 == busy.last_hour
    assert at + timedelta(hours=3) == busy.full_at
    # Seven went; three leave in the second hour and two in the third: 7, 9, 8, 8, 10.
    assert 2 == leaving.last_hour
    assert world.clock.now() + timedelta(hours=4) == leaving.full_at


@pytest.mark.parametrize(
    ("quota", "sent", "limit", "words"),
    [
        (10, 4, 10, []),
        (10, 4, 11, ["SES takes 10 mails in 24 hours and SIUTINDEI_DAILY_QUOTA is 11"]),
        (-1, 4, 11, []),
        (10, 5, 10, ["SES counts 5 mails in 24 hours and we count 4"]),
        (10, 0, 10, ["SES counts 0 mails in 24 hours and we count 4"]),
    ],
)
def test_ses_is_compared(
    tmp_path: Path, quota: int, sent: int, limit: int, words: list[str]
) -> None:
    """A quota above SES's is wrong, and so are counts that are more than a tenth apart."""
    world, ses = make(tmp_path), FakeSes()
    ses.state = attrs.evolve(ACCOUNT, quota=float(quota), sent=float(sent))
    send(world, 4)
    found = standing(world, attrs.evolve(FREE, quota=limit), ses)

    assert ses.state == found.account
    assert words == [finding.partition(":")[0] for finding in found.findings]


def test_a_tenth_is_no_difference(tmp_path: Path) -> None:
    """Nine of ours and ten of SES's are the same: a mail may be under way."""
    world, ses = make(tmp_path), FakeSes()
    ses.state = attrs.evolve(ACCOUNT, quota=10.0, sent=10.0)
    send(world, 9)

    assert () == standing(world, ses=ses).findings


def test_ses_that_cannot_be_reached(tmp_path: Path) -> None:
    """Nothing is said without it: try again."""

    class Away(FakeSes):
        def account(self) -> Any:
            raise Unavailable("SES cannot be reached")

    with pytest.raises(Unavailable):
        standing(make(tmp_path), ses=Away())


def test_numbers_that_leave_nothing_to_somebody(tmp_path: Path) -> None:
    """It is said which mails would wait forever."""
    world = make(tmp_path)
    send(world, 1)
    (finding,) = standing(world, Limits(quota=10, floor=4, reserve=6)).findings

    assert finding.startswith("ticket_received: no such mail is ever sent")
    assert [] == list(misfits(Limits(quota=11, floor=4, reserve=6)))
