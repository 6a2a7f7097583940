"""`database export`, `import` and `backup`: files, keys, passphrases, and what a restore brings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters import keyfile, transfer
from siutindei.adapters.exports import StoredRow, write
from siutindei.adapters.maildir import Maildir
from siutindei.adapters.postgres import roles
from siutindei.adapters.sqlite import SqliteStore
from siutindei.app.ports import Unavailable
from siutindei.entrypoints.cli import database
from tests.aws_events import published
from tests.entrypoints.commands import EMAIL, Cli, command, environment
from tests.entrypoints.test_database import DATABASE
from tests.entrypoints.test_homes import refused
from tests.postgres import address, execute, fresh_database, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXPORT: Final = ("database", "export")
IMPORT: Final = ("database", "import", "--moved")
PASSPHRASE: Final = "correct horse"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "_N", 2)


class Files:
    """Names in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.passphrase.write_text(f"{PASSPHRASE}\n", encoding="utf-8")

    @property
    def passphrase(self) -> Path:
        """The passphrase."""
        return self.folder / "passphrase"

    def keys(self, name: str = "a") -> tuple[str, ...]:
        """Name the file of keys and its passphrase."""
        return (
            *("--with-keys", str(self.folder / f"{name}.keys")),
            *("--passphrase-file", str(self.passphrase)),
        )

    def export(self, cli: Cli, name: str = "a", **options: Any) -> Any:
        """Export with keys."""
        return cli.json(*EXPORT, self.at(name), *self.keys(name), **options)

    def at(self, name: str = "a") -> str:
        """Name an export."""
        return str(self.folder / f"{name}.jsonl")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Give a folder for files."""
    return Files(tmp_path / "files")


@pytest.fixture
def other(tmp_path: Path, cli: Cli) -> Cli:
    """Give the command line on another fresh home."""
    return Cli(tmp_path / "other", clock=cli.seams["clock"])


def everything(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder but SQLite's own beside a database."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".lock"))
    }


# --- what is printed ------------------------------------------------------------------------------


def test_what_stays_behind_is_said(cli: Cli, files: Files, other: Cli) -> None:
    """An export without keys says how much nobody will be able to read; so does its import."""
    cli.access()
    told = cli.json(*EXPORT, files.at())
    note = cli(*EXPORT, files.at("b")).out
    done = other.json(*IMPORT, files.at())

    assert {"events": 2, "erased": 0, "keys": 1, "owners": 1, "with_keys": False} == {
        name: told[name] for name in ("events", "erased", "keys", "owners", "with_keys")
    }
    assert {"keys": 1, "owners": 1} == told["left_behind"]
    assert "note: 1 keys of personal data, of 1 owners, stay behind" in note
    assert "nobody is found by their address" in note
    assert (told["events"], told["digest"], 0) == (done["events"], done["digest"], done["keys"])
    assert "[erased]" in other("ticket", "list").out
    assert {"ok": True, "problems": []} == other.json("doctor")
    assert "reads [erased]" in Cli(other.home.with_name("c"))(*IMPORT, files.at()).out


def test_no_mail_goes_where_an_export_was_imported(cli: Cli, files: Files, other: Cli) -> None:
    """What was mailed since the export is not known there; whoever knows better resumes it."""
    cli.access()
    files.export(cli)
    told = other("database", "import", files.at(), *files.keys()).out
    other("worker", "--once")
    (waiting,) = other.json("notification", "list")["items"]
    resume(other)

    assert "no mail goes yet" in told
    assert ("deferred", "lane_halted") == (waiting["status"], waiting["why"])
    assert {"ok": True, "problems": []} == other.json("doctor")


def test_an_empty_history_halts_nothing(cli: Cli, files: Files, other: Cli) -> None:
    """There is nothing that could have been mailed."""
    cli.json(*EXPORT, files.at())

    assert not other.json("database", "import", files.at())["halted"]


def test_with_its_keys_everything_is_there(cli: Cli, files: Files, other: Cli) -> None:
    """The rings are where the settings want them, and every command shows what it showed."""
    cli.access()
    told = files.export(cli)
    done = other.json(*IMPORT, files.at(), *files.keys())
    again = Cli(other.home.with_name("c"))(*IMPORT, files.at(), *files.keys()).out
    kept = everything(cli.home / "keys")

    assert (True, None, 1) == (told["with_keys"], told["left_behind"], done["keys"])
    assert kept == everything(other.home / "keys")
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (other.home / "keys").iterdir()}
    assert 0o600 == (files.folder / "a.keys").stat().st_mode & 0o777
    assert EMAIL in other("ticket", "list").out
    assert {"ok": True, "problems": []} == other.json("doctor")
    assert "keys           1\n" in again
    assert "note" not in again
    assert "stay behind" not in cli(*EXPORT, files.at("b"), *files.keys("b")).out


def test_an_event_of_a_newer_version_is_named(cli: Cli, files: Files) -> None:
    """It is imported, and whoever imports it is told."""
    path = files.folder / "a.jsonl"
    with path.open("wb") as file:
        write(file, iter([StoredRow(position=1, stream="x-1", version=1, name="x", state=b"{}")]))

    assert "cannot read 1 of the events" in cli(*IMPORT, str(path)).out


# --- passphrases ----------------------------------------------------------------------------------


def test_a_passphrase_is_asked_for(
    cli: Cli, files: Files, other: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice for a new file, once for one that is there; what is typed is not printed."""
    monkeypatch.setattr(database, "_can_be_asked", lambda: True)
    cli.access()
    keys = files.keys()[:2]
    typed = f"{PASSPHRASE}\nanother one\n{PASSPHRASE}\n{PASSPHRASE}\n"
    done = cli("--json", *EXPORT, files.at(), *keys, input=typed)
    wrong = other("--json", *IMPORT, files.at(), *keys, input="wrong horse\n", code=2)
    right = other("--json", *IMPORT, files.at(), *keys, input=f"{PASSPHRASE}\n")

    assert "do not match" in done.err
    assert "passphrase: is not the one" in wrong.err
    assert 1 == right.document["keys"]
    for output in (done, wrong, right):
        assert "horse" not in output.out + output.err


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"", "must hold between 1 and 4096 bytes"),
        (b"\n", "must hold between"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff", "is not UTF-8"),
        (b"x" * 4097, "must hold between"),
        (b"1234567\r\n", "needs 8 characters"),
    ],
)
def test_a_passphrase_that_cannot_be_used(
    cli: Cli, files: Files, content: bytes | None, why: str
) -> None:
    """It is refused before anything is written, and not quoted."""
    cli.access()
    files.passphrase.unlink()
    if content is not None:
        files.passphrase.write_bytes(content)
    line = refused(cli("--json", *EXPORT, files.at(), *files.keys(), code=2))

    assert why in line
    assert line.startswith("passphrase")
    assert not (files.folder / "a.jsonl").exists()


