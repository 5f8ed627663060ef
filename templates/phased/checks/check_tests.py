"""Runs tests/test_slugs.py, also on modules with a fault, and the examples of docs/slugs.md. A line for each fault."""

from __future__ import annotations

import io
import re
import sys
import unittest
from collections.abc import Callable, Iterator

sys.dont_write_bytecode = True

import plan  # noqa: E402

sys.path.insert(0, str(plan.ROOT))

import slugs  # noqa: E402

right = slugs.slug


def never_refuses(title: str) -> str:
    try:
        return right(title)
    except ValueError:
        return "page"


FAULTY: dict[str, Callable[[str], str]] = {
    "that refuses nothing": never_refuses,
    "that breaks off in mid-word": lambda title: (right(title) + "-" + "x" * plan.MOST)[: plan.MOST],
    "that keeps capitals": lambda title: right(title).capitalize(),
    "that leaves '&' out": lambda title: right(title.replace("&", " ")),
    "that leaves '+' out": lambda title: right(title.replace("+", " ")),
}


def run(function: Callable[[str], str]) -> unittest.TestResult:
    """All tests, read anew, with another function in the module."""
    sys.modules.pop("test_slugs", None)
    slugs.slug = function
    suite = unittest.TestLoader().discover(str(plan.ROOT / "tests"), "test_slugs.py")
    return unittest.TextTestRunner(io.StringIO(), verbosity=0).run(suite)


def test_faults() -> Iterator[str]:
    result = run(right)
    for test, text in (*result.failures, *result.errors):
        yield f"{test.id().rpartition('.')[2]}: {text.strip().splitlines()[-1]}"
    if result.testsRun < len(plan.rules()) or result.skipped:
        yield f"{result.testsRun} tests ran, {len(result.skipped)} were skipped; the plan has {len(plan.rules())} rules"
    if result.wasSuccessful():
        yield from (
            f"they also pass with a module {what}"
            for what, made in FAULTY.items()
            if run(made).wasSuccessful()
        )


def doc_faults() -> Iterator[str]:
    text = plan.read("docs/slugs.md")
    slugs.slug = right
    examples = re.findall(r"`([^`\n]+)` is `([^`\n]+)`", text)
    for title, wanted in examples:
        if (got := right(title)) != wanted:
            yield f"slug({title!r}) is {got!r}, not {wanted!r}"
    numbers = re.findall(r"(?m)^(\d+)\. ", text)
    if numbers != [str(number) for number in range(1, len(plan.rules()) + 1)] or len(examples) < len(numbers):
        yield f"it does not give each of the {len(plan.rules())} rules with an example"


if __name__ == "__main__":
    plan.read("tests/test_slugs.py")
    found = [f"tests/test_slugs.py: {fault}" for fault in test_faults()]
    if found := [*found, *(f"docs/slugs.md: {fault}" for fault in doc_faults())]:
        sys.exit("\n".join(found))
