"""Cognito's triggers, called as Cognito calls them."""

from __future__ import annotations

import copy
import json
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.postgres import PostgresStore
from siutindei.adapters.sqlite import SqliteStore, prepare
from siutindei.adapters.system import RandomIds, SystemClock
from siutindei.app.ports import MailNotSent, Unavailable, Unusable
from siutindei.domain import challenge, person
from siutindei.entrypoints import cognito, runtime
from siutindei.entrypoints.cognito import SignInError, masked
from tests.app.world import World, make_world
from tests.entrypoints import pool
from tests.entrypoints.pool import ANN, CLIENT, SUB, Session
from tests.postgres import fresh_database
from tests.support import RING, VirtualClock, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.adapters.store import SqlStore
    from siutindei.bootstrap import Services
    from siutindei.domain.mail import Mail

#: What the mails of these tests go to: nobody.
BOB: Final = "bob@example.com"


def lambda_context(milliseconds: int = 60_000, id: str = "") -> Any:
    """Give what Lambda says of an invocation; the time left stands still."""
    name = id or RandomIds().uuid()
    return SimpleNamespace(aws_request_id=name, get_remaining_time_in_millis=lambda: milliseconds)


def invoke(event: Any, *, milliseconds: int = 60_000) -> Any:
    """Call the trigger that an event is of, and see that the event comes back whole."""
    given = copy.deepcopy(event)
    handler = getattr(cognito, pool.HANDLERS[event["triggerSource"]])
    answer = handler(event, lambda_context(milliseconds))

    assert {**given, "response": None} == {**answer, "response": None}
    assert given["response"].keys() <= answer["response"].keys()
    return answer


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give an application in memory, which the triggers use."""
    made = make_world(tmp_path)
    with runtime.use(made.services):
        yield made
    made.store.close()


def stream(world: World, email: str = ANN, client: str = CLIENT) -> str:
    """Name the stream of an address."""
    return challenge.stream(client, world.services.addresses.fingerprint(email))


# --- the whole story ------------------------------------------------------------------------------


def test_somebody_signs_in(world: World) -> None:
    """Sign-up, the code that was mailed, and in: one challenge, one mail, a proved address."""
    invoke(pool.sign_up())
    session = Session(invoke)
    asked = session.go_on()
    (mail,) = world.mail.sent
    code = world.code(session.metadata)
    answered = session.answer(f" {code}\n")
    invoke(pool.authenticated())

    assert ("ask", "admit") == (asked, answered)
    assert (ANN, True) == (mail.recipient, code in mail.text)
    assert ["person.signed_up.v1", "person.address_proved.v2"] == world.names(person.stream(SUB))


def test_wrong_answers_keep_the_challenge_and_the_third_ends_it(world: World) -> None:
    """Every call after a wrong answer gives the same challenge, without a mail; then it is over."""
    session = Session(invoke)
    steps, given = [session.go_on()], [session.metadata]
    wrong = world.wrong(session.metadata)
    for _ in range(3):
        steps.append(session.answer(wrong))
        given.append(session.metadata)

    assert ["ask", "ask", "ask", "refuse"] == steps
    assert len(set(given)) == 1
    assert len(world.mail.sent) == 1
    assert ["issued", "missed", "missed", "missed", "closed"] == [
        name.split(".")[1] for name in world.names(stream(world))
    ]


def test_the_step_that_cognito_repeats_is_one_challenge_and_one_mail(world: World) -> None:
    """Cognito calls up to three times for one sign-in, each time as another invocation."""
    given = [invoke(pool.create())["response"] for _ in range(3)]

    assert given[0] == given[1] == given[2]
    assert len(world.mail.sent) == 1
    assert ["challenge.issued.v1"] == world.names(stream(world))


def test_a_client_that_opens_with_srp_loses_no_attempt(world: World) -> None:
    """The entry that some kits begin with is no answer, and no reason to mail nothing."""
    session = Session(invoke, entries=[pool.SRP_A])
    session.go_on()
    wrong = world.wrong(session.metadata)
    steps = [session.answer(wrong), session.answer(wrong)]
    steps.append(session.answer(world.code(session.metadata)))

    assert ["ask", "ask", "admit"] == steps
    assert len(world.mail.sent) == 1


def test_a_stranger_walks_the_same_path_and_gets_no_mail(world: World) -> None:
    """Where errors are hidden, nobody can tell an unknown address from a known one."""
    known, unknown = Session(invoke), Session(invoke, attributes=None, name=BOB)
    steps = [
        [session.go_on(), *(session.answer("no") for _ in range(3))] for session in (known, unknown)
    ]

    assert steps[0] == steps[1]
    assert {"email": "a***@example.com"} == known.shown
    assert {"email": "b***@example.com"} == unknown.shown
    assert len(known.metadata) == len(unknown.metadata)
    assert [ANN] == [mail.recipient for mail in world.mail.sent]
    assert world.names(stream(world)) == world.names(stream(world, BOB))
    assert BOB.encode() not in world.bytes()


def test_a_stranger_is_charged_as_anybody(world: World) -> None:
    """An unknown address has the same number of sign-ins an hour, and is refused in their words."""
    refused = []
    for attributes in ({}, pool.user()):
        # The same address, known or not.
        event = pool.create(attributes=attributes, name=ANN, userNotFound=not attributes)
        for _ in range(5):
            invoke(event)
            world.clock.advance(minutes=2)
        with pytest.raises(SignInError) as error:
            invoke(event)
        refused.append(str(error.value))
        world.clock.advance(hours=2)

    assert ["Too many sign-ins were started. Wait an hour and start again."] * 2 == refused
    assert 5 == len(world.mail.sent)


@pytest.mark.parametrize("name", ["ann", "nobody at all", "\ud800", "@"])
def test_a_strange_name_is_charged_too(world: World, name: str) -> None:
    """A name that is no address gets a challenge as any, and is not kept; `@` alone is refused."""
    event = pool.create(attributes={}, name=name, userNotFound=True)
    if name == "@":
        with pytest.raises(SignInError, match="cannot be used"):
            invoke(event)
        return
    response = invoke(event)["response"]

    assert {"email": "***"} == response["publicChallengeParameters"]
    assert ["challenge.issued.v1"] == world.events("challenge")
    assert name.encode("utf-8", "replace") not in world.bytes().replace(b"unknown", b"")
    assert [] == world.mail.sent


@pytest.mark.parametrize("verified", ["false", "", "null"])
def test_an_address_that_the_pool_does_not_vouch_for_gets_no_mail(
    world: World, verified: str
) -> None:
    """An unverified address gets no mail until a code that went there was answered."""
    session = Session(invoke, attributes=pool.user(verified=verified))
    session.go_on()
    unproved = len(world.mail.sent)
    proving = Session(invoke)
    proving.go_on()
    admitted = proving.answer(world.code(proving.metadata))
    world.clock.advance(minutes=2)
    session.entries = []
    session.go_on()

    assert (0, "admit", 2) == (unproved, admitted, len(world.mail.sent))


def test_a_user_without_an_address_gets_no_mail(world: World) -> None:
    """Whoever signed up with a telephone alone is asked for a code that nobody has."""
    for attributes in (pool.user(email=None), {"email": ANN, "email_verified": "true"}):
        Session(invoke, attributes=attributes).go_on()

    assert [] == world.mail.sent


def test_the_locale_chooses_the_language(world: World) -> None:
    """The user's attribute chooses the mail's language."""
    Session(invoke, attributes=pool.user(locale="zh-HK")).go_on()
    (mail,) = world.mail.sent

    assert "驗證碼" in mail.text
    assert "Your code" not in mail.text


def test_the_client_is_the_app_client(world: World) -> None:
    """A sign-in at another app is another challenge."""
    one = invoke(pool.create())["response"]["challengeMetadata"]
    other = invoke(pool.create(client="another"))["response"]["challengeMetadata"]

    assert one != other
    assert ["challenge.issued.v1"] == world.names(stream(world, client="another"))


# --- signing up -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "verifies"),
    [({"email": ANN}, True), ({"email": None}, False), ({"email": " "}, False), ({}, False)],
)
def test_who_signs_up_is_confirmed(attributes: dict[str, Any], verifies: bool) -> None:
    """A sign-up is confirmed, its address too if there is one, and a telephone is not."""
    assert {
        "autoConfirmUser": True,
        "autoVerifyEmail": verifies,
        "autoVerifyPhone": False,
    } == invoke(pool.sign_up(attributes))["response"]


def test_a_sign_up_is_recorded_by_the_first_sign_in(world: World) -> None:
    """Cognito asks before it knows whether the user exists already: nothing is recorded then."""
    invoke(pool.sign_up())
    before = world.store.last_position()
    invoke(pool.create())

    assert 0 == before
    assert ["person.signed_up.v1"] == world.names(person.stream(SUB))


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [None, 7, True, ["1"], {}, "", " ", "x" * 1_000_000, "12345", "٠١٢٣٤٥", "\x00", "\ud800"],
    ids=lambda value: repr(value)[:20],
)
def test_an_odd_answer_is_a_wrong_one(world: World, answer: object) -> None:
    """Whatever is answered, the answer to it is false, and no error."""
    challenge_id = invoke(pool.create())["response"]["challengeMetadata"]

    assert {"answerCorrect": False} == invoke(pool.verify(challenge_id, answer))["response"]
    assert {"answerCorrect": True} == (
        invoke(pool.verify(challenge_id, world.code(challenge_id)))["response"]
    )


@pytest.mark.parametrize("kept", [None, {}, [], {"challenge": 7}, {"challenge": "unknown"}])
def test_an_answer_to_no_challenge_is_a_wrong_one(world: World, kept: object) -> None:
    """Without a challenge that we gave, no answer is right."""
    event = pool.verify("", "123456")
    event["request"]["privateChallengeParameters"] = kept

    assert {"answerCorrect": False} == invoke(event)["response"]
    assert 0 == world.store.last_position()


def test_a_code_works_once(world: World) -> None:
    """The right answer, given again, is a wrong one."""
    challenge_id = invoke(pool.create())["response"]["challengeMetadata"]
    event = pool.verify(challenge_id, world.code(challenge_id))

    assert [True, False] == [invoke(event)["response"]["answerCorrect"] for _ in range(2)]


@pytest.mark.parametrize("metadata", [None, "", "unknown", 7])
def test_a_session_that_names_no_challenge_of_ours_is_over(world: World, metadata: object) -> None:
    """After an answer, nothing is mailed, whatever the session says; one has to start again."""
    with pytest.raises(SignInError, match="Start again"):
        invoke(pool.create([pool.asked(metadata)]))

    assert [] == world.mail.sent


# --- what comes next ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        ([], "ask"),
        (None, "ask"),
        ([pool.SRP_A], "ask"),
        ([pool.asked("c", result=True)], "admit"),
        ([pool.SRP_A, pool.asked("c", result=True)], "admit"),
        ([pool.asked("c", result="true")], "ask"),
        ([pool.asked("c", result=1)], "ask"),
        ([{"challengeName": "PASSWORD_VERIFIER", "challengeResult": True}], "ask"),
        ([pool.asked("c", result=True), pool.SRP_A], "ask"),
        ([pool.asked("c")] * 3, "refuse"),
        ([pool.SRP_A, *[pool.asked("c")] * 2], "ask"),
        ([None, 7, "odd"], "refuse"),
    ],
    ids=str,
)
@pytest.mark.parametrize("unknown", [True, False, None])
def test_what_comes_next(session: Any, expected: str, unknown: bool | None) -> None:
    """Only a right code lets in, known or not; three wrong answers end it."""
    response = invoke(pool.define(session, userNotFound=unknown))["response"]

    assert {
        "challengeName": "CUSTOM_CHALLENGE" if expected == "ask" else None,
        "issueTokens": expected == "admit",
        "failAuthentication": expected == "refuse",
    } == response


def test_the_number_of_attempts_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_CHALLENGE_ATTEMPTS says how many wrong answers end a sign-in."""
    monkeypatch.setenv("MAX_CHALLENGE_ATTEMPTS", "1")

    assert invoke(pool.define([pool.asked("c")]))["response"]["failAuthentication"]


