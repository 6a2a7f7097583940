"""The demo's story through the Lambda handlers: the same history as through the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_queue import TOPIC, MemoryQueue
from siutindei.entrypoints import cognito, processor, runtime, sweep
from siutindei.entrypoints import feedback as feedback_events
from tests.app.world import CLUB, World, make_world
from tests.aws_events import batch, published, record
from tests.entrypoints import pool
from tests.entrypoints.commands import Cli
from tests.entrypoints.gateway import Gateway, flat
from tests.support import context

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import VirtualClock

PARENT: Final = flat("user-parent", "chan@example.com")
PROVIDER: Final = flat("user-provider", "dance@example.com")


def signs_in(world: World, identity: dict[str, Any], locale: str, *, wrong_first: bool) -> None:
    """Sign somebody up and in, as Cognito runs it."""
    user, email = identity["userSub"], identity["email"]

    def invoke(event: Any) -> Any:
        return getattr(cognito, pool.HANDLERS[event["triggerSource"]])(event, None)

    invoke(pool.sign_up({"email": email, "locale": locale}))
    attributes = pool.user(email, sub=user, locale=locale)
    session = pool.Session(invoke, attributes, name=user)
    steps = [session.go_on()]
    found = re.search(r"(?<!\d)\d{6}(?!\d)", world.mail.sent[-1].text)
    assert found is not None
    if wrong_first:
        steps.append(session.answer(f"{(int(found.group()) + 1) % 1_000_000:06d}"))
    assert {"ask"} == set(steps)
    assert "admit" == session.answer(f" {found.group()} ")
    invoke(pool.authenticated(attributes=attributes))


def work(queue: MemoryQueue) -> int:
    """Let the processor do what it is nudged for; say what the sweep finds left."""
    queue.drain(processor.handler)
    found: int = sweep.handler({}, None)["due"]
    return found


def tell(world: World, queue: MemoryQueue) -> None:
    """Tell the demo's story as users, administrators and AWS do."""
    signs_in(world, PARENT, "zh-HK", wrong_first=True)
    signs_in(world, PROVIDER, "en", wrong_first=False)
    api = Gateway(world)
    access = {"organization_name": "Star Dance 星星舞蹈", "request_message": "We teach ballet."}
    suggestion = {"organization_name": "Harbour Chess", "description": "Saturday chess."}
    feedback = {"organization_id": CLUB, "stars": 5, "description": "老師很有耐性。"}
    for path, body, identity, status in (
        ("access-request", access, PROVIDER, 202),
        ("organization-suggestion", suggestion, PARENT, 202),
        ("organization-feedback", feedback, PARENT, 202),
        ("access-request", access, PROVIDER, 409),
    ):
        assert status == api.post(f"/v1/user/{path}", body, authorizer=identity).status
    assert 0 == work(queue)
    for reference, decision, status in (
        ("R00001", {"action": "approve", "create_organization": True}, 200),
        ("S00001", {"action": "reject", "admin_notes": "We list this club already."}, 200),
        ("F00001", {"action": "approve"}, 200),
        ("R00001", {"action": "reject"}, 409),
    ):
        assert status == api.review(reference, decision).status
    assert 0 == work(queue)
    for reference, name, changed in (
        ("S00001", "Bounce", {"bounceType": "Permanent"}),
        ("R00001", "Complaint", {"complaintFeedbackType": "abuse"}),
    ):
        id = world.notice_id(reference, "ticket_decided")
        message_id = world.notices(id).message_id or ""
        event = published(name, tag=id, message_id=message_id, feedbackId=id, **changed)
        assert {"batchItemFailures": []} == feedback_events.handler(batch(record(event)), None)
    body = {"organization_id": CLUB, "stars": 4}
    answer = api.post("/v1/user/organization-feedback", body, authorizer=PROVIDER)
    assert 202 == answer.status
    assert 200 == api.review("F00002", {"action": "approve"}).status
    assert 0 == work(queue)
    world.services.suppressions.lift(context(), PROVIDER["email"], by="op", reason="taken back")


def history(cli: Cli) -> dict[str, list[str]]:
    """Give the names of what happened, in order, by what it happened to.

    A ticket and its grants are called the same in every telling; people, challenges and mails are
    told apart by what their first event says.
    """
    labels: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for event in cli("--json", "history", "tail").lines:
        stream, data = event["stream"], event["data"]
        category = stream.partition("-")[0]
        if category in {"person", "challenge", "notification", "suppression"}:
            about = " ".join(str(data.get(name)) for name in ("kind", "ticket", "locale", "reason"))
            label = labels.setdefault(stream, f"{category} {about}")
        else:
            label = stream
        found.setdefault(label, []).append(event["name"])
    return found


@pytest.mark.parametrize("raw", [False, True], ids=["enveloped", "raw"])
def test_the_handlers_tell_the_story_that_the_demo_tells(
    tmp_path: Path, clock: VirtualClock, *, raw: bool
) -> None:
    """Each ticket, mail, grant, challenge and person has the same events in the same order."""
    told = Cli(tmp_path / "demo")
    told("demo")
    queue = MemoryQueue(clock, raw=raw)
    world = make_world(
        tmp_path / "lambda",
        clock=clock,
        nudges=queue,
        dead_letter_queue=queue,
        environment={"MANAGER_REQUEST_TOPIC_ARN": TOPIC},
    )
    with runtime.use(world.services):
        tell(world, queue)
    by_hand, by_lambda = history(told), history(Cli(tmp_path / "lambda", store=world.store))

    assert by_hand == by_lambda
    # Two people with a code each, four tickets with two mails each, six grants, two suppressions.
    assert (26, 69) == (len(by_lambda), sum(len(names) for names in by_lambda.values()))
    assert 9 == len(world.mail.sent)
    assert ([], []) == (queue.waiting, queue.lying)
