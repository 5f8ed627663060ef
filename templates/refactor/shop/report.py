"""What the owner wants to know of many carts."""

from __future__ import annotations

import re


def best_sellers(lines: list[str], most: int = 3) -> list[str]:
    """The names that brought in most, with the amount; of equals the first in the alphabet comes first."""
    sums: dict[str, int] = {}
    for line in lines:
        count, name, price = _split(line)
        sums[name] = sums.get(name, 0) + count * price
    ranked = sorted(sums.items(), key=lambda entry: (-entry[1], entry[0]))
    return [f"{name} {_text(cents)}" for name, cents in ranked[:most]]


def price_range(lines: list[str]) -> str:
    """The lowest and the highest price; '' for no lines."""
    prices = [_split(line)[2] for line in lines]
    return f"{_text(min(prices))} to {_text(max(prices))}" if prices else ""


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
