"""What changes in folders, told by the kernel: inotify. Where there is none the folders are looked at twice a second.

Only names are told; whoever asked reads what he wants to know. A lost word costs nothing but time: then all is told of.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path

# Only without inotify: how often folders are looked at.
LOOK_SECONDS = 0.5
# What inotify tells of: an entry closed after it was written to, or moved here; one written to, moved away, made, removed.
_ARRIVED = 0x008 | 0x080
_TOUCHED = 0x002 | 0x040 | 0x100 | 0x200
# Of a folder and nothing else; that it went is told, too.
_FOLDER = 0x400 | 0x01000000
# An entry moved away or removed, the folder itself moved.
_LOST = 0x01000000 | 0x040 | 0x200 | 0x800
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_HEAD = struct.Struct("iIII")

# A folder and the name of an entry. An empty name: look at all of it.
Change = tuple[Path, str]


class Changes:
    """Watches folders. `wait` belongs to one thread; any may call the others."""

    def __init__(self, *, told: bool = True, arrivals: bool = False) -> None:
        """`told`: by the kernel, if it can. `arrivals`: only of what is whole, written and closed or moved there."""
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)
        self._mask = _FOLDER | _ARRIVED | (0 if arrivals else _TOUCHED)
        self._lock = threading.Lock()
        self._numbers: dict[Path, int] = {}  # of the folders that the kernel tells of
        self._folders: dict[int, Path] = {}
        self._seen: dict[
            Path, dict[str, tuple[int, int]]
        ] = {}  # those that are looked at, and what was found
        self._libc = ctypes.CDLL(None, use_errno=True) if told and sys.platform == "linux" else None
        self._fd = -1 if self._libc is None else self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def is_told(self) -> bool:
        """Does the kernel tell of everything?"""
        return self._fd >= 0 and not self._seen

    @property
    def fds(self) -> list[int]:
        """What gets something to read when there is something to `take`, as far as it is told."""
        return [fd for fd in (self._wake_read, self._fd) if fd >= 0]

    def watch(self, folder: Path, *, loss: bool = False) -> bool:
        """Tell of `folder`'s entries from now on. False if it is not there, or watched already.

        `loss`: only of those that go, and of its own move, as an entry without a name.
        """
        with self._lock:
            if folder in self._numbers or folder in self._seen or not folder.is_dir():
                return False
            number = -1
            if self._fd >= 0 and self._libc is not None:
                number = self._libc.inotify_add_watch(
                    self._fd, os.fsencode(folder), _LOST if loss else self._mask
                )
            if number >= 0:
                self._numbers[folder] = number
                self._folders[number] = folder
                return True
            # No inotify, or no more watches are allowed: look by ourselves.
            self._seen[folder] = _entries(folder)
        self.wake()  # whoever waits must look from now on
        return True

    def forget(self, folder: Path) -> None:
        """Tell no more of `folder`; fine if it is not watched."""
        with self._lock:
            self._seen.pop(folder, None)
            number = self._numbers.pop(folder, None)
            if number is not None:
                self._folders.pop(number, None)
                if self._libc is not None:
                    self._libc.inotify_rm_watch(self._fd, number)  # fails if the folder is gone

    def wake(self) -> None:
        """End a `wait`."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\n")

    def wait(self, seconds: float | None) -> Collection[Change]:
        """What changed; nothing after so many seconds, or when it was woken."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            timeout = min((each for each in (left, self.patience) if each is not None), default=None)
            woken = self._wake_read in select.select(self.fds, [], [], timeout)[0]
            found = self.take()
            if found or woken or (deadline is not None and time.monotonic() >= deadline):
                return found

    @property
    def patience(self) -> float | None:
        """After so many seconds there may be something to `take` that `fds` say nothing of."""
        return LOOK_SECONDS if self._seen else None

    def take(self) -> Collection[Change]:
        """What changed until now."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        with self._lock:
            return self._read() | self._look()

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in (self._fd, self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fd = -1

    def _read(self) -> set[Change]:
        found: set[Change] = set()
        while self._fd >= 0:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, at)
                name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
                at += _HEAD.size + length
                if mask & _OVERFLOW:
                    found |= {(folder, "") for folder in self._numbers}
                elif mask & _IGNORED:
                    if (folder := self._folders.pop(number, None)) is not None:  # it is gone
                        self._numbers.pop(folder, None)
                        found.add((folder, ""))
                elif number in self._folders:
                    found.add((self._folders[number], os.fsdecode(name)))
        return found

    def _look(self) -> set[Change]:
        found: set[Change] = set()
        for folder, before in list(self._seen.items()):
            now = self._seen[folder] = _entries(folder)
            found |= {(folder, name) for name in before.keys() | now.keys() if before.get(name) != now.get(name)}  # fmt: skip
            if not folder.is_dir():
                del self._seen[folder]
        return found


def _entries(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                found[entry.name] = (status.st_mtime_ns, status.st_size)
    return found
