"""What stages were asked, wrote and said, read for the page of a report: prompts, diffs, outputs, messages.

Rules this file keeps: all texts are redacted and cleaned, whole, before they are cut; what is left out is counted; and
however many stages a run has, only so much is read.
"""

from __future__ import annotations

import contextlib
import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import files
from dodo_claude.machine.ours import STATE_DIR
from dodo_claude.report import attempts, gather
from dodo_claude.report.attempts import Told, Version, read, versions
from dodo_claude.report.gather import Reader
from dodo_claude.report.record import SETTLED, RunReport, StageReport
from dodo_claude.report.runs import Span
from dodo_claude.state import events as life
from dodo_claude.state import lifecycle
from dodo_claude.state.events import Event
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.state.mail import DELIVERED, STATES, Mailbox
from dodo_claude.text.redact import NOTHING, Redactor
from dodo_claude.worker import verify

# Of one stage:
LONGEST_PROMPT = 12_000  # characters
LONGEST_OUTPUT = 6_000
LONGEST_MESSAGE = 8_000
LONGEST_REMARK = 1_500
MOST_REMARKS = 60
MOST_FILES = 20
MOST_LINES, MOST_CHARACTERS = 300, 20_000  # of a file, or of what changed in it
LONGEST_LINE = 400  # characters
LARGEST = 200_000  # bytes of a file that is looked into
MOST_COMPARED = 2_000  # lines of it, if it is compared
# Of all together:
MOST_STAGES = 300
ROOM = 2_500_000  # characters
COMPARED = 60_000  # lines


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A text, or the part of it that there is room for."""

    text: str
    left_out: int = 0  # characters


@dataclass(frozen=True, slots=True)
class Change:
    """What an attempt did to a file: its lines, or those of a diff with what they begin with. Or why they are not here."""

    path: str
    change: str  # as FileReport has it
    lines: tuple[str, ...] = ()
    is_diff: bool = False
    left_out: int = 0  # lines
    why: str = ""  # there are none


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that was said: by the worker, to it, or of it."""

    at: float  # seconds since 1970
    who: str
    what: str  # 'asks', 'progress', …
    text: Excerpt


@dataclass(frozen=True, slots=True)
class Details:
    """More of one stage than its report has."""

    prompts: tuple[tuple[str, Excerpt], ...] = ()  # a title, and what the last attempt was asked
    changes: tuple[Change, ...] = ()
    files_left_out: int = 0
    output: Excerpt = Excerpt("")  # what its last check, or its command, said
    message: Excerpt = Excerpt("")
    remarks: tuple[Remark, ...] = ()
    remarks_left_out: int = 0


def details(config: Config, span: Span, told: RunReport, redact: Redactor = NOTHING) -> Mapping[str, Details]:
    """Of the stages of `told`, by name. Those that are not done come first, as long as there is room."""
    reader = Reader(config, span, redact)
    plain = {stage.name: stage for stage in config.stages}
    worked = [stage for stage in told.stages if stage.attempts and stage.name in plain]
    chosen = sorted(worked, key=lambda stage: stage.state in SETTLED)[:MOST_STAGES]
    sent = _letters(reader, [plain[stage.name] for stage in worked], told)
    room, found = _Room(), {}
    for stage in chosen:
        if room.characters <= 0:
            break
        with contextlib.suppress(OSError):  # its folder is gone, or no longer ours to read
            found[stage.name] = _of(reader, plain[stage.name], stage, sent, room)
    return found


@dataclass(slots=True)
class _Room:
    """What is left of it."""

    characters: int = ROOM
    lines: int = COMPARED

    def head(self, text: str, most: int) -> Excerpt:
        return self._took(Excerpt(text[:most], max(0, len(text) - most)))

    def tail(self, text: str, most: int) -> Excerpt:
        return self._took(Excerpt(text[-most:], max(0, len(text) - most)))

    def _took(self, excerpt: Excerpt) -> Excerpt:
        self.characters -= len(excerpt.text)
        return excerpt


