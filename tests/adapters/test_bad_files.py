"""Files that are missing, damaged, foreign, locked, or without room: named, and untouched."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from eventsourcing.persistence import PersistenceError
from eventsourcing.sqlite import SQLiteConnection
from hypothesis import given
from hypothesis import strategies as st

from siutindei.adapters.keys import KeyRing, open_ring
from siutindei.adapters.locks import locked
from siutindei.adapters.sqlite import MEMORY, SqliteStore, prepare, translated
from siutindei.app.ports import CommandRepeated, PortError, Unavailable, Unusable
from siutindei.bootstrap import Services, build
from siutindei.settings import read_settings
from tests.contracts import ANN, append, email_of, signed_up, submitted
from tests.strategies import unhurried
from tests.support import RING, VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS: Final = 0.1


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with three events, closed."""
    path = str(tmp_path / "siutindei.db")
    prepare(path)
    with_events = SqliteStore(path, master=RING, clock=VirtualClock())
    append(with_events, ANN, signed_up(), signed_up())
    append(with_events, "ticket-R00001", submitted())
    with_events.close()
    return path


@pytest.fixture
def store(database: str) -> Iterator[SqliteStore]:
    """The same, opened, and quick to lose its patience."""
    opened = SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=SECONDS)
    yield opened
    opened.close()


@pytest.fixture
def other(database: str) -> Iterator[sqlite3.Connection]:
    """Another process's connection."""
    connection = sqlite3.connect(database, isolation_level=None)
    yield connection
    connection.close()


def digests(folder: Path) -> dict[str, str]:
    """Digest every file of a folder, apart from locks and what SQLite makes for readers."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return {
        name: sha256(content).hexdigest()
        for name, content in contents.items()
        if not name.endswith((".lock", "-shm")) and (content or not name.endswith("-wal"))
    }


# --- the database ---------------------------------------------------------------------------------


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    """What is made, on the first day and later, is for nobody else on the machine to read."""
    home = tmp_path / "new" / "home"
    database = home / "siutindei.db"

    assert prepare(str(database))
    store = SqliteStore(str(database), master=RING, clock=VirtualClock())
    append(store, ANN, signed_up())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
    store.close()

    assert {
        "siutindei.db": 0o600,
        "siutindei.db-shm": 0o600,
        "siutindei.db-wal": 0o600,
        "siutindei.db.lock": 0o600,
    } == modes
    assert 0o700 == stat.S_IMODE(home.stat().st_mode)


def test_preparing_says_whether_anything_happened(database: str, tmp_path: Path) -> None:
    """A database is fresh until its first event, however often it is prepared."""
    fresh = str(tmp_path / "fresh.db")

    assert [True, True, False, False, True] == [
        prepare(fresh),
        prepare(fresh),
        prepare(database),
        prepare(database),
        prepare(MEMORY),
    ]


def test_a_database_is_durable(store: SqliteStore) -> None:
    """Every connection writes ahead, waits for the disk, and overwrites what it deletes."""
    append(store, ANN, signed_up())
    with store._datastore.transaction(commit=True) as cursor:
        pragmas = {}
        for name in ("journal_mode", "synchronous", "secure_delete", "temp_store", "busy_timeout"):
            cursor.execute(f"PRAGMA {name}")
            pragmas[name] = cursor.fetchone()[0]

    assert {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "temp_store": 2,
        "busy_timeout": int(SECONDS * 1000),
    } == pragmas


def test_an_empty_file_is_a_fresh_database(tmp_path: Path) -> None:
    """A file that somebody touched becomes a database of its owner's alone."""
    path = tmp_path / "siutindei.db"
    path.touch(mode=0o644)

    assert prepare(str(path))
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_a_link_stays_one(tmp_path: Path) -> None:
    """A database on another disk is made there, and the link to it is kept."""
    there = tmp_path / "disk"
    there.mkdir()
    link = tmp_path / "siutindei.db"
    link.symlink_to(there / "real.db")

    assert prepare(str(link))
    assert link.is_symlink()
    assert not prepare_and_append(str(link))
    assert {"real.db", "real.db.lock"} == {path.name for path in there.iterdir()}


def prepare_and_append(database: str) -> bool:
    """Append one event, and say whether the database is still fresh."""
    store = SqliteStore(database, master=RING, clock=VirtualClock())
    append(store, ANN, signed_up())
    store.close()
    return prepare(database)


