"""The books: a healthy history adds up, whatever happens in it; one that does not is told where."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.books import (
    MOST,
    PARKED_LONG,
    Account,
    Books,
    Mails,
    Reported,
    compare,
    reconcile,
)
from siutindei.app.ports import MailOutcomeUnknown, MailRefused, Recorded
from siutindei.domain import challenge, grant, notification, person, report, ticket
from siutindei.domain.catalogue import NAMES
from siutindei.domain.personal import of
from tests import strategies
from tests.adapters.test_read_models import LONG, STEPS, Story
from tests.app.world import ANN, World, make_world
from tests.aws_events import notified, published
from tests.contracts import signed_up, submitted
from tests.strategies import unhurried
from tests.support import START, context, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.strategies import History

# --- a healthy history ----------------------------------------------------------------------------


def test_a_story_adds_up(world: World) -> None:
    """Sign-ins, tickets, a decision: everything that was asked for is counted, nothing is found."""
    user = world.signed_in()
    world.submit(user=user)
    world.drain()
    world.mail.then_raises(MailRefused("no such mailbox"))
    world.approve("R00001", create_organization=True)
    world.drain()
    world.submit("organization_suggestion", user=user)
    books = reconcile(world.store, at=world.clock.now())

    assert () == books.findings
    assert (
        Books(
            events=world.store.last_position(),
            streams=10,
            commands=16,
            tickets=2,
            causes=6,
            notifications=Account(requested=4, done=2, waiting=1, dead_lettered=1, attempts=3),
            grants=Account(requested=2, done=2, attempts=2),
            feedback=Reported(),
            next_due=START,
            findings=(),
            found=0,
        )
        == books
    )


def test_an_empty_history_adds_up(world: World) -> None:
    """Nothing happened, and nothing is missing."""
    books = reconcile(world.store, at=START)

    assert (0, 0, Account(), None) == (books.events, books.found, books.grants, books.next_due)


def test_what_nobody_looked_at_yet_is_open(world: World) -> None:
    """An attempt whose process died is under way until its deadline, and open after it."""
    world.submit()
    with pytest.raises(KeyboardInterrupt):
        world.rebuilt(mail=_Dying()).drain()
    before, after = (
        reconcile(world.store, at=START + timedelta(seconds=seconds)) for seconds in (0, 60)
    )

    assert (0, 1) == (before.notifications.open, after.notifications.open)
    assert (1, 1) == (after.notifications.waiting, after.notifications.attempts)
    assert START < (after.next_due or START)
    assert 0 == after.found


class _Dying(MemoryMail):
    def send(self, mail: Any) -> str:
        raise KeyboardInterrupt


def test_every_end_is_an_account(world: World) -> None:
    """A code that may have been mailed, a mail that is withheld, one that a person discarded."""
    user = world.person()
    world.mail.then_raises(MailOutcomeUnknown("silence"))
    world.start(user)
    world.clock.advance(hours=1)
    world.mail.then_raises(MailRefused("never"))
    world.submit(user=user)
    world.drain()
    letters = [letter.id for letter in world.services.dead_letters.all()]
    world.services.dead_letters.discard(context(), letters, by="op", reason="no use")
    world.decline("R00001")
    world.services.people.erase(context(), user, by="op", reason="asked")
    world.drain()
    account = reconcile(world.store, at=world.clock.now()).notifications

    assert Account(requested=3, unknown=1, withheld=1, discarded=1, attempts=2) == account


# --- whatever happens -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(STEPS, max_size=25))
@example(steps=LONG)
def test_whatever_happens_adds_up(steps: list[tuple[Any, ...]]) -> None:
    """No story that the use cases let happen has a finding, and every effect has an end."""
    mail = MemoryMail()
    with TemporaryDirectory() as folder:
        services = make_services(Path(folder), mail=mail)
        story = Story(services, mail)
        for step in steps:
            story.happen(step)
        books = reconcile(services.store, at=services.clock.now())
        events = services.store.last_position()
        services.store.close()

    # What nobody sent may be reported of for as long as the story lasts.
    found = [finding.what for finding in books.findings if "by that name" not in finding.what]
    assert ([], events) == (found, books.events)
    for account in (books.notifications, books.grants):
        assert account.requested == sum(
            getattr(account, word)
            for word in ("done", "waiting", "unknown", "withheld", "dead_lettered", "discarded")
        )
    assert books.causes == books.notifications.requested + books.grants.requested


_STREAMS: Final = {notification: "notification-n1", grant: "grant-R00001-stars"}


@unhurried
@given(history=strategies.histories)
def test_whatever_is_decided_of_an_effect_adds_up(history: History) -> None:
    """No decision about a mail or grant has a finding, but that here nothing asked for it."""
    stream = _STREAMS.get(history.aggregate)
    if stream is None or not history.steps:
        return
    books = told(*([(stream, event) for event in step.events] for step in history.steps))
    unasked = [entry.what for entry in books.findings if "nothing in its command" not in entry.what]

    assert [] == [what for what in unasked if "not how" not in what]


# --- what does not add up -------------------------------------------------------------------------

REFERENCE: Final = "ticket-R00001"
MAIL: Final = "notification-n1"
GRANT: Final = "grant-R00001-manager"
Step = tuple[str, Any]


class Log:
    """A log that was written by hand: each command is a list of streams and events."""

    def __init__(self, *commands: list[Step]) -> None:
        self.entries: list[Recorded] = []
        versions: dict[str, int] = {}
        for number, command in enumerate(commands, start=1):
            for stream, event in command:
                versions[stream] = versions.get(stream, 0) + 1
                self.entries.append(
                    Recorded(
                        stream=stream,
                        version=versions[stream],
                        position=len(self.entries) + 1,
                        name=NAMES[type(event)],
                        recorded_at=START,
                        context=context(f"c{number}"),
                        event=event,
                    )
                )

    def read(self) -> Iterator[Recorded]:
        """Read it in order."""
        return iter(self.entries)


def told(*commands: list[Step], at: datetime = START) -> Books:
    """Reconcile a log that was written by hand."""
    log: Any = Log(*commands)
    return reconcile(log, at=at)


def found(*commands: list[Step]) -> list[str]:
    """Say what does not add up in a log that was written by hand."""
    return [finding.what for finding in told(*commands).findings]


def notice(cause: str = f"{REFERENCE}/1", **fields: Any) -> notification.Requested:
    """Make the event that asks for the notice of a ticket."""
    requested = notification.Requested(
        id="n1",
        kind="ticket_received",
        cause=cause,
        template="ticket_received",
        template_version=1,
        template_hash="h",
        at=START,
    )
    return attrs.evolve(requested, **fields)


def granted(kind: grant.Kind = "manager") -> grant.Requested:
    """Make the event that asks for a grant of the first ticket."""
    return grant.Requested(
        id=f"R00001-{kind}",
        kind=kind,
        cause=f"{REFERENCE}/2",
        ticket="R00001",
        user="ann",
        organization_id="o1",
        at=START,
    )


def approved() -> ticket.Approved:
    """Make the event of an approval."""
    return ticket.Approved(
        by=of("eve", "eve"), reviewer="eve", organization_id="o1", rule="r", at=START
    )


def decided(id: str = "n2", cause: str = f"{REFERENCE}/2") -> Step:
    """Ask for the mail of a decision."""
    return f"notification-{id}", notice(cause, id=id, kind="ticket_decided")


SUBMIT: Final[list[Step]] = [(REFERENCE, submitted()), (MAIL, notice())]
APPROVE: Final[list[Step]] = [
    (REFERENCE, approved()),
    ("grant-R00001-organization", granted("organization")),
    (GRANT, granted()),
    decided(),
]
SECOND: Final[list[Step]] = [
    ("ticket-R00002", submitted(2, user="bob")),
    ("notification-n3", notice("ticket-R00002/1", id="n3")),
]


def tried(attempt: int, *, seconds: float = 0, stream: str = MAIL) -> list[Step]:
    """Announce an attempt, so many seconds after the start; its deadline is ten later."""
    at = START + timedelta(seconds=seconds)
    kind: Any = notification if stream == MAIL else grant
    deadline = at + timedelta(seconds=10)
    return [(stream, kind.AttemptStarted(attempt=attempt, deadline=deadline, at=at))]


def took(attempt: int, message_id: str = "m1") -> list[Step]:
    """Record that the mail port took it."""
    return [(MAIL, notification.Accepted(attempt=attempt, message_id=message_id, at=START))]


def failed(attempt: int, *, again: bool = True) -> list[Step]:
    """Record an attempt that failed, and is made again at once or not at all."""
    event = notification.Failed(
        attempt=attempt,
        error_class="transient",
        error="busy",
        retry_at=START if again else None,
        at=START,
    )
    return [(MAIL, event)]


ISSUED: Final = challenge.Issued(
    challenge="c",
    client="app",
    fingerprint="f",
    user="ann",
    proved=True,
    key_id="k",
    attempts=3,
    expires_at=START,
    at=START,
)


def test_a_log_that_was_written_by_hand_can_add_up() -> None:
    """The histories below begin as one that has no finding: what is found is what they change."""
    assert [] == found(SUBMIT, tried(1), took(1), APPROVE, SECOND)
    # An access request brings two grants, and each may be made again after its deadline.
    again = tried(2, stream=GRANT, seconds=11)
    assert [] == found(SUBMIT, APPROVE, tried(1, stream=GRANT), again)


CAUSELESS: Final = "was requested, and nothing in its command asks for it: its cause is said to be"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        # --- causes and what they ask for
        pytest.param(
            [SUBMIT[:1], SUBMIT[1:]],
            [
                f"{REFERENCE}/1 asks for ticket_received, and its command did not request it",
                f"{MAIL} (ticket_received) {CAUSELESS} {REFERENCE}/1",
            ],
            id="a mail that was requested later",
        ),
        pytest.param(
            [[*SUBMIT, ("notification-x", notice(id="x"))]],
            [f"notification-x (ticket_received) {CAUSELESS} {REFERENCE}/1"],
            id="a mail that was requested twice under two names",
        ),
        pytest.param(
            [[*SUBMIT, (MAIL, notice())]],
            [f"{MAIL}/2 requests n1, which is not how {MAIL} begins"],
            id="a mail that was requested twice",
        ),
        pytest.param(
            [[SUBMIT[0], ("notification-x", notice())]],
            ["notification-x/1 requests n1, which is not how notification-x begins"],
            id="a mail in the stream of another",
        ),
        pytest.param(
            [[(MAIL, notice("person-ann/1")), ("person-ann", signed_up())]],
            [f"{MAIL} (ticket_received) {CAUSELESS} person-ann/1"],
            id="a mail whose cause asks for none",
        ),
        pytest.param(
            [SUBMIT, [APPROVE[0], APPROVE[1], APPROVE[3]]],
            [f"{REFERENCE}/2 asks for manager, and its command did not request it"],
            id="an approval without one of its grants",
        ),
        pytest.param(
            [SUBMIT, [APPROVE[0], *APPROVE[2:], ("grant-R00001-stars", granted("stars"))]],
            [
                f"grant-R00001-stars (stars) {CAUSELESS} {REFERENCE}/2",
                f"{REFERENCE}/2 asks for organization, and its command did not request it",
            ],
            id="an approval with another grant",
        ),
        pytest.param(
            [
                [("challenge-app-f", ISSUED)],
            ],
            ["challenge-app-f/1 asks for sign_in_code, and its command did not request it"],
            id="a code that was not asked for",
        ),
        # --- tickets
        pytest.param(
            [SUBMIT, APPROVE, [(REFERENCE, approved()), decided("n4", f"{REFERENCE}/3")]],
            [f"{REFERENCE}/3 decides a ticket that is not pending"],
            id="a ticket that was decided twice",
        ),
        pytest.param(
            [SECOND],
            ["no ticket has the number R00001, and later ones are taken"],
            id="a number that nobody has",
        ),
        pytest.param(
            [
                SUBMIT,
                [
                    (REFERENCE, submitted()),
                    ("notification-n3", notice(f"{REFERENCE}/2", id="n3")),
                ],
            ],
            [f"{REFERENCE}/2 has the number R00001 a second time"],
            id="a number that two have",
        ),
        pytest.param(
            [[("ticket-R00002", submitted()), (MAIL, notice("ticket-R00002/1"))]],
            ["ticket-R00002/1 has the number R00001, which is not its own"],
            id="a number that is another ticket's",
        ),
        pytest.param(
            [[("ticket-Rx", submitted(reference="Rx")), (MAIL, notice("ticket-Rx/1"))]],
            ["ticket-Rx/1 has the number Rx, which is not its own"],
            id="a number that is none",
        ),
        pytest.param(
            [[("ticket-R" + "9" * 5000, submitted(reference="R" + "9" * 5000)), SUBMIT[1]]],
            [
                f"ticket-R{'9' * 5000}/1 has the number R{'9' * 5000}, which is not its own",
                f"{MAIL} (ticket_received) {CAUSELESS} {REFERENCE}/1",
                f"ticket-R{'9' * 5000}/1 asks for ticket_received, and its command did not "
                "request it",
            ],
            id="a number that is none by far",
        ),
        # --- attempts
        pytest.param(
            [SUBMIT, tried(1), tried(2, seconds=11)],
            [f"{MAIL}/3 begins attempt 2 while the one before has no outcome"],
            id="an attempt beside another",
        ),
        pytest.param(
            [SUBMIT, tried(1), took(1), tried(2)],
            [f"{MAIL}/4 begins attempt 2 after it was settled (accepted)"],
            id="an attempt after a mail was taken",
        ),
        pytest.param(
            [SUBMIT, tried(1, seconds=-1)],
            [f"{MAIL}/2 begins attempt 1 before it was due"],
            id="an attempt too early",
        ),
        pytest.param(
            [SUBMIT, tried(2)],
            [f"{MAIL}/2 begins attempt 2 after 0 attempts"],
            id="an attempt with another number",
        ),
        pytest.param(
            [SUBMIT, *(step for n in (1, 2, 3) for step in (tried(n), failed(n))), tried(4)],
            [f"{MAIL}/8 begins attempt 4: 4 are more than the rules allow"],
            id="a fourth attempt",
        ),
        pytest.param(
            [SUBMIT, took(1)],
            [f"{MAIL}/2 ends attempt 1, which was never tried"],
            id="a mail that was taken without an attempt",
        ),
        pytest.param(
            [SUBMIT, tried(1), took(1), took(1, "m2")],
            [f"{MAIL}/4 ends attempt 1 again"],
            id="a mail that was taken twice by one attempt",
        ),
        pytest.param(
            [SUBMIT, failed(1)],
            [f"{MAIL}/2 ends attempt 1, which was never tried"],
            id="a failure without an attempt",
        ),
        pytest.param(
            [SUBMIT, tried(1), took(1), failed(1)],
            [
                f"{MAIL}/4 ends attempt 1, which had ended",
            ],
            id="a failure after a mail was taken",
        ),
        pytest.param(
            [SUBMIT, [(MAIL, notification.Delivered(feedback_id="f", at=START))]],
            [f"{MAIL}/2 is feedback on a mail that was never tried"],
            id="feedback on nothing",
        ),
        pytest.param(
            [SUBMIT, tried(1), failed(1, again=False)],
            [f"{MAIL} is failed: it waits for nothing, and nobody knows"],
            id="a mail that was forgotten",
        ),
        pytest.param(
            [
                SUBMIT,
                tried(1),
                [(MAIL, notification.OutcomeUnknown(attempt=1, why="silence", at=START))],
            ],
            [f"{MAIL} is unknown: it waits for nothing, and nobody knows"],
            id="an unknown outcome that nobody settles",
        ),
        pytest.param(
            [tried(1)],
            [
                f"{MAIL}/1 is about something that was never requested",
                f"{MAIL}/1 begins attempt 1 after it was settled (none)",
            ],
            id="an attempt at nothing",
        ),
        pytest.param(
            [SUBMIT, APPROVE, tried(1, stream=GRANT), tried(2, stream=GRANT, seconds=9)],
            [f"{GRANT}/3 begins attempt 2 before it was due"],
            id="a grant that is tried again before its deadline",
        ),
        pytest.param(
            [
                SUBMIT,
                APPROVE,
                tried(1, stream=GRANT),
                [(GRANT, grant.CarriedOut(attempt=1, at=START))] * 2,
            ],
            [f"{GRANT}/4 ends attempt 1 again"],
            id="a grant that was carried out twice",
        ),
        pytest.param(
            [SUBMIT, [(MAIL, grant.AttemptStarted(attempt=1, deadline=START, at=START))]],
            [f"{MAIL}/2 (grant.attempt_started.v1) is in a stream of another kind"],
            id="a grant's event in the stream of a mail",
        ),
        pytest.param(
            [SUBMIT, APPROVE, [(GRANT, notification.Redriven(by="op", at=START))]],
            [f"{GRANT}/2 (notification.redriven.v1) is in a stream of another kind"],
            id="a mail's event in the stream of a grant",
        ),
        pytest.param(
            [[(GRANT, grant.Failed(attempt=1, error="no", at=START))]],
            [
                f"{GRANT}/1 is about something that was never requested",
                f"{GRANT}/1 ends attempt 1, which was never tried",
                f"{GRANT} is failed: it waits for nothing, and nobody knows",
            ],
            id="a grant of nothing",
        ),
    ],
)
def test_what_does_not_add_up_is_found(history: list[list[Step]], expected: list[str]) -> None:
    """Each thing that is wrong is a sentence that names the event, the stream or the number."""
    assert expected == found(*history)


def test_a_refusal_to_write_a_mail_is_no_attempt() -> None:
    """A mail that could not be written was given up without an attempt, and that adds up."""
    never = [
        (MAIL, notification.Refused(attempt=0, error="no", at=START)),
        (MAIL, notification.DeadLettered(why="permanent_error", at=START)),
    ]

    assert (0, 1) == (
        (books := told(SUBMIT, never)).found,
        books.notifications.dead_lettered,
    )


def changed(number: int, **fields: Any) -> list[str]:
    """Change the envelope of one event of a log that adds up, and say what is found."""
    log: Any = Log(SUBMIT, tried(1), took(1), SECOND)
    entries = log.entries
    entries[number] = attrs.evolve(entries[number], **fields)
    return [finding.what for finding in reconcile(log, at=START).findings]


def test_a_version_that_is_missing_is_found() -> None:
    """The events of a stream are counted from 1, and none is left out."""
    assert [f"{MAIL}/9 stands where {MAIL}/3 belongs"] == changed(3, version=9)


def test_what_comes_between_the_events_of_a_command_is_found() -> None:
    """What a command appended stands together: a place that is left free was somebody's."""
    assert [
        f"{MAIL}/1 does not stand beside {REFERENCE}/1, which its command appended too"
    ] == changed(1, position=7)


