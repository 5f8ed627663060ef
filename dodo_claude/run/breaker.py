"""The circuit breaker of a run: failures that are alike, and too close together to be an accident."""

from __future__ import annotations

from collections import deque

# So many failures of one kind within so many seconds are no accident.
ALIKE = 3
ALIKE_SECONDS = 600.0
# Failures that are not counted: they are the work's own.
WORK = frozenset({"", "verification"})


class Breaker:
    """Counts the failures of one run. Whoever holds it lets one thread at a time tell."""

    def __init__(self) -> None:
        self._failures: dict[str, deque[tuple[float, str]]] = {}

    def failed(self, kind: str, who: str, now: float) -> str:
        """An attempt failed at `now`, of the clock that does not jump: why that is one too many, or ''.

        Failures of the same `who` count once: a stage that fails alone has its retries for that.
        """
        if kind in WORK:
            return ""
        times = self._failures.setdefault(kind, deque(maxlen=ALIKE))
        for entry in [entry for entry in times if who and entry[1] == who]:
            times.remove(entry)
        times.append((now, who))
        if len(times) < ALIKE or now - times[0][0] > ALIKE_SECONDS:
            return ""
        minutes = ALIKE_SECONDS / 60
        return f"{ALIKE} workers failed alike in {minutes:g} min ({kind}): no further starts"
