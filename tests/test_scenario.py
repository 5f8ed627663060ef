"""Scenario files: what is accepted, what is said of the rest, and which turn answers a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dodo_claude.scenario import (
    STEPS,
    ScenarioError,
    Turn,
    check_scenario,
    fill,
    load_stage,
    pick_turn,
    read_content,
    stages_in,
)

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[stages.backend]
slow_start = 0.5
usage = { input_tokens = 1000, output_tokens = 20 }
[[stages.backend.turns]]
when = "profile"
once = true
steps = [
  { say = "Reading the contract." },
  { sleep = 0.5 },
  { capture = "path", from_prompt = 'GET (/\\S+)' },
  { write = "api.py", from = "api.txt" },
  { append = "notes.md", text = "{path} {untouched}" },
  { edit = "api.py", old = "x", new = "" },
  { bash = "true" },
  { permission = "Bash", command = "make install" },
  { permission = "Write", path = "a", text = "b" },
  { background = { seconds = 2, then = [{ say = "ready" }] } },
  { background = { seconds = 2, then = { say = "ready" } } },
  { fail = "rate_limit", text = "no more" },
  { exit = 3 }, { kill = 9 }, { hang = true }, { ignore_sigterm = true }, { spawn = "sleep 999" },
]
[[stages.backend.turns]]
steps = [{ say = "Again." }]
[stages.research]
steps = [{ say = "{item}" }]
["stages"."research:tview"]
steps = [{ say = "its own" }]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "scenario.toml"
    path.write_text(text)
    (folder / "api.txt").write_text("get('{path}', {'a': 1})")
    return path


def test_every_step_is_accepted(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    check_scenario(path)
    assert stages_in(path) == ["backend", "research", "research:tview"]
    stage = load_stage(path, "backend")
    assert stage.slow_start == 0.5
    assert {step.kind for step in stage.turns[0].steps} == set(STEPS)
    assert stage.turns[0].once
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
    step = load_stage(write(tmp_path, GOOD), "backend").turns[0].steps[3]
    assert read_content(step, str(tmp_path), {"path": "/me"}) == "get('/me', {'a': 1})"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = \nb", ":1:5: Invalid value; write it as TOML"),
        ("[stage.a]\nsteps = []", ": unknown key 'stage'; did you mean 'stages'?"),
        ("[stages]", ": stages: no stage to play; add a table [stages.NAME] with steps = [...]"),
        (
            "[stages.a]",
            ": stages.a: it needs either turns or steps; write steps = [...] for a stage of one turn",
        ),
        (
            "[stages.a]\nsteps = []",
            """: stages.a.steps: not a list of steps; write steps = [{ say = "…" }]""",
        ),
        (
            "[stages.a]\nsteps = [{ wirte = 'x' }]",
            ": stages.a.steps[0]: no known step: 'wirte'; did you mean 'write'?",
        ),
        (
            "[stages.a]\nsteps = [{ say = 'x', text = 'y' }]",
            ": stages.a.steps[0]: unknown key 'text'; known here: say",
        ),
        (
            "[stages.a]\nsteps = [{ say = 'x', sleep = 1 }]",
            ": stages.a.steps[0]: a step does one thing, here say, sleep; known here: " + ", ".join(STEPS),
        ),
        (
            "[stages.a]\nsteps = [{ sleep = '1s' }]",
            ": stages.a.steps[0].sleep: '1s' is not allowed here; write a number of seconds, 0 or more",
        ),
        (
            "[stages.a]\nsteps = [{ write = 'x' }]",
            ": stages.a.steps[0]: a step 'write' takes text or from; give exactly one of the two",
        ),
        (
            "[stages.a]\nsteps = [{ capture = 'p' }]",
            ": stages.a.steps[0]: a step 'capture' without 'from_prompt'",
        ),
        ("[stages.a]\nsteps = [{ capture = 'p', from_prompt = 'x' }]", "put the part to capture into ( )"),
        (
            "[stages.a]\nsteps = [{ fail = 'limit' }]",
            "'limit' is not allowed here; write one of rate_limit, server_error",
        ),
        (
            "[stages.a]\nsteps = [{ hang = false }]",
            "False is not allowed here; write true, or leave the step out",
        ),
        ("[stages.a]\nsteps = [{ permission = 'Bash' }]", "permission = 'Bash' takes a command"),
        (
            "[stages.a]\nsteps = [{ background = { seconds = 1, then = [{ sya = '' }] } }]",
            ": stages.a.steps[0].background.then[0]: no known step: 'sya'; did you mean 'say'?",
        ),
        (
            "[stages.a]\nno_hooks = 1\nsteps = [{ say = '' }]",
            ": stages.a.no_hooks: 1 is not allowed here; write true or false",
        ),
        (
            "[[stages.a.turns]]\nwhen = '('\nsteps = [{ say = '' }]",
            ": stages.a.turns[0].when: '(' is not allowed here; correct the regular expression",
        ),
        ("[[stages.a.turns]]\nwehn = ''\nsteps = [{ say = '' }]", "unknown key 'wehn'; did you mean 'when'?"),
        (
            "[stages.a]\nsteps = [{ write = 'x', from = 'no.txt' }]",
            "'no.txt' is not allowed here; there is no such file",
        ),
    ],
)
def test_a_problem_is_named_with_place_fact_and_remedy(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ScenarioError) as raised:
        check_scenario(path)
    assert len(raised.value.problems) == 1
    assert raised.value.problems[0].startswith(str(path))
    assert problem in raised.value.problems[0]
    assert "\n" not in raised.value.problems[0]


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "[stages.a]\nsteps = [{ say = 1 }, { exit = 256 }]\n[stages.b]\nslow = 1")
    with pytest.raises(ScenarioError) as raised:
        check_scenario(path)
    assert len(raised.value.problems) == 4


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
