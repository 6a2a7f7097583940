"""Erasing: whose keys go with a person, and doing again what a backup or a kill undid.

No mail port is needed here: whoever opens a store erases again before anybody reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from siutindei.app.commands import transact
from siutindei.app.folding import person_of, version_of
from siutindei.app.ports import Context, ListedErasure, PortError, Unusable
from siutindei.domain import person
from siutindei.domain.personal import Personal, address_owner, of

if TYPE_CHECKING:
    from datetime import datetime

    from siutindei.app.ports import Clock, ErasureList, EventStore, Ids, Transaction

#: Who erases again: the list of erasures.
BY: Final = "erasures"
_REASON: Final = "the list of erasures names them, and the database did not know"


@attrs.frozen(kw_only=True)
class Reach:
    """What an erasure reaches.

    Attributes:
        user: who is erased.
        known: what is known of them.
        version: how long their stream is.
        fingerprints: of the addresses that were theirs, and that nobody else has now.
        keys: the streams that there is a key for, by the key's id.
    """

    user: str
    known: person.Person
    version: int
    fingerprints: tuple[str, ...]
    keys: Mapping[str, str]

    @property
    def listed(self) -> ListedErasure:
        """What the list of erasures keeps of it."""
        return ListedErasure(self.user, self.fingerprints)


def reach(tx: Transaction, user: str, listed: Sequence[str] = ()) -> Reach:
    """Find out what an erasure reaches.

    Args:
        tx: the transaction.
        user: who is erased.
        listed: fingerprints of addresses that are known to have been theirs.
    """
    events = tx.load(person.stream(user))
    known = person_of(events)
    fingerprints = tuple(
        print_
        for print_ in dict.fromkeys((*known.proofs, *listed))
        if (holder := tx.views.person_by_address(print_)) is None or holder.user == user
    )
    owners = (user, *map(address_owner, fingerprints))
    keys = {key: stream for owner in owners for key, stream in tx.keys_of(owner).items()}
    return Reach(
        user=user, known=known, version=version_of(events), fingerprints=fingerprints, keys=keys
    )


def destroy(tx: Transaction, reached: Reach, *, by: str, reason: Personal, at: datetime) -> None:
    """Record an erasure, when there is none yet, and destroy every key that it reaches."""
    user = reached.user
    tx.append(
        person.stream(user),
        reached.version,
        person.erase(reached.known, user=user, by=by, reason=reason, at=at),
    )
    tx.destroy_keys(user, forever=True)
    for fingerprint in reached.fingerprints:
        # It was theirs, and nobody else has it now: what was decided under it is theirs.
        tx.destroy_keys(address_owner(fingerprint), forever=False)


def erase_again(
    store: EventStore, erasures: ErasureList, *, clock: Clock, ids: Ids
) -> Sequence[str]:
    """Erase whom the list names and who is not erased here; give who that was.

    That is somebody whom a backup brought back, or who came after it was made and is listed: no new
    data may be kept under their id. Or an erasure was listed and then cut off.

    Raises:
        Unavailable: not now.
        Unusable: this process may not do it.
    """
    listed = {erasure.user: erasure for erasure in erasures.all()}
    if not listed or not store.last_position():
        # Where nothing happened there is nobody; an import fills only what is empty.
        return []
    erased: list[str] = []
    try:
        for user in store.not_erased(list(listed)):
            id = ids.uuid()
            context = Context(command_id=id, actor=BY, request_id=id, correlation_id=id)
            if transact(store, context, partial(_erase, listed[user], clock)):
                erased.append(user)
        if erased:
            scrub_what_is_owed(store)
    except Unusable as error:
        msg = f"somebody who was erased is back, and cannot be erased again here: {error}"
        raise Unusable(msg) from error
    return erased


def scrub_what_is_owed(store: EventStore) -> bool:
    """Clean the files, where an erasure could not or was killed; say whether they are clean now.

    Raises:
        Unavailable: the store is not there.
    """
    if not store.owed:
        return True
    try:
        store.scrub()
    except PortError:
        # It is owed still, and `doctor` says so.
        return False
    return True


def _erase(listed: ListedErasure, clock: Clock, tx: Transaction) -> bool:
    if tx.is_erased(listed.user):
        # Another process was first.
        return False
    reached = reach(tx, listed.user, listed.fingerprints)
    destroy(tx, reached, by=BY, reason=of(BY, _REASON), at=clock.now())
    return True