def test_a_command_that_goes_on_after_others_is_found() -> None:
    """A command is one transaction: it does not come back."""
    assert [f"{MAIL}/3 is of command c1, which had ended before"] == changed(
        3, context=context("c1")
    )


def test_what_is_about_neither_mail_nor_grant_is_left_alone() -> None:
    """A person's events ask for nothing."""
    erased = person.Erased(user="ann", by="eve", reason=of("eve", "asked"), at=START)

    assert [] == found([("person-ann", signed_up()), ("person-ann", erased)])


def test_a_broken_history_is_counted_to_its_end() -> None:
    """Of many findings the first are told, and the others counted."""
    history = [[(f"notification-{n}", notice("x", id=str(n)))] for n in range(MOST + 5)]
    books = told(*history)

    assert (MOST, MOST + 5) == (len(books.findings), books.found)
    assert {"notification-0"} == {books.findings[0].stream}


def test_the_mails_of_a_person_are_where_the_books_say(world: World) -> None:
    """Every mail that was taken is one that the mail port has, once."""
    world.signed_in(ANN)
    world.submit()
    world.drain()
    books = reconcile(world.store, at=world.clock.now())

    assert len(world.mail.sent) == books.notifications.done


# --- what comes from outside ----------------------------------------------------------------------


def test_numbers_of_the_old_api_and_late_reports_add_up(world: World) -> None:
    """Numbers before one that the old API gave may be missing, and a mail that was taken may be
    reported twice, or be rejected after all.
    """
    for name in ("Star Dance", "Moon Dance"):
        world.services.tickets.take(
            context(),
            event_type="manager_request.submitted",
            body={
                "ticket_id": "R00012",
                "requester_id": "user-1",
                "requester_email": ANN,
                "organization_name": name,
            },
        )
    world.drain()
    tagged = world.notice_id("R00012")
    for kind, message_id in (("Send", "x-1"), ("Delivery", "x-2")):
        _heard(world, published(kind, tag=tagged, message_id=message_id))
    other = world.notice_id("R00013")
    message_id = world.notices(other).message_id or ""
    _heard(world, published("Reject", tag=other, message_id=message_id))
    books = reconcile(world.store, at=world.clock.now())

    assert () == books.findings
    assert (2, 1) == (books.tickets, books.notifications.dead_lettered)


