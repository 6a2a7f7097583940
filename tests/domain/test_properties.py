"""What holds for every aggregate, whatever happened and in whatever order."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
from hypothesis import strategies as st

from siutindei.domain import access, catalogue, challenge, grant, notification, person, ticket
from siutindei.domain.errors import DomainError
from tests import strategies
from tests.strategies import AGGREGATES, HISTORIES, History

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

FORWARD: Final = strategies.notification_histories(may_go_back=False)


def fold(aggregate: ModuleType, events: Iterable[Any]) -> Any:
    """Fold events into a state."""
    return reduce(aggregate.evolve, events, aggregate.INITIAL)


def names(aggregate: ModuleType) -> str:
    """Name a case by its aggregate."""
    return str(aggregate.CATEGORY)


# --- every aggregate -----------------------------------------------------------------------------


@hypothesis.given(history=strategies.histories, data=st.data())
def test_any_part_of_a_history_folds(history: History, data: st.DataObject) -> None:
    """A history folds from any prefix and from any suffix of it: history is fact."""
    events = history.events
    start = data.draw(st.integers(0, len(events)))
    end = data.draw(st.integers(start, len(events)))
    kind = type(history.aggregate.INITIAL)

    assert kind is type(fold(history.aggregate, events[:end]))
    assert kind is type(fold(history.aggregate, events[start:]))
    assert kind is type(fold(history.aggregate, events[start:end]))


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=names)
@hypothesis.given(data=st.data())
def test_events_in_no_sensible_order_fold_too(aggregate: ModuleType, data: st.DataObject) -> None:
    """Folding raises nothing and checks no rule, not even for a history that cannot have been."""
    events = data.draw(st.lists(strategies.events_in(aggregate), max_size=8))

    assert type(aggregate.INITIAL) is type(fold(aggregate, events))


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=names)
@hypothesis.given(data=st.data())
def test_folding_changes_no_earlier_state(aggregate: ModuleType, data: st.DataObject) -> None:
    """A state is a value: folding another event leaves the state before it as it was."""
    *before, last = data.draw(st.lists(strategies.events_in(aggregate), min_size=1, max_size=5))
    state = fold(aggregate, before)

    aggregate.evolve(state, last)

    assert fold(aggregate, before) == state


@hypothesis.given(history=strategies.histories)
def test_a_decision_follows_from_its_arguments_alone(history: History) -> None:
    """Deciding again on the same state gives the same events or the same refusal."""
    state = history.aggregate.INITIAL
    for step in history.steps:
        if step.error is None:
            assert step.events == step.decide(state)
        else:
            with pytest.raises(type(step.error)):
                step.decide(state)
        state = reduce(history.aggregate.evolve, step.events, state)


@hypothesis.given(history=strategies.histories)
def test_a_decision_that_comes_twice_has_no_second_effect(history: History) -> None:
    """It is quiet or refused by name; only another wrong answer and another look are counted."""
    state = history.aggregate.INITIAL
    for step in history.steps:
        state = reduce(history.aggregate.evolve, step.events, state)
        if isinstance((*step.events, None)[0], challenge.Missed | access.Opened):
            continue
        try:
            again = step.decide(state)
        except DomainError:
            continue

        assert () == again


@hypothesis.given(history=HISTORIES[ticket])
def test_a_ticket_decision_that_comes_twice_is_refused(history: History) -> None:
    """A ticket decision is never merely quiet: the same one again is refused by name."""
    state = history.aggregate.INITIAL
    for step in history.steps:
        state = reduce(history.aggregate.evolve, step.events, state)
        with pytest.raises(DomainError):
            step.decide(state)


@hypothesis.given(history=strategies.histories)
def test_decisions_give_events_that_can_be_stored(history: History) -> None:
    """What a decision gives is in the catalogue, under the category of its aggregate."""
    prefixes = {catalogue.NAMES[type(event)].partition(".")[0] for event in history.events}

    assert prefixes <= {history.aggregate.CATEGORY}


@pytest.mark.parametrize(
    ("aggregate", "kind"),
    [(aggregate, kind) for aggregate in AGGREGATES for kind in aggregate.EVENTS.values()],
    ids=[name for aggregate in AGGREGATES for name in aggregate.EVENTS],
)
def test_histories_come_to_every_event(aggregate: ModuleType, kind: type) -> None:
    """Every event follows from decisions, and what is said here of histories is said of it too."""
    found = hypothesis.find(
        HISTORIES[aggregate],
        lambda history: kind in map(type, history.events),
        settings=hypothesis.settings(
            max_examples=5000, database=None, phases=[hypothesis.Phase.generate]
        ),
    )

    assert kind in map(type, found.events)


# --- people and tickets --------------------------------------------------------------------------


@hypothesis.given(history=HISTORIES[person])
def test_nothing_follows_an_erasure(history: History) -> None:
    """An erased person is erased once, and nothing of theirs is recorded after it."""
    kinds = [type(event) for event in history.events]

    assert person.Erased not in kinds[:-1]


@hypothesis.given(history=HISTORIES[person])
def test_an_address_is_proved_once(history: History) -> None:
    """Each address of a person is proved at most once, and what proved it stays."""
    proofs = [event for event in history.events if isinstance(event, person.AddressProved)]

    assert {proof.fingerprint: proof.how for proof in proofs} == fold(person, history.events).proofs
    assert len({proof.fingerprint for proof in proofs}) == len(proofs)


@hypothesis.given(history=HISTORIES[ticket])
def test_a_ticket_is_submitted_once_and_decided_once(history: History) -> None:
    """A ticket's stream is a submission, and at most one decision after it."""
    kinds = [type(event) for event in history.events]

    assert [ticket.Submitted] == kinds[:1]
    assert kinds[1:] in ([], [ticket.Approved], [ticket.Declined])


