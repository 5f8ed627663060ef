"""Reading and, on the user's word, writing the client's own state file: is this folder trusted?

The client asks in a dialog whose default is "No, exit": so it is settled before any worker starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dodo_claude import agents
from dodo_claude.errors import DodoClaudeError
from dodo_claude.journal import write_atomic


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


def problems(folder: Path, environ: Mapping[str, str]) -> list[str]:
    """What would stop the client at a dialog in `folder`, a line each."""
    try:
        return agents.start_problems(_read(agents.state_file(environ)), folder, environ)
    except DodoClaudeError as error:
        return [str(error)]


def is_trusted(folder: Path, environ: Mapping[str, str]) -> bool:
    """Has the user trusted `folder` in the client?"""
    return agents.is_trusted(_read(agents.state_file(environ)), folder)


def record(folder: Path, environ: Mapping[str, str]) -> bool:
    """Write down that the user trusts `folder`. False if it was trusted already.

    Under a lock against other runs, and by replacing the file: a client that reads it meanwhile sees
    the old or the new one. A file that is a symbolic link stays one.
    """
    path = Path(os.path.realpath(agents.state_file(environ)))
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(
        path.with_name(f"{path.name}.dodo-claude.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        state = _read(path)
        if agents.is_trusted(state, folder):
            return False
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        write_atomic(path, json.dumps(agents.with_trust(state, folder), indent=2), mode)
        return True
    finally:
        os.close(fd)
