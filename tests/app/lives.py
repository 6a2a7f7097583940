"""Lives of an installation, at random: everything that can happen to a mail happens in them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.commands import transact
from siutindei.app.folding import notification_of, version_of
from siutindei.app.ports import (
    AccountHalted,
    Died,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Report,
    WholeAccountHalted,
)
from siutindei.domain import lane, notification, ticket
from siutindei.domain.errors import DomainError
from tests.app.world import CLUB, World, make_world
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from siutindei.app.ports import Transaction
    from siutindei.domain.mail import Mail

EMAILS: Final = tuple(f"u{number}@example.com" for number in range(4))
ERRORS: Final = (
    *(MailNotSent("busy"), MailRefused("never"), MailOutcomeUnknown("no answer")),
    *(AccountHalted("paused"), WholeAccountHalted("suspended"), Died()),
)
WAITS: Final = (0.0, 0.3, 7.0, 31.0, 61.0, 160.0, 301.0, 1000.0, 3601.0, 90_000.0)
KINDS: Final = ("accepted", "delivered", "delayed", "bounced", "complained", "rejected")


class Service(MemoryMail):
    """A mail service that takes its time, and that processes die in."""

    def __init__(self, random: Random, clock: VirtualClock) -> None:
        super().__init__(can_tell=random.random() < 0.3, has_feedback=random.random() < 0.7)
        self._random, self._clock = random, clock

    def send(self, mail: Mail) -> str:
        """Take a mail after a while, or do not."""
        self._clock.sleep(self._random.choice((0, 0, 0.2, 3)))
        if self._random.random() < 0.3:
            raise self._random.choice(ERRORS)
        return super().send(mail)


class Jumpy(VirtualClock):
    """A clock of a machine that is slow now and then, and never so slow that a call is not made."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self._random = random

    def now(self) -> datetime:
        """Give the time, now and then after a while."""
        if self._random.random() < 0.01:
            self.at += timedelta(seconds=0.7)
        return super().now()


