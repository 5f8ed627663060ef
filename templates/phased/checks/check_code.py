"""Acceptance of slugs.py: the plan's slugs, and what holds for any title. A line for each fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator

sys.dont_write_bytecode = True

import plan  # noqa: E402

sys.path.insert(0, str(plan.ROOT))

NOTHING = ("", " ", "?!", "--", "日本")
ANY = (
    *NOTHING,
    "a" * 99,
    "x" + "-" * 99 + "y",
    "Ærø straße",
    "tab\tnewline\nend",
    "ﬁne ½",
    "a+b&c",
    "ЖУК 1",
    "\0",
)


def outcome(title: str) -> object:
    import slugs

    try:
        return slugs.slug(title)
    except ValueError as error:
        return (
            None
            if title in str(error) or repr(title) in str(error)
            else "a ValueError that does not quote it"
        )
    except Exception as error:
        return repr(error)


def faults() -> Iterator[str]:
    for title, wanted in plan.rows().items():
        if (got := outcome(title)) != wanted:
            yield f"slug({title!r}) is {got!r}, in the plan {wanted!r}"
    for title in NOTHING:
        if (got := outcome(title)) is not None:
            yield f"slug({title!r}) is {got!r}, not a ValueError"
    for title in (*ANY, *plan.rows()):
        got = outcome(title)
        if got is None:
            continue
        if not isinstance(got, str) or not plan.SLUG.fullmatch(got) or len(got) > plan.MOST:
            yield f"slug({title!r}) is {got!r}, which is no slug"
        elif outcome(got) != got:
            yield f"slug({got!r}) is {outcome(got)!r}: a slug is its own slug"


if __name__ == "__main__":
    plan.read("slugs.py")
    if found := [f"slugs.py: {fault}" for fault in faults()]:
        sys.exit("\n".join(found))
