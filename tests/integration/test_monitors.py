"""Monitors beside scripted workers in the real tmux: what reaches the worker, and that none outlives it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from dodo_claude.machine import processes
from dodo_claude.state.mail import DELIVERED, QUEUED, Mailbox
from tests.integration.scenes import (
    Step,
    alive,
    at_gate,
    configure,
    gate,
    kill,
    open_gate,
    play,
    wait_event,
    worker_pid,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux

BUILD = {"beside": "dev", "command": "cat state", "match": "error", "every": "100ms"}


def monitored(project: Project, steps: Sequence[Step], monitors: Mapping[str, Mapping[str, object]], **stage: object) -> None:  # fmt: skip
    """One worker that makes `out`, with monitors beside it."""
    configure(project, {"dev": {"targets": ["out"], "timeout": "60s", **stage}}, monitors=monitors)
    play(project, {"dev": [steps, [{"say": "All is well."}]]})


def put(project: Project, text: str) -> None:
    """What the monitor's command says from now on: never half of it, which would be news."""
    project.write("state.new", text).rename(project.root / "state")


def mailbox(project: Project) -> Mailbox:
    return Mailbox(project.log("dev"))


def letters(project: Project, *states: str) -> list[str]:
    """The texts of the messages in these states, oldest first."""
    box = mailbox(project)
    return [letter.text for name in box.letters(*states) if (letter := box.letter(name)) is not None]


def told(project: Project, count: int) -> list[str]:
    """All messages, as soon as there are so many."""
    project.wait_for(
        lambda: len(list((mailbox(project).dir / "letters").glob("*.json"))) >= count, f"{count} messages"
    )
    box = mailbox(project)
    names = sorted(path.stem for path in (box.dir / "letters").glob("*.json"))
    return [letter.text for name in names if (letter := box.letter(name)) is not None]


def monitor_pid(project: Project, name: str = "build") -> int:
    """The process of a monitor, once it is there."""
    place = project.log("dev").dir / "1" / "monitors" / name

    def pid() -> int:
        words = place.read_text().split() if place.exists() else []  # read once: it may be being written
        return int(words[0]) if words else 0

    project.wait_for(pid, f"the monitor {name}")
    return pid()


