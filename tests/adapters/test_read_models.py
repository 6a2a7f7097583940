"""The read models: what a replay gives is what is live, and lists are followed to their end."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from siutindei.adapters import projections, views
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.sqlite import MEMORY, SqliteStore
from siutindei.app import folding
from siutindei.app.ports import (
    AccountHalted,
    CodeRow,
    Due,
    MailError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    PersonRow,
    Sends,
)
from siutindei.domain import (
    access,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.budget import Usage
from siutindei.domain.errors import DomainError, Invalid
from siutindei.domain.personal import of
from tests import strategies
from tests.aws_events import notified, published
from tests.contracts import ANN, append, signed_up, submitted
from tests.postgres import fresh_database
from tests.strategies import unhurried
from tests.support import RING, START, VirtualClock, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.adapters.store import SqlStore
    from siutindei.bootstrap import Services
    from tests.strategies import History

ALL: Final = projections.NAMES
ORGANIZATION: Final = "00000000-0000-4000-8000-00000000000a"


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """An empty store, on each database."""
    with ExitStack() as stack:
        made: SqlStore
        if request.param == "sqlite":
            made = SqliteStore(MEMORY, master=RING, clock=VirtualClock())
        else:
            url = stack.enter_context(fresh_database())
            made = PostgresStore(url, master=RING, clock=VirtualClock())
        stack.callback(made.close)
        yield made


def replayed(store: SqlStore) -> dict[str, str]:
    """Replay a store into another one, and digest each read model there."""
    memory = SqliteStore(MEMORY, master=RING, clock=VirtualClock())
    with memory.writing() as cursor:
        projections.project(cursor, list(store.read()))
    digests = digested(memory)
    memory.close()
    return digests


def digested(store: SqlStore) -> dict[str, str]:
    """Digest each read model."""
    return {name: store.digest([name]) for name in ALL}


# --- replay ---------------------------------------------------------------------------------------

USERS: Final = st.sampled_from(["ann", "bob"])
REFERENCES: Final = st.sampled_from(["R00001", "R00002", "S00001", "F00001"])
ERRORS: Final[list[MailError]] = [
    MailNotSent("busy"),
    MailRefused("wrong"),
    AccountHalted("paused"),
    MailOutcomeUnknown("silence"),
]
STEPS: Final = st.one_of(
    st.tuples(st.just("start"), USERS),
    st.tuples(st.just("answer"), USERS, st.booleans()),
    st.tuples(st.just("submit"), USERS, st.sampled_from(ticket.TYPES), st.booleans()),
    st.tuples(st.just("approve"), REFERENCES),
    st.tuples(st.just("decline"), REFERENCES),
    st.tuples(st.just("work"), st.lists(st.sampled_from(ERRORS), max_size=3)),
    st.tuples(st.just("wait"), st.sampled_from([1, 61, 400, 4000])),
    st.tuples(st.just("erase"), USERS),
    st.tuples(st.just("redrive")),
    st.tuples(st.just("bounce"), st.sampled_from(["Permanent", "Transient"])),
    st.tuples(st.just("lift"), USERS),
    st.tuples(st.just("look"), USERS),
    st.tuples(st.just("hear"), st.sampled_from(["Delivery", "Bounce", "Reject"]), st.booleans()),
)


class Story:
    """An installation that things happen to, whether they are allowed or not."""

    def __init__(self, services: Services, mail: MemoryMail) -> None:
        self.services = services
        self.mail = mail
        self.challenges: dict[str, str] = {}
        services.directory.add_organization(id=ORGANIZATION, name="Club")

    def happen(self, step: tuple[Any, ...]) -> None:
        """Let one thing happen; what is refused did not."""
        with suppress(DomainError):
            getattr(self, step[0])(*step[1:])

    def look(self, user: str) -> None:
        """Look at everything that is kept about somebody."""
        self.services.people.export(context(), user, by="op")

    def start(self, user: str) -> None:
        """Start a sign-in."""
        started = self.services.sign_in.start(
            context(), client="console", email=f"{user}@example.com", user=user
        )
        self.challenges[user] = started.challenge

    def answer(self, user: str, right: bool) -> None:
        """Answer the newest challenge."""
        id = self.challenges.get(user, "")
        code = self.services.codes.code(key_id="test", challenge=id) if right else "wrong"
        self.services.sign_in.answer(context(), challenge_id=id, code=code)

    def submit(self, user: str, ticket_type: ticket.Type, vouched: bool) -> None:
        """Submit a ticket."""
        self.services.tickets.submit(
            context(),
            ticket_type=ticket_type,
            user=user,
            email=f"{user}@example.com",
            body={
                "organization_name": "Club",
                "organization_id": ORGANIZATION,
                "stars": 3,
                "description": "lovely",
            },
            vouched=vouched,
        )

    def approve(self, reference: str) -> None:
        """Approve a ticket."""
        create = None if reference.startswith("F") else True
        self.services.tickets.approve(
            context(), reference, by="eve", note="welcome", create_organization=create
        )

    def decline(self, reference: str) -> None:
        """Decline a ticket."""
        self.services.tickets.decline(context(), reference, by="eve@example.com")

    def work(self, errors: list[MailError]) -> None:
        """Work on what is due, over a mail port that fails so."""
        for error in errors:
            self.mail.then_raises(error)
        drain(self.services)

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        self.services.clock.sleep(seconds)

    def erase(self, user: str) -> None:
        """Erase somebody."""
        self.services.people.erase(context(), user, by="eve", reason="asked")

    def redrive(self) -> None:
        """Give every dead letter another chance."""
        ids = [letter.id for letter in self.services.dead_letters.all()]
        self.services.dead_letters.redrive(context(), ids, by="eve")

    def bounce(self, bounce_type: str) -> None:
        """Hear that the newest mail bounced."""
        mails = self.services.store.views.notifications(status="accepted")
        for mail in mails[-1:]:
            assert mail.requested is not None
            details = {"bounceType": bounce_type, "feedbackId": mail.requested.id}
            event = published("Bounce", tag=mail.requested.id, **details)
            feedback = self.services.feedback
            feedback.hear(context(), feedback.read(json.dumps(event)))

    def lift(self, user: str) -> None:
        """Lift a suppression."""
        self.services.suppressions.lift(context(), f"{user}@example.com", by="eve", reason="mended")

    def hear(self, name: str, is_ours: bool) -> None:
        """Hear of a mail that may be sent some day, or of somebody else's."""
        mails = self.services.store.views.notifications() if is_ours else ()
        ids = [f"memory-{mail.requested.id}" for mail in mails if mail.requested is not None]
        report = notified(name, message_id=ids[-1]) if ids else published(name)
        feedback = self.services.feedback
        feedback.hear(context(), feedback.read(json.dumps(report)))


