"""The run's last line: each stage of the run is in its sums, whatever became of it."""

from __future__ import annotations

import json

from tests.project import Project

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
