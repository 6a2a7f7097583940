"""Hypothesis strategies: every event with every field, and histories that decisions produced.

A history is made by driving the decisions at random under a virtual clock, so it is legal by
construction. Each step keeps the decision with its arguments, for a property to decide it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from types import ModuleType
from typing import Any, Final, get_type_hints

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from siutindei.domain import (
    access,
    catalogue,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.errors import DomainError
from siutindei.domain.personal import Personal, address_owner, of
from tests.support import START

AGGREGATES: Final[tuple[ModuleType, ...]] = (
    *(person, challenge, ticket, notification, grant, suppression, lane, report),
    *(access,),
)

# --- values --------------------------------------------------------------------------------------

#: Moments that a database keeps exactly: UTC, whole microseconds.
moments: Final = st.datetimes(
    min_value=datetime(2020, 1, 1),  # noqa: DTZ001  # hypothesis wants naive bounds
    max_value=datetime(2040, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
#: Text of any script that can be stored: no NUL, no lone surrogate.
texts: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
words: Final = st.text(
    st.characters(categories=("L", "N"), include_characters="-_"), min_size=1, max_size=20
)
uuids: Final = st.uuids().map(str)
users: Final = st.one_of(uuids, st.sampled_from(["ann", "bob", "小明"]))
fingerprints: Final = st.sampled_from([f"{number:032x}" for number in range(3)])
locales: Final = st.sampled_from(["en", "zh-HK"])
references: Final = st.builds(
    ticket.reference, st.sampled_from(ticket.TYPES), st.integers(1, 1_000_000)
)
addresses: Final = words.map(lambda word: f"{word}@example.com")


def personals(inside: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Personal]:
    """Give clear personal texts of a user or of an address."""
    return st.builds(of, st.one_of(users, fingerprints.map(address_owner)), inside)


# --- events --------------------------------------------------------------------------------------

#: What the name of a field says about its values; the rest follows from its type.
_NAMED: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "id": uuids,
    "user": users,
    "submitter": users,
    "reviewer": users,
    "by": words,
    "email": personals(addresses),
    "submitter_email": personals(addresses),
    "recipient": personals(addresses),
    "fingerprint": fingerprints,
    "locale": locales,
    "reference": references,
    "ticket": references,
    "claimed_reference": references,
    "organization_id": uuids,
    "feedback_label_ids": st.lists(uuids, max_size=3).map(tuple),
    "feedback_stars": st.integers(0, 5),
    "suggested_lat": personals(st.floats(-90, 90).map(repr)),
    "suggested_lng": personals(st.floats(-180, 180).map(repr)),
    "media_urls": personals(
        st.lists(words.map(lambda word: f"https://{word}.example.com/"), min_size=1).map("\n".join)
    ),
    "cause": st.builds("{}/{}".format, references.map(ticket.stream), st.integers(1, 9)),
    "attempt": st.integers(0, 9),
    "attempts": st.integers(1, challenge.ATTEMPTS_MOST),
    "attempts_left": st.integers(0, challenge.ATTEMPTS_MOST),
    "stars": st.integers(0, 100),
    "failures": st.integers(0, 9),
    "shown": st.integers(0, 9),
    "template_version": st.integers(1, 100),
}
_TYPED: Final[Mapping[Any, st.SearchStrategy[Any]]] = {
    datetime: moments,
    Personal: personals(),
    str: words,
    bool: st.booleans(),
}


def _field(name: str, hint: Any) -> st.SearchStrategy[Any]:
    inner = [part for part in getattr(hint, "__args__", ()) if part is not type(None)]
    is_optional = type(None) in getattr(hint, "__args__", ())
    bare = inner[0] if is_optional else hint
    # A name that is personal in one event and clear in another goes by its type.
    if name in _NAMED and not (name == "by" and bare is Personal):
        found = _NAMED[name]
    elif bare in _TYPED:
        found = _TYPED[bare]
    else:
        found = st.sampled_from(bare.__args__)
    return st.none() | found if is_optional else found


def events_of(kind: type) -> st.SearchStrategy[Any]:
    """Give every event of one class: right-typed, whether it could have happened or not."""
    hints = get_type_hints(kind)
    return st.builds(
        kind, **{field.name: _field(field.name, hints[field.name]) for field in attrs.fields(kind)}
    )


#: The events of each class.
EVENTS: Final[Mapping[type, st.SearchStrategy[Any]]] = {
    kind: events_of(kind) for kind in catalogue.NAMES
}
#: Any event at all.
events: Final = st.one_of(list(EVENTS.values()))


def events_in(aggregate: ModuleType) -> st.SearchStrategy[Any]:
    """Give the events of one aggregate, in no order that makes sense."""
    return st.one_of([EVENTS[kind] for kind in aggregate.EVENTS.values()])


# --- histories -----------------------------------------------------------------------------------


@attrs.frozen
class Step:
    """One decision that was made: the state that it saw comes first among its arguments.

    Attributes:
        decide: the decision with every argument but the state.
        events: what it gave.
        error: how it refused.
    """

    decide: Callable[[Any], tuple[Any, ...]]
    events: tuple[Any, ...]
    error: DomainError | None = None

    @property
    def name(self) -> str:
        """What was decided."""
        return str(getattr(self.decide, "func", self.decide).__name__)


@attrs.frozen
class History:
    """What the decisions about one aggregate produced, in order."""

    aggregate: ModuleType
    steps: tuple[Step, ...]

    @property
    def events(self) -> tuple[Any, ...]:
        """Every event in order."""
        return tuple(event for step in self.steps for event in step.events)


_WAITS: Final = st.one_of(
    st.just(timedelta()),
    st.timedeltas(timedelta(), timedelta(seconds=5)),
    st.timedeltas(timedelta(), timedelta(seconds=90)),
    st.timedeltas(timedelta(), timedelta(minutes=40)),
)
_JUMPS: Final = st.one_of(_WAITS, _WAITS, _WAITS, st.timedeltas(-timedelta(hours=2), timedelta()))


@attrs.define
class _Driver:
    """Decides, folds, and moves a clock that may jump back when `may_go_back`."""

    draw: Callable[..., Any]
    aggregate: ModuleType
    may_go_back: bool = True
    at: datetime = START
    state: Any = attrs.field(init=False)
    steps: list[Step] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.state = self.aggregate.INITIAL

    def decide(self, decision: Callable[..., tuple[Any, ...]], **arguments: Any) -> None:
        decide = partial(decision, **arguments)
        try:
            given = decide(self.state)
        except DomainError as error:
            self.steps.append(Step(decide, (), error))
            return
        self.steps.append(Step(decide, given))
        self.state = reduce(self.aggregate.evolve, given, self.state)

    def happen(self, event: Any) -> None:
        """Something outside told us: a fact that no decision refuses."""
        self.decide(_heard, event=event)

    def pass_time(self) -> None:
        """Move on by nothing, a little or much, and seldom back."""
        self.at += self.draw(_JUMPS if self.may_go_back else _WAITS)

    def wait_until(self, moment: datetime | None) -> None:
        """Often be exactly at, or just beside, a moment that matters."""
        beside = self.draw(st.sampled_from([None, -1, 0, 0, 1]))
        if moment is not None and beside is not None:
            until = moment + timedelta(microseconds=beside)
            self.at = until if self.may_go_back else max(self.at, until)

    def history(self) -> History:
        return History(self.aggregate, tuple(self.steps))


def _looked(state: Any, *, event: Any) -> tuple[Any, ...]:
    """Give what older versions recorded of a look."""
    return () if event == state.revealed else (event,)


def _heard(state: Any, *, event: Any) -> tuple[Any, ...]:
    return () if event.feedback_id in state.feedback else (event,)


@st.composite
def person_histories(draw: Callable[..., Any], *, most: int = 12) -> History:
    """Give the life of a person: signs up, changes the address, proves some, is erased."""
    life = _Driver(draw, person)
    for _ in range(draw(st.integers(1, most))):
        life.pass_time()
        fingerprint = draw(fingerprints)
        email = of("ann", f"ann@{fingerprint[-1]}.example.com")
        match draw(st.sampled_from(["sign_up", "prove", "prove", "sign_up", "erase"])):
            case "sign_up":
                life.decide(
                    person.sign_up,
                    user="ann",
                    email=email,
                    fingerprint=fingerprint,
                    locale=draw(st.none() | locales),
                    at=life.at,
                )
            case "prove":
                how = draw(st.sampled_from(["code", "token"]))
                life.decide(
                    person.prove_address,
                    user="ann",
                    email=email,
                    fingerprint=fingerprint,
                    how=how,
                    challenge="challenge" if how == "code" else None,
                    at=life.at,
                )
            case _:
                reason = of("operator", "asked for it")
                life.decide(person.erase, user="ann", by="operator", reason=reason, at=life.at)
    return life.history()


LIMITS: Final = challenge.Limits()


def count(history: tuple[Any, ...], *, at: datetime, **others: int) -> challenge.Counts:
    """Count what a stream's challenges and `others` were charged in the hour before `at`."""
    issued = [
        event
        for event in history
        if isinstance(event, challenge.Issued) and event.at > at - challenge.WINDOW
    ]
    return challenge.Counts(
        address=len(issued) + others.get("address", 0),
        unproved=sum(not event.proved for event in issued) + others.get("unproved", 0),
        client=len(issued) + others.get("client", 0),
    )


