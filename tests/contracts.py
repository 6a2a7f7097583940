"""What each port promises: one class for each, with a hook that makes the adapter."""

from __future__ import annotations

import inspect
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from eventsourcing.persistence import StoredEvent

from siutindei.adapters.keys import KeyRing
from siutindei.app import ports
from siutindei.app.ports import (
    AddressBook,
    Clock,
    Codes,
    CommandRepeated,
    Conflict,
    ErasureList,
    FeedbackLabel,
    GrantError,
    Ids,
    ListedErasure,
    Organization,
    Recorded,
    Unusable,
)
from siutindei.domain import challenge, person, ticket
from siutindei.domain.errors import Invalid
from siutindei.domain.personal import ERASED, Personal, of
from tests.support import RING, START, VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siutindei.adapters.store import SqlStore

ANN: Final = person.stream("ann")
BOB: Final = person.stream("bob")
HONG_KONG: Final = timezone(timedelta(hours=8))
FIRST, LAST = (
    datetime.min.replace(tzinfo=HONG_KONG),
    datetime.max.replace(tzinfo=timezone(-timedelta(hours=8))),
)


def signed_up(user: str = "ann", *, email: str | None = None) -> person.SignedUp:
    """Make the event of somebody who opened an account."""
    return person.SignedUp(
        user=user,
        email=of(user, email or f"{user}@example.com"),
        fingerprint="f" * 32,
        locale="en",
        at=START,
    )


def submitted(number: int = 1, *, user: str = "ann", **fields: Any) -> ticket.Submitted:
    """Make the event of an access request."""
    request = ticket.Submitted(
        id=f"00000000-0000-4000-8000-{number:012d}",
        reference=ticket.reference("access_request", number),
        ticket_type="access_request",
        submitter=user,
        submitter_email=of(user, f"{user}@example.com"),
        fingerprint="f" * 32,
        assurance="none",
        organization_name=of(user, "Kite Club"),
        at=START,
    )
    return attrs.evolve(request, **fields)


def append(store: SqlStore, stream: str, *events: Any, version: int | None = None) -> Any:
    """Append events behind the newest, or behind `version`."""
    behind = len(store.load(stream)) if version is None else version
    with store.transaction(context()) as tx:
        return tx.append(stream, behind, events)


def has_signatures_of(adapter: type, port: type) -> bool:
    """Whether every method of a port is there with the very same arguments."""
    return all(
        inspect.signature(getattr(adapter, name)).parameters.keys()
        == inspect.signature(method).parameters.keys()
        for name, method in inspect.getmembers(port, inspect.isfunction)
        if not name.startswith("_")
    )


# --- the store ------------------------------------------------------------------------------------


