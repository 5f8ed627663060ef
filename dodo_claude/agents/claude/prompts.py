"""Which prompts the client takes as they are, and which it has to read from a file."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from dodo_claude.agents.agent import MAX_ARGUMENT

# A prompt that begins like this is taken for one of the client's commands, even as an argument.
_COMMAND = re.compile(r"\s*/[\w:.-]+(\s|$)")
# The client drops these from a prompt; dropped here, what we keep on disk is what the model gets.
_DROPPED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def deliverable(prompt: str) -> str:
    """`prompt` as the client hands it on unchanged: line ends are newlines, no control characters but tab."""
    return _DROPPED.sub("", prompt.replace("\r\n", "\n").replace("\r", "\n"))


def goes_by_file(prompt: str) -> bool:
    """Must the client be told to read the prompt from its file, since it can't take the text itself?"""
    return len(prompt.encode()) > MAX_ARGUMENT or _COMMAND.match(prompt) is not None


# What the client takes up in a prompt, wherever it stands in it, a long paste's frame included: a file or a folder after an
# at-sign, which it attaches, and some words of its own. It does so in an argument and in a paste; not in what hooks say, in a
# file that is read, in a brief, or in what comes after /compact.
_MENTIONED = re.compile(r"(?<![^\s\ufeff])@(\S+)")
_OWN_WORDS = re.compile(r"\bultra(?:code|plan|review|think)\b", re.IGNORECASE)


def acts_on(data: str, folder: Path | None = None) -> bool:
    """Would the client do something at what stands in `data`, were that part of a prompt? Then it has to go by file.

    `folder`: where the session is, if that is known. There a mention counts that can be one of something that exists: the
    client takes what stands before a comma, a line number and the like for the name.
    """
    if _OWN_WORDS.search(data):
        return True
    words = {found[1] for found in _MENTIONED.finditer(data)}
    if not words or folder is None:
        return bool(words)
    names = [_folded(name) for name in os.listdir(folder)]
    return any(_may_be(word, names) for word in words)


def _may_be(word: str, names: list[str]) -> bool:
    first = _folded(word.lstrip('"').partition("/")[0])
    if not first or first.startswith((".", "~", "agent-")) or ":" in word:  # a server's resource has a colon
        return True
    return any(first.startswith(name) or (word.startswith('"') and name.startswith(first)) for name in names)


def _folded(name: str) -> str:
    """As file systems compare names that do not tell all of them apart."""
    return unicodedata.normalize("NFC", name).casefold()
