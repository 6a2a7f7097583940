"""The pipeline through its handlers: the processor, the feedback consumer and the sweep."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.app.ports import MailNotSent, MailRefused, Unavailable
from siutindei.entrypoints import feedback, processor, runtime, sweep
from tests.app.world import World, make_world
from tests.aws_events import (
    DETAILS,
    MESSAGE_ID,
    batch,
    enveloped,
    failed,
    notified,
    published,
    record,
)
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAMBDA: Final = SimpleNamespace(aws_request_id="8f5b7c1e")
DOWN: Final = MailNotSent("the server is down")


@pytest.fixture(name="queue", params=["enveloped", "raw"])
def _queue(request: pytest.FixtureRequest) -> MemoryQueue:
    return MemoryQueue(VirtualClock(), raw=request.param == "raw")


def make(folder: Path, queue: MemoryQueue, **seams: Any) -> World:
    """Build an application over a queue."""
    return make_world(
        folder,
        clock=queue._clock,
        nudges=queue,
        dead_letter_queue=queue,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
        **seams,
    )


@pytest.fixture(name="world")
def _world(tmp_path: Path, queue: MemoryQueue) -> Iterator[World]:
    world = make(tmp_path, queue)
    with runtime.use(world.services):
        yield world


def due(id: str) -> str:
    """Write a nudge."""
    return json.dumps({"event_type": "notification.due", "notification_id": id})


def measured(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Give the metrics that were written without dimensions."""
    found: dict[str, int] = {}
    for line in capsys.readouterr().out.splitlines():
        read = json.loads(line)
        (declared,) = read["_aws"]["CloudWatchMetrics"]
        if declared["Dimensions"] == [[]]:
            found |= {metric["Name"]: read[metric["Name"]] for metric in declared["Metrics"]}
    return found


# --- stories --------------------------------------------------------------------------------------


def story(world: World, queue: MemoryQueue | None) -> dict[str, list[str]]:
    """Tell the demo's story, with or without a queue; give what happened, by stream."""
    work = world.drain if queue is None else lambda: queue.drain(processor.handler)
    parent, provider = world.signed_in("ann@example.com"), world.signed_in("bob@example.com")
    access = world.submit(user=provider, email="bob@example.com")
    suggestion = world.submit("organization_suggestion", user=parent)
    feedback = world.submit("organization_feedback", user=parent)
    work()
    world.approve(access, create_organization=True)
    world.decline(suggestion, note="We list this club already.")
    world.approve(feedback)
    work()
    events: dict[str, list[str]] = {}
    for entry in world.store.read():
        events.setdefault(entry.stream, []).append(entry.name)
    return events


def test_the_queue_tells_the_same_story_as_the_worker(
    tmp_path: Path, world: World, queue: MemoryQueue
) -> None:
    """Each ticket, mail and grant has the same events in the same order either way."""
    world.catalogue()
    by_worker = story(make_world(tmp_path / "worker"), None)
    by_queue = story(world, queue)

    assert by_worker == by_queue
    assert {"accepted"} == {m.status for m in world.services.store.views.notifications()}
    assert ([], []) == (queue.waiting, queue.lying)


def test_losing_every_message_loses_nothing(world: World, queue: MemoryQueue) -> None:
    """The sweep finds in the ledger what SNS and SQS lost, and all of it is done."""
    queue.is_lossy = True
    told = story(world, queue)
    left = [stream for stream in told if stream.startswith(("notification-", "grant-"))]
    undone = [s for s in left if told[s][-1].endswith("requested.v1")]
    queue.is_lossy = False
    found = sweep.handler({}, None)
    queue.drain(processor.handler)

    assert len(undone) == found["nudged"] == found["due"] == 10
    assert {"accepted"} == {m.status for m in world.services.store.views.notifications()}
    assert {"done"} == {grant.status for grant in world.services.store.views.grants()}
    assert 0 == sweep.handler({}, None)["due"]


def test_three_attempts_then_a_dead_letter_then_a_redrive(world: World, queue: MemoryQueue) -> None:
    """One receive is one attempt; SQS moves the message, a person redrives, the mail goes out."""
    id = world.notice_id(world.submit())
    attempts = []
    for _ in range(3):
        world.mail.then_raises(DOWN)
        queue.drain(processor.handler)
        attempts.append(world.notices(id).calls)
        world.clock.advance(seconds=180)
    queue.drain(processor.handler)
    lying, letter = len(queue.lying), world.notices(id)
    world.services.dead_letters.redrive(context(), [id], by="ops-1")
    queue.drain(processor.handler)
    after = sweep.handler({}, None)
    queue.drain(processor.handler)

    assert ([1, 2, 3], 1) == (attempts, lying)
    assert ("dead_lettered", "attempts_exhausted") == (letter.status, letter.why)
    assert ("accepted", 1) == (world.notices(id).status, len(world.mail.sent))
    assert (1, []) == (after["redriven"], queue.lying)


