"""The worker's life as tables: events in, view out; view and facts in, instruction out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodo_claude.agents.turn import Signs
from dodo_claude.state import events as life
from dodo_claude.state import lifecycle
from dodo_claude.state.events import Event, Outcome, Result, State, View
from dodo_claude.state.lifecycle import advance
from dodo_claude.worker import policy
from dodo_claude.worker.policy import Facts, decide
from tests.histories import HISTORIES, PROMPT, SESSION, SPAWNED, STOP, WORKS, events, fold

FACTS = Facts(elapsed=10.0, in_state=1.0, timeout=100.0, repairs=1)
IDLE = View(state=State.IDLE, turn_done=True, prompts=1)
HELD = advance(View(state=State.RUNNING, prompts=1), Event(life.INTERRUPT, 5.0))


def test_a_hold_ends_with_whatever_begins_a_turn() -> None:
    assert (HELD.state, HELD.held, HELD.turn_done) == (State.IDLE, True, False)
    for event in (
        Event("UserPromptSubmit", 6.0),
        Event("PreToolUse", 6.0),  # it took no notice of the key
        Event("Stop", 6.0),
        Event(life.MAILED, 6.0),
        Event(life.CONTINUED, 6.0),
    ):
        assert advance(HELD, event).held is False
    # What it was at when the key came is told late, and begins nothing.
    assert advance(HELD, Event("PostToolUseFailure", 6.0)).held is True
    assert advance(IDLE, Event(life.INTERRUPT, 5.0)).held is False


ASKS = Event(
    "PermissionRequest", 3.0, {"tool_name": "Bash", "tool_input": {"command": "make"}, "request": "7-1"}
)
ASKING = advance(View(state=State.RUNNING, prompts=1), ASKS)
ALLOWED = Event(life.PERMITTED, 5.0, {"answered": "7-1", "allow": True, "sender": "the user"})


def test_a_request_is_open_as_long_as_its_dialog() -> None:
    assert (ASKING.state, ASKING.blocked_on, ASKING.request) == (State.BLOCKED, "Bash make", "7-1")
    reminded = advance(ASKING, Event("Notification", 4.0, {"notification_type": "permission_prompt"}))
    assert (reminded.state, reminded.request) == (State.BLOCKED, "7-1")
    for kind in (
        "PreToolUse",
        "PostToolBatch",
        "PostToolUseFailure",
        "UserPromptSubmit",
        "Stop",
        "StopFailure",
        life.EXITED,
    ):
        assert advance(reminded, Event(kind, 5.0)).request == "", kind
    other = advance(ASKING, Event("PermissionRequest", 5.0, {"tool_name": "Write", "request": "8-1"}))
    assert (other.request, other.blocked_on) == ("8-1", "Write")


def test_a_subagents_work_says_nothing_of_the_workers_dialog() -> None:
    for kind in ("PreToolUse", "PostToolUseFailure", "PostToolBatch", "PermissionRequest"):
        after = advance(ASKING, Event(kind, 5.0, {"agent_id": "a", "tool_name": "Read"}))
        assert (after.state, after.request, after.blocked_on) == (State.BLOCKED, "7-1", "Bash make"), kind
    own = advance(
        View(state=State.RUNNING), Event("PermissionRequest", 5.0, {"agent_id": "a", "tool_name": "Bash"})
    )
    assert (own.state, own.request) == (State.BLOCKED, "")


def test_an_answer_is_for_one_request() -> None:
    after = advance(ASKING, ALLOWED)
    assert (after.state, after.request, after.blocked_on) == (State.RUNNING, "", None)
    assert (after.since, after.activity) == (5.0, "allowed by the user: Bash make")
    denied = advance(ASKING, Event(life.PERMITTED, 5.0, {**ALLOWED.data, "allow": False}))
    assert denied.activity == "denied by the user: Bash make"
    late = advance(advance(after, Event("PostToolBatch", 6.0)), ALLOWED)
    assert late.activity == after.activity
    for view in (
        advance(ASKING, Event("Stop", 4.0)),
        advance(ASKING, Event("PermissionRequest", 4.0, {"request": "8-1"})),
        View(),
    ):
        assert advance(view, ALLOWED).state is view.state


def test_the_model_is_asked_from_a_prompt_to_its_answer() -> None:
    view = fold(events(SPAWNED, SESSION, PROMPT))
    assert view.asked == 3.0
    assert advance(view, Event("PreToolUse", 4.0, {"tool_name": "Bash"})).asked == 0.0
    assert advance(view, Event("PostToolBatch", 5.0)).asked == 5.0
    assert advance(view, Event("Stop", 6.0)).asked == advance(view, Event("StopFailure", 6.0)).asked == 0.0
    assert advance(view, Event("Stop", 6.0, {"mail": ["m"]})).asked == 6.0
    assert advance(view, Event("PreToolUse", 4.0, {"agent_id": "a"})).asked == 3.0
    assert advance(view, Event(life.EXITED, 4.0)).asked == 0.0


def test_a_silence_is_told_of_until_something_is_heard() -> None:
    asked = fold(events(SPAWNED, SESSION, PROMPT))
    silent = advance(
        asked, Event(life.UNHEARD, 9.0, {"since": 3.0, "text": "401 no", "tries": "attempt 2 of 11"})
    )
    assert (silent.unheard, silent.unheard_for, silent.tries) == (3.0, "401 no", "attempt 2 of 11")
    assert (silent.state, silent.heard) == (State.RUNNING, 3.0)
    assert advance(silent, Event("PreToolUse", 10.0, {"agent_id": "a"})).unheard == 3.0
    for event in ("PreToolUse", "Stop", "StopFailure", "PermissionRequest", life.EXITED, life.HEARD):
        after = advance(silent, Event(event, 10.0))
        assert (after.unheard, after.unheard_for) == (0.0, ""), event
    assert advance(silent, Event(life.HEARD, 10.0)).asked == 10.0


def test_a_subagents_failure_is_not_the_workers() -> None:
    view = fold(events(SPAWNED, SESSION, PROMPT))
    failed = {"agent_id": "a", "agent_type": "general-purpose", "error": "server_error"}
    assert advance(view, Event("StopFailure", 4.0, failed)).error is None
    assert advance(view, Event("StopFailure", 4.0, failed)).state is State.RUNNING
    clearing = fold(
        events(SPAWNED, SESSION, PROMPT, STOP, (life.CLEARED, {"goal": "g", "text": "/compact g"}))
    )
    assert advance(clearing, Event("StopFailure", 6.0, failed)).step is life.Step.CLEARING


@pytest.mark.parametrize(
    ("event", "activity"),
    [
        (("PostCompact", {}), "its context was compacted"),
        (
            (
                "StopFailure",
                {"agent_id": "a", "error": "server_error", "last_assistant_message": "API Error: 500 no"},
            ),
            "its context was not compacted: API Error: 500 no",
        ),
        ((life.UNCOMPACTED, {"reason": "too few"}), "its context was not compacted: too few"),
        (
            ("Notification", {"notification_type": "idle_prompt"}),
            "its context was not compacted: there was nothing to compact, or no summary came",
        ),
    ],
)
def test_what_became_of_a_compaction_is_told(event: tuple[str, dict[str, object]], activity: str) -> None:
    before = fold(events(SPAWNED, SESSION, PROMPT, STOP, (life.CLEARED, {"goal": "g", "text": "/compact g"})))
    assert before.activity == "its context is being compacted"
    after = advance(before, Event(event[0], 9.0, event[1]))
    assert (after.activity, after.state) == (activity, State.IDLE)


def test_what_its_client_refused_it_is_kept() -> None:
    view = View(state=State.RUNNING)
    for number in range(5):
        view = advance(
            view, Event(life.DENIED, 1.0, {"what": f"Bash {number}", "text": "no", "call": str(number)})
        )
    view = advance(view, Event(life.DENIED, 1.0, {"what": "Bash 4", "text": "no", "call": "9"}))
    assert view.activity == "was refused: Bash 4 (no)"
    assert [each[2] for each in view.denied] == ["2", "3", "9"]


@pytest.mark.parametrize("name", sorted(HISTORIES))
def test_history_leads_to_its_view_and_instruction(name: str) -> None:
    history = HISTORIES[name]
    view = fold(history.events)
    for field, value in history.view.items():
        assert getattr(view, field) == value, field
    assert decide(view, replace(FACTS, **history.facts)) == history.instruction


CASES: list[tuple[str, View, Facts, object]] = [
    ("nothing to do while it works", View(state=State.RUNNING), FACTS, WORKS),
    ("a turn's end is verified", IDLE, FACTS, policy.Verify()),
    ("verified well", IDLE, replace(FACTS, problems=()), policy.Stop(Outcome(Result.SUCCEEDED))),
    ("something is missing", IDLE, replace(FACTS, problems=("x",)), policy.Send(("x",))),
    (
        "still missing after the repairs",
        replace(IDLE, repairs=1),
        replace(FACTS, problems=("x", "y")),
        policy.Stop(Outcome(Result.FAILED, "x; y")),
    ),
    (
        "no repairs allowed",
        IDLE,
        replace(FACTS, problems=("x",), repairs=0),
        policy.Stop(Outcome(Result.FAILED, "x")),
    ),
    ("background tasks run on", replace(IDLE, background=1), FACTS, WORKS),
    ("a prompt is scheduled", replace(IDLE, scheduled=1), FACTS, WORKS),
    (
        "another's hook may send it on",
        replace(IDLE, stopped=7.0),
        replace(FACTS, signs=Signs(others=True)),
        replace(WORKS, seconds=0.1),
    ),
    (
        "it takes its time",
        replace(IDLE, stopped=7.0),
        replace(FACTS, signs=Signs(others=True), in_state=60.0),
        replace(WORKS, seconds=1.0),
    ),
    (
        "the client said since that its turn is over",
        replace(IDLE, stopped=7.0),
        replace(FACTS, signs=Signs(others=True, ended=7.5)),
        policy.Verify(),
    ),
    (
        "it died while it was sent on, as far as is known",
        replace(IDLE, state=State.EXITED, stopped=7.0, exit_status=-9, prompts=1),
        replace(FACTS, signs=Signs(others=True)),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker ended in mid-work with signal 9 (out of memory?)",
                retry=True,
                kind="died",
            )
        ),
    ),
    (
        "time is over",
        View(state=State.RUNNING),
        replace(FACTS, elapsed=100.0),
        policy.Stop(Outcome(Result.TIMED_OUT, "timed out after 100 s")),
    ),
    (
        "time is over at a dialog",
        View(state=State.BLOCKED, blocked_on="Bash make"),
        replace(FACTS, elapsed=101.0),
        policy.Stop(Outcome(Result.TIMED_OUT, "timed out after 100 s (it waited for a person: Bash make)")),
    ),
    ("an interrupt beats all", IDLE, replace(FACTS, stop="interrupted", problems=()), None),
    ("a fresh worker gets a minute", View(), replace(FACTS, in_state=5.0), policy.Wait(3.0)),
    (
        "an unsubmitted prompt gets a moment",
        replace(IDLE, state=State.RUNNING, submitted=False),
        FACTS,
        policy.Wait(2.0),
    ),
    (
        "then Enter again",
        View(state=State.RUNNING, submitted=False, prompts=1),
        replace(FACTS, in_state=3.0),
        policy.PressEnter(),
    ),
    (
        "and in the end no",
        View(state=State.RUNNING, submitted=False, prompts=1, enters=3),
        replace(FACTS, in_state=3.0),
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker did not take the prompt that was pasted into its session",
                retry=True,
                kind="no prompt",
            )
        ),
    ),
    (
        "a client that never takes its first prompt",
        View(state=State.RUNNING, submitted=False),
        replace(FACTS, in_state=30.0),
        policy.Stop(
            Outcome(Result.FAILED, "its worker started but did not take its prompt", kind="no prompt")
        ),
    ),
    (
        "the API failed for now",
        replace(IDLE, turn_done=False, error="server_error", error_text="529"),
        FACTS,
        policy.Pause("server_error", "529"),
    ),
    (
        "the API failed for good",
        replace(IDLE, turn_done=False, error="authentication_failed"),
        FACTS,
        policy.Stop(
            Outcome(
                Result.FAILED,
                "the client gave up (authentication_failed)",
                kind="authentication_failed",
                fatal=True,
            )
        ),
    ),
    (
        "killed in mid-work",
        View(state=State.EXITED, exit_status=-9, prompts=1),
        FACTS,
        policy.Stop(
            Outcome(
                Result.FAILED,
                "its worker ended in mid-work with signal 9 (out of memory?)",
                retry=True,
                kind="died",
            )
        ),
    ),
    (
        "left after its turn: look what it made",
        replace(IDLE, state=State.EXITED, exit_status=0),
        FACTS,
        policy.Verify(),
    ),
    (
        "left after its turn, something missing: nobody to ask",
        replace(IDLE, state=State.EXITED, exit_status=0),
        replace(FACTS, problems=("x",)),
        policy.Stop(Outcome(Result.FAILED, "x")),
    ),
    (
        "a command that ended well is verified",
        View(state=State.EXITED, exit_status=0),
        replace(FACTS, interactive=False),
        policy.Verify(),
    ),
    (
        "a command that ended badly",
        View(state=State.EXITED, exit_status=3),
        replace(FACTS, interactive=False),
        policy.Stop(Outcome(Result.FAILED, "its command ended with exit status 3", retry=True, kind="died")),
    ),
    (
        "a command is run again for a repair",
        View(state=State.EXITED, exit_status=0),
        replace(FACTS, interactive=False, problems=("x",)),
        policy.Send(("x",)),
    ),
    (
        "an answer takes its time",
        View(state=State.RUNNING),
        replace(FACTS, unanswered=100.0, timeout=1000.0),
        replace(WORKS, seconds=20.0),
    ),
    (
        "it takes too long: that is said",
        View(state=State.RUNNING),
        replace(FACTS, unanswered=120.0),
        policy.TellSilence(),
    ),
    ("once", View(state=State.RUNNING, unheard=3.0), replace(FACTS, unanswered=120.0), WORKS),
    (
        "a refusal is called one",
        replace(IDLE, error="invalid_request", error_text="its safeguards flagged this message"),
        FACTS,
        policy.Stop(
            Outcome(
                Result.FAILED,
                "the model refuses to answer (say it in other words, or give the stage another model): "
                "its safeguards flagged this message",
                kind="refusal",
            )
        ),
    ),
    ("one that a person interrupted waits", HELD, FACTS, policy.Wait(60.0)),
    ("for their message", HELD, replace(FACTS, mail=True), policy.Deliver()),
    ("or their wish", replace(HELD, wish="x"), FACTS, policy.Clear("x")),
    ("but not for ever", HELD, replace(FACTS, in_state=50.0, person_timeout=50.0), policy.GoOn()),
    ("a command needs no hooks", View(), replace(FACTS, interactive=False, in_state=80.0), policy.Wait(60.0)),
]


@pytest.mark.parametrize(("what", "view", "facts", "expected"), CASES, ids=[case[0] for case in CASES])
def test_decide(what: str, view: View, facts: Facts, expected: object) -> None:
    if expected is None:
        expected = policy.Stop(Outcome(Result.ABORTED, "interrupted"))
    assert decide(view, facts) == expected


KINDS = [*lifecycle.TABLE, "SubagentStop", "SessionEnd", "Nonsense"]
EVENTS = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    at=st.floats(0, 1e9),
    data=st.dictionaries(
        st.sampled_from(
            ["pane", "pid", "tool_name", "background_tasks", "status", "result", "error", "junk"]
        ),
        st.none() | st.integers() | st.text() | st.lists(st.integers()),
    ),
)
ANY_FACTS = st.builds(
    Facts,
    elapsed=st.floats(0, 200),
    in_state=st.floats(0, 200),
    timeout=st.floats(1, 100),
    repairs=st.integers(0, 3),
    interactive=st.booleans(),
    stop=st.none() | st.just("interrupted"),
    silent=st.floats(0, 2000),
    unlooked=st.floats(0, 200),
    pause_left=st.floats(0, 200),
    problems=st.none() | st.lists(st.text(min_size=1), max_size=2).map(tuple),
)


@given(st.lists(EVENTS, max_size=30), ANY_FACTS)
def test_no_history_breaks_the_table_and_success_needs_a_verification(
    events: list[Event], facts: Facts
) -> None:
    instruction = decide(fold(events), facts)
    match instruction:
        case policy.Stop(Outcome(result=Result.SUCCEEDED)):
            assert facts.problems == ()
            assert facts.stop is None
        case policy.Wait(seconds):
            assert 0 < seconds <= facts.timeout
        case policy.Send():
            assert facts.problems


@given(st.lists(EVENTS, max_size=20), st.lists(EVENTS, max_size=5))
def test_nothing_moves_after_the_outcome(events: list[Event], late: list[Event]) -> None:
    ended = advance(fold(events), Event(life.OUTCOME, 1.0, {"result": "failed", "reason": "r"}))
    view = ended
    for event in late:
        view = advance(view, event)
    assert view == ended
    assert view.outcome is not None


@given(st.lists(EVENTS, max_size=30), ANY_FACTS)
def test_it_always_ends(events: list[Event], facts: Facts) -> None:
    """Once the time is over no instruction waits."""
    late = replace(facts, elapsed=facts.timeout + 1)
    assert not isinstance(decide(fold(events), late), policy.Wait)
