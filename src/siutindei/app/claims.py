"""What was promised to Amazon SES, each promise held against the history and the configuration.

The history is read once, together with the books (`app/books.py`), and nothing in it is opened.
What neither it nor the configuration can tell is not guessed: the answer is that it cannot be known
from here, and what would show it. docs/claims.md says how each promise is checked.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.books import Bookkeeper, Finding, fate
from siutindei.app.ports import AddressBook, Clock, EventStore, PortError
from siutindei.app.sending import Need
from siutindei.domain import budget, challenge, mail, notification, person, suppression, ticket
from siutindei.domain.due import FARTHEST
from siutindei.domain.personal import of
from siutindei.domain.policy import mail_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.books import Books
    from siutindei.app.ports import Progress, Recorded

# fmt: off
Id = Literal[
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9",
    "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17", "C18",
]
# fmt: on
#: The promises, in a few words each.
SAYS: Final[Mapping[Id, str]] = {
    "C1": "one region, and never more mails in 24 hours than the quota",
    "C2": "three kinds of mail, and no other",
    "C3": "a code goes to the user who started the sign-in",
    "C4": "a notice is of a submitted ticket, and goes to support alone",
    "C5": "each decision is mailed once, to the address that submitted",
    "C6": "mails say what their templates say, and nothing else",
    "C7": "every address was proved, or vouched for",
    "C8": "senders are verified, and each function sends from its own",
    "C9": "the company is named in each mail, personal data can be erased, and retention is kept",
    "C10": "no code without a sign-in, and none for a stranger",
    "C11": "ticket mails go to who submitted, and to support",
    "C12": "no mail without a cause",
    "C13": "three attempts, then a dead letter, and nothing is lost",
    "C14": "an alarm tells the team of a dead letter",
    "C15": "every send can be followed from end to end",
    "C16": "who bounced for good is not mailed to again",
    "C17": "who complained is not mailed to again, and the rates stay low",
    "C18": "SES keeps a suppression list for the account",
}
#: What the letter names.
REGION: Final = "ap-southeast-1"
QUOTA: Final = 1000
EXPECTED: Final = 200
SENDERS: Final = mail.Senders()
COMPANY: Final = "LX Software"
#: Every version of every template that was ever mailed; no line of it changes.
RELEASED: Final[Mapping[tuple[notification.Kind, int], str]] = {
    ("sign_in_code", 1): "5a23491aa8a35914b511c1799bfb76dfdb6d911ca56ddf89a2dfb3f4fdb03899",
    ("ticket_received", 1): "408436efc712017b976438dcfbc907b70d764929dd3a6a4f3ae2023d403f0bbf",
    ("ticket_decided", 1): "486ce4f057f8d979fbfae2eda51afbc3a36ebdb6188e2c3fb01bae451b6b9c9c",
}
#: From these rates on, in percent, SES reviews an account, and may pause it.
BOUNCES: Final = (5.0, 10.0)
COMPLAINTS: Final = (0.1, 0.5)
#: Of fewer mails a single one more would decide whether a rate is too high.
LEAST_BOUNCES: Final = 100
LEAST_COMPLAINTS: Final = 1000
#: More breaks of one promise than these are only counted, and as many events are named in a line.
MOST: Final = 20
_NAMED: Final = 5
_STEP: Final = 500
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@attrs.frozen(kw_only=True)
class Break:
    """Something that breaks a promise.

    Attributes:
        what: a sentence.
        event: the event that does; None when it is a setting, or what SES says.
    """

    what: str
    event: str | None = None


@attrs.frozen(kw_only=True)
class Claim:
    """A promise, and whether it holds.

    Attributes:
        id: its number.
        says: what it promises, in a few words.
        holds: whether it does; None when that cannot be known from here.
        evidence: what is known of it, in sentences.
        breaks: what breaks it, the first `MOST` of it.
        broken: how much breaks it.
        unknown: what cannot be known, and why.
        shown_by: what would show that.
    """

    id: Id
    says: str
    holds: bool | None
    evidence: tuple[str, ...]
    breaks: tuple[Break, ...] = ()
    broken: int = 0
    unknown: tuple[str, ...] = ()
    shown_by: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Claims:
    """The use case of checking what was promised.

    Attributes:
        store: the history.
        clock: the time.
        addresses: knows the support mailbox by its fingerprint.
        senders: who writes, and whom support is.
        region: the region at AWS.
        quota: how many mails may go in a rolling day.
        account: compares the account at SES with what is needed; None when mails go elsewhere.
    """

    store: EventStore
    clock: Clock
    addresses: AddressBook
    senders: mail.Senders
    region: str
    quota: int
    account: Callable[[], Sequence[Need]] | None

    def check(self, *, progress: Progress = lambda *_: None) -> Sequence[Claim]:
        """Say of each promise whether it holds.

        Args:
            progress: is told up to which position the log is read, and which is the last.

        Raises:
            Unreadable: an event of another version: what it says may break a promise.
            Unavailable: the store is out of reach.
        """
        answers = _Answers()
        support = self.addresses.fingerprint(self.addresses.normalise(self.senders.support))
        reading = _Reading(answers, support=support, quota=self.quota)
        last = self.store.last_position()
        for number, entry in enumerate(self.store.read(until=last), start=1):
            if number % _STEP == 0:
                progress(entry.position, last)
            reading.read(entry)
        progress(last, last)
        books = reading.close(self.clock.now())
        self._configuration(answers)
        _mails_and_people(answers, self.store, reading.erased)
        _of_history(answers, reading, books)
        self._account(answers)
        return answers.claims()

    def _configuration(self, answers: _Answers) -> None:
        """Hold the settings against the letter."""
        senders = self.senders
        for id, name, found, promised in (
            ("C1", "AWS_REGION", self.region, REGION),
            ("C3", "SES_FROM_ADDRESS", senders.codes_from, SENDERS.codes_from),
            ("C4", "SES_SENDER_EMAIL", senders.tickets_from, SENDERS.tickets_from),
            ("C4", "SUPPORT_EMAIL", senders.support, SENDERS.support),
            ("C5", "SES_SENDER_EMAIL", senders.tickets_from, SENDERS.tickets_from),
            ("C11", "SUPPORT_EMAIL", senders.support, SENDERS.support),
        ):
            answer = answers.of(id)
            if found == promised:
                answer.says(f"{name} is {found}")
            else:
                answer.breaks(f"{name} is {found}, and {promised} was promised")
        if self.quota > QUOTA:
            answers.of("C1").breaks(
                f"SIUTINDEI_DAILY_QUOTA is {self.quota}, and {QUOTA} was asked for"
            )

    def _account(self, answers: _Answers) -> None:
        """Ask SES what only SES knows, when mails go there."""
        identities, listed = answers.of("C8"), answers.of("C18")
        identities.leaves_open(
            "which function may send from which address is said by the roles that are deployed",
            "make policies evaluates those of the template; IAM has those that are deployed",
        )
        needs, why = self._needs()
        if needs is None:
            identities.leaves_open(
                f"whether the senders are verified: {why}", "siutindei ses status shows it"
            )
            listed.leaves_open(
                why, "siutindei ses status shows it, siutindei suppression drift too"
            )
            return
        for need in needs:
            answer = (
                listed
                if need.what.endswith("suppression list")
                else identities
                if need.what in _domains(self.senders)
                else None
            )
            if answer is None:
                continue
            if need.standing == "ok":
                answer.says(f"SES says of {need.what}: {need.found}")
            else:
                answer.breaks(f"SES says of {need.what}: {need.found}")
        listed.says("siutindei suppression drift compares its list with ours")

    def _needs(self) -> tuple[Sequence[Need] | None, str]:
        if self.account is None:
            return None, "mails do not go to SES here, so SES is not asked"
        try:
            return self.account(), ""
        except PortError as error:
            return None, f"SES cannot be asked: {error}"


def _domains(senders: mail.Senders) -> set[str]:
    return {
        sender.rpartition("@")[2].lower() for sender in (senders.codes_from, senders.tickets_from)
    }


# --- answers --------------------------------------------------------------------------------------


class _Answer:
    """What is known of one promise so far."""

    def __init__(self) -> None:
        self.evidence: list[str] = []
        self.found: list[Break] = []
        self.broken = 0
        self.unknown: list[str] = []
        self.shown_by: list[str] = []

    def says(self, sentence: str) -> None:
        self.evidence.append(sentence)

    def breaks(self, what: str, event: str | None = None) -> None:
        self.broken += 1
        if len(self.found) < MOST:
            self.found.append(Break(what=what, event=event))

    def leaves_open(self, what: str, shown_by: str) -> None:
        self.unknown.append(what)
        self.shown_by.append(shown_by)


class _Answers:
    """What is known of all of them."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {id: _Answer() for id in SAYS}

    def of(self, id: str) -> _Answer:
        return self._answers[id]

    def breaks(self, ids: Sequence[Id], event: str, what: str) -> None:
        """Note an event that breaks one promise or several."""
        for id in ids:
            self._answers[id].breaks(f"{event} {what}", event)

    def claims(self) -> Sequence[Claim]:
        return [
            Claim(
                id=id,
                says=says,
                holds=False if answer.broken else None if answer.unknown else True,
                evidence=tuple(answer.evidence),
                breaks=tuple(answer.found),
                broken=answer.broken,
                unknown=tuple(answer.unknown),
                shown_by=tuple(answer.shown_by),
            )
            for id, says in SAYS.items()
            for answer in (self._answers[id],)
        ]


