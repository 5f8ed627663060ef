"""What all stages of one run share: pauses, the stop, the budget, and who may start. Data and a lock, no waiting.

A stage asks before it starts a worker and at each turn of its loop, and tells what happened to its own worker.
Whoever waits does so elsewhere: at most `LOOK_AGAIN_SECONDS`, then it asks again, since a clock that was set or a
machine that slept tells nobody. Each stage runs in a thread of its own, so every method may be called by any.

Two clocks: limits end at a time of day, so pauses are over when the wall clock says so; all durations are of the
clock that does not jump, and a pause also ends when as much time as it was to take has gone by there.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from dodo_claude.agents import faults
from dodo_claude.agents import limits as waits
from dodo_claude.agents.usage import Usage
from dodo_claude.config.records import Budget, Config
from dodo_claude.machine import kernel
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import in_words

# No wait for a pause, for memory or for a budget is longer without looking again.
LOOK_AGAIN_SECONDS = 60.0
# A further attempt, and the next request to an overloaded API, is made after this at the latest.
LONGEST_BACKOFF = 900.0
# So many failures of one kind within so many seconds are no accident.
ALIKE = 3
ALIKE_SECONDS = 600.0
# A worker takes its memory (a client some 230 MB) within this; until then it is counted as not taken yet.
SETTLING_SECONDS = 10.0
# What the rest of the machine keeps, in bytes.
MEMORY_MARGIN = 100_000_000
# What a worker that is no client needs, in bytes: the scripted agent, a command.
SMALL_WORKER = 60_000_000
# How much of the client's words a message repeats.
SHOWN = 200

# Failures that the circuit breaker does not count: they are the work's own.
WORK = frozenset({"", "verification"})

# A limit that ends at some time, whether that can be read or not; without it a 429 is one of too many at once.
_LIMIT = re.compile(r"(?<!rate )\blimit reached\b|\busage limit\b|\breset(?:s|ting)?\b", re.IGNORECASE)


class Clock(Protocol):
    """Of the standard module `time`, which is one."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use and how it waits. Seconds and bytes."""

    budget: Budget = field(default_factory=Budget)
    retry_delay: float = 30.0
    max_wait: float = 86_400.0
    worker_memory: int = 600_000_000  # 0: don't look

    @classmethod
    def of(cls, config: Config) -> Limits:
        return cls(config.budget, config.retry_delay, config.max_wait, config.worker_memory)


@dataclass(frozen=True, slots=True)
class Totals:
    """What the run has used so far."""

    usage: Usage
    cost: float | None  # USD; None: nobody told of any
    minutes: float  # pauses left out
    paused: float  # seconds


@dataclass(slots=True)
class _Pause:
    """One pause. `until` is of the wall clock, the others of the monotonic one; `why` in words."""

    why: str
    until: float
    began: float
    latest: float


def local_zone(environ: Mapping[str, str]) -> tzinfo:
    """The user's zone with its clock changes; with today's offset only, where the system hides the rest."""
    name = environ.get("TZ", "").removeprefix(":")
    with contextlib.suppress(OSError, ValueError, KeyError):
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    return datetime.now().astimezone().tzinfo or UTC


