"""The screen's side: the live rows as a pure function of a View, and the terminal they are drawn on."""

from __future__ import annotations

import contextlib
import os
import re
import termios
import tty
import unicodedata
from typing import NamedTuple


def columns(text: str) -> int:
    """How many cells of a terminal `text` takes."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def rows_of(text: str, width: int) -> list[str]:
    """`text` cut into rows of at most `width` cells."""
    rows = []
    for line in text.split("\n"):
        row, used = "", 0
        for char in line:
            cells = columns(char)
            if used + cells > width:
                rows.append(row)
                row, used = "", 0
            row, used = row + char, used + cells
        rows.append(row)
    return rows


# Characters that a terminal acts on, the line break apart.
CONTROLS = dict.fromkeys([*range(10), *range(11, 32), *range(127, 160)])


class View(NamedTuple):
    """What the live part of the screen shows, below the transcript."""

    box: str = ""
    placeholder: str = ""
    busy: str = ""
    status: str = ""
    footer: str = ""
    queued: tuple[str, ...] = ()
    dialog: tuple[str, ...] = ()
    focused: bool = True


def render(view: View, width: int, height: int) -> list[str]:
    """The live part as rows, none wider than `width` - 1 so that none wraps. Pure."""
    width = max(width - 1, 4)
    rule = "─" * width
    rows = [""]
    if view.busy:
        rows += [view.busy, ""]
    for text in view.queued:
        rows += [f"❯ {text}", "  Queued · ctrl+x ctrl+s to send now", ""]
    if view.dialog:
        rows += [rule, *view.dialog]
    else:
        typed = rows_of("❯\xa0" + view.box, width - 1)
        hint = view.placeholder[: width - 2] if not view.box else ""
        rows += [rule, *typed[:-1], typed[-1] + _cursor(hint, focused=view.focused), rule]
        rows += [f"  {view.status}"] if view.status else []
        rows.append(view.footer)
    cut = [row if "\x1b" in row else rows_of(row, width)[0] for row in rows]
    return cut[-max(height - 1, 1) :]


def _cursor(hint: str, *, focused: bool) -> str:
    """The box's end: an inverse cell, the first letter of a hint if there is one; without the focus there is none."""
    if not focused:
        return f"\x1b[2m{hint}\x1b[0m" if hint else ""
    return f"\x1b[7m{hint[0]}\x1b[0;2m{hint[1:]}\x1b[0m" if hint else "\x1b[7m \x1b[0m"


class Screen:
    """The terminal: finished lines go up into the scrollback, the live rows are wiped and drawn again below them."""

    def __init__(self) -> None:
        self.before = termios.tcgetattr(0)
        self.fresh: list[str] = []
        self.rows: list[str] = []
        self.ends_blank = False
        self.title = ""
        # Not the default, which would drop what was typed before: the client keeps that in its box.
        tty.setraw(0, termios.TCSANOW)
        self.put("\x1b[?2004h\x1b[?1004h\x1b[?25l")

    def put(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        with contextlib.suppress(OSError):  # the terminal may be gone; then the hang-up ends the session
            while data:
                data = data[os.write(1, data) :]

    def say(self, *lines: str) -> None:
        for line in lines:
            shown = line.expandtabs(4).replace("\r\n", "\n")
            self.fresh += shown.translate(CONTROLS).split("\n")

    def wipe(self) -> str:
        """What takes the live rows off the screen. A narrower window has wrapped them: hence the count by cells."""
        width = max(self.size()[0], 1)
        plain = [re.sub(r"\x1b\[[0-9;]*m", "", row) for row in self.rows]
        up = sum(max(-(-columns(row) // width), 1) for row in plain) - 1
        return (f"\x1b[{up}A" if up > 0 else "") + "\r\x1b[J"

    def draw(self, view: View) -> None:
        rows = render(view, *self.size())
        if self.fresh:
            self.ends_blank = not self.fresh[-1]
        rows = rows[1:] if self.ends_blank and len(rows) > 1 and not rows[0] else rows
        title = "◐ scripted agent" if view.busy else "✳ scripted agent"
        if not self.fresh and rows == self.rows and title == self.title:
            return
        text = self.wipe() + "".join(line + "\r\n" for line in self.fresh) + "\r\n".join(rows)
        self.put((f"\x1b]0;{title}\x07" if title != self.title else "") + text)
        self.fresh, self.rows, self.title = [], rows, title

    def size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(1)
        except OSError:
            return 80, 24
        return width or 80, height or 24

    def close(self) -> None:
        text = self.wipe() + "".join(line + "\r\n" for line in self.fresh)
        self.put(text + "\x1b[?2004l\x1b[?1004l\x1b[?25h")
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, self.before)
