"""Writes measurements."""

from __future__ import annotations

_UNITS = ("C", "F", "K", "m", "ft")


def write(value: float, unit: str) -> str:
    """The text of a measurement; ValueError for a unit that is none."""
    if unit not in _UNITS:
        raise ValueError(f"unknown unit: {unit!r}")
    return f"{round(value, 1) + 0.0:.1f} {unit}"
