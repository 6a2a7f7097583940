"""What would differ: the real history under other rules, enacted by the use cases themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from datetime import date, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.app.commands import transact
from siutindei.app.folding import lane_of, notification_of, version_of
from siutindei.app.ports import (
    Died,
    MailNotSent,
    MailOutcomeUnknown,
    Report,
    Unreadable,
)
from siutindei.domain import lane, notification
from siutindei.domain.challenge import TooManySignIns
from siutindei.domain.personal import of
from tests.app.lives import Life
from tests.app.world import ANN, BOB, World, make_world
from tests.postgres import fresh_database
from tests.support import RING, START, VirtualClock, context, make_services

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from siutindei.app.ports import ReportKind, Transaction
    from siutindei.app.rules import Rules
    from siutindei.app.what_if import Comparison

CAROL: Final = "carol@example.com"


def enact(world: World, rules: Rules | None = None) -> Comparison:
    """Enact a history, by default under the rules that it has."""
    service = world.services.what_if
    return service.compare(rules or world.services.rules, progress=lambda *_: None)


def signing_in(world: World, **changes: Any) -> Rules:
    """Give the rules of now with other limits of sign-ins."""
    rules = world.services.rules
    return attrs.evolve(rules, sign_in=attrs.evolve(rules.sign_in, **changes))


def retrying(world: World, **changes: Any) -> Rules:
    """Give the rules of now with other rules of trying again."""
    rules = world.services.rules
    return attrs.evolve(rules, retries=attrs.evolve(rules.retries, **changes))


def budgeting(world: World, **changes: Any) -> Rules:
    """Give the rules of now with another budget."""
    rules = world.services.rules
    return attrs.evolve(rules, budget=attrs.evolve(rules.budget, **changes))


def is_faithful(found: Comparison) -> bool:
    """Whether everything was enacted as it was."""
    return not found.unlike


# --- nothing changed ------------------------------------------------------------------------------


def test_nothing_happens_in_an_empty_history(world: World) -> None:
    """Where nothing happened nothing would differ."""
    found = enact(world)

    assert (0, 0, True) == (found.events, found.mails, found.is_same)


@pytest.mark.slow
@settings(max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_every_history_is_enacted_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Whatever happened to mails, under the same rules it happens again, at the same moments."""
    world = Life(tmp_path_factory.mktemp("life"), seed).live(80)
    before = world.store.last_position()
    found = enact(world)

    assert () == found.unlike
    assert found.is_same
    assert before == world.store.last_position()
    world.store.close()


@pytest.mark.parametrize("seed", range(25))
def test_a_life_is_enacted_as_it_was(tmp_path: Path, seed: int) -> None:
    """The same of a few lives that are always the same."""
    found = enact(Life(tmp_path / "life", seed).live(100))

    assert () == found.unlike
    assert found.is_same


# --- sign-ins -------------------------------------------------------------------------------------


def asked(world: World, distances: dict[str, list[int]]) -> dict[tuple[str, int], str]:
    """Let people ask for codes at these seconds, and give the challenges."""
    users = {email: world.person(email) for email in distances}
    moments = sorted((at, email) for email, moments in distances.items() for at in moments)
    challenges = {}
    for at, email in moments:
        world.clock.at = START + timedelta(seconds=at)
        challenges[email, at] = world.start(users[email], email).challenge
        world.drain()
    return challenges


def test_a_longer_cool_down_names_the_codes_that_would_not_be_mailed(world: World) -> None:
    """With four minutes, who asks again after less gets the open challenge again, and no mail."""
    challenges = asked(
        world, {ANN: [0, 90, 200, 290, 800], BOB: [0, 239], CAROL: [5, 245, 600, 610]}
    )
    found = enact(world, signing_in(world, cooldown=timedelta(seconds=240)))

    removed = {one.about: one.why for one in found.removed}
    assert {
        challenges[ANN, 90]: f"given again: {challenges[ANN, 0]}",
        challenges[ANN, 200]: f"given again: {challenges[ANN, 0]}",
        challenges[BOB, 239]: f"given again: {challenges[BOB, 0]}",
    } == removed
    assert () == found.added + found.changed + found.refused
    assert is_faithful(found)


