"""What old runs left behind that nothing needs any more: as records, as JSON and in words."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from dodo_claude.report.words import many

VERSION = 1  # of the JSON


@dataclass(frozen=True, slots=True)
class OldRun:
    """A run that goes."""

    id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class OldAttempt:
    """An attempt that goes; `keeps`: paths in its folder that stay nevertheless, under `kept`."""

    stage: str
    folder: str  # of the stage, relative to the project
    number: int
    bytes: int
    keeps: tuple[str, ...]
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class OldCopy:
    """A copy of verified bytes that are no stage's any more, or half of one."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Garbage:
    """All that may go."""

    keep: int
    runs: tuple[OldRun, ...]
    attempts: tuple[OldAttempt, ...]
    copies: tuple[OldCopy, ...] = ()

    @property
    def bytes(self) -> int:
        kinds: tuple[Iterable[OldRun | OldAttempt | OldCopy], ...] = (self.runs, self.attempts, self.copies)
        return sum(each.bytes for kind in kinds for each in kind)


def to_json(garbage: Garbage, *, removed: bool) -> str:
    """As JSON: the names of the fields are its keys. `removed`: is it gone?"""
    told = {"version": VERSION, "removed": removed, "bytes": garbage.bytes, **asdict(garbage)}
    return json.dumps(told, indent=1) + "\n"


def text(garbage: Garbage, *, removed: bool) -> str:
    """In words, a line for each stage."""
    if not garbage.runs and not garbage.attempts and not garbage.copies:
        return (
            f"nothing to remove: the last {many(garbage.keep, 'run')} and what they need are all there is\n"
        )
    verb = "removed" if removed else "would remove"
    lines = []
    if garbage.runs:
        ids = (
            garbage.runs[0].id if len(garbage.runs) == 1 else f"{garbage.runs[0].id} to {garbage.runs[-1].id}"
        )
        size = sum(run.bytes for run in garbage.runs)
        lines.append(f"{verb} {many(len(garbage.runs), 'run')}, {ids}: {_bytes(size)}")
    stages = defaultdict(list)
    for each in garbage.attempts:
        stages[each.stage].append(each)
    for stage, attempts in stages.items():
        numbers = _ranges([each.number for each in attempts])
        size = sum(each.bytes for each in attempts)
        noun = "attempt" if len(attempts) == 1 else "attempts"
        lines.append(f"{verb} {noun} {numbers} of {stage}: {_bytes(size)}")
        for each in attempts:
            at = f"{each.folder}/kept/{each.number}" if removed else f"{each.folder}/{each.number}"
            lines += [f"  keeps {at}/{name}: it is nowhere else" for name in each.keeps]
    if garbage.copies:
        size = sum(copy.bytes for copy in garbage.copies)
        count = "1 copy" if len(garbage.copies) == 1 else f"{len(garbage.copies)} copies"
        lines.append(f"{verb} {count} of what stages made before: {_bytes(size)}")
    return "\n".join([*lines, f"{'freed' if removed else 'would free'} {_bytes(garbage.bytes)}"]) + "\n"


def _ranges(numbers: list[int]) -> str:
    """'1-4, 6'"""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
