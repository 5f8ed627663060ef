"""What happened in demo/work, read from its files: the plan, the journals, the results, the targets. Changes nothing."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DONE = "says that it is done"


@dataclass(frozen=True)
class Stage:
    """A stage as the run's plan has it."""

    name: str
    session: str
    prompt: str  # before its files were put in
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Event:
    """A line of a journal: a hook of the worker's client, or what the engine did."""

    kind: str
    at: float  # seconds since the epoch
    data: dict[str, Any]

    def told(self, root: Path) -> str:
        """What it says a worker did, in a few words; '' for what is no news to a person."""
        given = self.data.get("tool_input") or {}
        detail = str(given.get("file_path") or given.get("command") or "").split("\n")[0]
        detail = detail.replace(f"{root}/", "")
        return {
            "UserPromptSubmit": "has its prompt",
            "PreToolUse": f"{self.data.get('tool_name')} {detail}",
            "Stop": DONE,
            "verified": "targets and check are right" if self.data.get("ok") else "not done yet",
        }.get(self.kind, "")


class Facts:
    """The state folder of one project."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / ".orchestrate"
        self._sizes: dict[str, int] = {}

    def plan(self) -> list[Stage]:
        """The stages of the latest run that started any; [] before the first."""
        plans = sorted(self.state.glob("runs/*/plan.toml"), key=lambda path: path.stat().st_mtime)
        if not plans:
            return []
        stages = tomllib.loads(plans[-1].read_text(encoding="utf-8"))["stages"]
        return [
            Stage(name, entry["session"], entry["prompt"], tuple(entry["targets"]))
            for name, entry in stages.items()
        ]

    def attempts(self) -> dict[str, list[Path]]:
        """The folders of each stage's attempts, the oldest first."""
        folder = self.state / "stages"
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return {
            name: sorted(
                (path for path in (folder / name).iterdir() if path.name.isdigit()),
                key=lambda path: int(path.name),
            )
            for name in names
        }

    def workers(self) -> dict[str, int]:
        """How many workers each stage has had. An attempt that only checks files again has none."""
        return {
            name: sum((path / "launch.sh").exists() for path in paths)
            for name, paths in self.attempts().items()
        }

    def last(self, stage: str) -> Path:
        """The folder of a stage's last attempt."""
        return next(reversed(self.attempts().get(stage, [])), self.state / "stages" / stage / "0")

    def events(self, stage: str) -> list[Event]:
        """The journal of a stage's last attempt so far."""
        try:
            lines = (self.last(stage) / "journal.jsonl").read_bytes().splitlines(keepends=True)
        except OSError:
            return []
        # The last line may be under way.
        values = [json.loads(line) for line in lines if line.endswith(b"\n")]
        return [Event(value["kind"], value["at"], value["data"]) for value in values]

    def result(self, stage: str) -> dict[str, Any]:
        """How a stage's last attempt ended."""
        value: dict[str, Any] = json.loads((self.last(stage) / "result.json").read_bytes())
        return value

    def news(self) -> list[str]:
        """The stages whose journals grew since the last call."""
        grown = []
        for path in self.state.glob("stages/*/*/journal.jsonl"):
            size = path.stat().st_size
            if self._sizes.get(str(path), 0) != size:
                self._sizes[str(path)] = size
                grown.append(path.parent.parent.name)
        return sorted(grown)

    def lines(self, name: str) -> list[str]:
        """The lines of a file of the project."""
        return (self.root / name).read_text(encoding="utf-8").splitlines()


def find_block(block: list[str], lines: list[str]) -> int | None:
    """The index in `lines` where all of `block` stands, one line after the other."""
    for start in range(len(lines) - len(block) + 1):
        if lines[start : start + len(block)] == block:
            return start
    return None
