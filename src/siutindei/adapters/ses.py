"""Mail through Amazon SES, version 2 of its API.

SES has no idempotency: every call that it takes is a mail. So a call is made once, and one without
an answer is left to SES's feedback, which names the notification in a tag.
"""

from __future__ import annotations

import re
from datetime import timedelta
from email.headerregistry import Address
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app import ports
from siutindei.domain.mail import CONFIGURATION_SETS, SENDER_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siutindei.domain.mail import Mail

#: How long a connection and an answer may take, in seconds: Cognito waits five for a trigger.
CONNECT_TIMEOUT: Final = 1.0
READ_TIMEOUT: Final = 3.0
#: Connecting, the handshake of TLS, and the answer.
TIME_OUT: Final = timedelta(seconds=2 * CONNECT_TIMEOUT + READ_TIMEOUT)

_CHARSET: Final = "UTF-8"
#: What an error code looks like; anything else may be anything.
_CODE: Final = re.compile(r"[A-Za-z]{1,60}")
#: What SES makes itself and refuses to be given (its guide: "Amazon SES header fields").
_MADE_BY_SES: Final = frozenset({
    "bcc", "cc", "content-transfer-encoding", "content-type", "date", "from", "message-id",
    "mime-version", "reply-to", "return-path", "sender", "subject", "to",
})  # fmt: skip


@attrs.frozen(kw_only=True)
class Answer:
    """What an answer that is none of the good ones means.

    Attributes:
        codes: SES's error codes, botocore's exceptions, or HTTP statuses (`5xx`: any of those).
        when: what SES's message has to say for it to be this; any message when it is empty.
        error: what it is to whoever sends.
        text: the same in words. SES's own repeat addresses, so they are not shown.
    """

    codes: tuple[str, ...]
    when: str = ""
    error: type[ports.MailError]
    text: str


_THROTTLED: Final = ("TooManyRequestsException", "Throttling", "ThrottlingException", "429")

#: Every answer that is known; the first that fits counts, and the most telling code goes first.
ANSWERS: Final = (
    # The account, or the sender.
    Answer(
        codes=_THROTTLED,
        when="daily",
        error=ports.WholeAccountHalted,
        text="SES's quota of a day is used up",
    ),
    Answer(
        codes=("LimitExceededException",),
        error=ports.WholeAccountHalted,
        text="a limit of the SES account is reached",
    ),
    Answer(
        codes=("AccountSuspendedException",),
        error=ports.WholeAccountHalted,
        text="AWS has suspended the SES account for good",
    ),
    Answer(
        codes=("SendingPausedException",),
        error=ports.AccountHalted,
        text="sending is paused for the SES account or the configuration set",
    ),
    Answer(
        codes=("MailFromDomainNotVerifiedException",),
        error=ports.AccountHalted,
        text="the sender's MAIL FROM domain is not verified in SES",
    ),
    Answer(
        codes=("MessageRejected", "BadRequestException"),
        when="not verified",
        error=ports.AccountHalted,
        text="the sender is not verified in SES, or the account is in the sandbox",
    ),
    Answer(
        codes=("NotFoundException",),
        error=ports.AccountHalted,
        text="the configuration set is missing in SES",
    ),
    Answer(
        codes=("AccessDeniedException", "AccessDenied"),
        error=ports.AccountHalted,
        text="AWS does not allow these credentials to do this",
    ),
    Answer(
        codes=(
            *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
            *("TokenRetrievalError", "SSOError", "NoAuthTokenError", "LoginError"),
        ),
        error=ports.AccountHalted,
        text="there are no AWS credentials",
    ),
    Answer(
        codes=("SSLCertVerificationError",),
        error=ports.AccountHalted,
        text="the certificate that SES shows is not trusted here",
    ),
    Answer(
        codes=(
            *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException"),
            *("SignatureDoesNotMatch", "ExpiredTokenException", "ExpiredToken", "RequestExpired"),
            *("MissingAuthenticationTokenException", "IncompleteSignature", "OptInRequired"),
        ),
        error=ports.AccountHalted,
        text="AWS does not accept the credentials, or the clock is wrong",
    ),
    # The message.
    Answer(
        codes=("MessageRejected",),
        error=ports.MailRefused,
        text="SES rejects the message",
    ),
    Answer(
        codes=("BadRequestException", "ParamValidationError"),
        error=ports.MailRefused,
        text="SES takes the request for invalid",
    ),
    # The moment.
    Answer(
        codes=_THROTTLED,
        error=ports.MailNotSent,
        text="SES is asked too often",
    ),
    Answer(
        codes=("ConcurrentModificationException",),
        error=ports.MailNotSent,
        text="the SES account is being changed",
    ),
    Answer(
        codes=(
            *("ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"),
            *("RequestTimeout", "408"),
        ),
        error=ports.MailNotSent,
        text="SES cannot be reached",
    ),
    # No answer of SES: something on the way gave up waiting for one, or the connection broke.
    Answer(
        codes=("504", "ReadTimeoutError"),
        error=ports.MailOutcomeUnknown,
        text="SES did not answer in time",
    ),
    Answer(
        codes=("ConnectionClosedError", "HTTPClientError", "ResponseParserError"),
        error=ports.MailOutcomeUnknown,
        text="SES did not answer",
    ),
    # Codes that nobody has heard of yet, by their status.
    Answer(
        codes=("5xx",),
        error=ports.MailNotSent,
        text="SES does not work at the moment",
    ),
    Answer(
        codes=("401", "403", "404"),
        error=ports.AccountHalted,
        text="SES refuses these credentials, or is not what is asked",
    ),
    Answer(
        codes=("4xx",),
        error=ports.MailRefused,
        text="SES refuses the request",
    ),
)


