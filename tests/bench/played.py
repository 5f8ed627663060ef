"""A graph played by scripted agents in a real run, and when each of its stages did what, as the journals tell."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from dodo_claude.state import events as life
from dodo_claude.state.journal import Attempt, StageLog
from tests.bench.frame import Took
from tests.bench.graphs import Graph
from tests.bench.lab import orchestrate, scripted
from tests.integration.scenes import write
from tests.project import Project

# A worker that costs next to nothing: it takes the arguments of the client, runs the same hooks at its start and at its
# turn's end, writes its target and sleeps. `$1 $2` are what it is told by `light`.
LIGHT = """#!/bin/sh
while [ "$1" != --settings ]; do shift; done
command=
while IFS= read -r line; do
    case $line in *hook.sh*) command=${line#*'"command": "'}; command=${command%%'"'*}; break ;; esac
done <"$2"
say() { printf '{"hook_event_name":"%s","session_id":"light"%s}' "$1" "$2" | /bin/sh -c "$command"; }
say SessionStart ',"source":"startup"'
say UserPromptSubmit ',"prompt":"do it"'
. "./light/$DODO_CLAUDE_STAGE"
say Stop ',"last_assistant_message":"done","stop_hook_active":false'
exec sleep 600
"""


class Times(NamedTuple):
    """Of one stage's attempt, wall time in seconds."""

    begun: float
    spawned: float
    stop: float
    outcome: float


class Played(NamedTuple):
    """`started`: wall time at which the run's process was started."""

    started: float
    took: Took
    times: dict[str, Times]

    @property
    def makespan(self) -> float:
        """From the first stage's begin to the last one's end: doit's own start and the report are no part of it."""
        return max(time.outcome for time in self.times.values()) - min(
            time.begun for time in self.times.values()
        )

    @property
    def own(self) -> dict[str, float]:
        """How long each worker took by itself."""
        return {name: time.stop - time.spawned for name, time in self.times.items()}


def lay_out(project: Project, graph: Graph, slots: int, *, light: bool = False) -> None:
    """A project that runs `graph` with `slots` workers at once: scripted agents, or `light` ones."""
    stages: dict[str, dict[str, object]] = {
        name: {"targets": [f"out/{name}"], "file_dep": [f"out/{other}" for other in node.needs]}
        for name, node in graph.items()
    }
    steps = {name: [[{"sleep": node.seconds}, write(f"out/{name}")]] for name, node in graph.items()}
    (project.root / "out").mkdir()
    agent: dict[str, object] = {}
    if light:
        project.write("light.sh", LIGHT)
        for name, node in graph.items():
            project.write(f"light/{name}", f"sleep {node.seconds}; echo x >out/{name}\n")
        agent = {"agent": {"command": ["/bin/sh", str(project.root / "light.sh")]}}
    scripted(project, stages, steps, max_workers=slots, **agent)


def play(project: Project, graph: Graph) -> Played:
    """Run all of it. Raises `CommandFailed` unless all stages succeed."""
    started = time.time()
    took = orchestrate(project)
    return Played(started, took, {name: _times(project, name) for name in graph})


def event_times(project: Project, stage: str) -> dict[str, float]:
    """When each kind of event came first in the stage's last attempt."""
    log = StageLog(project.root / ".orchestrate", stage)
    at: dict[str, float] = {}
    for event in Attempt(log, log.attempts()[-1]).replay():
        at.setdefault(event.kind, event.at)
    return at


def _times(project: Project, stage: str) -> Times:
    at = event_times(project, stage)
    return Times(at[life.BEGUN], at[life.SPAWNED], at["Stop"], at[life.OUTCOME])


def gaps(graph: Graph, times: Mapping[str, Times]) -> list[tuple[float, float, float]]:
    """Of each stage that needs others, seconds from the last of their turns' ends: until that one was over, from there
    until this one began, and from there until its worker ran."""
    found = []
    for name, node in graph.items():
        if node.needs:
            last = max((times[other] for other in node.needs), key=lambda time: time.stop)
            mine = times[name]
            found.append((last.outcome - last.stop, mine.begun - last.outcome, mine.spawned - mine.begun))
    return found
