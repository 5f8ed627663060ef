"""What of jinja2 a template may use, and how much one rendering may make: so that each ends soon, whoever wrote it.

Rules that this file keeps:
* What can grow without what goes in being large is not in the language: macros, recursion, powers, padding. Nodes,
  filters and methods are those of the lists below and no others, whatever a newer jinja2 brings.
* What is made is weighed before it is used, each pass of a loop too, and all of one rendering has one limit. There is
  no clock in it: what is too much is too much on every machine, and in every thread.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from dodo_claude.text.numbers import grouped

if TYPE_CHECKING:
    from jinja2 import Environment, nodes
    from jinja2.runtime import Context

# All that one rendering makes, in characters: more than a model reads, and some seconds at most.
MOST = 10_000_000
# And all renderings of one load of a configuration: of 12000 stages each may make 1 kB. What is no template is not counted.
MOST_TOGETHER = 20_000_000
# What jinja2 reads for one load: 6000 templates; one with names of its own takes twice as long, one that it renders three
# times. Those of a foreach are one, and so are those that differ in the text around their one expression.
MOST_READINGS = 6000
# What making one text takes of it, however short that is.
RENDERING = 100
# What a pass of a loop takes of it, besides what it writes.
_PASS = 10
# Numbers in a template count items and lines.
LARGEST = 10**15
# What stands between the braces of one template, in characters: jinja2 reads as much in half a second.
MAX_CODE = 50_000
# Expressions in expressions.
MAX_DEPTH = 50

_CODE = re.compile(r"\{([{%#]).*?(?:[}%#]\}|\Z)", re.S)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NODES = _words(
    """
    Template Output TemplateData For If CondExpr Assign AssignBlock With FilterBlock Name Const List Tuple Dict Pair
    Getattr Getitem Slice Filter Test Call Keyword Concat Compare Operand And Or Not Neg Pos
    Add Sub Mul Div FloorDiv Mod Include Import FromImport Extends
    """  # the last four are refused by who reads what a template uses, in words of its own
)
_REFUSED = {
    "Macro": "a template can't have macros",
    "CallBlock": "a template can't have macros",
    "Pow": "a template can't raise a number to a power",
    "Block": "a template can't have blocks",
}
_TOO_DEEP = "a template can't be nested so deeply"
# Each makes no more than it is given, or is in _TIMES.
FILTERS = _words("""
    abs attr capitalize count d default dictsort e escape first float indent int items join last length list lower map
    max min reject rejectattr replace reverse safe select selectattr sort string title tojson trim truncate
    unique upper urlencode wordcount
    """)
_TIMES = frozenset({"indent", "join", "replace", "tojson"})
# Of a text; what they make is no more than the product of what they are given.
_METHODS: Mapping[type, frozenset[str]] = {
    str: _words("""
        capitalize casefold count endswith find isalnum isalpha isascii isdecimal isdigit islower isnumeric isspace
        istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip
        split splitlines startswith strip swapcase title upper
        """),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}
# Names that no template can write.
_MADE, _LOOP, _JOINED = "(made)", "(loop)", "(joined)"
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class TooMuchError(Exception):
    """A template makes more than it may."""


_left: ContextVar[list[int]] = ContextVar("_left")
_left_together: ContextVar[list[int] | None] = ContextVar("_left_together", default=None)
_left_to_read: ContextVar[list[int] | None] = ContextVar("_left_to_read", default=None)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is rendered inside of this has one more limit, in all: a foreach renders a template for each of its items."""
    token, to_read = _left_together.set([MOST_TOGETHER]), _left_to_read.set([MOST_READINGS])
    try:
        yield
    finally:
        _left_together.reset(token)
        _left_to_read.reset(to_read)


@contextlib.contextmanager
def metered() -> Iterator[None]:
    """Whatever an environment of here does, it does inside of this."""
    left = [MOST]
    token = _left.set(left)
    try:
        yield
    finally:
        _left.reset(token)
        count(MOST - left[0] + RENDERING)


