"""Before anybody works: can the checks be run at all, and does each guard guard something? Owns the lookup of a check's
program, and where in the files a stage's check, or what it protects, is said.

Rule this file keeps: what may yet come to be there (a stage makes it, its folder is not there either, a dodo.py may make
it) is no problem.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dodo_claude.config import documents, paths, plans, shell
from dodo_claude.config.findings import MOST, comparing, did_you_mean, dotted, show
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.records import Config, Stage
from dodo_claude.text.errors import ConfigError, Problem
from dodo_claude.worker import protect

# Files of checks are compared with what stages may make that are not known yet: so often in all. What getting one of
# these expressions ready takes beside that.
MOST_MATCHED = 1_000_000
COMPILED = 200


def problems(
    config: Config, stages: Iterable[Stage], environ: Mapping[str, str], file: documents.File | None = None
) -> tuple[Problem, ...]:
    """The checks of `stages` whose program is not there: each where it is said, once.

    `file`: what the configuration was made from, if it is at hand.
    """
    return _told(config, stages, _Lookup(config, environ).program, file)


def missing_scripts(config: Config, file: documents.File | None = None) -> tuple[Problem, ...]:
    """The checks that give an interpreter a script which is not there. A worker may write it, undeclared: no fault."""
    return _told(config, config.stages, _Lookup(config, {}).script, file)


@comparing()
def _told(
    config: Config,
    stages: Iterable[Stage],
    look: Callable[[Stage, str], tuple[str, str] | None],
    file: documents.File | None,
) -> tuple[Problem, ...]:
    asked: dict[tuple[object, ...], tuple[str, str] | None] = {}
    found: dict[Problem, None] = {}
    places: Places | None = None
    for stage in stages:
        if len(found) > MOST:
            first = f"more than {MOST} checks can't be run as they are: these are the first that were found"
            return (Problem(config.path.name, 1, 1, "", first, "mend them first"), *sorted(found))
        for check in stage.checks:
            key = (check, stage.cwd, dict(stage.env).get("PATH"))
            if key not in asked:
                asked[key] = look(stage, check)
            fault = asked[key]
            if fault is not None:
                places = places or Places(config, file)
                found[places.problem(places.of_check(stage, check), *fault)] = None
    return tuple(sorted(found))


class _Lookup:
    def __init__(self, config: Config, environ: Mapping[str, str]) -> None:
        self._root = config.root
        self._environ = environ
        self._targets = {target for stage in config.stages for target in stage.targets}
        self._late = [target for late in config.late for target in late.targets]
        self._left = MOST_MATCHED - COMPILED * len(self._late)
        self._others = (config.root / "dodo.py").exists()
        self._near: dict[str, list[str]] = {}  # of a folder, the names of what is there or is made there
        self._made: dict[str, set[str]] | None = None
        self._which = functools.lru_cache(lambda word, path: shutil.which(word, path=path))
        self._programs: dict[tuple[str, ...], set[str]] = {}

    def program(self, stage: Stage, check: str) -> tuple[str, str] | None:
        """What is wrong with a check's program, and what to do; None: nothing, or who knows."""
        word = shell.first_program(check)
        if word is None:
            return None
        return self._file(stage, word, runs=True) if "/" in word else self._on_path(stage, word)

    def script(self, stage: Stage, check: str) -> tuple[str, str] | None:
        """What is to be said of the script that a check gives to an interpreter."""
        script = shell.first_script(check)
        return None if script is None else self._file(stage, script, runs=False)

    def _file(self, stage: Stage, word: str, *, runs: bool) -> tuple[str, str] | None:
        path = self._root / stage.cwd / word
        name = os.path.normpath(os.path.join(stage.cwd, word))
        if name in self._targets or self._may_be_made(name):
            return None
        if path.is_file():
            if runs and not os.access(path, os.X_OK):
                return f"{show(word)} can't be executed", f"chmod +x {name}, or name its interpreter"
            return None
        if path.exists() or self._others or not path.parent.is_dir():
            return None
        # As the word is written: with its dot.
        head = word[: word.rfind("/") + 1]
        near = {head + other for other in self._names(os.path.dirname(name), path.parent)}
        return f"{show(word)} is not there", did_you_mean(word, near, "no stage makes it either")

    def _may_be_made(self, name: str) -> bool:
        """By a stage that is not known yet. Of very many names and such stages: who knows."""
        self._left -= len(self._late)
        return self._left < 0 or any(late.match(name) for late in self._patterns)

    @functools.cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [re.compile(late) for late in self._late]

    def _names(self, folder: str, path: Path) -> list[str]:
        if folder not in self._near:
            if self._made is None:
                self._made = {}
                for target in self._targets:
                    self._made.setdefault(os.path.dirname(target), set()).add(os.path.basename(target))
            self._near[folder] = sorted({*self._made.get(folder, ()), *os.listdir(path)})
        return self._near[folder]

    def _on_path(self, stage: Stage, word: str) -> tuple[str, str] | None:
        path = dict(stage.env).get("PATH", self._environ.get("PATH"))
        if not path:
            return None
        # A relative one is meant from where the check runs.
        folders = [os.path.join(self._root, stage.cwd, folder) for folder in path.split(os.pathsep)]
        if self._which(word, os.pathsep.join(folders)) is not None:
            return None
        inside = f"{self._root}/"
        if any(folder.startswith(inside) and not os.path.isdir(folder) for folder in folders):
            return None  # a virtual environment, say, that a stage makes
        if (self._root / stage.cwd / word).is_file():
            return f"{show(word)} is not on PATH", f"a file of that folder is ./{word}"
        programs = self._programs_in(tuple(folders))
        return f"{show(word)} is not on PATH", did_you_mean(word, programs, "install it, or mend its name")

    def _programs_in(self, folders: tuple[str, ...]) -> set[str]:
        if folders not in self._programs:
            there = [folder for folder in folders if os.path.isdir(folder)]
            self._programs[folders] = {name for folder in there for name in os.listdir(folder)}
        return self._programs[folders]


