"""The real history under changed rules: what would differ.

It is enacted twice on an empty stage, under the rules that the installation has and under the
changed ones. What differs between the two is what the change does; where the first is not what
really happened, the answer says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.ports import Clock, EventStore
from siutindei.app.reenacting import Reenactment, Refusal, Stage, enacting
from siutindei.app.rules import Rules
from siutindei.app.scripts import Mail, Mails, Scripts, Word, commands
from siutindei.app.times import EPOCH
from siutindei.domain.due import FARTHEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from siutindei.app.ports import Progress
    from siutindei.app.scripts import Key

#: What differs by less in time does not differ.
_MOVED: Final = timedelta(seconds=1)
#: A history is read once to learn from it, and enacted twice.
_PASSES: Final = 3

#: What cannot be told, because the history has no word of it.
NOT_ENACTED: Final = (
    "sign-ins that were given the open challenge again, and those refused after the first of an "
    "hour: no event tells of them",
    "tickets and commands that were refused: they left no event",
    "what people would have done otherwise: they do again what they did",
    "grants: no mail follows from one",
)


@attrs.frozen(kw_only=True)
class Fate:
    """What became of a mail; `mailed_at` is when it was first taken."""

    word: Word
    why: str | None
    mailed_at: datetime | None
    copies: int


@attrs.frozen(kw_only=True)
class Difference:
    """A mail to which something else happened.

    Attributes:
        kind: its kind.
        about: the challenge, or the ticket's UUID.
        ticket: the ticket's number.
        event: the event of the history that it follows from.
        asked_at: when it was asked for.
        before: what became of it; None when nobody asked for it.
        after: what became of it otherwise.
        why: why it was not mailed, in a few words; None when it was.
        late: how much later it was mailed; negative when it was earlier.
    """

    kind: str
    about: str
    ticket: str | None
    event: str
    asked_at: datetime
    before: Fate | None
    after: Fate | None
    why: str | None
    late: timedelta | None

    @property
    def is_added(self) -> bool:
        """Whether it was mailed only afterwards."""
        return _is_mailed(self.after) and not _is_mailed(self.before)

    @property
    def is_removed(self) -> bool:
        """Whether it was mailed only before."""
        return _is_mailed(self.before) and not _is_mailed(self.after)


@attrs.frozen(kw_only=True)
class Day:
    """A day on which the budget was short.

    Attributes:
        day: the day in Hong Kong.
        used: the most mails of any 24 hours that ended in it, under the rules of now.
        limit: as many as the changed rules allow.
        waited: mails that had to wait for room under the changed rules.
    """

    day: date
    used: int
    limit: int
    waited: int


@attrs.frozen(kw_only=True)
class Comparison:
    """What would differ.

    Attributes:
        events: how many events were enacted.
        mails: how many mails the history asked for.
        differences: mails to which something else would happen.
        refused: sign-ins that would be refused, and are not.
        budget: days on which the budget would be short.
        unlike: mails to which something else happens already under the rules of now.
        not_enacted: what the history does not tell, in sentences.
    """

    events: int
    mails: int
    differences: tuple[Difference, ...]
    refused: tuple[Refusal, ...]
    budget: tuple[Day, ...]
    unlike: tuple[Difference, ...]
    not_enacted: tuple[str, ...] = NOT_ENACTED

    @property
    def added(self) -> tuple[Difference, ...]:
        """Mails that would go, and do not."""
        return tuple(one for one in self.differences if one.is_added)

    @property
    def removed(self) -> tuple[Difference, ...]:
        """Mails that would not go, and do."""
        return tuple(one for one in self.differences if one.is_removed)

    @property
    def changed(self) -> tuple[Difference, ...]:
        """Mails that would go at another time, or not go for another reason."""
        return tuple(one for one in self.differences if not one.is_added and not one.is_removed)

    @property
    def is_same(self) -> bool:
        """Whether nothing would differ."""
        return not self.differences and not self.refused


@attrs.frozen(kw_only=True)
class WhatIf:
    """The use case of looking at a history under changed rules; nothing is written or sent.

    Attributes:
        store: the history.
        clock: the time until which it is known.
        rules: the rules of now.
        stage: makes an empty stage for some rules; it is told whether mails are reported of.
    """

    store: EventStore
    clock: Clock
    rules: Rules
    stage: Callable[[Rules, Scripts], AbstractContextManager[Stage]]

    def compare(self, changed: Rules, *, progress: Progress) -> Comparison:
        """Enact the history under the rules of now and under changed ones, and compare.

        Raises:
            Unreadable: an event cannot be read.
            Unusable: what is stored does not fit together.
            Unavailable: the store is not there.
        """
        last, until = self.store.last_position(), EPOCH
        scripts, count = Scripts(), 0
        for command in commands(self.store.read(until=last)):
            with enacting(command.events[0].id):
                scripts.take(command)
            until = command.turn
            count += len(command.events)
            progress(count, _PASSES * last)
        # What waits for ever is looked at for ever: nothing that could go needs longer than this.
        until = max(until, min(until + FARTHEST, self.clock.now()))
        scripts.finish(until)
        total = _PASSES * count

        def enact(rules: Rules, before: int) -> Reenactment:
            with self.stage(rules, scripts) as stage:
                enacted = Reenactment(stage, scripts)
                enacted.run(
                    commands(self.store.read(until=last)),
                    until=until,
                    progress=lambda done: progress(before + done, total),
                )
            return enacted

        now, then = enact(self.rules, count), enact(changed, 2 * count)
        causes = {key: mail.cause for key, mail in scripts.mails.by_key.items()}
        events = now.events | then.events | causes
        return Comparison(
            events=count,
            mails=len(scripts.mails.by_key),
            differences=tuple(_differences(now.mails, then, events)),
            refused=tuple(
                refusal for about, refusal in then.refused.items() if about not in now.refused
            ),
            budget=tuple(_short(now.mails, then.mails, changed.budget.quota)),
            unlike=tuple(_differences(scripts.mails, now, events)),
        )


def _is_mailed(fate: Fate | None) -> bool:
    return fate is not None and fate.word == "mailed"


def _fate(mail: Mail | None) -> Fate | None:
    if mail is None:
        return None
    return Fate(word=mail.word, why=mail.why, mailed_at=mail.mailed_at, copies=mail.copies)


def _differences(
    before: Mails, enacted: Reenactment, events: Mapping[Key, str]
) -> Iterator[Difference]:
    after = enacted.mails
    for key, mail in (after.by_key | before.by_key).items():
        was, is_ = _fate(before.by_key.get(key)), _fate(after.by_key.get(key))
        late = _late(was, is_)
        if _is_alike(was, is_, late):
            continue
        yield Difference(
            kind=mail.kind,
            about=mail.about,
            ticket=mail.ticket,
            event=events[key],
            asked_at=mail.asked_at,
            before=was,
            after=is_,
            why=_why(enacted, mail.about, is_),
            late=late,
        )


def _late(before: Fate | None, after: Fate | None) -> timedelta | None:
    """Say how much later a mail went, if it did in both."""
    if before is None or after is None or before.mailed_at is None or after.mailed_at is None:
        return None
    return after.mailed_at - before.mailed_at


def _is_alike(before: Fate | None, after: Fate | None, late: timedelta | None) -> bool:
    if late is None or abs(late) >= _MOVED or before is None or after is None:
        return before == after
    return attrs.evolve(before, mailed_at=after.mailed_at) == after


def _why(enacted: Reenactment, about: str, fate: Fate | None) -> str | None:
    """Say why a mail was not mailed; None when it was."""
    if fate is not None:
        return None if fate.word == "mailed" else fate.why or fate.word
    if about in enacted.refused:
        return f"refused: {enacted.refused[about].limit}"
    if about in enacted.given:
        return f"given again: {enacted.given[about]}"
    return "nobody asked for it"


def _short(before: Mails, after: Mails, limit: int) -> Iterator[Day]:
    """Give the days on which more went than may, or on which something had to wait for room."""
    for day in sorted(before.days.keys() | after.days.keys()):
        used = before.days[day].used if day in before.days else 0
        waited = after.days[day].waited if day in after.days else 0
        if used > limit or waited:
            yield Day(day=day, used=used, limit=limit, waited=waited)