def test_what_a_killed_process_left_is_made_again(tmp_path: Path) -> None:
    """A database that was never finished is nobody's; the next process makes one."""
    for name in (".siutindei.db.draft", ".siutindei.db.draft-wal", ".siutindei.db.draft-journal"):
        (tmp_path / name).write_bytes(b"half of something")
    (tmp_path / "siutindei.db-wal").touch()

    assert prepare(str(tmp_path / "siutindei.db"))
    assert {"siutindei.db", "siutindei.db.lock"} == {path.name for path in tmp_path.iterdir()}


def test_a_log_without_its_database_is_kept(database: str, tmp_path: Path) -> None:
    """A new database never swallows the log of one that is gone."""
    store = SqliteStore(database, master=RING, clock=VirtualClock())
    append(store, ANN, signed_up())
    shutil.copy(f"{database}-wal", tmp_path / "lost.db-wal")
    store.close()
    log = (tmp_path / "lost.db-wal").read_bytes()
    for empty in (False, True):
        if empty:
            (tmp_path / "lost.db").touch()
        with pytest.raises(Unusable, match=r"lost.db-wal is there; restore both"):
            prepare(str(tmp_path / "lost.db"))

    assert b"" == (tmp_path / "lost.db").read_bytes()
    assert log == (tmp_path / "lost.db-wal").read_bytes()


def foreign(path: Path, *, wal: bool) -> None:
    """Make another program's database, with a log that nobody has read yet."""
    connection = sqlite3.connect(path, isolation_level=None)
    if wal:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE stored_events (rowid INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO stored_events VALUES (1)")
    for suffix in ("", "-wal", "-shm") if wal else ("",):
        shutil.copy(f"{path}{suffix}", f"{path}.copy{suffix}")
    connection.close()


@pytest.mark.parametrize("wal", [True, False])
def test_another_programs_database_is_not_touched(tmp_path: Path, wal: bool) -> None:
    """A database of another program is refused by name, and not a byte of it is changed."""
    foreign(tmp_path / "x.db", wal=wal)
    before = digests(tmp_path)
    with pytest.raises(Unusable, match=r"x.db.copy is a database of another program; name another"):
        prepare(str(tmp_path / "x.db.copy"))

    assert before == digests(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"x", b"SQLite format 3\0", b"not a database" * 100, b"\0" * 4096, b"SQLite format 3\0" * 6],
)
def test_what_is_no_database_is_not_touched(tmp_path: Path, content: bytes) -> None:
    """Anything else is refused, and stays as it is."""
    path = tmp_path / "siutindei.db"
    path.write_bytes(content)
    with pytest.raises(Unusable, match=r"siutindei.db is damaged or no database; restore a backup"):
        prepare(str(path))

    assert {"siutindei.db": sha256(content).hexdigest()} == digests(tmp_path)


