"""Whether this program reads everything that was ever stored, and reads it the same.

What an event says is written again and held against what is stored: that shows what is lost on the
way. It cannot show a default that is another one now, as long as both are empty, and no upcast that
gives something else. For these a baseline keeps what a program read, and the next one is held
against it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.ports import Baseline, Baselines, Block, Clock, EventStore
from siutindei.domain.catalogue import NAMES
from siutindei.domain.errors import Invalid
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.app.ports import Progress, Reading, Recorded

#: How many positions a block of a baseline has.
BLOCK: Final = 1000
#: How often progress is told, in events.
_STEP: Final = 500
#: How many events of a kind are named.
_NAMED: Final = 5
#: How many kinds of trouble are told apart: damage can be of any.
_MOST: Final = 100
_ASTRAY: Final = "it stands where no event of its kind can"
_REST: Final = ("", "many other things are wrong with them")


@attrs.frozen(kw_only=True)
class Found:
    """A stored event."""

    id: str
    position: int


@attrs.define(kw_only=True)
class Trouble:
    """Stored events with the same trouble.

    Attributes:
        name: their stored name.
        why: what is the matter with them.
        count: how many they are; of what a baseline tells, how many stand in those blocks.
        events: the first few of them; a baseline cannot tell which events they are.
        blocks: the first and the last position of each block that a baseline has otherwise.
    """

    name: str
    why: str
    count: int = 0
    events: list[Found] = attrs.field(factory=list)
    blocks: list[tuple[int, int]] = attrs.field(factory=list)


@attrs.frozen(kw_only=True)
class Check:
    """What a check found.

    Attributes:
        read: how many events were read.
        unreadable: those that this program cannot read.
        changed: those that it reads otherwise than they were written, or than the baseline says.
        position: the last event's position.
        seconds: how long it took.
        saved: whether a baseline was written: only when everything can be read.
    """

    read: int
    unreadable: Sequence[Trouble]
    changed: Sequence[Trouble]
    position: int
    seconds: float
    saved: bool

    @property
    def is_well(self) -> bool:
        """Whether everything is read, and read the same."""
        return not self.unreadable and not self.changed


@attrs.frozen(kw_only=True)
class Checking:
    """The use case of checking what is stored. It reads and opens nothing that is personal.

    Attributes:
        store: the history.
        clock: the time.
        baselines: where baselines are kept.
        program: the program's version.
    """

    store: EventStore
    clock: Clock
    baselines: Baselines
    program: str

    def check(
        self,
        *,
        save: str | None = None,
        against: str | None = None,
        progress: Progress = lambda *_: None,
    ) -> Check:
        """Read everything once.

        Args:
            save: the file for a new baseline.
            against: the file of a baseline.
            progress: is told up to which position it is done, and which is the last.

        Raises:
            Invalid: the file is no baseline; or both are wanted at once.
            Unusable: the file is there already, or cannot be read.
        """
        if save is not None and against is not None:
            raise Invalid("save", "goes without --against; check first, then save a new one")
        started, last = self.clock.now(), self.store.last_position()
        known = None if against is None else self.baselines.read(against)
        if save is not None:
            self.baselines.refuse_taken(save)
        digests = _Digests({} if known is None else known.fields)
        compared = last if known is None else known.position
        is_digested = save is not None or known is not None
        read, unreadable, changed = 0, _Troubles(), _Troubles()
        for number, reading in enumerate(self.store.readings(until=last), start=1):
            if number % _STEP == 0:
                progress(reading.position, last)
            recorded = reading.recorded
            if recorded is None or _is_astray(recorded):
                unreadable.add(reading, reading.trouble if recorded is None else _ASTRAY)
                continue
            read += 1
            if reading.trouble:
                changed.add(reading, reading.trouble)
            if is_digested and reading.position <= compared:
                digests.add(recorded)
        progress(last, last)
        if known is not None:
            changed.compare(known, digests.blocks)
        is_saved = save is not None and not unreadable.found
        if save is not None and is_saved:
            self.baselines.write(
                save,
                Baseline(
                    program=self.program,
                    position=last,
                    fields=digests.fields,
                    blocks=digests.blocks,
                ),
            )
        return Check(
            read=read,
            unreadable=unreadable.found,
            changed=changed.found,
            position=last,
            seconds=(self.clock.now() - started).total_seconds(),
            saved=is_saved,
        )


def _is_astray(recorded: Recorded) -> bool:
    """Whether an event is in the stream of something else, or before the first of all."""
    category = recorded.name.partition(".")[0]
    is_placed = recorded.version > 0 and recorded.position > 0
    return not is_placed or not recorded.stream.startswith(f"{category}-")


class _Troubles:
    """Collects what is found, by stored name and reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Trouble] = {}

    @property
    def found(self) -> Sequence[Trouble]:
        return tuple(trouble for _, trouble in sorted(self._found.items()))

    def _of(self, name: str, why: str) -> Trouble:
        if (name, why) not in self._found and len(self._found) >= _MOST:
            name, why = _REST
        return self._found.setdefault((name, why), Trouble(name=name, why=why))

    def add(self, reading: Reading, why: str) -> None:
        """Add one event."""
        trouble = self._of(reading.name, why)
        trouble.count += 1
        if len(trouble.events) < _NAMED:
            trouble.events.append(Found(id=reading.id, position=reading.position))

    def compare(self, known: Baseline, blocks: Sequence[Block]) -> None:
        """Add what a baseline has otherwise."""
        before = {(block.first, block.name): block for block in known.blocks}
        now = {(block.first, block.name): block for block in blocks}
        for first, name in sorted(before.keys() | now.keys()):
            one, other = before.get((first, name)), now.get((first, name))
            if one == other:
                continue
            counts = [0 if block is None else block.count for block in (one, other)]
            why = f"siutindei {known.program} read them otherwise"
            if counts[0] != counts[1]:
                why = "they are more or fewer than the baseline has"
            trouble = self._of(name, why)
            trouble.count += max(counts)
            trouble.blocks.append((first, min(first + BLOCK - 1, known.position)))


