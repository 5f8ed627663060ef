"""Chaos by a seed: a small graph of scripted stages, run over and over, killed at random moments.

A round is one `doit orchestrate` with something done to it. An epoch is one definition of all stages, with faults
of its own in its scenario; it ends when a run has ended by itself, or at any moment, as when a user edits the file.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import invariants
from tests.integration.scenes import Step, configure, play, write
from tests.project import BIN, Live, Project

# How long the end of a worker or of its server may go unnoticed.
NOTICE_SECONDS = 5.0
# No round of these small stages takes as long; a hang must end the test.
ROUND_SECONDS = 60.0
# A look at all processes takes some milliseconds of a core.
LOOK_SECONDS = 0.05
# A run that the circuit breaker stopped is begun again this often.
SETTLE_TRIES = 6
# After so many settled epochs a project begins anew.
EPOCHS_KEPT = 6
# What happens in a round, and how often.
ROUNDS = {
    "orchestrator": 55,
    "orchestrator and workers": 8,
    "orchestrator and server": 4,
    "SIGTERM": 6,
    "SIGINT": 6,
    "SIGHUP": 6,
    "worker": 20,
    "server": 8,
    "stop": 12,
}
# Whom a person stops in a round of that kind, besides one that is at work.
STOPPED = ("each", "end", "top", "--all")
# What a stage's worker does wrong, and how often.
FAULTS = {
    "none": 60,
    "stops early": 8,
    "dies": 6,
    "exits": 4,
    "overload": 6,
    "too many requests": 4,
    "leaves a child": 6,
    "hangs": 1,
    "asks": 2,
}
GRAPH: dict[str, tuple[str, ...]] = {
    "top": ("spec.md",),
    "left": ("out/top.txt",),
    "right": ("out/top.txt",),
    "each": ("out/top.txt",),
    "end": ("out/left.txt", "out/right.txt", *(f"out/each-{item}.txt" for item in "abc")),
}
STAGES = ("top", "left", "right", "each:a", "each:b", "each:c", "end")
USERS = {
    "spec.md": b"The spec.\n",
    "notes/mine.txt": b"Do not touch.\r\n",
    "data.bin": bytes(range(256)) * 40,
}


def turns_of(fault: str, target: str, text: str, sleep: float = 0.0) -> list[list[Step]]:
    """What the worker of a stage plays: the fault first, then the work."""
    pause: list[Step] = [{"sleep": sleep}] if sleep else []
    work: list[Step] = [write(target, "half"), *pause, write(target, text)]
    first: dict[str, list[list[Step]]] = {
        "none": [],
        "stops early": [[{"say": "All done."}]],
        "dies": [[write(target, "half"), {"kill": 9}]],
        "exits": [[write(target, "half"), {"exit": 3}]],
        "overload": [[{"fail": "server_error"}]],
        "too many requests": [[{"fail": "rate_limit", "text": "API Error: Request rejected (429)"}]],
        "leaves a child": [[{"spawn": "trap '' TERM HUP; setsid sleep 1000"}, *work]],
        "hangs": [[write(target, "half"), {"hang": True}]],
        "asks": [[{"permission": "Bash", "command": "curl -s example.invalid"}]],
    }
    return [*first[fault], work]


@dataclass
class Figures:
    """What came of it."""

    rounds: int = 0
    epochs: int = 0
    runs: int = 0  # of doit, the undisturbed ones counted
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    notices: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def killed(self) -> int:
        return sum(self.kills.values())

    def of(self, word: str) -> int:
        return sum(word in problem for problem in self.problems)

    def lines(self) -> list[str]:
        notices = sorted(self.notices) or [0.0]
        return [
            f"kills {self.killed}: "
            + ", ".join(f"{kind} {count}" for kind, count in self.kills.most_common()),
            f"rounds {self.rounds}, runs {self.runs}, epochs {self.epochs}; faults played: "
            + ", ".join(f"{kind} {count}" for kind, count in self.faults.most_common()),
            f"finished stages rerun {self.of('rerun: ')}, stages with two workers {self.of('two workers: ')}, "
            f"stopped stages that came back {self.of('came back: ')}, orphans {self.of('orphans: ')}, tracebacks {self.of('traceback: ')}, other {len(self.problems)}",
            f"deaths noticed {len(self.notices)}: median {notices[len(notices) // 2]:.3f} s, worst {notices[-1]:.3f} s",
        ]


class Broken(Exception):
    """An invariant does not hold."""


class Lane:
    """One project, and the chaos in it."""

    def __init__(self, project: Project, seed: str, figures: Figures, goal: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.figures = figures
        self.goal = goal  # kills of all lanes together
        self.epoch = 0
        self.settled = 0  # epochs, since the project was new
        self.since: dict[str, int] = {}
        self.files: dict[str, bytes] = dict(USERS)
        self.waits: set[str] = set()  # stages that will fail
        self.text = ""  # of the last run
        self.stopped: dict[str, int] = {}  # what a person stopped in this round, and its last attempt then
        for name, data in USERS.items():
            path = project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        project.env["DODO_CLAUDE_SCRIPTED_SPEED"] = "1"

    def go(self, stop: threading.Event) -> None:
        """Until all lanes together have killed enough."""
        while not stop.is_set() and self.figures.killed < self.goal:
            self._new_epoch()
            abandoned = self.random.random() < 0.15
            for _ in range(self.random.randint(2, 12)):
                if stop.is_set():
                    return
                if self._round() and not self.random.random() < 0.2:
                    break
            if not abandoned:
                self._settle()
                self.settled += 1
        self._settle()

    # -- epochs

    def _new_epoch(self) -> None:
        """The user edits everything; workers of the old definitions may still be at it."""
        self.epoch += 1
        if (
            self.settled >= EPOCHS_KEPT
        ):  # else each look at all attempts would take longer than the one before
            for name in (".orchestrate", "out"):
                shutil.rmtree(self.project.root / name, ignore_errors=True)
            self.settled = 0
        told = invariants.attempts(self.project)
        self.since = {name: tries[-1].number for name, tries in told.items() if tries}
        self.waits = set()
        faults = {name: self._choose(FAULTS) for name in STAGES}
        stages: dict[str, dict[str, object]] = {}
        for name, needs in GRAPH.items():
            target = "out/each-{{ item }}.txt" if name == "each" else f"out/{name}.txt"
            keys: dict[str, object] = {
                "prompt": f"Epoch {self.epoch}.",
                "file_dep": list(needs),
                "targets": [target],
            }
            if name == "each":
                keys["foreach"] = list("abc")
            group = [fault for stage, fault in faults.items() if stage.partition(":")[0] == name]
            if "hangs" in group:
                keys["idle_timeout"] = "1s"
            if "asks" in group:
                keys["person_timeout"] = "300ms"
            stages[name] = keys
        configure(
            self.project, stages,
            agent={"permission_mode": "manual"},
            defaults={"keep": "never", "repairs": 2, "timeout": "60s"},
            max_workers=4,
        )  # fmt: skip
        played = {}
        for name in STAGES:
            sleep = round(self.random.random() * 0.1, 3)
            target = f"out/{name.replace(':', '-')}.txt"
            played[name] = turns_of(faults[name], target, self._content(name), sleep)
            if faults[name] == "asks":
                played[name] = played[name][:1]
                self.waits.add(name)
        play(self.project, played)
        for name in ("orchestrate.toml", "scenario.toml"):
            self.files[name] = (self.project.root / name).read_bytes()
        with self.figures.lock:
            self.figures.epochs += 1
            self.figures.faults.update(fault for fault in faults.values() if fault != "none")

    def _content(self, stage: str) -> str:
        return f"{stage} of epoch {self.epoch}\n"

    def _choose(self, table: dict[str, int]) -> str:
        return self.random.choices(list(table), list(table.values()))[0]

    # -- rounds

    def _round(self) -> bool:
        """True: it ended by itself, and well."""
        kind = self._choose(ROUNDS)
        self.stopped = {}
        with self._run() as live:
            ended = self._disturb(kind, live)
            code = self._wait(live)
        with self.figures.lock:
            self.figures.rounds += 1
        self._judge(live, code, over=ended or code >= 0, kind=kind)
        return ended and code in (0, 1) and "no further starts" not in self.text

    def _disturb(self, kind: str, live: Live) -> bool:
        """Do it. False: the orchestrator was killed."""
        if kind in ("worker", "server"):
            began = time.time()
            while live.process.poll() is None and not self._workers():
                time.sleep(LOOK_SECONDS)
            self._sleep(live, self.random.random() * 0.3)
            deaths = self._kill(kind)
            # One that an earlier run started may wait for its stage's turn, and nobody follows it till then.
            self._notice(live, [death for death in deaths if self._spawned(*death[:2]) > began])
            if deaths and self.random.random() < 0.6:
                self._sleep(live, self.random.random() * 0.4)
                return not self._signal(live, signal.SIGKILL, "orchestrator")
            return True
        if kind == "stop":
            return self._stop(live)
        # A part while it starts; the rest once it works.
        starting = not kind.startswith("SIG") and self.random.random() < 0.25
        self._sleep(live, self.random.random() * 0.4 if starting else 0.0)
        if not starting:
            self._until_begun(live)
            self._sleep(live, self.random.random() * 0.8)
        if kind.startswith("SIG"):
            number = signal.Signals[kind]
            self._signal(live, number, kind)
            if self.random.random() < 0.25:
                self._sleep(live, self.random.random() * 0.3)
                return not self._signal(live, signal.SIGKILL, "orchestrator")
            return True
        killed = self._signal(live, signal.SIGKILL, "orchestrator")
        if killed and kind != "orchestrator":
            live.process.wait()
            self._kill("server" if kind.endswith("server") else "worker", every=True)
        return not killed

    def _stop(self, live: Live) -> bool:
        """A person stops something; meanwhile, or soon after, the orchestrator may be killed. False: it was."""
        while live.process.poll() is None and not self._workers():
            time.sleep(LOOK_SECONDS)
        self._sleep(live, self.random.random() * 0.4)
        at_work = [name for name, _, _ in self._workers()] or ["top"]
        name = self.random.choice([*at_work, *at_work, *STOPPED])
        stopping = subprocess.Popen(
            [str(BIN / "dodo-claude"), "stop", name],
            cwd=self.project.root, env=self.project.environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._count("stop")
        killed = False
        if self.random.random() < 0.4:
            # The command itself takes a while to start.
            self._sleep(live, self.random.random() * 1.5)
            killed = self._signal(live, signal.SIGKILL, "orchestrator")
        try:
            said, _ = stopping.communicate(timeout=ROUND_SECONDS)
        except subprocess.TimeoutExpired:
            stopping.kill()
            raise Broken(f"endless: dodo-claude stop {name}") from None
        if stopping.returncode != 0 or "Traceback" in said or "is being stopped" in said:
            raise Broken(f"stop {name}: rc {stopping.returncode}: {said}")
        for line in said.splitlines():
            stage, _, what = line.partition(": stopped")
            if what:
                self.stopped[stage] = self.project.attempts(stage)
        return not killed

    def _until_begun(self, live: Live) -> None:
        """Before it has begun, Python itself answers a signal."""
        lock = self.project.root / ".orchestrate/run.lock"
        while live.process.poll() is None:
            with contextlib.suppress(OSError):
                if f"pid {live.process.pid} " in lock.read_text():
                    return
            time.sleep(0.01)

    def _signal(self, live: Live, number: signal.Signals, kind: str) -> bool:
        """Send it, if there is somebody to send it to."""
        if live.process.poll() is not None:
            return False
        live.process.send_signal(number)
        self._count(kind)
        return True

    def _kill(self, kind: str, *, every: bool = False) -> list[tuple[str, int, float]]:
        """SIGKILL to a worker or to the tmux server: the attempts whose workers died by it, and when."""
        workers = self._workers()
        if not workers:
            return []
        if kind == "server":
            servers = invariants.servers(self.project)
            if len(servers) != 1:  # a client is just asking it
                return []
            with contextlib.suppress(ProcessLookupError):
                os.kill(servers[0], signal.SIGKILL)
                self._count("server")
            return [(name, number, time.time()) for name, number, _ in workers]
        deaths = []
        for name, number, pid in workers if every else [self.random.choice(workers)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self._count("worker")
                deaths.append((name, number, time.time()))
        return deaths

    def _workers(self) -> list[tuple[str, int, int]]:
        """Those that live, by stage, attempt and process."""
        own = {pid for nonces in self._living().values() for pids in nonces.values() for pid in pids}
        found = []
        for name in STAGES if own else ():
            log = self.project.log(name)
            for number in log.attempts()[-1:]:
                events = invariants.read_attempt(log.dir / str(number)).events
                pids = [event["data"]["pid"] for event in events if event["kind"] == "spawned"]
                if pids and pids[-1] in own:
                    found.append((name, number, pids[-1]))
        return found

    def _spawned(self, name: str, number: int) -> float:
        """When an attempt's present worker was started."""
        events = invariants.read_attempt(self.project.log(name).dir / str(number)).events
        return max((event["at"] for event in events if event["kind"] == "spawned"), default=0.0)

    def _notice(self, live: Live, deaths: list[tuple[str, int, float]]) -> None:
        """How long until each death is in its journal."""
        for name, number, died in deaths:
            folder = self.project.log(name).dir / str(number)
            while True:
                told = invariants.read_attempt(folder)
                at = told.first("exited", "outcome", since=died - 0.001)
                if told.first("outcome", since=0) is not None and told.first("exited") is None:
                    break  # it was being ended anyway
                if at is not None:
                    with self.figures.lock:
                        self.figures.notices.append(max(0.0, at - died))
                    break
                late = time.time() - died > NOTICE_SECONDS
                if late or live.process.poll() is not None:
                    told = invariants.read_attempt(folder)
                    if told.first("exited", "outcome") is None:
                        raise Broken(f"unnoticed: {name} {number} died {time.time() - died:.1f} s ago")
                    break  # told of, if before the moment that was taken down here: nothing more will come
                time.sleep(0.01)

    def _settle(self) -> None:
        """Undisturbed, it comes to an end, and then there is nothing more to do."""
        self.stopped = {}  # in rounds before: these are other runs, which go on with it
        for _ in range(SETTLE_TRIES):
            with self._run() as live:
                code = self._wait(live)
            self._judge(live, code, over=True, kind="none")
            if "no further starts" not in self.text:
                break
        else:
            raise Broken(f"it does not come to an end:\n{self.text}")
        problems = invariants.check(
            self.project, over=True, settled=True, stages=STAGES, since=self.since, files=self.files
        )
        needed = {"top": set(STAGES), "end": {"end"}}
        failing = {name for wait in self.waits for name in needed.get(wait, {wait, "end"})}
        if code != (1 if failing else 0):
            problems.append(f"rc {code}, to fail: {sorted(failing)}\n{self.text}")
        for name in STAGES:
            if name not in failing:
                text = self.project.read(f"out/{name.replace(':', '-')}.txt")
                if text != self._content(name):
                    problems.append(f"content: {name}: {text!r}")
        if problems:
            raise Broken("\n".join(problems))

    # -- one run

    @contextmanager
    def _run(self) -> Iterator[Live]:
        with self.project.started() as live:
            with self.figures.lock:
                self.figures.runs += 1
            yield live

    def _wait(self, live: Live) -> int:
        try:
            code = live.wait(ROUND_SECONDS)
        except subprocess.TimeoutExpired:
            raise Broken(f"endless: still running after {ROUND_SECONDS:.0f} s") from None
        self.text = live.text
        return code

    def _judge(self, live: Live, code: int, *, over: bool, kind: str) -> None:
        problems = invariants.check(self.project, over=over, since=self.since, files=self.files)
        problems += invariants.came_back(self.project, self.stopped)
        if "Traceback" in self.text:
            problems.append(f"traceback: {self.text}")
        fine = {0, 1, -signal.SIGKILL}
        if kind.startswith("SIG"):
            fine.add(128 + signal.Signals[kind])
            if not self.text or " stages: " in self.text or " stage: " in self.text:
                fine.add(-signal.Signals[kind])  # before its work or after, it does not listen
        if code not in fine:
            problems.append(f"rc {code} after {kind}:\n{self.text}")
        if problems:
            raise Broken("\n".join([*problems, f"after {kind}, rc {code}, over {over}:", self.text]))

    def _living(self) -> dict[str, dict[str, list[int]]]:
        return invariants.living(self.project.root).get(str(self.project.root), {})

    def _count(self, kind: str) -> None:
        with self.figures.lock:
            self.figures.kills[kind] += 1

    def _sleep(self, live: Live, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            live.process.wait(seconds)


class Census(threading.Thread):
    """Looks all the while whether two attempts of one stage have processes at once."""

    def __init__(self, roots: list[Path]) -> None:
        super().__init__(daemon=True)
        self.roots = {str(root) for root in roots}
        self.over = threading.Event()
        self.looks = 0
        self.found: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.08):
            self.looks += 1
            for root, stages in invariants.living().items():
                for name, nonces in stages.items():
                    if root in self.roots and len(nonces) > 1:
                        self.found.append(f"two workers: {root}: {name}: {dict(nonces)}")