LONG: Final = [
    ("start", "ann"),
    ("answer", "ann", False),
    ("answer", "ann", True),
    ("submit", "ann", "access_request", False),
    ("submit", "ann", "organization_suggestion", False),
    ("submit", "ann", "organization_feedback", True),
    ("submit", "bob", "access_request", True),
    ("hear", "Bounce", True),
    ("hear", "Bounce", False),
    ("work", [ERRORS[0], ERRORS[1], ERRORS[3]]),
    ("approve", "R00001"),
    ("approve", "F00001"),
    ("decline", "S00001"),
    ("wait", 4000),
    ("work", [ERRORS[2]]),
    ("wait", 4000),
    ("work", []),
    ("redrive",),
    ("work", []),
    ("bounce", "Permanent"),
    ("look", "bob"),
    ("erase", "ann"),
    ("submit", "bob", "organization_suggestion", False),
]


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(STEPS, max_size=25))
@example(steps=LONG)
def test_a_replay_gives_what_is_live(steps: list[tuple[Any, ...]]) -> None:
    """Whatever happens to an installation, a replay of its history gives the very same rows."""
    mail = MemoryMail()
    with TemporaryDirectory() as folder:
        services = make_services(Path(folder), mail=mail)
        story = Story(services, mail)
        for step in steps:
            story.happen(step)
        live, again = digested(services.store), replayed(services.store)
        documents = {
            f"ticket-{item.submitted.reference}": item
            for item in services.store.views.tickets(limit=99).items
            if item.submitted is not None
        }
        folded = {id: folding.ticket_of(services.store.load(id)) for id in documents}
        services.store.close()

    assert live == again
    assert documents == folded


