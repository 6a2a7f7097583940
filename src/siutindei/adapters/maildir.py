"""Mail into a Maildir: what the embedded default does instead of sending.

A Maildir holds one file for each mail: written in `tmp/`, delivered into `new/`, moved to `cur/` by
whoever reads it (https://cr.yp.to/proto/maildir.html). A mail's name here comes from its
notification and from nothing else, and empty files beside the mails remember which names were
delivered and which are to be forgotten, whatever a reader does.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from siutindei.adapters import mime
from siutindei.adapters.locks import locked
from siutindei.app import ports

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from siutindei.domain.mail import Mail

TIME_OUT: Final = timedelta(seconds=5)
#: A file that has been in `tmp/` this long belongs to a delivery that was killed.
LEFTOVER_AFTER: Final = timedelta(hours=36)

_FOLDERS: Final = ("tmp", "new", "cur")
#: What was delivered, also when its reader has taken it out, and what is to be forgotten, also by a
#: delivery that stood still meanwhile: empty files by the mail's name. (Without `cur/` in them they
#: are no subfolders to a mail reader.)
_DELIVERED: Final = ".delivered"
_FORGOTTEN: Final = ".forgotten"
_PREFIX: Final = "maildir-"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
#: The specification sets flags apart from the name with a colon.
_FLAGS: Final = ":"
#: Less than the time-out, which writing has to fit in too.
_LOCK_SECONDS: Final = 4.0
_LOCKED: Final = "its lock file is held by another delivery, or cannot be made"
_WHY: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "the directory may not be written",
    errno.EPERM: "the directory may not be written, or its file system has no hard links",
    errno.ENOTDIR: "something that is not a directory is in its place",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EIO: "the disk does not work",
}


class Maildir:
    """A MailPort that delivers into a directory; it implements `siutindei.app.ports.MailPort`.

    The same notification is delivered once, however often and by however many processes it is sent,
    and also when a reader has moved the mail to `cur/` or out of the mailbox (unless the delivery
    was killed just before it could note the name). What was forgotten is never delivered. A
    delivery that is killed at any moment leaves the whole mail or none, and at most a file in
    `tmp/`, which goes when it is 36 hours old or when the notification is forgotten. Directories
    are made at the first delivery, with mode 0700; mails have mode 0600.

    Args:
        path: the mailbox.
        now: the time for the Date header.
        journal: is told `before` a delivery and `after` one that succeeded, with the notification.
    """

    has_feedback: Final = False
    time_out: Final = TIME_OUT

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        journal: Callable[[str, str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self._now = now
        self._journal = journal

    def __repr__(self) -> str:
        return "<Maildir>"

    def send(self, mail: Mail) -> str:
        if self._journal is not None:
            self._journal("before", mail.notification_id)
        message_id = self._deliver(mail)
        if self._journal is not None:
            self._journal("after", mail.notification_id)
        return message_id

    def lookup(self, notification_id: str) -> ports.Found:
        """Say whether the mailbox has it; `cannot_tell` when the mailbox cannot be read."""
        if not _ID.fullmatch(notification_id):
            return ports.Found(answer="not_accepted")
        name = _name(notification_id)
        try:
            was_delivered = self._was_delivered(name)
        except OSError:
            return ports.Found(answer="cannot_tell")
        if not was_delivered:
            return ports.Found(answer="not_accepted")
        return ports.Found(answer="accepted", message_id=name)

    def forget(self, notification_id: str) -> None:
        """Remove the mail for good, and what a killed delivery left of it.

        Raises:
            Unavailable: it could not be removed, or not for sure.
        """
        if not _ID.fullmatch(notification_id):
            return
        name = _name(notification_id)
        try:
            if not self.path.exists():
                return
            with self._lock():
                self._mark(_FORGOTTEN, name)
                (self.path / _DELIVERED / name).unlink(missing_ok=True)
                while (found := self._find(name)) is not None:
                    found.unlink(missing_ok=True)  # a reader may move it meanwhile: look again
                for leftover in self._leftovers(name):
                    leftover.unlink(missing_ok=True)
                for folder in (*_FOLDERS, _DELIVERED):
                    _sync(self.path / folder)
        except OSError as error:
            raise ports.Unavailable(_why("the mail was not removed", error)) from None
        except (ports.Unavailable, ports.Unusable):
            raise ports.Unavailable(f"the mail was not removed: {_LOCKED}") from None

    def held(self) -> frozenset[str]:
        """Give the notifications whose mails were delivered here and are not to be forgotten.

        A mail that its reader has taken out is still one of them.

        Raises:
            Unavailable: the mailbox cannot be read.
        """
        names: set[str] = set()
        try:
            for folder in ("new", "cur", _DELIVERED):
                with suppress(FileNotFoundError):
                    names.update(entry.name for entry in (self.path / folder).iterdir())
        except OSError as error:
            raise ports.Unavailable(_why("the maildir cannot be read", error)) from None
        own = (name.partition(_FLAGS)[0].partition(_PREFIX) for name in names)
        return frozenset(id for before, prefix, id in own if prefix and not before)

    def _deliver(self, mail: Mail) -> str:
        name = _name(mail.notification_id)
        draft: Path | None = None
        delivered = False
        try:
            self._make()
            delivered = self._was_delivered(name)
            if not delivered:
                draft = self.path / "tmp" / f"{name}.{os.getpid()}.{secrets.token_hex(8)}"
                _write(draft, mime.encode(mail, at=self._now()))
                with self._lock():
                    if self._is_marked(_FORGOTTEN, name):
                        raise ports.MailNotSent("it was to be forgotten before it was delivered")
                    if not self._was_delivered(name):
                        os.link(draft, self.path / "new" / name)
                    delivered = True
                    # After the mail, so that what is marked is there.
                    self._mark(_DELIVERED, name)
            _sync(self.path / "new")
        except OSError as error:
            if delivered:
                text = _why("the mail was delivered, but may not survive a power failure", error)
                raise ports.MailOutcomeUnknown(text) from None
            raise ports.MailNotSent(_why("the maildir did not take the mail", error)) from None
        except (ports.Unavailable, ports.Unusable):
            raise ports.MailNotSent(f"the maildir did not take the mail: {_LOCKED}") from None
        finally:
            # What cannot be removed now is removed as a leftover some day.
            if draft is not None:
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
        self._sweep()
        return name

    def _was_delivered(self, name: str) -> bool:
        return self._is_marked(_DELIVERED, name) or self._find(name) is not None

    def _is_marked(self, mark: str, name: str) -> bool:
        return (self.path / mark / name).exists()

    def _mark(self, mark: str, name: str) -> None:
        """Write a name down for good."""
        folder = self.path / mark
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)
            _sync(self.path)
        os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        _sync(folder)

    def _make(self) -> None:
        """Make what is missing, and let it survive a power failure."""
        if all((self.path / folder).is_dir() for folder in _FOLDERS):
            return
        for folder in (self.path, *(self.path / folder for folder in _FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync(self.path)
        _sync(self.path.parent)

    def _lock(self) -> AbstractContextManager[None]:
        """Let one delivery at a time look and link; the system unlocks for a process that dies."""
        return locked(self.path / ".lock", seconds=_LOCK_SECONDS)

    def _find(self, name: str) -> Path | None:
        """Find a mail, wherever a reader has put it.

        `new/` comes first: mails only ever move from there to `cur/`. A listing may miss a file
        that is renamed meanwhile, so a directory that changes meanwhile is listed again.
        """
        fresh, read = self.path / "new" / name, self.path / "cur"
        with suppress(FileNotFoundError):
            fresh.lstat()
            return fresh
        with suppress(FileNotFoundError):
            changed = None
            while changed != (changed := read.stat().st_mtime_ns):
                for entry in read.iterdir():
                    if entry.name.partition(_FLAGS)[0] == name:
                        return entry
        return None

    def _leftovers(self, name: str) -> list[Path]:
        """Find what killed deliveries left in `tmp/`."""
        folder = self.path / "tmp"
        with suppress(FileNotFoundError):
            return [entry for entry in folder.iterdir() if entry.name.startswith(f"{name}.")]
        return []

    def _sweep(self) -> None:
        """Remove what killed deliveries left long ago, as the specification has it."""
        oldest = time.time() - LEFTOVER_AFTER.total_seconds()
        with suppress(OSError):
            for entry in (self.path / "tmp").iterdir():
                if entry.lstat().st_mtime < oldest:
                    entry.unlink()


def _name(notification_id: str) -> str:
    """Name the file, which is also the id that the mail gets: what is stored is easily found."""
    return f"{_PREFIX}{notification_id}"


def _write(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)


def _sync(folder: Path) -> None:
    """Let what was done in a directory survive a power failure; a missing one needs nothing."""
    with suppress(FileNotFoundError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _why(what: str, error: OSError) -> str:
    """Say what went wrong, without any path: a path may hold a name."""
    code = error.errno or 0
    return f"{what}: {_WHY.get(code) or os.strerror(code)} ({errno.errorcode.get(code, code)})"
