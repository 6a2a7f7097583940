"""From any id to one tree of causes, and nothing personal in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app import explaining, wording
from siutindei.app.explaining import KINDS, LONGEST, Explanation, Node, UnknownId
from siutindei.app.history import plain
from siutindei.app.ports import AccountHalted, MailRefused, Recorded
from siutindei.domain import catalogue, report
from siutindei.domain.errors import Invalid
from tests.app.test_feedback import hear
from tests.app.world import ANN, BOB, World, make_world
from tests.aws_events import published
from tests.golden.samples import SAMPLES
from tests.histories import reveal_each
from tests.support import context

if TYPE_CHECKING:
    from pathlib import Path

DECISION: Final = "ticket_decided"


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """Give an application whose mail port is as SES is."""
    return make_world(tmp_path, mail=MemoryMail(can_tell=False, has_feedback=True))


def explain(world: World, id: object) -> Explanation:
    """Explain an id, and see that what comes out is one tree."""
    found = world.services.explain.explain(id)
    places = {node.id: number for number, node in enumerate(found.nodes)}

    assert len(places) == len(found.nodes)
    assert all(places[cause] < places[node.id] for node in found.nodes for cause in node.causes)
    assert [node.parent for node in found.nodes].count(None) == 1
    rows = list(found.rows())
    merged = [node.id for node in found.nodes if node.kind == "command"]
    assert places.keys() - {row.node.id for row in rows} <= set(merged)
    return found


def by_id(found: Explanation) -> dict[str, Node]:
    """Give the nodes by their ids."""
    return {node.id: node for node in found.nodes}


def asked(found: Explanation) -> list[str]:
    """List what is marked."""
    return [node.id for node in found.nodes if node.is_asked_for]


def events(found: Explanation) -> list[str]:
    """List the events that are no asides."""
    return [node.id for node in found.nodes if node.kind == "event" and not node.is_aside]


def path(found: Explanation, id: str) -> list[str]:
    """Give the stored names from the root down to an event; requests and commands as such."""
    nodes, names = by_id(found), []
    node: Node | None = nodes[id]
    while node is not None:
        names.append(node.name or node.kind)
        node = nodes.get(node.parent or "")
    return names[::-1]


def report_of(world: World, id: str, name: str, **details: Any) -> Any:
    """Hear what became of a mail."""
    message_id = world.notices(id).message_id or ""
    return hear(world, published(name, tag=id, message_id=message_id, **details))


@pytest.fixture(name="told")
def _told(world: World) -> tuple[World, str]:
    """Let a ticket be submitted, approved, mailed, and the mail bounce; give the mail's id."""
    world.submit()
    world.drain()
    world.clock.advance(hours=1)
    world.approve("R00001", note="Welcome.", command="approval", create_organization=True)
    world.drain()
    id = world.notice_id("R00001", DECISION)
    world.clock.advance(hours=1)
    report_of(world, id, "Bounce", feedbackId="bounce-1")
    world.submit(user="user-2", email=BOB)
    return world, id


# --- one tree -------------------------------------------------------------------------------------


def test_a_mail_goes_back_to_the_request_that_the_ticket_came_with(
    told: tuple[World, str],
) -> None:
    """Submission, decision, mail, attempt, report and suppression stand below each other."""
    world, id = told
    found = explain(world, id)
    fingerprint = world.services.addresses.fingerprint(ANN)

    assert path(found, f"suppression-{fingerprint}/1") == [
        *("request", "command", "ticket.submitted.v1"),
        *("request", "command", "ticket.approved.v1"),
        *("notification.requested.v1", "notification.attempt_started.v1"),
        *("notification.accepted.v1", "request", "command", "notification.bounced.v1"),
        "suppression.suppressed.v1",
    ]
    assert not [node for node in found.nodes if "R00002" in node.title]
    nodes = by_id(found)
    assert nodes["ticket-R00001/2"].rule == "ticket.decided_once.v1"
    assert nodes["ticket-R00001/2"].causes == ("command/approval", "ticket-R00001/1")
    assert (nodes[f"notification-{id}/3"].status, nodes[f"notification-{id}/3"].actor) == (
        "accepted",
        "worker",
    )
    assert all(node.at is not None and node.actor for node in found.nodes)


