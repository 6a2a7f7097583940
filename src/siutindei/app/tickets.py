"""Tickets: submit, show, list, approve, decline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.effects import request_grants, request_mail
from siutindei.app.folding import person_of, ticket_of, version_of
from siutindei.app.identity import Someone, someone, user_id
from siutindei.app.nudging import nudge, nudges_for
from siutindei.app.ports import (
    AddressBook,
    Clock,
    CommandRepeated,
    EventStore,
    Ids,
    Nudges,
    Organization,
    OrganizationDirectory,
    Page,
)
from siutindei.app.sign_in import check_locale
from siutindei.domain import fields, person, ticket
from siutindei.domain.errors import Invalid, NotFound
from siutindei.domain.personal import Personal, of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from siutindei.app.ports import (
        Context,
        Recorded,
        Transaction,
        Vault,
    )

LIST_DEFAULT: Final = 50
LIST_MOST: Final = 200
#: The word for a decided ticket that the wire contract has always used.
_WIRE_STATUS: Final[Mapping[ticket.Status, str]] = {
    "pending": "pending",
    "approved": "approved",
    "declined": "rejected",
}
WIRE_STATUSES: Final[Mapping[str, ticket.Status]] = {
    wire: status for status, wire in _WIRE_STATUS.items()
}


@attrs.frozen(kw_only=True)
class _OldEvent:
    """What a message of the old API brings: a type of ticket, and what its submitter is called."""

    ticket_type: ticket.Type
    who: str


#: The messages of the platform's old API, as the contract has them.
OLD_EVENTS: Final[Mapping[str, _OldEvent]] = {
    "manager_request.submitted": _OldEvent(ticket_type="access_request", who="requester"),
    "organization_suggestion.submitted": _OldEvent(
        ticket_type="organization_suggestion", who="suggester"
    ),
    "organization_feedback.submitted": _OldEvent(
        ticket_type="organization_feedback", who="submitter"
    ),
}


@attrs.frozen(kw_only=True)
class Decided:
    """A decision, and the organization that it made or assigned."""

    ticket: ticket.Ticket
    organization: Organization | None = None


@attrs.frozen(kw_only=True)
class Tickets:
    """The use cases of tickets; what they give has its personal fields opened."""

    store: EventStore
    clock: Clock
    ids: Ids
    addresses: AddressBook
    directory: OrganizationDirectory
    nudges: Nudges
    stars: int

    def submit(
        self,
        context: Context,
        *,
        ticket_type: ticket.Type,
        user: object,
        email: object,
        body: Mapping[str, object],
        vouched: bool = False,
        needs_proof: bool = False,
        locale: object = None,
    ) -> ticket.Ticket:
        """Take a ticket, and ask for the notice to support.

        Args:
            context: who asks.
            ticket_type: one of the three.
            user: the submitter's id.
            email: their address.
            body: the request body of the wire contract, unchecked.
            vouched: whether the identity provider's token says that the address is theirs.
            needs_proof: whether to refuse an address that nobody vouches for and no code proved.
            locale: the language that they read; by default the one that they signed up with.

        Raises:
            Invalid: names the field.
            AddressNotProved: a proof is needed, and there is none.
            NotFound: feedback on an organization that does not exist.
            PendingTicket: they have a pending ticket of this type.
            PersonErased: they were erased: nothing that they write could be kept.
        """
        submitter = user_id("user", user)
        address = self.addresses.normalise(email)
        language = check_locale(locale)
        submission = self._check(ticket_type, body)
        try:
            # A number that somebody else took meanwhile is a lost race: the next one is tried.
            taken, asked = transact(
                self.store,
                context,
                lambda tx: self._submit(
                    tx, submission, submitter, address, language, vouched, needs_proof
                ),
            )
        except CommandRepeated as repeated:
            first = first_answer(
                self.store,
                repeated,
                ticket.Submitted,
                same=lambda entry: self._says(self.store, entry, submission, submitter, address),
            )
            return self.show(_reference(first))
        nudge(self.nudges, nudges_for(asked))
        return taken

    def take(
        self, context: Context, *, event_type: str, body: Mapping[str, object]
    ) -> tuple[ticket.Ticket, bool]:
        """Take what the platform's old API published, and say whether it is new.

        The same number with the same content is the same submission again. The same number with
        other content is a second one: it gets a number of its own, and the event names the number
        that it came with. No token comes with it, so nobody vouches for the address; and no pending
        ticket is in its way, because its submitter was told already that it was taken.

        Args:
            context: who asks.
            event_type: one of `OLD_EVENTS`.
            body: the message, unchecked.

        Raises:
            Invalid: names the field.
            PersonErased: the submitter was erased.
        """
        old = OLD_EVENTS[event_type]
        came_with = ticket.claimed("ticket_id", body.get("ticket_id"), old.ticket_type)
        submitter = user_id(f"{old.who}_id", body.get(f"{old.who}_id"))
        email = f"{old.who}_email"
        address = self.addresses.normalise(body.get(email), field=email)
        submission = _old_submission(old.ticket_type, body)

        def work(tx: Transaction) -> tuple[ticket.Ticket, tuple[Recorded, ...]]:
            for entry in self._claims(tx, came_with, submitter, old.ticket_type):
                if self._says(tx, entry, submission, submitter, address):
                    return tx.open_all(ticket_of(tx.load(entry.stream))), ()
            return self._submit(
                tx,
                submission,
                submitter,
                address,
                None,
                vouched=False,
                needs_proof=False,
                came_with=came_with,
            )

        taken, asked = transact(self.store, context, work)
        nudge(self.nudges, nudges_for(asked))
        return taken, bool(asked)

    def _claims(
        self, tx: Transaction, came_with: str, submitter: str, ticket_type: ticket.Type
    ) -> Iterator[Recorded]:
        """Give the submissions that came with a number: who has it, and theirs who claimed it."""
        yield from tx.load(ticket.stream(came_with), until=1)
        cursor = None
        while True:
            page = tx.views.tickets(ticket_type=ticket_type, submitter=submitter, cursor=cursor)
            for item in page.items:
                if item.submitted and item.submitted.claimed_reference == came_with:
                    yield from tx.load(ticket.stream(item.submitted.reference), until=1)
            cursor = page.next_cursor
            if cursor is None:
                return

    def _says(
        self,
        vault: Vault,
        entry: Recorded,
        submission: ticket.Submission,
        submitter: str,
        address: str,
    ) -> bool:
        """Whether a ticket was submitted with this very content."""
        said = entry.event
        if not isinstance(said, ticket.Submitted) or said.submitter != submitter:
            return False
        opened = vault.open_all(said)
        if opened.submitter_email.is_erased:
            # What was said is gone; that it is the same person and type is all there is to compare.
            return said.ticket_type == submission.ticket_type
        expected = ticket.submit(
            submission,
            id=said.id,
            reference=said.reference,
            submitter=submitter,
            email=address,
            fingerprint=self.addresses.fingerprint(address),
            assurance=said.assurance,
            locale=said.locale,
            pending=None,
            taken=said.rule == ticket.TAKEN_RULE,
            claimed_reference=said.claimed_reference,
            at=said.at,
        )
        return expected == (opened,)

    def _check(self, ticket_type: ticket.Type, body: Mapping[str, object]) -> ticket.Submission:
        match ticket_type:
            case "access_request":
                return ticket.access_request(body)
            case "organization_suggestion":
                return ticket.suggestion(body)
            case "organization_feedback":
                submission = ticket.feedback(body, organization_name="")
                organization = self._organization(submission.organization_id or "")
                known = {label.id for label in self.directory.labels()}
                for label in submission.feedback_label_ids:
                    if label not in known:
                        raise Invalid("label_ids", f"there is no label {label}")
                return attrs.evolve(submission, organization_name=organization.name)
            case never:
                assert_never(never)

    def _organization(self, id: str) -> Organization:
        found = self.directory.organization(id)
        if found is None:
            raise NotFound("organization", id)
        return found

    def _submit(
        self,
        tx: Transaction,
        submission: ticket.Submission,
        submitter: str,
        address: str,
        locale: str | None,
        vouched: bool,  # noqa: FBT001
        needs_proof: bool,  # noqa: FBT001
        came_with: str | None = None,
    ) -> tuple[ticket.Ticket, tuple[Recorded, ...]]:
        at = self.clock.now()
        fingerprint = self.addresses.fingerprint(address)
        has_number = came_with is not None and not tx.has(ticket.stream(came_with))
        reference = (
            came_with
            if came_with is not None and has_number
            else _free_reference(tx, submission.ticket_type)
        )
        known = person_of(tx.load(person.stream(submitter)))
        if known.erased_at is not None:
            raise person.PersonErased(submitter)
        assurance = known.proof(fingerprint) or ("token" if vouched else "none")
        if needs_proof and assurance == "none":
            raise ticket.AddressNotProved
        id = self.ids.uuid()
        decided = ticket.submit(
            submission,
            id=id,
            reference=reference,
            submitter=submitter,
            email=address,
            fingerprint=fingerprint,
            assurance=assurance,
            locale=locale or known.locale,
            pending=tx.views.pending(submitter=submitter, ticket_type=submission.ticket_type),
            taken=came_with is not None,
            claimed_reference=None if has_number else came_with,
            at=at,
        )
        (submitted,) = tx.append(ticket.stream(reference), 0, decided)
        if vouched:
            self._prove(tx, known, submitter, address, fingerprint, cause=submitted)
        asked = request_mail(tx, submitted, at=at, about=id, ticket=reference)
        return ticket_of([submitted]), asked

    def _prove(
        self,
        tx: Transaction,
        known: person.Person,
        user: str,
        address: str,
        fingerprint: str,
        *,
        cause: Recorded,
    ) -> None:
        stream = person.stream(user)
        tx.append(
            stream,
            version_of(tx.load(stream)),
            person.prove_address(
                known,
                user=user,
                email=of(user, address),
                fingerprint=fingerprint,
                how="token",
                challenge=None,
                at=self.clock.now(),
            ),
            cause=cause,
        )

    def show(self, reference_or_id: str) -> ticket.Ticket:
        """Give a ticket by its number or its UUID.

        Raises:
            NotFound: there is none.
        """
        found = self.store.views.find_ticket(reference_or_id)
        if found is None:
            raise NotFound("ticket", reference_or_id)
        return self.store.open_all(found)

    def list(
        self,
        *,
        status: ticket.Status | None = None,
        ticket_type: ticket.Type | None = None,
        submitter: str | None = None,
        limit: int = LIST_DEFAULT,
        cursor: str | None = None,
    ) -> Page[ticket.Ticket]:
        """List tickets, newest first; following `next_cursor` to None visits every one once.

        Raises:
            Invalid: `limit` or `cursor`.
        """
        fields.whole("limit", limit, least=1, most=LIST_MOST)
        page = self.store.views.tickets(
            status=status, ticket_type=ticket_type, submitter=submitter, limit=limit, cursor=cursor
        )
        return attrs.evolve(page, items=tuple(self.store.open_all(item) for item in page.items))

    def pending_count(self, ticket_type: ticket.Type | None = None) -> int:
        """Count the tickets that wait for a decision."""
        return self.store.views.pending_count(ticket_type)

    def approve(
        self,
        context: Context,
        reference_or_id: str,
        *,
        by: object,
        note: str | None = None,
        organization_id: object = None,
        create_organization: object = None,
    ) -> Decided:
        """Approve a ticket: the decision, its mail and its grants in one step.

        Raises:
            Invalid: names the field.
            NotFound: no such ticket.
            AlreadyDecided: it was decided before.
        """
        reviewer = someone(self.addresses, "by", by)
        create = fields.flag("create_organization", create_organization)
        id = None if organization_id is None else fields.uuid("organization_id", organization_id)
        assigned = None if id is None else self.directory.organization(id)
        made = self.ids.uuid() if create else None

        def decide(state: ticket.Ticket) -> tuple[ticket.Event, ...]:
            if id is not None and assigned is None:
                raise Invalid("organization_id", f"there is no organization {id}")
            decided = ticket.approve(
                state,
                by=reviewer.shown,
                reviewer=reviewer.id,
                note=note,
                organization_id=id,
                new_organization_id=made,
                stars=self.stars,
                at=self.clock.now(),
            )
            submitted = state.submitted
            if made and submitted and submitted.ticket_type == "organization_suggestion":
                _require_user(reviewer)
            return decided

        return self._decide(context, reference_or_id, ticket.Approved, decide, assigned)

    def decline(
        self, context: Context, reference_or_id: str, *, by: object, note: str | None = None
    ) -> Decided:
        """Decline a ticket: the decision and its mail in one step.

        Raises:
            Invalid: names the field.
            NotFound: no such ticket.
            AlreadyDecided: it was decided before.
        """
        reviewer = someone(self.addresses, "by", by)

        def decide(state: ticket.Ticket) -> tuple[ticket.Event, ...]:
            return ticket.decline(
                state,
                by=reviewer.shown,
                reviewer=reviewer.id,
                note=note,
                at=self.clock.now(),
            )

        return self._decide(context, reference_or_id, ticket.Declined, decide, None)

    def _decide(
        self,
        context: Context,
        reference_or_id: str,
        kind: type[ticket.Approved | ticket.Declined],
        decide: Callable[[ticket.Ticket], tuple[ticket.Event, ...]],
        assigned: Organization | None,
    ) -> Decided:
        def work(tx: Transaction) -> tuple[ticket.Ticket, tuple[Recorded, ...]]:
            found = tx.views.find_ticket(reference_or_id)
            if found is None or found.submitted is None:
                raise NotFound("ticket", reference_or_id)
            stream = ticket.stream(found.submitted.reference)
            events = tx.load(stream)
            (decided,) = tx.append(stream, version_of(events), decide(ticket_of(events)))
            submitted = tx.open_all(found.submitted)
            grants = request_grants(tx, submitted, decided)
            mail = request_mail(
                tx,
                decided,
                at=self.clock.now(),
                about=submitted.id,
                ticket=submitted.reference,
                user=submitted.submitter,
                recipient=submitted.submitter_email,
                fingerprint=submitted.fingerprint,
                locale=submitted.locale,
            )
            return tx.open_all(ticket_of([*events, decided])), (*mail, *grants)

        try:
            after, asked = transact(self.store, context, work)
        except CommandRepeated as repeated:
            about = self.show(reference_or_id).submitted
            first = first_answer(
                self.store,
                repeated,
                kind,
                same=lambda entry: (
                    about is not None and entry.stream == ticket.stream(about.reference)
                ),
            )
            after = self.show(_reference(first))
        else:
            nudge(self.nudges, nudges_for(asked))
        return Decided(ticket=after, organization=_organization_of(after, assigned))


def _old_submission(ticket_type: ticket.Type, body: Mapping[str, object]) -> ticket.Submission:
    """Check what the old API published; it looked the organization and the labels up itself."""
    match ticket_type:
        case "access_request":
            return ticket.access_request(body)
        case "organization_suggestion":
            return ticket.suggestion(body)
        case "organization_feedback":
            renamed = {
                "stars": body.get("feedback_stars"),
                "label_ids": body.get("feedback_label_ids"),
                "description": body.get("feedback_text"),
            }
            name = fields.required_line(
                "organization_name", body.get("organization_name"), most=200
            )
            return ticket.feedback({**body, **renamed}, organization_name=name)
        case never:
            assert_never(never)


def _require_user(reviewer: Someone) -> None:
    if not reviewer.is_user:
        why = "must be a user's id: they become the manager of the organization that is made"
        raise Invalid("by", why)


def _organization_of(state: ticket.Ticket, assigned: Organization | None) -> Organization | None:
    decision, submitted = state.decision, state.submitted
    if decision is None or submitted is None or decision.organization_id is None:
        return None
    if assigned is not None and assigned.id == decision.organization_id:
        return assigned
    return Organization(id=decision.organization_id, name=submitted.organization_name.text)


def _reference(recorded: Recorded) -> str:
    return recorded.stream.removeprefix(f"{ticket.CATEGORY}-")


def wire(state: ticket.Ticket) -> dict[str, object]:
    """Write a ticket as the wire contract has it: 23 keys, always all of them.

    Personal fields must be opened; what was erased is `[erased]`, and null or empty where a number
    or a list is expected.
    """
    submitted, decision = state.submitted, state.decision
    if submitted is None:
        msg = "a ticket that does not exist has no wire form"
        raise ValueError(msg)
    decided_id = decision.organization_id if decision else None
    return {
        "id": submitted.id,
        "ticket_id": submitted.reference,
        "ticket_type": submitted.ticket_type,
        "organization_name": submitted.organization_name.text,
        "message": _text(submitted.message),
        "status": _WIRE_STATUS[state.status],
        "submitter_email": submitted.submitter_email.text,
        "submitter_id": submitted.submitter,
        "created_at": submitted.at.isoformat(),
        "reviewed_at": decision.at.isoformat() if decision else None,
        "reviewed_by": decision.by.text if decision else None,
        "admin_notes": _text(decision.note) if decision else None,
        "description": _text(submitted.description),
        "suggested_district": _text(submitted.suggested_district),
        "suggested_address": _text(submitted.suggested_address),
        "suggested_lat": _number(submitted.suggested_lat),
        "suggested_lng": _number(submitted.suggested_lng),
        "media_urls": _lines(submitted.media_urls),
        "organization_id": submitted.organization_id or decided_id,
        "feedback_stars": submitted.feedback_stars,
        "feedback_label_ids": list(submitted.feedback_label_ids),
        "feedback_text": _text(submitted.feedback_text),
        "created_organization_id": (
            decided_id if decision and decision.create_organization else None
        ),
    }


def _text(value: Personal | None) -> str | None:
    return None if value is None else value.text


def _free_reference(tx: Transaction, ticket_type: ticket.Type) -> str:
    """Give the next number of a type.

    A ticket whose events this program cannot read is in no read model, and has its number.
    """
    number = tx.views.next_number(ticket_type)
    while tx.has(ticket.stream(ticket.reference(ticket_type, number))):
        number += 1
    return ticket.reference(ticket_type, number)


def _number(value: Personal | None) -> float | None:
    return None if value is None or value.is_erased else float(value.text)


def _lines(value: Personal | None) -> list[str]:
    return [] if value is None or value.is_erased else value.text.split("\n")
