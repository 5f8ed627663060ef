"""Stages are doit tasks like any other: doit's own commands, with and without a dodo.py beside."""

from __future__ import annotations

import pytest

from tests.project import Project

STAGES = """
[defaults]
agent = "scripted"
[agents.scripted]
allowed_tools = ["Edit(./**)"]
[stages.lib]
prompt = "Write the lib."
file_dep = ["made.txt"]
targets = ["lib.txt"]
[stages.research]
foreach = ["x", "y"]
prompt = "Look into {{ item }}"
targets = ["research/{{ item }}.md"]
[stages.sum]
prompt = "Sum up: {{ stages['research'].message }}"
file_dep = ["research/*.md"]
targets = ["sum.md"]
"""
SCENARIO = """
[stages.lib]
steps = [{ write = "lib.txt", text = "lib\\n" }]
[stages.research]
steps = [{ write = "research/{item}.md", text = "about {item}\\n" }, { say = "{item} is fine" }]
[stages.sum]
steps = [{ capture = "first", from_prompt = "(x is fine)" }, { write = "sum.md", text = "{first}\\n" }]
"""
DODO = """
def task_make():
    return {"actions": ["echo made > made.txt"], "targets": ["made.txt"]}

def task_after():
    return {"actions": ["cat lib.txt > after.txt"], "file_dep": ["lib.txt"], "targets": ["after.txt"]}
"""
MODES = ["doit.cfg", "pyproject.toml", "import"]


@pytest.fixture(params=MODES)
def both(project: Project, request: pytest.FixtureRequest) -> Project:
    """A project with orchestrate.toml and dodo.py, known to doit in one of three ways."""
    project.write("orchestrate.toml", STAGES)
    project.write("scenario.toml", SCENARIO)
    dodo = DODO
    if request.param == "doit.cfg":
        project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    elif request.param == "pyproject.toml":
        project.write("pyproject.toml", '[tool.doit]\nloader = "orchestrate"\n')
    else:
        dodo = "from dodo_claude.stages import *\n" + DODO
    project.write("dodo.py", dodo)
    return project


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def test_doits_own_commands(both: Project) -> None:
    listed = both.doit("list", "--all", check=0).out
    assert sorted(names(listed)) == sorted(
        ["after", "lib", "make", "research", "research:x", "research:y", "sum"]
    )
    assert "Look into …" in listed
    assert "Look into y" in listed
    ran = both.orchestrate()
    assert both.read("after.txt") == "lib\n"  # a dodo.py task waits for a stage, a stage for a dodo.py task
    assert both.read("sum.md") == "x is fine\n"
    assert ran.said("4 stages: 4 done")

    status = both.doit("list", "--status", "--all", check=0).out.splitlines()
    assert {line.split()[1] for line in status if line.startswith("U")} >= {
        "lib",
        "research:x",
        "research:y",
        "sum",
    }
    assert "status     : up-to-date" in both.doit("info", "lib", check=0).out
    both.doit("forget", "research", check=0)
    again = both.orchestrate()
    assert [both.attempts(name) for name in ("lib", "research:x", "research:y", "sum")] == [1, 2, 2, 1]
    assert again.said("lib up to date")

    both.doit("clean", "lib", check=0)
    assert not (both.root / "lib.txt").exists()
    assert "target 'lib.txt' is missing" in both.orchestrate("--explain", "lib").out
    both.doit("ignore", "lib", check=0)
    assert both.orchestrate("lib").said("lib ignored")
    assert not (both.root / "lib.txt").exists()
    both.doit("forget", "lib", check=0)
    both.orchestrate("lib")
    assert both.read("lib.txt") == "lib\n"

    both.write("made.txt", "made by hand\n")
    both.doit("reset-dep", "lib", check=0)
    assert both.orchestrate("--explain", "-s", "lib").said("lib: up to date")
    assert "research:x" in both.doit("tabcompletion", "--hardcode-tasks", check=0).out or both.doit(
        "tabcompletion", "--hardcode-tasks"
    ).out.count("research")


@pytest.mark.tmux
def test_what_a_stage_quotes_is_known_also_where_nobody_works_on_it(both: Project) -> None:
    """Its last message is in doit's state, which the stage's thread can't ask; else the next run would do it again."""
    both.orchestrate()
    both.write("orchestrate.toml", both.read("orchestrate.toml").replace("Sum up:", "Sum up now:"))
    assert both.orchestrate().said("4 stages: 1 done, 3 up to date")
    assert both.orchestrate().said("4 stages: 4 up to date")


@pytest.mark.parametrize("mode", ["doit.cfg", "import"])
def test_reset_dep_says_of_which_stages_it_can_not_say_that_they_are_done(
    project: Project, mode: str
) -> None:
    """Here as in a clone, which has the targets and nothing that tells how they were made."""
    project.write("orchestrate.toml", STAGES)
    project.write("made.txt", "made\n")
    dodo = "def task_mine():\n    return {'actions': ['true'], 'file_dep': ['made.txt']}\n"
    if mode == "import":
        dodo = "from dodo_claude.stages import *\n" + dodo
    else:
        project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    project.write("dodo.py", dodo)
    for name in ("lib.txt", "research/x.md", "research/y.md", "sum.md"):
        project.write(name, "from elsewhere\n")
    ran = project.doit("reset-dep", check=0)
    why = "it has not run yet; doit orchestrate {} does it"
    told = [f"failed {name} ({why.format(name)})" for name in ("lib", "research:x", "research:y", "sum")]
    if mode == "import":  # what doit itself prints there is not ours to change
        assert ran.err.splitlines() == [f"dodo_claude: {line}" for line in told]
    else:
        assert ran.out.splitlines() == ["processed mine", *told]
        assert ran.err == ""
    assert project.doit("reset-dep", "mine", check=0).out == "skip mine\n"
    assert "lib: stale\n    it has not run yet" in project.orchestrate("--explain", "lib").out


