"""A project whose state an earlier version wrote is gone on with as if this one had: data/state-0.1.0.tar.gz.

Its stages are scripted: plain, of a prompt_file, in phases, of a foreach, a command, and one that failed twice.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.project import Project

OLD = Path(__file__).parents[1] / "data" / "state-0.1.0.tar.gz"
DONE = ("api", "page", "each:in/a.txt", "each:in/b.txt", "phased", "count")


@pytest.fixture
def old(project: Project) -> Project:
    with tarfile.open(OLD) as archive:
        archive.extractall(project.root, filter="data")
    return project


def test_nothing_of_it_runs_again_but_what_failed(old: Project) -> None:
    before = {name: old.attempts(name) for name in DONE}
    ran = old.orchestrate("--trust", check=1)
    assert ran.said("7 stages: 6 up to date, 1 failed")
    assert ran.said("attempt 2 failed: check `grep -q good tried.txt` ended with exit status 1")
    assert {name: old.attempts(name) for name in DONE} == before
    assert old.attempts("flaky") == 3


def test_what_it_tells_of_itself_is_read(old: Project) -> None:
    states = {stage["name"]: stage["state"] for stage in old.status()}
    assert states == {**dict.fromkeys(DONE, "done"), "flaky": "failed"}
    log = old.run("dodo-claude", "log", "flaky", check=0)
    assert "Tried." in log.out
    for path in sorted(old.root.glob(".orchestrate/runs/*/report.json")):
        of_it = ("--run", path.parent.name)
        assert "7 stages: " in old.run("dodo-claude", "report", *of_it, check=0).out
        assert "<svg" in old.run("dodo-claude", "report", "--html", "-", *of_it, check=0).out
    assert "outcome" in old.run("dodo-claude", "events", check=0).out


def test_why_a_stage_would_run_is_known_from_it(old: Project) -> None:
    old.write("api.py", "def other(): pass\n")
    old.approve()
    told = old.orchestrate("--explain").out
    assert "target 'api.py' was altered since the stage made it" in told
    assert "file 'api.py' changed" in told
    assert "page: up to date" in told
