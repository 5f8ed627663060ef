"""A tool's call: what hooks, rules and a person in a dialog make of it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.unit.agents.scripted.terminal import ENTER, ESC, answer

ASKS = '{ permission = "Bash", command = "touch ran" }, { say = "after" }'


@pytest.mark.parametrize(
    ("reply", "runs"),
    [
        (answer(hookSpecificOutput={"hookEventName": "PreToolUse", "permissionDecision": "deny"}), False),
        (answer(hookSpecificOutput={"hookEventName": "PreToolUse", "permissionDecision": "ask"}), False),
        (answer(decision="block", reason="no"), False),
        ("cat >/dev/null; echo no >&2; exit 2", False),
        ("cat >/dev/null; exit 1", True),
        ("cat >/dev/null; printf '{'", True),
        ("cat >/dev/null; kill -9 $$", True),
    ],
    ids=["deny", "ask", "block", "exit 2", "exit 1", "bad JSON", "killed"],
)
def test_pre_tool_use_decides_and_fails_open(start: Any, reply: str, runs: bool) -> None:
    agent = start(
        '{ bash = "touch ran" }',
        *("--permission-mode", "dontAsk", "--allowedTools", "Bash(touch *)", "--", "Go"),
        answers={"PreToolUse": reply},
    )
    agent.await_event("Stop")
    assert (agent.cwd / "ran").exists() == runs
    assert bool(agent.events("PostToolUse")) == runs
    assert ("permission denied" in agent.screen) != runs


def test_pre_tool_use_can_allow_and_rewrite(start: Any) -> None:
    own = {"permissionDecision": "allow", "updatedInput": {"command": "touch other"}}
    agent = start(
        '{ bash = "touch ran" }', "--permission-mode", "dontAsk", "--", "Go",
        answers={"PreToolUse": answer(hookSpecificOutput=own)},
    )  # fmt: skip
    agent.await_event("Stop")
    assert [path.name for path in agent.cwd.iterdir()] == ["other"]


@pytest.mark.parametrize("behavior", ["allow", "deny"])
def test_permission_request_answers_in_a_persons_place(start: Any, behavior: str) -> None:
    own = {"hookEventName": "PermissionRequest", "decision": {"behavior": behavior, "message": "no"}}
    agent = start(
        '{ permission = "Bash", command = "touch ran" }', "--permission-mode", "manual", "--", "Go",
        answers={"PermissionRequest": answer(hookSpecificOutput=own)},
    )  # fmt: skip
    agent.await_event("Stop")
    assert (agent.cwd / "ran").exists() == (behavior == "allow")
    assert not agent.events("Notification")


WAITS = "cat; echo $$ >pid.new; mv pid.new pid; while [ ! -e go ]; do sleep 0.02; done; "


def test_a_permission_request_that_waits_has_its_dialog_open(start: Any) -> None:
    no = {"hookEventName": "PermissionRequest", "decision": {"behavior": "deny", "message": "not so"}}
    agent = start(
        ASKS, "--permission-mode", "manual", "--", "Go",
        answers={"PermissionRequest": f"({WAITS}) >/dev/null; {answer(hookSpecificOutput=no)}"},
    )  # fmt: skip
    agent.await_text("Do you want to proceed?")
    assert not agent.events("PostToolBatch")
    (agent.cwd / "go").touch()
    assert agent.await_event("PostToolBatch")["tool_calls"][0]["tool_response"] == "not so"
    agent.await_event("Stop")
    assert not (agent.cwd / "ran").exists()


def test_a_yes_at_the_pane_comes_first_and_its_hook_is_left_alone(start: Any) -> None:
    no = {"hookEventName": "PermissionRequest", "decision": {"behavior": "deny", "message": "not so"}}
    agent = start(
        ASKS, "--permission-mode", "manual", "--", "Go",
        answers={"PermissionRequest": f"({WAITS}) >/dev/null; {answer(hookSpecificOutput=no)}; touch answered"},
    )  # fmt: skip
    agent.await_text("Do you want to proceed?")
    agent.await_file("pid")
    agent.type(ENTER)
    agent.await_event("Stop")
    assert (agent.cwd / "ran").exists()
    os.kill(int((agent.cwd / "pid").read_text()), 0)  # it lives
    (agent.cwd / "go").touch()
    agent.await_file("answered")
    assert agent.await_event("PostToolBatch")["tool_calls"][0]["tool_response"] != "not so"


@pytest.mark.parametrize("key", ["3", ESC])
def test_a_no_at_the_pane_ends_the_hook(start: Any, key: str) -> None:
    agent = start(
        ASKS, "--permission-mode", "manual", "--", "Go",
        answers={"PermissionRequest": f"trap 'touch ended; exit' TERM; {WAITS}"},
    )  # fmt: skip
    agent.await_text("Do you want to proceed?")
    agent.await_file("pid")
    agent.type(key)
    agent.await_file("ended")
    assert not (agent.cwd / "ran").exists()


def test_enter_approves_and_a_pasted_prompt_is_lost(start: Any) -> None:
    agent = start(ASKS, "--permission-mode", "manual", "--", "Go")
    agent.await_text("Do you want to proceed?")
    agent.await_event("PermissionRequest")
    assert agent.names()[-2:] == ["PreToolUse", "PermissionRequest"]
    agent.paste("a prompt that comes at the wrong time")
    agent.type(ENTER)
    assert agent.await_event("Stop")["last_assistant_message"] == "after"
    assert (agent.cwd / "ran").exists()
    assert len(agent.events("UserPromptSubmit")) == 1
    assert "wrong time" not in agent.screen


@pytest.mark.parametrize(("key", "runs"), [("1", True), ("3", False), (ESC, False)])
def test_dialog_keys(start: Any, key: str, runs: bool) -> None:
    agent = start(ASKS, "--permission-mode", "acceptEdits", "--", "Go")
    agent.await_text("Do you want to proceed?")
    agent.type(key)
    if runs:
        agent.await_event("Stop")
    else:
        agent.await_text("Did not run 1 call\r\n  ⎿  Interrupted · What should Claude do instead?")
        assert not agent.events("Stop")
    assert (agent.cwd / "ran").exists() == runs


def test_an_open_dialog_is_announced_once(start: Any) -> None:
    scenario = f"[stages.backend]\npermission_notice = 0.05\nidle_notice = 0.05\nsteps = [{ASKS}]"
    agent = start(scenario, "--permission-mode", "manual", "--", "Go")
    assert agent.await_event("Notification")["notification_type"] == "permission_prompt"
    agent.type(ENTER)
    assert agent.await_event("Notification", 2)["notification_type"] == "idle_prompt"


def test_dont_ask_never_opens_a_dialog(start: Any) -> None:
    steps = f'{{ write = "in/a.txt", text = "a" }}, {{ write = "../out.txt", text = "a" }}, {ASKS}'
    agent = start(steps, "--permission-mode", "dontAsk", "--allowedTools", "Edit(./**)", "--", "Go")
    agent.await_event("Stop")
    assert (agent.cwd / "in/a.txt").read_text() == "a"
    assert not (agent.home / "out.txt").exists()
    assert not (agent.cwd / "ran").exists()
    assert not agent.events("PermissionRequest")
    assert len(agent.events("PreToolUse")) == 3
    assert len(agent.events("PostToolUse")) == 1
    agent.await_text("⎿  Not run · permission denied")
    agent.await_text("● Write(in/a.txt)")
    agent.await_text("⎿  Wrote 1 line to in/a.txt")
