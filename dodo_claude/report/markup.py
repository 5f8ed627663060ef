"""The page's markup: elements, and what all of its parts say in the same way.

Rule this file keeps: all markup comes from `tag`, which cleans and escapes whatever is not markup already.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from dodo_claude.report.words import many
from dodo_claude.text.clean import clean_text
from dodo_claude.text.states import DONE, FAILED, MARKS, RUNNING, STOPPED

# As which state an attempt looks.
BARS = {
    "succeeded": DONE, "failed": FAILED, "timed out": FAILED, "aborted": STOPPED, "running": RUNNING, "cut off": STOPPED
}  # fmt: skip


class Html(str):
    """Markup. Any other string is text."""

    __slots__ = ()


Child = str | None
_VOID = frozenset({"meta"})


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """An element. Text in it, and in its attributes, is cleaned and escaped; None is nothing.

    `class_` is the attribute class, and `aria_label` is aria-label.
    """
    found = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        found.append(key if value is True else f'{key}="{_escaped(shown)}"')
    start = f"<{' '.join(found)}>"
    return Html(start if name in _VOID else f"{start}{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Html:
    """Several, one after the other."""
    return Html(
        "".join(
            child if isinstance(child, Html) else _escaped(child) for child in children if child is not None
        )
    )


def _escaped(text: str) -> str:
    # Most texts are short and plain: there is nothing to clean.
    return html.escape(text if text.isascii() and text.isprintable() else clean_text(text))


def pre(*children: Child, **attributes: str) -> Html:
    """A text as it is, in all its lines."""
    # The parser drops a first newline: ours, rather than the text's.
    return tag("pre", "\n", *children, **attributes)


# -- of stages


def class_of(state: str) -> str:
    """What page.css calls a state."""
    return state.replace(" ", "-")


def mark(state: str) -> Html:
    """A state's sign, for eyes only."""
    return tag("span", f"{MARKS[state]} ", class_=class_of(state), aria_hidden="true")


def state_of(state: str) -> Html:
    """A state in its sign and its word."""
    return tag("span", mark(state), state, class_=f"state {class_of(state)}")


def left_out(count: int, noun: str, where: str) -> Html | None:
    """How many are not here, if any are not, and where they are."""
    text = f"{many(count, f'more {noun}')}: {where}."
    return tag("p", text, class_="quiet small") if count > 0 else None
