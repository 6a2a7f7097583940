"""What the Lambda handlers share: one application for each container, bound logs, metric lines."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters import postgres, sqlite
from siutindei.app.ports import Unusable
from siutindei.bootstrap import build
from siutindei.entrypoints import runtime
from siutindei.settings import read_settings
from tests.support import make_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LAMBDA: Final = SimpleNamespace(aws_request_id="8f5b7c1e")


@pytest.fixture(autouse=True)
def container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A container that was just started, and whose environment is a fresh home."""
    monkeypatch.setattr(runtime, "_container", runtime._Container())
    monkeypatch.setenv("SIUTINDEI_HOME", str(tmp_path))
    yield
    if runtime._container.services is not None:
        vars(runtime._container.services).pop("store", None)


def test_a_container_builds_the_application_once() -> None:
    """Every invocation uses the same one."""
    assert runtime.services() is runtime.services()


def test_a_database_that_goes_with_the_container_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Lambda a file is no place for a history, unless somebody says that it may be lost."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "siutindei-api")
    with pytest.raises(Unusable, match="SIUTINDEI_ALLOW_EPHEMERAL=1"):
        runtime.services()
    monkeypatch.setenv("SIUTINDEI_DATABASE", "postgresql://db.example.com/siutindei")
    monkeypatch.setenv("SIUTINDEI_ALLOW_EPHEMERAL", "0")
    on_postgres = runtime.services()
    monkeypatch.setattr(runtime, "_container", runtime._Container())
    monkeypatch.delenv("SIUTINDEI_DATABASE")
    monkeypatch.setenv("SIUTINDEI_ALLOW_EPHEMERAL", "1")

    assert on_postgres.settings.postgres_url == "postgresql://db.example.com/siutindei"
    assert runtime.services().settings.postgres_url is None


def test_what_the_environment_leaves_out_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may know a setting from its event; what the environment says wins."""
    given = {"USER_POOL_ID": "ap-southeast-1_Event", "MANAGER_GROUP": "event"}
    monkeypatch.setenv("MANAGER_GROUP", "environment")
    settings = runtime.services(defaults=given).settings

    assert settings.text("USER_POOL_ID") == "ap-southeast-1_Event"
    assert settings.text("MANAGER_GROUP") == "environment"


def test_another_application_can_take_its_place_for_a_while(tmp_path: Path) -> None:
    """What a test puts in place is used, and the container's own afterwards."""
    own, other = runtime.services(), make_services(tmp_path)
    with runtime.use(other):
        inside = runtime.services()
    other.store.close()

    assert (other, own) == (inside, runtime.services())


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Give the lines of the log, without their times."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [{name: value for name, value in line.items() if name != "timestamp"} for line in lines]


def test_a_log_line_says_which_invocation_it_is_of(capsys: pytest.CaptureFixture[str]) -> None:
    """What is bound is in every line of the invocation and in none of the next."""
    with runtime.invocation(LAMBDA, notification_id="n-1", receive_count=None) as log:
        log.info("sent", kind="ticket_received")
    with suppress(ValueError), runtime.invocation(None, request_id="r-2") as log:
        log.warning("failed")
        int("no number")
    with runtime.invocation(None) as log:
        log.info("idle")

    assert [
        {
            "event": "sent",
            "level": "info",
            "aws_request_id": "8f5b7c1e",
            "request_id": "8f5b7c1e",
            "correlation_id": "8f5b7c1e",
            "notification_id": "n-1",
            "kind": "ticket_received",
        },
        {"event": "failed", "level": "warning", "request_id": "r-2", "correlation_id": "r-2"},
        {"event": "idle", "level": "info"},
    ] == logged(capsys)


def test_a_part_of_an_invocation_says_more(capsys: pytest.CaptureFixture[str]) -> None:
    """It is said in that part alone; what a line does not know hides nothing of it."""
    with runtime.invocation(None, request_id="r-1") as log:
        with runtime.bound(correlation_id="r-0", receive_count=2):
            log.info("part", correlation_id=None)
        log.info("whole")

    assert [("part", "r-0", 2), ("whole", "r-1", None)] == [
        (line["event"], line["correlation_id"], line.get("receive_count"))
        for line in logged(capsys)
    ]


