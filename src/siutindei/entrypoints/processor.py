"""The processor: a Lambda function behind the queue of nudges."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from siutindei.entrypoints import runtime, sqs

if TYPE_CHECKING:
    from datetime import timedelta

    from siutindei.app.ports import Context
    from siutindei.app.processing import Processed, Processing
    from siutindei.bootstrap import Services


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Work on a batch of SQS records; give those that are to be received again.

    What there is no time for is given back as it came: no attempt is begun that the end of the
    invocation could cut off.
    """
    counts: Counter[str] = Counter()
    sends: Counter[tuple[str, str]] = Counter()

    def ready(services: Services) -> tuple[Processing, timedelta]:
        processing = services.processing
        return processing, services.longest_wait + processing.delivery.longest

    def work(processing: Processing, record: sqs.Record, command: Context, log: Any) -> bool:
        done = processing.work_on(
            command, record.body, event_type=record.event_type, receives=record.receives
        )
        counts[_metric(done)] += 1
        mail = done.outcome
        if mail and mail.work == "notification" and mail.result != "nothing_to_do":
            sends[mail.kind, mail.result] += 1
        _tell(log, done)
        return done.again

    def give_back(log: Any) -> None:
        counts["MessagesGivenBack"] += 1
        log.warning("message", result="no_time", again=True)

    answered = sqs.answer(
        event, context, actor="worker", ready=ready, work=work, give_back=give_back
    )
    if counts:
        runtime.emit(dict(sorted(counts.items())))
    for (kind, result), count in sorted(sends.items()):
        runtime.emit({"Sends": count}, Kind=kind, Outcome=result)
    return answered


def _metric(done: Processed) -> str:
    """Name what is counted: one word for each way in which a message ends."""
    if done.word == "unknown_event_type":
        return "UnknownEventType"
    if done.set_aside:
        return "MessagesSetAside"
    return "MessagesToComeAgain" if done.again else "MessagesDone"


def _tell(log: Any, done: Processed) -> None:
    outcome = done.outcome
    is_well = not done.again and not done.set_aside and done.error is None
    level = "info" if is_well else "warning"
    about: dict[str, Any] = {}
    if outcome is not None:
        about = {
            f"{outcome.work}_id": outcome.id,
            "kind": outcome.kind,
            "attempt": outcome.attempt or None,
            "message_id": outcome.message_id,
            "correlation_id": outcome.correlation_id,
            "causation_id": outcome.causation_id,
        }
    getattr(log, level)(
        "message",
        result=done.word,
        again=done.again,
        set_aside=done.set_aside,
        error=done.error or (outcome and outcome.error),
        **about,
    )
