"""Named histories of a worker: the events that a journal holds, and what must follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dodo_claude import lifecycle as life
from dodo_claude import policy
from dodo_claude.lifecycle import Event, Outcome, Result, State, View, advance


@dataclass(frozen=True)
class History:
    events: Sequence[Event]
    instruction: policy.Instruction
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
        policy.Verify(),
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
        policy.Wait(60.0),
        {"state": State.RUNNING, "activity": "Write a.txt"},
    ),
    "no hook ever": History(
        events(SPAWNED),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "no hook event in 60 s: the client shows a dialog, or managed settings switch hooks off; "
                "its last screen is kept",
                kind="no hooks",
            )
        ),
        facts={"in_state": 60.0},
    ),
    "a Stop with a background task is not the end": History(
        events(SPAWNED, SESSION, PROMPT, ("Stop", {"background_tasks": [{"type": "shell"}]})),
        policy.Wait(60.0),
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
        policy.Verify(),
        {"background": 0, "prompts": 2},
    ),
    "a repair was sent and taken": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), PROMPT),
        policy.Wait(60.0),
        {"state": State.RUNNING, "repairs": 1, "submitted": True, "turn_done": False},
    ),
    "a Stop of the turn before the repair comes late": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), STOP),
        policy.Wait(2.0),
        {"state": State.RUNNING, "submitted": False, "turn_done": False},
    ),
    "the Enter was swallowed once": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), life.ENTER, PROMPT),
        policy.Wait(60.0),
        {"enters": 0, "submitted": True},
    ),
    "a permission dialog": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}}),
        ),
        policy.Wait(60.0),
        {"state": State.BLOCKED, "blocked_on": "Bash make"},
    ),
    "a dialog that only a Notification tells of": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Notification", {"notification_type": "agent_needs_input", "message": "hm"}),
        ),
        policy.Wait(60.0),
        {"state": State.BLOCKED, "blocked_on": "hm"},
    ),
    "the dialog was answered": History(
        events(SPAWNED, SESSION, PROMPT, ("PermissionRequest", {"tool_name": "Bash"}), WRITE),
        policy.Wait(60.0),
        {"state": State.RUNNING, "blocked_on": None},
    ),
    "a reminder of idleness is no dialog": History(
        events(SPAWNED, SESSION, PROMPT, STOP, ("Notification", {"notification_type": "idle_prompt"})),
        policy.Verify(),
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
        policy.Wait(60.0),
        {"state": State.RUNNING, "since": 2.0},
    ),
    "the API gave up": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("StopFailure", {"error": "billing_error", "last_assistant_message": "no credit"}),
        ),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "the client gave up (billing_error): no credit",
                kind="billing_error",
                fatal=True,
            )
        ),
        {"state": State.IDLE},
    ),
    "a person went on after the API gave up": History(
        events(SPAWNED, SESSION, PROMPT, ("StopFailure", {"error": "server_error"}), PROMPT, STOP),
        policy.Verify(),
        {"error": None},
    ),
    "it died": History(
        events(SPAWNED, SESSION, PROMPT, (life.EXITED, {"status": 1})),
        policy.Stop(
            Outcome(Result.FAILED, "its worker ended in mid-work with exit status 1", retry=True, kind="died")
        ),
        {"state": State.EXITED},
    ),
    "it died before it said a word": History(
        events(SPAWNED, (life.EXITED, {"status": 127})),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker ended before it began with exit status 127",
                retry=True,
                kind="died",
            )
        ),
    ),
    "a late hook of a process that is gone": History(
        events(SPAWNED, SESSION, PROMPT, (life.EXITED, {"status": 1}), WRITE),
        policy.Stop(
            Outcome(Result.FAILED, "its worker ended in mid-work with exit status 1", retry=True, kind="died")
        ),
        {"state": State.EXITED},
    ),
    "a limit: the fleet pauses": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("StopFailure", {"error": "rate_limit", "last_assistant_message": "resets 3pm (UTC)"}),
        ),
        policy.Pause("rate_limit", "resets 3pm (UTC)"),
    ),
    "a limit: waiting": History(
        events(
            SPAWNED, SESSION, PROMPT, ("StopFailure", {"error": "rate_limit"}), (life.PAUSED, {"until": 9e9})
        ),
        policy.Wait(30.0),
        {"state": State.PAUSED},
        {"pause_left": 30.0},
    ),
    "a limit: it is over": History(
        events(
            SPAWNED, SESSION, PROMPT, ("StopFailure", {"error": "rate_limit"}), (life.PAUSED, {"until": 4.5})
        ),
        policy.GoOn(),
    ),
    "a limit: gone on, and no repair is used up": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("StopFailure", {"error": "rate_limit"}),
            (life.PAUSED, {"until": 4.5}),
            (life.CONTINUED, {"text": "go on"}),
            PROMPT,
            STOP,
        ),
        policy.Verify(),
        {"repairs": 0, "error": None, "errors": 1},
    ),
    "five overloads in a row": History(
        events(
            SPAWNED,
            SESSION,
            *[
                step
                for _ in range(5)
                for step in (PROMPT, ("StopFailure", {"error": "server_error"}), life.CONTINUED)
            ][:-1],
        ),
        policy.Stop(
            Outcome(Result.FAILED, "the client gave up (server_error)", retry=True, kind="server_error")
        ),
        {"errors": 5},
    ),
    "progress forgives overloads": History(
        events(
            SPAWNED,
            SESSION,
            *[
                step
                for _ in range(7)
                for step in (PROMPT, WRITE, ("StopFailure", {"error": "server_error"}), life.CONTINUED)
            ][:-1],
        ),
        policy.Pause("server_error", ""),
        {"errors": 1},
    ),
    "silence: somebody should look": History(
        events(SPAWNED, SESSION, PROMPT), policy.Look(), facts={"silent": 25.0, "unlooked": 99.0}
    ),
    "silence: a dialog that no hook tells of": History(
        events(SPAWNED, SESSION, PROMPT, (life.SCREEN, {"box": False, "text": "Do you want?"})),
        policy.Wait(60.0),
        {"state": State.BLOCKED, "blocked_on": "Do you want?", "looked": 4.0},
    ),
    "silence: nudge": History(
        events(SPAWNED, SESSION, PROMPT), policy.GoOn(nudge=True), facts={"silent": 900.0, "timeout": 5000.0}
    ),
    "silence: interrupt": History(
        events(SPAWNED, SESSION, PROMPT, (life.CONTINUED, {"nudge": True})),
        policy.Interrupt(),
        {"nudges": 1},
        {"silent": 1200.0, "timeout": 5000.0},
    ),
    "silence: give up": History(
        events(SPAWNED, SESSION, PROMPT, (life.CONTINUED, {"nudge": True}), life.INTERRUPTED),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker was silent for 1500 s, nudged and interrupted in vain",
                retry=True,
                kind="silent",
            )
        ),
        {"nudges": 2},
        {"silent": 1500.0, "timeout": 5000.0},
    ),
    "silence: it woke up": History(
        events(SPAWNED, SESSION, PROMPT, (life.CONTINUED, {"nudge": True}), WRITE),
        policy.Wait(60.0),
        {"nudges": 0, "heard": 5.0},
    ),
    "nobody answers the dialog": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}}),
        ),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "a dialog waited 1800 s for a person: Bash make; allow it in `allowed_tools`, or refuse all by "
                'on_permission = "deny"',
            )
        ),
        facts={"in_state": 1800.0, "timeout": 5000.0, "elapsed": 1900.0},
    ),
}
