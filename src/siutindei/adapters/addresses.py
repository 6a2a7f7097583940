"""Addresses: checked by `email-validator`, found again by a keyed hash."""

from __future__ import annotations

import hmac
import re
from hashlib import sha256
from typing import Final

import attrs
from email_validator import EmailNotValidError, validate_email

from siutindei.adapters.keys import KeyRing
from siutindei.domain import mail
from siutindei.domain.errors import Invalid

_MOST: Final = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets


@attrs.frozen
class HashedAddressBook:
    """See `ports.AddressBook`; the key never rotates, because streams are named by the hash."""

    index_key: KeyRing = attrs.field(repr=False)

    def normalise(self, text: object, *, field: str = "email") -> str:
        """Check an address (RFC 5321, RFC 5890) and give its ASCII form.

        Raises:
            Invalid: not an address, or one that SES does not deliver to (a local part outside
                ASCII).
        """
        if not isinstance(text, str):
            raise Invalid(field, "must be text")
        if len(text) > _MOST:
            raise Invalid(field, f"is longer than {_MOST} characters")
        try:
            # Strict: the part before the @ has 64 characters at the most (RFC 5321, 4.5.3.1.1).
            checked = validate_email(
                text.strip(), check_deliverability=False, allow_smtputf8=False, strict=True
            )
        except EmailNotValidError as error:
            raise Invalid(field, _without_address(str(error))) from None
        # The rule of the domain has the last word: what it would not mail to is not taken.
        return mail.address(field, checked.ascii_email or "")

    def fingerprint(self, address: str) -> str:
        """Give the first 128 bits of HMAC-SHA256 (RFC 2104) of the address in lower case."""
        digest = hmac.new(self.index_key.key, address.lower().encode(), sha256)
        return digest.hexdigest()[:32]


def _without_address(text: str) -> str:
    """Keep what the validator says and drop what follows: it quotes pieces of the input there."""
    return re.split(r"[:(]", text, maxsplit=1)[0].rstrip(" .")
