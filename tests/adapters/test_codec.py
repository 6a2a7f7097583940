"""Stored bytes: pinned by golden files, read for ever, and refused by name when they cannot be."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Final

import attrs
import pytest
from eventsourcing.persistence import Notification, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from siutindei.adapters import codec
from siutindei.adapters.codec import EventMapper, UnreadableEvent
from siutindei.app.ports import Context, Recorded
from siutindei.domain import catalogue, person, ticket
from siutindei.domain.personal import Personal, of
from tests import strategies
from tests.golden import samples
from tests.strategies import unhurried
from tests.support import START, VirtualClock

MAPPER: Final = EventMapper()
NEWEST: Final = [name for name in samples.SAMPLES if samples.stored_name(name) in catalogue.EVENTS]


def golden(sample: str) -> bytes:
    """Read a golden file."""
    return (samples.FOLDER / f"{sample}.json").read_bytes()


def stored(sample: str, state: bytes | None = None, *, name: str | None = None) -> StoredEvent:
    """Give a stored event as the recorder gives it."""
    recorded = samples.recorded(sample)
    return StoredEvent(
        originator_id=recorded.stream,
        originator_version=recorded.version,
        topic=name or recorded.name,
        state=golden(sample) if state is None else state,
    )


def changed(sample: str, **fields: Any) -> bytes:
    """Give a golden file with other fields in its payload."""
    envelope = json.loads(golden(sample))
    envelope["data"] |= fields
    return json.dumps(envelope).encode()


# --- golden files ---------------------------------------------------------------------------------


def test_every_stored_name_has_a_golden_file() -> None:
    """Each event, and each old version of one, is pinned; no file pins anything else."""
    names = {*catalogue.EVENTS, *catalogue.UPCASTS}
    files = {file.name for file in samples.FOLDER.glob("*.json") if file != samples.READ}

    assert names == {samples.stored_name(sample) for sample in samples.SAMPLES}
    assert {f"{sample}.json" for sample in samples.SAMPLES} == files
    assert files == samples.sums().keys()


@pytest.mark.parametrize("sample", samples.SAMPLES)
def test_a_golden_file_does_not_change(sample: str) -> None:
    """The bytes of a golden file are the ones that were pinned when it was added."""
    assert samples.sums()[f"{sample}.json"] == sha256(golden(sample)).hexdigest()


@pytest.mark.parametrize("sample", NEWEST)
def test_an_event_is_stored_as_its_golden_file_says(sample: str) -> None:
    """Writing gives the very bytes that are in somebody's database."""
    assert stored(sample) == MAPPER.to_stored_event(samples.recorded(sample))


@pytest.mark.parametrize("sample", samples.SAMPLES)
def test_a_golden_file_is_read(sample: str) -> None:
    """Every golden file is read as what happened, also those of old versions."""
    read = MAPPER.to_domain_event(stored(sample))

    assert samples.recorded(sample) == read


def test_how_every_golden_file_is_read_is_pinned() -> None:
    """What is read of each golden file is written down; of none that there is not."""
    assert samples.SAMPLES.keys() == samples.readings().keys()


@pytest.mark.parametrize("sample", samples.SAMPLES)
def test_a_golden_file_is_read_to_the_values_that_were_written_down(sample: str) -> None:
    """No default and no upcast becomes another one; a field that was added later is empty."""
    pinned, now = samples.readings()[sample], samples.read(sample)
    added = now["data"].keys() - pinned["data"].keys()

    assert not any(now["data"].pop(name) for name in added)
    assert pinned == now


@pytest.mark.parametrize("name", catalogue.EVENTS)
def test_every_event_is_pinned_full_and_least(name: str) -> None:
    """One golden file of each event has every field, and one has none that can be left out."""
    fields = attrs.fields(catalogue.EVENTS[name])
    optional = {
        field.name for field in fields if field.default is not attrs.NOTHING and not field.default
    }
    kept = [
        json.loads(golden(sample))["data"].keys() & optional
        for sample in NEWEST
        if samples.stored_name(sample) == name
    ]

    assert optional in kept
    assert set() in kept


