"""The signed log: what was signed can be proved, and what was changed since is found and named."""

from __future__ import annotations

import base64
import json
import tracemalloc
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siutindei.adapters.checkpoints import CheckpointFolder
from siutindei.adapters.keys import KeyRing
from siutindei.adapters.leaves import SqlEventLog
from siutindei.adapters.signing import notary_of_ring
from siutindei.adapters.sqlite import MEMORY, SqliteStore
from siutindei.app.ports import Altered, Kept, Leaf, Unavailable
from siutindei.app.proof import (
    EVERY,
    MOST,
    NotCovered,
    NotDecided,
    Place,
    Proof,
    Verified,
    _hash_of,
)
from siutindei.domain.errors import NotFound
from siutindei.verify_receipt import NotProved, check
from tests.support import RING, VirtualClock, context, make_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siutindei.bootstrap import Services

ORIGIN: Final = "example.com/log"
KEYS: Final = KeyRing(current="b", keys={"b": bytes(32), "a": bytes([1]) * 32})


class Log:
    """A log in memory, whose events are not read, with a folder for its checkpoints."""

    def __init__(self, folder: Path, *, ring: KeyRing = KEYS) -> None:
        self.clock = VirtualClock()
        self.store = SqliteStore(MEMORY, master=RING, clock=self.clock)
        self.folder = folder
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Let a ring sign from now on."""
        self.notary = notary_of_ring(ORIGIN, ring)
        self.proof = Proof(
            store=self.store,
            log=SqlEventLog(self.store),
            checkpoints=CheckpointFolder(self.folder),
            notary=lambda: self.notary,
            clock=self.clock,
        )

    def sql(self, statement: str, *values: object) -> None:
        """Change the database as somebody does who may."""
        with self.store.writing() as cursor:
            cursor.execute(statement, values)

    def tell(self, *positions: int) -> None:
        """Store events that no program can read."""
        for position in positions:
            self.sql(
                "INSERT INTO stored_events (rowid, originator_id, originator_version, topic, state)"
                " VALUES (?, ?, 1, 'told.v1', ?)",
                position,
                f"told-{position}-{position}",
                f'{{"told":{position}}}'.encode(),
            )

    def verify(self) -> Verified:
        """Verify."""
        return self.proof.verify()

    @property
    def named(self) -> list[tuple[str, int | None, int | None]]:
        """What a verification finds: which kind, and at which leaves."""
        return [(one.kind, one.first, one.last) for one in self.verify().findings]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log of eight events with holes between them, signed after the fourth and the eighth."""
    made = Log(tmp_path / "checkpoints")
    with closing(made.store):
        made.tell(1, 2, 5, 6)
        made.proof.checkpoint()
        made.tell(7, 9, 10, 12)
        made.proof.checkpoint()
        yield made


# --- where events stand ---------------------------------------------------------------------------


def test_an_event_has_its_place_in_the_newest_checkpoint(log: Log, tmp_path: Path) -> None:
    """What is newer, or is no event, has none; where nothing was signed nothing has."""
    log.tell(13)
    found = log.proof.covered(["told-5-5/1", "told-12-12/1", "told-13-13/1", "told-99-99/1"])
    alone = Log(tmp_path / "alone")
    with closing(alone.store):
        alone.tell(1)
        assert {} == alone.proof.covered(["told-1-1/1"])

    root = base64.b64encode(log.notary.open(note(log, 2).read_text("utf-8"))[0].root).decode()
    assert {
        "told-5-5/1": Place(index=2, size=8, root=root),
        "told-12-12/1": Place(index=7, size=8, root=root),
    } == found


def test_what_was_changed_has_no_place(log: Log) -> None:
    """An event, or the index, that is not what was signed is said to be that."""
    log.sql("UPDATE stored_events SET topic = 'heard.v1' WHERE rowid = 5")
    with pytest.raises(Altered, match=r"told-5-5/1 \(leaf 2\) is not what was signed"):
        log.proof.covered(["told-5-5/1"])
    assert 1 == len(log.proof.covered(["told-6-6/1"]))
    log.sql("UPDATE leaves SET hash = ? WHERE leaf_index = 0", bytes(32))
    with pytest.raises(Altered, match="the index of leaves is not what was signed"):
        log.proof.covered(["told-6-6/1"])


