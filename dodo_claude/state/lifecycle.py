"""A worker's life as a table: `advance` says what an event makes of what we know of it.

Nothing here reads a clock, a file or a screen. Event names are those of the Claude Code client's hooks, which
the scripted agent shares, plus our own in lower case (`SPAWNED` ...). What is done about it is in policy.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

# Our own events, written to the journal beside the client's hooks.
BEGUN = "begun"  # the attempt is about to act: nonce, definition, marks of files, phase
SPAWNED = "spawned"  # a pane runs the worker: pane, pid, session
SENT = "sent"  # a prompt was pasted into the session: text
ENTER = "enter"  # the Enter after a prompt was pressed once more
PAUSED = "paused"  # a limit was hit: until (wall time), reason
CONTINUED = "continued"  # the worker was told to go on: text, nudge
INTERRUPTED = "interrupted"  # Escape was pressed in a silent session
SCREEN = "screen"  # the screen was looked at, as nothing was heard: box (is the input box there), text
EXITED = "exited"  # the pane's process is gone: status
CHECKING = "checking"  # its check was started: check
VERIFIED = "verified"  # we looked at targets and check: ok, problems
MAILED = "mailed"  # messages were pasted into the idle session: letters (ids), text
RECEIVED = "received"  # messages reached the worker: letters
LOST = "lost"  # messages of which nobody knows whether they did: letters
PHASE = "phase"  # a phase is verified, the next one's turn has come: done (number of verified phases)
SUMMARY = "summary"  # the worker was asked for a summary: text
CLEARED = "cleared"  # `/compact` or `/clear` was pasted: text, goal
UNCOMPACTED = "uncompacted"  # the client did not do it: reason
GIVEN = "given"  # the next phase's prompt was pasted: text
CHECKED = (
    "checked"  # a check, not always the stage's own, changed files that it guards: protected, inputs (marks)
)
UNHEARD = "unheard"  # nothing was heard: since (wall time), text (what its client says of it, '' for nothing), tries
POSTED = "posted"  # somebody wrote to it: letter (id), sender, text
HEARD = "heard"  # an answer came, of which no hook tells
DENIED = (
    "denied"  # its client refused it what a tool was to do: what, text (why), call (the client's id of it)
)
OUTCOME = "outcome"  # the attempt is over: result, reason

# What a worker, or a person, says by a command of ours; it comes through the spool like a hook's event.
PROGRESS = "progress"  # percent, text
NOTE = "note"  # text: added to the shared notes
MESSAGE = "message"  # to, text: for the orchestrator or a person
ASK = "ask"  # id, text, until (wall time)
ANSWERED = "answered"  # id, text, sender
COMPACT = "compact"  # goal, now: somebody wants the context compacted
INTERRUPT = "interrupt"  # sender: a person pressed Escape in its session; it is left alone until somebody says something
PERMITTED = "permitted"  # answered (id of its request), allow, what, text, sender: somebody answered from outside of its pane
# What each has at least: a worker can write to its spool whatever it likes.
SAID: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    PROGRESS: {"percent": (int,), "text": (str,)},
    NOTE: {"text": (str,)},
    MESSAGE: {"to": (str,), "text": (str,)},
    ASK: {"id": (str,), "text": (str,), "until": (int, float)},
    ANSWERED: {"id": (str,), "text": (str,), "sender": (str,)},
    COMPACT: {"goal": (str,), "now": (bool,)},
    INTERRUPT: {"sender": (str,)},
    PERMITTED: {"answered": (str,), "allow": (bool,), "what": (str,), "text": (str,), "sender": (str,)},
}

# The kind of a worker's end that leaves no exit status: its pane went with it.
SERVER_DIED = "server died"


# What SessionEnd gives as its reason after /exit, Ctrl-C twice or Ctrl-D twice in the client's own pane.
LEFT = "prompt_input_exit"


class State(Enum):
    """Where a worker is."""

    STARTING = "starting"  # spawned, no hook yet
    RUNNING = "running"  # a turn is under way, or a prompt was sent
    IDLE = "idle"  # the turn ended
    BLOCKED = "blocked"  # a dialog waits for a person
    PAUSED = "paused"  # idle, until a limit is over
    EXITED = "exited"  # the process is gone


class Step(Enum):
    """What of a phase is under way. A stage without phases is always at work."""

    WORK = "work"
    NEXT = "next"  # the phase before is verified
    SUMMARY = "summary"  # the worker writes a summary for its next session
    CLEARING = "clearing"  # the client compacts, or clears, its context
    READY = "ready"  # it did: the next prompt can be given


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

    began: float = 0.0  # wall time of the attempt's beginning; 0: it begins now
    state: State = State.STARTING
    since: float = 0.0  # wall time of the last change of `state`
    pane: str | None = None
    pid: int | None = None
    session_id: str | None = None
    transcript: str | None = None
    message: str = ""  # the worker's last message
    background: int = 0  # background tasks that still run after a Stop
    scheduled: int = 0  # prompts that the session gives itself later
    stopped: float = 0.0  # wall time of a Stop since which nothing of the worker's was heard; 0: none
    checking: bool = False  # its check runs
    turn_done: bool = False  # the last turn ended by itself and nothing was sent since
    submitted: bool = True  # False from a send to the UserPromptSubmit that proves it
    enters: int = 0  # times Enter was pressed again since the send
    prompts: int = 0
    tools: int = 0  # tool calls: progress, and the measure of an attempt's length
    repairs: int = 0
    repairs_before: int = 0  # of them, in the phases before this one
    heard: float = 0.0  # wall time of the last event of the worker's own
    looked: float = 0.0  # wall time of the last look at its screen
    asked: float = 0.0  # wall time since which the model is to answer; 0: a tool runs, or its turn is over
    unheard: float = 0.0  # wall time since which nothing was heard, once that was said; 0: it is heard
    unheard_for: str = ""  # what its client says of that
    tries: str = ""  # 'attempt 3 of 11': how often the client has asked
    denied: tuple[tuple[str, str, str], ...] = ()  # what its client refused it, why, and the call's id
    errors: int = 0  # failed turns in a row, without progress
    nudges: int = 0  # 1: told to go on in its silence, 2: interrupted
    error: str | None = None  # StopFailure's kind
    error_text: str = ""
    blocked_on: str | None = None
    request: str = ""  # of that dialog: a hook waits for somebody to answer it from outside
    activity: str = ""  # what it does now, for people
    exit_status: int | None = None
    left: bool = False  # somebody ended the client at its prompt
    outcome: Outcome | None = None
    posted: tuple[str, str, str] = ("", "", "")  # the newest message to it: its id, whom it is from, its text
    handed: tuple[str, ...] = ()  # messages that a hook gave to the client; its next event proves them
    mailed: tuple[str, ...] = ()  # messages that were pasted
    received: tuple[str, ...] = ()  # messages that are proved and not settled yet
    percent: int | None = None  # of its work: as it says itself, else by its list of tasks
    progress: str = ""
    tasks: frozenset[str] = frozenset()  # ids on its list of tasks
    tasks_done: frozenset[str] = frozenset()
    says_itself: bool = False  # it told its progress by a command: its list does not count
    asks: tuple[Ask, ...] = ()  # open questions
    denies: bool = False  # what would be asked is refused by a hook: no dialog opens
    wish: str | None = None  # a compaction that was asked for: its goal
    hurried: bool = False  # and it is not to wait for the turn's end
    phase: int = 0  # the phase that it works on, from 0
    step: Step = Step.WORK
    back: Step = Step.WORK  # where a compaction leads to
    cut_short: bool = False  # its turn ended with more to do: it must be told to go on
    held: bool = False  # a person interrupted it: it waits for their word
    compacted: bool = False  # since its last prompt
    compactions: int = 0  # by the client itself in a row, with hardly any work between
    tools_compacted: int = 0  # tool calls at the last of them


@dataclass(frozen=True, slots=True)
class Ask:
    """A question of a worker that nobody has answered yet; it waits until `until` (wall time)."""

    id: str
    text: str
    until: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a stage's attempt ended, and why.

    `retry`: another attempt may do better. `kind` names a cause that is not the work's own, for the circuit
    breaker ('' for a failed verification). `fatal`: every other worker would meet it too. `by_check`: nothing but the
    stage's check, or ours of a plan, is against what it made.
    """

    result: Result
    reason: str = ""
    retry: bool = False
    kind: str = ""
    fatal: bool = False
    by_check: bool = False


