"""How a project's stages are now, as a record and as lines for a terminal: from its journals alone, run or no run.

What a run came to is gather.py's; this says what each stage is at this moment, whichever run that is from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dodo_claude.agents import faults
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import processes
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report import gather, runs
from dodo_claude.report.record import StageReport
from dodo_claude.state import basis
from dodo_claude.state.events import Result, State, View
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.cells import cells, clip, clock, count, dollars, fill
from dodo_claude.text.clean import clean_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.text.states import (  # fmt: skip
    ASKS,
    AT_WORK,
    BLOCKED,
    DONE,
    FAILED,
    IDLE,
    NOT_RUN,
    NOW,
    PAUSED,
    RUNNING,
    SETTLED,
    STOPPED,
    WAITING,
)
from dodo_claude.worker import since

VERSION = 1  # of the JSON: the next when a key goes or changes its meaning
MOST_CHANGES = 2  # of what changed since a stage was done, so many are named
MOST_NAME = 28  # columns of a stage's name


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The run that is in progress, or the last one."""

    id: str | None  # null: there was none
    live: bool
    pid: int | None
    since: str | None  # 'YYYY-MM-DD HH:MM:SS', of one in progress
    tmux: str | None  # the session that a detached run is in
    in_tmux: str | None  # running | ended


