"""The feedback consumer: a Lambda function behind the queue of what SES reports."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from siutindei.app.ports import PortError
from siutindei.domain.errors import Invalid
from siutindei.entrypoints import runtime, sqs

if TYPE_CHECKING:
    from siutindei.app.feedback import Feedback, Heard


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Record a batch of reports; give those that are to be received again.

    What is no report comes again until its queue sets it aside: whoever looks at that queue sees
    it as it came.
    """
    counts: Counter[str] = Counter()

    def work(feedback: Feedback, record: sqs.Record, log: Any) -> bool:
        try:
            heard = feedback.hear(
                sqs.command(runtime.services(), context, record, actor="feedback"),
                feedback.read(record.body),
            )
        except Exception as problem:  # noqa: BLE001  # one record must not stop the others
            is_told = isinstance(problem, Invalid | PortError)
            counts["ReportsUnreadable" if isinstance(problem, Invalid) else "ReportsNotNow"] += 1
            log.warning(
                "report not recorded",
                sqs_message_id=record.id,
                receives=record.receives,
                error=str(problem) if is_told else f"our fault: {type(problem).__name__}",
            )
            return True
        counts[_METRICS[heard.result]] += 1
        if heard.result == "recorded":
            counts[f"Mails{heard.report.kind.capitalize()}"] += 1
        _tell(log, record, heard)
        return False

    answered = sqs.answer(event, context, ready=lambda: runtime.services().feedback, work=work)
    if counts:
        runtime.emit({name: (count, "Count") for name, count in sorted(counts.items())})
    return answered


_METRICS = {
    "recorded": "ReportsRecorded",
    "known": "ReportsKnown",
    "ignored": "ReportsIgnored",
    "parked": "ReportsParked",
    "not_ours": "ReportsNotOurs",
}


def _tell(log: Any, record: sqs.Record, heard: Heard) -> None:
    log.info(
        "report",
        result=heard.result,
        sqs_message_id=record.id,
        report=heard.report.name,
        message_id=heard.report.message_id or None,
        notification_id=heard.notification_id,
        status=heard.status,
    )
