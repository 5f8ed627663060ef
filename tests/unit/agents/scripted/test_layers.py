"""Imports go down only, those for the type checker included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dodo_claude.agents.scripted

PACKAGE = Path(dodo_claude.agents.scripted.__file__).parent
# From below; modules of one row do not know each other.
ROWS = (
    {"errors", "grammar", "permissions", "keys", "screen", "transcript", "loop"},
    {"scenario", "hooks"},
    {"arguments"},
    {"agent"},
    {"tools"},
    {"steps"},
    {"turns"},
    {"session"},
    {"__main__"},
)


def ours(module: str) -> set[str]:
    """The modules of this package that `module` imports."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "dodo_claude.agents.scripted":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "dodo_claude.agents.scripted."
        ):
            found.add(str(node.module).rpartition(".")[2])
    return found


def test_every_module_has_a_row() -> None:
    assert sorted(path.stem for path in PACKAGE.glob("*.py")) == sorted(set.union(*ROWS) | {"__init__"})


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_imports_go_down(row: int) -> None:
    below = set().union(*ROWS[:row])
    for module in ROWS[row]:
        assert ours(module) <= below, module