# --- one event after the other --------------------------------------------------------------------


@attrs.define
class _Mail:
    """What has to be known of a mail for as long as something may happen to it.

    Attributes:
        kind: the kind.
        fingerprint: of whom it goes to.
        correlation: what ties it to the request that caused it.
        number: its place among those that were taken and that SES counts; 0 for none.
        was_unknown: whether the newest attempt had an outcome that nobody knew.
        attempt: the newest attempt, as long as it counts and may not any more: its time.
        bounced: whether it bounced for good.
        complained: whether its receiver complained.
    """

    kind: notification.Kind
    fingerprint: str
    correlation: str
    number: int = 0
    was_unknown: bool = False
    attempt: int | None = None
    bounced: bool = False
    complained: bool = False


@attrs.frozen
class _Submitted:
    """Who waits for a decision."""

    submitter: str
    fingerprint: str
    reference: str


#: The promises that a mail of a kind without its own cause breaks.
_CAUSES: Final[Mapping[notification.Kind, tuple[Id, ...]]] = {
    "sign_in_code": ("C3", "C10"),
    "ticket_received": ("C4", "C11"),
    "ticket_decided": ("C5", "C11"),
}


#: The promises that a mail breaks that was not asked for.
_MISSING: Final[Mapping[str, tuple[Id, ...]]] = {
    "sign_in_code": ("C13",),
    "ticket_received": ("C13", "C4"),
    "ticket_decided": ("C13", "C5"),
}


