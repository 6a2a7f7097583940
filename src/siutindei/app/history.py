"""The history, read and replayed. Nothing here can send: no mail port is given to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.folding import (
    challenges_of,
    grant_of,
    notification_of,
    person_of,
    reports_of,
    ticket_of,
)
from siutindei.app.ports import Clock, EventStore, ReplayStore
from siutindei.domain import challenge, grant, notification, person, report, ticket
from siutindei.domain.catalogue import EVENTS, UPCASTS
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siutindei.app.ports import Recorded

_BATCH: Final = 500
_FOLDS: Final[dict[str, Callable[[Iterable[Recorded]], Any]]] = {
    person.CATEGORY: person_of,
    challenge.CATEGORY: challenges_of,
    ticket.CATEGORY: ticket_of,
    notification.CATEGORY: notification_of,
    grant.CATEGORY: grant_of,
    report.CATEGORY: reports_of,
}


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
class History:
    """The use cases of reading the history.

    Attributes:
        store: the history.
        clock: the time.
        memory: makes an empty store for a replay.
        projections: the names of the read models.
    """

    store: EventStore
    clock: Clock
    memory: Callable[[], ReplayStore]
    projections: tuple[str, ...]

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
        events = self.stream(id)
        # A clock can jump back: what stands before an event in its stream happened before it.
        last = max(
            (
                entry.version
                for entry in events
                if (entry.version <= at if isinstance(at, int) else entry.recorded_at <= at)
            ),
            default=0,
        )
        if not last:
            raise NotFound("event at that moment in", id)
        fold = _FOLDS[id.partition("-")[0]]
        state: dict[str, Any] = plain(fold(events[:last]))
        return state

    def tail(
        self,
        *,
        after: int = 0,
        until: int | datetime | None = None,
        name: str | None = None,
        stream: str | None = None,
    ) -> Iterator[Recorded]:
        """Give the log in order of position.

        Raises:
            Invalid: no event has that name.
        """
        return self.store.read(after=after, until=until, names=self._names(name), stream=stream)

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
        progress: Callable[[int], None] = lambda _: None,
    ) -> Replay:
        """Replay the history into memory, and give a digest of what came out.

        Args:
            until: the last position or the last moment.
            projection: the one read model to digest; by default all of them.
            progress: is told how many events are done.

        Raises:
            Invalid: there is no such read model.
        """
        if projection is not None and projection not in self.projections:
            raise Invalid(
                "projection", f"there is no {projection!r}; there are {', '.join(self.projections)}"
            )
        names = self.projections if projection is None else (projection,)
        memory, started, count = self.memory(), self.clock.now(), 0
        batch: list[Recorded] = []
        for entry in self.store.read(until=until):
            batch.append(entry)
            if len(batch) == _BATCH:
                memory.project_all(batch)
                count += len(batch)
                progress(count)
                batch = []
        memory.project_all(batch)
        count += len(batch)
        progress(count)
        return Replay(
            events=count,
            seconds=(self.clock.now() - started).total_seconds(),
            digest=memory.digest(names),
            projections=names,
        )


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
