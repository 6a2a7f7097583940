"""The history: read, looked at as it was, and replayed without any way to send."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from siutindei.adapters.projections import NAMES
from siutindei.app.folding import FOLDS
from siutindei.app.history import describe, moment, plain
from siutindei.app.times import EPOCH, from_micros, micros
from siutindei.domain import budget, ticket
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import ERASED, of
from tests.app.world import ANN, World
from tests.aws_events import published
from tests.support import START, context, drain, make_services

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="story")
def _story(world: World) -> World:
    """Let something of everything happen, an hour apart."""
    user = world.signed_in()
    world.clock.advance(hours=1)
    for ticket_type in ticket.TYPES:
        world.submit(ticket_type, user=user)
    world.drain()
    world.clock.advance(hours=1)
    world.approve("R00001", create_organization=True, note="Welcome.")
    world.drain()
    world.submit(user="user-2")
    world.services.people.erase(context(), "user-2", by="op", reason="asked")
    return world


# --- streams --------------------------------------------------------------------------------------


def test_a_stream_gives_its_events(story: World) -> None:
    """The events of a stream come in order, from version 1."""
    events = story.services.history.stream("ticket-R00001")

    assert [
        ("ticket-R00001/1", "ticket.submitted.v1"),
        ("ticket-R00001/2", "ticket.approved.v1"),
    ] == [(entry.id, entry.name) for entry in events]
    with pytest.raises(NotFound):
        story.services.history.stream("ticket-R00009")


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (1, "pending"),
        (2, "approved"),
        (99, "approved"),
        (START + timedelta(hours=1), "pending"),
        (START + timedelta(hours=2), "approved"),
    ],
    ids=str,
)
def test_a_state_can_be_seen_as_it_was(story: World, at: int | datetime, status: str) -> None:
    """A ticket's state at a version or a moment is what was known of it then."""
    assert status == story.services.history.state("ticket-R00001", at=at)["status"]


@pytest.mark.parametrize("at", [0, START], ids=str)
def test_before_its_first_event_there_is_no_state(story: World, at: int | datetime) -> None:
    """A stream that had not begun is not found at that moment."""
    with pytest.raises(NotFound):
        story.services.history.state("ticket-R00001", at=at)


def test_a_state_shows_nothing_personal(story: World) -> None:
    """In a state personal fields are said to be sealed, and nothing is opened."""
    state = story.services.history.state("ticket-R00001", at=2)

    assert ("[sealed]", "[sealed]") == (
        state["submitted"]["submitter_email"],
        state["decision"]["note"],
    )
    assert json.dumps(state)


def test_every_category_has_a_state(story: World) -> None:
    """Each stream of the history can be looked at as a state."""
    story.services.suppressions.add(context(), ANN, by="op", reason="asked")
    story.services.lanes.halt(context(), "codes", by="op", reason="wrong text")
    story.services.people.export(context(), "user-2", by="op")
    feedback = story.services.feedback
    feedback.hear(context(), feedback.read(json.dumps(published("Bounce", tag="0" * 32))))
    streams = {entry.stream for entry in story.services.history.tail()}

    assert set(FOLDS) == {stream.partition("-")[0] for stream in streams}
    assert all(story.services.history.state(stream, at=99) for stream in streams)


def test_a_clock_that_went_back_breaks_no_state(world: World) -> None:
    """What stands before an event in its stream happened before it, whatever the clock said."""
    reference = world.submit()
    world.clock.advance(minutes=-5)
    world.decline(reference)
    state = world.services.history.state(
        f"ticket-{reference}", at=world.clock.now() + timedelta(minutes=1)
    )

    assert ("declined", reference) == (state["status"], state["submitted"]["reference"])


# --- the log --------------------------------------------------------------------------------------


def test_the_tail_is_the_log_in_order(story: World) -> None:
    """Positions rise, every event is there once, and reading goes on behind any of them."""
    entries = list(story.services.history.tail())
    positions = [entry.position for entry in entries]

    assert sorted(set(positions)) == positions
    assert story.store.last_position() == positions[-1]
    assert entries[5:] == list(story.services.history.tail(after=positions[4]))


def test_the_tail_is_filtered(story: World) -> None:
    """A stream, a name, a last position and a last moment each leave out the rest."""
    tail = story.services.history.tail
    decided = list(tail(name="ticket.approved"))

    assert ["ticket-R00001/2"] == [entry.id for entry in decided]
    assert decided == list(tail(name="ticket.approved.v1", stream="ticket-R00001"))
    assert [] == list(tail(name="ticket.approved", stream="ticket-S00001"))
    assert decided[0].position == list(tail(until=decided[0].position))[-1].position
    assert {START} == {entry.recorded_at for entry in tail(until=START)}
    assert ["person.address_proved.v2"] == [
        entry.name for entry in tail(name="person.address_proved", until=START)
    ]


