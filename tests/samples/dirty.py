"""A project in which every text that is a stranger's acts on a terminal."""

from __future__ import annotations

from typing import Any

# A title, a cleared screen, a colour; a C1 control, a turned direction, a return, a backspace, half of a character.
MARK = "\x1b]0;t\x07\x1b[2J\x1b[31m\x9b1m\u202e\u2066\r\x08\ud800"


def dirty(value: Any) -> Any:
    """`value`, with the mark at the end of every string in it."""
    if isinstance(value, str):
        return value + MARK
    if isinstance(value, list):
        return [dirty(item) for item in value]
    return {key: dirty(item) for key, item in value.items()} if isinstance(value, dict) else value
