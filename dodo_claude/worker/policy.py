"""What to do next about a worker: all policy as one pure function, `decide(view, facts) -> Instruction`.

Nothing here reads a clock, a file or a screen; the caller (`worker.Worker`) brings the facts and carries out
the instruction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from dodo_claude.agents import faults
from dodo_claude.agents.turn import NO_SIGNS, Signs, is_held_open, is_over
from dodo_claude.state.events import SERVER_DIED, START_DIALOGS, Outcome, Result, State, Step, View
from dodo_claude.text.durations import in_words

# A client that is up fires SessionStart 0.5-1.5 s after the spawn, 3 s with four starting at once on two
# cores. Silence for this long means that its hooks do not reach us.
HOOK_SILENCE_SECONDS = 60.0
# UserPromptSubmit for the prompt given as an argument follows SessionStart after some 0.1 s.
FIRST_PROMPT_SECONDS = 30.0
# UserPromptSubmit follows the Enter after 0.1-0.3 s.
SUBMIT_SECONDS = 3.0
# A swallowed Enter (copy mode, a client not yet listening) is pressed again this often, then given up.
ENTER_TRIES = 3

# So many failed turns in a row, without a tool call between them, are borne; usage limits do not count.
ERRORS_BORNE = 4
# A dialog that no hook tells of is looked for on the screen after this silence, then every so often.
LOOK_SECONDS = 20.0
# One that opens before the client begins is known by its text: a client begins within a second, on a busy machine in some.
START_LOOK_SECONDS = 3.0
LOOK_AGAIN_SECONDS = 60.0
# What was seen so long ago still holds.
FRESH_SECONDS = 5.0
# An answer takes a minute, and with much thought some; of one that takes longer it is said since when nothing was heard.
QUIET_SECONDS = 120.0
# What follows a nudge, and then an Escape, gets this part of `idle_timeout`.
PATIENCE_PART = 1 / 3
# A compaction is one request of the whole context: minutes at most. Then the next prompt goes without it.
CLEAR_SECONDS = 600.0
# How full its context is, the client tells its status line 0.2-1.1 s after a turn's Stop hook; no hook tells of that.
CONTEXT_SECONDS = 4.0
CONTEXT_LOOK_SECONDS = 0.1
# Whether another's hook let a turn end stands in the client's transcript 0.1-0.4 s after that hook; no hook of ours tells of it.
# One that takes longer is looked after less often.
TURN_SECONDS = 10.0
TURN_LOOK_SECONDS = 0.1
TURN_LOOK_LATER_SECONDS = 1.0
# So many times in a row a context may be full again right after the client compacted it.
COMPACTIONS_BORNE = 3
# No wait is longer: clocks are looked at again.
LONGEST_WAIT = 60.0
# And none is shorter, when the run's time is as good as over.
SOON_SECONDS = 0.01
# The longest for a worker who works: whatever it does wakes us, and there may be a hundred.
LONGEST_REST = 600.0
# From this part of `idle_timeout` on it is asked what its processes do: that takes a look at all of the machine's.
CENSUS_PART = 1 / 2
# Exit statuses of a shell whose command can't be executed, or found: no worker could mend that.
NOT_RUN = frozenset({126, 127})
MEND_CHECK = "mend the check and run again: what was made is kept, and checked first"


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
    unanswered: float = 0.0  # since the model was asked, or last said something; 0: it is not asked
    unlooked: float = 0.0  # since its screen was looked at for itself
    signs: Signs = NO_SIGNS  # of a turn's end, besides hooks
    strange: bool = False  # the lookout saw something else than it was to see
    idle_timeout: float = 900.0
    person_timeout: float = 1800.0
    run_left: float = math.inf  # until the run's time is used up
    pause_left: float = 0.0  # of the fleet's pause
    max_turns: int = 200
    problems: tuple[str, ...] | None = None  # of the last verification; None: not verified since the turn
    by_check: bool = False  # these are what the check said, and nothing else
    broken: bool = False  # the check could not be run
    trespass: bool = False  # what no stage may change was changed
    mail: bool = False  # a message is queued
    ask_left: float = 0.0  # until the last open question's deadline
    phases: int = 1
    goal: str | None = None  # compact before the phase that comes next, with this goal
    handover: bool = False  # a fresh session for the phase that comes next
    context: float | None = None  # how full the context is, in percent, if the client told
    context_stale: bool = False  # it did not tell since the view's state changed
    compact_at: float | None = None  # compact between turns from here on
    kind_of: Callable[[str, str], str] = faults.kind_of  # of what its agent says of a failed turn


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until an event, or for `seconds`. `box`: what the lookout should see meanwhile, an input box or, since a
    dialog is open, none; None: it need not look."""

    seconds: float
    box: bool | None = None


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
class TellSilence:
    """Nothing was heard of it for long: say since when."""


