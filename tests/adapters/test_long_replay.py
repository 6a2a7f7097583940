"""A long history is replayed, tailed and looked at in memory that stays flat."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.entrypoints.commands import environment
from tests.histories import fill

if TYPE_CHECKING:
    from pathlib import Path

#: What memory may grow by after the first tenth, in MiB: less than 100 bytes an event would take.
_GROWTH: Final = 2
_REPLAY: Final = """
import os, sys
from pathlib import Path
from siutindei.bootstrap import build
from siutindei.settings import read_settings

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

marks = []
def progress(done, total):
    if done >= total / 10:
        marks.append(resident())
history = build(read_settings({}, home=Path(sys.argv[1]))).history
replayed = history.replay(progress=progress)
for entry in history.tail(name="ticket.approved"):
    pass
marks.append(resident())
with history.past(projection="notifications") as past:
    for row in past.rows("notifications"):
        pass
marks.append(resident())
print(replayed.events, marks[0], max(marks))
"""


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(30_000, marks=pytest.mark.slow),
        pytest.param(1_000_000, marks=pytest.mark.soak),
    ],
)
def test_memory_stays_flat_however_long_the_history_is(tmp_path: Path, events: int) -> None:
    """A replay of all read models, a filtered tail and a read model's rows."""
    services = build(read_settings({}, home=tmp_path))
    fill(services.store, events)
    services.store.close()
    done = subprocess.run(
        [sys.executable, "-c", _REPLAY, str(tmp_path)],
        capture_output=True,
        check=True,
        env=environment(),
        timeout=600,
    )
    count, first, most = map(float, done.stdout.split())

    assert events <= count
    assert most - first < _GROWTH
