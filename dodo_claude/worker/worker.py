"""A worker: an agent in a pane that is given an attempt's prompt, followed, spoken to and ended.

The loop is dumb on purpose: it brings the facts (events, a dead process, a verification's problems, clocks,
the fleet's pause) to `policy.decide` and carries out what that says. It runs in one of doit's worker
threads, one for each stage under way, and shares nothing with the others but what `Services` holds.

Rule this file keeps: no text goes into a session whose input box is not known to be free.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dodo_claude.agents import start
from dodo_claude.agents.agent import CLIENT_LOG, Job, Launch, NoAnswer
from dodo_claude.agents.closed import closed
from dodo_claude.agents.turn import Signs
from dodo_claude.agents.usage import CostMeter, Lines, TranscriptReader, Usage
from dodo_claude.config.config import Stage
from dodo_claude.config.records import Prompt
from dodo_claude.machine import files, processes
from dodo_claude.machine.files import make_folder, write_atomic, write_new
from dodo_claude.machine.terminal import Pane
from dodo_claude.state import events as life
from dodo_claude.state import permits
from dodo_claude.state.events import Outcome, Result
from dodo_claude.state.journal import Attempt
from dodo_claude.state.mail import DELIVERED, QUEUED, UNKNOWN, Mailbox
from dodo_claude.text.clean import clean_text
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.states import ASKS, BLOCKED, DONE, FAILED, MARKS
from dodo_claude.worker import monitors, phases, policy, verify
from dodo_claude.worker.afterwards import SCREEN_LINES, keep_screen
from dodo_claude.worker.services import Done, Services, Slot
from dodo_claude.worker.work import InterruptedCheckError, Work

# Lines of a dialog that are shown to whoever is asked to look.
DIALOG_LINES = 12
# tmux's own line below what a dead pane shows.
_DEAD = "Pane is dead"
MAX_WORDS = 200  # characters of it in a reason
# How often a session is looked at in whose input box somebody types: nothing tells when it is free again.
DRAFT_SECONDS = 1.0
# After an Escape the client needs this long to show its input box again.
ESCAPE_SECONDS = 1.0
# A hook that left half an event is about to end, or was killed: nothing tells which.
HALF_SECONDS = 0.5
# A child that used less CPU than this since the last look is not at work.
CPU_SECONDS = 0.05
DATA = "\n\nOutput of the check, as data:\n"
MAIL = "\n\nMessages for you:\n"
# The goal comes as a paste of its own: as one, a long text would be a prompt and no command.
COMPACT = "/compact "
# A longer paste reaches the model in a frame that says that it was pasted, which an order should not.
SHORT = 500  # characters
LINES = 4
# Where a resumed session finds what it was to do.
TASK = "task.md"
# Where what is to be told holds something that the client would take up.
MISSING = "The stage is not done. Read the file {path}: it says what is missing. Please mend this and end your turn."
LETTERS = "You have messages. Read the file {path}: it holds them."
SUMMARY_ORDER = (
    "The next phase will be done by a fresh session that knows nothing of this one. Answer with a summary for it: what "
    "was done and where it is, what was decided and why, what is open. Change no files now; only answer."
)
GO_ON = "Please go on with the stage where you stopped."
# What a person is told who keeps words from the worker.
_WAITS = {
    "draft": "waits: send or clear the draft in its input box",
    "absent": "waits: close the dialog, or view, over its input box",
}


# What a window's name begins with while its worker waits for a person; and at its end, good or bad.
_BLOCKED, _ASKS = f"{MARKS[BLOCKED]} ", f"{MARKS[ASKS]} "
_ENDED = {True: f"{MARKS[DONE]} ", False: f"{MARKS[FAILED]} "}
# Events that are written down before what they tell of is pasted.
_PASTES = frozenset({life.SENT, life.CONTINUED, life.MAILED, life.SUMMARY, life.CLEARED, life.GIVEN})


class Worker(Work):
    """One attempt under way, and the agent that works on it."""

    def __init__(
        self, stage: Stage, definition: Mapping[str, object], services: Services, attempt: Attempt
    ) -> None:
        super().__init__(stage, definition, services, attempt)
        self.pane: Pane | None = None
        self.launch: Launch | None = None
        self.problems: tuple[str, ...] | None = None
        self.changed = self.clock  # the view's state last changed
        self.heard = self.clock  # its last sign of life
        self.looked = float("-inf")  # its screen was last looked at
        self.sent: list[str] = []  # what was last written down as sent to it
        self.pasted = False  # and that this run did send it
        self.mailbox = Mailbox(attempt.log)
        self.posted: set[str] = set()  # the messages to it that were told of, or are older than it
        self.cpu = 0.0  # CPU seconds of its children when last asked
        self.asked = float("-inf")  # and when that was
        self.cost = CostMeter()
        self.context: float | None = None  # how full it is, in percent, as the client last said
        self.context_at = 0.0  # and when, in wall time
        self.transcript: TranscriptReader | None = None
        self.reading: str | None = None  # the transcript's path
        self.log = Lines(str(attempt.dir / CLIENT_LOG))
        self.past = Usage()  # of sessions before that one
        self.earlier = (
            Usage()
        )  # what its session had used before this attempt, or before this run followed it
        self.counted: tuple[object, ...] = ()  # what the fleet knows
        self.marked: str | None = None  # what its window is called
        self.over = False  # and it is so for good
        self.others = (
            0.0,
            False,
        )  # at which Stop it was asked whether others' hooks hear of it, and the answer
        self.ran = False  # it used a tool that may do what no hook tells: start programs

    @property
    def interactive(self) -> bool:
        """A session that stays and tells of itself by hooks; else a command that ends."""
        return self.agent.can.hooks

    def alive(self) -> bool:
        """Does this attempt's worker still live in its pane?"""
        return self.pane is not None and processes.lives(self.pane.pid, self.nonce)

    def _fold(self, event: life.Event) -> None:
        super()._fold(event)
        if event.kind == life.SPAWNED:
            self.pane = Pane(str(event.data.get("pane")), str(event.data.get("session")), self.view.pid or 0)
        elif event.kind == life.POSTED:
            self.posted.add(str(event.data.get("letter")))
        elif event.kind in _PASTES:
            self.sent, self.pasted = self._told(event), False
        elif event.kind == "PreToolUse":
            self._used(event)
        self.changed = time.monotonic() - max(0.0, time.time() - self.view.since)

    def _used(self, event: life.Event) -> None:
        """What it is about to do with a tool: change a file that the hook names, or what no hook tells."""
        tool, path = event.data.get("tool_name"), self.agent.aims_at(event.data)
        if path is not None:
            folder = self.services.root / self.stage.cwd
            self.services.guard.edited(os.path.join(folder, path), self.stage.name, event.at)
        elif self.agent.may_start(tool):
            self.ran = True

    def _could(self) -> bool:
        return self.ran or not self.interactive

    def _told(self, event: life.Event) -> list[str]:
        """What an event says was sent; the journal has of a repair the order only, its file has the data."""
        text = str(event.data.get("text") or "")
        with contextlib.suppress(OSError):
            if event.kind == life.SENT:
                path = self._repair_file(self.view.repairs)
                text = files.read_text(path, "replace")
                if self.agent.acts_on(text):
                    return [MISSING.format(path=path)]
            elif event.kind == life.GIVEN and start.reading_order(self._given_file()) not in text:
                # The journal's text has its secrets taken out.
                text = files.read_text(self._given_file(), "replace")
        if text.startswith(COMPACT):
            return [COMPACT, text.removeprefix(COMPACT)] if text != COMPACT else [COMPACT.strip()]
        if event.kind == life.MAILED and self.agent.acts_on(text):
            return [LETTERS.format(path=self._letters_file(event.data.get("letters")))]
        for cut in (DATA, MAIL):
            order, mark, data = text.partition(cut)
            if data:
                return [order, mark + data]
        return [text]

    def _advance(self, event: life.Event) -> None:
        heard, tools, changed = self.view.heard, self.view.tools, (self.view.since, self.changed)
        request = self.view.request
        super()._advance(event)
        now = time.monotonic()
        # By the clock that does not jump: events come as they happen.
        self.changed = now if self.view.since != changed[0] else changed[1]
        if self.view.heard != heard:
            self.heard = now
        if self.view.tools != tools:
            self.services.fleet.progress()
        if request and request != self.view.request:
            permits.let_go(self.attempt, request)  # if it was answered at the pane
        if not self.over:
            blocked = self.view.state is life.State.BLOCKED
            self._mark(_BLOCKED if blocked else _ASKS if self.view.asks else "")
        at_work = not (self.view.turn_done or self.view.state is life.State.EXITED)
        if event.kind == life.PHASE or (at_work and event.kind != life.VERIFIED):
            self.problems = None  # a new turn, or phase, began: the last verification is of the past

    def _work(self, bell: threading.Event, slot: Slot) -> Outcome:
        if self.pane is None:
            self._begin()
            if isinstance(self.resume, Worker):
                self.cost, self.past = self.resume.cost, self.resume.past
                saved = self.agent.transcript(Path(self.resume.view.transcript or os.devnull))
                self.earlier = self.past + saved.read()
                self.cost.resumed(saved.saved_cost)
            self._spawn(slot)
        else:
            self._read_used()
            self.earlier, _ = self._usage()
            self.cost.follows()
            self._watch_again()
        if self.interactive:
            self.mailbox.open(self.attempt.number)
            self.services.waker.watch_folder(self.ring, self.mailbox.dir / QUEUED)
            self.services.waker.watch_folder(self.ring, self.attempt.spool)
            self.services.waker.watch_folder(self.ring, (self.attempt.dir / CLIENT_LOG).parent)
            self.mailbox.put_back(but=(*self.view.mailed, *self.view.received))
            for problem in monitors.start(self.stage, self.attempt, self._pane(), self.nonce, self.services):
                self.tell(problem)
        self.services.waker.watch_process(self.ring, self._pane().pid)
        outcome = self._follow(bell)
        for event in self.attempt.collect():
            self._advance(event)
        self._count()
        return outcome

    # -- starting it

    def _spawn(self, slot: Slot) -> None:
        stage, services, folder = self.stage, self.services, self.attempt.dir
        assert stage.agent is not None
        self._take_summaries()
        prompt = self._first_prompt()
        write_new(folder / "prompt.md", prompt.text)
        cwd = self._cwd()
        job = Job(
            stage=stage.name,
            attempt=self.attempt.number,
            root=services.root,
            cwd=cwd,
            folder=folder,
            session_id=(self.resume.view.session_id if self.resume else None) or str(uuid.uuid4()),
            resume=self.resume is not None,
            nonce=self.nonce,
            targets=stage.targets,
            check=stage.check,
            orders=tuple(name for name in services.orders if name != stage.plan),
            others=closed(services.targets, stage.targets),
            outside=services.guard.outside(stage),
            deny_dialogs=stage.on_permission == "deny",
            handover=self.handover.dir / "handover.md" if self.handover is not None else None,
            hook=(*services.hook, str(self.attempt.spool)),
            mail=self.mailbox.dir,
            notes=services.state / "notes.md",
            patience=stage.person_timeout,
            phases=phases.count(stage),
            mentions=prompt.mentions,
            by_file=self.agent.goes_by_file(prompt.text) or self.agent.acts_on(prompt.data, cwd),
        )
        launch = start.launch(stage.agent, job, services.environ, {**dict(stage.env), **slot.environ})
        for name, text in launch.files.items():
            write_new(folder / name, text)
        if self.interactive:
            make_folder((folder / CLIENT_LOG).parent)
        self.launch = replace(launch, files={})  # with many stages they are long, and nobody needs them again
        self._remind()
        self._start(job.cwd, start.launch_script(job, launch.command, self._env_file()))

    def _first_prompt(self) -> Prompt:
        task = self._task()
        if self.resume is None or self.resume.view.step is not life.Step.WORK:
            return task
        # A killed client may not have written down the prompt that it was given last.
        path = self.attempt.dir / TASK
        write_atomic(path, task.text)
        news = self._news()
        return Prompt(
            f"Your session was cut off. {GO_ON} The files that you had made are in their places. {news}"
            f"Should you not see your task any more: it is in {path}.",
            data=news,
        )

    def _news(self) -> str:
        """What of its inputs is not as the session read it."""
        changed = [name for name in self.resume.edited if name in self.stage.file_dep] if self.resume else []
        if not changed:
            return ""
        names = ", ".join(os.path.relpath(self.services.root / name, self._cwd()) for name in changed)
        return (
            f"Changed since you read it: {names}. Read that again, and mend what does not fit it any more. "
        )

    def _cwd(self) -> Path:
        return self.services.root / self.stage.cwd if self.stage.cwd != "." else self.services.root

    def _task(self) -> Prompt:
        """What the worker is to do: its stage, or the phase that it is in."""
        prompt = self.services.prompt(self.part)
        text = self.agent.deliverable(prompt.text) if self.interactive else prompt.text
        if not text.strip():
            raise DodoClaudeError(
                f"stage '{self.stage.name}': its prompt is empty once its variables are filled in"
            )
        progress = self._progress()
        return replace(prompt, text=f"{progress}{text}", data=f"{progress}{prompt.data}")

    def _progress(self) -> str:
        """Where in its phases a worker is: it may know nothing of those before."""
        number, count = self.view.phase, phases.count(self.stage)
        if count == 1:
            return ""
        lines = [f"This is phase {number + 1} of {count} of your work."]
        done = [
            f"{index + 1} ({', '.join(phase.targets) or 'no files of its own'})"
            for index, phase in enumerate(self.stage.phases[:number])
        ]
        if done:
            lines.append(f"Done and verified: phase {', '.join(done)}.")
        summary = self._summary_file(number)
        if files.is_file(summary):
            lines.append(f"What was done and decided before is told in {summary}: read it first.")
        return " ".join(lines) + "\n\n"

    def _summary_file(self, number: int) -> Path:
        return phases.summary(self.attempt.dir, number)

    def summed_up(self) -> bool:
        """Is there a summary for a fresh session to begin with, which was not given its phase yet?"""
        return self.view.step is not life.Step.WORK and files.is_file(self._summary_file(self.view.phase))

    def _take_summaries(self) -> None:
        """The summaries of phases that hold are worth as much to an attempt that goes on after them."""
        before = self.resume.attempt if self.resume is not None else self.handover
        if before is None:
            return
        phases.take_summaries(before.dir, self.attempt.dir, len(self.verified))

    def _remind(self) -> None:
        """What the client is told right after each compaction, by a hook: see claude/settings.py."""
        if self.interactive:
            task = "your next task comes now."
            if self.view.step is life.Step.WORK:
                task = f"the task as it was given to you is in {self._prompt_file()}: read it if you are not sure of it."
            text = (
                f"Your context was compacted. You are the worker for the stage '{self.stage.name}'; {task} "
                f"{self._progress().strip()}"
            )
            write_atomic(self.attempt.dir / "reminder.json", self.agent.reminder(text.strip()), durable=False)

    def _prompt_file(self) -> Path:
        """Where the task stands that it is at now."""
        paths = (self._given_file(), self.attempt.dir / TASK)
        return next((path for path in paths if files.is_file(path)), self.attempt.dir / "prompt.md")

    def _given_file(self) -> Path:
        return self.attempt.dir / f"prompt-phase-{self.view.phase + 1}.md"

    def _env_file(self) -> Path:
        return self.services.runtime / f"env-{self.ring}"

    def _start(self, cwd: Path, script: str) -> None:
        assert self.launch is not None
        path = self.attempt.dir / "launch.sh"
        write_new(path, script, 0o700)
        write_new(self._env_file(), start.env_script(self.launch.env))
        argv = ["env", "-i", "/bin/sh", str(path)]
        terminal = self.services.terminal()
        if self.pane is None:
            self.marked = self.stage.name
            self.pane = terminal.spawn(self.stage.session, argv, cwd, self.nonce, self.marked)
        else:
            self.pane = terminal.respawn(self.pane, argv, cwd)
        self._note(life.SPAWNED, pane=self.pane.id, session=self.pane.session, pid=self.pane.pid)

    def _mark(self, mark: str) -> None:
        """Let its window's name say how it is: that is seen in tmux's status line, and in its lists."""
        name = f"{mark}{self.stage.name}"
        if name != self.marked and self.pane is not None:
            self.marked = name
            self.services.terminal().rename(self.pane, name)

    def _mark_end(self, *, good: bool) -> None:
        self._mark(_ENDED[good])
        self.over = True

    # -- following it

    def _follow(self, bell: threading.Event) -> Outcome:
        """Until `decide` says stop."""
        while True:
            bell.clear()  # before looking: what comes after it rings again
            self._collect()
            instruction = policy.decide(self.view, self._facts())
            if isinstance(instruction, policy.Stop):
                done = self._stop_worker(instruction.outcome)
                if done is not None:
                    return done
            else:
                self._carry_out(instruction, bell)

    def _carry_out(self, instruction: policy.Instruction, bell: threading.Event) -> None:
        terminal = self.services.terminal
        match instruction:
            case policy.Wait(seconds, box):
                if box is None:
                    self.services.lookout.forget(self.ring)
                else:
                    self.services.lookout.watch(self.ring, self._pane().id, self.heard, box=box)
                bell.wait(min(seconds, HALF_SECONDS) if self.attempt.unfinished else seconds)
            case policy.Verify():
                # One that was cut off is followed by the end of all: `decide` is told why.
                with contextlib.suppress(InterruptedCheckError):
                    self.problems, self.check_output = self._examine(bell)
                    self._note(life.VERIFIED, ok=not self.problems, problems=list(self.problems))
            case policy.Send(problems):
                if self._may_paste(bell):
                    self._repair(problems)
            case policy.Pause(kind, text):
                until = self.services.fleet.pause(kind, self.agent.limit(text))
                self._note(life.PAUSED, until=until, reason=f"{kind}: {text}")
            case policy.GoOn(nudge):
                self._go_on(bell, nudge=nudge)
            case policy.Interrupt():
                terminal().press(self._pane(), "Escape")
                self._note(life.INTERRUPTED)
                bell.wait(ESCAPE_SECONDS)
                self._go_on(bell, nudge=True)
            case policy.TellSilence():
                self._note(life.UNHEARD, since=self._last_word(), text="", tries="")
            case policy.Look():
                self._look()
            case policy.PressEnter():
                self._submit()
            case policy.Deliver():
                if self._may_paste(bell):
                    self._deliver()
            case policy.Advance():
                self._next_phase()
            case policy.Summarise():
                if self._may_paste(bell):
                    self._note(life.SUMMARY, text=SUMMARY_ORDER)
                    self._paste([SUMMARY_ORDER])
            case policy.Clear(goal, interrupt):
                self._clear(goal, bell, interrupt=interrupt)
            case policy.Skip(reason):
                self._note(life.UNCOMPACTED, reason=reason)
            case policy.Give():
                if self._may_paste(bell):
                    self._give()

    def _pane(self) -> Pane:
        assert self.pane is not None
        return self.pane

    def _collect(self) -> None:
        # Asked first: a process that is gone has no more to say than what is in the spool now.
        gone = self.view.state is not life.State.EXITED and self.services.waker.gone(self._pane().pid)
        unanswered = self._unanswered()  # asked first: what came of it, the hooks tell
        for event in self.attempt.collect():
            self._advance(event)
            for what, why, call in self.agent.denied(event.data) if event.kind == "PostToolBatch" else ():
                self._note(life.DENIED, what=what, text=why, call=call)
        self._tell_mail()
        self._settle_mail()
        self._count()
        self._listen(unanswered)
        if gone:
            self._note(life.EXITED, status=self.services.terminal().exit_status(self._pane()))

    def _unanswered(self) -> NoAnswer | None:
        """What the client's log says since the last look: that it asks the API in vain."""
        found = None
        for line in self.log.new():
            found = self.agent.no_answer(line) or found
        return found

    def _listen(self, unanswered: NoAnswer | None) -> None:
        """Is there anything to hear from the model?"""
        since = self._last_word() or (self.view.since if self.view.step is life.Step.CLEARING else 0.0)
        if unanswered is not None and 0 < since < unanswered.at:
            told = (unanswered.text, unanswered.tries)
            if told != (self.view.unheard_for, self.view.tries):
                self._note(life.UNHEARD, since=self.view.unheard or since, text=told[0], tries=told[1])
        elif self.view.unheard and since > self.view.unheard:
            self._note(life.HEARD)

    def _last_word(self) -> float:
        """Wall time at which the model was asked, or said something last; 0 when it is not asked."""
        said = self.transcript.answered if self.transcript is not None else 0.0
        return max(self.view.asked, said) if self.view.asked else 0.0

    def _facts(self) -> policy.Facts:
        now = time.monotonic()
        stage, fleet = self.stage, self.services.fleet
        coming = phases.phase_of(stage, self.view.phase) if self.view.step is not life.Step.WORK else None
        return policy.Facts(
            elapsed=self._elapsed(),
            in_state=now - self.changed,
            timeout=stage.timeout,
            repairs=stage.repairs,
            interactive=self.interactive,
            stop=self.end_reason,
            silent=self._silence(now),
            unanswered=max(0.0, min(now - self.heard, time.time() - since))
            if (since := self._last_word())
            else 0.0,
            unlooked=now - self.looked,
            signs=self._signs(),
            strange=self.services.lookout.was_strange(self.ring),
            idle_timeout=stage.idle_timeout,
            person_timeout=stage.person_timeout,
            run_left=60 * fleet.minutes_left(),
            pause_left=fleet.pause_left(),
            max_turns=stage.max_turns,
            problems=self.problems,
            by_check=self.failed is not None,
            broken=self.broken,
            trespass=bool(self.trespasses or self.charged),
            mail=self.interactive
            and (self.view.state is life.State.IDLE or self.view.held)
            and self.mailbox.waiting(),
            ask_left=max((ask.until - time.time() for ask in self.view.asks), default=0.0),
            phases=phases.count(stage),
            goal=coming.compact if coming is not None and self.agent.can.compact else None,
            handover=coming is not None and coming.handover and self.agent.can.compact,
            context=self.context,
            context_stale=self.context_at < self.view.since,
            kind_of=self.agent.fault,
            compact_at=stage.compact_at if self.agent.can.compact else None,
        )

    def _signs(self) -> Signs:
        """What the client says of a turn's end besides its hooks: asked only where one of another's may hold it open."""
        agent, stopped = self.stage.agent, self.view.stopped
        if not stopped or agent is None or not self.interactive:
            return Signs()
        known = self.transcript is not None and self.transcript.stop_hooks > 1
        env = {**start.worker_env(agent, self.services.environ), **dict(self.stage.env)}
        if self.others[0] != stopped:
            cwd = self.services.root / self.stage.cwd
            self.others = (stopped, self.agent.may_hold(agent, cwd, env))
        if not (known or self.others[1]):
            return Signs()
        ended = self.transcript.turn_ended if self.transcript is not None else 0.0
        idle = self.agent.idle_since(env, self.view.pid or 0, self.view.session_id)
        return Signs(others=True, ended=ended, idle=idle)

    def _silence(self, now: float) -> float:
        """Seconds without a hook, growth of the transcript, or work of a child process."""
        silence = now - self.heard
        if silence < policy.LOOK_SECONDS or not self.interactive or self.pane is None:
            return silence
        with contextlib.suppress(OSError):
            if self.view.transcript is not None:
                grown = time.time() - os.stat(self.view.transcript).st_mtime
                silence = min(silence, max(0.0, grown))
        if silence < self.stage.idle_timeout * policy.CENSUS_PART:
            return silence
        cpu = self.services.census.cpu_seconds(self.nonce, but=self.pane.pid)
        # What they used before it fell silent says nothing.
        busy = self.asked >= self.heard and cpu - self.cpu >= CPU_SECONDS
        self.cpu, self.asked = cpu, now
        if busy:
            self.heard, silence = now, 0.0
        return silence

    def _look(self) -> None:
        """Is a dialog open that no hook told of?"""
        self.looked = time.monotonic()
        screen = self.services.terminal().capture(self._pane(), escapes=True)
        plain = clean_text(screen)
        if self.view.state is life.State.STARTING:
            fault = self.agent.start_dialog(plain, self.attempt.dir)
            if fault is not None:
                self._note(life.SCREEN, box=False, fault=fault[0], text=fault[1])
                return
            if self.looked - self.changed < policy.LOOK_SECONDS:
                return  # it may be drawing still
        box = self.agent.input_box(screen)
        rows = [row for row in plain.splitlines() if row.strip()]
        text = "" if box != "absent" else "\n".join(rows[-DIALOG_LINES:])
        self._note(life.SCREEN, box=box != "absent", text=text)

    def _count(self) -> None:
        """Tell the fleet what this attempt has used so far, in this run."""
        self._read_used()
        usage, cost = self._usage()
        own = (usage - self.earlier).at_least(Usage())  # a session that goes on in another file begins at 0
        used = (self.key, own, None if cost is None else self.cost.here)
        if used != self.counted:
            self.counted = used
            self.services.fleet.spent(*used, stage=self.stage.name)

    def _read_used(self) -> None:
        """Look at what the client wrote down of what it uses."""
        if self.view.transcript not in (None, self.reading):
            if self.transcript is not None:  # a fresh session in the same client: all is counted from 0 again
                self.past = self.past + self.transcript.read()
                self.cost.started()
            self.reading = self.view.transcript
            self.transcript = self.agent.transcript(Path(str(self.reading)))
        with contextlib.suppress(OSError, ValueError, RecursionError):
            status = json.loads(files.read(self.attempt.dir / "status.json"))
            # What it last said of the session before a /clear was counted: it lags behind the hooks.
            if status.get("session_id") in (None, self.view.session_id):
                self.context = self.agent.context(status)
                self.context_at = os.lstat(self.attempt.dir / "status.json").st_mtime
                cost = self.agent.cost(status)
                if cost is not None:
                    self.cost.saw(cost)

    def _usage(self) -> tuple[Usage, float | None]:
        """Of all its session, whichever runs that was in."""
        usage = self.past
        if self.transcript is not None:
            usage = self.past + self.transcript.read()
            if self.transcript.saved_cost:
                # A client that ends well writes its whole cost there; the status line may lag behind.
                self.cost.saw(self.transcript.saved_cost)
        return usage, self.cost.total or None

    # -- words to it

    def _may_paste(self, bell: threading.Event) -> bool:
        """Is the input box free? A person's draft and our paste would become one prompt."""
        if not self.interactive:
            return True
        state = self._input_box()
        if state == "free":
            return True
        self.tell(f"{_WAITS[state]} (dodo-claude attach {self.stage.name})")
        bell.wait(DRAFT_SECONDS)
        return False

    def _box_is_free(self) -> bool:
        return self._input_box() == "free"

    def _input_box(self) -> str:
        return self.agent.input_box(self.services.terminal().capture(self._pane(), escapes=True))

    def _go_on(self, bell: threading.Event, *, nudge: bool) -> None:
        if self._may_paste(bell):
            self._note(life.CONTINUED, text=GO_ON, nudge=nudge)
            self._paste([GO_ON])
        elif nudge:
            # Unsent, but counted: a session that can't be spoken to must not be waited for endlessly.
            self._note(life.CONTINUED, text="", nudge=True)

    def _submit(self) -> None:
        """Press Enter once more; or paste what a run wrote down as sent, and was killed before it sent it."""
        if not self.pasted and self.sent and self._box_is_free():
            self._paste(self.sent)
        else:
            self.services.terminal().press(self._pane(), "Enter")
        self._note(life.ENTER)

    def _paste(self, texts: list[str]) -> None:
        self.services.terminal().paste(self._pane(), texts, self.attempt.dir)
        self.pasted = True

    def _repair(self, problems: tuple[str, ...]) -> None:
        """Tell the worker what is missing: its own session, idle by its Stop hook, gets a paste."""
        number = self.view.repairs + 1
        order = f"The stage '{self.stage.name}' is not done: {'; '.join(problems)}. Please mend this and end your turn."
        data = f"{DATA}{self.check_output}" if self.check_output else ""
        path = self._repair_file(number)
        write_atomic(path, f"{order}{data}\n")
        self._note(life.SENT, text=order)
        if self.interactive and self.agent.acts_on(order + data):
            self._paste([MISSING.format(path=path)])
            return
        if self.interactive:
            # A long paste reaches the model in a frame that marks it as pasted: so the order goes first,
            # short enough to stay outside of it, and the check's output, which is data, inside.
            self._paste([order, data] if data else [order])
            return
        # A command that has ended is run again, with the first prompt and what is missing.
        if self.launch is None:  # taken over from a killed run: its environment is gone with that
            raise DodoClaudeError(f"{self.stage.name}: its command ended while nobody followed it; run again")
        prompt = files.read_text(self.attempt.dir / "prompt.md")
        write_atomic(self.attempt.dir / f"prompt-{number - 1}.md", prompt)
        write_atomic(self.attempt.dir / "prompt.md", f"{prompt}\n\n{order}{data}\n")
        self._start(self.services.root / self.stage.cwd, files.read_text(self.attempt.dir / "launch.sh"))
        self.services.waker.watch_process(self.ring, self._pane().pid)

    def _deliver(self) -> None:
        letters = self.mailbox.take()
        if not letters:
            return  # a hook was faster
        order, data = "You have messages.", MAIL + "\n\n".join(text for _, text in letters)
        names = [letter for letter, _ in letters]
        by_file, path = self.agent.acts_on(data), self._letters_file(names)
        if by_file:
            write_atomic(path, f"{data.strip()}\n")
        self._note(life.MAILED, letters=names, text=order + data)
        self._paste([LETTERS.format(path=path)] if by_file else [order, data])

    def _letters_file(self, letters: object) -> Path:
        """Messages that went together, where they have to be read: by the name of the first."""
        first = letters[0] if isinstance(letters, list) and letters else ""
        return self.attempt.dir / f"messages-{first}.md"

    def _repair_file(self, number: int) -> Path:
        return self.attempt.dir / f"repair-{number}.md"

    def _tell_mail(self) -> None:
        """Whoever watches the run hears what its worker is told, as it happens."""
        for name in self.mailbox.sent() if self.interactive else ():
            if name not in self.posted:
                self.posted.add(name)
                letter = self.mailbox.letter(name)
                if letter is not None and letter.at >= self.began:
                    self._note(life.POSTED, letter=name, sender=letter.sender, text=letter.text)

    def _settle_mail(self) -> None:
        """What is proved to have reached the worker is delivered."""
        if self.view.received:
            self.mailbox.settle(self.view.received, DELIVERED)
            self._note(life.RECEIVED, letters=list(self.view.received))

    # -- phases

    def _clear(self, goal: str | None, bell: threading.Event, *, interrupt: bool) -> None:
        """Let the client compact its context towards `goal`; None: begin a fresh session, from a summary."""
        if interrupt and self.view.turn_done is False and not self._box_is_free_after_escape(bell):
            return
        if not self._may_paste(bell):
            return
        if goal is None:
            write_atomic(
                self._summary_file(self.view.phase), self.services.redact.text(self.view.message + "\n")
            )
        self._remind()
        goal = goal and self.agent.deliverable(goal).strip()
        text = "/clear" if goal is None else f"{COMPACT}{goal}"
        self._note(life.CLEARED, text=text, **({} if goal is None else {"goal": goal}))
        self._paste(self.sent)

    def _box_is_free_after_escape(self, bell: threading.Event) -> bool:
        self.services.terminal().press(self._pane(), "Escape")
        self._note(life.INTERRUPTED)
        bell.wait(ESCAPE_SECONDS)
        return self._box_is_free()

    def _give(self) -> None:
        """The next phase's prompt: a long one is a file to read."""
        prompt, path = self._task(), self._given_file()
        write_atomic(path, prompt.text)
        self._note(life.GIVEN, text=self._order(prompt, path))
        self._remind()
        self._paste(self.sent)

    def _order(self, prompt: Prompt, path: Path) -> str:
        """What is pasted of the prompt in the file `path`."""
        text = prompt.text
        short = len(text) <= SHORT and text.count("\n") < LINES
        # Where the session's folder is now, nobody knows: it may have gone elsewhere.
        if short and not self.agent.goes_by_file(text) and not self.agent.acts_on(prompt.data):
            return text
        progress = self._progress().strip()
        order = start.reading_order(path, prompt.mentions)
        return order if self.agent.acts_on(progress) else f"{progress} {order}"

    # -- ending it

    def _stop_worker(self, outcome: Outcome) -> Outcome | None:
        """End the worker as `keep` says. None: it changed something meanwhile, look again."""
        stage = self.stage
        marks = verify.fingerprints(self.services.root, stage.targets)
        outcome = self._judge(outcome)
        good = outcome.result is Result.SUCCEEDED
        if stage.keep == "always" and outcome.result in (Result.SUCCEEDED, Result.FAILED):
            self._keep_screen()
            self._mark_end(good=good)
            return outcome
        if good:
            self._leave()  # it works no more: that it ends costs the next one no time
        # One that is gone already may have left behind what it had started.
        self._end_monitors()
        gone = self.view.state is life.State.EXITED
        idle = self.view.state is life.State.IDLE
        if not good and not gone and not idle:
            self._keep_screen()  # a dialog that it hangs at is wiped when it ends
        processes.end_tree(0 if gone else self._pane().pid, self.nonce, hurry=self.services.hurry.is_set)
        altered = good and bool(verify.changed(self.services.root, marks, stage.targets))
        closing = self._goes or (good and not altered and stage.keep == "on-failure")
        # Only now: the client draws a turn's last lines after its Stop hook. A dead pane keeps its screen.
        if closing and good and not altered:
            self.services.afterwards(self._take_down)
        elif good or gone or idle:
            self._keep_screen()
        if outcome.kind == "died" and not self.view.prompts:
            outcome = replace(outcome, reason=outcome.reason + self._last_words())
        if altered:
            # A verified target was changed before its worker was gone: what stands now must pass. Unless another turn had
            # begun, by a prompt that was still queued: that one was cut off.
            over = self.view.turn_done
            self._collect()
            cut = over and not self.view.turn_done
            self.problems = None
            self._note(life.EXITED, status=self.services.terminal().exit_status(self._pane()))
            self.view = replace(self.view, turn_done=not cut)
            return None
        if not closing:
            self._mark_end(good=good)
        self.over = True  # its last hooks are still to be read
        if outcome.fatal:
            self.services.fleet.fatal(outcome.kind, outcome.reason)
        if closing and not good:
            self.services.terminal().close(stage.session, self.nonce)
        return outcome

    @property
    def _goes(self) -> bool:
        """Does its session go with it, even if it did not end well?"""
        return self.stage.keep == "never" or self.services.stops.given(self.stage.name) is not None

    def _keep_screen(self) -> None:
        screen = self.services.terminal().capture(self._pane(), history=SCREEN_LINES)
        keep_screen(self.attempt, screen, self.services.redact)

    def _take_down(self) -> None:
        terminal, session = self.services.terminal(), self.stage.session
        screen = terminal.take_down(self._pane(), session, self.nonce, history=SCREEN_LINES)
        keep_screen(self.attempt, screen, self.services.redact)

    def _last_words(self) -> str:
        """The last line of its screen: why a client does not start stands there, and nowhere else."""
        # The line that tmux adds has moved the screen up.
        rows = clean_text(self.services.terminal().capture(self._pane(), history=1)).splitlines()
        said = [row.strip() for row in rows if re.search(r"\w", row) and not row.startswith(_DEAD)]
        return f": {said[-1][:MAX_WORDS]}" if said else ""

    def remove(self) -> None:
        """End the worker whatever state it is in, its screen kept."""
        super().remove()
        with contextlib.suppress(OSError, DodoClaudeError):  # they end with it, too
            self._end_monitors()
        if self.pane is not None and processes.lives(self.pane.pid, self.nonce):
            processes.end_tree(self.pane.pid, self.nonce, hurry=self.services.hurry.is_set)
            self._keep_screen()
        elif self.acted:
            # One that was started and not written down, or what a dead one had started.
            processes.end_tree(0, self.nonce)
        if self.acted and self._goes:
            self.services.terminal().close(self.stage.session, self.nonce)

    def _end_monitors(self) -> None:
        monitors.end(self.attempt, self.nonce, self.services.runtime, self.services.hurry.is_set)

    def finish(self, outcome: Outcome) -> Done:
        """The worker's end, whatever it was: nothing of its environment stays on disk."""
        self._end_monitors()
        environment = self._env_file()
        # No glob: Python keeps the pattern of each attempt. The folder goes with a reboot, or a tidy user.
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(environment.parent):
                if name == environment.name or name.startswith(f".{environment.name}."):
                    (environment.parent / name).unlink(missing_ok=True)
        if not self.alive():
            shutil.rmtree((self.attempt.dir / CLIENT_LOG).parent, ignore_errors=True)
        self.attempt.sweep()
        permits.let_go(self.attempt, self.view.request)  # of one that is kept alive
        permits.sweep(self.attempt)
        self._settle_mail()
        lost = self.mailbox.unproved()
        if lost:
            # Nothing came after it from the client: nobody knows whether it read them.
            self.mailbox.settle(lost, UNKNOWN)
            self._note(life.LOST, letters=lost)
        return super().finish(self._with_denials(outcome))

    def _with_denials(self, outcome: Outcome) -> Outcome:
        """A stage that failed by what it lacks: what its client refused it is told, and whose rule that was."""
        if outcome.result is not Result.FAILED or outcome.kind or not self.view.denied:
            return outcome
        rules = self.transcript.rules if self.transcript is not None else {}
        told = []
        for what, why, call in self.view.denied:
            whose = self.agent.rule_of(rules.get(call, ""))
            told.append(f"{what} ({why}{f' of {whose}' if whose else ''})")
        return replace(outcome, reason=f"{outcome.reason}; its client refused it {', '.join(told)}")