def test_who_gets_a_challenge_again_answers_that_one(world: World) -> None:
    """What was answered rightly is answered rightly, with the code that was mailed before."""
    user = world.person()
    first = world.start(user).challenge
    world.clock.advance(seconds=100)
    world.answer(world.start(user).challenge)
    world.submit(user=user, vouched=False)
    world.drain()
    found = enact(world, signing_in(world, cooldown=timedelta(seconds=240)))

    assert [(f"given again: {first}", None)] == [(one.why, one.after) for one in found.differences]
    assert is_faithful(found)


def test_a_shorter_cool_down_adds_nothing_that_left_no_event(world: World) -> None:
    """Who was given the open challenge again left no event, and is not found again."""
    asked(world, {ANN: [0, 30]})

    assert enact(world, signing_in(world, cooldown=timedelta(0))).is_same


def test_a_lower_limit_of_an_address_refuses_sign_ins(world: World) -> None:
    """A code that would not be mailed is named with the limit, and the sign-in as refused."""
    challenges = asked(world, {ANN: [0, 400, 800], BOB: [10]})
    found = enact(world, signing_in(world, per_address=2))

    (removed,) = found.removed
    assert (challenges[ANN, 800], "refused: address") == (removed.about, removed.why)
    (refused,) = found.refused
    assert (removed.event, "address", "app") == (refused.event, refused.limit, refused.client)
    assert START + timedelta(seconds=800) == refused.at


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({"unproved": 2}, "unproved"), ({"per_client": 2}, "client")],
    ids=["unproved", "client"],
)
def test_lower_limits_of_all_refuse_whoever_comes_last(
    world: World, changes: dict[str, int], limit: str
) -> None:
    """The limits that people share are enacted in the order in which they came."""
    challenges = asked(world, {ANN: [0], BOB: [10], CAROL: [20]})
    found = enact(world, signing_in(world, **changes))

    assert [(challenges[CAROL, 20], f"refused: {limit}")] == [
        (one.about, one.why) for one in found.removed
    ]


def test_a_higher_limit_adds_the_codes_that_were_refused(world: World) -> None:
    """The first refusal of an hour is an event: a code would have been mailed for it."""
    user = world.person()
    for number in range(7):
        with suppress(TooManySignIns):
            world.start(user)
        world.clock.advance(seconds=61 + number)
    found = enact(world, signing_in(world, per_address=6))

    (added,) = found.added
    assert ("sign_in_code", None) == (added.kind, added.before)
    assert world.store.load(added.event.rpartition("/")[0])[-1].name == "challenge.limit_reached.v1"
    assert is_faithful(found)


def test_a_stranger_who_was_refused_gets_no_mail_under_any_limit(world: World) -> None:
    """Who has no account, as the actor says, is enacted as a stranger."""
    limited = world.rebuilt(environment={"SIUTINDEI_CODES_PER_ADDRESS": "2"})

    def start() -> None:
        asking = context(actor="client:app")
        limited.services.sign_in.start(asking, client="app", email=ANN, user=None)
        world.clock.advance(seconds=70)

    start()
    start()
    with pytest.raises(TooManySignIns):
        start()

    found = enact(limited, signing_in(limited, per_address=5))
    assert found.is_same
    assert is_faithful(found)


def test_who_was_never_signed_up_is_a_stranger(tmp_path: Path) -> None:
    """A sign-in that is refused signs nobody up: the next one is a stranger's, without a mail."""
    world = make_world(tmp_path / "home", environment={"SIUTINDEI_CODES_PER_ADDRESS": "1"})
    world.start(world.person(BOB), BOB)
    world.clock.advance(minutes=59)
    world.start("user-ann")
    world.clock.advance(minutes=2)
    with pytest.raises(TooManySignIns):
        world.start("user-ann")
    now = world.rebuilt(environment={"SIUTINDEI_CODES_PER_ADDRESS": "5"})
    found = enact(now, signing_in(now, per_client=1))

    assert ["refused: client", "nobody asked for it"] == [one.why for one in found.removed]
    assert ["mailed"] == [one.after.word for one in found.unlike if one.after]


