"""What the read models hold is pinned by version; a database of the first schema is taken on."""

from __future__ import annotations

import sqlite3
from contextlib import ExitStack, closing
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import pytest
from eventsourcing.persistence import Notification

from siutindei.adapters import projections
from siutindei.adapters.codec import EventMapper
from siutindei.adapters.postgres import PostgresSchema, PostgresStore
from siutindei.adapters.projections import Table
from siutindei.adapters.read_models import SqlReadModels
from siutindei.adapters.sqlite import SqliteSchema, SqliteStore, prepare, scratch
from siutindei.app.ports import Unusable
from tests.golden.samples import FOLDER, STREAMS
from tests.histories import fill
from tests.postgres import execute, fresh_database
from tests.support import RING, VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

    from siutindei.adapters.projections import Projection
    from siutindei.adapters.store import SqlStore
    from siutindei.app.ports import Recorded

# --- what each version holds ----------------------------------------------------------------------

#: A life of each aggregate, as golden files tell it.
LIVES: Final = (
    ("person.signed_up.v1",),
    ("person.signed_up.v1", "person.address_changed.v1", "person.address_proved.v1"),
    ("person.signed_up.v1", "person.address_proved.v2--token", "person.erased.v1"),
    ("person.erased.v1", "person.address_proved.v2"),
    ("challenge.issued.v1", "challenge.missed.v1", "challenge.closed.v1"),
    ("challenge.issued.v1--unknown-user", "challenge.passed.v1"),
    ("challenge.limit_reached.v1",),
    ("ticket.submitted.v1",),
    ("ticket.submitted.v1--feedback", "ticket.approved.v1"),
    ("ticket.submitted.v1--least", "ticket.declined.v1"),
    ("ticket.approved.v1--least",),
    ("notification.requested.v1",),
    (
        *("notification.requested.v1", "notification.attempt_started.v1", "notification.failed.v1"),
        *("notification.attempt_started.v1--newer-template", "notification.outcome_unknown.v1"),
    ),
    (
        *("notification.requested.v1--support", "notification.attempt_started.v1"),
        *("notification.accepted.v1", "notification.delivered.v1", "notification.bounced.v1"),
        *("notification.delayed.v1", "notification.complained.v1"),
    ),
    ("notification.requested.v1", "notification.deferred.v1", "notification.withheld.v1"),
    ("notification.requested.v1", "notification.refused.v1", "notification.dead_lettered.v1"),
    (
        *("notification.requested.v1", "notification.dead_lettered.v1"),
        *("notification.redriven.v1", "notification.discarded.v1"),
    ),
    ("notification.accepted.v1",),
    ("grant.requested.v1",),
    ("grant.requested.v1", "grant.attempt_started.v1", "grant.failed.v1"),
    ("grant.requested.v1--least", "grant.attempt_started.v1", "grant.carried_out.v1"),
    ("grant.requested.v1", "grant.dead_lettered.v1", "grant.redriven.v1", "grant.withheld.v1"),
    ("grant.requested.v1", "grant.dead_lettered.v1", "grant.discarded.v1"),
    ("grant.carried_out.v1",),
    ("suppression.suppressed.v1", "suppression.revealed.v1"),
    ("suppression.soft_bounced.v1", "suppression.suppressed.v1--person", "suppression.lifted.v1"),
    ("lane.halted.v1", "lane.probed.v1", "lane.resumed.v1"),
    ("lane.resumed.v1--person", "lane.halted.v1--person"),
    ("report.parked.v1", "report.parked.v1--least"),
    ("report.parked.v1--least", "report.applied.v1", "report.parked.v1"),
    ("report.parked.v1--least",),
    ("report.applied.v1",),
    ("access.opened.v1", "access.opened.v1"),
)

#: Digests of what each version of each read model holds at the end of each of these lives. One that
#: changes is a new version: leave this line, and add another one.
PINNED: Final = {
    ("tickets", 1): "020c434fd8a216e438b92fdb698052ed",
    ("pending", 1): "3f953c3d8b5b3fe687240a3f1d3d2616",
    ("pending", 2): "82e66a63428f3ffe98855ee0ac92b3e2",
    ("audit_logs", 1): "972c82059c7d5582de9e1d3d170115f3",
    ("people", 1): "cd02b9b64bf5d22c5c244b12789e026b",
    ("challenges", 1): "128e6623f227319ebc533e2b34eada88",
    ("notifications", 1): "e605fc4b2ce7a8b238567d8a82620e0b",
    ("grants", 1): "7910bc81b18e142fc5b2b92f29cd2179",
    ("messages", 1): "937b4c75d9ccad1a3d424fca9fff64dc",
    ("suppressions", 1): "da2f29ced3e4805f617e9d620b968de4",
    ("lanes", 1): "4bec3cf85695d2942ecfa36eba99c015",
    ("sends", 1): "486df72da81fa260d4fbe47399c84147",
    ("reports", 1): "e627b6a98362465c79b0d42c8cb84eef",
    ("accesses", 1): "d4aaf20005550bc7f55c41ec879055ad",
}