def test_plain_doit_runs_them_too(both: Project) -> None:
    ran = both.doit("run", check=0)
    assert both.read("sum.md") == "x is fine\n"
    assert "Traceback" not in ran.err
    assert both.orchestrate().said("4 stages: 4 up to date")


def test_without_dodo_py(project: Project) -> None:
    project.write("orchestrate.toml", STAGES)
    project.write("scenario.toml", SCENARIO)
    project.write("made.txt", "made\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    assert "lib" in project.doit("list", check=0).out
    project.orchestrate("research:x")
    assert project.attempts("research:y") == 0
    project.orchestrate("sum.md")  # by target
    assert project.attempts("research:y") == 1


def test_from_a_folder_below_with_k(project: Project) -> None:
    project.write("orchestrate.toml", STAGES)
    project.write("made.txt", "made\n")
    (project.root / "deep/er").mkdir(parents=True)
    below = Project(project.root / "deep/er", project.home, project.runtime)
    assert below.orchestrate("-k", "--dry-run").said("lib: stale")
    lost = below.orchestrate("--dry-run", check=3)
    assert "orchestrate.toml: not found" in lost.err
    assert below.orchestrate("-d", "../..", "--dry-run").said("lib: stale")


CLASHES = {
    "a dodo.py task": ("def task_lib():\n    return {'actions': None}\n", "lib"),
    "a dodo.py group's": ("def task_research():\n    yield {'name': 'x', 'actions': None}\n", "research"),
}


@pytest.mark.parametrize("clash", sorted(CLASHES))
def test_a_name_that_clashes_is_refused_in_one_line(project: Project, clash: str) -> None:
    dodo, name = CLASHES[clash]
    project.write("orchestrate.toml", STAGES)
    project.write("dodo.py", dodo)
    ran = project.orchestrate(check=3)
    assert f"stages.{name}:" in ran.err
    assert all("is the name of a task in dodo.py" in line for line in ran.err.strip().splitlines()[1:])


def test_a_stage_with_a_doit_commands_name_is_refused(project: Project) -> None:
    project.write("orchestrate.toml", STAGES.replace("[stages.lib]", "[stages.clean]"))
    assert "stages.clean:" in project.orchestrate(check=3).err


def test_faults_of_the_user_are_one_line(project: Project) -> None:
    assert "ERROR: " in project.orchestrate(check=3).err  # nothing here at all
    project.write("orchestrate.toml", STAGES)
    project.write("made.txt", "made\n")
    assert '"nope"' in project.orchestrate("nope", check=3).err
    assert "threads only" in project.orchestrate("-P", "process", check=3).err
    missing = project.orchestrate(check=3)
    assert missing.err.startswith("ERROR: agent 'scripted': scenario.toml not found beside orchestrate.toml")
    project.write("orchestrate.toml", STAGES.replace("targets", "target"))
    assert "did you mean 'targets'?" in project.orchestrate(check=3).err


@pytest.mark.parametrize("value", ["process", "thread"])
def test_a_users_settings_for_doit_run_do_no_harm(project: Project, value: str) -> None:
    project.write("orchestrate.toml", STAGES)
    project.write("scenario.toml", SCENARIO)
    project.write("made.txt", "made\n")
    project.write("doit.cfg", f"[GLOBAL]\nloader = orchestrate\npar_type = {value}\nnum_process = 2\n")
    ran = project.orchestrate(check=0 if value == "thread" else 3)
    assert ran.said("4 done") or "threads only" in ran.err


@pytest.mark.parametrize("with_dodo", [False, True])
def test_a_file_without_stages_is_refused_by_every_command(project: Project, with_dodo: bool) -> None:
    project.write("orchestrate.toml", "# nothing yet\n")
    project.write("doit.cfg", "[GLOBAL]\nloader = orchestrate\n")
    if with_dodo:
        project.write("dodo.py", "def task_x():\n    return {'actions': ['true']}\n")
    why = "orchestrate.toml:1:1: has no stages (write a table [stages.NAME] with a prompt or a command for each)"
    for args in (
        ["orchestrate"],
        ["orchestrate", "--explain"],
        ["orchestrate", "--detach"],
        ["list"],
        ["run"],
    ):
        ran = project.run("doit", *args, check=3)
        assert why in ran.err, args
    for args in (["check"], ["status"], ["log", "a"], ["attach", "a"], ["send", "a", "hello"], ["doctor"]):
        ran = project.run("dodo-claude", *args)
        assert ran.code in (1, 2), args
        assert "has no stages" in ran.out + ran.err, args
    assert not (project.root / ".orchestrate/runs").exists()
