"""`person`: export and erase."""

from __future__ import annotations

import click

from siutindei.entrypoints.cli.base import (
    Group,
    Installation,
    example,
    operator,
    pass_installation,
)
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table


@click.group(cls=Group)
def person() -> None:
    """Export what is kept about a person, or erase it."""


@person.command(
    epilog=example(
        "siutindei --json person export 5f0c2a7e-6a53-4d0a-9a53-0f4f3a1d7c11 > person.json"
    )
)
@click.argument("user")
@click.option(
    "--by", default=operator, show_default="the operating system's user", help="Who looks."
)
@pass_installation
def export(installation: Installation, user: str, by: str) -> None:
    """Print everything that is kept about a person.

    USER is their id, as `ticket show` gives it. What was erased is shown as [erased].
    Who looks is recorded first.
    """
    data = installation.services.people.export(installation.context(), user, by=by)
    if installation.json:
        print_json(data)
        return
    sections = {name: value for name, value in data.items() if isinstance(value, list)}
    print_fields((name, value) for name, value in data.items() if name not in sections)
    for name, rows in sections.items():
        echo(f"\n{name}")
        if name == "tickets":
            # They have many fields, some of them long.
            for row in rows:
                print_fields(row.items())
                echo()
        else:
            print_table(list(rows[0]) if rows else [], (row.values() for row in rows), empty="none")


@person.command(
    epilog=example(
        "siutindei person erase 5f0c2a7e-6a53-4d0a-9a53-0f4f3a1d7c11 --by ops-1 "
        "--reason 'asked by letter'"
    )
)
@click.argument("user")
@click.option(
    "--by", default=operator, show_default="the operating system's user", help="Who erases."
)
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def erase(installation: Installation, user: str, by: str, reason: str) -> None:
    """Destroy the keys of a person's data for good.

    What USER left behind stays in the history, and nobody can read it any more. The mails to and
    about them leave the maildir too. It cannot be undone.
    """
    result = installation.services.people.erase(installation.context(), user, by=by, reason=reason)
    if installation.json:
        print_json({"user": result.user, "erased_fields": result.erased_fields})
    else:
        echo(f"erased: {result.erased_fields} fields of {result.user} can be read no more")
