"""What every command shares: the installation it works on, who acts, and how errors end."""

from __future__ import annotations

import errno
import getpass
import io
import os
import re
import shlex
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.app.identity import user_id
from siutindei.app.ports import Altered, Context, GrantError, PortError, Unavailable, Unusable
from siutindei.bootstrap import Services, build
from siutindei.domain import fields
from siutindei.domain.errors import DomainError, Invalid, NotFound, Refused
from siutindei.entrypoints.cli.output import OutputError, print_json
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
    (Altered, 4),
    (GrantError, 75),
    (PortError, 75),
    (DomainError, 1),
)
USAGE: Final = 2
OUR_FAULT: Final = 70
NOT_NOW: Final = 75
INTERRUPTED: Final = 130

#: The errors of a disk that may be well again later; any other is a matter of the installation.
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: What is longer is somebody's input that an error quotes.
_LINE: Final = 400
_BEFORE_THE_COMMAND: Final = frozenset({"--home", "--command-id"})


@attrs.define(slots=False)
class Installation:
    """What the options before the command name.

    Attributes:
        home: the folder that `--home` names.
        json: whether programs read what is printed.
        command_id: the id that makes a repeat find what was done the first time.
        seams: parts to use instead of the production ones, see `bootstrap.build`.
    """

    home: Path | None = None
    json: bool = False
    command_id: str | None = None
    seams: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @cached_property
    def settings(self) -> Settings:
        """The settings."""
        return read_settings(os.environ, home=self.home)

    @cached_property
    def services(self) -> Services:
        """The application."""
        return build(self.settings, **self.seams)

    def close(self) -> None:
        """Close the database, if it was opened here."""
        services = self.__dict__.get("services")
        if services is not None and "store" in services.__dict__.keys() - self.seams.keys():
            services.store.close()

    def context(self) -> Context:
        """Say who acts and by which request."""
        request = self.services.ids.uuid()
        command_id = request
        if self.command_id is not None:
            command_id = user_id("command_id", self.command_id)
        return Context(
            command_id=command_id,
            actor=f"operator:{operator()}",
            request_id=request,
            correlation_id=request,
        )

    def command_line(self, *words: str) -> str:
        """Write a command that works on this installation, to be copied."""
        home = [] if self.home is None else ["--home", str(self.home)]
        return shlex.join(["siutindei", *home, *words])


def operator() -> str:
    """Name the operating system's user."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return "".join(char if char.isalnum() or char in "._-" else "_" for char in name)


# --- commands -------------------------------------------------------------------------------------


class _Strict(click.Command):
    """Takes each option once, and no text that is not UTF-8."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Make the parser, which refuses an option that is given twice."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_once(args: list[str]) -> Any:
            given, rest, order = parse(args)
            for param in order:
                if order.count(param) > 1 and isinstance(param, click.Option) and _takes_one(param):
                    raise click.BadParameter("is given more than once", ctx, param)
            return given, rest, order

        parser.parse_args = parse_once
        return parser

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments, and check that they are text."""
        rest = super().parse_args(ctx, args)
        for param in self.params:
            value = ctx.params.get(param.name or "")
            texts = value if isinstance(value, tuple) else (value,)
            if any(isinstance(text, str) and _SURROGATE.search(text) for text in texts):
                raise click.BadParameter("is not valid UTF-8", ctx, param)
        return rest


def _takes_one(option: click.Option) -> bool:
    return not (option.multiple or option.is_flag or option.count)


class Command(_Strict):
    """A command."""


class Group(_Strict, click.Group):
    """A group of commands."""

    command_class = Command
    group_class = type


class Program(Group):
    """The whole command line: every error ends with a line and an exit code, none with a traceback.

    With `--json` the line is a JSON document on standard output too.
    """

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command, and leave with its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        json = _asks_for_json(arguments)
        for stream in (sys.stdout, sys.stderr):
            # What a terminal's encoding lacks is no reason to fail.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            code = super().main(
                arguments, prog_name or self.name, complete_var, standalone_mode=False, **extra
            )
        except click.ClickException as error:
            code = _end_usage(error, json=json)
        except click.Abort:
            code = _say("interrupted", INTERRUPTED, json=json)
        except OSError as error:
            # Help could not be printed: everything else ends in `invoke`.
            drop_output()
            code = _say(f"standard output cannot be written: {error.strerror}", USAGE, json=False)
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; give the exit code."""
        try:
            super().invoke(ctx)
            return 0
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            # Whoever read our output has enough; say nothing to the closed pipe at exit either.
            drop_output()
            return 0
        except OutputError as error:
            drop_output()
            return _say(str(error), USAGE, json=False)
        except Exception as error:  # noqa: BLE001  # the one place where everything ends
            return _end(error, json=ctx.ensure_object(Installation).json)


def drop_output() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _asks_for_json(arguments: list[str]) -> bool:
    """Whether `--json` is among the options before the command."""
    rest = iter(arguments)
    for word in rest:
        if word == "--json":
            return True
        if word in _BEFORE_THE_COMMAND:
            next(rest, None)
        elif not word.startswith("-") or word == "--":
            return False
    return False


# --- errors ---------------------------------------------------------------------------------------


def _end_usage(error: click.ClickException, *, json: bool) -> int:
    ctx = getattr(error, "ctx", None)
    command = "siutindei" if ctx is None else ctx.command_path
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and not json:
        click.echo(error.format_message(), err=True)
        return USAGE
    param = getattr(error, "param", None)
    field = None if param is None else param.name
    text = error.format_message().removesuffix(".")
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        text = "a command is missing"
    elif isinstance(error, click.NoSuchOption) and error.option_name == "--json":
        text, json = "--json stands before the command: siutindei --json COMMAND", True
    elif text.startswith("Got unexpected extra argument"):
        # Not what they are: a sentence that was not quoted is what somebody typed about somebody.
        text = "too many arguments: put a text with blanks in quotes"
    return _say(f"{text}; see {command} --help", USAGE, json=json, field=field)


def _end(error: Exception, *, json: bool) -> int:
    for kind, code in EXIT_CODES:
        if isinstance(error, kind):
            text = str(error)
            if isinstance(error, NotFound) and "@" in error.name:
                text = f"there is no {error.what} of that name: an id is wanted, not an address"
            return _say(
                text, code, json=json, field=error.field if isinstance(error, Invalid) else None
            )
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename or 'a file'}: {error.strerror}"
        return _say(text, NOT_NOW if error.errno in _PASSING else USAGE, json=json)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    # Neither the text nor the arguments of an error that nobody foresaw: they may be personal.
    line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place else "?"
    text = f"our fault: {type(error).__name__} at {line}; please report it"
    return _say(text, OUR_FAULT, json=json)


def _say(text: str, code: int, *, json: bool, field: str | None = None) -> int:
    line = fields.one_line(text)
    if len(line) > _LINE:
        line = f"{line[: _LINE // 2]} ... {line[-_LINE // 2 :]}"
    click.echo(f"siutindei: {line}", err=True)
    if json:
        print_json({"error": line} if field is None else {"error": line, "field": field})
    return code


pass_installation = click.make_pass_decorator(Installation)


def example(*lines: str) -> str:
    """Write the examples that stand below a command's help, each line as it is."""
    return "\n".join(["\b", "Example:", *(f"  {line}" for line in lines)])
