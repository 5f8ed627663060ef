"""The run's last line: each stage of the run is in its sums, whatever became of it."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from doit.exceptions import TaskFailed
from doit.task import Task

from dodo_claude.plugin.reporter import StageReporter
from dodo_claude.plugin.tasks import Fault, StageAction, StageStopped
from dodo_claude.state.events import State, View
from tests.project import Project
from tests.samples.stages import STAGE

CONFIG = """\
[orchestrate]
name = "p"
[stages.good]
command = "echo x > good.txt"
targets = ["good.txt"]
[stages.skip]
command = "echo x > skip.txt"
targets = ["skip.txt"]
[stages.bad]
command = "false"
targets = ["b a.txt"]
[stages."each"]
foreach = ["xy"]
file_dep = ["b a.txt"]
after = ["bad"]
command = "echo x > each.txt"
targets = ["each.txt"]
[stages.last]
command = "echo x > last.txt"
file_dep = ["each.txt"]
after = ["each"]
targets = ["last.txt"]
"""


def test_no_stage_is_left_out_of_the_sums(project: Project) -> None:
    project.write("orchestrate.toml", CONFIG)
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.doit("ignore", "skip", check=0)
    ran = project.orchestrate(check=1)
    assert ran.said("5 stages: 1 done, 1 ignored, 1 failed, 2 not run")
    (each,) = [line for line in ran.lines if line.startswith("each:") and "not run" in line]
    assert each.endswith("not run: needs bad")
    assert ran.said("last not run: needs each:xy")
    report = json.loads(project.run("dodo-claude", "report", "--json", check=0).out)
    states = {"done": 1, "ignored": 1, "failed": 1, "not run": 2}
    assert report["totals"]["states"] == states
    assert "skip: ignored (doit forget undoes it)" in project.orchestrate("--explain").lines
    project.edit("orchestrate.toml", 'command = "false"', "command = \"echo x > 'b a.txt'\"")
    project.orchestrate(check=0)
    project.edit("orchestrate.toml", "echo x > 'b", "echo y > 'b")
    lines = project.orchestrate("--explain").lines
    assert [line for line in lines if "again after" in line] == [
        "each:xy: looked at again after bad",
        "last: looked at again after each:xy",
    ]


def test_paths_of_the_project_are_told_as_in_it() -> None:
    out = io.StringIO()
    reporter = StageReporter(out, {})
    reporter.config = SimpleNamespace(root=Path("/home/me/p"), notify=())
    task = Task("one", [Fault("x")])
    reporter.add_failure(task, TaskFailed("/home/me/p/.orchestrate/stages/one/1/x: Permission denied"))
    reporter.add_failure(task, StageStopped("/home/me/p/a.txt: is gone"))
    lines = [line.split("  ", 2)[2].strip() for line in out.getvalue().splitlines()]
    assert lines == [
        "FAILED: .orchestrate/stages/one/1/x: Permission denied",
        "stopped: a.txt: is gone",
    ]


def test_a_worker_that_was_taken_over_has_worked_since_its_attempt_began() -> None:
    out = io.StringIO()
    reporter = StageReporter(out, {})
    task = Task("api", [StageAction(STAGE, cast(Any, None), cast(Any, None))])
    reporter.execute_task(task)
    view = View(state=State.RUNNING, pane="%1", began=time.time() - 600)
    for activity in ("Read a", "Write a"):
        reporter.progress(STAGE, 2, replace(view, activity=activity))
    reporter.add_success(task)
    assert "  done in 10 min" in out.getvalue()
