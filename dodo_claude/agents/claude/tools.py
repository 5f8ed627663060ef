"""The client's own tools: which a worker is given, and what a call of one does."""

from __future__ import annotations

from collections.abc import Mapping

from dodo_claude.config.records import AgentProfile

# What a worker gets of the client's own tools: GIVEN, and the permission rules decide what it may do with them; NAMED,
# only where `allowed_tools` names it; NEVER.
GIVEN, NAMED, NEVER = "given", "named", "never"
# Every tool of the clients that were looked at (2.1.330, 2.1.332; their sdk-tools.d.ts, and what a session tells of its
# tools). A client is told the names of what it may offer, so that one that is not here is not offered by a newer one.
# The permission rules would not do: in `dontAsk` many of those that are not given run without any.
KNOWN_TOOLS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "Agent", "Bash", "Edit", "NotebookEdit", "Read", "ReportFindings", "Skill", "TaskCreate", "TaskGet", "TaskList",
            "TaskStop", "TaskUpdate", "TodoWrite", "ToolSearch", "WebFetch", "WebSearch", "Write",
        ),
        GIVEN,
    ),
    # Off by default in the client, too.
    **dict.fromkeys(("Glob", "Grep", "LSP", "PowerShell"), NAMED),
    # Work on after the turn's end, or speak to others than this run: other sessions of this user, a phone, the web.
    **dict.fromkeys(
        (
            "Artifact", "ClaudeDesign", "ListAgents", "Monitor", "Projects", "ProposeGoal", "ProposeSkills",
            "PushNotification", "ReadNotifications", "RemoteTrigger", "SendFeedback", "SendMessage", "Workflow",
        ),
        NAMED,
    ),
    # Of MCP servers, which only an agent's `args` can bring.
    **dict.fromkeys(
        ("ListMcpResourcesTool", "ReadMcpResourceDirTool", "ReadMcpResourceTool", "RefreshMcpTools"), GIVEN
    ),
    # Open dialogs that nobody would answer.
    **dict.fromkeys(
        ("AskUserQuestion", "EnterPlanMode", "ExitPlanMode", "OfferChromeSetup", "ShowOnboardingRolePicker"), NEVER
    ),
    # Schedule prompts for when the stage is done; move all later writes into another folder.
    **dict.fromkeys(
        ("CronCreate", "CronDelete", "CronList", "EnterWorktree", "ExitWorktree", "ScheduleWakeup"), NEVER
    ),
}  # fmt: skip
# What a client calls its tools elsewhere than where it offers them.
TOOL_NAMES = {"Task": "Agent"}
# Tools that write a file, and which part of their input names it; and those that change none and start nothing. What else
# there is, and may come, can start programs.
WRITING_TOOLS = {
    "Write": "file_path", "Edit": "file_path", "MultiEdit": "file_path", "NotebookEdit": "notebook_path",
}  # fmt: skip
HARMLESS_TOOLS = frozenset(
    {
        "Read", "Glob", "Grep", "LS", "NotebookRead", "TodoWrite", "TodoRead", "TaskCreate", "TaskUpdate", "TaskList",
        "TaskGet", "WebFetch", "WebSearch", "ToolSearch", "AskUserQuestion", "ExitPlanMode",
    }
)  # fmt: skip
# Dialogs that a hook can refuse and not answer: its yes leaves them open.
PERSONAL_TOOLS = ("AskUserQuestion", "ExitPlanMode")


def tools(profile: AgentProfile) -> list[str]:
    """The client's own tools that it may offer to a worker: those that are given, and those that `allowed_tools` names."""
    named = [rule.partition("(")[0].strip() for rule in profile.allowed_tools]
    offered = [name for name, offer in KNOWN_TOOLS.items() if offer == GIVEN]
    offered += [name for name in named if KNOWN_TOOLS.get(name) != NEVER and not name.startswith("mcp__")]
    return [name for name in dict.fromkeys(offered) if name and name not in profile.disallowed_tools]


def aims_at(call: Mapping[str, object]) -> str | None:
    """The file, as the call names it, that a tool is to write, as in a PreToolUse event; None: it writes none."""
    given = call.get("tool_input")
    name = (
        given.get(WRITING_TOOLS.get(str(call.get("tool_name")), "")) if isinstance(given, Mapping) else None
    )
    return name if isinstance(name, str) else None
