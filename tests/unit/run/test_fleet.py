"""Pauses, the stop, the circuit breaker, the budget and admission: on a clock that the test sets."""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.agents.usage import Usage
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Budget
from dodo_claude.run import fleet as fleets
from dodo_claude.run.fleet import Fleet, Limits

NOW = datetime(2026, 11, 22, 13, 0, tzinfo=UTC).timestamp()
PARIS = ZoneInfo("Europe/Paris")
RESETS_AT_3PM = (
    "API Error: Request rejected (429) · Claude usage limit reached. Your limit will reset at 3pm (UTC)."
)
OVERLOADED = "API Error: Repeated 529 Overloaded errors."
HOUR = 3600.0


class FakeClock:
    def __init__(self) -> None:
        self.wall, self.steady = NOW, 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


class Rig:
    """A fleet with all that surrounds it in the test's hands."""

    def __init__(self, limits: Limits | None = None, *, random: float = 1.0) -> None:
        self.clock = FakeClock()
        self.free: int | None = None
        self.heard = 0
        self.fleet = Fleet(
            Limits() if limits is None else limits,
            self.clock,
            lambda: random,
            memory=lambda: self.free,
            zone=PARIS,
            listener=self._hear,
        )

    def _hear(self) -> None:
        self.heard += 1
        self.fleet.pause_left()  # would hang if the lock were held


def at(hour: float) -> float:
    """The wall time of an hour of NOW's day, UTC."""
    return NOW + (hour - 13) * HOUR


# Pauses.


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


# The stop.


def test_the_first_reason_to_stop_stays() -> None:
    rig = Rig()
    assert rig.fleet.stopped is None
    rig.fleet.stop("disk full")
    rig.fleet.stop("something else")
    assert rig.fleet.stopped == "disk full"
    assert rig.heard == 1


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        (
            "authentication_failed",
            "Please run /login · API Error: 401",
            "authentication failed: Please run /login · API Error: 401 (run `claude` once by hand and log in, or set "
            "ANTHROPIC_API_KEY; then run again)",
        ),
        (
            "billing_error",
            "Credit balance is too low",
            "billing error: Credit balance is too low (add credit to the account, or use another; then run again)",
        ),
        (
            "model_not_found",
            "",
            "model not found (set model in orchestrate.toml to one that your account has; then run again)",
        ),
        (
            "new_kind",
            "a\nb\x1b[31m\tc" + "x" * 500,
            "new kind: a b c" + "x" * 194 + "… (mend it; then run again)",
        ),
    ],
)
def test_what_every_worker_would_meet_stops_at_once(kind: str, text: str, reason: str) -> None:
    rig = Rig()
    rig.fleet.fatal(kind, text)
    assert rig.fleet.stopped == reason
    assert rig.fleet.over_budget() is None


# The circuit breaker.


@pytest.mark.parametrize(
    ("failures", "stops"),
    [
        ([("died", 0), ("died", 0), ("died", 0)], True),
        ([("died", 0), ("died", 300), ("died", 300)], True),
        ([("died", 0), ("died", 300), ("died", 301)], False),
        ([("died", 0), ("died", 300), ("died", 301), ("died", 299)], True),
        ([("died", 0), ("hung", 0), ("died", 0), ("hung", 0)], False),
        ([("died", 0), ("hung", 0), ("died", 0), ("died", 0)], True),
        ([("verification", 0)] * 9, False),
        ([("", 0)] * 9, False),
    ],
)
def test_three_alike_in_ten_minutes(failures: list[tuple[str, float]], stops: bool) -> None:
    rig = Rig()
    for kind, later in failures:
        rig.clock.passes(later)
        rig.fleet.failed(kind)
        rig.fleet.progress()
    reason = "3 workers failed alike in 10 min (died): no further starts" if stops else None
    assert rig.fleet.stopped == reason


def test_one_stage_that_fails_again_and_again_stops_nobody_else() -> None:
    rig = Rig()
    for who in ["a"] * 5 + ["b", "a", "b"] * 3:
        rig.fleet.failed("died", who)
    assert rig.fleet.stopped is None
    rig.fleet.failed("died", "c")
    assert rig.fleet.stopped == "3 workers failed alike in 10 min (died): no further starts"


# The budget.


