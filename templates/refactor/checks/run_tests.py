"""Runs all tests of tests/, in a process without anything else; none may fail, be skipped or be missing."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def judge() -> str:
    """What is wrong, in one line; '' for nothing."""
    tested = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    modules = {path.stem for path in (ROOT / "shop").glob("*.py")} - {"__init__", "types"}
    if untested := modules - tested:
        return f"without tests: {', '.join(sorted(untested))}"
    suite = unittest.TestLoader().discover(str(ROOT / "tests"), "test_*.py")
    result = unittest.TextTestRunner(sys.stderr, verbosity=1).run(suite)
    if not result.wasSuccessful():
        return f"{len(result.failures) + len(result.errors)} of {result.testsRun} tests failed"
    if result.skipped or result.expectedFailures or not result.testsRun:
        return f"{result.testsRun} tests ran, {len(result.skipped)} were skipped"
    sys.stdout.write(f"{result.testsRun} tests passed\n")
    return ""


if __name__ == "__main__" and (fault := judge()):
    sys.exit(fault)
