"""The way in."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.agents.scripted.terminal import ROOT


def test_it_starts_without_heavy_imports() -> None:
    code = "import sys, dodo_claude.agents.scripted.__main__; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    heavy = {"asyncio", "dataclasses", "subprocess", "jinja2", "inspect", "shlex", "logging", "tempfile"}
    assert not heavy & set(result.stdout.split())
