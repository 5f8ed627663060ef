"""A fork of a process that has imported all is, for a test, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from dataclasses import replace

import pytest

from tests import warm
from tests.project import Project, Ran

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only: real processes elsewhere")
TOML = "[stages.a]\ncommand = 'echo a > a.txt; pwd; echo $HOME'\ntargets = ['a.txt']\n"


def told(ran: Ran) -> tuple[int, str, str]:
    return ran.code, *(re.sub(r"\d\d:\d\d:\d\d|\d{8}-\d{6}-\d+|\d+(\.\d)? s", "…", text) for text in (ran.out, ran.err))  # fmt: skip


@pytest.mark.parametrize(
    "argv",
    [
        ("doit", "orchestrate", "--explain"),
        ("doit", "list", "--all"),
        ("doit", "nosuch"),
        ("dodo-claude", "check"),
        ("dodo-claude", "status"),
        ("dodo-claude", "log", "nosuch"),
        ("dodo-claude", "--help"),
        ("dodo-claude", "--version"),
    ],
    ids=" ".join,
)
def test_a_command_says_and_ends_as_in_a_process_of_its_own(project: Project, argv: tuple[str, ...]) -> None:
    project.write("orchestrate.toml", TOML)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.env["X"] = "naïve"
    assert warm.can(argv, project.environ())
    assert told(project.run(*argv)) == told(replace(project, cold=True).run(*argv))


def test_it_has_its_folder_and_environment(project: Project) -> None:
    project.write("orchestrate.toml", TOML)
    ran = project.orchestrate()
    assert ran.said("1 stage: 1 done")
    (log,) = project.log("a").dir.glob("1/output.log")
    assert log.read_text() == f"{project.root}\n{project.home}\n"


@pytest.mark.parametrize("name", ["PYTHONPATH", "PYTHONWARNINGS", "LC_ALL", "LANG"])
def test_what_a_python_reads_when_it_starts_wants_a_real_one(project: Project, name: str) -> None:
    assert not warm.can(("doit", "list"), project.environ() | {name: "x"})
    assert not warm.can(("python", "-c", "pass"), project.environ())


def test_one_is_killed_and_tells_by_which_signal(project: Project) -> None:
    project.write("orchestrate.toml", "[stages.a]\ncommand = 'touch at; sleep 100'\n")
    with project.started() as live:
        assert isinstance(live.process, warm.Process)
        project.wait_for((project.root / "at").exists, "its command")
        assert live.process.poll() is None
        live.process.send_signal(signal.SIGTERM)
        assert live.wait() == 128 + signal.SIGTERM
    with project.started() as live:
        live.until("a ")
        assert live.kill() == -signal.SIGKILL
        live.process.kill()  # of one that is over: nothing
    project.run("dodo-claude", "stop", "--all", check=0)


def test_one_that_does_not_end_is_given_up(project: Project) -> None:
    project.write("orchestrate.toml", TOML)
    project.orchestrate()
    argv = ["dodo-claude", "events", "--follow"]
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(argv, cwd=str(project.root), env=project.environ(), timeout=1)


def test_each_of_many_threads_gets_its_own(project: Project) -> None:
    project.write("orchestrate.toml", TOML)
    said: dict[str, str] = {}

    def ask(name: str) -> None:
        said[name] = project.run("dodo-claude", "log", name).err

    threads = [threading.Thread(target=ask, args=(f"n{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 8
    assert all(name in text for name, text in said.items()), said