# --- what is well ---------------------------------------------------------------------------------


def test_a_log_that_nobody_touched_is_what_was_signed(log: Log) -> None:
    """Every event is hashed again; what is newer than the newest checkpoint is counted."""
    log.tell(13, 14)
    found = log.verify()

    assert (True, 10, 2, 8, 2) == (
        *(found.ok, found.checked, found.checkpoints, found.size, found.not_covered),
    )
    assert found.root == log.notary.open(note(log, 2).read_text("utf-8"))[0].root


def test_nothing_is_said_where_nothing_was_signed(tmp_path: Path) -> None:
    """Without a checkpoint no event is covered."""
    made = Log(tmp_path)
    with closing(made.store):
        made.tell(1, 2)
        found = made.verify()

    assert (True, 2, 0, None, 2) == (
        *(found.ok, found.checked, found.size, found.root, found.not_covered),
    )


def test_an_empty_log_can_be_signed(tmp_path: Path) -> None:
    """Its root is that of no leaves, and the log goes on from there."""
    made = Log(tmp_path)
    with closing(made.store):
        empty = made.proof.checkpoint()
        made.tell(1)
        next_one = made.proof.checkpoint()

        assert (0, 1, True) == (empty.checkpoint.size, next_one.checkpoint.size, made.verify().ok)


def test_a_checkpoint_is_taken_once(log: Log) -> None:
    """When nothing happened since, the newest one stays."""
    again = log.proof.checkpoint()
    log.tell(13)
    later = log.proof.checkpoint()

    assert (2, 8, False) == (again.number, again.checkpoint.size, again.is_new)
    assert (3, 9, True) == (later.number, later.checkpoint.size, later.is_new)


def test_a_key_that_signs_no_more_still_says_what_it_signed(log: Log) -> None:
    """A ring keeps its old keys; a checkpoint is checked with the one that signed it."""
    log.use(KeyRing(current="a", keys=KEYS.keys))
    log.tell(13)
    taken = log.proof.checkpoint()

    assert (log.notary.keys[0], 3) == (taken.key, taken.number)
    assert log.verify().ok


def test_progress_is_told(tmp_path: Path) -> None:
    """A long verification says how far it is."""
    made = Log(tmp_path)
    told: list[tuple[int, int]] = []
    with closing(made.store):
        made.tell(*range(1, 1202))
        made.proof.checkpoint(progress=lambda *seen: told.append(seen))
        assert made.verify().ok

    assert [(500, 1201), (1000, 1201), (1201, 1201)] == told


# --- what somebody did to the events --------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "state = X'7b7d'",
        "state = CAST(state AS TEXT)",
        "topic = 'other.v1'",
        "originator_id = 'told-99-99'",
        "originator_version = 2",
        "originator_version = 'x'",
    ],
)
def test_a_changed_column_is_named_by_its_leaf(log: Log, change: str) -> None:
    """Whatever was changed, of whatever type it is now; and no checkpoint is signed over it."""
    log.sql(f"UPDATE stored_events SET {change} WHERE rowid = 6")  # noqa: S608  # our own names

    assert [("changed", 3, 3)] == log.named
    with pytest.raises(Altered, match=r"leaf 3: changed .*no checkpoint is signed"):
        log.proof.checkpoint()


def test_a_moved_event_is_missed_and_found(log: Log) -> None:
    """An event at another position was removed here and inserted there."""
    log.sql("UPDATE stored_events SET rowid = 8 WHERE rowid = 6")

    assert [("removed", 3, 3), ("inserted", 5, 5)] == log.named


def test_two_events_that_changed_places_are_named(log: Log) -> None:
    """Order is a matter of positions, and a position is a part of the leaf."""
    for before, after in ((2, -1), (9, 2), (-1, 9)):
        log.sql("UPDATE stored_events SET rowid = ? WHERE rowid = ?", after, before)

    assert [("changed", 1, 1), ("changed", 5, 5)] == log.named


