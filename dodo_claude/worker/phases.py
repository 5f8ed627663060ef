"""A stage in phases: one worker, several prompts, each verified before the next. What of an earlier attempt holds.

Pure but for a look at targets' bytes. A phase is worked on as if it were a stage of its own: see `part`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dodo_claude.config.records import Phase, Stage
from dodo_claude.machine import files
from dodo_claude.machine.files import write_atomic
from dodo_claude.worker import verify

# How `freshness.definition` calls what makes a phase.
KEY = "phase "
# What belongs to single phases, or to the end; the rest of a definition holds for all of them.
_NOT_SHARED = ("targets", "check", "prompt")


def count(stage: Stage) -> int:
    """How many prompts the stage has, one after the other."""
    return len(stage.phases) or 1


def part(stage: Stage, number: int) -> Stage:
    """Phase `number` (from 0) as a stage: its own prompt, targets and check. A stage without phases is its own part."""
    if not stage.phases:
        return stage
    phase = stage.phases[min(number, len(stage.phases) - 1)]
    return replace(
        stage,
        prompt=phase.prompt,
        prompt_file=phase.prompt_file,
        prompt_files=phase.prompt_files,
        messages=phase.messages,
        prompt_env=phase.prompt_env,
        targets=phase.targets,
        check=phase.check,
        phases=(),
    )


def phase_of(stage: Stage, number: int) -> Phase | None:
    """Phase `number`, if the stage has it."""
    return stage.phases[number] if number < len(stage.phases) else None


def digest(phase: Phase) -> str:
    """What a phase's result is made from, besides what all of them share."""
    parts = [phase.prompt, phase.targets, phase.check, phase.compact, phase.handover]
    return f"sha256:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]}"


def apart_from_checks(stage: Stage) -> list[str]:
    """What each phase's result is made from, with no word of how it is checked."""
    return [digest(replace(phase, check=None)) for phase in stage.phases]


def mark(definition: Mapping[str, object], number: int) -> str:
    """Equal marks: phase `number` was made from the same as now, its input files set aside."""
    shared = {
        key: value for key, value in definition.items() if key not in _NOT_SHARED and not key.startswith(KEY)
    }
    text = json.dumps([shared, definition.get(f"{KEY}{number + 1}")], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def kept(
    stage: Stage, definition: Mapping[str, object], root: Path, done: Sequence[object], changed: Sequence[str]
) -> list[dict[str, object]]:
    """Of the verified phases `done` of an earlier attempt those that hold: made from the same, targets as they were.

    `changed` are the stage's input files that differ since then.
    """
    holds: list[dict[str, object]] = []
    for number, entry in enumerate(done):
        if number >= len(stage.phases) or not isinstance(entry, dict):
            break
        marks = entry.get("targets")
        marks = marks if isinstance(marks, dict) else {}
        phase = stage.phases[number]
        same = entry.get("mark") == mark(definition, number) and all(
            verify.same_bytes(root / name, marks.get(name)) for name in phase.targets
        )
        if not same:
            break
        holds.append(entry)
    # A file that only later phases read makes no earlier one stale.
    for length in range(len(holds), 0, -1):
        if not set(changed) - _only_later(stage, length):
            return holds[:length]
    return []


def _only_later(stage: Stage, number: int) -> set[str]:
    """The files that prompts from phase `number` on read, and no earlier one does."""

    def read(phases: Sequence[Phase]) -> set[str]:
        return {name for phase in phases for name in (*phase.prompt_files, phase.prompt_file) if name}

    return read(stage.phases[number:]) - read(stage.phases[:number])


def summary(folder: Path, number: int) -> Path:
    """The file, in an attempt's folder, with what the session that did phase `number` left for the next one."""
    return folder / f"summary-{number}.md"


def take_summaries(before: Path, folder: Path, count: int) -> None:
    """Copy those of the first `count` phases from one attempt's folder to another's, as far as there are any."""
    for number in range(1, count + 1):
        with contextlib.suppress(OSError):
            text = files.read_text(summary(before, number), "replace")
            write_atomic(summary(folder, number), text)
