"""What the handlers of queues share: each record by itself, and an answer that names the failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.messages import attribute
from siutindei.app.ports import PortError
from siutindei.domain.errors import DomainError
from siutindei.entrypoints import runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services

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


def command(services: Services, context: Any, record: Record, *, actor: str) -> Context:
    """Say by which message something happens."""
    id = services.ids.uuid()
    return runtime.command(
        context,
        command_id=id,
        actor=actor,
        request_id=getattr(context, "aws_request_id", None) or id,
        sqs_message_id=record.id,
    )


def answer(
    event: object,
    context: Any,
    *,
    ready: Callable[[], Any],
    work: Callable[[Any, Record, Any], bool],
) -> dict[str, list[dict[str, str]]]:
    """Work on each record by itself, and name those that are to come again.

    Args:
        event: the batch.
        context: Lambda's context.
        ready: gives what works on records; when it cannot, all of them are to come again.
        work: works on one with that, and the log; says whether it is to come again.
    """
    failed: list[str] = []
    batch = records(event)
    with runtime.invocation(context) as log:
        try:
            worker = ready()
        except (PortError, DomainError) as problem:
            log.warning("not ready", error=str(problem))
            failed = [record.id for record in batch if record.id is not None]
        else:
            for record in batch:
                if work(worker, record, log) and record.id is not None:
                    failed.append(record.id)
    return {"batchItemFailures": [{"itemIdentifier": id} for id in dict.fromkeys(failed)]}
