"""A board at the foot of a terminal: painted when it changed, while what is printed scrolls by above it.

The only file that imports rich, and imported only when a board is shown. Not rich.live, which paints at each tick.

Rule: whatever is written to that terminal meanwhile goes through here, so that the cursor is known to stand at the end of
the board's last line; but for a Ctrl-C, which the terminal itself writes there, and which has room.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from dodo_claude.report.board import Line, cut
from dodo_claude.text.cells import cells

# A repaint comes no sooner after the one before; clocks are looked at so often when nothing else happens.
PAINT_SECONDS, CLOCK_SECONDS = 0.25, 1.0
# Columns behind the last line for what the terminal writes there when Ctrl-C is pressed, twice.
ECHO = len("^C^C")


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and rows as they are now. Not as COLUMNS says, which nobody renews."""
    with contextlib.suppress(OSError, ValueError):
        columns, rows = os.get_terminal_size(stream.fileno())
        if columns and rows:
            return columns, rows
    return 80, 24


class Screen:
    """Paints what `draw(width, height)` gives. Any thread may print above it."""

    def __init__(
        self, stream: TextIO, draw: Callable[[int, int], Sequence[Line]], *, held: bool = False
    ) -> None:
        """`held`: as after `hold`."""
        self._stream = stream
        self._draw = draw
        self._console = Console(file=stream, force_terminal=True, highlight=False, emoji=False, markup=False)
        self._lock = threading.RLock()
        self._painted: list[Line] = []  # what stands there, the cursor at the end of its last line
        self._size = (0, 0)
        self._rest = ""  # a line that was not ended yet
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._held: list[str] | None = (
            [] if held else None
        )  # what waits, while the terminal is somebody else's
        self.paints = 0
        self._thread = threading.Thread(target=self._run, name="dodo-claude-board", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """Something is different: paint soon."""
        self._changed.set()

    def above(self, text: str) -> None:
        """Print `text` above the board."""
        with self._lock:
            if self._held is not None:
                self._held.append(text)
                return
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

    def hold(self) -> None:
        """Wipe the board and write nothing more until `go_on`: the terminal is somebody else's."""
        with self._lock:
            if self._held is None:
                self._write(self._wipe())
                self._painted, self._held = [], []

    def go_on(self) -> None:
        """Print what was held back, and paint the board where the cursor is: at the beginning of a line."""
        with self._lock:
            held, self._held = self._held, None
            self.above("".join(held or ()))
        self.changed()

    def close(self) -> None:
        """Wipe the board; what is printed from here on is printed as it comes."""
        if self._closed.is_set():
            return
        self.go_on()
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
            if self._closed.is_set() or self._held is not None:
                return
            if found != self._painted or self._size != size:
                self._put(found, "")

    def _drawn(self) -> list[Line]:
        # One column less: a line that fills the last one leaves the cursor in between two lines.
        columns, rows = size_of(self._stream)
        lines = list(self._draw(columns - 1, rows - 1))
        return [*lines[:-1], cut(lines[-1], max(1, columns - 1 - ECHO))] if lines else []

    def _put(self, lines: list[Line], printed: str) -> None:
        wipe = self._wipe()
        self._painted, self._size = lines, size_of(self._stream)
        # In one write: nothing flickers, and nobody else's bytes come in between.
        self._write(wipe + printed + "\n".join(map(self._styled, lines)))
        self.paints += 1

    def _wipe(self) -> str:
        """Clear the board row by row, the last one first, and go to where it began.

        Not by one order from there on: given in the screen's first row, tmux takes that for a screen to be kept, and puts
        the old board into its history.
        """
        if not self._painted:
            return ""
        width, height = size_of(self._stream)
        # A terminal that was made narrower has wrapped them; what left it at its top is out of reach.
        rows = sum(max(1, -(-sum(cells(text) for text, _ in line) // width)) for line in self._painted)
        rows = min(rows, height)
        return "\r\x1b[K" + "\x1b[1A\x1b[K" * (rows - 1)

    def _styled(self, line: Line) -> str:
        with self._console.capture() as shown:
            self._console.print(Text.assemble(*line), end="", soft_wrap=True)
        return shown.get()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
