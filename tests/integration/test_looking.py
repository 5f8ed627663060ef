"""Looking in is harmless: a worker that somebody was attached to takes its next prompt, and has its size again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from dodo_claude import mirror
from dodo_claude.tmux import Tmux
from tests.integration.scenes import (
    at_gate,
    at_terminal,
    clients,
    configure,
    gate,
    look_in,
    open_gate,
    play,
    window_size,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux


def leaves(project: Project) -> None:
    look_in(project, "a", (80, 24))


def leaves_a_large_window(project: Project) -> None:
    look_in(project, "a", (200, 50))


def hangs_up(project: Project) -> None:
    with at_terminal(project, "dodo-claude", "attach", "a", size=(80, 24)) as terminal:
        project.wait_for(lambda: terminal.sees() and clients(project), "somebody attached")
        terminal.hang_up()
        terminal.process.wait()


def mirrors(project: Project) -> None:
    """What the dashboard does."""
    (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
    seen = threading.Event()

    async def follow() -> None:
        tmux = Tmux(socket)
        mirrored = asyncio.create_task(
            mirror.follow(tmux.following("=p-a"), "=p-a", lambda text: seen.set(), project.environ())
        )
        while not seen.is_set():
            await asyncio.sleep(0.01)
        mirrored.cancel()
        await asyncio.wait([mirrored])

    asyncio.run(follow())


WAYS = [leaves, leaves_a_large_window, hangs_up, mirrors]


@pytest.mark.parametrize("way", WAYS)
def test_a_repair_and_a_phase_arrive_after_somebody_left(
    project: Project, way: Callable[[Project], None]
) -> None:
    phases = [
        {"prompt": "One.", "targets": ["one.txt"]},
        {"prompt": "Two.", "targets": ["two.txt"]},
    ]
    configure(project, {"a": {"phases": phases, "timeout": "40s"}}, defaults={"repairs": 1})
    play(project, {"a": [[gate("go")], [write("one.txt")], [write("two.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        way(project)
        project.wait_for(lambda: not clients(project), "nobody attached")
        project.wait_for(lambda: window_size(project, "p-a") == "200x50", "its window's size")
        open_gate(project, "go")
        assert live.wait() == 0, live.text
    assert "waits:" not in live.text
    assert project.result("a")["repairs"] == 1
    assert project.read("two.txt") == "x\n"
