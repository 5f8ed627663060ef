"""Files that prompts quote: how much is read of one, and what is said of one that is too large, or no text.

No more of a file is held than a prompt takes in, however large it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from dodo_claude.config import inputs
from dodo_claude.config.prompts import CAP
from dodo_claude.config.records import Config, Stage

# What stands for the middle that is left out fits into this.
NOTE = 100


class Read(NamedTuple):
    head: bytes
    tail: bytes  # b"" when the head is all
    size: int

    @property
    def is_binary(self) -> bool:
        return b"\0" in self.head or b"\0" in self.tail


def read(path: str, cap: int = CAP) -> Read:
    """A file of at most `cap` bytes, or the beginning and the end of a larger one. OSError."""
    with open(path, "rb", opener=inputs.plain) as stream:
        size = os.fstat(stream.fileno()).st_size
        head = stream.read(cap + 1)
        if len(head) <= cap:
            return Read(head, b"", len(head))
        half = cap // 2
        stream.seek(-half, os.SEEK_END)
        size = stream.tell() + half
        return Read(head[:half], stream.read(half), size)


def excerpt(path: str, cap: int = CAP) -> str:
    """What a prompt quotes of a file, of `cap` bytes and NOTE at most."""
    found = read(path, cap)
    if found.is_binary:
        return f"[a binary file of {found.size} bytes, which is not quoted]\n"
    if not found.tail:
        return found.head.decode("utf-8", "replace")
    head, tail = found.head, found.tail
    # Cutting may cut a character in two, which is left out; of other bytes each becomes a sign of three.
    texts = [head.decode("utf-8", "ignore"), tail.decode("utf-8", "ignore")]
    whole = [text.encode() for text in texts]
    if len(head) + len(tail) - sum(map(len, whole)) > 6:
        head, tail = head[: len(head) // 3], tail[-(len(tail) // 3) :]
        texts = [head.decode("utf-8", "replace"), tail.decode("utf-8", "replace")]
        whole = [head, tail]
    cut = found.size - sum(map(len, whole))
    return f"{texts[0]}\n[… {cut} of {found.size} bytes are left out here …]\n{texts[1]}"


def place(config: Config, stage: Stage) -> str:
    """Where the prompt of a stage is written."""
    if stage.prompt_file is not None:
        return f"{stage.prompt_file}: the prompt of stage '{stage.name}'"
    folder = f"{stage.folder}/" if stage.folder else ""
    return f"{stage.planned or folder + config.path.name}:{stage.line}: the prompt of stage '{stage.name}'"


def notes(config: Config) -> Iterator[str]:
    """Of each file that is there, and of which a prompt quotes less than all. Reads no more than a prompt would."""
    seen: set[str] = set()
    for stage in config.stages:
        of_phases = (path for phase in stage.phases for path in phase.prompt_files)
        of_globs = (path for _, found in stage.prompt_globs for path in found)
        for path in (*stage.prompt_files, *of_phases, *of_globs):
            if path not in seen:
                seen.add(path)
                if said := _said(os.path.join(config.root, path)):
                    yield f"{place(config, stage)} quotes '{path}', {said}"


def _said(path: str) -> str | None:
    try:
        found = read(path)
    except (OSError, ValueError):
        return None
    if found.is_binary:
        return "a binary file, of which only the size is told (name it in file_dep and in words)"
    if found.tail:
        fact = f"which has {found.size} bytes, of which the middle is left out (at most {CAP} are quoted)"
        return f"{fact}: let the worker read it"
    return None
