"""The scripted agent in a real tmux pane that changes its size."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.agents.scripted.terminal import EVENTS, WITNESS, Terminal, environment


@pytest.mark.tmux
@pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")
def test_in_tmux(tmp_path: Path) -> None:
    terminal = Terminal.__new__(Terminal)
    terminal.home, terminal.record, terminal.screen = tmp_path, tmp_path / "events.jsonl", ""
    terminal.record.touch()
    scenario = '[stages.backend]\nsteps = [{ bash = "seq 1 99" }, { write = "a", text = "x" }, { say = "漢字 done" }]'
    (tmp_path / "scenario.toml").write_text(scenario)
    hooks = {event: [{"hooks": [{"type": "command", "command": WITNESS}]}] for event in EVENTS}
    (tmp_path / "settings.json").write_text(json.dumps({"hooks": hooks}))
    base = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]

    def tmux(*words: str) -> str:
        return subprocess.run(
            [*base, *words], check=True, capture_output=True, text=True, env=environment(tmp_path)
        ).stdout

    def capture() -> str:
        return tmux("capture-pane", "-p", "-J", "-S", "-", "-t", "w")

    def ended(turns: int) -> bool:
        return capture().count("✻ Worked") == turns

    terminal.read = lambda: time.sleep(0.02)  # type: ignore[method-assign,assignment,misc]
    agent = [
        sys.executable,
        "-m",
        "dodo_claude.agents.scripted",
        "--settings",
        str(tmp_path / "settings.json"),
    ]
    agent += ["--allowedTools", "Bash(seq *)", "Edit(./**)", "--permission-mode", "dontAsk"]
    tmux("new-session", "-d", "-s", "w", "-x", "60", "-y", "15", "-c", str(tmp_path), *agent)
    try:
        tmux("set-option", "-t", "w", "remain-on-exit", "on")
        terminal.await_event("SessionStart")
        for number in range(1, 5):
            tmux("set-buffer", "--", f"line one of {number}\nline two")
            tmux("paste-buffer", "-p", "-r", "-t", "w")
            tmux("send-keys", "-t", "w", "Enter")
            terminal.await_event("Stop", number)
            terminal.until(functools.partial(ended, number), "end of the turn")
            tmux("resize-window", "-t", "w", "-x", str(60 - 7 * number), "-y", "15")
        terminal.until(lambda: "mode on" in capture().rstrip().splitlines()[-1], "footer")
        assert [record["prompt"] for record in terminal.events("UserPromptSubmit")][
            3
        ] == "line one of 4\nline two"
        assert tmux("display-message", "-p", "-t", "w", "#{alternate_on}").strip() == "0"
        text = capture()
        assert [
            text.count(part) for part in ("NOT Claude", "❯ line one of", "● Bash(seq 1 99)", "● 漢字 done")
        ] == [1, 4, 4, 4]
        tmux("send-keys", "-t", "w", "/exit", "Enter")
        terminal.await_event("SessionEnd")
        # Not the status: this tmux sometimes reports the end without it.
        terminal.until(
            lambda: tmux("display-message", "-p", "-t", "w", "#{pane_dead}").strip() == "1", "exit"
        )
    finally:
        tmux("kill-server")
