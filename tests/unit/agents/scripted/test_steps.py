"""What the steps of a scenario do."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agents.scripted.terminal import ENTER


def test_steps_change_files(start: Any) -> None:
    steps = """
      { capture = "path", from_prompt = 'GET (/\\S+)' }, { write = "a.py", text = "get('{path}', {x})\\n" },
      { edit = "a.py", old = "{x}", new = "1" }, { append = "a.py", text = "# end\\n" },
      { edit = "a.py", old = "nowhere", new = "" }, { bash = "false" }, { sleep = 0.01 }, { say = "{path} {stage}" },
    """
    rules = ("--permission-mode", "dontAsk", "--allowedTools", "Edit", "Edit(./**)", "Bash(false)")
    agent = start(steps, *rules, "--", "Make GET /me please")
    assert agent.await_event("Stop")["last_assistant_message"] == "/me backend"
    assert (agent.cwd / "a.py").read_text() == "get('/me', 1)\n# end\n"
    assert [record["tool_name"] for record in agent.events("PostToolUse")] == ["Write", "Edit", "Write"]
    assert agent.events("PostToolUseFailure")[0]["error"] == "Exit code 1"
    assert len(agent.events("PostToolBatch")) == 4


def test_a_capture_that_fails_stops_the_turn(start: Any) -> None:
    agent = start("""{ capture = "path", from_prompt = 'GET (\\S+)' }, { say = "never" }""", "--", "Go")
    assert "nothing that fits" in agent.await_event("Stop")["last_assistant_message"]


def test_background_work_comes_back_as_a_second_stop(start: Any) -> None:
    then = '{ background = { seconds = 0.1, then = [{ say = "ready" }] } }, { say = "waiting" }'
    agent = start(then, "--", "Go")
    agent.await_event("Stop", 2)
    first, second = agent.events("Stop")
    assert [task["status"] for task in first["background_tasks"]] == ["running"]
    assert (second["background_tasks"], second["last_assistant_message"]) == ([], "ready")
    assert agent.events("UserPromptSubmit")[1]["prompt"].startswith("<task-notification>")


@pytest.mark.parametrize(
    "kind", ["server_error", "authentication_failed", "billing_error", "model_not_found"]
)
def test_failures_take_the_place_of_stop(start: Any, kind: str) -> None:
    agent = start(f'{{ say = "x" }}, {{ fail = "{kind}" }}', "--", "Go")
    record = agent.await_event("StopFailure")
    assert record["error"] == kind
    agent.await_text(f"● {record['last_assistant_message']}")
    agent.await_text("\x1b[7mO\x1b[0;2mnce fixed")
    assert not agent.events("Stop")


def test_crashes_have_no_hooks(start: Any) -> None:
    agent = start("{ exit = 3 }", "--", "Go")
    assert agent.await_exit() == 3
    assert agent.names() == ["SessionStart", "UserPromptSubmit"]


def test_sigterm_ignored_and_a_child_that_outlives(start: Any, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    agent = start(
        f"{{ ignore_sigterm = true }}, {{ spawn = 'echo $$ > {note}; exec sleep 60' }}, {{ say = 'x' }}",
        "--",
        "Go",
    )
    agent.await_event("Stop")
    agent.until(lambda: note.exists() and note.read_text(), "child")
    child = int(note.read_text())
    try:
        agent.process.terminate()
        agent.type("still here" + ENTER)
        agent.await_event("UserPromptSubmit", 2)
        agent.process.kill()
        agent.await_exit()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
