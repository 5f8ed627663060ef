"""What a run has used: tokens, turns and dollars of its attempts, and whether that is more than its budget."""

from __future__ import annotations

from collections.abc import Hashable

from dodo_claude.agents.usage import Usage
from dodo_claude.config.records import Budget
from dodo_claude.text.numbers import grouped


class Spending:
    """The sums of one run, by stage and attempt. Whoever holds it lets one thread at a time tell."""

    def __init__(self) -> None:
        # Of each stage what its attempts used, and paid.
        self._spent: dict[str, dict[Hashable, tuple[Usage, float | None]]] = {}
        self.usage = Usage()  # the sums of those
        self.cost: float | None = None  # USD; None: nobody told of any

    def spent(self, key: Hashable, usage: Usage, cost: float | None, stage: str) -> None:
        """What the attempt `key` of `stage` has used so far, in all. Less than it said before counts as no change."""
        attempts = self._spent.setdefault(stage, {})
        before, paid = attempts.get(key, (Usage(), None))
        usage = usage.at_least(before)
        self.usage = self.usage - before + usage
        if cost is not None:
            cost = max(cost, paid or 0.0)
            self.cost = (self.cost or 0.0) - (paid or 0.0) + cost
        attempts[key] = (usage, paid if cost is None else cost)

    def of_stage(self, stage: str) -> tuple[int, float | None]:
        """Tokens and dollars of a stage's attempts in this run."""
        attempts = self._spent.get(stage, {}).values()
        costs = [cost for _, cost in attempts if cost is not None]
        return sum(usage.tokens for usage, _ in attempts), sum(costs) if costs else None

    def over(self, budget: Budget, minutes: float) -> str | None:
        """Which part of `budget` is used up after so many minutes, in words."""
        if minutes >= budget.minutes:
            return f"budget of {budget.minutes} min used ({minutes:.0f})"
        if self.usage.turns >= budget.turns:
            return f"budget of {grouped(budget.turns)} turns used ({grouped(self.usage.turns)})"
        if self.usage.tokens >= budget.tokens:
            return f"budget of {grouped(budget.tokens)} tokens used ({grouped(self.usage.tokens)})"
        if self.cost is not None and self.cost >= budget.cost_usd:
            return f"budget of {budget.cost_usd:.2f} USD used ({self.cost:.2f})"
        return None
