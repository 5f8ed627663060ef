"""Paths that a configuration names: inside the project or refused, and globs. Owns that rule; reads no file.

Every path leaves here relative to the project, normalised, with `/`, so that two spellings of a file are equal.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import itertools
import os
import posixpath
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

from dodo_claude.config import inputs
from dodo_claude.config.findings import show
from dodo_claude.text.numbers import grouped

# Folders whose files are not a stage's to make: our own state, and what decides which code git runs.
RESERVED = (".orchestrate", ".git")

# doit's own commands print names as they are: none may act on a terminal, or turn the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MAGIC = re.compile(r"[*?\[]")
_MAGIC_OR_SLASH = re.compile(r"[*?/]|\[.*")

# So many files are looked through for what somebody may have meant.
SOME = 5000

# So many paths are tried on all globs of one load: 2000 globs on 10000 paths, say, that begin like each of them. And what a
# match, in steps by its length, is beside a look for a text in a path. Of files on disk ten count as one: that there are many
# is no fault of the file's.
MOST_TRIED = 20_000_000
A_MATCH = 50
ON_DISK = 10

Matcher = Callable[[str], object]

_tried: ContextVar[list[int] | None] = ContextVar("_tried", default=None)


@contextlib.contextmanager
def trying() -> Iterator[None]:
    """What globs are tried on inside of this is counted."""
    token = _tried.set([0])
    try:
        yield
    finally:
        _tried.reset(token)


def tried_too_much() -> bool:
    """Has it come to more than a load may take? Who asks has a place for it."""
    count = _tried.get()
    return count is not None and count[0] > MOST_TRIED


def too_much(pattern: str) -> tuple[str, str]:
    """That in words, and what to do."""
    most = grouped(MOST_TRIED)
    text = f"with {show(pattern)} the globs of this file are tried on too many paths: {most} in all, a match counted as {A_MATCH}, a file on disk as a tenth"
    return text, "begin the globs with folders of their own"


class BadPathError(Exception):
    """A path that must not be used; `text` says why, `remedy` what to do."""

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy


def normal(path: str) -> str:
    """The one spelling of a path; BadPathError when its text alone shows that it leaves the project."""
    if _CONTROL.search(path):
        raise BadPathError(f"{show(path)} holds a control character")
    if not path.strip():
        raise BadPathError("the path is empty")
    if path.startswith("~"):
        raise BadPathError(
            f"{show(path)} is outside the project", "'~' is not expanded; use a path relative to the project"
        )
    if path.startswith("/"):
        raise BadPathError(f"{show(path)} is outside the project", "use a path relative to the project")
    if ".." in path.split("/"):
        raise BadPathError(f"{show(path)} has '..' in it", "use a path that stays below the project's folder")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise BadPathError(f"{show(path)} can't be the name of a file here") from None
    return posixpath.normpath(path)


def is_utf8(path: str) -> bool:
    """False for a file's name of other bytes, which no text file can hold as it is."""
    return not any("\ud800" <= sign <= "\udfff" for sign in path)


def is_glob(path: str) -> bool:
    return _MAGIC.search(path) is not None


