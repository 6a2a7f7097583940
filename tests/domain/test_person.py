"""A person: signed up, proved an address, erased."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs

from siutindei.domain import catalogue, person
from siutindei.domain.personal import of
from tests.support import START, given

EMAIL: Final = of("ann", "ann@example.com")
OTHER: Final = of("ann", "ann@other.example.com")
LATER: Final = START + timedelta(days=1)
SIGNED_UP: Final = person.SignedUp(
    user="ann", email=EMAIL, fingerprint="f1", locale="zh-HK", at=START
)
PROVED: Final = person.AddressProved(
    user="ann", email=EMAIL, fingerprint="f1", how="code", challenge="c1", at=START
)
ERASED: Final = person.Erased(user="ann", by="bob", reason=of("bob", "asked"), at=START)


def test_a_person_has_a_stream_of_their_own() -> None:
    """A person's stream is named after their id."""
    assert "person-ann" == person.stream("ann")


# --- signing up ----------------------------------------------------------------------------------


def test_signing_up_opens_an_account() -> None:
    """Somebody new signs up with an address that is not proved yet."""
    given(person).when(
        person.sign_up, user="ann", email=EMAIL, fingerprint="f1", locale="zh-HK", at=START
    ).then(SIGNED_UP)


def test_signing_up_again_with_the_same_address_is_quiet() -> None:
    """An account that is open with this address stays as it is, its language too."""
    given(person, SIGNED_UP).when(
        person.sign_up, user="ann", email=EMAIL, fingerprint="f1", locale="en", at=LATER
    ).then_nothing()


def test_a_proved_address_needs_no_sign_up() -> None:
    """Who is known by a token's address alone has an account with it."""
    given(person, PROVED).when(
        person.sign_up, user="ann", email=EMAIL, fingerprint="f1", locale=None, at=LATER
    ).then_nothing()


def test_signing_up_with_another_address_changes_it() -> None:
    """Another address of the same account is recorded, and not proved by the proof of the first."""
    changed = person.AddressChanged(user="ann", email=OTHER, fingerprint="f2", at=LATER)

    given(person, SIGNED_UP, PROVED).when(
        person.sign_up, user="ann", email=OTHER, fingerprint="f2", locale=None, at=LATER
    ).then(changed)
    state = given(person, SIGNED_UP, PROVED, changed).state

    assert ("f2", OTHER, None) == (state.fingerprint, state.email, state.proof("f2"))
    assert "code" == state.proof("f1")


def test_an_erased_account_does_not_come_back() -> None:
    """Signing up an erased person is refused, and the refusal says what to do."""
    error = (
        given(person, SIGNED_UP, ERASED)
        .when(person.sign_up, user="ann", email=EMAIL, fingerprint="f1", locale=None, at=LATER)
        .then_raises(person.PersonErased)
    )

    assert "ann was erased; signing up again makes a new account" == str(error)


# --- proving an address --------------------------------------------------------------------------


def test_a_right_code_proves_the_address() -> None:
    """The first right answer proves the address and names the challenge."""
    given(person, SIGNED_UP).when(
        person.prove_address,
        user="ann",
        email=EMAIL,
        fingerprint="f1",
        how="code",
        challenge="c1",
        at=START,
    ).then(PROVED)


def test_a_token_proves_the_address_of_somebody_new() -> None:
    """The identity provider's token vouches for somebody of whom nothing was recorded."""
    given(person).when(
        person.prove_address,
        user="ann",
        email=EMAIL,
        fingerprint="f1",
        how="token",
        challenge=None,
        at=START,
    ).then(person.AddressProved(user="ann", email=EMAIL, fingerprint="f1", how="token", at=START))


def test_a_proved_address_is_not_proved_again() -> None:
    """A second proof, whichever it is, is quiet: the first one stands."""
    given(person, SIGNED_UP, PROVED).when(
        person.prove_address,
        user="ann",
        email=EMAIL,
        fingerprint="f1",
        how="token",
        challenge=None,
        at=LATER,
    ).then_nothing()


def test_an_address_that_was_left_and_taken_up_again_stays_proved() -> None:
    """A proof is of an address, not of the newest one."""
    moved = person.SignedUp(user="ann", email=OTHER, fingerprint="f2", at=LATER)
    back = person.SignedUp(user="ann", email=EMAIL, fingerprint="f1", at=LATER)

    given(person, SIGNED_UP, PROVED, moved, back).when(
        person.prove_address,
        user="ann",
        email=EMAIL,
        fingerprint="f1",
        how="code",
        challenge="c2",
        at=LATER,
    ).then_nothing()


def test_nothing_is_proved_of_the_erased() -> None:
    """A code that an erased person answers adds nothing to their history."""
    given(person, SIGNED_UP, ERASED).when(
        person.prove_address,
        user="ann",
        email=EMAIL,
        fingerprint="f1",
        how="code",
        challenge="c1",
        at=LATER,
    ).then_nothing()


# --- erasing -------------------------------------------------------------------------------------


def test_erasing_is_recorded_with_who_and_why() -> None:
    """An erasure names the operator; the reason is the operator's text."""
    given(person, SIGNED_UP, PROVED).when(
        person.erase, user="ann", by="bob", reason=of("bob", "asked"), at=START
    ).then(ERASED)


def test_erasing_again_is_quiet() -> None:
    """Who was erased is not erased again, whatever the reason."""
    given(person, SIGNED_UP, ERASED).when(
        person.erase, user="ann", by="cat", reason=of("cat", "again"), at=LATER
    ).then_nothing()


def test_of_an_erased_person_only_fingerprints_are_left() -> None:
    """The state after an erasure has no address and no language."""
    state = given(person, SIGNED_UP, PROVED, ERASED).state

    assert (None, None, START) == (state.email, state.locale, state.erased_at)
    assert state.exists


def test_the_newest_address_is_the_persons() -> None:
    """A sign-up brings the language and the time, and a proof the address that was proved."""
    state = given(person, SIGNED_UP).state
    moved = attrs.evolve(PROVED, email=OTHER, fingerprint="f2", at=LATER)
    after = given(person, SIGNED_UP, moved).state

    assert ("zh-HK", START, EMAIL, "f1") == (
        state.locale,
        state.signed_up_at,
        state.email,
        state.fingerprint,
    )
    assert ("zh-HK", START, OTHER, "f2") == (
        after.locale,
        after.signed_up_at,
        after.email,
        after.fingerprint,
    )


def test_who_was_erased_and_nothing_else_existed() -> None:
    """A person of whom tickets alone were known exists as an erased one."""
    given(person).when(
        person.erase, user="ann", by="bob", reason=of("bob", "asked"), at=START
    ).then(ERASED)

    assert "ann" == given(person, ERASED).state.user


def test_nobody_exists_before_something_was_recorded() -> None:
    """An empty history is nobody, of whom nothing is proved."""
    state = given(person).state

    assert (False, None) == (state.exists, state.proof("f1"))


# --- old events ----------------------------------------------------------------------------------


def test_an_old_proof_was_by_code() -> None:
    """Before version 2 only a code proved an address; the old payload stays as it is."""
    old = {"user": "ann", "fingerprint": "f1"}
    name, upcast = catalogue.UPCASTS["person.address_proved.v1"]

    assert ("person.address_proved.v2", old | {"how": "code"}) == (name, upcast(old))
    assert {"user": "ann", "fingerprint": "f1"} == old
