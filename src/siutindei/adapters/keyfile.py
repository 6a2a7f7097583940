"""The keys that go with an export: one file, sealed under a passphrase, for this export alone.

The passphrase is stretched with scrypt (RFC 7914); AES-256-GCM seals. Everything that stands in
clear beside the ciphertext is its associated data, the export's digest too.
"""

from __future__ import annotations

import secrets
import unicodedata
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Meta

from siutindei.adapters.keys import KEY_BYTES, KeyRing
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT: Final = "siutindei keys"
VERSION: Final = 1
#: The rings of an installation.
CODE_KEYS, VAULT_KEYS, INDEX_KEY = "code keys", "vault keys", "index key"
RINGS: Final = frozenset({CODE_KEYS, VAULT_KEYS, INDEX_KEY})
#: What a passphrase has at the least, in characters.
SHORTEST: Final = 8
#: The cost of one try, 128 MiB and about half a second.
_N, _P = 2**17, 1
_SALT, _NONCE = 16, 12


class WrappedKey(msgspec.Struct, frozen=True):
    """A row of the vault's keys, wrapped as it is stored."""

    key_id: str
    owner: str
    stream: str
    master_id: str
    wrapped: bytes


class Ring(msgspec.Struct, frozen=True):
    """A ring of keys, as its file has it."""

    current: str
    keys: dict[str, bytes]

    def opened(self) -> KeyRing:
        """Give the ring."""
        return KeyRing(current=self.current, keys=self.keys)

    def __repr__(self) -> str:
        return "<Ring>"


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """What the key file holds.

    Attributes:
        rings: by name.
        checks: which keys the database was made with.
        wrapped: the vault's keys.
    """

    rings: dict[str, Ring]
    checks: dict[str, str]
    wrapped: list[WrappedKey]

    @property
    def opened_rings(self) -> dict[str, KeyRing]:
        """The rings, as the program uses them."""
        return {name: ring.opened() for name, ring in self.rings.items()}

    def __repr__(self) -> str:
        return "<Keys>"


class _Kdf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What scrypt was told; bounded: whoever writes the file must not make reading it dear."""

    name: Literal["scrypt"]
    n: Annotated[int, Meta(ge=2, le=2**18)]
    r: Literal[8]
    p: Annotated[int, Meta(ge=1, le=4)]
    salt: bytes


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    version: int
    export: str
    kdf: _Kdf
    cipher: Literal["AES-256-GCM"]
    nonce: Annotated[bytes, Meta(min_length=_NONCE, max_length=_NONCE)]
    sealed: bytes

    @property
    def bound(self) -> bytes:
        """The associated data: all of it but the ciphertext."""
        return msgspec.json.encode(
            [self.format, self.version, self.export, self.kdf, self.cipher, self.nonce]
        )


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


def check(passphrase: str) -> None:
    """See that a passphrase can be used.

    Raises:
        Invalid: it is too short.
    """
    if len(passphrase) < SHORTEST:
        raise Invalid("passphrase", f"needs {SHORTEST} characters or more")


def seal(keys: Keys, *, export: str, passphrase: str) -> bytes:
    """Give the bytes of a key file for the export with this digest."""
    file = _File(
        format=FORMAT,
        version=VERSION,
        export=export,
        kdf=_Kdf("scrypt", _N, 8, _P, secrets.token_bytes(_SALT)),
        cipher="AES-256-GCM",
        nonce=secrets.token_bytes(_NONCE),
        sealed=b"",
    )
    sealed = _cipher(file, passphrase).encrypt(file.nonce, msgspec.json.encode(keys), file.bound)
    return msgspec.json.encode(msgspec.structs.replace(file, sealed=sealed)) + b"\n"


def unseal(data: bytes, *, export: str, passphrase: str) -> Keys:
    """Read a key file.

    Raises:
        Invalid: it is none, of a newer version or of another export, or the passphrase is wrong.
    """
    try:
        head = msgspec.json.decode(data, type=_Head)
    except _BAD:
        head = _Head()
    if head.format != FORMAT:
        raise Invalid("with_keys", "is no key file of this program; name another file")
    if head.version > VERSION:
        raise Invalid("with_keys", "is of a newer format; install the version that wrote it")
    try:
        file = msgspec.json.decode(data, type=_File)
    except _BAD:
        raise _damaged() from None
    if file.kdf.n.bit_count() != 1:
        raise _damaged()
    if file.export != export:
        raise Invalid("with_keys", "belongs to another export; name the one made with this export")
    try:
        clear = _cipher(file, passphrase).decrypt(file.nonce, file.sealed, file.bound)
        keys = msgspec.json.decode(clear, type=Keys)
    except InvalidTag:
        raise Invalid("passphrase", "is not the one of this key file, or it was altered") from None
    except _BAD:
        raise _damaged() from None
    if keys.rings.keys() != RINGS or not all(_is_sound(ring) for ring in keys.rings.values()):
        raise _damaged()
    if not _fits(keys):
        raise _damaged()
    return keys


_BAD: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def rings_of(rings: Mapping[str, KeyRing]) -> dict[str, Ring]:
    """Give rings as the file has them."""
    return {name: Ring(ring.current, dict(ring.keys)) for name, ring in rings.items()}


def _is_sound(ring: Ring) -> bool:
    return ring.current in ring.keys and all(len(key) == KEY_BYTES for key in ring.keys.values())


def _fits(keys: Keys) -> bool:
    """Whether a database that these keys are put into can be used with them."""
    rings, checks = keys.rings, keys.checks
    return (
        rings[VAULT_KEYS].opened().passes(checks.get("vault key", ""))
        and rings[INDEX_KEY].opened().check == checks.get("index key")
        and len(keys.wrapped)
        == len({key.key_id for key in keys.wrapped})
        == len({(key.owner, key.stream) for key in keys.wrapped})
    )


def _damaged() -> Invalid:
    return Invalid("with_keys", "is a key file that was damaged; use another copy of it")


def _cipher(file: _File, passphrase: str) -> AESGCM:
    kdf = file.kdf
    # The same passphrase, typed on another machine, may be made of other code points.
    secret = unicodedata.normalize("NFKC", passphrase).encode("utf-8", "surrogatepass")
    return AESGCM(Scrypt(kdf.salt, KEY_BYTES, kdf.n, kdf.r, kdf.p).derive(secret))
