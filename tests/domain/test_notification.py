"""A notification: one mail, its calls, its feedback, and who gives it up."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from itertools import permutations
from typing import Any, Final

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

from siutindei.domain import notification
from siutindei.domain.personal import of
from tests import strategies
from tests.support import START, Then, given

JUST: Final = timedelta(microseconds=1)
TEMPLATE_HASH: Final = "0" * 64
DEADLINE: Final = START + timedelta(seconds=10)
SETTLE: Final = timedelta(seconds=900)
CAUSE: Final = "ticket-R00001/2"
ID: Final = notification.notification_id(CAUSE, "ticket_decided", about="x")
REQUESTED: Final = notification.Requested(
    id=ID,
    kind="ticket_decided",
    cause=CAUSE,
    ticket="R00001",
    user="ann",
    recipient=of("ann", "ann@example.com"),
    fingerprint="f",
    template="ticket_decided",
    template_version=1,
    template_hash=TEMPLATE_HASH,
    at=START,
)
CODE: Final = attrs.evolve(
    REQUESTED,
    kind="sign_in_code",
    cause="challenge-console-f/1",
    id=notification.notification_id("challenge-console-f/1", "sign_in_code", about="x"),
    ticket=None,
    challenge="c1",
    expires_at=START + timedelta(seconds=300),
)
#: An id that is spread by nothing, and one that is spread as far as can be.
SOON: Final = attrs.evolve(REQUESTED, id="0" * 32)
LATE: Final = attrs.evolve(REQUESTED, id="f" * 32)

DELIVERED: Final = notification.Delivered(feedback_id="d", at=START)
DELAYED: Final = notification.Delayed(feedback_id="y", delay_type="MailboxFull", at=START)
BOUNCED: Final = notification.Bounced(
    feedback_id="b", bounce_type="Permanent", bounce_subtype="General", at=START
)
COMPLAINED: Final = notification.Complained(feedback_id="c", at=START)
FEEDBACK: Final = (DELIVERED, DELAYED, BOUNCED, COMPLAINED)
WITHHELD: Final = notification.Withheld(why="suppressed", rule="rule.v1", at=START)
REDRIVEN: Final = notification.Redriven(by="bob", at=START)
DISCARDED: Final = notification.Discarded(by="bob", reason=of("bob", "no use"), at=START)


def started(attempt: int = 1, at: datetime = START) -> notification.AttemptStarted:
    """Make a call that was announced."""
    return notification.AttemptStarted(attempt=attempt, deadline=at + (DEADLINE - START), at=at)


def accepted(attempt: int = 1, how: Any = "call", at: datetime = START) -> notification.Accepted:
    """Make a call that was taken."""
    return notification.Accepted(attempt=attempt, message_id=f"ses-{attempt}", how=how, at=at)


def failed(attempt: int = 1, error_class: Any = "transient", **times: Any) -> notification.Failed:
    """Make a call that failed."""
    return notification.Failed(
        attempt=attempt, error_class=error_class, error="no", **({"at": START} | times)
    )


def unknown(attempt: int = 1, settle_at: datetime | None = None) -> notification.OutcomeUnknown:
    """Make a call of which nobody knows."""
    return notification.OutcomeUnknown(
        attempt=attempt, why="no answer", settle_at=settle_at, at=START
    )


def dead(why: Any = "attempts_exhausted") -> notification.DeadLettered:
    """Make a mail that was given up."""
    return notification.DeadLettered(why=why, at=START)


REFUSED: Final = notification.Refused(attempt=1, error="no", at=START)
#: Two calls that surely sent nothing, and the third under way.
THIRD: Final = (
    *(SOON, started(1), failed(1, retry_at=START)),
    *(started(2), failed(2, retry_at=START), started(3)),
)
DEAD: Final = (*THIRD, failed(3), dead())
UNKNOWN: Final = (SOON, started(), unknown(settle_at=START + SETTLE))


def state_of(*history: Any) -> notification.Notification:
    """Fold a history."""
    state = given(notification, *history).state
    assert isinstance(state, notification.Notification)
    return state


def start(*history: Any, at: datetime = START) -> Then:
    """Announce a call after a history."""
    deadline = at + (DEADLINE - START)
    return given(notification, *history).when(
        notification.start_attempt,
        deadline=deadline,
        template_version=1,
        template_hash=TEMPLATE_HASH,
        at=at,
    )


def accept(*history: Any, attempt: int = 1, how: Any = "call") -> Then:
    """Say that a call was taken."""
    return given(notification, *history).when(
        notification.accept, attempt=attempt, message_id=f"ses-{attempt}", how=how, at=START
    )


def fail(*history: Any, attempt: int = 1, error_class: Any = "transient") -> Then:
    """Say that a call failed."""
    return given(notification, *history).when(
        notification.fail, attempt=attempt, error_class=error_class, error="no", at=START
    )


def lose_track(*history: Any, attempt: int = 1) -> Then:
    """Say that nobody knows of a call."""
    return given(notification, *history).when(
        notification.lose_track, attempt=attempt, why="no answer", settle=SETTLE, at=START
    )


def settle(*history: Any, can_be_resent: bool = True, at: datetime = START + SETTLE) -> Then:
    """Decide when the settle time is over."""
    return given(notification, *history).when(
        notification.settle_unknown, can_be_resent=can_be_resent, wait=SETTLE, at=at
    )


def withhold(*history: Any) -> Then:
    """Withhold it."""
    return given(notification, *history).when(
        notification.withhold, why="suppressed", rule="rule.v1", at=START
    )


def give_up(*history: Any, at: datetime = START) -> Then:
    """Say that it cannot be written."""
    return given(notification, *history).when(
        notification.give_up, error="cannot be written", at=at
    )


def redrive(*history: Any) -> Then:
    """Redrive it."""
    return given(notification, *history).when(notification.redrive, by="bob", at=START)


def discard(*history: Any) -> Then:
    """Discard it."""
    return given(notification, *history).when(
        notification.discard, by="bob", reason=of("bob", "no use"), at=START
    )


# --- asking --------------------------------------------------------------------------------------


def test_the_id_follows_from_cause_and_kind() -> None:
    """The same cause and kind are the same mail; another cause or kind is another one."""
    ids = {
        notification.notification_id(cause, kind, about=about)
        for cause in ("ticket-R00001/1", "ticket-R00001/2", "ticket-R0000/11")
        for kind in notification.KINDS
        for about in ("before the restore", "after it")
    }

    assert 18 == len(ids)
    assert {32} == {len(id) for id in ids}
    assert "ffcacbab979879bfbe3017936a1ac668" == notification.notification_id(
        "ticket-R00001/1", "ticket_received", about="x"
    )
    assert f"notification-{ID}" == notification.stream(ID)


def test_a_mail_is_asked_for() -> None:
    """What nobody asked for is asked for, and is due at once."""
    given(notification).when(notification.request, requested=REQUESTED).then(REQUESTED)

    assert ("requested", START, True) == (
        state_of(REQUESTED).status,
        state_of(REQUESTED).due_at,
        state_of(REQUESTED).exists,
    )


@pytest.mark.parametrize("history", [(REQUESTED,), DEAD, (REQUESTED, WITHHELD)])
def test_asking_twice_is_quiet(history: tuple[Any, ...]) -> None:
    """A mail that was asked for is not asked for again, whatever became of it."""
    given(notification, *history).when(notification.request, requested=REQUESTED).then_nothing()


def test_every_status_but_none_can_be_asked_for() -> None:
    """Who lists mails by status names one that a mail can have."""
    assert 13 == len(notification.STATUSES)
    assert "none" not in notification.STATUSES


# --- what to do now ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "after", "step"),
    [
        ((), timedelta(), "nothing"),
        ((REQUESTED,), -JUST, "wait"),
        ((REQUESTED,), timedelta(), "send"),
        ((REQUESTED, started()), DEADLINE - START - JUST, "wait"),
        ((REQUESTED, started()), DEADLINE - START, "look_up"),
        ((CODE,), timedelta(seconds=300) - JUST, "send"),
        ((CODE,), timedelta(seconds=300), "expire"),
        # A call that is under way is asked about before its code is called too old.
        ((CODE, started()), timedelta(seconds=300), "look_up"),
        (UNKNOWN, SETTLE - JUST, "wait"),
        (UNKNOWN, SETTLE, "look_up"),
        ((CODE, started(), unknown()), timedelta(days=1), "nothing"),
        ((REQUESTED, started(), accepted()), timedelta(days=1), "nothing"),
        ((REQUESTED, started(), failed(retry_at=START)), timedelta(), "send"),
        (DEAD, timedelta(days=1), "nothing"),
        ((*DEAD, REDRIVEN), timedelta(), "send"),
        ((*DEAD, DISCARDED), timedelta(days=1), "nothing"),
        ((REQUESTED, WITHHELD), timedelta(days=1), "nothing"),
    ],
)
def test_what_is_done_next(
    history: tuple[Any, ...], after: timedelta, step: notification.Step
) -> None:
    """The history and the time say what is to be done, up to the moment itself."""
    state = state_of(*history)

    assert step == notification.next_step(state, at=START + after)
    assert state.is_final == (step == "nothing")


# --- calling -------------------------------------------------------------------------------------


def test_a_call_is_announced_before_it_is_made() -> None:
    """A call has a number and a deadline; until then it is nobody else's."""
    start(REQUESTED).then(started())
    state = state_of(REQUESTED, started())

    assert ("attempting", True, 1, 1) == (
        state.status,
        state.call_open,
        state.attempts,
        state.calls,
    )
    assert (DEADLINE, DEADLINE) == (state.deadline, state.due_at)


