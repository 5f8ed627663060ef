"""When the workers of a run wait for the API, and for how long: a limit's reset, an overload's end.

Two clocks: limits end at a time of day, so pauses are over when the wall clock says so; all durations are of the
clock that does not jump, and a pause also ends when as much time as it was to take has gone by there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from dodo_claude.agents import faults
from dodo_claude.agents import limits as waits
from dodo_claude.text.clean import clean_line
from dodo_claude.text.durations import in_words

# A further attempt, and the next request to an overloaded API, is made after this at the latest.
LONGEST_BACKOFF = 900.0
# How much of the client's words a message repeats.
SHOWN = 200

# A limit that ends at some time, whether that can be read or not; without it a 429 is one of too many at once.
_LIMIT = re.compile(r"(?<!rate )\blimit reached\b|\busage limit\b|\breset(?:s|ting)?\b", re.IGNORECASE)


class Clock(Protocol):
    """Of the standard module `time`, which is one."""

    def time(self) -> float: ...
    def monotonic(self) -> float: ...


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


class Pauses:
    """The pauses of one run, one at a time. Whoever holds it lets one thread at a time ask.

    `retry_delay`, `max_wait`: seconds before a second request, and that a run may wait in all.
    """

    def __init__(
        self, clock: Clock, random: Callable[[], float], zone: tzinfo, retry_delay: float, max_wait: float
    ) -> None:
        self._clock = clock
        self._random = random
        self._zone = zone
        self._retry_delay = retry_delay
        self._max_wait = max_wait
        self._pause: _Pause | None = None
        self._past = 0.0  # seconds, by pauses that are over
        self._overloads = 0  # in a row

    @property
    def until(self) -> float | None:
        """Wall time at which the pause ends; None when there is none."""
        return None if self.left() <= 0 or self._pause is None else self._pause.until

    @property
    def why(self) -> str:
        """In words; '' when there is no pause."""
        return "" if self.left() <= 0 or self._pause is None else self._pause.why

    def begin(self, kind: str, text: str) -> tuple[float, str]:
        """A worker hit a limit or an overloaded API, as `text` tells: the wall time of the pause's end; and why the run
        has no time for it, or ''.

        A pause that is under way becomes longer, never shorter.
        """
        in_pause = self.left() > 0
        wall, now = self._clock.time(), self._clock.monotonic()
        if kind == "rate_limit" and _LIMIT.search(text):
            until, truly = self._reset(text, wall)
        else:
            # Workers that fail together meet one overload, not several.
            self._overloads = max(1, self._overloads + (not in_pause))
            until = truly = wall + self.backoff(self._overloads)
        if self._pause is None:
            self._pause = _Pause(faults.pause(kind), wall, now, now)
        pause = self._pause
        pause.why = faults.pause(kind) if until > pause.until else pause.why
        pause.until = max(pause.until, until)
        pause.latest = max(pause.latest, now + until - wall)
        waits_to = max(pause.until, truly)
        if self._past + (now - pause.began) + (waits_to - wall) > self._max_wait:
            return pause.until, self._no_time(kind, text, waits_to)
        return pause.until, ""

    def _reset(self, text: str, wall: float) -> tuple[float, float]:
        """Until when to wait, and until when that would truly be: a week's limit may end days from now."""
        now = datetime.fromtimestamp(wall, UTC)
        until = waits.wait_until(text, now, self._zone)
        reset = waits.reset_time(text, now, self._zone) or until
        return until.timestamp(), max(until, reset).timestamp()

    def _no_time(self, kind: str, text: str, until: float) -> str:
        end = f"{datetime.fromtimestamp(until, self._zone):%Y-%m-%d %H:%M}"
        fact = f"a limit until {end}, longer than a run may wait in all"
        if kind != "rate_limit":
            fact = f"{faults.pause(kind)}: a pause until {end}, longer than a run may wait in all"
        longest = in_words(self._max_wait)
        return f"{fact} ({longest}){in_its_words(text)} (run again then, or set orchestrate.max_wait)"

    def backoff(self, failures: int) -> float:
        """Seconds before the next try after so many failures in a row, from 1."""
        return waits.backoff(failures, self._retry_delay, LONGEST_BACKOFF, self._random())

    def left(self) -> float:
        """Seconds until the pause ends, 0 without one. A pause that is found to be over is counted and forgotten."""
        pause = self._pause
        if pause is None:
            return 0.0
        now = self._clock.monotonic()
        left = min(pause.until - self._clock.time(), pause.latest - now)
        if left <= 0:
            self._past += min(now, pause.latest) - pause.began
            self._pause = None
            return 0.0
        return left

    def progress(self) -> None:
        """A worker got an answer: the API is not overloaded."""
        self._overloads = 0

    def seconds(self) -> float:
        """So much of the run was paused."""
        self.left()
        pause = self._pause
        return self._past + (0.0 if pause is None else self._clock.monotonic() - pause.began)


def in_its_words(text: str) -> str:
    """`: TEXT`, or '': the client's words in one short line. They are data, and go to people's terminals."""
    line = clean_line(text)
    if not line:
        return ""
    return f": {line if len(line) <= SHOWN else line[: SHOWN - 1] + '…'}"
