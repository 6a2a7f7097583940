"""What messages on the queue lead to: attempts, submissions, or being put aside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.app.ports import (
    AccountHalted,
    GrantError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Nudge,
    Unavailable,
)
from tests.app.world import ANN, World, make_world
from tests.aws_events import enveloped
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siutindei.app.processing import Processed

DOWN: Final = MailNotSent("the server is down")


@pytest.fixture(name="queue")
def _queue() -> MemoryQueue:
    return MemoryQueue(VirtualClock())


@pytest.fixture(name="world")
def _world(tmp_path: Path, queue: MemoryQueue) -> World:
    world = make_world(
        tmp_path,
        clock=queue._clock,
        nudges=queue,
        dead_letter_queue=queue,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
    )
    world.catalogue()
    return world


def due(id: str, work: str = "notification") -> str:
    """Write a nudge."""
    return json.dumps({"event_type": f"{work}.due", f"{work}_id": id})


def process(world: World, body: object, **more: Any) -> Processed:
    """Work on a message."""
    return world.services.processing.work_on(context(), body, **more)


# --- nudges ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [str, enveloped], ids=["raw", "enveloped"])
def test_a_nudge_sends_the_mail_that_it_names(world: World, wrap: Callable[[str], str]) -> None:
    """Raw or in the envelope of SNS; a second one finds nothing to do."""
    body = due(world.notice_id(world.submit()))
    first, second = process(world, wrap(body)), process(world, wrap(body))

    assert ("sent", False) == (first.word, first.again)
    assert ("nothing_to_do", False) == (second.word, second.again)
    assert 1 == len(world.mail.sent)


def test_a_nudge_carries_a_grant_out(world: World) -> None:
    """It names the grant as it names a mail."""
    reference = world.submit()
    world.approve(reference, create_organization=True)
    done = process(world, due(f"{reference}-organization", "grant"))

    assert ("done", "done") == (done.word, world.grant(f"{reference}-organization").status)


def test_only_the_id_is_trusted(world: World) -> None:
    """What else a nudge says changes nothing: the correlation is that of the cause."""
    reference = world.submit()
    nudge = json.loads(due(world.notice_id(reference)))
    process(world, json.dumps(nudge | {"correlation_id": "forged", "ticket_id": "R00009"}))
    events = world.store.load(f"notification-{world.notice_id(reference)}")

    assert {events[0].context.correlation_id} == {e.context.correlation_id for e in events}


def test_an_attempt_that_failed_lets_the_message_come_again(world: World) -> None:
    """One receive is one attempt; the third gives the mail up, and the queue moves the message."""
    id = world.notice_id(world.submit())
    found = []
    for receives in (1, 2, 3):
        world.mail.then_raises(DOWN)
        done = process(world, due(id), receives=receives)
        found.append((done.word, done.again, done.set_aside))
        world.clock.advance(seconds=180)

    assert [
        ("failed", True, False),
        ("failed", True, False),
        ("dead_lettered", True, False),
    ] == found
    assert "attempts_exhausted" == world.notices(id).why
    assert [] == world.mail.sent


def test_a_message_that_comes_too_early_is_acknowledged(world: World) -> None:
    """Waiting burns no receive: the ledger knows when it is due, and the sweep nudges then."""
    id = world.notice_id(world.submit())
    world.mail.then_raises(DOWN)
    process(world, due(id))
    done = process(world, due(id), receives=2)

    assert ("nothing_to_do", False, 1) == (done.word, done.again, world.notices(id).calls)


def test_a_message_follows_its_dead_letter(world: World) -> None:
    """One that was received before goes on to where its mail is; a late duplicate does not."""
    id = world.notice_id(world.submit())
    for _ in range(3):
        world.mail.then_raises(DOWN)
        process(world, due(id))
        world.clock.advance(seconds=180)
    again = [process(world, due(id), receives=receives).again for receives in (1, 2)]
    world.services.dead_letters.discard(context(), [id], by="ops-1", reason="told by telephone")

    assert [False, True] == again
    assert False is process(world, due(id), receives=2).again


def test_a_permanent_error_puts_the_message_aside_at_once(world: World, queue: MemoryQueue) -> None:
    """It is recorded, and the message lies on the dead-letter queue with a reason."""
    reference = world.submit()
    id = world.notice_id(reference)
    world.mail.then_raises(MailRefused("no such address"))
    done = process(world, due(id))

    assert ("dead_lettered", False, True) == (done.word, done.again, done.set_aside)
    assert [(due(id), "permanent_error")] == queue.lying
    assert ["notification.refused.v1", "notification.dead_lettered.v1"] == world.names(
        f"notification-{id}"
    )[-2:]


def test_what_cannot_be_put_aside_comes_again(world: World, queue: MemoryQueue) -> None:
    """Then the queue moves it: nothing is lost either way."""
    id = world.notice_id(world.submit())
    world.mail.then_raises(MailRefused("no such address"))
    queue.then_fails()
    done = process(world, due(id))
    later = process(world, due(id), receives=2)

    assert ("dead_lettered", True, False) == (done.word, done.again, done.set_aside)
    assert "the queue is out of reach" == done.error
    assert True is later.again


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MailOutcomeUnknown("no answer"), "unknown"),
        (AccountHalted("sending is paused"), "failed"),
    ],
)
def test_what_is_not_the_messages_fault_burns_no_receive(
    tmp_path: Path, queue: MemoryQueue, error: Any, status: str
) -> None:
    """An unknown outcome, and an account that takes nothing: the sweep comes back to them."""
    mail = MemoryMail(can_tell=False)
    world = make_world(
        tmp_path, mail=mail, clock=queue._clock, nudges=queue, dead_letter_queue=queue
    )
    id = world.notice_id(world.submit())
    mail.then_raises(error)
    done = process(world, due(id))

    assert (False, False, status) == (done.again, done.set_aside, world.notices(id).status)


def test_a_grant_that_failed_comes_again_and_a_hopeless_one_is_put_aside(
    world: World, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for mails."""
    reference = world.submit()
    world.approve(reference, create_organization=True)
    id = f"{reference}-organization"
    errors = [GrantError("down", permanent=False), GrantError("never", permanent=True)]

    def create(self: object, **_: object) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(type(world.services.directory), "create", create)
    first = process(world, due(id, "grant"))
    world.clock.advance(seconds=180)
    second = process(world, due(id, "grant"), receives=2)

    assert ("failed", True) == (first.word, first.again)
    assert ("dead_lettered", True) == (second.word, second.set_aside)
    assert [(due(id, "grant"), "permanent_error")] == queue.lying


