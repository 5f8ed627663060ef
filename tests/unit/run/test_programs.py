"""What can be known before anybody works: a check that can't be run, a guard that guards nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.config.config import load_config
from dodo_claude.run import programs

Make = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Make:
    """The problems of an orchestrate.toml, in a project with some files; tools are on PATH."""
    root = tmp_path / "p"
    for name in ("check.sh", "plain.sh", "tool", "checks/run.py", "sub/x.sh", "app/[id]/page.tsx"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("#!/bin/sh\n")
    for name in ("check.sh", "sub/x.sh"):
        (root / name).chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("pytest", "grep", "python3", "sh"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)

    def make(text: str, path: str = str(tools)) -> list[str]:
        (root / "orchestrate.toml").write_text(text)
        config = load_config(root / "orchestrate.toml")
        found = programs.problems(config, config.stages, {"PATH": path})
        return [*map(str, found), *map(str, programs.missing_scripts(config)), *programs.idle_guards(config)]

    return make


def stage(check: str, more: str = "") -> str:
    return f"[stages.a]\nprompt = 'x'\ntargets = ['a.sh']\n{more}\ncheck = {check!r}\n"


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("./chek.sh", "'./chek.sh' is not there (did you mean './check.sh'?)"),
        ("pytset -q", "'pytset' is not on PATH (did you mean 'pytest'?)"),
        ("CI=1 nosuch", "'nosuch' is not on PATH (install it, or mend its name)"),
        ("tool --all", "'tool' is not on PATH (a file of that folder is ./tool)"),
        ("./plain.sh", "'./plain.sh' can't be executed (chmod +x plain.sh, or name its interpreter)"),
        ("checks/rnu.py", "'checks/rnu.py' is not there (did you mean 'checks/run.py'?)"),
        ("python3 checks/rnu.py", "'checks/rnu.py' is not there (did you mean 'checks/run.py'?)"),
        ("./b.sh", "'./b.sh' is not there (did you mean './a.sh'?)"),
        ("/nosuch/x", None),  # nor is its folder
        ("./check.sh", None),
        ("sh ./plain.sh", None),
        ("pytest -q", None),
        ("./a.sh", None),  # made by a stage
        ("python3 a.sh", None),
        (".venv/bin/pytest -q", None),
        ("test -s a.sh", None),
        ("$TOOL x", None),
        ("python3 -m nosuch", None),
        ("sh -c nosuch", None),
    ],
)
def test_the_first_word_of_a_check(told: Make, check: str, problem: str | None) -> None:
    lines = [] if problem is None else [f"orchestrate.toml:5:9: stages.a.check: {problem}"]
    assert told(stage(check)) == lines


def test_each_is_said_once_where_it_is_said(told: Make) -> None:
    text = (
        "[defaults]\ncheck = 'pytset'\n[stages.a]\nforeach = ['x', 'y']\nprompt = 'x'\n[stages.b]\ncommand = 'x'\n"
        "[stages.c]\nphases = [{ prompt = '1', check = './chek.sh' }, { prompt = '2' }]\n"
    )
    assert told(text) == [
        "orchestrate.toml:2:9: defaults.check: 'pytset' is not on PATH (did you mean 'pytest'?)",
        "orchestrate.toml:9:35: stages.c.phases[0].check: './chek.sh' is not there (did you mean './check.sh'?)",
    ]


def test_a_nested_file_s_own_folder_is_meant(told: Make, tmp_path: Path) -> None:
    (tmp_path / "p/sub/orchestrate.toml").write_text(
        "[stages.d]\nprompt = 'x'\ncheck = './x.hs'\ncwd = '.'\n"
    )
    assert told("[stages.sub]\norchestrate = 'sub/orchestrate.toml'\n") == [
        "sub/orchestrate.toml:3:9: stages.d.check: './x.hs' is not there (did you mean './x.sh'?)"
    ]


def test_what_a_stage_may_yet_make_is_no_problem(told: Make, tmp_path: Path) -> None:
    path = f".venv/bin{os.pathsep}{tmp_path}/tools"
    assert told(stage("nosuch -q", f"env = {{ PATH = '{path}' }}")) == []
    assert told(stage("nosuch -q"), path="") == []
    (tmp_path / "p/dodo.py").write_text("")
    assert told(stage("./chek.sh")) == []


def test_a_guard_that_finds_nothing_is_told_of(told: Make) -> None:
    text = (
        "[defaults]\nprotect = ['app/[id]/page.tsx', 'lib/**']\n"
        "[stages.a]\nprompt = 'x'\nprotect = ['check.sh', 'setup.cgf', 'checks/*.py', 'app/[i]d/*']\n[stages.b]\nprompt = 'x'\n"
    )
    assert told(text) == [
        "orchestrate.toml:2:33: defaults.protect[1]: 'lib/**' matches no file",
        "orchestrate.toml:5:24: stages.a.protect[1]: 'setup.cgf' is not there: it guards that nobody makes it",
        "orchestrate.toml:5:52: stages.a.protect[3]: 'app/[i]d/*' matches no file",
    ]


def test_a_guard_of_all_stages_is_looked_for_once(told: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    of_guard = programs.Places.of_guard
    monkeypatch.setattr(
        programs.Places, "of_guard", lambda self, *of: (asked.append(of[1]), of_guard(self, *of))[1]
    )
    defaults = "[defaults]\nprotect = ['no/a', 'no/*', 'no/b']\n"
    stages = "".join(f"[stages.s{number}]\ncommand = 'x'\n" for number in range(4))
    text = defaults + stages + "protect = ['no/c', 'no/b']\n"
    there = "is not there: it guards that nobody makes it"
    assert told(text) == [
        f"orchestrate.toml:2:12: defaults.protect[0]: 'no/a' {there}",
        "orchestrate.toml:2:20: defaults.protect[1]: 'no/*' matches no file",
        f"orchestrate.toml:2:28: defaults.protect[2]: 'no/b' {there}",
        f"orchestrate.toml:11:20: stages.s3.protect[1]: 'no/b' {there}",
        f"orchestrate.toml:11:12: stages.s3.protect[0]: 'no/c' {there}",
    ]
    assert asked == ["no/a", "no/*", "no/b", "no/a", "no/*", "no/b", "no/c"]


def test_a_guard_is_put_in_words_once(told: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    problem = programs.Places.problem
    monkeypatch.setattr(
        programs.Places, "problem", lambda self, *of: (asked.append(of), problem(self, *of))[1]
    )
    stages = "".join(f"[stages.s{n}]\ncommand = 'x'\nprotect = ['o{n}']\n" for n in range(5))
    assert len(told("[defaults]\nprotect = ['a', 'b']\n" + stages)) == 7
    assert len(asked) == 7


def test_of_very_many_faults_the_first_are_told(told: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MOST", 3)
    lines = told("".join(f"[stages.s{n}]\ncommand = 'x'\ncheck = './c{n}'\n" for n in range(9)))
    assert (
        lines[0]
        == "orchestrate.toml:1:1: more than 3 checks can't be run as they are: these are the first that were found (mend them first)"
    )
    assert [line.split(": ")[1] for line in lines[1:]] == [f"stages.s{n}.check" for n in range(4)]
    lines = told("".join(f"[stages.s{n}]\ncommand = 'x'\nprotect = ['p{n}']\n" for n in range(9)))
    assert lines[3:] == ["more than 3 paths and globs of protect guard nothing: these are the first"]


def test_a_program_that_is_not_there_is_looked_for_once(told: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    which = programs.shutil.which
    monkeypatch.setattr(
        programs.shutil, "which", lambda word, path: (asked.append(word), which(word, path=path))[1]
    )
    told("".join(f"[stages.s{n}]\ncommand = 'x'\ncheck = 'pytest {n}'\n" for n in range(9)))
    assert asked == ["pytest"]


def test_of_very_many_stages_that_are_not_known_any_may_make_a_check(
    told: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[stages.m]\ncommand = 'x'\ntargets = ['l']\n[stages.g]\nforeach = { lines = 'l' }\ncommand = 'x'\ntargets = ['o/{{ item }}']\n"
    text += "[stages.c]\ncommand = 'x'\ncheck = './none'\n"
    assert "is not there" in told(text)[0]
    monkeypatch.setattr(programs, "MOST_MATCHED", 100)
    assert told(text) == []
