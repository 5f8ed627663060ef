"""What a template uses: names, files, globs, other stages' messages. The graph hangs on it.

Rule that this file keeps: a template reads plain names of a fixed table: item, stage, files['path'], files.glob('a/*.md'),
stages.NAME.message, env.NAME, report. Those of stages and env are written out, those of files too or made of `item` and
`stage` alone, so that the graph can be known before anything runs.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dodo_claude.config import language
from dodo_claude.config.templates import (
    SIMPLE,
    core_of,
    environment_for,
    is_simple,
    is_template,
    lowered,
    rendered_by,
)

if TYPE_CHECKING:
    from jinja2 import Template, nodes


PROMPT_NAMES = ("item", "stage", "files", "stages", "env", "report")


VALUE_NAMES = ("item", "stage")


LITERAL = "write literal braces as {% raw %}{{ }}{% endraw %}"


TABLES = ("files", "stages", "env")


_GLOB = "files.glob needs a literal pattern, such as files.glob('summaries/*.md')"


# Names that jinja2 gives to every template: into its own works, which are not in the table of names.
_BUILT_IN = ("self", "super")


# And what most prompts look up besides: reading it needs none of jinja2.
_TEXT = r"""(?:'[^'\\\r\n{}]+'|"[^"\\\r\n{}]+")"""


_WORD = "[A-Za-z_][A-Za-z0-9_]*"


_LOOKED_UP = re.compile(
    rf"(?<!\{{)\{{\{{[ \t]*(?:(?P<value>item|stage)(?:[ \t]*\|[ \t]*(?:stem|name|parent))?|(?P<report>report)"
    rf"|files\[(?P<files>{_TEXT})\]|env\.(?P<env>{_WORD})"
    rf"|stages(?:\.(?P<stages>{_WORD})|\[(?P<quoted>{_TEXT})\])\.message)[ \t]*\}}\}}"
)


class Made:
    """A path that a template makes of its item and stage: it is another for each item."""

    def __init__(self, expression: nodes.Expr, line: int) -> None:
        self.line = line
        self._expression = expression
        self._template: Template | None = None

    def of(self, item: str | None, stage: str) -> str:
        """The path for one item; DodoClaudeError when it can't be made."""
        if self._template is None:
            from jinja2 import Template, nodes

            tree = nodes.Template([nodes.Output([self._expression], lineno=1)], lineno=1)
            environment = environment_for()
            tree.set_environment(environment)
            self._template = Template.from_code(environment, environment.compile(tree), {})
        return rendered_by(self._template, {"item": item, "stage": stage}, {})


@dataclass(frozen=True, slots=True)
class Uses:
    """What a template uses. Lines count from 1 in the template."""

    files: tuple[str, ...] = ()  # as written, not normalised
    stages: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    report: bool = False
    undefined: tuple[tuple[str, int], ...] = ()
    error: tuple[str, int] | None = None
    lines: tuple[
        tuple[str, str, int], ...
    ] = ()  # (files | globs | stages | env | report, name, line) of each use
    globs: tuple[str, ...] = ()  # of files.glob('…'), as written
    made: tuple[tuple[str, Made], ...] = field(default=(), compare=False)  # (files | globs, how) of each use

    def line(self, table: str, name: str) -> int:
        """The first line that uses a name of `files`, `globs`, `stages` or `env`; of `report` the name is ''."""
        return min((line for kind, used, line in self.lines if (kind, used) == (table, name)), default=1)


def analyse(source: str, *, known: tuple[str, ...] = PROMPT_NAMES) -> Uses:
    """What a template uses; any fault of its own is in `error` or `undefined`, nothing is raised."""
    if not is_template(source):
        return Uses()
    try:
        return _analysed(core_of(source)[1], known)
    except language.TooMuchError as error:  # which hangs on what was read before, and is not remembered
        return Uses(error=(str(error), 1))


@functools.lru_cache(maxsize=1024)  # every item of a foreach asks about the same texts
def _analysed(source: str, known: tuple[str, ...]) -> Uses:
    if is_simple(source):
        found, line, at = [], 1, 0
        for use in SIMPLE.finditer(source):
            line += source.count("\n", at, use.start())
            at = use.start()
            found.append((use[1], line))
        return Uses(undefined=_first_lines((name, line) for name, line in found if name not in known))
    if (uses := _looked_up(source, known)) is not None:
        return uses
    import jinja2

    language.count_reading()
    try:
        with language.metered():
            tree = language.parsed(environment_for(), source)
            free = _free(tree)
    except jinja2.TemplateSyntaxError as error:
        return Uses(error=(f"not a template: {lowered(error.message or '')} ({LITERAL})", error.lineno))
    except language.NotInLanguageError as error:
        return Uses(error=(f"not a template: {error.text} (README says what one may use)", error.line))
    return _Reading(tree, free, known).uses()


