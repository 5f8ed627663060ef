"""The plan of the package holds: see tests/house.py. No file of it can be forgotten."""

from __future__ import annotations

import ast
import sys

import pytest

from tests.house import DOORS, FILES, ROWS, THIRD_PARTIES, imports

MAY = {room: {*" ".join(ROWS[:at]).split(), room} for at, row in enumerate(ROWS) for room in row.split()}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_down_and_third_parties_stay_in_their_room(name: str) -> None:
    room = name.partition("/")[0]
    assert room in (MAY if "/" in name else DOORS)
    for first, *rest in (imported.split(".") for imported in imports(FILES[name])):
        if first == "dodo_claude":
            assert room in DOORS or rest[0] in {*MAY[room], "__version__"}, f"{name} imports {rest}"
        elif first not in sys.stdlib_module_names and name != "stages":
            assert room in THIRD_PARTIES[first].split(), f"{name} imports {first}"


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_owns(name: str) -> None:
    told = ast.get_docstring(ast.parse(FILES[name].read_text(encoding="utf-8")))
    assert len((told or "").partition("\n")[0]) > 20