def test_a_code_that_lives_for_shorter_is_not_answered_in_time(world: World) -> None:
    """What followed from an answer does not follow when the code is dead by then."""
    user = world.person()
    challenge = world.start(user).challenge
    world.clock.advance(seconds=200)
    world.answer(challenge)
    world.clock.advance(seconds=50)
    world.start(user)
    found = enact(world, signing_in(world, ttl=timedelta(seconds=60), unproved=1))

    # The address was never proved: the second code counts against all who proved none.
    assert ["refused: unproved"] == [one.why for one in found.removed]


# --- the budget -----------------------------------------------------------------------------------


def test_a_smaller_quota_puts_mails_off(world: World) -> None:
    """Mails that would wait are told with how long, and the days on which that is."""
    for number in range(6):
        world.submit(user=f"user-{number}", email=f"{number}@example.com")
        world.drain()
        world.clock.advance(hours=3)
    world.clock.advance(days=2)
    world.submit(user="user-9")
    world.drain()
    found = enact(world, budgeting(world, quota=4, floor=0, reserve=0))

    # Both are looked at when there is room for one: whoever is first goes.
    assert [timedelta(hours=15), timedelta(hours=9)] == [one.late for one in found.changed]
    (day, later) = found.budget
    assert (date(2026, 1, 31), 5, 4, 1) == (day.day, day.used, day.limit, day.waited)
    assert (date(2026, 2, 1), 6, 4, 1) == (later.day, later.used, later.limit, later.waited)
    assert () == found.added + found.removed
    assert is_faithful(found)


def test_a_code_that_waits_beyond_its_life_is_not_mailed(world: World) -> None:
    """Why it expired is told too."""
    asked(world, {ANN: [0], BOB: [1]})
    world.clock.advance(hours=1)
    world.submit()
    world.drain()
    found = enact(world, budgeting(world, quota=1, floor=0, reserve=0))

    assert ["expired after over_budget", "over_budget"] == [one.why for one in found.removed]
    assert ["withheld", "waiting"] == [one.after.word for one in found.removed if one.after]


# --- what is heard --------------------------------------------------------------------------------


def bounced(world: World, reference: str, number: int, kind: ReportKind = "bounced") -> None:
    """Hear of a bounce for now of the decision about a ticket."""
    world.services.feedback.hear(
        context(),
        Report(
            kind=kind,
            name="Bounce",
            message_id=world.notice(reference, "ticket_decided").message_id or "",
            notification_id=world.notice_id(reference, "ticket_decided"),
            feedback_id=f"feedback-{number}",
            at=world.clock.now(),
            main_type="Transient",
            sub_type="MailboxFull",
        ),
    )


def test_fewer_bounces_suppress_an_address(world: World) -> None:
    """With one bounce for now instead of three, the next decision is not mailed."""
    for number in range(2):
        reference = world.submit()
        world.decline(reference)
        world.drain()
        bounced(world, reference, number)
        world.clock.advance(days=1)
    rules = world.services.rules

    one = enact(world, attrs.evolve(rules, soft_bounces=1))
    assert [("ticket_decided", "R00002", "suppressed")] == [
        (removed.kind, removed.ticket, removed.why) for removed in one.removed
    ]
    short = attrs.evolve(rules.terms, term=timedelta(hours=12))
    assert enact(world, attrs.evolve(rules, soft_bounces=1, terms=short)).is_same
    narrow = attrs.evolve(rules.terms, window=timedelta(hours=12))
    assert enact(world, attrs.evolve(rules, soft_bounces=2, terms=narrow)).is_same
    assert is_faithful(one)


