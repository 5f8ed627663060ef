"""orchestrate.toml, and those that it includes, as tables of stages: each with the file that it stands in.

A stage with `orchestrate = "sub/orchestrate.toml"` stands for all of that file's, whose names then begin with its own.
Paths of an included file start from its folder and stay in it, so no file can include one that includes it.
"""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dodo_claude import locate, schema
from dodo_claude.errors import ConfigError, Problem
from dodo_claude.findings import Findings, listed, show
from dodo_claude.locate import KeyPath, Positions
from dodo_claude.paths import BadPathError, Project, is_glob
from dodo_claude.sources import UnreadableError, read_text

# A file of 20000 stages with prompts of their own is smaller; what is larger is no configuration.
MAX_FILE = 10_000_000
# Nothing of ours nests deeper than six; what does could exhaust the stack of whatever walks over it.
MAX_DEPTH = 32
# Files in files: what is deeper nobody finds his way in.
MAX_NESTING = 8
# The one name, so that each also works by itself, in its own folder.
NAME = "orchestrate.toml"
# What a table that stands for another file may say; the rest is for that file to say.
_SHARED = ("orchestrate", "after", "file_dep")
_TOO_DEEP = "lists or tables are nested too deeply"

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


@dataclass(frozen=True, slots=True)
class Document:
    """One file while a configuration is made of it."""

    values: Mapping[str, Any]
    findings: Findings
    project: Project  # as paths in this file mean it
    prefix: str = ""  # of its stages' names
    outer: tuple[Table, ...] = ()  # the tables that it stands for, the outermost first

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

    @property
    def full_name(self) -> str:
        """As doit knows it."""
        return self.document.prefix + self.name

    @property
    def place(self) -> KeyPath:
        """In its file."""
        return ("stages", self.name)

    @property
    def targets(self) -> list[str]:
        """The templates of its targets."""
        return [target for target in self.values.get("targets") or () if target is not None]


def read(path: Path) -> File:
    """A file and all that it includes. ConfigError when the file itself can't be read."""
    values, positions = _parsed(path.name, _text(path, path.name))
    file = File(path.name, values, positions, Findings(path.name, positions))
    schema.judge(values, file.findings)
    root = os.path.realpath(path.parent)
    _include(file, root, 0)
    return file


def _include(file: File, root: str, depth: int) -> None:
    for name, table in (file.values.get("stages") or {}).items():
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
            file.included[name] = _included(file, (*place, "orchestrate"), table["orchestrate"], root, depth)


def _included(outer: File, place: KeyPath, value: str, root: str, depth: int) -> File | None:
    try:
        name = Project(root, outer.base).file(value)
        _judge(name, value, outer, depth)
        text = _text(Path(root, name), name)
        values, positions = _parsed(name, text)
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
    _include(file, root, depth + 1)
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

    @classmethod
    def of(cls, file: File, root: str) -> Documents:
        """Taken apart anew: what is found in one is not in another."""
        self = cls(Document(file.values, file.findings.copy(), Project(root)))
        self._add(self.main, file)
        return self

    def _add(self, document: Document, file: File) -> None:
        self.all.append(document)
        for name, values in (file.values.get("stages") or {}).items():
            table = Table(name, values or {}, document)
            if name not in file.included:
                self.tables.append(table)
                continue
            self.includes.append(table)
            included = file.included[name]
            if included is None:
                self.faulty.append(table.full_name)
            else:
                self._add(document.inside(included, table), included)


def files(file: File) -> Iterator[File]:
    """All files that it includes, each before those that it includes itself."""
    for included in file.included.values():
        if included is not None:
            yield included
            yield from files(included)


def _text(path: Path, name: str) -> str:
    try:
        return read_text(path, MAX_FILE)
    except UnreadableError as error:
        problem = Problem(name, error.line, error.column, "", error.text, error.remedy)
        raise ConfigError((problem,)) from None


def _parsed(file: str, text: str) -> tuple[dict[str, Any], Positions]:
    try:
        document = tomllib.loads(text)
    except RecursionError:
        raise ConfigError((Problem(file, 1, 1, "", _TOO_DEEP),)) from None
    except ValueError as error:  # TOMLDecodeError is one, and a number of 5000 digits gives a plain one
        line, column, message = locate.syntax_error(error, text)
        message = _TABLE.sub(_dotted_name, message[:1].lower() + message[1:])
        remedy = next((remedy for start, remedy in _REMEDIES if message.startswith(start)), "")
        raise ConfigError((Problem(file, line, column, "", message, remedy),)) from None
    positions = locate.locate(text)
    if len(deepest := positions.deepest()) > MAX_DEPTH:
        raise ConfigError((Problem(file, *positions.of(deepest), "", _TOO_DEEP),))
    return document, positions


def _dotted_name(found: re.Match[str]) -> str:
    return ".".join(re.findall(r"'(.*?)'", found[0]))
