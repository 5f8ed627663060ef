"""What a run came to, stage by stage, and the sums of that which it prints at its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from dodo_claude.text.durations import in_words

if TYPE_CHECKING:
    from dodo_claude.worker.witness import Overwritten

# Files that were overwritten: so many are told of again at the end.
MOST_OVERWRITTEN = 5


class Summary:
    """The names of the stages that doit is done with, by how that went."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.ignored: list[str] = []
        self.failed: list[str] = []
        self.fallen: list[str] = []  # they were done, and what they made is not there any more
        self.stopped: list[str] = []
        self.blocked: list[str] = []
        self.overwritten: list[Overwritten] = []

    def fell(self, name: str) -> None:
        """What was called done, or up to date, is so no more."""
        for names in (self.done, self.skipped):
            if name in names:
                names.remove(name)
        self.fallen.append(name)

    def sums(self, of_run: Collection[str], seconds: float) -> str:
        """How many stages became what; '' of none. `of_run`: those of this run, also those it did not come to."""
        stages = {
            "done": self.done,
            "up to date": self.skipped,
            "ignored": self.ignored,
            "failed": self.failed,
            "overwritten": self.fallen,
            "stopped": self.stopped,
            "not run": self.blocked,
        }
        told = {name for names in stages.values() for name in names}
        # A run that was stopped did not come to these.
        stages["not run"] = [*self.blocked, *(name for name in of_run if name not in told)]
        parts = [f"{len(names)} {word}" for word, names in stages.items() if names]
        if not parts:
            return ""
        total = sum(map(len, stages.values()))
        noun = "stage" if total == 1 else "stages"
        return f"{total} {noun}: {', '.join(parts)} ({in_words(seconds)})"

    def unsaid(self, line: Callable[[str], str]) -> Iterator[str]:
        """Why the exit status is not 0 where no stage's state says so. `line` makes one line of a text."""
        told = {*self.failed, *self.fallen}
        changes = [
            change
            for change in self.overwritten
            if change.stage not in told and not (change.known and change.by[0] in told)
        ]
        for change in changes[:MOST_OVERWRITTEN]:
            yield f"overwritten, so the exit status is not 0: {change.stage}: {line(change.text())}"
        if len(changes) > MOST_OVERWRITTEN:
            yield f"overwritten: {len(changes) - MOST_OVERWRITTEN} more files: see the report"