def test_what_was_reported_comes_at_the_same_distance(tmp_path: Path) -> None:
    """A mail that goes later is reported of later: what follows from it comes later too."""
    world = make_world(tmp_path / "home", mail=MemoryMail(has_feedback=True))
    world.mail.then_raises(MailNotSent("busy"))
    reference = world.submit()
    world.drain()
    world.clock.advance(seconds=40)
    world.drain()
    world.decline(reference)
    world.drain()
    world.clock.advance(seconds=5)
    bounced(world, reference, 1, "complained")
    second = world.submit()
    world.decline(second)
    world.drain()
    waits = {"ticket_received": (timedelta(seconds=600), timedelta(seconds=600))}
    backoff = notification.BACKOFF | waits  # type: ignore[operator]
    found = enact(world, retrying(world, backoff=backoff))

    assert ["ticket_received"] == [one.kind for one in found.differences]
    assert is_faithful(found)


# --- trying again ---------------------------------------------------------------------------------


def failing(world: World, *errors: Exception | None) -> str:
    """Submit a ticket whose notice meets errors, and let a worker run for a while."""
    for error in errors:
        world.mail.then_raises(error)  # type: ignore[arg-type]
    reference = world.submit()
    for _ in range(60):
        world.drain()
        world.clock.advance(seconds=30)
    return reference


def test_fewer_attempts_give_a_mail_up(world: World) -> None:
    """What was taken the third time would be a dead letter after two."""
    failing(world, MailNotSent("busy"), MailNotSent("busy"))
    found = enact(world, retrying(world, attempts=2))

    assert ["attempts_exhausted"] == [one.why for one in found.removed]
    assert is_faithful(found)


def test_more_attempts_send_what_was_given_up(world: World) -> None:
    """A call that was never made is taken, after as long as others took."""
    failing(world, *[MailNotSent("busy")] * 3)
    found = enact(world, retrying(world, attempts=4))

    (added,) = found.added
    assert added.before is not None
    assert ("dead_lettered", "attempts_exhausted") == (added.before.word, added.before.why)
    assert is_faithful(found)


def test_a_longer_back_off_sends_later(world: World) -> None:
    """The worker looks as late as it did then."""
    failing(world, MailNotSent("busy"))
    wait = {kind: (timedelta(seconds=330),) for kind in notification.KINDS}
    found = enact(world, retrying(world, backoff=wait))

    (changed,) = found.changed
    assert changed.late is not None
    # With a quarter of jitter at the most.
    assert timedelta(seconds=300) <= changed.late <= timedelta(seconds=375)
    assert not found.is_same


def test_a_shorter_settle_time_sends_again_earlier(world: World) -> None:
    """An outcome that nobody knows is settled by the rule of the policy."""
    mail = MemoryMail(can_tell=False)
    world = attrs.evolve(world.rebuilt(mail=mail), mail=mail)
    failing(world, MailOutcomeUnknown("no answer"))
    rules = world.services.rules
    found = enact(world, attrs.evolve(rules, settle=timedelta(seconds=60)))

    (changed,) = found.changed
    assert timedelta(seconds=-840) == changed.late
    assert is_faithful(found)

    never = dict.fromkeys(notification.KINDS, False)
    kept = enact(world, retrying(world, resent_after_unknown=never))
    assert [("unknown", None)] == [(one.why, one.late) for one in kept.removed]


def test_a_call_that_was_not_made_is_as_if_nobody_had_looked(world: World) -> None:
    """A process that stood still between the announcement and the call is not enacted."""

    class Still(VirtualClock):
        """A clock of a process that stands still after a while."""

        calls = 0

        def now(self) -> Any:
            """Give the time."""
            self.calls += 1
            if self.calls == 2:
                self.advance(seconds=20)
            return self.at

    clock = Still(world.clock.at)
    world.submit()
    still = world.rebuilt(clock=clock)
    context_ = context()
    (due,) = world.store.views.due(at=clock.at)
    clock.calls = 0
    outcome = still.services.delivery.deliver(context_, due.id)
    assert ("failed", "not_called") == (outcome.result, outcome.error_class)
    world.clock.at = clock.at + timedelta(minutes=2)
    world.drain()

    assert is_faithful(enact(world))


