"""What [orchestrate] says of a whole run, judged: its budget, durations and sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from dodo_claude.config.findings import Findings, show
from dodo_claude.config.records import (
    Budget,
)
from dodo_claude.text import durations

# Before a further attempt: one that waits longer is better made by the next run.
LONGEST_DELAY = 900.0  # seconds


# What one worker may be said to need, in bytes.
MOST_MEMORY = 10**12


_SIZE = re.compile(r" *(?P<number>[0-9.]+) *(?P<prefix>[kKMGT]?)(?P<binary>i?)B *")


def budget_of(table: Mapping[str, Any], findings: Findings) -> Budget:
    given = {key: value for key, value in table.items() if value is not None}
    cost = given.get("cost_usd")
    if cost is not None and math.isnan(cost):  # passes for a number between any two
        findings.add(("orchestrate", "budget", "cost_usd"), "nan is not a number")
    return Budget(**given)


def duration_of(
    table: Mapping[str, Any], key: str, default: float, most: float, words: str, findings: Findings
) -> float:
    """A duration of [orchestrate] in seconds; 0 is one."""
    text = table.get(key)
    if text is None:
        return default
    found = durations.seconds(text) or 0.0
    if found > most:
        findings.add(("orchestrate", key), f"{show(text)} is out of range", words)
    return found


def size_of(text: str | None, default: int, findings: Findings) -> int:
    """The bytes that such as '600MB' stands for: the schema's pattern has judged its form."""
    found = _SIZE.fullmatch(text or "")
    if found is None:
        return default
    base = 1024 if found["binary"] else 1000
    size = int(float(found["number"]) * base ** " KMGT".index(found["prefix"].upper() or " "))
    if size > MOST_MEMORY:
        findings.add(("orchestrate", "worker_memory"), f"{show(text)} is out of range", "at most 1TB")
    return size