@st.composite
def challenge_histories(
    draw: Callable[..., Any],
    *,
    most: int = 30,
    limits: challenge.Limits = LIMITS,
    may_go_back: bool = True,
) -> History:
    """Give what happens at one address and client, under limits that are really counted."""
    life = _Driver(draw, challenge, may_go_back)
    names: list[str] = []
    for _ in range(draw(st.integers(1, most))):
        life.pass_time()
        issued = life.state.issued
        if issued is not None:
            life.wait_until(draw(st.sampled_from([issued.expires_at, issued.at + limits.cooldown])))
        if names and draw(st.booleans()):
            life.decide(
                challenge.answer,
                challenge=draw(st.sampled_from(names[-2:])),
                correct=draw(st.sampled_from([False, False, False, True])),
                at=life.at,
            )
            continue
        names.append(f"challenge-{len(names)}")
        others = draw(st.sampled_from([{}, {}, {"unproved": 1000}, {"client": 1000}]))
        life.decide(
            challenge.issue,
            challenge=names[-1],
            client="console",
            fingerprint="f",
            user=draw(st.sampled_from(["ann", None])),
            proved=draw(st.booleans()),
            locale=draw(st.none() | locales),
            key_id="key",
            counts=count(life.history().events, at=life.at, **others),
            limits=limits,
            at=life.at,
        )
    return life.history()