class _Digests:
    """Makes the blocks of a baseline out of events that come in order of position.

    A field that the baseline does not know is none of its business: it was not there then.
    """

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self.fields = dict(fields)
        self._done: list[Block] = []
        self._first = 0
        self._counts: dict[str, int] = {}
        self._hashes: dict[str, Any] = {}

    @property
    def blocks(self) -> Sequence[Block]:
        """What was added, by position and name."""
        self._end()
        return self._done

    def add(self, recorded: Recorded) -> None:
        """Add the next event."""
        first = (recorded.position - 1) // BLOCK * BLOCK + 1
        if first != self._first:
            self._end()
            self._first = first
        name = recorded.name
        if name not in self.fields:
            self.fields[name] = [field.name for field in attrs.fields(type(recorded.event))]
        self._counts[name] = self._counts.get(name, 0) + 1
        self._hashes.setdefault(name, sha256()).update(_line(recorded, self.fields[name]))

    def _end(self) -> None:
        self._done.extend(
            Block(first=self._first, name=name, count=count, digest=self._hashes[name].hexdigest())
            for name, count in sorted(self._counts.items())
        )
        self._counts, self._hashes = {}, {}


def _line(recorded: Recorded, fields: Sequence[str]) -> bytes:
    """Give what was read of an event, every default filled in."""
    context = recorded.context
    said = {
        "position": recorded.position,
        "id": recorded.id,
        # Whatever its version: an old one may be read as a newer one any day.
        "read_as": NAMES[type(recorded.event)].rpartition(".v")[0],
        "recorded_at": recorded.recorded_at.isoformat(),
        "context": [
            *(context.command_id, context.actor, context.request_id, context.correlation_id),
            *(context.causation_id, context.aws_request_id, context.sqs_message_id),
        ],
        "data": {
            name: spelled(getattr(recorded.event, name))
            for name in fields
            if hasattr(recorded.event, name)
        },
    }
    return json.dumps(said, sort_keys=True).encode() + b"\n"


def spelled(value: Any) -> Any:
    """Give a field's value as JSON has it, so that no two values are the same there."""
    if isinstance(value, Personal):
        return {"personal": value.token}
    if isinstance(value, datetime):
        return {"at": value.isoformat()}
    if isinstance(value, tuple):
        return [spelled(entry) for entry in value]
    return value
