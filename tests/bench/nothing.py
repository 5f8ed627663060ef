"""nothing: a run in which all is up to date, beside others on the same files with the same graph.

Stage i reads a file of its own and what stage i-100 makes, and makes one file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from dodo_claude.config import inputs
from tests.bench.frame import Figure, Found, Skipped, Took, in_turn, milliseconds, ratio, spread, took
from tests.bench.lab import Lab, environ, memory_of, orchestrate
from tests.bench.tools import Unavailable, from_pypi, on_path, version
from tests.project import BIN, Project

NAME = "nothing"
TITLE = (
    "All is up to date: stage i reads a file of its own and what stage i-100 makes. Whole processes. `hand`: a dodo.py "
    "with the same graph on doit's json backend; ours keeps its state in SQLite (WAL), committed stage by stage. "
    "All files have been at rest for longer than two seconds; `touched`: right after one was written, with what it had."
)
STRIDE = 100
# Of tools that take seconds, this many rounds do.
SLOW_ROUNDS = 3
SNAKEMAKE, GO_TASK = "snakemake==9.27.1", "go-task-bin==3.54.0"

HAND = f"""
DOIT_CONFIG = {{"backend": "json", "dep_file": ".hand.json", "verbosity": 1}}


def task_stage():
    for i in range(COUNT):
        deps = [f"in/{{i}}.txt", *([f"out/{{i - {STRIDE}}}.txt"] if i >= {STRIDE} else [])]
        target = f"out/{{i}}.txt"
        yield {{"name": str(i), "file_dep": deps, "targets": [target], "actions": [f"cat {{' '.join(deps)}} > {{target}}"]}}
"""

# Stands in for the work of the run that makes the state: all else of it, the state too, is ours and doit's.
DONE = """
import dodo_claude.worker.recovery
from dodo_claude.worker import verify
from dodo_claude.state.lifecycle import Outcome, Result
from dodo_claude.worker.services import Done
from dodo_claude.agents.usage import Usage


def done(stage, definition, services):
    made = verify.fingerprints(services.root, stage.targets)
    return Done(Outcome(Result.SUCCEEDED), 1, "", made, 1.0, 0, Usage())


dodo_claude.worker.recovery.drive = done
"""


def reads(number: int) -> list[str]:
    """What stage `number` reads."""
    return [f"in/{number}.txt", *([f"out/{number - STRIDE}.txt"] if number >= STRIDE else [])]


def lay_out(root: Path, count: int) -> None:
    """All files, what is made being newer than what it is made of."""
    for folder in ("in", "out"):
        (root / folder).mkdir()
    for number in range(count):
        (root / f"in/{number}.txt").write_text(f"input {number}\n")
    for number in range(count):
        (root / f"out/{number}.txt").write_text("".join((root / name).read_text() for name in reads(number)))


def orchestration(count: int, *, commands: bool = False) -> str:
    """The same graph as an orchestrate.toml: scripted agents, or plain commands."""
    parts = ['[orchestrate]\nname = "bench"\nworker_memory = "0MB"\n\n[defaults]\nagent = "scripted"\n']
    for number in range(count):
        deps = reads(number)
        what = f"Put the texts of {' and '.join(deps)} into one file, out/{number}.txt, in that order."
        key, told = ("command", f"cat {' '.join(deps)} > out/{number}.txt") if commands else ("prompt", what)
        parts.append(
            f"[stages.s{number}]\n{key} = {json.dumps(told)}\nfile_dep = {json.dumps(deps)}\n"
            f'targets = ["out/{number}.txt"]\n'
        )
    return "\n".join(parts)


def lay_out_ours(project: Project, count: int, *, commands: bool = False) -> None:
    """A project in which all is up to date; its work was done by nobody, all else by a run."""
    project.write("orchestrate.toml", orchestration(count, commands=commands))
    project.write("scenario.toml", '[stages.s0]\nturns = [{ steps = [{ say = "no" }] }]\n')
    project.approve()
    patch = project.home / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(DONE)
    project.env["PYTHONPATH"] = str(patch)
    try:
        orchestrate(project, "-v0")
    finally:
        del project.env["PYTHONPATH"]


def lay_out_hand(project: Project, count: int) -> None:
    project.write("hand.py", HAND.replace("COUNT", str(count)))
    took(hand("reset-dep", "-f", "hand.py"), project.root, environ(project))


def hand(*args: str) -> list[str | Path]:
    return [BIN / "doit", *args]


def makefile(count: int) -> str:
    rules = [f"out/{n}.txt: {' '.join(reads(n))}\n\tcat $^ > $@\n" for n in range(count)]
    return f"all: {' '.join(f'out/{n}.txt' for n in range(count))}\n" + "".join(rules)


def taskfile(count: int) -> str:
    """Go-task's YAML, written as JSON, which YAML is."""
    tasks: dict[str, object] = {"default": {"deps": [f"s{n}" for n in range(count)]}}
    for n in range(count):
        deps = [f"s{n - STRIDE}"] if n >= STRIDE else []
        cmds = [f"cat {' '.join(reads(n))} > out/{n}.txt"]
        tasks[f"s{n}"] = {"deps": deps, "sources": reads(n), "generates": [f"out/{n}.txt"], "cmds": cmds}
    return json.dumps({"version": "3", "silent": True, "run": "once", "tasks": tasks})


