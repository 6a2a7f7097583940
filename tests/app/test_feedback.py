"""Feedback: reports in any order, twice, early and late, amount to the same."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.books import reconcile
from siutindei.app.folding import notification_of
from siutindei.app.ports import Conflict, MailOutcomeUnknown, MailRefused
from siutindei.domain import notification, report
from siutindei.domain.errors import Invalid
from tests.app.world import World, make_world
from tests.aws_events import MESSAGE_ID, enveloped, notified, published
from tests.support import START, context

if TYPE_CHECKING:
    from pathlib import Path

    from siutindei.app.feedback import Heard

LOST: Final = MailOutcomeUnknown("no answer")


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """Give an application whose mail port is as SES is."""
    return make_world(tmp_path, mail=MemoryMail(can_tell=False, has_feedback=True))


def hear(world: World, message: object) -> Heard:
    """Take a report."""
    feedback = world.services.feedback
    body = message if isinstance(message, str) else json.dumps(message)
    return feedback.hear(context(), feedback.read(body))


def sent(world: World) -> tuple[str, str]:
    """Send a notice; give its id and what the mail port calls it."""
    id = world.notice_id(world.submit())
    world.drain()
    return id, world.notices(id).message_id or ""


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("Delivery", "delivered"),
        ("DeliveryDelay", "delayed"),
        ("Bounce", "bounced"),
        ("Complaint", "complained"),
    ],
)
def test_what_became_of_a_mail_is_recorded_once(world: World, name: str, status: str) -> None:
    """The report names the mail by its tag; the same report again changes nothing."""
    id, message_id = sent(world)
    report = published(name, tag=id, message_id=message_id)
    first, second = hear(world, report), hear(world, enveloped(report))

    assert ("recorded", id, status) == (first.result, first.notification_id, first.status)
    assert ("known", status, ()) == (second.result, second.status, second.events)
    assert f"notification-{id}/4" == first.events[0]
    assert status == world.notices(id).status


def test_what_is_said_of_it_is_kept(world: World) -> None:
    """Types and status codes are in the history; addresses and what servers write are not."""
    id, message_id = sent(world)
    for name in ("Bounce", "Complaint", "DeliveryDelay"):
        hear(world, published(name, tag=id, message_id=message_id, feedbackId=f"f-{name}"))
    bounced, complained, delayed = [
        entry.event for entry in world.store.load(notification.stream(id))[-3:]
    ]

    assert isinstance(bounced, notification.Bounced)
    assert isinstance(complained, notification.Complained)
    assert isinstance(delayed, notification.Delayed)
    assert ("Permanent", "General", "5.1.1", "f-Bounce") == (
        bounced.bounce_type,
        bounced.bounce_subtype,
        bounced.status,
        bounced.feedback_id,
    )
    assert ("abuse", None) == (complained.complaint_type, complained.complaint_subtype)
    assert "MailboxFull" == delayed.delay_type


def test_older_reports_find_their_mail_by_what_ses_called_it(world: World) -> None:
    """They have no tags; a tag of somebody else's is passed over too."""
    id, message_id = sent(world)
    by_id = hear(world, notified("Bounce", message_id=message_id))
    other = hear(world, published("Delivery", tag="f" * 32, message_id=message_id))

    assert ("recorded", id) == (by_id.result, by_id.notification_id)
    assert ("recorded", id) == (other.result, other.notification_id)


@pytest.mark.parametrize("tag", [None, "f" * 32])
def test_a_mail_that_was_never_ours_is_said_to_be_so(world: World, tag: str | None) -> None:
    """Others send from the same account: what its tags say of that is kept aside, once."""
    sent(world)
    report = published("Bounce", tag=tag)
    found, again = hear(world, report), hear(world, report)

    assert ("not_ours", None, MESSAGE_ID) == (
        found.result,
        found.notification_id,
        found.report.message_id,
    )
    assert (1, ()) == (len(found.events), again.events)
    assert {"foreign": 1} == world.store.views.count_reports()


def test_a_report_without_any_name_is_of_no_use(world: World) -> None:
    """Nobody can ever say whose it is: nothing is kept."""
    found = hear(world, published("Bounce", message_id=""))

    assert ("not_ours", ()) == (found.result, found.events)
    assert {} == world.store.views.count_reports()


# --- before the send is recorded ------------------------------------------------------------------