_URLS: Final = st.sampled_from(["https://a.example.com", "http://b.example.com/?q=1,2"])


@st.composite
def submissions(draw: Callable[..., Any]) -> ticket.Submission:
    """Give what somebody may say in a ticket, as the checks let it through."""
    spoken = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=20)
    maybe = st.none() | spoken
    ticket_type: ticket.Type = draw(st.sampled_from(ticket.TYPES))
    match ticket_type:
        case "access_request":
            return ticket.access_request(
                {"organization_name": draw(spoken), "request_message": draw(maybe)}
            )
        case "organization_suggestion":
            return ticket.suggestion(
                {
                    "organization_name": draw(spoken),
                    "description": draw(maybe),
                    "suggested_district": draw(maybe),
                    "suggested_address": draw(maybe),
                    "additional_notes": draw(maybe),
                    "suggested_lat": draw(st.none() | st.floats(-90, 90)),
                    "suggested_lng": draw(st.none() | st.floats(-180, 180)),
                    "media_urls": draw(st.lists(_URLS, max_size=20)),
                }
            )
        case "organization_feedback":
            return ticket.feedback(
                {
                    "organization_id": draw(uuids),
                    "stars": draw(st.integers(0, 5)),
                    "label_ids": draw(st.lists(uuids, max_size=3)),
                    "description": draw(maybe),
                },
                organization_name=draw(spoken),
            )


