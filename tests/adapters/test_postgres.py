"""The store on PostgreSQL: what its ports promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters.postgres import PostgresStore
from tests.contracts import EventStoreContract, VaultContract
from tests.postgres import fresh_database
from tests.support import RING, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _OnPostgres:
    @pytest.fixture(autouse=True)
    def url(self) -> Iterator[str]:
        """A database without an event."""
        with fresh_database() as url:
            self.address = url
            yield url

    def make(self, folder: Path, clock: VirtualClock) -> Any:
        """Open the database."""
        return PostgresStore(self.address, master=RING, clock=clock)


class TestEventStoreOnPostgres(_OnPostgres, EventStoreContract):
    """PostgreSQL keeps the history."""


class TestVaultOnPostgres(_OnPostgres, VaultContract):
    """PostgreSQL keeps the keys."""
