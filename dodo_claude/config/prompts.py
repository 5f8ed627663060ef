"""Templates of prompts: what one uses, and what it says. With language.py, which says how much of jinja2 a template may
use, the only importer of jinja2, and only when it is needed.

Rules that this file keeps:
* A template reads plain names of a fixed table: item, stage, files['path'], files.glob('a/*.md'),
  stages.NAME.message, env.NAME, report. Those of stages and env are written out, those of files too or made of `item`
  and `stage` alone, so that the graph can be known before anything runs.
* One pass: a value is never rendered again, whatever it holds.
* What the digest of a stage is made of must not come from `fence`, whose mark differs each time: it is made from the
  template's source and the bytes of the files it includes.
"""

from __future__ import annotations

import bisect
import functools
import html
import itertools
import posixpath
import re
import shlex
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dodo_claude.config import language
from dodo_claude.config.records import Prompt
from dodo_claude.text.clean import one_line, without_controls
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes

PROMPT_NAMES = ("item", "stage", "files", "stages", "env", "report")
VALUE_NAMES = ("item", "stage")
# Of a monitor's message; where a recovery is told there are no lines.
MESSAGE_NAMES = ("item", "stage", "lines")

# How much of a file or a message one prompt takes in: about 25,000 tokens, beyond which a worker had better read it.
CAP = 100_000

# The schema's limit for a text, which holds for what becomes of one, too.
MAX_VALUE = 100_000

# A mark that a text could hold by chance is no fence.
_MARK = re.compile(r"[A-Za-z0-9]{8,64}")
_JINJA = re.compile(r"\{[{%#]")
LITERAL = "write literal braces as {% raw %}{{ }}{% endraw %}"

_TABLES = ("files", "stages", "env")
_GLOB = "files.glob needs a literal pattern, such as files.glob('summaries/*.md')"

# Names that jinja2 gives to every template: into its own works, which are not in the table of names.
_BUILT_IN = ("self", "super")
# What becomes of a value that is put in: it stays as it is, is quoted for a shell, or stands between two marks that no
# prompt can hold, since the client takes no control characters.
PLAIN, QUOTED, MARKED = "plain", "quoted", "marked"
_BEGIN, _END = "\x02", "\x03"
_UNMARKED = {ord(_BEGIN): None, ord(_END): None}
# A file that an author mentions for the client to attach; it may be in double quotes.
_MENTION = re.compile(r'(?<![^\s\ufeff])@(?:"[^"\n]+"|\S+)')
# All that most templates use of jinja2; not importing it saves more time than reading a small configuration takes.
_SIMPLE = re.compile(r"(?<!\{)\{\{[ \t]*(item|stage)(?:[ \t]*\|[ \t]*(stem|name|parent))?[ \t]*\}\}")


# An expression whose texts hold no braces, and that takes no white space away around it; nor has it a sign of which jinja2
# would say where in the whole template it stands.
_EXPRESSION = re.compile(
    r"""(?<!\{)\{\{(?![-+])(?:[A-Za-z0-9_ .,|~+*/()\[\]:=<>-]|'[^'\\{}\r\n]*'|"[^"\\{}\r\n]*")*+(?<![-+])\}\}"""
)

# And what most prompts look up besides: reading it needs none of jinja2.
_TEXT = r"""(?:'[^'\\\r\n{}]+'|"[^"\\\r\n{}]+")"""
_WORD = "[A-Za-z_][A-Za-z0-9_]*"
_LOOKED_UP = re.compile(
    rf"(?<!\{{)\{{\{{[ \t]*(?:(?P<value>item|stage)(?:[ \t]*\|[ \t]*(?:stem|name|parent))?|(?P<report>report)"
    rf"|files\[(?P<files>{_TEXT})\]|env\.(?P<env>{_WORD})"
    rf"|stages(?:\.(?P<stages>{_WORD})|\[(?P<quoted>{_TEXT})\])\.message)[ \t]*\}}\}}"
)


def _stem(path: object) -> str:
    return posixpath.splitext(_name(path))[0]


def _name(path: object) -> str:
    return posixpath.basename(str(path))


def _parent(path: object) -> str:
    return posixpath.dirname(str(path)) or "."


# Parts of a path: of src/a.py a, a.py and src.
FILTERS: Mapping[str, Callable[[object], str]] = {"stem": _stem, "name": _name, "parent": _parent}


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
            environment = _environment()
            tree.set_environment(environment)
            self._template = Template.from_code(environment, environment.compile(tree), {})
        return _rendered(self._template, {"item": item, "stage": stage}, {})


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


def is_template(source: str) -> bool:
    """False for a text that means itself."""
    return _JINJA.search(source) is not None


def analyse(source: str, *, known: tuple[str, ...] = PROMPT_NAMES) -> Uses:
    """What a template uses; any fault of its own is in `error` or `undefined`, nothing is raised."""
    if not is_template(source):
        return Uses()
    try:
        return _analysed(_core(source)[1], known)
    except language.TooMuchError as error:  # which hangs on what was read before, and is not remembered
        return Uses(error=(str(error), 1))


