"""Checks: what one writes is nobody's trespass, a wrong one costs no work, and what it failed is checked again first."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Sequence

import pytest

from dodo_claude.state.journal import Attempt
from tests.integration.scenes import (
    Step,
    at_gate,
    bash,
    configure,
    events,
    gate,
    launch,
    open_gate,
    play,
    result,
    results,
    wait_event,
    write,
)
from tests.project import Live, Project, Ran


def failures(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if " FAILED: " in line]


def done(ran: Ran, *names: str) -> None:
    for name in names:
        assert any(line.startswith(f"{name} done in") for line in ran.lines), ran.out + ran.err


def again(ran: Ran, text: str) -> bool:
    """Does the line of a stage's end say that? Without the time that it took."""
    lines = [re.sub(r" done in [\d.]+ s: ", " ", line) for line in ran.lines]
    assert any(text in line for line in lines), ran.out + ran.err
    return True


def spawned(project: Project, stage: str) -> int:
    return len(events(project, stage, "spawned"))


# -- what a check writes


@pytest.mark.parametrize(
    "check", ["date +%N > test.log", "echo $$ 2>&1 | tee build.log", "date +%N > r.xml # --junitxml=r.xml"]
)
def test_a_check_that_stages_share_may_write_what_it_names(project: Project, check: str) -> None:
    configure(
        project,
        {"one": {"command": "sleep 0.3; echo a > a.txt", "targets": ["a.txt"]},
         "two": {"command": "sleep 1.5; echo b > b.txt", "targets": ["b.txt"]}},
        defaults={"check": check},
    )  # fmt: skip
    done(project.orchestrate(), "one", "two")


def test_what_a_check_writes_that_another_stage_guards_is_no_trespass(project: Project) -> None:
    """Two checks at once, and one stage at work."""
    configure(
        project,
        {"one": {"targets": ["a.txt"], "check": "sleep 0.2; date +%N > shots/one.txt; sleep 0.2"},
         "two": {"targets": ["b.txt"], "check": "sleep 0.3; date +%N > shots/two.txt; date +%N > shots/one.txt"},
         "three": {"targets": ["c.txt"]}},
        defaults={"protect": ["shots/**"]},
    )  # fmt: skip
    project.write("shots/one.txt", "0\n")
    play(
        project,
        {
            "one": [[write("a.txt")]],
            "two": [[write("b.txt")]],
            "three": [[bash("true"), gate("go"), write("c.txt")]],
        },
    )
    with project.started("-n", "3") as live:
        wait_event(project, "one", "outcome")
        wait_event(project, "two", "outcome")
        open_gate(project, "go")
        assert live.wait() == 0, live.text


def test_what_a_worker_writes_during_the_check_of_another_is_its_own(project: Project) -> None:
    configure(
        project,
        {"one": {"targets": ["a.txt"], "check": "touch in.check; while [ ! -e go ]; do sleep 0.02; done"},
         "two": {"targets": ["b.txt"], "protect": ["keep/*"]}},
    )  # fmt: skip
    project.write("keep/k.txt", "k\n")
    play(
        project,
        {"one": [[write("a.txt")]], "two": [[gate("work"), write("keep/k.txt", "no\n"), write("b.txt")]]},
    )
    with project.started("-n", "2") as live:
        project.wait_for((project.root / "in.check").exists, "the check of one")
        at_gate(project, "work")
        open_gate(project, "work")
        wait_event(project, "two", "outcome")
        open_gate(project, "go")
        assert live.wait() == 1, live.text
    assert "protected file 'keep/k.txt' was changed while it ran" in live.text


def test_a_repair_after_a_check_that_writes_is_judged_by_the_work(project: Project) -> None:
    configure(
        project,
        {"one": {"targets": ["a.txt"], "check": "date +%N > shots/x; cp a.txt log.txt; grep -q good a.txt > test.log",
                 "repairs": 1, "protect": ["shots/*", "log.txt"], "file_dep": ["in.txt"]}},
    )  # fmt: skip
    project.write("shots/x", "0\n")
    project.write("in.txt", "in\n")
    play(project, {"one": [[write("a.txt", "bad\n")], [write("a.txt", "good\n")]]})
    done(project.orchestrate(), "one")