class _Reading:
    """One pass over the log."""

    def __init__(self, answers: _Answers, *, support: str, quota: int) -> None:
        self.answers = answers
        self.support = support
        self.quota = quota
        self.books = Bookkeeper(self._find)
        self.mails: dict[str, _Mail] = {}
        self.kinds: Counter[str] = Counter()
        # Mails that may have come twice, because an outcome stayed unknown.
        self.twice: list[str] = []
        # When mails were announced that count, in order.
        self.sends = array("q")
        self.busiest: tuple[int, str] = (0, "")
        self.people: set[str] = set()
        self.proofs: dict[tuple[str, str], person.Proof] = {}
        self.erased: dict[str, str] = {}
        self.assurances: Counter[str] = Counter()
        self.by_hand: list[str] = []
        self.proved_codes = 0
        self.strangers = 0
        self.pending: dict[str, _Submitted] = {}
        self.suppressions: dict[str, suppression.Suppression] = {}
        self.reasons: Counter[str] = Counter()
        self.taken = 0
        self.heard: tuple[int, int] = (0, 0)
        # The command that is being read: the events that ask for a mail, the submissions whose
        # proof may follow, the reports whose suppression has to, the third failures.
        self.command: str | None = None
        self.causes: dict[str, Recorded] = {}
        self.decided: dict[str, _Submitted] = {}
        self.submissions: list[tuple[Recorded, ticket.Submitted]] = []
        self.reported: list[tuple[Id, Recorded, str, str]] = []
        self.followed: set[str] = set()
        self.failed: dict[str, str] = {}

    def read(self, entry: Recorded) -> None:
        """Read the next event."""
        if entry.context.command_id != self.command:
            self._end_command()
            self.command = entry.context.command_id
        self.books.read(entry)
        self._trace(entry)
        event = entry.event
        if mail_for(event) is not None:
            self.causes[entry.id] = entry
        match event:
            case challenge.Issued():
                self._challenge(entry, event)
            case ticket.Submitted():
                self.assurances[event.assurance] += 1
                self.submissions.append((entry, event))
                self.pending[entry.stream] = _Submitted(
                    event.submitter, event.fingerprint, event.reference
                )
            case ticket.Approved() | ticket.Declined():
                self._decide(entry)
            case notification.Requested():
                self._request(entry, event)
            case person.Erased():
                self.people.discard(event.user)
                self.erased[event.user] = entry.id
            case person.SignedUp() | person.AddressChanged() | person.AddressProved():
                self.people.add(event.user)
                if isinstance(event, person.AddressProved):
                    self.proofs[event.user, event.fingerprint] = event.how
            case _ if isinstance(event, suppression.Event):
                self._suppress(entry, event)
            case _ if isinstance(event, notification.Event):
                self._go_on(entry, event)
            case _:
                pass

    def close(self, at: datetime) -> Books:
        """Give the books: nothing follows."""
        self._end_command()
        return self.books.close(at)

    def _breaks(self, ids: Sequence[Id], entry: Recorded, what: str) -> None:
        self.answers.breaks(ids, entry.id, what)

    def _find(self, finding: Finding) -> None:
        """Take over what the books find of mails."""
        is_mail = finding.stream.startswith(f"{notification.CATEGORY}-")
        known = self.mails.get(finding.stream)
        is_decision = "ticket_decided" in {finding.kind, known.kind if known else ""}
        ids: tuple[Id, ...] = ()
        if finding.topic == "missing" and finding.kind in _MISSING:
            ids = _MISSING[finding.kind]
        elif is_mail and finding.topic == "uncaused":
            ids = ("C12",)
        elif is_mail and finding.topic in {"attempt", "end", "again"}:
            ids = ("C13", "C5") if is_decision else ("C13",)
        for id in ids:
            self.answers.of(id).breaks(finding.what, finding.event or finding.stream)

    def _end_command(self) -> None:
        """Check what had to follow within the command."""
        for entry, submitted in self.submissions:
            self._vouched(entry, submitted)
        for id, entry, fingerprint, feedback_id in self.reported:
            if entry.id not in self.followed and not self._is_known(
                entry, fingerprint, feedback_id
            ):
                self._breaks((id,), entry, "was reported, and its address was not suppressed")
        for stream, event in self.failed.items():
            self.answers.breaks(
                ("C13",), event, f"is the third failure of {stream}, and no dead letter follows"
            )
        self.causes = {}
        self.decided = {}
        self.submissions = []
        self.reported = []
        self.followed = set()
        self.failed = {}

    # --- who asks, and who is asked for -----------------------------------------------------------

    def _challenge(self, entry: Recorded, issued: challenge.Issued) -> None:
        if issued.user is None:
            self.strangers += 1
        elif issued.proved and (issued.user, issued.fingerprint) not in self.proofs:
            self._breaks(("C7",), entry, "calls an address proved that nobody proved")

    def _vouched(self, entry: Recorded, submitted: ticket.Submitted) -> None:
        """Hold how a submitter's address was proved against the proof that was recorded."""
        if submitted.assurance == "none":
            self.by_hand.append(entry.id)
        elif submitted.assurance != self.proofs.get((submitted.submitter, submitted.fingerprint)):
            self._breaks(
                ("C7",), entry, f"names a proof by {submitted.assurance}, and there is none"
            )

    def _decide(self, entry: Recorded) -> None:
        submitted = self.pending.pop(entry.stream, None)
        if submitted is None:
            self._breaks(("C5",), entry, "decides a ticket that is not pending")
        else:
            self.decided[entry.id] = submitted

    # --- what is mailed ---------------------------------------------------------------------------

    def _request(self, entry: Recorded, event: notification.Requested) -> None:
        kind = event.kind
        self.kinds[kind] += 1
        self.mails[entry.stream] = _Mail(
            kind=kind,
            fingerprint=event.fingerprint or self.support,
            correlation=entry.context.correlation_id,
        )
        if kind not in notification.KINDS or event.template != kind:
            self._breaks(("C2",), entry, f"asks for a {kind} mail, written as {event.template}")
        self._template(entry, kind, event.template_version, event.template_hash)
        cause = self.causes.get(event.cause)
        if cause is None or mail_for(cause.event) != kind:
            self._breaks(
                _CAUSES.get(kind, ()),
                entry,
                f"({kind}) names {event.cause} as its cause, and nothing there asked for it",
            )
            return
        if (entry.context.causation_id, entry.context.correlation_id) != (
            cause.id,
            cause.context.correlation_id,
        ):
            self._breaks(("C15",), entry, f"does not carry on the ids of {cause.id}")
        match cause.event:
            case challenge.Issued():
                self._code(entry, event, cause.event)
            case ticket.Submitted():
                self._notice(entry, event, cause.event)
            case _:
                self._decision(entry, event, cause.id)

    def _code(
        self, entry: Recorded, event: notification.Requested, issued: challenge.Issued
    ) -> None:
        self.proved_codes += issued.proved
        if (event.challenge, event.user, event.fingerprint) != (
            issued.challenge,
            issued.user,
            issued.fingerprint,
        ):
            self._breaks(("C3", "C10"), entry, f"is not to the address that {event.cause} is of")
        if event.recipient is None:
            self._breaks(("C3",), entry, "has no recipient of its own")
        if event.user not in self.people:
            self._breaks(("C10",), entry, f"is to {event.user}, whom nobody knows")

    def _notice(
        self, entry: Recorded, event: notification.Requested, submitted: ticket.Submitted
    ) -> None:
        if (event.recipient, event.fingerprint, event.user) != (None, None, None):
            self._breaks(
                ("C4", "C11"), entry, "is a notice, and goes to somebody else than support"
            )
        if event.ticket != submitted.reference:
            self._breaks(("C4",), entry, f"is about {event.ticket}, and its cause is not")

    def _decision(self, entry: Recorded, event: notification.Requested, cause: str) -> None:
        submitted = self.decided.get(cause)
        if submitted is None:
            # The decision itself was noted: it was of a ticket that was not pending.
            return
        found = _Submitted(event.user or "", event.fingerprint or "", event.ticket or "")
        if found != submitted or event.recipient is None:
            self._breaks(
                ("C5", "C11"), entry, f"is not to the address that {cause} is an answer to"
            )

    def _template(
        self, entry: Recorded, kind: notification.Kind, version: int, digest: str
    ) -> None:
        if digest != RELEASED.get((kind, version)):
            self._breaks(
                ("C6",), entry, f"is written from {kind} {version}, hash {digest[:12]}, unknown"
            )

    # --- what became of it ------------------------------------------------------------------------

    def _go_on(self, entry: Recorded, event: notification.Event) -> None:
        found = self.mails.get(entry.stream)
        if found is None:
            # The books have it among the mails without a cause.
            return
        match event:
            case notification.AttemptStarted():
                self._attempt(entry, event, found)
            case notification.Accepted():
                self._ended(entry, found)
                self._take(found)
                if not event.message_id:
                    self._breaks(("C15",), entry, "names no id under which the mail was taken")
            case notification.Failed():
                if found.attempt is not None:
                    del self.sends[bisect_left(self.sends, found.attempt)]
                self._ended(entry, found)
                state = self.books.effects[entry.stream].state
                if event.error_class == "transient" and state.attempts >= notification.ATTEMPTS:
                    self.failed[entry.stream] = entry.id
            case notification.OutcomeUnknown():
                found.was_unknown = True
                self._ended(entry, found)
            case notification.Refused():
                self._ended(entry, found)
            case notification.DeadLettered():
                self.failed.pop(entry.stream, None)
                state = self.books.effects[entry.stream].state
                if event.why == "attempts_exhausted" and state.attempts < notification.ATTEMPTS:
                    self._breaks(("C13",), entry, f"gives up after {state.attempts} attempts")
            case _ if isinstance(event, notification.Feedback):
                self._hear(entry, event, found)
            case _:
                pass

    def _attempt(self, entry: Recorded, event: notification.AttemptStarted, found: _Mail) -> None:
        if event.template_hash:
            self._template(entry, found.kind, event.template_version, event.template_hash)
        self._ended(entry, found)
        if found.was_unknown:
            self.twice.append(entry.id)
            found.was_unknown = False
        at = _micros(event.at)
        found.attempt = at
        insort(self.sends, at)
        # As the read model counts them: what a clock that was far ahead wrote is not counted.
        first = bisect_right(self.sends, at - _micros_of(budget.WINDOW))
        count = bisect_right(self.sends, at + _micros_of(FARTHEST)) - first
        if count > self.quota:
            self._breaks(("C1",), entry, f"is mail {count} within 24 hours; {self.quota} may go")
        self.busiest = max(self.busiest, (count, entry.id), key=lambda pair: pair[0])
        known = self.suppressions.get(found.fingerprint, suppression.INITIAL)
        if known.suppressed is not None and known.is_active(event.at):
            reason = known.suppressed.reason
            ids: tuple[Id, ...] = ("C17",) if reason == "complaint" else ("C16",)
            self._breaks(ids, entry, f"mails to an address that is suppressed ({reason})")

    def _ended(self, entry: Recorded, found: _Mail) -> None:
        """Follow the ids from a mail's request to its attempts and their outcomes."""
        found.attempt = None
        if entry.context.correlation_id != found.correlation:
            self._breaks(("C15",), entry, "does not carry on the ids of its mail")

    def _take(self, found: _Mail) -> None:
        """Number the mails that SES counts: those to people; support's domain is our own."""
        if not found.number and found.kind != "ticket_received":
            self.taken += 1
            found.number = self.taken

    def _hear(self, entry: Recorded, event: notification.Feedback, found: _Mail) -> None:
        self._take(found)
        if found.number:
            first, last = self.heard
            self.heard = (
                min(first or found.number, found.number),
                max(last, found.number),
            )
        if isinstance(event, notification.Bounced):
            words = (event.bounce_type, event.bounce_subtype, event.status)
            if suppression.verdict(*words) == "hard":
                found.bounced = True
                self.reported.append(("C16", entry, found.fingerprint, event.feedback_id))
        elif (
            isinstance(event, notification.Complained)
            and event.complaint_type != suppression.NOT_SPAM
        ):
            found.complained = True
            self.reported.append(("C17", entry, found.fingerprint, event.feedback_id))

    def _suppress(self, entry: Recorded, event: suppression.Event) -> None:
        fingerprint = entry.stream.removeprefix(f"{suppression.CATEGORY}-")
        before = self.suppressions.get(fingerprint, suppression.INITIAL)
        self.suppressions[fingerprint] = suppression.evolve(before, event)
        if isinstance(event, suppression.Suppressed):
            self.reasons[event.reason] += 1
            self.followed.add(event.evidence or "")

    def _is_known(self, entry: Recorded, fingerprint: str, feedback_id: str) -> bool:
        """Whether a report changes nothing: it is old, or the address is suppressed for good."""
        known = self.suppressions.get(fingerprint, suppression.INITIAL)
        for_good = known.suppressed is not None and known.suppressed.expires_at is None
        is_old = known.lifted is not None and entry.event.at <= known.lifted.at
        return feedback_id in known.heard or for_good or is_old

    def _trace(self, entry: Recorded) -> None:
        context = entry.context
        ids = (context.command_id, context.actor, context.request_id, context.correlation_id)
        if not all(ids):
            self._breaks(("C15",), entry, "does not name its request, or who acted")


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _micros_of(length: timedelta) -> int:
    return length // _MICROSECOND


