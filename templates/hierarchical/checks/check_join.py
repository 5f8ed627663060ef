"""Acceptance of convert.py: it does the examples of request.md, by the two modules. A line for each fault."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = re.compile(r"(?m)^ +\$ python3 convert\.py (.+)\n +(.+)$")
REFUSED = (["20 C", "m"], ["x C", "F"], ["20 Q", "F"], ["20 C", "Q"])


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The program with these arguments."""
    return subprocess.run(
        [sys.executable, "-B", "convert.py", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def imports() -> set[str]:
    """The modules that it imports from."""
    tree = ast.parse((ROOT / "convert.py").read_text(encoding="utf-8"))
    found = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return found | {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    for module in sorted({"reader.measure", "writer.text"} - imports()):
        yield f"it does not import {module}"
    examples = EXAMPLE.findall((ROOT / "request.md").read_text(encoding="utf-8"))
    if not examples:
        yield "request.md has no example"
    for words, wanted in examples:
        done = run(*shlex.split(words))
        if (done.returncode, done.stdout.strip()) != (0, wanted):
            yield f"{words}: {done.stdout.strip() or done.stderr.strip()[-200:]!r}, not {wanted!r}"
    for refused in REFUSED:
        done = run(*refused)
        if done.returncode != 1 or len(done.stderr.splitlines()) != 1 or done.stdout:
            yield f"{shlex.join(refused)}: exit status {done.returncode}, not 1 with one line on standard error"


if __name__ == "__main__":
    found = [f"convert.py: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("convert.py does what request.md says\n")