# --- challenges ----------------------------------------------------------------------------------


@hypothesis.given(history=HISTORIES[challenge])
def test_a_challenge_takes_so_many_answers_and_passes_once(history: History) -> None:
    """A challenge passes once or misses three times at most, and takes nothing after its end."""
    ended: set[str] = set()
    misses: dict[str, int] = {}
    expires = {
        event.challenge: event.expires_at
        for event in history.events
        if isinstance(event, challenge.Issued)
    }
    for event in history.events:
        if isinstance(event, challenge.Passed | challenge.Missed):
            misses[event.challenge] = misses.get(event.challenge, 0) + 1

            assert event.challenge not in ended
            assert event.at < expires[event.challenge]
            assert misses[event.challenge] <= challenge.Limits().attempts
        if isinstance(event, challenge.Passed | challenge.Closed):
            ended.add(event.challenge)


@hypothesis.given(history=HISTORIES[challenge])
def test_one_challenge_at_a_time_takes_answers(history: History) -> None:
    """A new challenge closes the one before it, unless that one had its end."""
    is_open = None
    for event in history.events:
        if isinstance(event, challenge.Issued):
            assert is_open is None
            is_open = event.challenge
        elif isinstance(event, challenge.Passed | challenge.Closed):
            assert event.challenge == is_open
            is_open = None


@hypothesis.given(history=strategies.challenge_histories(may_go_back=False))
def test_no_hour_sees_more_challenges_than_the_limit(history: History) -> None:
    """In any rolling hour an address starts no more challenges than it may."""
    at = [event.at for event in history.events if isinstance(event, challenge.Issued)]
    most = challenge.Limits().per_address

    assert all(
        later - first >= challenge.WINDOW for first, later in zip(at, at[most:], strict=False)
    )


@hypothesis.given(history=strategies.challenge_histories(may_go_back=False))
def test_a_limit_is_said_once_an_hour(history: History) -> None:
    """However often somebody tries, each limit makes one event an hour."""
    for limit in ("address", "unproved", "client"):
        at = [
            event.at
            for event in history.events
            if isinstance(event, challenge.LimitReached) and event.limit == limit
        ]

        assert all(later - first >= challenge.WINDOW for first, later in pairwise(at))


# --- mails ---------------------------------------------------------------------------------------


@hypothesis.given(history=HISTORIES[notification])
def test_no_mail_is_lost(history: History) -> None:
    """A mail is due at some time, or its end is known, or it is a code that may have been sent."""
    (requested, *_) = history.events
    ends = {"accepted", "delayed", "delivered", "bounced", "complained", "withheld"}
    ends |= {"dead_lettered"} | ({"unknown"} if requested.kind == "sign_in_code" else set())
    state = notification.INITIAL
    for step in history.steps:
        state = reduce(notification.evolve, step.events, state)

        assert state.due_at is not None or state.status in ends