def _core(source: str) -> tuple[str, str, str]:
    """What is before the one expression of a template of one line, that expression, and what is behind it: jinja2 has no
    need of the others. Of any other template all is its core."""
    found = _EXPRESSION.search(source)
    if found is None or "\n" in source or "\r" in source:
        return "", source, ""
    before, behind = source[: found.start()], source[found.end() :]
    if is_template(before) or is_template(behind):
        return "", source, ""
    return before, found[0], behind


@functools.lru_cache(maxsize=1024)  # every item of a foreach asks about the same texts
def _analysed(source: str, known: tuple[str, ...]) -> Uses:
    if _is_simple(source):
        found, line, at = [], 1, 0
        for use in _SIMPLE.finditer(source):
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
            tree = language.parsed(_environment(), source)
            free = _free(tree)
    except jinja2.TemplateSyntaxError as error:
        return Uses(error=(f"not a template: {_lower(error.message or '')} ({LITERAL})", error.lineno))
    except language.NotInLanguageError as error:
        return Uses(error=(f"not a template: {error.text} (README says what one may use)", error.line))
    return _Reading(tree, free, known).uses()


def _free(tree: nodes.Template) -> set[str]:
    """The names that a template takes from outside."""
    from jinja2 import meta, nodes

    environment = _environment()
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
        tuple(dict.fromkeys(name for kind, name, _ in used if kind == table)) for table in _TABLES
    )
    report = any(kind == "report" for kind, _, _ in used)
    return Uses(files, stages, env, report, _first_lines(undefined), lines=tuple(used))


def render(
    source: str,
    *,
    item: str | None,
    stage: str,
    files: Mapping[str, str],
    messages: Mapping[str, str],
    env: Mapping[str, str],
    globs: Mapping[str, Sequence[str]] | None = None,
    report: str | None = None,
) -> Prompt:
    """The prompt of a template, in one pass; DodoClaudeError when it can't be made.

    `files` (by path), `messages` (by stage) and `report` come ready to stand in the prompt: see fence. `globs` has
    the paths that each glob found, which are among `files`.
    """
    tables = {
        "files": _Paths(
            {posixpath.normpath(path): text for path, text in files.items()},
            {posixpath.normpath(glob): paths for glob, paths in (globs or {}).items()},
        ),
        "stages": _Table(
            "stages", {name: _Table("a stage", {"message": text}) for name, text in messages.items()}
        ),
        "env": _Table("env", env),
    }
    values = {"stage": stage, "item": item, "report": report}
    text = _render(source, values, tables)
    if not is_template(source):
        return _parted(text, [(False, text)])
    # A second pass says which of it came out of the template's values: looked at, and never used.
    marked = _render(source.translate(_UNMARKED), values, tables, how=MARKED)
    parts = _parts(marked)
    return _parted(text, parts if "".join(part for _, part in parts) == text else [(True, text)])


def _parts(marked: str) -> list[tuple[bool, str]]:
    """Texts in their order, each with whether it is data."""
    parts, depth = [], 0
    for part in re.split(f"([{_BEGIN}{_END}])", marked):
        if part in (_BEGIN, _END):
            depth += 1 if part == _BEGIN else -1
        elif part:
            parts.append((depth > 0, part))
    return parts


def _parted(text: str, parts: Sequence[tuple[bool, str]]) -> Prompt:
    data = "".join(
        part if is_data else "\n" if part[-1].isspace() else "." for is_data, part in parts if part
    )
    own: list[str] = []
    ends = [*itertools.accumulate(len(part) for _, part in parts)]
    for found in _MENTION.finditer(text):
        if not parts[bisect.bisect_right(ends, found.start())][0]:
            own.append(found[0])
    return Prompt(text, data, tuple(dict.fromkeys(own)))


def render_value(source: str, *, item: str | None, stage: str, quoted: bool = False) -> str:
    """The text of a short value such as a target; for a shell, what is put in is quoted for it."""
    before, core, behind = _core(source) if is_template(source) else ("", source, "")
    text = _render(core, {"stage": stage, "item": item}, {}, how=QUOTED if quoted else PLAIN)
    if before or behind:
        text = before + text + behind
    if len(text) > MAX_VALUE:
        raise DodoClaudeError(f"it makes {len(text)} characters, of at most {MAX_VALUE}")
    try:
        language.count(len(text) + (language.RENDERING if text is not source else 0))
    except language.TooMuchError as error:
        raise _not_rendered(error) from error
    return text


def render_message(source: str, *, item: str | None, stage: str, lines: str | None) -> str:
    """The text of a monitor's message; `lines` come ready to stand in it: see fence."""
    return _render(source, {"stage": stage, "item": item, "lines": lines}, {})


