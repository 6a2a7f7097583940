"""Being asked to stop: SIGTERM and SIGINT end what runs until then, and cut nothing off."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Stopping:
    """Whether somebody asked the process to stop; waiting ends when they do.

    A pipe wakes the one who waits: a lock that is taken in a signal's handler could be held by the
    very code that the signal interrupts.
    """

    def __init__(self) -> None:
        self.asked = False
        self._read, self._write = os.pipe()

    def ask(self) -> None:
        """Ask it to stop."""
        self.asked = True
        os.write(self._write, b".")

    def wait(self, seconds: float) -> None:
        """Wait, until somebody asks it to stop."""
        select.select([self._read], [], [], seconds)

    def close(self) -> None:
        """Give back what waiting needs."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def stopping() -> Iterator[Stopping]:
    """Let the first SIGTERM or SIGINT ask for the end; the next one makes it."""
    state = Stopping()
    before: dict[int, Any] = {}

    def handle(number: int, _: object) -> None:
        signal.signal(number, before[number])
        state.ask()

    try:
        for number in (int(signal.SIGTERM), int(signal.SIGINT)):
            before[number] = signal.signal(number, handle)
        yield state
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        state.close()


def is_output_closed() -> bool:
    """Whether whoever read our standard output has gone."""
    poll = select.poll()
    with suppress(OSError, ValueError, AttributeError):
        poll.register(sys.stdout.fileno(), 0)
    return bool(poll.poll(0))
