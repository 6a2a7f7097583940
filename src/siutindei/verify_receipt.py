"""Check a receipt: that one event stands in a log whose checkpoint somebody signed.

    python verify_receipt.py RECEIPT --key KEYLINE

This file stands alone. It needs Python 3.11 or newer and the package `cryptography`, imports
nothing of the program that wrote the receipt, asks no database and no network, and opens no file
but the receipt. Take the key's line from where the log's owner published it; without --key the key
in the receipt itself is used, and then the receipt shows only that it fits itself.

What is checked, in this order:

1. The event's columns, as they are stored, are written in one fixed way and hashed (RFC 6962).
2. That hash and the proof's hashes amount to the root of a tree (RFC 9162, 2.1.3.2).
3. Root and size are those of a checkpoint, https://c2sp.org/tlog-checkpoint, ...
4. ... that is signed with the key, https://c2sp.org/signed-note, Ed25519.

So nothing in a receipt can be another without this being seen. What was personal in the event is
sealed, and stays so: a receipt proves the same after somebody was erased.

Exit codes: 0 proved; 2 there is nothing to check; 4 not proved, the line says why.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMAT: Final = "siutindei receipt"
#: The newest version of the format; every older one is checked too.
VERSION: Final = 1
_HASH: Final = 32
_ED25519: Final = b"\x01"
_KEY_ID: Final = 4
_DASH: Final = "\N{EM DASH} "
#: More signatures than these has no note of ours.
_SIGNATURES: Final = 100
_BODY: Final = 3
_DIGITS: Final = 18
_SPACE: Final = " "


class NotProved(Exception):
    """What is there does not show what it should; the text says why."""


@dataclass(frozen=True)
class Checkpoint:
    """How far a log had come, and the root over all of it."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True)
class Proved:
    """What a receipt shows.

    Attributes:
        event: the event's id.
        name: its stored name.
        recorded_at: when it was recorded, as it says itself; None when that cannot be read.
        actor: the same of who did it.
        index: its number in the log, counted from 0.
        checkpoint: what was signed.
        key: the line of the key that it was signed with.
        known: whether that is a key that the caller named, and not the receipt alone.
    """

    event: str
    name: str
    recorded_at: str | None
    actor: str | None
    index: int
    checkpoint: Checkpoint
    key: str
    known: bool


# --- receipts -------------------------------------------------------------------------------------


def check(data: bytes, keys: Sequence[str] = ()) -> Proved:
    """Check a receipt.

    Args:
        data: the receipt's text.
        keys: the lines of the keys that may have signed; none are the one that it names itself.

    Raises:
        NotProved: it does not show what it should.
    """
    try:
        receipt = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        msg = "this is no receipt: it is not JSON"
        raise NotProved(msg) from error
    if not isinstance(receipt, dict) or receipt.get("format") != FORMAT:
        msg = "this is no receipt: its format is another one"
        raise NotProved(msg)
    version = receipt.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        msg = "the receipt is of a version that is not known here; use a newer verify_receipt.py"
        raise NotProved(msg)
    try:
        return _check_1(receipt, keys)
    except UnicodeEncodeError:
        msg = "the receipt has a text that is none (a lone surrogate)"
        raise NotProved(msg) from None


