"""Figures with their spread, and rounds in which what is compared takes turns. Knows no bench and no goal."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# So many tell a median from an accident.
LEAST_ROUNDS = 3


class Spread(NamedTuple):
    """A median with its quartiles, of `number` values."""

    median: float
    low: float
    high: float
    number: int


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie, interpolated."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75), len(values))


def spread_of_quantile(values: Sequence[float], share: float, blocks: int = 5) -> Spread:
    """The quantile of each of `blocks` parts of `values`, one after the other: median and quartiles of these."""
    size = max(1, len(values) // blocks)
    parts = [values[start : start + size] for start in range(0, size * blocks, size)]
    return spread([quantile(part, share) for part in parts if part])._replace(number=len(values))


@dataclass(frozen=True)
class Figure:
    """Something measured. `name` is BENCH/WHAT, with as many parts as it takes; goals go by it."""

    name: str
    unit: str
    spread: Spread
    note: str = ""


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why."""

    name: str
    why: str


Found = Figure | Skipped


def ratio(name: str, values: Sequence[float], of: Sequence[float], note: str = "") -> Figure:
    """How many times as long: of each round, then the median of that, since rounds differ together."""
    return Figure(name, "×", spread([a / b for a, b in zip(values, of, strict=True)]), note)


def in_turn(
    rounds: int, takers: Mapping[str, Callable[[], float]], warm: int = 1, within: float = 60.0
) -> dict[str, list[float]]:
    """What each of `takers` measures, `rounds` times, in turn; the order turns round each time. `warm` do not count.

    After `within` seconds the rest is left out, but for three rounds.
    """
    found: dict[str, list[float]] = {name: [] for name in takers}
    began = time.monotonic()
    for number in range(-warm, rounds):
        if number >= LEAST_ROUNDS and time.monotonic() - began > within:
            break
        names = list(takers) if number % 2 else list(takers)[::-1]
        for name in names:
            value = takers[name]()
            if number >= 0:
                found[name].append(value)
    return found


class Took(NamedTuple):
    """What a process and those that it waited for cost, in seconds.

    No memory: the kernel's most of a process begins with that of the one that started it.
    """

    wall: float
    cpu: float
    out: str


class CommandFailed(Exception):
    """A measured command did not do what it is there for."""


def took(argv: Sequence[str | Path], cwd: Path, env: Mapping[str, str], code: int = 0) -> Took:
    """Run a command to its end. Raises `CommandFailed` with what it said, unless it exits with `code`."""
    words = [str(word) for word in argv]
    with tempfile.TemporaryFile() as out:  # a pipe would have to be read meanwhile
        before = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # the bench is stopped
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        said = out.read().decode("utf-8", "replace")
    if process.returncode != code:
        raise CommandFailed(f"{' '.join(words)}: ended with {process.returncode}\n{said[-2000:]}")
    return Took(wall, usage.ru_utime + usage.ru_stime, said)


def milliseconds(name: str, seconds: Iterable[float], note: str = "") -> Figure:
    return Figure(name, "ms", spread([1000 * value for value in seconds]), note)


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
