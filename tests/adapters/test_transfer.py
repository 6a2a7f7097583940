"""A whole history out of one database and into another, whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siutindei.adapters import exports, keyfile, transfer
from siutindei.adapters.exports import StoredRow, write
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.projections import NAMES
from siutindei.app import lanes
from siutindei.app.ports import EventStore, Protected, Unavailable, Unusable
from siutindei.bootstrap import Services, build
from siutindei.domain import ticket
from siutindei.domain.catalogue import EVENTS
from siutindei.domain.errors import Invalid
from siutindei.settings import read_settings
from tests.app.world import BODIES, CLUB
from tests.contracts import ANN, append, signed_up
from tests.entrypoints.commands import environment
from tests.postgres import Break, Wire, fresh_database
from tests.support import VirtualClock, context, drain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Kind = Literal["sqlite", "postgres"]
KINDS: Final = ("sqlite", "postgres")
ALL: Final = tuple(NAMES)
TABLES: Final = ("stored_events", "commands", "vault_erased", "vault_keys", "key_checks")


class Places:
    """Homes, each with a database of its own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._count = 0

    def home(self, kind: Kind) -> tuple[Path, dict[str, str]]:
        """Make a place for a home, and give its settings."""
        self._count += 1
        home = self.folder / f"home-{self._count}"
        if kind == "sqlite":
            return home, {}
        return home, {"SIUTINDEI_DATABASE": self._stack.enter_context(fresh_database())}

    def services(self, kind: Kind, **seams: Any) -> Services:
        """Make an application there."""
        home, settings = self.home(kind)
        return self.again(home, settings, **seams)

    def again(self, home: Path, settings: dict[str, str], **seams: Any) -> Services:
        """Make an application as another process would."""
        seams = {"clock": VirtualClock(), "mail": MemoryMail()} | seams
        made = build(read_settings(settings, home=home), **seams)
        self._stack.callback(lambda: "store" in made.__dict__ and made.store.close())
        return made


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """Give homes, and close what was opened there."""
    with ExitStack() as stack:
        yield Places(tmp_path, stack)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfile, "_N", 2)


def busy(services: Services) -> list[str]:
    """Let two people do everything, and erase one; leave holes in the positions."""
    services.directory.add_organization(id=CLUB, name="Kowloon Swimming")
    users = []
    for email in ("ann@example.com", "bob@example.com"):
        user = services.sign_in.sign_up(context(), email=email)
        started = services.sign_in.start(context(), client="app", email=email, user=user)
        code = services.codes.code(
            key_id=services.codes.current_key_id, challenge=started.challenge
        )
        services.sign_in.answer(context(), challenge_id=started.challenge, code=code)
        for ticket_type in ticket.TYPES:
            body = {**BODIES[ticket_type]}
            body.pop("label_ids", None)
            services.tickets.submit(
                context(), ticket_type=ticket_type, user=user, email=email, body=body
            )
        users.append(user)
        _skip(services)
    services.tickets.approve(context(), "R00001", by="admin-7", create_organization=True)
    services.tickets.decline(context(), "S00002", by="bob@example.com", note="星")
    drain(services)
    services.people.erase(context(), users[1], by="op", reason="asked")
    return users


def _skip(services: Services) -> None:
    """Leave a hole in the positions: where PostgreSQL undoes a transaction there is one."""
    with suppress(ZeroDivisionError), services.store.transaction(context()) as tx:
        tx.append("person-nobody", 0, [signed_up("nobody")])
        raise ZeroDivisionError


def stored(services: Services, *tables: str) -> dict[str, list[tuple[Any, ...]]]:
    """Give every row of some tables, columns and rows in a fixed order."""
    found = {}
    with services.store.reading() as cursor:
        for table in tables:
            position = f", {services.store.position} AS p" if table == "stored_events" else ""
            cursor.execute(f"SELECT *{position} FROM {table}")  # noqa: S608
            rows = [dict(row) for row in cursor.fetchall()]
            # What a database has to do yet is its own.
            rows = [row for row in rows if str(row.get("name", " key")).endswith(" key")]
            for row in rows:
                row.pop("rowid", None)
                row.pop("notification_id", None)
            found[table] = sorted(
                tuple(bytes(v) if isinstance(v, memoryview) else v for _, v in sorted(row.items()))
                for row in rows
            )
    return found


