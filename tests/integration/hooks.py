"""Hooks that fail as a test wishes."""

from __future__ import annotations

import json
import os
import time

from tests.project import Project


def failures(lines: list[str]) -> list[str]:
    return [line for line in lines if "FAILED" in line]


def hook_file(project: Project, stage: str, attempt: int, event: dict[str, object]) -> None:
    """What hook.sh would leave."""
    spool = project.log(stage).dir / str(attempt) / "spool"
    # As hook.sh's, none that is still there: it would be removed with that one.
    name = str(time.monotonic_ns())
    (spool / f".{name}").write_text(json.dumps(event))
    os.replace(spool / f".{name}", spool / name)
