"""`audit claims`: what was promised, held against what happened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siutindei.entrypoints.claims_page import STANDING, page, sentences
from siutindei.entrypoints.cli.base import Command, Installation, example
from siutindei.entrypoints.cli.output import cell, echo, print_json, print_table
from siutindei.entrypoints.cli.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.app.promises import Claim


@click.command(
    cls=Command,
    epilog=example("siutindei audit claims", "siutindei --json audit claims --html claims.html"),
)
@click.option(
    "--html",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page into a new file.",
)
@click.pass_context
def claims(ctx: click.Context, file: Path | None) -> None:
    """Hold what was promised to SES against what happened.

    The history is read once, and nothing in it is opened. SES is asked only where mails go to it.
    docs/claims.md says how each promise is checked. Exit code 1 says that one does not hold.
    """
    installation = ctx.ensure_object(Installation)
    services = installation.services
    with shown_progress("reading", quiet=installation.json) as progress:
        found = services.claims.check(progress=progress)
    if file is not None:
        services.write(file, page(found, at=services.clock.now()))
    if installation.json:
        print_json({"claims": [_claim(claim) for claim in found]})
    else:
        _print_claims(found)
        if file is not None:
            echo(f"written: {file}")
    if any(claim.holds is False for claim in found):
        ctx.exit(1)


def _claim(claim: Claim) -> dict[str, Any]:
    return {
        "id": claim.id,
        "says": claim.says,
        "holds": claim.holds,
        "evidence": list(sentences(claim)),
        "events": [found.event for found in claim.breaks if found.event is not None],
        "broken": claim.broken,
        "shown_by": list(claim.shown_by),
    }


def _print_claims(found: Sequence[Claim]) -> None:
    print_table(
        ("claim", "standing", "what it says"),
        ((claim.id, STANDING[claim.holds], claim.says) for claim in found),
        empty="",
    )
    for claim in found:
        if claim.holds is not True:
            echo(f"\n{claim.id} {STANDING[claim.holds]}")
            for sentence in sentences(claim):
                if sentence not in claim.evidence:
                    echo(f"  {cell(sentence)}")
