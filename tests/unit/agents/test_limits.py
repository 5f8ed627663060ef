"""Reset times out of the client's sentences: zones, past times, clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.agents import limits

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")

CASES = {
    "Claude usage limit reached. Your limit will reset at 3pm (UTC).": datetime(
        2026, 11, 22, 15, 0, tzinfo=UTC
    ),
    "5-hour limit reached ∙ resets 3:40pm (Europe/Paris)": datetime(2026, 11, 22, 14, 40, tzinfo=UTC),
    "resets 9am (America/New_York)": datetime(2026, 11, 22, 14, 0, tzinfo=UTC),
    "resets 12am (UTC)": datetime(2026, 11, 23, 0, 0, tzinfo=UTC),
    "resets 12pm (UTC)": datetime(2026, 11, 22, 12, 0, tzinfo=UTC),  # an hour ago: just over, not tomorrow
    "resets 11:59am (UTC)": datetime(2026, 11, 23, 11, 59, tzinfo=UTC),
    "resets 20:15 (UTC)": datetime(2026, 11, 22, 20, 15, tzinfo=UTC),
    "resets 8pm": datetime(2026, 11, 22, 19, 0, tzinfo=UTC),  # the local zone, Paris here
    "Weekly limit reached, resets Nov 25 at 5pm (UTC)": datetime(2026, 11, 25, 17, 0, tzinfo=UTC),
    "resets Jan 2, 9am (UTC)": datetime(2027, 1, 2, 9, 0, tzinfo=UTC),
    "resets Dec 1, 2026, 1:05 p.m. (UTC)": datetime(2026, 12, 1, 13, 5, tzinfo=UTC),
    "resets 3pm (Mars/Olympus)": None,
    "resets 25:00 (UTC)": None,
    "resets 13pm (UTC)": None,
    "resets 5": None,
    "resets Nov 31 at 5pm (UTC)": None,
    "resets Foo 3, 5pm (UTC)": None,
    "API Error: 429": None,
    "": None,
}


@pytest.mark.parametrize("text", CASES)
def test_reset_time(text: str) -> None:
    assert limits.reset_time(text, NOW, PARIS) == CASES[text]


def test_an_hour_that_the_clocks_skip_or_repeat() -> None:
    spring = datetime(2027, 3, 28, 0, 0, tzinfo=UTC)  # Paris: 2:30 does not exist
    assert limits.reset_time("resets 2:30am (Europe/Paris)", spring, UTC) == datetime(
        2027, 3, 28, 1, 30, tzinfo=UTC
    )
    autumn = datetime(2026, 10, 24, 23, 0, tzinfo=UTC)  # Paris: 2:30 comes twice; the first is taken
    assert limits.reset_time("resets 2:30am (Europe/Paris)", autumn, UTC) == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )


WAITS = {
    "resets 3pm (UTC)": timedelta(hours=2, minutes=1),
    "resets 12:30pm (UTC)": timedelta(minutes=15),
    "no time here": timedelta(minutes=30),
    "resets Nov 29 at 5pm (UTC)": timedelta(hours=24),
}


@pytest.mark.parametrize("text", WAITS)
def test_wait_until(text: str) -> None:
    assert limits.wait_until(text, NOW, UTC) - NOW == WAITS[text]


@given(st.text(), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_any_text_gives_a_wait_of_at_most_a_day(text: str, now: datetime) -> None:
    aware = now.replace(tzinfo=UTC)
    for line in (text, f"resets {text}", f"resets at 3pm ({text})", f"resets {text} 3pm (UTC)"):
        wait = limits.wait_until(line, aware, PARIS) - aware
        assert timedelta() < wait <= limits.LONGEST


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_grows_and_is_bounded(failures: int, random: float) -> None:
    wait = limits.backoff(failures, 30.0, 900.0, random)
    assert 22.5 <= wait <= 900.0
    assert limits.backoff(failures + 1, 30.0, 900.0, random) >= wait