# What a look at a client that does not begin finds, as kinds of failure: its dialogs over a folder that is not trusted, a
# settings file with a fault, and our settings, which another version of the client would take.
START_DIALOGS = frozenset({"trust", "settings", "version"})
# So many of the things that its client refused it are kept.
MOST_DENIED = 3
# A compaction after fewer tool calls than this made no room to work in.
LITTLE_WORK = 3

_Change = Callable[[View, Event], View]


def _text(event: Event, key: str) -> str:
    value = event.data.get(key)
    return value if isinstance(value, str) else ""


def _number(event: Event, key: str) -> float:
    value = event.data.get(key)
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
    except OverflowError:  # a whole number of any length
        return 0.0


def _letters(event: Event, key: str = "letters") -> tuple[str, ...]:
    value = event.data.get(key)
    return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


def _begun(view: View, event: Event) -> View:
    denies = event.data.get("on_permission") == "deny"
    return replace(view, began=event.at, phase=max(0, int(_number(event, "phase"))), denies=denies)


def _spawned(view: View, event: Event) -> View:
    pid = event.data.get("pid")
    return replace(
        view,
        state=State.STARTING,
        pane=_text(event, "pane"),
        pid=pid if isinstance(pid, int) else None,
        exit_status=None,
        left=False,
        turn_done=False,
        submitted=False,
    )


