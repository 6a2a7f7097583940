"""What the soak of mail puts on the stage: a service that behaves as SES does, and who uses it.

People who ask, workers who mail, and who ingests reports are processes of their own. What they met
is written to files of the home, a line each, by the call's id; what the mail server took is in one
of them, and only there.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import signal
import time
from datetime import timedelta
from email.parser import BytesHeaderParser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, get_args

import attrs

from siutindei.adapters import mime
from siutindei.adapters.smtp import SmtpMail
from siutindei.app.ports import (
    AccountHalted,
    Conflict,
    Found,
    MailError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    PortError,
    Unavailable,
    WholeAccountHalted,
)
from siutindei.bootstrap import Services, build
from siutindei.settings import Relay, read_settings
from tests import aws_events
from tests.crash.stage import ShiftedClock, context

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from siutindei.app.feedback import Heard
    from siutindei.domain.mail import Mail

T = TypeVar("T")

#: The header that carries the id of the call to the mail server: what SES calls the mail.
MESSAGE_HEADER: Final = "X-Soak-Message-Id"
ERROR_SHARE: Final = 0.05
SETTLE: Final = 900

Error = Literal["not_sent", "refused", "account", "whole_account", "lost", "lost_and_gone"]
#: What ends the process in the middle of a call, or gives others time to be faster.
Twist = Literal["dies_before", "dies_after", "slow"]
Answer = Literal["taken", Error, Twist]
ERRORS: Final[tuple[Error, ...]] = get_args(Error)

_RAISED: Final[dict[Answer, MailError]] = {
    "not_sent": MailNotSent("the service does not work at the moment"),
    "refused": MailRefused("the service rejects the message"),
    "account": AccountHalted("sending is paused for the sender"),
    "whole_account": WholeAccountHalted("the quota of a day is used up"),
    "lost": MailOutcomeUnknown("the service did not answer in time"),
    "lost_and_gone": MailOutcomeUnknown("the connection broke"),
}
_NEVER_TAKEN: Final = frozenset({"not_sent", "refused", "account", "whole_account", "lost"})


def write(path: Path, *words: str) -> None:
    """Write a line that survives the death of its process."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, f"{' '.join(words)}\n".encode())
    finally:
        os.close(handle)


def names(content: bytes) -> tuple[str, str, str]:
    """Read which notification a captured mail is of, which call sent it, and its kind."""
    read = BytesHeaderParser().parsebytes(content)
    return read[mime.NOTIFICATION_HEADER], read[MESSAGE_HEADER], read[mime.KIND_HEADER]


@attrs.frozen(kw_only=True)
class Part:
    """What a process does.

    Attributes:
        home: where.
        relay: the mail server.
        seed: what its chance follows from.
        has_feedback: whether the service reports what becomes of mails.
        ahead: how far its clock is ahead when it starts.
        sign_ins: who starts a sign-in first: users and addresses.
        people: how many addresses there are.
        database: the database, when it is another one than the home's.
    """

    home: Path
    relay: Relay
    seed: str
    has_feedback: bool
    ahead: float = 0
    sign_ins: tuple[tuple[str, str], ...] = ()
    people: int = 1
    database: str | None = None


