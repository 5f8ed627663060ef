"""What nobody need wait for: the sessions of workers that did well are taken down while the next ones begin.

A run that is killed in between leaves a session whose processes have ended; the next run takes it down.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.config.records import Stage
from dodo_claude.machine import files
from dodo_claude.machine.files import write_atomic
from dodo_claude.state.events import Result
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.machine.tmux import Tmux

# Lines of the pane kept in screen.txt when a worker ends.
SCREEN_LINES = 2_000


class Afterwards:
    """Jobs beside the run's work. What goes wrong in them changes nothing that was done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def do(self, job: Callable[[], object]) -> None:
        """Soon, in a thread of its own."""

        def run() -> None:
            with contextlib.suppress(OSError, DodoClaudeError):
                job()

        thread = threading.Thread(target=run, name="dodo-claude-afterwards")
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def settle(self) -> None:
        """Wait for all of them."""
        while True:
            with self._lock:
                threads, self._threads = self._threads, []
            if not threads:
                return
            for thread in threads:
                thread.join()


def keep_screen(attempt: Attempt, screen: str, redact: Redactor) -> None:
    """Write down what a worker's screen showed last."""
    if screen:
        text = redact.text(screen.rstrip() + "\n")
        with contextlib.suppress(OSError, DodoClaudeError):  # for people to look at: no work is lost for it
            write_atomic(attempt.dir / "screen.txt", text, durable=False)


def take_down_left(tmux: Tmux, stages: Iterable[Stage], state: Path, redact: Redactor) -> None:
    """Take down the sessions that a killed run left of workers that did well: nothing runs in them any more."""
    ended = {name for name, lives in tmux.server.living().items() if not lives}
    there = tmux.server.sessions() if ended else {}
    for stage in stages:
        if (
            stage.session not in ended
            or stage.session not in there
            or stage.keep not in ("never", "on-failure")
        ):
            continue
        last = StageLog(state, stage.name).last()
        if last is None or (last.result() or {}).get("result") != Result.SUCCEEDED.value:
            continue
        session, _ = there[stage.session]
        if not files.is_file(last.dir / "screen.txt"):
            keep_screen(last, tmux.capture_session(session, history=SCREEN_LINES), redact)
        tmux.server.remove(session)