def test_a_name_that_no_event_has_is_an_error(story: World) -> None:
    """A typing error finds nothing, and is told."""
    with pytest.raises(Invalid) as refused:
        story.services.history.tail(name="ticket.aproved")

    assert "type" == refused.value.field


def test_an_event_is_described_with_where_it_came_from(story: World) -> None:
    """A described event names its request, what caused it and what it says, nothing opened."""
    (entry,) = story.services.history.tail(name="ticket.approved")
    (asked,) = [
        described
        for found in story.services.history.tail(name="notification.requested")
        if (described := describe(found))["causation_id"] == "ticket-R00001/2"
    ]
    described = describe(entry)

    assert ("ticket-R00001/2", "ticket-R00001", 2, "ticket.approved.v1", "operator:test") == tuple(
        described[name] for name in ("id", "stream", "version", "name", "actor")
    )
    assert "[sealed]" == described["data"]["note"]
    assert described["correlation_id"] == asked["correlation_id"]
    assert not {"aws_request_id", "sqs_message_id"} & described.keys()
    assert json.dumps(described)


def test_a_lambdas_ids_are_described_when_there_are_any(world: World) -> None:
    """The ids of an invocation and of a message are shown where they were recorded."""
    from attrs import evolve

    by_lambda = evolve(context(), aws_request_id="invocation-1", sqs_message_id="message-1")
    world.services.sign_in.sign_up(by_lambda, email=ANN)
    (entry,) = world.services.history.tail()

    assert ("invocation-1", "message-1") == (
        describe(entry)["aws_request_id"],
        describe(entry)["sqs_message_id"],
    )


def test_what_is_plain() -> None:
    """Times are text, what is personal is said to be, and containers are walked through."""
    value = {"at": START, "who": [of("user-1", ANN), ERASED], "pair": (1, None)}

    assert {
        "at": "2026-01-31T01:30:00+00:00",
        "who": [ANN, "[erased]"],
        "pair": [1, None],
    } == plain(value)


# --- replaying ------------------------------------------------------------------------------------


def test_a_replay_is_the_same_each_time_and_as_the_live_one(story: World) -> None:
    """Replaying twice gives one digest: that of the read models in use."""
    done: list[tuple[int, int]] = []
    first = story.services.history.replay(progress=lambda *at: done.append(at))
    second = story.services.history.replay()

    assert first.digest == second.digest == story.store.digest(tuple(NAMES))
    assert tuple(NAMES) == first.projections
    assert [(first.events, first.events)] * 2 == done
    assert first.events == len(list(story.store.read()))


def test_each_read_model_has_its_own_digest(story: World) -> None:
    """A replay of one read model gives that one's digest, which is the live one's."""
    digests = {name: story.services.history.replay(projection=name).digest for name in NAMES}

    assert {name: story.store.digest((name,)) for name in NAMES} == digests
    # Nobody is suppressed in this story or was looked at, no lane halted, and no report is parked.
    assert len(NAMES) - 3 == len(set(digests.values()))


def test_a_replay_ends_where_it_is_told(story: World) -> None:
    """Up to a position or a moment the replay is what was known then."""
    history = story.services.history
    by_time = history.replay(until=START)
    last = list(history.tail(until=START))[-1].position
    by_position = history.replay(until=last)

    assert by_time.digest == by_position.digest != history.replay().digest
    assert by_time.events == by_position.events < history.replay().events


def test_a_replay_of_nothing_is_a_replay(world: World) -> None:
    """An empty history has a digest too."""
    assert 0 == world.services.history.replay().events


def test_a_long_replay_reports_as_it_goes(world: World) -> None:
    """A replay of more than a batch tells how far it is."""
    for number in range(260):
        world.submit(user=f"user-{number}", vouched=False)
    done: list[tuple[int, int]] = []
    world.services.history.replay(until=515, progress=lambda *at: done.append(at))

    assert [(500, 515), (515, 515), (515, 515)] == done


def test_a_read_model_that_does_not_exist_is_an_error(story: World) -> None:
    """A replay of an unknown read model says which there are."""
    with pytest.raises(Invalid, match="tickets, pending"):
        story.services.history.replay(projection="ticket")


