"""Acceptance of shop/types.py: tries out what docs/types.md says of Money and Line. A line for each fault."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from functools import partial
from pathlib import Path
from typing import Any

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

AMOUNTS = {"0.00": 0, "0.05": 5, "3.50": 350, "1234567.89": 123_456_789}
NO_AMOUNTS = (
    "", "3", "3.5", "3.500", ".50", "-3.50", "+3.50", "3,50", " 3.50", "3.50\n", "٣.٥٠", "٣.50", "1e2", "nan",
)  # fmt: skip
NO_LINES = (
    "", "2 x Tea", "Tea @ 3.50", "0 x Tea @ 3.50", "-1 x Tea @ 3.50", "2.5 x Tea @ 3.50",
    "2 x  @ 3.50", "2 x Tea @ 3.5", "2xTea@3.50", "2 x Tea @ ", "٢ x Tea @ 3.50",
)  # fmt: skip


def raised(function: Callable[[], object]) -> BaseException | None:
    """What the call raised; None when it gave an answer."""
    try:
        function()
    except Exception as error:
        return error
    return None


def refusal_faults(name: str, parse: Callable[[str], object], texts: tuple[str, ...]) -> Iterator[str]:
    for text in texts:
        error = raised(partial(parse, text))
        if not isinstance(error, ValueError):
            yield f"{name}({text!r}) is no ValueError but {error!r}"
        elif text.strip() not in str(error) and repr(text)[1:-1] not in str(error):
            yield f"the ValueError of {name}({text!r}) does not quote the text: {error}"


def money_faults(types: Any) -> Iterator[str]:
    money = types.Money
    for text, cents in AMOUNTS.items():
        if money.parse(text) != money(cents) or money.parse(text).cents != cents or str(money(cents)) != text:
            yield f"Money.parse({text!r}) is {money.parse(text)!r}, str(Money({cents})) is {str(money(cents))!r}"
    if str(money(-5)) != "-0.05" or str(money(-350)) != "-3.50":
        yield f"str(Money(-5)) is {str(money(-5))!r}, str(Money(-350)) is {str(money(-350))!r}"
    yield from refusal_faults("Money.parse", money.parse, NO_AMOUNTS)
    if (money(1) + money(2), money(1) - money(2), money(7) * 3) != (money(3), money(-1), money(21)):
        yield "the sum, the difference or the product of amounts is wrong"
    wrong: dict[str, Callable[[], object]] = {
        "Money + 1": lambda: money(1) + 1,
        "Money - 1": lambda: money(1) - 1,
        "Money * 1.5": lambda: money(1) * 1.5,
        "Money * Money": lambda: money(1) * money(1),
        "Money < 1": lambda: money(1) < 1,
    }
    for what, function in wrong.items():
        if not isinstance(raised(function), TypeError):
            yield f"{what} is no TypeError"
    if sorted([money(1000), money(-1), money(900)]) != [money(-1), money(900), money(1000)]:
        yield "amounts are not ordered by their size"
    if len({money(1), money(1)}) != 1:
        yield "equal amounts do not have equal hashes"
    if not isinstance(raised(lambda: setattr(money(1), "cents", 2)), FrozenInstanceError):
        yield "Money is not frozen"


def line_faults(types: Any) -> Iterator[str]:
    line = types.Line
    for text, count, name, cents in (
        ("2 x Tea @ 3.50", 2, "Tea", 350),
        ("  10 x Cup x 2 @ home @ 12.05 ", 10, "Cup x 2 @ home", 1205),
    ):
        made = line.parse(text)
        if made != line(count, name, types.Money(cents)):
            yield f"Line.parse({text!r}) is {made!r}"
        elif made.total != types.Money(count * cents):
            yield f"the total of {text!r} is {made.total!r}"
    yield from refusal_faults("Line.parse", line.parse, NO_LINES)
    tea = line(1, "Tea", types.Money(1))
    if not isinstance(raised(lambda: setattr(tea, "count", 2)), FrozenInstanceError):
        yield "Line is not frozen"


def faults() -> Iterator[str]:
    """Everything that does not hold, in words."""
    try:
        from shop import types

        yield from money_faults(types)
        yield from line_faults(types)
    except Exception as error:  # whatever the module raises where it should not
        yield f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    found = [f"shop/types.py: {fault}" for fault in faults()]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write("shop/types.py does what docs/types.md says\n")
