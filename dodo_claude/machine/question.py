"""A yes or no from whoever sits at the terminal. It owns that question, and what keeps the terminal still while it stands.

Rule: a question is the last thing on the screen, with the cursor behind it; what was typed before it is no answer, and
Enter alone is a no.
"""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any, TextIO

from dodo_claude.text.clean import one_line

# How soon a question notices that its run is being stopped.
STOP_SECONDS = 0.2


def ask(text: str, out: TextIO, stopping: threading.Event | None = None) -> bool:
    """Does the person say yes? Once `stopping` is set, or where nobody is there any more, they do not."""
    with contextlib.suppress(OSError, ValueError, termios.error):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    out.write(f"{one_line(text)} [y/N] ")
    out.flush()
    answer = _line(stopping)
    if not answer.endswith("\n"):  # the cursor still stands behind the question
        out.write("\n")
        out.flush()
    return answer.strip().lower() in ("y", "yes")


def _line(stopping: threading.Event | None) -> str:
    """What is typed; '' at the end of input, or once `stopping` is set."""
    with contextlib.suppress(OSError):  # the terminal is gone
        while stopping is not None and not select.select([sys.stdin], [], [], STOP_SECONDS)[0]:
            if stopping.is_set():
                return ""
        return sys.stdin.readline()
    return ""


class Above:
    """A text stream whose text goes to `write`: above a board, or to where it waits for a question to be answered.

    What else is asked of it, the stream below answers.
    """

    def __init__(self, stream: TextIO, write: Callable[[str], None]) -> None:
        self._stream = stream
        self._write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back here."""


class Streams:
    """Python's own standard streams where they are terminals, sent to `write` until `restore`: what others print by
    themselves."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._before = sys.stdout, sys.stderr
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                setattr(sys, name, Above(stream, write))

    def restore(self) -> None:
        """As they were."""
        sys.stdout, sys.stderr = self._before
