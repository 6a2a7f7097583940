"""Signing in with a mailed code, the way Cognito calls."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.adapters.keys import KeyRing
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import prepare
from siutindei.adapters.system import RandomIds
from siutindei.app.pace import FIRST, Pace
from siutindei.app.ports import (
    AccountHalted,
    Conflict,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
    Unusable,
)
from siutindei.app.sign_in import Answer, check_locale
from siutindei.domain import challenge, person
from siutindei.domain.errors import Invalid
from tests.app.world import ANN, BOB, CLIENT, FlakyStore, World, make_world
from tests.support import VirtualClock, context

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siutindei.app.sign_in import Started
    from siutindei.domain.mail import Mail

DOWN = MailNotSent("the server is busy")


def stream(world: World, email: str = ANN, client: str = CLIENT) -> str:
    """Name the stream of an address at a client."""
    return challenge.stream(client, world.services.addresses.fingerprint(email))


# --- signing up -----------------------------------------------------------------------------------


def test_an_address_is_signed_up_once(world: World) -> None:
    """An address has one account, however it is written and how often it signs up."""
    user = world.person("ann@example.com")

    assert user == world.person(" ANN@Example.com ")
    assert ["person.signed_up.v1"] == world.names(person.stream(user))


def test_a_repeated_sign_up_gives_the_first_answer(world: World) -> None:
    """A sign-up that comes again under its id gives the user that it made then."""
    sign_up = world.services.sign_in.sign_up
    first = sign_up(context("again"), email=ANN)
    world.services.people.erase(context(), first, by="op", reason="asked")

    assert first == sign_up(context("again"), email=ANN)
    assert first != sign_up(context(), email=ANN)


def test_a_command_id_is_not_for_two_commands(world: World) -> None:
    """A command id that another command used is refused, and is not answered with its answer."""
    world.services.sign_in.sign_up(context("shared"), email=ANN)

    with pytest.raises(Invalid) as refused:
        world.start(None, BOB, command="shared")

    assert refused.value.field == "command_id"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("en", "en"),
        ("EN_gb", "en"),
        ("zh-HK", "zh-HK"),
        (" zh_hk ", "zh-HK"),
        ("zh-Hant-TW", "zh-HK"),
        ("yue-HK", "zh-HK"),
        ("zh-CN", None),
        ("fr", None),
        ("english", None),
    ],
)
def test_locales(given: object, expected: str | None) -> None:
    """What is neither English nor Chinese as Hong Kong writes it is unknown, not an error."""
    assert expected == check_locale(given)


def test_a_locale_is_text() -> None:
    """A locale that is no text is an error."""
    with pytest.raises(Invalid) as refused:
        check_locale(7)

    assert refused.value.field == "locale"


# --- a sign-in ------------------------------------------------------------------------------------


def test_a_sign_in_mails_one_code_to_the_one_who_asked(world: World) -> None:
    """A sign-in makes a challenge that lives five minutes, and one mail with its six digits."""
    user = world.person()
    started = world.start(user)
    (mail,) = world.mail.sent

    assert (ANN, "hello@lx-software.com", "sign_in_code") == (
        mail.recipient,
        mail.sender,
        mail.kind,
    )
    assert world.code(started.challenge) in mail.text
    assert timedelta(seconds=300) == started.expires_at - world.clock.now()
    assert mail.notification_id == started.notification


def test_the_code_is_stored_nowhere(world: World) -> None:
    """Neither a code nor an address is in anything that the store holds."""
    started = world.start(world.person())
    code = world.code(started.challenge).encode()
    stored = world.bytes()

    assert not re.search(rb"(?<![0-9A-Za-z])" + code + rb"(?![0-9A-Za-z])", stored)
    assert ANN.encode() not in stored


def test_a_code_has_six_digits_and_may_begin_with_zeros(world: World) -> None:
    """A code that begins with zero is mailed, and answered, with it."""
    user = world.person()
    for _ in range(200):
        started = world.start(user)
        code = world.code(started.challenge)

        assert len(code) == 6
        assert code.isdecimal()
        if code.startswith("0"):
            break
        world.clock.advance(hours=2)

    assert code.startswith("0")
    assert code in world.mail.sent[-1].text
    assert not world.answer(started.challenge, str(int(code))).correct
    assert world.answer(started.challenge, code).correct


def test_the_same_call_thrice_is_one_challenge_one_mail(world: World) -> None:
    """Cognito calls the first step up to three times: one challenge, one code, one mail."""
    user = world.person()
    started = [world.start(user) for _ in range(3)]

    assert len(set(started)) == 1
    assert len(world.mail.sent) == 1
    assert ["challenge.issued.v1"] == world.names(stream(world))


@pytest.mark.parametrize("round_", range(3))
def test_the_same_call_thrice_at_once_is_one_challenge_one_mail(
    tmp_path: Path, round_: int
) -> None:
    """Three calls at the same time are one challenge, one code and one mail."""
    clock = VirtualClock()
    database = str(tmp_path / "siutindei.db")
    prepare(database)
    world = make_world(tmp_path, clock=clock, store=FlakyStore(clock, database), ids=RandomIds())
    user = world.person()
    with ThreadPoolExecutor(3) as pool:
        started = list(pool.map(lambda _: world.start(user), range(3)))
    world.drain()

    assert len(set(started)) == 1
    assert len(world.mail.sent) == 1
    assert ["challenge.issued.v1"] == world.names(stream(world))
    world.store.close()


def test_after_a_wrong_answer_the_challenge_goes_on_without_a_mail(world: World) -> None:
    """The call after a wrong answer gives the same challenge, and mails nothing."""
    started = world.start(world.person())
    world.answer(started.challenge, world.wrong(started.challenge))

    assert started == world.services.sign_in.resume(started.challenge)
    assert len(world.mail.sent) == 1


def test_an_older_challenge_can_be_resumed_and_takes_no_answer(world: World) -> None:
    """A call that names an older challenge gets that one, not the newest."""
    user = world.person()
    first = world.start(user)
    world.clock.advance(seconds=61)
    second = world.start(user)

    assert first == world.services.sign_in.resume(first.challenge)
    assert second != first
    assert Answer(correct=False, attempts_left=0) == world.answer(first.challenge)
    assert world.answer(second.challenge).correct


def test_an_unknown_challenge_cannot_be_resumed_or_answered(world: World) -> None:
    """A challenge that nobody started is not found."""
    with pytest.raises(challenge.UnknownChallenge):
        world.services.sign_in.resume("nobody")
    with pytest.raises(challenge.UnknownChallenge):
        world.answer("nobody", "123456")


def test_a_challenge_of_long_ago_is_found_no_more(tmp_path: Path) -> None:
    """A challenge that many newer ones have pushed out of sight is not found, and not right."""
    world = make_world(tmp_path)
    user = world.person()
    first = world.start(user)
    for _ in range(challenge.NEWEST):
        world.clock.advance(hours=2)
        world.start(user)

    with pytest.raises(challenge.UnknownChallenge):
        world.services.sign_in.resume(first.challenge)
    assert Answer(correct=False, attempts_left=0) == world.answer(first.challenge)


def test_refusals_without_end_leave_an_old_challenge_answerable(tmp_path: Path) -> None:
    """An answer to a challenge that only refusals followed is wrong, and nothing worse."""
    environment = {"SIUTINDEI_CODES_PER_CLIENT": "1"}
    world = make_world(tmp_path, environment=environment)
    started = world.start(world.person())
    for number in range(challenge.NEWEST + 1):
        world.clock.advance(hours=2)
        world.start(None, f"other-{number}@example.com")
        with pytest.raises(challenge.TooManySignIns):
            world.start(None, ANN)

    assert {"challenge.limit_reached.v1"} == {
        entry.name for entry in world.store.load(stream(world), newest=challenge.NEWEST)
    }
    assert Answer(correct=False, attempts_left=0) == world.answer(started.challenge)
    with pytest.raises(challenge.UnknownChallenge):
        world.services.sign_in.resume(started.challenge)


def test_the_cool_down_ends_at_its_second(world: World) -> None:
    """A challenge is given again for sixty seconds, and not for a moment longer."""
    user = world.person()
    first = world.start(user)
    world.clock.advance(seconds=59, microseconds=999_999)
    again = world.start(user)
    world.clock.advance(microseconds=1)
    later = world.start(user)

    assert first == again
    assert later.challenge != first.challenge
    assert [
        "challenge.issued.v1",
        "challenge.closed.v1",
        "challenge.issued.v1",
    ] == world.names(stream(world))
    assert len(world.mail.sent) == 2


def test_a_clock_that_goes_back_starts_no_second_challenge(world: World) -> None:
    """A challenge that seems to come from the future is given again, within a code's life."""
    user = world.person()
    first = world.start(user)
    world.clock.advance(minutes=-5)

    assert first == world.start(user)


