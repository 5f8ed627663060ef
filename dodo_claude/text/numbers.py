"""Numbers as people read them: in groups of three digits."""

from __future__ import annotations


def grouped(number: int) -> str:
    """1234567 is '1 234 567'."""
    return f"{number:,}".replace(",", " ")
