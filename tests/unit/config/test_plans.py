"""What may stand in a plan, and what is told of one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.config import plans
from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.records import Config
from dodo_claude.run import approval

OUTER = """
[defaults]
protect = ["doc/**", "LICENSE"]
timeout = "7m"
allowed_tools = ["Bash(pytest *)"]
[agents.claude]
model = "opus"
[stages.first]
command = "x"
targets = ["first.txt"]
[stages.work]
plan = "plan.toml"
prompt = "Plan it."
[stages.last]
command = "x"
file_dep = ["made.txt", "there.txt"]
after = ["work"]
"""
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(plan: str | None = None, outer: str = OUTER, **files: str) -> Path:
        named = {"orchestrate.toml": outer, "there.txt": "x", "in/.env": "x", **files}
        if plan is not None:
            named["plan.toml"] = plan
        for name, text in named.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path / "orchestrate.toml"

    return write


def problems(path: Path, group: str = "work") -> list[str]:
    return list(Blueprint(path).plan_problems(group))


def names(config: Config) -> list[str]:
    return [stage.name for stage in config.stages]


def test_before_it_is_there_its_group_is_late(make: Make) -> None:
    config = load_config(make())
    assert names(config) == ["first", "work:plan", "last"]
    assert [(late.group, late.makers, late.source) for late in config.late] == [
        ("work", ("work:plan",), "the stages of plan.toml")
    ]
    planner = next(config.named("work:plan"))
    assert (planner.targets, planner.plan, planner.repairs, planner.check) == (
        ("plan.toml",), "plan.toml", 2, None,
    )  # fmt: skip
    # What nobody makes and is not there, the plan may make.
    assert next(config.named("last")).after == ("work",)
    assert config.orders == ("plan.toml",)


def test_its_stages_have_the_rights_of_the_file_around(make: Make) -> None:
    path = make(
        '[stages.one]\nprompt = "x"\ntargets = ["made.txt"]\n[stages.any]\nafter = ["one"]\ncommand = "y"\n'
    )
    path.write_text(OUTER.replace('["work"]', '["work:any"]'))
    config = load_config(path)
    assert names(config) == ["first", "work:plan", "work:one", "work:any", "last"]
    assert dict(config.groups)["work"] == ("work:plan", "work:one", "work:any")
    one = next(config.named("work:one"))
    assert one.agent is not None
    assert (one.agent.model, one.agent.allowed_tools) == ("opus", ("Edit(./**)", "Bash(pytest *)"))
    assert (one.timeout, one.after, one.planned) == (420.0, ("work:plan",), "plan.toml")
    assert next(config.named("work:any")).after == ("work:one", "work:plan")
    assert next(config.named("last")).after == ("work:any",)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("", "plan.toml:1:1: has no stages (write a table [stages.NAME] for each)"),
        ("[stages]", "plan.toml:1:2: stages: has no stages (write a table [stages.NAME] for each)"),
        ("stages = 3", "plan.toml:1:10: stages: 3 is not a table"),
        ("a = ", "plan.toml:1:5: invalid value (a text needs quotes around it)"),
        ("[orchestrate]\nname = 'x'\n[stages.a]\ncommand = 'x'", "plan.toml:1:2: orchestrate: 'orchestrate' can't stand in a plan (it is for the file "
         "that its planner stands in to say)"),
        ("[defaults]\n[stages.a]\ncommand = 'x'", "plan.toml:1:2: defaults: 'defaults' can't stand in a plan (it is for the file that its planner "
         "stands in to say)"),
        ("[stagess.a]\n[stages.a]\ncommand = 'x'", "plan.toml:1:2: stagess: 'stagess' can't stand in a plan (a plan has [stages.NAME] tables only)"),
        ("[stages.plan]\nprompt = 'x'", "plan.toml:1:9: stages.plan: is the planner's own name (give the stage another)"),
        ("[stages.a]\ntargets = ['b']", "plan.toml:1:9: stages.a: has no prompt, phases or command (a stage needs one of them)"),
        ("[stages.a]\nprompt = 'x'\nforeach = { glob = '*' }", "plan.toml:3:11: stages.a.foreach: is no list (a plan's foreach "
         "is a list of items)"),
        ("[stages.a]\nphases = [{ prompt_file = 'x' }]", "plan.toml:2:13: stages.a.phases[0].prompt_file: can't stand in a "
         "plan (write the prompt itself)"),
        ("[stages.a]\nprompt = 'x'\ntargets = ['doc/a.md']", "plan.toml:3:12: stages.a.targets[0]: 'doc/a.md' is protected "
         "(no planned stage may change it)"),
        ("[stages.a]\ncommand = 'x'\ntargets = ['dodo.py']", "plan.toml:3:12: stages.a.targets[0]: 'dodo.py' is protected"),
        ("[stages.a]\ncommand = 'x'\ntargets = ['.claude/a/b.json']", "plan.toml:3:12: stages.a.targets[0]: '.claude/a/b.json' is "
         "protected"),
        ("[stages.a]\nprompt = 'x'\ntargets = ['LICENSE']", "plan.toml:3:12: stages.a.targets[0]: 'LICENSE' is protected "
         "(no planned stage may change it)"),
        ("[stages.a]\nprompt = '''\n{{ files['sub/.env'] }}'''", "plan.toml:2:10: stages.a.prompt: 'sub/.env' may hold secrets "
         "(no planned stage may read it)"),
        ("[stages.a]\nprompt = 'x'\nfile_dep = ['.env.local']", "plan.toml:3:13: stages.a.file_dep[0]: '.env.local' may hold "
         "secrets (no planned stage may read it)"),
        ("[stages.a]\nprompt = \"{% for p, t in files.glob('**/.e*') %}{{ t }}{% endfor %}\"", "plan.toml:2:10: stages.a.prompt: "
         "'in/.env' may hold secrets (no planned stage may read it)"),
        ("[stages.a]\nprompt = \"{{ files['nowhere.md'] }}\"", "plan.toml:2:10: stages.a.prompt: 'nowhere.md' is not there, and "
         "no stage makes it (name a target of a stage)"),
        ("[stages.a]\nprompt = 'x'\nfile_dep = ['.git/config']", "plan.toml:3:13: stages.a.file_dep[0]: '.git/config' may hold "
         "secrets (no planned stage may read it)"),
        ("[stages.a]\nprompt = 'x'\ntargets = ['first.txt']", "plan.toml:3:12: stages.a.targets[0]: 'first.txt' is a target of "
         "stage 'first' (orchestrate.toml, line 8) too (a file has one stage that makes it)"),
        ("[stages.a]\nprompt = 'x'\ntargets = ['orchestrate.toml']", "plan.toml:3:12: stages.a.targets[0]: 'orchestrate.toml' "
         "says what other stages do (no stage may change what says what stages do)"),
        ("[stages.a]\nprompt = 'x'\ntargets = ['plan.toml']", "plan.toml:3:12: stages.a.targets[0]: 'plan.toml' is a target of "
         "stage 'work:plan' (orchestrate.toml, line 11) too (a file has one stage that makes it)"),
        ("[stages.a]\nprompt = 'x'\nafter = ['first']", "plan.toml:3:10: stages.a.after[0]: unknown stage 'first' (known stages: a, "),
        ("[stages.a]\nprompt = '{{ env.TOKEN }}'", "plan.toml:2:10: stages.a.prompt: env.TOKEN is not given to this stage"),
        (f"[stages.a]\ncommand = 'x'\nforeach = {list(map(str, range(101)))}", "plan.toml:1:2: stages: makes 101 stages (a plan "
         "has at most 100)"),
        *((f"[stages.a]\nprompt = 'x'\n{key} = {value}", f"plan.toml:3:1: stages.a.{key}: can't stand in a plan (a planned stage "
           "has prompt, phases, command, targets, file_dep, after, foreach, check, cwd)")
          for key, value in (("agent", "'claude'"), ("allowed_tools", "['Bash']"), ("env", "{}"), ("protect", "[]"),
                             ("prompt_file", "'x'"), ("orchestrate", "'x'"), ("plan", "'x'"), ("model", "'x'"),
                             ("on_permission", "'ask'"), ("session", "'x'"))),
    ],
)  # fmt: skip
def test_what_a_plan_must_not_say(make: Make, plan: str, said: str) -> None:
    lines = problems(make(plan))
    assert [line[: len(said)] for line in lines] == [said], lines


def test_what_a_dodo_py_makes_is_there(make: Make, tmp_path: Path) -> None:
    path = make('[stages.a]\nprompt = "x"\nfile_dep = ["made-by.dodo", "there.txt", "first.txt"]\n')
    assert len(problems(path)) == 1
    assert Blueprint(path, made_by={"made-by.dodo": "task"}).plan_problems("work") == ()
    (tmp_path / "dodo.py").write_text("")
    assert problems(path) == []


def test_all_faults_at_once_and_only_when_it_is_asked_for(make: Make) -> None:
    path = make("[stages.a]\npromt = 'x'\nagent = 'claude'\n[stages.b]\ncommand = 'x'\nafter = ['c']\n")
    assert [line.split(": ")[0] for line in problems(path)] == [
        f"plan.toml:{place}" for place in ("1:9", "2:1", "3:1", "6:10")
    ]
    # Whoever only looks at the project is not kept from it.
    assert names(load_config(path)) == ["first", "work:plan", "last"]
    path.with_name("plan.toml").unlink()
    assert problems(path) == ["plan.toml:1:1: no such file"]


def test_paths_of_a_nested_file_stay_there(make: Make, tmp_path: Path) -> None:
    sub = '[stages.work]\nplan = "plan.toml"\nprompt = "x"\n'
    outer = '[stages.sub]\norchestrate = "sub/orchestrate.toml"\n'
    files = {"sub/orchestrate.toml": sub, "sub/plan.toml": '[stages.a]\nprompt = "x"\ntargets = ["a.txt"]\n'}
    config = load_config(make(outer=outer, **files))
    assert names(config) == ["sub:work:plan", "sub:work:a"]
    assert next(config.named("sub:work:a")).targets == ("sub/a.txt",)
    assert [(plan.group, plan.file) for plan in config.plans] == [("sub:work", "sub/plan.toml")]
    (tmp_path / "sub/plan.toml").write_text('[stages.a]\nprompt = "x"\ntargets = ["../a.txt"]\n')
    assert problems(tmp_path / "orchestrate.toml", "sub:work")[0].startswith("sub/plan.toml:3:12")


def test_a_run_keeps_to_the_plan_that_it_began_with(make: Make) -> None:
    path = make("[stages.a]\ncommand = 'x'\n")
    blueprint = Blueprint(path)
    assert names(blueprint.config({"work"}))[2] == "work:a"
    path.with_name("plan.toml").write_text("[stages.other]\ncommand = 'x'\nbad = 1\n")
    assert names(blueprint.config({"work"}))[2] == "work:a"
    assert blueprint.plan_problems("work")[0].startswith("plan.toml:3:1: stages.other.bad")


def test_the_example_that_a_planner_sees_is_a_plan(make: Make) -> None:
    config = load_config(make())
    told = plans.brief(next(config.named("work:plan")), config)
    example = re.search(r"```toml\n(.*?)```", told, re.S)
    assert example is not None
    path = make(example[1])
    assert problems(path) == []
    assert names(load_config(path))[2:5] == ["work:backend", "work:tests", "work:docs"]
    assert "Write plan.toml, a TOML file" in told
    assert "Other stages make first.txt" in told
    assert "{{ files['PATH'] }}" in told
    # Another time it is to keep what holds, so that less runs again.
    assert "an earlier request" not in told
    assert "plan.toml is there: the plan of an earlier request." in plans.brief(
        next(config.named("work:plan")), config
    )


def test_nothing_that_runs_is_hidden(make: Make) -> None:
    config = load_config(
        make(
            '[stages.a]\ncommand = "echo \\u001b[2K\\nrm -rf x"\ncwd = "sub"\n'
            f'[stages.b]\nphases = [{{ prompt = "x", check = "one" }}]\ncheck = "{"x" * 600}"\n'
            f"targets = {[f'file-{number}' for number in range(9)]}\n",
            **{"sub/x": ""},
        )
    )
    assert plans.table(config, config.plans[0]) == [
        "work: 2 stages planned in plan.toml",
        "    stage  after  makes",
        "    a      -      -",
        "        runs: in sub: echo \\x1b[2K\\nrm -rf x",
        "    b      -      file-0, file-1, file-2, file-3, file-4,…",
        "        check: one",
        f"        check: {'x' * 600}",
    ]


def test_each_plan_needs_a_yes_of_its_own(make: Make, tmp_path: Path) -> None:
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_STATE_HOME": ""}
    path = make("[stages.a]\ncommand = 'x'\n")
    before = Blueprint(path).config(())
    approval.approve(before, environ)
    assert approval.unapproved(before, environ) == []
    config = load_config(path)
    own, waiting = approval.split(config, approval.unapproved(config, environ))
    assert (own, waiting) == ([], list(config.plans))
    approval.approve(config, environ, plan=config.plans[0])
    assert approval.unapproved(config, environ) == []
    # A yes to a plan is none to what stands around it.
    config = load_config(make("[stages.a]\ncommand = 'z'\n", OUTER.replace('"x"\nfile_dep', '"z"\nfile_dep')))
    approval.approve(config, environ, plan=config.plans[0])
    assert [item.what for item in approval.unapproved(config, environ)] == ["command of stage 'last'"]
    # And a plan is its bytes: a comment may say something else to who reads it.
    config = load_config(make("# x\n[stages.a]\ncommand = 'z'\n"))
    own, waiting = approval.split(config, approval.unapproved(config, environ))
    assert waiting == list(config.plans)
