"""Is a stage done? Looked at by us: no worker's word and no screen decides it.

Every target is a regular file inside the project, not empty, and changed in this attempt; then the
check exits 0. A fingerprint is `[mtime_ns, size, inode, sha256, ctime_ns, device]`; equal numbers spare the reading,
unless `ctime_ns` is 0: the file was written a moment before, and a change in that moment would not show. One without a
device, of an earlier version, goes by the bytes alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dodo_claude.config import inputs
from dodo_claude.machine import files
from dodo_claude.text.clean import clean_text

Fingerprint = tuple[int, int, int, str, int, int]
# Characters of a failed check's output that go to the worker and into the error.
TAIL_CHARACTERS = 6_000
# Bytes of a file that are read at once.
BLOCK = 262_144
# And of its last line, into the reason of a failure.
LAST_CHARACTERS = 200


def digest_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    fd = files.open_any(path)  # of a small file a stream takes three times as long
    try:
        for data in blocks(fd):
            digest.update(data)
    finally:
        os.close(fd)
    return digest.hexdigest()


def blocks(fd: int) -> Iterator[bytes]:
    """The bytes of an open file, in pieces.

    No room is made for more than it holds: of large pieces that are cut to what was read, memory stays in holes, and grows
    with each file.
    """
    most = min(os.fstat(fd).st_size + 1, BLOCK)
    while data := os.read(fd, most):
        yield data


def fingerprint(path: Path) -> Fingerprint | None:
    """None when `path` is not a regular file that can be read."""
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        changed = status.st_ctime_ns if inputs.lasting(inputs.signature_of(status)) else 0
        return (
            status.st_mtime_ns, status.st_size, status.st_ino, digest_file(path), changed, status.st_dev
        )  # fmt: skip
    except OSError:
        return None


def fingerprints(root: Path, names: Iterable[str]) -> dict[str, Fingerprint | None]:
    """The fingerprint of each of `names`, paths relative to `root`."""
    return {name: fingerprint(root / name) for name in names}


def renewed(root: Path, known: Mapping[str, object]) -> dict[str, object]:
    """Fingerprints as they are now of the files that `known` has some of. What is as it was, is not read."""
    return {
        name: mark if mark and same_bytes(root / name, mark) else fingerprint(root / name)
        for name, mark in known.items()
    }


def same_bytes(path: Path | str, recorded: object) -> bool:
    """Does `path` hold what it held when `recorded` (a fingerprint, or what JSON made of it) was taken?

    A file with the recorded times, size and place is taken as the same without reading it. The time of the last
    change of the inode is among them: a program can put back the time of the last write, but not that. Its number and
    device are, for another file at that path may have the same times.
    """
    if not isinstance(recorded, list | tuple) or len(recorded) not in (5, 6):
        return False
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return False
        modified, size, number, digest, change, *device = recorded
        if inputs.signature_of(status) == [modified, change, size, number, *device]:
            return True
        return bool(status.st_size == size and digest_file(Path(path)) == digest)
    except OSError:
        return False


def changed(root: Path, recorded: Mapping[str, object], names: Iterable[str]) -> list[str]:
    """Which of `names`, and of the files that `recorded` has fingerprints of, are not what they were then."""
    differ = {name for name, mark in recorded.items() if not same_bytes(root / name, mark)}
    return sorted(differ | (set(recorded) ^ set(names)))


def in_the_way(root: Path, targets: Iterable[str]) -> tuple[str, ...]:
    """Which targets are pipes and the like: whoever wrote there would wait, and make no file."""
    found = []
    for name in targets:
        with contextlib.suppress(OSError):
            mode = os.stat(root / name).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                found.append(name)
    return tuple(found)


def target_problems(
    root: Path,
    targets: Iterable[str],
    before: Mapping[str, object],
    *,
    allow_unchanged: bool = False,
) -> tuple[str, ...]:
    """What is wrong with the targets, '' for none: one text each, naming file and rule.

    `before`: the targets' fingerprints from before the attempt.
    """
    problems = []
    real_root = os.path.realpath(root)
    for name in targets:
        path = root / name
        real = os.path.realpath(path)
        if not os.path.lexists(path):
            problems.append(f"target '{name}' was not written")
        elif os.path.commonpath([real_root, real]) != real_root:
            problems.append(f"target '{name}' leads out of the project by a symbolic link")
        elif os.path.isdir(path):
            problems.append(f"target '{name}' is a folder, not a file")
        elif not os.path.isfile(path):
            problems.append(f"target '{name}' is not a regular file")
        elif (now := fingerprint(path)) is None:
            problems.append(f"target '{name}' can't be read")
        elif now[1] == 0:
            problems.append(f"target '{name}' is empty")
        elif not allow_unchanged and _unchanged(now, before.get(name)):
            problems.append(f"target '{name}' was not changed in this attempt")
    return tuple(problems)


def _unchanged(now: Fingerprint, recorded: object) -> bool:
    """Nobody wrote it: a file that was written anew with the same bytes counts as changed."""
    return isinstance(recorded, list | tuple) and list(now[:3]) == list(recorded[:3])


def output_tail(log: Path) -> str:
    """The end of a command's output, without control characters and colours, for people and workers."""
    try:
        with files.opened(log) as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 4 * TAIL_CHARACTERS))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return clean_text(text)[-TAIL_CHARACTERS:].strip("\n")


