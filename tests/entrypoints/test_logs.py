"""What the handlers' log lines say: which request, cause, mail and message, and no address."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog

from siutindei.app.ports import Unavailable
from siutindei.entrypoints import api, cognito, feedback, processor, runtime, sweep
from tests.app.world import ANN, World, make_world
from tests.aws_events import batch, published, record
from tests.entrypoints import gateway, pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LAMBDA: Final = SimpleNamespace(aws_request_id="8f5b7c1e")
REQUEST: Final = "/v1/user/access-request"
BODY: Final = {"organization_name": "Star Dance", "request_message": "Please."}


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    world = make_world(tmp_path)
    with runtime.use(world.services):
        yield world


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Give the log lines that were written; no address is in them, nor among the metrics."""
    shown = capsys.readouterr()
    assert "example.com" not in shown.err + shown.out
    return [json.loads(line) for line in shown.err.splitlines()]


def nudge(id: str) -> str:
    """Write a nudge."""
    return json.dumps({"event_type": "notification.due", "notification_id": id})


def started(world: World) -> str:
    """Start a sign-in, and give its challenge."""
    answer = cognito.create_auth_challenge(pool.create(), None)
    challenge: str = answer["response"]["challengeMetadata"]
    assert world.mail.sent
    return challenge


def submitted(world: World) -> str:
    """Submit a ticket, and give the id of its notice."""
    return world.notice_id(world.submit(command="one"))


#: Each handler with an event that it logs, and what else its line says.
WELL: Final[dict[str, tuple[Callable[[Any, Any], Any], Callable[[World], Any], set[str]]]] = {
    "create_auth_challenge": (
        cognito.create_auth_challenge,
        lambda _: pool.create(),
        {"fingerprint", "notification_id"},
    ),
    "verify_auth_challenge_response": (
        cognito.verify_auth_challenge_response,
        lambda world: pool.verify(started(world), "000000"),
        {"challenge"},
    ),
    "api": (api.handler, lambda _: gateway.event("POST", REQUEST, body=BODY), set()),
    "processor": (
        processor.handler,
        lambda world: batch(record(nudge(submitted(world)), receives=2)),
        {"notification_id", "causation_id", "receive_count", "sqs_message_id"},
    ),
    "feedback": (
        feedback.handler,
        lambda world: batch(record(published("Bounce", tag=submitted(world)), receives=2)),
        {"notification_id", "causation_id", "receive_count", "sqs_message_id"},
    ),
    "sweep": (sweep.handler, lambda _: {}, set()),
}


@pytest.mark.parametrize("name", WELL)
def test_a_line_says_whose_it_is(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Invocation, request, correlation; the cause, the mail and the message where there is one."""
    handler, event, more = WELL[name]
    given = event(world)
    capsys.readouterr()
    handler(given, LAMBDA)
    (line,) = lines(capsys)
    request = "request-1" if name == "api" else "8f5b7c1e"

    assert ("8f5b7c1e", request) == (line["aws_request_id"], line["request_id"])
    is_message = "receive_count" in more
    assert ("one" if is_message else request) == line["correlation_id"]
    assert ("ticket-R00001/1" if is_message else None) == line.get("causation_id")
    assert (2 if is_message else None) == line.get("receive_count")
    assert more <= line.keys()
    assert {} == structlog.contextvars.get_contextvars()


@pytest.mark.parametrize("name", ["create_auth_challenge", "api", "processor", "feedback"])
def test_a_line_leads_to_what_was_recorded(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The newest event has the line's correlation; the one who acted there is the request."""
    handler, event, _ = WELL[name]
    given = event(world)
    capsys.readouterr()
    handler(given, LAMBDA)
    (line,) = lines(capsys)
    *_, newest = world.store.read()

    assert line["correlation_id"] == newest.context.correlation_id
    assert line["request_id"] == newest.context.request_id
    assert line["aws_request_id"] == newest.context.aws_request_id
    assert line.get("sqs_message_id") == newest.context.sqs_message_id


@pytest.mark.parametrize("name", WELL)
def test_a_line_of_what_went_wrong_says_whose_it_is_too(
    world: World, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A store that is locked; nothing that was bound is left for the next invocation."""
    handler, event, more = WELL[name]
    given = event(world)
    capsys.readouterr()
    world.store.then_fails(*[Unavailable("locked")] * 3)
    with suppress(cognito.SignInError):
        handler(given, LAMBDA)
    found = lines(capsys)

    # A sweep that changes nothing does not notice.
    assert found
    for line in found:
        assert "8f5b7c1e" == line["aws_request_id"]
        assert line["request_id"] == line["correlation_id"]
        assert (2 if "receive_count" in more else None) == line.get("receive_count")
    assert {} == structlog.contextvars.get_contextvars()


def test_a_setting_that_is_wrong_is_logged_by_the_trigger_that_reads_it(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which trigger it was stands beside the request, and is gone afterwards."""
    monkeypatch.setenv("MAX_CHALLENGE_ATTEMPTS", "none")
    with pytest.raises(cognito.SignInError):
        cognito.define_auth_challenge(pool.define([]), LAMBDA)
    (line,) = lines(capsys)

    assert ("DefineAuthChallenge_Authentication", "8f5b7c1e") == (
        line["trigger"],
        line["request_id"],
    )
    assert {} == structlog.contextvars.get_contextvars()
    assert not world.mail.sent


def test_a_sign_in_that_cannot_be_noted_is_logged(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line says which request it was; the user is in all the same."""

    def note(user: str, *, at: object) -> None:
        raise Unavailable("the pool is out of reach")

    world.services.__dict__["last_sign_ins"] = SimpleNamespace(note=note)
    cognito.post_authentication(pool.authenticated(), LAMBDA)
    (line,) = lines(capsys)

    assert ("8f5b7c1e", "8f5b7c1e") == (line["aws_request_id"], line["request_id"])
    assert {} == structlog.contextvars.get_contextvars()


def test_a_handler_that_raises_leaves_nothing_bound(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next invocation of the container starts with nothing."""

    def fail(*_: object) -> None:
        assert "8f5b7c1e" == structlog.contextvars.get_contextvars()["aws_request_id"]
        raise Unavailable("the database is down")

    monkeypatch.setattr(type(world.services.sweep), "run", fail)
    with pytest.raises(Unavailable):
        sweep.handler({}, LAMBDA)

    assert {} == structlog.contextvars.get_contextvars()


def test_a_records_line_says_nothing_of_another_record(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each has its own message, receive count, mail and correlation, or none."""
    id = submitted(world)
    capsys.readouterr()
    processor.handler(
        batch(record(nudge(id), id="a", receives=3), record("{", id="b", messageAttributes={})),
        LAMBDA,
    )
    first, second = lines(capsys)

    assert ("a", 3, id, "one") == tuple(
        first[name]
        for name in ("sqs_message_id", "receive_count", "notification_id", "correlation_id")
    )
    assert ("b", 1, "8f5b7c1e") == tuple(
        second[name] for name in ("sqs_message_id", "receive_count", "correlation_id")
    )
    assert not {"notification_id", "causation_id", "kind"} & second.keys()


def test_the_fingerprint_is_that_of_the_address(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has an address finds its lines; who has the lines does not find the address."""
    cognito.create_auth_challenge(pool.create(), LAMBDA)
    (line,) = lines(capsys)

    assert world.services.addresses.fingerprint(ANN) == line["fingerprint"]


def test_without_a_lambda_a_sweep_is_a_request_too(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its line names it."""
    assert sweep.handler({}, None)
    (line,) = lines(capsys)

    assert line["request_id"] == line["correlation_id"]
    assert world.store.last_position() == 0
