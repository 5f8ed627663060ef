"""doit's runner as ours: what becomes of a signal, whoever gets it."""

from __future__ import annotations

import io
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from doit.task import Task

from dodo_claude.plugin import signals
from dodo_claude.plugin.reporter import StageReporter
from dodo_claude.plugin.runner import StageRunner
from dodo_claude.plugin.tasks import StageAction
from tests.project import PATIENCE
from tests.samples.attempts import STAGE


class Stopped:
    """A run that is told to stop."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.bell = threading.Semaphore(0)

    def stop(self, *, hurry: bool = False) -> None:
        self.told.append(hurry)
        self.bell.release()


class Told(StageReporter):
    """What it was told of signals."""

    def __init__(self) -> None:
        super().__init__(io.StringIO(), {})
        self.said: list[tuple[str, bool]] = []

    def stopping(self, name: str, *, hurry: bool) -> None:
        self.said.append((name, hurry))


@pytest.fixture
def run() -> Stopped:
    return Stopped()


@pytest.fixture
def runner(run: Stopped) -> StageRunner:
    run_: Any = run
    return StageRunner(None, Told(), True, False, None, 2, run=run_)


def test_a_signal_that_another_thread_gets_stops_a_run_that_waits(runner: StageRunner, run: Stopped) -> None:
    def send() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    with signals.minded(runner._signal):
        sender = threading.Thread(target=send)
        sender.start()
        # As in doit's queue: the main thread itself is not woken by it.
        assert run.bell.acquire(timeout=PATIENCE)
        sender.join()
    assert runner.signal == signal.SIGTERM
    assert run.told == [False]
    assert runner.reporter.said == [("SIGTERM", False)]


def test_a_second_one_means_now_and_a_late_one_nothing(
    runner: StageRunner, run: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signals.minded(runner._signal):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert run.bell.acquire(timeout=PATIENCE)
        monkeypatch.setattr("dodo_claude.plugin.runner.AGAIN_SECONDS", -1.0)
        os.kill(os.getpid(), signal.SIGTERM)
    assert run.told == [False, True]
    assert runner.signal == signal.SIGINT  # what it exits with
    assert runner.reporter.said == [("SIGINT", False), ("SIGTERM", True)]


def test_what_a_stage_came_to_is_stored_and_not_kept_by_its_task() -> None:
    """A task of a dodo.py keeps its own: another may take its dependencies from there."""
    stored: list[dict[str, object]] = []
    left = []
    manager: Any = SimpleNamespace(save_success=lambda task: stored.append(task.values))
    reporter = SimpleNamespace(add_success=lambda task: None)
    runner = StageRunner(manager, reporter, True, False, None, 2, run=None)
    action: Any = StageAction(STAGE, Any, Any)
    for task in (Task("api", [action]), Task("mine", [lambda: {}])):
        task.values = task.actions[0].values = {"tokens": 7}
        runner.process_task_result(SimpleNamespace(task=task, run_status="run"), None)
        left.append((task.values, task.actions[0].values))
    assert stored == [{"tokens": 7}, {"tokens": 7}]
    assert left == [({}, {}), ({"tokens": 7}, {"tokens": 7})]