# --- what is said of it ---------------------------------------------------------------------------


def _of_history(answers: _Answers, reading: _Reading, books: Books) -> None:
    """Say what the history shows, and what it cannot show."""
    kinds, account = reading.kinds, books.notifications
    count, event = reading.busiest
    answers.of("C1").says(
        f"at most {count} mails within 24 hours{f' ({event})' if event else ''}, "
        f"and {reading.quota} may go by the setting of now; fewer than {EXPECTED} were expected, "
        "and more than that break no promise"
    )
    answers.of("C2").says(", ".join(f"{kinds[kind]} {kind}" for kind in notification.KINDS))
    answers.of("C3").says(
        f"{kinds['sign_in_code']} codes were asked for by sign-ins; "
        f"{reading.proved_codes} went to addresses that a code or a token had proved before, the "
        "others to addresses that the identity provider calls verified, as far as the history says"
    )
    answers.of("C4").says(f"{kinds['ticket_received']} notices")
    _of_decisions(answers.of("C5"), reading)
    answers.of("C6").says(
        f"{account.requested} mails name the version and the hash of their template; whether its "
        "words are only about what the recipient did, a person has to read"
    )
    _of_addresses(answers.of("C7"), reading)
    answers.of("C10").says(
        f"{reading.strangers} sign-ins of addresses that nobody has, or has not verified; "
        "whether an address is verified is said by the identity provider"
    )
    answers.of("C11").says(
        f"{kinds['ticket_decided']} decisions and {kinds['ticket_received']} notices"
    )
    answers.of("C12").says(
        f"{account.requested} mails, and {books.causes} causes of mails and grants"
    )
    answers.of("C13").says(
        f"{account.requested} mails: {account.done} taken, {account.waiting} waiting, "
        f"{account.withheld} withheld, {account.dead_lettered} dead letters, {account.discarded} "
        f"discarded, {account.unknown} codes of unknown outcome"
    )
    answers.of("C13").says(
        "instead of the letter's words: when no answer comes, nobody knows whether the mail went; "
        "the history says so, and a code is not mailed again"
    )
    answers.of("C13").says(
        "the three attempts are counted here, whatever brings the work; what the queue itself is "
        "set to stands in the template, and make e2e drives it"
    )
    answers.of("C14").leaves_open(
        "alarms are deployed, and nothing of them is in the history",
        "make e2e has the template's fire on one message; CloudWatch has the deployed one: its "
        "name ends in NudgeDeadLettersAlarm",
    )
    answers.of("C15").says(
        f"{books.events} events of {books.commands} commands; siutindei history explain ID shows "
        "the chain of any id; what is written into logs is not in the history"
    )
    _of_feedback(answers, reading)


