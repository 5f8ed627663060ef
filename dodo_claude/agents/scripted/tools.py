"""The agent's tools: one call from PreToolUse to PostToolBatch, with its permission, its dialog and its work."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.agents.scripted.agent import Dialog
from dodo_claude.agents.scripted.hooks import first_block
from dodo_claude.agents.scripted.loop import NOW
from dodo_claude.agents.scripted.permissions import is_denied, is_inside, permit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from dodo_claude.agents.scripted.agent import Agent
    from dodo_claude.agents.scripted.hooks import Reply
    from dodo_claude.agents.scripted.loop import Flow

    Work: TypeAlias = Callable[[dict[str, Any]], Flow["Outcome"]]

# How many lines of a command's output or of a written file the transcript shows.
SHOWN_LINES = 3


class Outcome(NamedTuple):
    """How a tool's work went: for the screen, for the model, for the PostToolUse hook; or the error."""

    shown: list[str]
    said: str = ""
    response: dict[str, Any] | None = None
    error: str = ""


# -- the tools. `must_ask`: no rule lets the call run without a dialog, where the mode has dialogs


def write(agent: Agent, path: str, content: str, *, must_ask: bool = False) -> Flow[None]:
    given = {"file_path": path, "content": content}
    return _use(agent, "Write", given, lambda given: _write(agent, given), must_ask)


def edit(agent: Agent, path: str, old: str, new: str) -> Flow[None]:
    """Replace the first `old`. Where it is missing no hook hears of the call: the client looks before it asks."""
    try:
        with open(path, encoding="utf-8") as file:
            found = old in file.read()
    except (OSError, UnicodeDecodeError):
        found = False
    if not found:
        agent.screen.say(f"● Update({_short(path, agent.cwd)})", "  ⎿  Error editing file", "")
        return
    given = {"file_path": path, "old_string": old, "new_string": new, "replace_all": False}
    yield from _use(agent, "Edit", given, lambda given: _edit(agent, given))


def bash(agent: Agent, command: str, *, must_ask: bool = False) -> Flow[None]:
    given = {"command": command, "description": "scripted command"}
    return _use(agent, "Bash", given, lambda given: _bash(agent, given), must_ask)


# -- a call


def _use(agent: Agent, tool: str, given: dict[str, Any], work: Work, must_ask: bool = False) -> Flow[None]:
    agent.spoke = True
    call: dict[str, Any] = {
        "tool_name": tool,
        "tool_input": given,
        "tool_use_id": "toolu_" + os.urandom(11).hex(),
    }
    agent.screen.say(_headline(tool, given, agent.cwd))
    before = yield from agent.fire("PreToolUse", subject=tool, **call)
    after: list[Reply] = []
    refused = yield from _refuse(agent, tool, call, before, must_ask)
    if refused:
        agent.screen.say("  ⎿  Not run · permission denied", f"     {refused}", "")
        said = refused
    else:
        start = time.monotonic()
        outcome = yield from work(call["tool_input"])
        took = int((time.monotonic() - start) * 1000)
        agent.screen.say(*outcome.shown, "")
        said = outcome.error or outcome.said
        if outcome.error:
            own = {"error": outcome.error, "is_interrupt": False, "duration_ms": took}
            yield from agent.fire("PostToolUseFailure", subject=tool, **call, **own)
        else:
            own = {"tool_response": outcome.response, "duration_ms": took}
            after = yield from agent.fire("PostToolUse", subject=tool, **call, **own)
    batch = yield from agent.fire("PostToolBatch", tool_calls=[{**call, "tool_response": said}])
    # Only now: what was told before a call that a person broke off reaches no model.
    agent.tell("PreToolUse", before, tool)
    agent.tell("PostToolUse", after, tool)
    agent.tell("PostToolBatch", batch)
    agent.rounds += 1


def _refuse(agent: Agent, tool: str, call: dict[str, Any], replies: list[Reply], must_ask: bool) -> Flow[str]:
    """Why the call may not run, or "". PreToolUse was asked first; its allow does not beat a deny rule."""
    block = first_block(replies)
    decisions = {str(reply.own("permissionDecision")): reply for reply in replies}
    if "deny" in decisions:
        block = str(decisions["deny"].own("permissionDecisionReason") or "")
    if block is not None:
        return f"PreToolUse:{tool} hook error: {block}"
    if "allow" in decisions and decisions["allow"].own("updatedInput"):
        call["tool_input"] = {**call["tool_input"], **decisions["allow"].own("updatedInput")}
    rules = agent.launch.rules
    subject = call["tool_input"]["command" if tool == "Bash" else "file_path"]
    if is_denied(tool, subject, rules):
        return (
            f"Permission to use {tool} with {'command ' if tool == 'Bash' else ''}{subject} has been denied."
        )
    if "allow" in decisions:
        return ""
    verdict = permit(tool, subject, agent.mode, rules)
    if (must_ask and agent.mode != "bypassPermissions") or "ask" in decisions:
        verdict = "deny" if agent.mode in ("dontAsk", "bypassPermissions") else "ask"
    if verdict == "deny":
        return f"Permission to use {tool} has been denied because Claude Code is running in don't ask mode."
    return "" if verdict == "run" else (yield from _ask(agent, tool, call["tool_input"]))


