"""The histories of docs/debugging.md: five situations, each a home of its own, the same each time.

    python -m tests.situations FOLDER

Nothing in them was sent: mails went into memory, to a service that cannot tell what it took, as SES
cannot. The keys are the tests', so that fingerprints can be foretold.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters.keys import put_ring
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.ports import Context, MailOutcomeUnknown
from siutindei.bootstrap import Services, build
from siutindei.settings import read_settings
from tests.aws_events import published
from tests.support import RING, CountingIds, VirtualClock, drain

if TYPE_CHECKING:
    from collections.abc import Callable

#: A Tuesday, ten in the morning in Hong Kong.
TUESDAY: Final = datetime(2026, 2, 3, 2, 0, tzinfo=UTC)
CLUB: Final = "7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c11"
ADMIN: Final = "6f1c2d3e-4a5b-4c6d-8e7f-901a2b3c4d5e"


class Story:
    """An application whose history is told, an hour at a time."""

    def __init__(self, home: Path, **settings: str) -> None:
        for name in ("code-keys", "vault-keys", "index-key"):
            (home / "keys").mkdir(parents=True, exist_ok=True)
            put_ring(home / "keys" / f"{name}.json", RING)
        self.clock = VirtualClock(TUESDAY)
        self.mail = MemoryMail(can_tell=False, has_feedback=True)
        self.services: Services = build(
            read_settings(settings, home=home),
            clock=self.clock,
            ids=CountingIds(),
            mail=self.mail,
        )
        self._requests = 0

    def context(self, actor: str) -> Context:
        """Say who acts, by a request of its own."""
        self._requests += 1
        name = f"{actor.partition(':')[0]}-request-{self._requests:04d}"
        return Context(command_id=name, actor=actor, request_id=name, correlation_id=name)

    def work(self) -> None:
        """Send what is due."""
        drain(self.services)

    def sign_in(self, name: str, *, client: str = "console") -> str:
        """Sign somebody in with the code that they are mailed, and give their id."""
        email = f"{name}@example.com"
        user = self.services.sign_in.sign_up(self.context(f"client:{client}"), email=email)
        challenge = self.start(user, name, client=client)
        code = self.services.codes.code(key_id=RING.current, challenge=challenge)
        self.clock.advance(seconds=40)
        self.services.sign_in.answer(
            self.context(f"user:{user}"), challenge_id=challenge, code=code
        )
        return user

    def start(self, user: str | None, name: str, *, client: str = "console") -> str:
        """Start a sign-in, and give the challenge."""
        started = self.services.sign_in.start(
            self.context(f"client:{client}"),
            client=client,
            email=f"{name}@example.com",
            user=user,
        )
        return started.challenge

    def submit(self, user: str, name: str, ticket_type: Any = "access_request") -> str:
        """Submit a ticket, and give its number."""
        taken = self.services.tickets.submit(
            self.context(f"user:{user}"),
            ticket_type=ticket_type,
            user=user,
            email=f"{name}@example.com",
            body={
                "organization_name": "Harbour Chess",
                "organization_id": CLUB,
                "stars": 5,
                "description": "Lovely teachers.",
            },
            vouched=True,
        )
        assert taken.submitted is not None
        return taken.submitted.reference

    def approve(self, reference: str) -> None:
        """Approve a ticket."""
        self.services.tickets.approve(
            self.context(f"admin:{ADMIN}"), reference, by=ADMIN, create_organization=True
        )

    def hear(self, kind: str, notification: str, **details: Any) -> None:
        """Hear of a mail what SES would say."""
        found = self.services.store.views.find_notification(notification)
        assert found is not None
        at = self.clock.now().isoformat().replace("+00:00", "Z")
        report = published(
            kind, tag=notification, message_id=found.message_id or "", timestamp=at, **details
        )
        feedback = self.services.feedback
        feedback.hear(self.context("feedback"), feedback.read(json.dumps(report)))

    def newest(self, kind: Any) -> str:
        """Give the id of the newest mail of a kind."""
        found = [
            state.requested
            for state in self.services.store.views.notifications(kind=kind)
            if state.requested is not None
        ]
        return max(found, key=lambda requested: requested.at).id


def no_code(home: Path) -> None:
    """Ann's mailbox bounced on Tuesday morning; in the afternoon she asks for a code."""
    with closing_story(home) as story:
        ann = story.sign_in("ann")
        story.clock.advance(minutes=5)
        story.hear("Delivery", story.newest("sign_in_code"))
        story.clock.advance(hours=1)
        reference = story.submit(ann, "ann")
        story.work()
        story.clock.advance(minutes=20)
        story.approve(reference)
        story.work()
        story.clock.advance(seconds=30)
        story.hear("Bounce", story.newest("ticket_decided"), bounceSubType="MailboxFull")
        story.clock.advance(hours=3)
        story.start(ann, "ann")
        story.clock.advance(minutes=2)
        story.start(ann, "ann")


