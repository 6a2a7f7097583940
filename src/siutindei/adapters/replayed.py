"""The read models of a replay: in a temporary database of SQLite, which is gone afterwards."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters import projections
from siutindei.adapters.codec import decode_document
from siutindei.adapters.sqlite import scratch
from siutindei.adapters.views import SqlViews
from siutindei.app.folding import FOLDS
from siutindei.app.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Recorded, Views

#: The columns that hold a moment, in microseconds.
_MOMENTS: Final = frozenset({"at", "due_at", "issued_at"})


class Replayed:
    """See `ports.ReplayStore`."""

    def __init__(self, cursor: Cursor, names: Sequence[str]) -> None:
        self._cursor = cursor
        self._tables = [cursor.tables[name] for name in names]
        self.categories = frozenset(table.projection.category for table in self._tables)
        self.views: Views = SqlViews(lambda: nullcontext(cursor))

    def project_all(self, events: Sequence[Recorded]) -> None:
        """Bring the read models up to some events, the next of the log."""
        for table in self._tables:
            changes = projections.changes(self._cursor, table, events)
            projections.write(self._cursor, table, changes)

    def digest(self) -> str:
        """Give the SHA-256 of every row, in a fixed order."""
        return projections.digest(self._cursor, [table.projection.name for table in self._tables])

    def rows(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Give the rows of one in the order of its keys; a document as the state that it holds."""
        table = self._cursor.tables[name]
        of = table.projection
        for row in projections.rows(self._cursor, table):
            yield {
                column: _value(of.category, column, value)
                for column, value in zip(of.columns, row, strict=True)
            }


def _value(category: str, column: str, value: Any) -> Any:
    if column == "document":
        return decode_document(type(FOLDS[category](())), value)
    return from_micros(value) if column in _MOMENTS and value is not None else value


@contextmanager
def replayed(names: Sequence[str]) -> Iterator[Replayed]:
    """Give the read models named, empty, for a while."""
    with scratch() as cursor:
        for statement in projections.first_statements():
            cursor.execute(statement)
        yield Replayed(cursor, names)
