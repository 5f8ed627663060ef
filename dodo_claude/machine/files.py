"""Which file of `.orchestrate` may be read or written, and how: whoever opens, lists, makes or removes one does it here.

A project may be a stranger's clone that brings a state folder along. Rules this file keeps: no link is followed, whoever
put it there, be it the file itself or a folder on the way to it; a file is a plain file, so nobody waits for a pipe; none
is read that is larger than ours are; only `make_state_dir` makes the state folder; and while a run holds a project, its
state folder is the one that it began with, or nothing in it is touched.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from dodo_claude.machine import ours
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

# The largest file of ours that is read as a whole. A journal, which may be longer, is read line by line.
LARGEST = 256_000_000  # bytes
LITTLE = 16_384  # bytes; with less free the disk is full
# No room: on the disk, of the user's quota, below the limit on a file's size.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


# -- files


def open_file(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """A descriptor of a plain file. Raises `OSError`; NotOursError for a link, a folder, a pipe."""
    text = ours.check(path)
    try:
        fd = os.open(text, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        raise ours.refused(text, error) from None
    if not stat.S_ISREG(kind := os.fstat(fd).st_mode):
        os.close(fd)
        raise ours.not_ours(text, kind, "a file")
    return fd


def open_any(path: Path | str) -> int:
    """A descriptor of a file of the user's, behind whatever link, or of one of ours by our rules. Raises as `open_file`."""
    text = os.fspath(path)
    if f"{ours.MARK}/" in text:
        return open_file(text)
    fd = os.open(text, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is no plain file", text)
    return fd


def opened(path: Path | str) -> IO[bytes]:
    """A stream of its bytes. Raises as `open_file`."""
    return os.fdopen(open_file(path), "rb")


def read(path: Path | str, limit: int | None = LARGEST) -> bytes:
    """All of a file. Raises as `open_file`; NotOursError for one that is larger than ours are; None: it may be."""
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if limit is not None and size > limit:
            raise ours.NotOursError(
                f"{one_line(os.fspath(path))}: is larger than {limit} bytes, which none of ours is (remove it; then run again)"
            )
        # Room is made at once for all that is asked for: of more than there is, memory stays in holes.
        return stream.read(size)


def read_text(path: Path | str, errors: str = "strict", limit: int = LARGEST) -> str:
    """Its text. Raises as `read`, and `UnicodeDecodeError`."""
    return read(path, limit).decode("utf-8", errors)


def status(path: Path | str) -> os.stat_result | None:
    """Of what stands there, of a link itself; None: nothing does. Raises `OSError`, NotOursError for what leads there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.lstat(ours.check(path))
    return None


def is_file(path: Path | str) -> bool:
    """Is a file there? NotOursError for anything else. What can't be looked at is not there."""
    return _is(path, stat.S_ISREG, "a file")


def is_folder(path: Path | str) -> bool:
    """Is a folder there? NotOursError for anything else. What can't be looked at is not there."""
    return _is(path, stat.S_ISDIR, "a folder")


def _is(path: Path | str, right: Callable[[int], bool], wanted: str) -> bool:
    with contextlib.suppress(OSError):
        found = status(path)
        if found is not None and not right(found.st_mode):
            raise ours.not_ours(os.fspath(path), found.st_mode, wanted)
        return found is not None
    return False


def names(folder: Path | str) -> list[str]:
    """What is in a folder; nothing if it is not there. Raises `OSError`, and NotOursError for what is no folder."""
    if is_folder(folder):
        with contextlib.suppress(FileNotFoundError):  # it went since
            return os.listdir(ours.check(folder))
    return []


def listing(folder: Path) -> list[str]:
    """What is in a folder that has to be there. Raises as `names`, and FileNotFoundError."""
    return os.listdir(ours.check(f"{folder}/"))


def find(folder: Path, pattern: str) -> Iterator[Path]:
    """The paths below `folder` that a glob matches, sorted; `**` stands for any folders. No link is entered."""
    head, _, rest = pattern.partition("/")
    if head == "**":
        yield from find(folder, rest)
    found = sorted(names(folder))
    for name in found if head == "**" else fnmatch.filter(found, head):
        path = folder / name
        if not rest:
            yield path
        elif stat.S_ISDIR(os.lstat(path).st_mode):
            yield from find(path, pattern if head == "**" else rest)


def copy(source: IO[bytes], place: Path) -> None:
    """Make `place`, which is not there, a copy of an open file, with its mode and times."""
    with os.fdopen(make(place), "wb") as target:
        shutil.copyfileobj(source, target)
    shutil.copystat(source.name, place)


def append(path: Path, data: bytes) -> None:
    """Add to a file, or make it, in one write: what two processes add does not mix. Raises as `open_file`."""
    fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def poke(fifo: Path, data: bytes) -> bool:
    """Wake whoever sleeps on a pipe, by a word or by its end. False: nobody does, or there is none."""
    try:
        fd = os.open(ours.check(fifo), os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            return False
        os.write(fd, data)
    finally:
        os.close(fd)
    return True


def remove(path: Path, *, missing_ok: bool = False) -> None:
    """Remove a file, or a link itself."""
    try:
        os.unlink(ours.check(path))
    except FileNotFoundError:
        if not missing_ok:
            raise


def move(path: Path, place: Path) -> None:
    """Rename a file or folder, over a file that is there."""
    os.replace(ours.check(path), ours.check(place))


def remove_tree(path: Path) -> None:
    """Remove a folder with all in it, links themselves; fine if it is not there."""
    if is_folder(path):
        shutil.rmtree(ours.check(path))


# -- writing


def is_full(error: OSError) -> bool:
    """Would room on the disk mend it?"""
    return error.errno in _FULL


def no_room(folder: Path) -> bool:
    """Is there no room for even a few small files? A file system that tells no size always has."""
    status = os.statvfs(folder)
    free = status.f_bavail if os.geteuid() else status.f_bfree
    return status.f_blocks > 0 and free * status.f_frsize < LITTLE


def disk_problem(error: OSError, place: Path | str) -> str:
    """What `error` means to a person, in one line. `place` is named where the error names no file."""
    # Of an error over two files the second is the one that was to be written.
    name = error.filename2 or error.filename or place
    name = os.fsdecode(name) if isinstance(name, bytes) else name
    if error.strerror is None and f"{error}":
        return f"{error}"  # of our own making: it says all
    if is_full(error):
        return f"disk full while writing {name}: {error.strerror} (free it; then run again)"
    if isinstance(error, FileNotFoundError) and ours.MARK in f"{name}":
        return f"{name}: is gone: somebody removed or moved it (run again)"
    return f"{name}: {error.strerror or error} (free it, or mend its mode; then run again)"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error say which file it was about: one of a descriptor does not, and a temporary name tells nobody."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def write_atomic(path: Path, text: str, mode: int = 0o600, *, durable: bool = True) -> None:
    """Replace `path` by `text`: at any moment it holds the old or the new content, whole.

    Not `durable`: a machine that loses its power may lose it, or leave an empty file. That will do for what only
    matters to processes that would be gone, too; waiting for the disk is what a stage's start and end took longest.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path):
        ours.check(path)
    try:
        with naming(path):
            _write(temporary, text, mode, durable=durable)
            try:
                os.replace(temporary, path)
            except IsADirectoryError:
                raise ours.not_ours(str(path), stat.S_IFDIR, "a file") from None
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_new(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that is read by whoever is started, or told of it, after it is whole."""
    with naming(path):
        _write(path, text, mode, durable=False)


def _write(path: Path, text: str, mode: int, *, durable: bool) -> None:
    # Bytes of the system (a path, a variable) that are no UTF-8 go through as they came.
    with os.fdopen(make(path, mode), "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        stream.write(text)
        stream.flush()
        if durable:
            os.fsync(stream.fileno())


def being_written(temporary: Path) -> bool:
    """Does the process that `write_atomic` wrote it in still live?"""
    return lives(temporary.name.split(".")[-2])


def lives(pid: str) -> bool:
    """Does the process of that number live?"""
    from dodo_claude.machine.processes import runs

    with contextlib.suppress(ValueError, OverflowError):
        return runs(int(pid))
    return False


def make(path: Path, mode: int = 0o600) -> int:
    """A descriptor to write to a file that was not there before."""
    text = ours.check(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(text, flags, mode)
    except FileExistsError:
        if not stat.S_ISREG(kind := os.lstat(text).st_mode):
            raise ours.not_ours(text, kind, "a file") from None
        os.unlink(text)  # left by a process of the same number that was killed
        return os.open(text, flags, mode)


# -- folders


def make_folder(path: Path) -> None:
    """A private folder, with those above it that are missing, but for the state folder and what is above that. A link in its
    place is refused."""
    if path.name == ours.STATE_DIR and os.fspath(path).find(ours.MARK) == len(os.fspath(path)) - len(
        ours.MARK
    ):
        if not is_folder(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return
    with contextlib.suppress(FileExistsError):
        try:
            os.mkdir(ours.check(path), 0o700)
        except FileNotFoundError:
            make_folder(path.parent)
            os.mkdir(ours.check(path), 0o700)
        return
    if not stat.S_ISDIR(mode := path.lstat().st_mode):
        raise ours.not_ours(str(path), mode, "a folder")


def make_new_folder(path: Path) -> None:
    """A private folder that was not there. Raises FileExistsError if something is."""
    os.mkdir(ours.check(path), 0o700)


def remove_folder(path: Path) -> None:
    """Remove an empty folder. Raises `OSError` if it is not."""
    os.rmdir(ours.check(path))


def make_state_dir(root: Path) -> Path:
    """The project's state folder, private to its user and unseen by git."""
    state = root / ours.STATE_DIR
    if (held := ours.held_folders.get(os.fspath(state))) is not None:
        ours.check_held(os.fspath(state), held)
    with contextlib.suppress(FileExistsError):
        state.mkdir(mode=0o700)
    # What a clone brought along leads nowhere else, and is nobody else's to read.
    mode = state.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise ours.not_ours(str(state), mode, "a folder")
    if mode & 0o077:
        state.chmod(0o700)
    # A .gitignore inside the folder hides it in every clone and worktree without a write to .git.
    ignore = state / ".gitignore"
    found = status(ignore)
    if found is None or found.st_size == 0 or not stat.S_ISREG(found.st_mode):
        # In place: a kill in the middle leaves an empty file, which the next start fills, and no other.
        append(ignore, b"*\n")
    return state


def make_private(path: Path) -> None:
    """A folder of the user's own, with those above it that are missing: whatever the umask, nobody else's to read."""
    with contextlib.suppress(FileExistsError):
        try:
            path.mkdir(mode=0o700)
        except FileNotFoundError:
            make_private(path.parent)
            path.mkdir(mode=0o700)


def make_parents(root: Path, path: Path) -> None:
    """The folders above a file in the project. The project's own is not made anew. Raises `OSError`."""
    with contextlib.suppress(FileExistsError):
        try:
            if path.parent != root:
                path.parent.mkdir()
        except FileNotFoundError:
            make_parents(root, path.parent)
            path.parent.mkdir()


def user_state(environ: Mapping[str, str]) -> Path:
    """Our folder among the user's own, where no repository brings anything along. DodoClaudeError where there is none."""
    base = environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # as the standard of that variable says
        home = environ.get("HOME") or os.path.expanduser("~")
        if not os.path.isabs(home):
            raise DodoClaudeError(
                f"HOME: '{one_line(home)}' is not absolute: what you approved is not looked for in the project "
                "(set HOME to the whole path)"
            )
        base = os.path.join(home, ".local", "state")
    return Path(base) / "dodo-claude"
