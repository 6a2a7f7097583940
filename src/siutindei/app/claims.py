"""What was promised to Amazon SES, each promise held against the history and the configuration.

What neither of them can tell is not guessed: the answer is that it cannot be known from here, and
what would show it. docs/claims.md says how each promise is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.books import fate
from siutindei.app.ports import AddressBook, Clock, EventStore, PortError
from siutindei.app.promises import (
    BOUNCES,
    COMPANY,
    COMPLAINTS,
    EXPECTED,
    LEAST_BOUNCES,
    LEAST_COMPLAINTS,
    QUOTA,
    REGION,
    SENDERS,
    Answer,
    Answers,
    Claim,
)
from siutindei.app.sending import Need
from siutindei.app.traces import Traces
from siutindei.domain import mail, notification, ticket
from siutindei.domain.personal import of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.books import Books
    from siutindei.app.ports import Progress

#: As many events are named in a line.
_NAMED: Final = 5
_STEP: Final = 500
#: When the mails are of that are looked at.
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Claims:
    """The use case of checking what was promised.

    Attributes:
        store: the history.
        clock: the time.
        addresses: knows the support mailbox by its fingerprint.
        senders: who writes, and whom support is.
        region: the region at AWS.
        quota: how many mails may go in a rolling day.
        account: compares the account at SES with what is needed; None when mails go elsewhere.
    """

    store: EventStore
    clock: Clock
    addresses: AddressBook
    senders: mail.Senders
    region: str
    quota: int
    account: Callable[[], Sequence[Need]] | None

    def check(self, *, progress: Progress = lambda *_: None) -> Sequence[Claim]:
        """Say of each promise whether it holds.

        Args:
            progress: is told up to which position the log is read, and which is the last.

        Raises:
            Unreadable: an event of another version: what it says may break a promise.
            Unavailable: the store is out of reach.
        """
        answers = Answers()
        support = self.addresses.fingerprint(self.addresses.normalise(self.senders.support))
        traces = Traces(answers, support=support, quota=self.quota)
        last = self.store.last_position()
        for number, entry in enumerate(self.store.read(until=last), start=1):
            if number % _STEP == 0:
                progress(entry.position, last)
            traces.read(entry)
        progress(last, last)
        books = traces.close(self.clock.now())
        self._configuration(answers)
        _mails_and_people(answers, self.store, traces.erased)
        _of_history(answers, traces, books)
        self._account(answers)
        return answers.claims()

    def _configuration(self, answers: Answers) -> None:
        """Hold the settings against the letter."""
        senders = self.senders
        for id, name, found, promised in (
            ("C1", "AWS_REGION", self.region, REGION),
            ("C3", "SES_FROM_ADDRESS", senders.codes_from, SENDERS.codes_from),
            ("C4", "SES_SENDER_EMAIL", senders.tickets_from, SENDERS.tickets_from),
            ("C4", "SUPPORT_EMAIL", senders.support, SENDERS.support),
            ("C5", "SES_SENDER_EMAIL", senders.tickets_from, SENDERS.tickets_from),
            ("C11", "SUPPORT_EMAIL", senders.support, SENDERS.support),
        ):
            answer = answers.of(id)
            if found == promised:
                answer.says(f"{name} is {found}")
            else:
                answer.breaks(f"{name} is {found}, and {promised} was promised")
        if self.quota > QUOTA:
            answers.of("C1").breaks(
                f"SIUTINDEI_DAILY_QUOTA is {self.quota}, and {QUOTA} was asked for"
            )

    def _account(self, answers: Answers) -> None:
        """Ask SES what only SES knows, when mails go there."""
        identities, listed = answers.of("C8"), answers.of("C18")
        identities.leaves_open(
            "which function may send from which address is said by the roles that are deployed",
            "make policies evaluates those of the template; IAM has those that are deployed",
        )
        needs, why = self._needs()
        if needs is None:
            identities.leaves_open(
                f"whether the senders are verified: {why}", "siutindei ses status shows it"
            )
            listed.leaves_open(
                why, "siutindei ses status shows it, siutindei suppression drift too"
            )
            return
        for need in needs:
            answer = (
                listed
                if need.what.endswith("suppression list")
                else identities
                if need.what in _domains(self.senders)
                else None
            )
            if answer is None:
                continue
            if need.standing == "ok":
                answer.says(f"SES says of {need.what}: {need.found}")
            else:
                answer.breaks(f"SES says of {need.what}: {need.found}")
        listed.says("siutindei suppression drift compares its list with ours")

    def _needs(self) -> tuple[Sequence[Need] | None, str]:
        if self.account is None:
            return None, "mails do not go to SES here, so SES is not asked"
        try:
            return self.account(), ""
        except PortError as error:
            return None, f"SES cannot be asked: {error}"


def _domains(senders: mail.Senders) -> set[str]:
    return {
        sender.rpartition("@")[2].lower() for sender in (senders.codes_from, senders.tickets_from)
    }


# --- what is said of it ---------------------------------------------------------------------------


def _of_history(answers: Answers, traces: Traces, books: Books) -> None:
    """Say what the history shows, and what it cannot show."""
    kinds, account = traces.kinds, books.notifications
    count, event = traces.busiest
    answers.of("C1").says(
        f"at most {count} mails within 24 hours{f' ({event})' if event else ''}, "
        f"and {traces.quota} may go by the setting of now; fewer than {EXPECTED} were expected, "
        "and more than that break no promise"
    )
    answers.of("C2").says(", ".join(f"{kinds[kind]} {kind}" for kind in notification.KINDS))
    answers.of("C3").says(
        f"{kinds['sign_in_code']} codes were asked for by sign-ins; "
        f"{traces.proved_codes} to addresses that a code or a token had proved before; that the "
        "others were verified is said by the identity provider"
    )
    answers.of("C4").says(f"{kinds['ticket_received']} notices")
    _of_decisions(answers.of("C5"), traces)
    answers.of("C6").says(
        f"{account.requested} mails name the version and the hash of their template; whether its "
        "words are only about what the recipient did, a person has to read"
    )
    _of_addresses(answers.of("C7"), traces)
    answers.of("C10").says(
        f"{traces.strangers} sign-ins of addresses that nobody has, or has not verified; "
        "whether an address is verified is said by the identity provider"
    )
    answers.of("C11").says(
        f"{kinds['ticket_decided']} decisions and {kinds['ticket_received']} notices"
    )
    answers.of("C12").says(
        f"{account.requested} mails, and {books.causes} causes of mails and grants"
    )
    answers.of("C13").says(
        f"{account.requested} mails: {account.done} taken, {account.waiting} waiting, "
        f"{account.withheld} withheld, {account.dead_lettered} dead letters, {account.discarded} "
        f"discarded, {account.unknown} codes of unknown outcome"
    )
    answers.of("C13").says(
        "instead of the letter's words: when no answer comes, nobody knows whether the mail went; "
        "the history says so, and a code is not mailed again"
    )
    answers.of("C13").says(
        "the three attempts are counted here, whatever brings the work; what the queue itself is "
        "set to stands in the template, and make e2e drives it"
    )
    answers.of("C14").leaves_open(
        "alarms are deployed, and nothing of them is in the history",
        "make e2e has the template's fire on one message; CloudWatch has the deployed one: its "
        "name ends in NudgeDeadLettersAlarm",
    )
    answers.of("C15").says(
        f"{books.events} events of {books.commands} commands; siutindei history explain ID shows "
        "the chain of any id; what is written into logs is not in the history"
    )
    _of_feedback(answers, traces)


def _of_decisions(answer: Answer, traces: Traces) -> None:
    """Name the decisions that were not mailed, or perhaps twice, and why."""
    fates: dict[str, list[str]] = {}
    for stream, found in traces.mails.items():
        if found.kind == "ticket_decided":
            word = fate(traces.books.effects[stream]) or "lost"
            fates.setdefault(word, []).append(stream)
    answer.says(
        ", ".join(f"{len(streams)} {word}" for word, streams in fates.items())
        or "nothing was decided yet"
    )
    for word, streams in fates.items():
        if word not in {"done", "lost"}:
            answer.says(f"{word}: {_listed(streams)}")
    twice = [
        event
        for event in traces.twice
        if traces.mails[event.rpartition("/")[0]].kind == "ticket_decided"
    ]
    answer.says(
        "instead of the letter's words: a decision is mailed once, unless the outcome of an "
        "attempt stays unknown; then it is mailed again, and may come twice"
    )
    if twice:
        answer.says(f"mailed again after that: {_listed(twice)}")


def _of_addresses(answer: Answer, traces: Traces) -> None:
    counts = traces.assurances
    answer.says(
        f"{counts['code']} tickets from addresses that a code proved, "
        f"{counts['token']} from those that a token vouched for"
    )
    if traces.by_hand:
        answer.leaves_open(
            f"{counts['none']} tickets were entered by hand, or came from the old API, without a "
            f"token: {_listed(traces.by_hand)}",
            "a sign-in of the submitter, before the ticket is entered, proves the address",
        )


def _of_feedback(answers: Answers, traces: Traces) -> None:
    """Say what was suppressed, and how often mails bounced and were complained of."""
    bounce, complaint = answers.of("C16"), answers.of("C17")
    reasons = traces.reasons
    bounce.says(
        f"suppressed: {reasons['bounce']} for a permanent bounce, {reasons['soft_bounces']} for "
        f"too many others, {reasons['person'] + reasons['ses']} for another reason"
    )
    bounce.says(
        "instead of the letter's words: a hard bounce fails no call; it is reported minutes later, "
        "and from that moment on nothing is mailed to the address until a person lifts it"
    )
    complaint.says(f"{reasons['complaint']} suppressed for a complaint")
    first, last = traces.heard
    if not last:
        complaint.leaves_open(
            "nothing was reported of any mail to a person: whether reports come in, and the rates",
            "siutindei ses status shows where SES reports to; the first report shows that it does",
        )
        return
    judged = [found for found in traces.mails.values() if found.number >= first > 0]
    mails = last - first + 1
    complaint.says(
        f"{mails} mails to people that reports could be of: from the first to the newest one that "
        "anything was reported of"
    )
    for what, number, least, (review, pause) in (
        ("bounced for good", sum(one.bounced for one in judged), LEAST_BOUNCES, BOUNCES),
        ("complained of", sum(one.complained for one in judged), LEAST_COMPLAINTS, COMPLAINTS),
    ):
        rate = 100 * number / mails
        said = f"{number} of {mails} were {what}: {rate:.2f} %"
        limits = f"SES reviews an account at {review:g} %, and may pause it at {pause:g} %"
        if mails < least:
            complaint.says(f"{said}; fewer than {least} mails are too few to judge; {limits}")
        elif rate < review:
            complaint.says(f"{said}; {limits}")
        else:
            complaint.breaks(f"{said}; {limits}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


# --- the mails themselves, and people -------------------------------------------------------------


def _mails_and_people(answers: Answers, store: EventStore, erased: Mapping[str, str]) -> None:
    """Look at a mail of each kind in each language, and whether who was erased is gone."""
    answer = answers.of("C9")
    unnamed = [
        f"{written.kind} ({locale})"
        for locale in ("en", "zh-HK")
        for written in _written(locale)
        if not all(
            name in part
            for name in (COMPANY, mail.SENDER_NAME, mail.PRIVACY_PAGE)
            for part in (written.text, written.html)
        )
    ]
    for name in unnamed:
        answer.breaks(f"{name} does not name {COMPANY}, {mail.SENDER_NAME} and the privacy page")
    if not unnamed:
        answer.says(
            "each kind of mail, in each language, names the sender, the company and the "
            "privacy page"
        )
    for user in store.not_erased(list(erased)):
        answers.breaks(("C9",), erased[user], "is an erasure, and there are keys of theirs")
    answer.says(
        f"{len(erased)} people were erased; siutindei person export and erase do it for anybody"
    )
    answer.leaves_open(
        "nothing is taken away by its age: retention is not there yet",
        "a version that carries retention out",
    )


def _written(locale: str) -> Iterator[mail.Mail]:
    """Write a mail of each kind."""
    to = "somebody@example.com"
    submitted = ticket.Submitted(
        id="example",
        reference="R00001",
        ticket_type="access_request",
        submitter="somebody",
        submitter_email=of("somebody", to),
        fingerprint="",
        assurance="code",
        organization_name=of("somebody", "Example"),
        at=_EPOCH,
    )
    declined = ticket.Declined(by=of("admin", "admin"), reviewer="admin", at=_EPOCH)
    about = ticket.evolve(ticket.evolve(ticket.INITIAL, submitted), declined)
    yield mail.sign_in_code(
        SENDERS,
        notification_id="example",
        recipient=to,
        locale=locale,
        code="000000",
        lifetime=timedelta(minutes=5),
    )
    yield mail.ticket_received(SENDERS, notification_id="example", ticket=about)
    yield mail.ticket_decided(
        SENDERS, notification_id="example", recipient=to, locale=locale, ticket=about
    )
