"""Requests about the account at SES, which takes one a second, and what its errors mean."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from siutindei.adapters import ses
from siutindei.app import ports

#: How long an answer may take, in seconds.
READ_TIMEOUT: Final = 10.0
#: A little more than what SES asks for.
PACE: Final = timedelta(seconds=1.1)

#: What is tried again when SES says no because of somebody else.
_BUSY: Final = frozenset({"AlreadyExistsException", "ConcurrentModificationException"})


class SesRequests:
    """Asks SES, one request after the other.

    Args:
        client: botocore's client of `sesv2`; it tries once.
        clock: paces the requests.
    """

    def __init__(self, client: Any, *, clock: ports.Clock) -> None:
        self._client: Final = client
        self._clock: Final = clock
        self._last: datetime | None = None

    def find(self, operation: str, **named: str) -> dict[str, Any] | None:
        """Ask for something that may not be there; None when it is not.

        Raises:
            Unavailable: as for `ask`.
            Unusable: as for `ask`.
        """
        from botocore.exceptions import ClientError

        try:
            return self._request(operation, **named)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NotFoundException":
                return None
            raise _no(operation, error) from None

    def ask(self, operation: str, **named: Any) -> dict[str, Any]:
        """Ask for something.

        Raises:
            Unavailable: not now: SES cannot be reached, or is asked too often.
            Unusable: SES refuses, or there are no credentials that may ask.
        """
        from botocore.exceptions import ClientError

        try:
            return self._request(operation, **named)
        except ClientError as error:
            raise _no(operation, error) from None

    def _request(self, operation: str, **named: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError
        from botocore.parsers import ResponseParserError

        self._wait()
        try:
            said: dict[str, Any] = getattr(self._client, operation)(**named)
        except (BotoCoreError, ResponseParserError) as error:
            raise _no(operation, error) from None
        finally:
            self._last = self._clock.now()
        return said

    def _wait(self) -> None:
        """Wait for our turn; a clock that was put back makes nobody wait for longer."""
        if self._last is not None:
            left = PACE - (self._clock.now() - self._last)
            self._clock.sleep(max(0.0, min(left, PACE).total_seconds()))


def _no(operation: str, error: Any) -> ports.PortError:
    """Say why SES did not do something: for the moment, or until somebody changes something."""
    response = getattr(error, "response", {})
    what = "".join(word.capitalize() for word in operation.split("_"))
    code = response.get("Error", {}).get("Code")
    if code in _BUSY:
        return ports.Unavailable(f"{what}: somebody else changes the SES account ({code})")
    meaning = ses.classify(error, response)
    if isinstance(meaning, ports.MailNotSent | ports.MailOutcomeUnknown):
        return ports.Unavailable(f"{what}: {meaning}; try again, nothing is done twice")
    return ports.Unusable(f"{what}: {meaning}; docs/ses.md says what it takes")
