"""What happens after a command: topic, queue, processor, sweep, dead letters and feedback."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.aws_events import notified
from tests.e2e import stack
from tests.e2e.clients import call, sign_in, sign_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stack import Emulator, Mail

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SUPPORT: Final = "support@lx-software.com"
TICKETS: Final = "Siu Tin Dei <no-reply@lx-software.com>"
#: Nothing listens there.
NO_DATABASE: Final = "postgresql://postgres@127.0.0.1:1/none"


@pytest.fixture(scope="module", name="aws")
def _aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The stack, deployed once for all tests of this file."""
    with stack.deployed(tmp_path_factory.mktemp("e2e")) as emulator:
        yield emulator


@pytest.fixture(scope="module", name="admin")
def _admin(aws: Emulator) -> str:
    """The token of an administrator."""
    sign_up(aws, "admin@example.com")
    aws.client("cognito-idp").admin_add_user_to_group(
        UserPoolId=aws.outputs["UserPoolId"], Username="admin@example.com", GroupName="admin"
    )
    return sign_in(aws, "admin@example.com", is_new=False)


def submit(aws: Emulator, address: str) -> str:
    """Sign up, and submit a ticket; give its number."""
    status, made = call(
        aws,
        "POST",
        "/user/access-request",
        token=sign_in(aws, address),
        body={"organization_name": "Hand in Hand"},
    )
    assert 202 == status, made
    return str(made["ticket_id"])


def approve(aws: Emulator, admin: str, ticket: str) -> None:
    """Approve a ticket."""
    status, decided = call(
        aws,
        "PUT",
        f"/admin/tickets/{ticket}/review",
        token=admin,
        body={"action": "approve", "create_organization": True},
    )
    assert 200 == status, decided


def mails_about(aws: Emulator, ticket: str, to: str) -> list[Mail]:
    """Give the mails to somebody about a ticket."""
    return [mail for mail in aws.mails() if mail.to == (to,) and ticket in mail.subject]


def groups(aws: Emulator, address: str) -> list[str]:
    """Give the groups that somebody is in."""
    found = aws.client("cognito-idp").admin_list_groups_for_user(
        UserPoolId=aws.outputs["UserPoolId"], Username=address
    )
    return [group["GroupName"] for group in found["Groups"]]


def swept(aws: Emulator) -> list[dict[str, Any]]:
    """Give what each sweep did and saw."""
    lines = [line for line in aws.logs().splitlines() if '"event": "swept"' in line]
    return [json.loads(line) for line in lines]


@contextmanager
def swept_until_nothing_is_due(aws: Emulator) -> Iterator[None]:
    """Let the schedule sweep, and when that is done go on until two sweeps found nothing due."""
    with aws.sweeping():
        yield
        before = len(swept(aws))
        # The first may have looked before.
        stack.wait("idle", lambda: [one["due"] for one in swept(aws)[before + 1 :]][-2:] == [0, 0])


def dead_letters(aws: Emulator) -> list[Any]:
    """Look at what lies on the dead-letter queue."""
    return aws.messages(aws.outputs["NudgeDeadLettersUrl"])


@contextmanager
def sns_loses_everything(aws: Emulator) -> Iterator[None]:
    """Let the subscription filter away whatever is published."""
    sns, (_, subscription) = aws.client("sns"), aws.resources()["NudgeSubscription"]

    def let_through(policy: dict[str, Any]) -> None:
        sns.set_subscription_attributes(
            SubscriptionArn=subscription,
            AttributeName="FilterPolicy",
            AttributeValue=json.dumps(policy),
        )

    let_through({"event_type": ["nothing"]})
    try:
        yield
        assert [] == aws.messages(aws.outputs["NudgeQueueUrl"])
    finally:
        let_through({})


@contextmanager
def sqs_loses_everything(aws: Emulator) -> Iterator[None]:
    """Let nobody receive what comes, and lose it."""
    functions, (_, mapping) = aws.client("lambda"), aws.resources()["ProcessorFunctionQueue"]
    queue = aws.outputs["NudgeQueueUrl"]
    functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
        assert aws.messages(queue)
        aws.client("sqs").purge_queue(QueueUrl=queue)
        assert [] == aws.messages(queue)
    finally:
        functions.update_event_source_mapping(UUID=mapping, Enabled=True)


@contextmanager
def processor_without_database(aws: Emulator) -> Iterator[None]:
    """Let the processor look for its database where there is none, and be asked often."""
    functions, queues = aws.client("lambda"), aws.client("sqs")
    name, queue = f"{stack.NAME}-processor", aws.outputs["NudgeQueueUrl"]
    right = functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    wrong = {**right, "SIUTINDEI_DATABASE": NO_DATABASE}

    def be(variables: dict[str, str], visibility: str) -> None:
        functions.update_function_configuration(
            FunctionName=name, Environment={"Variables": variables}
        )
        queues.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": visibility})

    be(wrong, "1")
    try:
        yield
    finally:
        be(right, "360")


# --- the way of a mail ----------------------------------------------------------------------------


def test_a_ticket_is_mailed_to_support_and_its_decision_to_the_submitter(
    aws: Emulator, admin: str
) -> None:
    """Topic, queue and processor bring both, under the tickets' sender and configuration set."""
    address = "ann@example.com"
    ticket = submit(aws, address)
    stack.wait("the notice", lambda: mails_about(aws, ticket, SUPPORT))
    approve(aws, admin, ticket)
    stack.wait("the decision", lambda: mails_about(aws, ticket, address))
    stack.wait("the grant", lambda: groups(aws, address) == ["manager"])

    mails = [mail for mail in aws.mails() if ticket in mail.subject]
    assert [(SUPPORT,), (address,)] == [mail.to for mail in mails]
    assert {(TICKETS, "siutindei-tickets")} == {
        (mail.sender, mail.configuration_set) for mail in mails
    }