@pytest.mark.parametrize(("level", "events"), [("LOUD", ["told"]), ("debug", ["asked", "told"])])
def test_a_wrong_level_keeps_no_handler_from_answering(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    events: list[str],
) -> None:
    """What is no level counts as INFO; the settings refuse it where an answer can be given."""
    monkeypatch.setenv("LOG_LEVEL", level)
    with runtime.invocation(None) as log:
        log.debug("asked")
        log.info("told")

    assert events == [line["event"] for line in logged(capsys)]


def test_a_command_carries_its_requests() -> None:
    """A request is its own correlation, unless it follows from another."""
    alone = runtime.command(None, command_id="c", actor="user:ann", request_id="r")
    caused = runtime.command(
        LAMBDA,
        command_id="c",
        actor="worker",
        request_id="r",
        correlation_id="r-0",
        causation_id="ticket-R00001/1",
        sqs_message_id="m",
    )

    assert ("r", None, None) == (alone.correlation_id, alone.aws_request_id, alone.causation_id)
    assert ("r-0", "8f5b7c1e", "m") == (
        caused.correlation_id,
        caused.aws_request_id,
        caused.sqs_message_id,
    )


def test_a_metric_is_a_line_that_cloudwatch_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, units and dimensions are declared, and the values stand beside them."""
    runtime.emit({"Requests": 2, "Duration": 12.5}, Status="200", Route="listTickets")
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    (declared,) = found["_aws"]["CloudWatchMetrics"]

    assert {
        "Namespace": "Siutindei",
        "Dimensions": [["Route", "Status"]],
        "Metrics": [
            {"Name": "Requests", "Unit": "Count"},
            {"Name": "Duration", "Unit": "Milliseconds"},
        ],
    } == declared
    assert isinstance(found["_aws"]["Timestamp"], int)
    assert ("200", 2, 12.5) == (found["Status"], found["Requests"], found["Duration"])


def test_a_container_makes_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In Lambda a key that is missing is said to be: one that a container made would be its own."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "siutindei-api")
    monkeypatch.setenv("SIUTINDEI_DATABASE", "postgresql://db.example.com/siutindei")
    with pytest.raises(Unusable, match="is missing"):
        _ = runtime.services().code_keys
    monkeypatch.setattr(runtime, "_container", runtime._Container())
    monkeypatch.delenv("SIUTINDEI_DATABASE")
    monkeypatch.setenv("SIUTINDEI_ALLOW_EPHEMERAL", "1")

    assert not (tmp_path / "keys").exists()
    assert runtime.services().code_keys.current


def test_who_keeps_nothing_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that has no use for the history is not asked where it is."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "siutindei-post-authentication")

    assert runtime.services(keeps=False).last_sign_ins is None


def test_a_container_is_built_with_what_its_handler_says() -> None:
    """The first one who asks says how long the database may take; later ones find it so."""
    made = runtime.services(patience=1.0)

    assert (1.0, 1.0) == (made.patience, runtime.services(patience=7.0).patience)


@pytest.mark.parametrize(
    ("environment", "patience", "seconds"),
    [
        ({}, None, sqlite.LOCK_SECONDS),
        (
            {"SIUTINDEI_DATABASE": "postgresql://db.example.com/siutindei"},
            None,
            postgres.LOCK_SECONDS,
        ),
        ({}, 1.5, 1.5),
    ],
)
def test_how_long_the_database_may_keep_a_handler_waiting(
    tmp_path: Path, environment: dict[str, str], patience: float | None, seconds: float
) -> None:
    """As long as its adapter waits for a lock, unless a handler says how patient it is."""
    made = build(read_settings(environment, home=tmp_path), patience=patience)

    assert seconds == made.longest_wait.total_seconds()
