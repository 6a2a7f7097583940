"""What the history shows of what was promised: one pass over the log, shared with the books.

Nothing is opened: addresses are compared by their fingerprints.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.books import Bookkeeper
from siutindei.app.promises import RELEASED, Id
from siutindei.domain import budget, challenge, notification, person, suppression, ticket
from siutindei.domain.due import FARTHEST
from siutindei.domain.policy import mail_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siutindei.app.books import Books, Finding
    from siutindei.app.ports import Recorded
    from siutindei.app.promises import Answers

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@attrs.define
class _Mail:
    """What has to be known of a mail for as long as something may happen to it.

    Attributes:
        kind: the kind.
        fingerprint: of whom it goes to.
        correlation: what ties it to the request that caused it.
        number: its place among those that were taken and that SES counts; 0 for none.
        was_unknown: whether the newest attempt had an outcome that nobody knew.
        attempt: when the newest attempt was announced, as long as it may turn out to have failed.
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


class Traces:
    """One pass over the log."""

    def __init__(self, answers: Answers, *, support: str, quota: int) -> None:
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
            # What waits for nothing has no event that says so: its newest one is named.
            newest = f"{finding.stream}/{self.books.versions.get(finding.stream, 0)}"
            self.answers.of(id).breaks(finding.what, finding.event or newest)

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
