"""Homes that cannot be used: a clear line, the right exit code, and nothing half-done."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters.sqlite import SqliteStore
from siutindei.adapters.system import SystemClock
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.entrypoints.commands import EMAIL, Cli, Done, command, environment
from tests.histories import fill
from tests.support import RING

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
SUBMIT = ("ticket", "submit", "access-request", "--user", "u-1", "--email", EMAIL)
WRITING = (*SUBMIT, "--organization-name", "Star Dance")


def refused(done: Done) -> str:
    """Check that a refusal is one line and one document, and give the line."""
    assert set(done.document) <= {"error", "field"}, done
    line: str = done.document["error"]
    assert done.err == f"siutindei: {line}\n"
    return line


def test_a_home_without_a_name_is_refused() -> None:
    """A script's empty variable is no wish for the default home."""
    assert "home" in refused(Cli(Path())("--home", "", "--json", "ticket", "list", code=2))


def test_a_home_that_is_a_file_is_refused(cli: Cli) -> None:
    """A file where the folder should be is named, and stays as it is."""
    cli.home.write_text("mine", encoding="utf-8")
    for words in (WRITING, ("ticket", "list"), ("demo",), ("worker", "--once")):
        assert str(cli.home) in refused(cli("--json", *words, code=2))

    assert cli.home.read_text(encoding="utf-8") == "mine"


def foreign(path: Path) -> None:
    """Put another program's database there."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()


def newer(path: Path) -> None:
    """Make it look as a later version would have it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=999")
        connection.commit()