def test_every_old_name_leads_to_an_event() -> None:
    """However often a shape changed, the upcasts end at an event of today."""
    for name in catalogue.UPCASTS:
        seen = [name]
        while seen[-1] in catalogue.UPCASTS:
            seen.append(catalogue.UPCASTS[seen[-1]][0])
            assert len(seen) == len(set(seen))

        assert seen[-1] in catalogue.EVENTS
        assert name not in catalogue.EVENTS


@pytest.mark.parametrize("sample", samples.SAMPLES)
def test_what_was_sealed_knows_its_place(sample: str) -> None:
    """Each personal field that is read is bound to its stream, version and field."""
    read = MAPPER.to_domain_event(stored(sample))
    places = {
        field.name: value.place
        for field in attrs.fields(type(read.event))
        if isinstance(value := getattr(read.event, field.name), Personal)
    }

    assert {name: f"{read.stream}/7/{name}" for name in places} == places


def test_the_golden_files_have_every_field() -> None:
    """No field of any event and of the envelope is missing from all golden files."""
    seen: dict[str, set[str]] = {name: set() for name in catalogue.EVENTS}
    envelope: set[str] = set()
    for sample in NEWEST:
        document = json.loads(golden(sample))
        seen[samples.stored_name(sample)] |= document["data"].keys()
        envelope |= document.keys()

    assert {
        name: {field.name for field in attrs.fields(kind)}
        for name, kind in catalogue.EVENTS.items()
    } == seen
    assert set(codec.Envelope.__struct_fields__) == envelope


def test_metadata_that_is_not_there_takes_no_room() -> None:
    """A command outside Lambda leaves no field for what only Lambda knows."""
    assert {
        "recorded_at",
        "command_id",
        "actor",
        "request_id",
        "correlation_id",
        "data",
    } == json.loads(golden("challenge.passed.v1")).keys()


def test_an_old_proof_was_one_by_code() -> None:
    """Before version 2 an address was proved by a code and by nothing else."""
    read = MAPPER.to_domain_event(stored("person.address_proved.v1"))

    assert "code" == read.event.how
    assert "person.address_proved.v1" == read.name


@attrs.frozen(kw_only=True)
class SubmittedLater(ticket.Submitted):
    """The event of a later version, with fields that are empty by default."""

    phone: Personal | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    count: int = 0
    sure: bool = False


@pytest.mark.parametrize("sample", [name for name in NEWEST if name.startswith("ticket.submitted")])
def test_a_field_that_is_added_empty_changes_no_bytes(sample: str) -> None:
    """What was stored before a field was added is what would be stored now without it."""
    event = samples.recorded(sample).event
    later = SubmittedLater(
        **{field.name: getattr(event, field.name) for field in attrs.fields(type(event))}
    )

    assert MAPPER.encode_payload(event) == MAPPER.encode_payload(later)


def test_nothing_that_was_said_is_left_out() -> None:
    """A number that is zero, a text that is empty, and a value like the default are kept apart."""
    event: Any = samples.recorded("ticket.submitted.v1--feedback").event
    payload = json.loads(MAPPER.encode_payload(event))

    assert 0 == payload["feedback_stars"]
    assert ticket.SUBMIT_RULE == payload["rule"]
    assert "" == json.loads(MAPPER.encode_payload(attrs.evolve(event, rule="")))["rule"]
    assert "" == json.loads(MAPPER.encode_payload(attrs.evolve(event, locale="")))["locale"]


