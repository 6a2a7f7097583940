"""A PostgreSQL database in trouble: one line, exit code 75 or 2, and nothing is lost."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest

from siutindei.adapters.postgres import PostgresStore, roles
from tests.entrypoints.commands import EMAIL, Cli
from tests.entrypoints.test_database import DATABASE, on_postgres
from tests.postgres import execute, restart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import VirtualClock

NOT_NOW: Final = 75
WRONG: Final = 2
SUBMIT: Final = (
    *("--command-id", "c1", "ticket", "submit", "suggestion", "--user", "u-2"),
    *("--email", EMAIL, "--organization-name", "Harbour Chess"),
)
#: What is done when an event is appended, and what is done about it. A disk cannot be filled here:
#: the trigger raises the error that PostgreSQL raises when one is full.
_TRIGGER: Final = """
CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.topic LIKE '{topic}' THEN {statement}; END IF; RETURN NEW;
END $$;
CREATE TRIGGER trouble BEFORE INSERT ON stored_events FOR EACH ROW EXECUTE FUNCTION trouble();
"""
FULL: Final = "RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'"
SLOW: Final = "PERFORM pg_sleep(30)"
DIES: Final = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(30)"


def name(url: str) -> str:
    """Give the name of a database."""
    return url.partition("@/")[2].partition("?")[0]


@contextmanager
def trouble(url: str, statement: str, topic: str = "%") -> Iterator[None]:
    """Let something happen whenever an event of a kind is appended, for a while."""
    execute(_TRIGGER.format(statement=statement, topic=topic), name(url))
    yield
    execute("DROP FUNCTION trouble CASCADE", name(url))


@pytest.fixture
def url(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with a ticket in it, whose notice is due."""
    with on_postgres(monkeypatch) as url:
        cli.access()
        yield url


def mails(cli: Cli) -> int:
    """Count the mails in the mailbox."""
    folder = cli.home / "mail" / "new"
    return len(list(folder.iterdir())) if folder.exists() else 0


def told(cli: Cli, *words: str, code: int) -> str:
    """Give a command that ends badly, and what it says: one line, for programs a document too."""
    done = cli("--json", *words, code=code)
    (line,) = done.err.splitlines()
    assert f"siutindei: {done.document['error']}" == line
    return line


def check_nothing_is_lost(cli: Cli, before: list[str]) -> None:
    """Check that nothing was changed, and that everything can be done now."""
    assert before == cli.events()
    assert [cli.json(*SUBMIT)["ticket_id"]] * 2 == ["S00001", cli.json(*SUBMIT)["ticket_id"]]
    assert 2 == cli.json("worker", "--once")["sent"]
    assert 2 == mails(cli)
    assert (True, []) == ((found := cli.json("doctor", "--deep"))["ok"], found["problems"])


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (FULL, "disk is full; nothing was changed, make room and try again"),
        (SLOW, "too slow; nothing was changed, try again"),
        (DIES, "down or out of reach; try again"),
    ],
    ids=["full", "slow", "dies"],
)
def test_a_change_that_fails_in_its_middle_is_no_change(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch, statement: str, words: str
) -> None:
    """A disk that is full, a statement that takes too long, a connection that dies: try again.
    People, administrators and workers are told the same, and no mail goes out.
    """
    before = cli.events()
    with trouble(url, statement):
        with monkeypatch.context() as patch:
            patch.setattr("siutindei.adapters.postgres.STATEMENT_SECONDS", 0.2)
            for command in (
                SUBMIT,
                ("ticket", "decline", "R00001", "--by", "admin-7"),
                ("worker", "--once"),
                ("sign-in", "start", EMAIL),
            ):
                assert words in told(cli, *command, code=NOT_NOW)
        assert 0 == mails(cli)
        assert 1 == len(cli.json("ticket", "list")["items"])
    check_nothing_is_lost(cli, before)


def test_a_database_that_is_read_only_is_read(cli: Cli, url: str) -> None:
    """During a fail-over a change is to be tried again, and what is there can be read."""
    before = cli.events()
    execute(f"ALTER DATABASE {name(url)} SET default_transaction_read_only = on")
    for command in (SUBMIT, ("worker", "--once")):
        assert "can only be read now" in told(cli, *command, code=NOT_NOW)
    assert 1 == len(cli.json("ticket", "list")["items"])
    assert before == cli.events()
    execute(f"ALTER DATABASE {name(url)} RESET default_transaction_read_only")
    check_nothing_is_lost(cli, before)


