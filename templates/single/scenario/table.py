"""A CSV file as a Markdown table: python3 table.py FILE.csv. request.md says what it does in each case."""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import csv
import re
import sys


def markdown(rows: list[list[str]]) -> str:
    """The table of some rows, the head first. ValueError for a row that is longer than the head, or no head."""
    if not rows:
        raise ValueError("has no head")
    width = len(rows[0])
    for number, row in enumerate(rows, 1):
        if len(row) > width:
            raise ValueError(f"row {number} has {len(row)} cells, the head {width}")
    cells = [[cell.strip() for cell in row] + [""] * (width - len(row)) for row in rows]
    marks = ["---:" if is_numeric(column) else "---" for column in zip(*cells, strict=True)]
    lines = [[escaped(cell) for cell in row] for row in cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], marks, *lines[1:]])


def is_numeric(column: tuple[str, ...]) -> bool:
    """Are all cells below the head numbers, empty ones aside?"""
    filled = [cell for cell in column[1:] if cell]
    return bool(filled) and all(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cell) for cell in filled)


def escaped(cell: str) -> str:
    """A cell as one line that ends no cell."""
    return re.sub(r"\r\n|\r|\n", "{line_end}", cell.replace("|", r"\|"))


def main(path: str) -> int:
    """Print the table of a file; 1 where there is none to print."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            print(markdown([row for row in csv.reader(file) if row]), end="")
    except (OSError, ValueError, csv.Error) as error:
        reason = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        print(f"{path}: {getattr(error, 'strerror', None) or reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: table.py FILE.csv")
    sys.exit(main(sys.argv[1]))
