"""The steps of a use case: every place where the process does something outside itself.

Each is numbered and named as it comes; a process that is told to ends there with SIGKILL, just
before the step or just after it.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.bootstrap import Services, build
from tests.support import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.adapters.store import SqlStore
    from siutindei.app.ports import Context

Side = Literal["before", "after"]
SIDES: Final[tuple[Side, ...]] = ("before", "after")
#: Which calls of which part change something outside, or wait.
CALLS: Final = {
    "mail": ("send", "lookup", "forget"),
    "directory": ("create", "add_manager", "publish_feedback", "set_stars", "join_managers"),
    "nudges": ("send",),
    "dead_letter_queue": ("put", "letters", "redrive", "remove", "release"),
    "erasures": ("add",),
    "clock": ("sleep",),
}


@attrs.define
class Steps:
    """Counts the steps of a process, and ends it at the one that it is told.

    Attributes:
        clock: the time, which is written down when the process ends.
        died: where to.
        kill: the number of the step, and whether before or after it; None to live.
        names: the steps so far.
        is_on: whether they are counted: what opens the installation is no part of a use case.
        appended: what the transaction that is about to end has appended.
    """

    clock: VirtualClock
    died: Path
    kill: tuple[int, Side] | None = None
    names: list[str] = attrs.field(factory=list)
    is_on: bool = False
    appended: str = ""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take one step; one that fails is taken too."""
        if not self.is_on:
            yield
            return
        self.names.append(name)
        number = len(self.names)
        self._reach(number, "before")
        try:
            yield
        finally:
            self._reach(number, "after")

    def _reach(self, number: int, side: Side) -> None:
        if self.kill == (number, side):
            self.died.write_text(self.clock.now().isoformat())
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """A part whose calls are steps."""

    def __init__(self, name: str, part: Any, steps: Steps) -> None:
        self._name = name
        self._part = part
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in CALLS[self._name]:
            return found

        def call(*values: Any, **named: Any) -> Any:
            with self._steps.step(f"{self._name}.{name}"):
                return found(*values, **named)

        return call


def watched(services: Services, steps: Steps) -> Services:
    """Give the same installation with its parts watched."""
    parts: dict[str, Any] = {
        name: Watched(name, getattr(services, name), steps) for name in CALLS if name != "directory"
    }
    # Without a user pool the groups are in the catalogue: one part plays both.
    parts["directory"] = parts["identity"] = Watched("directory", services.directory, steps)
    watch_store(services.store, steps)
    kept = ("store", "ids", "vault_keys", "code_keys", "index_key")
    return build(services.settings, **parts, **{name: getattr(services, name) for name in kept})


def watch_store(store: SqlStore, steps: Steps) -> None:
    """Watch a store: each transaction's begin and commit, and the rewriting of its files."""
    writing, transaction, rewrite = store.writing, store.transaction, store.rewrite

    @contextmanager
    def watched_writing() -> Iterator[Any]:
        manager = writing()
        with steps.step("begin"):
            cursor = manager.__enter__()
        try:
            yield cursor
        except BaseException:
            if not manager.__exit__(*sys.exc_info()):
                raise
        else:
            appended, steps.appended = steps.appended, ""
            with steps.step(f"commit {appended}".rstrip()):
                manager.__exit__(None, None, None)

    @contextmanager
    def watched_transaction(context: Context) -> Iterator[Any]:
        with transaction(context) as change:
            yield change
            steps.appended = told([entry.name for entry in change.appended])

    def watched_rewrite() -> None:
        with steps.step("rewrite the files"):
            rewrite()

    vars(store).update(
        writing=watched_writing, transaction=watched_transaction, rewrite=watched_rewrite
    )


def told(names: list[str]) -> str:
    """Tell events in words, those of one kind of thing that follow each other together."""
    parts: list[tuple[str, list[str]]] = []
    for name in names:
        category, _, rest = name.partition(".")
        what = rest.rpartition(".v")[0].replace("_", " ")
        if not parts or parts[-1][0] != category:
            parts.append((category, []))
        parts[-1][1].append(what)
    words = {"notification": "mail"}
    return "; ".join(f"{words.get(name, name)}: {', '.join(whats)}" for name, whats in parts)
