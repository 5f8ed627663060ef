"""Hooks: which of the settings' hooks an event has, running them, and what they answer."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dodo_claude.agents.scripted.loop import Flow, Job, Loop

# The client's default for a hook without a timeout of its own, in seconds.
HOOK_TIMEOUT = 600.0
# What an event's record has besides the session and the event's own fields.
PROMPT = ("prompt_id",)
CALL = ("prompt_id", "permission_mode", "effort")
COMMON: dict[str, tuple[str, ...]] = {
    "SessionStart": (),
    "UserPromptSubmit": ("prompt_id", "permission_mode"),
    "PreToolUse": CALL,
    "PostToolUse": CALL,
    "PostToolUseFailure": CALL,
    "PostToolBatch": CALL,
    "PermissionRequest": CALL,
    "Notification": PROMPT,
    "Stop": CALL,
    "StopFailure": ("prompt_id", "effort"),
    "SubagentStop": CALL,
    "PreCompact": PROMPT,
    "PostCompact": PROMPT,
    "SessionEnd": PROMPT,
}


def hooks_for(settings: dict[str, Any], event: str, subject: str) -> Iterable[dict[str, Any]]:
    """The settings' hooks for the event. `subject` is what a matcher is matched with, "" where there is none."""
    if settings.get("disableAllHooks"):
        return
    for group in settings.get("hooks", {}).get(event, []):
        matcher = group.get("matcher") or "*"
        if matcher == "*" or not subject or re.fullmatch(matcher, subject):
            yield from (hook for hook in group.get("hooks", []) if hook.get("type") == "command")


def run_hooks(
    loop: Loop,
    hooks: Iterable[dict[str, Any]],
    record: dict[str, Any],
    env: dict[str, str],
    rewake: Callable[[dict[str, Any], Job], None],
) -> Flow[list[Reply]]:
    """Run the hooks at the same time and wait for those that are not asynchronous. `rewake` is called with each
    asyncRewake hook that ends."""
    data = json.dumps(record).encode()
    awaited = []
    for hook in hooks:
        command = str(hook["command"])
        job = loop.spawn(
            ["/bin/sh", "-c", command], env, data, timeout=float(hook.get("timeout", HOOK_TIMEOUT))
        )
        if hook.get("asyncRewake"):
            job.then = functools.partial(rewake, hook)
        if hook.get("asyncRewake") or hook.get("async"):
            job.task = None  # an interrupted turn does not end it
        else:
            awaited.append((job, command))
    for job, _ in awaited:
        yield job
    return [Reply.of(job, command) for job, command in awaited]


class Reply(NamedTuple):
    """What one hook answered."""

    data: dict[str, Any]
    # Why what was to happen shall not; None where it may.
    blocks: str | None

    @classmethod
    def of(cls, job: Job, command: str) -> Reply:
        """Anything but exit 0 with an object, or exit 2, is no answer: the client's hooks fail open."""
        data: dict[str, Any] = {}
        if job.code == 0 and job.out.lstrip().startswith("{"):
            with contextlib.suppress(ValueError, RecursionError):
                data = json.loads(job.out)
        blocks = None
        if job.code == 2:
            blocks = f"[{command}]: {job.err.strip()}"
        elif data.get("decision") == "block":
            blocks = str(data.get("reason", ""))
        return cls(data, blocks)

    def own(self, key: str) -> Any:
        table = self.data.get("hookSpecificOutput")
        return table.get(key) if isinstance(table, dict) else None


def texts_of(replies: list[Reply]) -> list[str]:
    """What the hooks tell the agent."""
    return [str(text) for reply in replies if (text := reply.own("additionalContext"))]


def first_block(replies: list[Reply]) -> str | None:
    return next((reply.blocks for reply in replies if reply.blocks is not None), None)
