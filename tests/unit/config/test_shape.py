"""How deep and how wide a TOML text may be, before anything parses it."""

from __future__ import annotations

import contextlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config import shape

DEEP = "lists or tables are nested too deeply"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a = " + "[" * 31 + "]" * 31,
        "[" + ".".join("a" * 32) + "]",
        "[[" + ".".join("a" * 31) + "]]\nx = 1",
        "[a.b]\nc.d = { e.f = [ 1, { g = 2 } ] }",
        "[a.b.c]\n" * 50,
        "a = [\n  [1, 2], # [[[\n  [3.5]\n]\n" * 50,
        "a = '" + "[" * 100 + "'\nb = \"" + "." * 100 + '\\"[[["',
        'a = """' + "[\n" * 100 + r'"" \"""" ' + '\n"""\nb = ' + "'''" + "{" * 100 + "'''''",
        "a = 1 # " + "[" * 100,
        '"' + "a." * 100 + '" = 1',
        "a = 1979-05-27T07:32:00.999\r\nb = [1.5, 2.5]\r\n",
        "a = '" + "x" * 5000 + "'",
    ],
)
def test_what_may_be_read(text: str) -> None:
    shape.judge(text)


@pytest.mark.parametrize(
    ("text", "place", "fact"),
    [
        ("\na = " + "[" * 32, (2, 36), DEEP),
        ("a = " + "[\n" * 32, (32, 1), DEEP),
        ("[" + ".".join("a" * 33) + "]", (1, 67), DEEP),
        ("[" + " . ".join(["'a'"] * 33) + "]", (1, 197), DEEP),
        ("[a.b]\n" + "c." * 31 + "d = 1", (2, 62), DEEP),
        ("a = " + "{ b = " * 40, (1, 197), DEEP),
        ("a = [" + "{ b = [" * 40, (1, 117), DEEP),
        ("é = '[' # [\n" + "[" + "a." * 40, (2, 67), DEEP),
        ("a = " + "1_" * 501, (1, 5), "a number of 1002 characters is too large"),
        ("\r\na = -0x" + "f" * 1000, (2, 5), "a number of 1003 characters is too large"),
        ("x" * 1001 + " = 1", (1, 1), "a name of 1001 characters is too large"),
    ],
)
def test_what_had_better_not_be_read(text: str, place: tuple[int, int], fact: str) -> None:
    with pytest.raises(shape.BadShapeError) as caught:
        shape.loads(text)
    assert (caught.value.text, caught.value.line, caught.value.column) == (fact, *place)


def test_names_have_so_many_dots_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shape, "MAX_DOTS", 10)
    shape.judge("a.b.c = 1\n" * 5)
    with pytest.raises(shape.BadShapeError, match="more than 10 dots in its names"):
        shape.judge("a.b.c = 1\n" * 6)


SIGNS = [
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "a",
    "b",
    "'",
    '"',
    '"""',
    "'''",
    "\\",
    "#",
    " ",
    "1",
    "\r\n",
]


@given(st.lists(st.sampled_from(SIGNS), max_size=30))
def test_what_is_no_toml_is_the_parsers_to_find(parts: list[str]) -> None:
    text = "".join(parts)
    with contextlib.suppress(shape.BadShapeError, tomllib.TOMLDecodeError):
        assert shape.loads(text) == tomllib.loads(text)


def _depth(value: object) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(_depth, children), default=0)


VALUES = st.recursive(
    st.sampled_from(["1", "1.5", "'[.{'", '"]\\""', "true"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda values: f"[{', '.join(values)}]"),
        st.tuples(st.integers(1, 3), inner).map(lambda pair: f"{{ {'.'.join('a' * pair[0])} = {pair[1]} }}"),
    ),
    max_leaves=4,
)


@given(st.integers(1, 4), st.integers(1, 4), VALUES)
def test_it_counts_as_deep_as_a_text_is(header: int, key: int, value: str) -> None:
    text = f"[{'.'.join('h' * header)}]\n{'.'.join('k' * key)} = {value}\n"
    depth = _depth(tomllib.loads(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "MAX_DEPTH", depth + 2)
        shape.judge(text)
        patch.setattr(shape, "MAX_DEPTH", depth - 2)
        with pytest.raises(shape.BadShapeError):
            shape.judge(text)
