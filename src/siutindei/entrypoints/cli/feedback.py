"""`feedback`: what the mail service reports, from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.domain.errors import Invalid, NotFound
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json, print_table

if TYPE_CHECKING:
    from siutindei.app.feedback import Heard
    from siutindei.app.ports import Report
    from siutindei.domain.report import Status


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

    Nothing is recorded when one of them cannot be read. What is reported of a mail that is not
    known is kept until it is; it ends with 3 when no mail that is known is meant.
    """
    reports = [_read(installation, line, text) for line, text in _texts(file)]
    heard = [_hear(installation, report) for report in reports]
    if not reports:
        raise Invalid("file", "holds no event")
    if all(item.result in {"parked", "not_ours"} for item in heard):
        raise _NoMail(heard[0].report.message_id)
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


@feedback.command("list", epilog=example("siutindei feedback list"))
@pass_installation
def list_(installation: Installation) -> None:
    """List what is reported of mails that nobody knows.

    It is parked until the send is recorded, or kept aside: its tags are somebody else's.
    """
    views = installation.services.store.views
    counts = views.count_reports()
    items = [
        {
            "message_id": found.message_id,
            "status": found.status,
            "reports": [said.name for said in found.waiting],
            "since": found.waiting[0].at,
        }
        for status in _KEPT
        for found in views.reports(status=status)
    ]
    if installation.json:
        print_json({"items": items, "counts": {word: counts.get(word, 0) for word in _COUNTED}})
        return
    print_table(
        ("message id", "it is", "reported", "since"),
        ((item["message_id"], item["status"], item["reports"], item["since"]) for item in items),
        empty="no reports of mails that nobody knows",
    )
    echo(", ".join(f"{counts.get(word, 0)} {word}" for word in _COUNTED))


_KEPT: Final[tuple[Status, ...]] = ("parked", "foreign")
_COUNTED: Final[tuple[Status, ...]] = (*_KEPT, "applied")


class _NoMail(NotFound):
    """Nobody knows the mail that is reported of, yet."""

    def __init__(self, message_id: str) -> None:
        super().__init__("mail", message_id)
        self.args = (f"{self}; what is reported of it is kept until there is",)


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
