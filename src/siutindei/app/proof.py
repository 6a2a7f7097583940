"""The signed log: checkpoints over all that was stored, receipts for an event, verification.

A checkpoint is signed over the roots of a tree whose leaves are the stored events. It is kept
outside the database: what happens to the database afterwards can be held against it. The index of
leaves inside the database is trusted by nobody; it only helps to say which event is another one.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.app.ports import (
    Altered,
    Checkpoint,
    Checkpoints,
    Clock,
    EventLog,
    EventStore,
    Notary,
    Unavailable,
)
from siutindei.domain import merkle, ticket
from siutindei.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from siutindei.app.ports import Leaf, Progress, Row

#: How old the newest checkpoint is before a sweep takes another one.
EVERY: Final = timedelta(minutes=5)
FORMAT: Final = "siutindei receipt"
VERSION: Final = 1
#: How many findings are named one by one, and how often progress is told, in events.
MOST: Final = 100
_STEP: Final = 500
#: Of those who take a checkpoint at the same moment one is first: each round is somebody's last.
_TRIES: Final = 8
_DECISIONS: Final = ("ticket.approved.", "ticket.declined.")
_VERIFY: Final = "siutindei audit verify says more"
_TAKE_ONE: Final = "take one first: siutindei audit checkpoint"

Kind = Literal["changed", "removed", "inserted", "truncated", "altered", "index", "checkpoint"]


class NotCovered(Refused):
    """No checkpoint covers the event yet."""

    def __init__(self, event: str) -> None:
        super().__init__(f"no checkpoint covers {event} yet; {_TAKE_ONE}")


class NotDecided(Refused):
    """A ticket that nobody decided has no decision to prove."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            f"{reference} is not decided, so there is no decision to prove; name an event of it, "
            f"such as {ticket.stream(reference)}/1"
        )


@attrs.frozen(kw_only=True)
class Finding:
    """Something that is not as it was signed.

    Attributes:
        kind: what happened to it.
        first: the number of the first leaf, counted from 0; None of a checkpoint.
        last: that of the last one.
        count: how many events.
        why: the same in words.
    """

    kind: Kind
    first: int | None
    last: int | None
    count: int
    why: str