def stripped(path: Path) -> None:
    """Take a table away."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE stored_events")
        connection.commit()


def overwritten(path: Path) -> None:
    """Write over the pages in the middle."""
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "no database"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
        (overwritten, "damaged"),
        (newer, "newer version"),
        (stripped, "tables"),
        (foreign, "another program"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be"),
    ],
    ids=["garbage", "torn", "overwritten", "newer", "stripped", "foreign", "folder"],
)
def test_a_database_that_is_not_ours_is_refused(
    cli: Cli, breaks: Callable[[Path], Any], says: str
) -> None:
    """Reading, writing and working say what is wrong with the file, and leave it alone."""
    cli.access()
    path = cli.home / "siutindei.db"
    breaks(path)
    before = path.read_bytes() if path.is_file() else b""
    for words in (WRITING, ("ticket", "list"), ("history", "tail"), ("worker", "--once")):
        line = refused(cli("--json", *words, code=2))
        assert str(path) in line
        assert says in line

    assert before == (path.read_bytes() if path.is_file() else b"")
    assert not (cli.home / "mail").exists()


@pytest.mark.parametrize("name", ["vault-keys.json", "index-key.json", "code-keys.json"])
def test_a_key_that_is_missing_is_not_made_again(cli: Cli, name: str) -> None:
    """A database without its keys is refused by every command, and no new key is made for it."""
    cli.access()
    path = cli.home / "keys" / name
    path.unlink()
    for words in (WRITING, ("ticket", "list"), ("sign-in", "start", EMAIL), ("worker", "--once")):
        line = refused(cli("--json", *words, code=2))
        assert str(path) in line
        assert "backup" in line

    assert not path.exists()


@pytest.mark.parametrize("name", ["vault-keys.json", "index-key.json"])
def test_another_installation_s_key_is_refused(cli: Cli, tmp_path: Path, name: str) -> None:
    """A key of another home is recognised as such before anything is written under it."""
    cli.access()
    other = Cli(tmp_path / "other")
    other.access()
    shutil.copy(other.home / "keys" / name, cli.home / "keys" / name)
    for words in (WRITING, ("ticket", "list")):
        assert "put" in refused(cli("--json", *words, code=2))

    shutil.rmtree(cli.home / "keys")
    for words in (WRITING, ("ticket", "list")):
        assert "missing" in refused(cli("--json", *words, code=2))
    assert not (cli.home / "keys" / name).exists()


def test_a_database_that_is_locked_is_tried_again_later(cli: Cli) -> None:
    """While somebody else writes, reading works, and writing ends with exit code 75."""
    cli.access()
    path, clock = cli.home / "siutindei.db", cli.seams["clock"]
    master = build(read_settings({}, home=cli.home)).vault_keys
    store = SqliteStore(str(path), master=master, clock=clock, lock_seconds=0)
    impatient = Cli(cli.home, clock=clock, store=store)
    with closing(store), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for words in (("sign-in", "start", EMAIL), WRITING, ("worker", "--once")):
            assert "try again" in refused(impatient("--json", *words, code=75))
        assert len(impatient.json("ticket", "list")["items"]) == 1
        connection.execute("ROLLBACK")

    assert len(cli.events()) == 2


# --- in a process of its own ----------------------------------------------------------------------


def limited(home: Path, *words: str, most: int) -> Done:
    """Run a command for which no file may grow beyond `most` bytes: the disk is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    done = subprocess.run(
        [*command(home), "--json", *words],
        capture_output=True,
        check=False,
        env=environment(),
        preexec_fn=limit,
        timeout=60,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_done(cli: Cli) -> None:
    """When the database cannot grow the command ends with exit code 75, and can be repeated."""
    cli.access()
    words = (*SUBMIT[:2], "suggestion", *SUBMIT[3:], "--organization-name", "a")
    done = limited(cli.home, *words, "--description", "d" * 4000, most=65536)
    assert done.code == 75, done
    assert "nothing was changed" in refused(done)
    assert len(cli.events()) == 2

    assert cli.submit("--organization-name", "a")["ticket_id"] == "S00001"
    assert cli.json("doctor")["ok"] is True


@pytest.mark.slow
def test_a_full_disk_leaves_a_read_model_that_serves(cli: Cli) -> None:
    """A rebuild that finds no room ends with exit code 75; the old one serves, and the next rebuild
    goes on.
    """
    cli.json("ticket", "list")
    store = SqliteStore(str(cli.home / "siutindei.db"), master=RING, clock=SystemClock())
    fill(store, 3_000)
    store.close()
    cli.json("projection", "rebuild", "notifications")
    done = limited(cli.home, "projection", "rebuild", "notifications", most=300_000)
    assert done.code == 75, done
    assert "make room and try again" in refused(done)
    (item,) = [
        item for item in cli.json("projection", "list")["items"] if item["name"] == "notifications"
    ]
    assert (2, 3) == (item["live"]["generation"], item["building"]["generation"])

    made = cli.json("projection", "rebuild", "notifications")
    assert (3, 0, True) == (made["generation"], made["different"], made["rows"] > 300)
    assert cli.json("projection", "verify", "notifications")["different"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("most", [0, 20, 5000], ids=["nothing", "no key", "no table"])
def test_a_home_that_cannot_be_made_can_be_made_later(cli: Cli, most: int) -> None:
    """A first command on a full disk fails cleanly; the next one with room finds a fresh home."""
    done = limited(cli.home, "ticket", "list", most=most)
    assert done.code in {2, 75}, done
    refused(done)

    assert cli.access() == "R00001"
    assert cli.json("doctor")["ok"] is True


def as_nobody(home: Path, *words: str) -> Done:
    """Run a command as a user who owns nothing: root may write everywhere."""
    code = (
        "import os, sys\n"
        "from click.testing import CliRunner\n"
        "from siutindei.entrypoints.cli import demo, main\n"
        "import siutindei.adapters.sqlite, siutindei.adapters.maildir, siutindei.adapters.codes\n"
        "import siutindei.adapters.directory, siutindei.adapters.addresses\n"
        "import siutindei.app.tickets, siutindei.app.people, siutindei.adapters.erasures\n"
        "import siutindei.adapters.system, siutindei.app.dead_letters, structlog\n"
        "import email_validator, idna.uts46data, encodings.idna, stringprep\n"
        f"os.geteuid() or (os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY}))\n"
        "main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--home", str(home), "--json", *words],
        capture_output=True,
        check=False,
        env=environment(HOME="/nonexistent", USER="nobody"),
        timeout=60,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder that another user may look into, and not write."""
    folder = tmp_path_factory.mktemp("shared")
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != path.parent:
            mode = path.stat().st_mode
            if not mode & 0o001:
                path.chmod(mode | 0o011)
        if path == Path("/tmp"):
            break
    folder.chmod(0o555)
    return folder


@pytest.mark.slow
def test_a_home_that_cannot_be_written_is_refused(shared: Path) -> None:
    """Without permission each command ends with exit code 2, names the place, and makes nothing."""
    for words in (("ticket", "list"), WRITING, ("demo",)):
        done = as_nobody(shared / "home", *words)
        assert done.code == 2, done
        assert str(shared) in refused(done)

    assert list(shared.iterdir()) == []


@pytest.mark.slow
def test_somebody_else_s_home_is_refused(shared: Path, cli: Cli) -> None:
    """A home that another user made, readable or not, is refused without a traceback."""
    cli.access()
    shared.chmod(0o755)
    home = shared / "home"
    shutil.copytree(cli.home, home)
    # Whoever is not root cannot become somebody else: the home is theirs, and closed to writing.
    modes = (0o700, 0o755) if os.geteuid() == 0 else (0o555, 0o555)
    paths = (home, *home.rglob("*"))
    for mode, words in ((modes[0], WRITING), (modes[1], WRITING), (modes[1], ("worker",))):
        for path in paths:
            path.chmod(mode if path.is_dir() else mode & 0o644)
        done = as_nobody(home, *words)
        assert done.code == 2, done
        assert str(home) in refused(done)
    found = as_nobody(home, "doctor")
    assert (1, False) == (found.code, found.document["ok"])
