"""A notification: one mail that one event asked for, and all that happened to it.

Stream `notification-<hash>`, the hash of the cause, the kind, and what it is about: asking twice is
a no-op.

    Requested -> AttemptStarted -> Accepted | Failed | Refused | OutcomeUnknown
    Accepted -> Delivered | Delayed | Bounced | Complained          (feedback, in any order)
    Deferred (later), Withheld (never), DeadLettered (given up), Redriven (again), Discarded
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, assert_never, get_args

import attrs

from siutindei.domain.due import is_due
from siutindei.domain.errors import Refused as RefusedByRule
from siutindei.domain.personal import Personal

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "notification"
Kind = Literal["sign_in_code", "ticket_received", "ticket_decided"]
Lane = Literal["codes", "tickets"]
Status = Literal[
    "none",
    "requested",
    "attempting",
    "accepted",
    "failed",
    "refused",
    "unknown",
    "deferred",
    "withheld",
    "dead_lettered",
    "delivered",
    "delayed",
    "bounced",
    "complained",
]
#: Why an attempt failed: worth another try; wrong for this message for good; a matter of the
#: account, which halts the lane; or the call was not made. The last two take no attempt away.
ErrorClass = Literal["transient", "permanent", "account", "not_called"]
Deferral = Literal["over_budget", "lane_halted", "settling"]
Withholding = Literal["suppressed", "expired", "erased"]
DeadLetterReason = Literal["attempts_exhausted", "permanent_error", "receives_exhausted"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
STATUSES: Final[tuple[Status, ...]] = tuple(s for s in get_args(Status) if s != "none")
LANES: Final[Mapping[Kind, Lane]] = {
    "sign_in_code": "codes",
    "ticket_received": "tickets",
    "ticket_decided": "tickets",
}
#: What a failure says that is decided and not known.
STILL_UNKNOWN: Final = "the outcome was still unknown after the settle time"
ATTEMPTS: Final = 3
ATTEMPTS_RULE: Final = f"notification.{ATTEMPTS}_attempts.v1"
#: How long to wait after the first and after the second failure, before jitter.
BACKOFF: Final[Mapping[Kind, tuple[timedelta, ...]]] = {
    # A code that was not sent is tried again at once: somebody is waiting for it.
    "sign_in_code": (timedelta(milliseconds=200), timedelta(seconds=10)),
    "ticket_received": (timedelta(seconds=30), timedelta(seconds=120)),
    "ticket_decided": (timedelta(seconds=30), timedelta(seconds=120)),
}
#: How often one looks whether a mail that waits, and that somebody waits for, can go.
LOOK: Final = timedelta(seconds=30)
#: May be mailed again when nobody can tell whether it was sent, after the settle time.
RESENT_AFTER_UNKNOWN: Final[Mapping[Kind, bool]] = {
    "sign_in_code": False,
    "ticket_received": True,
    "ticket_decided": True,
}


@attrs.frozen(kw_only=True)
class Retries:
    """When a mail is tried again.

    Attributes:
        attempts: calls until it is given up.
        backoff: how long to wait after the first failure, the second, and so on, before jitter.
        resent_after_unknown: whether it goes again when nobody can tell whether it was sent.
        look: how often one looks whether a mail can go that is of no use after a while.
    """

    attempts: int = ATTEMPTS
    backoff: Mapping[Kind, tuple[timedelta, ...]] = BACKOFF
    resent_after_unknown: Mapping[Kind, bool] = RESENT_AFTER_UNKNOWN
    look: timedelta = LOOK


RETRIES: Final = Retries()


def notification_id(cause: str, kind: Kind, *, about: str) -> str:
    """Derive the id from the event that asked for the mail, the kind, and what it is about.

    Args:
        cause: the event's id, `<stream>/<version>`.
        kind: the kind of mail.
        about: the ticket's UUID or the challenge's id. Numbers come again after a backup is
            restored, these do not: a mail port must not take a new mail for an old one.
    """
    return hashlib.sha256(f"{kind} {cause} {about}".encode()).hexdigest()[:32]


def stream(id: str) -> str:
    """Name the stream of one notification."""
    return f"{CATEGORY}-{id}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Requested:
    """An event asked for a mail; `recipient` is None for the support mailbox."""

    id: str
    kind: Kind
    cause: str
    #: The reference of the ticket that it is about.
    ticket: str | None = None
    #: The challenge whose code it carries.
    challenge: str | None = None
    user: str | None = None
    recipient: Personal | None = None
    fingerprint: str | None = None
    locale: str | None = None
    template: str
    template_version: int
    template_hash: str
    expires_at: datetime | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class AttemptStarted:
    """A call to the mail port is about to be made; until the deadline nobody else touches it."""

    attempt: int
    deadline: datetime
    #: What the mail is written from, when that is not what was requested (a newer version).
    template_version: int = 0
    template_hash: str = ""
    at: datetime


@attrs.frozen(kw_only=True)
class Accepted:
    """The mail port took the mail and gave it an id; `how` says who told us."""

    attempt: int
    message_id: str
    how: Literal["call", "lookup", "feedback"] = "call"
    at: datetime


@attrs.frozen(kw_only=True)
class Failed:
    """The attempt did not send, as far as is known for sure; `retry_at` is when it may go again."""

    attempt: int
    error_class: ErrorClass
    error: str
    retry_at: datetime | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Refused:
    """The mail port will never take this message; attempt 0 means that it could not be written."""

    attempt: int
    error: str
    at: datetime


@attrs.frozen(kw_only=True)
class OutcomeUnknown:
    """The attempt may have sent the mail or not; it is left to feedback until `settle_at`.

    `settle_at` is None for a mail that is never sent again after an unknown outcome: a code.
    """

    attempt: int
    why: str
    settle_at: datetime | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Delivered:
    """Feedback: the receiving server took it."""

    feedback_id: str
    at: datetime


@attrs.frozen(kw_only=True)
class Delayed:
    """Feedback: the receiving server has not taken it yet."""

    feedback_id: str
    delay_type: str
    at: datetime


@attrs.frozen(kw_only=True)
class Bounced:
    """Feedback: the receiving server refused it."""

    feedback_id: str
    bounce_type: str
    bounce_subtype: str
    status: str | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Complained:
    """Feedback: the receiver calls it unwanted."""

    feedback_id: str
    complaint_type: str | None = None
    complaint_subtype: str | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Deferred:
    """Not now: no attempt is burnt and nothing is lost."""

    until: datetime
    why: Deferral
    rule: str
    at: datetime


@attrs.frozen(kw_only=True)
class Withheld:
    """Never: it would be wrong to send it."""

    why: Withholding
    rule: str
    at: datetime


@attrs.frozen(kw_only=True)
class DeadLettered:
    """Given up until a person looks at it."""

    why: DeadLetterReason
    rule: str = ATTEMPTS_RULE
    at: datetime


@attrs.frozen(kw_only=True)
class Redriven:
    """A person gave it three more attempts."""

    by: str
    at: datetime


@attrs.frozen(kw_only=True)
class Discarded:
    """A person decided that it is not to be sent any more; the reason is their text."""

    by: str
    reason: Personal
    at: datetime


Feedback = Delivered | Delayed | Bounced | Complained
Event = (
    Requested
    | AttemptStarted
    | Accepted
    | Failed
    | Refused
    | OutcomeUnknown
    | Feedback
    | Deferred
    | Withheld
    | DeadLettered
    | Redriven
    | Discarded
)

EVENTS: Final[dict[str, type]] = {
    "notification.requested.v1": Requested,
    "notification.attempt_started.v1": AttemptStarted,
    "notification.accepted.v1": Accepted,
    "notification.failed.v1": Failed,
    "notification.refused.v1": Refused,
    "notification.outcome_unknown.v1": OutcomeUnknown,
    "notification.delivered.v1": Delivered,
    "notification.delayed.v1": Delayed,
    "notification.bounced.v1": Bounced,
    "notification.complained.v1": Complained,
    "notification.deferred.v1": Deferred,
    "notification.withheld.v1": Withheld,
    "notification.dead_lettered.v1": DeadLettered,
    "notification.redriven.v1": Redriven,
    "notification.discarded.v1": Discarded,
}

# --- state ---------------------------------------------------------------------------------------

#: Feedback outranks what the call said, and among feedback the worse news wins, whatever the order.
_RANK: Final[Mapping[Status, int]] = {
    "accepted": 0,
    "delayed": 1,
    "delivered": 2,
    "bounced": 3,
    "complained": 4,
}
#: A mail in one of these may turn out to be rejected after it was taken.
_UNTIL_REJECTED: Final[frozenset[Status]] = frozenset({"attempting", "unknown", "accepted"})


@attrs.frozen(kw_only=True)
class Notification:
    """A notification as it stands.

    Attributes:
        requested: what was asked for.
        status: the newest word on it; feedback is merged so that order and repeats do not matter.
        attempts: calls that were started since it was asked for or last redriven.
        calls: calls that were started, ever.
        call_open: whether the newest call has no outcome yet.
        maybe_sent: whether a call that ended may have sent it: it was accepted, feedback came, or
            its outcome was unknown once, whatever was decided after the settle time.
        deadline: until when the open call is nobody else's.
        due_at: when somebody should look at it again; None when there is nothing to do.
        message_ids: what the mail port called the mail, one for each call that it took.
        first_error: the first thing that went wrong.
        last_error: the newest thing that went wrong.
        feedback: every piece of feedback by its id, contradictions included.
        discarded: whether a person decided that it is not to be sent any more.
    """

    requested: Requested | None = None
    status: Status = "none"
    attempts: int = 0
    calls: int = 0
    call_open: bool = False
    maybe_sent: bool = False
    deadline: datetime | None = None
    due_at: datetime | None = None
    message_ids: tuple[str, ...] = ()
    accepted_at: datetime | None = None
    first_error: str | None = None
    last_error: str | None = None
    why: str | None = None
    feedback: tuple[str, ...] = ()
    discarded: bool = False

    @property
    def exists(self) -> bool:
        """Whether it was ever asked for."""
        return self.requested is not None

    @property
    def message_id(self) -> str | None:
        """What the mail port called the mail that it took last."""
        return self.message_ids[-1] if self.message_ids else None

    @property
    def is_final(self) -> bool:
        """Whether no call will follow unless a person asks for it."""
        return self.due_at is None


INITIAL: Final = Notification()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Notification, event: Event) -> Notification:
    """Fold one fact."""
    match event:
        case Requested():
            return attrs.evolve(state, requested=event, status="requested", due_at=event.at)
        case AttemptStarted():
            return attrs.evolve(
                state,
                status="attempting",
                attempts=state.attempts + 1,
                calls=state.calls + 1,
                call_open=True,
                deadline=event.deadline,
                due_at=event.deadline,
            )
        case Accepted():
            return attrs.evolve(
                state,
                status=_join(state.status, "accepted"),
                call_open=False,
                maybe_sent=True,
                due_at=None,
                message_ids=(*state.message_ids, event.message_id),
                accepted_at=event.at,
            )
        case Failed():
            return attrs.evolve(
                _with_error(state, event.error),
                status=_unless_fed_back(state, "failed"),
                # Not the message's fault: it takes no attempt away.
                attempts=state.attempts - (event.error_class in {"account", "not_called"}),
                call_open=False,
                due_at=None if _is_fed_back(state) else event.retry_at,
            )
        case Refused():
            return attrs.evolve(
                _with_error(state, event.error),
                status=_unless_fed_back(state, "refused"),
                call_open=False,
                due_at=None,
            )
        case OutcomeUnknown():
            return attrs.evolve(
                _with_error(state, event.why),
                status=_unless_fed_back(state, "unknown"),
                call_open=False,
                maybe_sent=True,
                due_at=None if _is_fed_back(state) else event.settle_at,
            )
        case Delivered():
            return _fed_back(state, "delivered", event.feedback_id)
        case Delayed():
            return _fed_back(state, "delayed", event.feedback_id)
        case Bounced():
            return _fed_back(state, "bounced", event.feedback_id)
        case Complained():
            return _fed_back(state, "complained", event.feedback_id)
        case Deferred():
            # An unknown outcome stays unknown while it waits.
            word: Status = "unknown" if event.why == "settling" else "deferred"
            return attrs.evolve(state, status=word, why=event.why, due_at=event.until)
        case Withheld():
            return attrs.evolve(state, status="withheld", why=event.why, due_at=None)
        case DeadLettered():
            return attrs.evolve(state, status="dead_lettered", why=event.why, due_at=None)
        case Redriven():
            return attrs.evolve(state, status="requested", attempts=0, due_at=event.at)
        case Discarded():
            return attrs.evolve(state, discarded=True, due_at=None)
        case _:
            assert_never(event)


def _with_error(state: Notification, error: str) -> Notification:
    return attrs.evolve(state, first_error=state.first_error or error, last_error=error)


def _is_fed_back(state: Notification) -> bool:
    return bool(state.feedback)


def _unless_fed_back(state: Notification, status: Status) -> Status:
    return state.status if _is_fed_back(state) else status


def _join(one: Status, other: Status) -> Status:
    return max(one, other, key=lambda status: _RANK.get(status, -1))


def _fed_back(state: Notification, status: Status, feedback_id: str) -> Notification:
    """Merge feedback: it settles the call, whoever told what before."""
    return attrs.evolve(
        state,
        status=_join(state.status, status),
        feedback=tuple(sorted({*state.feedback, feedback_id})),
        call_open=False,
        maybe_sent=True,
        due_at=None,
    )


# --- decisions -----------------------------------------------------------------------------------


def request(notification: Notification, requested: Requested) -> tuple[Event, ...]:
    """Ask for the mail; quiet when it was asked for before."""
    return () if notification.exists else (requested,)


Step = Literal["nothing", "wait", "look_up", "send", "expire"]


def next_step(notification: Notification, *, at: datetime) -> Step:
    """Say what whoever works on it should do now.

    `look_up` asks the mail port whether the newest call sent it; `expire` withholds a code whose
    time is over.
    """
    if notification.due_at is None:
        return "nothing"
    if not is_due(notification.due_at, at=at):
        return "wait"
    if notification.call_open or notification.status == "unknown":
        return "look_up"
    return "expire" if is_expired(notification, at=at) else "send"


def is_expired(notification: Notification, *, at: datetime) -> bool:
    """Whether the mail is of no use any more."""
    requested = notification.requested
    return requested is not None and requested.expires_at is not None and at >= requested.expires_at


def start_attempt(
    notification: Notification,
    *,
    deadline: datetime,
    template_version: int,
    template_hash: str,
    at: datetime,
) -> tuple[Event, ...]:
    """Announce a call; quiet unless the next step is to send.

    The template that the mail is written from is named when it is not the one that was requested.
    """
    requested = notification.requested
    if requested is None or next_step(notification, at=at) != "send":
        return ()
    same = requested.template_hash == template_hash
    return (
        AttemptStarted(
            attempt=notification.calls + 1,
            deadline=deadline,
            template_version=0 if same else template_version,
            template_hash="" if same else template_hash,
            at=at,
        ),
    )


def accept(
    notification: Notification,
    *,
    attempt: int,
    message_id: str,
    how: Literal["call", "lookup", "feedback"],
    at: datetime,
) -> tuple[Event, ...]:
    """Record that the mail was taken; quiet when that is known, and of a call that was never made.

    (What is heard by feedback may be of a call that a restored backup does not know of.)
    """
    was_made = how == "feedback" or 1 <= attempt <= notification.calls
    if message_id in notification.message_ids or not was_made:
        return ()
    return (Accepted(attempt=attempt, message_id=message_id, how=how, at=at),)


def fail(
    notification: Notification,
    *,
    attempt: int,
    error_class: ErrorClass,
    error: str,
    at: datetime,
    retries: Retries = RETRIES,
) -> tuple[Event, ...]:
    """Record a call that surely sent nothing; the third one gives the mail up.

    Quiet when the call has another outcome by now. A permanent error gives it up at once. An error
    of the account, or a call that was not made, is not the message's fault: it never gives it up.
    """
    if attempt != notification.calls or not _is_unsettled(notification):
        return ()
    if error_class == "permanent":
        return (
            Refused(attempt=attempt, error=error, at=at),
            DeadLettered(why="permanent_error", at=at),
        )
    if error_class == "transient" and notification.attempts >= retries.attempts:
        rule = f"notification.{retries.attempts}_attempts.v1"
        return (
            Failed(attempt=attempt, error_class=error_class, error=error, at=at),
            DeadLettered(why="attempts_exhausted", rule=rule, at=at),
        )
    return (
        Failed(
            attempt=attempt,
            error_class=error_class,
            error=error,
            retry_at=at + backoff(notification, error_class, retries=retries),
            at=at,
        ),
    )


def backoff(
    notification: Notification,
    error_class: ErrorClass = "transient",
    *,
    retries: Retries = RETRIES,
) -> timedelta:
    """Say how long to wait after the newest failure, with up to a quarter of jitter from the id.

    The jitter spreads mails that failed together, and is the same at every replay. An account that
    takes no mail does not take it a moment later: it is given the longest wait.
    """
    if notification.requested is None:
        msg = "a back-off needs a notification that exists"
        raise ValueError(msg)
    steps = retries.backoff[notification.requested.kind]
    failures = len(steps) if error_class == "account" else notification.attempts
    base = steps[min(failures, len(steps)) - 1]
    spread = int(notification.requested.id[:4], 16) / 0xFFFF
    return base + base * spread / 4


def lose_track(
    notification: Notification,
    *,
    attempt: int,
    why: str,
    settle: timedelta,
    at: datetime,
    retries: Retries = RETRIES,
) -> tuple[Event, ...]:
    """Record that nobody can tell whether the call sent it; quiet when it has an outcome.

    What is never sent again after an unknown outcome has no settle time.
    """
    requested = notification.requested
    if requested is None or attempt != notification.calls or not notification.call_open:
        return ()
    settle_at = at + settle if retries.resent_after_unknown[requested.kind] else None
    return (OutcomeUnknown(attempt=attempt, why=why, settle_at=settle_at, at=at),)


def settle_unknown(
    notification: Notification,
    *,
    can_be_resent: bool,
    wait: timedelta,
    at: datetime,
    retries: Retries = RETRIES,
) -> tuple[Event, ...]:
    """Decide what follows when the settle time is over and still nobody can tell.

    It goes again when `can_be_resent` (the feedback path is alive, or there is none); otherwise it
    waits on.
    """
    due_at = notification.due_at
    if notification.status != "unknown" or due_at is None or not is_due(due_at, at=at):
        return ()
    if not can_be_resent:
        rule = "notification.settled_by_feedback.v1"
        return (Deferred(until=at + wait, why="settling", rule=rule, at=at),)
    return fail(
        notification,
        attempt=notification.calls,
        error_class="transient",
        error=STILL_UNKNOWN,
        at=at,
        retries=retries,
    )


def hear(
    notification: Notification, *, message_id: str, heard: Feedback | None = None, at: datetime
) -> tuple[Event, ...]:
    """Record what is reported of a mail: that it was taken and, if anything, what became of it.

    Quiet when that is known. Reports come in any order, twice, and before the call's own answer:
    whatever is reported of a mail says that it was taken, under that id ("" when it names none).
    """
    accepted = _taken(notification, message_id, at=at)
    if heard is None or heard.feedback_id in notification.feedback:
        return accepted
    return (*accepted, heard)


def reject(
    notification: Notification, *, message_id: str, error: str, at: datetime
) -> tuple[Event, ...]:
    """Record that a mail which was taken is not sent after all: it becomes a dead letter.

    Quiet when that is known, and when it is said of an earlier call than the newest.
    """
    accepted = _taken(notification, message_id, at=at)
    # Of a newer call nobody knows under which id it was taken, if it was.
    is_newest = not notification.call_open and notification.status != "unknown"
    newest = accepted or (notification.message_id == message_id and is_newest)
    if not newest or notification.status not in _UNTIL_REJECTED:
        return ()
    return (
        *accepted,
        Refused(attempt=notification.calls, error=error, at=at),
        DeadLettered(why="permanent_error", at=at),
    )


def _taken(notification: Notification, message_id: str, *, at: datetime) -> tuple[Event, ...]:
    """Record that a report says under which id the mail was taken, if it says so."""
    if not message_id:
        return ()
    attempt = notification.calls
    return accept(notification, attempt=attempt, message_id=message_id, how="feedback", at=at)


def exhaust_receives(notification: Notification, *, at: datetime) -> tuple[Event, ...]:
    """Give up what nobody could even begin: every message about it came to nothing.

    Quiet unless the next step is to send it.
    """
    if next_step(notification, at=at) != "send":
        return ()
    return (DeadLettered(why="receives_exhausted", at=at),)


def give_up(notification: Notification, *, error: str, at: datetime) -> tuple[Event, ...]:
    """Record that the mail cannot even be written; quiet unless the next step is to send it."""
    if next_step(notification, at=at) != "send":
        return ()
    return (Refused(attempt=0, error=error, at=at), DeadLettered(why="permanent_error", at=at))


def _is_unsettled(notification: Notification) -> bool:
    return notification.call_open or notification.status == "unknown"


def withhold(
    notification: Notification, *, why: Withholding, rule: str, at: datetime
) -> tuple[Event, ...]:
    """Decide that it is never sent; quiet when nothing would have been sent anyway."""
    if notification.is_final or notification.call_open:
        return ()
    return (Withheld(why=why, rule=rule, at=at),)


def defer(
    notification: Notification,
    *,
    until: datetime,
    why: Deferral,
    rule: str,
    at: datetime,
    retries: Retries = RETRIES,
) -> tuple[Event, ...]:
    """Put it off: no attempt is burnt, and nothing is lost; quiet unless it would be sent now.

    What is of no use after a while is looked at every `retries.look`, and in the end withheld.
    """
    if notification.requested is None or next_step(notification, at=at) != "send":
        return ()
    expires_at = notification.requested.expires_at
    until = until if expires_at is None else min(until, expires_at, at + retries.look)
    return (Deferred(until=until, why=why, rule=rule, at=at),)


def redrive(notification: Notification, *, by: str, at: datetime) -> tuple[Event, ...]:
    """Give a dead letter three more attempts.

    Raises:
        NotADeadLetter: it is none (any more).
    """
    _require_dead_letter(notification)
    return (Redriven(by=by, at=at),)


def discard(
    notification: Notification, *, by: str, reason: Personal, at: datetime
) -> tuple[Event, ...]:
    """Close a dead letter without sending it.

    Raises:
        NotADeadLetter: it is none (any more).
    """
    _require_dead_letter(notification)
    return (Discarded(by=by, reason=reason, at=at),)


def _require_dead_letter(notification: Notification) -> None:
    if notification.status != "dead_lettered" or notification.discarded:
        raise NotADeadLetter(
            notification.requested.id if notification.requested else "",
            "discarded" if notification.discarded else notification.status,
        )


# --- errors --------------------------------------------------------------------------------------


class NotADeadLetter(RefusedByRule):
    """Only a dead letter can be redriven or discarded."""

    def __init__(self, id: str, status: str) -> None:
        super().__init__(f"notification {id} is {status}, not a dead letter")
