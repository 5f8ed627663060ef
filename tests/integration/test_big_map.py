"""A map over 60 files (200 with DODO_CLAUDE_LONG) with eight slots and a reduce over all results, by scripted workers."""

from __future__ import annotations

import itertools
import os
import re

import pytest

from tests.integration.scenes import events
from tests.project import Project

FILES = 200 if os.environ.get("DODO_CLAUDE_LONG") else 60
SLOTS = 8

# A file in the middle, and the last one.
ONE, LAST = "037", f"{FILES - 1:03}"

STAGES = """
[orchestrate]
max_workers = 8
worker_memory = "0MB"
budget = { turns = 100000, minutes = 100 }
[defaults]
agent = "scripted"
[stages.map]
foreach = { glob = "pages/**/*.txt" }
prompt = "Count the words. Write counts/{{ item | stem }}.txt.\\n{{ files[item] }}"
targets = ["counts/{{ item | stem }}.txt"]
allowed_tools = ["Edit(./counts/{{ item | stem }}.txt)", "Bash"]
[stages.reduce]
prompt = "Add up:{% for path, text in files.glob('counts/*.txt') %}\\n{{ text }}{% endfor %}"
targets = ["total.txt"]
"""
# The word comes out of the prompt, which has the text of the worker's own file; the reduce has the last one's. The first
# workers wait until there are as many as there are slots: short ones could be over one after the other.
SCENARIO = """
[stages.map]
steps = [
    { capture = "name", from_prompt = 'Write counts/(page-\\d+)\\.txt' },
    { capture = "word", from_prompt = 'the word is (\\w+)' },
    { bash = "mkdir -p at; touch at/{name}; while [ $(ls at | wc -l) -lt SLOTS ]; do sleep 0.05; done" },
    { write = "counts/{name}.txt", text = "{name} {word}\\n" },
]
[stages.reduce]
steps = [
    { capture = "changed", from_prompt = 'page-ONE (\\w+)' },
    { capture = "last", from_prompt = 'page-LAST (\\w+)' },
    { write = "total.txt", text = "{changed} {last}\\n" },
]
"""


def states(lines: list[str], word: str) -> list[str]:
    return [line.split(f" {word}")[0] for line in lines if re.search(rf"^\S+ {word}", line)]


@pytest.mark.tmux
def test_one_changed_file_of_many_costs_its_worker_and_the_reduce(project: Project) -> None:
    project.write("orchestrate.toml", STAGES)
    project.write(
        "scenario.toml", SCENARIO.replace("ONE", ONE).replace("LAST", LAST).replace("SLOTS", str(SLOTS))
    )
    for number in range(FILES):
        project.write(f"pages/{number % 10}/page-{number:03}.txt", f"the word is w{number}\n")
    project.approve()
    ran = project.run("doit", "orchestrate", check=0, timeout=300)
    assert f"{FILES + 1} stages: {FILES + 1} done" in ran.lines[-2]
    assert project.read("total.txt") == f"w37 w{FILES - 1}\n"
    # Never more at work at once than there are slots, and at times as many.
    changes = []
    for number in range(FILES):
        stage = f"map:pages/{number % 10}/page-{number:03}.txt"
        changes += [(event.at, 1) for event in events(project, stage, "spawned")]
        changes += [(event.at, -1) for event in events(project, stage, "verified")]
    working = list(itertools.accumulate(change for _, change in sorted(changes)))
    assert max(working) == SLOTS

    ran = project.run("doit", "orchestrate", check=0)
    assert f"{FILES + 1} stages: {FILES + 1} up to date" in ran.lines[-1]

    project.write(f"pages/7/page-{ONE}.txt", "the word is other\n")
    ran = project.run("doit", "orchestrate", check=0)
    assert states(ran.lines, "done") == [f"map:pages/7/page-{ONE}.txt", "reduce"]
    assert f"{FILES + 1} stages: 2 done, {FILES - 1} up to date" in ran.lines[-2]
    assert project.read("total.txt") == f"other w{FILES - 1}\n"
    assert project.attempts("map:pages/0/page-000.txt") == 1
    assert project.sessions() == []
