"""What each golden file holds, as an event; `python -m tests.golden.samples` writes missing files.

Golden files never change: they are what somebody's database holds. `SHA256SUMS` pins them, also the
ones that this version can only read. `READ.json` pins what is read of each, defaults filled in.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
from eventsourcing.persistence import StoredEvent

from siutindei.adapters.codec import EventMapper
from siutindei.app.checking import spelled
from siutindei.app.ports import Context, Recorded
from siutindei.domain import (
    access,
    catalogue,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.personal import ERASED, Personal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from siutindei.adapters.store import SqlStore

FOLDER: Final = Path(__file__).parent
SUMS: Final = FOLDER / "SHA256SUMS"
READ: Final = FOLDER / "READ.json"
AT: Final = datetime(2026, 1, 31, 1, 30, tzinfo=UTC)
LATER: Final = datetime(2026, 1, 31, 1, 35, 0, 250, tzinfo=UTC)
UUID: Final = "5f0c8a52-7c1e-4f53-9f3e-0d0c9f6f8a11"
PRINT: Final = "0123456789abcdef0123456789abcdef"
HASH: Final = "fedcba9876543210fedcba9876543210"
CODE: Final = "c0ffee00c0ffee00c0ffee00c0ffee00"

#: The streams and how commands are named in the samples.
PLAIN: Final = Context(
    command_id="command-1", actor="user:ann", request_id="request-1", correlation_id="request-1"
)
FULL: Final = attrs.evolve(
    PLAIN,
    correlation_id="request-0",
    causation_id="ticket-R00001/1",
    aws_request_id="8f5b7c1e-0d0c-4f53-9f3e-7c1e9f6f8a11",
    sqs_message_id="2e1fcdd4-7c1e-4f53-9f3e-0d0c9f6f8a11",
)
STREAMS: Final = {
    person: person.stream("ann"),
    challenge: challenge.stream("console", PRINT),
    ticket: ticket.stream("R00001"),
    notification: notification.stream(HASH),
    grant: grant.stream("R00001-organization"),
    suppression: suppression.stream(PRINT),
    lane: lane.stream("tickets"),
    report: report.stream("0100-message"),
    access: access.stream("dossier", "R00001"),
}


def sealed(text: str) -> Personal:
    """Make a sealed field whose ciphertext is made up."""
    return Personal(token=f"Y3JlYW0tMTAw.{text}-c2VhbGVkLWJ5dGVz_0")


#: By file name without `.json`: the event, and the command that appended it. What is behind `--`
#: in the name tells variants of one event apart.
SAMPLES: Final[Mapping[str, tuple[Any, Context]]] = {
    "person.signed_up.v1": (
        person.SignedUp(
            user="ann", email=sealed("email"), fingerprint=PRINT, locale="zh-HK", at=AT
        ),
        FULL,
    ),
    "person.signed_up.v1--least": (
        person.SignedUp(user="陳", email=ERASED, fingerprint=PRINT, at=LATER),
        PLAIN,
    ),
    "person.address_changed.v1": (
        person.AddressChanged(user="ann", email=sealed("email"), fingerprint=PRINT, at=AT),
        PLAIN,
    ),
    "person.address_proved.v1": (
        person.AddressProved(
            user="ann",
            email=sealed("email"),
            fingerprint=PRINT,
            how="code",
            challenge=CODE,
            at=AT,
        ),
        PLAIN,
    ),
    "person.address_proved.v2": (
        person.AddressProved(
            user="ann",
            email=sealed("email"),
            fingerprint=PRINT,
            how="code",
            challenge=CODE,
            at=AT,
        ),
        PLAIN,
    ),
    "person.address_proved.v2--token": (
        person.AddressProved(
            user="ann", email=sealed("email"), fingerprint=PRINT, how="token", at=AT
        ),
        PLAIN,
    ),
    "person.erased.v1": (
        person.Erased(user="ann", by=f"address-{PRINT}", reason=sealed("reason"), at=AT),
        PLAIN,
    ),
    "challenge.issued.v1": (
        challenge.Issued(
            challenge=CODE,
            client="console",
            fingerprint=PRINT,
            user="ann",
            proved=True,
            locale="en",
            key_id="k1",
            attempts=3,
            expires_at=LATER,
            at=AT,
        ),
        PLAIN,
    ),
    "challenge.issued.v1--unknown-user": (
        challenge.Issued(
            challenge=CODE,
            client="console",
            fingerprint=PRINT,
            key_id="k1",
            attempts=3,
            expires_at=LATER,
            at=AT,
        ),
        PLAIN,
    ),
    "challenge.limit_reached.v1": (
        challenge.LimitReached(client="console", fingerprint=PRINT, limit="unproved", at=AT),
        PLAIN,
    ),
    "challenge.passed.v1": (challenge.Passed(challenge=CODE, at=AT), PLAIN),
    "challenge.missed.v1": (challenge.Missed(challenge=CODE, attempts_left=0, at=AT), PLAIN),
    "challenge.closed.v1": (challenge.Closed(challenge=CODE, why="exhausted", at=AT), PLAIN),
    "ticket.submitted.v1": (
        ticket.Submitted(
            id=UUID,
            reference="S00001",
            ticket_type="organization_suggestion",
            submitter="ann",
            submitter_email=sealed("submitter_email"),
            fingerprint=PRINT,
            assurance="token",
            locale="zh-HK",
            organization_name=sealed("organization_name"),
            message=sealed("message"),
            description=sealed("description"),
            suggested_district=sealed("suggested_district"),
            suggested_address=sealed("suggested_address"),
            suggested_lat=sealed("suggested_lat"),
            suggested_lng=sealed("suggested_lng"),
            media_urls=sealed("media_urls"),
            claimed_reference="S00007",
            at=AT,
        ),
        FULL,
    ),
    "ticket.submitted.v1--feedback": (
        ticket.Submitted(
            id=UUID,
            reference="F00001",
            ticket_type="organization_feedback",
            submitter="ann",
            submitter_email=sealed("submitter_email"),
            fingerprint=PRINT,
            assurance="code",
            organization_name=sealed("organization_name"),
            organization_id=UUID,
            feedback_stars=0,
            feedback_label_ids=("label-1", "label-2"),
            feedback_text=sealed("feedback_text"),
            at=AT,
        ),
        PLAIN,
    ),
    "ticket.submitted.v1--least": (
        ticket.Submitted(
            id=UUID,
            reference="R00001",
            ticket_type="access_request",
            submitter="ann",
            submitter_email=sealed("submitter_email"),
            fingerprint=PRINT,
            assurance="none",
            organization_name=ERASED,
            at=AT,
        ),
        PLAIN,
    ),
    "ticket.submitted.v1--full": (
        ticket.Submitted(
            id=UUID,
            reference="F00002",
            ticket_type="organization_feedback",
            submitter="ann",
            submitter_email=sealed("submitter_email"),
            fingerprint=PRINT,
            assurance="code",
            locale="en",
            organization_name=sealed("organization_name"),
            message=sealed("message"),
            description=sealed("description"),
            suggested_district=sealed("suggested_district"),
            suggested_address=sealed("suggested_address"),
            suggested_lat=sealed("suggested_lat"),
            suggested_lng=sealed("suggested_lng"),
            media_urls=sealed("media_urls"),
            organization_id=UUID,
            feedback_stars=5,
            feedback_label_ids=("label-1",),
            feedback_text=sealed("feedback_text"),
            claimed_reference="F00007",
            at=AT,
        ),
        FULL,
    ),
    "ticket.approved.v1": (
        ticket.Approved(
            by=sealed("by"),
            reviewer="eve",
            note=sealed("note"),
            organization_id=UUID,
            create_organization=True,
            stars=1,
            at=AT,
        ),
        PLAIN,
    ),
    "ticket.approved.v1--least": (
        ticket.Approved(by=sealed("by"), reviewer="eve", at=AT),
        PLAIN,
    ),
    "ticket.declined.v1": (
        ticket.Declined(by=sealed("by"), reviewer="eve", note=sealed("note"), at=AT),
        PLAIN,
    ),
    "ticket.declined.v1--least": (
        ticket.Declined(by=sealed("by"), reviewer="eve", at=AT),
        PLAIN,
    ),
    "notification.requested.v1": (
        notification.Requested(
            id=HASH,
            kind="sign_in_code",
            cause=f"challenge-console-{PRINT}/1",
            ticket="R00001",
            challenge=CODE,
            user="ann",
            recipient=sealed("recipient"),
            fingerprint=PRINT,
            locale="en",
            template="sign_in_code",
            template_version=1,
            template_hash=HASH,
            expires_at=LATER,
            at=AT,
        ),
        PLAIN,
    ),
    "notification.requested.v1--support": (
        notification.Requested(
            id=HASH,
            kind="ticket_received",
            cause="ticket-R00001/1",
            ticket="R00001",
            template="ticket_received",
            template_version=2,
            template_hash=HASH,
            at=AT,
        ),
        PLAIN,
    ),
    "notification.requested.v1--least": (
        notification.Requested(
            id=HASH,
            kind="ticket_received",
            cause="ticket-R00001/1",
            template="ticket_received",
            template_version=2,
            template_hash=HASH,
            at=AT,
        ),
        PLAIN,
    ),
    "notification.attempt_started.v1": (
        notification.AttemptStarted(attempt=1, deadline=LATER, at=AT),
        PLAIN,
    ),
    "notification.attempt_started.v1--newer-template": (
        notification.AttemptStarted(
            attempt=2, deadline=LATER, template_version=2, template_hash=HASH, at=AT
        ),
        PLAIN,
    ),
    "notification.accepted.v1": (
        notification.Accepted(attempt=2, message_id="0100-message", how="lookup", at=AT),
        PLAIN,
    ),
    "notification.accepted.v1--least": (
        notification.Accepted(attempt=1, message_id="0100-message", at=AT),
        PLAIN,
    ),
    "notification.failed.v1": (
        notification.Failed(
            attempt=1, error_class="transient", error="Throttling", retry_at=LATER, at=AT
        ),
        PLAIN,
    ),
    "notification.failed.v1--least": (
        notification.Failed(attempt=3, error_class="transient", error="Throttling", at=AT),
        PLAIN,
    ),
    "notification.refused.v1": (
        notification.Refused(attempt=0, error="MessageRejected", at=AT),
        PLAIN,
    ),
    "notification.outcome_unknown.v1": (
        notification.OutcomeUnknown(attempt=1, why="no answer", settle_at=LATER, at=AT),
        PLAIN,
    ),
    "notification.outcome_unknown.v1--least": (
        notification.OutcomeUnknown(attempt=1, why="no answer", at=AT),
        PLAIN,
    ),
    "notification.delivered.v1": (notification.Delivered(feedback_id="f1", at=AT), PLAIN),
    "notification.delayed.v1": (
        notification.Delayed(feedback_id="f1", delay_type="MailboxFull", at=AT),
        PLAIN,
    ),
    "notification.bounced.v1": (
        notification.Bounced(
            feedback_id="f1",
            bounce_type="Permanent",
            bounce_subtype="General",
            status="5.1.1",
            at=AT,
        ),
        PLAIN,
    ),
    "notification.bounced.v1--least": (
        notification.Bounced(
            feedback_id="f1", bounce_type="Transient", bounce_subtype="General", at=AT
        ),
        PLAIN,
    ),
    "notification.complained.v1": (
        notification.Complained(
            feedback_id="f1",
            complaint_type="abuse",
            complaint_subtype="OnAccountSuppressionList",
            at=AT,
        ),
        PLAIN,
    ),
    "notification.complained.v1--least": (
        notification.Complained(feedback_id="f1", at=AT),
        PLAIN,
    ),
    "notification.deferred.v1": (
        notification.Deferred(until=LATER, why="over_budget", rule="budget.v1", at=AT),
        PLAIN,
    ),
    "notification.withheld.v1": (
        notification.Withheld(why="expired", rule="notification.expiry.v1", at=AT),
        PLAIN,
    ),
    "notification.dead_lettered.v1": (
        notification.DeadLettered(why="attempts_exhausted", at=AT),
        PLAIN,
    ),
    "notification.redriven.v1": (notification.Redriven(by="eve", at=AT), PLAIN),
    "notification.discarded.v1": (
        notification.Discarded(by="eve", reason=sealed("reason"), at=AT),
        PLAIN,
    ),
    "grant.requested.v1": (
        grant.Requested(
            id="R00001-organization",
            kind="organization",
            cause="ticket-R00001/2",
            ticket="R00001",
            user="ann",
            organization_id=UUID,
            create=True,
            at=AT,
        ),
        FULL,
    ),
    "grant.requested.v1--least": (
        grant.Requested(
            id="F00001-stars",
            kind="stars",
            cause="ticket-F00001/2",
            ticket="F00001",
            user="ann",
            at=AT,
        ),
        PLAIN,
    ),
    "grant.attempt_started.v1": (
        grant.AttemptStarted(attempt=1, deadline=LATER, at=AT),
        PLAIN,
    ),
    "grant.carried_out.v1": (grant.CarriedOut(attempt=1, at=AT), PLAIN),
    "grant.failed.v1": (
        grant.Failed(attempt=1, error="the catalogue is locked", retry_at=LATER, at=AT),
        PLAIN,
    ),
    "grant.failed.v1--least": (
        grant.Failed(attempt=3, error="the catalogue is locked", at=AT),
        PLAIN,
    ),
    "grant.withheld.v1": (
        grant.Withheld(why="erased", rule="grant.nothing_for_the_erased.v1", at=AT),
        PLAIN,
    ),
    "grant.dead_lettered.v1": (grant.DeadLettered(why="permanent_error", at=AT), PLAIN),
    "grant.redriven.v1": (grant.Redriven(by="eve", at=AT), PLAIN),
    "grant.discarded.v1": (
        grant.Discarded(by="eve", reason=sealed("reason"), at=AT),
        PLAIN,
    ),
    "report.parked.v1": (
        report.Parked(
            kind="bounced",
            name="Bounce",
            message_id="0100-message",
            feedback_id="f1",
            main_type="Permanent",
            sub_type="General",
            status="5.1.1",
            foreign=True,
            happened_at=AT,
            at=LATER,
        ),
        FULL,
    ),
    "report.parked.v1--least": (
        report.Parked(
            kind="delivered",
            name="Delivery",
            message_id="0100-message",
            feedback_id="delivered:0100-message",
            happened_at=AT,
            at=AT,
        ),
        PLAIN,
    ),
    "report.applied.v1": (report.Applied(notification=HASH, at=LATER), PLAIN),
    "access.opened.v1": (
        access.Opened(what="dossier", subject="R00001", by="eve", shown=3, at=AT),
        FULL,
    ),
    "suppression.soft_bounced.v1": (
        suppression.SoftBounced(feedback_id="f-1", evidence=f"notification-{HASH}/4", at=AT),
        PLAIN,
    ),
    "suppression.suppressed.v1": (
        suppression.Suppressed(
            fingerprint=PRINT,
            address=sealed("address"),
            reason="soft_bounces",
            evidence=f"notification-{HASH}/4",
            feedback_id="f-1",
            expires_at=LATER,
            rule=suppression.SOFT_RULE,
            at=AT,
        ),
        FULL,
    ),
    "suppression.suppressed.v1--person": (
        suppression.Suppressed(
            fingerprint=PRINT,
            address=ERASED,
            reason="person",
            by="eve",
            note=sealed("note"),
            rule=suppression.PERSON_RULE,
            at=AT,
        ),
        PLAIN,
    ),
    "suppression.suppressed.v1--full": (
        suppression.Suppressed(
            fingerprint=PRINT,
            address=sealed("address"),
            reason="person",
            evidence=f"notification-{HASH}/4",
            feedback_id="f-1",
            by="eve",
            note=sealed("note"),
            expires_at=LATER,
            rule=suppression.PERSON_RULE,
            at=AT,
        ),
        FULL,
    ),
    "suppression.suppressed.v1--least": (
        suppression.Suppressed(
            fingerprint=PRINT, reason="ses", rule=suppression.PERSON_RULE, at=AT
        ),
        PLAIN,
    ),
    "suppression.lifted.v1": (
        suppression.Lifted(by="eve", reason=sealed("reason"), at=AT),
        PLAIN,
    ),
    "suppression.revealed.v1": (suppression.Revealed(by="eve", at=AT), PLAIN),
    "lane.halted.v1": (
        lane.Halted(
            why="account",
            whole=True,
            error="AWS has suspended the SES account for good (AccountSuspendedException)",
            failures=2,
            probe_at=LATER,
            since=AT,
            at=AT,
        ),
        FULL,
    ),
    "lane.halted.v1--person": (
        lane.Halted(why="person", since=AT, by="eve", note=sealed("note"), at=AT),
        PLAIN,
    ),
    "lane.halted.v1--full": (
        lane.Halted(
            why="account",
            whole=True,
            error="paused",
            failures=1,
            probe_at=LATER,
            since=AT,
            by="eve",
            note=sealed("note"),
            at=AT,
        ),
        FULL,
    ),
    "lane.halted.v1--least": (lane.Halted(why="restored", since=AT, at=AT), PLAIN),
    "lane.probed.v1": (
        lane.Probed(
            notification=HASH,
            whole=True,
            failures=2,
            error="paused",
            since=AT,
            probe_at=LATER,
            at=AT,
        ),
        PLAIN,
    ),
    "lane.probed.v1--least": (
        lane.Probed(notification=HASH, failures=1, since=AT, probe_at=LATER, at=AT),
        PLAIN,
    ),
    "lane.resumed.v1": (lane.Resumed(how="accepted", at=AT), PLAIN),
    "lane.resumed.v1--person": (
        lane.Resumed(how="person", by="eve", note=sealed("note"), at=AT),
        PLAIN,
    ),
}


def stored_name(sample: str) -> str:
    """Give the stored name that a file's name begins with."""
    return sample.partition("--")[0]


