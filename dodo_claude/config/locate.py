"""Where each key and value of a TOML text stands. Owns positions only; it reads no values and judges nothing.

`tomllib` gives no positions, so this walks over the text a second time. It may assume that `tomllib` took the
text: what is not valid TOML gives wrong places or none, and no error.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping

KeyPath = tuple[str | int, ...]

# A comment and a line's end may stand wherever a value of an array may.
_FILLER = re.compile(r"(?:[ \t\n]|#[^\n]*)*+")
# A part of a name, and the dot if another follows.
_KEY = re.compile(r"""[ \t]*+([A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+(\.?)""")
# The last two of the quotes that end a multi-line string may be its own: `""""` at the end is one quote of text.
_SCALAR = re.compile(
    r'''"""(?:[^"\\]|\\[\s\S]|"(?!""))*+""""{0,2}'''
    r"""|'''(?:[^']|'(?!''))*+''''{0,2}"""
    r"""|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[^,\]}#\n]++"""
)
# The end of tomllib's messages, which is all it says about the place (until Python 3.14).
_DECODE_ERROR = re.compile(
    r"\A(?P<text>.*?)(?: \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\))?\Z", re.S
)


class Positions:
    """Places of a document's keys and values, as (line, column), both from 1, columns in characters."""

    def __init__(self, text: str, keys: Mapping[KeyPath, int], values: Mapping[KeyPath, int]) -> None:
        self._text = text
        self._keys = keys
        self._values = values
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def of(self, path: KeyPath) -> tuple[int, int]:
        """Where the value of `path` starts; of a table its name; else of the nearest ancestor that is known."""
        for known in self._upwards(path):
            offset = self._values.get(known, self._keys.get(known))
            if offset is not None:
                return self._place(offset)
        return (1, 1)

    def key(self, path: KeyPath) -> tuple[int, int]:
        """Where the last name of `path` starts; an array's element has none, there it is the element."""
        offset = self._keys.get(path)
        return self.of(path) if offset is None else self._place(offset)

    def line_text(self, line: int) -> str:
        """The text of one line without its end; empty beyond the last."""
        if line > len(self._lines):
            return ""
        start = self._lines[line - 1]
        end = self._text.find("\n", start)
        return self._text[start:] if end < 0 else self._text[start:end]

    def opening(self, path: KeyPath) -> str:
        """The first four characters of a value: enough to tell a string's kind."""
        offset = self._values.get(path)
        return "" if offset is None else self._text[offset : offset + 4]

    def _place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._lines, offset)
        return (line, offset - self._lines[line - 1] + 1)

    @staticmethod
    def _upwards(path: KeyPath) -> list[KeyPath]:
        return [path[:length] for length in range(len(path), 0, -1)]


def locate(text: str) -> Positions:
    """The positions in a TOML text that `tomllib` accepted."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    # A later TOML may know what this scanner does not: places are then lost from there on, not the configuration.
    with contextlib.suppress(ValueError, IndexError):
        scanner.document()
    return Positions(scanner.text, scanner.keys, scanner.values)


def syntax_error(error: ValueError, text: str) -> tuple[int, int, str]:
    """Line, column and message of what `tomllib` raised for `text`."""
    found = _DECODE_ERROR.match(str(error))
    assert found is not None  # every part of the pattern may be missing
    if found["line"]:
        return (int(found["line"]), int(found["column"]), found["text"])
    lines = text.replace("\r\n", "\n").split("\n")
    return (len(lines), len(lines[-1]) + 1, found["text"])


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.keys: dict[KeyPath, int] = {}
        self.values: dict[KeyPath, int] = {}
        self._tables: dict[KeyPath, int] = {}  # arrays of tables -> how many elements so far

    def document(self) -> None:
        table: KeyPath = ()
        self._skip(_FILLER)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._value(self._assignment(table))
            self._skip(_FILLER)

    def _header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        names = self._dotted()
        self.at += 2 if array else 1
        path: KeyPath = ()
        for name, offset in names:
            if path in self._tables:  # a name below an array of tables belongs to its last element
                path = (*path, self._tables[path] - 1)
            path = (*path, name)
            self.keys.setdefault(path, offset)
        self.keys[path] = names[-1][1]  # the header of its own beats one that only passed by
        if array:
            index = self._tables.get(path, 0)
            self._tables[path] = index + 1
            path = (*path, index)
            self.keys[path] = names[-1][1]
        return path

    def _assignment(self, table: KeyPath) -> KeyPath:
        """Read `a.b =` and stand at the value; the path it belongs to."""
        path = table
        for name, offset in self._dotted():
            path = (*path, name)
            self.keys.setdefault(path, offset)
        self.at += 1  # the equals sign
        self._skip(_FILLER)
        return path

    def _dotted(self) -> list[tuple[str, int]]:
        names: list[tuple[str, int]] = []
        while True:
            found = _KEY.match(self.text, self.at)
            if found is None:
                raise ValueError(f"not TOML at offset {self.at}")
            names.append((_plain(found[1]), found.start(1)))
            self.at = found.end()
            if not found[2]:
                return names

    def _value(self, path: KeyPath) -> None:
        """Walk over a value and all in it; a stack and not recursion, as arrays nest as deep as one likes."""
        opened: list[tuple[str, KeyPath]] = []
        counts: list[int] = []
        while True:
            self.values[path] = self.at
            character = self.text[self.at]
            if character in "[{":
                opened.append(("]" if character == "[" else "}", path))
                counts.append(0)
                self.at += 1
            else:
                self._skip(_SCALAR)
            while opened and self._closes(opened[-1][0]):
                opened.pop()
                counts.pop()
            if not opened:
                return
            closing, base = opened[-1]
            if closing == "]":
                path = (*base, counts[-1])
                counts[-1] += 1
            else:
                path = self._assignment(base)

    def _closes(self, closing: str) -> bool:
        """Step over what stands between two elements; true, and past it, when the container ends here."""
        self._skip(_FILLER)
        if self.text.startswith(",", self.at):
            self.at += 1
            self._skip(_FILLER)
        if not self.text.startswith(closing, self.at):
            return False
        self.at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise ValueError(f"not TOML at offset {self.at}")
        self.at = found.end()


def _plain(raw: str) -> str:
    if raw[0] == '"' and "\\" in raw:
        return str(tomllib.loads(f"k = {raw}")["k"])
    return raw[1:-1] if raw[0] in "\"'" else raw
