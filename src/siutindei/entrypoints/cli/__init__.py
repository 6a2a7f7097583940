"""The command line: `siutindei [--home DIR] [--json] COMMAND`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from siutindei.entrypoints.cli import (
    audit,
    budget,
    database,
    demo,
    feedback,
    history,
    installation,
    ledger,
    people,
    projection,
    ses,
    sign_in,
    suppressions,
    tickets,
    worker,
)
from siutindei.entrypoints.cli.base import Installation, Program, example

__all__ = ["main"]


class _Home(click.Path):
    """A folder that has a name: a script whose variable is empty means none of ours."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("is empty; leave it out for the default", param, ctx)
        return super().convert(value, param, ctx)


@click.group(
    "siutindei",
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=example("siutindei demo", "siutindei --json ticket list --status pending"),
)
@click.option(
    "--home",
    type=_Home(path_type=Path),
    metavar="DIR",
    help="The folder of this installation; by default $SIUTINDEI_HOME.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, and nothing else.")
@click.option(
    "--command-id",
    metavar="ID",
    help="A name for this one command: repeated under it, it is done once and answers the same.",
)
@click.version_option(package_name="siutindei")
@click.pass_context
def main(ctx: click.Context, home: Path | None, as_json: bool, command_id: str | None) -> None:
    """Sign-in codes, tickets, decisions and their mails, told by their history.

    Exit codes: 0 done; 1 refused by a rule, or something was found; 2 wrong input, or an
    installation that cannot be used as it is; 3 not found; 4 what was checked is not what the
    history gives; 75 not now, nothing was changed, try again; 70 our fault.
    """
    # Tests hand over parts to use instead of the production ones.
    seams = ctx.obj or {}
    ctx.obj = Installation(home=home, json=as_json, command_id=command_id, seams=seams)
    ctx.call_on_close(ctx.obj.close)


for command in (
    demo.demo,
    sign_in.sign_in,
    tickets.ticket,
    worker.worker,
    ledger.notification,
    ledger.dead_letter,
    feedback.feedback,
    suppressions.suppression,
    suppressions.lane,
    budget.budget,
    history.history,
    audit.audit,
    projection.projection,
    audit.audit,
    people.person,
    audit.audit,
    database.database,
    ses.ses,
    installation.config,
    installation.doctor,
):
    main.add_command(command)