def _session(view: View, event: Event) -> View:
    known = replace(
        view,
        session_id=_text(event, "session_id") or view.session_id,
        transcript=_text(event, "transcript_path") or view.transcript,
    )
    if view.step is Step.CLEARING and _text(event, "source") == "clear":
        return _cleared_away(known, "its context was cleared")
    # After a compaction, or a /clear of a person's, SessionStart comes in mid-life and changes nothing else.
    return replace(known, state=State.RUNNING) if view.state is State.STARTING else known


def _cleared_away(view: View, activity: str = "") -> View:
    """The context was compacted, or cleared, as we had asked, or was not: the session is idle again."""
    return replace(
        view,
        state=State.IDLE,
        step=view.back,
        stopped=0.0,
        submitted=True,
        enters=0,
        compacted=True,
        wish=None,
        hurried=False,
        unheard=0.0,
        activity=activity,
    )


def _not_compacted(view: View, why: str) -> View:
    return _cleared_away(view, f"its context was not compacted: {why}")


def _prompted(view: View, event: Event) -> View:
    return replace(
        view,
        state=State.RUNNING,
        submitted=True,
        enters=0,
        prompts=view.prompts + 1,
        turn_done=False,
        background=0,
        scheduled=0,
        stopped=0.0,
        error=None,
        error_text="",
        blocked_on=None,
        activity="thinking",
        received=view.received + view.mailed,
        mailed=(),
        compacted=False,
        held=False,
    )


def _working(view: View, event: Event) -> View:
    # It was told to go on, took no notice of the Escape, or another's hook did not let its turn end.
    begins = view.state is State.IDLE and event.kind == "PreToolUse" and not event.data.get("agent_id")
    if view.state in (State.IDLE, State.EXITED) and not begins:
        return view  # a background task's tool: the Stop before it already told of it
    if _of_another(view, event):
        return replace(view, tools=view.tools + (event.kind == "PreToolUse"))
    if view.stopped:
        view = replace(view, stopped=0.0, turn_done=False)
    if event.data.get("tool_name") == "TodoWrite":
        view = _listed(view, event)
    return replace(
        view,
        state=State.RUNNING,
        held=False,
        blocked_on=None,
        activity=doing(event.data),
        tools=view.tools + (event.kind == "PreToolUse"),
        errors=0,
    )


def _worked(view: View, event: Event) -> View:
    """A round of tools is over, so no dialog is open."""
    if view.state is not State.BLOCKED or _of_another(view, event):
        return view
    return replace(view, state=State.RUNNING, blocked_on=None)


def _of_another(view: View, event: Event) -> bool:
    """Is it a subagent's, while the worker's own dialog is open? It says nothing about that."""
    return bool(view.request and event.data.get("agent_id"))


def doing(call: Mapping[str, object]) -> str:
    """What a tool is about to do, in words: its name, and what of its input tells most. `call`: a hook's fields."""
    tool = call.get("tool_name")
    tool = tool if isinstance(tool, str) else ""
    inputs = call.get("tool_input")
    detail = ""
    if isinstance(inputs, Mapping):
        for key in ("file_path", "command", "pattern", "description"):
            if isinstance(inputs.get(key), str):
                detail = str(inputs[key])
                break
    return f"{tool} {detail}".strip()


def _blocked(view: View, event: Event) -> View:
    if view.denies or _of_another(view, event):
        return view
    what = doing(event.data) or "a dialog"
    return replace(view, state=State.BLOCKED, blocked_on=what, request=_text(event, "request"))


