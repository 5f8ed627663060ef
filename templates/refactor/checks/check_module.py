"""Acceptance of shop/NAME.py: uses the shared types, does nothing of theirs itself, passes its tests. A line for each fault."""

from __future__ import annotations

import ast
import io
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TYPES = "shop.types"
# Helpers that every module had a copy of.
GONE = {"_split", "_cents", "_text"}
# What only taking amounts and lines apart needs.
NEEDLESS = {"re", "decimal", "fractions"}


def imported(tree: ast.Module) -> set[str]:
    """Full names of what a module of shop/ imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(part for part in ("shop" if node.level else "", node.module) if part)
            found |= {f"{base}.{name.name}" for name in node.names}
    return found


def source_faults(name: str) -> Iterator[str]:
    try:
        tree = ast.parse((ROOT / "shop" / f"{name}.py").read_text(encoding="utf-8"))
    except SyntaxError as error:
        yield f"line {error.lineno}: {error.msg}"
        return
    names = imported(tree)
    if not any(found == TYPES or found.startswith(f"{TYPES}.") for found in names):
        yield f"does not import from {TYPES}"
    for found in sorted(names):
        if found.startswith("shop.") and not f"{found}.".startswith(f"{TYPES}."):
            yield f"imports {found}: a module uses the types, no other module"
        if found.split(".")[0] in NEEDLESS:
            yield f"imports {found}: taking texts apart is the types' work"
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for found in sorted(defined & (GONE | {"Money", "Line"})):
        yield f"still has {found} of its own"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "float":
            yield f"line {node.lineno}: uses float, which can't hold cents"


def test_faults(name: str) -> Iterator[str]:
    suite = unittest.TestLoader().discover(str(ROOT / "tests"), f"test_{name}.py")
    result = unittest.TextTestRunner(io.StringIO(), verbosity=0).run(suite)
    for test, text in [*result.failures, *result.errors]:
        lines = [line for line in text.splitlines() if re.match(r"[A-Za-z_.]+(Error|Exception)\b", line)]
        yield f"{test.id().rpartition('.')[2]}: {(lines or ['failed'])[-1]}"
    if not result.testsRun or result.skipped or result.expectedFailures or result.unexpectedSuccesses:
        yield f"{result.testsRun} tests ran, {len(result.skipped)} were skipped"


if __name__ == "__main__":
    module = sys.argv[1]
    found = [f"shop/{module}.py: {fault}" for look in (source_faults, test_faults) for fault in look(module)]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"shop/{module}.py uses the shared types and answers as before\n")