def heard_first(world: World, *reports: Any) -> str:
    """Send a notice whose reports come before the call answers; `M` in them is its message id."""
    id = world.notice_id(world.submit())
    send = world.mail.send

    def quick(mail: Any) -> str:
        message_id = f"memory-{id}-1"
        for said in reports:
            said["mail"]["messageId"] = message_id
            hear(world, said)
        return send(mail)

    world.mail.send = quick  # type: ignore[method-assign]
    world.drain()
    return id


def test_an_untagged_report_waits_for_its_send(world: World) -> None:
    """It is parked, and recorded with its mail in the command that records the send."""
    bounce = notified("Bounce", message_id="M")
    id = heard_first(world, bounce, dict(bounce))
    found = world.notices(id)
    accepted, bounced = world.store.load(notification.stream(id))[-2:]
    parked, applied = world.store.load(report.stream(found.message_id or ""))

    assert ("bounced", 1) == (found.status, len(found.feedback))
    assert ("notification.accepted.v1", "notification.bounced.v1") == (accepted.name, bounced.name)
    assert ("report.parked.v1", report.Applied(notification=id, at=world.clock.now())) == (
        parked.name,
        applied.event,
    )
    assert 1 == len({entry.context.command_id for entry in (accepted, bounced, applied)})
    assert accepted.id == bounced.context.causation_id == applied.context.causation_id
    assert {"applied": 1} == world.store.views.count_reports()
    assert [found.message_id] == [
        item.message_id for item in world.store.views.reports(status="applied")
    ]


def test_a_rejection_may_wait_for_its_send(world: World) -> None:
    """It was taken, and will not be sent: a dead letter as soon as that is known."""
    id = heard_first(world, notified("Reject", message_id="M"))

    assert ("dead_lettered", "Reject: Bad content") == (
        world.notices(id).status,
        world.notices(id).last_error,
    )


def test_a_lost_answer_is_found_by_a_tag_and_what_was_parked_with_it(world: World) -> None:
    """The call never said what the mail is called; a report that is tagged does."""
    world.mail.then_raises(LOST, takes_it=True)
    id = heard_first(world, notified("Complaint", message_id="M"))
    before = world.notices(id).status
    hear(world, published("Delivery", tag=id, message_id=f"memory-{id}-1"))

    assert ("unknown", "complained") == (before, world.notices(id).status)


def test_a_rollback_keeps_what_is_parked(world: World) -> None:
    """The send could not be recorded: what waits for it waits on, and is applied with it."""
    world.store.then_fails(None, Conflict("first"))
    id = world.notice_id(world.submit())
    hear(world, notified("Delivery", message_id=f"memory-{id}-1"))
    world.store.then_fails(None, Conflict("first"))
    world.drain()

    assert ("delivered", 1) == (world.notices(id).status, len(world.mail.sent))


#: How a report names its mail: by our tag, by tags of somebody else, or by none.
NAMINGS: Final = ("ours", "other", "none")
REPORTS: Final = ("Send", "Delivery", "Bounce", "Complaint", "DeliveryDelay")
RANKS: Final = ("accepted", "delayed", "delivered", "bounced", "complained")
STATUSES: Final = dict(
    zip(REPORTS, ("accepted", "delivered", "bounced", "complained", "delayed"), strict=True)
)


def told(naming: str, name: str, id: str) -> dict[str, Any]:
    """Write a report of the first call of a notification."""
    message_id = f"memory-{id}-1"
    changed = {"feedbackId": f"f-{name}"} if name in {"Bounce", "Complaint"} else {}
    if naming == "none":
        return notified(name, message_id=message_id, **changed)
    return published(
        name, tag=id if naming == "ours" else "f" * 32, message_id=message_id, **changed
    )


