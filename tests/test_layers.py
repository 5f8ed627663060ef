"""Imports go down only: each third party has its own modules, each row knows only what is below it."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dodo_claude

PACKAGE = Path(dodo_claude.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

# Who may import what is not in the standard library.
ALLOWED = {
    "libtmux": {"tmux"},
    "jinja2": {"prompts", "language"},
    "jsonschema": {"schema", "config"},
    "rich": {"live", "panes"},
    "textual": {"dashboard", "dialogs", "panes"},
    "toml": {"run"},
    "click": {"cli", "look", "project", "talk"},
    "mcp": {"mcp_server"},
    "aiohttp": {"web"},
    "doit": {"loader", "tasks", "reporter", "backend", "commands", "runner", "stages", "explained", "late", "resetting"},
}  # fmt: skip
# The face that people and doit see: nobody below may know it.
FACE = ALLOWED["doit"] | {
    "__main__",
    "cli",
    "again",
    "look",
    "talk",
    "project",
    "mcp_server",
    "dashboard",
    "steering",
    "stopping",
    "web",
}
# The engine, and what it stands on: it runs without tmux, doit or a client.
ENGINE = {
    "clean",
    "durations",
    "states",
    "worker",
    "monitors",
    "lifecycle",
    "policy",
    "mail",
    "permits",
    "verify",
    "processes",
    "files",
    "journal",
    "left",
    "watch",
    "terminal",
    "trust",
    "clients",
    "agents",
    "errors",
    "records",
    "work",
    "recovery",
    "services",
    "fleet",
    "faults",
    "since",
    "usage",
    "turn",
    "slots",
    "stops",
    "limits",
    "redact",
    "protect",
    "recheck",
    "repository",
    "shell",
    "report",
    "runs",
    "attempts",
    "basis",
    "gc",
    "history",
    "rendered",
    "details",
    "markup",
    "timeline",
    "graph",
    "page",
    "status",
    "board",
    "desk",
    "mirror",
    "store",
    "witness",
    "undeclared",
}
# These know nothing but themselves.
ALONE = {
    "clean",
    "states",
    "lifecycle",
    "faults",
    "errors",
    "durations",
    "terminal",
    "records",
    "inputs",
    "redact",
    "language",
    "limits",
    "usage",
    "notify",
    "cells",
    "changes",
    "mirror",
    "relay",
    "question",
    "undeclared",
    "attach",
    "repository",
    "shell",
    "importing",
    "ownership",
    "streams",
}


@functools.cache
def tree_of(name: str) -> ast.Module:
    """A module's syntax: not read before a test asks, since every process of the suite loads this file."""
    return ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it; what is only for the type checker, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.Module) -> set[str]:
    return {name.split(".")[1] for name in imports(tree) if name.startswith("dodo_claude.")} & set(MODULES)


def test_the_rows_speak_of_modules_that_exist() -> None:
    for names in (*ALLOWED.values(), FACE, ENGINE, ALONE):
        assert names <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_third_parties_stay_where_they_belong(name: str) -> None:
    for imported in imports(tree_of(name)):
        top = imported.partition(".")[0]
        if top != "dodo_claude" and top not in sys.stdlib_module_names:
            assert name in ALLOWED.get(top, ()), f"{name} imports {top}"


@pytest.mark.parametrize("name", sorted(set(MODULES) - FACE))
def test_nobody_below_knows_the_face(name: str) -> None:
    assert not ours(tree_of(name)) & FACE


@pytest.mark.parametrize("name", sorted(ENGINE))
def test_the_engine_needs_no_third_party(name: str) -> None:
    """Of what it imports itself; `config` gives it names only."""
    reached, todo = set(), {name}
    while todo:
        here = todo.pop()
        reached.add(here)
        todo |= {other for other in ours(tree_of(here)) - reached if other != "config"}
    assert not reached & {"tmux", "prompts", "schema", "cli", *FACE}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_the_lowest_row_stands_alone(name: str) -> None:
    assert ours(tree_of(name)) <= {"clean", "errors"} - {name}


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports at the top of modules, those for the type checker left out."""
    graph = {name: set(_at_top(tree_of(name))) for name in MODULES}
    while True:
        leaves = {name for name, needs in graph.items() if not needs & set(graph)}
        if not leaves:
            break
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert graph == {}


def _at_top(tree: ast.Module) -> set[str]:
    return ours(ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], []))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_owns(name: str) -> None:
    text = ast.get_docstring(tree_of(name))
    assert text
    first = text.partition("\n")[0]
    assert len(first) > 20
