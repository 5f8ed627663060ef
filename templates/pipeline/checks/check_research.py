"""Acceptance of docs/research.md: counted again from examples.txt. A line for each fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

sys.dont_write_bytecode = True

import examples  # noqa: E402

HEADINGS = ["# Research", "## Units", "## Odd values", "## Doubts"]
LEAST_DOUBTS = 3


def unit_faults(text: str, plain: list[str]) -> Iterator[str]:
    rows = examples.rows(text)
    if not rows or rows[0] != ["unit", "times", "example"] or any(len(row) != 3 for row in rows):
        yield "'## Units' has no table | unit | times | example |"
        return
    wanted = {unit: sum(unit in value for value in plain) for unit in {*re.sub("[^a-z]", "", "".join(plain))}}
    given = {unit: times for unit, times, _ in rows[1:]}
    if given != {unit: str(times) for unit, times in wanted.items()} or len(rows) - 1 != len(wanted):
        yield f"the units are {given}, in examples.txt {wanted}"
    for unit, _, example in rows[1:]:
        if example not in plain or unit not in example:
            yield f"the example for {unit}, '{example}', is no value with that unit"


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    parts = examples.sections(examples.read("docs/research.md"))
    if list(parts) != HEADINGS:
        yield f"the headings are {list(parts)}, not {HEADINGS}"
        return
    values = examples.values()
    yield from unit_faults(parts["## Units"], [value for value in values if examples.is_plain(value)])
    odd = re.findall(r"(?m)^- `([^`]+)` +\S", parts["## Odd values"])
    wanted = [value for value in values if not examples.is_plain(value)]
    if sorted(odd) != sorted({*wanted}):
        yield f"the odd values are {odd}, in examples.txt {wanted}"
    doubts = re.findall(r"(?m)^- \S", parts["## Doubts"])
    if len(doubts) < LEAST_DOUBTS:
        yield f"'## Doubts' lists {len(doubts)}, at least {LEAST_DOUBTS} are wanted"


if __name__ == "__main__":
    found = [f"docs/research.md: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("docs/research.md says what is in examples.txt\n")