def test_the_long_story_has_something_in_every_read_model(tmp_path: Path) -> None:
    """The story that is always replayed leaves rows everywhere."""
    mail = MemoryMail()
    services = make_services(tmp_path, mail=mail)
    empty = digested(services.store)
    story = Story(services, mail)
    for step in LONG:
        story.happen(step)
    full = digested(services.store)

    assert [] == [name for name in ALL if empty[name] == full[name]]
    assert {"ticket.approved.v1", "notification.redriven.v1", "person.erased.v1"} <= {
        entry.name for entry in services.store.read()
    }


STREAMS: Final = {
    person: "person-ann",
    challenge: "challenge-console-f",
    ticket: "ticket-R00001",
    notification: "notification-n1",
    grant: "grant-R00001-stars",
    suppression: "suppression-f",
    lane: "lane-tickets",
    report: report.stream("m"),
    access: access.stream("dossier", "R00001"),
}


@unhurried
@given(history=strategies.histories)
def test_any_history_of_an_aggregate_is_replayed(history: History) -> None:
    """What the decisions of an aggregate can give is read back as the state that they made."""
    stream = STREAMS[history.aggregate]
    store = SqliteStore(MEMORY, master=RING, clock=VirtualClock())
    for step in history.steps:
        append(store, stream, *step.events)
    views = store.views
    found: dict[str, Any] = {
        "ticket-R00001": views.find_ticket("R00001"),
        "notification-n1": views.find_notification("n1"),
        "grant-R00001-stars": views.find_grant("R00001-stars"),
    }
    folded = reduce(
        history.aggregate.evolve,
        [entry.event for entry in store.load(stream)],
        history.aggregate.INITIAL,
    )
    live, again = digested(store), replayed(store)
    store.close()

    assert live == again
    assert stream not in found or folded == (found[stream] or history.aggregate.INITIAL)


def test_replaying_takes_up_where_it_stopped(store: SqlStore) -> None:
    """A replay in two parts is the same as in one."""
    append(store, "ticket-R00001", submitted())
    append(store, ANN, signed_up())
    append(store, "ticket-R00001", ticket.Declined(by=of("e", "e"), reviewer="e", at=START))
    memory = SqliteStore(MEMORY, master=RING, clock=VirtualClock())
    with memory.writing() as cursor:
        projections.project(cursor, list(store.read(until=2)))
    half = digested(memory)
    with memory.writing() as cursor:
        projections.project(cursor, list(store.read(after=2)))
    whole = digested(memory)
    memory.close()

    assert half != whole
    assert digested(store) == whole


# --- lists ----------------------------------------------------------------------------------------


def pages(store: SqlStore, limit: int, **filters: Any) -> Iterator[list[str]]:
    """Follow a list to its end, and give the references of each page."""
    cursor = None
    while True:
        page = store.views.tickets(limit=limit, cursor=cursor, **filters)
        yield [item.submitted.reference for item in page.items if item.submitted]
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 6, 7, 200])
def test_a_list_is_followed_while_it_grows(store: SqlStore, limit: int) -> None:
    """Following the cursor visits every row that was there once, newest first."""
    for number in range(1, 7):
        append(store, f"ticket-R{number:05d}", submitted(number, user=f"u{number}"))
    seen = []
    for arrived, page in enumerate(pages(store, limit), start=7):
        seen.append(page)
        append(store, f"ticket-R{arrived:05d}", submitted(arrived, user=f"u{arrived}"))
        decided = ticket.Declined(by=of("e", "e"), reviewer="e", at=START)
        append(store, f"ticket-R{arrived - 6:05d}", decided)

    assert [f"R{number:05d}" for number in range(6, 0, -1)] == [
        one for page in seen for one in page
    ]
    assert all(len(page) == limit for page in seen[:-1])
    assert all(seen)


