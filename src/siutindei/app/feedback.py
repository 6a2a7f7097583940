"""Feedback: what the mail service reports of mails that it took.

Reports come late, twice, in any order, and before the send itself was recorded; what they amount to
is the same. One that names no mail that we know is parked, and applied when the send is recorded
(`reports`). What follows for the address is decided in the same transaction (`suppressions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app import messages
from siutindei.app.commands import transact
from siutindei.app.folding import notification_of, reports_of, version_of
from siutindei.app.ports import Clock, EventStore, Report, ReportReader
from siutindei.app.reports import append_with_reports, settle
from siutindei.app.suppressions import Consequences
from siutindei.domain import notification
from siutindei.domain import report as reporting
from siutindei.domain.errors import Invalid
from siutindei.domain.suppression import Suppressed

if TYPE_CHECKING:
    from siutindei.app.ports import Context, Transaction, Views

#: What SES writes to a topic, as plain text, when it is told to publish there.
_VALIDATED: Final = "Successfully validated SNS topic"

Result = Literal["recorded", "known", "ignored", "parked", "not_ours"]


@attrs.frozen(kw_only=True)
class Heard:
    """What one report settled.

    Attributes:
        result: `recorded`, `known` before, `ignored` (we have no use for it), `parked` (the mail is
            not known yet), or `not_ours` (kept aside: its tags are somebody else's).
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
        """Record what is reported of a mail; keep it while nobody knows the mail.

        Raises:
            Unavailable: the store is not there.
        """
        kind = report.kind
        if kind == "ignored":
            return Heard(result="ignored", report=report)
        now = self.clock.now()
        said = reporting.Parked(
            kind=kind,
            name=report.name,
            message_id=report.message_id,
            feedback_id=report.feedback_id,
            main_type=report.main_type,
            sub_type=report.sub_type,
            status=report.status,
            foreign=report.is_tagged,
            # What is reported of the future was written by a clock that is ahead.
            happened_at=min(report.at or now, now),
            at=now,
        )

        def work(tx: Transaction) -> Heard:
            # Under the lock: a send that is recorded at this moment finds what is parked, or is
            # found.
            id = _find(tx.views, report)
            if id is None:
                return _park(tx, report, said)
            events = tx.load(notification.stream(id))
            state = notification_of(events)
            decided = settle(state, said)
            appended = append_with_reports(tx, events, decided, cause=events[-1], at=now)
            followed = self.consequences.follow(tx, state, appended)
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


def _park(tx: Transaction, report: Report, said: reporting.Parked) -> Heard:
    """Keep what was reported of a mail that nobody knows; without its name there is no use."""
    if not report.message_id:
        return Heard(result="not_ours", report=report)
    stream = reporting.stream(report.message_id)
    events = tx.load(stream)
    appended = tx.append(stream, version_of(events), reporting.park(reports_of(events), said))
    status = reports_of([*events, *appended]).status
    return Heard(
        result="not_ours" if status == "foreign" else "parked",
        report=report,
        events=tuple(entry.id for entry in appended),
    )
