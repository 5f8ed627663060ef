"""doit's task loader with our stages in it: dodo.py's tasks, if there is one, and orchestrate.toml's.

Used by every doit command where the project's doit.cfg or pyproject.toml says `loader = "orchestrate"`
(which `dodo-claude init` writes), and by `doit orchestrate` always.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit import loader as doit_loader
from doit.cmd_base import DodoTaskLoader
from doit.exceptions import InvalidCommand, InvalidDodoFile
from doit.globals import Globals
from doit.task import Task

from dodo_claude.control.project import here
from dodo_claude.machine import importing, ownership
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.plugin.backend import DurableDB, keep_unrun
from dodo_claude.plugin.checker import ContentChecker
from dodo_claude.plugin.freshness import definition_digests
from dodo_claude.plugin.tasks import stage_tasks
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.records import Config
    from dodo_claude.plugin import kept
    from dodo_claude.plugin.idle import Idle
    from dodo_claude.plugin.late import Late
    from dodo_claude.run.run import Run

FILE = "orchestrate.toml"
# Our own file and our own format: doit's other commands, run without this loader, never touch it.
STATE = {
    "backend": "orchestrate",
    "dep_file": f"{STATE_DIR}/state.db",
    "check_file_uptodate": ContentChecker,
}


def keeps_elsewhere(chosen: Mapping[str, Any]) -> bool:
    """Does the user keep doit's state elsewhere, by these settings?"""
    return "backend" in chosen or "dep_file" in chosen