def test_a_newer_database_is_not_touched(database: str, tmp_path: Path) -> None:
    """A database of a newer version asks for that version."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    before = digests(tmp_path)
    with pytest.raises(Unusable, match=r"newer version \(schema 99, .* knows 3\); install that"):
        prepare(database)

    assert before == digests(tmp_path)


@pytest.mark.parametrize("pages", [1, 2, 5])
def test_a_database_that_was_cut_short_is_named(database: str, pages: int) -> None:
    """A truncated database is refused when it is opened or when the hole is met, and not mended."""
    os.truncate(database, pages * 4096)
    before = digests(Path(database).parent)

    def use() -> None:
        prepare(database)
        store = SqliteStore(database, master=RING, clock=VirtualClock())
        try:
            append(store, ANN, signed_up())
            store.views.tickets()
        finally:
            store.close()

    with pytest.raises(Unusable, match=r"siutindei.db is damaged or no database"):
        use()

    assert before == digests(Path(database).parent)


def test_a_damaged_page_is_named(database: str) -> None:
    """Garbage in the middle of a database is met as damage, not as our fault."""
    path = Path(database)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    store = SqliteStore(database, master=RING, clock=VirtualClock())
    with pytest.raises(Unusable, match="is damaged or no database"):
        store.load(ANN)
    store.close()


@pytest.mark.parametrize(
    "table", ["stored_events", "commands", "tickets_1", "vault_keys", "people_1", "projections"]
)
def test_a_table_that_is_gone_is_named(
    store: SqliteStore, other: sqlite3.Connection, table: str
) -> None:
    """A database that lacks a table is one that cannot be used."""
    other.execute(f"DROP TABLE {table}")

    def use() -> None:
        append(store, ANN, signed_up())
        store.views.tickets()

    with pytest.raises(Unusable, match=f"does not have the tables that it should .*{table}"):
        use()


def test_a_state_that_is_no_bytes_is_named(store: SqliteStore) -> None:
    """SQLite keeps a text where bytes belong: the event cannot be read."""
    append(store, ANN, signed_up())
    with store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET state = CAST(state AS TEXT)")
    with pytest.raises(Unusable, match=r"/1 .* cannot be read: what is stored is not bytes"):
        list(store.read())


def test_a_database_that_goes_is_not_made_again(database: str, tmp_path: Path) -> None:
    """A process whose database was taken away under it makes no empty one in its place."""
    store = SqliteStore(database, master=RING, clock=VirtualClock())
    (tmp_path / "siutindei.db").unlink()
    with pytest.raises(Unusable, match="cannot be opened"):
        store.load(ANN)
    with pytest.raises(Unusable, match="cannot be opened"):
        append(store, ANN, signed_up(), version=0)
    store.close()

    assert not (tmp_path / "siutindei.db").exists()


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """A folder in the database's place is named."""
    (tmp_path / "siutindei.db").mkdir()
    with pytest.raises(Unusable, match=r"siutindei.db cannot be made or read: Is a directory"):
        prepare(str(tmp_path / "siutindei.db"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """A file in the folder's place is named."""
    (tmp_path / "home").touch()
    with pytest.raises(Unusable, match="cannot be made or read: Not a directory"):
        prepare(str(tmp_path / "home" / "siutindei.db"))


# --- locks ----------------------------------------------------------------------------------------


def test_a_locked_database_is_worth_another_try(
    store: SqliteStore, other: sqlite3.Connection
) -> None:
    """A writer waits for another one for a while, then gives up; readers do not wait at all."""
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM stored_events")
    with pytest.raises(Unavailable, match=r"siutindei.db is locked by another process; try again"):
        append(store, ANN, signed_up())
    seen = len(list(store.read())), store.views.pending_count()
    other.execute("ROLLBACK")
    append(store, ANN, signed_up())

    assert (3, 1) == seen
    assert 4 == len(list(store.read()))


def test_an_exclusive_lock_is_worth_another_try(
    store: SqliteStore, database: str, other: sqlite3.Connection
) -> None:
    """Who takes the whole file keeps everybody out for a while: nobody hangs, nobody crashes."""
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    other.execute("INSERT INTO commands VALUES ('x', '[]')")
    asks: list[Callable[[], object]] = [
        lambda: prepare(database, lock_seconds=SECONDS),
        lambda: store.load(ANN),
        lambda: append(store, ANN, signed_up()),
        store.last_position,
    ]
    for ask in asks:
        with pytest.raises(Unavailable, match="locked by another process; try again"):
            ask()
    other.execute("ROLLBACK")
    other.close()

    assert 2 == len(store.load(ANN))


def test_making_a_database_waits_for_who_makes_it(tmp_path: Path) -> None:
    """A lock that is held for too long on the first day is worth another try."""
    with (
        locked(tmp_path / "siutindei.db.lock"),
        pytest.raises(Unavailable, match=r"another process holds .*siutindei.db.lock; try again"),
    ):
        prepare(str(tmp_path / "siutindei.db"), lock_seconds=SECONDS)


def test_a_thread_waits_no_longer_than_a_process(store: SqliteStore) -> None:
    """A writer in another thread of the same process is waited for as long, and no longer."""
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction(context()):
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(10)
    for _ in range(2):
        with pytest.raises(Unavailable, match="locked by another process; try again"):
            append(store, ANN, signed_up())
    done.set()
    thread.join()
    append(store, ANN, signed_up())

    assert 3 == len(store.load(ANN))


def test_an_error_at_opening_keeps_nobodys_turn(database: str, tmp_path: Path) -> None:
    """A store whose file was away for a moment works again, for writers too."""
    store = SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=SECONDS)
    (tmp_path / "siutindei.db").rename(tmp_path / "away.db")
    for _ in range(20):
        with pytest.raises(Unusable, match="cannot be opened"):
            append(store, ANN, signed_up(), version=0)
    (tmp_path / "away.db").rename(tmp_path / "siutindei.db")
    append(store, ANN, signed_up())
    store.close()

    assert not prepare(database)


def test_a_commit_that_fails_leaves_no_transaction_open(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a commit that the disk refused the next transaction is a new one."""
    fail: list[sqlite3.Error] = [sqlite3.OperationalError("disk I/O error")]
    commit = SQLiteConnection.commit

    def refuse(connection: Any) -> None:
        if fail:
            raise fail.pop()
        commit(connection)

    monkeypatch.setattr(SQLiteConnection, "commit", refuse)
    with pytest.raises(PortError):
        append(store, ANN, signed_up())
    append(store, ANN, signed_up())

    assert 3 == len(store.load(ANN))


def test_a_reader_does_not_see_half(store: SqliteStore, database: str) -> None:
    """Who reads during a long write sees what was there before, and is not kept waiting."""
    reader = SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=SECONDS)
    with store.transaction(context()) as tx:
        tx.append(ANN, 2, [signed_up()] * 500)
        before = len(reader.load(ANN)), reader.last_position()
    after = len(reader.load(ANN)), reader.last_position()
    reader.close()

    assert ((2, 3), (502, 503)) == (before, after)


# --- no room --------------------------------------------------------------------------------------


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond a size from now on, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 4096, 20_000, 100_000])
def test_a_full_disk_changes_nothing(
    store: SqliteStore, full_disk: Callable[[int], None], room: int
) -> None:
    """What the disk has no room for did not happen, and happens when there is room again."""
    store.load(ANN)

    def much() -> None:
        with store.transaction(context("c1")) as tx:
            tx.append(ANN, 2, [signed_up(email="x" * 4000)] * 200)

    full_disk(room)
    with pytest.raises(Unavailable, match=r"cannot be written .*nothing was changed, make room"):
        much()
    full_disk(-1)
    before = len(store.load(ANN))
    much()

    assert (2, 202) == (before, len(store.load(ANN)))


def test_a_full_database_changes_nothing(store: SqliteStore) -> None:
    """A database that may not grow refuses in the middle of a transaction, and undoes it."""
    with store._datastore.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA page_count")
        pages = cursor.fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count={pages + 4}")
    with pytest.raises(Unavailable, match="database or disk is full"):
        append(store, ANN, *[signed_up(email="x" * 4000)] * 50)
    with store._datastore.transaction(commit=False) as cursor:
        cursor.execute("PRAGMA max_page_count=1000000")
        cursor.fetchone()
    append(store, ANN, *[signed_up(email="x" * 4000)] * 50)

    assert 52 == len(store.load(ANN))


@pytest.mark.parametrize("pages", range(0, 78, 3))
def test_no_room_for_a_new_database(
    tmp_path: Path, full_disk: Callable[[int], None], pages: int
) -> None:
    """A database that cannot be made is not there, and is made when there is room."""
    database = str(tmp_path / "siutindei.db")
    full_disk(4096 * pages)
    try:
        made = prepare(database)
    except Unavailable as error:
        assert "make room and try again" in str(error)  # noqa: PT017  # with room it is made
        made = False
    exists = (tmp_path / "siutindei.db").exists()
    full_disk(-1)

    assert made == exists
    assert pages > 3 or not made
    assert pages < 72 or made
    assert prepare(database)
    assert not prepare_and_append(database)


def test_no_room_to_scrub(store: SqliteStore, full_disk: Callable[[int], None]) -> None:
    """Who erases on a full disk is told that it is erased, and to make room."""
    with store.transaction(context()) as tx:
        tx.destroy_keys("ann", forever=True)
    full_disk(4096)
    with pytest.raises(Unavailable, match=r"erased, but .* make room"):
        store.scrub()
    full_disk(-1)
    store.scrub()

    assert store.open(email_of(store, ANN)).is_erased


def test_others_who_read_keep_the_log(store: SqliteStore, other: sqlite3.Connection) -> None:
    """Who erases while somebody reads is told that it is erased, and what is left to do."""
    other.execute("BEGIN")
    other.execute("SELECT * FROM stored_events").fetchall()
    with store.transaction(context()) as tx:
        tx.destroy_keys("ann", forever=True)
    with pytest.raises(Unavailable, match="erased, but other processes kept"):
        store.scrub()
    other.execute("COMMIT")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="erased, but other processes kept"):
        store.scrub()
    other.execute("COMMIT")
    store.scrub()


# --- no permission --------------------------------------------------------------------------------

READ_ONLY: Final = """
import os, sys
from siutindei.adapters.sqlite import SqliteStore, prepare
from siutindei.adapters.keys import KeyRing, open_ring
from siutindei.app.ports import PortError
from pathlib import Path
from tests.contracts import ANN, append, signed_up
from tests.support import RING, VirtualClock

if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
home = Path(sys.argv[1])
database = str(home / "siutindei.db")

def write():
    prepare(database)
    append(SqliteStore(database, master=RING, clock=VirtualClock()), ANN, signed_up(), version=2)

for use in (write, lambda: open_ring(home / "keys" / "ring.json", may_make=True)):
    try:
        use()
    except PortError as error:
        print(f"{type(error).__name__}: {error}")
"""


def as_nobody(home: Path) -> list[str]:
    """Use a home as somebody who may not write there; give what they are told."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(home)],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody can reach."""
    made = Path(tempfile.mkdtemp(prefix="siutindei-"))
    made.chmod(0o755)
    yield made
    for path in (made, *made.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        # Whoever is not root cannot become somebody else: their own file is closed to writing only.
        *(
            [(0o600, r"siutindei\.db cannot be made or read: Permission denied")]
            if os.geteuid() == 0
            else []
        ),
        (0o444, "check its permissions"),
    ],
)
def test_a_home_of_somebody_else_is_named(home: Path, mode: int, reason: str) -> None:
    """Who may not write, or not read, is told so in a line, and nothing is changed."""
    database = home / "siutindei.db"
    prepare(str(database))
    store = SqliteStore(str(database), master=RING, clock=VirtualClock())
    append(store, ANN, signed_up(), signed_up())
    store.close()
    database.chmod(mode)
    home.chmod(0o555)
    before = digests(home)
    first, second = as_nobody(home)

    assert first.startswith("Unusable: ")
    assert reason.replace("\\", "") in first
    assert second.startswith("Unusable: the key file ")
    assert second.endswith("ring.json cannot be made: Permission denied")
    assert before == digests(home)


@pytest.mark.slow
def test_a_home_that_nothing_can_be_made_in_is_named(home: Path) -> None:
    """A folder that cannot be written holds no new database."""
    home.chmod(0o555)

    assert as_nobody(home)[0].endswith("cannot be written: Permission denied")
    assert [] == list(home.iterdir())


# --- keys -----------------------------------------------------------------------------------------


def installation(home: Path, **environment: str) -> Services:
    """Build the application over an installation, with nothing but its files."""
    return build(read_settings(environment, home=home), clock=VirtualClock())


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A home in which something happened."""
    services = installation(tmp_path / "home")
    services.sign_in.sign_up(context(), email="ann@example.com")
    services.store.close()
    return tmp_path / "home"


RINGS: Final = ["vault-keys.json", "index-key.json", "code-keys.json"]


@pytest.mark.parametrize("name", RINGS)
def test_keys_are_made_before_anything_happens(used: Path, name: str) -> None:
    """All keys are there after the first event, for nobody else to read."""
    path = used / "keys" / name

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert sorted(RINGS) == sorted(entry.name for entry in path.parent.iterdir())


@pytest.mark.parametrize("name", RINGS)
def test_a_key_that_is_gone_is_not_made_again(used: Path, name: str) -> None:
    """A key that something depends on is asked for, and no other one takes its place."""
    path = used / "keys" / name
    kept = path.read_bytes()
    path.unlink()
    before = digests(used)
    with pytest.raises(Unusable, match=f"{name} is missing, and the database needs it; put it"):
        installation(used).store.last_position()
    gone = not path.exists()
    path.write_bytes(kept)

    assert gone
    assert before == digests(used)
    assert 1 == installation(used).store.last_position()


@pytest.mark.parametrize("name", ["vault-keys.json", "index-key.json"])
def test_another_key_is_refused(used: Path, tmp_path: Path, name: str) -> None:
    """A key of another installation opens nothing here, and changes nothing."""
    installation(tmp_path / "other").store.close()
    shutil.copy(tmp_path / "other" / "keys" / name, used / "keys" / name)
    before = digests(used)
    with pytest.raises(Unusable, match="is not the one that this database was made with; put"):
        installation(used).store.last_position()

    assert before == digests(used)


def test_keys_of_an_unused_database_may_go(tmp_path: Path) -> None:
    """As long as nothing happened nothing is lost with the keys: others are made."""
    installation(tmp_path).store.close()
    shutil.rmtree(tmp_path / "keys")
    services = installation(tmp_path)
    services.sign_in.sign_up(context(), email="ann@example.com")
    services.store.close()

    assert 1 == installation(tmp_path).store.last_position()


@pytest.mark.parametrize("ring", ["vault key", "index key"])
def test_a_ring_that_turned_still_passes(store: SqliteStore, ring: str) -> None:
    """The key that a database was made with is recognised in a ring, current or not.

    Unless it is one that does not turn: every address would have another fingerprint.
    """
    first = KeyRing(current="a:b", keys={"a:b": bytes(32)})
    empty = SqliteStore(MEMORY, master=RING, clock=VirtualClock())
    empty.check_ring(ring, first, rotates=True)
    append(empty, ANN, signed_up())
    turned = KeyRing(current="new", keys={"new": bytes(range(32)), **first.keys})
    empty.check_ring(ring, turned, rotates=True)
    with pytest.raises(Unusable, match=f"the {ring} is not the one"):
        empty.check_ring(ring, turned, rotates=False)
    for wrong in ({"new": bytes(32)}, {"a:b": bytes(range(32))}):
        with pytest.raises(Unusable, match=f"the {ring} is not the one"):
            empty.check_ring(ring, KeyRing(current=next(iter(wrong)), keys=wrong), rotates=True)
    empty.close()


KEY: Final = "A" * 43 + "="


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"current":"a"}',
        b'{"current":"a","keys":{}}',
        b'{"current":"a","keys":{"a":"AAAA"}}',
        b'{"current":"a","keys":{"a":"%s"}}' % KEY.replace("=", "").encode(),
        b'{"current":"b","keys":{"a":"%s"}}' % KEY.encode(),
        b'{"current":"a","keys":{"a":"%s","b":"AAAA"}}' % KEY.encode(),
        b'{"current":"a","keys":{"a":"%s"},"more":1}' % KEY.encode(),
        '{"current":"a","keys":{"a":"é"}}'.encode(),
        b'{"current":"a","keys":{"a":7}}',
    ],
)
def test_a_damaged_key_file_is_not_touched(tmp_path: Path, content: bytes) -> None:
    """A file that is no ring is refused without being quoted, and not written over."""
    path = tmp_path / "ring.json"
    path.write_bytes(content)
    for may_make in (True, False):
        with pytest.raises(Unusable, match=r"the key file .* is (damaged|no ring)") as refused:
            open_ring(path, may_make=may_make)

        assert refused.value.__cause__ is None

    assert content == path.read_bytes()


@unhurried
@given(content=st.binary())
def test_any_bytes_are_a_ring_or_refused(content: bytes, tmp_path_factory: Any) -> None:
    """Whatever is in a key file, nothing but the promised error comes of it."""
    path = tmp_path_factory.mktemp("ring") / "ring.json"
    path.write_bytes(content)
    with pytest.raises(Unusable):
        open_ring(path, may_make=True)


def test_a_ring_in_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """A place where no key can be made, and one that is no file, are named."""
    (tmp_path / "keys").touch()
    with pytest.raises(Unusable, match=r"cannot be (made|read)"):
        open_ring(tmp_path / "keys" / "ring.json", may_make=True)
    with pytest.raises(Unusable, match="cannot be read: Is a directory"):
        open_ring(tmp_path, may_make=True)


def test_a_full_disk_makes_no_half_key(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    """A key file is there whole or not at all, and nothing is left beside it."""
    path = tmp_path / "keys" / "ring.json"
    full_disk(10)
    with pytest.raises(Unavailable, match="cannot be made: File too large"):
        open_ring(path, may_make=True)
    full_disk(-1)
    left = list(path.parent.iterdir())
    made = open_ring(path, may_make=True)

    assert [] == left
    assert made == open_ring(path, may_make=False)
    assert 32 == len(made.key)
    assert [path] == list(path.parent.iterdir())


def test_who_comes_second_takes_the_first_ring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that make one key at once get the same: the one that was there first."""
    path = tmp_path / "ring.json"
    first = {"current": "first", "keys": {"first": KEY}}
    link = os.link

    def late(draft: Any, target: Any) -> None:
        path.write_text(json.dumps(first), "utf-8")
        link(draft, target)

    monkeypatch.setattr(os, "link", late)

    assert "first" == open_ring(path, may_make=True).current
    assert [path] == list(tmp_path.iterdir())


# --- errors ---------------------------------------------------------------------------------------


def test_an_error_that_nobody_foresaw_stays_itself() -> None:
    """What is no matter of the file is not called one."""
    for error in (PersistenceError("strange"), sqlite3.ProgrammingError("closed")):
        with pytest.raises(type(error)) as raised, translated("x.db"):
            raise error

        assert error is raised.value


def test_a_repeated_command_says_what_it_did() -> None:
    """The text of the refusal names the events."""
    assert "carried out before: a/1, b/1" == str(CommandRepeated(["a/1", "b/1"]))
