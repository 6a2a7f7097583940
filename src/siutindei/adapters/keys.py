"""Rings of keys. In files: made on first use, mode 0600, complete or not there at all."""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import attrs
import msgspec

from siutindei.adapters.files import refusal, sync_folder
from siutindei.app.ports import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32


@attrs.frozen(kw_only=True)
class KeyRing:
    """Keys by id; new things use the current one, old things find theirs.

    Attributes:
        current: the id of the key that new things use.
        keys: 32 bytes each.
    """

    current: str
    keys: Mapping[str, bytes] = attrs.field(repr=False)

    @property
    def key(self) -> bytes:
        """The current key."""
        return self.keys[self.current]

    @property
    def check(self) -> str:
        """A text by which the current key is recognised, and that gives nothing away."""
        return f"{self.current}:{_check(self.key)}"

    def passes(self, check: str) -> bool:
        """Whether the key that a text was made from is in the ring, current or not."""
        key_id, _, text = check.rpartition(":")
        key = self.keys.get(key_id)
        return key is not None and hmac.compare_digest(text, _check(key))


class _RingFile(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


def open_ring(path: Path, *, may_make: bool) -> KeyRing:
    """Read a ring, or make one when there is none.

    Args:
        path: `{"current": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}`
        may_make: whether a missing file may be made: not when a database depends on it.

    Raises:
        Unusable: missing although it is needed, unreadable, or not a ring.
        Unavailable: the disk is full.
    """
    data = read_ring(path)
    if data is None:
        if not may_make:
            msg = (
                f"the key file {path} is missing, and the database needs it; "
                "put it back from a backup (a new key could not read what is there)"
            )
            raise Unusable(msg)
        key_id = secrets.token_hex(4)
        key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
        data = _make(path, msgspec.json.encode({"current": key_id, "keys": {key_id: key}}))
    return parse_ring(f"the key file {path}", data)


def find_ring(path: Path) -> KeyRing | None:
    """Read the ring that is there; None when there is none.

    Raises:
        Unusable: unreadable, or not a ring.
    """
    data = read_ring(path)
    return None if data is None else parse_ring(f"the key file {path}", data)


def put_ring(path: Path, ring: KeyRing) -> None:
    """Put a ring where there is none; nothing happens when the same one is there.

    Raises:
        Unusable: there is another one, or the folder cannot be written.
        Unavailable: the disk is full.
    """
    keys = {name: base64.b64encode(key).decode() for name, key in ring.keys.items()}
    data = _make(path, msgspec.json.encode({"current": ring.current, "keys": keys}))
    if parse_ring(f"the key file {path}", data) != ring:
        raise other_ring(path)


def other_ring(path: Path) -> Unusable:
    """Say that a ring is there that must not be lost."""
    return Unusable(
        f"the key file {path} is there already, with other keys; name another home, or move it "
        "away when nothing needs it"
    )


def parse_ring(
    where: str, data: bytes | str, *, unwrap: Callable[[bytes], bytes] = bytes
) -> KeyRing:
    """Read a ring.

    Args:
        where: what it is called in messages.
        data: `{"current": "<id>", "keys": {"<id>": "<base64>"}}`
        unwrap: makes a key of what stands there, when that is not the key itself.

    Raises:
        Unusable: it is none.
    """
    try:
        ring = msgspec.json.decode(data, type=_RingFile)
        stored = {name: base64.b64decode(text, validate=True) for name, text in ring.keys.items()}
    except (msgspec.MsgspecError, ValueError):
        # Without its cause: that would quote what is secret.
        msg = f"{where} is damaged; put it back from a backup"
        raise Unusable(msg) from None
    keys = {name: unwrap(key) for name, key in stored.items()}
    if ring.current not in keys or any(len(key) != KEY_BYTES for key in keys.values()):
        msg = f"{where} is no ring of {KEY_BYTES}-byte keys with a current one"
        raise Unusable(msg)
    return KeyRing(current=ring.current, keys=keys)


def _check(key: bytes) -> str:
    return hmac.new(key, b"siutindei key check", sha256).hexdigest()[:16]


def read_ring(path: Path) -> bytes | None:
    """Read what a key file holds; None when there is none.

    Raises:
        Unusable: unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"the key file {path} cannot be read: {error.strerror}"
        raise Unusable(msg) from error


def _make(path: Path, data: bytes) -> bytes:
    """Write the file whole or not at all; when somebody else was first, theirs counts."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(draft, path)
            sync_folder(path.parent)
        except FileExistsError:
            return path.read_bytes()
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise refusal(f"the key file {path} cannot be made", error) from error
    return data