class StageLoader(DodoTaskLoader):
    """Loads dodo.py and orchestrate.toml from one folder."""

    def __init__(self) -> None:
        super().__init__()
        # doit imports what its files name for us as soon as we are there, and prints no error of ours as one line.
        if problems := ownership.faults(Path(), ownership.configuration(Path())):
            sys.stderr.write("".join(f"ERROR: {problem}\n" for problem in problems))
            raise SystemExit(3)
        self.path: Path | None = None  # orchestrate.toml, if there is one
        self.dodo: str | None = None  # the dodo.py that was imported, if there is one
        self.stage_config: Config | None = None
        self.run: Run | None = None
        self.late: Late | None = None  # if there can be any
        self.agent: str | None = None  # --agent
        self.settles = (
            False  # stages that are up to date need not be waited for: `doit orchestrate` without -a
        )
        self.may_idle = False  # all stages are wanted, and only if they are stale
        self.idle: Idle | None = None  # if nothing is to be done
        self.question: kept.Question | None = None
        self.looks = False  # nothing will run: nobody need have seen a plan

    def setup(self, opt_values: Mapping[str, Any]) -> None:
        """Find the project, go there, read dodo.py if there is one."""
        dodo, cwd, seek = (opt_values.get(key) for key in ("dodoFile", "cwdPath", "seek_file"))
        try:
            here()
        except DodoClaudeError as error:
            raise InvalidCommand(str(error)) from error
        lent = importing.leave_folder()
        own = dodo == "dodo.py"  # else the user named a file, which must be there
        folder = _project(Path.cwd(), seek=bool(seek)) if own and cwd is None else None
        if own and not (folder or Path(cwd or ".")).joinpath("dodo.py").exists():
            self.namespace = {}
            _enter(folder or Path(cwd or "."), cwd)
        else:
            file = folder / "dodo.py" if folder is not None else _named(str(dodo), seek=bool(seek))
            if problems := ownership.faults(file.parent, [file.name]):
                raise InvalidDodoFile("\n".join(problems))
            if file.exists() and not file.is_file():  # doit would show a traceback
                raise InvalidDodoFile(f"{one_line(file.name)}: is not a plain file (move it away)")
            # doit puts both in front.
            places = [str(file.parent), *([os.path.abspath(cwd)] if cwd is not None else [])]
            with importing.lent(lent, places):
                module = doit_loader.get_module(str(file), cwd)
            self.namespace, self.dodo = dict(inspect.getmembers(module)), file.name
        path = Path.cwd() / FILE
        self.path = path if path.exists() else None
        if self.path is None and not self.namespace:
            raise InvalidDodoFile(
                f"{one_line(str(path))}: not found, and no dodo.py beside it (write one with `dodo-claude init`, or use -d DIR)"
            )

    def load_doit_config(self) -> dict[str, Any]:
        """dodo.py's DOIT_CONFIG, with our state file where the user chose none."""
        config = dict(super().load_doit_config())
        if self.path is None:
            return config
        chosen = {**config, **dict((self.config or {}).get("GLOBAL", {}))}
        if not keeps_elsewhere(chosen):
            config |= STATE
        return config

    def load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        """dodo.py's tasks, then the stages in the file's order."""
        # All that is made here stays: looking for garbage among it takes a quarter of the time.
        collects = gc.isenabled()
        gc.disable()
        try:
            return self._load_tasks(cmd, pos_args)
        finally:
            gc.freeze()
            if collects:
                gc.enable()

    def _load_tasks(self, cmd: Any, pos_args: list[str]) -> list[Task]:
        # A dodo.py that imports our stages by hand would define each of them twice.
        self.namespace = {
            name: value for name, value in self.namespace.items() if not getattr(value, "_dodo_claude", False)
        }
        if self.may_idle and not self.namespace and self.path is not None and self._is_idle(cmd):
            return []
        tasks = list(super().load_tasks(cmd, pos_args)) if self.namespace else []
        if self.path is not None:
            tasks = self._with_stages(tasks, cmd)
        return tasks

    def _is_idle(self, cmd: Any) -> bool:
        """Is it known, from the last time, that nothing is to be done?"""
        from dodo_claude.plugin import idle, kept
        from dodo_claude.run.run import Run
        from dodo_claude.state import left

        assert self.path is not None
        backend, checker = cmd.dep_manager.backend, cmd.dep_manager.checker
        if (
            cmd.sel_tasks is not None
            or not isinstance(backend, DurableDB)
            or type(checker) is not ContentChecker
        ):
            return False
        question = kept.Question(self.path, self.cmd_names, self.agent, {}, set())
        # What a run left that was killed changes none of the files that are compared.
        if not left.may_be(self.path.parent / STATE_DIR):
            self.idle = idle.find(question, backend.before, os.environ)
        if self.idle is None:
            self.question = question
            return False
        self.stage_config = self.idle.config
        self.run = Run(self.stage_config)
        return True

    def keep_idle(self, cmd: Any) -> None:
        """All is up to date, and was looked at."""
        from dodo_claude.plugin import idle

        question, config = self.question, self.stage_config
        if question is not None and config is not None and not config.late:
            idle.keep(question, cmd.dep_manager.backend.before, config, os.environ)

    def _with_stages(self, tasks: list[Task], cmd: Any) -> list[Task]:
        if not cmd.execute_tasks:
            found = self.load_stages(tasks, None)
            if cmd.name == "reset-dep":
                from dodo_claude.plugin import resetting

                cmd.outstream = resetting.Output(
                    cmd.outstream, {task.name for task in found if task.has_subtask}
                )
                resetting.hold(cmd.dep_manager, cmd.outstream.held)
            return bound(tasks, found)
        settled: set[str] = set()
        unseen: set[str] = set()  # plans that a person has to see first, which is done when their turn comes
        found = bound(tasks, self.load_stages(tasks, settled))
        while self.settles and (more := self._settled(found, cmd.dep_manager) - unseen):
            try:
                found = bound(tasks, self.load_stages(tasks, settled | more))
                if new := self._unseen() & more:
                    unseen |= new
                    more -= new
                    found = bound(tasks, self.load_stages(tasks, settled | more))
            except InvalidDodoFile:  # a stage made what can't be used: said when its turn comes, not of all
                found = bound(tasks, self.load_stages(tasks, settled))
                break
            settled |= more
        if cmd.sel_tasks and self.late is not None:
            cmd.sel_tasks = self.late.select(list(cmd.sel_tasks), found)
        return found

    def _settled(self, tasks: list[Task], dep_manager: Any) -> set[str]:
        """The groups whose stages can be known now, since all that makes their items is up to date."""
        config = self.stage_config
        if config is None or not config.late:
            return set()
        from doit.control import TaskControl

        from dodo_claude.plugin.explain import is_current

        control = TaskControl(tasks)
        return {late.group for late in config.late if is_current(control, dep_manager, late.makers)}

    def _unseen(self) -> set[str]:
        """The groups of plans that nobody said yes to."""
        config, run = self.stage_config, self.run
        if self.looks or config is None or run is None or not config.plans:
            return set()
        from dodo_claude.run import approval

        missing = approval.unapproved(config, run.environ)
        return {plan.group for plan in approval.split(config, missing)[1]}

    def load_stages(self, tasks: list[Task], settled: Collection[str] | None) -> list[Task]:
        """The stages as tasks, beside those of a dodo.py. A fault in orchestrate.toml becomes doit's one-line error.

        `settled`: see config.Blueprint.
        """
        from dodo_claude.plugin import kept
        from dodo_claude.run.run import Run

        assert self.path is not None
        if Globals.dep_manager is not None:
            keep_unrun(Globals.dep_manager)
        # A Task object with a command's name would be taken by `doit NAME` for the command.
        names = [*(task.name for task in tasks), *self.cmd_names]
        made_by = {os.path.relpath(target): task.name for task in tasks for target in task.targets}
        delayed = any(task.loader is not None for task in tasks)
        question = kept.Question(self.path, names, self.agent, made_by, settled, delayed)
        found = kept.find(question, os.environ)
        if found is None:
            return self._made(question)
        self.stage_config, digests = found
        self.run, self.late = Run(self.stage_config), None
        return stage_tasks(self.stage_config, self.run, digests)

    def _made(self, question: kept.Question) -> list[Task]:
        """Like load_stages, from the files."""
        from dodo_claude.config import inputs
        from dodo_claude.config.config import Blueprint
        from dodo_claude.plugin import kept
        from dodo_claude.plugin.late import Late
        from dodo_claude.run.run import Run
        from dodo_claude.text.errors import ConfigError, DodoClaudeError

        try:
            with inputs.recording() as seen:
                blueprint = Blueprint(
                    question.path,
                    task_names=question.task_names,
                    agent=question.agent,
                    made_by=question.made_by,
                    delayed=question.delayed,
                )
                self.stage_config = blueprint.config(question.settled)
        except DodoClaudeError as error:
            problems = error.problems if isinstance(error, ConfigError) else (error,)
            raise InvalidDodoFile(not_right(problems)) from error
        self.run = Run(self.stage_config)
        kept.keep(question, self.stage_config, seen, definition_digests, self.run.environ)
        self.late = Late(blueprint, self.run, question.settled or ())
        return self.late.tasks()


