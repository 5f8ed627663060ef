"""What a cart costs less."""

from __future__ import annotations

import re

# Cents from which a cart has a discount, and percent of it.
STEPS = ((10_000, 10), (5_000, 5))


def discount(lines: list[str]) -> str:
    """What is taken off: 5 percent from 50.00 on, 10 from 100.00 on, rounded down to a cent."""
    cents = 0
    for line in lines:
        count, _, price = _split(line)
        cents += count * price
    percent = next((percent for least, percent in STEPS if cents >= least), 0)
    return _text(cents * percent // 100)


def missing(lines: list[str]) -> str:
    """What has to be added for the next discount; 0.00 where there is none."""
    cents = 0
    for line in lines:
        count, _, price = _split(line)
        cents += count * price
    steps = [least for least, _ in reversed(STEPS) if least > cents]
    return _text(steps[0] - cents) if steps else "0.00"


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
