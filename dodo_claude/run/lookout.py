"""Looking over silent workers' shoulders: is a dialog open, or answered, that no hook tells of?

At all of them at once, by one question to the terminal, and the rarer the longer they are silent: there may be a hundred,
each silent for minutes, and none of them need be woken for it. Whoever's screen is not as it should be is rung, and looks
for himself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from dodo_claude.worker import policy


@dataclass(slots=True)
class _Watched:
    """A worker, by its pane. Both times are of the clock that does not jump."""

    pane: str
    heard: float  # its last sign of life
    box: bool  # should there be an input box?
    looked: float = float("-inf")
    strange: bool = False  # its screen, when it was looked at

    def due(self) -> float:
        return policy.next_look(self.heard, self.looked)


class Lookout:
    """One thread, which sleeps unless somebody is silent. `boxless`: the panes whose screens show no input box;
    `ring`: tell the one that waits under that name."""

    def __init__(self, boxless: Callable[[], Collection[str]], ring: Callable[[str], object]) -> None:
        self._boxless = boxless
        self._ring = ring
        self._changed = threading.Condition()
        self._watched: dict[str, _Watched] = {}
        self._next = float("inf")  # when the thread looks next
        self._thread: threading.Thread | None = None
        self._closing = False

    def watch(self, ring: str, pane: str, heard: float, *, box: bool) -> None:
        """Look at that pane when nothing more is heard than was at `heard`: there should be an input box, or none."""
        with self._changed:
            known = self._watched.get(ring)
            if known is None or (known.pane, known.heard, known.box) != (pane, heard, box):
                known = self._watched[ring] = _Watched(pane, heard, box)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dodo-claude-lookout", daemon=True)
                self._thread.start()
            if known.due() < self._next:
                self._changed.notify()

    def was_strange(self, ring: str) -> bool:
        """Did it look strange? That is told once for each time that it was looked at."""
        with self._changed:
            known = self._watched.get(ring)
            if known is None:
                return False
            strange, known.strange = known.strange, False
            return strange

    def forget(self, ring: str) -> None:
        """It is not to be looked at any more: it is not at work."""
        with self._changed:
            self._watched.pop(ring, None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closing:
                self._next = min((each.due() for each in self._watched.values()), default=float("inf"))
                left = self._next - time.monotonic()
                if left > 0:
                    self._changed.wait(None if left == float("inf") else left)
                else:
                    self._look()

    def _look(self) -> None:
        self._changed.release()  # nobody should wait for a terminal that hangs
        try:
            boxless = self._boxless()
        finally:
            self._changed.acquire()
        now = time.monotonic()
        for ring, each in self._watched.items():
            if now - each.heard >= policy.LOOK_SECONDS:
                each.looked, each.strange = now, (each.pane in boxless) is each.box
                if each.strange:
                    self._ring(ring)
