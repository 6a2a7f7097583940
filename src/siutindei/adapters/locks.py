"""A lock between processes, on an empty file that stays."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from siutindei.adapters.files import refusal
from siutindei.app.ports import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS: Final = 30.0
_POLL: Final = 0.02


@contextmanager
def locked(path: Path, *, seconds: float = _SECONDS) -> Iterator[None]:
    """Hold the lock for a block; it is released when the process ends, however it ends.

    Raises:
        Unavailable: another process held it for too long, or the disk is full.
        Unusable: the folder cannot be written, or its file system has no locks.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise refusal(f"{path.parent} cannot be written", error) from error
    try:
        until = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    msg = f"another process holds {path}; try again"
                    raise Unavailable(msg) from error
                time.sleep(_POLL)
            except OSError as error:
                raise refusal(f"{path} cannot be locked", error) from error
        yield
    finally:
        os.close(descriptor)