def _free(tree: nodes.Template) -> set[str]:
    """The names that a template takes from outside."""
    from jinja2 import meta, nodes

    environment = environment_for()
    own = next(tree.find_all((nodes.For, nodes.Assign, nodes.AssignBlock, nodes.With)), None)
    known = all(filter.name in environment.filters for filter in tree.find_all(nodes.Filter)) and all(
        test.name in environment.tests for test in tree.find_all(nodes.Test)
    )
    names = {name.name for name in tree.find_all(nodes.Name)}
    if own is None and known and "self" not in names:  # which is jinja2's own
        return names
    # Which names its own are, and where, and what is wrong with a filter, jinja2 says; that takes as long as reading it.
    language.count_reading()
    reader = meta.TrackingCodeGenerator(environment)
    reader.optimizer = None  # it would work out what can be known already, and fail where that fails
    reader.visit(tree)
    return set(reader.undeclared_identifiers)


def _looked_up(source: str, known: Collection[str]) -> Uses | None:
    """What a template of plain look-ups uses, as jinja2's reader would have it; None: there is more in it."""
    if "\r" in source or is_template(_LOOKED_UP.sub("_", source)):
        return None
    used: list[tuple[str, str, int]] = []
    undefined: list[tuple[str, int]] = []
    line, at, code = 1, 0, 0
    for found in _LOOKED_UP.finditer(source):
        line += source.count("\n", at, found.start())
        at = found.start()
        code += len(found[0])
        assert found.lastgroup is not None
        table = "stages" if found.lastgroup == "quoted" else found.lastgroup
        name = found[found.lastgroup]
        base = name if table == "value" else table
        if base not in known:
            undefined.append((base, line))
        elif table == "report":
            used.append((table, "", line))
        elif table != "value":
            used.append((table, name[1:-1] if name[0] in "\"'" else name, line))
    if code > language.MAX_CODE:  # which jinja2, that is to render it, would not read
        return None
    files, stages, env = (
        tuple(dict.fromkeys(name for kind, name, _ in used if kind == table)) for table in TABLES
    )
    report = any(kind == "report" for kind, _, _ in used)
    return Uses(files, stages, env, report, _first_lines(undefined), lines=tuple(used))


