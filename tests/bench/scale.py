"""scale: a map of 10000 stages, each done by a scripted agent in tmux, 32 at once. Some ten minutes: only where it is named."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.frame import Figure, Found, spread
from tests.bench.lab import Lab, orchestrate
from tests.project import BIN, Project

NAME = "scale"
TITLE = (
    "A map of so many files and the stage that needs them all, each done by a scripted agent in tmux, 32 at once; then again, with nothing "
    "to do, and after a change of one file. Memory is the run's own, resident: at its most, and how much more of it each stage costs."
)
SLOTS = 32
STAGES = f"""
[orchestrate]
max_workers = {SLOTS}
worker_memory = "0MB"
budget = {{ turns = 1000000, minutes = 1000, tokens = 1000000000 }}
[defaults]
agent = "scripted"
[stages.map]
foreach = {{ glob = "pages/*/*.txt" }}
prompt = "Write counts/{{{{ item | stem }}}}.txt for {{{{ item }}}}."
file_dep = ["{{{{ item }}}}"]
targets = ["counts/{{{{ item | stem }}}}.txt"]
[stages.reduce]
prompt = "Add up."
after = ["map"]
targets = ["total.txt"]
"""
SCENARIO = """
[stages.map]
steps = [
    { capture = "name", from_prompt = 'Write counts/(\\S+)\\.txt' },
    { write = "counts/{name}.txt", text = "{name}\\n" },
]
[stages.reduce]
steps = [{ write = "total.txt", text = "all\\n" }]
"""


def run(lab: Lab) -> Iterator[Found]:
    memory = {}
    small, large = sizes = lab.sizes(1000, 10000, quick=(5, 10))
    for count in sizes:
        with lab.passing(f"{NAME}-{count}") as project:
            _lay_out(project, count)
            under_way = _UnderWay(lab, project, count)
            took, cpu = under_way.run()
            memory[count] = under_way.most
            yield _one(f"{NAME}/{count}/run", "s", took, f"{1000 * took / count:.3g} ms a stage")
            yield _one(f"{NAME}/{count}/CPU of the run, each stage", "ms", 1000 * cpu / count)
            yield _one(
                f"{NAME}/{count}/memory", "MB", under_way.most, f"{under_way.half:.0f} MB when half was done"
            )
            yield _one(f"{NAME}/{count}/nothing to do", "ms", 1000 * orchestrate(project).wall)
            project.write("pages/0/0.txt", "changed")
            yield _one(f"{NAME}/{count}/one file changed", "ms", 1000 * orchestrate(project).wall)
    each = (memory[large] - memory[small]) / (large - small)
    yield _one(f"{NAME}/memory, each stage more", "kB", 1000 * each)


def _one(name: str, unit: str, value: float, note: str = "") -> Figure:
    return Figure(name, unit, spread([value]), note)


def _lay_out(project: Project, count: int) -> None:
    project.write("orchestrate.toml", STAGES)
    project.write("scenario.toml", SCENARIO)
    for number in range(count):
        project.write(f"pages/{number % 100}/{number}.txt", f"{number}\n")
    project.approve()


class _UnderWay:
    """A run, and what it has of the memory while it runs."""

    def __init__(self, lab: Lab, project: Project, count: int) -> None:
        self.lab, self.project, self.count = lab, project, count
        self.most = self.half = 0.0  # MB

    def run(self) -> tuple[float, float]:
        """Seconds, by the clock and of CPU: its own, and of what it started itself."""
        began = time.monotonic()
        with subprocess.Popen(
            [BIN / "doit", "orchestrate"], cwd=self.project.root, env=self.project.environ(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            over = threading.Event()
            thread = threading.Thread(target=self._look, args=(process.pid, over))
            thread.start()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            took = time.monotonic() - began
            over.set()
            thread.join()
        if process.returncode != 0:
            raise OSError(f"the run of {self.count} stages ended with {process.returncode}")
        return took, usage.ru_utime + usage.ru_stime

    def _look(self, pid: int, over: threading.Event) -> None:
        told = 0
        while not over.wait(0.5):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                done = len(os.listdir(self.project.root / "counts"))
            except OSError:
                continue
            found = [line.split() for line in status.splitlines() if line.startswith(("VmRSS:", "VmHWM:"))]
            now = {words[0]: int(words[1]) / 1000 for words in found}
            if "VmRSS:" not in now:
                continue  # it ended in this moment
            self.most = max(self.most, now["VmHWM:"])
            if done >= self.count / 2 and not self.half:
                self.half = now["VmRSS:"]
            if done // 1000 > told:
                told = done // 1000
                self.lab.say(f"{done} of {self.count} done, {now['VmRSS:']:.0f} MB")
