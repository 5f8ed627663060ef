"""The shape of a TOML text, judged by a look at it before anything parses it. Owns how deep and how wide one may be.

A parser keeps every prefix of a dotted name, and a number of a million digits is a second's work: a file far below
every limit of size could take gigabytes, or minutes, before what it says could be judged.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

# Nothing of ours nests deeper than six; what does could exhaust the stack of whatever walks over it.
MAX_DEPTH = 32
# In all names of a file: of 12000 stages each has one, and two of its tables two.
MAX_DOTS = 100_000
# Of a number, or a bare name.
MAX_WORD = 1000

TOO_DEEP = "lists or tables are nested too deeply"

# As TOML has it: what no part fits is no TOML, where a parser stops, and so does the look.
_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\[\s\S]|"(?!""))*+""""{0,2}'
    r"|'''(?:[^']|'(?!''))*+''''{0,2}"
    r'''|(?P<open>"""|\'\'\')'''
    r"""|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|#[^\n]*+|[ \t\r]++"""
    r"""|(?P<sign>[][{}.,=\n])|(?P<word>[^][{}.,=\n"'# \t\r]++)|(?P<odd>.)"""
)


class BadShapeError(ValueError):
    """What is wrong with a text, and where: line and column from 1."""

    def __init__(self, text: str, source: str, offset: int) -> None:
        self.text = text
        before = source[:offset].replace("\r\n", "\n")
        self.line = before.count("\n") + 1
        self.column = len(before) - before.rfind("\n")
        super().__init__(f"{text} (at line {self.line}, column {self.column})")


def loads(text: str) -> dict[str, Any]:
    """What a TOML text says, as tomllib reads it. Nothing but ValueError is raised."""
    judge(text)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def judge(text: str) -> None:
    """BadShapeError when a parser had better not read it. What is no TOML is the parser's to find."""
    header = base = key = dots = all_dots = (
        0  # how deep: the table, what is open, the name before `=`, the name being read
    )
    opened: list[int] = []
    begins, in_header = True, False
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup
        if kind == "word":
            begins = False
            if found.end() - found.start() > MAX_WORD:
                word = "number" if found[0][0] in "+-0123456789" else "name"
                raise BadShapeError(
                    f"a {word} of {found.end() - found.start()} characters is too large", text, found.start()
                )
        elif kind == "sign":
            sign = found[0]
            if sign == ".":
                dots += 1
                all_dots += 1
                if all_dots > MAX_DOTS:
                    raise BadShapeError(f"has more than {MAX_DOTS} dots in its names", text, found.start())
            elif sign == "=":
                key, dots = dots + 1, 0
            elif sign in "[{":
                if sign == "[" and begins and not opened:
                    in_header, header = True, 0
                elif not in_header:
                    opened.append(base)
                    base += key + (sign == "[")
                key = dots = 0
            elif sign in "]}":
                if in_header:
                    in_header, header = False, dots + 1
                elif opened:
                    base = opened.pop()
                key = dots = 0
            elif sign == "," or not opened:
                key = dots = 0
            begins = sign == "\n" and not opened
            in_header = in_header and not begins
            if header + base + dots > MAX_DEPTH:
                raise BadShapeError(TOO_DEEP, text, found.start())
        elif kind is not None:
            return