class Fleet:
    """The workers of one run as a whole. The run begins when it is made.

    `listener` is called, without a lock, after each change that a waiting stage should know of: a pause, a stop,
    a worker's end. `memory` tells the bytes that are free, or None.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Clock = time,
        random: Callable[[], float] = random.random,
        *,
        memory: Callable[[], int | None] = kernel.available_memory,
        zone: tzinfo | None = None,
        listener: Callable[[], object] = lambda: None,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._random = random
        self._memory = memory
        self._zone = local_zone(os.environ) if zone is None else zone
        self._listener = listener
        self._lock = threading.Lock()
        self._news = False  # for the listener
        self._began = clock.monotonic()
        self._pause: _Pause | None = None
        self._paused = 0.0  # by pauses that are over
        self._overloads = 0  # in a row
        self._stopped: str | None = None
        self._over: str | None = None
        self._failures: dict[str, deque[tuple[float, str]]] = {}
        # Of each stage what its attempts used, and paid.
        self._spent: dict[str, dict[Hashable, tuple[Usage, float | None]]] = {}
        self._usage = Usage()  # the sums of those
        self._cost: float | None = None
        self._workers: dict[Hashable, tuple[float, int]] = {}  # when it started, what it needs

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """The lock; then, without it, the listener, if there is news."""
        with self._lock:
            yield
            news, self._news = self._news, False
        if news:
            self._listener()

    # -- pauses

    @property
    def paused_until(self) -> float | None:
        """Wall time at which the pause ends; None when there is none."""
        with self._lock:
            return None if self._left() <= 0 or self._pause is None else self._pause.until

    @property
    def paused_for(self) -> str:
        """Why all workers wait, in words; '' when they don't."""
        with self._lock:
            return "" if self._left() <= 0 or self._pause is None else self._pause.why

    def pause_left(self) -> float:
        """Seconds that nobody should ask the API for anything. Wait for `LOOK_AGAIN_SECONDS` at most."""
        with self._lock:
            return self._left()

    def pause(self, kind: str, text: str) -> float:
        """A worker hit a limit or an overloaded API, as `text` tells: pause them all. The wall time of the end.

        A pause that is under way becomes longer, never shorter. One that the run has no time for stops it.
        """
        with self._changing():
            in_pause = self._left() > 0
            wall, now = self._clock.time(), self._clock.monotonic()
            if kind == "rate_limit" and _LIMIT.search(text):
                until, truly = self._reset(text, wall)
            else:
                # Workers that fail together meet one overload, not several.
                self._overloads = max(1, self._overloads + (not in_pause))
                until = truly = wall + self._backoff(self._overloads)
            if self._pause is None:
                self._pause = _Pause(faults.pause(kind), wall, now, now)
            pause = self._pause
            pause.why = faults.pause(kind) if until > pause.until else pause.why
            pause.until = max(pause.until, until)
            pause.latest = max(pause.latest, now + until - wall)
            self._news = True
            waits_to = max(pause.until, truly)
            if self._paused + (now - pause.began) + (waits_to - wall) > self._limits.max_wait:
                self._halt(self._no_time(kind, text, waits_to))
            return pause.until

    def _reset(self, text: str, wall: float) -> tuple[float, float]:
        """Until when to wait, and until when that would truly be: a week's limit may end days from now."""
        now = datetime.fromtimestamp(wall, UTC)
        until = waits.wait_until(text, now, self._zone)
        found = waits.reset_time(text, now, self._zone) or until
        return until.timestamp(), max(until, found).timestamp()

    def _no_time(self, kind: str, text: str, until: float) -> str:
        end = f"{datetime.fromtimestamp(until, self._zone):%Y-%m-%d %H:%M}"
        said = f": {line}" if (line := _line(text)) else ""
        fact = f"a limit until {end}, longer than a run may wait in all"
        if kind != "rate_limit":
            fact = f"{faults.pause(kind)}: a pause until {end}, longer than a run may wait in all"
        longest = in_words(self._limits.max_wait)
        return f"{fact} ({longest}){said} (run again then, or set orchestrate.max_wait)"

    def _backoff(self, failures: int) -> float:
        return waits.backoff(failures, self._limits.retry_delay, LONGEST_BACKOFF, self._random())

    def _left(self) -> float:
        """Under the lock. A pause that is found to be over is counted and forgotten."""
        pause = self._pause
        if pause is None:
            return 0.0
        now = self._clock.monotonic()
        left = min(pause.until - self._clock.time(), pause.latest - now)
        if left <= 0:
            self._paused += min(now, pause.latest) - pause.began
            self._pause = None
            return 0.0
        return left

    def progress(self) -> None:
        """A worker got an answer: the API is not overloaded."""
        with self._lock:
            self._overloads = 0

    def retry_delay(self, failures: int) -> float:
        """Seconds before the next attempt of a stage that failed so many times in a row, from 1."""
        return self._backoff(failures)

    # -- the stop

    @property
    def stopped(self) -> str | None:
        """Why no worker is to be started any more. The first reason stays."""
        with self._changing():
            self._judge_budget()
            return self._stopped

    def stop(self, reason: str) -> None:
        """No worker is started from here on."""
        with self._changing():
            self._halt(reason)

    def fatal(self, kind: str, text: str) -> None:
        """An error that every worker would meet: stop, and say what to do about it."""
        said = f": {line}" if (line := _line(text)) else ""
        remedy = faults.FATAL.get(kind, "mend it")
        self.stop(f"{kind.replace('_', ' ')}{said} ({remedy}; then run again)")

    def failed(self, kind: str, who: str = "") -> None:
        """An attempt failed for a cause that is not its work's own: the third alike in ten minutes stops the run.

        Failures of the same `who` count once: a stage that fails alone has its retries for that.
        """
        if kind in WORK:
            return
        with self._changing():
            now = self._clock.monotonic()
            times = self._failures.setdefault(kind, deque(maxlen=ALIKE))
            for entry in [entry for entry in times if who and entry[1] == who]:
                times.remove(entry)
            times.append((now, who))
            if len(times) == ALIKE and now - times[0][0] <= ALIKE_SECONDS:
                minutes = ALIKE_SECONDS / 60
                self._halt(f"{ALIKE} workers failed alike in {minutes:g} min ({kind}): no further starts")

    def _halt(self, reason: str) -> None:
        if self._stopped is None:
            self._stopped = reason
            self._news = True

    # -- the budget

    def spent(self, key: Hashable, usage: Usage, cost: float | None, stage: str = "") -> None:
        """What the attempt `key` of `stage` has used so far, in all. Less than it said before counts as no change."""
        with self._changing():
            spent = self._spent.setdefault(stage, {})
            before, paid = spent.get(key, (Usage(), None))
            usage = usage.at_least(before)
            self._usage = self._usage - before + usage
            if cost is not None:
                cost = max(cost, paid or 0.0)
                self._cost = (self._cost or 0.0) - (paid or 0.0) + cost
            spent[key] = (usage, paid if cost is None else cost)
            self._judge_budget()

    def used_by(self, stage: str) -> tuple[int, float | None]:
        """Tokens and dollars of a stage's attempts in this run."""
        with self._lock:
            found = self._spent.get(stage, {}).values()
            known = [cost for _, cost in found if cost is not None]
            return sum(usage.tokens for usage, _ in found), sum(known) if known else None

    def over_budget(self) -> str | None:
        """Which budget is used up, in words; workers under way are to be stopped then."""
        with self._changing():
            self._judge_budget()
            return self._over

    def minutes_left(self) -> float:
        """Minutes until the run's time is used up, if it does not pause."""
        with self._lock:
            return max(0.0, self._limits.budget.minutes - self._minutes())

    def totals(self) -> Totals:
        with self._lock:
            return Totals(self._usage, self._cost, self._minutes(), self._paused_seconds())

    def _paused_seconds(self) -> float:
        self._left()
        pause = self._pause
        return self._paused + (0.0 if pause is None else self._clock.monotonic() - pause.began)

    def _minutes(self) -> float:
        return (self._clock.monotonic() - self._began - self._paused_seconds()) / 60

    def _judge_budget(self) -> None:
        if self._over is not None:
            return
        budget, minutes = self._limits.budget, self._minutes()
        usage, cost = self._usage, self._cost
        if minutes >= budget.minutes:
            self._over = f"budget of {budget.minutes} min used ({minutes:.0f})"
        elif usage.turns >= budget.turns:
            self._over = f"budget of {_grouped(budget.turns)} turns used ({_grouped(usage.turns)})"
        elif usage.tokens >= budget.tokens:
            self._over = f"budget of {_grouped(budget.tokens)} tokens used ({_grouped(usage.tokens)})"
        elif cost is not None and cost >= budget.cost_usd:
            self._over = f"budget of {budget.cost_usd:.2f} USD used ({cost:.2f})"
        if self._over is not None:
            self._halt(self._over)
            self._news = True  # also to those who know of another stop: their workers end now

    # -- who may start

    def admit(self, key: Hashable, *, large: bool = True) -> str | None:
        """May a worker start? None: it counts as started, until `ended`. Else why not yet.

        `large`: it takes as much memory as `worker_memory` says. The first always may: nobody would make room for it.
        """
        with self._lock:
            need = self._limits.worker_memory if large else SMALL_WORKER
            now = self._clock.monotonic()
            others = [worker for other, worker in self._workers.items() if other != key]
            if others and self._limits.worker_memory:
                available = self._memory()
                coming = sum(size for since, size in others if now - since < SETTLING_SECONDS)
                if available is not None and available - coming < need + MEMORY_MARGIN:
                    free = max(0, available - coming)
                    return f"waits for memory: {_mb(free)} free, {_mb(need + MEMORY_MARGIN)} needed"
            self._workers[key] = (now, need)
            return None

    def adopted(self, key: Hashable) -> None:
        """The worker of `key` lives on from an earlier run: it has its memory already."""
        with self._lock:
            self._workers[key] = (-math.inf, 0)

    def ended(self, key: Hashable) -> None:
        """The worker of `key` is gone, if there was one."""
        with self._changing():
            self._news = self._workers.pop(key, None) is not None or self._news


def _mb(size: int) -> str:
    return f"{size // 1_000_000} MB"


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _line(text: str) -> str:
    """The client's words in one short line: they are data, and go to people's terminals."""
    line = clean_line(text)
    return line if len(line) <= SHOWN else line[: SHOWN - 1] + "…"