def chaos(projects: list[Project], seed: int, goal: int) -> Figures:
    """Until `goal` kills, or the first thing that is wrong. One lane for each project, all at once."""
    figures = Figures()
    stop = threading.Event()

    def run(number: int, lane: Lane) -> None:
        try:
            lane.go(stop)
        except Broken as error:
            stop.set()
            with figures.lock:
                figures.problems += [
                    f"lane {number}, epoch {lane.epoch}: {line}" for line in str(error).splitlines()
                ]
        except Exception:
            stop.set()
            figures.problems += ["the bench itself:", *traceback.format_exc().splitlines()]

    census = Census([project.root for project in projects])
    census.start()
    lanes = [
        threading.Thread(target=run, args=(number, Lane(project, f"{seed}/{number}", figures, goal)))
        for number, project in enumerate(projects)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    census.over.set()
    census.join()
    figures.problems += census.found
    return figures


def rss_fds_threads(pid: int) -> tuple[int, int, int] | None:
    """Resident kB, open descriptors and threads of a process."""
    try:
        status = dict(
            line.partition(":")[::2] for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        return int(status["VmRSS"].split()[0]), len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"])
    except (OSError, KeyError):
        return None


def soak(
    project: Project, seed: int, count: int, workers: int = 8
) -> tuple[Live, list[tuple[int, int, int]], dict[str, str]]:
    """`count` stages with seeded faults in one run: its end, what it used over time, each stage's fault."""
    chance = random.Random(seed)
    table = {kind: weight * (3 if kind not in ("none", "hangs") else 1) for kind, weight in FAULTS.items()}
    faults = {
        f"each:{number}": chance.choices(list(table), list(table.values()))[0] for number in range(count)
    }
    stages: dict[str, dict[str, object]] = {
        "each": {
            "foreach": [str(number) for number in range(count)],
            "targets": ["out/{{ item }}.txt"],
            "idle_timeout": "3s",
            "person_timeout": "300ms",
        }
    }
    configure(
        project, stages, agent={"permission_mode": "manual"},
        defaults={"keep": "never", "repairs": 2, "timeout": "120s"}, max_workers=workers,
    )  # fmt: skip
    played = {}
    for name, fault in faults.items():
        turns = turns_of(
            fault, f"out/{name.partition(':')[2]}.txt", f"{name}\n", round(chance.random() * 0.05, 3)
        )
        played[name] = turns[:1] if fault == "asks" else turns
    play(project, played)
    samples: list[tuple[int, int, int]] = []
    with project.started() as live:
        over = threading.Event()

        def look() -> None:
            lock = project.root / ".orchestrate/run.lock"
            while not over.wait(0.1):
                with contextlib.suppress(OSError):
                    if f"pid {live.process.pid} " in lock.read_text():
                        found = rss_fds_threads(live.process.pid)
                        samples.extend([found] if found else [])

        thread = threading.Thread(target=look)
        thread.start()
        try:
            live.wait(max(120, count * 2))
        finally:
            over.set()
            thread.join()
    return live, samples, faults


def quarters(samples: list[int]) -> tuple[float, float]:
    """The medians of the second and of the last quarter."""
    size = len(samples) // 4

    def median(part: list[int]) -> float:
        return sorted(part)[len(part) // 2]

    return median(samples[size : 2 * size]), median(samples[-size:])
