"""`ticket`: submit, list, show, approve, decline."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from siutindei.app.tickets import LIST_DEFAULT, WIRE_STATUSES, Decided, wire
from siutindei.domain import ticket as tickets
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable

_INPUT_MOST: Final = 1024 * 1024
_STATUSES: Final = ("pending", "approved", "declined", "rejected")


@click.group("ticket", cls=Group)
def ticket() -> None:
    """Submit tickets, look at them, and decide them."""


@ticket.group("submit", cls=Group)
def submit() -> None:
    """Submit a ticket for a user."""


def _submission(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every type of ticket has."""
    for option in (
        click.option(
            "--input",
            "input_file",
            type=click.Path(path_type=Path, allow_dash=True),
            metavar="FILE.json",
            help="Read the fields from a JSON object (- is standard input) instead of options.",
        ),
        click.option("--locale", help="The language of the decision's mail: en or zh-HK."),
        click.option("--email", help="Their address."),
        click.option("--user", help="The submitter's user id."),
    ):
        command = option(command)
    return command


@submit.command(
    "access-request",
    epilog=example(
        "siutindei ticket submit access-request --user u-1 --email ann@example.com "
        "--organization-name 'Star Dance'"
    ),
)
@click.option("--organization-name", help="1 to 200 characters.")
@click.option("--request-message", help="At most 5000 characters.")
@_submission
@pass_installation
def access_request(installation: Installation, /, **options: Any) -> None:
    """Ask to manage an organization."""
    _submit(installation, "access_request", options)


@submit.command(
    "suggestion",
    epilog=example(
        "siutindei ticket submit suggestion --user u-1 --email ann@example.com "
        "--organization-name 'Harbour Chess' --suggested-lat 22.28 --suggested-lng 114.15"
    ),
)
@click.option("--organization-name", help="1 to 200 characters.")
@click.option("--description", help="At most 5000 characters.")
@click.option("--suggested-district", help="At most 100 characters.")
@click.option("--suggested-address", help="At most 500 characters.")
@click.option("--suggested-lat", type=float, help="-90 to 90.")
@click.option("--suggested-lng", type=float, help="-180 to 180.")
@click.option("--media-url", "media_urls", multiple=True, help="A web address; at most 20 times.")
@click.option("--additional-notes", help="At most 5000 characters.")
@_submission
@pass_installation
def suggestion(installation: Installation, /, **options: Any) -> None:
    """Suggest an organization."""
    _submit(installation, "organization_suggestion", options)


@submit.command(
    "feedback",
    epilog=example(
        "siutindei ticket submit feedback --user u-1 --email ann@example.com "
        "--organization-id 7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c11 --stars 5"
    ),
)
@click.option("--organization-id", help="The organization's UUID.")
@click.option("--stars", type=int, help="0 to 5.")
@click.option("--label-id", "label_ids", multiple=True, help="A label's UUID; at most 20 times.")
@click.option("--description", help="At most 5000 characters.")
@_submission
@pass_installation
def feedback(installation: Installation, /, **options: Any) -> None:
    """Give feedback on an organization."""
    _submit(installation, "organization_feedback", options)


def _submit(installation: Installation, ticket_type: tickets.Type, options: dict[str, Any]) -> None:
    path: Path | None = options.pop("input_file")
    locale = options.pop("locale")
    given = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if value is not None and value != ()
    }
    if path is not None:
        read = _read(path, known={*options})
        for name in given.keys() & read.keys():
            raise Invalid(name, "is given twice: as an option and in the file")
        given |= read
    user, email = given.pop("user", None), given.pop("email", None)
    taken = installation.services.tickets.submit(
        installation.context(),
        ticket_type=ticket_type,
        user=user,
        email=email,
        body=given,
        locale=locale,
    )
    if (
        taken.submitted is not None
        and taken.submitted.assurance == "none"
        and not installation.json
    ):
        click.echo(
            "note: nobody vouched for this address; the record says so "
            "(a sign-in with a code would have proved it)",
            err=True,
        )
    _show(installation, taken)