@st.composite
def ticket_histories(draw: Callable[..., Any], *, most: int = 4) -> History:
    """Give the life of a ticket: submitted, and decided as often as somebody tries."""
    life = _Driver(draw, ticket)
    submission = draw(submissions())
    number = draw(st.integers(1, 1_000_000))
    life.decide(
        _submit_once,
        submission=submission,
        id=draw(uuids),
        reference=ticket.reference(submission.ticket_type, number),
        submitter="ann",
        email="ann@example.com",
        fingerprint=draw(fingerprints),
        assurance=draw(st.sampled_from(["code", "token", "none"])),
        locale=draw(st.none() | locales),
        at=life.at,
    )
    for _ in range(draw(st.integers(0, most))):
        life.pass_time()
        reviewer = draw(st.sampled_from(["bob", "cat"]))
        common: dict[str, Any] = {
            "by": of(reviewer, reviewer),
            "reviewer": reviewer,
            "note": draw(st.sampled_from([None, "", "Welcome.\nGood luck!"])),
            "at": life.at,
        }
        if draw(st.booleans()):
            life.decide(ticket.decline, **common)
            continue
        life.decide(
            ticket.approve,
            organization_id=draw(st.none() | uuids),
            new_organization_id=draw(st.none() | uuids),
            stars=draw(st.integers(0, 3)),
            **common,
        )
    return life.history()


def _submit_once(state: ticket.Ticket, **arguments: Any) -> tuple[ticket.Event, ...]:
    """Submit as the application does: a stream that exists is a pending ticket of the user."""
    pending = state.submitted.reference if state.submitted else None
    return ticket.submit(pending=pending, **arguments)


@st.composite
def notification_histories(
    draw: Callable[..., Any],
    *,
    kinds: tuple[notification.Kind, ...] = notification.KINDS,
    most: int = 25,
    may_go_back: bool = True,
) -> History:
    """Give the life of a mail: calls, late answers, look-ups, feedback, dead letters and people."""
    life = _Driver(draw, notification, may_go_back)
    kind: notification.Kind = draw(st.sampled_from(kinds))
    cause = draw(_NAMED["cause"])
    life.decide(
        notification.request,
        requested=attrs.evolve(
            draw(EVENTS[notification.Requested]),
            id=notification.notification_id(cause, kind, about="x"),
            kind=kind,
            cause=cause,
            expires_at=life.at + timedelta(seconds=300) if kind == "sign_in_code" else None,
            at=life.at,
        ),
    )
    for _ in range(draw(st.integers(0, most))):
        life.pass_time()
        life.wait_until(life.state.due_at)
        _live_on(draw, life)
    return life.history()


#: What usually comes next, so that a history goes somewhere.
_LIKELY: Final[Mapping[str, list[str]]] = {
    "requested": ["start"] * 20,
    "failed": ["start"] * 20,
    "attempting": ["end", "end", "lost"] * 9,
    "unknown": ["settle"] * 20,
    "dead_lettered": ["redrive"] * 15,
    "accepted": ["feedback"] * 15,
    "delivered": ["feedback"] * 5,
}


