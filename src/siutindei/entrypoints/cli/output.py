"""What the command line prints: tables for people, JSON for programs, never both."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from siutindei.domain import fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_HONG_KONG: Final = timezone(timedelta(hours=8))
_WIDE: Final = 200


def console(*, error: bool = False) -> Console:
    """Make a console; without a terminal it does not cut what it prints to 80 columns."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def print_json(document: object) -> None:
    """Print one JSON document on one line."""
    click.echo(msgspec.json.encode(document).decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print a table, or a sentence when there is nothing in it."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    count = 0
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
        count += 1
    if count:
        console().print(table)
    else:
        click.echo(empty)


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; a value of several lines is indented."""
    shown = [(name, value) for name, value in pairs if value not in {None, ""} and value != []]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        lines = fields.printable(_plain(value)).splitlines() or [""]
        click.echo(f"{name:<{width}}  {lines[0]}")
        for line in lines[1:]:
            click.echo(f"{'':<{width}}  {line}")


def cell(value: object) -> str:
    """Write a value so that it stays in its cell and cannot steer the terminal."""
    return fields.one_line(_plain(value))


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return when(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value)
    return str(value)


def when(at: datetime) -> str:
    """Write a time for people in Hong Kong."""
    return f"{at.astimezone(_HONG_KONG):%Y-%m-%d %H:%M:%S} HKT"


def iso(at: datetime | None) -> str | None:
    """Write a time for programs."""
    return None if at is None else at.astimezone(UTC).isoformat()
