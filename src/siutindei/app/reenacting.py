"""A history that is enacted again, by the use cases themselves, on an empty stage.

The commands of the history are given again, each at its time, and the world does what it did: it
looks at a mail as late as then, a call ends as it ended, and what was reported is reported. What a
command leads to is decided by the rules, and read from the stage's own log.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.commands import transact
from siutindei.app.dead_letters import DeadLetters
from siutindei.app.delivery import Delivery
from siutindei.app.feedback import Feedback
from siutindei.app.folding import notification_of, version_of
from siutindei.app.lanes import Lanes
from siutindei.app.people import People
from siutindei.app.ports import (
    Context,
    Died,
    EventStore,
    Found,
    Report,
    Said,
    StageClock,
    StageIds,
    StageMail,
    Unusable,
)
from siutindei.app.scripts import Heard, Key, Mail, Mails, Moment, Script, Scripts
from siutindei.app.sign_in import SignIn
from siutindei.app.suppressions import Suppressions
from siutindei.app.tickets import OLD_EVENTS, Tickets
from siutindei.app.times import EPOCH
from siutindei.domain import (
    challenge,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from siutindei.app.ports import Recorded, Transaction
    from siutindei.app.scripts import Command
    from siutindei.app.sign_in import Started

#: The code of every challenge on a stage, and one that is none.
RIGHT: Final = "000000"
_WRONG: Final = "111111"
#: What stands for every text that somebody typed.
_TEXT: Final = "-"
#: What happens at a moment of which the history says nothing happens after what it tells.
_LAST: Final = 2**63
#: What comes of what this program never wrote.
_MISFITS: Final = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError,
)  # fmt: skip
_OLD: Final = {old.ticket_type: (name, old.who) for name, old in OLD_EVENTS.items()}


@contextmanager
def enacting(id: str) -> Iterator[None]:
    """Name the event up to which a history was enacted that does not fit together.

    Raises:
        Unusable: it does not.
    """
    try:
        yield
    except _MISFITS as error:
        msg = (
            f"event {id} cannot be enacted: what is stored does not fit together; siutindei doctor "
            "--deep says where"
        )
        raise Unusable(msg) from error


def made_up(fingerprint: str) -> str:
    """Give an address for a fingerprint; nobody has it, and nothing is sent there."""
    return f"{fingerprint}@what-if.invalid"


@attrs.frozen(kw_only=True)
class Stage:
    """The application over a store of its own, in a world that is simulated."""

    store: EventStore
    clock: StageClock
    ids: StageIds
    mail: StageMail
    sign_in: SignIn
    tickets: Tickets
    delivery: Delivery
    feedback: Feedback
    suppressions: Suppressions
    lanes: Lanes
    dead_letters: DeadLetters
    people: People


@attrs.frozen(kw_only=True)
class Refusal:
    """A sign-in that a limit refused; `event` is the one of the history that tells of it."""

    about: str
    event: str
    client: str
    fingerprint: str
    limit: challenge.Limit
    at: datetime


#: Of a mail that the history does not have, nothing was told.
_NONE: Final = Script(since=EPOCH, due=None)


class _LeftError(Exception):
    """The mail of a sign-in is left to the moment at which it was looked at."""


class Reenactment:
    """One history, enacted again.

    Attributes:
        mails: what became of every mail.
        events: the event of the history that each follows from.
        refused: the sign-ins that were refused, by the challenge that they were for.
        given: the challenge that was given again instead of another one.
    """

    def __init__(self, stage: Stage, scripts: Scripts) -> None:
        self.mails = Mails()
        self.events: dict[Key, str] = {}
        self.refused: dict[str, Refusal] = {}
        self.given: dict[str, str] = {}
        self._stage, self._scripts = stage, scripts
        self._agenda: list[tuple[datetime, int, str, int, Callable[[], None]]] = []
        self._planned: dict[str, datetime | None] = {}
        self._looks: dict[str, int] = {}
        self._count = 0
        self._position = 0
        self._event = ""

    def run(
        self, history: Iterable[Command], *, until: datetime, progress: Callable[[int], None]
    ) -> None:
        """Enact commands, what comes between them, and what comes after the last until a moment."""
        done = 0
        for command in history:
            self._advance(command.turn, command.events[0].position)
            for entry in command.events:
                self._event = entry.id
                self._stage.clock.set(entry.event.at)
                with enacting(entry.id), suppress(DomainError, _LeftError):
                    self._enact(command, entry)
                self._stage.ids.give(None)
                self._follow()
            done += len(command.events)
            progress(done)
        self._advance(until, _LAST + 1)

    # --- what comes between -----------------------------------------------------------------------

    def _advance(self, turn: datetime, position: int) -> None:
        while self._agenda and self._agenda[0][:2] < (turn, position):
            *_, act = heappop(self._agenda)
            with enacting(self._event):
                act()
            self._follow()

    def _plan(self, at: datetime, moment: Moment, mail: str, act: Callable[[], None]) -> None:
        # What is due at the same moment is worked on in the order of the ids, as a worker does.
        self._count += 1
        turn = at + moment.behind
        heappush(self._agenda, (turn, moment.position, mail, self._count, act))

    def _follow(self) -> None:
        """Read what was appended to the stage's log, and plan what follows from it."""
        touched: dict[str, Mail] = {}
        for entry in self._stage.store.read(after=self._position):
            self._position = entry.position
            mail = self.mails.take(entry)
            if mail is None:
                continue
            touched[mail.id] = mail
            if isinstance(entry.event, notification.Requested):
                self.events[mail.key] = self._event
            if isinstance(entry.event, notification.Requested | notification.AttemptStarted):
                for heard in self._script(mail).heard.get(mail.state.calls, ()):
                    self._plan_report(mail, heard, since=entry.event.at)
        for mail in touched.values():
            self._plan_look(mail)

    def _script(self, mail: Mail) -> Script:
        return self._scripts.by_key.get(mail.key) or _NONE

    def _plan_look(self, mail: Mail) -> None:
        due, planned = mail.state.due_at, self._planned.get(mail.id)
        if due == planned:
            return
        if planned is not None:
            # Before anybody looked something else settled it.
            self._looks[mail.id] += 1
        self._planned[mail.id] = due
        if due is None:
            return
        number = self._looks.setdefault(mail.id, 0)
        looks = self._script(mail).looks
        moment = looks[number] if number < len(looks) else "early"
        if moment == "never":
            return
        if moment == "early":
            # As late as mails of its lane were looked at, in the middle.
            late = self._scripts.late(notification.LANES[mail.kind])
            moment = Moment(late, timedelta(0), _LAST)
        at = due + moment.after
        self._plan(at, moment, mail.id, partial(self._look, mail, number, at))

    def _look(self, mail: Mail, number: int, at: datetime) -> None:
        """Look at a mail, as a worker or whoever signs in does, unless something came between."""
        if self._looks[mail.id] != number:
            return
        said, calls = self._script(mail).said, mail.state.calls
        known = said[calls - 1].found if 0 < calls <= len(said) else Found(answer="cannot_tell")
        usual = Said(text=f"what-if-{mail.id}-{calls}", takes=self._scripts.takes)
        self._stage.clock.set(at)
        self._stage.mail.expect(said[calls] if calls < len(said) else usual, known=known)
        self._looks[mail.id] += 1
        self._planned[mail.id] = None
        with suppress(Died):
            self._stage.delivery.deliver(self._context(), mail.id)

    def _plan_report(self, mail: Mail, heard: Heard, *, since: datetime) -> None:
        happened_at = since + heard.happened_after
        said = attrs.evolve(heard.report, notification_id=mail.id, at=happened_at)
        at = since + heard.moment.after
        self._plan(at, heard.moment, mail.id, partial(self._hear, said, at))

    def _hear(self, said: Report, at: datetime) -> None:
        self._stage.clock.set(at)
        self._stage.feedback.hear(self._context(), said)

    def _context(self) -> Context:
        self._count += 1
        id = f"what-if-{self._count}"
        return Context(command_id=id, actor="what-if", request_id=id, correlation_id=id)

    # --- what people did --------------------------------------------------------------------------

    def _enact(self, command: Command, entry: Recorded) -> None:
        event, stage = entry.event, self._stage
        match event:
            case person.SignedUp() if command.one(challenge.Issued) is None:
                stage.ids.give(event.user)
                email = made_up(event.fingerprint)
                stage.sign_in.sign_up(self._context(), email=email, locale=event.locale)
            case person.Erased():
                stage.people.erase(self._context(), event.user, by=event.by, reason=_TEXT)
            case challenge.Issued() | challenge.LimitReached():
                self._start(entry, event)
            case challenge.Passed() | challenge.Missed():
                id = self.given.get(event.challenge, event.challenge)
                code = RIGHT if isinstance(event, challenge.Passed) else _WRONG
                stage.sign_in.answer(self._context(), challenge_id=id, code=code)
            case ticket.Submitted():
                self._submit(event)
            case ticket.Approved() | ticket.Declined():
                self._decide(entry, event)
            case _:
                self._operate(entry)

    def _operate(self, entry: Recorded) -> None:
        """Do what an operator or a machine did, and what was reported of mails nobody knew."""
        event, stage = entry.event, self._stage
        match event:
            case suppression.Suppressed(reason="person"):
                stage.suppressions.add(
                    self._context(), made_up(event.fingerprint), by=event.by, reason=_TEXT
                )
            case suppression.Suppressed(reason="ses"):
                address = made_up(event.fingerprint)
                stage.suppressions.adopt(self._context(), event.fingerprint, address)
            case suppression.Lifted():
                fingerprint = entry.stream.removeprefix(f"{suppression.CATEGORY}-")
                stage.suppressions.lift(self._context(), fingerprint, by=event.by, reason=_TEXT)
            case lane.Halted() if event.why != "account":
                stage.lanes.halt(self._context(), _lane(entry), by=event.by, reason=_TEXT)
            case lane.Resumed(how="person"):
                stage.lanes.resume(self._context(), _lane(entry), by=event.by, reason=_TEXT)
            case notification.Redriven():
                stage.dead_letters.redrive(self._context(), self._same(entry), by=event.by)
            case notification.Discarded():
                ids = self._same(entry)
                stage.dead_letters.discard(self._context(), ids, by=event.by, reason=_TEXT)
            case notification.DeadLettered(why="receives_exhausted"):
                for id in self._same(entry):
                    self._exhaust(id, event.at)
            case report.Parked():
                self._park(event)
            case _:
                pass

    def _start(self, entry: Recorded, event: challenge.Issued | challenge.LimitReached) -> None:
        about, locale, is_known = f"what-if-{entry.position}", None, True
        kind, _, name = entry.context.actor.partition(":")
        user = name if kind == "user" else None
        if isinstance(event, challenge.Issued):
            # Who is named and got no mail was erased, or nobody vouched for their address.
            about, locale, is_known = event.challenge, event.locale, event.user is not None
            user = event.user or user
        elif kind == "operator":
            holder = self._stage.store.views.person_by_address(event.fingerprint)
            user = None if holder is None else holder.user

        def issued(started: Started) -> None:
            if started.challenge != about:
                self.given[about] = started.challenge
            raise _LeftError

        self._stage.ids.give(about)
        try:
            self._stage.sign_in.start(
                self._context(),
                client=event.client,
                email=made_up(event.fingerprint),
                user=user,
                locale=locale,
                verified=is_known,
                issued=issued,
            )
        except challenge.TooManySignIns as refused:
            self.refused[about] = Refusal(
                about=about,
                event=entry.id,
                client=event.client,
                fingerprint=event.fingerprint,
                limit=refused.limit,
                at=event.at,
            )

    def _submit(self, event: ticket.Submitted) -> None:
        tickets, address = self._stage.tickets, made_up(event.fingerprint)
        # Each says something else: who says the same again has said it once.
        body = {"organization_name": event.id, "organization_id": event.organization_id}
        self._stage.ids.give(event.id)
        if event.rule == ticket.TAKEN_RULE:
            name, who = _OLD[event.ticket_type]
            number = event.claimed_reference or event.reference
            tickets.take(
                self._context(),
                event_type=name,
                body={
                    **body,
                    "ticket_id": number,
                    f"{who}_id": event.submitter,
                    f"{who}_email": address,
                    "feedback_stars": event.feedback_stars,
                },
            )
            return
        tickets.submit(
            self._context(),
            ticket_type=event.ticket_type,
            user=event.submitter,
            email=address,
            body={**body, "stars": event.feedback_stars},
            vouched=event.assurance == "token",
            locale=event.locale,
        )

    def _decide(self, entry: Recorded, event: ticket.Approved | ticket.Declined) -> None:
        # The number may be another one here.
        about = self._scripts.mails.tickets[entry.stream.removeprefix(f"{ticket.CATEGORY}-")]
        tickets = self._stage.tickets
        if isinstance(event, ticket.Declined):
            tickets.decline(self._context(), about, by=event.reviewer)
            return
        made = event.create_organization
        self._stage.ids.give(event.organization_id if made else None)
        tickets.approve(
            self._context(),
            about,
            by=event.reviewer,
            organization_id=None if made else event.organization_id,
            create_organization=made,
        )

    def _same(self, entry: Recorded) -> list[str]:
        """Give the stage's mail that is the one of an event; nothing when there is none."""
        id = entry.stream.removeprefix(f"{notification.CATEGORY}-")
        mail = self.mails.by_key.get(self._scripts.mails.by_id[id].key)
        return [] if mail is None else [mail.id]

    def _exhaust(self, id: str, at: datetime) -> None:
        """Give up a mail that nobody could begin, as the sweep does."""

        def work(tx: Transaction) -> None:
            events = tx.load(notification.stream(id))
            decided = notification.exhaust_receives(notification_of(events), at=at)
            tx.append(notification.stream(id), version_of(events), decided, cause=events[0])

        transact(self._stage.store, self._context(), work)

    def _park(self, event: report.Parked) -> None:
        said = Report(
            kind=event.kind,
            name=event.name,
            message_id=event.message_id,
            is_tagged=event.foreign,
            feedback_id=event.feedback_id,
            at=event.happened_at,
            main_type=event.main_type,
            sub_type=event.sub_type,
            status=event.status,
        )
        self._stage.feedback.hear(self._context(), said)


def _lane(entry: Recorded) -> lane.Name:
    return "codes" if entry.stream == lane.stream("codes") else "tickets"