def _live_on(draw: Callable[..., Any], life: _Driver) -> None:
    """Do one of the things that may be done about a mail at any time, in time or late."""
    at = life.at
    attempt = draw(st.integers(max(1, life.state.calls - 1), max(1, life.state.calls)))
    settle = timedelta(seconds=900)
    anything = ["start", "end", "lost", "settle", "redrive", "withhold", "give_up", "discard"]
    match draw(st.sampled_from([*anything, "feedback", *_LIKELY.get(life.state.status, ())])):
        case "start":
            life.decide(
                notification.start_attempt,
                deadline=at + timedelta(seconds=10),
                template_version=1,
                template_hash="f" * 64,
                at=at,
            )
        case "end" if draw(st.booleans()):
            how = draw(st.sampled_from(["call", "lookup", "feedback"]))
            life.decide(
                notification.accept, attempt=attempt, message_id=f"ses-{attempt}", how=how, at=at
            )
        case "end":
            error_class = draw(
                st.sampled_from(["transient", "transient", "transient", "permanent", "account"])
            )
            life.decide(
                notification.fail, attempt=attempt, error_class=error_class, error="no", at=at
            )
        case "lost":
            life.decide(
                notification.lose_track, attempt=attempt, why="no answer", settle=settle, at=at
            )
        case "settle":
            life.decide(
                notification.settle_unknown, can_be_resent=draw(st.booleans()), wait=settle, at=at
            )
        case "withhold":
            why = draw(st.sampled_from(["suppressed", "expired", "erased"]))
            life.decide(notification.withhold, why=why, rule="rule.v1", at=at)
        case "give_up":
            life.decide(notification.give_up, error="cannot be written", at=at)
        case "redrive":
            life.decide(notification.redrive, by="bob", at=at)
        case "discard":
            life.decide(notification.discard, by="bob", reason=of("bob", "a test"), at=at)
        case _ if life.state.calls:
            life.happen(draw(feedback))


#: What SES may tell about a mail.
feedback: Final = st.one_of(
    [
        EVENTS[kind]
        for kind in (
            notification.Delivered,
            notification.Delayed,
            notification.Bounced,
            notification.Complained,
        )
    ]
)


@st.composite
def grant_histories(
    draw: Callable[..., Any], *, most: int = 20, may_go_back: bool = True
) -> History:
    """Give the life of a grant: attempts that end late or never, dead letters and people."""
    life = _Driver(draw, grant, may_go_back)
    requested = draw(EVENTS[grant.Requested])
    life.decide(
        grant.request,
        requested=attrs.evolve(
            requested, id=grant.grant_id(requested.ticket, requested.kind), at=life.at
        ),
    )
    for _ in range(draw(st.integers(0, most))):
        life.pass_time()
        life.wait_until(life.state.due_at)
        at = life.at
        attempt = draw(st.integers(max(1, life.state.calls - 1), max(1, life.state.calls)))
        anything = ["start", "fail", "carry_out", "redrive", "withhold", "discard"]
        likely = {
            "requested": ["start"] * 20,
            "failed": ["start"] * 20,
            "attempting": ["fail", "fail", "fail", "start"] * 6,
            "dead_lettered": ["redrive"] * 12,
        }
        match draw(st.sampled_from([*anything, *likely.get(life.state.status, ())])):
            case "start":
                life.decide(grant.start_attempt, deadline=at + timedelta(seconds=10), at=at)
            case "fail":
                permanent = draw(st.sampled_from([False, False, False, True]))
                life.decide(grant.fail, attempt=attempt, error="no", permanent=permanent, at=at)
            case "carry_out" if life.state.calls:
                life.decide(grant.carry_out, attempt=attempt, at=at)
            case "redrive":
                life.decide(grant.redrive, by="bob", at=at)
            case "withhold":
                life.decide(grant.withhold, at=at)
            case "discard":
                life.decide(grant.discard, by="bob", reason=of("bob", "a test"), at=at)
    return life.history()


