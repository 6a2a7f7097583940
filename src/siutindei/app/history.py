"""The history, read and replayed. Nothing here can send: no mail port is given to it.

    from siutindei.bootstrap import build
    from siutindei.settings import read_settings

    history = build(read_settings(os.environ)).history
    history.state("ticket-R00001", at=1)

A moment is a version (of a stream) or a position (of the log), or a time: what was recorded by then
had happened. docs/debugging.md shows how it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.budgeting import Standing, standing
from siutindei.app.folding import FOLDS
from siutindei.app.ports import Clock, EventStore, Progress, ReplayStore, Views
from siutindei.app.times import bounded
from siutindei.domain.catalogue import EVENTS, UPCASTS
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from siutindei.app.ports import Recorded
    from siutindei.domain import budget

_BATCH: Final = 500
#: What differs: the name of a field, a dot between it and the fields in it, before and after.
Difference = Mapping[str, tuple[Any, Any]]


@attrs.frozen(kw_only=True)
class Replay:
    """What a replay gave.

    Attributes:
        events: how many were replayed.
        seconds: how long it took.
        digest: SHA-256 over every row of the read models that it made.
        projections: which those are.
    """

    events: int
    seconds: float
    digest: str
    projections: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Past:
    """The read models as they were at a moment.

    Attributes:
        views: them as queries.
        events: how many events had happened.
        position: of the last of them, 0 when there was none.
        at: when that was recorded, None when there was none.
    """

    views: Views
    events: int
    position: int
    at: datetime | None
    _store: ReplayStore = attrs.field(alias="store", repr=False)

    def rows(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Give the rows of a read model in the order of its keys, as plain data."""
        for row in self._store.rows(name):
            yield {column: plain(value) for column, value in row.items()}

    def digest(self) -> str:
        """Give the SHA-256 of every row."""
        return self._store.digest()


@attrs.frozen(kw_only=True)
class History:
    """The use cases of reading the history.

    Attributes:
        store: the history.
        clock: the time.
        scratch: gives empty read models, of those named, for as long as a replay takes.
        projections: the names of the read models.
        limits: the budget's numbers, as they are now.
    """

    store: EventStore
    clock: Clock
    scratch: Callable[[Sequence[str]], AbstractContextManager[ReplayStore]]
    projections: tuple[str, ...]
    limits: budget.Limits

    def stream(self, id: str) -> Sequence[Recorded]:
        """Give the events of a stream, in order.

        Raises:
            NotFound: there is no such stream.
        """
        events = self.store.load(id)
        if not events:
            raise NotFound("stream", id)
        return events

    def state(self, id: str, *, at: int | datetime) -> dict[str, Any]:
        """Give the state of a stream at a version or at a time, personal fields left out.

        Raises:
            NotFound: there is no such stream, or it had no event then.
        """
        at = _checked(at)
        # What came later is not read: it may be what cannot be.
        known = self.store.load(id, until=at) if isinstance(at, int) else self.stream(id)
        events = _until(known, at)
        if not events:
            raise NotFound("event at that moment in", id)
        return _state(id, events)

    def difference(self, id: str, one: int | datetime, other: int | datetime) -> Difference:
        """Say in what the state of a stream differs between two moments, by the field.

        Raises:
            NotFound: there is no such stream.
        """
        events = self.stream(id)
        return _difference(*(_state(id, _until(events, _checked(at))) for at in (one, other)))

    def tail(
        self,
        *,
        after: int | datetime = 0,
        until: int | datetime | None = None,
        name: str | None = None,
        stream: str | None = None,
        fingerprint: str | None = None,
    ) -> Iterator[Recorded]:
        """Give the log in order of position: what is behind one moment, up to another.

        Args:
            after: what is behind that position, or was recorded after that time.
            until: up to that position, or what was recorded by that time.
            name: of the events, with its version or without.
            stream: one stream.
            fingerprint: of the address that the events are about.

        Raises:
            Invalid: no event has that name.
        """
        return self.store.read(
            after=_checked(after),
            until=None if until is None else _checked(until),
            names=self._names(name),
            stream=stream,
            holding=fingerprint,
        )

    def _names(self, name: str | None) -> tuple[str, ...]:
        if name is None:
            return ()
        stored = tuple(
            known for known in (*EVENTS, *UPCASTS) if name in {known, known.rpartition(".v")[0]}
        )
        if not stored:
            raise Invalid("type", f"no event is called {name!r}; see docs/events.md")
        return stored

    def replay(
        self,
        *,
        until: int | datetime | None = None,
        projection: str | None = None,
        progress: Progress = lambda *_: None,
    ) -> Replay:
        """Replay the history, and give a digest of what came out.

        Args:
            until: the last position or the last moment.
            projection: the one read model to make; by default all of them.
            progress: is told which position is reached, and which is the last.

        Raises:
            Invalid: there is no such read model.
        """
        started = self.clock.now()
        with self.past(until=until, projection=projection, progress=progress) as past:
            return Replay(
                events=past.events,
                seconds=(self.clock.now() - started).total_seconds(),
                digest=past.digest(),
                projections=self.projections if projection is None else (projection,),
            )

    @contextmanager
    def past(
        self,
        *,
        until: int | datetime | None = None,
        projection: str | None = None,
        progress: Progress = lambda *_: None,
    ) -> Iterator[Past]:
        """Give the read models as they were, for as long as the block lasts; see `replay`.

        Memory stays flat: they are in a temporary database, which goes to the disk when it grows.

        Raises:
            Invalid: there is no such read model.
        """
        if projection is not None and projection not in self.projections:
            raise Invalid(
                "projection", f"there is no {projection!r}; there are {', '.join(self.projections)}"
            )
        total, until = self.store.last_position(), None if until is None else _checked(until)
        if isinstance(until, int):
            total = min(total, until)
        with self.scratch(self.projections if projection is None else (projection,)) as made:
            names = () if projection is None else _names_of(made.categories)
            log = self.store.read(until=total if until is None else until, names=names)
            count, last = 0, None
            while batch := list(islice(log, _BATCH)):
                made.project_all(batch)
                count, last = count + len(batch), batch[-1]
                progress(last.position, total)
            progress(total, total)
            yield Past(
                views=made.views,
                events=count,
                position=0 if last is None else last.position,
                at=None if last is None else last.recorded_at,
                store=made,
            )

    def changes(
        self, projection: str, one: int | datetime, other: int | datetime
    ) -> Iterator[tuple[str, Difference]]:
        """Say which rows of a read model differ between two moments, by their keys, and in what.

        Raises:
            Invalid: there is no such read model.
        """
        with (
            self.past(until=one, projection=projection) as before,
            self.past(until=other, projection=projection) as after,
        ):
            yield from _row_changes(before.rows(projection), after.rows(projection))

    def budget(self, *, at: int | datetime, limits: budget.Limits | None = None) -> Standing:
        """Say how the budget stood at a position or at a time.

        Args:
            at: when. At a position: when that event was recorded.
            limits: the budget's numbers then; by default those of now, as no event holds them.

        Raises:
            NotFound: there was no event yet.
        """
        at = _checked(at)
        with self.past(until=at) as past:
            if past.at is None:
                raise NotFound("event by", str(at))
            return standing(
                past.views,
                at=at if isinstance(at, datetime) else past.at,
                limits=limits or self.limits,
            )


