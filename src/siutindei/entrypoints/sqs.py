"""What the handlers of queues share: each record by itself, and an answer that names the failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from siutindei.app.messages import attribute
from siutindei.app.ports import PortError
from siutindei.domain.errors import DomainError
from siutindei.entrypoints import runtime
from siutindei.entrypoints.deadlines import remaining

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services

T = TypeVar("T")

_DIGITS: Final = 9


@attrs.frozen(kw_only=True)
class Record:
    """One record of a batch.

    Attributes:
        id: the message's id; None when the record has none, and cannot be reported.
        body: what came, unchecked.
        event_type: what the message's own attribute says it is about.
        receives: how often it was received by now.
    """

    id: str | None
    body: object = attrs.field(repr=False)
    event_type: str = ""
    receives: int = 1


def records(event: object) -> list[Record]:
    """Read the records of a batch, whatever is missing in them."""
    found = event.get("Records") if isinstance(event, Mapping) else None
    return [_record(each) for each in found] if isinstance(found, list) else []


def _record(record: object) -> Record:
    fields: Mapping[str, Any] = record if isinstance(record, Mapping) else {}
    id, attributes = fields.get("messageId"), fields.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, Mapping) else None
    text = count if isinstance(count, str) else ""
    known = text.isascii() and text.isdigit() and len(text) <= _DIGITS
    return Record(
        id=id if isinstance(id, str) and id else None,
        body=fields.get("body"),
        event_type=attribute(fields.get("messageAttributes"), "event_type", "stringValue"),
        receives=int(text) if known else 1,
    )


def answer(
    event: object,
    context: Any,
    *,
    actor: str,
    ready: Callable[[Services], tuple[T, timedelta]],
    work: Callable[[T, Record, Context, Any], bool],
    give_back: Callable[[Any], None],
) -> dict[str, list[dict[str, str]]]:
    """Work on each record by itself, and name those that are to come again.

    The first record is always worked on: a function that gave back all of them would never get on.

    Args:
        event: the batch.
        context: Lambda's context.
        actor: who acts.
        ready: gives what works on records, and how long one may take at the most; when it cannot,
            all of them are to come again.
        work: works on one with that, as a command, and the log; says whether it is to come again.
        give_back: is told, with the log, that a record comes again because there is no time for it.
    """
    failed: list[str] = []
    batch = records(event)
    with runtime.invocation(context) as log:
        try:
            services = runtime.services()
            worker, needed = ready(services)
        except (PortError, DomainError) as problem:
            log.warning("not ready", error=str(problem))
            failed = [record.id for record in batch if record.id is not None]
        else:
            for number, record in enumerate(batch):
                command = _command(services, context, record, actor)
                left = remaining(context)
                has_time = number == 0 or left is None or left >= needed.total_seconds()
                with runtime.bound(
                    request_id=command.request_id,
                    correlation_id=command.correlation_id,
                    sqs_message_id=record.id,
                    receive_count=record.receives,
                ):
                    again = not has_time or work(worker, record, command, log)
                    if not has_time:
                        give_back(log)
                if again and record.id is not None:
                    failed.append(record.id)
    return {"batchItemFailures": [{"itemIdentifier": id} for id in dict.fromkeys(failed)]}


def _command(services: Services, context: Any, record: Record, actor: str) -> Context:
    """Say by which message something happens."""
    id = services.ids.uuid()
    return runtime.command(
        context,
        command_id=id,
        actor=actor,
        request_id=getattr(context, "aws_request_id", None) or id,
        sqs_message_id=record.id,
    )
