"""Carrying out what was decided: mails through the mail port, grants through the platform's ports.

The ledger (the streams of notifications and grants) says what is due; nothing else is asked. Every
call is announced before it is made and its outcome recorded after it, so that a process that dies
in between leaves a question that the next one can put: was it sent?
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, assert_never

import attrs

from siutindei.app.commands import transact
from siutindei.app.folding import (
    challenges_of,
    grant_of,
    lane_of,
    notification_of,
    ticket_of,
    version_of,
)
from siutindei.app.lanes import halt_after
from siutindei.app.ports import (
    AccountHalted,
    AddressBook,
    Clock,
    Codes,
    Conflict,
    Context,
    EventStore,
    Found,
    GrantError,
    IdentityProvider,
    Ids,
    MailNotSent,
    MailOutcomeUnknown,
    MailPort,
    MailRefused,
    OrganizationDirectory,
    PortError,
    Recorded,
    Unavailable,
    Unreadable,
    Unusable,
    WholeAccountHalted,
    Work,
)
from siutindei.app.reports import append_with_reports
from siutindei.app.suppressions import Consequences
from siutindei.domain import budget, fields, grant, lane, notification, ticket
from siutindei.domain import mail as mails
from siutindei.domain.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.app.ports import (
        Due,
        Transaction,
    )

#: An attempt is left alone this much longer than one call can take.
GRACE: Final = timedelta(seconds=1)
#: How long a grant may take before somebody else tries it.
GRANT_WITHIN: Final = timedelta(seconds=10)
#: Who waits for feedback looks no sooner than this, however short the settle time is.
_WAIT_LEAST: Final = timedelta(seconds=1)
_RECORD_TRIES: Final = 5
#: How an error begins that nobody foresaw.
OUR_FAULT: Final = "our fault"
#: What is found out of a call that nobody waits for any more.
NO_ANSWER: Final = "the call ended without an answer"
NOT_SENT: Final = "the call ended without sending"
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
_Write = Callable[[], mails.Mail]


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
        error_class: whose fault a failed attempt was.
        correlation_id: what ties it to the request that caused it.
        causation_id: the event that asked for it.
    """

    work: Work
    id: str
    kind: str = ""
    result: Result = "nothing_to_do"
    attempt: int = 0
    message_id: str | None = None
    error: str | None = None
    error_class: notification.ErrorClass | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


@attrs.frozen(kw_only=True)
class _Call:
    """A call to the mail port that is to be made.

    Attributes:
        outcome: what is known of it before.
        newest: the newest event of the notification.
        mail: what is to be sent; None when an earlier call is to be looked up.
        deadline: until when it has to end.
        was_forgotten: whether the port was told to forget the mail: it cannot know it any more.
        can_be_resent: whether it may go again after the settle time: no report will come of it, as
            none can or those of later mails have come.
    """

    outcome: Outcome
    newest: Recorded
    mail: mails.Mail | None
    deadline: datetime
    was_forgotten: bool = False
    can_be_resent: bool = False


