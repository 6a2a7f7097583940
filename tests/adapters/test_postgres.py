"""The store on PostgreSQL: its ports' promises, lost connections, lost answers, locks and roles."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from eventsourcing.persistence import PersistenceError

from siutindei.adapters import projections
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import (
    HURRY_SECONDS,
    IDLE_SECONDS,
    STATEMENT_SECONDS,
    PostgresSchema,
    PostgresStore,
    connect,
    roles,
)
from siutindei.adapters.projections import NAMES
from siutindei.adapters.read_models import SqlReadModels
from siutindei.adapters.sqlite import scratch
from siutindei.app.commands import transact
from siutindei.app.ports import CommandRepeated, Conflict, MailRefused, Unavailable, Unusable
from siutindei.domain.errors import Invalid
from tests.contracts import (
    ANN,
    BOB,
    EventStoreContract,
    VaultContract,
    append,
    signed_up,
    submitted,
)
from tests.postgres import Break, Wire, address, execute, fresh_database, restart, server
from tests.support import RING, VirtualClock, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.app.ports import Context, Recorded, Transaction
    from siutindei.bootstrap import Services

ALL: Final = NAMES


class _OnPostgres:
    @pytest.fixture(autouse=True)
    def url(self) -> Iterator[str]:
        """A database without an event."""
        with fresh_database() as url:
            self.address = url
            yield url

    def make(self, folder: Path, clock: VirtualClock) -> Any:
        """Open the database."""
        return PostgresStore(self.address, master=RING, clock=clock)


class TestEventStoreOnPostgres(_OnPostgres, EventStoreContract):
    """PostgreSQL keeps the history."""


class TestVaultOnPostgres(_OnPostgres, VaultContract):
    """PostgreSQL keeps the keys."""


@pytest.fixture
def url() -> Iterator[str]:
    """A database without an event."""
    with fresh_database() as url:
        yield url


@contextmanager
def opened(url: str, **options: Any) -> Iterator[PostgresStore]:
    """Open a store for a while."""
    store = PostgresStore(url, master=RING, clock=VirtualClock(), **options)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    """A store on it."""
    with opened(url) as store:
        yield store


def database(url: str) -> str:
    """Give the name of a database."""
    return urlsplit(url).path.removeprefix("/")


def terminate(url: str) -> int:
    """End every connection to a database, and say how many there were."""
    return len(
        execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = %s AND backend_type = 'client backend'",
            values=[database(url)],
        )
    )


# --- connections ----------------------------------------------------------------------------------


def test_a_process_has_one_connection(store: PostgresStore, url: str) -> None:
    """However often it is used, by however many threads, a store has one connection."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: append(store, f"person-{n}", signed_up(f"{n}")), range(8)))

    assert 8 == store.last_position()
    assert 1 == terminate(url)


def test_a_store_is_closed_when_nobody_uses_it(url: str) -> None:
    """Who closes a store waits for the one who reads, and later uses are refused."""
    store = PostgresStore(url, master=RING, clock=VirtualClock())
    with ThreadPoolExecutor(1) as pool:
        with store.reading() as cursor:
            closing = pool.submit(store.close)
            cursor.execute("SELECT pg_sleep(0.05)")
            waited = not closing.done()
            cursor.execute("SELECT count(*) AS n FROM commands")
            found = cursor.fetchone()["n"]
        closing.result()
    with pytest.raises(PersistenceError, match="closed"):
        store.last_position()

    assert (True, 0) == (waited, found)


@pytest.mark.parametrize("times", [1, 3])
def test_a_connection_that_was_closed_while_idle_is_made_again(
    store: PostgresStore, url: str, times: int
) -> None:
    """Neither a read nor a write notices that the server ended the connection in between."""
    for number in range(times):
        assert 1 == terminate(url)
        append(store, ANN, signed_up())
        assert 1 == terminate(url)
        assert number + 1 == len(store.load(ANN))


def test_a_server_that_was_started_again_is_used_again(store: PostgresStore) -> None:
    """After a restart of the server the same store goes on."""
    append(store, ANN, signed_up())
    restart()
    append(store, ANN, signed_up())

    assert [1, 2] == [entry.version for entry in store.load(ANN)]


