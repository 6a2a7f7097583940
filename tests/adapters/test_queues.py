"""Nudges and the dead-letter queue: the contract, the fake, and SNS and SQS themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.stub import ANY, Stubber

from siutindei.adapters import aws
from siutindei.adapters.memory_queue import MemoryQueue
from siutindei.adapters.sns_sqs import NoNudges, SnsSqs
from siutindei.app import ports
from siutindei.app.ports import Nudge, QueuedLetter, Unavailable, Unusable
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.aws_events import TOPIC, failed
from tests.contracts import has_signatures_of
from tests.support import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUEUE: Final = "https://sqs.ap-southeast-1.amazonaws.com/123456789012/siutindei"
DEAD: Final = f"{QUEUE}-dead"


def nudge(number: int = 1, **fields: Any) -> Nudge:
    """Make a nudge."""
    known: dict[str, Any] = {
        "work": "notification",
        "id": f"{number:032x}",
        "ticket": "R00001",
        "event_id": "notification-1/1",
        "request_id": "request-1",
        "correlation_id": "request-0",
    }
    return Nudge(**known | fields)


MESSAGE: Final = {
    "event_type": "notification.due",
    "ticket_id": "R00001",
    "notification_id": f"{1:032x}",
    "event_id": "notification-1/1",
    "request_id": "request-1",
    "correlation_id": "request-0",
}


def test_a_nudge_holds_ids_and_nothing_else() -> None:
    """It is what the contract says, for a mail and for a grant."""
    assert MESSAGE == nudge().message
    grant = nudge(work="grant", id="R00001-organization")
    assert {"event_type": "grant.due", "grant_id": "R00001-organization"}.items() <= (
        grant.message.items()
    )
    assert "notification_id" not in grant.message


# --- the contract ---------------------------------------------------------------------------------


class FakeSqs:
    """As much of SNS's and SQS's clients as is used, over a queue in memory."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        self.taken: dict[str, QueuedLetter] = {}

    def publish_batch(self, **given: Any) -> dict[str, Any]:
        """Publish."""
        for entry in given["PublishBatchRequestEntries"]:
            said = entry["MessageAttributes"]["event_type"]["StringValue"]
            self.queue.publish(entry["Message"], event_type=said)
        return {}

    def send_message(self, **given: Any) -> None:
        """Send to either queue."""
        attributes = {n: a["StringValue"] for n, a in given["MessageAttributes"].items()}
        message = self.queue._message(given["MessageBody"], **attributes)
        (self.queue._letters if given["QueueUrl"] == DEAD else self.queue._queue).append(message)

    def receive_message(self, **given: Any) -> dict[str, Any]:
        """Receive from the dead-letter queue."""
        letters = self.queue.letters(limit=given["MaxNumberOfMessages"])
        self.taken |= {letter.handle: letter for letter in letters}
        return {"Messages": [_message(letter) for letter in letters]} if letters else {}

    def delete_message(self, **given: Any) -> None:
        """Delete from the dead-letter queue."""
        self.queue.remove(self.taken[given["ReceiptHandle"]])

    def change_message_visibility_batch(self, **given: Any) -> None:
        """Show messages again."""
        self.queue.release([self.taken[entry["ReceiptHandle"]] for entry in given["Entries"]])


def _message(letter: QueuedLetter) -> dict[str, Any]:
    attributes = {"reason": letter.reason, "redriven": "1" if letter.was_redriven else None}
    return {
        "Body": letter.body,
        "ReceiptHandle": letter.handle,
        "MessageAttributes": {
            name: {"StringValue": text, "DataType": "String"}
            for name, text in attributes.items()
            if text is not None
        },
    }


@pytest.fixture(name="queue")
def _queue() -> MemoryQueue:
    return MemoryQueue(VirtualClock())


@pytest.fixture(name="port", params=["memory", "sns"])
def _port(request: pytest.FixtureRequest, queue: MemoryQueue) -> Any:
    """Both adapters over one queue."""
    if request.param == "memory":
        return queue
    fake = FakeSqs(queue)
    return SnsSqs(lambda _: fake, topic=TOPIC, queue=QUEUE, dead_letter_queue=DEAD)


@pytest.mark.parametrize("adapter", [MemoryQueue, SnsSqs, NoNudges])
def test_they_have_the_methods_of_their_ports(adapter: type) -> None:
    """Each takes the arguments that its ports name."""
    assert has_signatures_of(adapter, ports.Nudges)
    assert has_signatures_of(adapter, ports.DeadLetterQueue)


def test_what_is_sent_arrives(port: Any, queue: MemoryQueue) -> None:
    """Every nudge is a message of its own, however many there are."""
    port.send([nudge(number) for number in range(25)])
    bodies = [json.loads(json.loads(body)["Message"]) for body in queue.waiting]

    assert port.can_send
    assert [f"{number:032x}" for number in range(25)] == [b["notification_id"] for b in bodies]


