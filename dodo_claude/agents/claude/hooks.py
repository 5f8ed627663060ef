"""The client's hooks: which there are, which we listen to, what is answered to one, and what its events tell of tools."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dodo_claude.agents.claude.dialogs import TOLD
from dodo_claude.agents.claude.tools import aims_at
from dodo_claude.state.lifecycle import doing
from dodo_claude.text.clean import one_line

# Every hook event of the client that was proved: what another has besides, `dodo-claude doctor --client` tells.
KNOWN_HOOKS = frozenset(
    (
        "PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Notification", "UserPromptSubmit",
        "UserPromptExpansion", "SessionStart", "SessionEnd", "Stop", "StopFailure", "SubagentStart", "SubagentStop",
        "PreCompact", "PostCompact", "PreModelSwitch", "PostModelSwitch", "PermissionRequest", "PermissionDenied", "Setup",
        "TeammateIdle", "TaskCreated", "TaskCompleted", "Elicitation", "ElicitationResult", "ConfigChange", "WorktreeCreate",
        "WorktreeRemove", "InstructionsLoaded", "CwdChanged", "FileChanged", "DirectoryAdded", "MessageDisplay",
        "PreSkillShellCommand",
    )
)  # fmt: skip
# The hooks we listen to. An unknown name makes the client drop the whole settings file, and each one
# costs 10 ms per event, so only those that `lifecycle` reads or that show progress.
HOOKS = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "PermissionRequest",
    "Notification",
    "Stop",
    "StopFailure",
    "TaskCreated",
    "TaskCompleted",
    "PreCompact",
    "PostCompact",
    "SessionEnd",
)
# Those whose answer gives the worker the messages that wait for it: in mid-turn, and at a turn's end, which is none then.
# What a PreToolUse hook says is lost when its round is interrupted; a PostToolBatch comes after the round.
MAIL_HOOKS = ("PostToolBatch", "Stop")
# What the client is told when it is about to make a worktree: a subagent's `isolation` is no tool of its own. Its hook
# fails, and so does what asked for it.
NO_WORKTREE = "echo 'not allowed here: a worker works in its own folder' >&2; exit 1"
REFUSED_HOOK = "WorktreeCreate"
# Our hook takes some milliseconds; a client that waits longer for it has lost its disk.
HOOK_TIMEOUT_SECONDS = 60


def needed_hooks() -> frozenset[str]:
    """The hook events in our settings: a client that lacks one does not take the file."""
    return frozenset((*HOOKS, REFUSED_HOOK))


# What the PermissionRequest hook tells the model where nobody is to be asked.
DENIAL = "not allowed here; find another way, nobody can be asked"


def verdict(message: str | None) -> str:
    """The PermissionRequest hook's answer that allows this one call; with a message: denies it and tells the model why."""
    decision = {"behavior": "allow"} if message is None else {"behavior": "deny", "message": message}
    return (
        json.dumps({"hookSpecificOutput": {"hookEventName": "PermissionRequest", "decision": decision}})
        + "\n"
    )


def reminder(text: str) -> str:
    """The SessionStart hook's answer that tells a worker `text` after a compaction."""
    return (
        json.dumps({"hookSpecificOutput": {"hookEventName": "SessionStart", "additionalContext": text}})
        + "\n"
    )


# What the client says of a call that wrote a file.
_WRITTEN = re.compile(
    r"File created successfully|The file .* has been updated|(Updated|Inserted|Deleted) cell|\S+ has been updated"
)


def written(batch: Mapping[str, object], root: Path) -> list[str]:
    """The files in `root`, relative to it, that the calls of a PostToolBatch event wrote; those that were refused did not."""
    calls = batch.get("tool_calls")
    found = []
    for call in calls if isinstance(calls, list) else ():
        name = aims_at(call) if isinstance(call, Mapping) else None
        said = call.get("tool_response") if name is not None else None
        if name is not None and isinstance(said, str) and _WRITTEN.match(said):
            path = os.path.relpath(os.path.join(str(batch.get("cwd") or root), name), root)
            if not path.startswith(".."):
                found.append(path)
    return found


# What the client says of a call that it refused: by a rule against it, for want of one, by a hook of somebody's.
_BY_RULE, _NO_RULE = "by a deny rule", "no rule allows it"
_DENIED = re.compile(
    r"Permission to use (?P<tool>\S+) has been denied because Claude Code is running in don't ask mode"
    r"|Permission to use .* has been denied|(<tool_use_error>)?File is in a directory that is denied by your permission"
    r"|PreToolUse:\S+ hook error: (?P<hook>.*)",
    re.DOTALL,
)
# Whose rule it was, as the client's transcript names its source.
RULE_OF = {
    "userSettings": "the user's settings",
    "projectSettings": "the project's .claude/settings.json",
    "localSettings": "the project's .claude/settings.local.json",
    "policySettings": "an administrator's settings",
    "flagSettings": "dodo_claude's",
    "cliArg": "disallowed_tools",
}


def denied(batch: Mapping[str, object]) -> Iterator[tuple[str, str, str]]:
    """What the client refused of the calls of a PostToolBatch event: what, why, and the call's id."""
    calls = batch.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        told = call.get("tool_response") if isinstance(call, Mapping) else None
        found = _DENIED.match(told) if isinstance(told, str) else None
        if found is not None:
            hook = found["hook"]
            why = _NO_RULE if found["tool"] else _BY_RULE if hook is None else f"a hook says: {hook}"
            yield doing(call), one_line(why)[:TOLD], str(call.get("tool_use_id") or "")
