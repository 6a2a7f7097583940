"""The world of a history that is enacted again: time, names, addresses, codes and a mail service.

Nothing in it sends, opens or keeps anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app import ports
from siutindei.app.reenacting import RIGHT
from siutindei.app.times import EPOCH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class SimulatedClock:
    """See `ports.StageClock`."""

    def __init__(self) -> None:
        self._at = EPOCH

    def now(self) -> datetime:
        return self._at

    def sleep(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)

    def set(self, at: datetime) -> None:
        self._at = at


class SimulatedIds:
    """See `ports.StageIds`; names that nobody gives are counted."""

    def __init__(self) -> None:
        self._given: str | None = None
        self._count = 0

    def give(self, name: str | None) -> None:
        self._given = name

    def uuid(self) -> str:
        given, self._given = self._given, None
        self._count += 1
        return given or f"00000000-0000-4000-8000-{self._count:012x}"

    def token(self) -> str:
        return self.uuid()


@attrs.frozen
class MadeUpAddresses:
    """See `ports.AddressBook`; an address is made up from its fingerprint (`reenacting.made_up`).

    Attributes:
        known: the fingerprints of the addresses that are configuration.
    """

    known: Mapping[str, str]

    def normalise(self, text: object, *, field: str = "email") -> str:
        return str(text)

    def fingerprint(self, address: str) -> str:
        return self.known.get(address) or address.partition("@")[0]


class OneCode:
    """See `ports.Codes`; every challenge has the same."""

    current_key_id: Final = "what-if"

    def code(self, *, key_id: str, challenge: str) -> str:
        return RIGHT


class AnyOrganization:
    """What tickets ask of `ports.OrganizationDirectory`: there is what is asked for."""

    def organization(self, id: str) -> ports.Organization:
        return ports.Organization(id=id, name="-")

    def labels(self) -> Sequence[ports.FeedbackLabel]:
        return ()


class NoErasureList:
    """See `ports.ErasureList`; what is erased on a stage comes back nowhere."""

    def add(self, erasure: ports.ListedErasure, *, at: datetime) -> None:
        pass

    def all(self) -> Sequence[ports.ListedErasure]:
        return ()


_ERRORS: Final[Mapping[ports.Ending, type[BaseException]]] = {
    "transient": ports.MailNotSent,
    "permanent": ports.MailRefused,
    "account": ports.AccountHalted,
    "whole": ports.WholeAccountHalted,
    "unknown": ports.MailOutcomeUnknown,
    "none": ports.Died,
}


class SimulatedMail:
    """See `ports.StageMail`."""

    def __init__(self, clock: SimulatedClock, *, has_feedback: bool) -> None:
        self.has_feedback: bool = has_feedback
        self._clock = clock
        self._call = ports.Said()
        self._known = ports.Found(answer="cannot_tell")

    def expect(self, call: ports.Said, *, known: ports.Found) -> None:
        self._call, self._known = call, known

    @property
    def time_out(self) -> timedelta:
        return self._call.time_out

    def send(self, mail: object) -> str:
        call = self._call
        self._clock.sleep(call.takes.total_seconds())
        error = _ERRORS.get(call.ending)
        if error is not None:
            raise error(call.text)
        return call.text

    def lookup(self, notification_id: str) -> ports.Found:
        return self._known

    def forget(self, notification_id: str) -> None:
        pass
