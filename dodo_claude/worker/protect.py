"""Files that no stage may change: what decides whether work is good, and what runs on its own.

A worker that edits its own input, the script that checks it, the configuration or git's hooks has not done its
task. Looked at by fingerprints before and after an attempt; targets of other stages are left out, since those
may rightly change meanwhile.

Rules this file keeps:
* What a check writes counts against nobody: it is the user's own command. A check is looked at before and after, and
  what changed meanwhile is known to all that run at that time. Of what runs on its own (`runs_by_itself`) that holds
  for the check's own stage only: nobody else's check has business there, and a worker may be at work.
* A look is one for all who ask for it at the same time, and reads only what is new: a folder, or a file, whose times are
  those from before is as it was.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dodo_claude.config import paths, shell
from dodo_claude.config.records import ORDERS, Stage
from dodo_claude.machine import files, ours, repository
from dodo_claude.machine.files import make_folder, write_atomic
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.worker import verify

# What the tools read as code or as orders, whoever wrote it.
ALWAYS = (*ORDERS, ".git", ".git/config", ".git/hooks/*", ".git/info/attributes")
# So many marks an attempt writes down itself; of more it says how they differ from those that its run wrote down.
MOST_MARKS = 500
# In the state folder: it is there while a check runs, and says so to the run after one that was killed then.
CHECKING = "checking"
CUT_OFF = "checking.cut-off"
# Two changes so close to each other may have the same times.
TICK_NS = 50_000_000
# A look that ended so many seconds ago tells as much as one now: who changes a file in between could do so right after.
JUST_NOW = 0.1

Marks = Mapping[str, object]
_NOTHING: Marks = {}


def is_order(name: str) -> bool:
    """Is that what runs on its own: orchestrate.toml, the client's settings, git's hooks and configuration?"""
    if name.startswith(("/", "..")):
        return True  # only git's lies outside
    return any(_matches(f"**/{rule}", name) for rule in ALWAYS)


def is_gits(name: str) -> bool:
    """Is that git's own, which a person has no reason to make while stages are at work?"""
    return name.startswith(("/", "..")) or ".git" in name.split("/")


@functools.lru_cache(maxsize=256)
def _matcher(pattern: str) -> Callable[[str], bool]:
    literal = paths.literal(pattern)
    return literal.__eq__ if literal is not None else paths.matcher(pattern, hidden=True)


def _matches(pattern: str, name: str) -> bool:
    return _matcher(pattern)(name)


@dataclass(frozen=True, slots=True)
class Change:
    """A file that changed and may not."""

    name: str  # relative to the project's folder
    made: bool = False  # it was not there before
    is_input: bool = False  # of the stage: its result may not fit it any more


class Watch:
    """What one attempt may not change, and how that was when it began."""

    def __init__(self, guard: Guard, stage: Stage, tell: Callable[[Marks], object], began: float) -> None:
        self.stage = stage
        self.since: Marks = _NOTHING  # of others', too; a file that is not named was not there
        self._guard = guard
        self.began = began  # wall time
        self._tell = tell  # is told what a check changed, to be written down
        self.rules = guard.rules(stage)
        self.scripts = frozenset(guard.scripts(stage))

    def guards(self, name: str, targets: Collection[str]) -> bool:
        """Must the stage leave that file alone? `targets` of all stages are none of its business."""
        stage = self.stage
        # Told of as inputs; a planned stage's planner is done.
        if name == stage.planned:
            return True
        if name in stage.targets or name in stage.file_dep or name in targets:
            return False
        return name in self.scripts or any(_matches(rule, name) for rule in self.rules)

    def marks(self, targets: Collection[str]) -> Marks:
        """Of what it guards, as it was."""
        return {name: mark for name, mark in self.since.items() if self.guards(name, targets)}

    def changes(self, targets: Collection[str], *, just_now: bool = False) -> list[Change]:
        """What is not as it was, and may not be otherwise. `just_now`: a look that was made a moment ago will do."""
        self.scripts |= frozenset(self._guard.scripts(self.stage))
        now = self._guard.look(self, just_now=just_now)
        found = []
        for name in sorted({*_differ(self.since, now)}):
            before = self.since.get(name)
            # A link to the same bytes, say, or a file that was touched.
            same = verify.same_bytes(self._guard.root / name, before) if before else now.get(name) is None
            if not same and self.guards(name, targets):
                found.append(Change(name, made=before is None))
        return found

    def allow(self, before: Marks, after: Marks, *, but: Callable[[str], bool]) -> None:
        """What changed from `before` to `after` is as it should be; what the attempt itself changed before that, is not."""
        new = {
            name: after.get(name)
            for name in _differ(before, after)
            if not but(name) and _equal(self.since.get(name), before.get(name))
        }
        if new:
            self.since = {**self.since, **new}
            mine = {name: mark for name, mark in new.items() if self.guards(name, ())}
            if mine:
                self._tell(mine)


