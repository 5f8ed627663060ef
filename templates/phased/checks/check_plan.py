"""Acceptance of plan.md: rules in order, and a slug that may be one for each title. A line for each fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

sys.dont_write_bytecode = True

import plan  # noqa: E402

HEADINGS = ["# Plan", "## Rules", "## Slugs"]


def faults() -> Iterator[str]:
    headings = re.findall(r"(?m)^#.*", plan.read("plan.md"))
    if headings != HEADINGS:
        yield f"the headings are {headings}, not {HEADINGS}"
    numbers = re.findall(r"(?m)^(\d+)\. ", plan.section("## Rules"))
    if len(numbers) < 4 or numbers != [str(number) for number in range(1, len(numbers) + 1)]:
        yield "'## Rules' is not a list 1., 2., … of at least 4"
    rows, titles = plan.rows(), plan.titles()
    if list(rows) != titles:
        missing = [title for title in titles if title not in rows]
        yield f"'## Slugs' lacks {missing}" if missing else "'## Slugs' is not in the order of titles.txt"
    for title, slug in rows.items():
        if not plan.SLUG.fullmatch(slug) or len(slug) > plan.MOST:
            yield f"'{slug}' of '{title}' is no slug"
    for slug in sorted({slug for slug in rows.values() if list(rows.values()).count(slug) > 1}):
        yield f"two titles have the slug '{slug}'"


if __name__ == "__main__":
    if found := [f"plan.md: {fault}" for fault in faults()]:
        sys.exit("\n".join(found))
