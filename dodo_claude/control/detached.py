"""A run in a tmux session of its own, so that logging out ends nothing: `doit orchestrate --detach`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.agents.start import env_script
from dodo_claude.config.records import Config
from dodo_claude.machine import files, importing, watch
from dodo_claude.machine.files import make_state_dir, write_atomic
from dodo_claude.run.lock import held_by
from dodo_claude.run.run import Run
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.machine.tmux import Tmux

# How long a run gets to end its workers.
STOP_SECONDS = 20.0
# What the outer terminal and an outer tmux said of themselves is wrong in the new session.
_NOT_PASSED = ("TMUX", "TMUX_PANE", "TERM", "COLUMNS", "LINES")

# Set in the new session: nobody sits there to answer. No --yes, which says yes to plans.
_INSIDE = "DODO_CLAUDE_DETACHED"


def is_inside() -> bool:
    """Is this process the run in a session of its own?"""
    return os.environ.get(_INSIDE) == "1"


def session_name(config: Config) -> str:
    """The run's own session. No stage's default name has two dashes there, since none begins with one."""
    return f"{config.name}--run"


def start(run: Run, arguments: Sequence[str]) -> str:
    """Start `doit` with `arguments` less --detach in a session of its own; where to look, in words.

    Questions have been asked already: the new run asks none.
    """
    config = run.config
    name = session_name(config)
    if name in {stage.session for stage in config.stages}:
        raise DodoClaudeError(f"session '{name}': is a stage's; --detach needs it (give the stage another)")
    rest = [argument for argument in arguments if argument != "--detach"]
    command = shlex.join(importing.python("doit", *rest))
    folder = make_state_dir(config.root)
    environ = {key: value for key, value in run.environ.items() if key not in _NOT_PASSED}
    # As for a worker: the environment goes by a private file that the script removes, not by tmux.
    env_file = watch.runtime_dir(config.root) / f"env-run-{secrets.token_hex(4)}"
    write_atomic(env_file, env_script({**environ, "TERM": "screen-256color", _INSIDE: "1"}))
    script = folder / "detached.sh"
    quoted = shlex.quote(str(env_file))
    write_atomic(
        script,
        f"#!/bin/sh\n. {quoted} && rm -f {quoted}\ncd {shlex.quote(os.getcwd())} || exit 126\nexec {command}\n",
        0o700,
    )
    run.terminal().spawn(name, ["env", "-i", "/bin/sh", str(script)], config.root, "run", "run")
    return f"runs in tmux session {name}; look: dodo-claude attach run, dodo-claude status"


def stop(config: Config, tmux: Tmux) -> bool:
    """End a detached run as Ctrl-C would, then remove its session. False if there is none."""
    session, mark = tmux.server.sessions().get(session_name(config), ("", ""))
    if not mark:
        return False
    for pid in tmux.server.pids(session):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while tmux.server.lives(session) and time.monotonic() < deadline:
        time.sleep(0.05)  # its end is an event of another process's
    tmux.server.remove(session)
    return True


def under_way(config: Config, tmux: Tmux) -> bool:
    """Is a run in progress, or does a detached one begin, which takes the lock a moment later?"""
    from dodo_claude.machine.server import TmuxError

    if holder(config.root) is not None:
        return True
    session, mark = tmux.server.sessions().get(session_name(config), ("", ""))
    with contextlib.suppress(TmuxError):  # gone meanwhile
        return bool(mark) and tmux.server.lives(session)
    return False


def holder(root: Path) -> str | None:
    """Who runs this project now, 'pid 123 since …'; None if nobody does."""
    with contextlib.suppress(OSError):
        fd = files.open_file(make_state_dir(root) / "run.lock")
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return held_by(fd)
        finally:
            os.close(fd)
    return None


def orchestrate(root: Path, *arguments: str) -> str:
    """Run `doit orchestrate` with these words, which are such that it comes back at once; what it said.

    DodoClaudeError with what it said when that was a refusal.
    """
    done = subprocess.run(
        importing.python("doit", "orchestrate", *arguments),
        cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise DodoClaudeError(
            done.stderr.strip() or done.stdout.strip() or f"doit ended with {done.returncode}"
        )
    return done.stdout.strip()