@pytest.mark.parametrize(
    ("history", "at"),
    [
        ((), START),
        ((REQUESTED,), START - JUST),
        ((REQUESTED, started()), START),
        ((REQUESTED, started()), DEADLINE),
        (UNKNOWN, START + SETTLE),
        ((CODE,), START + timedelta(seconds=300)),
        ((CODE, started(), unknown()), START + timedelta(seconds=60)),
        ((REQUESTED, started(), accepted()), DEADLINE),
        (DEAD, DEADLINE),
        ((REQUESTED, WITHHELD), DEADLINE),
        ((*DEAD, DISCARDED), DEADLINE),
        ((REQUESTED, started(), failed(retry_at=DEADLINE)), DEADLINE - JUST),
    ],
)
def test_a_call_that_is_not_due_is_not_announced(history: tuple[Any, ...], at: datetime) -> None:
    """No call is made too early, beside another one, after an unknown outcome, or after the end."""
    start(*history, at=at).then_nothing()


@pytest.mark.parametrize("how", ["call", "lookup", "feedback"])
def test_an_accepted_mail_is_done(how: Any) -> None:
    """Whoever told us that the mail was taken, nothing is due after it."""
    accept(REQUESTED, started(), how=how).then(accepted(how=how))
    state = state_of(REQUESTED, started(), accepted(how=how))

    assert ("accepted", "ses-1", START, None) == (
        state.status,
        state.message_id,
        state.accepted_at,
        state.due_at,
    )
    assert state.maybe_sent