@attrs.frozen(kw_only=True)
class Verified:
    """What a verification found.

    Attributes:
        checked: how many events were hashed again.
        checkpoints: how many checkpoints they were held against.
        size: how many events the newest of them covers; 0 without one.
        root: its root; None without one.
        not_covered: how many events lie beyond it: nothing is said of them.
        findings: what is not as it was signed, in the order of the log.
        more: how many further findings there are that are not named.
        seconds: how long it took.
    """

    checked: int
    checkpoints: int
    size: int
    root: bytes | None
    not_covered: int
    findings: Sequence[Finding]
    more: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether everything that was signed is as it was."""
        return not self.findings


@attrs.frozen(kw_only=True)
class Taken:
    """A checkpoint.

    Attributes:
        number: its number among those that are kept.
        checkpoint: what it says.
        note: the signed note.
        key: the public key that it was signed with.
        is_new: whether it was taken now; the newest one stays when nothing happened since.
    """

    number: int
    checkpoint: Checkpoint
    note: str
    key: str
    is_new: bool


@attrs.frozen(kw_only=True)
class Place:
    """Where an event stands in the newest checkpoint.

    Attributes:
        index: its leaf, counted from 0.
        size: how many events the checkpoint covers.
        root: what the checkpoint says of all of them, in base64.
    """

    index: int
    size: int
    root: str


@attrs.frozen(kw_only=True)
class Proof:
    """The use cases of the signed log. Nothing that is personal is opened, no event is read.

    Attributes:
        store: the history.
        log: the same as it is stored, with the index of its leaves.
        checkpoints: where checkpoints are kept.
        notary: gives what signs them; asked for when one is signed or looked at.
        clock: the time.
    """

    store: EventStore
    log: EventLog
    checkpoints: Checkpoints
    notary: Callable[[], Notary]
    clock: Clock

    # --- checkpoints ------------------------------------------------------------------------------

    def checkpoint(self, *, progress: Progress = lambda *_: None) -> Taken:
        """Verify everything, then sign how far the log has come.

        Raises:
            Altered: something before the newest checkpoint is not as it was; nothing is signed.
        """
        found = self.verify(progress=progress)
        if not found.ok:
            raise Altered(f"{found.findings[0].why}; no checkpoint is signed over that")
        return self._take()

    def keep_up(self) -> bool:
        """Take a checkpoint when the newest one is some minutes old and something happened since.

        Only the index of leaves is held against the newest one: `verify` hashes all events again.

        Raises:
            Altered: the index is not what the newest one was taken over; nothing is signed.
        """
        kept = self.checkpoints.newest()
        if kept is not None and self.clock.now() - kept.at < EVERY:
            return False
        indexed, position = self._indexed()
        if self.log.last_position() <= position and indexed <= self._opened(kept).size:
            return False
        return self._take().is_new

    def _take(self) -> Taken:
        """Sign how far the log has come, unless it does not go on from the newest checkpoint."""
        last = self.log.last_position()
        while self._indexed()[1] < last and self.log.index_more(_hash_of):
            pass
        for _ in range(_TRIES):
            kept = self.checkpoints.newest()
            before = self._opened(kept)
            tree = merkle.Tree()
            root_before = merkle.EMPTY
            for leaf in self.log.leaves(until=_ALL):
                tree.add(leaf.hash)
                if tree.size == before.size:
                    root_before = tree.root
            if tree.size < before.size:
                raise Altered(_cut_short(tree.size, before.size))
            if root_before != before.root:
                raise Altered(_NOT_FROM.format(before.size))
            if kept is not None and tree.size == before.size:
                return self._taken(kept.number, kept.note, is_new=False)
            number = 1 if kept is None else kept.number + 1
            note = self.notary().sign(size=tree.size, root=tree.root)
            if self.checkpoints.put(number, note):
                return self._taken(number, note, is_new=True)
            # Somebody else was first, and theirs is the one to go on from.
        raise Unavailable("others take checkpoints again and again; try again")

    def _indexed(self) -> tuple[int, int]:
        """Say how many leaves the index has, and up to which position."""
        leaf = self.log.newest_leaf()
        return (0, 0) if leaf is None else (leaf.index + 1, leaf.position)

    def _opened(self, kept: Any) -> Checkpoint:
        if kept is None:
            return Checkpoint(origin="", size=0, root=merkle.EMPTY)
        return self.notary().open(kept.note)[0]

    def _taken(self, number: int, note: str, *, is_new: bool) -> Taken:
        checkpoint, key = self.notary().open(note)
        return Taken(number=number, checkpoint=checkpoint, note=note, key=key, is_new=is_new)

    # --- receipts ---------------------------------------------------------------------------------

    def prove(self, reference: str) -> dict[str, Any]:
        """Make a receipt for the decision of a ticket, or for any event.

        Raises:
            NotFound: there is no such ticket or event.
            NotDecided: the ticket is pending.
            NotCovered: the newest checkpoint is older than the event.
            Altered: the event is not what the checkpoint was taken over.
        """
        event = self._event(reference)
        stream, _, version = event.rpartition("/")
        row = self.log.row(stream, int(version)) if _is_number(version) else None
        if row is None:
            raise NotFound("event", event)
        kept, leaf = self.checkpoints.newest(), self.log.leaf_at(row.position)
        if kept is None or leaf is None:
            raise NotCovered(event)
        checkpoint, key = self.notary().open(kept.note)
        if leaf.index >= checkpoint.size:
            raise NotCovered(event)
        proof = merkle.span_roots(
            merkle.inclusion_spans(leaf.index, checkpoint.size),
            (one.hash for one in self.log.leaves(until=checkpoint.size)),
        )
        if not merkle.includes(
            leaf=_hash_of(row),
            index=leaf.index,
            size=checkpoint.size,
            proof=proof,
            root=checkpoint.root,
        ):
            raise Altered(
                f"{event} (leaf {leaf.index}), or the index of leaves, is not what was signed; "
                "siutindei audit verify says which"
            )
        try:
            name = row.name.decode()
        except UnicodeDecodeError:
            raise Altered(f"the stored name of {event} is no text; no receipt holds it") from None
        return {
            "format": FORMAT,
            "version": VERSION,
            "event": {
                "position": row.position,
                "stream": row.stream.decode(),
                "version": row.version,
                "name": name,
                "state_base64": _base64(row.state),
            },
            "leaf_index": leaf.index,
            "proof": [_base64(step) for step in proof],
            "checkpoint": kept.note,
            "key": key,
        }

    def covered(self, events: Sequence[str]) -> Mapping[str, Place]:
        """Say where some events stand in the newest checkpoint; what it does not cover is not in.

        Raises:
            Altered: one of them, or the index of leaves, is not what was signed.
        """
        kept = self.checkpoints.newest()
        if kept is None:
            return {}
        checkpoint = self._opened(kept)
        tree = merkle.Tree()
        for leaf in self.log.leaves(until=checkpoint.size):
            tree.add(leaf.hash)
        if (tree.size, tree.root) != (checkpoint.size, checkpoint.root):
            raise Altered(f"the index of leaves is not what was signed; {_VERIFY}")
        found = {}
        for event in events:
            stream, _, version = event.rpartition("/")
            row = self.log.row(stream, int(version))
            place = None if row is None else self.log.leaf_at(row.position)
            if row is None or place is None or place.index >= checkpoint.size:
                continue
            if _hash_of(row) != place.hash:
                raise Altered(f"{event} (leaf {place.index}) is not what was signed; {_VERIFY}")
            found[event] = Place(
                index=place.index, size=checkpoint.size, root=_base64(checkpoint.root)
            )
        return found

    def _event(self, reference: str) -> str:
        """Give the id of the event that somebody means."""
        if "/" in reference:
            return reference
        found = self.store.views.find_ticket(reference)
        if found is None or found.submitted is None:
            raise NotFound("ticket", reference)
        number = found.submitted.reference
        for entry in reversed(self.store.entries(ticket.stream(number))):
            if entry.name.startswith(_DECISIONS):
                return entry.id
        raise NotDecided(number)

    # --- verification -----------------------------------------------------------------------------

    def verify(self, *, progress: Progress = lambda *_: None) -> Verified:
        """Hash every stored event again, and hold them against every checkpoint that is kept.

        It goes once through the log, in flat memory, and trusts no earlier time.
        """
        started, findings = self.clock.now(), _Findings()
        # In this order: what others sign, index and append meanwhile is missed nowhere.
        signed = _Signed(self.checkpoints.all(), self.notary, findings)
        indexed, last = self._indexed()[0], self.log.last_position()
        walk = _Walk(self.log.leaves(until=indexed), signed.checkpoints, findings)
        for number, row in enumerate(self.log.rows(until=last), start=1):
            if number % _STEP == 0:
                progress(row.position, last)
            walk.pass_row(row)
        walk.finish()
        progress(last, last)
        newest = signed.checkpoints[-1] if signed.checkpoints else None
        size = 0 if newest is None else newest.size
        return Verified(
            checked=walk.rows.tree.size,
            checkpoints=len(signed.checkpoints),
            size=size,
            root=None if newest is None else newest.root,
            not_covered=max(0, walk.rows.tree.size - size),
            findings=findings.all(),
            more=findings.more,
            seconds=(self.clock.now() - started).total_seconds(),
        )


_ALL: Final = 2**63 - 1
_NOT_FROM: Final = (
    "the log does not go on from the newest checkpoint: something in its first {} events is not "
    "what was signed; siutindei audit verify says what"
)


def _hash_of(row: Row) -> bytes:
    """Hash an event.

    Raises:
        Altered: it is not of the types that it should be, so nothing of ours stored it.
    """
    if not row.is_sound:
        raise Altered(
            f"what is stored at position {row.position} is not of the types that it should be"
        )
    data = merkle.event_bytes(row.position, row.version, row.stream, row.name, row.state)
    return merkle.leaf_hash(data)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < len(str(_ALL))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _cut_short(found: int, signed: int) -> str:
    return (
        f"the history has {found} events, and the newest checkpoint covers {signed}: it was cut "
        "short, or an older backup was restored"
    )


# --- what a verification keeps in mind ------------------------------------------------------------


class _Findings:
    """Collects what is found; neighbours with the same trouble are one finding."""

    def __init__(self) -> None:
        self._events: list[Finding] = []
        self._rest: list[Finding] = []
        self.more = 0

    def all(self) -> Sequence[Finding]:
        """Give what is about the log as a whole, then what is about its events, in their order."""
        return [*self._rest, *self._events]

    def add(self, kind: Kind, leaf: int, count: int = 1) -> None:
        """Add what happened at a leaf, or in front of it."""
        first, last = leaf, leaf + (count - 1 if kind != "inserted" else 0)
        found = self._events[-1] if self._events else None
        if found is not None and found.kind == kind and found.last in {leaf, leaf - 1}:
            first, count = found.first or 0, found.count + count
            self._events.pop()
        elif len(self._events) >= MOST:
            self.more += count
            return
        why = _WHY[kind].format(leaves=_leaves(first, last), first=first, count=count)
        self._events.append(Finding(kind=kind, first=first, last=last, count=count, why=why))

    def say(
        self, kind: Kind, why: str, *, first: int | None = None, last: int | None = None
    ) -> None:
        """Add what is about the log as a whole."""
        count = 0 if first is None or last is None else last - first + 1
        self._rest.append(Finding(kind=kind, first=first, last=last, count=count, why=why))

    def blame_the_index(self) -> None:
        """All events so far are what was signed: what differs from them is their index."""
        for number, found in enumerate(self._events):
            if found.kind != "index" and found.first is not None and found.last is not None:
                why = _WHY["index"].format(leaves=_leaves(found.first, found.last))
                self._events[number] = attrs.evolve(found, kind="index", why=why)


_WHY: Final[dict[Kind, str]] = {
    "changed": "{leaves}: changed since the index was made",
    "removed": "{leaves}: removed",
    "inserted": "in front of leaf {first}: {count} inserted",
    "truncated": "{leaves}: removed, and nothing is behind: the end was cut off",
    "index": "{leaves}: the index of leaves was changed; the events are what was signed",
}


def _leaves(first: int, last: int) -> str:
    return f"leaf {first}" if first == last else f"leaves {first} to {last}"


class _Signed:
    """The checkpoints that are kept, each with its signature checked."""

    def __init__(
        self, kept: Iterable[Any], notary: Callable[[], Notary], findings: _Findings
    ) -> None:
        self.checkpoints: list[Checkpoint] = []
        number = 0
        for one in kept:
            if one.number != number + 1:
                findings.say("checkpoint", f"checkpoint {number + 1} is not kept any more")
            number = one.number
            try:
                checkpoint, _ = notary().open(one.note)
            except Altered as error:
                findings.say("checkpoint", f"checkpoint {number}: {error}")
                continue
            newest = self.checkpoints[-1] if self.checkpoints else checkpoint
            if checkpoint.size < newest.size or (
                checkpoint.size == newest.size and checkpoint.root != newest.root
            ):
                why = f"checkpoint {number} does not go on from the one before it"
                findings.say("checkpoint", why)
                continue
            self.checkpoints.append(checkpoint)


class _Measured:
    """A tree that is held against checkpoints while it grows.

    Attributes:
        good: the size of the largest checkpoint that it had the root of.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint]) -> None:
        self.tree = merkle.Tree()
        self.good = 0
        self._checkpoints = checkpoints
        self._next = 0
        self._measure()

    def add(self, leaf: bytes) -> bool:
        """Add a leaf; say whether the tree is now one that was signed."""
        self.tree.add(leaf)
        return self._measure()

    def _measure(self) -> bool:
        is_good = False
        while (
            self._next < len(self._checkpoints)
            and self._checkpoints[self._next].size == self.tree.size
        ):
            if self._checkpoints[self._next].root == self.tree.root:
                is_good, self.good = True, self.tree.size
            self._next += 1
        return is_good


