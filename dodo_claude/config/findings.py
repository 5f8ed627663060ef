"""Gathers the problems of one configuration, each with its place. Owns how a value and its path are shown."""

from __future__ import annotations

import contextlib
import difflib
import functools
import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from dodo_claude.config.locate import KeyPath, Positions
from dodo_claude.text.errors import ConfigError, Problem

# How much of a value a message repeats: enough to know it again, short enough for a line.
SHOWN = 60

# So many problems at once: who has more mends these first.
MOST = 200

# So many names are compared with words that were not known, in all: of a few thousand stages for each of the problems.
MOST_COMPARED = 50_000

# What getting ready for it takes beside a comparison.
A_PATH = 100

# How much two words have in common, of 1, when one may have been meant by the other.
LIKE = 0.6

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class Findings:
    """Every problem found so far in the file `file`, whose values stand at `positions`."""

    def __init__(self, file: str, positions: Positions) -> None:
        self.file = file
        self.positions = positions
        self._problems: set[Problem] = set()
        self._once: set[KeyPath] = set()

    def copy(self) -> Findings:
        """The same so far; what is added to one is not in the other."""
        other = Findings(self.file, self.positions)
        other._problems |= self._problems
        return other

    def of_file(self, file: str, positions: Positions) -> Findings:
        """For another file; its problems are among these."""
        other = Findings(file, positions)
        other._problems = self._problems
        return other

    @property
    def problems(self) -> Collection[Problem]:
        """All that were found so far."""
        return self._problems

    def add(self, path: KeyPath, text: str, remedy: str = "", *, key: bool = False) -> None:
        """A problem with the value of `path`, or with its name when `key`."""
        line, column = self.positions.key(path) if key else self.positions.of(path)
        self.put(Problem(self.file, line, column, dotted(path), text, remedy))

    def add_once(self, path: KeyPath, text: str, remedy: str = "") -> None:
        """Like add, but only the first for a path: a `foreach` would say it again for each of its items."""
        if path not in self._once:
            self._once.add(path)
            self.add(path, text, remedy)

    def complained(self, path: KeyPath) -> bool:
        """Was a problem added for that path that is said once? A further one would not be told."""
        return path in self._once

    def put(self, problem: Problem) -> None:
        """One more; ConfigError when there are too many."""
        if len(self._problems) >= MOST and problem not in self._problems:
            text = f"has more than {MOST} problems: these are the first that were found"
            self._problems.add(Problem(self.file, 1, 1, "", text, "mend them first"))
            self.raise_any()
        self._problems.add(problem)

    def raise_any(self) -> None:
        """Raise ConfigError with all problems: those of the main file first, each file by its lines."""
        if self._problems:
            ordered = sorted(self._problems, key=lambda problem: (problem.file != self.file, problem))
            raise ConfigError(tuple(ordered))


def first_problems(problems: Iterable[Problem], count: int, file: str) -> tuple[Problem, ...]:
    """Those that are told of `count`, which are no problems of the configuration alone: of very many the first."""
    first = tuple(itertools.islice(problems, MOST))
    if count <= MOST:
        return first
    text = f"has {count} problems: these are the first {MOST}"
    return (Problem(file, 1, 1, "", text, "mend them first"), *first)


@dataclass(frozen=True, slots=True)
class At:
    """A place in one of the files of a configuration."""

    findings: Findings
    path: KeyPath

    def complain(self, text: str, remedy: str = "") -> None:
        """A problem there; only the first counts."""
        self.findings.add_once(self.path, text, remedy)

    def problem(self, text: str = "", remedy: str = "") -> Problem:
        """One of that place, which is nobody's yet."""
        line, column = self.findings.positions.of(self.path)
        return Problem(self.findings.file, line, column, dotted(self.path), text, remedy)

    def behind(self, other: At) -> bool:
        """Does it stand behind the other; when in another file, yes."""
        if self.findings is not other.findings:
            return True
        return self.findings.positions.of(self.path) >= other.findings.positions.of(other.path)


def dotted(path: KeyPath) -> str:
    """`stages.build.targets[1]`; a name that TOML would want quoted is quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text


def show(value: object) -> str:
    """A value as a message names it, shortened."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN else repr(value[: SHOWN - 1] + "…")
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    text = str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


_left: ContextVar[list[int] | None] = ContextVar("_left", default=None)


@contextlib.contextmanager
def comparing() -> Iterator[None]:
    """What is looked for inside of this has a limit in all: the last of very many problems get no hint."""
    token = _left.set([MOST_COMPARED])
    try:
        yield
    finally:
        _left.reset(token)


def _may_compare(count: int) -> bool:
    left = _left.get()
    if left is None:
        return True
    left[0] -= count
    return left[0] >= 0


def did_you_mean(word: str, known: Collection[str], otherwise: str = "") -> str:
    """A remedy naming the nearest of the known words; else `otherwise`."""
    try:
        found = _nearest(word, frozenset(known))
    except _TooManyError:
        found = None
    return otherwise if found is None else f"did you mean {show(found)}?"


class _TooManyError(Exception):
    """No more is compared."""


def did_you_mean_file(path: str, known: Collection[str], otherwise: str = "") -> str:
    """Like did_you_mean, of files: one of the same name in another folder goes first, and an equal ending tells nothing."""
    if not _may_compare(A_PATH + 4 * len(known)):  # paths are longer, and more alike
        return otherwise
    name, stem = _name_and_stem(path)
    names = {each: _name_and_stem(each) for each in known}
    like = difflib.SequenceMatcher(b=stem)
    near = []
    for each, (_, other) in names.items():
        like.set_seq1(other)
        if like.real_quick_ratio() >= LIKE and like.quick_ratio() >= LIKE and like.ratio() >= LIKE:
            near.append(each)
    same = sorted(each for each, (other, _) in names.items() if other == name)
    return did_you_mean(path, same or near, f"did you mean {show(same[0])}?" if same else otherwise)


def _name_and_stem(path: str) -> tuple[str, str]:
    name = path.rpartition("/")[2].lower()
    return name, name.partition(".")[0] or name


@functools.lru_cache(maxsize=1024)  # one stage renamed is one wrong name in many places
def _nearest(word: str, known: frozenset[str]) -> str | None:
    if not _may_compare(len(known)):
        raise _TooManyError  # which is not remembered
    lowered = _lowered(known)
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=LIKE)
    return lowered[found[0]] if found else None


@functools.lru_cache(maxsize=8)
def _lowered(known: frozenset[str]) -> dict[str, str]:
    return {name.lower(): name for name in sorted(known, reverse=True)}


@functools.lru_cache(maxsize=8)  # of many stages that name another wrongly each would sort them all
def first_of(known: frozenset[str]) -> str:
    """The first of the names, listed."""
    return listed(sorted(known))


def listed(names: Collection[str], most: int = 12) -> str:
    """`a, b, c`, cut after `most`."""
    shown = list(names)[:most]
    return ", ".join(shown) + (", …" if len(names) > most else "")
