"""Read models made again while the system runs: beside the live one, compared, switched.

Building goes in steps, each a transaction that says how far it came, so what was killed is gone on
with. Events are read, and rows worked out, before the transaction that writes them begins: on
SQLite that one keeps writers waiting. Nobody but the builder writes to a table that is being built,
and a builder that finds that somebody else did gives up.

The comparison is exact and keeps nobody waiting. One transaction holds a moment still, the new
table is brought up to that moment and no further, and both are read at leisure. What came later
follows, the last of it under the write lock, and there the catalogue is switched. Whoever reads
finds out in each transaction which table serves, and so sees the one or the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.adapters import projections
from siutindei.adapters.projections import Projection, Table
from siutindei.adapters.sql import Cursor
from siutindei.adapters.store import SqlStore
from siutindei.app.ports import Generation, Made, ReadModel, Unavailable, Unusable
from siutindei.domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siutindei.app.ports import Progress, Recorded

    Reading = Callable[[], AbstractContextManager[Cursor]]

#: How many positions are one step.
STEP: Final = 1000
#: When no more events than this are left, they are left to the end.
_FEW: Final = 50
#: How often the builder runs after the writers before it makes them wait for what is left.
_ROUNDS: Final = 20
#: How often, and how long, one waits for a read model that somebody else makes.
_TURNS: Final = 100
_TURN_SECONDS: Final = 0.3
#: How many rows that differ are named.
_NAMED: Final = 10

State = Literal["live", "building", "previous", "dropped"]


@attrs.define
class _Draft:
    """A table that is being made, and how far it is."""

    table: Table
    position: int = 0
    events: int = 0


@attrs.frozen
class SqlReadModels:
    """See `ports.ReadModels`.

    Attributes:
        store: the store that they are in.
        scratch: gives a cursor on an empty database of SQLite that is gone afterwards.
    """

    store: SqlStore
    scratch: Callable[[], AbstractContextManager[Cursor]]

    def all(self) -> Sequence[ReadModel]:
        """List them."""
        with self.store.reading() as cursor:
            return [self._model(cursor, name) for name in projections.NAMES]

    def _model(self, cursor: Cursor, name: str) -> ReadModel:
        live, rows = _generation(cursor, name, "live"), 0
        if live is not None:
            cursor.execute(f"SELECT count(*) AS n FROM {name}_{live.generation}")
            rows = int(cursor.fetchone()["n"])
            live = attrs.evolve(live, position=self.store.head(cursor))
        return ReadModel(
            name=name,
            newest=projections.newest(name).version,
            live=live,
            rows=rows,
            building=_generation(cursor, name, "building"),
            previous=_generation(cursor, name, "previous"),
        )

    def complete(self, *, progress: Progress) -> Sequence[str]:
        """Make those that are not there yet, or wait until somebody else has made them."""
        made = []
        for name in self._missing():
            for turn in range(_TURNS):
                try:
                    self.rebuild(name, progress=progress)
                    made.append(name)
                except Unavailable:
                    if turn == _TURNS - 1:
                        raise
                    self.store.clock.sleep(_TURN_SECONDS)
                if name not in self._missing():
                    break
        return made

    def _missing(self) -> list[str]:
        with self.store.reading() as cursor:
            cursor.execute("SELECT name FROM projections WHERE state = 'live'")
            live = {row["name"] for row in cursor.fetchall()}
        return [name for name in projections.NAMES if name not in live]

    # --- in the database, beside the live one -----------------------------------------------------

    def rebuild(self, name: str, *, progress: Progress) -> Made:
        """Make one again beside the live one, compare, and switch."""
        _check(name)
        self._sweep(name)
        draft = self._begin(name)
        with self._kept(draft.table):
            self._catch_up(draft, progress)
            made = self._compare(draft, progress)
            self.store.analyze(draft.table.name)
            self._catch_up(draft, progress)
            self._switch(draft)
        self._sweep(name)
        return attrs.evolve(made, events=draft.events, switched=True)

    @contextmanager
    def _kept(self, table: Table) -> Iterator[None]:
        """Tell a table that somebody else took away from one that should be there."""
        try:
            yield
        except Unusable as error:
            name = table.projection.name
            with self.store.reading() as cursor:
                cursor.execute(
                    "SELECT 1 FROM projections"
                    " WHERE name = ? AND generation = ? AND state <> 'dropped'",
                    (name, table.generation),
                )
                if cursor.fetchone() is not None:
                    raise
            raise _switched(name) from error

    def _compare(self, draft: _Draft, progress: Progress) -> Made:
        """Compare a table with the live one at one moment, if that is of the same version."""
        with self.store.snapshot() as moment:
            live = _generation(moment, draft.table.projection.name, "live")
            if live is not None and live.version == draft.table.projection.version:
                self._advance(draft, until=self.store.head(moment), progress=progress)
                table = attrs.evolve(draft.table, generation=live.generation)
                others = projections.rows(moment, table)
                with self.store.reading() as cursor:
                    return _compared(draft, projections.rows(cursor, draft.table), others)
        # No moment has to be held for it.
        self._advance(draft, until=self.store.last_position(), progress=progress)
        with self.store.reading() as cursor:
            return _compared(draft, projections.rows(cursor, draft.table), None)

    def revert(self, name: str, *, progress: Progress) -> Made:
        """Bring the one that served before up to now, and switch back to it."""
        _check(name)
        with self.store.reading() as cursor:
            previous = _generation(cursor, name, "previous")
        if previous is None:
            raise NotFound("earlier generation of the read model", name)
        table = Table(
            projection=_projection(name, previous.version), generation=previous.generation
        )
        draft = _Draft(table, previous.position, previous.events)
        with self._kept(table):
            self._catch_up(draft, progress)
            self._switch(draft)
            with self.store.reading() as cursor:
                made = _compared(draft, projections.rows(cursor, table), None)
        return attrs.evolve(made, switched=True)

    def _begin(self, name: str) -> _Draft:
        """Go on with what an earlier builder left, or begin."""
        projection = projections.newest(name)
        with self.store.writing() as cursor:
            found = _generation(cursor, name, "building")
            if found is not None and found.version == projection.version:
                table = Table(projection=projection, generation=found.generation)
                return _Draft(table, found.position, found.events)
            if found is not None:
                _move(cursor, name, found.generation, "dropped")
            cursor.execute(
                "SELECT coalesce(max(generation), 0) + 1 AS n FROM projections WHERE name = ?",
                (name,),
            )
            table = Table(projection=projection, generation=int(cursor.fetchone()["n"]))
            self.store.create(cursor, table, like=_serving(cursor, name))
            cursor.execute(projections.register(table, "building"))
        return _Draft(table)

    def _catch_up(self, draft: _Draft, progress: Progress) -> None:
        """Come close to the newest event, which writers move on meanwhile."""
        for _ in range(_ROUNDS):
            head = self.store.last_position()
            if head - draft.position <= _FEW:
                return
            self._advance(draft, until=head, progress=progress)

    def _advance(self, draft: _Draft, *, until: int, progress: Progress) -> None:
        """Bring a table up to a position, step by step."""
        while draft.position < until:
            with self.store.reading() as cursor:
                events, reached = self._step(cursor, draft, until)
                changes = projections.changes(cursor, draft.table, events)
            with self.store.building() as cursor:
                _hold(cursor, draft, reached, len(events))
                projections.write(cursor, draft.table, changes)
            draft.position, draft.events = reached, draft.events + len(events)
            progress(reached, until)

    def _step(self, cursor: Cursor, draft: _Draft, until: int) -> tuple[Sequence[Recorded], int]:
        """Give the next events, and the position that is reached with them."""
        reached = min(draft.position + STEP, until)
        category = draft.table.projection.category
        events = self.store.page(cursor, after=draft.position, until=reached, category=category)
        if not events and reached < until:
            # There may be a hole, of any size.
            reached = min(self.store.next_position(cursor, reached) - 1, until)
        return events, reached

    def _switch(self, draft: _Draft) -> None:
        """Do what is left under the write lock, and let the table serve."""
        name, generation = draft.table.projection.name, draft.table.generation
        with self.store.writing() as cursor:
            head = self.store.head(cursor)
            rest = attrs.evolve(draft)
            while rest.position < head:
                events, rest.position = self._step(cursor, rest, head)
                rest.events += len(events)
                projections.write(
                    cursor, draft.table, projections.changes(cursor, draft.table, events)
                )
            _hold(cursor, draft, head, rest.events - draft.events)
            live = _generation(cursor, name, "live")
            previous = _generation(cursor, name, "previous")
            # There is one of each state: each makes room for the next.
            _move(cursor, name, generation, "dropped")
            if previous is not None:
                _move(cursor, name, previous.generation, "dropped")
            if live is not None:
                _move(cursor, name, live.generation, "previous")
                # It was kept up until now, with the very same events.
                cursor.execute(
                    "UPDATE projections SET position = ?, events = ?"
                    " WHERE name = ? AND generation = ?",
                    (head, rest.events, name, live.generation),
                )
            _move(cursor, name, generation, "live")
        draft.position, draft.events = head, rest.events

    def _sweep(self, name: str) -> None:
        """Take away the tables that nothing leads to any more; what cannot go now goes later."""
        with self.store.reading() as cursor:
            cursor.execute(
                "SELECT generation FROM projections WHERE name = ? AND state = 'dropped'", (name,)
            )
            dropped = [int(row["generation"]) for row in cursor.fetchall()]
        with suppress(Unavailable):
            for generation in dropped:
                self.store.drop(f"{name}_{generation}")
                with self.store.building() as cursor:
                    cursor.execute(
                        "DELETE FROM projections WHERE name = ? AND generation = ?",
                        (name, generation),
                    )

    # --- outside the database ---------------------------------------------------------------------

    def verify(self, name: str, *, progress: Progress) -> Made:
        """Make one again outside the database, and compare it with the live one."""
        _check(name)
        with self.store.reading() as cursor:
            draft = _Draft(cursor.tables[name])
        with self.scratch() as scratch:
            for statement in draft.table.statements:
                scratch.execute(statement)
            # Most of it page by page: a moment that is held still for long is a burden.
            self._copy(draft, scratch, self.store.reading, self.store.last_position(), progress)
            with self.store.snapshot() as moment:
                live = moment.tables[name]
                if live.projection is not draft.table.projection:
                    raise _switched(name)
                self._copy(
                    draft, scratch, lambda: nullcontext(moment), self.store.head(moment), progress
                )
                made = _compared(
                    draft,
                    projections.rows(scratch, draft.table),
                    projections.rows(moment, live),
                )
        return attrs.evolve(made, generation=live.generation)

    def _copy(
        self, draft: _Draft, scratch: Cursor, reading: Reading, until: int, progress: Progress
    ) -> None:
        while draft.position < until:
            with reading() as cursor:
                events, reached = self._step(cursor, draft, until)
            projections.write(
                scratch, draft.table, projections.changes(scratch, draft.table, events)
            )
            draft.position, draft.events = reached, draft.events + len(events)
            progress(reached, until)


# --- the catalogue of generations -----------------------------------------------------------------


def _switched(name: str) -> Unavailable:
    return Unavailable(f"the read model {name} was switched meanwhile; try again")


def _check(name: str) -> None:
    if name not in projections.NAMES:
        raise NotFound("read model", name)


def _projection(name: str, version: int) -> Projection:
    found = projections.find(name, version)
    if found is None:
        raise Unusable(
            f"this program does not know version {version} of the read model {name}; "
            "switch back with the version of the program that made it"
        )
    return found


def _serving(cursor: Cursor, name: str) -> str | None:
    """Name the table that serves, or for a read model that is new one of the others."""
    cursor.execute(
        "SELECT name, generation FROM projections WHERE state = 'live'"
        " ORDER BY CASE WHEN name = ? THEN 0 ELSE 1 END, name LIMIT 1",
        (name,),
    )
    row = cursor.fetchone()
    return None if row is None else f"{row['name']}_{row['generation']}"


def _generation(cursor: Cursor, name: str, state: State) -> Generation | None:
    cursor.execute(
        "SELECT generation, version, position, events FROM projections"
        " WHERE name = ? AND state = ?",
        (name, state),
    )
    row = cursor.fetchone()
    if row is None:
        return None
    return Generation(
        generation=row["generation"],
        version=row["version"],
        position=row["position"],
        events=row["events"],
    )


def _move(cursor: Cursor, name: str, generation: int, state: State) -> None:
    """Let a generation have another state."""
    cursor.execute(
        "UPDATE projections SET state = ? WHERE name = ? AND generation = ?",
        (state, name, generation),
    )


def _hold(cursor: Cursor, draft: _Draft, position: int, events: int) -> None:
    """Write down how far a table is.

    Raises:
        Unavailable: somebody else brought it somewhere else, or switched it.
    """
    cursor.execute(
        "UPDATE projections SET position = ?, events = events + ?"
        " WHERE name = ? AND generation = ? AND position = ?"
        " AND state IN ('building', 'previous')",
        (position, events, draft.table.projection.name, draft.table.generation, draft.position),
    )
    if cursor.rowcount != 1:
        msg = f"another process makes the read model {draft.table.projection.name}; let it finish"
        raise Unavailable(msg)


# --- comparing ------------------------------------------------------------------------------------


class _Digest:
    """Rows on their way, counted and digested."""

    def __init__(self, name: str, rows: Iterator[tuple[Any, ...]]) -> None:
        self._name = name
        self._rows = rows
        self._hash = sha256()
        self.count = 0

    def next(self) -> tuple[Any, ...] | None:
        """Give the next row, None at the end."""
        row = next(self._rows, None)
        if row is not None:
            self._hash.update(projections.as_bytes(self._name, row))
            self.count += 1
        return row

    @property
    def text(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()


def _compared(
    draft: _Draft,
    rows: Iterator[tuple[Any, ...]],
    others: Iterator[tuple[Any, ...]] | None,
) -> Made:
    """Read a table to its end, and another one beside it, both in the order of their keys."""
    name = draft.table.projection.name
    mine, theirs = _Digest(name, rows), _Digest(name, iter(()) if others is None else others)
    different, keys = 0, []
    one, other = mine.next(), theirs.next()
    while one is not None or other is not None:
        is_mine = other is None or (one is not None and one[0] <= other[0])
        is_theirs = one is None or (other is not None and other[0] <= one[0])
        if one != other:
            different += 1
            found: Any = one if is_mine else other
            keys.append(str(found[0]))
            del keys[_NAMED:]
        one = mine.next() if is_mine else one
        other = theirs.next() if is_theirs else other
    return Made(
        name=name,
        generation=draft.table.generation,
        events=draft.events,
        rows=mine.count,
        digest=mine.text,
        compared=None if others is None else theirs.text,
        different=0 if others is None else different,
        keys=() if others is None else tuple(keys),
        switched=False,
    )
