"""What a cart costs."""

from __future__ import annotations

import re


def total(lines: list[str]) -> str:
    """The sum of all lines, such as 2 x Tea @ 3.50. ValueError for a text that is no line."""
    cents = 0
    for line in lines:
        count, _, price = _split(line)
        cents += count * price
    return _text(cents)


def merged(lines: list[str]) -> list[str]:
    """The same cart with one line for each name and price, in the order of their first appearance."""
    counts: dict[tuple[str, int], int] = {}
    for line in lines:
        count, name, price = _split(line)
        counts[(name, price)] = counts.get((name, price), 0) + count
    return [f"{count} x {name} @ {_text(price)}" for (name, price), count in counts.items()]


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
