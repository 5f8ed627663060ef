"""What the client reads and keeps besides ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.agents.claude.elsewhere import idle_since, may_hold, settings_files
from dodo_claude.config.records import AgentProfile
from tests.samples.jobs import CLAUDE


def test_the_settings_that_a_worker_reads_besides_ours() -> None:
    def files(*sources: str, **environ: str) -> list[str]:
        found = settings_files(replace(CLAUDE, setting_sources=sources), Path("/p/sub"), environ)
        return [str(path) for path in found if not str(path).startswith("/etc")]

    assert files("user", HOME="/h") == ["/h/.claude/settings.json"]
    assert files("user", HOME="/h", CLAUDE_CONFIG_DIR="/c") == ["/c/settings.json"]
    assert files("project", "local") == [f"/p/sub/.claude/settings{kind}.json" for kind in ("", ".local")]
    assert files() == []


STOPS = {"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}}
QUIET = {"hooks": {"PreToolUse": [{"hooks": []}], "Stop": []}, "enabledPlugins": {}}


@pytest.mark.parametrize(
    ("profile", "tables", "may"),
    [
        (CLAUDE, [None, QUIET, [], {}, {"hooks": []}], False),
        (CLAUDE, [QUIET, STOPS], True),
        (CLAUDE, [{"enabledPlugins": {"a@b": True}}], True),
        (replace(CLAUDE, args=("--plugin-dir", "x")), [], True),
        (replace(CLAUDE, command=("claude", "--settings=x.json")), [], True),
        (replace(CLAUDE, allowed_tools=("Skill(tidy)",)), [], True),
    ],
)
def test_whether_anothers_hook_may_send_a_worker_on(
    profile: AgentProfile, tables: list[object], may: bool
) -> None:
    assert may_hold(profile, tables) is may


@pytest.mark.parametrize(
    ("session", "since"),
    [
        ({"sessionId": "s", "status": "idle", "statusUpdatedAt": 1500}, 1.5),
        ({"sessionId": "s", "status": "busy", "statusUpdatedAt": 1500}, 0.0),
        ({"sessionId": "t", "status": "idle", "statusUpdatedAt": 1500}, 0.0),
        ({"sessionId": "s", "status": "idle", "statusUpdatedAt": "1500"}, 0.0),
        ({"sessionId": "s", "status": "idle"}, 0.0),
        ([], 0.0),
        (None, 0.0),
    ],
)
def test_since_when_the_registry_calls_a_session_idle(session: object, since: float) -> None:
    assert idle_since(session, "s") == since
