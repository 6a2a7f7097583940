"""What the handlers write is what the list of metrics says: name, unit, dimensions, and by whom."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.app.ports import MailNotSent, MailOutcomeUnknown, MailRefused, Unavailable
from siutindei.entrypoints import api, cognito, feedback, processor, runtime, sweep
from siutindei.entrypoints.metrics import METRICS, NAMESPACE
from tests.app.world import World, make_world
from tests.aws_events import batch, notified, published, record
from tests.entrypoints import gateway, pool
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Capture = pytest.CaptureFixture[str]
DOWN: Final = MailNotSent("the server is down")
LOST: Final = MailOutcomeUnknown("no answer")


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    clock = VirtualClock()
    queue = MemoryQueue(clock)
    world = make_world(
        tmp_path,
        # As SES is: it cannot be asked about a call, and reports what became of it.
        mail=MemoryMail(can_tell=False, has_feedback=True),
        clock=clock,
        nudges=queue,
        dead_letter_queue=queue,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
    )
    with runtime.use(world.services):
        yield world


def written(capsys: Capture) -> list[dict[str, Any]]:
    """Give the metric lines that were written."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def due(id: str) -> dict[str, str]:
    """Write a nudge."""
    return {"event_type": "notification.due", "notification_id": id}


def call(handler: Callable[[Any, Any], Any], event: Any) -> None:
    """Call a handler, whatever it makes of the event."""
    with suppress(cognito.SignInError):
        handler(event, None)


def signs_in(world: World) -> Iterator[tuple[str, Any]]:
    """Give the events of a sign-in, and of one that the store does not let happen."""
    yield "create_auth_challenge", pool.create()
    (mail,) = world.mail.sent
    kept = world.notices(mail.notification_id).requested
    assert kept is not None
    yield "verify_auth_challenge_response", pool.verify(kept.challenge, "000000")
    for trigger, event in (
        ("create_auth_challenge", pool.create(name="bob", attributes=pool.user("bob@example.com"))),
        ("verify_auth_challenge_response", pool.verify(kept.challenge, "000000")),
    ):
        world.store.then_fails(Unavailable("locked"))
        yield trigger, event


def messages(world: World) -> dict[str, Any]:
    """Give a batch in which every message ends in another way."""
    ids = [world.notice_id(world.submit(user=f"user-{number}")) for number in range(2)]
    world.mail.then_takes()
    world.mail.then_raises(DOWN)
    return batch(
        record(due(ids[0]), id="a"),
        record(due(ids[1]), id="b"),
        record("{", id="c"),
        record({"event_type": "x"}, id="d"),
    )


def reports(world: World) -> dict[str, Any]:
    """Give a batch with a report of every kind, about mails whose outcome nobody knew."""
    kinds = ("Send", "Delivery", "DeliveryDelay", "Bounce", "Complaint", "Reject")
    found = []
    for kind in kinds:
        world.mail.then_raises(LOST, takes_it=True)
        id = world.notice_id(world.submit(user=f"user-{kind}"))
        world.drain()
        found.append(record(published(kind, tag=id, message_id=f"m-{kind}"), id=kind))
    odd = [record(published("Bounce"), id="e"), record(published("Open"), id="f"), record("{")]
    early = record(notified("Bounce", message_id="not-yet"), id="g")
    return batch(*found, found[0], *odd, early)


def test_every_metric_is_written_as_the_list_says(
    world: World, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each function writes the metrics that name it, with their units and dimensions, no others."""
    found: set[tuple[str, str, tuple[str, ...], str]] = set()
    hurried = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 1)

    def look(function: str) -> None:
        for line in written(capsys):
            (declared,) = line["_aws"]["CloudWatchMetrics"]
            (dimensions,) = declared["Dimensions"]
            assert NAMESPACE == declared["Namespace"]
            assert all(line[dimension] for dimension in dimensions)
            for metric in declared["Metrics"]:
                assert isinstance(line[metric["Name"]], int | float)
                found.add((metric["Name"], metric["Unit"], tuple(dimensions), function))

    for function, event in signs_in(world):
        call(getattr(cognito, function), event)
        look(function)
    monkeypatch.setenv("MAX_CHALLENGE_ATTEMPTS", "none")
    call(cognito.define_auth_challenge, pool.define([]))
    look("define_auth_challenge")
    call(api.handler, gateway.event())
    look("api")
    call(processor.handler, messages(world))
    processor.handler(batch(record("{"), record("{", id="late")), hurried)
    look("processor")
    call(feedback.handler, reports(world))
    feedback.handler(batch(record("{"), record("{", id="late")), hurried)
    world.store.then_fails(Unavailable("locked"))
    (first,) = world.services.store.views.notifications(status="accepted")[:1]
    assert first.requested is not None
    call(feedback.handler, batch(record(published("Bounce", tag=first.requested.id))))
    look("feedback")
    call(sweep.handler, {})
    look("sweep")

    told = [(metric.name, str(metric.unit), metric.dimensions, metric.by) for metric in METRICS]
    assert {(*known, function) for *known, by in told for function in by} == found


def test_the_mails_of_a_batch_are_counted_by_kind_and_outcome(
    world: World, capsys: Capture
) -> None:
    """A grant is no mail, and a nudge with nothing to do sends none."""
    world.catalogue()
    reference = world.submit()
    received = world.notice_id(reference)
    other = world.notice_id(world.submit(user="user-2"))
    world.approve(reference, create_organization=True)
    decided = world.notice_id(reference, "ticket_decided")
    (grant, *_) = [given.requested for given in world.services.store.views.grants()]
    assert grant is not None
    for answer in (None, DOWN, None):
        world.mail.then_takes() if answer is None else world.mail.then_raises(answer)
    capsys.readouterr()
    processor.handler(
        batch(
            *(record(due(id), id=id) for id in (received, other, decided, received)),
            record({"event_type": "grant.due", "grant_id": grant.id}),
        ),
        None,
    )

    assert [
        ("ticket_decided", "sent", 1),
        ("ticket_received", "failed", 1),
        ("ticket_received", "sent", 1),
    ] == [
        (line["Kind"], line["Outcome"], line["Sends"])
        for line in written(capsys)
        if "Sends" in line
    ]


def test_what_waits_is_measured(world: World, capsys: Capture) -> None:
    """Due, overdue, unknown for longer than the settle time, given up: each is counted."""
    for _ in range(2):
        world.submit(user=world.services.ids.uuid())
    world.clock.advance(minutes=16)
    world.mail.then_raises(LOST)
    world.mail.then_raises(MailRefused("no such mailbox"))
    for user in ("user-lost", "user-refused"):
        world.services.delivery.deliver(context(), world.notice_id(world.submit(user=user)))
    world.clock.advance(minutes=16)
    world.submit(user="user-new")
    capsys.readouterr()
    sweep.handler({}, None)
    (line,) = written(capsys)

    assert {"Due": 3, "Overdue": 2, "Unknown": 1, "DeadLetters": 1} == {
        name: line[name] for name in ("Due", "Overdue", "Unknown", "DeadLetters")
    }
