"""What the processes do while the database under them is killed: people who ask, and workers.

People do what the words of an error tell them: when it is not now, they ask again, under the same
command id. Everything that they were told is written down.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters import postgres
from siutindei.adapters.store import SqlStore
from siutindei.app.ports import CommandRepeated, PortError, Unavailable
from siutindei.domain.errors import DomainError
from tests.crash.stage import ShiftedClock, append, context, installation

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services

#: How long somebody waits before the next request, and before the same one again.
PAUSE: Final = 0.01
#: What an error says, in one word, when a change may have been made.
NOBODY_KNOWS: Final = "nobody_can_tell"


@attrs.frozen(kw_only=True)
class Load:
    """What a process does.

    Attributes:
        home: where.
        database: the database's address.
        name: what its users and commands are called, and what the server calls its connection.
        patience: how long the product's own waits are, as a part of what they are.
        sign_in_every: after how many requests a sign-in is started, one for all: few are allowed.
        die_at: the entry of the journal at which a worker dies by itself.
        repeats: whether a request is repeated under the same command id.
        asks: whether it is found out what became of a commit whose answer was lost.
    """

    home: Path
    database: str
    name: str
    patience: float = 1
    sign_in_every: int = 12
    die_at: int | None = None
    repeats: bool = True
    asks: bool = True


class _Clock(ShiftedClock):
    """The machine's clock for somebody who is more or less patient."""

    def __init__(self, patience: float) -> None:
        super().__init__(0)
        self.patience = patience

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds * self.patience)


def _installed(load: Load) -> Services:
    store: Any = postgres.PostgresStore
    ask = store._ask

    def asking(self: Any, context: Context, newest: Any) -> None:
        append(load.home / "asked", f"{load.name} {context.command_id}")
        ask(self, context, newest)

    store._ask = asking
    if not load.asks:
        store.transaction = SqlStore.transaction
    services = installation(
        load.home,
        "maildir",
        clock=_Clock(load.patience),
        die_at=load.die_at,
        database=f"{load.database}&application_name={load.name.rpartition('-')[0]}",
    )
    _ = services.delivery
    return services


class _User:
    """Somebody who asks until they are answered."""

    def __init__(self, load: Load, wire: Connection) -> None:
        self.load, self.wire = load, wire
        self.services = _installed(load)

    def do(self, name: str, work: Callable[[Context], str]) -> str | None:
        """Do one thing, however often it takes, and write the answer down."""
        load, tries, is_known = self.load, 0, True
        while True:
            command = name if load.repeats or not tries else f"{name}-again-{tries}"
            try:
                answer = work(context(command))
            except Unavailable as error:
                tries += 1
                is_known = is_known and NOBODY_KNOWS not in _word(error)
                append(load.home / "outages", f"{load.name} {name} {_word(error)}")
                # Who says that nothing was changed has to be right.
                if is_known and self._was_done(command):
                    append(load.home / "lies", f"{load.name} {name}")
                    is_known = False
            except (DomainError, CommandRepeated) as error:
                append(load.home / "refused", f"{load.name} {name} {type(error).__name__}")
                return None
            else:
                append(load.home / "answers", f"{name} {answer}")
                return answer

    def _was_done(self, command: str) -> bool:
        """Find out whether a command was carried out, when the database is there again."""
        while True:
            time.sleep(PAUSE)
            try:
                with self.services.store.transaction(context(command)):
                    return False
            except CommandRepeated:
                return True
            except Unavailable:
                pass

    def live(self) -> None:
        """Submit tickets, decide them, sign in, until somebody says that it is enough."""
        count = 0
        while not self.wire.poll(PAUSE):
            count += 1
            name = f"{self.load.name}-{count}"
            if count % self.load.sign_in_every == 0:
                self.do(f"start-{name}", self._start(name))
                continue
            reference = self.do(f"submit-{name}", self._submit(name))
            if reference is not None and count % 2:
                decide = self._approve if count % 4 == 1 else self._decline
                self.do(f"decide-{name}", decide(reference))

    def _start(self, name: str) -> Callable[[Context], str]:
        sign_in = self.services.sign_in
        return lambda context: (
            sign_in.start(
                context, client="app", email=f"{name}@example.com", user=f"u-{name}"
            ).challenge
        )

    def _submit(self, name: str) -> Callable[[Context], str]:
        def submit(context: Context) -> str:
            taken = self.services.tickets.submit(
                context,
                ticket_type="access_request",
                user=f"u-{name}",
                email=f"{name}@example.com",
                body={"organization_name": f"Club {name}"},
                vouched=True,
            )
            return "" if taken.submitted is None else taken.submitted.reference

        return submit

    def _approve(self, reference: str) -> Callable[[Context], str]:
        return lambda context: _decided(
            reference,
            self.services.tickets.approve(
                context, reference, by="admin-7", create_organization=True
            ),
        )

    def _decline(self, reference: str) -> Callable[[Context], str]:
        return lambda context: _decided(
            reference, self.services.tickets.decline(context, reference, by="admin-7")
        )


def _word(error: Exception) -> str:
    """Write what an error says so that it is one word of a line."""
    return str(error).replace(" ", "_")


def _decided(reference: str, done: Any) -> str:
    return f"{reference}-{done.ticket.status}"


def use(load: Load, wire: Connection) -> None:
    """Be somebody who uses the application, until it is enough."""
    user = _User(load, wire)
    wire.send("ready")
    user.live()
    user.services.store.close()
    wire.send("done")


def work(load: Load, wire: Connection) -> None:
    """Be a worker, until it is enough."""
    services = _installed(load)
    wire.send("ready")
    while not wire.poll(0.005):
        try:
            services.delivery.drain(report=lambda _: None, stop=wire.poll)
        except PortError as error:
            append(load.home / "outages", f"{load.name} - {_word(error)}")
            time.sleep(PAUSE)
    services.store.close()
    wire.send("done")