def test_removed_events_are_named(log: Log) -> None:
    """Neighbours are one finding."""
    log.sql("DELETE FROM stored_events WHERE rowid IN (2, 5, 9)")

    assert [("removed", 1, 2), ("removed", 5, 5)] == log.named


def test_an_inserted_event_is_named(log: Log) -> None:
    """In a hole, or in front of everything."""
    log.tell(3, 4, -5)

    assert [("inserted", 0, 0), ("inserted", 2, 2)] == log.named
    assert [1, 2] == [found.count for found in log.verify().findings]


def test_an_end_that_was_cut_off_is_named(log: Log) -> None:
    """The index still has its leaves."""
    log.sql("DELETE FROM stored_events WHERE rowid >= 10")

    assert [("truncated", 6, 7)] == log.named


def test_a_database_that_is_older_than_its_newest_checkpoint_is_named(log: Log) -> None:
    """As after a restore: verifying and signing say the same."""
    for table, column in (("stored_events", "rowid"), ("leaves", "position")):
        log.sql(f"DELETE FROM {table} WHERE {column} >= 9")  # noqa: S608  # our own names
    said = "the history has 5 events, and the newest checkpoint covers 8: .*older backup"

    assert [("truncated", 4, 7)] == log.named
    with pytest.raises(Altered, match=said):
        log.proof.checkpoint()
    log.clock.at += EVERY * 1e6
    with pytest.raises(Altered, match=said):
        log.proof._take()


def test_an_older_database_that_went_on_is_named(log: Log) -> None:
    """What was restored and grew past the newest checkpoint is another history from there on."""
    for table, column in (("stored_events", "rowid"), ("leaves", "position")):
        log.sql(f"DELETE FROM {table} WHERE {column} >= 9")  # noqa: S608  # our own names
    log.tell(8, 9, 10, 11, 12)

    assert [("altered", 4, 7)] == log.named
    with pytest.raises(Altered, match="does not go on from the newest checkpoint"):
        log.proof._take()
    assert [("altered", 4, 7)] == log.named


def test_what_happens_beyond_the_newest_checkpoint_is_not_covered(log: Log) -> None:
    """It can be changed without a trace: that is what is said of it."""
    log.tell(13)
    log.sql("UPDATE stored_events SET topic = 'other.v1' WHERE rowid = 13")

    assert (True, 1) == (log.verify().ok, log.verify().not_covered)


def test_a_row_of_other_types_is_never_signed(log: Log) -> None:
    """Nothing of ours stored it."""
    log.tell(13)
    log.sql("UPDATE stored_events SET state = 'text' WHERE rowid = 13")

    assert [("changed", 8, 8)] == log.named
    with pytest.raises(Altered, match="position 13 is not of the types"):
        log.proof._take()


# --- what somebody did to the index too -----------------------------------------------------------


def test_a_changed_index_is_told_from_changed_events(log: Log) -> None:
    """The events are still what was signed, the index is not."""
    log.sql("UPDATE leaves SET hash = X'00' WHERE leaf_index = 2")
    log.sql("DELETE FROM leaves WHERE leaf_index = 5")

    assert {"index"} == {kind for kind, *_ in log.named}
    with pytest.raises(Altered, match="the events are what was signed"):
        log.proof.checkpoint()


@pytest.mark.parametrize(
    ("column", "value"), [("hash", "text"), ("hash", 1), ("position", "text"), ("leaf_index", -7)]
)
def test_an_index_of_any_content_is_seen_through(log: Log, column: str, value: object) -> None:
    """SQLite keeps what it is given."""
    log.sql(f"UPDATE leaves SET {column} = ? WHERE leaf_index = 1", value)  # noqa: S608  # our own names

    assert {"index"} == {kind for kind, *_ in log.named}


def test_an_index_that_is_not_there_is_no_trouble(log: Log) -> None:
    """An import has none; the next checkpoint fills it."""
    log.sql("DELETE FROM leaves")
    before = log.named
    log.tell(13)
    taken = log.proof.checkpoint()

    assert ([], 9, []) == (before, taken.checkpoint.size, log.named)


