"""What a session does between two prompts: it opens, answers a prompt, compacts, clears. Knows no key and no queue."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from dodo_claude.agents.scripted.agent import NO_USAGE, Prompt
from dodo_claude.agents.scripted.grammar import EMPTY_SUMMARY, FAILURES
from dodo_claude.agents.scripted.hooks import first_block, texts_of
from dodo_claude.agents.scripted.scenario import pick_turn
from dodo_claude.agents.scripted.steps import play
from dodo_claude.agents.scripted.transcript import Transcript, new_id

if TYPE_CHECKING:
    from dodo_claude.agents.scripted.agent import Agent
    from dodo_claude.agents.scripted.loop import Flow
    from dodo_claude.agents.scripted.scenario import Step

# Stop hooks may ask for more so many times in a row; the next time they are overridden. A round of tools begins the
# count anew.
STOP_BLOCK_CAP = 8


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
    """Show the history and set the cursor behind its last turn, or to it if it was cut off and says `again`."""
    tokens = 0
    for line in agent.transcript.lines():
        message = line.get("message") or {}
        if line["type"] == "user" and not line.get("isMeta"):
            agent.screen.say(f"❯ {message['content']}", "")
        elif line["type"] == "assistant":
            agent.screen.say(f"● {message['content'][0]['text']}", "")
            tokens = sum(message["usage"].values())
            agent.has_turns = True
        elif line["type"] == "attachment":
            agent.told += line["attachment"]["content"]
        elif line.get("subtype") == "compact_boundary":
            agent.forget()
        elif line.get("subtype") == "scripted_turn":
            agent.cursor, agent.cut_off = line["next"], line.get("again")
        elif line.get("subtype") == "scripted_turn_end":
            agent.cut_off = None
    if agent.cut_off is not None:
        agent.cursor -= 1
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
    cap, blocks = _stop_block_cap(), 0
    while True:
        agent.last_message, rounds = "", agent.rounds
        agent.size += len(text)
        yield from _play(agent, text, steps)
        agent.has_turns = True
        asked = yield from _stop(agent, active)
        if not asked:
            break
        blocks = blocks + 1 if agent.rounds == rounds else 1
        if blocks > cap:
            fact = f"● A hook blocked the turn from ending {blocks} consecutive times—overriding and ending turn."
            agent.screen.say(fact, "  Set CLAUDE_CODE_STOP_HOOK_BLOCK_CAP to raise this limit.", "")
            break
        # A turn of its own answers them. What was overridden waits for the next prompt.
        agent.unheard = [text for text in agent.unheard if text not in asked]
        text, steps, active = "\n".join(asked), None, True
    seconds = time.monotonic() - agent.began
    agent.transcript.add("system", subtype="turn_duration", durationMs=int(seconds * 1000))
    agent.screen.say(f"✻ Worked for {int(seconds)}s · done", "")


def _stop_block_cap() -> int:
    try:
        return int(os.environ["CLAUDE_CODE_STOP_HOOK_BLOCK_CAP"]) or STOP_BLOCK_CAP
    except (KeyError, ValueError):
        return STOP_BLOCK_CAP


def _play(agent: Agent, text: str, steps: tuple[Step, ...] | None) -> Flow[None]:
    if steps is None:
        if agent.cut_off is not None:
            text, agent.cut_off = agent.cut_off, None
        index = pick_turn(agent.stage.turns, agent.cursor, text)
        if index is None:
            agent.speak("The scenario has no turn for this prompt.")
            return
        agent.cursor = index + 1
        turn = agent.stage.turns[index]
        again = {"again": text} if turn.again else {}
        agent.transcript.add("system", subtype="scripted_turn", next=agent.cursor, **again)
        steps = turn.steps
        agent.percent = agent.stage.context if turn.context is None else turn.context
    yield from play(agent, steps, text)
    agent.transcript.add("system", subtype="scripted_turn_end")


def _stop(agent: Agent, active: bool) -> Flow[list[str]]:
    """Ask the Stop hooks. Returns the texts to go on with; none where they let the turn end."""
    agent.doing = "running Stop hook"
    replies = yield from agent.fire(
        "Stop",
        stop_hook_active=active,
        last_assistant_message=agent.last_message,
        background_tasks=[{"type": "shell", "status": "running"}] * agent.background,
        session_crons=[],
    )
    agent.doing = ""
    texts = texts_of(replies)
    agent.tell("Stop", replies)
    for text in texts:
        agent.screen.say("● Ran 1 stop hook", f"  ⎿  Stop hook says: {text}", "")
    block = first_block(replies)
    about = {"hookCount": len(replies), "hookErrors": [] if block is None else [block]}
    agent.transcript.add(
        "system", subtype="stop_hook_summary", **about, hasOutput=bool(texts or about["hookErrors"])
    )
    if block is not None:
        agent.screen.say("● Ran 1 stop hook", "  ⎿  Stop hook reported a problem", f"     {block}", "")
        content = f"Stop hook feedback:\n{block}"
        agent.transcript.add("user", message={"role": "user", "content": content}, isMeta=True)
        return [block]
    return agent.told[-len(texts) :] if texts else []


def compact(agent: Agent, prompt: Prompt) -> Flow[None]:
    """/compact: neither UserPromptSubmit nor Stop. PostCompact is its end, but not everything that ends it: where
    there is nothing to compact, or the summary is empty, no hook tells of it."""
    agent.screen.say(f"❯ {prompt.shown}")
    agent.began, agent.doing = time.monotonic(), "compacting conversation"
    replies = yield from agent.fire(
        "PreCompact", subject="manual", trigger="manual", custom_instructions=prompt.text or None
    )
    blocked = first_block(replies)
    if blocked is not None:
        end = f"Compaction blocked by hook: {blocked}"
    elif not agent.has_turns:
        end = "Not enough messages to compact."
    else:
        end = yield from _summarise(agent)
    agent.doing = ""
    agent.screen.say(f"  ⎿  {end}", "")
    agent.show_status()


def _summarise(agent: Agent) -> Flow[str]:
    """Returns what the screen says of it."""
    began, subagent = time.monotonic(), "a" + os.urandom(8).hex()
    fails = agent.stage.compact_fails[agent.compactions : agent.compactions + 1]
    agent.compactions += 1
    yield from agent.pause(agent.stage.compact_seconds)
    if fails and fails[0] != EMPTY_SUMMARY:
        said = FAILURES[fails[0]]
        own = {"agent_id": subagent, "error": fails[0], "last_assistant_message": said}
        yield from agent.fire("StopFailure", subject=fails[0], **own)
        return f"Error during compaction: {said}"
    summary = (
        "<analysis>compacted by the scripted agent</analysis>\n<summary>\n1. Scripted session.\n</summary>"
    )
    folder = agent.transcript.path.removesuffix(".jsonl")
    yield from agent.fire(
        "SubagentStop",
        agent_id=subagent,
        agent_type="",
        stop_hook_active=False,
        agent_transcript_path=f"{folder}/subagents/agent-{subagent}.jsonl",
        **({} if fails else {"last_assistant_message": summary}),
        background_tasks=[],
        session_crons=[],
    )
    if fails:
        return "Error during compaction: summarization produced empty response"
    before = sum((agent.used or NO_USAGE).values())
    about = {"trigger": "manual", "preTokens": before, "postTokens": len(summary) // 4}
    about["durationMs"] = int((time.monotonic() - began) * 1000)
    agent.forget(len(summary))
    agent.used = dict(NO_USAGE)
    agent.transcript.add("system", subtype="compact_boundary", compactMetadata=about)
    own = {"prompt_id": agent.prompt_id} if agent.prompt_id else {}
    own |= {"source": "compact", "model": agent.launch.model}
    agent.tell("SessionStart", (yield from agent.fire("SessionStart", subject="compact", **own)), "compact")
    yield from agent.fire("PostCompact", subject="manual", trigger="manual", compact_summary=summary)
    return "Compacted (ctrl+o to see full summary)"


def clear(agent: Agent) -> Flow[None]:
    """/clear: the session ends and another begins in its place."""
    yield from agent.fire("SessionEnd", subject="clear", reason="clear")
    agent.transcript = Transcript(new_id(), agent.cwd)
    agent.forget()
    agent.used = agent.prompt_id = None
    agent.tell(
        "SessionStart", (yield from agent.fire("SessionStart", subject="clear", source="clear")), "clear"
    )
    agent.screen.say("❯ /clear", "")
    agent.show_status()
