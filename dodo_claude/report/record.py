"""The report of a run as a record, and that as JSON. Made by gather.py, told to people by words.py.

Rule this file keeps: its texts were written by workers, or by programs that they ran; none is in a record uncleaned.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dodo_claude.text.clean import clean_text
from dodo_claude.text.states import (  # fmt: skip
    DONE,
    FAILED,
    IGNORED,
    NOT_RUN,
    RUNNING,
    SETTLED,
    STATES,
    STOPPED,
    UP_TO_DATE,
    WAITING,
)

__all__ = [
    "DONE", "FAILED", "IGNORED", "NOT_RUN", "RUNNING", "SETTLED", "STATES", "STOPPED", "UP_TO_DATE", "WAITING",
]  # fmt: skip

VERSION = 1  # of the JSON: the next when a key goes or changes its meaning


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt. Times are seconds since 1970, `seconds` durations."""

    number: int
    result: str  # succeeded | failed | timed out | aborted | running | cut off
    why: str
    began: float
    seconds: float
    prompts: int
    tools: int
    repairs: int
    tokens: int  # its own, less what an earlier attempt of the same session had used
    cost_usd: float | None
    session_id: str | None
    folder: str  # relative to the project


@dataclass(frozen=True, slots=True)
class FileReport:
    """A target. `added` and `removed` are lines against what stood there before the attempt; a line that only moved
    is neither. Null: not text, or too large to count."""

    path: str
    change: str  # new | changed | unchanged | set aside
    bytes: int
    lines: int | None
    added: int | None
    removed: int | None
    kept: str | None  # where a failed attempt's file was set aside


@dataclass(frozen=True, slots=True)
class UndeclaredReport:
    """A file that is no stage's target and that a stage changed (`known`: by its client's own tools), or that was changed
    while it was at work; then `beside` has who else was."""

    path: str
    known: bool
    beside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageReport:
    """What somebody wrote to a stage's worker: a monitor, another worker, a person."""

    at: float  # seconds since 1970
    sender: str
    text: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a program said of the work: the stage's check, or the stage itself if it is a command."""

    kind: str  # check | command
    command: str
    result: str  # passed | failed | not run
    output: str  # its end, if it failed


@dataclass(frozen=True, slots=True)
class StageReport:
    """One stage. Sums are of its attempts in this run."""

    name: str
    group: str | None
    agent: str | None  # null for a command
    state: str  # one of STATES
    reason: str
    waits_for: tuple[str, ...]
    seconds: float
    repairs: int
    tokens: int
    cost_usd: float | None
    attempts: tuple[AttemptReport, ...]
    files: tuple[FileReport, ...]
    checks: tuple[CheckReport, ...]
    message: str
    needs: tuple[str, ...] = ()  # stages and groups that it comes after, by `after` or by a file
    undeclared: tuple[UndeclaredReport, ...] = ()  # what its last attempt changed besides its targets
    messages: tuple[MessageReport, ...] = ()  # to its worker, in this run


@dataclass(frozen=True, slots=True)
class GroupReport:
    """The stages of one foreach."""

    name: str
    states: dict[str, int]
    seconds: float
    tokens: int
    cost_usd: float | None
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all stages. `seconds` is the workers' time, one after the other."""

    states: dict[str, int]
    checks: dict[str, int]  # passed, failed, not run
    attempts: int
    repairs: int
    seconds: float
    tokens: int
    cost_usd: float | None
    files: int  # new or changed
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Left:
    """A stage that is not done, and why."""

    stage: str
    why: str


@dataclass(frozen=True, slots=True)
class OverwrittenReport:
    """A target that was changed after it was verified: the run did not exit 0."""

    stage: str  # whose it is
    file: str
    by: tuple[str, ...]  # who was at work then; the one that did it, if that is known
    text: str  # what happened, and what became of it


@dataclass(frozen=True, slots=True)
class RunReport:
    """A whole run."""

    version: int
    name: str
    run: str
    state: str  # ended | running | cut off
    stopped: str  # why the run was, '' if it was not
    started: float
    ended: float | None
    seconds: float
    totals: Totals
    left: tuple[Left, ...]
    groups: tuple[GroupReport, ...]
    stages: tuple[StageReport, ...]
    overwritten: tuple[OverwrittenReport, ...] = ()


# States of stages and results of checks, in their order.
_WORDS = ("passed", *STATES)


def counted(words: Iterable[str]) -> dict[str, int]:
    """How often each state, or each result of a check, is there; in their order."""
    counts = Counter(words)
    return {word: counts[word] for word in sorted(counts, key=_WORDS.index)}


def sum_costs(costs: Iterable[float | None]) -> float | None:
    """None when nobody told of any."""
    known = [cost for cost in costs if cost is not None]
    return round(sum(known), 6) if known else None


def why(stage: StageReport) -> str:
    """The state of a stage that is not done, and the reason."""
    needs = ", ".join(stage.waits_for)
    if stage.state == WAITING:
        return f"waiting for {needs}" if needs else WAITING
    reason = f"needs {needs}" if needs else stage.reason
    return f"{stage.state}: {reason}" if reason else stage.state


# -- as JSON


def to_json(told: RunReport) -> str:
    """The record as JSON: the names of the fields are its keys."""
    return json.dumps(asdict(told), indent=1) + "\n"


def from_json(text: str) -> RunReport:
    """The record again; ValueError when `text` is none."""
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("version") != VERSION:
            raise ValueError("not a report of this version")
        made = _built(RunReport, value)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a report: {error!r}") from None
    assert isinstance(made, RunReport)
    words = {
        *made.totals.states,
        *made.totals.checks,
        *(word for group in made.groups for word in group.states),
    }
    words |= {stage.state for stage in made.stages}
    words |= {check.result for stage in made.stages for check in stage.checks}
    if unknown := words.difference(_WORDS):
        raise ValueError(f"not a report: {min(unknown)!r} is no state")
    return made


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _built(kind: Any, value: Any) -> Any:
    """`value`, as JSON has it, as `kind`: a dataclass, a tuple or dict of such, or a plain value."""
    if is_dataclass(kind):
        make: Any = kind
        later = {"undeclared", "messages", "overwritten"} - value.keys()  # an older version did not write it
        return make(
            **{name: _built(hint, value[name]) for name, hint in _hints(make).items() if name not in later}
        )
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        return tuple(_built(get_args(kind)[0], item) for item in value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is no table")
        return {clean_text(key): _built(get_args(kind)[1], item) for key, item in value.items()}
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if kinds[-1] is NoneType and value is None:
        return None
    if value is True and kinds[0] is bool:
        return True
    if not isinstance(value, (int, float) if kinds[0] is float else kinds[0]) or value is True:
        raise TypeError(f"{value!r} is no {kinds[0].__name__}")
    return clean_text(value) if isinstance(value, str) else value
