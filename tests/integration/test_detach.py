"""`doit orchestrate --detach`: a run that outlives its terminal, seen and ended by dodo-claude."""

from __future__ import annotations

from dodo_claude.control import detached
from tests.project import Project

STAGE = """
[defaults]
agent = "scripted"
[agents.scripted]
allowed_tools = ["Edit(./**)"]
[stages.one]
prompt = "Write it."
targets = ["one.txt"]
"""
SLOW = '[stages.one]\nsteps = [{ sleep = 60 }, { write = "one.txt", text = "1" }]'
QUICK = SLOW.replace("{ sleep = 60 }, ", "")


def test_it_runs_without_a_terminal_and_leaves_its_screen(project: Project) -> None:
    project.write("orchestrate.toml", STAGE)
    project.write("scenario.toml", QUICK)
    ran = project.orchestrate("--detach")
    assert ran.out.splitlines()[-1].startswith(
        "runs in tmux session project--run; look: dodo-claude attach run"
    )
    project.wait_for(lambda: (project.root / "one.txt").exists(), "the target")
    project.wait_for(lambda: detached.holder(project.root) is None, "its end")
    assert "no run is in progress" in project.run("dodo-claude", "status", check=0).out
    assert "1 stage: 1 done" in project.run("dodo-claude", "capture", "run", check=0).out
    assert project.orchestrate().said("1 stage: 1 up to date")
    assert project.run("dodo-claude", "stop", "--all", check=0).out == "run: ended\n"
    assert project.sessions() == []


def test_it_is_seen_and_ended(project: Project) -> None:
    project.write("orchestrate.toml", STAGE)
    project.write("scenario.toml", SLOW)
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    project.orchestrate("--detach")
    project.wait_for(
        lambda: project.attempts("one") and "UserPromptSubmit" in project.kinds("one"), "the worker"
    )
    assert "a run is in progress" in project.run("dodo-claude", "init", "--claude", check=2).err
    assert not (project.root / ".claude").exists()
    status = project.run("dodo-claude", "status", check=0).out
    assert status.startswith("a run is in progress: pid ")
    assert "project--run" in status
    assert "project-one" in status
    assert project.orchestrate(check=3).err.startswith("ERROR: run in progress: pid ")
    assert project.orchestrate("--detach", check=3).err.startswith("ERROR: run in progress: pid ")
    project.run("dodo-claude", "stop", "run", check=0)
    assert project.processes() == []
    assert project.result("one")["result"] == "aborted"
    assert "no run is in progress" in project.run("dodo-claude", "status", check=0).out


def test_what_nobody_approved_is_refused_here_and_not_there(project: Project) -> None:
    project.write("orchestrate.toml", STAGE)
    project.write("scenario.toml", QUICK)
    ran = project.run("doit", "orchestrate", "--detach", check=3)
    assert "doit orchestrate --trust" in ran.err
    assert project.sessions() == []
    project.approve()
    (project.root / "scenario.toml").unlink()
    assert "scenario.toml not found" in project.run("doit", "orchestrate", "--detach", check=3).err
    assert project.sessions() == []
