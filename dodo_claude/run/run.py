"""A run: the lock, the preflight, the frozen plan and what the stages share. Made lazily: a run in which
nothing is stale starts no tmux, imports nothing heavy and writes nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodo_claude.config.records import Config, Monitor, Phase, Plan, Prompt, Stage
from dodo_claude.machine import files, ours, watch
from dodo_claude.machine.files import being_written, disk_problem, make_folder, make_state_dir, write_atomic
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.state import left
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.machine.tmux import Tmux
    from dodo_claude.report.history import Said
    from dodo_claude.run.fleet import Fleet
    from dodo_claude.run.lookout import Lookout
    from dodo_claude.state.events import View
    from dodo_claude.state.slots import Slots
    from dodo_claude.worker.afterwards import Afterwards
    from dodo_claude.worker.services import Services
    from dodo_claude.worker.undeclared import Undeclared
    from dodo_claude.worker.witness import Overwritten, Witness

# In the state folder; sqlite has the last ones beside its file.
KEPT_OPEN = ("run.lock", "state.db", "state.db-wal", "state.db-shm", "state.db-journal")
HOOK = Path(__file__).parents[1] / "agents/hook.sh"
# Whoever asks who holds the lock has it, shared, for a moment: a status, a dashboard.
PEEK_SECONDS = 0.05


class RunInProgressError(DodoClaudeError):
    """Another run holds the project's lock."""


class PreflightError(DodoClaudeError):
    """Something that every worker needs is missing. Its text has a line for each problem."""


def lock(root: Path) -> int:
    """Hold the project in `root`, as long as the descriptor that is given back is open. Raises `RunInProgressError`."""
    state = make_state_dir(root)
    fd = files.open_file(state / "run.lock", os.O_RDWR | os.O_CREAT)
    end = time.monotonic() + PEEK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if time.monotonic() < end:
                time.sleep(PEEK_SECONDS / 10)
                continue
            holder = held_by(fd)
            os.close(fd)
            raise RunInProgressError(
                f"run in progress: {holder} (wait for it, or stop it with Ctrl-C there)"
            ) from error
    with contextlib.suppress(OSError):  # a full disk: the lock is what counts, its text is for people
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"pid {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode(), 0)
    return fd


