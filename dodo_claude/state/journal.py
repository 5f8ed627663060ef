"""What happened to one attempt, on disk: its folder, its spool of hook events, its append-only journal.

    .orchestrate/stages/<stage>/<attempt>/   prompt.md settings.json launch.sh spool/ journal.jsonl ...
    .orchestrate/stages/<stage>/open         the number of the attempt that doit has not yet settled
    .orchestrate/stages/<stage>/done         the number of the attempt that doit has stored
    .orchestrate/stages/<stage>/kept/        what gc left of attempts that it removed

Rules this file keeps: an attempt is written down before it acts; one process writes a journal (the one
that holds the run's lock); a line is one `write`; a torn last line costs only itself; nothing here is
ever overwritten, a new attempt gets a new number; every file is opened by the rules of files.py.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dodo_claude.machine import files
from dodo_claude.machine.files import make_folder, naming, no_room, write_atomic
from dodo_claude.state import spool
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import NOTHING, Redactor

if TYPE_CHECKING:
    from dodo_claude.state.events import Event, View
    from dodo_claude.state.vocabulary import Vocabulary

# The name of an attempt's folder. More digits than ours are no number of ours.
_NUMBER = re.compile(r"[0-9]{1,18}")
MAX_FOLDER_NAME = 255  # bytes, what file systems allow
# A line as `_append` writes it, with its time and its kind.
_OUTLINE = re.compile(rb'^(?=\{"at": ([0-9]+(?:\.[0-9]+)?), "kind": "([^"\\]*)")(.*)$', re.M)
# Of a stage whose last attempt counts: doit has stored its outcome, or is to.
_MARKS = ("done", "open")


def in_lines(data: Mapping[str, object]) -> str:
    """`data` as JSON, a line for each of its keys: people read it, and `indent` would take ten times as long."""
    rows = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in data.items())
    return "{\n" + ",\n".join(rows) + "\n}\n"


class StageLog:
    """All attempts of one stage."""

    def __init__(self, state: Path, stage: str, redact: Redactor = NOTHING) -> None:
        self.redact = redact
        self.stage = stage
        self.dir = state / "stages" / folder_name(stage)

    def attempts(self) -> list[int]:
        """The numbers of all attempts, oldest first."""
        return sorted(int(name) for name in files.names(self.dir) if _NUMBER.fullmatch(name))

    def open_attempt(self) -> Attempt | None:
        """The attempt that doit has not settled: under way, or cut off by a crash."""
        try:
            text = files.read_text(self.dir / "open")
            # Empty after a loss of power, since it is not worth a wait: only the newest can have been open.
            number = int(text) if text else max(self.attempts(), default=0)
        except (OSError, ValueError):
            return None
        attempt = Attempt(self, number)
        return attempt if files.is_folder(attempt.dir) else None

    def last(self) -> Attempt | None:
        """The newest attempt."""
        numbers = self.attempts()
        return Attempt(self, numbers[-1]) if numbers else None

    def unsettled(self) -> bool:
        """Is an attempt under way, was it cut off, or ended without success, and doit knows nothing of that?"""
        opened = self.open_attempt()
        if opened is not None and (opened.result() or {}).get("result") != "succeeded":
            return True
        last = self.last()
        return last is not None and last.result() is None

    def sweep(self) -> None:
        """Remove what a process left that was killed while it wrote. Only the holder of the run's lock may."""
        names = files.names(self.dir)
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                files.remove(self.dir / name)
        folders = [self.dir / str(number) for number in self.attempts()]
        # Whoever was killed while copies were put back left the newest attempt without an end: only then the older ones,
        # of which there may be very many, are looked at.
        if folders and files.status(folders[-1] / "result.json") is not None:
            del folders[:-1]
        for folder in folders:
            for pattern in (".*.tmp", "paste-*", "before/**/.[0-9]*.tmp", "partial/**/.[0-9]*.tmp"):
                for left in files.find(folder, pattern):
                    files.remove(left)
        for pattern in ("mail/.*.tmp", "mail/*/.*.tmp") if "mail" in names else ():
            for left in files.find(self.dir, pattern):
                if not files.being_written(left):  # anyone may send a message at any time
                    files.remove(left, missing_ok=True)

    def begin(self) -> Attempt:
        """Write down a new attempt, before anything of it acts."""
        make_folder(self.dir.parent)
        make_folder(self.dir)
        number = max(self.attempts(), default=0)
        while True:
            number += 1
            with contextlib.suppress(FileExistsError):
                files.make_new_folder(self.dir / str(number))
                break
        attempt = Attempt(self, number)
        try:
            make_folder(attempt.spool)
            write_atomic(self.dir / "open", f"{number}\n", durable=False)
        except BaseException:
            # Else each run on a full disk would leave an empty attempt, and hide the one that can be resumed.
            with contextlib.suppress(OSError, DodoClaudeError):
                files.remove_tree(attempt.dir)
            raise
        return attempt

    def settle(self) -> None:
        """doit has stored the outcome: nothing is left to recover, as long as doit's state is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files.move(self.dir / "open", self.dir / "done")

    def forget(self) -> None:
        """doit knows nothing of this stage, on purpose: it failed, or the user said so."""
        _forget(self.dir)

    def is_forgotten(self) -> bool:
        """Does doit know nothing of its last attempt, on purpose?"""
        return not any(os.path.lexists(self.dir / name) for name in _MARKS)

    def reopen(self) -> None:
        """doit's record of this stage is lost: the attempt that it was of is to be looked at again."""
        _reopen(self.dir)