def exported(services: Services, path: Path) -> bytes:
    """Export, and give the file."""
    services.transfer.export(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    return path.read_bytes()


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("sqlite", "postgres"), ("postgres", "sqlite")], ids="->".join)
def test_a_history_goes_there_and_back(places: Places, kinds: tuple[Kind, Kind]) -> None:
    """Through both databases everything stored is the same, and so are file and digests."""
    source = places.services(kinds[0])
    busy(source)
    here, files, replays = source, [], []
    for number, kind in enumerate((*kinds[::-1], *kinds)):
        path = places.folder / f"{number}.jsonl"
        protected = Protected(
            file=str(places.folder / f"{number}.keys"), passphrase="correct horse"
        )
        told = here.transfer.export(str(path), protected=protected)
        there = places.services(kind)
        done = there.transfer.import_(str(path), protected=protected, moved=True)
        files.append(path.read_bytes())
        replays.append(there.history.replay().digest)

        assert (told.events, told.erased, told.digest, told.keys) == (
            *(done.events, done.erased, done.digest, done.keys),
        )
        assert (0, 0) == (done.unreadable, done.erased_again)
        assert stored(source, *TABLES) == stored(there, *TABLES)
        assert source.store.digest(ALL) == there.store.digest(ALL)
        here = there

    assert {files[0]} == set(files)
    assert {source.history.replay().digest} == set(replays)
    assert "ann@example.com" in json.dumps(
        [here.tickets.show("R00001").submitted.submitter_email.text]  # type: ignore[union-attr]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_work_goes_on_where_a_history_was_imported(places: Places, kind: Kind) -> None:
    """The next event has the next position, a repeated command is known, and a code still fits."""
    source = places.services("postgres")
    path, keys = (
        places.folder / "a",
        Protected(file=str(places.folder / "k"), passphrase="correct horse"),
    )
    source.sign_in.sign_up(context("c1"), email="ann@example.com")
    _skip(source)
    source.sign_in.sign_up(context("c2"), email="bob@example.com")
    last = source.store.last_position()
    source.transfer.export(str(path), protected=keys)
    there = places.services(kind)
    there.transfer.import_(str(path), protected=keys, moved=True)
    users = [there.sign_in.sign_up(context("c1"), email="ann@example.com")]
    users.append(there.sign_in.sign_up(context(), email="bob@example.com"))
    before = there.store.last_position()
    there.sign_in.sign_up(context(), email="carl@example.com")

    assert 3 == last == before
    assert {f"person-{user}" for user in users} == {e.stream for e in source.store.read()}
    assert 4 == there.store.last_position()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_imported_sends_nothing_at_first(places: Places, kind: Kind) -> None:
    """Who is killed in the middle leaves the halting to whoever comes next."""
    source = places.services("sqlite")
    busy(source)
    path = places.folder / "a"
    told = source.transfer.export(str(path))
    there = places.services(kind)
    done = there.transfer.import_(str(path))
    home, settings = places.home(kind)
    killed_there = places.again(home, settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "halt_restored", _killed)
        with pytest.raises(KeyboardInterrupt):
            killed_there.transfer.import_(str(path))
    halted, found = (
        {name: state.why for name, state in services.lanes.all().items()}
        for services in (there, places.again(home, settings))
    )

    assert (told.digest, True) == (done.digest, done.halted)
    assert {"codes": "restored", "tickets": "restored"} == halted == found
    assert told.events + 2 == len(list(there.store.read()))


def _killed(store: EventStore, **_: object) -> bool:
    if store.is_copy:
        raise KeyboardInterrupt
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_without_its_keys_what_is_personal_reads_erased(places: Places, kind: Kind) -> None:
    """Events and read models are all there; nobody's text is, and new texts can be sealed."""
    source = places.services("sqlite")
    busy(source)
    path = places.folder / "a"
    told = source.transfer.export(str(path))
    there = places.services(kind)
    done = there.transfer.import_(str(path), moved=True)
    submitted = there.tickets.show("R00001").submitted

    assert (0, told.events) == (done.keys, done.events)
    assert (told.keys, told.owners) == (
        len(stored(source, "vault_keys")["vault_keys"]),
        len({row[2] for row in stored(source, "vault_keys")["vault_keys"]}),
    )
    assert source.store.digest(ALL) == there.store.digest(ALL)
    assert submitted is not None
    assert "[erased]" == submitted.submitter_email.text
    assert exported(there, places.folder / "b") == path.read_bytes()
    append(there.store, "person-carl", signed_up("carl"))
    assert "carl@example.com" == there.people.export(context(), "carl", by="op")["email"]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_a_history_too(places: Places, kind: Kind) -> None:
    """An empty database is exported and imported like any other."""
    path = places.folder / "a"
    done = places.services(kind)
    done.transfer.export(str(path))
    there = places.services(kind)

    assert 0 == there.transfer.import_(str(path), moved=True).events
    append(there.store, ANN, signed_up())
    assert 1 == there.store.last_position()


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_that_nobody_can_read_goes_along(places: Places, kind: Kind) -> None:
    """A newer version's event and bytes that are no event are kept; no read model has them."""
    source = places.services("sqlite")
    append(source.store, ANN, signed_up())
    with source.store.writing() as cursor:
        for version, name, state in (
            (2, "person.moved.v1", b'{"recorded_at":"x","command_id":"z","data":{}}'),
            (3, "person.signed_up.v1", b"\xff\n"),
        ):
            cursor.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                " VALUES (?, ?, ?, ?)",
                (ANN, version, name, state),
            )
    path = places.folder / "a"
    source.transfer.export(str(path))
    there = places.services(kind)

    assert 2 == there.transfer.import_(str(path), moved=True).unreadable
    assert stored(source, "stored_events") == stored(there, "stored_events")
    assert source.store.digest(ALL) == there.store.digest(ALL)


