"""A person: signed up, proved an address, erased.

Stream `person-<user>`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

import attrs

from siutindei.domain.errors import Refused
from siutindei.domain.personal import Personal

if TYPE_CHECKING:
    from collections.abc import Callable

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "person"
Proof = Literal["code", "token"]


def stream(user: str) -> str:
    """Name the stream of one person."""
    return f"{CATEGORY}-{user}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class SignedUp:
    """Somebody opened an account with an address that is not proved yet."""

    user: str
    email: Personal
    fingerprint: str
    locale: str | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class AddressChanged:
    """The account has another address, which is not proved yet."""

    user: str
    email: Personal
    fingerprint: str
    at: datetime


@attrs.frozen(kw_only=True)
class AddressProved:
    """The address was shown to be theirs: by a right code, or by the identity provider's token."""

    user: str
    email: Personal
    fingerprint: str
    how: Proof
    challenge: str | None = None
    at: datetime


@attrs.frozen(kw_only=True)
class Erased:
    """Every key of this person's data was destroyed; the reason is the operator's text."""

    user: str
    by: str
    reason: Personal
    at: datetime


Event = SignedUp | AddressChanged | AddressProved | Erased

EVENTS: Final[dict[str, type]] = {
    "person.signed_up.v1": SignedUp,
    "person.address_changed.v1": AddressChanged,
    "person.address_proved.v2": AddressProved,
    "person.erased.v1": Erased,
}


def _proved_by_code(payload: dict[str, Any]) -> dict[str, Any]:
    """Before version 2 only a right answer to a code proved an address."""
    return payload | {"how": "code"}


UPCASTS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    "person.address_proved.v1": ("person.address_proved.v2", _proved_by_code),
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Person:
    """What is known of one person.

    Attributes:
        user: the identity provider's id, empty as long as nobody signed up.
        email: the newest address.
        fingerprint: the keyed hash of that address.
        locale: `en`, `zh-HK`, or None when it is not known.
        proofs: how each proved address was proved, by fingerprint.
    """

    user: str = ""
    email: Personal | None = None
    fingerprint: str = ""
    locale: str | None = None
    proofs: dict[str, Proof] = attrs.field(factory=dict)
    signed_up_at: datetime | None = None
    erased_at: datetime | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded of them."""
        return bool(self.user)

    def proof(self, fingerprint: str) -> Proof | None:
        """How the address with this fingerprint was proved, or None."""
        return self.proofs.get(fingerprint)


INITIAL: Final = Person()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Person, event: Event) -> Person:
    """Fold one fact."""
    match event:
        case SignedUp():
            return attrs.evolve(
                state,
                user=event.user,
                email=event.email,
                fingerprint=event.fingerprint,
                locale=event.locale,
                signed_up_at=event.at,
            )
        case AddressChanged():
            return attrs.evolve(
                state, user=event.user, email=event.email, fingerprint=event.fingerprint
            )
        case AddressProved():
            return attrs.evolve(
                state,
                user=event.user,
                email=event.email,
                fingerprint=event.fingerprint,
                proofs=state.proofs | {event.fingerprint: event.how},
            )
        case Erased():
            return attrs.evolve(state, user=event.user, email=None, locale=None, erased_at=event.at)
        case _:
            assert_never(event)


# --- decisions -----------------------------------------------------------------------------------


def sign_up(
    person: Person,
    *,
    user: str,
    email: Personal,
    fingerprint: str,
    locale: str | None,
    at: datetime,
) -> tuple[Event, ...]:
    """Open the account, or record its other address; quiet when it is open with this one.

    Raises:
        PersonErased: the account was erased; a new one gets a new id.
    """
    if person.erased_at is not None:
        raise PersonErased(user)
    if person.exists and person.fingerprint == fingerprint:
        return ()
    if person.exists:
        return (AddressChanged(user=user, email=email, fingerprint=fingerprint, at=at),)
    return (SignedUp(user=user, email=email, fingerprint=fingerprint, locale=locale, at=at),)


def prove_address(
    person: Person,
    *,
    user: str,
    email: Personal,
    fingerprint: str,
    how: Proof,
    challenge: str | None,
    at: datetime,
) -> tuple[Event, ...]:
    """Record that the address is theirs; quiet when it is known, or when they were erased."""
    if person.erased_at is not None or fingerprint in person.proofs:
        return ()
    return (
        AddressProved(
            user=user, email=email, fingerprint=fingerprint, how=how, challenge=challenge, at=at
        ),
    )


def erase(
    person: Person, *, user: str, by: str, reason: Personal, at: datetime
) -> tuple[Event, ...]:
    """Record that this person's keys are destroyed; quiet when they were before."""
    if person.erased_at is not None:
        return ()
    return (Erased(user=user, by=by, reason=reason, at=at),)


# --- errors --------------------------------------------------------------------------------------


class PersonErased(Refused):
    """The person was erased, and an erased account does not come back."""

    def __init__(self, user: str) -> None:
        super().__init__(f"{user} was erased; signing up again makes a new account")