def _permitted(view: View, event: Event) -> View:
    if not view.request or _text(event, "answered") != view.request:
        return view  # it went on meanwhile
    how = "allowed" if event.data.get("allow") is True else "denied"
    activity = f"{how} by {_text(event, 'sender')}: {view.blocked_on}"
    return replace(view, state=State.RUNNING, blocked_on=None, activity=activity)


def _notified(view: View, event: Event) -> View:
    kind = _text(event, "notification_type")
    if kind == "idle_prompt" and view.step is Step.CLEARING:
        return _not_compacted(
            view, "there was nothing to compact, or no summary came"
        )  # no other event tells of that
    if kind == "idle_prompt" and view.handed and view.state is State.RUNNING:
        # Its last Stop was answered with messages, and the client ended the turn all the same, as it does after so many
        # in a row. It reads them with its next prompt.
        return replace(view, state=State.IDLE, cut_short=True, activity="")
    if kind == "idle_prompt":
        return replace(view, stopped=0.0)  # the client itself has seen the turn's end
    if kind in ("permission_prompt", "agent_needs_input") and view.state is not State.EXITED:
        return replace(view, state=State.BLOCKED, blocked_on=view.blocked_on or _text(event, "message"))
    return view


def _stopped(view: View, event: Event) -> View:
    if not view.submitted:
        return view  # the turn before our prompt, told late
    if event.data.get("mail"):
        # It was answered with a message: the turn goes on.
        return replace(view, state=State.RUNNING, stopped=0.0, activity="reads a message")
    return replace(
        view,
        state=State.IDLE,
        turn_done=True,
        message=_text(event, "last_assistant_message") or view.message,
        background=_count(event, "background_tasks"),
        scheduled=_count(event, "session_crons"),
        stopped=event.at,
        activity="",
        blocked_on=None,
        held=False,
    )


def _count(event: Event, key: str) -> int:
    value = event.data.get(key)
    return len(value) if isinstance(value, list) else 0


def _stop_failed(view: View, event: Event) -> View:
    if view.step is Step.CLEARING and not event.data.get("agent_type"):
        return _not_compacted(view, _text(event, "last_assistant_message") or _text(event, "error"))
    if event.data.get("agent_id"):
        return view  # a sub-agent's turn, or the client's own try to compact: the worker's goes on, or fails by itself
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
        cut_short=False,
        held=False,
        activity="was told to go on",
    )


def _interrupted(view: View, event: Event) -> View:
    # For a compaction one Escape is enough: a second would act on what the first brought back into the box.
    for_room = view.wish is not None and view.hurried
    return replace(view, nudges=view.nudges + 1, held=view.held or for_room)


def _looked(view: View, event: Event) -> View:
    seen = replace(view, looked=event.at)
    if _text(event, "fault") in START_DIALOGS and not view.prompts:
        return replace(seen, error=_text(event, "fault"), error_text=_text(event, "text"))
    if event.data.get("box") is False and view.state in (State.STARTING, State.RUNNING):
        return replace(seen, state=State.BLOCKED, blocked_on=_text(event, "text") or "an unknown dialog")
    if event.data.get("box") is True and view.state is State.BLOCKED and view.submitted:
        # Answered in its pane: the tool that was asked for runs, and no hook tells of it before its end.
        return replace(seen, state=State.RUNNING, blocked_on=None, heard=event.at)
    return seen


def _checking(view: View, event: Event) -> View:
    return replace(view, checking=True, activity="its check runs")


def _verified(view: View, event: Event) -> View:
    return replace(view, checking=False)


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


def _mailed(view: View, event: Event) -> View:
    return replace(_prompting(view), mailed=view.mailed + _letters(event), activity="was sent a message")


def _prompting(view: View) -> View:
    """Something was pasted into the idle session; its UserPromptSubmit must come."""
    return replace(view, state=State.RUNNING, submitted=False, enters=0, turn_done=False, held=False)


def _settled(view: View, event: Event) -> View:
    gone = {*_letters(event)}
    handed, mailed, received = (
        tuple(letter for letter in letters if letter not in gone)
        for letters in (view.handed, view.mailed, view.received)
    )
    return replace(view, handed=handed, mailed=mailed, received=received)


def _next_phase(view: View, event: Event) -> View:
    return replace(
        view,
        phase=max(view.phase + 1, int(_number(event, "done"))),
        step=Step.NEXT,
        repairs_before=view.repairs,
        asks=(),
    )


def _asked_for_summary(view: View, event: Event) -> View:
    return replace(_prompting(view), step=Step.SUMMARY, activity="sums up for a fresh session")