def forget_all(state: Path) -> None:
    """`StageLog.forget` for every stage that ever ran."""
    for folder in _stages(state):
        _forget(folder)


def reopen_all(state: Path) -> None:
    """`StageLog.reopen` for every stage that ever ran."""
    for folder in _stages(state):
        _reopen(folder)


def _stages(state: Path) -> Iterator[Path]:
    folder = state / "stages"
    return (folder / name for name in files.names(folder) if files.is_folder(folder / name))


def _forget(folder: Path) -> None:
    for name in _MARKS:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files.remove(folder / name)


def _reopen(folder: Path) -> None:
    if files.status(folder / "open") is None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            files.move(folder / "done", folder / "open")


def folder_name(stage: str) -> str:
    """One folder's name for any task's name: doit's backend asks for those of a dodo.py, too."""
    # An item may hold a slash: '%2F'. A stranger's folder may have a name that is no UTF-8.
    name = quote(stage, safe=":@+", errors="surrogatepass")
    if name.strip(".") == "":
        return name.replace(".", "%2E") or "%"
    if len(name) > MAX_FOLDER_NAME:
        digest = hashlib.sha256(stage.encode(errors="surrogatepass")).hexdigest()
        return f"{name[:200]}%{digest[:24]}"
    return name


class Attempt:
    """One attempt's folder. Only its orchestrator writes here; the worker's hooks write its spool."""

    def __init__(self, log: StageLog, number: int) -> None:
        self.log = log
        self.number = number
        self.dir = log.dir / str(number)
        self.spool = self.dir / "spool"
        self.journal = self.dir / "journal.jsonl"
        self.unfinished = False  # its spool held a half event when it was last looked at

    # -- the journal

    def record(self, kind: str, **data: object) -> Event:
        """Append an event of ours."""
        from dodo_claude.state.events import Event

        return self._append(Event(kind, time.time(), data))

    def _append(self, event: Event) -> Event:
        """Write an event down. What is given back is as written, without secrets: people are shown it."""
        from dodo_claude.state.events import Event

        event = Event(event.kind, event.at, self.log.redact.data(dict(event.data)))
        line = json.dumps({"at": event.at, "kind": event.kind, "data": event.data})
        with naming(self.journal):
            fd = files.open_file(self.journal, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                size = os.fstat(fd).st_size
                # A line that a crash cut off must not swallow the next one.
                torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
                payload = (b"\n" if torn else b"") + line.encode() + b"\n"
                while payload:
                    payload = payload[os.write(fd, payload) :]
            finally:
                os.close(fd)
        return event

    def replay(self) -> Iterator[Event]:
        """All events of the journal, oldest first. Unreadable lines are skipped."""
        try:
            stream = files.opened(self.journal)
        except FileNotFoundError:
            return
        with stream:
            for line in stream:
                event = parse_event(line)
                if event is not None:
                    yield event

    def outline(self, kinds: Collection[str]) -> tuple[float, float, list[Event]]:
        """When its first and its last event happened, and its events of `kinds`. The others are not parsed."""
        first = last = 0.0
        found = []
        with contextlib.suppress(FileNotFoundError):
            for at, kind, line in _OUTLINE.findall(files.read(self.journal, None)):
                if kind.decode("utf-8", "replace") not in kinds:
                    moment = float(at)
                elif (event := parse_event(line)) is not None:
                    moment = event.at
                    found.append(event)
                else:
                    continue
                first, last = first or moment, max(last, moment)
        return first, last, found

    def collect(self) -> list[Event]:
        """Move the hook events that have arrived from the spool into the journal, in order.

        One that a hook is still writing is left: `unfinished` says so. Raises `OSError` when there are none, and hooks
        can't write theirs, since the disk is full.
        """
        arrived = []
        for name in self._names():
            with contextlib.suppress(FileNotFoundError):
                # A file system's clock ticks some milliseconds apart: then the process ids tell.
                arrived.append((os.lstat(self.spool / name).st_mtime_ns, len(spool.number(name)), name))
        events, self.unfinished = [], False
        words = self._words() if arrived else None
        for mtime, _, name in sorted(arrived):
            path = self.spool / name
            event = spool.read_event(path, mtime / 1e9, name, words)
            written = event is None and spool.is_written(name, mtime / 1e9)
            if event is None and not written:
                event = spool.read_event(
                    path, mtime / 1e9, name, words
                )  # its hook may have ended since the first look
            if event is not None:
                events.append(self._append(event))
                files.remove(path, missing_ok=True)
            elif written or no_room(self.spool):
                self.unfinished = True
            else:
                self._set_aside(name)
        if self.unfinished and not events and no_room(self.spool):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.spool))
        return events

    def _set_aside(self, name: str) -> None:
        """What is in the spool and no event: it may tell why a hook misbehaves."""
        place = self.spool / f".unreadable-{name}"
        with contextlib.suppress(FileNotFoundError):
            files.move(self.spool / name, place)
            spool.shorten(place)

    def _names(self) -> list[str]:
        """Of the events in the spool. What begins with a point is none: not whole yet, or set aside."""
        # Whoever removed it has a worker that nothing is heard of: that is no empty spool.
        return [name for name in files.listing(self.spool) if not name.startswith(".")]

    def _words(self) -> Vocabulary | None:
        """What its agent's hooks call what happens, if they have names of their own."""
        from dodo_claude.state.vocabulary import of_attempt

        named = of_attempt(self.dir)
        return named[1] if named is not None else None

    def drop(self, kind: str, **data: object) -> None:
        """Tell the attempt something the way its hooks do; its orchestrator takes it, now or later."""
        name = f"{os.getpid()}.{secrets.token_hex(4)}"
        write_atomic(self.spool / name, json.dumps({"hook_event_name": kind, **data}), durable=False)

    def view(self) -> View:
        """What is known of its worker now: the journal's events, and those that nobody took yet."""
        from dodo_claude.state.events import View
        from dodo_claude.state.lifecycle import advance

        view = View()
        for event in self.events():
            view = advance(view, event)
        return view

    def events(self) -> Iterator[Event]:
        """The journal's events, and those that nobody took yet."""
        yield from self.replay()
        yield from self._waiting()

    def _waiting(self) -> list[Event]:
        found = []
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = self._names()
            words = self._words() if names else None
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    path = self.spool / name
                    event = spool.read_event(path, path.lstat().st_mtime, name, words)
                    if event is not None:
                        found.append(event)
        return sorted(found, key=lambda event: event.at)

    def sweep(self) -> None:
        """Its worker is gone: what its hooks left half-written is nobody's; what is whole stays for who looks."""
        with contextlib.suppress(OSError):
            for name in files.names(self.spool):
                if not name.startswith("."):
                    if spool.read_event(self.spool / name, 0.0, name, self._words()) is None:
                        self._set_aside(name)
                elif not name.startswith(".unreadable-"):
                    files.remove(self.spool / name)

    # -- the result

    def finish(self, result: Mapping[str, object]) -> None:
        """Write the attempt's result, durable before doit hears of it."""
        write_atomic(self.dir / "result.json", in_lines(self.log.redact.data(dict(result))))

    def result(self) -> dict[str, object] | None:
        """What `finish` wrote; None if the attempt never got so far.

        Where that is lost or damaged: what the journal tells of the end, which is less.
        """
        try:
            value = json.loads(files.read(self.dir / "result.json"))
        except (OSError, ValueError, RecursionError):
            value = None
        return value if isinstance(value, dict) else self._end()

    def _end(self) -> dict[str, object] | None:
        try:
            if b'"outcome"' not in files.read(self.journal, None):
                return None
        except OSError:
            return None
        from dodo_claude.state.events import OUTCOME, View
        from dodo_claude.state.lifecycle import advance

        view, end = View(), None
        for event in self.replay():
            view = advance(view, event)
            end = event if event.kind == OUTCOME else end
        if end is None or not isinstance(end.data.get("result"), str):
            return None
        return {
            **{key: end.data.get(key) for key in ("result", "reason", "retry", "targets")},
            "prompts": view.prompts,
            "tools": view.tools,
            "repairs": view.repairs,
            "session_id": view.session_id,
            "transcript": view.transcript,
            "message": view.message,
        }


def parse_event(line: bytes) -> Event | None:
    """The event of one line of a journal; None if it is none."""
    from dodo_claude.state.events import Event

    try:
        value = json.loads(line)
        return Event(str(value["kind"]), float(value["at"]), dict(value["data"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