@attrs.frozen(kw_only=True)
class SoakMail:
    """A MailPort that cannot tell what it took, and errs; it writes down every call and its end."""

    home: Path
    post: SmtpMail
    chance: random.Random
    has_feedback: bool
    time_out: timedelta = timedelta(seconds=10)

    def send(self, mail: Mail) -> str:
        """Hand it to the mail server, or not, and say so, or something else."""
        answer = self._answer()
        message_id = f"soak-{self.chance.getrandbits(96):024x}"
        pid = str(os.getpid())
        write(self.home / "calls", message_id, mail.notification_id, mail.kind, answer, pid)
        if answer == "dies_before":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            if answer not in _NEVER_TAKEN:
                headers = (*mail.headers, (MESSAGE_HEADER, message_id))
                self.post.send(attrs.evolve(mail, headers=headers))
            if answer == "dies_after":
                os.kill(os.getpid(), signal.SIGKILL)
            if answer == "slow":
                time.sleep(0.03)
            if answer in _RAISED:
                raise _RAISED[answer]
        except MailError as error:
            write(self.home / "ends", message_id, type(error).__name__)
            raise
        write(self.home / "ends", message_id, "taken")
        return message_id

    def _answer(self) -> Answer:
        chance = self.chance
        if chance.random() < ERROR_SHARE:
            return chance.choice(ERRORS)
        twists: list[Answer] = ["dies_before", "dies_after", "slow", "slow"]
        return chance.choice(twists) if chance.random() < ERROR_SHARE else "taken"

    def lookup(self, notification_id: str) -> Found:
        """Know nothing."""
        return Found(answer="cannot_tell")

    def forget(self, notification_id: str) -> None:
        """Keep nothing."""


def installed(part: Part, clock: ShiftedClock) -> Services:
    """Build the application of a home over the service."""
    environment = {
        "SIUTINDEI_SETTLE": str(SETTLE),
        "SIUTINDEI_DAILY_QUOTA": "1000000",
        "SIUTINDEI_UNPROVED_HOURLY": "1000000",
        "SIUTINDEI_CODES_PER_CLIENT": "1000000",
    }
    if part.database is not None:
        environment["SIUTINDEI_DATABASE"] = part.database
    mail = SoakMail(
        home=part.home,
        post=SmtpMail(part.relay, time_out=timedelta(seconds=10)),
        chance=random.Random(part.seed),
        has_feedback=part.has_feedback,
    )
    return build(read_settings(environment, home=part.home), clock=clock, mail=mail)


def _until_answered(work: Callable[[], T]) -> T:
    while True:
        try:
            return work()
        except (Unavailable, Conflict):
            time.sleep(0.01)


def deliver(part: Part, wire: Connection) -> None:
    """Be a worker until somebody ends it."""
    clock = ShiftedClock(part.ahead)
    services = installed(part, clock)
    _ = services.delivery
    wire.send("ready")
    for user, email in part.sign_ins:
        services.sign_in.start(context(services.ids.uuid()), client="app", email=email, user=user)
    while True:
        try:
            services.delivery.drain(report=lambda _: None)
        except PortError as error:
            write(part.home / "outages", type(error).__name__)
        clock.sleep(0.02)


def ask(part: Part, wire: Connection) -> None:
    """Be somebody who submits tickets, and decides every second one, as many as they are told."""
    clock = ShiftedClock(part.ahead)
    tickets = installed(part, clock).tickets
    chance = random.Random(part.seed)
    wire.send("ready")
    while True:
        clock.ahead, numbers = wire.recv()
        for number in numbers:
            name = f"{part.seed}-{number}"
            email = f"a{chance.randrange(part.people)}@example.com"
            reference = _until_answered(partial(_submit, tickets, name, email))
            write(part.home / "submitted", reference)
            if number % 2:
                done = context(f"decide-{name}")
                decide = tickets.decline if number % 8 != 1 else _approve(tickets)
                _until_answered(partial(decide, done, reference, by="admin-7"))
                write(part.home / "decided", reference)
        wire.send("done")


def _submit(tickets: Any, name: str, email: str) -> str:
    taken = tickets.submit(
        context(f"submit-{name}"),
        ticket_type="access_request",
        user=f"u-{name}",
        email=email,
        body={"organization_name": f"Club {name}"},
        vouched=True,
    )
    reference: str = taken.submitted.reference
    return reference


def _approve(tickets: Any) -> Callable[..., object]:
    def approve(context: Any, reference: str, *, by: str) -> object:
        return tickets.approve(context, reference, by=by, create_organization=True)

    return approve


# --- reports --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Sent:
    """A report that SES sends: which mail, its kind, and whether it names the notification."""

    notification_id: str
    message_id: str
    kind: str
    tagged: bool
    body: str


