"""What was promised to Amazon SES, and what is answered of each promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.domain import mail, notification

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# fmt: off
Id = Literal[
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9",
    "C10", "C11", "C12", "C13", "C14", "C15", "C16", "C17", "C18",
]
# fmt: on
#: The promises, in a few words each.
SAYS: Final[Mapping[Id, str]] = {
    "C1": "one region, and never more mails in 24 hours than the quota",
    "C2": "three kinds of mail, and no other",
    "C3": "a code goes to the user who started the sign-in",
    "C4": "a notice is of a submitted ticket, and goes to support alone",
    "C5": "each decision is mailed once, to the address that submitted",
    "C6": "mails say what their templates say, and nothing else",
    "C7": "every address was proved, or vouched for",
    "C8": "senders are verified, and each function sends from its own",
    "C9": "the company is named in each mail, personal data can be erased, and retention is kept",
    "C10": "no code without a sign-in, and none for a stranger",
    "C11": "ticket mails go to who submitted, and to support",
    "C12": "no mail without a cause",
    "C13": "three attempts, then a dead letter, and nothing is lost",
    "C14": "an alarm tells the team of a dead letter",
    "C15": "every send can be followed from end to end",
    "C16": "who bounced for good is not mailed to again",
    "C17": "who complained is not mailed to again, and the rates stay low",
    "C18": "SES keeps a suppression list for the account",
}
#: What the letter names.
REGION: Final = "ap-southeast-1"
QUOTA: Final = 1000
EXPECTED: Final = 200
SENDERS: Final = mail.Senders()
COMPANY: Final = "LX Software"
#: Every version of every template that was ever mailed; no line of it changes.
RELEASED: Final[Mapping[tuple[notification.Kind, int], str]] = {
    ("sign_in_code", 1): "5a23491aa8a35914b511c1799bfb76dfdb6d911ca56ddf89a2dfb3f4fdb03899",
    ("ticket_received", 1): "408436efc712017b976438dcfbc907b70d764929dd3a6a4f3ae2023d403f0bbf",
    ("ticket_decided", 1): "486ce4f057f8d979fbfae2eda51afbc3a36ebdb6188e2c3fb01bae451b6b9c9c",
}
#: From these rates on, in percent, SES reviews an account, and may pause it.
BOUNCES: Final = (5.0, 10.0)
COMPLAINTS: Final = (0.1, 0.5)
#: Of fewer mails a single one more would decide whether a rate is too high.
LEAST_BOUNCES: Final = 100
LEAST_COMPLAINTS: Final = 1000
#: More breaks of one promise than these are only counted, and as many events are named in a line.
MOST: Final = 20


@attrs.frozen(kw_only=True)
class Break:
    """Something that breaks a promise.

    Attributes:
        what: a sentence.
        event: the event that does; None when it is a setting, or what SES says.
    """

    what: str
    event: str | None = None


@attrs.frozen(kw_only=True)
class Claim:
    """A promise, and whether it holds.

    Attributes:
        id: its number.
        says: what it promises, in a few words.
        holds: whether it does; None when that cannot be known from here.
        evidence: what is known of it, in sentences.
        breaks: what breaks it, the first `MOST` of it.
        broken: how much breaks it.
        unknown: what cannot be known, and why.
        shown_by: what would show that.
    """

    id: Id
    says: str
    holds: bool | None
    evidence: tuple[str, ...]
    breaks: tuple[Break, ...] = ()
    broken: int = 0
    unknown: tuple[str, ...] = ()
    shown_by: tuple[str, ...] = ()


class Answer:
    """What is known of one promise so far."""

    def __init__(self) -> None:
        self.evidence: list[str] = []
        self.found: list[Break] = []
        self.broken = 0
        self.unknown: list[str] = []
        self.shown_by: list[str] = []

    def says(self, sentence: str) -> None:
        """Note something that is known."""
        self.evidence.append(sentence)

    def breaks(self, what: str, event: str | None = None) -> None:
        """Note what breaks it."""
        self.broken += 1
        if len(self.found) < MOST:
            self.found.append(Break(what=what, event=event))

    def leaves_open(self, what: str, shown_by: str) -> None:
        """Note what cannot be known, and what would show it."""
        self.unknown.append(what)
        self.shown_by.append(shown_by)


class Answers:
    """What is known of all of them."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {id: Answer() for id in SAYS}

    def of(self, id: str) -> Answer:
        """Give the one of a promise."""
        return self._answers[id]

    def breaks(self, ids: Sequence[Id], event: str, what: str) -> None:
        """Note an event that breaks one promise or several."""
        for id in ids:
            self._answers[id].breaks(f"{event} {what}", event)

    def claims(self) -> Sequence[Claim]:
        """Say of each promise whether it holds."""
        return [
            Claim(
                id=id,
                says=says,
                holds=False if answer.broken else None if answer.unknown else True,
                evidence=tuple(answer.evidence),
                breaks=tuple(answer.found),
                broken=answer.broken,
                unknown=tuple(answer.unknown),
                shown_by=tuple(answer.shown_by),
            )
            for id, says in SAYS.items()
            for answer in (self._answers[id],)
        ]