def test_an_acceptance_that_is_known_is_quiet() -> None:
    """The same answer again, whoever brings it, is no news."""
    accept(REQUESTED, started(), accepted(), how="lookup").then_nothing()


def test_a_call_that_was_never_made_accepted_nothing() -> None:
    """Only feedback may be of a call that the history does not know of."""
    accept(REQUESTED, how="call").then_nothing()
    accept(REQUESTED, how="feedback").then(accepted(how="feedback"))


@pytest.mark.parametrize(
    "history",
    [
        UNKNOWN,
        (*UNKNOWN, failed(retry_at=START + SETTLE)),
        (*UNKNOWN, failed(retry_at=START), started(2)),
        DEAD,
        (*DEAD, REDRIVEN),
        (REQUESTED, started(), unknown(), WITHHELD),
    ],
)
def test_an_acceptance_that_comes_late_is_the_truth(history: tuple[Any, ...]) -> None:
    """A call that turns out to have sent the mail ends it: no further call, no redrive."""
    accept(*history).then(accepted())
    state = state_of(*history, accepted())

    assert ("accepted", None, False) == (state.status, state.due_at, state.call_open)
    redrive(*history, accepted()).then_raises(notification.NotADeadLetter)


def test_two_calls_that_both_sent_it_are_both_kept() -> None:
    """What happened twice is not hidden: each call has its message id."""
    history = (*UNKNOWN, failed(retry_at=START), started(2), accepted(1))

    accept(*history, attempt=2).then(accepted(2))
    state = state_of(*history, accepted(2))

    assert (("ses-1", "ses-2"), "ses-2") == (state.message_ids, state.message_id)


def test_without_an_acceptance_there_is_no_message_id() -> None:
    """What the mail port took has a name, and nothing else."""
    assert state_of(REQUESTED, started()).message_id is None


# --- failing -------------------------------------------------------------------------------------


def test_a_code_is_tried_again_at_once_and_a_notice_later() -> None:
    """Somebody waits for a code; nobody waits for a notice."""
    waits = {
        kind: [step.total_seconds() for step in steps]
        for kind, steps in notification.BACKOFF.items()
    }

    assert {
        "sign_in_code": [0.2, 10],
        "ticket_received": [30, 120],
        "ticket_decided": [30, 120],
    } == waits


@pytest.mark.parametrize("requested", [SOON, LATE], ids=["no jitter", "all jitter"])
@pytest.mark.parametrize(("failures", "seconds"), [(0, 30), (1, 120)])
def test_a_failed_call_is_made_again(
    requested: notification.Requested, failures: int, seconds: int
) -> None:
    """The first two failures are tried again after a wait, longer the second time."""
    history: list[Any] = [requested, started(1)]
    if failures:
        history += [failed(1, retry_at=START), started(2)]
    wait = timedelta(seconds=seconds) * (1 if requested is SOON else 1.25)
    attempt = failures + 1

    fail(*history, attempt=attempt).then(failed(attempt, retry_at=START + wait))


