"""The demo: the whole story, in a fresh home and again in the same one."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from siutindei.entrypoints.cli import main
from tests.entrypoints.commands import Cli

if TYPE_CHECKING:
    from tests.support import VirtualClock


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Give the command line on a home with the machine's clock: the story happens now."""
    return Cli(tmp_path / "a home")


def hints(told: str) -> list[list[str]]:
    """Give the commands that the demo tells people to try."""
    _, _, text = told.partition("What to try:\n")
    return [shlex.split(line)[1:] for line in text.splitlines()]


def test_the_story_is_whole(cli: Cli) -> None:
    """It tells of codes, tickets, decisions, mails and a replay, and leaves a home that is well."""
    told = cli("demo").out

    for part in (
        *("A fresh home", "✗ a wrong answer", "✓ the code from the mail", "R00001, S00001, F00001"),
        *("is still pending", "approves R00001", "declines S00001", "a ticket is decided once"),
        *("→ ticket_decided: sent", "→ organization: done", "→ nothing was due"),
        *("does not exist: suppressed", "→ ticket_decided: withheld", "✓ admin-mei lifts"),
        *("the same digest both times", "Star Dance 星星舞蹈"),
    ):
        assert part in told
    assert cli.json("doctor") == {"ok": True, "problems": []}
    statuses = [item["status"] for item in cli.json("notification", "list")["items"]]
    assert Counter(statuses) == {"accepted": 7, "bounced": 1, "complained": 1, "withheld": 1}


def test_what_it_says_exists(cli: Cli) -> None:
    """Each place that it names is there, each command that it shows works, every time."""
    for _ in range(2):
        told = cli("demo").out
        places = told.partition("Where to look:\n")[2].partition("\n\n")[0].splitlines()
        assert len(places) == 3
        for line in places:
            assert Path(line.strip().partition("  ")[0]).exists(), line
        tried = hints(told)
        assert len(tried) == 7
        for words in tried:
            assert CliRunner().invoke(main, words).exit_code == 0, words


def test_it_can_be_told_again(cli: Cli) -> None:
    """A second telling has its own people and tickets, and counts on."""
    first, second = cli.json("demo"), cli.json("demo")

    assert {"ok": True, "home": str(cli.home), "mails": 9, "events": 69} == first
    assert {"ok": True, "home": str(cli.home), "mails": 18, "events": 138} == second
    told = cli("demo").out
    assert "A home with a history" in told
    assert "R00003, S00003, F00005" in told
    assert "R00001" not in told


def test_a_fresh_home_is_made_when_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without `--home` the story is told in a new temporary folder, and says where that is."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    told = CliRunner().invoke(main, ["demo"])

    assert told.exit_code == 0
    (home,) = tmp_path.iterdir()
    assert f"A fresh home: {home}\n" in told.stdout
    assert all(str(home) in words for words in hints(told.stdout))


def test_its_name_as_a_command_does_not_stop_it(cli: Cli, clock: VirtualClock) -> None:
    """`--command-id` names one command; the story is many, and is told all the same."""
    assert cli.json("--command-id", "x", "demo")["ok"] is True
    assert cli.json("--command-id", "x", "demo")["ok"] is True