class StoreContract:
    """What a store needs before it is tested."""

    def make(self, folder: Path, clock: VirtualClock) -> SqlStore:
        """Make an empty store."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """A clock that stands."""
        return VirtualClock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: VirtualClock) -> Iterator[SqlStore]:
        """An empty store."""
        made = self.make(tmp_path, clock)
        yield made
        made.close()


class EventStoreContract(StoreContract):
    """See `ports.EventStore` and `ports.Transaction`."""

    def test_it_has_the_methods_of_its_port(self, store: SqlStore) -> None:
        """A store takes the arguments that its port names."""
        assert has_signatures_of(type(store), ports.EventStore)

    def test_a_new_store_is_empty(self, store: SqlStore) -> None:
        """Nothing has happened in a new store."""
        assert ([], 0, []) == (list(store.load(ANN)), store.last_position(), list(store.read()))

    def test_it_gives_back_what_was_appended(self, store: SqlStore) -> None:
        """An event comes back with its envelope, and opens to what it was."""
        command = attrs.evolve(
            context("c1", actor="user:ann"),
            causation_id="ticket-R00001/1",
            aws_request_id="aws",
            sqs_message_id="sqs",
        )
        with store.transaction(command) as tx:
            tx.append(ANN, 0, [signed_up()])

        (found,) = store.load(ANN)

        assert Recorded(
            stream=ANN,
            version=1,
            position=1,
            name="person.signed_up.v1",
            recorded_at=START,
            context=command,
            event=signed_up(),
        ) == store.open_all(found)

    def test_whoever_appends_goes_on_with_the_clear_event(self, store: SqlStore) -> None:
        """Appending gives the events as they were given, with their ids and positions."""
        first, second = append(store, ANN, signed_up(), signed_up())

        assert (f"{ANN}/1", f"{ANN}/2", 1, 2) == (
            first.id,
            second.id,
            first.position,
            second.position,
        )
        assert "ann@example.com" == first.event.email.text

    def test_what_is_personal_comes_back_sealed(self, store: SqlStore) -> None:
        """A loaded event keeps its secrets until somebody opens it."""
        append(store, ANN, signed_up())

        (found,) = store.load(ANN)

        assert isinstance(found.event, person.SignedUp)
        assert found.event.email.is_sealed

    def test_somebody_else_was_first(self, store: SqlStore) -> None:
        """Appending behind a version that has a successor is a conflict, and changes nothing."""
        append(store, ANN, signed_up())

        def late() -> None:
            with store.transaction(context()) as tx:
                tx.append(BOB, 0, [signed_up("bob")])
                tx.append(ANN, 0, [signed_up()])

        with pytest.raises(Conflict, match="first"):
            late()

        assert [f"{ANN}/1"] == [entry.id for entry in store.read()]
        assert store.views.find_person("bob") is None

    def test_streams_have_no_holes(self, store: SqlStore) -> None:
        """Nothing is appended behind an event that does not exist."""
        append(store, ANN, signed_up())
        with pytest.raises(ValueError, match="append behind"):
            append(store, ANN, signed_up(), version=2)

        assert 1 == len(store.load(ANN))

    def test_an_error_undoes_everything(self, store: SqlStore) -> None:
        """Whatever goes wrong in a transaction, nothing stays: event, key, row, command."""

        def fail() -> None:
            with store.transaction(context("c1")) as tx:
                tx.append(ANN, 0, [signed_up()])
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()

        assert [] == store.load(ANN)
        assert store.views.find_person("ann") is None
        with store.transaction(context("c1")) as tx:
            assert {} == tx.keys_of("ann")

    def test_a_transaction_sees_what_it_did(self, store: SqlStore) -> None:
        """What was appended is loaded and viewed before it is committed."""
        with store.transaction(context()) as tx:
            tx.append(ANN, 0, [signed_up()])
            (found,) = tx.load(ANN)
            row = tx.views.find_person("ann")

            assert signed_up() == tx.open_all(found.event)
            assert "ann" == (row and row.user)

    @pytest.mark.parametrize(
        ("newest", "until", "versions"),
        [
            (None, None, [1, 2, 3, 4, 5]),
            (2, None, [4, 5]),
            (None, 3, [1, 2, 3]),
            (2, 3, [2, 3]),
            (9, 9, [1, 2, 3, 4, 5]),
            (0, None, []),
            (None, 0, []),
            (10**30, 10**30, [1, 2, 3, 4, 5]),
        ],
    )
    def test_a_part_of_a_stream(
        self, store: SqlStore, newest: int | None, until: int | None, versions: list[int]
    ) -> None:
        """A stream is read in order: its newest events, those up to a version, or both."""
        append(store, ANN, *[signed_up()] * 5)
        append(store, BOB, signed_up("bob"))
        with store.transaction(context()) as tx:
            inside = tx.load(ANN, newest=newest, until=until)

        assert versions == [entry.version for entry in store.load(ANN, newest=newest, until=until)]
        assert versions == [entry.version for entry in inside]

    def test_the_log_is_in_order_of_position(self, store: SqlStore) -> None:
        """The log gives every event once, oldest first, and each position is higher."""
        for _ in range(3):
            append(store, ANN, signed_up())
            append(store, BOB, signed_up("bob"), signed_up("bob"))

        log = list(store.read())

        assert 9 == len({entry.id for entry in log})
        assert sorted({entry.position for entry in log}) == [entry.position for entry in log]
        assert log[-1].position == store.last_position()

    def test_a_part_of_the_log(self, store: SqlStore, clock: VirtualClock) -> None:
        """The log is read after a position, up to one, up to a moment, by name and by stream."""
        append(store, ANN, signed_up())
        clock.advance(minutes=1)
        append(store, "ticket-R00001", submitted())
        append(store, BOB, signed_up("bob"))
        clock.advance(minutes=1)
        append(store, ANN, signed_up())

        def ids(**part: Any) -> list[str]:
            return [entry.id for entry in store.read(**part)]

        everything = [f"{ANN}/1", "ticket-R00001/1", f"{BOB}/1", f"{ANN}/2"]
        assert everything == ids()
        assert everything[2:] == ids(after=2)
        assert everything[1:3] == ids(after=1, until=3)
        assert everything[:3] == ids(until=START + timedelta(minutes=1))
        assert everything[1:2] == ids(names=("ticket.submitted.v1",))
        assert [f"{ANN}/1", f"{ANN}/2"] == ids(stream=ANN)
        assert [f"{ANN}/2"] == ids(stream=ANN, after=1, names=("person.signed_up.v1",))
        assert [f"{ANN}/2"] == ids(after=START + timedelta(minutes=1))
        assert everything[1:3] == ids(after=START, until=START + timedelta(minutes=1))
        assert everything[1:] == ids(after=START.astimezone(HONG_KONG))
        assert [] == ids(after=LAST)
        assert everything == ids(after=FIRST, until=LAST)
        assert [] == ids(until=FIRST)
        assert everything == ids(holding="f" * 32)
        assert everything[2:3] == ids(holding="bob")
        assert everything[1:2] == ids(holding="R00001")
        assert [] == ids(holding="%")
        assert [] == ids(holding="_____")
        assert [] == ids(holding="f" * 31)
        assert [] == ids(after=10**30)
        assert everything == ids(after=-(10**30), until=10**30)

    def test_a_clock_that_goes_back_hides_nothing(
        self, store: SqlStore, clock: VirtualClock
    ) -> None:
        """An event that is too late says nothing about those behind it."""
        append(store, ANN, signed_up())
        clock.advance(hours=1)
        append(store, ANN, signed_up())
        clock.advance(hours=-1)
        append(store, ANN, signed_up())

        assert [1, 3] == [entry.version for entry in store.read(until=START)]

    def test_an_event_of_another_form_is_read_too(self, store: SqlStore) -> None:
        """What does not begin as ours do is not left out before it is read."""
        append(store, ANN, signed_up())
        with store.writing() as cursor:
            (row,) = store.stored_page(cursor, 0, 1)
            spaced = bytes(row["state"]).replace(b'{"', b'{ "', 1)
            cursor.execute("UPDATE stored_events SET state = ?", (spaced,))

        assert [1] == [entry.version for entry in store.read(until=START)]
        assert [] == list(store.read(after=START))

    def test_everything_that_is_stored_is_looked_at(self, store: SqlStore) -> None:
        """Also what nobody can read comes, page after page, with the reason and no error."""
        for number in range(1, 502):
            append(store, f"ticket-R{number:05d}", submitted(number, user=f"user-{number}"))
        good = list(store.read())
        with store.writing() as cursor:
            for version, name, state in (
                (8, "ticket.told.v1", b"{}"),
                (9, "ticket.submitted.v1", b"\xff"),
            ):
                cursor.execute(
                    "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                    " VALUES (?, ?, ?, ?)",
                    ("ticket-R00001", version, name, state),
                )
        last = store.last_position()
        readings = list(store.readings(until=last))

        assert [(entry, "") for entry in good] == [
            (reading.recorded, reading.trouble) for reading in readings[:501]
        ]
        assert [
            ("ticket-R00001/8", "ticket.told.v1", None),
            ("ticket-R00001/9", "ticket.submitted.v1", None),
        ] == [(reading.id, reading.name, reading.recorded) for reading in readings[501:]]
        assert all(reading.trouble for reading in readings[501:])
        assert last == readings[-1].position
        assert readings[:501] == list(store.readings(until=good[-1].position))

    def test_a_long_log_is_read_in_pages(self, store: SqlStore) -> None:
        """A log of more events than a page holds is read whole, also while it grows."""
        append(store, ANN, *[signed_up()] * 1001)
        versions = []
        for entry in store.read():
            versions.append(entry.version)
            if entry.version == 600:
                append(store, ANN, signed_up(), version=1001)

        assert list(range(1, 1003)) == versions

    def test_texts_are_found_as_they_are_stored_and_whole(
        self, store: SqlStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A part of one is not, and nothing in it is a pattern; however many are looked for."""
        monkeypatch.setattr("siutindei.adapters.store._LOOKED_THROUGH", 3)
        monkeypatch.setattr("siutindei.adapters.store._TEXTS", 2)
        names = ['say "hi" \\ 太極', "50%_off", "plain", "plainer", "other"]
        for number, name in enumerate(names, start=1):
            with store.transaction(attrs.evolve(context(), correlation_id=name)) as tx:
                tx.append(person.stream(f"p{number}"), 0, [signed_up(f"p{number}")])

        def found(*texts: str, after: int = 0) -> list[str]:
            return [entry.stream for entry in store.mentions(texts, after=after)]

        assert [found(name) for name in names] == [[f"person-p{n}"] for n in range(1, 6)]
        assert found(*reversed(names)) == [f"person-p{number}" for number in range(1, 6)]
        assert found(*names, after=3) == ["person-p4", "person-p5"]
        assert found("plain", after=2**70) == found("plai", "50%", "%", "", "correlation") == []
        assert list(store.mentions(["plain"])) == list(store.load("person-p3"))

    def test_what_cannot_be_read_is_given_as_far_as_it_can(self, store: SqlStore) -> None:
        """A newer version's event has its envelope; a damaged one has its place."""
        append(store, ANN, signed_up())
        newer = (
            b'{"recorded_at":"2026-01-31T01:30:00Z","command_id":"c","actor":"a",'
            b'"request_id":"r","correlation_id":"k","data":{"id":"x","size":3}}'
        )
        with store.writing() as cursor:
            for version, state in ((2, newer), (3, b"\xff")):
                stored = StoredEvent(ANN, version, "person.renamed.v1", state)
                store.insert(cursor, stored)
        read, renamed, damaged = store.entries(ANN)
        (found,) = store.mentions(["k"])

        assert read == store.load(ANN, until=1)[0]
        assert isinstance(renamed, ports.Unread)
        assert isinstance(damaged, ports.Unread)
        assert found == renamed
        assert (renamed.id, renamed.name, renamed.recorded_at, renamed.texts) == (
            *("person-ann/2", "person.renamed.v1", START),
            {"id": "x"},
        )
        assert renamed.context is not None
        assert "does not know person.renamed.v1" in renamed.why
        assert ("person-ann/3", None, None, {}) == (
            *(damaged.id, damaged.recorded_at, damaged.context),
            damaged.texts,
        )

    def test_a_command_is_carried_out_once(self, store: SqlStore) -> None:
        """The same command again is refused before anything is read, with what it did first."""
        with store.transaction(context("c1")) as tx:
            tx.append(BOB, 0, [signed_up("bob")])
            tx.append(ANN, 0, [signed_up(), signed_up()])
        with pytest.raises(CommandRepeated) as repeated, store.transaction(context("c1")):
            pytest.fail("the block is not entered")

        assert (f"{BOB}/1", f"{ANN}/1", f"{ANN}/2") == repeated.value.event_ids

    def test_a_command_that_changed_nothing_may_come_again(self, store: SqlStore) -> None:
        """A command that appended nothing is not remembered."""
        with store.transaction(context("c1")) as tx:
            assert () == tx.append(ANN, 0, [])
        with store.transaction(context("c1")) as tx:
            tx.append(ANN, 0, [signed_up()])

        assert 1 == len(store.load(ANN))

    def test_a_cause_hands_on_its_correlation(self, store: SqlStore) -> None:
        """An event that follows from another names it, and carries on its correlation."""
        (cause,) = append(store, ANN, signed_up())
        with store.transaction(context("c2", actor="worker")) as tx:
            tx.append(BOB, 0, [signed_up("bob")], cause=cause)

        found = store.load(BOB)[0].context

        assert (f"{ANN}/1", cause.context.correlation_id, "c2", "worker") == (
            found.causation_id,
            found.correlation_id,
            found.request_id,
            found.actor,
        )

    def test_a_second_pending_ticket_is_refused_by_the_store(self, store: SqlStore) -> None:
        """One user has one pending ticket of a type, whatever the application has checked."""
        append(store, "ticket-R00001", submitted(1))
        with pytest.raises(Conflict):
            append(store, "ticket-R00002", submitted(2))

        assert ["ticket-R00001/1"] == [entry.id for entry in store.read()]

    def test_a_ticket_has_one_uuid(self, store: SqlStore) -> None:
        """Two tickets never share their UUID."""
        append(store, "ticket-R00001", submitted(1))
        with pytest.raises(Conflict):
            append(store, "ticket-R00002", submitted(2, user="bob", id=submitted(1).id))

    @pytest.mark.parametrize(
        "ask",
        [
            pytest.param(lambda store: store.load("person-\ud800"), id="load"),
            pytest.param(lambda store: store.views.find_ticket("\ud800"), id="ticket"),
            pytest.param(lambda store: store.views.find_code("\ud800"), id="code"),
            pytest.param(lambda store: list(store.read(stream="\ud800")), id="read"),
            pytest.param(lambda store: append(store, ANN, signed_up(email="\ud800")), id="email"),
            pytest.param(
                lambda store: append(store, "person-\ud800", signed_up(), version=0), id="append"
            ),
        ],
    )
    def test_a_lone_surrogate_is_no_text(
        self, store: SqlStore, ask: Callable[[SqlStore], object]
    ) -> None:
        """Text that cannot be encoded is refused as such, and not quoted."""
        with pytest.raises(Invalid) as refused:
            ask(store)

        assert refused.value.__cause__ is None
        assert 0 == store.last_position()

    def test_what_was_destroyed_is_owed_a_scrub(self, store: SqlStore) -> None:
        """From the moment at which keys go until the files are clean the store says so."""
        append(store, ANN, signed_up())
        before = store.owed
        with store.transaction(context()) as tx:
            tx.destroy_keys("ann", forever=True)
        owed = store.owed
        store.scrub()

        assert ("", True, "") == (before, bool(owed), store.owed)

    def test_whose_mails_are_owed_to_be_forgotten(self, store: SqlStore) -> None:
        """Whoever's keys go for ever is named until their mails are forgotten; an address never."""
        with store.transaction(context()) as tx:
            for owner in ("ann", "bob"):
                tx.destroy_keys(owner, forever=True)
            tx.destroy_keys("address-1", forever=False)
        before = store.unforgotten
        store.note_forgotten("ann")
        store.note_forgotten("ann")

        assert (["ann", "bob"], ["bob"]) == (before, store.unforgotten)

    def test_scrubbing_keeps_what_was_not_destroyed(self, store: SqlStore) -> None:
        """Scrubbing changes no event, no position and no row."""
        append(store, "ticket-R00001", submitted())
        append(store, ANN, *[signed_up()] * 3)
        with store.transaction(context()) as tx:
            tx.append(BOB, 0, [signed_up("bob")])
            tx.destroy_keys("bob", forever=True)
        before = list(store.read()), store.digest(["tickets", "people"])
        store.scrub()

        assert before == (list(store.read()), store.digest(["tickets", "people"]))