def _heard(world: World, report: dict[str, Any]) -> None:
    feedback = world.services.feedback
    feedback.hear(context(), feedback.read(json.dumps(report)))


# --- feedback -------------------------------------------------------------------------------------


def test_what_was_reported_is_counted(world: World) -> None:
    """Mails that were reported of, and those of which nothing was though the path is alive; the
    newest mail is not missed yet.
    """
    ids = []
    for number in range(3):
        ids.append(world.notice_id(world.submit(user=f"user-{number}")))
        if number == 1:
            _heard(world, notified("Bounce", message_id=f"memory-{ids[1]}"))
        world.drain()
        world.clock.advance(minutes=1)
    before = reconcile(world.store, at=world.clock.now()).feedback
    _heard(world, published("Delivery", message_id="somebody's"))
    _heard(world, notified("Delivery", message_id="nobody's"))
    books = reconcile(world.store, at=world.clock.now())

    assert Reported(heard=1, silent=1, applied=1) == before
    assert attrs.evolve(before, parked=1, foreign=1) == books.feedback
    assert () == books.findings


def test_without_any_feedback_none_is_missed(world: World) -> None:
    """A maildir reports nothing: that is no silence."""
    world.submit()
    world.drain()

    assert Reported() == reconcile(world.store, at=world.clock.now()).feedback


def test_a_report_that_is_parked_for_long_is_found(world: World) -> None:
    """Its send was never recorded; what is somebody else's may lie for ever."""
    _heard(world, notified("Delivery", message_id="m-1"))
    _heard(world, published("Delivery", message_id="m-2"))
    at = world.clock.now() + PARKED_LONG
    before = reconcile(world.store, at=at - timedelta(microseconds=1))
    (finding,) = reconcile(world.store, at=at).findings

    assert () == before.findings
    assert report.stream("m-1") == finding.stream
    assert "m-1 has been reported of for 1 days, and no mail is known by that name" == finding.what


def test_mails_are_compared_with_what_was_called_for(tmp_path: Path) -> None:
    """A mail that nothing called for is strange; one that is not there is absent, and no more."""
    world = make_world(tmp_path)
    sent, due = world.notice_id(world.submit()), ""
    world.drain()
    due = world.notice_id(world.submit(user="user-2"))

    assert Mails(held=1, strange=(), absent=0) == compare(world.store, {sent})
    assert Mails(held=2, strange=tuple(sorted((due, "x"))), absent=1) == compare(
        world.store, {due, "x"}
    )
