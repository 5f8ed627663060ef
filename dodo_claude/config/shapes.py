"""What a template of a path, or a glob, may come to be, as far as its text tells: a shape. Pure."""

from __future__ import annotations

import functools
import re

# A shape is a list of (what characters, any number of them?): "" any, NUL any but a slash, else the one itself.
Shape = tuple[tuple[str, bool], ...]


# Stands for what a plan's stages may make, which is the same for each plan; no target has it, as a part is one character.
ANY_PLAN: Shape = (("a plan", False),)


EXPRESSION = re.compile(r"\{\{.*?\}\}|\{[%#].*[%#]\}", re.S)


MAGIC = re.compile(r"[*?[]")


_GLOB_PART = re.compile(r"\*\*/?|\*|\?|\[!?\]?[^\]]*\]|.", re.S)


def shape_of(template: str) -> Shape:
    """All that a target's template may become."""
    shape: list[tuple[str, bool]] = []
    at = 0
    for found in EXPRESSION.finditer(template):
        shape += [(char, False) for char in template[at : found.start()]] + [("", True)]
        at = found.end()
    return (*shape, *((char, False) for char in template[at:]))


def shape_of_glob(glob: str) -> Shape:
    """All that a glob finds, and a little more: of `[ab]` any character."""
    shape: list[tuple[str, bool]] = []
    for part in _GLOB_PART.findall(glob):
        if part[:2] == "**":
            shape.append(("", True))
        else:
            magic = part in "*?" or len(part) > 1
            shape.append(("\0", part == "*") if magic else (part, False))
    return tuple(shape)


def expression_of(shape: Shape) -> str:
    """A shape as a regular expression for the whole of a path."""
    words = {"": ".", "\0": "[^/]"}
    return "".join(words.get(char, re.escape(char)) + ("*" if many else "") for char, many in shape) + r"\Z"


def overlap(one: Shape, other: Shape) -> bool:
    """Is there a text that has both shapes?

    All places in `other` that may be reached are one number, a bit for each: a pattern of a thousand signs is a
    thousand steps, and not a million.
    """
    places = _placed(other)
    many = places.many
    reached = _spread(1, many)
    for chars, more in one:
        alike = places.alike(chars)
        if more:
            reached = _spread(reached, alike | many)
        else:
            taken = reached & alike
            reached = _spread((taken & ~many) << 1 | taken & many, many)
        if not reached:
            return False
    return bool(reached >> len(other) & 1)


def _spread(reached: int, through: int) -> int:
    """With all places that are reached by going on through places of `through`: the carry of an addition runs through all
    ones in a row, and ends behind them."""
    return reached | (through ^ (through + (reached & through)))


def ends_differ(one: Shape, other: Shape) -> bool:
    """Do the characters differ that all of the one, and all of the other, begin or end with?"""
    for pairs in (zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False)):
        for (char, more), (another, any_more) in pairs:
            if more or any_more or char in ("", "\0") or another in ("", "\0"):
                break
            if char != another:
                return True
    return False


class _Places:
    """Of a shape, as bits: which parts stand for any number of characters, and which for some character."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self.many = sum(1 << index for index, (_, more) in enumerate(shape) if more)
        self._alike: dict[str, int] = {}

    def alike(self, chars: str) -> int:
        found = self._alike.get(chars)
        if found is None:
            bits = (1 << index for index, (others, _) in enumerate(self._shape) if _alike(chars, others))
            found = self._alike[chars] = sum(bits)
        return found


@functools.lru_cache(maxsize=1024)
def _placed(shape: Shape) -> _Places:
    return _Places(shape)


def _alike(chars: str, others: str) -> bool:
    if "" in (chars, others):
        return True
    if "\0" in (chars, others):
        return "/" not in (chars, others)
    return chars == others