def _read(path: Path, *, known: set[str]) -> dict[str, Any]:
    """Read a JSON object, and refuse what is none, is too large, or has fields nobody knows."""
    try:
        stream = sys.stdin.buffer if str(path) == "-" else path.open("rb")
        with stream:
            data = stream.read(_INPUT_MOST + 1)
    except OSError as error:
        raise Invalid("input", f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _INPUT_MOST:
        raise Invalid("input", f"is larger than {_INPUT_MOST} bytes")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError:
        raise Invalid("input", "is not valid UTF-8") from None
    except (ValueError, RecursionError):
        raise Invalid("input", "is not valid JSON") from None
    if not isinstance(document, dict):
        raise Invalid("input", "must be a JSON object")
    for name in document:
        if name not in known:
            raise Invalid(name, f"is no field of this ticket; there are {', '.join(sorted(known))}")
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object, and refuse a name that stands in it twice: one of the two would be lost."""
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        raise Invalid(
            next(name for name in names if names.count(name) > 1), "is given twice in the file"
        )
    return document


@ticket.command("list", epilog=example("siutindei ticket list --status pending --limit 20"))
@click.option("--status", type=click.Choice(_STATUSES), help="Only those in this status.")
@click.option("--type", "ticket_type", type=click.Choice(tickets.TYPES), help="Only this type.")
@click.option("--limit", type=int, default=LIST_DEFAULT, show_default=True, help="1 to 200.")
@click.option("--cursor", help="Go on where a list ended.")
@pass_installation
def list_(
    installation: Installation,
    status: str | None,
    ticket_type: tickets.Type | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List tickets, newest first."""
    page = installation.services.tickets.list(
        status=WIRE_STATUSES["rejected"]
        if status == "declined"
        else WIRE_STATUSES.get(status or ""),
        ticket_type=ticket_type,
        limit=limit,
        cursor=cursor,
    )
    if installation.json:
        print_json({"items": [wire(item) for item in page.items], "next_cursor": page.next_cursor})
        return
    print_table(
        ("ticket", "type", "status", "organization", "submitted", "by"),
        (
            (
                item.submitted.reference,
                item.submitted.ticket_type,
                item.status,
                item.submitted.organization_name.text,
                item.submitted.at,
                item.submitted.submitter_email.text,
            )
            for item in page.items
            if item.submitted is not None
        ),
        empty="no tickets",
    )
    if page.next_cursor is not None:
        echo(f"more: --cursor {page.next_cursor}")


@ticket.command(epilog=example("siutindei ticket show R00001"))
@click.argument("reference", metavar="REF")
@pass_installation
def show(installation: Installation, reference: str) -> None:
    """Show one ticket.

    REF is its number or its UUID.
    """
    _show(installation, installation.services.tickets.show(reference))


@ticket.command(
    epilog=example("siutindei ticket approve R00001 --by admin-7 --create-organization")
)
@click.argument("reference", metavar="REF")
@click.option("--by", required=True, metavar="ADMIN", help="Who decides.")
@click.option("--note", help="A message for the submitter, at most 5000 characters.")
@click.option("--organization-id", help="Assign an access request to this organization.")
@click.option("--create-organization", is_flag=True, help="Make the organization.")
@pass_installation
def approve(
    installation: Installation,
    reference: str,
    by: str,
    note: str | None,
    organization_id: str | None,
    create_organization: bool,
) -> None:
    """Approve a ticket.

    An access request needs --organization-id or --create-organization; a suggestion may have the
    latter. What it brings and the mail to the submitter are the worker's.
    """
    decided = installation.services.tickets.approve(
        installation.context(),
        reference,
        by=by,
        note=note,
        organization_id=organization_id,
        create_organization=create_organization,
    )
    _decided(installation, decided)


@ticket.command(epilog=example("siutindei ticket decline S00001 --by admin-7 --note 'Closed.'"))
@click.argument("reference", metavar="REF")
@click.option("--by", required=True, metavar="ADMIN", help="Who decides.")
@click.option("--note", help="A message for the submitter, at most 5000 characters.")
@pass_installation
def decline(installation: Installation, reference: str, by: str, note: str | None) -> None:
    """Decline a ticket.

    The mail to the submitter is the worker's.
    """
    decided = installation.services.tickets.decline(
        installation.context(), reference, by=by, note=note
    )
    _decided(installation, decided)


def _decided(installation: Installation, decided: Decided) -> None:
    _show(installation, decided.ticket)


def _show(installation: Installation, shown: tickets.Ticket) -> None:
    document = wire(shown)
    if installation.json:
        print_json(document)
        return
    decision, submitted = shown.decision, shown.submitted
    print_fields(
        [
            ("ticket", document["ticket_id"]),
            ("id", document["id"]),
            ("type", document["ticket_type"]),
            ("status", shown.status),
            ("organization", document["organization_name"]),
            ("organization id", document["organization_id"]),
            ("submitted", submitted.at if submitted else None),
            ("by", f"{document['submitter_email']} ({document['submitter_id']})"),
            ("address proved by", submitted.assurance if submitted else None),
            ("message", document["message"]),
            ("description", document["description"]),
            ("district", document["suggested_district"]),
            ("address", document["suggested_address"]),
            ("latitude", document["suggested_lat"]),
            ("longitude", document["suggested_lng"]),
            ("media", document["media_urls"]),
            ("stars", document["feedback_stars"]),
            ("labels", document["feedback_label_ids"]),
            ("feedback", document["feedback_text"]),
            ("decided", decision.at if decision else None),
            ("decided by", document["reviewed_by"]),
            ("rule", decision.rule if decision else None),
            ("note", document["admin_notes"]),
        ]
    )
