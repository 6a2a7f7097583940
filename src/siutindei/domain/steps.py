"""What comes next in a sign-in, from the answers that were given in it so far.

The identity provider keeps what was asked and how it was answered; nothing else is looked at here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

Step = Literal["ask", "admit", "refuse"]


@attrs.frozen(kw_only=True)
class Answered:
    """An answer.

    Attributes:
        is_code: whether a mailed code was asked for; nothing else lets anybody in.
        correct: whether the answer was right.
    """

    is_code: bool
    correct: bool


def next_step(answered: Sequence[Answered], *, attempts: int) -> Step:
    """Ask for a code, let the one in whose newest answer was the right code, or give up.

    Args:
        answered: the answers, oldest first.
        attempts: as many wrong ones as end it.
    """
    if sum(not answer.correct for answer in answered) >= attempts:
        return "refuse"
    if answered and answered[-1].is_code and answered[-1].correct:
        return "admit"
    return "ask"
