"""What figures should be, as data. The only place that knows when a figure is good."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench.frame import Figure, Found, Skipped


class Goal(NamedTuple):
    """`figure` shall be at most, or else at least, `limit` of its unit. `why` says what the limit is taken from."""

    figure: str
    limit: float
    why: str
    at_least: bool = False


@dataclass(frozen=True)
class Verdict:
    """`figure` is None where it was not measured; `why_not` then says why."""

    goal: Goal
    figure: Figure | None
    why_not: str = ""

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        median = self.figure.spread.median
        return median >= self.goal.limit if self.goal.at_least else median <= self.goal.limit

    @property
    def far(self) -> float | None:
        """How many times the allowed one has, or how many times too little: above 1 is not met."""
        if self.figure is None:
            return None
        median, limit = self.figure.spread.median, self.goal.limit
        parts = (limit, median) if self.goal.at_least else (median, limit)
        return parts[0] / parts[1] if parts[1] else float("inf")


_DODO = "a dodo.py written by hand, with the same graph (json backend), in the same run"

GOALS = (
    Goal("nothing/10/of hand", 1.0, _DODO),
    Goal("nothing/1000/of hand", 0.8, _DODO),
    Goal("nothing/10000/of hand", 0.7, _DODO),
    Goal("nothing/1000/of go-task", 0.4, "go-task on the same graph, in the same run"),
    Goal("hook/small/of fork", 2.5, "fork and exec of `true`, in the same run"),
    Goal("hook/100 KB", 2.5, "twice what `cat` of it to a file takes, in ms"),
    Goal("hook/50 at once/whole", 50, "every event, and each of them whole", at_least=True),
    Goal("reaction/p50", 2.0, "inotify on a file takes 1.2 ms, the writing process included"),
    Goal("reaction/p99", 6.0, "inotify on a file takes 4.1 ms, the writing process included"),
    Goal("overhead/stage", 25.0, "a frame of people's patience, a hundredth of what the client's start takes"),
    Goal("makespan/64 independent", 1.03, "doit -n 8 with `sleep` takes 1.05-1.11"),
    Goal("makespan/10 layers of 4", 1.03, "doit -n 8 with `sleep` takes 1.03-1.15"),
    Goal("makespan/map 32 to 1", 1.03, "doit -n 8 with `sleep` takes 1.03-1.11"),
    Goal("makespan/48 and a chain of 6", 1.08, "doit -n 8 with `sleep` takes 1.80; the least possible is 1.037"),
    Goal("workers/100/idle", 0.1, "waiting for events alone costs 0.04 ms of CPU a second"),
    Goal("workers/100/memory", 60.0, "Python with doit, jinja2 and libtmux takes 45 MB"),
    Goal("peer/times less", 150.0, "cli-agent-orchestrator's overhead per stage ÷ ours, in the same run", at_least=True),
)  # fmt: skip


def verdicts(found: Iterable[Found], goals: Iterable[Goal] = GOALS) -> list[Verdict]:
    """Of each goal whether it is met. One whose bench did not run at all is left out."""
    found = list(found)
    figures = {item.name: item for item in found if isinstance(item, Figure)}
    skipped = [item for item in found if isinstance(item, Skipped)]
    ran = {item.name.partition("/")[0] for item in found}
    judged = []
    for goal in goals:
        if goal.figure in figures:
            judged.append(Verdict(goal, figures[goal.figure]))
        elif goal.figure.partition("/")[0] in ran:
            why = [item.why for item in skipped if goal.figure.startswith(item.name)]
            judged.append(Verdict(goal, None, "; ".join(why) or "not measured"))
    return judged