def held_by(fd: int) -> str:
    """What the lock's file says of who holds it."""
    return os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "pid unknown"


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
            self._confirm(config, plan)
        known = {stage.name for stage in self.config.stages}
        self.learned += [stage for stage in config.stages if stage.name not in known]
        self.config = config
        if self._started:
            self.write_plan()

    def _confirm(self, config: Config, plan: Plan) -> None:
        """Have a person look at a plan. ApprovalError when nobody says yes."""
        from dodo_claude.run import approval

        # Asked for the plan that is there, not for one that a planner which just failed left as it was.
        confirm = self.confirm if plan.planner in self.held else None
        if confirm is None:
            raise approval.ApprovalError(
                f"its plan waits for your yes: read {plan.file} (then `doit orchestrate` in a terminal, or with --yes)"
            )
        if not confirm(config, plan):
            raise approval.ApprovalError(
                f"not confirmed: nothing of {plan.file} was started (run it again, edit the file before, or "
                f"`doit forget {plan.planner}` to have it planned anew)"
            )
        approval.approve(config, self.environ, plan=plan)

    # -- the lock

    def take_lock(self) -> None:
        """Hold the project for this process; the lock dies with its holder. Raises `RunInProgressError`."""
        if self._lock_fd is not None:
            return
        state = self.config.root / STATE_DIR
        try:
            fd = lock(self.config.root)
        except OSError as error:
            raise PreflightError(disk_problem(error, self.config.root)) from error
        self._lock_fd = fd
        self.holder = held_by(fd)
        ours.hold(state)
        for name in ("stages", "runs", "stops"):
            files.is_folder(state / name)  # what is none is said before anybody works
        files.is_file(state / "notes.md")
        # A run with nothing to do makes no folder, and there are many: only the newest one's can hold remains.
        with contextlib.suppress(OSError):
            _sweep(state / "runs" / max(files.names(state / "runs"), default="none"), ".*.tmp")
        if self.left.possible:
            from dodo_claude.worker import store

            with contextlib.suppress(OSError, ours.NotOursError):  # a store that is none fails nothing
                store.sweep(state)
            # A stage that is up to date has nobody else who would: its screen is written after its end.
            with contextlib.suppress(OSError):
                _sweep(state / "stages", "*/.*.tmp", "*/*/.*.tmp", "*/mail/*/.*.tmp")

    # -- start and end

    def start(self, stages: Iterable[Stage]) -> None:
        """Look whether workers can start at all, and freeze the plan. Raises `DodoClaudeError`."""
        self.take_lock()
        stages = list(stages)
        names = frozenset(stage.name for stage in stages)
        self.chosen = names if len(names) < len(self.config.stages) else None
        self.look(stages)
        try:
            self.write_plan()
        except OSError as error:
            raise PreflightError(disk_problem(error, self.config.root)) from error
        self._started = True

    def start_nobody(self) -> None:
        """For who only checks again: no worker starts, so there is nothing to plan. Raises `DodoClaudeError`."""
        from dodo_claude.run import approval

        self.take_lock()
        approval.require(self.config, self.environ)
        self._started = True

    def look(self, stages: Iterable[Stage]) -> None:
        """May workers start, and can they? Raises `DodoClaudeError`."""
        from dodo_claude.run import approval

        later = [foreach.template for foreach in self.config.late]
        problems = preflight(self.config, [*stages, *later], self.environ)
        if problems:
            raise PreflightError("\n".join(problems))
        approval.require(self.config, self.environ)
        from dodo_claude.agents.claude import clients

        # Only now: to ask a program of its version is to run it.
        problems = clients.too_old([*stages, *later], self.environ)
        if problems:
            raise PreflightError("\n".join(problems))

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
        from dodo_claude.run.fleet import Fleet, Limits, local_zone
        from dodo_claude.run.lookout import Lookout
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
            targets=_Targets(self),
            orders=self.config.orders,
            plan_problems=self._plan_problems,
            prompt=self.render_prompt,
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
                self._tmux = open_tmux(self.config, self.environ)
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
        self.settle()
        with self._lock:
            lookout, self._lookout = self._lookout, None
        if lookout is not None:
            lookout.close()  # without the lock: it may be asking for the terminal
        with self._lock:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None
            if self._tmux is None and self._lock_fd is not None and self._left_a_server():
                self._tmux = open_tmux(self.config, self.environ)
            if self._tmux is not None:
                if self._lock_fd is not None:
                    self._take_down_left(self._tmux)
                self._tmux.server.stop_if_empty()
                self._tmux = None
            if self._services is not None and self._started:
                with contextlib.suppress(DodoClaudeError):
                    self._services.stops.clear()  # what came too late
            self._services = None
            if self._lock_fd is not None:
                with contextlib.suppress(OSError, DodoClaudeError):
                    self._look_what_is_left()
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

    def _left_a_server(self) -> bool:
        """Did a run that was killed leave a server of ours, of which this one had no need?"""
        if self.config.socket == "default":
            return False
        with contextlib.suppress(OSError):
            path = watch.runtime_dir(self.config.root) / "tmux.sock"
            if path.exists():  # the socket stays when its server ends
                import socket

                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(path))
                    return True
        return False

    def _plan_problems(self, stage: Stage) -> tuple[str, ...]:
        group = next(plan.group for plan in self.config.plans if plan.planner == stage.name)
        return self.plan_problems(group)

    # -- prompts

    def render_prompt(self, stage: Stage) -> Prompt:
        """`stage`'s prompt with its files and messages in it as data, fenced by a mark nobody could know."""
        import secrets

        from dodo_claude.config import language, prompts, quotes

        assert stage.prompt is not None
        globs = dict(stage.prompt_globs)
        local, path = stage.local_name, stage.local_path
        names = dict.fromkeys([*stage.prompt_files, *(name for found in globs.values() for name in found)])
        texts: dict[str, str] = {}
        quoted = 0
        for name in names:
            texts[name] = self._included(stage, name)
            quoted += len(texts[name])
            if quoted > language.MOST:
                most = f"{language.MOST:,}".replace(",", " ")
                fact = f"its {len(names)} files have more than {most} characters in all: quote fewer"
                raise DodoClaudeError(f"{quotes.place(self.config, stage)}: {fact}")
        said = {name: self.message(name) for name in stage.messages}
        report = self.report_of(stage) if stage.report else ""
        env = {name: self.environ[name] for name in stage.prompt_env if name in self.environ}
        while True:
            mark = secrets.token_hex(8)
            if not any(mark in text for text in (*texts.values(), *said.values(), report)):
                break
        try:
            told = prompts.render(
                stage.prompt,
                item=stage.item,
                stage=local(stage.name),
                files={
                    path(name): prompts.fence("file", path(name), text, mark, prompts.CAP + quotes.NOTE)
                    for name, text in texts.items()
                },
                messages={
                    local(name): prompts.fence("message", local(name), text, mark)
                    for name, text in said.items()
                },
                env=env | dict(stage.env),
                globs={path(glob): [path(name) for name in names] for glob, names in globs.items()},
                report=prompts.fence("report", self.config.name, report, mark) if stage.report else None,
            )
        except DodoClaudeError as error:
            raise DodoClaudeError(f"{quotes.place(self.config, stage)}: {error}") from error
        if stage.plan is not None:
            from dodo_claude.config import plans

            brief = plans.brief(stage, self.config)
            told = replace(told, text=told.text + brief, data=told.data + brief)
        return told

    def report_of(self, stage: Stage) -> str:
        """What the stages came to that `stage` comes after, as Markdown."""
        from dodo_claude.report import history, rendered

        return rendered.stages_markdown(history.of_stages(self.config, stage.report, self.redact))

    def _included(self, stage: Stage, name: str) -> str:
        from dodo_claude.config import quotes

        try:
            return quotes.excerpt(str(self.config.root / name))
        except OSError as error:
            raise DodoClaudeError(
                f"{name}: {error.strerror or error} (the prompt of stage '{stage.name}' includes it)"
            ) from error

    def message(self, name: str) -> str:
        """The last message of a stage; of a group, all of them under their names."""
        from dodo_claude.state.events import Result

        members = dict(self.config.groups).get(name)
        if members is not None:
            return "\n\n".join(f"{member}:\n{self.message(member)}" for member in members)
        log = StageLog(make_state_dir(self.config.root), name)
        for number in reversed(log.attempts()):
            result = Attempt(log, number).result()
            if result is not None and result.get("result") == Result.SUCCEEDED.value:
                return str(result.get("message") or "")
        return ""

    # -- the report

    def write_report(self, said: Mapping[str, Said]) -> tuple[Path, Callable[[], Path]]:
        """Write what this run came to as `runs/<id>/report.md` and `.json`. `said`: what doit said, by stage.

        With the former's path comes what writes the same as a page beside it: that reads far more.
        """
        from dodo_claude.report import history, rendered
        from dodo_claude.report.runs import Span

        stopped = "interrupted" if self.stopping.is_set() else self.fleet and self.fleet.stopped
        chosen = self.chosen
        if chosen is not None:  # and what became known only in mid-run
            chosen |= said.keys() & {stage.name for stage in self.config.stages}
        span = Span(self.id, self.started, ended=time.time(), stopped=stopped or "", chosen=chosen)
        told = history.report(self.config, span, said, self.redact, self.witness.found)
        folder = make_state_dir(self.config.root) / "runs" / self.id

        def write_page() -> Path:
            from dodo_claude.report import details, page

            found = details.details(self.config, span, told, self.redact)
            write_atomic(folder / "report.html", page.page(told, found))
            return folder / "report.html"

        return rendered.write(folder, told), write_page

    # -- the plan

    def write_plan(self) -> Path:
        """Freeze what this run is about to do as `runs/<id>/plan.toml`, and prove that it reads back."""
        state = make_state_dir(self.config.root)
        _sweep(state, ".probe-*", "..probe-*", "runs/*/.*.tmp")
        if not self._started:  # else more became known in mid-run: what happened before is of this run, too
            self.started = time.time()
        folder = state / "runs" / self.id
        make_folder(folder.parent)
        make_folder(folder)
        plan = self.redact.data(self._plan())
        text = _tables(plan)
        if _read_back(text) != plan:
            # Some strings come out of the writer as other strings, or as no TOML: they go in as hex.
            plan = _armoured(plan)
            text = _tables(plan)
            if _read_back(text) != plan:
                raise DodoClaudeError(
                    f"{folder}/plan.toml: can't be written so that it reads back (please report it)"
                )
        path = folder / "plan.toml"
        write_atomic(path, text)
        return path

    def _plan(self) -> dict[str, Any]:
        from datetime import datetime

        from dodo_claude import __version__

        stages = {stage.name: _stage(stage) for stage in self.config.stages}
        return {
            "run": {
                "id": self.id,
                # To the millisecond: what happened before is no part of this run.
                "started": datetime.fromtimestamp(self.started)
                .astimezone()
                .isoformat(timespec="milliseconds"),
                "dodo_claude": __version__,
                "name": self.config.name,
                "max_workers": self.config.max_workers,
                "tmux": self.config.socket,
                **({} if self.chosen is None else {"chosen": sorted(self.chosen)}),
            },
            "stages": stages,
            "late": {
                late.group: {"items": late.source, "known_after": list(late.makers)}
                for late in self.config.late
            },
        }


