"""What a statement is executed with, whatever the database: `?` for values, rows by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from siutindei.adapters.projections import Tables


class Cursor(Protocol):
    """What a statement is executed with; rows give their columns by name."""

    def execute(self, statement: str, values: Sequence[object] = (), /) -> Any:
        """Execute one statement."""

    def executemany(self, statement: str, values: Sequence[Sequence[object]], /) -> Any:
        """Execute one statement for each of several rows of values."""

    def fetchone(self) -> Any:
        """Give the next row, or None."""

    def fetchall(self) -> Any:
        """Give the rows that are left."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""

    @property
    def tables(self) -> Tables:
        """The tables of the read models that serve, as this transaction sees them."""
