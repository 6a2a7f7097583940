"""Mail through SES: what is asked, what each answer means, and that it is asked once."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from email.headerregistry import Address
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

import attrs
import botocore.exceptions
import pytest
from botocore.stub import Stubber

from siutindei.adapters import aws, ses
from siutindei.adapters.ses import SesMail
from siutindei.app import ports
from siutindei.app.ports import (
    AccountHalted,
    Found,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    WholeAccountHalted,
)
from siutindei.domain import mail
from siutindei.domain.errors import Invalid
from tests.adapters.test_mail_ports import ANN, ONE, HandingOverContract, letter, notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siutindei.app.ports import MailPort

REGION: Final = "ap-southeast-1"
SECRET: Final = "012345"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")


def client(*, read_timeout: float = 3) -> Any:
    """Make a client that nobody answers yet."""
    return aws.client("sesv2", region=REGION, read_timeout=read_timeout)


@contextmanager
def stubbed() -> Iterator[tuple[SesMail, Stubber]]:
    """Give the port, and what answers it; at the end everything that was prepared was asked."""
    made = client()
    with Stubber(made) as stub:
        yield SesMail(client=made), stub
        stub.assert_no_pending_responses()


# --- what is asked --------------------------------------------------------------------------------


def test_a_code_is_asked_for() -> None:
    """The request has the sender's name, one recipient, UTF-8 everywhere, tags, and the
    configuration set of the codes.
    """
    written = letter(locale="zh-HK")
    expected = {
        "FromEmailAddress": "Siu Tin Dei <hello@lx-software.com>",
        "Destination": {"ToAddresses": [ANN]},
        "Content": {
            "Simple": {
                "Subject": {"Data": written.subject, "Charset": "UTF-8"},
                "Body": {
                    "Text": {"Data": written.text, "Charset": "UTF-8"},
                    "Html": {"Data": written.html, "Charset": "UTF-8"},
                },
                "Headers": [{"Name": "Auto-Submitted", "Value": "auto-generated"}],
            }
        },
        "EmailTags": [
            {"Name": "notification_id", "Value": ONE},
            {"Name": "kind", "Value": "sign_in_code"},
        ],
        "ConfigurationSetName": "siutindei-codes",
    }
    with stubbed() as (port, stub):
        stub.add_response("send_email", {"MessageId": "0100-example"}, expected)

        assert port.send(written) == "0100-example"


def test_a_notice_is_asked_for() -> None:
    """A notice goes to support, from the other sender, under the other configuration set, and is
    kept together with the ticket's other mails.
    """
    asked = ses.request(notice("星星 <b>"))

    assert asked["FromEmailAddress"] == "Siu Tin Dei <no-reply@lx-software.com>"
    assert asked["Destination"] == {"ToAddresses": ["support@lx-software.com"]}
    assert asked["ConfigurationSetName"] == "siutindei-tickets"
    assert {"Name": "References", "Value": "<S00001@lx-software.com>"} in (
        asked["Content"]["Simple"]["Headers"]
    )


def test_no_header_that_ses_makes_is_asked_for() -> None:
    """SES refuses a header that it makes itself, however it is written, and none is a list's."""
    written = attrs.evolve(
        letter(),
        headers=(
            *(("Message-ID", "<1@example.com>"), ("DATE", "today"), ("reply-to", ANN)),
            ("Auto-Submitted", "auto-generated"),
        ),
    )
    headers = ses.request(written)["Content"]["Simple"]["Headers"]

    assert [header["Name"] for header in headers] == ["Auto-Submitted"]
    for mails in (letter(), notice("x")):
        assert "list-unsubscribe" not in json.dumps(ses.request(mails)).lower()


def test_a_tag_holds_no_address() -> None:
    """Tags come back in feedback, through topics and queues: they hold ids."""
    for written in (letter(), notice(ANN)):
        assert "@" not in json.dumps(ses.request(written)["EmailTags"])