def test_the_third_failure_gives_the_mail_up() -> None:
    """The third call is the last one, and the dead letter names the rule."""
    fail(*THIRD, attempt=3).then(failed(3), dead())

    assert "notification.3_attempts.v1" == dead().rule
    assert ("dead_lettered", "attempts_exhausted", None) == (
        state_of(*DEAD).status,
        state_of(*DEAD).why,
        state_of(*DEAD).due_at,
    )


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_permanent_error_gives_the_mail_up_at_once(attempt: int) -> None:
    """What will never be taken is not tried again, whichever call it was."""
    history = THIRD if attempt == 3 else (SOON, started())

    fail(*history, attempt=attempt, error_class="permanent").then(
        attrs.evolve(REFUSED, attempt=attempt), dead("permanent_error")
    )
    state = state_of(SOON, started(), REFUSED, dead("permanent_error"))

    assert ("dead_lettered", "permanent_error", "no") == (
        state.status,
        state.why,
        state.last_error,
    )


def test_a_refused_or_dead_mail_is_not_due_whatever_came_before() -> None:
    """Either of the two facts alone ends the calls: neither waits for the other."""
    refused, given_up = state_of(REQUESTED, started(), REFUSED), state_of(REQUESTED, dead())

    assert ("refused", False, None) == (refused.status, refused.call_open, refused.due_at)
    assert ("dead_lettered", None) == (given_up.status, given_up.due_at)


def test_an_error_of_the_account_takes_no_attempt() -> None:
    """However often the account fails, the message keeps its three calls and is never given up."""
    history: tuple[Any, ...] = (SOON,)
    for attempt in range(1, 8):
        event = failed(attempt, "account", retry_at=START + timedelta(seconds=120))
        fail(*history, started(attempt), attempt=attempt, error_class="account").then(event)
        history = (*history, started(attempt), attrs.evolve(event, retry_at=START))

        assert (0, attempt) == (state_of(*history).attempts, state_of(*history).calls)
    history = (
        *(*history, started(8), failed(8, retry_at=START)),
        *(started(9), failed(9, retry_at=START), started(10)),
    )

    fail(*history, attempt=10, error_class="account").then(
        failed(10, "account", retry_at=START + timedelta(seconds=120))
    )
    fail(*history, attempt=10).then(failed(10), dead())


def test_an_account_that_takes_no_mail_is_left_alone_for_the_longest_wait() -> None:
    """A code is not tried again at once when it is the account that failed."""
    code = attrs.evolve(CODE, id="0" * 32)
    soon, later = notification.BACKOFF["sign_in_code"]

    fail(code, started()).then(failed(retry_at=START + soon))
    fail(code, started(), error_class="account").then(
        failed(error_class="account", retry_at=START + later)
    )


@pytest.mark.parametrize("error_class", ["transient", "permanent", "account"])
@pytest.mark.parametrize(
    "history",
    [
        (REQUESTED,),
        (REQUESTED, started(), accepted()),
        (REQUESTED, started(), DELIVERED),
        (REQUESTED, started(), failed(retry_at=START)),
        (REQUESTED, started(), failed(retry_at=START), started(2)),
        (REQUESTED, started(), REFUSED, dead("permanent_error")),
        (REQUESTED, started(), unknown(), WITHHELD),
    ],
)
def test_a_failure_of_a_call_that_has_another_outcome_is_quiet(
    history: tuple[Any, ...], error_class: Any
) -> None:
    """Neither a late failure nor one of an older call takes away what is known."""
    fail(*history, error_class=error_class).then_nothing()


def test_a_failure_may_come_after_its_outcome_was_unknown() -> None:
    """An answer that comes late is better than none: the call surely sent nothing."""
    fail(*UNKNOWN).then(failed(retry_at=START + timedelta(seconds=30)))
    fail(*UNKNOWN, error_class="permanent").then(REFUSED, dead("permanent_error"))
    fail(CODE, started(), unknown()).then(
        failed(retry_at=START + notification.backoff(state_of(CODE, started())))
    )


def test_the_first_and_the_newest_error_are_kept() -> None:
    """Who looks at a dead letter sees where it began and where it ended."""
    state = state_of(
        *(SOON, started(), attrs.evolve(failed(), error="first")),
        *(started(2), attrs.evolve(failed(2), error="second")),
        *(started(3), attrs.evolve(unknown(3), why="third")),
    )

    assert ("first", "third") == (state.first_error, state.last_error)


@hypothesis.given(
    cause=st.text(),
    kind=st.sampled_from(notification.KINDS),
    failures=st.integers(1, 3),
    error_class=st.sampled_from(["transient", "account"]),
)
def test_jitter_is_a_quarter_at_most(
    cause: str, kind: notification.Kind, failures: int, error_class: Any
) -> None:
    """A wait is its step and up to a quarter of it, and the same whenever it is asked for."""
    id = notification.notification_id(cause, kind, about="x")
    state = attrs.evolve(
        state_of(attrs.evolve(REQUESTED, id=id, kind=kind), started()), attempts=failures
    )
    first, last = notification.BACKOFF[kind]
    base = first if failures == 1 and error_class == "transient" else last
    wait = notification.backoff(state, error_class)

    assert base <= wait <= base * 1.25
    assert wait == notification.backoff(state, error_class)


