"""What was promised: it holds of a healthy history, and whatever breaks it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.app import promises
from siutindei.app.ports import (
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Recorded,
    Unavailable,
    Unreadable,
)
from siutindei.app.promises import MOST, RELEASED, SAYS, Claim
from siutindei.domain import mail, notification, person, suppression
from siutindei.domain.catalogue import NAMES
from siutindei.domain.mail import TEMPLATES, Senders
from siutindei.domain.personal import of
from siutindei.settings import read_settings
from tests.adapters.test_read_models import STEPS, Story
from tests.app.test_sending import ACCOUNT, DOMAIN, IDENTITY, FakeSes, configuration_set
from tests.app.world import ANN, BOB, World, make_world
from tests.aws_events import published
from tests.contracts import append
from tests.postgres import fresh_database
from tests.support import RING, START, VirtualClock, context, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siutindei.app.claims import Claims

#: What the history and the settings can tell, when something was reported of a mail.
KNOWN: Final = {*SAYS} - {"C8", "C9", "C14", "C18"}
Entries = tuple[Recorded, ...]
Answers = dict[str, Claim]


def answers(claims: Claims) -> Answers:
    """Give the answers by the promise."""
    return {claim.id: claim for claim in claims.check()}


def standing(found: Answers, holds: bool | None) -> set[str]:
    """Give the promises that stand so."""
    return {id for id, claim in found.items() if claim.holds is holds}


def hear(world: World, id: str, kind: str, **details: Any) -> None:
    """Hear of a mail what SES would say."""
    found = world.notices(id)
    at = world.clock.now().isoformat().replace("+00:00", "Z")
    said = published(kind, tag=id, message_id=found.message_id or "", timestamp=at, **details)
    feedback = world.services.feedback
    feedback.hear(context(), feedback.read(json.dumps(said)))


def tell(world: World) -> None:
    """Let two people sign in, tickets be decided, one mail bounce and one be complained of."""
    ann, bob = world.signed_in(), world.signed_in(BOB)
    world.submit(user=ann)
    world.submit("organization_suggestion", user=bob, email=BOB)
    world.drain()
    world.approve("R00001", create_organization=True)
    world.decline("S00001")
    world.drain()
    hear(world, world.notice_id("R00001", "ticket_decided"), "Delivery", feedbackId="f1")
    world.clock.advance(minutes=1)
    hear(world, world.notice_id("S00001", "ticket_decided"), "Bounce", feedbackId="f2")
    hear(world, world.notice_id("R00001", "ticket_decided"), "Complaint", feedbackId="f3")
    world.submit("organization_feedback", user=ann)
    world.approve("F00001")
    world.drain()


# --- what holds -----------------------------------------------------------------------------------


def test_a_healthy_history_keeps_what_it_can_tell(world: World) -> None:
    """Everything holds but what only the deployment, SES and a later version can show."""
    tell(world)
    found = answers(world.services.claims)

    assert list(SAYS) == list(found)
    assert KNOWN == standing(found, True)
    assert set() == standing(found, False)
    assert "3 notices" in found["C4"].evidence
    withheld = world.notice_id("F00001", "ticket_decided")
    assert f"withheld: notification-{withheld}" in found["C5"].evidence
    assert "3 tickets from addresses that a code proved" in found["C7"].evidence[0]


def test_what_cannot_be_known_says_what_would_show_it(world: World) -> None:
    """Roles, retention, alarms and the account at SES are not guessed."""
    tell(world)
    found = answers(world.services.claims)
    shown = {
        "C8": ("make policies", "ses status"),
        "C9": ("retention",),
        "C14": ("make e2e", "CloudWatch"),
        "C18": ("ses status", "suppression drift"),
    }

    assert {*shown} == standing(found, None)
    for id, words in shown.items():
        claim = found[id]
        assert len(claim.unknown) == len(claim.shown_by) > 0
        assert all(word in " ".join(claim.shown_by) for word in words)


def test_an_empty_history_breaks_nothing(world: World) -> None:
    """Nothing was mailed and nothing was reported: whether reports come in cannot be known."""
    found = answers(world.services.claims)

    assert set() == standing(found, False)
    assert None is found["C17"].holds
    assert "nothing was decided yet" in found["C5"].evidence


def test_the_letters_words_that_cannot_be_met_are_named(world: World) -> None:
    """Of three promises something else holds than the letter says, and the evidence says what."""
    found = answers(world.services.claims)

    for id in ("C5", "C13", "C16"):
        assert any("instead of the letter's words" in said for said in found[id].evidence)


def test_a_ticket_that_nobody_vouched_for_cannot_be_known(world: World) -> None:
    """It has no token behind it: the answer names it, and what would show it."""
    tell(world)
    world.submit(user="by-hand", email="eve@example.com", vouched=False)
    claim = answers(world.services.claims)["C7"]

    assert None is claim.holds
    assert "ticket-R00002/1" in claim.unknown[0]
    assert "a sign-in" in claim.shown_by[0]


def test_an_address_that_a_token_vouched_for_is_proved(world: World) -> None:
    """The proof stands in the same command, behind the ticket."""
    world.submit(user="by-token")
    claim = answers(world.services.claims)["C7"]

    assert claim.holds is True
    assert "1 from those that a token vouched for" in claim.evidence[0]


def test_what_came_of_each_decision_is_named(world: World) -> None:
    """Dead letters, what waits, and what may have come twice after an unknown outcome."""
    users = [world.signed_in(f"user-{number}@example.com") for number in range(8)]
    references = [
        world.submit(user=user, email=f"user-{number}@example.com")
        for number, user in enumerate(users)
    ]
    world.drain()
    world.mail.then_raises(MailRefused("no such mailbox"))
    world.approve(references[0], create_organization=True)
    world.drain()
    uncertain = MemoryMail(can_tell=False)
    uncertain.then_raises(MailOutcomeUnknown("silence"))
    other = world.rebuilt(mail=uncertain)
    other.decline(references[1])
    for _ in range(3):
        other.drain()
        world.clock.advance(minutes=16)
    for reference in references[2:]:
        other.decline(reference)
    found = answers(world.services.claims)
    said = found["C5"].evidence

    assert found["C5"].holds is True
    assert "1 dead_lettered, 1 done, 6 waiting" in said
    assert any(one.startswith("waiting: ") and one.endswith(" and 1 more") for one in said)
    twice = world.notice_id(references[1], "ticket_decided")
    (again,) = [one for one in said if one.startswith("mailed again after that")]
    assert f"notification-{twice}/" in again


def test_a_code_and_a_notice_that_went_again_are_no_decision(world: World) -> None:
    """What may have come twice is named of decisions alone."""
    uncertain = MemoryMail(can_tell=False)
    uncertain.then_raises(MailOutcomeUnknown("silence"))
    other = world.rebuilt(mail=uncertain)
    other.submit()
    for _ in range(3):
        other.drain()
        world.clock.advance(minutes=16)
    found = answers(world.services.claims)

    assert not [one for one in found["C5"].evidence if "again after" in one]
    assert found["C13"].holds is True


def test_three_failures_and_a_dead_letter_keep_the_promise(world: World) -> None:
    """So does a redrive, after which there are three more attempts."""
    for _ in range(4):
        world.mail.then_raises(MailNotSent("busy"))
    world.submit()
    for _ in range(4):
        world.drain()
        world.clock.advance(minutes=5)
    letters = [letter.id for letter in world.services.dead_letters.all()]
    world.services.dead_letters.redrive(context(), letters, by="op")
    for _ in range(2):
        world.drain()
        world.clock.advance(minutes=5)
    claim = answers(world.services.claims)["C13"]

    assert claim.holds is True
    assert "1 mails: 1 taken" in claim.evidence[0]


def test_an_erasure_is_carried_out(world: World) -> None:
    """Who was erased has no key left; what is not built yet stays open."""
    user = world.signed_in()
    world.services.people.erase(context(), user, by="op", reason="asked")
    claim = answers(world.services.claims)["C9"]

    assert claim.holds is None
    assert any(one.startswith("1 people were erased") for one in claim.evidence)


def test_the_progress_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits is told how far the log is read."""
    monkeypatch.setattr("siutindei.app.claims._STEP", 3)
    world.signed_in()
    told: list[tuple[int, int]] = []
    world.services.claims.check(progress=lambda done, last: told.append((done, last)))
    last = world.store.last_position()

    assert (3, last) == told[0]
    assert (last, last) == told[-1]


