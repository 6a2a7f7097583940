"""`audit checkpoint`, `audit prove`, `audit verify`: as auditors give them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from siutindei.verify_receipt import check
from tests.entrypoints.commands import Cli
from tests.entrypoints.test_database import on_postgres
from tests.postgres import execute

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def decided(cli: Cli) -> str:
    """Decide a ticket, and give its number."""
    number = cli.access()
    cli("ticket", "approve", number, "--by", "admin-7", "--create-organization")
    return number


def change(cli: Cli, statement: str) -> None:
    """Change the database as somebody does who has the file."""
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection, connection:
        connection.execute(statement)


def test_a_decision_is_signed_proved_and_verified(cli: Cli, decided: str, tmp_path: Path) -> None:
    """From the checkpoint to the receipt, for programs and for people."""
    before = cli.json("audit", "verify")
    taken = cli.json("audit", "checkpoint")
    again = cli("audit", "checkpoint").out
    file = str(tmp_path / "receipt.json")
    written = cli("audit", "prove", decided, "--output", file).out
    receipt = cli.json("audit", "prove", decided)
    both = cli.json("audit", "prove", "ticket-R00001/1", "--output", str(tmp_path / "other.json"))
    verified, shown = cli.json("audit", "verify"), cli("audit", "verify").out
    proved = cli.json("audit", "verify", file)
    told = cli("audit", "verify", file, "--key", taken["key"]).out

    assert (True, 0, None) == (before["ok"], before["size"], before["root"])
    assert before["checked"] == before["not_covered"] == taken["size"]
    assert (1, True, taken["root"]) == (taken["number"], taken["new"], taken["note"].split("\n")[2])
    assert taken["root"] in again
    assert "nothing happened since" in again
    assert f"written: {file}\n" == written
    assert receipt == json.loads((tmp_path / "receipt.json").read_text("utf-8"))
    assert 1 == both["event"]["version"]
    assert (True, taken["size"], 0, []) == (
        *(verified["ok"], verified["checked"], verified["not_covered"], verified["findings"]),
    )
    assert "every event that a checkpoint covers is what was signed" in shown
    assert (True, 1, "ticket-R00001/2", True) == (
        *(proved["ok"], proved["checked"], proved["event"], proved["key_known"]),
    )
    assert "proved: ticket-R00001/2" in told


def test_what_is_not_covered_is_said(cli: Cli, decided: str) -> None:
    """Nothing is claimed of what came after the newest checkpoint."""
    cli("audit", "checkpoint")
    cli("ticket", "list")
    cli.submit("--organization-name", "Tai Chi")
    shown = cli("audit", "verify").out

    assert "events are newer than the newest checkpoint" in shown
    assert (
        "no checkpoint covers ticket-S00001/1 yet"
        in cli("audit", "prove", "ticket-S00001/1", code=1).err
    )
    assert "is not decided" in cli("audit", "prove", "S00001", code=1).err
    assert "there is no ticket" in cli("audit", "prove", "S00002", code=3).err


def test_a_change_is_named_and_ends_with_4(cli: Cli, decided: str) -> None:
    """Both commands, with a document for programs."""
    cli("audit", "checkpoint")
    change(cli, "UPDATE stored_events SET topic = 'ticket.declined.v1' WHERE rowid = 2")
    verified = cli.json("audit", "verify", code=4)
    shown = cli("audit", "verify", code=4)
    refused = cli.json("audit", "checkpoint", code=4)

    assert (False, "changed", 1) == (
        *(verified["ok"], verified["findings"][0]["kind"], verified["findings"][0]["first"]),
    )
    assert shown.out.startswith("leaf 1: changed")
    assert "leaf 1: changed" in refused["error"]


def test_an_event_that_cannot_be_read_is_verified(cli: Cli, decided: str) -> None:
    """No event is decoded: what is stored counts."""
    change(
        cli,
        "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
        " VALUES ('x-1', 1, 'x.v9', X'ff')",
    )
    cli("audit", "checkpoint")

    assert cli.json("audit", "verify")["ok"]
    assert "x.v9" == cli.json("audit", "prove", "x-1/1")["event"]["name"]


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_ends_with_4(cli: Cli, decided: str, content: bytes) -> None:
    """The reason is that of SQLite, or that the file is none."""
    cli("audit", "checkpoint")
    for path in cli.home.glob("siutindei.db*"):
        path.unlink()
    whole = content if content[:1] == b"x" else content[:68] + b"STD1" + content[72:]
    (cli.home / "siutindei.db").write_bytes(whole)
    found = cli.json("audit", "verify", code=4)

    assert (False, 0) == (found["ok"], found["checked"])
    assert "is damaged or no database" in found["error"]
    assert "is damaged or no database" in cli("audit", "verify", code=4).err


@pytest.mark.parametrize(("at", "byte"), [(56, 3), (60, 0x80), (63, 0), (16, 7)])
def test_a_header_that_lies_ends_with_4(cli: Cli, decided: str, at: int, byte: int) -> None:
    """Another encoding, no schema, a format that is none."""
    cli("audit", "checkpoint")
    change(cli, "PRAGMA journal_mode=DELETE")
    path = cli.home / "siutindei.db"
    data = bytearray(path.read_bytes())
    # https://sqlite.org/fileformat.html#the_database_header
    data[at + (3 if at == 56 else 0)] = byte
    path.write_bytes(data)

    assert "damaged" in cli("audit", "verify", code=4).err


def test_a_file_that_breaks_off_ends_with_4(cli: Cli, decided: str) -> None:
    """Half a database can be opened, and not be read to its end."""
    cli("audit", "checkpoint")
    change(cli, "PRAGMA journal_mode=DELETE")
    path = cli.home / "siutindei.db"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])

    assert "damaged" in cli("audit", "verify", code=4).err


def test_a_database_that_is_gone_ends_with_4(cli: Cli, decided: str) -> None:
    """The checkpoints are kept elsewhere."""
    cli("audit", "checkpoint")
    for path in cli.home.glob("siutindei.db*"):
        path.unlink()

    assert "the history has 0 events" in cli.json("audit", "verify", code=4)["findings"][0]["why"]


def test_a_restored_backup_is_told_to_be_older(cli: Cli, decided: str, tmp_path: Path) -> None:
    """Under a new name, with checkpoints of its own, the log goes on."""
    cli("audit", "checkpoint")
    cli("database", "backup", str(tmp_path / "copy.db"))
    cli.submit("--organization-name", "Tai Chi")
    cli("audit", "checkpoint")
    for path in cli.home.glob("siutindei.db*"):
        path.unlink()
    (tmp_path / "copy.db").rename(cli.home / "siutindei.db")
    said = "it was cut short, or an older backup was restored"
    env = {
        "SIUTINDEI_LOG_ORIGIN": "siutindei.lx-software.com/log-2",
        "SIUTINDEI_CHECKPOINTS": f"file:{cli.home}/checkpoints-2",
    }

    assert said in cli("audit", "verify", code=4).out
    assert said in cli("audit", "checkpoint", code=4).err
    assert 1 == cli.json("audit", "checkpoint", env=env)["number"]
    assert cli.json("audit", "verify", env=env)["ok"]


def test_a_history_that_moved_is_what_was_signed(cli: Cli, decided: str, tmp_path: Path) -> None:
    """Positions and bytes are the same at the new place; the checkpoints are carried over."""
    first = cli.json("audit", "checkpoint")
    cli("database", "export", str(tmp_path / "history.jsonl"))
    new = Cli(tmp_path / "new", **cli.seams)
    new("database", "import", str(tmp_path / "history.jsonl"), "--moved")
    (cli.home / "checkpoints").rename(new.home / "checkpoints")
    missing = new("audit", "verify", code=2).err
    (cli.home / "keys" / "signing-key.json").rename(new.home / "keys" / "signing-key.json")
    found = new.json("audit", "verify")
    new.submit("--organization-name", "Tai Chi")
    later = new.json("audit", "checkpoint")

    assert "signing-key.json is missing" in missing
    assert (True, first["size"], 0) == (found["ok"], found["size"], found["not_covered"])
    assert (2, first["key"]) == (later["number"], later["key"])
    assert check(json.dumps(new.json("audit", "prove", decided)).encode(), [first["key"]]).known


def test_an_auditor_needs_the_public_key_alone(cli: Cli, decided: str, tmp_path: Path) -> None:
    """With `--key` no private key is looked for; signing asks for one."""
    key = cli.json("audit", "checkpoint")["key"]
    receipt = tmp_path / "receipt.json"
    cli("audit", "prove", decided, "--output", str(receipt))
    (cli.home / "keys" / "signing-key.json").unlink()
    other = Cli(tmp_path / "elsewhere")

    assert cli.json("audit", "verify", "--key", key)["ok"]
    assert other.json("audit", "verify", str(receipt), "--key", key)["key_known"]
    assert not other.json("audit", "verify", str(receipt))["key_known"]
    assert not other.home.exists()
    assert "key: " in cli("audit", "verify", "--key", "x", code=2).err
    assert "key: " in cli("audit", "verify", str(receipt), "--key", "x", code=2).err
    assert "signing-key.json is missing" in cli("audit", "checkpoint", code=2).err


def test_a_receipt_that_was_changed_ends_with_4(cli: Cli, decided: str, tmp_path: Path) -> None:
    """And one that is not there with 2."""
    cli("audit", "checkpoint")
    receipt = cli.json("audit", "prove", decided)
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt | {"leaf_index": 0}), "utf-8")
    found = cli.json("audit", "verify", str(file), code=4)

    assert (False, True) == (found["ok"], "not in the log that was signed" in found["error"])
    assert "cannot be read" in cli("audit", "verify", str(tmp_path / "none"), code=2).err


def test_many_findings_are_counted_for_people(cli: Cli, decided: str) -> None:
    """A hundred are named."""
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES ('x-1', ?, 'x.v9', X'ff')",
            [(number,) for number in range(300)],
        )
    cli("audit", "checkpoint")
    change(cli, "UPDATE stored_events SET topic = 'y' WHERE originator_version % 2 = 0")

    assert "more events" in cli("audit", "verify", code=4).out


def test_it_is_the_same_on_postgresql(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same history has the same root; a change is named by the same leaf."""
    with on_postgres(monkeypatch) as url:
        number = cli.access()
        cli("ticket", "approve", number, "--by", "admin-7", "--create-organization")
        taken = cli.json("audit", "checkpoint")
        cli("database", "export", str(tmp_path / "history.jsonl"))
        receipt = cli.json("audit", "prove", number)
        fine = cli.json("audit", "verify")
        name = url.partition("@/")[2].partition("?")[0]
        execute("UPDATE stored_events SET state = 'x' WHERE notification_id = 2", name)
        execute("DELETE FROM stored_events WHERE notification_id = 3", name)
        found = cli.json("audit", "verify", code=4)
    monkeypatch.delenv("SIUTINDEI_DATABASE")
    local = Cli(tmp_path / "local", **cli.seams)
    local("database", "import", str(tmp_path / "history.jsonl"), "--moved")

    assert (True, taken["size"]) == (fine["ok"], fine["checked"])
    assert [("changed", 1), ("removed", 2)] == [
        (one["kind"], one["first"]) for one in found["findings"]
    ]
    assert check(json.dumps(receipt).encode(), [taken["key"]]).known
    assert taken["root"] == local.json("audit", "checkpoint")["root"]
