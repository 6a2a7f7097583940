"""Sign-in codes by HOTP (RFC 4226) with one key for each challenge; stored nowhere."""

from __future__ import annotations

import hmac
from hashlib import sha256

import attrs
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

from siutindei.adapters.keys import KeyRing
from siutindei.app.ports import Unusable
from siutindei.domain.challenge import CODE_DIGITS


@attrs.frozen
class HotpCodes:
    """See `ports.Codes`."""

    ring: KeyRing = attrs.field(repr=False)

    @property
    def current_key_id(self) -> str:
        """Name the key that new challenges use."""
        return self.ring.current

    def code(self, *, key_id: str, challenge: str) -> str:
        """Derive the code: HOTP at counter 0 under HMAC-SHA256(code key, challenge id)."""
        key = self.ring.keys.get(key_id)
        if key is None:
            msg = f"the ring of code keys lacks the key {key_id}; put it back"
            raise Unusable(msg)
        secret = hmac.new(key, challenge.encode(), sha256).digest()
        return HOTP(secret, CODE_DIGITS, SHA1()).generate(0).decode()  # noqa: S303  # RFC 4226
