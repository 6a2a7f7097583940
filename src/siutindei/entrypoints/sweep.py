"""The sweep: a Lambda function that a schedule starts."""

from __future__ import annotations

from typing import Any

import attrs

from siutindei.entrypoints import runtime


def handler(event: Any, context: Any) -> dict[str, int]:
    """Sweep once; give what was done and seen, which is also measured."""
    services = runtime.services()
    command_id = services.ids.uuid()
    request = getattr(context, "aws_request_id", None) or command_id
    with runtime.invocation(context, request_id=request) as log:
        swept = services.sweep.run(
            runtime.command(context, command_id=command_id, actor="worker", request_id=request)
        )
        found = attrs.asdict(swept)
        log.info("swept", **found)
    runtime.emit({_metric(name): count for name, count in found.items()})
    return found


def _metric(name: str) -> str:
    """Name a metric after what was counted: `dead_letters` is `DeadLetters`."""
    return "".join(part.capitalize() for part in name.split("_"))
