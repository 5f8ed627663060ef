"""How the client is started: its exact command line and environment."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from dodo_claude.agents.claude.client import session_name
from dodo_claude.agents.start import launch
from tests.samples.jobs import ARGUMENTS, CAP, CLAUDE, FIXED, JOB, OFF, settings_of


def test_claude() -> None:
    made = launch(CLAUDE, JOB, {"PATH": "/bin"}, {"MINE": "1"})
    assert made.command == f'claude {ARGUMENTS} {OFF} -- "$prompt"'
    assert made.env == {
        "LANG": "C.UTF-8", "PATH": f"/bin:{os.path.dirname(sys.executable)}", "MINE": "1", **FIXED, **CAP,
        "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_ALTERNATE_SCREEN": "1",
        "CLAUDE_CODE_ENABLE_TODO_TOOLS": "1",
        "CLAUDE_CODE_DISABLE_AUTO_MEMORY": "1",
        "CLAUDE_CODE_DEBUG_LOG_LEVEL": "error",
    }  # fmt: skip
    assert set(made.files) == {"brief.md", "settings.json", "denial.json"}


def test_claude_with_everything() -> None:
    profile = replace(
        CLAUDE, command=("/opt/my claude",), model="opus", permission_mode="acceptEdits", disallowed_tools=(),
        setting_sources=("user", "project"), args=("--verbose", "a b"),
    )  # fmt: skip
    arguments = ARGUMENTS.replace("sources user", "sources user,project").replace("dontAsk", "acceptEdits")
    assert launch(profile, JOB, {}, {}).command == (
        f"'/opt/my claude' {arguments} --model opus --verbose 'a b' -- \"$prompt\""
    )


def test_a_session_is_resumed() -> None:
    made = launch(CLAUDE, replace(JOB, resume=True), {}, {})
    assert f"--resume {JOB.session_id} " in made.command
    assert "--session-id" not in made.command


@pytest.mark.parametrize(
    ("stage", "name"),
    [("api", "api"), ("recipe:recipes/raw/bread.txt", "…e:recipes/raw/bread.txt"), ("a\x1b\nb", "a\\x1b\\nb"), ("日" * 20, f"…{'日' * 11}")],
)  # fmt: skip
def test_a_sessions_name_is_short(stage: str, name: str) -> None:
    assert session_name(stage) == name


def test_a_worker_without_questions_starts_without_one() -> None:
    profile = replace(CLAUDE, permission_mode="bypassPermissions")
    assert settings_of(profile, JOB)["skipDangerousModePermissionPrompt"] is True
    made = launch(profile, JOB, {}, {"IS_SANDBOX": "0"})
    assert "--permission-mode bypassPermissions " in made.command
    assert made.env["IS_SANDBOX"] == "1"
    assert "IS_SANDBOX" not in launch(CLAUDE, JOB, {"IS_SANDBOX": "1"}, {}).env
