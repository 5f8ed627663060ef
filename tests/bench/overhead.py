"""overhead: what a stage takes besides its worker's own work."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.frame import Found, milliseconds
from tests.bench.graphs import chain, layers
from tests.bench.lab import Lab
from tests.bench.played import gaps, lay_out, play

NAME = "overhead"
TITLE = (
    "A chain of stages, one at a time: from a worker's Stop hook to the next one's worker running, checks left out. "
    "`busy`: in layers of eight, all at once, from the last Stop of a layer. As the journals tell: the hook's time is that "
    "of its file, some milliseconds coarse."
)
PARTS = ("Stop to outcome", "outcome to next begun", "begun to spawned")


def run(lab: Lab) -> Iterator[Found]:
    length = 4 if lab.quick else 25
    graphs = {"": chain(length, 0.05), ", busy": layers(length // 4 + 1, 8, 0.2)}
    for kind, light in (("", False), (", light worker", True)):
        for suffix, graph in graphs.items():
            suffix = f"{suffix}{kind}"
            with lab.passing(f"overhead{suffix}") as project:
                lay_out(project, graph, 8, light=light)
                played = play(project, graph)
                found = gaps(graph, played.times)
            yield milliseconds(f"{NAME}/stage{suffix}", [sum(parts) for parts in found])
            for number, part in enumerate(PARTS):
                yield milliseconds(f"{NAME}/{part}{suffix}", [parts[number] for parts in found])
            if not suffix:
                first = min(time.spawned for time in played.times.values())
                yield milliseconds(f"{NAME}/run's start to its first worker", [first - played.started])
                yield milliseconds(f"{NAME}/CPU of a run, each stage", [played.took.cpu / len(graph)])
