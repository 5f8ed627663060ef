"""What is printed of a stage when its view has changed, and for what a person is called."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dodo_claude.machine import notify
from dodo_claude.plugin import lines
from dodo_claude.plugin.lines import Line, Seen
from dodo_claude.state.events import Ask, State, View
from tests.samples.stages import STAGE

AT_WORK = View(state=State.RUNNING, pane="%1", activity="Read a")
STARTS = View(state=State.STARTING, pane="%1")


def line(view: View, before: View | None = None, *, attempt: int = 1, quiet: bool = False) -> Line:
    seen = None if before is None else Seen.of(before, attempt)
    return lines.of_view(STAGE, attempt, view, seen, config=None, fleet=None, quiet=quiet)


def test_a_start_is_told_once_for_each_pane() -> None:
    assert line(STARTS) == Line("started in tmux session w-api")
    assert line(STARTS, STARTS) == Line("")
    assert line(replace(STARTS, pane="%2"), STARTS).text == "started in tmux session w-api"
    assert line(replace(STARTS, pane=None)) == Line("")


def test_a_person_is_called_once_for_a_dialog_and_told_of_it_again() -> None:
    asks = replace(AT_WORK, state=State.BLOCKED, blocked_on="Bash: rm")
    text = "NEEDS A PERSON: Bash: rm (dodo-claude attach api)"
    assert line(asks, AT_WORK) == Line(text, notify.NEEDS_HUMAN, "api needs a person: Bash: rm")
    assert line(replace(asks, prompts=1), asks) == Line(text)


def test_a_new_question_calls_and_an_old_one_does_not() -> None:
    asks = replace(AT_WORK, asks=(Ask("1", "why?", 0.0),))
    told = Line("ASKS: why? (dodo-claude answer api TEXT)", notify.ASKS, "api asks: why?")
    assert line(asks, AT_WORK) == told
    assert line(asks, AT_WORK, quiet=True) == told
    assert line(replace(asks, activity="Write b"), asks) == Line("Write b")


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (replace(AT_WORK, activity="Write b"), "Write b"),
        (replace(AT_WORK, activity="thinking"), ""),
        (replace(AT_WORK, activity="x" * 200), "x" * 99 + "…"),
        (replace(AT_WORK, percent=40, progress="half"), "40 % half"),
        (replace(AT_WORK, posted=("1", "api", "<output mark=1>\na\n  b\n</output mark=1>")), "api says to it: a b"),
        (AT_WORK, ""),
    ],
)  # fmt: skip
def test_what_a_worker_does_is_told_when_it_is_another_thing(view: View, text: str) -> None:
    assert line(view, AT_WORK) == Line(text)
    assert line(view, AT_WORK, quiet=True) == Line("")
