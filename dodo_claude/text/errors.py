"""What a user did wrong, as data. Owns the faults that end in one line of text.

Whoever catches a DodoClaudeError prints its str and no traceback. A fault of our own is any other exception.
"""

from __future__ import annotations

from dataclasses import dataclass

from dodo_claude.text.clean import one_line


class DodoClaudeError(Exception):
    """A fault of the user's or of their surroundings; str() is the line to print."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One fault in one file. Line and column count from 1, columns in characters.

    `file` is relative to the project; `path` names the value (`stages.review.timeout`) and may be empty, as
    may `remedy`. Problems sort by place.
    """

    file: str
    line: int
    column: int
    path: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: "
        path = f"{self.path}: " if self.path else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return one_line(where + path + self.text + remedy)


class ConfigError(DodoClaudeError):
    """All that is wrong with a configuration, in the order of its lines; str() is one line for each."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
