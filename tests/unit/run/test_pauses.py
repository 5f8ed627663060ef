"""The pauses of a run: how long, and that none becomes shorter."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config.records import Budget
from dodo_claude.run.fleet import Limits
from dodo_claude.run.pauses import local_zone
from tests.samples.fleets import HOUR, NOW, OVERLOADED, RESETS_AT_3PM, Rig, at


@pytest.mark.parametrize(
    ("kind", "text", "seconds"),
    [
        ("rate_limit", RESETS_AT_3PM, 2 * HOUR + 60),
        ("rate_limit", "5-hour limit reached ∙ resets 3:40pm (Europe/Paris)", 100 * 60 + 60),
        ("rate_limit", "You've hit your limit · resets 4pm", 2 * HOUR + 60),  # the user's zone, Paris here
        ("rate_limit", "usage limit reached, resets 12:30pm (UTC)", 15 * 60),  # just over
        ("rate_limit", "Usage limit reached.", 30 * 60),
        ("rate_limit", "5-hour limit reached ∙ resets 3pm (Mars/Olympus)", 30 * 60),
        ("rate_limit", "API Error: Request rejected (429) · scripted error 429", 30),
        ("rate_limit", "This request would exceed your organization's rate limit of 30,000 tokens", 30),
        ("rate_limit", "Rate limit reached", 30),
        ("rate_limit", "", 30),
        ("overloaded", OVERLOADED, 30),
        ("server_error", "API Error: 500 the service resets at 3pm (UTC)", 30),
    ],
)
def test_how_long_a_pause_is(kind: str, text: str, seconds: float) -> None:
    rig = Rig()
    assert rig.fleet.pause(kind, text) == NOW + seconds
    assert rig.fleet.pause_left() == seconds
    assert rig.fleet.paused_until == NOW + seconds
    assert rig.fleet.stopped is None
    assert rig.heard == 1


def test_without_a_limit_there_is_no_pause() -> None:
    rig = Rig()
    assert (rig.fleet.pause_left(), rig.fleet.paused_until) == (0.0, None)


def test_it_ends_when_its_time_has_come() -> None:
    rig = Rig()
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    rig.clock.passes(2 * HOUR)
    assert rig.fleet.pause_left() == 60
    rig.clock.passes(60)
    assert (rig.fleet.pause_left(), rig.fleet.paused_until) == (0.0, None)
    assert rig.fleet.totals().paused == 2 * HOUR + 60


def test_a_clock_change_of_the_zone_is_in_the_users_time() -> None:
    rig = Rig()
    rig.clock.wall = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()  # 2:30, summer; 3:00 comes twice
    until = rig.fleet.pause("rate_limit", "limit reached, resets 4am")
    assert until - rig.clock.wall == 2.5 * HOUR + 60


def test_a_machine_that_slept_wakes_up_after_the_pause() -> None:
    rig = Rig()
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    rig.clock.wall += 3 * HOUR  # the other clock stands still meanwhile
    assert rig.fleet.pause_left() == 0
    assert rig.fleet.totals().paused == 0


def test_a_clock_set_back_makes_no_pause_longer() -> None:
    rig = Rig()
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    rig.clock.wall -= 100 * HOUR
    assert rig.fleet.pause_left() == 2 * HOUR + 60
    rig.clock.passes(2 * HOUR + 60)
    assert rig.fleet.pause_left() == 0


def test_all_workers_share_one_pause_and_a_later_end_wins() -> None:
    rig = Rig()
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    assert rig.fleet.pause("overloaded", OVERLOADED) == at(15) + 60
    assert rig.fleet.pause("rate_limit", "limit reached, resets 4pm (UTC)") == at(16) + 60
    assert rig.fleet.pause("rate_limit", RESETS_AT_3PM) == at(16) + 60


def test_overloads_back_off_and_workers_that_fail_together_count_once() -> None:
    rig = Rig()
    waited = []
    for _ in range(8):
        rig.fleet.pause("overloaded", OVERLOADED)
        rig.clock.passes(1)
        rig.fleet.pause("server_error", "API Error: 500")
        rig.fleet.pause("rate_limit", "API Error: 429")
        waited.append(rig.fleet.pause_left())
        rig.clock.passes(waited[-1])
    assert waited == [30, 60, 120, 240, 480, 900, 900, 900]
    rig.fleet.progress()
    rig.fleet.pause("overloaded", OVERLOADED)
    assert rig.fleet.pause_left() == 30


def test_a_backoff_is_spread() -> None:
    assert Rig(random=0.0).fleet.pause("overloaded", "") == NOW + 22.5


def test_progress_ends_no_pause() -> None:
    rig = Rig()
    rig.fleet.pause("overloaded", OVERLOADED)
    rig.fleet.progress()
    assert rig.fleet.pause_left() == 30
    rig.fleet.pause("overloaded", OVERLOADED)
    assert rig.fleet.pause_left() == 30


def test_an_overload_is_no_limit() -> None:
    rig = Rig(Limits(max_wait=1.0, retry_delay=30.0))
    rig.fleet.pause("overloaded", "529")
    assert str(rig.fleet.stopped).startswith("the API is overloaded: a pause until 2026-11-22 ")
    rig = Rig()
    assert rig.fleet.paused_for == ""
    rig.fleet.pause("overloaded", "529")
    assert rig.fleet.paused_for == "the API is overloaded"
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    assert rig.fleet.paused_for == "a limit"


@pytest.mark.parametrize(
    ("max_wait", "text", "reason"),
    [
        (HOUR, RESETS_AT_3PM, "a limit until 2026-11-22 16:01, longer than a run may wait in all (60 min): "),
        (
            0.0,
            "Usage limit reached",
            "a limit until 2026-11-22 14:30, longer than a run may wait in all (0 s): ",
        ),
        (
            24 * HOUR,
            "Weekly limit reached, resets Nov 25 at 5pm (UTC)",
            "a limit until 2026-11-25 18:00, longer than a run may wait in all (24 h): Weekly limit reached, "
            "resets Nov 25 at 5pm (UTC) (run again then, or set orchestrate.max_wait)",
        ),
    ],
)
def test_a_limit_that_outlasts_the_run_stops_it(max_wait: float, text: str, reason: str) -> None:
    rig = Rig(Limits(max_wait=max_wait))
    rig.fleet.pause("rate_limit", text)
    stopped = rig.fleet.stopped
    assert stopped is not None
    assert stopped.startswith(reason)


def test_waits_add_up() -> None:
    rig = Rig(Limits(Budget(minutes=10_000)))
    for _ in range(11):
        rig.fleet.pause("rate_limit", "usage limit reached, resets " + f"{_clock(rig, 2)} (UTC)")
        assert rig.fleet.stopped is None
        rig.clock.passes(rig.fleet.pause_left())
        rig.clock.passes(5 * HOUR)  # work
    assert round(rig.fleet.totals().paused / HOUR) == 22
    rig.fleet.pause("rate_limit", "usage limit reached, resets " + f"{_clock(rig, 3)} (UTC)")
    assert "longer than a run may wait in all (24 h)" in str(rig.fleet.stopped)


def _clock(rig: Rig, hours: float) -> str:
    return f"{datetime.fromtimestamp(rig.clock.wall + hours * HOUR, UTC):%H:%M}"


TEXTS = st.sampled_from([RESETS_AT_3PM, OVERLOADED, "limit reached", "limit reached, resets 1am (UTC)", ""])
STEPS = st.lists(
    st.tuples(st.sampled_from(["rate_limit", "overloaded"]), TEXTS, st.floats(0, 5000)), max_size=12
)


@given(STEPS, st.floats(0, 1))
def test_a_pause_never_becomes_shorter(steps: list[tuple[str, str, float]], chance: float) -> None:
    rig = Rig(random=chance)
    for kind, text, seconds in steps:
        left, until = rig.fleet.pause_left(), rig.fleet.paused_until or 0.0
        assert rig.fleet.pause(kind, text) >= until
        assert rig.fleet.pause_left() >= left
        assert 0 < rig.fleet.pause_left() <= 24 * HOUR + 1
        rig.clock.passes(seconds)
        assert rig.fleet.totals().paused <= rig.clock.steady - 1000.0 + 0.001


def test_further_attempts_wait_longer_and_longer() -> None:
    rig = Rig(Limits(retry_delay=10.0))
    assert [rig.fleet.retry_delay(count) for count in (1, 2, 3, 9, 5000)] == [10, 20, 40, 900, 900]


def test_the_users_zone() -> None:
    winter, summer = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    paris = local_zone({"TZ": ":Europe/Paris"})
    assert [day.astimezone(paris).hour for day in (winter, summer)] == [1, 2]
    for odd in ("", "Mars/Olympus", "/etc/passwd", "EST5EDT,M3.2.0,M11.1.0"):
        winter.astimezone(local_zone({"TZ": odd}))
