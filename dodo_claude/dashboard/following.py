"""How a project's stages are, followed as it changes, by a thread of its own: the journals' new bytes in, a Desk out.

Rules this file keeps: each event of a worker at work is read once; what was told is looked at as a whole only when an
attempt, or a run, began or ended; between two looks passes a moment, so that many events make one picture.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dodo_claude.agents.usage import TranscriptReader, cost_of
from dodo_claude.config.records import Config, Stage
from dodo_claude.control import detached
from dodo_claude.dashboard import desk
from dodo_claude.dashboard.desk import Desk
from dodo_claude.machine import files
from dodo_claude.machine.changes import Change, Changes
from dodo_claude.machine.files import disk_problem
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report import attempts, board, runs, status
from dodo_claude.report.status import StageStatus
from dodo_claude.state.bus import Bus
from dodo_claude.state.events import OUTCOME, PAUSED, State, View
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.lifecycle import advance
from dodo_claude.state.stops import FOLDER
from dodo_claude.text.clean import clean_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.text.states import DONE, RUNNING

# At least so long between two pictures; clocks go on so often while a run is in progress.
PAUSE_SECONDS, CLOCK_SECONDS = 0.25, 1.0
# How often tokens and dollars of workers at work are looked at; they come without an event.
USED_SECONDS = 2.0
# A session goes from tmux a moment after its attempt is over.
TMUX_SECONDS = 1.0


@dataclass(slots=True)
class _Spent:
    """What earlier attempts of a run used, and what the session that goes on had told by then."""

    seconds: float = 0.0
    tokens: int = 0
    cost: float | None = None
    sessions: dict[str, tuple[int, float]] = field(default_factory=dict)


@dataclass(slots=True)
class _Tracked:
    """The last attempt of one stage."""

    attempt: Attempt
    over: bool  # it has a result
    spent: _Spent
    view: View = field(default_factory=View)
    first: float = 0.0  # wall times of its first and last event
    last: float = 0.0
    events: int = 0
    until: float = 0.0  # of its pause
    reader: TranscriptReader | None = None
    tokens: int = 0
    cost: float | None = None
    status_at: int = 0  # when its status line's file was last written


class Following:
    """Knows how all stages are. `desk` is replaced, never changed: any thread may read it."""

    def __init__(
        self, load: Callable[[], Config], sessions: Callable[[Config], Mapping[str, bool]],
        changed: Callable[[], None], redact: Redactor = NOTHING, changes: Changes | None = None,
    ) -> None:  # fmt: skip
        """`sessions`: of ours in tmux by name, does it still run? `changed` is called by the thread after each change."""
        self.desk: Desk = desk.EMPTY
        self.config = load()
        self.fault: Exception | None = None  # the thread ended with it
        self._load, self._tmux, self._changed, self._redact = load, sessions, changed, redact
        self._changes = changes or Changes()
        self._closed = threading.Event()
        self._problem = ""
        self._tracked: dict[str, _Tracked] = {}
        self._told: dict[str, StageStatus] = {}  # as each was when it was last looked at
        self._sessions: Mapping[str, bool] = {}
        self._span = runs.Span("", 0.0)
        self._run = desk.EMPTY.run
        self._ended: float | None = None
        self._used_at = 0.0
        self._tmux_at: float | None = None
        self._folders: dict[Path, str] = {}  # of stages, and of their last attempts, by what they are of
        self._bus = Bus(self.config.root / STATE_DIR)
        self._thread = threading.Thread(target=self._follow, name="dodo-claude-following", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._changes.wake()
        if self._thread.is_alive():
            self._thread.join()
        self._changes.close()

    def counts(self) -> Mapping[str, int]:
        """How many events of each stage's last attempt were read."""
        return {name: tracked.events for name, tracked in list(self._tracked.items())}

    # -- the thread

    def _follow(self) -> None:
        try:
            self._begin()
            while not self._closed.is_set():
                self._closed.wait(PAUSE_SECONDS)
                told = self._changes.wait(self._patience())
                if self._closed.is_set():
                    break
                self._heard(told)
        except Exception as error:  # whoever shows the desk says it: a thread's own would be lost
            self.fault = error
            self._changed()

    def _patience(self) -> float | None:
        if self._run.live or self._tmux_at is not None:
            return CLOCK_SECONDS
        return None if self._changes.is_told else USED_SECONDS

    def _begin(self) -> None:
        root = self.config.root
        self._guarded(lambda: detached.holder(root))  # makes the folder of the project's state
        state = root / STATE_DIR
        for folder in (root, state, state / "stages", state / "runs", state / FOLDER):
            self._changes.watch(folder)
        self._guarded(self._look_at_all)
        self._publish()

    def _heard(self, told: Collection[Change]) -> None:
        """Take in what changed, and make a picture of it."""
        state = self.config.root / STATE_DIR
        journals, looks, everything, reload = set[str](), set[str](), False, False
        for folder, name in told:
            stage = self._folders.get(folder)
            if stage is not None:
                own = folder.parent == state / "stages"
                if not name:
                    looks.add(stage)
                    journals.add(stage)
                elif name == "journal.jsonl":
                    journals.add(stage)
                elif own and name in ("open", "done"):
                    looks |= set() if self._is_done(stage) else {stage}
                elif name == "result.json" or (own and name.isdecimal()):
                    looks.add(stage)
            elif folder == self.config.root:
                reload = reload or name in (self.config.path.name, "")
                if name in (STATE_DIR, ""):
                    everything = self._changes.watch(state) or everything
            elif folder == state:
                everything = everything or name in ("run.lock", "")
                for below in ("stages", "runs", FOLDER):
                    everything = self._changes.watch(state / below) or everything
            elif folder == state / "stages":
                known = {StageLog(state, each.name).dir.name: each.name for each in self.config.stages}
                if name in known:
                    looks.add(known[name])
                else:  # one that was not known before the run came to it
                    reload = True
            elif folder == state / "runs":
                self._changes.watch(folder / name)
                everything = True
            elif folder == state / FOLDER:
                everything = True
            elif folder.parent == state / "runs":
                everything = everything or name in ("plan.toml", "report.json", "")
        if not self._changes.is_told:  # nothing is written when a lock is let go
            everything = everything or (detached.holder(self.config.root) is not None) != self._run.live
        if reload:
            everything = self._reload() or everything
        if everything:
            self._guarded(self._look_at_all)
        else:
            looks |= {name for name in journals if self._read(name)}
            if looks:
                self._guarded(lambda: self._look_at(looks))
        now = time.monotonic()
        if self._run.live and now - self._used_at >= USED_SECONDS:
            self._used_at = now
            for tracked in self._tracked.values():
                if not tracked.over:
                    _look_at_usage(tracked)
        if self._tmux_at is not None and now >= self._tmux_at:
            self._tmux_at = None
            self._sessions = self._tmux(self.config)
        self._publish()

    def _is_done(self, stage: str) -> bool:
        told = self._told.get(stage)
        return self._run.live and told is not None and told.state == DONE

    def _guarded(self, look: Callable[[], object]) -> None:
        """A file that went, or can't be read, is the user's to know and no end of the desk."""
        try:
            look()
        except DodoClaudeError as error:
            self._problem = str(error).splitlines()[0]
        except OSError as error:
            self._problem = disk_problem(error, self.config.root)

    def _reload(self) -> bool:
        try:
            config = self._load()
        except DodoClaudeError as error:
            lines = str(error).splitlines()
            more = f" (and {len(lines) - 1} more: dodo-claude check)" if len(lines) > 1 else ""
            self._problem = "" if self._is_empty() else f"{lines[0]}{more}"
            return False
        self._problem = ""
        changed = config != self.config
        self.config = config
        return changed

    def _is_empty(self) -> bool:
        """So is, for a moment, a file that is about to be written."""
        try:
            return os.stat(self.config.path).st_size == 0
        except OSError:
            return False

    # -- looking

    def _look_at_all(self) -> None:
        config, state = self.config, self.config.root / STATE_DIR
        try:
            self._span = runs.find(state, None)
        except DodoClaudeError:
            self._span = runs.Span("", 0.0)
        if self._span.id:
            self._changes.watch(state / "runs" / self._span.id)
        names = {stage.name for stage in config.stages}
        self._tracked = {name: tracked for name, tracked in self._tracked.items() if name in names}
        self._told = {name: told for name, told in self._told.items() if name in names}
        self._look_at(names)
        self._ended = None
        if not self._run.live and self._span.id:
            told = runs.saved(state, self._span.id)
            lasts = (attempts.touched(tracked.attempt) for tracked in self._tracked.values())
            self._ended = told.ended if told is not None else max(lasts, default=None)

    def _look_at(self, names: set[str]) -> None:
        """All that is known of these stages, anew; of those at work only what is new in their journals."""
        config = self.config
        holder = detached.holder(config.root)
        self._sessions = self._tmux(config)
        self._tmux_at = time.monotonic() + TMUX_SECONDS
        chosen = [stage for stage in config.stages if stage.name in names]
        live = holder is not None
        for stage in chosen:
            self._track(stage)
        rest = [stage for stage in chosen if not (live and self._at_work(stage.name))]
        shown = status.look(
            replace(config, stages=tuple(rest)), holder, self._sessions, detached.session_name(config), self._redact
        )  # fmt: skip
        self._run = shown.run
        self._told |= {told.name: told for told in shown.stages}
        for stage in chosen:
            if stage not in rest:
                self._told[stage.name] = self._fresh(stage)

    def _track(self, stage: Stage) -> None:
        log = StageLog(self.config.root / STATE_DIR, stage.name)
        numbers = log.attempts()
        self._watch(log.dir, stage.name)
        if not numbers:
            self._tracked.pop(stage.name, None)
            return
        tracked = self._tracked.get(stage.name)
        if tracked is None or tracked.attempt.number != numbers[-1]:
            attempt = Attempt(log, numbers[-1])
            spent = _spent(log, numbers[:-1], self._span.started)
            tracked = _Tracked(attempt, attempt.result() is not None, spent)
            self._tracked[stage.name] = tracked
            self._watch(attempt.dir, stage.name)
            if tracked.over:
                self._bus.pass_over(attempt)
        elif not tracked.over:
            tracked.over = tracked.attempt.result() is not None
        self._read(stage.name)

    def _watch(self, folder: Path, stage: str) -> None:
        self._changes.watch(folder)
        self._folders[folder] = stage

    def _at_work(self, name: str) -> bool:
        """Does the run in progress work on it?"""
        tracked = self._tracked.get(name)
        return tracked is not None and not tracked.over and tracked.last >= self._span.started > 0

    def _fresh(self, stage: Stage) -> StageStatus:
        """A stage at work, before its events are looked at."""
        return StageStatus(
            name=stage.name, group=stage.group, agent=stage.agent.name if stage.agent is not None else None,
            state=RUNNING, about="", activity="", percent=None, progress="", seconds=0.0, tokens=0, cost_usd=None,
            attempt=self._tracked[stage.name].attempt.number, tmux=stage.session, in_tmux=None, session_id=None,
            waits_for=(), request=None,
        )  # fmt: skip

    def _read(self, name: str) -> bool:
        """The new events of a stage. True: it must be looked at as a whole."""
        tracked = self._tracked.get(name)
        if tracked is None:
            return True
        began, ended = tracked.last < self._span.started, False
        for told in self._bus.read_one(tracked.attempt):
            event = told.event
            tracked.view = advance(tracked.view, event)
            tracked.first = tracked.first or event.at
            tracked.last = max(tracked.last, event.at)
            tracked.events += 1
            if event.kind == OUTCOME:
                ended = True
            elif event.kind == PAUSED:
                until = event.data.get("until")
                tracked.until = float(until) if isinstance(until, int | float) else 0.0
        tracked.over = tracked.over or ended
        return ended or (began and tracked.last >= self._span.started)

    # -- telling

    def _publish(self) -> None:
        config, now = self.config, time.time()
        needs = config.needs()
        found: dict[str, StageStatus] = {}
        for name in board.in_order([stage.name for stage in config.stages], needs):
            told = self._told.get(name)
            if told is None:
                continue
            tracked = self._tracked.get(name)
            if self._run.live and tracked is not None and self._at_work(name):
                told = self._working(told, tracked, now)
            there = self._sessions.get(told.tmux)
            found[name] = replace(told, in_tmux=None if there is None else "running" if there else "ended")
        self.desk = desk.with_waits(
            Desk(config.name, self._run, found, needs, self._span.started, self._ended, self._notice())
        )
        self._changed()

    def _working(self, told: StageStatus, tracked: _Tracked, now: float) -> StageStatus:
        spent, session = tracked.spent, tracked.view.session_id or ""
        tokens, cost = spent.sessions.get(session, (0, 0.0))
        shown = replace(
            told,
            seconds=spent.seconds,
            tokens=spent.tokens,
            cost_usd=spent.cost,
            attempt=tracked.attempt.number,
            session_id=tracked.view.session_id,
        )
        more = None if tracked.cost is None else max(0.0, tracked.cost - cost)
        view = _relative(tracked.view, f"{self.config.root}/")
        return desk.lived(
            shown, view, max(0.0, now - (tracked.first or now)), max(0, tracked.tokens - tokens), more
        )

    def _notice(self) -> str:
        if self._problem:
            return self._problem
        paused = [
            each for each in self._tracked.values() if not each.over and each.view.state is State.PAUSED
        ]
        if not self._run.live or not paused:
            return ""
        until = max(each.until for each in paused)
        when = time.strftime(" until %H:%M", time.localtime(until)) if 0 < until < 1e11 else ""
        return f"a limit: {len(paused)} worker{'s wait' if len(paused) > 1 else ' waits'}{when}"


