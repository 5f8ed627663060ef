"""What the tests of faults share: a project from plain tables, gates that workers wait at, a terminal, a patched run.

Rule: nothing here waits by the clock for something that can be seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dodo_claude.state.events import Event
from dodo_claude.state.journal import Attempt
from tests.project import BIN, PATIENCE, Live, Project

Step = dict[str, Any]


def toml(value: object) -> str:
    """A value as TOML; tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def configure(
    project: Project,
    stages: Mapping[str, Mapping[str, object]],
    *,
    agent: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
    monitors: Mapping[str, Mapping[str, object]] | None = None,
    **orchestrate: object,
) -> None:
    """An orchestrate.toml of scripted stages: no repairs, retries at once, whatever they need is allowed."""
    tables: dict[str, Mapping[str, object]] = {
        "orchestrate": {"name": "p", "retry_delay": "10ms", "worker_memory": "0MB", **orchestrate},
        "defaults": {"agent": "scripted", "repairs": 0, **(defaults or {})},
        "agents.scripted": {"allowed_tools": ["Edit(./**)", "Bash"], **(agent or {})},
    }
    for name, keys in stages.items():
        plain = {} if keys.keys() & {"command", "phases"} else {"prompt": "Do it."}
        tables[f"stages.{json.dumps(name)}"] = {**plain, **keys}
    tables |= {f"monitors.{name}": keys for name, keys in (monitors or {}).items()}
    lines = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    project.write("orchestrate.toml", "\n".join(lines) + "\n")


def play(project: Project, stages: Mapping[str, Sequence[Sequence[Step]]], **keys: object) -> None:
    """A scenario.toml: of each stage its turns, each a list of steps. `keys` are of all stages."""
    lines = []
    for name, turns in stages.items():
        lines.append(f"[stages.{json.dumps(name)}]")
        lines += [f"{key} = {toml(value)}" for key, value in keys.items()]
        lines.append(f"turns = {toml([{'steps': list(steps)} for steps in turns])}")
    project.write("scenario.toml", "\n".join(lines) + "\n")


def write(name: str, text: str = "x\n") -> Step:
    return {"write": name, "text": text}


def bash(command: str) -> Step:
    return {"bash": command}


def gate(name: str) -> Step:
    """The worker says that it is there, by a file `name`.at, and waits until there is a file `name`."""
    return bash(f"touch {name}.at; while [ ! -e {name} ]; do sleep 0.02; done")


def at_gate(project: Project, name: str) -> None:
    project.wait_for((project.root / f"{name}.at").exists, f"a worker at the gate {name}")


def open_gate(project: Project, name: str) -> None:
    (project.root / name).touch()


# -- what happened


def events(project: Project, stage: str, kind: str | None = None) -> list[Event]:
    """The events of all attempts of a stage, oldest first."""
    log = project.log(stage)
    return [
        event
        for number in log.attempts()
        for event in Attempt(log, number).replay()
        if kind in (None, event.kind)
    ]


def happened(project: Project, stage: str, kind: str) -> bool:
    return bool(events(project, stage, kind))


def wait_event(project: Project, stage: str, kind: str) -> Event:
    project.wait_for(lambda: happened(project, stage, kind), f"{kind} of {stage}")
    return events(project, stage, kind)[0]


def results(project: Project, stage: str) -> list[str]:
    log = project.log(stage)
    found = [Attempt(log, number).result() or {} for number in log.attempts()]
    return [str(result.get("result")) for result in found]


def result(project: Project, stage: str, attempt: int) -> Mapping[str, Any]:
    found = Attempt(project.log(stage), attempt).result()
    assert found is not None
    return found


def worker_pid(project: Project, stage: str) -> int:
    """The process of the last attempt's worker."""
    wait_event(project, stage, "spawned")
    pid = events(project, stage, "spawned")[-1].data["pid"]
    assert isinstance(pid, int)
    return pid


def launch(project: Project, stage: str, attempt: int) -> str:
    """The command line of an attempt's worker."""
    return (project.log(stage).dir / str(attempt) / "launch.sh").read_text().splitlines()[-1]


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def census(project: Project) -> Iterator[dict[str, int]]:
    """How many attempts of each stage had a living worker at the same moment, looked at all the while."""
    most: dict[str, int] = defaultdict(int)
    over = threading.Event()
    mark = f"DODO_CLAUDE_ROOT={project.root}".encode()

    def look() -> None:
        while not over.wait(0.01):
            found: dict[str, set[str]] = defaultdict(set)
            for entry in os.listdir("/proc"):
                with contextlib.suppress(OSError, ValueError):
                    lines = Path(f"/proc/{int(entry)}/environ").read_bytes().split(b"\0")
                    if mark in lines and alive(int(entry)):
                        table = dict(line.decode().partition("=")[::2] for line in lines)
                        found[table["DODO_CLAUDE_STAGE"]].add(table["DODO_CLAUDE_NONCE"])
            for stage, nonces in found.items():
                most[stage] = max(most[stage], len(nonces))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


# -- other ways to run


def patch(project: Project, code: str) -> None:
    """Let each run of the project execute `code` first: what takes minutes, or a fault, is put in there."""
    folder = project.home / "patch"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(code)
    project.env["PYTHONPATH"] = str(folder)


