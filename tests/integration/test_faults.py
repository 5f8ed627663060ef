"""What may go wrong, put in on purpose, on the scripted agent in real tmux. Numbers are rows of the fault matrix."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from dodo_claude.state import left
from dodo_claude.state.journal import Attempt
from tests.integration.hooks import failures, hook_file
from tests.integration.scenes import (
    Step,
    alive,
    at_gate,
    bash,
    census,
    configure,
    events,
    gate,
    happened,
    kill,
    launch,
    open_gate,
    patch,
    play,
    result,
    results,
    wait_event,
    worker_pid,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux

ONE = {"one": {"targets": ["it.txt"]}}
TWO = {"one": {"targets": ["it.txt"]}, "two": {"file_dep": ["it.txt"], "targets": ["two.txt"]}}


# -- the orchestrator dies


def three(project: Project) -> None:
    configure(
        project,
        {
            "a": {"targets": ["a.txt"]},
            "b": {"file_dep": ["a.txt"], "targets": ["b.txt"]},
            "c": {"file_dep": ["b.txt"], "targets": ["c.txt"]},
        },
    )
    play(
        project,
        {
            "a": [[write("a.txt")]],
            "b": [[write("b.txt")]],
            "c": [[write("c.txt", "half"), gate("go"), write("c.txt", "whole")], [write("c.txt", "whole")]],
        },
    )


@pytest.mark.parametrize("worker_ends", ["before the rerun", "in the rerun"])
def test_1_a_worker_that_outlived_its_orchestrator_is_adopted(project: Project, worker_ends: str) -> None:
    """Rows 1 and 12: two done, one running; what it says while nobody listens is heard by the rerun."""
    three(project)
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    if worker_ends == "before the rerun":
        open_gate(project, "go")
        left = Attempt(project.log("c"), 1)
        project.wait_for(lambda: any(event.kind == "Stop" for event in left._waiting()), "its Stop")
    with census(project) as most, project.started() as live:
        lock = project.root / ".orchestrate/run.lock"
        project.wait_for(lambda: f"pid {live.process.pid} " in lock.read_text(), "the rerun")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert "3 stages: 1 done, 2 up to date" in live.text
    assert [project.attempts(name) for name in "abc"] == [1, 1, 1]
    assert len(events(project, "c", "spawned")) == 1
    assert most["c"] <= 1
    assert project.read("c.txt") == "whole"


def test_1_a_worker_killed_with_its_orchestrator_is_resumed(project: Project) -> None:
    """Row 1: its session goes on in a new pane, and what it had started does not go on beside it."""
    three(project)
    with project.started() as live:
        at_gate(project, "go")
        project.wait_for(lambda: happened(project, "c", "SessionStart"), "its session's being known")
        session = events(project, "c", "SessionStart")[0].data["session_id"]
        live.kill()
    kill(worker_pid(project, "c"))
    assert project.processes() != []  # its shell still waits at the gate
    with census(project) as most:
        ran = project.orchestrate()
    assert ran.said("3 stages: 1 done, 2 up to date")
    assert [project.attempts(name) for name in "abc"] == [1, 1, 2]
    assert most["c"] == 1
    assert f"--resume {session} " in launch(project, "c", 2)
    starts = events(project, "c", "SessionStart")
    assert [start.data["source"] for start in starts] == ["startup", "resume"]
    assert {start.data["session_id"] for start in starts} == {session}
    # The cut-off attempt ended before the new one began: never two.
    assert len(events(project, "c", "spawned")) == 2
    assert results(project, "c") == ["aborted", "succeeded"]
    assert project.read("c.txt") == "whole"


def test_1_a_command_that_outlived_its_orchestrator_runs_once_at_a_time(project: Project) -> None:
    """Row 1, for stages and checks that are ordinary commands: nobody can listen to those again."""
    configure(
        project,
        {
            "plain": {"command": "sh wait.sh plain", "after": ["one"]},
            "one": {"targets": ["it.txt"], "check": "sh wait.sh check"},
        },
    )
    project.write("wait.sh", "echo $$ > $1.pid; [ -e $1.go ] || sleep 1000")
    play(project, {"one": [[write("it.txt")]]})
    left: dict[str, int] = {}
    for name in ("check", "plain"):
        with project.started() as live:
            project.wait_for((project.root / f"{name}.pid").exists, name)
            live.kill()
        left[name] = int(project.read(f"{name}.pid"))
        open_gate(project, f"{name}.go")
        assert alive(left[name])
    with census(project) as most:
        project.orchestrate()
    assert most["one"] <= 1
    assert not any(alive(pid) for pid in left.values())
    assert project.processes() == []


def test_5_a_failed_rerun_and_then_a_kill_is_not_up_to_date(project: Project) -> None:
    configure(
        project,
        {
            "one": {"file_dep": ["spec.md"], "targets": ["it.txt"], "check": "grep -q good it.txt"},
            "long": {"targets": ["long.txt"]},
        },
    )
    long = [[gate("go"), write("long.txt")]]
    project.write("spec.md", "1")
    play(project, {"one": [[write("it.txt", "good 1")]], "long": long})
    project.orchestrate("one")
    project.write("spec.md", "2")
    play(project, {"one": [[write("it.txt", "bad")]], "long": long})
    with project.started() as live:
        live.until("FAILED: check")
        at_gate(project, "go")
        live.kill()
    assert project.read("it.txt") == "good 1"
    assert project.log("one").dir.joinpath("2/partial/it.txt").read_text() == "bad"
    assert "one: stale" in project.orchestrate("--dry-run").lines
    play(project, {"one": [[write("it.txt", "good 2")]], "long": long})
    open_gate(project, "go")
    assert project.orchestrate().said("2 stages: 2 done")
    assert project.read("it.txt") == "good 2"


# -- what a killed run left of a stage that looks up to date


def two(project: Project) -> None:
    """'one' is at work again until its gate opens, though all of it looks as it was."""
    configure(project, {"one": {"targets": ["it.txt"]}, "other": {"command": "true", "file_dep": ["in"]}})
    project.write("in", "1")
    play(project, {"one": [[write("it.txt"), gate("go"), write("it.txt")], [write("it.txt")]]})
    open_gate(project, "go")
    project.orchestrate()
    for name in ("go", "go.at"):
        (project.root / name).unlink()


def cut_off(project: Project, how: str) -> None:
    """The run is killed while its worker is at the gate, with the bytes of the last run in its target."""
    two(project)
    if how == "its target went":
        (project.root / "it.txt").unlink()
    with project.started(*(["-a", "one"] if how == "asked for" else [])) as live:
        at_gate(project, "go")
        live.kill()
    assert project.read("it.txt") == "x\n"


def settled(project: Project) -> bool:
    """Is it known, without a look at any stage, that nothing is left?"""
    return not left.may_be(project.root / ".orchestrate")


WAYS = pytest.mark.parametrize("how", ["asked for", "its target went"])


@WAYS
def test_1_a_worker_of_a_stage_that_looks_up_to_date_is_adopted(project: Project, how: str) -> None:
    cut_off(project, how)
    reason = "an earlier run was cut off while it was at work on it"
    assert reason in project.orchestrate("--explain").lines
    assert project.status()[0]["state"] == "running"
    with census(project) as most, project.started() as live:
        lock = project.root / ".orchestrate/run.lock"
        project.wait_for(lambda: f"pid {live.process.pid} " in lock.read_text(), "the rerun")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert "2 stages: 1 done, 1 up to date" in live.text
    assert most["one"] <= 1
    assert results(project, "one") == ["succeeded", "succeeded"]
    assert project.status()[0]["state"] == "done"
    assert project.processes() == []
    assert settled(project)
    assert project.orchestrate().said("2 stages: 2 up to date")


@WAYS
def test_1_a_dead_worker_of_a_stage_that_looks_up_to_date_is_resumed(project: Project, how: str) -> None:
    cut_off(project, how)
    kill(worker_pid(project, "one"))
    assert project.orchestrate().said("2 stages: 1 done, 1 up to date")
    assert results(project, "one") == ["succeeded", "aborted", "succeeded"]
    assert project.processes() == []
    assert project.orchestrate().said("2 stages: 2 up to date")


@WAYS
def test_1_a_stage_that_looks_up_to_date_goes_on_after_a_stop(project: Project, how: str) -> None:
    cut_off(project, how)
    assert "one: stopped" in project.run("dodo-claude", "stop", "one", check=0).out
    assert project.processes() == []
    assert project.status()[0]["state"] == "stopped"
    assert "one: stale" in project.orchestrate("--dry-run").lines
    assert project.orchestrate().said("2 stages: 1 done, 1 up to date")
    assert results(project, "one") == ["succeeded", "aborted", "succeeded"]


def test_1_what_a_killed_run_left_outlasts_a_run_of_another_stage(project: Project) -> None:
    """That one comes to a good end, and has its report: it says nothing of the first."""
    cut_off(project, "asked for")
    project.write("in", "2")
    assert project.orchestrate("other").said("1 stage: 1 done")
    assert not settled(project)
    (one, _) = project.status()
    assert one["state"] == "running"
    assert one["about"] == "nobody follows it: doit orchestrate takes it over, dodo-claude stop one ends it"
    open_gate(project, "go")
    assert project.orchestrate().said("2 stages: 1 done, 1 up to date")
    assert results(project, "one") == ["succeeded", "succeeded"]


def test_1_a_worker_that_looks_up_to_date_is_adopted_by_a_plain_run(project: Project) -> None:
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    cut_off(project, "asked for")
    open_gate(project, "go")
    project.doit("run", check=0)
    assert results(project, "one") == ["succeeded", "succeeded"]
    assert not settled(project)  # doit says to nobody that it is at its end
    assert project.orchestrate().said("2 stages: 2 up to date")
    assert settled(project)


def test_1_a_command_that_was_cut_off_runs_again(project: Project) -> None:
    configure(project, {"plain": {"command": "sh wait.sh", "targets": ["it.txt"]}})
    project.write("wait.sh", "echo x > it.txt; touch at; while [ ! -e go ]; do sleep 0.02; done")
    open_gate(project, "go")
    project.orchestrate()
    for name in ("go", "at"):
        (project.root / name).unlink()
    with project.started("-a") as live:
        project.wait_for((project.root / "at").exists, "the command")
        live.kill()
    open_gate(project, "go")
    assert project.orchestrate().said("1 stage: 1 done")
    assert results(project, "plain") == ["succeeded", "aborted", "succeeded"]
    assert project.processes() == []


def test_who_looks_while_a_run_is_at_work_is_told_so(project: Project) -> None:
    two(project)
    with project.started("-a", "one") as live:
        at_gate(project, "go")
        lines = project.orchestrate("--explain").lines
        assert "a run is at work on it" in lines
        assert not any("cut off" in line for line in lines)
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert project.orchestrate("--explain").lines[0] == "one: up to date"


# -- what a worker says and what it made


def test_6_a_target_that_is_never_made(project: Project) -> None:
    """Rows 6 and 34: its Stop is no proof; it is told once which file is missing."""
    configure(project, TWO, defaults={"repairs": 1})
    play(project, {"one": [[{"say": "All done!"}]], "two": [[write("two.txt")]]})
    ran = project.orchestrate(check=1)
    assert failures(ran.lines) == ["one FAILED: target 'it.txt' was not written"]
    assert ran.said("two not run: needs one")
    (sent,) = events(project, "one", "sent")
    assert "target 'it.txt' was not written" in str(sent.data["text"])
    assert project.attempts("two") == 0


def test_34_a_stop_too_early_is_continued(project: Project) -> None:
    configure(project, ONE, defaults={"repairs": 2})
    play(project, {"one": [[{"say": "Done."}], [{"say": "Now."}], [write("it.txt")]]})
    assert project.orchestrate().said("after 2 repairs")
    assert project.attempts("one") == 1


NO_TARGETS = {
    "empty": (": > it.txt", "target 'it.txt' is empty"),
    "folder": ("mkdir it.txt", "target 'it.txt' is a folder, not a file"),
    "pipe": ("mkfifo it.txt", "target 'it.txt' is not a regular file"),
    "link": ("ln -s {outside} it.txt", "target 'it.txt' leads out of the project by a symbolic link"),
}


@pytest.mark.parametrize("what", sorted(NO_TARGETS))
def test_7_what_is_no_target_fails_by_its_rule(project: Project, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    command, reason = NO_TARGETS[what]
    configure(project, ONE)
    play(project, {"one": [[bash(command.replace("{outside}", str(outside)))]]})
    assert failures(project.orchestrate(check=1).lines) == [f"one FAILED: {reason}"]
    assert outside.read_text() == "mine"
    assert not os.path.lexists(project.root / "it.txt")


@pytest.mark.parametrize("stage", [{"command": "echo x > it.txt"}, {}], ids=["command", "worker"])
def test_7_nobody_begins_where_a_pipe_is_in_the_targets_place(
    project: Project, stage: dict[str, object]
) -> None:
    """Who writes to it waits for a reader."""
    configure(project, {"one": {"targets": ["it.txt"], **stage}})
    play(project, {"one": [[write("it.txt")]]})
    os.mkfifo(project.root / "it.txt")
    ran = project.orchestrate(check=1)
    reason = "no file can be made where a pipe, a socket or a device is: 'it.txt' (remove it)"
    assert failures(ran.lines) == [f"one FAILED: {reason}"]
    assert "spawned" not in project.kinds("one")
    (project.root / "it.txt").unlink()
    assert project.orchestrate().said("1 stage: 1 done")


def test_8_an_untouched_target_is_no_work(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[{"say": "It is fine as it is."}]]})
    project.write("it.txt", "old")
    ran = project.orchestrate(check=1)
    assert failures(ran.lines) == ["one FAILED: target 'it.txt' was not changed in this attempt"]
    assert project.read("it.txt") == "old"
    configure(project, {"one": {"targets": ["it.txt"], "allow_unchanged": True}})
    assert project.orchestrate().said("1 done")


def test_9_doit_info_says_that_a_target_was_altered(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[write("it.txt")]]})
    project.orchestrate()
    project.write("it.txt", "")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    said = project.run("doit", "info", "one").out
    assert "status" in said
    assert "run" in said.partition("status")[2].splitlines()[0]
    assert "target 'it.txt' was altered since the stage made it" in project.orchestrate("--explain").out


def test_10_a_stage_that_edits_its_input_fails_and_says_which(project: Project) -> None:
    configure(project, {"one": {"file_dep": ["spec.md"], "targets": ["it.txt"]}})
    project.write("spec.md", "the spec\n")
    play(project, {"one": [[{"append": "spec.md", "text": "more\n"}, write("it.txt")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert "its input 'spec.md' was changed while it ran" in reason
    # With the input as it now is, the stage is run again.
    assert "one: stale" in project.orchestrate("--dry-run").lines


def test_55_a_check_that_the_worker_mended_for_itself_proves_nothing(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "check": "sh checks/run.sh"}})
    project.write("checks/run.sh", "exit 1\n")
    play(project, {"one": [[write("checks/run.sh", "exit 0\n"), write("it.txt")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert reason == "one FAILED: protected file 'checks/run.sh' was changed while it ran"
    assert not (project.root / "it.txt").exists()


HOOK = "mkdir -p .git/hooks; echo true > .git/hooks/pre-commit"


@pytest.mark.parametrize("end", ["exit 3", "true"])
def test_a_hook_that_a_command_made_does_not_stay(project: Project, end: str) -> None:
    """However the stage ended: it would run with the next commit."""
    project.write("orchestrate.toml", f"[stages.one]\ncommand = \"{HOOK}; echo x > it.txt; {end}\"\ntargets = ['it.txt']\n")  # fmt: skip
    subprocess.run(["git", "init", "-q", "--template=", str(project.root)], check=True)
    ran = project.orchestrate(check=None)
    assert ran.code != 0
    assert not (project.root / ".git/hooks/pre-commit").exists()
    aside = ".orchestrate/stages/one/1/partial/.git/hooks/pre-commit"
    assert project.read(aside) == "true\n"
    assert f"protected file '.git/hooks/pre-commit' was made while it ran (set aside in {aside})" in ran.out
    assert ("its command ended with exit status 3" in ran.out) is (end == "exit 3")


def test_what_a_worker_made_in_a_protected_place_is_set_aside_whatever_else_failed(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "protect": ["docs/**"], "repairs": 0}})
    project.write("docs/old.md", "old\n")
    play(project, {"one": [[write("docs/new.md")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    aside = ".orchestrate/stages/one/1/partial/docs/new.md"
    assert reason == (
        "one FAILED: target 'it.txt' was not written; "
        f"protected file 'docs/new.md' was made while it ran (set aside in {aside})"
    )
    assert sorted(path.name for path in (project.root / "docs").iterdir()) == ["old.md"]


# -- before a worker starts


@pytest.mark.parametrize("what", ["missing", "not executable"])
def test_20_a_client_that_can_not_be_started(project: Project, what: str) -> None:
    configure(project, ONE)
    play(project, {"one": [[write("it.txt")]]})
    client = project.root / "client"
    if what == "not executable":
        client.write_text("#!/bin/sh\n")
    project.edit("orchestrate.toml", "[agents.scripted]", f'[agents.scripted]\ncommand = ["{client}"]')
    ran = project.orchestrate(check=3)
    assert f"agent 'scripted': '{client}' not found on PATH" in ran.err
    assert project.attempts("one") == 0


NAMES = ["work-1", "work-10", "a.b", "a-b", "_x", "W" * 64, "a:b", "x*", "ü", "l" * 200, "-x", "#(touch PWN)"]


def test_24_odd_names_run_or_are_refused_and_are_addressed_exactly(project: Project) -> None:
    """Rows 24 and 25."""
    good = NAMES[:6]
    for name in NAMES[6:]:
        configure(project, {name: {"targets": ["x"]}})
        assert "stages" in project.run("dodo-claude", "check", check=2).err
    configure(project, {name: {"targets": [f"out/{name}"]} for name in good})
    play(project, {name: [[write(f"out/{name}", name), gate("go")]] for name in good})
    with project.started("-n", str(len(good))) as live:
        for name in good:
            project.wait_for(lambda name=name: (project.root / "out" / name).exists(), name)
        assert len(set(project.sessions())) == len(good)
        project.run("dodo-claude", "stop", "work-1", check=0)
        assert results(project, "work-1") == ["aborted"]
        assert len(set(project.sessions())) == len(good) - 1
        assert results(project, "work-10") == ["None"]
        open_gate(project, "go")
        assert live.wait() == 1, live.text
    assert project.orchestrate().said(f"{len(good)} stages: 1 done, {len(good) - 1} up to date")
    assert [project.read(f"out/{name}") for name in good] == good
    assert not list(project.root.rglob("PWN"))


def test_25_names_of_folders_are_no_formats(project: Project) -> None:
    cwd = "a #(touch PWN) #{pid} $(touch PWN);"
    configure(project, {"one": {"cwd": cwd, "targets": [f"{cwd}/it.txt"], "session": "w"}})
    play(project, {"one": [[write("it.txt")]]})
    (project.root / cwd).mkdir()
    project.orchestrate()
    assert project.read(f"{cwd}/it.txt") == "x\n"
    assert not list(project.root.rglob("PWN"))


@pytest.mark.parametrize("when", ["from the start", "since the start"])
def test_26_without_its_folder_no_worker_starts_elsewhere(project: Project, when: str) -> None:
    configure(
        project,
        {
            "first": {"command": "true" if when == "from the start" else "rmdir sub"},
            "one": {"cwd": "sub", "targets": ["it.txt"], "after": ["first"]},
        },
    )
    play(project, {"one": [[write("../it.txt")]]})
    if when == "since the start":
        (project.root / "sub").mkdir()
    ran = project.orchestrate(check=1)
    (reason,) = failures(ran.lines)
    assert reason.startswith("one FAILED: sub: no such folder")
    assert events(project, "one", "spawned") == []
    assert not (project.root / "it.txt").exists()


# -- workers and their server die

# What a run does not hear of at once, it would not see either.
LOOKS_NEVER = """
from dodo_claude.worker import policy
policy.LONGEST_WAIT = policy.LOOK_SECONDS = policy.HOOK_SILENCE_SECONDS = 1e6
"""


@pytest.mark.parametrize("how", ["kill-server", "SIGKILL"])
def test_21_a_killed_server_is_seen_and_the_session_resumed(project: Project, how: str) -> None:
    patch(project, LOOKS_NEVER)
    configure(project, ONE)
    play(project, {"one": [[write("it.txt", "half"), gate("go")], [write("it.txt", "whole")]]})
    with project.started() as live:
        at_gate(project, "go")
        (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
        tmux = ["tmux", "-S", str(socket)]
        pid = int(subprocess.check_output([*tmux, "display-message", "-p", "#{pid}"]))
        if how == "SIGKILL":
            kill(pid)
        else:
            subprocess.run([*tmux, "kill-server"], check=True)
        wait_event(project, "one", "exited")
        assert live.wait() == 0, live.text
    assert "tmux server" in str(result(project, "one", 1)["reason"])
    assert results(project, "one") == ["failed", "succeeded"]
    assert "--resume" in launch(project, "one", 2)
    assert project.read("it.txt") == "whole"


def test_22_a_killed_worker_is_seen_and_its_session_resumed(project: Project) -> None:
    """Row 22, and what it had started ends with it."""
    patch(project, LOOKS_NEVER)
    configure(project, ONE)
    play(project, {"one": [[write("it.txt", "half"), gate("go")], [write("it.txt", "whole")]]})
    with census(project) as most, project.started() as live:
        at_gate(project, "go")
        kill(worker_pid(project, "one"))
        wait_event(project, "one", "exited")
        assert live.wait() == 0, live.text
    reason = str(result(project, "one", 1)["reason"])
    assert reason == "its worker ended in mid-work with signal 9 (out of memory?)"
    assert "--resume" in launch(project, "one", 2)
    assert most["one"] == 1


WAYS = {
    "/exit": "exit status 0 (somebody left it in its pane: /exit, Ctrl-C or Ctrl-D)",
    "Ctrl-C": "exit status 0 (somebody left it in its pane: /exit, Ctrl-C or Ctrl-D)",
    "kill-pane": "an unknown exit status (its tmux server, or its pane, was killed)",
    "kill-server": "an unknown exit status (its tmux server, or its pane, was killed)",
}


@pytest.mark.parametrize("way", WAYS)
def test_22_how_a_client_was_lost_is_said_where_another_is_started(project: Project, way: str) -> None:
    configure(project, ONE)
    play(project, {"one": [[write("it.txt", "half"), gate("go")], [write("it.txt", "whole")]]})
    with project.started() as live:
        at_gate(project, "go")
        (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
        pane = wait_event(project, "one", "spawned").data["pane"]
        tmux = ["tmux", "-S", str(socket)]
        if way == "kill-server":
            subprocess.run([*tmux, "kill-server"], check=True)
        elif way == "kill-pane":
            subprocess.run([*tmux, "kill-pane", "-t", str(pane)], check=True)
        else:
            assert project.run("dodo-claude", "interrupt", "one", check=0)
            keys = [["-l", "/exit"], ["Enter"]] if way == "/exit" else [["C-c"], ["C-c"]]
            for key in keys:
                subprocess.run([*tmux, "send-keys", "-t", str(pane), *key], check=True)
        assert live.wait() == 0, live.text
    why = f"its worker ended in mid-work with {WAYS[way]}"
    assert result(project, "one", 1)["reason"] == why
    (again,) = [line for line in live.lines if "(attempt 2; " in line]
    assert f"one             started in tmux session p-one (attempt 2; attempt 1 failed: {why}"[:140] in again
    assert "one             tries again in 0 s: its worker ended in mid-work with " in live.text
    told = project.run("dodo-claude", "log", "one", check=0).out
    assert told.startswith("one: attempt 2 succeeded\n")
    assert f"  before: attempt 1 failed: {why} (files: .orchestrate/stages/one/1/)\n" in told
    report = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    assert [attempt["why"] for attempt in report["stages"][0]["attempts"]] == [why, ""]
    text = " ".join(project.run("dodo-claude", "report", check=0).out.split())
    assert f"attempt 1 failed: {why}" in text
    assert why.partition(" (")[0] in project.run("dodo-claude", "report", "--markdown", check=0).out


def test_22_it_is_not_tried_for_ever(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "retries": 2}})
    play(project, {"one": [[{"kill": 9}]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert "signal 9 (out of memory?)" in reason
    assert project.attempts("one") == 3


@pytest.mark.parametrize("status", [1, 127])
def test_23_a_worker_that_ends_at_once_gets_two_tries(project: Project, status: int) -> None:
    command = ["/bin/sh", "-c", f"echo no such luck; exit {status}"]
    configure(project, ONE, agent={"command": command})
    play(project, {"one": [[write("it.txt")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert reason == f"one FAILED: its worker ended before it began with exit status {status}: no such luck"
    assert project.attempts("one") == 2
    assert "no such luck" in (project.log("one").dir / "2/screen.txt").read_text()


def test_60_a_session_that_can_not_be_resumed_begins_afresh_once(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[write("it.txt", "half"), gate("go"), write("it.txt", "whole")]]})
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    kill(worker_pid(project, "one"))
    for path in (project.root / ".orchestrate/scripted").rglob("*.jsonl"):
        path.unlink()
    open_gate(project, "go")
    assert project.orchestrate().said("1 done")
    assert project.attempts("one") == 3
    assert "--resume" in launch(project, "one", 2)
    assert "No conversation found" in str(result(project, "one", 2)["reason"])
    assert "--session-id" in launch(project, "one", 3)
    brief = (project.log("one").dir / "3/brief.md").read_text()
    assert "An earlier attempt at this stage failed; what it left is told in" in brief
    told = Path(brief.rpartition("told in ")[2].strip().removesuffix("."))
    assert "partial/it.txt" in told.read_text()
    assert project.read("it.txt") == "whole"


def test_43_a_tree_that_hides_and_does_not_listen_ends(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "timeout": "1s", "retries": 0}})
    steps: list[Step] = [
        {"ignore_sigterm": True},
        {"spawn": "trap '' TERM HUP; setsid sleep 1000 & sleep 1000"},
        bash("trap '' TERM HUP; setsid sleep 1000 & sleep 1000"),
    ]
    play(project, {"one": [steps]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert reason == "one FAILED: timed out after 1 s"
    assert project.processes() == []


# -- hooks


def test_32_a_worker_without_hooks_is_named(project: Project) -> None:
    """Row 32, with a second in place of the minute."""
    patch(
        project,
        "import dodo_claude.worker.policy as policy\npolicy.HOOK_SILENCE_SECONDS = 1.0\npolicy.LOOK_SECONDS = 0.5\n",
    )
    configure(project, ONE)
    play(project, {"one": [[write("it.txt")]]}, no_hooks=True)
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert "no hook event in 1 s: the client shows a dialog, or managed settings switch hooks off" in reason
    assert project.sessions() == ["p-one"]  # for a look
    assert "Scripted agent" in (project.log("one").dir / "1/screen.txt").read_text()


def test_35_what_older_attempts_and_strange_sessions_say_counts_for_nothing(project: Project) -> None:
    configure(project, ONE)
    play(project, {"one": [[gate("first")], [gate("go"), write("it.txt", "whole")]]})
    with project.started() as live:
        at_gate(project, "first")
        project.write("it.txt", "half")
        project.wait_for(lambda: happened(project, "one", "SessionStart"), "its session's being known")
        session = events(project, "one", "SessionStart")[0].data["session_id"]
        kill(worker_pid(project, "one"))
        at_gate(project, "go")
        stop: dict[str, object] = {"hook_event_name": "Stop", "last_assistant_message": "liar"}
        strange = {"session_id": "a-strange-one", "transcript_path": "/etc/passwd"}
        hook_file(project, "one", 1, {**stop, "session_id": session})
        for event in (
            {"hook_event_name": "SessionStart", "source": "startup"},
            {"hook_event_name": "UserPromptSubmit"},
            stop,
            {"hook_event_name": "StopFailure", "error": "billing_error"},
        ):
            heard = len(events(project, "one"))
            hook_file(project, "one", 2, {**event, **strange})
            project.wait_for(lambda heard=heard: len(events(project, "one")) > heard, "its being read")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert project.result("one")["message"] != "liar"
    assert project.result("one")["session_id"] == session
    assert len(events(project, "one", "verified")) == 1
    assert project.attempts("one") == 2


# -- checks


def test_54_a_check_that_hangs_is_ended_with_all_it_started(project: Project) -> None:
    check = "sleep 1000 & setsid sleep 1000 & sleep 1000"
    configure(project, {"one": {"targets": ["it.txt"], "check": check, "timeout": "2s"}})
    play(project, {"one": [[write("it.txt")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert reason == "one FAILED: timed out after 2 s"
    assert project.processes() == []


def test_54_a_check_that_leaves_processes_and_prints_without_end(project: Project) -> None:
    check = "setsid sleep 1000 & echo first; yes 0123456789012345678901234567890123456789 | head -c 30000000; echo last"
    configure(project, {"one": {"targets": ["it.txt"], "check": check}})
    play(project, {"one": [[write("it.txt")]]})
    project.orchestrate()
    log = (project.log("one").dir / "1/check.log").read_text()
    assert len(log) < 1_100_000
    assert log.startswith("first\n")
    assert log.endswith("last\n")
    assert " bytes left out ..." in log
    assert project.processes() == []


# -- our own faults


def test_56_a_fault_of_ours_is_one_line_and_the_others_go_on(project: Project) -> None:
    patch(
        project,
        "from dodo_claude.worker import work\n"
        "examine = work.Work._examine\n"
        "def broken(self, bell):\n"
        "    return 1 / 0 if self.stage.name == 'one' else examine(self, bell)\n"
        "work.Work._examine = broken\n",
    )
    configure(project, {**TWO, "other": {"targets": ["other.txt"]}})
    play(project, {"one": [[write("it.txt")]], "two": [[write("two.txt")]], "other": [[write("other.txt")]]})
    ran = project.orchestrate(check=2)
    (reason,) = failures(ran.lines)
    assert reason.startswith("one FAILED: dodo_claude has a fault; what it did is in ")
    (fault,) = (project.root / ".orchestrate").glob("fault-*.txt")
    assert os.path.relpath(fault, project.root) in reason
    assert "ZeroDivisionError" in fault.read_text()
    assert ran.said("3 stages: 1 done, 1 failed, 1 not run")
    assert project.processes() == []


# -- secrets


SECRET = "sk-ant-api03-" + "Zk3x9Q" * 8
VALUE = "correct-horse-battery"


def test_62_a_secret_is_written_nowhere(project: Project) -> None:
    """Row 62: said, printed, in a file's name, over two chunks of a check's output, in an error."""
    configure(
        project,
        {
            "one": {
                "prompt": f"The key is {SECRET}.",
                "targets": ["it.txt"],
                "check": "sh check.sh",
                "repairs": 1,
            },
            "good": {"prompt": f"The key is {SECRET}.", "targets": ["good.txt"]},
        },
        defaults={"retries": 0},
    )
    half = len(SECRET) // 2
    project.write(
        "check.sh",
        f"printf {SECRET[:half]}; sleep 0.3; echo {SECRET[half:]}\nprintf %s {VALUE[:9]}; sleep 0.1; echo {VALUE[9:]}\n"
        f"echo {SECRET}; exit 1\n",
    )
    steps = [
        {"say": f"I found {SECRET} and {VALUE}."},
        write(f"{SECRET}.txt", f"password: {VALUE}\n"),
        bash(f"echo {SECRET} {VALUE}; echo {SECRET} >&2; exit 1"),
        write("it.txt", SECRET),
        {"say": f"{SECRET}"},
    ]
    play(project, {"one": [steps], "good": [[write("good.txt"), {"say": SECRET}]]})
    project.env["MY_API_TOKEN"] = VALUE
    ran = project.orchestrate(check=1)
    logged = project.run("dodo-claude", "log", "one").out
    captured = project.run("dodo-claude", "capture", "one")
    assert "[redacted]" in ran.out
    assert captured.code == 0
    for text in (ran.out, ran.err, logged):
        assert SECRET not in text
        assert VALUE not in text
    state = project.root / ".orchestrate"
    assert state.stat().st_mode & 0o077 == 0
    for path in state.rglob("*"):
        name = path.relative_to(state).as_posix()
        # Not ours: the sessions that the client keeps, and what the worker made.
        if path.is_file() and not name.startswith("scripted/") and "/partial/" not in name:
            if path.name != "prompt.md":
                assert SECRET.encode() not in path.read_bytes(), name
            assert VALUE.encode() not in path.read_bytes(), name


# -- kills at any moment

ROUNDS = 12
DIAMOND = {"top": (), "l1": ("top",), "r1": ("top",), "l2": ("l1",), "r2": ("r1",), "end": ("l2", "r2")}


def diamond(project: Project) -> None:
    configure(
        project,
        {
            name: {"file_dep": [f"{need}.txt" for need in needs], "targets": [f"{name}.txt"]}
            for name, needs in DIAMOND.items()
        },
    )
    play(
        project,
        {
            name: [[write(f"{name}.txt", "half"), {"sleep": 0.4}, write(f"{name}.txt", f"{name}\n")]]
            for name in DIAMOND
        },
    )


@pytest.mark.parametrize("seed", [7])
def test_1_killed_at_random_moments_nothing_is_lost_or_done_twice(project: Project, seed: int) -> None:
    """Row 1: some rounds kill the orchestrator alone, some a worker with it."""
    chance = random.Random(seed)
    diamond(project)
    project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"
    finished: dict[str, list[int]] = {}
    cut = 0
    with census(project) as most:
        for number in range(ROUNDS):
            with project.started() as live:
                try:
                    assert live.process.wait(0.2 + chance.random() * 0.6) == 0
                except subprocess.TimeoutExpired:
                    live.process.send_signal(signal.SIGKILL)
                    cut += 1
                live.wait()
                assert "Traceback" not in live.text
            if number % 3 == 2:
                for pid in project.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            for name in DIAMOND:
                good = [
                    index + 1 for index, value in enumerate(results(project, name)) if value == "succeeded"
                ]
                # Finished once is finished: no later round makes it again.
                assert good[: len(finished.get(name, []))] == finished.get(name, [])
                finished[name] = good
        ran = project.orchestrate()
    assert ran.said("6 stages: ")
    assert not any("failed" in line for line in ran.lines[-2:])
    for name in DIAMOND:
        assert results(project, name).count("succeeded") == 1, name
        assert project.read(f"{name}.txt") == f"{name}\n"
        # Killed between doit's commit and the mark that says so, it is open still, and done all the same.
        left = project.log(name).open_attempt()
        assert left is None or (left.result() or {}).get("result") == "succeeded", name
    assert cut >= ROUNDS // 2
    assert max(most.values()) == 1
    assert project.orchestrate().said("6 stages: 6 up to date")
    assert project.processes() == []
    assert project.sessions() == []
    lock = os.open(project.root / ".orchestrate/run.lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(lock)
    for path in (project.root / ".orchestrate").glob("stages/*/*/journal.jsonl"):
        for line in path.read_bytes().splitlines():
            json.loads(line)


# -- a file that nobody makes

LACKING = """
[orchestrate]
name = "p"
[defaults]
agent = "scripted"
[stages.paid]
prompt = "Work."
targets = ["paid.txt"]
[stages.a]
file_dep = ["paid.txt", "spec.md"]
command = "cp spec.md a.txt"
targets = ["a.txt"]
"""


def test_a_file_that_nobody_makes_is_refused_before_anything_starts(project: Project) -> None:
    project.write("orchestrate.toml", LACKING)
    project.write("docs/spec.md", "it")
    play(project, {"paid": [[write("paid.txt")]]})
    text = (
        "orchestrate.toml:10:25: stages.a.file_dep[1]: 'spec.md' is not there, and no stage makes it "
        "(did you mean 'docs/spec.md'?)"
    )
    for argv in (["dodo-claude", "check"], ["doit", "orchestrate"], ["doit", "orchestrate", "--detach"]):
        ran = project.run(*argv)
        assert (ran.code, ran.out) == (2 if argv[0] == "dodo-claude" else 3, "")
        assert text in ran.err
    told = json.loads(project.run("dodo-claude", "check", "--json", check=2).out)
    assert [problem["line"] for problem in told["problems"]] == [10]
    assert project.sessions() == []
    assert project.attempts("paid") == 0
    # Who only looks, can: and all say the same.
    assert text in project.orchestrate("--explain").out
    assert [stage["state"] for stage in project.status()] == ["not run", "not run"]
    # What does not need it, runs.
    project.orchestrate("paid")
    assert project.attempts("paid") == 1
    assert text in project.orchestrate(check=3).err
    project.write("spec.md", "it")
    assert project.orchestrate().said("a done in")
    assert project.orchestrate().said("2 stages: 2 up to date")


@pytest.mark.parametrize("maker", ["a task", "its own spelling", "a delayed task"])
def test_a_file_that_only_a_dodo_py_makes_is_waited_for(project: Project, maker: str) -> None:
    project.write("orchestrate.toml", LACKING)
    play(project, {"paid": [[write("paid.txt")]]})
    target = {"a task": "spec.md", "its own spelling": "./spec.md", "a delayed task": "spec.md"}[maker]
    delayed = (
        "from doit import create_after\n@create_after(executed='first')\n"
        if maker == "a delayed task"
        else ""
    )
    project.write(
        "dodo.py",
        f"{delayed}def task_spec():\n    return {{'actions': ['echo it > spec.md'], 'targets': ['{target}']}}\n"
        "def task_first():\n    return {'actions': None}\n",
    )
    ran = project.run("dodo-claude", "check", check=0)
    assert "note: 'spec.md' is not there, and no stage makes it: a task of dodo.py has to" in ran.out
    ran = project.orchestrate(check=None)
    assert "no stage makes it" not in ran.err
    if maker != "a delayed task":  # doit knows of that one's target too late to wait for it
        assert project.read("a.txt") == "it\n"


def test_all_lines_of_one_file_that_is_not_there_are_one(project: Project) -> None:
    stages = {
        "each": {
            "foreach": ["x", "y"],
            "prompt": "See {{ files['notes.md'] }}",
            "targets": ["{{ item }}.txt"],
        },
        "names": {"command": "echo z > names", "targets": ["names"]},
        "late": {
            "foreach": {"lines": "names"},
            "prompt": "Of {{ item }}",
            "file_dep": ["style.md", "{{ item }}.md"],
            "targets": ["late-{{ item }}.txt"],
        },
        "own": {
            "phases": [{"prompt": "One.", "targets": ["one.md"]}, {"prompt": "Two: {{ files['one.md'] }}"}]
        },
    }
    configure(project, stages)
    play(project, {"own": [[write("one.md")]]})
    ran = project.run("dodo-claude", "check", check=2)
    assert [line.partition(": ")[2] for line in ran.err.splitlines()] == [
        "stages.each.prompt: 'notes.md' is not there, and no stage makes it (write it, or let a stage have it as a target)",
        "stages.late.file_dep[0]: 'style.md' is not there, and no stage makes it (write it, or let a stage have it as a target)",
    ]
    project.write("notes.md", "n")
    project.write("style.md", "s")
    assert "no problems" in project.run("dodo-claude", "check", check=0).out
    # z.md is known to be missing only when the list is there: its group fails before a worker starts.
    ran = project.orchestrate("late", check=1)
    assert ran.said("late FAILED: orchestrate.toml:")
    assert ran.said("'z.md' is not there, and no stage makes it")
    assert project.attempts("late:z") == 0


@pytest.mark.parametrize("how", ["worker", "command"])
def test_an_input_that_went_in_mid_run_fails_its_reader_before_it_starts(project: Project, how: str) -> None:
    reader: dict[str, object] = {"file_dep": ["spec.md"], "after": ["one"], "targets": ["two.txt"]}
    if how == "command":
        reader["command"] = "echo two > two.txt"
    configure(
        project, {"one": {"command": "rm spec.md; echo 1 > one.txt", "targets": ["one.txt"]}, "two": reader}
    )
    play(project, {"two": [[write("two.txt")]]})
    project.write("spec.md", "it")
    ran = project.orchestrate(check=1)
    assert ran.said("two FAILED: its input 'spec.md' is not there, or can't be read")
    assert not (project.root / "two.txt").exists()
    assert [stage["state"] for stage in project.status()] == ["done", "failed"]
    assert "FAILED" in project.run("dodo-claude", "report", check=0).out
    assert "is not there" in project.run("dodo-claude", "log", "two", check=0).out
