"""A tmux server: our own or the user's, how it is started and found again, its sessions, its end. The only file that calls
libtmux; what is done to a pane stands in tmux.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import libtmux
from libtmux.exc import LibTmuxException

from dodo_claude.machine import processes
from dodo_claude.machine.files import make_private
from dodo_claude.text.errors import DodoClaudeError

MIN_VERSION = (3, 2)
# On these the tests that need a tmux were run; the last is the next version as it was made from its repository.
PROVED = ("3.3a", "3.7c", "next-3.8")
# The environment's name for another tmux than the one on PATH.
BINARY = "TMUX_BIN"
HISTORY_LINES = 20_000
# Says whose a session is: the option's value is the mark given to `spawn`.
MARK = "@dodo_claude"
# Of a worker's pane: its process, which tmux 3.8 forgets when it ends (`pane_pid` is empty then).
KEPT_PID = "@dodo_claude_pid"
PID = f"#{{?pane_pid,#{{pane_pid}},#{{{KEPT_PID}}}}}"
# How long a server gets to make its socket anew.
SOCKET_SECONDS = 2.0
FIELD = "\t"
# What the status line of our own server says in every session: which windows of all wait for a person (see `rename`).
# tmux makes it of names that it has: no program runs for it.
WAITING = "#{S:#{W:#{?#{m:[?!] *,#{window_name}},#[reverse] #{window_name} #[noreverse] ,}}}"
STATUS_SECONDS = 2


class TmuxError(DodoClaudeError):
    """tmux refused something."""


def program(environ: Mapping[str, str] = os.environ) -> str:
    """The tmux to run: what TMUX_BIN names, or the one on PATH."""
    return environ.get(BINARY) or "tmux"


def _needed() -> str:
    binary = shutil.which(program())
    if binary is None and BINARY in os.environ:
        raise TmuxError(f"tmux: {BINARY} names '{program()}', which is no program (mend it, or unset it)")
    if binary is None:
        raise TmuxError(
            "tmux: not found on PATH; tmux 3.2 or newer is needed (apt install tmux, brew install tmux)"
        )
    return binary


def check_version() -> str:
    """tmux's version, when it is there and new enough. Raises `TmuxError` with the remedy."""
    binary = _needed()
    try:
        answer = subprocess.run([binary, "-V"], capture_output=True, text=True, check=False).stdout.strip()
    except OSError as error:
        raise TmuxError(f"tmux: {binary} can't be run: {error.strerror} (apt install tmux)") from error
    found = re.search(r"(\d+)\.(\d+)", answer)
    if answer.startswith("tmux next") or answer == "tmux master":
        return answer
    if found is None or (int(found[1]), int(found[2])) < MIN_VERSION:
        raise TmuxError(f"tmux: 3.2 or newer is needed, found '{answer}' at {binary} (apt install tmux)")
    return answer


