"""A copy of a SQLite database that others use meanwhile; complete, sound and new, or not there."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters import projections, sqlite
from siutindei.adapters.files import whole
from siutindei.adapters.postgres import PostgresSchema
from siutindei.adapters.projections import NAMES
from siutindei.adapters.sqlite import MEMORY, SqliteSchema, SqliteStore, prepare
from siutindei.app.ports import Unavailable, Unusable
from tests.contracts import ANN, append, signed_up
from tests.support import RING, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database without an event."""
    path = str(tmp_path / "a.db")
    prepare(path)
    return path


@pytest.fixture
def store(database: str) -> Iterator[SqliteStore]:
    """A store on it."""
    made = opened(database)
    yield made
    made.close()


def opened(database: str) -> SqliteStore:
    """Open a store."""
    return SqliteStore(database, master=RING, clock=VirtualClock())


def test_a_copy_is_a_database(store: SqliteStore, database: str, tmp_path: Path) -> None:
    """It holds everything, is for its owner only, has no other files, and can be worked with."""
    append(store, ANN, *[signed_up()] * 7)
    folder = tmp_path / "out"
    folder.mkdir()
    events = SqliteSchema(database).backup(str(folder / "b.db"))
    names = [entry.name for entry in folder.iterdir()]
    copy = opened(str(folder / "b.db"))
    found = [entry.id for entry in copy.read()]
    append(copy, ANN, signed_up())
    copy.close()

    assert (7, 7, ["b.db"]) == (events, len(found), names)
    assert 0o600 == (folder / "b.db").stat().st_mode & 0o777
    assert found == [entry.id for entry in store.read()]


@pytest.mark.slow
def test_a_copy_is_of_one_moment(
    store: SqliteStore, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writers go on while it is made, it does not begin anew for them, and its read models fit."""
    # A page a step: the copying is much slower than those who write.
    monkeypatch.setattr(sqlite, "_STEP", 1)
    append(store, ANN, *[signed_up(email="x" * 3000)] * 500)
    stop, written = threading.Event(), [0]

    def write() -> None:
        writer = opened(database)
        while not stop.is_set():
            written[0] += 1
            append(writer, f"person-{written[0]}", signed_up(f"{written[0]}"))
        writer.close()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while written[0] < 5:
            stop.wait(0.01)
        before = written[0]
        events = SqliteSchema(database).backup(str(tmp_path / "b.db"))
        meanwhile = written[0] - before
    finally:
        stop.set()
        thread.join()
    copy, memory = (
        opened(str(tmp_path / "b.db")),
        SqliteStore(MEMORY, master=RING, clock=VirtualClock()),
    )
    with memory.writing() as cursor:
        projections.project(cursor, list(copy.read()))

    assert meanwhile > 1
    assert 500 + before - 1 <= events <= 500 + before + 2
    assert copy.digest(tuple(NAMES)) == memory.digest(tuple(NAMES))
    copy.close()
    memory.close()


def test_a_file_that_is_there_stays(database: str, tmp_path: Path) -> None:
    """Neither a file nor one that appears meanwhile is overwritten."""
    path = tmp_path / "b"
    path.write_bytes(b"mine")
    with pytest.raises(Unusable, match="is there already; name another"):
        SqliteSchema(database).backup(str(path))
    path.unlink()
    with pytest.raises(Unusable, match="is there already"), whole(path):
        path.write_bytes(b"mine")

    assert b"mine" == path.read_bytes()
    assert ["a.db", "a.db.lock", "b"] == sorted(entry.name for entry in tmp_path.iterdir())


@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
def test_a_log_of_another_database_is_not_replayed(database: str, tmp_path: Path, end: str) -> None:
    """What lies beside the copy's place would change it when it is opened."""
    (tmp_path / f"b.db{end}").write_bytes(b"old")
    with pytest.raises(Unusable, match=f"b.db{end} is there, and belongs to another database"):
        SqliteSchema(database).backup(str(tmp_path / "b.db"))

    assert not (tmp_path / "b.db").exists()


def test_a_place_that_is_none_is_named(database: str, tmp_path: Path) -> None:
    """A folder that is missing is not made."""
    with pytest.raises(Unusable, match="cannot be written: No such file"):
        SqliteSchema(database).backup(str(tmp_path / "out" / "b.db"))


def test_a_file_system_without_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a memory stick a file has one name; other errors are told."""

    def link(error: int) -> Any:
        def refuse(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        return refuse

    monkeypatch.setattr(os, "link", link(errno.EPERM))
    with whole(tmp_path / "a") as draft:
        draft.write_bytes(b"mine")
    monkeypatch.setattr(os, "link", link(errno.ENOSPC))
    with pytest.raises(Unavailable, match="No space left"), whole(tmp_path / "b"):
        pass

    assert [(tmp_path / "a", b"mine")] == [(p, p.read_bytes()) for p in tmp_path.iterdir()]


def test_nothing_is_not_copied(tmp_path: Path) -> None:
    """A database that was never made is not made for it."""
    with pytest.raises(Unusable, match="there is no database"):
        SqliteSchema(str(tmp_path / "a.db")).backup(str(tmp_path / "b.db"))

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        # A table that has a column less than its rows, and an index over it.
        (
            "UPDATE sqlite_schema SET sql = replace(sql, 'fingerprint TEXT NOT NULL,', '')"
            " WHERE name = 'people_1'",
            "damaged or no database",
        ),
        # An index that nobody knows of any more.
        (
            "DELETE FROM sqlite_schema WHERE name = 'challenges_1_by_time'",
            "not copied: .* is damaged",
        ),
    ],
    ids=["schema", "pages"],
)
def test_damage_is_not_copied(
    store: SqliteStore, database: str, tmp_path: Path, damage: str, why: str
) -> None:
    """A database whose parts contradict each other is told, and there is no copy of it."""
    append(store, ANN, *[signed_up()] * 50)
    store.scrub()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(damage)
        connection.commit()
    with pytest.raises(Unusable, match=why):
        SqliteSchema(database).backup(str(tmp_path / "b.db"))

    assert not (tmp_path / "b.db").exists()


def test_postgresql_has_better_means(tmp_path: Path) -> None:
    """It says which, and where that is told."""
    with pytest.raises(Unusable, match=r"pg_dump; docs/backup\.md says how"):
        PostgresSchema("postgresql://h/x").backup(str(tmp_path / "b.db"))

    assert [] == list(tmp_path.iterdir())
