"""loading: an orchestrate.toml read and validated."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.bench.frame import Figure, Found, milliseconds, spread, took
from tests.bench.lab import MOST_MEMORY, Lab, environ, orchestrate
from tests.bench.nothing import orchestration
from tests.project import BIN, Project

NAME = "loading"
TITLE = (
    "An orchestrate.toml of so many stages read, validated and made into doit's tasks: `cold`, for the first time, `again`, when nothing changed (in a "
    "process of its own each, its imports left out). `check`: all of `dodo-claude check`. `explain`: all of `doit orchestrate --explain`."
)
# As a run of doit's does it, up to doit's tasks.
LOAD = f"""{MOST_MEMORY}
import json, time
from dodo_claude.plugin.loader import StageLoader
loader = StageLoader()
loader.config, loader.cmd_names = {{}}, []
loader.setup({{"dodoFile": "dodo.py"}})
began = time.perf_counter()
loader.load_stages([], set())
took = time.perf_counter() - began
print(json.dumps([took, len(loader.stage_config.stages), most_memory()]))
"""


def mapped(count: int) -> str:
    """The same number of stages by one `foreach`."""
    items = json.dumps([f"i{number}" for number in range(count)])
    return (
        '[orchestrate]\nname = "bench"\n[defaults]\nagent = "scripted"\n[stages.s]\nprompt = "Do {{ item }}."\n'
        f'foreach = {items}\ntargets = ["out/{{{{ item }}}}.txt"]\n'
    )


def run(lab: Lab) -> Iterator[Found]:
    for count in lab.sizes(1000, 10000):
        lab.say(f"{count} stages")
        rounds = lab.rounds(5 if count < 10000 else 2, 1)
        for kind, text in (("", orchestration(count)), (", foreach", mapped(count))):
            name = f"{NAME}/{count}{kind}"
            cold, again, check, explain, memory = [], [], [], [], []
            for number in range(rounds):
                with lab.passing(f"{NAME}-{count}{kind}-{number}") as project:
                    _lay_out(project, text)
                    cold.append(_load(project, count)[0])
                    took_again, most = _load(project, count)
                    again.append(took_again)
                    memory.append(most)
                    check.append(took([BIN / "dodo-claude", "check"], project.root, environ(project)).wall)
                    if number == 0:
                        explain.append(orchestrate(project, "--explain").wall)
            yield milliseconds(f"{name}/cold", cold)
            yield milliseconds(f"{name}/again", again)
            yield milliseconds(f"{name}/check", check)
            yield milliseconds(f"{name}/explain", explain)
            yield Figure(f"{name}/memory", "MB", spread(memory))


def _lay_out(project: Project, text: str) -> None:
    project.write("orchestrate.toml", text)
    project.write("scenario.toml", '[stages.s]\nturns = [{ steps = [{ say = "no" }] }]\n')


def _load(project: Project, count: int) -> tuple[float, float]:
    done = took([BIN / "python", "-c", LOAD], project.root, environ(project))
    seconds, stages, memory = json.loads(done.out)
    assert stages == count, "not all stages were loaded"
    return seconds, memory
