"""The use cases of the crash table: what was there before, and what is done until the kill."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from siutindei.adapters.erasures import ErasureFile
from siutindei.app.erasing import scrub_what_is_owed
from siutindei.app.ports import ListedErasure
from siutindei.domain.due import is_due
from tests.app.world import ANN, CLIENT, CLUB, World
from tests.aws_events import published
from tests.support import context

if TYPE_CHECKING:
    from siutindei.domain import ticket

#: What a mail port does with one call: it takes the mail; says that it did not, now or for good, or
#: not for this account; or says nothing, having taken it or not.
Word = Literal["take", "fail", "refuse", "halt", "lost", "vanish"]
Facts = dict[str, str]
Done = tuple[object, object]
COMMAND: Final = "the-command"
#: Nothing is put off as often as this.
_MOST: Final = 50


class Dies(BaseException):
    """What a process does at once that is killed while a mail is handed over."""


@attrs.frozen(kw_only=True)
class Case:
    """A use case.

    Attributes:
        name: what it is called in the table.
        given: makes what is there before, and gives the ids that the rest needs.
        act: does it, and gives its answer: what is the same in every run, and the whole.
        asked_by: who asks again when no answer came: a client, under the same command id, or a
            queue; nobody for what the worker finds in the ledger.
        script: what the mail port does with the calls from `act` on; then it takes every mail.
    """

    name: str
    given: Callable[[World], Facts]
    act: Callable[[World, Facts], Done]
    asked_by: Literal["client", "queue", "nobody"] = "nobody"
    script: tuple[Word, ...] = ()


def finish(world: World, *, is_worker: bool = True) -> None:
    """Do what a worker does that starts, and move the clock on until nothing is due."""
    services = world.services
    if is_worker:
        scrub_what_is_owed(services.store)
        services.people.forget_what_is_owed()
    for _ in range(_MOST):
        services.delivery.drain(report=lambda _: None)
        due = services.store.views.next_due()
        if due is None:
            return
        if not is_due(due, at=world.clock.at):
            world.clock.at = due
    msg = "something is due for ever"
    raise AssertionError(msg)


# --- what is there before -------------------------------------------------------------------------


def nothing(world: World) -> Facts:
    """Nobody was there."""
    return {}


def somebody(world: World) -> Facts:
    """Ann has an account."""
    return {"user": world.person()}


def challenged(world: World) -> Facts:
    """Ann was mailed a code."""
    user = world.person()
    return {"user": user, "challenge": world.start(user).challenge}


def _asked(world: World) -> Facts:
    """A challenge was begun, and the process ended before it began to send the code."""
    user = world.person()

    def dies(_: object) -> None:
        raise Dies

    with suppress(Dies):
        world.services.sign_in.start(
            context("asked"), client=CLIENT, email=ANN, user=user, issued=dies
        )
    return {"user": user}


def pending(kind: ticket.Type) -> Callable[[World], Facts]:
    """Give a world with a ticket whose notice was sent."""

    def given(world: World) -> Facts:
        facts = {"reference": world.submit(kind)}
        finish(world)
        return facts

    return given


def submitted(world: World) -> Facts:
    """A ticket was submitted, and nobody worked on its notice yet."""
    reference = world.submit()
    return {"reference": reference, "mail": world.notice_id(reference)}


def decided(world: World) -> Facts:
    """A ticket was declined, and nobody worked on the mail yet."""
    facts = pending("access_request")(world)
    world.decline(facts["reference"], note="Not now.")
    return facts


def approved(kind: ticket.Type, **options: Any) -> Callable[[World], Facts]:
    """Give a world in which a ticket was approved, and nobody worked on what follows."""

    def given(world: World) -> Facts:
        facts = pending(kind)(world)
        world.approve(facts["reference"], **options)
        return facts

    return given


def begun(given: Callable[[World], Facts], *, sent: bool) -> Callable[[World], Facts]:
    """Let a process be killed while it handed over the mail, and the deadline pass."""

    def made(world: World) -> Facts:
        facts = given(world)
        mail: Any = world.mail
        mail.dies = "after" if sent else "before"
        with suppress(Dies):
            world.services.delivery.drain(report=lambda _: None)
        mail.dies = None
        world.clock.advance(seconds=60)
        return facts

    return made


def given_up(world: World) -> Facts:
    """A notice was refused: it is a dead letter."""
    facts = submitted(world)
    script(world, "refuse")
    finish(world)
    return facts


def grant_given_up(world: World) -> Facts:
    """An organization cannot be given to anybody, because it is there no more."""
    facts = approved("access_request", organization_id=CLUB)(world)
    path = world.home / "directory.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"organizations": {}}))
    finish(world)
    path.write_text(
        json.dumps(
            json.loads(path.read_text()) | {"organizations": json.loads(kept)["organizations"]}
        )
    )
    return facts | {"mail": f"{facts['reference']}-organization"}


def mailed(world: World) -> Facts:
    """Ann signed in, submitted a ticket and was declined; all mails lie in the mailbox."""
    user = world.signed_in()
    reference = world.submit(user=user)
    finish(world)
    world.decline(reference, note="Not now.")
    finish(world)
    return {"user": user}


def mailing(world: World) -> Facts:
    """Another process is about to mail Ann."""
    facts = mailed(world)
    reference = world.submit(user=facts["user"])
    world.decline(reference)
    mail: Any = world.mail
    mail.dies = "before"
    with suppress(Dies):
        world.services.delivery.drain(report=lambda _: None)
    mail.dies = None
    return facts


def script(world: World, *words: Word) -> None:
    """Say what the mail port does with its next calls."""
    (world.home / "script").write_text(" ".join(words))


# --- what is done ---------------------------------------------------------------------------------


def sign_up(world: World, facts: Facts) -> Done:
    """Sign somebody up."""
    user = world.services.sign_in.sign_up(context(COMMAND), email=ANN, locale="en")
    return "an account", user


def start(world: World, facts: Facts) -> Done:
    """Start a sign-in."""
    started = world.start(facts.get("user"), command=COMMAND)
    return "a challenge", started


def answer(world: World, facts: Facts) -> Done:
    """Answer rightly."""
    given = world.answer(facts["challenge"], command=COMMAND)
    return given, given


def answer_wrong(world: World, facts: Facts) -> Done:
    """Answer wrongly."""
    wrong = world.wrong(facts["challenge"])
    given = world.answer(facts["challenge"], wrong, command=COMMAND)
    return given, given


def submit(kind: ticket.Type) -> Callable[[World, Facts], Done]:
    """Submit a ticket."""

    def act(world: World, facts: Facts) -> Done:
        reference = world.submit(kind, command=COMMAND)
        return reference, reference

    return act


def approve(**options: Any) -> Callable[[World, Facts], Done]:
    """Approve a ticket."""

    def act(world: World, facts: Facts) -> Done:
        found = world.approve(facts["reference"], command=COMMAND, note="Welcome.", **options)
        name = None if found.organization is None else found.organization.name
        return (found.ticket.status, name), found

    return act


def decline(world: World, facts: Facts) -> Done:
    """Decline a ticket."""
    found = world.decline(facts["reference"], command=COMMAND, note="Not now.")
    return found.ticket.status, found


def work(world: World, facts: Facts) -> Done:
    """Work on what is due until nothing is."""
    finish(world, is_worker=False)
    return None, None


def redrive(world: World, facts: Facts) -> Done:
    """Give a dead letter more attempts."""
    letters = world.services.dead_letters.redrive(context(COMMAND), [facts["mail"]], by="op")
    return len(letters), letters


def discard(world: World, facts: Facts) -> Done:
    """Close a dead letter."""
    letters = world.services.dead_letters.discard(
        context(COMMAND), [facts["mail"]], by="op", reason="Not wanted."
    )
    return len(letters), letters


def erase(world: World, facts: Facts) -> Done:
    """Erase a person."""
    done = world.services.people.erase(context(COMMAND), facts["user"], by="op", reason="Asked.")
    return done.user, done.user


def open_again(world: World, facts: Facts) -> Done:
    """Do what everybody does who opens an installation whose list of erasures names somebody."""
    listed = ErasureFile(world.home / "erasures.jsonl")
    listed.add(ListedErasure(facts["user"]), at=world.clock.now())
    world.services.erase_again(world.services.store)
    return None, None


def hear(name: str) -> Callable[[World, Facts], Done]:
    """Take a report of the mail service; the queue brings it until it was taken."""

    def act(world: World, facts: Facts) -> Done:
        feedback = world.services.feedback
        id = facts.get("mail") or world.notice_id(facts["reference"])
        message = world.notices(id).message_id or f"maildir-{id}"
        report = feedback.read(json.dumps(published(name, tag=id, message_id=message)))
        # Each receive is a command of its own, as in the feedback function.
        heard = feedback.hear(context(world.services.ids.uuid()), report)
        return heard.status, heard.status

    return act


def process(world: World, facts: Facts) -> Done:
    """Work on a nudge from the queue, which brings it until it was worked on."""
    body = json.dumps({"event_type": "notification.due", "notification_id": facts["mail"]})
    world.services.processing.work_on(context(world.services.ids.uuid()), body)
    return None, None


def take(world: World, facts: Facts) -> Done:
    """Take a message of the platform's old API, which the queue brings until it was taken."""
    body = json.dumps(
        {
            "event_type": "manager_request.submitted",
            "ticket_id": "R00041",
            "requester_id": "user-9",
            "requester_email": ANN,
            "organization_name": "Star Dance",
        }
    )
    done = world.services.processing.work_on(context(world.services.ids.uuid()), body)
    assert done.word in {"submitted", "submitted_before"}, done
    return None, None


