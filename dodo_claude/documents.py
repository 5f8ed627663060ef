"""orchestrate.toml as tables of stages, each with the file that it stands in and the folder its paths start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dodo_claude.findings import Findings
from dodo_claude.locate import KeyPath
from dodo_claude.paths import Project


@dataclass(frozen=True, slots=True)
class Document:
    """One file, judged by the schema."""

    values: Mapping[str, Any]
    findings: Findings
    project: Project  # as paths in this file mean it

    @property
    def tables(self) -> list[Table]:
        """Its stages."""
        stages = self.values.get("stages") or {}
        return [Table(name, values or {}, self) for name, values in stages.items()]


@dataclass(frozen=True, slots=True)
class Table:
    """What a file says of one stage or group of them."""

    name: str  # in its file
    values: Mapping[str, Any]
    document: Document

    @property
    def full_name(self) -> str:
        """As doit knows it."""
        return self.name

    @property
    def place(self) -> KeyPath:
        """In its file."""
        return ("stages", self.name)

    @property
    def targets(self) -> list[str]:
        """The templates of its targets."""
        return [target for target in self.values.get("targets") or () if target is not None]
