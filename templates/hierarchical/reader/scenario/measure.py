"""Reads measurements."""

from __future__ import annotations

import re

_FORM = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*(C|F|K|m|ft)\s*")


def read(text: str) -> tuple[float, str]:
    """Value and unit; ValueError for all else."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no measurement")
    return float(found[1]), found[2]
