"""How the demo speaks: prose, tables, screens and pauses on the launching terminal. Knows nothing of what it tells."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import unicodedata

INDENT = "  "
# Prose wider than this is hard to read, however wide the terminal is.
PROSE_COLUMNS = 80
MAX_COLUMNS = 120


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def width() -> int:
    """Columns that may be used."""
    return min(shutil.get_terminal_size((80, 24)).columns, MAX_COLUMNS)


def paint(text: str, style: str) -> str:
    """`text` in bold, dim, green or red, where the terminal shows colours."""
    codes = {"bold": "1", "dim": "2", "green": "32", "red": "31", "cyan": "36"}
    return f"\x1b[{codes[style]}m{text}\x1b[0m" if _has_colours() else text


def clip(text: str, columns: int) -> str:
    """`text` cut to so many cells, without anything a terminal would act on."""
    text = "".join(char for char in text if char.isprintable())
    used = 0
    for index, char in enumerate(text):
        cells = 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used + cells > columns - (index < len(text) - 1):
            return text[:index] + "…"
        used += cells
    return text


def line(text: str = "") -> None:
    """One line, as it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def title(number: int, text: str) -> None:
    """The heading of an act."""
    line()
    line(paint(f"{number}  {text}", "bold"))


def prose(text: str) -> None:
    """A paragraph."""
    columns = min(width(), PROSE_COLUMNS) - 1
    for row in textwrap.wrap(
        text, columns, initial_indent=INDENT, subsequent_indent=INDENT, break_on_hyphens=False
    ):
        line(row)


def holds(text: str) -> None:
    """A fact that was checked."""
    columns = min(width(), PROSE_COLUMNS) - 1
    rows = textwrap.wrap(text, columns - 5, break_on_hyphens=False)
    line(f"{INDENT}{paint('ok', 'green')} {rows[0]}")
    for row in rows[1:]:
        line(f"{INDENT}   {row}")


def output(lines: list[str]) -> None:
    """What a command printed, long lines folded under their text."""
    for text in lines:
        begin = re.match(r"(?:\d\d:\d\d:\d\d +\S+ +)?", text)
        hang = " " * (4 + (begin.end() if begin else 0))
        for row in textwrap.wrap(
            text, width() - 1, initial_indent="    ", subsequent_indent=hang, break_on_hyphens=False
        ):
            line(paint(row, "dim"))


def screen(caption: str, lines: list[str]) -> None:
    """The end of a worker's screen."""
    line()
    line(INDENT + paint(clip(caption, width() - 3), "cyan"))
    for text in lines:
        line(f"{INDENT}{paint('|', 'cyan')} {clip(text, width() - 5)}")


def table(rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> None:
    """Columns as wide as their widest cell; those in `right` end at the same place."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(widths[index]) if index in right else cell.ljust(widths[index])
            for index, cell in enumerate(row)
        ]
        text = clip(f"{INDENT}{'  '.join(cells)}".rstrip(), width() - 1)
        line(paint(text, "dim") if number == 0 else text)


def is_asked() -> bool:
    """Can somebody be asked something here?"""
    return sys.stdin.isatty() and sys.stdout.isatty()


def pause(text: str) -> None:
    """Wait for Enter."""
    line()
    sys.stdout.write(paint(f"{INDENT}{text} ", "bold"))
    sys.stdout.flush()
    sys.stdin.readline()


def yes(question: str) -> bool:
    """A question whose answer is no unless it is yes."""
    line()
    sys.stdout.write(f"{INDENT}{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