class _Reading:
    """One walk over a template's tree. Names that the graph must know have to be literal; all else is an error."""

    def __init__(self, tree: nodes.Template, free: set[str], known: Collection[str]) -> None:
        self._tree = tree
        self._free = free
        self._known = {*known}
        self._used: list[tuple[str, str, int]] = []
        self._made: list[tuple[str, Made]] = []
        self._undefined: list[tuple[str, int]] = []
        self._errors: list[tuple[int, str]] = []
        self._tables: dict[str, Callable[[list[str | None], int], None]] = {
            "files": self._file,
            "stages": self._stage,
            "env": self._env,
        }

    def uses(self) -> Uses:
        self._walk()
        first = min(self._errors, default=None)
        by_table: dict[str, dict[str, None]] = {
            "files": {},
            "globs": {},
            "stages": {},
            "env": {},
            "report": {},
        }
        for table, name, _ in self._used:
            by_table[table][name] = None
        return Uses(
            files=tuple(by_table["files"]),
            stages=tuple(by_table["stages"]),
            env=tuple(by_table["env"]),
            report=bool(by_table["report"]),
            undefined=_first_lines(self._undefined),
            error=None if first is None else (first[1], first[0]),
            lines=tuple(self._used),
            globs=tuple(by_table["globs"]),
            made=tuple(self._made),
        )

    def _walk(self) -> None:
        from jinja2 import nodes

        loads = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
        waiting: list[nodes.Node] = [self._tree]
        while waiting:
            node = waiting.pop()
            if isinstance(node, loads):
                self._errors.append(
                    (node.lineno, "a template can't load another (include a file by files['path'])")
                )
            elif isinstance(node, nodes.Name):
                self._name(node)
            elif (isinstance(node, nodes.Call) and self._glob(node)) or (
                isinstance(node, nodes.Getattr | nodes.Getitem) and self._chain(node, waiting)
            ):
                continue
            waiting.extend(reversed([*node.iter_child_nodes()]))  # keeps the template's order

    def _name(self, node: nodes.Name) -> None:
        if node.name in PROMPT_NAMES and node.ctx != "load":
            self._errors.append((node.lineno, f"{node.name!r} can't be given another value"))
        elif node.name in self._free or node.name in _BUILT_IN:
            if node.name not in self._known:
                self._undefined.append((node.name, node.lineno))
            elif node.name in self._tables:
                self._tables[node.name]([], node.lineno)
            elif node.name == "report":
                self._used.append(("report", "", node.lineno))

    def _chain(self, node: nodes.Getattr | nodes.Getitem, waiting: list[nodes.Node]) -> bool:
        """Read `a.b['c']` as a whole; true when it was one of the tables, whose names need no further look."""
        from jinja2 import nodes

        keys: list[str | None] = []
        base: nodes.Node = node
        line = node.lineno
        while isinstance(base, nodes.Getattr | nodes.Getitem):
            keys.insert(0, _key(base))
            base = base.node
        table = (
            base.name if isinstance(base, nodes.Name) and base.name in self._free & {*self._tables} else None
        )
        taken = {"files": 1, "env": 1, "stages": 2}.get(table or "", 0)
        for key in keys[taken:]:
            if key is not None and key.startswith("_"):
                self._errors.append((line, f"{key!r} can't be reached from a template"))
                return True
        if table is None or table not in self._known:
            return False
        if table == "files" and keys[0] is None and self._expression("files", _innermost(node), line):
            return True
        if table == "files" and keys[0] == "glob" and _is_attribute(node):
            self._errors.append((line, _GLOB))
            return True
        self._tables[table](keys, line)
        waiting.extend(_subscripts(node))
        return True

    def _glob(self, node: nodes.Call) -> bool:
        """Read `files.glob(…)`; true when it was one."""
        from jinja2 import nodes

        method = node.node
        if not (
            isinstance(method, nodes.Getattr)
            and method.attr == "glob"
            and isinstance(method.node, nodes.Name)
            and method.node.name in self._free & self._known
            and method.node.name == "files"
        ):
            return False
        more = node.kwargs or node.dyn_args or node.dyn_kwargs
        argument = node.args[0] if len(node.args) == 1 and not more else None
        value: Any = argument.value if isinstance(argument, nodes.Const) else None
        if isinstance(value, str) and value:
            self._used.append(("globs", value, node.lineno))
        elif argument is None or not self._expression("globs", argument, node.lineno):
            self._errors.append((node.lineno, _GLOB))
        return True

    def _expression(self, table: str, expression: nodes.Expr, line: int) -> bool:
        """Keep a path that is made of literals, item and stage; false when something else is in it."""
        from jinja2 import nodes

        parts = [expression, *expression.find_all(nodes.Expr)]
        names = {part.name for part in parts if isinstance(part, nodes.Name)}
        odd = any(isinstance(part, nodes.Call | nodes.Getattr | nodes.Getitem) for part in parts)
        if odd or not names or not names <= self._free & self._known & {*VALUE_NAMES}:
            return False
        self._made.append((table, Made(expression, line)))
        return True

    def _file(self, keys: list[str | None], line: int) -> None:
        if not keys or not keys[0]:
            text = "files needs a literal path, such as files['docs/contract.md']"
            more = ", or one made of item, such as files[item] or files['src/' ~ item ~ '.py']"
            self._errors.append((line, text + (more if "item" in self._known else "")))
        else:
            self._used.append(("files", keys[0], line))

    def _stage(self, keys: list[str | None], line: int) -> None:
        if len(keys) < 2 or not keys[0] or keys[1] != "message":
            self._errors.append(
                (line, "stages needs a literal name and message, such as stages['research'].message")
            )
        else:
            self._used.append(("stages", keys[0], line))

    def _env(self, keys: list[str | None], line: int) -> None:
        if not keys or not keys[0]:
            self._errors.append((line, "env needs a literal name, such as env.HOME"))
        else:
            self._used.append(("env", keys[0], line))


def _key(node: nodes.Getattr | nodes.Getitem) -> str | None:
    """The name that a subscript or attribute asks for; None when it is not written out."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr):
        return node.attr
    value: Any = node.arg.value if isinstance(node.arg, nodes.Const) else None
    return value if isinstance(value, str) else None


def _innermost(node: nodes.Getattr | nodes.Getitem) -> nodes.Expr:
    """Of `a[x].b` the x."""
    from jinja2 import nodes

    while isinstance(node.node, nodes.Getattr | nodes.Getitem):
        node = node.node
    assert isinstance(node, nodes.Getitem)
    return node.arg


def _is_attribute(node: nodes.Getattr | nodes.Getitem) -> bool:
    """Is the first key behind the name written with a dot?"""
    from jinja2 import nodes

    while isinstance(node.node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Getattr)


def _subscripts(node: nodes.Node) -> Iterator[nodes.Node]:
    """What stands in the brackets of a chain: it may use names too."""
    from jinja2 import nodes

    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getitem):
            yield node.arg
        node = node.node


def _first_lines(found: Iterator[tuple[str, int]] | list[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    lines: dict[str, int] = {}
    for name, line in found:
        lines[name] = min(line, lines.get(name, line))
    return tuple(sorted(lines.items(), key=lambda entry: (entry[1], entry[0])))
