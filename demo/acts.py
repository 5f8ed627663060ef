"""The acts of the demo, in their order: each runs something in the session orchestrator-demo and tells what came of it.

Rule kept here: everything told is read from somewhere (journals, results, screens, files), and every claim
is checked as it is made; the first one that does not hold ends the demo.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import telling
from facts import DONE, Facts, find_block
from sessions import MAIN, WORK, WORKERS, DemoError, Stagehand, attach_command, screen, sessions

AGENT_STAGES = ("frontend", "backend", "tests")
BACKEND_FILES = ("profiles/api.py", "docs/api-contract.md")
# Lines of a worker's screen that are shown.
SHOWN_LINES = 8
# Seconds between two captures of one worker, so that a reader can follow. A model works for minutes.
PACE_SECONDS = {"scripted": 2.2, "claude": 10.0}
BROKEN = " && false"
# The act in which the first run is over and told.
LOOK_ACT = 6


def program(name: str) -> str:
    """A program of the Python that runs us."""
    return str(Path(sys.executable).parent / name)


def expect(holds: object, otherwise: str) -> None:
    """A claim. DemoError when it does not hold."""
    if not holds:
        raise DemoError(f"not as expected: {otherwise}")


class Demo:
    """The acts, in their order. One object for a whole demo."""

    def __init__(self, agent: str, trust: bool, pauses: bool, stagehand: Stagehand) -> None:
        self.agent = agent
        self.trust = trust
        self.pauses = pauses
        self.stagehand = stagehand
        self.facts = Facts(WORK)
        self.act = 1
        self._began = 0.0
        self._told_plan = False
        self._shown_at: dict[str, float] = {}
        self._told_news: dict[str, str] = {}
        self._told_lines = 0

    def title(self, text: str) -> None:
        self.act += 1
        telling.title(self.act, text)

    def pause(self) -> None:
        if self.pauses:
            telling.pause("Enter to go on")

    def play(self) -> None:
        """All of it."""
        self.build()
        self.tell_coordination()
        self.report()
        self.tell_how_to_look()
        self.pause()
        self.run_again()
        self.pause()
        self.break_backend()
        self.pause()
        self.mend_backend()
        self.tell_the_end()

    @property
    def command(self) -> str:
        return f"doit orchestrate --no-board --agent {self.agent}"

    def orchestrate(self, look: str) -> tuple[int, list[str]]:
        """Run the stages in the session; exit status and output. `look` is what to tell meanwhile."""
        shown = self.command + (" --trust" if self.trust else "")
        argv = [program("doit"), *shown.split()[1:]]
        self.trust = False
        telling.line()
        telling.line(f"{telling.INDENT}{telling.paint(f'$ {shown}', 'bold')}  (in {MAIN})")
        self._began, self._told_lines = time.time(), 0
        tell = {"screens": self.tell_screens, "output": lambda: self.tell_output(shown)}[look]
        code = self.stagehand.run(argv, shown, tell)
        lines = self.stagehand.output(shown)
        if look == "output":
            telling.output(lines[self._told_lines :])
        return code, lines

    # the first run

    def build(self) -> None:
        code, lines = self.orchestrate("screens")
        if code != 0:
            telling.line()
            telling.output(lines[-12:])
        expect(
            code == 0,
            f"the first run ended with exit status {code}, see above "
            f"(cd demo/work && {os.path.relpath(program('dodo-claude'), WORK)} log STAGE)",
        )
        telling.line()
        telling.output(lines[-1:])
        expect(
            set(self.facts.workers()) == set(AGENT_STAGES),
            f"workers were started for {', '.join(self.facts.workers())}",
        )

    def tell_screens(self) -> None:
        """Called while a run is under way: what is new in the journals, and the screens of whom it is about."""
        if not self._told_plan:
            if not self.facts.plan():
                return
            self.tell_assignments()
        for stage in self.facts.news():
            events = self.facts.events(stage)
            if not events:
                continue
            news = next((text for event in reversed(events) if (text := event.told(WORK))), "")
            pane = next(
                (str(event.data["pane"]) for event in reversed(events) if event.kind == "spawned"), ""
            )
            over = events[-1].kind in ("Stop", "verified", "outcome")
            quiet = time.time() - self._shown_at.get(stage, 0.0) < PACE_SECONDS[self.agent]
            if not news or not pane or (quiet and not over) or news == self._told_news.get(stage):
                continue
            # Between its last word and the verification a worker's screen does not change.
            lines = latest_lines(pane) if self._told_news.get(stage) != DONE else []
            self._told_news[stage], self._shown_at[stage] = news, time.time()
            telling.screen(f"{self.session(stage)} at {time.time() - self._began:.1f} s: {news}", lines)

    def tell_assignments(self) -> None:
        self._told_plan = True
        self.title("Tasks assigned")
        telling.prose("From the run's frozen plan, .orchestrate/runs/*/plan.toml:")
        telling.line()
        rows: list[tuple[str, ...]] = [("stage", "tmux session", "must write")]
        for stage in self.facts.plan():
            names = [stage.name, *[""] * (len(stage.targets) - 1)]
            sessions = [stage.session, *[""] * (len(stage.targets) - 1)]
            rows += zip(names, sessions, stage.targets, strict=True)
        telling.table(rows)
        telling.line()
        for stage in self.facts.plan():
            told = telling.clip(stage.prompt.strip().split("\n")[0], telling.width() - 16)
            telling.line(f"{telling.INDENT}{stage.name:<9} {told}")
        self.title("At work: the latest lines of their screens")

    def session(self, stage: str) -> str:
        return next(entry.session for entry in self.facts.plan() if entry.name == stage)

    def tell_coordination(self) -> None:
        self.title("Coordination: what the backend built reached the tests worker")
        name = "docs/api-contract.md"
        contract = self.facts.lines(name)
        path = self.facts.last("tests") / "prompt.md"
        start = find_block(contract, path.read_text(encoding="utf-8").splitlines())
        expect(start is not None, f"{path} does not hold {name} as the backend wrote it")
        assert start is not None
        ended = next(event.at for event in self.facts.events("backend") if event.kind == "outcome")
        begun = self.facts.events("tests")[0].at
        expect(ended <= begun, "the tests worker began before the backend was done")
        telling.prose(
            f"The backend was verified at {clock(ended)}, the tests worker began at {clock(begun)}. All "
            f"{len(contract)} lines of the backend's {name} are in its prompt, "
            f"{path.relative_to(WORK)}, among them:"
        )
        telling.line()
        told = [n for n, text in enumerate(contract) if text.startswith("## ") or text.startswith("- ")][:6]
        for number in told:
            telling.line(
                telling.clip(
                    f"{telling.INDENT}line {start + number + 1:>3}: {contract[number]}", telling.width() - 1
                )
            )
        used = [text for text in self.facts.lines("tests/test_profile_api.py") if "/api/profile" in text]
        expect(used, "tests/test_profile_api.py does not mention /api/profile")
        telling.line()
        telling.prose("And what it made of that, in tests/test_profile_api.py:")
        telling.line(telling.clip(f"{telling.INDENT}{' ' * 10}{used[0].strip()}", telling.width() - 1))

    def report(self) -> None:
        self.title("Final report")
        telling.line()
        rows: list[tuple[str, ...]] = [("worker", "file", "lines", "check", "time", "repairs")]
        files = lines = 0
        seconds = []
        began, ended = [], []
        for stage in self.facts.plan():
            result = self.facts.result(stage.name)
            checks = [event for event in self.facts.events(stage.name) if event.kind == "verified"]
            expect(result["result"] == "succeeded", f"{stage.name} {result['result']}: {result['reason']}")
            expect(checks and checks[-1].data["ok"], f"the check of {stage.name} did not pass")
            seconds.append(float(result["seconds"]))
            began.append(float(result["began"]))
            ended.append(began[-1] + seconds[-1])
            facts = (stage.session, "passed", f"{seconds[-1]:.1f} s", str(result["repairs"]))
            for index, target in enumerate(stage.targets):
                count = len(self.facts.lines(target))
                files, lines = files + 1, lines + count
                session, check, took, repairs = facts if index == 0 else ("", "", "", "")
                rows.append((session, target, str(count), check, took, repairs))
        telling.table(rows, right=(2, 4, 5))
        telling.line()
        telling.prose(
            f"{len(seconds)} workers, {files} files, {lines} lines; {sum(seconds):.1f} s of work in "
            f"{max(ended) - min(began):.1f} s, since frontend and backend worked side by side."
        )
        expect(max(began[:2]) < min(ended[:2]), "frontend and backend did not work side by side")
        last = (self.facts.last("tests") / "check.log").read_text(encoding="utf-8").strip().split("\n")[-1]
        telling.prose(f"The last check said: {last}.")

    def tell_how_to_look(self) -> None:
        self.title("Look for yourself, now or later")
        tell_commands()
        telling.prose(
            "A verified worker is ended and leaves its last screen, under which tmux writes 'Pane is dead'."
        )

    # the point of it

    def run_again(self) -> None:
        self.title("Run it again: nothing is stale, so nobody works")
        before = self.facts.workers()
        code, lines = self.orchestrate("output")
        expect(code == 0, f"the second run ended with exit status {code}")
        for stage in AGENT_STAGES:
            expect(line_of(lines, stage, "up to date"), f"{stage} was not up to date")
        self.expect_workers(before, {})
        telling.holds("exit status 0, all three up to date")

    def break_backend(self) -> None:
        self.title("Break a stage")
        path = WORK / "orchestrate.toml"
        good = path.read_text(encoding="utf-8")
        check = 'check = "python3 checks/check_api.py'
        expect(good.count(check) == 1, f"{path} has no line {check}")
        telling.prose(
            f"The backend's check in demo/work/orchestrate.toml gets `{BROKEN.strip()}` at its end: whatever its worker "
            "does, it will not pass. A changed check makes the stage stale."
        )
        path.write_text(good.replace(check, check + BROKEN), encoding="utf-8")
        files = {name: (WORK / name).read_bytes() for name in BACKEND_FILES}
        before = self.facts.workers()
        # A check is a command on this machine: whoever changes it has to say that it may run.
        self.trust = True
        try:
            code, lines = self.orchestrate("output")
        finally:
            path.write_text(good, encoding="utf-8")
        expect(code == 1, f"the run with a failing check ended with exit status {code}, not 1")
        failed = [text for text in lines if "FAILED" in text]
        expect(
            len(failed) == 1 and line_of(failed, "backend", "FAILED: check"),
            f"the reason is not one line: {failed}",
        )
        expect(BROKEN in failed[0], f"the reason does not name the check: {failed[0]}")
        expect(line_of(lines, "frontend", "up to date"), "frontend was not up to date")
        expect(line_of(lines, "tests", "not run"), "tests was run although backend failed")
        self.expect_workers(before, {"backend": 1})
        telling.holds("exit status 1, and FAILED says why; frontend up to date; tests not run")
        expect(
            all((WORK / name).read_bytes() == data for name, data in files.items()),
            "the failed attempt left its files in place of the verified ones",
        )
        repairs = self.facts.result("backend")["repairs"]
        telling.holds(
            f"its worker was told {repairs} time{'' if repairs == 1 else 's'} what is wrong; in vain, so the files of "
            "the last good attempt stand as before"
        )

    def mend_backend(self) -> None:
        self.title("Mend it: work that is good is not done again")
        telling.prose(
            "The check in demo/work/orchestrate.toml is as it was. Nothing else was against what the worker has just "
            "made: so its files are checked again before anybody works."
        )
        files = {name: (WORK / name).read_bytes() for name in BACKEND_FILES}
        before = self.facts.workers()
        code, lines = self.orchestrate("output")
        expect(code == 0, f"the run after the mending ended with exit status {code}")
        expect(line_of(lines, "frontend", "up to date"), "frontend was not up to date")
        expect(line_of(lines, "backend", "done in"), "backend is not done")
        if all((WORK / name).read_bytes() == data for name, data in files.items()):
            expect(line_of(lines, "tests", "up to date"), "tests was not up to date")
            self.expect_workers(before, {})
            telling.holds("exit status 0; backend's bytes are those from before, so: tests up to date")
        else:
            expect(line_of(lines, "tests", "done in"), "tests is not done")
            self.expect_workers(before, {"tests": 1})
            telling.holds("exit status 0; backend's bytes are others than before, so tests is done again")

    def expect_workers(self, before: dict[str, int], more: dict[str, int]) -> None:
        """Exactly `more` workers were started since `before`; tell it by the attempts' folders."""
        after = self.facts.workers()
        expect(
            after == {name: count + more.get(name, 0) for name, count in before.items()},
            f"workers went from {before} to {after}",
        )
        telling.line()
        counts = ", ".join(
            f"{name} {before[name]}->{after[name]}" if name in more else f"{name} {after[name]}"
            for name in after
        )
        started = " and ".join(more) if more else "no worker"
        telling.holds(f"{started} started; workers so far: {counts}")

    def tell_the_end(self) -> None:
        there = {session.name for session in sessions() if session.ours}
        expect(there == {MAIN, *WORKERS}, f"of the four sessions only {', '.join(sorted(there))} are there")
        self.title("All of this held; the four sessions are still there")
        tell_commands()

    def tell_output(self, shown: str) -> None:
        """Called while a run is under way: what it printed since it was last looked at."""
        if self.facts.news():
            lines = self.stagehand.output(shown)
            telling.output(lines[self._told_lines :])
            self._told_lines = len(lines)


