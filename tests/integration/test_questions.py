"""Questions on a real terminal, tmux's: each is the last thing on the screen, with the cursor behind it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration.scenes import (
    Window,
    at_gate,
    bash,
    configure,
    gate,
    open_gate,
    opened_window,
    play,
    result,
    write,
)
from tests.project import BIN, Project

pytestmark = pytest.mark.tmux

SIZES = [(80, 24), (160, 45)]
PLAN = """
[stages.page]
prompt = "Write it."
targets = ["page.txt"]
"""
# More stages than the screen has rows.
LONG = "".join(
    f"[stages.s{number}]\ncommand = 'echo {number} > {number}.txt'\ntargets = ['{number}.txt']\n"
    for number in range(40)
)
MAKES = {"work": [[write("{item}.txt")]]}


@pytest.fixture
def window(project: Project) -> Iterator[Window]:
    with opened_window(project) as made:
        yield made


def asks(window: Window, question: str) -> list[str]:
    """The screen, once `question` stands on it: below all else, and the cursor behind it."""
    question = f"{question} [y/N]"
    window.until(question)
    rows = window.screen().rstrip().splitlines()
    assert rows[-1] == question
    assert window.cursor() == f"{len(rows) - 1} {len(question) + 1}"
    return rows


def types(window: Window, *keys: str) -> None:
    window.tmux("send-keys", "-t", "w", *keys)


def planned(project: Project, plan: str = PLAN) -> None:
    """A planner, and a worker that is at work beside it."""
    configure(
        project,
        {
            "work": {"plan": "generated.toml", "prompt": "Plan it."},
            "side": {"targets": ["side.txt"]},
        },
        max_workers=2,
    )
    play(
        project,
        {
            "work:plan": [[gate("go"), write("generated.toml", plan)]],
            "side": [
                [bash("touch side.at"), gate("asked"), bash("echo told"), gate("end"), write("side.txt")]
            ],
            **MAKES,
        },
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_of_a_plan_from_nothing(project: Project, window: Window, size: tuple[int, int], answer: str) -> None:
    play(project, {"work:plan": [[write("orchestrate.generated.toml", PLAN)]], **MAKES})
    window.open(f"{BIN}/dodo-claude plan 'A page' --agent scripted", *size)
    rows = asks(window, "Run this stage?")
    assert "work: 1 stage planned in orchestrate.generated.toml" in rows
    assert not any(row.startswith("──") for row in rows)  # no board above the plan
    types(window, *filter(None, (answer, "Enter")))
    everything = window.until("EXIT")
    assert (project.root / "page.txt").exists() == (answer == "y")
    assert "EXIT 0" in everything if answer == "y" else "not confirmed: nothing of" in everything
    assert "── " not in everything


@pytest.mark.parametrize("options", ["", "--no-board"])
def test_while_another_works_and_the_window_changes(project: Project, window: Window, options: str) -> None:
    planned(project)
    window.open(f"{BIN}/doit orchestrate {options}")
    at_gate(project, "go")
    at_gate(project, "asked")
    types(window, "y", "Enter")  # what was typed before is no answer
    open_gate(project, "go")
    asks(window, "Run this stage?")
    open_gate(project, "asked")
    at_gate(project, "end")  # it goes on meanwhile, and says so later
    for columns, rows in ((60, 20), (100, 30)):
        window.tmux("resize-window", "-t", "w", "-x", str(columns), "-y", str(rows))
        shown = asks(window, "Run this stage?")
    assert not any("echo told" in row for row in shown)
    types(window, "y", "Enter")
    window.until("echo told")
    window.until("work:page       done in")
    open_gate(project, "end")
    everything = window.until("EXIT 0")
    lines = everything.splitlines()
    question = next(number for number, line in enumerate(lines) if line == "Run this stage? [y/N] y")
    assert any("echo told" in line for line in lines[question:])
    assert "3 stages: 3 done" in everything


def test_a_plan_longer_than_the_screen(project: Project, window: Window) -> None:
    planned(project, LONG)
    open_gate(project, "go")
    window.open(f"{BIN}/doit orchestrate -n 4")
    asks(window, "Run these 40 stages?")
    types(window, "y", "Enter")
    open_gate(project, "asked")
    open_gate(project, "end")
    window.until("42 stages: 42 done")


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_stopped_at_the_question(project: Project, window: Window, way: str) -> None:
    planned(project)
    open_gate(project, "go")
    window.open(f"{BIN}/doit orchestrate")
    at_gate(project, "asked")
    asks(window, "Run this stage?")
    if way == "Ctrl-C":
        types(window, "C-c")
    else:
        os.kill(int(project.read(".orchestrate/run.lock").split()[1]), signal.SIGTERM)
    everything = window.until("EXIT 1")
    lines = everything.splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith("Run this stage?"))
    # On a line of its own; what was held back for the question may come first.
    assert any(line.startswith(("SIGINT: stopping", "SIGTERM: stopping")) for line in lines[number + 1 :])
    assert "── " not in everything
    assert not (project.root / "page.txt").exists()
    assert result(project, "side", 1)["result"] == "aborted"


def test_with_yes_the_plan_stands_alone(project: Project, window: Window) -> None:
    planned(project)
    window.open(f"{BIN}/doit orchestrate --yes")
    at_gate(project, "go")
    at_gate(project, "asked")
    window.until("── p · 0 of")
    open_gate(project, "go")
    window.until("work:page       done in")
    open_gate(project, "asked")
    open_gate(project, "end")
    everything = window.until("EXIT 0")
    assert "── " not in everything
    assert "work: 1 stage planned in generated.toml" in everything


def test_what_this_project_may_run(project: Project, window: Window) -> None:
    configure(project, {f"s{number}": {"command": f"echo {number}"} for number in range(40)})
    # No `open`, which approves.
    window.tmux(
        "new-session", "-d", "-s", "w", "-x", "80", "-y", "24", "-c", str(project.root),
        f"sleep 0.2; {BIN}/doit orchestrate; echo EXIT $?; sleep 100",
    )  # fmt: skip
    types(window, "y", "Enter")
    asks(window, "Run them?")
    types(window, "Enter")
    assert "not approved: nothing was started" in window.until("EXIT 3")
