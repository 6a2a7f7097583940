"""The store on SQLite, in a file and in memory: what its ports promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siutindei.adapters.sqlite import MEMORY, SqliteStore, prepare
from tests.contracts import EventStoreContract, VaultContract
from tests.support import RING, VirtualClock

if TYPE_CHECKING:
    from pathlib import Path


class _OnDisk:
    def make(self, folder: Path, clock: VirtualClock) -> SqliteStore:
        """Make a file."""
        database = str(folder / "siutindei.db")
        prepare(database)
        return SqliteStore(database, master=RING, clock=clock)


class _InMemory:
    def make(self, folder: Path, clock: VirtualClock) -> SqliteStore:
        """Make nothing on the disk."""
        return SqliteStore(MEMORY, master=RING, clock=clock)


class TestEventStoreOnDisk(_OnDisk, EventStoreContract):
    """A file keeps the history."""


class TestEventStoreInMemory(_InMemory, EventStoreContract):
    """Memory keeps the history of a replay, a demonstration and a test."""


class TestVaultOnDisk(_OnDisk, VaultContract):
    """A file keeps the keys."""


class TestVaultInMemory(_InMemory, VaultContract):
    """Memory keeps the keys."""
