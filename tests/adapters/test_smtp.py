"""Mail over SMTP: what a relay is told, and what each of its answers means."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from siutindei.adapters import mime, smtp
from siutindei.adapters.smtp import SmtpMail
from siutindei.app import ports
from siutindei.app.ports import AccountHalted, Found, MailNotSent, MailOutcomeUnknown, MailRefused
from siutindei.settings import Relay
from tests.adapters.test_mail_ports import ANN, ONE, HandingOverContract, letter, notice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.app.ports import MailPort

AT: Final = datetime(2025, 11, 24, 16, 5, 9, tzinfo=UTC)
SECRET: Final = "012345"
PASSWORD: Final = "ge:h@eim"


class Relayed:
    """Takes every mail, or says what it is told to at one place, and counts.

    Args:
        **replies: what to answer to MAIL, RCPT, DATA or EHLO; `hang` and `close` are no answers.

    Attributes:
        mails: what was taken: sender, recipients, bytes.
        asked: the commands that came.
    """

    def __init__(self, **replies: str) -> None:
        self.replies = replies
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.asked: list[str] = []

    async def _reply(self, name: str, server: Any, good: str) -> str:
        import asyncio

        self.asked.append(name)
        reply = self.replies.get(name, good)
        if reply == "hang":
            await asyncio.sleep(1.5)
        if reply in {"hang", "close"}:
            server.transport.abort()
            return "421 gone"
        return reply

    async def handle_EHLO(  # noqa: N802  # aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        """Answer to a greeting."""
        session.host_name = hostname
        reply = await self._reply("EHLO", server, "")
        return [reply] if reply else responses

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Answer to a sender."""
        envelope.mail_from = address
        return await self._reply("MAIL", server, "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Answer to a recipient."""
        envelope.rcpt_tos.append(address)
        return await self._reply("RCPT", server, "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Answer to a message."""
        self.mails.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
        return await self._reply("DATA", server, "250 OK, queued as 4711")

    @property
    def notifications(self) -> list[str]:
        """Answer to a message."""
        """Name the notifications whose mails were taken."""
        return [
            message_from_bytes(content, policy=default)[mime.NOTIFICATION_HEADER]
            for _, _, content in self.mails
        ]


@contextlib.contextmanager
def relay(handler: Relayed, **options: Any) -> Iterator[Relay]:
    """Run a mail server on loopback, and say where it is."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield Relay(host="127.0.0.1", port=port)
    finally:
        controller.stop()


@pytest.fixture
def handler() -> Relayed:
    """What takes every mail."""
    return Relayed()


@pytest.fixture
def server(handler: Relayed) -> Iterator[Relay]:
    """Where it listens."""
    with relay(handler) as found:
        yield found


class TestSmtpMail(HandingOverContract):
    """SMTP keeps the contract."""

    @pytest.fixture(autouse=True)
    def _relay(self, handler: Relayed, server: Relay) -> None:
        self.handler, self.server = handler, server

    def port(self, home: Path) -> MailPort:
        """Make one that hands over to the server of this test."""
        return SmtpMail(self.server)

    def taken(self, port: MailPort) -> list[str]:
        """Ask the server."""
        return self.handler.notifications


def test_a_mail_is_handed_over(handler: Relayed, server: Relay) -> None:
    """The relay gets the same message that a Maildir gets, for one recipient."""
    message_id = SmtpMail(server, now=lambda: AT).send(letter())

    assert message_id == f"{ONE}@lx-software.com"
    assert handler.mails == [("hello@lx-software.com", [ANN], mime.encode(letter(), at=AT))]
    read = message_from_bytes(handler.mails[0][2], policy=default)
    assert read["Message-ID"] == f"<{message_id}>"
    assert read[mime.NOTIFICATION_HEADER] == ONE
    assert handler.asked == ["EHLO", "MAIL", "RCPT", "DATA"]


def test_a_line_that_begins_with_a_dot(handler: Relayed, server: Relay) -> None:
    """A dot at the beginning of a line arrives as one, and ends nothing."""
    written = notice("one\n.\n..two\nMAIL FROM:<x@example.com>\n.")
    SmtpMail(server, now=lambda: AT).send(written)

    ((_, recipients, content),) = handler.mails
    assert content == mime.encode(written, at=AT)
    assert recipients == ["support@lx-software.com"]


def test_the_date_is_that_of_the_machine(handler: Relayed, server: Relay) -> None:
    """Without another clock the Date header is now."""
    SmtpMail(server).send(letter())

    date = message_from_bytes(handler.mails[0][2], policy=default)["Date"].datetime
    assert abs(datetime.now(UTC) - date) < timedelta(minutes=1)


def test_a_mail_without_a_message_id(handler: Relayed, server: Relay) -> None:
    """What has no Message-ID is called as its notification is."""
    assert SmtpMail(server).send(attrs.evolve(letter(), headers=())) == ONE
    assert len(handler.mails) == 1


def test_says_what_it_is(server: Relay) -> None:
    """Nothing is reported back, and a call has a limit."""
    port = SmtpMail(attrs.evolve(server, user="me", password=PASSWORD))

    assert not port.has_feedback
    assert timedelta(seconds=30) == port.time_out
    assert repr(port) == "<SmtpMail>"
    assert PASSWORD not in repr(port.relay)


# --- what an answer means -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "reply", "expected"),
    [
        ("EHLO", "421 busy", MailNotSent),
        ("MAIL", "451 later", MailNotSent),
        ("MAIL", "550 no such sender", AccountHalted),
        ("MAIL", "530 5.7.0 log in", AccountHalted),
        ("MAIL", "552 too large", MailRefused),
        ("MAIL", "close", MailNotSent),
        ("MAIL", "hang", MailNotSent),
        ("RCPT", f"450 greylisted {ANN}", MailNotSent),
        ("RCPT", f"550 no such user {ANN}", MailRefused),
        ("RCPT", "421 closing", MailNotSent),
        ("RCPT", "530 log in", AccountHalted),
        ("RCPT", "close", MailNotSent),
        ("RCPT", "354 what?", MailNotSent),
        ("DATA", f"450 later {ANN} {SECRET}", MailNotSent),
        ("DATA", f"554 spam from {ANN} {SECRET}", MailRefused),
        ("DATA", "421 closing", MailNotSent),
        ("DATA", "552 too large", MailRefused),
        ("DATA", "close", MailOutcomeUnknown),
        ("DATA", "hang", MailOutcomeUnknown),
        ("DATA", "354 what?", MailOutcomeUnknown),
        ("DATA", "what?", MailOutcomeUnknown),
    ],
)
def test_an_answer_means(at: str, reply: str, expected: type[ports.MailError]) -> None:
    """Each answer at each place is of its class, is not repeated, and nothing is asked twice."""
    handler = Relayed(**{at: reply})
    with relay(handler) as server:
        port = SmtpMail(server, time_out=timedelta(seconds=0.7))
        with pytest.raises(ports.MailError) as raised:
            port.send(letter())

    assert expected is type(raised.value), raised.value
    for personal in (ANN, SECRET, "@"):
        assert personal not in str(raised.value)
    if reply[:3].isdigit():
        assert f"({reply[:3]})" in str(raised.value)
    assert handler.asked.count(at) == 1
    assert raised.value.__suppress_context__


def scripted(*replies: bytes, says_first: bytes = b"220 hello\r\n") -> tuple[Relay, list[bytes]]:
    """Run a server that gives these replies and hangs up, whatever it is told."""
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        with listening, contextlib.suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                connection.sendall(says_first)
                for reply in replies:
                    heard.append(connection.recv(65536))
                    connection.sendall(reply)

    threading.Thread(target=serve, daemon=True).start()
    return Relay(host="127.0.0.1", port=listening.getsockname()[1]), heard


@pytest.mark.parametrize(
    ("greeting", "expected"),
    [
        (b"554 no service\r\n", AccountHalted),
        (b"421 busy\r\n", MailNotSent),
        (b"SSH-2.0-x\r\n", MailNotSent),
        (b"", MailNotSent),
        (b"x" * 10_000, MailNotSent),
    ],
)
def test_a_greeting_means(greeting: bytes, expected: type[ports.MailError]) -> None:
    """Who does not let us in has taken nothing."""
    server, _ = scripted(says_first=greeting)

    with pytest.raises(ports.MailError) as raised:
        SmtpMail(server).send(letter())

    assert expected is type(raised.value)


def test_a_relay_that_knows_no_extensions() -> None:
    """A relay that knows HELO alone takes a mail too."""
    server, heard = scripted(
        *(b"502 what?\r\n", b"250 hello\r\n", b"250 ok\r\n", b"251 ok\r\n"),
        *(b"354 go on\r\n", b"250 ok\r\n", b"221 bye\r\n"),
    )

    assert SmtpMail(server).send(letter())
    assert [line.split()[0] for line in heard[:5]] == [b"ehlo", b"helo", b"MAIL", b"RCPT", b"DATA"]


def test_a_relay_that_does_not_greet() -> None:
    """A relay that refuses both greetings refuses everybody."""
    server, _ = scripted(b"502 what?\r\n", b"550 go away\r\n")

    with pytest.raises(AccountHalted, match=r"\(550\)"):
        SmtpMail(server).send(letter())


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(b"452 later\r\n", MailNotSent), (b"554 never\r\n", MailRefused), (b"", MailNotSent)],
)
def test_no_message_is_taken(reply: bytes, expected: type[ports.MailError]) -> None:
    """Before the relay says that the message may begin, nothing was sent."""
    server, heard = scripted(b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", reply)

    with pytest.raises(ports.MailError) as raised:
        SmtpMail(server).send(letter())

    assert expected is type(raised.value)
    assert not any(SECRET.encode() in line for line in heard)


def test_a_goodbye_that_does_not_come() -> None:
    """A mail that was taken is sent, however the conversation ends."""
    server, _ = scripted(
        *(b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 ok\r\n")
    )

    assert SmtpMail(server).send(letter()) == f"{ONE}@lx-software.com"


def test_nobody_listens() -> None:
    """A server that is not there has taken nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    with pytest.raises(MailNotSent, match="ConnectionRefusedError"):
        SmtpMail(Relay(host="127.0.0.1", port=port)).send(letter())
    with pytest.raises(MailNotSent):
        SmtpMail(Relay(host="nobody.invalid", port=25)).send(letter())


def test_a_slow_relay_has_one_limit_for_everything() -> None:
    """The time runs over the whole conversation, not anew with each reply."""
    handler = Relayed()
    slow = handler._reply

    async def slower(name: str, server: Any, good: str) -> str:
        import asyncio

        await asyncio.sleep(0.25)
        return await slow(name, server, good)

    handler._reply = slower  # type: ignore[method-assign]
    with relay(handler) as server:
        began = time.monotonic()
        with pytest.raises(MailNotSent, match="cannot be talked to"):
            SmtpMail(server, time_out=timedelta(seconds=0.4)).send(letter())

        assert time.monotonic() - began < 2
    assert handler.mails == []


def test_no_time_is_left(server: Relay, handler: Relayed) -> None:
    """A call without any time makes no connection."""
    with pytest.raises(MailNotSent, match="TimeoutError"):
        SmtpMail(server, time_out=timedelta()).send(letter())
    assert handler.asked == []


def test_we_greet_with_a_name_or_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's name is used when it has a domain, and an address otherwise."""
    monkeypatch.setattr(socket, "gethostname", lambda: "mail.example.com")
    assert smtp._ourselves() == "mail.example.com"
    monkeypatch.setattr(socket, "gethostname", lambda: "mail")
    assert smtp._ourselves() == "[127.0.0.1]"


# --- TLS and logins -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate of 127.0.0.1, and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def served(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What the server shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


def trusting(certificate: tuple[Path, Path]) -> Any:
    """Trust that certificate and no other."""
    return lambda: ssl.create_default_context(cafile=str(certificate[0]))


def authenticator(
    server: Any, session: Any, envelope: Any, mechanism: str, data: Any
) -> AuthResult:
    """Know one user."""
    known = data == LoginPassword(b"me", PASSWORD.encode())
    return AuthResult(success=known, handled=False)


def test_starttls_is_used_when_it_is_offered(handler: Relayed, served: ssl.SSLContext) -> None:
    """What is offered is used, whoever it is, when nothing is required; nothing is said before."""
    with relay(handler, tls_context=served, require_starttls=True) as server:
        SmtpMail(server).send(letter())

    assert handler.notifications == [ONE]
    assert handler.asked == ["EHLO", "EHLO", "MAIL", "RCPT", "DATA"]


def test_starttls_that_is_required(
    handler: Relayed, served: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    """Where it is required, it has to be offered, and the certificate has to be right."""
    with relay(handler, tls_context=served) as server:
        wanted = attrs.evolve(server, needs_tls=True)
        SmtpMail(wanted, tls=trusting(certificate)).send(letter())
        with pytest.raises(AccountHalted, match="certificate"):
            SmtpMail(wanted).send(letter())
    with relay(handler) as server, pytest.raises(AccountHalted, match="STARTTLS"):
        SmtpMail(attrs.evolve(server, needs_tls=True)).send(letter())

    assert handler.notifications == [ONE]


def test_starttls_that_is_refused() -> None:
    """A relay that offers it and does not do it is asked for nothing else."""
    server, heard = scripted(b"250-hello\r\n250 STARTTLS\r\n", b"454 not now\r\n", b"221 bye\r\n")

    with pytest.raises(MailNotSent, match=r"TLS \(454\)"):
        SmtpMail(server).send(letter())
    assert [line.split()[0] for line in heard[:2]] == [b"ehlo", b"STARTTLS"]


def test_what_came_before_tls_is_not_believed(
    handler: Relayed, served: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    """What somebody in the middle offered in the clear is forgotten once it is encrypted."""
    call = smtp._Call(within=timedelta(seconds=5))
    with relay(handler, tls_context=served) as server:
        call.connect(server, ssl.create_default_context)
        call.hello()
        assert call.offers("starttls")
        call.ask("tls", "STARTTLS")
        call.encrypt(trusting(certificate)(), server.host)
        assert not call.offers("starttls")
        call.close()


def test_encrypted_from_the_beginning(
    handler: Relayed, certificate: tuple[Path, Path], served: ssl.SSLContext
) -> None:
    """`smtps` is encrypted from the first byte, and the certificate has to be right."""
    with relay(handler, ssl_context=served) as server:
        encrypted = attrs.evolve(server, is_tls=True)
        SmtpMail(encrypted, tls=trusting(certificate)).send(letter())
        with pytest.raises(AccountHalted, match="certificate"):
            SmtpMail(encrypted).send(letter())

    assert handler.notifications == [ONE]


def test_a_login(handler: Relayed, served: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    """A user and a password are told to the right server; a wrong one is the account's matter."""
    with relay(
        handler, tls_context=served, authenticator=authenticator, auth_required=True
    ) as server:
        known = attrs.evolve(server, needs_tls=True, user="me", password=PASSWORD)
        SmtpMail(known, tls=trusting(certificate)).send(letter())
        for relayed in (attrs.evolve(known, password="wrong"), attrs.evolve(known, user=None)):
            with pytest.raises(AccountHalted, match=r"\(53[05]\)") as raised:
                SmtpMail(relayed, tls=trusting(certificate)).send(letter())
            assert PASSWORD not in str(raised.value)

    assert handler.notifications == [ONE]


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([b"250 hello\r\n"], AccountHalted),
        ([b"250-hello\r\n250 AUTH GSSAPI\r\n"], AccountHalted),
        ([b"250-hello\r\n250 AUTH PLAIN\r\n", b"454 not now\r\n"], MailNotSent),
        ([b"250-hello\r\n250 AUTH PLAIN\r\n", b""], MailNotSent),
    ],
)
def test_a_login_that_does_not_work(replies: list[bytes], expected: type[ports.MailError]) -> None:
    """No login that we know is the account's matter; one that fails for now passes."""
    server, _ = scripted(*replies)

    with pytest.raises(ports.MailError) as raised:
        SmtpMail(attrs.evolve(server, user="me", password=PASSWORD)).send(letter())

    assert expected is type(raised.value)


def test_it_cannot_tell(server: Relay) -> None:
    """Nothing is known of what was never handed over either."""
    assert Found(answer="cannot_tell") == SmtpMail(server).lookup(ONE)


def test_no_line_is_longer_than_a_relay_takes(handler: Relayed, server: Relay) -> None:
    """Every line ends in CRLF and has 998 characters at the most (RFC 5322 section 2.1.1)."""
    SmtpMail(server).send(notice("x" * 4000))

    content = handler.mails[0][2]
    assert not re.search(rb"(?<!\r)\n", content)
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