def _of(
    reader: Reader, stage: Stage, told: StageReport, sent: Mapping[str, list[Remark]], room: _Room
) -> Details:
    attempts = [Attempt(reader.log(stage), each.number) for each in told.attempts]
    last = read(stage, attempts[-1])
    made = [found for found in versions(reader.root, stage, last) if found.change != "unchanged"]
    remarks = sorted(
        [
            *(remark for attempt in attempts for remark in _remarks(reader, attempt)),
            *sent.get(stage.name, ()),
        ],
        key=lambda remark: remark.at,
    )
    half = MOST_REMARKS // 2
    shown = remarks if len(remarks) <= MOST_REMARKS else [*remarks[:half], *remarks[-half:]]
    for remark in shown:
        room.characters -= len(remark.text.text)
    return Details(
        prompts=tuple(_prompts(reader, last, room)),
        changes=tuple(_change(reader, found, room) for found in made[:MOST_FILES]),
        files_left_out=max(0, len(made) - MOST_FILES),
        output=room.tail(_output(reader, stage, last), LONGEST_OUTPUT),
        message=room.head(told.message, LONGEST_MESSAGE),
        remarks=tuple(shown),
        remarks_left_out=len(remarks) - len(shown),
    )


def _prompts(reader: Reader, told: Told, room: _Room) -> Iterator[tuple[str, Excerpt]]:
    folder = told.attempt.dir
    paths = [("prompt", folder / "prompt.md")]
    later = [
        path for path in files.find(folder, "prompt-phase-*.md") if path.stem.rpartition("-")[2].isdecimal()
    ]
    for path in sorted(later, key=lambda path: int(path.stem.rpartition("-")[2])):
        paths.append((f"prompt of phase {path.stem.rpartition('-')[2]}", path))
    for title, path in paths[:MOST_FILES]:
        text = _text(reader, path)
        if text is not None:
            yield title, room.head(text, LONGEST_PROMPT)


def _output(reader: Reader, stage: Stage, told: Told) -> str:
    name = "output.log" if stage.command is not None else "check.log"
    return reader.say(verify.output_tail(told.attempt.dir / name))


def _text(reader: Reader, path: Path | None, largest: int = LARGEST) -> str | None:
    """A file's text; None for one that is no text, is too large or is not there."""
    if path is None:
        return None
    data = attempts.content(path, largest)
    with contextlib.suppress(UnicodeDecodeError):
        if data is not None and b"\0" not in data:
            return reader.say(data.decode("utf-8"))
    return None


# -- files


def _change(reader: Reader, found: Version, room: _Room) -> Change:
    change = Change(reader.line(found.name), found.change)
    if room.characters <= 0:
        return replace(change, why="there is no more room for it here")
    new, old = _text(reader, found.now), _text(reader, found.before) if found.before else ""
    if found.now is None:
        return replace(change, why="it was changed since, and nobody kept it")
    if new is None or old is None:
        return replace(change, why="it is no text, or too large to be shown here")
    if found.before is None:
        return _shown(change, _lines(new), room)
    lines = len(_lines(new)) + len(_lines(old))
    if lines > 2 * MOST_COMPARED or lines > room.lines:
        return replace(change, why="it has too many lines to be compared here")
    room.lines -= lines
    diff = difflib.unified_diff(_lines(old), _lines(new), lineterm="")
    return _shown(replace(change, is_diff=True), islice(diff, 2, None), room)


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines if lines[-1] else lines[:-1]