def test_only_a_mail_that_exists_is_waited_for() -> None:
    """A back-off of nothing is a fault of the program."""
    error = fail(started()).then_raises(ValueError)

    assert "a back-off needs a notification that exists" == str(error)


def test_other_rules_of_trying_again() -> None:
    """How often and when a mail is tried again is a value that each decision can be given."""
    second = timedelta(seconds=1)
    patient = notification.Retries(
        attempts=1,
        backoff=dict.fromkeys(notification.KINDS, (second,)),
        resent_after_unknown=dict.fromkeys(notification.KINDS, True),
        look=second,
    )
    state = state_of(attrs.evolve(CODE, id="0000"), started())

    failed, dead = notification.fail(
        state, attempt=1, error_class="transient", error="busy", at=START, retries=patient
    )
    assert ("notification.1_attempts.v1", None) == (
        getattr(dead, "rule", None),
        getattr(failed, "retry_at", None),
    )
    assert second == notification.backoff(state, retries=patient)
    (lost,) = notification.lose_track(
        state, attempt=1, why="no answer", settle=second, at=START, retries=patient
    )
    assert START + second == getattr(lost, "settle_at", None)
    (put,) = notification.defer(
        state_of(CODE), until=DEADLINE, why="over_budget", rule="r", at=START, retries=patient
    )
    assert START + second == getattr(put, "until", None)


# --- not knowing ---------------------------------------------------------------------------------


def test_an_unknown_outcome_is_left_to_feedback() -> None:
    """A ticket's mail is looked at again after the settle time."""
    lose_track(SOON, started()).then(unknown(settle_at=START + SETTLE))
    state = state_of(*UNKNOWN)

    assert ("unknown", START + SETTLE, True, False) == (
        state.status,
        state.due_at,
        state.maybe_sent,
        state.call_open,
    )


def test_a_code_of_an_unknown_outcome_is_never_mailed_again() -> None:
    """Nothing is due for it after that, and nothing settles it but an answer or feedback."""
    lose_track(CODE, started()).then(unknown())
    history = (CODE, started(), unknown())

    assert state_of(*history).is_final
    settle(*history).then_nothing()
    start(*history, at=START + SETTLE).then_nothing()
    redrive(*history).then_raises(notification.NotADeadLetter)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (started(),),
        (REQUESTED,),
        (REQUESTED, started(), accepted()),
        (REQUESTED, started(), COMPLAINED),
        (REQUESTED, started(), failed(retry_at=START)),
        (REQUESTED, started(), failed(retry_at=START), started(2)),
        UNKNOWN,
    ],
)
def test_an_outcome_that_is_known_is_not_lost(history: tuple[Any, ...]) -> None:
    """Whoever did not hear the answer does not take away what somebody else knows."""
    lose_track(*history).then_nothing()


def test_after_the_settle_time_it_goes_again() -> None:
    """When feedback would have come by now, the call counts as one that failed."""
    error = "the outcome was still unknown after the settle time"
    at = START + SETTLE
    retried = notification.Failed(
        attempt=1,
        error_class="transient",
        error=error,
        retry_at=at + timedelta(seconds=30),
        at=at,
    )

    settle(*UNKNOWN).then(retried)
    state = state_of(*UNKNOWN, retried)

    assert ("failed", 1, at + timedelta(seconds=30)) == (state.status, state.attempts, state.due_at)
    assert state.maybe_sent


def test_the_third_unknown_outcome_gives_the_mail_up() -> None:
    """Unknown outcomes count as calls, and the dead letter says that it may have been sent."""
    at = START + SETTLE
    error = "the outcome was still unknown after the settle time"
    history = (*THIRD, unknown(3, settle_at=at))
    given_up = attrs.evolve(failed(3, at=at), error=error)

    settle(*history).then(given_up, attrs.evolve(dead(), at=at))
    assert state_of(*history, given_up, dead()).maybe_sent
    assert not state_of(*DEAD).maybe_sent


def test_while_the_feedback_path_is_in_doubt_it_waits_on() -> None:
    """It stays unknown, burns no call, and is looked at again later."""
    at = START + SETTLE
    deferred = notification.Deferred(
        until=at + SETTLE, why="settling", rule="notification.settled_by_feedback.v1", at=at
    )

    settle(*UNKNOWN, can_be_resent=False).then(deferred)
    state = state_of(*UNKNOWN, deferred)

    assert ("unknown", "settling", at + SETTLE, 1) == (
        state.status,
        state.why,
        state.due_at,
        state.attempts,
    )
    assert "look_up" == notification.next_step(state, at=at + SETTLE)


