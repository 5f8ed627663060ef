"""A board at the foot of a terminal: painted when it changed, while what is printed scrolls by above it.

The only file that imports rich, and imported only when a board is shown. Not rich.live, which paints at each tick and
moves the cursor by where it thinks it is: a signal handler that wrote below would have it wipe lines that are not its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from dodo_claude.board import Line
from dodo_claude.cells import cells

# A repaint comes no sooner after the one before; clocks are looked at so often when nothing else happens.
PAINT_SECONDS, CLOCK_SECONDS = 0.25, 1.0


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and rows as they are now. Not as COLUMNS says, which nobody renews."""
    with contextlib.suppress(OSError, ValueError):
        columns, rows = os.get_terminal_size(stream.fileno())
        if columns and rows:
            return columns, rows
    return 80, 24


class Screen:
    """Paints what `draw(width, height)` gives. Any thread may print above it."""

    def __init__(self, stream: TextIO, draw: Callable[[int, int], Sequence[Line]]) -> None:
        self._stream = stream
        self._draw = draw
        self._console = Console(file=stream, force_terminal=True, highlight=False, emoji=False, markup=False)
        self._lock = threading.RLock()
        self._painted: list[Line] = []  # what stands there, the cursor at the end of its last line
        self._size = (0, 0)
        self._rest = ""  # a line that was not ended yet
        self._changed = threading.Event()
        self._closed = threading.Event()
        self.jumped = False  # somebody else wrote below: the next paint begins where the cursor is
        self.paints = 0
        self._thread = threading.Thread(target=self._run, name="dodo-claude-board", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Something is different: paint soon."""
        self._changed.set()

    def above(self, text: str) -> None:
        """Print `text` above the board."""
        with self._lock:
            whole, end, self._rest = (self._rest + text).rpartition("\n")
            if end and not self._closed.is_set():
                # Of a terminal that was made smaller, what stands there fits no more.
                same = self._size in ((0, 0), size_of(self._stream))
                self._put(self._painted if same else self._drawn(), whole + end)
            elif end:
                self._write(whole + end)

    def plain(self, text: str) -> None:
        """Write what moves no cursor: a bell, a notification."""
        with self._lock:
            self._write(text)

    def close(self) -> None:
        """Wipe the board; what is printed from here on is printed as it comes."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._changed.set()
        self._thread.join()
        with self._lock:
            self._write(self._wipe() + self._rest)
            self._painted, self._rest = [], ""

    def _run(self) -> None:
        while not self._closed.is_set():
            self._changed.clear()  # before looking: what comes after it wakes again
            self.paint()
            if self._closed.wait(PAINT_SECONDS):
                break
            self._changed.wait(CLOCK_SECONDS - PAINT_SECONDS)

    def paint(self) -> None:
        """Put the board as it is now, if that is not how it stands there."""
        size = size_of(self._stream)
        found = self._drawn()
        with self._lock:
            if not self._closed.is_set() and (found != self._painted or self.jumped or self._size != size):
                self._put(found, "")

    def _drawn(self) -> list[Line]:
        # One column less: a line that fills the last one leaves the cursor in between two lines.
        columns, rows = size_of(self._stream)
        return list(self._draw(columns - 1, rows - 1))

    def _put(self, lines: list[Line], printed: str) -> None:
        wipe = self._wipe()
        self._painted, self._size = lines, size_of(self._stream)
        # In one write: nothing flickers, and nobody else's bytes come in between.
        self._write(wipe + printed + "\n".join(map(self._styled, lines)))
        self.paints += 1

    def _wipe(self) -> str:
        """Go to the board's first column and row and clear from there on."""
        if self.jumped or not self._painted:
            self.jumped = False
            return "\r\x1b[J" if self._painted else ""
        width, height = size_of(self._stream)
        # A terminal that was made narrower has wrapped them; what left it at its top is out of reach.
        rows = sum(max(1, -(-sum(cells(text) for text, _ in line) // width)) for line in self._painted)
        rows = min(rows, height)
        return f"\r\x1b[{rows - 1}A\x1b[J" if rows > 1 else "\r\x1b[J"

    def _styled(self, line: Line) -> str:
        with self._console.capture() as shown:
            self._console.print(Text.assemble(*line), end="", soft_wrap=True)
        return shown.get()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class Above:
    """A text stream whose lines go above a board; what else is asked of it, the stream below answers."""

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        self._stream = stream
        self._screen = screen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._screen.above(text)
        return len(text)

    def flush(self) -> None:
        """Whole lines are not held back."""