def test_a_turn_that_does_not_come(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in vain for another writer is told to try again; reading needs no turn."""
    before = cli.events()
    defaults: Any = PostgresStore.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "lock_seconds", 0.1)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE write_lock IN EXCLUSIVE MODE")
        for command in (SUBMIT, ("worker", "--once")):
            assert "locked by another process; try again" in told(cli, *command, code=NOT_NOW)
        assert 1 == len(cli.json("ticket", "list")["items"])
    check_nothing_is_lost(cli, before)


def test_a_server_that_is_started_again_in_the_middle_of_a_change(cli: Cli, url: str) -> None:
    """The change that it interrupted is none, and the next command finds the server."""
    before = cli.events()
    with trouble(url, SLOW):
        with ThreadPoolExecutor(1) as pool:
            restarted = pool.submit(_restart_when_somebody_sleeps)
            assert "down or out of reach; try again" in told(cli, *SUBMIT, code=NOT_NOW)
            restarted.result()
        assert before == cli.events()
    check_nothing_is_lost(cli, before)


def _restart_when_somebody_sleeps() -> None:
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    while not execute(sleeping):
        time.sleep(0.01)
    restart()


def test_a_mail_that_could_not_be_recorded_is_recorded_later(
    cli: Cli, url: str, clock: VirtualClock
) -> None:
    """The disk is full when a mail was just delivered: the next worker asks the mailbox, and the
    mail does not go out again.
    """
    with trouble(url, FULL, topic="notification.accepted%"):
        assert "disk is full" in told(cli, "worker", "--once", code=NOT_NOW)
    assert 1 == mails(cli)
    clock.advance(seconds=10)
    assert 1 == cli.json("worker", "--once")["sent"]
    (item,) = cli.json("notification", "list")["items"]
    books = cli.json("doctor", "--deep")["books"]["notifications"]

    assert ("accepted", 1, 1) == (item["status"], item["attempts"], mails(cli))
    assert (1, 1) == (books["done"], books["attempts"])


def test_a_role_without_a_free_connection(
    cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many connections pass; the wrong role does not."""
    execute(roles(), name(url))
    execute("DROP ROLE IF EXISTS crowded")
    execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 IN ROLE siutindei_writer")
    monkeypatch.setenv(DATABASE, url.replace("//postgres@", "//crowded@"))
    busy = told(cli, "ticket", "list", code=NOT_NOW)
    monkeypatch.setenv(DATABASE, url.replace("//postgres@", "//nobody@"))
    nobody = told(cli, "ticket", "list", code=WRONG)
    monkeypatch.setenv(DATABASE, url.replace(name(url), "not_there"))
    nowhere = told(cli, "ticket", "list", code=WRONG)
    execute("DROP ROLE crowded")

    assert "down or out of reach" in busy
    for line in (nobody, nowhere):
        assert "no such database or role; correct SIUTINDEI_DATABASE" in line


COMMANDS: Final = (("ticket", "list"), SUBMIT, ("worker", "--once"), ("history", "tail"))


def test_a_schema_of_another_version_is_not_touched(cli: Cli, url: str) -> None:
    """An older one wants a migration, a newer one a newer program; what is in it stays."""
    before = cli.events()
    change = "UPDATE siutindei_schema SET version = version + %s"
    for number, words in ((-1, "siutindei database migrate"), (99, "newer version")):
        execute(change, name(url), [number])
        for command in COMMANDS:
            assert words in told(cli, *command, code=WRONG)
        assert [True] == [words in str(one) for one in cli.json("doctor", code=1)["problems"]]
        execute(change, name(url), [-number])
    check_nothing_is_lost(cli, before)


def test_the_tables_of_another_application_are_not_touched(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that somebody else uses is refused by every command, a migration too."""
    tables: Any = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    with on_postgres(monkeypatch, migrated=False) as url:
        execute("CREATE TABLE invoices AS SELECT 1 AS number", name(url))
        for command in (*COMMANDS, ("database", "status"), ("database", "migrate")):
            assert "another program; name another one" in told(cli, *command, code=WRONG)
        assert [("invoices",)] == execute(tables, name(url))
        assert [(1,)] == execute("SELECT number FROM invoices", name(url))
    assert not cli.home.exists()
