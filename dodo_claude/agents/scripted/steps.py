"""The steps of a scenario's turn, one function each. What a step's value may be is in grammar.py.

Each takes the agent, the step and the prompt's text; False ends the turn early, with its Stop hook.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dodo_claude.agents.scripted import tools
from dodo_claude.agents.scripted.grammar import FAILURES
from dodo_claude.agents.scripted.loop import NOW
from dodo_claude.agents.scripted.scenario import fill, fill_pattern, read_content

if TYPE_CHECKING:
    from collections.abc import Callable

    from dodo_claude.agents.scripted.agent import Agent
    from dodo_claude.agents.scripted.loop import Flow
    from dodo_claude.agents.scripted.scenario import Step


class TurnError(Exception):
    """The turn failed, and StopFailure has said so: no Stop hook is due."""


def _say(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    agent.speak(fill(step.value, agent.values))
    yield NOW
    return True


def _sleep(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    yield from agent.pause(step.value)
    return True


def _capture(agent: Agent, step: Step, prompt: str) -> Flow[bool]:
    of_prompt = "from_prompt" in step.options
    pattern = fill_pattern(step.options["from_prompt" if of_prompt else "from_told"], agent.values)
    texts = [prompt] if of_prompt else reversed(agent.told)
    found = next(filter(None, (re.search(pattern, text) for text in texts)), None)
    if found is None:
        where = "The prompt" if of_prompt else "What I was told"
        agent.speak(f"{where} has nothing that fits {pattern} (for {{{step.value}}}); I stop here.")
        return False
    agent.values[step.value] = found[1] or ""
    yield NOW
    return True


def _told(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    pattern = fill_pattern(step.value, agent.values)
    text = next((text for text in agent.unheard if re.search(pattern, text)), None)
    yield NOW
    return True if text is None else (yield from play(agent, step.options["then"], agent.hear(text)))


def _write(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    path = os.path.abspath(fill(step.value, agent.values))
    try:
        content = read_content(step, agent.stage.folder, agent.values)
    except OSError as error:
        agent.speak(f"The scenario's file {step.options['from']} cannot be read: {error.strerror}.")
        return False
    if step.kind == "append" and os.path.exists(path):
        with open(path, encoding="utf-8", errors="replace") as file:
            content = file.read() + content
    yield from tools.write(agent, path, content)
    return True


def _edit(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    path, old, new = (
        fill(text, agent.values) for text in (step.value, step.options["old"], step.options["new"])
    )
    yield from tools.edit(agent, os.path.abspath(path), old, new)
    return True


def _bash(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    yield from tools.bash(agent, fill(step.value, agent.values))
    return True


def _permission(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A call that no rule covers: a dialog where the mode has dialogs, a denial in dontAsk, which has none."""
    options = {key: fill(value, agent.values) for key, value in step.options.items()}
    if step.value == "Bash":
        yield from tools.bash(agent, options["command"], must_ask=True)
    else:
        yield from tools.write(agent, os.path.abspath(options["path"]), options["text"], must_ask=True)
    return True


def _background(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A shell of the agent's that outlasts the turn: its end comes back as a prompt of the client's own."""

    def wait() -> Flow[None]:
        yield from agent.pause(step.value)
        agent.background -= 1
        note = "<task-notification>\n<status>completed</status>\n</task-notification>"
        agent.note(note, step.options["then"])

    agent.background += 1
    agent.spoke = True
    agent.screen.say("● Bash(background)", "  ⎿  Running in the background", "")
    agent.loop.start(wait())
    yield NOW
    return True


def _unanswered(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """The API refuses a request, and the client, which asks again by itself, tells its log and its screen alone."""
    status, _, text = fill(step.value, agent.values).partition(" ")
    attempt = step.options.get("attempt", 1)
    error = json.dumps({"type": "error", "error": {"type": "api_error", "message": text}})
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    agent.screen.say(f"✻ {status} {text} · retrying in 1s · attempt {attempt}/10")
    if agent.launch.log:
        with open(agent.launch.log, "a", encoding="utf-8") as log:
            log.write(f"{now} [ERROR] API error (attempt {attempt}/11): {status} {status} {error}\n")
    yield NOW
    return True


def _fail(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    text = fill(step.options.get("text", FAILURES[step.value]), agent.values)
    agent.spoke = True
    agent.screen.say(f"● {text}")
    agent.placeholder = "Once fixed, resend your message"
    yield from agent.fire("StopFailure", subject=step.value, error=step.value, last_assistant_message=text)
    raise TurnError


def _exit(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    """A crash: no SessionEnd."""
    agent.exit_code = step.value
    yield None
    return False


def _kill(_agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    os.kill(os.getpid(), step.value)
    yield None
    return False


def _hang(_agent: Agent, _step: Step, _prompt: str) -> Flow[bool]:
    yield None
    return False


def _ignore_sigterm(agent: Agent, _step: Step, _prompt: str) -> Flow[bool]:
    agent.ignores_sigterm = True
    yield NOW
    return True


def _spawn(agent: Agent, step: Step, _prompt: str) -> Flow[bool]:
    agent.loop.spawn_apart(["/bin/sh", "-c", fill(step.value, agent.values)], dict(os.environ))
    yield NOW
    return True


def play(agent: Agent, steps: tuple[Step, ...], prompt: str) -> Flow[bool]:
    """Play the steps one after the other; False where one of them ended the turn."""
    for step in steps:
        goes_on = yield from PLAYS[step.kind](agent, step, prompt)
        if not goes_on:
            return False
    return True


PLAYS: dict[str, Callable[[Agent, Step, str], Flow[bool]]] = {
    "say": _say,
    "sleep": _sleep,
    "capture": _capture,
    "told": _told,
    "write": _write,
    "append": _write,
    "edit": _edit,
    "bash": _bash,
    "permission": _permission,
    "background": _background,
    "unanswered": _unanswered,
    "fail": _fail,
    "exit": _exit,
    "kill": _kill,
    "hang": _hang,
    "ignore_sigterm": _ignore_sigterm,
    "spawn": _spawn,
}
