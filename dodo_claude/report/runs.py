"""Which runs there were, and when: read from their folders, `.orchestrate/runs/<id>/`."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dodo_claude.machine import files
from dodo_claude.machine.files import write_atomic
from dodo_claude.report.record import RunReport, from_json
from dodo_claude.text.clean import clean_line
from dodo_claude.text.errors import DodoClaudeError

# A journal whose file was last written so long before a run's start is not of that run.
SLACK = 2.0
# The ids of the runs that gc removed, a line each: `.orchestrate/removed-runs`.
REMOVED = "removed-runs"


@dataclass(frozen=True, slots=True)
class Span:
    """A run's place in time. `until`: the next one's start."""

    id: str
    started: float
    ended: float | None = None
    until: float = float("inf")
    live: bool = False
    holder: str = ""  # of one in progress: what run.lock says of who holds it
    stopped: str = ""
    chosen: frozenset[str] | None = None  # the stages that it was to look at; None: all


def runs(state: Path) -> list[Span]:
    """All runs that started something, oldest first."""
    found = []
    for plan in files.find(state / "runs", "*/plan.toml"):
        with contextlib.suppress(OSError):
            found.append((_started(plan), plan.parent.name))
    found.sort()
    ends = [*(started for started, _ in found[1:]), float("inf")]
    return [Span(id, started, until=until) for (started, id), until in zip(found, ends, strict=False)]


_STARTED = re.compile(rb'^started = "([^"\n]+)"', re.M)


def _started(plan: Path) -> float:
    # Its first lines say it; a plan of thousands of stages need not be read for that.
    with files.opened(plan) as stream:
        found = _STARTED.search(stream.read(4096))
    with contextlib.suppress(ValueError):
        if found is not None:
            return datetime.fromisoformat(found[1].decode("utf-8", "replace")).timestamp()
    return plan.stat().st_mtime


def chosen(state: Path, run: str) -> frozenset[str] | None:
    """The stages that a run was to look at; None: all, or nobody knows."""
    from dodo_claude.config import shape

    with contextlib.suppress(OSError, ValueError, RecursionError):
        text = files.read_text(state / "runs" / run / "plan.toml")
        # Its stages, of which there may be thousands, come after it.
        plan = shape.loads(text.partition("\n[stages")[0])
        names = plan.get("run", {}).get("chosen")
        if isinstance(names, list):
            return frozenset(str(name) for name in names)
    return None


def saved(state: Path, run: str) -> RunReport | None:
    """What `write` wrote; None if it did not, or what is there is none of ours."""
    with contextlib.suppress(OSError, ValueError):
        return from_json(files.read_text(state / "runs" / run / "report.json"))
    return None


def find(state: Path, run: str | None) -> Span:
    """The run of that id, or the last one. DodoClaudeError if there is none."""
    found = runs(state)
    names = ", ".join(span.id for span in found[-3:]) or "none"
    if run is not None and run in removed(state):
        raise DodoClaudeError(
            f"report: run '{clean_line(run)}' was removed by dodo-claude gc (the last ones: {names})"
        )
    if run is None:
        if found:
            return found[-1]
        if any(files.find(state / "stages", "*/[0-9]*")):
            return Span("unknown", 0.0)  # its plan is gone, its journals are not
        raise DodoClaudeError("report: nothing has run here yet (doit orchestrate)")
    for span in found:
        if span.id == run:
            return span
    raise DodoClaudeError(f"report: no run '{clean_line(run)}' (the last ones: {names})")


def removed(state: Path) -> list[str]:
    """The ids of the runs that gc removed."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return files.read_text(state / REMOVED).splitlines()
    return []


def note_removed(state: Path, ids: Iterable[str]) -> None:
    """Write down that these are going."""
    before = removed(state)
    if new := [id for id in ids if id not in before]:
        write_atomic(state / REMOVED, "".join(f"{id}\n" for id in (*before, *new)))


def last_start(state: Path) -> float:
    """When the last run began, in wall-clock seconds; 0.0 when there was none."""
    try:
        return max(
            (os.lstat(plan).st_mtime for plan in files.find(state / "runs", "*/plan.toml")), default=0.0
        )
    except OSError:
        return 0.0
