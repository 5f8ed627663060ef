"""Why a stage is not up to date, as far as its journals tell: how its last attempt ended, what changed since, and since when
nothing is heard of its worker. Sole owner of the words for these, which --explain, `status`, `recheck` and the run's own lines say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.agents import faults
from dodo_claude.config.records import Stage
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import clean_line
from dodo_claude.worker import verify

if TYPE_CHECKING:
    from dodo_claude.state.events import View

NEVER = "it has not run yet"
FORGOTTEN = "it is to be done anew"  # as `doit forget` has it


def why(stage: Stage, definition: Mapping[str, object], root: Path) -> list[str]:
    """Of a stage that doit knows no success of: what changed since its last attempt, and how that ended."""
    last = StageLog(root / STATE_DIR, stage.name).last()
    if last is None:
        return [NEVER]
    from dodo_claude.state import basis  # of a run with nothing to do nobody asks

    known = basis.of(last)
    found: list[str] = []
    if recorded := known.table("definition"):
        found += differences(recorded, definition)
    if isinstance(known.begun.get("inputs"), dict):
        found += changed_files(stage, root, known.inputs)
    return [clean_line(line.replace(f"{root}/", "")) for line in (*found, how(last))]


def how(last: Attempt) -> str:
    """How an attempt ended whose stage is not up to date, in words."""
    result = last.result()
    if result is None:
        return f"attempt {last.number} was cut off"
    if told := ended(result):
        return f"attempt {last.number} {told}"
    if last.log.is_forgotten():
        return f"{FORGOTTEN} (doit forget)"
    return f"attempt {last.number} is done and nobody has stored it: what it made is taken over, if all is as it was"


def ended(result: Mapping[str, object]) -> str:
    """How an attempt ended, in words, by its result; '' if it ended well, or never began."""
    from dodo_claude.state.events import Result

    how, reason = result.get("result"), str(result.get("reason") or "")
    if how in (None, Result.SUCCEEDED.value):
        return ""
    if how != Result.ABORTED.value:
        return f"failed: {reason}" if reason else "failed"
    return f"was stopped: {reason}".replace("was stopped: stopped", "was stopped")


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[str]:
    """What of a stage's definition is other than it was."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        shown = [str(value) for value in (before, after)]
        if None in (before, after) or any(text.startswith("sha256:") for text in shown) or key == "messages":
            yield f"{key} changed"
        else:
            yield f"{key} changed: {shown[0]} -> {shown[1]}"


def silence(view: View) -> str:
    """That nothing is heard of a worker, since when, and what its client says of that."""
    began = time.strftime("%H:%M:%S", time.localtime(view.unheard))
    if not view.unheard_for:
        return f"nothing heard of it since {began}"
    status = view.unheard_for.partition(" ")[0]
    remedy = f"; if that stays so, {faults.remedy_of(status)}" if faults.remedy_of(status) else ""
    asks = f"its client asks again by itself, {view.tries}{remedy}"
    return f"no answer since {began}: {view.unheard_for} ({asks})"


# What became of an input file. doit tells of these by itself; where it does not know a stage, the journal does.
CHANGED, MISSING = "file '{}' changed", "file '{}' is missing"
JOINED, LEFT = "file '{}' joined its inputs", "file '{}' is no input of it any more"


def changed_files(stage: Stage, root: Path, marks: Mapping[str, object]) -> Iterator[str]:
    """What became of its inputs since these marks were taken of them."""
    for name in verify.changed(root, marks, stage.file_dep):
        there = os.path.exists(root / name)
        words = JOINED if name not in marks else LEFT if name not in stage.file_dep else CHANGED
        yield (words if there or words is LEFT else MISSING).format(name)


def changed_targets(stage: Stage, root: Path, marks: Mapping[str, object]) -> Iterator[str]:
    """Which of its targets are not what it made."""
    for name in stage.targets:
        path = f"{root}/{name}"  # of a Path's making 10000 take a tenth of a second
        if verify.same_bytes(path, marks.get(name)):
            continue
        if not os.path.exists(path):
            yield f"target '{name}' is missing"
        elif name != stage.plan:  # edited by hand it is still the plan, which its person is asked about
            yield f"target '{name}' was altered since the stage made it"
