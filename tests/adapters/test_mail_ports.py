"""Where mails go: one contract for every port, and the Maildir and the list in full."""

from __future__ import annotations

import email
import errno
import inspect
import mailbox
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.policy import compat32, default
from email.utils import parseaddr, parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.adapters import maildir as maildir_module
from siutindei.adapters import mime
from siutindei.adapters.locks import locked
from siutindei.adapters.maildir import LEFTOVER_AFTER, Maildir
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app import ports
from siutindei.app.ports import Found, MailPort
from siutindei.domain import mail, ticket
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Callable

    Journal = Callable[[str, str], None]

AT: Final = datetime(2025, 11, 24, 16, 5, 9, tzinfo=UTC)
SENDERS: Final = mail.Senders()
ANN: Final = "ann@example.com"
ONE: Final = "1" * 32
TWO: Final = "2" * 32


def letter(notification_id: str = ONE, *, locale: str | None = None) -> mail.Mail:
    """Write a mail with a code."""
    return mail.sign_in_code(
        SENDERS,
        notification_id=notification_id,
        recipient=ANN,
        locale=locale,
        code="012345",
        lifetime=timedelta(minutes=5),
    )


def notice(text: str, *, senders: mail.Senders = SENDERS) -> mail.Mail:
    """Write a notice about a ticket in which a user typed something."""
    submitted = ticket.Submitted(
        id="00000000-0000-4000-8000-000000000001",
        reference="S00001",
        ticket_type="organization_suggestion",
        submitter="user-1",
        submitter_email=of("user-1", ANN),
        fingerprint="f" * 32,
        assurance="code",
        organization_name=of("user-1", text),
        message=of("user-1", text),
        suggested_address=of("user-1", text),
        at=AT,
    )
    about = ticket.Ticket(status="pending", submitted=submitted)
    return mail.ticket_received(senders, notification_id=ONE, ticket=about)


# --- the contract --------------------------------------------------------------------------------


class AnyMailPortContract:
    """What every mail port does."""

    def port(self, home: Path) -> MailPort:
        """Make the port under test."""
        raise NotImplementedError

    def taken(self, port: MailPort) -> list[str]:
        """Name the notifications whose mails are there now, one entry for each mail."""
        raise NotImplementedError

    def test_takes_a_mail(self, tmp_path: Path) -> None:
        """A mail that is sent is there, once, and has an id."""
        port = self.port(tmp_path)

        message_id = port.send(letter())

        assert self.taken(port) == [ONE]
        assert message_id

    def test_keeps_mails_apart(self, tmp_path: Path) -> None:
        """Two notifications are two mails with two ids."""
        port = self.port(tmp_path)

        assert port.send(letter()) != port.send(letter(TWO))
        assert sorted(self.taken(port)) == [ONE, TWO]

    @pytest.mark.parametrize("name", ["send", "lookup", "forget"])
    def test_signatures(self, tmp_path: Path, name: str) -> None:
        """Every method takes and gives what the port says."""
        expected = inspect.signature(getattr(MailPort, name))
        actual = inspect.signature(getattr(type(self.port(tmp_path)), name))

        assert list(actual.parameters) == list(expected.parameters)
        assert str(actual.return_annotation).removeprefix("ports.") == expected.return_annotation

    def test_repr(self, tmp_path: Path) -> None:
        """The repr of a port shows no address and no path."""
        port = self.port(tmp_path)
        port.send(letter())

        assert ANN not in repr(port)
        assert str(tmp_path) not in repr(port)


class HandingOverContract(AnyMailPortContract):
    """What every mail port does that hands mails to somebody else, and keeps nothing."""

    def test_cannot_tell(self, tmp_path: Path) -> None:
        """Nobody can tell afterwards what was handed over, and there is nothing to forget."""
        port = self.port(tmp_path)
        port.send(letter())

        port.forget(ONE)

        assert port.lookup(ONE) == Found(answer="cannot_tell")
        assert port.lookup(TWO) == Found(answer="cannot_tell")
        assert self.taken(port) == [ONE]

    def test_each_call_is_a_mail(self, tmp_path: Path) -> None:
        """The same notification sent twice is two mails: whoever calls knows what it does."""
        port = self.port(tmp_path)

        port.send(letter())
        port.send(letter())

        assert self.taken(port) == [ONE, ONE]