def test_a_wrong_setting_is_not_the_users_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who signs in is told to try again later; the log names the setting."""
    monkeypatch.setenv("MAX_CHALLENGE_ATTEMPTS", "many")
    with pytest.raises(SignInError, match="at the moment"):
        invoke(pool.define([]))

    assert "MAX_CHALLENGE_ATTEMPTS" in capsys.readouterr().err


# --- what is not ours -----------------------------------------------------------------------------

OTHERS: Final = (
    *("PreSignUp_AdminCreateUser", "PreSignUp_ExternalProvider", "PostConfirmation_ConfirmSignUp"),
    *("TokenGeneration_Authentication", "CustomMessage_SignUp", "PreAuthentication_Authentication"),
)


@pytest.mark.parametrize("name", pool.HANDLERS.values())
@pytest.mark.parametrize("source", [*OTHERS, None, 7])
def test_another_trigger_changes_nothing(world: World, name: str, source: Any) -> None:
    """The event of another trigger comes back as it is, and nothing is recorded."""
    event = pool.event("", userAttributes=None) | {"triggerSource": source}
    before = copy.deepcopy(event)

    assert before == getattr(cognito, name)(event, None)
    assert 0 == world.store.last_position()


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def odd_events(draw: st.DrawFn) -> Any:
    """Give an event of a trigger some of whose parts are anything that JSON has, or gone."""
    source = draw(st.sampled_from(list(pool.HANDLERS)))
    made = {
        "PreSignUp_SignUp": pool.sign_up(),
        "DefineAuthChallenge_Authentication": pool.define([pool.asked("x")]),
        "CreateAuthChallenge_Authentication": pool.create([pool.SRP_A]),
        "VerifyAuthChallengeResponse_Authentication": pool.verify("x", "123456"),
        "PostAuthentication_Authentication": pool.authenticated(),
    }[source]
    where = draw(st.lists(st.sampled_from(["request", "userAttributes", "top"]), max_size=3))
    for place in where:
        request = made.get("request")
        part: Any = made
        if place != "top" and isinstance(request, dict):
            part = request
        if place == "userAttributes" and isinstance(part.get(place), dict):
            part = part[place]
        if isinstance(part, dict) and set(part) - {"triggerSource"}:
            part[draw(st.sampled_from(sorted(set(part) - {"triggerSource"})))] = draw(JSON)
    return source, draw(st.just(made) | JSON)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(odd=odd_events())
def test_an_odd_event_gets_an_answer_or_a_plain_error(world: World, odd: Any) -> None:
    """Whatever the event holds, what comes back is the event, or one of the errors of the table."""
    source, event = odd
    answer: Any = None
    told: SignInError | None = None
    try:
        answer = getattr(cognito, pool.HANDLERS[source])(copy.deepcopy(event), lambda_context())
    except SignInError as error:
        told = error
    if told is not None:
        assert str(told) in {text for _, text in cognito.ANSWERS}
        assert (None, None) == (told.__cause__, told.__context__)
        return
    if answer == event:
        return
    response = answer["response"]
    # A telephone is none of ours, and nothing is asked for once somebody is in.
    filled = pool.RESPONSES[source].keys() - {"autoVerifyPhone", "challengeName"}
    assert None not in [response[name] for name in filled]
    given = json.dumps(response)
    metadata = response.get("challengeMetadata")
    if isinstance(metadata, str):
        assert world.code(metadata) not in given.replace(metadata, "")


# --- errors ---------------------------------------------------------------------------------------


class Broken:
    """A store that fails in the way that it is told."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("the database is locked by another process; try again"),
        Unusable("the database is not migrated; run: siutindei database migrate"),
        KeyError(ANN, "geheim"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("event", [pool.create(), pool.verify("x", "123456")], ids=["1", "2"])
def test_an_error_says_nothing_of_the_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, event: Any
) -> None:
    """The client gets one sentence; the log says what kind of error it was, nothing personal."""
    services = make_services(tmp_path, store=Broken(error))
    with runtime.use(services), pytest.raises(SignInError) as raised:
        invoke(copy.deepcopy(event))
    shown = capsys.readouterr()

    assert "Signing in does not work at the moment. Try again in a minute." == str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert type(error).__name__ in shown.err
    assert "Traceback" not in shown.err
    assert ANN not in shown.err + shown.out
    assert "geheim" not in shown.err + shown.out