# --- what cannot be read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (b"", "truncated"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"{}", "missing required field"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 100_000, "recursion|object"),
        (golden("challenge.passed.v1").replace(b'"data":{', b'"data":' + b"[" * 100_000), "recur"),
        (golden("challenge.passed.v1") + b"x", "trailing"),
        (golden("challenge.passed.v1").replace(b'"data":', b'"more":1,"data":'), "unknown field"),
        (
            golden("challenge.passed.v1").replace(b"01:30:00.005000Z", b"01:30:00.005000"),
            "timezone",
        ),
        (changed("challenge.passed.v1", at="yesterday"), "at"),
        (changed("challenge.passed.v1", at="0001-01-01T00:00:00+14:00"), "at is no time of ours"),
        (changed("challenge.passed.v1", at="2026-01-31T01:30:00"), "at is no time of ours"),
        (
            golden("challenge.passed.v1").replace(b'"recorded_at":"2026', b'"recorded_at":"9999'),
            "recorded_at is no time",
        ),
        (changed("challenge.passed.v1", challenge=7), "challenge"),
        (changed("challenge.passed.v1", more=None), "does not know its more"),
        (changed("challenge.passed.v1", b=1, a=1), "does not know its a, b"),
        (golden("challenge.passed.v1").replace(b'"at":', b'"to":'), "does not know its to"),
    ],
    ids=range(18),
)
def test_bytes_that_do_not_fit_are_named(state: bytes, why: str) -> None:
    """What is not the event that it should be is refused with the event's id, its name and why."""
    with pytest.raises(UnreadableEvent, match=f"(?i){why}") as refused:
        MAPPER.to_domain_event(stored("challenge.passed.v1", state))
    recorded = samples.recorded("challenge.passed.v1")

    assert f"event {recorded.id} (challenge.passed.v1) cannot be read: " in str(refused.value)


@pytest.mark.parametrize("name", ["challenge.passed.v2", "person", "", "person.address_proved.v0"])
def test_a_name_that_is_not_known_is_named(name: str) -> None:
    """An event of a newer version asks for that version."""
    with pytest.raises(UnreadableEvent, match="install the version that wrote it") as refused:
        MAPPER.to_domain_event(stored("challenge.passed.v1", name=name or "?"))

    assert f"({name or '?'})" in str(refused.value)


@pytest.mark.parametrize("data", [b"[]", b"null", b"7", b'"x"', b"{}", b"", b'{"user":1}'])
def test_an_old_version_that_does_not_fit_is_named(data: bytes) -> None:
    """An upcast meets nothing but the fields of an object."""
    head, _, _ = golden("person.address_proved.v1").partition(b'"data":')
    with pytest.raises(UnreadableEvent, match=r"person-ann/7 \(person.address_proved.v1\)"):
        MAPPER.to_domain_event(stored("person.address_proved.v1", head + b'"data":' + data + b"}"))


