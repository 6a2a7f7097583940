"""Erasing: whose keys go with a person, and doing it again when a backup brought them back.

No mail port is needed here: whoever opens a store erases again before anybody reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.commands import transact
from siutindei.app.folding import person_of, version_of
from siutindei.app.ports import Context, Unusable
from siutindei.domain import person
from siutindei.domain.personal import Personal, address_owner, of

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Clock, ErasureList, EventStore, Ids, Transaction

#: Who erases again: the list of erasures.
BY: Final = "erasures"
_REASON: Final = "the list of erasures names them, and there were keys of theirs"


@attrs.frozen(kw_only=True)
class Reach:
    """What an erasure reaches.

    Attributes:
        user: who is erased.
        known: what is known of them.
        version: how long their stream is.
        addresses: the addresses that they proved and that nobody else has now, as owners.
        keys: the streams that there is a key for, by the key's id.
    """

    user: str
    known: person.Person
    version: int
    addresses: Sequence[str]
    keys: Mapping[str, str]


def reach(tx: Transaction, user: str) -> Reach:
    """Find out what an erasure reaches."""
    events = tx.load(person.stream(user))
    known = person_of(events)
    addresses = [
        address_owner(print_)
        for print_ in known.proofs
        if (holder := tx.views.person_by_address(print_)) is None or holder.user == user
    ]
    keys = {
        key: stream for owner in (user, *addresses) for key, stream in tx.keys_of(owner).items()
    }
    return Reach(user=user, known=known, version=version_of(events), addresses=addresses, keys=keys)


def destroy(tx: Transaction, reached: Reach, *, by: str, reason: Personal, at: datetime) -> None:
    """Record an erasure, when there is none yet, and destroy every key that it reaches."""
    user = reached.user
    tx.append(
        person.stream(user),
        reached.version,
        person.erase(reached.known, user=user, by=by, reason=reason, at=at),
    )
    tx.destroy_keys(user, forever=True)
    for owner in reached.addresses:
        # They proved it, and nobody else has it now: what was decided under it is theirs.
        tx.destroy_keys(owner, forever=False)


def erase_again(
    store: EventStore, erasures: ErasureList, *, clock: Clock, ids: Ids
) -> Sequence[str]:
    """Erase whom the list names and who has keys here all the same; give who that was.

    An erased person never gets a key: there is one only in a database that was restored from a
    backup, or where an erasure was listed and then cut off.

    Raises:
        Unavailable: not now; or erased, but a file could not be cleaned: the text says which.
        Unusable: this process may not do it.
    """
    erased: list[str] = []
    try:
        for user in store.owners_with_keys(erasures.users()):
            id = ids.uuid()
            context = Context(command_id=id, actor=BY, request_id=id, correlation_id=id)
            if transact(store, context, partial(_erase, user, clock)):
                erased.append(user)
        if erased:
            store.scrub()
    except Unusable as error:
        msg = f"somebody who was erased has keys here again, and they cannot be destroyed: {error}"
        raise Unusable(msg) from error
    return erased


def _erase(user: str, clock: Clock, tx: Transaction) -> bool:
    reached = reach(tx, user)
    if not reached.keys:
        # Another process was first.
        return False
    destroy(tx, reached, by=BY, reason=of(BY, _REASON), at=clock.now())
    return True