def test_a_domain_outside_ascii_is_asked_for_in_ascii() -> None:
    """Addresses are normalised before: what reaches SES is the ASCII form, and mail that is not
    cannot be written.
    """
    written = attrs.evolve(letter(), recipient="ann@xn--fiq228c.example")

    assert ses.request(written)["Destination"] == {"ToAddresses": ["ann@xn--fiq228c.example"]}
    with pytest.raises(Invalid):
        attrs.evolve(letter(), recipient="ann@中文.example")


def test_the_request_is_one_that_ses_knows() -> None:
    """What is asked is in botocore's model of SES, for every kind of mail."""
    with stubbed() as (port, stub):
        for number, written in enumerate((letter(), notice("x"))):
            stub.add_response("send_email", {"MessageId": f"id-{number}"})

            assert port.send(written) == f"id-{number}"


def test_an_answer_without_an_id() -> None:
    """An answer that does not say how the mail is called is none."""
    with stubbed() as (port, stub):
        stub.add_response("send_email", {})

        with pytest.raises(MailOutcomeUnknown, match="without an id"):
            port.send(letter())


# --- what each answer means -----------------------------------------------------------------------

ERRORS: Final = [
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded.", MailNotSent),
    ("TooManyRequestsException", 429, "Daily message quota exceeded.", WholeAccountHalted),
    ("Throttling", 400, "Rate exceeded", MailNotSent),
    ("ThrottlingException", 400, "Rate exceeded", MailNotSent),
    ("Throttling", 400, "Daily message quota exceeded", WholeAccountHalted),
    ("LimitExceededException", 400, "too many instances", WholeAccountHalted),
    ("AccountSuspendedException", 400, "permanently restricted", WholeAccountHalted),
    ("SendingPausedException", 400, "paused", AccountHalted),
    ("MailFromDomainNotVerifiedException", 400, "not verified", AccountHalted),
    (
        *("MessageRejected", 400),
        f"Email address is not verified. The following identities failed: {ANN}",
        AccountHalted,
    ),
    ("MessageRejected", 400, f"Invalid content for {ANN} {SECRET}", MailRefused),
    ("BadRequestException", 400, f"Missing final '@domain' {ANN}", MailRefused),
    ("NotFoundException", 404, "Configuration set <x> does not exist", AccountHalted),
    ("AccessDeniedException", 403, f"not authorized to perform on {ANN}", AccountHalted),
    ("UnrecognizedClientException", 403, "The security token is invalid", AccountHalted),
    ("InvalidSignatureException", 403, "Signature expired", AccountHalted),
    ("ExpiredTokenException", 403, "expired", AccountHalted),
    ("ConcurrentModificationException", 500, "being modified", MailNotSent),
    ("InternalServiceErrorException", 500, "", MailNotSent),
    ("ServiceUnavailable", 503, "", MailNotSent),
    ("NeverHeardOf", 502, "", MailNotSent),
    ("RequestTimeout", 408, "", MailNotSent),
    ("NeverHeardOf", 504, "", MailOutcomeUnknown),
    ("NeverHeardOf", 429, "", MailNotSent),
    ("NeverHeardOf", 403, "", AccountHalted),
    ("NeverHeardOf", 400, f"{ANN} {SECRET}", MailRefused),
    ("NeverHeardOf", 302, "", MailOutcomeUnknown),
    (f"{ANN} {SECRET}", 400, "", MailRefused),
]


