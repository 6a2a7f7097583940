"""Feedback: what the mail service reports of mails that it took.

Reports come late, twice, in any order, and before the send itself was recorded; what they amount to
is the same. What follows for the address is decided in the same transaction: see `suppressions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app import messages
from siutindei.app.commands import transact
from siutindei.app.folding import notification_of, version_of
from siutindei.app.ports import Clock, EventStore, Report, ReportReader
from siutindei.app.suppressions import Consequences
from siutindei.domain import notification
from siutindei.domain.errors import Invalid
from siutindei.domain.suppression import Suppressed

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Context, Transaction, Views

#: What SES writes to a topic, as plain text, when it is told to publish there.
_VALIDATED: Final = "Successfully validated SNS topic"

Result = Literal["recorded", "known", "ignored", "not_ours"]


@attrs.frozen(kw_only=True)
class Heard:
    """What one report settled.

    Attributes:
        result: `recorded`, `known` before, `ignored` (we have no use for it), or `not_ours`.
        report: what was reported.
        notification_id: the mail that it is about.
        status: where that mail stands now.
        events: what was recorded, by their ids.
        suppressed: whether the address is not mailed to any more because of it.
        correlation_id: what ties the mail to the request that caused it.
        causation_id: the event that asked for the mail.
    """

    result: Result
    report: Report
    notification_id: str | None = None
    status: notification.Status | None = None
    events: tuple[str, ...] = ()
    suppressed: bool = False
    correlation_id: str | None = None
    causation_id: str | None = None


@attrs.frozen(kw_only=True)
class Feedback:
    """The use cases of feedback."""

    store: EventStore
    clock: Clock
    reader: ReportReader
    consequences: Consequences

    def read(self, body: object) -> Report:
        """Read a report, enveloped by SNS or raw.

        Raises:
            Invalid: it is none.
        """
        try:
            text, _ = messages.unwrap(body)
            if text.strip().startswith(_VALIDATED):
                return Report(kind="ignored", name="validation")
            return self.reader.read(messages.parse(text))
        except messages.Unreadable as problem:
            raise Invalid("report", _WRONG[str(problem)]) from None

    def hear(self, context: Context, report: Report) -> Heard:
        """Record what is reported of a mail, if the mail is ours.

        Raises:
            Unavailable: the store is not there.
        """
        if report.kind == "ignored":
            return Heard(result="ignored", report=report)
        id = _find(self.store.views, report)
        if id is None:
            return Heard(result="not_ours", report=report)
        stream = notification.stream(id)

        def work(tx: Transaction) -> Heard:
            events = tx.load(stream)
            state = notification_of(events)
            decided = _decide(state, report, self.clock.now())
            appended = tx.append(stream, version_of(events), decided, cause=events[-1])
            followed = (
                ()
                if state.requested is None
                else self.consequences.follow(tx, state.requested, appended)
            )
            return Heard(
                result="recorded" if appended else "known",
                report=report,
                notification_id=id,
                status=notification_of([*events, *appended]).status,
                events=tuple(entry.id for entry in (*appended, *followed)),
                suppressed=any(isinstance(entry.event, Suppressed) for entry in followed),
                correlation_id=events[0].context.correlation_id,
                causation_id=events[0].context.causation_id,
            )

        return transact(self.store, context, work)


_WRONG: Final = {
    "empty": "is empty",
    "not_json": "is not JSON",
    "not_an_object": "is not a JSON object",
    "foreign_envelope": "is an envelope without a report in it",
}


def _find(views: Views, report: Report) -> str | None:
    """Find the mail by its tag, or by what the service calls it (older reports have no tags)."""
    tagged = report.notification_id
    if tagged is not None and views.find_notification(tagged) is not None:
        return tagged
    return views.find_message(report.message_id)


def _decide(
    state: notification.Notification, report: Report, now: datetime
) -> tuple[notification.Event, ...]:
    # What is reported of the future was written by a clock that is ahead.
    at = min(report.at or now, now)
    if report.kind == "rejected":
        error = f"{report.name}: {report.main_type}" if report.main_type else report.name
        return notification.reject(state, message_id=report.message_id, error=error, at=at)
    return notification.hear(
        state, message_id=report.message_id, heard=_feedback(report, at), at=at
    )


def _feedback(report: Report, at: datetime) -> notification.Feedback | None:
    match report.kind:
        case "delivered":
            return notification.Delivered(feedback_id=report.feedback_id, at=at)
        case "delayed":
            return notification.Delayed(
                feedback_id=report.feedback_id, delay_type=report.main_type, at=at
            )
        case "bounced":
            return notification.Bounced(
                feedback_id=report.feedback_id,
                bounce_type=report.main_type,
                bounce_subtype=report.sub_type,
                status=report.status,
                at=at,
            )
        case "complained":
            return notification.Complained(
                feedback_id=report.feedback_id,
                complaint_type=report.main_type or None,
                complaint_subtype=report.sub_type or None,
                at=at,
            )
        case _:
            return None