def test_its_own_check_may_write_its_input_and_fail(project: Project) -> None:
    """A formatter, say, that fails when it had something to do."""
    configure(
        project,
        {"one": {"targets": ["a.txt"], "file_dep": ["in.txt"], "repairs": 1,
                 "check": "grep -q neat in.txt || { echo neat >> in.txt; exit 1; }"}},
    )  # fmt: skip
    project.write("in.txt", "in\n")
    play(project, {"one": [[write("a.txt")], [write("a.txt", "again\n")]]})
    done(project.orchestrate(), "one")
    assert project.orchestrate().said("one up to date")


CUT_OFF = "date +%N > shots/x; date +%N > test.log; touch in.check; while [ ! -e go ]; do sleep 0.02; done"


def killed_in_the_check(project: Project, **keys: object) -> Live:
    configure(project, {"one": {"targets": ["a.txt"], "check": CUT_OFF, "protect": ["shots/*"], **keys}})
    project.write("shots/x", "0\n")
    play(project, {"one": [[bash("true"), write("a.txt")]]})
    with project.started() as live:
        project.wait_for((project.root / "in.check").exists, "its check")
        live.kill(signal.SIGKILL)
    return live


def test_after_a_kill_in_the_check_what_that_wrote_is_no_trespass(project: Project) -> None:
    killed_in_the_check(project)
    open_gate(project, "go")
    ran = project.orchestrate()
    done(ran, "one")
    assert spawned(project, "one") == 1


def test_after_a_kill_in_the_check_of_another_neither(project: Project) -> None:
    configure(
        project,
        {"one": {"command": "echo a > a.txt", "targets": ["a.txt"], "check": CUT_OFF},
         "two": {"targets": ["b.txt"], "protect": ["shots/*"]}},
    )  # fmt: skip
    project.write("shots/x", "0\n")
    play(project, {"two": [[gate("work"), write("b.txt")]]})
    with project.started("-n", "2") as live:
        at_gate(project, "work")
        project.wait_for((project.root / "in.check").exists, "the check of one")
        live.kill(signal.SIGKILL)
    open_gate(project, "go")
    open_gate(project, "work")
    done(project.orchestrate("-n", "2"), "one", "two")
    assert spawned(project, "two") == 1


def test_phases_have_checks_that_write(project: Project) -> None:
    phase = {"check": "date +%N > shots/x; date +%N > test.log"}
    configure(
        project,
        {"one": {"phases": [{"prompt": "1", "targets": ["a.txt"], **phase}, {"prompt": "2", "targets": ["b.txt"], **phase}],
                 "protect": ["shots/*"]}},
    )  # fmt: skip
    project.write("shots/x", "0\n")
    play(project, {"one": [[write("a.txt")], [write("b.txt")]]})
    done(project.orchestrate(), "one")


def test_the_script_of_a_check_is_guarded(project: Project) -> None:
    configure(project, {"one": {"targets": ["a.txt"], "check": "sh checks/run.sh > test.log"}})
    project.write("checks/run.sh", "exit 1\n")
    play(project, {"one": [[write("checks/run.sh", "exit 0\n"), write("a.txt")]]})
    assert failures(project.orchestrate(check=1).lines) == [
        "one FAILED: protected file 'checks/run.sh' was changed while it ran"
    ]


# -- a wrong check


@pytest.mark.parametrize(
    "check", ["test -s a.txt && sh -c 'exit 127'", "cat a.txt && pytset -q", "test -s a.txt && ./noexec.sh"]
)
def test_a_check_that_can_not_be_run_costs_no_work(project: Project, check: str) -> None:
    configure(project, {"one": {"targets": ["a.txt"], "check": check, "repairs": 2}})
    project.write("noexec.sh", "exit 0\n")
    play(project, {"one": [[write("a.txt", "good\n")]]})
    (reason,) = failures(project.orchestrate(check=1).lines)
    assert reason.startswith(f"one FAILED: check `{check}` could not be run: exit status 12")
    assert result(project, "one", 1)["repairs"] == 0
    # Unmended it costs nobody's work again.
    assert failures(project.orchestrate(check=1).lines) == [reason]
    project.edit("orchestrate.toml", json.dumps(check), '"grep -q good a.txt"')
    ran = project.orchestrate()
    assert again(
        ran, "one checked again what attempt 2 made, nobody had to work, a.txt (1 line), check passed"
    )
    assert spawned(project, "one") == 1
    assert project.read("a.txt") == "good\n"
    assert result(project, "one", 3)["tokens"] == 0
    assert project.orchestrate().said("one up to date")


