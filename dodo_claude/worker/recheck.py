"""Good work is not done twice: files of an earlier attempt that nothing but a check was against, checked again by
another check, before anybody works. Owns the rule which attempt's files these are.

Rules this file keeps:
* What the files were made from is as it was: the stage's definition but for its checks, its inputs but for the scripts
  of those. And what stands in the targets' places is what the attempt left there: nobody's later edit is overwritten.
* It is an attempt of its own, without a worker, so that a kill leaves what any attempt's kill leaves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from dodo_claude.agents.table import agent_of
from dodo_claude.config import shell
from dodo_claude.config.config import Stage
from dodo_claude.machine import files
from dodo_claude.machine.files import write_atomic
from dodo_claude.state import basis
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.worker import phases, since, verify
from dodo_claude.worker.services import Done, Services, Slot
from dodo_claude.worker.work import Work

# Of a definition: what is about checks. Each phase's has its own; see `phases.apart_from_checks`.
_CHECK = "check"
# A check's failure, as an attempt of 0.1.0 tells of it.
_OLD = "check `"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An attempt whose files are to be checked again."""

    attempt: Attempt
    why: str  # in words
    result: Mapping[str, object]
    verified: int  # phases of it


class NotAgainError(Exception):
    """There is nothing to check again; str() says why, in words. `remedy`: another one than a run."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.remedy = remedy


class OtherAgentError(NotAgainError):
    """Somebody else than who would work now worked on it."""

    def __init__(self, agent: str) -> None:
        super().__init__(f"agent '{agent}' worked on it")
        self.agent = agent


def find(
    stage: Stage, definition: Mapping[str, object], root: Path, log: StageLog, *, asked: bool = False
) -> Candidate:
    """The attempt whose files are to be checked before anybody works on `stage`; NotAgainError.

    `asked`: somebody wants it, though neither the check nor what it runs changed.
    """
    attempt, result = _last(stage, log)
    known = basis.of(attempt)
    if not known.begun:
        raise NotAgainError(f"attempt {attempt.number} does not tell what it was made from")
    begun, inputs, verified = known.begun, known.inputs, len(known.phases)
    how = result.get("result")
    recorded = _table(begun.get("definition"))
    same = recorded == dict(definition)
    who = recorded.get("agent")
    if isinstance(who, str) and definition.get("agent") not in (None, who):
        raise OtherAgentError(who)
    if not same and not _same_but_for_checks(stage, definition, recorded, begun):
        raise NotAgainError("more than its check changed since then")
    files = _table(result.get("check_files"))
    scripts = {*files, *_scripts(stage, root)} - _quoted(stage)
    if {*verify.changed(root, inputs, stage.file_dep)} - scripts:
        then = {name: mark for name, mark in inputs.items() if name not in scripts}
        wanted = replace(stage, file_dep=tuple(name for name in stage.file_dep if name not in scripts))
        raise NotAgainError(f"{next(since.changed_files(wanted, root, then))} since then")
    if how == Result.SUCCEEDED.value and same:
        raise NotAgainError(
            "it is done, and neither its check nor anything else of it changed",
            f"doit forget {stage.name} has it done anew",
        )
    marks = _table(result.get("targets"))
    for name in stage.targets:
        if not _stands(root / name, marks.get(name)):
            raise NotAgainError(f"'{name}' was changed since then")
    why = _why(stage, result, same, files, root) or ("you asked for it" if asked else "")
    if not why:
        raise NotAgainError("neither its check, nor what that runs, changed since it failed")
    return Candidate(attempt, why, result, verified)


def _table(value: object) -> Mapping[str, object]:
    return cast(Mapping[str, object], value) if isinstance(value, dict) else {}


def _last(stage: Stage, log: StageLog) -> tuple[Attempt, Mapping[str, object]]:
    """The newest attempt that tells anything."""
    for number in reversed(log.attempts()):
        attempt = Attempt(log, number)
        result = attempt.result()
        if result is None:
            break  # somebody may be at work on it
        how = result.get("result")
        resumable = agent_of(stage.agent).can.resume
        if how == Result.SUCCEEDED.value:
            if log.is_forgotten():
                raise NotAgainError(f"{since.FORGOTTEN}, after doit forget")
            return attempt, result
        if how == Result.FAILED.value and _by_check(result):
            return attempt, result
        cut_off = result.get("edited") or result.get("unchecked")
        if how == Result.ABORTED.value and cut_off and not resumable:
            return attempt, result
        if how != Result.ABORTED.value or result.get("prompts"):
            raise NotAgainError(f"attempt {number} did not end by its check: {result.get('reason')}")
    raise NotAgainError("no attempt of it came as far as its check")


def _by_check(result: Mapping[str, object]) -> bool:
    reason = str(result.get("reason") or "")
    return result.get("by_check") is True or ("by_check" not in result and reason.startswith(_OLD))


def _same_but_for_checks(
    stage: Stage,
    definition: Mapping[str, object],
    recorded: Mapping[str, object],
    begun: Mapping[str, object],
) -> bool:
    def apart(made: Mapping[str, object]) -> dict[str, object]:
        return {key: value for key, value in made.items() if key != _CHECK and not key.startswith(phases.KEY)}

    if apart(recorded) != apart(definition):
        return False
    if not stage.phases:
        return True
    known = begun.get("apart")
    if known is not None:
        return known == phases.apart_from_checks(stage)
    return all(recorded.get(key) == value for key, value in definition.items() if key.startswith(phases.KEY))


def _quoted(stage: Stage) -> set[str]:
    """What its prompts are made of."""
    parts: list[Stage] = [phases.part(stage, number) for number in range(phases.count(stage))]
    found = [name for part in parts for name in (*part.prompt_files, part.prompt_file) if name]
    return {*found, *(name for _, names in stage.prompt_globs for name in names)}


def _scripts(stage: Stage, root: Path) -> Iterator[str]:
    for check in stage.checks:
        for word in shell.scripts(check, lambda word: (root / stage.cwd / word).is_file()):
            yield os.path.normpath(os.path.join(stage.cwd, word))


def _stands(path: Path, mark: object) -> bool:
    return verify.same_bytes(path, mark) if mark else not os.path.lexists(path)


def _why(
    stage: Stage, result: Mapping[str, object], same: bool, files: Mapping[str, object], root: Path
) -> str:
    """What may make another end of it now; "": nothing."""
    if result.get("edited"):
        return "it was stopped for an edit that may be somebody else's"
    if not same:
        return "only its check changed"
    if result.get("unchecked"):
        return "its check was cut off"
    if result.get("broken") is True:
        return "its check could not be run"
    if result.get("by_check") is True and not result.get("check"):
        return "its plan may be right now"
    changed = [name for name, mark in files.items() if not _stands(root / name, mark)]
    mended = [name for name in changed if name not in stage.targets]
    return f"'{mended[0]}' changed, which its check names" if mended else ""


class Recheck(Work):
    """The attempt that does it."""

    def __init__(
        self,
        stage: Stage,
        definition: Mapping[str, object],
        services: Services,
        attempt: Attempt,
        of: Candidate,
    ) -> None:
        super().__init__(stage, definition, services, attempt)
        self.of = of
        self.again = of.attempt.number

    @property
    def base(self) -> str:
        """Nobody works."""
        return ""

    def _work(self, bell: threading.Event, slot: Slot) -> Outcome:
        message = self.of.result.get("message")
        self.view = replace(self.view, message=message if isinstance(message, str) else "")
        self._begin()
        self.tell(f"checks again what attempt {self.again} made: {self.of.why}")
        verify.put_back(self.services.root, self._unverified(), self.of.attempt.dir / "partial")
        reached = min(self.of.verified + 1, phases.count(self.stage))
        while True:
            if (fault := self._fault(bell)) is not None:
                return fault
            if self.trespasses or self.charged or self.view.phase + 1 >= phases.count(self.stage):
                return self._judge(Outcome(Result.SUCCEEDED))
            self._next_phase()
            if self.view.phase >= reached:
                self._sum_up()
                text = f"phase {self.view.phase} of {phases.count(self.stage)} was checked again, and holds"
                return Outcome(Result.ABORTED, text, retry=True)

    def _sum_up(self) -> None:
        """What a worker begins the next phase with. A session that failed was asked for no summary: its last words do."""
        folder, number = self.attempt.dir, self.view.phase
        phases.take_summaries(self.of.attempt.dir, folder, number)
        next_phase = phases.phase_of(self.stage, number)
        wanted = next_phase is not None and next_phase.handover and self.view.message
        if wanted and not files.is_file(phases.summary(folder, number)):
            text = f"The last words of the session that did phase {number}:\n\n{self.view.message}\n"
            write_atomic(phases.summary(folder, number), self.services.redact.text(text))

    def settles(self, outcome: Outcome) -> bool:
        """Is nobody to work on the stage now?"""
        stopped = outcome.result is not Result.FAILED and not outcome.retry
        return stopped or self.broken

    def finish(self, outcome: Outcome) -> Done:
        """As of any attempt; how long the stage takes, the one says that did it."""
        done = super().finish(outcome)
        seconds = self.of.result.get("seconds")
        return replace(done, seconds=float(seconds)) if isinstance(seconds, int | float) else done