def test_a_server_that_is_away_is_unavailable_and_nothing_happened(tmp_path: Path) -> None:
    """Nobody answers: try again."""
    with pytest.raises(Unavailable, match="down or out of reach"):
        PostgresSchema(f"postgresql://me@/db?host={tmp_path}").version()
    with (
        pytest.raises(Unavailable, match="down or out of reach"),
        opened(f"postgresql://me@/db?host={tmp_path}"),
    ):
        pass


def test_a_connection_that_dies_within_a_change_undoes_it(store: PostgresStore, url: str) -> None:
    """What was appended before the connection died is not there, and the caller is told so."""

    def work(tx: Transaction) -> None:
        tx.append(ANN, 0, [signed_up()])
        terminate(url)
        tx.append(BOB, 0, [signed_up("bob")])

    with pytest.raises(Unavailable):
        transact(store, context(), work)

    assert [] == list(store.read())
    assert 1 == append(store, ANN, signed_up())[0].version


def test_a_password_is_asked_for_at_every_connection(url: str) -> None:
    """A token that lives for minutes is made anew for each connection, and for none in between."""
    asked: list[int] = []

    def password() -> str:
        asked.append(len(asked))
        return "a token"

    with opened(url, password=password) as store:
        append(store, ANN, signed_up())
        append(store, ANN, signed_up())
        before = list(asked)
        terminate(url)
        append(store, ANN, signed_up())

    assert ([0], [0, 1]) == (before, asked)


def test_an_address_that_is_none_is_refused_without_being_quoted() -> None:
    """What cannot be understood may hold a password."""
    for wrong in ("postgresql://me:geheim@h/x?passwort=geheim", "postgresql://me:ge%heim@h/x"):
        with pytest.raises(Unusable, match="no address") as refused:
            PostgresSchema(wrong).version()
        assert "geheim" not in repr(refused.value)
        assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("name", "user", "words"),
    [
        ("not_there", "postgres", "no such database or role"),
        ("postgres", "nobody", "no such database or role"),
    ],
)
def test_a_server_that_refuses_is_no_server_that_is_away(name: str, user: str, words: str) -> None:
    """Trying again does not help against a wrong name: it is the installation that is wrong."""
    with pytest.raises(Unusable, match=words):
        PostgresSchema(address(name, user)).version()


def test_no_statement_is_prepared(store: PostgresStore) -> None:
    """A proxy that hands each transaction to another connection has none to look for."""
    with store.reading() as cursor:
        for _ in range(8):
            cursor.execute("SELECT 1 FROM commands WHERE command_id = ?", ("c1",))
        cursor.execute("SELECT count(*) AS n FROM pg_prepared_statements")
        found = cursor.fetchone()["n"]

    assert 0 == found


# --- waits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [True, False])
@pytest.mark.parametrize(
    "waits", [(2, STATEMENT_SECONDS, IDLE_SECONDS), (HURRY_SECONDS, 1.5, 2)], ids=["usual", "hurry"]
)
def test_every_wait_has_an_end(url: str, writes: bool, waits: tuple[float, ...]) -> None:
    """Locks, statements and idle transactions end by themselves, in reads and writes, and sooner
    for who is in a hurry; the settings are the transaction's own.
    """
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with opened(url, lock_seconds=waits[0]) as store:
        with (store.writing if writes else store.reading)() as cursor:
            cursor.execute("SELECT name, setting FROM pg_settings WHERE name IN (?, ?, ?)", names)
            found = {row["name"]: int(row["setting"]) / 1000 for row in cursor.fetchall()}
        with store._datastore.get_connection() as connection:
            after = connection.execute("SHOW statement_timeout").fetchone()

    assert dict(zip(names, waits, strict=True)) == found
    assert {"statement_timeout": "0"} == after


def test_who_is_in_a_hurry_does_not_wait_long_for_a_connection(url: str) -> None:
    """A server that does not answer is given up sooner."""
    found = []
    for seconds in (20, HURRY_SECONDS):
        with connect(url, lock_seconds=seconds) as connection:
            found.append(connection.info.get_parameters()["connect_timeout"])

    assert ["5", "2"] == found