@pytest.mark.parametrize(
    ("code", "status", "message", "expected"),
    ERRORS,
    ids=lambda value: str(getattr(value, "__name__", value))[:30].replace(ANN, "address"),
)
def test_an_answer_means(
    code: str, status: int, message: str, expected: type[ports.MailError]
) -> None:
    """Each error of SES is of its class; its text is ours, without address and content."""
    with stubbed() as (port, stub):
        stub.add_client_error(
            "send_email", service_error_code=code, service_message=message, http_status_code=status
        )
        with pytest.raises(ports.MailError) as raised:
            port.send(letter())

    assert expected is type(raised.value)
    said = str(raised.value)
    for personal in (ANN, SECRET, "@"):
        assert personal not in said
    if expected is not MailOutcomeUnknown and ANN not in code:
        assert f"({code})" in said
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def test_every_error_that_ses_declares_is_in_the_table() -> None:
    """No error of botocore's model is left to its HTTP status."""
    declared = {
        shape.name
        for shape in client().meta.service_model.operation_model("SendEmail").error_shapes
    }
    named = {code for answer in ses.ANSWERS for code in answer.codes}

    assert {"MessageRejected", "AccountSuspendedException"} <= declared
    assert declared - named == set()


def test_every_exception_in_the_table_is_one_of_botocore() -> None:
    """What is named after an exception can be raised: it is not misspelt."""
    named = {code for row in ses.ANSWERS for code in row.codes if code.endswith("Error")}
    known = {name for name in vars(botocore.exceptions) if name.endswith("Error")}

    assert {"ResponseParserError", "SSLCertVerificationError"} == named - known
    assert {"ReadTimeoutError", "NoCredentialsError", "ParamValidationError"} <= named


def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Nothing is sent, and it is the account's matter."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(AccountHalted, match="credentials"):
        SesMail(client=client()).send(letter())


def test_a_request_that_botocore_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What botocore itself finds invalid was not sent, and never will be."""
    monkeypatch.setattr(ses, "request", lambda _: {"Destination": ANN})

    with pytest.raises(MailRefused) as raised:
        SesMail(client=client()).send(letter())

    assert ANN not in str(raised.value)


# --- what it is -----------------------------------------------------------------------------------


def test_says_what_it_is() -> None:
    """SES reports back, cannot be asked, and a call takes no longer than its parts."""
    port = SesMail(client=client())

    assert port.has_feedback
    assert Found(answer="cannot_tell") == port.lookup(ONE)
    assert timedelta(seconds=5) == port.time_out
    assert 1 + 1 + 3 == port.time_out.total_seconds()
    port.forget(ONE)
    assert Found(answer="cannot_tell") == port.lookup(ONE)
    assert repr(port) == "SesMail()"


class TestSesMail(HandingOverContract):
    """SES keeps the contract."""

    def port(self, home: Path) -> MailPort:
        """Make one whose requests are kept."""
        kept = Kept()
        return SesMail(client=kept)

    def taken(self, port: MailPort) -> list[str]:
        """Read the tags."""
        assert isinstance(port, SesMail)
        return [asked["EmailTags"][0]["Value"] for asked in port.client.asked]


class Kept:
    """A client that keeps what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def close(self) -> None:
        """Have no connection."""

    def send_email(self, **asked: Any) -> dict[str, str]:
        """Take a mail."""
        self.asked.append(asked)
        return {"MessageId": f"0100-{len(self.asked)}"}


# --- on the wire ----------------------------------------------------------------------------------


