"""Numbers in groups."""

from __future__ import annotations

import pytest

from dodo_claude.text.numbers import grouped


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (999, "999"), (1000, "1 000"), (-1234567, "-1 234 567")]
)
def test_digits_stand_in_threes(number: int, words: str) -> None:
    assert grouped(number) == words
