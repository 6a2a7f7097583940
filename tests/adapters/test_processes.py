"""Many processes at once, and processes that die: nothing is lost, doubled, or left half-done."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.directory import JsonDirectory
from siutindei.adapters.erasures import ErasureFile
from siutindei.adapters.keys import open_ring
from siutindei.adapters.postgres import PostgresSchema
from siutindei.adapters.sqlite import SqliteStore, prepare
from siutindei.app.ports import CommandRepeated
from siutindei.bootstrap import build
from siutindei.domain import notification, ticket
from siutindei.settings import read_settings
from tests.adapters import fleet
from tests.contracts import ANN, BOB, append, signed_up
from tests.postgres import fresh_database
from tests.support import RING, VirtualClock, context, drain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
CROWD: Final = 100


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A fresh database."""
    path = str(tmp_path / "siutindei.db")
    prepare(path)
    return path


@pytest.fixture
def store(database: str) -> Iterator[SqliteStore]:
    """The fresh database, opened."""
    opened = SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=5)
    yield opened
    opened.close()


# --- a crowd --------------------------------------------------------------------------------------


def test_a_crowd_makes_one_database(tmp_path: Path) -> None:
    """A hundred processes that need a database that is not there make it once, without an error."""
    home = tmp_path / "home"

    assert [True] * CROWD == fleet.run("prepare", home, processes=CROWD)
    assert {"siutindei.db", "siutindei.db.lock"} == {path.name for path in home.iterdir()}


def test_a_crowd_submits_on_the_first_day(tmp_path: Path) -> None:
    """A hundred tickets at once in a fresh home get a hundred numbers, and one notice each."""
    answers = fleet.run("submit", tmp_path, processes=CROWD)
    expected = [f"R{number:05d}" for number in range(1, CROWD + 1)]
    services = build(read_settings({}, home=tmp_path), clock=VirtualClock())
    notices = [entry.requested for entry in services.store.views.notifications()]
    log = list(services.store.read())
    pending = services.store.views.pending_count()
    services.store.close()

    assert expected == sorted(answers, key=str)
    assert Counter(expected) == Counter(entry.ticket for entry in notices if entry is not None)
    assert {"ticket_received"} == {entry.kind for entry in notices if entry is not None}
    assert CROWD == pending
    # Submitted, proved, requested: each command's events stand together.
    assert [1] * (3 * CROWD - 1) == [b.position - a.position for a, b in pairwise(log)]
    assert CROWD == len({entry.context.command_id for entry in log})
    assert all(
        len({entry.context.command_id for entry in log[start : start + 3]}) == 1
        for start in range(0, len(log), 3)
    )


def test_a_crowd_submits_on_postgresql(tmp_path: Path) -> None:
    """A hundred tickets at once get a hundred numbers, and after a drain there is one mail each."""
    with fresh_database() as url:
        answers = fleet.run("submit", tmp_path, processes=CROWD, database=url)
        services = build(read_settings({"SIUTINDEI_DATABASE": url}, home=tmp_path))
        notices = [entry.requested for entry in services.store.views.notifications()]
        commands = [entry.context.command_id for entry in services.store.read()]
        done = drain(services)
        services.store.close()
    expected = [f"R{number:05d}" for number in range(1, CROWD + 1)]

    assert expected == sorted(answers, key=str)
    assert Counter(expected) == Counter(entry.ticket for entry in notices if entry is not None)
    # Submitted, proved, requested: each command's events stand together.
    assert CROWD == len(list(groupby(commands)))
    assert ["sent"] * CROWD == done
    assert CROWD == len(list((tmp_path / "mail" / "new").iterdir()))


def test_a_crowd_migrates_one_database() -> None:
    """Migrations that are run at the same moment make the tables once, without an error."""
    with fresh_database(migrated=False) as url:
        with ThreadPoolExecutor(8) as pool:
            before = list(pool.map(lambda _: PostgresSchema(url).migrate(), range(8)))
        found = PostgresSchema(url).version()

    assert [0, *([PostgresSchema.newest] * 7)] == sorted(before)
    assert PostgresSchema.newest == found


