"""A project whose journals tell of a run, at a time of the test's own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.files import make_state_dir
from dodo_claude.report import gather
from dodo_claude.report.gather import Said
from dodo_claude.report.record import RunReport, StageReport, to_json
from dodo_claude.report.runs import Span
from dodo_claude.state import events as life
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.worker import verify
from tests.samples.reports import SHAPE
from tests.samples.stages import STAGE as SOME

# A stage that needs nothing.
API = replace(SOME, name="api", targets=("a.py",), file_dep=(), check="make")


DOC = replace(SOME, name="doc", targets=("d.md",), file_dep=("a.py",), check=None)


BUILD = replace(
    SOME, name="build", prompt=None, command="make all", agent=None, targets=(), file_dep=(), check=None
)


T0 = 1_000.0


class Scene:
    """A project whose clock is ours."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.now = root, T0
        self.state = make_state_dir(root)
        self.stages: list[Stage] = [API, DOC, BUILD]
        self.groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
        monkeypatch.setattr("dodo_claude.state.journal.time.time", lambda: self.now)

    @property
    def config(self) -> Config:
        return Config(
            self.root / "orchestrate.toml", self.root, "p", 4, "private", tuple(self.stages), self.groups
        )

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def log(self, name: str) -> StageLog:
        return StageLog(self.state, name)

    def write(self, name: str, data: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    def begin(self, name: str, **more: object) -> Attempt:
        stage, attempt = self.stage(name), self.log(name).begin()
        verify.keep_copies(self.root, stage.targets, attempt.dir / "before")
        attempt.record(
            "begun",
            definition={"agent": "claude"} if stage.agent else {},
            before=verify.fingerprints(self.root, stage.targets),
            copies=attempt.number,
            inputs=verify.fingerprints(self.root, stage.file_dep),
            **more,
        )
        if stage.agent is not None:
            attempt.record(life.SPAWNED, pane="%1", session="$1", pid=7)
            attempt.record("SessionStart", session_id="s-1")
            attempt.record("UserPromptSubmit", session_id="s-1")
        return attempt

    def end(
        self, attempt: Attempt, result: str = "succeeded", reason: str = "", *, settle: bool = True,
        message: str = "made it", seconds: float = 5.0, **more: object,
    ) -> None:  # fmt: skip
        stage = self.stage(attempt.log.stage)
        moved: list[str] = []
        if result != "succeeded":
            begun = next(event.data for event in attempt.replay())
            before = begun["before"]
            assert isinstance(before, dict)
            moved = verify.set_aside(
                self.root, stage.targets, before, attempt.dir / "before", attempt.dir / "partial"
            )
        self.now += seconds
        targets = verify.fingerprints(self.root, stage.targets)
        attempt.record(life.OUTCOME, result=result, reason=reason, targets=targets)
        attempt.finish(
            {
                "result": result, "reason": reason, "retry": False, "began": self.now - seconds, "seconds": seconds,
                "prompts": 1, "tools": 2, "repairs": 0, "session_id": "s-1" if stage.agent else None,
                "message": message, "tokens": 100, "cost_usd": 0.5, "targets": targets, "set_aside": moved, **more,
            }
        )  # fmt: skip
        # What a test's clock says is what a file system would have said.
        os.utime(attempt.journal, (self.now, self.now))
        if settle and result == "succeeded":
            attempt.log.settle()

    def done(self, name: str, **files: str | bytes) -> Attempt:
        attempt = self.begin(name)
        for file, data in files.items():
            self.write(file.replace("_", "."), data)
        self.end(attempt)
        return attempt

    def report(self, started: float = T0, said: Mapping[str, Said] | None = None, **span: Any) -> RunReport:
        told = gather.report(self.config, Span("r1", started, **span), said)
        jsonschema.validate(json.loads(to_json(told)), SHAPE)
        return told

    def told(self, name: str, **keys: Any) -> StageReport:
        return next(stage for stage in self.report(**keys).stages if stage.name == name)
