"""reaction: from the start of a worker's hook to its stage awake."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dodo_claude.machine.files import make_state_dir
from dodo_claude.machine.watch import Watcher
from dodo_claude.run.run import HOOK
from dodo_claude.state.journal import Attempt, StageLog
from tests.bench.frame import Figure, Found, milliseconds, spread_of_quantile
from tests.bench.lab import Lab

NAME = "reaction"
TITLE = (
    "From the start of a worker's hook (another process starts it, as the client does) to the stage's thread awake; "
    "`told`: until what it tells is in the journal. `100`: with as many workers' processes watched."
)
OTHERS = 100
# Starts the hook again and again, each time after a byte on its standard input, and says when it did.
WORKER = """
import os, sys, time
event = b'{"hook_event_name": "Stop", "session_id": "0", "last_assistant_message": "done"}'
for line in sys.stdin:
    read, write = os.pipe()
    os.write(write, event)
    os.close(write)
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_CLOSE, read)]
    began = time.monotonic_ns()
    pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
    os.close(read)
    os.waitpid(pid, 0)
    print(began, flush=True)
"""
# Between two hooks: both processes are asleep again.
PAUSE = 0.003


def run(lab: Lab) -> Iterator[Found]:
    for others in (0, OTHERS):
        awake, told = _reactions(lab.folder(f"reaction-{others}"), lab.rounds(1000, 20), others)
        suffix = f", {others}" if others else ""
        yield Figure(f"{NAME}/p50{suffix}", "ms", spread_of_quantile(awake, 0.5))
        yield Figure(f"{NAME}/p99{suffix}", "ms", spread_of_quantile(awake, 0.99))
        yield milliseconds(f"{NAME}/told{suffix}", [value / 1000 for value in told])


def _reactions(folder: Path, times: int, others: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the hook's start until the stage was awake, and until it had read the event."""
    attempt = StageLog(make_state_dir(folder), "stage").begin()
    with contextlib.ExitStack() as stack:
        watcher = Watcher()
        stack.callback(watcher.close)
        awake = watcher.register("ring")
        watcher.watch_folder("ring", attempt.spool)
        for number in range(others):
            process = stack.enter_context(subprocess.Popen(["sleep", "600"]))
            stack.callback(process.kill)
            watcher.register(str(number))
            watcher.watch_process(str(number), process.pid)
        hook = ["/bin/sh", str(HOOK), str(attempt.spool)]
        return _hear(hook, attempt, awake, times)


def _hear(
    hook: Sequence[str], attempt: Attempt, awake: threading.Event, times: int
) -> tuple[list[float], list[float]]:
    heard: list[tuple[int, int]] = []
    ready, over = threading.Event(), threading.Event()

    def stage() -> None:
        """As a stage's thread waits."""
        while not over.is_set():
            awake.clear()
            ready.set()
            awake.wait()
            at = time.monotonic_ns()
            if attempt.collect():
                heard.append((at, time.monotonic_ns()))

    with subprocess.Popen(
        [sys.executable, "-c", WORKER, *hook],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        thread = threading.Thread(target=stage, daemon=True)
        thread.start()
        began = []
        for number in range(times):
            ready.wait()
            time.sleep(PAUSE)
            worker.stdin.write("\n")
            began.append(int(worker.stdout.readline()))
            deadline = time.monotonic() + 10
            while len(heard) <= number and time.monotonic() < deadline:
                time.sleep(0.001)
            assert len(heard) == number + 1, "a ring was lost"
        over.set()
        awake.set()
        thread.join()
        worker.stdin.close()
    pairs = list(zip(began, heard, strict=True))
    return [(at - start) / 1e6 for start, (at, _) in pairs], [
        (read - start) / 1e6 for start, (_, read) in pairs
    ]