class MailPortContract(AnyMailPortContract):
    """What every mail port that can tell what it took does."""

    def port(self, home: Path, *, journal: Journal | None = None) -> MailPort:
        """Make the port under test."""
        raise NotImplementedError

    def test_looks_up(self, tmp_path: Path) -> None:
        """What was handed over is known by its notification, with the id that it got."""
        port = self.port(tmp_path)
        assert port.lookup(ONE) == Found(answer="not_accepted")

        message_id = port.send(letter())

        assert port.lookup(ONE) == Found(answer="accepted", message_id=message_id)
        assert port.lookup(TWO) == Found(answer="not_accepted")
        assert port.lookup(f"../new/{ONE}") == Found(answer="not_accepted")

    def test_takes_a_notification_once(self, tmp_path: Path) -> None:
        """The same notification is the same mail, however often it is sent."""
        port = self.port(tmp_path)

        ids = {port.send(letter()) for _ in range(3)}

        assert len(ids) == 1
        assert self.taken(port) == [ONE]

    def test_takes_a_notification_once_at_the_same_time(self, tmp_path: Path) -> None:
        """Many at once are still one mail."""
        port = self.port(tmp_path)

        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(port.send, [letter(), letter(TWO)] * 8))

        assert len(ids) == 2
        assert sorted(self.taken(port)) == [ONE, TWO]

    def test_forgets(self, tmp_path: Path) -> None:
        """A forgotten mail is gone, and the others stay."""
        port = self.port(tmp_path)
        port.send(letter())
        port.send(letter(TWO))

        port.forget(ONE)

        assert self.taken(port) == [TWO]
        assert port.lookup(ONE) == Found(answer="not_accepted")

    def test_forgets_what_it_never_took(self, tmp_path: Path) -> None:
        """Nothing happens when there is nothing to forget."""
        port = self.port(tmp_path)

        port.forget(ONE)
        port.send(letter(TWO))
        port.forget(ONE)
        port.forget("../" + TWO)

        assert self.taken(port) == [TWO]

    def test_journal(self, tmp_path: Path) -> None:
        """The journal is told before a delivery, and after one that succeeded."""
        lines: list[tuple[str, str]] = []
        port = self.port(tmp_path, journal=lambda when, id: lines.append((when, id)))

        port.send(letter())

        assert lines == [("before", ONE), ("after", ONE)]

    def test_says_what_it_is(self, tmp_path: Path) -> None:
        """A call takes five seconds at the most, and nothing is reported back."""
        port = self.port(tmp_path)

        assert port.time_out == timedelta(seconds=5)
        assert not port.has_feedback


class TestMaildir(MailPortContract):
    """The Maildir keeps the contract."""

    def port(self, home: Path, *, journal: Journal | None = None) -> MailPort:
        """Make one under a folder."""
        return Maildir(home / "mail", now=lambda: AT, journal=journal)

    def taken(self, port: MailPort) -> list[str]:
        """Read the files."""
        assert isinstance(port, Maildir)
        return [read[mime.NOTIFICATION_HEADER] for read in messages(port.path)]


class TestMemoryMail(MailPortContract):
    """The list keeps the contract."""

    def port(self, home: Path, *, journal: Journal | None = None) -> MailPort:
        """Make an empty one."""
        return MemoryMail(journal=journal)

    def taken(self, port: MailPort) -> list[str]:
        """Read the list."""
        assert isinstance(port, MemoryMail)
        return [sent.notification_id for sent in port.sent]


# --- the list ------------------------------------------------------------------------------------