def test_what_was_heard_in_time_settles_an_outcome(tmp_path: Path) -> None:
    """What a report settled is not sent again, whether anybody looks at it before that or not."""
    mail = MemoryMail(can_tell=False)
    world = make_world(tmp_path / "home", mail=mail)
    world.mail.then_raises(MailOutcomeUnknown("no answer"))
    reference = world.submit()
    world.drain()
    world.clock.advance(seconds=500)
    world.services.feedback.hear(
        context(),
        Report(
            kind="accepted",
            name="Send",
            message_id="late",
            notification_id=world.notice_id(reference),
            at=world.clock.now() - timedelta(seconds=490),
        ),
    )
    rules = world.services.rules

    found = enact(world)
    assert is_faithful(found)
    assert found.is_same
    # Whoever looks before sees that nothing was reported of later mails, and waits on.
    assert enact(world, attrs.evolve(rules, settle=timedelta(seconds=60))).is_same


def test_a_mail_that_was_taken_before_its_process_died_is_found_out(world: World) -> None:
    """A port that can tell says that it was taken, on a stage too."""
    world.mail.then_raises(Died(), takes_it=True)  # type: ignore[arg-type]
    world.submit()
    with pytest.raises(Died):
        world.drain()
    world.clock.advance(minutes=1)
    world.drain()

    assert "accepted" == world.notice("R00001").status
    assert is_faithful(enact(world))


# --- what operators and machines did --------------------------------------------------------------


def test_lanes_that_a_backup_halted_stay_halted(world: World) -> None:
    """A halt of a restored database is enacted like one that a person decided."""

    def halt(tx: Transaction) -> None:
        stream = lane.stream("tickets")
        events = tx.load(stream)
        note = of("restore", "a copy")
        at = world.clock.now()
        decided = lane.halt(lane_of(events), why="restored", by="restore", note=note, at=at)
        tx.append(stream, version_of(events), decided)

    transact(world.store, context(), halt)
    world.submit()
    world.drain()

    found = enact(world)
    assert is_faithful(found)
    assert found.is_same


