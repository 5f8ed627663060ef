"""Reads the feedback and the themes, independently of any worker. Judges nothing: that is the checks' work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
POINTS = ("1", "2", "3", "4", "5")


def sources() -> list[str]:
    """The files of feedback."""
    return sorted(f"feedback/{path.name}" for path in (ROOT / "feedback").glob("*.md"))


def entries(source: str) -> list[tuple[str, str]]:
    """Points and words of each entry of a file."""
    text = (ROOT / source).read_text(encoding="utf-8")
    return [(points, words) for points, words in re.findall(r'(?m)^- ([1-5]) "(.+)"$', text)]


def points(found: list[tuple[str, str]]) -> dict[str, int]:
    """How many entries have so many points."""
    return {number: sum(given == number for given, _ in found) for number in POINTS}


def themes() -> list[str]:
    """The names of the themes."""
    text = (ROOT / "themes.md").read_text(encoding="utf-8")
    return [str(name) for name in re.findall(r"(?m)^- (\w+):", text)]


def load(name: str) -> Any:
    """A JSON file of the project."""
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def is_count(value: object) -> bool:
    """A whole number that counts something. True and 1.0 are equal to 1 and are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def same(value: object, counts: object) -> bool:
    """Is `value` these counts, as JSON would have them?"""
    return json.dumps(value, sort_keys=True) == json.dumps(counts, sort_keys=True)
