"""What one attempt's folder tells of it: how it went, and the files that it made.

Rule this file keeps: of an attempt that has ended its result says nearly all; its journal, which may be long, is looked
through then, not taken apart.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dodo_claude.config.records import Stage
from dodo_claude.machine import files, ours
from dodo_claude.state import basis
from dodo_claude.state.events import BEGUN, Result, View
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.lifecycle import advance
from dodo_claude.worker import verify
from dodo_claude.worker.witness import ASIDE

# Folders of an attempt: copies of what stood there before it, what a failed one had made, and what stood in the place of
# its verified targets when these were put back.
COPIES = ("before", "partial", ASIDE)
# What a kill leaves of a copy.
TEMPORARY = re.compile(r"\.[0-9]+\.tmp")
_ENDS = frozenset(each.value for each in Result)
# A result with these leaves nothing to ask of its journal but its beginning and what was verified.
_WHOLE = {"prompts", "tools", "repairs", "session_id", "message"}


@dataclass(slots=True)
class Told:
    """One attempt as its folder tells of it."""

    attempt: Attempt
    view: View
    first: float
    last: float
    begun: Mapping[str, Any]
    problems: list[str] | None  # of the last verification
    result: Mapping[str, Any] | None

    @property
    def how(self) -> str:
        """A Result's value; '' as long as there is none."""
        found = str(self.result.get("result")) if self.result is not None else ""
        return found if not found or found in _ENDS else Result.ABORTED.value


@dataclass(frozen=True, slots=True)
class Version:
    """A file that an attempt made."""

    name: str  # relative to the project
    change: str  # as FileReport has it
    now: Path | None  # where those bytes are; None: nowhere any more
    before: Path | None  # a copy of what stood there before, if something did
    size: int = 0  # if they are nowhere
    kept: Path | None = None  # where a failed attempt's file was set aside


def brief(attempt: Attempt, result: Mapping[str, Any]) -> Told:
    """An attempt that succeeded, by its result: its journal may be long."""
    first = next(attempt.replay(), None)
    begun = first.data if first is not None and first.kind == BEGUN else {}
    last = touched(attempt)
    return Told(attempt, View(), as_number(result.get("began")) or last, last, begun, None, result)


def nothing(log: StageLog) -> Told:
    """Of a stage that was never begun."""
    return Told(Attempt(log, 0), View(), 0.0, 0.0, {}, None, None)


def touched(attempt: Attempt) -> float:
    """When its journal was last written; that of one which has none yet, when its folder was made."""
    for path in (attempt.journal, attempt.dir):
        with contextlib.suppress(OSError):
            return os.lstat(ours.check(path)).st_mtime
    return 0.0


def read(stage: Stage, attempt: Attempt) -> Told:
    """All that is known of an attempt. One that has no result, or half of one, is told by its events."""
    result = attempt.result()
    view = View()
    if result is not None and result.keys() >= _WHOLE:
        first, last, events = attempt.outline(basis.KINDS)
    else:
        events = list(attempt.replay())
        first = events[0].at if events else 0.0
        last = max((event.at for event in events), default=0.0)
        for event in events:
            # Refused at once by its hook: nobody is waited for.
            if event.kind != "PermissionRequest" or stage.on_permission != "deny":
                view = advance(view, event)
    known = functools.reduce(basis.after, events, basis.Basis())
    if not last:
        first = last = touched(attempt)
    problems = None if known.problems is None else list(known.problems)
    return Told(attempt, view, first, last, known.begun, problems, result)


def as_number(value: object) -> float | None:
    """A number as JSON has it."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and isinstance(value, int | float) else None


def _mark(value: object) -> list[Any] | None:
    """A fingerprint as JSON has it."""
    return value if isinstance(value, list) and len(value) in (5, 6) and isinstance(value[1], int) else None


# -- its files


def versions(root: Path, stage: Stage, told: Told) -> Iterator[Version]:
    """Of each file that an attempt made, where it is, and where what stood there before."""
    copies = told.begun.get("copies")
    folder = told.attempt.dir if not isinstance(copies, int) else told.attempt.log.dir / str(copies)
    before = told.begun.get("before")
    before = before if isinstance(before, dict) else {}
    if told.result is not None and told.how != Result.SUCCEEDED.value:
        partial = told.attempt.dir / "partial"
        for path in files.find(partial, "**/*"):
            if stat.S_ISREG(path.lstat().st_mode) and not TEMPORARY.fullmatch(path.name):
                name = str(path.relative_to(partial))
                copy = folder / "before" / name if before.get(name) else None
                yield Version(name, "set aside", path, copy, kept=path)
        return
    recorded = (told.result or {}).get("targets")
    recorded = recorded if isinstance(recorded, dict) else {}
    for name in stage.targets:
        old, mark = _mark(before.get(name)), _mark(recorded.get(name))
        made: Path | None = root / name
        if told.result is None:
            if not (root / name).is_file() or verify.same_bytes(root / name, old):
                continue  # it has not made that one yet
        elif mark is None:
            continue
        else:
            made = _version(root, told, name, mark)
        same = old is not None and mark is not None and old[3] == mark[3]
        change = "unchanged" if same else "new" if old is None else "changed"
        copy = None if old is None else folder / "before" / name
        yield Version(name, change, made, copy, size=mark[1] if mark else 0)


def _version(root: Path, told: Told, name: str, mark: object) -> Path | None:
    """Where the bytes are that this attempt made: in their place, or, changed since, among the stage's copies."""
    log = told.attempt.log
    # A later attempt found them there; gc leaves of copies that are the same one, wherever that is.
    later = [log.dir / str(number) for number in log.attempts() if number > told.attempt.number]
    others = [
        *later,
        *(
            path
            for path in (*files.find(log.dir, "[0-9]*"), *files.find(log.dir, "kept/*"))
            if path not in later
        ),
    ]
    if verify.same_bytes(root / name, mark):
        return root / name
    for path in (folder / kind / name for folder in others for kind in COPIES):
        if files.is_file(path) and verify.same_bytes(path, mark):
            return path
    return None


def content(path: Path, largest: int) -> bytes | None:
    """What is in a file that `Version` tells of; None: it is larger, or there is none to read."""
    with contextlib.suppress(OSError):
        with os.fdopen(files.open_any(path), "rb") as stream:
            data = stream.read(largest + 1)
        return data if len(data) <= largest else None
    return None
