"""Phases on the scripted agent in real tmux: one worker, several prompts; kills between them; what a rerun does."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from dodo_claude.state.journal import Attempt
from tests.integration.hooks import failures, hook_file
from tests.integration.scenes import (
    Step,
    at_gate,
    bash,
    configure,
    events,
    gate,
    kill,
    launch,
    open_gate,
    patch,
    play,
    result,
    results,
    toml,
    wait_event,
    worker_pid,
    write,
)
from tests.project import Project

pytestmark = pytest.mark.tmux

PLAN = {"prompt": "Plan it.", "targets": ["plan.txt"]}
MAKE = {"prompt": "Make it.", "targets": ["made.txt"], "check": "grep -q good made.txt"}
SUMMARY = [{"say": "The plan is in plan.txt."}]
Turn = tuple[str, list[Step]]


def perform(project: Project, *turns: Turn, **keys: object) -> None:
    """A scenario of one stage: what fits a prompt, and what is done then. Each is written into log.txt."""
    lines = ["[stages.one]", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    lines.append(f"turns = {toml([{'when': when, 'steps': steps} for when, steps in turns])}")
    project.write("scenario.toml", "\n".join(lines) + "\n")


def did(word: str, *steps: Step) -> list[Step]:
    return [{"say": word}, bash(f"echo {word} >> log.txt"), *steps]


PLANS: Turn = ("Plan it", did("plan", write("plan.txt", "first\n")))
MAKES: Turn = ("Make it|cut off", did("make", write("made.txt", "good\n")))
SUMS_UP: Turn = ("Answer with a summary", did("summary", *SUMMARY))


def phased(project: Project, *phases: Mapping[str, object], **keys: object) -> None:
    configure(project, {"one": {"phases": list(phases), **keys}})


def log(project: Project) -> list[str]:
    return project.read("log.txt").split()


def kinds(project: Project) -> list[str]:
    return [event.kind for event in events(project, "one")]


WAYS: dict[str, tuple[Mapping[str, object], list[str]]] = {
    "plain": ({}, ["plan", "make"]),
    "compact": ({"compact": "the plan\nand the names"}, ["plan", "make"]),
    "handover": ({"handover": True}, ["plan", "summary", "make"]),
}


@pytest.mark.parametrize("way", WAYS)
def test_phases_follow_one_another_in_one_worker(project: Project, way: str) -> None:
    keys, wanted = WAYS[way]
    phased(project, PLAN, {**MAKE, **keys})
    perform(project, PLANS, SUMS_UP, MAKES)
    ran = project.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert log(project) == wanted
    assert len(events(project, "one", "spawned")) == 1
    ids = list(dict.fromkeys(event.data["session_id"] for event in events(project, "one", "Stop")))
    assert len(ids) == (2 if way == "handover" else 1)
    if way == "compact":
        (compacted,) = events(project, "one", "PreCompact")
        assert compacted.data["custom_instructions"] == "the plan\nand the names"
    assert project.orchestrate().said("1 stage: 1 up to date")
    assert project.processes() == []
    assert project.sessions() == []


# -- killed between two phases


def die_at(project: Project, kind: str, *, pasted: bool) -> None:
    """The first run is killed when it has written that event down, or has then pasted what it tells of."""
    flag = project.home / "died"
    patch(
        project,
        "import os, signal\n"
        "from pathlib import Path\n"
        "from dodo_claude.worker.worker import Worker\n"
        f"flag, kind, pasted = Path({str(flag)!r}), {kind!r}, {pasted}\n"
        "note, paste = Worker._note, Worker._paste\n"
        "def die_if(true):\n"
        "    if true and not flag.exists():\n"
        "        flag.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "def noted(self, what, **data):\n"
        "    note(self, what, **data)\n"
        "    self.noted = what\n"
        "    die_if(what == kind and not pasted)\n"
        "def did_paste(self, texts):\n"
        "    paste(self, texts)\n"
        "    die_if(getattr(self, 'noted', '') == kind and pasted)\n"
        "Worker._note, Worker._paste = noted, did_paste\n",
    )


MOMENTS = [
    ("plain", "phase", False),
    ("plain", "given", False),
    ("plain", "given", True),
    ("compact", "phase", False),
    ("compact", "cleared", False),
    ("compact", "cleared", True),
    ("compact", "given", False),
    ("handover", "summary", False),
    ("handover", "summary", True),
    ("handover", "cleared", False),
    ("handover", "cleared", True),
    ("handover", "given", True),
]


@pytest.mark.parametrize(("way", "kind", "pasted"), MOMENTS)
def test_a_run_killed_between_two_phases_is_gone_on_with(
    project: Project, way: str, kind: str, pasted: bool
) -> None:
    keys, wanted = WAYS[way]
    phased(project, PLAN, {**MAKE, **keys})
    perform(project, PLANS, SUMS_UP, MAKES)
    die_at(project, kind, pasted=pasted)
    with project.started() as live:
        assert live.wait() == -9, live.text
    ran = project.orchestrate()
    assert ran.said("1 stage: 1 done")
    assert log(project) == wanted
    assert len(events(project, "one", "spawned")) == 1
    assert results(project, "one") == ["succeeded"]
    assert len(events(project, "one", "phase")) == 1
    assert len(events(project, "one", "PreCompact")) == (way == "compact")
    assert project.orchestrate().said("1 stage: 1 up to date")
    assert project.processes() == []


@pytest.mark.parametrize("way", WAYS)
def test_a_run_killed_with_its_worker_between_two_phases_does_no_phase_again(
    project: Project, way: str
) -> None:
    keys, wanted = WAYS[way]
    phased(project, PLAN, {**MAKE, **keys})
    perform(project, PLANS, SUMS_UP, MAKES)
    die_at(project, "phase" if way == "plain" else "cleared", pasted=way != "plain")
    with project.started() as live:
        assert live.wait() == -9, live.text
    if way == "handover":
        left = Attempt(project.log("one"), 1)
        project.wait_for(
            lambda: any("clear" in event.data.values() for event in left._waiting()), "its /clear"
        )
    kill(worker_pid(project, "one"))
    made = (project.root / "plan.txt").stat().st_mtime_ns
    assert project.orchestrate().said("1 stage: 1 done")
    assert log(project) == wanted
    assert (project.root / "plan.txt").stat().st_mtime_ns == made
    assert results(project, "one") == ["aborted", "succeeded"]
    # A session that was just cleared has nothing in it to go on with.
    assert ("--resume" in launch(project, "one", 2)) == (way != "handover")
    if way == "handover":
        folder = project.log("one").dir / "2"
        assert (folder / "summary-1.md").read_text() == "The plan is in plan.txt.\n"
        assert str(folder / "summary-1.md") in (folder / "prompt.md").read_text()


def test_a_worker_killed_in_its_second_phase_goes_on_there(project: Project) -> None:
    phased(project, PLAN, MAKE)
    half = ("Make it", did("half", write("made.txt", "half\n"), gate("go")))
    perform(project, PLANS, half, MAKES)
    with project.started() as live:
        at_gate(project, "go")
        kill(worker_pid(project, "one"))
        assert live.wait() == 0, live.text
    assert log(project) == ["plan", "half", "make"]
    assert results(project, "one") == ["failed", "succeeded"]
    assert [event.data["phase"] for event in events(project, "one", "begun")] == [0, 1]
    assert "--resume" in launch(project, "one", 2)


# -- a phase that failed


def test_a_failed_phase_whose_prompt_is_mended_is_done_again_alone(project: Project) -> None:
    phased(project, PLAN, {**MAKE, "prompt": "Make it wrong."})
    wrong = ("Make it wrong", did("wrong", write("made.txt", "bad\n")))
    perform(project, PLANS, wrong, ("Make it right", did("right", write("made.txt", "good\n"))))
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    ran = project.orchestrate(check=1)
    (line,) = failures(ran.lines)
    assert line == "one FAILED: phase 2 of 2: check `grep -q good made.txt` ended with exit status 1"
    assert project.read("plan.txt") == "first\n"  # it was verified
    assert not (project.root / "made.txt").exists()
    assert (project.log("one").dir / "1/partial/made.txt").read_text() == "bad\n"
    listed = project.doit("list", "--status", "--all", check=0)
    assert listed.said("R one")

    project.edit("orchestrate.toml", "wrong", "right")
    explained = project.orchestrate("--explain")
    assert explained.said("phase 1 of 2 is done and holds: it goes on with phase 2")
    made = (project.root / "plan.txt").stat().st_mtime_ns
    ran = project.orchestrate()
    assert ran.said("started in tmux session p-one, phase 2 of 2")
    assert log(project) == ["plan", "wrong", "right"]
    assert (project.root / "plan.txt").stat().st_mtime_ns == made
    assert "--resume" not in launch(project, "one", 2)
    assert (project.log("one").dir / "2/prompt.md").read_text() == (
        "This is phase 2 of 2 of your work. Done and verified: phase 1 (plan.txt).\n\nMake it right."
    )
    for _ in range(2):
        assert project.orchestrate().said("1 stage: 1 up to date")
    assert log(project) == ["plan", "wrong", "right"]
    assert project.doit("list", "--status", "--all", check=0).said("U one")


def test_a_phase_before_the_failed_one_is_done_again_when_it_changed(project: Project) -> None:
    phased(project, PLAN, MAKE)
    bad = ("Make it", did("bad", write("made.txt", "bad\n")))
    perform(project, PLANS, bad, ("Make it", did("make", write("made.txt", "good\n"))))
    project.orchestrate(check=1)
    project.write("plan.txt", "mine\n")  # by hand: it is not what was verified
    perform(project, PLANS, MAKES)
    assert not project.orchestrate("--explain").said("holds")
    assert project.orchestrate().said("1 stage: 1 done")
    assert log(project) == ["plan", "bad", "plan", "make"]


# -- compaction


@pytest.mark.parametrize("who", ["another", "itself"])
def test_what_a_check_of_an_earlier_phase_said_is_said_of_what_stands_in_the_end(
    project: Project, who: str
) -> None:
    """Its files are closed to others, and theirs to overwrite by a program; a later phase may make more of them."""
    plan = {**PLAN, "check": "grep -q first plan.txt"}
    stages = {"one": {"phases": [plan, MAKE]}, "other": {"targets": ["other.txt"]}}
    configure(project, stages if who == "another" else {"one": stages["one"]})
    changes = bash("echo overwritten > plan.txt")
    steps = [gate("go"), changes, write("other.txt")]
    play(
        project,
        {
            "one": [
                [write("plan.txt", "first\n")],
                [bash("touch go; while [ ! -e other.txt ]; do sleep 0.02; done"), write("made.txt", "good\n")]
                if who == "another"
                else [changes, write("made.txt", "good\n")],
            ],
            "other": [steps],
        },
    )
    ran = project.orchestrate(check=1 if who == "another" else 0)
    (told,) = [
        stage
        for stage in json.loads(project.run("dodo-claude", "report", "--json").out)["stages"]
        if stage["name"] == "one"
    ]
    checks = [check["result"] for check in told["checks"]]
    if who == "itself":
        assert ran.said("1 stage: 1 done")
        assert checks == ["passed", "passed"]
        return
    assert ran.said("one FAILED: phase 2 of 2: check `grep -q first plan.txt` ended with exit status 1")
    assert checks[0] == "failed"
    open_gate(project, "go")
    play(project, {"one": [[write("plan.txt", "first\n")], [write("made.txt", "good\n")]]})
    assert project.orchestrate().said("2 stages: 1 done, 1 up to date")
    assert project.read("plan.txt") == "first\n"


def test_a_full_context_is_compacted_before_the_next_phase(project: Project) -> None:
    phased(project, PLAN, MAKE, compact_at="70%")
    perform(project, PLANS, MAKES, context=72)
    project.orchestrate()
    order = [kind for kind in kinds(project) if kind in ("phase", "cleared", "PostCompact", "given")]
    assert order == ["phase", "cleared", "PostCompact", "given"]
    assert log(project) == ["plan", "make"]


@pytest.mark.parametrize("fault", ["server_error", "empty"])
def test_a_compaction_that_fails_costs_no_phase(project: Project, fault: str) -> None:
    phased(project, PLAN, {**MAKE, "compact": "the plan"})
    patch(project, "import dodo_claude.worker.policy as policy\npolicy.CLEAR_SECONDS = 1.0\n")
    perform(project, PLANS, MAKES, compact_fails=[fault])
    project.orchestrate()
    assert log(project) == ["plan", "make"]
    assert results(project, "one") == ["succeeded"]
    assert "PostCompact" not in kinds(project)


def test_41_a_client_that_compacts_again_and_again_is_ended(project: Project) -> None:
    """Row 41: what its hooks tell then, is put in here; the worker itself waits at a gate."""
    configure(project, {"one": {"targets": ["it.txt"]}})
    perform(project, ("Do it", [gate("never")]))
    with project.started() as live:
        at_gate(project, "never")
        session = wait_event(project, "one", "SessionStart").data["session_id"]
        for _ in range(4):
            for kind in ("PreCompact", "PostCompact"):
                hook_file(
                    project, "one", 1, {"hook_event_name": kind, "session_id": session, "trigger": "auto"}
                )
        assert live.wait() == 1, live.text
    assert result(project, "one", 1)["reason"] == (
        "its context was full again right after each of 4 compactions (give it less to read, or split the stage)"
    )
    assert project.attempts("one") == 1
    assert project.processes() == []
    open_gate(project, "never")
