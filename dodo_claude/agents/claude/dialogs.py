"""The client's dialogs before it begins, of which no hook tells."""

from __future__ import annotations

import re
from pathlib import Path

# Each problem of a settings file stands in a tree below the file's name, its further rows deeper.
_TREE = re.compile(r"  [├└] (?P<problem>.*)")
_TITLES = ("Settings Error", "Settings Warning")
# So much of what a dialog says is told.
TOLD = 300  # characters


def start_dialog(screen: str, attempt: Path) -> tuple[str, str] | None:
    """The dialog on `screen` (plain text) at which every worker would stop: its kind of `lifecycle.START_DIALOGS`, and what
    it says. None: there is none of these. Where the settings are those of `attempt`'s folder, ours, the client is at fault.
    """
    rows = screen.splitlines()
    words = [row.strip() for row in rows]
    if not any(row.startswith("Enter to confirm") for row in words):
        return None
    if any(row.endswith("Yes, I trust this folder") for row in words):
        folder = next((row for row in words if row.startswith("/")), "this folder")
        return "trust", f"it asks whether to trust {folder}"
    title = next((number for number, row in enumerate(words) if row in _TITLES), None)
    if title is None:
        return None
    files: list[list[str]] = []  # each with its problems
    for row in rows[title + 1 :]:
        if found := _TREE.match(row):
            files[-1:] = [[*(files[-1] if files else [""]), found["problem"].strip()]]
        elif re.match(r"  (/|[A-Z]:\\)", row):
            files.append([row.strip()])
        elif re.match(r"    +\S", row) and files and "❯" not in row and len(files[-1]) > 1:
            files[-1][-1] += f" {row.strip()}"
        elif row.strip() and files:
            break
    short = [[words.partition(" Valid events:")[0] for words in file] for file in files]
    text = "; ".join(f"{file}: {'; '.join(problems)}" for file, *problems in short)
    kind = "version" if str(attempt) in text else "settings"
    return kind, text if len(text) <= TOLD else text[: TOLD - 1] + "…"
