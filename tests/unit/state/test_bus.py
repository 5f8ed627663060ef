"""The bus and its readers: each event once, whole lines only."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.state.bus import Bus, Tail, telling
from dodo_claude.state.events import Event
from dodo_claude.state.journal import Attempt, StageLog


@pytest.fixture
def attempt(tmp_path: Path) -> Attempt:
    return StageLog(tmp_path, "a").begin()


def kinds(told: list[Event]) -> list[str]:
    return [event.kind for event in told]


def test_one_attempt_is_read_as_it_grows(tmp_path: Path, attempt: Attempt) -> None:
    other = StageLog(tmp_path, "b").begin()
    bus = Bus(tmp_path)
    assert bus.read_one(attempt) == []
    attempt.record("one")
    other.record("elsewhere")
    assert [(told.stage, told.attempt, told.event.kind) for told in bus.read_one(attempt)] == [
        ("a", 1, "one")
    ]
    attempt.record("two")
    with attempt.journal.open("ab") as stream:
        stream.write(b'{"at": 1, "kind": "half')
    assert kinds([told.event for told in bus.read_one(attempt)]) == ["two"]
    assert kinds([told.event for told in bus.read()]) == ["elsewhere"]


def test_what_was_passed_over_is_not_told(tmp_path: Path, attempt: Attempt) -> None:
    bus = Bus(tmp_path)
    bus.pass_over(attempt)  # there is no journal yet
    attempt.record("one")
    bus.pass_over(attempt)
    attempt.record("two")
    assert kinds([told.event for told in bus.read_one(attempt)]) == ["two"]


def test_a_tail_begins_with_a_whole_line_and_goes_on(attempt: Attempt) -> None:
    assert Tail(attempt, 100).read() == []
    for number in range(50):
        attempt.record(f"k{number}", text="x" * 20)
    whole, tail = Tail(attempt, 1_000_000), Tail(attempt, 200)
    assert kinds(whole.read()) == [f"k{number}" for number in range(50)]
    found = kinds(tail.read())
    assert 1 <= len(found) < 5
    assert found[-1] == "k49"
    with attempt.journal.open("ab") as stream:
        stream.write(b'{"at": 1, "kind": "half')
    assert tail.read() == []
    with attempt.journal.open("ab") as stream:
        stream.write(b'", "data": {}}\n')
    assert kinds(tail.read()) == kinds(whole.read()) == ["half"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"tool_name": "Bash", "tool_input": {"command": "make", "description": "x"}}, "Bash make"),
        ({"percent": 40, "text": "half"}, "40 % half"),
        ({"result": "failed", "reason": "no"}, "failed no"),
        ({"tool_name": 3, "tool_input": "odd"}, ""),
        ({}, ""),
        ({"check": "make test"}, "make test"),
    ],
)
def test_what_tells_most_of_an_event(data: dict[str, object], text: str) -> None:
    assert telling(Event("x", 1.0, data)) == text