def test_lists_are_filtered(store: SqlStore) -> None:
    """Every filter leaves what fits it, and they combine; a list may be empty."""
    suggestion = submitted(2, ticket_type="organization_suggestion", reference="S00002", user="ann")
    append(store, "ticket-R00001", submitted(1))
    append(store, "ticket-S00002", suggestion)
    append(store, "ticket-R00003", submitted(3, user="bob"))
    append(
        store, "ticket-R00001", ticket.Approved(by=of("e", "e"), reviewer="e", stars=2, at=START)
    )
    append(store, "ticket-R00004", submitted(4))
    views = store.views

    def listed(**filters: Any) -> list[str]:
        return [reference for page in pages(store, 1, **filters) for reference in page]

    assert ["R00004", "R00003", "S00002", "R00001"] == listed()
    assert ["R00004", "R00003", "S00002"] == listed(status="pending")
    assert ["R00001"] == listed(status="approved")
    assert [] == listed(status="declined")
    assert ["S00002"] == listed(ticket_type="organization_suggestion")
    assert ["R00004", "S00002", "R00001"] == listed(submitter="ann")
    assert ["R00004"] == listed(submitter="ann", status="pending", ticket_type="access_request")
    assert (3, 2, 1, 0) == (
        views.pending_count(),
        *(views.pending_count(ticket_type) for ticket_type in ticket.TYPES),
    )
    assert ("R00004", None) == (
        views.pending(submitter="ann", ticket_type="access_request"),
        views.pending(submitter="ann", ticket_type="organization_feedback"),
    )
    assert (5, 3, 1) == tuple(views.next_number(ticket_type) for ticket_type in ticket.TYPES)
    assert (2, 0) == (views.approved_stars("ann"), views.approved_stars("bob"))


