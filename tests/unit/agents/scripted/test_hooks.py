"""Hooks' records are compared with what the real client was seen to send; when hooks run, and what they know."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.agents.scripted.terminal import ENTER, Terminal

SAMPLES = Path(__file__).parents[3] / "data" / "hooks"


def keys_of(value: Any) -> Any:
    """A record's keys, at every depth."""
    if isinstance(value, dict):
        return {key: keys_of(part) for key, part in value.items()}
    return [keys_of(part) for part in value[:1]] if isinstance(value, list) else None


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The records of one session that has everything, and of its resumption."""
    home = tmp_path_factory.mktemp("conformance")
    scenario = """
    [stages.backend]
    permission_notice = 0.0
    [[stages.backend.turns]]
    steps = [{ write = "a.txt", text = "t" }, { bash = "false" }, { permission = "Bash", command = "echo one" }]
    [[stages.backend.turns]]
    steps = [{ fail = "rate_limit" }]
    """
    first = Terminal(
        home, scenario, "--permission-mode", "acceptEdits", "--allowedTools", "Bash(false)", "--", "Go"
    )
    first.await_event("Notification")
    first.type(ENTER)
    first.await_done()
    first.type("/compact" + ENTER)
    first.await_event("PostCompact")
    first.until(lambda: "Compacted" in first.screen, "end of compaction")
    first.type("again" + ENTER)
    first.await_event("StopFailure")
    first.process.terminate()
    first.await_exit()
    again = Terminal(home, scenario, "--resume", first.session)
    again.until(lambda: len(again.events("SessionStart")) == 3, "resumed session")
    records = again.events()
    first.close()
    again.close()
    return records


@pytest.mark.parametrize("sample", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_records_have_the_clients_keys(witnessed: list[dict[str, Any]], sample: str) -> None:
    real = json.loads((SAMPLES / f"{sample}.json").read_text())
    name, _, variant = sample.partition(".")
    ours = [record for record in witnessed if record["hook_event_name"] == name]
    if variant and name != "Stop":
        ours = [record for record in ours if variant in record.values()]
    assert ours, f"no {sample} among {[record['hook_event_name'] for record in witnessed]}"
    for record in ours:
        wanted, got = keys_of(real), keys_of(record)
        if name == "PermissionRequest":  # the suggestions differ from call to call
            del wanted["permission_suggestions"], got["permission_suggestions"]
        if name == "PostToolBatch":  # and so do the calls
            wanted, got = (set(keys["tool_calls"][0]) | set(keys) for keys in (wanted, got))
        assert got == wanted


def test_records_agree_with_each_other(witnessed: list[dict[str, Any]]) -> None:
    names = [record["hook_event_name"] for record in witnessed]
    assert names[:3] == ["SessionStart", "UserPromptSubmit", "PreToolUse"]
    assert [n for n in names if "Compact" in n or n == "SubagentStop"] == [
        "PreCompact",
        "SubagentStop",
        "PostCompact",
    ]
    assert len({record["session_id"] for record in witnessed}) == 1
    assert {record["transcript_path"] for record in witnessed if "work-dir" in record["transcript_path"]}
    turns = {
        record["prompt_id"] for record in witnessed if record["hook_event_name"] in ("Stop", "PreToolUse")
    }
    assert len(turns) == 1
    assert [record["reason"] for record in witnessed if record["hook_event_name"] == "SessionEnd"] == [
        "other"
    ]
    assert not [record for record in witnessed if record["hook_event_name"] == "Stop"][1:]


def test_hooks_can_be_off_and_can_overrun(start: Any) -> None:
    agent = start('{ say = "x" }', "--", "Go", disableAllHooks=True)
    agent.await_done()
    assert agent.names() == []
    silent = start('[stages.backend]\nno_hooks = true\nsteps = [{ say = "x" }]', "--", "Go")
    silent.await_done()
    assert silent.names() == []
    slow = start('{ say = "x" }', "--", "Go", extra={"Stop": {"command": "sleep 60; exit 2", "timeout": 0.2}})
    slow.await_done()
    assert len(slow.events("Stop")) == 1


def test_a_waiting_hook_wakes_an_idle_session(start: Any, tmp_path: Path) -> None:
    gate = tmp_path / "inbox"
    os.mkfifo(gate)
    waiter = {
        "command": f"cat >/dev/null; [ -e {gate} ] || exit 0; cat {gate} >&2; rm {gate}; exit 2",
        "asyncRewake": True,
    }
    agent = start('{ say = "x" }', "--", "Go", extra={"Stop": waiter})
    agent.await_done()
    agent.type("half a draft")
    gate.write_text("read task.md")
    note = agent.await_event("UserPromptSubmit", 2)["prompt"]
    assert note.startswith("<task-notification>")
    assert "read task.md" in note
    assert agent.await_event("Stop", 2)["stop_hook_active"]
    agent.await_done(2)
    agent.type(ENTER)
    assert agent.await_event("UserPromptSubmit", 3)["prompt"] == "half a draft"


def test_hooks_know_the_session(start: Any, tmp_path: Path) -> None:
    note = tmp_path / "env"
    command = f'echo "$CLAUDE_PROJECT_DIR $CLAUDE_CODE_SESSION_ID $CLAUDE_PID $CLAUDECODE $PWD" > {note}'
    agent = start('{ say = "x" }', extra={"SessionStart": {"command": command}})
    agent.until(lambda: note.exists() and note.read_text().endswith("\n"), "note")
    assert note.read_text().split() == [
        str(agent.cwd),
        agent.session,
        str(agent.process.pid),
        "1",
        str(agent.cwd),
    ]