def test_what_its_worker_makes_and_the_check_runs_is_its_worker_s_to_mend(project: Project) -> None:
    configure(project, {"one": {"targets": ["tool.sh"], "check": "./tool.sh", "repairs": 1}})
    play(project, {"one": [[write("tool.sh", "#!/bin/sh\nexit 0\n")], [bash("chmod +x tool.sh")]]})
    done(project.orchestrate(), "one")
    assert result(project, "one", 1)["repairs"] == 1


ONE = {"targets": ["a.txt", "sub/b.txt"], "file_dep": ["in.txt"], "check": "grep -q perfect a.txt"}


def failed(project: Project, **keys: object) -> None:
    """A stage whose check fails what is good."""
    configure(project, {"one": {**ONE, **keys}})
    project.write("in.txt", "in\n")
    play(project, {"one": [[write("a.txt", "good\n"), write("sub/b.txt", "b\n")]]})
    project.orchestrate(check=1)
    assert not (project.root / "a.txt").exists()


def mend(project: Project, check: str = "grep -q good a.txt") -> None:
    project.edit("orchestrate.toml", ONE["check"], check)  # type: ignore[arg-type]


def test_when_only_the_check_changed_the_files_are_checked_before_anybody_works(project: Project) -> None:
    failed(project)
    mend(project)
    said = "only its check changed: what attempt 1 made is checked again before anybody works"
    assert said in project.orchestrate("--explain").out
    ran = project.orchestrate()
    assert again(ran, "one checked again what attempt 1 made, nobody had to work, a.txt (1 line), sub/b.txt")
    assert (spawned(project, "one"), project.read("a.txt"), project.read("sub/b.txt")) == (1, "good\n", "b\n")
    assert project.orchestrate().said("one up to date")


def test_files_that_fail_the_new_check_too_are_told_of_to_the_next_worker(project: Project) -> None:
    failed(project)
    mend(project, "grep -q flawless a.txt")
    play(project, {"one": [[write("a.txt", "flawless\n"), write("sub/b.txt", "b\n")]]})
    ran = project.orchestrate()
    done(ran, "one")
    assert any(
        line.startswith("one started in tmux session ") and "(attempt 3; attempt 2 failed: check" in line
        for line in ran.lines
    ), ran.out
    assert results(project, "one") == ["failed", "failed", "succeeded"]
    assert spawned(project, "one") == 2
    (started,) = [line for line in ran.lines if "started in tmux session" in line]
    assert started.startswith(
        "one started in tmux session p-one (attempt 3; attempt 2 failed: check `grep -q flawless"
    )
    folder = project.log("one").dir
    told = (folder / "2" / "handover.md").read_text()
    assert "flawless" in told and ".orchestrate/stages/one/2/partial/a.txt" in told  # noqa: PT018
    assert f"{folder}/2/handover.md" in (folder / "3" / "brief.md").read_text()


@pytest.mark.parametrize("what", ["prompt", "input", "target", "nothing"])
def test_what_else_changed_is_worked_on_anew(project: Project, what: str) -> None:
    failed(project)
    if what != "nothing":
        mend(project)
    if what == "prompt":
        project.edit("orchestrate.toml", "Do it.", "Do it well.")
    elif what == "input":
        project.write("in.txt", "another\n")
    elif what == "target":
        project.write("a.txt", "a person's\n")
    project.orchestrate(check=None)
    assert spawned(project, "one") == 2
    if what == "target":
        assert (project.log("one").dir / "2" / "before" / "a.txt").read_text() == "a person's\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_long_command_is_not_run_again_when_its_check_was_cut_off(project: Project, number: int) -> None:
    check = "touch in.check; while [ ! -e go ]; do sleep 0.02; done; grep -q good a.txt"
    one = {"command": "echo x >> ran; echo good > a.txt", "targets": ["a.txt"], "check": check}
    configure(project, {"one": one})
    with project.started() as live:
        project.wait_for((project.root / "in.check").exists, "its check")
        live.kill(number)
    if number == signal.SIGINT:
        told = json.loads(project.run("dodo-claude", "report", "--json").out)["stages"][0]["checks"]
        assert [(each["kind"], each["result"]) for each in told] == [
            ("command", "passed"),
            ("check", "not run"),
        ]
    open_gate(project, "go")
    said = "one checked again what attempt 1 made, nobody had to work, a.txt (1 line)"
    assert again(project.orchestrate(), said)
    assert (project.read("ran"), project.read("a.txt")) == ("x\n", "good\n")
    assert project.orchestrate().said("one up to date")