def test_what_is_put_aside_lies_there_with_its_reason(port: Any) -> None:
    """A letter is ours when it was taken up, and others' again when it was released."""
    port.put("{}", reason="not_an_object")
    (letter,) = port.letters(limit=10)
    meanwhile = list(port.letters(limit=10))
    port.release([letter])
    again = port.letters(limit=10)

    assert ("{}", "not_an_object", False) == (letter.body, letter.reason, letter.was_redriven)
    assert ([], 1) == (meanwhile, len(again))


def test_a_letter_that_is_redriven_is_marked(port: Any, queue: MemoryQueue) -> None:
    """It is on the queue again, not on the other one, and says so when it comes back."""
    port.put("x", reason="r")
    port.redrive(port.letters(limit=1)[0])
    before = (queue.waiting, queue.lying)
    for _ in range(4):
        queue.receive()
        queue._clock.sleep(200)

    assert (["x"], []) == before
    assert [("x", True)] == [(one.body, one.was_redriven) for one in port.letters(limit=10)]


def test_a_letter_that_is_removed_is_gone(port: Any, queue: MemoryQueue) -> None:
    """The others stay; no more are taken up than were asked for."""
    for number in range(12):
        port.put(f"{number}", reason="r")
    taken = port.letters(limit=11)
    port.remove(taken[0])
    port.release(taken[1:])

    assert 11 == len(taken)
    assert [f"{number}" for number in range(1, 12)] == [body for body, _ in queue.lying]


# --- the fake -------------------------------------------------------------------------------------


def test_a_queue_gives_a_message_three_times_and_sets_it_aside(queue: MemoryQueue) -> None:
    """What is not deleted comes back when its time is over."""
    queue.enqueue("x")
    counts = []
    for _ in range(3):
        event = queue.receive()
        counts += [r["attributes"]["ApproximateReceiveCount"] for r in event["Records"]]
        queue.settle(event, failed("sqs-1"))

        assert [] == queue.receive()["Records"]
        queue._clock.sleep(180)

    assert (["1", "2", "3"], []) == (counts, queue.receive()["Records"])
    assert [("x", None)] == queue.lying


def test_an_answer_that_names_an_unknown_message_fails_the_batch(queue: MemoryQueue) -> None:
    """As Lambda has it."""
    queue.enqueue("x")
    queue.settle(queue.receive(), failed("another"))

    assert ["x"] == queue.waiting


def test_a_batch_has_so_many_records(queue: MemoryQueue) -> None:
    """The others come with the next one."""
    for _ in range(3):
        queue.enqueue("x")

    assert [2, 1] == [len(queue.receive(2)["Records"]) for _ in range(2)]


def test_a_raw_topic_delivers_the_message_itself() -> None:
    """Its attributes are the message's then."""
    queue = MemoryQueue(VirtualClock(), raw=True)
    queue.send([nudge()])
    (record,) = queue.receive()["Records"]

    assert MESSAGE == json.loads(record["body"])
    assert "notification.due" == record["messageAttributes"]["event_type"]["stringValue"]


def test_what_is_lost_is_lost(queue: MemoryQueue) -> None:
    """A topic that loses everything takes it all the same."""
    queue.send([nudge()])
    queue.lose()
    queue.is_lossy = True
    queue.send([nudge()])

    assert [] == queue.waiting


# --- no queue -------------------------------------------------------------------------------------


def test_without_nudges_nothing_is_sent_and_nothing_can_be_put_aside() -> None:
    """The worker asks the ledger; there is no queue that anything could lie on."""
    port, letter = NoNudges(), QueuedLetter(body="x")
    port.send([nudge()])
    for settle in (port.redrive, port.remove):
        settle(letter)
    port.release([letter])

    assert (False, ()) == (port.can_send, port.letters(limit=1))
    with pytest.raises(Unusable, match="SIUTINDEI_NUDGE is none"):
        port.put("x", reason="r")


def test_the_settings_choose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is nudged unless SNS is named; its clients are made when they are needed."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    names = {
        "SIUTINDEI_NUDGE": "sns",
        "MANAGER_REQUEST_TOPIC_ARN": TOPIC,
        "SIUTINDEI_QUEUE_URL": QUEUE,
        "SIUTINDEI_DEAD_LETTER_QUEUE_URL": DEAD,
    }
    none = build(read_settings({}, home=tmp_path))
    sns = build(read_settings(names, home=tmp_path))
    chosen: Any = sns.nudges

    assert (False, True) == (none.nudges.can_send, chosen.can_send)
    assert (True,) == (chosen is sns.dead_letter_queue,)
    assert ("sns", "ap-southeast-1", 2.0) == (
        chosen._sns.meta.service_model.service_name,
        chosen._sqs.meta.region_name,
        chosen._sqs.meta.config.read_timeout,
    )


