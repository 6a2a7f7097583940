"""Carrying out what was decided: mails through the mail port, grants through the platform's ports.

The ledger (the streams of notifications and grants) says what is due; nothing else is asked. Every
call is announced before it is made and its outcome recorded after it, so that a process that dies
in between leaves a question that the next one can put: was it sent?
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.folding import grant_of, notification_of, ticket_of, version_of
from siutindei.app.ports import (
    AccountHalted,
    Clock,
    Codes,
    Context,
    EventStore,
    GrantError,
    IdentityProvider,
    Ids,
    MailNotSent,
    MailOutcomeUnknown,
    MailPort,
    MailRefused,
    OrganizationDirectory,
    PortError,
    Unavailable,
    Unusable,
    Work,
)
from siutindei.domain import challenge, fields, grant, notification, ticket
from siutindei.domain import mail as mails
from siutindei.domain.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.app.ports import (
        Due,
        Recorded,
        Transaction,
    )

#: An attempt is left alone this much longer than one call can take.
GRACE: Final = timedelta(seconds=1)
#: How long a grant may take before somebody else tries it.
GRANT_WITHIN: Final = timedelta(seconds=10)
_RECORD_TRIES: Final = 5
_ERROR_MOST: Final = 300

Result = Literal[
    "nothing_to_do",
    "sent",
    "failed",
    "refused",
    "unknown",
    "halted",
    "deferred",
    "withheld",
    "dead_lettered",
    "done",
]


_Decide = Callable[[notification.Notification, datetime], tuple[notification.Event, ...]]


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one look at a notification or grant.

    Attributes:
        work: which of the two.
        id: its id.
        kind: its kind.
        result: what happened.
        attempt: the number of the call, 0 when none was made.
        message_id: what the mail port called the mail.
        error: what went wrong, without personal data.
        correlation_id: what ties it to the request that caused it.
    """

    work: Work
    id: str
    kind: str = ""
    result: Result = "nothing_to_do"
    attempt: int = 0
    message_id: str | None = None
    error: str | None = None
    correlation_id: str = ""