def _shown(change: Change, lines: Iterable[str], room: _Room) -> Change:
    shown: list[str] = []
    left, characters = 0, MOST_CHARACTERS
    for line in lines:
        if len(shown) >= MOST_LINES or characters <= 0:
            left += 1
            continue
        shown.append(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…")
        characters -= len(shown[-1])
    room.characters -= MOST_CHARACTERS - characters
    why = "" if shown else "the same text as before" if change.is_diff else "it is empty"
    return replace(change, lines=tuple(shown), left_out=left, why=why)


# -- what was said

_WORKER, _WE = "worker", "orchestrator"


def _said(data: Mapping[str, object], key: str = "text") -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _decided(data: Mapping[str, object]) -> str:
    verdict = f"{'yes' if data.get('allow') is True else 'no'}, to {_said(data, 'what')}"
    return f"{verdict}: {_said(data)}" if _said(data) else verdict


# Of each event that says something: who, what, and its text.
_TELLING: Mapping[str, tuple[str, str, Callable[[Mapping[str, object]], str]]] = {
    life.SENT: (_WE, "asks for a repair", _said),
    life.GIVEN: (_WE, "gives the next phase", _said),
    life.SUMMARY: (_WE, "asks for a summary", _said),
    life.CLEARED: (_WE, "asks for a compaction", lambda data: _said(data, "goal") or _said(data)),
    life.CONTINUED: (_WE, "tells it to go on", _said),
    life.INTERRUPTED: (_WE, "interrupts it", _said),
    life.UNHEARD: (
        _WORKER,
        "says nothing",
        lambda data: " ".join(filter(None, (_said(data), _said(data, "tries")))),
    ),
    life.DENIED: (_WORKER, "is refused", lambda data: f"{_said(data, 'what')}: {_said(data)}"),
    life.UNCOMPACTED: (_WE, "finds the context not compacted", lambda data: _said(data, "reason")),
    life.PAUSED: (_WE, "pauses", lambda data: _said(data, "reason")),
    life.PROGRESS: (_WORKER, "progress", lambda data: f"{data.get('percent')} % {_said(data)}".strip()),
    life.NOTE: (_WORKER, "notes for all", _said),
    life.MESSAGE: (_WORKER, "says to the orchestrator", _said),
    life.ASK: (_WORKER, "asks", _said),
    life.ANSWERED: ("", "answers", _said),
    life.PERMITTED: ("", "answers", _decided),
    "PermissionRequest": (_WORKER, "asks for permission", lifecycle.doing),
}


def _remarks(reader: Reader, attempt: Attempt) -> Iterator[Remark]:
    for event in attempt.outline(_TELLING)[2]:
        who, what, text = _TELLING[event.kind]
        yield _remark(reader, event, who or _said(event.data, "sender") or "somebody", what, text(event.data))


def _remark(reader: Reader, event: Event, who: str, what: str, text: str) -> Remark:
    text = reader.say(text).strip("\n")
    return Remark(
        event.at, reader.line(who), what, Excerpt(text[:LONGEST_REMARK], max(0, len(text) - LONGEST_REMARK))
    )


def _letters(reader: Reader, stages: Iterable[Stage], told: RunReport) -> Mapping[str, list[Remark]]:
    """The messages of this run, with whom they were for and whom they came from."""
    found: dict[str, list[Remark]] = defaultdict(list)
    until = told.ended or float("inf")
    for stage in stages:
        mailbox = Mailbox(reader.log(stage))
        if not files.is_folder(mailbox.dir):
            continue
        for state in STATES:
            for id in mailbox.letters(state):
                letter = mailbox.letter(id)
                if letter is None or not told.started <= letter.at <= until:
                    continue
                event = Event("letter", letter.at)
                fate = "" if state == DELIVERED else f" ({'not delivered yet' if state == 'new' else state})"
                found[stage.name].append(
                    _remark(reader, event, letter.sender, f"says to it{fate}", letter.text)
                )
                sender = letter.sender.removeprefix("worker ")
                if sender != letter.sender:
                    found[sender].append(
                        _remark(
                            reader, event, _WORKER, f"says to {reader.line(stage.name)}{fate}", letter.text
                        )
                    )
    return found


# -- of one stage, whether or not a run is in progress


def latest(
    config: Config, stage: Stage, since: float, *, live: bool, redact: Redactor = NOTHING
) -> Details | None:
    """Of a stage's attempts since then, and of its last one at least; None: there is none."""
    last = StageLog(config.root / STATE_DIR, stage.name).last()
    if last is None:
        return None
    began = next((event.at for event in last.replay()), 0.0)
    span = Span("", min(since, began) if since else began, live=live)
    one = replace(config, stages=(stage,))
    return details(one, span, gather.report(one, span, redact=redact), redact).get(stage.name)
