"""Bad hours of the mail service, minute by minute: what was sent, waits, is halted, and is dead."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.ports import MailError, MailNotSent, WholeAccountHalted
from tests.app.world import ANN, World, make_world
from tests.support import START, VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from siutindei.domain.mail import Mail

    Says = Callable[[datetime, int], MailError | None]

DOWN: Final = MailNotSent("SES does not work at the moment")
SLOW: Final = MailNotSent("SES takes mails more slowly than we send them")
SUSPENDED: Final = WholeAccountHalted("AWS has suspended the SES account")
USED_UP: Final = WholeAccountHalted("SES's quota of a day is used up")


class Service(MemoryMail):
    """A mail service whose answer depends on the time and on what it has taken."""

    def __init__(self, clock: VirtualClock, says: Says) -> None:
        super().__init__(can_tell=False, has_feedback=True)
        self.clock, self.says, self.calls = clock, says, 0

    def send(self, mail: Mail) -> str:
        """Take a mail, or say what keeps it from that."""
        self.calls += 1
        error = self.says(self.clock.now(), len(self.sent))
        if error is not None:
            raise error
        return super().send(mail)


@attrs.frozen
class Minute:
    """How things stand at the end of a minute."""

    sent: int
    waiting: int
    dead: int
    withheld: int
    halted: int


class Hour:
    """A service in a bad hour, and one ticket a minute."""

    def __init__(self, folder: Path, says: Says, **environment: str) -> None:
        clock = VirtualClock()
        self.service = Service(clock, says)
        self.world: World = make_world(
            folder, mail=self.service, clock=clock, environment=environment
        )
        self.minutes: list[Minute] = []
        self.asked = 0

    def submit(self) -> None:
        """Ask for one more mail."""
        self.asked += 1
        self.world.submit(user=f"user-{self.asked}", email=ANN)

    def pass_minutes(self, count: int, *, submitting: bool = True) -> None:
        """Let minutes pass, in each of which a ticket comes and a worker runs twice."""
        for _ in range(count):
            if submitting:
                self.submit()
            for _ in range(2):
                self.world.drain()
                self.world.clock.advance(seconds=30)
            self.minutes.append(self.now())

    def now(self) -> Minute:
        """See how things stand."""
        found = Counter(item.status for item in self.world.store.views.notifications())
        lanes = self.world.services.lanes.all().values()
        minute = Minute(
            sent=found["accepted"],
            waiting=found["requested"] + found["failed"] + found["deferred"],
            dead=found["dead_lettered"],
            withheld=found["withheld"],
            halted=sum(lane.why is not None for lane in lanes),
        )
        # Nothing is lost, at no time, and nothing went twice.
        assert self.asked == minute.sent + minute.waiting + minute.dead + minute.withheld
        assert minute.sent == len(self.service.sent)
        return minute

    def at(self, minute: int) -> Minute:
        """Give how things stood at the end of a minute, counted from 1."""
        return self.minutes[minute - 1]


def between(first: int, last: int, error: MailError) -> Says:
    """Say an error from one minute to another."""

    def says(at: datetime, _: int) -> MailError | None:
        minute = (at - START) / timedelta(minutes=1)
        return error if first <= minute < last else None

    return says


def test_an_outage_of_an_hour(tmp_path: Path) -> None:
    """Each mail is tried three times and then set aside; a redrive sends all of them, once."""
    hour = Hour(tmp_path, between(10, 70, DOWN))
    hour.pass_minutes(90)
    letters = hour.world.services.dead_letters
    dead = [letter.id for letter in letters.all()]

    assert Minute(sent=10, waiting=0, dead=0, withheld=0, halted=0) == hour.at(10)
    # Three attempts take three minutes: those are waiting, the others wait for a person.
    assert Minute(sent=10, waiting=3, dead=7, withheld=0, halted=0) == hour.at(20)
    assert [(minute - 13, 3) for minute in range(20, 71)] == [
        (hour.at(minute).dead, hour.at(minute).waiting) for minute in range(20, 71)
    ]
    assert Minute(sent=33, waiting=0, dead=57, withheld=0, halted=0) == hour.at(90)
    assert 57 * 3 + 3 * 3 + 30 >= hour.service.calls

    letters.redrive(context(), dead, by="op")
    hour.pass_minutes(1, submitting=False)
    assert Minute(sent=90, waiting=0, dead=0, withheld=0, halted=0) == hour.at(91)


def test_a_throttle_storm(tmp_path: Path) -> None:
    """For an hour SES takes one call in two: back-off sends all but the unlucky, none twice."""
    calls = 0

    def says(at: datetime, _: int) -> MailError | None:
        nonlocal calls
        calls += 1
        return SLOW if at < START + timedelta(hours=1) and calls % 2 else None

    hour = Hour(tmp_path, says)
    hour.pass_minutes(75)

    assert all(minute.halted == 0 for minute in hour.minutes)
    assert all(minute.waiting <= 3 for minute in hour.minutes)
    assert 75 == hour.at(75).sent + hour.at(75).dead
    assert hour.at(75).dead <= 4


def test_a_suspended_account(tmp_path: Path) -> None:
    """Nothing dies and nothing is burnt; SES is asked now and then, and all goes by itself."""
    hour = Hour(tmp_path, between(5, 65, SUSPENDED))
    hour.pass_minutes(90)
    tries = hour.service.calls - len(hour.service.sent)

    assert Minute(sent=5, waiting=0, dead=0, withheld=0, halted=0) == hour.at(5)
    for minute in range(6, 66):
        assert Minute(sent=5, waiting=minute - 5, dead=0, withheld=0, halted=2) == hour.at(minute)
    # At minutes 5, 6, 8, 12, 20, then every ten: fewer calls than mails.
    assert tries <= 10
    assert 0 == hour.at(76).halted
    assert Minute(sent=90, waiting=0, dead=0, withheld=0, halted=0) == hour.at(90)
    assert {1} == {
        item.attempts for item in hour.world.store.views.notifications(status="accepted")
    }


def test_a_quota_that_ses_says_is_used_up(tmp_path: Path) -> None:
    """Ours was set too high: the lanes halt, and go on when SES's day has room again."""
    day = timedelta(hours=24)

    def says(at: datetime, taken: int) -> MailError | None:
        return USED_UP if taken >= 20 and at < START + day else None

    hour = Hour(tmp_path, says)
    hour.pass_minutes(40)
    assert Minute(sent=20, waiting=20, dead=0, withheld=0, halted=2) == hour.at(40)

    hour.world.clock.advance(hours=24)
    hour.pass_minutes(15, submitting=False)
    assert Minute(sent=40, waiting=0, dead=0, withheld=0, halted=0) == hour.at(55)


