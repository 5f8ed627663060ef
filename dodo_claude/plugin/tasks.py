"""Stages as doit tasks, and the action that drives a stage."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from doit.action import BaseAction
from doit.exceptions import TaskError, TaskFailed, UnmetDependency
from doit.task import Task

from dodo_claude.config.records import Config, Foreach, Stage, enclosing
from dodo_claude.machine.files import disk_problem, write_atomic
from dodo_claude.machine.ours import STATE_DIR, GoneError
from dodo_claude.plugin.freshness import Freshness, definition, definition_digest, digest_text
from dodo_claude.text.clean import clean_text
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.run.run import Run

# Under what name doit keeps the group whose stages are not known yet that a placeholder stands for: see late.py.
LATE = "dodo_claude.late"
NO_DIGESTS: Mapping[str, str] = {}


class StageStopped(TaskFailed):
    """A stage that did not fail but was stopped with the run; a rerun goes on with it."""


class UnmetNeeds(UnmetDependency):
    """doit's, that knows each by its name; doit tells twice of what is needed in two ways."""

    def __init__(self, needs: tuple[str, ...]) -> None:
        super().__init__(" ".join(needs))
        self.needs = needs


class Fault(BaseAction):
    """In place of stages that can't be made: fails, and says why."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.task: Task | None = None  # set by doit
        self.out: str | None = None
        self.err: str | None = None
        self.result: str | None = None
        self.values: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"dodo_claude: {self.text}"

    def execute(self, out: object = None, err: object = None) -> TaskFailed:
        """Called by doit."""
        return TaskFailed(self.text)


class StageAction(BaseAction):
    """Drives its stage. A PythonAction would swap the process-wide stdout under the other threads."""

    def __init__(self, stage: Stage, run: Run, freshness: Freshness) -> None:
        self.stage = stage
        self.run = run
        self.freshness = freshness
        self.task: Task | None = None  # set by doit
        # What doit's reporters and savers read of an action:
        self.out: str | None = None
        self.err: str | None = None
        self.result: str | None = None
        self.values: dict[str, Any] = {}

    def __str__(self) -> str:
        what = self.stage.command if self.stage.agent is None else f"worker ({self.stage.agent.name})"
        return f"dodo_claude: {what}"

    def execute(self, out: object = None, err: object = None) -> TaskFailed | TaskError | None:
        """Called by one of doit's worker threads. Anything that left here would end the whole run."""
        try:
            return self._execute()
        except OSError as error:  # a full disk, a folder without permission: nobody's bug
            return TaskFailed(disk_problem(error, self.run.config.root))
        except DodoClaudeError as error:
            return TaskFailed(str(error))
        except Exception as error:
            where = self._save_traceback() or f"not written down, for want of room: {error!r}"
            return TaskError(f"dodo_claude has a fault; what it did is in {where} (please report it)")

    def _execute(self) -> TaskFailed | TaskError | None:
        from dodo_claude.state.events import Result
        from dodo_claude.worker.recovery import drive

        # A task of a dodo.py may have made it meanwhile.
        lacking = [
            str(each.problem)
            for each in self.run.config.absent
            if self.stage.name in each.stages and not (self.run.config.root / each.path).exists()
        ]
        if lacking:
            return TaskFailed("; ".join(lacking))
        made = definition(self.stage)
        messages = self.freshness.quoted()
        self.run.begun.add(self.stage.name)
        try:
            # What it quotes makes its result, too; `Freshness` compares that by itself.
            quoting = {**made, "messages": messages} if messages else made
            done = drive(self.stage, quoting, self.run.services())
        except GoneError as error:
            fleet = self.run.services().fleet
            fleet.stop(str(error))  # all are: whoever noticed first says it, once
            return StageStopped(fleet.stopped or str(error))
        except DodoClaudeError as error:
            return TaskFailed(str(error))
        self.run.undeclared[self.stage.name] = done.undeclared
        if done.outcome.result is Result.ABORTED:
            return StageStopped(done.outcome.reason)
        if done.outcome.result is not Result.SUCCEEDED:
            return TaskFailed(done.outcome.reason)
        self.run.witness.stands(self.stage.name, self.stage.fixed(done.targets), made=True)
        self.values = {
            "definition": made,
            "digest": definition_digest(made),
            "targets": dict(done.targets),
            "message": digest_text(done.message),
            "messages": messages,
            "attempt": done.attempt,
            "seconds": round(done.seconds, 3),
            "tokens": done.usage.tokens,
            "repairs": done.repairs,
        }
        if done.rechecked:
            self.values["rechecked"] = done.rechecked
        return None

    def _save_traceback(self) -> str:
        folder = self.run.config.root / STATE_DIR
        path = folder / f"fault-{time.time_ns()}-{os.getpid()}.txt"
        try:
            write_atomic(path, traceback.format_exc())
        except (OSError, DodoClaudeError):
            return ""
        return str(path)


