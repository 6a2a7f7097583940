"""Clients of AWS: one try a call, short waits, and a region that is always named."""

from __future__ import annotations

from typing import Any

from siutindei.app.ports import Unusable


def client(service: str, *, region: str, read_timeout: float, connect_timeout: float = 1.0) -> Any:
    """Make a client of a service; nothing is connected before its first call.

    A call is tried exactly once: whoever repeats one knows why. `AWS_ENDPOINT_URL` is honoured, as
    botocore does it, and credentials are found where botocore looks for them.

    Args:
        service: the name that botocore knows, such as `sesv2`.
        region: the region; the setting `AWS_REGION`.
        read_timeout: how long an answer may take, in seconds.
        connect_timeout: how long a connection may take, in seconds.

    Raises:
        Unusable: boto3 is not installed, or what is configured for it does not work.
    """
    try:
        # Imported where it is needed: it takes longer to load than everything else together.
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"boto3", "botocore"}:
            raise
        msg = "AWS needs more packages; install them: pip install 'siutindei[aws]'"
        raise Unusable(msg) from error
    try:
        # A session of its own: the default one is shared by all threads, and made without a lock.
        return boto3.session.Session().client(
            service,
            region_name=region,
            config=Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                tcp_keepalive=True,
            ),
        )
    except (BotoCoreError, ValueError) as error:
        # Such as a profile that is not there, or an endpoint that is no address.
        msg = (
            f"the configuration of AWS cannot be used ({type(error).__name__}); "
            "look at the variables that begin with AWS_, and at the files of AWS"
        )
        raise Unusable(msg) from error