def test_a_clock_that_was_far_ahead_keeps_nobody_out(world: World) -> None:
    """A challenge from farther off than a code lives is closed, and the next one is mailed."""
    user = world.person()
    world.clock.advance(days=365)
    first = world.start(user)
    world.clock.advance(days=-365)
    second = world.start(user)

    assert first.challenge != second.challenge
    assert 2 == len(world.mail.sent)
    assert not world.answer(first.challenge).correct
    assert world.answer(second.challenge).correct


def test_a_challenge_that_is_over_is_not_given_again(world: World) -> None:
    """After a right answer, or three wrong ones, the next sign-in is a new one at once."""
    user = world.person()
    first = world.start(user)
    world.answer(first.challenge)
    second = world.start(user)
    for _ in range(3):
        world.answer(second.challenge, world.wrong(second.challenge))
    third = world.start(user)

    assert len({first.challenge, second.challenge, third.challenge}) == 3
    assert len(world.mail.sent) == 3


def test_a_repeated_start_gives_the_first_answer(world: World) -> None:
    """A start that comes again under its id gives its own challenge, though a newer one is open."""
    user = world.person()
    first = world.start(user, command="first")
    world.clock.advance(seconds=61)
    second = world.start(user)

    assert first == world.start(user, command="first")
    assert second == world.start(user)
    assert len(world.mail.sent) == 2


