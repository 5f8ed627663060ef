"""doit's thread runner for our stages: preflight before the first start, the longest way first, and an orderly end on
a signal.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from doit.exceptions import BaseFail, UnmetDependency
from doit.runner import FAILURE, MThreadRunner

from dodo_claude.config.records import Stage
from dodo_claude.machine.files import disk_problem
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.plugin import signals
from dodo_claude.plugin.backend import DurableDB
from dodo_claude.plugin.ends import Ends
from dodo_claude.plugin.order import Ready, ways
from dodo_claude.plugin.reporter import StageReporter
from dodo_claude.plugin.tasks import UnmetNeeds, stage_of
from dodo_claude.run.run import Run
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.worker.witness import Witness

# A second signal within this time means: now.
AGAIN_SECONDS = 3.0
# Stages whose worker is being ended do not count for -n; but no more than so many times -n are under way at all.
MOST = 2
# Files that more than one stage changed and none declares: so many are told of one by one.
MOST_CLASHES = 5


class StageRunner(MThreadRunner):
    """Everything here but `execute_task` runs in doit's main thread."""

    def __init__(
        self,
        *args: Any,
        run: Run | None,
        stages: Sequence[Stage] = (),
        past: Callable[[str], float | None] = lambda name: None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        # The user may have chosen one of doit's, which knows nothing of stages.
        self._ours = self.reporter if isinstance(self.reporter, StageReporter) else None
        self.run = run
        self.stages = stages  # those that this run may start
        self.past = past  # a stage's seconds, when it last ran
        self._waiting = Ready()
        self._chosen: set[str] = set()  # that are to be run, and were not yet given to a thread
        self._ordered = 0  # the number of tasks that were known when their order was made
        # Of tasks under way: (name, None) when it needs its place no more, (name, (how it went,)) when it has ended.
        self._news: queue.Queue[tuple[str, tuple[Any] | None]] = queue.Queue()
        if run is not None:
            run.freed = lambda name: self._news.put((name, None))
        self.signal: int | None = None
        self._signalled = 0.0
        self._ready = False
        self._worked = False  # something was run: a stage, or another task
        self._ends = Ends()
        self.final_result: int  # doit's exit code so far

    def select_task(self, node: Any, tasks_dict: Any) -> bool:
        """doit's choice, with a look at the surroundings before the first stage of a run starts."""
        chosen = bool(super().select_task(node, tasks_dict))
        if chosen and not self._ready and self.run is not None and stage_of(node.task) is not None:
            self.run.start(self.stages)  # what it raises ends the run; nothing has started yet
            self._ready = True
            self._what_stands()
        if not chosen and node.run_status in ("up-to-date", "ignore"):
            self._ends.add(node.task.name, node.run_status)
            self._holds(node)
        return chosen

    # -- what is done when

    def run_tasks(self, task_dispatcher: Any) -> None:
        """doit's, which begins tasks in the order in which they became ready, and the next when one has ended."""
        self._run_tasks_init(task_dispatcher)
        jobs: queue.Queue[Any] = queue.Queue()
        threads: list[threading.Thread] = []
        under_way: set[str] = set()
        placed: set[str] = set()  # of those, who needs a place
        self._gather(None)
        while True:
            while len(placed) < self.num_process and len(under_way) < MOST * self.num_process:
                node = self._next()
                if node is None:
                    break
                placed.add(node.task.name)
                under_way.add(node.task.name)
                jobs.put(node.task)
                if len(threads) < len(under_way):
                    threads.append(self.Child(target=self._work, args=(jobs,)))
                    threads[-1].start()
            if not under_way:
                break
            name, end = self._news.get()
            placed.discard(name)
            if end is None:
                continue
            under_way.discard(name)
            (result,) = end
            if isinstance(result, BaseException):
                raise result
            node = task_dispatcher.nodes[name]
            self.process_task_result(node, result)
            self._gather(node)
        for _ in threads:
            jobs.put(None)
        for thread in threads:
            thread.join()

    def _work(self, jobs: queue.Queue[Any]) -> None:
        """A thread: task after task."""
        while (task := jobs.get()) is not None:
            self._worked = True
            try:
                self._news.put((task.name, (self._executed(task),)))
            except BaseException as error:  # it ends the run, as in doit
                self._news.put((task.name, (error,)))

    def _executed(self, task: Any) -> Any:
        if self.run is None or stage_of(task) is not None:  # a stage says itself when it is at work
            return self.execute_task(task)
        self.run.witness.began(task.name)
        try:
            return self.execute_task(task)
        finally:
            self.run.witness.ended(task.name)

    def _gather(self, node: Any) -> None:
        """Let doit's dispatcher say which tasks are ready, now that it is done with `node`."""
        with contextlib.suppress(StopIteration):
            while (found := self.task_dispatcher.generator.send(node)) != "hold on":
                self._waiting.add(found)
                node = None
        if self._ordered and len(self.tasks) != self._ordered:
            self._order()  # more of them became known

    def _next(self) -> Any:
        """The task that goes next. Those before it that need not be run are settled on the way."""
        while self._waiting and not self._stop_running:
            node = self._waiting.take()
            name = node.task.name
            if name in self._chosen:
                self._chosen.discard(name)
                return node
            if not self.select_task(node, self.tasks):
                self._gather(node)
            elif not node.task.actions:  # a group
                self.process_task_result(node, self.execute_task(node.task))
                self._gather(node)
            elif self._ordered:
                return node
            else:
                # Only now is an order worth its while: in most runs nothing is to be done.
                self._chosen.add(name)
                self._waiting.add(node, back=True)
                self._order()
        return None

    def _order(self) -> None:
        self._ordered = len(self.tasks)
        selected = self.task_dispatcher.selected_tasks
        self._waiting.order(ways(self.tasks, selected, _takes_time, self.past))

    def process_task_result(self, node: Any, base_fail: BaseFail | None) -> None:
        """A task came to its end."""
        super().process_task_result(node, base_fail)
        if node.run_status == "successful":
            self._ends.add(node.task.name, node.run_status)
            self._holds(node)
            if stage_of(node.task) is not None:
                # They are stored, and nobody asks the task for them: a run would keep those of all stages to its end.
                node.task.values = {}
                for action in node.task.actions:
                    action.values = {}

    def _holds(self, node: Any) -> None:
        if self.run is None:
            return
        name, stage = node.task.name, stage_of(node.task)
        self.run.held.add(name)
        if stage is not None and node.run_status == "up-to-date" and not self.run.witness.knows(name):
            self.run.witness.stands(name, stage.fixed(node.task.values.get("targets") or {}))

    # -- what was verified stays as it is

    def _what_stands(self) -> None:
        """What earlier runs made stands, too: of stages that doit has not come to yet, and of those nobody asked for."""
        assert self.run is not None
        witness, backend = self.run.witness, self.dep_manager.backend
        with backend.at_once() if isinstance(backend, DurableDB) else contextlib.nullcontext():
            for stage in self.run.config.stages:
                if stage.targets and not witness.knows(stage.name):
                    values = self.dep_manager.get_values(stage.name) or {}
                    if values.get("definition"):
                        witness.stood(stage.name, stage.fixed(values.get("targets") or {}))

    def finish(self) -> int:
        """doit's end of a run; before it, a last look at what its sums are about to call done."""
        if self.run is not None and self.run.lost is not None:
            self.final_result = self.final_result or FAILURE
        elif self.run is not None and self._worked:
            self._last_look(self.run.witness)
            self._tell_clashes(self.run)
        return int(super().finish())

    def _tell_clashes(self, run: Run) -> None:
        """What nobody declared and more than one changed: the graph knows nothing of it."""
        from dodo_claude.worker.undeclared import clashes

        lines = list(clashes(run.undeclared))
        if len(lines) > MOST_CLASHES:
            lines[MOST_CLASHES:] = [f"and {len(lines) - MOST_CLASHES} more files: see the report"]
        if self._ours is not None:
            for line in lines:
                self._ours.noted(line)

    def _last_look(self, witness: Witness) -> None:
        try:
            witness.last_look()
        except OSError as error:  # what can't be looked at is not known to be right
            self.final_result = self.final_result or FAILURE
            self.reporter.runtime_error(disk_problem(error, "the last look at what was made"))
        if witness.found:
            self.final_result = self.final_result or FAILURE
        held = self.run.held if self.run is not None else set()
        for name, text in witness.fallen.items():
            if self._ends.fell(name, text):
                held.discard(name)
                if self._ours is not None:
                    self._ours.fell(name, text)

    def _handle_task_error(self, node: Any, base_fail: BaseFail) -> None:
        """A stage that waits for a failed one is no error of its own: the run's result stays "failed"."""
        before = self.final_result
        needs = tuple(dict.fromkeys(bad.task.name for bad in node.bad_deps))
        if isinstance(base_fail, UnmetDependency):
            base_fail = UnmetNeeds(needs)
        super()._handle_task_error(node, base_fail)
        self._ends.add(node.task.name, node.run_status, base_fail, needs)
        if isinstance(base_fail, UnmetDependency):
            self.final_result = before or FAILURE

    def run_all(self, task_dispatcher: Any) -> int:
        """The whole run. 128 + n after signal n, else doit's exit code."""
        with signals.minded(self._signal):
            try:
                super().run_all(task_dispatcher)
            except KeyboardInterrupt:
                self.signal = self.signal or signal.SIGINT
            self._clear_left()
            if self.run is not None:
                self.run.settle()
            self._write_report()
        return 128 + self.signal if self.signal is not None else self.final_result

    def _clear_left(self) -> None:
        """Stopped early, or stopped by a failure: what an earlier run had at work on the rest ends, resumable."""
        if self.run is not None and (self._ready or self.signal is not None) and self.run.lost is None:
            done = self._ends.successful()
            clear_left(
                self.run, [stage for stage in (*self.stages, *self.run.learned) if stage.name not in done]
            )

    def _write_report(self) -> None:
        """Of a run that started something. Its work is done and saved: nothing that goes wrong here changes that."""
        if self.run is None or not self._ready or self.run.lost is not None:
            return
        said = []
        try:
            path, write_page = self.run.write_report(self._ends.said())
            said.append(f"report: {os.path.relpath(path, self.run.config.root)}")
            write_page()
        except (OSError, DodoClaudeError) as error:
            reason = disk_problem(error, "the report") if isinstance(error, OSError) else str(error)
            said.append(f"{'no page of it' if said else 'no report'}: {reason}")
        except Exception as error:
            fault = f"dodo_claude has a fault: {error!r} (please report it)"
            said.append(f"{'no page of it' if said else 'no report'}: {fault}")
        if self._ours is not None:
            self._ours.reported("; ".join(said))

    def _signal(self, number: int) -> None:
        """First: start nothing more, end the workers, save; again within 3 s: kill. Doit's queue wakes up by itself."""
        hurry = self.signal is not None
        if hurry and time.monotonic() - self._signalled > AGAIN_SECONDS:
            return
        self._signalled = time.monotonic()
        self.signal = self.signal or number
        self._stop_running = True
        if self._ours is not None:
            self._ours.stopping(signal.Signals(number).name, hurry=hurry)
        if self.run is not None:
            self.run.stop(hurry=hurry)


def clear_left(run: Run, stages: Sequence[Stage]) -> None:
    """End the workers that an earlier run had at work on these stages."""
    from dodo_claude.worker import recovery

    left = [stage for stage in stages if recovery.is_left(stage, run.config.root / STATE_DIR)]
    if not left:
        return
    from concurrent.futures import ThreadPoolExecutor

    def clear(stage: Stage) -> None:
        # What can't be written down now (a full disk), the next run clears away.
        with contextlib.suppress(OSError, DodoClaudeError):
            recovery.clear_left(stage, services)

    try:
        services = run.services()
    except (
        OSError,
        DodoClaudeError,
    ):  # stopped before anybody knew whether workers can start: they can't even end
        return
    with ThreadPoolExecutor() as pool:  # each worker has some seconds to end: all the same ones
        list(pool.map(clear, left))


def _takes_time(task: Any) -> bool:
    """Is it a stage, or stands for some that are not known yet?"""
    return stage_of(task) is not None or task.loader is not None