def count(amount: int) -> None:
    """So much was made; TooMuchError when that is too much in all."""
    left = _left_together.get()
    if left is not None:
        left[0] -= amount
        if left[0] < 0:
            most = grouped(MOST_TOGETHER)
            raise TooMuchError(
                f"all templates make more than {most} characters, and {RENDERING} for each text: use fewer items or shorter texts"
            )


def count_reading(amount: int = 1) -> None:
    """jinja2 is to read one more; TooMuchError when that is too much in all."""
    left = _left_to_read.get()
    if left is not None:
        left[0] -= amount
        if left[0] < 0:
            most = grouped(MOST_READINGS)
            raise TooMuchError(
                f"jinja2 has more than {most} templates to read, one with a loop counted as 2, one that is rendered as 3: "
                "use foreach, or plain {{ item }} and {{ stage }}"
            )


def is_used_up() -> bool:
    """May nothing more be read, or rendered, together? Whatever is tried then fails like the one before."""
    return any(left is not None and left[0] < 0 for left in (_left_together.get(), _left_to_read.get()))


def _spend(amount: int) -> None:
    left = _left.get()
    left[0] -= amount
    if left[0] < 0:
        raise TooMuchError(f"it makes more than {grouped(MOST)} characters in all")


def weigh(value: object) -> int:
    """What a value comes to when it is written out, which is taken from what is left; TooMuchError."""
    weight, waiting = 0, [value]
    while waiting:
        each = waiting.pop()
        more = 1
        if isinstance(each, str):
            more += len(each)
        elif isinstance(each, int):
            _judge_number(each)
        elif isinstance(each, list | tuple):
            waiting.extend(each)
        elif isinstance(each, dict):
            waiting.extend(each)
            waiting.extend(each.values())
        _spend(more)
        weight += more
    return weight


def _judge_number(value: int) -> None:
    if abs(value) > LARGEST:
        raise TooMuchError(f"it makes a number beyond {grouped(LARGEST)}")


def _made(value: Any) -> Any:
    weigh(value)
    return value


def _loop(values: Iterable[Any], text: int = 0) -> Iterator[Any]:
    """`text`: what each pass writes of the template's own."""
    for value in values:
        _spend(_PASS + text)
        yield value


def _joined(texts: list[object]) -> str:
    weigh(texts)
    return "".join(map(str, texts))


def _weighed(function: Callable[..., Any], *, times: bool = False) -> Callable[..., Any]:
    """A filter or a test that spends what it is given, and what it makes. `times`: see _spend_given."""
    own = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [[*_loop(value)] if isinstance(value, Iterator) else value for value in args[own:]]
        _spend_given((*given, *kwargs.values()), times=times)
        return _made(function(*args[:own], *given, **kwargs))

    return call


def _spend_given(values: Sequence[object], *, times: bool) -> None:
    """`times`: what is made may be as large as the product of what is given."""
    product = 1
    for index, value in enumerate(values):
        product *= weigh(value) + (abs(value) if index and isinstance(value, int) else 0)
    if times:
        _spend(product)


# -- what a template may use


