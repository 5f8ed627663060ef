"""Copies of verified bytes, each under its sha256: what a stage made can be put back when somebody overwrote it.

    .orchestrate/store/<sha256>     a private file

They lie in the project's state folder, not in the user's cache: they are of this project's files and go with it, no
worker's client may edit there, and on the same disk putting one back is a rename.

Rules this file keeps: a copy is a file of its own, so that a program that writes in place does not write it, too; no
link is followed; a copy whose bytes are not those of its name counts as none; one that can't be made fails nothing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
import threading
from collections.abc import Collection
from pathlib import Path

from dodo_claude.machine import files, ours
from dodo_claude.machine.files import being_written, make_folder
from dodo_claude.machine.ours import NotOursError
from dodo_claude.worker import verify

FOLDER = "store"
# A larger file is not copied: that it was overwritten can be said, and not be undone.
LARGEST = 64_000_000  # bytes
# A copy must not take the room that the run's own records need.
ROOM = 50_000_000  # bytes that stay free
_NAME = re.compile(r"[0-9a-f]{64}")


def keep(state: Path, path: Path, digest: str, size: int) -> bool:
    """Have a copy of the file `path`, if its bytes are still those of `digest`. False: there is none."""
    if size > LARGEST:
        return False
    copy = state / FOLDER / digest
    if _is_whole(copy, digest, size):
        return True
    temporary = _temporary(state, digest)
    try:
        make_folder(copy.parent)
        found = os.statvfs(copy.parent)
        if found.f_blocks and found.f_bavail * found.f_frsize < size + ROOM:
            return False
        # A target may be a link to another file of the project.
        if _copy(files.open_any(path), temporary, digest):
            files.move(temporary, copy)
            return True
    except (OSError, NotOursError):  # no room, no right, a link there: the work is good all the same
        pass
    with contextlib.suppress(OSError, NotOursError):
        files.remove(temporary)
    return False


def has(state: Path, digest: str, size: int) -> bool:
    """Does a copy seem to be there? Its bytes are compared when it is needed."""
    with contextlib.suppress(OSError, NotOursError):
        status = os.lstat(
            ours.check(f"{state}/{FOLDER}/{digest}")
        )  # a Path's making takes longer than the look
        return stat.S_ISREG(status.st_mode) and status.st_size == size
    return False


def restore(state: Path, digest: str, path: Path, mode: int, written: int) -> bool:
    """Put a copy in the place of `path`, with the mode and the time of its last write (ns). False: there is no copy.

    `path` is at any moment what it was, or whole. Raises `OSError` where it can't be written.
    """
    temporary = _temporary(state, digest)
    try:
        if not _copy(files.open_file(state / FOLDER / digest), temporary, digest):
            return False
    except (OSError, NotOursError):
        with contextlib.suppress(OSError, NotOursError):
            files.remove(temporary)
        return False
    try:
        _ready(temporary, mode, written)
        try:
            os.replace(temporary, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            _copy(files.open_file(temporary), beside, digest)
            _ready(beside, mode, written)
            os.replace(beside, path)
    finally:
        with contextlib.suppress(OSError):
            files.remove(temporary, missing_ok=True)
    return True


def _temporary(state: Path, digest: str) -> Path:
    """Of this thread alone: two stages may make the same bytes at once."""
    return state / FOLDER / f".{digest}-{threading.get_ident()}.{os.getpid()}.tmp"


def _ready(path: Path, mode: int, written: int) -> None:
    path.chmod(mode)
    os.utime(path, ns=(written, written))


def copies(state: Path) -> dict[str, int]:
    """The size of each copy, by its digest, and of each half of one that a kill left, by its name."""
    found = {}
    with contextlib.suppress(OSError):
        folder = state / FOLDER
        for name in files.names(folder):
            left = name.endswith(".tmp") and not being_written(folder / name)
            if left or _NAME.fullmatch(name):
                status = os.lstat(folder / name)
                if stat.S_ISREG(status.st_mode):
                    found[name] = status.st_size
    return found


def sweep(state: Path) -> None:
    """Remove the halves of copies that killed runs left."""
    remove(state, [name for name in copies(state) if name.endswith(".tmp")])


def remove(state: Path, names: Collection[str]) -> None:
    """Let copies go."""
    for name in names:
        files.remove(state / FOLDER / name, missing_ok=True)


def _is_whole(copy: Path, digest: str, size: int) -> bool:
    with contextlib.suppress(OSError, NotOursError), files.opened(copy) as stream:
        return os.fstat(stream.fileno()).st_size == size and _digest(stream.fileno()) == digest
    return False


def _digest(fd: int) -> str:
    made = hashlib.sha256()
    for data in verify.blocks(fd):
        made.update(data)
    return made.hexdigest()


def _copy(reading: int, target: Path, digest: str) -> bool:
    """Copy a descriptor's file to the new file `target`. False, and no file: its bytes are not those of `digest`."""
    made = hashlib.sha256()
    with os.fdopen(reading, "rb", 0) as stream, os.fdopen(files.make(target), "wb") as copy:
        for data in verify.blocks(stream.fileno()):
            made.update(data)
            copy.write(data)
    if made.hexdigest() == digest:
        return True
    files.remove(target)
    return False
