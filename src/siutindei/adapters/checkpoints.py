"""Checkpoints as files of a folder: see `ports.Checkpoints`. None is ever written over."""

from __future__ import annotations

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.adapters.files import refusal, sync_folder
from siutindei.app.ports import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What a checkpoint is called, here and in a bucket.
NAME: Final = "{:010d}.note"
NUMBER: Final = re.compile(r"(\d{10})\.note")


def text(data: bytes) -> str:
    """Give a note as a text; what is none of ours stays recognisably so."""
    return data.decode("utf-8", "replace")


@attrs.frozen
class CheckpointFolder:
    """See `ports.Checkpoints`."""

    folder: Path

    def newest(self) -> Kept | None:
        """Give the one with the highest number."""
        numbers = self._numbers()
        return self._read(numbers[-1]) if numbers else None

    def all(self) -> Iterator[Kept]:
        """Give all of them."""
        yield from (self._read(number) for number in self._numbers())

    def put(self, number: int, note: str) -> bool:
        """Keep another one, whole or not at all."""
        path = self.folder / NAME.format(number)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(note.encode())
                    file.flush()
                    os.fsync(file.fileno())
                is_first = _linked(draft, path)
            finally:
                draft.unlink(missing_ok=True)
            sync_folder(self.folder)
        except OSError as error:
            raise refusal(f"the checkpoint {path} cannot be written", error) from error
        return is_first

    def _numbers(self) -> Sequence[int]:
        try:
            names = [path.name for path in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise refusal(f"{self.folder} cannot be read", error) from error
        return sorted(int(found[1]) for name in names if (found := NUMBER.fullmatch(name)))

    def _read(self, number: int) -> Kept:
        path = self.folder / NAME.format(number)
        try:
            data, at = path.read_bytes(), path.stat().st_mtime
        except OSError as error:
            raise refusal(f"{path} cannot be read", error) from error
        return Kept(number=number, note=text(data), at=datetime.fromtimestamp(at, UTC))


def _linked(draft: Path, path: Path) -> bool:
    """Give a file its name, unless another has it."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    return True