class VaultContract(StoreContract):
    """See `ports.Vault`."""

    @pytest.mark.parametrize("text", ["ann@example.com", "", "風箏會 🪁", "x" * 100_000, "erased"])
    def test_what_is_sealed_opens(self, store: SqlStore, text: str) -> None:
        """Any text comes back as it was, with its owner."""
        append(store, ANN, attrs.evolve(signed_up(), email=of("ann", text)))
        opened = store.open(email_of(store, ANN))

        assert (text, "ann") == (opened.text, opened.owner)

    def test_nothing_sealed_is_nothing_to_open(self, store: SqlStore) -> None:
        """A clear text and an erased one open to themselves."""
        clear = of("ann", "clear")
        with store.transaction(context()) as tx:
            assert (clear, ERASED) == (tx.open(clear), tx.open(ERASED))

        assert (clear, ERASED) == (store.open(clear), store.open(ERASED))

    def test_everything_in_an_object_is_opened(self, store: SqlStore) -> None:
        """An attrs object is opened at any depth; one without anything personal stays itself."""
        append(store, "ticket-R00001", submitted(message=of("ann", "hello")))
        state = store.views.find_ticket("R00001")
        opened = store.open_all(state)
        plain = challenge.Counts()

        assert ticket.evolve(ticket.INITIAL, submitted(message=of("ann", "hello"))) == opened
        assert plain is store.open_all(plain)

    def test_the_same_text_is_never_sealed_the_same(self, store: SqlStore) -> None:
        """Two ciphertexts of one text say nothing about each other."""
        append(store, ANN, signed_up(), signed_up())

        assert email_of(store, ANN, 1).token != email_of(store, ANN, 2).token

    @pytest.mark.parametrize(
        "place",
        [f"{BOB}/1/email", f"{ANN}/2/email", f"{ANN}/1/reason", f"{ANN}/1/emai", f"{ANN}/1", ""],
    )
    def test_a_token_opens_in_its_place_only(self, store: SqlStore, place: str) -> None:
        """A ciphertext that was moved to another stream, version or field does not open."""
        append(store, ANN, signed_up())
        append(store, BOB, signed_up("bob"))
        moved = Personal(token=email_of(store, ANN).token, place=place)
        with pytest.raises(Unusable, match="altered or moved"):
            store.open(moved)

    def test_a_token_under_another_key_does_not_open(self, store: SqlStore) -> None:
        """A ciphertext opens under the key of its own owner and stream."""
        append(store, ANN, signed_up())
        append(store, BOB, signed_up("bob"))
        ann, bob = email_of(store, ANN), email_of(store, BOB)
        mixed = f"{str(bob.token).partition('.')[0]}.{str(ann.token).partition('.')[2]}"
        with pytest.raises(Unusable, match="altered or moved"):
            store.open(Personal(token=mixed, place=ann.place))

    @pytest.mark.parametrize("rest", ["", ".", ".AAAA", ".====", ".é", ".\ud800", "." + "A" * 99])
    def test_a_token_that_is_none_is_a_named_error(self, store: SqlStore, rest: str) -> None:
        """A damaged token says where it stood, and raises nothing that nobody expects."""
        append(store, ANN, signed_up())
        sealed = email_of(store, ANN)
        with pytest.raises(Unusable, match=f"{ANN}/1/email was altered or moved"):
            store.open(
                Personal(token=str(sealed.token).partition(".")[0] + rest, place=sealed.place)
            )

    def test_every_owner_has_a_key_for_each_stream(self, store: SqlStore) -> None:
        """One key seals all that one owner has in one stream, and nothing else."""
        note = of("ann", "welcome")
        decided = ticket.Approved(by=of("eve", "eve"), reviewer="eve", note=note, at=START)
        append(store, "ticket-R00001", submitted(message=note), decided)
        append(store, ANN, signed_up(), signed_up())
        with store.transaction(context()) as tx:
            assert sorted(["ticket-R00001", ANN]) == sorted(tx.keys_of("ann").values())
            assert ["ticket-R00001"] == list(tx.keys_of("eve").values())
            assert {} == tx.keys_of("bob")

    def test_what_is_destroyed_is_erased(self, store: SqlStore) -> None:
        """Without its keys what an owner wrote reads as erased; what others wrote stays."""
        decided = ticket.Declined(by=of("eve", "eve"), reviewer="eve", at=START)
        append(store, "ticket-R00001", submitted(), decided)
        with store.transaction(context()) as tx:
            before = tx.open_all(tx.load("ticket-R00001")[0].event)
            tx.destroy_keys("ann", forever=True)
            within = tx.open_all(tx.load("ticket-R00001")[0].event)
            keys = tx.keys_of("ann")

        first, second = (store.open_all(entry.event) for entry in store.load("ticket-R00001"))
        shown = store.open_all(store.views.find_ticket("R00001"))

        assert {} == keys
        assert before == submitted()
        assert within == first
        assert ("[erased]", "[erased]") == (
            first.submitter_email.text,
            first.organization_name.text,
        )
        assert "eve" == second.by.text
        assert shown.submitted == first

    def test_the_erased_get_no_new_key(self, store: SqlStore) -> None:
        """What belongs to an erased owner later is stored erased, in one transaction too."""
        with store.transaction(context()) as tx:
            tx.append(ANN, 0, [signed_up()])
            tx.destroy_keys("ann", forever=True)
            tx.append(ANN, 1, [signed_up()])
        append(store, ANN, signed_up())
        with store.transaction(context()) as tx:
            keys = tx.keys_of("ann")

        assert {} == keys
        assert [True, False, False] == [email_of(store, ANN, v).is_sealed for v in (1, 2, 3)]
        assert [True] * 3 == [store.open(email_of(store, ANN, v)).is_erased for v in (1, 2, 3)]

    def test_who_was_never_there_can_be_erased(self, store: SqlStore) -> None:
        """Destroying the keys of somebody who has none, twice, makes sure that they get none."""
        with store.transaction(context()) as tx:
            tx.destroy_keys("ann", forever=True)
            tx.destroy_keys("ann", forever=True)
            tx.append(ANN, 0, [signed_up()])

        assert email_of(store, ANN).is_erased

    def test_another_master_key_opens_nothing(self, store: SqlStore) -> None:
        """A wrong master key of the right name, and a ring without it, are told apart."""
        append(store, ANN, signed_up())
        sealed = email_of(store, ANN)
        store.master = KeyRing(current="test", keys={"test": bytes(32)})
        with pytest.raises(Unusable, match="is not the one that wrapped"):
            store.open(sealed)
        with pytest.raises(Unusable, match="is not the one that wrapped"):
            append(store, ANN, signed_up())
        store.master = KeyRing(current="new", keys={"new": bytes(32)})
        with pytest.raises(Unusable, match="lacks the key test"):
            store.open(sealed)

        assert 1 == len(store.load(ANN))

    def test_a_ring_turns(self, store: SqlStore) -> None:
        """After the current key has changed the old fields open and new keys are wrapped by it."""
        append(store, ANN, signed_up())
        store.master = KeyRing(current="new", keys={**RING.keys, "new": bytes(32)})
        append(store, ANN, signed_up())
        append(store, BOB, signed_up("bob"))
        opened = [store.open(email_of(store, ANN, version)).text for version in (1, 2)]
        store.master = KeyRing(current="new", keys={"new": bytes(32)})

        assert ["ann@example.com"] * 2 == opened
        assert "bob@example.com" == store.open(email_of(store, BOB)).text

    def test_only_what_is_clear_and_owned_is_sealed(self, store: SqlStore) -> None:
        """A field without an owner, or sealed elsewhere, is not stored."""
        append(store, ANN, signed_up())
        for wrong in (of("", "text"), email_of(store, ANN)):
            with pytest.raises(ValueError, match="sealed"):
                append(store, BOB, attrs.evolve(signed_up("bob"), email=wrong))

        assert [] == store.load(BOB)


