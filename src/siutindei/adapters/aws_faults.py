"""What went wrong with a call to AWS: its code, and whether another try is worth it."""

from __future__ import annotations

from typing import Final

import attrs

#: Worth another try, although they come as faults of the caller.
_TRANSIENT: Final = frozenset({
    "ConcurrentModificationException", "LimitExceededException", "RequestTimeout", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
})  # fmt: skip
_SERVER_FAULT: Final = 500


@attrs.frozen(kw_only=True)
class Fault:
    """What went wrong.

    Attributes:
        code: AWS's code, or botocore's name for it when AWS gave no answer; nothing personal.
        transient: whether another try is worth it.
    """

    code: str
    transient: bool


def fault(error: Exception) -> Fault:
    """Class an error of a client; one that is no client's is raised again.

    The words of AWS are dropped: they may name a user.
    """
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return Fault(code=code, transient=code in _TRANSIENT or status >= _SERVER_FAULT)
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return Fault(code=type(error).__name__, transient=True)
    if isinstance(error, exceptions.BotoCoreError):
        return Fault(code=type(error).__name__, transient=False)
    raise error
