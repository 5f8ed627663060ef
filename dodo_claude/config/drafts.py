"""A stage before it is finished, and what is known around its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dodo_claude.config import beside
from dodo_claude.config.findings import At, Findings, did_you_mean, first_of
from dodo_claude.config.paths import Project
from dodo_claude.config.records import AgentProfile, Stage, enclosing
from dodo_claude.text.errors import Problem


@dataclass(slots=True)
class Draft:
    """A stage, and where in the file each thing it names stands."""

    stage: Stage
    at: At
    session: At
    targets: dict[str, At] = field(default_factory=dict)
    file_dep: dict[str, At] = field(default_factory=dict)
    globs: dict[str, At] = field(default_factory=dict)
    prompt_globs: dict[str, At] = field(default_factory=dict)
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of each glob its files
    after: dict[str, At] = field(default_factory=dict)
    report: At | None = None  # the prompt that uses the report
    said: dict[str, Callable[[], Problem]] = field(
        default_factory=dict
    )  # of each file in a prompt: where it is

    def take(self, other: Draft) -> None:
        """What is said of all stages of an included file, is said of this one."""
        for name in ("file_dep", "globs", "after"):
            mine, theirs = getattr(self, name), getattr(other, name)
            for key, at in theirs.items():
                mine.setdefault(key, at)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stage's table is read against."""

    name: str
    project: Project
    defaults: Mapping[str, Any]
    agents: Mapping[str, AgentProfile]
    agent: AgentProfile | None  # stands in for every stage's own
    known: frozenset[str]  # names of all stages, those of items and groups too, as this file writes them
    late: frozenset[str]  # of these the groups whose items are not known yet
    tasks: frozenset[str]  # of dodo.py
    findings: Findings
    monitors: beside.Monitors = field(default_factory=beside.Monitors)
    protect: tuple[str, ...] = ()  # of [defaults]: one for all stages

    def known_name(self, name: str, prefix: str) -> str | None:
        """The full name of the stage or group to wait for: for an item that is not known yet, its group."""
        if name not in self.known:
            name = next((group for group in enclosing(name) if group in self.late), "")
        return prefix + name if name else None

    def nearest_stage(self, name: str) -> str:
        known = self.known
        return did_you_mean(name, known, f"known stages: {first_of(known)}")
