"""The agent: what the tools, steps and turns of one session act on. Knows no key and decides nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.scripted.hooks import COMMON, hooks_for, run_hooks
from dodo_claude.scripted.loop import Awaited
from dodo_claude.scripted.transcript import Transcript, new_id

if TYPE_CHECKING:
    from dodo_claude.scripted.arguments import Launch
    from dodo_claude.scripted.hooks import Reply
    from dodo_claude.scripted.loop import Flow, Job, Loop
    from dodo_claude.scripted.scenario import Step
    from dodo_claude.scripted.screen import Screen


class Prompt(NamedTuple):
    """A prompt on its way. `steps` are played in place of the scenario's turn; `announced`: its hook has run."""

    text: str
    shown: str
    id: str
    is_note: bool = False  # of the client's own, not typed
    steps: tuple[Step, ...] | None = None
    announced: bool = False
    # A slash command, whose argument is then the text.
    command: str = ""


class Dialog(Awaited):
    """An open permission dialog. It is over when it was answered with yes: a no interrupts the turn."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines


class Agent:
    """One session's state between its keys and its screen."""

    def __init__(self, launch: Launch, loop: Loop, screen: Screen) -> None:
        self.launch = launch
        self.stage = launch.stage
        self.loop = loop
        self.screen = screen
        self.cwd = os.getcwd()
        self.mode = launch.mode
        self.transcript = Transcript(launch.session, self.cwd)
        # What {…} in a step's text stands for.
        self.values = launch.stage.values()
        # The index of the scenario's next turn.
        self.cursor = 0
        # The prompt being answered, and the id of the last one that was.
        self.prompt: Prompt | None = None
        self.prompt_id: str | None = None
        self.queue: list[Prompt] = []
        self.dialog: Dialog | None = None
        # How many commands run in the background.
        self.background = 0
        # For the busy line: since when, and with what besides the turn.
        self.began = 0.0
        self.doing = ""
        # Whether this turn has shown anything, and what it said last.
        self.spoke = False
        self.last_message = ""
        # What the empty box shows.
        self.placeholder = ""
        self.ignores_sigterm = False
        self.is_ending = False
        self.exit_code: int | None = None

    def speak(self, text: str) -> None:
        self.spoke = True
        self.last_message = text
        self.screen.say("● " + text.replace("\n", "\n  "), "")
        asked = len(self.prompt.text) if self.prompt else 0
        guess = {"input_tokens": asked // 4 + 1, "output_tokens": len(text) // 4 + 1}
        self.transcript.add_answer(text, self.launch.model, self.stage.usage or guess)

    def pause(self, seconds: float) -> Flow[None]:
        """Sleep as a scenario says it, in the speed that was asked for."""
        yield seconds * self.launch.speed

    def note(self, text: str, steps: tuple[Step, ...] | None = None) -> None:
        """Put a prompt of the client's own into the queue."""
        self.queue.append(Prompt(text, "", new_id(), is_note=True, steps=steps))

    def fire(self, event: str, subject: str = "", **own: Any) -> Flow[list[Reply]]:
        """Run the event's hooks. `own` is what its record has and no other's; for `subject` see hooks_for."""
        hooks = [] if self.stage.no_hooks else hooks_for(self.launch.settings, event, subject)
        replies = yield from run_hooks(
            self.loop, hooks, self._record(event, own), self.environment(), self._rewake
        )
        for reply in replies:
            context = reply.own("additionalContext")
            if context and event != "Stop":
                content = {"type": "hook_additional_context", "hookEvent": event, "content": context}
                self.transcript.add("attachment", attachment=content)
        return replies

    def environment(self) -> dict[str, str]:
        """What a hook and a command of the agent's find in their environment."""
        return {
            **os.environ,
            "CLAUDE_PROJECT_DIR": self.cwd,
            "CLAUDE_CODE_SESSION_ID": self.transcript.session,
            "CLAUDE_PID": str(os.getpid()),
            "CLAUDECODE": "1",
        }

    def _record(self, event: str, own: dict[str, Any]) -> dict[str, Any]:
        common = {
            "prompt_id": self.prompt_id,
            "permission_mode": "default" if self.mode == "manual" else self.mode,
            "effort": {"level": "medium"},
        }
        return {
            "session_id": self.transcript.session,
            "transcript_path": self.transcript.path,
            "cwd": self.cwd,
            **{key: common[key] for key in COMMON[event] if common[key]},
            "hook_event_name": event,
            **own,
        }

    def _rewake(self, hook: dict[str, Any], job: Job) -> None:
        """An asyncRewake hook ended: exit code 2 puts its stderr before the agent, anything else is nothing."""
        if job.code != 2 or self.is_ending:
            return
        opening = hook.get("rewakeMessage") or 'Stop hook blocking error from command "Stop":'
        self.screen.say(f"● {hook.get('rewakeSummary') or 'Stop hook feedback'}", "")
        self.note(f"<task-notification>\n{opening}\n{job.err.strip()}\n</task-notification>")
