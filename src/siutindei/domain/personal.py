"""Personal data: one class that is clear, sealed or erased inside.

Addresses, names and free text that a person typed are `Personal` from the moment they enter.
The store seals them before anything is written and hands them back sealed; only a vault opens them.
"""

from __future__ import annotations

from typing import Final

ERASED_TEXT: Final = "[erased]"


class Personal:
    """A text that belongs to somebody; `repr` and `str` never show it.

    Exactly one of three: clear (`clear` is the text), sealed (`token` is the ciphertext and `place`
    says where it was written), or erased (neither). Not an attrs class: the codec treats those as
    JSON objects, and this one is a JSON string.

    Attributes:
        owner: whose it is: a user id, or `address-<fingerprint>`; empty once it is stored.
        clear: the text, as long as it is clear.
        token: `<key id>.<base64url>`, as long as it is sealed.
        place: `<stream>/<version>/<field>`, what the ciphertext is bound to.
    """

    __slots__ = ("clear", "owner", "place", "token")

    def __init__(
        self,
        *,
        owner: str = "",
        clear: str | None = None,
        token: str | None = None,
        place: str = "",
    ) -> None:
        self.owner = owner
        self.clear = clear
        self.token = token
        self.place = place

    @property
    def is_erased(self) -> bool:
        """Whether nothing is left of it."""
        return self.clear is None and self.token is None

    @property
    def is_sealed(self) -> bool:
        """Whether a vault has to open it first."""
        return self.token is not None

    @property
    def text(self) -> str:
        """The text, or `[erased]`.

        Raises:
            TypeError: it is still sealed: open it with the vault first.
        """
        if self.token is not None:
            msg = "sealed: open it with the vault first"
            raise TypeError(msg)
        return ERASED_TEXT if self.clear is None else self.clear

    def __eq__(self, other: object) -> bool:
        """Compare what is inside; whose it is and where it stood do not count."""
        if not isinstance(other, Personal):
            return NotImplemented
        return (self.clear, self.token) == (other.clear, other.token)

    def __hash__(self) -> int:
        return hash((self.clear, self.token))

    def __repr__(self) -> str:
        state = "sealed" if self.is_sealed else "erased" if self.is_erased else "clear"
        return f"<Personal {state}>"

    __str__ = __repr__


ERASED: Final = Personal()


def of(owner: str, text: str) -> Personal:
    """Make a clear one that belongs to `owner`."""
    return Personal(owner=owner, clear=text)


def maybe(owner: str, text: str | None) -> Personal | None:
    """Make a clear one, or None when there is no text."""
    return None if text is None else of(owner, text)


def address_owner(fingerprint: str) -> str:
    """Name the owner of data that belongs to an address and to no user that we know."""
    return f"address-{fingerprint}"
