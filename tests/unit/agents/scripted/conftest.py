"""Fixture: starts scripted agents and ends them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.agents.scripted.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts agents and ends them. A scenario without a table is the steps of the stage's only turn."""
    terminals: list[Terminal] = []

    def start(scenario: str, *words: str, **settings: Any) -> Terminal:
        text = scenario if "[stages" in scenario else f"[stages.backend]\nsteps = [{scenario}]"
        terminals.append(Terminal(tmp_path, text, *words, **settings))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()
