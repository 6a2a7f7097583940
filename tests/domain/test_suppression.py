"""A suppression: an address that is not mailed to, and why."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any, Final

import attrs
import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from siutindei.domain import suppression
from siutindei.domain.personal import of
from tests.support import START, Then, given

DAY: Final = timedelta(days=1)
ADDRESS: Final = of("address-f", "ann@example.com")
ABOUT: Final[dict[str, Any]] = {"fingerprint": "f", "address": ADDRESS}


def suppressed(reason: Any = "bounce", **more: Any) -> suppression.Suppressed:
    """Make an address that is suppressed."""
    given: dict[str, Any] = {"evidence": "notification-n/4", "feedback_id": "f-1", "at": START}
    given |= {"rule": suppression.BOUNCE_RULE} | more
    return suppression.Suppressed(**ABOUT, reason=reason, **given)


LIFTED: Final = suppression.Lifted(by="bob", reason=of("bob", "a new mailbox"), at=START)


def soft(number: int, at: Any = START) -> suppression.SoftBounced:
    """Make a soft bounce."""
    return suppression.SoftBounced(feedback_id=f"s-{number}", evidence=f"n/{number}", at=at)


def bounce(*history: Any, verdict: Any = "hard", feedback_id: str = "f-1", **more: Any) -> Then:
    """Hear of a bounce after a history."""
    return given(suppression, *history).when(
        suppression.bounce,
        **ABOUT,
        verdict=verdict,
        feedback_id=feedback_id,
        **{"evidence": "notification-n/4", "limit": 3, "at": START} | more,
    )


def complain(*history: Any, kind: str | None = "abuse", feedback_id: str = "f-1") -> Then:
    """Hear of a complaint after a history."""
    return given(suppression, *history).when(
        suppression.complain,
        **ABOUT,
        evidence="notification-n/4",
        feedback_id=feedback_id,
        complaint_type=kind,
        at=START,
    )


# --- what a bounce means --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounce_type", "subtype", "status", "verdict"),
    [
        ("Permanent", "General", "5.1.1", "hard"),
        ("Permanent", "NoEmail", None, "hard"),
        ("Permanent", "OnAccountSuppressionList", None, "hard"),
        ("Permanent", "SomethingNew", "4.2.2", "hard"),
        ("Transient", "MailboxFull", "4.2.2", "soft"),
        ("Transient", "MailboxFull", "5.2.2", "soft"),
        ("Transient", "SomethingNew", None, "soft"),
        ("Transient", "General", "4.4.7", "soft"),
        ("Transient", "General", None, "none"),
        ("Transient", "General", "2.0.0", "none"),
        ("Transient", "CustomTimeoutExceeded", "4.4.7", "none"),
        ("Undetermined", "Undetermined", None, "soft"),
        ("Undetermined", "Undetermined", "5.1.1", "hard"),
        ("", "", "4.0.0", "soft"),
        ("SomethingNew", "", "5.7.1", "hard"),
    ],
)
def test_types_say_what_a_bounce_means(
    bounce_type: str, subtype: str, status: str | None, verdict: str
) -> None:
    """SES's types count as they are given; the status has a say where they say little."""
    assert verdict == suppression.verdict(bounce_type, subtype, status)


# --- bounces --------------------------------------------------------------------------------------


def test_a_hard_bounce_suppresses() -> None:
    """It takes one, and has no end."""
    bounce().then(suppressed())


def test_a_bounce_that_is_heard_of_twice_counts_once() -> None:
    """The same report again says nothing new, be it hard or soft."""
    bounce(suppressed()).then()
    bounce(soft(1), verdict="soft", feedback_id="s-1").then()


def test_another_hard_bounce_says_nothing_new() -> None:
    """Who is suppressed for good is not suppressed again."""
    bounce(suppressed(), feedback_id="f-2").then()


def test_an_out_of_office_answer_is_nothing() -> None:
    """However many there are."""
    bounce(soft(1), soft(2), verdict="none").then()