@pytest.mark.parametrize("dep", [False, True])
def test_a_check_whose_script_was_mended_is_run_again(project: Project, dep: bool) -> None:
    more = {"file_dep": ["in.txt", "checks/run.sh"]} if dep else {}
    project.write("checks/run.sh", "grep -q perfect a.txt\n")
    failed(project, check="sh checks/run.sh", **more)
    project.write("checks/run.sh", "grep -q good a.txt\n")
    assert again(project.orchestrate(), "one checked again what attempt")
    assert spawned(project, "one") == 1


def test_a_long_command_is_not_run_again_for_its_check(project: Project) -> None:
    configure(
        project,
        {
            "one": {
                "command": "echo x >> ran; echo good > a.txt",
                "targets": ["a.txt"],
                "check": "grep -q perfect a.txt",
            }
        },
    )
    project.orchestrate(check=1)
    project.edit("orchestrate.toml", "perfect", "good")
    assert again(project.orchestrate(), "one checked again what attempt")
    assert project.read("ran") == "x\n"


def test_a_finished_stage_with_another_check_is_checked_where_it_stands(project: Project) -> None:
    configure(project, {"one": {"targets": ["a.txt"], "check": "grep -q good a.txt"}})
    play(project, {"one": [[write("a.txt", "good and better\n")]]})
    project.orchestrate()
    project.edit("orchestrate.toml", "grep -q good", "grep -q better")
    assert again(project.orchestrate(), "one checked again what attempt")
    assert spawned(project, "one") == 1
    project.edit("orchestrate.toml", "grep -q better", "grep -q best")
    play(project, {"one": [[write("a.txt", "best\n")]]})
    assert project.orchestrate().said("one done in")
    assert spawned(project, "one") == 2


def test_phases_are_checked_again_and_gone_on_from(project: Project) -> None:
    phases = [
        {"prompt": "1", "targets": ["a.txt"], "check": "grep -q perfect a.txt"},
        {"prompt": "2", "targets": ["b.txt"]},
    ]
    configure(project, {"one": {"phases": phases}})
    play(project, {"one": [[write("a.txt", "good\n")]]})
    project.orchestrate(check=1)
    project.edit("orchestrate.toml", "perfect", "good")
    play(project, {"one": [[write("b.txt")]]})
    ran = project.orchestrate()
    done(ran, "one")
    assert project.read("a.txt") == "good\n"
    assert "This is phase 2 of 2" in (project.log("one").dir / "3" / "prompt.md").read_text()
    # The last phase's check, and that of the whole stage.
    project.edit(
        "orchestrate.toml", '"targets" = ["b.txt"]', '"targets" = ["b.txt"], check = "grep -q x b.txt"'
    )
    assert again(project.orchestrate(), "one checked again what attempt")


def test_items_are_checked_again_each_for_itself(project: Project) -> None:
    configure(
        project,
        {
            "one": {
                "foreach": ["x", "y"],
                "targets": ["{{ item }}.txt"],
                "check": "grep -q perfect {{ item }}.txt",
            }
        },
    )
    play(project, {"one:x": [[write("x.txt", "good\n")]], "one:y": [[write("y.txt", "perfect\n")]]})
    project.orchestrate(check=1)
    project.edit("orchestrate.toml", "perfect", "good")
    play(project, {"one:x": [], "one:y": []})
    project.write("y.txt", "no more\n")
    ran = project.orchestrate(check=None)
    assert again(ran, "one:x checked again what attempt 1")
    assert spawned(project, "one:x") == 1


def test_a_kill_while_it_is_checked_again_costs_nothing(project: Project) -> None:
    failed(project)
    mend(project, "touch in.check; while [ ! -e go ]; do sleep 0.02; done; grep -q good a.txt")
    for _ in range(2):
        with project.started() as live:
            project.wait_for((project.root / "in.check").exists, "its check")
            live.kill(signal.SIGKILL)
        (project.root / "in.check").unlink()
    open_gate(project, "go")
    assert again(project.orchestrate(), "one checked again what attempt")
    assert (spawned(project, "one"), project.read("a.txt")) == (1, "good\n")
    assert Attempt(project.log("one"), 2).result() is not None


