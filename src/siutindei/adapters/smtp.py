"""Mail over SMTP (RFC 5321), to a relay that is named in the settings.

Nothing is known of a mail once the relay has taken it. Until the relay is told that a message
begins (its 354 to DATA), nothing was sent for sure; from then on a connection that breaks leaves
nobody able to tell.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.adapters import mime
from siutindei.app import ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.domain.mail import Mail
    from siutindei.settings import Relay

#: How long a connection may take, and how long everything together.
CONNECT_TIMEOUT: Final = timedelta(seconds=5)
TIME_OUT: Final = timedelta(seconds=30)

_DOT: Final = re.compile(rb"^\.", re.MULTILINE)
_GOOD: Final = range(200, 300)
_BEGIN: Final = range(354, 355)
_LATER: Final = range(400, 500)
_NEVER: Final = range(500, 600)
#: How long the relay may take to say goodbye, in seconds.
_LEAVE: Final = 1.0

Stage = Literal["greeting", "hello", "tls", "login", "sender", "recipient", "data", "message"]

#: What the relay is doing when it says no, in words.
_WORDS: Final[dict[Stage, str]] = {
    "greeting": "the mail server does not let us in",
    "hello": "the mail server does not greet us",
    "tls": "the mail server does not take TLS",
    "login": "the mail server does not take the user and the password",
    "sender": "the mail server does not take the sender",
    "recipient": "the mail server does not take the recipient",
    "data": "the mail server takes no message",
    "message": "the mail server does not take the message",
}
#: What a 5xx means at each stage: before the recipient it is a matter of the account or the sender.
_FINAL: Final[dict[Stage, type[ports.MailError]]] = {
    "greeting": ports.AccountHalted,
    "hello": ports.AccountHalted,
    "tls": ports.AccountHalted,
    "login": ports.AccountHalted,
    "sender": ports.AccountHalted,
    "recipient": ports.MailRefused,
    "data": ports.MailRefused,
    "message": ports.MailRefused,
}
#: Replies that mean another thing than their stage: authentication is required, it is too large.
_BY_CODE: Final[dict[int, type[ports.MailError]]] = {
    530: ports.AccountHalted,
    552: ports.MailRefused,
}


def _now() -> datetime:
    return datetime.now(UTC)


class SmtpMail:
    """A MailPort; it implements `siutindei.app.ports.MailPort`.

    Args:
        relay: whom mails are handed to.
        now: gives the time for the Date header.
        time_out: how long a call may take.
        tls: makes what certificates are checked with, when they are.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        now: Callable[[], datetime] = _now,
        time_out: timedelta = TIME_OUT,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.relay: Final = relay
        self._now = now
        self._time_out = time_out
        self._tls = tls

    def __repr__(self) -> str:
        return "<SmtpMail>"

    @property
    def time_out(self) -> timedelta:
        return self._time_out

    @property
    def has_feedback(self) -> bool:
        return False

    def send(self, mail: Mail) -> str:
        headers = dict(mail.headers)
        content = mime.encode(mail, at=self._now())
        call = _Call(within=self._time_out)
        try:
            self._hand_over(call, mail, content)
        except _Said as said:
            raise _meaning(said) from None
        except (OSError, smtplib.SMTPException) as error:
            raise call.broken(error) from None
        finally:
            call.close()
        return headers.get("Message-ID", mail.notification_id).strip("<>")

    def lookup(self, notification_id: str) -> ports.Found:
        return ports.Found(answer="cannot_tell")

    def forget(self, notification_id: str) -> None:
        """Do nothing: nothing is kept here."""

    def _hand_over(self, call: _Call, mail: Mail, content: bytes) -> None:
        relay = self.relay
        call.connect(relay, self._tls)
        call.hello()
        if not relay.is_tls:
            self._start_tls(call)
        if relay.user is not None:
            call.login(relay.user, relay.password)
        call.ask("sender", f"MAIL FROM:<{mail.sender}>")
        call.ask("recipient", f"RCPT TO:<{mail.recipient}>")
        call.ask("data", "DATA", good=_BEGIN)
        call.was_begun = True
        call.ask("message", _stuffed(content))

    def _start_tls(self, call: _Call) -> None:
        """Encrypt where the relay can; where it is required, and its certificate is right too."""
        if not call.offers("starttls"):
            if self.relay.needs_tls:
                raise ports.AccountHalted("the mail server offers no STARTTLS, and it is required")
            return
        call.ask("tls", "STARTTLS")
        call.encrypt(self._tls() if self.relay.needs_tls else _unchecked(), self.relay.host)
        call.hello()