def _of_decisions(answer: _Answer, reading: _Reading) -> None:
    """Name the decisions that were not mailed, or perhaps twice, and why."""
    fates: dict[str, list[str]] = {}
    for stream, found in reading.mails.items():
        if found.kind == "ticket_decided":
            word = fate(reading.books.effects[stream]) or "lost"
            fates.setdefault(word, []).append(stream)
    answer.says(
        ", ".join(f"{len(streams)} {word}" for word, streams in fates.items())
        or "nothing was decided yet"
    )
    for word, streams in fates.items():
        if word not in {"done", "lost"}:
            answer.says(f"{word}: {_listed(streams)}")
    twice = [
        event
        for event in reading.twice
        if reading.mails[event.rpartition("/")[0]].kind == "ticket_decided"
    ]
    answer.says(
        "instead of the letter's words: a decision is mailed once, unless the outcome of an "
        "attempt stays unknown; then it is mailed again, and may come twice"
    )
    if twice:
        answer.says(f"mailed again after that: {_listed(twice)}")


def _of_addresses(answer: _Answer, reading: _Reading) -> None:
    counts = reading.assurances
    answer.says(
        f"{counts['code']} tickets from addresses that a code proved, "
        f"{counts['token']} from those that a token vouched for"
    )
    if reading.by_hand:
        answer.leaves_open(
            f"{counts['none']} tickets were entered by hand, or came from the old API, without a "
            f"token: {_listed(reading.by_hand)}",
            "a sign-in of the submitter, before the ticket is entered, proves the address",
        )


