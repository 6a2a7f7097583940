"""Suppressions: which addresses are not mailed to, why, and who decided otherwise.

What is reported of a mail leads to one in the transaction that records the report. The list that
SES keeps for the account is compared with ours, and each can be brought up to the other.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, assert_never

import attrs

from siutindei.app.accesses import Accesses
from siutindei.app.commands import first_answer, transact
from siutindei.app.folding import person_of, suppression_of, version_of
from siutindei.app.identity import someone
from siutindei.app.ports import (
    AddressBook,
    Clock,
    CommandRepeated,
    EventStore,
    Ids,
    SesSuppressions,
)
from siutindei.domain import access, fields, notification, person, suppression
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.mail import Senders
from siutindei.domain.personal import ERASED, Personal, address_owner, of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from siutindei.app.ports import Context, Recorded, SesSuppression, Transaction

_SES_REASONS: Final[Mapping[suppression.Reason, Literal["BOUNCE", "COMPLAINT"]]] = {
    "bounce": "BOUNCE",
    "complaint": "COMPLAINT",
    "ses": "BOUNCE",
}
#: What has consequences for an address.
_REASONS: Final = (notification.Bounced, notification.Complained)
Where = Literal["only_here", "only_at_ses", "lifted_here"]


@attrs.frozen(kw_only=True)
class Consequences:
    """What follows for an address from what is reported of a mail.

    Attributes:
        addresses: finds them by fingerprint.
        senders: knows the support mailbox, which is configuration.
        limit: as many soft bounces within seven days suppress.
        terms: which other times there may be.
    """

    addresses: AddressBook
    senders: Senders
    limit: int
    terms: suppression.Terms = suppression.TERMS

    def follow(
        self, tx: Transaction, state: notification.Notification, reported: Sequence[Recorded]
    ) -> tuple[Recorded, ...]:
        """Do what follows from reports of a mail that were recorded; give what was appended."""
        return tuple(entry for report in reported for entry in self._follow(tx, state, report))

    def _follow(
        self, tx: Transaction, state: notification.Notification, report: Recorded
    ) -> tuple[Recorded, ...]:
        event, requested = report.event, state.requested
        if requested is None or not isinstance(event, _REASONS):
            return ()
        fingerprint, address = self._recipient(tx, requested)
        stream = suppression.stream(fingerprint)
        events = tx.load(stream)
        known = suppression_of(events)
        decided = (
            suppression.bounce(
                known,
                fingerprint=fingerprint,
                address=address,
                evidence=report.id,
                feedback_id=event.feedback_id,
                verdict=suppression.verdict(event.bounce_type, event.bounce_subtype, event.status),
                limit=self.limit,
                at=event.at,
                terms=self.terms,
            )
            if isinstance(event, notification.Bounced)
            else suppression.complain(
                known,
                fingerprint=fingerprint,
                address=address,
                evidence=report.id,
                feedback_id=event.feedback_id,
                complaint_type=event.complaint_type,
                at=event.at,
            )
        )
        return tx.append(stream, version_of(events), decided, cause=report)

    def _recipient(
        self, tx: Transaction, requested: notification.Requested
    ) -> tuple[str, Personal | None]:
        if requested.recipient is None or requested.fingerprint is None:
            support = self.senders.support
            fingerprint = self.addresses.fingerprint(support)
            return fingerprint, of(address_owner(fingerprint), support)
        opened = tx.open(requested.recipient)
        if opened.is_erased:
            return requested.fingerprint, None
        # It belongs to the address, whoever has it; but one that nobody has proved is the claim of
        # the person who gave it, and goes with them.
        user = requested.user or ""
        proved = person_of(tx.load(person.stream(user))).proof(requested.fingerprint)
        owner = user if proved is None else address_owner(requested.fingerprint)
        return requested.fingerprint, of(owner, opened.text)


@attrs.frozen(kw_only=True)
class Listed:
    """An address that mails had trouble with.

    Attributes:
        fingerprint: by which it is found.
        address: in clear where somebody asked for that, else masked; `[erased]` when it is gone.
        state: what is known of it.
        active: whether nothing is mailed to it now.
        note: why a person decided it, in their words.
        lifted_because: why a person lifted it last, in theirs.
    """

    fingerprint: str
    address: str
    state: suppression.Suppression
    active: bool
    note: str | None
    lifted_because: str | None


@attrs.frozen(kw_only=True)
class Drift:
    """An address that our list and SES's do not agree on.

    Attributes:
        where: on which of the two it is; `lifted_here` is on SES's, and a person lifted ours later.
        fingerprint: by which it is found here.
        address: the address, masked.
        reason: why it is on the list that it is on.
        since: since when it is there.
    """

    where: Where
    fingerprint: str
    address: str
    reason: str
    since: datetime


@attrs.frozen(kw_only=True)
class Suppressions:
    """The use cases of suppressions; `ses` gives the account's list, or says that there is none."""

    store: EventStore
    clock: Clock
    ids: Ids
    addresses: AddressBook
    accesses: Accesses
    ses: Callable[[], SesSuppressions]

    def list(self, *, every: bool = False) -> Sequence[Listed]:
        """List who is suppressed now; with `every`, also who was, and who bounced softly."""
        at = self.clock.now()
        found = [
            self._listed(fingerprint, state, at)
            for fingerprint, state in self.store.views.suppressions()
        ]
        return [one for one in found if every or one.active]

    def reveal(self, context: Context, *, by: object, every: bool = False) -> Sequence[Listed]:
        """List them with their addresses in clear, once it is recorded who looks.

        Raises:
            Invalid: `by`.
        """
        found = [(one, self._clear(one.state)) for one in self.list(every=every)]
        shown = sum(address is not None for _, address in found)
        self.accesses.record(context, "addresses", access.SUPPRESSIONS, by=by, shown=shown)
        return [attrs.evolve(one, address=address or one.address) for one, address in found]

    def add(self, context: Context, address: object, *, by: object, reason: object) -> Listed:
        """Suppress an address because a person says so.

        Raises:
            Invalid: `address`, `by` or `reason`.
        """
        text = self.addresses.normalise(address, field="address")
        fingerprint = self.addresses.fingerprint(text)
        owner = address_owner(fingerprint)
        operator = someone(self.addresses, "by", by)
        note = fields.required_line("reason", reason, most=500)
        return self._change(
            context,
            fingerprint,
            lambda state, at: suppression.add(
                state,
                fingerprint=fingerprint,
                address=of(owner, text),
                by=operator.id,
                note=of(operator.id, note),
                at=at,
            ),
        )

    def lift(self, context: Context, name: object, *, by: object, reason: object) -> Listed:
        """Let an address be mailed to again; it is named by itself or by its fingerprint.

        Raises:
            Invalid: `address`, `by` or `reason`.
            NotFound: nothing is known of it.
            NotSuppressed: it is not suppressed.
        """
        fingerprint = self._fingerprint(name)
        operator = someone(self.addresses, "by", by)
        text = fields.required_line("reason", reason, most=500)
        if self.store.views.find_suppression(fingerprint) is None:
            raise NotFound("suppression", fingerprint)
        return self._change(
            context,
            fingerprint,
            lambda state, at: suppression.lift(
                state, by=operator.id, reason=of(operator.id, text), at=at
            ),
        )

    def _fingerprint(self, name: object) -> str:
        text = fields.required_line("address", name, most=254)
        if "@" in text:
            return self.addresses.fingerprint(self.addresses.normalise(text, field="address"))
        if len(text) == _FINGERPRINT and set(text) <= set("0123456789abcdef"):
            return text
        raise Invalid("address", "is no address, and no fingerprint of one")

    def _change(
        self,
        context: Context,
        fingerprint: str,
        decide: Callable[[suppression.Suppression, datetime], tuple[suppression.Event, ...]],
    ) -> Listed:
        stream = suppression.stream(fingerprint)

        def work(tx: Transaction) -> Listed:
            at = self.clock.now()
            events = tx.load(stream)
            appended = tx.append(stream, version_of(events), decide(suppression_of(events), at))
            return self._listed(fingerprint, suppression_of([*events, *appended]), at, tx.open)

        try:
            return transact(self.store, context, work)
        except CommandRepeated as repeated:
            first_answer(
                self.store,
                repeated,
                suppression.Suppressed,
                suppression.Lifted,
                same=lambda entry: entry.stream == stream,
            )
            state = suppression_of(self.store.load(stream))
            return self._listed(fingerprint, state, self.clock.now())

    # --- SES's list -------------------------------------------------------------------------------

    def drift(self) -> Sequence[Drift]:
        """Compare our list with SES's.

        Soft bounces and what a person decided are ours alone: SES has no such reasons.

        Raises:
            Unavailable: SES cannot be reached.
            Unusable: mails do not go to SES, or its credentials do not allow it.
        """
        return [drift for drift, _ in self._compare()]

    def sync(self, context: Context, *, report: Callable[[Drift], None]) -> int:
        """Bring both lists together, one address at a time; give how many differed.

        What only SES has is suppressed here too; what only we have for a bounce or a complaint is
        put on its list; what a person lifted here since leaves it.

        Raises:
            Unavailable: SES cannot be reached; what was done is done.
            Unusable: mails do not go to SES, or its credentials do not allow it.
        """
        ses, count = self.ses(), 0
        for drift, address in self._compare():
            step = attrs.evolve(context, command_id=self.ids.uuid())
            match drift.where:
                case "only_at_ses":
                    self.adopt(step, drift.fingerprint, address)
                case "only_here":
                    ses.put(address, "COMPLAINT" if drift.reason == "complaint" else "BOUNCE")
                case "lifted_here":
                    ses.delete(address)
                case never:
                    assert_never(never)
            report(drift)
            count += 1
        return count

    def adopt(self, context: Context, fingerprint: str, address: str) -> None:
        """Suppress an address that SES does not mail to."""
        owner = address_owner(fingerprint)
        self._change(
            context,
            fingerprint,
            lambda state, at: suppression.adopt(
                state, fingerprint=fingerprint, address=of(owner, address), at=at
            ),
        )

    def _compare(self) -> Iterator[tuple[Drift, str]]:
        at = self.clock.now()
        theirs = {self.addresses.fingerprint(entry.address): entry for entry in self.ses().list()}
        ours = dict(self.store.views.suppressions())
        for fingerprint, entry in theirs.items():
            where = _standing(ours.get(fingerprint, suppression.INITIAL), entry, at)
            if where is not None:
                yield (
                    Drift(
                        where=where,
                        fingerprint=fingerprint,
                        address=mask(entry.address),
                        reason=entry.reason.lower(),
                        since=entry.since,
                    ),
                    entry.address,
                )
        for fingerprint, state in ours.items():
            found = state.suppressed
            address = self._clear(state)
            if (
                fingerprint in theirs
                or found is None
                or not state.is_active(at)
                or found.reason not in _SES_REASONS
                or address is None
            ):
                continue
            drift = Drift(
                where="only_here",
                fingerprint=fingerprint,
                address=mask(address),
                reason=found.reason,
                since=state.since or found.at,
            )
            yield drift, address

    # --- showing ----------------------------------------------------------------------------------

    def _clear(self, state: suppression.Suppression) -> str | None:
        if state.address is None:
            return None
        opened = self.store.open(state.address)
        return None if opened.is_erased else opened.text

    def _listed(
        self,
        fingerprint: str,
        state: suppression.Suppression,
        at: datetime,
        opens: Callable[[Personal], Personal] | None = None,
    ) -> Listed:
        opens = opens or self.store.open
        found = state.suppressed
        address = opens(state.address) if state.address is not None else ERASED
        lifted = state.lifted
        return Listed(
            fingerprint=fingerprint,
            address=ERASED.text if address.is_erased else mask(address.text),
            state=state,
            active=state.is_active(at),
            note=opens(found.note).text if found is not None and found.note else None,
            lifted_because=None if lifted is None else opens(lifted.reason).text,
        )


#: As many characters as a fingerprint has.
_FINGERPRINT: Final = 32


def _standing(state: suppression.Suppression, entry: SesSuppression, at: datetime) -> Where | None:
    """Say how an address that SES has on its list stands here; None when both agree."""
    found = state.suppressed
    if found is not None and state.is_active(at):
        return None
    if state.lifted is not None and entry.since <= state.lifted.at:
        return "lifted_here"
    return "only_at_ses"


def mask(address: str) -> str:
    """Show of an address what tells it from others, and no more: `a***@example.com`."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}***@{domain}"
