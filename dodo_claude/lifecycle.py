"""A worker's life as a table, and all policy about it as one pure function.

Everything that decides what happens to a worker lives here: `advance` says what an event makes of what
we know, `decide` says what to do next. Nothing here reads a clock, a file or a screen; the caller
(`worker.drive`) brings the facts and carries out the instruction. Event names are those of the Claude
Code client's hooks, which the scripted agent shares, plus our own in lower case (`SPAWNED` ...).
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

# A client that is up fires SessionStart 0.5-1.5 s after the spawn, 3 s with four starting at once on two
# cores. Silence for this long means that its hooks do not reach us.
HOOK_SILENCE_SECONDS = 60.0
# UserPromptSubmit for the prompt given as an argument follows SessionStart after some 0.1 s.
FIRST_PROMPT_SECONDS = 30.0
# UserPromptSubmit follows the Enter after 0.1-0.3 s.
SUBMIT_SECONDS = 3.0
# A swallowed Enter (copy mode, a client not yet listening) is pressed again this often, then given up.
ENTER_TRIES = 3

# StopFailure.error values after which the same request can succeed later: the fleet pauses.
PASSING_ERRORS = frozenset({"server_error", "rate_limit", "overloaded"})
# Those that no waiting mends and that hit every other worker too: the run stops.
FATAL_ERRORS = frozenset(
    {
        "account_on_hold",
        "authentication_failed",
        "billing_error",
        "cloud_credential_error",
        "model_not_found",
        "oauth_org_not_allowed",
        "verification_required",
    }
)
# The kind of a worker's end that leaves no exit status: its pane went with it.
SERVER_DIED = "server died"
# So many failed turns in a row, without a tool call between them, are borne; usage limits do not count.
ERRORS_BORNE = 4
# A dialog that no hook tells of is looked for on the screen after this silence, then every so often.
LOOK_SECONDS = 20.0
LOOK_AGAIN_SECONDS = 60.0
# What follows a nudge, and then an Escape, gets this part of `idle_timeout`.
PATIENCE_PART = 1 / 3
# No wait is longer: budgets, clocks and silence are looked at again.
LONGEST_WAIT = 60.0


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


@dataclass(frozen=True, slots=True)
class Facts:
    """What `decide` may know besides the view. Seconds are durations, not times of day."""

    elapsed: float  # since the attempt began
    in_state: float  # since the view's state changed
    timeout: float
    repairs: int  # allowed
    interactive: bool = True  # False: a command that takes a prompt and exits when done
    stop: str | None = None  # why the whole run is being stopped
    silent: float = 0.0  # since the worker's last sign of life: a hook, its transcript, its processes' CPU
    unlooked: float = 0.0  # since its screen was looked at
    idle_timeout: float = 900.0
    person_timeout: float = 1800.0
    pause_left: float = 0.0  # of the fleet's pause
    max_turns: int = 200
    problems: tuple[str, ...] | None = None  # of the last verification; None: not verified since the turn


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until an event, or for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Verify:
    """The worker says that it is done: look at its targets and run the check."""


@dataclass(frozen=True, slots=True)
class Send:
    """Tell the worker what is still missing."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pause:
    """A limit was hit: ask the fleet to pause, and wait with it."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class GoOn:
    """Tell the worker to go on where it stopped. `nudge`: only because it was silent."""

    nudge: bool = False


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Press Escape in a session that works and says nothing."""


@dataclass(frozen=True, slots=True)
class Look:
    """Nothing was heard for a while: is a dialog open that no hook tells of?"""


@dataclass(frozen=True, slots=True)
class PressEnter:
    """A prompt stands in the input box, unsubmitted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The attempt is over."""

    outcome: Outcome


Instruction = Wait | Verify | Send | Pause | GoOn | Interrupt | Look | PressEnter | Stop

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


def _failed(reason: str, *, retry: bool = False, kind: str = "") -> Stop:
    return Stop(Outcome(Result.FAILED, reason, retry, kind))


def _decide_exited(view: View, facts: Facts) -> Instruction:
    """The process is gone: by its own will after a turn, or by accident."""
    status = view.exit_status
    if facts.problems is not None:
        return _verdict(view, facts)
    if view.turn_done or (not facts.interactive and status == 0):
        return Verify()
    kind = "died" if status is not None else SERVER_DIED
    if not facts.interactive:
        return _failed(f"its command ended with {describe_exit(status)}", retry=True, kind=kind)
    when = "in mid-work" if view.prompts else "before it began"
    return _failed(f"its worker ended {when} with {describe_exit(status)}", retry=True, kind=kind)


def describe_exit(status: int | None) -> str:
    """'exit status 3', 'signal 9', in words for a reason. Negative numbers are signals."""
    if status is None:
        return "an unknown exit status (its tmux server, or its pane, was killed)"
    if status < 0:
        hint = " (out of memory?)" if status == -9 else ""
        return f"signal {-status}{hint}"
    return f"exit status {status}"


