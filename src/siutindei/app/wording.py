"""What happened, in plain words: a line for each event, with nothing personal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from siutindei.app.history import plain
from siutindei.domain import (
    access,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.app.ports import Recorded

#: `this` is what its stream is named after; the other names are fields of the event.
_LINES: Final[Mapping[type, str]] = {
    person.SignedUp: "a person signed up",
    person.AddressChanged: "the person's address was changed",
    person.AddressProved: "the person's address was proved by a {how}",
    person.Erased: "the person was erased",
    challenge.Issued: "a sign-in was started at {client}",
    challenge.LimitReached: "no sign-in was started: the limit for each {limit} was reached",
    challenge.Passed: "the right code was answered",
    challenge.Missed: "a wrong code was answered; answers left: {attempts_left}",
    challenge.Closed: "the challenge was closed: {why}",
    ticket.Submitted: "ticket {this} was submitted: {ticket_type}",
    ticket.Approved: "ticket {this} was approved by {reviewer}",
    ticket.Declined: "ticket {this} was declined by {reviewer}",
    notification.Requested: "a mail was asked for: {kind}",
    notification.AttemptStarted: "attempt {attempt} was started",
    notification.Accepted: "attempt {attempt} was accepted as {message_id}",
    notification.Failed: "attempt {attempt} failed ({error_class}): {error}",
    notification.Refused: "attempt {attempt} was refused for good: {error}",
    notification.OutcomeUnknown: "attempt {attempt} may have sent it or not: {why}",
    notification.Delivered: "it was delivered",
    notification.Delayed: "its delivery is delayed: {delay_type}",
    notification.Bounced: "it bounced: {bounce_type} {bounce_subtype}",
    notification.Complained: "its receiver complained: {complaint_type}",
    notification.Deferred: "it was deferred: {why}",
    notification.Withheld: "it was withheld: {why}",
    notification.DeadLettered: "it was given up: {why}",
    notification.Redriven: "it was redriven by {by}: three more attempts",
    notification.Discarded: "it was discarded by {by}",
    grant.Requested: "grant {this} was asked for: {kind}",
    grant.AttemptStarted: "attempt {attempt} of the grant was started",
    grant.CarriedOut: "attempt {attempt} of the grant made the change",
    grant.Failed: "attempt {attempt} of the grant failed: {error}",
    grant.Withheld: "the grant was withheld: {why}",
    grant.DeadLettered: "the grant was given up: {why}",
    grant.Redriven: "the grant was redriven by {by}: three more attempts",
    grant.Discarded: "the grant was discarded by {by}",
    suppression.SoftBounced: "the bounce counts against its address",
    suppression.Suppressed: "the address was suppressed: {reason}",
    suppression.Lifted: "the suppression was lifted by {by}",
    suppression.Revealed: "the suppressed address was looked at by {by}",
    lane.Halted: "the lane {this} was halted: {why}",
    lane.Probed: "one mail tries the halted lane {this}",
    lane.Resumed: "the lane {this} goes again: {how}",
    report.Parked: "something was reported of a mail that nobody knows: {kind}",
    report.Applied: "what had been reported was applied",
    access.Opened: "{by} looked at the {what} of {subject}",
}
#: What a line or another field of a node says already, or what nobody asks for.
_LEFT_OUT: Final = frozenset({"at", "rule", "cause", "fingerprint", "template_hash", "key_id"})


def line(entry: Recorded) -> str:
    """Say what happened."""
    fields = {name: "-" if value is None else value for name, value in _fields(entry).items()}
    return _LINES[type(entry.event)].format(this=entry.stream.partition("-")[2], **fields)


def details(entry: Recorded) -> dict[str, Any]:
    """Give what else the event holds: what is empty or personal is left out."""
    return {
        name: value
        for name, value in _fields(entry).items()
        if name not in _LEFT_OUT and value not in (None, "", [], "[sealed]", "[erased]")
    }


def _fields(entry: Recorded) -> dict[str, Any]:
    fields: dict[str, Any] = plain(entry.event)
    return fields
