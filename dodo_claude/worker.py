"""Driving one stage: its attempts, each from the first note on disk to a verified or a set-aside result.

The loop is dumb on purpose: it brings the facts (events, a dead process, a verification's problems, the
clock) to `lifecycle.decide` and carries out what that says. It runs in one of doit's worker threads, one
for each stage under way, and shares nothing with the others but what `Services` holds.

Rules this file keeps: an attempt is written down before it acts; never two workers on one stage; only a
verification makes a stage done; what a failed attempt made is moved aside, never lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dodo_claude import agents, processes, verify
from dodo_claude import lifecycle as life
from dodo_claude.config import Stage
from dodo_claude.errors import DodoClaudeError
from dodo_claude.journal import Attempt, StageLog, write_atomic
from dodo_claude.lifecycle import Outcome, Result, View
from dodo_claude.terminal import Pane, Terminal

# Lines of the pane kept in screen.txt when a worker ends.
SCREEN_LINES = 2_000
# How often a session is looked at in whose input box somebody types: nothing tells when it is free again.
DRAFT_SECONDS = 1.0


class Waker(Protocol):
    """What a stage needs of `watch.Watcher`."""

    def register(self, ring: str) -> threading.Event: ...
    def watch_process(self, ring: str, pid: int) -> None: ...
    def gone(self, pid: int) -> bool: ...
    def forget(self, ring: str) -> None: ...


@dataclass(frozen=True)
class Services:
    """What a run lends to its stages."""

    root: Path
    state: Path  # .orchestrate
    runtime: Path  # private, in memory where the system has it: sockets, the bell, environments
    hook: tuple[str, ...]  # hook.sh's command line without spool, bell and ring
    bell: Path
    terminal: Callable[[], Terminal]  # made when first needed: tmux costs an import
    waker: Waker
    stopping: threading.Event
    prompt: Callable[[Stage], str]  # the stage's prompt, its variables filled in
    environ: Mapping[str, str]
    report: Callable[[Stage, int, View], None] = lambda stage, attempt, view: None
    force: bool = False  # -a: a finished attempt is no reason to skip


@dataclass(frozen=True)
class Done:
    """What doit is told of a stage."""

    outcome: Outcome
    attempt: int
    message: str = ""
    targets: Mapping[str, verify.Fingerprint | None] = field(default_factory=dict)
    seconds: float = 0.0
    repairs: int = 0


def drive(stage: Stage, definition: Mapping[str, object], services: Services) -> Done:
    """Bring `stage` to an end: take over what an earlier run left, else run it anew, with its retries.

    `definition` is all that makes the result besides the bytes of its files: see `tasks.definition`.
    """
    try:
        return _drive(stage, definition, services)
    except OSError as error:
        raise DodoClaudeError(
            f"{error.filename or services.state}: {error.strerror or error} (free it, or mend its mode; then run again)"
        ) from error


def _drive(stage: Stage, definition: Mapping[str, object], services: Services) -> Done:
    log = StageLog(services.state, stage.name)
    left = None if services.force else log.open_attempt()
    if left is not None:
        done = _take_over(stage, definition, services, left)
        if done is not None:
            return done
    elif (old := log.open_attempt()) is not None:
        _clear_away(stage, services, old)
    tries = 0
    while True:
        done = _Run(stage, definition, services, log.begin()).run()
        if not done.outcome.retry or tries >= stage.retries or services.stopping.is_set():
            return done
        tries += 1


def _take_over(
    stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
) -> Done | None:
    """An attempt that doit never settled, since the run that made it was killed.

    Finished, and all as it was: that is the result. Its worker still lives and works on the same
    definition and inputs: go on with it. Else its remains are cleared away, None.
    """
    run = _Run.resumed(stage, definition, services, attempt)
    result = attempt.result()
    if result is not None:
        begun = result.get("result") == Result.SUCCEEDED.value and run.same_inputs
        recorded = result.get("targets")
        targets = recorded if isinstance(recorded, dict) else {}
        if begun and all(
            verify.same_bytes(services.root / name, targets.get(name)) for name in stage.targets
        ):
            return run.done_again(result)
    elif run.same_inputs and run.alive():
        return run.run()
    _clear_away(stage, services, attempt)
    return None


def _clear_away(stage: Stage, services: Services, attempt: Attempt) -> None:
    run = _Run.resumed(stage, {}, services, attempt)
    run.remove_worker()
    if attempt.result() is None:
        run.finish(Outcome(Result.ABORTED, "its run was cut off"))


class _Run:
    """One attempt under way."""

    def __init__(
        self, stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
    ) -> None:
        self.stage = stage
        self.definition = definition
        self.services = services
        self.attempt = attempt
        self.view = View()
        self.nonce = secrets.token_hex(16)
        self.before: Mapping[str, object] = {}
        self.inputs: Mapping[str, object] = {}
        self.same_inputs = True
        self.pane: Pane | None = None
        self.launch: agents.Launch | None = None
        self.problems: tuple[str, ...] | None = None
        self.check_output = ""
        self.began = time.time()
        self.clock = time.monotonic()  # the same moment on the clock that does not jump
        self.changed = self.clock  # when the view's state last changed, likewise

    @classmethod
    def resumed(
        cls, stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
    ) -> _Run:
        """An attempt as its journal tells of it."""
        self = cls(stage, definition, services, attempt)
        for event in attempt.replay():
            if event.kind == "begun":
                self._recall(event.data, event.at)
            self.view = life.advance(self.view, event)
            if event.kind == life.SPAWNED:
                self.pane = Pane(
                    str(event.data.get("pane")), str(event.data.get("session")), self.view.pid or 0
                )
        self.changed -= max(0.0, time.time() - self.view.since)
        return self

    def _recall(self, begun: Mapping[str, object], at: float) -> None:
        nonce, before, inputs = begun.get("nonce"), begun.get("before"), begun.get("inputs")
        self.nonce = nonce if isinstance(nonce, str) else self.nonce
        self.before = before if isinstance(before, dict) else {}
        self.inputs = inputs if isinstance(inputs, dict) else {}
        self.same_inputs = begun.get("definition") == dict(self.definition) and self._inputs_unchanged()
        self.clock -= max(0.0, time.time() - at)
        self.began = at

    def _inputs_unchanged(self) -> bool:
        root = self.services.root
        return set(self.inputs) == set(self.stage.file_dep) and all(
            verify.same_bytes(root / name, mark) for name, mark in self.inputs.items()
        )

    @property
    def ring(self) -> str:
        return self.nonce[:16]

    @property
    def interactive(self) -> bool:
        return self.stage.agent is not None and self.stage.agent.base != "command"

    def alive(self) -> bool:
        """Does this attempt's worker still live in its pane?"""
        return self.pane is not None and processes.lives(self.pane.pid, self.nonce)

    # -- the whole

    def run(self) -> Done:
        """Start (or go on with) the attempt and see it to its end."""
        bell = self.services.waker.register(self.ring)
        try:
            if self.pane is None:
                self._begin()
            if self.stage.agent is None:
                outcome = self._run_command(bell)
            else:
                if self.pane is None:
                    self._spawn()
                assert self.pane is not None
                self.services.waker.watch_process(self.ring, self.pane.pid)
                outcome = self._follow(bell)
            return self._end(outcome, bell)
        except DodoClaudeError as error:
            self.remove_worker()
            return self.finish(Outcome(Result.FAILED, str(error)))
        except BaseException:
            # What can't be written down now (a full disk), the next run finds open and clears away.
            with contextlib.suppress(OSError):
                self.remove_worker()
            with contextlib.suppress(OSError):
                self.finish(Outcome(Result.ABORTED, "dodo_claude failed"))
            raise
        finally:
            self.services.waker.forget(self.ring)

    def _begin(self) -> None:
        """Write down what is about to happen, and what it will be compared with."""
        root, stage = self.services.root, self.stage
        self.before = verify.fingerprints(root, stage.targets)
        self.inputs = verify.fingerprints(root, stage.file_dep)
        verify.keep_copies(root, stage.targets, self.attempt.dir / "before")
        self.attempt.record(
            "begun",
            nonce=self.nonce,
            definition=dict(self.definition),
            before=dict(self.before),
            inputs=dict(self.inputs),
        )
        for target in stage.targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self.clock

    # -- a worker

    def _spawn(self) -> None:
        stage, services, folder = self.stage, self.services, self.attempt.dir
        assert stage.agent is not None
        prompt = services.prompt(stage)
        if self.interactive:
            prompt = agents.deliverable(prompt)
        if not prompt.strip():
            raise DodoClaudeError(
                f"stage '{stage.name}': its prompt is empty once its variables are filled in"
            )
        write_atomic(folder / "prompt.md", prompt)
        job = agents.Job(
            stage=stage.name,
            attempt=self.attempt.number,
            root=services.root,
            cwd=services.root / stage.cwd if stage.cwd != "." else services.root,
            folder=folder,
            session_id=str(uuid.uuid4()),
            nonce=self.nonce,
            targets=stage.targets,
            check=stage.check,
            hook=(*services.hook, str(self.attempt.spool), str(services.bell), self.ring),
            by_file=agents.goes_by_file(prompt)
            if self.interactive
            else len(prompt.encode()) > agents.MAX_ARGUMENT,
        )
        self.launch = agents.launch(stage.agent, job, services.environ, dict(stage.env))
        for name, text in self.launch.files.items():
            write_atomic(folder / name, text)
        self._start(job.cwd, agents.launch_script(job, self.launch.command, self._env_file()))

    def _env_file(self) -> Path:
        return self.services.runtime / f"env-{self.ring}"

    def _start(self, cwd: Path, script: str) -> None:
        assert self.launch is not None
        path = self.attempt.dir / "launch.sh"
        write_atomic(path, script, 0o700)
        write_atomic(self._env_file(), agents.env_script(self.launch.env))
        argv = ["env", "-i", "/bin/sh", str(path)]
        terminal = self.services.terminal()
        if self.pane is None:
            self.pane = terminal.spawn(self.stage.session, argv, cwd, self.nonce)
        else:
            self.pane = terminal.respawn(self.pane, argv, cwd)
        self._note(life.SPAWNED, pane=self.pane.id, session=self.pane.session, pid=self.pane.pid)

    def _note(self, kind: str, **data: object) -> None:
        self._advance(self.attempt.record(kind, **data))

    def _advance(self, event: life.Event) -> None:
        since = self.view.since
        self.view = life.advance(self.view, event)
        if self.view.since != since:
            self.changed = time.monotonic()
        if not self.view.turn_done and self.view.state is not life.State.EXITED:
            self.problems = None  # a new turn began: the last verification is of the past
        self.services.report(self.stage, self.attempt.number, self.view)

    def _follow(self, bell: threading.Event) -> Outcome:
        """Until `decide` says stop."""
        while True:
            bell.clear()  # before looking: what comes after it rings again
            self._look()
            instruction = life.decide(self.view, self._facts())
            match instruction:
                case life.Wait(seconds):
                    bell.wait(seconds)
                case life.Verify():
                    self._verify(bell)
                case life.Send(problems):
                    if self._may_paste():
                        self._repair(problems)
                    else:
                        bell.wait(DRAFT_SECONDS)
                case life.PressEnter():
                    self.services.terminal().press_enter(self._pane())
                    self._note(life.ENTER)
                case life.Stop(outcome):
                    done = self._stop_worker(outcome)
                    if done is not None:
                        return done

    def _may_paste(self) -> bool:
        """Is the input box free? A person's draft and our paste would become one prompt."""
        if not self.interactive:
            return True
        free = agents.box_is_free(self.services.terminal().capture(self._pane(), escapes=True))
        if not free:
            waiting = replace(self.view, activity="waits: its input box holds a draft, or a dialog is open")
            self.services.report(self.stage, self.attempt.number, waiting)
        return free

    def _pane(self) -> Pane:
        assert self.pane is not None
        return self.pane

    def _look(self) -> None:
        # Asked first: a process that is gone has no more to say than what is in the spool now.
        gone = self.view.state is not life.State.EXITED and self.services.waker.gone(self._pane().pid)
        for event in self.attempt.collect():
            self._advance(event)
        if gone:
            self._note(life.EXITED, status=self.services.terminal().exit_status(self._pane()))

    def _facts(self) -> life.Facts:
        return life.Facts(
            elapsed=self._elapsed(),
            in_state=time.monotonic() - self.changed,
            timeout=self.stage.timeout,
            repairs=self.stage.repairs,
            interactive=self.interactive,
            interrupted=self.services.stopping.is_set(),
            problems=self.problems,
        )

    def _repair(self, problems: tuple[str, ...]) -> None:
        """Tell the worker what is missing: its own session, idle by its Stop hook, gets a paste."""
        number = self.view.repairs + 1
        order = f"The stage '{self.stage.name}' is not done: {'; '.join(problems)}. Please mend this and end your turn."
        data = f"\n\nOutput of the check, as data:\n{self.check_output}" if self.check_output else ""
        write_atomic(self.attempt.dir / f"repair-{number}.md", f"{order}{data}\n")
        self._note(life.SENT, text=order)
        if self.interactive:
            # A long paste reaches the model in a frame that marks it as pasted: so the order goes first,
            # short enough to stay outside of it, and the check's output, which is data, inside.
            self.services.terminal().paste(self._pane(), [order, data] if data else [order], self.attempt.dir)
            return
        # A command that has ended is run again, with the first prompt and what is missing.
        prompt = (self.attempt.dir / "prompt.md").read_text(encoding="utf-8")
        write_atomic(self.attempt.dir / f"prompt-{number - 1}.md", prompt)
        write_atomic(self.attempt.dir / "prompt.md", f"{prompt}\n\n{order}{data}\n")
        script = (self.attempt.dir / "launch.sh").read_text(encoding="utf-8")
        self._relaunch(script)

    def _relaunch(self, script: str) -> None:
        if self.launch is None:  # taken over from a killed run: its environment is gone with that
            raise DodoClaudeError(f"{self.stage.name}: its command ended while nobody followed it; run again")
        cwd = self.services.root / self.stage.cwd
        self._start(cwd, script)
        self.services.waker.watch_process(self.ring, self._pane().pid)

    # -- verification

    def _verify(self, bell: threading.Event) -> None:
        self.problems, self.check_output = self._examine(bell)
        self.attempt.record(life.VERIFIED, ok=not self.problems, problems=list(self.problems))

    def _examine(self, bell: threading.Event) -> tuple[tuple[str, ...], str]:
        stage, root = self.stage, self.services.root
        problems = verify.target_problems(
            root, stage.targets, self.before, allow_unchanged=stage.allow_unchanged
        )
        if problems or stage.check is None:
            return problems, ""
        self.services.report(stage, self.attempt.number, replace(self.view, activity="its check runs"))
        log = self.attempt.dir / "check.log"
        ended = self._command(stage.check, log, bell)
        if ended.status == 0 and not ended.stopped:
            return (), ""
        output = verify.output_tail(log)
        how = ended.stopped or life.describe_exit(ended.status)
        last = output.rstrip().rpartition("\n")[2].strip()
        detail = f": {last[:200]}" if last else ""
        return (f"check `{stage.check}` ended with {how}{detail}",), output

    def _command(self, command: str, log: Path, bell: threading.Event) -> processes.Ended:
        def wait(pid: int, seconds: float) -> bool:
            self.services.waker.watch_process(self.ring, pid)
            while not self.services.waker.gone(pid):
                if self.services.stopping.is_set():
                    return True
                bell.clear()
                if self.services.waker.gone(pid) or self.services.stopping.is_set():
                    continue
                if not bell.wait(seconds):
                    break
            return False

        return processes.run_command(
            command,
            cwd=self.services.root / self.stage.cwd,
            env={**self.services.environ, **dict(self.stage.env), "DODO_CLAUDE_STAGE": self.stage.name},
            log=log,
            timeout=max(1.0, self.stage.timeout - self._elapsed()),
            nonce=f"{self.nonce}-command",
            wait=wait,
        )

    def _run_command(self, bell: threading.Event) -> Outcome:
        """A stage that is an ordinary command."""
        assert self.stage.command is not None
        self.services.report(self.stage, self.attempt.number, replace(self.view, activity=self.stage.command))
        log = self.attempt.dir / "output.log"
        ended = self._command(self.stage.command, log, bell)
        if ended.stopped == "interrupted":
            return Outcome(Result.ABORTED, "interrupted")
        if ended.stopped:
            return Outcome(Result.TIMED_OUT, f"timed out after {self.stage.timeout:g} s")
        if ended.status != 0:
            last = verify.output_tail(log).rpartition("\n")[2]
            detail = f": {last[:200]}" if last else ""
            return Outcome(
                Result.FAILED,
                f"its command ended with {life.describe_exit(ended.status)}{detail} (see {log})",
            )
        problems, _ = self._examine(bell)
        return Outcome(Result.FAILED, "; ".join(problems)) if problems else Outcome(Result.SUCCEEDED)

    # -- the end

    def _stop_worker(self, outcome: Outcome) -> Outcome | None:
        """End the worker as `keep` says. None: it changed something meanwhile, look again."""
        stage = self.stage
        marks = verify.fingerprints(self.services.root, stage.targets)
        good = outcome.result is Result.SUCCEEDED
        if stage.keep == "always" and outcome.result in (Result.SUCCEEDED, Result.FAILED):
            self._keep_screen()
            return outcome
        if self.view.state is not life.State.EXITED:
            processes.end_tree(self._pane().pid, self.nonce)
        # Only now: the client draws a turn's last lines after its Stop hook. A dead pane keeps its screen.
        self._keep_screen()
        if good and verify.fingerprints(self.services.root, stage.targets) != marks:
            # A verified target was changed before its worker was gone: what stands now must pass.
            self.problems = None
            self._note(life.EXITED, status=self.services.terminal().exit_status(self._pane()))
            self.view = replace(self.view, turn_done=True)
            return None
        if stage.keep == "never" or (good and stage.keep == "on-failure"):
            self.services.terminal().close(self._pane())
        return outcome

    def _keep_screen(self) -> None:
        screen = self.services.terminal().capture(self._pane(), history=SCREEN_LINES)
        if screen:
            write_atomic(self.attempt.dir / "screen.txt", screen.rstrip() + "\n")

    def remove_worker(self) -> None:
        """End the worker whatever state it is in, its screen kept."""
        if self.pane is None:
            return
        if processes.lives(self.pane.pid, self.nonce):
            processes.end_tree(self.pane.pid, self.nonce)
            self._keep_screen()

    def _end(self, outcome: Outcome, bell: threading.Event) -> Done:
        for event in self.attempt.collect():
            self._advance(event)
        return self.finish(outcome)

    def finish(self, outcome: Outcome) -> Done:
        """Write the attempt's end down; set half-made targets aside when it is not a success."""
        stage, root = self.stage, self.services.root
        self._env_file().unlink(missing_ok=True)
        moved: list[str] = []
        if outcome.result is not Result.SUCCEEDED:
            folder = self.attempt.dir
            moved = verify.set_aside(root, stage.targets, self.before, folder / "before", folder / "partial")
        targets = verify.fingerprints(root, stage.targets)
        seconds = self._elapsed()
        self._note(life.OUTCOME, result=outcome.result.value, reason=outcome.reason, retry=outcome.retry)
        self.attempt.finish(
            {
                "stage": stage.name,
                "attempt": self.attempt.number,
                "result": outcome.result.value,
                "reason": outcome.reason,
                "began": self.began,
                "seconds": round(seconds, 3),
                "repairs": self.view.repairs,
                "session_id": self.view.session_id,
                "transcript": self.view.transcript,
                "message": self.view.message,
                "targets": targets,
                "set_aside": moved,
                "pid": os.getpid(),
            }
        )
        return Done(outcome, self.attempt.number, self.view.message, targets, seconds, self.view.repairs)

    def done_again(self, result: Mapping[str, object]) -> Done:
        """The `Done` of an attempt that finished in an earlier run."""
        message, seconds, repairs = result.get("message"), result.get("seconds"), result.get("repairs")
        return Done(
            Outcome(Result.SUCCEEDED, "finished in an earlier run"),
            self.attempt.number,
            message if isinstance(message, str) else "",
            verify.fingerprints(self.services.root, self.stage.targets),
            seconds if isinstance(seconds, float) else 0.0,
            repairs if isinstance(repairs, int) else 0,
        )
