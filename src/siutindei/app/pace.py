"""How long a mail makes somebody wait: who gets none must not be told by a quicker answer."""

from __future__ import annotations

from collections import deque
from typing import Final

#: How long the mails took lately, as long as there was none.
FIRST: Final = 0.3
#: What is longer says nothing about a mail.
LONGEST: Final = 3.5
_KEPT: Final = 16


class Pace:
    """How long the newest mails took, for those who wait for none to wait as long."""

    def __init__(self) -> None:
        self._lately = deque([FIRST], maxlen=_KEPT)

    def note(self, seconds: float) -> None:
        """Remember how long a mail took; a clock that was set meanwhile is not believed."""
        if 0 <= seconds <= LONGEST:
            self._lately.append(seconds)

    def next(self) -> float:
        """Give how long one of the newest mails took, each in its turn."""
        self._lately.rotate()
        return self._lately[0]
