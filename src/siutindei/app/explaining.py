"""Why something happened, and what came of it: from any id to one tree of causes.

An event follows from the event that it names as its cause. One that names none follows from the
request that brought it; where that request was about something (a decision, an answer to a code, a
lifting), it stands below what it was about. Nothing is opened and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.app import wording
from siutindei.app.ports import Entry, EventStore, Recorded, Unread
from siutindei.domain import (
    challenge,
    fields,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from siutindei.app.ports import Context

#: The longest id, in characters.
LONGEST: Final = 512
#: As many chains are shown of what has several, and as many mails that one suppression withheld.
MOST: Final = 50
KINDS: Final = (
    "ticket (number or id), notification, grant, challenge, event, stream, SES message, feedback, "
    "command, request, correlation, Lambda request, SQS message"
)
Kind = Literal["request", "command", "event", "chains"]
#: What of an event's envelope is an id, and of what.
_CONTEXT: Final = {
    "request_id": "request",
    "command_id": "command",
    "correlation_id": "correlation",
    "aws_request_id": "Lambda request",
    "sqs_message_id": "SQS message",
}
#: The fields of events that are ids, and of what.
_FIELDS: Final = {
    "message_id": "SES message",
    "feedback_id": "feedback",
    "challenge": "challenge",
    "notification": "notification",
    "ticket": "ticket",
    "reference": "ticket",
}
#: The streams in which what names no cause follows from what stands before it.
_IN_ORDER: Final = frozenset(
    {ticket.CATEGORY, notification.CATEGORY, grant.CATEGORY, report.CATEGORY}
)
#: The streams that are looked through for what follows. A person's and a lane's are none: they
#: would tie everything together that happened to somebody, or to any mail.
_LOOKED_THROUGH: Final = _IN_ORDER | {challenge.CATEGORY, suppression.CATEGORY}
#: What has a status, and how it comes to it.
_STATUS: Final[Mapping[str, tuple[Callable[[Any, Any], Any], Any]]] = {
    ticket.CATEGORY: (ticket.evolve, ticket.INITIAL),
    notification.CATEGORY: (notification.evolve, notification.INITIAL),
    grant.CATEGORY: (grant.evolve, grant.INITIAL),
}


@attrs.frozen(kw_only=True)
class Node:
    """One thing in a tree of causes.

    Attributes:
        id: an event's id, `request/<id>` or `command/<id>`; `chains/<id>` when several chains have
            nothing above them.
        kind: which of these.
        title: what happened, in plain words.
        name: an event's stored name.
        at: when it was recorded; None when that cannot be read.
        actor: who acted.
        causes: what it follows from, by their ids: nodes that stand before it.
        parent: the node that it stands below in the tree; None for the root.
        rule: the rule that decided it, with its version.
        status: where it left its ticket, mail or grant.
        context: the ids that it was recorded under.
        details: what else it holds; nothing personal.
        is_asked_for: whether it is what the id names.
        is_aside: whether it belongs to another chain, and is shown for why it touches this one.
        is_leaf: whether it is what another chain did because of its parent.
        is_readable: whether this version of the program can read it.
    """

    id: str
    kind: Kind
    title: str
    name: str | None = None
    at: datetime | None = None
    actor: str | None = None
    causes: tuple[str, ...] = ()
    parent: str | None = None
    rule: str | None = None
    status: str | None = None
    context: Mapping[str, str] = attrs.field(factory=dict)
    details: Mapping[str, Any] = attrs.field(factory=dict)
    is_asked_for: bool = False
    is_aside: bool = False
    is_leaf: bool = False
    is_readable: bool = True


@attrs.frozen(kw_only=True)
class Row:
    """A line of a tree.

    Attributes:
        node: what it is about.
        title: what it says.
        last: for every level from the root's children down to its own, whether it is the last one.
        is_asked_for: whether it is what the id names.
    """

    node: Node
    title: str
    last: tuple[bool, ...]
    is_asked_for: bool

    @property
    def why(self) -> str:
        """Why it is here, where it belongs to another chain, or who else it happened to."""
        if not self.node.is_aside or self.node.parent is None:
            return ""
        return f"{self.node.id}:" if self.node.is_leaf else "" if self.node.causes else "because of"


@attrs.frozen(kw_only=True)
class Explanation:
    """One tree of causes.

    Attributes:
        id: what was asked for.
        kinds: what has this id.
        nodes: the tree, each node behind those that it follows from.
        left_out: how many more chains there are, or events of the same kind.
    """

    id: str
    kinds: tuple[str, ...]
    nodes: tuple[Node, ...]
    left_out: int

    def rows(self) -> Iterator[Row]:
        """Give the tree from the root down, each node before what stands below it.

        A request and its only command are one row.
        """
        below: dict[str | None, list[Node]] = {}
        for node in self.nodes:
            below.setdefault(node.parent, []).append(node)
        waiting: list[tuple[Node, tuple[bool, ...]]] = [(node, ()) for node in below[None]]
        while waiting:
            node, last = waiting.pop()
            title, is_it, children = node.title, node.is_asked_for, below.get(node.id, [])
            if node.kind == "request" and [child.kind for child in children] == ["command"]:
                (command,) = children
                if command.context["command_id"] != command.context["request_id"]:
                    title = f"{title}, {command.title}"
                is_it, children = is_it or command.is_asked_for, below.get(command.id, [])
            yield Row(node=node, title=title, last=last, is_asked_for=is_it)
            waiting += [(child, (*last, child is children[-1])) for child in reversed(children)]


class UnknownId(NotFound):
    """Nothing in the history has an id; says which kinds are understood."""

    def __init__(self, id: str) -> None:
        super().__init__("event", id)

    def __str__(self) -> str:
        """Say so."""
        return f"nothing has this id: {self.name[:_SHOWN]!r}; understood are those of a {KINDS}"


_SHOWN: Final = 80
#: What the ids of nodes begin with that are no events.
_NODES_OF: Final = ("request/", "command/")


@attrs.frozen(kw_only=True)
class Explain:
    """The use case of explaining; no mail port is given to it."""

    store: EventStore

    def explain(self, id: object) -> Explanation:
        """Give the one tree that an id belongs to.

        Raises:
            Invalid: it is no line of text, or too long.
            UnknownId: nothing has it.
        """
        text = fields.required_line("id", id, most=LONGEST)
        if text.startswith(_NODES_OF):
            text = text.partition("/")[2]
        hits = list(_named(self.store, text)) or list(_mentioned(self.store, text))
        if not hits:
            raise UnknownId(text)
        return _Tree(self.store, text, hits).explanation()


# --- what has an id -------------------------------------------------------------------------------


@attrs.frozen
class _Hit:
    """An event that an id leads to: what has the id, and whether it is this event itself."""

    kind: str
    entry: Entry
    is_it: bool = True


def _named(store: EventStore, id: str) -> Iterator[_Hit]:
    """Find what a stream is named after, or a read model knows: that takes no look at the log."""
    stream, slash, version = id.rpartition("/")
    if slash:
        yield from (
            _Hit("event", entry) for entry in store.entries(stream) if str(entry.version) == version
        )
    found = store.views.find_ticket(id)
    number = id if found is None or found.submitted is None else found.submitted.reference
    message = store.views.find_message(id)
    places = {
        id: "stream",
        ticket.stream(number): "ticket",
        notification.stream(id): "notification",
        notification.stream(message or id): "notification" if message is None else "SES message",
        grant.stream(id): "grant",
        report.stream(id): "SES message",
    }
    for place, kind in places.items():
        for number_of, entry in enumerate(store.entries(place)):
            is_it = _fields_of(entry).get("message_id") == id if message else number_of == 0
            yield _Hit(kind, entry, is_it)
    code = store.views.find_code(id)
    if code is not None:
        for entry in store.entries(challenge.stream(code.client, code.fingerprint)):
            # What closed it may be another challenge's request; the others follow from this one.
            if _is(entry, challenge.Issued) and _fields_of(entry)["challenge"] == id:
                yield _Hit("challenge", entry)


def _mentioned(store: EventStore, id: str) -> Iterator[_Hit]:
    """Look through the log for events that hold an id where ids stand."""
    for entry in store.mentions([id]):
        context, said = _context_of(entry), _fields_of(entry)
        for name, kind in _CONTEXT.items():
            if context.get(name) == id:
                yield _Hit(kind, entry, is_it=name in {"aws_request_id", "sqs_message_id"})
        for name, kind in _FIELDS.items():
            if said.get(name) == id:
                yield _Hit(kind, entry)
        if said.get("id") == id:
            yield _Hit(entry.stream.partition("-")[0], entry)


def _context_of(entry: Entry) -> dict[str, str]:
    """Give the ids that an event was recorded under."""
    if entry.context is None:
        return {}
    found = {name: getattr(entry.context, name) for name in _CONTEXT}
    return {name: value for name, value in found.items() if value is not None}


def _fields_of(entry: Entry) -> Mapping[str, Any]:
    if isinstance(entry, Unread):
        return entry.texts
    return attrs.asdict(entry.event, recurse=False)


def _is(entry: Entry, *kinds: type) -> bool:
    return isinstance(entry, Recorded) and isinstance(entry.event, kinds)


# --- what follows from what -----------------------------------------------------------------------


class _Log:
    """Streams, each read once, and what follows from what in them."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self._streams: dict[str, dict[str, Entry]] = {}
        self._statuses: dict[str, dict[str, str]] = {}

    def stream(self, name: str) -> Mapping[str, Entry]:
        """Give the events of a stream by their ids, in order."""
        if name not in self._streams:
            self._streams[name] = {entry.id: entry for entry in self.store.entries(name)}
        return self._streams[name]

    def before(self, entry: Entry, *kinds: type) -> list[Entry]:
        """Give the events of some kinds that stand before one in its stream."""
        return [
            found
            for found in self.stream(entry.stream).values()
            if found.position < entry.position and (not kinds or _is(found, *kinds))
        ]

    def cause(self, entry: Entry) -> Entry | None:
        """Give the event that one follows from; None when a request brought it about nothing."""
        context = entry.context
        if context is not None and context.causation_id is not None:
            id = context.causation_id
            named = self.stream(id.rpartition("/")[0]).get(id)
            # What is not before it is no cause: a history that says so is damaged.
            return named if named is not None and named.position < entry.position else None
        return (self._about(entry) or [None])[-1]

    def _about(self, entry: Entry) -> Sequence[Entry | None]:
        """Give what an event that names no cause may be about; the last of it counts."""
        if entry.stream.partition("-")[0] in _IN_ORDER:
            return self.before(entry)
        if _is(entry, suppression.Lifted, suppression.Revealed):
            return self.before(entry, suppression.Suppressed)
        said = _fields_of(entry)
        if _is(entry, challenge.Passed, challenge.Missed):
            begun = self.before(entry, challenge.Issued)
        elif _is(entry, challenge.Closed) and said["why"] == "exhausted":
            begun = self.before(entry, challenge.Missed)
        else:
            return ()
        return [found for found in begun if _fields_of(found)["challenge"] == said["challenge"]]

    def above(self, entry: Entry) -> list[Entry]:
        """Give an event and what it follows from, up to what follows from nothing."""
        chain = [entry]
        while (cause := self.cause(chain[-1])) is not None:
            chain.append(cause)
        return chain

    def home(self, entry: Entry) -> Entry:
        """Give the event in whose chain an event is shown: a report's is that of its mail."""
        if entry.stream.startswith(f"{report.CATEGORY}-"):
            applied = [
                one for one in self.stream(entry.stream).values() if _is(one, report.Applied)
            ]
            return applied[-1] if applied else entry
        return entry

    def because(self, entry: Entry) -> list[Entry]:
        """Give what else an event follows from, beside the event that it names."""
        match entry:
            case Recorded(event=notification.Withheld(why="suppressed")):
                place = suppression.stream(str(self._asked(entry).get("fingerprint")))
                return self._newest(place, entry, suppression.Suppressed)
            case Recorded(event=notification.Withheld(why="erased") | grant.Withheld()):
                place = person.stream(str(self._asked(entry).get("user")))
                return self._newest(place, entry, person.Erased)
            case Recorded(event=notification.Deferred(why="lane_halted")):
                kind = self._asked(entry).get("kind")
                names = [name for mail, name in notification.LANES.items() if mail == kind]
                return [
                    found
                    for name in names
                    for found in self._newest(lane.stream(name), entry, lane.Halted)
                ]
            case Recorded(event=suppression.Suppressed(reason="soft_bounces")):
                counted: list[Entry] = []
                for found in self.before(entry):
                    counted = [*counted, found] if _is(found, suppression.SoftBounced) else []
                return counted
            case Recorded(event=report.Applied()):
                return self.before(entry, report.Parked)
            case _:
                return []

    def status(self, entry: Entry) -> str | None:
        """Say where an event left what it happened to; None where nobody can tell."""
        if entry.stream not in self._statuses:
            self._statuses[entry.stream] = dict(self._follow(entry.stream))
        return self._statuses[entry.stream].get(entry.id)

    def _follow(self, stream: str) -> Iterator[tuple[str, str]]:
        evolve, state = _STATUS.get(stream.partition("-")[0], (None, None))
        for entry in self.stream(stream).values():
            if evolve is None or isinstance(entry, Unread):
                return
            state = evolve(state, entry.event)
            yield entry.id, state.status

    def _asked(self, entry: Entry) -> Mapping[str, Any]:
        """Give what was said when a mail or a grant was asked for; nothing where that is gone."""
        asked = self.stream(entry.stream).get(f"{entry.stream}/1")
        return {} if asked is None else _fields_of(asked)

    def _newest(self, stream: str, entry: Entry, kind: type) -> list[Entry]:
        found = self.stream(stream).values()
        return [one for one in found if _is(one, kind) and one.position < entry.position][-1:]

    def elsewhere(self, entry: Entry) -> Iterator[Entry]:
        """Give what an event led to in other chains."""
        match entry:
            case Recorded(event=challenge.Issued(challenge=begun)):
                for found in self.stream(entry.stream).values():
                    if _is(found, challenge.Closed) and _fields_of(found)["challenge"] == begun:
                        yield found
            case Recorded(event=suppression.Suppressed(fingerprint=fingerprint)):
                for mail in self.store.views.notifications(status="withheld"):
                    asked = mail.requested
                    if asked is None or asked.fingerprint != fingerprint:
                        continue
                    for found in self.stream(notification.stream(asked.id)).values():
                        if _is(found, notification.Withheld) and entry in self.because(found):
                            yield found
            case _:
                pass


