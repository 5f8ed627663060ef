"""What the shop's modules share: amounts of money, and the lines of a cart. Owns how both are written as text."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Money:
    """An amount in whole cents; may be negative, though no text is read as that."""

    cents: int

    @classmethod
    def parse(cls, text: str) -> Money:
        """The amount that a text like 3.50 says; ValueError for any other."""
        found = re.fullmatch(r"([0-9]+)\.([0-9]{2})", text)
        if found is None:
            raise ValueError(f"not an amount: {text!r}")
        return cls(int(found[1]) * 100 + int(found[2]))

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        return f"{sign}{abs(self.cents) // 100}.{abs(self.cents) % 100:02}"

    def __add__(self, other: Money) -> Money:
        return Money(self.cents + other.cents) if isinstance(other, Money) else NotImplemented

    def __sub__(self, other: Money) -> Money:
        return Money(self.cents - other.cents) if isinstance(other, Money) else NotImplemented

    def __mul__(self, count: int) -> Money:
        return Money(self.cents * count) if isinstance(count, int) else NotImplemented


@dataclass(frozen=True)
class Line:
    """One line of a cart: so many of a thing, at this price each."""

    count: int
    name: str
    price: Money

    @classmethod
    def parse(cls, text: str) -> Line:
        """The line that a text like 2 x Tea @ 3.50 says; ValueError for any other."""
        found = re.fullmatch(r"([1-9][0-9]*) x (.+) @ ([0-9]+\.[0-9]{2})", text.strip())
        if found is None:
            raise ValueError(f"not a line of a cart: {text!r}")
        return cls(int(found[1]), found[2], Money.parse(found[3]))

    @property
    def total(self) -> Money:
        """The price times the count."""
        return self.price * self.count
