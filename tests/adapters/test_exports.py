"""The file of a history: what it looks like, and everything that is wrong with another one."""

from __future__ import annotations

import io
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from siutindei.adapters import exports
from siutindei.adapters.exports import Digest, ErasedOwner, Reader, StoredRow, Summary, write
from siutindei.app.ports import Unusable
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable


def row(position: int = 1, stream: str = "person-ann", version: int = 1, **more: Any) -> StoredRow:
    """Make a stored event."""
    return StoredRow(
        position=position,
        stream=stream,
        version=version,
        **({"name": "person.signed_up.v1", "state": b'{"a":1}'} | more),
    )


DIGEST: Final = "c03fbe84fea07f6cfa851dbaed055e13244d908b2503550d3c6105c8274ee904"
#: A hole in the positions, two streams, two owners.
ITEMS: Final = (
    row(),
    row(3, "person-bob"),
    row(9, "person-ann", 2, state=b'{"text":"\xe6\x98\x9f"}'),
    ErasedOwner("address-f"),
    ErasedOwner("bob"),
)
FILE: Final = """\
{"format":"siutindei export","version":1}
{"position":1,"stream":"person-ann","version":1,"name":"person.signed_up.v1","state":{"a":1}}
{"position":3,"stream":"person-bob","version":1,"name":"person.signed_up.v1","state":{"a":1}}
{"position":9,"stream":"person-ann","version":2,"name":"person.signed_up.v1","state":{"text":"星"}}
{"erased":"address-f"}
{"erased":"bob"}
{"events":3,"erased":2,"digest":"%s"}
"""


def written(*items: StoredRow | ErasedOwner) -> bytes:
    """Write a file."""
    file = io.BytesIO()
    write(file, iter(items))
    return file.getvalue()


def read(data: bytes) -> tuple[list[StoredRow | ErasedOwner], Summary]:
    """Read a file."""
    reader = Reader(io.BytesIO(data))
    return list(reader), reader.found


def pinned(items: tuple[StoredRow | ErasedOwner, ...]) -> str:
    """Compute the digest as the decision record has it."""
    data = b"siutindei export 1\n"
    for item in items:
        if isinstance(item, ErasedOwner):
            texts = [item.owner.encode()]
            data += b"O"
        else:
            texts = [item.stream.encode(), item.name.encode(), item.state]
            data += b"E" + item.position.to_bytes(8, "big") + item.version.to_bytes(8, "big")
        data += b"".join(len(text).to_bytes(8, "big") + text for text in texts)
    return sha256(data).hexdigest()


def test_the_file_is_pinned() -> None:
    """One line an event with its stored bytes as they are, and a digest that others can compute."""
    digest = pinned(ITEMS)

    assert (FILE % digest).encode() == written(*ITEMS)
    assert DIGEST == digest
    assert (list(ITEMS), Summary(events=3, erased=2, digest=digest, position=9)) == read(
        written(*ITEMS)
    )


def test_an_empty_history_is_a_file_too() -> None:
    """Nothing happened, and the file says so."""
    assert ([], Digest().summary) == read(written())


@pytest.mark.parametrize(
    "state",
    [
        *(b"", b" ", b" {}", b"{} ", b'{"a":\n1}', b'{"a":\r1}', b"no json", b"\xff", b'"\xff"'),
        *(b"1,2", b"],[", b'{"a":1', b"\0", b"[" * 100_000 + b"]" * 100_000, b"\xef\xbb\xbf{}"),
    ],
    ids=lambda state: repr(state[:8]),
)
def test_bytes_that_are_no_line_of_json_survive(state: bytes) -> None:
    """What nobody can read is kept as it is, in base64."""
    data = written(row(state=state))

    assert b'"state_base64":"' in data
    assert [row(state=state)] == read(data)[0]
    assert all(json.loads(line) for line in data.splitlines())


@given(st.binary(max_size=50) | st.text(max_size=20).map(lambda text: json.dumps(text).encode()))
def test_any_bytes_survive(state: bytes) -> None:
    """Whatever is stored comes back byte by byte."""
    assert [row(state=state)] == read(written(row(state=state)))[0]


