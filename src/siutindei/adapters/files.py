"""What every adapter over files shares: errors as the port has them, and durable names."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from siutindei.app.ports import PortError, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: What a file system says that has no second names for a file.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_THERE: Final = "{} is there already; name another file"


def refusal(text: str, error: OSError) -> PortError:
    """Give the port's error: a full disk passes, everything else needs a person."""
    line = f"{text}: {error.strerror}"
    return Unavailable(line) if error.errno in _FULL else Unusable(line)


def refuse_taken(path: Path) -> None:
    """Say before the work that a file cannot be written after it.

    Raises:
        Unusable: there is a file already, or no such folder.
    """
    if path.exists():
        raise Unusable(_THERE.format(path))
    if not path.parent.is_dir():
        msg = f"{path} cannot be written: there is no folder {path.parent}"
        raise Unusable(msg)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give an empty file beside a new one's place, for its owner only; put it there at the end.

    The place is taken by a file that is complete, or by none. A process that is killed leaves the
    draft behind: `.NAME.*.draft`, which nobody needs.

    Raises:
        Unusable: there is a file already, or its folder cannot be written.
        Unavailable: the disk is full.
    """
    if not path.name:
        msg = f"{str(path)!r} is no name of a file; name one"
        raise Unusable(msg)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    try:
        if path.exists():
            raise Unusable(_THERE.format(path))
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            yield draft
            _sync(draft)
            _put(draft, path)
            sync_folder(path.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise refusal(f"{path} cannot be written", error) from error


def _put(draft: Path, path: Path) -> None:
    """Give a file its name, unless another has it."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise Unusable(_THERE.format(path)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Such as on a memory stick: two who write the same name at once are not told apart there.
        draft.rename(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Put on the disk which names stand in a folder."""
    _sync(folder)