def test_a_passphrase_where_nobody_can_be_asked(cli: Cli, files: Files) -> None:
    """A script is told to name a file; a passphrase alone is for nothing."""
    words = (*EXPORT, files.at(), *files.keys())
    assert "where nobody can be asked" in refused(cli("--json", *words[:-2], code=2))
    line = refused(cli("--json", *EXPORT, files.at(), *words[-2:], code=2))

    assert "add --with-keys" in line
    assert ["passphrase"] == [path.name for path in files.folder.iterdir()]


# --- refused before anything is written -----------------------------------------------------------


def test_a_wrong_passphrase_or_another_file_of_keys(cli: Cli, files: Files, other: Cli) -> None:
    """Each is told apart, and the home is as empty as it was."""
    cli.access()
    files.export(cli)
    cli.submit("--organization-name", "b")
    files.export(cli, "b")
    files.passphrase.write_text("wrong horse", encoding="utf-8")
    lines = [
        refused(other("--json", *IMPORT, files.at(), *files.keys(name), code=2))
        for name in ("a", "b", "missing")
    ]
    lines.append(
        refused(other("--json", *IMPORT, files.at(), "--with-keys", files.at(),
                      "--passphrase-file", str(files.passphrase), code=2))
    )  # fmt: skip

    for words, line in zip(
        ("is not the one of this", "belongs to another", "cannot be read", "is no key file"),
        lines,
        strict=True,
    ):
        assert words in line
    assert not other.home.exists()


