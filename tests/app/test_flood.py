"""A flood of sign-ins for addresses that nobody proved, while everybody else goes on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from siutindei.domain.budget import WINDOW, Usage
from siutindei.domain.challenge import TooManySignIns
from tests.app.world import World, make_world

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

FLOOD: Final = 10_000
#: A user signs in after so many of these, and a ticket is decided after so many.
EACH_USER: Final = 100
EACH_DECISION: Final = 250
UNPROVED: Final = 60
SECONDS: Final = 3600 / FLOOD


def pour(world: World, user: str | None, address: str) -> bool:
    """Start a sign-in, and say whether it was started."""
    try:
        world.start(user, address)
    except TooManySignIns as refused:
        return refused.limit != "unproved"
    return True


def test_a_flood_of_strangers_takes_nothing_from_anybody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten thousand in an hour: who proved an address signs in, and every decision goes out.

    The budget is so small that it runs short: notices to support wait for the others.
    """
    world = make_world(
        tmp_path,
        environment={
            "SIUTINDEI_DAILY_QUOTA": "280",
            "SIUTINDEI_DECISION_FLOOR": "40",
            "SIUTINDEI_CODE_RESERVE": "220",
        },
    )
    random = Random(1)
    users = [(world.signed_in(f"user-{n}@example.com"), f"user-{n}@example.com") for n in range(50)]
    world.clock.advance(hours=2)
    before = len(world.mail.sent)
    signed_in, wanted, poured, decided = 0, 0, 0, []
    for number in range(FLOOD):
        # Half of them are accounts that were made for it, the others nobody has signed up with.
        stranger = f"stranger-{number}" if random.random() < 0.5 else None
        wanted += stranger is not None
        poured += pour(world, stranger, f"{random.getrandbits(64):x}@example.net")
        if number % EACH_USER == 0:
            user, address = users[signed_in % len(users)]
            assert world.answer(world.start(user, address).challenge).correct
            signed_in += 1
        if number % EACH_DECISION == 0:
            decided.append(world.submit(user=f"submitter-{number}", email="sam@example.com"))
            world.decline(decided[-1])
            world.drain()
        world.clock.advance(seconds=SECONDS)
    world.drain()

    usage = world.store.views.sends(since=world.clock.now() - WINDOW).usage
    sent = world.mail.sent[before:]
    bounced = sum(mail.recipient.endswith("@example.net") for mail in sent)
    rate, without = bounced / len(sent), wanted / (wanted + len(sent) - bounced)
    with capsys.disabled():
        print(f"\nbounces: {rate:.1%} of {len(sent)} mails; without limits {without:.1%}")
    statuses = {world.notice(reference, "ticket_decided").status for reference in decided}
    waiting = world.store.views.notifications(status="deferred")

    assert FLOOD // EACH_USER == signed_in
    assert {"accepted"} == statuses
    assert FLOOD // EACH_DECISION == usage.decisions
    assert UNPROVED == poured
    assert 0 < bounced < UNPROVED
    assert without > 0.9
    assert rate < without / 4
    assert {"ticket_received"} == {item.requested.kind for item in waiting if item.requested}
    assert Usage(codes=150 + bounced, decisions=40, notices=40 - len(waiting)) == usage
