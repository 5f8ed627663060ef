"""The agent: what the tools, steps and turns of one session act on. Knows no key and decides nothing."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from dodo_claude.agents.scripted.hooks import COMMON, hooks_for, run_hooks, texts_of
from dodo_claude.agents.scripted.loop import Awaited
from dodo_claude.agents.scripted.transcript import Transcript, new_id

if TYPE_CHECKING:
    from dodo_claude.agents.scripted.arguments import Launch
    from dodo_claude.agents.scripted.hooks import Reply
    from dodo_claude.agents.scripted.loop import Flow, Job, Loop
    from dodo_claude.agents.scripted.scenario import Step
    from dodo_claude.agents.scripted.screen import Screen


# A longer text of a hook is kept in a file, and the model gets this much of it.
TOLD_CHARS, PREVIEW_CHARS = 10_000, 2_000
# The client's window for its default model.
WINDOW_TOKENS = 1_000_000
# From a change until the status line's command is run, in seconds.
STATUS_DELAY = 0.3
NO_USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
}


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
    """An open permission dialog. It is over when it was answered with yes, or by a hook: a person's no interrupts the turn."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        self.refusal = ""  # why a hook said no


class Agent:
    """One session's state between its keys and its screen."""

    def __init__(self, launch: Launch, loop: Loop, screen: Screen) -> None:
        self.launch = launch
        self.stage = launch.stage
        self.loop = loop
        self.screen = screen
        self.started = time.monotonic()
        self.cwd = os.getcwd()
        self.mode = launch.mode
        self.transcript = Transcript(launch.session, self.cwd)
        # What {…} in a step's text stands for.
        self.values = launch.stage.values()
        # The index of the scenario's next turn.
        self.cursor = 0
        # The prompt of a turn that begins anew, since the session was cut off in it.
        self.cut_off: str | None = None
        # The prompt being answered, and the id of the last one that was.
        self.prompt: Prompt | None = None
        self.prompt_id: str | None = None
        self.queue: list[Prompt] = []
        self.dialog: Dialog | None = None
        # How many commands run in the background.
        self.background = 0
        # Texts of hooks in the conversation, oldest first, and those that no step has taken.
        self.told: list[str] = []
        self.unheard: list[str] = []
        # How many rounds of tools were played.
        self.rounds = 0
        # How many characters the conversation has, and whether it has a turn that can be compacted.
        self.size = 0
        self.has_turns = False
        # How full the turn finds the context, in percent, where the scenario says it; what the last answer used.
        self.percent = launch.stage.context
        self.used: dict[str, int] | None = None
        # How many compactions were tried.
        self.compactions = 0
        # The status line's text, and whether its command is about to be run.
        self.status = ""
        self.status_is_due = False
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
        guess = {"input_tokens": self.size // 4 + 1, "output_tokens": len(text) // 4 + 1}
        self.used = {**NO_USAGE, **(self.stage.usage or guess)}
        if self.percent is not None:
            tokens = int(self.percent * WINDOW_TOKENS / 100)
            self.used = {**NO_USAGE, "input_tokens": tokens, "output_tokens": self.used["output_tokens"]}
        self.size += len(text)
        self.transcript.add_answer(text, self.launch.model, self.used)

    def pause(self, seconds: float) -> Flow[None]:
        """Sleep as a scenario says it, in the speed that was asked for."""
        yield seconds * self.launch.speed

    def note(self, text: str, steps: tuple[Step, ...] | None = None) -> None:
        """Put a prompt of the client's own into the queue."""
        self.queue.append(Prompt(text, "", new_id(), is_note=True, steps=steps))

    def tell(self, event: str, replies: list[Reply], subject: str = "") -> None:
        """Put what the event's hooks say before the agent."""
        for text in texts_of(replies):
            shown = text if len(text) <= TOLD_CHARS else self._set_aside(text)
            self.told.append(shown)
            self.unheard.append(shown)
            self.size += len(shown)
            name = f"{event}:{subject}" if subject else event
            content = {
                "type": "hook_additional_context",
                "content": [shown],
                "hookName": name,
                "hookEvent": event,
            }
            self.transcript.add("attachment", attachment=content)

    def hear(self, text: str) -> str:
        """Take a text that was told."""
        self.unheard.remove(text)
        return text

    def forget(self, size: int = 0) -> None:
        """The conversation is gone, but for a summary of `size` characters."""
        self.told, self.unheard = [], []
        self.size = size
        self.has_turns = False

    def _set_aside(self, text: str) -> str:
        path = f"{self.transcript.path.removesuffix('.jsonl')}/tool-results/hook-{new_id()}-additionalContext.txt"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        size = len(text.encode("utf-8", "replace")) / 1024
        return (
            f"<persisted-output>\nOutput too large ({size:.1f}KB). Full output saved to: {path}\n\n"
            f"Preview (first 2KB):\n{text[:PREVIEW_CHARS]}\n...\n</persisted-output>"
        )

    def show_status(self) -> None:
        """Something changed that the status line tells: run its command in a moment, once for several changes."""
        line = self.launch.settings.get("statusLine")
        if isinstance(line, dict) and line.get("type") == "command" and not self.status_is_due:
            self.status_is_due = True
            self.loop.start(self._run_status(str(line["command"])))

    def _run_status(self, command: str) -> Flow[None]:
        yield STATUS_DELAY
        self.status_is_due = False
        record = json.dumps(self._status_record()).encode()
        job = self.loop.spawn(["/bin/sh", "-c", command], self.environment(), record)
        yield job
        self.status = job.out.partition("\n")[0]

    def _status_record(self) -> dict[str, Any]:
        """What the client tells it; the state of its prompt cache apart, for there is none here."""
        used = self.used or NO_USAGE
        total = sum(used.values()) - used["output_tokens"]
        percent = None if self.used is None else min(int(total * 100 / WINDOW_TOKENS + 0.5), 100)
        return {
            "session_id": self.transcript.session,
            "transcript_path": self.transcript.path,
            "cwd": self.cwd,
            **({"prompt_id": self.prompt_id} if self.prompt_id else {}),
            "effort": {"level": "medium"},
            "model": {"id": self.launch.model, "display_name": self.launch.model},
            "workspace": {"current_dir": self.cwd, "project_dir": self.cwd, "added_dirs": []},
            "version": "scripted",
            "output_style": {"name": "default"},
            "cost": {
                "total_cost_usd": 0,
                "total_duration_ms": int((time.monotonic() - self.started) * 1000),
                "total_api_duration_ms": 0,
                "total_lines_added": 0,
                "total_lines_removed": 0,
            },
            "context_window": {
                "total_input_tokens": total,
                "total_output_tokens": used["output_tokens"],
                "context_window_size": WINDOW_TOKENS,
                "current_usage": self.used,
                "used_percentage": percent,
                "remaining_percentage": None if percent is None else 100 - percent,
            },
            "exceeds_200k_tokens": total > 200_000,
            "fast_mode": False,
            "thinking": {"enabled": True},
        }

    def fire(self, event: str, subject: str = "", **own: Any) -> Flow[list[Reply]]:
        """Run the event's hooks. `own` is what its record has and no other's; for `subject` see hooks_for."""
        hooks = [] if self.stage.no_hooks else hooks_for(self.launch.settings, event, subject)
        record = self._record(event, own)
        return (yield from run_hooks(self.loop, hooks, record, self.environment(), self._rewake))

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
