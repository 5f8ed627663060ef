"""doit's thread runner for our stages: preflight before the first start, and an orderly end on a signal."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from doit.exceptions import BaseFail, UnmetDependency
from doit.runner import FAILURE, MThreadRunner

from dodo_claude.config import Stage
from dodo_claude.errors import DodoClaudeError
from dodo_claude.run import Run
from dodo_claude.tasks import stage_of

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
        self.final_result: int  # doit's exit code so far

    def select_task(self, node: Any, tasks_dict: Any) -> bool:
        """doit's choice, with a look at the surroundings before the first stage of a run starts."""
        chosen = bool(super().select_task(node, tasks_dict))
        if chosen and not self._ready and self.run is not None and stage_of(node.task) is not None:
            self.run.start(self.stages)  # what it raises ends the run; nothing has started yet
            self._ready = True
        return chosen

    def _handle_task_error(self, node: Any, base_fail: BaseFail) -> None:
        """A stage that waits for a failed one is no error of its own: the run's result stays "failed"."""
        before = self.final_result
        super()._handle_task_error(node, base_fail)
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
