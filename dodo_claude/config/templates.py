"""Templates as Jinja2 has them: which texts are some, in which environment they are compiled, and how one that fails is told
of. With language.py, which says how much of Jinja2 a template may use, and uses.py the only importer of it, and only when
it is needed.
"""

from __future__ import annotations

import functools
import posixpath
import re
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dodo_claude.config import language
from dodo_claude.text.clean import one_line
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from jinja2 import Environment, Template


_JINJA = re.compile(r"\{[{%#]")


# What becomes of a value that is put in: it stays as it is, is quoted for a shell, or stands between two marks that no
# prompt can hold, since the client takes no control characters.
PLAIN, QUOTED, MARKED = "plain", "quoted", "marked"


BEGIN, END = "\x02", "\x03"


UNMARKED = {ord(BEGIN): None, ord(END): None}


# All that most templates use of jinja2; not importing it saves more time than reading a small configuration takes.
SIMPLE = re.compile(r"(?<!\{)\{\{[ \t]*(item|stage)(?:[ \t]*\|[ \t]*(stem|name|parent))?[ \t]*\}\}")


# An expression whose texts hold no braces, and that takes no white space away around it; nor has it a sign of which jinja2
# would say where in the whole template it stands.
_EXPRESSION = re.compile(
    r"""(?<!\{)\{\{(?![-+])(?:[A-Za-z0-9_ .,|~+*/()\[\]:=<>-]|'[^'\\{}\r\n]*'|"[^"\\{}\r\n]*")*+(?<![-+])\}\}"""
)


def _stem(path: object) -> str:
    return posixpath.splitext(_name(path))[0]


def _name(path: object) -> str:
    return posixpath.basename(str(path))


def _parent(path: object) -> str:
    return posixpath.dirname(str(path)) or "."


# Parts of a path: of src/a.py a, a.py and src.
FILTERS: Mapping[str, Callable[[object], str]] = {"stem": _stem, "name": _name, "parent": _parent}


def is_template(source: str) -> bool:
    """False for a text that means itself."""
    return _JINJA.search(source) is not None


def core_of(source: str) -> tuple[str, str, str]:
    """What is before the one expression of a template of one line, that expression, and what is behind it: jinja2 has no
    need of the others. Of any other template all is its core."""
    found = _EXPRESSION.search(source)
    if found is None or "\n" in source or "\r" in source:
        return "", source, ""
    before, behind = source[: found.start()], source[found.end() :]
    if is_template(before) or is_template(behind):
        return "", source, ""
    return before, found[0], behind


def is_simple(source: str) -> bool:
    # jinja2 would make \r\n a \n: leave that to it, so that both ways say the same.
    return "\r" not in source and not is_template(SIMPLE.sub("_", source))


def rendered_by(template: Template, values: Mapping[str, str | None], tables: Mapping[str, object]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    try:
        with language.metered():
            return template.render(**given, **tables)
    except Exception as error:  # an expression of the user's may raise whatever Python has
        raise not_rendered(error) from error


def not_rendered(error: Exception) -> DodoClaudeError:
    lines = [
        at for frame, at in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"
    ]
    place = f"line {lines[-1]}: " if lines and lines[-1] > 1 else ""
    return DodoClaudeError(one_line(f"the template can't be rendered: {place}{lowered(str(error))}"))


def put_in(value: str, how: str) -> str:
    if how == MARKED:
        return f"{BEGIN}{value.translate(UNMARKED)}{END}"
    return shlex.quote(value) if how == QUOTED else value


class Table:
    """Names and their values, and nothing else: a dict would answer `stages.items` with a method."""

    __slots__ = ("_name", "_values")

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self._name = name
        self._values = dict(values)

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __str__(self) -> str:
        return self._name


class TextsByPath(Table):
    """Texts by path, however the template spells the path."""

    __slots__ = ("_globs",)

    def __init__(self, texts: Mapping[str, str], globs: Mapping[str, Sequence[str]]) -> None:
        super().__init__("files", texts)
        self._globs = dict(globs)

    def __getitem__(self, name: str) -> object:
        return super().__getitem__(posixpath.normpath(name))

    def glob(self, pattern: str) -> list[tuple[str, object]]:
        """Called by a template: each path that the glob found, with its text."""
        return [(path, self[path]) for path in self._globs[posixpath.normpath(pattern)]]


@functools.cache
def environment_for(how: str = PLAIN) -> Environment:
    from jinja2 import StrictUndefined

    class Undefined(StrictUndefined):
        __slots__ = ()

        @property
        def _undefined_message(self) -> str:
            of, name = self._undefined_obj, self._undefined_name
            return f"{of} has no {name!r}" if isinstance(of, Table) else str(super()._undefined_message)

    def finalize(value: object) -> object:
        # What comes out is quoted and not what goes in: a filter could take the quotes apart.
        return value if how == PLAIN else put_in(str(value), how)

    environment = language.environment(finalize, Undefined, {TextsByPath: frozenset({"glob"})})
    environment.filters.update(FILTERS)
    return environment


@functools.lru_cache(maxsize=1024)
def compiled(source: str, how: str) -> Template:
    from jinja2 import Template

    language.count_reading(2)
    environment = environment_for(how)
    with language.metered():
        return Template.from_code(environment, environment.compile(language.parsed(environment, source)), {})


def lowered(text: str) -> str:
    """A library's message in the manner of ours."""
    return (text[:1].lower() + text[1:]).rstrip(".")
