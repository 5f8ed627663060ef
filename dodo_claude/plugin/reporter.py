"""What `doit orchestrate` prints: a line when something happens to a stage, a summary at the end.

Some of it is called by the stages' threads: each line is one write under a lock.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from doit.exceptions import BaseFail, UnmetDependency
from doit.reporter import ConsoleReporter
from doit.task import Task

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import notify
from dodo_claude.plugin.summary import Summary
from dodo_claude.plugin.tasks import StageStopped, UnmetNeeds, is_ours, stage_of
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import in_words
from dodo_claude.text.states import DONE, FAILED, IGNORED, NOT_RUN, STOPPED, UP_TO_DATE

if TYPE_CHECKING:
    from dodo_claude.plugin.lines import Seen
    from dodo_claude.plugin.live_board import LiveBoard
    from dodo_claude.run.fleet import Fleet
    from dodo_claude.run.run import Run
    from dodo_claude.state.events import View
    from dodo_claude.worker.witness import Overwritten

# Columns of a stage's name; longer ones push their line to the right.
_NAME_WIDTH = 14
# Of a run of more stages those that are up to date are only counted.
MOST_SKIPPED = 100


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
        self._summary = Summary()
        self._start = time.monotonic()
        self._began: dict[str, float] = {}
        self._shown: dict[str, Seen] = {}
        self._first: dict[str, int] = {}  # of each stage its first attempt in this run
        self._width = _NAME_WIDTH
        self._tells_skipped = True
        # The stages of this run, also those it did not come to.
        self._of_run: Callable[[], frozenset[str]] = frozenset
        self._stopping = ""  # why the run ends, once it was told to
        self._mute = False  # the user's command can't be started, and that was said
        self._board: LiveBoard | None = None
        # Given by `attend`:
        self.config: Config | None = None
        self.fleet: Callable[[], Fleet | None] = lambda: None
        self.quiet = False  # no lines about what workers do now
        self._make_board: Callable[[frozenset[str], list[str]], LiveBoard] | None = None

    def attend(
        self, run: Run, *, quiet: bool, board: bool, workers: int, past: Callable[[str], float | None]
    ) -> None:
        """Called by the command: tell of this run. `board`: on one, too, as soon as there is something on it; `past`: a
        stage's seconds, when it last ran."""
        self.config, self.fleet, self.quiet = run.config, lambda: run.fleet, quiet
        run.report, run.overwritten, run.asking = self.progress, self.overwritten, self.asking

        def make(chosen: frozenset[str], names: list[str]) -> LiveBoard:
            from dodo_claude.plugin.live_board import LiveBoard, Sources

            sources = Sources(lambda: run.config, self.fleet, run.stopped, lambda: self._stopping, workers)
            took = {name: seconds for name in names if (seconds := past(name))}
            return LiveBoard(self._terminal, sources, chosen, took, self._start)

        self._make_board = make if board else None

    # -- called by doit

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Called by doit before the first task."""
        names = [name for name, task in tasks.items() if stage_of(task) is not None]
        self._fit(names)
        self._of_run = lambda: _needed(tasks, selected_tasks, setup=False)
        if self._make_board is not None:
            self._board = self._make_board(_needed(tasks, selected_tasks), names)

    def _fit(self, names: list[str]) -> None:
        """Have room for these stages."""
        self._width = min(max([_NAME_WIDTH, *map(len, names)]), 32)
        self._tells_skipped = len(names) <= MOST_SKIPPED

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
        from dodo_claude.plugin import lines

        stage = stage_of(task)
        if stage is None:
            return
        self._summary.done.append(task.name)
        self._note(task.name, state=DONE)
        made = lines.sizes(task.targets)
        facts = [fact for fact in (made, "check passed" if stage.checks else "") if fact]
        repairs = task.values.get("repairs")
        again = task.values.get("rechecked")
        if again:
            facts.insert(0, f"checked again what attempt {again} made, nobody had to work")
        if repairs:
            facts.append(f"after {repairs} repair{'s' if repairs > 1 else ''}")
        took = in_words(time.monotonic() - self._began.get(task.name, self._start))
        self._line(task.name, f"done in {took}{': ' if facts else ''}{', '.join(facts)}")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Called by doit when a task failed or can't be run."""
        if task.has_subtask and isinstance(fail, UnmetDependency):
            return  # a group: what is the matter its stages have said
        if not is_ours(task):
            super().add_failure(task, fail)
            return
        self.failures.append({"task": task, "exception": fail})
        if isinstance(fail, UnmetDependency):
            self._summary.blocked.append(task.name)
            self._note(task.name, state=NOT_RUN)
            needs = fail.needs if isinstance(fail, UnmetNeeds) else (fail.message,)
            self._line(task.name, f"not run: needs {', '.join(needs)}")
        elif isinstance(fail, StageStopped):
            self._summary.stopped.append(task.name)
            self._note(task.name, state=STOPPED)
            fleet = self.fleet()
            # Why all of them were is said once, at the end.
            shared = fleet is not None and fail.message == fleet.stopped
            why = self._relative(fail.message)
            self._line(
                task.name, "stopped" if shared else why if why.startswith("stopped") else f"stopped: {why}"
            )
        else:
            self._summary.failed.append(task.name)
            self._note(task.name, state=FAILED)
            why = self._relative(fail.message)
            self._line(task.name, f"FAILED: {why}")
            self._call(notify.FAILED, task.name, f"{task.name} failed: {why}")

    def nothing_to_do(self, names: list[str]) -> None:
        """Called by the command in place of a run: these stages are up to date, and there is nothing else."""
        self._fit(names)
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
        self._summary.skipped.append(name)
        self._note(name, state=UP_TO_DATE)
        if self._tells_skipped:
            self._line(name, "up to date")

    def skip_ignore(self, task: Task) -> None:
        """Called by doit for a task that the user ignores."""
        self._summary.ignored.append(task.name)
        self._note(task.name, state=IGNORED)
        self._line(task.name, "ignored (doit forget undoes it)")

    def complete_run(self) -> None:
        """Called by doit at the end."""
        self.close()
        stages = [item for item in self.failures if is_ours(item["task"])]
        self.failures = [item for item in self.failures if item not in stages]
        super().complete_run()
        if sums := self._summary.sums(self._of_run(), time.monotonic() - self._start):
            unsaid = [*self._summary.unsaid(self._relative)]
            self.write("".join(f"{line}\n" for line in (sums, *unsaid)))
            if self._began:  # what had nothing to do is over before anybody looks elsewhere
                self._call(notify.FINISHED, "", "; ".join([sums, *unsaid[:1]]))
        fleet = self.fleet()
        if fleet is not None and fleet.stopped is not None:
            self.write(f"stopped: {clean_line(fleet.stopped)}\n")
        for item in stages:
            task, fail = item["task"], item["exception"]
            if not isinstance(fail, UnmetDependency | StageStopped) and stage_of(task) is not None:
                self.write(f"  look into {task.name}: dodo-claude log {task.name}\n")
        self.outstream.flush()

    # -- called by ours

    def overwritten(self, change: Overwritten) -> None:
        """Called by a stage's thread, or the runner: what a stage had made was changed by somebody else."""
        self._summary.overwritten.append(change)
        self._line(change.stage, f"OVERWRITTEN: {change.text()}")

    def fell(self, name: str, text: str) -> None:
        """Called by the runner at the end: what was called done, or up to date, is so no more."""
        self._summary.fell(name)
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
        from dodo_claude.plugin import lines

        if view.began and stage.name not in self._first:
            # Taken over from a run that was killed: it has worked since its attempt began.
            self._began[stage.name] = time.monotonic() - max(0.0, time.time() - view.began)
            self._note(stage.name, began=self._began[stage.name])
        first = self._first.setdefault(stage.name, attempt)
        self._note(stage.name, view=view, tries=attempt - first + 1)
        before, seen = self._shown.get(stage.name), lines.Seen.of(view, attempt)
        if before == seen:
            return
        self._shown[stage.name] = seen
        line = lines.of_view(
            stage, attempt, view, before, config=self.config, fleet=self.fleet(), quiet=self.quiet
        )
        if line.kind:
            self._call(line.kind, stage.name, line.call)
        if line.text:
            self._line(stage.name, line.text)

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
        screen = self._board.screen if self._board is not None else None
        if screen is not None:
            screen.hold()
            try:
                yield
            finally:
                screen.go_on()
        elif self._terminal.isatty():
            from dodo_claude.machine.question import Streams

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

    def _note(self, name: str, **facts: Any) -> None:
        """Called by any thread; each stage is told of by one at a time."""
        if (board := self._board) is not None:
            board.note(name, **facts)

    def _show_board(self, *, held: bool = False) -> None:
        with self._lock:
            if self._board is not None and self._board.screen is None:
                self._lines.above = self._board.show(held=held).above

    def close(self) -> None:
        """The run is over: take the board away."""
        board, self._board = self._board, None
        if board is not None and board.screen is not None:
            board.close()
            self._lines.above = None

    # -- lines

    def _relative(self, text: str) -> str:
        from dodo_claude.plugin import lines

        return lines.relative(text, self.config)

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
