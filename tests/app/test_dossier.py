"""The dossier of a ticket: everything about it, once it is recorded who looks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.ports import (
    GrantError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
)
from siutindei.app.proof import Place
from siutindei.domain.errors import Invalid, NotFound
from tests.app.test_delivery import buggy_directory
from tests.app.test_feedback import hear
from tests.app.test_people import erase
from tests.app.world import ANN, BOB, CLUB, World, make_world
from tests.aws_events import published
from tests.support import context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from siutindei.app.dossier import Dossier, Effect

NOTICE: Final = "ticket_received"
DECISION: Final = "ticket_decided"


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    """Give an application whose mail port is as SES is."""
    return make_world(tmp_path, mail=MemoryMail(can_tell=False, has_feedback=True))


def opened(world: World, reference: str = "R00001", by: object = "eve") -> Dossier:
    """Open a dossier."""
    return world.services.dossiers.open(context(), reference, by=by)


def mail(dossier: Dossier, kind: str = DECISION) -> Effect:
    """Give its mail of a kind."""
    (found,) = [one for one in dossier.mails if one.kind == kind]
    return found


def told(effect: Effect) -> list[tuple[int, list[str]]]:
    """Give the calls of a mail or a grant, each with what was known of it."""
    return [
        (attempt.number, [said.what for said in attempt.outcomes]) for attempt in effect.attempts
    ]


def report(world: World, id: str, name: str, **details: Any) -> None:
    """Hear what became of a mail."""
    message_id = world.notices(id).message_id or ""
    hear(world, published(name, tag=id, message_id=message_id, **details))


# --- the ticket -----------------------------------------------------------------------------------


def test_a_dossier_tells_the_whole_story(world: World) -> None:
    """Who asked for what, who decided it, why, by which rule, how long it took, what followed."""
    world.submit(user="user-ann")
    world.drain()
    world.clock.advance(hours=3)
    world.approve("R00001", note="Welcome.", command="approval", create_organization=True)
    world.drain()
    dossier = opened(world)
    decision = dossier.state.decision
    assert decision is not None
    assert dossier.decision is not None

    assert (ANN, "Please.") == (
        dossier.submitted.submitter_email.text,
        dossier.submitted.message and dossier.submitted.message.text,
    )
    assert ("token", "ticket.one_pending_per_user_and_type.v1") == (
        dossier.submitted.assurance,
        dossier.submitted.rule,
    )
    assert ("approved", "Welcome.", "admin-7", "ticket.decided_once.v1") == (
        dossier.state.status,
        decision.note and decision.note.text,
        decision.by.text,
        decision.rule,
    )
    assert timedelta(hours=3) == dossier.took
    assert ("ticket-R00001/2", "approval", "operator:test") == (
        dossier.decision.event,
        dossier.decision.request_id,
        dossier.decision.actor,
    )
    assert "ticket-R00001/1" == dossier.submission.event
    assert [NOTICE, DECISION] == [one.kind for one in dossier.mails]
    assert ["support", ANN] == [one.recipient for one in dossier.mails]
    assert [(1, ["accepted"])] == told(mail(dossier))
    assert world.notice("R00001", DECISION).message_id == (
        mail(dossier).attempts[0].outcomes[0].message_id
    )
    assert ["R00001-organization", "R00001-manager"] == [one.id for one in dossier.grants]
    assert ["done", "done"] == [one.status for one in dossier.grants]
    assert [(1, ["carried_out"])] == told(dossier.grants[0])
    assert dossier.grants[0].organization_id == decision.organization_id


def test_the_timeline_is_what_happened_in_order(world: World) -> None:
    """Each event of the ticket, its mails and its grants, with who acted and in which request."""
    world.submit(command="submission", vouched=False)
    world.drain()
    world.decline("R00001", command="decline")
    world.drain()
    dossier = opened(world)
    names = [node.name for node in dossier.timeline]
    streams = {"ticket-R00001", *(f"notification-{one.id}" for one in dossier.mails)}

    assert ["ticket.submitted.v1", "notification.requested.v1"] == names[:2]
    assert [entry.id for entry in world.store.read() if entry.stream in streams] == [
        node.id for node in dossier.timeline
    ]
    assert ("operator:test", "submission") == (
        dossier.timeline[0].actor,
        dossier.timeline[0].context["request_id"],
    )
    assert "worker" == dossier.timeline[-1].actor
    assert () == dossier.grants


def test_a_pending_ticket_has_a_dossier(world: World) -> None:
    """There is no decision yet, and nothing of one to prove."""
    world.submit()
    dossier = opened(world)

    assert (None, None) == (dossier.decision, dossier.took)
    assert [NOTICE] == [one.kind for one in dossier.mails]
    assert (None, "nothing is decided yet") == (dossier.proof.event, dossier.proof.why)


def test_of_an_erased_submitter_nothing_personal_is_left(world: World) -> None:
    """What happened is told all the same, and that they were erased."""
    world.submit(user="user-ann")
    world.decline("R00001", note="Sorry, Ann.", by=BOB)
    erase(world, "user-ann")
    world.drain()
    dossier = opened(world)
    decision, sent = dossier.state.decision, mail(dossier)
    assert decision is not None
    assert decision.note is not None

    assert {"[erased]"} == {
        dossier.submitted.submitter_email.text,
        dossier.submitted.organization_name.text,
        decision.note.text,
        sent.recipient,
    }
    assert BOB == decision.by.text
    assert ("withheld", ["withheld"]) == (sent.status, [said.what for said in sent.handling])
    assert "person.erased.v1" in [node.name for node in dossier.timeline if node.is_aside]


def test_a_ticket_of_the_old_api_says_so(world: World) -> None:
    """The number that it came with, and the rule by which it was taken."""
    body = {
        "ticket_id": "R00001",
        "requester_id": "user-2",
        "requester_email": BOB,
        "organization_name": "Star Dance",
        "request_message": None,
    }
    world.submit()
    world.services.tickets.take(context(), event_type="manager_request.submitted", body=body)
    dossier = opened(world, "R00002")

    assert ("R00001", "ticket.taken_by_the_old_api.v1") == (
        dossier.submitted.claimed_reference,
        dossier.submitted.rule,
    )
    assert dossier.submitted.message is None


# --- mails and grants -----------------------------------------------------------------------------


def test_every_call_and_its_outcome_is_told(world: World) -> None:
    """A failed call, one that nobody could tell of, and one that went."""
    world.submit()
    world.drain()
    world.mail.then_raises(MailNotSent("busy"))
    world.mail.then_raises(MailOutcomeUnknown("no answer"), takes_it=True)
    world.decline("R00001")
    world.drain()
    world.clock.advance(minutes=2)
    world.drain()
    id = world.notice_id("R00001", DECISION)
    world.clock.advance(minutes=1)
    message_id = "late-1"
    hear(world, published("Delivery", tag=id, message_id=message_id, feedbackId="f-1"))
    found = mail(opened(world))

    assert [(1, ["failed"]), (2, ["outcome_unknown", "accepted"])] == told(found)
    assert ["failed", "accepted"] == [attempt.outcome for attempt in found.attempts]
    assert "busy" in found.attempts[0].outcomes[0].said
    assert message_id == found.attempts[1].outcomes[-1].message_id
    assert ["delivered"] == [said.what for said in found.feedback]
    assert {found.template_hash} == {attempt.template_hash for attempt in found.attempts}


def test_a_call_that_has_no_outcome_yet(world: World) -> None:
    """A worker that died within a call left it open."""
    world.submit()
    world.store.then_fails(None, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        world.drain()
    (attempt,) = mail(opened(world), NOTICE).attempts

    assert ("no_outcome_yet", ()) == (attempt.outcome, attempt.outcomes)
    assert attempt.started is not None


def test_a_bounce_and_its_suppression_are_told(world: World) -> None:
    """What was reported, what it led to, and who lifted it, in their words."""
    world.submit()
    world.drain()
    world.decline("R00001")
    world.drain()
    world.services.suppressions.add(context(), BOB, by="op", reason="somebody else")
    report(world, world.notice_id("R00001", DECISION), "Bounce", feedbackId="b-1")
    world.services.suppressions.lift(context(), ANN, by="op", reason="a new mailbox")
    found = mail(opened(world))

    assert ("bounced", ["bounced"]) == (found.status, [said.what for said in found.feedback])
    assert [("suppressed", None, None), ("lifted", "op", "a new mailbox")] == [
        (said.what, said.by, said.reason) for said in found.suppression
    ]
    assert () == mail(opened(world), NOTICE).suppression


def test_a_mail_that_a_suppression_withheld_tells_which(world: World) -> None:
    """The suppression that was in force, with who decided it and why; none before it."""
    suppressions = world.services.suppressions
    world.submit()
    suppressions.add(context(), ANN, by="op", reason="first")
    suppressions.lift(context(), ANN, by="op", reason="a mistake")
    suppressions.add(context(), ANN, by="op", reason="asked by letter")
    world.drain()
    world.decline("R00001")
    world.drain()
    found = mail(opened(world))

    assert ("withheld", ["withheld"]) == (found.status, [said.what for said in found.handling])
    assert [("op", "asked by letter")] == [(said.by, said.reason) for said in found.suppression]


def test_a_dead_letter_tells_who_did_what_about_it(world: World) -> None:
    """It was given up, redriven, given up again and discarded: by whom, and why."""
    for _ in range(2):
        world.mail.then_raises(MailRefused("no such mailbox"))
    world.submit()
    world.drain()
    id = world.notice_id("R00001")
    world.services.dead_letters.redrive(context(), [id], by="op")
    world.drain()
    world.services.dead_letters.discard(context(), [id], by="eve", reason="told by telephone")
    found = mail(opened(world), NOTICE)

    assert [
        ("dead_lettered", None, None),
        ("redriven", "op", None),
        ("dead_lettered", None, None),
        ("discarded", "eve", "told by telephone"),
    ] == [(said.what, said.by, said.reason) for said in found.handling]
    assert ["refused", "refused"] == [attempt.outcome for attempt in found.attempts]
    assert found.handling[0].rule


def test_a_grant_that_failed_is_told(world: World, tmp_path: Path) -> None:
    """Its call, the error, and that it was given up."""
    world = world.rebuilt(directory=buggy_directory(tmp_path, GrantError("no", permanent=True)))
    world.submit()
    world.approve("R00001", organization_id=CLUB)
    world.drain()
    (found,) = [one for one in opened(world).grants if one.status == "dead_lettered"]

    assert [(1, ["failed"])] == told(found)
    assert "no" in found.attempts[0].outcomes[0].said
    assert ["dead_lettered"] == [said.what for said in found.handling]
    assert found.attempts[0].template_hash is None


# --- who looks ------------------------------------------------------------------------------------


def test_who_opens_a_dossier_is_recorded(world: World) -> None:
    """Each opening is an event of its own, and the next one tells of it."""
    world.submit()
    first = opened(world)
    second = opened(world, "r00001", by=ANN)

    assert () == first.accesses
    assert ["eve"] == [one.by for one in second.accesses]
    assert ["access.opened.v1"] * 2 == world.names("access-ticket-R00001")
    assert [2, 2] == [one.shown for one in world.services.accesses.list().items]


def test_nothing_is_shown_without_a_record(world: World) -> None:
    """A store that takes no event, and a name that is none, show nothing."""
    world.submit()
    world.store.then_fails(Unavailable("the disk is full"))
    with pytest.raises(Unavailable, match="disk"):
        opened(world)
    with pytest.raises(Invalid, match="by"):
        opened(world, by=" ")

    assert [] == world.events("access")


def test_a_ticket_that_there_is_not_is_not_looked_at(world: World) -> None:
    """Nothing is recorded of it."""
    world.submit()
    for wrong in ("R00009", "", "x" * 1000):
        with pytest.raises(NotFound):
            opened(world, wrong)

    assert [] == world.events("access")


def test_of_many_looks_the_newest_are_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said that there are older ones."""
    monkeypatch.setattr("siutindei.app.dossier.LIST_MOST", 1)
    world.submit()
    for by in ("one", "two"):
        opened(world, by=by)
    found = opened(world)

    assert (["two"], True) == ([one.by for one in found.accesses], found.has_older_accesses)