def _relative(view: View, root: str) -> View:
    if root in view.activity or (view.blocked_on and root in view.blocked_on):
        return replace(
            view,
            activity=view.activity.replace(root, ""),
            blocked_on=view.blocked_on.replace(root, "") if view.blocked_on else view.blocked_on,
        )
    return view


def _spent(log: StageLog, numbers: list[int], since: float) -> _Spent:
    spent = _Spent()
    for number in numbers:
        attempt = Attempt(log, number)
        result = attempt.result() or {}
        tokens, cost = int(_number(result.get("tokens"))), _number(result.get("cost_usd"))
        session = clean_line(str(result.get("session_id") or ""))
        before = spent.sessions.get(session, (0, 0.0)) if session else (0, 0.0)
        if (last := attempts.touched(attempt)) >= since:
            spent.seconds += min(_number(result.get("seconds")), last - since)  # what was of this run
            spent.tokens += max(0, tokens - before[0])
            if result.get("cost_usd") is not None:
                spent.cost = (spent.cost or 0.0) + max(0.0, cost - before[1])
        if session:
            spent.sessions[session] = (tokens, cost)
    return spent


def _number(value: object) -> float:
    known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e18
    return float(value) if known and isinstance(value, int | float) else 0.0


def _look_at_usage(tracked: _Tracked) -> None:
    if tracked.view.transcript:
        tracked.reader = tracked.reader or TranscriptReader(tracked.view.transcript)
        tracked.tokens = tracked.reader.read().tokens
    file = tracked.attempt.dir / "status.json"
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        written = os.lstat(file).st_mtime_ns
        if written != tracked.status_at:
            tracked.status_at = written
            tracked.cost = cost_of(json.loads(files.read(file)))
