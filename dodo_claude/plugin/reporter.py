"""What `doit orchestrate` prints: a line when something happens to a stage, a summary at the end.

Some of it is called by the stages' threads: each line is one write under a lock.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TextIO, cast

from doit.exceptions import BaseFail, UnmetDependency
from doit.reporter import ConsoleReporter
from doit.task import Task

from dodo_claude.config.records import Stage
from dodo_claude.machine import notify
from dodo_claude.machine.question import Streams
from dodo_claude.plugin.tasks import StageStopped, UnmetNeeds, is_ours, stage_of
from dodo_claude.state.stops import not_begun
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import in_words
from dodo_claude.text.states import DONE, FAILED, IGNORED, NOT_RUN, SETTLED, STOPPED, UP_TO_DATE

if TYPE_CHECKING:
    from dodo_claude.plugin.live import Screen
    from dodo_claude.report import board
    from dodo_claude.run.fleet import Fleet
    from dodo_claude.state.events import View
    from dodo_claude.worker.witness import Overwritten

# Columns of a stage's name; longer ones push their line to the right.
_NAME_WIDTH = 14
# Of a run of more stages those that are up to date are only counted.
MOST_SKIPPED = 100
# Files that were overwritten: so many are told of again at the end.
MOST_OVERWRITTEN = 5
_MAX_ACTIVITY = 100  # characters of a worker's present activity
_MAX_MESSAGE = 200  # and of a message to it
# Around what a monitor quotes.
_FENCE = re.compile(r"^</?output [^\n]*mark=[^\n]*>\n?", re.MULTILINE)


class _Lines:
    """The run's text stream. While there is a board, `above` takes its lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.above: Callable[[str], None] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.above is not None:
            self.above(text)
            return len(text)
        return self._stream.write(text)