def test_a_code_is_not_sent_because_a_nudge_says_so(world: World) -> None:
    """Codes never go through the queue; what a nudge can do is to withhold one that expired."""
    world.mail.then_raises(DOWN)
    world.mail.then_raises(DOWN)
    user = world.person()
    notification = world.start(user).notification or ""
    world.clock.advance(seconds=100)
    waiting = process(world, due(notification))
    world.clock.advance(seconds=300)
    expired = process(world, due(notification))

    assert ("nothing_to_do", "withheld") == (waiting.word, expired.word)
    assert [] == world.mail.sent


def test_a_store_that_is_not_there_lets_the_message_come_again(world: World) -> None:
    """No attempt was made, and the message is not lost."""
    id = world.notice_id(world.submit())
    world.store.then_fails(Unavailable("locked"))
    done = process(world, due(id))

    assert ("not_now", True, "locked") == (done.word, done.again, done.error)
    assert 0 == world.notices(id).calls


def test_our_own_fault_says_its_name_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text of an error that nobody foresaw may be personal."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError(ANN)

    monkeypatch.setattr(type(world.services.delivery), "deliver", fail)
    done = process(world, due(world.notice_id(world.submit())))

    assert ("our_fault", True, "ZeroDivisionError") == (done.word, done.again, done.error)


# --- what is no nudge -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "empty"),
        (7, "empty"),
        ("", "empty"),
        ("  ", "empty"),
        ("{", "not_json"),
        ('{"a": NaN}', "not_json"),
        ("[" * 100_000, "not_json"),
        ("[]", "not_an_object"),
        ('"x"', "not_an_object"),
        (enveloped(""), "empty"),
        (enveloped("{"), "not_json"),
        (
            enveloped("{}", topic="arn:aws:sns:ap-southeast-1:123456789012:other"),
            "foreign_envelope",
        ),
        (enveloped("{}", Type="SubscriptionConfirmation"), "foreign_envelope"),
        (enveloped("{}", Message={"a": 1}), "foreign_envelope"),
        ('{"event_type": "notification.due"}', "without_id"),
        ('{"event_type": "notification.due", "notification_id": 7}', "without_id"),
        ('{"event_type": "grant.due", "grant_id": "\\ud800"}', "without_id"),
        ('{"event_type": "grant.due", "grant_id": "%s"}' % ("x" * 65), "without_id"),
    ],
)
def test_what_no_repeat_can_help_is_put_aside_at_once(
    world: World, queue: MemoryQueue, body: object, reason: str
) -> None:
    """It lies on the dead-letter queue as it came, with a reason, and takes one receive."""
    done = process(world, body)

    assert (reason, False, True) == (done.word, done.again, done.set_aside)
    assert [(body if isinstance(body, str) else "", reason)] == queue.lying