# -- by hand


def test_recheck_by_hand(project: Project) -> None:
    failed(project)
    # Nothing changed, as far as anybody can tell; what the check finds may be elsewhere.
    ran = project.run("dodo-claude", "recheck", "one", check=1)
    assert ran.out.startswith(
        "one: check `grep -q perfect a.txt` ended with exit status 1; checked again attempt 1: you asked"
    )
    mend(project)
    project.approve()
    ran = project.run("dodo-claude", "recheck", "one", check=0)
    assert ran.out == (
        "one: passed, checked again attempt 2: only its check changed (the next `doit orchestrate` goes on from it)\n"
    )
    assert project.read("a.txt") == "good\n"
    assert "one  done" in project.run("dodo-claude", "status", check=0).out
    assert "it is done, and neither" in project.run("dodo-claude", "recheck", "one", check=2).err
    done(project.orchestrate(), "one")
    assert (spawned(project, "one"), project.attempts("one")) == (1, 3)
    ran = project.run("dodo-claude", "recheck", "one", check=2)
    assert ran.err == (
        "stage 'one': there is nothing to check again: it is done, and neither its check nor anything else of it changed "
        "(doit forget one has it done anew)\n"
    )


def test_recheck_by_hand_of_another_agents_work(project: Project) -> None:
    failed(project)
    project.edit("orchestrate.toml", 'agent = "scripted"', 'agent = "claude"')
    project.approve()
    ran = project.run("dodo-claude", "recheck", "one", check=2)
    assert ran.err == (
        "stage 'one': there is nothing to check again: agent 'scripted' worked on it "
        "(dodo-claude recheck one --agent scripted)\n"
    )
    ran = project.run("dodo-claude", "recheck", "one", "--agent", "scripted", check=1)
    assert "checked again attempt 1" in ran.out


def test_recheck_offers_no_agent_that_is_there_no_more(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        """
        [orchestrate]
        name = "p"
        [agents.mine]
        command = ["sh", "-c", "echo bad > a.txt", "--"]
        [stages.one]
        agent = "mine"
        prompt = "Do it."
        targets = ["a.txt"]
        check = "grep -q good a.txt"
        repairs = 0
        """,
    )
    project.orchestrate(check=1)
    project.edit("orchestrate.toml", "[agents.mine]", "[agents.other]")
    project.edit("orchestrate.toml", 'agent = "mine"', 'agent = "other"')
    project.approve()
    assert project.run("dodo-claude", "recheck", "one", check=2).err == (
        "stage 'one': there is nothing to check again: agent 'mine' worked on it, which is not among the agents of "
        "orchestrate.toml any more (doit orchestrate one has it done anew, or bring [agents.mine] back)\n"
    )


def test_recheck_by_hand_refuses(project: Project) -> None:
    configure(project, {"one": ONE, "two": {"targets": ["c.txt"]}})
    project.write("in.txt", "in\n")
    project.approve()
    assert "has not run yet" in project.run("dodo-claude", "recheck", "one", check=2).err
    play(
        project,
        {"one": [[gate("go"), write("a.txt", "good\n"), write("sub/b.txt")]], "two": [[bash("false")]]},
    )
    with project.started("-n", "2") as live:
        at_gate(project, "go")
        assert "recheck: run in progress" in project.run("dodo-claude", "recheck", "one", check=3).err
        open_gate(project, "go")
        live.wait()
    assert "did not end by its check" in project.run("dodo-claude", "recheck", "two", check=2).err
    project.write("in.txt", "another\n")
    assert "file 'in.txt' changed since then" in project.run("dodo-claude", "recheck", "one", check=2).err
    project.edit("orchestrate.toml", "Do it.", "Do that.")
    project.approve()
    assert "more than its check changed" in project.run("dodo-claude", "recheck", "one", check=2).err
    project.edit("orchestrate.toml", "perfect", "good")
    assert "approve" in project.run("dodo-claude", "recheck", "one", check=2).err


# -- what a person edits in mid-run


MORE = '[stages."late"]\ncommand = "echo x > late.txt"\ntargets = ["late.txt"]\n'


