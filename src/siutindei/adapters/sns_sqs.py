"""Nudges over SNS, and the dead-letter queue of the SQS queue that they go to."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from siutindei.app.ports import QueuedLetter, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siutindei.app.ports import Nudge

#: As many as one call of SNS or SQS takes.
_BATCH: Final = 10
#: How long a letter that was taken up stays out of others' sight, in seconds.
_OURS: Final = 60
_REASON: Final = "reason"
_REDRIVEN: Final = "redriven"


class NoNudges:
    """Nobody is nudged: the worker asks the ledger. It implements Nudges and DeadLetterQueue."""

    can_send: Final = False

    def send(self, nudges: Sequence[Nudge]) -> None:
        return

    def put(self, body: str, *, reason: str) -> None:
        raise Unusable("there is no dead-letter queue: SIUTINDEI_NUDGE is none")

    def letters(self, *, limit: int) -> Sequence[QueuedLetter]:
        return ()

    def redrive(self, letter: QueuedLetter) -> None:
        return

    def remove(self, letter: QueuedLetter) -> None:
        return

    def release(self, letters: Sequence[QueuedLetter]) -> None:
        return


class SnsSqs:
    """It implements `siutindei.app.ports.Nudges` and `siutindei.app.ports.DeadLetterQueue`.

    Args:
        client: makes the client of a service by its name, when it is first needed.
        topic: the ARN of the topic.
        queue: the URL of the queue that is subscribed to it.
        dead_letter_queue: the URL of that queue's dead-letter queue.
    """

    can_send: Final = True

    def __init__(
        self, client: Callable[[str], Any], *, topic: str, queue: str, dead_letter_queue: str
    ) -> None:
        self._client = client
        self._topic = topic
        self._queue = queue
        self._dead_letters = dead_letter_queue

    @cached_property
    def _sns(self) -> Any:
        return self._client("sns")

    @cached_property
    def _sqs(self) -> Any:
        return self._client("sqs")

    def send(self, nudges: Sequence[Nudge]) -> None:
        refused = 0
        for start in range(0, len(nudges), _BATCH):
            answer = _call(
                self._sns.publish_batch,
                TopicArn=self._topic,
                PublishBatchRequestEntries=[
                    {
                        "Id": str(number),
                        "Message": json.dumps(nudge.message),
                        "MessageAttributes": _attributes(event_type=nudge.event_type),
                    }
                    for number, nudge in enumerate(nudges[start : start + _BATCH])
                ],
            )
            refused += len(answer.get("Failed", ()))
        if refused:
            raise Unavailable(f"SNS did not take {refused} of {len(nudges)} nudges")

    def put(self, body: str, *, reason: str) -> None:
        self._send(self._dead_letters, body, **{_REASON: reason})

    def letters(self, *, limit: int) -> Sequence[QueuedLetter]:
        found: list[QueuedLetter] = []
        while len(found) < limit:
            answer = _call(
                self._sqs.receive_message,
                QueueUrl=self._dead_letters,
                MaxNumberOfMessages=min(_BATCH, limit - len(found)),
                VisibilityTimeout=_OURS,
                MessageAttributeNames=["All"],
                WaitTimeSeconds=0,
            )
            messages = answer.get("Messages", ())
            if not messages:
                break
            found += map(_letter, messages)
        return found

    def redrive(self, letter: QueuedLetter) -> None:
        # Sent before it is deleted: dying in between makes it two, and a second one does nothing.
        self._send(self._queue, letter.body, **{_REDRIVEN: "1"})
        self.remove(letter)

    def remove(self, letter: QueuedLetter) -> None:
        _call(self._sqs.delete_message, QueueUrl=self._dead_letters, ReceiptHandle=letter.handle)

    def release(self, letters: Sequence[QueuedLetter]) -> None:
        for start in range(0, len(letters), _BATCH):
            _call(
                self._sqs.change_message_visibility_batch,
                QueueUrl=self._dead_letters,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": letter.handle, "VisibilityTimeout": 0}
                    for number, letter in enumerate(letters[start : start + _BATCH])
                ],
            )

    def _send(self, queue: str, body: str, **attributes: str) -> None:
        _call(
            self._sqs.send_message,
            QueueUrl=queue,
            # SQS takes no message without a body.
            MessageBody=body or "(empty)",
            MessageAttributes=_attributes(**attributes),
        )


def _attributes(**texts: str) -> dict[str, dict[str, str]]:
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items()}


def _letter(message: dict[str, Any]) -> QueuedLetter:
    attributes = message.get("MessageAttributes", {})
    return QueuedLetter(
        body=message.get("Body", ""),
        reason=attributes.get(_REASON, {}).get("StringValue"),
        was_redriven=_REDRIVEN in attributes,
        handle=message["ReceiptHandle"],
    )


def _call(method: Callable[..., Any], **parameters: Any) -> Any:
    """Make one call; whatever goes wrong says so without what was sent."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return method(**parameters)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise Unavailable(f"{error.operation_name} was refused: {code}") from None
    except BotoCoreError as error:
        raise Unavailable(f"{method.__name__} failed: {type(error).__name__}") from None
