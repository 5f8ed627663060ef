"""All that a configuration asks of the disk is asked here, so that it can be written down with the answers, and asked again.

A configuration whose questions all have the same answers as before is the one it was: see kept.py. Each answer is
written down as what it depends on, or more: then a change that did not matter is taken for one that did, never the
other way round.

    kinds      of a name in a folder: is it a link, a folder, or anything else (or nothing)
    exact      of a name in a folder: what it is, if it is there
    listing    of a folder: its names, and which of them are folders
    links      where a path leads that has a link in it
    files      what a file holds

A folder whose own times are those from then has the same names of the same kinds as then, and a file with the same
times, size and place the same bytes, since no program can set the time of an inode's last change. One that was changed
at that very moment is no proof, as clocks of file systems tick slowly: then names and bytes are compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

# FAT's clock, the slowest, ticks every two seconds.
TICK_NS = 3_000_000_000

# Linux's number of the clock that file times are read from, which Python has no name for; elsewhere they are exact.
_COARSE = 5 if sys.platform == "linux" else None

# Less than so many files and names looked at in full cost less than writing down that they need not be.
WORTH = 50

Signature = list[int]

# What a name is, as far as was asked.
ANYTHING_ELSE, FOLDER, LINK, NO_LINK = "p", "d", "l", "n"


class Folder:
    """What was asked about the names in one folder."""

    def __init__(self, signature: Signature | None) -> None:
        self.signature = signature
        self.kinds: dict[str, str] = {}
        self.exact: dict[str, str] = {}
        self.listing: str | None = None


class Inputs:
    """Questions and answers. Paths are absolute."""

    def __init__(self) -> None:
        self.folders: dict[str, Folder] = {}
        self.links: dict[str, str] = {}
        self.files: dict[
            str, tuple[str | None, Signature | None]
        ] = {}  # None: unreadable, not to be relied on
        self.always: set[str] = set()  # of these files the bytes count, whatever their times are
        self.straight: set[str] = set()  # paths that were found to have no link in them

    def folder(self, path: str) -> Folder:
        """What is known of the names in a folder."""
        found = self.folders.get(path)
        if found is None:
            # Looked at before what is in it: what changes in between shows.
            found = self.folders[path] = Folder(settled(signature(path)))
        return found

    # -- as data

    def data(self) -> list[Any]:
        """For JSON."""
        folders = {
            path: [
                found.signature,
                {kind: [name for name, each in found.kinds.items() if each == kind] for kind in {*found.kinds.values()}},
                found.exact,
                found.listing,
            ]
            for path, found in self.folders.items()
        }  # fmt: skip
        return [folders, self.links, self.files, sorted(self.always)]


def changed(data: Any) -> tuple[bool, Any]:
    """Has any question another answer now? And `data` with the times that are known better by now, if that pays."""
    folders, links, files, always = data
    looked = 0
    for path, answer in links.items():
        if os.path.realpath(path) != answer:
            return True, None
    for path, (mark, then) in files.items():
        now = signature(path)
        if now is None or now != then or path in always:
            if not _holds(path, mark):
                return True, None
            if now != then and settled(now):
                files[path] = [mark, now]
                looked += 1
    for path, found in folders.items():
        then, kinds, exact, listing = found
        now = signature(path)
        if now is not None and now == then:
            continue
        if not _as_before(path, kinds, exact, listing):
            return True, None
        if settled(now):
            found[0] = now
            looked += len(exact) + sum(map(len, kinds.values()))
    return False, data if looked > WORTH else None


def _as_before(folder: str, kinds: dict[str, list[str]], exact: dict[str, str], listing: str | None) -> bool:
    if listing is not None and _listing_digest(_entries(folder)) != listing:
        return False
    if any(_exact(f"{folder}/{name}") != kind for name, kind in exact.items()):
        return False
    for wanted, names in kinds.items():
        fits = (ANYTHING_ELSE, FOLDER) if wanted == NO_LINK else (wanted,)
        if not all(_coarse(_exact(f"{folder}/{name}")) in fits for name in names):
            return False
    return True


_recorded: ContextVar[Inputs | None] = ContextVar("_recorded", default=None)


@contextlib.contextmanager
def recording() -> Iterator[Inputs]:
    """All that is asked meanwhile, by this thread."""
    inputs = Inputs()
    token = _recorded.set(inputs)
    try:
        yield inputs
    finally:
        _recorded.reset(token)


_looked: ContextVar[dict[str, str] | None] = ContextVar("_looked", default=None)


@contextlib.contextmanager
def once() -> Iterator[None]:
    """What stands at a path is looked at once meanwhile, by this thread, however often and however it is asked."""
    token = _looked.set({})
    try:
        yield
    finally:
        _looked.reset(token)


class NotPlainError(OSError):
    """What is to be read is no plain file."""


# -- the questions


def is_there(path: str) -> bool:
    """Is there anything of that name, be it a link that leads nowhere?"""
    return _ask_exact(path) != ""


def kinds(path: str) -> tuple[str, str]:
    """What it is, a letter as in `exact` or nothing, and what it leads to; the same for what is no link."""
    exact = _ask_exact(path)
    return exact, _behind(path, exact)


def is_regular(path: str) -> bool:
    """Is it a plain file, or a link to one?"""
    return _behind(path, _ask_exact(path)) == "f"


def is_folder(path: str) -> bool:
    """Is it a folder, or a link to one?"""
    kind = _ask_kind(path)
    return kind == FOLDER or (kind == LINK and _behind(path, _ask_exact(path)) == "d")


def kind(path: str) -> str:
    """FOLDER, LINK, or ANYTHING_ELSE, which may be nothing."""
    return _ask_kind(path)


def real(path: str) -> str:
    """The path without links, as os.path.realpath has it."""
    found = os.path.realpath(path)
    inputs = _recorded.get()
    if inputs is not None:
        if found == path:
            while path not in inputs.straight and (above := os.path.dirname(path)) != path:
                inputs.straight.add(path)
                inputs.folder(above).kinds.setdefault(os.path.basename(path), NO_LINK)
                path = above
        else:
            inputs.links[path] = found
    return found


def real_in(folder: str, name: str) -> str:
    """The path without links of a name in a folder whose path has none."""
    inputs = _recorded.get()
    known = None if inputs is None else inputs.folder(folder)
    full = f"{folder.rstrip('/')}/{name}"
    if _look(full) == LINK:
        return real(full)
    if known is not None:
        known.kinds.setdefault(name, NO_LINK)
    return full


def entries(folder: str) -> list[tuple[str, bool]]:
    """The names in a folder, sorted, each with whether it is a folder (a link to one is none)."""
    inputs = _recorded.get()
    known = None if inputs is None else inputs.folder(folder)
    found = _entries(folder)
    if known is not None:
        known.listing = _listing_digest(found)
    return found


def read(path: str, limit: int, *, always: bool = False) -> bytes:
    """At most `limit` bytes of a plain file; OSError. `always`: unchanged times are no proof."""
    inputs = _recorded.get()
    if inputs is not None:
        inputs.files[path] = (None, None)
        if always:
            inputs.always.add(path)
    with open(path, "rb", opener=plain) as stream:
        then = signature_of(os.fstat(stream.fileno()))
        data = stream.read(limit)
    if inputs is not None:
        inputs.files[path] = (_mark(data), settled(then))
    return data


def plain(path: str, flags: int) -> int:
    """An opener of plain files alone: opening a pipe would wait for its other end."""
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise NotPlainError("is a folder, not a file")
    if not stat.S_ISREG(mode):
        raise NotPlainError("is not a plain file")
    return os.open(path, flags | os.O_NONBLOCK)


def _ask_kind(path: str) -> str:
    inputs = _recorded.get()
    folder, _, name = path.rpartition("/")
    known = None if inputs is None else inputs.folder(folder or "/")
    kind = _coarse(_look(path))
    if known is not None:
        known.kinds[name] = kind
    return kind


def _ask_exact(path: str) -> str:
    inputs = _recorded.get()
    folder, _, name = path.rpartition("/")
    known = None if inputs is None else inputs.folder(folder or "/")
    kind = _look(path)
    if known is not None:
        known.exact[name] = kind
    return kind


def _look(path: str) -> str:
    looked = _looked.get()
    if looked is None:
        return _exact(path)
    if path not in looked:
        looked[path] = _exact(path)
    return looked[path]


def _behind(path: str, exact: str) -> str:
    """What it is, or what it leads to."""
    if exact != LINK:
        return exact
    real(path)
    try:
        return _letter(os.stat(path).st_mode)
    except (OSError, ValueError):
        return ""
    finally:
        # What a link leads to is a name in another folder, that may come to be something else.
        with contextlib.suppress(OSError, ValueError):
            _ask_exact(os.path.realpath(path))


# -- the answers


def _exact(path: str) -> str:
    """What stands there, as a letter; nothing: ''."""
    try:
        return _letter(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return ""


def _coarse(exact: str) -> str:
    return exact if exact in (FOLDER, LINK) else ANYTHING_ELSE


def _letter(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "f"
    if stat.S_ISDIR(mode):
        return FOLDER
    return LINK if stat.S_ISLNK(mode) else "o"


def _entries(folder: str) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    except OSError:  # a folder that is missing or closed to us holds no files for a glob
        return []


def _listing_digest(found: list[tuple[str, bool]]) -> str:
    return hashlib.blake2b(repr(found).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _mark(data: bytes) -> str:
    return f"{len(data)}:{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def _holds(path: str, mark: str | None) -> bool:
    """Is what the file holds what the mark was made of?"""
    size = int(mark.partition(":")[0]) if mark else 0
    try:
        with open(path, "rb", opener=plain) as stream:
            # One byte more: a file that grew is another, however large it is now.
            return mark is not None and _mark(stream.read(size + 1)) == mark
    except (OSError, ValueError):
        return mark is None


def signature(path: str) -> Signature | None:
    """What changes whenever a file, or the names in a folder, change; None: there is none."""
    try:
        return signature_of(os.stat(path))
    except (OSError, ValueError):
        return None


def signature_of(status: os.stat_result) -> Signature:
    """The times of a file, its size, and which file it is: at the same path another one may have the same times."""
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev]


def settled(found: Signature | None) -> Signature | None:
    """`found`, if what changes from now on will have another."""
    return found if found and max(found[0], found[1]) < time.time_ns() - TICK_NS else None


def lasting(found: Signature) -> bool:
    """Will any change from now on show? Not one that is made in the same tick of the clock as the last one.

    The kernel's own clock of file times is asked, so this is false for some milliseconds only. It is for a file that is
    looked at over and over; `settled` is for one that may lie on any file system.
    """
    return max(found[0], found[1]) < _ticked()


def _ticked() -> int:
    return time.time_ns() if _COARSE is None else time.clock_gettime_ns(_COARSE)
