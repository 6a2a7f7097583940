"""The feedback consumer: a Lambda function behind the queue of what SES reports."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from siutindei.app.ports import PortError
from siutindei.domain.errors import Invalid
from siutindei.entrypoints import runtime, sqs

if TYPE_CHECKING:
    from datetime import timedelta

    from siutindei.app.feedback import Feedback, Heard
    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Record a batch of reports; give those that are to be received again.

    What is no report comes again until its queue sets it aside: whoever looks at that queue sees
    it as it came.
    """
    counts: Counter[str] = Counter()

    def ready(services: Services) -> tuple[Feedback, timedelta]:
        return services.feedback, services.longest_wait

    def work(feedback: Feedback, record: sqs.Record, command: Context, log: Any) -> bool:
        try:
            heard = feedback.hear(command, feedback.read(record.body))
        except Exception as problem:  # noqa: BLE001  # one record must not stop the others
            is_told = isinstance(problem, Invalid | PortError)
            counts["ReportsUnreadable" if isinstance(problem, Invalid) else "ReportsNotNow"] += 1
            log.warning(
                "report not recorded",
                error=str(problem) if is_told else f"our fault: {type(problem).__name__}",
            )
            return True
        counts[_METRICS[heard.result]] += 1
        if heard.result == "recorded":
            counts[f"Mails{heard.report.kind.capitalize()}"] += 1
        if heard.suppressed:
            counts["AddressesSuppressed"] += 1
        _tell(log, heard)
        return False

    def give_back(log: Any) -> None:
        counts["ReportsGivenBack"] += 1
        log.warning("report not recorded", error="there was no time")

    answered = sqs.answer(
        event, context, actor="feedback", ready=ready, work=work, give_back=give_back
    )
    if counts:
        runtime.emit(dict(sorted(counts.items())))
    return answered


_METRICS = {
    "recorded": "ReportsRecorded",
    "known": "ReportsKnown",
    "ignored": "ReportsIgnored",
    "parked": "ReportsParked",
    "not_ours": "ReportsNotOurs",
}


def _tell(log: Any, heard: Heard) -> None:
    log.info(
        "report",
        result=heard.result,
        report=heard.report.name,
        message_id=heard.report.message_id or None,
        notification_id=heard.notification_id,
        status=heard.status,
        suppressed=heard.suppressed or None,
        correlation_id=heard.correlation_id,
        causation_id=heard.causation_id,
    )