# Of a stage and its phases what is no key of theirs: their names, where they stand, and what was found in their prompts.
_NO_KEYS = frozenset(
    ("name", "group", "line", "prefix", "folder", "planned", "agent", "messages", "prompt_env", "prompt_files", "prompt_globs",
     "report")
)  # fmt: skip
_IN_SECONDS = frozenset(("timeout", "idle_timeout", "person_timeout", "every", "debounce"))


def _stage(stage: Stage) -> dict[str, object]:
    """All keys of a stage that have a value, as they count for it."""
    entry = _keys(stage)
    if stage.agent is not None:
        entry |= {"agent": stage.agent.name, "allowed_tools": list(stage.agent.allowed_tools)}
        if stage.agent.model is not None:
            entry["model"] = stage.agent.model
    if stage.phases:
        entry["phases"] = [_keys(phase) for phase in stage.phases]
    if stage.monitors:
        entry["monitors"] = {monitor.name: _keys(monitor) for monitor in stage.monitors}
    return entry


def _keys(record: Stage | Phase | Monitor) -> dict[str, object]:
    """Its own keys, one by one as its class has them, but for those that are records themselves."""
    found: dict[str, object] = {}
    for name in record.__dataclass_fields__:
        value = getattr(record, name)
        if name in _NO_KEYS or value is None or name in ("phases", "monitors"):
            continue
        if name == "env":
            hidden = Redactor(dict(value))
            value = {variable: hidden.text(text) for variable, text in value}
        found[f"{name}_seconds" if name in _IN_SECONDS else name] = (
            list(value) if isinstance(value, tuple) else value
        )
    return found