def test_soft_bounces_count() -> None:
    """Until there are three within seven days, for thirty days from the last."""
    counted = suppression.SoftBounced(
        feedback_id="f-1", evidence="notification-n/4", at=START + 6 * DAY
    )
    bounce(soft(1), verdict="soft", at=START + 6 * DAY).then(counted)
    bounce(soft(1), soft(2, START + DAY), verdict="soft", at=START + 6 * DAY).then(
        counted,
        suppressed(
            "soft_bounces",
            feedback_id="",
            expires_at=START + 36 * DAY,
            rule=suppression.SOFT_RULE,
            at=START + 6 * DAY,
        ),
    )


def test_soft_bounces_that_are_far_apart_do_not_count_together() -> None:
    """Seven days later the first is forgiven."""
    counted = suppression.SoftBounced(
        feedback_id="f-1", evidence="notification-n/4", at=START + 7 * DAY
    )
    bounce(soft(1), soft(2, START + DAY), verdict="soft", at=START + 7 * DAY).then(counted)


def test_soft_bounces_under_other_terms() -> None:
    """How long bounces count together, and suppress, is a value that the decision can be given."""
    counted = suppression.SoftBounced(feedback_id="f-1", evidence="notification-n/4", at=START)
    terms = suppression.Terms(window=DAY, term=2 * DAY)
    bounce(soft(1, START - DAY), verdict="soft", limit=2, terms=terms).then(counted)
    bounce(soft(1, START - DAY / 2), verdict="soft", limit=2, terms=terms).then(
        counted,
        suppressed(
            "soft_bounces",
            feedback_id="",
            expires_at=START + 2 * DAY,
            rule=suppression.SOFT_RULE,
        ),
    )


def test_a_soft_suppression_becomes_one_for_good() -> None:
    """A hard bounce afterwards has no end."""
    mild = suppressed("soft_bounces", feedback_id="", expires_at=START + DAY)
    bounce(mild).then(suppressed())


def test_soft_bounces_add_nothing_to_a_suppression_for_good() -> None:
    """They are counted, and nothing follows."""
    counted = suppression.SoftBounced(feedback_id="s-3", evidence="notification-n/4", at=START)
    bounce(suppressed(), soft(1), soft(2), verdict="soft", feedback_id="s-3").then(counted)


def test_more_soft_bounces_make_it_longer() -> None:
    """The thirty days begin with the newest of too many."""
    mild = suppressed("soft_bounces", feedback_id="", expires_at=START + 30 * DAY)
    state = given(suppression, soft(1), soft(2), soft(3), mild).state
    events = suppression.bounce(
        state,
        fingerprint="f",
        address=ADDRESS,
        evidence="n/9",
        feedback_id="s-4",
        verdict="soft",
        limit=3,
        at=START + DAY,
    )

    assert START + 31 * DAY == events[1].expires_at  # type: ignore[union-attr]


@for_all(
    offsets=st.lists(st.integers(0, 20 * 24), min_size=1, max_size=6),
    seed=st.randoms(use_true_random=False),
)
def test_the_order_in_which_soft_bounces_are_heard_of_does_not_matter(
    offsets: list[int], seed: Any
) -> None:
    """Whoever would be suppressed in one order is so in any, and until the same moment."""
    heard = [(f"s-{number}", START + timedelta(hours=at)) for number, at in enumerate(offsets)]
    ends = set()
    for _ in range(3):
        seed.shuffle(heard)
        state = suppression.INITIAL
        for feedback_id, at in heard:
            for event in suppression.bounce(
                state,
                fingerprint="f",
                address=ADDRESS,
                evidence="n/1",
                feedback_id=feedback_id,
                verdict="soft",
                limit=3,
                at=at,
            ):
                state = suppression.evolve(state, event)
        ends.add(state.suppressed and state.suppressed.expires_at)

    assert 1 == len(ends)


# --- complaints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["abuse", "fraud", "something-new", None])
def test_a_complaint_suppresses(kind: str | None) -> None:
    """Whatever it is called, also when it has no name."""
    complain(kind=kind).then(suppressed("complaint", rule=suppression.COMPLAINT_RULE))


def test_a_complaint_counts_once() -> None:
    """The same one again, and another one, say nothing new."""
    complain(suppressed("complaint")).then()
    complain(suppressed("complaint"), feedback_id="f-2").then()