def fence(kind: str, label: str, text: str, mark: str, cap: int = CAP) -> str:
    """`text` as data in a prompt, between lines that carry `mark`, which nobody who wrote the text could know.

    The kind is `file`, with its path as the label, `message`, with the stage it comes from, or `report`, `output` or
    `data`, with what it is of. Control characters are taken out, and of more than `cap` bytes the middle. ValueError
    when the mark is in the text or no mark: the caller takes another.
    """
    clean, name = without_controls(text), one_line(label)
    if not _MARK.fullmatch(mark) or mark in clean or mark in name:
        raise ValueError("the mark must be 8 to 64 letters and digits that the text does not hold")
    attribute = {"file": "path", "message": "stage"}.get(kind, "of")
    body = _capped(clean, cap)
    end = "" if body.endswith("\n") or not body else "\n"
    return f'<{kind} {attribute}="{html.escape(name)}" mark="{mark}">\n{body}{end}</{kind} mark="{mark}">'


def _capped(text: str, cap: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= cap:
        return data.decode("utf-8")
    half = cap // 2
    # Cutting bytes may cut a character in two; what is left of it is dropped.
    head = data[:half].decode("utf-8", "ignore")
    tail = data[len(data) - half :].decode("utf-8", "ignore") if half else ""
    cut = len(data) - len(head.encode()) - len(tail.encode())
    return f"{head}\n[… {cut} of {len(data)} bytes are left out here …]\n{tail}"


def _is_simple(source: str) -> bool:
    # jinja2 would make \r\n a \n: leave that to it, so that both ways say the same.
    return "\r" not in source and not is_template(_SIMPLE.sub("_", source))


def _render(
    source: str, values: Mapping[str, str | None], tables: Mapping[str, object], *, how: str = PLAIN
) -> str:
    if not is_template(source):
        return source
    given = {name: value for name, value in values.items() if value is not None}
    parts = _simple_parts(source)
    if parts is not None and all(name in given for _, name, _ in parts[1:]):
        return parts[0][0] + "".join(
            [_simple_value(name, by, given, how) + text for text, name, by in parts[1:]]
        )
    try:
        template = _template(source, how)
    except Exception as error:
        raise _not_rendered(error) from error
    return _rendered(template, values, tables)


def _rendered(template: Template, values: Mapping[str, str | None], tables: Mapping[str, object]) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    try:
        with language.metered():
            return template.render(**given, **tables)
    except Exception as error:  # an expression of the user's may raise whatever Python has
        raise _not_rendered(error) from error


def _not_rendered(error: Exception) -> DodoClaudeError:
    lines = [
        at for frame, at in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"
    ]
    place = f"line {lines[-1]}: " if lines and lines[-1] > 1 else ""
    return DodoClaudeError(one_line(f"the template can't be rendered: {place}{_lower(str(error))}"))


@functools.lru_cache(maxsize=1024)  # every item of a foreach asks about the same texts
def _simple_parts(source: str) -> list[tuple[str, str, str]] | None:
    """Each value that a simple template puts in, and its filter, with the text behind it; first the text before all."""
    if not _is_simple(source):
        return None
    first, *more = _SIMPLE.split(source)
    return [(first, "", ""), *((more[at + 2], more[at], more[at + 1] or "") for at in range(0, len(more), 3))]


def _simple_value(name: str, by: str, given: Mapping[str, str], how: str) -> str:
    value = given[name]
    return _put_in(FILTERS[by](value) if by else value, how)


def _put_in(value: str, how: str) -> str:
    if how == MARKED:
        return f"{_BEGIN}{value.translate(_UNMARKED)}{_END}"
    return shlex.quote(value) if how == QUOTED else value


class _Table:
    """Names and their values, and nothing else: a dict would answer `stages.items` with a method."""

    __slots__ = ("_name", "_values")

    def __init__(self, name: str, values: Mapping[str, object]) -> None:
        self._name = name
        self._values = dict(values)

    def __getitem__(self, name: str) -> object:
        return self._values[name]

    def __str__(self) -> str:
        return self._name


class _Paths(_Table):
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
def _environment(how: str = PLAIN) -> Environment:
    from jinja2 import StrictUndefined

    class Undefined(StrictUndefined):
        __slots__ = ()

        @property
        def _undefined_message(self) -> str:
            of, name = self._undefined_obj, self._undefined_name
            return f"{of} has no {name!r}" if isinstance(of, _Table) else str(super()._undefined_message)

    def finalize(value: object) -> object:
        # What comes out is quoted and not what goes in: a filter could take the quotes apart.
        return value if how == PLAIN else _put_in(str(value), how)

    environment = language.environment(finalize, Undefined, {_Paths: frozenset({"glob"})})
    environment.filters.update(FILTERS)
    return environment


@functools.lru_cache(maxsize=1024)
def _template(source: str, how: str) -> Template:
    from jinja2 import Template

    language.count_reading(2)
    environment = _environment(how)
    with language.metered():
        return Template.from_code(environment, environment.compile(language.parsed(environment, source)), {})


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


def _lower(text: str) -> str:
    """A library's message in the manner of ours."""
    return (text[:1].lower() + text[1:]).rstrip(".")
