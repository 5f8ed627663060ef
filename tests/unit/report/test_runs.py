"""Which runs there were: told by their folders."""

from __future__ import annotations

import os

import pytest

from dodo_claude.report import gather, runs
from dodo_claude.text.errors import DodoClaudeError
from tests.samples.scenes import Scene


def plan(scene: Scene, run: str, started: str, chosen: str = "") -> None:
    folder = scene.state / "runs" / run
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text(f'[run]\nid = "{run}"\nstarted = "{started}"\n{chosen}\n[stages]\n')


def test_the_runs_in_the_order_of_their_starts(scene: Scene) -> None:
    plan(scene, "b", "2026-01-01T12:00:00.500+00:00")
    plan(scene, "a", "2026-01-01T14:00:01.250+02:00")
    plan(scene, "old", "2026-01-01T11:00:00+0000", 'chosen = ["api"]')
    assert [span.id for span in runs.runs(scene.state)] == ["old", "b", "a"]
    old, before, last = runs.runs(scene.state)
    assert before.until == last.started == before.started + 0.75
    assert runs.find(scene.state, None) == last
    assert runs.find(scene.state, "old") == old
    assert runs.chosen(scene.state, "old") == {"api"}
    assert runs.chosen(scene.state, "b") is None
    assert runs.chosen(scene.state, "last") is None


def test_the_chosen_ones_of_a_large_plan_need_no_reading_of_it_all(scene: Scene) -> None:
    plan(scene, "a", "2026-01-01T12:00:00+00:00", 'chosen = ["api", "[stages."]')
    path = scene.state / "runs/a/plan.toml"
    path.write_text(path.read_text() + "what follows = is not even TOML\n")
    assert runs.chosen(scene.state, "a") == {"api", "[stages."}


def test_a_plan_that_says_no_time_has_that_of_its_file(scene: Scene) -> None:
    plan(scene, "a", "yesterday")
    path = scene.state / "runs/a/plan.toml"
    os.utime(path, (500, 500))
    assert runs.runs(scene.state)[0].started == 500.0


def test_a_run_that_is_not_there(scene: Scene) -> None:
    with pytest.raises(DodoClaudeError, match=r"^report: nothing has run here yet \(doit orchestrate\)$"):
        runs.find(scene.state, None)
    plan(scene, "a", "2026-01-01T12:00:00+00:00")
    with pytest.raises(DodoClaudeError, match=r"^report: no run 'x' \(the last ones: a\)$"):
        runs.find(scene.state, "x")


def test_journals_without_a_plan_are_told_of(scene: Scene) -> None:
    scene.done("api", a_py="x\n")
    span = runs.find(scene.state, None)
    assert gather.report(scene.config, span).stages[0].state == "done"