def test_a_statement_that_takes_too_long_is_ended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that nothing was changed, and the store goes on."""
    monkeypatch.setattr("siutindei.adapters.postgres.STATEMENT_SECONDS", 0.5)
    with opened(url) as store:
        with pytest.raises(Unavailable, match="too slow"), store.writing() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

        assert 1 == append(store, ANN, signed_up())[0].version


def test_a_process_that_stands_still_loses_its_turn(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that is frozen in mid-transaction does not keep the others for ever."""
    with opened(url) as other, ExitStack() as stack:
        with monkeypatch.context() as patch:
            patch.setattr("siutindei.adapters.postgres.IDLE_SECONDS", 0.5)
            frozen = stack.enter_context(opened(url))

        def work(tx: Transaction) -> None:
            append(other, BOB, signed_up("bob"))
            tx.append(ANN, 0, [signed_up()])

        with pytest.raises(Unavailable):
            transact(frozen, context(), work)

        assert [BOB] == [entry.stream for entry in frozen.read()]


def test_a_turn_that_does_not_come_is_unavailable(url: str) -> None:
    """Who waits for another writer longer than allowed is told to try again."""
    with opened(url) as first, opened(url, lock_seconds=0.05) as second:
        with first.transaction(context()) as tx:
            tx.append(ANN, 0, [signed_up()])
            with pytest.raises(Unavailable, match="locked by another process"):
                append(second, BOB, signed_up("bob"))
            seen = list(second.read())

        assert [] == seen
        assert 1 == len(append(second, BOB, signed_up("bob")))


def test_a_thread_that_waits_for_the_connection_in_vain_is_told(url: str) -> None:
    """The one connection is another thread's: try again."""
    with opened(url, lock_seconds=0.05) as store, store.reading(), ThreadPoolExecutor(1) as pool:
        waits = pool.submit(store.last_position)

        assert isinstance(waits.exception(), Unavailable)


