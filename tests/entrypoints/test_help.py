"""Help: each command says what it does and shows an example that works as it stands."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from siutindei.entrypoints.cli import main
from siutindei.entrypoints.cli.base import Command
from tests.entrypoints.commands import every_command

COMMANDS = {" ".join(path): command for path, command in every_command()}
LEAVES = {
    name: command for name, command in COMMANDS.items() if not isinstance(command, click.Group)
}
#: The commands of interfaces.md that this version has.
NAMES = {
    *("demo", "sign-in start", "sign-in answer", "worker", "config", "doctor"),
    *("ticket submit access-request", "ticket submit suggestion", "ticket submit feedback"),
    *("ticket list", "ticket show", "ticket approve", "ticket decline"),
    *("notification list", "notification show"),
    *("dead-letter list", "dead-letter show", "dead-letter redrive", "dead-letter discard"),
    *("feedback ingest", "feedback list"),
    *("history stream", "history tail", "history replay", "history explain"),
    *("history check", "history what-if", "person export", "person erase"),
    "audit claims",
    *("audit checkpoint", "audit prove", "audit verify"),
    *("projection list", "projection rebuild", "projection revert", "projection verify"),
    *("database migrate", "database status", "database roles"),
    *("database export", "database import", "database backup"),
    *("ses status", "ses setup", "budget"),
    *("suppression list", "suppression add", "suppression lift"),
    *("suppression drift", "suppression sync"),
    *("lane list", "lane halt", "lane resume"),
    *("audit ticket", "audit access"),
}


def examples(command: click.Command) -> list[str]:
    """Give the lines of a command's example."""
    _, _, text = (command.epilog or "").partition("Example:\n")
    return [line.strip() for line in text.splitlines()]


def test_the_commands_are_those_of_the_interface() -> None:
    """There is a command for each name that scripts and people rely on."""
    assert set(LEAVES) == NAMES


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_narrow_terminal(name: str) -> None:
    """Help is printed in 80 columns, and no summary of a command is cut short."""
    shown = CliRunner().invoke(main, [*name.split(), "--help"], terminal_width=80)

    assert shown.exit_code == 0
    lines = [line for line in shown.stdout.splitlines() if not line.startswith("    siutindei ")]
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.search(r"[a-z,]\.\.\.$", line)]


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_shows_an_example_of_itself(name: str) -> None:
    """The help of a command ends with at least one line that gives this very command."""
    lines = examples(LEAVES[name])

    assert lines
    for line in lines:
        words = shlex.split(line.partition(" >")[0])
        assert words[0] == "siutindei"
        assert (
            " ".join(words)
            .replace("--json ", "")
            .replace("--home ./try ", "")
            .startswith(f"siutindei {name}")
        )


@pytest.mark.parametrize(
    "line", sorted({line for each in COMMANDS.values() for line in examples(each)})
)
def test_an_example_is_understood(line: str) -> None:
    """What an example shows is parsed without complaint: its options exist and fit."""
    words = shlex.split(line.partition(" >")[0])[1:]
    command: click.Command = main
    parent = None
    while True:
        parent = command.make_context(command.name, words, parent=parent)
        words = [*parent._protected_args, *parent.args]
        if not isinstance(command, click.Group):
            return
        _, found, words = command.resolve_command(parent, words)
        assert found is not None
        command = found


@pytest.mark.parametrize("name", LEAVES)
def test_every_option_says_what_it_is(name: str) -> None:
    """No option stands in the help without a word about it."""
    bare = [
        param.name
        for param in LEAVES[name].params
        if isinstance(param, click.Option) and not param.help
    ]

    assert bare == []


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_is_strict(name: str) -> None:
    """Each command refuses an option that is given twice, and bytes that are no text."""
    assert isinstance(LEAVES[name], Command)


def test_help_works_without_an_installation() -> None:
    """Asking for help looks at no home: a wrong setting does not stand in its way."""
    done = CliRunner().invoke(
        main, ["ticket", "list", "--help"], env={"SIUTINDEI_CODE_TTL": "soon"}
    )

    assert done.exit_code == 0
    assert "Usage: siutindei ticket list" in done.stdout