def _ids(world: World, id: str) -> dict[str, str]:
    mail = world.store.load(f"notification-{id}")
    (submitted, _) = world.store.load("ticket-R00001")
    message_id = world.notices(id).message_id
    return {
        "ticket": "R00001",
        "ticket in small letters": "r00001",
        "ticket's id": submitted.event.id,  # type: ignore[union-attr]
        "stream": "ticket-R00001",
        "event": "ticket-R00001/2",
        "notification": id,
        "its stream": f"notification-{id}",
        "grant": "R00001-organization",
        "SES message": message_id or "",
        "feedback": "bounce-1",
        "command": "approval",
        "request": submitted.context.request_id,
        "correlation": mail[-1].context.correlation_id,
    }


def test_every_id_leads_to_the_same_tree(told: tuple[World, str]) -> None:
    """Whatever of a story somebody holds, it is the same story, with another part of it marked."""
    world, id = told
    whole = explain(world, "R00001")
    for what, text in _ids(world, id).items():
        found = explain(world, text)
        assert events(found) == events(whole), what
        assert asked(found), what


@pytest.mark.parametrize(
    ("id", "marked"),
    [
        ("R00001", ["ticket-R00001/1"]),
        ("ticket-R00001/2", ["ticket-R00001/2"]),
        ("approval", ["request/approval", "command/approval"]),
    ],
)
def test_what_was_asked_for_is_marked(told: tuple[World, str], id: str, marked: list[str]) -> None:
    """The event, or the request and the command, that has the id."""
    assert asked(explain(told[0], id)) == marked


def test_a_correlation_marks_where_it_begins(told: tuple[World, str]) -> None:
    """All that follows carries it; the first of it is what somebody wants to see."""
    world, _ = told
    by_api = attrs.evolve(context("step"), request_id="api-2", correlation_id="correlation-2")
    world.services.tickets.decline(by_api, "R00002", by="admin-7")
    world.drain()

    assert asked(explain(world, "correlation-2")) == ["ticket-R00002/2"]


def test_a_redrive_stands_below_what_was_given_up(world: World) -> None:
    """With the request of the person who gave it, and what followed from it."""
    world.mail.then_raises(MailRefused("never"))
    world.submit()
    world.drain()
    id = world.notice_id("R00001")
    world.services.dead_letters.redrive(context("again"), [id], by="op")
    world.drain()
    found = explain(world, "again")
    redriven = next(node for node in found.nodes if node.name == "notification.redriven.v1")

    assert path(found, redriven.id)[-3:] == ["request", "command", "notification.redriven.v1"]
    assert asked(found) == ["request/again", "command/again"]
    assert found.nodes[-1].name == "notification.accepted.v1"


# --- sign-ins -------------------------------------------------------------------------------------


def test_an_answer_stands_below_the_challenge_that_it_was_for(world: World) -> None:
    """Wrong ones, right ones, and the address that was proved by it."""
    user = world.person()
    started = world.start(user)
    world.answer(started.challenge, world.wrong(started.challenge))
    world.answer(started.challenge)
    found = explain(world, started.challenge)
    stream = world.store.read(names=["challenge.issued.v1"])
    (issued,) = stream

    assert asked(found) == [issued.id]
    assert path(found, f"person-{user}/2") == [
        *("request", "command", "challenge.issued.v1"),
        *("request", "command", "challenge.passed.v1", "person.address_proved.v2"),
    ]
    assert by_id(found)[f"{issued.stream}/2"].causes[1:] == (issued.id,)
    assert not [node for node in found.nodes if node.name == "person.signed_up.v1"]


def test_answers_that_are_used_up_close_the_challenge(world: World) -> None:
    """It is the last wrong answer that closes it."""
    started = world.start(world.person())
    for _ in range(3):
        world.answer(started.challenge, world.wrong(started.challenge))
    found = explain(world, started.challenge)

    assert path(found, found.nodes[-1].id)[-2:] == ["challenge.missed.v1", "challenge.closed.v1"]