@pytest.mark.parametrize(
    ("configured", "used"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")]
)
def test_what_is_committed_is_durable(url: str, configured: str, used: str) -> None:
    """A server that would answer before a commit is on its disk is told not to."""
    execute(f"ALTER DATABASE {database(url)} SET synchronous_commit = {configured}")
    with opened(url) as store, store.writing() as cursor:
        cursor.execute("SHOW synchronous_commit")

        assert used == cursor.fetchone()["synchronous_commit"]


def test_a_change_of_which_a_part_failed_is_no_change(store: PostgresStore) -> None:
    """A refusal that is swallowed in mid-transaction does not become a silent loss."""
    append(store, ANN, signed_up())

    def work(tx: Transaction) -> None:
        tx.append(BOB, 0, [signed_up("bob")])
        with suppress(Conflict):
            tx.append(ANN, 0, [signed_up()])

    with pytest.raises(Conflict):
        transact(store, context(), work)

    assert [ANN] == [entry.stream for entry in store.read()]


def test_a_database_that_can_only_be_read_is_not_available_for_writing(url: str) -> None:
    """While a fail-over is under way, reads work and a write changes nothing."""
    execute(f"ALTER DATABASE {database(url)} SET default_transaction_read_only = on")
    with opened(url) as store:
        with pytest.raises(Unavailable, match="can only be read"):
            append(store, ANN, signed_up())

        assert [] == list(store.load(ANN))


def test_text_that_the_database_cannot_hold_is_refused(store: PostgresStore) -> None:
    """A NUL or half a character is the caller's mistake, and is not quoted."""
    for text in ("a\0b", "a\ud800b"):
        with pytest.raises(Invalid, match="not valid text") as refused:
            store.load(text)
        assert text not in str(refused.value)


# --- an answer that was lost ----------------------------------------------------------------------


@pytest.fixture
def wire(url: str) -> Iterator[Wire]:
    """A wire to the database that can break."""
    made = Wire(url)
    yield made
    made.close()


@pytest.mark.parametrize("how", ["after", "late"])
def test_a_change_whose_answer_was_lost_succeeded_once(wire: Wire, how: Break) -> None:
    """The caller gets success, and what it was given is what is stored."""
    with opened(wire.url) as store:
        wire.script = [how]
        appended = append(store, ANN, signed_up())
        stored = list(store.read())

    assert [how] == wire.broken
    assert [(1, 1)] == [(entry.version, entry.position) for entry in stored]
    assert [entry.position for entry in appended] == [entry.position for entry in stored]


def test_a_change_that_the_server_never_heard_of_did_not_happen(wire: Wire) -> None:
    """The connection died before the commit: try again, and again under the same command id."""
    with opened(wire.url) as store:
        wire.script = ["before"]
        with pytest.raises(Unavailable, match="nothing was changed"):
            _sign_up(store, context("c1"))
        nothing = list(store.read())
        _sign_up(store, context("c1"))
        stored = list(store.read())

    assert [] == nothing
    assert ["c1"] == [entry.context.command_id for entry in stored]


def test_an_answer_that_nobody_can_give_is_said_to_be_unknown(wire: Wire) -> None:
    """The server is away for good after the commit: nobody claims that nothing was changed."""
    with opened(wire.url) as store:
        wire.script = ["after"]

        def work(tx: Transaction) -> None:
            tx.append(ANN, 0, [signed_up()])
            wire.refuse = True

        with pytest.raises(Unavailable, match="repeat the command under the same command id"):
            transact(store, context("c1"), work)
        wire.refuse = False
        with pytest.raises(CommandRepeated) as repeated:
            _sign_up(store, context("c1"))

    assert (f"{ANN}/1",) == repeated.value.event_ids


def test_a_command_that_somebody_else_carried_out_meanwhile_is_repeated(
    wire: Wire, url: str
) -> None:
    """The commit never came, and the same command was carried out elsewhere: that is the answer."""
    with opened(wire.url) as store, opened(url) as other:
        wire.script = ["before"]
        wire.meanwhile = lambda: _sign_up(other, context("c1"))
        with pytest.raises(CommandRepeated) as repeated:
            _sign_up(store, context("c1"))
        stored = list(store.read())

    assert (f"{ANN}/1",) == repeated.value.event_ids
    assert 1 == len(stored)


def test_a_lost_answer_to_nothing_is_no_loss(wire: Wire) -> None:
    """A change without an event can be done again."""
    with opened(wire.url) as store:
        wire.script = ["after"]
        with pytest.raises(Unavailable):
            transact(store, context(), lambda tx: tx.destroy_keys("ann", forever=True))


def _sign_up(store: PostgresStore, command: Context) -> None:
    transact(store, command, lambda tx: tx.append(ANN, len(tx.load(ANN)), [signed_up()]))


# --- the log under concurrent writers -------------------------------------------------------------


def followed(url: str) -> list[Recorded]:
    """Follow the log while a second writer comes in the middle of a first one's change."""
    with ExitStack() as stack:
        first, second, reader = (stack.enter_context(opened(url)) for _ in range(3))
        with ThreadPoolExecutor(1) as pool, first.transaction(context()) as tx:
            tx.append(ANN, 0, [signed_up()])
            other = pool.submit(append, second, BOB, signed_up("bob"))
            while not other.done() and not waits_for_a_lock(url):
                pass
            seen = list(reader.read())
        seen += reader.read(after=seen[-1].position if seen else 0)
        assert 2 == len(list(reader.read()))
    return seen


def waits_for_a_lock(url: str) -> bool:
    """Whether somebody waits for a lock in a database."""
    return bool(
        execute(
            "SELECT 1 FROM pg_locks JOIN pg_database AS d ON d.oid = database"
            " WHERE NOT granted AND d.datname = %s",
            values=[database(url)],
        )
    )


def test_reading_the_log_skips_nothing(url: str) -> None:
    """A second writer waits until the first commits: who follows the log sees both."""
    assert [ANN, BOB] == [entry.stream for entry in followed(url)]


def test_reading_the_log_without_the_lock_skips_an_event(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the lock the one who follows loses the event of the writer that commits second."""
    monkeypatch.setattr("siutindei.adapters.postgres.LOCK", "SELECT 1")

    assert [BOB] == [entry.stream for entry in followed(url)]


def test_a_read_sees_one_moment_and_changes_nothing(url: str) -> None:
    """What is committed while somebody reads is seen by the next read."""
    count = "SELECT count(*) AS n FROM stored_events"
    with opened(url) as store, opened(url) as other:
        with store.reading() as cursor:
            cursor.execute(count)
            append(other, ANN, signed_up())
            cursor.execute(count)
            found = cursor.fetchone()["n"]
        with pytest.raises(Unavailable, match="can only be read"), store.reading() as cursor:
            cursor.execute("DELETE FROM commands")

        assert (0, 1) == (found, store.last_position())


# --- the schema -----------------------------------------------------------------------------------


def test_a_database_is_migrated_by_command() -> None:
    """Before it cannot be used, after it can; doing it again does nothing."""
    with fresh_database(migrated=False) as url:
        schema = PostgresSchema(url)
        for use in (schema.prepare, lambda: use_store(url)):
            with pytest.raises(Unusable, match="siutindei database migrate"):
                use()
        versions = [schema.version(), schema.migrate(), schema.version(), schema.migrate()]

        assert [0, 0, 3, 3] == versions
        assert schema.prepare()
        use_store(url)
        assert not schema.prepare()


def use_store(url: str) -> None:
    """Append an event."""
    with opened(url) as store:
        append(store, ANN, signed_up())


def test_a_migration_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tables are made, or none."""
    with fresh_database(migrated=False) as url:
        monkeypatch.setattr("siutindei.adapters.postgres._TABLES", ["CREATE TABLE a ()"] * 2)
        with pytest.raises(psycopg.Error):
            PostgresSchema(url).migrate()

        assert 0 == PostgresSchema(url).version()


def test_a_migration_waits_no_longer_than_it_may() -> None:
    """While somebody else migrates, a second one gives up after its time."""
    with fresh_database(migrated=False) as url, connect(url) as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", (0x5354_4431,))
        with pytest.raises(Unavailable, match="locked"):
            PostgresSchema(url, lock_seconds=0.05).migrate()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE siutindei_schema SET version = 99", "newer version"),
        ("DROP TABLE siutindei_schema", "another program"),
    ],
)
def test_a_schema_that_is_not_ours_is_refused(url: str, statement: str, words: str) -> None:
    """A newer one, or another program's tables, are neither used nor changed."""
    execute(statement, database(url))
    schema = PostgresSchema(url)
    for use in (schema.version, schema.migrate, schema.prepare):
        with pytest.raises(Unusable, match=words):
            use()