def snakefile(count: int) -> str:
    rules = [f"rule all:\n    input: {[f'out/{n}.txt' for n in range(count)]!r}\n"]
    for n in range(count):
        rules.append(
            f'rule s{n}:\n    input: {reads(n)!r}\n    output: "out/{n}.txt"\n    shell: "cat {{input}} > {{output}}"\n'
        )
    return "\n".join(rules)


Take = Callable[[], Took]


def _others(lab: Lab, project: Project, count: int) -> Iterator[tuple[str, Take, int] | Skipped]:
    """Each tool that is here: its name, a run of it, how many rounds at most."""
    env, root = environ(project), project.root
    try:
        make = on_path("make")
        project.write("Makefile", makefile(count))
        yield "make", partial(took, [make, "-sr"], root, env), 100
    except Unavailable as why:
        yield Skipped(f"{NAME}/{count}/make", str(why))
    if count > 1000 or lab.quick:
        return
    try:
        go_task = from_pypi(lab.cache, GO_TASK, "task")
        project.write("Taskfile.yml", taskfile(count))
        took([go_task], root, env)
        yield "go-task", partial(took, [go_task], root, env), 100
    except Unavailable as why:
        yield Skipped(f"{NAME}/{count}/of go-task", str(why))
    try:
        snakemake = from_pypi(lab.cache, SNAKEMAKE, "snakemake")
        project.write("Snakefile", snakefile(count))
        took([snakemake, "-q", "all", "-c1", "--touch"], root, env)
        yield "snakemake", partial(took, [snakemake, "-q", "all", "-c1"], root, env), SLOW_ROUNDS
    except Unavailable as why:
        yield Skipped(f"{NAME}/{count}/snakemake", str(why))


def run(lab: Lab) -> Iterator[Found]:
    for count in lab.sizes(10, 1000, 10000):
        lab.say(f"{count} stages")
        with lab.passing(f"nothing-{count}") as project:
            lay_out(project.root, count)
            others = list(_others(lab, project, count))
            # Last: the others' first runs write what is made once more.
            lay_out_ours(project, count)
            lay_out_hand(project, count)
            yield from (item for item in others if isinstance(item, Skipped))
            tools = [item for item in others if not isinstance(item, Skipped)]
            yield from _timed(lab, project, count, tools)


def _timed(lab: Lab, project: Project, count: int, tools: list[tuple[str, Take, int]]) -> Iterator[Found]:
    root, env = project.root, environ(project)
    cpu: dict[str, list[float]] = {"ours": [], "hand": []}

    def ours() -> float:
        done = orchestrate(project)
        assert not (project.root / ".orchestrate/stages").exists(), "a stage was run"
        cpu["ours"].append(done.cpu)
        return done.wall

    def by_hand() -> float:
        done = took(hand("run", "-f", "hand.py"), root, env)
        cpu["hand"].append(done.cpu)
        return done.wall

    rounds = lab.rounds(5 if count > 1000 else 9)
    takers: dict[str, Callable[[], float]] = {"ours": ours, "hand": by_hand}
    takers |= {name: partial(_wall, take) for name, take, most in tools if most >= rounds}
    if count == 1000:
        takers["doit --version"] = partial(_wall, partial(took, hand("--version"), root, env))
    # Files that were changed within a tick of the slowest file system's clock are looked at more closely: below, `touched`.
    time.sleep(0 if lab.quick else inputs.TICK_NS / 1e9 + 0.2)
    found = in_turn(rounds, takers, warm=2)
    settled = {name: values[-len(found[name]) :] for name, values in cpu.items()}
    if count == 1000:
        touched = {f"{name}, touched": partial(_touched, root, takers[name]) for name in ("ours", "hand")}
        found |= in_turn(lab.rounds(5), touched)
    for name, take, most in tools:
        if most < rounds:
            found |= in_turn(most, {name: partial(_wall, take)}, warm=0)
    for name, walls in found.items():
        note = next((version_of(lab, name) for tool, _, _ in tools if tool == name), "")
        yield milliseconds(f"{NAME}/{count}/{name}", walls, note)
    yield ratio(f"{NAME}/{count}/of hand", found["ours"], found["hand"])
    yield ratio(
        f"{NAME}/{count}/of hand, CPU",
        settled["ours"],
        settled["hand"],
        "CPU time, which a busy machine spoils less",
    )
    if "ours, touched" in found:
        yield ratio(f"{NAME}/{count}/of hand, touched", found["ours, touched"], found["hand, touched"])
    if "go-task" in found:
        yield ratio(f"{NAME}/{count}/of go-task", found["ours"], found["go-task"])
    memory = memory_of(project, "orchestrate")
    yield Figure(f"{NAME}/{count}/memory", "MB", spread([memory]))


def _touched(root: Path, take: Callable[[], float]) -> float:
    """What it takes right after one file was written, with what it had."""
    os.utime(root / "in/0.txt")
    return take()


def _wall(take: Take) -> float:
    return take().wall


def version_of(lab: Lab, name: str) -> str:
    programs = {"make": Path("make"), "go-task": lab.cache / "go-task-bin/bin/task"}
    programs["snakemake"] = lab.cache / "snakemake/bin/snakemake"
    said = version(programs[name])
    return said if said.lower().startswith(("gnu", "task")) else f"{name} {said}"
