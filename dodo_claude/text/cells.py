"""How texts and numbers are fitted into the columns of a terminal. Owns no meaning."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """How many columns a terminal needs for `text`."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, columns: int) -> str:
    """`text` in at most so many columns; what does not fit is an ellipsis."""
    if cells(text) <= columns:
        return text
    room, kept = columns - 1, ""
    for char in text:
        room -= _cell(char)
        if room < 0:
            break
        kept += char
    return f"{kept.rstrip()}…" if columns > 0 else ""


def fill(text: str, columns: int) -> str:
    """`text` in exactly so many columns, clipped or padded."""
    text = clip(text, columns)
    return text + " " * (columns - cells(text))


def clock(seconds: float) -> str:
    """'0:07', '12:34', '1:02:03': steady in width, so that a column of them does not dance."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def count(number: int) -> str:
    """'950', '12k', '3.4M'."""
    if number < 1_000:
        return str(number)
    if number < 999_500:
        return f"{number / 1_000:.0f}k"
    return f"{number / 1_000_000:.1f}M"


def dollars(cost: float | None) -> str:
    """'$0.12'; '' when nobody told."""
    return "" if cost is None else f"${cost:.2f}"