def panes(project: Project) -> list[list[str]]:
    """Of each pane its height and whether it is the active one, from the top."""
    (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
    done = subprocess.run(
        ["tmux", "-S", str(socket), "list-panes", "-a", "-F", "#{pane_height} #{pane_active} #{pane_dead}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line.split() for line in done.stdout.splitlines()]


def runs(project: Project) -> int:
    """How often the monitor's command was run."""
    path = project.root / "runs"
    return len(path.read_text()) if path.exists() else 0


def two_runs(project: Project) -> None:
    """Wait until a run was judged that began after now."""
    seen = runs(project)
    project.wait_for(lambda: runs(project) >= seen + 3, "two runs of the monitor")


COUNTED = {**BUILD, "command": "printf x >> runs; cat state"}


def test_a_busy_worker_is_told_once_of_each_change(project: Project) -> None:
    heard = [
        {
            "told": "Message from monitor build:(.|\n)*(error: [0-9])",
            "then": [{"append": "heard", "text": "x"}],
        }
    ]
    steps = [
        gate("one"),
        *heard,
        gate("two"),
        *heard,
        gate("three"),
        *heard,
        gate("four"),
        *heard,
        write("out"),
    ]
    monitored(project, steps, {"build": COUNTED})
    project.write("heard", "")
    put(project, "fine\nsome\nerror: 1\nmore\n")
    with project.started() as live:
        at_gate(project, "one")
        (first,) = told(project, 1)
        assert "The command `printf x >> runs; cat state` says:" in first
        assert "\nfine\nsome\nerror: 1\nmore\n" in first
        two_runs(project)
        assert letters(project, QUEUED) == [first]  # the same error, again and again, is one message
        open_gate(project, "one")
        at_gate(project, "two")
        put(project, "error: 1\nbut other lines around it\n")
        two_runs(project)
        put(project, "error: 2\n")
        second = told(project, 2)[1]
        assert "error: 2" in second
        assert "error: 1" not in second
        open_gate(project, "two")
        at_gate(project, "three")
        put(project, "fine\n")
        assert "does not say so any more" in told(project, 3)[2]
        two_runs(project)
        open_gate(project, "three")
        at_gate(project, "four")
        two_runs(project)
        put(project, "error: 1\n")  # it comes back: that is news
        assert "error: 1" in told(project, 4)[3]
        # Whoever watches the run, or asks, sees it as it happens.
        live.until(
            "monitor build says to it: The command `printf x >> runs; cat state` does not say so any more."
        )
        happens = project.run("dodo-claude", "events", "dev", "--kind", "posted", check=0).out
        assert [happens.count(text) for text in ("monitor build:", "error: 2", "any more")] == [4, 1, 1]
        open_gate(project, "four")
        assert live.wait() == 0, live.text
    assert live.text.count("  monitor build says to it: ") == 4
    assert (
        "monitor build says to it: The command `printf x >> runs; cat state` says: fine some error: 1 more"
        in live.text
    )
    assert len(letters(project, DELIVERED)) == 4
    report = project.run("dodo-claude", "report", check=0).out
    assert report.count("monitor build said to it: The command") == 4
    (stage,) = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)["stages"]
    assert [said["sender"] for said in stage["messages"]] == ["monitor build"] * 4
    assert project.read("heard") == "xxx"  # the recovery says nothing of an error
    assert project.processes() == []


@pytest.mark.parametrize("keep", ["on-failure", "always"])
def test_the_workers_pane_stays_the_bigger_one_and_is_alone_at_the_end(project: Project, keep: str) -> None:
    steps = [gate("one"), write("out")]
    monitored(project, steps, {"a": BUILD, "b": {**BUILD, "command": "exec sleep 1000"}}, keep=keep)
    put(project, "fine\n")
    with project.started() as live:
        at_gate(project, "one")
        monitor_pid(project, "a")
        monitor_pid(project, "b")
        three = [["41", "1", "0"], ["8", "0", "0"], ["8", "0", "0"]]
        project.wait_for(lambda: panes(project) == three, "three panes")
        # It is drawn anew at its new size, so not at once.
        project.wait_for(
            lambda: "touch one.at" in project.run("dodo-claude", "capture", "dev", check=0).out, "its screen"
        )
        open_gate(project, "one")
        assert live.wait() == 0, live.text
    if keep == "always":
        project.wait_for(lambda: panes(project) == [["50", "1", "0"]], "the worker's pane alone")
        project.run("dodo-claude", "stop", "--all", check=0)
    assert project.processes() == []


DEEP = "setsid sh -c 'trap \"\" TERM HUP; touch deep; while :; do sleep 0.05; done' & trap '' TERM; while :; do sleep 0.05; done"  # fmt: skip


def monitored_processes(project: Project) -> list[int]:
    return [pid for pid in project.processes() if "-monitor-" in (processes.nonce_of(pid) or "")]


def busy(project: Project, **stage: object) -> None:
    """A worker at a gate, and a monitor whose command ignores signals, as does what it started elsewhere."""
    monitored(project, [gate("one"), write("out")], {"build": {"beside": "dev", "command": DEEP, "match": "x"}}, **stage)  # fmt: skip


@pytest.mark.parametrize("how", ["done", "failed", "timeout", "interrupted", "killed", "stopped"])
def test_no_monitor_outlives_its_worker(project: Project, how: str) -> None:
    busy(project, **({"timeout": "3s"} if how == "timeout" else {}), retries=0)
    if how == "failed":
        play(project, {"dev": [[gate("one"), {"say": "I give up."}]]})
    with project.started() as live:
        at_gate(project, "one")
        project.wait_for((project.root / "deep").exists, "the command")
        pid = monitor_pid(project)
        if how == "interrupted":
            assert live.kill(signal.SIGINT) == 130
        elif how == "killed":
            kill(worker_pid(project, "dev"))
            assert live.wait() == 1
        elif how == "stopped":
            project.run("dodo-claude", "stop", "dev", check=0)
            project.wait_for(lambda: not project.processes(), "the end of all")
            assert live.wait() == 1
        else:
            if how != "timeout":
                open_gate(project, "one")
            assert live.wait() == (0 if how == "done" else 1), live.text
    assert not alive(pid)
    assert project.processes() == []
    assert not list((project.log("dev").dir / "1" / "monitors").iterdir())
    assert not list(project.runtime.glob("dodo-claude/*/monitor-*"))  # its orders hold an environment


def test_a_worker_that_dies_while_nobody_follows_takes_its_monitor_along(project: Project) -> None:
    busy(project)
    with project.started() as live:
        at_gate(project, "one")
        project.wait_for((project.root / "deep").exists, "the command")
        pid = monitor_pid(project)
        worker = worker_pid(project, "dev")
        live.kill()
    assert alive(pid)
    kill(worker)
    project.wait_for(lambda: not monitored_processes(project), "the end of the monitor and its command")
    open_gate(project, "one")  # the end of the worker's own
    project.wait_for(lambda: not project.processes(), "the end of all")


def test_a_monitor_speaks_while_no_orchestrator_lives_and_an_adopted_worker_keeps_it(
    project: Project,
) -> None:
    heard = [{"told": "error: 1", "then": [{"append": "heard", "text": "x"}]}]
    monitored(project, [gate("one"), *heard, gate("two"), write("out")], {"build": COUNTED})
    put(project, "fine\n")
    with project.started() as live:
        at_gate(project, "one")
        pid = monitor_pid(project)
        live.kill()
    put(project, "error: 1\n")
    told(project, 1)
    open_gate(project, "one")
    at_gate(project, "two")  # its hook brought the message, with nobody's help
    assert project.read("heard") == "x"
    with project.started() as live:
        wait_event(project, "dev", "received")
        assert monitor_pid(project) == pid
        two_runs(project)
        open_gate(project, "two")
        assert live.wait() == 0, live.text
    assert project.attempts("dev") == 1
    assert len(told(project, 1)) == 1
    assert project.processes() == []


def test_an_adopted_workers_missing_monitor_is_started_again(project: Project) -> None:
    """And says nothing again that its worker knows."""
    monitored(project, [gate("one"), write("out")], {"build": COUNTED})
    put(project, "error: 1\n")
    with project.started() as live:
        at_gate(project, "one")
        pid = monitor_pid(project)
        told(project, 1)
        two_runs(project)
        live.kill()
    kill(pid)
    with project.started() as live:
        project.wait_for(lambda: monitor_pid(project) != pid, "another monitor")
        two_runs(project)
        assert len(told(project, 1)) == 1
        put(project, "fine\n")
        assert "any more" in told(project, 2)[1]
        open_gate(project, "one")
        assert live.wait() == 0, live.text
    assert project.attempts("dev") == 1
    assert project.processes() == []


def test_a_stream_is_judged_in_its_silences(project: Project) -> None:
    command = "tail -n +1 -F log 2>/dev/null"
    monitor = {
        "beside": "dev",
        "command": command,
        "match": "error",
        "recovered_match": "^0 errors",
        "debounce": "200ms",
    }
    steps = [gate("one"), write("out")]
    monitored(project, steps, {"build": monitor})
    project.write("log", "error a\n")
    with project.started() as live:
        at_gate(project, "one")
        told(project, 1)
        with (project.root / "log").open("a") as log:
            for line in ("error a\n", "error b\n", "0 errors\n"):
                log.write(line)
                log.flush()
        texts = told(project, 2)
        assert "does not say so any more" in texts[1]
        open_gate(project, "one")
        assert live.wait() == 0, live.text
    assert len(told(project, 2)) == 2
    assert project.processes() == []


def test_the_command_has_the_environment_of_a_check_and_a_folder(project: Project) -> None:
    project.env["OUTSIDE"] = "yes"
    (project.root / "sub").mkdir()
    monitor = {
        "beside": "dev", "match": "^at", "cwd": "sub", "env": {"MORE": "{{ stage }}"},
        "command": 'echo "at $(basename "$PWD") $OUTSIDE $DODO_CLAUDE_STAGE $MORE $WORKER"; exit 3',
        "message": "{{ stage }}: {{ lines }}",
    }  # fmt: skip
    monitored(project, [gate("one"), write("out")], {"build": monitor}, env={"WORKER": "too"})
    with project.started() as live:
        at_gate(project, "one")
        (text,) = told(project, 1)
        assert text.startswith("dev: <output of=")
        assert "\nat sub yes dev dev too\nexit status 3\n" in text
        open_gate(project, "one")
        assert live.wait() == 0, live.text


def test_its_work_is_no_life_sign_of_the_worker(project: Project) -> None:
    burn = "while :; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; printf x >> runs; done"
    monitored(
        project, [gate("one"), write("out")], {"build": {"beside": "dev", "command": burn, "match": "x"}}
    )
    with project.started() as live:
        at_gate(project, "one")
        project.wait_for(lambda: runs(project) > 3, "work")
        (nonce,) = set(project.nonces())
        pid = monitor_pid(project)
        assert processes.nonce_of(pid) == f"{nonce}-monitor-build"
        project.wait_for(
            lambda: processes.Census(0).cpu_seconds(f"{nonce}-monitor-build", but=0) > 0.05, "its own work"
        )
        mine = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and processes.ours(int(path.name), nonce)}  # fmt: skip
        assert mine
        assert pid not in mine
        open_gate(project, "one")
        assert live.wait() == 0, live.text
