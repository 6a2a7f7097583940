"""An application in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.app.world import World, make_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return make_world(tmp_path)
