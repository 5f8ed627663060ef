"""The client's own state, which decides whether it starts without a dialog: trust, login, approved keys."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path


def state_file(environ: Mapping[str, str]) -> Path:
    """Where the client keeps its state: trust, onboarding, approved keys."""
    folder = environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or os.path.expanduser("~")
    return Path(folder) / ".claude.json"


def is_trusted(state: Mapping[str, object], folders: Iterable[Path]) -> bool:
    """Has the user trusted one of `folders` in the client?"""
    projects = state.get("projects")
    if not isinstance(projects, Mapping):
        return False
    for path in folders:
        entry = projects.get(str(path))
        if isinstance(entry, Mapping) and entry.get("hasTrustDialogAccepted") is True:
            return True
    return False


def with_trust(state: Mapping[str, object], folder: Path) -> dict[str, object]:
    """`state` with `folder` trusted."""
    projects = state.get("projects")
    table = dict(projects) if isinstance(projects, Mapping) else {}
    entry = table.get(str(folder))
    table[str(folder)] = {
        **(entry if isinstance(entry, Mapping) else {}),
        "hasTrustDialogAccepted": True,
    }
    return {**state, "projects": table}


def start_problems(state: Mapping[str, object], environ: Mapping[str, str]) -> list[str]:
    """What would stop the client at a dialog wherever it starts, trust aside: fact and remedy, a line each."""
    problems = []
    if state.get("hasCompletedOnboarding") is not True:
        problems.append("claude: has not been set up for this user (run `claude` once by hand, then log in)")
    key = environ.get("ANTHROPIC_API_KEY")
    if key and not _key_approved(state, key):  # a token beside it does not spare the question
        problems.append(
            "claude: would ask whether to use the key in ANTHROPIC_API_KEY (run `claude` once by hand and "
            "say yes, or unset the variable)"
        )
    return problems


def untrusted(folder: Path) -> str:
    """That the client would ask whether to trust `folder`, and what to do."""
    return (
        f"claude: does not trust {folder} (run `claude` there once and say yes, or run "
        "`doit orchestrate --trust`)"
    )


# The client remembers a key by its last so many characters.
KEY_TAIL = 20


def _key_approved(state: Mapping[str, object], key: str) -> bool:
    responses = state.get("customApiKeyResponses")
    approved = responses.get("approved") if isinstance(responses, Mapping) else None
    return isinstance(approved, list) and key[-KEY_TAIL:] in approved