@pytest.mark.parametrize(
    ("budget", "usage", "cost", "reason"),
    [
        (Budget(cost_usd=5), Usage(), 5.12, "budget of 5.00 USD used (5.12)"),
        (Budget(cost_usd=5), Usage(), 4.99, None),
        (Budget(turns=10), Usage(turns=10), None, "budget of 10 turns used (10)"),
        (Budget(turns=10), Usage(turns=9, messages=50), None, None),
        (
            Budget(),
            Usage(input_tokens=49_000_000, cache_read=1_500_000),
            None,
            "budget of 50 000 000 tokens used (50 500 000)",
        ),
        (Budget(), Usage(), None, None),
    ],
)
def test_a_budget_used_up_stops(budget: Budget, usage: Usage, cost: float | None, reason: str | None) -> None:
    rig = Rig(Limits(budget))
    rig.fleet.spent(("api", 1), usage, cost)
    assert rig.fleet.over_budget() == reason
    assert rig.fleet.stopped == reason
    assert rig.heard == (reason is not None)


def test_work_in_flight_is_counted_by_what_it_last_said() -> None:
    rig = Rig(Limits(Budget(turns=100, cost_usd=10)))
    rig.fleet.spent(("a", 1), Usage(turns=40, input_tokens=5), 4.0)
    rig.fleet.spent(("a", 1), Usage(turns=50, input_tokens=3), 5.0)  # instead of what was said before
    rig.fleet.spent(("b", 1), Usage(turns=20), None)
    rig.fleet.spent(("a", 1), Usage(turns=10), None)  # its transcript was cut: used is used
    totals = rig.fleet.totals()
    assert (totals.usage, totals.cost) == (Usage(turns=70, input_tokens=5), 5.0)
    assert rig.fleet.over_budget() is None
    rig.fleet.spent(("b", 2), Usage(turns=30), 0.5)
    assert rig.fleet.over_budget() == "budget of 100 turns used (100)"


def test_nobody_told_of_costs() -> None:
    rig = Rig()
    rig.fleet.spent("a", Usage(turns=1), None)
    assert rig.fleet.totals().cost is None


def test_minutes_are_those_of_work() -> None:
    rig = Rig(Limits(Budget(minutes=30)))
    rig.clock.passes(20 * 60)
    rig.fleet.pause("rate_limit", RESETS_AT_3PM)
    assert rig.fleet.minutes_left() == 10
    rig.clock.passes(HOUR)
    assert rig.fleet.minutes_left() == 10
    rig.clock.passes(rig.fleet.pause_left())
    assert rig.fleet.over_budget() is None
    rig.clock.passes(9 * 60)
    assert (rig.fleet.stopped, rig.fleet.minutes_left()) == (None, 1)
    rig.clock.passes(60)
    assert rig.fleet.stopped == "budget of 30 min used (30)"  # found by whoever asks
    assert rig.heard == 2
    assert rig.fleet.minutes_left() == 0


def test_a_budget_used_up_after_another_stop_is_told_too() -> None:
    rig = Rig(Limits(Budget(turns=1)))
    rig.fleet.stop("3 workers failed alike")
    rig.fleet.spent("a", Usage(turns=1), None)
    assert rig.fleet.stopped == "3 workers failed alike"
    assert rig.fleet.over_budget() == "budget of 1 turns used (1)"
    assert rig.heard == 2


USAGES = st.builds(Usage, *[st.integers(0, 100)] * 6)
REPORTS = st.lists(st.tuples(st.sampled_from("abc"), USAGES, st.none() | st.floats(0, 10)), max_size=15)


@given(REPORTS)
def test_what_is_used_never_becomes_less(reports: list[tuple[str, Usage, float | None]]) -> None:
    rig = Rig(Limits(Budget(turns=150)))
    told: dict[str, list[tuple[Usage, float | None]]] = {}
    tokens, over = 0, None
    for key, usage, cost in reports:
        rig.fleet.spent(key, usage, cost)
        told.setdefault(key, []).append((usage, cost))
        totals = rig.fleet.totals()
        assert totals.usage.tokens >= tokens
        assert over is None or rig.fleet.over_budget() == over
        tokens, over = totals.usage.tokens, rig.fleet.over_budget()
        assert totals.usage.turns == sum(max(usage.turns for usage, _ in said) for said in told.values())
        costs = [max((cost for _, cost in said if cost is not None), default=0) for said in told.values()]
        assert (totals.cost or 0) == pytest.approx(sum(costs))
        assert (over is not None) == (totals.usage.turns >= 150)


# Who may start.


