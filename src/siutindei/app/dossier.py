"""The dossier of a ticket: who, when, what, why, every mail and its fate, and who looked before.

The ticket, its mails and its grants are told from their own events; in which order all of it
happened is the tree of causes (`app/explaining.py`). That somebody looks is recorded before
anything is given.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import attrs

from siutindei.app import wording
from siutindei.app.accesses import LIST_MOST, Access, Accesses
from siutindei.app.explaining import Explain, Explanation, Node
from siutindei.app.folding import grant_of, notification_of, ticket_of
from siutindei.app.ports import AddressBook, EventStore
from siutindei.app.proof import Place
from siutindei.domain import grant, notification, suppression, ticket
from siutindei.domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siutindei.app.ports import Context, Recorded
    from siutindei.domain.personal import Personal

#: Where a mail goes that has no recipient of its own.
SUPPORT: Final = "support"


class Proofs(Protocol):
    """What proves that the record is intact."""

    def covered(self, events: Sequence[str]) -> Mapping[str, Place]:
        """Say where some events stand in the newest checkpoint; what it does not cover is not in.

        Args:
            events: their ids.
        """


@attrs.frozen(kw_only=True)
class Proof:
    """What there is to prove that the decision was not changed since.

    Attributes:
        event: the decision's id; None when there is none.
        leaf: where it stands in a checkpoint; None when none covers it.
        why: why none does; empty when one does.
        events: how many events the dossier is made of.
        covered: how many of them the checkpoint covers.
    """

    event: str | None
    leaf: Place | None
    why: str
    events: int
    covered: int


@attrs.frozen(kw_only=True)
class Act:
    """What somebody did about the ticket: the event, when, by whom, and in which request."""

    event: str
    at: datetime
    actor: str
    request_id: str


@attrs.frozen(kw_only=True, repr=False)
class Happened:
    """One thing that happened to a mail, a grant or an address.

    Attributes:
        event: its event.
        position: where that stands in the log.
        what: what the event is called.
        said: the same in plain words.
        at: when.
        by: who decided it, where a person did.
        reason: why, in their words; opened.
        rule: which rule did, with its version.
        message_id: what the mail service called the mail, where it took it.
    """

    event: str
    position: int
    what: str
    said: str
    at: datetime
    by: str | None = None
    reason: str | None = None
    rule: str | None = None
    message_id: str | None = None


@attrs.frozen(kw_only=True, repr=False)
class Attempt:
    """One call to the mail port or the platform.

    Attributes:
        number: counted from 1; 0 is a mail that could not be written.
        started: its announcement; None when there was no call.
        template_version: what the mail was written from; None of a grant.
        template_hash: the hash of that.
        outcomes: what was known of it, in order: an outcome that is unknown may be known later.
    """

    number: int
    started: Happened | None = None
    template_version: int | None = None
    template_hash: str | None = None
    outcomes: tuple[Happened, ...] = ()

    @property
    def outcome(self) -> str:
        """What is known of it by now."""
        return self.outcomes[-1].what if self.outcomes else "no_outcome_yet"


@attrs.frozen(kw_only=True, repr=False)
class Effect:
    """A mail or a grant, and its fate.

    Attributes:
        work: which of the two.
        id: its id.
        kind: its kind.
        cause: the event that asked for it.
        status: where it stands.
        requested_at: when it was asked for.
        attempts: the calls.
        feedback: what the mail service reported.
        handling: what kept it back, gave it up, or gave it another chance, and who did.
        recipient: where a mail goes: an address, `[erased]`, or `support`.
        locale: the language of a mail.
        template: what a mail is written from.
        template_version: the version of that.
        template_hash: its hash.
        suppression: what became of the mail's address because of it, or kept it back.
        organization_id: the organization that a grant is about.
    """

    work: Literal["notification", "grant"]
    id: str
    kind: str
    cause: str
    status: str
    requested_at: datetime
    attempts: tuple[Attempt, ...]
    feedback: tuple[Happened, ...]
    handling: tuple[Happened, ...]
    recipient: str | None = None
    locale: str | None = None
    template: str | None = None
    template_version: int | None = None
    template_hash: str | None = None
    suppression: tuple[Happened, ...] = ()
    organization_id: str | None = None


@attrs.frozen(kw_only=True, repr=False)
class Dossier:
    """Everything about one ticket; what is personal is opened, or erased.

    Attributes:
        state: the ticket as it stands.
        submitted: what its submitter said.
        submission: how it came in.
        decision: how it was decided; None while it is pending.
        mails: its mails, in the order in which they were asked for.
        grants: what an approval brought.
        explanation: the tree of what caused what.
        accesses: who looked before, newest first.
        has_older_accesses: whether there are more than these.
        proof: what proves that the decision was not changed since.
    """

    state: ticket.Ticket
    submitted: ticket.Submitted
    submission: Act
    decision: Act | None
    mails: tuple[Effect, ...]
    grants: tuple[Effect, ...]
    explanation: Explanation
    accesses: tuple[Access, ...]
    has_older_accesses: bool
    proof: Proof

    @property
    def took(self) -> timedelta | None:
        """How long the submitter waited for the decision."""
        decided = self.state.decision
        return None if decided is None else decided.at - self.submitted.at

    @property
    def timeline(self) -> tuple[Node, ...]:
        """What happened, in the order in which it was recorded."""
        return _timeline(self.explanation)


@attrs.frozen(kw_only=True)
class Dossiers:
    """The use case of opening a dossier; no mail port is given to it.

    Attributes:
        support: the address of the support mailbox, which is configuration.
        proofs: what proves that the record is intact; None where nothing does.
    """

    store: EventStore
    addresses: AddressBook
    accesses: Accesses
    explain: Explain
    support: str
    proofs: Proofs | None = None

    def open(self, context: Context, reference_or_id: str, *, by: object) -> Dossier:
        """Give the dossier of a ticket, once it is recorded who looks.

        Raises:
            Invalid: `by`.
            NotFound: there is no such ticket; then nothing is recorded.
            Unavailable: it cannot be recorded now; nothing is given.
            Unusable: it cannot be recorded here; nothing is given.
        """
        found = self.store.views.find_ticket(reference_or_id)
        if found is None or found.submitted is None:
            raise NotFound("ticket", reference_or_id)
        dossier = self._made(found.submitted.reference)
        self.accesses.record(
            context,
            "dossier",
            found.submitted.reference,
            by=by,
            shown=1 + len(dossier.mails),
        )
        return dossier

    def _made(self, reference: str) -> Dossier:
        views = self.store.views
        entries = self.store.load(ticket.stream(reference))
        state: Any = self.store.open_all(ticket_of(entries))
        before = self.accesses.list(subject=reference, limit=LIST_MOST)
        mails = [item.requested for item in views.notifications(ticket=reference)]
        grants = [item.requested for item in views.grants(ticket=reference)]
        explanation = self.explain.explain(reference)
        decided = None if state.decision is None else entries[-1]
        return Dossier(
            state=state,
            submitted=state.submitted,
            submission=_act(entries[0]),
            decision=None if decided is None else _act(decided),
            mails=tuple(self._mail(asked.id) for asked in mails if asked is not None),
            grants=tuple(self._grant(asked.id) for asked in grants if asked is not None),
            explanation=explanation,
            accesses=before.items,
            has_older_accesses=before.next_cursor is not None,
            proof=self._proof(explanation, None if decided is None else decided.id),
        )

    def _proof(self, explanation: Explanation, decision: str | None) -> Proof:
        # What belongs to other chains is theirs to prove.
        events = [node.id for node in _timeline(explanation) if not node.is_aside]
        found = {} if self.proofs is None else self.proofs.covered(events)
        leaf = None if decision is None else found.get(decision)
        why = ""
        if decision is None:
            why = "nothing is decided yet"
        elif leaf is None:
            why = "no checkpoint covers the decision"
        return Proof(event=decision, leaf=leaf, why=why, events=len(events), covered=len(found))

    # --- mails and grants -------------------------------------------------------------------------

    def _mail(self, id: str) -> Effect:
        entries = self.store.load(notification.stream(id))
        state = notification_of(entries)
        asked: Any = state.requested
        return Effect(
            work="notification",
            id=id,
            kind=asked.kind,
            cause=asked.cause,
            status=state.status,
            requested_at=asked.at,
            attempts=_attempts(self._all(entries), entries, asked),
            feedback=self._some(entries, _FEEDBACK),
            handling=self._some(entries, _HANDLING),
            recipient=SUPPORT if asked.recipient is None else self._text(asked.recipient),
            locale=asked.locale,
            template=asked.template,
            template_version=asked.template_version,
            template_hash=asked.template_hash,
            suppression=self._suppression(
                asked.fingerprint or self.addresses.fingerprint(self.support), entries
            ),
        )

    def _grant(self, id: str) -> Effect:
        entries = self.store.load(grant.stream(id))
        state = grant_of(entries)
        asked: Any = state.requested
        return Effect(
            work="grant",
            id=id,
            kind=asked.kind,
            cause=asked.cause,
            status=state.status,
            requested_at=asked.at,
            attempts=_attempts(self._all(entries), entries, None),
            feedback=(),
            handling=self._some(entries, _HANDLING),
            organization_id=asked.organization_id,
        )

    def _suppression(self, fingerprint: str, mail: Sequence[Recorded]) -> tuple[Happened, ...]:
        """Tell of the mail's address what its reports led to, or what kept the mail back."""
        entries = self.store.load(suppression.stream(fingerprint))
        ids = {entry.id for entry in mail}
        touched = [
            entry.position
            for entry in entries
            if isinstance(entry.event, _SUPPRESSED) and entry.event.evidence in ids
        ]
        for kept in mail:
            if isinstance(kept.event, notification.Withheld) and kept.event.why == "suppressed":
                touched += [
                    entry.position
                    for entry in entries
                    if isinstance(entry.event, suppression.Suppressed)
                    and entry.position < kept.position
                ][-1:]
        if not touched:
            return ()
        since = [entry for entry in entries if entry.position >= min(touched)]
        return self._some(since, (*_SUPPRESSED, suppression.Lifted))

    def _all(self, entries: Sequence[Recorded]) -> tuple[Happened, ...]:
        return tuple(self._happened(entry) for entry in entries)

    def _some(self, entries: Sequence[Recorded], kinds: tuple[type, ...]) -> tuple[Happened, ...]:
        return self._all([entry for entry in entries if isinstance(entry.event, kinds)])

    def _happened(self, entry: Recorded) -> Happened:
        event: Any = entry.event
        # A suppression has a note, what was lifted or discarded a reason: both are a person's text.
        reason = getattr(event, "reason", None)
        if isinstance(event, suppression.Suppressed):
            reason = event.note
        return Happened(
            event=entry.id,
            position=entry.position,
            what=entry.name.split(".")[1],
            said=wording.line(entry),
            at=event.at,
            by=getattr(event, "by", None),
            reason=None if reason is None else self._text(reason),
            rule=getattr(event, "rule", None),
            message_id=getattr(event, "message_id", None),
        )

    def _text(self, personal: Personal) -> str:
        return self.store.open(personal).text