@dataclass(frozen=True, slots=True)
class Look:
    """Nothing was heard for a while: is a dialog open that no hook tells of?"""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Messages are queued, and the session is idle."""


@dataclass(frozen=True, slots=True)
class Advance:
    """This phase is verified; there is another."""


@dataclass(frozen=True, slots=True)
class Summarise:
    """Ask for a summary, since a fresh session will do the next phase."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Make room in the context: compact it towards `goal`; None: begin a fresh session. `interrupt`: now."""

    goal: str | None
    interrupt: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """The context was not compacted; go on without."""

    reason: str


@dataclass(frozen=True, slots=True)
class Give:
    """Give the phase's prompt."""


@dataclass(frozen=True, slots=True)
class PressEnter:
    """A prompt stands in the input box, unsubmitted."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The attempt is over."""

    outcome: Outcome


Instruction = (
    Wait | Verify | Send | Pause | GoOn | Interrupt | TellSilence | Look | PressEnter | Stop
    | Deliver | Advance | Summarise | Clear | Skip | Give
)  # fmt: skip


def _failed(reason: str, *, retry: bool = False, kind: str = "") -> Stop:
    return Stop(Outcome(Result.FAILED, reason, retry, kind))


def _decide_exited(view: View, facts: Facts) -> Instruction:
    """The process is gone: by its own will after a turn, or by accident."""
    status = view.exit_status
    if view.step is not Step.WORK:
        text = f"its worker ended before phase {view.phase + 1} of {facts.phases} began"
        return _failed(text, retry=True, kind="died" if status is not None else SERVER_DIED)
    if facts.problems is not None:
        return _verdict(view, facts)
    if (view.turn_done and not is_held_open(view, facts.signs)) or (not facts.interactive and status == 0):
        return Verify()
    kind = "died" if status is not None else SERVER_DIED
    if not facts.interactive:
        return _failed(f"its command ended with {describe_exit(status)}", retry=True, kind=kind)
    when = "in mid-work" if view.prompts else "before it began"
    how = " (somebody left it in its pane: /exit, Ctrl-C or Ctrl-D)" if view.left else ""
    return _failed(f"its worker ended {when} with {describe_exit(status)}{how}", retry=True, kind=kind)


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
        more = view.phase + 1 < facts.phases and not facts.trespass
        return Advance() if more else Stop(Outcome(Result.SUCCEEDED))
    if view.asks and facts.ask_left > 0 and view.state is State.IDLE:
        return Wait(min(facts.ask_left, LONGEST_WAIT))  # it may lack only the answer
    # A command agent is run again for a repair; a person's /exit leaves nobody to send it to.
    reachable = view.state is State.IDLE or not facts.interactive
    if view.repairs - view.repairs_before < facts.repairs and reachable and not facts.broken:
        return _make_room(view, facts) or Send(problems)
    where = f"phase {view.phase + 1} of {facts.phases}: " if facts.phases > 1 else ""
    return Stop(Outcome(Result.FAILED, where + "; ".join(problems), by_check=facts.by_check))


