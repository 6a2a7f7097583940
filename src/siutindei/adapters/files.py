"""What every adapter over files shares: errors as the port has them, and durable names."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from siutindei.app.ports import PortError, Unavailable, Unusable

if TYPE_CHECKING:
    from pathlib import Path

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def refusal(text: str, error: OSError) -> PortError:
    """Give the port's error: a full disk passes, everything else needs a person."""
    line = f"{text}: {error.strerror}"
    return Unavailable(line) if error.errno in _FULL else Unusable(line)


def sync_folder(folder: Path) -> None:
    """Put on the disk which names stand in a folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
