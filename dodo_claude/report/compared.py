"""A file as an attempt left it, beside what stood there before: its lines counted. Reads no more than a text of some size."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from dodo_claude.report.attempts import Version, content
from dodo_claude.report.record import FileReport

# Lines of a larger file are not counted.
MOST_COUNTED = 5_000_000  # bytes


def compared(version: Version, name: str, kept: str | None) -> FileReport:
    """What became of one file of an attempt: how many lines it has, has gained and lost.

    `name` and `kept`, where it was set aside, are as people are shown them.
    """
    new = _lines(version.now) if version.now is not None else None
    had = _lines(version.before) if version.before is not None else Counter[bytes]()
    counts = None if new is None or had is None else ((new - had).total(), (had - new).total())
    size = version.size
    if version.now is not None:
        with contextlib.suppress(OSError):
            size = version.now.stat().st_size
    return FileReport(
        path=name,
        change=version.change,
        bytes=size,
        lines=None if new is None else new.total(),
        added=None if counts is None else counts[0],
        removed=None if counts is None else counts[1],
        kept=kept,
    )


def _lines(path: Path) -> Counter[bytes] | None:
    """How often each line stands in a file; None for one that is not text, or too large."""
    data = content(path, MOST_COUNTED)
    with contextlib.suppress(UnicodeDecodeError):
        if data is None or b"\0" in data:
            return None
        data.decode("utf-8")
        lines = data.split(b"\n")
        return Counter(lines if lines[-1] else lines[:-1])
    return None
