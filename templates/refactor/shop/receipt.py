"""What a customer takes home."""

from __future__ import annotations

import re

WIDTH = 32


def receipt(lines: list[str]) -> str:
    """A row for each line, WIDTH wide with its amount at the right, and the sum below. Names too long are cut."""
    rows = []
    cents = 0
    for line in lines:
        count, name, price = _split(line)
        cents += count * price
        rows.append(_row(f"{count} {name}", _text(count * price)))
    return "\n".join([*rows, "-" * WIDTH, _row("Total", _text(cents))]) + "\n"


def _row(left: str, right: str) -> str:
    room = WIDTH - len(right) - 1
    return f"{left[:room]:<{room}} {right}"


def _split(text: str) -> tuple[int, str, int]:
    found = re.fullmatch(r"\s*([1-9][0-9]*) x (.+) @ (.+)\s*", text)
    if found is None:
        raise ValueError(f"not a line of a cart: {text!r}")
    return int(found[1]), found[2], _cents(found[3].strip())


def _cents(text: str) -> int:
    found = re.fullmatch(r"([0-9]+)\.([0-9]{2})", text)
    if found is None:
        raise ValueError(f"not an amount: {text!r}")
    return int(found[1]) * 100 + int(found[2])


def _text(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100}.{abs(cents) % 100:02}"
