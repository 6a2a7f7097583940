"""Answers in time, whatever the work waits for."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from siutindei.entrypoints.deadlines import Deadline, TooLateError, budget


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (None, 4.3),
        (SimpleNamespace(), 4.3),
        (SimpleNamespace(get_remaining_time_in_millis=None), 4.3),
        (SimpleNamespace(get_remaining_time_in_millis=lambda: 10_000), 4.3),
        (SimpleNamespace(get_remaining_time_in_millis=lambda: 3_000), 2.8),
        (SimpleNamespace(get_remaining_time_in_millis=lambda: 0), 0.1),
    ],
)
def test_the_time_there_is(context: Any, expected: float) -> None:
    """It is as long as one may wait, or as Lambda still gives, with a little for the way back."""
    assert expected == budget(context, most=4.3)


def test_what_is_done_in_time_is_answered() -> None:
    """The work's answer or error is given as it is, and what is bound to logs is bound in it."""

    def fail() -> None:
        raise KeyError("x")

    with structlog.contextvars.bound_contextvars(trigger="t"):
        bound = Deadline(5).run(structlog.contextvars.get_contextvars)

    assert {"trigger": "t"} == bound
    with pytest.raises(KeyError):
        Deadline(5).run(fail)


def test_what_takes_too_long_is_not_waited_for() -> None:
    """Who waits gets an error in time, and the work can learn that nobody waits any more."""
    deadline, go, told = Deadline(0.1), threading.Event(), threading.Event()

    def work() -> None:
        deadline.check()
        assert go.wait(10)
        try:
            deadline.check()
        except TooLateError:
            told.set()

    began = time.monotonic()
    with pytest.raises(TooLateError):
        deadline.run(work)
    took = time.monotonic() - began
    go.set()

    assert 0.1 <= took < 1
    assert told.wait(10)
