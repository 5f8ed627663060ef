"""Named histories of a worker: the events that a journal holds, and what must follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dodo_claude import lifecycle as life
from dodo_claude.lifecycle import Event, Outcome, Result, State, View, advance


@dataclass(frozen=True)
class History:
    events: Sequence[Event]
    instruction: life.Instruction
    view: Mapping[str, object] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


def events(*steps: str | tuple[str, dict[str, object]]) -> list[Event]:
    """Events one second apart."""
    return [
        Event(step, float(number)) if isinstance(step, str) else Event(step[0], float(number), step[1])
        for number, step in enumerate(steps, 1)
    ]


def fold(history: Sequence[Event]) -> View:
    view = View()
    for event in history:
        view = advance(view, event)
    return view


SPAWNED = (life.SPAWNED, {"pane": "%1", "session": "$1", "pid": 77})
SESSION = ("SessionStart", {"session_id": "s-1", "transcript_path": "/t.jsonl", "source": "startup"})
PROMPT = ("UserPromptSubmit", {"prompt": "do it"})
WRITE = ("PreToolUse", {"tool_name": "Write", "tool_input": {"file_path": "a.txt", "content": "x"}})
STOP = ("Stop", {"last_assistant_message": "made a.txt", "background_tasks": [], "stop_hook_active": False})

HISTORIES = {
    "one good turn": History(
        events(SPAWNED, SESSION, PROMPT, WRITE, STOP),
        life.Verify(),
        {
            "state": State.IDLE,
            "message": "made a.txt",
            "session_id": "s-1",
            "pid": 77,
            "prompts": 1,
            "since": 5.0,
        },
    ),
    "at work": History(
        events(SPAWNED, SESSION, PROMPT, WRITE),
        life.Wait(90.0),
        {"state": State.RUNNING, "activity": "Write a.txt"},
    ),
    "no hook ever": History(
        events(SPAWNED),
        life.Stop(
            Outcome(
                Result.FAILED,
                "no hook event in 60 s: the client shows a dialog, or managed settings switch hooks off; "
                "its last screen is kept",
            )
        ),
        facts={"in_state": 60.0},
    ),
    "a Stop with a background task is not the end": History(
        events(SPAWNED, SESSION, PROMPT, ("Stop", {"background_tasks": [{"type": "shell"}]})),
        life.Wait(90.0),
        {"background": 1},
    ),
    "the second Stop is": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Stop", {"background_tasks": [{"type": "shell"}]}),
            ("UserPromptSubmit", {"prompt": "<task-notification>"}),
            STOP,
        ),
        life.Verify(),
        {"background": 0, "prompts": 2},
    ),
    "a repair was sent and taken": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), PROMPT),
        life.Wait(90.0),
        {"state": State.RUNNING, "repairs": 1, "submitted": True, "turn_done": False},
    ),
    "a Stop of the turn before the repair comes late": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), STOP),
        life.Wait(2.0),
        {"state": State.RUNNING, "submitted": False, "turn_done": False},
    ),
    "the Enter was swallowed once": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), life.ENTER, PROMPT),
        life.Wait(90.0),
        {"enters": 0, "submitted": True},
    ),
    "a permission dialog": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}}),
        ),
        life.Wait(90.0),
        {"state": State.BLOCKED, "blocked_on": "Bash make"},
    ),
    "a dialog that only a Notification tells of": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Notification", {"notification_type": "agent_needs_input", "message": "hm"}),
        ),
        life.Wait(90.0),
        {"state": State.BLOCKED, "blocked_on": "hm"},
    ),
    "the dialog was answered": History(
        events(SPAWNED, SESSION, PROMPT, ("PermissionRequest", {"tool_name": "Bash"}), WRITE),
        life.Wait(90.0),
        {"state": State.RUNNING, "blocked_on": None},
    ),
    "a reminder of idleness is no dialog": History(
        events(SPAWNED, SESSION, PROMPT, STOP, ("Notification", {"notification_type": "idle_prompt"})),
        life.Verify(),
        {"state": State.IDLE},
    ),
    "compaction in mid-turn": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            "PreCompact",
            ("SubagentStop", {"agent_type": ""}),
            ("SessionStart", {"source": "compact", "session_id": "s-1"}),
            "PostCompact",
        ),
        life.Wait(90.0),
        {"state": State.RUNNING, "since": 2.0},
    ),
    "the API gave up": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("StopFailure", {"error": "billing_error", "last_assistant_message": "no credit"}),
        ),
        life.Stop(Outcome(Result.FAILED, "the client gave up (billing_error): no credit")),
        {"state": State.IDLE},
    ),
    "a person went on after the API gave up": History(
        events(SPAWNED, SESSION, PROMPT, ("StopFailure", {"error": "server_error"}), PROMPT, STOP),
        life.Verify(),
        {"error": None},
    ),
    "it died": History(
        events(SPAWNED, SESSION, PROMPT, (life.EXITED, {"status": 1})),
        life.Stop(Outcome(Result.FAILED, "its worker ended in mid-work with exit status 1", retry=True)),
        {"state": State.EXITED},
    ),
    "it died before it said a word": History(
        events(SPAWNED, (life.EXITED, {"status": 127})),
        life.Stop(Outcome(Result.FAILED, "its worker ended in mid-work with exit status 127", retry=True)),
    ),
    "a late hook of a process that is gone": History(
        events(SPAWNED, SESSION, PROMPT, (life.EXITED, {"status": 1}), WRITE),
        life.Stop(Outcome(Result.FAILED, "its worker ended in mid-work with exit status 1", retry=True)),
        {"state": State.EXITED},
    ),
}