def _verdict(view: View, facts: Facts) -> Instruction:
    problems = facts.problems
    assert problems is not None
    if not problems:
        return Stop(Outcome(Result.SUCCEEDED))
    # A command agent is run again for a repair; a person's /exit leaves nobody to send it to.
    reachable = view.state is State.IDLE or not facts.interactive
    if view.repairs < facts.repairs and reachable:
        return Send(problems)
    return _failed("; ".join(problems))


def _unsubmitted(view: View, facts: Facts) -> Instruction:
    if view.prompts == 0:  # given as an argument: there is nothing to press Enter on
        left = FIRST_PROMPT_SECONDS - facts.in_state
        text = "its worker started but did not take its prompt"
        return Wait(left) if left > 0 else _failed(text, kind="no prompt")
    if facts.in_state < SUBMIT_SECONDS:
        return Wait(SUBMIT_SECONDS - facts.in_state)
    if view.enters < ENTER_TRIES:
        return PressEnter()
    text = "its worker did not take the prompt that was pasted into its session"
    return _failed(text, retry=True, kind="no prompt")


def _decide_error(view: View, facts: Facts) -> Instruction:
    """A turn ended by an API error: wait with all others, or give up."""
    error = view.error or "unknown"
    text = f": {view.error_text}" if view.error_text else ""
    reason = f"the client gave up ({error}){text}"
    if error in FATAL_ERRORS:
        return Stop(Outcome(Result.FAILED, reason, kind=error, fatal=True))
    if error not in PASSING_ERRORS:
        return _failed(reason, kind=error)
    if error != "rate_limit" and view.errors > ERRORS_BORNE:
        return _failed(reason, retry=True, kind=error)
    if view.state is not State.PAUSED:
        return Pause(error, view.error_text)
    return Wait(min(facts.pause_left, LONGEST_WAIT)) if facts.pause_left > 0 else GoOn()


def _decide_blocked(view: View, facts: Facts) -> Instruction:
    left = facts.person_timeout - facts.in_state
    if left > 0:
        return Wait(min(left, LONGEST_WAIT))
    return _failed(
        f"a dialog waited {facts.person_timeout:g} s for a person: {view.blocked_on}; allow it in "
        '`allowed_tools`, or refuse all by on_permission = "deny"'
    )


def _decide_starting(facts: Facts) -> Instruction:
    left = HOOK_SILENCE_SECONDS - facts.in_state
    if left > 0:
        early = LOOK_SECONDS - facts.in_state
        if early <= 0 and facts.unlooked >= LOOK_AGAIN_SECONDS:
            return Look()
        return Wait(early if early > 0 else left)
    return _failed(
        f"no hook event in {HOOK_SILENCE_SECONDS:g} s: the client shows a dialog, or managed "
        "settings switch hooks off; its last screen is kept",
        kind="no hooks",
    )


def _decide_silent(view: View, facts: Facts) -> Instruction:
    """It works, as far as we know. Long silence: look, nudge, interrupt, give up; never endless."""
    patience = facts.idle_timeout * (1 + view.nudges * PATIENCE_PART)
    if facts.silent >= patience:
        if view.nudges == 0:
            return GoOn(nudge=True)
        if view.nudges == 1:
            return Interrupt()
        text = f"its worker was silent for {facts.silent:.0f} s, nudged and interrupted in vain"
        return _failed(text, retry=True, kind="silent")
    unseen = max(LOOK_SECONDS - facts.silent, LOOK_AGAIN_SECONDS - facts.unlooked)
    if unseen <= 0:
        return Look()
    return Wait(min(patience - facts.silent, unseen, LONGEST_WAIT))


def _decide_living(view: View, facts: Facts) -> Instruction:
    if not facts.interactive:
        return Wait(LONGEST_WAIT)
    if view.error is not None:
        return _decide_error(view, facts)
    if view.state is State.BLOCKED:
        return _decide_blocked(view, facts)
    if view.state is State.STARTING:
        return _decide_starting(facts)
    if not view.submitted:
        return _unsubmitted(view, facts)
    if view.state is State.IDLE and view.background == 0:
        return Verify() if facts.problems is None else _verdict(view, facts)
    return _decide_silent(view, facts)


def decide(view: View, facts: Facts) -> Instruction:
    """What to do next. The first rule that fits wins; the order is the policy."""
    if facts.stop is not None:
        return Stop(Outcome(Result.ABORTED, facts.stop))
    if view.state is State.EXITED:
        return _decide_exited(view, facts)
    left = facts.timeout - facts.elapsed
    if left <= 0:
        waiting = f" (it waited for a person: {view.blocked_on})" if view.state is State.BLOCKED else ""
        return Stop(Outcome(Result.TIMED_OUT, f"timed out after {facts.timeout:g} s{waiting}"))
    if view.tools > facts.max_turns:
        return _failed(f"its worker made more than {facts.max_turns} tool calls (max_turns)")
    instruction = _decide_living(view, facts)
    return Wait(min(left, instruction.seconds)) if isinstance(instruction, Wait) else instruction
