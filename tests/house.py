"""The plan of the package: its rooms, who may import whom, and which third parties stay where."""

from __future__ import annotations

import ast
from pathlib import Path

import dodo_claude

PACKAGE = Path(dodo_claude.__file__).parent
FILES = {path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")}
# Each room imports those of the rows before its own, and none of its row.
ROWS = ["text", "config machine", "state", "agents", "worker", "report", "run", "control", "plugin dashboard", "commands"]  # fmt: skip
DOORS = {"__init__", "__main__", "stages"}  # what users and installers name; they may import all
THIRD_PARTIES = {
    "libtmux": "machine", "jinja2": "config", "jsonschema": "config", "toml": "run", "doit": "plugin", "rich": "plugin dashboard",
    "textual": "dashboard", "aiohttp": "dashboard", "click": "commands", "mcp": "commands", "psutil": "machine",
}  # fmt: skip


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in it; what is only for the type checker, too."""
    nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(node.level == 0 and node.module for node in froms), "imports are absolute"
    return names | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}