def email_of(store: SqlStore, stream: str, version: int = 1) -> Personal:
    """Give the address in an event of a person's, as it is stored."""
    event: Any = store.load(stream)[version - 1].event
    email: Personal = event.email
    return email


# --- small ports ----------------------------------------------------------------------------------


class ErasureListContract:
    """See `ports.ErasureList`."""

    def make(self, folder: Path) -> ErasureList:
        """Make an empty list, or open the one that is there."""
        raise NotImplementedError

    def test_it_has_the_methods_of_its_port(self, tmp_path: Path) -> None:
        """A list takes the arguments that its port names."""
        assert has_signatures_of(type(self.make(tmp_path)), ErasureList)

    def test_a_new_list_is_empty(self, tmp_path: Path) -> None:
        """Nobody was erased in the beginning."""
        assert [] == list(self.make(tmp_path).all())

    def test_it_remembers_in_order_and_once(self, tmp_path: Path) -> None:
        """Who was erased is listed once, in order, and known to whoever opens the list next."""
        erasures = self.make(tmp_path)
        for user in ("ann", "b\nob", "ann", '"}', "陳"):
            erasures.add(ListedErasure(user), at=START)

        assert ["ann", "b\nob", '"}', "陳"] == [
            erasure.user for erasure in self.make(tmp_path).all()
        ]

    def test_it_remembers_every_address(self, tmp_path: Path) -> None:
        """The addresses of all lines about somebody are theirs."""
        erasures = self.make(tmp_path)
        for fingerprints in (("f1", "f2"), (), ("f2", "f3")):
            erasures.add(ListedErasure("ann", fingerprints), at=START)

        assert [ListedErasure("ann", ("f1", "f2", "f3"))] == list(self.make(tmp_path).all())


