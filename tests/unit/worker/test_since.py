"""Why a stage is not up to date: the same facts from --explain, `status`, `recheck` and the run's own lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.worker import since
from tests.project import Project
from tests.samples.scenes import API, Scene

CONFIG = """\
[orchestrate]
name = "p"
[stages.one]
command = "cat src/*.txt > out.txt"
file_dep = ["src/*.txt"]
targets = ["out.txt"]
check = "grep -q good out.txt"
"""


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_each_change_of_a_file_has_its_word(scene: Scene) -> None:
    for name in ("a", "b", "c"):
        scene.write(name, name)
    stage = replace(API, file_dep=("a", "b", "new", "gone"))
    from dodo_claude.worker import verify

    marks = verify.fingerprints(scene.root, ("a", "b", "c", "gone"))
    scene.write("b", "other")
    scene.write("new", "x")
    assert list(since.changed_files(stage, scene.root, marks)) == [
        "file 'b' changed",
        "file 'c' is no input of it any more",
        "file 'gone' is missing",
        "file 'new' joined its inputs",
    ]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"result": "failed", "reason": "no"}, "failed: no"),
        ({"result": "timed out", "reason": "timed out after 3 s"}, "failed: timed out after 3 s"),
        ({"result": "aborted", "reason": "interrupted"}, "was stopped: interrupted"),
        ({"result": "aborted", "reason": "stopped by you"}, "was stopped by you"),
        ({"result": "succeeded"}, ""),
        ({}, ""),
    ],
)
def test_how_an_attempt_ended_in_words(result: dict[str, object], words: str) -> None:
    assert since.ended(result) == words


def reasons(project: Project) -> list[str]:
    """What --explain says of the stage, without its own line."""
    return project.orchestrate("--explain").lines[1:]


def test_each_reason_is_the_fact_that_decided(project: Project) -> None:
    project.write("orchestrate.toml", CONFIG)
    project.write("src/1.txt", "bad\n")
    assert reasons(project) == ["it has not run yet"]
    failed = project.orchestrate(check=1)
    end = "failed: check `grep -q good out.txt` ended with exit status 1"
    assert reasons(project) == [f"attempt 1 {end}"]
    assert failed.said(f"one {end.replace('failed', 'FAILED')}")
    (one,) = project.status()
    assert (one["state"], one["about"]) == ("failed", end.removeprefix("failed: "))
    project.write("src/2.txt", "good\n")
    assert reasons(project) == ["file 'src/2.txt' joined its inputs", f"attempt 1 {end}"]
    project.orchestrate(check=0)
    # It was done: each change is told once, by doit's record or by the journal.
    project.write("src/3.txt", "more\n")
    assert reasons(project) == ["file 'src/3.txt' joined its inputs"]
    assert project.status()[0]["about"] == "file 'src/3.txt' joined its inputs"
    (project.root / "src/3.txt").unlink()
    project.edit("orchestrate.toml", "grep -q good", "grep -q none")
    assert project.orchestrate("--explain").said(
        "check changed: grep -q good out.txt -> grep -q none out.txt"
    )
    project.orchestrate(check=1)
    (last,) = reasons(project)
    assert last.startswith("attempt 4 failed: check `grep -q none out.txt` ended")
    project.edit("orchestrate.toml", "grep -q none", "grep -q good")
    assert reasons(project)[:2] == ["check changed: grep -q none out.txt -> grep -q good out.txt", last]


def test_what_is_forgotten_says_so(project: Project) -> None:
    project.write("orchestrate.toml", CONFIG)
    project.write("src/1.txt", "good\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.orchestrate(check=0)
    project.doit("forget", "one", check=0)
    assert reasons(project) == ["it is to be done anew (doit forget)"]


def test_what_stands_in_a_journal_is_cleaned(scene: Scene) -> None:
    attempt = scene.begin("api")
    attempt.finish({"result": "failed", "reason": f"see {scene.root}/x\x1b]0;t\x07\u202e"})
    assert since.why(API, {"agent": "claude"}, scene.root)[-1] == "attempt 1 failed: see x"
