"""Positions: each key and value of a document is found where the text says it, however the document is written."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.config.locate import KeyPath, locate, syntax_error

TEXT = '''# a comment with [brackets] and "quotes"
title = "x"   # another = one
[stages.build]   # implicit: stages
targets = [ # [
  "one", 'tw,o',  # ]
  """three ]
""", ["nested", [1, 2]],
]
env = { A = "1", "B c" = '2', d.e = [ {f = 1}, {} ] }
a.b."c.d" = 1979-05-27 07:32:00
prompt = """
He said ""hi"" \\""" and "more""""
after = \'\'\'\'quoted\'\'\'\'
[[jobs]]
n = +1
[jobs.sub]
k = true
[[jobs]]
n = 1e3
[[jobs.deep]]
k = inf
'''

PLACES: list[tuple[KeyPath, tuple[int, int]]] = [
    (("title",), (2, 9)),
    (("stages",), (3, 2)),
    (("stages", "build"), (3, 9)),
    (("stages", "build", "targets"), (4, 11)),
    (("stages", "build", "targets", 0), (5, 3)),
    (("stages", "build", "targets", 1), (5, 10)),
    (("stages", "build", "targets", 2), (6, 3)),
    (("stages", "build", "targets", 3), (7, 6)),
    (("stages", "build", "targets", 3, 1, 1), (7, 21)),
    (("stages", "build", "env", "A"), (9, 13)),
    (("stages", "build", "env", "B c"), (9, 26)),
    (("stages", "build", "env", "d"), (9, 31)),
    (("stages", "build", "env", "d", "e", 0, "f"), (9, 44)),
    (("stages", "build", "env", "d", "e", 1), (9, 48)),
    (("stages", "build", "a", "b", "c.d"), (10, 13)),
    (("stages", "build", "prompt"), (11, 10)),
    (("stages", "build", "after"), (13, 9)),
    (("jobs", 0, "n"), (15, 5)),
    (("jobs", 0, "sub", "k"), (17, 5)),
    (("jobs", 1), (18, 3)),
    (("jobs", 1, "n"), (19, 5)),
    (("jobs", 1, "deep", 0, "k"), (21, 5)),
]


@pytest.mark.parametrize(("path", "place"), PLACES)
def test_values(path: KeyPath, place: tuple[int, int]) -> None:
    tomllib.loads(TEXT)
    assert locate(TEXT).of(path) == place


def test_keys() -> None:
    places = locate(TEXT)
    assert places.key(("stages", "build", "env", "B c")) == (9, 18)
    assert places.key(("stages", "build", "a", "b", "c.d")) == (10, 5)
    assert places.key(("stages", "build", "targets", 1)) == (5, 10)


def test_unknown_paths_fall_back_to_the_nearest_ancestor() -> None:
    places = locate(TEXT)
    assert places.of(("stages", "build", "timeout")) == (3, 9)
    assert places.of(("stages", "build", "targets", 9)) == (4, 11)
    assert places.of(("nothing", "here")) == (1, 1)


def test_crlf_gives_the_same_places() -> None:
    places, twin = locate(TEXT), locate(TEXT.replace("\n", "\r\n"))
    assert [places.of(path) for path, _ in PLACES] == [twin.of(path) for path, _ in PLACES]


def test_the_header_of_its_own_beats_one_that_passes_by() -> None:
    assert locate("[a.b.c]\n[a.b]\nx = 1\n").of(("a", "b")) == (2, 4)


def test_columns_count_characters() -> None:
    assert locate('"é" = "ü" # ß\na = { "ä" = "ö", b = 1 }').of(("a", "b")) == (2, 22)


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = ", (1, 5)), ("a = 1\nb = x\n", (2, 5)), ('a = """\nx', (2, 2)), ("a = 1\na = 2\n", (2, 6))],
)
def test_syntax_errors(text: str, place: tuple[int, int]) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    assert syntax_error(caught.value, text)[:2] == place


# A writer that takes a random one of TOML's ways to say a thing, and remembers where it said it.

# TOML takes no surrogates, and no control characters but the tab as they are.
CHARACTERS = st.characters(exclude_categories=["Cs", "Cc"])
KEYS = st.text(CHARACTERS, max_size=4) | st.sampled_from(["a", "b", "a.b", "'", '"', "[x]", "=", "#"])
SCALARS = (
    st.booleans() | st.integers(-9, 9) | st.text(CHARACTERS | st.sampled_from("\n\"'\\#[]{},="), max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


class Writer:
    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.values: dict[KeyPath, int] = {}
        self.keys: dict[KeyPath, int] = {}

    def pick(self, *choices: str) -> str:
        return str(self.draw(st.sampled_from(choices)))

    def document(self, tables: dict[str, dict[str, Any]]) -> None:
        for name, table in tables.items():
            self.text += self.pick("", "\n", "# [x] \" = '''\n", " \t") + "[" + self.pick("", " ")
            self.key((name,))
            self.text += self.pick("]\n", " ] # ]\n")
            for key, value in table.items():
                self.pair((name, key), value)
                self.text += self.pick("\n", " # ,\n\n")

    def key(self, path: KeyPath) -> None:
        name = str(path[-1])
        self.keys[path] = len(self.text)
        plain = name.isascii() and name.replace("-", "a").isalnum()
        literal = "'" not in name
        ways = ["basic", *(["bare"] if plain else []), *(["literal"] if literal else [])]
        way = self.pick(*ways)
        self.text += {"basic": basic(name), "bare": name, "literal": f"'{name}'"}[way]

    def pair(self, path: KeyPath, value: Any) -> None:
        self.key(path)
        self.text += self.pick("=", " = ", "\t=")
        self.value(path, value)

    def value(self, path: KeyPath, value: Any) -> None:
        self.values[path] = len(self.text)
        if isinstance(value, list):
            self.text += "["
            for index, element in enumerate(value):
                self.text += self.pick("", " ", "\n", " # ]\n")
                self.value((*path, index), element)
                self.text += self.pick(",", " ,", "\n,#\n") if index + 1 < len(value) else self.pick("", ",")
            self.text += self.pick("", "\n") + "]"
        elif isinstance(value, dict):
            self.text += "{"
            for index, (key, element) in enumerate(value.items()):
                self.text += self.pick("", " ")
                self.pair((*path, key), element)
                self.text += " ," if index + 1 < len(value) else " "
            self.text += "}"
        else:
            self.text += self.string(value) if isinstance(value, str) else json.dumps(value)

    def string(self, value: str) -> str:
        ways = [basic(value), '"""' + self.pick("", "\n") + basic(value)[1:-1] + '"""']
        if value and not value.endswith("\\"):
            ways.append('"""\n' + value.replace("\\", "\\\\").replace('"""', '""\\"') + '"""')
        if "'" not in value:
            ways.append("'''\n" + value + "'''")
            if "\n" not in value:
                ways.append(f"'{value}'")
        return self.pick(*ways)


def basic(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def documents(draw: Any) -> tuple[dict[str, Any], Writer]:
    tables = draw(st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4))
    writer = Writer(draw)
    writer.document(tables)
    return tables, writer


@given(documents())
def test_whatever_is_written_is_found(made: tuple[dict[str, Any], Writer]) -> None:
    tables, writer = made
    assert tomllib.loads(writer.text) == tables
    places = locate(writer.text)

    def place(offset: int) -> tuple[int, int]:
        before = writer.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    assert {path: places.key(path) for path in writer.keys} == {
        path: place(offset) for path, offset in writer.keys.items()
    }
    assert {path: places.of(path) for path in writer.values} == {
        path: place(offset) for path, offset in writer.values.items()
    }


@given(documents())
def test_windows_line_ends_change_no_place(made: tuple[dict[str, Any], Writer]) -> None:
    _, writer = made
    places, twin = locate(writer.text), locate(writer.text.replace("\n", "\r\n"))
    assert [places.of(path) for path in writer.values] == [twin.of(path) for path in writer.values]


@given(st.text(st.sampled_from("ab=.[]{},#\"' \n1\\é"), max_size=30))
def test_what_is_no_toml_raises_nothing(text: str) -> None:
    line, column = locate(text).of(("a", 0, "b"))
    assert line >= 1
    assert column >= 1


def test_deep_lists() -> None:
    depth = 200
    text = "a = " + "[" * depth + "1" + "]" * depth
    assert locate(text).of(("a", *[0] * depth)) == (1, 5 + depth)
