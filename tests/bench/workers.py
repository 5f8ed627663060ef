"""workers: what the orchestrator itself costs while 1, 10, 100 workers think, and while they all do things."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.frame import Figure, Found, Spread, spread
from tests.bench.lab import Lab, scripted, until
from tests.project import BIN, Project

NAME = "workers"
TITLE = (
    "The orchestrating process's own CPU time per second, times that it woke up, and memory (resident, its most), with so many "
    "scripted agents at work: `idle`, they think and no event comes, in a minute, so that what is looked at once a minute is in it; "
    "`busy`, each calls a tool every two seconds."
)
COUNTS = (1, 10, 100)
# What a run looks at by itself, it looks at once a minute, after 20 s of silence.
IDLE_SECONDS, SETTLE_SECONDS = 60.0, 21.0
BUSY_SECONDS, EVERY_SECONDS = 10.0, 2.0
LONG = 900.0  # seconds, longer than the bench looks


class Cost(NamedTuple):
    """What a process has cost so far: nanoseconds of CPU, wake-ups, seconds of CPU of its ended children."""

    cpu: int
    woken: int
    children: float
    events: int


class Running:
    """`doit orchestrate` under way with so many workers."""

    def __init__(self, project: Project, count: int) -> None:
        self.project = project
        self.count = count
        self.process = subprocess.Popen(
            [BIN / "doit", "orchestrate"],
            cwd=project.root, env=project.environ(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def wait(self) -> None:
        """Until every worker has its prompt."""
        until(lambda: self._journals("UserPromptSubmit") == self.count, f"{self.count} workers at work")

    def _journals(self, kind: str) -> int:
        wanted = f'"{kind}"'
        stages = self.project.root / ".orchestrate" / "stages"
        return sum(wanted in path.read_text() for path in stages.glob("*/*/journal.jsonl"))

    def cost(self) -> Cost:
        cpu = woken = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that just ended
                cpu += int((task / "schedstat").read_text().split()[0])
                woken += self._number(task / "status", "voluntary_ctxt_switches")
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        children = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        stages = self.project.root / ".orchestrate" / "stages"
        events = sum(path.read_bytes().count(b"\n") for path in stages.glob("*/*/journal.jsonl"))
        return Cost(cpu, woken, children, events)

    def memory(self) -> tuple[float, float]:
        """Resident now and at the most, in MB."""
        status = Path(f"/proc/{self.process.pid}/status")
        return self._number(status, "VmRSS") / 1000, self._number(status, "VmHWM") / 1000

    @staticmethod
    def _number(path: Path, name: str) -> int:
        line = next(line for line in path.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1])

    def end(self) -> None:
        """Killed: its workers are the lab's to end."""
        self.process.kill()
        self.process.wait()


def run(lab: Lab) -> Iterator[Found]:
    if not Path("/proc/self/schedstat").exists():
        raise OSError("/proc with schedstat is needed (Linux)")
    counts = lab.sizes(*COUNTS, quick=(1, 3))
    with contextlib.ExitStack() as stack:
        runs = [_start(lab, stack, count, idle=True) for count in counts]
        for each in runs:
            each.wait()
        lab.say("all workers think")
        if not lab.quick:
            time.sleep(SETTLE_SECONDS)
        before = [(time.monotonic(), each.cost()) for each in runs]
        time.sleep(1 if lab.quick else IDLE_SECONDS)
        for each, (began, cost) in zip(runs, before, strict=True):
            yield from _figures(each, "idle", cost, time.monotonic() - began)
            now, most = each.memory()
            yield Figure(f"{NAME}/{each.count}/memory", "MB", _one(most), f"{now:.0f} MB at that moment")
    for count in counts:
        with contextlib.ExitStack() as stack:
            each = _start(lab, stack, count, idle=False)
            each.wait()
            began, cost = time.monotonic(), each.cost()
            time.sleep(1 if lab.quick else BUSY_SECONDS)
            yield from _figures(each, "busy", cost, time.monotonic() - began)
            yield Figure(f"{NAME}/{count}/memory, busy", "MB", _one(each.memory()[1]))


def _start(lab: Lab, stack: contextlib.ExitStack, count: int, *, idle: bool) -> Running:
    project = stack.enter_context(lab.passing(f"workers-{count}-{'idle' if idle else 'busy'}"))
    calls: list[dict[str, Any]] = [{"bash": "true"}, {"sleep": EVERY_SECONDS}]
    steps = [{"sleep": LONG}] if idle else calls * int(LONG / EVERY_SECONDS)
    names = [f"s{number}" for number in range(count)]
    scripted(project, {name: {} for name in names}, {name: [steps] for name in names}, max_workers=count)
    running = Running(project, count)
    stack.callback(running.end)
    return running


def _figures(each: Running, kind: str, before: Cost, seconds: float) -> Iterator[Found]:
    after = each.cost()
    cpu, woken = (after.cpu - before.cpu) / 1e6, after.woken - before.woken
    children, events = 1000 * (after.children - before.children), after.events - before.events
    note = f"and {children / seconds:.2g} ms/s of programs that it started" if children else ""
    name = f"{NAME}/{each.count}/{kind}"
    yield Figure(name, "ms/s", _one(cpu / seconds), note)
    yield Figure(f"{name}, woken up", "times/s", _one(woken / seconds))
    if events:
        yield Figure(f"{name}, CPU of an event", "ms", _one(cpu / events), f"{events / seconds:.0f} events/s")


def _one(value: float) -> Spread:
    return spread([value])
