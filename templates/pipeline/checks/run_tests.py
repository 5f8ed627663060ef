"""Runs tests/test_durations.py and judges the tests too: enough of them, none skipped, none that faults get past."""

from __future__ import annotations

import faulthandler
import io
import sys
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TextIO

sys.dont_write_bytecode = True

import examples  # noqa: E402

sys.path.insert(0, str(examples.ROOT))

import durations  # noqa: E402

FILE = "tests/test_durations.py"
LEAST = 5  # tests
# Seconds after which tests that hang are ended, with their stacks shown.
LIMIT = 60

Function = Callable[[Any], Any]


def run(stream: TextIO, verbosity: int) -> unittest.TestResult:
    """All tests of FILE, read anew."""
    sys.modules.pop("test_durations", None)
    suite = unittest.TestLoader().discover(str(examples.ROOT / "tests"), "test_durations.py")
    return unittest.TextTestRunner(stream, verbosity=verbosity).run(suite)


@contextmanager
def instead(name: str, function: Function) -> Iterator[None]:
    """The module with another function of that name."""
    right = getattr(durations, name)
    setattr(durations, name, function)
    try:
        yield
    finally:
        setattr(durations, name, right)


class Fault(NamedTuple):
    """A module with a fault; it is none when the right function answers the same to `sample`."""

    what: str
    key: str
    function: Function
    sample: object


def faulty(read: Function, write: Function) -> list[Fault]:
    """Modules with a fault each. What the design allows is none: `sample` tells."""

    def never_refuses(text: str) -> object:
        try:
            return read(text)
        except ValueError:
            return 0

    def silent(text: str) -> object:
        try:
            return read(text)
        except ValueError:
            raise ValueError from None

    return [
        Fault("that reads one second too many", "text", lambda text: read(text) + 1, "90s"),
        Fault("that refuses nothing", "text", never_refuses, "never"),
        Fault("whose refusals say nothing", "text", silent, "never"),
        Fault("that reads text with blanks around it", "text", lambda text: read(text.strip()), " 90s "),
        Fault("that writes one second too many", "seconds", lambda seconds: write(seconds + 1), 90),
        Fault("that writes less than 0", "seconds", lambda seconds: write(abs(seconds)), -90),
    ]


def outcome(function: Function, given: object) -> object:
    """What the call gave, or the text of its refusal."""
    try:
        return function(given)
    except ValueError as error:
        return str(error)


def judge() -> str:
    """What is wrong, in one line; '' for nothing."""
    names = examples.functions(examples.sections(examples.read("docs/design.md"))["## Interface"])
    result = run(sys.stderr, 2)
    bad = [test.id().rpartition(".")[2] for test, _ in [*result.failures, *result.errors]]
    bad += [test.id().rpartition(".")[2] for test in result.unexpectedSuccesses]
    if bad:
        return f"{len(bad)} failed: {', '.join(bad)}"
    if result.skipped or result.expectedFailures:
        return f"{len(result.skipped) + len(result.expectedFailures)} were skipped or may fail"
    if result.testsRun < LEAST:
        return f"{result.testsRun} tests ran, at least {LEAST} are wanted"
    right = {key: getattr(durations, name) for key, name in names.items()}
    for fault in faulty(right["text"], right["seconds"]):
        if outcome(right[fault.key], fault.sample) == outcome(fault.function, fault.sample):
            continue
        with instead(names[fault.key], fault.function):
            if run(io.StringIO(), 0).wasSuccessful():
                return f"they also pass with a module {fault.what}"
    sys.stdout.write(f"{result.testsRun} tests passed, and see faults\n")
    return ""


if __name__ == "__main__":
    faulthandler.dump_traceback_later(LIMIT, exit=True)
    if fault := judge():
        sys.exit(f"{FILE}: {fault}")
