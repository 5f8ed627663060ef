"""What runs that were cut off may have left at work: known at the cost of one look at one file, on each run.

    .orchestrate/settled   no attempt is without an end that doit knows of

Rules this file keeps: the mark goes before a run can begin an attempt, and comes back only when a run, at its end, has
found that none was left; so a run that is killed leaves none. Where it lacks, each stage's attempts are looked at.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path

from dodo_claude.machine import files, ours
from dodo_claude.machine.files import write_atomic
from dodo_claude.state.journal import StageLog

SETTLED = "settled"


class Left:
    """As one run sees it: of what it begins itself it is not told."""

    def __init__(self, state: Path) -> None:
        self.state = state

    @functools.cached_property
    def possible(self) -> bool:
        """May there be any? Looked at once."""
        return may_be(self.state)

    def of(self, stage: str) -> bool:
        """Did an earlier run leave an attempt of `stage`? Raises `OSError`."""
        return self.possible and StageLog(self.state, stage).unsettled()


def may_be(state: Path) -> bool:
    """May an attempt be left of an earlier run?"""
    try:
        return not files.is_file(state / SETTLED)
    except ours.NotOursError:  # nobody of us put it there
        return True


def begin(state: Path) -> bool:
    """Attempts may begin from now on. Were there none left before? Raises `OSError`."""
    try:
        files.remove(state / SETTLED)
    except FileNotFoundError:
        return False
    return True


def end(state: Path, stages: Iterable[str]) -> None:
    """Nobody is at work any more: were all of `stages` brought to an end that doit knows of? Only for the lock's holder.

    What can't be looked at, or written, is looked at again in the next run.
    """
    with contextlib.suppress(OSError):
        if not any(StageLog(state, stage).unsettled() for stage in stages):
            write_atomic(state / SETTLED, "", durable=False)
