"""The recorder under the store, held to the suites that `eventsourcing` ships for recorders.

Its suite for aggregate recorders does not apply: it expects `insert_events` to give no positions.
Its subscriptions are not offered by any SQLite recorder, and nothing here uses them.
"""

from __future__ import annotations

import tempfile
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
    RecorderTestCase,
)

from siutindei.adapters.postgres import Datastore as PostgresDatastore
from siutindei.adapters.postgres import Recorder as PostgresRecorder
from siutindei.adapters.sqlite import MEMORY, Datastore, Recorder, prepare
from tests.postgres import fresh_database

if TYPE_CHECKING:
    from uuid import UUID


class _Ours(RecorderTestCase):
    def new_originator_id(self) -> UUID | str:
        """Name a stream as we do, in text."""
        return f"person-{uuid.uuid4()}"

    def recorder(self, database: str) -> Recorder:
        """Open a recorder that the test closes."""
        datastore = Datastore(database)
        self.close_when_quiet(datastore)
        return Recorder(datastore)

    def close_when_quiet(self, datastore: Datastore | PostgresDatastore) -> None:
        """Close it at the end of the test, when nobody reads from it any more.

        The suite tells its readers to stop and does not wait for them; closing an SQLite connection
        that another thread executes on ends the process.
        """
        before = set(threading.enumerate())
        self.addCleanup(datastore.close)
        self.addCleanup(self.wait_for_readers, before)

    def wait_for_readers(self, before: set[threading.Thread]) -> None:
        """Wait until every reader that the test started has stopped."""
        readers = [
            thread
            for thread in set(threading.enumerate()) - before
            if "read_continuously" in thread.name
        ]
        for thread in readers:
            thread.join(timeout=60)

        assert [] == [thread for thread in readers if thread.is_alive()]

    def on_disk(self) -> Recorder:
        """Make a recorder over a new file."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = str(Path(folder.name, "siutindei.db"))
        prepare(database)
        return self.recorder(database)

    def in_memory(self) -> Recorder:
        """Make a recorder over memory."""
        recorder = self.recorder(MEMORY)
        recorder.create_table()
        return recorder


@pytest.mark.slow
class TestOnDisk(_Ours, ApplicationRecorderTestCase[Recorder]):
    """A file."""

    def create_recorder(self) -> Recorder:
        """Make the recorder."""
        return self.on_disk()


@pytest.mark.slow
class TestInMemory(_Ours, ApplicationRecorderTestCase[Recorder]):
    """Memory."""

    def create_recorder(self) -> Recorder:
        """Make the recorder."""
        return self.in_memory()


class _OnPostgres(_Ours):
    def create_recorder(self) -> PostgresRecorder:
        """Open a fresh database."""
        database = fresh_database()
        url = database.__enter__()
        self.addCleanup(database.__exit__, None, None, None)
        datastore = PostgresDatastore(url)
        self.close_when_quiet(datastore)
        return PostgresRecorder(datastore)


@pytest.mark.slow
class TestOnPostgres(_OnPostgres, ApplicationRecorderTestCase[PostgresRecorder]):
    """PostgreSQL."""


class TestPositionsOnPostgres(_OnPostgres, NonInterleavingNotificationIDsBaseCase):
    """PostgreSQL: what one transaction appends has positions without a gap."""


class TestPositionsOnDisk(_Ours, NonInterleavingNotificationIDsBaseCase):
    """A file: what one transaction appends has positions without a gap."""

    def create_recorder(self) -> Recorder:
        """Make the recorder."""
        return self.on_disk()


class TestPositionsInMemory(_Ours, NonInterleavingNotificationIDsBaseCase):
    """Memory: what one transaction appends has positions without a gap."""

    def create_recorder(self) -> Recorder:
        """Make the recorder."""
        return self.in_memory()
