"""Standard input, output and error as a program is given them: closed, full, or read by nobody. It owns what becomes then.

Rule: input that is closed is empty. What can't be written is said once, by a line on standard error, and makes the exit
status 1: a command ends there, a run goes on to its end. No other module minds such an error.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

_NAMES = {"stdout": "standard output", "stderr": "standard error"}
# What the system's own words leave unclear.
_REASONS = {errno.EBADF: "it is closed", errno.EPIPE: "nobody reads it", errno.EIO: "its terminal is gone"}


class _Sink(io.FileIO):
    """A file to write to that fails once at most."""

    def __init__(self, fd: int, place: str, *, ends: bool, closefd: bool = False) -> None:
        super().__init__(fd, "w", closefd=closefd)
        self.place, self.ends, self.failed = place, ends, False

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        if self.failed:
            return size
        try:
            written: int | None = super().write(data)
            while written is None:  # somebody else made it one that does not wait
                select.select([], [self], [])
                written = super().write(data)
        except OSError as error:
            self._fail(error)
            return size
        return written

    def _fail(self, error: OSError) -> None:
        self.failed = True
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        goes_on = "" if self.ends else "; the run goes on"
        text = f"{self.place}: can't be written: {reason} (send it to a file with room, or to /dev/null){goes_on}"
        if self.place != _NAMES["stderr"]:
            with contextlib.suppress(OSError):
                os.write(2, f"{one_line(text)}\n".encode())
        if self.ends:
            raise SystemExit(1)  # no OSError, which those above would take for one of a file of theirs


_sinks: list[_Sink] = []


def settle(*, ends: bool) -> None:
    """Make the streams such that nobody need mind what they are. `ends`: does the program end where one fails?"""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # Closed: the next file that is opened would have its number, and get what is meant for the stream. This
            # one reads as empty, and takes no writing.
            os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    for fd, name in enumerate(_NAMES, 1):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream is getattr(sys, f"__{name}__"):  # else somebody put their own there
            if stream is not None:
                stream.flush()
            setattr(sys, name, _text(_Sink(fd, _NAMES[name], ends=ends), stream))


def opened(path: str) -> TextIO:
    """The file, for a run's output."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return _text(_Sink(os.open(path, flags, 0o666), path, ends=False, closefd=True), None)


def failed() -> bool:
    """Was there anything that could not be written?"""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return any(sink.failed for sink in _sinks)


def lost(error: OSError) -> None:
    """Standard output failed for somebody who writes to it by its number: the program ends as it would by itself."""
    _Sink(1, _NAMES["stdout"], ends=True)._fail(error)


def read_input(most: int = -1) -> str:
    """All of standard input, or its first `most` characters. DodoClaudeError where it can't be read, or is no text."""
    try:
        return sys.stdin.read(most)
    except UnicodeDecodeError as error:
        raise DodoClaudeError("standard input: is no UTF-8 (give it text)") from error
    except OSError as error:
        raise DodoClaudeError(f"standard input: {error.strerror} (give it a file or a pipe)") from error


def _text(sink: _Sink, like: TextIO | None) -> TextIO:
    _sinks.append(sink)
    errors = like.errors if like is not None else None
    return io.TextIOWrapper(
        io.BufferedWriter(sink),
        encoding=like.encoding if like is not None else "utf-8",
        errors="backslashreplace" if errors in (None, "strict") else errors,
        line_buffering=sink.isatty() or sink.place == _NAMES["stderr"],
    )
