"""Panes for workers: what is done to one, on a server of tmux (server.py).

Everything is addressed by id (`$3`, `%7`): a name given as a target matches by prefix and by pattern, so
`work-1` would kill `work-10`. No text of a user or a worker is ever given to tmux as a command, a title or a
key: prompts travel in files, `#` in paths is doubled since tmux expands it as a format. A window bears its
stage's name, without any `#`.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dodo_claude.machine.files import write_new
from dodo_claude.machine.server import FIELD, KEPT_PID, MARK, PID, Server, TmuxError, program
from dodo_claude.machine.terminal import Pane
from dodo_claude.text.clean import clean_line, one_line, without_controls

# The client's dialogs wrap and lose lines below 120x40.
COLUMNS, ROWS = 200, 50
# Of the panes below a worker's: what is left of ROWS is enough for the client.
BESIDE_ROWS = 8
# tmux learns of a child's end by SIGCHLD, some milliseconds after the kernel told us.
REAP_SECONDS = 2.0
_KEEP_PID = (KEPT_PID, "#{pane_pid}")
# That mark of any project: who it is, and the attempt.
_OTHERS = re.compile(r"[0-9a-f]{12}/.+")
# When somebody leaves a session: its worker's window gets the size of whoever still looks, or that of its session, and
# goes on to follow those who come. `resize-window` alone would let it follow nobody any more.
_RESIZE = "resize-window -t ':^' -A ; set-option -wu -t ':^' window-size"
# A client that goes; and, for one that goes on to another session, a pane that loses the focus. tmux 3.2 tells of the
# focus only where `focus-events` is on: else that window has its size again when the next one leaves it.
_LEAVING = (("client-detached", "-t"), ("pane-focus-out", "-p", "-t"))
# No session's id: what asks for it fails.
_NOBODY = "'$none'"


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
        """As Server's."""
        self.server = Server(socket, env, owner)

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
            "new-session", "-d", "-P", "-F", FIELD.join(["#{session_id}", "#{pane_id}", "#{pane_pid}", "#{pid}"]),
            "-s", session, "-n", _window_name(name), "-x", str(COLUMNS), "-y", str(ROWS),
            "-c", _quote(str(cwd)), *argv,
            ";", "set-option", "-t", at, MARK, self.server.owner + mark,
            ";", "set-option", "-p", "-F", "-t", at, *_KEEP_PID,
            # Of this pane alone: what a monitor, or a person, opens beside it goes when it ends.
            ";", "set-option", "-p", "-t", at, "remain-on-exit", "on",
            ";", "set-option", "-w", "-t", at, "allow-rename", "off",
        ]  # fmt: skip
        for event, *where in _LEAVING:
            command += [";", "set-hook", *where, at, event, _RESIZE]
        try:
            out = self.server.start(command)
        except TmuxError:  # most likely there is one of that name
            if not self._make_way(session):
                raise
            out = self.server.start(command)
        session_id, pane_id, pid, server = out[0].split(FIELD)
        self.server.pid = int(server)
        return Pane(pane_id, session_id, int(pid))

    def respawn(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` in the same pane, whose process has ended."""
        out = self.server.cmd(
            "respawn-pane", "-t", pane.id, "-c", _quote(str(cwd)), *argv,
            ";", "set-option", "-p", "-F", "-t", pane.id, *_KEEP_PID,
            ";", "display-message", "-p", "-t", pane.id, "#{pane_pid}",
        )  # fmt: skip
        return Pane(pane.id, pane.session, int(out[0]))

    def split(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        """Run `argv` below `pane`, in a row that all such share; in a window of its own where that has no room."""
        if not cwd.is_dir():
            raise TmuxError(f"{cwd}: no such folder to start a command in")
        rows = self.server.cmd("list-panes", "-t", pane.id, "-F", "#{pane_id} #{pane_height}")
        heights = dict(row.split() for row in rows)
        last = [*heights][-1]
        where = ["-h", "-t", last] if last != pane.id else ["-v", "-l", str(BESIDE_ROWS), "-t", pane.id]
        more = ["-d", "-P", "-F", FIELD.join(["#{pane_id}", "#{pane_pid}"]), "-c", _quote(str(cwd)), *argv]
        out = []
        if last != pane.id or int(heights[pane.id]) >= 3 * BESIDE_ROWS:
            with contextlib.suppress(TmuxError):  # no room
                out = self.server.cmd("split-window", *where, *more)
        out = out or self.server.cmd("new-window", "-t", f"{pane.session}:", *more)
        pane_id, pid = out[0].split(FIELD)
        return Pane(pane_id, pane.session, int(pid))

    def exit_status(self, pane: Pane) -> int | None:
        """The ended process's exit status, minus the signal's number if one ended it, None if unknown."""
        deadline = time.monotonic() + REAP_SECONDS
        while (status := self._look(pane)) in (None, ",") and time.monotonic() < deadline:
            if status == ",":
                # tmux 3.3a knows at once that a pane is dead but may learn its status only with its
                # next child; so it gets one.
                with contextlib.suppress(TmuxError):
                    self.server.cmd("run-shell", "true")
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
            out = self.server.cmd("list-panes", "-t", pane.id, "-F", f"#{{pane_id}}/{PID} {asked}")
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
                self.server.cmd("load-buffer", "-b", buffer, _quote(str(source)))  # a format, too
                self.server.cmd("paste-buffer", "-p", "-r", "-d", "-b", buffer, "-t", pane.id)
            finally:
                source.unlink(missing_ok=True)
        self.press(pane, "Enter")

    def press(self, pane: Pane, key: str) -> None:
        """One key, by tmux's name of it."""
        self._leave_modes(pane)
        self.server.cmd("send-keys", "-t", pane.id, key)

    def capture(self, pane: Pane, *, history: int = 0, escapes: bool = False) -> str:
        """The pane's visible text, with up to `history` lines above it; '' if the pane is gone."""
        options = ["-e"] if escapes else []
        if history:
            options += ["-S", str(-history)]
        try:
            return "\n".join(self.server.cmd("capture-pane", "-p", "-J", *options, "-t", pane.id))
        except TmuxError:
            return ""

    def without(self, text: str) -> set[str]:
        """The ids of all panes on whose screens `text`, without any `#`, `{}`, or pattern's signs, is not to be seen."""
        try:
            rows = self.server.cmd("list-panes", "-a", "-F", f"#{{pane_id}} #{{C:{text}}}")
        except TmuxError:
            return set()  # no server
        # The number of the first row that has it, from 1.
        return {pane for pane, _, row in (line.partition(" ") for line in rows) if row == "0"}

    def rename(self, pane: Pane, name: str) -> None:
        """The name of the pane's window; fine if it is gone."""
        with contextlib.suppress(TmuxError):
            self.server.cmd("rename-window", "-t", pane.id, "--", _window_name(name))

    def close(self, session: str, mark: str) -> None:
        """Remove the worker's session, with whatever a person opened in it."""
        # Not by the id that it was started under: after a server's death, another's session may have that.
        session_id, found = self.server.sessions().get(session, ("", ""))
        if session_id and found == mark:
            self.server.remove(session_id)

    def take_down(self, pane: Pane, session: str, mark: str, *, history: int = 0) -> str:
        """`capture` and `close` at once, when nothing in `pane` is needed any more."""
        # Only if all is as it was: a new server, after the death of one, gives the same ids to others.
        own = f"#{{&&:#{{==:{PID},{pane.pid}}},#{{==:#{{{MARK}}},{self.server.owner}{mark}}}}}"
        with contextlib.suppress(TmuxError):
            return "\n".join(
                self.server.cmd(
                    "capture-pane", "-p", "-J", "-S", str(-history), "-t", pane.id,
                    ";", "if-shell", "-F", "-t", pane.id, own,
                    f"kill-session -t {pane.id}", f"has-session -t {_NOBODY}",
                )
            )  # fmt: skip
        text = self.capture(pane, history=history)
        self.close(session, mark)
        return text

    # -- for the commands

    def capture_session(self, session_id: str, *, history: int = 0) -> str:
        """The text of a session's worker: a person may have made another pane the active one."""
        return self.capture(Pane(f"{session_id}:{{start}}.{{top-left}}", session_id, 0), history=history)

    # -- inside

    def _make_way(self, session: str) -> bool:
        """Remove a finished session of ours of that name. False: there is none."""
        there = self.server.sessions().get(session)
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
        self.server.end(session_id, mark)
        return True

    def _other_project(self, session: str) -> str:
        """The folder in which another project of ours started a session; '': it is nobody's of ours."""
        mark, _, folder = self.server.cmd(
            "display-message", "-p", "-t", session, f"#{{{MARK}}}{FIELD}#{{session_path}}"
        )[0].partition(FIELD)
        return one_line(folder) if _OTHERS.fullmatch(mark) else ""

    def _leave_modes(self, pane: Pane) -> None:
        # A mode swallows text and Enter: that of copying, which a person's scrolling enters, a list to choose from.
        asked = self.server.cmd("display-message", "-p", "-t", pane.id, f"{PID} #{{pane_in_mode}}")
        pid, _, mode = (asked or [""])[0].partition(" ")
        if pid and int(pid) != pane.pid:
            raise TmuxError(f"pane {pane.id}: is another's since its tmux server died")
        if mode not in ("0", ""):
            self.server.cmd("copy-mode", "-q", "-t", pane.id)  # ends all of them
