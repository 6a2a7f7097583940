"""`audit access`: who looked at what is personal."""

from __future__ import annotations

import attrs
import click

from siutindei.app.accesses import LIST_DEFAULT
from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json, print_table


@click.command(
    cls=Command, epilog=example("siutindei audit access", "siutindei audit access --subject R00001")
)
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
