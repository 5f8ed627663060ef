"""Bringing a stage to its end across attempts, crashes and runs: recovery is the normal path.

What an earlier run left is looked at first: a finished result is taken over, a worker that still lives is
adopted, a dead one's session is resumed, and only else does a fresh worker start, which is told what the last
one left. Never two workers on one stage.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from dodo_claude.agents.table import agent_of
from dodo_claude.config.config import Stage
from dodo_claude.machine.files import disk_problem
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state import basis
from dodo_claude.state.events import SERVER_DIED, Outcome, Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.mail import REFUSED, Mailbox
from dodo_claude.text.durations import in_words
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker import phases, verify
from dodo_claude.worker.command import Command
from dodo_claude.worker.policy import LONGEST_WAIT
from dodo_claude.worker.recheck import Candidate, NotAgainError, Recheck, find
from dodo_claude.worker.services import Done, Services
from dodo_claude.worker.work import Work
from dodo_claude.worker.worker import Worker

# A worker that dies before it takes its prompt will hardly do better the third time.
STARTUP_TRIES = 2
# So often is one session resumed without a tool call between; then a fresh one starts.
RESUMES = 2
# Progress forgives earlier failures, but nothing goes on for ever.
MOST_ATTEMPTS = 20


def drive(stage: Stage, definition: Mapping[str, object], services: Services) -> Done:
    """Bring `stage` to an end: take over what an earlier run left, else run it, with its retries.

    `definition` is all that makes the result besides the bytes of its files: see `freshness.definition`.
    Raises `DodoClaudeError` for a disk that can't be written.
    """
    log = StageLog(services.state, stage.name, services.redact)
    begun = True
    try:
        log.sweep()
        left, last = log.open_attempt(), log.last()
        stopped = services.stops.left(stage.name)
        if last is not None and last.result() is None and (left is None or left.number != last.number):
            # It never ended, and doit, or a damaged marker, forgot it: its worker may live all the same.
            _clear_away(stage, services, last, stopped)
        if left is not None:
            ends = services.force or (stopped is not None and left.result() is None)
            done = None if ends else _take_over(stage, definition, services, left)
            if done is not None:
                return done
            _clear_away(stage, services, left, stopped)
        again = None if services.force else _check_again(stage, definition, services, log)
        if again is not None:
            return again
        done = _attempts(stage, definition, services, log)
        begun = done.attempt > 0
        return done
    except OSError as error:
        raise DodoClaudeError(disk_problem(error, services.state)) from error
    finally:
        if begun:  # else the order stays, for who asks why it did not begin
            services.stops.over(stage.name)
        _close_mail(log)


def checked_again(stage: Stage, definition: Mapping[str, object], root: Path) -> str:
    """What a run would check again before anybody works, and why, in words; "": nothing."""
    try:
        found = find(stage, definition, root, StageLog(root / STATE_DIR, stage.name))
    except NotAgainError:
        return ""
    return f"{found.why}: what attempt {found.attempt.number} made is checked again before anybody works"


def recheck(stage: Stage, definition: Mapping[str, object], services: Services) -> tuple[Done, str]:
    """Check the files of the stage's last attempt again, because somebody asks for it; with whose they are, and why.

    NotAgainError where there are none. Nobody works, whatever comes of it.
    """
    log = StageLog(services.state, stage.name, services.redact)
    log.sweep()
    last = log.last()
    if last is not None and last.result() is None:
        _clear_away(stage, services, last)
    found = find(stage, definition, services.root, log, asked=True)
    return _recheck(
        stage, definition, services, log, found
    ).run(), f"attempt {found.attempt.number}: {found.why}"


def _check_again(
    stage: Stage, definition: Mapping[str, object], services: Services, log: StageLog
) -> Done | None:
    """Before anybody works: is what an earlier attempt made good by now? None: somebody has to work."""
    try:
        found = find(stage, definition, services.root, log)
    except NotAgainError:
        return None
    if services.stop_reason(stage.name) is not None:
        return None
    work = _recheck(stage, definition, services, log, found)
    done = work.run()
    return done if work.settles(done.outcome) else None


def _recheck(
    stage: Stage, definition: Mapping[str, object], services: Services, log: StageLog, found: Candidate
) -> Recheck:
    work = Recheck(stage, definition, services, log.begin(), found)
    work.verified = held(stage, definition, services.root, found.attempt)
    return work


def is_left(stage: Stage, state: Path) -> bool:
    """Did a run begin an attempt that has no end?"""
    with contextlib.suppress(OSError):
        last = StageLog(state, stage.name).last()
        return last is not None and last.result() is None
    return True  # what can't be looked at


def clear_left(stage: Stage, services: Services, reason: str | None = None) -> None:
    """A worker of an earlier run whose stage this one did not come to, or comes to no more, works for nobody: end it.

    `reason`: why, if it is not just that its run was cut off.
    """
    log = StageLog(services.state, stage.name, services.redact)
    log.sweep()
    last = log.last()
    if last is not None:
        _clear_away(stage, services, last, reason or services.stops.left(stage.name))
    _close_mail(log)


def _close_mail(log: StageLog) -> None:
    """No worker takes messages any more; of those that were not delivered, whoever sent them is told."""
    refused, last = Mailbox(log).close(), log.last()
    if refused and last is not None:
        with contextlib.suppress(OSError):
            last.record(REFUSED, letters=refused)


def _attempts(stage: Stage, definition: Mapping[str, object], services: Services, log: StageLog) -> Done:
    failures = 0
    reason = services.stop_reason(stage.name)
    done = Done(Outcome(Result.ABORTED, reason or ""), 0)
    if reason is not None:
        return done  # nothing begins any more
    for _ in range(MOST_ATTEMPTS):
        worker = _kind(stage)(stage, definition, services, log.begin())
        last = _last(log, worker.attempt.number)
        if last is not None and not services.force:
            worker.resume = _resumable(stage, definition, services, last)
            worker.handover = last if worker.resume is None else None
            if worker.resume is None:
                worker.verified = held(stage, definition, services.root, last)
        done = worker.run()
        # Before the question of a retry: three that fail alike stop the run, whether or not each may try again.
        if done.outcome.kind:
            # All workers of a server that dies are one failure, not as many as there are.
            lost = done.outcome.kind == SERVER_DIED
            services.fleet.failed(done.outcome.kind, SERVER_DIED if lost else stage.name)
        if not done.outcome.retry or services.fleet.stopped is not None:
            return done
        failures = 1 if worker.view.tools else failures + 1
        # A session that was killed before it was written down can't be resumed: that says nothing of a fresh one.
        begins = worker.view.prompts or worker.resume is not None
        allowed = stage.retries if begins else min(stage.retries, STARTUP_TRIES - 1)
        if failures > allowed:
            return done
        # Stopped meanwhile, the next attempt ends before it begins: that is written down as its own end.
        _wait(worker, failures, services, done.outcome.reason)
    return done


def held(
    stage: Stage, definition: Mapping[str, object], root: Path, last: Attempt
) -> list[dict[str, object]]:
    """Of a stage in phases: what an attempt that failed had done of them, and holds."""
    known = basis.of(last) if stage.phases else basis.Basis()
    changed = verify.changed(root, known.inputs, stage.file_dep)
    return phases.kept(stage, definition, root, known.phases, changed)


def phases_held(stage: Stage, definition: Mapping[str, object], root: Path) -> int:
    """How many phases a run would not do again."""
    log = StageLog(root / STATE_DIR, stage.name)
    last = _last(log, (log.attempts() or [0])[-1] + 1) if stage.phases else None
    return len(held(stage, definition, root, last)) if last is not None else 0


def _kind(stage: Stage) -> type[Work]:
    return Command if stage.agent is None else Worker


def _wait(worker: Work, failures: int, services: Services, reason: str) -> None:
    """Wait before the next attempt, unless there is to be none."""
    seconds = services.fleet.retry_delay(failures)
    worker.tell(f"tries again in {in_words(seconds)}: {reason}")
    bell = services.waker.register(worker.ring)
    try:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            bell.clear()  # before looking; it rings for others, too
            if worker.stop_reason is not None:
                break
            bell.wait(min(left, LONGEST_WAIT))
    finally:
        services.waker.forget(worker.ring)


# -- what earlier attempts left


def _take_over(
    stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
) -> Done | None:
    """An attempt that doit never settled, since the run that made it was killed.

    Finished, and all as it was: that is the result. Its worker still lives and works on the same
    definition and inputs: go on with it. Else None.
    """
    worker = _kind(stage).recalled(stage, definition, services, attempt)
    result = attempt.result()
    if result is not None:
        good = result.get("result") == Result.SUCCEEDED.value and worker.same_inputs
        recorded = result.get("targets")
        targets = recorded if isinstance(recorded, dict) else {}
        if good and all(verify.same_bytes(services.root / name, targets.get(name)) for name in stage.targets):
            return worker.done_again(result)
    elif worker.same_inputs and worker.alive():
        return worker.run()
    return None


def _clear_away(stage: Stage, services: Services, attempt: Attempt, reason: str | None = None) -> None:
    worker = _kind(stage).recalled(stage, {}, services, attempt)
    worker.remove()
    if attempt.result() is None:
        worker.finish(Outcome(Result.ABORTED, reason or "its run was cut off", retry=True))


def _last(log: StageLog, number: int) -> Attempt | None:
    """The attempt before `number`, if it failed. One that was stopped before it took its prompt tells nothing."""
    for other in reversed([other for other in log.attempts() if other < number]):
        attempt = Attempt(log, other)
        result = attempt.result()
        if result is None or result.get("result") == Result.SUCCEEDED.value:
            return None
        verified = result.get("rechecks") and result.get("retry")  # phases, without a worker
        if result.get("result") != Result.ABORTED.value or result.get("prompts") or verified:
            return attempt
    return None


def _resumable(
    stage: Stage, definition: Mapping[str, object], services: Services, last: Attempt
) -> Work | None:
    """The last attempt, when its session can go on: cut off in mid-work, and all as it was then."""
    result = last.result()
    if result is None or not agent_of(stage.agent).can.resume:
        return None
    cut_off = result.get("retry") is True or result.get("result") in (
        Result.ABORTED.value,
        Result.TIMED_OUT.value,
    )
    if not cut_off or not result.get("session_id") or not result.get("prompts"):
        return None
    if isinstance(result.get("resumes"), int) and int(str(result["resumes"])) >= RESUMES:
        return None
    worker = Worker.recalled(stage, definition, services, last)
    edited = result.get("edited")
    worker.edited = tuple(map(str, edited)) if isinstance(edited, list) else ()
    # What was changed under it, it is told of.
    same = worker.same_definition and not {*worker.changed_inputs()} - {*worker.edited}
    return worker if same and not worker.summed_up() else None
