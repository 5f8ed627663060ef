"""Stages that are known only when another stage is done, as doit's delayed tasks.

Until then a placeholder stands for their group. Then doit calls for them: the configuration is made anew, which now
knows them, and what waits for the group learns of their targets. What is wrong with them fails the group; it stops
no stage that runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from doit.exceptions import InvalidCommand
from doit.task import DelayedLoader, Task

from dodo_claude.config.findings import listed, show
from dodo_claude.config.records import Config, Foreach, Stage
from dodo_claude.plugin.tasks import LATE, Fault, freshness_of, stage_of, stage_tasks
from dodo_claude.text.errors import ConfigError, DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.config import Blueprint
    from dodo_claude.run.run import Run


class Late:
    """The late groups of one run."""

    def __init__(self, blueprint: Blueprint, run: Run, settled: Collection[str]) -> None:
        self._blueprint = blueprint
        self._run = run
        self._settled = set(settled)
        self._known: dict[str, Task] = {}
        self._wanted: dict[str, str] = {}  # what the command line names -> the group that may have it
        run.plan_problems = blueprint.plan_problems

    def tasks(self) -> list[Task]:
        """All stages that are known, and a placeholder for each group of those that are not."""
        found = stage_tasks(self._run.config, self._run)
        self._known = {task.name: task for task in found}
        for late in self._run.config.late:
            found.append(self._placeholder(late.group, late))
        return found

    def select(self, names: list[str], tasks: list[Task]) -> list[str]:
        """The names of a command line as doit can take them; for what is not known yet a task is added to `tasks`."""
        taken = {task.name for task in tasks} | {target for task in tasks for target in task.targets}
        chosen = []
        for name in names:
            late = None if name in taken else self._of(name)
            if late is None:
                chosen.append(name)
            elif "*" in name:
                chosen.append(_all_of(name, late))
            else:
                self._wanted[name] = late.group
                tasks.append(self._placeholder(name, late))
                taken.add(name)
                chosen.append(name)
        return chosen

    def _of(self, name: str) -> Foreach | None:
        """The late group that a name, or a target, may belong to."""
        for late in self._run.config.late:
            if name.startswith(f"{late.group}:") or any(re.match(target, name) for target in late.targets):
                return late
        return None

    def _placeholder(self, name: str, late: Foreach) -> Task:
        loader = DelayedLoader(self._creator(late))
        loader.basename = late.group
        doc = f"known when {listed(late.makers)} is done"
        return Task(name, None, task_dep=list(late.makers), loader=loader, meta={LATE: late}, doc=doc)

    def _creator(self, late: Foreach) -> Callable[[], Iterator[Task]]:
        def create() -> Iterator[Task]:
            yield from self._create(late)

        return create

    def _learned(self, late: Foreach) -> tuple[Config | None, str]:
        """The configuration that knows the group; else why not. What left here would end the run at once."""
        try:
            config = self._blueprint.config({*self._settled, late.group})
            names = {stage.name for stage in config.named(late.group)}
            if lacking := config.absent_for(names):
                raise ConfigError(lacking)
            self._run.learn(config)
        except (DodoClaudeError, OSError) as error:
            text = "; ".join(str(error).splitlines())
            if late.plan and isinstance(error, ConfigError):
                text += f" (mend it, or `doit forget {late.makers[0]}` to have it planned anew)"
            return None, text
        except Exception as error:
            return None, f"dodo_claude has a fault: {error!r} (please report it)"
        return config, ""

    def _create(self, late: Foreach) -> Iterator[Task]:
        """Called by doit in its main thread when the makers are done, or failed: then their tasks are not run."""
        wanted = [name for name, group in self._wanted.items() if group == late.group]
        config, text = self._learned(late)
        if config is None:
            needs = list(late.makers)  # of one that failed there is more to say than what came of it
            yield from (Task(name, [Fault(text)], task_dep=needs) for name in (late.group, *wanted))
            return
        self._settled.add(late.group)
        made = {task.name: task for task in stage_tasks(config, self._run)}
        for name, task in self._known.items():
            if name in made:
                _renew(task, made[name], config, late.group)
        inner = (late.group, f"{late.group}:")
        new = {
            name: task
            for name, task in made.items()
            if name not in self._known and (name == inner[0] or name.startswith(inner[1]))
        }
        self._known |= new
        yield from new.values()
        makers = {target: task.name for task in new.values() for target in task.targets}
        for name in wanted:
            if name in makers:
                yield Task(name, None, task_dep=[makers[name]])
            elif name not in new:
                items = listed([stage.name.removeprefix(inner[1]) for stage in config.named(late.group)])
                yield Task(
                    name, [Fault(f"{late.source}: nothing there makes {show(name)} (there are: {items})")]
                )


def _renew(task: Task, made: Task, config: Config, group: str) -> None:
    """What waits for the group learns what its stages make; it has not been looked at by doit yet."""
    stage, freshness = stage_of(task), freshness_of(task)
    if stage is None or freshness is None:
        return
    freshness.config = config
    new = stage_of(made)
    if new is None or not _waits(stage, group):
        return
    task.file_dep = set(made.file_dep)
    freshness.stage = new
    for action in task.actions:
        action.stage = new


def _waits(stage: Stage, group: str) -> bool:
    return any(group == name or group.startswith(f"{name}:") for name in stage.after)


def _all_of(pattern: str, late: Foreach) -> str:
    if pattern == f"{late.group}:*":
        return late.group
    raise InvalidCommand(
        f"{pattern}: the items of {late.group} are known when {listed(late.makers)} is done "
        f"(name them one by one, or take {late.group})"
    )
