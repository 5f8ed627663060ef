"""What the checks share: plan.md and titles.txt, read."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MOST = 40


def read(name: str) -> str:
    """A file of the project; its absence is what the check then says."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"{name}: can't be read: {error}")


def section(heading: str) -> str:
    """The text below a heading of plan.md."""
    found = re.search(rf"(?ms)^{heading}\n(.*?)(?=^#|\Z)", read("plan.md"))
    return found[1] if found else ""


def rules() -> list[str]:
    """The plan's rules, without their numbers."""
    return re.findall(r"(?m)^\d+\. (.+)", section("## Rules"))


def rows() -> dict[str, str]:
    """Title -> slug, of the plan's table."""
    cells = re.findall(r"(?m)^\| (.+?) \| (\S*) \|$", section("## Slugs"))
    return {title: slug for title, slug in cells if title != "title" and set(title) != {"-"}}


def titles() -> list[str]:
    """The titles of today."""
    return [line.strip() for line in read("titles.txt").splitlines() if line.strip()]