def idle_guards(config: Config, file: documents.File | None = None) -> Iterator[str]:
    """Of each path and glob of `protect` that guards no file now: a line for people."""
    there: dict[str, bool] = {}
    told: set[tuple[str, KeyPath]] = set()
    seen: set[int] = set()  # by their identity: stages that share all rules have them from the same tables
    places: Places | None = None
    for stage in config.stages:
        for rule in () if id(stage.protect) in seen else stage.protect:
            if rule not in there:
                literal = paths.literal(rule)
                there[rule] = (
                    os.path.lexists(config.root / literal)
                    if literal is not None
                    else next(iter(protect.Walk(config.root, rule).files()), None) is not None
                )
            if not there[rule]:
                places = places or Places(config, file)
                place = places.of_guard(stage, rule)
                if place is None:
                    continue  # of our own making: a nested orchestration's files
                document, path = place
                if (document.prefix, path) in told:
                    continue
                if len(told) == MOST:
                    yield f"more than {MOST} paths and globs of protect guard nothing: these are the first"
                    return
                told.add((document.prefix, path))
                text = (
                    "matches no file"
                    if paths.literal(rule) is None
                    else "is not there: it guards that nobody makes it"
                )
                yield str(places.problem(place, f"{show(rule)} {text}", ""))
        seen.add(id(stage.protect))


class Places:
    """Where in the files of a configuration what is said of a stage stands. Reads what is not given: only for who has to tell."""

    def __init__(self, config: Config, file: documents.File | None = None) -> None:
        def planned(group: str, path: str) -> documents.File | None:
            try:
                return plans.read(config.root / path, path) if (config.root / path).exists() else None
            except ConfigError:
                return None

        found = documents.Documents.of(file or documents.read(config.path), str(config.root), planned)
        self._main = found.main
        self._tables = {table.full_name: table for table in found.tables}
        self._guards: dict[tuple[str, KeyPath], dict[str, int]] = {}

    def of_check(self, stage: Stage, check: str) -> tuple[documents.Document, KeyPath]:
        """Of a check of `stage`: in its own table, of a phase, or in [defaults]."""
        table = self._tables.get(stage.group or stage.name)
        if table is None:  # the file was edited meanwhile
            return self._main, ()
        for number, phase in enumerate(stage.phases):
            if phase.check == check:
                return table.document, (*table.place, "phases", number, "check")
        if "check" in table.values:
            return table.document, (*table.place, "check")
        # A plan's defaults are those of the file that its planner stands in.
        planner = table.document.planner
        return (planner.document if planner is not None else table.document), ("defaults", "check")

    def of_guard(self, stage: Stage, rule: str) -> tuple[documents.Document, KeyPath] | None:
        """Of a path or glob that `stage` protects; None: it is in no table."""
        table = self._tables.get(stage.group or stage.name)
        if table is None:
            return None
        outer = table.document.planner.document if table.document.planner is not None else table.document
        for document, place, values in (
            (table.document, table.place, table.values),
            (outer, ("defaults",), outer.values.get("defaults") or {}),
        ):
            key = (document.prefix, place)
            if key not in self._guards:
                self._guards[key] = _numbers(values.get("protect") or (), document.project.base)
            if rule in self._guards[key]:
                return document, (*place, "protect", self._guards[key][rule])
        return None

    def problem(self, place: tuple[documents.Document, KeyPath], text: str, remedy: str) -> Problem:
        """One there."""
        document, path = place
        findings = document.findings
        return Problem(findings.file, *findings.positions.of(path), dotted(path), text, remedy)


def _numbers(values: Iterable[str | None], base: str) -> dict[str, int]:
    """Of each path and glob that stands in a list, as it is from the root, its number."""
    found: dict[str, int] = {}
    for number, value in enumerate(values):
        written = os.path.normpath(os.path.join(base, value or ""))
        found.setdefault(written, number)
        found.setdefault(paths.escaped(written), number)
    return found