def recorded(sample: str) -> Recorded:
    """Give what a golden file holds, as the store reads it."""
    event, context = SAMPLES[sample]
    name = stored_name(sample)
    (stream,) = (
        stream for aggregate, stream in STREAMS.items() if name.startswith(f"{aggregate.CATEGORY}.")
    )
    return Recorded(
        stream=stream,
        version=7,
        position=0,
        name=name,
        recorded_at=event.at + timedelta(milliseconds=5),
        context=context,
        event=event,
    )


def sums() -> dict[str, str]:
    """Give the pinned digests by file name."""
    pinned = {}
    for line in SUMS.read_text("utf-8").splitlines() if SUMS.exists() else ():
        digest, _, name = line.partition("  ")
        pinned[name] = digest
    return pinned


def read(sample: str) -> dict[str, Any]:
    """Read a golden file, and give what is read as plain data."""
    wanted = recorded(sample)
    stored = StoredEvent(
        originator_id=wanted.stream,
        originator_version=wanted.version,
        topic=wanted.name,
        state=(FOLDER / f"{sample}.json").read_bytes(),
    )
    found: Recorded = EventMapper().to_domain_event(stored)
    return {
        "read_as": catalogue.NAMES[type(found.event)],
        "recorded_at": found.recorded_at.isoformat(),
        "context": attrs.asdict(found.context),
        "data": {
            field.name: spelled(getattr(found.event, field.name))
            for field in attrs.fields(type(found.event))
        },
    }