def test_a_mail_that_could_not_be_written_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written then is not mailed on a stage either."""
    with monkeypatch.context() as patch:
        patch.setattr("siutindei.domain.mail.ticket_received", lambda: None)
        world.submit()
        world.drain()

    assert is_faithful(enact(world))


def test_somebody_who_was_erased_is_erased_again(world: World) -> None:
    """An erased history is enacted: nothing in it has to be opened."""
    user = world.signed_in()
    reference = world.submit(user=user)
    world.drain()
    world.decline(reference)
    world.services.people.erase(context(), user, by="op", reason="asked")
    world.drain()
    world.start(None, ANN)
    found = enact(world, signing_in(world, cooldown=timedelta(seconds=240)))

    assert is_faithful(found)
    assert found.is_same
    assert "withheld" == world.notice(reference, "ticket_decided").status


def test_what_a_person_did_about_a_mail_that_is_not_there_does_nothing(world: World) -> None:
    """A dead letter that nobody would ask for is not redriven: its sign-in would be refused."""
    user = world.person()
    world.start(user)
    world.clock.advance(seconds=100)
    for _ in range(3):
        world.mail.then_raises(MailNotSent("busy"))
    world.start(user)
    world.clock.advance(seconds=100)
    world.drain()
    letters = [letter.id for letter in world.services.dead_letters.all()]
    assert letters
    world.services.dead_letters.redrive(context(), letters, by="op")
    world.drain()
    found = enact(world, signing_in(world, per_address=1))

    assert ["refused: address"] == [one.why for one in found.removed]
    assert is_faithful(found)


def test_receives_that_came_to_nothing_are_enacted(world: World) -> None:
    """What the sweep gave up is given up, where it is there to be given up."""
    world.submit()
    stream = notification.stream(world.notice_id("R00001"))

    def exhaust(tx: Transaction) -> None:
        events = tx.load(stream)
        decided = notification.exhaust_receives(notification_of(events), at=world.clock.now())
        tx.append(stream, version_of(events), decided, cause=events[-1])

    transact(world.store, context(), exhaust)
    assert is_faithful(enact(world))


def test_a_process_that_died_is_enacted(world: World) -> None:
    """A call that nobody answered is looked up, and found out, as it was."""
    world.mail.then_raises(Died())  # type: ignore[arg-type]
    world.submit()
    with pytest.raises(Died):
        world.drain()
    world.clock.advance(minutes=1)
    world.drain()

    assert is_faithful(enact(world))


# --- what is read, and what is loaded -------------------------------------------------------------


def test_other_rules_than_the_ones_it_was_made_under_are_told(tmp_path: Path) -> None:
    """Where the rules of now are not those of then, it is said which mails are not as they were."""
    world = make_world(tmp_path / "home")
    asked(world, {ANN: [0, 90]})
    now = world.rebuilt(environment={"SIUTINDEI_CODE_COOLDOWN": "240"})
    found = enact(now)

    assert ["mailed"] == [one.before.word for one in found.unlike if one.before]
    assert found.is_same


def test_what_cannot_be_read_is_an_error(world: World) -> None:
    """An event of a newer version is named, and nothing is compared without it."""
    world.submit()
    with world.store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET topic = 'ticket.submitted.v9' WHERE rowid = 1")

    with pytest.raises(Unreadable, match=r"submitted\.v9"):
        enact(world)


def test_nothing_personal_is_opened(world: World) -> None:
    """A history whose keys are all gone is enacted as it was."""
    user = world.signed_in()
    world.decline(world.submit(user=user))
    world.drain()
    with world.store.writing() as cursor:
        cursor.execute("DELETE FROM vault_keys")
    found = enact(world)

    assert 3 == found.mails
    assert is_faithful(found)


def test_it_is_the_same_on_postgresql(tmp_path: Path) -> None:
    """A history in PostgreSQL is enacted as one in a file is, and stays as it is."""
    clock = VirtualClock()
    with fresh_database() as url:
        store = PostgresStore(url, master=RING, clock=clock)
        try:
            world = World(
                services=make_services(tmp_path, clock=clock, store=store),
                mail=MemoryMail(),
                clock=clock,
                store=store,  # type: ignore[arg-type]
                home=tmp_path,
            )
            challenges = asked(world, {ANN: [0, 90, 500], BOB: [0, 400]})
            found = enact(world, signing_in(world, cooldown=timedelta(seconds=240)))

            assert [challenges[ANN, 90]] == [one.about for one in found.removed]
            assert is_faithful(found)
        finally:
            store.close()


_ENACT: Final = """
import json, sys
from pathlib import Path
from siutindei.bootstrap import build
from siutindei.settings import read_settings
services = build(read_settings({}, home=Path(sys.argv[1])))
found = services.what_if.compare(services.rules, progress=lambda *_: None)
print(json.dumps({"mails": found.mails, "same": found.is_same, "modules": [*sys.modules]}))
"""


@pytest.mark.slow
def test_a_process_that_enacts_has_nothing_to_send_with(tmp_path: Path) -> None:
    """No module that sends is loaded where a history is enacted."""
    services = make_services(tmp_path, on_disk=True)
    del services.__dict__["vault_keys"], services.__dict__["code_keys"]
    del services.__dict__["index_key"], services.__dict__["store"]
    services.tickets.submit(
        context(),
        ticket_type="access_request",
        user="user-1",
        email=ANN,
        body={"organization_name": "Star Dance"},
    )
    services.store.close()
    done = subprocess.run(
        [sys.executable, "-c", _ENACT, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    result: dict[str, Any] = json.loads(done.stdout)

    assert (1, True) == (result["mails"], result["same"])
    assert set() == set(result["modules"]) & {
        *("siutindei.adapters.maildir", "siutindei.adapters.memory_mail"),
        *("siutindei.adapters.mime", "siutindei.adapters.smtp", "siutindei.adapters.ses"),
        *("siutindei.adapters.aws", "smtplib", "boto3", "botocore"),
    }


# --- what it says is what would have happened -----------------------------------------------------

#: A history that leaves an event for whatever is asked of it.
_LOOSE: Final = {
    "SIUTINDEI_CODE_COOLDOWN": "0",
    "SIUTINDEI_CODES_PER_ADDRESS": "1000",
    "SIUTINDEI_UNPROVED_HOURLY": "1000",
    "SIUTINDEI_CODES_PER_CLIENT": "1000",
    "SIUTINDEI_DECISION_FLOOR": "0",
    "SIUTINDEI_CODE_RESERVE": "0",
}


def lived(home: Path, seed: int, rules: dict[str, str]) -> World:
    """Let the same people ask for the same things at the same moments, under some rules.

    A worker works whenever something is due.
    """
    world, random = make_world(home, environment=_LOOSE | rules), Random(seed)
    people = {f"{number}@example.com": f"user-{number}" for number in range(5)}
    for number in range(40):
        until = world.clock.at + timedelta(seconds=random.choice((1, 20, 45, 100, 200, 2000)))
        worked(world, until)
        email, user = random.choice(list(people.items()))
        right, is_ticket = random.random() < 0.5, random.random() < 0.2
        if is_ticket:
            world.submit(user=f"other-{number}", email=f"other-{number}@example.com")
            continue
        challenge = None
        with suppress(TooManySignIns):
            challenge = world.start(user, email).challenge
        world.clock.at = until + timedelta(seconds=1)
        if right and challenge is not None:
            world.answer(challenge)
    worked(world, world.clock.at + timedelta(days=2))
    return world


def worked(world: World, until: datetime) -> None:
    """Let a worker work at each moment at which something is due."""
    while (due := world.store.views.next_due()) is not None and due <= until:
        world.clock.at = max(world.clock.at, due)
        world.drain()
    world.clock.at = until


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    cooldown=st.sampled_from([0, 60, 240]),
    per_address=st.sampled_from([1, 3, 1000]),
    unproved=st.sampled_from([2, 1000]),
    per_client=st.sampled_from([5, 1000]),
    quota=st.sampled_from([8, 1000]),
)
def test_what_is_said_is_what_really_happens_under_those_rules(
    tmp_path_factory: pytest.TempPathFactory, seed: int, **numbers: int
) -> None:
    """The mails that a what-if leaves are those of the same life under the changed rules."""
    names = {
        "cooldown": "SIUTINDEI_CODE_COOLDOWN",
        "per_address": "SIUTINDEI_CODES_PER_ADDRESS",
        "unproved": "SIUTINDEI_UNPROVED_HOURLY",
        "per_client": "SIUTINDEI_CODES_PER_CLIENT",
        "quota": "SIUTINDEI_DAILY_QUOTA",
    }
    changed = {names[name]: str(number) for name, number in numbers.items()}
    before = lived(tmp_path_factory.mktemp("before"), seed, {})
    after = lived(tmp_path_factory.mktemp("after"), seed, changed)
    found = enact(before, after.services.rules)

    said = mailed(before)
    for one in found.differences:
        said.pop(one.asked_at)
        if one.after is not None and one.after.mailed_at is not None:
            said[one.asked_at] = one.after.mailed_at
    really = mailed(after)
    assert really.keys() == said.keys()
    # Which of those that wait for the same room goes first is a matter of their ids.
    assert sorted(really.values()) == sorted(said.values())
    assert () == found.unlike + found.added
    before.store.close()
    after.store.close()


def mailed(world: World) -> dict[Any, Any]:
    """Give the moments at which mails went, by those at which they were asked for."""
    return {
        item.requested.at: item.accepted_at
        for item in world.store.views.notifications(status="accepted")
        if item.requested is not None
    }