class Wire:
    """A server on loopback that answers as it is told, and counts what it is asked.

    Attributes:
        requests: the bodies that it was sent.
    """

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.requests: list[Any] = []
        self.headers: list[Any] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                wire.requests.append(json.loads(self.rfile.read(length)))
                wire.headers.append((self.path, dict(self.headers), self.client_address))
                answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def answers(
    status: int, body: str = "{}", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status and a body."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body.encode())))
        handler.end_headers()
        handler.wfile.write(body.encode())

    return answer


def closes(handler: BaseHTTPRequestHandler) -> None:
    """Take the request and hang up."""
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def closes_in_the_middle(handler: BaseHTTPRequestHandler) -> None:
    """Begin an answer and hang up."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"Message')
    closes(handler)


def hangs(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing for longer than anybody waits."""
    time.sleep(1.5)
    handler.close_connection = True


def on_the_wire(monkeypatch: pytest.MonkeyPatch, wire: Wire, *, read_timeout: float = 3) -> SesMail:
    """Make the port ask this server, as an emulator is asked."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)
    return SesMail(client=client(read_timeout=read_timeout))


def test_a_mail_is_sent_over_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives is JSON with the text as it is, signed for the region."""
    with Wire(answers(200, '{"MessageId": "0100-example"}')) as wire:
        message_id = on_the_wire(monkeypatch, wire).send(notice("星星"))

    assert message_id == "0100-example"
    (asked,), ((path, headers, _),) = wire.requests, wire.headers
    assert "星星" in asked["Content"]["Simple"]["Body"]["Text"]["Data"]
    assert path == "/v2/email/outbound-emails"
    assert f"/{REGION}/ses/aws4_request" in headers["Authorization"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            answers(
                429,
                '{"message": "Maximum sending rate exceeded."}',
                x_amzn_ErrorType="TooManyRequestsException",
            ),
            MailNotSent,
        ),
        (
            answers(
                429,
                '{"message": "Daily message quota exceeded."}',
                x_amzn_ErrorType="TooManyRequestsException",
            ),
            WholeAccountHalted,
        ),
        (answers(500), MailNotSent),
        (answers(503, "<html>not JSON</html>"), MailNotSent),
        (answers(400, '{"message": "no"}', x_amzn_ErrorType="MessageRejected"), MailRefused),
        (answers(200, "<html>not JSON</html>"), MailOutcomeUnknown),
        (answers(200, "{}"), MailOutcomeUnknown),
        (closes, MailOutcomeUnknown),
        (closes_in_the_middle, MailOutcomeUnknown),
        (hangs, MailOutcomeUnknown),
    ],
    ids=[
        *("429", "daily", "500", "503", "400", "garbage", "empty", "closes", "middle", "hangs"),
    ],
)
def test_it_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    expected: type[ports.MailError],
) -> None:
    """Whatever the server does with a request, there is one, and what it means is known."""
    with Wire(answer) as wire:
        port = on_the_wire(monkeypatch, wire, read_timeout=0.5)
        with pytest.raises(ports.MailError) as raised:
            port.send(letter())
        time.sleep(0.1)

        assert expected is type(raised.value), raised.value
        assert len(wire.requests) == 1


def test_a_connection_that_stood_idle_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mail has a connection of its own: a dead one would make its outcome unknown."""
    with Wire(answers(200, '{"MessageId": "0100-example"}')) as wire:
        port = on_the_wire(monkeypatch, wire)
        port.send(letter())
        port.send(letter())

    (_, _, first), (_, _, second) = wire.headers
    assert first != second


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there has taken nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port_number = listening.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port_number}")

    with pytest.raises(MailNotSent, match="cannot be reached"):
        SesMail(client=client()).send(letter())


def test_a_connection_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not come about in time has carried nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        time.sleep(0.1)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{address[1]}")

        with pytest.raises(MailNotSent, match="ConnectTimeoutError"):
            SesMail(
                client=aws.client("sesv2", region=REGION, read_timeout=1, connect_timeout=0.3)
            ).send(letter())
        for one in waiting:
            one.close()


def test_a_certificate_that_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a matter of the installation: no mail went out, and none will."""
    import ssl

    from urllib3.exceptions import SSLError

    cause = SSLError(ssl.SSLCertVerificationError("self-signed"))
    error = botocore.exceptions.SSLError(endpoint_url="https://example.com", error=cause)

    assert isinstance(ses.classify(error), AccountHalted)
    other = botocore.exceptions.SSLError(endpoint_url="https://example.com", error=OSError("x"))
    assert isinstance(ses.classify(other), MailOutcomeUnknown)


def test_the_sender_is_shown_by_its_name() -> None:
    """The display name is the product's, as in the other mail ports."""
    written = letter()

    assert (
        str(Address(mail.SENDER_NAME, addr_spec=written.sender))
        == (ses.request(written)["FromEmailAddress"])
    )