def test_a_repeated_start_that_was_refused_is_refused_again(world: World) -> None:
    """A start that a limit refused is refused when it comes again, also when the hour is over."""
    for _ in range(5):
        world.start(None)
        world.clock.advance(seconds=61)
    for _ in range(2):
        with pytest.raises(challenge.TooManySignIns) as refused:
            world.start(None, command="refused")
        world.clock.advance(hours=2)

        assert refused.value.limit == "address"


def test_a_lost_race_is_started_again(world: World) -> None:
    """When somebody else was first, the step is decided again with what they left."""
    user = world.person()
    world.store.then_fails(*[Conflict("first")] * 4)

    assert world.start(user).challenge
    assert len(world.mail.sent) == 1


def test_a_race_that_is_always_lost_ends(world: World) -> None:
    """A step that loses five times gives up, and has changed nothing."""
    user = world.person()
    world.store.then_fails(*[Conflict("first")] * 5)

    with pytest.raises(Conflict):
        world.start(user)

    assert world.names(stream(world)) == []


@pytest.mark.parametrize("client", ["", "a b", "a/b", None, "x" * 129])
def test_a_client_has_a_name(world: World, client: Any) -> None:
    """A client that could not be told from another is refused."""
    with pytest.raises(Invalid) as refused:
        world.start(None, client=client)

    assert refused.value.field == "client"


# --- the mail of a code ---------------------------------------------------------------------------


def test_a_mail_that_was_not_sent_is_tried_twice_at_once(world: World) -> None:
    """A first try that surely did not send is followed by a second one, and that is all."""
    world.mail.then_raises(DOWN)
    before = world.clock.now()
    started = world.start(world.person())

    assert len(world.mail.sent) == 1
    assert world.clock.now() - before <= timedelta(seconds=3.5)
    assert world.notices(started.notification or "").calls == 2


def test_the_challenge_is_given_though_the_mail_was_not_sent(world: World) -> None:
    """After two tries in vain the challenge is given all the same, and the mail stays due."""
    for _ in range(2):
        world.mail.then_raises(DOWN)
    started = world.start(world.person())
    found = world.notices(started.notification or "")

    assert started.challenge
    assert ("failed", 2) == (found.status, found.calls)
    assert [] == world.mail.sent


def test_the_worker_goes_on_with_a_code_that_was_not_sent(world: World) -> None:
    """What two tries at once could not send is sent by the worker, once it is due."""
    for _ in range(2):
        world.mail.then_raises(DOWN)
    started = world.start(world.person())

    assert [] == world.drain()
    world.clock.advance(seconds=13)
    assert ["sent"] == world.drain()
    assert world.answer(started.challenge).correct


def test_the_worker_sends_no_code_whose_time_is_over(world: World) -> None:
    """A code that expired before it could be sent is withheld."""
    for _ in range(2):
        world.mail.then_raises(DOWN)
    started = world.start(world.person())
    world.clock.advance(seconds=300)

    assert ["withheld"] == world.drain()
    assert "expired" == world.notices(started.notification or "").why


def test_a_repeat_within_the_cool_down_mails_what_surely_was_not_sent(world: World) -> None:
    """The same call again sends the code when every try before surely did not."""
    for _ in range(2):
        world.mail.then_raises(DOWN)
    user = world.person()
    first = world.start(user)
    world.clock.advance(seconds=13)

    assert first == world.start(user)
    assert len(world.mail.sent) == 1


def test_slow_tries_are_not_begun_after_their_time(tmp_path: Path) -> None:
    """A second try that could not begin within 3.5 seconds is left to the worker."""
    clock = VirtualClock()

    def slow(when: str, _: str) -> None:
        clock.advance(seconds=3.4)

    world = make_world(tmp_path, mail=MemoryMail(journal=slow), clock=clock)
    world.mail.then_raises(DOWN)
    started = world.start(world.person())

    assert world.notices(started.notification or "").calls == 1