@pytest.mark.parametrize("said", ["ticket.reopened", "", 7, None])
def test_an_unknown_event_type_is_acknowledged(
    world: World, queue: MemoryQueue, said: object
) -> None:
    """Somebody else's message on the topic is nobody's fault."""
    done = process(world, json.dumps({"event_type": said}))

    assert ("unknown_event_type", False, False) == (done.word, done.again, done.set_aside)
    assert [] == queue.lying


def test_the_event_type_may_stand_beside_the_message(world: World) -> None:
    """In the envelope's attributes, or in the message's own; the body's word counts first."""
    id = world.notice_id(world.submit())
    body = json.dumps({"notification_id": id})
    attributes = {"event_type": {"Type": "String", "Value": "notification.due"}}
    words = [
        process(world, enveloped(body, MessageAttributes=attributes)).word,
        process(world, body, event_type="notification.due").word,
        process(world, '{"event_type": "x"}', event_type="notification.due").word,
        process(world, enveloped(body, MessageAttributes={"event_type": 7})).word,
    ]

    assert ["sent", "nothing_to_do", *["unknown_event_type"] * 2] == words


def test_a_nudge_for_what_there_is_not_is_acknowledged(world: World) -> None:
    """A backup that was restored has forgotten it."""
    done = process(world, due("f" * 32))

    assert ("unknown_id", False) == (done.word, done.again)


@for_all(
    body=st.text(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["event_type", "notification_id", "Type", "TopicArn", "Message", "ticket_id"]
                ),
                inner | st.sampled_from(["notification.due", "manager_request.submitted", TOPIC]),
                max_size=5,
            )
        ),
        max_leaves=8,
    ).map(json.dumps)
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_body_is_it_is_settled(
    tmp_path_factory: pytest.TempPathFactory, body: str
) -> None:
    """It is done, unknown, put aside or said to be wrong; never our fault."""
    queue = MemoryQueue(VirtualClock())
    world = make_world(
        tmp_path_factory.mktemp("w"), clock=queue._clock, nudges=queue, dead_letter_queue=queue
    )
    done = process(world, body)
    world.store.close()

    assert "our_fault" != done.word
    assert False is done.again


# --- nudges go out --------------------------------------------------------------------------------


def sent(queue: MemoryQueue) -> list[dict[str, Any]]:
    """Give the messages that wait."""
    return [json.loads(json.loads(body)["Message"]) for body in queue.waiting]


def test_every_effect_of_a_command_is_nudged(world: World, queue: MemoryQueue) -> None:
    """After the commit a message goes out for each mail and each grant, with ids alone."""
    reference = world.submit(command="one")
    submitted = sent(queue)
    world.approve(reference, create_organization=True, command="two")
    decided = sent(queue)[1:]
    notice = world.notice_id(reference)

    assert [
        {
            "event_type": "notification.due",
            "ticket_id": reference,
            "notification_id": notice,
            "event_id": f"notification-{notice}/1",
            "request_id": "one",
            "correlation_id": "one",
        }
    ] == submitted
    assert [
        ("notification.due", world.notice_id(reference, "ticket_decided")),
        ("grant.due", f"{reference}-organization"),
        ("grant.due", f"{reference}-manager"),
    ] == [(m["event_type"], m.get("notification_id") or m.get("grant_id")) for m in decided]
    assert "example.com" not in json.dumps(queue.waiting)


def test_a_command_that_is_repeated_nudges_once(world: World, queue: MemoryQueue) -> None:
    """The sweep finds what the first time did not nudge."""
    reference = world.submit(command="one")
    world.submit(command="one")
    world.decline(reference, command="two")
    world.decline(reference, command="two")

    assert 2 == len(queue.waiting)


def test_a_nudge_that_fails_takes_nothing_back(world: World, queue: MemoryQueue) -> None:
    """What was committed stands, and is due."""
    queue.then_fails()
    reference = world.submit()

    assert [] == queue.waiting
    assert "requested" == world.notice(reference).status


