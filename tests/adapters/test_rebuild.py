"""Read models made again: beside the live one, under load, killed, compared, switched and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from eventsourcing.persistence import Notification

from siutindei.adapters import projections, read_models
from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.projections import Projection, Table
from siutindei.adapters.read_models import SqlReadModels
from siutindei.adapters.sqlite import SqliteStore, prepare, scratch
from siutindei.app.ports import Unavailable, Unusable
from siutindei.bootstrap import build
from siutindei.domain import ticket
from siutindei.domain.errors import NotFound
from siutindei.domain.personal import of
from siutindei.settings import read_settings
from tests.adapters.busy import ROOT, busy
from tests.contracts import ANN, BOB, append, signed_up, submitted
from tests.histories import fill
from tests.postgres import fresh_database
from tests.support import RING, START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from siutindei.adapters.projections import Row
    from siutindei.adapters.store import SqlStore
    from siutindei.app.ports import Made, Recorded


def quietly(done: int, total: int) -> None:
    """Look at no progress."""


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without an event, of each kind; a file's is its path."""
    if request.param == "sqlite":
        prepare(str(tmp_path / "siutindei.db"))
        yield str(tmp_path / "siutindei.db")
        return
    with fresh_database() as url:
        yield url


def opened(database: str) -> SqlStore:
    """Open a database."""
    if database.startswith("postgresql:"):
        return PostgresStore(database, master=RING, clock=VirtualClock(), lock_seconds=5)
    return SqliteStore(database, master=RING, clock=VirtualClock(), lock_seconds=5)


@pytest.fixture
def store(database: str) -> Iterator[SqlStore]:
    """It, opened."""
    made = opened(database)
    yield made
    made.close()


@pytest.fixture
def models(store: SqlStore) -> SqlReadModels:
    """Its read models."""
    return SqlReadModels(store, scratch)


def execute(store: SqlStore, statement: str) -> None:
    """Do something to the database behind the program's back."""
    with store.writing() as cursor:
        cursor.execute(statement)


def rebuilt(models: SqlReadModels, name: str) -> Made:
    """Make a read model again."""
    return models.rebuild(name, progress=quietly)


def tell(store: SqlStore) -> None:
    """Let a few things happen."""
    append(store, ANN, signed_up())
    append(store, BOB, signed_up("bob"))
    append(store, "ticket-R00001", submitted())
    append(store, "ticket-R00001", ticket.Declined(by=of("e", "e"), reviewer="e", at=START))
    append(store, "ticket-R00002", submitted(2, user="bob"))


# --- rebuild --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", projections.NAMES)
def test_a_read_model_is_made_again_as_it_was(
    store: SqlStore, models: SqlReadModels, name: str
) -> None:
    """The new generation has the rows of the old one, and serves."""
    tell(store)
    before = store.digest([name])
    made = rebuilt(models, name)

    assert (before, before, 0, ()) == (made.digest, made.compared, made.different, made.keys)
    assert (2, True) == (made.generation, made.switched)
    assert before == store.digest([name])
    with store.reading() as cursor:
        assert f"{name}_2" == cursor.tables.names[name]


def test_what_comes_after_goes_into_the_new_one(store: SqlStore, models: SqlReadModels) -> None:
    """Writers write to the generation that serves, and no more to the one before."""
    tell(store)
    rebuilt(models, "people")
    append(store, "person-eve", signed_up("eve"))
    (people,) = [model for model in models.all() if model.name == "people"]

    assert store.views.find_person("eve") is not None
    assert people.live is not None
    assert people.previous is not None
    assert (3, 2, 6) == (people.rows, people.live.generation, people.live.position)
    assert (1, 5, 2) == (
        people.previous.generation,
        people.previous.position,
        people.previous.events,
    )
    with store.reading() as cursor:
        cursor.execute("SELECT count(*) AS n FROM people_1")
        assert 2 == cursor.fetchone()["n"]


