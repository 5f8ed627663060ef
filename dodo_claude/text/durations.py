"""Durations as people write them: '90s', '1h30m', '2 hours'; and as they read them. Owns the units; the schema's pattern
says the same."""

from __future__ import annotations

import functools
import math
import re

# A stage that needs longer than a week is a stage that hangs.
LONGEST = 7 * 24 * 3600.0

_UNITS = {
    0.001: ("ms", "millisecond", "milliseconds"),
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
}
UNITS = {unit: seconds for seconds, units in _UNITS.items() for unit in units}

_PART = re.compile(r" *([0-9]{1,12}(?:\.[0-9]{1,12})?) *([A-Za-z]+) *")


@functools.lru_cache(maxsize=1024)  # every stage has some, and most the same
def seconds(text: str) -> float | None:
    """The duration in seconds; None when `text` is not one. The range is the caller's to judge."""
    parts = _parts(text)
    if not parts or any(unit not in UNITS for _, unit in parts):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def nearest(text: str) -> str | None:
    """`text` with each unknown unit replaced by the one most like it; None when that makes no duration."""
    better = text
    for _, unit in _parts(text):
        if unit in UNITS:
            continue
        import difflib  # only for a hint: not before somebody left the folder that they stand in

        found = difflib.get_close_matches(unit.lower(), UNITS, n=1, cutoff=0.6)
        if not found:
            return None
        better = better.replace(unit, found[0], 1)
    return better if better != text and seconds(better) is not None else None


def in_words(seconds: float) -> str:
    """'3.2 s', '45 s', '12 min', '2.5 h': the same length is the same words, wherever it is told of."""
    if not math.isfinite(seconds):  # by a file that somebody damaged
        return "an unknown time"
    if seconds < 9.95:
        return f"{max(0.0, round(seconds, 1)):g} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600, 1):g} h"


def roughly(seconds: float) -> str:
    """An estimate in few digits, so that it does not change with each repaint: '5 s' and more, by fives."""
    return in_words(max(5, round(seconds / 5) * 5) if seconds < 60 else seconds)


def _parts(text: str) -> list[tuple[str, str]]:
    """Numbers and units, or nothing when something else stands in the text."""
    parts, at = [], 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return []
        parts.append((found[1], found[2]))
        at = found.end()
    return parts