def test_a_redrive_nudges_and_a_code_is_never_nudged(world: World, queue: MemoryQueue) -> None:
    """Whoever waits for a code is served where they wait."""
    for _ in range(2):
        world.mail.then_raises(MailRefused("no"))
    code = world.start(world.person()).notification or ""
    id = world.notice_id(world.submit())
    process(world, due(id))
    queue.lose()
    world.services.dead_letters.redrive(context(), [code, id], by="ops-1")
    (nudge,) = sent(queue)

    assert (id, f"notification-{id}/5") == (nudge["notification_id"], nudge["event_id"])
    assert "sent" == process(world, json.dumps(nudge)).word


def test_nothing_is_sent_when_there_is_nothing_to_say(world: World, queue: MemoryQueue) -> None:
    """A discard wakes nobody."""
    world.mail.then_raises(MailRefused("no"))
    id = world.notice_id(world.submit())
    process(world, due(id))
    queue.lose()
    world.services.dead_letters.discard(context(), [id], by="ops-1", reason="known")

    assert [] == queue.waiting


# --- the old API ----------------------------------------------------------------------------------

REQUEST: Final = {
    "event_type": "manager_request.submitted",
    "ticket_id": "R00012",
    "requester_id": "user-1",
    "requester_email": ANN,
    "organization_name": "Star Dance",
    "request_message": "Please.",
}
SUGGESTION: Final = {
    "event_type": "organization_suggestion.submitted",
    "ticket_id": "S00003",
    "suggester_id": "user-1",
    "suggester_email": ANN,
    "organization_name": "Harbour Chess",
    "description": "A club.",
    "suggested_district": "Central",
    "suggested_address": "1 Pier Road",
    "suggested_lat": 0,
    "suggested_lng": 114.15,
    "additional_notes": "Sundays.",
    "media_urls": ["https://example.com/a.png"],
}
FEEDBACK: Final = {
    "event_type": "organization_feedback.submitted",
    "ticket_id": "F00100",
    "submitter_id": "user-1",
    "submitter_email": ANN,
    "organization_id": "11111111-6a53-4d0a-9a53-0f4f3a1d7c11",
    "organization_name": "Unknown to Our Catalogue",
    "feedback_stars": 4,
    "feedback_label_ids": ["22222222-6a53-4d0a-9a53-0f4f3a1d7c11"],
    "feedback_text": "Kind.",
}


def old(world: World, message: dict[str, Any], **changed: Any) -> Processed:
    """Work on a message of the old API."""
    return process(world, enveloped(message | changed))


@pytest.mark.parametrize("message", [REQUEST, SUGGESTION, FEEDBACK], ids=lambda m: m["ticket_id"])
def test_what_the_old_api_published_is_a_submission(
    world: World, queue: MemoryQueue, message: dict[str, Any]
) -> None:
    """It keeps its number, support is told, and nobody is said to have vouched for the address."""
    done = old(world, message)
    found = world.services.tickets.show(message["ticket_id"])
    said = found.submitted

    assert ("submitted", False) == (done.word, done.again)
    assert said is not None
    assert ("pending", "none", None, "ticket.taken_by_the_old_api.v1") == (
        found.status,
        said.assurance,
        said.claimed_reference,
        said.rule,
    )
    assert message["organization_name"] == said.organization_name.clear
    assert 1 == len(sent(queue))
    assert "requested" == world.notice(message["ticket_id"]).status


def test_every_field_of_it_is_taken() -> None:
    """The names that the wire contract has for them are the ticket's."""
    from siutindei.app.tickets import _old_submission

    feedback = _old_submission("organization_feedback", FEEDBACK)
    suggestion = _old_submission("organization_suggestion", SUGGESTION)

    assert (4, (FEEDBACK["feedback_label_ids"][0],), "Kind.") == (  # type: ignore[index]
        feedback.feedback_stars,
        feedback.feedback_label_ids,
        feedback.feedback_text,
    )
    assert ("Sundays.", 0.0) == (suggestion.message, suggestion.suggested_lat)
    assert "Please." == _old_submission("access_request", REQUEST).message


