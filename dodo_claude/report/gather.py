"""Reports made from the journals: of a run, whether it ended, was killed or is under way, and of single stages.

Rules this file keeps:
* An attempt belongs to the run in which its last event happened: to one only, whoever began it.
* What doit alone knows (up to date, not run since another failed) comes in as `Said`; without that it is inferred from
  the bytes of inputs and targets.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dodo_claude.agents.usage import TranscriptReader, cost_of
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import files
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report.attempts import (
    Told,
    as_number,
    brief,
    nothing,
    read,
    touched,
    versions,
)
from dodo_claude.report.between import groups_of, totals_of, with_needs, with_waits
from dodo_claude.report.compared import compared
from dodo_claude.report.record import (
    FAILED,
    NOT_RUN,
    SETTLED,
    VERSION,
    WAITING,
    AttemptReport,
    CheckReport,
    FileReport,
    Left,
    MessageReport,
    OverwrittenReport,
    RunReport,
    StageReport,
    UndeclaredReport,
    sum_costs,
    why,
)
from dodo_claude.report.runs import SLACK, Span
from dodo_claude.state.events import Result, State
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.mail import Mailbox
from dodo_claude.state.stops import Stops, not_begun
from dodo_claude.text.clean import clean_line, clean_text
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.text.states import DONE, RUNNING, STOPPED, UP_TO_DATE
from dodo_claude.worker import verify
from dodo_claude.worker.since import silence
from dodo_claude.worker.witness import Overwritten

_STATE_OF = {
    Result.SUCCEEDED.value: DONE,
    Result.FAILED.value: FAILED,
    Result.TIMED_OUT.value: FAILED,
    Result.ABORTED.value: STOPPED,
}
# An attempt goes on with the session of one of so many before it.
LOOK_BACK = 20


@dataclass(frozen=True, slots=True)
class Said:
    """What doit said of a stage."""

    state: str
    reason: str = ""
    waits_for: tuple[str, ...] = ()


# -- the record


def report(
    config: Config, span: Span, said: Mapping[str, Said] | None = None, redact: Redactor = NOTHING,
    overwritten: Iterable[Overwritten] = (),
) -> RunReport:  # fmt: skip
    """The report of the run `span`. `said`: what doit said at its end, by stage; `overwritten`: what the run found to be so."""
    names = {stage.name for stage in config.stages}
    chosen = span.chosen if span.chosen and span.chosen <= names else names
    reader = Reader(config, span, redact, over=said is not None)
    stages = [reader.stage(stage, (said or {}).get(stage.name)) for stage in config.stages
              if stage.name in chosen]  # fmt: skip
    stages = with_waits(config, with_needs(config, stages), live=span.live)
    if span.live:
        stages = _with_stops(stages, Stops(config.root / STATE_DIR, span.holder), reader)
    ended = span.ended or (None if span.live else reader.latest or None)
    return RunReport(
        version=VERSION,
        name=config.name,
        run=reader.line(span.id),
        state="running" if span.live else "cut off" if reader.cut_off else "ended",
        stopped=reader.line(span.stopped),
        started=round(span.started, 3),
        ended=None if ended is None else round(ended, 3),
        seconds=round(max(0.0, (ended or reader.now) - span.started), 3),
        totals=totals_of(stages),
        left=(
            *(Left(stage.name, why(stage)) for stage in stages if stage.state not in SETTLED),
            # Of stages that could not be made known nothing else tells.
            *(
                Left(late.group, reader.line(told.reason))
                for late in config.late
                if (told := (said or {}).get(late.group)) is not None and told.state == FAILED
            ),
        ),
        groups=groups_of(config, stages),
        stages=tuple(stages),
        overwritten=tuple(
            OverwrittenReport(
                reader.line(found.stage),
                reader.line(found.file),
                tuple(map(reader.line, found.by)),
                reader.line(found.text()),
            )
            for found in overwritten
        ),
    )


def of_stages(config: Config, names: Iterable[str], redact: Redactor = NOTHING) -> tuple[StageReport, ...]:
    """Of each of the stages and groups `names` how it was last done, in whichever run."""
    reader = Reader(config, Span("", 0.0), redact)
    return tuple(reader.settled(stage) for name in names for stage in config.named(name))


def as_they_were(config: Config) -> frozenset[str]:
    """The stages whose inputs and targets are what they were when each was last done."""
    reader = Reader(config, Span("", 0.0), NOTHING)
    good = ((stage, reader.last_good(stage)) for stage in config.stages)
    return frozenset(stage.name for stage, told in good if told is not None and reader.as_it_was(stage, told))


def _with_stops(stages: Sequence[StageReport], stops: Stops, reader: Reader) -> list[StageReport]:
    """What the run in progress was told not to begin waits for nothing."""
    told = stops.among(stage.name for stage in stages if stage.state == WAITING)
    return [
        replace(stage, state=STOPPED, reason=reader.line(not_begun(told[stage.name])), waits_for=())
        if stage.name in told
        else stage
        for stage in stages
    ]


# -- reading the journals


class Reader:
    """Tells of a run's stages, in texts that are cleaned and redacted."""

    def __init__(self, config: Config, span: Span, redact: Redactor, *, over: bool = False) -> None:
        self.config = config
        self.root = config.root
        self.span = span
        self.redact = redact
        self.now = time.time()
        self.over = over  # doit said all that it had to say
        self.latest = 0.0  # the run's last event
        self.cut_off = False  # it was killed

    def say(self, text: object) -> str:
        return self.redact.text(clean_text(text)) if isinstance(text, str) else ""

    def line(self, text: object) -> str:
        return clean_line(self.say(text).replace(f"{self.root}/", ""))

    def log(self, stage: Stage) -> StageLog:
        return StageLog(self.root / STATE_DIR, stage.name)

    def stage(self, stage: Stage, said: Said | None) -> StageReport:
        log = self.log(stage)
        chain = self._chain(stage, log)
        if not chain:
            return self._untouched(stage, log, said)
        last = chain[-1]
        self.latest = max(self.latest, last.last)
        self.cut_off = self.cut_off or (last.result is None and not self.span.live)
        attempts = tuple(self._attempt(told) for told in chain)
        state, reason = (said.state, said.reason) if said is not None else self._state(log, last)
        if state == DONE and said is None and (altered := self._altered(stage, log, last)):
            state, reason = FAILED, f"its target '{altered[0]}' was changed after it was verified"
        elif state == DONE:
            reason = ""
        told = self._made(
            stage, state, reason or attempts[-1].why, last, attempts, said.waits_for if said else ()
        )
        if state not in SETTLED and last.how == Result.SUCCEEDED.value:
            # It was good, and is so no more: what passed then is not what stands there now.
            return replace(told, checks=tuple(self._unchecked(stage)))
        return told

    def _altered(self, stage: Stage, log: StageLog, last: Told) -> list[str]:
        """Which of the targets that the newest attempt made are not what was verified."""
        recorded = (last.result or {}).get("targets")
        # Its folder may be gone by now.
        if not isinstance(recorded, dict) or log.attempts()[-1:] != [last.attempt.number]:
            return []
        return [
            name
            for name in stage.targets
            if name != stage.plan
            and name in recorded
            and not verify.same_bytes(self.root / name, recorded[name])
        ]

    def _made(
        self, stage: Stage, state: str, reason: str, last: Told, attempts: tuple[AttemptReport, ...],
        waits_for: tuple[str, ...] = (), *, files: bool = True,
    ) -> StageReport:  # fmt: skip
        definition = last.begun.get("definition")
        agent = definition.get("agent") if isinstance(definition, dict) else None
        return StageReport(
            name=stage.name,
            group=stage.group,
            agent=self.line(agent) or (stage.agent.name if stage.agent is not None else None),
            state=state,
            reason="" if state == DONE and attempts else self.line(reason),
            waits_for=waits_for,
            seconds=round(sum(each.seconds for each in attempts), 3),
            repairs=sum(each.repairs for each in attempts),
            tokens=sum(each.tokens for each in attempts),
            cost_usd=sum_costs(each.cost_usd for each in attempts),
            attempts=attempts,
            files=tuple(self._files(stage, last)) if files else (),
            checks=self._checks(stage, last),
            message=self.say((last.result or {}).get("message") or last.view.message).strip("\n"),
            undeclared=tuple(self._undeclared(last)) if files else (),
            messages=tuple(self._messages(stage)) if attempts and self.span.id else (),
        )

    def _untouched(self, stage: Stage, log: StageLog, said: Said | None) -> StageReport:
        """No attempt of this run: it was up to date, was taken over from a run that was killed, or has not begun."""
        good = self.last_good(stage)
        state, reason = (said.state, said.reason) if said is not None else (WAITING, "")
        if said is None and not self.over and good is not None and self.as_it_was(stage, good):
            state = UP_TO_DATE
        if good is not None and state == DONE:
            return self._made(stage, state, "finished in an earlier run", good, ())
        told = self._made(
            stage, state, reason, good or nothing(log), (), said.waits_for if said is not None else (), files=False
        )  # fmt: skip
        if state not in SETTLED:  # what an earlier run said and checked is not about what is left
            return replace(told, message="", checks=tuple(self._unchecked(stage)))
        return told

    def settled(self, stage: Stage) -> StageReport:
        log = self.log(stage)
        good = self.last_good(stage)
        if good is None:
            return replace(self._made(stage, NOT_RUN, "", nothing(log), (), files=False), checks=())
        return self._made(stage, DONE, "", good, (self._attempt(good),))

    def _chain(self, stage: Stage, log: StageLog) -> list[Told]:
        """The attempts of this run, oldest first."""
        found: list[Told] = []
        for number in reversed(log.attempts()):
            attempt = Attempt(log, number)
            if touched(attempt) < self.span.started - SLACK:  # no need to read it: it ended before
                break
            told = read(stage, attempt)
            if told.last < self.span.started:
                break
            if told.last < self.span.until:
                found.append(told)
        return found[::-1]

    def last_good(self, stage: Stage) -> Told | None:
        log = self.log(stage)
        for number in reversed(log.attempts()):
            result = Attempt(log, number).result()
            if result is not None and result.get("result") == Result.SUCCEEDED.value:
                told = brief(Attempt(log, number), result)
                if told.last < self.span.until:
                    return told
        return None

    def as_it_was(self, stage: Stage, good: Told) -> bool:
        """Are its inputs and targets what they were when it was done, and was nobody cut off at work on it since?

        The rest of its definition is not looked at.
        """
        log = good.attempt.log
        if log.attempts()[-1] != good.attempt.number and log.unsettled():
            return False
        inputs, targets = good.begun.get("inputs"), (good.result or {}).get("targets")
        opened = log.open_attempt()  # done, and no run has come to store it: see recovery.drive
        taken_over = opened is not None and opened.number == good.attempt.number
        if not (taken_over or files.is_file(log.dir / "done")) or not isinstance(inputs, dict):
            return False
        targets = targets if isinstance(targets, dict) else {}
        return set(inputs) == set(stage.file_dep) and all(
            verify.same_bytes(self.root / name, mark)
            for name, mark in (*inputs.items(), *((name, targets.get(name)) for name in stage.targets))
        )

    def _state(self, log: StageLog, last: Told) -> tuple[str, str]:
        if last.result is None:
            if not self.span.live:
                return STOPPED, "its run was cut off"
            if last.view.state is State.BLOCKED:
                return RUNNING, f"needs a person: {last.view.blocked_on}"
            return RUNNING, silence(last.view) if last.view.unheard else last.view.activity
        opened = log.open_attempt()
        again = last.result.get("retry") is True and opened is not None
        if self.span.live and again and opened is not None and opened.number == last.attempt.number:
            return RUNNING, f"tries again after: {last.result.get('reason')}"
        return _STATE_OF.get(last.how, STOPPED), ""

    def _attempt(self, told: Told) -> AttemptReport:
        result = told.result or {}
        view, seconds = told.view, as_number(result.get("seconds"))
        tokens, cost = _count(result.get("tokens")), as_number(result.get("cost_usd"))
        if told.result is None:
            tokens, cost = self._used_so_far(told)
        why, how = self.line(result.get("reason")), told.how
        if told.result is None:
            how = "running" if self.span.live else "cut off"
            why = "" if self.span.live else "its run was cut off"
        if seconds is None:
            seconds = max(0.0, (self.now if how == "running" else told.last) - told.first)
        # What was cut off by a kill tells of all the time until somebody noticed: only that of this run counts.
        seconds = min(seconds, max(0.0, told.last - self.span.started)) if how != "running" else seconds
        session = result.get("session_id") or view.session_id
        before = self._same_session(told, session)
        return AttemptReport(
            number=told.attempt.number,
            result=how,
            why=why,
            began=round(told.first, 3),
            seconds=round(seconds, 3),
            prompts=_count(result.get("prompts")) or view.prompts,
            tools=_count(result.get("tools")) or view.tools,
            repairs=_count(result.get("repairs")) or view.repairs,
            tokens=max(0, tokens - _count(before.get("tokens"))),
            cost_usd=None
            if cost is None
            else round(max(0.0, cost - (as_number(before.get("cost_usd")) or 0.0)), 6),
            session_id=self.line(session) or None,
            folder=self._relative(told.attempt.dir),
        )

    def _used_so_far(self, told: Told) -> tuple[int, float | None]:
        tokens = TranscriptReader(told.view.transcript).read().tokens if told.view.transcript else 0
        with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
            return tokens, cost_of(json.loads(files.read(told.attempt.dir / "status.json")))
        return tokens, None

    def _same_session(self, told: Told, session: object) -> Mapping[str, Any]:
        """The result of the attempt before, if its session goes on in this one: it told of the same tokens."""
        if not session:
            return {}
        for number in range(told.attempt.number - 1, max(0, told.attempt.number - 1 - LOOK_BACK), -1):
            result = Attempt(told.attempt.log, number).result()
            if result is not None and result.get("session_id") == session:
                return result
        return {}

    def _relative(self, path: Path) -> str:
        return clean_line(str(path.relative_to(self.root)))

    # files

    def _files(self, stage: Stage, told: Told) -> Iterator[FileReport]:
        for version in versions(self.root, stage, told):
            kept = None if version.kept is None else self._relative(version.kept)
            yield compared(version, self.line(version.name), kept)

    def _undeclared(self, told: Told) -> Iterator[UndeclaredReport]:
        found = (told.result or {}).get("undeclared")  # an older version's has none
        for each in found if isinstance(found, list) else ():
            if isinstance(each, dict) and isinstance(each.get("path"), str):
                beside = each.get("beside")
                yield UndeclaredReport(
                    self.line(each["path"]),
                    each.get("known") is True,
                    tuple(self.line(name) for name in beside) if isinstance(beside, list) else (),
                )

    def _messages(self, stage: Stage) -> Iterator[MessageReport]:
        """What was written to its worker in this run."""
        mailbox = Mailbox(self.log(stage))
        for name in mailbox.sent():
            letter = mailbox.letter(name)
            if letter is not None and self.span.started <= letter.at < self.span.until:
                yield MessageReport(
                    round(letter.at, 3), self.line(letter.sender), self.say(letter.text).strip("\n")
                )

    # checks

    def _checks(self, stage: Stage, told: Told) -> tuple[CheckReport, ...]:
        found = []
        good, problems = told.how == Result.SUCCEEDED.value, self._problems(told)
        failed = any(problem.startswith("check `") for problem in problems)
        if stage.command is not None:
            log = told.attempt.dir / "output.log"
            blamed = told.how == Result.TIMED_OUT.value or problems[0].startswith("its command ")
            stopped = told.how == Result.ABORTED.value and not (told.result or {}).get("unchecked")
            ended = told.result is not None and not stopped and files.is_file(log)
            how = "passed" if good else "not run" if not ended else "failed" if blamed else "passed"
            found.append(self._check("command", stage.command, how, log))
        done = stored if isinstance(stored := (told.result or {}).get("phases"), list) else []
        current = stage.phases[min(len(done), len(stage.phases) - 1)].check if stage.phases else None
        for number, phase in enumerate(stage.phases):
            if phase.check is not None:
                # A check of an earlier phase is run again at the end, if somebody else may have changed its files.
                again = phase.check != current and any(
                    problem.startswith(f"check `{phase.check}` ") for problem in problems
                )
                clear, here = good or (number < len(done) and not again), again or number == len(done)
                how = "passed" if clear else "failed" if failed and here else "not run"
                found.append(self._check("check", phase.check, how, told.attempt.dir / "check.log"))
        if stage.check is not None:
            failed = failed and len(done) + 1 >= len(stage.phases)
            clear = good or (told.problems == [] and files.is_file(told.attempt.dir / "check.log"))
            how = "passed" if clear else "failed" if failed else "not run"
            found.append(self._check("check", stage.check, how, told.attempt.dir / "check.log"))
        return tuple(found)

    def _problems(self, told: Told) -> list[str]:
        """What was found when it was last looked at; a command's reason says it."""
        return told.problems or [str((told.result or {}).get("reason") or "")]

    def _check(self, kind: str, command: str, how: str, log: Path) -> CheckReport:
        output = self.say(verify.output_tail(log)) if how == "failed" else ""
        return CheckReport(kind, self.line(command), how, output)

    def _unchecked(self, stage: Stage) -> Iterator[CheckReport]:
        for kind, command in (("command", stage.command), *(("check", check) for check in stage.checks)):
            if command is not None:
                yield CheckReport(kind, self.line(command), "not run", "")


def _count(value: object) -> int:
    return max(0, int(as_number(value) or 0))
