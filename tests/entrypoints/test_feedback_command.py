"""`feedback ingest`: what SES reported, from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest

from tests.aws_events import MESSAGE_ID, enveloped, notified, published

if TYPE_CHECKING:
    from pathlib import Path

    from tests.entrypoints.commands import Cli
    from tests.support import VirtualClock

GREETING: Final = "Successfully validated SNS topic for Amazon SES event publishing."


@pytest.fixture(name="id")
def _id(cli: Cli) -> str:
    """Send a notice, and give its id."""
    cli.access()
    cli("worker", "--once")
    (item,) = cli.json("notification", "list")["items"]
    id: str = item["id"]
    return id


def write(folder: Path, *events: object, indent: int | None = None) -> str:
    """Write events into a file, one on each line."""
    path = folder / "events.json"
    texts = (e if isinstance(e, str) else json.dumps(e, indent=indent) for e in events)
    path.write_text("\n".join(texts), encoding="utf-8")
    return str(path)


def test_one_event_is_recorded_and_said_to_be(cli: Cli, tmp_path: Path, id: str) -> None:
    """It says what it settled; a second time it is known."""
    file = write(tmp_path, published("Bounce", tag=id), indent=2)
    (item,) = cli.json("feedback", "ingest", file)["items"]

    assert {
        "report": "Bounce",
        "kind": "bounced",
        "result": "recorded",
        "notification": id,
        "status": "bounced",
    }.items() <= item.items()
    assert 3 == len(item["events"])
    assert item["suppressed"]
    assert "known" in cli("feedback", "ingest", file).out
    assert "bounced" == cli.json("notification", "show", id)["status"]


def test_a_mail_is_found_by_what_the_port_called_it(cli: Cli, tmp_path: Path, id: str) -> None:
    """The message id that `notification show` prints is enough."""
    message_id = cli.json("notification", "show", id)["message_id"]
    file = write(tmp_path, published("Delivery", message_id=message_id))
    (item,) = cli.json("feedback", "ingest", file)["items"]

    assert (id, "delivered") == (item["notification"], item["status"])


def test_many_events_stand_one_on_each_line(cli: Cli, tmp_path: Path, id: str) -> None:
    """Enveloped or raw, ours or not; blank lines count for nothing."""
    events = (
        *(enveloped(published("Delivery", tag=id)), "", published("Complaint", tag=id)),
        *(published("Send", message_id="never-ours"), published("Click"), GREETING),
    )
    found = cli.json("--command-id", "x", "feedback", "ingest", write(tmp_path, *events))["items"]

    assert ["recorded", "recorded", "not_ours", "ignored", "ignored"] == [
        item["result"] for item in found
    ]
    assert "complained" == cli.json("notification", "show", id)["status"]


def test_a_mail_that_was_never_ours_is_not_found(cli: Cli, tmp_path: Path, id: str) -> None:
    """It ends with 3, and names what SES called it."""
    event = published("Bounce", message_id="never-ours")
    done = cli("feedback", "ingest", write(tmp_path, event), code=3)

    assert "never-ours" in done.err
    assert "is kept until there is" in done.err


def test_what_nobody_knows_is_listed(cli: Cli, tmp_path: Path, id: str) -> None:
    """Parked or kept aside, with counts; what became known is counted only."""
    cli("--json", "feedback", "ingest", write(tmp_path, published("Bounce", tag="f" * 32)), code=3)
    cli("feedback", "ingest", write(tmp_path, notified("Delivery", message_id="later")), code=3)
    shown = cli.json("feedback", "list")

    assert [("later", "parked", ["Delivery"]), (MESSAGE_ID, "foreign", ["Bounce"])] == [
        (item["message_id"], item["status"], item["reports"]) for item in shown["items"]
    ]
    assert {"parked": 1, "foreign": 1, "applied": 0} == shown["counts"]
    assert "1 parked, 1 foreign, 0 applied" in cli("feedback", "list").out
    cli("feedback", "ingest", write(tmp_path, published("Send", tag=id, message_id="later")))
    assert {"parked": 0, "foreign": 1, "applied": 1} == cli.json("feedback", "list")["counts"]
    assert "delivered" == cli.json("notification", "show", id)["status"]


def test_doctor_tells_what_is_parked_for_long(
    cli: Cli, tmp_path: Path, clock: VirtualClock
) -> None:
    """It counts what was reported, and says where to look at a report whose mail never came."""
    file = write(tmp_path, notified("Delivery", message_id="never"))
    cli("feedback", "ingest", file, code=3)
    assert "reports  1 parked" in cli("doctor", "--deep").out
    clock.advance(hours=24)
    (problem,) = cli.json("doctor", "--deep", code=1)["problems"]

    assert "no mail is known by that name" in problem["what"]
    assert "feedback list" in problem["mend"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x", "line 2: the report is not JSON"),
        ("[]", "line 2: the report is not a JSON object"),
        ("{}", "line 2: the report names no eventType"),
        ('{"eventType": "Send"}', "line 2: the report has no mail"),
    ],
)
def test_nothing_is_recorded_when_one_line_is_no_report(
    cli: Cli, tmp_path: Path, id: str, text: str, why: str
) -> None:
    """The line is named, and what stood in it is not."""
    done = cli("feedback", "ingest", write(tmp_path, published("Bounce", tag=id), text), code=2)

    assert why in done.err
    assert "accepted" == cli.json("notification", "show", id)["status"]


def test_a_file_without_an_event_is_refused(cli: Cli, tmp_path: Path) -> None:
    """Whoever gives one has given the wrong file."""
    assert "holds no event" in cli("feedback", "ingest", write(tmp_path, " ", ""), code=2).err


def test_what_is_no_text_is_refused(cli: Cli, tmp_path: Path) -> None:
    """A file that is not UTF-8 holds no event."""
    path = tmp_path / "events.json"
    path.write_bytes(b"\xff\xfe")

    assert "is not UTF-8" in cli("feedback", "ingest", str(path), code=2).err
