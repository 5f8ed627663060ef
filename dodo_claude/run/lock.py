"""The project's lock: one run at a time holds it, it dies with its holder, and what its holder was writing then goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from dodo_claude.machine import files
from dodo_claude.machine.files import being_written, make_state_dir
from dodo_claude.machine.ours import NotOursError
from dodo_claude.text.errors import DodoClaudeError

# Whoever asks who holds the lock has it, shared, for a moment: a status, a dashboard.
PEEK_SECONDS = 0.05


class RunInProgressError(DodoClaudeError):
    """Another run holds the project's lock."""


def take(root: Path) -> int:
    """Hold the project in `root`, as long as the descriptor that is given back is open. Raises `RunInProgressError`."""
    state = make_state_dir(root)
    fd = files.open_file(state / "run.lock", os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + PEEK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if time.monotonic() < end:
                time.sleep(PEEK_SECONDS / 10)
                continue
            holder = held_by(fd)
            os.close(fd)
            raise RunInProgressError(
                f"run in progress: {holder} (wait for it, or stop it with Ctrl-C there)"
            ) from error
    with contextlib.suppress(OSError):  # a full disk: the lock is what counts, its text is for people
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(), 0)
    return fd


def taken(state: Path) -> float:
    """When it was last taken, in wall-clock seconds; 0.0 when it never was. Its holder writes its plan somewhat later."""
    status = files.status(state / "run.lock")
    return 0.0 if status is None else status.st_mtime


def held_by(fd: int) -> str:
    """What the lock's file says of who holds it."""
    return os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "pid unknown"


def sweep_state(state: Path, *, attempts: bool) -> None:
    """Remove what runs that were killed were writing. `attempts`: may they have been killed in an attempt's folder, too?"""
    # A run with nothing to do makes no folder, and there are many: only the newest one's can hold remains.
    with contextlib.suppress(OSError):
        sweep(state / "runs" / max(files.names(state / "runs"), default="none"), ".*.tmp")
    if attempts:
        from dodo_claude.worker import store

        with contextlib.suppress(OSError, NotOursError):  # a store that is none fails nothing
            store.sweep(state)
        # A stage that is up to date has nobody else who would: its screen is written after its end.
        with contextlib.suppress(OSError):
            sweep(state / "stages", "*/.*.tmp", "*/*/.*.tmp", "*/mail/*/.*.tmp")


def sweep(folder: Path, *patterns: str) -> None:
    """Remove what a run left that was killed while it wrote."""
    for pattern in patterns:
        for path in files.find(folder, pattern):
            if not (path.suffix == ".tmp" and being_written(path)):
                files.remove(path, missing_ok=True)