def _of_feedback(answers: _Answers, reading: _Reading) -> None:
    """Say what was suppressed, and how often mails bounced and were complained of."""
    bounce, complaint = answers.of("C16"), answers.of("C17")
    reasons = reading.reasons
    bounce.says(
        f"suppressed: {reasons['bounce']} for a permanent bounce, {reasons['soft_bounces']} for "
        f"too many others, {reasons['person'] + reasons['ses']} for another reason"
    )
    bounce.says(
        "instead of the letter's words: a hard bounce fails no call; it is reported minutes later, "
        "and from that moment on nothing is mailed to the address until a person lifts it"
    )
    complaint.says(f"{reasons['complaint']} suppressed for a complaint")
    first, last = reading.heard
    if not last:
        complaint.leaves_open(
            "nothing was reported of any mail to a person: whether reports come in, and the rates",
            "siutindei ses status shows where SES reports to; the first report shows that it does",
        )
        return
    judged = [found for found in reading.mails.values() if found.number >= first > 0]
    mails = last - first + 1
    complaint.says(
        f"{mails} mails to people that reports could be of: from the first to the newest one that "
        "anything was reported of"
    )
    for what, number, least, (review, pause) in (
        ("bounced for good", sum(one.bounced for one in judged), LEAST_BOUNCES, BOUNCES),
        ("complained of", sum(one.complained for one in judged), LEAST_COMPLAINTS, COMPLAINTS),
    ):
        rate = 100 * number / mails
        said = f"{number} of {mails} were {what}: {rate:.2f} %"
        limits = f"SES reviews an account at {review:g} %, and may pause it at {pause:g} %"
        if mails < least:
            complaint.says(f"{said}; fewer than {least} mails are too few to judge; {limits}")
        elif rate < review:
            complaint.says(f"{said}; {limits}")
        else:
            complaint.breaks(f"{said}; {limits}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- the mails themselves, and people -------------------------------------------------------------


def _mails_and_people(answers: _Answers, store: EventStore, erased: Mapping[str, str]) -> None:
    """Look at a mail of each kind in each language, and whether who was erased is gone."""
    answer = answers.of("C9")
    unnamed = [
        f"{written.kind} ({locale})"
        for locale in ("en", "zh-HK")
        for written in _written(locale)
        if not all(
            name in part
            for name in (COMPANY, mail.SENDER_NAME, mail.PRIVACY_PAGE)
            for part in (written.text, written.html)
        )
    ]
    for name in unnamed:
        answer.breaks(f"{name} does not name {COMPANY}, {mail.SENDER_NAME} and the privacy page")
    if not unnamed:
        answer.says(
            "each kind of mail, in each language, names the sender, the company and the "
            "privacy page"
        )
    for user in store.not_erased(list(erased)):
        answers.breaks(("C9",), erased[user], "is an erasure, and there are keys of theirs")
    answer.says(
        f"{len(erased)} people were erased; siutindei person export and erase do it for anybody"
    )
    answer.leaves_open(
        "nothing is taken away by its age: retention is not there yet",
        "a version that carries retention out",
    )


def _written(locale: str) -> Iterator[mail.Mail]:
    """Write a mail of each kind."""
    to = "somebody@example.com"
    at = _EPOCH
    submitted = ticket.Submitted(
        id="example",
        reference="R00001",
        ticket_type="access_request",
        submitter="somebody",
        submitter_email=of("somebody", to),
        fingerprint="",
        assurance="code",
        organization_name=of("somebody", "Example"),
        at=at,
    )
    declined = ticket.Declined(by=of("admin", "admin"), reviewer="admin", at=at)
    about = ticket.evolve(ticket.evolve(ticket.INITIAL, submitted), declined)
    yield mail.sign_in_code(
        SENDERS,
        notification_id="example",
        recipient=to,
        locale=locale,
        code="000000",
        lifetime=timedelta(minutes=5),
    )
    yield mail.ticket_received(SENDERS, notification_id="example", ticket=about)
    yield mail.ticket_decided(
        SENDERS, notification_id="example", recipient=to, locale=locale, ticket=about
    )
