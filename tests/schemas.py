"""The schemas of what programs read, as they are shipped; tests judge real outputs by them."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

NAMES = ("status", "report", "event", "finding", "receipt", "permit", "gc", "check")


def shape(name: str) -> dict[str, Any]:
    """The schema of that name."""
    file = resources.files("dodo_claude").joinpath("schemas", f"{name}.schema.json")
    return dict(json.loads(file.read_text(encoding="utf-8")))
