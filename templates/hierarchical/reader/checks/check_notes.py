"""Acceptance of notes.md: who has only read it can use measure.py. A line for each fault."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 40  # lines


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    text = (ROOT / "notes.md").read_text(encoding="utf-8")
    tree = ast.parse((ROOT / "measure.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            call = f"`{node.name}({', '.join(argument.arg for argument in node.args.args)})`"
            if call not in text:
                yield f"does not tell of {call}"
    if "ValueError" not in text:
        yield "does not say what is refused, and how"
    if len(text.splitlines()) > LONGEST:
        yield f"has more than {LONGEST} lines"


if __name__ == "__main__":
    found = [f"notes.md: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("notes.md tells of all that measure.py offers\n")