# --- the proof ------------------------------------------------------------------------------------


class Log:
    """A checkpoint over the first events of any dossier."""

    def __init__(self, size: int) -> None:
        self.size = size

    def covered(self, events: Sequence[str]) -> Mapping[str, Place]:
        """Say where those stand that it covers."""
        return {
            id: Place(index=number, size=self.size, root="ab" * 32)
            for number, id in enumerate(events[: self.size])
        }


def test_without_a_log_nothing_is_proved(world: World) -> None:
    """It says so, and does not pretend."""
    world.submit()
    world.decline("R00001")
    proof = opened(world).proof

    assert ("ticket-R00001/2", None) == (proof.event, proof.leaf)
    assert "no checkpoint covers the decision" == proof.why
    assert (5, 0) == (proof.events, proof.covered)


@pytest.mark.parametrize(("size", "is_covered"), [(3, False), (4, True)])
def test_a_checkpoint_covers_the_decision_or_not(world: World, size: int, is_covered: bool) -> None:
    """Where the decision stands in it, and of how many events the dossier is made."""
    world.submit()
    world.decline("R00001")
    proof = opened(world.rebuilt(proofs=Log(size))).proof

    assert is_covered is (proof.leaf is not None) is (proof.why == "")
    assert (5, size) == (proof.events, proof.covered)
    if proof.leaf is not None:
        assert (3, 4, "ab" * 32) == (proof.leaf.index, proof.leaf.size, proof.leaf.root)
