"""The list of erasures: JSON lines beside the database, each there for good or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import msgspec

from siutindei.adapters.files import sync_folder
from siutindei.adapters.locks import locked
from siutindei.app.ports import ListedErasure, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class _Line(msgspec.Struct, omit_defaults=True):
    user: str
    at: str
    #: Older lines have none.
    fingerprints: tuple[str, ...] = ()


@attrs.frozen
class ErasureFile:
    """See `ports.ErasureList`."""

    path: Path

    def add(self, erasure: ListedErasure, *, at: datetime) -> None:
        """Write one down for good."""
        entry = _Line(erasure.user, at.isoformat(), erasure.fingerprints)
        line = msgspec.json.encode(entry) + b"\n"
        try:
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
                with os.fdopen(descriptor, "r+b") as file:
                    before = _whole(file.read())
                    file.truncate(len(before))
                    file.seek(0, os.SEEK_END)
                    if before and not before.endswith(b"\n"):
                        line = b"\n" + line
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
                sync_folder(self.path.parent)
        except OSError as error:
            msg = f"{self.path} cannot be written: {error.strerror}; nothing was erased"
            raise Unavailable(msg) from error

    def all(self) -> Sequence[ListedErasure]:
        """List who was erased, each once, in the order of the first lines about them."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}"
            raise Unusable(msg) from error
        lines = [line for line in _whole(data).split(b"\n") if line.strip()]
        try:
            entries = [msgspec.json.decode(line, type=_Line) for line in lines]
        except (msgspec.MsgspecError, UnicodeDecodeError):
            msg = f"{self.path} has a line that is no erasure; put it back from a backup"
            raise Unusable(msg) from None
        found: dict[str, dict[str, None]] = {}
        for entry in entries:
            found.setdefault(entry.user, {}).update(dict.fromkeys(entry.fingerprints))
        return [ListedErasure(user, tuple(prints)) for user, prints in found.items()]


def _whole(data: bytes) -> bytes:
    """Give a list without a last line that was cut short.

    Whoever wrote that one was told that nobody was erased. A line that lacks only its line break is
    an erasure: who edits a list, or copies one, may lose it.
    """
    _, __, last = data.rpartition(b"\n")
    try:
        msgspec.json.decode(last, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return data[: len(data) - len(last)]
    return data