@settings(deadline=None, max_examples=30)
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_the_use_cases_let_happen_breaks_no_promise(steps: list[tuple[Any, ...]]) -> None:
    """No story that the use cases let happen breaks anything."""
    port = MemoryMail()
    with TemporaryDirectory() as folder:
        services = make_services(Path(folder), mail=port)
        story = Story(services, port)
        for step in steps:
            story.happen(step)
        found = answers(services.claims)
        services.store.close()

    assert {} == {id: found[id].breaks for id in standing(found, False)}


def test_every_template_that_was_ever_mailed_is_known() -> None:
    """A new version of a template needs a new line, and no line goes."""
    assert {(kind, 1) for kind in notification.KINDS} <= set(RELEASED)
    for kind, template in TEMPLATES.items():
        assert template.hash == RELEASED[kind, template.version]


# --- what breaks, in the store --------------------------------------------------------------------


def test_an_event_in_the_store_that_breaks_a_promise_is_named(world: World) -> None:
    """Somebody wrote a mail into the history that nothing asked for."""
    tell(world)
    template = TEMPLATES["ticket_decided"]
    wrong = notification.Requested(
        id="n1",
        kind="ticket_decided",
        cause="ticket-R00001/2",
        ticket="R00001",
        user="ann",
        recipient=of("ann", "list@example.com"),
        fingerprint="f" * 32,
        template="ticket_decided",
        template_version=template.version,
        template_hash=template.hash,
        at=START,
    )
    append(world.store, "notification-n1", wrong)
    found = answers(world.services.claims)

    assert {"C5", "C11", "C12"} == standing(found, False)
    for id in ("C5", "C11", "C12"):
        assert ["notification-n1/1"] == [one.event for one in found[id].breaks]


