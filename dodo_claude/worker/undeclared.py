"""What stages change besides their targets, as far as that can be known. Owns the look at what git calls the project's files.

What a client's own tools write is told by its hooks. What programs write is looked for when a stage ends: of the files
that git knows, or would, those that were changed since it began (no program can set the time of an inode's last change).
Who else was at work at that moment may have done it as well.

git is asked for names only: to compare contents it would run the filters that a repository's configuration names.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Looks take one part in so many of the time, and a second besides: in a very large project, or with very many short stages,
# not each end has one.
SHARE = 20
FREE = 1.0  # seconds
# git is not waited for longer, and not asked again.
SECONDS = 5.0
MOST_FILES = 100_000
# Of one stage so many are told.
MOST = 100
# Folders and ends of names of what programs keep for themselves, and make anew.
_CACHES = frozenset(
    {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules", ".orchestrate", ".git"}
)
_ASK = ("git", "-c", "core.fsmonitor=false", "ls-files", "-z", "--cached", "--others", "--exclude-standard")

Span = tuple[str, float, float]  # who was at work, from when to when (wall time)


@dataclass(frozen=True, slots=True)
class Undeclared:
    """A file that a stage changed, or may have, and that is no stage's target."""

    path: str  # relative to the project
    known: bool  # its client's tools wrote it; else it was changed while the stage was at work
    beside: tuple[str, ...]  # who else may have done it
    at: float  # when it was last changed, in seconds since 1970


class Tree:
    """The project's files as git has them. Thread-safe."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self.root = root
        self._environ = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
        self._environ["GIT_OPTIONAL_LOCKS"] = "0"
        self._there = True
        self._start = time.monotonic()
        self._spent = 0.0  # seconds of looking
        self._lock = threading.Lock()

    def changed_since(self, moment: float) -> dict[str, float]:
        """The files that were changed since then (wall time), and when; none where nobody can tell, or it is too soon."""
        with self._lock:
            began = time.monotonic()
            if not self._there or self._spent > FREE + (began - self._start) / SHARE:
                return {}
            found = {}
            for name in self._names():
                try:
                    at = os.lstat(f"{self.root}/{name}").st_ctime_ns / 1e9
                except OSError:
                    continue
                if at >= moment:
                    found[name] = at
            self._spent += time.monotonic() - began
            return found

    def _names(self) -> list[str]:
        try:
            done = subprocess.run(
                _ASK, cwd=self.root, env=self._environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, timeout=SECONDS, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):  # no git, no repository, or too large a one
            self._there = False
            return []
        names = done.stdout.split(b"\0")
        self._there = len(names) <= MOST_FILES
        return [os.fsdecode(name) for name in names if name and not name.endswith(b"/")]


def of_stage(
    stage: str,
    root: Path,
    targets: Collection[str],
    wrote: Mapping[str, float],
    others: Mapping[str, Mapping[str, float]],
    changed: Mapping[str, float],
    spans: Iterable[Span],
) -> list[Undeclared]:
    """What a stage changed that is no target, by name.

    `wrote`: what its own client's tools wrote, and when; `others`: the same of those beside it; `changed`: what was seen
    to have changed since it began; `spans`: who was at work since then.
    """
    real = {_real(root, name): at for name, at in wrote.items()}
    theirs = {_real(root, name) for each in others.values() for name in each}
    linked = _linked(
        root, targets, {name for name in (*real, *changed) if name is not None and _counts(name, targets)}
    )
    found = {
        name: Undeclared(name, True, (), at)
        for name, at in real.items()
        if name is not None and name not in linked and _counts(name, targets)
    }
    known = [span for span in spans if span[0] != stage]
    for name, at in changed.items():
        if name in found or name in theirs or name in linked or not _counts(name, targets):
            continue
        beside = tuple(sorted({other for other, first, last in known if first <= at <= last}))
        found[name] = Undeclared(name, False, beside, at)
    return [found[name] for name in sorted(found)][:MOST]


def _real(root: Path, name: str) -> str | None:
    path = os.path.relpath(os.path.realpath(root / name), root)
    return None if path.startswith("..") else path


def _linked(root: Path, targets: Collection[str], names: Collection[str]) -> set[str]:
    """Which of `names`, that have no link in them, are targets which the stages name by way of a link.

    Only targets with such a last name are looked up: of thousands each would cost a look at the disk.
    """
    ends = {name.rpartition("/")[2] for name in names}
    found = (_real(root, target) for target in targets if target.rpartition("/")[2] in ends) if ends else ()
    return {name for name in found if name is not None and name in names}


def _counts(name: str, targets: Collection[str]) -> bool:
    return name not in targets and not any(part in _CACHES for part in name.split("/"))


def clashes(found: Mapping[str, Iterable[Undeclared]]) -> Iterator[str]:
    """Of each file that more than one stage changed, or seems to have changed, a text. `found`: by stage."""
    files: dict[str, dict[float, set[str]]] = {}
    sure: dict[str, set[str]] = {}
    for stage, each in found.items():
        for file in each:
            files.setdefault(file.path, {}).setdefault(file.at, set()).update((stage, *file.beside))
            if file.known:
                sure.setdefault(file.path, set()).add(stage)
    for path, moments in sorted(files.items()):
        who = set[str]().union(*moments.values())
        wrote = sure.get(path, set())
        if len(wrote) < 2 and (len(who) < 2 or len(moments) < 2):
            continue
        several = len(wrote) > 1 or not set.intersection(*moments.values())
        by = (
            f"by {_and(wrote if len(wrote) > 1 else who)}"
            if several
            else f"more than once while {_and(who)} were at work"
        )
        yield f"'{path}' is no stage's target and was changed {by}: what the last one wrote stands"


def _and(names: Collection[str]) -> str:
    first = sorted(names)
    return f"{', '.join(first[:-1])} and {first[-1]}" if len(first) > 1 else first[0]