# --- logs and metrics -----------------------------------------------------------------------------


def test_a_challenge_is_logged_and_measured_without_its_address(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the log one gets to the mail and its history; address and code are not in it."""
    handler = cognito.create_auth_challenge
    handler(pool.create(), lambda_context(id="request-7"))
    made = handler(pool.create(), lambda_context())["response"]["challengeMetadata"]
    cognito.verify_auth_challenge_response(
        pool.verify(made, world.code(made)), lambda_context(id="request-8")
    )
    shown = capsys.readouterr()
    first, again, answer = (json.loads(line) for line in shown.err.splitlines())
    metrics = [json.loads(line) for line in shown.out.splitlines()]
    (mail,) = world.mail.sent

    assert ("challenge", "request-7", made, mail.notification_id, "sent") == (
        first["event"],
        first["aws_request_id"],
        first["challenge"],
        first["notification_id"],
        first["result"],
    )
    assert world.services.addresses.fingerprint(ANN) == first["fingerprint"]
    assert "nothing_to_do" == again["result"]
    assert ("answer", "request-8", True) == (
        answer["event"],
        answer["aws_request_id"],
        answer["correct"],
    )
    assert [["CodeLatency"], ["Sends"], ["CodeLatency"], ["Answers"]] == [
        [metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]]
        for line in metrics
    ]
    assert ("sign_in_code", "sent") == (metrics[1]["Kind"], metrics[1]["Outcome"])
    for secret in (ANN, world.code(made)):
        assert secret not in shown.err + shown.out.replace(str(metrics), "")


def test_a_mail_that_was_not_sent_leaves_the_challenge(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The challenge is given all the same, and the next call of the same step mails it."""
    world.mail.then_raises(MailNotSent("busy"))
    world.mail.then_raises(MailNotSent("busy"))
    first = invoke(pool.create())["response"]
    outcome = json.loads(capsys.readouterr().err)["result"]
    world.clock.advance(seconds=30)
    second = invoke(pool.create())["response"]

    assert "failed" == outcome
    assert first == second
    assert len(world.mail.sent) == 1


def test_an_event_in_the_history_names_the_invocation(world: World) -> None:
    """Who acted, and in which invocation, is in the history: the user, or the app of a stranger."""
    cognito.create_auth_challenge(pool.create(), lambda_context(id="request-7"))
    cognito.create_auth_challenge(
        pool.create(attributes={}, name=BOB, userNotFound=True), lambda_context(id="request-8")
    )
    known, unknown = (world.store.load(stream(world, email))[0].context for email in (ANN, BOB))

    assert (f"user:{SUB}", "request-7") == (known.actor, known.aws_request_id)
    assert (f"client:{CLIENT}", "request-8") == (unknown.actor, unknown.aws_request_id)


def test_without_a_lambda_a_request_has_a_name_too(world: World) -> None:
    """A handler that is called without a context works."""
    cognito.create_auth_challenge(pool.create(), None)

    assert world.store.load(stream(world))[0].context.request_id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (" Ann@Example.com ", "a***@example.com"),
        ("a@b@example.com", "a***@example.com"),
        ("@example.com", "***@example.com"),
        ("ann", "***"),
    ],
)
def test_an_address_is_masked(name: str, expected: str) -> None:
    """Its first letter and its domain are shown, and no more."""
    assert expected == masked(name)