@hypothesis.given(history=HISTORIES[notification])
def test_three_calls_are_the_most_unless_a_person_asks_for_more(history: History) -> None:
    """Between two redrives a mail takes three calls, those not counted that the account failed."""
    calls = 0
    for event in history.events:
        if isinstance(event, notification.AttemptStarted):
            calls += 1
        elif isinstance(event, notification.Failed) and event.error_class == "account":
            calls -= 1
        elif isinstance(event, notification.Redriven):
            calls = 0

        assert 0 <= calls <= notification.ATTEMPTS


@hypothesis.given(history=HISTORIES[notification])
def test_no_call_follows_the_end(history: History) -> None:
    """Once a mail was accepted, told about, withheld or discarded, no call is ever made."""
    kinds = [type(event) for event in history.events]
    ends = {
        *(notification.Accepted, notification.Withheld, notification.Discarded),
        *(notification.Delivered, notification.Delayed),
        *(notification.Bounced, notification.Complained),
    }
    first = next((index for index, kind in enumerate(kinds) if kind in ends), len(kinds))

    assert notification.AttemptStarted not in kinds[first:]


@hypothesis.given(history=HISTORIES[notification])
def test_no_call_is_made_while_another_has_no_outcome(history: History) -> None:
    """A call follows the request, a failure or a redrive: never a call without an outcome."""
    before: Any = None
    for event in history.events:
        if isinstance(event, notification.AttemptStarted):
            assert isinstance(
                before, notification.Requested | notification.Failed | notification.Redriven
            )
        before = event


@hypothesis.given(history=FORWARD)
def test_before_its_deadline_nobody_else_touches_a_call(history: History) -> None:
    """A second call before the deadline of the first needs the first one's own outcome."""
    own = {"fail"}
    deadline = None
    for step in history.steps:
        for event in step.events:
            if isinstance(event, notification.AttemptStarted):
                assert deadline is None or event.at >= deadline
                deadline = event.deadline
            elif step.name in own:
                deadline = None


@hypothesis.given(history=strategies.notification_histories(kinds=("sign_in_code",)))
def test_a_code_is_not_mailed_twice_because_nobody_knows(history: History) -> None:
    """After an unknown outcome a code is mailed again only when the call surely sent nothing."""
    unknown = False
    for step in history.steps:
        for event in step.events:
            unknown |= isinstance(event, notification.OutcomeUnknown)
            unknown &= step.name != "fail"

            assert not (unknown and isinstance(event, notification.AttemptStarted))


@hypothesis.given(history=strategies.notification_histories(kinds=("sign_in_code",)))
def test_a_code_whose_time_is_over_is_not_mailed(history: History) -> None:
    """No call is made for a code at or after its expiry."""
    requested, *rest = history.events
    late = [
        event
        for event in rest
        if isinstance(event, notification.AttemptStarted) and event.at >= requested.expires_at
    ]

    assert [] == late


# --- grants --------------------------------------------------------------------------------------


@hypothesis.given(history=HISTORIES[grant])
def test_no_grant_is_lost(history: History) -> None:
    """A grant is due at some time, or its end is known."""
    state = fold(grant, history.events)

    assert state.due_at is not None or state.status in {"done", "withheld", "dead_lettered"}


@hypothesis.given(history=HISTORIES[grant])
def test_three_attempts_are_the_most_for_a_grant(history: History) -> None:
    """Between two redrives a grant takes three attempts, and none once it was done or closed."""
    attempts = 0
    ended = False
    for event in history.events:
        if isinstance(event, grant.AttemptStarted):
            attempts += 1
        elif isinstance(event, grant.Redriven):
            attempts = 0
        ended |= isinstance(event, grant.CarriedOut | grant.Withheld | grant.Discarded)

        assert attempts <= grant.ATTEMPTS
        assert not (ended and isinstance(event, grant.AttemptStarted))


@hypothesis.given(history=strategies.grant_histories(may_go_back=False))
def test_attempts_of_a_grant_do_not_overlap(history: History) -> None:
    """The next attempt starts after the deadline of the one before it, or after its failure."""
    deadline = None
    for event in history.events:
        if isinstance(event, grant.AttemptStarted):
            assert deadline is None or event.at >= deadline
            deadline = event.deadline
        elif isinstance(event, grant.Failed):
            deadline = None
