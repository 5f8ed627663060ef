"""The seed of a chaos run, and how its figures are told."""

from __future__ import annotations

import os
import random

import pytest

SEED = int(os.environ.get("DODO_CLAUDE_SEED") or random.SystemRandom().randrange(10**6))


def report(capsys: pytest.CaptureFixture[str], title: str, lines: list[str]) -> None:
    with capsys.disabled():
        print(f"\n== {title}, seed {SEED}", *lines, sep="\n   ")