def test_memory_is_waited_for_but_the_first_always_starts() -> None:
    rig = Rig()
    rig.free = 412_000_000
    assert rig.fleet.admit("a") is None
    rig.clock.passes(60)
    assert rig.fleet.admit("b") == "waits for memory: 412 MB free, 700 MB needed"
    rig.free = 700_000_000
    assert rig.fleet.admit("b") is None


def test_a_worker_that_just_started_has_its_memory_still_to_take() -> None:
    rig = Rig()
    rig.free = 2_000_000_000
    assert [rig.fleet.admit(key) is None for key in "abcd"] == [True, True, True, False]
    assert rig.fleet.admit("d") == "waits for memory: 200 MB free, 700 MB needed"
    rig.clock.passes(10)
    rig.free = 1_300_000_000
    assert rig.fleet.admit("d") is None
    assert rig.fleet.admit("e") is None  # what d has still to take leaves just enough
    assert rig.fleet.admit("f") == "waits for memory: 100 MB free, 700 MB needed"


def test_room_is_made_by_an_end() -> None:
    rig = Rig()
    rig.free = 1_000_000_000
    assert rig.fleet.admit("a") is None
    assert rig.fleet.admit("b") is not None
    rig.fleet.ended("a")
    assert rig.heard == 1
    assert rig.fleet.admit("b") is None
    rig.fleet.ended("a")  # once more: nothing new
    assert rig.heard == 1


def test_an_attempt_after_another_is_the_same_worker() -> None:
    rig = Rig()
    rig.free = 0
    assert rig.fleet.admit("a") is None
    assert rig.fleet.admit("a") is None


def test_small_workers_need_little() -> None:
    rig = Rig()
    rig.free = 250_000_000
    assert rig.fleet.admit("a", large=False) is None
    assert rig.fleet.admit("b", large=False) is None
    assert rig.fleet.admit("c", large=False) == "waits for memory: 130 MB free, 160 MB needed"


def test_a_worker_of_an_earlier_run_has_its_memory() -> None:
    rig = Rig()
    rig.free = 700_000_000
    rig.fleet.adopted("old")
    assert rig.fleet.admit("a") is None
    rig.fleet.ended("a")
    rig.free = 0
    assert rig.fleet.admit("a") is not None


@pytest.mark.parametrize(("memory", "free"), [(0, 0), (600_000_000, None)])
def test_nobody_looks_or_nobody_knows(memory: int, free: int | None) -> None:
    rig = Rig(Limits(worker_memory=memory))
    rig.free = free
    assert [rig.fleet.admit(number) for number in range(50)] == [None] * 50


# What surrounds it.


def test_limits_of_a_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("p") / "orchestrate.toml"
    stage = "[stages.a]\ncommand = 'true'\n"
    path.write_text(stage)
    assert Limits.of(load_config(path)) == Limits()
    path.write_text(
        "[orchestrate]\nbudget = { turns = 7 }\nretry_delay = '1s'\nmax_wait = '2h'\nworker_memory = '0MB'\n"
        + stage
    )
    assert Limits.of(load_config(path)) == Limits(Budget(turns=7), 1.0, 7200.0, 0)


def test_the_users_zone() -> None:
    winter, summer = datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)
    paris = fleets.local_zone({"TZ": ":Europe/Paris"})
    assert [day.astimezone(paris).hour for day in (winter, summer)] == [1, 2]
    for odd in ("", "Mars/Olympus", "/etc/passwd", "EST5EDT,M3.2.0,M11.1.0"):
        winter.astimezone(fleets.local_zone({"TZ": odd}))


def test_the_standard_clock_will_do() -> None:
    fleet = Fleet(Limits(), zone=UTC)
    assert fleet.pause("overloaded", "") > 0
    assert 20 < fleet.pause_left() <= 30
    assert fleet.admit(os.getpid()) is None


def test_many_threads_at_once() -> None:
    rig = Rig(Limits(Budget(turns=10**9)))

    def work(name: int) -> None:
        for number in range(200):
            rig.fleet.spent((name, number % 5), Usage(turns=1, messages=number), 0.5)
            rig.fleet.admit(name)
            rig.fleet.ended(name)
            rig.fleet.pause("overloaded", "")
            rig.fleet.failed(f"kind {name} {number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = rig.fleet.totals()
    assert (totals.usage.turns, totals.cost) == (40, 20.0)
    assert totals.usage.messages == 8 * (195 + 196 + 197 + 198 + 199)
    assert rig.fleet.stopped is None
