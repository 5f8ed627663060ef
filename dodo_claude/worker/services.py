"""What a run lends to its stages, as plain values and small protocols: the seams of the engine.

`run.Run` makes the real ones; the tests make twenty-line fakes of the same.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dodo_claude.agents.usage import Usage
from dodo_claude.config.config import Stage
from dodo_claude.config.records import Prompt
from dodo_claude.machine.processes import Census
from dodo_claude.machine.terminal import Terminal
from dodo_claude.state.events import Outcome, View
from dodo_claude.state.stops import Stops
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.worker.protect import Guard
from dodo_claude.worker.undeclared import Tree, Undeclared
from dodo_claude.worker.verify import Fingerprint
from dodo_claude.worker.witness import Witness


class Waker(Protocol):
    """What a stage needs of `watch.Watcher`."""

    def register(self, ring: str) -> threading.Event: ...
    def watch_folder(self, ring: str, folder: Path) -> None: ...
    def watch_process(self, ring: str, pid: int) -> None: ...
    def gone(self, pid: int) -> bool: ...
    def forget(self, ring: str) -> None: ...


class Lookout(Protocol):
    """What a stage needs of `lookout.Lookout`."""

    def watch(self, ring: str, pane: str, heard: float, *, box: bool) -> None: ...
    def was_strange(self, ring: str) -> bool: ...
    def forget(self, ring: str) -> None: ...


class Fleet(Protocol):
    """What a stage needs of `fleet.Fleet`, which all stages of a run share."""

    @property
    def stopped(self) -> str | None: ...
    def stop(self, reason: str) -> None: ...
    def fatal(self, kind: str, text: str) -> None: ...
    def failed(self, kind: str, who: str) -> None: ...
    def over_budget(self) -> str | None: ...
    def adopted(self, key: str) -> None: ...
    def retry_delay(self, failures: int) -> float: ...
    def pause(self, kind: str, text: str) -> float: ...
    @property
    def paused_for(self) -> str: ...
    def pause_left(self) -> float: ...
    def minutes_left(self) -> float: ...
    def progress(self) -> None: ...
    def spent(self, key: str, usage: Usage, cost: float | None, stage: str = "") -> None: ...
    def admit(self, key: str, *, large: bool) -> str | None: ...
    def ended(self, key: str) -> None: ...


class Slot(Protocol):
    """The right to run one stage now."""

    @property
    def environ(self) -> Mapping[str, str]: ...
    def release(self) -> None: ...


@dataclass(frozen=True)
class Services:
    """What a run lends to its stages."""

    root: Path
    state: Path  # .orchestrate
    runtime: Path  # private, in memory where the system has it: sockets, environments
    hook: tuple[str, ...]  # hook.sh's command line without its spool
    terminal: Callable[[], Terminal]  # made when first needed: tmux costs an import
    waker: Waker
    lookout: Lookout
    fleet: Fleet
    stopping: threading.Event  # the run is being stopped
    prompt: Callable[[Stage], Prompt]  # the stage's prompt, its variables filled in
    environ: Mapping[str, str]
    witness: Witness  # of what stands as verified
    guard: Guard  # of the files that no stage may change
    slot: Callable[[float, Callable[[], bool]], Slot | None]  # take one within so many seconds, or give up
    report: Callable[[Stage, int, View], None] = lambda stage, attempt, view: None
    freed: Callable[[str], None] = lambda stage: None  # that stage gave its slot back before its end
    afterwards: Callable[[Callable[[], None]], None] = lambda job: job()  # do what nobody need wait for
    hurry: threading.Event = field(default_factory=threading.Event)  # kill, do not ask
    census: Census = field(default_factory=Census)
    redact: Redactor = NOTHING
    tree: Tree | None = None  # the project's files as git has them; None: nobody looks
    targets: Collection[str] = ()  # of all stages
    orders: tuple[str, ...] = ()  # of nested orchestrations, and plans: not to be edited
    plan_problems: Callable[[Stage], tuple[str, ...]] = lambda stage: ()  # of the plan that a planner wrote
    stops: Stops = field(default_factory=lambda: Stops(Path(os.devnull)))  # what people want stopped
    force: bool = False  # -a: a finished attempt is no reason to skip

    def end_reason(self, stage: str) -> str | None:
        """Why what is under way of `stage` is to end, if it is."""
        return self.stops.given(stage) or (
            "interrupted" if self.stopping.is_set() else self.fleet.over_budget()
        )

    def stop_reason(self, stage: str) -> str | None:
        """Why nothing more of `stage` is to be started, if so; what is under way may go on."""
        return self.stops.given(stage) or ("interrupted" if self.stopping.is_set() else self.fleet.stopped)


@dataclass(frozen=True)
class Done:
    """What doit is told of a stage."""

    outcome: Outcome
    attempt: int
    message: str = ""
    targets: Mapping[str, Fingerprint | None] = field(default_factory=dict)
    seconds: float = 0.0
    repairs: int = 0
    usage: Usage = field(default_factory=Usage)
    rechecked: int = 0  # the attempt whose files were checked again, with nobody at work; 0: none
    undeclared: tuple[Undeclared, ...] = ()  # what it changed besides its targets
