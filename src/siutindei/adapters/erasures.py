"""The list of erasures: JSON lines in a file beside the database, never rewritten."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import msgspec

from siutindei.adapters.locks import locked
from siutindei.app.ports import Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class _Line(msgspec.Struct):
    user: str
    at: str


@attrs.frozen
class ErasureFile:
    """See `ports.ErasureList`."""

    path: Path

    def add(self, user: str, *, at: datetime) -> None:
        """Write one down for good."""
        line = msgspec.json.encode(_Line(user=user, at=at.isoformat())) + b"\n"
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "ab") as file:
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            msg = f"{self.path} cannot be written: {error.strerror}; nothing was erased"
            raise Unavailable(msg) from error

    def users(self) -> Sequence[str]:
        """List who was erased, without repeats."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}"
            raise Unusable(msg) from error
        # A line that a full disk cut short was refused when it was written: it counts for nothing.
        lines = [line for line in data.split(b"\n")[:-1] if line.endswith(b"}")]
        return list(dict.fromkeys(msgspec.json.decode(line, type=_Line).user for line in lines))