@pytest.mark.parametrize("takes_it", [True, False])
def test_after_an_unknown_outcome_no_second_mail_goes_out(tmp_path: Path, takes_it: bool) -> None:
    """When nobody can tell whether a code was mailed, it is not mailed again in its challenge."""
    world = make_world(tmp_path, mail=MemoryMail(can_tell=False))
    world.mail.then_raises(MailOutcomeUnknown("no answer"), takes_it=takes_it)
    user = world.person()
    first = world.start(user)
    for seconds in (1, 30, 28):
        world.clock.advance(seconds=seconds)
        world.drain()

        assert first == world.start(user)
    world.clock.advance(hours=1)

    assert [] == world.drain()
    assert int(takes_it) == len(world.mail.sent)
    assert "unknown" == world.notices(first.notification or "").status


def test_a_code_that_surely_will_not_go_is_not_tried_again(world: World) -> None:
    """An address that the mail port refuses for good gets its challenge and no second try."""
    world.mail.then_raises(MailRefused("no such domain"))
    started = world.start(world.person())

    assert "dead_lettered" == world.notices(started.notification or "").status
    assert [] == world.mail.sent


def test_an_account_that_is_halted_burns_no_attempt(world: World) -> None:
    """A matter of the whole account leaves the code due."""
    for _ in range(2):
        world.mail.then_raises(AccountHalted("paused"))
    started = world.start(world.person())
    found = world.notices(started.notification or "")

    assert ("failed", 0) == (found.status, found.attempts)
    assert found.due_at is not None


def test_a_store_that_fails_while_the_mail_is_sent_changes_no_answer(world: World) -> None:
    """The challenge is given though the store could not be reached for the mail."""
    user = world.person()
    world.store.then_fails(None, Unavailable("locked"))
    started = world.start(user)

    assert started.challenge
    assert [] == world.mail.sent
    assert ["sent"] == world.drain()


def test_the_mail_speaks_the_language_that_was_signed_up_with(world: World) -> None:
    """A user's language chooses the mail's, and one that a sign-in names wins."""
    user = world.person(locale="zh-HK")
    world.start(user)
    world.clock.advance(seconds=61)
    world.start(user, locale="en")
    chinese, english = (mail.subject for mail in world.mail.sent)

    assert not chinese.isascii()
    assert english.isascii()


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", ["{}", " {}", "{} ", "\t{}\n"])
def test_an_answer_is_trimmed(world: World, around: str) -> None:
    """Blanks around the code are not part of it."""
    started = world.start(world.person())

    assert world.answer(started.challenge, around.format(world.code(started.challenge))).correct


@pytest.mark.parametrize(
    "change",
    [
        lambda code: "",
        lambda code: "   ",
        lambda code: None,
        lambda code: code[:5],
        lambda code: code + "0",
        lambda code: f"{code[:3]} {code[3:]}",
        lambda code: "".join(chr(ord("０") + int(digit)) for digit in code),
        lambda code: f"{code}x",
    ],
    ids=["empty", "blank", "nothing", "short", "long", "parted", "wide digits", "with a letter"],
)
def test_another_text_is_a_wrong_answer(world: World, change: Callable[[str], object]) -> None:
    """Only the very digits are right; anything else costs an attempt."""
    started = world.start(world.person())
    given = change(world.code(started.challenge))

    assert Answer(correct=False, attempts_left=2) == world.services.sign_in.answer(
        context(), challenge_id=started.challenge, code=given
    )


def test_an_answer_that_is_no_text_is_an_error(world: World) -> None:
    """A number is no answer: it would have lost its zeros."""
    started = world.start(world.person())

    with pytest.raises(Invalid) as refused:
        world.answer(started.challenge, 123456)

    assert refused.value.field == "code"


def test_a_code_is_used_once(world: World) -> None:
    """The right code is right once."""
    started = world.start(world.person())

    assert Answer(correct=True, attempts_left=0) == world.answer(started.challenge)
    assert Answer(correct=False, attempts_left=0) == world.answer(started.challenge)


def test_three_wrong_answers_end_a_challenge(world: World) -> None:
    """After three wrong answers the right one is wrong too."""
    started = world.start(world.person())
    given = [world.answer(started.challenge, world.wrong(started.challenge)) for _ in range(3)]

    assert [2, 1, 0] == [answer.attempts_left for answer in given]
    assert Answer(correct=False, attempts_left=0) == world.answer(started.challenge)
    assert [
        "challenge.issued.v1",
        *["challenge.missed.v1"] * 3,
        "challenge.closed.v1",
    ] == world.names(stream(world))


