"""`audit`: what an auditor asks of the history."""

from __future__ import annotations

from pathlib import Path

import attrs
import click

from siutindei.app.accesses import LIST_DEFAULT
from siutindei.entrypoints.cli import dossier as dossiers
from siutindei.entrypoints.cli.base import (
    Group,
    Installation,
    example,
    operator,
    pass_installation,
)
from siutindei.entrypoints.cli.output import echo, print_json, print_table
from siutindei.entrypoints.dossier_page import page as dossier_page


@click.group(cls=Group)
def audit() -> None:
    """Answer what an auditor asks."""


# --- one ticket -----------------------------------------------------------------------------------


@audit.command(
    epilog=example("siutindei audit ticket R00001", "siutindei audit ticket R00001 --html R1.html")
)
@click.argument("reference", metavar="REF")
@click.option(
    "--html",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page to print into a new file.",
)
@click.option(
    "--by", default=operator, show_default="the operating system's user", help="Who looks."
)
@pass_installation
def ticket(installation: Installation, reference: str, file: Path | None, by: str) -> None:
    """Open the dossier of one ticket, with every mail and its fate.

    REF is its number or its UUID. That it is opened is recorded first; `audit access` lists it.
    """
    services = installation.services
    if file is not None:
        services.refuse_taken(file)
    dossier = services.dossiers.open(installation.context(), reference, by=by)
    if file is not None:
        services.write(file, dossier_page(dossier))
    if installation.json:
        print_json(dossiers.document(dossier))
    elif file is None:
        dossiers.print_dossier(dossier)
    else:
        echo(f"written: {file}")


# --- who looked -----------------------------------------------------------------------------------


@audit.command(epilog=example("siutindei audit access", "siutindei audit access --subject R00001"))
@click.option(
    "--subject",
    metavar="REF|USER",
    help="Only looks at this ticket, at this user, or at the `suppressions`.",
)
@click.option("--limit", type=int, default=LIST_DEFAULT, show_default=True, help="1 to 200.")
@click.option("--cursor", help="Go on where a list ended.")
@pass_installation
def access(installation: Installation, subject: str | None, limit: int, cursor: str | None) -> None:
    """List who looked at what is personal, newest first.

    Opening a dossier, an export and `--reveal` are each recorded before anything is shown.
    """
    page = installation.services.accesses.list(subject=subject, limit=limit, cursor=cursor)
    if installation.json:
        items = [attrs.asdict(one) for one in page.items]
        print_json({"items": items, "next_cursor": page.next_cursor})
        return
    print_table(
        ("when", "who", "what", "of", "shown", "command by"),
        ((one.at, one.by, one.what, one.subject, one.shown, one.actor) for one in page.items),
        empty="nobody looked",
    )
    if page.next_cursor is not None:
        echo(f"more: --cursor {page.next_cursor}")
