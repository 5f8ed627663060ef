"""Stages that a worker plans: by `doit orchestrate`, doit's own commands, and a person who reads them."""

from __future__ import annotations

import json

import pytest

from tests.integration.scenes import Terminal, bash, on_terminal, play, write
from tests.project import Project, Ran

OUTER = """
[orchestrate]
name = "p"
worker_memory = "0MB"
[defaults]
agent = "scripted"
protect = ["keep/**"]
[agents.scripted]
allowed_tools = ["Edit(./**)", "Bash"]
[stages.work]
plan = "generated.toml"
prompt = "Plan: {{ files['request.md'] }}"
[stages.last]
after = ["work"]
command = "cat a.txt b.txt > last.txt"
file_dep = ["a.txt", "b.txt"]
targets = ["last.txt"]
[stages.side]
command = "echo x > side.txt"
targets = ["side.txt"]
"""
WRONG = """
[agents.claude]
permission_mode = "bypassPermissions"
[stages.a]
prompt = "Make a."
targets = ["a.txt"]
after = ["b"]
[stages.b]
promt = "Make b."
prompt = "Make b."
after = ["a"]
targets = ["b.txt"]
"""
GOOD = """
[stages.a]
prompt = "Make a of {{ files['b.txt'] }}"
targets = ["a.txt"]
check = "grep -q made a.txt"
[stages.b]
prompt = "Make b."
targets = ["b.txt"]
"""
OTHER = """
[stages.b]
prompt = "Make b."
targets = ["b.txt"]
[stages.c]
foreach = ["one", "two"]
command = "echo {{ item }} > {{ item }}.txt"
targets = ["{{ item }}.txt"]
[stages.a]
prompt = "Make a of {{ files['b.txt'] }}"
targets = ["a.txt"]
after = ["c"]
"""
MAKES = {"work": [[write("{item}.txt", "made\n")]]}