def readings() -> dict[str, dict[str, Any]]:
    """Give what is pinned of how each golden file is read."""
    pinned: dict[str, dict[str, Any]] = json.loads(READ.read_text("utf-8"))
    return pinned


def fill(store: SqlStore) -> None:
    """Put every golden file into an empty store, as a row that was stored long ago."""
    with store.writing() as cursor:
        for number, sample in enumerate(SAMPLES, start=1):
            cursor.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                " VALUES (?, ?, ?, ?)",
                (
                    recorded(sample).stream,
                    number,
                    stored_name(sample),
                    (FOLDER / f"{sample}.json").read_bytes(),
                ),
            )


def main() -> None:
    """Write what is missing, and change nothing that is there."""
    pinned = sums()
    for sample in SAMPLES:
        file = FOLDER / f"{sample}.json"
        if stored_name(sample) in catalogue.EVENTS and not file.exists():
            file.write_bytes(EventMapper().to_stored_event(recorded(sample)).state)
        pinned.setdefault(file.name, sha256(file.read_bytes()).hexdigest())
    read_before = readings() if READ.exists() else {}
    said = {sample: read_before.get(sample) or read(sample) for sample in sorted(SAMPLES)}
    READ.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", "utf-8")
    lines = [f"{digest}  {name}\n" for name, digest in sorted(pinned.items())]
    SUMS.write_text("".join(lines), "utf-8")


if __name__ == "__main__":
    main()