def _equal(one: object, other: object) -> bool:
    """Are these marks of the same bytes? The times of a file that was young when it was marked are not those of later."""
    if one is None or other is None:
        return one is other
    return isinstance(one, list | tuple) and isinstance(other, list | tuple) and one[3:4] == other[3:4]


def _differ(before: Marks, after: Marks) -> Iterator[str]:
    if before is after:
        return
    for name, mark in after.items():
        old = before.get(name)
        if old is not mark and not _equal(old, mark):
            yield name
    for name, mark in before.items():
        if mark is not None and name not in after:
            yield name


class Guard:
    """Looks at protected files for all attempts of a run. Thread-safe."""

    def __init__(self, root: Path, environ: Mapping[str, str], run: str = "") -> None:
        self.root = root
        self._environ = environ
        self._state = root / STATE_DIR
        self._run = run
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._checks: set[Watch] = set()  # those whose check runs
        self._files: set[str] = set()
        self._rules: set[str] = set()
        self._walks: list[Walk] = []
        self._marks: Marks = _NOTHING
        self._begun = self._ended = 0  # looks
        self._ended_at = float("-inf")
        self._looked_ns = 0
        self._base: Marks | None = None  # what the run has written down
        self._outside: dict[str, tuple[str, ...]] = {}
        # Real path -> the stages whose workers' tools named it, and when each last did.
        self._edits: dict[str, dict[str, float]] = {}
        with contextlib.suppress(OSError):
            # The run before was killed in a check: what that changed can't be told from anybody else's doing.
            files.move(self._state / CHECKING, self._state / CUT_OFF)
            os.utime(self._state / CUT_OFF)

    # -- what is guarded

    def rules(self, stage: Stage) -> tuple[str, ...]:
        """Paths and globs, relative to the project or absolute."""
        own = (name for name in (stage.prompt_file, stage.planned) if name is not None)
        return (*ALWAYS, *self.outside(stage), *stage.protect, *own)

    def scripts(self, stage: Stage) -> list[str]:
        """The files that the stage's checks run."""
        found = []
        for check in stage.checks:
            for word in shell.scripts(check, lambda word: (self.root / stage.cwd / word).is_file()):
                name = os.path.normpath(os.path.join(stage.cwd, word))
                if not name.startswith(("/", "..")):
                    found.append(name)
        return found

    def outside(self, stage: Stage) -> tuple[str, ...]:
        """What of the repository around the project, and of one that the stage works in, lies elsewhere than expected."""
        found = dict.fromkeys(self._of_repository("."))
        folder = stage.cwd
        while folder not in ("", "."):
            if os.path.lexists(self.root / folder / ".git"):
                found |= dict.fromkeys(self._of_repository(folder))
            folder = os.path.dirname(folder)
        return tuple(found)

    def _of_repository(self, folder: str) -> tuple[str, ...]:
        if folder not in self._outside:
            found = repository.places(self.root / folder, self._environ)
            names = [os.path.relpath(path, self.root) for path in found]
            self._outside[folder] = tuple(name for name in names if name not in ALWAYS)
        return self._outside[folder]

    # -- who looks

    def begin(self, stage: Stage, tell: Callable[[Marks], object], began: float = 0.0) -> Watch:
        """An attempt at `stage` begins: see `Watch`. `tell` is called by any thread."""
        watch = Watch(self, stage, tell, began)
        with self._lock:
            self._watches.add(watch)
        watch.since = self.look(watch, just_now=True)
        return watch

    def end(self, watch: Watch) -> None:
        """The attempt is over."""
        with self._lock:
            self._watches.discard(watch)

    @contextlib.contextmanager
    def check(self, watch: Watch) -> Iterator[None]:
        """While a check of that attempt runs."""
        # Its attempt was looked at for trespasses a moment ago.
        self._look(lambda: self._begin_check(watch), just_now=True)
        try:
            yield
        finally:
            self._look(lambda: self._end_check(watch))

    def look(self, watch: Watch, *, just_now: bool = False) -> Marks:
        """All that is guarded, as it is now."""
        new = {*watch.scripts} - self._files
        rules = {*watch.rules} - self._rules
        if new or rules:
            with self._lock:
                self._rules |= rules
                self._files |= new | {
                    literal for rule in rules if (literal := paths.literal(rule)) is not None
                }
                self._walks += [
                    Walk(self.root, rule) for rule in sorted(rules) if paths.literal(rule) is None
                ]
        return self._look(just_now=just_now and not (new or rules))

    def _look(self, then: Callable[[], object] = lambda: None, *, just_now: bool = False) -> Marks:
        """A look that began after it was asked for; or, `just_now`, that ended a moment ago."""
        wanted = self._begun + 1
        with self._lock:
            recent = just_now and time.monotonic() - self._ended_at < JUST_NOW
            if self._ended < wanted and not recent:
                self._begun += 1
                before, self._marks = self._marks, self._fresh()
                self._ended, self._ended_at = self._begun, time.monotonic()
                if self._checks and before is not self._marks:
                    for watch in self._watches:
                        own = watch in self._checks
                        watch.allow(before, self._marks, but=_nothing if own else self._not_of_others(watch))
            then()
            return self._marks

    def _fresh(self) -> Marks:
        now_ns, known, marks = time.time_ns(), self._marks, dict[str, object]()
        settled_ns, top, stat = self._looked_ns - TICK_NS, f"{self.root}/", os.stat
        names = dict.fromkeys(self._files)
        for walk in self._walks:
            names.update(dict.fromkeys(walk.files()))
        for name in names:  # of which there may be very many, for each stage twice
            try:
                status = stat(top + name if name[:1] != "/" else name)
            except OSError:
                if name in self._files:
                    marks[name] = None
                continue
            mark, changed_ns = known.get(name), status.st_ctime_ns
            if (
                not isinstance(mark, tuple)
                or changed_ns >= settled_ns
                or mark[4] != changed_ns
                or mark[0] != status.st_mtime_ns
                or mark[1] != status.st_size
                or mark[2] != status.st_ino
            ):
                mark = verify.fingerprint(self.root / name)
            if mark is not None or name in self._files:
                marks[name] = mark
        self._looked_ns = now_ns
        return known if marks == known else marks

    def _not_of_others(self, watch: Watch) -> Callable[[str], bool]:
        """What no other stage's check changes for this one: what runs on its own, and what its worker's tools named."""
        return lambda name: is_order(name) or watch.stage.name in self.editors(name, watch.began)

    # -- what of a run that was killed in a check

    def _begin_check(self, watch: Watch) -> None:
        if not self._checks:
            write_atomic(self._state / CHECKING, "", durable=False)
        self._checks.add(watch)

    def _end_check(self, watch: Watch) -> None:
        self._checks.discard(watch)
        if not self._checks:
            files.remove(self._state / CHECKING, missing_ok=True)

    def was_cut_off(self, began: float) -> bool:
        """Did a run die in a check, any stage's, since an attempt began (wall time)? So its own marks are too old."""
        with contextlib.suppress(OSError):
            return os.lstat(ours.check(self._state / CUT_OFF)).st_mtime >= began
        return False

    # -- as an attempt writes it down

    def written(self, watch: Watch, targets: Collection[str]) -> dict[str, object]:
        """What `begun` says of it: the marks, or of very many a file of the run that has them and what differs."""
        if len(watch.since) <= MOST_MARKS or not self._run:
            return {"protected": dict(watch.marks(targets))}
        with self._lock:
            file = f"runs/{self._run}/protected.json"
            if self._base is None:
                make_folder(self._state / "runs")
                make_folder(self._state / "runs" / self._run)
                write_atomic(self._state / file, json.dumps(dict(watch.since)), durable=False)
                self._base = watch.since
        other = {name: watch.since.get(name) for name in _differ(self._base, watch.since)}
        return {"protected": other, "protected_in": file}

    def read(self, begun: Mapping[str, object]) -> Marks:
        """What `written` gave, of an earlier run, too."""
        marks = begun.get("protected")
        own = marks if isinstance(marks, dict) else {}
        file = begun.get("protected_in")
        if isinstance(file, str) and ".." not in file:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                base = json.loads(files.read(self._state / file))
                return {**base, **own} if isinstance(base, dict) else own
        return own

    # -- whose tools named a file

    def edited(self, path: str, stage: str, at: float) -> None:
        """A worker's own tool, by its hook, was about to change the file at `path`, at that wall time."""
        self._edits.setdefault(os.path.realpath(path), {})[stage] = at

    def editors(self, name: str, since: float) -> frozenset[str]:
        """The stages whose workers' tools named that file since then: what one did before is nobody's excuse later."""
        found = self._edits.get(os.path.realpath(self.root / name), {})
        return frozenset(stage for stage, at in [*found.items()] if at >= since)


