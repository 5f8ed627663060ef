"""The bus: all that happens to all workers, read from their journals by whoever wants to know, at any time.

A reader keeps where it was in each journal, so nothing is told twice and nothing is missed, whether or not a
run is in progress. A line is whole or not there yet.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from dodo_claude.machine import files, ours
from dodo_claude.state.events import DENIED, PERMITTED, POSTED, Event
from dodo_claude.state.journal import Attempt, parse_event
from dodo_claude.state.lifecycle import doing
from dodo_claude.text.clean import one_line


@dataclass(frozen=True, slots=True)
class Told:
    """One event of one stage's attempt."""

    stage: str
    attempt: int
    event: Event


# What of an event's data says most, in this order.
_TELLING = (
    "reason",
    "text",
    "message",
    "last_assistant_message",
    "prompt",
    "error",
    "session",
    "source",
    "check",
    "status",
)


def telling(event: Event) -> str:
    """What of an event tells people most."""
    parts = list(filter(None, [doing(event.data)]))
    if "percent" in event.data:
        parts.append(f"{event.data['percent']} %")
    if event.kind == PERMITTED:
        parts += ["yes, to" if event.data.get("allow") is True else "no, to", str(event.data.get("what"))]
    if event.kind == DENIED:
        parts.append(f"{event.data.get('what')}:")
    if event.kind == POSTED:
        parts.append(f"{event.data.get('sender')}:")
    if "result" in event.data:
        parts.append(str(event.data["result"]))
    parts += [str(event.data[key]) for key in _TELLING if event.data.get(key)][:1]
    return " ".join(parts)


class Bus:
    """Reads the journals below a project's state folder as they grow."""

    def __init__(
        self,
        state: Path,
        stages: Collection[str] = (),
        since: float = 0.0,
        position: Mapping[Path, int] | None = None,
    ) -> None:
        """`stages`: only these; none: all. `since`: wall-clock seconds, earlier events are passed over.

        `position`: that of another reader, to go on from there.
        """
        self._folder = state / "stages"
        self._only = frozenset(stages)
        self._since = since
        self._at: dict[Path, int] = dict(position or {})

    @property
    def position(self) -> Mapping[Path, int]:
        """How far each journal was read."""
        return dict(self._at)

    def read(self) -> list[Told]:
        """What happened since the last call, oldest first."""
        found = [told for path, stage, number in self._journals() for told in self._new(path, stage, number)]
        return sorted(found, key=lambda told: told.event.at)

    def read_one(self, attempt: Attempt) -> list[Told]:
        """What happened to one attempt since it was last read, as it was written."""
        return list(self._new(attempt.journal, attempt.log.stage, attempt.number))

    def pass_over(self, attempt: Attempt) -> None:
        """Tell nothing of what one attempt's journal has by now."""
        with contextlib.suppress(OSError):
            self._at[attempt.journal] = os.lstat(ours.check(attempt.journal)).st_size

    def _journals(self) -> Iterator[tuple[Path, str, int]]:
        for name in files.names(self._folder):
            stage = unquote(name)
            if self._only and stage not in self._only:
                continue
            for number in files.names(self._folder / name):
                if number.isdecimal():
                    yield self._folder / name / number / "journal.jsonl", stage, int(number)

    def _new(self, path: Path, stage: str, number: int) -> Iterator[Told]:
        start = self._at.get(path, 0)
        try:
            if os.lstat(ours.check(path)).st_size <= start:
                return
            with files.opened(path) as stream:
                stream.seek(start)
                data = stream.read()
        except OSError:
            return  # not there yet, or no more
        whole = data.rfind(b"\n") + 1
        self._at[path] = start + whole
        for line in data[:whole].splitlines():
            event = parse_event(line)
            if event is not None and event.at >= self._since:
                yield Told(stage, number, event)


class Tail:
    """The last events of one journal, then those that follow."""

    def __init__(self, attempt: Attempt, most: int) -> None:
        """`most`: bytes of what is there already."""
        self.attempt = attempt
        self._at = 0
        with contextlib.suppress(OSError):
            size = os.lstat(ours.check(attempt.journal)).st_size
            if size > most:
                with files.opened(attempt.journal) as stream:
                    stream.seek(size - most)
                    self._at = size - most + len(stream.readline())  # what is left of a line is none

    def read(self) -> list[Event]:
        """Those since the last call."""
        try:
            with files.opened(self.attempt.journal) as stream:
                stream.seek(self._at)
                data = stream.read()
        except OSError:
            return []
        whole = data.rfind(b"\n") + 1
        self._at += whole
        return [event for line in data[:whole].splitlines() if (event := parse_event(line)) is not None]


def record(told: Told) -> Mapping[str, object]:
    """An event for programs."""
    event = told.event
    return {
        "at": event.at,
        "stage": told.stage,
        "attempt": told.attempt,
        "kind": event.kind,
        "data": _encodable(event.data),
    }


def _encodable(value: object) -> object:
    """`value` without halves of surrogate pairs: a worker can write them, and most readers of JSON refuse them."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    return value


def line(told: Told) -> str:
    """An event for people, in one line."""
    event = told.event
    stamp = time.strftime("%H:%M:%S", time.localtime(event.at))
    text = one_line(" ".join(telling(event).split()))
    return f"{stamp}  {told.stage:<14}  {event.kind:<16}  {text[:200]}".rstrip()
