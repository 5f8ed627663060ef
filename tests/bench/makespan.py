"""makespan: how long a run of a graph takes, beside the least that it could."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from tests.bench.frame import Figure, Found, in_turn, spread
from tests.bench.graphs import Graph, bound, chain_defined_last, gathered, independent, layers, least
from tests.bench.lab import Lab
from tests.bench.played import lay_out, play

NAME = "makespan"
SLOTS = 8
SECONDS = 0.5
TITLE = (
    f"Makespan ÷ lower bound (the longest path, or all work before a stage ÷ {SLOTS} slots and the longest path from there), from the first stage's begin to the last one's end. "
    f"Stages of {SECONDS} s; the work is what each worker took by itself, from its start to its Stop hook, since scripted agents cost "
    "CPU of their own (60-80 ms each: eight at once with shorter stages keep two cores busy by themselves). `of sleep`: workers that "
    "cost next to nothing (a shell script with the same hooks), shorter stages, and the work is their sleep alone."
)


class Case(NamedTuple):
    graph: Callable[[float], Graph]
    short: float  # seconds of a stage `of sleep`


CASES = {
    "64 independent": Case(lambda seconds: independent(64, seconds), 0.25),
    "10 layers of 4": Case(lambda seconds: layers(10, 4, seconds), 0.3),
    "map 32 to 1": Case(lambda seconds: gathered(32, seconds), 0.25),
    "48 and a chain of 6": Case(lambda seconds: chain_defined_last(48, 6, seconds), 0.5),
}
# Of stages that are nearer to a client's, though still short: eight starts at once have time to pass.
LONGER, LONGER_SECONDS = "16 independent of 4 s", 4.0
QUICK = {"64 independent": Case(lambda seconds: independent(4, seconds / 10), 0.5)}


def run(lab: Lab) -> Iterator[Found]:
    cases = QUICK if lab.quick else CASES
    long = {name: case.graph(SECONDS) for name, case in cases.items()}
    short = {name: case.graph(case.short) for name, case in cases.items()}
    own: dict[str, list[float]] = {}
    sleep: dict[str, list[float]] = {}

    def scripted(name: str) -> float:
        graph = long[name]
        with lab.passing(f"makespan-{name}") as project:
            lay_out(project, graph, SLOTS)
            played = play(project, graph)
        sleep.setdefault(name, []).append(played.makespan / bound(graph, SLOTS))
        own.setdefault(name, []).append(
            sum(played.own.values()) / sum(node.seconds for node in graph.values())
        )
        return played.makespan / bound(graph, SLOTS, played.own)

    def light(name: str) -> float:
        graph = short[name]
        with lab.passing(f"makespan-{name}") as project:
            lay_out(project, graph, SLOTS, light=True)
            return play(project, graph).makespan / bound(graph, SLOTS)

    def longer() -> float:
        graph = independent(16, LONGER_SECONDS) if not lab.quick else independent(2, 0.1)
        with lab.passing("makespan-longer") as project:
            lay_out(project, graph, SLOTS)
            played = play(project, graph)
        return played.makespan / bound(graph, SLOTS, played.own)

    takers: dict[str, Callable[[], float]] = {LONGER: longer}
    for name in cases:
        takers[name] = partial(scripted, name)
        takers[f"{name}, of sleep"] = partial(light, name)
    found = in_turn(lab.rounds(3, 1), takers, warm=0)
    yield Figure(f"{NAME}/{LONGER}", "×", spread(found[LONGER]))
    for name in cases:
        best = least(short[name], SLOTS) / bound(short[name], SLOTS)
        yield Figure(f"{NAME}/{name}", "×", spread(found[name]))
        note = f"stages of {cases[name].short} s; no schedule can be below {best:.3f}"
        yield Figure(f"{NAME}/{name}, of sleep", "×", spread(found[f"{name}, of sleep"]), note)
        yield Figure(f"{NAME}/{name}, scripted agents of sleep", "×", spread(sleep[name]))
        yield Figure(f"{NAME}/{name}, scripted agent's own time of its sleep", "×", spread(own[name]))
