"""Stand-ins for tmux and for the watcher: what a worker would do is a list of turns, what we did is recorded."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from dodo_claude.agents.claude.screens import BOX
from dodo_claude.machine import processes
from dodo_claude.machine.terminal import Pane
from dodo_claude.run.fleet import Fleet, Limits
from dodo_claude.worker import policy

# Above every process id of the system: nothing there can be hit by a signal.
NO_PID = 5_000_000
Step = str | tuple[str, Mapping[str, object]]
WORK: tuple[Step, ...] = (
    ("SessionStart", {"session_id": "s-1", "transcript_path": "/t.jsonl", "source": "startup"}),
    ("UserPromptSubmit", {"prompt": "do it"}),
)
STOP: Step = ("Stop", {"last_assistant_message": "made it", "background_tasks": []})
AGAIN: tuple[Step, ...] = (("UserPromptSubmit", {"prompt": "again"}), STOP)


@dataclass(frozen=True)
class Turn:
    """What a worker does when it is started or spoken to: files, then hook events, then maybe its end."""

    writes: dict[str, str] = field(default_factory=dict)
    events: Sequence[Step] = (*WORK, STOP)
    exits: int | None = None
    then: Callable[[], object] = lambda: None


class FakeBell(threading.Event):
    """Nobody rings it: a wait is over at once, after the next of `meanwhile` was done."""

    def __init__(self, meanwhile: list[Callable[[], object]]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def wait(self, timeout: float | None = None) -> bool:
        if self.meanwhile:
            self.meanwhile.pop(0)()
        else:
            super().wait(min(timeout or 0.01, 0.01))
        return True


class FakeWaker:
    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.ended: set[int] = set()
        self.meanwhile: list[Callable[[], object]] = []

    def register(self, ring: str) -> threading.Event:
        self.calls.append(("register", ring))
        return FakeBell(self.meanwhile)

    def watch_folder(self, ring: str, folder: Path) -> None:
        self.calls.append(("folder", folder))

    def watch_process(self, ring: str, pid: int) -> None:
        self.calls.append(("watch", pid))

    def gone(self, pid: int) -> bool:
        return pid in self.ended if pid > NO_PID else not processes.runs(pid)

    def forget(self, ring: str) -> None:
        self.calls.append(("forget", ring))


class FakeLookout:
    """Looks at once."""

    def __init__(self, terminal: FakeTerminal) -> None:
        self.terminal = terminal
        self.strange = False
        self.watched: set[str] = set()

    def watch(self, ring: str, pane: str, heard: float, *, box: bool) -> None:
        self.watched.add(ring)
        if time.monotonic() >= policy.next_look(heard, float("-inf")):
            self.strange = (pane in self.terminal.without(BOX)) is box

    def was_strange(self, ring: str) -> bool:
        strange, self.strange = self.strange, False
        return strange

    def forget(self, ring: str) -> None:
        self.watched.discard(ring)


class FakeFleet(Fleet):
    """The real one, that never lets a test wait, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(Limits(retry_delay=0.0, worker_memory=0), zone=UTC)
        self.told: list[tuple[object, ...]] = []

    def pause(self, kind: str, text: str) -> float:
        self.told.append(("pause", kind, text))
        return 0.0

    def failed(self, kind: str, who: str = "") -> None:
        self.told.append(("failed", kind, who))

    def retry_delay(self, failures: int) -> float:
        return 0.0


class FakeSlot:
    """A place that is always there."""

    environ: Mapping[str, str] = {}

    def release(self) -> None:
        pass


class FakeTerminal:
    def __init__(self, root: Path, waker: FakeWaker, *turns: Turn) -> None:
        self.root, self.waker, self.turns = root, waker, list(turns)
        self.calls: list[tuple[object, ...]] = []
        self.windows: list[str] = []  # that its windows had
        self.statuses: dict[int, int] = {}
        self.folder = root
        self.screens: list[str] = []  # what is captured, before the last one that stays
        self._pids = itertools.count(NO_PID + 1)

    def play(self, pane: Pane) -> Pane:
        turn = self.turns.pop(0) if self.turns else Turn(events=())
        for name, text in turn.writes.items():
            (self.root / name).write_text(text)
        for step in turn.events:
            drop(self.folder, step)
        turn.then()
        if turn.exits is not None:
            self.waker.ended.add(pane.pid)
            self.statuses[pane.pid] = turn.exits
        return pane

    def spawn(self, session: str, argv: Sequence[str], cwd: Path, mark: str, name: str) -> Pane:
        self.calls.append(("spawn", session, cwd))
        self.folder = Path(argv[-1]).parent
        return self.play(Pane("%1", "$1", next(self._pids)))

    def respawn(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        self.calls.append(("respawn", pane.id))
        return self.play(Pane(pane.id, pane.session, next(self._pids)))

    def split(self, pane: Pane, argv: Sequence[str], cwd: Path) -> Pane:
        self.calls.append(("split", pane.id, tuple(argv)))
        return Pane("%2", pane.session, next(self._pids))

    def exit_status(self, pane: Pane) -> int | None:
        return self.statuses.get(pane.pid)

    def paste(self, pane: Pane, texts: Sequence[str], scratch: Path) -> None:
        self.calls.append(("paste", tuple(texts)))
        self.play(pane)

    def press(self, pane: Pane, key: str) -> None:
        self.calls.append((key.lower(),))
        self.play(pane)

    def without(self, text: str) -> set[str]:
        return set() if text in (self.screens or [FREE])[0] else {"%1"}

    def rename(self, pane: Pane, name: str) -> None:
        self.windows.append(name)

    def capture(self, pane: Pane, *, history: int = 0, escapes: bool = False) -> str:
        return self.screens.pop(0) if self.screens else FREE

    def take_down(self, pane: Pane, session: str, mark: str, *, history: int = 0) -> str:
        self.close(session, mark)
        return self.capture(pane, history=history)

    def close(self, session: str, mark: str) -> None:
        self.calls.append(("close", session))

    def names(self) -> list[object]:
        return [call[0] for call in self.calls]


# The client's screen with an input box that is empty, and with somebody's draft in it.
FREE = f"its screen\n{'─' * 40}\n❯\xa0\x1b[7m \x1b[0m\n{'─' * 40}"
AWAY = f"its screen\n{'─' * 40}\n❯\xa0 \n{'─' * 40}"  # free, in a terminal that lost the focus
DIALOG = "its screen\nDo you want to proceed?\n❯ 1. Yes\n  2. No"
DRAFT = f"its screen\n{'─' * 40}\n❯\xa0half a word\x1b[7m \x1b[0m\n{'─' * 40}"
_numbers = itertools.count(1)


def drop(folder: Path, step: Step) -> None:
    """Put a hook's event into the spool of the attempt in `folder`."""
    kind, data = (step, {}) if isinstance(step, str) else step
    spool = folder / "spool"
    name = f"{next(_numbers):09}"
    (spool / f".{name}").write_text(json.dumps({"hook_event_name": kind, **data}))
    (spool / f".{name}").rename(spool / name)