def _check_1(receipt: Mapping[str, Any], keys: Sequence[str]) -> Proved:
    """Check a receipt of version 1."""
    _has(receipt, "format", "version", "event", "leaf_index", "proof", "checkpoint", "key")
    event = receipt["event"]
    if not isinstance(event, dict):
        msg = "the receipt's event is no object"
        raise NotProved(msg)
    _has(event, "position", "stream", "version", "name", "state_base64")
    stream, name = _text(event, "stream"), _text(event, "name")
    state = _decoded(_text(event, "state_base64"), "state_base64")
    leaf = event_hash(_number(event, "position"), _number(event, "version"), stream, name, state)
    key = _text(receipt, "key")
    if keys and key not in keys:
        msg = f"it is signed with another key than the one that is known: {key}"
        raise NotProved(msg)
    checkpoint = open_checkpoint(_text(receipt, "checkpoint"), [key])
    index = _number(receipt, "leaf_index")
    proof = receipt["proof"]
    if not isinstance(proof, list) or not all(isinstance(step, str) for step in proof):
        msg = "the receipt's proof is no list of texts"
        raise NotProved(msg)
    steps = [_decoded(step, "proof", length=_HASH) for step in proof]
    if _root(leaf, index, checkpoint.size, steps) != checkpoint.root:
        msg = "the event is not in the log that was signed: the receipt was altered, or made up"
        raise NotProved(msg)
    said = _said(state)
    return Proved(
        event=f"{stream}/{event['version']}",
        name=name,
        recorded_at=said.get("recorded_at"),
        actor=said.get("actor"),
        index=index,
        checkpoint=checkpoint,
        key=key,
        known=bool(keys),
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a field stands there twice"
        raise ValueError(msg)
    return found


def _has(found: Mapping[str, Any], *names: str) -> None:
    if set(found) != set(names):
        wrong = ", ".join(sorted(set(found) ^ set(names)))
        msg = f"the receipt lacks fields, or has others: {wrong}"
        raise NotProved(msg)


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found[name]
    if not isinstance(value, str):
        msg = f"the receipt's {name} is no text"
        raise NotProved(msg)
    return value


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found[name]
    if type(value) is not int or abs(value) >= 2**63:
        msg = f"the receipt's {name} is no number"
        raise NotProved(msg)
    return value


def _decoded(text: str, name: str, *, length: int | None = None) -> bytes:
    """Decode Base64 that can be written in one way only."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = None
    if data is None or base64.b64encode(data).decode() != text:
        msg = f"its {name} is not Base64"
        raise NotProved(msg)
    if length is not None and len(data) != length:
        msg = f"its {name} is not of {length} bytes"
        raise NotProved(msg)
    return data


def _said(state: bytes) -> dict[str, str]:
    """Give what an event says of itself, as far as that is text."""
    try:
        found = json.loads(state)
    except (ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


# --- the tree -------------------------------------------------------------------------------------


def event_hash(position: int, version: int, stream: str, name: str, state: bytes) -> bytes:
    """Hash an event's columns: each number of eight bytes, each text with its length before it."""
    parts = [b"siutindei event 1\n", _eight(position), _eight(version)]
    for part in (stream.encode(), name.encode(), state):
        parts += [_eight(len(part)), part]
    return sha256(b"\x00" + b"".join(parts)).digest()


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


def _root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Give the root that a leaf and a proof amount to; None when they are of no such tree."""
    if not 0 <= index < size:
        return None
    number, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return None
        if number % 2 == 1 or number == last:
            found = sha256(b"\x01" + step + found).digest()
            while number % 2 == 0 and number:
                number, last = number // 2, last // 2
        else:
            found = sha256(b"\x01" + found + step).digest()
        number, last = number // 2, last // 2
    return found if last == 0 else None


# --- signed notes ---------------------------------------------------------------------------------


def key_id(name: str, public: bytes) -> bytes:
    """Give the four bytes by which a signature names its key."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID]


def key_line(name: str, public: bytes) -> str:
    """Write a public key so that it fits in a line: its name, its id, its bytes."""
    encoded = base64.b64encode(_ED25519 + public).decode()
    return f"{name}+{key_id(name, public).hex()}+{encoded}"


def parse_key(line: str) -> tuple[str, bytes]:
    """Read a key's line; give its name and its 32 bytes.

    Raises:
        NotProved: it is none.
    """
    name, _, rest = line.partition("+")
    shown, _, encoded = rest.partition("+")
    public = _decoded(encoded, "key")
    if len(public) != _HASH + 1 or not public.startswith(_ED25519) or not name:
        msg = "the key is no line of a key with Ed25519: NAME+ID+BASE64"
        raise NotProved(msg)
    if key_line(name, public[1:]) != line or name != "".join(name.split()):
        msg = f"the line of the key {name} was altered: its id is not {shown}"
        raise NotProved(msg)
    return name, public[1:]


def signature_line(name: str, public: bytes, signature: bytes) -> str:
    """Write the line of a signature."""
    encoded = base64.b64encode(key_id(name, public) + signature).decode()
    return f"{_DASH}{name} {encoded}\n"


def checkpoint_body(origin: str, size: int, root: bytes) -> str:
    """Write what is signed of a checkpoint."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"


def open_checkpoint(note: str, keys: Sequence[str]) -> Checkpoint:
    """Check the signature of a checkpoint, and read it.

    Raises:
        NotProved: none of the keys signed it, or it is no checkpoint.
    """
    body, gap, signatures = note.rpartition("\n\n")
    lines, end = signatures.split("\n")[:-1], note[-1:]
    is_whole = gap and end == "\n" and 0 < len(lines) <= _SIGNATURES
    if not is_whole or any(char < _SPACE for char in note if char != "\n"):
        msg = "the checkpoint is no signed note"
        raise NotProved(msg)
    body += "\n"
    known = {(name, key_id(name, public)): public for name, public in map(parse_key, keys)}
    signer = None
    for line in lines:
        name, public, signature = _signature(line, known)
        if public is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, body.encode())
        except InvalidSignature:
            msg = f"the signature of {name} does not fit the checkpoint"
            raise NotProved(msg) from None
        signer = name
    if signer is None:
        msg = "the checkpoint is not signed with a key that is known"
        raise NotProved(msg)
    return _checkpoint(body, signer)


def _signature(
    line: str, known: Mapping[tuple[str, bytes], bytes]
) -> tuple[str, bytes | None, bytes]:
    """Read the line of a signature; give the key's name, the key if it is known, the signature."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not name:
        msg = "the checkpoint has a line that is no signature"
        raise NotProved(msg)
    data = _decoded(encoded, "signature")
    return name, known.get((name, data[:_KEY_ID])), data[_KEY_ID:]


def _checkpoint(body: str, signer: str) -> Checkpoint:
    lines = body.split("\n")[:-1]
    if len(lines) < _BODY or not all(lines):
        msg = "what was signed is no checkpoint"
        raise NotProved(msg)
    origin, size = lines[:2]
    root = _decoded(lines[2], "root", length=_HASH)
    if not (size.isascii() and size.isdigit()) or len(size) > _DIGITS or str(int(size)) != size:
        msg = "the checkpoint's size is no number"
        raise NotProved(msg)
    if origin != signer:
        msg = f"the checkpoint is of the log {origin}, and {signer} signed it"
        raise NotProved(msg)
    return Checkpoint(origin=origin, size=int(size), root=root)


# --- the command ----------------------------------------------------------------------------------


def lines(proved: Proved) -> list[str]:
    """Say what was proved."""
    seen = proved.checkpoint
    found = [
        f"proved: {proved.event} ({proved.name}) is event {proved.index + 1} of {seen.size}",
        f"log: {seen.origin}, root {base64.b64encode(seen.root).decode()}",
        f"recorded: {proved.recorded_at or '?'}, by {proved.actor or '?'}",
        f"key: {proved.key}",
    ]
    if not proved.known:
        found.append("note: that key is the receipt's own word; compare it with the published one")
    # What stands in a receipt cannot steer a terminal.
    return ["".join(char if char.isprintable() else "?" for char in line) for line in found]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the receipt that the command line names."""
    parser = argparse.ArgumentParser(description="Check a receipt, alone and offline.")
    parser.add_argument("receipt", type=Path, help="the receipt's file")
    parser.add_argument(
        "--key", action="append", default=[], metavar="KEYLINE", help="a key that may have signed"
    )
    given = parser.parse_args(arguments)
    try:
        data = given.receipt.read_bytes()
    except OSError as error:
        sys.stderr.write(f"{given.receipt} cannot be read: {error.strerror}\n")
        return 2
    try:
        proved = check(data, given.key)
    except NotProved as error:
        sys.stderr.write(f"not proved: {error}\n")
        return 4
    sys.stdout.write("".join(f"{line}\n" for line in lines(proved)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
