"""A scenario's faults, as the user's. Apart from scenario.py because dodo_claude.text.errors is slow to import."""

from __future__ import annotations

from dodo_claude.text.errors import DodoClaudeError


class ScenarioError(DodoClaudeError):
    """A scenario file that cannot be played; `problems` has one line each: file, place, fact, remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