# --- one moment -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_of_one_moment(
    places: Places, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is appended while it is written is not in it, and nobody waits for it."""
    monkeypatch.setattr(transfer, "_PAGE", 2)
    home, environ = places.home(kind)
    services, other = places.again(home, environ), places.again(home, environ)
    append(services.store, ANN, *[signed_up()] * 5)
    before = exported(services, places.folder / "before")

    def slow(file: Any, items: Iterator[Any]) -> Any:
        def meanwhile() -> Iterator[Any]:
            for item in items:
                append(other.store, ANN, signed_up())
                yield item

        return write(file, meanwhile())

    monkeypatch.setattr(exports, "write", slow)

    assert before == exported(services, places.folder / "during")
    assert 10 == other.store.last_position()


# --- several at once, killed, no room -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_imports_one_wins(places: Places, kind: Kind) -> None:
    """The other is told that there are events by now."""
    source = places.services("sqlite")
    busy(source)
    path = places.folder / "a"
    digest = source.transfer.export(str(path)).digest
    home, environ = places.home(kind)
    crowd = [places.again(home, environ) for _ in range(4)]

    def run(services: Services) -> str:
        try:
            return services.transfer.import_(str(path), moved=True).digest
        except Unusable as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(run, crowd))

    assert digest == answers[0]
    assert {"there are events in the database"} == {a.partition(",")[0] for a in answers[1:]}
    assert path.read_bytes() == exported(crowd[0], places.folder / "b")


_KILLED: Final = """
import os, signal, sys
from pathlib import Path
from siutindei.adapters import exports, transfer
from siutindei.bootstrap import build
from siutindei.settings import read_settings
what, home, file, at = sys.argv[1:]
def dying(items):
    for number, item in enumerate(items):
        if number == int(at):
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
    if int(at) < 0:
        os.kill(os.getpid(), signal.SIGKILL)
write, items = exports.write, transfer._items
services = build(read_settings(os.environ, home=Path(home)))
if what == "export":
    exports.write = lambda file, items: write(file, dying(items))
    services.transfer.export(file)
else:
    transfer._items = lambda store, cursor: dying(items(store, cursor))
    services.transfer.import_(file, moved=True)
