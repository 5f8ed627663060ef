"""The groups that a `foreach` or a plan makes, and which of them may make a file while their stages are not known."""

from __future__ import annotations

import functools
import itertools
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from dodo_claude.config import inputs
from dodo_claude.config.documents import Table
from dodo_claude.config.findings import listed
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import Made, Project, is_glob
from dodo_claude.config.shapes import (
    ANY_PLAN,
    MAGIC,
    Shape,
    ends_differ,
    overlap,
    shape_of_glob,
)
from dodo_claude.text.errors import Problem
from dodo_claude.text.numbers import grouped

# Characters of targets of groups whose items are not known, each counted for each path that it is compared with: what ends
# like it, and begins like it. Some seconds at most.
MOST_COMPARED = 3_000_000


@dataclass(slots=True)
class Group:
    """One foreach, while its items are sought."""

    table: Table
    globs: tuple[str, ...] = ()
    lines: str | None = None  # the file whose lines are the items
    items: tuple[str, ...] | None = ()  # None: not known yet
    makers: tuple[str, ...] = ()  # stages and groups that come first: they make what the items are
    shapes: tuple[Shape, ...] = ()  # of its targets
    written: bool = False  # the items stand in the file itself
    plan: str | None = None  # of the stages of a plan: its file
    _read: tuple[tuple[str, ...], tuple[Problem, ...]] | None = None

    @property
    def name(self) -> str:
        """Of the group, as doit knows it."""
        return self.table.full_name

    @property
    def place(self) -> KeyPath:
        """In its file."""
        return (*self.table.place, "plan" if self.plan else "foreach")

    def complain(self, place: KeyPath, text: str, remedy: str = "") -> None:
        """A problem in its file."""
        self.table.document.findings.add(place, text, remedy)

    @property
    def source(self) -> str:
        """Where its items come from, in words."""
        if self.plan:
            return f"the stages of {self.plan}"
        return f"the lines of {self.lines}" if self.lines else f"the files {listed(self.globs)}"

    def may_make(self, path: str) -> bool:
        """Could one of its stages, whatever its item is, make `path`, a path or a glob?

        A plan's could make whatever is not there.
        """
        project = self.table.document.project
        if self.plan:
            there = (
                project.files(path) if is_glob(path) else inputs.is_there(os.path.join(project.root, path))
            )
            return not there
        wanted = _wanted(project, path)
        return any(overlap(shape, found) for shape in self.shapes for found in wanted)


class KnownTargets:
    """All targets that are known, asked by many groups."""

    def __init__(self, makers: dict[str, str], project: Project) -> None:
        self.makers = makers
        self.project = project

    @functools.cached_property
    def all(self) -> Made:
        """For globs."""
        return Made(self.project, self.makers)

    @functools.cached_property
    def _reals(self) -> dict[str, str]:
        return {self.project.real(name): maker for name, maker in reversed(self.makers.items())}

    def maker(self, path: str) -> str | None:
        """Who makes that file, under whichever name."""
        return self.makers.get(path) or self._reals.get(self.project.real(path))


class Late:
    """Groups whose stages are not known yet, asked which may make a path. Most are ruled out by what their targets begin
    with: of thousands of groups few are compared."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self.groups = tuple(groups)
        self.names = {group.name: index for index, group in enumerate(self.groups)}
        self._plans = {index for index, group in enumerate(self.groups) if group.plan}
        self._starts: dict[str, set[int]] = {}
        for index, group in enumerate(self.groups):
            for shape in group.shapes:
                self._starts.setdefault(_start(shape), set()).add(index)
        self._sorted = sorted(self._starts)
        self._lengths = sorted({*map(len, self._starts)})
        self._found: dict[str, tuple[Group, ...]] = {}
        self._left = MOST_COMPARED

    def makers(self, path: str) -> tuple[Group, ...]:
        """Those that may make `path`, a path or a glob."""
        if not self.groups:
            return ()
        found = self._found.get(path)
        if found is None:
            near = (self.groups[index] for index in sorted(self._near(path)))
            fitting: dict[Shape, bool] = {}  # of many groups the targets may be alike
            found = self._found[path] = tuple(group for group in near if self._may_make(group, path, fitting))
        return found

    def _may_make(self, group: Group, path: str, fitting: dict[Shape, bool]) -> bool:
        if group.plan:
            if ANY_PLAN not in fitting:
                fitting[ANY_PLAN] = group.may_make(path)
            return fitting[ANY_PLAN]
        for shape in group.shapes:
            if shape not in fitting:
                fitting[shape] = self._fits(group, shape, path)
            if fitting[shape]:
                return True
        return False

    def _fits(self, group: Group, shape: Shape, path: str) -> bool:
        for wanted in _wanted(group.table.document.project, path):
            differ = ends_differ(shape, wanted)
            self._left -= 1 if differ else len(shape)
            if self._left < 0:
                most = grouped(MOST_COMPARED)
                text = (
                    f"what its stages may make takes more than {most} steps to compare with what others read"
                )
                remedy = "let its targets begin with a folder of their own, or name them with fewer stars"
                group.complain(group.place, text, remedy)
                group.table.document.findings.raise_any()
            if not differ and overlap(shape, wanted):
                return True
        return False

    def _near(self, path: str) -> set[int]:
        near = {*self._plans}
        # A path is from the root, whichever of the files names it.
        for shape in _wanted(self.groups[0].table.document.project, path) if self._starts else ():
            start = _start(shape)
            for length in self._lengths[: bisect_right(self._lengths, len(start))]:
                near |= self._starts.get(start[:length], set())
            if len(start) < len(shape):
                for other in itertools.takewhile(
                    lambda other, start=start: other.startswith(start),  # type: ignore[misc]
                    self._sorted[bisect_left(self._sorted, start) :],
                ):
                    near |= self._starts[other]
        return near


class Concerned:
    """Which groups may find other items when targets came, went, or have another maker: those whose globs begin with a
    folder that these are in, and those of a file's lines."""

    def __init__(self, groups: Iterable[Group]) -> None:
        self._groups = tuple(groups)
        self._always = {index for index, group in enumerate(self._groups) if group.lines is not None}
        self._in: dict[str, set[int]] = {}
        for index, group in enumerate(self._groups):
            for glob in group.globs:
                for name in {glob, group.table.document.project.plain_glob(glob)[0]}:
                    folder = MAGIC.split(name, maxsplit=1)[0].rpartition("/")[0]
                    self._in.setdefault(folder, set()).add(index)

    def by(self, targets: Iterable[str], project: Project) -> list[Group]:
        folders = {""}
        for name in {name for target in targets for name in (target, project.plain(target))}:
            while name not in folders:
                folders.add(name)
                name = name.rpartition("/")[0]
        found = self._always.union(*(self._in.get(folder, ()) for folder in folders))
        return [self._groups[index] for index in sorted(found)]


def _start(shape: Shape) -> str:
    """What all that has that shape begins with."""
    return "".join(
        char for char, _ in itertools.takewhile(lambda part: part[0] not in ("", "\0") and not part[1], shape)
    )


@functools.lru_cache(maxsize=1024)  # every late group is asked about the same paths
def _wanted(project: Project, path: str) -> tuple[Shape, ...]:
    """The shapes of a path, or of a glob, under each name that it has."""
    plain = project.plain_glob(path)[0] if is_glob(path) else project.plain(path)
    names = dict.fromkeys((path, plain))
    return tuple(
        shape_of_glob(name) if is_glob(name) else tuple((char, False) for char in name) for name in names
    )