@attrs.frozen(kw_only=True)
class SesMail:
    """A MailPort; it implements `siutindei.app.ports.MailPort`.

    Args:
        client: botocore's client of `sesv2`; it tries once.
    """

    client: Any = attrs.field(repr=False)

    @property
    def time_out(self) -> timedelta:
        return TIME_OUT

    @property
    def has_feedback(self) -> bool:
        return True

    def send(self, mail: Mail) -> str:
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        # A connection that stood idle may be dead without a word, and what is written to it is of
        # unknown outcome: a new one costs less than a code that nobody gets.
        self.client.close()
        try:
            answer = self.client.send_email(**request(mail))
        except ClientError as error:
            raise classify(error, error.response) from None
        except (BotoCoreError, ResponseParserError) as error:
            raise classify(error) from None
        message_id = answer.get("MessageId")
        if not message_id:
            raise ports.MailOutcomeUnknown("SES answered without an id")
        return str(message_id)

    def lookup(self, notification_id: str) -> ports.Found:
        return ports.Found(answer="cannot_tell")

    def forget(self, notification_id: str) -> None:
        """Do nothing: nothing is kept here, and SES keeps what it must."""


def request(mail: Mail) -> dict[str, Any]:
    """Write the request: one recipient, one configuration set, tags that hold no address."""

    def content(data: str) -> dict[str, str]:
        return {"Data": data, "Charset": _CHARSET}

    return {
        "FromEmailAddress": str(Address(SENDER_NAME, addr_spec=mail.sender)),
        "Destination": {"ToAddresses": [mail.recipient]},
        "Content": {
            "Simple": {
                "Subject": content(mail.subject),
                "Body": {"Text": content(mail.text), "Html": content(mail.html)},
                "Headers": [
                    {"Name": name, "Value": value}
                    for name, value in mail.headers
                    if name.lower() not in _MADE_BY_SES
                ],
            }
        },
        "EmailTags": [
            {"Name": "notification_id", "Value": mail.notification_id},
            {"Name": "kind", "Value": mail.kind},
        ],
        "ConfigurationSetName": CONFIGURATION_SETS[mail.lane],
    }


def classify(
    error: Exception, response: Mapping[str, Any] = MappingProxyType({})
) -> ports.MailError:
    """Say what an error means for the mail, in words without any of SES's.

    Args:
        error: what botocore raised.
        response: what it made of SES's answer; empty when there was none.
    """
    said = response.get("Error", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    code = str(said.get("Code") or "")
    names = {code, *_kinds(error)}
    if status >= HTTPStatus.BAD_REQUEST:
        names |= {str(status), f"{status // 100}xx"}
    for answer in ANSWERS:
        if names & set(answer.codes) and answer.when in str(said.get("Message") or "").lower():
            shown = code if _CODE.fullmatch(code) else type(error).__name__
            return answer.error(f"{answer.text} ({shown})")
    return ports.MailOutcomeUnknown(f"SES gave no answer that is known ({type(error).__name__})")


def _kinds(error: Exception) -> Iterator[str]:
    """Name the classes of an exception, and of the one inside that botocore packed into it."""
    yield from (kind.__name__ for kind in type(error).__mro__)
    packed = getattr(error, "kwargs", {}).get("error")
    for inner in (packed, *getattr(packed, "args", ())):
        yield type(inner).__name__
