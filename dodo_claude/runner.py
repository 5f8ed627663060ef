"""doit's thread runner for our stages: preflight before the first start, and an orderly end on a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from doit.exceptions import BaseFail, UnmetDependency
from doit.runner import FAILURE, MThreadRunner

from dodo_claude.errors import DodoClaudeError
from dodo_claude.journal import disk_problem
from dodo_claude.records import Stage
from dodo_claude.run import Run
from dodo_claude.tasks import StageStopped, stage_of

if TYPE_CHECKING:
    from dodo_claude.history import Said

# A second signal within this time means: now.
AGAIN_SECONDS = 3.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StageRunner(MThreadRunner):
    """Everything here but `execute_task` runs in doit's main thread."""

    def __init__(self, *args: Any, run: Run | None, stages: Sequence[Stage] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run = run
        self.stages = stages  # those that this run may start
        self.signal: int | None = None
        self._signalled = 0.0
        self._ready = False
        # Of each stage that doit is done with how that went: its failure, and the tasks that it needed.
        self._ends: dict[str, tuple[str, BaseFail | None, tuple[str, ...]]] = {}
        self.final_result: int  # doit's exit code so far

    def select_task(self, node: Any, tasks_dict: Any) -> bool:
        """doit's choice, with a look at the surroundings before the first stage of a run starts."""
        chosen = bool(super().select_task(node, tasks_dict))
        if chosen and not self._ready and self.run is not None and stage_of(node.task) is not None:
            self.run.start(self.stages)  # what it raises ends the run; nothing has started yet
            self._ready = True
        if not chosen and node.run_status in ("up-to-date", "ignore"):
            self._ends[node.task.name] = (node.run_status, None, ())
            self._holds(node)
        return chosen

    def process_task_result(self, node: Any, base_fail: BaseFail | None) -> None:
        """A task came to its end."""
        super().process_task_result(node, base_fail)
        if node.run_status == "successful":
            self._ends[node.task.name] = (node.run_status, None, ())
            self._holds(node)

    def _holds(self, node: Any) -> None:
        if self.run is not None:
            self.run.held.add(node.task.name)

    def _handle_task_error(self, node: Any, base_fail: BaseFail) -> None:
        """A stage that waits for a failed one is no error of its own: the run's result stays "failed"."""
        before = self.final_result
        super()._handle_task_error(node, base_fail)
        needs = tuple(bad.task.name for bad in node.bad_deps)
        self._ends[node.task.name] = (node.run_status, base_fail, needs)
        if isinstance(base_fail, UnmetDependency):
            self.final_result = before or FAILURE

    def run_all(self, task_dispatcher: Any) -> int:
        """The whole run. 128 + n after signal n, else doit's exit code."""
        with self._handlers():
            try:
                super().run_all(task_dispatcher)
            except KeyboardInterrupt:
                self.signal = self.signal or signal.SIGINT
            self._clear_left()
            self._write_report()
        return 128 + self.signal if self.signal is not None else self.final_result

    def _clear_left(self) -> None:
        """Stopped early, or stopped by a failure: what an earlier run had at work on the rest ends, resumable."""
        if self.run is None or not self._ready:
            return
        from concurrent.futures import ThreadPoolExecutor

        from dodo_claude.recovery import clear_left

        def clear(stage: Stage) -> None:
            # What can't be written down now (a full disk), the next run clears away.
            with contextlib.suppress(OSError, DodoClaudeError):
                clear_left(stage, services)

        services = self.run.services()
        with ThreadPoolExecutor() as pool:  # each worker has some seconds to end: all the same ones
            list(pool.map(clear, [*self.stages, *self.run.learned]))

    def _write_report(self) -> None:
        """Of a run that started something. Its work is done and saved: nothing that goes wrong here changes that."""
        if self.run is None or not self._ready:
            return
        said = []
        try:
            path, write_page = self.run.write_report(self._said())
            said.append(f"report: {os.path.relpath(path, self.run.config.root)}")
            write_page()
        except (OSError, DodoClaudeError) as error:
            reason = disk_problem(error, "the report") if isinstance(error, OSError) else str(error)
            said.append(f"{'no page of it' if said else 'no report'}: {reason}")
        except Exception as error:
            fault = f"dodo_claude has a fault: {error!r} (please report it)"
            said.append(f"{'no page of it' if said else 'no report'}: {fault}")
        reported: Callable[[str], None] | None = getattr(self.reporter, "reported", None)
        if reported is not None:
            reported("; ".join(said))

    def _said(self) -> dict[str, Said]:
        """How doit is done with the stages that it came to, in the report's words."""
        from dodo_claude import history, report

        words = {"up-to-date": report.UP_TO_DATE, "ignore": report.IGNORED, "successful": report.DONE}
        found = {}
        for name, (status, fail, needs) in self._ends.items():
            if fail is None:
                found[name] = history.Said(words[status])
            elif isinstance(fail, UnmetDependency):
                found[name] = history.Said(report.NOT_RUN, waits_for=needs)
            else:
                state = report.STOPPED if isinstance(fail, StageStopped) else report.FAILED
                found[name] = history.Said(state, fail.message)
        return found

    @contextmanager
    def _handlers(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        try:
            for number in SIGNALS:
                signal.signal(number, self._on_signal)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """First: start nothing more, end the workers, save; again within 3 s: kill. Doit's queue wakes up by itself."""
        hurry = self.signal is not None
        if hurry and time.monotonic() - self._signalled > AGAIN_SECONDS:
            return
        self._signalled = time.monotonic()
        self.signal = self.signal or number
        self._stop_running = True
        stopping: Callable[..., None] | None = getattr(self.reporter, "stopping", None)
        if stopping is not None:
            stopping(signal.Signals(number).name, hurry=hurry)
        if self.run is None:
            return
        # Not here: a handler may interrupt the very thread that holds a lock this needs.
        threading.Thread(target=self.run.stop, kwargs={"hurry": hurry}, daemon=True).start()