def life(names: tuple[str, ...]) -> list[Recorded]:
    """Give the events of some golden files as those of one stream."""
    category = names[0].partition(".")[0]
    (stream,) = [text for module, text in STREAMS.items() if module.CATEGORY == category]
    mapper = EventMapper()
    return [
        mapper.to_domain_event(
            Notification(
                id=position + 10,
                originator_id=stream,
                originator_version=position,
                topic=name.partition("--")[0],
                state=(FOLDER / f"{name}.json").read_bytes(),
            )
        )
        for position, name in enumerate(names, start=1)
    ]


def digest(of: Projection) -> str:
    """Digest what a projection makes of every life, each in a table of its own."""
    found = sha256(repr((dict(of.columns), of.constraints, dict(of.indexes))).encode())
    for number, names in enumerate(LIVES):
        with scratch() as cursor:
            table = Table(projection=of, generation=1)
            for statement in table.statements:
                cursor.execute(statement)
            for recorded in life(names):
                # One at a time, as it happens, and the same when they come together.
                projections.write(cursor, table, projections.changes(cursor, table, [recorded]))
            one_by_one = list(projections.rows(cursor, table))
            cursor.execute(f"DELETE FROM {table.name}")  # noqa: S608  # our own name
            together = projections.changes(cursor, table, life(names))
            projections.write(cursor, table, together)

            assert one_by_one == list(projections.rows(cursor, table)), names
        for row in one_by_one:
            found.update(projections.as_bytes(f"{number}", row))
    return found.hexdigest()[:32]


@pytest.mark.parametrize("of", projections.ALL, ids=lambda of: f"{of.name}-{of.version}")
def test_what_a_version_holds_does_not_change(of: Projection) -> None:
    """A read model that holds something else, or has other columns, is a new version of it."""
    assert PINNED[of.name, of.version] == digest(of)


def test_every_golden_event_is_in_a_life() -> None:
    """No kind of event is left out of what pins the read models."""
    told = {name.partition("--")[0] for names in LIVES for name in names}

    assert {path.stem.partition("--")[0] for path in FOLDER.glob("*.v*.json")} == told


def test_every_version_has_a_number_of_its_own() -> None:
    """The versions of a read model are counted up, and the newest is the last."""
    for name in projections.NAMES:
        versions = [of.version for of in projections.ALL if of.name == name]

        assert sorted(set(versions)) == versions
        assert versions[-1] == projections.newest(name).version
    assert projections.find("people", 99) is None


# --- the first schema -----------------------------------------------------------------------------

#: The read models as the first version of the schema had them.
FIRST: Final = (
    "CREATE TABLE tickets (reference TEXT PRIMARY KEY, uuid TEXT NOT NULL UNIQUE,"
    " ticket_type TEXT NOT NULL, number INTEGER NOT NULL, submitter TEXT NOT NULL,"
    " status TEXT NOT NULL, position INTEGER NOT NULL, stars INTEGER NOT NULL,"
    " document BLOB NOT NULL)",
    "CREATE INDEX tickets_by_number ON tickets (ticket_type, number)",
    "CREATE INDEX tickets_by_position ON tickets (position)",
    "CREATE INDEX tickets_by_submitter ON tickets (submitter, ticket_type)",
    "CREATE INDEX tickets_by_status ON tickets (status, ticket_type)",
    "CREATE TABLE pending (submitter TEXT NOT NULL, ticket_type TEXT NOT NULL,"
    " reference TEXT NOT NULL UNIQUE, PRIMARY KEY (submitter, ticket_type))",
    "CREATE TABLE people (person TEXT PRIMARY KEY, fingerprint TEXT NOT NULL,"
    " erased INTEGER NOT NULL, position INTEGER NOT NULL)",
    "CREATE INDEX people_by_fingerprint ON people (fingerprint)",
    "CREATE TABLE codes (challenge TEXT PRIMARY KEY, client TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, proved INTEGER NOT NULL, issued_at INTEGER NOT NULL)",
    "CREATE INDEX codes_by_time ON codes (issued_at)",
    "CREATE INDEX codes_by_fingerprint ON codes (fingerprint, issued_at)",
    "CREATE TABLE notifications (id TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT NOT NULL,"
    " ticket TEXT, person TEXT, due_at INTEGER, position INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE INDEX notifications_by_due ON notifications (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX notifications_by_ticket ON notifications (ticket)",
    "CREATE INDEX notifications_by_person ON notifications (person)",
    "CREATE INDEX notifications_by_status ON notifications (status)",
    "CREATE TABLE grants (id TEXT PRIMARY KEY, status TEXT NOT NULL, ticket TEXT NOT NULL,"
    " due_at INTEGER, position INTEGER NOT NULL, document BLOB NOT NULL)",
    "CREATE INDEX grants_by_due ON grants (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX grants_by_ticket ON grants (ticket)",
)


