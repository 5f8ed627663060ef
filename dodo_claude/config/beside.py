"""The monitors of `[monitors]`: which workers each runs beside, and with what. Owns their defaults.

A monitor of a group, or of several stages, is one for each worker. How one runs is not here: see monitor.py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dodo_claude.config.findings import Findings, did_you_mean, listed, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import BadPathError, Project
from dodo_claude.config.profiles import SESSIONS
from dodo_claude.config.records import Monitor, Stage
from dodo_claude.config.uses import LITERAL, analyse
from dodo_claude.text import durations
from dodo_claude.text.numbers import grouped

# A command that is run more often keeps a core busy, and its worker waiting.
SHORTEST = 0.1  # seconds

# Of all workers together: of 10000 each has five.
MOST_MONITORS = 50_000

_NEEDED = {
    "beside": 'name the stage: beside = "STAGE"',
    "command": 'add command = "…"',
    "match": 'say what to look for: match = "error"',
}
# What has a meaning only for a command that streams.
_STREAMING = ("debounce", "recovered_match")


class Text(Protocol):
    """Renders a short value of one stage: see expand."""

    def __call__(self, source: str | None, place: KeyPath, *, quoted: bool = False) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Table:
    """One monitor as it is written, what hangs on no single stage judged."""

    name: str
    values: Mapping[str, Any]  # those that were given and are sound
    stages: Mapping[str, KeyPath]  # the stages and groups that it runs beside, and where each is named
    findings: Findings

    def seconds(self, key: str) -> float | None:
        """A duration in seconds, if it was given."""
        return durations.seconds(self.values.get(key) or "")


@dataclass(frozen=True, slots=True)
class Names:
    """What `beside` may name, as its file writes it."""

    known: Collection[str]  # all stages and groups
    groups: Collection[str]  # those of a `foreach`
    late: Collection[str]  # of these the ones whose items are not known yet
    elsewhere: Collection[str]  # those whose stages stand in a file of their own


class Monitors:
    """All of a file, asked by each of its stages for those that run beside it."""

    def __init__(self, tables: Iterable[Table] = ()) -> None:
        self._tables = tuple(tables)
        self._numbers: dict[str, list[int]] = {}
        for number, table in enumerate(self._tables):
            for stage in table.stages:
                self._numbers.setdefault(stage, []).append(number)
        self._left = MOST_MONITORS

    def of(self, stage: Stage) -> Iterator[tuple[Table, KeyPath]]:
        """In the file's order, each with the place that names the stage, or else its group."""
        if not self._tables:
            return
        name, group = stage.local_name(stage.name), stage.local_name(stage.group or "")
        for number in sorted({*self._numbers.get(name, ()), *self._numbers.get(group, ())}):
            named = self._tables[number].stages
            yield self._tables[number], named.get(name) or named[group]

    def count(self, table: Table, place: KeyPath) -> None:
        """One more runs; ConfigError when there are too many."""
        self._left -= 1
        if self._left < 0:
            most = grouped(MOST_MONITORS)
            text = f"more than {most} monitors run beside workers, each counted for each worker"
            table.findings.add(place, text, "give them to fewer stages")
            table.findings.raise_any()


def tables(raw: Mapping[str, Any], names: Names, findings: Findings) -> Monitors:
    """All monitors of a file."""
    found = []
    for name, given in raw.items():
        values = {key: value for key, value in (given or {}).items() if value is not None}
        table = Table(name, values, _stages(name, values, names, findings), findings)
        if given is not None:
            _judge(table, given, {*names.groups})
        found.append(table)
    return Monitors(found)


def _stages(name: str, values: Mapping[str, Any], names: Names, findings: Findings) -> dict[str, KeyPath]:
    place: KeyPath = ("monitors", name, "beside")
    beside = values.get("beside") or []
    named = [(beside, place)] if isinstance(beside, str) else [(one, (*place, i)) for i, one in enumerate(beside)]  # fmt: skip
    found: dict[str, KeyPath] = {}
    for stage, where in named:
        if stage is None:
            continue
        folder, _, _ = stage.partition(":")
        if folder in names.elsewhere:
            text = f"{show(stage)} stands in a file of its own"
            findings.add(where, text, f"give the monitor in {folder}'s orchestrate.toml")
        elif stage in names.known or folder in names.late:
            found.setdefault(stage, where)
        else:
            remedy = did_you_mean(stage, names.known, f"known stages: {listed(sorted(names.known))}")
            findings.add(where, f"unknown stage {show(stage)}", remedy)
    return found


