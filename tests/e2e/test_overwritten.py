"""What a real client's worker can do to what another stage made, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dodo_claude.agents.claude import hooks
from dodo_claude.state.journal import Attempt
from tests.e2e.replies import by_stage, stages, write
from tests.project import Project

from .messages_api import MessagesApi, say, tool, turns

pytestmark = [pytest.mark.client, pytest.mark.tmux]

A = "[stages.a]\nprompt = 'Make a.'\ntargets = ['out/a.txt']\ncheck = 'grep -q good out/a.txt'"
B = "[stages.b]\nprompt = 'Make b.'\ntargets = ['b.txt']\nafter = ['a']\nallowed_tools = ['Bash']"


def bash(command: str):  # type: ignore[no-untyped-def]
    return tool("Bash", command=command, description="try")


def make_a(root: Path):  # type: ignore[no-untyped-def]
    return turns(write(root / "out/a.txt", "good\n"), say("Made."))


def test_the_targets_of_another_stage_are_closed_by_the_clients_rules(
    client: Project, api: MessagesApi
) -> None:
    root = client.root
    (root / "link").symlink_to("out")
    client.write("orchestrate.toml", stages(A, B))
    target = root / "out/a.txt"
    tries = [
        write(target, "stolen\n"),
        write(root / "link/a.txt", "stolen\n"),
        tool("Read", file_path=str(target)),  # the client edits what it has read
        tool("Edit", file_path=str(target), old_string="good", new_string="stolen"),
        bash("echo stolen > out/a.txt"),
        bash("echo stolen >> link/a.txt"),
        bash("sed -i s/good/stolen/ out/a.txt"),
        bash("rm out/a.txt"),
        bash("mv b.txt out/a.txt"),
    ]
    api.reply = by_stage(
        a=make_a(root),
        b=turns(*tries, write(root / "b.txt", "b\n"), write(root / "out/note", "n"), say("Made.")),
    )
    ran = client.orchestrate()
    assert ran.said("2 stages: 2 done")
    assert target.read_text() == "good\n"
    refused = [
        request.tool_results[0]
        for request in api.requests
        if "the stage 'b'" in request.system and request.tool_results
    ]
    assert [result.is_error for result in refused] == [True, True, False, *[True] * 6, False, False]
    assert (root / "out/note").read_text() == "n"  # the folder itself is open


def test_a_program_gets_past_the_rules_and_its_stage_fails(client: Project, api: MessagesApi) -> None:
    root = client.root
    client.write("orchestrate.toml", stages(A, B))
    spoil = bash('python3 -c \'open("out/a.txt", "w").write("stolen")\'')
    api.reply = by_stage(a=make_a(root), b=turns(spoil, write(root / "b.txt", "b\n"), say("Made.")))
    ran = client.orchestrate(check=1)
    assert ran.said(
        "b FAILED: 'out/a.txt' was changed while it alone was at work, which stage 'a' had made: put back; what stood "
        "there is kept in .orchestrate/stages/a/1/overwritten/out/a.txt"
    )
    assert ran.said("2 stages: 1 done, 1 failed")
    assert (root / "out/a.txt").read_text() == "good\n"
    assert (client.log("a").dir / "1/overwritten/out/a.txt").read_text() == "stolen"
    assert "check passed" in client.run("dodo-claude", "report", check=0).out  # of a, whose bytes are back


def test_what_the_clients_own_tools_wrote_is_known(client: Project, api: MessagesApi) -> None:
    root = client.root
    client.write("orchestrate.toml", stages(A))
    client.write("old.txt", "old\n")
    cell = {
        "cell_type": "code",
        "id": "c1",
        "source": ["1"],
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    client.write("n.ipynb", json.dumps(notebook))
    api.reply = by_stage(
        a=turns(
            write(root / "out/a.txt", "good\n"),
            tool("Read", file_path=str(root / "old.txt")),
            tool("Edit", file_path=str(root / "old.txt"), old_string="old", new_string="new"),
            tool("Edit", file_path=str(root / "old.txt"), old_string="not there", new_string="new"),
            tool("Read", file_path=str(root / "n.ipynb")),
            tool("NotebookEdit", notebook_path=str(root / "n.ipynb"), cell_id="c1", new_source="2"),
            write(root / "dodo.py", "x"),
            say("Made."),
        )
    )
    client.orchestrate()
    log = client.log("a")
    wrote = [
        name
        for event in Attempt(log, log.attempts()[-1]).replay()
        if event.kind == "PostToolBatch"
        for name in hooks.written(event.data, root)
    ]
    assert wrote == ["out/a.txt", "old.txt", "n.ipynb"]


def test_an_undeclared_file_that_two_workers_wrote_is_named(client: Project, api: MessagesApi) -> None:
    root = client.root
    client.write("orchestrate.toml", stages(A, B))
    api.reply = by_stage(
        a=turns(write(root / "shared.txt", "a\n"), write(root / "out/a.txt", "good\n"), say("Made.")),
        b=turns(
            tool("Read", file_path=str(root / "shared.txt")),
            write(root / "shared.txt", "b\n"),
            write(root / "b.txt", "b\n"),
            say("Made."),
        ),
    )
    ran = client.orchestrate()
    assert ran.said(
        "note: 'shared.txt' is no stage's target and was changed by a and b: what the last one wrote stands"
    )
    assert "  besides its targets: shared.txt\n" in client.run("dodo-claude", "log", "a", check=0).out
    assert "besides its targets: shared.txt" in client.run("dodo-claude", "report", check=0).out