ORGANIZATION: Final = "00000000-0000-4000-8000-00000000000a"


class DirectoryContract:
    """See `ports.OrganizationDirectory` and `ports.IdentityProvider`."""

    def make(self, folder: Path) -> Any:
        """Make a directory without anything in it, or open the one that is there."""
        raise NotImplementedError

    def add(self, directory: Any, *, id: str, name: str) -> None:
        """Put an organization into it, as somebody outside does."""
        raise NotImplementedError

    def label(self, folder: Path, *labels: FeedbackLabel) -> Any:
        """Make a directory that has labels."""
        raise NotImplementedError

    def facts(self, directory: Any) -> dict[str, Any]:
        """Give what it holds: `managers`, `stars`, `feedback`."""
        raise NotImplementedError

    @pytest.fixture
    def directory(self, tmp_path: Path) -> Any:
        """An empty directory."""
        return self.make(tmp_path)

    def test_it_has_the_methods_of_its_ports(self, directory: Any) -> None:
        """A directory takes the arguments that its ports name."""
        assert has_signatures_of(type(directory), ports.OrganizationDirectory)
        assert has_signatures_of(type(directory), ports.IdentityProvider)

    def test_an_empty_directory_finds_nothing(self, directory: Any) -> None:
        """Nothing is found where nothing is."""
        assert (None, [], [], 0) == (
            directory.organization(ORGANIZATION),
            directory.search("kite", limit=20),
            directory.labels(),
            directory.managed_by("ann"),
        )

    def test_a_search_is_for_a_part_in_any_case(self, directory: Any) -> None:
        """Names are found by a part of them in any case, sorted, and no more than asked for."""
        for id, name in (("3", "kite school"), ("1", "Kite Club"), ("2", "STRASSE"), ("4", "風箏")):
            self.add(directory, id=id, name=name)

        def found(text: str, limit: int = 20) -> list[str]:
            return [entry.name for entry in directory.search(text, limit=limit)]

        assert ["Kite Club", "kite school"] == found(" KITE ")
        assert ["Kite Club"] == found("kite", 1)
        assert ["STRASSE"] == found("straße")
        assert ["風箏"] == found("風")
        assert [] == found("  ")

    def test_labels_come_in_display_order(self, tmp_path: Path) -> None:
        """Labels are listed as they are to be shown."""
        one = FeedbackLabel(id="b", name="One", name_translations={"zh-HK": "一"}, display_order=1)
        two = FeedbackLabel(id="a", name="Two", display_order=2)
        three = FeedbackLabel(id="c", name="Zwei", display_order=2)

        assert [one, two, three] == list(self.label(tmp_path, three, two, one).labels())

    def test_a_new_organization_has_its_manager(self, directory: Any, tmp_path: Path) -> None:
        """An organization is made with a manager, and is there for whoever opens it next."""
        directory.create(grant_id="g1", id=ORGANIZATION, name="Kite Club", manager="ann")

        assert Organization(id=ORGANIZATION, name="Kite Club") == self.make(tmp_path).organization(
            ORGANIZATION
        )
        assert (1, 0) == (directory.managed_by("ann"), directory.managed_by("bob"))

    def test_a_grant_is_made_once(self, directory: Any) -> None:
        """The same grant again changes nothing, also when it says something else."""
        self.add(directory, id="1", name="Kite Club")
        for user in ("ann", "bob"):
            directory.create(grant_id="g1", id=ORGANIZATION, name=user, manager=user)
            directory.add_manager(grant_id="g2", id="1", manager=user)
            directory.join_managers(grant_id="g3", user=user)
            directory.set_stars(grant_id=f"g4-{user}", user="ann", stars=2)
            directory.publish_feedback(grant_id="g5", id="f1", feedback={"text": user})

        assert (2, 0) == (directory.managed_by("ann"), directory.managed_by("bob"))
        assert {
            "managers": ["ann"],
            "stars": {"ann": 2},
            "feedback": {"f1": {"text": "ann"}},
        } == self.facts(directory)

    def test_a_manager_is_one_once(self, directory: Any) -> None:
        """Two grants for the same user and organization make one manager."""
        self.add(directory, id="1", name="Kite Club")
        for grant_id in ("g1", "g2"):
            directory.add_manager(grant_id=grant_id, id="1", manager="ann")
            directory.join_managers(grant_id=f"{grant_id}-manager", user="ann")

        assert 1 == directory.managed_by("ann")
        assert ["ann"] == self.facts(directory)["managers"]

    def test_an_organization_that_is_gone_is_a_permanent_error(self, directory: Any) -> None:
        """Nobody manages what does not exist, until somebody adds it."""
        with pytest.raises(GrantError, match="no organization 1") as refused:
            directory.add_manager(grant_id="g1", id="1", manager="ann")
        self.add(directory, id="1", name="Kite Club")
        directory.add_manager(grant_id="g1", id="1", manager="ann")

        assert refused.value.permanent
        assert 1 == directory.managed_by("ann")

    def test_stars_that_come_late_do_not_win(self, directory: Any) -> None:
        """Stars are set, not added, and an older number does not replace a newer one."""
        directory.set_stars(grant_id="g2", user="ann", stars=2)
        directory.set_stars(grant_id="g1", user="ann", stars=1)

        assert {"ann": 2} == self.facts(directory)["stars"]


