"""Signing in with a mailed code.

Written for the way Cognito calls: the same step up to three times, and the first step again after a
wrong answer. The stream of one address at one client serialises what comes at the same time.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.commands import first_answer, transact
from siutindei.app.delivery import Delivery, Outcome
from siutindei.app.effects import request_mail
from siutindei.app.folding import challenges_of, person_of, version_of
from siutindei.app.identity import user_id
from siutindei.app.pace import Pace
from siutindei.app.ports import (
    AddressBook,
    Clock,
    Codes,
    CommandRepeated,
    EventStore,
    Ids,
)
from siutindei.domain import challenge, fields, person
from siutindei.domain.challenge import UnknownChallenge
from siutindei.domain.errors import Invalid
from siutindei.domain.notification import notification_id
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from siutindei.app.ports import (
        Context,
        Recorded,
        Transaction,
    )

#: How long a sign-in may wait for its mail: Cognito gives the whole step five seconds.
MAIL_WITHIN: Final = timedelta(seconds=3.5)
MAIL_TRIES: Final = 2
LOCALES: Final = ("en", "zh-HK")


@attrs.frozen(kw_only=True)
class Started:
    """A challenge that waits for its answer.

    Attributes:
        challenge: its opaque id, which reveals nothing.
        expires_at: when it takes no more answers.
        notification: the mail that carries the code; None for an address that nobody signed up
            with, to whom the rest looks the same.
        mail: what became of that mail while the one who signs in waited; None when nothing did.
    """

    challenge: str
    expires_at: datetime
    notification: str | None
    mail: Outcome | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class Answer:
    """What became of an answer."""

    correct: bool
    attempts_left: int


@attrs.frozen(kw_only=True)
class SignIn:
    """The use cases of signing in."""

    store: EventStore
    clock: Clock
    ids: Ids
    addresses: AddressBook
    codes: Codes
    delivery: Delivery
    limits: challenge.Limits
    pace: Pace = attrs.field(factory=Pace)

    def sign_up(self, context: Context, *, email: object, locale: object = None) -> str:
        """Open an account for an address, unless it has one; give the user's id.

        Raises:
            Invalid: `email` or `locale`.
        """
        address = self.addresses.normalise(email)
        language = check_locale(locale)
        fingerprint = self.addresses.fingerprint(address)

        def work(tx: Transaction) -> str:
            found = tx.views.person_by_address(fingerprint)
            if found is not None:
                return found.user
            user = self.ids.uuid()
            self._sign_up(tx, (), user, address, fingerprint, language)
            return user

        try:
            return transact(self.store, context, work)
        except CommandRepeated as repeated:
            first = first_answer(
                self.store,
                repeated,
                person.SignedUp,
                same=lambda entry: getattr(entry.event, "fingerprint", None) == fingerprint,
            )
            return first.stream.removeprefix(f"{person.CATEGORY}-")

    def _sign_up(
        self,
        tx: Transaction,
        events: Sequence[Recorded],
        user: str,
        address: str,
        fingerprint: str,
        locale: str | None,
    ) -> None:
        tx.append(
            person.stream(user),
            version_of(events),
            person.sign_up(
                person_of(events),
                user=user,
                email=of(user, address),
                fingerprint=fingerprint,
                locale=locale,
                at=self.clock.now(),
            ),
        )

    def start(
        self,
        context: Context,
        *,
        client: str,
        email: object,
        user: str | None,
        locale: object = None,
        verified: bool = True,
        issued: Callable[[Started], None] = lambda _: None,
    ) -> Started:
        """Start a sign-in: a challenge, and the mail that carries its code.

        An open challenge younger than the cool-down is given again, and its code is mailed again
        only when it surely was not mailed before. The challenge is given whether the mail could be
        sent or not.

        Args:
            context: who asks.
            client: the app client.
            email: the address, as the identity provider knows it.
            user: the identity provider's id; None when nobody has that address: the same steps are
                taken, the same limits charged and the same time taken, and no mail is sent.
            locale: the language of the mail; by default the user's.
            verified: whether the identity provider takes the address for theirs. If not, and if
                they never answered a code that went there, they are treated as nobody; so are those
                who were erased.
            issued: is told of the challenge before its mail is waited for; what it raises keeps
                the mail from being sent now.

        Raises:
            Invalid: `email`, `locale`, `client` or `user`.
            TooManySignIns: a limit is reached.
        """
        address = self.addresses.normalise(email)
        language = check_locale(locale)
        app_client = _check_client(client)
        known = None if user is None else user_id("user", user)
        fingerprint = self.addresses.fingerprint(address)
        try:
            result, is_new = transact(
                self.store,
                context,
                lambda tx: self._issue(
                    tx, app_client, address, fingerprint, known, language, verified=verified
                ),
            )
        except CommandRepeated as repeated:
            first = first_answer(
                self.store,
                repeated,
                challenge.Issued,
                challenge.LimitReached,
                same=lambda entry: entry.stream == challenge.stream(app_client, fingerprint),
            )
            result, is_new = _refusal(first) or _started([first]), False
        if isinstance(result, challenge.TooManySignIns):
            raise result
        issued(result)
        began = self.clock.now()
        if result.notification is not None:
            outcome = self.delivery.deliver_now(
                context, result.notification, tries=MAIL_TRIES, within=MAIL_WITHIN
            )
            result = attrs.evolve(result, mail=outcome)
            if outcome is None or outcome.attempt:
                if is_new:
                    self.pace.note((self.clock.now() - began).total_seconds())
                return result
        if is_new:
            # Who gets no mail, whatever the reason, waits as long as others wait for theirs.
            self.clock.sleep(self.pace.next())
        return result

    def _issue(
        self,
        tx: Transaction,
        client: str,
        address: str,
        fingerprint: str,
        user: str | None,
        locale: str | None,
        *,
        verified: bool,
    ) -> tuple[Started | challenge.TooManySignIns, bool]:
        """Give the challenge, or what forbids it, and whether the challenge is a new one."""
        # The time is read after the lock is held: what waited for it comes later.
        at = self.clock.now()
        stream = challenge.stream(client, fingerprint)
        events = tx.load(stream, newest=challenge.NEWEST)
        state = challenges_of(events)
        person_events = () if user is None else tx.load(person.stream(user))
        known = person_of(person_events)
        proved = known.proof(fingerprint) is not None
        if known.erased_at is not None or not (verified or proved):
            user = None
        if challenge.reusable(state, user=user, limits=self.limits, at=at) is not None:
            return _started(events), False
        counts = tx.views.code_counts(
            client=client, fingerprint=fingerprint, since=at - challenge.WINDOW
        )
        language = locale or known.locale
        decided = challenge.issue(
            state,
            challenge=self.ids.token(),
            client=client,
            fingerprint=fingerprint,
            user=user,
            proved=proved,
            locale=language,
            key_id=self.codes.current_key_id,
            counts=counts,
            limits=self.limits,
            at=at,
        )
        refused = challenge.refused(counts, self.limits, proved=proved)
        if refused is None and user is not None:
            self._sign_up(tx, person_events, user, address, fingerprint, language)
        appended = tx.append(stream, version_of(events), decided)
        if refused is not None:
            return refused, False
        started = _started(appended)
        request_mail(
            tx,
            appended[-1],
            at=at,
            about=started.challenge,
            challenge=started.challenge,
            user=user,
            recipient=None if user is None else of(user, address),
            fingerprint=fingerprint,
            locale=language,
            expires_at=started.expires_at,
        )
        return started, True

    def resume(self, challenge_id: str) -> Started:
        """Give a challenge again, after a wrong answer: the same, and no mail.

        Raises:
            UnknownChallenge: there is none with that id.
        """
        row = self.store.views.find_code(challenge_id)
        if row is None:
            raise UnknownChallenge(challenge_id)
        events = self.store.load(
            challenge.stream(row.client, row.fingerprint), newest=challenge.NEWEST
        )
        found = [
            entry
            for entry in events
            if isinstance(entry.event, challenge.Issued) and entry.event.challenge == challenge_id
        ]
        if not found:
            raise UnknownChallenge(challenge_id)
        return _started(found)

    def answer(self, context: Context, *, challenge_id: str, code: object) -> Answer:
        """Answer a challenge; the right answer proves the address, and counts once.

        The code is trimmed. Whether it is right is compared in constant time before anything else
        is looked at. A challenge of an address that nobody signed up with is never answered right.

        Raises:
            Invalid: `code` is not text.
            UnknownChallenge: there is no such challenge.
        """
        given = fields.line("code", code, most=64) or ""
        try:
            return transact(self.store, context, lambda tx: self._answer(tx, challenge_id, given))
        except CommandRepeated as repeated:
            first = first_answer(
                self.store,
                repeated,
                challenge.Passed,
                challenge.Missed,
                same=lambda entry: getattr(entry.event, "challenge", None) == challenge_id,
            )
            return _answer_of(first)

    def _answer(self, tx: Transaction, challenge_id: str, given: str) -> Answer:
        row = tx.views.find_code(challenge_id)
        if row is None:
            raise UnknownChallenge(challenge_id)
        stream = challenge.stream(row.client, row.fingerprint)
        at = self.clock.now()
        events = tx.load(stream, newest=challenge.NEWEST)
        state = challenges_of(events)
        issued = state.issued if state.takes_answers(challenge_id, at) else None
        # A challenge that takes no answers is compared all the same, so that it takes as long; its
        # own key may have left the ring.
        expected = self.codes.code(
            key_id=self.codes.current_key_id if issued is None else issued.key_id,
            challenge=challenge_id,
        )
        matches = hmac.compare_digest(expected.encode(), given.encode())
        if issued is None:
            return Answer(correct=False, attempts_left=0)
        person_events = () if issued.user is None else tx.load(person.stream(issued.user))
        known = person_of(person_events)
        # A code that went to an address that is theirs no more signs nobody in.
        is_theirs = known.erased_at is None and known.fingerprint == issued.fingerprint
        correct = matches and is_theirs
        appended = tx.append(
            stream,
            version_of(events),
            challenge.answer(state, challenge=challenge_id, correct=correct, at=at),
        )
        if correct and known.email is not None:
            tx.append(
                person.stream(known.user),
                version_of(person_events),
                person.prove_address(
                    known,
                    user=known.user,
                    email=tx.open(known.email),
                    fingerprint=issued.fingerprint,
                    how="code",
                    challenge=challenge_id,
                    at=at,
                ),
                cause=appended[0],
            )
        return _answer_of(appended[0])


def check_locale(value: object) -> Literal["en", "zh-HK"] | None:
    """Read a locale: English, Chinese as written in Hong Kong, or None for anything else.

    Raises:
        Invalid: not text.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid("locale", "must be text")
    language = value.strip().lower().replace("_", "-")
    if language == "en" or language.startswith("en-"):
        return "en"
    # Mainland and Singapore Chinese are written otherwise: both languages serve them better.
    if language in {"zh-hk", "zh-mo", "zh-tw", "zh-hant"} or language.startswith(
        ("zh-hant-", "yue")
    ):
        return "zh-HK"
    return None


def _check_client(client: object) -> str:
    return user_id("client", client)


def _refusal(recorded: Recorded) -> challenge.TooManySignIns | None:
    event = recorded.event
    return (
        challenge.TooManySignIns(event.limit) if isinstance(event, challenge.LimitReached) else None
    )


def _answer_of(recorded: Recorded) -> Answer:
    event = recorded.event
    if isinstance(event, challenge.Missed):
        return Answer(correct=False, attempts_left=event.attempts_left)
    return Answer(correct=True, attempts_left=0)


def _started(events: Sequence[Recorded]) -> Started:
    """Give the newest challenge among events that have one."""
    id, issued = [
        (entry.id, entry.event) for entry in events if isinstance(entry.event, challenge.Issued)
    ][-1]
    mail = notification_id(id, "sign_in_code", about=issued.challenge)
    return Started(
        challenge=issued.challenge,
        expires_at=issued.expires_at,
        notification=None if issued.user is None else mail,
    )