def twice(home: Path) -> None:
    """SES took Bob's decision and its answer was lost; after the settle time it went again."""
    with closing_story(home) as story:
        bob, eve = story.sign_in("bob"), story.sign_in("eve")
        reference = story.submit(bob, "bob")
        story.work()
        story.clock.advance(hours=1)
        story.mail.then_raises(MailOutcomeUnknown("no answer within 5 seconds"), takes_it=True)
        story.approve(reference)
        story.work()
        story.clock.advance(minutes=5)
        story.submit(eve, "eve")
        story.work()
        story.clock.advance(minutes=1)
        story.hear("Delivery", story.newest("ticket_received"))
        story.clock.advance(minutes=11)
        story.work()
        story.clock.advance(minutes=1)
        story.work()
        story.clock.advance(minutes=2)
        story.hear("Delivery", story.newest("ticket_decided"))


def wrong(home: Path) -> None:
    """Somebody wrote into a read model by hand."""
    with closing_story(home) as story:
        ann, bob = story.sign_in("ann"), story.sign_in("bob")
        first = story.submit(ann, "ann")
        story.submit(bob, "bob")
        story.work()
        story.clock.advance(hours=2)
        story.approve(first)
        story.work()
        with story.services.store.writing() as cursor:
            statement = "UPDATE {tickets} SET status = 'pending' WHERE reference = ?"
            cursor.execute(statement.format_map(cursor.tables.names), (first,))


#: What the fourth home is used with.
BUDGET: Final = {
    "SIUTINDEI_DAILY_QUOTA": "40",
    "SIUTINDEI_DECISION_FLOOR": "2",
    "SIUTINDEI_CODE_RESERVE": "10",
}


def budget(home: Path) -> None:
    """On Tuesday a script signs in at the app with addresses that nobody has."""
    with closing_story(home, **BUDGET) as story:
        ann = story.sign_in("ann")
        references = [
            story.submit(ann, "ann", kind) for kind in ("access_request", "organization_suggestion")
        ]
        story.work()
        story.clock.advance(hours=2)
        for number in range(36):
            name = f"stranger-{number:02d}"
            user = story.services.sign_in.sign_up(
                story.context("client:app"), email=f"{name}@example.com"
            )
            story.start(user, name, client="app")
            story.clock.advance(seconds=50)
        story.clock.advance(minutes=10)
        for reference in references:
            story.approve(reference)
        story.submit(ann, "ann")
        for _ in range(30):
            story.work()
            story.clock.advance(hours=1)


def unreadable(home: Path) -> None:
    """A newer version of the program wrote an event, and then the older one came back."""
    with closing_story(home) as story:
        ann = story.sign_in("ann")
        reference = story.submit(ann, "ann")
        story.work()
        story.clock.advance(hours=1)
        story.approve(reference)
        with story.services.store.writing() as cursor:
            cursor.execute(
                "UPDATE stored_events SET topic = 'ticket.approved.v9' WHERE topic = ?",
                ("ticket.approved.v1",),
            )


class closing_story(closing[Any]):  # noqa: N801  # it is used as a function
    """Give a story, and close its database at the end."""

    def __init__(self, home: Path, **settings: str) -> None:
        self._story = Story(home, **settings)
        super().__init__(self._story.services.store)

    def __enter__(self) -> Story:
        super().__enter__()
        return self._story


HOMES: Final[dict[str, Callable[[Path], None]]] = {
    "no-code": no_code,
    "twice": twice,
    "wrong": wrong,
    "budget": budget,
    "unreadable": unreadable,
}


def main(folder: Path) -> None:
    """Make all of them in a folder."""
    for name, tell in HOMES.items():
        tell(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
