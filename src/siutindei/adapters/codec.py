"""Events as bytes and back: a JSON envelope around a JSON payload, each pinned by golden files.

A payload leaves out what is empty and equal to its default, so that a field that is added later
with an empty default changes no stored byte. Personal fields are strings: the ciphertext's token.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar, get_type_hints

import attrs
import msgspec
from eventsourcing.persistence import Mapper, Notification, StoredEvent, Transcoder

from siutindei.app.ports import Context, Recorded, Unreadable
from siutindei.app.times import is_moment
from siutindei.domain import catalogue
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.domain.catalogue import Event

S = TypeVar("S")

_ERASED: Final = "erased"
_NEWER: Final = "install the version that wrote it"


#: Where in the bytes the trouble is: it would make each damaged event a case of its own.
_PLACE: Final = re.compile(r" \(byte \d+\)")


class UnreadableEvent(Unreadable):
    """A stored event that this version of the program cannot read.

    Attributes:
        why: what is wrong with it, the same words for every event that has it.
    """

    def __init__(self, stored: StoredEvent, why: str) -> None:
        event_id = f"{stored.originator_id}/{stored.originator_version}"
        super().__init__(f"event {event_id} ({stored.topic}) cannot be read: {why}")
        self.why = _PLACE.sub("", why)


class Envelope(
    msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, forbid_unknown_fields=True
):
    """What every stored event carries beside its payload; the order of fields is pinned."""

    recorded_at: Annotated[datetime, msgspec.Meta(tz=True)]
    command_id: str
    actor: str
    request_id: str
    correlation_id: str
    causation_id: str | None = None
    aws_request_id: str | None = None
    sqs_message_id: str | None = None
    data: msgspec.Raw


class EnvelopeTranscoder(Transcoder):
    """The envelope as JSON."""

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder(enc_hook=_encode_personal)
        self._decoder = msgspec.json.Decoder(Envelope)

    def encode(self, obj: object) -> bytes:
        """Encode an envelope, or the fields of a payload."""
        return self._encoder.encode(obj)

    def decode(self, data: bytes) -> Envelope:
        """Decode an envelope, its payload left as it is."""
        return self._decoder.decode(data)


class EventMapper(Mapper[str]):
    """`eventsourcing`'s mapper for attrs events under explicit stored names."""

    def __init__(self) -> None:
        super().__init__(transcoder=EnvelopeTranscoder())

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """Encode a recorded event whose personal fields are sealed."""
        recorded: Recorded = domain_event
        return StoredEvent(
            originator_id=recorded.stream,
            originator_version=recorded.version,
            topic=recorded.name,
            state=self._around(recorded, self.encode_payload(recorded.event)),
        )

    def _around(self, recorded: Recorded, data: bytes) -> bytes:
        """Put the envelope of an event around a payload."""
        context = recorded.context
        envelope = Envelope(
            recorded_at=recorded.recorded_at,
            command_id=context.command_id,
            actor=context.actor,
            request_id=context.request_id,
            correlation_id=context.correlation_id,
            causation_id=context.causation_id,
            aws_request_id=context.aws_request_id,
            sqs_message_id=context.sqs_message_id,
            data=msgspec.Raw(data),
        )
        return self.transcoder.encode(envelope)

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """Decode a stored event; personal fields stay sealed.

        Raises:
            UnreadableEvent: the name is unknown, or the bytes do not fit it.
        """
        try:
            envelope: Envelope = self.transcoder.decode(stored_event.state)
            event = self.decode_payload(stored_event.topic, bytes(envelope.data))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableEvent(stored_event, str(error)) from error
        if not is_moment(envelope.recorded_at):
            raise UnreadableEvent(stored_event, "its recorded_at is no time of ours")
        kind: Any = type(event)
        for name in _moment_fields(kind):
            at = getattr(event, name)
            if at is not None and not is_moment(at):
                raise UnreadableEvent(stored_event, f"its {name} is no time of ours")
        stream = str(stored_event.originator_id)
        bind(event, stream, stored_event.originator_version)
        return Recorded(
            stream=stream,
            version=stored_event.originator_version,
            position=stored_event.id if isinstance(stored_event, Notification) else 0,
            name=stored_event.topic,
            recorded_at=envelope.recorded_at,
            context=_context(envelope),
            event=event,
        )

    def outline(self, state: object) -> tuple[datetime | None, Context | None, dict[str, str]]:
        """Give what can be said of an event that cannot be read.

        Returns:
            When it was recorded, who acted, and its fields that are text; nothing of an envelope
            that cannot be read either.
        """
        try:
            envelope: Envelope = self.transcoder.decode(state if isinstance(state, bytes) else b"")
            fields = msgspec.json.decode(envelope.data, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None, None, {}
        texts = {name: value for name, value in fields.items() if isinstance(value, str)}
        at = envelope.recorded_at
        return at if is_moment(at) else None, _context(envelope), texts

    def deviation(self, stored: StoredEvent, recorded: Recorded) -> str:
        """Say in what an event is read otherwise than it was written; empty when in nothing.

        What was read is written again and held against what is stored. Nobody writes an old version
        any more: of that one it is held against what the upcast gives.
        """
        data = bytes(self.transcoder.decode(stored.state).data)
        again = self.encode_payload(recorded.event)
        try:
            if stored.topic in catalogue.UPCASTS:
                read, (_, upcast) = _fields(again), _upcast(stored.topic, data)
                lost = _differing(
                    {
                        name: text
                        for name, text in _fields(upcast).items()
                        if text not in _EMPTY or name in read
                    },
                    read,
                )
                if lost:
                    return f"what the upcast gives is not all that is read: {lost}"
                _fields(data)
                again = msgspec.json.format(data, indent=-1)
            written = self._around(recorded, again)
            if written == stored.state:
                return ""
            found = _differing(_fields(data), _fields(again)) or _differing(
                _fields(stored.state), _fields(written)
            )
        except _Twice as error:
            return f"a field stands in it twice: {error}"
        return f"this program writes it otherwise: {found}" if found else _REWRITTEN

    def encode_payload(self, event: Event) -> bytes:
        """Encode an event's fields, in the order of its class, without those that are empty."""
        payload = {}
        for field in attrs.fields(type(event)):
            value = getattr(event, field.name)
            if value or field.default is attrs.NOTHING or value != field.default:
                payload[field.name] = value
        return self.transcoder.encode(payload)

    def decode_payload(self, name: str, data: bytes) -> Event:
        """Decode a payload that was stored under `name`, through the upcasts when it is old.

        A field that the event does not have is refused: leaving it out would change what happened.

        Raises:
            msgspec.MsgspecError: no such name, or the bytes do not fit.
        """
        name, data = _upcast(name, data)
        kind = catalogue.EVENTS.get(name)
        if kind is None:
            msg = f"this version does not know {name}; {_NEWER}"
            raise msgspec.ValidationError(msg)
        unknown = _fields_decoder.decode(data).keys() - _field_names(kind)
        if unknown:
            msg = f"this version does not know its {', '.join(sorted(unknown))}; {_NEWER}"
            raise msgspec.ValidationError(msg)
        event: Event = _decoder(kind).decode(data)
        return event


def _context(envelope: Envelope) -> Context:
    return Context(
        command_id=envelope.command_id,
        actor=envelope.actor,
        request_id=envelope.request_id,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.causation_id,
        aws_request_id=envelope.aws_request_id,
        sqs_message_id=envelope.sqs_message_id,
    )


def seal(event: Event, stream: str, version: int, sealer: Callable[[Personal], str]) -> Event:
    """Copy an event with every personal field sealed and bound to its place.

    Args:
        event: its personal fields clear or erased.
        stream: where it will be stored.
        version: its version there.
        sealer: gives the token of a clear text that has its place.

    Raises:
        ValueError: a field is still sealed under another place.
    """
    sealed: dict[str, Personal] = {}
    for name in _personal_fields(event):
        value: Personal | None = getattr(event, name)
        if value is None or value.is_erased:
            continue
        if value.is_sealed:
            msg = f"{name} of {type(event).__qualname__} is sealed elsewhere: open it first"
            raise ValueError(msg)
        place = f"{stream}/{version}/{name}"
        placed = Personal(owner=value.owner, clear=value.clear, place=place)
        token = sealer(placed)
        sealed[name] = _decode_personal(Personal, token)
        sealed[name].place = place
    changes: dict[str, Any] = dict(sealed)
    return attrs.evolve(event, **changes)


def bind(event: Event, stream: str, version: int) -> None:
    """Tell every sealed field of a decoded event where it stood."""
    for name in _personal_fields(event):
        value: Personal | None = getattr(event, name)
        if value is not None:
            value.place = f"{stream}/{version}/{name}"


#: What an upcast raises that does not find what it was made for.
_MISFITS: Final = (LookupError, TypeError, ValueError, AttributeError)


def _upcast(name: str, data: bytes) -> tuple[str, bytes]:
    """Give the newest version of a payload, and the name of that; a new one is as it is.

    Raises:
        msgspec.MsgspecError: the bytes do not fit.
    """
    if name in catalogue.UPCASTS:
        payload = msgspec.json.decode(data, type=dict[str, Any])
        while name in catalogue.UPCASTS:
            name, upcast = catalogue.UPCASTS[name]
            try:
                payload = upcast(payload)
            except _MISFITS as error:
                # Not what the error says: it may quote what somebody typed.
                msg = f"its upcast does not fit it ({type(error).__name__})"
                raise msgspec.ValidationError(msg) from error
        data = msgspec.json.encode(payload)
    return name, data


_REWRITTEN: Final = "it says the same in other bytes: another program wrote them"
_EMPTY: Final = frozenset({"null", "false", "0", '""', "[]"})


class _Twice(Exception):
    """A JSON object has a field twice, and only one of them was read."""


def _fields(text: bytes) -> dict[str, str]:
    """Give the fields of a JSON object, each as a text: to Python 1, 1.0 and True are the same."""
    fields: dict[str, Any] = json.loads(text, object_pairs_hook=_once)
    return {name: json.dumps(value, sort_keys=True) for name, value in fields.items()}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise _Twice(name)
        fields[name] = value
    return fields


def _differing(one: dict[str, str], other: dict[str, str]) -> str:
    """Name the fields in which two objects differ; empty when in none."""
    return ", ".join(
        sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    )


#: The personal fields of each event class.
PERSONAL: Final = {
    kind: tuple(
        name for name, hint in get_type_hints(kind).items() if hint in {Personal, Personal | None}
    )
    for kind in catalogue.NAMES
}


def _personal_fields(event: Event) -> tuple[str, ...]:
    return PERSONAL[type(event)]


@cache
def _moment_fields(kind: type) -> tuple[str, ...]:
    """Name the fields of an event class that are moments."""
    return tuple(
        name for name, hint in get_type_hints(kind).items() if hint in {datetime, datetime | None}
    )


#: A payload's fields, read no further.
_fields_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@cache
def _field_names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in attrs.fields(kind))


