"""Reports of SES: every kind, with less in them than today and with more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from siutindei.adapters.ses_events import SesEvents
from siutindei.app import ports
from siutindei.app.ports import Report
from siutindei.domain.errors import Invalid
from tests.aws_events import DETAILS, FEEDBACK_ID, MESSAGE_ID, notified, published
from tests.contracts import has_signatures_of

TAG: Final = "0f3c9b1e5d7a4c2f8e6b0a1d2c3e4f50"
AT: Final = datetime(2026, 1, 31, 1, 31, 2, 3000, tzinfo=UTC)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=10,
)


def read(message: dict[str, Any]) -> Report:
    """Read a report."""
    return SesEvents().read(message)


def test_it_has_the_methods_of_its_port() -> None:
    """The reader takes the arguments that its port names."""
    assert has_signatures_of(SesEvents, ports.ReportReader)


@pytest.mark.parametrize(
    ("name", "kind", "main", "sub", "status", "feedback_id"),
    [
        ("Send", "accepted", "", "", None, f"accepted:{MESSAGE_ID}:"),
        ("Delivery", "delivered", "", "", None, f"delivered:{MESSAGE_ID}"),
        ("DeliveryDelay", "delayed", "MailboxFull", "", None, f"delayed:{MESSAGE_ID}:"),
        ("Bounce", "bounced", "Permanent", "General", "5.1.1", FEEDBACK_ID),
        ("Complaint", "complained", "abuse", "", None, FEEDBACK_ID),
        ("Reject", "rejected", "Bad content", "", None, f"rejected:{MESSAGE_ID}:"),
        ("Rendering Failure", "rejected", "", "", None, f"rejected:{MESSAGE_ID}:"),
    ],
)
def test_every_kind_of_event_is_read(
    name: str, kind: str, main: str, sub: str, status: str | None, feedback_id: str
) -> None:
    """A published event says what became of which mail, with the notification's own id."""
    found = read(published(name, tag=TAG))

    assert (kind, name, MESSAGE_ID, TAG) == (
        found.kind,
        found.name,
        found.message_id,
        found.notification_id,
    )
    assert (main, sub, status) == (found.main_type, found.sub_type, found.status)
    assert found.feedback_id.startswith(feedback_id)
    assert found.at is not None


@pytest.mark.parametrize("name", ["Open", "Click", "Subscription", "Tomorrow", ""])
def test_what_we_have_no_use_for_is_said_to_be_ignored(name: str) -> None:
    """Opens and clicks are not asked for, and new kinds of events may come."""
    assert "ignored" == read({**published("Send"), "eventType": name}).kind


@pytest.mark.parametrize("name", ["Bounce", "Complaint", "Delivery"])
def test_the_notifications_of_an_identity_are_read_too(name: str) -> None:
    """They have no tags, another key for their kind, and times that are nearly ISO 8601."""
    found = read(notified(name))

    assert (MESSAGE_ID, None, AT.replace(microsecond=0)) == (
        found.message_id,
        found.notification_id,
        found.at,
    )
    assert found.kind == read(published(name)).kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T01:31:02.003Z", AT),
        ("2026-01-31T09:31:02.003+08:00", AT),
        ("2026-01-31T01:31:02.003", AT),
        ("2026-01-31T01:31:02.003  +0000 ", AT),
        ("2026-01-31 01:31:02.003+00:00", AT),
        ("yesterday", None),
        ("0001-01-01T00:00:00+08:00", None),
        ("", None),
        (None, None),
        (1769823062, None),
    ],
)
def test_a_time_is_read_however_it_is_written(text: object, expected: datetime | None) -> None:
    """What cannot be read as a time is no reason to lose a report."""
    assert expected == read(published("Bounce", timestamp=text)).at


def test_what_is_missing_is_left_out() -> None:
    """A complaint about an address on the account's list has no recipients, others have less."""
    bare = {"eventType": "Bounce", "mail": {"messageId": MESSAGE_ID}}
    complaint = published("Complaint", complaintSubType="OnAccountSuppressionList")
    del complaint["complaint"]["complainedRecipients"]

    assert (
        Report(
            kind="bounced",
            name="Bounce",
            message_id=MESSAGE_ID,
            feedback_id=f"bounced:{MESSAGE_ID}",
        )
    ) == read(bare)
    assert "OnAccountSuppressionList" == read(complaint).sub_type
    assert "" == read({"eventType": "Send", "mail": {"messageId": None, "x": 1}}).message_id


def test_of_several_recipients_the_first_status_code_counts() -> None:
    """Recipients may be without one, or no recipients at all."""
    recipients = [None, {}, {"status": "unknown"}, {"status": "5.2.2"}, {"status": "4.0.0"}]

    assert "5.2.2" == read(published("Bounce", bouncedRecipients=recipients)).status
    assert None is read(published("Bounce", bouncedRecipients="ann")).status


def test_a_delay_is_told_from_the_next_one_and_not_from_itself() -> None:
    """What has no id of its own gets one that is the same when the report comes twice."""
    one, same = read(published("DeliveryDelay")), read(published("DeliveryDelay"))
    other = read(published("DeliveryDelay", timestamp="2026-01-31T02:00:00Z"))

    assert one == same
    assert one.feedback_id != other.feedback_id


def test_nothing_personal_comes_out_of_it() -> None:
    """Types and ids that do not look like one may be anything: they are replaced."""
    for name in DETAILS:
        assert "ann" not in repr(read(published(name, tag=TAG)))
    report = read(
        published(
            "Bounce",
            bounceType="ann@example.com",
            bounceSubType="x" * 65,
            feedbackId="for ann@example.com",
        )
    )

    assert ("other", "other") == (report.main_type, report.sub_type)
    assert report.feedback_id.startswith("sha256:")
    assert len("sha256:") + 32 == len(report.feedback_id)


@pytest.mark.parametrize("tags", [None, [], {"notification_id": "x"}, {"notification_id": [1]}])
def test_a_tag_that_is_no_id_is_no_tag(tags: object) -> None:
    """The tag of somebody else's mail is not ours."""
    event = published("Send")
    event["mail"]["tags"] = tags

    assert None is read(event).notification_id


def test_a_tag_may_be_a_list_or_a_text() -> None:
    """Either way it names the notification."""
    event = published("Send")
    event["mail"]["tags"] = {"notification_id": TAG}

    assert TAG == read(event).notification_id


@pytest.mark.parametrize(
    "message", [{}, {"eventType": 7}, {"eventType": "Bounce"}, {"eventType": "Send", "mail": []}]
)
def test_what_is_no_report_is_refused(message: dict[str, Any]) -> None:
    """Without a kind, or without a mail, nobody can tell what is reported."""
    with pytest.raises(Invalid):
        read(message)


@for_all(
    kind=st.sampled_from([*DETAILS, "x"]),
    mail=JSON,
    details=JSON,
    path=st.lists(st.sampled_from(["mail", "bounce", "complaint", "delivery"]), max_size=2),
)
def test_whatever_is_in_a_report_it_is_read_or_refused(
    kind: str, mail: object, details: object, path: list[str]
) -> None:
    """No shape of a report ends in anything but a report or a refusal."""
    event: dict[str, Any] = published(kind) if kind in DETAILS else {"eventType": kind}
    event |= {"mail": mail} | dict.fromkeys(path, details)
    try:
        found = read(event)
    except Invalid:
        return

    assert found.kind in {
        *("accepted", "delivered", "delayed", "bounced", "complained", "rejected", "ignored")
    }