@pytest.mark.parametrize(
    ("damage", "keys"),
    [
        ("DELETE FROM people_1 WHERE person = 'ann'", ("ann",)),
        ("UPDATE people_1 SET erased = 1 WHERE person = 'bob'", ("bob",)),
        ("INSERT INTO people_1 VALUES ('a', '', 0, 1)", ("a",)),
        ("INSERT INTO people_1 VALUES ('x', '', 0, 1)", ("x",)),
        ("UPDATE people_1 SET person = 'c' || person", ("ann", "bob", "cann", "cbob")),
        ("DELETE FROM people_1", ("ann", "bob")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_and_mended(
    store: SqlStore, models: SqlReadModels, damage: str, keys: tuple[str, ...]
) -> None:
    """Rows that are not what the history gives are named, and right after a rebuild."""
    tell(store)
    right = store.digest(["people"])
    execute(store, damage)
    found = models.verify("people", progress=quietly)
    made = rebuilt(models, "people")

    assert (len(keys), keys, False) == (found.different, found.keys, found.switched)
    assert (len(keys), keys, True) == (made.different, made.keys, made.switched)
    assert right == made.digest == found.digest == store.digest(["people"])
    assert found.compared == made.compared != right
    assert 0 == models.verify("people", progress=quietly).different


def test_only_a_few_of_many_rows_are_named(store: SqlStore, models: SqlReadModels) -> None:
    """Of many rows that differ, all are counted and ten are named."""
    for number in range(15):
        append(store, f"person-u{number:02}", signed_up(f"u{number:02}"))
    execute(store, "DELETE FROM people_1")
    made = rebuilt(models, "people")

    assert 15 == made.different
    assert tuple(f"u{number:02}" for number in range(10)) == made.keys


def test_an_empty_history_gives_empty_read_models(models: SqlReadModels) -> None:
    """There is nothing to do, and it is done."""
    made = rebuilt(models, "tickets")

    assert (0, 0, 0, 2) == (made.events, made.rows, made.different, made.generation)


def test_a_name_that_there_is_not_is_not_found(models: SqlReadModels) -> None:
    """Each way to make one says so."""
    for work in (models.rebuild, models.revert, models.verify):
        with pytest.raises(NotFound, match="there is no read model 'nix'"):
            work("nix", progress=quietly)


def test_the_generations_that_nobody_needs_go(store: SqlStore, models: SqlReadModels) -> None:
    """The live one and the one before stay; older ones leave the database."""
    tell(store)
    for _ in range(3):
        rebuilt(models, "people")
    with store.reading() as cursor:
        cursor.execute("SELECT generation, state FROM projections WHERE name = 'people'")
        left = sorted(
            tuple(row[name] for name in ("generation", "state")) for row in cursor.fetchall()
        )

    assert [(3, "previous"), (4, "live")] == left
    for statement in ("SELECT 1 FROM people_1", "SELECT 1 FROM people_2"):
        with pytest.raises(Unusable), store.reading() as cursor:
            cursor.execute(statement)


def test_progress_is_told(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step one hears how far it is."""
    monkeypatch.setattr(read_models, "STEP", 2)
    monkeypatch.setattr(read_models, "_FEW", 0)
    tell(store)
    told: list[tuple[int, int]] = []
    for work in (models.rebuild, models.verify):
        work("tickets", progress=lambda *numbers: told.append(numbers))

    assert [(2, 5), (4, 5), (5, 5)] * 2 == told


class Spy:
    """A cursor that notes what it is asked, and finds nothing."""

    def execute(self, statement: str, values: Any = ()) -> None:
        """Note a statement."""
        self.asked = (statement, values)

    def fetchall(self) -> list[Any]:
        """Find nothing."""
        return []


def test_the_log_is_read_along_its_positions(store: SqlStore) -> None:
    """Also on a database that knows nothing of its tables yet: a step costs the same everywhere."""
    fill(store, 5_000)
    spy: Any = Spy()
    store.page(spy, after=1, until=1_001, category="notification")
    statement, values = spy.asked
    explain = "EXPLAIN QUERY PLAN " if isinstance(store, SqliteStore) else "EXPLAIN "
    with store.reading() as cursor:
        cursor.execute(explain + statement, values)
        plan = " ".join(str(tuple(dict(row).values())) for row in cursor.fetchall())

    assert "rowid>" in plan or "stored_events_notification_id_idx" in plan
    assert "pkey" not in plan


def test_holes_of_any_size_are_passed(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions that nothing stands at are not looked at one by one."""
    monkeypatch.setattr(read_models, "STEP", 2)
    tell(store)
    with store.reading() as cursor:
        rows = store.stored_page(cursor, 0, 10)
    with store.writing() as cursor:
        for row in rows:
            store.put(
                cursor,
                Notification(
                    id=row["position"] + 10**15,
                    originator_id=f"{row['originator_id']}b",
                    originator_version=row["originator_version"],
                    topic=row["topic"],
                    state=bytes(row["state"]),
                ),
            )
    told: list[int] = []
    made = models.rebuild("people", progress=lambda done, total: told.append(done))

    assert (4, 10**15 + 5) == (made.events, told[-1])
    assert len(told) < 12
    assert models.verify("people", progress=quietly).different == 0


# --- beside others --------------------------------------------------------------------------------


def test_what_others_write_meanwhile_is_neither_lost_nor_repeated(
    store: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every step of a rebuild somebody else appends; every event is in the new one once."""
    monkeypatch.setattr(read_models, "STEP", 2)
    monkeypatch.setattr(read_models, "_FEW", 1)
    tell(store)
    other = opened(database)
    number = 0

    def write() -> None:
        nonlocal number
        if number < 40:
            number += 1
            append(other, f"person-n{number}", signed_up(f"n{number}"))

    def first_writing(work: Any) -> Any:
        def both(*args: Any, **named: Any) -> Any:
            write()
            return work(*args, **named)

        return both

    for name in ("_begin", "_catch_up", "_advance", "_switch", "_sweep"):
        monkeypatch.setattr(SqlReadModels, name, first_writing(getattr(SqlReadModels, name)))
    models = SqlReadModels(store, scratch)
    made = models.rebuild("people", progress=lambda *_: write())
    other.close()

    assert number > 10
    assert made.compared == made.digest
    assert 2 + number == len(all_rows(store, "people"))
    assert 0 == models.verify("people", progress=quietly).different


def all_rows(store: SqlStore, name: str) -> list[tuple[Any, ...]]:
    """Give the rows of the generation that serves."""
    with store.reading() as cursor:
        return list(projections.rows(cursor, cursor.tables[name]))


def test_a_reader_sees_the_one_or_the_other(
    store: SqlStore, models: SqlReadModels, database: str
) -> None:
    """A transaction that began before the switch goes on with what it saw."""
    tell(store)
    other = opened(database)
    with other.snapshot() as cursor:
        before = cursor.tables.names["people"]
        rebuilt(models, "people")
        append(store, "person-eve", signed_up("eve"))
        seen = len(list(projections.rows(cursor, cursor.tables["people"])))
    with other.reading() as cursor:
        after = cursor.tables.names["people"]
        now = len(list(projections.rows(cursor, cursor.tables["people"])))
    other.close()

    assert ("people_1", 2, "people_2", 3) == (before, seen, after, now)


def test_two_rebuilds_at_once_make_one(store: SqlStore, database: str) -> None:
    """One of them is told to let the other finish; what comes out is right."""
    fill(store, 3_000)

    def work(_: int) -> str:
        mine = opened(database)
        try:
            return "made" if rebuilt(SqlReadModels(mine, scratch), "notifications").switched else ""
        except Unavailable as error:
            return str(error)
        finally:
            mine.close()

    with ThreadPoolExecutor(3) as pool:
        answers = set(pool.map(work, range(3)))

    assert answers <= {"made", "another process makes the read model notifications; let it finish"}
    assert "made" in answers
    found = SqlReadModels(store, scratch).verify("notifications", progress=quietly)
    assert (0, True) == (found.different, found.rows > 500)


def test_a_builder_that_was_overtaken_gives_up(
    store: SqlStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds that somebody else went on with its table touches it no more."""
    tell(store)
    other = opened(database)
    before = SqlReadModels._catch_up

    def overtaken(self: SqlReadModels, *args: Any) -> None:
        monkeypatch.setattr(SqlReadModels, "_catch_up", before)
        rebuilt(SqlReadModels(other, scratch), "people")
        before(self, *args)

    monkeypatch.setattr(SqlReadModels, "_catch_up", overtaken)
    with pytest.raises(Unavailable, match="another process makes the read model people"):
        rebuilt(SqlReadModels(store, scratch), "people")
    other.close()

    assert 2 == len(all_rows(store, "people"))


# --- stopped and gone on with ---------------------------------------------------------------------


class Stopped(Exception):
    """Somebody stopped it."""


def stop_after(steps: int) -> Any:
    """Give a progress that stops the work after some steps."""
    left = steps

    def progress(done: int, total: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Stopped

    return progress


def test_a_rebuild_that_was_stopped_is_gone_on_with(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one serves meanwhile; the next rebuild begins where the last one ended."""
    monkeypatch.setattr(read_models, "STEP", 10)
    fill(store, 500)
    with pytest.raises(Stopped):
        models.rebuild("notifications", progress=stop_after(5))
    (stopped,) = [model for model in models.all() if model.name == "notifications"]
    told: list[int] = []
    made = models.rebuild("notifications", progress=lambda done, total: told.append(done))

    assert stopped.live is not None
    assert stopped.building is not None
    assert (1, 2, 50) == (
        stopped.live.generation,
        stopped.building.generation,
        stopped.building.position,
    )
    assert 60 == told[0]
    assert 2 == made.generation
    assert (0, made.events) == (
        models.verify("notifications", progress=quietly).different,
        sum(entry.stream.startswith("notification-") for entry in store.read()),
    )


# --- going back -----------------------------------------------------------------------------------


def test_one_can_go_back_and_forth(store: SqlStore, models: SqlReadModels) -> None:
    """The generation that served before is brought up to now and serves again."""
    tell(store)
    rebuilt(models, "people")
    append(store, "person-eve", signed_up("eve"))
    back = models.revert("people", progress=quietly)
    append(store, "person-dan", signed_up("dan"))
    forth = models.revert("people", progress=quietly)

    assert (1, 3, 3, True) == (back.generation, back.rows, back.events, back.switched)
    assert (2, 4, 4, True) == (forth.generation, forth.rows, forth.events, forth.switched)
    assert 0 == models.verify("people", progress=quietly).different


def test_without_an_earlier_generation_one_cannot_go_back(models: SqlReadModels) -> None:
    """Before the first rebuild there is none."""
    with pytest.raises(NotFound, match="no earlier generation of the read model 'people'"):
        models.revert("people", progress=quietly)


# --- versions -------------------------------------------------------------------------------------


def _counting_row(row: Row | None, recorded: Recorded) -> Row:
    """Give the rows of version 2: they also count the events."""
    of_before: Mapping[str, Any] = projections.find("people", 1).row(row, recorded)  # type: ignore[union-attr, assignment]
    return {**of_before, "events": 1 if row is None else row["events"] + 1}


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Projection]:
    """A program whose read model of people has a second version."""
    first = projections.find("people", 1)
    assert first is not None
    second = attrs.evolve(
        first, version=2, columns={**first.columns, "events": "INTEGER NOT NULL"}, row=_counting_row
    )
    with monkeypatch.context() as patch:
        patch.setattr(projections, "ALL", (*projections.ALL, second))
        yield second


def test_the_old_version_serves_until_the_new_one_is_complete(
    store: SqlStore, models: SqlReadModels, newer: Projection
) -> None:
    """A program that has a newer version writes and reads the old one, until it has made its own;
    and it can go back.
    """
    tell(store)
    (before,) = [model for model in models.all() if model.name == "people"]
    made = rebuilt(models, "people")
    append(store, ANN, signed_up())
    (after,) = [model for model in models.all() if model.name == "people"]
    counted = [row[-1] for row in all_rows(store, "people")]
    models.revert("people", progress=quietly)
    append(store, "person-eve", signed_up("eve"))

    assert before.live is not None
    assert after.live is not None
    assert (1, 2, 2) == (before.live.version, before.newest, after.live.version)
    # Rows of two versions are not to be compared.
    assert (None, 0) == (made.compared, made.different)
    assert [2, 1] == counted
    assert 3 == len(all_rows(store, "people"))
    assert 4 == len(all_rows(store, "people")[0])
    assert 0 == models.verify("people", progress=quietly).different


def test_what_was_begun_in_another_version_is_begun_again(
    store: SqlStore,
    models: SqlReadModels,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A table that an older program was building is left, and goes."""
    monkeypatch.setattr(read_models, "STEP", 1)
    tell(store)
    with pytest.raises(Stopped):
        models.rebuild("people", progress=stop_after(1))
    request.getfixturevalue("newer")
    made = rebuilt(models, "people")

    assert (3, 2, 2) == (made.generation, made.rows, made.events)


def test_a_version_that_is_not_known_is_refused_and_can_be_replaced(
    store: SqlStore, models: SqlReadModels, request: pytest.FixtureRequest
) -> None:
    """An older program neither reads nor writes what it does not know; a rebuild gives it its own,
    and only the newer program can switch back.
    """
    tell(store)
    execute(store, "UPDATE projections SET version = 7 WHERE name = 'people'")
    words = "the read model people has version 7, which .* install the one that made it"
    for use in (
        lambda: store.views.find_person("ann"),
        lambda: append(store, ANN, signed_up()),
        lambda: models.verify("people", progress=quietly),
    ):
        with pytest.raises(Unusable, match=words):
            use()
    made = rebuilt(models, "people")

    assert (None, 2) == (made.compared, made.rows)
    assert store.views.find_person("ann") is not None
    with pytest.raises(Unusable, match="does not know version 7 of the read model people"):
        models.revert("people", progress=quietly)


def test_a_read_model_of_a_newer_program_keeps_an_older_one_from_writing(store: SqlStore) -> None:
    """An event that an unknown read model would miss is not appended."""
    with store.writing() as cursor:
        projection = attrs.evolve(projections.newest("people"), name="visits")
        cursor.execute(projections.register(Table(projection=projection, generation=1), "live"))
    with pytest.raises(
        Unusable, match=r"read model visits has version 1, which .*install the one that made it"
    ):
        append(store, ANN, signed_up())


def test_a_read_model_that_is_new_in_this_program_is_made(
    store: SqlStore, models: SqlReadModels
) -> None:
    """What an older database does not have is made from its history."""
    tell(store)
    lose(store, "people")
    with pytest.raises(Unusable, match="people are not there; run: siutindei database migrate"):
        store.views.find_person("ann")
    (before,) = [model for model in models.all() if model.name == "people"]
    made = models.complete(progress=quietly)

    assert (None, 0) == (before.live, before.rows)
    assert ["people"] == made
    assert [] == models.complete(progress=quietly)
    assert store.views.find_person("ann") is not None


def lose(store: SqlStore, name: str) -> None:
    """Take a read model away, as if the program that made the database did not have it."""
    store.drop(f"{name}_1")
    with store.writing() as cursor:
        cursor.execute("DELETE FROM projections WHERE name = ?", (name,))


def test_who_waits_for_a_new_read_model_gets_it(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process makes it, one waits; one that never ends is not waited for for ever."""
    tell(store)
    lose(store, "people")
    busy = 3
    before = SqlReadModels._begin

    def begin(self: SqlReadModels, name: str) -> Any:
        nonlocal busy
        busy -= 1
        if busy:
            raise Unavailable("another process makes it")
        return before(self, name)

    monkeypatch.setattr(SqlReadModels, "_begin", begin)
    assert ["people"] == models.complete(progress=quietly)
    lose_again = [model for model in models.all() if model.live is None]
    assert [] == lose_again

    busy = -1
    execute(store, "UPDATE projections SET state = 'dropped' WHERE name = 'people'")
    with pytest.raises(Unavailable, match="another process makes it"):
        models.complete(progress=quietly)


def test_verifying_while_the_version_is_switched_is_for_later(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch, newer: Projection
) -> None:
    """What is checked has to be of one version from beginning to end."""
    tell(store)
    before = SqlReadModels._copy

    def copy(self: SqlReadModels, *args: Any) -> None:
        monkeypatch.setattr(SqlReadModels, "_copy", before)
        rebuilt(self, "people")
        before(self, *args)

    monkeypatch.setattr(SqlReadModels, "_copy", copy)
    with pytest.raises(Unavailable, match="was switched meanwhile"):
        models.verify("people", progress=quietly)


def test_a_table_that_others_took_away_is_for_later(
    store: SqlStore, models: SqlReadModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder that was overtaken until its table was gone may try again."""
    tell(store)
    before = SqlReadModels._compare

    def compare(self: SqlReadModels, *args: Any) -> Any:
        monkeypatch.setattr(SqlReadModels, "_compare", before)
        for _ in range(3):
            rebuilt(self, "people")
        return before(self, *args)

    monkeypatch.setattr(SqlReadModels, "_compare", compare)
    with pytest.raises(Unavailable, match="was switched meanwhile"):
        models.rebuild("people", progress=quietly)
    assert rebuilt(models, "people").switched


def test_a_table_that_is_not_there_is_no_race(store: SqlStore, models: SqlReadModels) -> None:
    """A catalogue that names a table which nobody took away is a damaged database."""
    tell(store)
    rebuilt(models, "people")
    (people,) = [model for model in models.all() if model.name == "people"]
    assert people.previous is not None
    execute(store, f"DROP TABLE people_{people.previous.generation}")
    with pytest.raises(Unusable):
        models.revert("people", progress=quietly)


# --- under load -----------------------------------------------------------------------------------


def rebuild_command(home: Path, database: str) -> subprocess.Popen[str]:
    """Start `projection rebuild notifications` in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "siutindei.entrypoints.cli", "--home", str(home), "--json"),
            *("projection", "rebuild", "notifications"),
        ],
        cwd=ROOT,
        env={**os.environ, "SIUTINDEI_DATABASE": database},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def installed(kind: str, home: Path) -> Iterator[tuple[str, Any]]:
    """Give the address of an empty database, and the application on it."""
    with ExitStack() as stack:
        url = f"sqlite:///{home}/siutindei.db"
        if kind == "postgres":
            url = stack.enter_context(fresh_database())
        services = build(read_settings({"SIUTINDEI_DATABASE": url}, home=home))
        stack.callback(services.store.close)
        yield url, services


@pytest.mark.slow
@pytest.mark.parametrize(
    "events", [pytest.param(20_000), pytest.param(1_000_000, marks=pytest.mark.soak)]
)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_rebuild_under_load_loses_and_repeats_nothing(
    tmp_path: Path, kind: str, events: int
) -> None:
    """While two processes write, a rebuild is killed and gone on with; it compares equal, every
    event is in it once, and nobody who wrote was refused.
    """
    with installed(kind, tmp_path) as (url, services):
        before = fill(services.store, events)
        for name in projections.NAMES:
            rebuilt(services.read_models, name)
        with busy(tmp_path, database=url) as written:
            killed = rebuild_command(tmp_path, url)
            while (found := building(services)) is None or found.events < events // 20:
                assert killed.poll() is None
                time.sleep(0.001)
            killed.send_signal(signal.SIGKILL)
            killed.communicate()
            done = rebuild_command(tmp_path, url)
            out, err = done.communicate(timeout=900)
        made = json.loads(out or "{}")
        again = services.history.replay(projection="notifications")
        different = {
            name: services.read_models.verify(name, progress=quietly).different
            for name in projections.NAMES
        }
        digest = services.store.digest(["notifications"])
        submitted = sum(entry.stream.startswith("ticket-") for entry in services.store.read())

    assert (0, "", -signal.SIGKILL) == (done.returncode, err, killed.returncode)
    assert (True, 0, made["digest"]) == (made["switched"], made["different"], made["compared"])
    assert found.generation == made["generation"]
    assert dict.fromkeys(projections.NAMES, 0) == different
    assert again.digest == digest
    assert [{"tickets", "slowest"}] * 2 == [set(writer) for writer in written]
    assert submitted == sum(writer["tickets"] for writer in written) + before


def building(services: Any) -> Any:
    """Give the generation of the notifications that is being made."""
    return next(m.building for m in services.read_models.all() if m.name == "notifications")