def test_three_answers_at_once_are_three_answers(tmp_path: Path) -> None:
    """Guesses that come at the same time are counted one by one."""
    clock = VirtualClock()
    database = str(tmp_path / "siutindei.db")
    prepare(database)
    world = make_world(tmp_path, clock=clock, store=FlakyStore(clock, database), ids=RandomIds())
    started = world.start(world.person())
    wrong = world.wrong(started.challenge)
    with ThreadPoolExecutor(4) as pool:
        given = list(pool.map(lambda _: world.answer(started.challenge, wrong), range(6)))

    assert [0, 0, 0, 0, 1, 2] == sorted(answer.attempts_left for answer in given)
    assert 3 == world.names(stream(world)).count("challenge.missed.v1")
    world.store.close()


def test_a_code_dies_at_its_second(world: World) -> None:
    """A code is right until its last microsecond and wrong from its expiry on."""
    user = world.person()
    early = world.start(user)
    world.clock.advance(seconds=299, microseconds=999_999)
    in_time = world.answer(early.challenge)
    late = world.start(user)
    world.clock.advance(seconds=300)

    assert in_time.correct
    assert Answer(correct=False, attempts_left=0) == world.answer(late.challenge)


def test_a_late_answer_needs_no_key_that_has_left_the_ring(tmp_path: Path) -> None:
    """A code key may leave the ring when its codes have expired: a late answer is just wrong."""
    world = make_world(tmp_path)
    started = world.start(world.person())
    code = world.code(started.challenge)
    open_ = world.start(world.person(BOB), BOB)
    world.clock.advance(seconds=301)
    other = KeyRing(current="new", keys={"new": bytes(32)})
    rotated = world.rebuilt(code_keys=other)

    assert not rotated.services.sign_in.answer(
        context(), challenge_id=started.challenge, code=code
    ).correct
    rotated.clock.advance(seconds=-301)
    with pytest.raises(Unusable):
        rotated.services.sign_in.answer(context(), challenge_id=open_.challenge, code=code)


def test_a_repeated_answer_gives_the_first_answer(world: World) -> None:
    """An answer that comes again under its id is not counted again, right or wrong."""
    started = world.start(world.person())
    wrong = world.wrong(started.challenge)
    missed = [world.answer(started.challenge, wrong, command="wrong") for _ in range(3)]
    passed = [world.answer(started.challenge, command="right") for _ in range(2)]
    late = world.answer(started.challenge, wrong, command="wrong")

    assert [Answer(correct=False, attempts_left=2)] * 3 == missed
    assert [Answer(correct=True, attempts_left=0)] * 2 == passed
    assert missed[0] == late


def test_a_third_wrong_answer_that_is_repeated_gives_the_first_answer(world: World) -> None:
    """The answer that ended a challenge is answered again as it was."""
    started = world.start(world.person())
    wrong = world.wrong(started.challenge)
    for _ in range(2):
        world.answer(started.challenge, wrong)
    last = [world.answer(started.challenge, wrong, command="last") for _ in range(2)]

    assert [Answer(correct=False, attempts_left=0)] * 2 == last


# --- whose address it is --------------------------------------------------------------------------


def test_a_right_answer_proves_the_address_once(world: World) -> None:
    """The first right answer is what proves an address; the history says by which challenge."""
    user = world.person()
    first = world.start(user)
    world.answer(first.challenge)
    world.clock.advance(minutes=2)
    world.answer(world.start(user).challenge)
    entries = world.store.load(person.stream(user))
    proof: Any = entries[-1].event

    assert ["person.signed_up.v1", "person.address_proved.v2"] == [entry.name for entry in entries]
    assert ("code", first.challenge) == (proof.how, proof.challenge)
    assert f"{stream(world)}/2" == entries[-1].context.causation_id


def test_a_sign_in_knows_whether_the_address_was_proved(world: World) -> None:
    """The event of a challenge says whether the address had answered a code before."""
    user = world.signed_in()
    world.clock.advance(minutes=2)
    world.start(user)
    issued: list[Any] = [
        entry.event
        for entry in world.store.load(stream(world))
        if entry.name == "challenge.issued.v1"
    ]

    assert [False, True] == [event.proved for event in issued]


def test_a_sign_in_makes_the_account_known(world: World) -> None:
    """Whom the identity provider knows and we do not is signed up by their first sign-in."""
    world.start("sub-1", locale="zh-HK")

    assert ["person.signed_up.v1"] == world.names(person.stream("sub-1"))


def test_another_address_has_to_be_proved_anew(world: World) -> None:
    """An account that changed its address keeps its language, and its new address is unproved."""
    user = world.person(locale="zh-HK")
    world.answer(world.start(user).challenge)
    started = world.start(user, BOB)
    issued: Any = world.store.load(stream(world, BOB))[-1].event

    assert (False, "zh-HK") == (issued.proved, issued.locale)
    assert BOB == world.mail.sent[-1].recipient
    assert world.answer(started.challenge).correct
    assert [
        "person.signed_up.v1",
        "person.address_proved.v2",
        "person.address_changed.v1",
        "person.address_proved.v2",
    ] == world.names(person.stream(user))


