"""Who looked at what is personal: one event for each call that shows it.

Stream `access-ticket-<reference>`, `access-person-<user>` or `access-suppressions`, by what was
looked at.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

# --- names ---------------------------------------------------------------------------------------

CATEGORY: Final = "access"
#: A ticket's dossier, everything that is kept about a person, or suppressed addresses in clear.
What = Literal["dossier", "export", "addresses"]
#: What is looked at where it is neither one ticket nor one person.
SUPPRESSIONS: Final = "suppressions"
_OF: Final[Mapping[What, str]] = {"dossier": "ticket-", "export": "person-", "addresses": ""}


def stream(what: What, subject: str) -> str:
    """Name the stream of who looked at one ticket, at one person, or at the suppressions."""
    return f"{CATEGORY}-{_OF[what]}{subject}"


# --- events: these are storage formats; a change needs a new version and an upcast ----------------


@attrs.frozen(kw_only=True)
class Opened:
    """Somebody looked at what is personal; recorded before anything is shown."""

    what: What
    #: The ticket's number, the user's id, or `suppressions`.
    subject: str
    by: str
    #: How many addresses; of a dossier or an export, how many tickets and mails.
    shown: int
    at: datetime


Event = Opened

EVENTS: Final[dict[str, type]] = {"access.opened.v1": Opened}

# --- state ---------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Accesses:
    """Who looked at one thing.

    Attributes:
        count: how often somebody did.
        newest: who did last.
    """

    count: int = 0
    newest: Opened | None = None


INITIAL: Final = Accesses()

# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Accesses, event: Event) -> Accesses:
    """Fold one fact."""
    return attrs.evolve(state, count=state.count + 1, newest=event)


# --- decisions -----------------------------------------------------------------------------------


def look(
    _: Accesses, *, what: What, subject: str, by: str, shown: int, at: datetime
) -> tuple[Event, ...]:
    """Record that somebody looks; never quiet, as each look is one of its own."""
    return (Opened(what=what, subject=subject, by=by, shown=shown, at=at),)
