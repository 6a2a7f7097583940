"""What a history says of the world outside: when mails were looked at, answered and reported of.

It is read once, command by command. What became of each mail is told by its events alone (`Mails`),
those of a history as well as those of one that is enacted again.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import date, datetime, timedelta
from itertools import groupby
from statistics import median_low
from typing import TYPE_CHECKING, Final, Literal, TypeVar, assert_never

import attrs

from siutindei.app.delivery import GRACE, NO_ANSWER, NOT_SENT
from siutindei.app.ports import Ending, Found, Recorded, Report, Said
from siutindei.domain import budget, lane, notification, report, ticket
from siutindei.domain.due import is_due
from siutindei.domain.mail import HONG_KONG

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

T = TypeVar("T")

#: A mail: its kind, and the challenge or the ticket's UUID that it is about.
Key = tuple[notification.Kind, str]
Word = Literal["mailed", "unknown", "withheld", "dead_lettered", "discarded", "waiting"]

_REPORTED: Final = (
    notification.Delivered,
    notification.Delayed,
    notification.Bounced,
    notification.Complained,
)
_WORDS: Final[Mapping[notification.Status, Word]] = {
    "accepted": "mailed",
    "delayed": "mailed",
    "delivered": "mailed",
    "bounced": "mailed",
    "complained": "mailed",
    "unknown": "unknown",
    "withheld": "withheld",
    "dead_lettered": "dead_lettered",
}


# --- what became of mails -------------------------------------------------------------------------


@attrs.define(kw_only=True)
class Mail:
    """A mail, and what became of it as far as events tell.

    Attributes:
        id: the notification's id.
        kind: its kind.
        about: the challenge, or the ticket's UUID.
        cause: the event that asked for it.
        ticket: the ticket's number.
        asked_at: when it was asked for.
        state: the notification.
        waited: why it had to wait last.
        mailed_at: when it was first taken.
    """

    id: str
    kind: notification.Kind
    about: str
    cause: str
    ticket: str | None
    asked_at: datetime
    state: notification.Notification
    waited: notification.Deferral | None = None
    mailed_at: datetime | None = None

    @property
    def key(self) -> Key:
        """What it is matched by."""
        return self.kind, self.about

    @property
    def word(self) -> Word:
        """What became of it, in a word."""
        if self.state.discarded:
            return "discarded"
        return _WORDS.get(self.state.status, "waiting")

    @property
    def why(self) -> str | None:
        """Why it was not mailed, or not yet."""
        if self.word in {"mailed", "unknown"}:
            return None
        if self.word == "waiting":
            return self.waited
        why = self.state.why
        return f"{why} after {self.waited}" if why == "expired" and self.waited else why

    @property
    def copies(self) -> int:
        """How often it was taken."""
        return len(self.state.message_ids)


@attrs.define
class Day:
    """A day of the budget, as people in Hong Kong count it.

    Attributes:
        used: the most mails of any rolling 24 hours that ended in it.
        waited: mails that began to wait for room.
    """

    used: int = 0
    waited: int = 0


class Mails:
    """Every mail of a history, and the budget's days, from events in order."""

    def __init__(self) -> None:
        self.by_id: dict[str, Mail] = {}
        self.by_key: dict[Key, Mail] = {}
        self.days: dict[date, Day] = {}
        self.tickets: dict[str, str] = {}
        self._sends: OrderedDict[tuple[str, int], datetime] = OrderedDict()

    def take(self, entry: Recorded) -> Mail | None:
        """Fold one event; give the mail that it is about."""
        event = entry.event
        if isinstance(event, ticket.Submitted):
            self.tickets[event.reference] = event.id
        if isinstance(event, notification.Requested):
            return self._begin(event)
        found = self.by_id.get(entry.stream.removeprefix(f"{notification.CATEGORY}-"))
        if found is None or not isinstance(event, notification.Event):
            return None
        before = found.state
        found.state = notification.evolve(before, event)
        match event:
            case notification.AttemptStarted():
                self._count(found, event)
            case notification.Failed() if before.status != "unknown":
                self._sends.pop((found.id, event.attempt), None)
            case notification.Deferred():
                if event.why == "over_budget" != found.waited:
                    self._day(event.at).waited += 1
                found.waited = event.why
            case notification.Accepted():
                found.mailed_at = found.mailed_at or event.at
            case _:
                pass
        return found

    def _begin(self, event: notification.Requested) -> Mail:
        # Nothing personal is kept, sealed or not.
        event = attrs.evolve(event, recipient=None)
        about = event.challenge or self.tickets.get(event.ticket or "", event.cause)
        mail = Mail(
            id=event.id,
            kind=event.kind,
            about=about,
            cause=event.cause,
            ticket=event.ticket,
            asked_at=event.at,
            state=notification.evolve(notification.INITIAL, event),
        )
        self.by_id[event.id] = self.by_key[mail.key] = mail
        return mail

    def _count(self, mail: Mail, event: notification.AttemptStarted) -> None:
        self._sends[mail.id, event.attempt] = event.at
        while next(iter(self._sends.values())) <= event.at - budget.WINDOW:
            self._sends.popitem(last=False)
        day = self._day(event.at)
        day.used = max(day.used, len(self._sends))

    def _day(self, at: datetime) -> Day:
        return self.days.setdefault(at.astimezone(HONG_KONG).date(), Day())


