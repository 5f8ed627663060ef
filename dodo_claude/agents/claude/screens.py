"""The client's screen, read only where no hook tells: is somebody typing?"""

from __future__ import annotations

import re
from typing import NamedTuple

_SGR = r"(?:\x1b\[[0-9;:]*m)*"
_RULE = re.compile(rf"^{_SGR}─{{20,}}")
# Above the box it may be short: a session's name, or which prompt of its history this is, stands in it.
_TOP = re.compile(rf"^{_SGR}─{{3,}}")
# A no-break space follows the sign in the input box alone; history and menus have a plain one.
BOX = "❯\xa0"
_BOX = re.compile(rf"^{_SGR}{BOX}")
_LOOK = re.compile(r"\x1b\[([0-9;:]*)m")
# In the box's foot while its history is searched: what is pasted goes there, and the box itself shows nothing of it.
_SEARCH = "search prompts:"


class _Cell(NamedTuple):
    """One character on the screen, and how it looks."""

    text: str
    dim: bool
    inverse: bool


def input_box(screen: str) -> str:
    """What stands in the input box on `screen` (with its escape sequences): free, draft or absent.

    free: nothing, or the client's own dim hint; draft: what somebody types, in the box or in its foot; absent: there is
    no box, since a dialog or another view is open. The cursor is an inverse cell; a client whose terminal has lost the
    focus, as it has once whoever was attached has left, draws none.
    """
    rows = screen.split("\n")
    for first in range(len(rows) - 1, 0, -1):
        if _BOX.match(rows[first]) and _TOP.match(rows[first - 1]):
            break
    else:
        return "absent"
    last = next((number for number in range(first + 1, len(rows)) if _RULE.match(rows[number])), len(rows))
    cells = _cells(rows)
    box = [cell for row in cells[first:last] for cell in row][len(BOX) :]
    hinted = any(cell.dim for cell in box)
    if box and box[0].inverse:
        # The first letter of a hint is the cursor's cell; so is that of a draft whose cursor stands at its start.
        if box[0].text != " " and not (len(box) > 1 and box[1].dim):
            return "draft"
        box = box[1:]
    elif _is_typed_elsewhere(cells[last:]):
        return "draft"
    is_empty = all(cell.text == " " or cell.dim for cell in box) and not any(cell.inverse for cell in box)
    return "free" if is_empty and (hinted or last == first + 1) else "draft"


def _is_typed_elsewhere(foot: list[list[_Cell]]) -> bool:
    """Do keys go to something below the box, in which there is no cursor?"""
    text = "".join(cell.text for row in foot for cell in row)
    return _SEARCH in text or any(cell.inverse for row in foot for cell in row)


def _cells(rows: list[str]) -> list[list[_Cell]]:
    """The characters of each row. How they look goes on from one row to the next."""
    found, dim, inverse = [], False, False
    for row in rows:
        cells: list[_Cell] = []
        # Text and looks by turns.
        for number, part in enumerate(_LOOK.split(row)):
            if number % 2:
                dim, inverse = _look(part, dim=dim, inverse=inverse)
            else:
                cells += [_Cell(char, dim, inverse) for char in part]
        found.append(cells)
    return found


def _look(codes: str, *, dim: bool, inverse: bool) -> tuple[bool, bool]:
    """Dim and inverse after a sequence with these codes."""
    numbers = iter(codes.split(";"))
    for number in numbers:
        if number in ("", "0"):
            dim = inverse = False
        elif number in ("2", "22"):
            dim = number == "2"
        elif number in ("7", "27"):
            inverse = number == "7"
        elif number in ("38", "48", "58"):  # a colour, whose numbers follow: one, or three
            for _ in range(1 if next(numbers, "") == "5" else 3):
                next(numbers, "")
    return dim, inverse