@st.composite
def suppression_histories(draw: Callable[..., Any], *, most: int = 15) -> History:
    """Give what an address has trouble with: bounces in any order, complaints, people, SES."""
    life = _Driver(draw, suppression)
    about: dict[str, Any] = {"fingerprint": "f", "address": of(address_owner("f"), "a@example.com")}
    for number in range(draw(st.integers(1, most))):
        life.pass_time()
        report = {
            **about,
            "evidence": f"notification-n/{number}",
            "feedback_id": f"f-{draw(st.integers(0, most))}",
            "at": life.at - draw(st.timedeltas(timedelta(), timedelta(days=10))),
        }
        anything = ["bounce", "bounce", "complain", "add", "adopt", "lift", "look"]
        match draw(st.sampled_from(anything)):
            case "bounce":
                verdict = draw(st.sampled_from(["hard", "soft", "soft", "soft", "none"]))
                life.decide(suppression.bounce, verdict=verdict, limit=3, **report)
            case "complain":
                kind = draw(st.sampled_from([None, "abuse", suppression.NOT_SPAM]))
                life.decide(suppression.complain, complaint_type=kind, **report)
            case "add":
                note = of("bob", "asked for it")
                life.decide(suppression.add, by="bob", note=note, at=life.at, **about)
            case "adopt":
                life.decide(suppression.adopt, at=life.at, **about)
            case "lift":
                life.decide(suppression.lift, by="bob", reason=of("bob", "mended"), at=life.at)
            case _:
                life.decide(_looked, event=suppression.Revealed(by="eve", at=life.at))
    return life.history()


@st.composite
def lane_histories(draw: Callable[..., Any], *, most: int = 15) -> History:
    """Give what happens to a lane: calls that meet a halted account, tries, and people."""
    life = _Driver(draw, lane)
    for _ in range(draw(st.integers(1, most))):
        life.pass_time()
        life.wait_until(life.state.probe_at)
        at = life.at
        began = at - draw(st.timedeltas(timedelta(), timedelta(minutes=2)))
        anything = ["fail", "fail", "probe", "probe", "succeed", "halt", "resume"]
        match draw(st.sampled_from(anything)):
            case "fail":
                id = draw(st.sampled_from(["n", "m"]))
                whole = draw(st.booleans())
                life.decide(
                    lane.fail,
                    notification=id,
                    whole=whole,
                    error="paused",
                    began=began,
                    at=at,
                )
            case "probe":
                life.decide(lane.probe, notification="n", until=at + timedelta(seconds=9), at=at)
            case "succeed":
                life.decide(lane.succeed, notification="n", began=began, at=at)
            case "halt":
                why = draw(st.sampled_from(["restored", "person"]))
                life.decide(lane.halt, why=why, by="bob", note=of("bob", "x"), at=at)
            case _:
                life.decide(lane.resume, by="bob", note=of("bob", "x"), at=at)
    return life.history()


@st.composite
def report_histories(draw: Callable[..., Any], *, most: int = 8) -> History:
    """Give what is reported of one mail, again and again, until its send is recorded."""
    life = _Driver(draw, report)
    for _ in range(draw(st.integers(1, most))):
        life.pass_time()
        if draw(st.integers(0, 3)):
            said = draw(EVENTS[report.Parked])
            feedback_id = draw(st.sampled_from(["f1", "f2", "f3"]))
            parked = attrs.evolve(said, message_id="m", feedback_id=feedback_id, at=life.at)
            life.decide(report.park, parked=parked)
        else:
            life.decide(report.apply, notification="n1", at=life.at)
    return life.history()


@st.composite
def access_histories(draw: Callable[..., Any], *, most: int = 8) -> History:
    """Give who looks at one ticket's dossier, again and again."""
    life = _Driver(draw, access)
    for _ in range(draw(st.integers(1, most))):
        life.pass_time()
        by = draw(st.sampled_from(["eve", "bob"]))
        life.decide(
            access.look,
            what="dossier",
            subject="R00001",
            by=by,
            shown=draw(st.integers(0, 9)),
            at=life.at,
        )
    return life.history()


#: The legal histories of each aggregate.
HISTORIES: Final[Mapping[ModuleType, st.SearchStrategy[History]]] = {
    person: person_histories(),
    challenge: challenge_histories(),
    ticket: ticket_histories(),
    notification: notification_histories(),
    grant: grant_histories(),
    suppression: suppression_histories(),
    lane: lane_histories(),
    report: report_histories(),
    access: access_histories(),
}
histories: Final = st.one_of(list(HISTORIES.values()))
#: A property is about what holds, not about how fast the machine is.
unhurried: Final = settings(deadline=None)
