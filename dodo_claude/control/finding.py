"""What `dodo-claude doctor` says of one thing that it looked at: a record, and how a line that is said elsewhere becomes one."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

OK, NOTE, WRONG = "ok", "note", "WRONG"
_REMEDY = re.compile(r"\A(?P<text>.*?)(?: \((?P<remedy>[^()]*(?:\([^()]*\)[^()]*)*)\))?\Z", re.S)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    result: str  # ok | note | WRONG
    text: str
    remedy: str = ""

    def record(self) -> dict[str, str]:
        """For programs."""
        return {**asdict(self), "result": self.result.lower()}


def wrong(name: str, line: str) -> Finding:
    """Of a line as it is said elsewhere: the fact, and in parentheses the remedy."""
    found = _REMEDY.match(line)
    assert found is not None  # every part of the pattern may be missing
    return Finding(name, WRONG, found["text"], found["remedy"] or "")