class _Walk:
    """Goes through the events and the index of leaves side by side, by position."""

    def __init__(
        self, leaves: Iterable[Leaf], checkpoints: Sequence[Checkpoint], findings: _Findings
    ) -> None:
        self._leaves = iter(leaves)
        self._checkpoints = checkpoints
        self._findings = findings
        self.rows = _Measured(checkpoints)
        self._index = _Measured(checkpoints)
        self._expected = 0
        self._leaf: Leaf | None = None
        self._next_leaf()

    def _next_leaf(self) -> None:
        """Go on to the next leaf; an index that is skipped is that of an event that is gone."""
        self._leaf = next(self._leaves, None)
        if self._leaf is None:
            return
        if self._leaf.index > self._expected:
            self._findings.add("removed", self._expected, self._leaf.index - self._expected)
        self._expected = self._leaf.index + 1
        self._index.add(self._leaf.hash)

    def pass_row(self, row: Row) -> None:
        """Take the next event."""
        try:
            hashed = _hash_of(row)
        except Altered:
            # No event of ours hashes to nothing.
            hashed = b""
        while self._leaf is not None and self._leaf.position < row.position:
            self._findings.add("removed", self._leaf.index)
            self._next_leaf()
        if self._leaf is not None and self._leaf.position == row.position:
            if self._leaf.hash != hashed:
                self._findings.add("changed", self._leaf.index)
            self._next_leaf()
        elif self._leaf is not None:
            self._findings.add("inserted", self._leaf.index)
        elif not hashed:
            self._findings.add("changed", self.rows.tree.size)
        if self.rows.add(hashed):
            self._findings.blame_the_index()

    def finish(self) -> None:
        """Take what is left of the index, and say what the checkpoints alone show."""
        while self._leaf is not None:
            self._findings.add("truncated", self._leaf.index)
            self._next_leaf()
        if not self._checkpoints:
            return
        newest, rows, index = self._checkpoints[-1], self.rows, self._index
        good = max(rows.good, index.good)
        if good == newest.size:
            return
        if rows.tree.size < newest.size:
            why = _cut_short(rows.tree.size, newest.size)
            self._findings.say("truncated", why, first=good, last=newest.size - 1)
            return
        until = next(one.size for one in self._checkpoints if one.size > good)
        why = (
            f"{_leaves(good, until - 1)}: what is stored there is not what was signed, and the "
            "index of leaves cannot tell which of them: it was changed as well, or is not there"
        )
        if until < newest.size:
            why = f"{why}; of what follows, up to leaf {newest.size - 1}, nothing can be said"
        self._findings.say("altered", why, first=good, last=until - 1)