@cache
def _decoder(event: Any) -> Any:
    return msgspec.json.Decoder(event, dec_hook=_decode_personal)


def _encode_personal(value: object) -> str:
    if not isinstance(value, Personal):
        msg = f"cannot encode a {type(value).__qualname__}"
        raise NotImplementedError(msg)
    if value.is_erased:
        return _ERASED
    if value.token is None:
        msg = "a clear personal field must be sealed before it is stored"
        raise ValueError(msg)
    return value.token


def _decode_personal(_: type, value: str) -> Personal:
    return Personal() if value == _ERASED else Personal(token=value)


# --- documents: what read models keep of an aggregate ---------------------------------------------


def encode_document(state: object) -> bytes:
    """Encode an aggregate's state; sealed fields keep the place that they are bound to."""
    return _document_encoder.encode(state)


def decode_document(kind: type[S], data: bytes) -> S:
    """Decode an aggregate's state."""
    hashable: Any = kind
    state: S = _document_decoder(hashable).decode(data)
    return state


def _encode_placed(value: object) -> str:
    token = _encode_personal(value)
    return token if token == _ERASED else f"{token} {getattr(value, 'place')}"  # noqa: B009


def _decode_placed(_: type, value: str) -> Personal:
    token, __, place = value.partition(" ")
    personal = _decode_personal(Personal, token)
    personal.place = place
    return personal


_document_encoder = msgspec.json.Encoder(enc_hook=_encode_placed)


@cache
def _document_decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(kind, dec_hook=_decode_placed)