@pytest.mark.parametrize("data", [b"{}", b'{"user":1}'])
def test_an_upcast_may_take_for_granted_what_it_was_made_for(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    """An upcast that does not find what it expects refuses the event, and stops nothing else."""

    def renamed(payload: dict[str, Any]) -> dict[str, Any]:
        return {"user": payload["user"].strip(), "at": payload["at"]}

    upcasts: Any = catalogue.UPCASTS
    monkeypatch.setitem(upcasts, "person.address_proved.v1", ("person.address_proved.v2", renamed))
    head, _, _ = golden("person.address_proved.v1").partition(b'"data":')
    with pytest.raises(UnreadableEvent, match="its upcast does not fit it"):
        MAPPER.to_domain_event(stored("person.address_proved.v1", head + b'"data":' + data + b"}"))


@pytest.mark.parametrize("sample", ["ticket.submitted.v1", "person.address_proved.v1"])
def test_an_event_that_was_cut_short_is_named(sample: str) -> None:
    """No beginning of an event is taken for an event."""
    state = golden(sample)
    for length in range(len(state)):
        with pytest.raises(UnreadableEvent):
            MAPPER.to_domain_event(stored(sample, state[:length]))


@unhurried
@given(state=st.binary())
def test_garbage_is_named(state: bytes) -> None:
    """Bytes that nobody wrote give the one error that the store promises."""
    with pytest.raises(UnreadableEvent, match="ticket-R00001/7"):
        MAPPER.to_domain_event(stored("ticket.submitted.v1", state))


@unhurried
@given(
    sample=st.sampled_from(list(samples.SAMPLES)),
    place=st.integers(0, 10_000),
    byte=st.binary(min_size=1, max_size=2),
)
def test_damage_is_read_or_named(sample: str, place: int, byte: bytes) -> None:
    """An event with a damaged byte is read, if it still is one, or gives the promised error."""
    state = golden(sample)
    place %= len(state)
    damaged = stored(sample, state[:place] + byte + state[place + len(byte) :])
    refused = None
    try:
        MAPPER.to_domain_event(damaged)
    except UnreadableEvent as error:
        refused = str(error)

    assert refused is None or f"event {damaged.originator_id}/7 " in refused


# --- what is read otherwise -----------------------------------------------------------------------


def deviation(sample: str, state: bytes) -> str:
    """Say what is different about bytes that can be read."""
    event = stored(sample, state)
    return MAPPER.deviation(event, MAPPER.to_domain_event(event))


@pytest.mark.parametrize("sample", samples.SAMPLES)
def test_what_we_wrote_is_read_as_it_was_written(sample: str) -> None:
    """No golden file is read otherwise than it was written, also none of an old version."""
    assert "" == deviation(sample, golden(sample))


SAME: Final = "it says the same in other bytes: another program wrote them"
PASSED: Final = golden("challenge.passed.v1")
OLD: Final = golden("person.address_proved.v1")


@pytest.mark.parametrize(
    ("sample", "state", "told"),
    [
        ("challenge.passed.v1", json.dumps(json.loads(PASSED)).encode(), SAME),
        ("challenge.passed.v1", json.dumps(json.loads(PASSED), sort_keys=True).encode(), SAME),
        ("challenge.passed.v1", PASSED.replace(b"command-1", rb"command\u002d1"), SAME),
        ("person.address_proved.v1", OLD.replace(b'"data":', b'"data": '), SAME),
        ("person.address_proved.v1", OLD.replace(b'"user":', b'"user": '), SAME),
        (
            "challenge.passed.v1",
            PASSED.replace(b'"at":"', b'"at":"2026-01-31T09:00:00Z","at":"'),
            "a field stands in it twice: at",
        ),
        (
            "person.address_proved.v1",
            OLD.replace(b'"user":', b'"user":"bob","user":'),
            "a field stands in it twice: user",
        ),
        (
            "challenge.passed.v1",
            PASSED.replace(b'01:30:00Z"', b'01:30:00.0000001Z"'),
            "this program writes it otherwise: at",
        ),
        (
            "challenge.passed.v1",
            PASSED.replace(b'01:30:00.005000Z"', b'01:30:00.005Z"'),
            "this program writes it otherwise: recorded_at",
        ),
        (
            "challenge.issued.v1",
            changed("challenge.issued.v1", user=None, locale=None),
            "this program writes it otherwise: locale, user",
        ),
        (
            "challenge.missed.v1",
            golden("challenge.missed.v1").replace(b'"attempts_left":0', b'"attempts_left":-0'),
            SAME,
        ),
    ],
    ids=range(11),
)
def test_what_is_read_otherwise_is_told(sample: str, state: bytes, told: str) -> None:
    """What can be read, but would not be written so, names the fields; other bytes alone are told
    apart.
    """
    assert told == deviation(sample, state)


def test_what_gets_lost_behind_an_upcast_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an upcast gives and the event does not keep is named; what is empty may be left out."""
    name, upcast = catalogue.UPCASTS["person.address_proved.v1"]

    def careless(payload: dict[str, Any]) -> dict[str, Any]:
        return upcast(payload) | {"at": "2026-01-31T01:30:00.0000001Z", "challenge": None}

    upcasts: Any = catalogue.UPCASTS
    monkeypatch.setitem(upcasts, "person.address_proved.v1", (name, careless))

    assert "what the upcast gives is not all that is read: at" == deviation(
        "person.address_proved.v1", OLD
    )


# --- every event ----------------------------------------------------------------------------------


@unhurried
@given(
    event=strategies.events,
    recorded_at=strategies.moments,
    position=st.integers(1, 2**63 - 1),
    tags=st.lists(st.none() | strategies.texts, min_size=3, max_size=3),
    text=strategies.texts,
)
def test_every_event_comes_back(
    event: Any, recorded_at: Any, position: int, tags: list[str | None], text: str
) -> None:
    """Any event, sealed, is read as it was written, and written again as the same bytes."""
    sealed = codec.seal(event, "stream", 3, lambda personal: f"key.{personal.place[-1]}")
    recorded = Recorded(
        stream="stream",
        version=3,
        position=position,
        name=catalogue.NAMES[type(event)],
        recorded_at=recorded_at,
        context=Context(
            command_id=text,
            actor=text,
            request_id=text,
            correlation_id=text,
            causation_id=tags[0],
            aws_request_id=tags[1],
            sqs_message_id=tags[2],
        ),
        event=sealed,
    )
    written = MAPPER.to_stored_event(recorded)
    read = MAPPER.to_domain_event(
        Notification(
            id=position,
            originator_id=written.originator_id,
            originator_version=written.originator_version,
            topic=written.topic,
            state=written.state,
        )
    )

    assert recorded == read
    assert written == MAPPER.to_stored_event(read)
    assert type(event) is type(read.event)


@unhurried
@given(event=strategies.events)
def test_nothing_personal_is_written_clear(event: Any) -> None:
    """An event with a clear personal field has no bytes."""
    clear = [
        field.name
        for field in attrs.fields(type(event))
        if isinstance(value := getattr(event, field.name), Personal) and value.clear is not None
    ]
    if not clear:
        MAPPER.encode_payload(event)
        return

    with pytest.raises(ValueError, match="must be sealed"):
        MAPPER.encode_payload(event)


def test_every_personal_field_is_known() -> None:
    """Whatever a class declares as personal is sealed, in the classes that there are."""
    declared = {
        kind: tuple(field.name for field in attrs.fields(kind) if "Personal" in str(field.type))
        for kind in catalogue.NAMES
    }

    assert declared == codec.PERSONAL


def test_what_is_sealed_elsewhere_is_not_sealed_again() -> None:
    """A field that was read from one place is opened before it is stored in another."""
    event = person.SignedUp(
        user="ann", email=Personal(token="k.t", place="x/1/email"), fingerprint="f", at=START
    )
    with pytest.raises(ValueError, match="email of SignedUp is sealed elsewhere"):
        codec.seal(event, "stream", 1, lambda _: "k.t")


def test_what_no_event_may_hold_has_no_bytes() -> None:
    """Only what JSON knows, and what is personal, is encoded."""
    with pytest.raises(NotImplementedError, match="cannot encode a VirtualClock"):
        MAPPER.transcoder.encode({"clock": VirtualClock()})


# --- documents ------------------------------------------------------------------------------------


def test_a_document_keeps_places_and_erasures() -> None:
    """What a read model keeps comes back, its sealed fields bound to where they stood."""
    submitted = MAPPER.to_domain_event(stored("ticket.submitted.v1")).event
    erased = MAPPER.to_domain_event(stored("ticket.submitted.v1--least")).event
    for event in (submitted, erased):
        state = ticket.evolve(ticket.INITIAL, event)
        read = codec.decode_document(ticket.Ticket, codec.encode_document(state))

        assert state == read
        assert read.submitted is not None
        assert event.submitter_email.place == read.submitted.submitter_email.place
        assert event.organization_name.is_erased == read.submitted.organization_name.is_erased


def test_a_document_is_never_clear() -> None:
    """A read model refuses an aggregate that was opened."""
    sealed: Any = samples.recorded("ticket.submitted.v1").event
    event = attrs.evolve(sealed, message=of("ann", "secret"))
    with pytest.raises(ValueError, match="must be sealed"):
        codec.encode_document(ticket.evolve(ticket.INITIAL, event))
