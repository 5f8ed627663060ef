"""Reports of made-up runs."""

from __future__ import annotations

import re
from dataclasses import replace

from dodo_claude.report import record
from dodo_claude.report.record import (
    CheckReport,
    FileReport,
    GroupReport,
    Left,
    RunReport,
    StageReport,
)
from tests.samples.reports import ATTEMPT, RUN, STAGE

GOOD = replace(
    STAGE, name="ui", state=record.DONE, reason="", attempts=(replace(ATTEMPT, result="succeeded", why=""),),
    files=(FileReport("ui.py", "new", 9, 3, 3, 0, None), FileReport("a.png", "changed", 2048, None, None, None, None)),
    checks=(CheckReport("check", "test -s ui.py", "passed", ""),),
)  # fmt: skip


def run_of(*stages: StageReport, groups: tuple[GroupReport, ...] = (), **changes: object) -> RunReport:
    left = tuple(Left(stage.name, record.why(stage)) for stage in stages if stage.state not in record.SETTLED)
    states = record.counted(stage.state for stage in stages)
    totals = replace(RUN.totals, states=states)
    return replace(RUN, stages=stages, left=left, totals=totals, groups=groups, **changes)  # type: ignore[arg-type]


def outside(document: str) -> list[str]:
    """The lines of a Markdown document that stand in none of its code blocks: each ends by a fence like its own."""
    lines, fence = [], ""
    for line in document.split("\n"):
        found = re.match(r" {0,3}(`{3,}|~{3,})(.*)$", line)
        if fence:
            # A closing fence is of the same kind, at least as long, with nothing behind it.
            if found and found[1][0] == fence[0] and len(found[1]) >= len(fence) and not found[2].strip():
                fence = ""
        elif found:
            fence = found[1]
        else:
            lines.append(line)
    assert not fence, "a code block is open at the end"
    return lines
