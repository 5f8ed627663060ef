"""Slots: how many workers may run at once in a run and all that is nested in it. Owns the files that count them.

A slot is a held lock on a file: it dies with its holder, however that ends, so none is ever lost. Whoever holds
one may hand it down: a run that a worker starts gets the name of its worker's slot, and with it one place beside
the shared ones, `NAME.sub`. As the worker only waits meanwhile, that is no worker more; and as that place is
there whatever the others do, a nested run never waits for the run that waits for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dodo_claude.text.errors import DodoClaudeError

VARIABLE = "DODO_CLAUDE_SLOTS"  # folder:count:name of the slot that is handed down
# How often one looks whether another process let go of a slot; within a process one is told at once.
LOOK_SECONDS = 0.25
MOST = 256  # as many as max_workers may be
# A run in a run in a run: deeper is a loop of runs that start each other.
DEEPEST = 8

_VALUE = re.compile(r"(?P<folder>/[^\0]*):(?P<count>[0-9]{1,3}):(?P<name>[0-9]{1,3}(?:\.sub)*)", re.DOTALL)


class Slot:
    """One place for a worker, held until `release`, or until this process ends."""

    def __init__(self, slots: Slots, name: str, fd: int) -> None:
        self.name = name
        self._slots = slots
        self._fd: int | None = fd

    @property
    def environ(self) -> dict[str, str]:
        """What a worker in this slot needs in its environment, so that a run it starts stays within."""
        return {VARIABLE: f"{self._slots.folder}:{self._slots.count}:{self.name}"}

    def release(self) -> None:
        """Let go of it; a second time does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            self._slots.give_back(self.name, fd)

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Slots:
    """`count` slots in `folder`, and, if this run is nested, the one that its worker's slot `inherited` gives.

    Thread-safe. `folder` must be private to the user and on a local file system.
    """

    def __init__(self, folder: Path, count: int, inherited: str | None = None) -> None:
        self.folder = folder
        self.count = count
        # The own place first: it is nobody else's, so the shared ones stay free for others.
        own = [] if inherited is None else [f"{inherited}.sub"]
        self._names = [*own, *map(str, range(count))]
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @classmethod
    def of_parent(cls, environ: Mapping[str, str]) -> Slots | None:
        """The slots of the run that this one is nested in; None when it is in none, or that one is gone.

        Raises `DodoClaudeError` for a value that we did not write.
        """
        value = environ.get(VARIABLE)
        if not value:
            return None
        found = _VALUE.fullmatch(value)
        depth = 0 if found is None else found["name"].count(".sub")
        if found is None or not 1 <= int(found["count"]) <= MOST:
            raise DodoClaudeError(f"{VARIABLE}: {value[:200]!r} is none of ours (unset it)")
        if depth >= DEEPEST:
            raise DodoClaudeError(f"a run in a run, {depth} deep: they start each other (end the outermost)")
        folder = Path(found["folder"])
        try:
            status = folder.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise DodoClaudeError(
                f"{VARIABLE}: {folder} is not a folder that only you may write to (unset it)"
            )
        return cls(folder, int(found["count"]), found["name"])

    def take(
        self, timeout: float | None = None, give_up: Callable[[], object] = lambda: False
    ) -> Slot | None:
        """A slot as soon as there is one; None after `timeout` seconds, or when `give_up` says so.

        `give_up` is asked at least every `LOOK_SECONDS`. Raises `OSError` when the folder can't be used.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                slot = self._try()
                if slot is not None:
                    return slot
                left = LOOK_SECONDS if end is None else end - time.monotonic()
                if left <= 0 or give_up():
                    return None
                self._changed.wait(min(left, LOOK_SECONDS))

    def give_back(self, name: str, fd: int) -> None:
        """`Slot.release` calls it."""
        with self._changed:
            with contextlib.suppress(OSError):
                # By name: a child between its fork and its exec still has the file open, and with it the lock.
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
            self._held.discard(name)
            self._changed.notify()

    def wake(self) -> None:
        """Let all who wait look again, and ask their `give_up`."""
        with self._changed:
            self._changed.notify_all()

    def _try(self) -> Slot | None:
        for name in self._names:
            if name in self._held:
                continue
            fd = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            except BaseException:
                os.close(fd)
                raise
            self._held.add(name)
            return Slot(self, name, fd)
        return None
