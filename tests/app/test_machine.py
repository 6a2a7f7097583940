"""Whatever happens in whatever order: the promises hold.

Hypothesis drives the use cases against a model that knows only what was asked for and what the mail
port was told to answer.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.projections import NAMES
from siutindei.app.ports import (
    AccountHalted,
    Conflict,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
)
from siutindei.domain import challenge, notification, person, policy, ticket
from tests.app.world import CLUB, World, make_world
from tests.support import context

if TYPE_CHECKING:
    from siutindei.domain.mail import Mail

EMAILS: Final = tuple(f"u{number}@example.com" for number in range(3))
emails = st.sampled_from(EMAILS)
types = st.sampled_from(ticket.TYPES)
choices = st.integers(0, 50)
waits = st.sampled_from([0.3, 7.0, 61.0, 160.0, 301.0, 1000.0, 3601.0])
#: What the mail port does with the next calls: an error, and whether it takes the mail anyway.
answers = st.sampled_from(
    [
        (MailNotSent("busy"), False),
        (MailRefused("never"), False),
        (AccountHalted("paused"), False),
        (MailOutcomeUnknown("no answer"), False),
        (MailOutcomeUnknown("no answer"), True),
    ]
)
faults = st.sampled_from(
    [
        [Conflict("first")],
        [None, Conflict("first")],
        [Unavailable("locked")],
        [None, *[Unavailable("locked")] * 5],
    ]
)


class Journal(MemoryMail):
    """A mail port that remembers every mail that it ever took, also after it was forgotten."""

    def __init__(self, *, can_tell: bool, on_mail: Callable[[Mail], None]) -> None:
        super().__init__(can_tell=can_tell)
        self.taken: Counter[str] = Counter()
        self.on_mail = on_mail

    def _take(self, mail: Mail) -> str:
        before = len(self.sent)
        message_id = super()._take(mail)
        if len(self.sent) > before:
            self.taken[mail.notification_id] += 1
            self.on_mail(mail)
        return message_id


@attrs.define
class Command:
    """A command that was carried out, and what it answered."""

    again: Callable[[], object]
    answer: object


class Machine(RuleBasedStateMachine):
    """What users, administrators, workers and operators may do."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.users: dict[str, str] = {}
        self.erased: set[str] = set()
        self.challenges: list[str] = []
        self.tickets: dict[str, tuple[str, ticket.Type]] = {}
        self.pending: set[str] = set()
        self.commands: list[Command] = []
        self.count = 0

    @initialize(can_tell=st.booleans())
    def begin(self, can_tell: bool) -> None:
        """Build an application."""
        self.can_tell = can_tell
        self.mail = Journal(can_tell=can_tell, on_mail=self.on_mail)
        self.world: World = make_world(self.home, mail=self.mail)

    def on_mail(self, mail: Mail) -> None:
        """No mail goes out without a cause, to an erased person, or to a stranger."""
        requested = self.world.notices(mail.notification_id).requested
        assert requested is not None
        stream, _, version = requested.cause.rpartition("/")
        (cause,) = self.world.store.load(stream, newest=1, until=int(version))

        assert policy.mail_for(cause.event) == mail.kind
        if mail.kind == "ticket_received":
            assert mail.recipient == "support@lx-software.com"
        else:
            assert requested.user not in self.erased
            assert mail.recipient in EMAILS
            assert requested.user in self.users.values()

    def command(self) -> str:
        """Name a new command."""
        self.count += 1
        return f"machine-{self.count}"

    def ask(self, act: Callable[[str], Any], shown: Callable[[Any], object]) -> Any:
        """Carry out a command; when it changed something, remember it with its answer."""
        name = self.command()
        before = self.world.store.last_position()
        answer = act(name)
        if any(found.context.command_id == name for found in self.world.store.read(after=before)):
            self.commands.append(Command(again=lambda: shown(act(name)), answer=shown(answer)))
        return answer

    # --- what may happen --------------------------------------------------------------------------

    @rule(email=emails)
    def sign_up(self, email: str) -> None:
        """Sign somebody up."""
        with suppress(Unavailable, Conflict):
            user = self.world.person(email)

            assert self.users.get(email, user) == user or self.users[email] in self.erased
            assert user not in self.erased
            self.users[email] = user

    @rule(email=emails, is_known=st.booleans())
    def start(self, email: str, is_known: bool) -> None:
        """Start a sign-in."""
        user = self.users.get(email) if is_known else None
        with suppress(challenge.TooManySignIns, person.PersonErased, Unavailable, Conflict):
            started = self.ask(
                lambda name: self.world.start(user, email, command=name), lambda found: found
            )

            assert (
                user not in self.erased
                or started.notification is None
                or not is_known
                or (
                    # An open challenge is given again; its mail is withheld.
                    started.challenge in self.challenges
                )
            )
            self.challenges.append(started.challenge)

    @precondition(lambda self: self.challenges)
    @rule(choice=choices, is_right=st.booleans())
    def answer(self, choice: int, is_right: bool) -> None:
        """Answer a challenge."""
        name = self.challenges[choice % len(self.challenges)]
        code = self.world.code(name) if is_right else self.world.wrong(name)
        with suppress(Unavailable, Conflict):
            given = self.world.answer(name, code)

            assert is_right or not given.correct

    @rule(email=emails, ticket_type=types, vouched=st.booleans())
    def submit(self, email: str, ticket_type: ticket.Type, vouched: bool) -> None:
        """Submit a ticket."""
        user = self.users.get(email)
        if user is None:
            return
        has_pending = any(
            self.tickets[reference] == (user, ticket_type) for reference in self.pending
        )
        try:
            reference = self.ask(
                lambda name: self.world.submit(
                    ticket_type, user=user, email=email, vouched=vouched, command=name
                ),
                lambda found: found,
            )
        except (Unavailable, Conflict):
            return
        except person.PersonErased:
            assert user in self.erased
            return
        except ticket.PendingTicket:
            assert has_pending
            return

        number = sum(kind == ticket_type for _, kind in self.tickets.values()) + 1
        assert ticket.reference(ticket_type, number) == reference
        assert user not in self.erased
        assert not has_pending
        self.tickets[reference] = (user, ticket_type)
        self.pending.add(reference)

    @precondition(lambda self: self.tickets)
    @rule(choice=choices, is_yes=st.booleans(), is_new=st.booleans())
    def decide(self, choice: int, is_yes: bool, is_new: bool) -> None:
        """Decide a ticket, one that was decided too."""
        reference = sorted(self.tickets)[choice % len(self.tickets)]
        options: dict[str, Any] = {}
        if is_yes and self.tickets[reference][1] == "access_request":
            options = {"create_organization": True} if is_new else {"organization_id": CLUB}
        verb = self.world.approve if is_yes else self.world.decline
        try:
            self.ask(
                lambda name: verb(reference, command=name, **options),
                # What is open of it may be erased before it is asked again.
                lambda decided: decided.ticket.status,
            )
        except (Unavailable, Conflict):
            return
        except ticket.AlreadyDecided:
            assert reference not in self.pending
            return

        assert reference in self.pending
        self.pending.discard(reference)

    @precondition(lambda self: self.commands)
    @rule(choice=choices)
    def repeat(self, choice: int) -> None:
        """Repeat a command: it gets its first answer, and nothing is decided anew."""
        command = self.commands[choice % len(self.commands)]
        before = self.world.store.last_position()
        with suppress(Unavailable, Conflict):
            assert command.answer == command.again()
        assert [] == list(self.world.store.read(after=before, names=_CAUSES))

    @rule(answers=st.lists(answers, min_size=1, max_size=3))
    def trouble(self, answers: list[tuple[Any, bool]]) -> None:
        """Let the mail port fail."""
        for error, takes_it in answers:
            self.mail.then_raises(error, takes_it=takes_it)

    @rule(errors=faults)
    def fault(self, errors: list[Exception | None]) -> None:
        """Let the store fail."""
        self.world.store.then_fails(*errors)

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.world.clock.sleep(seconds)

    @rule()
    def drain(self) -> None:
        """Let a worker work."""
        with suppress(Unavailable, Conflict):
            self.world.drain()

    @rule(email=emails)
    def erase(self, email: str) -> None:
        """Erase somebody."""
        user = self.users.get(email)
        if user is not None:
            with suppress(Unavailable, Conflict):
                self.world.services.people.erase(context(), user, by="op", reason="asked")
                self.erased.add(user)

    @rule(is_redrive=st.booleans())
    def dead_letters(self, is_redrive: bool) -> None:
        """Redrive every dead letter, or discard one."""
        letters = self.world.services.dead_letters
        ids = [letter.id for letter in letters.all()]
        with suppress(Unavailable, Conflict):
            if is_redrive:
                letters.redrive(context(), ids, by="op")
            elif ids:
                letters.discard(context(), ids[:1], by="op", reason="old")

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def one_pending_ticket_of_a_type(self) -> None:
        """A user has one pending ticket of a type, and each is known."""
        owners = [self.tickets[reference] for reference in self.pending]

        assert len(set(owners)) == len(owners)
        assert self.world.store.views.pending_count() == len(self.pending)

    @invariant()
    def one_mail_for_a_notification(self) -> None:
        """No mail goes out twice: never a code, and nothing when the port can tell."""
        for id, count in self.mail.taken.items():
            requested = self.world.notices(id).requested
            assert requested is not None

            if self.can_tell or requested.kind == "sign_in_code":
                assert count == 1
            else:
                assert count <= self.world.notices(id).calls

    def teardown(self) -> None:
        """Let everything come to its end, and look at the books."""
        try:
            if hasattr(self, "world"):
                self.close_the_books()
        finally:
            shutil.rmtree(self.home)

    def close_the_books(self) -> None:
        """Nothing is lost: each cause has one notification, and each was sent or says why not."""
        self.world.store.script.clear()
        self.mail._script.clear()
        for _ in range(12):
            self.world.drain()
            self.world.clock.sleep(1000)
        entries = list(self.world.store.read())
        causes = [entry.id for entry in entries if policy.mail_for(entry.event) is not None]
        requested = [
            entry.event.cause
            for entry in entries
            if isinstance(entry.event, notification.Requested)
        ]
        assert causes == requested

        for item in self.world.store.views.notifications():
            assert item.requested is not None
            assert item.due_at is None
            sent = self.mail.taken[item.requested.id]
            if item.status == "accepted":
                assert sent >= 1
            else:
                # Whatever is not accepted was surely not sent, but for a code that nobody can tell.
                assert item.status in {"dead_lettered", "withheld", "unknown"}
                assert item.status != "unknown" or item.requested.kind == "sign_in_code"
                assert sent == 0 or item.maybe_sent

        replay = self.world.services.history.replay()
        assert self.world.store.digest(tuple(NAMES)) == replay.digest
        assert len(entries) == replay.events


_CAUSES: Final = tuple(
    name for events in (person.EVENTS, challenge.EVENTS, ticket.EVENTS) for name in events
)


@pytest.mark.slow
def test_the_promises_hold_whatever_happens() -> None:
    """No order of users, administrators, workers, failures and erasures breaks a promise."""
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
