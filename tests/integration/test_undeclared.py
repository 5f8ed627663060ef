"""Files that no stage declares: who changed them is told by the run, its report and `log`."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.project import Project

from .scenes import at_gate, configure, gate, open_gate, play, write


def report(project: Project, stage: str) -> list[dict[str, object]]:
    told = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    return next(each["undeclared"] for each in told["stages"] if each["name"] == stage)  # type: ignore[no-any-return]


def known(path: str) -> dict[str, object]:
    return {"path": path, "known": True, "beside": []}


@pytest.mark.tmux
def test_two_workers_that_wrote_one_file_are_told_of(project: Project) -> None:
    configure(project, {"a": {"targets": ["a.txt"]}, "b": {"targets": ["b.txt"]}})
    play(
        project,
        {
            "a": [[gate("a"), write("shared.txt", "a\n"), write("a.txt")]],
            "b": [[gate("b"), write("shared.txt", "b\n"), write("own.txt"), write("b.txt")]],
        },
    )
    with project.started() as live:
        at_gate(project, "a")
        at_gate(project, "b")
        open_gate(project, "a")
        project.wait_for((project.root / "a.txt").exists, "a")
        open_gate(project, "b")
        assert live.wait() == 0
    said = (
        "note: 'shared.txt' is no stage's target and was changed by a and b: what the last one wrote stands"
    )
    assert said in live.text
    assert report(project, "a") == [known("shared.txt")]
    assert report(project, "b") == [known("own.txt"), known("shared.txt")]
    assert "besides its targets: own.txt, shared.txt" in project.run("dodo-claude", "report", check=0).out
    markdown = project.run("dodo-claude", "report", "--markdown", check=0).out
    assert "Besides its targets it changed, or may have:\n\n- `own.txt`\n- `shared.txt`" in markdown
    assert "Besides its targets" in project.run("dodo-claude", "report", "--html=-", check=0).out
    assert "  besides its targets: own.txt\n" in project.run("dodo-claude", "log", "b", check=0).out


def test_in_a_repository_what_programs_changed_is_seen(project: Project) -> None:
    subprocess.run(["git", "init", "-q", str(project.root)], check=True)
    stages = {
        "a": {"command": "echo a > a.txt; echo a > shared.txt; mkdir -p __pycache__; echo x > __pycache__/x", "targets": ["a.txt"]},
        "b": {"command": "echo b > b.txt; echo b > shared.txt; echo b > 'b c'", "targets": ["b.txt"], "after": ["a"]},
    }  # fmt: skip
    configure(project, stages)
    project.approve()  # else its question is part of the first stage's time
    ran = project.orchestrate()
    assert ran.said(
        "note: 'shared.txt' is no stage's target and was changed by a and b: what the last one wrote stands"
    )
    assert [each["path"] for each in report(project, "b")] == ["b c", "shared.txt"]
    assert [each["path"] for each in report(project, "a")] == ["shared.txt"]
    log = project.run("dodo-claude", "log", "a", check=0).out
    assert "  besides its targets: shared.txt (changed while it was at work)\n" in log
    # What is up to date changed nothing.
    assert "note" not in project.orchestrate().out


def test_elsewhere_programs_leave_no_trace_and_nothing_is_claimed(project: Project) -> None:
    configure(project, {"a": {"command": "echo a > a.txt; echo a > shared.txt", "targets": ["a.txt"]}})
    project.orchestrate()
    assert report(project, "a") == []
    assert "besides" not in project.run("dodo-claude", "log", "a", check=0).out


def test_a_report_and_a_result_of_an_older_version_are_read(project: Project) -> None:
    configure(project, {"a": {"command": "echo a > a.txt", "targets": ["a.txt"]}})
    project.orchestrate()
    for path in [
        *project.root.glob(".orchestrate/runs/*/report.json"),
        project.log("a").dir / "1/result.json",
    ]:
        told = json.loads(path.read_text())
        for each in told.get("stages", [told]):
            del each["undeclared"]
        path.write_text(json.dumps(told))
    assert report(project, "a") == []
    assert project.run("dodo-claude", "log", "a", check=0).out.startswith("a: attempt 1 succeeded")
    assert project.orchestrate().said("1 stage: 1 up to date")