def _make_room(view: View, facts: Facts) -> Instruction | None:
    """Between two turns: compact when it is time to. The client tells how full its context is after its Stop hook."""
    if facts.compact_at is None or view.compacted or not facts.interactive:
        return None
    left = CONTEXT_SECONDS - facts.in_state
    if facts.context_stale and left > 0:
        return Wait(min(left, CONTEXT_LOOK_SECONDS))
    return Clear("") if facts.context is not None and facts.context >= facts.compact_at else None


def _decide_idle(view: View, facts: Facts) -> Instruction:
    """Its turn is over: what next?"""
    if view.cut_short:
        return GoOn()
    if view.step is Step.NEXT:
        if facts.handover:
            return Summarise()
        if facts.goal is not None:
            return Clear(facts.goal)
        return _make_room(view, facts) or Give()
    if view.step is Step.SUMMARY:
        return Clear(None)
    if view.step is Step.READY:
        return Give()
    if view.wish is not None:
        return Clear(view.wish)
    if facts.mail:
        return Deliver()
    return Verify() if facts.problems is None else _verdict(view, facts)


def _decide_clearing(view: View, facts: Facts) -> Instruction:
    """`/compact` or `/clear` was pasted. The client may refuse it, and no event tells of that."""
    left = (CLEAR_SECONDS if view.submitted else SUBMIT_SECONDS) - facts.in_state
    if left > 0:
        return Wait(min(left, LONGEST_WAIT))
    if not view.submitted and view.enters < ENTER_TRIES:
        return PressEnter()
    return Skip("the client did not compact or clear its context")


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
    error = facts.kind_of(view.error or "", view.error_text)
    if error in START_DIALOGS:
        reason = f"the client stopped at a dialog before it began: {view.error_text}"
        return Stop(Outcome(Result.FAILED, reason, kind=error, fatal=True))
    reason = faults.said(error) + (f": {view.error_text}" if view.error_text else "")
    if error in faults.FATAL:
        return Stop(Outcome(Result.FAILED, reason, kind=error, fatal=True))
    if error not in faults.PASSING:
        return _failed(reason, kind=error)
    if error != "rate_limit" and view.errors > ERRORS_BORNE:
        return _failed(reason, retry=True, kind=error)
    if view.state is not State.PAUSED:
        return Pause(error, view.error_text)
    return Wait(min(facts.pause_left, LONGEST_WAIT)) if facts.pause_left > 0 else GoOn()


def _decide_blocked(view: View, facts: Facts) -> Instruction:
    left = facts.person_timeout - facts.in_state
    if facts.strange or (left <= 0 and facts.unlooked >= FRESH_SECONDS):
        return Look()  # no hook tells of an answer that was given in its pane
    if left > 0:
        return Wait(min(left, LONGEST_REST), box=False)
    return _failed(
        f"a dialog waited {in_words(facts.person_timeout)} for a person: {view.blocked_on}; allow it in "
        '`allowed_tools`, or refuse all by on_permission = "deny"'
    )


def _decide_held(view: View, facts: Facts) -> Instruction:
    """A person interrupted it: their message goes first, and without any it goes on by itself one day."""
    if view.wish is not None:
        return Clear(view.wish)
    if facts.mail:
        return Deliver()
    left = facts.person_timeout - facts.in_state
    return Wait(min(left, LONGEST_WAIT)) if left > 0 else GoOn()


def _decide_starting(facts: Facts) -> Instruction:
    left = HOOK_SILENCE_SECONDS - facts.in_state
    if left <= 0:
        return _failed(
            f"no hook event in {in_words(HOOK_SILENCE_SECONDS)}: the client shows a dialog, or managed "
            "settings switch hooks off; its last screen is kept",
            kind="no hooks",
        )
    early = LOOK_SECONDS - facts.in_state
    if early <= 0:
        seen = facts.in_state - facts.unlooked >= LOOK_SECONDS
        return Wait(left) if seen and facts.unlooked < LOOK_AGAIN_SECONDS else Look()
    rest = START_LOOK_SECONDS - min(facts.in_state, facts.unlooked)
    return Wait(min(rest, early)) if rest > 0 else Look()