_FEEDBACK: Final = (
    *(notification.Delivered, notification.Delayed),
    *(notification.Bounced, notification.Complained),
)
_HANDLING: Final = (
    *(notification.Deferred, notification.Withheld, notification.DeadLettered),
    *(notification.Redriven, notification.Discarded),
    *(grant.Withheld, grant.DeadLettered, grant.Redriven, grant.Discarded),
)
_STARTED: Final = (notification.AttemptStarted, grant.AttemptStarted)
_SUPPRESSED: Final = (suppression.SoftBounced, suppression.Suppressed)


def _timeline(explanation: Explanation) -> tuple[Node, ...]:
    return tuple(node for node in explanation.nodes if node.kind == "event")


def _act(entry: Recorded) -> Act:
    event: Any = entry.event
    context = entry.context
    return Act(event=entry.id, at=event.at, actor=context.actor, request_id=context.request_id)


def _attempts(
    happened: Sequence[Happened],
    entries: Sequence[Recorded],
    asked: notification.Requested | None,
) -> tuple[Attempt, ...]:
    """Give the calls, each with what was known of it."""
    attempts: dict[int, Attempt] = {}
    for said, entry in zip(happened, entries, strict=True):
        event: Any = entry.event
        number = getattr(event, "attempt", None)
        if number is None:
            continue
        before = attempts.get(number, Attempt(number=number))
        if not isinstance(event, _STARTED):
            attempts[number] = attrs.evolve(before, outcomes=(*before.outcomes, said))
        elif isinstance(event, notification.AttemptStarted) and asked is not None:
            attempts[number] = Attempt(
                number=number,
                started=said,
                template_version=event.template_version or asked.template_version,
                template_hash=event.template_hash or asked.template_hash,
            )
        else:
            attempts[number] = Attempt(number=number, started=said)
    return tuple(attempts.values())
