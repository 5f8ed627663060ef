"""The demo's tmux sessions on the default server: whose they are, making and removing them, running commands in one.

Rule kept here: a session is touched only when it is ours. The one that this file makes is marked with MARK
and this demo's folder; the workers' are marked by the engine and started in demo/work.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DEMO = Path(__file__).resolve().parent
WORK = DEMO / "work"
MAIN = "orchestrator-demo"
WORKERS = ("worker-frontend", "worker-backend", "worker-tests")
MARK = "@dodo_claude_demo"
ENGINES_MARK = "@dodo_claude"
# Columns and rows of the session that nobody has attached to yet.
SIZE = ("120", "40")
# How often `Stagehand.run` lets its caller look at the journals. Files tell nobody that they grew.
LOOK_SECONDS = 0.2
# How long things get that should take no time, before that is an error.
PATIENCE_SECONDS = 20.0
# What stagehand.py prints under a command that has ended.
ENDED = "exit status "


class DemoError(Exception):
    """The demo can't go on; str() says why and what to do."""


def environ() -> dict[str, str]:
    """Our environment without the tmux we may be in: what we mean is the default server."""
    return {name: value for name, value in os.environ.items() if name not in ("TMUX", "TMUX_PANE")}


def tmux(*arguments: str) -> list[str]:
    """The lines that a tmux command prints; DemoError when it fails."""
    # -u: without it tmux writes '_' for other than ASCII in a C locale.
    done = subprocess.run(
        ["tmux", "-u", *arguments], env=environ(), capture_output=True, encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DemoError(f"tmux {arguments[0]}: {done.stderr.strip() or 'failed'}")
    return done.stdout.split("\n")[:-1]


def attach_command() -> str:
    """What shows a session on the default server, from the terminal that we are in."""
    inside = os.environ.get("TMUX", "").split(",")[0]
    if not inside:
        return "tmux attach"
    default = tmux("display-message", "-p", "#{socket_path}")[0]
    return (
        "tmux switch-client" if os.path.realpath(inside) == os.path.realpath(default) else "TMUX= tmux attach"
    )


def check_tmux() -> None:
    """DemoError when tmux is missing or too old."""
    if shutil.which("tmux") is None:
        raise DemoError(
            "tmux: not found on PATH; 3.2 or newer is needed (apt install tmux, brew install tmux)"
        )
    answer = tmux("-V")[0]
    found = re.search(r"(\d+)\.(\d+)", answer)
    if found and (int(found[1]), int(found[2])) < (3, 2):
        raise DemoError(f"tmux: 3.2 or newer is needed, found '{answer}' (apt install tmux)")


@dataclass(frozen=True)
class Session:
    """One of the four on the default server."""

    name: str
    id: str
    ours: bool


def sessions() -> list[Session]:
    """Those of our four names that exist, ours or not."""
    fields = ("session_name", "session_id", MARK, ENGINES_MARK, "session_path")
    try:
        lines = tmux("list-sessions", "-F", "\t".join(f"#{{{field}}}" for field in fields))
    except DemoError:
        return []  # no server runs
    found = []
    for line in lines:
        name, session_id, mark, engines, path = line.split("\t", 4)
        if name == MAIN:
            found.append(Session(name, session_id, mark == str(DEMO)))
        elif name in WORKERS:
            found.append(Session(name, session_id, bool(engines) and path == str(WORK)))
    return found


def refuse_strangers() -> None:
    """DemoError when somebody else has a session of one of our names."""
    names = [session.name for session in sessions() if not session.ours]
    if names:
        remedy = "\n".join(f"    tmux rename-session -t ={name} my-{name}" for name in names)
        raise DemoError(
            f"tmux has a session that this demo did not make: {', '.join(names)}\n"
            f"Nothing was changed. Rename it, or end it if you do not need it, and start again:\n{remedy}"
        )


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the demo's folder: a second demo would pull the sessions from under this one."""
    fd = os.open(DEMO, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise DemoError("the demo runs in another terminal already (stop it there with Ctrl-C)") from None
    try:
        yield
    finally:
        os.close(fd)


def remove_sessions() -> list[str]:
    """End ours with all that runs in them; their names."""
    ours = [session for session in sessions() if session.ours]
    for session in ours:
        panes = tmux("list-panes", "-s", "-t", session.id, "-F", "#{?pane_dead,1,0} #{pane_pid}")
        living = [int(pane.split()[1]) for pane in panes if pane.startswith("0")]
        tmux("kill-session", "-t", session.id)  # hangs up: programs take that as the order to end
        for pid in living:
            end_process(pid)
    return [session.name for session in ours]


def end_process(pid: int) -> None:
    """Wait for a process that was told to end, and kill it when it does not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(0.02)
        os.kill(pid, signal.SIGKILL)


def screen(target: str, *, history: bool = False) -> list[str]:
    """The lines of a pane without the empty ones at its end; none when it is gone."""
    above = ["-S", "-"] if history else []
    try:
        lines = [line.rstrip() for line in tmux("capture-pane", "-p", "-J", *above, "-t", target)]
    except DemoError:
        return []
    while lines and not lines[-1]:
        lines.pop()
    return lines


class Stagehand:
    """The session orchestrator-demo, in which stagehand.py runs what it is told."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="dodo-claude-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._connection: socket.socket | None = None
        self._received = b""
        self._running: int | None = None  # the process id of the command under way
        self._ordered = False
        self.pane = ""

    def open(self) -> None:
        """Make the session, marked in the same breath."""
        path = os.path.join(self._folder, "socket")
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(PATIENCE_SECONDS)
        folder = str(WORK).replace("#", "##")  # tmux expands formats in it
        self.pane = tmux(
            "new-session", "-d", "-P", "-F", "#{pane_id}", "-s", MAIN, "-n", "doit", "-x", SIZE[0], "-y", SIZE[1],
            "-c", folder, sys.executable, str(DEMO / "stagehand.py"), path, str(WORK),
            ";", "set-option", "-t", f"={MAIN}:", MARK, str(DEMO),
            ";", "set-option", "-t", f"={MAIN}:", "destroy-unattached", "off",
        )[0]  # fmt: skip
        try:
            self._connection, _ = self._listener.accept()
        except TimeoutError:
            raise DemoError(f"the session {MAIN} did not start (is {sys.executable} in order?)") from None

    def run(self, argv: list[str], shown: str, look: Callable[[], None]) -> int:
        """Run a command in the session and wait for its exit status. `look` is called now and then."""
        self._send({"argv": argv, "shown": shown, "env": command_environ()})
        while True:
            facts = self._receive(LOOK_SECONDS)
            look()
            if "code" in facts:
                self._settle(shown)
                return facts["code"]

    def _settle(self, shown: str) -> None:
        """Wait until tmux has read all that the command printed: it lags behind what we were told."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(line.startswith(ENDED) for line in self._after(shown)):
            if time.monotonic() > deadline:
                raise DemoError(f"the session {MAIN} does not show the end of `{shown}`")
            time.sleep(0.02)

    def _after(self, shown: str) -> list[str]:
        lines = screen(self.pane, history=True)
        start = max((index for index, line in enumerate(lines) if line == f"$ {shown}"), default=len(lines))
        return lines[start + 1 :]

    def output(self, shown: str) -> list[str]:
        """What the last command of that wording printed so far."""
        return [line for line in self._after(shown) if line and not line.startswith(ENDED)]

    def stop(self) -> None:
        """End the command under way, which ends its workers."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        told = False
        with contextlib.suppress(DemoError, ProcessLookupError):
            while self._ordered and time.monotonic() < deadline:
                if self._running is not None and not told:
                    os.kill(self._running, signal.SIGINT)
                    told = True
                self._receive(LOOK_SECONDS)
            if self._ordered and self._running is not None:
                os.kill(self._running, signal.SIGKILL)

    def close(self) -> None:
        """Leave the session to itself."""
        if self._connection is not None:
            self._connection.close()
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self, order: dict[str, object]) -> None:
        assert self._connection is not None
        self._ordered = True
        self._connection.sendall(json.dumps(order).encode() + b"\n")

    def _receive(self, seconds: float) -> dict[str, int]:
        """What the stagehand said within that time; nothing is {}."""
        assert self._connection is not None
        if b"\n" not in self._received and select.select([self._connection], [], [], seconds)[0]:
            data = self._connection.recv(4096)
            if not data:
                raise DemoError(f"the session {MAIN} was ended from outside")
            self._received += data
        line, newline, rest = self._received.partition(b"\n")
        if not newline:
            return {}
        self._received = rest
        facts: dict[str, int] = json.loads(line)
        self._running = facts.get("pid")
        self._ordered = "code" not in facts
        return facts


def command_environ() -> dict[str, str]:
    """What commands run with: ours, with the programs of our Python first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**environ(), "PATH": path}