def sweep(world: World, facts: Facts) -> Done:
    """Sweep."""
    world.services.sweep.run(context(world.services.ids.uuid()))
    return None, None


# --- the list -------------------------------------------------------------------------------------


def _command(
    name: str,
    given: Callable[[World], Facts],
    act: Callable[[World, Facts], Done],
    *script: Word,
) -> Case:
    return Case(name=name, given=given, act=act, asked_by="client", script=script)


def _queue(
    name: str,
    given: Callable[[World], Facts],
    act: Callable[[World, Facts], Done],
    *script: Word,
) -> Case:
    return Case(name=name, given=given, act=act, asked_by="queue", script=script)


def _work(name: str, given: Callable[[World], Facts], *script: Word) -> Case:
    return Case(name=f"worker: {name}", given=given, act=work, script=script)


_SIGNING_IN: Final = (
    _command("sign up", nothing, sign_up),
    _command("start a sign-in", somebody, start),
    _command("start a sign-in; the mail fails once", somebody, start, "fail"),
    _command("start a sign-in; the mail is refused", somebody, start, "refuse"),
    _command("start a sign-in; taken, and no answer comes", somebody, start, "lost"),
    _command("start a sign-in; not taken, and no answer comes", somebody, start, "vanish"),
    _command("start a sign-in by an address that nobody has", nothing, start),
    _command("answer rightly", challenged, answer),
    _command("answer wrongly", challenged, answer_wrong),
)
_TICKETS: Final = (
    _command("submit an access request", nothing, submit("access_request")),
    _command("submit a suggestion", nothing, submit("organization_suggestion")),
    _command("submit feedback", nothing, submit("organization_feedback")),
    _command(
        "approve an access request: a new organization",
        pending("access_request"),
        approve(create_organization=True),
    ),
    _command(
        "approve an access request: an organization that is there",
        pending("access_request"),
        approve(organization_id=CLUB),
    ),
    _command(
        "approve a suggestion: a new organization",
        pending("organization_suggestion"),
        approve(create_organization=True),
    ),
    _command("approve feedback", pending("organization_feedback"), approve()),
    _command("decline", pending("access_request"), decline),
)
_WORK: Final = (
    _work("a notice, accepted", submitted),
    _work("a notice that fails once", submitted, "fail"),
    _work("a notice that fails three times", submitted, "fail", "fail", "fail"),
    _work("a notice that is refused", submitted, "refuse"),
    _work("a notice while the account is halted", submitted, "halt"),
    _work("a notice that is taken, and no answer comes", submitted, "lost"),
    _work("a notice that is not taken, and no answer comes", submitted, "vanish"),
    _work("a notice that a killed process sent", begun(submitted, sent=True)),
    _work("a notice that a killed process did not send", begun(submitted, sent=False)),
    _work("a decision, accepted", decided),
    _work("a decision that is taken, and no answer comes", decided, "lost"),
    _work("a code, accepted", _asked),
    _work("a code that fails once", _asked, "fail"),
    _work("a code that is taken, and no answer comes", _asked, "lost"),
    _work("a code that a killed process sent", begun(_asked, sent=True)),
    _work("a code that a killed process did not send", begun(_asked, sent=False)),
)
_GRANTS: Final = (
    _work("a new organization", approved("access_request", create_organization=True)),
    _work("an organization that is there", approved("access_request", organization_id=CLUB)),
    _work("feedback and stars", approved("organization_feedback")),
)
_REST: Final = (
    _command("redrive a mail", given_up, redrive),
    _command("redrive a grant", grant_given_up, redrive),
    _command("discard a mail", given_up, discard),
    _command("discard a grant", grant_given_up, discard),
    _queue("feedback: delivered", pending("access_request"), hear("Delivery")),
    _queue("feedback: bounced", pending("access_request"), hear("Bounce")),
    _queue("feedback on a call that has no outcome", begun(submitted, sent=True), hear("Delivery")),
    _queue("processor: a nudge", submitted, process),
    _queue("processor: a nudge; the mail is refused", submitted, process, "refuse"),
    _queue("processor: a message of the old API", nothing, take),
    Case(name="sweep", given=begun(submitted, sent=True), act=sweep),
    _command("erase a person", mailed, erase),
    _command("erase a person who is being mailed", mailing, erase),
    Case(name="open an installation whose list names somebody", given=mailed, act=open_again),
)
CASES: Final = (*_SIGNING_IN, *_TICKETS, *_WORK, *_GRANTS, *_REST)
#: Those in which a mail is handed over.
MAILING: Final = tuple(
    case
    for case in CASES
    if case in _WORK
    or case.name.startswith(("start a sign-in", "redrive a mail", "processor: a n"))
)
