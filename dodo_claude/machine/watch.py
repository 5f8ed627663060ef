"""Waking up: one thread that tells each stage when something happened to its worker.

Two things wake it: what arrives in a folder (a hook's event in an attempt's spool, a message in a mailbox), and the end
of a pane's process (a pidfd). Waiting costs nothing and polls nothing where the system has inotify and pidfds; elsewhere
folders are looked at twice, and processes asked once a second. What wakes a stage carries no facts: those are in the
files, so a word too many does no harm, and nothing is lost while nobody listens.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

from dodo_claude.machine.files import make_private

# A ring that wakes everybody.
EVERYBODY = "*"
# Only without pidfd_open (macOS): how often the watched processes are asked whether they live.
POLL_SECONDS = 1.0


def runtime_dir(root: Path) -> Path:
    """A private folder for sockets and pipes of the project at `root`: short path, gone after a reboot.

    Raises `OSError` when it cannot be made, and `PermissionError` when somebody else's lies in its place.
    """
    import hashlib
    import stat

    base = os.environ.get("XDG_RUNTIME_DIR", "")
    top = Path(base) / "dodo-claude" if os.path.isabs(base) else Path(f"/tmp/dodo-claude-{os.getuid()}")  # noqa: S108 (checked below)
    own = top / hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    for path in (top, own):
        make_private(path)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{path}: must be a folder of yours with mode 0700 (remove it)")
    return own


class Watcher:
    """The one waiting thread of a run. `register` a ring, the name of one who waits, then wait on the event it gives."""

    def __init__(self) -> None:
        # Here, since it takes ctypes along, and a run with nothing to do does not come so far.
        from dodo_claude.machine.changes import Changes

        self._changes = Changes(arrivals=True)
        self._lock = threading.Lock()
        self._events: dict[str, threading.Event] = {}
        self._folders: dict[Path, str] = {}  # whose ring
        self._pids: dict[int, tuple[str, int]] = {}  # pidfd -> ring, pid
        self._polled: dict[int, str] = {}  # pid -> ring, where there is no pidfd
        self._watched: dict[int, str] = {}  # pid -> ring, of all processes that still live
        # Only the thread closes them: closed by another, one's number could come back as a new pidfd
        # while the thread still acts on what it heard of the old.
        self._stale: list[int] = []
        self._new: list[int] = []  # pidfds that it does not wait for yet
        self._closing = False
        self._lost: Callable[[], object] = lambda: None
        self._ground: dict[Path, str] = {}  # the entry whose loss counts, in each folder
        self._thread = threading.Thread(target=self._run, name="dodo-claude-watch", daemon=True)
        self._thread.start()

    def register(self, ring: str) -> threading.Event:
        """The event that is set when `ring` rings."""
        event = threading.Event()
        with self._lock:
            self._events[ring] = event
        return event

    def watch_folder(self, ring: str, folder: Path) -> None:
        """Ring when something arrives in `folder` whose name does not begin with a point. What lies there does not ring.
        For `EVERYBODY` each ring does."""
        with self._lock:
            self._folders[folder] = ring
        self._changes.watch(folder)

    def watch_loss(self, folder: Path, lost: Callable[[], object]) -> None:
        """Call `lost` whenever `folder`, or one that it is in, may have been moved or removed."""
        self._lost, self._ground = (
            lost,
            {folder.parent: folder.name, **dict.fromkeys([folder, *folder.parent.parents], "")},
        )
        for each in self._ground:
            self._changes.watch(each, loss=True)

    def watch_process(self, ring: str, pid: int) -> None:
        """Ring once when process `pid` is gone; at once if it is gone already."""
        with self._lock:
            if pid in self._watched:
                return
            self._watched[pid] = ring
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone(pid, ring)
            return
        except (AttributeError, OSError):
            with self._lock:
                self._polled[pid] = ring
        else:
            with self._lock:
                self._pids[pidfd] = (ring, pid)
                self._new.append(pidfd)
        self._changes.wake()

    def gone(self, pid: int) -> bool:
        """Has process `pid`, watched before, ended?"""
        with self._lock:
            return pid not in self._watched

    def forget(self, ring: str) -> None:
        """No more rings for this one."""
        with self._lock:
            self._events.pop(ring, None)
            for pid in [pid for pid, other in self._watched.items() if other == ring]:
                del self._watched[pid]
            for pid in [pid for pid, other in self._polled.items() if other == ring]:
                del self._polled[pid]
            stale = [pidfd for pidfd, (other, _) in self._pids.items() if other == ring]
            for pidfd in stale:
                del self._pids[pidfd]
            self._stale += stale
            folders = [folder for folder, other in self._folders.items() if other == ring]
            for folder in folders:
                del self._folders[folder]
                self._changes.forget(folder)
        if stale:
            self._changes.wake()

    def ring_all(self) -> None:
        """Wake every stage."""
        with self._lock:
            events = list(self._events.values())
        for event in events:
            event.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._changes.wake()
        self._thread.join()
        with self._lock:
            for pidfd in (*self._pids, *self._stale):
                os.close(pidfd)
            self._pids.clear()
            self._stale.clear()
        self._changes.close()

    def _gone(self, pid: int, ring: str) -> None:
        with self._lock:
            self._watched.pop(pid, None)
        self.ring(ring)

    def ring(self, ring: str) -> None:
        """Wake who waits under that name, if anybody does."""
        with self._lock:
            event = self._events.get(ring)
        if event is not None:
            event.set()

    def _run(self) -> None:
        # Kept: to make one of a hundred processes anew each time takes longer than all else.
        poll = select.poll()
        told = self._changes.fds
        for fd in told:
            poll.register(fd, select.POLLIN)
        while not self._closing:
            with self._lock:
                for pidfd in self._new:
                    poll.register(pidfd, select.POLLIN)
                self._new.clear()
                for pidfd in self._stale:
                    poll.unregister(pidfd)
                    os.close(pidfd)
                self._stale.clear()
                waits = [seconds for seconds in (self._changes.patience, POLL_SECONDS if self._polled else None) if seconds]  # fmt: skip
            for fd, _ in poll.poll(min(waits) * 1000 if waits else None):
                if fd not in told and self._process_ended(fd):
                    poll.unregister(fd)
                    os.close(fd)
            self._hear()
            self._ask_polled()

    def _hear(self) -> None:
        # What begins with a point is on its way to its name.
        told = self._changes.take()
        arrived = {folder for folder, name in told if not name.startswith(".")}
        if any(name in ("", self._ground.get(folder)) for folder, name in told if folder in self._ground):
            self._lost()
        with self._lock:
            rings = {self._folders.get(folder, "") for folder in arrived}
        if EVERYBODY in rings:
            self.ring_all()
        for ring in rings:
            self.ring(ring)

    def _process_ended(self, pidfd: int) -> bool:
        """False: nobody wants to know any more; it is among the stale ones."""
        with self._lock:
            entry = self._pids.pop(pidfd, None)
        if entry is not None:
            self._gone(entry[1], entry[0])
        return entry is not None

    def _ask_polled(self) -> None:
        with self._lock:
            polled = list(self._polled.items())
        if not polled:
            return
        from dodo_claude.machine import processes  # only where there are no pidfds

        for pid, ring in polled:
            if not processes.runs(pid):
                with self._lock:
                    self._polled.pop(pid, None)
                self._gone(pid, ring)
