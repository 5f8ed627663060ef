"""Panes for workers: the only file that talks to tmux (through libtmux).

Everything is addressed by id (`$3`, `%7`): a name given as a target matches by prefix and by pattern, so
`work-1` would kill `work-10`. No text of a user or a worker is ever given to tmux as a command, a title or a
key: prompts travel in files, `#` in paths is doubled since tmux expands it as a format. A window bears its
stage's name, without any `#`.
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
from dodo_claude.machine.files import make_private, write_new
from dodo_claude.machine.terminal import Pane
from dodo_claude.text.clean import clean_line, one_line, without_controls
from dodo_claude.text.errors import DodoClaudeError

MIN_VERSION = (3, 2)
# On these the tests that need a tmux were run; the last is the next version as it was made from its repository.
PROVED = ("3.3a", "3.7c", "next-3.8")
# The environment's name for another tmux than the one on PATH.
BINARY = "TMUX_BIN"
# The client's dialogs wrap and lose lines below 120x40.
COLUMNS, ROWS = 200, 50
HISTORY_LINES = 20_000
# Of the panes below a worker's: what is left of ROWS is enough for the client.
BESIDE_ROWS = 8
# tmux learns of a child's end by SIGCHLD, some milliseconds after the kernel told us.
REAP_SECONDS = 2.0
# Says whose a session is: the option's value is the mark given to `spawn`.
MARK = "@dodo_claude"
# Of a worker's pane: its process, which tmux 3.8 forgets when it ends (`pane_pid` is empty then).
_KEPT_PID = "@dodo_claude_pid"
_KEEP_PID = (_KEPT_PID, "#{pane_pid}")
_PID = f"#{{?pane_pid,#{{pane_pid}},#{{{_KEPT_PID}}}}}"
# How long a server gets to make its socket anew.
SOCKET_SECONDS = 2.0
# That mark of any project: who it is, and the attempt.
_OTHERS = re.compile(r"[0-9a-f]{12}/.+")
_FIELD = "\t"
# What the status line of our own server says in every session: which windows of all wait for a person (see `rename`).
# tmux makes it of names that it has: no program runs for it.
WAITING = "#{S:#{W:#{?#{m:[?!] *,#{window_name}},#[reverse] #{window_name} #[noreverse] ,}}}"
STATUS_SECONDS = 2
# When somebody leaves a session: its worker's window gets the size of whoever still looks, or that of its session, and
# goes on to follow those who come. `resize-window` alone would let it follow nobody any more.
_RESIZE = "resize-window -t ':^' -A ; set-option -wu -t ':^' window-size"
# A client that goes; and, for one that goes on to another session, a pane that loses the focus. tmux 3.2 tells of the
# focus only where `focus-events` is on: else that window has its size again when the next one leaves it.
_LEAVING = (("client-detached", "-t"), ("pane-focus-out", "-p", "-t"))
# No session's id: what asks for it fails.
_NOBODY = "'$none'"


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


def is_watched(environ: Mapping[str, str]) -> bool:
    """Is a client attached to the session in which a program with this environment runs, on whichever server?"""
    if not environ.get("TMUX") or "TMUX_PANE" not in environ:
        return False
    asked = [program(environ), "display-message", "-p", "-t", environ["TMUX_PANE"], "#{session_attached}"]
    try:
        done = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() not in ("", "0")


def _quote(text: str) -> str:
    """`text` as an argument: tmux runs `#(...)` in it, and takes a last `;` as the end of its command."""
    # Doubled, `#` is one; before a `[` it begins a style, which is left as it is however many there are.
    text = re.sub(r"#+(?!#*\[)", lambda run: run[0] * 2, text)
    return text[:-1] + "\\;" if text.endswith(";") else text


def _window_name(name: str) -> str:
    """A name is a format when it is given, and may hold styles when it is drawn: `#` begins both."""
    return _quote(clean_line(name).replace("#", "_"))


class Tmux:
    """`terminal.Terminal` on a tmux server: our own at `socket`, or the user's default one (None)."""

    def __init__(self, socket: Path | None, env: Mapping[str, str] | None = None, owner: str = "") -> None:
        """`owner` tells the projects apart that share the default server: sessions of another are strangers."""
        self.socket = socket
        self._owner = f"{owner}/"
        self._server_pid = 0  # as far as it is known
        self._env = dict(env) if env is not None else dict(os.environ)
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

    # -- terminal.Terminal

    def spawn(self, session: str, argv: Sequence[str], cwd: Path, mark: str, name: str) -> Pane:
        """Run `argv` in a new session called `session`, its window called `name`; a finished one of ours by that name
        makes way."""
        if not cwd.is_dir():
            raise TmuxError(f"{cwd}: no such folder to start a worker in")
        at = f"={session}:"
        # One client call, since each costs some milliseconds of every stage. And the server reads its next child's
        # end only after all of these are done, so even a worker that ends at once leaves a pane to look at.
        command = [
            "new-session", "-d", "-P", "-F", _FIELD.join(["#{session_id}", "#{pane_id}", "#{pane_pid}", "#{pid}"]),
            "-s", session, "-n", _window_name(name), "-x", str(COLUMNS), "-y", str(ROWS),
            "-c", _quote(str(cwd)), *argv,
            ";", "set-option", "-t", at, MARK, self._owner + mark,
            ";", "set-option", "-p", "-F", "-t", at, *_KEEP_PID,
            # Of this pane alone: what a monitor, or a person, opens beside it goes when it ends.
            ";", "set-option", "-p", "-t", at, "remain-on-exit", "on",
            ";", "set-option", "-w", "-t", at, "allow-rename", "off",
        ]  # fmt: skip
        for event, *where in _LEAVING:
            command += [";", "set-hook", *where, at, event, _RESIZE]
        try:
            out = self._start(command)
        except TmuxError:  # most likely there is one of that name
            if not self._make_way(session):
                raise
            out = self._start(command)
        session_id, pane_id, pid, server = out[0].split(_FIELD)
        self._server_pid = int(server)
        return Pane(pane_id, session_id, int(pid))

    def respawn(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` in the same pane, whose process has ended."""
        out = self._cmd(
            "respawn-pane", "-t", pane.id, "-c", _quote(str(cwd)), *argv,
            ";", "set-option", "-p", "-F", "-t", pane.id, *_KEEP_PID,
            ";", "display-message", "-p", "-t", pane.id, "#{pane_pid}",
        )  # fmt: skip
        return Pane(pane.id, pane.session, int(out[0]))

    def split(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` below `pane`, in a row that all such share; in a window of its own where that has no room."""
        if not cwd.is_dir():
            raise TmuxError(f"{cwd}: no such folder to start a command in")
        rows = self._cmd("list-panes", "-t", pane.id, "-F", "#{pane_id} #{pane_height}")
        heights = dict(row.split() for row in rows)
        last = [*heights][-1]
        where = ["-h", "-t", last] if last != pane.id else ["-v", "-l", str(BESIDE_ROWS), "-t", pane.id]
        more = ["-d", "-P", "-F", _FIELD.join(["#{pane_id}", "#{pane_pid}"]), "-c", _quote(str(cwd)), *argv]
        out = []
        if last != pane.id or int(heights[pane.id]) >= 3 * BESIDE_ROWS:
            with contextlib.suppress(TmuxError):  # no room
                out = self._cmd("split-window", *where, *more)
        out = out or self._cmd("new-window", "-t", f"{pane.session}:", *more)
        pane_id, pid = out[0].split(_FIELD)
        return Pane(pane_id, pane.session, int(pid))

    def exit_status(self, pane: Pane) -> int | None:
        """The ended process's exit status, minus the signal's number if one ended it, None if unknown."""
        deadline = time.monotonic() + REAP_SECONDS
        while (status := self._look(pane)) in (None, ",") and time.monotonic() < deadline:
            if status == ",":
                # tmux 3.3a knows at once that a pane is dead but may learn its status only with its
                # next child; so it gets one.
                with contextlib.suppress(TmuxError):
                    self._cmd("run-shell", "true")
            time.sleep(0.005)  # there is no event for "tmux has noticed"
        if status in (None, ",", "gone"):
            return None
        code, signal = str(status).split(",")
        return -int(signal) if signal else int(code)

    def _look(self, pane: Pane) -> str | None:
        """None while it lives, 'status,signal' when it ended, 'gone' without a pane."""
        # `list-panes` fails for a pane that is not there; `display-message` answers with blanks.
        asked = "#{pane_dead}#{pane_dead_status},#{pane_dead_signal}"
        with contextlib.suppress(TmuxError):
            out = self._cmd("list-panes", "-t", pane.id, "-F", f"#{{pane_id}}/{_PID} {asked}")
            for line in out:
                found, _, rest = line.partition(" ")
                # A new server, after the death of one, gives the same ids to others.
                if found == f"{pane.id}/{pane.pid}":
                    # An unset pane_dead is empty or 0, a set one 1.
                    return rest[1:] if rest.startswith("1") else None
        return "gone"

    def paste(self, pane: Pane, texts: Sequence[str], scratch: Path) -> None:
        """Paste `texts` one after the other (bracketed, from a file in `scratch`), then press Enter."""
        self._leave_modes(pane)
        # Control characters would act as keys, and `ESC [201~` would end the paste before its end.
        cleaned = (without_controls(text) for text in texts)
        for number, text in enumerate(text for text in cleaned if text):  # an empty buffer is refused
            source = scratch / f"paste-{number}"
            write_new(source, text.encode("utf-8", "replace").decode())
            buffer = f"dodo-{pane.id[1:]}-{number}"
            try:
                self._cmd("load-buffer", "-b", buffer, _quote(str(source)))  # a format, too
                self._cmd("paste-buffer", "-p", "-r", "-d", "-b", buffer, "-t", pane.id)
            finally:
                source.unlink(missing_ok=True)
        self.press(pane, "Enter")

    def press(self, pane: Pane, key: str) -> None:
        """One key, by tmux's name of it."""
        self._leave_modes(pane)
        self._cmd("send-keys", "-t", pane.id, key)

    def capture(self, pane: Pane, *, history: int = 0, escapes: bool = False) -> str:
        """The pane's visible text, with up to `history` lines above it; '' if the pane is gone."""
        options = ["-e"] if escapes else []
        if history:
            options += ["-S", str(-history)]
        try:
            return "\n".join(self._cmd("capture-pane", "-p", "-J", *options, "-t", pane.id))
        except TmuxError:
            return ""

    def without(self, text: str) -> set[str]:
        """The ids of all panes on whose screens `text`, without any `#`, `{}`, or pattern's signs, is not to be seen."""
        try:
            rows = self._cmd("list-panes", "-a", "-F", f"#{{pane_id}} #{{C:{text}}}")
        except TmuxError:
            return set()  # no server
        # The number of the first row that has it, from 1.
        return {pane for pane, _, row in (line.partition(" ") for line in rows) if row == "0"}

    def rename(self, pane: Pane, name: str) -> None:
        """The name of the pane's window; fine if it is gone."""
        with contextlib.suppress(TmuxError):
            self._cmd("rename-window", "-t", pane.id, "--", _window_name(name))

    def close(self, session: str, mark: str) -> None:
        """Remove the worker's session, with whatever a person opened in it."""
        # Not by the id that it was started under: after a server's death, another's session may have that.
        session_id, found = self.sessions().get(session, ("", ""))
        if session_id and found == mark:
            self.remove_session(session_id)

    def take_down(self, pane: Pane, session: str, mark: str, *, history: int = 0) -> str:
        """`capture` and `close` at once, when nothing in `pane` is needed any more."""
        # Only if all is as it was: a new server, after the death of one, gives the same ids to others.
        own = f"#{{&&:#{{==:{_PID},{pane.pid}}},#{{==:#{{{MARK}}},{self._owner}{mark}}}}}"
        with contextlib.suppress(TmuxError):
            return "\n".join(
                self._cmd(
                    "capture-pane", "-p", "-J", "-S", str(-history), "-t", pane.id,
                    ";", "if-shell", "-F", "-t", pane.id, own,
                    f"kill-session -t {pane.id}", f"has-session -t {_NOBODY}",
                )
            )  # fmt: skip
        text = self.capture(pane, history=history)
        self.close(session, mark)
        return text

    # -- for the commands

    def sessions(self) -> dict[str, tuple[str, str]]:
        """Session name -> (id, mark given to `spawn`; '' if it is not this project's)."""
        try:
            lines = self._cmd(
                "list-sessions", "-F", _FIELD.join(["#{session_name}", "#{session_id}", f"#{{{MARK}}}"])
            )
        except TmuxError:
            return {}  # no server
        table = {}
        for line in lines:
            name, session_id, mark = [*line.split(_FIELD), "", ""][:3]
            own = mark.startswith(self._owner)
            table[name] = (session_id, mark.removeprefix(self._owner) if own else "")
        return table

    def living(self) -> dict[str, bool]:
        """Of each session of this project, by name: does any process of its panes still run? In one question."""
        asked = _FIELD.join(["#{session_name}", "#{?pane_dead,,1}", f"#{{{MARK}}}"])
        try:
            lines = self._cmd("list-panes", "-a", "-F", asked)
        except TmuxError:
            return {}  # no server
        found: dict[str, bool] = {}
        for line in lines:
            name, lives, mark = [*line.split(_FIELD), "", ""][:3]
            if mark.startswith(self._owner) and mark != self._owner:
                found[name] = found.get(name, False) or lives == "1"
        return found

    def following(self, session_id: str) -> list[str]:
        """The command of a client in control mode, which is told of all that the session's panes print."""
        where = [] if self.socket is None else ["-S", str(self.socket)]
        return [program(), "-u", *where, "-C", "attach-session", "-f", "ignore-size", "-t", session_id]

    def session_lives(self, session_id: str) -> bool:
        """Does any process of that session's panes still run?"""
        return "0" in self._cmd("list-panes", "-s", "-t", session_id, "-F", "#{?pane_dead,1,0}")

    def capture_session(self, session_id: str, *, history: int = 0) -> str:
        """The text of a session's worker: a person may have made another pane the active one."""
        return self.capture(Pane(f"{session_id}:{{start}}.{{top-left}}", session_id, 0), history=history)

    def end_session(self, session_id: str, nonce: str) -> None:
        """End a worker's process tree, and those of the monitors beside it, then remove its session."""
        for pid in self.pids(session_id):
            own = processes.nonce_of(pid) or ""
            processes.end_tree(pid, own if own.startswith(f"{nonce}-") else nonce)
        self.remove_session(session_id)

    def pids(self, session_id: str) -> list[int]:
        """The processes of a session's panes, those that ended, too, as far as tmux still knows them."""
        return [int(pid) for pid in self._cmd("list-panes", "-s", "-t", session_id, "-F", _PID) if pid]

    def remove_session(self, session_id: str) -> None:
        """Remove a session; fine if it is gone."""
        with contextlib.suppress(TmuxError):
            self._cmd("kill-session", "-t", session_id)

    def somebody_looks(self) -> bool:
        """Is a terminal attached to the server?"""
        with contextlib.suppress(TmuxError):
            return bool(self._cmd("list-clients", "-F", "#{client_pid}"))
        return False

    def send_away(self) -> None:
        """Detach all who are attached, as their own key would."""
        for session_id, _ in self.sessions().values():
            with contextlib.suppress(TmuxError):  # nobody is
                self._cmd("detach-client", "-s", session_id)

    def stop_server(self) -> None:
        """End a server of our own, with all sessions that are left."""
        if self.socket is not None and self.socket.exists():
            with contextlib.suppress(TmuxError):  # none answers
                self._cmd("kill-server")

    def stop_server_if_empty(self) -> None:
        """Leave no server of ours behind that holds no session."""
        if self.socket is None or not (self.socket.exists() or self._reached_again()):
            return
        with contextlib.suppress(TmuxError):  # one that does not answer may hold workers
            if not self._cmd("list-sessions", "-F", "#{session_id}"):
                self._cmd("kill-server")

    # -- inside

    def _start(self, command: Sequence[str]) -> list[str]:
        """Do `command`, which makes a session, on a server that lives or is started for it."""
        if self.socket is None:
            return self._cmd(command[0], *command[1:])
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
            env=self._env, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise TmuxError(f"tmux {command[0]}: {done.stderr.decode(errors='replace').strip() or 'failed'}")
        return done.stdout.decode(errors="replace").splitlines()

    def _reached_again(self) -> bool:
        """Its socket was removed, and the server lives: it makes it anew. Else it would be there for ever."""
        if (
            self.socket is None
            or self.socket.exists()
            or not processes.has_word(self._server_pid, str(self.socket))
        ):
            return False
        make_private(self.socket.parent)
        os.kill(self._server_pid, signal.SIGUSR1)
        deadline = time.monotonic() + SOCKET_SECONDS
        while not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.01)  # another process's doing, and once in a life
        return self.socket.exists()

    def _make_way(self, session: str) -> bool:
        """Remove a finished session of ours of that name. False: there is none."""
        there = self.sessions().get(session)
        if there is None:
            return False
        session_id, mark = there
        if not mark and (folder := self._other_project(session_id)):
            raise TmuxError(
                f"session '{session}': is that of another project of this name, at work in {folder} "
                "(give one of the two another `name` in [orchestrate])"
            )
        if not mark:
            raise TmuxError(
                f"session '{session}': exists in tmux and was not made by dodo_claude "
                f"(rename it, or set another `session` for the stage)"
            )
        self.end_session(session_id, mark)
        return True

    def _other_project(self, session: str) -> str:
        """The folder in which another project of ours started a session; '': it is nobody's of ours."""
        mark, _, folder = self._cmd(
            "display-message", "-p", "-t", session, f"#{{{MARK}}}{_FIELD}#{{session_path}}"
        )[0].partition(_FIELD)
        return one_line(folder) if _OTHERS.fullmatch(mark) else ""

    def _leave_modes(self, pane: Pane) -> None:
        # A mode swallows text and Enter: that of copying, which a person's scrolling enters, a list to choose from.
        asked = self._cmd("display-message", "-p", "-t", pane.id, f"{_PID} #{{pane_in_mode}}")
        pid, _, mode = (asked or [""])[0].partition(" ")
        if pid and int(pid) != pane.pid:
            raise TmuxError(f"pane {pane.id}: is another's since its tmux server died")
        if mode not in ("0", ""):
            self._cmd("copy-mode", "-q", "-t", pane.id)  # ends all of them

    def _cmd(self, name: str, *args: str) -> list[str]:
        try:
            done = self._server.cmd(name, *args)
        except LibTmuxException as error:
            raise TmuxError(f"tmux {name}: {error or 'tmux not found'}") from error
        if done.returncode != 0 and self._reached_again():
            done = self._server.cmd(name, *args)
        if done.returncode != 0:
            raise TmuxError(f"tmux {name}: {' '.join(done.stderr) or 'failed'}")
        return list(done.stdout)