def last_words(output: str) -> str:
    """What a reason adds of a command's output: `: ` and its last line, cut where that is long; "" of none."""
    last = output.rstrip().rpartition("\n")[2].strip()
    cut = f"{last[: LAST_CHARACTERS - 1]}…" if len(last) > LAST_CHARACTERS else last
    return f": {cut}" if cut else ""


# -- half-made work


def keep_copies(root: Path, targets: Iterable[str], folder: Path) -> None:
    """Copy the targets that exist into `folder`, so that a failed attempt can be undone."""
    for name in targets:
        if (root / name).is_file():
            files.make_folder((folder / name).parent)
            with open(root / name, "rb") as stream:
                files.copy(stream, folder / name)


def set_aside(
    root: Path, targets: Iterable[str], before: Mapping[str, object], copies: Path, folder: Path
) -> list[str]:
    """Move the targets that this attempt changed into `folder`, and put back what stood there before.

    Returns the names that were moved. Nothing is lost and nothing half-made stays. A target is whole or not there
    at any moment, and what fails can be done again.
    """
    moved = []
    for name in targets:
        path = root / name
        old = before.get(name)
        if not is_inside(root, path.parent):
            continue  # a folder was made a link that leads out: what lies there is not ours to move
        if os.path.lexists(path) and not (old and same_bytes(path, old)):
            place = free_name(folder / name)
            files.make_folder(place.parent)
            _move(path, place)
            moved.append(name)
        if old and not os.path.lexists(path) and files.is_file(copies / name):
            files.make_parents(root, path)
            _copy(copies / name, path)
    return moved


def is_inside(root: Path, folder: Path) -> bool:
    """Does `folder`, by whatever link, lie in the project?"""
    real_root = os.path.realpath(root)
    return os.path.commonpath([real_root, os.path.realpath(folder)]) == real_root


def put_back(root: Path, targets: Iterable[str], folder: Path) -> None:
    """Copy what `set_aside` moved into `folder` to its places: the session that made it goes on."""
    for name in targets:
        kept, path = folder / name, root / name
        if files.is_file(kept):
            files.make_parents(root, path)
            _copy(kept, path)


def move(path: Path, place: Path) -> None:
    """Move a file of the user's to a place of ours, whose folders are made."""
    files.make_folder(place.parent)
    _move(path, place)


def _move(path: Path, place: Path) -> None:
    try:
        files.move(path, place)
    except OSError as error:
        # Any other error would fail a copy as well, which then stood there half-made.
        if error.errno != errno.EXDEV:
            raise
        shutil.move(path, place)


def _copy(kept: Path, path: Path) -> None:
    """Put a copy of `kept`, a file of ours, in the place of `path`."""
    # Beside the kept one: what a kill leaves of it lies in our folder, not in the user's.
    temporary = kept.with_name(f".{os.getpid()}.tmp")
    try:
        with files.opened(kept) as stream:
            files.copy(stream, temporary)
        try:
            files.move(temporary, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copy2(kept, path)
            files.remove(temporary)
    except BaseException as error:
        with contextlib.suppress(OSError):
            files.remove(temporary, missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def free_name(path: Path) -> Path:
    """`path`, or the first name like it that is not taken."""
    number = 1
    candidate = path
    while os.path.lexists(candidate):
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate
