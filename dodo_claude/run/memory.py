"""Room for one more worker: the machine's free memory, and what started workers will still take of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

# A worker takes its memory (a client some 230 MB) within this; until then it is counted as not taken yet.
SETTLING_SECONDS = 10.0
# What the rest of the machine keeps, in bytes.
MEMORY_MARGIN = 100_000_000
# What a worker that is no client needs, in bytes: the scripted agent, a command.
SMALL_WORKER = 60_000_000


class Memory:
    """The workers of one run and what they take. Whoever holds it lets one thread at a time ask.

    `available` tells the bytes that are free, or None. `client`: what one takes; 0: don't look.
    """

    def __init__(self, available: Callable[[], int | None], client: int) -> None:
        self._available = available
        self._client = client
        self._workers: dict[Hashable, tuple[float, int]] = {}  # when it started, what it needs

    def admit(self, key: Hashable, now: float, *, large: bool) -> str | None:
        """May a worker start? None: it counts as started, until `ended`. Else why not yet.

        `large`: it takes as much as a client does. The first always may: nobody would make room for it.
        """
        need = self._client if large else SMALL_WORKER
        others = [worker for other, worker in self._workers.items() if other != key]
        if others and self._client:
            available = self._available()
            coming = sum(size for since, size in others if now - since < SETTLING_SECONDS)
            if available is not None and available - coming < need + MEMORY_MARGIN:
                free = max(0, available - coming)
                return f"waits for memory: {_mb(free)} free, {_mb(need + MEMORY_MARGIN)} needed"
        self._workers[key] = (now, need)
        return None

    def adopted(self, key: Hashable) -> None:
        """The worker of `key` lives on from an earlier run: it has its memory already."""
        self._workers[key] = (-math.inf, 0)

    def ended(self, key: Hashable) -> bool:
        """The worker of `key` is gone; was there one?"""
        return self._workers.pop(key, None) is not None


def _mb(size: int) -> str:
    return f"{size // 1_000_000} MB"