@attrs.frozen(kw_only=True)
class Delivery:
    """The use cases of whoever works on what is due."""

    store: EventStore
    clock: Clock
    ids: Ids
    mail: MailPort
    codes: Codes
    directory: OrganizationDirectory
    identity: IdentityProvider
    senders: mails.Senders
    settle: timedelta

    # --- what is due ------------------------------------------------------------------------------

    def drain(
        self, *, report: Callable[[Outcome], None], stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Work on everything that is due until nothing is, or `stop` says so; count what was done.

        What could not be worked on because the store or a port was not there stays due, and is not
        tried again here.
        """
        done, skipped = 0, set[tuple[str, str]]()
        while True:
            due = [
                entry
                for entry in self.store.views.due(at=self.clock.now(), limit=100 + len(skipped))
                if (entry.work, entry.id) not in skipped
            ]
            if not due:
                return done
            for entry in due:
                if stop():
                    return done
                outcome = self.work_on(entry)
                if outcome.result == "nothing_to_do":
                    skipped.add((entry.work, entry.id))
                else:
                    done += 1
                report(outcome)

    def work_on(self, entry: Due) -> Outcome:
        """Work on one thing that is due."""
        context = self._context()
        if entry.work == "grant":
            return self.carry_out(context, entry.id)
        return self.deliver(context, entry.id)

    def _context(self) -> Context:
        request = self.ids.uuid()
        return Context(
            command_id=request, actor="worker", request_id=request, correlation_id=request
        )

    def deliver_now(
        self, context: Context, id: str, *, tries: int, within: timedelta
    ) -> Outcome | None:
        """Send one notification while somebody waits: at most `tries` calls, started in time.

        Nothing that goes wrong is raised: what is not sent stays due.
        """
        until = self.clock.now() + within
        outcome = None
        for _ in range(tries):
            try:
                outcome = self.deliver(context, id)
                if outcome.result != "failed":
                    return outcome
                found = self.store.views.find_notification(id)
            except PortError:
                return outcome
            due_at = None if found is None else found.due_at
            if due_at is None or due_at > until:
                return outcome
            self.clock.sleep(max(0.0, (due_at - self.clock.now()).total_seconds()))
        return outcome

    # --- mails ------------------------------------------------------------------------------------

    def deliver(self, context: Context, id: str) -> Outcome:
        """Take a notification one step further, if one is due: look up, send, or withhold it."""
        stream = notification.stream(id)
        with self.store.transaction(self._step(context)) as tx:
            at = self.clock.now()
            events = tx.load(stream)
            state = notification_of(events)
            if state.requested is None:
                return Outcome(work="notification", id=id)
            outcome = Outcome(
                work="notification",
                id=id,
                kind=state.requested.kind,
                correlation_id=events[0].context.correlation_id,
            )
            composed = None
            step = notification.next_step(state, at=at)
            if step in {"nothing", "wait"}:
                return outcome
            if step == "expire":
                return self._withhold(tx, events, state, "expired", outcome)
            if step == "send":
                try:
                    composed = self._compose(tx, state.requested)
                except (Unusable, DomainError, ValueError) as problem:
                    # It cannot be written, now or later: that must not hold up the others.
                    decided = notification.give_up(state, error=_text(problem), at=at)
                    appended = tx.append(stream, version_of(events), decided, cause=events[0])
                    return _outcome(outcome, appended)
                if composed is None:
                    return self._withhold(tx, events, state, "erased", outcome)
                (started,) = tx.append(
                    stream,
                    version_of(events),
                    notification.start_attempt(
                        state, deadline=at + self.mail.time_out + GRACE, at=at
                    ),
                    cause=events[0],
                )
        if composed is None:
            return self._look_up(context, state, outcome)
        return self._send(
            context, composed, started, attrs.evolve(outcome, attempt=state.calls + 1)
        )

    def _step(self, context: Context) -> Context:
        """Give one step its own command: the steps of one request are not the same command."""
        return attrs.evolve(context, command_id=self.ids.uuid())

    def _withhold(
        self,
        tx: Transaction,
        events: Sequence[Recorded],
        state: notification.Notification,
        why: notification.Withholding,
        outcome: Outcome,
    ) -> Outcome:
        tx.append(
            events[0].stream,
            version_of(events),
            notification.withhold(
                state, why=why, rule=f"notification.never_when_{why}.v1", at=self.clock.now()
            ),
            cause=events[-1],
        )
        return attrs.evolve(outcome, result="withheld", error=why)

    def _compose(self, tx: Transaction, requested: notification.Requested) -> mails.Mail | None:
        """Write the mail from the history, as it was when it was asked for; None when erased."""
        recipient = None if requested.recipient is None else tx.open(requested.recipient)
        if recipient is not None and recipient.is_erased:
            return None
        to = "" if recipient is None else recipient.text
        if requested.kind == "sign_in_code":
            return self._compose_code(tx, requested, to)
        about = tx.open_all(ticket_of(_until_cause(tx, requested)))
        if about.submitted is None or about.submitted.submitter_email.is_erased:
            return None
        if requested.kind == "ticket_received":
            return mails.ticket_received(self.senders, notification_id=requested.id, ticket=about)
        return mails.ticket_decided(
            self.senders,
            notification_id=requested.id,
            recipient=to,
            locale=requested.locale,
            ticket=about,
        )

    def _compose_code(
        self, tx: Transaction, requested: notification.Requested, to: str
    ) -> mails.Mail | None:
        (cause,) = _until_cause(tx, requested, newest=1)
        issued = cause.event
        if not isinstance(issued, challenge.Issued):
            return None
        return mails.sign_in_code(
            self.senders,
            notification_id=requested.id,
            recipient=to,
            locale=requested.locale,
            code=self.codes.code(key_id=issued.key_id, challenge=issued.challenge),
            lifetime=issued.expires_at - issued.at,
        )

    def _look_up(
        self, context: Context, looked_at: notification.Notification, outcome: Outcome
    ) -> Outcome:
        """Ask the mail port about a call whose outcome nobody knows, and record what it says."""
        found = self.mail.lookup(outcome.id)
        attempt = looked_at.calls
        stream = notification.stream(outcome.id)
        with self.store.transaction(self._step(context)) as tx:
            at = self.clock.now()
            events = tx.load(stream)
            state = notification_of(events)
            if state.calls != attempt or notification.next_step(state, at=at) != "look_up":
                return outcome
            if found.answer == "accepted":
                decided = notification.accept(
                    state,
                    attempt=attempt,
                    message_id=found.message_id or "",
                    how="lookup",
                    at=at,
                )
            elif found.answer == "not_accepted":
                decided = notification.fail(
                    state,
                    attempt=attempt,
                    error_class="transient",
                    error="the call ended without sending",
                    at=at,
                )
            elif state.call_open:
                decided = notification.lose_track(
                    state,
                    attempt=attempt,
                    why="the call ended without an answer",
                    settle=self.settle,
                    at=at,
                )
            else:
                decided = notification.settle_unknown(
                    state, can_be_resent=not self.mail.has_feedback, wait=self.settle, at=at
                )
            appended = tx.append(stream, version_of(events), decided, cause=events[-1])
        return _outcome(attrs.evolve(outcome, attempt=attempt), appended)

    def _send(
        self, context: Context, composed: mails.Mail, started: Recorded, outcome: Outcome
    ) -> Outcome:
        """Make the announced call, and record its outcome."""
        attempt = outcome.attempt
        decide: _Decide
        try:
            message_id = self.mail.send(composed)
        except MailOutcomeUnknown as problem:
            decide = self._lost(attempt, _text(problem))
        except MailRefused as problem:
            decide = _failed(attempt, "permanent", _text(problem))
        except AccountHalted as problem:
            decide = _failed(attempt, "account", _text(problem))
        except MailNotSent as problem:
            decide = _failed(attempt, "transient", _text(problem))
        except Exception as problem:  # noqa: BLE001  # an adapter's fault must not stop the others
            decide = self._lost(attempt, f"the mail adapter failed: {type(problem).__name__}")
        else:
            decide = _accepted(attempt, message_id)
        appended = self._record(context, started, decide)
        return _outcome(outcome, appended)

    def _lost(self, attempt: int, why: str) -> _Decide:
        return lambda state, at: notification.lose_track(
            state, attempt=attempt, why=why, settle=self.settle, at=at
        )

    def _record(self, context: Context, started: Recorded, decide: _Decide) -> tuple[Recorded, ...]:
        """Record an outcome, and try again while the store is busy: what was sent was sent."""
        for left in reversed(range(_RECORD_TRIES)):
            try:
                with self.store.transaction(self._step(context)) as tx:
                    events = tx.load(started.stream)
                    return tx.append(
                        started.stream,
                        version_of(events),
                        decide(notification_of(events), self.clock.now()),
                        cause=started,
                    )
            except Unavailable:
                if not left:
                    raise
                self.clock.sleep(0.2)
        raise AssertionError

    # --- grants -----------------------------------------------------------------------------------

    def carry_out(self, context: Context, id: str) -> Outcome:
        """Take a grant one step further, if one is due."""
        stream = grant.stream(id)
        with self.store.transaction(self._step(context)) as tx:
            at = self.clock.now()
            events = tx.load(stream)
            state = grant_of(events)
            requested = state.requested
            if requested is None:
                return Outcome(work="grant", id=id)
            outcome = Outcome(
                work="grant",
                id=id,
                kind=requested.kind,
                correlation_id=events[0].context.correlation_id,
            )
            decided = grant.start_attempt(state, deadline=at + GRANT_WITHIN, at=at)
            about = ticket_of(tx.load(ticket.stream(requested.ticket)))
            submitted = None if about.submitted is None else tx.open_all(about.submitted)
            if decided and (submitted is None or _is_erased(tx, requested, submitted)):
                decided = grant.withhold(state, at=at)
            appended = tx.append(stream, version_of(events), decided, cause=events[0])
            stars = tx.views.approved_stars(requested.user)
        if not appended or not isinstance(appended[-1].event, grant.AttemptStarted):
            return _outcome(outcome, appended)
        if submitted is None:
            raise AssertionError
        attempt = appended[-1].event.attempt
        error: GrantError | None = None
        try:
            self._grant(requested, submitted, stars)
        except GrantError as problem:
            error = problem
        except Unavailable as problem:
            error = GrantError(str(problem), permanent=False)
        with self.store.transaction(self._step(context)) as tx:
            events = tx.load(stream)
            state, at = grant_of(events), self.clock.now()
            recorded = (
                grant.carry_out(state, attempt=attempt, at=at)
                if error is None
                else grant.fail(
                    state, attempt=attempt, error=_text(error), permanent=error.permanent, at=at
                )
            )
            done = tx.append(stream, version_of(events), recorded, cause=appended[-1])
        return _outcome(attrs.evolve(outcome, attempt=attempt), done)

    def _grant(self, requested: grant.Requested, submitted: ticket.Submitted, stars: int) -> None:
        """Make the change; the ports do it once for one id, however often they are asked."""
        organization_id = requested.organization_id or ""
        match requested.kind:
            case "organization" if requested.create:
                self.directory.create(
                    grant_id=requested.id,
                    id=organization_id,
                    name=submitted.organization_name.text,
                    manager=requested.user,
                )
            case "organization":
                self.directory.add_manager(
                    grant_id=requested.id, id=organization_id, manager=requested.user
                )
            case "manager":
                self.identity.join_managers(grant_id=requested.id, user=requested.user)
            case "feedback":
                self.directory.publish_feedback(
                    grant_id=requested.id,
                    id=submitted.id,
                    feedback={
                        "organization_id": organization_id,
                        "stars": submitted.feedback_stars,
                        "label_ids": list(submitted.feedback_label_ids),
                        "text": submitted.feedback_text and submitted.feedback_text.text,
                    },
                )
            case "stars":
                self.directory.set_stars(grant_id=requested.id, user=requested.user, stars=stars)


def _accepted(attempt: int, message_id: str) -> _Decide:
    return lambda state, at: notification.accept(
        state, attempt=attempt, message_id=message_id, how="call", at=at
    )


def _failed(attempt: int, error_class: notification.ErrorClass, error: str) -> _Decide:
    return lambda state, at: notification.fail(
        state, attempt=attempt, error_class=error_class, error=error, at=at
    )


def _until_cause(
    tx: Transaction, requested: notification.Requested, *, newest: int | None = None
) -> Sequence[Recorded]:
    stream, _, version = requested.cause.rpartition("/")
    return tx.load(stream, newest=newest, until=int(version))


def _is_erased(tx: Transaction, requested: grant.Requested, submitted: ticket.Submitted) -> bool:
    found = tx.views.find_person(requested.user)
    return submitted.submitter_email.is_erased or (found is not None and found.erased)


def _text(error: Exception) -> str:
    return fields.one_line(str(error))[:_ERROR_MOST]


_RESULTS: Final[dict[type, Result]] = {
    notification.Accepted: "sent",
    notification.Failed: "failed",
    notification.Refused: "refused",
    notification.OutcomeUnknown: "unknown",
    notification.Deferred: "deferred",
    notification.Withheld: "withheld",
    notification.DeadLettered: "dead_lettered",
    grant.CarriedOut: "done",
    grant.Failed: "failed",
    grant.Withheld: "withheld",
    grant.DeadLettered: "dead_lettered",
}


def _outcome(outcome: Outcome, appended: Sequence[Recorded]) -> Outcome:
    """Say what was appended: the last event gives the word, all of them the details."""
    for entry in appended:
        event = entry.event
        outcome = attrs.evolve(
            outcome,
            result=_RESULTS.get(type(event), outcome.result),
            message_id=getattr(event, "message_id", outcome.message_id),
            error=getattr(event, "error", None) or getattr(event, "why", None) or outcome.error,
        )
    return outcome