"""


def killed(what: str, home: Path, environ: dict[str, str], file: Path, at: int) -> None:
    """Let a process die in the middle of it: at the line that is named, or at the end."""
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, what, str(home), str(file), str(at)],
        env=environment(**environ),
        check=False,
        timeout=60,
    )
    assert -signal.SIGKILL == done.returncode


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_import_that_is_killed_leaves_nothing(places: Places, kind: Kind) -> None:
    """Whenever it dies before it is committed, there is no event, and it can be done again."""
    source = places.services("sqlite")
    busy(source)
    path = places.folder / "a"
    source.transfer.export(str(path))
    home, environ = places.home(kind)
    for at in (0, 20, -1):
        # By then everything is written, and being read back.
        killed("import", home, environ, path, at)
        services = places.again(home, environ)
        assert {"stored_events": [], "commands": []} == stored(
            services, "stored_events", "commands"
        )
        assert [] == list(services.store.views.tickets().items)
    services.transfer.import_(str(path), moved=True)

    assert path.read_bytes() == exported(services, places.folder / "b")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_that_is_killed_leaves_no_file(places: Places, kind: Kind) -> None:
    """The name is free, and what was begun beside it is nobody else's to read."""
    home, environ = places.home(kind)
    services = places.again(home, environ)
    append(services.store, ANN, *[signed_up()] * 5)
    path = places.folder / "out" / "a"
    path.parent.mkdir()
    for at in (0, 3, -1):
        killed("export", home, environ, path, at)
        assert not path.exists()
    exported(services, path)

    assert {0o600} == {entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond a size from now on, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 100, 9000])
def test_a_full_disk_leaves_no_file(
    places: Places, full_disk: Callable[[int], None], room: int
) -> None:
    """An export, its keys and a backup are complete, or none of them is there."""
    services = places.services("sqlite")
    append(services.store, ANN, *[signed_up(email="a" * 2000)] * 10)
    folder = places.folder / "out"
    folder.mkdir()
    keys = Protected(file=str(folder / "keys"), passphrase="correct horse")
    # What is read is in the file itself: a log beside it would have to grow.
    services.store.scrub()
    full_disk(room)
    for attempt in (
        lambda: services.transfer.export(str(folder / "a")),
        lambda: services.transfer.export(str(folder / "b"), protected=keys),
        lambda: services.schema.backup(str(folder / "c")),
    ):
        with pytest.raises(Unavailable, match="cannot be written"):
            attempt()
    full_disk(-1)

    assert [] == list(folder.iterdir())
    services.transfer.export(str(folder / "a"))


def test_a_full_disk_imports_nothing(places: Places, full_disk: Callable[[int], None]) -> None:
    """What there is no room for is not there, and is imported when there is room again."""
    source = places.services("sqlite")
    append(source.store, ANN, *[signed_up(email="a" * 4000)] * 100)
    path = places.folder / "a"
    source.transfer.export(str(path))
    services = places.services("sqlite")
    services.store.last_position()
    full_disk(200_000)
    with pytest.raises(Unavailable, match="nothing was changed"):
        services.transfer.import_(str(path), moved=True)
    full_disk(-1)

    assert 0 == services.store.last_position()
    assert 100 == services.transfer.import_(str(path), moved=True).events