def _judge(table: Table, given: Mapping[str, Any], groups: set[str]) -> None:
    place, findings = ("monitors", table.name), table.findings
    for key, remedy in _NEEDED.items():
        if key not in given:
            findings.add(place, f"has no {key}", remedy, key=True)
    for key in ("match", "recovered_match"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Python's doubts the user would see a traceback
                re.compile(table.values.get(key) or "")
        except (re.error, OverflowError, RecursionError) as error:
            findings.add((*place, key), f"is not a regular expression: {error}", "see Python's `re`")
    for key in ("every", "debounce"):
        seconds = table.seconds(key)
        if seconds is not None and not SHORTEST <= seconds <= durations.LONGEST:
            text = f"{show(table.values[key])} is out of range"
            findings.add((*place, key), text, "from 100ms to 7 days")
    for key in _STREAMING:
        if key in given and "every" in given:
            remedy = "each run is judged as a whole: leave it out, or leave `every` out"
            findings.add((*place, key), "has no meaning beside `every`", remedy, key=True)
    if "recovered" in given and not {"every", "recovered_match"} & given.keys():
        remedy = "add `recovered_match`, or `every`"
        findings.add((*place, "recovered"), "is never told: nothing says what it means", remedy, key=True)
    of_items = table.stages and all(stage.partition(":")[0] in groups for stage in table.stages)
    items = ("item",) if of_items else ()
    _judge_message(table, "message", (*items, "stage", "lines"))
    _judge_message(table, "recovered", (*items, "stage"))


def _judge_message(table: Table, key: str, known: tuple[str, ...]) -> None:
    uses = analyse(table.values.get(key) or "", known=known)
    place = ("monitors", table.name, key)
    if uses.error is not None:
        table.findings.add_once(place, uses.error[0])
    for name, _ in uses.undefined:
        remedy = did_you_mean(name, known, f"a template here knows {listed(known)}; {LITERAL}")
        table.findings.add_once(place, f"{show(name)} is undefined", remedy)


def with_monitors(
    stage: Stage, monitors: Monitors, project: Project, text: Text, *, chosen: bool, raw: bool
) -> Stage:
    """`stage` with the monitors that run beside its worker.

    `chosen`: its agent stands in for its own; `raw`: it is what a `foreach` makes its stages from.
    """
    found = []
    for table, place in monitors.of(stage):
        if stage.agent is None:
            if stage.command is not None:
                table.findings.add_once(
                    place, f"{show(stage.name)} is a command", "only a worker can be told"
                )
        elif stage.agent.base not in SESSIONS:
            if not chosen:
                what = f"agent {show(stage.agent.name)} of {show(stage.name)} can't be spoken to"
                table.findings.add_once(
                    place, what, "a monitor needs an agent of base 'claude' or 'scripted'"
                )
        else:
            monitors.count(table, place)
            found.append(_monitor(table, stage, project, text, raw=raw))
    return stage.with_values(monitors=tuple(found)) if found else stage


def _monitor(table: Table, stage: Stage, project: Project, text: Text, *, raw: bool) -> Monitor:
    values, place = table.values, ("monitors", table.name)
    env = {
        key: text(value, (*place, "env", key)) or "" for key, value in (values.get("env") or {}).items() if value is not None
    }  # fmt: skip
    return Monitor(
        name=table.name,
        command=text(values.get("command"), (*place, "command"), quoted=True) or "",
        match=values.get("match") or "",
        message=values.get("message"),
        recovered=values.get("recovered"),
        recovered_match=values.get("recovered_match"),
        context=values.get("context", 3),
        every=table.seconds("every"),
        debounce=table.seconds("debounce") or 1.0,
        env=tuple(sorted((*(pair for pair in stage.env if pair[0] not in env), *env.items())))
        if env
        else stage.env,
        cwd=_cwd(table, stage, project, text, raw=raw),
    )


def _cwd(table: Table, stage: Stage, project: Project, text: Text, *, raw: bool) -> str:
    place = ("monitors", table.name, "cwd")
    value = text(table.values.get("cwd"), place)
    if value is None or raw:
        return value or stage.cwd
    try:
        return project.folder(value)
    except BadPathError as bad:
        table.findings.add_once(place, bad.text, bad.remedy)
        return stage.cwd