def test_memory_raises_what_it_is_told() -> None:
    """Scripted errors are raised in order, one for each call, and nothing is taken."""
    port = MemoryMail()
    port.then_raises(ports.MailNotSent("down"))
    port.then_takes()
    port.then_raises(ports.AccountHalted("paused"))

    with pytest.raises(ports.MailNotSent, match="down"):
        port.send(letter())
    assert port.lookup(ONE) == Found(answer="not_accepted")
    port.send(letter())
    with pytest.raises(ports.AccountHalted, match="paused"):
        port.send(letter(TWO))
    port.send(letter(TWO))

    assert [sent.notification_id for sent in port.sent] == [ONE, TWO]


def test_memory_loses_answers() -> None:
    """An answer that got lost leaves a mail that a look-up finds."""
    port = MemoryMail()
    port.then_raises(ports.MailOutcomeUnknown("no answer"), takes_it=True)

    with pytest.raises(ports.MailOutcomeUnknown):
        port.send(letter())

    assert port.lookup(ONE) == Found(answer="accepted", message_id=f"memory-{ONE}")


def test_memory_that_cannot_tell() -> None:
    """A port that cannot tell what it took takes the same notification twice, as SES does."""
    port = MemoryMail(can_tell=False, has_feedback=True, time_out=timedelta(seconds=2))

    ids = [port.send(letter()), port.send(letter())]

    assert len(set(ids)) == 2
    assert len(port.sent) == 2
    assert port.lookup(ONE) == Found(answer="cannot_tell")
    assert port.has_feedback
    assert port.time_out == timedelta(seconds=2)


def test_memory_journal_of_a_failure() -> None:
    """The journal is not told that a delivery succeeded when it did not."""
    lines: list[str] = []
    port = MemoryMail(journal=lambda when, id: lines.append(when))
    port.then_raises(ports.MailRefused("bad"))

    with pytest.raises(ports.MailRefused):
        port.send(letter())

    assert lines == ["before"]


# --- the Maildir ---------------------------------------------------------------------------------


def files(path: Path, folder: str) -> list[str]:
    """Name the files in a folder of a Maildir."""
    return sorted(entry.name for entry in (path / folder).iterdir())


def messages(path: Path) -> list[Message]:
    """Read every mail as a mail program does."""
    return list(mailbox.Maildir(path, create=False)) if path.exists() else []


@pytest.fixture
def port(tmp_path: Path) -> Maildir:
    """A Maildir that nobody has used yet."""
    return Maildir(tmp_path / "ann@example.com" / "mail", now=lambda: AT)


def test_nothing_is_made_before_it_is_needed(port: Maildir) -> None:
    """Building the port and looking something up leave no trace on the disk."""
    port.lookup(ONE)
    port.forget(ONE)

    assert not port.path.exists()


def test_name(port: Maildir) -> None:
    """A file is named after its notification alone, and its name is the mail's id."""
    assert port.send(letter()) == f"maildir-{ONE}"
    assert files(port.path, "new") == [f"maildir-{ONE}"]
    assert files(port.path, "tmp") == []
    assert files(port.path, "cur") == []


def test_modes(port: Maildir) -> None:
    """Only the owner can read mails."""
    port.send(letter())

    modes = {
        stat.S_IMODE(entry.stat().st_mode) for entry in port.path.rglob("*") if entry.is_file()
    }
    folders = [port.path, *(port.path / folder for folder in ("tmp", "new", "cur"))]

    assert modes == {0o600}
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}


def test_read_by_a_mail_program(port: Maildir) -> None:
    """A mail program finds the mail as new."""
    port.send(letter(locale="en"))

    (found,) = mailbox.Maildir(port.path, create=False)
    assert isinstance(found, mailbox.MaildirMessage)
    assert found.get_subdir() == "new"
    assert found["Subject"] == "Your Siu Tin Dei sign-in code"


