"""Durations, and that the schema's pattern takes just those that can be read."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dodo_claude.config.schema import schema
from dodo_claude.text.durations import UNITS, in_words, nearest, roughly, seconds


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


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (-1.0, "0 s"), (0.04, "0 s"), (0.25, "0.2 s"), (1.0, "1 s"), (6.14, "6.1 s"), (9.96, "10 s"), (42.4, "42 s"), (119.4, "119 s"),
        (119.9, "2 min"), (600.0, "10 min"), (7_100.0, "118 min"), (7_199.0, "2 h"), (7_200.0, "2 h"), (9_000.0, "2.5 h"),
        (90_000.0, "25 h"), (float("inf"), "an unknown time"), (float("nan"), "an unknown time"),
    ],
)  # fmt: skip
def test_a_length_is_the_same_words_everywhere(length: float, said: str) -> None:
    assert in_words(length) == said


@pytest.mark.parametrize(
    ("length", "said"), [(1.0, "5 s"), (17.0, "15 s"), (59.0, "60 s"), (100.0, "100 s"), (7_200.0, "2 h")]
)
def test_an_estimate_has_few_digits(length: float, said: str) -> None:
    assert roughly(length) == said
