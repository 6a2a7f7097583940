"""The file of keys: opened by its passphrase, for its export, and by nothing else."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.adapters import keyfile
from siutindei.adapters.keyfile import Keys, Ring, WrappedKey, seal, unseal
from siutindei.adapters.keys import KeyRing
from siutindei.domain.errors import Invalid

PASSPHRASE: Final = "correct horse"
EXPORT: Final = "d" * 64
KEYS: Final = Keys(
    rings={
        name: Ring(current="b", keys={"a": bytes(32), "b": bytes(range(32))})
        for name in sorted(keyfile.RINGS)
    },
    checks={
        name: KeyRing(current="b", keys={"b": bytes(range(32))}).check
        for name in ("vault key", "index key")
    },
    wrapped=[WrappedKey("k1", "ann", "person-ann", "a", b"\0\xff")],
)


@pytest.fixture(name="sealed")
def _sealed(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Give a file whose passphrase costs little to try."""
    monkeypatch.setattr(keyfile, "_N", 2)
    return seal(KEYS, export=EXPORT, passphrase=PASSPHRASE)


def changed(sealed: bytes, /, **changes: Any) -> bytes:
    """Give the file with other fields."""
    return json.dumps(json.loads(sealed) | changes).encode()


def opened(sealed: bytes, *, export: str = EXPORT, passphrase: str = PASSPHRASE) -> Keys:
    """Open a file."""
    return unseal(sealed, export=export, passphrase=passphrase)


@pytest.mark.slow
def test_what_a_passphrase_costs_is_in_the_file() -> None:
    """A try costs 128 MiB; the file says how, and opens."""
    sealed = seal(KEYS, export=EXPORT, passphrase=PASSPHRASE)
    kdf = json.loads(sealed)["kdf"]

    assert ("scrypt", 2**17, 8, 1) == tuple(kdf[name] for name in ("name", "n", "r", "p"))
    assert KEYS == opened(sealed)


def test_nothing_in_the_file_is_clear(sealed: bytes) -> None:
    """Neither a key nor whose it is can be read, and the same keys are never sealed the same."""
    again = seal(KEYS, export=EXPORT, passphrase=PASSPHRASE)
    content = base64.b64decode(json.loads(sealed)["sealed"]) + sealed

    assert sealed != again
    for clear in (bytes(32), bytes(range(32)), b"person-ann", base64.b64encode(bytes(32))):
        assert clear not in content
    assert "<Keys>" == repr(KEYS)
    assert "<Ring>" == repr(KEYS.rings["code keys"])


def test_a_wrong_passphrase_opens_nothing(sealed: bytes) -> None:
    """It is told apart from another export's file; a passphrase may be typed in any form."""
    assert KEYS == opened(sealed)
    for wrong in ("correct horse ", "", "Correct horse", "\ud800"):
        with pytest.raises(Invalid, match=r"^passphrase: is not the one"):
            opened(sealed, passphrase=wrong)
    composed = seal(KEYS, export=EXPORT, passphrase="h\u00f4rse-1234")
    assert KEYS == opened(composed, passphrase="ho\u0302rse-1234")


@pytest.mark.parametrize(
    "wrong",
    [
        {"checks": {}},
        {"checks": KEYS.checks | {"vault key": "b:0123"}},
        {"checks": KEYS.checks | {"index key": "b:0123"}},
        {"wrapped": KEYS.wrapped * 2},
    ],
    ids=str,
)
def test_keys_that_fit_no_database_are_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    """Checks of other rings, and a key twice: the key file is named."""
    monkeypatch.setattr(keyfile, "_N", 2)
    keys = msgspec.structs.replace(KEYS, **wrong)
    with pytest.raises(Invalid, match="with_keys: is a key file that was damaged"):
        opened(seal(keys, export=EXPORT, passphrase=PASSPHRASE))


def test_a_short_passphrase_is_refused() -> None:
    """It needs eight characters."""
    keyfile.check("12345678")
    with pytest.raises(Invalid, match="passphrase: needs 8 characters"):
        keyfile.check("1234567")


def test_a_file_opens_for_its_export_only(sealed: bytes) -> None:
    """Another export's file is named as such; one that only claims to fit does not open."""
    other = "e" * 64
    with pytest.raises(Invalid, match="belongs to another export"):
        opened(sealed, export=other)
    with pytest.raises(Invalid, match="passphrase"):
        opened(changed(sealed, export=other), export=other)


KDF: Final = {"name": "scrypt", "n": 2, "r": 8, "p": 1, "salt": "AAAA"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": "another"}, "is no key file"),
        ({"format": None}, "is no key file"),
        ({"version": 2}, "newer format"),
        ({"version": 0}, "altered"),
        ({"nonce": "AAAA"}, "damaged"),
        ({"sealed": "%"}, "damaged"),
        ({"sealed": ""}, "altered"),
        ({"cipher": "none"}, "damaged"),
        ({"more": 1}, "damaged"),
        ({"kdf": KDF}, "altered"),
        *(
            ({"kdf": KDF | wrong}, "damaged")
            for wrong in (
                *({"n": 2**40}, {"n": 3}, {"n": 0}, {"r": 9}, {"p": 5}, {"name": "argon2"}),
                {"salt": 1},
            )
        ),
    ],
    ids=str,
)
def test_a_file_that_was_altered_is_refused(
    sealed: bytes, changes: dict[str, Any], why: str
) -> None:
    """Each field is checked before it costs anything, and bound to the ciphertext."""
    with pytest.raises(Invalid, match=why):
        opened(changed(sealed, **changes))


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"rings": {}, "checks": {}, "wrapped": []},
        msgspec.structs.replace(KEYS, rings=dict.fromkeys(keyfile.RINGS, Ring("c", {}))),
        msgspec.structs.replace(KEYS, rings=dict.fromkeys(keyfile.RINGS, Ring("c", {"c": b""}))),
    ],
    ids=["nothing", "no rings", "no current key", "short keys"],
)
def test_what_is_sealed_is_checked_too(sealed: bytes, keys: Any) -> None:
    """A file that opens and holds no keys is damaged."""
    with pytest.raises(Invalid, match="damaged"):
        opened(seal(keys, export=EXPORT, passphrase=PASSPHRASE))


@given(st.binary(max_size=100))
def test_noise_is_no_key_file(noise: bytes) -> None:
    """Whatever bytes come, they are refused by name."""
    for data in (noise, b"[" * 100_000):
        with pytest.raises(Invalid, match="with_keys: is no key file"):
            opened(data)
