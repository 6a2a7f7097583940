"""`history check`, as scripts and people give it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters.sqlite import SqliteStore
from tests.entrypoints.test_database import on_postgres
from tests.entrypoints.test_homes import refused
from tests.golden import samples
from tests.support import RING

if TYPE_CHECKING:
    from tests.entrypoints.commands import Cli
    from tests.support import VirtualClock

VERIFICATION = 4
WRONG = 2


def change(cli: Cli, statement: str, *values: Any) -> None:
    """Change the database behind the back of the program."""
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as database, database:
        database.execute(statement, values)


def test_a_check_of_what_is_well(cli: Cli) -> None:
    """All is read, nothing is unreadable and nothing changed: exit code 0, twice the same."""
    cli.access()
    before = cli("--json", "history", "tail").out
    found = cli.json("history", "check")

    assert (2, [], []) == (found["read"], found["unreadable"], found["changed"])
    assert "every event can be read, and is read the same" in cli("history", "check").out
    assert before == cli("--json", "history", "tail").out


def test_a_home_without_a_history_is_not_made(cli: Cli) -> None:
    """Whoever asks a home that is mistyped is told, and leaves nothing there."""
    for words in (
        ("history", "check"),
        ("history", "tail"),
        ("history", "explain", "R00001"),
        ("history", "replay"),
        ("audit", "claims"),
        ("audit", "ticket", "R00001"),
        ("audit", "verify"),
        ("audit", "checkpoint"),
        ("budget", "--at", "1"),
    ):
        assert "there is no history at" in refused(cli("--json", *words, code=2))
    assert not cli.home.exists()


def test_a_check_of_an_empty_history(cli: Cli) -> None:
    """Nothing is read, and nothing is wrong with that."""
    cli("ticket", "list")
    assert 0 == cli.json("history", "check")["read"]


def test_a_check_finds_what_cannot_be_read(cli: Cli) -> None:
    """The row is named with its reason and its place; what can be read is read: exit code 4."""
    cli.access()
    change(cli, "UPDATE stored_events SET topic = 'ticket.submitted.v9' WHERE rowid = 1")
    found = cli.json("history", "check", code=VERIFICATION)

    why = "this version does not know ticket.submitted.v9; install the version that wrote it"
    assert [
        {
            "name": "ticket.submitted.v9",
            "why": why,
            "count": 1,
            "events": [{"id": "ticket-R00001/1", "position": 1}],
            "blocks": [],
        }
    ] == found["unreadable"]
    assert (1, []) == (found["read"], found["changed"])
    shown = cli("history", "check", code=VERIFICATION).out
    assert "ticket-R00001/1 at 1" in shown
    assert why in shown


def test_a_check_finds_what_is_read_otherwise(cli: Cli) -> None:
    """Only the bytes differ, and it says that another program wrote them: exit code 4."""
    cli.access()
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as database:
        (state,) = database.execute("SELECT state FROM stored_events WHERE rowid = 1").fetchone()
    change(
        cli,
        "UPDATE stored_events SET state = ? WHERE rowid = 1",
        json.dumps(json.loads(state)).encode(),
    )
    found = cli.json("history", "check", code=VERIFICATION)

    assert (2, []) == (found["read"], found["unreadable"])
    assert "another program wrote them" in found["changed"][0]["why"]
    assert "another program wrote them" in cli("history", "check", code=VERIFICATION).out


@pytest.mark.parametrize("on", ["sqlite", "postgres"])
def test_what_was_ever_stored_is_well(
    cli: Cli, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    """An installation that holds every golden file passes the check, on both databases."""
    if on == "sqlite":
        cli("ticket", "list")
        store = SqliteStore(str(cli.home / "siutindei.db"), master=RING, clock=clock)
        with closing(store):
            samples.fill(store)
        assert len(samples.SAMPLES) == cli.json("history", "check")["read"]
        return
    from siutindei.adapters.postgres import PostgresStore

    with on_postgres(monkeypatch) as url:
        with closing(PostgresStore(url, master=RING, clock=clock)) as other:
            samples.fill(other)
        assert len(samples.SAMPLES) == cli.json("history", "check")["read"]


def test_a_check_needs_no_key(cli: Cli) -> None:
    """Whoever has the database alone, such as a copy of it, can check it."""
    cli.access()
    (cli.home / "keys").rename(cli.home / "away")

    assert 2 == cli.json("history", "check")["read"]
    assert not (cli.home / "keys").exists()


def test_a_baseline_is_saved_and_held_against(cli: Cli) -> None:
    """What is read is written once, and compared with later: what became of it shows."""
    cli.access()
    file = str(cli.home / "baseline.json")

    assert cli.json("history", "check", "--save", file)["saved"]
    assert "is there already" in cli("history", "check", "--save", file, code=WRONG).err
    cli.submit("--organization-name", "Harbour Chess")
    assert cli.json("history", "check", "--against", file)["changed"] == []
    change(
        cli,
        "UPDATE stored_events SET state = replace(CAST(state AS TEXT), 'R00001', 'R00002')"
        " WHERE rowid = 1",
    )
    change(cli, "UPDATE stored_events SET state = CAST(state AS BLOB) WHERE rowid = 1")
    (changed,) = cli.json("history", "check", "--against", file, code=VERIFICATION)["changed"]
    assert ("ticket.submitted.v1", 1, [[1, 2]]) == (
        changed["name"],
        changed["count"],
        changed["blocks"],
    )
    shown = cli("history", "check", "--against", file, code=VERIFICATION).out
    assert "positions 1 to 2" in shown


def test_no_baseline_is_saved_of_what_cannot_be_read(cli: Cli) -> None:
    """It says so, and leaves no file."""
    cli.access()
    change(cli, "UPDATE stored_events SET state = X'00' WHERE rowid = 1")
    done = cli("history", "check", "--save", str(cli.home / "b.json"), code=VERIFICATION)

    assert "no baseline was written" in done.out
    assert not (cli.home / "b.json").exists()


def test_a_baseline_that_is_none_is_refused(cli: Cli) -> None:
    """The refusal names the option; what never ends is not read to its end."""
    cli("ticket", "list")
    file = cli.home / "b.json"
    file.write_text("{}")

    for name in (str(file), "/dev/zero"):
        assert "against" == cli.json("history", "check", "--against", name, code=WRONG)["field"]
    both = ("--against", "a", "--save", "b")
    assert "save" == cli.json("history", "check", *both, code=WRONG)["field"]