#: The read models that it had; those of them that still have one version are the same now.
KEPT: Final = ("tickets", "pending", "people", "challenges", "notifications", "grants")
SAME: Final = tuple(name for name in KEPT if projections.newest(name).version == 1)
#: The read models that came later.
LATER: Final = ("audit_logs", "messages", "suppressions", "lanes", "sends", "reports", "accesses")


def as_first(dialect: Any = str) -> list[str]:
    """Give the statements that make a database of the first schema of one of today's."""
    made = [str(dialect(statement)) for statement in FIRST]
    made += ["DROP TABLE leaves", *(f"DROP TABLE {name}_1" for name in LATER)]
    for name in KEPT:
        first = projections.find(name, 1)
        assert first is not None
        columns = ", ".join(first.columns)
        before = "codes" if name == "challenges" else name
        copied = f"({columns}) SELECT {columns} FROM {name}_1"  # noqa: S608  # our own names
        made += [f"INSERT INTO {before} {copied}", f"DROP TABLE {name}_1"]
    return [*made, "DROP TABLE projections"]


def told(store: SqlStore) -> None:
    """Tell a story, so that the read models hold something."""
    fill(store, 37)
    for name in projections.NAMES:
        SqlReadModels(store, scratch).rebuild(name, progress=lambda *_: None)
        with store.writing() as cursor:
            # The generation is called the first, as in a database that was never rebuilt.
            cursor.execute("DELETE FROM projections WHERE name = ? AND generation = 1", (name,))
            cursor.execute("UPDATE projections SET generation = 1 WHERE name = ?", (name,))
            cursor.execute(f"DROP TABLE {name}_1")
            cursor.execute(f"ALTER TABLE {name}_2 RENAME TO {name}_1")


def test_a_file_of_the_first_schema_is_taken_on(tmp_path: Path) -> None:
    """Opening it brings it up to this version; its read models go on, and can be made again."""
    path = str(tmp_path / "siutindei.db")
    prepare(path)
    store = SqliteStore(path, master=RING, clock=VirtualClock())
    told(store)
    before = store.digest(SAME)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (*as_first(), "PRAGMA user_version = 1"):
            connection.execute(statement)
    versions = [SqliteSchema(path).version(), prepare(path), SqliteSchema(path).version()]
    store = SqliteStore(path, master=RING, clock=VirtualClock())
    models = SqlReadModels(store, scratch)
    completed = models.complete(progress=lambda *_: None)
    after = store.digest(SAME)
    made = models.rebuild("challenges", progress=lambda *_: None)
    newer = models.rebuild("pending", progress=lambda *_: None)
    store.close()

    assert [1, False, 3] == versions
    assert (before, set(LATER)) == (after, set(completed))
    assert (0, 2) == (made.different, made.generation)
    assert (None, 2) == (newer.compared, newer.generation)


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """All of it happens, or nothing."""
    path = str(tmp_path / "siutindei.db")
    prepare(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in (*as_first(), "DROP TABLE grants", "PRAGMA user_version = 1"):
            connection.execute(statement)
        with pytest.raises(Unusable, match="does not have the tables that it should"):
            prepare(path)

        assert 1 == SqliteSchema(path).version()
        assert (0,) == connection.execute("SELECT count(*) FROM people").fetchone()


def test_a_database_of_the_first_schema_is_migrated(tmp_path: Path) -> None:
    """On PostgreSQL the command does the same; before it, the database is refused."""
    from siutindei.adapters.postgres import _dialect

    with ExitStack() as stack:
        url = stack.enter_context(fresh_database())
        name = url.partition("@/")[2].partition("?")[0]
        store = PostgresStore(url, master=RING, clock=VirtualClock())
        stack.callback(store.close)
        told(store)
        before = store.digest(SAME)
        for statement in (*as_first(_dialect), "UPDATE siutindei_schema SET version = 1"):
            execute(statement, name)
        schema = PostgresSchema(url)
        with pytest.raises(Unusable, match="run: siutindei database migrate"):
            schema.prepare()
        with pytest.raises(Unusable, match="run: siutindei database migrate"):
            store.views.tickets()
        versions = [schema.migrate(), schema.version(), schema.migrate()]
        new = SqlReadModels(store, scratch).complete(progress=lambda *_: None)
        after = store.digest(SAME)
        made = SqlReadModels(store, scratch).rebuild("challenges", progress=lambda *_: None)

    assert [1, 3, 3] == versions
    assert before == after
    assert set(LATER) == set(new)
    assert (0, 2) == (made.different, made.generation)
