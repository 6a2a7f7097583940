"""What every command shares: the installation it works on, who acts, and how errors end."""

from __future__ import annotations

import getpass
import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.app.ports import Context, GrantError, PortError, Unavailable, Unusable
from siutindei.bootstrap import Services, build
from siutindei.domain import fields
from siutindei.domain.errors import DomainError, Invalid, NotFound, Refused
from siutindei.entrypoints.cli.output import print_json
from siutindei.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How each error ends; the first class that fits counts.
EXIT_CODES: Final[Sequence[tuple[type[Exception], int]]] = (
    (Refused, 1),
    (Invalid, 2),
    (NotFound, 3),
    (Unavailable, 75),
    (Unusable, 2),
    (GrantError, 75),
    (PortError, 75),
    (DomainError, 1),
)
OUR_FAULT: Final = 70


@attrs.define(slots=False)
class Installation:
    """What the options before the command name.

    Attributes:
        home: the folder that `--home` names.
        json: whether programs read what is printed.
        command_id: the id that makes a repeat find what was done the first time.
    """

    home: Path | None = None
    json: bool = False
    command_id: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The settings."""
        return read_settings(os.environ, home=self.home)

    @cached_property
    def services(self) -> Services:
        """The application."""
        return build(self.settings)

    def context(self) -> Context:
        """Say who acts and by which request."""
        request = self.services.ids.uuid()
        command_id = request
        if self.command_id is not None:
            command_id = fields.required_line("command-id", self.command_id, most=128)
        return Context(
            command_id=command_id,
            actor=f"operator:{operator()}",
            request_id=request,
            correlation_id=request,
        )


def operator() -> str:
    """Name the operating system's user."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name)


class Group(click.Group):
    """A group whose errors end with a line and an exit code, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # Whoever read our output has enough; say nothing to the closed pipe at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        except Exception as error:  # noqa: BLE001  # the one place where everything ends
            installation = ctx.find_object(Installation) or Installation()
            ctx.exit(_end(error, json=installation.json))


def _end(error: Exception, *, json: bool) -> int:
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            _say(error, str(error), json=json)
            return code
    if isinstance(error, OSError) and error.strerror:
        _say(error, f"{error.filename or 'a file'}: {error.strerror}", json=json)
        return 75
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    # Neither the text nor the arguments of an error that nobody foresaw: they may be personal.
    line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
    text = f"our fault: {type(error).__name__} at {line}; please report it"
    _say(error, text, json=json)
    return OUR_FAULT


def _say(error: Exception, text: str, *, json: bool) -> None:
    line = fields.one_line(text)
    click.echo(f"siutindei: {line}", err=True)
    if json:
        document: dict[str, object] = {"error": line}
        if isinstance(error, Invalid):
            document["field"] = error.field
        print_json(document)


pass_installation = click.make_pass_decorator(Installation)


def example(*lines: str) -> str:
    """Write the examples that stand below a command's help, each line as it is."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])