def rehash(log: Log, position: int) -> None:
    """Change an event, and its leaf so that it fits."""
    log.sql("UPDATE stored_events SET topic = 'other.v1' WHERE rowid = ?", position)
    log.sql("DELETE FROM leaves WHERE position >= ?", position)


@pytest.mark.parametrize(("position", "first", "last"), [(2, 0, 3), (9, 4, 7)])
def test_a_change_that_the_index_hides_is_narrowed_down(
    log: Log, position: int, first: int, last: int
) -> None:
    """The checkpoints alone say between which of them it was."""
    rehash(log, position)
    before = log.verify().findings[0]
    with pytest.raises(Altered):
        log.proof._take()
    after = log.verify().findings[0]

    assert ("altered", first, last, last - first + 1) == (
        *(before.kind, before.first, before.last, before.count),
    )
    assert (before.first, before.last) == (after.first, after.last)
    assert (position == 2) == ("up to leaf 7, nothing can be said" in after.why)


def test_an_event_that_was_removed_with_its_leaf_is_named(log: Log) -> None:
    """Leaves have no holes: the number that is missing says which it was."""
    log.tell(13)
    for table, column in (("stored_events", "rowid"), ("leaves", "position")):
        log.sql(f"DELETE FROM {table} WHERE {column} = 6")  # noqa: S608  # our own names

    assert ("removed", 3, 3) in log.named


