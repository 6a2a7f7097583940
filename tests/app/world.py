"""What the tests of the use cases share: an application in memory, and short ways to use it."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import MEMORY, SqliteStore
from siutindei.bootstrap import Services
from tests.support import RING, VirtualClock, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.ports import Context
    from siutindei.app.sign_in import Answer, Started
    from siutindei.app.tickets import Decided
    from siutindei.domain import grant, notification, ticket

ANN: Final = "ann@example.com"
BOB: Final = "bob@example.com"
CLIENT: Final = "app"
CLUB: Final = "7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c11"
LABEL: Final = "0b6f6c3e-5f0e-4a51-8a53-0f4f3a1d7c22"


class FlakyStore(SqliteStore):
    """A store whose commits fail as they are told: what happened in the block is undone."""

    def __init__(self, clock: VirtualClock, database: str = MEMORY) -> None:
        super().__init__(database, master=RING, clock=clock)
        self.script: deque[Exception | None] = deque()

    def then_fails(self, *errors: Exception | None) -> None:
        """Let the next commits raise these errors, in order; None lets one succeed."""
        self.script.extend(errors)

    @contextmanager
    def transaction(self, context: Context) -> Iterator[Any]:
        """Begin a change that may not be committed."""
        error = self.script.popleft() if self.script else None
        with super().transaction(context) as tx:
            yield tx
            if error is not None:
                raise error


@attrs.frozen(kw_only=True)
class World:
    """An application, and what it is made of."""

    services: Services
    mail: MemoryMail
    clock: VirtualClock
    store: FlakyStore
    home: Path

    def rebuilt(self, **seams: Any) -> World:
        """Build the application again over the same store, as another process would."""
        kept: dict[str, Any] = {
            "mail": self.mail,
            "clock": self.clock,
            "store": self.store,
            "ids": self.services.ids,
        }
        services = make_services(self.home, **kept | seams)
        return attrs.evolve(self, services=services)

    def person(self, email: str = ANN, locale: str | None = None) -> str:
        """Sign somebody up."""
        return self.services.sign_in.sign_up(context(), email=email, locale=locale)

    def start(
        self,
        user: str | None,
        email: str = ANN,
        *,
        client: str = CLIENT,
        command: str | None = None,
        locale: str | None = None,
    ) -> Started:
        """Start a sign-in."""
        return self.services.sign_in.start(
            context(command), client=client, email=email, user=user, locale=locale
        )

    def code(self, challenge: str) -> str:
        """Derive the code of a challenge."""
        return self.services.codes.code(key_id=RING.current, challenge=challenge)

    def wrong(self, challenge: str) -> str:
        """Give a code that is not the right one."""
        return f"{(int(self.code(challenge)) + 1) % 1_000_000:06d}"

    def answer(self, challenge: str, code: object = None, *, command: str | None = None) -> Answer:
        """Answer a challenge, by default rightly."""
        given = self.code(challenge) if code is None else code
        return self.services.sign_in.answer(context(command), challenge_id=challenge, code=given)

    def signed_in(self, email: str = ANN) -> str:
        """Sign somebody up and in."""
        user = self.person(email)
        self.answer(self.start(user, email).challenge)
        return user

    def submit(
        self,
        ticket_type: ticket.Type = "access_request",
        *,
        user: str = "user-1",
        email: str = ANN,
        vouched: bool = True,
        command: str | None = None,
        locale: str | None = None,
        **body: object,
    ) -> str:
        """Submit a ticket, and give its number."""
        taken = self.services.tickets.submit(
            context(command),
            ticket_type=ticket_type,
            user=user,
            email=email,
            body=BODIES[ticket_type] | body,
            vouched=vouched,
            locale=locale,
        )
        assert taken.submitted is not None
        return taken.submitted.reference

    def approve(self, reference: str, **options: Any) -> Decided:
        """Approve a ticket."""
        command = options.pop("command", None)
        by = options.pop("by", "admin-7")
        return self.services.tickets.approve(context(command), reference, by=by, **options)

    def decline(self, reference: str, **options: Any) -> Decided:
        """Decline a ticket."""
        command = options.pop("command", None)
        by = options.pop("by", "admin-7")
        return self.services.tickets.decline(context(command), reference, by=by, **options)

    def drain(self) -> list[str]:
        """Work on what is due."""
        return drain(self.services)

    def names(self, stream: str) -> list[str]:
        """List what happened in a stream."""
        return [entry.name for entry in self.store.load(stream)]

    def events(self, category: str) -> list[str]:
        """List what happened in all streams of a category."""
        return [
            entry.name for entry in self.store.read() if entry.stream.startswith(f"{category}-")
        ]

    def notice(
        self, reference: str, kind: notification.Kind = "ticket_received"
    ) -> notification.Notification:
        """Give the notification of a kind about a ticket."""
        (found,) = [
            item
            for item in self.services.store.views.notifications(ticket=reference)
            if item.requested is not None and item.requested.kind == kind
        ]
        return found

    def notice_id(self, reference: str, kind: notification.Kind = "ticket_received") -> str:
        """Give its id."""
        requested = self.notice(reference, kind).requested
        assert requested is not None
        return requested.id

    def notices(self, id: str) -> notification.Notification:
        """Give a notification by its id."""
        found = self.services.store.views.find_notification(id)
        assert found is not None
        return found

    def grant(self, id: str) -> grant.Grant:
        """Give a grant."""
        found = self.services.store.views.find_grant(id)
        assert found is not None
        return found

    def bytes(self) -> bytes:
        """Give everything that the store holds, as a thief would read it."""
        with self.store.reading() as cursor:
            return b"\n".join(_cells(cursor))

    def catalogue(self) -> dict[str, Any]:
        """Give what the platform knows."""
        path = self.home / "directory.json"
        known: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
        return known


def _cells(cursor: Any) -> Iterator[bytes]:
    cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    for table in [row["name"] for row in cursor.fetchall()]:
        cursor.execute(f"SELECT * FROM {table}")  # noqa: S608  # the names come from the schema
        for row in cursor.fetchall():
            for value in row:
                yield value if isinstance(value, bytes) else str(value).encode()


BODIES: Final[dict[ticket.Type, dict[str, object]]] = {
    "access_request": {"organization_name": "Star Dance", "request_message": "Please."},
    "organization_suggestion": {
        "organization_name": "Harbour Chess",
        "description": "A club by the harbour.",
        "suggested_district": "Central",
        "suggested_address": "1 Pier Road",
        "suggested_lat": 0,
        "suggested_lng": 114.15,
        "media_urls": ["https://example.com/a.png"],
        "additional_notes": "They meet on Sundays.",
    },
    "organization_feedback": {
        "organization_id": CLUB,
        "stars": 4,
        "label_ids": [LABEL],
        "description": "Very kind teachers.",
    },
}


def make_world(
    home: Path,
    *,
    mail: MemoryMail | None = None,
    environment: dict[str, str] | None = None,
    **seams: Any,
) -> World:
    """Build an application in memory whose catalogue has one club and one label."""
    home.mkdir(exist_ok=True)
    (home / "directory.json").write_text(
        msgspec.json.encode(
            {
                "organizations": {CLUB: {"name": "Kowloon Swimming", "managers": []}},
                "labels": [{"id": LABEL, "name": "Friendly"}],
            }
        ).decode()
    )
    clock: VirtualClock = seams.pop("clock", None) or VirtualClock()
    port = mail or MemoryMail()
    store: FlakyStore = seams.pop("store", None) or FlakyStore(clock)
    services = make_services(
        home, environment=environment, mail=port, clock=clock, store=store, **seams
    )
    return World(services=services, mail=port, clock=clock, store=store, home=home)