def test_what_was_done_to_tickets_is_filtered(store: SqlStore) -> None:
    """Every filter leaves what fits it, newest first, a page at a time."""
    suggestion = submitted(2, ticket_type="organization_suggestion", reference="S00002", user="bob")
    later = START + timedelta(hours=1)
    append(store, "ticket-R00001", submitted(1))
    append(store, "ticket-S00002", suggestion)
    append(store, "ticket-R00001", ticket.Declined(by=of("e", "e"), reviewer="eve", at=later))

    def listed(**filters: Any) -> list[tuple[str, int]]:
        found, cursor = [], None
        while True:
            page = store.views.audit_logs(limit=1, cursor=cursor, **filters)
            found += [(row.reference, row.version) for row in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    assert [("R00001", 2), ("S00002", 1), ("R00001", 1)] == listed()
    assert [("S00002", 1)] == listed(ticket_type="organization_suggestion")
    assert [] == listed(ticket_type="organization_feedback")
    assert [("R00001", 2), ("R00001", 1)] == listed(reference="R00001")
    assert [("R00001", 2)] == listed(user="eve") == listed(since=later)
    assert [("R00001", 2)] == listed(action="UPDATE", reference="R00001")
    assert [] == listed(since=later + timedelta(microseconds=1))


def test_numbers_grow_past_five_digits(store: SqlStore) -> None:
    """The number after 99999 is 100000, and the one after that is higher still."""
    for number in (99_999, 100_000):
        append(store, f"ticket-R{number:05d}", submitted(number, user=f"u{number}"))

    assert 100_001 == store.views.next_number("access_request")


def encoded(text: str) -> str:
    """Encode a cursor as ours are."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        " ",
        "p1",
        "cDE=",
        "cDE\n",
        "cD E",
        "!cDE",
        "é",
        "\ud800",
        "a",
        encoded(""),
        encoded("p"),
        encoded("1"),
        encoded("p-1"),
        encoded("p01"),
        encoded("p1 "),
        encoded("p1.0"),
        encoded("p٣"),
        encoded("pp1"),
        encoded("p" + "9" * 19),
        encoded("p" + "9" * 5000),
        base64.urlsafe_b64encode(b"p\xff").decode(),
    ],
    ids=range(22),
)
def test_a_cursor_that_is_none_is_refused(store: SqlStore, cursor: str) -> None:
    """What is not the very text of one of our cursors is refused by its field's name."""
    with pytest.raises(Invalid, match="is none of ours") as refused:
        store.views.tickets(cursor=cursor)

    assert "cursor" == refused.value.field


@unhurried
@given(cursor=st.text(max_size=30))
def test_any_text_is_a_cursor_or_refused(cursor: str) -> None:
    """Whatever a client sends as a cursor, nothing but the promised error comes of it."""
    try:
        position = views._decode_cursor(cursor)
    except Invalid:
        return

    assert cursor == views._encode_cursor(position)


@unhurried
@given(position=st.integers(0, 10**18 - 1))
def test_every_position_has_its_cursor(position: int) -> None:
    """A cursor comes back as the position that it was made from."""
    assert position == views._decode_cursor(views._encode_cursor(position))


# --- single rows ----------------------------------------------------------------------------------


def test_a_ticket_is_found_by_number_and_uuid_in_any_case(store: SqlStore) -> None:
    """Both names of a ticket find it, however they are written; nothing else does."""
    append(store, "ticket-R00001", submitted(id="00000000-0000-4000-8000-00000000000a"))
    names = ("R00001", "r00001", "00000000-0000-4000-8000-00000000000A")

    assert [True] * 3 == [store.views.find_ticket(name) is not None for name in names]
    assert [None] * 4 == [store.views.find_ticket(name) for name in ("", "R1", "%", "R00002")]


def test_an_address_finds_who_has_it_now(store: SqlStore) -> None:
    """The newest account of an address is found, and no erased one, nor a former owner."""
    moved = attrs.evolve(signed_up(), fingerprint="0" * 32)
    erased = person.Erased(user="bob", by="eve", reason=of("eve", "asked"), at=START)
    views = store.views
    found = [views.person_by_address("f" * 32)]
    for stream, event in (
        (ANN, signed_up()),
        ("person-bob", signed_up("bob")),
        ("person-bob", erased),
        (ANN, moved),
    ):
        append(store, stream, event)
        found.append(views.person_by_address("f" * 32))

    assert [None, "ann", "bob", "ann", None] == [row and row.user for row in found]
    assert PersonRow(user="bob", fingerprint="f" * 32, erased=True) == views.find_person("bob")
    assert views.find_person("eve") is None


def test_an_erasure_of_somebody_unknown_is_remembered(store: SqlStore) -> None:
    """A person of whom nothing but the erasure is known is an erased one."""
    erased = person.Erased(user="ann", by="eve", reason=of("eve", "asked"), at=START)
    append(store, ANN, erased)

    assert PersonRow(user="ann", fingerprint="", erased=True) == store.views.find_person("ann")
    assert store.views.person_by_address("") is None


def issued(number: int, **fields: Any) -> challenge.Issued:
    """Make the event of a challenge, each a minute after the one before."""
    event = challenge.Issued(
        challenge=f"c{number}",
        client="console",
        fingerprint="f" * 32,
        key_id="test",
        attempts=3,
        expires_at=START + timedelta(minutes=number + 5),
        at=START + timedelta(minutes=number),
    )
    return attrs.evolve(event, **fields)


def test_challenges_are_counted_by_what_they_are_charged_to(store: SqlStore) -> None:
    """Only what was started after the moment counts: for the address, the client, the unproved."""
    append(
        store,
        "challenge-console-f",
        issued(0),
        issued(1),
        issued(2, proved=True),
        challenge.Passed(challenge="c2", at=START),
        challenge.LimitReached(client="console", fingerprint="f" * 32, limit="address", at=START),
    )
    append(store, "challenge-app-f", issued(3, client="app"))
    append(store, "challenge-console-0", issued(4, fingerprint="0" * 32))

    def counted(**fields: Any) -> challenge.Counts:
        asked: dict[str, Any] = {"client": "console", "fingerprint": "f" * 32, "since": START}
        asked |= fields
        return store.views.code_counts(**asked)

    assert challenge.Counts(address=3, unproved=3, client=3) == counted()
    assert challenge.Counts(address=1, unproved=3, client=1) == counted(
        client="app", fingerprint="0" * 32
    )
    assert challenge.Counts() == counted(since=START + timedelta(minutes=4))
    assert challenge.Counts(address=4, unproved=4, client=4) == counted(
        since=START - timedelta(microseconds=1)
    )
    assert CodeRow(challenge="c3", client="app", fingerprint="f" * 32) == store.views.find_code(
        "c3"
    )
    assert store.views.find_code("c9") is None


def requested(id: str, **fields: Any) -> notification.Requested:
    """Make the event of a notification that was asked for."""
    event = notification.Requested(
        id=id,
        kind="ticket_received",
        cause="ticket-R00001/1",
        template="t",
        template_version=1,
        template_hash="h",
        at=START,
    )
    return attrs.evolve(event, **fields)


SURELY_NOT: Final[dict[str, Any]] = {"error_class": "transient", "error": "down"}


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        ([], True),
        ([notification.Accepted(attempt=1, message_id="m", at=START)], True),
        ([notification.Failed(attempt=1, **SURELY_NOT, at=START)], False),
        ([notification.Refused(attempt=1, error="no", at=START)], True),
        ([notification.OutcomeUnknown(attempt=1, why="lost", at=START)], True),
        (
            [
                notification.OutcomeUnknown(attempt=1, why="lost", at=START),
                notification.Failed(attempt=1, **SURELY_NOT, at=START),
            ],
            True,
        ),
        ([notification.Failed(attempt=2, **SURELY_NOT, at=START)], True),
    ],
)
def test_an_attempt_counts_unless_it_surely_sent_nothing(
    store: SqlStore, after: list[notification.Event], counts: bool
) -> None:
    """A failure takes the attempt away that it is of, unless it may have sent the mail before."""
    started = notification.AttemptStarted(attempt=1, deadline=START, at=START)
    append(store, "notification-n1", requested("n1"), started, *after)
    sends = store.views.sends(since=START - timedelta(hours=24))

    assert (counts, START if counts else None) == (sends.usage == Usage(notices=1), sends.oldest)
    assert int(counts) == sends.usage.used