# --- the past -------------------------------------------------------------------------------------


def test_read_models_can_be_seen_as_they_were(story: World) -> None:
    """At a moment a query and the rows give what was known then, nothing personal opened."""
    history = story.services.history
    with history.past(until=START + timedelta(hours=1)) as past:
        (ticket_then, *_) = past.views.tickets(status="pending", ticket_type="access_request").items
        rows = list(past.rows("tickets"))
    with history.past(projection="tickets") as now:
        today = {row["reference"]: row["status"] for row in now.rows("tickets")}

    assert "pending" == ticket_then.status
    assert {"pending"} == {row["status"] for row in rows}
    assert "[sealed]" == rows[0]["document"]["submitted"]["submitter_email"]
    assert "approved" == today["R00001"]
    assert json.dumps(rows)


def test_every_read_model_has_rows_that_can_be_printed(story: World) -> None:
    """Documents are states, moments are times, and nothing of it is bytes."""
    with story.services.history.past() as past:
        rows = {name: list(past.rows(name)) for name in NAMES}

    assert json.dumps(rows)
    assert [f"2026-01-31T0{hour}:30:00+00:00" for hour in (1, 2, 2, 2, 3)] == sorted(
        row["at"] for row in rows["sends"]
    )
    assert None is rows["notifications"][0]["due_at"]


def test_what_changed_in_a_stream_between_two_moments(story: World) -> None:
    """Each field that differs, with its path, before and after; nothing else."""
    found = story.services.history.difference("ticket-R00001", 1, 2)
    whole = story.services.history.difference("ticket-R00001", 0, 1)

    assert ("pending", "approved") == found["status"]
    assert (None, "admin-7") == found["decision.reviewer"]
    assert "submitted.submitter" not in found
    assert (None, "R00001") == whole["submitted.reference"]
    assert {} == story.services.history.difference("ticket-R00001", 2, 9)
    with pytest.raises(NotFound):
        story.services.history.difference("ticket-R00009", 1, 2)


def test_what_changed_in_a_read_model_between_two_moments(story: World) -> None:
    """Rows that came, changed and went, by their keys; and the other way round."""
    history = story.services.history
    hours = [START + timedelta(hours=number) for number in (0, 1, 2)]
    came = dict(history.changes("tickets", hours[0], hours[1]))
    decided = dict(history.changes("tickets", hours[1], hours[2]))
    freed = dict(history.changes("pending", hours[1], hours[2]))
    back = dict(history.changes("pending", hours[2], hours[1]))

    assert ["F00001", "R00001", "S00001"] == list(came)
    assert (None, "pending") == came["R00001"]["status"]
    assert ["R00001", "R00002"] == list(decided)
    assert ("pending", "approved") == decided["R00001"]["status"]
    assert ("access_request", None) == freed["R00001"]["ticket_type"]
    assert (None, "access_request") == back["R00001"]["ticket_type"]
    with pytest.raises(Invalid):
        list(history.changes("ticket", 1, 2))


def test_the_budget_can_be_seen_as_it_was(story: World) -> None:
    """What had gone by a moment or a position counts, under the numbers of now or others."""
    history = story.services.history
    first, later = (history.budget(at=START + timedelta(hours=hours)).usage for hours in (0, 1))
    position = next(e.position for e in history.tail(name="ticket.approved"))
    small = history.budget(at=position, limits=budget.Limits(quota=4))
    gone = history.budget(at=START + timedelta(days=3)).usage

    assert budget.Usage(codes=1) == first
    assert budget.Usage(codes=1, notices=3) == later == small.usage
    assert story.services.budget.limits == history.budget(at=position).limits
    assert 4 == small.limits.quota
    assert 0 == gone.used


@pytest.mark.parametrize("at", [datetime(2026, 2, 4), True, "5", 1.5], ids=str)  # noqa: DTZ001
def test_what_is_no_moment_is_refused(story: World, at: Any) -> None:
    """A time without its offset could be any; a word is none."""
    history = story.services.history
    for ask in (
        lambda: history.state("ticket-R00001", at=at),
        lambda: history.difference("ticket-R00001", 1, at),
        lambda: history.tail(after=at),
        lambda: history.tail(until=at),
        lambda: history.replay(until=at),
        lambda: history.budget(at=at),
    ):
        with pytest.raises(Invalid, match="moment"):
            ask()