def test_a_code_to_an_address_that_changed_meanwhile_proves_nothing(world: World) -> None:
    """A code to an address that is theirs no more signs nobody in and proves nothing."""
    user = world.person()
    before = world.start(user)
    world.start(user, BOB)

    assert not world.answer(before.challenge).correct
    assert ["person.signed_up.v1", "person.address_changed.v1"] == world.names(person.stream(user))


def test_an_erased_person_starts_nothing_and_answers_nothing_right(world: World) -> None:
    """Who was erased signs in no more: neither with a new code nor with one that was mailed."""
    user = world.person()
    started = world.start(user)
    world.services.people.erase(context(), user, by="op", reason="asked")

    assert not world.answer(started.challenge).correct
    world.clock.advance(minutes=2)
    again = world.start(user)
    assert again.notification is None
    assert not world.answer(again.challenge).correct
    assert [] == world.mail.sent
    assert "person.erased.v1" == world.names(person.stream(user))[-1]

    """Nobody vouches for the address, so it is nobody's: challenged, charged, not mailed."""


def test_an_address_that_is_not_verified_gets_no_mail(world: World) -> None:
    """Whose address nobody vouches for is treated as nobody: challenged, charged, not mailed."""
    user = world.person()
    start = world.services.sign_in.start
    arguments: dict[str, Any] = {"client": CLIENT, "email": ANN, "user": user}
    unverified = start(context(), verified=False, **arguments)
    answered = world.answer(unverified.challenge)
    again = start(context(), verified=False, **arguments)
    verified = start(context(), **arguments)

    assert unverified.notification is None
    assert not answered.correct
    assert again == unverified
    assert verified.challenge != unverified.challenge
    assert [verified.notification] == [mail.notification_id for mail in world.mail.sent]
    assert ["person.signed_up.v1"] == world.names(person.stream(user))


def test_an_address_that_answered_a_code_needs_nobody_to_vouch_for_it(world: World) -> None:
    """The first right answer proved the address; a flag that was reset since does not matter."""
    user = world.signed_in()
    world.clock.advance(minutes=2)
    start = world.services.sign_in.start
    started = start(context(), client=CLIENT, email=ANN, user=user, verified=False)

    assert started.notification is not None
    assert world.answer(started.challenge).correct


# --- who waits, and for how long ------------------------------------------------------------------


def test_what_became_of_the_mail_is_said(world: World) -> None:
    """A sign-in says what became of its mail while one waited; a repeated one, that nothing did."""
    user = world.person()
    first, again = world.start(user), world.start(user)

    assert first.mail is not None
    assert again.mail is not None
    assert ("sent", "nothing_to_do") == (first.mail.result, again.mail.result)
    assert first == again


def test_the_challenge_is_told_before_its_mail_is_waited_for(world: World) -> None:
    """Who has to answer in time learns of the challenge first."""
    told: list[tuple[str, int]] = []
    started = world.services.sign_in.start(
        context(),
        client=CLIENT,
        email=ANN,
        user=world.person(),
        issued=lambda begun: told.append((begun.challenge, len(world.mail.sent))),
    )

    assert [(started.challenge, 0)] == told
    assert len(world.mail.sent) == 1


def test_who_is_too_late_sends_nothing_now(world: World) -> None:
    """A challenge whose asker gave up is not mailed now; asked for again, it is the same one."""

    def too_late(_: Started) -> None:
        raise TimeoutError

    user = world.person()
    with pytest.raises(TimeoutError):
        world.services.sign_in.start(
            context(), client=CLIENT, email=ANN, user=user, issued=too_late
        )
    assert [] == world.mail.sent
    world.start(user)

    assert ["challenge.issued.v1"] == world.names(stream(world))
    assert len(world.mail.sent) == 1


class SlowMail(MemoryMail):
    """A port that takes its time."""

    clock: VirtualClock
    seconds = 0.7

    def send(self, mail: Mail) -> str:
        """Take a while."""
        self.clock.sleep(self.seconds)
        return super().send(mail)


def test_who_gets_no_mail_waits_as_long_as_others_for_theirs(tmp_path: Path) -> None:
    """An unknown address is answered no sooner than a known one, whose mail is waited for."""
    clock, mail = VirtualClock(), SlowMail()
    mail.clock = clock
    world = make_world(tmp_path, clock=clock, mail=mail)

    def seconds(user: str | None, email: str) -> float:
        began = clock.now()
        world.start(user, email)
        return (clock.now() - began).total_seconds()

    known = seconds(world.person(), ANN)
    unknown = [seconds(None, f"nobody-{number}@example.com") for number in range(2)]
    repeated = [seconds(None, "nobody-0@example.com"), seconds(world.person(), ANN)]

    assert 0.7 == known
    assert {0.7, FIRST} == set(unknown)
    assert [0, 0] == repeated
    world.store.close()


