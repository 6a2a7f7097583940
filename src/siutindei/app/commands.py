"""Commands: a lost race is decided again, and a repeated command gets its first answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from siutindei.app.ports import CommandRepeated, Conflict, Context, EventStore
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.app.ports import Recorded, Transaction

T = TypeVar("T")

_TRIES: Final = 5


def transact(store: EventStore, context: Context, work: Callable[[Transaction], T]) -> T:
    """Do some work in one transaction; when somebody else was first, do it again with what is now.

    Raises:
        CommandRepeated: the command was carried out before.
        Conflict: somebody else was first, again and again.
    """
    tries = 0
    while True:
        try:
            with store.transaction(context) as tx:
                return work(tx)
        except Conflict:
            tries += 1
            if tries == _TRIES:
                raise


def first_answer(
    store: EventStore,
    repeated: CommandRepeated,
    *kinds: type,
    same: Callable[[Recorded], bool],
) -> Recorded:
    """Give the event of one of these kinds that a command appended when it was carried out.

    Args:
        store: the history.
        repeated: what the store said of the command.
        *kinds: what the command would append.
        same: whether an event is what this very command would have appended: an id that was used
            for another one must not be answered with that one's success.

    Raises:
        Invalid: the command's id was used for another command.
    """
    for id in repeated.event_ids:
        stream, _, version = id.rpartition("/")
        (entry,) = store.load(stream, newest=1, until=int(version))
        if isinstance(entry.event, kinds) and same(entry):
            return entry
    raise Invalid("command_id", "was used for another command; give this one an id of its own")
