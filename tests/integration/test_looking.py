"""Looking in is harmless: a worker that somebody was attached to takes its next prompt, and has its size again."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dodo_claude.machine import mirror
from dodo_claude.machine.tmux import Tmux
from tests.integration.scenes import (
    Terminal,
    Window,
    ask_tmux,
    at_gate,
    at_terminal,
    clients,
    configure,
    gate,
    look_in,
    on_pty,
    open_gate,
    opened_window,
    play,
    window_size,
    write,
)
from tests.project import BIN, Live, Project

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
            mirror.follow(tmux.server.following("=p-a"), "=p-a", lambda text: seen.set(), project.environ())
        )
        while not seen.is_set():
            await asyncio.sleep(0.01)
        mirrored.cancel()
        await asyncio.wait([mirrored])

    asyncio.run(follow())


SIZES = [(80, 24), (160, 45)]
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


# -- from inside tmux


@pytest.fixture
def window(project: Project) -> Iterator[Window]:
    with opened_window(project) as made:
        yield made


@contextlib.contextmanager
def at_work(project: Project) -> Iterator[Live]:
    """A worker that can be looked at, and whose run is right in the end."""
    configure(project, {"a": {"targets": ["a.txt"], "timeout": "60s"}}, defaults={"repairs": 1})
    play(project, {"a": [[gate("go")], [write("a.txt")]]})
    with project.started() as live:
        at_gate(project, "go")
        yield live
        project.wait_for(lambda: not clients(project), "nobody attached")
        assert window_size(project, "p-a") == "200x50"
        open_gate(project, "go")
        assert live.wait() == 0, live.text
        assert "waits:" not in live.text


@contextlib.contextmanager
def sits_before(project: Project, socket: Path, size: tuple[int, int]) -> Iterator[Terminal]:
    """A person's own tmux client on a terminal."""
    argv = [str(shutil.which("tmux")), "-u", "-S", str(socket), "attach-session"]
    env = {**project.environ(), "TERM": "xterm-256color"}
    with on_pty(argv, project.root, env, size) as terminal:
        yield terminal


# Somebody sits before it: a popup opens for those who do.
WATCHED = "until tmux list-clients | grep -q .; do sleep 0.05; done"


def said(project: Project, terminal: Terminal, text: str) -> None:
    project.wait_for(lambda: text in terminal.sees(), f"{text!r} on the terminal")


@pytest.mark.parametrize("size", SIZES)
def test_inside_another_tmux_it_is_a_popup_with_the_same_key(
    project: Project, window: Window, size: tuple[int, int]
) -> None:
    with at_work(project):
        window.open(f"{WATCHED}; {BIN}/dodo-claude attach a", *size)
        with sits_before(project, window.socket, size) as terminal:
            said(project, terminal, "Ctrl-b d leaves it")
            assert clients(project) == [f"{size[0]}x{size[1]}"]  # all of the person's terminal
            project.wait_for(
                lambda: window_size(project, "p-a") == f"{size[0]}x{size[1] - 1}", "the window's size"
            )
            terminal.press("\x02d")
            window.until("EXIT 0")
            assert window.tmux("list-clients").count("\n") == 1  # the person's own session is where it was


def test_on_the_same_server_the_way_back_is_told(project: Project) -> None:
    with at_work(project):
        # A session of a person's own there, where the server's environment is not theirs.
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in project.environ().items())
        command = f"env {words} {BIN}/dodo-claude attach a; exec cat"
        with at_terminal(project, "dodo-claude", "attach", "a", size=(80, 24)) as terminal:
            said(project, terminal, "Ctrl-b d leaves it")
            ask_tmux(project, "new-session", "-d", "-s", "mine", "-c", str(project.root), "cat")
            ask_tmux(project, "switch-client", "-t", "=mine")
            ask_tmux(project, "respawn-pane", "-k", "-t", "=mine:", command)
            said(project, terminal, "Ctrl-b L goes back")
            sessions = ["list-clients", "-F", "#{client_session}"]
            assert ask_tmux(project, *sessions) == ["p-a"]
            terminal.press("\x02L")
            project.wait_for(lambda: ask_tmux(project, *sessions) == ["mine"], "the way back")
            assert window_size(project, "p-a") == "200x50"
            terminal.press("\x02d")
            assert terminal.wait() == 0
        ask_tmux(project, "kill-session", "-t", "=mine")


def test_a_run_of_its_own_too(project: Project, window: Window) -> None:
    configure(project, {"a": {"targets": ["a.txt"]}})
    play(project, {"a": [[gate("go"), write("a.txt")]]})
    project.orchestrate("--detach")
    at_gate(project, "go")
    window.open(f"{WATCHED}; {BIN}/dodo-claude attach run")
    with sits_before(project, window.socket, (80, 24)) as terminal:
        said(project, terminal, "Ctrl-b d leaves it")
        said(project, terminal, "0 of 1 done")
        terminal.press("\x02d")
        window.until("EXIT 0")
    assert window_size(project, "p--run") == "200x50"
    open_gate(project, "go")
    project.wait_for(lambda: list(project.root.glob(".orchestrate/runs/*/report.json")), "the run's end")


def test_from_a_dashboard_inside_another_tmux(project: Project, window: Window) -> None:
    with at_work(project):
        window.open(f"{BIN}/dodo-claude dashboard")
        with sits_before(project, window.socket, (80, 24)) as terminal:
            project.wait_for(lambda: "0 of 1 done" in window.screen() and terminal.sees(), "the dashboard")
            terminal.press("a")
            said(project, terminal, "Ctrl-b d leaves it")
            terminal.press("\x02d")
            project.wait_for(lambda: not clients(project), "the way back")
            project.wait_for(lambda: "0 of 1 done" in window.screen(), "the dashboard again")
            terminal.press("q")
            window.until("EXIT 0")
