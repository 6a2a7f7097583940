"""What reports amount to: of a mail that is known, and of one that gets known later."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siutindei.app.folding import notification_of, reports_of, version_of
from siutindei.app.lanes import resume_after
from siutindei.domain import notification, report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from siutindei.app.ports import Recorded, Transaction


def append_with_reports(
    tx: Transaction,
    events: Sequence[Recorded],
    decided: Sequence[notification.Event],
    *,
    cause: Recorded,
    at: datetime,
) -> tuple[Recorded, ...]:
    """Append to a mail; when it says under which id the mail was taken, what is parked too.

    Args:
        tx: the transaction.
        events: what happened to the mail so far.
        decided: what happens to it now.
        cause: the event that this follows from.
        at: the time.
    """
    stream = cause.stream
    known = [*events, *tx.append(stream, version_of(events), decided, cause=cause)]
    for entry in known[len(events) :]:
        if not isinstance(entry.event, notification.Accepted):
            continue
        place = report.stream(entry.event.message_id)
        parked = tx.load(place)
        reports = reports_of(parked)
        id = stream.removeprefix(f"{notification.CATEGORY}-")
        applied = report.apply(reports, notification=id, at=at)
        resume_after(tx, known, at=at)
        for said in reports.waiting:
            follows = settle(notification_of(known), said)
            known += tx.append(stream, version_of(known), follows, cause=entry)
        tx.append(place, version_of(parked), applied, cause=entry)
    return tuple(known[len(events) :])


def settle(state: notification.Notification, said: report.Parked) -> tuple[notification.Event, ...]:
    """Decide what a report amounts to for its mail."""
    at = said.happened_at
    if said.kind == "rejected":
        error = f"{said.name}: {said.main_type}" if said.main_type else said.name
        return notification.reject(state, message_id=said.message_id, error=error, at=at)
    return notification.hear(state, message_id=said.message_id, heard=_feedback(said), at=at)


def _feedback(said: report.Parked) -> notification.Feedback | None:
    at, feedback_id = said.happened_at, said.feedback_id
    match said.kind:
        case "delivered":
            return notification.Delivered(feedback_id=feedback_id, at=at)
        case "delayed":
            return notification.Delayed(feedback_id=feedback_id, delay_type=said.main_type, at=at)
        case "bounced":
            return notification.Bounced(
                feedback_id=feedback_id,
                bounce_type=said.main_type,
                bounce_subtype=said.sub_type,
                status=said.status,
                at=at,
            )
        case "complained":
            return notification.Complained(
                feedback_id=feedback_id,
                complaint_type=said.main_type or None,
                complaint_subtype=said.sub_type or None,
                at=at,
            )
        case _:
            return None
