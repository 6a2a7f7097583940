"""`config` and `doctor`: what this installation is, and what is wrong with it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs
import click

from siutindei.app.ports import PortError
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json, print_table
from siutindei.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_OVERDUE: Final = timedelta(minutes=1)


@click.command(cls=Command, epilog=example("siutindei config", "siutindei --json config"))
@pass_installation
def config(installation: Installation) -> None:
    """Print every setting and where it came from.

    Secrets are masked. docs/settings.md says what each is for.
    """
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


@click.command(cls=Command, epilog=example("siutindei doctor"))
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is wrong here and how to mend it.

    Exit code 1 says that something is.
    """
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
        echo("nothing is wrong")
    if problems:
        ctx.exit(1)


def _problems(installation: Installation) -> Iterator[Problem]:
    try:
        services = installation.services
    except Invalid as error:
        yield Problem(str(error), "set it to something else, or unset it: the default works")
        return
    known = {setting.name for setting in SETTINGS}
    for name in sorted(os.environ):
        if name.startswith("SIUTINDEI_") and name not in known:
            yield Problem(
                f"{name} is set, and is no setting of this version",
                "unset it, or correct its name: siutindei config lists them",
            )
    try:
        store = services.store
    except PortError as error:
        # What is wrong and what to do about it are one sentence in these errors.
        what, _, mend = str(error).partition("; ")
        yield Problem(what, mend or "correct its owner and its mode, or name another home")
        return
    wrong = []
    try:
        for name in services.history.projections:
            # The whole history is read on the way.
            made = services.read_models.verify(name, progress=lambda *_: None)
            if made.different:
                wrong.append(made)
        services.directory.labels()
    except PortError as error:
        yield Problem(str(error), "put back what is damaged from a backup")
        return
    maildir = installation.settings.maildir
    if not _can_be_written(maildir):
        yield Problem(f"{maildir} cannot be written", f"correct its owner and its mode: {maildir}")
    for name in ("SIUTINDEI_CODE_KEYS", "SIUTINDEI_VAULT_KEYS", "SIUTINDEI_INDEX_KEY"):
        path = installation.settings.file(name)
        if path.stat().st_mode & 0o077:
            yield Problem(f"{path} can be read by others", f"chmod 600 {path}")
    letters = services.dead_letters.all()
    if letters:
        yield Problem(
            f"{len(letters)} dead letters wait for a person",
            f"{installation.command_line('dead-letter', 'list')}, then redrive or discard",
        )
    now = services.clock.now()
    overdue = [entry for entry in store.views.due(at=now) if now - entry.due_at >= _OVERDUE]
    if overdue:
        yield Problem(
            f"{len(overdue)} mails or grants are overdue by a minute or more",
            f"start a worker: {installation.command_line('worker')}",
        )
    for made in wrong:
        yield Problem(
            f"the read model {made.name} is not what the history gives in {made.different} rows",
            "keep a copy of the database and report it, then "
            + installation.command_line("projection", "rebuild", made.name),
        )


def _can_be_written(folder: Path) -> bool:
    """Whether a folder, or the one that it would be made in, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
