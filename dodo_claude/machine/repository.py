"""Where the git repository around a folder keeps what decides which code git runs: its hooks, its configuration.

A project may lie below its repository's top, or be a linked worktree: then these lie elsewhere. Asks git, which reads
and starts nothing for that.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# What of a repository runs programs, or says which ones run.
_PLACES = ("hooks", "config", "config.worktree", "info/attributes")
_SECONDS = 10.0


def places(folder: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Absolute paths of what of the repository around `folder` no worker may change, that of the hooks with `/*`.

    Nothing where there is no repository, or no git, which then runs nothing either.
    """
    # What these say of another repository is not about this one.
    plain = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    asked = [word for place in _PLACES for word in ("--git-path", place)]
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", *asked],
            env={**plain, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    paths = os.fsdecode(done.stdout).splitlines()
    if done.returncode != 0 or len(paths) != len(_PLACES):
        return ()
    hooks, *files = (os.path.normpath(os.path.join(folder, path)) for path in paths)
    return (f"{hooks}/*", *files)
