"""Ctrl-C, SIGTERM and a closed window, on a real terminal. Numbers are rows of the fault matrix."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from dodo_claude.plugin import signals
from tests.integration.scenes import (
    at_gate,
    configure,
    events,
    gate,
    launch,
    on_terminal,
    patch,
    play,
    result,
    results,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux

# Before anything of a run is put away, which is after its sums.
LATE = """
import os, signal
from dodo_claude.run import run
close = run.Run.close
def told(self):
    for _ in range(TIMES):
        os.kill(os.getpid(), signal.NAME)
    close(self)
run.Run.close = told
"""


@pytest.fixture
def two(project: Project) -> Project:
    """Two stages at work, each of which would go on from where it was, and one that waits for them."""
    configure(
        project,
        {
            "a": {"targets": ["a.txt"]},
            "b": {"targets": ["b.txt"]},
            "late": {"file_dep": ["a.txt", "b.txt"], "targets": ["late.txt"]},
        },
    )
    play(
        project,
        {
            name: [[write(f"{name}.txt", "half"), gate(f"{name}.go")], [write(f"{name}.txt", "whole")]]
            for name in "ab"
        }
        | {"late": [[write("late.txt")]]},
    )
    return project


def under_way(project: Project) -> None:
    at_gate(project, "a.go")
    at_gate(project, "b.go")


def check_stopped_and_resumed(project: Project) -> None:
    """Nothing of it lives or is half-made, and a rerun goes on in the same sessions."""
    assert project.processes() == []
    assert not (project.root / "a.txt").exists()
    assert project.attempts("late") == 0
    sessions = {name: events(project, name, "SessionStart")[0].data["session_id"] for name in "ab"}
    assert project.orchestrate().said("3 stages: 3 done")
    for name, session in sessions.items():
        assert results(project, name) == ["aborted", "succeeded"]
        assert f"--resume {session} " in launch(project, name, 2)
        assert project.read(f"{name}.txt") == "whole"


def test_3_one_ctrl_c_stops_saves_and_says_what_a_rerun_does(two: Project) -> None:
    with on_terminal(two) as terminal:
        under_way(two)
        terminal.press("\x03")
        assert terminal.wait() == 130
    assert "SIGINT: stopping the workers; a rerun goes on with what is left" in terminal.said
    assert "Traceback" not in terminal.said
    assert "3 stages: 2 stopped, 1 not run" in terminal.said
    check_stopped_and_resumed(two)


def test_3_a_second_ctrl_c_kills_what_does_not_listen(two: Project) -> None:
    """Row 3: the first lets workers have some seconds to end, the second does not."""
    # Whoever is not in a hurry would wait for ever.
    patch(
        two,
        "from dodo_claude.machine import processes\n"
        "processes.end_tree.__defaults__ = (1e6, *processes.end_tree.__defaults__[1:])\n",
    )
    stubborn = [{"ignore_sigterm": True}, gate("a.go")]
    play(two, {"a": [stubborn], "b": [[gate("b.go")]], "late": [[write("late.txt")]]})
    with on_terminal(two) as terminal:
        under_way(two)
        terminal.press("\x03")
        terminal.until("stopping the workers")
        terminal.press("\x03")
        terminal.until("SIGINT: killing the workers")
        assert terminal.wait() == 130
    assert "Traceback" not in terminal.said
    assert two.processes() == []


def test_2_a_closed_window_is_a_sighup(two: Project) -> None:
    with on_terminal(two) as terminal:
        under_way(two)
        terminal.hang_up()
        assert terminal.wait() == 129
    check_stopped_and_resumed(two)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_2_a_signal_stops_it_like_ctrl_c(two: Project, number: int, code: int) -> None:
    with two.started() as live:
        under_way(two)
        assert live.kill(number) == code
    assert f"{signal.Signals(number).name}: stopping the workers; a rerun goes on" in live.text
    assert "Traceback" not in live.text
    check_stopped_and_resumed(two)


def test_3_while_nothing_runs_yet_it_ends_at_once(project: Project) -> None:
    """A run that only waits, for a pause of the API here, is stopped as fast."""
    configure(project, {"a": {"targets": ["a.txt"]}}, retry_delay="15m")
    play(project, {"a": [[{"fail": "server_error"}], [write("a.txt")]]})
    with on_terminal(project) as terminal:
        terminal.until("all workers wait")
        terminal.press("\x03")
        assert terminal.wait() == 130  # long before the pause is over
    assert "Traceback" not in terminal.said
    assert project.processes() == []
    assert project.orchestrate().said("1 stage: 1 done")
    assert "--resume" in launch(project, "a", 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_before_anything_has_started_ends_what_an_earlier_run_left(project: Project, number: int) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        live.kill()
    assert project.processes()
    patch(
        project,
        f"import os, dodo_claude.run.consent as consent\nconsent.settle = lambda *args, **named: os.kill(os.getpid(), {int(number)})\n",
    )
    project.orchestrate(check=128 + number)
    assert project.processes() == []


@pytest.mark.parametrize("kind", ["command", "worker"])
def test_in_a_check_it_is_a_stop_and_no_failure(project: Project, kind: str) -> None:
    """The check says nothing of what was made: command or worker, that is kept, and the next run goes on."""
    check = "touch check.at; [ -e check ] || exec sleep 1000"
    made = {"command": "echo x >> ran; echo x > it.txt"} if kind == "command" else {}
    configure(project, {"one": {**made, "targets": ["it.txt"], "check": check}}, defaults={"repairs": 2})
    play(project, {"one": [[write("it.txt")]]})
    with on_terminal(project) as terminal:
        at_gate(project, "check")
        terminal.press("\x03")
        assert terminal.wait() == 130
    assert "FAILED" not in terminal.said
    assert "1 stage: 1 stopped" in terminal.said
    assert results(project, "one") == ["aborted"]
    assert result(project, "one", 1)["reason"] == "interrupted"
    assert project.processes() == []
    assert (project.log("one").dir / "1/partial/it.txt").exists()
    report = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    (told,) = report["stages"]
    assert told["state"] == "stopped"
    assert ("check", "not run") in [(each["kind"], each["result"]) for each in told["checks"]]
    (project.root / "check").touch()
    assert project.orchestrate().said("1 stage: 1 done")
    assert project.read("it.txt") == "x\n"


def test_a_signal_in_the_midst_of_an_import_is_one() -> None:
    """What is raised while a class is made, Python 3.11 gives out as an error of that class."""

    class Interrupted:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt(signal.SIGTERM)

    try:
        type("Options", (), {"it": Interrupted()})
    except BaseException as error:
        found = signals.signal_in(error)
    assert found is not None
    assert found.args == (signal.SIGTERM,)
    assert signals.signal_in(ValueError("x")) is None


def test_a_runs_start_does_not_import_what_takes_long() -> None:
    """A signal may come at any moment of it; who is asked whether it may run needs no tmux."""
    code = "import sys; import dodo_claude.run.consent, dodo_claude.control.detached; sys.exit('libtmux' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT"])
def test_one_that_comes_when_all_is_over_breaks_nothing_off(project: Project, name: str) -> None:
    patch(project, LATE.replace("TIMES", "1").replace("NAME", name))
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[write("it.txt")]]})
    ran = project.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert "Traceback" not in ran.out
    assert (project.processes(), project.sessions()) == ([], [])
    project.env["PYTHONPATH"] = ""
    assert project.orchestrate().said("1 stage: 1 up to date")


def test_who_insists_ends_it_at_once_and_without_a_traceback(project: Project) -> None:
    patch(project, LATE.replace("TIMES", "2").replace("NAME", "SIGTERM"))
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[write("it.txt")]]})
    ran = project.orchestrate(check=-signal.SIGTERM)
    assert "Traceback" not in ran.out
    project.env["PYTHONPATH"] = ""
    assert project.orchestrate().said("1 stage: 1 up to date")