class Project:
    """The project's folder, asked about many paths; remembers what it saw, so make one for each load.

    `base`, relative to it, is where paths start and what they stay in; what is given back is relative to the root.
    """

    def __init__(self, root: str, base: str = "") -> None:
        self.root = inputs.real(root)
        self.base = base
        self._folders: dict[str, str] = {"": self.root}
        self._reals: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._trees: dict[tuple[str, int, bool], list[str]] = {}

    def inside(self, path: str) -> str:
        """`path` normalised, when it stays in the project after all symbolic links; else BadPathError."""
        found = normal(path)
        if self.base:
            found = posixpath.normpath(posixpath.join(self.base, found))
        real = self.real(found)
        folder = self.real(self.base) if self.base else self.root
        if real != folder and not real.startswith(folder.rstrip("/") + "/"):
            raise BadPathError(
                f"{show(path)} leads outside the project through a symbolic link",
                "keep what the stages use below the project's folder",
            )
        return found

    def local(self, path: str) -> str:
        """A path that this gave, as a file in its folder writes it."""
        return path.removeprefix(f"{self.base}/") if self.base else path

    def file(self, path: str) -> str:
        """Like inside, for what must be a file if it is there."""
        found = self.inside(path)
        if path.endswith("/") or self._is_folder(found):
            folder = normal(path)
            raise BadPathError(
                f"{show(path)} is a folder",
                f"name its files, or use a glob such as {show(_files_of(folder))}",
            )
        return found

    def target(self, path: str) -> str:
        """Like inside, for a file that a stage makes."""
        found = self.inside(path)
        if path.endswith("/") or self._is_folder(found):
            raise BadPathError(
                f"{show(path)} is a folder", "a target is a file: name the files that the stage makes"
            )
        for place in {found, self.plain(found), self.local(found)}:
            folder = place.split("/", 1)[0]
            if folder.lower() in RESERVED:
                raise BadPathError(f"{show(path)} is inside {folder}", "no stage may make files there")
        return found

    def folder(self, path: str) -> str:
        """Like inside, for what must be a folder if it is there."""
        found = self.inside(path)
        full = os.path.join(self.root, found)
        if not inputs.is_folder(full) and inputs.is_there(full):
            raise BadPathError(f"{show(path)} is not a folder")
        return found

    def exists(self, path: str) -> bool:
        """Is there a file of that name, as a file in its folder writes it?"""
        return inputs.is_there(os.path.join(self.root, self.base, path))

    def files(self, pattern: str) -> list[str]:
        """The project's files that a glob finds; hidden ones only where the pattern names the dot itself.

        Folders behind symbolic links are not entered unless the pattern names them, so a loop of links ends.
        """
        parts = pattern.split("/")
        fixed = next(index for index, part in enumerate(parts) if is_glob(part))
        depth = -1 if "**" in parts else len(parts) - fixed
        hidden = any(part.startswith(".") for part in parts[fixed:])
        key = ("/".join(parts[:fixed]), depth, hidden)
        if key not in self._trees:
            self._trees[key] = sorted(self._walk(*key))
        return [path for path in matching(pattern, self._trees[key]) if self._usable(path)]

    def some_files(self) -> list[str]:
        """Files of the project that somebody may have meant: not the hidden ones, nor those of a very large one."""
        return list(itertools.islice(self._walk("", -1, False), SOME))

    def _walk(self, folder: str, depth: int, hidden: bool) -> Iterator[str]:
        waiting = [(folder, depth)]
        while waiting:
            below, left = waiting.pop()
            for name, is_folder in inputs.entries(os.path.join(self.root, below)):
                path = posixpath.join(below, name) if below else name
                if name.startswith(".") and (not hidden or (not below and name in RESERVED)):
                    continue
                if is_folder:
                    if left != 1:
                        waiting.append((path, left - 1))
                else:
                    yield path

    def _usable(self, path: str) -> bool:
        """False for what is no plain file, or a link to one outside."""
        try:
            self.inside(path)
            return inputs.is_regular(os.path.join(self.root, path))
        except BadPathError:
            return False

    def real(self, path: str) -> str:
        """The real path of a normalised one: two names of one file have the same. Each is looked up once."""
        found = self._reals.get(path)
        if found is None:
            found = self._reals[path] = self._real(path)
        return found

    def plain(self, path: str) -> str:
        """The name of the same file that has no link in it."""
        real = self.real(path)
        return real[len(self.root.rstrip("/")) + 1 :] or "."

    def plain_glob(self, pattern: str) -> tuple[str, str, str]:
        """A glob without links in the folder that it begins with; that folder, and how the glob itself names it."""
        parts = pattern.split("/")
        fixed = "/".join(parts[: next(index for index, part in enumerate(parts) if is_glob(part))])
        plain = self.plain(fixed) if fixed else ""
        return pattern if plain == fixed else plain + pattern[len(fixed) :], plain, fixed

    def once(self, paths: Iterable[str]) -> list[str]:
        """Of several names of a file one: that without a link if it is among them. Sorted."""
        kept: dict[str, str] = {}
        for path in sorted(paths):
            real = self.real(path)
            if real not in kept or path == self.plain(path):
                kept[real] = path
        return sorted(kept.values())

    def _real(self, path: str) -> str:
        folder, _, name = path.rpartition("/")  # a normalised one has a slash only between two names
        full = os.path.join(self._folder(folder), name)
        if name != ".":
            self._kinds[path] = inputs.kind(full)
        return inputs.real(full) if self._kinds.get(path, inputs.LINK) == inputs.LINK else full

    def _folder(self, folder: str) -> str:
        """The real path of a normalised folder. Each of those around it is looked at once."""
        unknown = []
        while folder not in self._folders:
            unknown.append(folder)
            folder = folder.rpartition("/")[0]
        real = self._folders[folder]
        for folder in reversed(unknown):
            real = self._folders[folder] = inputs.real_in(real, folder.rpartition("/")[2])
        return real

    def _is_folder(self, path: str) -> bool:
        """Is it a folder, or a link to one? What its real path was sought by says so, unless it is a link."""
        kind = self._kinds.get(path, inputs.LINK)
        return kind == inputs.FOLDER or (
            kind == inputs.LINK and inputs.is_folder(os.path.join(self.root, path))
        )


def escaped(path: str) -> str:
    """The glob that finds the file of exactly that name."""
    return _MAGIC.sub(lambda sign: f"[{sign[0]}]", path)


