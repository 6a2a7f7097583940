"""What the command line prints: tables for people, JSON for programs, never both."""

from __future__ import annotations

import os
import shutil
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from siutindei.app.times import hong_kong
from siutindei.domain import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_GAP: Final = "  "
_NOTHING: Final = "-"


class OutputError(Exception):
    """Standard output did not take all of it; what was asked for may be done all the same."""


def echo(text: str | bytes = "") -> None:
    """Print a line on standard output.

    Raises:
        BrokenPipeError: whoever read it has gone.
        OutputError: it could not be written.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = (
            f"standard output cannot be written: {error.strerror}; "
            "what was asked for may be done all the same"
        )
        raise OutputError(msg) from error


def print_json(document: object) -> None:
    """Print one JSON document on one line, in UTF-8 whatever the terminal's encoding."""
    echo(msgspec.json.encode(_for_programs(document)))


def _for_programs(value: object) -> object:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {name: _for_programs(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_for_programs(entry) for entry in value]
    return value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table, or a sentence when there is nothing in it.

    Columns with nothing in them are left out. Nothing is ever cut or folded, ids stay what they
    are: where a terminal is too narrow for the table, one record comes after the other.
    """
    cells = [[cell(value) for value in row] for row in rows]
    if not cells:
        echo(empty)
        return
    shown = [
        number
        for number in range(len(columns))
        if any(row[number] not in {_NOTHING, ""} for row in cells)
    ]
    table = [[columns[number] for number in shown], *([row[n] for n in shown] for row in cells)]
    widths = [max(_width(row[number]) for row in table) for number in range(len(shown))]
    if sum(widths) + len(_GAP) * (len(widths) - 1) > _terminal_width():
        for count, row in enumerate(table[1:]):
            if count:
                echo()
            print_fields(zip(table[0], row, strict=True))
        return
    for count, row in enumerate(table):
        line = _GAP.join(
            text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True)
        ).rstrip()
        echo(line if count or not _is_bright() else click.style(line, bold=True))


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; a value of several lines is indented."""
    shown = [(name, _plain(value)) for name, value in pairs]
    shown = [(name, text) for name, text in shown if text not in {_NOTHING, ""}]
    width = max((_width(name) for name, _ in shown), default=0)
    for name, text in shown:
        lines = fields.printable(text).splitlines() or [""]
        for line in lines:
            echo(f"{name}{' ' * (width - _width(name))}{_GAP}{line}".rstrip())
            name = ""  # noqa: PLW2901  # only the first line is named


def cell(value: object) -> str:
    """Write a value so that it stays in its cell and cannot steer the terminal."""
    return fields.one_line(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return _NOTHING
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(entry)}" for name, entry in value.items())
    return str(value)


def when(at: datetime) -> str:
    """Write a time for people in Hong Kong."""
    return f"{hong_kong(at):%Y-%m-%d %H:%M:%S} HKT"


def iso(at: datetime | None) -> str | None:
    """Write a time for programs."""
    return None if at is None else at.astimezone(UTC).isoformat()


def _width(text: str) -> int:
    """Count the columns that a terminal needs: a Chinese character takes two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _is_bright() -> bool:
    return _is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _terminal_width() -> float:
    """Give the width that a table may have; what goes to a file or a pipe may be of any."""
    return shutil.get_terminal_size().columns if _is_terminal() else float("inf")
