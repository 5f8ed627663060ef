"""The board on a real terminal, tmux's: seen while it runs, gone at its end, nowhere where nobody looks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scenes import (
    Window,
    at_gate,
    bash,
    configure,
    gate,
    on_terminal,
    open_gate,
    opened_window,
    patch,
    play,
    wait_event,
    write,
)
from tests.project import BIN, Project

pytestmark = pytest.mark.tmux


@pytest.fixture
def window(project: Project) -> Iterator[Window]:
    with opened_window(project) as made:
        yield made


def test_it_shows_what_each_does_and_goes(project: Project, window: Window) -> None:
    configure(
        project, {"one": {"targets": ["it.txt"]}, "two": {"after": ["one"], "command": "echo out; echo more"}}
    )
    play(project, {"one": [[bash(f"{BIN}/dodo-claude progress 40 half"), gate("go"), write("it.txt")]]})
    window.open(f"{BIN}/doit orchestrate")
    at_gate(project, "go")
    window.until("half  Bash touch go.at")
    shown = window.screen().rstrip().splitlines()
    assert shown[-3].startswith("── p · 0 of 2 done · 1 at work · 0:0")
    assert shown[-2].split()[:2] == ["one", "running"]
    assert "half  Bash touch go.at" in shown[-2]
    assert shown[-1].split() == ["two", "waiting", "for", "one"]
    assert any("started in tmux session p-one" in line for line in shown[:-3])
    window.tmux("resize-window", "-t", "w", "-x", "50", "-y", "12")
    project.wait_for(lambda: "for one" in window.screen(), "a repaint")
    open_gate(project, "go")
    everything = window.until("EXIT 0")
    assert "2 stages: 2 done" in everything
    assert "one             done in" in everything
    after = everything[everything.index("2 stages: 2 done") :]
    assert "── p" not in after
    assert everything.count("── p") <= 1  # that of a size that is no more may have scrolled out of reach


def test_ctrl_c_is_as_it_was(project: Project, window: Window) -> None:
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[gate("go"), write("it.txt")]]})
    window.open(f"{BIN}/doit orchestrate")
    at_gate(project, "go")
    window.until("── p · 0 of 1 done")
    window.tmux("send-keys", "-t", "w", "C-c")
    everything = window.until("EXIT 130")
    assert everything.count("SIGINT: stopping the workers; a rerun goes on with what is left") == 1
    assert "1 stage: 1 stopped" in everything
    assert project.result("one")["result"] == "aborted"


@pytest.mark.parametrize("size", [(80, 24), (160, 45)])
@pytest.mark.parametrize("way", ["Ctrl-C", "twice", "SIGTERM"])
def test_nothing_of_it_stays_when_the_run_is_stopped(
    project: Project, window: Window, size: tuple[int, int], way: str
) -> None:
    """Below more output than the screen has rows, and with a last line that is as long as it may be."""
    long = "echo " + "a very long command " * 10
    stages = {f"stage-{number}": {"targets": [f"{number}.txt"]} for number in range(3)}
    configure(project, stages)
    stubborn = [{"ignore_sigterm": True}] if way == "twice" else []
    play(project, {name: [[*stubborn, gate(f"{name}.go"), bash(long)]] for name in stages})
    window.open(f"seq -f 'line %g' 60; {BIN}/doit orchestrate", *size)
    for name in stages:
        at_gate(project, f"{name}.go")
    window.until("── p · 0 of 3 done")
    if way == "SIGTERM":
        os.kill(int(project.read(".orchestrate/run.lock").split()[1]), signal.SIGTERM)
    else:
        window.tmux("send-keys", "-t", "w", "C-c")
    window.until("stopping the workers; a rerun goes on with what is left")
    if way == "twice":
        window.tmux("send-keys", "-t", "w", "C-c")
        window.until("SIGINT: killing the workers")
    everything = window.until("EXIT 1")
    lines = [line for line in everything.splitlines() if line.strip()]
    assert lines[:60] == [f"line {number}" for number in range(1, 61)]
    told = [line.split()[1] if line[2] == ":" else line for line in lines[60:]]
    signals = ["SIGTERM: stopping"] if way == "SIGTERM" else ["SIGINT: stopping"]
    signals += ["SIGINT: killing"] if way == "twice" else []
    assert [line for line in told if line not in stages] == [
        *(line for line in told if line.startswith(tuple(signals))),
        *(line for line in told if line.startswith(("3 stages: 3 stopped", "report: ", "EXIT "))),
    ]
    assert len([line for line in told if line.startswith("SIG")]) == len(signals)
    assert "── p" not in everything
    assert "^C" not in everything


def test_of_many_stages_it_takes_half_of_the_terminal(project: Project, window: Window) -> None:
    configure(
        project, {"map": {"foreach": [f"i{number}" for number in range(60)], "targets": ["{{ item }}.txt"]}}, max_workers=3
    )  # fmt: skip
    play(project, {f"map:i{number}": [[gate("go"), write(f"i{number}.txt")]] for number in range(60)})
    window.open(f"{BIN}/doit orchestrate", 80, 20)
    wait_event(project, "map:i0", "PreToolUse")
    window.until("57 waiting")
    shown = window.screen().rstrip().splitlines()
    head = next(
        number for number, line in enumerate(shown) if line.startswith("── p · 0 of 60 done · 3 at work")
    )
    assert len(shown) - head == 5
    assert len(shown) <= 20
    window.tmux("send-keys", "-t", "w", "C-c")
    window.until("EXIT 130")


ASK = """
import atexit, os, sys
atexit.register(lambda: open(os.environ["SAID"], "w").write(f"{'rich' in sys.modules} {type(sys.stdout).__name__ == 'TextIOWrapper'}"))
"""


@pytest.mark.parametrize(
    ("env", "options", "expected"),
    [
        ({"TERM": "xterm"}, (), True),
        ({"TERM": "xterm"}, ("--no-board",), False),
        ({"TERM": "xterm"}, ("-v0",), False),
        ({"TERM": "dumb"}, (), False),
        ({"TERM": "dumb"}, ("--board",), True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (), False),
    ],
)
def test_rich_is_imported_for_a_board_only(project: Project, env: dict[str, str], options: tuple[str, ...], expected: bool) -> None:  # fmt: skip
    said = _asked(project, env)
    configure(project, {"one": {"command": "true"}})
    with on_terminal(project, *options, term=env["TERM"]) as terminal:
        assert terminal.wait() == 0
    assert said.read_text() == f"{expected} True"
    assert ("0 of 1 done" in terminal.said) == expected
    assert "1 stage: 1 done" in terminal.said


def test_where_nothing_is_to_be_shown_it_is_not_imported(project: Project) -> None:
    said = _asked(project, {})
    configure(project, {"one": {"targets": ["it.txt"], "command": "touch it.txt; echo x > it.txt"}})
    project.orchestrate("--board")  # piped
    assert said.read_text() == "False True"
    with on_terminal(project, term="xterm") as terminal:  # nothing to do
        assert terminal.wait() == 0
    assert said.read_text() == "False True"
    assert "\x1b" not in terminal.said
    assert "1 stage: 1 up to date" in terminal.said


def _asked(project: Project, env: dict[str, str]) -> Path:
    patch(project, ASK)
    said = project.home / "said"
    project.env |= {**env, "SAID": str(said)}
    return said
