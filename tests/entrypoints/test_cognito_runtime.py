"""Cognito's triggers under the real Lambda runtime, each in its own process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.entrypoints import pool
from tests.entrypoints.pool import ANN, SUB, Session
from tests.entrypoints.runtime_api import Function, running
from tests.entrypoints.test_commands import code_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

MODULE: Final = "siutindei.entrypoints.cognito"


class Functions:
    """The five functions of one pool, each started when it is first called."""

    def __init__(self, stack: ExitStack, environment: dict[str, str]) -> None:
        self._stack = stack
        self.environment = environment
        self.started: dict[str, Function] = {}

    def function(self, source: str) -> Function:
        """Give the function of a trigger."""
        if source not in self.started:
            handler = f"{MODULE}.{pool.HANDLERS[source]}"
            self.started[source] = self._stack.enter_context(running(handler, self.environment))
        return self.started[source]

    def invoke(self, event: dict[str, Any]) -> Any:
        """Call the trigger that an event is of."""
        given = self.function(event["triggerSource"]).invoke(event)
        assert given.error is None, given.error
        assert {**event, "response": None} == {**given.answer, "response": None}
        return given.answer


@pytest.fixture
def functions(tmp_path: Path) -> Iterator[Functions]:
    """Give functions that share a database, keys and a folder of mails, and may lose them."""
    with ExitStack() as stack:
        yield Functions(stack, {"SIUTINDEI_HOME": str(tmp_path), "SIUTINDEI_ALLOW_EPHEMERAL": "1"})


def test_somebody_signs_in(functions: Functions, tmp_path: Path) -> None:
    """The five triggers take somebody from sign-up to tokens, and log no address or code."""
    functions.invoke(pool.sign_up())
    session = Session(functions.invoke)
    steps = [session.go_on()]
    code = code_in(tmp_path)
    wrong = f"{(int(code) + 1) % 1_000_000:06d}"
    steps += [session.answer(wrong), session.answer(f" {code} ")]
    functions.invoke(pool.authenticated())
    written = {source: function.output() for source, function in functions.started.items()}
    created = functions.function("CreateAuthChallenge_Authentication")

    assert ["ask", "ask", "admit"] == steps
    assert pool.HANDLERS.keys() == written.keys()
    assert 1 == len(list((tmp_path / "mail" / "new").iterdir()))
    assert ["sent"] == [line["result"] for line in created.logs()]
    assert [{"Kind": "sign_in_code", "Outcome": "sent", "Sends": 1}] == [
        line for line in created.metrics() if "Sends" in line
    ]
    for output in written.values():
        assert ANN not in output
        assert code not in output
        assert "Traceback" not in output


def test_a_database_that_would_go_with_the_container(tmp_path: Path) -> None:
    """The client is told one sentence; the log says what to do."""
    with running(f"{MODULE}.create_auth_challenge", {"SIUTINDEI_HOME": str(tmp_path)}) as function:
        error = function.invoke(pool.create()).error
        output = function.output()

    assert error is not None
    assert ("SignInError", "Signing in does not work at the moment. Try again in a minute.") == (
        error["errorType"],
        error["errorMessage"],
    )
    assert "SIUTINDEI_ALLOW_EPHEMERAL" not in json.dumps(error)
    assert "SIUTINDEI_ALLOW_EPHEMERAL" in output
    assert not any(tmp_path.iterdir())


def test_a_pool_that_does_not_answer_holds_up_nobody(tmp_path: Path) -> None:
    """PostAuthentication gives the event back in time, whatever Cognito does."""
    environment = {
        "SIUTINDEI_HOME": str(tmp_path),
        "USER_POOL_ID": "ap-southeast-1_Example1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
    }
    with running(f"{MODULE}.post_authentication", environment) as function:
        given = function.invoke(pool.authenticated())
        logs = function.logs()

    assert {} == given.answer["response"]
    assert [("last sign-in not noted", "Unavailable")] == [
        (line["event"], line["error"]) for line in logs
    ]
    assert SUB not in json.dumps(logs)


@pytest.fixture
def silent() -> Iterator[int]:
    """Give the port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_an_ses_that_hangs_is_answered_in_time(tmp_path: Path, silent: int) -> None:
    """The challenge is given within five seconds; its mail is of unknown outcome, and a repeated
    call sends no second one.
    """
    environment = {
        "SIUTINDEI_HOME": str(tmp_path),
        "SIUTINDEI_ALLOW_EPHEMERAL": "1",
        "SIUTINDEI_MAIL": "ses",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent}",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
    }
    with running(f"{MODULE}.create_auth_challenge", environment) as function:
        # A busy machine may take its time to start a process.
        function.invoke(pool.event("PreAuthentication_Authentication"))
        given = [function.invoke(pool.create()) for _ in range(2)]
        logs = function.logs()

    assert given[0].answer["response"] == given[1].answer["response"]
    assert given[0].answer["response"]["challengeMetadata"]
    assert max(invocation.seconds for invocation in given) < 5
    assert ["unknown", "nothing_to_do"] == [line["result"] for line in logs]


