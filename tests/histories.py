"""Named histories of a worker: the events that a journal holds, and what must follow from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dodo_claude.state import events as life
from dodo_claude.state.events import Event, Outcome, Result, State, View
from dodo_claude.state.lifecycle import advance
from dodo_claude.worker import policy


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
# It does what it should, and is looked at meanwhile.
WORKS = policy.Wait(90.0, box=True)
# A dialog is open, as far as we know.
DIALOG = ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}})
BLOCKED = policy.Wait(90.0, box=False)
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
        WORKS,
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
    "no hook yet": History(events(SPAWNED), policy.Wait(3.0), facts={"in_state": 0.0, "unlooked": 99.0}),
    "none for a while": History(events(SPAWNED), policy.Look(), facts={"in_state": 3.0, "unlooked": 99.0}),
    "looked just now": History(events(SPAWNED), policy.Wait(2.0), facts={"in_state": 4.0, "unlooked": 1.0}),
    "and again": History(events(SPAWNED), policy.Look(), facts={"in_state": 6.0, "unlooked": 3.0}),
    "any dialog is one after that": History(
        events(SPAWNED), policy.Wait(1.0), facts={"in_state": 19.0, "unlooked": 1.0}
    ),
    "whatever it shows by now": History(
        events(SPAWNED), policy.Look(), facts={"in_state": 20.0, "unlooked": 1.0}
    ),
    "seen then": History(events(SPAWNED), policy.Wait(38.0), facts={"in_state": 22.0, "unlooked": 1.0}),
    "it stops at a dialog over its settings": History(
        events(
            SPAWNED, (life.SCREEN, {"box": False, "fault": "settings", "text": "/s.json: hooks.X: unknown"})
        ),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "the client stopped at a dialog before it began: /s.json: hooks.X: unknown",
                kind="settings",
                fatal=True,
            )
        ),
    ),
    "what looks like it at work is none": History(
        events(SPAWNED, SESSION, PROMPT, (life.SCREEN, {"box": True, "fault": "settings", "text": "x"})),
        WORKS,
    ),
    "a Stop with a background task is not the end": History(
        events(SPAWNED, SESSION, PROMPT, ("Stop", {"background_tasks": [{"type": "shell"}]})),
        WORKS,
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
        WORKS,
        {"state": State.RUNNING, "repairs": 1, "submitted": True, "turn_done": False},
    ),
    "a Stop of the turn before the repair comes late": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), STOP),
        policy.Wait(2.0),
        {"state": State.RUNNING, "submitted": False, "turn_done": False},
    ),
    "the Enter was swallowed once": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.SENT, {"text": "x"}), life.ENTER, PROMPT),
        WORKS,
        {"enters": 0, "submitted": True},
    ),
    "a permission dialog": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": "make"}}),
        ),
        BLOCKED,
        {"state": State.BLOCKED, "blocked_on": "Bash make"},
    ),
    "a dialog that only a Notification tells of": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Notification", {"notification_type": "agent_needs_input", "message": "hm"}),
        ),
        BLOCKED,
        {"state": State.BLOCKED, "blocked_on": "hm"},
    ),
    "the dialog was answered": History(
        events(SPAWNED, SESSION, PROMPT, ("PermissionRequest", {"tool_name": "Bash"}), WRITE),
        WORKS,
        {"state": State.RUNNING, "blocked_on": None},
    ),
    "a reminder of idleness is no dialog": History(
        events(SPAWNED, SESSION, PROMPT, STOP, ("Notification", {"notification_type": "idle_prompt"})),
        policy.Verify(),
        {"state": State.IDLE},
    ),
    "messages at a Stop that ended the turn all the same": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Stop", {"mail": ["a", "b"]}),
            ("Notification", {"notification_type": "idle_prompt"}),
        ),
        policy.GoOn(),
        {"state": State.IDLE, "handed": ("a", "b"), "received": ()},
    ),
    "its next prompt brings them": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("Stop", {"mail": ["a", "b"]}),
            ("Notification", {"notification_type": "idle_prompt"}),
            (life.CONTINUED, {"text": "go on"}),
            PROMPT,
        ),
        WORKS,
        {"state": State.RUNNING, "handed": (), "received": ("a", "b"), "cut_short": False},
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
        WORKS,
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
    "somebody left it in its pane": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("SessionEnd", {"reason": "prompt_input_exit"}),
            (life.EXITED, {"status": 0}),
        ),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker ended in mid-work with exit status 0 (somebody left it in its pane: /exit, Ctrl-C or Ctrl-D)",
                retry=True,
                kind="died",
            )
        ),
        {"state": State.EXITED, "left": True},
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
    "its check runs": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.CHECKING, {"check": "make test"})),
        policy.Verify(),
        {"checking": True, "activity": "its check runs"},
    ),
    "its check is over": History(
        events(
            SPAWNED, SESSION, PROMPT, STOP, (life.CHECKING, {"check": "c"}), (life.VERIFIED, {"ok": True})
        ),
        policy.Verify(),
        {"checking": False, "state": State.IDLE},
    ),
    "silence: somebody should look": History(
        events(SPAWNED, SESSION, PROMPT), policy.Look(), facts={"silent": 25.0, "strange": True}
    ),
    "silence: what its processes do is asked in the middle of it": History(
        events(SPAWNED, SESSION, PROMPT),
        policy.Wait(150.0, box=True),
        facts={"silent": 300.0, "timeout": 5000.0},
    ),
    "silence: and at its end": History(
        events(SPAWNED, SESSION, PROMPT),
        policy.Wait(400.0, box=True),
        facts={"silent": 500.0, "timeout": 5000.0},
    ),
    "silence: nobody waits for ever": History(
        events(SPAWNED, SESSION, PROMPT),
        policy.Wait(600.0, box=True),
        facts={"idle_timeout": 90000.0, "timeout": 5000.0},
    ),
    "the run's time is over first": History(
        events(SPAWNED, SESSION, PROMPT), policy.Wait(7.0, box=True), facts={"run_left": 7.0}
    ),
    "the run's time is as good as over": History(
        events(SPAWNED, SESSION, PROMPT),
        policy.Wait(policy.SOON_SECONDS, box=True),
        facts={"run_left": 0.0},
    ),
    "silence: a dialog that no hook tells of": History(
        events(SPAWNED, SESSION, PROMPT, (life.SCREEN, {"box": False, "text": "Do you want?"})),
        BLOCKED,
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
                "its worker was silent for 25 min, nudged and interrupted in vain",
                retry=True,
                kind="silent",
            )
        ),
        {"nudges": 2},
        {"silent": 1500.0, "timeout": 5000.0},
    ),
    "silence: it woke up": History(
        events(SPAWNED, SESSION, PROMPT, (life.CONTINUED, {"nudge": True}), WRITE),
        WORKS,
        {"nudges": 0, "heard": 5.0},
    ),
    "a dialog that is not on the screen any more: somebody should look": History(
        events(SPAWNED, SESSION, PROMPT, DIALOG), policy.Look(), facts={"strange": True}
    ),
    "a dialog that was answered in its pane": History(
        events(SPAWNED, SESSION, PROMPT, DIALOG, (life.SCREEN, {"box": True})),
        WORKS,
        {"state": State.RUNNING, "blocked_on": None, "request": "", "heard": 5.0},
    ),
    "a dialog that is still there": History(
        events(SPAWNED, SESSION, PROMPT, DIALOG, (life.SCREEN, {"box": False, "text": "else"})),
        BLOCKED,
        {"state": State.BLOCKED, "blocked_on": "Bash make"},
    ),
    "a dialog before its first prompt is not over with a box": History(
        events(SPAWNED, (life.SCREEN, {"box": False}), (life.SCREEN, {"box": True})),
        BLOCKED,
        {"state": State.BLOCKED},
    ),
    "before a dialog is given up, somebody looks": History(
        events(SPAWNED, SESSION, PROMPT, DIALOG),
        policy.Look(),
        facts={"in_state": 1800.0, "timeout": 5000.0, "elapsed": 1900.0, "unlooked": 60.0},
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
                "a dialog waited 30 min for a person: Bash make; allow it in `allowed_tools`, or refuse all by "
                'on_permission = "deny"',
            )
        ),
        facts={"in_state": 1800.0, "timeout": 5000.0, "elapsed": 1900.0},
    ),
    "a message was given by a hook: the turn goes on, the next event proves it": History(
        events(SPAWNED, SESSION, PROMPT, WRITE, ("PostToolBatch", {"mail": ["m1", "m2"]}), WRITE),
        WORKS,
        {"state": State.RUNNING, "handed": (), "received": ("m1", "m2")},
    ),
    "a message that nothing came after is not proved": History(
        events(SPAWNED, SESSION, PROMPT, WRITE, ("PostToolBatch", {"mail": ["m1"]})),
        WORKS,
        {"handed": ("m1",), "received": ()},
    ),
    "a turn's end that was answered with a message is none": History(
        events(SPAWNED, SESSION, PROMPT, (STOP[0], {**STOP[1], "mail": ["m1"]})),
        WORKS,
        {"state": State.RUNNING, "turn_done": False, "handed": ("m1",)},
    ),
    "the next turn's end is one": History(
        events(SPAWNED, SESSION, PROMPT, (STOP[0], {**STOP[1], "mail": ["m1"]}), STOP),
        policy.Verify(),
        {"received": ("m1",)},
    ),
    "what was received is settled": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            ("PostToolBatch", {"mail": ["m1"]}),
            WRITE,
            (life.RECEIVED, {"letters": ["m1"]}),
        ),
        WORKS,
        {"received": ()},
    ),
    "a message waits, the session is idle": History(
        events(SPAWNED, SESSION, PROMPT, STOP), policy.Deliver(), facts={"mail": True}
    ),
    "also when all is verified": History(
        events(SPAWNED, SESSION, PROMPT, STOP), policy.Deliver(), facts={"mail": True, "problems": ()}
    ),
    "a message was pasted": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.MAILED, {"letters": ["m1"], "text": "x"})),
        policy.Wait(2.0),
        {"state": State.RUNNING, "submitted": False, "mailed": ("m1",), "received": ()},
    ),
    "and taken": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.MAILED, {"letters": ["m1"], "text": "x"}), PROMPT, STOP),
        policy.Verify(),
        {"mailed": (), "received": ("m1",)},
    ),
    "no message into a session that waits at a dialog": History(
        events(SPAWNED, SESSION, PROMPT, ("PermissionRequest", {"tool_name": "Bash"})),
        BLOCKED,
        facts={"mail": True},
    ),
    "what would be asked is refused by a hook: nobody is waited for": History(
        events((life.BEGUN, {"on_permission": "deny"}), SPAWNED, SESSION, PROMPT, ("PermissionRequest", {})),
        WORKS,
        {"state": State.RUNNING},
    ),
    "how far it is": History(
        events(SPAWNED, SESSION, PROMPT, (life.PROGRESS, {"percent": 160, "text": "nearly"})),
        WORKS,
        {"percent": 100, "progress": "nearly", "heard": 4.0},
    ),
    "how far it is by its list of tasks": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            *[("TaskCreated", {"task_id": number, "task_subject": f"task {number}"}) for number in "123"],
            ("TaskCompleted", {"task_id": "1", "task_subject": "task 1"}),
        ),
        WORKS,
        {"percent": 33, "progress": "task 1"},
    ),
    "by a list that comes whole": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            (
                "PreToolUse",
                {
                    "tool_name": "TodoWrite",
                    "tool_input": {
                        "todos": [
                            {"content": "a", "status": "completed", "activeForm": "Doing a"},
                            {"content": "b", "status": "in_progress", "activeForm": "Doing b"},
                        ]
                    },
                },
            ),
        ),
        WORKS,
        {"percent": 50, "progress": "Doing b"},
    ),
    "its own word counts more than its list": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            (life.PROGRESS, {"percent": 80, "text": "nearly"}),
            ("TaskCreated", {"task_id": "1"}),
        ),
        WORKS,
        {"percent": 80, "progress": "nearly"},
    ),
    "a question is open: no repair yet": History(
        events(SPAWNED, SESSION, PROMPT, (life.ASK, {"id": "q", "text": "a or b?", "until": 99.0}), STOP),
        policy.Wait(30.0),
        {"asks": (life.Ask("q", "a or b?", 99.0),)},
        {"problems": ("x",), "ask_left": 30.0},
    ),
    "it was not needed": History(
        events(SPAWNED, SESSION, PROMPT, (life.ASK, {"id": "q", "text": "a or b?", "until": 99.0}), STOP),
        policy.Stop(Outcome(Result.SUCCEEDED)),
        facts={"problems": (), "ask_left": 30.0},
    ),
    "nobody answered in time": History(
        events(SPAWNED, SESSION, PROMPT, (life.ASK, {"id": "q", "text": "a or b?", "until": 99.0}), STOP),
        policy.Send(("x",)),
        facts={"problems": ("x",), "ask_left": -1.0},
    ),
    "the question was answered": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            (life.ASK, {"id": "q", "text": "a?", "until": 99.0}),
            (life.ANSWERED, {"id": "q"}),
        ),
        WORKS,
        {"asks": ()},
    ),
    "a phase is verified": History(
        events(SPAWNED, SESSION, PROMPT, STOP), policy.Advance(), facts={"problems": (), "phases": 2}
    ),
    "the last phase is verified": History(
        events((life.BEGUN, {"phase": 1}), SPAWNED, SESSION, PROMPT, STOP),
        policy.Stop(Outcome(Result.SUCCEEDED)),
        {"phase": 1},
        {"problems": (), "phases": 2},
    ),
    "the next phase's prompt": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.PHASE, {"done": 1})),
        policy.Give(),
        {"phase": 1, "step": life.Step.NEXT, "repairs": 0},
        {"phases": 2},
    ),
    "compacted before it": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.PHASE, {"done": 1})),
        policy.Clear("tests"),
        facts={"phases": 2, "goal": "tests"},
    ),
    "compacted before it, as it is full": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.PHASE, {"done": 1})),
        policy.Clear(""),
        facts={"phases": 2, "context": 71.0, "compact_at": 70.0},
    ),
    "the compaction is under way": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            "PreCompact",
        ),
        policy.Wait(60.0),
        {"step": life.Step.CLEARING, "submitted": True},
        {"phases": 2, "goal": "g"},
    ),
    "compacted: now the prompt": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            "PreCompact",
            ("SubagentStop", {"agent_type": ""}),
            ("SessionStart", {"source": "compact", "session_id": "s-1"}),
            "PostCompact",
        ),
        policy.Give(),
        {"step": life.Step.READY, "state": State.IDLE, "session_id": "s-1"},
        {"phases": 2, "goal": "g"},
    ),
    "the client did not take the command": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            life.ENTER,
            life.ENTER,
            life.ENTER,
        ),
        policy.Skip("the client did not compact or clear its context"),
        facts={"phases": 2, "goal": "g", "in_state": 3.0},
    ),
    "so it goes on without": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            (life.UNCOMPACTED, {"reason": "r"}),
        ),
        policy.Give(),
        {"step": life.Step.READY},
        {"phases": 2, "goal": "g"},
    ),
    "the API failed while it compacted": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            "PreCompact",
            ("StopFailure", {"error": "server_error", "agent_id": "a"}),
        ),
        policy.Give(),
        {"error": None},
        {"phases": 2, "goal": "g"},
    ),
    "there was nothing to compact": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.CLEARED, {"goal": "g", "text": "t"}),
            "PreCompact",
            ("Notification", {"notification_type": "idle_prompt"}),
        ),
        policy.Give(),
        facts={"phases": 2, "goal": "g"},
    ),
    "a fresh session gets a summary first": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.PHASE, {"done": 1})),
        policy.Summarise(),
        facts={"phases": 2, "handover": True},
    ),
    "the summary is there": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.SUMMARY, {"text": "sum up"}),
            PROMPT,
            STOP,
        ),
        policy.Clear(None),
        {"step": life.Step.SUMMARY},
        {"phases": 2, "handover": True},
    ),
    "a fresh session has begun": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.SUMMARY, {"text": "sum up"}),
            PROMPT,
            STOP,
            (life.CLEARED, {"text": "/clear"}),
            ("SessionEnd", {"reason": "clear", "session_id": "s-1"}),
            ("SessionStart", {"source": "clear", "session_id": "s-2", "transcript_path": "/u.jsonl"}),
        ),
        policy.Give(),
        {"step": life.Step.READY, "session_id": "s-2", "transcript": "/u.jsonl"},
        {"phases": 2, "handover": True},
    ),
    "its prompt was given": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            STOP,
            (life.PHASE, {"done": 1}),
            (life.GIVEN, {"text": "go"}),
            PROMPT,
            STOP,
        ),
        policy.Verify(),
        {"phase": 1, "step": life.Step.WORK},
        {"phases": 2},
    ),
    "its worker died between two phases": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.PHASE, {"done": 1}), (life.EXITED, {"status": 1})),
        policy.Stop(
            Outcome(Result.FAILED, "its worker ended before phase 2 of 2 began", retry=True, kind="died")
        ),
        facts={"phases": 2},
    ),
    "full before a repair": History(
        events(SPAWNED, SESSION, PROMPT, STOP),
        policy.Clear(""),
        facts={"problems": ("x",), "context": 90.0, "compact_at": 70.0},
    ),
    "compacted before a repair": History(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.CLEARED, {"goal": ""}), "PreCompact", "PostCompact"),
        policy.Send(("x",)),
        {"step": life.Step.WORK, "compacted": True},
        {"problems": ("x",), "context": 90.0, "compact_at": 70.0},
    ),
    "somebody wants it compacted: when the turn ends": History(
        events(SPAWNED, SESSION, PROMPT, (life.COMPACT, {"goal": "g"}), WRITE), WORKS
    ),
    "the turn has ended": History(
        events(SPAWNED, SESSION, PROMPT, (life.COMPACT, {"goal": "g"}), STOP), policy.Clear("g")
    ),
    "somebody wants it compacted now": History(
        events(SPAWNED, SESSION, PROMPT, (life.COMPACT, {"goal": "g", "now": True})),
        policy.Clear("g", interrupt=True),
    ),
    "Escape was pressed for it: not again, whatever stands in its box": History(
        events(SPAWNED, SESSION, PROMPT, (life.COMPACT, {"goal": "g", "now": True}), life.INTERRUPTED),
        policy.Clear("g"),
        {"held": True},
    ),
    "compacted in mid-turn: it is told to go on": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            (life.COMPACT, {"goal": "g", "now": True}),
            life.INTERRUPTED,
            (life.CLEARED, {"goal": "g"}),
            "PreCompact",
            "PostCompact",
        ),
        policy.GoOn(),
        {"wish": None, "cut_short": True},
    ),
    "it goes on": History(
        events(
            SPAWNED,
            SESSION,
            PROMPT,
            (life.COMPACT, {"goal": "g", "now": True}),
            life.INTERRUPTED,
            (life.CLEARED, {"goal": "g"}),
            "PreCompact",
            "PostCompact",
            (life.CONTINUED, {"text": "go on"}),
            PROMPT,
            STOP,
        ),
        policy.Verify(),
        {"cut_short": False},
    ),
    "its context is full again and again": History(
        events(SPAWNED, SESSION, PROMPT, *("PostCompact", WRITE) * 4),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its context was full again right after each of 4 compactions (give it less to read, or split the stage)",
            )
        ),
        {"compactions": 4},
    ),
    "compactions with work between them": History(
        events(SPAWNED, SESSION, PROMPT, *("PostCompact", WRITE, WRITE, WRITE) * 6),
        WORKS,
        {"compactions": 1},
    ),
}