def test_a_crowd_repeats_one_command(tmp_path: Path) -> None:
    """A hundred processes that carry out one command get the answer of the one that did it."""
    answers = fleet.run("repeat", tmp_path, processes=CROWD)
    services = build(read_settings({}, home=tmp_path), clock=VirtualClock())
    names = [entry.name for entry in services.store.read()]
    services.store.close()

    assert ["R00001"] * CROWD == answers
    assert [
        "ticket.submitted.v1",
        "person.address_proved.v2",
        "notification.requested.v1",
    ] == names


def test_a_crowd_makes_one_key(tmp_path: Path) -> None:
    """A hundred processes that need a key that is not there all get the same one."""
    answers = fleet.run("ring", tmp_path, processes=CROWD)
    ring = open_ring(tmp_path / "keys" / "ring.json", may_make=False)

    assert [[ring.current, ring.key.hex()]] * CROWD == answers
    assert ["ring.json"] == [path.name for path in (tmp_path / "keys").iterdir()]


def test_a_crowd_erases(tmp_path: Path) -> None:
    """A hundred erasures at once are all on the list."""
    answers = fleet.run("erase", tmp_path, processes=CROWD)

    assert [None] * CROWD == answers
    assert {f"user-{number}" for number in range(CROWD)} == {
        erasure.user for erasure in ErasureFile(tmp_path / "erasures.jsonl").all()
    }


def test_a_crowd_makes_grants(tmp_path: Path) -> None:
    """A hundred organizations that are made at once are all there, and the shared one is once."""
    answers = fleet.run("grant", tmp_path, processes=CROWD)
    directory = JsonDirectory(tmp_path / "directory.json")

    assert CROWD + 1 == max(answers)
    assert CROWD + 1 == directory.managed_by("ann")


# --- two at a time --------------------------------------------------------------------------------


def test_nobody_commits_between_a_read_and_a_write(store: SqliteStore, database: str) -> None:
    """Who reads in order to write has its turn: another writer waits until it is over."""
    other = SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=0.05)
    with store.transaction(context()) as tx:
        before = tx.load(ANN)
        with pytest.raises(Exception, match="locked by another process"):
            append(other, ANN, signed_up())
        tx.append(ANN, len(before), [signed_up()])
    append(other, ANN, signed_up())
    other.close()

    assert [1, 2] == [entry.version for entry in store.load(ANN)]


def test_a_snapshot_stands_still(store: SqliteStore, database: str) -> None:
    """A log that is read page by page goes on behind what others append meanwhile."""
    append(store, ANN, *[signed_up()] * 700)
    log = store.read()
    first = next(log)
    other = SqliteStore(database, master=RING, clock=VirtualClock())
    append(other, BOB, signed_up("bob"))
    other.close()

    assert (1, 701) == (first.position, list(log)[-1].position)


def test_positions_stay_when_the_file_is_rewritten(store: SqliteStore, database: str) -> None:
    """Rewriting a file with holes of every kind moves no event."""
    for number in range(20):
        append(store, f"person-u{number}", *[signed_up(f"u{number}")] * 2)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("DELETE FROM stored_events WHERE rowid IN (1, 2, 7, 20, 39)")
    connection.execute("DELETE FROM vault_keys WHERE rowid % 2")
    connection.execute("DELETE FROM people_1 WHERE rowid % 3")
    connection.execute("DELETE FROM commands WHERE rowid % 5")
    connection.close()
    before = [(entry.position, entry.id) for entry in store.read()]
    store.scrub()
    append(store, BOB, signed_up("bob"))

    assert 35 == len(before)
    assert [*before, (41, f"{BOB}/1")] == [(entry.position, entry.id) for entry in store.read()]


# --- processes that die ---------------------------------------------------------------------------

