"""How stages are now: from journals alone, with a run and without; the JSON's shape."""

from __future__ import annotations

import json
import time
from typing import Any

import jsonschema
import pytest

from dodo_claude.report import status
from dodo_claude.state.events import Ask, State, View
from dodo_claude.text import states
from tests.integration.scenes import at_gate, bash, configure, gate, kill, open_gate, play, worker_pid, write
from tests.project import BIN, Project
from tests.schemas import shape

pytestmark = pytest.mark.tmux

SHAPE = shape("status")


def told(project: Project) -> dict[str, Any]:
    found = json.loads(project.run("dodo-claude", "status", "--json", check=0).out)
    jsonschema.validate(found, SHAPE)
    return dict(found)


def stages(project: Project) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in told(project)["stages"]}


def test_of_each_stage_how_it_is(project: Project) -> None:
    configure(
        project,
        {
            "asks": {"targets": ["a.txt"], "allowed_tools": ["Bash"]},
            "blocked": {"targets": ["b.txt"]},
            "works": {"targets": ["c.txt"], "allowed_tools": ["Bash"]},
            "after": {"after": ["asks", "works"], "command": "true"},
            "bad": {"command": "exit 3"},
            "good": {"command": "true"},
        },
        agent={"permission_mode": "manual", "allowed_tools": ["Edit(./**)"]},
        max_workers=5,
    )  # fmt: skip
    play(
        project,
        {
            "asks": [[bash(f"{BIN}/dodo-claude ask 'SQLite?' --wait 50s"), write("a.txt")]],
            "blocked": [[{"permission": "Bash", "command": "touch forbidden"}, write("b.txt")]],
            "works": [[bash(f"{BIN}/dodo-claude progress 40 'half of it'"), gate("go"), write("c.txt")]],
        },
    )
    before = told(project)
    assert before["run"] == {
        "id": None,
        "live": False,
        "pid": None,
        "since": None,
        "tmux": None,
        "in_tmux": None,
    }
    assert before["states"] == {"not run": 6}
    with project.started("-n", "5") as live:
        live.until("ASKS")
        live.until("NEEDS A PERSON")
        live.until("FAILED")
        at_gate(project, "go")
        project.wait_for(lambda: stages(project)["good"]["state"] == "done", "good")
        found = told(project)
        assert (found["run"]["live"], found["run"]["pid"]) == (True, live.process.pid)
        now = {stage["name"]: stage for stage in found["stages"]}
        assert {name: stage["state"] for name, stage in now.items()} == {
            "asks": "asks", "blocked": "blocked", "works": "running", "after": "waiting", "bad": "failed", "good": "done",
        }  # fmt: skip
        assert now["asks"]["about"] == "SQLite?"
        assert [ask["text"] for ask in now["asks"]["asks"]] == ["SQLite?"]
        assert now["works"]["asks"] == []
        assert now["blocked"]["about"] == "Bash touch forbidden"
        assert (now["works"]["percent"], now["works"]["progress"]) == (40, "half of it")
        assert now["works"]["activity"].startswith("Bash touch go.at")
        assert now["works"]["seconds"] > 0
        assert now["works"]["attempt"] == 1
        assert (now["works"]["tmux"], now["works"]["in_tmux"]) == ("p-works", "running")
        assert now["after"]["waits_for"] == ["asks", "works"]
        assert "exit status 3" in now["bad"]["about"]
        assert found["states"]["failed"] == 1
        lines = project.run("dodo-claude", "status", check=0).out.splitlines()
        assert lines[0].startswith(f"a run is in progress: pid {live.process.pid} since ")
        assert [line.split()[:2] for line in lines[1:5]] == [
            ["asks", "asks"], ["blocked", "blocked"], ["works", "running"], ["after", "waiting"],
        ]  # fmt: skip
        assert "40 % half of it" in lines[3]
        assert lines[4].endswith("for asks, works")
        assert "p-asks (running)" in lines[-1]
        live.kill()
    # Its run was killed, its workers were not: nobody follows them.
    left = stages(project)
    assert left["works"]["state"] == "running"
    assert left["works"]["about"].endswith(
        "nobody follows it: doit orchestrate takes it over, dodo-claude stop works ends it"
    )
    assert left["bad"]["state"] == "failed"
    kill(worker_pid(project, "works"))
    gone = stages(project)["works"]
    assert (gone["state"], gone["about"]) == ("stopped", "its run was cut off")
    project.run("dodo-claude", "stop", "--all", check=0)