@pytest.fixture
def plan(project: Project) -> Project:
    project.write("orchestrate.toml", OUTER)
    project.write("request.md", "a and b\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    plans(project, WRONG, GOOD)
    return project


def plans(project: Project, *texts: str) -> None:
    """What the planner writes, in its first turn, its second …"""
    play(project, {"work:plan": [[write("generated.toml", text)] for text in texts], **MAKES})


def orchestrate(project: Project, *args: str) -> Ran:
    """As a person who approved the outer file, and no plan."""
    return project.orchestrate(*args, check=None)


def done(ran: Ran) -> list[str]:
    return sorted(line.split(" done ")[0] for line in ran.lines if " done in " in line)


def answers(project: Project, text: str) -> Terminal:
    """A run at a terminal whose question is answered."""
    with on_terminal(project) as terminal:
        terminal.until("? [y/N] ")
        terminal.press(f"{text}\n")
        terminal.wait()
    return terminal


def test_a_plan_is_mended_by_its_planner_and_run(plan: Project) -> None:
    ran = orchestrate(plan, "--yes")
    assert ran.code == 0, ran.out
    assert done(ran) == ["last", "side", "work:a", "work:b", "work:plan"]
    assert plan.read("last.txt") == "made\nmade\n"
    repair = (plan.log("work:plan").dir / "1/repair-1.md").read_text()
    for text in (
        "generated.toml:2:2: agents: 'agents' can't stand in a plan (it is for the file that its planner stands in to say)",
        "generated.toml:7:10: stages.a.after[0]: stages wait for each other: work:a -> work:b -> work:a",
        "generated.toml:9:1: stages.b.promt: unknown key (did you mean 'prompt'?)",
    ):
        assert text in repair
    prompt = (plan.log("work:plan").dir / "1/prompt.md").read_text()
    assert "a and b" in prompt
    assert "Write generated.toml, a TOML file" in prompt
    # Again: nothing, by whatever name.
    assert "5 stages: 5 up to date" in orchestrate(plan).lines[-1]
    assert "2 up to date" in orchestrate(plan, "work:b").lines[-1]


def test_what_is_planned_is_shown_as_it_will_run(plan: Project) -> None:
    plans(plan, OTHER)
    said = orchestrate(plan, "--yes").out
    assert (
        said[said.index("\nwork: ") :].split("\n\n")[0]
        == """
work: 4 stages planned in generated.toml
    stage  after  makes
    b      -      b.txt
    c:one  -      one.txt
        runs: echo one > one.txt
    c:two  -      two.txt
        runs: echo two > two.txt
    a      c, b   a.txt"""
    )


def test_a_changed_request_is_planned_anew(plan: Project) -> None:
    orchestrate(plan, "--yes")
    plans(plan, OTHER)
    assert orchestrate(plan, "--dry-run").lines == ["nothing to do: all is up to date"]
    plan.write("request.md", "a, b and c\n")
    assert (
        "work: known when work:plan is done: the stages of generated.toml"
        in orchestrate(plan, "--dry-run").lines
    )
    ran = orchestrate(plan, "--yes")
    assert done(ran) == ["work:a", "work:c:one", "work:c:two", "work:plan"]
    # The plan before is kept.
    assert (plan.log("work:plan").dir / "2/before/generated.toml").read_text() == GOOD


def test_doit_knows_the_stages(plan: Project) -> None:
    assert "work known when work:plan is done" in plan.run("doit", "list", check=0).lines
    orchestrate(plan, "--yes")
    listed = plan.run("doit", "list", "--all", "--status", check=0).lines
    assert [line.split()[:2] for line in listed] == [
        ["U", "last"], ["U", "side"], ["R", "work"], ["U", "work:a"], ["U", "work:b"], ["U", "work:plan"],
    ]  # fmt: skip
    assert "b.txt" in plan.run("doit", "info", "work:a", check=0).out
    assert orchestrate(plan, "--explain").lines == [
        f"{name}: up to date" for name in ("work:plan", "work:b", "work:a", "last", "side")
    ]
    plan.run("doit", "forget", "work:a", check=0)
    assert done(orchestrate(plan)) == ["work:a"]
    plan.run("doit", "clean", "work", check=0)
    assert not (plan.root / "b.txt").exists()
    assert not (plan.root / "generated.toml").exists()


def test_nobody_to_ask(plan: Project) -> None:
    ran = orchestrate(plan)
    assert ran.code == 1
    assert ran.said(
        "work FAILED: its plan waits for your yes: read generated.toml (then `doit orchestrate` in a terminal, or with --yes)"
    )
    assert done(ran) == ["side", "work:plan"]
    assert plan.run("dodo-claude", "report", check=0).said(
        "work: its plan waits for your yes: read generated.toml"
    )
    again = orchestrate(plan)
    assert (again.code, done(again)) == (1, [])
    assert plan.attempts("work:plan") == 1
    # Nor does plain doit start what nobody has seen.
    plain = plan.run("doit", "run", "work")
    assert plain.code != 0
    assert not (plan.root / "a.txt").exists()
    assert done(orchestrate(plan, "--yes")) == ["last", "work:a", "work:b"]
    assert plan.attempts("work:plan") == 1


def test_trust_is_no_yes_to_a_plan(plan: Project) -> None:
    assert done(orchestrate(plan, "--trust")) == ["side", "work:plan"]
    assert done(orchestrate(plan, "--trust")) == []


def test_yes_is_no_yes_to_anything_else(plan: Project) -> None:
    orchestrate(plan, "--yes")
    plan.edit("orchestrate.toml", "cat a.txt b.txt >", "cat b.txt a.txt >")
    ran = plan.run("doit", "orchestrate", "--yes", check=3)
    assert "changed since you approved: command of stage 'last'" in ran.err
    plan.edit("generated.toml", "Make b.", "Make b!")
    plan.run("doit", "orchestrate", "--yes", check=3)
    assert plan.run("doit", "orchestrate", "--yes", check=3).err == ran.err


def test_a_person_says_no_and_later_yes(plan: Project) -> None:
    terminal = answers(plan, "n")
    assert "work: 2 stages planned in generated.toml\n" in terminal.said
    assert "        check: grep -q made a.txt\n" in terminal.said
    assert "FAILED: not confirmed: nothing of generated.toml was started" in terminal.said
    assert terminal.process.returncode == 1
    assert not (plan.root / "b.txt").exists()
    assert "Run these 2 stages? [y/N]" in answers(plan, "n").said
    assert answers(plan, "y").process.returncode == 0
    assert plan.read("last.txt") == "made\nmade\n"
    assert plan.attempts("work:plan") == 1


def test_ctrl_c_ends_the_question(plan: Project) -> None:
    with on_terminal(plan) as terminal:
        terminal.until("? [y/N] ")
        terminal.press("\x03")
        assert terminal.wait() == 130
    assert not (plan.root / "b.txt").exists()


def test_an_edit_by_hand_counts_once_it_is_confirmed(plan: Project) -> None:
    orchestrate(plan, "--yes")
    plan.edit("generated.toml", "Make b.", "Make a better b.")
    assert done(orchestrate(plan)) == []  # asks first
    assert "Make a better b." in plan.read("generated.toml")
    assert "work:b" in done(orchestrate(plan, "--yes"))
    assert plan.attempts("work:plan") == 1
    assert plan.attempts("work:a") == 1
    # One that is wrong is told, and kept.
    plan.edit("generated.toml", "[stages.b]", "[stages.b]\ncolour = 1")
    ran = orchestrate(plan, "--yes")
    assert ran.said("work FAILED: generated.toml:7:1: stages.b.colour: unknown key")
    assert ran.said("(mend it, or `doit forget work:plan` to have it planned anew)")
    assert plan.attempts("work:plan") == 1
    assert "generated.toml:7:1: stages.b.colour: unknown key" in plan.run("dodo-claude", "check", check=2).err
    plan.edit("generated.toml", "\ncolour = 1", "")
    assert plan.run("dodo-claude", "check", check=0).out.endswith("orchestrate.toml: 5 stages, no problems\n")
    assert orchestrate(plan).code == 0


def test_a_plan_that_stays_wrong_fails_its_planner(plan: Project) -> None:
    plans(plan, WRONG, WRONG, WRONG)
    ran = orchestrate(plan, "--yes")
    assert ran.code == 1
    failed = next(line for line in ran.lines if "work:plan FAILED" in line)
    assert "the plan is not right: generated.toml:2:2: agents" in failed
    assert plan.result("work:plan")["repairs"] == 2
    assert ran.said("last not run: needs work")
    assert "work not run: needs work:plan" in ran.lines
    assert not (plan.root / "generated.toml").exists()
    assert (plan.log("work:plan").dir / "1/partial/generated.toml").read_text() == WRONG
    # One that fails while an earlier plan is there leaves that plan, and runs none of it.
    plans(plan, GOOD)
    orchestrate(plan, "--yes")
    plans(plan, WRONG, WRONG, WRONG)
    plan.write("request.md", "more\n")
    (plan.root / "b.txt").unlink()
    assert done(orchestrate(plan, "--yes")) == []
    assert plan.read("generated.toml") == GOOD


def test_a_broken_stage_mended_costs_itself_and_its_dependents(plan: Project) -> None:
    plans(plan, GOOD)
    script = {"work:plan": [[write("generated.toml", GOOD)]], **MAKES}
    play(plan, {**script, "work:a": [[write("a.txt", "bad\n")], [write("a.txt", "bad again\n")]]})
    ran = orchestrate(plan, "--yes")
    assert ran.code == 1
    assert done(ran) == ["side", "work:b", "work:plan"]
    play(plan, script)
    assert done(orchestrate(plan)) == ["last", "work:a"]


def test_a_planned_stage_may_not_change_its_plan(plan: Project) -> None:
    plans(plan, GOOD)
    play(
        plan,
        {
            "work:plan": [[write("generated.toml", GOOD)]],
            **MAKES,
            "work:b": [[write("b.txt"), bash("echo '# more' >> generated.toml")]],
        },
    )
    ran = orchestrate(plan, "--yes")
    assert ran.said("work:b stopped: 'generated.toml' was changed while it ran")
    launch = (plan.log("work:b").dir / "1/settings.json").read_text()
    assert f"Edit(/{plan.root}/generated.toml)" in json.loads(launch)["permissions"]["deny"]
    own = (plan.log("work:plan").dir / "1/settings.json").read_text()
    assert f"Edit(/{plan.root}/generated.toml)" not in json.loads(own)["permissions"]["deny"]


def test_a_detached_run_says_yes_to_no_plan(plan: Project) -> None:
    plan.approve()
    plan.run("doit", "orchestrate", "--detach", check=0)
    plan.wait_for(lambda: list((plan.root / ".orchestrate/runs").glob("*/report.json")), "the run's end")
    assert plan.attempts("work:plan") == 1
    assert not (plan.root / "b.txt").exists()


def test_a_run_that_is_killed_at_the_question_asks_again(plan: Project) -> None:
    with on_terminal(plan) as terminal:
        terminal.until("? [y/N] ")
        terminal.process.kill()
        terminal.wait()
    assert answers(plan, "yes").process.returncode == 0
    assert plan.attempts("work:plan") == 1
    assert plan.read("last.txt") == "made\nmade\n"


def test_one_planned_stage_by_its_name(plan: Project) -> None:
    assert done(orchestrate(plan, "--yes", "work:b")) == ["work:b", "work:plan"]
    assert done(orchestrate(plan, "work")) == ["work:a"]
    plan.write("request.md", "more\n")
    missing = orchestrate(plan, "--yes", "work:zzz")
    assert missing.code != 0
    assert missing.said(
        "the stages of generated.toml: nothing there makes 'work:zzz' (there are: plan, a, b)"
    )


def test_all_again_is_planned_again(plan: Project) -> None:
    orchestrate(plan, "--yes")
    assert done(orchestrate(plan, "-a")) == ["last", "side", "work:a", "work:b", "work:plan"]
    assert plan.attempts("work:plan") == 2  # the same plan: nobody is asked twice


def test_two_planners_and_what_comes_after_both(project: Project) -> None:
    project.write(
        "orchestrate.toml",
        OUTER.replace("[stages.side]", "[stages.more]\nplan = 'more.toml'\nprompt = 'x'\n[stages.side]"),
    )
    project.write("request.md", "a\n")
    project.edit("orchestrate.toml", 'after = ["work"]', "")  # reads what nobody else makes: waits for both
    two = GOOD.split("[stages.b]")
    play(
        project,
        {
            "work:plan": [[write("generated.toml", f"[stages.b]{two[1]}")]],
            "more:plan": [[write("more.toml", two[0])]],
            **MAKES,
            "more": MAKES["work"],
        },
    )
    # Each is judged by itself, and what stands in the other is no name of its own; b.txt is a file like any other.
    ran = orchestrate(project, "--yes")
    assert done(ran) == ["last", "more:a", "more:plan", "side", "work:b", "work:plan"], ran.out
    assert "6 up to date" in orchestrate(project).lines[-1]


def test_what_a_person_is_asked_of_first(plan: Project) -> None:
    """The outer file's commands before the run, its plan in it."""
    with on_terminal(plan) as terminal:
        terminal.until("? [y/N] ")
        terminal.press("n\n")
        terminal.wait()
    plan.edit("orchestrate.toml", "echo x > side.txt", "echo y > side.txt")
    plan.approve()
    assert done(orchestrate(plan)) == ["side"]
    assert plan.read("side.txt") == "y\n"