class AddressBookContract:
    """See `ports.AddressBook`."""

    def make(self) -> AddressBook:
        """Make an address book."""
        raise NotImplementedError

    def other(self) -> AddressBook:
        """Make one with another key."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("typed", "mailed"),
        [
            ("ann@example.com", "ann@example.com"),
            ("  Ann@EXAMPLE.com\n", "Ann@example.com"),
            ("ann+kites@example.com", "ann+kites@example.com"),
            ("ann@例子.com", "ann@xn--fsqu00a.com"),
            ("ann@bücher.example.com", "ann@xn--bcher-kva.example.com"),
            ("o'neil@example.com", "o'neil@example.com"),
            (f"{'a' * 64}@example.com", f"{'a' * 64}@example.com"),
        ],
    )
    def test_an_address_is_what_mail_is_sent_to(self, typed: str, mailed: str) -> None:
        """An address is trimmed, and its domain put into lower case and ASCII."""
        assert mailed == self.make().normalise(typed)
        assert mailed == self.make().normalise(mailed)

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            "zqann",
            "zqann@",
            "@zqxample.com",
            "zqann@zqxample",
            "zqann@@zqxample.com",
            "zqann@zqxample..com",
            "zq ann@zqxample.com",
            "zqann.@zqxample.com",
            "zq陳@zqxample.com",
            "zqann@zqxample.com\r\nBcc: zqbob@zqxample.com",
            "zqann\r\n@zqxample.com",
            "zqann@zqxample.com\x00",
            "zqann@zqxam\u202eple.com",
            "zqann\ud800@zqxample.com",
            "zqann@zq\ud800.com",
            "Zqann <zqann@zqxample.com>",
            "<zqann@zqxample.com>",
            "zqann@zqxample.com,zqbob@zqxample.com",
            "zqann@zqxample.com zqbob@zqxample.com",
            '"zqann zqlee"@zqxample.com',
            "zqann@[127.0.0.1]",
            "zqann@-zqxample.com",
            "zqann@zqxample€.com",
            "zqann@zqxample\u0378.com",
            "zqann@xn--zq.com",
            "zqann@\u0627zqxample.com",
            "zqann@zqxample.test",
            "zqann@zqxample.c_m",
            f"zq{'a' * 63}@zqxample.com",
            f"zqann@zq{'a' * 62}.com",
            f"zqann@{'.'.join(['zq' * 25] * 5)}.com",
            f"zqann@zq{'.'.join(['例' * 20] * 12)}.com",
            "zq" * 100_000 + "@zqxample.com",
        ],
        ids=range(34),
    )
    def test_what_is_no_address_is_refused_without_being_quoted(self, typed: str) -> None:
        """A refusal names the field, and holds nothing of what was typed."""
        with pytest.raises(Invalid) as refused:
            self.make().normalise(typed, field="submitter_email")

        assert "submitter_email" == refused.value.field
        assert "zq" not in str(refused.value).lower()
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__ or refused.value.__context__ is None

    @pytest.mark.parametrize("typed", [None, 7, b"ann@example.com", ["ann@example.com"]])
    def test_what_is_no_text_is_no_address(self, typed: object) -> None:
        """Only text is an address."""
        with pytest.raises(Invalid, match="must be text"):
            self.make().normalise(typed)

    def test_an_address_has_254_characters_at_the_most(self) -> None:
        """The longest address that can be mailed to is taken, and one more character is not."""
        domain = ".".join(["d" * 61] * 3)
        local = "a" * (254 - len(f"@{domain}.com"))
        longest = f"{local}@{domain}.com"

        assert longest == self.make().normalise(longest)
        with pytest.raises(Invalid):
            self.make().normalise(f"a{longest}")

    def test_a_fingerprint_is_the_same_for_ever(self) -> None:
        """A fingerprint is 32 hexadecimal digits that depend on the address and the key alone."""
        given = self.make().fingerprint("ann@example.com")

        assert re.fullmatch("[0-9a-f]{32}", given)
        assert given == self.make().fingerprint("ann@example.com")
        assert given == self.make().fingerprint("ANN@Example.COM")
        assert given != self.make().fingerprint("ann@example.org")
        assert given != self.other().fingerprint("ann@example.com")


class CodesContract:
    """See `ports.Codes`."""

    def make(self, ring: KeyRing) -> Codes:
        """Make what derives codes from a ring."""
        raise NotImplementedError

    def test_a_code_is_six_digits_and_the_same_again(self) -> None:
        """A challenge has one code under one key, and it is six digits."""
        codes = self.make(RING)
        given = [codes.code(key_id="test", challenge=f"c{number}") for number in range(200)]

        assert given == [codes.code(key_id="test", challenge=f"c{n}") for n in range(200)]
        assert all(re.fullmatch("[0-9]{6}", code) for code in given)
        assert len(set(given)) > 190

    def test_a_code_may_begin_with_zeros(self) -> None:
        """Leading zeros are part of a code."""
        codes = self.make(RING)

        assert any(
            codes.code(key_id="test", challenge=f"c{number}").startswith("00")
            for number in range(1000)
        )

    def test_a_ring_turns(self) -> None:
        """New challenges name the new key, and the old ones still have their codes."""
        before = self.make(RING)
        after = self.make(KeyRing(current="new", keys={**RING.keys, "new": bytes(32)}))

        assert ("test", "new") == (before.current_key_id, after.current_key_id)
        assert before.code(key_id="test", challenge="c") == after.code(key_id="test", challenge="c")
        assert after.code(key_id="test", challenge="c") != after.code(key_id="new", challenge="c")

    def test_a_key_that_is_gone_is_named(self) -> None:
        """A challenge whose key was taken out of the ring cannot be answered, and it says why."""
        with pytest.raises(Unusable, match="lacks the key old"):
            self.make(RING).code(key_id="old", challenge="c")


class ClockContract:
    """See `ports.Clock`."""

    def make(self) -> Clock:
        """Make a clock."""
        raise NotImplementedError

    def test_the_time_is_in_utc(self) -> None:
        """A clock gives an instant, not a wall's time."""
        now: datetime = self.make().now()

        assert UTC is now.tzinfo

    def test_sleeping_takes_that_long(self) -> None:
        """After a sleep it is at least that much later."""
        clock = self.make()
        before = clock.now()
        clock.sleep(0.01)

        assert clock.now() - before >= timedelta(seconds=0.01)


class IdsContract:
    """See `ports.Ids`."""

    def make(self) -> Ids:
        """Make what gives names."""
        raise NotImplementedError

    def test_names_are_new(self) -> None:
        """No name is given twice."""
        ids = self.make()

        assert 200 == len({ids.uuid() for _ in range(100)} | {ids.token() for _ in range(100)})

    def test_names_have_their_form(self) -> None:
        """A UUID is in its usual form; a token is safe in a URL and no option on a command line."""
        ids = self.make()
        form = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

        assert all(re.fullmatch(form, ids.uuid()) for _ in range(100))
        assert all(re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_-]{15,}", ids.token()) for _ in range(500))