# --- when things hang -----------------------------------------------------------------------------


class Hanging(MemoryMail):
    """A mail port that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__(can_tell=False, has_feedback=True)
        self.go = threading.Event()
        self.called = threading.Event()

    def send(self, mail: Mail) -> str:
        """Wait."""
        self.called.set()
        assert self.go.wait(30)
        return super().send(mail)


def real_services(home: Path, store: SqlStore, mail: MemoryMail) -> Services:
    """Build the application with the machine's clock: these tests wait."""
    return make_services(home, store=store, mail=mail, clock=store.clock, ids=RandomIds())


@pytest.fixture(params=["sqlite", "postgres"])
def locked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Give a store, and what locks its database for everybody else, as a hanging writer does."""
    clock = SystemClock()
    if request.param == "sqlite":
        database = str(tmp_path / "siutindei.db")
        prepare(database)
        store: SqlStore = SqliteStore(
            database, master=RING, clock=clock, lock_seconds=cognito.PATIENCE
        )

        @contextmanager
        def lock() -> Iterator[None]:
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield
                connection.execute("ROLLBACK")

        yield store, lock
    else:
        with fresh_database() as url:
            store = PostgresStore(url, master=RING, clock=clock, lock_seconds=cognito.PATIENCE)

            @contextmanager
            def lock() -> Iterator[None]:
                with psycopg.connect(url) as connection:
                    connection.execute("LOCK TABLE write_lock IN EXCLUSIVE MODE")
                    yield
                    connection.rollback()

            yield store, lock
            store.close()
        return
    store.close()


@pytest.mark.slow
def test_a_locked_database_is_answered_in_time(tmp_path: Path, locked: Any) -> None:
    """Nobody waits for a database that hangs; when it is free, the same sign-in goes on."""
    store, lock = locked
    mail = MemoryMail()
    with runtime.use(real_services(tmp_path, store, mail)):
        for event in (pool.create(), pool.verify("x", "123456")):
            with lock():
                began = time.monotonic()
                with pytest.raises(SignInError, match="at the moment"):
                    invoke(copy.deepcopy(event))
                took = time.monotonic() - began
            assert took < 2.5
        assert 0 == store.last_position()
        given = [invoke(pool.create())["response"] for _ in range(2)]

    assert given[0] == given[1]
    assert len(mail.sent) == 1


@pytest.mark.slow
def test_a_database_that_keeps_nobody_waiting_long_is_given_up_too(
    tmp_path: Path, locked: Any
) -> None:
    """Even when Lambda leaves less time than the database may take, the answer comes in time."""
    store, lock = locked
    with runtime.use(real_services(tmp_path, store, MemoryMail())), lock():
        began = time.monotonic()
        with pytest.raises(SignInError, match="at the moment"):
            invoke(pool.create(), milliseconds=500)
        assert time.monotonic() - began < 0.9
        # The work ends by itself, before the store is closed under it.
        time.sleep(cognito.PATIENCE + 0.5)

    assert 0 == store.last_position()


def test_a_mail_port_that_hangs_does_not_hold_up_the_challenge(tmp_path: Path) -> None:
    """The challenge is given in time; what became of the mail is recorded when it is known, and a
    repeated step sends no second one.
    """
    clock, mail = SystemClock(), Hanging()
    database = str(tmp_path / "siutindei.db")
    prepare(database)
    store = SqliteStore(database, master=RING, clock=clock)
    services = real_services(tmp_path, store, mail)
    with runtime.use(services):
        began = time.monotonic()
        first = invoke(pool.create(), milliseconds=900)["response"]
        took = time.monotonic() - began
        second = invoke(pool.create(), milliseconds=900)["response"]
        mail.go.set()
        until = time.monotonic() + 10
        while not store.views.notifications(status="accepted"):
            assert time.monotonic() < until
            time.sleep(0.02)
        right = services.codes.code(key_id=RING.current, challenge=first["challengeMetadata"])
        verified = invoke(pool.verify(first["challengeMetadata"], right))["response"]
    store.close()

    assert took < 1.5
    assert first == second
    assert len(mail.sent) == 1
    assert {"answerCorrect": True} == verified


def test_what_is_decided_after_the_time_is_not_mailed(tmp_path: Path) -> None:
    """A challenge that comes too late is recorded, and mailed when it is asked for again."""
    clock = SystemClock()
    database = str(tmp_path / "siutindei.db")
    prepare(database)
    go = threading.Event()

    class Slow(SqliteStore):
        """A store whose first commit takes long."""

        @contextmanager
        def transaction(self, context: Any) -> Iterator[Any]:
            with super().transaction(context) as change:
                yield change
                assert go.wait(10)

    store, mail = Slow(database, master=RING, clock=clock), MemoryMail()
    with runtime.use(real_services(tmp_path, store, mail)):
        with pytest.raises(SignInError, match="at the moment"):
            invoke(pool.create(), milliseconds=300)
        go.set()
        until = time.monotonic() + 10
        while not store.last_position():
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.2)
        sent_late = len(mail.sent)
        invoke(pool.create())
        issued = [entry.name for entry in store.read() if entry.name == "challenge.issued.v1"]
    store.close()

    assert (0, 1, 1) == (sent_late, len(mail.sent), len(issued))


# --- after the sign-in ----------------------------------------------------------------------------


class Noted:
    """What keeps the last sign-ins: a list."""

    def __init__(self, error: Exception | None = None, seconds: float = 0) -> None:
        self.noted: list[tuple[str, Any]] = []
        self._error = error
        self._seconds = seconds

    def note(self, user: str, *, at: Any) -> None:
        """Remember."""
        time.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        self.noted.append((user, at))


def test_a_sign_in_is_noted_where_the_pool_keeps_it(tmp_path: Path) -> None:
    """The user's name in the pool and the time are noted; no database is opened for it."""
    noted, clock = Noted(), VirtualClock()
    services = make_services(
        tmp_path, last_sign_ins=noted, clock=clock, store=Broken(Unavailable("down"))
    )
    with runtime.use(services):
        answer = invoke(pool.authenticated(name="ann"))

    assert [("ann", clock.now())] == noted.noted
    assert {} == answer["response"]


@pytest.mark.parametrize(
    "noted",
    [Noted(Unavailable("Cognito does not take it now")), Noted(KeyError(ANN)), Noted(seconds=0.6)],
)
def test_what_cannot_be_noted_holds_up_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], noted: Noted
) -> None:
    """Whatever goes wrong with it, or however long it takes, who is in is in."""
    began = time.monotonic()
    with runtime.use(make_services(tmp_path, last_sign_ins=noted)):
        invoke(pool.authenticated(), milliseconds=400)

    assert time.monotonic() - began < 0.6
    (line,) = capsys.readouterr().err.splitlines()
    assert "last sign-in not noted" == json.loads(line)["event"]
    assert ANN not in line


def test_without_a_pool_nobody_notes_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no user pool, nothing is noted, and nothing is said about it."""
    invoke(pool.authenticated())

    assert "" == capsys.readouterr().err
