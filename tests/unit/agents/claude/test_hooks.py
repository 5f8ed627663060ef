"""The client's hooks: their names, and what their events tell of tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.agents.claude.hooks import HOOKS, denied, written

# Every hook event of the client. Another name in a settings file makes it drop the whole file.
KNOWN_EVENTS = frozenset(["PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Notification", "UserPromptSubmit", "UserPromptExpansion", "SessionStart", "SessionEnd", "Stop", "StopFailure", "SubagentStart", "SubagentStop", "PreCompact", "PostCompact", "PreModelSwitch", "PostModelSwitch", "PermissionRequest", "PermissionDenied", "Setup", "TeammateIdle", "TaskCreated", "TaskCompleted", "Elicitation", "ElicitationResult", "ConfigChange", "WorktreeCreate", "WorktreeRemove", "InstructionsLoaded", "CwdChanged", "FileChanged", "DirectoryAdded", "MessageDisplay"])  # fmt: skip


def test_there_are_33_known_events() -> None:
    assert len(KNOWN_EVENTS) == 33
    assert set(HOOKS) <= KNOWN_EVENTS
    assert len(set(HOOKS)) == len(HOOKS)


def test_what_the_clients_tools_wrote_is_known_by_what_it_says_of_the_call() -> None:
    def call(tool: str, said: object, **given: object) -> dict[str, object]:
        return {"tool_name": tool, "tool_input": given, "tool_response": said}

    batch = {
        "cwd": "/p/sub",
        "tool_calls": [
            call(
                "Write",
                "File created successfully at: /p/a.txt (file state is current)",
                file_path="/p/a.txt",
            ),
            call("Write", "The file /p/b.txt has been updated successfully.", file_path="/p/b.txt"),
            call("Edit", "The file /p/c.txt has been updated.", file_path="c.txt"),
            call("Write", "<tool_use_error>File is in a directory that is denied", file_path="/p/d.txt"),
            call("Write", "File created successfully at: /tmp/x", file_path="/tmp/x"),
            call("Bash", "The file has been updated", command="true"),
            call("Write", {"odd": 1}, file_path="/p/e.txt"),
            "odd",
        ],
    }
    assert written(batch, Path("/p")) == ["a.txt", "b.txt", "sub/c.txt"]
    assert written({}, Path("/p")) == []


@pytest.mark.parametrize(
    ("response", "why"),
    [
        ("Permission to use Bash with command make has been denied.", "by a deny rule"),
        (
            "<tool_use_error>File is in a directory that is denied by your permission settings.</tool_use_error>",
            "by a deny rule",
        ),
        (
            "Permission to use Bash has been denied because Claude Code is running in don't ask mode. IMPORTANT: …",
            "no rule allows it",
        ),
        ("PreToolUse:Bash hook error: my own\nrule", "a hook says: my own\\nrule"),
        ("File created successfully at: /p/a", None),
        ([{"type": "text", "text": "Permission to use Bash with command make has been denied."}], None),
        (None, None),
    ],
)
def test_what_the_client_refused(response: object, why: str | None) -> None:
    call = {
        "tool_name": "Bash",
        "tool_input": {"command": "make"},
        "tool_use_id": "t1",
        "tool_response": response,
    }
    expected = [] if why is None else [("Bash make", why, "t1")]
    assert list(denied({"tool_calls": [call, "odd"]})) == expected
    assert list(denied({"tool_calls": "odd"})) == []
