"""Reads the text files a user wrote. Owns what a file must be before its text is looked at."""

from __future__ import annotations

import os
from pathlib import Path

from dodo_claude.config import inputs
from dodo_claude.text.numbers import grouped


class UnreadableError(Exception):
    """A file that gives no text: why, what to do, and where in it (1:1 when it was not opened)."""

    def __init__(self, text: str, remedy: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy
        self.line = line
        self.column = column


def read_text(path: Path, limit: int, *, always: bool = False) -> str:
    """The text of a UTF-8 file of at most `limit` bytes, without its byte order mark; line ends as they are.

    `always`: see inputs.read.
    """
    try:
        data = inputs.read(os.fspath(path), limit + 1, always=always)
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except inputs.NotPlainError as error:
        raise UnreadableError(str(error)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableError(f"can't be read: {reason.lower()}") from None
    if len(data) > limit:
        raise UnreadableError(f"is larger than {grouped(limit)} bytes")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig", "replace")
        line = good.count("\n") + 1
        column = len(good) - (good.rfind("\n") + 1) + 1
        raise UnreadableError("is not UTF-8", "save it as UTF-8", line, column) from None
