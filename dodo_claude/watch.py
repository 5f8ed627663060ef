"""Waking up: one thread that tells each stage when something happened to its worker.

Two things ring: a hook (it writes its attempt's ring into the bell, a FIFO), and the end of a pane's
process (a pidfd). Waiting costs nothing and polls nothing; where the system has no pidfd the processes
are asked once a second. The bell carries no facts: those are in the spool, so a lost or a forged ring
does no harm.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from pathlib import Path

# Only without pidfd_open (macOS): how often the watched processes are asked whether they live.
POLL_SECONDS = 1.0
_WAKE = b"\n"  # an empty ring: look at the list of processes again


def runtime_dir(root: Path) -> Path:
    """A private folder for sockets and pipes of the project at `root`: short path, gone after a reboot.

    Raises `OSError` when it cannot be made, and `PermissionError` when somebody else's lies in its place.
    """
    import hashlib
    import stat

    base = os.environ.get("XDG_RUNTIME_DIR")
    top = Path(base) / "dodo-claude" if base else Path(f"/tmp/dodo-claude-{os.getuid()}")  # noqa: S108 (checked below)
    own = top / hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    for path in (top, own):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700, parents=path is top)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{path}: must be a folder of yours with mode 0700 (remove it)")
    return own


def make_bell(folder: Path) -> Path:
    """The FIFO in `folder` that hooks ring."""
    import stat

    bell = folder / "bell"
    if bell.exists() and not stat.S_ISFIFO(bell.lstat().st_mode):
        bell.unlink()  # a plain file would always be ready to be read: the thread would spin
    with contextlib.suppress(FileExistsError):
        os.mkfifo(bell, 0o600)
    return bell


class Watcher:
    """The one waiting thread of a run. `register` a ring, then wait on the event it gives."""

    def __init__(self, bell: Path) -> None:
        # Both ways, so that it neither blocks in opening nor ends when the last hook closes it.
        self._fd = os.open(bell, os.O_RDWR | os.O_NONBLOCK)
        self._lock = threading.Lock()
        self._events: dict[bytes, threading.Event] = {}
        self._pids: dict[int, tuple[bytes, int]] = {}  # pidfd -> ring, pid
        self._polled: dict[int, bytes] = {}  # pid -> ring, where there is no pidfd
        self._watched: dict[int, bytes] = {}  # pid -> ring, of all processes that still live
        # Only the thread closes them: closed by another, one's number could come back as a new pidfd
        # while the thread still acts on what it heard of the old.
        self._stale: list[int] = []
        self._new: list[int] = []  # pidfds that it does not wait for yet
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="dodo-claude-watch", daemon=True)
        self._thread.start()

    def register(self, ring: str) -> threading.Event:
        """The event that is set when `ring` rings."""
        event = threading.Event()
        with self._lock:
            self._events[ring.encode()] = event
        return event

    def watch_process(self, ring: str, pid: int) -> None:
        """Ring once when process `pid` is gone; at once if it is gone already."""
        with self._lock:
            if pid in self._watched:
                return
            self._watched[pid] = ring.encode()
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone(pid, ring.encode())
            return
        except (AttributeError, OSError):
            with self._lock:
                self._polled[pid] = ring.encode()
        else:
            with self._lock:
                self._pids[pidfd] = (ring.encode(), pid)
                self._new.append(pidfd)
        self._wake()

    def gone(self, pid: int) -> bool:
        """Has process `pid`, watched before, ended?"""
        with self._lock:
            return pid not in self._watched

    def forget(self, ring: str) -> None:
        """No more rings for this one."""
        key = ring.encode()
        with self._lock:
            self._events.pop(key, None)
            for pid in [pid for pid, other in self._watched.items() if other == key]:
                del self._watched[pid]
            for pid in [pid for pid, other in self._polled.items() if other == key]:
                del self._polled[pid]
            stale = [pidfd for pidfd, (other, _) in self._pids.items() if other == key]
            for pidfd in stale:
                del self._pids[pidfd]
            self._stale += stale
        self._wake()

    def ring_all(self) -> None:
        """Wake every stage: the run is being stopped."""
        with self._lock:
            events = list(self._events.values())
        for event in events:
            event.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._wake()
        self._thread.join()
        with self._lock:
            for pidfd in (*self._pids, *self._stale):
                os.close(pidfd)
            self._pids.clear()
            self._stale.clear()
        os.close(self._fd)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full of rings: it wakes up anyway
            os.write(self._fd, _WAKE)

    def _gone(self, pid: int, key: bytes) -> None:
        with self._lock:
            self._watched.pop(pid, None)
        self._ring(key)

    def _ring(self, key: bytes) -> None:
        with self._lock:
            event = self._events.get(key)
        if event is not None:
            event.set()

    def _run(self) -> None:
        pending = b""
        poll = (
            select.poll()
        )  # kept: to make one of a hundred processes anew at each ring takes longer than the ring
        poll.register(self._fd, select.POLLIN)
        while not self._closing:
            with self._lock:
                for pidfd in self._new:
                    poll.register(pidfd, select.POLLIN)
                self._new.clear()
                for pidfd in self._stale:
                    poll.unregister(pidfd)
                    os.close(pidfd)
                self._stale.clear()
                timeout = POLL_SECONDS * 1000 if self._polled else None
            for fd, _ in poll.poll(timeout):
                if fd == self._fd:
                    pending = self._read_bell(pending)
                elif self._process_ended(fd):
                    poll.unregister(fd)
                    os.close(fd)
            self._ask_polled()

    def _read_bell(self, pending: bytes) -> bytes:
        with contextlib.suppress(BlockingIOError):
            pending += os.read(self._fd, 65536)
        *rings, rest = pending.split(b"\n")
        for ring in set(rings):
            self._ring(ring)
        return rest[-64:]  # a ring without an end is somebody's noise

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
        for pid, ring in polled:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                with self._lock:
                    self._polled.pop(pid, None)
                self._gone(pid, ring)
            except PermissionError:
                continue
