"""A run, from its lock to its report: what its stages share, how it begins and how it ends. Made lazily: a run in which
nothing is stale starts no tmux, imports nothing heavy and writes nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.config.records import Config, Plan, Prompt, Stage
from dodo_claude.machine import files, ours, watch
from dodo_claude.machine.files import (
    disk_problem,
    make_folder,
    make_state_dir,
    write_atomic,
)
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.run import lock
from dodo_claude.state import left
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.machine.tmux import Tmux
    from dodo_claude.report.gather import Said
    from dodo_claude.run.fleet import Fleet
    from dodo_claude.run.lookout import Lookout
    from dodo_claude.state.events import View
    from dodo_claude.state.slots import Slots
    from dodo_claude.worker.afterwards import Afterwards
    from dodo_claude.worker.services import Services
    from dodo_claude.worker.undeclared import Undeclared
    from dodo_claude.worker.witness import Overwritten, Witness

HOOK = Path(__file__).parents[1] / "agents/hook.sh"


class Run:
    """One run of the project's stages. Thread-safe: `services` may be called by any stage's thread."""

    def __init__(self, config: Config, environ: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.environ = dict(os.environ if environ is None else environ)
        self.id = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        self.stopping = threading.Event()
        self.hurry = threading.Event()
        self.fleet: Fleet | None = None
        self.force = False
        self.workers: int | None = None  # -n
        self.chosen: frozenset[str] | None = None  # the stages of this run, if not all
        self.started = time.time()
        self.report: Callable[[Stage, int, View], None] = lambda stage, attempt, view: None
        self.freed: Callable[[str], None] = lambda stage: None  # its place can be another's
        self._lock = threading.Lock()
        self._witnessing = threading.Lock()
        self._lock_fd: int | None = None
        self.holder = ""  # what the lock says of who holds it, if that is this run
        self._services: Services | None = None
        self._watcher: watch.Watcher | None = None
        self._lookout: Lookout | None = None
        self._slots: Slots | None = None
        self._afterwards: Afterwards | None = None
        self._started = False
        self.left = left.Left(self.config.root / STATE_DIR)
        self.begun: set[str] = set()  # names of stages that this run may have begun an attempt of
        self._settled = False  # when it began, no attempt was left of an earlier run
        self._tmux: Tmux | None = None
        self.learned: list[Stage] = []  # stages that were not known when the run began
        self._witness: Witness | None = None
        self.overwritten: Callable[[Overwritten], None] = _say_overwritten  # tells a person
        self.undeclared: dict[str, tuple[Undeclared, ...]] = {}  # what each stage changed besides its targets
        self.held: set[str] = set()  # names of stages that are done, or up to date, as doit's runner tells
        # May the stages of a plan run? Without it nobody is here to say yes.
        self.confirm: Callable[[Config, Plan], bool] | None = None
        # What keeps the terminal still while a person looks at a plan.
        self.asking: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        self.plan_problems: Callable[[str], tuple[str, ...]] = lambda group: ()

    @functools.cached_property
    def redact(self) -> Redactor:
        """Takes secrets out of all that is written."""
        return Redactor(self.environ)

    @property
    def witness(self) -> Witness:
        """Of what stands as verified. The first call makes it."""
        from dodo_claude.worker.witness import Witness

        with self._witnessing:
            if self._witness is None:
                self._witness = Witness(self.config.root, self.config.root / STATE_DIR)
                self._witness.tell = lambda found: self.overwritten(found)
            return self._witness

    def learn(self, config: Config) -> None:
        """Go on with a configuration that knows more stages. DodoClaudeError when they may not run."""
        from dodo_claude.run import approval

        missing, plans = approval.split(config, approval.unapproved(config, self.environ))
        if missing and self._started:
            # A settings file in an item's folder, say: commands are approved as they are written.
            raise approval.ApprovalError(f"{approval.summary(missing, asked=True)} (run it again)")
        for plan in plans:
            # Asked for the plan that is there, not for one that a planner which just failed left as it was.
            confirm = self.confirm if plan.planner in self.held else None
            approval.have_confirmed(config, self.environ, plan, confirm)
        known = {stage.name for stage in self.config.stages}
        self.learned += [stage for stage in config.stages if stage.name not in known]
        self.config = config
        if self._started:
            self.write_plan()

    # -- the lock

    def take_lock(self) -> None:
        """Hold the project for this process; the lock dies with its holder. Raises `RunInProgressError`."""
        if self._lock_fd is not None:
            return
        state = self.config.root / STATE_DIR
        try:
            fd = lock.take(self.config.root)
        except OSError as error:
            from dodo_claude.run.preflight import PreflightError

            raise PreflightError(disk_problem(error, self.config.root)) from error
        self._lock_fd = fd
        self.holder = lock.held_by(fd)
        ours.hold(state)
        for name in ("stages", "runs", "stops"):
            files.is_folder(state / name)  # what is none is said before anybody works
        files.is_file(state / "notes.md")
        lock.sweep_state(state, attempts=self.left.possible)

    # -- start and end

    def start(self, stages: Iterable[Stage]) -> None:
        """Look whether workers can start at all, and freeze the plan. Raises `DodoClaudeError`."""
        from dodo_claude.run import preflight

        self.take_lock()
        stages = list(stages)
        names = frozenset(stage.name for stage in stages)
        self.chosen = names if len(names) < len(self.config.stages) else None
        preflight.look(self.config, stages, self.environ)
        try:
            self.write_plan()
        except OSError as error:
            raise preflight.PreflightError(disk_problem(error, self.config.root)) from error
        self._started = True

    def start_nobody(self) -> None:
        """For who only checks again: no worker starts, so there is nothing to plan. Raises `DodoClaudeError`."""
        from dodo_claude.run import approval

        self.take_lock()
        approval.require(self.config, self.environ)
        self._started = True

    def services(self) -> Services:
        """What the stages share; the first call starts it."""
        with self._lock:
            if self._services is None:
                if not self._started:  # by plain `doit run`, which knows no preflight
                    self.start(self.config.stages)
                    self._stood()
                self._services = self._make_services()
            return self._services

    def attend(self) -> Services:
        """What it takes to end what an earlier run left, and to start nothing. Raises `DodoClaudeError`, `OSError`."""
        self.take_lock()
        with self._lock:
            self._services = self._services or self._make_services()
            return self._services

    def _stood(self) -> None:
        """What stands, as the journals tell: nobody says what is up to date."""
        for stage in self.config.stages:
            log = StageLog(self.config.root / STATE_DIR, stage.name)
            with contextlib.suppress(OSError, ValueError):
                result = Attempt(log, int(files.read_text(log.dir / "done"))).result() or {}
                targets = result.get("targets")
                if isinstance(targets, dict) and targets:
                    self.witness.stood(stage.name, stage.fixed(targets))

    def _make_services(self) -> Services:
        from dodo_claude.agents.table import boxes
        from dodo_claude.run.fleet import Fleet, Limits
        from dodo_claude.run.lookout import Lookout
        from dodo_claude.run.pauses import local_zone
        from dodo_claude.run.targets import Targets
        from dodo_claude.state.slots import Slots
        from dodo_claude.state.stops import Stops
        from dodo_claude.worker.afterwards import Afterwards
        from dodo_claude.worker.protect import Guard
        from dodo_claude.worker.services import Services
        from dodo_claude.worker.undeclared import Tree

        root = self.config.root
        runtime, state = watch.runtime_dir(root), make_state_dir(root)
        self._settled = left.begin(state)
        self._watcher = watch.Watcher()
        self._watcher.watch_loss(state, self._look_whether_lost)
        stops = Stops(state, self.holder)
        make_folder(stops.folder)
        self._watcher.watch_folder(watch.EVERYBODY, stops.folder)
        self._lookout = Lookout(
            lambda: set.intersection(*map(self.terminal().without, boxes())), self._watcher.ring
        )
        self.fleet = Fleet(
            Limits.of(self.config), zone=local_zone(self.environ), listener=self._watcher.ring_all
        )
        self._afterwards = Afterwards()
        folder = runtime / "slots"
        folder.mkdir(mode=0o700, exist_ok=True)
        self._slots = Slots.of_parent(self.environ) or Slots(folder, self.workers or self.config.max_workers)
        return Services(
            root=root,
            state=state,
            runtime=runtime,
            hook=("/bin/sh", str(HOOK)),
            terminal=self.terminal,
            waker=self._watcher,
            lookout=self._lookout,
            fleet=self.fleet,
            stopping=self.stopping,
            hurry=self.hurry,
            slot=self._slots.take,
            redact=self.redact,
            tree=Tree(root, self.environ),
            targets=Targets(lambda: self.config),
            orders=self.config.orders,
            plan_problems=self._plan_problems,
            prompt=self._prompt,
            environ=self.environ,
            witness=self.witness,
            guard=Guard(root, self.environ, self.id),
            report=lambda stage, attempt, view: self.report(stage, attempt, view),
            freed=lambda stage: self.freed(stage),
            afterwards=self._afterwards.do,
            stops=stops,
            force=self.force,
        )

    @property
    def lost(self) -> str | None:
        """What became of the project's folder, or its state folder, if this run has no place any more."""
        return ours.lost(self.config.root / STATE_DIR)

    def _look_whether_lost(self) -> None:
        if (reason := self.lost) is not None and self.fleet is not None:
            self.fleet.stop(reason)
            if self._slots is not None:
                self._slots.wake()

    def terminal(self) -> Tmux:
        """The tmux server of this project. libtmux is imported only when a worker starts."""
        with self._lock:
            if self._tmux is None:
                from dodo_claude.run import project_tmux

                self._tmux = project_tmux.open_tmux(self.config, self.environ)
            return self._tmux

    def stop(self, *, hurry: bool = False) -> None:
        """Ask every stage to end; in a `hurry` kill their workers at once. Not for a signal handler itself."""
        self.stopping.set()
        if hurry:
            self.hurry.set()
        if self._slots is not None:
            self._slots.wake()
        if self._watcher is not None:
            self._watcher.ring_all()

    def stopped(self, stages: Iterable[str]) -> Mapping[str, str]:
        """Of those of `stages` that this run was told not to begin: why."""
        return self._services.stops.among(stages) if self._services is not None else {}

    def settle(self) -> None:
        """Wait for what was left to be done beside the stages."""
        if self._afterwards is not None:
            self._afterwards.settle()

    def close(self) -> None:
        """Let go of everything. Workers that are kept stay in tmux."""
        from dodo_claude.run import project_tmux

        self.settle()
        with self._lock:
            lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.close()  # without the lock: it may be asking for the terminal
        with self._lock:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
            if self._tmux is None and self._lock_fd is not None and project_tmux.is_left(self.config):
                self._tmux = project_tmux.open_tmux(self.config, self.environ)
            if self._tmux is not None:
                if self._lock_fd is not None:
                    self._take_down_left(self._tmux)
                self._tmux.server.stop_if_empty()
                self._tmux = None
            services, self._services = self._services, None
            if self._lock_fd is not None:
                with contextlib.suppress(OSError, DodoClaudeError):
                    self._look_what_is_left()
            if services is not None and self._started:
                with contextlib.suppress(DodoClaudeError):
                    services.stops.clear()  # what came too late: whoever stops something looks whether we are still there
            if self._lock_fd is not None:
                ours.let_go(self.config.root / STATE_DIR)
                os.close(self._lock_fd)
                self._lock_fd = None

    def _look_what_is_left(self) -> None:
        """Of all stages, but where nothing was left before: then of those that this run came to.

        What can't be known yet which stages there are, or is not loaded, is for a run that knows them.
        """
        state = self.config.root / STATE_DIR
        if left.may_be(state) and self.config.stages and not self.config.late:
            known = {stage.name for stage in (*self.config.stages, *self.learned)}
            left.end(state, self.begun if self._settled else known)

    def _take_down_left(self, tmux: Tmux) -> None:
        from dodo_claude.worker.afterwards import take_down_left

        with contextlib.suppress(OSError, DodoClaudeError):
            stages = (*self.config.stages, *self.learned)
            take_down_left(tmux, stages, self.config.root / STATE_DIR, self.redact)

    def _plan_problems(self, stage: Stage) -> tuple[str, ...]:
        group = next(plan.group for plan in self.config.plans if plan.planner == stage.name)
        return self.plan_problems(group)

    def _prompt(self, stage: Stage) -> Prompt:
        from dodo_claude.run import stage_prompt

        return stage_prompt.render(self.config, self.environ, self.redact, stage)

    # -- the report

    def write_report(self, said: Mapping[str, Said]) -> tuple[Path, Callable[[], Path]]:
        """Write what this run came to as `runs/<id>/report.md` and `.json`. `said`: what doit said, by stage.

        With the former's path comes what writes the same as a page beside it: that reads far more.
        """
        from dodo_claude.report import gather, words
        from dodo_claude.report.runs import Span

        stopped = "interrupted" if self.stopping.is_set() else self.fleet and self.fleet.stopped
        chosen = self.chosen
        if chosen is not None:  # and what became known only in mid-run
            chosen |= said.keys() & {stage.name for stage in self.config.stages}
        span = Span(self.id, self.started, ended=time.time(), stopped=stopped or "", chosen=chosen)
        told = gather.report(self.config, span, said, self.redact, self.witness.found)
        folder = make_state_dir(self.config.root) / "runs" / self.id

        def write_page() -> Path:
            from dodo_claude.report import details, page

            found = details.details(self.config, span, told, self.redact)
            write_atomic(folder / "report.html", page.page(told, found))
            return folder / "report.html"

        return words.write(folder, told), write_page

    # -- the plan

    def write_plan(self) -> Path:
        """Freeze what this run is about to do as `runs/<id>/plan.toml`, and prove that it reads back."""
        from dodo_claude.run import plan_file

        state = make_state_dir(self.config.root)
        lock.sweep(state, ".probe-*", "..probe-*", "runs/*/.*.tmp")
        if not self._started:  # else more became known in mid-run: what happened before is of this run, too
            self.started = time.time()
        folder = state / "runs" / self.id
        make_folder(folder.parent)
        make_folder(folder)
        plan = plan_file.content(self.config, self.id, self.started, self.chosen)
        return plan_file.write(folder, self.redact.data(plan))


def _say_overwritten(found: Overwritten) -> None:
    """By plain `doit run`, whose reporter knows nothing of it."""
    sys.stderr.write(f"dodo_claude: {found.stage}: {one_line(found.text())}\n")