def edited(project: Project, *steps: Step, edit: str = "orchestrate.toml") -> Live:
    """While two workers are at work a person adds a stage, or edits an input of both."""
    configure(
        project,
        {name: {"targets": [f"{name}.txt"], "file_dep": ["in.txt"], "check": f"test -s {name}.txt"} for name in ("one", "two")},
    )  # fmt: skip
    project.write("in.txt", "in\n")
    play(project, {name: [[*steps, gate(f"go-{name}"), write(f"{name}.txt")]] for name in ("one", "two")})
    with project.started("-n", "2") as live:
        for name in ("one", "two"):
            at_gate(project, f"go-{name}")
        project.write(edit, project.read(edit) + MORE)
        for name in ("one", "two"):
            open_gate(project, f"go-{name}")
        assert live.wait() == 1, live.text
    return live


def test_a_stage_that_a_person_adds_in_mid_run_costs_nobody_s_work(project: Project) -> None:
    live = edited(project)
    for name in ("one", "two"):
        assert f"{name}             stopped: 'orchestrate.toml' was changed while it ran" in live.text
    play(project, {name: [[{"say": "It is done."}]] for name in ("one", "two")})
    done(project.orchestrate(), "one", "two", "late")
    for name in ("one", "two"):
        assert "--resume" in launch(project, name, 2)
        assert events(project, name, "PreToolUse")[-1].data["tool_input"] == {  # nothing was done twice
            "file_path": str(project.root / f"{name}.txt"), "content": "x\n"
        }  # fmt: skip


def test_an_input_that_a_person_edits_in_mid_run_is_told_of_to_the_session(project: Project) -> None:
    live = edited(project, edit="in.txt")
    assert "stopped: its input 'in.txt' was changed while it ran: what it made may not fit it" in live.text
    play(project, {"one": [[write("one.txt", "anew\n")]], "two": [[write("two.txt", "anew\n")]]})
    done(project.orchestrate(), "one", "two")
    assert "--resume" in launch(project, "one", 2)
    prompt = (project.log("one").dir / "2" / "prompt.md").read_text()
    assert "Changed since you read it: in.txt." in prompt


def test_a_long_command_is_not_run_again_for_a_person_s_edit(project: Project) -> None:
    command = "echo x >> ran; touch one.at; while [ ! -e go ]; do sleep 0.02; done; echo a > a.txt"
    configure(project, {"one": {"command": command, "targets": ["a.txt"], "check": "test -s a.txt"}})
    with project.started() as live:
        at_gate(project, "one")
        project.write("orchestrate.toml", project.read("orchestrate.toml") + MORE)
        open_gate(project, "go")
        assert live.wait() == 1, live.text
    assert "one             stopped: 'orchestrate.toml' was changed while it ran" in live.text
    assert again(project.orchestrate(), "one checked again what attempt 1 made")
    assert project.read("ran") == "x\n"


def test_what_a_worker_s_tools_name_is_no_other_s_charge(project: Project) -> None:
    names = ("one", "two")
    configure(
        project, {name: {"targets": [f"{name}.txt"]} for name in names}, defaults={"protect": ["conf.txt"]}
    )
    project.write("conf.txt", "c\n")
    play(
        project,
        {
            "one": [[write("conf.txt", "mine\n"), write("one.txt"), bash("touch did")]],
            "two": [[bash("while [ ! -e did ]; do sleep 0.02; done"), write("two.txt")]],
        },
    )
    ran = project.orchestrate("-n", "2", check=1)
    assert failures(ran.lines) == ["one FAILED: protected file 'conf.txt' was changed while it ran"]
    done(ran, "two")


def test_a_hook_that_a_worker_plants_in_the_repository_around_is_seen(project: Project) -> None:
    subprocess.run(["git", "init", "-q", str(project.root)], check=True, env=project.environ())
    top, project.root = project.root, project.root / "sub"
    project.root.mkdir()
    configure(project, {"one": {"targets": ["it.txt"]}})
    play(project, {"one": [[bash(f"echo : > {top}/.git/hooks/pre-commit"), write("it.txt")]]})
    ran = project.orchestrate(check=1)
    assert ran.said("one stopped: '../.git/hooks/pre-commit' was made while it ran")
    rules = json.loads((project.log("one").dir / "1" / "settings.json").read_text())["permissions"]["deny"]
    assert {f"Edit(/{top}/.git/hooks/**)", f"Edit(/{top}/.git/config)"} <= {*rules}
