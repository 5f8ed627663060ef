"""Compiles the modules of text/ and runs their tests: a line `error: …` for each fault, and nothing is written.

What is not there yet is no error, unless --complete says that it should be.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import importlib
import re
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("slug", "toc")

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT))


def faults(name: str) -> Iterator[str]:
    """What is wrong with one module, in words."""
    file = f"text/{name}.py"
    source = (ROOT / file).read_text(encoding="utf-8")
    try:
        compile(source, file, "exec", dont_inherit=True)
        tests = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(f"tests.test_{name}"))
    except SyntaxError as error:
        yield f"{error.filename}:{error.lineno}: {error.msg}"
        return
    except Exception as error:  # whatever a module does when it is imported
        yield f"{file}: {type(error).__name__}: {error}"
        return
    result = unittest.TestResult()
    tests.run(result)
    for test, trace in [*result.failures, *result.errors]:
        yield f"tests/test_{name}.py: {test.id().rpartition('.')[2]}: {raised(trace)}"


def raised(trace: str) -> str:
    """The line of a traceback that names what was raised."""
    lines = trace.strip().splitlines()
    return next((line for line in lines if re.match(r"[A-Za-z_][\w.]*(Error|Exception)\b", line)), lines[-1])


def main(*, complete: bool) -> int:
    """Build; 1 when something is wrong."""
    count = 0
    for name in MODULES:
        if not (ROOT / f"text/{name}.py").is_file():
            print(f"{'error: ' if complete else ''}text/{name}.py: is not there yet")
            count += complete
            continue
        found = list(faults(name))
        count += len(found)
        print(f"text/{name}.py: {len(found)} error{'s' * (len(found) != 1)}")
        for fault in found:
            print(f"error: {fault}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(complete="--complete" in sys.argv[1:]))
