"""Logs: one line an event, on standard error; for people on a terminal, JSON elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any


def configure(level: str) -> Any:
    """Make the logger of a process; what is None is left out."""
    # Imported where it is needed: only what runs for long writes logs.
    import logging

    import structlog

    stream = sys.stderr if sys.stderr is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    is_terminal = stream.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(
            colors=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )
        if is_terminal
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[
            # What a line does not know hides nothing that is bound.
            _without_none,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_none,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
    )


def _without_none(_: Any, __: str, event: Any) -> Any:
    return {name: value for name, value in event.items() if value is not None}
