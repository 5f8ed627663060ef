"""What can happen to an attempt, by name, and what is known of it: the words that all rooms share. Owns no rule.

Kinds in capitals are written by us; those of the client's hooks bear the names that Claude Code gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
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

    def text(self, key: str) -> str:
        """What the event says under `key`; '' for what is no text."""
        value = self.data.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float:
        """The same of a finite number; else 0.0."""
        value = self.data.get(key)
        try:
            return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
        except OverflowError:  # a whole number of any length
            return 0.0

    def letters(self, key: str = "letters") -> tuple[str, ...]:
        """The ids of messages that it names."""
        value = self.data.get(key)
        return tuple(str(item) for item in value) if isinstance(value, list | tuple) else ()


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
