"""Replaying sends nothing: whatever happened, however often it is replayed."""

from __future__ import annotations

import smtplib
import socket
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.client import BaseClient
from botocore.httpsession import URLLib3Session
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from siutindei.adapters.baselines import BaselineFiles
from siutindei.adapters.cognito import CognitoPool
from siutindei.adapters.directory import JsonDirectory
from siutindei.adapters.maildir import Maildir
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.projections import NAMES
from siutindei.adapters.s3_directory import S3Directory
from siutindei.adapters.ses import SesMail
from siutindei.adapters.smtp import SmtpMail
from siutindei.adapters.sns_sqs import NoNudges, SnsSqs
from siutindei.app.checking import Checking
from siutindei.bootstrap import Services
from tests.app.test_machine import Machine
from tests.app.world import ANN, World
from tests.support import context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Whatever leaves the process, or hands a mail or a change to what is outside.
OUTWARD: Final[tuple[tuple[Any, str], ...]] = (
    *((socket.socket, name) for name in ("connect", "connect_ex", "sendto", "sendmsg")),
    *((socket, name) for name in ("create_connection", "getaddrinfo")),
    *((smtplib.SMTP, name) for name in ("connect", "sendmail", "send_message")),
    (subprocess.Popen, "__init__"),
    (BaseClient, "_make_api_call"),
    (URLLib3Session, "send"),
    *(
        (port, name)
        for port in (MemoryMail, Maildir, SmtpMail, SesMail)
        for name in ("send", "lookup", "forget")
    ),
    *((queues, "send") for queues in (SnsSqs, NoNudges)),
    *((place, name) for place in (JsonDirectory, S3Directory) for name in ("read", "update")),
    (CognitoPool, "join_managers"),
)
#: The parts of the application that have something to send with.
PARTS: Final = (
    *("mail", "delivery", "nudges", "dead_letter_queue", "ses_settings", "ses_suppressions"),
    *("directory", "identity", "user_pool", "processing", "sweep", "sign_in", "tickets"),
)


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count every way out of the process, and every part that has one, while something goes on."""
    calls: Counter[str] = Counter()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **named)

        return call

    def asked(part: str) -> Any:
        real = Services.__dict__[part]

        def get(services: Services) -> Any:
            calls[f"services.{part}"] += 1
            if part not in services.__dict__:
                services.__dict__[part] = real.func(services)
            return services.__dict__[part]

        return property(get)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in OUTWARD:
            patch.setattr(owner, name, counting(f"{owner.__name__}.{name}", getattr(owner, name)))
        for part in PARTS:
            patch.setattr(Services, part, asked(part))
        yield calls


def look_at_everything(world: World, *, times: int, until: int | None, projection: str) -> None:
    """Read the history in every way that there is."""
    history = world.services.history
    for _ in range(times):
        whole = history.replay()
        assert world.store.digest(NAMES) == whole.digest
        history.replay(until=until, projection=projection)
    for stream in {entry.stream for entry in history.tail(until=until)}:
        history.stream(stream)
    checking = Checking(
        store=world.store, clock=world.clock, baselines=BaselineFiles(), program="0.1.0"
    )
    assert checking.check().is_well


class Replaying(Machine):
    """What users, administrators, workers and operators may do, and replays at any time."""

    exports = 0

    def exported(self) -> str:
        """Export the history, and give the digest of all of it."""
        self.exports += 1
        file = self.home / f"{self.exports}.jsonl"
        return self.world.services.transfer.export(str(file)).digest

    @rule(
        times=st.integers(1, 3),
        until=st.none() | st.integers(0, 60),
        projection=st.sampled_from(NAMES),
    )
    def replay(self, times: int, until: int | None, projection: str) -> None:
        """Replay: nothing is sent or asked for, and nothing is another than before."""
        before = (self.exported(), self.world.bytes(), len(self.mail.sent))
        with counted() as calls:
            look_at_everything(self.world, times=times, until=until, projection=projection)

        assert Counter() == calls
        assert before == (self.exported(), self.world.bytes(), len(self.mail.sent))

    def close_the_books(self) -> None:
        """Replay what came of all of it."""
        super().close_the_books()
        self.replay(2, None, NAMES[0])


@pytest.mark.slow
def test_a_replay_of_any_history_sends_nothing() -> None:
    """In the midst of anything, and at its end, a replay calls nothing that leads outside."""
    run_state_machine_as_test(
        Replaying,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_counts_the_calls_counts_them(world: World) -> None:
    """Where a mail is sent and a grant carried out, there is something to count."""
    with counted() as calls:
        user = world.signed_in()
        world.submit(user=user)
        world.approve("R00001", create_organization=True)
        world.drain()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", 1), timeout=1)

    counts = ("MemoryMail.send", "JsonDirectory.update", "NoNudges.send", "services.mail")
    for name in (*counts, "socket.create_connection", "socket.connect"):
        assert calls[name], name


def test_a_maildir_is_not_looked_at_by_a_replay(tmp_path: Path) -> None:
    """With the parts of production a replay makes no mail port, and leaves every mail alone."""
    services = make_services(tmp_path, on_disk=True)
    del services.__dict__["mail"]
    with counted() as calls:
        services.sign_in.start(context(), client="console", email=ANN, user="user-1")
        services.tickets.submit(
            context(),
            ticket_type="access_request",
            user="user-1",
            email=ANN,
            body={"organization_name": "Star Dance"},
        )
        drain(services)
    mails = {path: path.stat().st_mtime_ns for path in (tmp_path / "mail").rglob("*")}

    assert calls["Maildir.send"]
    assert mails
    again = make_services(tmp_path, store=services.store)
    del again.__dict__["mail"]
    with counted() as calls:
        assert 1 == len({again.history.replay().digest for _ in range(3)})
    assert Counter() == calls
    assert "mail" not in again.__dict__
    assert mails == {path: path.stat().st_mtime_ns for path in (tmp_path / "mail").rglob("*")}
    services.store.close()