def test_a_newer_challenge_is_another_tree(world: World) -> None:
    """The older one says that it was closed; both trees go on without the other."""
    user = world.person()
    first = world.start(user)
    world.clock.advance(minutes=2)
    second = world.start(user, command="second")
    older, newer = explain(world, first.challenge), explain(world, second.challenge)
    (closed,) = [node for node in older.nodes if node.name == "challenge.closed.v1"]

    assert closed.is_aside
    assert closed.parent == asked(older)[0]
    assert not [node for node in newer.nodes if node.is_aside]
    assert path(newer, closed.id) == ["request", "command", "challenge.closed.v1"]
    assert events(explain(world, "second")) == events(newer)


def test_a_stream_of_several_challenges_is_one_tree(world: World) -> None:
    """Above them stands what they have in common; those that are too many are counted."""
    user = world.person()
    started = []
    for _ in range(3):
        started.append(world.start(user))
        world.clock.advance(minutes=20)
    code = world.store.views.find_code(started[0].challenge)
    assert code is not None
    found = explain(world, f"challenge-{code.client}-{code.fingerprint}")

    assert found.nodes[0].kind == "chains"
    assert found.nodes[0].title.startswith("3 chains have to do with this stream: challenge-")
    assert [node.parent for node in found.nodes].count(found.nodes[0].id) == 3
    assert found.left_out == 0


# --- several chains -------------------------------------------------------------------------------