def test_nudges_of_the_sweep_burn_no_attempt(world: World, queue: MemoryQueue) -> None:
    """However many messages there are, a mail has three attempts, each at its time."""
    id = world.notice_id(world.submit())
    for _ in range(12):
        world.mail.then_raises(DOWN)
    for _ in range(30):
        sweep.handler({}, None)
        queue.drain(processor.handler)
        world.clock.advance(seconds=30)

    assert ("dead_lettered", 3) == (world.notices(id).status, world.notices(id).calls)
    assert {due(id)} <= {
        json.dumps(
            {
                name: value
                for name, value in json.loads(json.loads(body).get("Message", body)).items()
                if name in {"event_type", "notification_id"}
            }
        )
        for body, _ in queue.lying
    }


def test_crashes_that_ate_the_receives_are_made_good(world: World, queue: MemoryQueue) -> None:
    """The message lies on the dead-letter queue, its mail is none: it is sent again, once."""
    id = world.notice_id(world.submit())
    for _ in range(3):
        queue.receive()
        world.clock.advance(seconds=180)
    queue.receive()
    lying = len(queue.lying)
    found = sweep.handler({}, None)
    queue.drain(processor.handler)

    assert (1, 1) == (lying, found["redriven"])
    assert ("accepted", 1) == (world.notices(id).status, len(world.mail.sent))
    assert ([], []) == (queue.waiting, queue.lying)


# --- the processor --------------------------------------------------------------------------------