def test_a_database_that_hangs_is_answered_in_time(silent: int) -> None:
    """A server that does not say a word is given up within five seconds, again and again."""
    environment = {"SIUTINDEI_DATABASE": f"postgresql://ann@127.0.0.1:{silent}/mail"}
    with running(f"{MODULE}.create_auth_challenge", environment) as function:
        # A busy machine may take its time to start a process.
        function.invoke(pool.event("PreAuthentication_Authentication"))
        given = [function.invoke(pool.create()) for _ in range(2)]
        logs = function.logs()

    assert ["Signing in does not work at the moment. Try again in a minute."] * 2 == [
        (invocation.error or {})["errorMessage"] for invocation in given
    ]
    assert max(invocation.seconds for invocation in given) < 5
    assert {"refused"} == {line["event"] for line in logs}


LIGHT: Final = """
import json, sys, time
from siutindei.entrypoints import cognito
event = json.loads(sys.argv[2])
answer = getattr(cognito, sys.argv[1])(event, None)
assert answer["response"] != event["response"] or sys.argv[1] == "post_authentication"
heavy = {"sqlite3", "psycopg", "cryptography", "boto3", "botocore", "eventsourcing", "jinja2",
         "click", "rich", "email_validator", "structlog", "platformdirs"}
print(sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("event", "loaded"),
    [
        (pool.sign_up(), []),
        (pool.define([]), []),
        # It tells the pool, and its log that there is no way to.
        (pool.authenticated(), ["boto3", "botocore", "rich", "structlog"]),
    ],
    ids=["sign-up", "define", "authenticated"],
)
def test_what_needs_no_history_loads_no_database(
    tmp_path: Path, event: dict[str, Any], loaded: list[str]
) -> None:
    """The triggers that only decide load nothing heavy, and none loads what it does not use."""
    name = pool.HANDLERS[event["triggerSource"]]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, name, json.dumps(event)],
        capture_output=True,
        text=True,
        check=False,
        env={"SIUTINDEI_HOME": str(tmp_path), "PATH": "", "AWS_EC2_METADATA_DISABLED": "true"},
    )

    assert f"{loaded}\n" == done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("create_auth_challenge", {}, ["cryptography", "sqlite3"]),
        (
            "verify_auth_challenge_response",
            {
                "SIUTINDEI_DATABASE": "postgresql://siutindei@db.example.com/mail",
                "SIUTINDEI_DATABASE_AUTH": "iam",
            },
            ["boto3", "cryptography", "psycopg"],
        ),
        ("define_auth_challenge", {}, []),
        ("create_auth_challenge", {"LOG_LEVEL": "LOUD"}, []),
    ],
)
def test_a_container_starts_with_what_its_trigger_needs(
    tmp_path: Path, name: str, more: dict[str, str], expected: list[str]
) -> None:
    """What needs the history loads it while its container starts, and opens nothing."""
    code = (
        "import sys; from siutindei.entrypoints import cognito\n"
        "print(sorted({'boto3', 'psycopg', 'sqlite3', 'cryptography'} & sys.modules.keys()))"
    )
    environment = {"SIUTINDEI_HOME": str(tmp_path), "PATH": "", "_HANDLER": f"{MODULE}.{name}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment | more,
    )

    assert f"{expected}\n" == done.stdout, done.stderr
    assert [] == list(tmp_path.iterdir())