def test_an_invocation_that_worked_in_several_chains_is_their_root(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of messages has one Lambda request; the chains hang below it, so many at most."""
    by_lambda = attrs.evolve(
        context("batch", actor="worker"), aws_request_id="invocation-1", sqs_message_id="message-1"
    )
    for number in range(3):
        world.submit(user=f"user-{number}")
        id = world.notice_id(f"R0000{number + 1}")
        step = attrs.evolve(by_lambda, command_id=f"step-{number}")
        world.services.delivery.deliver(step, id)
    found = explain(world, "invocation-1")

    assert (found.nodes[0].kind, found.nodes[0].actor) == ("request", "worker")
    assert found.nodes[0].title == ("3 chains have to do with this Lambda request: invocation-1")
    assert len(events(found)) == 3 * 5
    assert asked(found)[0] == "request/invocation-1"
    assert len(asked(found)) > 3
    monkeypatch.setattr(explaining, "MOST", 2)
    fewer = explain(world, "message-1")
    assert (len(events(fewer)), fewer.left_out) == (2 * 5, 1)


def test_a_request_that_did_something_in_several_chains_is_their_root(world: World) -> None:
    """What it did stands in its chain, and what it began stands below it."""
    world.submit()
    world.submit(user="user-2", email=BOB)
    shared = context("shared")
    for number in (1, 2):
        world.services.tickets.decline(
            attrs.evolve(shared, command_id=f"one-{number}"), f"R0000{number}", by="admin-7"
        )
    world.services.suppressions.add(
        attrs.evolve(shared, command_id="one-3"), ANN, by="op", reason="asked"
    )
    found = explain(world, "shared")
    below = [node.name or node.kind for node in found.nodes if node.parent == "request/shared"]

    assert below == ["request", "request", "command"]
    assert {"request/shared", "ticket-R00001/2", "ticket-R00002/2"} <= {*asked(found)}
    assert path(found, "ticket-R00002/2")[-2:] == ["ticket.submitted.v1", "ticket.declined.v1"]


def test_a_request_that_began_much_is_shown_in_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said how much is left out."""
    shared = context("shared")
    for number, email in enumerate((ANN, BOB, "cem@example.com")):
        world.services.suppressions.add(
            attrs.evolve(shared, command_id=f"one-{number}"), email, by="op", reason="asked"
        )
    monkeypatch.setattr(explaining, "_NODES", 2)
    first = next(iter(world.store.read())).id
    found = explain(world, first)

    assert (len(events(found)), found.left_out) == (2, 1)
    monkeypatch.undo()
    monkeypatch.setattr(explaining, "MOST", 1)
    whole = explain(world, "shared")
    assert (len(events(whole)), whole.left_out) == (3, 0)
    assert path(found, first) == ["request", "command", "suppression.suppressed.v1"]


# --- suppressions and lanes -----------------------------------------------------------------------


def test_a_withheld_mail_names_its_request_and_the_suppression(told: tuple[World, str]) -> None:
    """The chain of the suppression stands below it; and below the suppression the mail."""
    world, id = told
    fingerprint = world.services.addresses.fingerprint(ANN)
    world.submit("organization_suggestion")
    world.decline("S00001")
    world.drain()
    withheld = f"notification-{world.notice_id('S00001', DECISION)}/2"
    found = explain(world, "S00001")
    node = by_id(found)[withheld]

    assert node.causes == (withheld.replace("/2", "/1"), f"suppression-{fingerprint}/1")
    assert by_id(found)[f"notification-{id}/4"].is_aside
    assert path(found, "ticket-R00001/1")[-4:-1] == [
        *("notification.withheld.v1", "request", "command"),
    ]
    assert [row.why for row in found.rows() if row.why] == ["because of"]

    other = explain(world, id)
    leaf = by_id(other)[withheld]
    assert (leaf.is_aside, leaf.causes) == (True, (f"suppression-{fingerprint}/1",))
    assert f"{withheld}:" in [row.why for row in other.rows()]
    assert "S00001" not in json.dumps([node.title for node in other.nodes])


def test_what_an_erasure_withheld_names_it(world: World) -> None:
    """The mail, and the grant."""
    world.submit()
    world.drain()
    world.approve("R00001", create_organization=True)
    world.services.people.erase(context("erasure"), "user-1", by="op", reason="asked")
    world.drain()
    found = explain(world, "R00001")
    withheld = [node for node in found.nodes if (node.name or "").endswith("withheld.v1")]
    (erased,) = [node for node in found.nodes if node.name == "person.erased.v1"]

    assert {"notification.withheld.v1", "grant.withheld.v1"} == {node.name for node in withheld}
    assert all(node.causes[1:] == (erased.id,) for node in withheld)
    assert erased.is_aside


def test_a_request_that_is_in_the_tree_begins_no_other_chain(world: World) -> None:
    """Two tickets of one batch, of which one's mail led to the other's being withheld."""
    batch = context("batch")
    for number, kind in enumerate(("access_request", "organization_suggestion")):
        world.services.tickets.submit(
            attrs.evolve(batch, command_id=f"one-{number}", correlation_id=f"one-{number}"),
            ticket_type=kind,  # type: ignore[arg-type]
            user="user-1",
            email=ANN,
            body={"organization_name": "Star Dance", "description": "A club."},
            vouched=True,
        )
    for reference in ("R00001", "S00001"):
        world.decline(reference)
        world.drain()
        if reference == "R00001":
            report_of(world, world.notice_id(reference, DECISION), "Complaint")
    found = explain(world, "S00001")
    first = by_id(found)["ticket-R00001/1"]

    assert first.is_aside
    assert by_id(found)[first.parent or ""].name == "notification.withheld.v1"
    assert path(found, "ticket-S00001/1") == ["request", "command", "ticket.submitted.v1"]


def test_a_command_may_be_called_as_a_stream_is(world: World) -> None:
    """What a client named it by leads to all that followed all the same."""
    world.submit(command="ticket-R00001")
    world.decline("R00001")

    assert len(events(explain(world, "R00001"))) == 5


def test_mails_that_one_suppression_withheld_are_counted_when_they_are_many(
    told: tuple[World, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suppression can withhold any number; those of other addresses are not its."""
    world, _ = told
    world.services.suppressions.add(context(), BOB, by="op", reason="asked")
    world.decline("R00002")
    for number, kind in enumerate(("organization_suggestion", "organization_feedback")):
        world.submit(kind, user=f"user-1{number}")  # type: ignore[arg-type]
    world.decline("S00001")
    world.decline("F00001")
    world.drain()
    monkeypatch.setattr(explaining, "MOST", 1)
    found = explain(world, "R00001")

    assert (1, 1) == (sum(node.is_leaf for node in found.nodes), found.left_out)


def test_a_lifting_and_a_look_follow_the_suppression(told: tuple[World, str]) -> None:
    """A look at many addresses ties nothing together; a person's word begins a tree."""
    world, id = told
    suppressions = world.services.suppressions
    suppressions.add(context("add"), BOB, by="op", reason="asked")
    reveal_each(world.store, context("look"))
    suppressions.lift(context(), ANN, by="op", reason="a new mailbox")
    suppressions.add(context("again"), ANN, by="op", reason="asked")
    found, look = explain(world, id), explain(world, "look")
    fingerprint = world.services.addresses.fingerprint(ANN)

    assert path(found, f"suppression-{fingerprint}/3")[-4:] == [
        *("suppression.suppressed.v1", "request", "command", "suppression.lifted.v1"),
    ]
    assert f"suppression-{fingerprint}/4" not in by_id(found)
    assert path(explain(world, "again"), f"suppression-{fingerprint}/4") == [
        *("request", "command", "suppression.suppressed.v1"),
    ]
    assert look.nodes[0].title.startswith("2 chains")
    assert "add" not in json.dumps([node.context for node in found.nodes])


def test_soft_bounces_that_count_are_each_a_cause(world: World) -> None:
    """The mails that bounced stand below the suppression that they led to."""
    ids = []
    for number in range(3):
        world.submit(user=f"user-{number}")
        world.decline(f"R0000{number + 1}")
        world.drain()
        ids.append(world.notice_id(f"R0000{number + 1}", DECISION))
    for number, id in enumerate(ids):
        report_of(world, id, "Bounce", bounceType="Transient", feedbackId=f"soft-{number}")
    fingerprint = world.services.addresses.fingerprint(ANN)
    stream = f"suppression-{fingerprint}"
    assert world.names(stream)[-1] == "suppression.suppressed.v1"
    last = len(world.names(stream))
    found = explain(world, "R00003")

    assert set(by_id(found)[f"{stream}/{last}"].causes) >= {
        f"{stream}/{number}" for number in range(1, last)
    }
    assert {"ticket-R00001/1", "ticket-R00002/1"} <= by_id(found).keys()


def test_a_mail_that_waited_for_its_lane_names_what_halted_it(world: World) -> None:
    """And the mail that met it."""
    world.mail.then_raises(AccountHalted("sending is paused"))
    first, second = world.submit(), world.submit(user="user-2", email=BOB)
    world.drain()
    waited = (
        first
        if "notification.deferred.v1" in world.names(f"notification-{world.notice_id(first)}")[1:2]
        else second
    )
    found = explain(world, waited)
    (node,) = [node for node in found.nodes if node.name == "notification.deferred.v1"]

    assert node.causes[1].startswith("lane-tickets/")
    assert by_id(found)[node.causes[1]].is_aside


# --- reports --------------------------------------------------------------------------------------


def test_a_report_that_came_first_stands_with_its_mail(world: World) -> None:
    """The parked report leads to the tree of the mail that it was of."""
    send = world.mail.send

    def heard_at_once(mail: Any) -> str:
        message_id = send(mail)
        hear(world, published("Delivery", tag=None, message_id=message_id, feedbackId="early"))
        return message_id

    world.mail.send = heard_at_once  # type: ignore[method-assign]
    world.submit()
    world.drain()
    id = world.notice_id("R00001")
    parked = report.stream(world.notices(id).message_id or "")
    for asked_for in (parked, f"{parked}/1", world.notices(id).message_id or ""):
        found = explain(world, asked_for)
        applied = by_id(found)[f"{parked}/2"]

        assert found.kinds[-1] in {"stream", "event", "SES message"}
        assert f"{parked}/1" in applied.causes
        assert "ticket-R00001/1" in events(found)
        assert by_id(found)[f"{parked}/1"].is_aside


def test_reports_of_a_mail_that_nobody_knows_are_one_tree(world: World) -> None:
    """They are found by what the mail service calls the mail."""
    for name in ("Delivery", "Complaint"):
        hear(world, published(name, tag=None, message_id="unknown-1", feedbackId=f"f-{name}"))
    found = explain(world, "unknown-1")

    assert found.kinds == ("SES message",)
    assert [node.name for node in found.nodes if node.kind == "event"] == ["report.parked.v1"] * 2
    assert events(explain(world, "f-Complaint")) == events(found)


# --- what cannot be read --------------------------------------------------------------------------


def insert(world: World, stream: str, version: int, state: bytes, name: str = "x.y.v9") -> None:
    """Put a row into the log, as another program might."""
    with world.store.writing() as cursor:
        cursor.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES (?, ?, ?, ?)",
            (stream, version, name, state),
        )


def newer(causation_id: str | None, **more: str) -> bytes:
    """Give the bytes of an event that a newer version wrote."""
    return json.dumps(
        {
            "recorded_at": "2026-01-31T01:30:00Z",
            "command_id": "newer-command",
            "actor": "operator:new",
            "request_id": "newer-request",
            "correlation_id": "newer-request",
            "data": {"message_id": "newer-message", "id": "newer-id", "size": 3},
            **({} if causation_id is None else {"causation_id": causation_id}),
            **more,
        },
        separators=(",", ":"),
    ).encode()


def test_what_cannot_be_read_hides_nothing(told: tuple[World, str]) -> None:
    """A newer version's event and a damaged one stand where they belong, and say so."""
    world, id = told
    before = events(explain(world, "R00001"))
    insert(world, "ticket-R00001", 3, newer(None))
    insert(world, "ticket-R00001", 4, b"{damaged")
    insert(world, "parcel-1", 1, newer(f"notification-{id}/3"))
    found = explain(world, "newer-message")
    nodes = by_id(found)

    assert explain(world, "newer-id").nodes == found.nodes

    assert events(explain(world, "R00001")) == before + events(found)[len(before) :]
    assert events(found)[len(before) :] == [
        *("ticket-R00001/3", "ticket-R00001/4", "parcel-1/1"),
    ]
    assert (nodes["ticket-R00001/4"].is_readable, nodes["ticket-R00001/4"].at) == (False, None)
    assert nodes["ticket-R00001/3"].actor == "operator:new"
    assert nodes["ticket-R00001/3"].title.startswith("this cannot be read: ")
    assert nodes["ticket-R00001/3"].status is None
    assert nodes["ticket-R00001/2"].status == "approved"
    assert explain(world, "ticket-R00001/4").kinds == ("event",)


def test_a_damaged_beginning_is_a_root(world: World) -> None:
    """Nothing is known of what it followed from."""
    insert(world, "ticket-R00009", 1, b"\xff")
    found = explain(world, "ticket-R00009")

    assert [("ticket-R00009/1", None, "x.y.v9")] == [
        (node.id, node.parent, node.name) for node in found.nodes
    ]


def test_a_cause_that_is_not_before_is_none(told: tuple[World, str]) -> None:
    """A history that says so is damaged, and ends nobody's patience."""
    world, _ = told
    insert(world, "parcel-1", 1, newer("parcel-1/2"))
    insert(world, "parcel-1", 2, newer("parcel-1/1"))
    insert(world, "parcel-2", 1, newer("nothing", correlation_id="elsewhere"))

    assert len(events(explain(world, "parcel-1/2"))) == 2
    assert events(explain(world, "parcel-2")) == ["parcel-2/1"]


def test_a_withheld_mail_without_its_beginning_is_shown(told: tuple[World, str]) -> None:
    """A mail whose cause is gone hangs below the suppression, and in no circle."""
    world, _ = told
    world.submit("organization_suggestion")
    world.decline("S00001")
    world.drain()
    id = world.notice_id("S00001", DECISION)
    with world.store.writing() as cursor:
        cursor.execute(
            "UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), ?, ?) AS BLOB)"
            " WHERE originator_id = ? AND originator_version = 2",
            (f"notification-{id}/1", "gone/1", f"notification-{id}"),
        )

    assert f"notification-{id}/2" in events(explain(world, f"notification-{id}/2"))


def test_a_mail_whose_beginning_is_gone_is_explained(world: World) -> None:
    """What is left of it is shown: a hole in a stream is for `doctor` to find."""
    world.mail.then_raises(AccountHalted("sending is paused"))
    ids = [world.notice_id(world.submit()), world.notice_id(world.submit(user="u-2", email=BOB))]
    world.drain()
    with world.store.writing() as cursor:
        cursor.execute("DELETE FROM stored_events WHERE topic = 'notification.requested.v1'")
    names = [node.name for id in ids for node in explain(world, f"notification-{id}").nodes]

    assert "notification.deferred.v1" in names


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "id",
    [
        *("approva", "pproval", "approval-", "%", "_pproval", "appr%", "' OR 1=1 --", '"', "\\"),
        *("R0000", "R00001/1", "ticket-R00001/", "ticket-R00001/01", "ticket-R00001/9", "/", "/1"),
        *("ticket-", "user-1", ANN, "[sealed]", "en", "ticket.submitted.v1", "operator:test"),
        *("Welcome.", "Star Dance", "access_request", "<b>R00001</b>", "ſ00001", "R００００１"),
        *("x" * LONGEST, "command_id", "ticket.decided_once.v1", "attempt"),
    ],
)
def test_what_is_no_id_is_not_found(told: tuple[World, str], id: str) -> None:
    """A part of an id is none, nor is what stands in any other field; nothing is a pattern."""
    with pytest.raises(UnknownId) as refused:
        told[0].services.explain.explain(id)

    assert str(refused.value).endswith(KINDS)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("id", ["", "  ", "a\nb", "a\0b", "x" * (LONGEST + 1), "x" * 10_000, None])
def test_what_cannot_be_an_id_is_refused(world: World, id: object) -> None:
    """An id is one line of a bounded length."""
    with pytest.raises(Invalid) as refused:
        world.services.explain.explain(id)

    assert refused.value.field == "id"


def test_what_is_sealed_is_no_id(told: tuple[World, str]) -> None:
    """What a personal field is stored as leads nowhere."""
    world, _ = told
    token = world.store.load("ticket-R00001")[0].event.submitter_email.token  # type: ignore[union-attr]
    assert token

    with pytest.raises(Invalid if len(token) > LONGEST else UnknownId):
        world.services.explain.explain(token)


def test_nothing_personal_is_in_a_tree(told: tuple[World, str]) -> None:
    """No address, name or text that somebody typed, and no sealed form of them."""
    world, id = told
    nodes = explain(world, id).nodes
    told_all = json.dumps([plain(node) for node in nodes])

    for text in (ANN, "Star Dance", "Please.", "Welcome.", "sealed", "admin-7@"):
        assert text not in told_all
    assert "admin-7" in told_all


def test_explaining_changes_nothing(told: tuple[World, str]) -> None:
    """No event is written, and no mail is sent."""
    world, id = told
    before = (world.store.last_position(), len(world.mail.sent), world.bytes())
    explain(world, id)

    assert before == (world.store.last_position(), len(world.mail.sent), world.bytes())


# --- words ----------------------------------------------------------------------------------------


def test_every_event_is_told_in_plain_words() -> None:
    """Each kind of event has its line, with what matters filled in, and nothing personal."""
    lines = {}
    for name, (event, envelope) in SAMPLES.items():
        entry = Recorded(
            stream="ticket-R00001",
            version=1,
            position=1,
            name=name,
            recorded_at=event.at,
            context=envelope,
            event=event,
        )
        lines[name] = wording.line(entry)
        details = wording.details(entry)
        assert not {"at", "rule", "fingerprint"} & details.keys()
        assert json.dumps(details)
        assert not {"[sealed]", "[erased]", "", None} & {
            value for value in details.values() if not isinstance(value, list)
        }

    assert {type(event) for event, _ in SAMPLES.values()} >= set(catalogue.NAMES)
    assert not [line for line in lines.values() if "{" in line or "None" in line]