@pytest.mark.parametrize("can_be_resent", [True, False])
@pytest.mark.parametrize(
    ("history", "at"),
    [
        ((), START + SETTLE),
        ((REQUESTED,), START + SETTLE),
        (UNKNOWN, START + SETTLE - JUST),
        ((*UNKNOWN, accepted()), START + SETTLE),
        ((*UNKNOWN, BOUNCED), START + SETTLE),
        ((*UNKNOWN, failed(retry_at=START)), START + SETTLE),
        ((*UNKNOWN, WITHHELD), START + SETTLE),
    ],
)
def test_what_is_known_or_not_due_is_not_settled(
    history: tuple[Any, ...], at: datetime, can_be_resent: bool
) -> None:
    """Before the settle time, and once something is known, nothing is decided."""
    settle(*history, can_be_resent=can_be_resent, at=at).then_nothing()


# --- waiting -------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["over_budget", "lane_halted"])
def test_a_mail_that_waits_is_not_lost(why: Any) -> None:
    """A deferral burns no call, and is due again at its time."""
    deferred = notification.Deferred(until=DEADLINE, why=why, rule="rule.v1", at=START)
    state = state_of(REQUESTED, deferred)

    assert ("deferred", why, DEADLINE, 0) == (state.status, state.why, state.due_at, state.attempts)
    start(REQUESTED, deferred, at=DEADLINE - JUST).then_nothing()
    start(REQUESTED, deferred, at=DEADLINE).then(started(at=DEADLINE))


def put_off(*history: Any, until: datetime, at: datetime = START) -> Any:
    """Put a call off for want of room."""
    return given(notification, *history).when(
        notification.defer, until=until, why="over_budget", rule="rule.v1", at=at
    )


def test_a_call_is_put_off() -> None:
    """What would be sent now waits, for a reason and by a rule."""
    put_off(REQUESTED, until=DEADLINE).then(
        notification.Deferred(until=DEADLINE, why="over_budget", rule="rule.v1", at=START)
    )


def test_a_code_is_put_off_no_longer_than_it_lives() -> None:
    """It is looked at twice a minute; when its time is over it is withheld."""
    expires_at, look = START + timedelta(seconds=300), START + notification.LOOK
    deferred = notification.Deferred(until=look, why="over_budget", rule="rule.v1", at=START)
    put_off(CODE, until=expires_at + JUST).then(deferred)
    put_off(CODE, until=look - JUST).then(attrs.evolve(deferred, until=look - JUST))

    assert "send" == notification.next_step(state_of(CODE, deferred), at=look)
    assert "expire" == notification.next_step(state_of(CODE, deferred), at=expires_at)
    soon = expires_at - JUST
    late = notification.defer(
        state_of(CODE, deferred), until=expires_at + JUST, why="over_budget", rule="r", at=soon
    )
    assert expires_at == late[0].until  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "history", [(), (REQUESTED, started()), (REQUESTED, started(), accepted()), DEAD, UNKNOWN]
)
def test_what_would_not_be_sent_is_not_put_off(history: tuple[Any, ...]) -> None:
    """A call that is under way, or that nobody would make, does not wait."""
    put_off(*history, until=DEADLINE).then_nothing()


# --- never ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "history",
    [(REQUESTED,), (REQUESTED, started(), failed(retry_at=START)), UNKNOWN, (*DEAD, REDRIVEN)],
)
def test_a_mail_that_would_be_wrong_is_withheld(history: tuple[Any, ...]) -> None:
    """What waits for a call is never sent, and that is final."""
    withhold(*history).then(WITHHELD)
    state = state_of(*history, WITHHELD)

    assert ("withheld", "suppressed", None) == (state.status, state.why, state.due_at)


@pytest.mark.parametrize(
    "history",
    [
        (),
        (REQUESTED, started()),
        (REQUESTED, started(), accepted()),
        (REQUESTED, started(), DELIVERED),
        (REQUESTED, WITHHELD),
        DEAD,
        (*DEAD, DISCARDED),
        (CODE, started(), unknown()),
    ],
)
def test_withholding_what_is_not_going_to_be_sent_is_quiet(history: tuple[Any, ...]) -> None:
    """Nothing is said of a mail that is under way, or whose end is known."""
    withhold(*history).then_nothing()


def test_a_mail_that_cannot_be_written_is_given_up() -> None:
    """No call is made, and a person has to look at it."""
    refused = notification.Refused(attempt=0, error="cannot be written", at=START)

    give_up(REQUESTED).then(refused, dead("permanent_error"))
    state = state_of(REQUESTED, refused, dead("permanent_error"))

    assert ("dead_lettered", 0, "cannot be written") == (
        state.status,
        state.calls,
        state.last_error,
    )


@pytest.mark.parametrize(
    ("history", "at"),
    [
        ((), START),
        ((REQUESTED,), START - JUST),
        ((REQUESTED, started()), DEADLINE),
        (UNKNOWN, START + SETTLE),
        ((CODE,), START + timedelta(seconds=300)),
        ((REQUESTED, started(), accepted()), DEADLINE),
        (DEAD, DEADLINE),
    ],
)
def test_only_what_would_be_sent_now_is_given_up(history: tuple[Any, ...], at: datetime) -> None:
    """A mail that is not to be written now may yet be written."""
    give_up(*history, at=at).then_nothing()