def _nothing(name: str) -> bool:
    return False


class Walk:
    """The files that a glob finds, hidden ones too; links are neither followed nor found."""

    def __init__(self, root: Path, pattern: str) -> None:
        parts = pattern.split("/")
        fixed = next((number for number, part in enumerate(parts) if paths.is_glob(part)), len(parts) - 1)
        self._root = str(root)
        self._base = "/".join(parts[:fixed])
        self._depth = -1 if "**" in parts else len(parts) - fixed
        self._matches = paths.matcher(pattern, hidden=True)
        # Of each folder its times, the folders in it and the files in it that match.
        self._folders: dict[str, tuple[Sequence[int], list[str], list[str]]] = {}

    def files(self) -> Iterator[str]:
        """As they are now: folders that are as they were are not read again."""
        waiting = [(self._base, self._depth)]
        while waiting:
            folder, left = waiting.pop()
            inner, files = self._in(folder)
            yield from files
            if left != 1:
                waiting += [(name, left - 1) for name in inner]

    def _in(self, folder: str) -> tuple[list[str], list[str]]:
        path = folder if folder[:1] == "/" else f"{self._root}/{folder}"
        try:
            status = os.stat(path)
        except OSError:
            return [], []
        times = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
        known = self._folders.get(folder)
        if known is not None and known[0] == times:
            return known[1], known[2]
        inner, files = [], []
        # Looked at before what is in it: what changes in between shows.
        settled = max(times[:2]) < time.time_ns() - TICK_NS
        with contextlib.suppress(OSError), os.scandir(path) as found:
            for entry in found:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if folder or entry.name not in paths.RESERVED:
                        inner.append(name)
                elif entry.is_file(follow_symlinks=False) and self._matches(name):
                    files.append(name)
        self._folders[folder] = (times if settled else (), inner, files)
        return inner, files
