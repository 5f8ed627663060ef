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
import time
from collections.abc import Collection
from pathlib import Path

# Only without inotify: how often folders are looked at.
LOOK_SECONDS = 0.5
# Written to, closed after that, moved here or away, made, removed; the folder itself went.
_MASK = 0x002 | 0x008 | 0x040 | 0x080 | 0x100 | 0x200 | 0x400 | 0x01000000
_OVERFLOW, _IGNORED = 0x4000, 0x8000
_HEAD = struct.Struct("iIII")

# A folder and the name of an entry. An empty name: look at all of it.
Change = tuple[Path, str]


class Changes:
    """Watches folders. `wait` and `watch` belong to one thread; anyone may `wake` it."""

    def __init__(self, *, told: bool = True) -> None:
        """`told`: by the kernel, if it can."""
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._folders: dict[int, Path] = {}
        self._seen: dict[Path, dict[str, tuple[int, int]]] = {}  # only without inotify
        self._watched: set[Path] = set()
        self._libc = ctypes.CDLL(None, use_errno=True) if told and sys.platform == "linux" else None
        self._fd = -1
        if self._libc is not None:
            self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    @property
    def is_told(self) -> bool:
        """Does the kernel tell?"""
        return self._fd >= 0

    def watch(self, folder: Path) -> bool:
        """Tell of `folder`'s entries from now on. False if it is not there, or watched already."""
        if folder in self._watched or not folder.is_dir():
            return False
        if self._fd >= 0 and self._libc is not None:
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _MASK)
            if number < 0:  # no more of them are allowed: look by ourselves, at all
                os.close(self._fd)
                self._fd = -1
                for known in self._watched:
                    self._seen[known] = _entries(known)
            else:
                self._folders[number] = folder
        self._watched.add(folder)
        if self._fd < 0:
            self._seen[folder] = _entries(folder)
        return True

    def wake(self) -> None:
        """End a `wait`."""
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\n")

    def wait(self, seconds: float | None) -> Collection[Change]:
        """What changed; nothing after so many seconds, or when it was woken."""
        if self._fd < 0:
            return self._look(seconds)
        ready, _, _ = select.select([self._fd, self._wake_read], [], [], seconds)
        self._awake()
        return self._read() if self._fd in ready else ()

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in (self._fd, self._wake_read, self._wake_write):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fd = -1

    def _awake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _read(self) -> Collection[Change]:
        found: set[Change] = set()
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return found
            at = 0
            while at < len(data):
                number, mask, _, length = _HEAD.unpack_from(data, at)
                name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
                at += _HEAD.size + length
                if mask & _OVERFLOW:
                    found |= {(folder, "") for folder in self._watched}
                elif mask & _IGNORED:
                    self._watched.discard(self._folders.pop(number, Path()))
                elif number in self._folders:
                    found.add((self._folders[number], os.fsdecode(name)))

    def _look(self, seconds: float | None) -> Collection[Change]:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            found: set[Change] = set()
            for folder in list(self._watched):
                before, now = self._seen.get(folder, {}), _entries(folder)
                found |= {(folder, name) for name in before.keys() | now.keys() if before.get(name) != now.get(name)}  # fmt: skip
                self._seen[folder] = now
                if not folder.is_dir():
                    self._watched.discard(folder)
            left = LOOK_SECONDS if deadline is None else min(LOOK_SECONDS, deadline - time.monotonic())
            if found or left <= 0:
                return found
            if select.select([self._wake_read], [], [], left)[0]:
                self._awake()
                return ()


def _entries(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                found[entry.name] = (status.st_mtime_ns, status.st_size)
    return found