# --- commands in order ----------------------------------------------------------------------------


@attrs.frozen
class Command:
    """What one command appended.

    Attributes:
        events: its events, in order.
        turn: when it is its turn: not before that of the command that was recorded before it,
            whatever the clocks said.
    """

    events: tuple[Recorded, ...]
    turn: datetime

    def one(self, kind: type[T]) -> T | None:
        """Give the first thing of a kind that happened in it."""
        return _first((entry.event for entry in self.events), kind)


def _first(events: Iterable[object], kind: type[T]) -> T | None:
    return next((event for event in events if isinstance(event, kind)), None)


def commands(entries: Iterable[Recorded]) -> Iterator[Command]:
    """Give a log command by command."""
    turn: datetime | None = None
    for _, group in groupby(entries, key=lambda entry: entry.context.command_id):
        events = tuple(group)
        began = events[0].recorded_at
        turn = began if turn is None else max(turn, began)
        yield Command(events, turn)


# --- what the world did ---------------------------------------------------------------------------


@attrs.frozen
class Moment:
    """When something happened, beside what it followed from.

    Attributes:
        after: how much later the clock showed.
        behind: how much later than that was its turn.
        position: where it stands in the log.
    """

    after: timedelta
    behind: timedelta
    position: int


#: Of what nobody looked at: because it was not due yet, or although it was.
Unlooked = Literal["early", "never"]


@attrs.frozen
class Heard:
    """A report of a mail, whose times count from the mail's newest call."""

    moment: Moment
    report: Report
    happened_after: timedelta


@attrs.define
class Script:
    """What the world did about one mail.

    Attributes:
        looks: when somebody looked at it, each time that it was to be due, if anybody did.
        said: how each call ended.
        heard: what was reported, by how many calls there were before.
        since: when it was asked for, or called for last.
        due: when it is due; None when there is nothing to do.
        before: `since` and `due` as they were before the last call was announced.
    """

    since: datetime
    due: datetime | None
    looks: list[Moment | Unlooked] = attrs.field(factory=list)
    said: list[Said] = attrs.field(factory=list)
    heard: dict[int, list[Heard]] = attrs.field(factory=dict)
    before: tuple[datetime, datetime | None] | None = None


