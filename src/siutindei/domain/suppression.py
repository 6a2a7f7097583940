"""An address that is not mailed to, and why.

Stream `suppression-<fingerprint>`: it is found without the address, outlives an erasure, and is the
same whoever has the address.

    SoftBounced (it counts) -> Suppressed -> Lifted
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal, assert_never

import attrs

from siutindei.domain.errors import Refused
from siutindei.domain.personal import Personal

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "suppression"
#: A mail bounced for good; the receiver complained; it bounced too often; a person decided it;
#: the account at SES had it on its list.
Reason = Literal["bounce", "complaint", "soft_bounces", "person", "ses"]
Verdict = Literal["hard", "soft", "none"]
#: Soft bounces that are farther apart than this do not count together.
WINDOW: Final = timedelta(days=7)
#: For how long an address is suppressed that bounced softly too often.
TERM: Final = timedelta(days=30)
BOUNCE_RULE: Final = "suppression.permanent_bounce.v1"
SOFT_RULE: Final = "suppression.soft_bounces_within_7_days.v1"
COMPLAINT_RULE: Final = "suppression.complaint.v1"
PERSON_RULE: Final = "suppression.decided_by_a_person.v1"
SES_RULE: Final = "suppression.listed_by_ses.v1"
#: What a complaint is called that says the opposite of one.
NOT_SPAM: Final = "not-spam"
#: Our own limit ended the delivery of a code: it says nothing about the address.
_OUR_LIMIT: Final = "CustomTimeoutExceeded"


@attrs.frozen(kw_only=True)
class Terms:
    """How long soft bounces count together, and for how long they suppress."""

    window: timedelta = WINDOW
    term: timedelta = TERM


TERMS: Final = Terms()


def stream(fingerprint: str) -> str:
    """Name the stream of one address."""
    return f"{CATEGORY}-{fingerprint}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class SoftBounced:
    """A mail bounced for now; too many of these suppress the address for a while."""

    feedback_id: str
    #: The event that says so.
    evidence: str
    at: datetime


@attrs.frozen(kw_only=True)
class Suppressed:
    """Nothing is mailed to the address any more, until a person lifts it or its time is over."""

    fingerprint: str
    address: Personal | None = None
    reason: Reason
    #: The event that it follows from, where there is one.
    evidence: str | None = None
    feedback_id: str = ""
    #: Who decided it, and why, where a person did.
    by: str | None = None
    note: Personal | None = None
    expires_at: datetime | None = None
    rule: str
    at: datetime


@attrs.frozen(kw_only=True)
class Lifted:
    """A person decided that the address is mailed to again; the reason is their text."""

    by: str
    reason: Personal
    at: datetime


@attrs.frozen(kw_only=True)
class Revealed:
    """Somebody looked at the address in clear; no longer written: `access.opened` says it now."""

    by: str
    at: datetime


Event = SoftBounced | Suppressed | Lifted | Revealed

EVENTS: Final[dict[str, type]] = {
    "suppression.soft_bounced.v1": SoftBounced,
    "suppression.suppressed.v1": Suppressed,
    "suppression.lifted.v1": Lifted,
    "suppression.revealed.v1": Revealed,
}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Suppression:
    """What is known of an address that mails had trouble with.

    Attributes:
        suppressed: why it is not mailed to; None when it is, as far as nobody's time is over.
        address: the address, as far as it was ever known.
        since: since when.
        lifted: the newest lifting.
        soft: soft bounces that may still count, by the id of their feedback.
        heard: the feedback that was looked at.
        revealed: who looked at the address in clear last.
    """

    suppressed: Suppressed | None = None
    address: Personal | None = None
    since: datetime | None = None
    lifted: Lifted | None = None
    soft: tuple[SoftBounced, ...] = ()
    heard: tuple[str, ...] = ()
    revealed: Revealed | None = None

    def is_active(self, at: datetime) -> bool:
        """Whether nothing is mailed to it now."""
        found = self.suppressed
        return found is not None and (found.expires_at is None or at < found.expires_at)


INITIAL: Final = Suppression()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Suppression, event: Event) -> Suppression:
    """Fold one fact."""
    match event:
        case SoftBounced():
            # What came earlier would have suppressed for a time that is over.
            newest = max(one.at for one in (*state.soft, event))
            soft = [one for one in (*state.soft, event) if one.at > newest - TERM - WINDOW]
            return attrs.evolve(state, soft=tuple(soft), heard=_heard(state, event.feedback_id))
        case Suppressed():
            since = event.at if state.suppressed is None else state.since
            return attrs.evolve(
                state,
                suppressed=event,
                address=event.address or state.address,
                since=since,
                heard=_heard(state, event.feedback_id),
            )
        case Lifted():
            # What was counted before is forgiven with it.
            return attrs.evolve(state, suppressed=None, since=None, lifted=event, soft=())
        case Revealed():
            return attrs.evolve(state, revealed=event)
        case _:
            assert_never(event)


def _heard(state: Suppression, feedback_id: str) -> tuple[str, ...]:
    return tuple(sorted({*state.heard, feedback_id} - {""}))


# --- decisions -----------------------------------------------------------------------------------


def verdict(bounce_type: str, bounce_subtype: str, status: str | None) -> Verdict:
    """Say what a bounce means for its address.

    The types are SES's, and an open set; where they say little, the status of the delivery report
    (RFC 3463) has a say: 5 is for good, 4 is for now. An out-of-office answer comes as
    `Transient/General` without one.
    """
    digit = (status or "")[:1]
    if bounce_type == "Permanent":
        return "hard"
    if bounce_type == "Transient":
        says_nothing = bounce_subtype == "General" and digit not in {"4", "5"}
        return "none" if says_nothing or bounce_subtype == _OUR_LIMIT else "soft"
    return "hard" if digit == "5" else "soft"


def bounce(
    suppression: Suppression,
    *,
    fingerprint: str,
    address: Personal | None,
    evidence: str,
    feedback_id: str,
    verdict: Verdict,
    limit: int,
    at: datetime,
    terms: Terms = TERMS,
) -> tuple[Event, ...]:
    """Count a bounce, and suppress the address when that is enough; quiet when it is known.

    Args:
        suppression: what is known.
        fingerprint: of the address.
        address: the address, where it is known.
        evidence: the event that says so.
        feedback_id: what the mail service calls the report.
        verdict: what the bounce means.
        limit: as many soft bounces within the window suppress.
        at: when it bounced. Bounces may be heard of in any order.
        terms: how long soft bounces count, and suppress.
    """
    if verdict == "none" or _is_old(suppression, feedback_id, at):
        return ()
    if verdict == "hard":
        return _unless_for_good(
            suppression,
            Suppressed(
                fingerprint=fingerprint,
                address=address,
                reason="bounce",
                evidence=evidence,
                feedback_id=feedback_id,
                rule=BOUNCE_RULE,
                at=at,
            ),
        )
    counted = SoftBounced(feedback_id=feedback_id, evidence=evidence, at=at)
    last = _too_many((*suppression.soft, counted), limit, terms.window)
    before = suppression.suppressed
    if last is None or (before is not None and _outlasts(before.expires_at, last + terms.term)):
        return (counted,)
    return (
        counted,
        Suppressed(
            fingerprint=fingerprint,
            address=address,
            reason="soft_bounces",
            evidence=evidence,
            expires_at=last + terms.term,
            rule=SOFT_RULE,
            at=at,
        ),
    )


def _is_old(suppression: Suppression, feedback_id: str, at: datetime) -> bool:
    """Whether a report is known, or of a time that a person has decided about since."""
    lifted = suppression.lifted
    return feedback_id in suppression.heard or (lifted is not None and at <= lifted.at)


def _too_many(bounces: tuple[SoftBounced, ...], limit: int, window: timedelta) -> datetime | None:
    """Give the newest moment at which too many bounces lie within the window before it."""
    times = sorted(one.at for one in bounces)
    return max(
        (
            last
            for last in times
            if sum(last - window < earlier <= last for earlier in times) >= limit
        ),
        default=None,
    )


def _outlasts(one: datetime | None, other: datetime) -> bool:
    return one is None or one >= other


def complain(
    suppression: Suppression,
    *,
    fingerprint: str,
    address: Personal | None,
    evidence: str,
    feedback_id: str,
    complaint_type: str | None,
    at: datetime,
) -> tuple[Event, ...]:
    """Suppress an address whose owner complained; quiet when it is known.

    `not-spam` is no complaint: a receiver took a mail out of where it was put as one.
    """
    if complaint_type == NOT_SPAM or _is_old(suppression, feedback_id, at):
        return ()
    return _unless_for_good(
        suppression,
        Suppressed(
            fingerprint=fingerprint,
            address=address,
            reason="complaint",
            evidence=evidence,
            feedback_id=feedback_id,
            rule=COMPLAINT_RULE,
            at=at,
        ),
    )


def add(
    suppression: Suppression,
    *,
    fingerprint: str,
    address: Personal,
    by: str,
    note: Personal,
    at: datetime,
) -> tuple[Event, ...]:
    """Suppress an address because a person says so; quiet when it is suppressed for good."""
    return _unless_for_good(
        suppression,
        Suppressed(
            fingerprint=fingerprint,
            address=address,
            reason="person",
            by=by,
            note=note,
            rule=PERSON_RULE,
            at=at,
        ),
    )


def adopt(
    suppression: Suppression, *, fingerprint: str, address: Personal, at: datetime
) -> tuple[Event, ...]:
    """Suppress an address that SES does not mail to; quiet when it is suppressed for good."""
    return _unless_for_good(
        suppression,
        Suppressed(fingerprint=fingerprint, address=address, reason="ses", rule=SES_RULE, at=at),
    )


def _unless_for_good(suppression: Suppression, event: Suppressed) -> tuple[Event, ...]:
    before = suppression.suppressed
    if before is None or before.expires_at is not None:
        return (event,)
    return ()


def lift(suppression: Suppression, *, by: str, reason: Personal, at: datetime) -> tuple[Event, ...]:
    """Let the address be mailed to again.

    Raises:
        NotSuppressed: it is not suppressed.
    """
    if not suppression.is_active(at):
        raise NotSuppressed
    return (Lifted(by=by, reason=reason, at=at),)


# --- errors --------------------------------------------------------------------------------------


class NotSuppressed(Refused):
    """Only what is suppressed can be lifted."""

    def __init__(self) -> None:
        super().__init__("the address is not suppressed; siutindei suppression list shows who is")
