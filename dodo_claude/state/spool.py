"""What a worker's hooks wrote: one file an event, in the attempt's spool. Owns what of such a file is an event, and how much of it
is kept; the journal takes it.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.machine import files, ours
from dodo_claude.text.clean import MAX_OUTPUT, left_out

if TYPE_CHECKING:
    from dodo_claude.state.events import Event
    from dodo_claude.state.vocabulary import Vocabulary

# A hook's tool input may carry whole files; the journal needs to say what was done, not to repeat it.
MAX_TEXT = 4_000  # characters kept of one string of an event
MAX_MESSAGE = 100_000  # characters kept of a worker's last message, which other prompts may include
MAX_EVENT = 8_000_000  # bytes; of a larger spool file, set aside unread, head and tail stay
MAX_DEPTH = 20  # levels kept of a nested value
HOOK_SECONDS = 60.0  # a hook that wrote nothing for so long writes no more


def read_event(path: Path, at: float, name: str, words: Vocabulary | None = None) -> Event | None:
    """The event that a hook wrote at `path`, of that name, which arrived at `at`; None if it is none (yet). `words`: the
    agent's own, if it has any."""
    from dodo_claude.state.events import SAID, Event

    try:
        # NaN and what is too large for a number are not JSON, though Python reads them.
        value = json.loads(files.read(path, MAX_EVENT), parse_constant=_finite, parse_float=_finite)
    except ours.NotOursError:
        return None  # a link, a pipe, one that is too large: it is set aside
    except (OSError, ValueError, RecursionError):
        return None
    if words is not None and isinstance(value, dict) and value.get("hook_event_name") not in SAID:
        value = words.read(value)
    if not isinstance(value, dict) or not isinstance(value.get("hook_event_name"), str):
        return None
    kind = value.pop("hook_event_name")
    if not _comes_by_spool(kind) or not all(
        type(value.get(key)) in kinds for key, kinds in SAID.get(kind, {}).items()
    ):
        return None
    data = {key: _trim(item, key) for key, item in value.items() if key not in ("mail", "request")}
    return Event(kind, at, {**data, **_by_hook(name)})


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value


def number(name: str) -> str:
    """What tells one hook from another in the name of its event: its process id, and more where that came round again."""
    return re.split("[+%]", name)[0]


def is_written(name: str, at: float) -> bool:
    """May the hook still be writing that event, of which something came at `at`?"""
    return time.time() - at < HOOK_SECONDS and files.lives(name.partition(".")[0])


def _by_hook(name: str) -> dict[str, object]:
    """What only hook.sh says, in its event's name: the messages that it gave to the client, the request it waits for."""
    name, _, request = name.partition("%")
    letters = [letter for letter in name.split("+")[1:] if letter]
    return {**({"mail": letters} if letters else {}), **({"request": request} if request else {})}


def _comes_by_spool(kind: str) -> bool:
    """The client's own events begin with a capital letter, and ours do not, but for what a worker itself may say:
    it can't say that it was verified."""
    from dodo_claude.state.events import SAID

    return "A" <= kind[:1] <= "Z" or kind in SAID


def _trim(value: object, key: str = "", depth: int = 0) -> object:
    """`value` with long strings, long lists and deep values cut, so that a journal line stays small."""
    if depth > MAX_DEPTH:
        return "…"
    if isinstance(value, str):
        limit = MAX_MESSAGE if key == "last_assistant_message" else MAX_TEXT
        return value if len(value) <= limit else f"{value[:limit]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return {name: _trim(item, depth=depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_trim(item, depth=depth + 1) for item in value[:100]]
    return value


def shorten(path: Path) -> None:
    """Leave of a file the first and the last half of what is kept of any output. Of a link nothing is lost."""
    try:
        fd = files.open_file(path, os.O_RDWR)
    except (OSError, ours.NotOursError):
        return
    try:
        status, half = os.fstat(fd), MAX_OUTPUT // 2
        if status.st_nlink == 1 and status.st_size > MAX_OUTPUT:
            tail = os.pread(fd, half, status.st_size - half)
            os.ftruncate(fd, half)
            os.pwrite(fd, left_out(status.st_size - MAX_OUTPUT) + tail, half)
    finally:
        os.close(fd)
