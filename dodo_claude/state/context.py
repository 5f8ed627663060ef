"""What of a worker's session and its context an event makes: phases, summaries, compaction. A part of lifecycle's table."""

from __future__ import annotations

from dataclasses import replace

from dodo_claude.state.events import LITTLE_WORK, Event, State, Step, View


def session(view: View, event: Event) -> View:
    known = replace(
        view,
        session_id=event.text("session_id") or view.session_id,
        transcript=event.text("transcript_path") or view.transcript,
    )
    if view.step is Step.CLEARING and event.text("source") == "clear":
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


def not_compacted(view: View, why: str) -> View:
    return _cleared_away(view, f"its context was not compacted: {why}")


def prompting(view: View) -> View:
    """Something was pasted into the idle session; its UserPromptSubmit must come."""
    return replace(view, state=State.RUNNING, submitted=False, enters=0, turn_done=False, held=False)


def next_phase(view: View, event: Event) -> View:
    return replace(
        view,
        phase=max(view.phase + 1, int(event.number("done"))),
        step=Step.NEXT,
        repairs_before=view.repairs,
        asks=(),
    )


def asked_for_summary(view: View, event: Event) -> View:
    return replace(prompting(view), step=Step.SUMMARY, activity="sums up for a fresh session")


def cleared(view: View, event: Event) -> View:
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


def uncompacted(view: View, event: Event) -> View:
    return not_compacted(view, event.text("reason")) if view.step is Step.CLEARING else view


def given(view: View, event: Event) -> View:
    return replace(prompting(view), step=Step.WORK, activity=f"begins phase {view.phase + 1}")


def compacting(view: View, event: Event) -> View:
    """The client began: what we asked for was taken."""
    return replace(view, submitted=True) if view.step is Step.CLEARING else view


def compacted(view: View, event: Event) -> View:
    if view.step is Step.CLEARING:
        return _cleared_away(view, "its context was compacted")
    worked = view.tools - view.tools_compacted >= LITTLE_WORK
    return replace(
        view,
        compactions=1 if worked else view.compactions + 1,
        tools_compacted=view.tools,
        compacted=True,
    )


def wished(view: View, event: Event) -> View:
    return replace(view, wish=event.text("goal"), hurried=event.data.get("now") is True)