class Scripts:
    """What the world did about every mail of a history, and what became of each.

    Attributes:
        mails: what became of them.
        by_key: what was done about each.
        has_feedback: whether anything was ever reported.
    """

    def __init__(self) -> None:
        self.mails = Mails()
        self.by_key: dict[Key, Script] = {}
        self.has_feedback = False
        self._takes: list[timedelta] = []
        self._late: dict[notification.Lane, list[timedelta]] = {name: [] for name in lane.NAMES}

    def take(self, command: Command) -> None:
        """Learn from one command."""
        first = self.mails.by_id.get(_id(command.events[0]))
        before = notification.INITIAL if first is None else first.state
        for entry in command.events:
            self.has_feedback |= _tells_of_feedback(entry.event)
            known = self.mails.by_id.get(_id(entry))
            state = notification.INITIAL if known is None else known.state
            mail = self.mails.take(entry)
            if mail is not None:
                self._note(command, entry, mail, state)
        said = _reported(command, before)
        if first is not None and said is not None:
            self._hear(command, first, said)

    def finish(self, at: datetime) -> None:
        """Remember which mails nobody looked at any more until a moment."""
        for script in self.by_key.values():
            if script.due is not None:
                script.looks.append(_unlooked(script.due, at))

    @property
    def takes(self) -> timedelta:
        """How long calls took that were answered, in the middle."""
        return median_low(self._takes) if self._takes else timedelta(0)

    def late(self, name: notification.Lane) -> timedelta:
        """How late mails of a lane were looked at, in the middle."""
        return median_low(self._late[name]) if self._late[name] else timedelta(0)

    def _note(
        self, command: Command, entry: Recorded, mail: Mail, before: notification.Notification
    ) -> None:
        event = entry.event
        if isinstance(event, notification.Requested):
            # On a stage a command takes no time.
            at = next((one.event.at for one in command.events if one.id == mail.cause), event.at)
            self.by_key[mail.key] = Script(since=at, due=at)
            return
        script, is_looked_at = self.by_key[mail.key], True
        match event:
            case notification.AttemptStarted():
                script.before = script.since, script.due
                self._look(command, entry, mail)
                time_out = event.deadline - event.at - GRACE
                script.said.append(Said(ending="none", time_out=time_out))
                script.since = event.at
            case notification.Failed(error_class="not_called"):
                # As if nobody had looked: the next one does, as late as that makes it.
                script.looks.pop()
                script.said.pop()
                script.since, script.due = script.before or (script.since, script.due)
                return
            case notification.Failed() if event.error == notification.STILL_UNKNOWN:
                self._look(command, entry, mail)
            case notification.Failed() if event.error == NOT_SENT:
                self._look(command, entry, mail)
                self._found(script, Found(answer="not_accepted"))
            case notification.Failed() if before.call_open:
                halted = command.one(lane.Halted)
                is_whole = halted is not None and halted.whole
                word: Ending = "transient"
                if event.error_class == "account":
                    word = "whole" if is_whole else "account"
                self._answered(script, word, event.error, event.at)
            case notification.Accepted(how="lookup"):
                self._look(command, entry, mail)
                self._found(script, Found(answer="accepted", message_id=event.message_id))
            case notification.Accepted(how="call") if before.call_open:
                self._answered(script, "accepted", event.message_id, event.at)
                self._takes.append(script.said[-1].takes)
            case notification.Refused(attempt=0):
                self._look(command, entry, mail)
                script.said.append(Said(ending="permanent", text=event.error))
            case notification.Refused() if before.call_open:
                self._answered(script, "permanent", event.error, event.at)
            case notification.OutcomeUnknown() if event.why != NO_ANSWER:
                self._answered(script, "unknown", event.why, event.at)
            case notification.OutcomeUnknown() | notification.Deferred() | notification.Withheld():
                self._look(command, entry, mail)
            case _:
                is_looked_at = before.due_at == mail.state.due_at
        if not is_looked_at and script.due is not None:
            # Before anybody looked something else settled it.
            script.looks.append(_unlooked(script.due, entry.recorded_at))
        if mail.state.due_at != before.due_at:
            script.due = mail.state.due_at

    def _look(self, command: Command, entry: Recorded, mail: Mail) -> None:
        script, at = self.by_key[mail.key], entry.event.at
        after = at - (script.due or at)
        script.looks.append(Moment(after, command.turn - at, entry.position))
        self._late[notification.LANES[mail.kind]].append(after)

    def _found(self, script: Script, found: Found) -> None:
        script.said[-1] = attrs.evolve(script.said[-1], found=found)

    def _answered(self, script: Script, ending: Ending, text: str, at: datetime) -> None:
        """Remember how the open call ended."""
        takes = at - script.since
        script.said[-1] = attrs.evolve(script.said[-1], ending=ending, text=text, takes=takes)

    def _hear(self, command: Command, mail: Mail, said: Report) -> None:
        script, entry = self.by_key[mail.key], command.events[0]
        moment = Moment(
            entry.recorded_at - script.since, command.turn - entry.recorded_at, entry.position
        )
        happened_after = entry.event.at - script.since
        heard = script.heard.setdefault(len(script.said), [])
        heard.append(Heard(moment, said, happened_after))


def _unlooked(due: datetime, at: datetime) -> Unlooked:
    return "never" if is_due(due, at=at) else "early"


def _tells_of_feedback(event: object) -> bool:
    """Whether there must be feedback where this happened."""
    if isinstance(event, notification.Accepted):
        return event.how == "feedback"
    if isinstance(event, notification.Deferred):
        return event.why == "settling"
    return isinstance(event, (report.Parked, *_REPORTED))


def _id(entry: Recorded) -> str:
    return entry.stream.removeprefix(f"{notification.CATEGORY}-")


def _reported(command: Command, before: notification.Notification) -> Report | None:
    """Give the report that a command recorded; what had been parked is said by others."""
    taken = [entry.id for entry in command.events if isinstance(entry.event, notification.Accepted)]
    said = [entry.event for entry in command.events if entry.context.causation_id not in taken]
    accepted = _first(said, notification.Accepted)
    refused = _first(said, notification.Refused)
    heard = next((event for event in said if isinstance(event, _REPORTED)), None)
    message_id = accepted.message_id if accepted is not None else before.message_id or ""
    if heard is not None:
        known = accepted.message_id if accepted is not None else ""
        return attrs.evolve(_report(heard), message_id=known)
    if accepted is not None:
        is_late = accepted.how == "call" and not before.call_open
        if accepted.how != "feedback" and not is_late:
            return None
    elif refused is None or not refused.attempt or before.status != "accepted":
        return None
    if refused is not None:
        return Report(kind="rejected", name=refused.error, message_id=message_id)
    return Report(kind="accepted", name="accepted", message_id=message_id)


def _report(heard: notification.Feedback) -> Report:
    match heard:
        case notification.Delivered():
            return Report(kind="delivered", name="delivered", feedback_id=heard.feedback_id)
        case notification.Delayed():
            return Report(
                kind="delayed",
                name="delayed",
                feedback_id=heard.feedback_id,
                main_type=heard.delay_type,
            )
        case notification.Bounced():
            return Report(
                kind="bounced",
                name="bounced",
                feedback_id=heard.feedback_id,
                main_type=heard.bounce_type,
                sub_type=heard.bounce_subtype,
                status=heard.status,
            )
        case notification.Complained():
            return Report(
                kind="complained",
                name="complained",
                feedback_id=heard.feedback_id,
                main_type=heard.complaint_type or "",
                sub_type=heard.complaint_subtype or "",
            )
        case never:
            assert_never(never)
