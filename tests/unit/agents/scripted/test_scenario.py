"""Scenario files as they are read, and which turn answers a prompt."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.agents.scripted.errors import ScenarioError
from dodo_claude.agents.scripted.grammar import STEPS
from dodo_claude.agents.scripted.scenario import (
    Turn,
    check_scenario,
    fill,
    load_stage,
    pick_turn,
    read_content,
)
from tests.unit.agents.scripted.scenarios import GOOD, write


def test_every_step_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    check_scenario(path)
    stage = load_stage(path, "backend")
    assert stage.slow_start == 0.5
    assert {step.kind for step in stage.turns[0].steps} == set(STEPS)
    assert stage.turns[0].once
    assert [turn.context for turn in stage.turns] == [72, None]
    assert (stage.context, stage.compact_fails) == (40.5, ["server_error", "empty"])
    (answer,) = [step for step in stage.turns[0].steps if step.kind == "told"]
    assert [step.kind for step in answer.options["then"]] == ["say"]
    later = [step for step in stage.turns[0].steps if step.kind == "background"]
    assert [step.options["then"][0].kind for step in later] == ["say", "say"]


def test_a_subtask_falls_back_to_its_group(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    stage = load_stage(path, "research:gocui")
    assert stage.values() == {"stage": "research:gocui", "item": "gocui"}
    assert load_stage(path, "research:tview").turns[0].steps[0].value == "its own"
    with pytest.raises(ScenarioError, match=r"no entry for the stage 'ui:x'; add \[stages\.ui\]"):
        load_stage(path, "ui:x")


def test_patterns_find_the_item_as_it_is(tmp_path: Path) -> None:
    text = "[[stages.research.turns]]\nwhen = '^{item}$'\nsteps = [{ say = 'x' }]"
    turns = load_stage(write(tmp_path, text), "research:a+b").turns
    assert [pick_turn(turns, 0, prompt) for prompt in ("a+b", "aab")] == [0, None]


def test_fill_replaces_known_names_only(tmp_path: Path) -> None:
    assert (
        fill("{path} {other} {} {0} {path!r} ${path}", {"path": "/me"}) == "/me {other} {} {0} {path!r} $/me"
    )
    step = load_stage(write(tmp_path, GOOD), "backend").turns[0].steps[5]
    assert read_content(step, str(tmp_path), {"path": "/me"}) == "get('/me', {'a': 1})"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.toml: No such file or directory; name a scenario file"):
        check_scenario(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("turns", "start", "prompt", "picked"),
    [
        ([{}], 0, "a", 0),
        ([{}], 1, "a", 0),
        ([{"once": True}], 1, "a", None),
        ([{}, {}], 1, "a", 1),
        ([{}, {}], 2, "a", 1),
        ([{"when": "x"}, {"when": "y"}], 0, "y", 1),
        ([{"when": "x"}, {}], 0, "y", 1),
        ([{"when": "x"}, {"when": "y"}], 0, "z", None),
        ([{"when": "x"}], 1, "x again", 0),
        ([{"when": "x"}], 1, "z", None),
    ],
)
def test_pick_turn(turns: list[dict[str, object]], start: int, prompt: str, picked: int | None) -> None:
    assert pick_turn(tuple(Turn((), **turn) for turn in turns), start, prompt) == picked  # type: ignore[arg-type]


def test_a_file_is_looked_at_before_it_is_parsed(tmp_path: Path) -> None:
    for text, place in (("a = " + "[" * 40, "1:36"), ("a = " + "9" * 5000, "1:5")):
        (tmp_path / "s.toml").write_text(text)
        with pytest.raises(ScenarioError, match=rf"s\.toml:{place}: .*; write it as TOML"):
            check_scenario(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_bytes(b"#" * 10_000_001)
    with pytest.raises(ScenarioError, match="is larger than 10000000 bytes"):
        check_scenario(tmp_path / "s.toml")


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)],
    ids=["a pipe", "a folder", "a device"],
)
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe would be waited for."""
    make(tmp_path / "s.toml")
    with pytest.raises(
        ScenarioError, match=r"s\.toml: (is no plain file; write it as TOML|Is a directory; name)"
    ):
        check_scenario(tmp_path / "s.toml")
