"""What is said of a scenario file that breaks the grammar."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.agents.scripted.errors import ScenarioError
from dodo_claude.agents.scripted.grammar import STEPS
from dodo_claude.agents.scripted.scenario import check_scenario
from tests.unit.agents.scripted.scenarios import write


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
            ": stages.a.steps[0]: a step 'capture' takes from_prompt or from_told; give exactly one of the two",
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
        (
            "[stages.a]\nsteps = [{ capture = 'p', from_prompt = '(x)', from_told = '(x)' }]",
            "takes from_prompt or from_told; give exactly one of the two",
        ),
        (
            "[stages.a]\nsteps = [{ told = 'x' }]",
            ": stages.a.steps[0]: a step 'told' without 'then'; add then",
        ),
        (
            "[stages.a]\nsteps = [{ told = 'x', then = [{ sya = '' }] }]",
            ": stages.a.steps[0].then[0]: no known step: 'sya'; did you mean 'say'?",
        ),
        (
            "[stages.a]\ncontext = 101\nsteps = [{ say = '' }]",
            ": stages.a.context: 101 is not allowed here; write a number from 0 to 100",
        ),
        (
            "[[stages.a.turns]]\ncontext = '70%'\nsteps = [{ say = '' }]",
            ": stages.a.turns[0].context: '70%' is not allowed here; write a number from 0 to 100",
        ),
        (
            "[stages.a]\ncompact_fails = ['never']\nsteps = [{ say = '' }]",
            ": stages.a.compact_fails: ['never'] is not allowed here; write a list of rate_limit, server_error,",
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
