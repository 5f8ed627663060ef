"""The keyboard's side: bytes into keys, keys into the input box. Pure; what a key does is for session.py."""

from __future__ import annotations

import codecs
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# How long after an ESC byte the rest of a key's sequence may still come, in seconds; a lone ESC is the Esc key.
ESC_WAIT = 0.05
# Text above one of these sizes shows in the box as a placeholder and reaches the prompt wrapped.
PASTE_CHARS = 800
PASTE_LINES = 4
PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"
# Both are text, because compiling them costs every start a millisecond.
CUT_KEY = r"\x1b(\[[0-9;?<]*|O)?"
KEY = (
    r"\x1b\[200~(?P<paste>.*?)\x1b\[201~|(?P<sequence>\x1b\[(?!200~)[0-9;?<]*[ -/]*[@-~]|\x1bO.)"
    r"|(?P<control>[\x00-\x09\x0b-\x1f\x7f])|(?P<text>[^\x00-\x09\x0b-\x1f\x7f]+)"
)
CONTROLS = {
    "\r": "enter",
    "\x03": "ctrl-c",
    "\x04": "ctrl-d",
    "\x15": "ctrl-u",
    "\x7f": "back",
    "\x08": "back",
    "\x1b": "esc",
}
# What a terminal that was asked for it tells of its focus.
FOCUS = {"\x1b[I": "focus", "\x1b[O": "blur"}


class Keys:
    """Bytes from the terminal into (name, text) pairs: text, paste, enter, esc, ctrl-c, ctrl-d, ctrl-u, back, focus, blur."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.held = ""

    def feed(self, data: bytes, *, no_more: bool = False) -> list[tuple[str, str]]:
        """`no_more`: nothing came for ESC_WAIT, so what looks like the start of a sequence is the Esc key."""
        self.held += self.decoder.decode(data)
        keys = []
        while self.held:
            if self.held.startswith(PASTE_START) and PASTE_END not in self.held:
                break  # the end always comes; a search of its own because a large paste comes in many pieces
            found = re.match(KEY, self.held, re.DOTALL)
            if found is None or (not no_more and found[0] == "\x1b" and re.fullmatch(CUT_KEY, self.held)):
                break
            self.held = self.held[found.end() :]
            if found["paste"] is not None:
                keys.append(("paste", found["paste"]))
            elif found["sequence"] in FOCUS:
                keys.append((FOCUS[found["sequence"]], ""))
            elif found["control"] in CONTROLS:
                keys.append((CONTROLS[found["control"]], ""))
            elif found["text"]:
                # The client takes a long run of characters for a paste, brackets or not.
                keys.append(("paste" if is_long(found["text"]) else "text", found["text"]))
        return keys

    @property
    def waits(self) -> bool:
        """An ESC is held back that may be a key of its own."""
        return bool(self.held) and not self.held.startswith(PASTE_START)


def is_long(text: str) -> bool:
    return len(text) > PASTE_CHARS or text.count("\n") + 1 >= PASTE_LINES


def clean_paste(text: str) -> str:
    """Pasted text as the client alters it."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    text = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(\x07|\x1b\\)", "", text)
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "", text).rstrip("\n")


class Box:
    """The input box. A long paste is one private-use character in `text`, so that deleting it is deleting one."""

    FIRST = 0xF0000

    def __init__(self) -> None:
        self.text = ""
        self.pastes: list[str] = []
        self.mark = os.urandom(2).hex()

    def paste(self, text: str) -> None:
        text = clean_paste(text)
        if is_long(text):
            self.pastes.append(text.rstrip())
            text = chr(self.FIRST + len(self.pastes) - 1)
        self.text += text

    def delete_char(self) -> None:
        self.text = self.text[:-1]

    def delete_line(self) -> None:
        """The last line, or the line break that an empty one begins with."""
        above, newline, line = self.text.rpartition("\n")
        self.text = above + newline if line else above

    def take(self) -> tuple[str, str, str]:
        """Empty the box. What it held: as it is sent, as it is shown, and as a command gets it."""
        taken = (
            self.sent(),
            self.shown().rstrip(),
            self._spell(lambda _number, text: text, self.text.rstrip()),
        )
        self.text = ""
        return taken

    def shown(self) -> str:
        return self._spell(lambda number, text: f"[Pasted text #{number}{_plus_lines(text)}]", self.text)

    def sent(self) -> str:
        wrapped = '\n\n<pasted_content id="{0}">\n{1}\n</pasted_content id="{0}">\n'
        return self._spell(lambda _number, text: wrapped.format(self.mark, text), self.text.rstrip())

    def _spell(self, spell: Callable[[int, str], str], text: str) -> str:
        pieces = []
        for char in text:
            number = ord(char) - self.FIRST
            pieces.append(spell(number + 1, self.pastes[number]) if 0 <= number < len(self.pastes) else char)
        return "".join(pieces)


def _plus_lines(text: str) -> str:
    return f" +{text.count(chr(10))} lines" if "\n" in text else ""