def test_what_cannot_be_a_mails_time_is_not_learnt() -> None:
    """A clock that was set while a mail was sent does not make strangers wait for hours."""
    pace = Pace()
    for seconds in (-3600, 3600, 0.5):
        pace.note(seconds)

    assert {FIRST, 0.5} == {pace.next() for _ in range(10)}


# --- strangers ------------------------------------------------------------------------------------


def test_an_unknown_user_walks_the_same_path_without_a_mail(world: World) -> None:
    """Nobody's address gets a challenge that looks like any, and no mail is asked for."""
    known = world.start(world.person(BOB), BOB)
    unknown = world.start(None)

    assert len(known.challenge) == len(unknown.challenge)
    assert known.expires_at == unknown.expires_at
    assert unknown.notification is None
    assert [BOB] == [mail.recipient for mail in world.mail.sent]
    assert world.names(stream(world)) == world.names(stream(world, BOB))
    assert unknown == world.start(None)
    assert unknown == world.services.sign_in.resume(unknown.challenge)


def test_an_unknown_user_is_never_right(world: World) -> None:
    """The right code of a challenge that nobody was mailed is a wrong answer."""
    started = world.start(None)
    given = [world.answer(started.challenge) for _ in range(4)]

    assert [2, 1, 0, 0] == [answer.attempts_left for answer in given]
    assert not any(answer.correct for answer in given)


def test_only_a_fingerprint_is_kept_of_an_unknown_user(world: World) -> None:
    """The address of somebody who never signed up is in nothing that is stored, sealed or not."""
    started = world.start(None, "stranger@example.com")
    world.answer(started.challenge, "123456")
    with world.store.reading() as cursor:
        cursor.execute("SELECT count(*) AS n FROM vault_keys")
        keys = cursor.fetchone()["n"]

    assert b"stranger" not in world.bytes()
    assert 0 == keys
    assert [] == world.events("person")
    assert [] == world.events("notification")


# --- limits ---------------------------------------------------------------------------------------


def later(world: World, count: int, start: Callable[[int], Started]) -> None:
    """Start some sign-ins, each after the cool-down of the one before."""
    for number in range(count):
        start(number)
        world.clock.advance(seconds=61)


def refused(world: World, *arguments: Any, **options: Any) -> str:
    """Name the limit that refuses a sign-in."""
    with pytest.raises(challenge.TooManySignIns) as refusal:
        world.start(*arguments, **options)
    return refusal.value.limit


@pytest.mark.parametrize("is_known", [True, False])
def test_an_address_starts_five_challenges_an_hour(world: World, is_known: bool) -> None:
    """The sixth challenge of an address within an hour is refused, known or not."""
    user = world.person() if is_known else None
    first = world.clock.now()
    later(world, 5, lambda _: world.start(user))

    assert "address" == refused(world, user)
    world.clock.at = first + timedelta(hours=1) - timedelta(microseconds=1)
    assert "address" == refused(world, user)
    world.clock.advance(microseconds=1)
    assert world.start(user).challenge


def test_the_limit_of_an_address_holds_across_clients(world: World) -> None:
    """Another client is no way around the limit of an address."""
    later(world, 5, lambda number: world.start(None, client=f"client-{number}"))

    assert "address" == refused(world, None, client="client-9")


def test_the_limit_of_an_address_does_not_mind_its_case(world: World) -> None:
    """An address is the same in capitals."""
    later(world, 5, lambda number: world.start(None, "ANN@example.com" if number % 2 else ANN))

    assert "address" == refused(world, None, "aNN@EXAMPLE.com")


def test_all_strangers_share_an_allowance(tmp_path: Path) -> None:
    """Addresses that never answered a code share an allowance, the unknown and the new alike."""
    world = make_world(tmp_path, environment={"SIUTINDEI_UNPROVED_HOURLY": "3"})
    proved = world.signed_in("old@example.com")
    world.clock.advance(hours=2)
    world.start(None, "1@example.com")
    world.start(world.person(BOB), BOB)
    world.start(None, "2@example.com", client="other")

    assert "unproved" == refused(world, None, "3@example.com")
    assert "unproved" == refused(world, world.person(), ANN)
    assert world.start(proved, "old@example.com").challenge


def test_a_client_starts_as_many_as_it_may(tmp_path: Path) -> None:
    """The limit of a client counts every challenge of its own, and none of another's."""
    world = make_world(tmp_path, environment={"SIUTINDEI_CODES_PER_CLIENT": "2"})
    user = world.signed_in()
    world.start(None, BOB)

    world.clock.advance(seconds=61)
    assert "client" == refused(world, user)
    assert world.start(user, client="other").challenge


