"""The Lambda runtime that the handlers are tried under: it starts them, asks them, hears errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.entrypoints.runtime_api import running

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HANDLERS = """
import os

def echo(event, context):
    print("asked", os.environ["WHO"])
    left = context.get_remaining_time_in_millis()
    return {"event": event, "id": context.aws_request_id, "in_time": 0 < left <= 2000}

def refuse(event, context):
    raise ValueError("no")
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give an environment in which a module of the test's can be imported."""
    (tmp_path / "handlers_of_a_test.py").write_text(HANDLERS, encoding="utf-8")
    return {"PYTHONPATH": str(tmp_path), "WHO": "ann"}


def test_a_handler_is_asked_and_answers(environment: dict[str, str]) -> None:
    """Event and context reach it, its answers come back in order, and what it prints is kept."""
    with running("handlers_of_a_test.echo", environment) as function:
        answers = [function.invoke(number, milliseconds=2000).answer for number in (1, 2)]
        output = function.output()

    assert [
        {"event": 1, "id": "request-1", "in_time": True},
        {"event": 2, "id": "request-2", "in_time": True},
    ] == answers
    assert output.count("asked ann") == 2


def test_an_error_is_what_the_caller_gets(environment: dict[str, str]) -> None:
    """What a handler raises is an answer too, and the function goes on."""
    with running("handlers_of_a_test.refuse", environment) as function:
        errors = [function.invoke({}).error or {} for _ in range(2)]

    assert [("ValueError", "no")] * 2 == [
        (error["errorType"], error["errorMessage"]) for error in errors
    ]


def test_a_function_that_does_not_start_says_so(environment: dict[str, str]) -> None:
    """A handler that is not there is an error of the start."""
    with running("handlers_of_a_test.missing", environment) as function:
        error = function.init_error()

    assert error["errorType"] == "Runtime.HandlerNotFound"