def test_not_spam_is_no_complaint() -> None:
    """It says the opposite."""
    complain(kind="not-spam").then()


# --- people and SES -------------------------------------------------------------------------------


def add(*history: Any) -> Then:
    """Suppress it by hand."""
    return given(suppression, *history).when(
        suppression.add, **ABOUT, by="bob", note=of("bob", "asked"), at=START
    )


def adopt(*history: Any) -> Then:
    """Take it over from SES's list."""
    return given(suppression, *history).when(suppression.adopt, **ABOUT, at=START)


def lift(*history: Any, at: Any = START) -> Then:
    """Lift it."""
    return given(suppression, *history).when(
        suppression.lift, by="bob", reason=of("bob", "a new mailbox"), at=at
    )


def test_a_person_suppresses() -> None:
    """Because they say so; quiet when it is suppressed for good."""
    by_hand = suppressed(
        "person",
        evidence=None,
        feedback_id="",
        by="bob",
        note=of("bob", "asked"),
        rule=suppression.PERSON_RULE,
    )
    add().then(by_hand)
    add(suppressed()).then()


def test_what_ses_has_on_its_list_is_suppressed() -> None:
    """Quiet when it is here too."""
    listed = suppressed("ses", evidence=None, feedback_id="", rule=suppression.SES_RULE)
    adopt().then(listed)
    adopt(suppressed("complaint")).then()


def test_a_person_lifts_it() -> None:
    """And only what is suppressed now."""
    lift(suppressed()).then(LIFTED)
    lift().then_raises(suppression.NotSuppressed)
    lift(suppressed(), LIFTED).then_raises(suppression.NotSuppressed)
    lift(suppressed(expires_at=START), at=START).then_raises(suppression.NotSuppressed)


def test_what_was_lifted_is_suppressed_by_the_next_bounce() -> None:
    """Evidence that is new counts; the old one does not come back."""
    later = START + DAY
    again = suppressed(feedback_id="f-2", at=later)
    bounce(suppressed(), LIFTED, feedback_id="f-2", at=later).then(again)
    bounce(suppressed(), LIFTED, feedback_id="f-1", at=later).then()


def test_what_was_before_a_lifting_is_decided_about() -> None:
    """A bounce that is heard of late does not undo what a person decided after it."""
    bounce(suppressed(), LIFTED, feedback_id="f-2").then()
    bounce(suppressed(), LIFTED, feedback_id="f-2", verdict="soft").then()
    complain(suppressed(), LIFTED, feedback_id="f-2").then()


def test_a_lifting_forgives() -> None:
    """What was counted before it does not count afterwards."""
    assert () == given(suppression, soft(1), soft(2), suppressed(), LIFTED).state.soft


def test_who_looked_is_still_read() -> None:
    """What an older version recorded for each address stays in its history."""
    look = suppression.Revealed(by="eve", at=START)

    assert look == given(suppression, suppressed(), look).state.revealed


# --- the state ------------------------------------------------------------------------------------


def test_a_suppression_ends_when_its_time_is_over() -> None:
    """To the microsecond; without an end it has none."""
    end = START + DAY
    state = given(suppression, suppressed(expires_at=end)).state

    assert state.is_active(end - timedelta(microseconds=1))
    assert not state.is_active(end)
    assert given(suppression, suppressed()).state.is_active(START + 10_000 * DAY)
    assert not suppression.INITIAL.is_active(START)


def test_since_is_the_first_word_on_it() -> None:
    """A worse one later does not make it newer; lifting does."""
    mild = suppressed("soft_bounces", expires_at=START + DAY)
    later = attrs.evolve(suppressed(), at=START + DAY)

    assert START == given(suppression, mild, later).state.since
    assert START + DAY == given(suppression, mild, LIFTED, later).state.since


def test_soft_bounces_that_cannot_count_any_more_are_forgotten() -> None:
    """The state does not grow with the years."""
    old, new = soft(1, START), soft(2, START + 37 * DAY)
    for order in permutations([old, new]):
        assert (new,) == given(suppression, *order).state.soft
