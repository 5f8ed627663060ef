"""Acceptance of docs/design.md: can others work by it, and does it agree with examples.txt? A line for each fault."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator

sys.dont_write_bytecode = True

import examples  # noqa: E402

HEADINGS = ["# Design", "## Interface", "## Rules", "## Examples", "## Not now"]
LEAST_RULES = 4
LEAST_ERRORS = 3


def example_faults(text: str) -> Iterator[str]:
    rows = examples.rows(text)
    if not rows or rows[0] != ["text", "seconds"]:
        yield "'## Examples' has no table | text | seconds |"
        return
    for row in rows[1:]:
        if len(row) != 2 or not re.fullmatch(r"[0-9]{1,18}|error", row[1]):
            yield f"the example {row} is not a text and its seconds, or error"
            return
    given = dict(rows[1:])
    for value, times in Counter(row[0] for row in rows[1:]).items():
        if times > 1:
            yield f"the example '{value}' is there {times} times"
    for value in examples.values():
        right = examples.seconds(value)
        if value not in given:
            yield f"no example '{value}', which is in examples.txt"
        elif right is not None and given[value] != str(right):
            yield f"the example '{value}' is {given[value]}, not {right}"
    errors = sum(seconds == "error" for seconds in given.values())
    if errors < LEAST_ERRORS:
        yield f"{errors} of the examples are errors, at least {LEAST_ERRORS} are wanted"


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    parts = examples.sections(examples.read("docs/design.md"))
    if list(parts) != HEADINGS:
        yield f"the headings are {list(parts)}, not {HEADINGS}"
        return
    try:
        examples.functions(parts["## Interface"])
    except ValueError as error:
        yield f"'## Interface': {error}"
    numbers = re.findall(r"(?m)^(\d+)\. \S", parts["## Rules"])
    if len(numbers) < LEAST_RULES or numbers != [str(number + 1) for number in range(len(numbers))]:
        yield f"'## Rules' is not a list 1., 2., … of at least {LEAST_RULES}: {numbers}"
    yield from example_faults(parts["## Examples"])
    if not re.search(r"(?m)^- \S", parts["## Not now"]):
        yield "'## Not now' is not a list (- …)"


if __name__ == "__main__":
    found = [f"docs/design.md: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("docs/design.md can be worked by\n")
