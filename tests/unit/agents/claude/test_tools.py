"""The client's own tools."""

from __future__ import annotations

from dataclasses import replace

from dodo_claude.agents.claude.tools import GIVEN, KNOWN_TOOLS, NAMED, NEVER, tools
from dodo_claude.config import profiles
from tests.samples.jobs import CLAUDE


def test_every_tool_that_is_known_is_given_or_not() -> None:
    assert {*KNOWN_TOOLS.values()} == {GIVEN, NAMED, NEVER}
    offered = tools(CLAUDE)
    assert {"Read", "Write", "Bash", "Agent"} <= {*offered}
    assert not {"Monitor", "SendMessage", "CronCreate", "EnterWorktree", *profiles.DIALOGS} & {*offered}


def test_a_tool_that_is_off_is_offered_where_it_is_named_unless_it_is_never() -> None:
    named = (
        "Monitor",
        "Workflow(x)",
        "EnterWorktree",
        "NewTool",
        "mcp__db__query",
        "Bash(make *)",
        "Bash(git log *)",
    )
    offered = tools(replace(CLAUDE, allowed_tools=named, disallowed_tools=("WebFetch", "Read(./x)")))
    assert offered[-3:] == ["Monitor", "Workflow", "NewTool"]
    assert "WebFetch" not in offered
    assert "Read" in offered
    assert offered.count("Bash") == 1