class Life:
    """One life."""

    def __init__(self, home: Path, seed: int, **seams: Any) -> None:
        self.random = Random(seed)
        self.clock = Jumpy(self.random)
        self.service = Service(self.random, self.clock)
        environment = self.random.choice(
            (
                {},
                {"SIUTINDEI_DAILY_QUOTA": "4", "SIUTINDEI_CODE_RESERVE": "1"},
                {"SIUTINDEI_CODES_PER_ADDRESS": "2", "SIUTINDEI_UNPROVED_HOURLY": "3"},
                {"SIUTINDEI_SOFT_BOUNCES": "1", "SIUTINDEI_SETTLE": "5"},
            )
        ) | ({"SIUTINDEI_DECISION_FLOOR": "1"})
        self.world: World = make_world(
            home, mail=self.service, clock=self.clock, environment=environment, **seams
        )
        self.users: dict[str, str] = {}
        self.challenges: list[str] = []
        self.tickets: list[str] = []
        self.reports = 0

    def live(self, steps: int) -> World:
        """Let things happen."""
        acts: list[Callable[[], None]] = [
            *([self.start] * 5 + [self.answer] * 2 + [self.submit] * 3 + [self.decide] * 2),
            *([self.wait] * 6 + [self.drain] * 4 + [self.hear] * 4 + [self.redrive]),
            *(
                self.sign_up,
                self.sign_up,
                self.sign_up,
                self.old,
                self.erase,
                self.discard,
                self.suppress,
                self.lift,
            ),
            *(self.lane, self.exhaust, self.adopt),
        ]
        for _ in range(steps):
            with suppress(DomainError, Died):
                self.random.choice(acts)()
        return self.world

    def email(self) -> str:
        """Choose somebody."""
        return self.random.choice(EMAILS)

    def sign_up(self) -> None:
        """Sign somebody up."""
        email = self.email()
        self.users[email] = self.world.person(email, locale="en")

    def start(self) -> None:
        """Start a sign-in, of somebody whom we know or not, who may have another address now."""
        email = self.email()
        user = self.users.get(self.random.choice((email, email, self.email())))
        client = self.random.choice(("app", "app", "web"))
        # Cognito's triggers say so who asks.
        asking = context(actor=f"client:{client}" if user is None else f"user:{user}")
        started = self.world.services.sign_in.start(asking, client=client, email=email, user=user)
        self.challenges.append(started.challenge)

    def answer(self) -> None:
        """Answer one of the newest challenges."""
        if self.challenges:
            name = self.random.choice(self.challenges[-3:])
            right = self.random.random() < 0.6
            self.world.answer(name, self.world.code(name) if right else self.world.wrong(name))

    def submit(self) -> None:
        """Submit a ticket."""
        email = self.email()
        self.tickets.append(
            self.world.submit(
                self.random.choice(ticket.TYPES),
                user=self.users.get(email, f"user-{email[1]}"),
                email=email,
                vouched=self.random.random() < 0.5,
            )
        )

    def old(self) -> None:
        """Take what the old API published, now and then under a number that there is."""
        email = self.email()
        body = {
            "ticket_id": f"F{self.random.randint(1, 3):05d}",
            "submitter_id": f"user-{email[1]}",
            "submitter_email": email,
            "organization_name": f"Club {self.random.randint(1, 5)}",
            "organization_id": CLUB,
            "feedback_stars": 3,
        }
        taken, _ = self.world.services.tickets.take(
            context(), event_type="organization_feedback.submitted", body=body
        )
        if taken.submitted is not None:
            self.tickets.append(taken.submitted.reference)

    def decide(self) -> None:
        """Decide a ticket."""
        if self.tickets:
            reference = self.random.choice(self.tickets)
            if self.random.random() < 0.5:
                self.world.decline(reference)
                return
            options: dict[str, Any] = {}
            if reference[0] == "R":
                options = self.random.choice(
                    ({"create_organization": True}, {"organization_id": CLUB})
                )
            self.world.approve(reference, **options)

    def wait(self) -> None:
        """Let time go by; seldom does a clock jump back."""
        self.clock.sleep(-5 if self.random.random() < 0.02 else self.random.choice(WAITS))

    def drain(self) -> None:
        """Let a worker work."""
        self.world.drain()

    def some_mail(self) -> notification.Notification | None:
        """Choose a mail."""
        found = self.world.store.views.notifications()
        return self.random.choice(found) if found else None

    def hear(self) -> None:
        """Hear a report, of a mail of ours or of another one, once or again."""
        if not self.service.has_feedback:
            return
        mail, self.reports = self.some_mail(), self.reports + 1
        kind: Any = self.random.choice(KINDS)
        message, id = f"other-{self.random.randint(0, 3)}", None
        if mail is not None and mail.requested is not None and mail.calls:
            id = self.random.choice((mail.requested.id, None))
            message = mail.message_id or f"memory-{mail.requested.id}-{self.service._calls + 1}"
        ago = timedelta(seconds=self.random.choice((0, 0, 2, 100)))
        said = Report(
            kind=kind,
            name=kind,
            message_id=message,
            notification_id=id,
            is_tagged=self.random.random() < 0.3,
            feedback_id=f"feedback-{self.random.randint(0, self.reports)}",
            at=self.clock.now() - ago,
            main_type=self.random.choice(("Transient", "Permanent")) if kind == "bounced" else "",
            sub_type="MailboxFull" if kind == "bounced" else "",
        )
        self.world.services.feedback.hear(context(), said)

    def redrive(self) -> None:
        """Redrive every dead letter."""
        letters = self.world.services.dead_letters
        letters.redrive(context(), [letter.id for letter in letters.all()], by="op")

    def discard(self) -> None:
        """Discard a dead letter."""
        letters = self.world.services.dead_letters
        ids = [letter.id for letter in letters.all()][:1]
        letters.discard(context(), ids, by="op", reason="old")

    def erase(self) -> None:
        """Erase somebody."""
        user = self.users.get(self.email())
        if user is not None:
            self.world.services.people.erase(context(), user, by="op", reason="asked")

    def suppress(self) -> None:
        """Suppress somebody's address, or the support mailbox."""
        address = self.random.choice((self.email(), "support@lx-software.com"))
        self.world.services.suppressions.add(context(), address, by="op", reason="asked")

    def adopt(self) -> None:
        """Suppress an address that SES has on its list."""
        book, email = self.world.services.addresses, self.email()
        self.world.services.suppressions.adopt(context(), book.fingerprint(email), email)

    def lift(self) -> None:
        """Lift a suppression."""
        for one in self.world.services.suppressions.list()[:2]:
            self.world.services.suppressions.lift(
                context(), one.fingerprint, by="op", reason="asked"
            )

    def lane(self) -> None:
        """Halt a lane, or let it go again."""
        name, lanes = self.random.choice(lane.NAMES), self.world.services.lanes
        if lanes.all()[name].why is not None:
            lanes.resume(context(), name, by="op", reason="mended")
        elif self.random.random() < 0.3:
            lanes.halt(context(), name, by="op", reason="wrong")

    def exhaust(self) -> None:
        """Give up a mail that nobody could begin."""
        mail = self.some_mail()
        if mail is None or mail.requested is None:
            return
        stream = notification.stream(mail.requested.id)

        def work(tx: Transaction) -> None:
            events = tx.load(stream)
            state = notification_of(events)
            decided = notification.exhaust_receives(state, at=self.clock.now())
            tx.append(stream, version_of(events), decided, cause=events[-1])

        transact(self.world.store, context(), work)