class _Inside(str):
    """The innermost group of a task that has more around it: doit asks by ==, and all of them have it as a subtask."""

    __slots__ = ("around",)
    around: tuple[str, ...]

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or other in self.around

    __hash__ = str.__hash__


def _parent(name: str) -> str | None:
    groups = enclosing(name)
    if len(groups) < 2:
        return groups[0] if groups else None
    parent = _Inside(groups[0])
    parent.around = tuple(groups[1:])
    return parent


class StageTask(Task):
    """A stage as doit's task.

    What doit's own __init__ looks for, the configuration was judged by: without it 10000 tasks take a quarter of
    the time. A test compares the two.
    """

    def __init__(self, stage: Stage, run: Run, freshness: Freshness) -> None:
        self.__dict__.update(
            _BLANK,
            name=stage.name,
            params=(),
            creator_params=[],
            setup_tasks=[],
            _actions=[StageAction(stage, run, freshness)],
            file_dep=set(stage.file_dep),
            task_dep=list(stage.after),
            wild_dep=[],
            calc_dep=set(),
            value_savers=[],
            getargs={},
            uptodate=[(freshness, [], {})],
            targets=list(stage.targets),
            values={},
            teardown=[],
            subtask_of=_parent(stage.name) if ":" in stage.name else None,
        )
        self._stage = stage

    @property
    def doc(self) -> str:
        """What doit's `list` says of it."""
        return _doc(self._stage)


# All that is the same for each.
_BLANK = {name: value for name, value in vars(Task("blank", None, clean=True)).items() if name != "doc"}


def stage_tasks(config: Config, run: Run, digests: Mapping[str, str] = NO_DIGESTS) -> list[Task]:
    """All stages as doit tasks; a `foreach`, or a nested orchestration, is a group with a subtask for each.

    `digests`: of their definitions, as far as they are known.
    """
    tasks = {}
    groups = dict(config.groups)
    # For these a placeholder stands: see late.py.
    late = {foreach.group for foreach in config.late}
    planned = {plan.group: f"what is planned in {plan.file}" for plan in config.plans}
    for stage in config.stages:
        for group in reversed(enclosing(stage.name)):
            if group not in tasks and group not in late:
                doc = _doc(stage, group=True) if group == stage.group else planned.get(group, "")
                tasks[group] = _group(group, groups[group], config, doc)
        tasks[stage.name] = StageTask(stage, run, Freshness(stage, config, digests.get(stage.name), run.left))
    for group in groups:  # one whose stages are all not known yet
        if group in late:
            continue
        tasks.setdefault(group, _group(group, groups[group], config, ""))
    return list(tasks.values())


def _group(name: str, members: tuple[str, ...], config: Config, doc: str) -> Task:
    late = [foreach.group for foreach in config.late if foreach.group.startswith(f"{name}:")]
    return Task(name, None, task_dep=[*members, *late], has_subtask=True, subtask_of=_parent(name), doc=doc)


def _doc(stage: Stage, *, group: bool = False) -> str:
    text = clean_text(stage.command or stage.prompt or (stage.phases[0].prompt if stage.phases else ""))
    first = next((line.strip(" #*") for line in text.splitlines() if line.strip(" #*")), "")
    if stage.item is not None:
        first = re.sub(r"\{\{-?\s*item\s*-?\}\}", lambda _: "…" if group else str(stage.item), first)
    return first if len(first) <= 100 else first[:99] + "…"


def stage_of(task: Task) -> Stage | None:
    """The stage that `task` was made from; None for a dodo.py task or a group."""
    for action in task._actions:  # `task.actions` would build the actions of delayed tasks
        if isinstance(action, StageAction):
            return action.stage
    return None


def is_ours(task: Task) -> bool:
    """Is `task` a stage, or says why there are none?"""
    return stage_of(task) is not None or any(isinstance(action, Fault) for action in task._actions)


def freshness_of(task: Task) -> Freshness | None:
    """The freshness check of a stage's task."""
    for check, _, _ in task.uptodate:
        if isinstance(check, Freshness):
            return check
    return None


def late_of(task: Task) -> Foreach | None:
    """The group whose stages are not known yet that `task` stands for."""
    return (task.meta or {}).get(LATE) if task.loader else None