def test_a_quota_that_we_count_ourselves(tmp_path: Path) -> None:
    """SES is not even called: mails wait for the rolling day, and go as it moves on."""
    hour = Hour(
        tmp_path,
        lambda *_: None,
        SIUTINDEI_DAILY_QUOTA="20",
        SIUTINDEI_DECISION_FLOOR="0",
        SIUTINDEI_CODE_RESERVE="0",
    )
    hour.pass_minutes(40)
    assert Minute(sent=20, waiting=20, dead=0, withheld=0, halted=0) == hour.at(40)
    assert 20 == hour.service.calls

    hour.world.clock.advance(hours=24)
    hour.pass_minutes(65, submitting=False)
    assert Minute(sent=40, waiting=0, dead=0, withheld=0, halted=0) == hour.at(105)


@pytest.mark.parametrize("error", [DOWN, SUSPENDED], ids=["down", "suspended"])
def test_codes_in_a_bad_hour(tmp_path: Path, error: MailError) -> None:
    """A code is of no use later: it is withheld, and the next sign-in gets one of its own."""
    hour = Hour(tmp_path, between(0, 60, error))
    world = hour.world
    user = world.person(ANN)
    hour.asked = 1
    first = world.start(user, ANN)
    hour.pass_minutes(75, submitting=False)
    hour.asked = 2
    second = world.start(user, ANN)

    assert first.notification is not None
    assert world.notices(first.notification).status in {"withheld", "dead_lettered"}
    assert second.mail is not None
    assert "sent" == second.mail.result
    assert [second.notification] == [mail.notification_id for mail in world.mail.sent]
