"""Who acts: ids as they are, addresses as their fingerprint."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import attrs

from siutindei.domain import fields
from siutindei.domain.errors import Invalid
from siutindei.domain.personal import Personal, address_owner, of

if TYPE_CHECKING:
    from siutindei.app.ports import AddressBook

_MOST = 128


@attrs.frozen(kw_only=True)
class Someone:
    """Somebody who acts.

    Attributes:
        id: what names them in clear: a user id, or `address-<fingerprint>`.
        shown: what they are called, personal when it is an address.
    """

    id: str
    shown: Personal

    @property
    def is_user(self) -> bool:
        """Whether they are named by a user's id, and not by an address."""
        return self.id == self.shown.clear


def user_id(name: str, value: object) -> str:
    """Check the id of a user: one line without blanks and slashes, and no address.

    Raises:
        Invalid: names the field.
    """
    checked = fields.required_line(name, value, most=_MOST)
    if any(char.isspace() or char == "/" for char in checked):
        raise Invalid(name, "has a blank or a slash")
    # Letters that look like an @ count as one: what is meant is an address all the same.
    if "@" in unicodedata.normalize("NFKC", checked):
        raise Invalid(name, "is an address; ids are kept in clear, and addresses are not")
    return checked


def someone(addresses: AddressBook, name: str, value: object) -> Someone:
    """Check the name of somebody who acts, whether it is an id or an address.

    Raises:
        Invalid: names the field.
    """
    text = fields.required_line(name, value, most=254)
    if "@" in text:
        address = addresses.normalise(text, field=name)
        owner = address_owner(addresses.fingerprint(address))
        return Someone(id=owner, shown=of(owner, address))
    owner = user_id(name, text)
    return Someone(id=owner, shown=of(owner, owner))
