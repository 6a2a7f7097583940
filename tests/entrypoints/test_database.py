"""`database`, and everything else on PostgreSQL: the command line on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.app.ports import Unusable
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.entrypoints.commands import EMAIL, Cli, environment
from tests.postgres import execute, fresh_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE = "SIUTINDEI_DATABASE"
PASSWORD = "geheim"


@contextmanager
def on_postgres(monkeypatch: pytest.MonkeyPatch, *, migrated: bool = True) -> Iterator[str]:
    """Let the commands work on a fresh database."""
    with fresh_database(migrated=migrated) as url:
        monkeypatch.setenv(DATABASE, url)
        yield url


# --- the commands ---------------------------------------------------------------------------------


def test_a_file_makes_its_tables_by_itself(cli: Cli) -> None:
    """On SQLite there is nothing to migrate; asking makes nothing, and saying so does no harm."""
    before = cli.json("database", "status")
    nothing = not cli.home.exists()
    migrated = [cli.json("database", "migrate") for _ in range(2)]

    assert {"version": 0, "newest": 3} == before
    assert nothing
    assert [0, 3] == [made["before"] for made in migrated]
    assert [(3, [])] * 2 == [(made["version"], made["read_models"]) for made in migrated]
    assert {"version": 3, "newest": 3} == cli.json("database", "status")
    assert "as it should" in cli("database", "status").out


def test_asking_for_the_version_changes_nothing(cli: Cli) -> None:
    """A file of an older schema stays one until a command needs it."""
    cli.access()
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
    for _ in range(2):
        assert {"version": 1, "newest": 3} == cli.json("database", "status")
    assert "the next command that needs it makes it version 3" in cli("database", "status").out


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"x" * 200, "no database"), (b"SQLite format 3\0" + b"\0" * 100, "another program")],
)
def test_a_file_that_is_not_ours_is_refused(cli: Cli, content: bytes, words: str) -> None:
    """Neither command touches it."""
    cli.home.mkdir()
    path = cli.home / "siutindei.db"
    path.write_bytes(content)
    for command in ("status", "migrate"):
        assert words in cli("database", command, code=2).err
    assert content == path.read_bytes()


def test_postgresql_is_migrated_by_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, every command says what to do; the command can be repeated."""
    with on_postgres(monkeypatch, migrated=False):
        for words in (("database", "status"), ("ticket", "list"), ("worker", "--once")):
            assert "run: siutindei database migrate" in cli(*words, code=2).err
        problems = cli.json("doctor", code=1)["problems"]
        told = [cli("database", "migrate").out for _ in range(2)]
        status = cli.json("database", "status")

        assert {"version": 3, "newest": 3} == status
        assert {"ok": True, "problems": []} == cli.json("doctor")
    assert [
        {"what": "the database is not migrated", "mend": "run: siutindei database migrate"}
    ] == (problems)
    assert "migrated" in told[0]
    assert "nothing to do" in told[1]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE siutindei_schema SET version = 99", "newer version"),
        ("DROP TABLE siutindei_schema", "another program"),
    ],
)
def test_a_database_that_is_not_ours_is_refused(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, statement: str, words: str
) -> None:
    """A newer one and another program's: exit code 2, for every command."""
    with on_postgres(monkeypatch) as url:
        execute(statement, url.partition("@/")[2].partition("?")[0])
        for command in (("database", "status"), ("database", "migrate"), ("ticket", "list")):
            assert words in cli.json(*command, code=2)["error"]


def test_a_database_that_is_down_is_not_available(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 75, and no key is made meanwhile."""
    monkeypatch.setenv(DATABASE, f"postgresql://me:{PASSWORD}@/db?host={tmp_path}")
    for command in (("database", "status"), ("database", "migrate"), ("ticket", "list")):
        done = cli(*command, code=75)
        assert "down or out of reach; try again" in done.err
        assert PASSWORD not in done.out + done.err
    assert not cli.home.exists()


def test_the_roles_are_printed(cli: Cli) -> None:
    """They can be piped into the database's own client."""
    sql = cli.json("database", "roles")["sql"]

    assert "CREATE ROLE siutindei_writer" in sql
    assert sql.rstrip() == cli("database", "roles").out.rstrip()


# --- passwords ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:geheim@h:1/x", "postgresql://****@h:1/x"),
        ("postgres://me:ge@he/im@h/x?sslmode=require", "postgres://****@h/x?sslmode=require"),
        ("postgresql:///x?user=me&password=geheim", "postgresql:///x?user=me&password=****"),
        ("postgresql:///x?p%61ssword=geheim", "postgresql:///x?p%61ssword=****"),
        ("postgresql:///x?geheim", "postgresql:///x?"),
        ("postgresql://h/x", "postgresql://h/x"),
    ],
)
def test_a_password_in_an_address_is_never_printed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    """`config` masks it wherever it stands, and no error quotes the address."""
    monkeypatch.setenv(DATABASE, text)
    printed = cli("--json", "config").out
    # Nobody listens there.
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    done = cli("ticket", "list", code=2 if "?geheim" in text else 75)

    assert shown == read_settings({DATABASE: text}, home=cli.home).values[DATABASE].shown
    for output in (printed, done.out, done.err):
        assert PASSWORD not in output
        assert "ge@he" not in output


