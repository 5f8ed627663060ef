"""For a dodo.py that wants the stages in every doit command without a loader setting:

    from dodo_claude.stages import *

`stages` makes the tasks; `DOIT_CONFIG` names the state file that `doit orchestrate` uses too. A dodo.py with
a DOIT_CONFIG of its own merges the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from doit.globals import Globals
from doit.task import Task

from dodo_claude.machine import importing
from dodo_claude.plugin import resetting
from dodo_claude.plugin.loader import FILE, STATE, StageLoader

DOIT_CONFIG = dict(STATE)


class _Stages:
    """doit takes each object of a dodo.py that has `create_doit_tasks` for a source of tasks."""

    _dodo_claude = True  # `doit orchestrate` loads the stages itself and leaves this one out

    def create_doit_tasks(self) -> Iterator[Task]:
        """Called by doit, in the project's folder."""
        loader = StageLoader()
        loader.path = Path.cwd() / FILE
        importing.put_last([str(Path.cwd())])  # doit has read all of it, with the folder in front
        if Globals.dep_manager is not None:
            resetting.hold(Globals.dep_manager)
        yield from loader.load_stages([], set())


stages = _Stages()

__all__ = ["DOIT_CONFIG", "stages"]
