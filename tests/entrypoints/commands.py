"""Commands as their users give them: in this process, and in one of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from click.testing import CliRunner

from siutindei.entrypoints.cli import main

if TYPE_CHECKING:
    from pathlib import Path

EMAIL: Final = "ann@example.com"
ORGANIZATION: Final = "7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c11"
LABEL: Final = "0b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c22"


@attrs.frozen
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        """Standard output as exactly one JSON document."""
        (document,) = self.lines
        return document


class Cli:
    """The command line on one home.

    Args:
        home: that home.
        **seams: parts to use instead of the production ones.
    """

    def __init__(self, home: Path, **seams: Any) -> None:
        self.home = home
        self.seams = seams

    def __call__(
        self,
        *words: str,
        code: int = 0,
        input: str | bytes | None = None,  # noqa: A002  # click's word
        env: dict[str, str] | None = None,
    ) -> Done:
        """Give a command, and expect its exit code."""
        result = CliRunner().invoke(
            main, ["--home", str(self.home), *words], obj=self.seams, input=input, env=env
        )
        done = Done(code=result.exit_code, out=result.stdout, err=result.stderr)
        assert not isinstance(result.exception, Exception), result.exception
        assert code == done.code, done
        return done

    def json(self, *words: str, **options: Any) -> Any:
        """Give a command as a program does, and read the one document that it prints."""
        return self("--json", *words, **options).document

    def submit(self, *words: str, kind: str = "suggestion", **options: Any) -> Any:
        """Submit a ticket that has what it needs, and what else is given."""
        return self.json(
            *("ticket", "submit", kind, "--user", "u-1", "--email", EMAIL), *words, **options
        )

    def access(self) -> str:
        """Submit an access request, and give its number."""
        ticket = self.submit("--organization-name", "Star Dance 星星", kind="access-request")
        number: str = ticket["ticket_id"]
        return number

    def catalogue(self) -> None:
        """Put an organization and a label into the catalogue."""
        self.home.mkdir(exist_ok=True)
        (self.home / "directory.json").write_text(
            json.dumps(
                {
                    "organizations": {ORGANIZATION: {"name": "Harbour Chess"}},
                    "labels": [{"id": LABEL, "name": "patient"}],
                }
            ),
            encoding="utf-8",
        )

    def events(self) -> list[str]:
        """List the names of what happened."""
        is_elsewhere = "store" in self.seams or "SIUTINDEI_DATABASE" in os.environ
        if not is_elsewhere and not (self.home / "siutindei.db").exists():
            return []
        return [event["name"] for event in self("--json", "history", "tail").lines]


def command(home: Path) -> list[str | bytes]:
    """Begin a command line for a process of its own."""
    return [sys.executable, "-m", "siutindei.entrypoints.cli", "--home", str(home)]


def environment(**more: str) -> dict[str, str]:
    """Give an environment in which nothing of ours is set."""
    kept = {
        name: value
        for name, value in os.environ.items()
        # A child that may write nothing cannot write what it covered either.
        if not name.startswith(("SIUTINDEI_", "NO_COLOR", "PYTHONIOENCODING", "COVERAGE_"))
    }
    return kept | more


def process(home: Path, *words: str | bytes, **options: Any) -> Done:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [*command(home), *words],
        capture_output=True,
        check=False,
        env=environment(),
        timeout=60,
        **options,
    )
    return Done(
        code=done.returncode,
        out=done.stdout.decode(errors="replace"),
        err=done.stderr.decode(errors="replace"),
    )


def every_command(
    command: click.Command = main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Walk through every command below one, groups too."""
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from every_command(below, (*path, name))


Submit = Callable[..., Any]
