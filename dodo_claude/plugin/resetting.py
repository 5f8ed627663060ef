"""`doit reset-dep` on stages. doit's command writes down how the files are now that a task reads, and calls it processed.

That makes a stage up to date only where nothing else is against it. One that was not done here, was changed, or whose
targets are other bytes than were verified, keeps its record, and a line says why: no word of anybody's makes it done.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Container
from typing import Any, TextIO

from doit.task import Task

from dodo_claude.plugin.freshness import NOT_DONE
from dodo_claude.plugin.tasks import Fault, freshness_of, late_of, stage_of
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker import since


class Output:
    """In place of doit's stream: what doit says of a task that was held is left out."""

    def __init__(self, stream: TextIO, groups: Container[str]) -> None:
        self._stream = stream
        self._groups = groups  # that are made of stages: their lines say all
        self._held: set[str] = set()

    def write(self, text: str) -> None:
        """Called by doit, a line at a time."""
        name = text.rstrip("\n").removeprefix("processed ")
        if name not in self._held and name not in self._groups:
            self._stream.write(text)

    def held(self, name: str, line: str) -> None:
        """Say why, now that doit is about to say the opposite."""
        self._held.add(name)
        self._stream.write(f"{line}\n")


def on_stderr(name: str, line: str) -> None:
    """Where doit's own line can't be left out."""
    sys.stderr.write(f"dodo_claude: {line}\n")


def hold(dep_manager: Any, tell: Callable[[str, str], None] = on_stderr) -> None:
    """Let nobody but a run write down that a stage is done, unless all that it was made of says so."""
    save = dep_manager.save_success

    def save_success(task: Task, result_hash: Any = None) -> None:
        against = None if task.executed else _against(task)
        if against is None:
            save(task, result_hash)
        else:
            tell(task.name, f"failed {task.name} ({against})")

    dep_manager.save_success = save_success


def _against(task: Task) -> str | None:
    """Why files alone do not make it up to date; called once doit has looked at it."""
    for file in task.file_dep:
        if os.path.exists(file) and not os.path.isfile(file):  # doit would wait for a pipe
            return one_line(f"file '{file}' is not a plain file")
    for action in task._actions:
        if isinstance(action, Fault):
            return action.text
    if late_of(task) is not None:
        return f"its stages are not known yet; doit orchestrate {task.name} makes them"
    freshness = freshness_of(task)
    stage = stage_of(task)
    try:
        why = next(freshness.reasons(task.values), None) if freshness is not None else None
        if why == NOT_DONE and stage is not None and freshness is not None:
            why = since.why(stage, freshness.made(), freshness.config.root)[-1]
    except (OSError, DodoClaudeError) as error:
        return one_line(str(error))
    return None if why is None else f"{why}; doit orchestrate {task.name} does it"