@attrs.frozen(kw_only=True)
class _Change:
    """A change of the platform that is to be made."""

    outcome: Outcome
    started: Recorded
    requested: grant.Requested
    submitted: ticket.Submitted
    stars: int


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
    addresses: AddressBook
    limits: budget.Limits
    consequences: Consequences
    retries: notification.Retries = notification.RETRIES

    @property
    def longest(self) -> timedelta:
        """How long one look at an effect may take, apart from what it waits for the store."""
        return max(self.mail.time_out + GRACE, GRANT_WITHIN)

    # --- what is due ------------------------------------------------------------------------------

    def drain(
        self, *, report: Callable[[Outcome], None], stop: Callable[[], bool] = lambda: False
    ) -> int:
        """Work on everything that is due until nothing is, or `stop` says so; count what was done.

        What is in somebody else's hands is skipped. So is what cannot be worked on: it holds up
        nothing else, and when everything else is done, its error is raised.

        Raises:
            Unavailable: the store is not there; what was not worked on stays due.
        """
        done, skipped, problems = 0, set[tuple[str, str]](), list[Exception]()
        while True:
            due = [
                entry
                for entry in self.store.views.due(at=self.clock.now(), limit=100 + len(skipped))
                if (entry.work, entry.id) not in skipped
            ]
            if not due:
                break
            for entry in due:
                if stop():
                    return done
                try:
                    outcome = self.work_on(entry)
                except Unavailable:
                    raise
                except Conflict:
                    outcome = Outcome(work=entry.work, id=entry.id)
                except Exception as problem:  # noqa: BLE001  # raised below, after the others
                    problems.append(problem)
                    skipped.add((entry.work, entry.id))
                    continue
                if outcome.result == "nothing_to_do":
                    skipped.add((entry.work, entry.id))
                else:
                    done += 1
                report(outcome)
        if problems:
            raise problems[0]
        return done

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
        outcome, tried = None, 0
        while True:
            try:
                outcome = self.deliver(context, id)
                found = self.store.views.find_notification(id)
            except PortError:
                return outcome
            tried += 1
            due_at = None if found is None else found.due_at
            if outcome.result != "failed" or tried == tries or due_at is None or due_at > until:
                return outcome
            self.clock.sleep(max(0.0, (due_at - self.clock.now()).total_seconds()))

    # --- mails ------------------------------------------------------------------------------------

    def deliver(self, context: Context, id: str) -> Outcome:
        """Take a notification one step further, if one is due: look up, send, or withhold it."""
        step = transact(self.store, self._step(context), lambda tx: self._begin(tx, id))
        if isinstance(step, Outcome):
            return step
        if step.mail is None:
            return self._look_up(context, step)
        return self._send(context, step, step.mail)

    def settle_only(self, context: Context, id: str) -> Outcome:
        """Take a notification one step further as long as nothing is sent: look up, or withhold."""
        step = transact(
            self.store, self._step(context), lambda tx: self._begin(tx, id, may_send=False)
        )
        return step if isinstance(step, Outcome) else self._look_up(context, step)

    def _begin(self, tx: Transaction, id: str, *, may_send: bool = True) -> Outcome | _Call:
        """Settle what needs no call, or announce the call that is to be made."""
        at = self.clock.now()
        events = tx.load(notification.stream(id))
        state = notification_of(events)
        requested = state.requested
        if requested is None:
            return Outcome(work="notification", id=id)
        outcome = Outcome(
            work="notification",
            id=id,
            kind=requested.kind,
            correlation_id=events[0].context.correlation_id,
            causation_id=events[0].context.causation_id,
        )
        step = notification.next_step(state, at=at)
        if step in {"nothing", "wait"} or (step == "send" and not may_send):
            return outcome
        if step == "look_up":
            return _Call(
                outcome=attrs.evolve(outcome, attempt=state.calls),
                newest=events[-1],
                mail=None,
                deadline=at,
                was_forgotten=self._compose(tx, requested) == "erased",
                can_be_resent=not self.mail.has_feedback
                or self._is_heard_of(tx, requested.kind, after=state.deadline or at),
            )
        composed = self._compose(tx, requested) if step == "send" else "expired"
        deadline = at + self.mail.time_out + GRACE
        decided: tuple[notification.Event, ...]
        hindered = isinstance(composed, mails.Mail) and self._hindered(
            tx, state, composed, deadline=deadline, at=at
        )
        if hindered:
            decided = hindered
        elif isinstance(composed, mails.Mail):
            template = mails.TEMPLATES[requested.kind]
            decided = notification.start_attempt(
                state,
                deadline=deadline,
                template_version=template.version,
                template_hash=template.hash,
                at=at,
            )
        elif isinstance(composed, Exception):
            # It cannot be written, now or later: that must not hold up the others.
            decided = notification.give_up(state, error=_text(composed), at=at)
        else:
            rule = f"notification.never_when_{composed}.v1"
            decided = notification.withhold(state, why=composed, rule=rule, at=at)
        appended = tx.append(events[0].stream, version_of(events), decided, cause=events[0])
        is_announced = any(isinstance(e, notification.AttemptStarted) for e in decided)
        if not isinstance(composed, mails.Mail) or not is_announced:
            return _outcome(outcome, appended)
        attempt = attrs.evolve(outcome, attempt=state.calls + 1)
        return _Call(outcome=attempt, newest=appended[-1], mail=composed, deadline=deadline)

    def _is_heard_of(self, tx: Transaction, kind: notification.Kind, *, after: datetime) -> bool:
        """Whether reports come in for the same sender's later mails: the way for them is open."""
        lane_of_it = notification.LANES[kind]
        kinds = [one for one in notification.KINDS if notification.LANES[one] == lane_of_it]
        return tx.views.is_heard_of(kinds, after=after, until=self.clock.now())

    def _hindered(
        self,
        tx: Transaction,
        state: notification.Notification,
        mail: mails.Mail,
        *,
        deadline: datetime,
        at: datetime,
    ) -> tuple[notification.Event, ...]:
        """Say what keeps a mail from being sent now, at the last moment before its call."""
        known = tx.views.find_suppression(self.addresses.fingerprint(mail.recipient))
        if known is not None and known.is_active(at):
            rule = "notification.never_to_the_suppressed.v1"
            return notification.withhold(state, why="suppressed", rule=rule, at=at)
        stream = lane.stream(mail.lane)
        events = tx.load(stream, newest=lane.NEWEST)
        halted = lane_of(events)
        standing = halted.standing(at)
        if standing == "wait":
            until = min(halted.probe_at or at + lane.WAIT, at + lane.WAIT)
            return self._defer(state, until, "lane_halted", lane.RULE, at)
        # In the transaction that announces the call: nobody else takes the same room meanwhile.
        sends = tx.views.sends(since=at - budget.WINDOW)
        if not budget.has_room(mail.kind, usage=sends.usage, limits=self.limits):
            until = budget.look_again(sends.oldest, at=at)
            return self._defer(state, until, "over_budget", budget.RULE, at)
        if standing == "probe":
            id = mail.notification_id
            probed = lane.probe(halted, notification=id, until=deadline, at=at)
            tx.append(stream, version_of(events), probed)
        return ()

    def _defer(
        self,
        state: notification.Notification,
        until: datetime,
        why: notification.Deferral,
        rule: str,
        at: datetime,
    ) -> tuple[notification.Event, ...]:
        return notification.defer(
            state, until=until, why=why, rule=rule, at=at, retries=self.retries
        )

    def _step(self, context: Context) -> Context:
        """Give one step its own command: the steps of one request are not the same command."""
        return attrs.evolve(context, command_id=self.ids.uuid())

    def _compose(
        self, tx: Transaction, requested: notification.Requested
    ) -> mails.Mail | Exception | Literal["erased"]:
        """Write the mail from the history, as it was when it was asked for, or say why not."""
        try:
            write = self._material(tx, requested)
        except Unreadable:
            # A worker of another version can: it stays due.
            raise
        except (Unusable, DomainError, ValueError) as problem:
            return problem
        if write is None:
            return "erased"
        try:
            return write()
        except Exception as problem:  # noqa: BLE001  # nothing but writing is done here
            return problem

    def _material(self, tx: Transaction, requested: notification.Requested) -> _Write | None:
        """Read what a mail is written from; None when it was erased."""
        recipient = None if requested.recipient is None else tx.open(requested.recipient)
        if recipient is not None and recipient.is_erased:
            _check_erased(tx, requested.user)
            return None
        to = "" if recipient is None else recipient.text
        stream, _, version = requested.cause.rpartition("/")
        if requested.kind == "sign_in_code":
            return self._code(requested, to, tx.load(stream, newest=1, until=int(version)))
        about = tx.open_all(ticket_of(tx.load(stream, until=int(version))))
        if about.submitted is not None and about.submitted.submitter_email.is_erased:
            _check_erased(tx, about.submitted.submitter)
            return None
        if requested.kind == "ticket_received":
            return partial(
                mails.ticket_received, self.senders, notification_id=requested.id, ticket=about
            )
        return partial(
            mails.ticket_decided,
            self.senders,
            notification_id=requested.id,
            recipient=to,
            locale=requested.locale,
            ticket=about,
        )

    def _code(
        self, requested: notification.Requested, to: str, cause: Sequence[Recorded]
    ) -> _Write:
        issued = challenges_of(cause).issued
        if issued is None:
            msg = "the event that asked for the code is no challenge"
            raise ValueError(msg)
        return partial(
            mails.sign_in_code,
            self.senders,
            notification_id=requested.id,
            recipient=to,
            locale=requested.locale,
            code=self.codes.code(key_id=issued.key_id, challenge=issued.challenge),
            lifetime=issued.expires_at - issued.at,
        )

    def _look_up(self, context: Context, call: _Call) -> Outcome:
        """Ask the mail port about a call whose outcome nobody knows, and record what it says."""
        attempt = call.outcome.attempt
        try:
            found = self.mail.lookup(call.outcome.id)
        except Exception:  # noqa: BLE001  # an adapter's fault must not stop the others
            found = Found(answer="cannot_tell")

        def decide(
            state: notification.Notification, at: datetime
        ) -> tuple[notification.Event, ...]:
            if found.answer == "accepted":
                return notification.accept(
                    state,
                    attempt=attempt,
                    message_id=found.message_id or call.outcome.id,
                    how="lookup",
                    at=at,
                )
            if found.answer == "not_accepted" and not call.was_forgotten:
                return self._failed(attempt, "transient", NOT_SENT)(state, at)
            if state.call_open:
                return self._lost(attempt, NO_ANSWER)(state, at)
            return notification.settle_unknown(
                state,
                can_be_resent=call.can_be_resent,
                wait=max(self.settle, _WAIT_LEAST),
                at=at,
                retries=self.retries,
            )

        appended = self._record(context, call.newest, decide)
        return _outcome(
            call.outcome if appended else attrs.evolve(call.outcome, attempt=0), appended
        )

    def _send(self, context: Context, call: _Call, mail: mails.Mail) -> Outcome:
        """Make the announced call, and record its outcome."""
        attempt = call.outcome.attempt
        decide: _Decide
        halted: AccountHalted | None = None
        if self.clock.now() + self.mail.time_out > call.deadline:
            # Whoever looks at it after the deadline takes the call for ended: it must not be made
            # any more (this process stood still, or announcing the call took too long). No call,
            # no attempt: it takes none away.
            decide = self._failed(attempt, "not_called", "too late: the call was not made")
            return _outcome(call.outcome, self._record(context, call.newest, decide))
        try:
            message_id = self.mail.send(mail)
        except MailOutcomeUnknown as problem:
            decide = self._lost(attempt, _text(problem))
        except MailRefused as problem:
            decide = self._failed(attempt, "permanent", _text(problem))
        except AccountHalted as problem:
            decide, halted = self._failed(attempt, "account", _text(problem)), problem
        except MailNotSent as problem:
            decide = self._failed(attempt, "transient", _text(problem))
        except Exception as problem:  # noqa: BLE001  # an adapter's fault must not stop the others
            decide = self._lost(attempt, f"the mail adapter failed: {type(problem).__name__}")
        else:
            decide = _accepted(attempt, message_id)
        return _outcome(call.outcome, self._record(context, call.newest, decide, halted))

    def _lost(self, attempt: int, why: str) -> _Decide:
        return lambda state, at: notification.lose_track(
            state, attempt=attempt, why=why, settle=self.settle, at=at, retries=self.retries
        )

    def _failed(self, attempt: int, error_class: notification.ErrorClass, error: str) -> _Decide:
        return lambda state, at: notification.fail(
            state,
            attempt=attempt,
            error_class=error_class,
            error=error,
            at=at,
            retries=self.retries,
        )

    def _record(
        self,
        context: Context,
        newest: Recorded,
        decide: _Decide,
        halted: AccountHalted | None = None,
    ) -> tuple[Recorded, ...]:
        """Record an outcome, and try again while the store is busy: what was sent was sent."""

        def work(tx: Transaction) -> tuple[Recorded, ...]:
            events, at = tx.load(newest.stream), self.clock.now()
            state = notification_of(events)
            decided = decide(state, at)
            appended = append_with_reports(tx, events, decided, cause=newest, at=at)
            if halted is not None:
                whole = isinstance(halted, WholeAccountHalted)
                halt_after(tx, [*events, *appended], whole=whole, error=_text(halted), at=at)
            self.consequences.follow(tx, state, appended)
            return appended

        tries = 0
        while True:
            try:
                return transact(self.store, self._step(context), work)
            except Unavailable:
                tries += 1
                if tries == _RECORD_TRIES:
                    raise
                self.clock.sleep(0.2)

    # --- grants -----------------------------------------------------------------------------------

    def carry_out(self, context: Context, id: str) -> Outcome:
        """Take a grant one step further, if one is due."""
        stream = grant.stream(id)
        step = transact(self.store, self._step(context), lambda tx: self._begin_grant(tx, id))
        if isinstance(step, Outcome):
            return step
        attempt = step.outcome.attempt
        error: GrantError | None = None
        try:
            self._grant(step)
        except GrantError as problem:
            error = problem
        except Exception as problem:  # noqa: BLE001  # an adapter's fault must not stop the others
            error = GrantError(_text(problem), permanent=False)

        def work(tx: Transaction) -> tuple[Recorded, ...]:
            events = tx.load(stream)
            state, at = grant_of(events), self.clock.now()
            decided = (
                grant.carry_out(state, attempt=attempt, at=at)
                if error is None
                else grant.fail(
                    state, attempt=attempt, error=_text(error), permanent=error.permanent, at=at
                )
            )
            return tx.append(stream, version_of(events), decided, cause=step.started)

        return _outcome(step.outcome, transact(self.store, self._step(context), work))

    def _begin_grant(self, tx: Transaction, id: str) -> Outcome | _Change:
        """Settle what needs no change, or announce the change that is to be made."""
        stream = grant.stream(id)
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
            causation_id=events[0].context.causation_id,
        )
        decided = grant.start_attempt(state, deadline=at + GRANT_WITHIN, at=at)
        submitted = tx.open_all(ticket_of(tx.load(ticket.stream(requested.ticket)))).submitted
        if submitted is None or _is_erased(tx, requested, submitted):
            decided = grant.withhold(state, at=at) if decided else ()
        appended = tx.append(stream, version_of(events), decided, cause=events[0])
        if submitted is None or not any(isinstance(e, grant.AttemptStarted) for e in decided):
            return _outcome(outcome, appended)
        return _Change(
            outcome=attrs.evolve(outcome, attempt=state.calls + 1),
            started=appended[-1],
            requested=requested,
            submitted=submitted,
            stars=tx.views.approved_stars(requested.user),
        )

    def _grant(self, change: _Change) -> None:
        """Make the change; the ports do it once for one id, however often they are asked."""
        requested, submitted = change.requested, change.submitted
        organization_id = requested.organization_id or ""
        # The ticket's UUID, because its number comes again after a backup is restored.
        key = f"{submitted.id}-{requested.kind}"
        match requested.kind:
            case "organization" if requested.create:
                self.directory.create(
                    grant_id=key,
                    id=organization_id,
                    name=submitted.organization_name.text,
                    manager=requested.user,
                )
            case "organization":
                self.directory.add_manager(grant_id=key, id=organization_id, manager=requested.user)
            case "manager":
                self.identity.join_managers(grant_id=key, user=requested.user)
            case "feedback":
                self.directory.publish_feedback(
                    grant_id=key,
                    id=submitted.id,
                    feedback={
                        "organization_id": organization_id,
                        "stars": submitted.feedback_stars,
                        "label_ids": list(submitted.feedback_label_ids),
                        "text": submitted.feedback_text and submitted.feedback_text.text,
                    },
                )
            case "stars":
                self.directory.set_stars(grant_id=key, user=requested.user, stars=change.stars)
            case never:
                assert_never(never)


