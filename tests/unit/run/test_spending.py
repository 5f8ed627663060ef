"""The budget of a run: what is counted, and when it is used up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.agents.usage import Usage
from dodo_claude.config.records import Budget
from dodo_claude.run.fleet import Limits
from tests.samples.fleets import HOUR, RESETS_AT_3PM, Rig


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
