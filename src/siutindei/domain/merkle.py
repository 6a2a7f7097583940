"""The tree over the log: RFC 6962's hashes, and RFC 9162's algorithms for the proofs from it.

A leaf is one stored event, in the one encoding that `event_bytes` gives; it is pinned for ever
(decision 26). Everything here needs no more memory than a tree is high, however many leaves pass.
`verify_receipt.py`, which stands alone, has the few lines again that a receipt is checked with.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: How the bytes of a leaf begin.
_EVENT: Final = b"siutindei event 1\n"
#: Numbers are of eight bytes, the most significant first.
_PLACE, _LENGTH = Struct(">qq"), Struct(">q")
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
#: The root of no leaves.
EMPTY: Final = sha256(b"").digest()


# --- hashes ---------------------------------------------------------------------------------------


def event_bytes(position: int, version: int, stream: bytes, name: bytes, state: bytes) -> bytes:
    """Write a stored event so that no other one is written the same.

    `state` is the stored text of the event: when it was recorded, by which command, who and why,
    and what happened, sealed where it is personal.
    """
    return b"".join((
        *(_EVENT, _PLACE.pack(position, version)),
        *(_LENGTH.pack(len(stream)), stream),
        *(_LENGTH.pack(len(name)), name),
        *(_LENGTH.pack(len(state)), state),
    ))  # fmt: skip


def leaf_hash(data: bytes) -> bytes:
    """Hash what a leaf is made of."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbours into the node above them."""
    return sha256(_NODE + left + right).digest()


class Tree:
    """A tree that grows by one leaf after the other, and knows its root at every moment."""

    def __init__(self) -> None:
        self.size = 0
        # The roots of the whole trees that it consists of, the largest first: one for each bit.
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Add a leaf's hash."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        """The root of what was added so far."""
        if not self._peaks:
            return EMPTY
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


# --- making proofs --------------------------------------------------------------------------------

#: Some leaves that stand together: the first, and the one behind the last.
Span = tuple[int, int]


def inclusion_spans(index: int, size: int) -> Sequence[Span]:
    """Give the subtrees whose roots prove that a leaf is in a tree (RFC 6962, 2.1.1).

    The roots, in this order, are the proof.
    """
    first, last = 0, size
    spans: list[Span] = []
    while last - first > 1:
        middle = first + _left(last - first)
        if index < middle:
            spans.append((middle, last))
            last = middle
        else:
            spans.append((first, middle))
            first = middle
    return spans[::-1]


def consistency_spans(before: int, size: int) -> Sequence[Span]:
    """Give the subtrees whose roots prove that a tree began as an earlier one (RFC 6962, 2.1.2)."""
    first, last = 0, size
    spans: list[Span] = []
    while 0 < before < last:
        middle = first + _left(last - first)
        if before <= middle:
            spans.append((middle, last))
            last = middle
        else:
            spans.append((first, middle))
            first = middle
    if first:
        # Otherwise it is the earlier tree itself, whose root is known.
        spans.append((first, last))
    return spans[::-1]


def span_roots(spans: Sequence[Span], leaves: Iterable[bytes]) -> list[bytes]:
    """Give the roots of some subtrees, in their order, from one walk over all leaves."""
    trees = {span: Tree() for span in spans}
    waiting = sorted(spans, reverse=True)
    for index, leaf in enumerate(leaves):
        if waiting and index >= waiting[-1][1]:
            waiting.pop()
        if waiting and index >= waiting[-1][0]:
            trees[waiting[-1]].add(leaf)
    return [trees[span].root for span in spans]


def _left(size: int) -> int:
    """Give the largest power of two below a number."""
    return 1 << ((size - 1).bit_length() - 1)


# --- checking proofs ------------------------------------------------------------------------------


def includes(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf's hash is in a tree (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = node_hash(step, found)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = node_hash(found, step)
        number, last = number >> 1, last >> 1
    return last == 0 and found == root


def continues(
    *, before: int, size: int, proof: Sequence[bytes], root_before: bytes, root: bytes
) -> bool:
    """Whether a proof shows that a tree began as an earlier one (RFC 9162, 2.1.4.2)."""
    if not 0 < before < size:
        # Of a tree that is the same, or of none, nothing has to be proved.
        same = root_before == (root if before == size else EMPTY)
        return 0 <= before <= size and same and not proof
    steps = list(proof)
    if before & (before - 1) == 0:
        steps.insert(0, root_before)
    if not steps:
        return False
    number, last = before - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            new = node_hash(new, step)
        number, last = number >> 1, last >> 1
    return last == 0 and old == root_before and new == root
