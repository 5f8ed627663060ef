"""Acceptance of total.json and report.md: counted again from the feedback itself. A line for each fault."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

sys.dont_write_bytecode = True

import entries  # noqa: E402

HEADINGS = ["# Feedback", "## In numbers", "## Themes", "## First thing to do"]


def right_total() -> dict[str, object]:
    """What total.json has to say: numbers from the feedback, themes from the results."""
    found = {source: entries.entries(source) for source in entries.sources()}
    everything = [entry for one in found.values() for entry in one]
    themes: Counter[str] = Counter()
    for source in found:
        result = entries.load(f"results/{PurePath(source).stem}.json")
        themes.update({one["theme"]: one["entries"] for one in result["themes"]})
    return {
        "sources": {source: len(one) for source, one in found.items()},
        "entries": len(everything),
        "points": entries.points(everything),
        "themes": dict(themes),
        "average": round(sum(int(points) for points, _ in everything) / len(everything), 2),
    }


def total_faults(right: dict[str, object]) -> Iterator[str]:
    try:
        given = entries.load("total.json")
    except ValueError as error:
        yield f"is not JSON: {error}"
        return
    if not isinstance(given, dict) or set(given) != set(right):
        yield f"is not an object with exactly the keys {sorted(right)}"
        return
    for key, value in right.items():
        if not entries.same(given[key], value):
            yield f"{key} is {given[key]}, not {value}"


def report_faults(right: dict[str, object]) -> Iterator[str]:
    text = (entries.ROOT / "report.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^(#+ .+)\n", text)
    if parts[0].strip() or [heading.rstrip() for heading in parts[1::2]] != HEADINGS:
        yield f"the headings are {parts[1::2]}, not {HEADINGS}"
        return
    _, numbers, themes, first = (" ".join(part.split()) for part in parts[2::2])
    for number in (right["entries"], right["average"]):
        if not re.search(rf"(?<![\d.]){re.escape(str(number))}(?!\.?\d)", numbers):
            yield f"'## In numbers' does not give {number}"
    counts = right["themes"]
    assert isinstance(counts, dict)
    lines = re.findall(r"(?:^|(?<= ))- (\w+) \((\d+)\): (.*?)(?= - \w+ \(|$)", themes)
    if {name: int(count) for name, count, _ in lines} != counts or len(lines) != len(counts):
        yield f"'## Themes' lists {[line[:2] for line in lines]}, not {counts}"
    elif [int(count) for *_, count, _ in lines] != sorted(counts.values(), reverse=True):
        yield "'## Themes' does not begin with the most frequent theme"
    for name, _, said in lines:
        if '"' not in said:
            yield f"'## Themes' has no quote for {name}"
    words = [words for source in entries.sources() for _, words in entries.entries(source)]
    for quote in re.findall(r'"([^"]*)"', " ".join(text.split())):
        if not any(quote in one for one in words):
            yield f"nobody said {quote!r}"
    if not any(re.search(rf"\b{name}\b", first) for name in counts):
        yield "'## First thing to do' names no theme"


if __name__ == "__main__":
    right = right_total()
    found = [f"total.json: {fault}" for fault in total_faults(right)]
    found += [f"report.md: {fault}" for fault in report_faults(right)]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("total.json and report.md are what the feedback says\n")
