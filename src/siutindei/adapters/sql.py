"""What a statement is executed with, whatever the database: `?` for values, rows by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Cursor(Protocol):
    """What a statement is executed with; rows give their columns by name."""

    def execute(self, statement: str, values: Sequence[object] = (), /) -> Any:
        """Execute one statement."""

    def fetchone(self) -> Any:
        """Give the next row, or None."""

    def fetchall(self) -> Any:
        """Give the rows that are left."""
