"""makespan: how long a run of a graph takes, beside the least that it could."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.frame import Figure, Found, in_turn, spread
from tests.bench.graphs import Graph, bound, chain_defined_last, gathered, independent, layers, least
from tests.bench.lab import Lab
from tests.bench.played import lay_out, play

NAME = "makespan"
SLOTS = 8
TITLE = (
    f"Makespan ÷ lower bound (the longest path, or all work ÷ {SLOTS} slots), from the first stage's begin to the last one's end. "
    "The work is what each worker took by itself, from its start to its Stop hook: scripted agents cost CPU of their own. "
    "`of sleep`: workers that cost next to nothing (a shell script with the same hooks), the work being their sleep alone."
)
GRAPHS: dict[str, Graph] = {
    "64 independent": independent(64, 0.25),
    "10 layers of 4": layers(10, 4, 0.3),
    "map 32 to 1": gathered(32, 0.25),
    "48 and a chain of 6": chain_defined_last(48, 6, 0.5),
}
QUICK: dict[str, Graph] = {"64 independent": independent(4, 0.05)}


def run(lab: Lab) -> Iterator[Found]:
    own: dict[str, list[float]] = {}
    sleep: dict[str, list[float]] = {}
    graphs = QUICK if lab.quick else GRAPHS

    def scripted(name: str, graph: Graph) -> float:
        with lab.passing(f"makespan-{name}") as project:
            lay_out(project, graph, SLOTS)
            played = play(project, graph)
        sleep.setdefault(name, []).append(played.makespan / bound(graph, SLOTS))
        own.setdefault(name, []).append(
            sum(played.own.values()) / sum(node.seconds for node in graph.values())
        )
        return played.makespan / bound(graph, SLOTS, played.own)

    def light(name: str, graph: Graph) -> float:
        with lab.passing(f"makespan-{name}") as project:
            lay_out(project, graph, SLOTS, light=True)
            return play(project, graph).makespan / bound(graph, SLOTS)

    takers = {}
    for name, graph in graphs.items():
        takers[name] = lambda name=name, graph=graph: scripted(name, graph)
        takers[f"{name}, of sleep"] = lambda name=name, graph=graph: light(name, graph)
    found = in_turn(lab.rounds(3, 1), takers, warm=0)
    for name, graph in graphs.items():
        best = f"no schedule can be below {least(graph, SLOTS) / bound(graph, SLOTS):.3f}"
        yield Figure(f"{NAME}/{name}", "×", spread(found[name]))
        yield Figure(f"{NAME}/{name}, of sleep", "×", spread(found[f"{name}, of sleep"]), best)
        yield Figure(f"{NAME}/{name}, scripted agents of sleep", "×", spread(sleep[name]))
        yield Figure(f"{NAME}/{name}, scripted agent's own time of its sleep", "×", spread(own[name]))
