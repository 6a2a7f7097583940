"""The crash table: one process dies at each step of each use case, and the next one goes on.

    python -m tests.crash.table sqlite maildir

A launcher with a single thread prepares the home of a use case, and forks a process for each point:
it works on a copy and kills itself there. Then the launcher is the next process: it opens the copy,
does what is left, and looks. Each line that is printed is one point, in JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import attrs
import msgspec
import psycopg

from infrastructure.template import REGION
from siutindei.adapters import aws, ses
from siutindei.adapters.maildir import Maildir
from siutindei.adapters.smtp import SmtpMail
from siutindei.app.books import reconcile
from siutindei.app.commands import transact
from siutindei.app.delivery import Delivery
from siutindei.app.folding import notification_of, version_of
from siutindei.app.ports import (
    AccountHalted,
    Found,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    QueuedLetter,
)
from siutindei.bootstrap import Services, build
from siutindei.domain import notification
from siutindei.domain.mail import TEMPLATES
from siutindei.settings import Relay, read_settings
from tests import postgres
from tests.app.world import CLUB, LABEL, World
from tests.crash.cases import CASES, MAILING, Case, Dies, Done, Facts, Word, finish
from tests.crash.stage import append, lines
from tests.crash.steps import SIDES, Side, Steps, told, watched
from tests.support import RING, START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from siutindei.app.ports import Context, Nudge
    from siutindei.domain.mail import Mail

Database = Literal["sqlite", "postgresql"]
Port = Literal["maildir", "smtp", "ses"]
#: What the one who asked does when no answer came: asks again at once, or never.
Asker = Literal["again", "gone", "nobody"]

_DEAD: Final = -signal.SIGKILL
_TAKEN: Final = {"accepted", "delayed", "delivered", "bounced", "complained"}


# --- what is on the stage -------------------------------------------------------------------------


class NamedIds:
    """Names that are the same at every run, and others in every process."""

    def __init__(self, process: int) -> None:
        self.process = process
        self.count = 0

    def uuid(self) -> str:
        """Give the next UUID."""
        self.count += 1
        return f"{self.process:08x}-0000-4000-8000-{self.count:012x}"

    def token(self) -> str:
        """Give the next token."""
        self.count += 1
        return f"token-{self.process:04d}-{self.count:06d}"


@attrs.define
class ScriptedMail:
    """A mail port that does with each call what a file says, and writes each call down.

    Attributes:
        home: where both files are.
        port: what takes the mails.
        is_scripted: whether the script is read here; a mail server reads it itself.
        dies: whether the process ends before or after the call, without a word.
    """

    home: Path
    port: Any
    is_scripted: bool
    dies: Side | None = None
    has_feedback: bool = False

    @property
    def time_out(self) -> timedelta:
        """Say how long a call takes at the most."""
        return timedelta(seconds=5)

    def send(self, mail: Mail) -> str:
        """Take a mail, or not."""
        is_there = mail.notification_id in mails(self.home)
        if self.dies == "before":
            raise Dies
        append(self.home / "calls", f"{mail.notification_id} {'there' if is_there else 'missing'}")
        word = next_word(self.home) if self.is_scripted else "take"
        message_id: str = self.port.send(mail) if word in {"take", "lost"} else ""
        if self.dies == "after":
            raise Dies
        match word:
            case "take":
                return message_id
            case "fail":
                raise MailNotSent("not now")
            case "refuse":
                raise MailRefused("never")
            case "halt":
                raise AccountHalted("the account is halted")
            case _:
                raise MailOutcomeUnknown("no answer came")

    def lookup(self, notification_id: str) -> Found:
        """Say whether it was taken, if that is known."""
        found: Found = self.port.lookup(notification_id)
        return found

    def forget(self, notification_id: str) -> None:
        """Destroy what is kept."""
        self.port.forget(notification_id)


def next_word(home: Path) -> Word:
    """Take the next word of the script."""
    path = home / "script"
    words: list[Any] = path.read_text().split() if path.exists() else []
    path.write_text(" ".join(words[1:]))
    return words[0] if words else "take"


def mails(home: Path) -> list[str]:
    """Name the notifications whose mails are there, each as often as it is."""
    box = home / "mail" / "new"
    found = [path.name.removeprefix("maildir-") for path in box.iterdir()] if box.exists() else []
    return sorted([*found, *(id for (id,) in lines(home / "taken"))])


@attrs.frozen
class FileQueue:
    """Nudges that are written down, and a dead-letter queue that holds only what was put there."""

    home: Path
    can_send: bool = True

    def send(self, nudges: Sequence[Nudge]) -> None:
        """Write nudges down."""
        for nudge in nudges:
            append(self.home / "nudges", nudge.id)

    def put(self, body: str, *, reason: str) -> None:
        """Put a message aside."""
        append(self.home / "aside", reason)

    def letters(self, *, limit: int) -> Sequence[QueuedLetter]:
        """Give nothing: nobody looks after it here."""
        return ()

    def redrive(self, letter: QueuedLetter) -> None:
        """Send nothing."""

    def remove(self, letter: QueuedLetter) -> None:
        """Remove nothing."""

    def release(self, letters: Sequence[QueuedLetter]) -> None:
        """Let it lie."""


@attrs.frozen
class Installation:
    """Where things are.

    Attributes:
        home: the home.
        database: the address of the database; None for the file in the home.
        relay: the mail server, or the address of SES; None for a mailbox in the home.
    """

    home: Path
    database: str | None
    relay: Relay | str | None

    def open(self, process: int, at: datetime) -> World:
        """Open it, as a process of its own would."""
        environment = {} if self.database is None else {"SIUTINDEI_DATABASE": self.database}
        clock = VirtualClock(at)
        port = ScriptedMail(self.home, self._port(clock), is_scripted=self.relay is None)
        queue = FileQueue(self.home)
        keys = dict.fromkeys(("vault_keys", "code_keys", "index_key"), RING)
        services = build(
            read_settings(environment, home=self.home),
            clock=clock,
            ids=NamedIds(process),
            mail=port,
            nudges=queue,
            dead_letter_queue=queue,
            **keys,
        )
        return _world(services, self.home, clock, port)

    def _port(self, clock: VirtualClock) -> Any:
        if self.relay is None:
            return Maildir(self.home / "mail", now=clock.now)
        if isinstance(self.relay, Relay):
            return SmtpMail(self.relay, now=clock.now)
        # As the product makes it; botocore finds the emulator in the environment.
        made = aws.client("sesv2", region=REGION, read_timeout=ses.READ_TIMEOUT)
        return ses.SesMail(client=made)

    def stored(self, *, after: int = 0) -> list[tuple[int, str]]:
        """Give the stored names of the events behind a position, with nothing of ours."""
        if self.database is None:
            path = self.home / "siutindei.db"
            connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
            try:
                return list(
                    connection.execute(
                        "SELECT rowid, topic FROM stored_events WHERE rowid > ? ORDER BY rowid",
                        (after,),
                    )
                )
            finally:
                connection.close()
        with psycopg.connect(self.database) as server:
            rows = server.execute(
                "SELECT notification_id, topic FROM stored_events WHERE notification_id > %s"
                " ORDER BY notification_id",
                (after,),
            )
            return [(int(position), str(topic)) for position, topic in rows.fetchall()]


def _world(services: Services, home: Path, clock: VirtualClock, mail: Any) -> World:
    store: Any = services.store
    return World(services=services, mail=mail, clock=clock, store=store, home=home)


# --- one point ------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Point:
    """A place at which the process dies, and what came of it; a whole run has no step.

    Attributes:
        case: the use case.
        step: the number of the step; 0 when nobody is killed.
        side: before or after it.
        asker: what the one who asked does.
        there: what was there after the kill and not before.
        followed: what was recorded from then on.
        calls: how often the mail port was called from `act` on.
        mails: how many mails were taken from `act` on.
        twice: how many mails were taken more than once.
        ends: what became of every mail and grant in the end.
        wrong: what must not be.
        steps: the names of the steps, for a whole run.
    """

    case: str
    step: int = 0
    side: Side = "after"
    asker: Asker = "nobody"
    there: str = ""
    followed: str = ""
    calls: int = 0
    mails: int = 0
    twice: int = 0
    ends: str = ""
    wrong: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()


@attrs.define
class Run:
    """The runs of one use case over one database and one port.

    Attributes:
        case: the use case.
        before: the installation as it is before it.
        copied: gives a copy of that.
        facts: the ids in it.
        at: when it begins.
        last: the position of the newest event by then.
        reference: how it ends when nobody is killed.
    """

    case: Case
    before: Installation
    copied: Callable[[Installation], Any]
    facts: Facts
    at: datetime
    last: int
    reference: _End | None = None

    def whole(self) -> Point:
        """Let nobody be killed."""
        with self.copied(self.before) as place:
            steps = self._act(place, None)
            point, self.reference = self._go_on(place, Point(case=self.case.name), START)
            return attrs.evolve(point, steps=steps)

    def killed(self, step: int, side: Side, asker: Asker) -> Point:
        """Kill it at one point."""
        with self.copied(self.before) as place:
            self._act(place, (step, side))
            died = datetime.fromisoformat((place.home / "died").read_text())
            point = Point(case=self.case.name, step=step, side=side, asker=asker)
            return self._go_on(place, point, died)[0]

    def _act(self, place: Installation, kill: tuple[int, Side] | None) -> tuple[str, ...]:
        """Let a process do it, and die; give the steps of one that lived."""
        told_by = place.home / "steps"
        child = os.fork()
        if not child:
            try:
                world = place.open(2, self.at)
                steps = Steps(world.clock, place.home / "died", kill)
                world = attrs.evolve(world, services=watched(world.services, steps))
                steps.is_on = True
                self.case.act(world, self.facts)
                told_by.write_bytes(msgspec.json.encode(steps.names))
                (place.home / "died").write_text(world.clock.now().isoformat())
                world.store.close()
                os._exit(0)
            finally:
                if sys.exc_info()[0]:
                    sys.excepthook(*sys.exc_info())
                os._exit(1)
        _, status = os.waitpid(child, 0)
        expected = 0 if kill is None else _DEAD
        if os.waitstatus_to_exitcode(status) != expected:
            msg = f"{self.case.name}: {kill} ended with {os.waitstatus_to_exitcode(status)}"
            raise AssertionError(msg)
        return tuple(msgspec.json.decode(told_by.read_bytes())) if kill is None else ()

    def _go_on(self, place: Installation, point: Point, at: datetime) -> tuple[Point, _End]:
        """Be the next process, and see what came of it."""
        last = self.last
        there = place.stored(after=last)
        found = _There.of(place).beside(_There.of(self.before), told([name for _, name in there]))
        at = datetime.fromisoformat((place.home / "died").read_text())
        world = place.open(3, at)
        wrong: list[str] = []
        answers: list[Done] = []
        if point.asker == "again":
            answers.append(self.case.act(world, self.facts))
        finish(world)
        # Whoever asks a third time is told the same, and nothing is done for it.
        done = (world.store.last_position(), mails(place.home), world.catalogue())
        if point.asker == "again":
            answers.append(self.case.act(world, self.facts))
            if done != (world.store.last_position(), mails(place.home), world.catalogue()):
                wrong.append("it was done again for who asked again")
            if self.case.asked_by == "client" and answers[0] != answers[1]:
                wrong.append(f"who asked again was told {answers[1]} and not {answers[0]}")
        end = _End.of(self, place, world, last, answers[:1])
        if self.reference is not None:
            wrong += end.compared(self.reference, point.asker)
        wrong += end.wrong
        since = len(there)
        point = attrs.evolve(
            point,
            there=found,
            followed=told([name for _, name in place.stored(after=last)][since:]),
            calls=len(lines(place.home / "calls")) - len(lines(self.before.home / "calls")),
            mails=len(mails(place.home)) - len(mails(self.before.home)),
            twice=sum(count > 1 for count in Counter(mails(place.home)).values()),
            ends=end.told,
            wrong=tuple(wrong),
        )
        world.store.close()
        return point, end


@attrs.frozen
class _There:
    """What is outside the database."""

    mails: int
    changes: int
    nudges: int
    erasures: int
    aside: int

    @classmethod
    def of(cls, place: Installation) -> _There:
        """Look."""
        path = place.home / "directory.json"
        grants = json.loads(path.read_text()).get("grants", [])
        return cls(
            len(mails(place.home)),
            len(grants),
            len(lines(place.home / "nudges")),
            len(lines(place.home / "erasures.jsonl")),
            len(lines(place.home / "aside")),
        )

    def beside(self, before: _There, events: str) -> str:
        """Tell what came to what was there before."""
        words = {
            "mails": "mail",
            "changes": "change of the platform",
            "nudges": "nudge",
            "erasures": "listed erasure",
            "aside": "message set aside",
        }
        parts = [events] if events else []
        for name, word in words.items():
            more = getattr(self, name) - getattr(before, name)
            if more:
                parts.append(f"{more:+d} {word}{'' if abs(more) == 1 else 's'}")
        return "; ".join(parts) or "nothing"


@attrs.frozen
class _End:
    """How it ends.

    Attributes:
        told: what became of every mail and grant.
        causes: how often everything happened that is no mail, no grant and no lane.
        platform: what the platform has.
        answer: what the one who asked was told, as it is in every run.
        wrong: what must not be, whatever happened.
    """

    told: str
    causes: Counter[str]
    platform: object
    answer: tuple[object, ...]
    wrong: tuple[str, ...]

    @classmethod
    def of(
        cls, run: Run, place: Installation, world: World, last: int, answers: list[Done]
    ) -> _End:
        """Look at everything."""
        wrong = [
            finding.what for finding in reconcile(world.services.store, at=world.clock.at).findings
        ]
        views = world.services.store.views
        boxed = Counter(mails(place.home))
        called: dict[str, list[str]] = {}
        for id, was in lines(place.home / "calls"):
            called.setdefault(id, []).append(was)
        words: list[str] = []
        forgotten = {
            path.name.removeprefix("maildir-")
            for path in (place.home / "mail" / ".forgotten").glob("*")
        }
        for item in views.notifications():
            assert item.requested is not None
            id, kind = item.requested.id, item.requested.kind
            words.append(f"{kind.replace('_', ' ')} {item.status.replace('_', ' ')}")
            wrong += _check_mail(
                world,
                item,
                boxed.pop(id, 0),
                called.get(id, []),
                is_forgotten=id in forgotten,
                can_tell=place.relay is None,
            )
        wrong += [f"the mail {id} has no cause" for id in boxed]
        for given in views.grants():
            assert given.requested is not None
            words.append(f"{given.requested.kind} {given.status.replace('_', ' ')}")
            if given.due_at is not None or (given.status != "done" and given.why is None):
                wrong.append(f"the grant {given.requested.id} is {given.status}, without a reason")
        wrong += _check_erased(place, world)
        events = [name for _, name in place.stored(after=last)]
        catalogue = world.catalogue()
        return cls(
            told=", ".join(
                f"{word}{'' if count == 1 else f' ×{count}'}"
                for word, count in sorted(Counter(words).items())
            ),
            causes=Counter(
                name for name in events if not name.startswith(("notification.", "grant.", "lane."))
            ),
            platform=(
                sorted(
                    (one["name"], sorted(one.get("managers", [])))
                    for one in catalogue["organizations"].values()
                ),
                sorted(catalogue.get("managers", [])),
                catalogue.get("stars", {}),
                len(catalogue.get("feedback", {})),
                sorted(
                    text.partition("-")[2].rpartition("-")[2]
                    for text in catalogue.get("grants", [])
                ),
            ),
            answer=tuple(shown for shown, _ in answers),
            wrong=tuple(wrong),
        )

    def compared(self, reference: _End, asker: Asker) -> list[str]:
        """Say what is otherwise than without a kill, and must not be."""
        wrong: list[str] = []
        if asker == "gone" and not self.causes:
            # Nothing was begun, and nobody asked again.
            return wrong
        if self.causes != reference.causes:
            wrong.append(f"what happened is {dict(self.causes)}, not {dict(reference.causes)}")
        if self.platform != reference.platform:
            wrong.append(f"the platform has {self.platform}, not {reference.platform}")
        return wrong


def _check_mail(
    world: World,
    item: notification.Notification,
    boxed: int,
    called: list[str],
    *,
    is_forgotten: bool,
    can_tell: bool,
) -> list[str]:
    """Say what is wrong with a mail: lost, repeated, or left without a word."""
    assert item.requested is not None
    id, kind = item.requested.id, item.requested.kind
    events = [entry.event for entry in world.store.load(notification.stream(id))]
    begun = sum(isinstance(event, notification.AttemptStarted) for event in events)
    settled = sum(
        isinstance(event, notification.OutcomeUnknown) and event.settle_at is not None
        for event in events
    )
    is_left = item.status == "unknown" and not notification.RESENT_AFTER_UNKNOWN[kind]
    wrong = []
    if item.due_at is not None:
        wrong.append(f"the mail {id} waits although nothing is due")
    elif item.status in _TAKEN:
        if not boxed and not is_forgotten:
            wrong.append(f"the mail {id} is {item.status}, and is not there")
    elif not (item.why or item.discarded or is_left):
        wrong.append(f"the mail {id} is {item.status}, without a reason")
    if len(called) > begun:
        wrong.append(f"the mail {id} was handed over {len(called)} times, and announced {begun}")
    again = called.count("there")
    allowed = 0 if can_tell or not notification.RESENT_AFTER_UNKNOWN[kind] else settled
    if again > allowed:
        wrong.append(f"the mail {id} was there, and was handed over again")
    if boxed > 1 + allowed:
        wrong.append(f"the mail {id} is there {boxed} times")
    return wrong


def _check_erased(place: Installation, world: World) -> list[str]:
    """Say what is left of whom the list of erasures names."""
    wrong = []
    store = world.services.store
    for erasure in world.services.erasures.all():
        if erasure.user not in store.erased_owners() or store.not_erased([erasure.user]):
            wrong.append(f"{erasure.user} is on the list, and is not erased")
        left = [
            item.requested.id
            for item in store.views.notifications()
            if item.requested is not None and item.requested.id in mails(place.home)
        ]
        if left:
            wrong.append(f"{erasure.user} is erased, and {len(left)} mails lie in the mailbox")
    if store.owed:
        wrong.append("the files are not clean")
    return wrong


# --- the table ------------------------------------------------------------------------------------


@contextmanager
def _copy(place: Installation) -> Iterator[Installation]:
    """Copy an installation for a while."""
    home = Path(tempfile.mkdtemp(prefix="point-", dir=place.home.parent))
    shutil.copytree(place.home, home, dirs_exist_ok=True)
    if place.relay is not None:
        (place.home.parent / "stage").write_text(str(home))
    try:
        if place.database is not None:
            _put_back(place.database)
        yield attrs.evolve(place, home=home)
    finally:
        shutil.rmtree(home)


def _keep(database: str) -> None:
    """Keep what is in a database beside it: to copy a whole one takes the server half a second."""
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("CREATE SCHEMA kept")
        for table in _tables(server):
            server.execute(f"CREATE TABLE kept.{table} AS TABLE public.{table}".encode())


def _put_back(database: str) -> None:
    """Put everything back as it was kept."""
    with psycopg.connect(database, autocommit=True) as server:
        tables = _tables(server)
        statements = [
            # The names are the catalogue's own.
            *(f"DELETE FROM public.{name}" for name in tables),  # noqa: S608
            *(
                f"INSERT INTO public.{name} OVERRIDING SYSTEM VALUE TABLE kept.{name}"
                for name in tables
            ),
            "SELECT setval(pg_get_serial_sequence('public.stored_events', 'notification_id'),"
            " coalesce(max(notification_id), 1), max(notification_id) IS NOT NULL)"
            " FROM public.stored_events",
        ]
        server.execute(f"BEGIN; {'; '.join(statements)}; COMMIT".encode())


def _tables(server: psycopg.Connection[Any]) -> list[str]:
    rows = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return sorted(name for (name,) in rows.fetchall())


def _prepared(case: Case, home: Path, database: str | None, relay: Relay | str | None) -> Run:
    home.mkdir()
    (home / "directory.json").write_text(
        json.dumps(
            {
                "organizations": {CLUB: {"name": "Kowloon Swimming", "managers": []}},
                "labels": [{"id": LABEL, "name": "Friendly"}],
            }
        )
    )
    place = Installation(home, database, relay)
    if relay is not None:
        (home.parent / "stage").write_text(str(home))
    world = place.open(1, START)
    facts = case.given(world)
    world.store.close()
    if database is not None:
        _keep(database)
    if case.script:
        (home / "script").write_text(" ".join(case.script))
    known = place.stored()
    return Run(case, place, _copy, facts, world.clock.at, known[-1][0] if known else 0)


def points(
    cases: Sequence[Case], database: Database, port: Port, *, commits_only: bool = False
) -> Iterator[Point]:
    """Kill a process at every point of some use cases."""
    with tempfile.TemporaryDirectory(prefix="siutindei-crash-") as folder:
        servers: dict[Port, Any] = {"smtp": serving, "ses": emulating}
        served = servers[port](Path(folder)) if port in servers else nullcontext(None)
        with served as relay:
            for number, case in enumerate(cases):
                made: Any = nullcontext(None)
                if database == "postgresql":
                    made = postgres.fresh_database()
                with made as address:
                    run = _prepared(case, Path(folder, f"case-{number}"), address, relay)
                    whole = run.whole()
                    yield whole
                    askers: tuple[Asker, ...] = (
                        ("nobody",) if case.asked_by == "nobody" else ("again", "gone")
                    )
                    if commits_only:
                        askers = askers[:1]
                    for step, name in enumerate(whole.steps, start=1):
                        if commits_only and not name.startswith("commit"):
                            continue
                        for side in SIDES:
                            for asker in askers:
                                yield run.killed(step, side, asker)


# --- a mail server --------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path) -> Iterator[Relay]:
    """Run a mail server in a process of its own; `stage` in the folder says whose script it has."""
    ready = folder / "port"
    child = os.fork()
    if not child:
        with suppress(BaseException):
            _serve(folder, ready)
        os._exit(1)
    try:
        until = time.monotonic() + 30
        while not ready.exists():
            if time.monotonic() > until:
                msg = "the mail server does not begin"
                raise AssertionError(msg)
            time.sleep(0.01)
        yield Relay(host="127.0.0.1", port=int(ready.read_text()))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@contextmanager
def emulating(folder: Path) -> Iterator[str]:
    """Run the emulator's SES in a process of its own."""
    import socket
    import urllib.request

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    os.environ |= {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    nowhere = {"SFTP_ENABLED": "0", "IOT_MTLS_ENABLED": "0"}
    served = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOME": str(folder)}
    with (folder / "emulator.log").open("wb") as log:
        emulator = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.emulated_ses", str(folder)],
            env={**os.environ, **served, **nowhere, "MINISTACK_REGION": REGION},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/_ministack/health", timeout=5).close()  # noqa: S310
                break
            except OSError:
                if emulator.poll() is not None or time.monotonic() > until:
                    raise AssertionError((folder / "emulator.log").read_text()) from None
                time.sleep(0.05)
        yield address
    finally:
        emulator.terminate()
        emulator.wait(30)


def _serve(folder: Path, ready: Path) -> None:
    import socket

    from aiosmtpd.controller import Controller

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    controller = Controller(_Server(folder), hostname="127.0.0.1", port=port)
    controller.start()
    draft = ready.with_suffix(".draft")
    draft.write_text(str(port))
    draft.replace(ready)
    while True:
        time.sleep(60)


class _Server:
    """A mail server that does with each mail what the script says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.word: Word = "take"

    def _home(self) -> Path:
        return Path((self.folder / "stage").read_text())

    async def handle_MAIL(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Begin a mail."""
        self.word = next_word(self._home())
        if self.word == "halt":
            return "550 not from you"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take a recipient."""
        if self.word == "refuse":
            return "550 nobody is called so"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        from email import message_from_bytes

        from siutindei.adapters.mime import NOTIFICATION_HEADER

        if self.word == "fail":
            return "451 not now"
        if self.word in {"take", "lost"}:
            id = message_from_bytes(envelope.content)[NOTIFICATION_HEADER]
            append(self._home() / "taken", str(id))
        if self.word in {"lost", "vanish"}:
            server.transport.abort()
        return "250 OK"


# --- the program ----------------------------------------------------------------------------------


def _break() -> None:
    """Let a worker announce its calls after it made them, and not before."""
    begin: Any = Delivery._begin

    def begin_late(self: Any, tx: Any, id: str, *, may_send: bool = True) -> Any:
        return begin(self, _Unwritten(tx), id, may_send=may_send)

    def send_early(self: Any, context: Context, call: Any, mail: Mail) -> Any:
        message_id = self.mail.send(mail)

        def announce(tx: Any) -> None:
            events = tx.load(call.newest.stream)
            state = notification_of(events)
            assert state.requested is not None
            template = TEMPLATES[state.requested.kind]
            at = self.clock.now()
            started = notification.start_attempt(
                state,
                deadline=call.deadline,
                template_version=template.version,
                template_hash=template.hash,
                at=at,
            )
            (entry,) = tx.append(call.newest.stream, version_of(events), started)
            accepted = notification.accept(
                notification_of([*events, entry]),
                attempt=1,
                message_id=message_id,
                how="call",
                at=at,
            )
            tx.append(call.newest.stream, version_of(events) + 1, accepted)

        transact(self.store, self._step(context), announce)
        return call.outcome

    product: Any = Delivery
    product._begin, product._send = begin_late, send_early


class _Unwritten:
    """A transaction that appends nothing."""

    def __init__(self, tx: Any) -> None:
        self._tx = tx

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def append(self, stream: str, *_: object, **__: object) -> Any:
        """Give the newest event instead."""
        return tuple(self._tx.load(stream, newest=1))


def main(database: Database, port: Port, *options: str) -> None:
    """Print the points.

    Args:
        database: which.
        port: where mails go.
        options: `--commits` (only these), `--broken` (a product that is broken), or a part of the
            names of use cases.
    """
    only = [option for option in options if not option.startswith("--")]
    if "--broken" in options:
        _break()
    cases = [
        case
        for case in (CASES if port == "maildir" else MAILING)
        if all(part in case.name for part in only)
    ]
    for found in points(cases, database, port, commits_only="--commits" in options):
        print(msgspec.json.encode(found).decode(), flush=True)


if __name__ == "__main__":
    _, chosen, *rest = sys.argv
    assert chosen in get_args(Database)
    main(chosen, *rest)  # type: ignore[arg-type]
