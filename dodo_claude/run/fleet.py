"""What all stages of one run share: pauses, the stop, the budget, and who may start. Data and a lock, no waiting.

A stage asks before it starts a worker and at each turn of its loop, and tells what happened to its own worker.
Whoever waits does so elsewhere: at most `policy.LOOK_AGAIN_SECONDS`, then it asks again, since a clock that was set or a
machine that slept tells nobody. Each stage runs in a thread of its own, so every method may be called by any.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from datetime import tzinfo

from dodo_claude.agents import faults
from dodo_claude.agents.usage import Usage
from dodo_claude.config.records import Budget, Config
from dodo_claude.machine import kernel
from dodo_claude.run.breaker import Breaker
from dodo_claude.run.memory import Memory
from dodo_claude.run.pauses import Clock, Pauses, in_its_words, local_zone
from dodo_claude.run.spending import Spending


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
        self._pauses = Pauses(
            clock,
            random,
            local_zone(os.environ) if zone is None else zone,
            limits.retry_delay,
            limits.max_wait,
        )
        self._breaker = Breaker()
        self._spending = Spending()
        self._workers = Memory(memory, limits.worker_memory)
        self._listener = listener
        self._lock = threading.Lock()
        self._news = False  # for the listener
        self._began = clock.monotonic()
        self._stopped: str | None = None
        self._over: str | None = None

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
            return self._pauses.until

    @property
    def paused_for(self) -> str:
        """Why all workers wait, in words; '' when they don't."""
        with self._lock:
            return self._pauses.why

    def pause_left(self) -> float:
        """Seconds that nobody should ask the API for anything. Wait for `policy.LOOK_AGAIN_SECONDS` at most."""
        with self._lock:
            return self._pauses.left()

    def pause(self, kind: str, text: str) -> float:
        """A worker hit a limit or an overloaded API, as `text` tells: pause them all. The wall time of the end.

        A pause that is under way becomes longer, never shorter. One that the run has no time for stops it.
        """
        with self._changing():
            until, too_long = self._pauses.begin(kind, text)
            self._news = True
            if too_long:
                self._halt(too_long)
            return until

    def progress(self) -> None:
        """A worker got an answer: the API is not overloaded."""
        with self._lock:
            self._pauses.progress()

    def retry_delay(self, failures: int) -> float:
        """Seconds before the next attempt of a stage that failed so many times in a row, from 1."""
        return self._pauses.backoff(failures)

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
        remedy = faults.FATAL.get(kind, "mend it")
        self.stop(f"{kind.replace('_', ' ')}{in_its_words(text)} ({remedy}; then run again)")

    def failed(self, kind: str, who: str = "") -> None:
        """An attempt failed for a cause that is not its work's own: the third alike in ten minutes stops the run.

        Failures of the same `who` count once: a stage that fails alone has its retries for that.
        """
        with self._changing():
            if too_many := self._breaker.failed(kind, who, self._clock.monotonic()):
                self._halt(too_many)

    def _halt(self, reason: str) -> None:
        if self._stopped is None:
            self._stopped = reason
            self._news = True

    # -- the budget

    def spent(self, key: Hashable, usage: Usage, cost: float | None, stage: str = "") -> None:
        """What the attempt `key` of `stage` has used so far, in all. Less than it said before counts as no change."""
        with self._changing():
            self._spending.spent(key, usage, cost, stage)
            self._judge_budget()

    def used_by(self, stage: str) -> tuple[int, float | None]:
        """Tokens and dollars of a stage's attempts in this run."""
        with self._lock:
            return self._spending.of_stage(stage)

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
            spending = self._spending
            return Totals(spending.usage, spending.cost, self._minutes(), self._pauses.seconds())

    def _minutes(self) -> float:
        return (self._clock.monotonic() - self._began - self._pauses.seconds()) / 60

    def _judge_budget(self) -> None:
        if self._over is not None:
            return
        self._over = self._spending.over(self._limits.budget, self._minutes())
        if self._over is not None:
            self._halt(self._over)
            self._news = True  # also to those who know of another stop: their workers end now

    # -- who may start

    def admit(self, key: Hashable, *, large: bool = True) -> str | None:
        """May a worker start? None: it counts as started, until `ended`. Else why not yet.

        The first always may: nobody would make room for it.
        """
        with self._lock:
            return self._workers.admit(key, self._clock.monotonic(), large=large)

    def adopted(self, key: Hashable) -> None:
        """The worker of `key` lives on from an earlier run: it has its memory already."""
        with self._lock:
            self._workers.adopted(key)

    def ended(self, key: Hashable) -> None:
        """The worker of `key` is gone, if there was one."""
        with self._changing():
            self._news = self._workers.ended(key) or self._news