def _cleared(view: View, event: Event) -> View:
    between = view.step in (Step.NEXT, Step.SUMMARY)
    return replace(
        view,
        state=State.RUNNING,
        step=Step.CLEARING,
        back=Step.READY if between else view.step,
        held=view.held and not view.hurried,
        cut_short=view.cut_short or not view.turn_done,
        submitted=False,
        enters=0,
        blocked_on=None,
        activity=f"its context is being {'cleared' if event.data.get('goal') is None else 'compacted'}",
    )


def _uncompacted(view: View, event: Event) -> View:
    return _not_compacted(view, _text(event, "reason")) if view.step is Step.CLEARING else view


def _given(view: View, event: Event) -> View:
    return replace(_prompting(view), step=Step.WORK, activity=f"begins phase {view.phase + 1}")


def _compacting(view: View, event: Event) -> View:
    """The client began: what we asked for was taken."""
    return replace(view, submitted=True) if view.step is Step.CLEARING else view


def _compacted(view: View, event: Event) -> View:
    if view.step is Step.CLEARING:
        return _cleared_away(view, "its context was compacted")
    worked = view.tools - view.tools_compacted >= LITTLE_WORK
    return replace(
        view,
        compactions=1 if worked else view.compactions + 1,
        tools_compacted=view.tools,
        compacted=True,
    )


def _progressed(view: View, event: Event) -> View:
    percent = event.data.get("percent")
    return replace(
        view,
        percent=min(100, max(0, percent)) if type(percent) is int else view.percent,  # true is none
        progress=_text(event, "text"),
        says_itself=True,
    )


def _task_made(view: View, event: Event) -> View:
    made = view.tasks | {_text(event, "task_id")}
    return _by_list(replace(view, tasks=made), len(view.tasks_done), len(made), view.progress)


def _task_done(view: View, event: Event) -> View:
    done = view.tasks_done | {_text(event, "task_id")}
    made = view.tasks | done
    after = replace(view, tasks=made, tasks_done=done)
    return _by_list(after, len(done), len(made), _text(event, "task_subject"))


def _listed(view: View, event: Event) -> View:
    """The older tool gives the whole list at each change."""
    inputs = event.data.get("tool_input")
    todos = inputs.get("todos") if isinstance(inputs, Mapping) else None
    known = [todo for todo in todos if isinstance(todo, Mapping)] if isinstance(todos, list) else []
    if not known:
        return view
    done = sum(todo.get("status") == "completed" for todo in known)
    doing = [str(todo.get("activeForm") or "") for todo in known if todo.get("status") == "in_progress"]
    return _by_list(view, done, len(known), doing[0] if doing else "")


