"""What a person does when they stop a stage, a group, a run or all of a project: one way for command, dashboard and MCP.

Rules this file keeps: what is stopped is written down first (see stops.py); as long as a run follows a stage, that run ends it,
and nobody else touches it; where there is none, we hold its lock meanwhile. What is said was done was done.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from dodo_claude.config.records import Config, Stage
from dodo_claude.control import detached
from dodo_claude.control.project import RUN, project_tmux, stage_name
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.machine.server import TmuxError
from dodo_claude.machine.tmux import Tmux
from dodo_claude.report import runs, status
from dodo_claude.report.attempts import touched
from dodo_claude.report.status import StageStatus
from dodo_claude.run import lock
from dodo_claude.run.lock import RunInProgressError
from dodo_claude.run.run import Run
from dodo_claude.state import events as lifecycle
from dodo_claude.state.journal import StageLog
from dodo_claude.state.stops import ALL, USER, Stops, reason
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.states import AT_WORK, DONE, FAILED, STOPPED, WAITING
from dodo_claude.worker import recovery

# How long a run may take to end what it was told to end: a worker has some seconds to go by itself.
PATIENCE = 30.0
# How often that is looked at: it is an event of another process's.
LOOK_SECONDS = 0.05
NOTHING = "nothing is at work, and no session is left"
GOES_ON = "doit orchestrate goes on with it"


def stop(config: Config, worker: str | None, sender: str = USER) -> list[str]:
    """Stop `worker`: a stage, or its session's name, a group, or RUN for a detached run; None: all of the project.

    A line for each that says what was done. Raises `DodoClaudeError` when there is no such stage.
    """
    tmux = project_tmux(config)
    lines: list[str] = []
    stages = () if worker == RUN else _named(config, worker)
    at_work: list[Stage] = []
    ended = False
    if worker is None:
        holder = detached.holder(config.root)
        if holder is not None:  # before the run itself is asked to end: it knows why then
            now = {each.name: each.state for each in _status(config, holder, tmux).stages}
            at_work = [stage for stage in stages if now[stage.name] in AT_WORK]
            Stops(config.root / STATE_DIR).give(ALL, sender, holder)
    if worker in (None, RUN):
        ended = detached.stop(config, tmux)
        if ended or worker == RUN:
            lines.append("run: ended" if ended else "run: there is no detached run")
    if stages:
        by_all = frozenset(stage.name for stage in at_work)
        lines += _stop(config, tmux, stages, sender, everything=worker is None, by_all=by_all)
    if not ended:  # what had come to its end by the order for all, before it was asked for by name
        for stage in at_work:
            if not any(line.startswith(f"{stage.name}: ") for line in lines):
                log = StageLog(config.root / STATE_DIR, stage.name)
                lines.append(f"{stage.name}: {_came_to(log, reason(sender))}")
    tmux.server.stop_if_empty()
    return lines


def _named(config: Config, worker: str | None) -> tuple[Stage, ...]:
    if worker is None:
        return config.stages
    found = tuple(config.named(worker))  # a stage, or all of a group
    if not found and any(late.group == worker for late in config.late):
        raise DodoClaudeError(
            f"'{worker}': its stages are not known yet (dodo-claude stop --all stops a run)"
        )
    name = "" if found else stage_name(config, worker)
    return found or tuple(stage for stage in config.stages if stage.name == name)


def _stop(
    config: Config,
    tmux: Tmux,
    stages: Sequence[Stage],
    sender: str,
    *,
    everything: bool,
    by_all: frozenset[str] = frozenset(),
) -> list[str]:
    """`by_all`: stages that were at work when the order for all was given, which may have ended them by now."""
    while True:
        holder = detached.holder(config.root)
        if holder is None:
            run = Run(config)
            try:
                return _without_a_run(run, tmux, stages, sender, everything=everything, by_all=by_all)
            except RunInProgressError:
                continue  # it began just now
            finally:
                run.close()
        told = _by_the_run(config, tmux, stages, sender, holder, everything=everything, by_all=by_all)
        if told is not None:
            return told


# -- a run follows them


def _by_the_run(
    config: Config,
    tmux: Tmux,
    stages: Sequence[Stage],
    sender: str,
    holder: str,
    *,
    everything: bool,
    by_all: frozenset[str],
) -> list[str] | None:
    """Have the run `holder` end them. None: it is gone before it did."""
    state = config.root / STATE_DIR
    stops, sessions = Stops(state), tmux.server.sessions()
    current = _status(config, holder, tmux)
    now = {each.name: each for each in current.stages}
    # One that has not written its plan has begun nothing: what is at work, an earlier one left.
    planned = (current.run.id or "").endswith(f"-{current.run.pid}")
    began = max(runs.last_start(state), lock.taken(state))
    asked: list[tuple[Stage, bool]] = []
    lines = []
    for stage in stages:
        how = now[stage.name]
        # Of all of them those that have not begun need no order of their own.
        if how.state in AT_WORK or (how.state == WAITING and not everything):
            begun = (planned and how.state in AT_WORK) or _goes_on(StageLog(state, stage.name), began)
            stops.give(stage.name, sender, holder)
            asked.append((stage, begun))
        elif _take_down(tmux, sessions, stage):
            early = _came_to(StageLog(state, stage.name), reason(sender)) if stage.name in by_all else ""
            lines.append(f"{stage.name}: {early or f'{_already(how)}; its session is removed'}")
        elif not everything:
            lines.append(f"{stage.name}: {_already(how)}: there is nothing to stop")
    deadline = time.monotonic() + PATIENCE
    for stage, begun in asked:
        log = StageLog(state, stage.name)
        if not begun:  # the run takes the order when it comes to the stage, or takes it away at its end
            if detached.holder(config.root) != holder:
                return None  # which was before the order came
            left = _take_down(tmux, sessions, stage)
            how_far = "its worker, whom an earlier run left, is ended" if left else "has not begun"
            lines.append(f"{stage.name}: {how_far}; this run does not begin it")
            continue
        while stops.pending(stage.name) and time.monotonic() < deadline:
            if detached.holder(config.root) != holder:
                return None
            # The run is about to take the order away, or had ended the stage before it came.
            if not _goes_on(log):
                stops.over(stage.name)
                break
            time.sleep(LOOK_SECONDS)
        if stops.pending(stage.name):
            lines.append(f"{stage.name}: is being stopped")
        else:
            lines.append(f"{stage.name}: {_came_to(log, reason(sender))}")
            _take_down(tmux, tmux.server.sessions(), stage)  # of the attempt before, which had failed
    return lines


def _goes_on(log: StageLog, began: float = 0.0) -> bool:
    """Is an attempt under way, or is there to be another? Of the run that began at that time."""
    last = log.last()
    if last is None or touched(last) < began:
        return False
    result = last.result()
    return result is None or (result.get("retry") is True and log.open_attempt() is not None)


def _came_to(log: StageLog, why: str) -> str:
    last = log.last()
    result = (last.result() if last is not None else None) or {}
    if result.get("result") == lifecycle.Result.SUCCEEDED.value:
        return "was done before it could be stopped"
    if result.get("reason") in (why, None):
        return f"stopped; {GOES_ON}"
    return f"ended before it could be stopped: {result['reason']}"


def _already(how: StageStatus) -> str:
    if how.state == DONE:
        return "is done"
    if how.state in (FAILED, STOPPED):
        return f"{'has failed' if how.state == FAILED else 'is stopped'} already"
    return "is not run now"


# -- nobody follows them


def _without_a_run(
    run: Run,
    tmux: Tmux,
    stages: Sequence[Stage],
    sender: str,
    *,
    everything: bool,
    by_all: frozenset[str],
) -> list[str]:
    """End what a run left that was killed. Raises `RunInProgressError`."""
    config = run.config
    run.take_lock()
    state, lines = config.root / STATE_DIR, []
    left = [
        stage for stage in stages if recovery.is_left(stage, state) and StageLog(state, stage.name).last()
    ]
    stops = Stops(state)
    for stage in left:
        stops.give(stage.name, sender, "")
        recovery.clear_left(stage, run.attend(), reason(sender))
        lines.append(f"{stage.name}: stopped; {GOES_ON}")
    # Also what a run was told that was killed before it came to that.
    for name in [*(stage.name for stage in stages), *([ALL] if everything else [])]:
        stops.over(name)
    now: dict[str, StageStatus] = {}
    sessions = tmux.server.sessions()
    for stage in stages:
        taken = _take_down(tmux, sessions, stage)
        if stage in left or (everything and not taken):
            continue
        if stage.name in by_all:
            lines.append(f"{stage.name}: {_came_to(StageLog(state, stage.name), reason(sender))}")
            continue
        now = now or {each.name: each for each in _status(config, None, tmux).stages}
        how = _already(now[stage.name])
        lines.append(
            f"{stage.name}: {how}{'; its session is removed' if taken else ': there is nothing to stop'}"
        )
    return lines


def _take_down(tmux: Tmux, sessions: Mapping[str, tuple[str, str]], stage: Stage) -> bool:
    """Remove the session that is kept of a stage, with all that lives in it. False: there is none."""
    session, mark = sessions.get(stage.session, ("", ""))
    if not mark:
        return False
    try:
        tmux.server.end(session, mark)
    except TmuxError:
        return False  # it went meanwhile
    return True


def _status(config: Config, holder: str | None, tmux: Tmux) -> status.Status:
    return status.look(config, holder, tmux.server.living(), detached.session_name(config))
