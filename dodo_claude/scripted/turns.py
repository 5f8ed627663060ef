"""What a session does between two prompts: it opens, answers a prompt, compacts, clears. Knows no key and no queue."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from dodo_claude.scripted.agent import Prompt
from dodo_claude.scripted.hooks import first_block
from dodo_claude.scripted.scenario import pick_turn
from dodo_claude.scripted.steps import PLAYS
from dodo_claude.scripted.transcript import Transcript, new_id

if TYPE_CHECKING:
    from dodo_claude.scripted.agent import Agent
    from dodo_claude.scripted.loop import Flow
    from dodo_claude.scripted.scenario import Step

# So many blocks of Stop hooks in a row are obeyed; the next one is overridden.
STOP_BLOCK_CAP = 9


def greet(agent: Agent) -> dict[str, Any]:
    """Say what this is, and a resumed session's history. Returns what SessionStart says of it."""
    agent.screen.say(
        "",
        " ▗▄▄▄▖   Scripted agent: this is NOT Claude",
        f" ▐▘ ▝▌   it plays the stage '{agent.stage.name}' of a scenario file, no model is asked",
        f" ▝▀▀▀▘   {agent.cwd}",
        "",
    )
    if agent.launch.resumes:
        return _recall(agent)
    return {"source": "startup", "model": agent.launch.model}


def _recall(agent: Agent) -> dict[str, Any]:
    """Show the history and set the cursor behind its last turn."""
    tokens = 0
    for line in agent.transcript.lines():
        message = line.get("message") or {}
        if line["type"] == "user":
            agent.screen.say(f"❯ {message['content']}", "")
        elif line["type"] == "assistant":
            agent.screen.say(f"● {message['content'][0]['text']}", "")
            tokens = sum(message["usage"].values())
        elif line.get("subtype") == "scripted_turn":
            agent.cursor = line["next"]
    silence = max(int(time.time() - os.path.getmtime(agent.transcript.path)), 0)
    return {
        "source": "resume",
        "seconds_since_last_response": silence,
        "context_tokens": tokens,
        "prompt_cache_likely_expired": silence > 300,
        "estimated_cache_write_usd": 0.0,
    }


def respond(agent: Agent, prompt: Prompt) -> Flow[None]:
    """Play turns until a Stop is not blocked. Raises TurnError where a step fails the turn."""
    text, steps, active = prompt.text, prompt.steps, prompt.is_note and prompt.steps is None
    for blocks in range(STOP_BLOCK_CAP + 1):
        agent.last_message = ""
        yield from _play(agent, text, steps)
        told, reason = yield from _stop(agent, active)
        if reason is None:
            break
        if blocks == STOP_BLOCK_CAP:
            agent.screen.say(f"  Stop hook blocked {blocks} times in a row: overridden", "")
            break
        agent.screen.say("● Ran 1 stop hook", f"  ⎿  Stop hook {told}", f"     {reason}", "")
        agent.transcript.add("user", message={"role": "user", "content": reason})
        text, steps, active = reason, None, True
    agent.screen.say(f"✻ Worked for {int(time.monotonic() - agent.began)}s · done", "")


def _play(agent: Agent, text: str, steps: tuple[Step, ...] | None) -> Flow[None]:
    if steps is None:
        index = pick_turn(agent.stage.turns, agent.cursor, text)
        if index is None:
            agent.speak("The scenario has no turn for this prompt.")
            return
        agent.cursor = index + 1
        agent.transcript.add("system", subtype="scripted_turn", next=agent.cursor)
        steps = agent.stage.turns[index].steps
    for step in steps:
        goes_on = yield from PLAYS[step.kind](agent, step, text)
        if not goes_on:
            return


def _stop(agent: Agent, active: bool) -> Flow[tuple[str, str | None]]:
    """Ask the Stop hooks. The reason they go on for is None where they do not; before it, how the screen tells it."""
    agent.doing = "running Stop hook"
    replies = yield from agent.fire(
        "Stop",
        stop_hook_active=active,
        last_assistant_message=agent.last_message,
        background_tasks=[{"type": "shell", "status": "running"}] * agent.background,
        session_crons=[],
    )
    agent.doing = ""
    block = first_block(replies)
    if block is not None:
        return "reported a problem", block
    contexts = (reply.own("additionalContext") for reply in replies)
    return "says:", next((str(context) for context in contexts if context), None)


def compact(agent: Agent, prompt: Prompt) -> Flow[None]:
    """/compact: neither UserPromptSubmit nor Stop; PostCompact is its end."""
    agent.screen.say(f"❯ {prompt.shown}")
    agent.began, agent.doing = time.monotonic(), "compacting conversation"
    replies = yield from agent.fire(
        "PreCompact", subject="manual", trigger="manual", custom_instructions=prompt.text or None
    )
    blocked = first_block(replies)
    if blocked is None:
        yield from _summarise(agent)
    agent.doing = ""
    end = "Compacted (ctrl+o to see full summary)"
    agent.screen.say(f"  ⎿  {end if blocked is None else f'Compaction blocked by hook: {blocked}'}", "")


def _summarise(agent: Agent) -> Flow[None]:
    summary = (
        "<analysis>compacted by the scripted agent</analysis>\n<summary>\n1. Scripted session.\n</summary>"
    )
    subagent = "a" + os.urandom(8).hex()
    folder = agent.transcript.path.removesuffix(".jsonl")
    yield from agent.fire(
        "SubagentStop",
        agent_id=subagent,
        agent_type="",
        stop_hook_active=False,
        agent_transcript_path=f"{folder}/subagents/agent-{subagent}.jsonl",
        last_assistant_message=summary,
        background_tasks=[],
        session_crons=[],
    )
    own = {"prompt_id": agent.prompt_id} if agent.prompt_id else {}
    own |= {"source": "compact", "model": agent.launch.model}
    yield from agent.fire("SessionStart", subject="compact", **own)
    agent.transcript.add("system", subtype="compact_boundary", compactMetadata={"trigger": "manual"})
    yield from agent.fire("PostCompact", subject="manual", trigger="manual", compact_summary=summary)


def clear(agent: Agent) -> Flow[None]:
    """/clear: the session ends and another begins in its place."""
    yield from agent.fire("SessionEnd", subject="clear", reason="clear")
    agent.transcript = Transcript(new_id(), agent.cwd)
    yield from agent.fire("SessionStart", subject="clear", source="clear", model=agent.launch.model)
    agent.screen.say("❯ /clear", "")