def _say_overwritten(found: Overwritten) -> None:
    """By plain `doit run`, whose reporter knows nothing of it."""
    sys.stderr.write(f"dodo_claude: {found.stage}: {one_line(found.text())}\n")


class _Targets(Collection[str]):
    """All stages' targets in the order of paths, those of stages that the run learns of later, too."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._config: Config | None = None
        self._names: frozenset[str] = frozenset()
        self._order: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def _now(self) -> tuple[frozenset[str], tuple[str, ...]]:
        with self._lock:
            config = self._run.config
            if self._config is not config:
                self._names = frozenset(target for stage in config.stages for target in stage.targets)
                self._order, self._config = tuple(sorted(self._names)), config
            return self._names, self._order

    def __contains__(self, name: object) -> bool:
        return name in self._now()[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now()[1])

    def __len__(self) -> int:
        return len(self._now()[0])


def _written(value: Mapping[str, Any]) -> str:
    """`value` as TOML, or what is none when the writer breaks down over it."""
    import toml  # a writer only: its reader takes wrong files and refuses right ones

    try:
        return toml.dumps(value)
    except (IndexError, ValueError):  # for one, of a string that begins with a control character
        return "="


def _tables(plan: Mapping[str, Mapping[str, Any]]) -> str:
    """A plan as TOML. Table by table, since the writer's time goes by the square of what it is given."""
    parts = [{"run": plan["run"]}]
    for key in ("stages", "late"):
        parts += [{key: {name: table}} for name, table in plan[key].items()] or [{key: {}}]
    return "\n".join(map(_written, parts))