class StageReporter(ConsoleReporter):
    """doit's reporter for stages. Tasks of a dodo.py are told of as doit does."""

    desc = "a line per event of a stage, and a summary"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        self._lines = _Lines(outstream)
        super().__init__(self._lines, options)
        self._terminal = outstream
        self.failures: list[dict[str, Any]]
        self._lock = threading.Lock()
        self._shown: dict[str, tuple[object, ...]] = {}
        self._began: dict[str, float] = {}
        self._start = time.monotonic()
        self._done: list[str] = []
        self._skipped: list[str] = []
        self._tells_skipped = True
        self._blocked: list[str] = []
        self._stopped: list[str] = []
        self._overwritten: list[Overwritten] = []
        self._fallen: list[str] = []  # they were done, and what they made is not there any more
        self._width = _NAME_WIDTH
        self.config: Any = None  # config.Config, set by the command
        self.current: Callable[[], Any] = lambda: self.config  # as the run knows it by now
        self.fleet: Callable[[], Fleet | None] = lambda: None  # set by the command
        self.quiet = False  # no lines about what workers do now
        self.workers = 1
        self.board = False  # is one to be shown, as soon as there is something on it?
        self.past: Callable[[str], float | None] = lambda name: None  # a stage's seconds, when it last ran
        # Of stages those that people stopped, and why; set by the command.
        self.stopped: Callable[[Iterable[str]], Mapping[str, str]] = lambda names: {}
        self._screen: Screen | None = None
        self._told: dict[str, board.Told] = {}
        self._past: dict[str, float] = {}
        self._first: dict[str, int] = {}  # of each stage its first attempt in this run
        self._chosen: frozenset[str] = frozenset()
        self._ignored: list[str] = []
        self._of_run: Callable[[], frozenset[str]] = (
            frozenset  # the stages of this run, also those it did not come to
        )
        self._stopping = ""
        self._mute = False  # the user's command can't be started, and that was said
        self._plan: tuple[Any, list[str], dict[str, tuple[str, ...]], dict[str, Stage]] = (None, [], {}, {})

    # -- called by doit

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Called by doit before the first task."""
        names = [name for name, task in tasks.items() if stage_of(task) is not None]
        self._width = min(max([_NAME_WIDTH, *map(len, names)]), 32)
        self._tells_skipped = len(names) <= MOST_SKIPPED
        self._of_run = lambda: _needed(tasks, selected_tasks, setup=False)
        if self.board:
            self._chosen = _needed(tasks, selected_tasks)
            self._past = {name: seconds for name in names if (seconds := self.past(name))}

    def execute_task(self, task: Task) -> None:
        """Called by a worker thread of doit's."""
        if not is_ours(task):
            super().execute_task(task)
        else:
            self._began[task.name] = time.monotonic()
            self._note(task.name, began=self._began[task.name])
            self._show_board()

    def add_success(self, task: Task) -> None:
        """Called by doit when a task's state is saved."""
        stage = stage_of(task)
        if stage is None:
            return
        self._done.append(task.name)
        self._note(task.name, state=DONE)
        facts = [name for name in (self._sizes(task.targets), "check passed" if stage.checks else "") if name]
        repairs = task.values.get("repairs")
        again = task.values.get("rechecked")
        if again:
            facts.insert(0, f"checked again what attempt {again} made, nobody had to work")
        if repairs:
            facts.append(f"after {repairs} repair{'s' if repairs > 1 else ''}")
        self._line(
            task.name, f"done in {in_words(self._since(task.name))}{': ' if facts else ''}{', '.join(facts)}"
        )

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Called by doit when a task failed or can't be run."""
        if task.has_subtask and isinstance(fail, UnmetDependency):
            return  # a group: what is the matter its stages have said
        if not is_ours(task):
            super().add_failure(task, fail)
            return
        self.failures.append({"task": task, "exception": fail})
        if isinstance(fail, UnmetDependency):
            self._blocked.append(task.name)
            self._note(task.name, state=NOT_RUN)
            needs = fail.needs if isinstance(fail, UnmetNeeds) else (fail.message,)
            self._line(task.name, f"not run: needs {', '.join(needs)}")
        elif isinstance(fail, StageStopped):
            self._stopped.append(task.name)
            self._note(task.name, state=STOPPED)
            fleet = self.fleet()
            # Why all of them were is said once, at the end.
            shared = fleet is not None and fail.message == fleet.stopped
            why = self._relative(fail.message)
            self._line(
                task.name, "stopped" if shared else why if why.startswith("stopped") else f"stopped: {why}"
            )
        else:
            self._note(task.name, state=FAILED)
            why = self._relative(fail.message)
            self._line(task.name, f"FAILED: {why}")
            self._call(notify.FAILED, task.name, f"{task.name} failed: {why}")

    def nothing_to_do(self, names: list[str]) -> None:
        """Called by the command in place of a run: these stages are up to date, and there is nothing else."""
        self._tells_skipped = len(names) <= MOST_SKIPPED
        self._width = min(max([_NAME_WIDTH, *map(len, names)]), 32)
        for name in names:
            self._skip(name)
        self.complete_run()

    def skip_uptodate(self, task: Task) -> None:
        """Called by doit for a task that is up to date."""
        if stage_of(task) is None:
            if task.actions:
                super().skip_uptodate(task)
            return
        self._skip(task.name)

    def _skip(self, name: str) -> None:
        self._skipped.append(name)
        self._note(name, state=UP_TO_DATE)
        if self._tells_skipped:
            self._line(name, "up to date")

    def skip_ignore(self, task: Task) -> None:
        """Called by doit for a task that the user ignores."""
        self._ignored.append(task.name)
        self._note(task.name, state=IGNORED)
        self._line(task.name, "ignored (doit forget undoes it)")

    def complete_run(self) -> None:
        """Called by doit at the end."""
        self.close()
        stages = [item for item in self.failures if is_ours(item["task"])]
        self.failures = [item for item in self.failures if item not in stages]
        super().complete_run()
        failed_tasks = [
            item["task"]
            for item in stages
            if not isinstance(item["exception"], UnmetDependency | StageStopped)
        ]
        failed = [task.name for task in failed_tasks]
        told = {
            "done": self._done,
            "up to date": self._skipped,
            "ignored": self._ignored,
            "failed": failed,
            "overwritten": self._fallen,
            "stopped": self._stopped,
            "not run": self._blocked,
        }
        known = {name for names in told.values() for name in names}
        told["not run"] = [
            *self._blocked,
            *(self._of_run() - known),
        ]  # a run that was stopped did not come to these
        parts = [f"{len(names)} {word}" for word, names in told.items() if names]
        if parts:
            total = sum(map(len, told.values()))
            noun = "stage" if total == 1 else "stages"
            said = f"{total} {noun}: {', '.join(parts)} ({in_words(time.monotonic() - self._start)})"
            self.write(f"{said}\n")
            unsaid = [*self._unsaid({*failed, *self._fallen})]
            self.write("".join(f"{line}\n" for line in unsaid))
            if self._began:  # what had nothing to do is over before anybody looks elsewhere
                self._call(notify.FINISHED, "", "; ".join([said, *unsaid[:1]]))
        fleet = self.fleet()
        if fleet is not None and fleet.stopped is not None:
            self.write(f"stopped: {clean_line(fleet.stopped)}\n")
        for name in [task.name for task in failed_tasks if stage_of(task) is not None]:
            self.write(f"  look into {name}: dodo-claude log {name}\n")
        self.outstream.flush()

    def _unsaid(self, told: Collection[str]) -> Iterator[str]:
        """Why the exit status is not 0 where no stage's state says so. `told`: the stages whose state does."""
        found = [
            each
            for each in self._overwritten
            if each.stage not in told and not (each.known and each.by[0] in told)
        ]
        for each in found[:MOST_OVERWRITTEN]:
            text = clean_line(self._relative(each.text()))
            yield f"overwritten, so the exit status is not 0: {each.stage}: {text}"
        if len(found) > MOST_OVERWRITTEN:
            yield f"overwritten: {len(found) - MOST_OVERWRITTEN} more files: see the report"

    # -- called by ours

    def overwritten(self, found: Overwritten) -> None:
        """Called by a stage's thread, or the runner: what a stage had made was changed by somebody else."""
        self._overwritten.append(found)
        self._line(found.stage, f"OVERWRITTEN: {found.text()}")

    def fell(self, name: str, text: str) -> None:
        """Called by the runner at the end: what was called done, or up to date, is so no more."""
        for names in (self._done, self._skipped):
            if name in names:
                names.remove(name)
        self._fallen.append(name)
        self._call(notify.FAILED, name, f"{name}: {clean_line(text)}")

    def noted(self, text: str) -> None:
        """Called by the runner at the end, before the sums."""
        self.close()
        self.write(f"note: {clean_line(text)}\n")

    def reported(self, text: str) -> None:
        """Called by the runner after all else: where the report is, or why there is none."""
        self.write(f"{clean_line(text)}\n")
        self.outstream.flush()

    def progress(self, stage: Stage, attempt: int, view: View) -> None:
        """Called by a stage's thread whenever its view changed."""
        if view.began and stage.name not in self._first:
            # Taken over from a run that was killed: it has worked since its attempt began.
            self._began[stage.name] = time.monotonic() - max(0.0, time.time() - view.began)
            self._note(stage.name, began=self._began[stage.name])
        first = self._first.setdefault(stage.name, attempt)
        self._note(stage.name, view=view, tries=attempt - first + 1)
        said = (view.percent, view.progress, view.asks)
        doing = (view.blocked_on, view.prompts, view.repairs, attempt)
        silent = (view.unheard, view.unheard_for)
        seen = (view.state, view.activity, view.pane, *silent, view.posted, *doing, view.phase, said)
        if self._shown.get(stage.name) == seen:
            return
        before = self._shown.get(stage.name)
        self._shown[stage.name] = seen
        text = self._tell(stage, attempt, view, before)
        if text:
            self._line(stage.name, text)

    def stopping(self, name: str, *, hurry: bool) -> None:
        """Called by the thread that minds signals."""
        what = "killing the workers" if hurry else "stopping the workers; a rerun goes on with what is left"
        self._stopping = what
        above = self._lines.above
        if above is not None:
            above(f"{name}: {what}\n")
            return
        # Past Python's buffer, which somebody may hold for as long as a terminal takes nothing. It may be gone, too.
        with contextlib.suppress(OSError):
            os.write(2, f"\n{name}: {what}\n".encode())

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """While somebody is asked, by doit's main thread: no board, and what others say waits for the answer."""
        self._show_board(held=True)
        if self._screen is not None:
            self._screen.hold()
            try:
                yield
            finally:
                self._screen.go_on()
        elif self._terminal.isatty():
            held: list[str] = []
            self._lines.above = held.append
            streams = Streams(held.append)
            try:
                yield
            finally:
                streams.restore()
                with self._lock:
                    self._lines.above = None
                    self._lines.write("".join(held))
                    self._lines.flush()
        else:
            yield

    def _call(self, kind: str, stage: str, text: str) -> None:
        """Tell a person who may look elsewhere, and who knows who else then. Called by any thread."""
        from dodo_claude.text.redact import Redactor

        text = Redactor(os.environ).text(text)
        notify.notify("dodo_claude", text, self._terminal)  # a bell is no line
        config = self.config
        if config is None or not config.notify:
            return
        said = {"kind": kind, "stage": stage, "text": text, "project": config.name}
        fault = notify.run(config.notify, said, config.root, os.environ)
        if fault is not None and not self._mute:
            self._mute = True  # it is said once
            self._line("notify", f"could not be started: {fault} (mend orchestrate.notify)")

    # -- the board

    def _note(self, name: str, **said: Any) -> None:
        """Called by any thread; each stage is told of by one at a time."""
        if not self.board:
            return
        from dodo_claude.report import board

        if "state" in said:
            said["ended"] = time.monotonic()
        self._told[name] = replace(self._told.get(name, board.Told()), **said)
        if self._screen is not None:
            self._screen.changed()

    def _show_board(self, *, held: bool = False) -> None:
        with self._lock:
            if not self.board or self._screen is not None:
                return
            from dodo_claude.plugin.live import Screen

            self._screen = Screen(self._terminal, self._draw, held=held)
            self._lines.above = self._screen.above
            self._streams = Streams(self._screen.above)  # what a dodo.py's task prints by itself

    def close(self) -> None:
        """The run is over: take the board away."""
        self.board = False
        if self._screen is not None:
            self._streams.restore()
            self._screen.close()
            self._lines.above = None
            self._screen = None

    def _draw(self, width: int, height: int) -> list[board.Line]:
        from dodo_claude.report import board

        config, order, needs, stages = self._planned()
        now, fleet, told = time.monotonic(), self.fleet(), self._told
        over = {name for name, each in list(told.items()) if each.state in SETTLED}
        stopped = self.stopped(name for name in order if name not in told)
        rows = []
        for name in order:
            waits = [need for need in needs[name] if need not in over and need in stages]
            used = fleet.used_by(name) if fleet is not None else (0, None)
            row = board.row(
                name, told.get(name, board.Told()), waits, now, used, worker=stages[name].agent is not None,
                stopped=not_begun(stopped[name]) if name in stopped else "",
            )  # fmt: skip
            rows.append(replace(row, what=row.what.replace(f"{config.root}/", "")))
        totals = fleet.totals() if fleet is not None else None
        shown = board.Board(
            name=config.name,
            rows=tuple(rows),
            seconds=now - self._start,
            left=board.time_left(order, needs, told, self._past, self.workers, now),
            tokens=totals.usage.tokens if totals is not None else 0,
            cost=totals.cost if totals is not None else None,
            notice=self._notice(fleet),
        )
        return board.lines(shown, width, height)

    def _planned(self) -> tuple[Any, list[str], dict[str, tuple[str, ...]], dict[str, Stage]]:
        """The stages of this run in the graph's order. A run may learn of more."""
        from dodo_claude.report import board

        config = self.current()
        if self._plan[0] is not config:
            new = (
                frozenset()
                if self._plan[0] is None
                else {stage.name for stage in config.stages} - {*self._plan[3]}
            )
            self._chosen |= new if self._plan[0] is not None else frozenset()
            needs = config.needs()
            stages = {stage.name: stage for stage in config.stages if stage.name in self._chosen}
            self._plan = (config, board.in_order(list(stages), needs), needs, stages)
        return self._plan

    def _notice(self, fleet: Fleet | None) -> str:
        if self._stopping:
            return self._stopping
        if fleet is None:
            return ""
        if fleet.paused_until is not None:
            return f"{fleet.paused_for}: all workers wait{self._until()}"
        return f"nothing more is started: {clean_line(fleet.stopped)}" if fleet.stopped is not None else ""

    def _tell(self, stage: Stage, attempt: int, view: View, before: tuple[object, ...] | None) -> str:
        from dodo_claude.report.status import answers
        from dodo_claude.state.events import State
        from dodo_claude.worker.since import silence

        said = (view.percent, view.progress, view.asks)
        # What only checks again is as one that starts, for good, but has no pane.
        starts = view.state is State.STARTING and view.pane
        if starts and (before is None or (before[0], before[2]) != (State.STARTING, view.pane)):
            again = f" (attempt {attempt}{self._after(stage, attempt)})" if attempt > 1 else ""
            where = f", phase {view.phase + 1} of {len(stage.phases)}" if view.phase else ""
            return f"started in tmux session {stage.session}{where}{again}"
        if view.state is State.BLOCKED:
            what = self._relative(view.blocked_on or "a dialog")
            if before is None or before[0] is not State.BLOCKED:
                self._call(notify.NEEDS_HUMAN, stage.name, f"{stage.name} needs a person: {what}")
            how = answers(stage.name) if view.request else f"dodo-claude attach {stage.name}"
            return f"NEEDS A PERSON: {what} ({how})"
        if view.state is State.PAUSED and (before is None or before[0] is not State.PAUSED):
            from dodo_claude.agents import faults

            kind = faults.kind_of(view.error or "", view.error_text)
            what = "hit a limit" if kind == "rate_limit" else faults.pause(kind)
            return f"{what} ({view.error}); all workers wait{self._until()}"
        if view.unheard and (before is None or (view.unheard, view.unheard_for) != before[3:5]):
            return silence(view)
        if view.asks and (before is None or view.asks[-1] not in cast(Any, before[-1])[-1]):
            what = self._relative(view.asks[-1].text)
            self._call(notify.ASKS, stage.name, f"{stage.name} asks: {what}")
            return f"ASKS: {what} (dodo-claude answer {stage.name} TEXT)"
        if view.posted[0] and not self.quiet and (before is None or before[5] != view.posted):
            _, sender, text = view.posted
            return _clip(f"{sender} says to it: {self._relative(_gist(text))}", _MAX_MESSAGE)
        if before is not None and before[-2] != view.phase and view.phase and not self.quiet:
            sizes = self._sizes(stage.phases[view.phase - 1].targets)
            return f"phase {view.phase} of {len(stage.phases)} done{': ' if sizes else ''}{sizes}"
        if view.percent is not None and not self.quiet and (before is None or before[-1] != said):
            return _clip(f"{view.percent} % {self._relative(view.progress)}".rstrip())
        gone = view.state is State.EXITED and view.outcome is None
        if self.quiet or view.activity in ("", "thinking") or gone:
            return ""
        if before is not None and before[1] == view.activity:
            return ""
        return _clip(self._relative(view.activity))

    def _after(self, stage: Stage, attempt: int) -> str:
        """How the attempt before that one ended, if not well; whichever run that was in."""
        from dodo_claude.machine.ours import STATE_DIR
        from dodo_claude.state.journal import Attempt, StageLog
        from dodo_claude.worker.since import ended

        before = Attempt(StageLog(self.config.root / STATE_DIR, stage.name), attempt - 1)
        how = ended(before.result() or {})
        return f"; attempt {attempt - 1} {_clip(self._relative(how))}" if how else ""

    def _until(self) -> str:
        fleet = self.fleet()
        until = fleet.paused_until if fleet is not None else None
        return time.strftime(" until %H:%M:%S", time.localtime(until)) if until else ""

    def _relative(self, text: str) -> str:
        root = f"{self.config.root}/" if self.config is not None else ""
        return clean_line(text.replace(root, "") if root else text)

    def _sizes(self, targets: Sequence[str]) -> str:
        """'api/profile.py (86 lines)', for each target."""
        shown = []
        for name in targets[:3]:
            try:
                with open(name, "rb") as stream:
                    lines = sum(1 for _ in stream)
            except OSError:
                continue
            shown.append(f"{name} ({lines} line{'' if lines == 1 else 's'})")
        more = len(targets) - 3
        return ", ".join(shown) + (f" and {more} more" if more > 0 else "")

    def _since(self, name: str) -> float:
        return time.monotonic() - self._began.get(name, self._start)

    def _line(self, name: str, text: str) -> None:
        """Whatever `text` holds, it is one line."""
        stamp, text = time.strftime("%H:%M:%S"), clean_line(text)
        with self._lock:
            self.outstream.write(f"{stamp}  {name:<{self._width}}  {text}\n")
            self.outstream.flush()


def _needed(tasks: Mapping[str, Task], selected: Iterable[str], *, setup: bool = True) -> frozenset[str]:
    """The stages that a selection of tasks takes along. `setup`: with what they need only when they run."""
    found, todo = set[str](), [*selected]
    while todo:
        name = todo.pop()
        if name in tasks and name not in found:
            found.add(name)
            todo += tasks[name].task_dep
            todo += tasks[name].setup_tasks if setup else ()
    return frozenset(name for name in found if stage_of(tasks[name]) is not None)


def _gist(text: str) -> str:
    """A message in a line."""
    return " ".join(_FENCE.sub("", text).split())


def _clip(text: str, most: int = _MAX_ACTIVITY) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