def test_the_tables_of_an_extension_are_nobodys() -> None:
    """A server that puts an extension into each database has no other program's tables."""
    with fresh_database(migrated=False) as url:
        execute("CREATE TABLE of_extension ()", database(url))
        execute("ALTER EXTENSION plpgsql ADD TABLE of_extension", database(url))

        assert 0 == PostgresSchema(url).migrate()


def test_texts_are_compared_byte_by_byte(store: PostgresStore) -> None:
    """The order of texts is SQLite's, whatever the server's language is."""
    with store.reading() as cursor:
        cursor.execute(
            "SELECT count(*) AS n FROM information_schema.columns WHERE table_schema = 'public'"
            " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        )
        others = cursor.fetchone()["n"]

    assert 0 == others


# --- roles ----------------------------------------------------------------------------------------


@pytest.fixture
def writer(url: str) -> str:
    """The address of the database for a role that may write; there is `the_reader` besides."""
    execute(roles(), database(url))
    execute(roles(), database(url))
    for role in ("writer", "reader"):
        if not execute("SELECT 1 FROM pg_roles WHERE rolname = %s", values=[f"the_{role}"]):
            execute(f"CREATE ROLE the_{role} LOGIN IN ROLE siutindei_{role}")
    return url.replace("//postgres@", "//the_writer@")


def tell(home: Path, url: str) -> Services:
    """Tell a story that uses every use case, on a store of PostgreSQL or, for an empty address, in
    memory.
    """
    mail = MemoryMail()
    seams: dict[str, Any] = {"mail": mail}
    if url:
        clock = VirtualClock()
        store = PostgresStore(url, master=RING, clock=clock)
        store.check_ring("vault key", RING, rotates=True)
        seams |= {"clock": clock, "store": store}
    services = make_services(home, **seams)
    people, tickets, sign_in = services.people, services.tickets, services.sign_in
    ann = sign_in.sign_up(context(), email="ann@example.com", locale="en")
    started = sign_in.start(context(), client="app", email="ann@example.com", user=ann)
    code = services.codes.code(key_id=RING.current, challenge=started.challenge)
    for answer in ("000000" if code != "000000" else "111111", code):
        sign_in.answer(context(), challenge_id=started.challenge, code=answer)
    sign_in.start(context(), client="app", email="nobody@example.com", user=None)
    found = [
        tickets.submit(
            context(),
            ticket_type=kind,
            user=user,
            email=f"{user}@example.com",
            body={"organization_name": "Harbour Chess 棋"},
            vouched=True,
        ).submitted
        for user in ("bob", "eve")
        for kind in ("access_request", "organization_suggestion")
    ]
    references = [entry.reference for entry in found if entry is not None]
    drain(services)
    tickets.approve(context(), references[0], by="admin", create_organization=True)
    tickets.decline(context(), references[1], by="admin", note="A note.")
    for _ in range(2):
        mail.then_raises(MailRefused("no"))
    drain(services)
    letters = [letter.id for letter in services.dead_letters.all()]
    services.dead_letters.redrive(context(), letters[:1], by="op")
    services.dead_letters.discard(context(), letters[1:], by="op", reason="no use")
    drain(services)
    people.export(context(), "bob", by="op")
    people.erase(context(), "bob", by="op", reason="asked")
    services.history.replay()
    return services


def test_the_writer_can_do_everything_that_is_to_be_done(tmp_path: Path, writer: str) -> None:
    """Sign-ins, tickets, decisions, mails, grants, dead letters, an erasure, a replay."""
    services = tell(tmp_path, writer)
    names = {entry.name.rpartition(".")[0] for entry in services.store.read()}
    services.store.close()

    assert {
        *("challenge.missed", "challenge.passed", "ticket.approved", "ticket.declined"),
        *("grant.carried_out", "notification.dead_lettered", "notification.redriven"),
        *("notification.discarded", "person.erased"),
    } <= names


def test_a_read_model_that_is_new_is_the_writers_too(url: str, writer: str) -> None:
    """Between a migration and the roles' next run nobody is refused what they could do before."""
    execute("DROP TABLE audit_logs_1", database(url))
    execute("DELETE FROM projections WHERE name = 'audit_logs'", database(url))
    with opened(url) as store:
        made = SqlReadModels(store, scratch).complete(progress=lambda *_: None)
    with opened(writer) as store:
        append(store, "ticket-R00001", submitted())
        written = store.views.audit_logs().items
    with opened(writer.replace("the_writer", "the_reader")) as store:
        read = store.views.audit_logs().items

    assert ["audit_logs"] == made
    assert ["R00001"] == [row.reference for row in written] == [row.reference for row in read]


def test_the_writer_works_while_roles_are_made(writer: str, url: str) -> None:
    """Rights are taken and given in one transaction."""
    begun: Any = roles().rpartition("COMMIT;")[0]
    with connect(url) as connection, opened(writer) as store:
        connection.execute(begun)
        append(store, ANN, signed_up())
        connection.execute("COMMIT")

        assert 1 == store.last_position()


def test_a_read_model_that_was_made_again_is_the_writers_too(url: str, writer: str) -> None:
    """The owner makes it again; those who could use the old one can use the new one, no others."""
    reader = writer.replace("the_writer", "the_reader")
    with opened(url) as store:
        append(store, ANN, signed_up())
        models = SqlReadModels(store, scratch)
        for _ in range(2):
            models.rebuild("people", progress=lambda *_: None)
    known = execute("SELECT reltuples FROM pg_class WHERE relname = 'people_3'", database(url))
    assert [(1.0,)] == known  # the server knows already what is in it
    with opened(writer) as store:
        append(store, BOB, signed_up("bob"))
        assert store.views.find_person("bob") is not None
        with pytest.raises(Unusable, match="may not do this"):
            SqlReadModels(store, scratch).rebuild("people", progress=lambda *_: None)
    with opened(reader) as store:
        models = SqlReadModels(store, scratch)
        checked = models.verify("people", progress=lambda *_: None)
        assert (2, 0) == (checked.rows, checked.different)
        with pytest.raises(Unusable, match="may not do this"), store.building() as cursor:
            cursor.execute("DELETE FROM people_3")


def test_a_read_model_belongs_to_its_owner_whoever_makes_it(url: str) -> None:
    """Made again by a superuser, it is still the owner's, and everybody's who could read it."""
    name = database(url)
    if not execute("SELECT 1 FROM pg_roles WHERE rolname = 'the_owner'"):
        execute("CREATE ROLE the_owner LOGIN")
    for table in ("people_1", "projections", "stored_events", "write_lock", "commands"):
        execute(f"ALTER TABLE {table} OWNER TO the_owner", name)
    execute("GRANT SELECT ON people_1 TO PUBLIC", name)
    with opened(url) as store:
        SqlReadModels(store, scratch).rebuild("people", progress=lambda *_: None)
    found = execute(
        "SELECT pg_get_userbyid(relowner), has_table_privilege('siutindei_reader', oid, 'SELECT')"
        " FROM pg_class WHERE relname = 'people_2'",
        name,
    )

    assert [("the_owner", True)] == found


def test_a_moment_that_is_held_still_may_take_its_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Comparing a large read model with an empty one lets neither transaction be ended."""
    monkeypatch.setattr("siutindei.adapters.postgres.IDLE_SECONDS", 0.05)
    with opened(url) as store, store.snapshot() as moment:
        time.sleep(0.2)
        moment.execute("SELECT 1 AS n")

        assert 1 == moment.fetchone()["n"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stored_events SET topic = 'x'",
        "DELETE FROM stored_events",
        "TRUNCATE stored_events",
        "DROP TABLE stored_events",
        "ALTER TABLE stored_events ALTER COLUMN topic DROP NOT NULL",
        "ALTER SEQUENCE stored_events_notification_id_seq RESTART",
        "SELECT setval('stored_events_notification_id_seq', 1)",
        "UPDATE commands SET event_ids = ''",
        "DELETE FROM vault_erased",
        "UPDATE vault_keys SET wrapped = ''",
        "UPDATE siutindei_schema SET version = 2",
        "CREATE TABLE mine ()",
        "CREATE RULE r AS ON INSERT TO stored_events DO INSTEAD NOTHING",
    ],
)
def test_the_writer_cannot_change_what_happened(writer: str, statement: str) -> None:
    """No event is changed or deleted by those who write, nor what keeps an erasure an erasure."""
    use_store(writer)
    with psycopg.connect(writer) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)


def test_a_role_that_may_not_is_told_where_to_look(writer: str) -> None:
    """It is the installation that is wrong, not the moment."""
    told = pytest.raises(Unusable, match=r"docs/postgresql\.md")
    with opened(writer) as store, told, store.writing() as cursor:
        cursor.execute("DELETE FROM stored_events")
    with fresh_database(migrated=False) as url, told:
        PostgresSchema(url.replace("//postgres@", "//the_writer@")).migrate()


def test_the_reader_replays_and_writes_nothing(tmp_path: Path, writer: str) -> None:
    """It reads everything that the writer wrote, and changes nothing."""
    services = tell(tmp_path, writer)
    digest = services.history.replay().digest
    services.store.close()
    with opened(writer.replace("the_writer", "the_reader")) as store:
        store.check_ring("vault key", RING, rotates=True)
        replayed = make_services(tmp_path, store=store).history.replay()
        with pytest.raises(Unusable, match="may not do this"):
            append(store, ANN, signed_up())
        with pytest.raises(Unusable, match="may not do this"):
            store.scrub()

    assert digest == replayed.digest


def test_the_reader_explains_everything(tmp_path: Path, writer: str) -> None:
    """Each event and each request of a story has the tree that it has on SQLite."""
    tell(tmp_path, writer).store.close()

    def trees(services: Services) -> list[list[tuple[object, ...]]]:
        explain = services.explain.explain
        return [
            [(node.kind, node.name, node.status, len(node.causes)) for node in explain(id).nodes]
            for entry in services.store.read()
            for id in (entry.id, entry.context.request_id)
        ]

    with opened(writer.replace("the_writer", "the_reader")) as store:
        store.check_ring("vault key", RING, rotates=True)
        found = trees(make_services(tmp_path, store=store))

    assert len(found) == 98
    (tmp_path / "memory").mkdir()
    assert found == trees(tell(tmp_path / "memory", ""))


def test_the_reader_is_shown_nothing_personal(tmp_path: Path, writer: str) -> None:
    """It cannot record that it looks, and so it does not look."""
    services = tell(tmp_path, writer)
    before = services.accesses.list().items
    assert services.dossiers.open(context(), "R00001", by="eve").accesses == ()
    services.store.close()
    with opened(writer.replace("the_writer", "the_reader")) as store:
        store.check_ring("vault key", RING, rotates=True)
        services = make_services(tmp_path, store=store)
        for look in (
            lambda: services.dossiers.open(context(), "R00001", by="eve"),
            lambda: services.people.export(context(), "bob", by="eve"),
            lambda: services.suppressions.reveal(context(), by="eve"),
        ):
            with pytest.raises(Unusable, match="may not do this"):
                look()
        looked = services.accesses.list().items

    assert ["eve", *(one.by for one in before)] == [one.by for one in looked]


# --- erasure --------------------------------------------------------------------------------------


def wrapped_key(store: PostgresStore) -> bytes:
    """Read the one key that is in the vault."""
    with store.reading() as cursor:
        cursor.execute("SELECT wrapped FROM vault_keys")
        found: bytes = cursor.fetchone()["wrapped"]
    return found


def on_disk(url: str, wanted: bytes) -> bool:
    """Whether bytes are in a file of the database's tables."""
    execute("CHECKPOINT")
    oid = execute("SELECT oid FROM pg_database WHERE datname = %s", values=[database(url)])[0][0]
    files = (server().pgdata / "base" / str(oid)).iterdir()
    return any(wanted in file.read_bytes() for file in files)


def test_an_erased_key_is_in_no_table_file_any_more(url: str, writer: str) -> None:
    """Deleted alone it stays on the disk; after the scrub it is gone, also by the writer's hand."""
    with opened(writer) as store:
        append(store, ANN, signed_up())
        key = wrapped_key(store)
        with store.transaction(context()) as tx:
            tx.destroy_keys("ann", forever=True)
        deleted = on_disk(url, key)
        store.scrub()

        assert deleted
        assert not on_disk(url, key)


def test_an_old_reader_keeps_an_erased_key(store: PostgresStore, url: str) -> None:
    """While somebody reads the database as it was, the scrub says that it was not enough."""
    append(store, ANN, signed_up())
    with connect(url) as reader, reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1 FROM stored_events")
        with store.transaction(context()) as tx:
            tx.destroy_keys("ann", forever=True)
        with pytest.raises(Unavailable, match="the next worker that starts"):
            store.scrub()
    store.scrub()


def test_a_dump_and_an_erasure_keep_nobody_waiting(store: PostgresStore, url: str) -> None:
    """While a dump reads the keys, and a scrub waits for it, others write as ever."""
    append(store, ANN, signed_up())
    with store.transaction(context()) as tx:
        tx.destroy_keys("ann", forever=True)
    refused: list[Unavailable] = []

    def scrub() -> None:
        with opened(url, lock_seconds=2.0) as beside:
            try:
                beside.scrub()
            except Unavailable as error:
                refused.append(error)

    with connect(url) as dump, dump.transaction():
        dump.execute("SELECT 1 FROM vault_keys")
        scrubbing = threading.Thread(target=scrub)
        scrubbing.start()
        written = 0
        with opened(url, lock_seconds=0.5) as hurried:
            while scrubbing.is_alive():
                append(hurried, f"person-{written}", signed_up(str(written)), version=0)
                written += 1
        scrubbing.join()

    assert refused
    assert written > 1
    assert store.owed
    store.scrub()
    assert not store.owed


# --- the same as on SQLite ------------------------------------------------------------------------


def per_stream(services: Services) -> dict[str, list[str]]:
    """List the names of what happened, by stream."""
    found: dict[str, list[str]] = {}
    for entry in services.store.read():
        found.setdefault(entry.stream, []).append(entry.name)
    return found


def test_the_same_story_is_the_same_history(tmp_path: Path, url: str) -> None:
    """Told on both databases it gives the same events in the same order, and the same states."""
    ours, theirs = tell(tmp_path / "a", url), tell(tmp_path / "b", "")
    ids = [stream for stream in per_stream(theirs) if not stream.startswith("challenge")]
    told = [
        (per_stream(services), [services.history.state(id, at=99) for id in ids])
        for services in (ours, theirs)
    ]
    ours.store.close()
    theirs.store.close()

    assert told[1] == told[0]


def test_the_same_events_give_the_same_digest(tmp_path: Path, url: str) -> None:
    """Read models that PostgreSQL kept while it happened are, byte for byte, what SQLite makes of
    the events; and the other way round.
    """
    ours, theirs = tell(tmp_path / "a", url), tell(tmp_path / "b", "")
    with fresh_database() as other, opened(other) as empty:
        with empty.writing() as cursor:
            projections.project(cursor, list(theirs.store.read()))
        digests = [
            (ours.store.digest(ALL), ours.history.replay().digest),
            (theirs.store.digest(ALL), empty.digest(ALL)),
        ]
    ours.store.close()
    theirs.store.close()

    for live, made in digests:
        assert live == made