def test_the_same_submission_again_is_the_same(world: World) -> None:
    """Also when it was decided meanwhile, and when it came with a number that was taken."""
    first = [old(world, REQUEST).word, old(world, REQUEST).word]
    other = REQUEST | {"organization_name": "Moon Dance"}
    second = [old(world, other).word, old(world, other).word]
    world.decline("R00012")

    assert ["submitted", "submitted_before"] * 2 == first + second
    assert "submitted_before" == old(world, REQUEST).word
    assert ["ticket.submitted.v1"] * 2 + ["ticket.declined.v1"] == world.events("ticket")


def test_the_same_number_with_other_content_is_a_second_submission(world: World) -> None:
    """Both are kept, by one user too; the second gets its own number and names the other."""
    old(world, REQUEST)
    old(world, REQUEST, organization_name="Moon Dance")
    old(world, REQUEST, requester_id="user-2", requester_email="bob@example.com")
    page = world.services.tickets.list(ticket_type="access_request")
    found = [item.submitted for item in reversed(page.items)]

    assert [("R00012", None), ("R00013", "R00012"), ("R00014", "R00012")] == [
        (said.reference, said.claimed_reference) for said in found if said is not None
    ]
    assert 3 == world.services.store.views.pending_count("access_request")


def test_what_was_submitted_here_may_have_the_number(world: World) -> None:
    """Then the old API's is a second one; a number far ahead is counted on from."""
    world.submit(user="user-2")
    old(world, REQUEST, ticket_id="R00001")
    old(world, REQUEST, ticket_id="R99999")
    old(world, REQUEST, ticket_id="R99999", organization_name="Moon Dance")
    found = [item.submitted for item in world.services.tickets.list().items]

    assert ["R100000", "R99999", "R00002", "R00001"] == [said.reference for said in found if said]


def test_a_pending_ticket_of_the_old_api_keeps_its_user_from_a_second_one(world: World) -> None:
    """Here one is pending at a time, whoever took the first."""
    from siutindei.domain.ticket import PendingTicket

    old(world, REQUEST)
    with pytest.raises(PendingTicket):
        world.submit()


def test_an_address_that_was_proved_is_known_to_be(world: World) -> None:
    """What the old API does not say is known all the same when the user answered a code here."""
    user = world.signed_in()
    old(world, REQUEST, requester_id=user)
    said = world.services.tickets.show("R00012").submitted

    assert said is not None
    assert "code" == said.assurance


def test_a_user_with_many_tickets_is_looked_through(world: World) -> None:
    """A second submission is recognised however many came after it."""
    old(world, REQUEST)
    old(world, REQUEST, organization_name="Moon Dance")
    for number in range(60):
        old(world, REQUEST, ticket_id=f"R{number + 100:05d}")

    assert "submitted_before" == old(world, REQUEST, organization_name="Moon Dance").word


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"ticket_id": "S00012"}, "ticket_id"),
        ({"ticket_id": "R12"}, "ticket_id"),
        ({"ticket_id": "R000012"}, "ticket_id"),
        ({"ticket_id": "R00000"}, "ticket_id"),
        ({"ticket_id": "R0001x"}, "ticket_id"),
        ({"ticket_id": "Rⅷ0001"}, "ticket_id"),
        ({"ticket_id": None}, "ticket_id"),
        ({"requester_id": ""}, "requester_id"),
        ({"requester_email": "nobody"}, "requester_email"),
        ({"organization_name": "x" * 201}, "organization_name"),
        ({"request_message": 7}, "request_message"),
    ],
)
def test_a_submission_that_cannot_be_taken_is_put_aside(
    world: World, queue: MemoryQueue, changed: dict[str, Any], field: str
) -> None:
    """The reason names the field, and not what stood in it."""
    done = old(world, REQUEST, **changed)

    assert (f"invalid: {field}", True) == (done.word, done.set_aside)
    assert [f"invalid: {field}"] == [reason for _, reason in queue.lying]
    assert [] == world.events("ticket")


def test_whoever_was_erased_submits_nothing(world: World, queue: MemoryQueue) -> None:
    """Nothing of theirs could be kept, on the dead-letter queue neither."""
    user = world.signed_in()
    world.services.people.erase(context(), user, by="ops-1", reason="asked")
    done = old(world, REQUEST, requester_id=user)

    assert ("erased", False, []) == (done.word, done.again, queue.lying)


def test_a_nudge_names_its_work() -> None:
    """The event type is what it is about."""
    found = Nudge(
        work="grant", id="x", ticket=None, event_id="e", request_id="r", correlation_id="c"
    )

    assert "grant.due" == found.event_type
