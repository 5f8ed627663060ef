"""Durations, and that the schema's pattern takes just those that can be read."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dodo_claude.durations import UNITS, nearest, seconds
from dodo_claude.schema import schema


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90.0),
        ("30m", 1800.0),
        ("1h30m", 5400.0),
        ("2 hours", 7200.0),
        ("10 minutes", 600.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        (" 1 h 30 min ", 5400.0),
        ("7 days", 604800.0),
        ("", None),
        ("30", None),
        ("m", None),
        ("1h 30", None),
        ("-1m", None),
        ("1e3s", None),
        ("1 H", None),
        ("١m", None),
    ],
)
def test_seconds(text: str, expected: float | None) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 minuts", "10 minutes"),
        ("1 houer 5 secnds", "1 hour 5 seconds"),
        ("30M", "30m"),
        ("5 Minutes", "5 minutes"),
        ("soon", None),
        ("1 fortnight", None),
    ],
)
def test_nearest(text: str, expected: str | None) -> None:
    assert nearest(text) == expected


PART = st.tuples(
    st.sampled_from(["1", "30", "1.5", "", "1.", ".5"]),
    st.sampled_from(["", " ", "  "]),
    st.sampled_from([*UNITS, "", "M", "x"]),
)


@given(
    st.lists(PART, max_size=4).map(lambda parts: "".join("".join(part) for part in parts))
    | st.text(max_size=6)
)
@example("1m\n")
@example("1s" * 20 + "!")
@example(" " * 60)
def test_the_pattern_takes_what_can_be_read(text: str) -> None:
    pattern = schema()["$defs"]["duration"]["pattern"].removesuffix("$")
    assert (re.search(pattern + r"\Z", text) is not None) == (seconds(text) is not None)