def _ask(agent: Agent, tool: str, given: dict[str, Any]) -> Flow[str]:
    """Open the dialog and run the PermissionRequest hooks at the same time: what answers first counts.

    A person's No ends the turn, and with it the hooks; after a Yes they go on, and nobody listens to them.
    """
    mode = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}
    folder = {"type": "addDirectories", "directories": [agent.cwd], "destination": "session"}
    own = {"tool_name": tool, "tool_input": given, "permission_suggestions": [folder, mode]}
    dialog = agent.dialog = Dialog(dialog_lines(tool, given, agent.cwd))
    asking = agent.loop.start(_ask_hooks(agent, dialog, agent.fire("PermissionRequest", subject=tool, **own)))
    agent.loop.start(_remind(agent, dialog))
    try:
        yield dialog
    finally:
        if not dialog.is_over:
            agent.loop.cancel(asking)
    agent.dialog = None
    return dialog.refusal


def _ask_hooks(agent: Agent, dialog: Dialog, asked: Flow[list[Reply]]) -> Flow[None]:
    for reply in (yield from asked):
        decision = reply.own("decision") or {}
        if agent.dialog is not dialog or decision.get("behavior") not in ("allow", "deny"):
            continue
        if decision["behavior"] == "deny":
            dialog.refusal = str(decision.get("message") or "denied by a hook")
        dialog.is_over = True


def _remind(agent: Agent, dialog: Dialog) -> Flow[None]:
    """Notification for a dialog that nobody answered for a while."""
    yield agent.stage.permission_notice
    if agent.dialog is dialog:
        kind = "permission_prompt"
        yield from agent.fire(
            "Notification", subject=kind, message="Claude needs your permission", notification_type=kind
        )


# -- the work


def _write(agent: Agent, given: dict[str, Any]) -> Flow[Outcome]:
    path, content = given["file_path"], given["content"]
    old = None
    try:
        if os.path.islink(path):
            raise OSError(0, f"Refusing to write {path}: it is a symbolic link")
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                old = file.read()
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
    except OSError as error:
        return Outcome([f"  ⎿  Error writing file: {error.strerror}"], error=str(error.strerror))
    lines = content.splitlines()
    name = _short(path, agent.cwd)
    head = f"  ⎿  Wrote {len(lines)} {'line' if len(lines) == 1 else 'lines'} to {name}"
    body = [f"      {number} {line}" for number, line in enumerate(lines[:SHOWN_LINES], 1)]
    response: dict[str, Any] = {
        "type": "create" if old is None else "update",
        "filePath": path,
        "content": content,
        "structuredPatch": [],
        "originalFile": old,
        "userModified": False,
    }
    yield NOW
    return Outcome([head, *body, *_more(lines)], f"File created successfully at: {path}", response)


def _edit(agent: Agent, given: dict[str, Any]) -> Flow[Outcome]:
    path, old, new = given["file_path"], given["old_string"], given["new_string"]
    try:
        with open(path, encoding="utf-8") as file:
            before = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(before.replace(old, new, 1))
    except OSError as error:
        return Outcome([f"  ⎿  Error editing file: {error.strerror}"], error=str(error.strerror))
    response: dict[str, Any] = {
        "filePath": path,
        "oldString": old,
        "newString": new,
        "originalFile": before,
        "structuredPatch": [],
        "userModified": False,
        "replaceAll": False,
    }
    yield NOW
    return Outcome([f"  ⎿  Updated {_short(path, agent.cwd)}"], f"{path} has been updated.", response)


def _bash(agent: Agent, given: dict[str, Any]) -> Flow[Outcome]:
    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
    job = agent.loop.spawn([shell, "-c", given["command"]], agent.environment())
    yield job
    lines = (job.out + job.err).splitlines()
    # The corner stands on the call's first line: on the error's where there is one.
    corner = "     " if job.code else "  ⎿  "
    shown = [(corner if number == 0 else "     ") + line for number, line in enumerate(lines[:SHOWN_LINES])]
    shown += _more(lines)
    if job.code:
        text = "\n".join([f"Exit code {job.code}", *lines])
        return Outcome([f"  ⎿  Error: Exit code {job.code}", *shown], error=text)
    response: dict[str, Any] = {
        "stdout": job.out.rstrip("\n"),
        "stderr": job.err.rstrip("\n"),
        "interrupted": False,
        "isImage": False,
        "noOutputExpected": False,
    }
    return Outcome(shown or ["  ⎿  (No output)"], job.out.rstrip("\n"), response)


# -- what the screen says of a call


def _more(lines: list[str]) -> list[str]:
    return [f"     … +{len(lines) - SHOWN_LINES} lines"] if len(lines) > SHOWN_LINES else []


def _short(path: str, cwd: str) -> str:
    return os.path.relpath(path, cwd) if is_inside(path, cwd) else path


def _headline(tool: str, given: dict[str, Any], cwd: str) -> str:
    names = {"Bash": "Bash", "Write": "Write", "Edit": "Update"}
    return f"● {names[tool]}({given['command'] if tool == 'Bash' else _short(given['file_path'], cwd)})"


def dialog_lines(tool: str, given: dict[str, Any], cwd: str) -> tuple[str, ...]:
    if tool == "Bash":
        head = ("Bash command", given["command"], "Do you want to proceed?")
        second = f"Yes, and always allow access to {cwd} from this project"
    else:
        name = _short(given["file_path"], cwd)
        exists = os.path.exists(given["file_path"])
        head = ("Create file", name, f"Do you want to {'make this edit to' if exists else 'create'} {name}?")
        second = "Yes, and switch to accept edits for this session (shift+tab)"
    title, what, question = head
    body = (title, *what.split("\n")[:SHOWN_LINES], "", question, "❯ 1. Yes", f"  2. {second}", "  3. No", "")
    return tuple(" " + line for line in (*body, "Esc to cancel · Tab to amend"))