def _read_back(text: str) -> object:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _armoured(value: Any) -> Any:
    """`value` with each string that `toml` can't write right as 'hex:…' of its UTF-8."""
    if isinstance(value, dict):
        return {key: _armoured(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_armoured(item) for item in value]
    if isinstance(value, str) and _read_back(_written({"x": value})) != {"x": value}:
        return f"hex:{value.encode().hex()}"
    return value


# -- before any worker starts


def preflight(config: Config, stages: list[Stage], environ: Mapping[str, str]) -> list[str]:
    """What every worker of `stages` needs and what of it is missing: fact and remedy, a line each."""
    import shutil

    from dodo_claude.agents.claude import trust
    from dodo_claude.agents.table import agent_of
    from dodo_claude.run import programs

    problems: list[str] = []
    missing = set()
    profiles = {stage.agent.full_name: stage.agent for stage in stages if stage.agent is not None}
    if profiles:
        from dodo_claude.machine import server

        try:
            server.check_version()
        except DodoClaudeError as error:
            problems.append(str(error))
    for profile in profiles.values():
        command = profile.command[0] if profile.command else None
        if command is not None and shutil.which(command, path=environ.get("PATH")) is None:
            hint = (
                "npm install -g @anthropic-ai/claude-code, or --agent scripted"
                if agent_of(profile).can.setup
                else ""
            )
            hint = hint or f"install it, or set agents.{profile.name}.command"
            problems.append(f"agent '{profile.name}': '{command}' not found on PATH ({hint})")
            missing.add(profile.full_name)
        elif agent_of(profile).can.scenario:
            scenario = config.root / (profile.scenario or "scenario.toml")
            if not scenario.is_file():
                problems.append(
                    f"agent '{profile.name}': {profile.scenario} not found beside {config.path.name}; "
                    "the scripted agent plays what that file says (write it, or use another agent)"
                )
    ready = [stage for stage in stages if stage.agent is not None and agent_of(stage.agent).can.setup
             and stage.agent.full_name not in missing]  # fmt: skip
    if ready:
        from dodo_claude.agents.claude import clients

        problems += trust.problems(trust.folders(config, ready), environ)
        problems += clients.settings_problems(config, ready, environ)
    problems += map(str, programs.problems(config, stages, environ))
    problems += unwritable(config)
    return problems


def unwritable(config: Config) -> list[str]:
    """Why a run could not write down here what it does."""
    try:
        probe = make_state_dir(config.root) / f".probe-{os.getpid()}"
        write_atomic(probe, "x")
        files.remove(probe)
        watch.runtime_dir(config.root)
    except OSError as error:
        return [disk_problem(error, config.root)]
    return []


def closed(config: Config) -> list[str]:
    """Of the files that a run keeps open those that it could not open, and why. For nobody who has them open: whoever closes
    a file lets go of its process's locks on it, sqlite's, too."""
    problems = []
    for name in KEPT_OPEN:
        try:
            os.close(files.open_file(config.root / STATE_DIR / name, os.O_RDWR))
        except FileNotFoundError:
            continue  # it is made
        except ours.NotOursError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(disk_problem(error, config.root))
    return problems


def _owner(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root)).hexdigest()[:12]


def open_tmux(config: Config, environ: Mapping[str, str]) -> Tmux:
    """The tmux server that `config` asks for."""
    from dodo_claude.machine.tmux import Tmux

    if config.socket == "default":
        return Tmux(None, owner=_owner(config.root))
    return own_tmux(config.root, environ)


def own_tmux(root: Path, environ: Mapping[str, str]) -> Tmux:
    """The tmux server of the project's own at `root`."""
    from dodo_claude.machine.tmux import Tmux

    plain = {name: environ[name] for name in ("HOME", "PATH", "SHELL", "USER", "TMPDIR") if name in environ}
    return Tmux(watch.runtime_dir(root) / "tmux.sock", {"LANG": "C.UTF-8", **plain}, _owner(root))


def _sweep(folder: Path, *patterns: str) -> None:
    """Remove what a run left that was killed while it wrote."""
    for pattern in patterns:
        for path in files.find(folder, pattern):
            if not (path.suffix == ".tmp" and being_written(path)):
                files.remove(path, missing_ok=True)