def test_a_file_that_changes_meanwhile_is_not_imported(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is what is imported."""
    one = crafted(places.folder / "a", event("person-a", "person.signed_up.v1", SIGNED))
    two = crafted(places.folder / "b", event("person-b", "person.signed_up.v1", SIGNED))
    services = places.services("sqlite")

    def swap(file: Any) -> Any:
        found = read_through(file)
        one.write_bytes(two.read_bytes())
        return found

    read_through = transfer._read_through
    monkeypatch.setattr(transfer, "_read_through", swap)
    with pytest.raises(Unusable, match="changed while it was imported"):
        services.transfer.import_(str(one), moved=True)

    assert 0 == services.store.last_position()


# --- refused --------------------------------------------------------------------------------------


def crafted(path: Path, *rows: StoredRow) -> Path:
    """Write a file whose digest fits whatever is in it."""
    with path.open("wb") as file:
        write(file, iter(rows))
    return path


_positions = count(1)


def event(stream: str, name: str, data: Any, *, version: int = 1, command: str = "c") -> StoredRow:
    """Make an event that can be read."""
    envelope = {
        "recorded_at": "2026-01-31T01:30:00Z",
        "command_id": command,
        "actor": "a",
        "request_id": "r",
        "correlation_id": "r",
        "data": data,
    }
    return StoredRow(
        position=next(_positions),
        stream=stream,
        version=version,
        name=name,
        state=json.dumps(envelope).encode(),
    )


SIGNED: Final = {
    "user": "ann",
    "email": "erased",
    "fingerprint": "f",
    "at": "2026-01-31T01:30:00Z",
}
SUBMITTED: Final = {
    "id": "00000000-0000-4000-8000-000000000001",
    "reference": "R00001",
    "ticket_type": "access_request",
    "submitter": "ann",
    "submitter_email": "erased",
    "fingerprint": "f",
    "assurance": "none",
    "organization_name": "erased",
    "at": "2026-01-31T01:30:00Z",
}
BY: Final = {"user": "ann", "by": "op", "reason": "erased", "at": "2026-01-31T01:30:00Z"}
MISFITS: Final[dict[str, list[StoredRow]]] = {
    "no such stream": [event("x-1", "person.signed_up.v1", SIGNED)],
    "no number": [event("ticket-x", "ticket.submitted.v1", SUBMITTED)],
    "a number below one": [event("ticket-R-1", "ticket.submitted.v1", SUBMITTED)],
    "a number without a next": [
        event("ticket-R9223372036854775807", "ticket.submitted.v1", SUBMITTED)
    ],
    "a huge number": [event("ticket-R" + "9" * 99, "ticket.submitted.v1", SUBMITTED)],
    "another aggregate": [event("grant-x", "person.erased.v1", BY)],
    "a second pending": [
        event("ticket-R00001", "ticket.submitted.v1", SUBMITTED, command="c1"),
        event("ticket-R00002", "ticket.submitted.v1", SUBMITTED | {"id": "x" * 36}, command="c2"),
    ],
    "a command twice": [
        event("person-a", "person.signed_up.v1", SIGNED, command="c1"),
        event("person-b", "person.signed_up.v1", SIGNED, command="c2"),
        event("person-c", "person.signed_up.v1", SIGNED, command="c1"),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MISFITS)
def test_what_cannot_have_happened_is_refused(places: Places, kind: Kind, name: str) -> None:
    """A file with a digest that fits and a history that does not is refused, and leaves nothing."""
    path = crafted(places.folder / "a", *MISFITS[name])
    services = places.services(kind)
    with pytest.raises(Invalid, match=r"^file: line \d+ (does not fit|holds what)"):
        services.transfer.import_(str(path), moved=True)

    assert 0 == services.store.last_position()
    assert {table: [] for table in ("commands", "vault_erased", "vault_keys")} == stored(
        services, "commands", "vault_erased", "vault_keys"
    )
    # Nothing stands in the way of the right file.
    good = crafted(places.folder / "b", event("person-a", "person.signed_up.v1", SIGNED))
    assert 1 == services.transfer.import_(str(good), moved=True).events


def test_a_refused_import_leaves_positions_as_they_were(places: Places) -> None:
    """A sequence of PostgreSQL does not go back: it moves when nothing can be refused any more."""
    rows = [event("person-a", "person.signed_up.v1", SIGNED)]
    rows[0] = attrs.evolve(rows[0], position=10**15)
    services = places.services("postgres")
    with (
        pytest.MonkeyPatch.context() as patch,
        crafted(places.folder / "a", *rows).open("rb") as file,
    ):
        patch.setattr(transfer, "_put_keys", refuse)
        expected = transfer._read_through(file)
        file.seek(0)
        keys = keyfile.Keys(rings={}, checks={}, wrapped=[])
        with pytest.raises(Unusable, match="no keys"):
            transfer._fill(services.store, file, expected, keys, lambda: None, moved=True)
    append(services.store, "person-b", signed_up("b"))

    assert services.store.last_position() < 100


@pytest.mark.parametrize("how", ["after", "late"])
def test_an_import_whose_answer_was_lost_is_done(places: Places, how: Break) -> None:
    """Who imports is told of success when what was committed is what the file holds."""
    source = places.services("sqlite")
    busy(source)
    path, keys = exported_with_keys(source, places)
    with fresh_database() as url, through(url) as wire:
        there = places.again(places.folder / "there", {"SIUTINDEI_DATABASE": wire.url})
        cut_at_the_end(wire, how)
        done = there.transfer.import_(str(path), protected=keys, moved=True)

        assert [how] == wire.broken
        assert done.digest == source.transfer.export(str(places.folder / "again")).digest
        assert source.store.digest(ALL) == there.store.digest(ALL)
        there.store.close()


def test_an_import_that_the_server_never_heard_of_can_be_repeated(places: Places) -> None:
    """Nothing is there, and nothing stands in the way of the next try."""
    source = places.services("sqlite")
    busy(source)
    path, keys = exported_with_keys(source, places)
    with fresh_database() as url, through(url) as wire:
        there = places.again(places.folder / "there", {"SIUTINDEI_DATABASE": wire.url})
        cut_at_the_end(wire, "before")
        with pytest.raises(Unavailable):
            there.transfer.import_(str(path), protected=keys, moved=True)
        done = there.transfer.import_(str(path), protected=keys, moved=True)

        assert done.events == source.store.last_position()
        there.store.close()


def exported_with_keys(services: Services, places: Places) -> tuple[Path, Protected]:
    """Export a history with its keys."""
    keys = Protected(file=str(places.folder / "k"), passphrase="correct horse")
    services.transfer.export(str(places.folder / "a"), protected=keys)
    return places.folder / "a", keys


@contextmanager
def through(url: str) -> Iterator[Wire]:
    """Give a wire to a database that can break."""
    wire = Wire(url)
    try:
        yield wire
    finally:
        wire.close()


def cut_at_the_end(wire: Wire, how: Break) -> None:
    """Let the wire break at the commit of an import."""
    go_on = PostgresStore.go_on_after

    def go_on_and_cut(store: PostgresStore, cursor: Any, position: int) -> None:
        go_on(store, cursor, position)
        wire.script = [how]
        patch.undo()

    patch = pytest.MonkeyPatch()
    patch.setattr(PostgresStore, "go_on_after", go_on_and_cut)


def test_a_refused_import_leaves_no_keys(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings come with what they are for, or not at all."""
    source = places.services("sqlite")
    busy(source)
    path, keys = exported_with_keys(source, places)
    home, settings = places.home("sqlite")
    monkeypatch.setattr(transfer, "_put_keys", refuse)
    with pytest.raises(Unusable, match="no keys"):
        places.again(home, settings).transfer.import_(str(path), protected=keys, moved=True)

    assert not (home / "keys").exists()


def test_a_state_that_is_text_is_named(places: Places) -> None:
    """SQLite keeps a text in a column of bytes; an export says which event that is."""
    services = places.services("sqlite")
    services.sign_in.sign_up(context(), email="ann@example.com")
    with services.store.writing() as cursor:
        cursor.execute("UPDATE stored_events SET state = 'text'")
    with pytest.raises(Unusable, match=r"as the event person-\S+/1 is not bytes"):
        services.transfer.export(str(places.folder / "a"))

    assert not (places.folder / "a").exists()


def refuse(*_: object) -> None:
    """Refuse keys."""
    raise Unusable("no keys")


def test_a_nul_is_more_than_postgresql_can_hold(places: Places) -> None:
    """What SQLite would take and PostgreSQL does not is refused with its line."""
    row = event("person-a", "person.signed_up.v1", SIGNED | {"fingerprint": "\0"})
    services = places.services("postgres")
    with pytest.raises(Invalid, match="line 2 holds what this database cannot"):
        services.transfer.import_(str(crafted(places.folder / "a", row)), moved=True)

    assert 0 == services.store.last_position()


names = st.sampled_from(["person-a", "ticket-R00001", "grant-x", "challenge-a-b", "notification-x"])
datas = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
) | st.sampled_from([SIGNED, SUBMITTED, BY])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(names, st.sampled_from(sorted(EVENTS)), datas), max_size=4))
def test_whatever_comes_is_refused_or_imported(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, Any]]
) -> None:
    """No file, however well its digest fits, ends in anything but a named refusal."""
    folder = tmp_path_factory.mktemp("any")
    versions: dict[str, int] = {}
    made = []
    for number, (stream, name, data) in enumerate(rows):
        versions[stream] = versions.get(stream, 0) + 1
        made.append(event(stream, name, data, version=versions[stream], command=f"c{number // 2}"))
    with ExitStack() as stack:
        services = Places(folder, stack).services("sqlite")
        try:
            done = services.transfer.import_(str(crafted(folder / "a", *made)), moved=True).events
        except Invalid:
            done = 0

        assert done == sum(1 for _ in _rows(services))


def _rows(services: Services) -> list[Any]:
    return stored(services, "stored_events")["stored_events"]


@pytest.mark.parametrize("name", ["", "."])
def test_a_name_that_is_none_is_refused(places: Places, name: str) -> None:
    """Neither an export nor a backup goes into nothing, or into a folder."""
    services = places.services("sqlite")
    services.sign_in.sign_up(context(), email="ann@example.com")
    for write_to in (services.transfer.export, services.schema.backup):
        with pytest.raises(Unusable, match="is no name of a file"):
            write_to(name)
