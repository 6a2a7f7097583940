"""The examples in README.md and docs/*.md run as tests; each page is one story in one fresh home.

A `python` block is executed. An `sh` block has to succeed. In a `console` block the lines after
`$ ` are executed, the lines after `> ` continue them, and what follows is what they print, where
`...` stands for any text, and alone on its line for any number of lines. A command succeeds, unless
the next one is `$ echo $?`. Variables and the folder stay from one command to the next.
(`--dist=loadfile` in pyproject.toml keeps a page in one process.)
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

if TYPE_CHECKING:
    from sybil import Example

# A busy machine is no fault of an example. On the build server the examples never change.
settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("house")

SECONDS: Final = 120
STATUS: Final = "echo $?"
#: One command in a shell that takes over from the last one and hands on to the next.
SHELL: Final = """
[ ! -f "$STATE" ] || . "$STATE"
cd -- "$PWD" && set -a && (exit "${LAST:-0}")
eval "$1"
LAST=$?
export -p > "$STATE"
exit "$LAST"
"""


@attrs.define
class Step:
    """One command of a console block and what it prints."""

    command: str
    expected: list[str] = attrs.field(factory=list)

    def is_printed_by(self, output: str) -> bool:
        """Whether `output` is what the page says."""
        pattern = "".join(
            r"(?:.*\n)*"
            if line.strip() == "..."
            else ".*".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n"
            for line in "\n".join(self.expected).strip("\n").splitlines()
        )
        lines = "".join(f"{line.rstrip()}\n" for line in output.strip("\n").splitlines())
        return re.fullmatch(pattern, lines) is not None


def run(command: str) -> subprocess.CompletedProcess[str]:
    """Run one command where the last one of the page ended."""
    return subprocess.run(
        ["sh", "-c", SHELL, "sh", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def parse(block: str) -> list[Step]:
    """Split a console block into its commands."""
    steps: list[Step] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(Step(line[2:]))
        elif line.startswith("> ") and steps and not steps[-1].expected:
            steps[-1].command += "\n" + line[2:]
        elif steps:
            steps[-1].expected.append(line)
        else:
            pytest.fail(f"a console block starts with a command, not with {line!r}")
    return steps


def console(example: Example) -> str | None:
    """Run a console block; return what is wrong with it."""
    steps = parse(example.parsed)
    if not steps:
        return "an empty console block"
    for step, following in zip(steps, [*steps[1:], Step("")], strict=True):
        done = run(step.command)
        if done.returncode and following.command != STATUS:
            return f"$ {step.command}\nexit code {done.returncode}:\n{done.stdout}"
        if not step.is_printed_by(done.stdout):
            expected = "\n".join(step.expected)
            return f"$ {step.command}\nexpected:\n{expected}\n\nprinted:\n{done.stdout}"
    return None


def script(example: Example) -> str | None:
    """Run an sh block; return what is wrong with it."""
    done = run(f"set -e\n{example.parsed}")
    return f"exit code {done.returncode}:\n{done.stdout}" if done.returncode else None


def enter(namespace: dict[str, Any]) -> None:
    """Begin a page: a home of its own, and nothing of ours in the environment."""
    home = tempfile.TemporaryDirectory(prefix="siutindei-docs-")
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith(("SIUTINDEI_", "AWS_", "XDG_")):
            patch.delenv(name)
    patch.setenv("HOME", home.name)
    patch.setenv("PWD", home.name)
    patch.setenv("STATE", str(Path(home.name, ".state")))
    # What a reader has who works in the repository.
    patch.setenv("PYTHONPATH", str(Path(__file__).parent))
    patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    patch.setenv("COLUMNS", "100")
    patch.setenv("NO_COLOR", "1")
    patch.setenv("TZ", "UTC")
    patch.chdir(home.name)
    namespace["leave"] = (patch.undo, home.cleanup)


def leave(namespace: dict[str, Any]) -> None:
    """End a page: nothing of it stays."""
    for step in namespace["leave"]:
        step()


pytest_collect_file = Sybil(
    parsers=[
        PythonCodeBlockParser(),
        CodeBlockParser(language="console", evaluator=console),
        CodeBlockParser(language="sh", evaluator=script),
    ],
    patterns=["README.md", "docs/*.md"],
    setup=enter,
    teardown=leave,
).pytest()