def literal(pattern: str) -> str | None:
    """The one path that a glob can find; None: it may find others."""
    path = re.sub(r"\[([*?[])\]", r"\1", pattern)
    return path if escaped(path) == pattern else None


class Made:
    """Files that stages make, whether they are there or not, asked by globs: by the names that the stages give them, and
    by those that have no link in them."""

    def __init__(self, project: Project, names: Iterable[str]) -> None:
        self._project = project
        self._names = sorted(set(names))
        plain = {project.plain(name): name for name in self._names}
        self._plain = None if [*plain] == self._names else dict(sorted(plain.items()))
        self._plain_names = list(self._plain or self._names)
        self._backwards = sorted(name[::-1] for name in self._names)
        self._plain_backwards = (
            sorted(name[::-1] for name in self._plain_names) if self._plain else self._backwards
        )

    def found(self, pattern: str) -> dict[str, str]:
        """What a glob finds, as it names it, with the name that was given here."""
        found = {name: name for name in matching(pattern, self._names, self._backwards)}
        plain, there, here = self._project.plain_glob(pattern)
        if self._plain is None and there == here:
            return found
        for path in matching(plain, self._plain_names, self._plain_backwards):
            name = here + path[len(there) :]
            found.setdefault(name, self._plain[path] if self._plain is not None else path)
        return found


def matcher(pattern: str, *, hidden: bool = False) -> Callable[[str], bool]:
    """A question for paths: does the glob match? `**` as a whole part stands for any number of folders.

    `hidden`: names that begin with a dot are as others.

    Walks over all states at once, so that no pattern takes exponential time.
    """
    parts = [None if part == "**" else _part_matcher(part) for part in pattern.split("/")]
    dotted = [part.startswith(".") for part in pattern.split("/")]

    def matches(path: str) -> bool:
        states = _skipping(parts, {0})
        for name in path.split("/"):
            after: set[int] = set()
            for state in states - {len(parts)}:
                part = parts[state]
                if not hidden and name.startswith(".") and not dotted[state]:
                    continue
                if part is None:
                    after.add(state)
                elif part(name):
                    after.add(state + 1)
            states = _skipping(parts, after)
        return len(parts) in states

    return matches


@functools.lru_cache(maxsize=1024)
def _part_matcher(part: str) -> Matcher:
    """For one name. Stars alone need no regular expression, which of hundreds of them takes long to be made."""
    if part == "*":
        return lambda _name: True
    if "?" in part or "[" in part:
        return re.compile(fnmatch.translate(part)).match
    if "*" not in part:
        return part.__eq__
    first, *middle, last = part.split("*")

    def matches(name: str) -> bool:
        at, end = len(first), len(name) - len(last)
        if at > end or not name.startswith(first) or not name.endswith(last):
            return False
        for text in middle:
            found = name.find(text, at, end)
            if found < 0:
                return False
            at = found + len(text)
        return True

    return matches


def matching(pattern: str, paths: list[str], backwards: list[str] | None = None) -> list[str]:
    """Which of `paths` (sorted) a glob matches; only those are tried that begin like it, or else that end like it.

    `backwards`: the same paths, each from its end, sorted.
    """
    start = min(pattern.find(mark) for mark in "*?[" if mark in pattern)
    end = max(pattern.rfind(mark) for mark in "*?]") + 1
    suffix = pattern[end:]
    if pattern[:end].endswith("**"):  # which stands for nothing, too
        suffix = suffix.removeprefix("/")
    near = _beginning(pattern[:start], paths)
    if backwards is not None and suffix and len(near) > 1:
        ending = _beginning(suffix[::-1], backwards)
        if len(ending) < len(near):
            near = sorted(path[::-1] for path in ending)
    text, count = _text_of(pattern[start:end]), _tried.get()
    like = [path for path in near if text in path and path.endswith(suffix)]
    if count is not None:
        count[0] += (len(near) + A_MATCH * len(like)) // (ON_DISK if backwards is None else 1)
    matches = matcher(pattern) if like else None  # not made for a glob that finds nothing
    return [path for path in like if matches is not None and matches(path)]


def _text_of(pattern: str) -> str:
    """The longest text that surely is in all that a glob, or a part of one, finds."""
    return max(_MAGIC_OR_SLASH.split(pattern), key=len)


def _beginning(start: str, paths: list[str]) -> list[str]:
    return paths[bisect_left(paths, start) : bisect_right(paths, start, key=lambda path: path[: len(start)])]


def _skipping(parts: list[Matcher | None], states: Iterable[int]) -> set[int]:
    """The states with those added that `**` reaches by standing for nothing."""
    reached = set(states)
    for index, part in enumerate(parts):
        if part is None and index in reached:
            reached.add(index + 1)
    return reached


def _files_of(folder: str) -> str:
    return "**" if folder == "." else f"{folder}/**"
