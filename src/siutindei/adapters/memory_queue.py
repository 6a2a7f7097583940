"""SNS and SQS in memory: for tests, and to see what a queue does to what is sent."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.app.ports import QueuedLetter, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from siutindei.app.ports import Clock, Nudge

TOPIC: Final = "arn:aws:sns:ap-southeast-1:123456789012:siutindei"


@attrs.define(kw_only=True)
class _Message:
    id: str
    body: str
    attributes: dict[str, str]
    hidden_until: datetime
    receives: int = 0


class MemoryQueue:
    """It implements `siutindei.app.ports.Nudges` and `siutindei.app.ports.DeadLetterQueue`.

    Behind its topic is a queue that behaves as SQS does: a message that was received is hidden for
    a while and comes back unless it is deleted, and one that came too often is moved to the
    dead-letter queue.

    Args:
        clock: tells when a message is seen again.
        visibility: how long a message that was received is hidden.
        max_receives: how often a message is received before it is moved.
        raw: whether the topic delivers messages without its envelope.

    Attributes:
        is_lossy: whether everything that is sent is lost, although it is said to be taken.
    """

    can_send: Final = True

    def __init__(
        self,
        clock: Clock,
        *,
        visibility: timedelta = timedelta(seconds=180),
        max_receives: int = 3,
        raw: bool = False,
    ) -> None:
        self.is_lossy: bool = False
        self._clock = clock
        self._visibility = visibility
        self._max_receives = max_receives
        self._raw = raw
        self._numbers: Final = itertools.count(1)
        self._queue: list[_Message] = []
        self._letters: list[_Message] = []
        self._taken: dict[str, _Message] = {}
        self._refusals: list[Exception] = []

    # --- the ports --------------------------------------------------------------------------------

    def send(self, nudges: Sequence[Nudge]) -> None:
        self._may_fail()
        for nudge in nudges:
            self.publish(json.dumps(nudge.message), event_type=nudge.event_type)

    def put(self, body: str, *, reason: str) -> None:
        self._may_fail()
        self._letters.append(self._message(body, reason=reason))

    def letters(self, *, limit: int) -> Sequence[QueuedLetter]:
        self._may_fail()
        now = self._clock.now()
        seen = [message for message in self._letters if message.hidden_until <= now][:limit]
        found = []
        for message in seen:
            message.hidden_until = now + timedelta(minutes=1)
            self._taken[message.id] = message
            found.append(
                QueuedLetter(
                    body=message.body,
                    reason=message.attributes.get("reason"),
                    was_redriven="redriven" in message.attributes,
                    handle=message.id,
                )
            )
        return found

    def redrive(self, letter: QueuedLetter) -> None:
        self._may_fail()
        self._queue.append(self._message(letter.body, redriven="1"))
        self.remove(letter)

    def remove(self, letter: QueuedLetter) -> None:
        self._may_fail()
        taken = self._taken.pop(letter.handle)
        self._letters = [message for message in self._letters if message is not taken]

    def release(self, letters: Sequence[QueuedLetter]) -> None:
        self._may_fail()
        for letter in letters:
            self._taken.pop(letter.handle).hidden_until = self._clock.now()

    # --- what AWS does ----------------------------------------------------------------------------

    def then_fails(self, times: int = 1) -> None:
        """Let the next calls fail."""
        self._refusals += [Unavailable("the queue is out of reach")] * times

    def publish(self, message: str, *, event_type: str) -> None:
        """Publish a message on the topic, as anybody may who is allowed to."""
        if self.is_lossy:
            return
        if self._raw:
            self._queue.append(self._message(message, event_type=event_type))
            return
        envelope = {
            "Type": "Notification",
            "MessageId": f"sns-{next(self._numbers)}",
            "TopicArn": TOPIC,
            "Message": message,
            "Timestamp": self._clock.now().isoformat(),
            "MessageAttributes": {"event_type": {"Type": "String", "Value": event_type}},
        }
        self._queue.append(self._message(json.dumps(envelope)))

    def enqueue(self, body: str) -> None:
        """Put a body on the queue as it is, whatever it is."""
        self._queue.append(self._message(body))

    def receive(self, most: int = 10) -> dict[str, Any]:
        """Give what can be received now, as Lambda gets it; what came too often is moved."""
        now, records = self._clock.now(), list[dict[str, Any]]()
        for message in [each for each in self._queue if each.hidden_until <= now]:
            if message.receives >= self._max_receives:
                self._queue.remove(message)
                self._letters.append(message)
            elif len(records) < most:
                message.receives += 1
                message.hidden_until = now + self._visibility
                records.append(_record(message))
        return {"Records": records}

    def settle(self, event: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        """Delete what a handler did not report as failed."""
        given = {record["messageId"] for record in event["Records"]}
        failed = {entry["itemIdentifier"] for entry in answer["batchItemFailures"]}
        if not failed <= given:
            # An unknown name fails the whole batch.
            failed = given
        self._queue = [each for each in self._queue if each.id not in given - failed]

    def drain(self, handler: Callable[[Any, Any], dict[str, Any]]) -> int:
        """Let a handler work until nothing can be received now; count the batches."""
        batches = 0
        while (event := self.receive())["Records"]:
            self.settle(event, handler(event, None))
            batches += 1
        return batches

    def lose(self) -> None:
        """Lose everything that waits to be received."""
        self._queue.clear()

    @property
    def waiting(self) -> list[str]:
        """The bodies that are on the queue, hidden or not."""
        return [message.body for message in self._queue]

    @property
    def lying(self) -> list[tuple[str, str | None]]:
        """The bodies that are on the dead-letter queue, each with its reason."""
        return [(message.body, message.attributes.get("reason")) for message in self._letters]

    def _message(self, body: str, **attributes: str) -> _Message:
        number = next(self._numbers)
        now = self._clock.now()
        return _Message(id=f"sqs-{number}", body=body, attributes=attributes, hidden_until=now)

    def _may_fail(self) -> None:
        if self._refusals:
            raise self._refusals.pop()


def _record(message: _Message) -> dict[str, Any]:
    return {
        "messageId": message.id,
        "receiptHandle": f"{message.id}-{message.receives}",
        "body": message.body,
        "attributes": {"ApproximateReceiveCount": str(message.receives)},
        "messageAttributes": {
            name: {"stringValue": text, "dataType": "String"}
            for name, text in message.attributes.items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-southeast-1:123456789012:siutindei",
        "awsRegion": "ap-southeast-1",
    }
