"""Files that no stage may change: what decides whether work is good, and what runs on its own.

A worker that edits its own input, the script that checks it, the configuration or git's hooks has not done its
task. Looked at by fingerprints before and after an attempt; targets of other stages are left out, since those
may rightly change meanwhile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from dodo_claude import verify
from dodo_claude.config import Stage

# What the tools read as code or as orders, whoever wrote it.
ALWAYS = (
    "orchestrate.toml",
    "dodo.py",
    "doit.cfg",
    ".mcp.json",
    ".git/config",
    ".git/hooks/*",
    ".git/info/attributes",
    ".claude/**",
)
# A check's words that name files: `python3 checks/run.py` protects checks/run.py.
_WORD = re.compile(r"[\w./@+-]+")


def watched(
    root: Path, stage: Stage, targets_of_all: Collection[str]
) -> dict[str, verify.Fingerprint | None]:
    """The fingerprints of the files that `stage` may not change. Paths are relative to `root`."""
    names = set(_expand(root, (*ALWAYS, *stage.protect)))
    if stage.prompt_file is not None:
        names.add(stage.prompt_file)
    for word in _WORD.findall(" ".join(stage.checks)):
        name = os.path.normpath(os.path.join(stage.cwd, word))
        if not name.startswith("..") and (root / name).is_file():
            names.add(name)
    names -= {*targets_of_all, *stage.targets}
    names -= set(stage.file_dep)  # told of as inputs
    if stage.planned is not None:
        names.add(stage.planned)  # its planner is done
    return verify.fingerprints(root, sorted(names))


def _expand(root: Path, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        if not any(sign in pattern for sign in "*?["):
            # Also a file that is not there: to make one is to change it.
            yield pattern
            continue
        # pathlib's own `**` finds folders only.
        for path in root.glob(f"{pattern}/*" if pattern.endswith("**") else pattern):
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix()


def problems(
    root: Path,
    protected: Mapping[str, object],
    inputs: Mapping[str, object],
    stage: Stage,
    targets: Collection[str],
) -> tuple[str, ...]:
    """What was changed that may not be: a text for each file, naming it and the rule."""
    found = [
        f"its input '{name}' was changed while it ran (a stage may not edit what it reads)"
        for name, mark in inputs.items()
        if name not in stage.targets and not _same(root / name, mark)
    ]
    # What is the target of a stage that was not known when this one began, may change.
    changed = [
        name
        for name, mark in protected.items()
        if (name not in targets or name == stage.planned) and not _same(root / name, mark)
    ]
    # A new file in a protected place, a git hook say, was not there to be fingerprinted.
    now = watched(root, stage, targets) if protected else {}
    new = {name for name, mark in now.items() if mark and name not in protected}
    found += [f"protected file '{name}' was changed while it ran" for name in changed]
    found += [f"protected file '{name}' was made while it ran" for name in sorted(new)]
    return tuple(found)


def _same(path: Path, mark: object) -> bool:
    return verify.same_bytes(path, mark) if mark else not os.path.lexists(path)