def test_many_findings_are_counted(tmp_path: Path) -> None:
    """The first hundred are named."""
    made = Log(tmp_path)
    with closing(made.store):
        made.tell(*range(1, 3 * MOST))
        made.proof.checkpoint()
        made.sql("UPDATE stored_events SET topic = 'x' WHERE rowid % 2 = 0")
        found = made.verify()

    assert (MOST, MOST // 2 - 1) == (len(found.findings), found.more)


# --- what somebody did to the checkpoints ---------------------------------------------------------


def note(log: Log, number: int) -> Path:
    """Give the file of a checkpoint."""
    return log.folder / f"{number:010d}.note"


def test_a_checkpoint_that_is_gone_is_missed(log: Log) -> None:
    """They are numbered without a hole."""
    note(log, 1).unlink()

    assert ["checkpoint 1 is not kept any more"] == [found.why for found in log.verify().findings]


def test_a_checkpoint_that_was_changed_is_named(log: Log) -> None:
    """Its signature does not fit; nothing is signed after it."""
    text = note(log, 2).read_text("utf-8")
    note(log, 2).write_text(text.replace("\n8\n", "\n7\n"), "utf-8")
    (found,) = log.verify().findings

    assert ("checkpoint", None, 0) == (found.kind, found.first, found.count)
    assert "checkpoint 2: the signature of example.com/log does not fit" in found.why
    with pytest.raises(Altered, match="does not fit"):
        log.proof._take()


def test_a_checkpoint_of_another_log_is_named(log: Log) -> None:
    """Another key signed it."""
    other = notary_of_ring(ORIGIN, KeyRing(current="x", keys={"x": bytes([9]) * 32}))
    note(log, 3).write_text(other.sign(size=8, root=bytes(32)), "utf-8")

    assert "not signed with a key that is known" in log.verify().findings[0].why


@pytest.mark.parametrize("size", [3, 8])
def test_checkpoints_that_do_not_go_on_from_each_other_are_named(log: Log, size: int) -> None:
    """A smaller one, or another root for the same size."""
    note(log, 3).write_text(log.notary.sign(size=size, root=bytes(32)), "utf-8")

    assert ["checkpoint 3 does not go on from the one before it"] == [
        found.why for found in log.verify().findings
    ]


# --- two at once ----------------------------------------------------------------------------------


class Busy(CheckpointFolder):
    """A folder into which somebody else puts a checkpoint first."""

    def __init__(self, folder: Path, before: Callable[[], object]) -> None:
        super().__init__(folder)
        object.__setattr__(self, "before", [before])

    def put(self, number: int, note: str) -> bool:
        """Let the other one be first, once."""
        waiting: list[Callable[[], object]] = getattr(self, "before")  # noqa: B009
        if waiting:
            waiting.pop()()
        return super().put(number, note)


def test_of_two_checkpoints_at_once_one_is_taken(log: Log) -> None:
    """The second goes on from the first: there is no fork."""
    log.tell(13)
    other = log.proof

    def first() -> None:
        other.checkpoint()
        log.tell(14)

    mine = Proof(
        store=other.store,
        log=other.log,
        checkpoints=Busy(log.folder, first),
        notary=other.notary,
        clock=log.clock,
    )
    taken = mine.checkpoint()

    assert (3, 9, False) == (taken.number, taken.checkpoint.size, taken.is_new)
    assert (True, 3) == (log.verify().ok, log.verify().checkpoints)


class Taken(CheckpointFolder):
    """A folder in which somebody else is always first, and never seen."""

    def put(self, number: int, note: str) -> bool:
        """Say no."""
        return False


def test_a_place_that_takes_no_checkpoint_is_given_up(log: Log) -> None:
    """After some rounds; nothing was signed that is kept."""
    log.tell(13)
    mine = Proof(
        store=log.store,
        log=log.proof.log,
        checkpoints=Taken(log.folder),
        notary=log.proof.notary,
        clock=log.clock,
    )
    with pytest.raises(Unavailable, match="again and again"):
        mine.checkpoint()


def test_what_happens_while_one_verifies_is_no_finding(log: Log) -> None:
    """Others append, and sign it, at any moment of a verification."""

    class Hurried(SqlEventLog):
        """A log to which somebody appends whenever it is asked for something."""

        def last_position(self) -> int:
            found = super().last_position()
            happen()
            return found

        def newest_leaf(self) -> Leaf | None:
            happen()
            return super().newest_leaf()

    class Growing(CheckpointFolder):
        """A folder that grows before and after it is listed."""

        def all(self) -> Iterator[Kept]:
            happen()
            yield from super().all()
            happen()

    mine = log.proof
    positions = iter(range(20, 90))

    def happen() -> None:
        log.tell(next(positions))
        mine._take()

    found = Proof(
        store=log.store,
        log=Hurried(log.store),
        checkpoints=Growing(log.folder),
        notary=mine.notary,
        clock=log.clock,
    ).verify()

    assert (True, ()) == (found.ok, tuple(found.findings))
    assert found.not_covered > 0
    assert log.verify().size > found.checked


def test_one_key_does_not_sign_two_histories(log: Log, tmp_path: Path) -> None:
    """A database beside it, over the same folder, gets no checkpoint."""
    other = Log(log.folder)
    with closing(other.store):
        other.tell(*range(1, 20))
        with pytest.raises(Altered, match="what is stored there is not what was signed"):
            other.proof.checkpoint()


# --- the sweep ------------------------------------------------------------------------------------


def test_a_sweep_takes_a_checkpoint_now_and_then(log: Log) -> None:
    """When some minutes are over and something happened."""
    kept = CheckpointFolder(log.folder).newest()
    assert kept is not None
    log.clock.at = kept.at
    log.tell(13)
    early = log.proof.keep_up()
    log.clock.at += EVERY
    late, again = log.proof.keep_up(), log.proof.keep_up()

    assert [False, True, False] == [early, late, again]


def test_a_sweep_takes_the_first_checkpoint(tmp_path: Path) -> None:
    """Of an empty log it takes none."""
    made = Log(tmp_path)
    with closing(made.store):
        empty = made.proof.keep_up()
        made.tell(1)

        assert [False, True] == [empty, made.proof.keep_up()]


def test_a_sweep_finishes_what_somebody_left(log: Log) -> None:
    """The index was filled, and whoever did it died before they signed."""
    log.tell(13)
    log.proof.log.index_more(_hash_of)
    log.clock.at += EVERY * 1e6

    assert log.proof.keep_up()


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """An application with a ticket that is decided and one that is not."""
    made = make_services(tmp_path)
    for user in ("ann", "bob"):
        made.tickets.submit(
            context(),
            ticket_type="access_request",
            user=user,
            email=f"{user}@example.com",
            body={"organization_name": "Harbour Chess 棋"},
            vouched=True,
        )
    made.tickets.approve(context(), "R00001", by="admin", create_organization=True)
    return made


def test_a_sweep_counts_checkpoints(services: Services) -> None:
    """What is taken, and what could not be; the rest of the sweep goes on."""
    first = services.sweep.run(context())
    (services.settings.home / "checkpoints" / "0000000001.note").write_text("x", "utf-8")
    services.clock.sleep(EVERY.total_seconds() * 1e6)
    second = services.sweep.run(context())

    assert [(1, 0), (0, 1)] == [
        (one.checkpoints, one.checkpoints_refused) for one in (first, second)
    ]
    assert first.due == second.due > 0


# --- receipts -------------------------------------------------------------------------------------


def receipt(services: Services, reference: str) -> dict[str, Any]:
    """Make a receipt."""
    with services.proving() as proof:
        return proof.prove(reference)


def taken(services: Services) -> str:
    """Take a checkpoint, and give the key that signed."""
    with services.proving() as proof:
        return proof.checkpoint().key


@pytest.mark.parametrize("reference", ["R00001", "ticket-R00001/2"])
def test_a_decision_is_proved(services: Services, reference: str) -> None:
    """By its ticket, or as the event that it is."""
    key = taken(services)
    made = receipt(services, reference)
    proved = check(json.dumps(made).encode(), [key])

    assert ("ticket-R00001/2", "ticket.approved.v1", True) == (
        *(proved.event, proved.name, proved.known),
    )
    assert b"Harbour" not in base64.b64decode(made["event"]["state_base64"])


def test_a_receipt_outlives_an_erasure_and_what_comes_after(services: Services) -> None:
    """What is hashed is what is sealed; the log that went on proves it too."""
    key = taken(services)
    before = receipt(services, "ticket-R00001/1")
    services.people.erase(context(), "ann", by="op", reason="asked")
    taken(services)
    after = receipt(services, "ticket-R00001/1")

    assert before["event"] == after["event"]
    assert before["checkpoint"] != after["checkpoint"]
    for one in (before, after):
        assert check(json.dumps(one).encode(), [key]).known


def test_a_ticket_that_is_pending_has_no_decision(services: Services) -> None:
    """Its submission can be proved all the same."""
    taken(services)
    with pytest.raises(NotDecided, match=r"name an event of it, such as ticket-R00002/1"):
        receipt(services, "R00002")

    assert receipt(services, "ticket-R00002/1")


@pytest.mark.parametrize(
    "reference", ["R00009", "x", "ticket-R00001/9", "ticket-R00001/x", f"ticket-R00001/{2**80}"]
)
def test_what_is_not_there_cannot_be_proved(services: Services, reference: str) -> None:
    """No such ticket, no such event."""
    with pytest.raises(NotFound):
        receipt(services, reference)


def test_what_no_checkpoint_covers_cannot_be_proved_yet(services: Services) -> None:
    """It is said what to do: before the first checkpoint, and of what came after it."""
    said = "no checkpoint covers ticket-R00002/[12] yet; take one first: siutindei audit checkpoint"
    with pytest.raises(NotCovered, match=said):
        receipt(services, "ticket-R00002/1")
    taken(services)
    services.tickets.decline(context(), "R00002", by="admin")
    with pytest.raises(NotCovered, match=said):
        receipt(services, "R00002")
    with services.proving() as proof:
        # It is in the index, and whoever put it there signed nothing.
        proof.log.index_more(_hash_of)
        with pytest.raises(NotCovered, match=said):
            proof.prove("R00002")


def test_a_name_that_is_no_text_is_signed_and_not_proved(log: Log) -> None:
    """What is stored counts, whatever it is; a receipt is made of text."""
    log.tell(13)
    log.sql("UPDATE stored_events SET topic = CAST(X'ff' AS TEXT) WHERE rowid = 13")
    log.proof.checkpoint()

    assert log.verify().ok
    with pytest.raises(Altered, match="the stored name of told-13-13/1 is no text"):
        log.proof.prove("told-13-13/1")


def test_an_event_that_was_changed_is_not_proved(services: Services) -> None:
    """A receipt is held against the checkpoint before it is given."""
    taken(services)
    store: Any = services.store
    with store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET state = X'7b7d' WHERE originator_version = 2")
    with pytest.raises(Altered, match=r"ticket-R00001/2 \(leaf \d+\).* is not what was signed"):
        receipt(services, "ticket-R00001/2")


# --- any change of any byte -----------------------------------------------------------------------


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(st.data())
def test_any_byte_of_any_column_is_found(log: Log, data: st.DataObject) -> None:
    """Whichever event it is, its leaf is named; put back, all is well."""
    position = data.draw(st.sampled_from((1, 2, 5, 6, 7, 9, 10, 12)))
    leaf = (1, 2, 5, 6, 7, 9, 10, 12).index(position)
    column = data.draw(st.sampled_from(("originator_id", "originator_version", "topic", "state")))
    with log.store.reading() as cursor:
        cursor.execute(f"SELECT {column} AS value FROM stored_events WHERE rowid = ?", (position,))  # noqa: S608  # our own names
        before = cursor.fetchone()["value"]
    after: object
    if isinstance(before, int):
        after = data.draw(st.integers(-(2**63), 2**63 - 1).filter(lambda found: found != before))
    else:
        stored = before.encode() if isinstance(before, str) else before
        place, bit = data.draw(st.integers(0, len(stored) - 1)), data.draw(st.integers(0, 7))
        changed = bytearray(stored)
        changed[place] ^= 1 << bit
        after = bytes(changed)
    kind = "TEXT" if isinstance(before, str) else ""
    value = f"CAST(? AS {kind})" if kind else "?"
    log.sql(f"UPDATE stored_events SET {column} = {value} WHERE rowid = ?", after, position)  # noqa: S608  # our own names
    found = log.named
    log.sql(f"UPDATE stored_events SET {column} = ? WHERE rowid = ?", before, position)  # noqa: S608  # our own names

    assert [("changed", leaf, leaf)] == found
    assert log.verify().ok


def test_no_part_of_a_receipt_can_be_another(services: Services) -> None:
    """Each element, changed by one character or by one, breaks it."""
    key = taken(services)
    good = receipt(services, "R00001")
    for path in _paths(good):
        bad = json.loads(json.dumps(good))
        place = bad
        for step in path[:-1]:
            place = place[step]
        value = place[path[-1]]
        for other in _others(value):
            place[path[-1]] = other
            with pytest.raises(NotProved):
                check(json.dumps(bad).encode(), [key])


def _paths(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to each text and number of a document."""
    if isinstance(found, dict | list):
        for name in found if isinstance(found, dict) else range(len(found)):
            yield from _paths(found[name], (*path, name))
    else:
        yield path


def _others(value: Any) -> Iterator[Any]:
    if isinstance(value, int):
        yield from (value + 1, value - 1, -value - 1, float(value), str(value), None, True)
        return
    yield from (None, "", value + " ", value + "A", value[1:], [value])
    for place in {0, len(value) // 3, len(value) // 2, len(value) - 2}:
        yield value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_long_log_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Signing, proving and verifying keep some pages, and no log."""

    def most(events: int) -> int:
        made = Log(tmp_path / str(events))
        with closing(made.store):
            with made.store.writing() as cursor:
                cursor.executemany(
                    "INSERT INTO stored_events"
                    " (rowid, originator_id, originator_version, topic, state)"
                    " VALUES (?, 'told-1', ?, 'told.v1', ?)",
                    [(number, number, b"x" * 500) for number in range(1, events + 1)],
                )
            tracemalloc.start()
            made.proof.checkpoint()
            made.proof.prove("told-1/1")
            assert made.verify().ok
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return peak

    assert most(40_000) < 1.5 * most(4_000)
