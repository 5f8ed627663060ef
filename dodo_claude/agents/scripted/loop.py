"""Waiting: tasks, children and signals on one thread. Knows nothing of sessions.

A task is a generator that yields what it waits for: seconds, something Awaited, or None for ever.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")
    Wait: TypeAlias = "float | Awaited | None"
    Flow: TypeAlias = Generator[Wait, None, T]

# What a generator yields that has nothing to wait for.
NOW = 0.0


class Awaited:
    """Something that a task may wait for."""

    is_over = False


class Job(Awaited):
    """A child process. Its output goes to files without a name, so that waiting for it is waiting for its end only."""

    def __init__(self, pid: int, output: tuple[int, int], deadline: float, task: Task | None) -> None:
        self.pid = pid
        self.output = output
        self.deadline = deadline
        self.task = task
        # Exit code, negative for a signal; None when it overran its time.
        self.code: int | None = None
        self.out = ""
        self.err = ""
        self.then: Callable[[Job], None] | None = None


class Task:
    """A generator under way, with what it waits for."""

    def __init__(self, flow: Flow[Any]) -> None:
        self.flow = flow
        self.wait: Wait = 0.0
        self.due = 0.0

    def is_ready(self, now: float) -> bool:
        if isinstance(self.wait, Awaited):
            return self.wait.is_over
        return self.wait is not None and now >= self.due


def _scratch_file(data: bytes = b"") -> int:
    folder = os.environ.get("TMPDIR") or os.sep + "tmp"
    path = os.path.join(folder, f"scripted-{os.getpid()}-{os.urandom(6).hex()}")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    while data:
        data = data[os.write(file, data) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _start(argv: list[str], env: dict[str, str], data: bytes, **group: Any) -> tuple[int, tuple[int, int]]:
    """Start a process with `data` to read. Its id, and the files that its output goes to."""
    files = _scratch_file(data), _scratch_file(), _scratch_file()
    actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files)]
    defaults = [
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ]  # Python ignores these two, and its children would inherit that
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsigmask=[], setsigdef=defaults, **group)
    os.close(files[0])
    return pid, files[1:]


class Loop:
    """Runs tasks, children and signals on one thread. Knows nothing of sessions."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.jobs: dict[int, Job] = {}
        self.current: Task | None = None
        self.has_input = True
        self.wake, wake_end = os.pipe()
        for end in (self.wake, wake_end):
            os.set_blocking(end, False)
        # Python writes each signal's number into this pipe; the handlers themselves have nothing to do.
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)

    def start(self, flow: Flow[Any]) -> Task:
        task = Task(flow)
        self.tasks.append(task)
        return task

    def cancel(self, task: Task) -> None:
        """Drop the task and end the children it waits for."""
        if task in self.tasks:
            self.tasks.remove(task)
            task.flow.close()
        for job in self.jobs.values():
            if job.task is task:
                self.end_job(job, signal.SIGTERM)

    def spawn(
        self,
        argv: list[str],
        env: dict[str, str],
        data: bytes = b"",
        timeout: float = float("inf"),
    ) -> Job:
        # A group of its own, so that ending a child ends what it started.
        pid, output = _start(argv, env, data, setpgroup=0)
        job = Job(pid, output, time.monotonic() + timeout, self.current)
        self.jobs[pid] = job
        return job

    def spawn_apart(self, argv: list[str], env: dict[str, str]) -> None:
        """Start what our end does not touch: a process in a session of its own, which nobody waits for."""
        _, output = _start(argv, env, b"", setsid=True)
        for file in output:
            os.close(file)

    def end_job(self, job: Job, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(job.pid, number)

    def advance(self) -> None:
        """Run every task as far as it goes without waiting."""
        moved = True
        while moved:
            moved = False
            for task in list(self.tasks):
                if task in self.tasks and task.is_ready(time.monotonic()):
                    self._step(task)
                    moved = True

    def _step(self, task: Task) -> None:
        self.current = task
        try:
            task.wait = next(task.flow)
        except StopIteration:
            if task in self.tasks:
                self.tasks.remove(task)
        finally:
            self.current = None
        if isinstance(task.wait, float | int):
            task.due = time.monotonic() + task.wait

    def rest(self, longest: float | None) -> tuple[bytes, bytes]:
        """Sleep until something happens. Returns what was typed and the numbers of the signals that came."""
        now = time.monotonic()
        dues = [task.due for task in self.tasks if isinstance(task.wait, float | int)]
        dues += [job.deadline for job in self.jobs.values() if job.deadline != float("inf")]
        if longest is not None:
            dues.append(now + longest)
        timeout = max(min(dues) - now, 0.0) if dues else None
        watched = [self.wake, 0] if self.has_input else [self.wake]
        ready = select.select(watched, [], [], timeout)[0]
        typed = signals = b""
        if self.wake in ready:
            signals = os.read(self.wake, 4096)
        if 0 in ready:
            with contextlib.suppress(OSError):
                typed = os.read(0, 65536)
            if not typed:  # the terminal is gone
                self.has_input = False
                signals += bytes([signal.SIGHUP])
        self._reap()
        return typed, signals

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid in self.jobs:
                    self._finish(self.jobs[pid], os.waitstatus_to_exitcode(status))
        for job in list(self.jobs.values()):
            if time.monotonic() >= job.deadline:
                self.end_job(job, signal.SIGKILL)
                self._finish(job, None)

    def _finish(self, job: Job, code: int | None) -> None:
        del self.jobs[job.pid]
        job.is_over, job.code = True, code
        job.out, job.err = (_drain(file) for file in job.output)
        if job.then:
            job.then(job)


def _drain(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as stream:
        return stream.read().decode("utf-8", "replace")