def clock(at: float) -> str:
    """A time of day with tenths."""
    return time.strftime("%H:%M:%S", time.localtime(at)) + f"{at % 1:.1f}"[1:]


def line_of(lines: list[str], stage: str, text: str) -> bool:
    """Is there a line about that stage with that text at its start?"""
    return any(
        words[1:2] == [stage] and words[2].startswith(text)
        for words in (line.split(None, 2) for line in lines)
        if len(words) == 3
    )


def latest_lines(pane: str) -> list[str]:
    """The last lines of a worker's screen that say something: no rules, no empty input box, no word of tmux's."""
    lines = [line for line in screen(pane) if line.strip("─ ❯\xa0") and not line.startswith("Pane is dead")]
    return lines[-SHOWN_LINES:]


def tell_commands() -> None:
    """How to look at the sessions, leave them, and clean up."""
    attach = attach_command()
    telling.line()
    for session in (MAIN, *WORKERS):
        telling.line(f"{telling.INDENT}{attach} -t {session}")
    for command, meaning in (
        ("Ctrl-b d", "leaves a session as it is"),
        ("Ctrl-b s", "goes to another session"),
        ("cd demo/work", "what they made; .orchestrate/ has all logs"),
        ("demo/demo-orchestration.sh --clean", "removes the sessions and demo/work"),
    ):
        telling.line(f"{telling.INDENT}{command:<35} {meaning}")
    telling.line()