def test_it_is_the_same_on_postgresql(tmp_path: Path) -> None:
    """Both databases give the same answers, what breaks a promise included."""
    with fresh_database() as url:
        clock = VirtualClock()
        store = PostgresStore(url, master=RING, clock=clock)
        far: Any = make_world(tmp_path / "far", clock=clock, store=store)
        near = make_world(tmp_path / "near")
        told = []
        for world in (far, near):
            tell(world)
            for user in ("ann", "eve"):
                erased = person.Erased(user=user, by="op", reason=of("op", "asked"), at=START)
                append(world.store, f"person-{user}", erased)
            told.append(answers(world.services.claims))
        store.close()

    assert {"C9"} == standing(told[0], False)
    assert {"person-ann/1", "person-eve/1"} == {one.event for one in told[0]["C9"].breaks}
    for id, claim in told[0].items():
        assert (claim.holds, claim.broken) == (told[1][id].holds, told[1][id].broken)


def test_an_event_that_cannot_be_read_ends_it(world: World) -> None:
    """What it says may break a promise: nothing is answered, and the error names it."""
    tell(world)
    with world.store.writing() as cursor:
        cursor.execute(
            "UPDATE stored_events SET topic = 'ticket.approved.v9' WHERE topic = ?",
            ("ticket.approved.v1",),
        )
    with pytest.raises(Unreadable, match=r"ticket\.approved\.v9"):
        world.services.claims.check()


# --- what breaks, in a history that was changed ---------------------------------------------------


@attrs.frozen
class Told:
    """A history that was told, and changed afterwards; `kept` are people whose keys are there."""

    entries: Entries
    kept: tuple[str, ...] = ()

    def read(self, *, until: int) -> Iterator[Recorded]:
        """Read it in order."""
        return iter(self.entries)

    def last_position(self) -> int:
        """Give the last position."""
        return self.entries[-1].position

    def not_erased(self, owners: Sequence[str]) -> Sequence[str]:
        """Say whose keys are there."""
        return [owner for owner in owners if owner in self.kept]


@pytest.fixture(scope="module", name="healthy")
def _healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Entries]:
    world = make_world(tmp_path_factory.mktemp("claims"))
    tell(world)
    return world, tuple(world.store.read())


def ask(world: World, entries: Entries, *, kept: tuple[str, ...] = (), **changes: Any) -> Answers:
    """Hold the promises against a history that was changed, or other settings."""
    store: Any = Told(entries, kept)
    return answers(attrs.evolve(world.services.claims, store=store, **changes))


def event_of(entry: Recorded) -> Any:
    """Give what is in an entry."""
    return entry.event


def places(entries: Entries, name: str, **fields: Any) -> list[int]:
    """Find the events of a name, with some fields."""
    return [
        place
        for place, entry in enumerate(entries)
        if entry.name.rpartition(".v")[0] == name
        and all(getattr(entry.event, key) == value for key, value in fields.items())
    ]


def changed(entries: Entries, place: int, **fields: Any) -> Entries:
    """Change an event; `context` changes what stands around it."""
    entry = entries[place]
    around = attrs.evolve(entry.context, **fields.pop("context", {}))
    made = attrs.evolve(entry, context=around, event=attrs.evolve(event_of(entry), **fields))
    return (*entries[:place], made, *entries[place + 1 :])


def then(entries: Entries, *more: tuple[str, Any]) -> Entries:
    """Let more happen, each event by a command of its own that carries on its stream's ids."""
    made = list(entries)
    for stream, event in more:
        own = [entry for entry in made if entry.stream == stream]
        name = f"later-{len(made)}"
        around = context(name)
        if own:
            around = attrs.evolve(around, correlation_id=own[0].context.correlation_id)
        made.append(
            Recorded(
                stream=stream,
                version=len(own) + 1,
                position=len(made) + 1,
                name=NAMES[type(event)],
                recorded_at=START,
                context=around,
                event=event,
            )
        )
    return tuple(made)


def attempt(number: int, *, minutes: float = 60) -> notification.AttemptStarted:
    """Announce an attempt."""
    at = START + timedelta(minutes=minutes)
    return notification.AttemptStarted(attempt=number, deadline=at, at=at)


def failed(number: int, **fields: Any) -> notification.Failed:
    """Record an attempt that failed."""
    return attrs.evolve(
        notification.Failed(
            attempt=number, error_class="transient", error="busy", retry_at=START, at=START
        ),
        **fields,
    )


def first(entries: Entries, name: str, **fields: Any) -> int:
    """Find the first event of a name, with some fields."""
    return places(entries, name, **fields)[0]


def last(entries: Entries, name: str, **fields: Any) -> int:
    """Find the last event of a name, with some fields."""
    return places(entries, name, **fields)[-1]