def test_the_sends_of_a_day_are_counted_by_kind(store: SqlStore) -> None:
    """Those after the moment, every attempt for itself; not what a clock far ahead wrote."""

    def sent(id: str, kind: notification.Kind, *hours: float) -> None:
        attempts = [
            notification.AttemptStarted(attempt=number, deadline=START, at=at)
            for number, at in enumerate((START + timedelta(hours=hour) for hour in hours), start=1)
        ]
        append(store, f"notification-{id}", requested(id, kind=kind), *attempts)

    sent("n1", "sign_in_code", 0, 1)
    sent("n2", "ticket_decided", 2)
    sent("n3", "ticket_received", 3, 24, 24 + 48, 24 + 49)
    append(store, "notification-n4", requested("n4"))
    first = store.views.sends(since=START)
    later = store.views.sends(since=START + timedelta(hours=2))

    assert (Usage(codes=1, decisions=1, notices=3), START + timedelta(hours=1)) == (
        first.usage,
        first.oldest,
    )
    assert (Usage(notices=4), START + timedelta(hours=3)) == (later.usage, later.oldest)
    assert Sends(usage=Usage(), oldest=None) == store.views.sends(since=START + timedelta(days=9))


def test_what_is_due_is_listed_longest_due_first(store: SqlStore) -> None:
    """Mails and grants that somebody should look at come in the order in which they are due."""
    append(store, "notification-n1", requested("n1", at=START + timedelta(seconds=2)))
    append(store, "notification-n2", requested("n2"))
    append(store, "notification-n3", requested("n3", at=START + timedelta(seconds=9)))
    append(
        store,
        "grant-R00001-stars",
        grant.Requested(
            id="R00001-stars",
            kind="stars",
            cause="ticket-R00001/2",
            ticket="R00001",
            user="ann",
            at=START + timedelta(seconds=1),
        ),
    )
    before = store.views.next_due()
    expected = [
        Due(work="notification", id="n2", due_at=START),
        Due(work="grant", id="R00001-stars", due_at=START + timedelta(seconds=1)),
        Due(work="notification", id="n1", due_at=START + timedelta(seconds=2)),
    ]
    at = START + timedelta(seconds=2)
    due = store.views.due(at=at), store.views.due(at=at, limit=2)
    for id in ("n1", "n2", "n3"):
        append(
            store,
            f"notification-{id}",
            notification.Withheld(why="erased", rule="rule", at=START),
        )
    append(store, "grant-R00001-stars", grant.CarriedOut(attempt=1, at=START))

    assert START == before
    assert (expected, expected[:2]) == due
    assert ([], None) == (store.views.due(at=at), store.views.next_due())


