"""`projection`: the read models, made again while everything runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs
import click

from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table
from siutindei.entrypoints.cli.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.app.ports import Generation, Made, Progress

#: The history, or what was made from it, failed a verification.
FAILED: Final = 4


@click.group(cls=Group)
def projection() -> None:
    """Read models: list them, make them again, check them, go back.

    Each is made from the history alone, and can be made again while everything runs.
    """


@projection.command(
    "list", epilog=example("siutindei projection list", "siutindei --json projection list")
)
@pass_installation
def list_(installation: Installation) -> None:
    """List the read models and their generations."""
    models = installation.services.read_models.all()
    if installation.json:
        print_json(
            {
                "items": [
                    {"name": model.name, "version": model.live and model.live.version}
                    | {"newest": model.newest, "rows": model.rows}
                    | {
                        state: found and attrs.asdict(found)
                        for state, found in (
                            ("live", model.live),
                            ("building", model.building),
                            ("previous", model.previous),
                        )
                    }
                    for model in models
                ]
            }
        )
        return
    print_table(
        ("read model", "rows", "version", "newest", "live", "being made", "before"),
        (
            (
                model.name,
                model.rows,
                model.live and model.live.version,
                model.newest,
                model.live and f"generation {model.live.generation}",
                _how_far(model.building),
                _how_far(model.previous),
            )
            for model in models
        ),
        empty="",
    )


def _how_far(found: Generation | None) -> str | None:
    if found is None:
        return None
    return f"generation {found.generation}, up to {found.position}"


@projection.command(epilog=example("siutindei projection rebuild tickets"))
@click.argument("name")
@pass_installation
def rebuild(installation: Installation, name: str) -> None:
    """Make one again, compare it with the live one, switch.

    Nobody is kept from reading or writing. What was stopped or killed is gone on with by the next
    call. Rows that were different are counted and named: the new ones are what the history gives.
    """
    made, seconds = _timed(installation, "making", installation.services.read_models.rebuild, name)
    if installation.json:
        print_json(_described(made, seconds))
        return
    if made.compared is None:
        echo(f"{name}: there was nothing of this version to compare it with")
    elif made.different:
        echo(f"{name}: {made.different} rows were different: {_keys(made)}")
    else:
        echo(f"{name}: every row is as it was")
    _print(made, seconds)


@projection.command(epilog=example("siutindei projection revert tickets"))
@click.argument("name")
@pass_installation
def revert(installation: Installation, name: str) -> None:
    """Go back to the generation that served before.

    It is brought up to now first.
    """
    made, seconds = _timed(
        installation, "bringing up", installation.services.read_models.revert, name
    )
    if installation.json:
        print_json(_described(made, seconds))
    else:
        _print(made, seconds)


@projection.command(epilog=example("siutindei projection verify tickets"))
@click.argument("name")
@click.pass_context
def verify(ctx: click.Context, name: str) -> None:
    """Check a read model against the history.

    It is made again outside the database and compared with the live one, which is not changed.
    Exit code 4 says that they differ.
    """
    installation = ctx.ensure_object(Installation)
    made, seconds = _timed(installation, "checking", installation.services.read_models.verify, name)
    if installation.json:
        print_json(_described(made, seconds))
    else:
        if made.different:
            echo(f"{name}: {made.different} rows are not what the history gives: {_keys(made)}")
            echo(f"make it again: {installation.command_line('projection', 'rebuild', name)}")
        else:
            echo(f"{name}: every row is what the history gives")
        _print(made, seconds)
    if made.different:
        ctx.exit(FAILED)


def _timed(
    installation: Installation, what: str, work: Callable[..., Made], name: str
) -> tuple[Made, float]:
    started = time.monotonic()
    with shown_progress(f"{what} {name}", quiet=installation.json) as progress:
        shown: Progress = progress
        made = work(name, progress=shown)
    return made, time.monotonic() - started


def _keys(made: Made) -> str:
    more = made.different - len(made.keys)
    return ", ".join(made.keys) + (f" and {more} more" if more else "")


def _described(made: Made, seconds: float) -> dict[str, object]:
    return attrs.asdict(made) | {"seconds": round(seconds, 3)}


def _print(made: Made, seconds: float) -> None:
    print_fields(
        [
            ("events", made.events),
            ("rows", made.rows),
            ("digest", made.digest),
            ("serves", f"generation {made.generation}"),
            ("seconds", f"{seconds:.3f}"),
        ]
    )
