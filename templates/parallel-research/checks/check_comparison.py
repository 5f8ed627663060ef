"""Acceptance of comparison.md: does it say what the notes in research/ say, and rank by it? A line for each fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

sys.dont_write_bytecode = True

import notes  # noqa: E402

HEADINGS = ["# Comparison", "## Scores", "## Ranking", "## Recommendation", "## Doubts"]

Given = dict[str, dict[str, int]]  # points by name and criterion


def score_faults(text: str, given: Given) -> Iterator[str]:
    names = sorted(given)
    wanted = [["criterion", "weight", *names]]
    wanted += [
        [criterion, str(weight), *(str(given[name].get(criterion)) for name in names)]
        for criterion, weight in notes.criteria().items()
    ]
    wanted += [["total", "", *(str(notes.total(given[name])) for name in names)]]
    rows = notes.table(notes.section(text, "## Scores"))
    for row, right in zip(rows, wanted, strict=False):
        if row != right:
            yield f"the table says {row} where the notes give {right}"
    if len(rows) != len(wanted):
        yield f"the table has {len(rows)} rows with its head, not {len(wanted)}"


def ranking_faults(text: str, given: Given) -> Iterator[str]:
    ranked = []
    for place, line in enumerate(notes.section(text, "## Ranking"), 1):
        found = re.match(rf"{place}\. (.+?): (\d+), \S", line)
        if found is None or found[1] not in given:
            yield f"'## Ranking': '{line[:60]}' is not '{place}. NAME: TOTAL, why'"
            return
        ranked.append(found[1])
        if int(found[2]) != notes.total(given[found[1]]):
            yield f"'## Ranking' gives {found[1]} {found[2]}, its note {notes.total(given[found[1]])}"
    if sorted(ranked) != sorted(given):
        yield f"'## Ranking' has {ranked}, not each of {sorted(given)} once"
        return
    totals = [notes.total(given[name]) for name in ranked]
    if totals != sorted(totals, reverse=True):
        yield f"'## Ranking' is not by totals, best first: {totals}"
    best = [name for name in given if notes.total(given[name]) == max(totals)]
    advice = " ".join(notes.section(text, "## Recommendation")).replace("*", "")
    if not any(re.match(rf"{re.escape(name)}\b", advice) for name in best):
        yield f"'## Recommendation' does not begin with the first of the ranking, {' or '.join(best)}"
    doubts = notes.section(text, "## Doubts")
    if not doubts or not doubts[0].startswith("- ") or not any(name in " ".join(doubts) for name in given):
        yield "'## Doubts' is not a list (- …) that speaks of the candidates"


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    texts = [notes.read(f"research/{candidate}.md") for candidate in notes.candidates()]
    given = {notes.title(text): notes.points(text) for text in texts}
    text = notes.read("comparison.md")
    if notes.headings(text) != HEADINGS:
        yield f"the headings are {notes.headings(text)}, not {HEADINGS}"
        return
    yield from score_faults(text, given)
    yield from ranking_faults(text, given)


if __name__ == "__main__":
    found = [f"comparison.md: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("comparison.md says what the notes say\n")
