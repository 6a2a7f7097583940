"""`feedback`: what the mail service reports, from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from siutindei.domain.errors import Invalid, NotFound
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import print_json, print_table

if TYPE_CHECKING:
    from siutindei.app.feedback import Heard
    from siutindei.app.ports import Report


@click.group(cls=Group)
def feedback() -> None:
    """Record what became of mails.

    Deliveries, delays, bounces, complaints, as the mail service reports them.
    """


@feedback.command(epilog=example("siutindei feedback ingest bounce.json"))
@click.argument("file", type=click.Path(path_type=Path))
@pass_installation
def ingest(installation: Installation, file: Path) -> None:
    """Record one event as SES publishes it, or one on each line.

    Nothing is recorded when one of them cannot be read. It ends with 3 when no mail of ours is
    meant.
    """
    reports = [_read(installation, line, text) for line, text in _texts(file)]
    heard = [_hear(installation, report) for report in reports]
    if not reports:
        raise Invalid("file", "holds no event")
    if all(item.result == "not_ours" for item in heard):
        raise NotFound("mail", heard[0].report.message_id)
    if installation.json:
        print_json({"items": [_document(item) for item in heard]})
        return
    print_table(
        ("report", "what it settled", "notification", "status", "suppressed"),
        (
            (item.report.name, item.result, item.notification_id, item.status, item.suppressed)
            for item in heard
        ),
        empty="",
    )


def _read(installation: Installation, line: int, text: str) -> Report:
    try:
        return installation.services.feedback.read(text)
    except Invalid as error:
        raise Invalid("file", f"line {line}: the report {error.why}") from None


def _hear(installation: Installation, report: Report) -> Heard:
    context = installation.context()
    # Each event is a command of its own, whatever the command was called.
    own = attrs.evolve(context, command_id=context.request_id)
    return installation.services.feedback.hear(own, report)


def _texts(file: Path) -> list[tuple[int, str]]:
    """Give the events of a file, each with its line: one over many lines, or one on each."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid("file", "is not UTF-8") from None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        lines = enumerate(text.split("\n"), start=1)
        return [(number, line) for number, line in lines if line.strip()]
    return [(1, text)]


def _document(item: Heard) -> dict[str, Any]:
    return {
        "report": item.report.name,
        "kind": item.report.kind,
        "result": item.result,
        "message_id": item.report.message_id or None,
        "notification": item.notification_id,
        "status": item.status,
        "events": list(item.events),
        "suppressed": item.suppressed,
    }
