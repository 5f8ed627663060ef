"""Acceptance of results/NAME.json: counted again from the feedback, quotes looked up. A line for each fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

sys.dont_write_bytecode = True

import entries  # noqa: E402

KEYS = {"source", "entries", "points", "themes", "summary"}
LONGEST = 50  # words of the summary
SHORTEST = 3  # words of a quote


def theme_faults(given: Any, said: list[str]) -> Iterator[str]:
    known = entries.themes()
    keys = {"theme", "entries", "quote"}
    if not isinstance(given, list) or not all(isinstance(one, dict) and set(one) == keys for one in given):
        yield f"themes is not a list of objects with {sorted(keys)}"
        return
    names = [one["theme"] for one in given]
    if not all(name in known for name in names) or len({*names}) != len(names):
        yield f"the themes {names} are not each once of {known}"
    counts = [one["entries"] for one in given]
    if not all(entries.is_count(count) and count for count in counts) or sum(counts) != len(said):
        yield f"the themes have {counts} entries; each entry has one theme, so the sum is {len(said)}"
    elif counts != sorted(counts, reverse=True):
        yield f"the most frequent theme does not come first: {counts}"
    for one in given:
        quote = one["quote"]
        if not isinstance(quote, str) or len(quote.split()) < SHORTEST:
            yield f"the quote for {one['theme']} is not text of {SHORTEST} words or more"
        elif not any(quote in words for words in said):
            yield f"nobody said {quote!r}"


def faults(name: str) -> Iterator[str]:
    """Everything that does not hold, in words."""
    try:
        given = entries.load(f"results/{name}.json")
    except ValueError as error:
        yield f"is not JSON: {error}"
        return
    if not isinstance(given, dict) or set(given) != KEYS:
        yield f"is not an object with exactly the keys {sorted(KEYS)}"
        return
    source = f"feedback/{name}.md"
    found = entries.entries(source)
    if given["source"] != source:
        yield f"source is {given['source']!r}, not {source!r}"
    if not entries.same(given["entries"], len(found)):
        yield f"entries is {given['entries']}; {source} has {len(found)}"
    if not entries.same(given["points"], entries.points(found)):
        yield f"points is {given['points']}; {source} has {entries.points(found)}"
    yield from theme_faults(given["themes"], [words for _, words in found])
    words = len(given["summary"].split()) if isinstance(given["summary"], str) else 0
    if not 0 < words <= LONGEST:
        yield f"the summary has {words} words, not 1 to {LONGEST}"


if __name__ == "__main__":
    name = sys.argv[1]
    found = [f"results/{name}.json: {fault}" for fault in faults(name)]
    if found:
        sys.exit("\n".join(found))
    sys.stdout.write(f"results/{name}.json is what feedback/{name}.md says\n")
