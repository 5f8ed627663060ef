"""The table of contents of a Markdown text."""

import re
from collections import Counter

from text.slug import slug

HEADING = re.compile(r"(#{2,4}) +(.*?)[ #]*")


def contents(markdown: str) -> str:
    """A line for each heading from ## to ####."""
    lines = []
    seen: Counter[str] = Counter()
    code = False
    for line in markdown.splitlines():
        if line.startswith("```"):
            code = not code
        elif not code and (found := HEADING.fullmatch(line)):
            name = slug(found[2])
            number, seen[name] = seen[name], seen[name] + 1
            mark = f"{name}-{number}" if number else name
            lines.append(f"{'  ' * (len(found[1]) - 2)}- [{found[2]}](#{mark})")
    return "\n".join(lines)
