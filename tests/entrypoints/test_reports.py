"""Reports of SES in every form that they come in: of mails that are ours, and of others'."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.entrypoints import feedback, runtime
from tests.app.world import World, make_world
from tests.aws_events import (
    DETAILS,
    batch,
    enveloped,
    failed,
    notified,
    published,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: What is asked of nobody: SES reports it all the same when somebody asks.
IGNORED: Final = {"Open", "Click", "Subscription"}
#: What a mail of ours is afterwards.
STATUSES: Final = {
    "Send": "accepted",
    "Delivery": "delivered",
    "DeliveryDelay": "delayed",
    "Bounce": "bounced",
    "Complaint": "complained",
    "Reject": "dead_lettered",
    "Rendering Failure": "dead_lettered",
}
#: What says which mail it is: without it nobody could tell.
NAMES: Final = {"messageId", "tags"}

Report = dict[str, Any]


# --- forms ----------------------------------------------------------------------------------------


def parts(report: Report) -> tuple[Report, str]:
    """Give the mail of a report, and the name of its details."""
    (where,) = report.keys() - {"eventType", "notificationType", "mail"}
    return report["mail"], where


def as_it_is(report: Report) -> Report:
    """Change nothing."""
    return report


def with_several_recipients(report: Report) -> Report:
    """Name everybody twice."""
    mail, where = parts(report)
    lists = {name: value * 2 for name, value in report[where].items() if isinstance(value, list)}
    others = {"destination": [*mail["destination"], "bob@example.com"]}
    return {**report, "mail": mail | others, where: report[where] | lists}


def without_lists(report: Report) -> Report:
    """Leave out every list, of recipients and of headers."""
    mail, where = parts(report)
    left = {
        key: {name: value for name, value in part.items() if not isinstance(value, list)}
        for key, part in (("mail", mail), (where, report[where]))
    }
    return {**report, **left}


def with_empty_lists(report: Report) -> Report:
    """Empty every list."""
    mail, where = parts(report)
    emptied = {
        key: {name: [] if isinstance(value, list) else value for name, value in part.items()}
        for key, part in (("mail", mail), (where, report[where]))
    }
    return {**report, **emptied}


def with_nulls(report: Report) -> Report:
    """Put null wherever something may be missing."""
    mail, where = parts(report)
    said = {"eventType": None, "notificationType": None} | report
    return said | {
        "mail": {name: value if name in NAMES else None for name, value in mail.items()},
        where: dict.fromkeys(report[where]),
    }


def with_lists_of_nulls(report: Report) -> Report:
    """Put null and what is no recipient into every list."""
    mail, where = parts(report)
    odd: list[Any] = [None, 1, "x", {}]
    lists = {name: odd for name, value in report[where].items() if isinstance(value, list)}
    return {**report, "mail": mail | {"destination": odd}, where: report[where] | lists}


def without_details(report: Report) -> Report:
    """Leave the details out."""
    _, where = parts(report)
    return {name: value for name, value in report.items() if name != where}


def with_null_details(report: Report) -> Report:
    """Put null in place of the details."""
    _, where = parts(report)
    return {**report, where: None}


def with_unknown_fields(report: Report) -> Report:
    """Add what may come tomorrow, everywhere."""
    mail, where = parts(report)
    new = {"newField": {"a": [1, None, "bob@example.com"]}, "": "x"}
    return {**report, **new, "mail": mail | new, where: report[where] | new}


FORMS: Final[tuple[Callable[[Report], Report], ...]] = (
    as_it_is,
    with_several_recipients,
    without_lists,
    with_empty_lists,
    with_nulls,
    with_lists_of_nulls,
    without_details,
    with_null_details,
    with_unknown_fields,
)


def every_way(report: Report) -> list[dict[str, Any]]:
    """Give the records that bring a report: as it is, and in the envelope of SNS."""
    return [record(report, id="raw"), record(enveloped(report), id="enveloped")]


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False, has_feedback=True))
    with runtime.use(world.services):
        yield world


def counted(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Give the counts that were written; nothing personal is among them, nor in the log."""
    shown = capsys.readouterr()
    assert "example.com" not in shown.err + shown.out
    (line,) = [json.loads(line) for line in shown.out.splitlines()]
    return {name: count for name, count in line.items() if name != "_aws"}


# --- tests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("kind", DETAILS)
def test_a_report_of_a_mail_that_was_never_ours_is_acknowledged_and_counted(
    world: World, capsys: pytest.CaptureFixture[str], kind: str, form: Callable[[Report], Report]
) -> None:
    """Published or an identity's, enveloped or raw, whole or not: it is kept aside, and counted."""
    world.submit()
    world.drain()
    before = world.store.last_position()
    reports = [form(published(kind, tag="f" * 32)), form(published(kind)), form(notified(kind))]
    capsys.readouterr()
    answer = feedback.handler(batch(*(one for each in reports for one in every_way(each))), None)

    assert failed() == answer
    found = counted(capsys)
    assert {"ReportsIgnored", "ReportsNotOurs", "ReportsParked"} >= found.keys()
    assert 6 == sum(found.values())
    assert (6 if kind in IGNORED else 0) == found.get("ReportsIgnored", 0)
    after = [entry.stream for entry in world.store.read(after=before)]
    assert {"report"} >= {stream.partition("-")[0] for stream in after}
    assert bool(after) == (kind not in IGNORED)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("kind", STATUSES)
@pytest.mark.parametrize("is_tagged", [True, False], ids=["published", "notified"])
def test_a_report_of_a_mail_of_ours_is_recorded_in_every_form(
    world: World,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    form: Callable[[Report], Report],
    is_tagged: bool,  # pytest names it
) -> None:
    """It is recorded once, however it comes and whatever is missing in it."""
    id = world.notice_id(world.submit())
    world.drain()
    message_id = world.notices(id).message_id or ""
    ours = published(kind, tag=id) if is_tagged else notified(kind, message_id=message_id)
    capsys.readouterr()
    answer = feedback.handler(batch(*every_way(form(ours))), None)
    found = counted(capsys)

    assert failed() == answer
    assert STATUSES[kind] == world.notices(id).status
    known = {"ReportsRecorded", "ReportsKnown", "AddressesSuppressed", f"Mails{_word(kind)}"}
    assert known >= found.keys()
    assert 2 == found.get("ReportsRecorded", 0) + found.get("ReportsKnown", 0)


def _word(kind: str) -> str:
    status = STATUSES[kind]
    return "Rejected" if status == "dead_lettered" else status.capitalize()


@pytest.mark.parametrize(
    "body",
    [
        "Successfully validated SNS topic for Amazon SES event publishing.",
        {
            "notificationType": "AmazonSnsSubscriptionSucceeded",
            "message": "You have successfully subscribed your Amazon SNS topic to receive 'Bounce'"
            " notifications from Amazon SES for identity 'ann@example.com'.",
        },
        {"eventType": "Tomorrow", "mail": {"messageId": "x"}},
        {"eventType": "Received", "mail": None},
    ],
)
def test_what_ses_says_beside_its_reports_is_acknowledged(
    world: World, capsys: pytest.CaptureFixture[str], body: Any
) -> None:
    """When it is told where to publish, and when it knows events that we do not."""
    answer = feedback.handler(batch(record(body, id="a"), record(enveloped(body), id="b")), None)

    assert failed() == answer
    assert {"ReportsIgnored": 2} == counted(capsys)
