"""What the items of a `foreach` are: those written out, the files that a glob finds, the lines of a file.

Targets of other stages count as files that are there. Where a stage makes the file whose lines are wanted, or may make
what a glob finds, the items are known only when that stage is done: such a group is late. Until then it has no stages,
but a name, and shapes of what they may make.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dodo_claude.config import inputs, prompts, schema
from dodo_claude.config.documents import Table
from dodo_claude.config.findings import dotted, listed, show
from dodo_claude.config.groups import Concerned, Group, KnownTargets, Late
from dodo_claude.config.locate import KeyPath
from dodo_claude.config.paths import BadPathError, is_glob, too_much, tried_too_much
from dodo_claude.config.shapes import (
    EXPRESSION,
    Shape,
    shape_of,
)
from dodo_claude.config.sources import UnreadableError, read_text
from dodo_claude.text.errors import DodoClaudeError, Problem

# A list of what there is to do is shorter.
MAX_LINES_FILE = 10_000_000

# How often items are looked for anew as they become known: so many groups may be made of each other's targets in a row.
MAX_ROUNDS = 25


Found = TypeVar("Found")


@dataclass(slots=True)
class Search:
    """The items of all foreach of a configuration. `settled`: groups whose makers are done; None: read what is there."""

    tables: Collection[Table]
    made_by: Mapping[str, str] | None = None  # files that tasks of dodo.py make; None: it was not looked into
    settled: Collection[str] | None = None
    seen: dict[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # of groups what was found once: files, lines
    groups: dict[str, Group] = field(default_factory=dict)
    _makers: Late | None = None  # all groups: which of them are late changes
    _unknown: set[str] = field(default_factory=set)  # those whose items are not known
    # Of each table what its targets were with these items.
    _rendered: dict[str, tuple[Collection[str | None], dict[str, str]]] = field(default_factory=dict)

    def run(self) -> dict[str, Group]:
        """Each group by name; what is wrong is in the findings."""
        for table in self.tables:
            if "foreach" in table.values:
                self.groups[table.full_name] = self._group(table)
        if all(group.written for group in self.groups.values()):
            return self.groups
        endless = self._settle()
        if endless:
            names = listed([group.name for group in endless])
            rounds = (
                "without end" if len(self.groups) + 2 <= MAX_ROUNDS else f"for more than {MAX_ROUNDS} rounds"
            )
            text = f"items and targets of {names} feed each other {rounds}"
            endless[0].complain(endless[0].place, text, "let the glob find other files than the targets")
            if len(self.groups) + 2 > MAX_ROUNDS:
                endless[
                    0
                ].table.document.findings.raise_any()  # of the others nobody knows what they would find
        self._report(self._targets())
        return self.groups

    def _settle(self) -> list[Group]:
        """Look for all items until nothing changes; the groups that never stop changing."""
        concerned = Concerned(self.groups.values())
        looking: Collection[Group] = self.groups.values()
        made = self._targets()
        # One group's items make targets that may be another's items: no chain of them is longer than there are groups.
        for _ in range(min(len(self.groups) + 2, MAX_ROUNDS)):
            unknown = {*self._unknown}
            changed = [group for group in looking if self._look(group, made)]
            if not changed:
                return []
            before, made = made, self._targets()
            if unknown == self._unknown:
                others = before.makers.items() ^ made.makers.items()
                looking = concerned.by((path for path, _ in others), made.project)
            else:  # who waits for whom is another matter now
                looking = self.groups.values()
        return changed

    # -- what is written

    def _group(self, table: Table) -> Group:
        given = table.values["foreach"]
        group = Group(table)
        place = group.place
        group.shapes = tuple(shape for target in table.targets for shape in self._shapes(target, table))
        if not isinstance(given, dict):
            group.written = True
            group.items = tuple(item for item in given or () if item is not None)
            return group
        if len([key for key in ("glob", "lines") if key in given]) != 1:
            text = "has glob and lines" if given else "has neither glob nor lines"
            group.complain(place, text, "a foreach has one of them")
            return group
        if given.get("lines") is not None:
            group.lines = self._path(group, given["lines"], (*place, "lines"))
        patterns = given.get("glob")
        one = isinstance(patterns, str)
        for index, pattern in enumerate([patterns] if one else patterns or ()):
            where = (*place, "glob") if one else (*place, "glob", index)
            if pattern is not None and not is_glob(pattern):
                remedy = f"give a list of items: foreach = [{show(pattern)}]"
                group.complain(where, f"{show(pattern)} is no glob", remedy)
            elif pattern is not None and (path := self._path(group, pattern, where, glob=True)) is not None:
                group.globs = (*group.globs, path)
        return group

    def _path(self, group: Group, value: str, place: KeyPath, *, glob: bool = False) -> str | None:
        project = group.table.document.project
        try:
            return project.inside(value) if glob else project.file(value)
        except BadPathError as bad:
            group.complain(place, bad.text, bad.remedy)
            return None

    def _shapes(self, target: str, table: Table) -> Iterator[Shape]:
        # Its literal beginning is as the paths are that it is compared with; and as they are without links.
        project = table.document.project
        target = posixpath.normpath(f"{project.base}/{target}" if project.base else target)
        yield shape_of(target)
        folder = posixpath.dirname(EXPRESSION.split(target, maxsplit=1)[0])
        if folder and not folder.startswith(("/", "..")) and (plain := project.plain(folder)) != folder:
            yield shape_of(plain + target[len(folder) :])

    # -- what they are

    def _targets(self) -> KnownTargets:
        """Of each target that is known so far the stage that makes it."""
        made = {**(self.made_by or {})}
        for table in self.tables:
            group = self.groups.get(table.full_name)
            items: Collection[str | None] = (None,) if group is None else group.items or ()
            known = self._rendered.get(table.full_name)
            if known is None or known[0] != items:
                known = self._rendered[table.full_name] = (items, self._made(table, items))
            made |= known[1]
        return KnownTargets(made, next(iter(self.tables)).document.project)

    def _made(self, table: Table, items: Iterable[str | None]) -> dict[str, str]:
        made = {}
        for item in items:
            suffix = "" if item is None else f":{item}"
            for template in table.targets:
                try:
                    path = prompts.render_value(template, item=item, stage=table.name + suffix)
                    made[table.document.project.inside(path)] = table.full_name + suffix
                except (BadPathError, DodoClaudeError):
                    continue  # is reported where the stage is judged
        return made

    def _late(self, group: Group, paths: Collection[str]) -> list[str]:
        """The late groups that may make one of `paths`."""
        if not self._unknown:
            return []
        if self._makers is None:
            self._makers = Late(self.groups.values())
        found = {
            other.name for path in paths for other in self._makers.makers(path) if other.name in self._unknown
        }
        found.discard(group.name)
        return sorted(found, key=self._makers.names.__getitem__)

    def _look(self, group: Group, made: KnownTargets) -> bool:
        """Look for the items once more; true when they, or who makes them, changed."""
        before = (group.items, group.makers)
        if group.globs:
            self._find(group, made)
        elif group.lines is not None:
            maker = made.maker(group.lines)
            group.makers = (maker,) if maker else tuple(self._late(group, [group.lines]))
            group.items = self._lines(group)
        if group.items is None:
            self._unknown.add(group.name)
        else:
            self._unknown.discard(group.name)
        return (group.items, group.makers) != before

    def _find(self, group: Group, made: KnownTargets) -> None:
        project = group.table.document.project
        late = self._late(group, group.globs)
        settled = self.settled is not None and group.name in self.settled
        if late and not settled:
            group.makers, group.items = tuple(late), None
            return
        if group.name not in self.seen:
            there = {path for glob in group.globs for path in self._tried(group, glob, project.files(glob))}
            self.seen[group.name] = tuple(there)
        own = f"{group.name}:"
        found = {
            path
            for glob in group.globs
            for path, name in self._tried(group, glob, made.all.found(glob)).items()
            if not made.makers[name].startswith(own)
        }
        # Who makes them comes first by their being file_deps.
        group.items = tuple(sorted(map(project.local, project.once({*self.seen[group.name], *found}))))

    def _tried(self, group: Group, glob: str, found: Found) -> Found:
        if tried_too_much():
            group.complain(group.place, *too_much(glob))
            group.table.document.findings.raise_any()
        return found

    def _lines(self, group: Group) -> tuple[str, ...] | None:
        if group.makers and self.settled is not None and group.name not in self.settled:
            return None
        if group.makers and self.settled is None and not self._beside(group, group.lines or ""):
            return None  # it is not made yet
        if self.settled is not None and group.name in self.seen:
            return self.seen[group.name]
        if group._read is None:
            group._read = self._read(group)
            if not group._read[1]:
                self.seen[group.name] = group._read[0]
        # Who makes it may be in a dodo.py that was not looked into.
        unknown = not group.makers and self.made_by is None and self._beside(group, "dodo.py")
        return None if unknown and not self._beside(group, group.lines or "") else group._read[0]

    def _beside(self, group: Group, file: str) -> bool:
        return inputs.is_there(os.path.join(group.table.document.project.root, file))

    def _read(self, group: Group) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
        assert group.lines is not None
        where = dotted((*group.place, "lines"))
        file = group.lines
        try:
            text = read_text(Path(group.table.document.project.root, file), MAX_LINES_FILE)
        except UnreadableError as error:
            remedy = error.remedy or ("" if group.makers else "write it, or let a stage have it as a target")
            return (), (Problem(file, error.line, error.column, where, error.text, remedy),)
        items: dict[str, None] = {}
        problems = []
        for number, line in enumerate(text.splitlines(), 1):
            item = line.strip()
            if item and not item.startswith("#"):
                items[item] = None
                problems += [Problem(file, number, 1, where, *fault)] if (fault := fault_of(item)) else []
        if not items:
            problems.append(Problem(file, 1, 1, where, "holds no item", "write one on each line"))
        return tuple(items), tuple(problems)

    # -- what is wrong with it

    def _report(self, made: KnownTargets) -> None:
        for group in self.groups.values():
            if group.lines is not None and group._read is not None and group.items is not None:
                for problem in group._read[1]:
                    group.table.document.findings.put(problem)
                if group._read[1]:
                    group.items = None  # what hangs on them is not to be blamed
            if group.globs and group.items is not None:
                self._report_files(group, made)

    def _report_files(self, group: Group, made: KnownTargets) -> None:
        place = (*group.place, "glob")
        if not group.items:
            text = f"{listed(group.globs)} matches no file and no target of another stage"
            group.complain(place, text, "a foreach needs an item")
            group.items = None
            return
        good = []
        for item in group.items or ():
            if fault := fault_of(item):
                group.complain(place, fault[0], f"{fault[1]}; rename the file, or let the glob leave it out")
            else:
                good.append(item)
        group.items = tuple(good)
        own = f"{group.name}:"
        project = group.table.document.project
        found = {path: name for glob in group.globs for path, name in made.all.found(glob).items()}
        for path in sorted(path for path, name in found.items() if made.makers[name].startswith(own)):
            maker = made.makers[found[path]]
            if maker != own + project.local(path):  # else it is the item itself, changed in place
                text = f"{show(path)} is made by {show(maker)}, and would be an item of the next run"
                group.complain(place, text, "let the glob find other files than the targets")
                break


def fault_of(item: str) -> tuple[str, str] | None:
    """Why a text can't be an item, and what to do."""
    rules = schema.schema()["$defs"]["item"]
    if re.fullmatch(rules["pattern"].strip("^$"), item):
        return None
    return f"{show(item)} is not an item", rules["$comment"]
