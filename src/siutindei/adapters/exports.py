"""The file of a whole history: JSON lines, complete and unaltered or refused.

The first line names the format. Then comes one line for each event, in order of position, with the
stored bytes as they are; one for each owner who was erased; and a last one that counts both and
gives their digest. The same history makes the same file, whatever database it comes from.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import attrs
import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from siutindei.app.ports import Unusable
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT: Final = "siutindei export"
VERSION: Final = 1
#: What a refusal is about, as the command line calls it.
FIELD: Final = "file"
#: The longest line, in bytes; no event of ours comes near it.
LONGEST: Final = 2**26
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
#: Events go on being appended behind the last one, which has to leave room for them.
_Number = Annotated[int, Meta(ge=1, le=2**53)]
_Name = Annotated[str, Meta(max_length=1024, pattern=r"\A[^\x00]+\Z")]


@attrs.frozen(kw_only=True)
class StoredRow:
    """An event as it is stored."""

    position: int
    stream: str
    version: int
    name: str
    state: bytes


@attrs.frozen
class ErasedOwner:
    """Somebody who was erased, and never gets a key."""

    owner: str


@attrs.frozen(kw_only=True)
class Summary:
    """What an export holds.

    Attributes:
        events: how many events.
        erased: how many owners who were erased.
        digest: SHA-256 over all of it.
        position: the last event's position.
    """

    events: int
    erased: int
    digest: str
    position: int


class _Header(msgspec.Struct):
    format: str
    version: _Number


class _Event(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    position: _Number
    stream: _Name
    version: _Number
    name: _Name
    state: Raw | UnsetType = UNSET
    state_base64: str | UnsetType = UNSET


class _Erased(msgspec.Struct, forbid_unknown_fields=True):
    erased: _Name


class _End(msgspec.Struct, forbid_unknown_fields=True):
    events: _Count
    erased: _Count
    digest: str


_encode: Final = msgspec.json.Encoder().encode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_BAD: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Digest:
    """The digest of a history, and the counts beside it.

    What is hashed, one after the other: `siutindei export 1` and a line break; for each event
    `E`, its position, its version, its stream, its stored name, its stored bytes; for each erased
    owner `O` and the owner. Numbers are eight bytes, big-endian; texts are UTF-8; before each text
    stands its length in bytes as such a number.
    """

    def __init__(self) -> None:
        self._hash = sha256(b"siutindei export 1\n")
        self._events = self._erased = self._position = 0

    def add(self, item: StoredRow | ErasedOwner) -> None:
        """Add what comes next."""
        if isinstance(item, ErasedOwner):
            self._erased += 1
            self._hash.update(b"O" + _text(item.owner.encode()))
            return
        self._events += 1
        self._position = item.position
        self._hash.update(
            b"E"
            + _eight(item.position)
            + _eight(item.version)
            + _text(item.stream.encode())
            + _text(item.name.encode())
            + _text(item.state)
        )

    @property
    def summary(self) -> Summary:
        """What was added so far."""
        return Summary(
            events=self._events,
            erased=self._erased,
            digest=self._hash.hexdigest(),
            position=self._position,
        )


def _eight(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _text(data: bytes) -> bytes:
    return _eight(len(data)) + data


# --- writing -------------------------------------------------------------------------------------


def write(file: IO[bytes], items: Iterator[StoredRow | ErasedOwner]) -> Summary:
    """Write an export: events in order of position, then owners in order.

    Raises:
        Unusable: something is stored that no line can hold.
    """
    digest = Digest()
    file.write(_encode(_Header(FORMAT, VERSION)) + b"\n")
    for item in items:
        digest.add(item)
        line = _line(item) if isinstance(item, StoredRow) else _encode(_Erased(item.owner))
        if len(line) >= LONGEST:
            msg = f"an event is larger than {LONGEST} bytes, and was not written by this program"
            raise Unusable(msg)
        file.write(line + b"\n")
    found = digest.summary
    file.write(_encode(_End(found.events, found.erased, found.digest)) + b"\n")
    return found


def _line(row: StoredRow) -> bytes:
    plain = _Event(row.position, row.stream, row.version, row.name, state=Raw(row.state))
    if _is_a_line(row.state):
        return _encode(plain)
    coded = base64.b64encode(row.state).decode()
    return _encode(_Event(row.position, row.stream, row.version, row.name, state_base64=coded))


def _is_a_line(state: bytes) -> bool:
    """Whether bytes are JSON that can stand in a line and comes out of it as it went in."""
    if b"\n" in state or b"\r" in state:
        return False
    try:
        state.decode()
        return bytes(_decode_raw(b"[" + state + b"]")[0]) == state
    except (*_BAD, IndexError):
        return False


_decode_raw: Final = msgspec.json.Decoder(list[Raw]).decode


# --- reading -------------------------------------------------------------------------------------


class Reader:
    """Reads an export line by line, and believes nothing.

    Attributes:
        line: the number of the line that is being read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._versions: dict[str, int] = {}
        self._last: StoredRow | ErasedOwner | None = None
        self.line = 0
        self._summary: Summary | None = None

    @property
    def found(self) -> Summary:
        """What it held; all of it has been read.

        Raises:
            ValueError: it was not read to its end.
        """
        if self._summary is None:
            msg = "read it to its end first"
            raise ValueError(msg)
        return self._summary

    def refusal(self, why: str) -> Invalid:
        """Say what is wrong with the line that is being read."""
        return Invalid(FIELD, f"line {self.line} {why}")

    def __iter__(self) -> Iterator[StoredRow | ErasedOwner]:
        """Give what it holds, in order.

        Raises:
            Invalid: a line that does not belong there, or the digest does not fit.
        """
        self._header()
        digest = Digest()
        while True:
            item = self._parse(self._next())
            if isinstance(item, _End):
                break
            self._check(item)
            digest.add(item)
            yield item
            self._last = item
        found = digest.summary
        if (item.events, item.erased) != (found.events, found.erased):
            raise self.refusal(
                f"counts {item.events} events and {item.erased} erased owners, and there are "
                f"{found.events} and {found.erased}; the file was altered"
            )
        if item.digest != found.digest:
            raise self.refusal("has a digest that does not fit; the file was altered")
        if self._file.read(1):
            self.line += 1
            raise self.refusal("follows the last one; the file was altered")
        self._summary = found

    def _next(self) -> bytes:
        self.line += 1
        line = self._file.readline(LONGEST)
        if not line:
            raise self.refusal("is missing; the file was cut short")
        if not line.endswith(b"\n"):
            raise self.refusal(
                "is too long" if len(line) == LONGEST else "is not whole; the file was cut short"
            )
        return line

    def _header(self) -> None:
        try:
            header = msgspec.json.decode(self._next(), type=_Header)
        except (*_BAD, Invalid):
            header = _Header("", 0)
        if header.format != FORMAT:
            raise self.refusal("does not begin an export of this program; name another file")
        if header.version > VERSION:
            raise self.refusal(
                f"is of a newer format (version {header.version}, this program knows {VERSION}); "
                "install the version that wrote it"
            )

    def _parse(self, line: bytes) -> StoredRow | ErasedOwner | _End:
        try:
            return _row(_decode_event(line))
        except (*_BAD, ValueError):
            pass
        rest: Any
        for kind in (_Erased, _End):
            try:
                rest = msgspec.json.decode(line, type=kind)
            except _BAD:
                continue
            return ErasedOwner(rest.erased) if isinstance(rest, _Erased) else rest
        raise self.refusal("is no event, no erased owner and no end")

    def _check(self, item: StoredRow | ErasedOwner) -> None:
        last = self._last
        if isinstance(item, ErasedOwner):
            if isinstance(last, ErasedOwner) and item.owner <= last.owner:
                raise self.refusal("is not in the order of owners")
            return
        if isinstance(last, ErasedOwner):
            raise self.refusal("is an event behind the erased owners")
        if last is not None and item.position <= last.position:
            raise self.refusal(f"has position {item.position}, which is not after {last.position}")
        version = self._versions.get(item.stream, 0) + 1
        if item.version != version:
            raise self.refusal(
                f"has version {item.version} of its stream, and {version} would be the next"
            )
        self._versions[item.stream] = version


def _row(event: _Event) -> StoredRow:
    if (event.state is UNSET) == (event.state_base64 is UNSET):
        raise msgspec.ValidationError("one state is wanted")
    state = (
        bytes(event.state)
        if isinstance(event.state, Raw)
        else base64.b64decode(str(event.state_base64), validate=True)
    )
    return StoredRow(
        position=event.position,
        stream=event.stream,
        version=event.version,
        name=event.name,
        state=state,
    )