# --- SNS and SQS ----------------------------------------------------------------------------------


@pytest.fixture(name="stubs")
def _stubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Stubber]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    stubs = {
        name: Stubber(aws.client(name, region="ap-southeast-1", read_timeout=1.0))
        for name in ("sns", "sqs")
    }
    for stub in stubs.values():
        stub.activate()
    yield stubs
    for stub in stubs.values():
        stub.assert_no_pending_responses()


@pytest.fixture(name="real")
def _real(stubs: dict[str, Stubber]) -> SnsSqs:
    return SnsSqs(lambda name: stubs[name].client, topic=TOPIC, queue=QUEUE, dead_letter_queue=DEAD)


def test_nudges_are_published_ten_at_a_time(stubs: dict[str, Stubber], real: SnsSqs) -> None:
    """With the event type as an attribute, which subscriptions can filter by."""
    for size in (10, 1):
        stubs["sns"].add_response(
            "publish_batch",
            {"Successful": [], "Failed": []},
            {"TopicArn": TOPIC, "PublishBatchRequestEntries": ANY},
        )
        assert size in {1, 10}
    real.send([nudge(number) for number in range(11)])
    stubs["sns"].add_response(
        "publish_batch",
        {},
        {
            "TopicArn": TOPIC,
            "PublishBatchRequestEntries": [
                {
                    "Id": "0",
                    "Message": json.dumps(MESSAGE),
                    "MessageAttributes": {
                        "event_type": {"DataType": "String", "StringValue": "notification.due"}
                    },
                }
            ],
        },
    )
    real.send([nudge()])


def test_nudges_that_sns_did_not_take_are_told(stubs: dict[str, Stubber], real: SnsSqs) -> None:
    """Some of a batch may be refused."""
    refused = {"Id": "0", "Code": "InternalError", "SenderFault": False, "Message": "no"}
    stubs["sns"].add_response("publish_batch", {"Failed": [refused]})
    with pytest.raises(Unavailable, match="SNS did not take 1 of 2 nudges"):
        real.send([nudge(1), nudge(2)])


def test_an_error_says_what_was_refused_and_not_what_was_sent(
    stubs: dict[str, Stubber], real: SnsSqs
) -> None:
    """The text of an error of AWS may quote what it got."""
    stubs["sqs"].add_client_error("send_message", "AccessDenied", "ann@example.com is not allowed")
    with pytest.raises(Unavailable, match=r"^SendMessage was refused: AccessDenied$"):
        real.put("ann@example.com", reason="r")


def test_a_queue_that_is_out_of_reach_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever botocore calls it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    port = SnsSqs(
        lambda name: aws.client(name, region="ap-southeast-1", read_timeout=0.2),
        topic=TOPIC,
        queue=QUEUE,
        dead_letter_queue=DEAD,
    )
    with pytest.raises(Unavailable, match="failed: EndpointConnectionError"):
        port.letters(limit=1)


def test_letters_are_put_taken_up_redriven_and_released(
    stubs: dict[str, Stubber], real: SnsSqs
) -> None:
    """The requests are those that SQS knows."""
    text = {"DataType": "String", "StringValue": "empty"}
    stubs["sqs"].add_response(
        "send_message",
        {},
        {"QueueUrl": DEAD, "MessageBody": "(empty)", "MessageAttributes": {"reason": text}},
    )
    real.put("", reason="empty")
    for messages in ([{"Body": "x", "ReceiptHandle": "h", "MessageId": "1"}], []):
        stubs["sqs"].add_response(
            "receive_message",
            {"Messages": messages} if messages else {},
            {
                "QueueUrl": DEAD,
                "MaxNumberOfMessages": ANY,
                "VisibilityTimeout": 60,
                "MessageAttributeNames": ["All"],
                "WaitTimeSeconds": 0,
            },
        )
    (letter,) = real.letters(limit=10)
    mark = {"redriven": {"DataType": "String", "StringValue": "1"}}
    stubs["sqs"].add_response(
        "send_message", {}, {"QueueUrl": QUEUE, "MessageBody": "x", "MessageAttributes": mark}
    )
    stubs["sqs"].add_response("delete_message", {}, {"QueueUrl": DEAD, "ReceiptHandle": "h"})
    real.redrive(letter)
    shown = {"Id": "0", "ReceiptHandle": "h", "VisibilityTimeout": 0}
    stubs["sqs"].add_response(
        "change_message_visibility_batch",
        {"Successful": [], "Failed": []},
        {"QueueUrl": DEAD, "Entries": [shown]},
    )
    real.release([letter])

    assert ("x", None, False) == (letter.body, letter.reason, letter.was_redriven)