class Server:
    """A tmux server: our own at `socket`, or the user's default one (None)."""

    def __init__(self, socket: Path | None, env: Mapping[str, str] | None = None, owner: str = "") -> None:
        """`owner` tells the projects apart that share the default server: sessions of another are strangers."""
        self.socket = socket
        self.owner = f"{owner}/"
        self.pid = 0  # as far as it is known
        self.env = dict(env) if env is not None else dict(os.environ)
        if socket is None:
            self._server = libtmux.Server(tmux_bin=os.environ.get(BINARY) or None)
        else:
            if len(os.fsencode(socket)) > 100:
                raise TmuxError(
                    f"{socket}: too long for a socket's path (set XDG_RUNTIME_DIR to a short one)"
                )
            self._server = libtmux.Server(
                socket_path=str(socket), config_file=os.devnull, tmux_bin=os.environ.get(BINARY) or None
            )

    def sessions(self) -> dict[str, tuple[str, str]]:
        """Session name -> (id, mark given to `spawn`; '' if it is not this project's)."""
        try:
            lines = self.cmd(
                "list-sessions", "-F", FIELD.join(["#{session_name}", "#{session_id}", f"#{{{MARK}}}"])
            )
        except TmuxError:
            return {}  # no server
        table = {}
        for line in lines:
            name, session_id, mark = [*line.split(FIELD), "", ""][:3]
            own = mark.startswith(self.owner)
            table[name] = (session_id, mark.removeprefix(self.owner) if own else "")
        return table

    def living(self) -> dict[str, bool]:
        """Of each session of this project, by name: does any process of its panes still run? In one question."""
        asked = FIELD.join(["#{session_name}", "#{?pane_dead,,1}", f"#{{{MARK}}}"])
        try:
            lines = self.cmd("list-panes", "-a", "-F", asked)
        except TmuxError:
            return {}  # no server
        found: dict[str, bool] = {}
        for line in lines:
            name, lives, mark = [*line.split(FIELD), "", ""][:3]
            if mark.startswith(self.owner) and mark != self.owner:
                found[name] = found.get(name, False) or lives == "1"
        return found

    def following(self, session_id: str) -> list[str]:
        """The command of a client in control mode, which is told of all that the session's panes print."""
        where = [] if self.socket is None else ["-S", str(self.socket)]
        return [program(), "-u", *where, "-C", "attach-session", "-f", "ignore-size", "-t", session_id]

    def lives(self, session_id: str) -> bool:
        """Does any process of that session's panes still run?"""
        return "0" in self.cmd("list-panes", "-s", "-t", session_id, "-F", "#{?pane_dead,1,0}")

    def end(self, session_id: str, nonce: str) -> None:
        """End a worker's process tree, and those of the monitors beside it, then remove its session."""
        for pid in self.pids(session_id):
            own = processes.nonce_of(pid) or ""
            processes.end_tree(pid, own if own.startswith(f"{nonce}-") else nonce)
        self.remove(session_id)

    def pids(self, session_id: str) -> list[int]:
        """The processes of a session's panes, those that ended, too, as far as tmux still knows them."""
        return [int(pid) for pid in self.cmd("list-panes", "-s", "-t", session_id, "-F", PID) if pid]

    def remove(self, session_id: str) -> None:
        """Remove a session; fine if it is gone."""
        with contextlib.suppress(TmuxError):
            self.cmd("kill-session", "-t", session_id)

    def somebody_looks(self) -> bool:
        """Is a terminal attached to the server?"""
        with contextlib.suppress(TmuxError):
            return bool(self.cmd("list-clients", "-F", "#{client_pid}"))
        return False

    def send_away(self) -> None:
        """Detach all who are attached, as their own key would."""
        for session_id, _ in self.sessions().values():
            with contextlib.suppress(TmuxError):  # nobody is
                self.cmd("detach-client", "-s", session_id)

    def stop(self) -> None:
        """End a server of our own, with all sessions that are left."""
        if self.socket is not None and self.socket.exists():
            with contextlib.suppress(TmuxError):  # none answers
                self.cmd("kill-server")

    def stop_if_empty(self) -> None:
        """Leave no server of ours behind that holds no session."""
        if self.socket is None or not (self.socket.exists() or self._reached_again()):
            return
        with contextlib.suppress(TmuxError):  # one that does not answer may hold workers
            if not self.cmd("list-sessions", "-F", "#{session_id}"):
                self.cmd("kill-server")

    # -- inside

    def start(self, command: Sequence[str]) -> list[str]:
        """Do `command`, which makes a session, on a server that lives or is started for it."""
        if self.socket is None:
            return self.cmd(command[0], *command[1:])
        # Each time anew, since a server may be killed: without these, `command` would start one as the user's own
        # is. With a short environment: a server would show what it inherits to every pane.
        self._reached_again()
        done = subprocess.run(
            [_needed(), "-f", os.devnull, "-S", str(self.socket), "start-server",
             ";", "set-option", "-g", "exit-empty", "off",
             ";", "set-option", "-g", "history-limit", str(HISTORY_LINES),
             ";", "set-option", "-g", "default-terminal", "screen-256color",
             ";", "set-option", "-g", "destroy-unattached", "off",
             ";", "set-option", "-g", "mouse", "on",
             ";", "set-option", "-g", "status-right", f"{WAITING} %H:%M",
             ";", "set-option", "-g", "status-right-length", "120",
             ";", "set-option", "-g", "status-left-length", "40",
             ";", "set-option", "-g", "status-interval", str(STATUS_SECONDS),
             ";", "set-option", "-s", "escape-time", "10",
             ";", *command],
            env=self.env, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise TmuxError(f"tmux {command[0]}: {done.stderr.decode(errors='replace').strip() or 'failed'}")
        return done.stdout.decode(errors="replace").splitlines()

    def _reached_again(self) -> bool:
        """Its socket was removed, and the server lives: it makes it anew. Else it would be there for ever."""
        if self.socket is None or self.socket.exists() or not processes.has_word(self.pid, str(self.socket)):
            return False
        make_private(self.socket.parent)
        os.kill(self.pid, signal.SIGUSR1)
        deadline = time.monotonic() + SOCKET_SECONDS
        while not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # another process's doing, and once in a life
        return self.socket.exists()

    def cmd(self, name: str, *args: str) -> list[str]:
        try:
            done = self._server.cmd(name, *args)
        except LibTmuxException as error:
            raise TmuxError(f"tmux {name}: {error or 'tmux not found'}") from error
        if done.returncode != 0 and self._reached_again():
            done = self._server.cmd(name, *args)
        if done.returncode != 0:
            raise TmuxError(f"tmux {name}: {' '.join(done.stderr) or 'failed'}")
        return list(done.stdout)
