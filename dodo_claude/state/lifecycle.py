"""A worker's life as a table: `advance` says what an event makes of what we know of it.

Nothing here reads a clock, a file or a screen. Event names are those of the Claude Code client's hooks, which
the scripted agent shares, plus our own in lower case (`SPAWNED` ...). What is done about it is in policy.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from dodo_claude.state import context, saying
from dodo_claude.state.events import (
    ANSWERED,
    ASK,
    BEGUN,
    CHECKING,
    CLEARED,
    COMPACT,
    CONTINUED,
    DENIED,
    ENTER,
    EXITED,
    GIVEN,
    HEARD,
    INTERRUPT,
    INTERRUPTED,
    LEFT,
    LOST,
    MAILED,
    MESSAGE,
    NOTE,
    OUTCOME,
    PAUSED,
    PERMITTED,
    PHASE,
    POSTED,
    PROGRESS,
    RECEIVED,
    SAID,
    SCREEN,
    SENT,
    SPAWNED,
    START_DIALOGS,
    SUMMARY,
    UNCOMPACTED,
    UNHEARD,
    VERIFIED,
    Event,
    Outcome,
    Result,
    State,
    Step,
    View,
)  # fmt: skip

_Change = Callable[[View, Event], View]


def _begun(view: View, event: Event) -> View:
    denies = event.data.get("on_permission") == "deny"
    return replace(view, began=event.at, phase=max(0, int(event.number("phase"))), denies=denies)


def _spawned(view: View, event: Event) -> View:
    pid = event.data.get("pid")
    return replace(
        view,
        state=State.STARTING,
        pane=event.text("pane"),
        pid=pid if isinstance(pid, int) else None,
        exit_status=None,
        left=False,
        turn_done=False,
        submitted=False,
    )


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
        view = saying.listed(view, event)
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
    return replace(view, state=State.BLOCKED, blocked_on=what, request=event.text("request"))


def _permitted(view: View, event: Event) -> View:
    if not view.request or event.text("answered") != view.request:
        return view  # it went on meanwhile
    how = "allowed" if event.data.get("allow") is True else "denied"
    activity = f"{how} by {event.text('sender')}: {view.blocked_on}"
    return replace(view, state=State.RUNNING, blocked_on=None, activity=activity)


def _notified(view: View, event: Event) -> View:
    kind = event.text("notification_type")
    if kind == "idle_prompt" and view.step is Step.CLEARING:
        return context.not_compacted(
            view, "there was nothing to compact, or no summary came"
        )  # no other event tells of that
    if kind == "idle_prompt" and view.handed and view.state is State.RUNNING:
        # Its last Stop was answered with messages, and the client ended the turn all the same, as it does after so many
        # in a row. It reads them with its next prompt.
        return replace(view, state=State.IDLE, cut_short=True, activity="")
    if kind == "idle_prompt":
        return replace(view, stopped=0.0)  # the client itself has seen the turn's end
    if kind in ("permission_prompt", "agent_needs_input") and view.state is not State.EXITED:
        return replace(view, state=State.BLOCKED, blocked_on=view.blocked_on or event.text("message"))
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
        message=event.text("last_assistant_message") or view.message,
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
        return context.not_compacted(view, event.text("last_assistant_message") or event.text("error"))
    if event.data.get("agent_id"):
        return view  # a sub-agent's turn, or the client's own try to compact: the worker's goes on, or fails by itself
    return replace(
        view,
        state=State.IDLE,
        error=event.text("error") or "unknown",
        error_text=event.text("last_assistant_message"),
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
    if event.text("fault") in START_DIALOGS and not view.prompts:
        return replace(seen, error=event.text("fault"), error_text=event.text("text"))
    if event.data.get("box") is False and view.state in (State.STARTING, State.RUNNING):
        return replace(seen, state=State.BLOCKED, blocked_on=event.text("text") or "an unknown dialog")
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
    return replace(
        context.prompting(view), mailed=view.mailed + event.letters(), activity="was sent a message"
    )


def _settled(view: View, event: Event) -> View:
    gone = {*event.letters()}
    handed, mailed, received = (
        tuple(letter for letter in letters if letter not in gone)
        for letters in (view.handed, view.mailed, view.received)
    )
    return replace(view, handed=handed, mailed=mailed, received=received)


def _held(view: View, event: Event) -> View:
    if view.state is not State.RUNNING:
        return view
    return replace(view, state=State.IDLE, held=True, turn_done=False, submitted=True, activity="interrupted")


def _entered(view: View, event: Event) -> View:
    return replace(view, enters=view.enters + 1)


def _session_ended(view: View, event: Event) -> View:
    return replace(view, left=event.text("reason") == LEFT)


def _fell_silent(view: View, event: Event) -> View:
    since = event.number("since") or event.at
    return replace(view, unheard=since, unheard_for=event.text("text"), tries=event.text("tries"))


def _heard(view: View, event: Event) -> View:
    """It answered, or is asked anew: by a prompt, a message or what a round of tools gave."""
    asked = event.kind in (*_ASKED, HEARD) or (event.kind == "Stop" and event.data.get("mail"))
    return replace(view, asked=event.at if asked else 0.0, unheard=0.0, unheard_for="", tries="")


def _exited(view: View, event: Event) -> View:
    status = event.data.get("status")
    gone = replace(_heard(view, event), state=State.EXITED, activity="")
    return replace(gone, exit_status=status if isinstance(status, int) else None)


def _ended(view: View, event: Event) -> View:
    try:
        result = Result(event.text("result"))
    except ValueError:
        return view
    return replace(
        view,
        outcome=Outcome(
            result,
            event.text("reason"),
            retry=event.data.get("retry") is True,
            kind=event.text("cause"),
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
    PHASE: context.next_phase,
    SUMMARY: context.asked_for_summary,
    CLEARED: context.cleared,
    UNCOMPACTED: context.uncompacted,
    GIVEN: context.given,
    UNHEARD: _fell_silent,
    HEARD: _heard,
    DENIED: saying.denied,
    POSTED: saying.posted,
    OUTCOME: _ended,
    PROGRESS: saying.progressed,
    NOTE: saying.said,
    MESSAGE: saying.said,
    ASK: saying.asked,
    ANSWERED: saying.answered,
    COMPACT: context.wished,
    INTERRUPT: _held,
    PERMITTED: _permitted,
    "SessionStart": context.session,
    "UserPromptSubmit": _prompted,
    "PreToolUse": _working,
    "PostToolUse": _working,
    "PostToolUseFailure": _working,
    "PostToolBatch": _worked,
    "PermissionRequest": _blocked,
    "Notification": _notified,
    "Stop": _stopped,
    "StopFailure": _stop_failed,
    "TaskCreated": saying.task_made,
    "TaskCompleted": saying.task_done,
    "PreCompact": context.compacting,
    "PostCompact": context.compacted,
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
        after = replace(after, received=after.received + after.handed, handed=event.letters("mail"))
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
    told = event.text("session_id")
    if not told or view.session_id in (None, told) or not event.kind[:1].isupper():
        return False
    # After /clear or /resume the worker itself goes on under another id; only a new client starts up.
    return event.kind != "SessionStart" or event.text("source") == "startup"


_WAITS = frozenset({SPAWNED, SENT, CONTINUED, ENTER, MAILED, SUMMARY, CLEARED, GIVEN})
# Events after which a session is plainly at work again.
_LIVELY = frozenset(
    {"PreToolUse", "PostToolUse", "PostToolUseFailure", "PostToolBatch", "Stop", "StopFailure"}
)
# With these the model is asked for its next answer, and with these it has given one.
_ASKED = ("UserPromptSubmit", "PostToolBatch")
_ANSWERED = ("PreToolUse", "Stop", "StopFailure", "PermissionRequest", "PostCompact")
