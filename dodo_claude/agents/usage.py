"""What a worker has used so far: turns and tokens out of the client's transcript, dollars out of its status line.

Nothing here is trusted: the transcript's path comes from a hook, its lines and the status line were written by
the worker's side. Only a plain file is read, only what is new of it, and what is no number counts nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import operator
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

# Read at once, or less: room is made for that much. The client's own lines reach some 100 kB.
CHUNK = 1 << 20
# A longer line is passed over unread: no answer is that long, and memory is not the worker's to fill.
MAX_LINE = 32 << 20
# This much before the place where reading stopped tells whether the file is still the one that was read.
ANCHOR = 256
# A larger number of tokens in one answer is a lie or a fault.
MAX_TOKENS = 10**10
# Sub-agents' transcripts lie at most so many folders below a session's folder of them; what the worker's side made
# deeper than that is not walked through.
DEPTH = 3
# Who "said" what is an error of the API, not an answer.
SYNTHETIC = "<synthetic>"

# Only lines that hold one of these are worth the price of parsing: the file is mostly other things.
_TELLING = (
    b'"assistant"',
    b'"cost-state"',
    b'"compact_boundary"',
    b'"turn_duration"',
    b'"stop_hook_summary"',
    b'"permissionDecision"',
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used. `turns` are the worker's own answers, `messages` those of its sub-agents too."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read: int = 0
    cache_write: int = 0
    messages: int = 0

    @property
    def tokens(self) -> int:
        """Of all kinds."""
        return self.input_tokens + self.output_tokens + self.cache_read + self.cache_write

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(operator.add, _NUMBERS(self), _NUMBERS(other)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*map(operator.sub, _NUMBERS(self), _NUMBERS(other)))

    def at_least(self, other: Usage) -> Usage:
        """Each number the larger of the two: what was used does not come back."""
        return Usage(*map(max, _NUMBERS(self), _NUMBERS(other)))


_NUMBERS = operator.attrgetter(*(part.name for part in fields(Usage)))


class TranscriptReader:
    """Adds up one session's transcript, and those of its sub-agents, as they grow. Not thread-safe.

    An answer is written as several lines, one for each of its parts, with the same id and usage: it counts once,
    as its last line says. What was counted stays counted when the file is cut or written anew.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = os.fspath(path)
        self._main = Lines(path)
        # <sid>.jsonl has its sub-agents' transcripts in <sid>/subagents/, those of a workflow's agents in
        # <sid>/subagents/workflows/<its id>/.
        self._folder = os.path.join(os.path.splitext(path)[0], "subagents")
        self._others: dict[str, Lines] = {}
        self._answers: dict[str, Usage] = {}
        self._total = Usage()
        self._unread = 0
        # What the client last wrote down as the session's cost: it does when it ends well, and starts a resumed
        # session from there.
        self.saved_cost = 0.0
        # Wall time at which the client last wrote down that a turn was over, 0 when it never did; and the most Stop hooks
        # that it asked at once.
        self.turn_ended = 0.0
        self.stop_hooks = 0
        # Wall time of the newest answer, or part of one; and whose rule refused a tool call, by its id.
        self.answered = 0.0
        self.rules: dict[str, str] = {}

    @property
    def bad_lines(self) -> int:
        """How many lines were passed over because they make no sense."""
        return self._unread + self._main.bad + sum(file.bad for file in self._others.values())

    def read(self) -> Usage:
        """The totals so far. No file, or one that can't be read, adds nothing."""
        for line in self._main.new():
            self._count(line, turns=1)
        for path in self._of_sub_agents():
            for line in self._others.setdefault(path, Lines(path)).new():
                self._count(line, turns=0)
        return self._total

    def _of_sub_agents(self) -> list[str]:
        found: list[str] = []
        with contextlib.suppress(ValueError):  # a path that is none; a folder that can't be read is none
            for folder, below, names in os.walk(self._folder):  # mostly: there is none. It follows no link
                found += [os.path.join(folder, name) for name in names if name.endswith(".jsonl")]
                if folder.count(os.sep) >= self._folder.count(os.sep) + DEPTH:
                    below.clear()
        return found

    def _count(self, line: bytes, turns: int) -> None:
        if not any(word in line for word in _TELLING):
            self._unread += not (line.startswith(b"{") and line.endswith(b"}"))
            return
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            self._unread += 1
            return
        if not isinstance(entry, dict):
            self._unread += 1
        elif entry.get("type") == "cost-state":
            self.saved_cost = _number(entry.get("totalCostUSD")) or 0.0
        elif entry.get("type") == "assistant":
            self._answer(entry, turns)
        elif turns and "permissionDecision" in entry:
            self._refusal(entry)
        elif entry.get("subtype") == "compact_boundary":
            self._compaction(entry)
        elif turns and entry.get("subtype") == "turn_duration":
            self.turn_ended = max(self.turn_ended, _moment(entry.get("timestamp")))
        elif turns and entry.get("subtype") == "stop_hook_summary":
            self.stop_hooks = max(self.stop_hooks, _tokens(entry.get("hookCount")))

    def _answer(self, entry: Mapping[str, object], turns: int) -> None:
        message = entry.get("message")
        if not isinstance(message, dict) or not isinstance(usage := message.get("usage"), dict):
            self._unread += 1
            return
        if message.get("model") == SYNTHETIC or entry.get("isApiErrorMessage") is True:
            return
        if turns:
            self.answered = max(self.answered, _moment(entry.get("timestamp")))
        name = message.get("id") or entry.get("requestId") or entry.get("uuid")
        if not isinstance(name, str):
            self._unread += 1
            return
        found = Usage(
            # A sub-agent's lines have stood in its session's own file in other versions of the client.
            turns=0 if entry.get("isSidechain") is True else turns,
            input_tokens=_tokens(usage.get("input_tokens")),
            output_tokens=_tokens(usage.get("output_tokens")),
            cache_read=_tokens(usage.get("cache_read_input_tokens")),
            cache_write=_tokens(usage.get("cache_creation_input_tokens")),
            messages=1,
        )
        self._put(name, found)

    def _compaction(self, entry: Mapping[str, object]) -> None:
        """The request for the summary stands in no line, and it is the largest: all of the context is its input."""
        about, name = entry.get("compactMetadata"), entry.get("uuid")
        if isinstance(about, dict) and isinstance(name, str):
            self._put(name, Usage(input_tokens=_tokens(about.get("preTokens"))))

    def _refusal(self, entry: Mapping[str, object]) -> None:
        decision, message = entry["permissionDecision"], entry.get("message")
        source = decision.get("ruleSource") if isinstance(decision, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) and isinstance(source, str) else ():
            if isinstance(part, dict) and isinstance(part.get("tool_use_id"), str):
                self.rules[part["tool_use_id"]] = str(source)

    def _put(self, name: str, found: Usage) -> None:
        self._total = self._total - self._answers.get(name, Usage()) + found
        self._answers[name] = found


