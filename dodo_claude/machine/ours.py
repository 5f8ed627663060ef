"""What of a project is ours to touch: the state folder that a run began with, and what in it is no link. Owns that judgement;
files.py opens, lists, makes and removes by it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

STATE_DIR = ".orchestrate"
MARK = f"/{STATE_DIR}"
# The state folders of the runs of this process, each with its inode and device when the run began.
held_folders: dict[str, tuple[int, int]] = {}


class NotOursError(DodoClaudeError):
    """What stands in a place of ours is nothing that we put there."""


class GoneError(DodoClaudeError):
    """The project's folder, or its state folder, was moved, removed or replaced while a run was at work in it."""


def check(path: Path | str) -> str:
    """`path` as text, if every folder on the way to it, from the state folder on, is a folder and no link.

    NotOursError for what is none, GoneError for a state folder that a run lost, FileNotFoundError for one that is not there.
    """
    text = os.fspath(path)
    if not text.startswith("/"):  # doit's name of its database is relative
        text = os.path.join(os.getcwd(), text)
    end = text.find(MARK) + len(MARK)
    while end >= len(MARK) and text[end : end + 1] not in ("", "/"):  # '.orchestrated', say
        end = text.find(MARK, end) + len(MARK)
    if end < len(MARK):
        return text
    held = held_folders.get(text[:end]) if held_folders else None
    if held is not None:
        check_held(text[:end], held)
    while 0 < end < len(text):
        if not stat.S_ISDIR(mode := os.lstat(text[:end]).st_mode):
            raise not_ours(text[:end], mode, "a folder")
        end = text.find("/", end + 1)
    return text


def hold(state: Path) -> None:
    """From now on only this very folder is the project's state folder, until `let_go`. Raises `OSError`."""
    status = os.lstat(state)
    held_folders[os.fspath(state)] = (status.st_ino, status.st_dev)


def let_go(state: Path) -> None:
    """The run is over."""
    held_folders.pop(os.fspath(state), None)


def lost(state: Path) -> str | None:
    """What became of a state folder that is held, in words; None: it is there."""
    try:
        held = held_folders.get(os.fspath(state))
        if held is not None:
            check_held(os.fspath(state), held)
    except GoneError as error:
        return str(error)
    return None


def check_held(state: str, held: tuple[int, int]) -> None:
    try:
        status = os.lstat(state)
        fact = None if (status.st_ino, status.st_dev) == held else "is another folder now"
    except OSError:
        fact = "is gone"
    if fact is not None:
        root = os.path.dirname(state)
        place = root if not os.path.lexists(root) else state
        raise GoneError(
            f"{one_line(place)}: {fact}: it was moved or removed while the run was at work in it (run again where it is now)"
        )


_KINDS = {
    stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFREG: "a file",
}  # fmt: skip


def not_ours(path: str, mode: int, wanted: str) -> NotOursError:
    kind = _KINDS.get(stat.S_IFMT(mode), "a device or a socket")
    return NotOursError(
        f"{one_line(path)}: is {kind} where {wanted} of ours belongs (remove it; then run again)"
    )


def refused(path: str, error: OSError) -> BaseException:
    """Why a file could not be opened: what stands there is not ours, if that is why."""
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
        with contextlib.suppress(OSError):
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode):
                return not_ours(path, mode, "a file")
    return error
