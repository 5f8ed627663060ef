"""Journals of a made-up project, written as a run would."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dodo_claude.config.config import load_config
from dodo_claude.machine.files import make_state_dir
from dodo_claude.state import events as life
from dodo_claude.state.journal import Attempt, StageLog
from dodo_claude.worker import verify

STAGES = """[orchestrate]
name = "p"

[stages.api]
prompt = "Do it."
targets = ["a.py"]
check = "make"

[stages.ui]
prompt = "Do it."
targets = ["u.py"]

[stages.doc]
prompt = "Do it."
file_dep = ["a.py"]
targets = ["d.md"]
after = ["ui"]
"""


class Journals:
    """A project's folder as a run would fill it, by hand."""

    holder = f"pid {os.getpid()} since 2026-01-01 00:00:00"

    def __init__(self, root: Path, text: str = STAGES) -> None:
        self.root, self.sessions = root, dict[str, bool]()
        (root / "orchestrate.toml").write_text(text)
        self.state = make_state_dir(root)
        self._lock = -1

    # -- a run

    def run_begins(self) -> None:
        self._lock = os.open(self.state / "run.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{self.holder}\n".encode(), 0)
        folder = self.state / "runs" / f"{time.time_ns()}-{os.getpid()}"
        folder.mkdir(parents=True)
        (folder / "plan.toml").write_text("[run]\n")

    def run_ends(self) -> None:
        os.close(self._lock)
        self._lock = -1

    def close(self) -> None:
        if self._lock >= 0:
            self.run_ends()

    # -- attempts

    def begin(self, name: str, **keys: object) -> Attempt:
        stage = next(
            stage for stage in load_config(self.root / "orchestrate.toml").stages if stage.name == name
        )
        attempt = StageLog(self.state, name).begin()
        attempt.record(
            life.BEGUN, definition={"agent": "claude"}, before=verify.fingerprints(self.root, stage.targets),
            inputs=verify.fingerprints(self.root, stage.file_dep), copies=attempt.number, **keys,
        )  # fmt: skip
        attempt.record(life.SPAWNED, pane="%1", session="$1", pid=os.getpid())
        attempt.record("SessionStart", session_id="s-1")
        attempt.record("UserPromptSubmit", session_id="s-1", prompt="Do it.")
        return attempt

    def end(self, attempt: Attempt, result: str = "succeeded", reason: str = "") -> None:
        names = {"api": ["a.py"], "ui": ["u.py"], "doc": ["d.md"]}[attempt.log.stage]
        targets: Mapping[str, Any] = verify.fingerprints(self.root, names)
        attempt.record(life.OUTCOME, result=result, reason=reason, targets=targets)
        attempt.finish(
            {
                "result": result,
                "reason": reason,
                "seconds": 5.0,
                "tokens": 100,
                "cost_usd": 0.5,
                "targets": targets,
            }
        )
        if result == "succeeded":
            attempt.log.settle()
        else:
            attempt.log.forget()

    def done(self, name: str, file: str, text: str = "x\n") -> Attempt:
        attempt = self.begin(name)
        (self.root / file).write_text(text)
        self.end(attempt)
        return attempt