def test_notifications_and_grants_are_filtered(store: SqlStore) -> None:
    """The ledger is listed oldest first, by what was asked, for whom, and how it stands."""
    append(store, "notification-z", requested("z", ticket="R00001"))
    append(store, "notification-a", requested("a", user="ann", kind="ticket_decided"))
    append(store, "notification-z", notification.Withheld(why="erased", rule="rule", at=START))
    for id in ("R00002-stars", "R00001-stars"):
        event = grant.Requested(
            id=id, kind="stars", cause="c/1", ticket=id[:6], user="ann", at=START
        )
        append(store, f"grant-{id}", event)
    append(store, "grant-R00002-stars", grant.CarriedOut(attempt=1, at=START))

    def mails(**filters: Any) -> list[str]:
        return [
            item.requested.id for item in store.views.notifications(**filters) if item.requested
        ]

    def grants(**filters: Any) -> list[str]:
        return [item.requested.id for item in store.views.grants(**filters) if item.requested]

    assert ["z", "a"] == mails()
    assert (["z"], ["a"]) == (mails(status="withheld"), mails(status="requested"))
    assert (["z"], ["a"], ["a"]) == (
        mails(ticket="R00001"),
        mails(user="ann"),
        mails(kind="ticket_decided"),
    )
    assert [] == mails(user="ann", ticket="R00001")
    assert ["R00002-stars", "R00001-stars"] == grants()
    assert (["R00002-stars"], ["R00001-stars"]) == (
        grants(status="done"),
        grants(ticket="R00001"),
    )
    assert (None, None) == (store.views.find_notification("?"), store.views.find_grant("?"))


def test_reports_are_listed_and_counted_by_status(store: SqlStore) -> None:
    """Oldest first; what was applied is one of them still."""
    for number, foreign in enumerate([False, True, False, False]):
        said = report.Parked(
            kind="delivered",
            name="Delivery",
            message_id=f"m-{number}",
            feedback_id="f",
            foreign=foreign,
            happened_at=START,
            at=START,
        )
        append(store, report.stream(said.message_id), said)
    append(store, report.stream("m-2"), report.Applied(notification="n", at=START))

    assert ["m-0", "m-3"] == [found.message_id for found in store.views.reports(status="parked")]
    assert {"parked": 2, "foreign": 1, "applied": 1} == store.views.count_reports()
