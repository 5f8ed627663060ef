"""What a bench works in: folders and projects of its own, ended and removed whatever happens."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.frame import Took, took
from tests.integration.scenes import configure, play
from tests.project import BIN, Project, kill_servers

# The turns of a scenario, each a list of steps.
Turns = Sequence[Sequence[Mapping[str, Any]]]
# How long a bench waits for something that comes in a second where all is well.
PATIENCE = 120.0


class Lab:
    """`quick`: few rounds and small sizes, to see that a bench works. `say` tells people how far it is."""

    def __init__(self, *, quick: bool, cache: Path, say: Callable[[str], None]) -> None:
        self.quick = quick
        self.cache = cache
        self.say = say
        # Short: a socket's path has room for some 100 bytes.
        self._top = Path(tempfile.mkdtemp(prefix="dcb-", dir="/tmp"))
        self._projects: list[Project] = []

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *failure: object) -> None:
        for project in self._projects:
            end(project)
        shutil.rmtree(self._top, ignore_errors=True)

    def rounds(self, full: int, quick: int = 2) -> int:
        return quick if self.quick else full

    def sizes(self, *sizes: int, quick: Sequence[int] = (10,)) -> Sequence[int]:
        return quick if self.quick else sizes

    def folder(self, name: str) -> Path:
        path = self._top / name
        path.mkdir(parents=True)
        return path

    def project(self, name: str) -> Project:
        """A project whose scripted workers take the time that their scenario says."""
        top = self.folder(name)
        project = Project(top / "p", top / "h", top / "r")
        for folder in (project.root, project.home, project.runtime):
            folder.mkdir(mode=0o700)
        # As a user's shell has it: no switch of the tests', no memory of dodo_claude of another project.
        project.env = {"PYTHONWARNINGS": "default::UserWarning", "DODO_CLAUDE_SCRIPTED_SPEED": "1"}
        self._projects.append(project)
        return project

    @contextlib.contextmanager
    def passing(self, name: str) -> Iterator[Project]:
        """A project that is gone after the block: for many, or large ones."""
        project = self.project(name)
        try:
            yield project
        finally:
            end(project)
            self._projects.remove(project)
            shutil.rmtree(project.root.parent, ignore_errors=True)


def end(project: Project) -> None:
    """No server and no process of the project's lives after this."""
    kill_servers(project.runtime)
    for pid in project.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def environ(project: Project) -> dict[str, str]:
    return project.environ()


def orchestrate(project: Project, *args: str, code: int = 0) -> Took:
    """`doit orchestrate` in the project, as a user runs it, to its end."""
    return took([BIN / "doit", "orchestrate", *args], project.root, project.environ(), code)


# A process's own: the kernel's other account of it begins with that of the process that started it.
MOST_MEMORY = """
def most_memory():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 1000
"""
_DOIT = f"""{MOST_MEMORY}
import sys
from doit.doit_cmd import DoitMain
code = DoitMain().run(sys.argv[1:])
print("\\nmemory", most_memory())
sys.exit(code)
"""


def memory_of(project: Project, *args: str) -> float:
    """MB that `doit ARGS` has at the most."""
    done = took([BIN / "python", "-c", _DOIT, *args], project.root, project.environ())
    return float(done.out.split()[-1])


def scripted(
    project: Project,
    stages: Mapping[str, Mapping[str, Any]],
    steps: Mapping[str, Turns],
    **orchestrate: Any,
) -> None:
    """Stages for scripted agents that play `steps`, approved."""
    configure(project, stages, **orchestrate)
    play(project, {name: [[dict(step) for step in turn] for turn in turns] for name, turns in steps.items()})
    project.approve()


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Look now and then. Not for anything that is timed. Raises TimeoutError."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {patience:g} s: {what}")
        time.sleep(0.02)
