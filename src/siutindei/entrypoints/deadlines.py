"""An answer in time: who asks gives up after some seconds, whatever the work still waits for."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: What is left for the answer to travel.
_MARGIN: Final = 0.2
_LEAST: Final = 0.1


class TooLateError(Exception):
    """The time was over before the work was done."""


def remaining(context: Any) -> float | None:
    """Give how many seconds Lambda still gives an invocation; None when nobody says so."""
    milliseconds = getattr(context, "get_remaining_time_in_millis", None)
    return milliseconds() / 1000 if callable(milliseconds) else None


def budget(context: Any, *, most: float) -> float:
    """Give how many seconds an invocation may work: `most`, or what Lambda still gives it."""
    seconds = remaining(context)
    return most if seconds is None else max(_LEAST, min(most, seconds - _MARGIN))


class Deadline:
    """The end of the time for one piece of work, which the work can ask about."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = threading.Event()

    def check(self) -> None:
        """Stop the work when nobody waits for it any more.

        Raises:
            TooLateError: the time is over.
        """
        if self._is_over.is_set():
            raise TooLateError

    def run(self, work: Callable[[], T]) -> T:
        """Do some work, and give up waiting for it when the time is over.

        What is not done by then goes on beside the next invocations until it ends by itself: a
        thread cannot be stopped. So everything that the work waits for has a time-out of its own.

        Raises:
            TooLateError: it was not done in time.
        """
        done: list[T] = []
        failed: list[BaseException] = []

        def worker() -> None:
            try:
                done.append(work())
            except BaseException as error:  # noqa: BLE001  # raised where it is waited for
                failed.append(error)

        # What is bound to the log is bound in the thread too.
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(worker,), daemon=True
        )
        thread.start()
        thread.join(self._seconds)
        self._is_over.set()
        if failed:
            raise failed[0]
        if done:
            return done[0]
        raise TooLateError