def _checked(at: int | datetime) -> int | datetime:
    """Give a moment that can be counted with.

    Raises:
        Invalid: it is neither a number nor a time with its offset.
    """
    if isinstance(at, datetime) and at.tzinfo is not None:
        return bounded(at)
    if isinstance(at, bool) or not isinstance(at, int):
        raise Invalid("moment", "must be a number, or a time with its offset")
    return at


def _until(events: Sequence[Recorded], at: int | datetime) -> Sequence[Recorded]:
    """Give what a stream was at a moment.

    A clock can jump back: what stands before an event in its stream happened before it.
    """
    last = max(
        (
            entry.version
            for entry in events
            if (entry.version <= at if isinstance(at, int) else entry.recorded_at <= at)
        ),
        default=0,
    )
    return events[:last]


def _state(id: str, events: Sequence[Recorded]) -> dict[str, Any]:
    state: dict[str, Any] = plain(FOLDS[id.partition("-")[0]](events))
    return state


def _names_of(categories: frozenset[str]) -> tuple[str, ...]:
    return tuple(name for name in (*EVENTS, *UPCASTS) if name.partition(".")[0] in categories)


def _row_changes(
    before: Iterator[Mapping[str, Any]], after: Iterator[Mapping[str, Any]]
) -> Iterator[tuple[str, Difference]]:
    """Compare rows that both come in the order of their keys."""
    one, other = next(before, None), next(after, None)
    while one is not None or other is not None:
        keys = [str(next(iter(row.values()))) for row in (one, other) if row is not None]
        key = min(keys)
        is_one = one is not None and keys[0] == key
        is_other = other is not None and keys[-1] == key
        found = _difference((one or {}) if is_one else {}, (other or {}) if is_other else {})
        if found:
            yield key, found
        one = next(before, None) if is_one else one
        other = next(after, None) if is_other else other


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    before, after = dict(flat(one)), dict(flat(other))
    return {
        name: (before.get(name), after.get(name))
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    }


def flat(state: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give the fields of plain data, each with its path: `submitted.organization_name`."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def moment(name: str, text: str) -> int | datetime:
    """Read a position (or version) or a time with its offset.

    Raises:
        Invalid: names the field.
    """
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            name, "must be a number or a time such as 2026-01-31T09:30:00+08:00"
        ) from None
    if at.tzinfo is None:
        raise Invalid(name, "needs an offset, such as Z or +08:00")
    return at


def plain(value: Any) -> Any:
    """Give an object as plain data: times as text, personal fields as what can be said of them."""
    if isinstance(value, Personal):
        return "[sealed]" if value.is_sealed else value.text
    if isinstance(value, datetime):
        return value.isoformat()
    if attrs.has(type(value)):
        return {
            field.name: plain(getattr(value, field.name)) for field in attrs.fields(type(value))
        }
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def describe(entry: Recorded) -> dict[str, Any]:
    """Give a stored event as plain data."""
    context = entry.context
    described = {
        "id": entry.id,
        "position": entry.position,
        "stream": entry.stream,
        "version": entry.version,
        "name": entry.name,
        "recorded_at": entry.recorded_at.isoformat(),
        "command_id": context.command_id,
        "actor": context.actor,
        "request_id": context.request_id,
        "correlation_id": context.correlation_id,
        "causation_id": context.causation_id,
    }
    if context.aws_request_id is not None:
        described["aws_request_id"] = context.aws_request_id
    if context.sqs_message_id is not None:
        described["sqs_message_id"] = context.sqs_message_id
    return described | {"data": plain(entry.event)}
