"""What went wrong with a call to AWS: its code, and whether another try is worth it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from siutindei.app.ports import PortError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Worth another try, although they come as faults of the caller.
_TRANSIENT: Final = frozenset({
    "ConcurrentModificationException", "LimitExceededException", "RequestTimeout", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
_SERVER_FAULT: Final = 500


class Fault(Exception):
    """What went wrong with a call.

    Attributes:
        code: AWS's code, or botocore's name for it when AWS gave no answer; nothing personal.
        transient: whether another try is worth it.
    """

    def __init__(self, *, code: str, transient: bool) -> None:
        super().__init__(code)
        self.code = code
        self.transient = transient


@contextmanager
def faults() -> Iterator[None]:
    """Class the errors of a client of AWS; any other passes.

    The words of AWS are dropped: they may name a user.

    Raises:
        Fault: a call went wrong.
    """
    try:
        yield
    except PortError:
        raise
    except Exception as error:
        found = _fault(error)
        if found is None:
            raise
        raise found from None


def _fault(error: Exception) -> Fault | None:
    # Imported where it is needed: whoever got an error has loaded it.
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return Fault(code=code, transient=code in _TRANSIENT or status >= _SERVER_FAULT)
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return Fault(code=type(error).__name__, transient=True)
    if isinstance(error, exceptions.BotoCoreError):
        return Fault(code=type(error).__name__, transient=False)
    return None
