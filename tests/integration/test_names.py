"""Names of files and folders that are no UTF-8: what can run does, of the rest the place is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from tests.project import Project

ODD = os.fsdecode(b"caf\xe9")

STAGES = """
[stages.made]
command = "printf x > link/a.txt"
targets = ["link/a.txt"]
cwd = "."
protect = ["in/*"]
[stages.work]
agent = "scripted"
prompt = "Write it."
file_dep = ["link/a.txt"]
targets = ["b.txt"]
"""
SCENARIO = """
[[stages.work.turns]]
steps = [{ write = "b.txt", text = "b" }, { say = "done" }]
"""


def test_a_project_whose_folder_has_such_a_name(project: Project) -> None:
    project = replace(project, root=project.root / ODD)
    (project.root / ODD).mkdir(parents=True)
    (project.root / "link").symlink_to(ODD)
    project.write("orchestrate.toml", STAGES)
    project.write("scenario.toml", SCENARIO)
    project.write(f"in/{ODD}.txt", "x")
    ran = project.orchestrate()
    assert (ran.code, ran.err) == (0, "")
    assert "2 done" in ran.out
    assert "2 up to date" in project.orchestrate().out
    for command in (["status"], ["log", "work"], ["report", "--html", "r.html"]):
        said = project.run("dodo-claude", *command)
        assert (said.code, said.err) == (0, ""), command
    assert json.loads(project.run("dodo-claude", "report", "--json").out)["stages"]


def test_a_glob_that_finds_such_a_file(project: Project) -> None:
    project.write(f"in/{ODD}.txt", "x")
    project.write(
        "orchestrate.toml", '[stages.a]\ncommand = "cat in/* > a"\ntargets = ["a"]\nfile_dep = ["in/*.txt"]\n'
    )
    place = "orchestrate.toml:4:13: stages.a.file_dep[0]: 'in/*.txt' finds 'in/caf\\udce9.txt', whose name is not UTF-8"
    for ran in (
        project.run("dodo-claude", "check"),
        project.doit("orchestrate"),
        project.doit("orchestrate", "--explain"),
    ):
        assert ran.code > 0
        assert place in ran.out + ran.err
        assert "Traceback" not in ran.out + ran.err
