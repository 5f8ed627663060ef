"""One scripted agent on a pseudo-terminal, and what tests do to it.

A hook that appends each record to one file is the witness; nothing here waits for a fixed time where an event comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[4]
# How long an event may take on a loaded machine, in seconds.
PATIENCE = 10.0
# One write per record: hooks of two events may run at the same time.
WITNESS = 'x=$(cat); printf "%s\\n" "$x" >>"$EVENTS"'
ENTER, ESC, CTRL_C = "\r", "\x1b", "\x03"
EVENTS = (
    *("SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch"),
    *(
        "PermissionRequest",
        "Notification",
        "Stop",
        "StopFailure",
        "SubagentStop",
        "PreCompact",
        "PostCompact",
    ),
    "SessionEnd",
)


class Terminal:
    """One agent on a pseudo-terminal, with its hook records."""

    def __init__(self, home: Path, scenario: str, *words: str, **settings: Any) -> None:
        self.home = home
        self.cwd = home / "work_dir"
        self.cwd.mkdir(parents=True, exist_ok=True)
        self.record = home / "events.jsonl"
        self.record.touch()
        (home / "scenario.toml").write_text(scenario)
        table: dict[str, Any] = {
            event: [{"hooks": [{"type": "command", "command": WITNESS}]}] for event in EVENTS
        }
        for event, command in settings.pop("answers", {}).items():
            table[event][0]["hooks"].append({"type": "command", "command": command})
        for event, hook in settings.pop("extra", {}).items():
            table[event][0]["hooks"].append({"type": "command", **hook})
        for event, group in settings.pop("matched", {}).items():
            table[event].append(group)
        (home / "settings.json").write_text(json.dumps({"hooks": table, **settings}))
        self.session = str(uuid.uuid4())
        given = ["--settings", str(home / "settings.json"), *words]
        if "--resume" not in given:
            given = ["--session-id", self.session, *given]
        self.screen = ""
        master, slave = pty.openpty()
        self.master = master
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", "dodo_claude.agents.scripted", *given],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=self.cwd,
            env=environment(home),
            start_new_session=True,
        )
        os.close(slave)

    def read(self, wait: float = 0.02) -> None:
        if select.select([self.master], [], [], wait)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                self.screen += os.read(self.master, 65536).decode("utf-8", "replace")

    def until(self, holds: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, f"no {what}; screen:\n{self.screen}\nevents: {self.names()}"
            self.read()

    def type(self, text: str) -> None:
        data = text.encode()
        while data:
            data = data[os.write(self.master, data[:2000]) :]
            self.read(0)

    def paste(self, text: str) -> None:
        self.type(f"\x1b[200~{text}\x1b[201~")

    def events(self, name: str = "") -> list[dict[str, Any]]:
        lines = self.record.read_text().split("\n")[:-1]
        records = [json.loads(line) for line in lines if line]
        return [record for record in records if name in ("", record["hook_event_name"])]

    def names(self) -> list[str]:
        return [record["hook_event_name"] for record in self.events()]

    def await_event(self, name: str, count: int = 1) -> dict[str, Any]:
        self.until(lambda: len(self.events(name)) >= count, f"{name} number {count}")
        return self.events(name)[count - 1]

    def await_text(self, text: str) -> None:
        self.until(lambda: text in self.screen, f"{text!r} on the screen")

    def await_file(self, name: str) -> None:
        self.until(lambda: (self.cwd / name).exists(), f"file {name}")

    def await_done(self, count: int = 1) -> None:
        self.until(lambda: len(re.findall("✻ Worked for", self.screen)) >= count, f"end of turn {count}")

    def await_exit(self) -> int:
        self.until(lambda: self.process.poll() is not None, "exit")
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)


# What every agent gets besides; a test may add to it.
ENVIRONMENT: dict[str, str] = {}


def environment(home: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "DODO_CLAUDE_SCENARIO": str(home / "scenario.toml"),
        "DODO_CLAUDE_STAGE": "backend",
        "EVENTS": str(home / "events.jsonl"),
        **ENVIRONMENT,
        **more,
    }


def answer(**decision: Any) -> str:
    return f"cat >/dev/null; printf '%s' '{json.dumps(decision)}'"


def told(event: str, text: str) -> str:
    """A hook that tells the agent something."""
    return answer(hookSpecificOutput={"hookEventName": event, "additionalContext": text})


def once(folder: Path, command: str) -> str:
    """A hook that answers the first time only."""
    return f"mkdir {folder}/answered 2>/dev/null || exit 0; {command}"
