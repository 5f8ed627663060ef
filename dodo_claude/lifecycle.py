"""A worker's life as a table: `advance` says what an event makes of what we know of it.

Nothing here reads a clock, a file or a screen. Event names are those of the Claude Code client's hooks, which
the scripted agent shares, plus our own in lower case (`SPAWNED` ...). What is done about it is in policy.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

# Our own events, written to the journal beside the client's hooks.
SPAWNED = "spawned"  # a pane runs the worker: pane, pid, session
SENT = "sent"  # a prompt was pasted into the session: text
ENTER = "enter"  # the Enter after a prompt was pressed once more
PAUSED = "paused"  # a limit was hit: until (wall time), reason
CONTINUED = "continued"  # the worker was told to go on: text, nudge
INTERRUPTED = "interrupted"  # Escape was pressed in a silent session
SCREEN = "screen"  # the screen was looked at, as nothing was heard: box (is the input box there), text
EXITED = "exited"  # the pane's process is gone: status
VERIFIED = "verified"  # we looked at targets and check: ok, problems
OUTCOME = "outcome"  # the attempt is over: result, reason

# The kind of a worker's end that leaves no exit status: its pane went with it.
SERVER_DIED = "server died"


class State(Enum):
    """Where a worker is."""

    STARTING = "starting"  # spawned, no hook yet
    RUNNING = "running"  # a turn is under way, or a prompt was sent
    IDLE = "idle"  # the turn ended
    BLOCKED = "blocked"  # a dialog waits for a person
    PAUSED = "paused"  # idle, until a limit is over
    EXITED = "exited"  # the process is gone


class Result(Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one attempt.

    `at` is wall-clock seconds since the epoch; `data` is the hook's own fields, or ours.
    """

    kind: str
    at: float
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """What the events so far say of a worker. A pure fold: `advance` over the journal gives it back."""

    state: State = State.STARTING
    since: float = 0.0  # wall time of the last change of `state`
    pane: str | None = None
    pid: int | None = None
    session_id: str | None = None
    transcript: str | None = None
    message: str = ""  # the worker's last message
    background: int = 0  # background tasks that still run after a Stop
    turn_done: bool = False  # the last turn ended by itself and nothing was sent since
    submitted: bool = True  # False from a send to the UserPromptSubmit that proves it
    enters: int = 0  # times Enter was pressed again since the send
    prompts: int = 0
    tools: int = 0  # tool calls: progress, and the measure of an attempt's length
    repairs: int = 0
    heard: float = 0.0  # wall time of the last event of the worker's own
    looked: float = 0.0  # wall time of the last look at its screen
    errors: int = 0  # failed turns in a row, without progress
    nudges: int = 0  # 1: told to go on in its silence, 2: interrupted
    error: str | None = None  # StopFailure's kind
    error_text: str = ""
    blocked_on: str | None = None
    activity: str = ""  # what it does now, for people
    exit_status: int | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage's attempt ended, and why.

    `retry`: another attempt may do better. `kind` names a cause that is not the work's own, for the circuit
    breaker ('' for a failed verification). `fatal`: every other worker would meet it too.
    """

    result: Result
    reason: str = ""
    retry: bool = False
    kind: str = ""
    fatal: bool = False


_Change = Callable[[View, Event], View]


def _text(event: Event, key: str) -> str:
    value = event.data.get(key)
    return value if isinstance(value, str) else ""


def _spawned(view: View, event: Event) -> View:
    pid = event.data.get("pid")
    return replace(
        view,
        state=State.STARTING,
        pane=_text(event, "pane"),
        pid=pid if isinstance(pid, int) else None,
        exit_status=None,
        turn_done=False,
        submitted=False,
    )


def _session(view: View, event: Event) -> View:
    known = replace(
        view,
        session_id=_text(event, "session_id") or view.session_id,
        transcript=_text(event, "transcript_path") or view.transcript,
    )
    # After a compaction or /clear SessionStart comes in mid-life and changes nothing.
    return replace(known, state=State.RUNNING) if view.state is State.STARTING else known


def _prompted(view: View, event: Event) -> View:
    return replace(
        view,
        state=State.RUNNING,
        submitted=True,
        enters=0,
        prompts=view.prompts + 1,
        turn_done=False,
        background=0,
        error=None,
        error_text="",
        blocked_on=None,
        activity="thinking",
    )


def _working(view: View, event: Event) -> View:
    if view.state in (State.IDLE, State.EXITED):
        return view  # a background task's tool: the Stop before it already told of it
    return replace(
        view,
        state=State.RUNNING,
        blocked_on=None,
        activity=_activity(event),
        tools=view.tools + (event.kind == "PreToolUse"),
        errors=0,
    )


def _activity(event: Event) -> str:
    tool = _text(event, "tool_name")
    inputs = event.data.get("tool_input")
    detail = ""
    if isinstance(inputs, Mapping):
        for key in ("file_path", "command", "pattern", "description"):
            if isinstance(inputs.get(key), str):
                detail = str(inputs[key])
                break
    return f"{tool} {detail}".strip()


def _blocked(view: View, event: Event) -> View:
    return replace(view, state=State.BLOCKED, blocked_on=_activity(event) or "a dialog")


def _notified(view: View, event: Event) -> View:
    kind = _text(event, "notification_type")
    if kind in ("permission_prompt", "agent_needs_input") and view.state is not State.EXITED:
        return replace(view, state=State.BLOCKED, blocked_on=view.blocked_on or _text(event, "message"))
    return view


def _stopped(view: View, event: Event) -> View:
    if not view.submitted:
        return view  # the turn before our prompt, told late
    tasks = event.data.get("background_tasks")
    return replace(
        view,
        state=State.IDLE,
        turn_done=True,
        message=_text(event, "last_assistant_message") or view.message,
        background=len(tasks) if isinstance(tasks, list) else 0,
        activity="",
        blocked_on=None,
    )


def _stop_failed(view: View, event: Event) -> View:
    return replace(
        view,
        state=State.IDLE,
        error=_text(event, "error") or "unknown",
        error_text=_text(event, "last_assistant_message"),
        errors=view.errors + 1,
        activity="",
    )


def _paused(view: View, event: Event) -> View:
    return replace(view, state=State.PAUSED)


def _continued(view: View, event: Event) -> View:
    nudge = event.data.get("nudge") is True
    return replace(
        view,
        state=State.RUNNING,
        submitted=nudge,  # a busy session queues it: there is no Enter to press again
        enters=0,
        turn_done=False,
        error=None,
        error_text="",
        nudges=view.nudges + nudge,
        activity="was told to go on",
    )


def _interrupted(view: View, event: Event) -> View:
    return replace(view, nudges=view.nudges + 1)


def _looked(view: View, event: Event) -> View:
    seen = replace(view, looked=event.at)
    if event.data.get("box") is False and view.state in (State.STARTING, State.RUNNING):
        return replace(seen, state=State.BLOCKED, blocked_on=_text(event, "text") or "an unknown dialog")
    return seen


def _sent(view: View, event: Event) -> View:
    return replace(
        view,
        state=State.RUNNING,
        submitted=False,
        enters=0,
        turn_done=False,
        repairs=view.repairs + 1,
        activity="was sent what is missing",
    )


def _entered(view: View, event: Event) -> View:
    return replace(view, enters=view.enters + 1)


def _exited(view: View, event: Event) -> View:
    status = event.data.get("status")
    return replace(
        view, state=State.EXITED, exit_status=status if isinstance(status, int) else None, activity=""
    )


def _ended(view: View, event: Event) -> View:
    try:
        result = Result(_text(event, "result"))
    except ValueError:
        return view
    return replace(
        view,
        outcome=Outcome(
            result,
            _text(event, "reason"),
            retry=event.data.get("retry") is True,
            kind=_text(event, "cause"),
            fatal=event.data.get("fatal") is True,
        ),
    )


# Events that are not here (Notification of idleness, SubagentStop, PreCompact, SessionEnd ...) change
# nothing: an unexpected event of the other side is kept in the journal and otherwise ignored.
TABLE: dict[str, _Change] = {
    SPAWNED: _spawned,
    SENT: _sent,
    ENTER: _entered,
    PAUSED: _paused,
    CONTINUED: _continued,
    INTERRUPTED: _interrupted,
    SCREEN: _looked,
    EXITED: _exited,
    OUTCOME: _ended,
    "SessionStart": _session,
    "UserPromptSubmit": _prompted,
    "PreToolUse": _working,
    "PostToolUse": _working,
    "PostToolUseFailure": _working,
    "PermissionRequest": _blocked,
    "Notification": _notified,
    "Stop": _stopped,
    "StopFailure": _stop_failed,
}


def advance(view: View, event: Event) -> View:
    """The view after `event`. Unknown events, those of other sessions, and those after the outcome leave it as it is."""
    change = TABLE.get(event.kind)
    if view.outcome is not None or _is_strange(view, event):
        return view
    after = change(view, event) if change is not None else view
    if event.kind[:1].isupper() or event.kind == SPAWNED:  # the client's hooks begin with a capital letter
        after = replace(after, heard=event.at, nudges=0 if event.kind in _LIVELY else after.nudges)
    # These start a wait of their own although the state's name may stay.
    if after.state is not view.state or event.kind in (SPAWNED, SENT, CONTINUED, ENTER):
        after = replace(after, since=event.at)
    return after


def _is_strange(view: View, event: Event) -> bool:
    """Does another session than the worker's tell of itself, one that got hold of its hooks?"""
    told = _text(event, "session_id")
    if not told or view.session_id in (None, told) or not event.kind[:1].isupper():
        return False
    # After /clear or /resume the worker itself goes on under another id; only a new client starts up.
    return event.kind != "SessionStart" or _text(event, "source") == "startup"


# Events after which a session is plainly at work again.
_LIVELY = frozenset({"PreToolUse", "PostToolUse", "PostToolUseFailure", "Stop", "StopFailure"})
