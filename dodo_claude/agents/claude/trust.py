"""Reading and, on the user's word, writing the client's own state file: is this folder trusted?

The client asks in a dialog whose default is "No, exit": so it is settled before any worker starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from dodo_claude.agents.claude import first_run
from dodo_claude.agents.table import agent_of
from dodo_claude.config import inputs
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.files import make_private, write_atomic
from dodo_claude.text.errors import DodoClaudeError

# The client's own lock beside its state file is a folder; one that is older was left by a client that was killed, and
# nobody needs longer to write it. Both are in seconds.
STALE_SECONDS = 10.0
LOOK_SECONDS = 0.02


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(value, dict):
        raise _unreadable(path, "not a JSON object")
    return value


def _unreadable(path: Path, why: str) -> DodoClaudeError:
    return DodoClaudeError(f"{path}: can't be read: {why} (mend it, or run `claude` once by hand)")


def folders(config: Config, stages: Iterable[Stage]) -> list[Path]:
    """Where the clients of `stages` start: the project, and each `cwd` for which its trust does not count."""
    found = [config.root]
    for stage in stages:
        if stage.agent is not None and agent_of(stage.agent).can.setup:
            folder = config.root / stage.cwd
            if folder not in found and config.root not in counting(folder):
                found.append(folder)
    return found


def counting(folder: Path) -> list[Path]:
    """The folders whose trust counts for a client that starts in `folder`.

    The client's rule, measured: `folder` and what is above it, but not beyond the top of its git repository, which is the
    first folder with a `.git`, valid or not; and the repository whose worktree that is.
    """
    folder = Path(os.path.realpath(folder))
    found = []
    for path in (folder, *folder.parents):
        found.append(path)
        if (path / ".git").exists():
            return [*found, *_main_repository(path / ".git")]
    return found


def _said(path: Path) -> str:
    """What git wrote into a file of one line."""
    return os.fsdecode(inputs.read(str(path), 10_000))


def _main_repository(link: Path) -> list[Path]:
    """Of which repository is the folder with this `.git` a worktree? Only if that one knows it: anybody can name another's."""
    with contextlib.suppress(OSError, ValueError):
        said = _said(link)  # a folder can't be read
        if said.startswith("gitdir:"):
            own = Path(os.path.realpath(link.parent / said.removeprefix("gitdir:").strip()))
            back, shared = _said(own / "gitdir").strip(), _said(own / "commondir").strip()
            if os.path.realpath(own / back) == os.path.realpath(link):
                common = Path(os.path.realpath(own / shared))
                return [common.parent if common.name == ".git" else common]
    return []


def problems(folders: Iterable[Path], environ: Mapping[str, str]) -> list[str]:
    """What would stop the client at a dialog in one of `folders`, a line each."""
    try:
        state = _read(first_run.state_file(environ))
        lacking = untrusted(folders, environ)
    except DodoClaudeError as error:
        return [str(error)]
    return [*first_run.start_problems(state, environ), *map(first_run.untrusted, lacking)]


def untrusted(folders: Iterable[Path], environ: Mapping[str, str]) -> list[Path]:
    """Those of `folders` that the user has not trusted in the client. Raises DodoClaudeError."""
    state = _read(first_run.state_file(environ))
    return [folder for folder in folders if not first_run.is_trusted(state, counting(folder))]


def is_trusted(folder: Path, environ: Mapping[str, str]) -> bool:
    """Has the user trusted `folder` in the client?"""
    return not untrusted([folder], environ)


def record(folder: Path, environ: Mapping[str, str]) -> bool:
    """Write down that the user trusts `folder`. False if it was trusted already.

    Under a lock against other runs and under the client's, which else would write back what it had read before, and by
    replacing the file: a client that reads it meanwhile sees the old or the new one. A file that is a symbolic link
    stays one.
    """
    named = first_run.state_file(environ)
    path = Path(os.path.realpath(named))
    make_private(path.parent)
    fd = os.open(
        path.with_name(f"{path.name}.dodo-claude.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with _clients_lock(named.with_name(f"{named.name}.lock")):
            state = _read(path)
            if first_run.is_trusted(state, counting(folder)):
                return False
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
            write_atomic(path, json.dumps(first_run.with_trust(state, folder), indent=2), mode)
            return True
    finally:
        os.close(fd)


@contextlib.contextmanager
def _clients_lock(lock: Path) -> Iterator[None]:
    """Whoever can make this folder has the lock. One that nobody gives back is gone past."""
    made = False
    deadline = time.monotonic() + STALE_SECONDS
    with contextlib.suppress(OSError):  # where no folder can be made the client has none either
        while not (made := _makes(lock)) and not _is_stale(lock) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                lock.rmdir()


def _makes(lock: Path) -> bool:
    try:
        lock.mkdir()
    except FileExistsError:
        return False
    return True


def _is_stale(lock: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - lock.stat().st_mtime > STALE_SECONDS
    return False
