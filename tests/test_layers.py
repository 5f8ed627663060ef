"""The house: each room of the package imports the rooms above it in ROWS only, and each third party has one room."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import dodo_claude

PACKAGE = Path(dodo_claude.__file__).parent
ROWS = ["text", "config machine", "state", "agents", "worker", "report", "run", "control", "plugin dashboard", "commands"]  # fmt: skip
ABOVE = {room: {*" ".join(ROWS[:at]).split(), room} for at, row in enumerate(ROWS) for room in row.split()}
DOORS = {"__init__", "__main__", "stages"}  # what users and installers name
THEIRS = {
    "libtmux": "machine", "jinja2": "config", "jsonschema": "config", "toml": "run", "doit": "plugin", "rich": "plugin dashboard",
    "textual": "dashboard", "aiohttp": "dashboard", "click": "commands", "mcp": "commands",
}  # fmt: skip
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in it; what is only for the type checker, too."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 and node.module for node in froms), "imports are absolute"
    return names | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


@pytest.mark.parametrize("name", FILES)
def test_imports_go_up_and_third_parties_stay_in_their_room(name: str) -> None:
    room = name.partition("/")[0]
    assert room in (ABOVE if "/" in name else DOORS)
    for first, *rest in (imported.split(".") for imported in imports(FILES[name])):
        if first == "dodo_claude":
            assert room in DOORS or rest[0] in {*ABOVE[room], "__version__"}, f"{name} imports {rest}"
        elif first not in sys.stdlib_module_names and name != "stages":
            assert room in THEIRS[first].split(), f"{name} imports {first}"


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_what_it_owns(name: str) -> None:
    told = ast.get_docstring(ast.parse(FILES[name].read_text(encoding="utf-8")))
    assert len((told or "").partition("\n")[0]) > 20
