"""The tree over the log, against the vectors of Certificate Transparency and against itself."""

from __future__ import annotations

from functools import reduce
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.domain.merkle import (
    EMPTY,
    Tree,
    consistency_spans,
    continues,
    event_bytes,
    includes,
    inclusion_spans,
    leaf_hash,
    node_hash,
    span_roots,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- the vectors of Certificate Transparency's reference implementation ---------------------------

INPUTS: Final = tuple(
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
)
ROOTS: Final = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSION: Final[dict[tuple[int, int], tuple[str, ...]]] = {
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
CONSISTENCY: Final[dict[tuple[int, int], tuple[str, ...]]] = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
LEAVES: Final = tuple(leaf_hash(data) for data in INPUTS)


def tree(leaves: Sequence[bytes]) -> Tree:
    """Grow a tree."""
    grown = Tree()
    for leaf in leaves:
        grown.add(leaf)
    return grown


def hexed(proof: Sequence[bytes]) -> tuple[str, ...]:
    """Write a proof as the vectors have it."""
    return tuple(step.hex() for step in proof)


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_of_the_reference(size: int) -> None:
    """Each tree over the first leaves has the published root."""
    assert ROOTS[size] == tree(LEAVES[:size]).root.hex()


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_a_proof_of_inclusion_is_that_of_the_reference(index: int, size: int) -> None:
    """The path is the published one, and it proves what it should."""
    proof = span_roots(inclusion_spans(index, size), LEAVES[:size])

    assert INCLUSION[index, size] == hexed(proof)
    assert includes(
        leaf=LEAVES[index], index=index, size=size, proof=proof, root=bytes.fromhex(ROOTS[size])
    )


@pytest.mark.parametrize(("before", "size"), CONSISTENCY)
def test_a_proof_of_consistency_is_that_of_the_reference(before: int, size: int) -> None:
    """The same of two trees."""
    proof = span_roots(consistency_spans(before, size), LEAVES[:size])
    roots = [bytes.fromhex(ROOTS[number]) for number in (before, size)]

    assert CONSISTENCY[before, size] == hexed(proof)
    assert continues(before=before, size=size, proof=proof, root_before=roots[0], root=roots[1])


# --- the encoding ---------------------------------------------------------------------------------

#: It never changes: checkpoints that are kept elsewhere were signed over it.
PINNED: Final = (
    b"siutindei event 1\n"
    b"\x00\x00\x00\x00\x00\x00\x00\x07"
    b"\x00\x00\x00\x00\x00\x00\x00\x02"
    b"\x00\x00\x00\x00\x00\x00\x00\x0dticket-R00001"
    b"\x00\x00\x00\x00\x00\x00\x00\x12ticket.approved.v1"
    b'\x00\x00\x00\x00\x00\x00\x00\x0b{"data":{}}'
)  # fmt: skip


def test_the_encoding_of_an_event_is_pinned() -> None:
    """Each column as it is stored, with its length before it, and where it stands."""
    data = event_bytes(7, 2, b"ticket-R00001", b"ticket.approved.v1", b'{"data":{}}')

    assert PINNED == data
    assert (
        "c1a861a931b350614259034bf17f608cbf5b649bf0734cbffcd3af62c28fdcce" == leaf_hash(data).hex()
    )


events = st.tuples(*(st.integers(-(2**63), 2**63 - 1),) * 2, *(st.binary(max_size=4),) * 3)


@given(events, events)
def test_two_events_are_never_written_the_same(
    one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    """What differs in any column differs in the bytes."""
    first, second = event_bytes(*one), event_bytes(*other)  # type: ignore[arg-type]

    assert (one == other) == (first == second)


# --- any tree -------------------------------------------------------------------------------------


def plain(leaves: Sequence[bytes]) -> bytes:
    """Give a root as RFC 6962 defines it, word by word."""
    if not leaves:
        return EMPTY
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return node_hash(plain(leaves[:middle]), plain(leaves[middle:]))


def some(count: int) -> list[bytes]:
    """Give the hashes of some leaves."""
    return [sha256(str(number).encode()).digest() for number in range(count)]


@pytest.mark.parametrize("size", range(70))
def test_a_growing_tree_has_the_root_of_the_definition(size: int) -> None:
    """However many leaves there are."""
    assert plain(some(size)) == tree(some(size)).root


@pytest.mark.parametrize("size", range(1, 40))
def test_every_leaf_is_proved_to_be_in_every_tree(size: int) -> None:
    """And at no other place."""
    leaves, root = some(size), plain(some(size))
    for index in range(size):
        proof = span_roots(inclusion_spans(index, size), leaves)
        proved = [
            place
            for place in range(-1, size + 1)
            if includes(leaf=leaves[index], index=place, size=size, proof=proof, root=root)
        ]
        assert [index] == proved


@pytest.mark.parametrize("size", range(40))
def test_every_tree_is_proved_to_go_on_from_every_earlier_one(size: int) -> None:
    """And from none that is as long and another."""
    leaves, root = some(size), plain(some(size))
    for before in range(size + 1):
        proof = span_roots(consistency_spans(before, size), leaves)
        earlier = plain(leaves[:before])
        facts = {"before": before, "size": size, "proof": proof, "root": root}
        assert continues(**facts, root_before=earlier)  # type: ignore[arg-type]
        assert not continues(**facts, root_before=leaf_hash(earlier))  # type: ignore[arg-type]


def flipped(data: bytes, bit: int) -> bytes:
    """Change one bit."""
    byte = bit // 8 % len(data)
    return data[:byte] + bytes([data[byte] ^ (1 << bit % 8)]) + data[byte + 1 :]


@given(st.data())
def test_a_proof_of_inclusion_that_was_tampered_with_proves_nothing(data: st.DataObject) -> None:
    """Any bit of any part, a step more or less, another place, another size."""
    size = data.draw(st.integers(1, 33))
    index = data.draw(st.integers(0, size - 1))
    leaves = some(size)
    proof = span_roots(inclusion_spans(index, size), leaves)
    bit = data.draw(st.integers(0, 255))
    good = {"leaf": leaves[index], "index": index, "size": size, "proof": proof,
            "root": plain(leaves)}  # fmt: skip
    bad: list[dict[str, object]] = [
        {"leaf": flipped(leaves[index], bit)},
        {"root": flipped(plain(leaves), bit)},
        {"index": index + data.draw(st.sampled_from((-size, -1, 1, size)))},
        {"proof": [*proof, leaves[0]]},
    ]
    bad += [
        {"proof": [*proof[:step], flipped(proof[step], bit), *proof[step + 1 :]]}
        for step in range(len(proof))
    ]
    bad += [{"proof": proof[1:]}, {"proof": proof[:-1]}] if proof else []
    assert includes(**good)  # type: ignore[arg-type]
    for change in bad:
        assert not includes(**(good | change)), change  # type: ignore[arg-type]


@given(st.data())
def test_a_proof_of_consistency_that_was_tampered_with_proves_nothing(data: st.DataObject) -> None:
    """Any bit of any part, a step more or less."""
    size = data.draw(st.integers(2, 33))
    before = data.draw(st.integers(1, size - 1))
    leaves = some(size)
    proof = span_roots(consistency_spans(before, size), leaves)
    bit = data.draw(st.integers(0, 255))
    good = {"before": before, "size": size, "proof": proof, "root": plain(leaves),
            "root_before": plain(leaves[:before])}  # fmt: skip
    bad: list[dict[str, object]] = [
        {"root": flipped(plain(leaves), bit)},
        {"root_before": flipped(plain(leaves[:before]), bit)},
        {"proof": [*proof, leaves[0]]},
        {"proof": proof[1:]},
        {"proof": []},
    ]
    bad += [
        {"proof": [*proof[:step], flipped(proof[step], bit), *proof[step + 1 :]]}
        for step in range(len(proof))
    ]
    assert continues(**good)  # type: ignore[arg-type]
    for change in bad:
        assert not continues(**(good | change)), change  # type: ignore[arg-type]


def test_sizes_that_cannot_be_prove_nothing() -> None:
    """A tree is not longer than itself, and no tree has fewer leaves than none."""
    for before, size in ((3, 2), (-1, 2)):
        assert not continues(before=before, size=size, proof=[], root_before=EMPTY, root=EMPTY)


def test_a_tree_remembers_its_height_and_no_more() -> None:
    """A million leaves leave twenty hashes behind."""
    grown = Tree()
    for number in range(1000):
        grown.add(bytes([number % 256]) * 32)

    assert (1000, 6) == (grown.size, len(grown._peaks))
    assert grown.root == reduce(lambda right, left: node_hash(left, right), grown._peaks[::-1])
