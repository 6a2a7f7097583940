"""What long work shows while it goes on: how far it is, how fast it goes, how long it will take."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.ports import Progress


@contextmanager
def shown_progress(what: str, *, quiet: bool) -> Iterator[Progress]:
    """Show on standard error how far some work is, when a person sees it and it is not quiet."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield lambda done, total: None  # noqa: ARG005  # nobody looks
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", rate="", total=None)

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.0f} events/s" if speed else ""
            bar.update(task, completed=done, total=total, rate=rate)

        yield show
