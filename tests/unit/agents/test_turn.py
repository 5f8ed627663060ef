"""When a worker's turn is over: what its client says, and what follows from it."""

from __future__ import annotations

import pytest

from dodo_claude.agents.turn import NO_SIGNS, Signs, is_held_open, is_over
from dodo_claude.state import events as life
from dodo_claude.state.events import Step
from tests.histories import PROMPT, SESSION, SPAWNED, STOP, WRITE, events, fold

AT = 5.0  # of the Stop, when it is the fifth event
OTHERS = Signs(others=True)


def stop(**data: object) -> tuple[str, dict[str, object]]:
    return ("Stop", {**STOP[1], **data})


# (case, what came, what else the client says, is it over)
CASES: list[tuple[str, tuple[object, ...], Signs, bool]] = [
    ("nothing says otherwise", (STOP,), NO_SIGNS, True),
    ("a task runs on in the background", (stop(background_tasks=[{"type": "shell"}]),), NO_SIGNS, False),
    ("a prompt is scheduled", (stop(session_crons=[{"id": "c"}]),), NO_SIGNS, False),
    ("it gave itself none", (stop(session_crons=[]),), NO_SIGNS, True),
    ("it was answered with a message", (stop(mail=["1"]),), NO_SIGNS, False),
    ("another's hook may hold it open", (STOP,), OTHERS, False),
    ("the client wrote down its end", (STOP,), Signs(others=True, ended=AT + 0.2), True),
    ("that was the turn before", (STOP,), Signs(others=True, ended=AT - 2), False),
    ("its registry calls it idle", (STOP,), Signs(others=True, idle=AT + 0.2), True),
    ("that was before its prompt", (STOP,), Signs(others=True, idle=AT - 2), False),
    ("it gives notice that it is idle", (STOP, ("Notification", {"notification_type": "idle_prompt"})), OTHERS, True),
    ("it waits for a permission", (STOP, ("Notification", {"notification_type": "permission_prompt"})), OTHERS, False),
    ("it was sent on, and stops again", (STOP, stop(stop_hook_active=True)), Signs(others=True, ended=AT - 2), False),
    ("and that was the end", (STOP, stop(stop_hook_active=True)), Signs(others=True, ended=AT + 1.5), True),
    ("the end of its last turn but one", (STOP, stop(stop_hook_active=True)), Signs(others=True, ended=AT + 0.5), False),
    ("a background task is done, the turn after it not", (stop(background_tasks=[{}]), PROMPT, STOP), OTHERS, False),
    ("compacted between two turns", (STOP, (life.CLEARED, {"goal": "g"}), "PostCompact"), OTHERS, True),
]  # fmt: skip


@pytest.mark.parametrize(("came", "signs", "over"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_is_it_over(came: tuple[object, ...], signs: Signs, over: bool) -> None:
    view = fold(events(SPAWNED, SESSION, PROMPT, WRITE, *came))  # type: ignore[arg-type]
    assert (view.state is life.State.IDLE and is_over(view, signs)) is over


def test_a_tool_after_its_stop_is_a_turn_that_goes_on() -> None:
    view = fold(events(SPAWNED, SESSION, PROMPT, STOP, WRITE))
    assert (view.state, view.turn_done, view.stopped) == (life.State.RUNNING, False, 0.0)
    of_another = ("PreToolUse", {**WRITE[1], "agent_id": "a"})
    view = fold(events(SPAWNED, SESSION, PROMPT, STOP, of_another))
    assert (view.state, view.turn_done, view.step) == (life.State.IDLE, True, Step.WORK)


def test_one_that_ended_is_not_asked_for_its_turns_end_by_what_is_left_running() -> None:
    view = fold(events(SPAWNED, SESSION, PROMPT, stop(background_tasks=[{}]), (life.EXITED, {"status": 0})))
    assert not is_held_open(view, NO_SIGNS)
    assert is_held_open(view, OTHERS)