def test_the_history_that_is_changed_below_breaks_nothing(healthy: tuple[World, Entries]) -> None:
    """What breaks below is what was changed."""
    assert set() == standing(ask(*healthy), False)


REQUESTED: Final = "notification.requested"
Change = Callable[[Entries], tuple[Entries, str]]


def at(name: str, which: dict[str, Any] | None = None, **fields: Any) -> Change:
    """Change the first event of a name, with some fields; it is what breaks the promise."""

    def change(entries: Entries) -> tuple[Entries, str]:
        place = first(entries, name, **(which or {}))
        return changed(entries, place, **fields), entries[place].id

    return change


def behind(name: str, which: dict[str, Any] | None, *events: Any) -> Change:
    """Let more happen in the stream of an event; the last is what breaks the promise."""

    def change(entries: Entries) -> tuple[Entries, str]:
        stream = entries[first(entries, name, **(which or {}))].stream
        made = then(entries, *((stream, event) for event in events))
        return made, made[-1].id

    return change


def no_suppression(reason: str, name: str) -> Change:
    """Take away what followed from a report."""

    def change(entries: Entries) -> tuple[Entries, str]:
        place = first(entries, "suppression.suppressed", reason=reason)
        rest = (*entries[:place], *entries[place + 1 :])
        return rest, entries[first(entries, name)].id

    return change


def missing(kind: str) -> Change:
    """Take away the request of a mail, and everything that followed for it; its cause is left."""

    def change(entries: Entries) -> tuple[Entries, str]:
        entry = entries[first(entries, REQUESTED, kind=kind)]
        event: Any = entry.event
        return tuple(one for one in entries if one.stream != entry.stream), event.cause

    return change


def suppressed(reason: Any) -> Change:
    """Try a new mail to somebody whose address is suppressed."""

    def change(entries: Entries) -> tuple[Entries, str]:
        place = first(entries, "suppression.suppressed", reason=reason)
        fingerprint: Any = entries[place].event
        request = first(
            entries, REQUESTED, fingerprint=fingerprint.fingerprint, kind="sign_in_code"
        )
        made = then(entries, (entries[request].stream, attempt(2)))
        return made, made[-1].id

    return change


def decided_again(entries: Entries) -> tuple[Entries, str]:
    """Decide a ticket a second time, and mail it."""
    approved = entries[first(entries, "ticket.approved")]
    request = entries[first(entries, REQUESTED, cause=approved.id)]
    around = attrs.evolve(
        context("again"), correlation_id=approved.context.correlation_id, causation_id=None
    )
    version = approved.version + 1
    decision = attrs.evolve(approved, version=version, position=len(entries) + 1, context=around)
    mailed = attrs.evolve(
        request,
        stream="notification-again",
        version=1,
        position=len(entries) + 2,
        context=attrs.evolve(around, causation_id=decision.id),
        event=attrs.evolve(event_of(request), id="again", cause=decision.id),
    )
    return (*entries, decision, mailed), decision.id