def _by_list(view: View, done: int, total: int, text: str) -> View:
    """How far its own list of tasks says that it is."""
    return view if view.says_itself else replace(view, percent=100 * done // total, progress=text)


def _said(view: View, event: Event) -> View:
    return replace(view, activity=f"{'notes' if event.kind == NOTE else 'says'}: {_text(event, 'text')}")


def _asked(view: View, event: Event) -> View:
    ask = Ask(_text(event, "id"), _text(event, "text"), _number(event, "until"))
    return replace(view, asks=(*(other for other in view.asks if other.id != ask.id), ask))


def _answered(view: View, event: Event) -> View:
    return replace(view, asks=tuple(ask for ask in view.asks if ask.id != _text(event, "id")))


def _wished(view: View, event: Event) -> View:
    return replace(view, wish=_text(event, "goal"), hurried=event.data.get("now") is True)


def _held(view: View, event: Event) -> View:
    if view.state is not State.RUNNING:
        return view
    return replace(view, state=State.IDLE, held=True, turn_done=False, submitted=True, activity="interrupted")


def _entered(view: View, event: Event) -> View:
    return replace(view, enters=view.enters + 1)


def _session_ended(view: View, event: Event) -> View:
    return replace(view, left=_text(event, "reason") == LEFT)


def _fell_silent(view: View, event: Event) -> View:
    since = _number(event, "since") or event.at
    return replace(view, unheard=since, unheard_for=_text(event, "text"), tries=_text(event, "tries"))


def _heard(view: View, event: Event) -> View:
    """It answered, or is asked anew: by a prompt, a message or what a round of tools gave."""
    asked = event.kind in (*_ASKED, HEARD) or (event.kind == "Stop" and event.data.get("mail"))
    return replace(view, asked=event.at if asked else 0.0, unheard=0.0, unheard_for="", tries="")


def _posted(view: View, event: Event) -> View:
    return replace(view, posted=(_text(event, "letter"), _text(event, "sender"), _text(event, "text")))


def _denied(view: View, event: Event) -> View:
    what, why = _text(event, "what"), _text(event, "text")
    known = tuple(each for each in view.denied if each[0] != what)
    return replace(
        view,
        denied=(*known, (what, why, _text(event, "call")))[-MOST_DENIED:],
        activity=f"was refused: {what} ({why})",
    )


def _exited(view: View, event: Event) -> View:
    status = event.data.get("status")
    gone = replace(_heard(view, event), state=State.EXITED, activity="")
    return replace(gone, exit_status=status if isinstance(status, int) else None)


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


# Events that are not here (a Notification of idleness, SubagentStop ...) change
# nothing: an unexpected event of the other side is kept in the journal and otherwise ignored.
TABLE: dict[str, _Change] = {
    BEGUN: _begun,
    SPAWNED: _spawned,
    SENT: _sent,
    ENTER: _entered,
    PAUSED: _paused,
    CONTINUED: _continued,
    INTERRUPTED: _interrupted,
    SCREEN: _looked,
    EXITED: _exited,
    CHECKING: _checking,
    VERIFIED: _verified,
    MAILED: _mailed,
    RECEIVED: _settled,
    LOST: _settled,
    PHASE: _next_phase,
    SUMMARY: _asked_for_summary,
    CLEARED: _cleared,
    UNCOMPACTED: _uncompacted,
    GIVEN: _given,
    UNHEARD: _fell_silent,
    HEARD: _heard,
    DENIED: _denied,
    POSTED: _posted,
    OUTCOME: _ended,
    PROGRESS: _progressed,
    NOTE: _said,
    MESSAGE: _said,
    ASK: _asked,
    ANSWERED: _answered,
    COMPACT: _wished,
    INTERRUPT: _held,
    PERMITTED: _permitted,
    "SessionStart": _session,
    "UserPromptSubmit": _prompted,
    "PreToolUse": _working,
    "PostToolUse": _working,
    "PostToolUseFailure": _working,
    "PostToolBatch": _worked,
    "PermissionRequest": _blocked,
    "Notification": _notified,
    "Stop": _stopped,
    "StopFailure": _stop_failed,
    "TaskCreated": _task_made,
    "TaskCompleted": _task_done,
    "PreCompact": _compacting,
    "PostCompact": _compacted,
    "SessionEnd": _session_ended,
}


def advance(view: View, event: Event) -> View:
    """The view after `event`. Unknown events, those of other sessions, and those after the outcome leave it as it is."""
    change = TABLE.get(event.kind)
    if view.outcome is not None or _is_strange(view, event):
        return view
    after = change(view, event) if change is not None else view
    if (
        event.kind[:1].isupper() and event.kind != "Notification"
    ):  # the client's hooks begin with a capital letter
        # An event after the one that was answered with messages: the client went on, so it has them. That somebody is
        # waited for is no such event.
        after = replace(after, received=after.received + after.handed, handed=_letters(event, "mail"))
    if event.kind[:1].isupper() or event.kind == SPAWNED or event.kind in SAID:
        after = replace(after, heard=event.at, nudges=0 if event.kind in _LIVELY else after.nudges)
        if event.kind in (*_ASKED, *_ANSWERED) and not event.data.get("agent_id"):
            after = _heard(after, event)
    if after.request and after.state is not State.BLOCKED:
        after = replace(after, request="")  # its dialog is over
    # These start a wait of their own although the state's name may stay.
    if after.state is not view.state or event.kind in _WAITS:
        after = replace(after, since=event.at)
    return after


def _is_strange(view: View, event: Event) -> bool:
    """Does another session than the worker's tell of itself, one that got hold of its hooks?"""
    told = _text(event, "session_id")
    if not told or view.session_id in (None, told) or not event.kind[:1].isupper():
        return False
    # After /clear or /resume the worker itself goes on under another id; only a new client starts up.
    return event.kind != "SessionStart" or _text(event, "source") == "startup"


_WAITS = frozenset({SPAWNED, SENT, CONTINUED, ENTER, MAILED, SUMMARY, CLEARED, GIVEN})
# Events after which a session is plainly at work again.
_LIVELY = frozenset(
    {"PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Stop", "StopFailure"}
)
# With these the model is asked for its next answer, and with these it has given one.
_ASKED = ("UserPromptSubmit", "PostToolBatch")
_ANSWERED = ("PreToolUse", "Stop", "StopFailure", "PermissionRequest", "PostCompact")
