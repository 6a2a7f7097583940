"""`config` and `doctor`: what this installation is, and what is wrong with it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
import click

from siutindei.app.ports import PortError
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Installation, example
from siutindei.entrypoints.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.bootstrap import Services

#: How often the read models are looked at until nothing is appended meanwhile.
_COMPARISONS: Final = 5
_OVERDUE: Final = timedelta(minutes=1)


@click.command(epilog=example("siutindei config"))
@click.pass_obj
def config(installation: Installation) -> None:
    """Print every setting, and where it came from; secrets are masked."""
    values = installation.settings.values.values()
    if installation.json:
        print_json(
            {
                "settings": [
                    {"name": value.setting.name, "value": value.shown, "source": value.source}
                    for value in values
                ]
            }
        )
        return
    print_table(
        ("setting", "value", "from"),
        ((value.setting.name, value.shown, value.source) for value in values),
        empty="",
    )


@attrs.frozen
class Problem:
    """Something that is wrong, and how to mend it."""

    what: str
    mend: str


@click.command(epilog=example("siutindei doctor"))
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is wrong with this installation and how to mend it; 1 when something is."""
    installation = ctx.ensure_object(Installation)
    problems = list(_problems(installation))
    if installation.json:
        print_json(
            {"ok": not problems, "problems": [attrs.asdict(problem) for problem in problems]}
        )
    elif problems:
        print_table(
            ("what is wrong", "how to mend it"),
            ((problem.what, problem.mend) for problem in problems),
            empty="",
        )
    else:
        click.echo("nothing is wrong")
    if problems:
        ctx.exit(1)


def _problems(installation: Installation) -> Iterator[Problem]:
    services = installation.services
    try:
        store = services.store
    except (PortError, Invalid) as error:
        # What is wrong and what to do about it are one sentence in these errors.
        what, _, mend = str(error).partition("; ")
        yield Problem(what, mend or "see docs/settings.md")
        return
    try:
        services.history.replay()
        services.directory.labels()
    except PortError as error:
        yield Problem(str(error), "put back what is damaged from a backup")
        return
    for name in ("SIUTINDEI_CODE_KEYS", "SIUTINDEI_VAULT_KEYS", "SIUTINDEI_INDEX_KEY"):
        path = installation.settings.file(name)
        if path.stat().st_mode & 0o077:
            yield Problem(f"{path} can be read by others", f"chmod 600 {path}")
    letters = services.dead_letters.all()
    if letters:
        yield Problem(
            f"{len(letters)} dead letters wait for a person",
            "siutindei dead-letter list, then redrive or discard",
        )
    now = services.clock.now()
    overdue = [entry for entry in store.views.due(at=now) if now - entry.due_at >= _OVERDUE]
    if overdue:
        yield Problem(
            f"{len(overdue)} mails or grants are overdue by a minute or more",
            "start a worker: siutindei worker",
        )
    if not _read_models_agree(services):
        yield Problem(
            "the read models are not what the history gives",
            "keep a copy of the database and report it: they are made from the history alone",
        )


def _read_models_agree(services: Services) -> bool:
    """Compare the read models with a replay, at a moment when nothing was appended in between."""
    names = services.history.projections
    for _ in range(_COMPARISONS):
        position = services.store.last_position()
        live = services.store.digest(names)
        if position == services.store.last_position():
            return live == services.history.replay(until=position).digest
    return True