class Lines:
    """The whole lines of one file, each given once, without their ends."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._at = 0  # where the first line begins that was not given yet
        self._anchor = b""  # what stood before it
        self._skipping = False  # in a line that is too long
        self.bad = 0

    def new(self) -> Iterator[bytes]:
        """The lines that were ended since the last call; a torn last one waits for its end."""
        # It is not there yet, or no more, or its name is no name; what was given stays given.
        with contextlib.suppress(OSError, ValueError):
            # A FIFO would make a plain open wait for ever.
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if stat.S_ISREG(os.fstat(fd).st_mode):
                    yield from self._read(fd)
            finally:
                os.close(fd)

    def _read(self, fd: int) -> Iterator[bytes]:
        if os.pread(fd, len(self._anchor), self._at - len(self._anchor)) != self._anchor:
            self._at, self._anchor, self._skipping = 0, b"", False  # another file by now: all of it is new
        rest, end, size = b"", self._at, os.fstat(fd).st_size
        while chunk := os.pread(fd, min(CHUNK, size - end), end):
            end += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._pass(line + b"\n")
                if self._skipping:
                    self._skipping = False
                    self.bad += 1
                elif line.strip():
                    yield line.strip()
            if len(rest) > MAX_LINE:
                self._pass(rest)
                self._skipping, rest = True, b""

    def _pass(self, data: bytes) -> None:
        self._at += len(data)
        self._anchor = (self._anchor + data[-ANCHOR:])[-ANCHOR:]


class CostMeter:
    """Dollars of one session over all processes that it had: each counts from 0 again after a kill."""

    def __init__(self) -> None:
        self._before = 0.0  # of processes that are gone
        self._saved = 0.0  # what this one may have begun with
        self._carried: float | None = None  # what it did begin with; None: it has not told of any cost yet
        self._most = 0.0  # the highest that it told
        self._last = 0.0  # the highest that the one before told
        self._mark: float | None = (
            0.0  # the total where `here` begins; None: as soon as its process tells of a cost
        )

    @property
    def total(self) -> float:
        return self._before + max(0.0, self._most - (self._carried or 0.0))

    @property
    def here(self) -> float:
        """Of that what came since `follows`, or since `resumed` the session."""
        return 0.0 if self._mark is None else self.total - self._mark

    def follows(self) -> None:
        """What was told so far was in an earlier run."""
        self._mark = self.total

    def resumed(self, saved: float) -> None:
        """As `started`; what the session cost before was another attempt's."""
        self.started(saved)
        self._mark = None

    def started(self, saved: float = 0.0) -> None:
        """A new process took the session over. `saved`: the reader's `saved_cost`, from which one begins that
        follows on a process that ended well."""
        self._before = self.total
        if self._carried is not None:
            self._last = self._most
        self._carried, self._saved, self._most = None, saved, 0.0

    def saw(self, cost: float) -> float:
        """The client told this cost; the total."""
        if self._carried is None:
            self._carried = self._saved if cost >= self._saved else 0.0
            # The one before may have ended before its last dollars were told.
            self._before += max(0.0, self._carried - self._last)
            self._mark = self._before if self._mark is None else self._mark
        self._most = max(self._most, cost)
        return self.total


def cost_of(status: Mapping[str, object]) -> float | None:
    """The dollars that a status line's JSON tells, since this process began; None if it tells none."""
    cost = status.get("cost")
    return _number(cost.get("total_cost_usd")) if isinstance(cost, dict) else None


def context_used(status: Mapping[str, object]) -> float | None:
    """How full the context is, in percent; None before the first answer."""
    window = status.get("context_window")
    used = _number(window.get("used_percentage")) if isinstance(window, dict) else None
    return None if used is None else min(used, 100.0)


def _tokens(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0


def _moment(value: object) -> float:
    """Wall time of a timestamp; 0 when it is none."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else 0.0
    return 0.0


def _number(value: object) -> float | None:
    """A finite number from 0; True is none."""
    if type(value) is not int and type(value) is not float:
        return None
    with contextlib.suppress(OverflowError):
        number = float(value)
        return number if math.isfinite(number) and number >= 0 else None
    return None