@dataclass(frozen=True, slots=True)
class Question:
    """What a worker asks. `id` says which of several an answer is for."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is heard of a worker at work."""

    since: float  # seconds since 1970
    text: str  # what its client says of that; '': nothing
    tries: str  # how often that has asked again, 'attempt 2 of 11'; '': nobody knows


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage. `about`: what it is blocked on, asks, waits for, or why it failed."""

    name: str
    group: str | None
    agent: str | None  # null: a command
    state: str  # one of states.NOW
    about: str
    request: str | None  # of a permission that `dodo-claude allow` and `deny` can answer
    activity: str  # what its worker does now
    percent: int | None  # as the worker says itself
    progress: str
    seconds: float
    tokens: int
    cost_usd: float | None
    attempt: int | None  # the number of its last one
    tmux: str  # its session's name
    in_tmux: str | None  # running | ended
    session_id: str | None  # the client's
    waits_for: tuple[str, ...]
    asks: tuple[Question, ...] = ()
    silent: Silence | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """The project."""

    version: int
    name: str
    run: RunStatus
    states: dict[str, int]
    tokens: int
    cost_usd: float | None
    stages: tuple[StageStatus, ...]


def look(
    config: Config, holder: str | None, sessions: Mapping[str, bool], detached: str, redact: Redactor = NOTHING
) -> Status:  # fmt: skip
    """`holder`: who runs it now, as the lock says. `sessions`: of ours in tmux by name, does it still run?
    `detached`: what the session of a detached run is called."""
    state = config.root / STATE_DIR
    words = (holder or "").split(" ", 3)
    pid = int(words[1]) if len(words) > 1 and words[1].isdecimal() else None
    try:
        span = runs.find(state, None)
    except DodoClaudeError:
        span = runs.Span("", 0.0)
    live = pid is not None and span.id.endswith(f"-{pid}")
    chosen = runs.chosen(state, span.id) if live and span.id else None
    report = gather.report(
        config, runs.Span(span.id, span.started, live=live, holder=holder or ""), redact=redact
    )
    good = frozenset(stage.name for stage in config.stages) if live else gather.as_they_were(config)
    stages = tuple(
        _stage(stage, _now(told, good), chosen is None or stage.name in chosen, state, sessions, redact)
        for stage, told in zip(config.stages, report.stages, strict=True)
    )
    run = RunStatus(
        id=clean_line(span.id) or None,
        live=holder is not None,
        pid=pid,
        since=clean_line(words[3]) if len(words) > 3 else None,
        tmux=detached if detached in sessions else None,
        in_tmux=_there(sessions, detached),
    )
    counted = {name: sum(stage.state == name for stage in stages) for name in NOW}
    return Status(
        version=VERSION,
        name=config.name,
        run=run,
        states={name: number for name, number in counted.items() if number},
        tokens=report.totals.tokens,
        cost_usd=report.totals.cost_usd,
        stages=stages,
    )


def _now(told: StageReport, good: frozenset[str]) -> StageReport:
    """What was done is so no more once its inputs or targets are others."""
    return told if told.state not in SETTLED or told.name in good else replace(told, state=NOT_RUN)


def _stage(
    stage: Stage, told: StageReport, chosen: bool, folder: Path, sessions: Mapping[str, bool], redact: Redactor
) -> StageStatus:  # fmt: skip
    log = StageLog(folder, stage.name)
    last = log.last()
    state, about, view = told.state, told.reason, View()
    if state in SETTLED:
        state, about = DONE, ""
    elif state == RUNNING:
        view = last.view() if last is not None else view
        state, about = (WAITING, told.reason) if last is None or last.result() else at_work(view)
    elif state == STOPPED and last is not None and last.result() is None and _lives(last):
        view, state, about = _unfollowed(stage, last)
    elif state == WAITING and chosen:
        about = f"for {', '.join(told.waits_for)}" if told.waits_for else ""
    elif state in (WAITING, NOT_RUN) and last is not None and last.result() is None and _lives(last):
        view, state, about = _unfollowed(stage, last)
    elif state in (WAITING, NOT_RUN):
        state, about = _before(stage, last)

    def line(text: str) -> str:
        return clean_line(redact.text(text.replace(f"{log.dir.parents[2]}/", "")))

    return StageStatus(
        name=stage.name,
        group=stage.group,
        agent=told.agent,
        state=state,
        about=line(about),
        request=(view.request or None) if state == BLOCKED else None,
        activity=line(view.activity),
        percent=view.percent,
        progress=line(view.progress),
        seconds=told.seconds,
        tokens=told.tokens,
        cost_usd=told.cost_usd,
        attempt=last.number if last is not None else None,
        tmux=stage.session,
        in_tmux=_there(sessions, stage.session),
        session_id=told.attempts[-1].session_id if told.attempts else None,
        waits_for=told.waits_for,
        asks=tuple(Question(line(ask.id), line(ask.text)) for ask in view.asks),
        silent=silent(view, line) if state == RUNNING else None,
    )


def _there(sessions: Mapping[str, bool], name: str) -> str | None:
    return None if name not in sessions else "running" if sessions[name] else "ended"


def at_work(view: View) -> tuple[str, str]:
    """The state of a stage that a worker works on, and what is to be said about that."""
    match view.state:
        case State.BLOCKED:
            return BLOCKED, view.blocked_on or "a dialog"
        case _ if view.asks:
            return ASKS, view.asks[-1].text
        case State.PAUSED:
            return PAUSED, view.error_text or faults.pause(view.error or "")
        case State.IDLE:
            return IDLE, "interrupted" if view.held else "its check runs" if view.checking else ""
        case _ if view.unheard:
            return RUNNING, since.silence(view)
    return RUNNING, "" if view.activity or view.pane is None else "starts"


def silent(view: View, line: Callable[[str], str] = clean_line) -> Silence | None:
    """Of a worker at work of which nothing is heard: since when, and why. `line` cleans a text."""
    return Silence(round(view.unheard, 3), line(view.unheard_for), line(view.tries)) if view.unheard else None


def _unfollowed(stage: Stage, attempt: Attempt) -> tuple[View, str, str]:
    """Of a worker that its run left: what it does, and the state of its stage."""
    view = attempt.view()
    state, about = at_work(view)
    left = f"nobody follows it: doit orchestrate takes it over, dodo-claude stop {stage.name} ends it"
    return view, state, "; ".join(filter(None, (about, left)))


def _lives(attempt: Attempt) -> bool:
    pid, nonce = attempt.view().pid, basis.of(attempt).nonce
    return pid is not None and nonce is not None and processes.lives(pid, nonce)


def _before(stage: Stage, last: Attempt | None) -> tuple[str, str]:
    """What an earlier run left of a stage that this one has not come to."""
    result = last.result() if last is not None else None
    if last is not None and result is None:
        return STOPPED, "its run was cut off"
    how = str((result or {}).get("result"))
    if how in (Result.FAILED.value, Result.TIMED_OUT.value):
        return FAILED, str((result or {}).get("reason") or "")
    if how == Result.ABORTED.value:
        return STOPPED, str((result or {}).get("reason") or "")
    return NOT_RUN, _changed(stage, last) if last is not None and how == Result.SUCCEEDED.value else ""


def _changed(stage: Stage, last: Attempt) -> str:
    """What of a stage that was done is other than it was."""
    targets, root = (last.result() or {}).get("targets"), last.log.dir.parents[2]
    found = [
        *since.changed_files(stage, root, basis.of(last).inputs),
        *since.changed_targets(stage, root, targets if isinstance(targets, dict) else {}),
    ]
    more = f" and {len(found) - MOST_CHANGES} more" if len(found) > MOST_CHANGES else ""
    return f"{', '.join(found[:MOST_CHANGES])}{more}" if found else since.how(last)


# -- told


def to_json(status: Status) -> str:
    """The record as JSON: the names of the fields are its keys."""
    return json.dumps(asdict(status), indent=1) + "\n"


def text(status: Status, width: int | None = None) -> str:
    """For a terminal of `width` columns; None: no line is cut."""
    lines = [_run(status.run)]
    names = min(max((cells(stage.name) for stage in status.stages), default=0), MOST_NAME)
    for stage in status.stages:
        used = [
            fill(clock(stage.seconds), 7) if stage.seconds else " " * 7,
            fill(count(stage.tokens), 5) if stage.tokens else " " * 5,
            fill(dollars(stage.cost_usd), 7),
        ]
        line = f"{fill(stage.name, names)}  {stage.state:<7}  {' '.join(used)}  {'  '.join(said(stage))}".rstrip()
        lines.append(line if width is None else clip(line, width))
    sums = ", ".join(f"{number} {state}" for state, number in status.states.items())
    used = [f"{count(status.tokens)} tokens"] if status.tokens else []
    used += [dollars(status.cost_usd)] if status.cost_usd is not None else []
    lines.append("; ".join(filter(None, [sums or "no stages", ", ".join(used)])))
    sessions: list[StageStatus | RunStatus] = [status.run, *status.stages]
    there = [f"{each.tmux} ({_in_tmux(each)})" for each in sessions if each.in_tmux]
    lines.append(f"in tmux: {', '.join(there)}" if there else "no worker is in tmux")
    return "\n".join(lines) + "\n"


def said(stage: StageStatus) -> list[str]:
    """What there is to say about a stage, the most important first."""
    parts = (
        [stage.about]
        if stage.state != WAITING or not stage.waits_for
        else [f"for {', '.join(stage.waits_for)}"]
    )
    if stage.request is not None:
        parts[0] += f" ({answers(stage.name)})"
    parts.append(f"{stage.percent} % {stage.progress}".rstrip() if stage.percent is not None else "")
    parts.append(stage.activity if stage.state in AT_WORK else "")
    parts.append(f"attempt {stage.attempt}" if (stage.attempt or 0) > 1 and stage.state in AT_WORK else "")
    return list(dict.fromkeys(filter(None, parts)))


def answers(name: str) -> str:
    """The commands that answer a request of stage `name` for a permission."""
    return f"dodo-claude allow {name}, deny {name}, or attach {name}"


def _run(run: RunStatus) -> str:
    if not run.live:
        return f"no run is in progress (the last: {run.id})" if run.id else "no run is in progress"
    since = f" since {run.since}" if run.since else ""
    where = f" in tmux session {run.tmux} (dodo-claude attach run)" if run.in_tmux == "running" else ""
    return f"a run is in progress: pid {run.pid or 'unknown'}{since}{where}"


def _in_tmux(stage: StageStatus | RunStatus) -> str:
    return "running" if stage.in_tmux == "running" else "ended, its screen is kept"