# --- the tree -------------------------------------------------------------------------------------


class _Tree:
    """The tree of some events: what is in it, and where."""

    def __init__(self, store: EventStore, id: str, hits: Sequence[_Hit]) -> None:
        self._log = _Log(store)
        self._id = id
        self._kinds = tuple(dict.fromkeys(hit.kind for hit in hits))
        self._asked = {hit.entry.id for hit in hits if hit.is_it}
        self._hits = {hit.entry.id: hit.entry for hit in hits}
        #: What may be in it, and what is.
        self._candidates: dict[str, Entry] = {}
        self._entries: dict[str, Entry] = {}
        #: What belongs to other chains, by what it is shown below.
        self._aside: dict[str, str | None] = {}
        #: What other chains did because of an event, by that event.
        self._leaves: dict[str, Entry] = {}
        self._nodes: dict[str, Node] = {}
        #: The chains and events that there are too many of.
        self._not_taken: set[str] = set()

    def explanation(self) -> Explanation:
        """Make it."""
        self._take_roots()
        self._grow()
        self._add_asides()
        self._make_nodes()
        return Explanation(
            id=self._id,
            kinds=self._kinds,
            nodes=tuple(self._nodes.values()),
            left_out=len(self._not_taken - self._entries.keys()),
        )

    def _take_roots(self) -> None:
        roots: dict[str, Entry] = {}
        for hit in self._hits.values():
            chain = self._log.above(self._log.home(hit))
            roots[chain[-1].id] = chain[-1]
            self._candidates.update((entry.id, entry) for entry in chain)
        self._entries = dict(list(roots.items())[:MOST])
        self._not_taken |= roots.keys() - self._entries.keys()
        #: The request of every chain; of several chains none is above the others.
        self._requests = {_request_of(root) for root in self._entries.values()}

    def _grow(self) -> None:
        """Take in what follows from what is there, until nothing more does."""
        first = min(entry.position for entry in self._entries.values()) - 1
        looked_for: set[str] = set()
        looked_at: set[str] = set()
        while True:
            inside = list(self._entries.values())
            known = {_context_of(entry).get("correlation_id") for entry in inside}
            wanted = {id for id in known if id is not None} - looked_for
            streams = {
                entry.stream
                for entry in inside
                if entry.stream.partition("-")[0] in _LOOKED_THROUGH
            } - looked_at
            if not wanted | streams:
                return
            looked_for |= wanted
            looked_at |= streams
            for stream in streams:
                self._candidates.update(self._log.stream(stream))
            if wanted:
                found = self._log.store.mentions(sorted(wanted), after=first)
                self._candidates.update((entry.id, entry) for entry in found)
            # Nothing follows from what is recorded later.
            for entry in sorted(self._candidates.values(), key=lambda one: one.position):
                if entry.id not in self._entries and self._belongs(entry):
                    self._entries[entry.id] = entry

    def _belongs(self, entry: Entry) -> bool:
        cause = self._log.cause(entry)
        if cause is not None:
            return cause.id in self._entries
        if _request_of(entry) not in self._requests:
            return False
        if len(self._entries) >= _NODES:
            self._not_taken.add(entry.id)
            return False
        return True

    def _add_asides(self) -> None:
        for entry in list(self._entries.values()):
            for found in self._log.because(entry):
                chain = self._log.above(found)
                new = [one for one in chain if one.id not in self._entries]
                self._entries.update((one.id, one) for one in new)
                self._aside.update((one.id, None) for one in new)
                if len(new) == len(chain):
                    self._aside[new[-1].id] = entry.id
        for entry in [one for one in self._entries.values() if one.id not in self._aside]:
            led_to = [one for one in self._log.elsewhere(entry) if one.id not in self._entries]
            self._not_taken |= {one.id for one in led_to[MOST:]}
            for found in led_to[:MOST]:
                self._aside[found.id] = entry.id
                self._leaves[found.id] = entry
        self._entries.update((id, self._log.stream(_stream(id))[id]) for id in self._leaves)

    # --- nodes ------------------------------------------------------------------------------------

    def _make_nodes(self) -> None:
        top = self._top()
        #: The requests of what is no aside.
        self._own = {
            f"request/{_request_of(entry)[0]}"
            for entry in self._entries.values()
            if entry.id not in self._aside
        }
        for entry in sorted(self._entries.values(), key=lambda one: one.position):
            causes = self._causes(entry)
            above = [] if entry.id in self._leaves else self._acts(entry, top)
            self._add(_node(entry, self._log), [*above, *causes], entry, top)
        # A request or a command is asked for by its id; where it has no node, what it did is.
        acts = {f"request/{self._id}", f"command/{self._id}"} & self._nodes.keys() - {top}
        shown = [entry for entry in self._hits.values() if entry.id in self._nodes]
        self._mark(acts)
        if not acts or top is not None:
            self._mark(entry.id for entry in shown if self._id in _acts_of(entry))
        if not any(node.is_asked_for for node in self._nodes.values()):
            self._mark([shown[0].id])

    def _mark(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._nodes[id] = attrs.evolve(self._nodes[id], is_asked_for=True)

    def _top(self) -> str | None:
        """Make the node above several chains; None when there is one."""
        if len(self._requests) == 1:
            return None
        acted = [kind for kind in self._kinds if kind in _CONTEXT.values()]
        first = min(self._hits.values(), key=lambda one: one.position)
        what = acted[0] if acted else self._kinds[0]
        node = Node(
            id=f"request/{self._id}" if acted else f"chains/{self._id}",
            kind="request" if acted else "chains",
            title=f"{len(self._requests)} chains have to do with this {what}: {self._id}",
            at=first.recorded_at,
            actor=first.context.actor if acted and first.context is not None else None,
            is_asked_for=bool(acted),
        )
        self._nodes[node.id] = node
        return node.id

    def _causes(self, entry: Entry) -> list[str]:
        if entry.id in self._leaves:
            return [self._leaves[entry.id].id]
        cause = self._log.cause(entry)
        found = [*([] if cause is None else [cause]), *self._log.because(entry)]
        return list(dict.fromkeys(one.id for one in found if one.id in self._entries))

    def _acts(self, entry: Entry, top: str | None) -> list[str]:
        """Make the nodes of the request and the command that brought an event; give the latter.

        Only what acts from outside has them: the worker and its like do what events ask for.
        """
        context, cause = entry.context, self._log.cause(entry)
        if context is None or not _comes_from_outside(context, cause):
            return []
        request, command = f"request/{context.request_id}", f"command/{context.command_id}"
        if request == top and cause is not None:
            # It stands below what it was about, and so does not stand below the top.
            return []
        if entry.id in self._aside and request in self._own:
            # A request that is in the tree itself is no part of another chain.
            return []
        about = [] if cause is None else [cause.id]
        acts: Sequence[tuple[str, Kind, Sequence[str]]] = (
            (request, "request", about),
            (command, "command", [request]),
        )
        for id, kind, above in acts:
            node = Node(
                id=id,
                kind=kind,
                title=id.replace("/", " ", 1),
                at=entry.recorded_at,
                actor=context.actor,
                context=_context_of(entry),
            )
            if id not in self._nodes:
                self._add(node, above, entry, top)
        return [command]

    def _add(self, node: Node, causes: Sequence[str], entry: Entry, top: str | None) -> None:
        aside = self._aside.get(entry.id)
        self._nodes[node.id] = attrs.evolve(
            node,
            causes=tuple(causes),
            parent=causes[0] if causes else aside or top,
            is_asked_for=node.kind == "event" and node.id in self._asked,
            is_aside=entry.id in self._aside,
            is_leaf=entry.id in self._leaves,
        )


#: As many events of one request that follow from nothing else are shown.
_NODES: Final = 1000


def _stream(id: str) -> str:
    return id.rpartition("/")[0]


def _request_of(entry: Entry) -> tuple[str, str]:
    """Give what ties together what one request brought; an event that tells none is alone."""
    if entry.context is None:
        return entry.id, ""
    return entry.context.request_id, entry.context.correlation_id


def _acts_of(entry: Entry) -> set[str | None]:
    context = _context_of(entry)
    return {context.get("request_id"), context.get("command_id")}


def _comes_from_outside(context: Context, cause: Entry | None) -> bool:
    if cause is None:
        return True
    before = cause.context
    is_new = before is None or before.request_id != context.request_id
    return is_new and context.actor != "worker"


def _node(entry: Entry, log: _Log) -> Node:
    if isinstance(entry, Unread):
        return Node(
            id=entry.id,
            kind="event",
            title=f"this cannot be read: {entry.why}",
            name=entry.name,
            at=entry.recorded_at,
            actor=None if entry.context is None else entry.context.actor,
            context=_context_of(entry),
            is_readable=False,
        )
    return Node(
        id=entry.id,
        kind="event",
        title=wording.line(entry),
        name=entry.name,
        at=entry.recorded_at,
        actor=entry.context.actor,
        rule=_fields_of(entry).get("rule"),
        status=log.status(entry),
        context=_context_of(entry),
        details=wording.details(entry),
    )
