"""Long histories: one story that the application told, copied under other names."""

from __future__ import annotations

import re
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from siutindei.domain import suppression, ticket
from tests.support import START, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.adapters.store import SqlStore
    from siutindei.app.ports import Context

Event = tuple[str, int, str, bytes]

_USER: Final = "story-user"
#: Everything in a stored event that has to be another one in each copy.
_NAMES: Final = re.compile(
    rf"{_USER}|(?P<reference>[RSF])00001|(?P<token>token-)[0-9]{{8}}"
    r"|(?<![0-9a-f])[0-9a-f]{8}(?=-0000-4000-8000-|[0-9a-f]{24}(?![0-9a-f]))"
)
_AT_ONCE: Final = 5_000


@cache
def _story() -> tuple[Event, ...]:
    """Let somebody sign in, submit a ticket of each type, and get them decided."""
    with TemporaryDirectory() as folder:
        services = make_services(Path(folder))
        services.directory.add_organization(id="00000000-0000-4000-8000-00000000000a", name="Club")
        started = services.sign_in.start(
            context(), client="console", email=f"{_USER}@example.com", user=_USER
        )
        code = services.codes.code(key_id="test", challenge=started.challenge)
        services.sign_in.answer(context(), challenge_id=started.challenge, code=code)
        for ticket_type, reference in zip(
            ticket.TYPES, ("R00001", "S00001", "F00001"), strict=True
        ):
            services.tickets.submit(
                context(),
                ticket_type=ticket_type,
                user=_USER,
                email=f"{_USER}@example.com",
                body={
                    "organization_name": "Club",
                    "organization_id": "00000000-0000-4000-8000-00000000000a",
                    "stars": 5,
                    "description": "lovely",
                },
                vouched=True,
            )
            drain(services)
            if ticket_type == "access_request":
                services.tickets.approve(context(), reference, by="eve", create_organization=True)
            else:
                services.tickets.decline(context(), reference, by="eve", note="not now")
            drain(services)
        with services.store.reading() as cursor:
            cursor.execute(
                "SELECT originator_id, originator_version, topic, state FROM stored_events"
                " ORDER BY rowid"
            )
            events = tuple(tuple(row) for row in cursor.fetchall())
        services.store.close()
    return events


def _copies() -> Iterator[Event]:
    for number in count(1):

        def other(found: re.Match[str], number: int = number) -> str:
            if found["reference"]:
                return f"{found['reference']}{number:05d}"
            if found["token"]:
                return f"token-{number:08d}"
            return f"user-{number}" if found[0] == _USER else f"{number:08x}"

        for stream, version, name, state in _story():
            yield (
                _NAMES.sub(other, stream),
                version,
                name,
                _NAMES.sub(other, state.decode()).encode(),
            )


def fill(store: SqlStore, events: int) -> int:
    """Append a long history, whose read models are still to be made.

    What is personal in it opens nowhere: it is sealed for another place.

    Args:
        store: where to.
        events: how many at least: every story is told to its end.

    Returns:
        How many of them are about tickets.
    """
    copies = _copies()
    stories = -(-events // len(_story()))
    events = stories * len(_story())
    for start in range(0, events, _AT_ONCE):
        some = [next(copies) for _ in range(min(_AT_ONCE, events - start))]
        with store.writing() as cursor:
            cursor.executemany(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
                " VALUES (?, ?, ?, ?)",
                some,
            )
    return stories * sum(name.startswith("ticket.") for _, _, name, _ in _story())


def reveal_each(store: SqlStore, context: Context) -> None:
    """Record a look at each suppressed address, as versions did that recorded no accesses."""
    with store.transaction(context) as tx:
        for fingerprint, _ in tx.views.suppressions():
            stream = suppression.stream(fingerprint)
            tx.append(stream, len(tx.load(stream)), [suppression.Revealed(by="eve", at=START)])