DYING: Final = """
import os, signal, sys
from siutindei.adapters import sqlite
from siutindei.adapters.postgres import PostgresSchema
from siutindei.adapters.sqlite import SqliteStore, prepare
from tests.contracts import ANN, BOB, signed_up
from tests.postgres import fresh_database
from tests.support import RING, VirtualClock, context, drain

database, moment = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "schema":
    sqlite._TABLES = (*sqlite._TABLES[:3], "SELECT die()")
    connect = sqlite.connect
    def connecting(*args, **options):
        connection = connect(*args, **options)
        connection.create_function("die", 0, die)
        return connection
    sqlite.connect = connecting
    prepare(database)
store = SqliteStore(database, master=RING, clock=VirtualClock())
with store.transaction(context("c1")) as tx:
    tx.append(ANN, 0, [signed_up()] * 50)
    if moment == "middle":
        die()
    tx.append(BOB, 0, [signed_up("bob")])
    if moment == "before the commit":
        die()
if moment == "before the answer":
    die()
print("done")
"""


def die(database: str, moment: str) -> None:
    """Let a process carry out the command `c1` and be killed at a moment."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, database, moment],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
        cwd=fleet.ROOT,
    )

    assert (-signal.SIGKILL, "", "") == (done.returncode, done.stdout, done.stderr)


def carry_out(store: SqliteStore) -> Any:
    """Carry out the command `c1`."""
    with store.transaction(context("c1")) as tx:
        tx.append(ANN, 0, [signed_up()] * 50)
        return tx.append(BOB, 0, [signed_up("bob")])


@pytest.mark.parametrize("moment", ["middle", "before the commit"])
def test_who_is_killed_before_the_commit_did_nothing(
    store: SqliteStore, database: str, moment: str
) -> None:
    """A transaction whose process is killed leaves nothing, and can be carried out again."""
    die(database, moment)
    before = store.last_position(), store.views.find_person("ann")
    carry_out(store)

    assert (0, None) == before
    assert 51 == store.last_position()


def test_who_is_killed_before_the_answer_did_it(store: SqliteStore, database: str) -> None:
    """A command whose process is killed after the commit is found done, and not done again."""
    die(database, "before the answer")
    with pytest.raises(CommandRepeated) as repeated:
        carry_out(store)

    assert (*(f"{ANN}/{version}" for version in range(1, 51)), f"{BOB}/1") == (
        repeated.value.event_ids
    )
    assert 51 == store.last_position()


def test_who_is_killed_making_the_schema_made_nothing(tmp_path: Path) -> None:
    """A database whose maker is killed in the middle is not there, and the next one makes it."""
    database = tmp_path / "siutindei.db"
    die(str(database), "schema")
    half = database.exists()

    assert not half
    assert prepare(str(database))
    assert {"siutindei.db", "siutindei.db.lock"} == {path.name for path in tmp_path.iterdir()}


def test_a_crowd_of_outcomes_is_recorded_whole(tmp_path: Path) -> None:
    """What a hundred processes wrote is what a replay of it gives."""
    fleet.run("submit", tmp_path, processes=20)
    services = build(read_settings({}, home=tmp_path), clock=VirtualClock())
    live = services.store.digest(services.history.projections)
    replayed = services.history.replay()
    states = {
        notification.notification_id(entry.id, "ticket_received", about=entry.event.id)
        for entry in services.store.read(names=("ticket.submitted.v1",))
        if isinstance(entry.event, ticket.Submitted)
    }
    found = {
        entry.requested.id
        for entry in services.store.views.notifications()
        if entry.requested is not None
    }
    services.store.close()

    assert live == replayed.digest
    assert states == found
    assert 60 == replayed.events


def test_the_answers_of_a_fleet_are_its_errors_too(tmp_path: Path) -> None:
    """A process of the fleet that fails is seen."""
    (tmp_path / "keys").touch()
    (answer,) = fleet.run("ring", tmp_path, processes=1)

    assert "Unusable: the key file" in json.dumps(answer)
