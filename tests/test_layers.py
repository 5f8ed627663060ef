"""Imports go down only: each third party has its own modules, each row knows only what is below it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dodo_claude

PACKAGE = Path(dodo_claude.__file__).parent
MODULES = {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.glob("*.py"))}

# Who may import what is not in the standard library.
ALLOWED = {
    "libtmux": {"tmux"},
    "jinja2": {"prompts"},
    "jsonschema": {"schema", "config"},
    "rich": {"live", "panes"},
    "textual": {"dashboard", "dialogs", "panes"},
    "toml": {"run"},
    "click": {"cli", "look", "talk"},
    "mcp": {"mcp_server"},
    "aiohttp": {"web"},
    "doit": {"loader", "tasks", "reporter", "backend", "commands", "runner", "stages", "explained", "late"},
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
    "worker",
    "monitors",
    "lifecycle",
    "policy",
    "mail",
    "permits",
    "verify",
    "processes",
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
    "lifecycle",
    "errors",
    "durations",
    "terminal",
    "records",
    "inputs",
    "redact",
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
    "streams",
}


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
    for imported in imports(MODULES[name]):
        top = imported.partition(".")[0]
        if top != "dodo_claude" and top not in sys.stdlib_module_names:
            assert name in ALLOWED.get(top, ()), f"{name} imports {top}"


@pytest.mark.parametrize("name", sorted(set(MODULES) - FACE))
def test_nobody_below_knows_the_face(name: str) -> None:
    assert not ours(MODULES[name]) & FACE


@pytest.mark.parametrize("name", sorted(ENGINE))
def test_the_engine_needs_no_third_party(name: str) -> None:
    """Of what it imports itself; `config` gives it names only."""
    reached, todo = set(), {name}
    while todo:
        here = todo.pop()
        reached.add(here)
        todo |= {other for other in ours(MODULES[here]) - reached if other != "config"}
    assert not reached & {"tmux", "prompts", "schema", "cli", *FACE}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_the_lowest_row_stands_alone(name: str) -> None:
    assert ours(MODULES[name]) <= {"errors"} - {name}


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports at the top of modules, those for the type checker left out."""
    graph = {name: set(_at_top(tree)) for name, tree in MODULES.items()}
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
    text = ast.get_docstring(MODULES[name])
    assert text
    first = text.partition("\n")[0]
    assert len(first) > 20
