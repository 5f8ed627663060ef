"""What an attempt was made from and what of it is verified, by its events."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest

from dodo_claude.state import basis
from dodo_claude.state.basis import Basis
from dodo_claude.state.events import BEGUN, CHECKED, PHASE, VERIFIED, Event
from dodo_claude.state.journal import StageLog

MARK, OTHER = ["file", 1, 2], ["file", 3, 4]
BEGIN = {
    "definition": {"prompt": "p"},
    "inputs": {"a": MARK, "b": MARK},
    "nonce": "n",
    "verified": [{"mark": "1"}],
}


def told(*events: tuple[str, dict[str, object]]) -> Basis:
    return reduce(basis.after, (Event(kind, 1.0, data) for kind, data in events), Basis())


def test_what_each_event_makes_of_it() -> None:
    begun = told((BEGUN, BEGIN))
    assert (begun.inputs, begun.phases, begun.problems, begun.nonce) == (
        {"a": MARK, "b": MARK},
        ({"mark": "1"},),
        None,
        "n",
    )
    later = told(
        (BEGUN, BEGIN),
        (CHECKED, {"inputs": {"b": OTHER}, "protected": {"c": MARK}}),
        (VERIFIED, {"problems": ["no"]}),
        (PHASE, {"mark": "2"}),
        ("PreToolUse", {"inputs": {"a": OTHER}}),
    )
    assert later.inputs == {"a": MARK, "b": OTHER}
    assert later.phases == ({"mark": "1"}, {"mark": "2"})
    assert later.problems == ("no",)
    assert later.begun == BEGIN
    assert told((BEGUN, BEGIN), (VERIFIED, {"problems": ["no"]}), (VERIFIED, {})).problems == ()


@pytest.mark.parametrize("odd", [None, 1, "x", [], {}])
def test_odd_events_of_a_stranger_are_as_if_there_were_none(odd: object) -> None:
    data = {"inputs": odd, "verified": odd, "nonce": [odd], "definition": odd, "problems": odd}
    found = told((BEGUN, data), (CHECKED, data), (VERIFIED, data))
    assert found == Basis(begun=data, problems=())
    assert (found.nonce, found.table("definition"), found.table("none")) == (None, {}, {})


def test_of_an_attempt_on_disk(tmp_path: Path) -> None:
    attempt = StageLog(tmp_path, "one").begin()
    assert basis.of(attempt) == Basis()
    attempt.record(BEGUN, **BEGIN)
    attempt.record("PreToolUse", tool_name="Bash")
    attempt.record(PHASE, mark="2")
    assert basis.of(attempt) == told((BEGUN, BEGIN), (PHASE, {"mark": "2"}))
