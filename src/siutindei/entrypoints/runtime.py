"""What every Lambda handler shares: the application, the log of an invocation, metrics.

The application is built when a container first needs it, and kept for as long as the container
lives. What a log line says of its invocation is bound when that begins and gone when it ends.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from siutindei.app.ports import Context, Unusable
from siutindei.bootstrap import Services, build
from siutindei.entrypoints.logs import configure
from siutindei.entrypoints.metrics import NAMESPACE, UNITS
from siutindei.settings import LEVELS, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class _Container:
    """What a container keeps."""

    services: Services | None = None
    log: Any = None


_container: Final = _Container()


def services(
    *, keeps: bool = True, defaults: Mapping[str, str] | None = None, **seams: Any
) -> Services:
    """Give the application, as the environment configures it.

    Args:
        keeps: whether the history is used; who has no use for it needs no database.
        defaults: settings for what the environment leaves out.
        **seams: parts to build it with, when this is what builds it; see `bootstrap.build`.

    Raises:
        Invalid: a setting is wrong.
        Unusable: the database is a file that goes with the container.
    """
    if _container.services is None:
        settings = read_settings({**(defaults or {}), **os.environ})
        in_lambda = "AWS_LAMBDA_FUNCTION_NAME" in os.environ
        lasts = in_lambda and not _may_be_lost()
        if keeps and lasts and settings.postgres_url is None:
            raise Unusable(
                "SIUTINDEI_DATABASE names a file, and a file goes with its container; name a "
                "PostgreSQL database, or set SIUTINDEI_ALLOW_EPHEMERAL=1 to lose everything"
            )
        if lasts:
            # A container that made a key would be the only one to have it.
            seams.setdefault("may_make_keys", False)
            seams.setdefault("may_make_signing_key", False)
        _container.services = build(settings, **seams)
    return _container.services


def _may_be_lost() -> bool:
    return os.environ.get("SIUTINDEI_ALLOW_EPHEMERAL") == "1"


@contextmanager
def use(services: Services) -> Iterator[None]:
    """Let handlers use this application for a while."""
    before = _container.services, _container.log
    _container.services, _container.log = services, None
    try:
        yield
    finally:
        _container.services, _container.log = before


@contextmanager
def invocation(context: Any, *, request_id: str | None = None, **more: Any) -> Iterator[Any]:
    """Give the log of one invocation; every line of it says which invocation, and what is bound.

    Args:
        context: Lambda's context, or None.
        request_id: the request, when the way in names it; otherwise the invocation is the request.
        **more: what else every line says; what is None is left out.
    """
    from structlog import contextvars

    if _container.log is None:
        level = os.environ.get("LOG_LEVEL", "").upper()
        # A wrong one is refused with the settings, by a handler that can answer and log.
        _container.log = configure(level if level in LEVELS else "INFO")
    contextvars.clear_contextvars()
    request = request_id or _request_id(context)
    contextvars.bind_contextvars(
        aws_request_id=_request_id(context), request_id=request, correlation_id=request, **more
    )
    try:
        yield _container.log
    finally:
        contextvars.clear_contextvars()


@contextmanager
def bound(**more: Any) -> Iterator[None]:
    """Let the lines of one part of an invocation say more."""
    from structlog import contextvars

    with contextvars.bound_contextvars(**more):
        yield


def _request_id(context: Any) -> str | None:
    return getattr(context, "aws_request_id", None)


def command(
    context: Any,
    *,
    command_id: str,
    actor: str,
    request_id: str,
    correlation_id: str | None = None,
    causation_id: str | None = None,
    sqs_message_id: str | None = None,
) -> Context:
    """Say who acts and by which request; the request is its own correlation unless one is given."""
    return Context(
        command_id=command_id,
        actor=actor,
        request_id=request_id,
        correlation_id=correlation_id or request_id,
        causation_id=causation_id,
        aws_request_id=_request_id(context),
        sqs_message_id=sqs_message_id,
    )


def emit(values: Mapping[str, float], **dimensions: str) -> None:
    """Write metrics as one line in the embedded metric format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

    Args:
        values: by the names of `metrics.METRICS`.
        **dimensions: what they are counted apart by, as it says there; nothing personal.
    """
    line = {
        "_aws": {
            "Timestamp": int(time.time() * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": [sorted(dimensions)],
                    "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in values],
                }
            ],
        },
        **dimensions,
        **values,
    }
    sys.stdout.write(f"{msgspec.json.encode(line).decode()}\n")
    sys.stdout.flush()