CODE: Final = {"kind": "sign_in_code"}
NOTICE: Final = {"kind": "ticket_received"}
DECISION: Final = {"kind": "ticket_decided"}
BREAKS: Final = {
    # --- C2, C6: what is written
    "another kind of mail": (at(REQUESTED, CODE, template="newsletter"), {"C2"}),
    "an unknown template": (at(REQUESTED, CODE, template_hash="0" * 64), {"C6"}),
    "a version of a template that never was": (at(REQUESTED, CODE, template_version=9), {"C6"}),
    "an attempt with an unknown template": (
        at("notification.attempt_started", template_hash="0" * 64, template_version=2),
        {"C6"},
    ),
    # --- C3, C10: codes
    "a code to another address": (at(REQUESTED, CODE, fingerprint="e" * 32), {"C3", "C10"}),
    "a code of another challenge": (at(REQUESTED, CODE, challenge="other"), {"C3", "C10"}),
    "a code to nobody": (at(REQUESTED, CODE, recipient=None), {"C3"}),
    "a code without a sign-in": (
        at(REQUESTED, CODE, cause="challenge-x/9"),
        {"C3", "C10", "C12", "C13"},
    ),
    # --- C4, C11: notices
    "a notice to somebody": (at(REQUESTED, NOTICE, fingerprint="e" * 32), {"C4", "C11"}),
    "a notice to a person": (at(REQUESTED, NOTICE, user="eve"), {"C4", "C11"}),
    "a notice about another ticket": (at(REQUESTED, NOTICE, ticket="R00009"), {"C4"}),
    "a notice without a ticket": (
        at(REQUESTED, NOTICE, cause="ticket-R00009/1"),
        {"C4", "C11", "C12", "C13"},
    ),
    # --- C5, C11: decisions
    "a decision to another address": (at(REQUESTED, DECISION, fingerprint="e" * 32), {"C5", "C11"}),
    "a decision to another person": (at(REQUESTED, DECISION, user="eve"), {"C5", "C11"}),
    "a decision about another ticket": (at(REQUESTED, DECISION, ticket="R00009"), {"C5", "C11"}),
    "a decision to support": (at(REQUESTED, DECISION, recipient=None), {"C5", "C11"}),
    "a decision that was mailed again": (
        behind(REQUESTED, DECISION, attempt(2)),
        {"C5", "C13", "C17"},
    ),
    "a second decision": (decided_again, {"C5"}),
    # --- C7: addresses
    "a proof that nobody gave": (at("challenge.issued", proved=True), {"C7"}),
    "a ticket that names a proof": (at("ticket.submitted", assurance="token"), {"C7"}),
    "a ticket from another address": (
        at("ticket.submitted", fingerprint="e" * 32),
        {"C7", "C5", "C11"},
    ),
    # --- C12: causes
    "an attempt of a mail that nobody asked for": (
        lambda entries: (
            then(entries, ("notification-x", attempt(1))),
            "notification-x/1",
        ),
        {"C12", "C13"},
    ),
    # --- C13: attempts
    "a third failure without a dead letter": (
        behind(
            REQUESTED,
            {"cause": "ticket-F00001/1"},
            *(event for number in (2, 3, 4) for event in (attempt(number), failed(number))),
        ),
        {"C13"},
    ),
    "a dead letter after one attempt": (
        behind(
            REQUESTED,
            {"cause": "ticket-F00001/1"},
            notification.DeadLettered(why="attempts_exhausted", at=START),
        ),
        {"C13"},
    ),
    # --- C15: ids
    "an event without a request": (
        at("ticket.submitted", context={"request_id": ""}),
        {"C15"},
    ),
    "a mail that does not name its cause": (
        at(REQUESTED, NOTICE, context={"causation_id": None}),
        {"C15"},
    ),
    "an attempt of another chain": (
        at("notification.attempt_started", context={"correlation_id": "other"}),
        {"C15"},
    ),
    "a mail that was taken under no id": (at("notification.accepted", message_id=""), {"C15"}),
    # --- C16, C17: reports
    "a bounce without a suppression": (
        no_suppression("bounce", "notification.bounced"),
        {"C16"},
    ),
    "a complaint without a suppression": (
        no_suppression("complaint", "notification.complained"),
        {"C17"},
    ),
    "a mail to who bounced": (suppressed("bounce"), {"C13", "C16"}),
    "a mail to who complained": (suppressed("complaint"), {"C13", "C17"}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_what_breaks_a_promise_is_named(healthy: tuple[World, Entries], name: str) -> None:
    """The promises that it breaks do not hold, and each names the event; the others stand."""
    world, entries = healthy
    change, expected = BREAKS[name]
    made, event = change(entries)
    found = ask(world, made)

    assert expected == standing(found, False)
    named = {id: [one.event for one in found[id].breaks] for id in expected}
    assert all(named.values())
    assert any(event in names for names in named.values()), named
    for one in (one for id in expected for one in found[id].breaks):
        assert (one.event or "").rpartition("/")[0] in one.what


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("sign_in_code", {"C13"}),
        ("ticket_received", {"C4", "C13"}),
        ("ticket_decided", {"C5", "C13"}),
    ],
)
def test_a_mail_that_was_not_asked_for_is_lost(
    healthy: tuple[World, Entries], kind: str, expected: set[str]
) -> None:
    """Its cause is named; a notice and a decision are promised themselves."""
    world, entries = healthy
    made, cause = missing(kind)(entries)
    found = ask(world, made)

    assert expected <= standing(found, False)
    for id in expected:
        assert cause in [one.event for one in found[id].breaks]


def test_a_mail_that_waits_for_nothing_is_lost(healthy: tuple[World, Entries]) -> None:
    """Nobody looks at it again: the stream is named."""
    world, entries = healthy
    stream = entries[first(entries, REQUESTED, kind="ticket_decided")].stream
    place = next(
        number
        for number, entry in enumerate(entries)
        if entry.stream == stream and entry.name == "notification.accepted.v1"
    )
    lost = attrs.evolve(
        entries[place], name="notification.failed.v1", event=failed(1, retry_at=None)
    )
    # What was reported of it would settle it.
    made = tuple(
        lost if entry is entries[place] else entry
        for entry in entries
        if entry.stream != stream or entry.version < lost.version or entry is entries[place]
    )
    found = ask(world, made)

    for id in ("C5", "C13"):
        assert f"{stream}/3" in [one.event for one in found[id].breaks]
    assert "1 lost" in found["C5"].evidence[1]


def test_a_mail_to_a_stranger_breaks_the_promise(healthy: tuple[World, Entries]) -> None:
    """A sign-in of an address that nobody has asks for no mail, and one that has, for one."""
    world, entries = healthy
    issued = first(entries, "challenge.issued")
    user = entries[issued].event.user  # type: ignore[union-attr]
    request = first(entries, REQUESTED, kind="sign_in_code")
    unknown = changed(entries, issued, user=None)
    nobody = tuple(
        entry
        for entry in entries
        if not (isinstance(entry.event, person.SignedUp) and entry.event.user == user)
    )

    found = ask(world, unknown)
    assert {"C3", "C10", "C12"} <= standing(found, False)
    assert entries[request].id in [one.event for one in found["C10"].breaks]
    assert {"C10"} == standing(ask(world, nobody), False)