def _accepted(attempt: int, message_id: str) -> _Decide:
    return lambda state, at: notification.accept(
        state, attempt=attempt, message_id=message_id, how="call", at=at
    )


def _is_erased(tx: Transaction, requested: grant.Requested, submitted: ticket.Submitted) -> bool:
    """Whether a change is for nobody any more: its submitter, or who would be starred or manage."""
    if submitted.submitter_email.is_erased:
        _check_erased(tx, submitted.submitter)
        return True
    return requested.user == submitted.submitter and _is_gone(tx, requested.user)


def _check_erased(tx: Transaction, user: str | None) -> None:
    """Tell what was erased from what nobody can open because its key got lost.

    Raises:
        Unreadable: the key is missing, and the person was not erased: it stays due.
    """
    if user is not None and not _is_gone(tx, user):
        raise Unreadable(
            f"a key of {user} is missing, and they were not erased; "
            "put the keys back, with the database or the import that they belong to"
        )


def _is_gone(tx: Transaction, user: str) -> bool:
    found = tx.views.find_person(user)
    return found is not None and found.erased


def _text(error: Exception) -> str:
    """Say what went wrong; of an error that nobody foresaw only its name, as it may be personal."""
    if isinstance(error, PortError | DomainError):
        return fields.one_line(str(error))[:_ERROR_MOST]
    return f"{OUR_FAULT}: {type(error).__name__}"


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
            error_class=getattr(event, "error_class", outcome.error_class),
            error=getattr(event, "error", None) or outcome.error or getattr(event, "why", None),
        )
    return outcome
