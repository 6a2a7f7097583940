"""A home for each test, and the command line on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.entrypoints.commands import Cli
from tests.support import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SIUTINDEI_", "SES_", "NO_COLOR")):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> VirtualClock:
    """Give a clock that stands until the test moves it."""
    return VirtualClock()


@pytest.fixture
def cli(tmp_path: Path, clock: VirtualClock) -> Cli:
    """Give the command line on a fresh home, whose clock is the test's."""
    return Cli(tmp_path / "home", clock=clock)