def test_what_is_too_long_for_a_line_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that nobody could read is not made."""
    monkeypatch.setattr(exports, "LONGEST", 200)
    with pytest.raises(Unusable, match="larger than 200 bytes"):
        written(row(state=b'"' + b"a" * 200 + b'"'))


def test_a_reader_that_is_not_done_knows_no_digest() -> None:
    """Who stopped in the middle cannot say that the file is whole."""
    reader = Reader(io.BytesIO(written(*ITEMS)))
    next(iter(reader))

    with pytest.raises(ValueError, match="to its end"):
        _ = reader.found


# --- what is wrong --------------------------------------------------------------------------------


def changed(number: int, line: str | Callable[[str], str] | None) -> bytes:
    """Give the file with one line changed or taken out."""
    lines = written(*ITEMS).decode().splitlines(keepends=True)
    before = lines[number - 1]
    after = line(before) if callable(line) else f"{line}\n" if line is not None else ""
    return "".join([*lines[: number - 1], after, *lines[number:]]).encode()


def event(**changes: Any) -> str:
    """Give the second line of the file, changed."""
    plain = {"position": 1, "stream": "person-ann", "version": 1, "name": "n", "state": {}}
    return json.dumps({k: v for k, v in (plain | changes).items() if v is not None})


OTHERS: Final = "does not begin an export"
NOTHING: Final = "is no event"
BAD: Final[list[tuple[bytes, int, str]]] = [
    (b"", 1, OTHERS),
    (b"\n", 1, OTHERS),
    (b"\xff\xfe\x00", 1, OTHERS),
    (b"SQLite format 3\0" * 10, 1, OTHERS),
    (b"{}\n", 1, OTHERS),
    (b"[" * 100_000 + b"\n", 1, OTHERS),
    (b'{"format":"another","version":1}\n', 1, OTHERS),
    (b'{"format":"siutindei export","version":0}\n', 1, OTHERS),
    (b'{"format":"siutindei export","version":2,"more":1}\n', 1, "is of a newer format"),
    (b'{"format":"siutindei export","version":1}\n', 2, "is missing; the file was cut short"),
    (changed(1, None), 1, OTHERS),
    (changed(2, ""), 2, NOTHING),
    (changed(2, "\x00"), 2, NOTHING),
    (changed(2, event(position=0)), 2, NOTHING),
    (changed(2, event(position=2**63)), 2, NOTHING),
    (changed(2, event(position="1")), 2, NOTHING),
    (changed(2, event(version=0)), 2, NOTHING),
    (changed(2, event(version=1.5)), 2, NOTHING),
    (changed(2, event(stream="")), 2, NOTHING),
    (changed(2, event(stream="a\0")), 2, NOTHING),
    (changed(2, event(stream="\ud800")), 2, NOTHING),
    (changed(2, event(stream="s" * 1025)), 2, NOTHING),
    (changed(2, event(name=None)), 2, NOTHING),
    (changed(2, event(name="\0")), 2, NOTHING),
    (changed(2, event(state=None)), 2, NOTHING),
    (changed(2, event(state_base64="e30=")), 2, NOTHING),
    (changed(2, event(state=None, state_base64="%")), 2, NOTHING),
    (changed(2, event(state=None, state_base64="é")), 2, NOTHING),
    (changed(2, event(more=1)), 2, NOTHING),
    (changed(2, "[" * 100_000), 2, NOTHING),
    (changed(2, '{"erased":"a\\u0000"}'), 2, NOTHING),
    (changed(2, event(version=2)), 2, "and 1 would be the next"),
    (changed(2, None), 3, "and 1 would be the next"),
    (changed(3, lambda line: line.replace(":3", ":1")), 3, "has position 1, which is not after 1"),
    (changed(3, lambda line: line * 2), 4, "has position 3, which is not after 3"),
    (changed(4, lambda line: line.replace('n":2', 'n":1')), 4, "version 1 of its stream, and 2"),
    (changed(4, lambda line: line.replace('n":2', 'n":3')), 4, "version 3 of its stream, and 2"),
    (changed(5, lambda line: line + event(position=10, stream="c") + "\n"), 6, "behind the erased"),
    (changed(5, lambda line: line * 2), 6, "is not in the order of owners"),
    (changed(6, '{"erased":"a"}'), 6, "is not in the order of owners"),
    (changed(6, None), 6, "counts 3 events and 2 erased owners, and there are 3 and 1"),
    (changed(6, '{"erased":"carl"}'), 7, "has a digest that does not fit"),
    (changed(3, lambda line: line.replace(":1}", ":2}")), 7, "has a digest that does not fit"),
    (changed(3, lambda line: line.replace("bob", "bot")), 7, "has a digest that does not fit"),
    (changed(4, lambda line: line.replace(":9", ":8")), 7, "has a digest that does not fit"),
    (changed(7, None), 7, "is missing; the file was cut short"),
    (changed(7, lambda line: line.rstrip()), 7, "is not whole; the file was cut short"),
    (changed(7, lambda line: line * 2), 8, "follows the last one"),
    (changed(7, lambda line: line + "\n"), 8, "follows the last one"),
    (changed(7, lambda line: line.replace(":3", ":2")), 7, "counts 2 events and 2 erased"),
    (changed(7, '{"events":-1,"erased":0,"digest":""}'), 7, NOTHING),
]


@pytest.mark.parametrize(("data", "line", "why"), BAD, ids=range(len(BAD)))
def test_a_bad_file_is_refused_with_its_line(data: bytes, line: int, why: str) -> None:
    """What is wrong is named with the number of the line, and its text is not quoted."""
    with pytest.raises(Invalid) as refused:
        read(data)

    assert "file" == refused.value.field
    assert refused.value.why.startswith(f"line {line} ")
    assert why in refused.value.why


def test_a_line_without_an_end_is_not_read_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is one endless line is refused where the longest line would end."""
    monkeypatch.setattr(exports, "LONGEST", 100)
    header = written().splitlines(keepends=True)[0]
    with pytest.raises(Invalid, match="line 2 is too long"):
        read(header + b"x" * 1000)


@given(st.binary(max_size=300), st.integers(0, 7), st.integers(0, 600))
@example(b"", 0, 0)
def test_whatever_comes_is_refused_or_read(noise: bytes, count: int, at: int) -> None:
    """Noise, and a file with noise over it, is refused by name or is the very same file."""
    whole = written(*ITEMS)
    for data in (noise, whole[:at] + noise[:count] + whole[at + count :]):
        try:
            found = read(data)
        except Invalid:
            continue
        assert found == read(whole)