@pytest.mark.parametrize("flags", ["", "S", "FRS", "T"])
def test_read_and_flagged(port: Maildir, flags: str) -> None:
    """A mail that was moved to cur/ and flagged is not delivered again, and can be forgotten."""
    message_id = port.send(letter())
    (port.path / "new" / message_id).rename(port.path / "cur" / f"{message_id}:2,{flags}")

    assert port.send(letter()) == message_id
    assert port.lookup(ONE) == Found(answer="accepted", message_id=message_id)
    assert len(messages(port.path)) == 1

    port.forget(ONE)
    assert files(port.path, "cur") == []
    assert port.lookup(ONE) == Found(answer="not_accepted")


def test_read_without_flags(port: Maildir) -> None:
    """A reader that moves a mail to cur/ and sets no flags changes nothing either."""
    message_id = port.send(letter())
    (port.path / "new" / message_id).rename(port.path / "cur" / message_id)

    port.send(letter())

    assert len(messages(port.path)) == 1


def test_overtaken(port: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that another one overtakes while it writes is the same delivery."""
    encode = mime.encode

    def overtaken(one: mail.Mail, *, at: datetime) -> bytes:
        monkeypatch.setattr(mime, "encode", encode)
        port.send(one)
        return encode(one, at=at)

    monkeypatch.setattr(mime, "encode", overtaken)

    assert port.send(letter()) == f"maildir-{ONE}"
    assert files(port.path, "new") == [f"maildir-{ONE}"]
    assert files(port.path, "tmp") == []


@pytest.mark.slow
def test_read_while_it_is_delivered(port: Maildir) -> None:
    """Many deliveries of the same mails, while a reader moves and flags them, make no second."""
    ids = [f"{number:032x}" for number in range(60)]
    port.send(letter(ids[0]))
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for entry in list((port.path / "new").iterdir()):
                entry.rename(port.path / "cur" / f"{entry.name}:2,")
            for entry in list((port.path / "cur").glob("*:2,"))[:3]:
                entry.rename(entry.with_name(f"{entry.name}S"))

    def deliver(offset: int) -> None:
        other = Maildir(port.path, now=lambda: AT)
        for id in ids[offset:] + ids[:offset]:
            other.send(letter(id))

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, [0, 1, 2, 30]))
    done.set()
    reader.join()

    names = files(port.path, "new") + files(port.path, "cur")
    assert sorted(name.partition(":")[0] for name in names) == [f"maildir-{id}" for id in ids]


@pytest.mark.parametrize("call", ["open", "fsync", "link"])
@pytest.mark.parametrize(
    ("code", "word"),
    [
        (errno.ENOSPC, "the disk is full (ENOSPC)"),
        (errno.EDQUOT, "the disk quota is used up (EDQUOT)"),
        (errno.EROFS, "the file system is read-only (EROFS)"),
        (errno.EACCES, "the directory may not be written (EACCES)"),
        (errno.EIO, "the disk does not work (EIO)"),
        (errno.ENAMETOOLONG, "(ENAMETOOLONG)"),
        (99999, "(99999)"),
    ],
)
def test_disk_errors(
    port: Maildir, monkeypatch: pytest.MonkeyPatch, call: str, code: int, word: str
) -> None:
    """A disk that does not take a mail means that it is surely not sent, and says why in words."""
    port.send(letter(TWO))

    def fails(*args: object, **kwargs: object) -> int:
        raise OSError(code, "no", str(port.path))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(ports.MailNotSent) as failure:
            port.send(letter())

    assert str(failure.value).startswith("the maildir did not take the mail: ")
    assert str(failure.value).endswith(word)
    assert ANN not in str(failure.value)
    assert failure.value.__cause__ is None
    assert files(port.path, "tmp") == []
    assert port.lookup(ONE) == Found(answer="not_accepted")

    port.send(letter())
    assert len(messages(port.path)) == 2


def test_half_a_mail_is_none(port: Maildir) -> None:
    """A mail that the system stops writing in the middle leaves nothing of itself."""
    port.send(letter(TWO))
    _, hard = unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ports.MailNotSent, match="EFBIG"):
            port.send(letter())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert files(port.path, "tmp") == []
    assert files(port.path, "new") == [f"maildir-{TWO}"]


def test_delivered_but_not_for_sure(port: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails after the delivery nobody can tell, and a look-up settles it."""
    port.send(letter(TWO))
    link, fsync = os.link, os.fsync

    def link_then_fail(*args: Any, **kwargs: Any) -> None:
        link(*args, **kwargs)
        monkeypatch.setattr(os, "fsync", fails)

    def fails(handle: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "link", link_then_fail)

    with pytest.raises(ports.MailOutcomeUnknown, match=r"was delivered, but .* \(EIO\)"):
        port.send(letter())

    monkeypatch.setattr(os, "fsync", fsync)
    assert port.lookup(ONE) == Found(answer="accepted", message_id=f"maildir-{ONE}")
    assert files(port.path, "tmp") == []


def test_locked(port: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery that holds the lock for too long makes others fail, without a trace."""
    port.send(letter(TWO))
    monkeypatch.setattr(maildir_module, "_LOCK_SECONDS", 0.05)

    with locked(port.path / ".lock"):
        with pytest.raises(ports.MailNotSent, match="lock") as failure:
            port.send(letter())
        with pytest.raises(ports.Unavailable, match="lock"):
            port.forget(TWO)

    assert ANN not in str(failure.value)
    assert files(port.path, "tmp") == []
    assert files(port.path, "new") == [f"maildir-{TWO}"]


def test_something_else_is_in_its_place(port: Maildir) -> None:
    """A file where the mailbox should be is named, and nothing is claimed about what was sent."""
    port.path.parent.mkdir()
    port.path.write_text("not a mailbox")

    with pytest.raises(ports.MailNotSent) as failure:
        port.send(letter())

    assert ANN not in str(failure.value)
    assert port.lookup(ONE) == Found(answer="cannot_tell")
    with pytest.raises(ports.Unavailable):
        port.forget(ONE)


def test_unreadable(port: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mailbox that cannot be listed cannot tell what it took, and takes nothing."""
    port.send(letter(TWO))

    def denied(self: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)

    assert port.lookup(ONE) == Found(answer="cannot_tell")
    with pytest.raises(ports.MailNotSent, match="EACCES"):
        port.send(letter())
    with pytest.raises(ports.Unavailable, match="EACCES"):
        port.forget(ONE)


def test_old_leftovers_go(port: Maildir) -> None:
    """What a killed delivery left in tmp/ goes with a delivery 36 hours later, and not before."""
    port.send(letter(TWO))
    old, young = port.path / "tmp" / "old", port.path / "tmp" / "young"
    for leftover in (old, young):
        leftover.write_text("half a mail")
    past = time.time() - LEFTOVER_AFTER.total_seconds() - 1
    os.utime(old, (past, past))

    port.send(letter())

    assert files(port.path, "tmp") == ["young"]


def test_forgetting_takes_leftovers_along(port: Maildir) -> None:
    """Forgetting a notification also removes what a killed delivery of it left."""
    port.send(letter())
    (port.path / "tmp" / f"maildir-{ONE}.1.x").write_text("half a mail")
    (port.path / "tmp" / f"maildir-{TWO}.1.x").write_text("half a mail")

    port.forget(ONE)

    assert files(port.path, "tmp") == [f"maildir-{TWO}.1.x"]


@pytest.mark.parametrize("folder", ["tmp", "cur"])
def test_missing_folders_are_made_again(port: Maildir, folder: str) -> None:
    """A mailbox that lost a folder still works."""
    port.send(letter(TWO))
    (port.path / folder).rmdir()

    assert port.lookup(ONE) == Found(answer="not_accepted")
    port.forget("0" * 32)
    port.send(letter())

    assert files(port.path, "new") == [f"maildir-{ONE}", f"maildir-{TWO}"]


def test_what_was_forgotten_is_never_delivered(port: Maildir) -> None:
    """A delivery that stood still while its mail was forgotten delivers nothing."""
    port.forget(ONE)
    port.send(letter(TWO))
    port.forget(ONE)
    with pytest.raises(ports.MailNotSent):
        port.send(letter())

    assert files(port.path, "new") == [f"maildir-{TWO}"]


def test_a_mail_that_its_reader_took_out_was_delivered(port: Maildir) -> None:
    """A mail that was moved out of the mailbox is not delivered again."""
    port.send(letter())
    (port.path / "new" / f"maildir-{ONE}").unlink()

    assert port.lookup(ONE).answer == "accepted"
    port.send(letter())
    assert files(port.path, "new") == []


KILLED: Final = """
import os, signal, sys
from datetime import timedelta
from siutindei.adapters.maildir import Maildir
from siutindei.domain import mail

moment, path, id = sys.argv[1:]
link = os.link

def die(*args, **kwargs):
    if moment == "after":
        link(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

os.link = die
Maildir(path).send(mail.sign_in_code(
    mail.Senders(), notification_id=id, recipient="ann@example.com", locale=None, code="012345",
    lifetime=timedelta(minutes=5),
))
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.slow
def test_killed(port: Maildir, moment: str) -> None:
    """A process killed right before or after its delivery leaves the whole mail or none, and the
    next try makes it one; the lock is free at once.
    """
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, moment, str(port.path), ONE], check=False, timeout=60
    )

    assert killed.returncode == -signal.SIGKILL
    answers = {"before": "not_accepted", "after": "accepted"}
    assert port.lookup(ONE).answer == answers[moment]
    assert len(files(port.path, "tmp")) == 1

    port.send(letter())

    assert len(messages(port.path)) == 1
    port.forget(ONE)
    assert files(port.path, "tmp") == []


def test_the_machine_clock(tmp_path: Path) -> None:
    """Without a clock of its own a Maildir dates mails with the machine's."""
    Maildir(tmp_path).send(letter())

    (found,) = messages(tmp_path)
    assert abs(datetime.now(UTC) - parsedate_to_datetime(found["Date"])) < timedelta(minutes=1)


# --- the message ---------------------------------------------------------------------------------


def parse(one: mail.Mail) -> EmailMessage:
    """Read the bytes of a mail as its recipient's program does."""
    read = email.message_from_bytes(mime.encode(one, at=AT), policy=default)
    assert isinstance(read, EmailMessage)
    return read


def part(read: EmailMessage, subtype: str) -> str:
    """Give the text of one part, with the line ends of the domain."""
    body = read.get_body((subtype,))
    assert body is not None
    content = body.get_content()
    assert isinstance(content, str)
    return content.replace("\r\n", "\n")


def test_headers() -> None:
    """A message has exactly the headers that it needs."""
    read = parse(notice("Little Steps"))

    assert dict(read) == {
        "From": "Siu Tin Dei <no-reply@lx-software.com>",
        "To": "support@lx-software.com",
        "Subject": "[Siu Tin Dei] [S00001] New organization suggestion",
        "Date": "Mon, 24 Nov 2025 16:05:09 +0000",
        "Auto-Submitted": "auto-generated",
        "Message-ID": f"<{ONE}@lx-software.com>",
        "References": "<S00001@lx-software.com>",
        "X-Siutindei-Notification-Id": ONE,
        "X-Siutindei-Kind": "ticket_received",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="=_{ONE}"',
    }


def test_parts() -> None:
    """The text comes first, the HTML is its alternative, and both arrive as they were written."""
    one = letter()
    read = parse(one)

    assert [p.get_content_type() for p in read.iter_parts()] == ["text/plain", "text/html"]
    assert part(read, "plain") == one.text
    assert part(read, "html") == one.html
    assert not list(read.iter_attachments())


def test_chinese_subject() -> None:
    """A Chinese subject is encoded (RFC 2047), and old and new readers decode it."""
    one = letter()
    raw = mime.encode(one, at=AT)
    old = email.message_from_bytes(raw, policy=compat32)

    assert b"Subject: =?utf-8?" in raw
    assert parse(one)["Subject"] == "您的 Siu Tin Dei 登入驗證碼 / Your Siu Tin Dei sign-in code"
    assert str(make_header(decode_header(old["Subject"]))) == one.subject


def test_same_bytes() -> None:
    """The same mail at the same time is the same bytes."""
    assert mime.encode(letter(), at=AT) == mime.encode(letter(), at=AT)


anything = st.text(st.characters(exclude_categories=()), max_size=400) | st.lists(
    st.sampled_from(
        [
            "\r\nBcc: eve@example.com\r\n\r\n",
            f"\n--=_{ONE}--\n",
            "\n.\n",
            "\nFrom x\n",
            "=0D=0A",
            "=?utf-8?q?=0A?=",
            "<b>",
            "快樂",
            "\u202e",
            "\x00",
            "\ud800",
            " ",
            "\t",
            "x" * 1200,
        ]
    ),
    max_size=20,
).map("".join)


@given(anything)
def test_what_users_type_stays_in_the_body(text: str) -> None:
    """Whatever users type, the message has the same headers and two parts, and arrives whole."""
    one = notice(text)
    raw = mime.encode(one, at=AT)
    read = parse(one)

    assert list(read.items()) == list(parse(notice("Little Steps")).items())
    assert (part(read, "plain"), part(read, "html")) == (one.text, one.html)
    assert [len(list(p.walk())) for p in read.iter_parts()] == [1, 1]
    assert raw.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\x00", raw)
    assert max(map(len, raw.split(b"\r\n"))) <= 76


atom = st.text("abcXYZ019!#$%&'*+/?^_`{|}~-", min_size=1, max_size=12)
label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)
addresses = st.builds(
    lambda local, domain: f"{'.'.join(local)}@{'.'.join(domain)}",
    st.lists(atom, min_size=1, max_size=5),
    st.lists(label, min_size=1, max_size=4),
).filter(lambda address: len(address) <= 254 and len(address.partition("@")[0]) <= 64)


@given(addresses, addresses)
def test_addresses_survive(sender: str, recipient: str) -> None:
    """Addresses and ids arrive as they were, however long, for old and new readers."""
    senders = mail.Senders(tickets_from=sender, support=recipient)
    raw = mime.encode(notice("Little Steps", senders=senders), at=AT)
    domain = sender.rpartition("@")[2]

    for policy in (default, compat32):
        read = email.message_from_bytes(raw, policy=policy)
        unfolded = {name: re.sub(r"\r?\n", "", str(value)).strip() for name, value in read.items()}

        assert parseaddr(unfolded["From"]) == ("Siu Tin Dei", sender)
        assert parseaddr(unfolded["To"]) == ("", recipient)
        assert unfolded["Message-ID"] == f"<{ONE}@{domain}>"
        assert unfolded["References"] == f"<S00001@{domain}>"


def test_a_maildir_knows_what_it_was_given(tmp_path: Path) -> None:
    """Also what its reader has moved or taken out, and nothing that is to be forgotten."""
    port = Maildir(tmp_path / "mail")
    assert frozenset() == port.held()
    ids = [f"{number:032x}" for number in range(4)]
    for id in ids:
        port.send(letter(id))
    new, cur = tmp_path / "mail" / "new", tmp_path / "mail" / "cur"
    (new / f"maildir-{ids[1]}").rename(cur / f"maildir-{ids[1]}:2,S")
    (new / f"maildir-{ids[2]}").unlink()
    port.forget(ids[3])
    (new / "somebody-elses").touch()

    assert frozenset(ids[:3]) == port.held()