# --- everything else ------------------------------------------------------------------------------


#: What an event says that does not differ from one telling to the next.
_FACTS: Final = (
    *("kind", "attempt", "how", "why", "rule", "error_class", "locale", "limit", "assurance"),
    *("attempts_left", "stars", "create", "create_organization", "template", "template_version"),
)


def by_subject(events: list[Any]) -> dict[str, list[Any]]:
    """Give what happened by what it is about: names that are made by chance are left out.

    A person is known by the language that they read, a sign-in by its person, a mail by its cause.
    """
    names = {
        event["stream"]: f"who reads {event['data']['locale']}"
        for event in events
        if event["name"].startswith("person.signed_up")
    }
    for event in events:
        stream, data = event["stream"], event["data"]
        if event["name"].startswith("challenge.issued"):
            names[stream] = f"sign-in of {names['person-' + data['user']]}"
        if event["name"].startswith("notification.requested"):
            cause, _, version = data["cause"].rpartition("/")
            names[stream] = f"{data['kind']} for {names.get(cause, cause)}/{version}"
        if event["name"].startswith("suppression.suppressed"):
            names[stream] = f"suppression for a {data['reason']}"
    told: dict[str, list[Any]] = {}
    for event in events:
        facts = {name: event["data"][name] for name in _FACTS if event["data"].get(name)}
        told.setdefault(names.get(event["stream"], event["stream"]), []).append(
            (event["version"], event["name"], event["actor"].partition(":")[0], facts)
        )
    return told


@pytest.mark.slow
def test_the_demo_tells_its_story_on_postgresql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole, a second time in the same database too, and leaves an installation that is well;
    each person, ticket, mail and grant has the same events in the same order as on SQLite.
    """
    ours, theirs = Cli(tmp_path / "a"), Cli(tmp_path / "b")
    told: list[tuple[dict[str, list[Any]], Any]] = []
    for cli in (ours, theirs):
        with monkeypatch.context() as patch, fresh_database() as url:
            if cli is ours:
                patch.setenv(DATABASE, url)
            document = cli.json("demo")
            events = cli("--json", "history", "tail").lines
            found = cli.json("doctor", "--deep")
            names = [event["name"] for event in events]
            told.append((by_subject(events), (names, document["mails"], found["books"])))

            assert document["ok"]
            assert (True, []) == (found["ok"], found["problems"])
            assert cli.json("demo")["ok"]
            user = next(e["stream"] for e in events if e["name"].startswith("person.signed"))
            id = user.removeprefix("person-")
            erased = cli.json("person", "erase", id, "--by", "op", "--reason", "asked")
            assert erased["erased_fields"] > 0
            assert cli.json("doctor", "--deep")["ok"]

    assert told[1] == told[0]
    assert {
        *("who reads en", "who reads zh-HK", "sign-in of who reads en"),
        *("ticket-R00001", "ticket-S00001", "ticket-F00001", "grant-R00001-organization"),
        *("sign_in_code for sign-in of who reads zh-HK/1", "ticket_decided for ticket-S00001/2"),
    } <= told[0][0].keys()
    assert 26 == len(told[0][0])
    assert not (ours.home / "siutindei.db").exists()


def test_a_command_that_is_repeated_on_postgresql_is_done_once(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time it gives the first answer."""
    with on_postgres(monkeypatch):
        answers = [
            cli.json(
                *("--command-id", "c1", "ticket", "submit", "suggestion", "--user", "u-1"),
                *("--email", EMAIL, "--organization-name", "Harbour Chess"),
            )["ticket_id"]
            for _ in range(2)
        ]

    assert answers[0] == answers[1]


def test_the_password_seam_reaches_every_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is given to `build` is asked by the schema and by the store."""
    asked: list[str] = []

    def password() -> str:
        asked.append("asked")
        return "a token"

    with on_postgres(monkeypatch) as url:
        services = build(read_settings({DATABASE: url}, home=tmp_path), database_password=password)
        services.store.close()

    assert ["asked", "asked"] == asked


# --- without the extra ----------------------------------------------------------------------------

_WITHOUT: Any = """
import sys
sys.modules["psycopg"] = None
from siutindei.entrypoints.cli import main
main()
"""


def test_without_the_extra_a_line_says_what_to_install(tmp_path: Path) -> None:
    """SQLite works; PostgreSQL ends with exit code 2."""

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _WITHOUT, "--home", str(tmp_path), "ticket", "list"],
            capture_output=True,
            text=True,
            check=False,
            env=environment(**more),
        )

    without, embedded = run(**{DATABASE: "postgresql://h/x"}), run()

    assert (2, 0) == (without.returncode, embedded.returncode)
    assert without.stderr == (
        "siutindei: PostgreSQL needs more packages; install them: "
        "pip install 'siutindei[postgres]'\n"
    )


def test_a_module_of_ours_that_is_missing_is_not_the_extras_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the extra installs is asked for."""
    monkeypatch.setitem(sys.modules, "siutindei.adapters.postgres", None)
    monkeypatch.delattr("siutindei.adapters.postgres", raising=False)
    services = build(read_settings({DATABASE: "postgresql://h/x"}, home=tmp_path))
    with pytest.raises(ImportError) as raised:
        _ = services.schema

    assert not isinstance(raised.value, Unusable)
