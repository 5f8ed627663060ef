"""Words and marks of how stages stand: one of each, on all surfaces."""

from __future__ import annotations

from dodo_claude.dashboard import desk
from dodo_claude.machine import server
from dodo_claude.report import board, markup, record, status
from dodo_claude.state.events import State
from dodo_claude.text import states
from dodo_claude.worker.worker import _ASKS, _BLOCKED, _ENDED


def test_each_state_has_a_mark_of_its_own() -> None:
    assert {*states.STATES, *states.NOW} == {*states.MARKS}
    assert len({*states.MARKS.values()}) == len(states.MARKS)
    assert all(len(mark) == 1 for mark in states.MARKS.values())


def test_page_and_dashboard_and_window_have_the_same() -> None:
    stage = status.StageStatus(
        "a", None, None, "", "", None, "", None, "", 0.0, 0, None, None, "", None, None, ()
    )
    for state in record.STATES:
        assert f">{states.MARKS[state]} <" in markup.mark(state)
    for state in states.NOW:
        line = desk.title(status.replace(stage, state=state), 80)[0]
        assert line[0][0] == f"{states.MARKS[state]} "
        assert state in board.LOOKS
    assert (f"{states.MARKS[states.BLOCKED]} ", f"{states.MARKS[states.ASKS]} ") == (_BLOCKED, _ASKS)
    assert f"[{states.MARKS[states.ASKS]}{states.MARKS[states.BLOCKED]}] *" in server.WAITING
    assert _ENDED[True] == f"{states.MARKS[states.DONE]} "


def test_a_workers_states_have_the_same_words() -> None:
    assert {State.RUNNING.value, State.IDLE.value, State.BLOCKED.value, State.PAUSED.value} < {
        *states.AT_WORK
    }