# --- dead letters --------------------------------------------------------------------------------


def test_a_redrive_gives_three_more_calls() -> None:
    """The calls are counted anew, and numbered on."""
    redrive(*DEAD).then(REDRIVEN)
    history: tuple[Any, ...] = (*DEAD, REDRIVEN)

    assert ("requested", 0, 3, START) == (
        state_of(*history).status,
        state_of(*history).attempts,
        state_of(*history).calls,
        state_of(*history).due_at,
    )
    for attempt in (4, 5):
        start(*history).then(started(attempt))
        history = (*history, started(attempt), failed(attempt, retry_at=START))
    start(*history).then(started(6))
    fail(*history, started(6), attempt=6).then(failed(6), dead())


def test_a_late_failure_from_before_a_redrive_is_quiet() -> None:
    """What the third call says after the redrive takes nothing from the fourth."""
    fail(*DEAD, REDRIVEN, attempt=3).then_nothing()
    fail(*DEAD, REDRIVEN, started(4), attempt=3).then_nothing()


def test_a_dead_letter_is_discarded_with_a_reason() -> None:
    """It stays a dead letter that nobody has to look at any more."""
    discard(*DEAD).then(DISCARDED)
    state = state_of(*DEAD, DISCARDED)

    assert ("dead_lettered", True, None) == (state.status, state.discarded, state.due_at)


@pytest.mark.parametrize("decide", [redrive, discard])
@pytest.mark.parametrize(
    ("history", "word"),
    [
        ((), "notification  is none, not a dead letter"),
        ((REQUESTED,), f"notification {ID} is requested, not a dead letter"),
        ((REQUESTED, started()), f"notification {ID} is attempting, not a dead letter"),
        ((*DEAD, REDRIVEN), f"notification {'0' * 32} is requested, not a dead letter"),
        ((*DEAD, DISCARDED), f"notification {'0' * 32} is discarded, not a dead letter"),
        ((*DEAD, accepted(3)), f"notification {'0' * 32} is accepted, not a dead letter"),
        ((*DEAD, DELIVERED), f"notification {'0' * 32} is delivered, not a dead letter"),
        ((REQUESTED, WITHHELD), f"notification {ID} is withheld, not a dead letter"),
    ],
)
def test_only_a_dead_letter_is_redriven_or_discarded(
    history: tuple[Any, ...], word: str, decide: Any
) -> None:
    """Whoever comes second, or after an answer that came late, is told what it is by now."""
    error = decide(*history).then_raises(notification.NotADeadLetter)

    assert word == str(error)


# --- feedback ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "status"),
    list(zip(FEEDBACK, ("delivered", "delayed", "bounced", "complained"), strict=True)),
    ids=["delivered", "delayed", "bounced", "complained"],
)
@pytest.mark.parametrize(
    "history",
    [
        # Before the call is recorded, after a restore: what SES says was sent was sent.
        (REQUESTED,),
        (REQUESTED, started()),
        (REQUESTED, started(), accepted()),
        (REQUESTED, started(), failed(retry_at=START)),
        UNKNOWN,
        (*UNKNOWN, failed(retry_at=START), started(2)),
        (CODE, started(), unknown()),
        DEAD,
        (*DEAD, REDRIVEN),
        (REQUESTED, WITHHELD),
    ],
)
def test_feedback_settles_the_matter(
    history: tuple[Any, ...], event: notification.Feedback, status: notification.Status
) -> None:
    """Whatever was known before, what the receiver's side says is the end of sending."""
    state = state_of(*history, event)

    assert (status, None, False, True) == (
        state.status,
        state.due_at,
        state.call_open,
        state.maybe_sent,
    )
    assert (event.feedback_id,) == state.feedback
    assert "nothing" == notification.next_step(state, at=START + timedelta(days=1))


def test_worse_news_wins_in_every_order() -> None:
    """Delayed, delivered, bounced, complained: the last of these that came, whenever it came."""
    sent = (REQUESTED, started(), accepted())
    for order in permutations(FEEDBACK):
        worse = max(order[:2], key=(DELAYED, DELIVERED, BOUNCED, COMPLAINED).index)

        assert state_of(*sent, worse).status == state_of(*sent, *order[:2]).status
        assert "complained" == state_of(*sent, *order).status


def test_contradictions_are_kept() -> None:
    """Delivered and then bounced: both stay."""
    state = state_of(REQUESTED, started(), accepted(), DELIVERED, BOUNCED)

    assert ("bounced", ("b", "d")) == (state.status, state.feedback)


