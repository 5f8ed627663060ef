"""What a stranger's text may show, on whichever surface: one owner. Pure.

Strangers are workers, the programs that they run, and whoever wrote the files that a clone brought along.

Rule this file keeps: what comes out of it does nothing to a terminal but fill it, and reads as it stands there: no control
character but newline and tab, nothing that turns the direction of writing, nothing that can't be seen.
"""

from __future__ import annotations

import re

# Sequences that begin with ESC, whole where they end. What is left of others is text.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
# Newline and tab stay.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# They turn the direction of writing, end a line, or are not to be seen: a text would say something else than it shows.
# What joins letters and pictures (U+200C, U+200D) stays.
_TRICK = re.compile(
    "[\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# Bytes kept of what a program put out, on however many lines: the first and the last half.
MAX_OUTPUT = 1_000_000
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
# Lines as tmux 3.2 and 3.3 write them: letters between two characters that switch the set.
_LINES = re.compile("\x0e([^\x0f]*)\x0f?")
_LETTERS = str.maketrans("jklmnqtuvwx~a`f", "┘┐┌└┼─├┤┴┬│·▒◆°")


def clean_text(text: str) -> str:
    """`text`, to be shown; newlines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    text = without_controls(text)
    # Halves of surrogate pairs, which JSON can hold, are no characters.
    return text if text.isascii() else _TRICK.sub("", text.encode("utf-8", "replace").decode())


def clean_line(text: str) -> str:
    """`text`, to be shown on one line."""
    return " ".join(clean_text(text).split())


def clean_screen(screen: str) -> str:
    """A terminal's screen, to be shown with its colours."""
    screen = _LINES.sub(lambda found: found[1].translate(_LETTERS), screen)
    parts, at = [], 0
    for found in _COLOURS.finditer(screen):
        parts += [clean_text(screen[at : found.start()]), found[0]]
        at = found.end()
    return "".join([*parts, clean_text(screen[at:])]).replace("\t", "    ")


def one_line(text: str) -> str:
    """`text` on one line, with all that it must not show written as an escape: for names, whose every character counts."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int) -> str:
    """The beginning of `text`, and how much more there is, where it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def left_out(count: int) -> bytes:
    """The line between the two halves of what was kept."""
    return f"\n... {count} bytes left out ...\n".encode()


def without_controls(text: str) -> str:
    """`text` as it may be typed, or handed to a model: all that is written stays, for it is not shown."""
    return _CONTROL.sub("", _SEQUENCE.sub("", text).replace("\r\n", "\n"))
