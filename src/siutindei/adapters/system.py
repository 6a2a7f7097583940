"""The machine's clock and chance."""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import UTC, datetime


class SystemClock:
    """The machine's time."""

    def now(self) -> datetime:
        """Give the time, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class RandomIds:
    """Names from the operating system's random source."""

    def uuid(self) -> str:
        """Make a random UUID (RFC 9562, version 4)."""
        return str(uuid.uuid4())

    def token(self) -> str:
        """Make an opaque name of 128 random bits."""
        # In hexadecimal: a name that begins with a dash would be an option on a command line.
        return secrets.token_hex(16)