@for_all(data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_order_of_answer_and_reports_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The answer, or that it got lost, and any reports, in any order, twice, tagged or not: the
    worst news counts, everything is kept once, and nothing that names the mail is left waiting.
    """
    reports = data.draw(
        st.lists(st.tuples(st.sampled_from(NAMINGS), st.sampled_from(REPORTS)), max_size=7)
    )
    is_lost = data.draw(st.booleans())
    early = data.draw(st.integers(0, len(reports)))
    again = data.draw(st.lists(st.sampled_from(reports), max_size=3)) if reports else []
    order = data.draw(st.permutations(reports))
    world = make_world(
        tmp_path_factory.mktemp("w"), mail=MemoryMail(can_tell=False, has_feedback=True)
    )
    if is_lost:
        world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())
    send = world.mail.send

    def quick(mail: Any) -> str:
        for said in order[:early]:
            hear(world, told(*said, id))
        return send(mail)

    world.mail.send = quick  # type: ignore[method-assign]
    world.drain()
    for said in [*order[early:], *again]:
        hear(world, told(*said, id))
    found = world.notices(id)
    waiting = world.store.views.count_reports().keys() & {"parked", "foreign"}
    folded = notification_of(world.store.load(notification.stream(id)))
    books = reconcile(world.store, at=world.clock.now())
    sent_mails = len(world.mail.sent)
    world.store.close()

    is_known = not is_lost or any(naming == "ours" for naming, _ in reports)
    worst = max((STATUSES[name] for _, name in reports), key=RANKS.index, default="accepted")
    assert (worst if is_known else "unknown") == found.status == folded.status
    assert ((f"memory-{id}-1",) if is_known else ()) == found.message_ids
    assert ({name for _, name in reports} - {"Send"} if is_known else set()) == {
        _KINDS[feedback.partition(":")[0]] for feedback in found.feedback
    }
    assert bool(waiting) == (not is_known and bool(reports))
    assert (None if is_known else found.due_at) == found.due_at
    assert (1, ()) == (sent_mails, books.findings)


_KINDS: Final = {
    "delivered": "Delivery",
    "delayed": "DeliveryDelay",
    "f-Bounce": "Bounce",
    "f-Complaint": "Complaint",
}


# --- what is of no use ----------------------------------------------------------------------------


def test_what_we_have_no_use_for_is_ignored(world: World) -> None:
    """Also what SES writes to a topic when it is told to publish there."""
    greeting = "Successfully validated SNS topic for Amazon SES event publishing."

    assert {"ignored"} == {
        hear(world, body).result for body in (published("Open"), greeting, enveloped(greeting))
    }


def test_a_send_settles_an_outcome_that_nobody_knew(world: World) -> None:
    """The answer was lost, and the report says that the mail was taken."""
    world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())
    world.drain()
    before = world.notices(id)
    found = hear(world, published("Send", tag=id))
    after = world.notices(id)
    accepted = world.store.load(notification.stream(id))[-1].event

    assert ("unknown", "recorded", "accepted") == (before.status, found.result, after.status)
    assert (MESSAGE_ID, None) == (after.message_id, after.due_at)
    assert isinstance(accepted, notification.Accepted)
    assert ("feedback", 1) == (accepted.how, accepted.attempt)
    assert "known" == hear(world, published("Send", tag=id)).result


def test_a_report_may_come_before_the_send_was_recorded(world: World) -> None:
    """What the call answers then is known already, and the mail goes out once."""
    id = world.notice_id(world.submit())
    send = world.mail.send

    def quick(mail: Any) -> str:
        message_id = send(mail)
        hear(world, published("Delivery", tag=id, message_id=message_id))
        return message_id

    world.mail.send = quick  # type: ignore[method-assign]
    world.drain()

    assert ("delivered", 1) == (world.notices(id).status, len(world.notices(id).message_ids))
    assert [
        *("notification.requested.v1", "notification.attempt_started.v1"),
        *("notification.accepted.v1", "notification.delivered.v1"),
    ] == world.names(notification.stream(id))


def test_a_report_without_an_id_of_the_mail_counts_too(world: World) -> None:
    """The tag says which mail it is; nothing is said to have been accepted under no name."""
    id, _ = sent(world)
    found = hear(world, published("Bounce", tag=id, message_id=""))

    assert ("recorded", "bounced") == (found.result, found.status)
    assert 1 == len(world.notices(id).message_ids)


@pytest.mark.parametrize(
    ("name", "error"),
    [("Reject", "Reject: Bad content"), ("Rendering Failure", "Rendering Failure")],
)
def test_a_mail_that_ses_took_and_did_not_send_is_a_dead_letter(
    world: World, name: str, error: str
) -> None:
    """A person looks at it; the report again, and after a redrive, changes nothing."""
    id, message_id = sent(world)
    report = published(name, tag=id, message_id=message_id)
    first, second = hear(world, report), hear(world, report)
    letter = world.services.dead_letters.show(id)
    world.services.dead_letters.redrive(context(), [id], by="ops-1")
    third = hear(world, report)
    world.drain()

    assert ("recorded", "known", "known") == (first.result, second.result, third.result)
    assert ("permanent_error", error) == (letter.why, letter.last_error)
    assert "known" == hear(world, report).result
    assert ("accepted", 2) == (world.notices(id).status, len(world.mail.sent))


def test_a_rejection_may_come_first(world: World) -> None:
    """An outcome that nobody knew: it was taken, and it was not sent."""
    world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())
    world.drain()
    found = hear(world, published("Reject", tag=id))

    assert ("recorded", "dead_lettered") == (found.result, found.status)
    assert 3 == len(found.events)


def test_a_rejection_of_an_earlier_call_says_nothing_of_a_new_one(world: World) -> None:
    """The report comes again while the mail is being sent again."""
    id, message_id = sent(world)
    report = published("Reject", tag=id, message_id=message_id)
    hear(world, report)
    world.services.dead_letters.redrive(context(), [id], by="ops-1")
    send, heard = world.mail.send, list[str]()

    def slow(mail: Any) -> str:
        heard.append(hear(world, report).result)
        return send(mail)

    world.mail.send = slow  # type: ignore[method-assign]
    world.drain()

    assert (["known"], "accepted") == (heard, world.notices(id).status)


def test_a_delivered_mail_is_not_rejected(world: World) -> None:
    """Whoever says so is too late."""
    id, message_id = sent(world)
    hear(world, published("Delivery", tag=id, message_id=message_id))

    assert "known" == hear(world, published("Reject", tag=id, message_id=message_id)).result


def test_a_dead_letter_that_was_delivered_is_none(world: World) -> None:
    """A call whose outcome was unknown sent it after all."""
    world.mail.then_raises(LOST, takes_it=True)
    id = world.notice_id(world.submit())
    world.drain()
    world.clock.advance(seconds=900)
    world.mail.has_feedback = False
    world.drain()
    world.clock.advance(seconds=60)
    world.mail.then_raises(MailRefused("no"))
    world.drain()
    before = world.notices(id).status
    hear(world, published("Delivery", tag=id))

    assert ("dead_lettered", "delivered") == (before, world.notices(id).status)


def test_the_time_is_the_reports_unless_it_is_of_the_future(world: World) -> None:
    """A clock that is ahead writes nothing into the history that has not happened."""
    id, message_id = sent(world)
    world.clock.advance(hours=1)
    for number, text in enumerate(["2026-01-31T01:31:02Z", "9999-01-01T00:00:00Z", "x"]):
        details = {"timestamp": text, "feedbackId": f"f-{number}"}
        hear(world, published("Bounce", tag=id, message_id=message_id, **details))
    times = [getattr(e.event, "at", None) for e in world.store.load(notification.stream(id))[-3:]]

    assert [START + timedelta(seconds=62), *[world.clock.now()] * 2] == times


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_reports_in_any_order_amount_to_the_same(world: World, order: tuple[int, ...]) -> None:
    """Contradictions are kept, and the worst news counts."""
    id, message_id = sent(world)
    names = ["Send", "Delivery", "Bounce", "Complaint"]
    for number in (*order, *order):
        changed = {} if names[number] == "Send" else {"feedbackId": f"f-{number}"}
        hear(world, published(names[number], tag=id, message_id=message_id, **changed))
    found = world.notices(id)

    assert ("complained", 3, (message_id,)) == (
        found.status,
        len(found.feedback),
        found.message_ids,
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "is empty"),
        ("", "is empty"),
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("{}", "names no eventType"),
        (enveloped("{}", Type="SubscriptionConfirmation"), "is an envelope without a report"),
    ],
)
def test_what_is_no_report_is_refused(world: World, body: object, why: str) -> None:
    """It says what is wrong, and nothing of what was in it."""
    with pytest.raises(Invalid, match=why):
        world.services.feedback.read(body)


@for_all(body=st.text(max_size=80))
@settings(max_examples=50, deadline=None)
def test_any_text_is_a_report_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: str
) -> None:
    """There is no third way."""
    world = make_world(tmp_path_factory.mktemp("w"))
    try:
        world.services.feedback.read(body)
    except Invalid as error:
        assert "report" == error.field  # noqa: PT017
    world.store.close()


def test_an_old_rejection_says_nothing_of_a_newer_call_of_unknown_outcome(world: World) -> None:
    """Repeated after a redrive, it makes no dead letter of what may have gone."""
    id, message_id = sent(world)
    report = published("Reject", tag=id, message_id=message_id)
    hear(world, report)
    world.services.dead_letters.redrive(context(), [id], by="op")
    world.mail.then_raises(LOST, takes_it=True)
    world.drain()
    before = world.notices(id).status
    again = hear(world, report)

    assert ("unknown", "known", "unknown") == (before, again.result, world.notices(id).status)
