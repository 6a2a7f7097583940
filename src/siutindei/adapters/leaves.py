"""The log as it is stored, and the index of its leaves: see `ports.EventLog`.

Positions may have holes; leaves have none. The index is filled when a checkpoint is taken, a part
at a time: whoever appends events does not wait for it, and nobody waits for all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.store import SqlStore
from siutindei.app.ports import Leaf, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from siutindei.adapters.sql import Cursor

TABLE: Final = (
    "CREATE TABLE leaves (leaf_index INTEGER PRIMARY KEY, position INTEGER NOT NULL UNIQUE,"
    " hash BLOB NOT NULL)"
)
_LEAVES: Final = "SELECT leaf_index, position, hash FROM leaves"
_PAGE: Final = 1000
#: No position and no index is below it, whatever somebody put into a table.
_LEAST: Final = -(2**63)


@attrs.frozen
class SqlEventLog:
    """See `ports.EventLog`."""

    store: SqlStore

    def last_position(self) -> int:
        """Give the position of the newest event."""
        return self.store.last_position()

    def rows(self, *, until: int) -> Iterator[Row]:
        """Give every event up to a position."""
        start = _LEAST
        while True:
            with self.store.reading() as cursor:
                found = self._page(cursor, start, until)
            yield from (_row(row) for row in found)
            if len(found) < _PAGE:
                return
            start = found[-1]["position"] + 1

    def _page(self, cursor: Cursor, start: int, until: int) -> Sequence[Any]:
        position = self.store.position
        cursor.execute(
            f"SELECT {self.store.bare_columns} FROM stored_events"
            f" WHERE {position} >= ? AND {position} <= ? ORDER BY {position} LIMIT ?",
            (start, until, _PAGE),
        )
        rows: Sequence[Any] = cursor.fetchall()
        return rows

    def row(self, stream: str, version: int) -> Row | None:
        """Find an event."""
        with self.store.reading() as cursor:
            cursor.execute(
                f"SELECT {self.store.bare_columns} FROM stored_events"
                " WHERE originator_id = ? AND originator_version = ?",
                (stream, version),
            )
            found = cursor.fetchone()
        return None if found is None else _row(found)

    def leaves(self, *, until: int) -> Iterator[Leaf]:
        """Give the leaves below an index."""
        start = _LEAST
        while True:
            with self.store.reading() as cursor:
                cursor.execute(
                    f"{_LEAVES} WHERE leaf_index >= ? AND leaf_index < ?"
                    " ORDER BY leaf_index LIMIT ?",
                    (start, until, _PAGE),
                )
                found = cursor.fetchall()
            yield from (_leaf(row) for row in found)
            if len(found) < _PAGE:
                return
            start = found[-1]["leaf_index"] + 1

    def newest_leaf(self) -> Leaf | None:
        """Give the last leaf."""
        with self.store.reading() as cursor:
            return _newest(cursor)

    def leaf_at(self, position: int) -> Leaf | None:
        """Find the leaf of an event."""
        with self.store.reading() as cursor:
            cursor.execute(f"{_LEAVES} WHERE position = ?", (position,))
            found = cursor.fetchone()
        return None if found is None else _leaf(found)

    def index_more(self, hashed: Callable[[Row], bytes]) -> int:
        """Put the next events into the index."""
        with self.store.writing() as cursor:
            newest = _newest(cursor)
            start, index = (
                (_LEAST, 0) if newest is None else (newest.position + 1, newest.index + 1)
            )
            rows = [_row(row) for row in self._page(cursor, start, -_LEAST - 1)]
            if rows:
                cursor.executemany(
                    "INSERT INTO leaves (leaf_index, position, hash) VALUES (?, ?, ?)",
                    [
                        (number, row.position, hashed(row))
                        for number, row in enumerate(rows, start=index)
                    ],
                )
        return len(rows)


def _newest(cursor: Cursor) -> Leaf | None:
    cursor.execute(f"{_LEAVES} ORDER BY leaf_index DESC LIMIT 1")
    found = cursor.fetchone()
    return None if found is None else _leaf(found)


def _row(row: Any) -> Row:
    return Row(
        position=row["position"],
        version=row["originator_version"],
        stream=_bytes(row["originator_id"]),
        name=_bytes(row["topic"]),
        state=_bytes(row["state"]),
        is_sound=bool(row["is_sound"]),
    )


def _leaf(row: Any) -> Leaf:
    # SQLite keeps what it is given, whatever the column says.
    position, stored = row["position"], row["hash"]
    return Leaf(
        row["leaf_index"],
        position if isinstance(position, int) else _LEAST,
        b"" if isinstance(stored, str | int | float) else bytes(stored),
    )


def _bytes(stored: str | bytes) -> bytes:
    return stored.encode() if isinstance(stored, str) else bytes(stored)
