"""Stages as doit tasks: what each stage's freshness hangs on, and the action that drives it.

doit decides what is stale by file_dep and targets; we add one `uptodate` check with what doit can't see:
the stage's definition, its targets' bytes, the messages it quotes, an attempt that a run left.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from doit.action import BaseAction
from doit.dependency import UptodateCalculator
from doit.exceptions import TaskError, TaskFailed, UnmetDependency
from doit.task import Task

from dodo_claude.config.records import Config, Foreach, Stage, enclosing
from dodo_claude.machine.files import disk_problem, write_atomic
from dodo_claude.machine.ours import STATE_DIR, GoneError
from dodo_claude.state.left import Left
from dodo_claude.text.clean import clean_text
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import NOTHING
from dodo_claude.worker import since

if TYPE_CHECKING:
    from dodo_claude.run.run import Run

# What only the journals tell more of: see since.py.
NOT_DONE = "it is not done"
# Definition values longer than this are kept as a digest; shorter ones can be shown by --explain.
_SHOWN = 80
# Under what name doit keeps the group whose stages are not known yet that a placeholder stands for: see late.py.
LATE = "dodo_claude.late"
NO_DIGESTS: Mapping[str, str] = {}


def definition(stage: Stage, environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    """All that makes the stage's result besides the bytes of its file_deps: key -> short value or digest.

    No id, time or absolute path is in it, so that the same stage has the same definition elsewhere.
    """
    from dodo_claude.agents.brief import BRIEF_VERSION
    from dodo_claude.worker import phases

    parts: dict[str, object] = {
        "targets": list(stage.targets),
        "env": dict(stage.env),
        "cwd": stage.cwd,
    }
    optional = {
        "prompt": stage.prompt,
        "command": stage.command,
        "item": stage.item,
        "check": stage.check,
        "allow_unchanged": stage.allow_unchanged or None,
    }
    parts |= {key: value for key, value in optional.items() if value is not None}
    # Of the caller's variables only those that the prompt shows; as digests, for they may be secrets.
    parts |= {f"env.{name}": f"sha256:{digest_text(environ.get(name, ''))}" for name in stage.prompt_env}
    parts |= {f"{phases.KEY}{number}": phases.digest(phase) for number, phase in enumerate(stage.phases, 1)}
    if stage.agent is not None:
        agent = stage.agent
        parts |= {
            "agent": agent.name,
            "agent.command": [*agent.command, *agent.args],
            "model": agent.model or "the agent's default",
            "permission_mode": agent.permission_mode,
            "allowed_tools": sorted(agent.allowed_tools),
            "disallowed_tools": sorted(agent.disallowed_tools),
            "setting_sources": list(agent.setting_sources),
            "brief": BRIEF_VERSION,
        }
        if agent.sandbox:
            parts["sandbox"] = True
    return {key: _short(value) for key, value in parts.items()}


def _short(value: object) -> object:
    text = repr(value)
    # What looks like a secret is not written into doit's state either.
    shown = len(text) <= _SHOWN and NOTHING.text(text) == text
    return value if shown else f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def definition_digest(made: Mapping[str, object]) -> str:
    """Of a definition."""
    return digest_text(json.dumps(made, sort_keys=True))


def definition_digests(config: Config) -> dict[str, str]:
    """Of each stage whose definition is the same in any environment."""
    return {
        stage.name: definition_digest(definition(stage)) for stage in config.stages if not stage.prompt_env
    }


def digest_text(text: str) -> str:
    """A short digest of a message."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class Freshness(UptodateCalculator):
    """doit's `uptodate` callable of one stage. Never raises: doit would end the run."""

    # Made once: doit inspects each callable on each run, which costs more than the check itself.
    __signature__ = inspect.Signature(
        [
            inspect.Parameter("task", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("values", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        ]
    )

    def __init__(
        self, stage: Stage, config: Config, digest: str | None = None, left: Left | None = None
    ) -> None:
        super().__init__()
        self.left = left or Left(config.root / STATE_DIR)
        self.stage = stage
        self.config = config
        self.digest = digest  # of its definition, where that is known already
        self._quoted: dict[str, str] | None = None  # what `messages` was when doit asked last

    def __repr__(self) -> str:
        return "its definition, its targets and what it quotes are as they were, and nobody was cut off at work on it"

    def __call__(self, task: Task, values: Mapping[str, Any]) -> bool:
        try:
            self._quoted = self.messages()
            return next(self.reasons(values), None) is None
        except (OSError, DodoClaudeError):
            return False  # what can't be looked at can't be up to date

    def reasons(self, values: Mapping[str, Any]) -> Iterator[str]:
        """Why the stage is stale by what doit can't see, each in words; lazily, the cheap ones first."""
        recorded = values.get("definition")
        if not isinstance(recorded, dict):
            yield NOT_DONE
            return
        if self.left.possible and self.left.of(self.stage.name):
            from dodo_claude.control.detached import holder

            if (
                holder(self.config.root) is not None
            ):  # who asks is not that run: it does not ask of what it began
                yield "a run is at work on it"
            else:
                yield "an earlier run was cut off while it was at work on it"
        if self.digest is None or values.get("digest") != self.digest:
            yield from since.differences(recorded, definition(self.stage))
        quoted, now = values.get("messages") or {}, self.quoted()
        for name, digest in now.items():
            if quoted.get(name) != digest:
                yield f"the last message of stage '{name}', which its prompt quotes, changed"
        for name in sorted(quoted.keys() - now.keys()):
            yield f"stage '{name}', whose last message its prompt quoted, is not there any more"
        yield from since.changed_targets(self.stage, self.config.root, values.get("targets") or {})

    def made(self) -> dict[str, object]:
        """All that makes the stage's result besides files, what it quotes included."""
        messages = self.messages()
        return {**definition(self.stage), **({"messages": messages} if messages else {})}

    def quoted(self) -> dict[str, str]:
        """As `messages`, when doit last asked, which it does before it starts the stage. Called by any thread."""
        return self.messages() if self._quoted is None else self._quoted

    def messages(self) -> dict[str, str]:
        """The digests of the messages that the prompt quotes, in its report too, as doit's state has them now.

        Only for the thread that opened that state.
        """
        quoted_by = (*self.stage.messages, *self.stage.report)
        groups = dict(self.config.groups) if quoted_by else {}
        found = {}
        for quoted in quoted_by:
            for name in groups.get(quoted, (quoted,)):
                saved = self.get_val(name, "_values_:") or {}
                found[name] = str(saved.get("message", ""))
        return found


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