@pytest.mark.parametrize("offset", [-14, 0, 14])
def test_the_ends_of_time_are_moments(story: World, offset: int) -> None:
    """What is before everything is nothing, and what is after everything is now."""
    zone, history = timezone(timedelta(hours=offset)), story.services.history
    first, last = datetime.min.replace(tzinfo=zone), datetime.max.replace(tzinfo=zone)

    assert 0 == history.replay(until=first).events
    assert history.replay().events == history.replay(until=last).events
    assert 0 == history.budget(at=last).usage.used
    assert len(list(history.tail())) == len(list(history.tail(after=first, until=last)))
    assert "approved" == history.state("ticket-R00001", at=last)["status"]
    with pytest.raises(NotFound):
        history.budget(at=first)


def test_a_state_needs_nothing_that_came_later(story: World) -> None:
    """What cannot be read behind it is not read."""
    with story.store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET topic = 'x' WHERE topic = 'ticket.approved.v1'")

    assert "pending" == story.services.history.state("ticket-R00001", at=1)["status"]


def test_a_code_that_expired_waits_for_no_room(world: World) -> None:
    """It is yet to be withheld, and is no mail that could go."""
    limits = budget.Limits(quota=1, floor=1, reserve=0)
    services = world.rebuilt(rules=attrs.evolve(world.services.rules, budget=limits)).services
    user = world.person()
    services.sign_in.start(context(), client="app", email=ANN, user=user)
    before = services.history.budget(at=world.clock.now()).waiting["sign_in_code"]
    world.clock.advance(minutes=6)

    assert 1 == before
    assert 0 == services.history.budget(at=world.clock.now()).waiting["sign_in_code"]


def test_before_the_first_event_there_is_no_budget(world: World) -> None:
    """An empty history is not found."""
    with pytest.raises(NotFound):
        world.services.history.budget(at=START)


def test_a_replay_changes_nothing(story: World) -> None:
    """A replay writes no event and sends no mail."""
    before = (story.store.last_position(), len(story.mail.sent), story.bytes())
    story.services.history.replay()

    assert before == (story.store.last_position(), len(story.mail.sent), story.bytes())


_REPLAY = """
import json, sys
from pathlib import Path
from siutindei.bootstrap import build
from siutindei.settings import read_settings
services = build(read_settings({}, home=Path(sys.argv[1])))
result = services.history.replay()
print(json.dumps({"events": result.events, "digest": result.digest, "modules": [*sys.modules]}))
"""


@pytest.mark.slow
def test_a_process_that_replays_has_nothing_to_send_with(tmp_path: Path) -> None:
    """A replay's process has loaded no module that can send mail, and replays the same."""
    from siutindei.bootstrap import build
    from siutindei.settings import read_settings

    services = build(read_settings({}, home=tmp_path))
    services.tickets.submit(
        context(),
        ticket_type="access_request",
        user="user-1",
        email=ANN,
        body={"organization_name": "Star Dance"},
    )
    drain(services)
    done = subprocess.run(
        [sys.executable, "-c", _REPLAY, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    senders = {
        "siutindei.adapters.maildir",
        "siutindei.adapters.memory_mail",
        "siutindei.adapters.mime",
        "siutindei.app.delivery",
        "smtplib",
        "boto3",
        "botocore",
    }

    assert 4 == result["events"]
    assert services.history.replay().digest == result["digest"]
    assert set() == senders & set(result["modules"])
    services.store.close()


# --- moments --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("42", 42),
        ("9" * 18, 10**18 - 1),
        ("2026-01-31T09:30:00+08:00", START),
        ("2026-01-31T01:30:00Z", START),
    ],
)
def test_moments(text: str, expected: int | datetime) -> None:
    """A moment is a number, or a time with its offset."""
    assert expected == moment("until", text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "now", "9" * 19, "2026-01-31T01:30:00", "٣"])
def test_what_is_no_moment_is_an_error(text: str) -> None:
    """A time without an offset could be any, and other texts are none."""
    with pytest.raises(Invalid) as refused:
        moment("until", text)

    assert "until" == refused.value.field


def test_times_are_kept_to_the_microsecond() -> None:
    """A time and its count of microseconds are the same, before 1970 too."""
    for at in (EPOCH, START, datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)):
        assert at == from_micros(micros(at))
    assert -1 == micros(EPOCH - timedelta(microseconds=1))


def test_a_history_needs_no_mail_port(tmp_path: Path) -> None:
    """The history is built, and replays, in an application whose mail port cannot be made."""
    services = make_services(tmp_path)
    del services.__dict__["mail"]
    services.history.replay()

    assert "mail" not in services.__dict__
    assert "delivery" not in services.__dict__