def reports(words: list[str], chance: random.Random, at: str) -> list[Sent]:
    """Make what SES reports of a mail that it took; the support mailbox takes everything."""
    notification_id, message_id, mail_kind = words
    kinds = chance.choices(
        (
            ["Delivery"],
            ["Bounce permanent"],
            ["Bounce transient"],
            ["DeliveryDelay", "Delivery"],
            ["Delivery", "Complaint"],
            ["Delivery", "Bounce permanent"],
            [],
        ),
        weights=(80, 3, 4, 5, 3, 1, 4),
    )[0]
    if mail_kind == "ticket_received" and not {*kinds} <= {"DeliveryDelay", "Delivery"}:
        kinds = ["Delivery"]
    if chance.random() < 0.9 and kinds:
        kinds = ["Send", *kinds]
    found = []
    for kind in kinds:
        name, _, how = kind.partition(" ")
        details: dict[str, Any] = {} if name == "Send" else {"timestamp": at}
        if name in {"Bounce", "Complaint"}:
            details["feedbackId"] = f"{message_id}-{name}"
        if how == "transient":
            details |= {"bounceType": "Transient", "bounceSubType": "MailboxFull"}
        # The older reports have no tags, and there are none of sends and delays.
        tagged = name in {"Send", "DeliveryDelay"} or chance.random() < 0.9
        made = (
            aws_events.published(name, tag=notification_id, message_id=message_id, **details)
            if tagged
            else aws_events.notified(name, message_id=message_id, **details)
        )
        found.append(
            Sent(
                notification_id=notification_id,
                message_id=message_id,
                kind=name,
                tagged=tagged,
                body=aws_events.enveloped(made) if chance.random() < 0.5 else json.dumps(made),
            )
        )
    return found


class _Reporter:
    """Reads what the mail server took, and ingests reports of it in any order, early and late."""

    def __init__(self, part: Part, clock: ShiftedClock) -> None:
        self.part, self.clock = part, clock
        self.chance = random.Random(part.seed)
        self.services = installed(part, clock)
        self.offset = self.count = 0
        self.waiting: list[tuple[float, int, Sent]] = []

    def read(self) -> None:
        """Make reports of what was captured since, each to be heard of at some moment."""
        path = self.part.home / "captured"
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self.offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self.offset += len(whole) + len(newline)
        at = self.clock.now().isoformat()
        for line in whole.decode().splitlines():
            # Of some mails nothing is heard for long, and of the others in any order.
            latest = self.chance.choice([0.05, 0.5, 3, 600])
            for sent in reports(line.split(), self.chance, at):
                for _ in range(self.chance.choice([1, 1, 1, 1, 2, 3])):
                    self.count += 1
                    late = self.chance.choice([0, latest]) if latest < 600 else latest
                    moment = time.monotonic() + self.chance.uniform(0, late)
                    heapq.heappush(self.waiting, (moment, self.count, sent))

    def hear(self, until: float) -> None:
        """Ingest what is to be heard of by then."""
        while self.waiting and self.waiting[0][0] <= until:
            _, count, sent = heapq.heappop(self.waiting)
            heard = _until_answered(partial(self._hear, sent, count))
            write(
                self.part.home / "reports",
                *(sent.notification_id, sent.message_id, sent.kind),
                *("tagged" if sent.tagged else "untagged", heard.result),
            )

    def _hear(self, sent: Sent, count: int) -> Heard:
        feedback = self.services.feedback
        return feedback.hear(context(f"report-{count}"), feedback.read(sent.body))


def report(part: Part, wire: Connection) -> None:
    """Be the one who reports: told how far the clock is ahead, or that nothing is late any more."""
    clock = ShiftedClock(part.ahead)
    reporter = _Reporter(part, clock)
    wire.send("ready")
    while True:
        is_told = wire.poll(0.005)
        ahead = wire.recv() if is_told else None
        reporter.read()
        if ahead is None:
            reporter.hear(time.monotonic() if not is_told else float("inf"))
        else:
            clock.ahead = ahead
        if is_told:
            wire.send("done")