class Terminal(Live):
    """A command on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[str], ours: int) -> None:
        super().__init__(process)
        self.ours: int | None = ours
        self.said = ""

    def press(self, text: str) -> None:
        assert self.ours is not None
        os.write(self.ours, text.encode())

    def hang_up(self) -> None:
        assert self.ours is not None
        os.close(self.ours)
        self.ours = None

    def until(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.said.count(text) < times:
            goes_on = self._read() and time.monotonic() < deadline
            assert goes_on, f"no {text!r} in:\n{self.said}"

    def wait(self, patience: float = PATIENCE) -> int:
        while self.ours is not None and self._read():
            pass
        return self.process.wait(patience)

    def sees(self) -> str:
        """All that was said so far."""
        assert self.ours is not None
        while select.select([self.ours], [], [], 0)[0] and self._read():
            pass
        return self.said

    def _read(self) -> bool:
        """Read what came. False at the end."""
        assert self.ours is not None
        if not select.select([self.ours], [], [], PATIENCE)[0]:
            return False
        try:
            data = os.read(self.ours, 65536)
        except OSError:
            return False
        self.said += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


# Makes the terminal the controlling one, so that its Ctrl-C and its end are signals.
_ON_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


@contextlib.contextmanager
def on_terminal(project: Project, *args: str, term: str = "dumb") -> Iterator[Terminal]:
    """`doit orchestrate` as in a shell's window."""
    project.approve(*args)
    with at_terminal(project, "doit", "orchestrate", *args, term=term) as terminal:
        yield terminal


@contextlib.contextmanager
def at_terminal(
    project: Project, *argv: str, term: str = "xterm-256color", size: tuple[int, int] | None = None
) -> Iterator[Terminal]:
    """One of our commands as in a shell's window of so many columns and rows."""
    env = {**project.environ(), "TERM": term}
    with on_pty([str(BIN / argv[0]), *argv[1:]], project.root, env, size) as terminal:
        yield terminal


@contextlib.contextmanager
def on_pty(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], size: tuple[int, int] | None = None
) -> Iterator[Terminal]:
    """A program on a terminal of so many columns and rows; killed at the end if it still runs."""
    ours, theirs = pty.openpty()
    if size is not None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-ISc", _ON_TERMINAL, *argv],
        cwd=cwd, env=env, text=True, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if terminal.ours is not None:
            os.close(terminal.ours)


def look_in(project: Project, stage: str, size: tuple[int, int]) -> None:
    """Attach to a worker from a terminal of that size, and leave again, as a person does."""
    with at_terminal(project, "dodo-claude", "attach", stage, size=size) as terminal:
        project.wait_for(lambda: terminal.sees() and clients(project), f"somebody attached to {stage}")
        terminal.press("\x02d")
        assert terminal.wait() == 0
    project.wait_for(lambda: not clients(project), "nobody attached")


def clients(project: Project) -> list[str]:
    """The sizes of the terminals that are attached to the project's tmux server, as columns x rows."""
    told = "#{?client_control_mode,,#{client_width}x#{client_height}}"  # a dashboard's mirror is no terminal
    return [size for size in ask_tmux(project, "list-clients", "-F", told) if size]


def window_size(project: Project, session: str) -> str:
    """Of a session's first window, as columns x rows."""
    return ask_tmux(
        project, "display-message", "-p", "-t", f"={session}:^", "#{window_width}x#{window_height}"
    )[0]


def ask_tmux(project: Project, *argv: str) -> list[str]:
    """What the project's tmux server answers."""
    (socket,) = project.runtime.glob("dodo-claude/*/tmux.sock")
    done = subprocess.run(["tmux", "-S", str(socket), *argv], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


class Window:
    """A shell in a window of some size, of a tmux of its own."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.socket = project.runtime / "window.sock"

    def tmux(self, *argv: str) -> str:
        done = subprocess.run(["tmux", "-f", "/dev/null", "-S", str(self.socket), *argv], capture_output=True, text=True, check=False, env=self.project.environ())  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def open(self, command: str, columns: int = 80, rows: int = 24) -> None:
        self.project.approve()
        self.tmux(
            "new-session", "-d", "-s", "w", "-x", str(columns), "-y", str(rows), "-c", str(self.project.root),
            f"{command}; echo EXIT $?; sleep 100",
        )  # fmt: skip

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", "w")

    def all(self) -> str:
        return self.tmux("capture-pane", "-p", "-J", "-S", "-5000", "-t", "w")

    def until(self, text: str) -> str:
        self.project.wait_for(lambda: text in self.all(), f"{text!r}; it shows\n{self.screen()}")
        return self.all()

    def cursor(self) -> str:
        """Its row, from 0, and column; nothing where it is not shown."""
        return self.tmux(
            "display-message", "-p", "-t", "w", "#{?cursor_flag,#{cursor_y} #{cursor_x},}"
        ).strip()


@contextlib.contextmanager
def opened_window(project: Project) -> Iterator[Window]:
    """One whose tmux ends with the test."""
    made = Window(project)
    try:
        yield made
    finally:
        subprocess.run(["tmux", "-S", str(made.socket), "kill-server"], capture_output=True, check=False)
