"""A real client on a terminal of its own, what its hooks report, and what they are made to answer."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from .client import client_env
from .messages_api import MessagesApi

# The client answers within a second or two, and some tests wait for a dozen of its turns; a loaded machine gets more.
PATIENCE = 60.0

# Enough events for these tests; a name the client does not know would make it refuse the whole file.
HOOKED = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PermissionRequest",
    "Stop",
    "StopFailure",
    "SessionEnd",
)

DIALOG_TOOLS = ("EnterPlanMode", "ExitPlanMode", "AskUserQuestion")

DONT_ASK = ("--permission-mode", "dontAsk")
WORKER_FLAGS = (
    *("--setting-sources", "user", "--strict-mcp-config", *DONT_ASK),
    *("--allowedTools", "Edit(./**)", "Bash(pytest *)"),
    *("--disallowedTools", *DIALOG_TOOLS),
)

# Reports the event, then prints the first of the answers that were laid out for it, which is thereby gone.
HOOK = """#!/bin/sh
now=$(date +%s%N)
cat > {spool}/.$now.$$ && mv {spool}/.$now.$$ {spool}/$now.$$.json
for answer in {answers}/$1/*; do
    [ -f "$answer" ] && mv "$answer" {answers}/.$$ && cat {answers}/.$$
    break
done
exit 0
"""


def wait_until(true: Callable[[], object], what: Callable[[], str], patience: float = PATIENCE) -> None:
    """Poll; `what` describes the state in which it was given up."""
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"not within {patience:g} s:\n{what()}")
        time.sleep(0.02)


@dataclass
class Tmux:
    """A server of our own on a private socket; panes stay when their process has ended."""

    socket: Path
    pids: list[int] = field(default_factory=list)

    def __call__(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments]
        env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
        return done.stdout.rstrip("\n")

    def start(self, script: Path, cwd: Path) -> Pane:
        new = (
            "new-session",
            "-d",
            "-P",
            "-F",
            "#{pane_id} #{pane_pid}",
            "-x",
            "120",
            "-y",
            "40",
            "-c",
            str(cwd),
        )
        remain = ("start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";")
        pane, pid = self(*remain, *new, f"exec sh {shlex.quote(str(script))}").split()
        self.pids.append(int(pid))
        return Pane(self, pane, int(pid))

    def close(self) -> None:
        if self.pids:
            self("kill-server")  # hangs up every pane
        for pid in self.pids:
            end = time.monotonic() + 5
            while _alive(pid):
                if time.monotonic() > end:
                    os.killpg(pid, signal.SIGKILL)
                    break
                time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()[0]
        )
    except (ProcessLookupError, PermissionError, FileNotFoundError):
        return False
    return state != "Z"


@dataclass
class Pane:
    """One client on a terminal."""

    tmux: Tmux
    id: str
    pid: int

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p", "-t", self.id)

    def shows(self, text: str) -> None:
        wait_until(lambda: text in self.screen(), lambda: f"{text!r} on\n{self.screen()}")

    def keys(self, *names: str) -> None:
        self.tmux("send-keys", "-t", self.id, *names)

    def paste(self, text: str, scratch: Path) -> None:
        scratch.write_bytes(text.encode())
        self.tmux("load-buffer", "-b", "b", str(scratch))
        self.tmux("paste-buffer", "-p", "-r", "-d", "-b", "b", "-t", self.id)

    def submit(self, text: str, scratch: Path) -> None:
        self.paste(text, scratch)
        self.keys("Enter")

    def exit_status(self) -> str:
        """Wait for the end; the exit code, or "" after a signal the client did not handle."""

        def ask(name: str) -> str:
            return self.tmux("display-message", "-p", "-t", self.id, f"#{{{name}}}")

        def known() -> str:
            # tmux 3.3a closes the pane, but may leave its process unreaped and the status empty until another child
            # of its own ends: give it one.
            if ask("pane_dead") == "1":
                self.tmux("run-shell", "true")
            return ask("pane_dead_status") or ask("pane_dead_signal")

        wait_until(known, self.screen)
        return ask("pane_dead_status")


@dataclass
class Lab:
    """A project folder, a home that trusts it, a model that follows `api.reply`, hooks that drop files in `spool`."""

    claude: Path
    root: Path
    project: Path
    home: Path
    spool: Path
    api: MessagesApi
    tmux: Tmux

    def settings(self, hooked: tuple[str, ...] = HOOKED, **more: Any) -> Path:
        """A --settings file whose hooks report to `spool`."""
        path = self.root / "settings.json"
        path.write_text(json.dumps({"hooks": self.hooks(self.spool, hooked), **more}), encoding="utf-8")
        return path

    def hooks(self, spool: Path, hooked: tuple[str, ...] = HOOKED) -> dict[str, Any]:
        spool.mkdir(exist_ok=True)
        script = spool.with_suffix(".sh")
        paths = {"spool": spool, "answers": self.answers}
        words = {name: shlex.quote(str(path)) for name, path in paths.items()}
        script.write_text(HOOK.format(**words), encoding="utf-8")
        command = f"sh {shlex.quote(str(script))}"
        return {name: [{"hooks": [{"type": "command", "command": f"{command} {name}"}]}] for name in hooked}

    @property
    def answers(self) -> Path:
        return self.root / "answers"

    def answer(self, event: str, *answers: dict[str, Any]) -> None:
        """Let the next runs of the event's hook print these, one each."""
        folder = self.answers / event
        folder.mkdir(parents=True, exist_ok=True)
        for number, answer in enumerate(answers):
            (folder / f"{number:03}").write_text(json.dumps(answer), encoding="utf-8")

    def events(self, spool: Path | None = None) -> list[dict[str, Any]]:
        """What the hooks wrote so far, oldest first."""
        files = sorted((spool or self.spool).glob("*.json"), key=lambda f: int(f.name.partition(".")[0]))
        return [json.loads(f.read_bytes()) for f in files]

    def named(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.events() if e["hook_event_name"] == name]

    def wait_for(self, name: str, pane: Pane, times: int = 1) -> dict[str, Any]:
        def state() -> str:
            return f"{name} x{times}; saw {[e['hook_event_name'] for e in self.events()]}\n{pane.screen()}"

        wait_until(lambda: len(self.named(name)) >= times, state)
        return self.named(name)[times - 1]

    def ask(self, prompt: str, *flags: str) -> subprocess.CompletedProcess[str]:
        """Print mode: one turn without a terminal."""
        return subprocess.run(
            [self.claude, "-p", *flags, "--", prompt],
            check=False,
            cwd=self.project,
            env=client_env(self.home, self.api.base_url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(
        self, *arguments: str, without: Iterable[str] = (), more: Mapping[str, str] | None = None
    ) -> Pane:
        """On a terminal, `without` these variables of the environment, with `more`."""
        env = {**client_env(self.home, self.api.base_url), "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1"}
        env |= more or {}
        env = {name: value for name, value in env.items() if name not in without}
        words = ["env", "-i", *(f"{k}={v}" for k, v in env.items()), str(self.claude), *arguments]
        script = self.root / "launch.sh"
        script.write_bytes(b"exec " + " ".join(map(shlex.quote, words)).encode() + b"\n")
        return self.tmux.start(script, self.project)
