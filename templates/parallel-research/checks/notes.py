"""Reads the question, the candidates' facts and the notes on them. Judges nothing: that is the checks' work."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_POINTS = 5


def read(name: str) -> str:
    """A file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def headings(text: str) -> list[str]:
    """All headings, with their signs: `## Scores`."""
    return [line.rstrip() for line in text.splitlines() if re.match(r"#+ ", line)]


def section(text: str, heading: str) -> list[str]:
    """The lines below a heading up to the next one, without empty ones."""
    lines = [line.rstrip() for line in text.splitlines()]
    if heading not in lines:
        return []
    below = lines[lines.index(heading) + 1 :]
    end = next((number for number, line in enumerate(below) if re.match(r"#+ ", line)), len(below))
    return [line for line in below[:end] if line]


def table(lines: list[str]) -> list[list[str]]:
    """The cells of a Markdown table, its head first, without the line of dashes."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def criteria() -> dict[str, int]:
    """The question's criteria and their weights."""
    return {name: int(weight) for name, weight, _ in table(section(read("question.md"), "## Criteria"))[1:]}


def candidates() -> list[str]:
    """What `candidates/` holds, without `.md`."""
    return sorted(path.stem for path in (ROOT / "candidates").glob("*.md"))


def title(text: str) -> str:
    """The first heading's text."""
    return next(iter(headings(text)), "").lstrip("# ")


def facts(candidate: str) -> set[int]:
    """The numbers of a candidate's facts."""
    return {int(number) for number in re.findall(r"(?m)^(\d+)\. ", read(f"candidates/{candidate}.md"))}


def points(text: str) -> dict[str, int]:
    """The points of a note, by criterion. What is no number is left out."""
    rows = table(section(text, "## Scores"))[1:]
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and re.fullmatch(r"[0-9]{1,3}", row[1])}


def total(given: dict[str, int]) -> int:
    """Points times weights."""
    return sum(weight * given.get(name, 0) for name, weight in criteria().items())