def test_a_code_to_who_was_erased_breaks_the_promise(healthy: tuple[World, Entries]) -> None:
    """An erased account is nobody's."""
    world, entries = healthy
    issued = first(entries, "challenge.issued")
    event: Any = entries[issued].event
    erased = person.Erased(user=event.user, by="op", reason=of("op", "asked"), at=START)
    gone = then((), (person.stream(event.user), erased))[0]
    place = issued
    made = (*entries[:place], gone, *entries[place:])
    found = ask(world, made)

    assert entries[first(entries, REQUESTED)].id in [one.event for one in found["C10"].breaks]


def test_keys_that_are_left_of_the_erased_break_the_promise(healthy: tuple[World, Entries]) -> None:
    """The erasure is named."""
    world, entries = healthy
    erased = person.Erased(user="gone", by="op", reason=of("op", "asked"), at=START)
    made = then(entries, ("person-gone", erased))

    assert standing(ask(world, made), False) == set()
    found = ask(world, made, kept=("gone",))
    assert ["person-gone/1"] == [one.event for one in found["C9"].breaks]


def test_a_mail_that_does_not_name_the_company_breaks_the_promise(
    healthy: tuple[World, Entries], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mail is written and looked at."""
    monkeypatch.setitem(mail.COMMON["en"], "company", "Somebody")
    claim = ask(*healthy)["C9"]

    assert claim.holds is False
    assert {"sign_in_code (en)", "ticket_received (en)", "ticket_decided (en)"} <= {
        one.what.partition(" does")[0] for one in claim.breaks
    }


# --- attempts that are more than may be, and the quota --------------------------------------------


def test_a_fourth_attempt_breaks_the_promise(healthy: tuple[World, Entries]) -> None:
    """Without a redrive there are three."""
    world, entries = healthy
    stream = "notification-n9"
    request = entries[first(entries, REQUESTED, kind="ticket_received")]
    begun = attrs.evolve(
        request, stream=stream, version=1, event=attrs.evolve(event_of(request), id="n9")
    )
    place = entries.index(request)
    made = then(
        (*entries[:place], begun, *entries[place + 1 :]),
        *(
            (stream, event)
            for number in (1, 2, 3, 4)
            for event in (attempt(number), failed(number))
        ),
    )
    broken = [one.event for one in ask(world, made)["C13"].breaks]

    # The third failure has no dead letter behind it, and a fourth attempt follows.
    assert f"{stream}/7" in broken
    assert f"{stream}/8" in broken


def test_more_mails_than_the_quota_break_the_promise(healthy: tuple[World, Entries]) -> None:
    """The attempts that were too many are named, and the most that there were in 24 hours."""
    world, entries = healthy
    attempts = [entries[place].id for place in places(entries, "notification.attempt_started")]
    found = ask(world, entries, quota=4)["C1"]

    assert attempts[4:] == [one.event for one in found.breaks]
    assert f"at most {len(attempts)} mails within 24 hours ({attempts[-1]})" in found.evidence[1]
    assert ask(world, entries, quota=len(attempts))["C1"].holds is True


def test_what_surely_was_not_sent_leaves_the_count(world: World) -> None:
    """A failure gives its place back; what is unknown keeps it; a day later all is free again."""
    for _ in range(3):
        world.mail.then_raises(MailNotSent("busy"))
    world.submit()
    for _ in range(3):
        world.drain()
        world.clock.advance(minutes=5)
    claims = attrs.evolve(world.services.claims, quota=1)
    assert answers(claims)["C1"].holds is True

    uncertain = MemoryMail(can_tell=False)
    uncertain.then_raises(MailOutcomeUnknown("silence"))
    other = world.rebuilt(mail=uncertain)
    other.submit("organization_suggestion")
    other.drain()
    world.clock.advance(hours=25)
    other.drain()
    assert answers(claims)["C1"].holds is True

    other.submit("organization_feedback")
    world.clock.advance(minutes=5)
    other.drain()
    assert answers(claims)["C1"].holds is False


def test_the_count_is_that_of_the_budget(world: World) -> None:
    """The pass over the log counts as the read model does, at the newest attempt."""
    tell(world)
    used = world.store.views.sends(since=world.clock.now() - timedelta(days=1)).usage.used

    assert f"at most {used} mails" in answers(world.services.claims)["C1"].evidence[1]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected", "said"),
    [
        ({"region": "eu-west-1"}, {"C1"}, "AWS_REGION is eu-west-1, and ap-southeast-1 was"),
        ({"quota": 2000}, {"C1"}, "SIUTINDEI_DAILY_QUOTA is 2000, and 1000 was asked for"),
        ({"senders": Senders(codes_from="news@lx-software.com")}, {"C3"}, "SES_FROM_ADDRESS is"),
        (
            {"senders": Senders(tickets_from="news@lx-software.com")},
            {"C4", "C5"},
            "SES_SENDER_EMAIL is news@lx-software.com",
        ),
        (
            {"senders": Senders(support="everybody@lx-software.com")},
            {"C4", "C11"},
            "SUPPORT_EMAIL is everybody@lx-software.com",
        ),
    ],
)
def test_a_setting_that_breaks_a_promise_is_named(
    healthy: tuple[World, Entries], changes: dict[str, Any], expected: set[str], said: str
) -> None:
    """What was promised of the configuration is compared with it."""
    world, entries = healthy
    found = ask(world, entries, **changes)

    assert expected == standing(found, False)
    for id in expected:
        assert [None] == [one.event for one in found[id].breaks]
        assert found[id].breaks[0].what.startswith(said)


# --- what SES says --------------------------------------------------------------------------------


def at_ses(tmp_path: Path, ses: FakeSes) -> World:
    """Give an application whose mails go to SES."""
    return make_world(tmp_path, environment={"SIUTINDEI_MAIL": "ses"}, ses_settings=ses)


def test_ses_is_asked_where_mails_go_there(tmp_path: Path) -> None:
    """The suppression list is on; that the senders are verified is half of what was promised."""
    found = answers(at_ses(tmp_path, FakeSes()).services.claims)

    assert found["C18"].holds is True
    assert found["C8"].holds is None
    assert (f"SES says of {DOMAIN}: verified",) == found["C8"].evidence
    assert len(found["C8"].unknown) == 1


def test_what_ses_says_can_break_a_promise(tmp_path: Path) -> None:
    """A list that is off, for the account or for a set of mails, and a sender it does not know."""
    ses = FakeSes()
    ses.state = attrs.evolve(ACCOUNT, suppressed=frozenset({"BOUNCE"}))
    ses.sets["siutindei-codes"] = configuration_set(suppressed=frozenset())
    ses.identities[DOMAIN] = attrs.evolve(IDENTITY, verified=False)
    found = answers(at_ses(tmp_path, ses).services.claims)

    assert [
        "SES says of suppression list: BOUNCE",
        "SES says of siutindei-codes: suppression list: off",
    ] == [one.what for one in found["C18"].breaks]
    assert [f"SES says of {DOMAIN}: not verified"] == [one.what for one in found["C8"].breaks]


def test_ses_that_cannot_be_asked_is_not_known(tmp_path: Path) -> None:
    """The reason is said, and the history is answered all the same."""

    def account() -> Any:
        raise Unavailable("SES cannot be reached")

    claims = attrs.evolve(at_ses(tmp_path, FakeSes()).services.claims, account=account)
    found = answers(claims)

    assert found["C18"].holds is None
    assert ("SES cannot be asked: SES cannot be reached",) == found["C18"].unknown
    assert found["C1"].holds is True


# --- reports --------------------------------------------------------------------------------------


def many(entries: Entries, count: int) -> Entries:
    """Let a code be mailed to each of many people: copies of the first one, and what came of it."""
    request = entries[first(entries, REQUESTED, kind="sign_in_code")]
    issued: Any = entries[first(entries, "challenge.issued")]
    made: list[Recorded] = list(entries)
    for number in range(count):
        names = {"user": f"user-{number}", "fingerprint": f"{number:032x}"}
        signed = person.SignedUp(
            user=names["user"], email=of("x", "x@example.com"), fingerprint="", at=START
        )
        name = f"many-{number}"
        around = context(name)
        stream = f"notification-many-{number}"
        cause = attrs.evolve(
            issued,
            stream=f"challenge-app-{number:032x}",
            version=1,
            context=around,
            event=attrs.evolve(event_of(issued), challenge=name, **names),
        )
        asked = attrs.evolve(
            request,
            stream=stream,
            context=attrs.evolve(around, causation_id=cause.id),
            event=attrs.evolve(event_of(request), id=name, cause=cause.id, challenge=name, **names),
        )
        made += [
            attrs.evolve(
                cause,
                stream=f"person-user-{number}",
                version=1,
                name="person.signed_up.v1",
                event=signed,
            ),
            cause,
            asked,
            attrs.evolve(
                asked,
                version=2,
                name="notification.attempt_started.v1",
                event=attempt(1, minutes=number * 10),
            ),
            attrs.evolve(
                asked,
                version=3,
                name="notification.accepted.v1",
                event=notification.Accepted(attempt=1, message_id=name, at=START),
            ),
        ]
    return tuple(made)


def report(entries: Entries, number: int, event: Any, follows: str = "") -> Entries:
    """Report something of one of many mails; what follows for its address follows."""
    made = then(entries, (f"notification-many-{number}", event))
    if not follows:
        return made
    reason: Any = follows
    rule = suppression.Suppressed(
        fingerprint=f"{number:032x}", reason=reason, evidence=made[-1].id, rule="r", at=START
    )
    (more,) = then((), (f"suppression-{number:032x}", rule))
    return (*made, attrs.evolve(more, position=len(made) + 1, context=made[-1].context))


HARD: Final = notification.Bounced(
    feedback_id="b", bounce_type="Permanent", bounce_subtype="General", at=START
)
SOFT: Final = attrs.evolve(HARD, bounce_type="Transient", bounce_subtype="MailboxFull")
COMPLAINT: Final = notification.Complained(feedback_id="c", complaint_type="abuse", at=START)
DELIVERED: Final = notification.Delivered(feedback_id="d", at=START)


@pytest.fixture(scope="module", name="crowd")
def _crowd(healthy: tuple[World, Entries]) -> tuple[World, Entries]:
    world, entries = healthy
    # Without the reports of the story, which would be of the first mails.
    quiet = tuple(
        entry
        for entry in entries
        if not isinstance(entry.event, notification.Feedback | suppression.Suppressed)
    )
    return world, many(quiet, 1000)


def test_rates_are_those_of_mails_that_reports_could_be_of(crowd: tuple[World, Entries]) -> None:
    """Counted is from the first to the newest mail that anything was reported of."""
    world, entries = crowd
    for number in (0, 999):
        entries = report(entries, number, DELIVERED)
    entries = report(entries, 3, SOFT)
    entries = report(entries, 4, attrs.evolve(COMPLAINT, complaint_type="not-spam"))
    entries = report(entries, 5, HARD, "bounce")
    claim = ask(world, entries)["C17"]

    assert claim.holds is True, claim
    assert claim.evidence[1].startswith("1000 mails to people")
    assert claim.evidence[2].startswith("1 of 1000 were bounced for good: 0.10 %; SES reviews")
    assert claim.evidence[3].startswith("0 of 1000 were complained of: 0.00 %; SES reviews")


def test_one_complaint_in_a_thousand_mails_is_too_much(crowd: tuple[World, Entries]) -> None:
    """From 0.1 % on SES reviews an account: the promise does not hold."""
    world, entries = crowd
    for number in (0, 999):
        entries = report(entries, number, DELIVERED)
    entries = report(entries, 7, COMPLAINT, "complaint")
    claim = ask(world, entries)["C17"]

    assert [
        "1 of 1000 were complained of: 0.10 %; SES reviews an account at 0.1 %, "
        "and may pause it at 0.5 %"
    ] == [one.what for one in claim.breaks]


def test_five_bounces_in_a_hundred_mails_are_too_many(crowd: tuple[World, Entries]) -> None:
    """From 5 % on SES reviews an account; of a hundred mails complaints are not judged yet."""
    world, entries = crowd
    for number in (10, 109):
        entries = report(entries, number, DELIVERED)
    for number in range(20, 25):
        bounce = attrs.evolve(HARD, feedback_id=f"b{number}")
        entries = report(entries, number, bounce, "bounce")
    claim = ask(world, entries)["C17"]

    assert ["5 of 100 were bounced for good: 5.00 %"] == [
        one.what.partition(";")[0] for one in claim.breaks
    ]
    assert any("fewer than 1000 mails are too few to judge" in said for said in claim.evidence)


def test_notices_are_in_no_rate(world: World) -> None:
    """SES does not count what bounces at a domain of ours."""
    world.submit()
    world.drain()
    hear(world, world.notice_id("R00001"), "Bounce")
    found = answers(world.services.claims)

    assert found["C16"].holds is True
    assert found["C17"].holds is None


def test_a_bounce_changes_nothing_that_is_suppressed_or_was_lifted_since(world: World) -> None:
    """It is reported of an address that is suppressed for good, or of a time before a lifting."""
    user = world.signed_in()
    early = world.clock.now()
    references = [
        world.submit(kind, user=user)
        for kind in ("access_request", "organization_suggestion", "organization_feedback")
    ]
    world.drain()
    for reference in references:
        world.decline(reference)
    world.drain()
    ids = [world.notice_id(reference, "ticket_decided") for reference in references]
    world.clock.advance(minutes=1)
    hear(world, ids[0], "Bounce", feedbackId="f1")
    hear(world, ids[1], "Bounce", feedbackId="f2")
    world.clock.advance(minutes=1)
    world.services.suppressions.lift(context(), ANN, by="op", reason="works again")
    world.clock.at, now = early, world.clock.now()
    hear(world, ids[2], "Bounce", feedbackId="f3")
    world.clock.at = now
    world.start(user)
    found = answers(world.services.claims)

    assert found["C16"].holds is True


def test_only_the_first_breaks_are_named(healthy: tuple[World, Entries]) -> None:
    """A broken history may have one for every event: the others are counted."""
    world, entries = healthy
    made = then(entries, *((f"notification-x{number}", attempt(1)) for number in range(MOST + 3)))
    claim = ask(world, made)["C12"]

    assert (MOST, MOST + 3) == (len(claim.breaks), claim.broken)


def test_what_the_letter_names_is_what_the_product_is_made_for() -> None:
    """The letter's numbers and addresses are the defaults of the settings."""
    defaults = read_settings({})

    assert (defaults.region, defaults.budget_limits.quota) == (promises.REGION, promises.QUOTA)
    assert defaults.senders == promises.SENDERS