class NotInLanguageError(Exception):
    """A template uses what it may not: `text` says what, in its line `line`."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(f"line {line}: {text}")
        self.text = text
        self.line = line


def parsed(environment: Environment, source: str) -> nodes.Template:
    """The tree of a template that is in the language; NotInLanguageError, or what jinja2 raises."""
    code = 0
    for found in _CODE.finditer(source):
        code += len(found[0])
        if code > MAX_CODE:
            text = f"a template has at most {grouped(MAX_CODE)} characters between its braces"
            raise NotInLanguageError(text, source.count("\n", 0, found.start()) + 1)
    try:
        tree = environment.parse(source)
    except RecursionError:
        raise NotInLanguageError(_TOO_DEEP, 1) from None
    except ValueError as error:  # Python reads no number of so many digits
        raise NotInLanguageError("a number is too large", 1) from error
    if wrong := _faults(tree):
        line, text = min(wrong)
        raise NotInLanguageError(text, line)
    return tree


def _faults(tree: nodes.Template) -> list[tuple[int, str]]:
    """(line, text) of all that is not in the language."""
    from jinja2 import nodes

    found: list[tuple[int, str]] = []
    waiting: list[tuple[nodes.Node, int, int]] = [(tree, 1, 0)]
    while waiting:
        node, line, depth = waiting.pop()
        line = node.lineno or line
        kind = type(node).__name__
        if depth > MAX_DEPTH:
            return [(line, _TOO_DEEP)]
        if kind not in _NODES:
            found.append((line, _REFUSED.get(kind, f"a template can't have this ({kind})")))
        elif isinstance(node, nodes.For) and node.recursive:
            found.append((line, "a template can't have recursive loops"))
        elif isinstance(node, nodes.Pair) and not isinstance(node.key, nodes.Const | nodes.Name):
            found.append((line, "a key is a text, a number or a name"))  # jinja2 raises for a list
        elif isinstance(node, nodes.Const) and isinstance(node.value, int) and abs(node.value) > LARGEST:
            found.append((line, "a number is too large"))
        waiting.extend((child, line, depth + 1) for child in node.iter_child_nodes())
    return found


def environment(
    finalize: Callable[[object], object], undefined: Any, methods: Mapping[type, frozenset[str]]
) -> Environment:
    """One that does what this file says. `methods`: of types of the caller's own, which may be called."""
    from jinja2 import pass_context
    from jinja2.exceptions import SecurityError
    from jinja2.runtime import LoopContext, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    callable_ = {**_METHODS, LoopContext: frozenset({"changed", "cycle"}), **methods}

    class Limited(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

        def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
            weigh((left, right))
            if operator in "*%" and not all(isinstance(each, int | float) for each in (left, right)):
                raise TypeError(f"{operator!r} is for numbers")
            return _made(super().call_binop(context, operator, left, right))

        def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
            name = getattr(__obj, "__name__", "this")
            owner = getattr(__obj, "__self__", None)
            known = any(isinstance(owner, kind) and name in names for kind, names in callable_.items())
            if not known and not isinstance(__obj, Undefined):
                raise SecurityError(f"{name!r} can't be called in a template")
            _spend_given((owner, *args, *kwargs.values()), times=isinstance(owner, str))
            made = super().call(__context, __obj, *args, **kwargs)
            return _made(list(made) if isinstance(made, _VIEWS) else made)

        def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
            return super()._generate(_with_meters(source), *args, **kwargs)

    @pass_context
    def final(
        _context: Context, value: object
    ) -> object:  # with a context, as then no value is made while it is read
        return finalize(_made(value))

    made = Limited(undefined=undefined, autoescape=False, keep_trailing_newline=True, finalize=final)
    made.globals.clear()  # range and the like are not in the table of names
    made.filters = {name: _weighed(made.filters[name], times=name in _TIMES) for name in FILTERS}
    made.filters |= {_MADE: _made, _LOOP: _loop, _JOINED: _joined}
    tests: dict[str, Any] = made.tests
    made.tests = {name: _weighed(test) for name, test in tests.items()}
    return made


def _with_meters(tree: nodes.Template) -> nodes.Template:
    """The tree, in which all that makes something is weighed that no filter and no call makes."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def by(name: str, node: Any, *args: nodes.Expr) -> nodes.Filter:
        return nodes.Filter(node, name, [*args], [], None, None, lineno=node.lineno)

    class Meters(NodeTransformer):
        def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
            text = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
            self.generic_visit(node)
            node.iter = by(_LOOP, node.iter, nodes.Const(text, lineno=node.lineno))
            return node

        def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            return by(_JOINED, nodes.List(node.nodes, lineno=node.lineno))

        def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            node.expr = by(_MADE, node.expr)
            for operand in node.ops:
                operand.expr = by(_MADE, operand.expr)
            return node

        def visit_List(self, node: nodes.List | nodes.Dict) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            return by(_MADE, node)

        visit_Dict = visit_List  # noqa: N815

        def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            return by(_MADE, node) if node.ctx == "load" else node

        def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
            self.generic_visit(node)
            return by(_MADE, node) if isinstance(node.arg, nodes.Slice) else node

    made: nodes.Template = Meters().visit(tree)
    return made
