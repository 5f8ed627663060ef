"""Reads examples.txt and the documents of the stages. Judges nothing: that is the checks' work."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds, for values that can be read in one way only.
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def read(name: str) -> str:
    """A file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def values() -> list[str]:
    """The values of examples.txt, in its order."""
    return [value.strip() for value in re.findall(r"(?m)^[^#\n=]+=(.+)$", read("examples.txt"))]


def is_plain(value: str) -> bool:
    """Is it numbers, each with a letter? All else is odd."""
    return re.fullmatch(r"(?:[0-9]+[a-z])+", value) is not None


def seconds(value: str) -> int | None:
    """What a plain value says; None for an odd one, or an unknown unit."""
    parts = re.findall(r"([0-9]+)([a-z])", value) if is_plain(value) else []
    known = all(unit in SECONDS for _, unit in parts)
    return sum(int(number) * SECONDS[unit] for number, unit in parts) if parts and known else None


def sections(text: str) -> dict[str, str]:
    """The text below each heading. Headings inside of fenced blocks are none."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    is_fenced = False
    for line in text.splitlines():
        is_fenced ^= line.startswith("```")
        if re.match(r"#+ ", line) and not is_fenced:
            lines = found.setdefault(line.rstrip(), [])
        else:
            lines.append(line)
    return {heading: "\n".join(below).strip() for heading, below in found.items()}


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, its head first, without the line of dashes and without backticks."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)]


def functions(interface: str) -> dict[str, str]:
    """Names of the design's functions by what they take, {'text': …, 'seconds': …}; ValueError when it has others."""
    block = re.fullmatch(r"(?s).*?```python\n(.*?)```.*", interface)
    if block is None:
        raise ValueError("there is no block fenced as ```python")
    try:
        tree = ast.parse(block[1])
    except SyntaxError as error:
        raise ValueError(f"its block is not Python: {error.msg}") from None
    heads = {ast.unparse(node).split("\n")[0] for node in tree.body if isinstance(node, ast.FunctionDef)}
    wanted = {"text": r"def (\w+)\(text: str\) -> int:.*", "seconds": r"def (\w+)\(seconds: int\) -> str:.*"}
    found = [(key, re.fullmatch(shape, head)) for key, shape in wanted.items() for head in heads]
    names = {key: match[1] for key, match in found if match}
    if len(names) != 2 or len(tree.body) != 2:
        raise ValueError("it is not def NAME(text: str) -> int and def NAME(seconds: int) -> str, no more")
    return names


def examples(design: str) -> dict[str, int | None]:
    """The design's examples: seconds of each text, None for those that are refused."""
    table = rows(sections(design).get("## Examples", ""))[1:]
    return {row[0]: int(row[1]) if row[1] != "error" else None for row in table}
