"""What a run would do, and why: --dry-run and --explain, by doit's own rules and our reasons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from doit.task import Task

from dodo_claude.config.records import AgentProfile
from dodo_claude.plugin.freshness import NOT_DONE
from dodo_claude.plugin.tasks import freshness_of, late_of, stage_of


def chosen(control: Any, *, setup: bool = True) -> list[Task]:
    """The selected tasks of doit's `TaskControl` and all they need, dependencies first.

    `setup`: with what they need only when they run.
    """
    order: dict[str, Task] = {}
    begun: set[str] = set()  # tasks that wait in a circle are doit's to refuse
    path = [(name, False) for name in reversed(control.selected_tasks)]
    while path:
        name, ready = path.pop()
        task = control.tasks[name]
        if ready:
            order[name] = task
        elif name not in begun:
            begun.add(name)
            path.append((name, True))
            needs = [*reversed(task.task_dep), *(task.setup_tasks if setup else ())]
            path += [(need, False) for need in needs if need not in begun]
    return list(order.values())


def is_stale(control: Any, dep_manager: Any, wanted: Callable[[AgentProfile], bool] | None = None) -> bool:
    """Would anything run; with `wanted`, a worker of an agent of which that holds?"""
    for task in chosen(control):
        late = late_of(task)
        if late is not None:
            agent = late.template.agent
            if wanted is None or (agent is not None and wanted(agent)):
                return True
            continue
        stage = stage_of(task)
        agent = stage.agent if stage is not None else None
        # Without `wanted` a dodo.py task counts too: what it makes may make a stage stale.
        counts = bool(task.actions) if wanted is None else agent is not None and wanted(agent)
        if not counts or dep_manager.status_is_ignore(task):
            continue
        if dep_manager.get_status(task, control.tasks).status != "up-to-date":
            return True
    return False


def is_done(task: Task, control: Any, dep_manager: Any) -> bool:
    """Is it a stage, and up to date?"""
    return bool(
        stage_of(task) is not None
        and not dep_manager.status_is_ignore(task)
        and dep_manager.get_status(task, control.tasks).status == "up-to-date"
    )


def is_current(control: Any, dep_manager: Any, names: Collection[str]) -> bool:
    """Would nothing of `names`, and of all that they need, run?"""
    control.selected_tasks = list(names)
    for task in chosen(control):
        if late_of(task) is not None or dep_manager.status_is_ignore(task):
            return False
        if task.actions and dep_manager.get_status(task, control.tasks).status != "up-to-date":
            return False
    return True


def text(control: Any, dep_manager: Any, *, reasons: bool) -> str:
    """A line for each task that would run; with `reasons` for every one, and below it why."""
    lines = []
    stale: set[str] = set()
    for task in chosen(control):
        waits = _named_once(need for need in task.task_dep if need in stale)
        late = late_of(task)
        if late is not None:
            stale.add(task.name)
            lines.append(f"{task.name}: known when {', '.join(late.makers)} is done: {late.source}\n")
            continue
        # What waits for a group that is not known yet, is itself not known in full.
        unknown = any(late_of(control.tasks[need]) is not None for need in task.task_dep)
        why = [] if unknown else _reasons(task, control, dep_manager)
        if why or waits:
            stale.add(task.name)
        if task.has_subtask or not (task.actions or reasons):
            continue
        if reasons and stage_of(task) is not None and dep_manager.status_is_ignore(task):
            lines.append(f"{task.name}: ignored (doit forget undoes it)\n")
            continue
        if why:
            lines.append(f"{task.name}: stale\n")
            lines += [f"    {reason}\n" for reason in why] if reasons else []
        elif waits:
            lines.append(f"{task.name}: looked at again after {', '.join(waits)}\n")
        elif reasons:
            lines.append(f"{task.name}: up to date\n")
    return "".join(lines) or "nothing to do: all is up to date\n"


def _named_once(names: Iterable[str]) -> list[str]:
    """Each once, and no group beside stages of it."""
    found = dict.fromkeys(names)
    return [name for name in found if not any(other.startswith(f"{name}:") for other in found)]


def _phases(task: Task) -> list[str]:
    """What of a stage in phases would not be done again."""
    from dodo_claude.worker.recovery import phases_held

    stage, freshness = stage_of(task), freshness_of(task)
    if stage is None or freshness is None or not stage.phases:
        return []
    number, count = phases_held(stage, freshness.made(), freshness.config.root), len(stage.phases)
    return (
        [f"phase {number} of {count} is done and holds: it goes on with phase {number + 1}"] if number else []
    )


def _again(task: Task) -> list[str]:
    """What of a stage would be checked again first."""
    from dodo_claude.worker.recovery import checked_again

    stage, freshness = stage_of(task), freshness_of(task)
    if stage is None or freshness is None:
        return []
    return list(filter(None, [checked_again(stage, freshness.made(), freshness.config.root)]))


def _reasons(task: Task, control: Any, dep_manager: Any) -> list[str]:
    """Why `task` would run, in words; nothing for one that is up to date."""
    from dodo_claude.worker import since  # a run with nothing to do has no use for it

    if dep_manager.status_is_ignore(task) or not task.actions:
        return []
    status = dep_manager.get_status(task, control.tasks, get_log=True)
    if status.status == "up-to-date":
        return []
    freshness = freshness_of(task)
    found = list(freshness.reasons(dep_manager.get_values(task.name))) if freshness is not None else []
    stage = stage_of(task)
    if found == [NOT_DONE] and stage is not None and freshness is not None:
        known = since.why(stage, freshness.made(), freshness.config.root)
        lacking = freshness.config.absent_for({task.name})
        return [*known, *_phases(task), *_again(task), *map(str, lacking)]
    joined = {*status.reasons.get("added_file_dep", [])}  # doit calls them changed, too
    told = {
        "missing_file_dep": since.MISSING,
        "added_file_dep": since.JOINED,
        "changed_file_dep": since.CHANGED,
        "removed_file_dep": since.LEFT,
        "missing_target": "target '{}' is missing",
    }
    for kind, words in told.items():
        names = [
            name for name in status.reasons.get(kind, []) if kind == "added_file_dep" or name not in joined
        ]
        lines = [words.format(name) for name in names]
        found += [line for line in lines if line not in found]
    found += _again(task)
    if "has_no_dependencies" in status.reasons:
        found.append("it has no file_dep and nothing else to be compared by")
    return found or ["doit says so"]