def test_without_a_run_it_says_what_the_last_ones_left(project: Project) -> None:
    configure(project, {"one": {"targets": ["it.txt"], "file_dep": ["in.txt"]}, "bad": {"command": "exit 3"}})
    play(project, {"one": [[write("it.txt")]]})
    project.write("in.txt", "x")
    project.orchestrate(check=1)
    project.orchestrate("one")
    # What an earlier run failed in is still failed, though the last one did not look at it.
    now = stages(project)
    assert (now["one"]["state"], now["bad"]["state"]) == ("done", "failed")
    assert now["one"]["in_tmux"] is None
    project.write("in.txt", "y")
    changed = stages(project)["one"]
    assert (changed["state"], changed["about"]) == (
        "not run",
        "file 'in.txt' changed",
    )
    assert project.run("dodo-claude", "status", check=0).out.startswith("no run is in progress (the last: 20")
    project.write("in.txt", "x")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.run("doit", "forget", "one", check=0)
    forgotten = stages(project)["one"]
    assert (forgotten["state"], forgotten["about"]) == ("not run", "it is to be done anew (doit forget)")


def test_the_states_are_those_of_the_shape() -> None:
    assert list(states.NOW) == SHAPE["$defs"]["state"]["enum"]


@pytest.mark.parametrize(
    ("view", "state", "about"),
    [
        (View(), "running", "starts"),
        (View(state=State.RUNNING, pane="%1", activity="thinking"), "running", ""),
        (
            View(state=State.RUNNING, pane="%1", activity="thinking", unheard=1795979572.0),
            "running",
            f"nothing heard of it since {time.strftime('%H:%M:%S', time.localtime(1795979572))}",
        ),
        (View(state=State.IDLE, pane="%1"), "idle", ""),
        (View(state=State.IDLE, pane="%1", held=True), "idle", "interrupted"),
        (View(state=State.IDLE, pane="%1", checking=True), "idle", "its check runs"),
        (View(state=State.PAUSED, error="rate_limit"), "paused", "a limit"),
        (View(state=State.PAUSED, error="server_error"), "paused", "the API fails"),
        (View(state=State.BLOCKED, blocked_on="Bash x", asks=(Ask("1", "q", 0),)), "blocked", "Bash x"),
        (View(state=State.RUNNING, asks=(Ask("1", "q", 0),)), "asks", "q"),
    ],
)
def test_a_view_in_words(view: View, state: str, about: str) -> None:
    found = status.at_work(view)
    assert found[0] == state
    assert found[1] == about or (view == View() and found[1] in ("", "starts"))


def test_lines_fit_the_terminal() -> None:
    one = status.StageStatus(
        "n" * 60, None, "claude", "running", "", None, "Bash " + "x" * 300, 60, "so far", 61.0, 1234, 0.5, 2, "p-n", "running",
        None, (),
    )  # fmt: skip
    now = status.Status(
        1, "p", status.RunStatus(None, False, None, None, None, None), {"running": 1}, 1234, 0.5, (one,)
    )
    lines = status.text(now, 80).splitlines()
    assert all(len(line) <= 80 for line in lines[1:2])
    assert "1:01" in lines[1]
    assert "1k" in lines[1]
    assert "$0.50" in lines[1]
    assert "60 % so far" in lines[1]
    assert lines[2] == "1 running; 1k tokens, $0.50"


def test_nothing_of_the_gate_is_left(project: Project) -> None:
    """Running in a group, its items have names with a colon."""
    configure(project, {"map": {"foreach": ["a", "b"], "targets": ["{{ item }}.txt"]}})
    play(project, {"map:a": [[gate("a")]], "map:b": [[write("b.txt")]]})
    with project.started("-n", "1") as live:
        at_gate(project, "a")
        now = stages(project)
        assert (now["map:a"]["state"], now["map:b"]["state"]) == ("running", "waiting")
        assert now["map:b"]["group"] == "map"
        open_gate(project, "a")
        live.wait()
