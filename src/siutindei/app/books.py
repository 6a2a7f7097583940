"""The books: whether what happened adds up, told from the events alone.

The log is read once. What is kept of it are ids, statuses and counts, and of the tickets that wait
for a decision what was submitted, sealed.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.ports import Work
from siutindei.domain import grant, notification, policy, report, ticket
from siutindei.domain.due import is_due

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from siutindei.app.ports import EventStore, Recorded

#: More findings than these are only counted: a broken history may have one for every event.
MOST: Final = 100
#: A report whose mail is not known after this is of a send that was never recorded, or of
#: somebody else's mail.
PARKED_LONG: Final = timedelta(days=1)
#: No number has more.
_DIGITS: Final = 18
_TAKEN: Final = frozenset({"accepted", "delayed", "delivered", "bounced", "complained", "done"})
#: What a finding is about: an event's place, or its time; a ticket; an effect that nothing asked
#: for, or that was not requested; an attempt; one after all was settled; what waits for nothing;
#: what was reported.
Topic = Literal["order", "ticket", "uncaused", "missing", "attempt", "again", "end", "report"]


@attrs.frozen(kw_only=True)
class Finding:
    """Something that does not add up.

    Attributes:
        stream: where.
        what: a sentence that names the event, the stream or the command.
        topic: what it is about.
        event: the event that shows it; None when it is that there is none.
        kind: the kind of mail or grant, of what nothing asked for, and of what is missing.
    """

    stream: str
    what: str
    topic: Topic
    event: str | None = None
    kind: str = ""


@attrs.frozen(kw_only=True)
class Account:
    """What became of the mails, or of the grants, that were requested.

    Attributes:
        requested: how many there are; each is one of the next six.
        done: the mail port took the mail, or the grant was carried out.
        waiting: somebody looks at it again, at a moment that is known.
        unknown: a code that may have been mailed or not: it is mailed no second time.
        withheld: never done, by a rule.
        dead_lettered: given up, with a reason, until a person looks at it.
        discarded: a person decided that it is not done any more.
        attempts: the calls that were announced.
        open: attempts that have no outcome though their deadline is over: nobody looked yet.
    """

    requested: int = 0
    done: int = 0
    waiting: int = 0
    unknown: int = 0
    withheld: int = 0
    dead_lettered: int = 0
    discarded: int = 0
    attempts: int = 0
    open: int = 0


@attrs.frozen(kw_only=True)
class Reported:
    """What the mail service reported.

    Attributes:
        heard: mails that something was reported of.
        silent: mails that were accepted and of which nothing was reported, although something was
            of one that was accepted later: the feedback path is alive.
        parked: unknown mails that something is parked of, until their send is recorded.
        foreign: unknown mails whose reports are kept aside: their tags are somebody else's.
        applied: mails of which something was parked until their send was recorded.
    """

    heard: int = 0
    silent: int = 0
    parked: int = 0
    foreign: int = 0
    applied: int = 0


@attrs.frozen(kw_only=True)
class Books:
    """The history, counted and checked.

    Attributes:
        events: how many there are.
        streams: how many things they are about.
        commands: how many commands appended them.
        tickets: how many tickets were submitted.
        causes: how many mails and grants the events ask for.
        notifications: what became of the mails.
        grants: what became of the grants.
        feedback: what was reported of the mails.
        next_due: when the first of those that wait is looked at again.
        findings: what does not add up, the first `MOST` of it.
        found: how much does not add up.
    """

    events: int
    streams: int
    commands: int
    tickets: int
    causes: int
    notifications: Account
    grants: Account
    feedback: Reported
    next_due: datetime | None
    findings: tuple[Finding, ...]
    found: int


def reconcile(store: EventStore, *, at: datetime) -> Books:
    """Read the whole log once, and check that it adds up.

    - Each stream has the versions 1 to n, and the events of a command stand together.
    - Each ticket has a number of its own, without a hole for each type (but before one that the
      platform's old API gave), and one decision at most.
    - Each mail and grant that `policy` asks for is requested once, in the command of its cause, and
      no other is.
    - Attempts are numbered, are due when they begin, are no more than the rules allow, do not
      follow what settled the matter, and end once.
    - Each mail and grant is done, waits for a moment, or was given up for a reason.
    - What is reported is of mails that were tried, and is not parked for long.

    Args:
        store: the history.
        at: the time: whose deadline is over by then had its time.

    Raises:
        Unreadable: an event of another version.
    """
    bookkeeper = Bookkeeper()
    for entry in store.read():
        bookkeeper.read(entry)
    return bookkeeper.close(at)


@attrs.frozen(kw_only=True)
class Mails:
    """What a mail adapter that can tell has, against what the history says.

    Attributes:
        held: how many mails it was given.
        strange: the notifications of those that nobody here called for; a restored backup does not
            know of what was mailed after it was made.
        absent: how many mails the history calls taken, and it was not given: another adapter was,
            or its files are gone.
    """

    held: int
    strange: tuple[str, ...]
    absent: int


def compare(store: EventStore, held: Collection[str]) -> Mails:
    """Compare the mails that an adapter was given with the history.

    Args:
        store: the history.
        held: the notifications whose mails it was given.
    """
    states = {
        item.requested.id: item
        for item in store.views.notifications()
        if item.requested is not None
    }
    called = {id for id, state in states.items() if state.calls}
    taken = {id for id, state in states.items() if state.message_ids}
    return Mails(
        held=len(held), strange=tuple(sorted(set(held) - called)), absent=len(taken - set(held))
    )


@attrs.frozen
class _Asked:
    """A mail or grant that an event asks for, or that was requested."""

    work: Work
    kind: str
    cause: str


@attrs.define
class Effect:
    """A notification or a grant as it stands, without what it says; and the attempts it took."""

    state: notification.Notification | grant.Grant
    kind: str
    taken: tuple[int, ...] = ()


class Bookkeeper:
    """What is known of the log so far; whoever reads it for more than the books shares the pass.

    Args:
        note: is told each finding, also those that are only counted here.
    """

    def __init__(self, note: Callable[[Finding], object] = lambda _: None) -> None:
        self.note = note
        self.events = 0
        self.causes = 0
        self.found = 0
        self.findings: list[Finding] = []
        self.versions: dict[str, int] = {}
        self.commands: set[str] = set()
        self.pending: dict[str, ticket.Submitted] = {}
        self.numbers: dict[ticket.Type, set[int]] = {kind: set() for kind in ticket.TYPES}
        self.given: dict[ticket.Type, set[int]] = {kind: set() for kind in ticket.TYPES}
        self.effects: dict[str, Effect] = {}
        self.attempts: Counter[Work] = Counter()
        self.reports: dict[str, report.Reports] = {}
        # The command that is being read: its newest event, and what it has to request.
        self.newest: Recorded | None = None
        self.asked: Counter[_Asked] = Counter()
        self.requested: dict[str, _Asked] = {}

    def find(
        self,
        topic: Topic,
        place: Recorded | str,
        what: str,
        *,
        event: str | None = None,
        kind: str = "",
    ) -> None:
        """Note what does not add up, at an event or in a stream."""
        stream = place if isinstance(place, str) else place.stream
        shown = event if isinstance(place, str) else place.id
        finding = Finding(stream=stream, what=what, topic=topic, event=shown, kind=kind)
        self.found += 1
        if len(self.findings) < MOST:
            self.findings.append(finding)
        self.note(finding)

    # --- one event after the other ----------------------------------------------------------------

    def read(self, entry: Recorded) -> None:
        """Read the next event."""
        self.events += 1
        self._follow(entry)
        event = entry.event
        match event:
            case ticket.Submitted():
                self._number(entry, event)
                self.pending[entry.stream] = event
            case ticket.Approved() | ticket.Declined():
                submitted = self.pending.pop(entry.stream, None)
                if submitted is None:
                    self.find("ticket", entry, f"{entry.id} decides a ticket that is not pending")
                else:
                    for wanted in policy.grants_for(submitted, event, cause=entry.id):
                        self._ask("grant", wanted.kind, entry.id)
            case notification.Requested() | grant.Requested():
                self._request(entry, event)
            case report.Parked() | report.Applied():
                before = self.reports.get(entry.stream, report.INITIAL)
                self.reports[entry.stream] = report.evolve(before, event)
            case _ if isinstance(event, notification.Event | grant.Event):
                self._go_on(entry, event)
            case _:
                pass
        mail = policy.mail_for(event)
        if mail is not None:
            self._ask("notification", mail, entry.id)

    def _follow(self, entry: Recorded) -> None:
        """Check an event's place in its stream and beside the others of its command."""
        expected = self.versions.get(entry.stream, 0) + 1
        if entry.version != expected:
            self.find("order", entry, f"{entry.id} stands where {entry.stream}/{expected} belongs")
        self.versions[entry.stream] = entry.version
        newest, command = self.newest, entry.context.command_id
        self.newest = entry
        if newest is not None and command == newest.context.command_id:
            if entry.position != newest.position + 1:
                self.find(
                    "order",
                    entry,
                    f"{entry.id} does not stand beside {newest.id}, which its command appended too",
                )
            return
        self._end_command()
        if command in self.commands:
            self.find("order", entry, f"{entry.id} is of command {command}, which had ended before")
        self.commands.add(command)

    def _end_command(self) -> None:
        """Check that a command requested what its events ask for, and nothing else."""
        for stream, found in self.requested.items():
            if self.asked[found] > 0:
                self.asked[found] -= 1
            else:
                self.find(
                    "uncaused",
                    stream,
                    f"{stream} ({found.kind}) was requested, and nothing in its command asks for "
                    f"it: its cause is said to be {found.cause}",
                    event=f"{stream}/1",
                    kind=found.kind,
                )
        for asked in self.asked.elements():
            self.find(
                "missing",
                asked.cause.rpartition("/")[0],
                f"{asked.cause} asks for {asked.kind}, and its command did not request it",
                event=asked.cause,
                kind=asked.kind,
            )
        self.asked = Counter()
        self.requested = {}

    def _ask(self, work: Work, kind: str, cause: str) -> None:
        self.causes += 1
        self.asked[_Asked(work, kind, cause)] += 1

    def _number(self, entry: Recorded, submitted: ticket.Submitted) -> None:
        reference, kind = submitted.reference, submitted.ticket_type
        digits = reference.removeprefix(ticket.PREFIXES[kind])
        number = int(digits) if digits.isdecimal() and len(digits) <= _DIGITS else 0
        if (reference, entry.stream) != (
            ticket.reference(kind, number),
            ticket.stream(reference),
        ) or not number:
            self.find(
                "ticket", entry, f"{entry.id} has the number {reference}, which is not its own"
            )
        elif number in self.numbers[kind]:
            self.find("ticket", entry, f"{entry.id} has the number {reference} a second time")
        if number:
            self.numbers[kind].add(number)
        if submitted.rule == ticket.TAKEN_RULE and submitted.claimed_reference is None:
            self.given[kind].add(number)

    # --- mails and grants -------------------------------------------------------------------------

    def _request(self, entry: Recorded, event: notification.Requested | grant.Requested) -> None:
        stream, work = entry.stream, _work(event)
        of = notification.stream if work == "notification" else grant.stream
        if entry.version != 1 or stream in self.effects or stream != of(event.id):
            self.find(
                "uncaused",
                entry,
                f"{entry.id} requests {event.id}, which is not how {stream} begins",
            )
        self.requested[stream] = _Asked(work, event.kind, event.cause)
        state = (
            notification.evolve(notification.INITIAL, event)
            if isinstance(event, notification.Requested)
            else grant.evolve(grant.INITIAL, event)
        )
        self.effects[stream] = Effect(attrs.evolve(state, requested=None), event.kind)

    def _go_on(self, entry: Recorded, event: notification.Event | grant.Event) -> None:
        effect = self.effects.get(entry.stream)
        if effect is None:
            self.find("uncaused", entry, f"{entry.id} is about something that was never requested")
            is_mail = _work(event) == "notification"
            state = notification.INITIAL if is_mail else grant.INITIAL
            effect = self.effects[entry.stream] = Effect(state, "")
        before = effect.state
        after: notification.Notification | grant.Grant
        if isinstance(before, notification.Notification) and isinstance(event, notification.Event):
            after = notification.evolve(before, event)
        elif isinstance(before, grant.Grant) and isinstance(event, grant.Event):
            after = grant.evolve(before, event)
        else:
            self.find("order", entry, f"{entry.id} ({entry.name}) is in a stream of another kind")
            return
        effect.state = attrs.evolve(after, first_error=None, last_error=None)
        match event:
            case notification.AttemptStarted() | grant.AttemptStarted():
                self.attempts[_work(event)] += 1
                self._begin(entry, event, before, after)
            case notification.Accepted() | grant.CarriedOut():
                heard = isinstance(event, notification.Accepted) and event.how == "feedback"
                if not (heard or 1 <= event.attempt <= before.calls):
                    self.find(
                        "attempt", entry, f"{entry.id} ends attempt {event.attempt}, which {_NEVER}"
                    )
                if isinstance(event, notification.Accepted) and event.how == "feedback":
                    # A report does not say which call it was that the mail was taken at.
                    return
                if event.attempt in effect.taken or before.status == "done":
                    self.find("attempt", entry, f"{entry.id} ends attempt {event.attempt} again")
                effect.taken = (*effect.taken, event.attempt)
            case (
                notification.Failed()
                | notification.Refused()
                | notification.OutcomeUnknown()
                | grant.Failed()
            ):
                self._fail(entry, event.attempt, before)
            case _ if isinstance(event, notification.Feedback) and not before.calls:
                self.find("report", entry, f"{entry.id} is feedback on a mail that {_NEVER}")
            case _:
                pass

    def _begin(
        self,
        entry: Recorded,
        event: notification.AttemptStarted | grant.AttemptStarted,
        before: notification.Notification | grant.Grant,
        after: notification.Notification | grant.Grant,
    ) -> None:
        """Check that an attempt may begin."""
        attempt = f"{entry.id} begins attempt {event.attempt}"
        if event.attempt != before.calls + 1:
            self.find("attempt", entry, f"{attempt} after {before.calls} attempts")
        if before.due_at is None:
            self.find("again", entry, f"{attempt} after it was settled ({before.status})")
        elif not is_due(before.due_at, at=event.at):
            self.find("order", entry, f"{attempt} before it was due")
        # A grant is done once however often it is made, so it may be made again after its deadline.
        if isinstance(before, notification.Notification) and before.call_open:
            self.find("attempt", entry, f"{attempt} while the one before has no outcome")
        if after.attempts > notification.ATTEMPTS:
            self.find(
                "attempt", entry, f"{attempt}: {after.attempts} are more than the rules allow"
            )

    def _fail(
        self, entry: Recorded, attempt: int, before: notification.Notification | grant.Grant
    ) -> None:
        """Check that an attempt that did not do it may end."""
        if not attempt and isinstance(entry.event, notification.Refused):
            # It could not be written, so no call was made.
            return
        if not 1 <= attempt <= before.calls:
            self.find("attempt", entry, f"{entry.id} ends attempt {attempt}, which {_NEVER}")
        elif isinstance(entry.event, notification.Refused) and before.status == "accepted":
            # The mail service took it, and said later that it did not send it.
            return
        elif attempt != before.calls or not _is_unsettled(before):
            self.find("attempt", entry, f"{entry.id} ends attempt {attempt}, which had ended")

    # --- the end ----------------------------------------------------------------------------------

    def close(self, at: datetime) -> Books:
        """Close the books: nothing follows."""
        self._end_command()
        for kind, numbers in self.numbers.items():
            missing = _missing(numbers, self.given[kind])
            if missing is not None:
                reference = ticket.reference(kind, missing)
                self.find(
                    "ticket",
                    ticket.stream(reference),
                    f"no ticket has the number {reference}, and later ones are taken",
                )
        words: dict[Work, Counter[str]] = {"notification": Counter(), "grant": Counter()}
        waiting: list[datetime] = []
        for stream, effect in self.effects.items():
            state = effect.state
            is_mail = isinstance(state, notification.Notification)
            counts = words["notification" if is_mail else "grant"]
            word = fate(effect)
            if word is None:
                self.find(
                    "end",
                    stream,
                    f"{stream} is {state.status}: it waits for nothing, and nobody knows",
                )
            else:
                counts[word] += 1
            if state.due_at is not None:
                waiting.append(state.due_at)
                if _is_under_way(state) and is_due(state.due_at, at=at):
                    counts["open"] += 1
            counts["requested"] += 1
        feedback = self._feedback(at)
        return Books(
            events=self.events,
            streams=len(self.versions),
            commands=len(self.commands),
            tickets=sum(map(len, self.numbers.values())),
            causes=self.causes,
            notifications=Account(**words["notification"], attempts=self.attempts["notification"]),
            grants=Account(**words["grant"], attempts=self.attempts["grant"]),
            feedback=feedback,
            next_due=min(waiting, default=None),
            findings=tuple(self.findings),
            found=self.found,
        )

    def _feedback(self, at: datetime) -> Reported:
        for stream, found in self.reports.items():
            # What is somebody else's may lie for ever.
            if found.status == "parked" and at - found.waiting[0].at >= PARKED_LONG:
                self.find(
                    "report",
                    stream,
                    f"{found.message_id} has been reported of for {(at - found.waiting[0].at).days}"
                    " days, and no mail is known by that name",
                )
        standing = Counter(found.status for found in self.reports.values())
        heard = list[datetime]()
        unheard = list[datetime]()
        for effect in self.effects.values():
            state = effect.state
            if isinstance(state, notification.Notification) and state.accepted_at is not None:
                (heard if state.feedback else unheard).append(state.accepted_at)
        newest = max(heard, default=None)
        return Reported(
            heard=len(heard),
            silent=0 if newest is None else sum(accepted < newest for accepted in unheard),
            parked=standing["parked"],
            foreign=standing["foreign"],
            applied=standing["applied"],
        )


_NEVER: Final = "was never tried"


def _missing(numbers: set[int], given: set[int]) -> int | None:
    """Give the first number that is missing and not merely before one that was given to us."""
    before = 0
    for number in sorted(numbers):
        if number != before + 1 and number not in given:
            return before + 1
        before = number
    return None


def _work(event: notification.Event | grant.Event) -> Work:
    return "notification" if isinstance(event, notification.Event) else "grant"


def _is_under_way(state: notification.Notification | grant.Grant) -> bool:
    """Whether the newest attempt has no outcome."""
    if isinstance(state, notification.Notification):
        return state.call_open
    return state.status == "attempting"


def _is_unsettled(state: notification.Notification | grant.Grant) -> bool:
    return _is_under_way(state) or state.status == "unknown"


def fate(effect: Effect) -> str | None:
    """Say what became of a mail or grant; None when nothing did, and nothing will."""
    state = effect.state
    if state.status in _TAKEN:
        return "done"
    if state.discarded:
        return "discarded"
    if state.status in {"withheld", "dead_lettered"}:
        return state.status
    if state.due_at is not None:
        return "waiting"
    is_left = effect.kind in _LEFT_ALONE and state.status == "unknown"
    return "unknown" if is_left else None


#: What is not done again when nobody can tell whether it was.
_LEFT_ALONE: Final = frozenset(
    kind for kind, again in notification.RESENT_AFTER_UNKNOWN.items() if not again
)
