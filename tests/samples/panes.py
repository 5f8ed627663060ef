"""Waiting for what a pane does."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 20.0


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)