def test_losing_every_message_loses_no_mail(aws: Emulator, admin: str) -> None:
    """The sweep, which its schedule starts, makes good what SNS and SQS lost, and nothing twice."""
    with sns_loses_everything(aws):
        first = submit(aws, "ben@example.com")
        approve(aws, admin, first)
    with sqs_loses_everything(aws):
        second = submit(aws, "cat@example.com")
        approve(aws, admin, second)
    lost = {
        (SUPPORT, first),
        ("ben@example.com", first),
        (SUPPORT, second),
        ("cat@example.com", second),
    }
    assert not any(mails_about(aws, ticket, to) for to, ticket in lost)

    with swept_until_nothing_is_due(aws):
        stack.wait("mailed", lambda: all(mails_about(aws, ticket, to) for to, ticket in lost))
    assert {1} == {len(mails_about(aws, ticket, to)) for to, ticket in lost}
    assert ["manager"] == groups(aws, "ben@example.com") == groups(aws, "cat@example.com")


# --- dead letters ---------------------------------------------------------------------------------


def test_a_message_that_is_none_is_set_aside_and_holds_up_nothing(aws: Emulator) -> None:
    """It lies on the dead-letter queue, with a reason; what was said after it is done."""
    aws.client("sns").publish(TopicArn=aws.outputs["NudgeTopicArn"], Message="{no JSON")
    ticket = submit(aws, "dan@example.com")
    stack.wait("the notice", lambda: mails_about(aws, ticket, SUPPORT))
    (letter,) = stack.wait("set aside", lambda: dead_letters(aws))

    assert "{no JSON" in letter["Body"]
    assert "not_json" == letter["MessageAttributes"]["reason"]["StringValue"]
    # A person has read it.
    aws.client("sqs").purge_queue(QueueUrl=aws.outputs["NudgeDeadLettersUrl"])


def test_a_nudge_that_used_up_its_receives_comes_back(aws: Emulator) -> None:
    """SQS moves what nobody could begin; once the cause is gone, the sweep sends it again."""
    with processor_without_database(aws):
        ticket = submit(aws, "eve@example.com")
        (letter,) = stack.wait("moved", lambda: dead_letters(aws))
    assert 3 == letter["ReceiveCount"]
    assert [] == mails_about(aws, ticket, SUPPORT)

    before = len(swept(aws))
    with swept_until_nothing_is_due(aws):
        stack.wait("the notice", lambda: mails_about(aws, ticket, SUPPORT))
    assert 1 == sum(one["redriven"] for one in swept(aws)[before:])
    assert ([], 1) == (dead_letters(aws), len(mails_about(aws, ticket, SUPPORT)))


def test_a_mail_that_is_refused_waits_for_a_person(aws: Emulator) -> None:
    """No sweep tries it again; `dead-letter redrive` does, and then it is sent once."""
    with aws.rejecting(SUPPORT):
        ticket = submit(aws, "fay@example.com")
        (letter,) = stack.wait("given up", lambda: dead_letters(aws))
        assert "permanent_error" == letter["MessageAttributes"]["reason"]["StringValue"]
    with swept_until_nothing_is_due(aws):
        pass
    assert (1, 1) == (len(dead_letters(aws)), swept(aws)[-1]["dead_letters"])
    assert [] == mails_about(aws, ticket, SUPPORT)

    ((item,),) = (found["items"] for found in aws.command("dead-letter", "list"))
    assert (ticket, "permanent_error") == (item["ticket"], item["why"])
    aws.command("dead-letter", "redrive", item["id"], "--by", "ops-1")
    stack.wait("the notice", lambda: mails_about(aws, ticket, SUPPORT))
    with swept_until_nothing_is_due(aws):
        pass
    assert ([], 1) == (dead_letters(aws), len(mails_about(aws, ticket, SUPPORT)))


# --- feedback -------------------------------------------------------------------------------------


def statuses(aws: Emulator, ticket: str) -> dict[str, str]:
    """Give where the mails about a ticket stand, by their kind."""
    (found,) = aws.command("notification", "list", "--ticket", ticket)
    return {item["kind"]: item["status"] for item in found["items"]}


def test_what_ses_reports_is_recorded(aws: Emulator, admin: str) -> None:
    """A report goes by the configuration set's destination, and one without a tag by its mail; an
    address whose code bounced is mailed nothing more.
    """
    ticket = submit(aws, "bounce@simulator.amazonses.com")
    stack.wait("suppressed", lambda: aws.command("suppression", "list")[0]["items"])
    (code,) = aws.command("notification", "list", "--status", "bounced")[0]["items"]
    assert "sign_in_code" == code["kind"]
    approve(aws, admin, ticket)
    expected = {"ticket_received": "delivered", "ticket_decided": "withheld"}
    stack.wait("reported", lambda: statuses(aws, ticket) == expected)

    (notice,) = mails_about(aws, ticket, SUPPORT)
    aws.client("sns").publish(
        TopicArn=aws.resources()["FeedbackTopic"][1],
        Message=json.dumps(notified("Complaint", message_id=notice.id)),
    )
    expected["ticket_received"] = "complained"
    stack.wait("complained", lambda: statuses(aws, ticket) == expected)
    (found,) = aws.command("notification", "list", "--ticket", ticket)
    (id,) = (item["id"] for item in found["items"] if item["kind"] == "ticket_received")
    last = aws.command("history", "stream", f"notification-{id}")[-1]
    assert "feedback" == last["actor"]
