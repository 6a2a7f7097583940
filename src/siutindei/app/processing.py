"""What a message on the queue leads to, and whether it is to come again.

A nudge is trusted for the id in it and nothing else. A receive is an attempt only when the attempt
failed and another one may help: then the message comes again. What waits is acknowledged, because
the ledger knows when it is due and the sweep nudges then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app import messages
from siutindei.app.delivery import Delivery, Outcome
from siutindei.app.ports import DeadLetterQueue, EventStore, PortError, Work
from siutindei.app.tickets import OLD_EVENTS, Tickets
from siutindei.domain.errors import Invalid
from siutindei.domain.person import PersonErased

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.app.ports import Context
    from siutindei.domain import grant, notification

#: The nudges, and what each names.
NUDGES: Final[Mapping[str, Work]] = {"notification.due": "notification", "grant.due": "grant"}
_ID_MOST: Final = 64
#: Attempts that failed without any fault of the message: they wait in the ledger.
_NOT_ITS_FAULT: Final = frozenset({"account", "not_called"})


@attrs.frozen(kw_only=True)
class Processed:
    """What became of one message.

    Attributes:
        word: in a word: the result of the effect, or what else was done.
        again: whether the message is to come again (the third time the queue sets it aside).
        set_aside: whether it was put on the dead-letter queue here.
        outcome: what became of the effect.
        error: what went wrong, without personal data.
    """

    word: str
    again: bool = False
    set_aside: bool = False
    outcome: Outcome | None = None
    error: str | None = None


@attrs.frozen(kw_only=True)
class Processing:
    """The use cases of the processor; `topic` is the ARN that envelopes come from."""

    store: EventStore
    delivery: Delivery
    tickets: Tickets
    letters: DeadLetterQueue
    topic: str

    def work_on(
        self, context: Context, body: object, *, event_type: str = "", receives: int = 1
    ) -> Processed:
        """Do what a message asks for; nothing that goes wrong is raised.

        Args:
            context: which message it is.
            body: its body, unchecked.
            event_type: what its own attribute says, when the body does not.
            receives: how often it was received by now.
        """
        try:
            return self._work_on(context, body, event_type, receives)
        except PortError as problem:
            return Processed(word="not_now", again=True, error=str(problem))
        except Exception as problem:  # noqa: BLE001  # one message must not stop the others
            return Processed(word="our_fault", again=True, error=type(problem).__name__)

    def _work_on(self, context: Context, body: object, event_type: str, receives: int) -> Processed:
        try:
            message = messages.read(body, topic=self.topic, event_type=event_type)
        except messages.Unreadable as problem:
            return self._set_aside(body, str(problem))
        if message.event_type in NUDGES:
            work = NUDGES[message.event_type]
            return self._effect(context, work, message.text(f"{work}_id"), body, receives)
        if message.event_type in OLD_EVENTS:
            return self._submission(context, message, body)
        return Processed(word="unknown_event_type")

    # --- nudges -----------------------------------------------------------------------------------

    def _effect(
        self, context: Context, work: Work, id: str, body: object, receives: int
    ) -> Processed:
        if not _is_id(id):
            return self._set_aside(body, "without_id")
        before = find_effect(self.store, work, id)
        if before is None or before.requested is None:
            return Processed(word="unknown_id")
        if work == "grant":
            outcome = self.delivery.carry_out(context, id)
        elif before.requested.kind == "sign_in_code":
            # Codes never go through the queue, whoever says so.
            outcome = self.delivery.settle_only(context, id)
        else:
            outcome = self.delivery.deliver(context, id)
        after = find_effect(self.store, work, id)
        is_new = outcome.result == "dead_lettered"
        if after is not None and after.status == "dead_lettered" and not after.discarded:
            if is_new and after.why == "permanent_error":
                aside = self._set_aside(body, "permanent_error")
                return attrs.evolve(aside, word=outcome.result, outcome=outcome)
            # A message that was received before goes where its dead letter belongs.
            return Processed(word=outcome.result, again=is_new or receives > 1, outcome=outcome)
        again = outcome.result == "failed" and outcome.error_class not in _NOT_ITS_FAULT
        return Processed(word=outcome.result, again=again, outcome=outcome)

    # --- the old API ------------------------------------------------------------------------------

    def _submission(self, context: Context, message: messages.Message, body: object) -> Processed:
        try:
            _, is_new = self.tickets.take(
                context, event_type=message.event_type, body=message.fields
            )
        except Invalid as refusal:
            return self._set_aside(body, f"invalid: {refusal.field}")
        except PersonErased:
            return Processed(word="erased")
        return Processed(word="submitted" if is_new else "submitted_before")

    def _set_aside(self, body: object, reason: str) -> Processed:
        """Put a message that no repeat can help on the dead-letter queue at once.

        When that does not work it comes again, until the queue does so.
        """
        try:
            self.letters.put(body if isinstance(body, str) else "", reason=reason)
        except PortError as problem:
            return Processed(word=reason, again=True, error=str(problem))
        return Processed(word=reason, set_aside=True)


def named(body: str, *, topic: str) -> tuple[Work, str] | str:
    """Give the effect that a message is a nudge for, or in a word what else it is.

    Args:
        body: the message's body, unchecked.
        topic: the ARN of the topic that an envelope must come from.
    """
    try:
        message = messages.read(body, topic=topic)
    except messages.Unreadable as problem:
        return str(problem)
    if message.event_type in OLD_EVENTS:
        return "submission"
    work = NUDGES.get(message.event_type)
    if work is None:
        return "unknown_event_type"
    id = message.text(f"{work}_id")
    return (work, id) if _is_id(id) else "without_id"


def _is_id(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text) <= _ID_MOST


def find_effect(
    store: EventStore, work: Work, id: str
) -> notification.Notification | grant.Grant | None:
    """Find an effect."""
    return store.views.find_grant(id) if work == "grant" else store.views.find_notification(id)
