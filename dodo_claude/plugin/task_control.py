"""doit's control of tasks, where it takes the square of their number."""

from __future__ import annotations

from doit.control import TaskControl, TaskDispatcher
from doit.task import Task


class StageControl(TaskControl):
    """For many tasks."""

    @staticmethod
    def set_implicit_deps(targets: dict[str, str], task_list: list[Task]) -> None:
        """doit's looks through a list of all that a task waits for, for each of its file_deps."""
        reads = [(task, task.file_dep) for task in task_list]
        for task in task_list:
            task.file_dep = set()
        try:
            TaskControl.set_implicit_deps(targets, task_list)
        finally:
            for task, files in reads:
                task.file_dep = files
        for task, files in reads:
            known = {*task.task_dep}
            for maker in (targets[file] for file in files if file in targets):
                if maker not in known:
                    known.add(maker)
                    task.task_dep.append(maker)

    def task_dispatcher(self) -> TaskDispatcher:
        """What waits comes after what it waits for: else doit keeps for each task a list of all that wait for it."""
        from dodo_claude.plugin.explain import chosen  # a run that is idle has no use for it

        first = [task.name for task in chosen(self, setup=False) if task.loader is None]
        return TaskDispatcher(self.tasks, self.targets, list(dict.fromkeys([*first, *self.selected_tasks])))