def test_limits_are_looked_at_in_their_order(tmp_path: Path) -> None:
    """The address comes first, the strangers' allowance next, the client last."""
    environment = {
        "SIUTINDEI_CODES_PER_ADDRESS": "1",
        "SIUTINDEI_UNPROVED_HOURLY": "1",
        "SIUTINDEI_CODES_PER_CLIENT": "1",
    }
    world = make_world(tmp_path, environment=environment)
    proved = world.signed_in("old@example.com")
    world.clock.advance(hours=2)
    world.start(None)
    world.clock.advance(seconds=61)

    assert "address" == refused(world, None)
    assert "unproved" == refused(world, None, BOB)
    assert "client" == refused(world, proved, "old@example.com")


def test_what_a_limit_refuses_is_charged_to_nobody(tmp_path: Path) -> None:
    """Refused sign-ins count against no limit, make nobody known, and are told once an hour."""
    environment = {"SIUTINDEI_UNPROVED_HOURLY": "1"}
    world = make_world(tmp_path, environment=environment)
    world.start(None, BOB)
    for _ in range(4):
        assert "unproved" == refused(world, "sub-1")
    counts = world.store.views.code_counts(
        client=CLIENT,
        fingerprint=world.services.addresses.fingerprint(ANN),
        since=world.clock.now() - timedelta(hours=1),
    )

    assert challenge.Counts(address=0, unproved=1, client=1) == counts
    assert ["challenge.limit_reached.v1"] == world.names(stream(world))
    assert [] == world.names(person.stream("sub-1"))
    assert [] == world.mail.sent


def test_an_open_challenge_is_given_when_the_limit_is_reached(world: World) -> None:
    """Cognito's second call gets the challenge of the first, though no further one may start."""
    later(world, 4, lambda _: world.start(None))
    fifth = world.start(None)

    assert fifth == world.start(None)


def test_every_limit_says_the_same(tmp_path: Path) -> None:
    """Whoever signs in cannot tell from the words which limit it was."""
    texts = set()
    for name in (
        "SIUTINDEI_CODES_PER_ADDRESS",
        "SIUTINDEI_UNPROVED_HOURLY",
        "SIUTINDEI_CODES_PER_CLIENT",
    ):
        world = make_world(tmp_path / name, environment={name: "1"})
        world.start(None)
        world.clock.advance(seconds=61)
        with pytest.raises(challenge.TooManySignIns) as refusal:
            world.start(None)
        texts.add(str(refusal.value))

    assert 1 == len(texts)


def test_every_code_mail_has_a_challenge_behind_it(world: World) -> None:
    """Each mail with a code was caused by the event of its challenge, and goes to that address."""
    users = [world.signed_in(f"u{number}@example.com") for number in range(3)]
    world.clock.advance(minutes=2)
    for number, user in enumerate(users):
        world.start(user, f"u{number}@example.com")
    sent: list[Mail] = world.mail.sent
    causes = [world.notices(mail.notification_id).requested for mail in sent]

    assert 6 == len(sent)
    assert all(
        cause is not None and cause.cause.startswith("challenge-") and cause.kind == "sign_in_code"
        for cause in causes
    )
    assert len(sent) == len({cause.cause for cause in causes if cause is not None})
    assert [f"u{number}@example.com" for number in (0, 1, 2) * 2] == [
        mail.recipient for mail in sent
    ]


def test_who_signs_up_meanwhile_gets_a_mail(world: World) -> None:
    """A start of an unknown address does not keep the code from the one who then signs up."""
    services = world.services
    before = services.sign_in.start(context(), client="c", email="new@example.com", user=None)
    user = services.sign_in.sign_up(context(), email="new@example.com")
    after = services.sign_in.start(context(), client="c", email="new@example.com", user=user)

    assert before.challenge != after.challenge
    assert (None, 1) == (before.notification, len(world.mail.sent))


def test_an_answer_under_another_answers_id_is_refused(world: World) -> None:
    """The success of one challenge is never given as the answer of another."""
    services = world.services
    challenges = []
    for email in (ANN, BOB):
        user = services.sign_in.sign_up(context(), email=email)
        challenges.append(
            services.sign_in.start(context(), client=CLIENT, email=email, user=user).challenge
        )
    right = services.codes.code(key_id=services.codes.current_key_id, challenge=challenges[0])
    services.sign_in.answer(context("used"), challenge_id=challenges[0], code=right)
    with pytest.raises(Invalid, match="command_id"):
        services.sign_in.answer(context("used"), challenge_id=challenges[1], code="000000")
    with pytest.raises(Invalid, match="command_id"):
        services.sign_in.start(context("used"), client=CLIENT, email=BOB, user=None)