def bound(tasks: list[Task], stages: list[Task]) -> list[Task]:
    """All of them. Where a task of dodo.py and a stage name one file each in its way, the one waits for the other: doit
    goes by names alone."""
    if any(task.targets or task.file_dep for task in tasks):
        from dodo_claude.config.paths import Project

        project = Project(os.getcwd())

        def real(path: str) -> str:
            return project.real(os.path.relpath(path))

        for readers, makers in ((stages, tasks), (tasks, stages)):
            made = {real(path): (path, task.name) for task in makers for path in task.targets}
            for reader in readers if made else ():
                for path in reader.file_dep:
                    name, maker = made.get(real(path), (path, ""))
                    if name != path and maker not in reader.task_dep:
                        reader.task_dep.append(maker)
    return tasks + stages


def not_right(problems: Iterable[object]) -> str:
    """What is wrong with orchestrate.toml, as doit's one error."""
    return "\n".join([f"{FILE} is not right:", *map(str, problems)])


def _project(start: Path, *, seek: bool) -> Path:
    """The folder with orchestrate.toml or dodo.py: here, or with `seek` the nearest above."""
    if seek:
        for folder in (start, *start.parents):
            if (folder / FILE).exists() or (folder / "dodo.py").exists():
                return folder
    return start


def _named(dodo: str, *, seek: bool) -> Path:
    """The file as doit finds it: from here, or with `seek` in the nearest folder above."""
    found = Path.cwd() / dodo
    while seek and not found.exists() and found.parent != found.parent.parent:
        found = found.parent.parent / found.name
    return found


def _enter(folder: Path, named: str | None) -> None:
    if named is not None and not folder.is_dir():
        got = one_line(f"'{named}'({folder.resolve()})")
        raise InvalidCommand(f"Specified 'dir' path must be a directory.\nGot {got}.")
    doit_loader.initial_workdir = os.getcwd()  # doit.get_initial_workdir() promises it
    os.chdir(folder)
