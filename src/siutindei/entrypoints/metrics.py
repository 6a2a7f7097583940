"""Every metric that is written: alarms, dashboard and documents are held against this list.

A metric is found in CloudWatch by its name and all of its dimensions: what is written with one set
of dimensions and watched with another is never seen.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

NAMESPACE: Final = "Siutindei"

Unit = Literal["Count", "Milliseconds"]


@attrs.frozen
class Metric:
    """One metric.

    Attributes:
        name: what it is called.
        by: which functions write it, each as its handler is called for short.
        meaning: what it counts or measures.
        dimensions: what it is counted apart by, in the order of the alphabet.
        unit: CloudWatch's unit.
    """

    name: str
    by: tuple[str, ...]
    meaning: str
    dimensions: tuple[str, ...] = ()
    unit: Unit = "Count"


_CREATE: Final = "create_auth_challenge"
_VERIFY: Final = "verify_auth_challenge_response"
_MAILS: Final = (
    ("Accepted", "taken by SES"),
    ("Delivered", "delivered"),
    ("Delayed", "delayed"),
    ("Bounced", "bounced"),
    ("Complained", "called spam"),
    ("Rejected", "taken by SES and not sent"),
)

METRICS: Final = (
    # Mails, whoever sends them.
    Metric(
        "Sends",
        (_CREATE, "processor"),
        "mails by what came of working on them; `too_late` when the answer did not wait for it",
        ("Kind", "Outcome"),
    ),
    Metric(
        "CodeLatency",
        (_CREATE,),
        "from the call to the challenge, its mail included",
        unit="Milliseconds",
    ),
    # Signing in.
    Metric("Answers", (_VERIFY,), "`right` and `wrong` answers", ("Outcome",)),
    Metric(
        "Refusals",
        ("define_auth_challenge", _CREATE, _VERIFY),
        "errors that were answered",
        ("Error", "Trigger"),
    ),
    # The API.
    Metric("Requests", ("api",), "requests", ("Route", "Status")),
    Metric(
        "Duration", ("api",), "how long an answer took", ("Route", "Status"), unit="Milliseconds"
    ),
    # Messages.
    Metric("MessagesDone", ("processor",), "messages that were acknowledged"),
    Metric("MessagesToComeAgain", ("processor",), "messages whose attempt failed"),
    Metric("MessagesSetAside", ("processor",), "messages put on the dead-letter queue at once"),
    Metric("MessagesGivenBack", ("processor",), "messages that there was no time for"),
    Metric("UnknownEventType", ("processor",), "messages about what nobody here knows"),
    # Reports.
    Metric("ReportsRecorded", ("feedback",), "reports that said something new of a mail of ours"),
    Metric("ReportsKnown", ("feedback",), "reports that said nothing new"),
    Metric("ReportsIgnored", ("feedback",), "reports of what we have no use for"),
    Metric("ReportsParked", ("feedback",), "reports of mails that are not known yet"),
    Metric("ReportsNotOurs", ("feedback",), "reports of mails that are not ours"),
    Metric("ReportsUnreadable", ("feedback",), "messages that are no report"),
    Metric("ReportsNotNow", ("feedback",), "reports that could not be recorded"),
    Metric("ReportsGivenBack", ("feedback",), "reports that there was no time for"),
    *(
        Metric(f"Mails{word}", ("feedback",), f"mails that were {meaning}")
        for word, meaning in _MAILS
    ),
    Metric("AddressesSuppressed", ("feedback",), "addresses that are not mailed to any more"),
    # What a sweep saw when it was done, and what it did: each sweep writes all of them.
    Metric("Due", ("sweep",), "effects that are due"),
    Metric("Overdue", ("sweep",), "effects that are due for 15 minutes"),
    Metric("Unknown", ("sweep",), "mails whose outcome nobody knows after the settle time"),
    Metric("DeadLetters", ("sweep",), "effects that wait for a person"),
    Metric("HaltedLanes", ("sweep",), "senders whose mail does not go"),
    Metric("BudgetLeft", ("sweep",), "codes that may still go in these 24 hours"),
    Metric("BudgetLeftForDecisions", ("sweep",), "decisions that may still go"),
    Metric("Nudged", ("sweep",), "effects that were nudged"),
    Metric("Lost", ("sweep",), "effects whose nudges could not be sent"),
    Metric("Settled", ("sweep",), "effects that needed no sending"),
    Metric("Redriven", ("sweep",), "messages taken from the dead-letter queue and sent again"),
    Metric("Removed", ("sweep",), "messages taken from there because they were of no use"),
    Metric("Exhausted", ("sweep",), "mails given up because their messages came to nothing twice"),
    Metric("Checkpoints", ("sweep",), "checkpoints of the signed log that were taken"),
    Metric("CheckpointsRefused", ("sweep",), "checkpoints that could not be taken"),
    Metric("Problems", ("sweep",), "effects and messages that could not be looked at"),
)
UNITS: Final[dict[str, Unit]] = {metric.name: metric.unit for metric in METRICS}
