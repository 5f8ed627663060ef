"""One attempt at a stage as far as it needs no worker: its record on disk, its place in the run, its verification
and its end. `worker.Worker` adds whoever does the work; `command.Command` is a stage that is an ordinary command.

Rules this file keeps: an attempt is written down before it acts; only a verification makes a stage done; what a
failed attempt made is moved aside, never lost.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

from dodo_claude.agents.table import agent_of
from dodo_claude.agents.usage import Usage
from dodo_claude.config import shell
from dodo_claude.config.config import Stage
from dodo_claude.machine import files, ours, processes
from dodo_claude.machine.files import disk_problem, write_atomic
from dodo_claude.state import events as life
from dodo_claude.state import lifecycle
from dodo_claude.state.events import Outcome, Result, View
from dodo_claude.state.journal import Attempt
from dodo_claude.text.durations import in_words
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.worker import phases, policy, protect, verify
from dodo_claude.worker.services import Done, Services, Slot
from dodo_claude.worker.undeclared import Undeclared, of_stage

# How often a stage that may not start yet (memory, a pause, no slot) asks again.
START_SECONDS = 0.5
# Problems of a plan that its reason names; its planner is told of all.
PROBLEMS_NAMED = 3
# Why a command was ended, and not by its time: see processes.Ended.
INTERRUPTED = "interrupted"
# Of these one is there before anything of an attempt acts.
_STARTED = ("launch.sh", "output.log")


class InterruptedCheckError(Exception):
    """A check was ended, since its stage is: it says nothing of what it was to prove."""


class Work(ABC):
    """One attempt under way."""

    def __init__(
        self, stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
    ) -> None:
        self.stage = stage
        self.agent = agent_of(stage.agent)
        self.definition = definition
        self.services = services
        self.attempt = attempt
        self.view = View()
        self.nonce = secrets.token_hex(16)
        self.resume: Work | None = None  # the attempt whose session goes on here
        self.handover: Attempt | None = None  # the failed attempt that this one is told of
        self.before: Mapping[str, object] = {}  # the targets from before the first of the resumed attempts
        self.copies = attempt.dir / "before"  # where those are kept
        self.acted = False  # it got so far that its targets may be of its making
        self.inputs: Mapping[str, object] = {}
        self.protected: Mapping[str, object] = {}  # of an earlier run's attempt, as its journal has it
        self.watch: protect.Watch | None = None
        self.again = 0  # the attempt whose files are checked again here: see recheck.py
        self.resumes = 0  # attempts in a row on one session, without a tool call
        self.same_definition = True
        self.same_inputs = True
        self.verified: list[dict[str, object]] = []  # of a stage in phases: those that hold, see phases.kept
        self.check_output = ""
        self.trespasses: tuple[protect.Change, ...] = ()  # found before the check ran
        self.charged = False  # nor had it done the same to what others made
        self.wrote: dict[
            str, float
        ] = {}  # the files that its client's tools wrote, relative to the root, and when
        self.checked_again = False  # since a target was changed while it was checked
        self.failed: str | None = None  # the check that alone is not passed; "": our own, of a plan
        self.broken = False  # it could not even be run
        self.checking = False  # it came as far as a check
        self.edited: tuple[str, ...] = ()  # what was changed by nobody knows whom: see `_judge`
        self.began = time.time()
        self.clock = time.monotonic()  # the same moment on the clock that does not jump
        self.slot: Slot | None = None  # its place among those that work at once
        self.paused = 0.0  # seconds spent in pauses; they do not count as time used
        self.pause_began: float | None = None  # wall time

    @classmethod
    def recalled(
        cls, stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
    ) -> Self:
        """An attempt as its journal tells of it."""
        self = cls(stage, definition, services, attempt)
        self.same_definition = False  # unless its journal says what it was
        for event in attempt.replay():
            if event.kind == "begun":
                self._recall(event.data, event.at)
            self._fold(event)
        # Only now: a check may have changed some, which the journal tells.
        self.same_inputs = self.same_definition and not self.changed_inputs()
        if not self.acted and any(files.is_file(attempt.dir / name) for name in _STARTED):
            # Its journal's beginning is damaged: the copies tell what stood there before it.
            self.acted, self.before = True, verify.fingerprints(self.copies, stage.targets)
        return self

    def _recall(self, begun: Mapping[str, object], at: float) -> None:
        def table(key: str) -> Mapping[str, object]:
            value = begun.get(key)
            return value if isinstance(value, dict) else {}

        self.acted = True
        nonce, copies, resumes = begun.get("nonce"), begun.get("copies"), begun.get("resumes")
        self.nonce = nonce if isinstance(nonce, str) else self.nonce
        self.before, self.inputs = table("before"), table("inputs")
        self.protected = self.services.guard.read(begun)
        if isinstance(copies, int):
            self.copies = self.attempt.log.dir / str(copies) / "before"
        self.resumes = resumes if isinstance(resumes, int) else 0
        self.same_definition = begun.get("definition") == dict(self.definition)
        self.clock -= max(0.0, time.time() - at)
        self.began = at

    def changed_inputs(self) -> list[str]:
        """The stage's input files that are not what they were when the attempt began."""
        return verify.changed(self.services.root, self.inputs, self.stage.file_dep)

    @property
    def part(self) -> Stage:
        """What of the stage is worked on now: its phase, or all of it."""
        return phases.part(self.stage, self.view.phase)

    @property
    def ring(self) -> str:
        """What it is called where it waits: see `watch.Watcher`."""
        return self.nonce[:16]

    @property
    def _command_nonce(self) -> str:
        """What the stage's command, or its check, is known by."""
        return f"{self.nonce}-command"

    @property
    def key(self) -> str:
        """Its name in the fleet's books."""
        return f"{self.stage.name} {self.attempt.number}"

    def alive(self) -> bool:
        """Is somebody at work on it now?"""
        return False

    @property
    def end_reason(self) -> str | None:
        """Why what is under way is to end, if it is."""
        return self.services.end_reason(self.stage.name)

    @property
    def stop_reason(self) -> str | None:
        """Why nothing more is to be started, if so."""
        return self.services.stop_reason(self.stage.name)

    def remove(self) -> None:
        """End whoever works on it. A command ends with its attempt, but not with a run that is killed."""
        if self.acted:
            processes.end_tree(0, self._command_nonce)

    def tell(self, activity: str) -> None:
        """Let people know what happens now."""
        self.services.report(self.stage, self.attempt.number, replace(self.view, activity=activity))

    # -- the whole

    def run(self) -> Done:
        """Start (or go on with) the attempt and see it to its end."""
        bell = self.services.waker.register(self.ring)
        try:
            self.slot = self._wait_for_a_place(bell)
            if self.slot is None:
                self.remove()
                return self.finish(Outcome(Result.ABORTED, self.stop_reason or "interrupted"))
            if lost := self.services.witness.lost(self.stage.file_dep):
                raise DodoClaudeError(f"its input {'; its input '.join(lost)}")
            if there := verify.in_the_way(self.services.root, self.stage.targets):
                names = ", ".join(map(repr, there))
                raise DodoClaudeError(
                    f"no file can be made where a pipe, a socket or a device is: {names} (remove it)"
                )
            self.services.witness.began(self.stage.name, self.wrote.copy)
            return self.finish(self._work(bell, self.slot))
        except DodoClaudeError as error:
            self.remove()
            return self.finish(Outcome(Result.FAILED, str(error)))
        except BaseException as error:
            # What can't be written down now (a full disk), the next run finds without an end and clears away.
            with contextlib.suppress(OSError):
                self.remove()
            reason = "dodo_claude failed"
            if isinstance(error, OSError):
                reason = disk_problem(error, self.attempt.dir)
            with contextlib.suppress(OSError):
                self.finish(Outcome(Result.ABORTED, reason))
            raise
        finally:
            self.services.waker.forget(self.ring)
            self.services.lookout.forget(self.ring)
            self.services.fleet.ended(self.key)
            if not self.alive():
                self.services.witness.ended(self.stage.name)
            if self.watch is not None:
                self.services.guard.end(self.watch)
                self.watch = None  # it knows this attempt: a ring, which only Python's collector would let go
            self._leave()

    def _leave(self) -> None:
        """Give its place back: nobody works on it any more."""
        if self.slot is not None:
            self.slot.release()
            self.slot = None
            self.services.freed(self.stage.name)

    @abstractmethod
    def _work(self, bell: threading.Event, slot: Slot) -> Outcome:
        """Do it."""

    def _wait_for_a_place(self, bell: threading.Event) -> Slot | None:
        """A slot, once the fleet has room and no pause. None: the run is being stopped."""
        fleet, slot = self.services.fleet, None
        while self.stop_reason is None:
            slot = slot or self.services.slot(START_SECONDS, lambda: self.stop_reason is not None)
            if slot is None:
                continue
            if self.alive():  # adopted: it runs already, whatever the fleet thinks of new ones
                fleet.adopted(self.key)
                return slot
            left = fleet.pause_left() if self.agent.can.limits else 0.0
            why = (
                f"waits with all others, {in_words(left)}: {fleet.paused_for}"
                if left > 0
                else fleet.admit(self.key, large=self.agent.can.large)
            )
            if why is None:
                return slot
            self.tell(why)
            bell.clear()
            bell.wait(min(left, policy.LONGEST_WAIT) if left > 0 else START_SECONDS)
        if slot is not None:
            slot.release()
        return None

    def _begin(self) -> None:
        """Write down what is about to happen, and what it will be compared with."""
        root, stage = self.services.root, self.stage
        self.inputs = verify.fingerprints(root, stage.file_dep)
        self.watch = self.services.guard.begin(stage, self._allowed, time.time())
        if self.resume is None:
            self.before = verify.fingerprints(root, stage.targets)
            verify.keep_copies(root, stage.targets, self.copies)
        else:
            # The session goes on from what it had made; it is judged by what stood there before that.
            self.before, self.copies = self.resume.before, self.resume.copies
            self.resumes = self.resume.resumes + 1 if not self.resume.view.tools else 1
            self.verified = self.resume.verified
        self.attempt.record(
            "begun",
            nonce=self.nonce,
            definition=dict(self.definition),
            before=dict(self.before),
            copies=int(self.copies.parent.name),
            inputs=dict(self.inputs),
            **self.services.guard.written(self.watch, self.services.targets),
            resumes=self.resumes,
            on_permission=self.stage.on_permission,
            phase=len(self.verified),
            verified=self.verified,
            **({"again": self.again} if self.again else {}),
            **({"apart": phases.apart_from_checks(stage)} if stage.phases else {}),
        )
        for name in stage.file_dep:
            if (
                self.inputs.get(name) is None
            ):  # it went since the run began, or a task of dodo.py did not make it
                raise DodoClaudeError(f"its input '{name}' is not there, or can't be read")
        self.view = replace(self.view, phase=len(self.verified), denies=self.stage.on_permission == "deny")
        self.acted = True
        if self.resume is not None:
            verify.put_back(root, self._unverified(), self.resume.attempt.dir / "partial")
        for target in stage.targets:
            files.make_parents(root, root / target)

    def _watch_again(self) -> None:
        """Go on with an attempt of an earlier run: it is held against what was when it began."""
        guard = self.services.guard
        self.watch = guard.begin(self.stage, self._allowed, self.began)
        now, self.watch.since = self.watch.since, {**self.watch.since, **self._guarded(self.protected)}
        if guard.was_cut_off(self.began):
            # What that check changed can't be told from what its worker did; it told its turn's end before.
            self.watch.allow(self.watch.since, now, but=protect.is_order)

    def _guarded(self, marks: Mapping[str, object]) -> Mapping[str, object]:
        """Recorded marks for all that is guarded now: a file that has none was not there."""
        assert self.watch is not None
        new = (name for name in self.watch.since if self.watch.guards(name, self.services.targets))
        return {**dict.fromkeys(new), **marks}

    def _allowed(self, marks: Mapping[str, object]) -> None:
        """A check changed these. Called by any thread."""
        with contextlib.suppress(OSError):  # only a run after this one's kill would miss it
            self.attempt.record(life.CHECKED, protected=dict(marks))

    def _elapsed(self) -> float:
        pausing = time.time() - self.pause_began if self.pause_began is not None else 0.0
        return time.monotonic() - self.clock - self.paused - max(0.0, pausing)

    def _note(self, kind: str, **data: object) -> None:
        self._advance(self.attempt.record(kind, **data))

    def _fold(self, event: life.Event) -> None:
        self.view = lifecycle.advance(self.view, event)
        if event.kind == life.BEGUN:
            told = event.data.get("verified")
            self.verified = list(told) if isinstance(told, list) else []
        elif event.kind == "PostToolBatch":
            self.wrote |= dict.fromkeys(self.agent.written(event.data, self.services.root), event.at)
        elif event.kind == life.CHECKING:
            self.checking = True
        elif event.kind == life.PHASE:
            self.verified = [*self.verified, dict(event.data)]
        elif event.kind == life.CHECKED:
            for kind in ("protected", "inputs"):
                marks = event.data.get(kind)
                setattr(self, kind, {**getattr(self, kind), **(marks if isinstance(marks, dict) else {})})
        if event.kind == life.PAUSED and self.pause_began is None:
            self.pause_began = event.at
        elif event.kind == life.CONTINUED and self.pause_began is not None:
            self.paused += max(0.0, event.at - self.pause_began)
            self.pause_began = None

    def _advance(self, event: life.Event) -> None:
        self._fold(event)
        self.services.report(self.stage, self.attempt.number, self.view)

    def _usage(self) -> tuple[Usage, float | None]:
        """What it has used so far, and for how many dollars."""
        return Usage(), None

    # -- verification

    def _examine(self, bell: threading.Event) -> tuple[tuple[str, ...], str]:
        stage, part, root = self.stage, self.part, self.services.root
        last = self.view.phase + 1 >= phases.count(stage)
        problems = verify.target_problems(
            root, part.targets, self.before, allow_unchanged=stage.allow_unchanged or self.again > 0
        )
        if last and part is not stage:
            earlier = [name for name in stage.targets if name not in part.targets]
            problems += verify.target_problems(root, earlier, self.before, allow_unchanged=True)
        # Before the check: that one may write what it names, a report say; and a worker's script is not run.
        self.failed, self.broken = None, False
        self.trespasses = self._trespasses() if not problems else ()
        self.charged = bool(not problems and self._charges())
        if problems or self.trespasses or self.charged:
            return problems, ""
        if stage.plan is not None and (wrong := self.services.plan_problems(stage)):
            more = f" and {len(wrong) - PROBLEMS_NAMED} more" if len(wrong) > PROBLEMS_NAMED else ""
            self.failed = ""
            return (f"the plan is not right: {'; '.join(wrong[:PROBLEMS_NAMED])}{more}",), "\n".join(wrong)
        checks = [each for each in (part.check, stage.check if last else None) if each is not None]
        if last and part is not stage:
            checks += self._checks_of_earlier()
        while True:
            # Somebody beside it could change what was checked already: then the check says nothing of what stands there.
            crowded = bool(checks) and self.services.witness.crowded(stage.name)
            marks = verify.fingerprints(root, part.targets) if crowded else {}
            for check in dict.fromkeys(checks):
                problems, output = self._check(check, bell)
                if problems:
                    return problems, output
            if not verify.changed(root, marks, marks) or self.checked_again:
                return (), ""
            self.checked_again = True  # once: it may be the check itself that writes there

    def _fault(self, bell: threading.Event) -> Outcome | None:
        """What keeps the stage, or its phase, from being done where nobody is there to mend it; None: nothing."""
        try:
            problems, self.check_output = self._examine(bell)
        except InterruptedCheckError:
            return self._interrupted()
        if problems:
            return Outcome(Result.FAILED, "; ".join(problems), by_check=self.failed is not None)
        return None

    def _checks_of_earlier(self) -> list[str]:
        """Of verified phases those whose files may have been changed by somebody else since: what they said is said of
        other bytes. What the stage's later phases make of these files is theirs to say."""
        root, found = self.services.root, []
        since, spans, _ = self.services.witness.beside(self.stage.name)
        others = [span for span in spans if span[0] != self.stage.name]
        for phase, done in zip(self.stage.phases, self.verified, strict=False):
            marks = done.get("targets")
            marks = marks if isinstance(marks, dict) else {}
            for name in verify.changed(root, marks, marks) if phase.check is not None else ():
                with contextlib.suppress(FileNotFoundError):
                    at = (root / name).stat().st_mtime
                    if at <= self.wrote.get(name, 0.0):
                        continue  # its own tools wrote it last
                    if at >= since and not any(began <= at <= ended for _, began, ended in others):
                        continue  # it alone was at work, and seen
                found.append(phase.check or "")
                break
        return found

    def _check(self, check: str, bell: threading.Event) -> tuple[tuple[str, ...], str]:
        self._note(life.CHECKING, check=check)
        log = self.attempt.dir / "check.log"
        inputs = verify.renewed(self.services.root, self.inputs)
        with self.services.guard.check(self._watch()):
            ended = self._command(check, log, bell)
        self._take_inputs(inputs)
        if ended.stopped == INTERRUPTED:
            raise InterruptedCheckError
        if ended.status == 0 and not ended.stopped:
            return (), ""
        output = verify.output_tail(log)
        how = ended.stopped or policy.describe_exit(ended.status)
        fact = f"check `{check}` ended with {how}{verify.last_words(output)}"
        if not ended.stopped:
            self.failed = check
            if ended.status in policy.NOT_RUN and not self._makes_what_runs(check):
                self.broken = True
                fact = f"check `{check}` could not be run: {how}{verify.last_words(output)} ({policy.MEND_CHECK})"
        return (fact,), output

    def _take_inputs(self, before: Mapping[str, object]) -> None:
        """Its own check changed some of its inputs, after its work: that is no fault of that."""
        now = verify.renewed(self.services.root, before)
        changed = {
            name: mark
            for name, mark in now.items()
            if mark != before[name] and self.inputs.get(name) == before[name]
        }
        if changed:
            self._note(life.CHECKED, inputs=changed)

    def _makes_what_runs(self, check: str) -> bool:
        """Is what the check runs of the stage's own making: is it the worker's to mend?"""
        program = shell.first_program(check)
        return any(
            os.path.normpath(os.path.join(self.stage.cwd, word)) in self.stage.targets
            for word in (*self._scripts(check), *filter(None, [program]))
        )

    def _scripts(self, check: str) -> list[str]:
        folder = self.services.root / self.stage.cwd
        return shell.scripts(check, lambda word: (folder / word).is_file())

    def _command(self, command: str, log: Path, bell: threading.Event) -> processes.Ended:
        def wait(pid: int, seconds: float) -> bool:
            self.services.waker.watch_process(self.ring, pid)
            bell.clear()  # before looking: what comes after it rings again
            if not self.services.waker.gone(pid) and self.end_reason is None:
                # Once: a ring for something else must not begin the seconds anew.
                bell.wait(min(seconds, policy.LONGEST_WAIT))
            return not self.services.waker.gone(pid) and self.end_reason is not None

        return processes.run_command(
            command,
            cwd=self.services.root / self.stage.cwd,
            env={**self.services.environ, **dict(self.stage.env), "DODO_CLAUDE_STAGE": self.stage.name},
            log=log,
            timeout=max(1.0, self.stage.timeout - self._elapsed()),
            nonce=self._command_nonce,
            wait=wait,
            redact=self.services.redact,
            hurry=self.services.hurry.is_set,
        )

    def _interrupted(self) -> Outcome:
        return Outcome(Result.ABORTED, self.end_reason or INTERRUPTED)

    def _judge(self, outcome: Outcome) -> Outcome:
        """A success that changed what it may not change is none; nor is one that read what somebody else changed.

        Where it can't be told who did, it is no failure either: it is stopped, and goes on with the next run.
        """
        if outcome.result is not Result.SUCCEEDED:
            return outcome
        found = self.trespasses or self._trespasses(just_now=True)
        own = [*self._charges(), *(_accusation(change) for change in found if self._did(change))]
        if own:
            return Outcome(Result.FAILED, "; ".join(own))
        if disturbed := self.services.witness.disturbed(self.stage.name, self.stage.file_dep):
            return Outcome(Result.FAILED, f"its input {'; its input '.join(disturbed)}", retry=True)
        if not found:
            return outcome
        self.edited = tuple(change.name for change in found)
        if self.stage.agent is None and any(
            not (change.is_input or protect.is_order(change.name)) for change in found
        ):
            return Outcome(Result.FAILED, "; ".join(map(_accusation, found)))
        facts = map(_fact, found)
        inputs = any(change.is_input for change in found)
        why = "what it made may not fit it" if inputs else "it may not change that, and who did can't be told"
        return Outcome(
            Result.ABORTED, f"{'; '.join(facts)}: {why} (look at it; the next run goes on from here)"
        )

    def _trespasses(self, *, just_now: bool = False) -> tuple[protect.Change, ...]:
        """What was changed that may not be, as far as it, or nobody knows who, did it."""
        inputs = [
            protect.Change(name, is_input=True)
            for name, mark in self.inputs.items()
            if name not in self.stage.targets and not _as_before(self.services.root / name, mark)
        ]
        protected = [
            change
            for change in self._watch().changes(self.services.targets, just_now=just_now)
            if self._did(change) or (not self._editors(change) and self._could())
        ]
        return (*inputs, *protected)

    def _charges(self) -> tuple[str, ...]:
        """What of other stages' it is known to have overwritten."""
        self.services.witness.look(self.stage.file_dep)
        return self.services.witness.charges(self.stage.name)

    def _did(self, change: protect.Change) -> bool:
        """Did its own tools name that file? What a program does that it starts, no hook tells."""
        return self.stage.name in self._editors(change)

    def _editors(self, change: protect.Change) -> frozenset[str]:
        return self.services.guard.editors(change.name, self._watch().began)

    def _could(self) -> bool:
        """Could it have changed a file without a word of it?"""
        return True

    def _watch(self) -> protect.Watch:
        assert self.watch is not None
        return self.watch

    def _next_phase(self) -> None:
        """The phase is verified: write that down; what a rerun finds so, it need not do again."""
        number = self.view.phase
        self._note(
            life.PHASE,
            done=number + 1,
            mark=phases.mark(self.definition, number),
            targets=verify.fingerprints(self.services.root, self.part.targets),
            message=self.view.message,
        )

    # -- the end

    def finish(self, outcome: Outcome) -> Done:
        """Write the attempt's end down; set half-made targets aside when it is not a success."""
        stage, root = self.stage, self.services.root
        ours.check(self.attempt.dir)  # before anything of a folder that is not ours any more is set aside
        outcome = self._answered_for(outcome)
        outcome = replace(outcome, reason=self.services.redact.text(outcome.reason))
        moved: list[str] = []
        if outcome.result is not Result.SUCCEEDED:
            if self.acted:  # else what stands there is older than it, and fine
                outcome = self._set_aside_what_it_may_not_make(outcome)
                moved = verify.set_aside(
                    root, self._unverified(), self.before, self.copies, self.attempt.dir / "partial"
                )
            self._hand_over(outcome, moved)
        targets = verify.fingerprints(root, stage.targets)
        undeclared = self._undeclared() if self.acted else []
        seconds, (usage, cost) = self._elapsed(), self._usage()
        self._note(
            life.OUTCOME,
            result=outcome.result.value,
            reason=outcome.reason,
            retry=outcome.retry,
            cause=outcome.kind,
            fatal=outcome.fatal,
            # A kill may come before the next lines: what is finished is finished from here on.
            targets=targets,
        )
        self.attempt.finish(
            {
                "stage": stage.name,
                "attempt": self.attempt.number,
                "result": outcome.result.value,
                "reason": outcome.reason,
                "retry": outcome.retry,
                "began": self.began,
                "seconds": round(seconds, 3),
                "prompts": self.view.prompts,
                "tools": self.view.tools,
                "repairs": self.view.repairs,
                "resumes": self.resumes if not self.view.tools else 0,
                "session_id": self.view.session_id,
                "transcript": self.view.transcript,
                "message": self.view.message,
                "tokens": usage.tokens,
                "cost_usd": cost,
                "targets": targets,
                **({"phases": self.verified} if self.stage.phases else {}),
                "set_aside": moved,
                **({"rechecks": self.again} if self.again else {}),
                **({"edited": list(self.edited)} if self.edited else {}),
                **({"unchecked": True} if self.checking and outcome.result is Result.ABORTED else {}),
                **(self._by_check() if outcome.by_check else {}),
                "undeclared": [asdict(each) for each in undeclared],
                "pid": os.getpid(),
            }
        )
        return Done(
            outcome,
            self.attempt.number,
            self.view.message,
            targets,
            seconds,
            self.view.repairs,
            usage,
            self.again,
            tuple(undeclared),
        )

    def _undeclared(self) -> list[Undeclared]:
        """What it changed besides its targets, as far as that can be known."""
        services, name = self.services, self.stage.name
        since, spans, others = services.witness.beside(name)
        changed = services.tree.changed_since(since) if services.tree is not None else {}
        return of_stage(name, services.root, services.targets, self.wrote, others, changed, spans)

    def _answered_for(self, outcome: Outcome) -> Outcome:
        """However it ended: what it overwrote is put back, and named."""
        if not self.acted:
            return outcome
        if not self.alive():  # one that is kept may still write
            self.services.witness.gone(self.stage.name)
        self.services.witness.look(self.stage.file_dep)
        more = [each for each in self.services.witness.charges(self.stage.name) if each not in outcome.reason]
        if not more:
            return outcome
        reason = "; ".join(filter(None, (outcome.reason, *more)))
        if outcome.result is Result.SUCCEEDED:
            return Outcome(Result.FAILED, reason)
        return replace(outcome, reason=reason)

    def _set_aside_what_it_may_not_make(self, outcome: Outcome) -> Outcome:
        """However it ended: what it made in a protected place does not stay there, since it may run on its own, a git hook
        say. What may as well be a person's stays."""
        root, reason = self.services.root, outcome.reason
        for change in self.watch.changes(self.services.targets) if self.watch is not None else ():
            path = root / change.name
            unknown = not self._editors(change) and protect.is_gits(change.name)
            if not change.made or not (self._did(change) or unknown):
                continue
            if not change.name.startswith("..") and not verify.is_inside(root, path.parent):
                continue  # a folder was made a link that leads out: what lies there is not ours to move
            inside = [part for part in change.name.split("/") if part not in ("", "..")]
            place = verify.free_name(self.attempt.dir.joinpath("partial", *inside))
            verify.move(path, place)
            fact = _accusation(change)
            told = f"{fact} (set aside in {os.path.relpath(place, root)})"
            reason = reason.replace(fact, told) if fact in reason else "; ".join(filter(None, (reason, told)))
        return replace(outcome, reason=reason)

    def _by_check(self) -> dict[str, object]:
        """What the next run asks before it lets anybody work: see recheck.py."""
        check = self.failed or ""
        names = [os.path.normpath(os.path.join(self.stage.cwd, word)) for word in shell.words(check)]
        files = [
            name
            for name in names
            if not name.startswith(("/", "..")) and (self.services.root / name).is_file()
        ]
        marks = verify.fingerprints(self.services.root, files)
        return {"by_check": True, "broken": self.broken, "check": check, "check_files": marks}

    def _unverified(self) -> list[str]:
        """The targets that are not those of a phase that was done."""
        good = {name for phase in self.stage.phases[: len(self.verified)] for name in phase.targets}
        return [name for name in self.stage.targets if name not in good]

    def _hand_over(self, outcome: Outcome, moved: list[str]) -> None:
        """What the next worker may want to know of this one."""
        lines = [
            f"# Stage '{self.stage.name}', attempt {self.attempt.number}: {outcome.result.value}",
            "",
            f"Why: {outcome.reason}",
        ]
        if moved:
            lines += ["", "What it had made so far is kept here:"]
            lines += [
                f"- {os.path.relpath(self.attempt.dir / 'partial' / name, self.services.root)}"
                for name in moved
            ]
        if self.check_output:
            lines += ["", "The end of the check's output:", "", "```", self.check_output, "```"]
        if self.view.message:
            lines += ["", "Its last words:", "", self.view.message]
        text = self.services.redact.text("\n".join(lines) + "\n")
        write_atomic(self.attempt.dir / "handover.md", text)

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


def _as_before(path: Path, mark: object) -> bool:
    return verify.same_bytes(path, mark) if mark else not os.path.lexists(path)


def _accusation(change: protect.Change) -> str:
    name = change.name
    if change.is_input:
        return f"its input '{name}' was changed while it ran (a stage may not edit what it reads)"
    if change.made:
        return f"protected file '{name}' was made while it ran"
    return f"protected file '{name}' was changed while it ran"


def _fact(change: protect.Change) -> str:
    name = change.name
    if change.is_input:
        return f"its input '{name}' was changed while it ran"
    return f"'{name}' was made while it ran" if change.made else f"'{name}' was changed while it ran"