#: What a call, a look-up and the settling of an unknown outcome may say beside feedback.
_OUTCOMES: Final = st.sampled_from(
    [
        accepted(),
        accepted(how="lookup"),
        failed(retry_at=START),
        failed(error_class="account", retry_at=START),
        REFUSED,
        unknown(),
        unknown(settle_at=START + SETTLE),
    ]
)


@hypothesis.given(
    told=st.lists(strategies.feedback, min_size=1, max_size=5),
    outcomes=st.lists(_OUTCOMES, max_size=3),
    data=st.data(),
)
def test_feedback_merges_in_any_order(
    told: list[notification.Feedback], outcomes: list[Any], data: st.DataObject
) -> None:
    """Order and repeats make no difference, and what a call said never wins over feedback."""
    before = state_of(REQUESTED, started())
    alone = reduce(notification.evolve, told, before)
    repeats = data.draw(st.lists(st.sampled_from(told), max_size=3))
    mixed = data.draw(st.permutations([*told, *outcomes, *repeats]))
    after = reduce(notification.evolve, mixed, before)

    assert (alone.status, alone.feedback) == (after.status, after.feedback)
    assert (None, False, True) == (after.due_at, after.call_open, after.maybe_sent)


def test_an_attempt_names_the_template_that_it_is_written_from_when_it_is_a_newer_one() -> None:
    """An attempt names its template only when it is not the one that was requested."""
    given(notification, REQUESTED).when(
        notification.start_attempt,
        deadline=DEADLINE,
        template_version=2,
        template_hash="1" * 64,
        at=START,
    ).then(
        notification.AttemptStarted(
            attempt=1, deadline=DEADLINE, template_version=2, template_hash="1" * 64, at=START
        )
    )


# --- what is reported -----------------------------------------------------------------------------

HEARD: Final = attrs.evolve(accepted(how="feedback"), message_id="ses-1")


def test_what_is_reported_of_a_mail_is_recorded() -> None:
    """A report of a mail that is known to be taken adds what became of it."""
    given(notification, REQUESTED, started(), accepted()).when(
        notification.hear, message_id="ses-1", heard=BOUNCED, at=START
    ).then(BOUNCED)


def test_a_report_says_that_the_mail_was_taken() -> None:
    """Also when the call's answer is not there yet, or never came."""
    for more in ((), (notification.OutcomeUnknown(attempt=1, why="lost", at=START),)):
        history = given(notification, REQUESTED, started(), *more)
        history.when(notification.hear, message_id="ses-1", heard=DELIVERED, at=START).then(
            HEARD, DELIVERED
        )
        history.when(notification.hear, message_id="ses-1", at=START).then(HEARD)


def test_what_was_reported_before_is_quiet() -> None:
    """The same report again, and a report that names no mail and says nothing new."""
    history = given(notification, REQUESTED, started(), accepted(), BOUNCED)
    history.when(notification.hear, message_id="ses-1", heard=BOUNCED, at=START).then_nothing()
    history.when(notification.hear, message_id="", at=START).then_nothing()


REJECTED: Final = notification.Refused(attempt=1, error="virus", at=START)
SET_ASIDE: Final = notification.DeadLettered(why="permanent_error", at=START)


def reject(*history: Any, message_id: str = "ses-1") -> Then:
    """Say that a mail which was taken was not sent."""
    return given(notification, REQUESTED, *history).when(
        notification.reject, message_id=message_id, error="virus", at=START
    )


def test_a_mail_that_is_rejected_after_all_is_given_up() -> None:
    """Whether it is known to be taken or not."""
    reject(started(), accepted()).then(REJECTED, SET_ASIDE)
    reject(started()).then(HEARD, REJECTED, SET_ASIDE)


def test_a_rejection_that_changes_nothing_is_quiet() -> None:
    """It is known, it is said of an earlier call, or the mail was delivered."""
    rejected = (started(), accepted(), REJECTED, SET_ASIDE)
    for history in (rejected, (*rejected, REDRIVEN), (started(), accepted(), DELIVERED)):
        reject(*history).then_nothing()
    reject(*rejected, REDRIVEN, started(2)).then_nothing()
    reject(*rejected, REDRIVEN, started(2), accepted(2)).then_nothing()
    reject(started(), accepted(), message_id="").then_nothing()


def test_what_nobody_could_begin_is_given_up() -> None:
    """Every message about it came to nothing, and it is due."""
    given(notification, REQUESTED).when(notification.exhaust_receives, at=START).then(
        notification.DeadLettered(why="receives_exhausted", at=START)
    )


@pytest.mark.parametrize(
    "history", [(started(),), (started(), accepted()), (started(), failed(retry_at=START + SETTLE))]
)
def test_what_somebody_began_is_not_given_up(history: tuple[Any, ...]) -> None:
    """A call that is open is looked up first; what was sent or waits is left alone."""
    late = DEADLINE + JUST
    given(notification, REQUESTED, *history).when(
        notification.exhaust_receives, at=late
    ).then_nothing()
