"""Acceptance of research/NAME.md: its form, its sums, and that each judgement rests on a fact. A line for each fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

sys.dont_write_bytecode = True

import notes  # noqa: E402

HEADINGS = ["## In short", "## Strengths", "## Weaknesses", "## Scores", "## Open questions"]
LONGEST = 60  # words of "In short"
LEAST = {"## Strengths": 2, "## Weaknesses": 1, "## Open questions": 1}  # entries of a list


def unfounded(line: str, facts: set[int]) -> str:
    """What is wrong with the facts that a line names, '' for nothing."""
    found = re.search(r"\[(\d+(?:, ?\d+)*)\]\.?$", line)
    if found is None:
        return "names no fact at its end, like [2] or [2, 6]"
    unknown = [number for number in found[1].replace(" ", "").split(",") if int(number) not in facts]
    return f"names facts that there are not: {', '.join(unknown)}" if unknown else ""


def list_faults(text: str, facts: set[int]) -> Iterator[str]:
    for heading, least in LEAST.items():
        lines = notes.section(text, heading)
        entries = [" ".join(part.split()) for part in re.split(r"(?m)^- ", "\n".join(lines))[1:]]
        if len(entries) < least or not lines[0].startswith("- "):
            yield f"'{heading}' is not a list (- …) of at least {least}"
        for entry in entries if heading != "## Open questions" else ():
            if wrong := unfounded(entry, facts):
                yield f"'{heading}': '{entry[:60]}' {wrong}"


def score_faults(text: str, facts: set[int]) -> Iterator[str]:
    lines = notes.section(text, "## Scores")
    rows = notes.table(lines)
    wanted = notes.criteria()
    if not rows or rows[0] != ["criterion", "points", "why"]:
        yield "'## Scores' has no table | criterion | points | why |"
        return
    if [row[0] for row in rows[1:]] != list(wanted):
        yield f"the table's criteria are {[row[0] for row in rows[1:]]}, not {list(wanted)}"
    for row in rows[1:]:
        if len(row) != 3 or not re.fullmatch(f"[1-{notes.MOST_POINTS}]", row[1]):
            yield f"the row of '{row[0]}' is not a criterion, 1 to {notes.MOST_POINTS} points and a reason"
        elif wrong := unfounded(row[2], facts):
            yield f"the reason for '{row[0]}' {wrong}"
    total = f"Total: {notes.total(notes.points(text))} of {notes.MOST_POINTS * sum(wanted.values())}"
    if total not in lines:
        yield f"no line '{total}', which is what the points add up to"


def faults(candidate: str) -> Iterator[str]:
    """Everything that does not hold, in words."""
    text = notes.read(f"research/{candidate}.md")
    facts = notes.facts(candidate)
    wanted = [f"# {notes.title(notes.read(f'candidates/{candidate}.md'))}", *HEADINGS]
    if notes.headings(text) != wanted:
        yield f"the headings are {notes.headings(text)}, not {wanted}"
        return
    words = len(" ".join(notes.section(text, "## In short")).split())
    if not 0 < words <= LONGEST:
        yield f"'## In short' has {words} words, not 1 to {LONGEST}"
    yield from list_faults(text, facts)
    yield from score_faults(text, facts)


if __name__ == "__main__":
    name = sys.argv[1]
    found = [f"research/{name}.md: {fault}" for fault in faults(name)]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"research/{name}.md judges by the criteria, and by facts\n")