def test_a_record_that_fails_affects_no_other(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The failed one is named, the poisoned one is put aside, the others are done."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(3)]
    world.mail.then_takes()
    world.mail.then_raises(DOWN)
    capsys.readouterr()
    answer = processor.handler(
        batch(
            record(due(ids[0]), id="a"),
            record("\x00{", id="b"),
            record(due(ids[1]), id="c"),
            record('{"event_type": "x"}', id="d"),
            record(due(ids[2]), id="e"),
        ),
        LAMBDA,
    )

    assert failed("c") == answer
    assert ["accepted", "failed", "accepted"] == [world.notices(id).status for id in ids]
    assert {
        "MessagesDone": 2,
        "MessagesSetAside": 1,
        "MessagesToComeAgain": 1,
        "UnknownEventType": 1,
    } == measured(capsys)


def test_a_log_line_says_which_message_and_what_became_of_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing personal is in it; an error is a warning."""
    reference = world.submit(command="one")
    id = world.notice_id(reference)
    world.mail.then_raises(MailRefused("no such mailbox"))
    processor.handler(batch(record(due(id))), LAMBDA)
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]

    assert {
        "event": "message",
        "level": "warning",
        "result": "dead_lettered",
        "sqs_message_id": "m-1",
        "receive_count": 1,
        "notification_id": id,
        "kind": "ticket_received",
        "attempt": 1,
        "error": "no such mailbox",
        "correlation_id": "one",
        "causation_id": f"ticket-{reference}/1",
        "request_id": "8f5b7c1e",
        "aws_request_id": "8f5b7c1e",
    }.items() <= line.items()


def test_the_history_says_which_message_it_was(world: World) -> None:
    """The invocation and the message are in the events that they led to."""
    id = world.notice_id(world.submit())
    processor.handler(batch(record(due(id), id="m-7")), LAMBDA)
    last = world.store.load(f"notification-{id}")[-1].context

    assert ("m-7", "8f5b7c1e", "8f5b7c1e", "worker") == (
        last.sqs_message_id,
        last.aws_request_id,
        last.request_id,
        last.actor,
    )


@pytest.mark.parametrize(
    "event", [None, {}, [], {"Records": None}, {"Records": []}, {"Records": [None, {}]}]
)
@pytest.mark.parametrize(
    "handler", [processor.handler, feedback.handler], ids=["processor", "feedback"]
)
def test_an_event_without_records_is_answered(world: World, event: Any, handler: Any) -> None:
    """What has no name cannot be named as failed, and never fails the others."""
    assert failed() == handler(event, None)


def test_a_receive_count_that_cannot_be_read_is_the_first(world: World) -> None:
    """Attributes may be missing, or not be what they were."""
    id = world.notice_id(world.submit())
    for attributes in (None, {}, {"ApproximateReceiveCount": "x"}):
        body = record(due(id), attributes=attributes, messageAttributes=None)

        assert failed() == processor.handler(batch(body), None)


def test_an_application_that_cannot_be_built_fails_the_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every record comes again; there is no traceback."""

    def unavailable() -> Any:
        raise Unavailable("the database is down")

    monkeypatch.setattr(runtime, "services", unavailable)
    records = batch(record("x", id="a"), record("y", id="b"), record("z", messageId=None))

    assert failed("a", "b") == processor.handler(records, None)
    assert failed("a", "b") == feedback.handler(records, None)


@for_all(bodies=st.lists(st.text(max_size=30) | st.none() | st.integers(), max_size=4))
@settings(max_examples=40, deadline=None)
def test_whatever_the_bodies_are_no_other_record_is_lost(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[Any]
) -> None:
    """The good record is done in whatever company."""
    queue = MemoryQueue(VirtualClock())
    world = make(tmp_path_factory.mktemp("w"), queue)
    id = world.notice_id(world.submit())
    odd = [{**record("", id=f"odd-{n}"), "body": body} for n, body in enumerate(bodies)]
    with runtime.use(world.services):
        answer = processor.handler(batch(*odd, record(due(id), id="good"), *odd), None)
        reported = feedback.handler(batch(*odd, record(published("Send", tag=id))), None)
    found = world.notices(id)
    world.store.close()

    assert failed() == answer
    assert {"itemIdentifier": "m-1"} not in reported["batchItemFailures"]
    assert ("accepted", 2) == (found.status, len(found.message_ids))


# --- when there is not enough time ----------------------------------------------------------------


class Ending:
    """What Lambda says of an invocation that ends after some seconds of the world's time."""

    aws_request_id: Final = "8f5b7c1e"

    def __init__(self, clock: VirtualClock, *, seconds: float = 60) -> None:
        self._clock = clock
        self._end = clock.now() + timedelta(seconds=seconds)

    def get_remaining_time_in_millis(self) -> int:
        """Give the time that is left."""
        return int((self._end - self._clock.now()).total_seconds() * 1000)


def test_sends_that_are_slow_are_not_cut_off(
    world: World, queue: MemoryQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    """What there is no time for is given back with no attempt begun, and goes out the next time."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(10)]
    send = world.mail.send

    def slowly(mail: Any) -> str:
        world.clock.advance(seconds=5)
        return send(mail)

    world.mail.send = slowly  # type: ignore[method-assign]
    received = queue.receive()
    lambda_context = Ending(world.clock)
    capsys.readouterr()
    answer = processor.handler(received, lambda_context)
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.err.splitlines()]
    queue.settle(received, answer)
    # SQLite may keep a command waiting for 30 seconds, and a grant takes 10 at the most.
    assert 35_000 == lambda_context.get_remaining_time_in_millis()
    assert failed(*(one["messageId"] for one in received["Records"][5:])) == answer
    assert [("accepted", 1)] * 5 + [("requested", 0)] * 5 == [
        (world.notices(id).status, world.notices(id).calls) for id in ids
    ]
    assert 5 == sum(json.loads(line).get("MessagesGivenBack", 0) for line in shown.out.splitlines())
    assert {("no_time", True, 1)} == {
        (line["result"], line["again"], line["receive_count"]) for line in lines[5:]
    }
    world.clock.advance(seconds=180)
    queue.drain(processor.handler)

    assert [("accepted", 1)] * 10 == [
        (world.notices(i).status, world.notices(i).calls) for i in ids
    ]
    assert ([], []) == (queue.waiting, queue.lying)


def test_receives_without_time_take_no_attempt_away(world: World) -> None:
    """A mail that was given back twice still has three attempts."""
    id = world.notice_id(world.submit())
    for receives in (1, 2):
        both = batch(record("x", id="first"), record(due(id), id="second", receives=receives))
        assert failed("second") == processor.handler(both, Ending(world.clock, seconds=0.5))
    before = world.notices(id)
    for receives in (3, 4, 5):
        world.mail.then_raises(DOWN)
        processor.handler(batch(record(due(id), receives=receives)), None)
        world.clock.advance(seconds=180)

    assert ("requested", 0) == (before.status, before.calls)
    assert ("dead_lettered", 3) == (world.notices(id).status, world.notices(id).calls)


def test_the_first_record_is_always_worked_on(world: World) -> None:
    """A function whose time is never enough gets on by one record at a time."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(2)]
    nudges = batch(*(record(due(id), id=id) for id in ids))
    reports = batch(*(record(published("Bounce", tag=id), id=id) for id in ids))
    ending = Ending(world.clock, seconds=0.01)

    assert failed(ids[1]) == processor.handler(nudges, ending)
    assert ["accepted", "requested"] == [world.notices(id).status for id in ids]
    world.drain()
    assert failed(ids[1]) == feedback.handler(reports, ending)
    assert ["bounced", "accepted"] == [world.notices(id).status for id in ids]


def test_reports_that_there_is_no_time_for_are_counted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """They come again; while there is as much time as one may need, none is given back."""
    reports = batch(*(record(published("Open"), id=id) for id in "abc"))
    in_time = feedback.handler(reports, Ending(world.clock, seconds=30))
    capsys.readouterr()
    too_late = feedback.handler(reports, Ending(world.clock, seconds=29.9))

    assert (failed(), failed("b", "c")) == (in_time, too_late)
    assert {"ReportsGivenBack": 2, "ReportsIgnored": 1} == measured(capsys)


# --- feedback -------------------------------------------------------------------------------------


def test_a_batch_of_reports_is_recorded(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Enveloped and raw, tagged and not, ours and not; what is no report comes again."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(2)]
    world.drain()
    second = world.notices(ids[1]).message_id or ""
    capsys.readouterr()
    answer = feedback.handler(
        batch(
            record(enveloped(published("Bounce", tag=ids[0])), id="a"),
            record(published("Bounce", tag=ids[0]), id="b"),
            record(enveloped(notified("Complaint", message_id=second)), id="c"),
            record(published("Delivery", message_id="never-ours"), id="d"),
            record(published("Open"), id="e"),
            record("{", id="f"),
        ),
        LAMBDA,
    )
    written = capsys.readouterr()
    found = {
        metric["Name"]: json.loads(line)[metric["Name"]]
        for line in written.out.splitlines()
        for metric in json.loads(line)["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }

    assert failed("f") == answer
    assert ["bounced", "complained"] == [world.notices(id).status for id in ids]
    assert {
        "AddressesSuppressed": 1,
        "MailsBounced": 1,
        "MailsComplained": 1,
        "ReportsIgnored": 1,
        "ReportsKnown": 1,
        "ReportsNotOurs": 1,
        "ReportsRecorded": 2,
        "ReportsUnreadable": 1,
    } == found
    assert "example.com" not in written.err
    assert "feedback" == world.store.load(f"notification-{ids[0]}")[-1].context.actor


def test_reports_that_cannot_be_recorded_now_come_again(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store that is locked, and a fault of ours, which says its name alone."""
    id = world.notice_id(world.submit())
    body = batch(record(published("Bounce", tag=id)))
    world.store.then_fails(Unavailable("locked"))
    locked = feedback.handler(body, None)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("ann@example.com")

    monkeypatch.setattr(type(world.services.feedback), "hear", fail)

    assert failed("m-1") == locked == feedback.handler(body, None)
    assert "ann@" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", DETAILS)
def test_every_kind_of_event_goes_through_the_handler(world: World, kind: str) -> None:
    """None of them fails, whether it is of use or not."""
    id = world.notice_id(world.submit())
    world.drain()

    assert failed() == feedback.handler(batch(record(enveloped(published(kind, tag=id)))), LAMBDA)


# --- the sweep ------------------------------------------------------------------------------------


def test_a_sweep_measures_what_it_saw(
    world: World, queue: MemoryQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every number is a metric, also those that are nothing: an alarm wants data."""
    world.submit()
    queue.lose()
    capsys.readouterr()
    found = sweep.handler({"detail-type": "Scheduled Event"}, LAMBDA)

    assert {
        "Due": 1,
        "Overdue": 0,
        "Unknown": 0,
        "DeadLetters": 0,
        "HaltedLanes": 0,
        "BudgetLeft": 900,
        "BudgetLeftForDecisions": 700,
        "Nudged": 1,
        "Lost": 0,
        "Settled": 0,
        "Redriven": 0,
        "Removed": 0,
        "Exhausted": 0,
        "Checkpoints": 1,
        "CheckpointsRefused": 0,
        "Problems": 0,
    } == measured(capsys)
    assert 1 == found["nudged"]


def test_the_message_id_of_the_samples_is_nobodys(world: World) -> None:
    """What the samples report of belongs to no mail here."""
    assert None is world.services.store.views.find_message(MESSAGE_ID)
