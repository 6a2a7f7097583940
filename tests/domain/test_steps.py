"""What comes next in a sign-in."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.domain.steps import Answered, next_step

RIGHT: Final = Answered(is_code=True, correct=True)
WRONG: Final = Answered(is_code=True, correct=False)
OTHER: Final = Answered(is_code=False, correct=True)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([], "ask"),
        ([RIGHT], "admit"),
        ([WRONG], "ask"),
        ([WRONG, WRONG], "ask"),
        ([WRONG, WRONG, RIGHT], "admit"),
        ([WRONG, WRONG, WRONG], "refuse"),
        ([WRONG, WRONG, WRONG, RIGHT], "refuse"),
        ([OTHER], "ask"),
        ([RIGHT, OTHER], "ask"),
        ([RIGHT, WRONG], "ask"),
    ],
    ids=str,
)
def test_what_comes_next(answered: list[Answered], expected: str) -> None:
    """A code is asked for until the newest answer is the right one, or three were wrong."""
    assert expected == next_step(answered, attempts=3)


@given(
    answered=st.lists(st.builds(Answered, is_code=st.booleans(), correct=st.booleans())),
    attempts=st.integers(1, 10),
)
def test_nobody_gets_in_without_a_code(answered: list[Answered], attempts: int) -> None:
    """Whatever came before, only a right code as the newest answer lets in."""
    if next_step(answered, attempts=attempts) == "admit":
        assert RIGHT == answered[-1]
        assert attempts > sum(not answer.correct for answer in answered)
