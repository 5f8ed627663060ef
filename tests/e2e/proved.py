"""Facts of a client's version are proved once: none of our code has a part in them, and a version's files do not change.

    python -m tests.e2e.proved      proves those of the version under test, and writes that down

The tests of FACTS run where that is not written down in proved.json: for another version, and when they, or what they
stand on, changed. DODO_CLAUDE_LONG runs them anyway.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from .client import VERSION

HERE = Path(__file__).parent
FACTS = ("test_client_facts.py", "test_client_mail.py")
# What they stand on; trust.py is what they hold against the client's own judgement.
BELOW = ("conftest.py", "lab.py", "client.py", "messages_api.py", "../../dodo_claude/agents/claude/trust.py")
RECORD = HERE / "proved.json"


def mark() -> str:
    """Of the facts' tests as they are now."""
    sums = hashlib.sha256()
    for name in (*FACTS, *BELOW):
        sums.update(hashlib.sha256((HERE / name).read_bytes()).digest())
    return sums.hexdigest()


def is_proved(version: str = VERSION) -> bool:
    """Did these very tests pass with that version?"""
    return not os.environ.get("DODO_CLAUDE_LONG") and _record().get(version) == mark()


def _record() -> dict[str, str]:
    try:
        found = json.loads(RECORD.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {str(version): str(each) for version, each in found.items()}


def main() -> int:
    os.environ["DODO_CLAUDE_LONG"] = "1"
    before, passed = mark(), 0

    class Count:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            nonlocal passed
            passed += report.when == "call" and report.passed

    code = int(pytest.main(["-q", *(str(HERE / name) for name in FACTS)], [Count()]))
    if code == 0 and passed and before == mark():
        text = json.dumps({**_record(), VERSION: before}, indent=1, sort_keys=True)
        RECORD.write_text(text + "\n", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
