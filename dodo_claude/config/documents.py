"""orchestrate.toml, and those that it includes, as tables of stages: each with the file that it stands in.

A stage with `plan = FILE` is a planner, NAME:plan; the stages that it writes become NAME:STAGE, and NAME all of them. They
are known once the file is there: see plans.py.

A stage with `orchestrate = "sub/orchestrate.toml"` stands for all of that file's, whose names then begin with its own.
Paths of an included file start from its folder and stay in it, so no file can include one that includes it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dodo_claude.config import inputs, locate, schema, shape
from dodo_claude.config.findings import Findings, listed, show
from dodo_claude.config.locate import KeyPath, Positions
from dodo_claude.config.paths import BadPathError, Project, is_glob
from dodo_claude.config.sources import UnreadableError, read_text
from dodo_claude.text.errors import ConfigError, Problem

# A file of 12000 stages with prompts of their own is smaller; what is larger is no configuration.
MAX_FILE = 10_000_000
# Files in files: what is deeper nobody finds his way in.
MAX_NESTING = 8
# The one name, so that each also works by itself, in its own folder.
NAME = "orchestrate.toml"
# What a table that stands for another file may say; the rest is for that file to say.
_SHARED = ("orchestrate", "after", "file_dep")
# What follows a table's name in that of its planner.
PLANNER = "plan"
# Of a stage's keys those that a planner has no use for.
_NOT_OF_PLANNERS = ("command", "phases", "orchestrate", "targets", "foreach", "allow_unchanged")

_REMEDIES = (  # of what tomllib says, which is the fact only
    ("cannot declare", "a table is given once: put all its keys together"),
    ("cannot overwrite", "a key is given once in its table"),
    ("cannot mutate", "a key is given once in its table"),
    ("duplicate inline table key", "a key is given once in its table"),
    ("invalid value", "a text needs quotes around it"),
    ("illegal character '\\n'", 'a text over several lines is written """like this"""'),
    ("expected '=' after a key", "a line is key = value, a table [name]"),
    ("unterminated string", "a quote is missing"),
    ("unclosed array", "a ] is missing, or a comma"),
)


# How tomllib names a table: as the tuple of its names.
_TABLE = re.compile(r"\('.*?',?\)")


@dataclass(slots=True)
class File:
    """One file as it was read. What was wrong with its form is in `findings`, and taken out of `values`."""

    name: str  # relative to the outermost one's folder
    values: dict[str, Any]
    positions: Positions
    findings: Findings
    base: str = ""  # its folder, relative to the outermost one's
    included: dict[str, File | None] = field(default_factory=dict)  # by its table's name; None: it is faulty
    plans: dict[str, str | None] = field(
        default_factory=dict
    )  # by its table's name the file; None: it is faulty
    digest: str | None = None  # of a plan's bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One file while a configuration is made of it."""

    values: Mapping[str, Any]
    findings: Findings
    project: Project  # as paths in this file mean it
    prefix: str = ""  # of its stages' names
    outer: tuple[Table, ...] = ()  # the tables that it stands for, the outermost first
    planner: Table | None = None  # who wrote it

    def planned(self, file: File, table: Table) -> Document:
        """The document of a plan: its paths start where this one's do."""
        findings = self.findings.of_file(file.name, file.positions)
        for problem in file.findings.problems:
            findings.put(problem)
        return Document(
            file.values, findings, self.project, f"{table.full_name}:", self.outer, table.by_planner
        )

    def inside(self, file: File, table: Table) -> Document:
        """The document of a file that a table of this one includes."""
        findings = self.findings.of_file(file.name, file.positions)
        project = Project(self.project.root, file.base)
        return Document(file.values, findings, project, f"{table.full_name}:", (*self.outer, table))


@dataclass(frozen=True, slots=True)
class Table:
    """What a file says of one stage or group of them."""

    name: str  # in its file
    values: Mapping[str, Any]
    document: Document
    is_planner: bool = False

    @property
    def full_name(self) -> str:
        """As doit knows it."""
        return self.document.prefix + self.local_name

    @property
    def local_name(self) -> str:
        """As its file knows it."""
        return f"{self.name}:{PLANNER}" if self.is_planner else self.name

    @property
    def by_planner(self) -> Table:
        """The planner's own part of a table that stands for its plan, too."""
        return replace(self, is_planner=True)

    @property
    def place(self) -> KeyPath:
        """In its file."""
        return ("stages", self.name)

    @property
    def targets(self) -> list[str]:
        """The templates of its targets."""
        if self.is_planner:
            return [self.values["plan"]] if self.values.get("plan") else []
        return [target for target in self.values.get("targets") or () if target is not None]


def read(path: Path) -> File:
    """A file and all that it includes. ConfigError when the file itself can't be read."""
    values, positions = parsed(path.name, text_of(path, path.name))
    file = File(path.name, values, positions, Findings(path.name, positions))
    schema.judge(values, file.findings)
    root = inputs.real(str(path.parent))
    _include(file, root, 0)
    return file


def _include(file: File, root: str, depth: int) -> None:
    project = Project(root, file.base)
    for name, table in (file.values.get("stages") or {}).items():
        if isinstance(table, dict) and "plan" in table:
            file.plans[name] = _plan(file, name, table, project)
            continue
        if not isinstance(table, dict) or "orchestrate" not in table:
            continue
        place = ("stages", name)
        for key in [key for key in table if key not in _SHARED]:
            remedy = f"it stands for other stages, and has {listed(_SHARED)} only"
            if key not in schema.WORK:  # that was said of these already
                file.findings.add((*place, key), "has no meaning here", remedy, key=True)
            del table[key]
        file.included[name] = None
        if table["orchestrate"] is not None:
            file.included[name] = _included(
                file, (*place, "orchestrate"), table["orchestrate"], project, depth
            )