def _decide_silent(view: View, facts: Facts) -> Instruction:
    """It works, as far as we know. Long silence: look, nudge, interrupt, give up; never endless."""
    patience = facts.idle_timeout * (1 + view.nudges * PATIENCE_PART)
    if facts.silent >= patience:
        if view.nudges == 0:
            return GoOn(nudge=True)
        if view.nudges == 1:
            return Interrupt()
        text = f"its worker was silent for {in_words(facts.silent)}, nudged and interrupted in vain"
        return _failed(text, retry=True, kind="silent")
    if facts.strange:
        return Look()
    if facts.unanswered >= QUIET_SECONDS and not view.unheard:
        return TellSilence()
    census = facts.idle_timeout * CENSUS_PART
    left = (census if facts.silent < census else patience) - facts.silent
    if facts.unanswered and not view.unheard:
        left = min(left, QUIET_SECONDS - facts.unanswered)
    return Wait(min(left, LONGEST_REST), box=True)


def _decide_living(view: View, facts: Facts) -> Instruction:
    if not facts.interactive:
        return Wait(LONGEST_WAIT)
    if view.error is not None:
        return _decide_error(view, facts)
    if view.state is State.BLOCKED:
        return _decide_blocked(view, facts)
    if view.state is State.STARTING:
        return _decide_starting(facts)
    if view.step is Step.CLEARING:
        return _decide_clearing(view, facts)
    if not view.submitted:
        return _unsubmitted(view, facts)
    if view.held:
        return _decide_held(view, facts)
    if view.state is State.IDLE and is_over(view, facts.signs):
        return _decide_idle(view, facts)
    if view.wish is not None and view.hurried and view.state is State.RUNNING:
        return Clear(view.wish, interrupt=True)
    instruction = _decide_silent(view, facts)
    if isinstance(instruction, Wait) and is_held_open(view, facts.signs):
        look = TURN_LOOK_SECONDS if facts.in_state < TURN_SECONDS else TURN_LOOK_LATER_SECONDS
        return replace(instruction, seconds=min(instruction.seconds, look))
    return instruction


def decide(view: View, facts: Facts) -> Instruction:
    """What to do next. The first rule that fits wins; the order is the policy."""
    if facts.stop is not None:
        return Stop(Outcome(Result.ABORTED, facts.stop))
    if view.state is State.EXITED:
        return _decide_exited(view, facts)
    left = facts.timeout - facts.elapsed
    if left <= 0:
        waiting = f" (it waited for a person: {view.blocked_on})" if view.state is State.BLOCKED else ""
        return Stop(Outcome(Result.TIMED_OUT, f"timed out after {in_words(facts.timeout)}{waiting}"))
    if view.tools > facts.max_turns:
        return _failed(f"its worker made more than {facts.max_turns} tool calls (max_turns)")
    if view.compactions > COMPACTIONS_BORNE:
        return _failed(
            f"its context was full again right after each of {view.compactions} compactions "
            "(give it less to read, or split the stage)"
        )
    instruction = _decide_living(view, facts)
    if isinstance(instruction, Wait):
        return replace(instruction, seconds=min(left, max(facts.run_left, SOON_SECONDS), instruction.seconds))
    return instruction


def next_look(heard: float, looked: float) -> float:
    """When to look at the screen of a worker that was last heard, and looked at, at these moments (-inf: never)."""
    if looked < heard:
        return heard + LOOK_SECONDS
    # The longer it is silent, the rarer.
    return looked + max(LOOK_AGAIN_SECONDS, (looked - heard) / 2)