@pytest.mark.parametrize("ring", ["code-keys.json", "vault-keys.json", "index-key.json"])
def test_other_keys_are_never_overwritten(cli: Cli, files: Files, other: Cli, ring: str) -> None:
    """A home that has another ring is told what to do, and nothing is written."""
    cli.access()
    files.export(cli)
    other("ticket", "list")
    for path in (other.home / "keys").iterdir():
        if path.name != ring:
            shutil.copy(cli.home / "keys" / path.name, path)
    before = everything(other.home)
    line = refused(other("--json", *IMPORT, files.at(), *files.keys(), code=2))

    assert "with other keys; name another home, or move it away" in line
    assert str(other.home / "keys" / ring) in line
    assert before == everything(other.home)
    (other.home / "keys" / ring).unlink()
    assert 1 == other.json(*IMPORT, files.at(), *files.keys())["keys"]


def test_a_ring_that_appears_meanwhile_is_not_overwritten(
    cli: Cli, files: Files, other: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not there when it was looked at, and is when it is put there, stays."""
    cli.access()
    files.export(cli)
    Cli(other.home)("ticket", "list")
    kept = everything(other.home / "keys")
    monkeypatch.setattr(transfer, "find_ring", lambda path: None)
    line = refused(other("--json", *IMPORT, files.at(), *files.keys(), code=2))

    assert "with other keys" in line
    assert kept == everything(other.home / "keys")


def test_the_same_keys_may_be_there(cli: Cli, files: Files, other: Cli) -> None:
    """Keys that were carried over by hand are no hindrance."""
    cli.access()
    files.export(cli)
    shutil.copytree(cli.home / "keys", other.home / "keys")

    assert 1 == other.json(*IMPORT, files.at(), *files.keys())["keys"]
    assert EMAIL in other("ticket", "list").out


def test_a_database_with_events_is_not_imported_into(cli: Cli, files: Files, other: Cli) -> None:
    """Neither into itself nor into another, and its keys stay what they are."""
    cli.access()
    other.access()
    files.export(cli)
    before = everything(other.home)
    for there, words in ((cli, ()), (cli, files.keys()), (other, ()), (other, files.keys())):
        line = refused(there("--json", *IMPORT, files.at(), *words, code=2))
        assert "there are events in the database" in line

    assert before == everything(other.home)


def test_a_bad_file_leaves_a_home_empty(cli: Cli, files: Files, other: Cli) -> None:
    """Damage is named with its line before there is a database or a key."""
    cli.access()
    files.export(cli)
    path = files.folder / "a.jsonl"
    whole = path.read_bytes()
    pipe = files.folder / "pipe"
    os.mkfifo(pipe)
    for data, why in (
        (whole[:-1], "line 4 is not whole; the file was cut short"),
        (whole.replace(b"access_request", b"access_reqvest"), "line 4 has a digest"),
        (whole + b"\n", "line 5 follows the last one"),
        (b"x", "line 1 does not begin an export of this program"),
        ((cli.home / "siutindei.db").read_bytes(), "line 1 does not begin"),
    ):
        path.write_bytes(data)
        for words in ((), files.keys()):
            done = other("--json", *IMPORT, str(path), *words, code=2)
            assert why in refused(done)
            assert "file" == done.document["field"]
    for name, why in ((str(files.folder), "Is a directory"), (files.at("no"), "No such file")):
        assert why in refused(other("--json", *IMPORT, name, code=2))

    assert not other.home.exists()


def test_what_is_no_ordinary_file_is_not_imported(cli: Cli, files: Files, tmp_path: Path) -> None:
    """A pipe cannot be read twice."""
    cli.access()
    cli(*EXPORT, files.at())
    done = subprocess.run(
        [*command(tmp_path / "other"), "--json", *IMPORT, "/dev/stdin"],
        stdin=subprocess.PIPE, capture_output=True, check=False, env=environment(), timeout=60,
    )  # fmt: skip

    assert 2 == done.returncode
    assert b"is no ordinary file" in done.stderr
    assert not (tmp_path / "other").exists()


def test_a_file_that_is_there_is_not_overwritten(cli: Cli, files: Files) -> None:
    """Neither an export, nor a file of keys, nor a backup; one name cannot be two files."""
    cli.access()
    mine = files.folder / "mine"
    mine.write_bytes(b"mine")
    before = everything(files.folder)
    for words in (
        (*EXPORT, str(mine)),
        (*EXPORT, files.at(), "--with-keys", str(mine), *files.keys()[2:]),
        (*EXPORT, files.at(), "--with-keys", files.at(), *files.keys()[2:]),
        ("database", "backup", str(mine)),
    ):
        assert "is there already; name another file" in refused(cli("--json", *words, code=2))

    assert before == everything(files.folder)


# --- another database -----------------------------------------------------------------------------


def test_a_history_moves_to_postgresql(
    cli: Cli, files: Files, other: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replays agree, and so does the file that is exported there."""
    cli.access()
    files.export(cli)
    replayed = cli.json("history", "replay")["digest"]
    with fresh_database(migrated=False) as url:
        monkeypatch.setenv(DATABASE, url)
        for words in ((), files.keys()):
            line = refused(other("--json", *IMPORT, files.at(), *words, code=2))
            assert "run: siutindei database migrate" in line
        assert not (other.home / "keys").exists()
        other("database", "migrate")
        other(*IMPORT, files.at(), *files.keys())
        other(*EXPORT, files.at("b"))

        assert replayed == other.json("history", "replay")["digest"]
        assert {"ok": True, "problems": []} == other.json("doctor")
        assert "pg_dump" in refused(other("--json", "database", "backup", files.at("c"), code=2))
        assert EMAIL in other("ticket", "list").out
    assert everything(files.folder)["a.jsonl"] == everything(files.folder)["b.jsonl"]


@contextmanager
def role(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work as a role with fewer rights."""
    execute(roles(), url.partition("@/")[2].partition("?")[0])
    login = f"transfer_{name}"
    if not execute("SELECT 1 FROM pg_roles WHERE rolname = %s", values=[login]):
        execute(f"CREATE ROLE {login} LOGIN IN ROLE siutindei_{name}")
    with monkeypatch.context() as patch:
        patch.setenv(DATABASE, url.replace("//postgres@", f"//{login}@"))
        yield


def test_who_may_read_may_export_and_who_may_write_may_not_import(
    cli: Cli, files: Files, other: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import places events at positions, which is for the owner of the tables alone."""
    with fresh_database() as url:
        monkeypatch.setenv(DATABASE, url)
        cli.access()
        with role("reader", url, monkeypatch):
            files.export(cli)
    with fresh_database() as url:
        monkeypatch.setenv(DATABASE, url)
        with role("writer", url, monkeypatch):
            line = refused(other("--json", *IMPORT, files.at(), *files.keys(), code=2))
        assert "docs/postgresql.md" in line
        assert [] == other.events()
        assert 1 == other.json(*IMPORT, files.at(), *files.keys())["keys"]


# --- a backup, and whoever was erased since -------------------------------------------------------


def test_a_backup_is_restored(cli: Cli, files: Files) -> None:
    """What was there when it was made is there again; the keys and the lists are their own."""
    cli.access()
    path = files.folder / "a.db"
    done = cli.json("database", "backup", str(path))
    cli.submit("--organization-name", "b")
    cli.seams.pop("store", None)
    restore(cli, path)

    assert {"file": str(path), "events": 2} == done
    assert [*FIRST, *HALTED] == cli.events()
    resume(cli)
    assert {"ok": True, "problems": []} == cli.json("doctor")
    assert ["sent"] == [word for word, n in cli.json("worker", "--once").items() if n == 1]
    assert "copied: 8 events are in" in cli("database", "backup", str(files.folder / "b.db")).out


def test_after_a_restore_no_mail_goes_until_somebody_says_so(cli: Cli, files: Files) -> None:
    """What was mailed after the backup is not known in it: its lanes start halted, once."""
    cli.access()
    path = files.folder / "a.db"
    cli("database", "backup", str(path))
    cli("worker", "--once")
    cli.seams.pop("store", None)
    restore(cli, path)
    (codes, tickets) = cli.json("doctor", code=1)["problems"]
    cli("worker", "--once")
    (waiting,) = cli.json("notification", "list")["items"]

    assert "no mail of the lane codes goes (restored)" in codes["what"]
    assert "lane resume tickets" in tickets["mend"]
    assert ("deferred", "lane_halted") == (waiting["status"], waiting["why"])
    resume(cli)
    assert ["go", "go"] == [
        "halted" if item["halted"] else "go" for item in cli.json("lane", "list")["items"]
    ]


def test_mails_of_after_the_backup_are_found(cli: Cli, files: Files) -> None:
    """The maildir has what was mailed after the backup was made, and `doctor --deep` says so."""
    path = files.folder / "a.db"
    cli("ticket", "list")
    cli("database", "backup", str(path))
    cli.access()
    cli("worker", "--once")
    whole = cli.json("doctor", "--deep")
    cli.seams.pop("store", None)
    restore(cli, path)
    resume(cli)
    found = cli.json("doctor", "--deep", code=1)

    assert {"held": 1, "strange": 0, "absent": 0} == whole["mails"]
    assert {"held": 1, "strange": 1, "absent": 0} == found["mails"]
    assert "the maildir has 1 mails that nothing here asked for" in found["problems"][0]["what"]


def test_what_a_report_names_is_not_sent_again_after_a_restore(cli: Cli, files: Files) -> None:
    """A mail that was sent after the backup is known to be, once its report is in."""
    cli.access()
    path = files.folder / "a.db"
    cli("database", "backup", str(path))
    cli("worker", "--once")
    (sent,) = cli.json("notification", "list")["items"]
    cli.seams.pop("store", None)
    restore(cli, path)
    # A mail service keeps nothing that could be looked at.
    shutil.rmtree(cli.home / "mail")
    report = files.folder / "report.json"
    report.write_text(json.dumps(published("Delivery", tag=sent["id"], message_id="ses-1")))
    cli("feedback", "ingest", str(report))
    resume(cli)
    told = cli.json("worker", "--once")
    (known,) = cli.json("notification", "list")["items"]

    assert 0 == told["sent"]
    assert ("delivered", "ses-1") == (known["status"], known["message_id"])
    assert not list((cli.home / "mail").rglob("maildir-*"))


def resume(cli: Cli) -> None:
    """Let mail go again."""
    for name in ("codes", "tickets"):
        cli("lane", "resume", name, "--by", "op", "--reason", "the feedback is in")


FIRST: Final = ("ticket.submitted.v1", "notification.requested.v1")
HALTED: Final = ("lane.halted.v1", "lane.halted.v1")


def restore(cli: Cli, path: Path) -> None:
    """Put a backup in the place of the database."""
    for rest in cli.home.glob("siutindei.db*"):
        rest.unlink()
    shutil.copy(path, cli.home / "siutindei.db")


def erase(cli: Cli) -> Any:
    """Erase the one who submitted."""
    return cli.json("person", "erase", "u-1", "--by", "op", "--reason", "asked")


def check_erased_again(cli: Cli) -> None:
    """Everything up to the backup is there, and nobody reads what the erased person wrote."""
    shown = cli("ticket", "show", "R00001").out
    events = cli.events()

    assert EMAIL not in shown
    assert "[erased]" in shown
    assert [*FIRST, "person.erased.v1"] == [name for name in events if name not in HALTED]
    assert events == cli.events()
    # The mails of who was erased leave the maildir with the next worker.
    cli("worker", "--once")
    if events[-1] in HALTED:
        resume(cli)
    assert {"ok": True, "problems": []} == cli.json("doctor")
    assert "[erased]" == cli.json("person", "export", "u-1")["tickets"][0]["submitter_email"]


def test_a_backup_from_before_an_erasure_brings_nobody_back(cli: Cli, files: Files) -> None:
    """The first command that opens it erases again, and says so in the history."""
    cli.access()
    path = files.folder / "a.db"
    cli("database", "backup", str(path))
    erase(cli)
    restore(cli, path)

    check_erased_again(cli)


def test_a_list_that_lacks_somebody_is_a_problem(cli: Cli) -> None:
    """Who was erased and is not on the list would come back: `doctor` says so until they are."""
    cli.access()
    erase(cli)
    (cli.home / "erasures.jsonl").unlink()
    (problem,) = cli.json("doctor", code=1)["problems"]
    erase(cli)

    assert "1 people were erased and are not on the list of erasures, u-1" in problem["what"]
    assert cli.json("doctor")["ok"]


def test_a_file_that_was_not_rewritten_is_owed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be cleaned is said with 75, named by `doctor`, and done by the next worker."""

    def busy(_: object) -> None:
        raise Unavailable("erased, but others read")

    cli.access()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "rewrite", busy)
        cli("person", "erase", "u-1", "--by", "op", "--reason", "asked", code=75)
        told = cli("worker", "--once").err
        (problem,) = cli.json("doctor", code=1)["problems"]
    cli("worker", "--once")

    assert "files still hold what was erased" in told
    assert "may still hold what was erased" in problem["what"]
    assert cli.json("doctor")["ok"]


def test_mails_that_were_not_taken_out_are_owed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an erasure left in the maildir is named by `doctor`, and goes with the next worker."""

    def busy(_: object, notification_id: str) -> None:
        raise Unavailable("the mail was not removed")

    cli.access()
    cli("worker", "--once")
    with monkeypatch.context() as patch:
        patch.setattr(Maildir, "forget", busy)
        cli("person", "erase", "u-1", "--by", "op", "--reason", "asked", code=75)
        told = cli("worker", "--once").err
        (problem,) = cli.json("doctor", code=1)["problems"]
    before = list((cli.home / "mail" / "new").iterdir())
    cli("worker", "--once")

    assert "mails of somebody who was erased are still there" in told
    assert "may still be in the maildir" in problem["what"]
    assert 1 == len(before)
    assert [] == list((cli.home / "mail" / "new").iterdir())
    assert cli.json("doctor")["ok"]


def test_a_line_that_was_cut_short_erases_nobody(cli: Cli) -> None:
    """Whoever was told that the erasure failed finds everything as it was."""
    cli.access()
    (cli.home / "erasures.jsonl").write_text('{"user":"u-1","at":"x"', encoding="utf-8")

    assert EMAIL in cli("ticket", "show", "R00001").out
    (cli.home / "erasures.jsonl").write_text('{"user":"u-1","at":"x"}\n', encoding="utf-8")
    assert EMAIL not in cli("ticket", "show", "R00001").out


def test_a_list_that_cannot_be_read_keeps_everybody_out(cli: Cli) -> None:
    """Nobody reads a database of which it is not known who was erased."""
    cli.access()
    (cli.home / "erasures.jsonl").write_text("no erasure\n", encoding="utf-8")
    line = refused(cli("--json", "ticket", "list", code=2))

    assert "has a line that is no erasure" in line


@pytest.mark.slow
def test_a_dump_of_postgresql_brings_nobody_back(
    cli: Cli, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What pg_dump wrote and pg_restore reads has everything in it, and whoever was erased goes;
    a role that may only read waits for one that may write.
    """
    dump = str(files.folder / "a.dump")
    with fresh_database() as url:
        monkeypatch.setenv(DATABASE, url)
        cli.access()
        pg_dump = [program("pg_dump"), "--format=custom", f"--file={dump}", url]
        subprocess.run(pg_dump, check=True)
        erase(cli)
        cli(*EXPORT, files.at())
    execute("CREATE DATABASE restored")
    try:
        restored = address("restored")
        subprocess.run(
            [program("pg_restore"), "--no-owner", f"--dbname={restored}", dump], check=True
        )
        monkeypatch.setenv(DATABASE, restored)
        with role("reader", restored, monkeypatch):
            for words in (("ticket", "list"), ("history", "tail")):
                line = refused(cli("--json", *words, code=2))
                assert "erased is back" in line
                assert "docs/postgresql.md" in line
        check_erased_again(cli)
        with role("reader", restored, monkeypatch):
            assert "[erased]" in cli("ticket", "show", "R00001").out
    finally:
        execute("DROP DATABASE restored WITH (FORCE)")


@pytest.mark.parametrize("on_postgres", [False, True])
def test_keys_of_the_erased_do_not_come_in_with_an_import(
    cli: Cli, files: Files, other: Cli, monkeypatch: pytest.MonkeyPatch, on_postgres: bool
) -> None:
    """A home whose list names somebody erases them again right after the import."""
    cli.access()
    files.export(cli)
    erase(cli)
    other.home.mkdir()
    shutil.copy(cli.home / "erasures.jsonl", other.home)
    with fresh_database() as url:
        if on_postgres:
            monkeypatch.setenv(DATABASE, url)
        done = other(*IMPORT, files.at(), *files.keys())

        assert "erased again, because the list of erasures names them: 1 people" in done.out
        check_erased_again(other)


_MODULES: Final = """
import sys
from siutindei.entrypoints.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded", *sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
def test_erasing_again_loads_nothing_that_could_send(cli: Cli, files: Files) -> None:
    """A replay of a restored database erases first, and has no mail adapter even then."""
    cli.access()
    path = files.folder / "a.db"
    cli("database", "backup", str(path))
    erase(cli)
    restore(cli, path)
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, "--home", str(cli.home), "--json", "history", "replay"],
        capture_output=True,
        check=True,
        env=environment(),
    )
    modules = set(done.stderr.decode().partition("loaded ")[2].split())

    assert 5 == json.loads(done.stdout)["events"]
    assert "siutindei.app.erasing" in modules
    assert set() == modules & {
        *("siutindei.adapters.maildir", "siutindei.adapters.mime", "siutindei.app.people"),
        "smtplib",
    }
