"""The vault: one key for each owner and stream, wrapped by the master key, destroyed to erase.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces. A data key seals the few fields of one
stream; the associated data is a field's place, so that a ciphertext moved elsewhere does not open.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from siutindei.app.ports import Unusable
from siutindei.domain.personal import ERASED, Personal

if TYPE_CHECKING:
    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.sql import Cursor

T = TypeVar("T")

_NONCE: Final = 12
_NOTHING: Final = "erased"  # what a field of an erased owner is stored as

TABLES: Final = (
    "CREATE TABLE vault_keys (key_id TEXT PRIMARY KEY, owner TEXT NOT NULL, stream TEXT NOT NULL,"
    " master_id TEXT NOT NULL, wrapped BLOB NOT NULL, UNIQUE (owner, stream))",
    "CREATE TABLE vault_erased (owner TEXT PRIMARY KEY)",
)


class CursorVault:
    """Seals and opens with the keys that one database cursor sees."""

    def __init__(self, cursor: Cursor, master: KeyRing) -> None:
        self._cursor = cursor
        self._master = master
        self._made: dict[tuple[str, str], tuple[str, AESGCM] | None] = {}
        self._opened: dict[str, tuple[str, AESGCM] | None] = {}

    def seal(self, personal: Personal) -> str:
        """Give the token of a clear text that has its place; `erased` when its owner is erased."""
        if personal.clear is None or not personal.owner:
            msg = "only a clear text that has an owner can be sealed"
            raise ValueError(msg)
        stream = personal.place.split("/", 1)[0]
        found = self._key_for(personal.owner, stream)
        if found is None:
            return _NOTHING
        key_id, key = found
        nonce = secrets.token_bytes(_NONCE)
        sealed = nonce + key.encrypt(nonce, personal.clear.encode(), personal.place.encode())
        return f"{key_id}.{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def open(self, personal: Personal) -> Personal:
        """Give it clear, or erased when its key is destroyed.

        Raises:
            Unusable: the master key is not the one that wrapped it, or the bytes were altered.
        """
        if personal.token is None:
            return personal
        key_id, _, text = personal.token.partition(".")
        # The fields of one stream share a key: it is looked up and unwrapped once.
        if key_id not in self._opened:
            self._opened[key_id] = self._find(key_id)
        found = self._opened[key_id]
        if found is None:
            return ERASED
        owner, key = found
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            clear = key.decrypt(sealed[:_NONCE], sealed[_NONCE:], personal.place.encode())
        except (InvalidTag, ValueError):
            msg = f"the personal field {personal.place} was altered or moved"
            raise Unusable(msg) from None
        return Personal(owner=owner, clear=clear.decode())

    def open_all(self, value: T) -> T:
        """Give a copy of an attrs object, at any depth, with everything personal opened."""
        opened: Any = self._copy(value)
        return opened  # type: ignore[no-any-return]  # the copy has the type of what was copied

    def _copy(self, value: Any) -> Any:
        if isinstance(value, Personal):
            return self.open(value)
        if attrs.has(type(value)):
            changes = {}
            for field in attrs.fields(type(value)):
                before = getattr(value, field.name)
                after = self._copy(before)
                if after is not before:
                    changes[field.name] = after
            return attrs.evolve(value, **changes) if changes else value
        return value

    def keys_of(self, owner: str) -> dict[str, str]:
        """Give the streams that an owner has a key for, by the key's id."""
        self._cursor.execute("SELECT key_id, stream FROM vault_keys WHERE owner = ?", (owner,))
        return {row["key_id"]: row["stream"] for row in self._cursor.fetchall()}

    def is_erased(self, owner: str) -> bool:
        """Whether an owner has no key, and never gets one."""
        return not self.keys_of(owner) and self._gets_none(owner)

    def destroy(self, owner: str, *, forever: bool) -> None:
        """Delete every key of an owner; `forever` makes sure that no new one is made."""
        self._cursor.execute("DELETE FROM vault_keys WHERE owner = ?", (owner,))
        if forever:
            self._cursor.execute(
                "INSERT INTO vault_erased (owner) VALUES (?) ON CONFLICT DO NOTHING", (owner,)
            )
        self._made.clear()
        self._opened.clear()

    def _gets_none(self, owner: str) -> bool:
        self._cursor.execute("SELECT 1 FROM vault_erased WHERE owner = ?", (owner,))
        return self._cursor.fetchone() is not None

    def _find(self, key_id: str) -> tuple[str, AESGCM] | None:
        self._cursor.execute(
            "SELECT owner, stream, master_id, wrapped FROM vault_keys WHERE key_id = ?", (key_id,)
        )
        row = self._cursor.fetchone()
        if row is None:
            return None
        key = self._unwrap(key_id, row["owner"], row["stream"], row["master_id"], row["wrapped"])
        return row["owner"], AESGCM(key)

    def _key_for(self, owner: str, stream: str) -> tuple[str, AESGCM] | None:
        if (owner, stream) not in self._made:
            self._made[owner, stream] = self._find_or_make(owner, stream)
        return self._made[owner, stream]

    def _find_or_make(self, owner: str, stream: str) -> tuple[str, AESGCM] | None:
        if self._gets_none(owner):
            return None
        self._cursor.execute(
            "SELECT key_id, master_id, wrapped FROM vault_keys WHERE owner = ? AND stream = ?",
            (owner, stream),
        )
        row = self._cursor.fetchone()
        if row is not None:
            key = self._unwrap(row["key_id"], owner, stream, row["master_id"], row["wrapped"])
            return row["key_id"], AESGCM(key)
        key_id = secrets.token_urlsafe(9)
        key = AESGCM.generate_key(bit_length=256)
        nonce = secrets.token_bytes(_NONCE)
        wrapped = nonce + AESGCM(self._master.key).encrypt(
            nonce, key, _wrapping(key_id, owner, stream)
        )
        self._cursor.execute(
            "INSERT INTO vault_keys (key_id, owner, stream, master_id, wrapped)"
            " VALUES (?, ?, ?, ?, ?)",
            (key_id, owner, stream, self._master.current, wrapped),
        )
        return key_id, AESGCM(key)

    def _unwrap(self, key_id: str, owner: str, stream: str, master_id: str, row: bytes) -> bytes:
        master = self._master.keys.get(master_id)
        if master is None:
            msg = f"the vault's key ring lacks the key {master_id}; put it back from a backup"
            raise Unusable(msg)
        try:
            return AESGCM(master).decrypt(
                row[:_NONCE], row[_NONCE:], _wrapping(key_id, owner, stream)
            )
        except (InvalidTag, ValueError):
            msg = f"the vault's master key {master_id} is not the one that wrapped {key_id}"
            raise Unusable(msg) from None


def _wrapping(key_id: str, owner: str, stream: str) -> bytes:
    return f"{key_id}\n{owner}\n{stream}".encode()