@attrs.frozen
class _Said(Exception):  # a reply, not an error yet
    """The relay said something else than it should."""

    stage: Stage
    code: int


def _meaning(said: _Said) -> ports.MailError:
    """Say what a reply means for the mail; its text is the relay's, and may repeat addresses."""
    text = f"{_WORDS[said.stage]} ({said.code})"
    if said.code in _BY_CODE:
        return _BY_CODE[said.code](text)
    if said.code in _NEVER:
        return _FINAL[said.stage](text)
    if said.code in _LATER or said.stage != "message":
        return ports.MailNotSent(text)
    return ports.MailOutcomeUnknown(f"the mail server gave no answer that is known ({said.code})")


class _Call:
    """One conversation with the relay, which has to end in time."""

    def __init__(self, *, within: timedelta) -> None:
        self.until: Final = time.monotonic() + within.total_seconds()
        self.was_begun = False
        self._smtp: Final = smtplib.SMTP(local_hostname=_ourselves())

    def connect(self, relay: Relay, tls: Callable[[], ssl.SSLContext]) -> None:
        """Connect, and hear what the relay says first."""
        within = min(CONNECT_TIMEOUT.total_seconds(), self._left())
        self._smtp.sock = socket.create_connection((relay.host, relay.port), within)
        if relay.is_tls:
            self.encrypt(tls(), relay.host)
        self._hear("greeting")

    def hello(self) -> None:
        """Greet, and learn what the relay can do."""
        self._wait()
        code, _ = self._smtp.ehlo()
        if code in _NEVER:
            code, _ = self._smtp.helo()
        if code not in _GOOD:
            raise _Said("hello", code)

    def offers(self, extension: str) -> bool:
        """Whether the relay can do something."""
        return self._smtp.has_extn(extension)

    def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Go on encrypted; what was said before is forgotten (RFC 3207 section 4.2)."""
        smtp = self._smtp
        if smtp.sock is not None:
            self._wait()
            smtp.sock = context.wrap_socket(smtp.sock, server_hostname=host)
        smtp.file = None
        smtp.ehlo_resp = smtp.helo_resp = None
        smtp.esmtp_features = {}

    def login(self, user: str, password: str) -> None:
        """Say who we are."""
        self._wait()
        try:
            self._smtp.login(user, password)
        except smtplib.SMTPResponseException as error:
            raise _Said("login", error.smtp_code) from None
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPException:
            raise ports.AccountHalted("the mail server offers no login that we know") from None

    def ask(self, stage: Stage, line: str | bytes, *, good: range = _GOOD) -> None:
        """Say one thing, and hear the answer."""
        self._wait()
        self._smtp.send(line if isinstance(line, bytes) else f"{line}\r\n")
        self._hear(stage, good=good)

    def broken(self, error: Exception) -> ports.MailError:
        """Say what it means that the conversation broke off."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return ports.AccountHalted("the certificate of the mail server is not trusted here")
        if self.was_begun:
            return ports.MailOutcomeUnknown("the mail server did not answer to the message")
        return ports.MailNotSent(f"the mail server cannot be talked to ({type(error).__name__})")

    def close(self) -> None:
        """Take leave, without waiting long for an answer."""
        sock = self._smtp.sock
        if sock is not None:
            with suppress(OSError, smtplib.SMTPException):
                sock.settimeout(_LEAVE)
                self._smtp.docmd("QUIT")
        self._smtp.close()

    def _hear(self, stage: Stage, *, good: range = _GOOD) -> None:
        self._wait()
        code, _ = self._smtp.getreply()
        if code not in good:
            raise _Said(stage, code)

    def _wait(self) -> None:
        """Let the next step take what is left of the time."""
        if self._smtp.sock is not None:
            self._smtp.sock.settimeout(self._left())

    def _left(self) -> float:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _ourselves() -> str:
    """Give the name that we greet with; a name without a domain is none (RFC 5321, 4.1.4)."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _unchecked() -> ssl.SSLContext:
    """Encrypt for whoever it is: better than not at all, when nothing is required."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _stuffed(content: bytes) -> bytes:
    """Write a message for DATA (RFC 5321 section 4.5.2): its lines may begin with a dot."""
    return _DOT.sub(b"..", content) + b".\r\n"