def _plan(file: File, name: str, table: dict[str, Any], project: Project) -> str | None:
    """The file that a planner writes; what its table may not say is reported and taken out."""
    place = ("stages", name)
    for key in [key for key in _NOT_OF_PLANNERS if key in table]:
        if "prompt" in table or "prompt_file" in table or key not in schema.WORK:
            remedy = "what it makes is the plan" if key == "targets" else "the stages of its plan may have it"
            if key not in schema.WORK:  # that was said of these already
                file.findings.add((*place, key), "has no meaning in a planner", remedy, key=True)
        else:
            file.findings.add((*place, key), "a planner has a prompt or a prompt_file", key=True)
        del table[key]
    value = table["plan"]
    if value is None:
        return None
    try:
        path = project.target(value)
        if not path.endswith(".toml") or posixpath.basename(path) == NAME or is_glob(path) or "{" in path:
            raise BadPathError(f"{show(value)} is not a plan's name", "such as 'orchestrate.generated.toml'")
    except BadPathError as bad:
        file.findings.add((*place, "plan"), bad.text, bad.remedy)
        table["plan"] = None
        return None
    return path


def _included(outer: File, place: KeyPath, value: str, project: Project, depth: int) -> File | None:
    try:
        name = project.file(value)
        _judge(name, value, outer, depth)
        text = text_of(Path(project.root, name), name)
        values, positions = parsed(name, text)
    except BadPathError as bad:
        outer.findings.add(place, bad.text, bad.remedy)
        return None
    except ConfigError as error:
        for problem in error.problems:
            if problem.text == "no such file":
                outer.findings.add(place, f"{show(value)}: no such file")
            else:
                outer.findings.put(problem)
        return None
    findings = outer.findings.of_file(name, positions)
    file = File(name, values, positions, findings, posixpath.dirname(name))
    schema.judge(values, findings)
    _include(file, project.root, depth + 1)
    return file


def _judge(name: str, value: str, outer: File, depth: int) -> None:
    """BadPathError for a file that can't be included."""
    if posixpath.basename(name) != NAME or posixpath.dirname(name) == outer.base:
        raise BadPathError(
            f"{show(value)} is not an {NAME} in a folder of its own",
            f"such as 'sub/{NAME}': its paths start there",
        )
    if is_glob(name):
        raise BadPathError(f"{show(value)} has a sign of a glob in it", "give its folder a plain name")
    if depth >= MAX_NESTING:
        raise BadPathError(
            f"{show(value)} is included too deeply", f"at most {MAX_NESTING} files in each other"
        )


@dataclass(slots=True)
class Documents:
    """A file and all that it includes, taken apart: each problem of theirs ends in one place."""

    main: Document
    all: list[Document] = field(default_factory=list)
    tables: list[Table] = field(
        default_factory=list
    )  # of stages; an included file's where its own table stands
    includes: list[Table] = field(default_factory=list)  # those that stand for a file
    faulty: list[str] = field(default_factory=list)  # full names of those whose file can't be used
    plans: list[tuple[Table, str, File | None]] = field(default_factory=list)  # None: not known yet

    @classmethod
    def of(cls, file: File, root: str, planned: Callable[[str, str], File | None]) -> Documents:
        """Taken apart anew: what is found in one is not in another. `planned` has a group's plan, if it is known."""
        self = cls(Document(file.values, file.findings.copy(), Project(root)))
        self._add(self.main, file, planned)
        return self

    def _add(self, document: Document, file: File, planned: Callable[[str, str], File | None]) -> None:
        self.all.append(document)
        for name, values in (file.values.get("stages") or {}).items():
            table = Table(name, values or {}, document)
            if name in file.plans:
                self.tables.append(table.by_planner)
                self._add_plan(table, file.plans[name], planned)
                continue
            if name not in file.included:
                self.tables.append(table)
                continue
            self.includes.append(table)
            included = file.included[name]
            if included is None:
                self.faulty.append(table.full_name)
            else:
                self._add(document.inside(included, table), included, planned)

    def _add_plan(self, table: Table, path: str | None, planned: Callable[[str, str], File | None]) -> None:
        if path is None:
            self.faulty.append(table.full_name)
            return
        file = planned(table.full_name, path)
        self.plans.append((table, path, file))
        if file is not None:
            document = table.document.planned(file, table)
            self.all.append(document)
            stages = file.values.get("stages") or {}
            self.tables += [Table(name, values or {}, document) for name, values in stages.items()]


def files(file: File) -> Iterator[File]:
    """All files that it includes, each before those that it includes itself."""
    for included in file.included.values():
        if included is not None:
            yield included
            yield from files(included)


def text_of(path: Path, name: str) -> str:
    try:
        return read_text(path, MAX_FILE, always=True)
    except UnreadableError as error:
        problem = Problem(name, error.line, error.column, "", error.text, error.remedy)
        raise ConfigError((problem,)) from None


def parsed(file: str, text: str) -> tuple[dict[str, Any], Positions]:
    try:
        return shape.loads(text), locate.locate(text)
    except ValueError as error:  # TOMLDecodeError is one
        line, column, message = locate.syntax_error(error, text)
        message = _TABLE.sub(_dotted_name, message[:1].lower() + message[1:])
        remedy = next((remedy for start, remedy in _REMEDIES if message.startswith(start)), "")
        raise ConfigError((Problem(file, line, column, "", message, remedy),)) from None


def _dotted_name(found: re.Match[str]) -> str:
    return ".".join(re.findall(r"'(.*?)'", found[0]))
