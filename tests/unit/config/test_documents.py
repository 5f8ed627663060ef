"""orchestrate.toml files in each other: names, folders, defaults and agents of each its own, faults of all at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dodo_claude.agents import agent
from dodo_claude.agents.claude import rules
from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.records import Config
from dodo_claude.run import approval, safeguards
from dodo_claude.run.stage_prompt import render
from dodo_claude.text.errors import ConfigError
from dodo_claude.text.redact import Redactor
from dodo_claude.worker import protect

Write = Callable[..., Path]

OUTER = """
[orchestrate]
name = "whole"
budget = { minutes = 5 }
[defaults]
timeout = "1h"
[agents.claude]
model = "opus"
[stages.first]
command = "x"
targets = ["sub/in.txt"]
[stages.sub]
orchestrate = "sub/orchestrate.toml"
after = ["first"]
file_dep = ["shared.txt"]
[stages.last]
prompt = "{{ files['sub/out/a.txt'] }} {{ stages.sub.message }} {{ stages['sub:map:a'].message }}"
file_dep = ["sub/out/*.txt"]
after = ["sub:join"]
"""
INNER = """
[orchestrate]
max_workers = 9
budget = { minutes = 1 }
[defaults]
agent = "own"
protect = ["in.txt"]
[agents.own]
base = "claude"
model = "haiku"
[agents.scripted]
allowed_tools = ["Read"]
[stages.map]
foreach = ["a", "b"]
prompt_file = "prompts/map.md"
targets = ["out/{{ item }}.txt"]
check = "test -s out/{{ item }}.txt"
[stages.join]
prompt = "{% for path, text in files.glob('out/*.txt') %}{{ path }}{{ text }}{% endfor %} {{ stages.map.message }} {{ stage }}"
after = ["map"]
targets = ["joined.txt"]
cwd = "out"
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the outer file, and others by their names."""

    def written(outer: str, files: dict[str, str]) -> Path:
        for name, text in {"orchestrate.toml": outer, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path / "orchestrate.toml"

    return written


@pytest.fixture
def config(write: Write) -> Config:
    prompt = "{{ files['in.txt'] }} for {{ item }} by {{ stage }}"
    files = {
        "sub/orchestrate.toml": INNER,
        "sub/prompts/map.md": prompt,
        "shared.txt": "s",
        "sub/in.txt": "i",
    }
    return load_config(write(OUTER, files))


def test_its_stages_stand_where_it_does(config: Config) -> None:
    assert [stage.name for stage in config.stages] == ["first", "sub:map:a", "sub:map:b", "sub:join", "last"]
    assert config.groups == (
        ("sub", ("sub:map:a", "sub:map:b", "sub:join")),
        ("sub:map", ("sub:map:a", "sub:map:b")),
    )
    assert (config.max_workers, config.budget.minutes) == (4, 5)
    assert config.included == ("sub/orchestrate.toml",)
    (note,) = [note for note in config.notes if "[orchestrate]" in note]
    assert note == (
        "sub/orchestrate.toml: max_workers, budget of [orchestrate] count where it runs by itself; "
        "here orchestrate.toml's do"
    )


def test_folder_defaults_and_agents_are_its_own(config: Config) -> None:
    stage, join, last = config.stages[1], config.stages[3], config.stages[4]
    assert (stage.targets, stage.cwd, stage.prompt_file) == (("sub/out/a.txt",), "sub", "sub/prompts/map.md")
    assert stage.file_dep == ("shared.txt", "sub/in.txt", "sub/prompts/map.md")
    assert stage.after == ("first",)
    assert stage.session.startswith("whole-sub-map-a-")
    assert (stage.timeout, last.timeout) == (1800.0, 3600.0)
    assert stage.agent is not None
    assert last.agent is not None
    assert (stage.agent.name, stage.agent.model, last.agent.model) == ("own", "haiku", "opus")
    assert (join.cwd, join.after) == ("sub/out", ("sub:map", "first"))
    assert join.messages == ("sub:map",)
    assert join.prompt_globs == (("sub/out/*.txt", ("sub/out/a.txt", "sub/out/b.txt")),)
    assert last.after == ("sub:join", "sub", "sub:map:a")
    assert last.file_dep == ("sub/out/a.txt", "sub/out/b.txt")


def test_prompts_are_as_its_file_writes_them(config: Config, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "sub/out").mkdir(exist_ok=True)
        (tmp_path / f"sub/out/{name}.txt").write_text(f"made {name}")
    redact = Redactor({})
    text = render(config, {}, redact, config.stages[1]).text
    assert 'path="in.txt"' in text
    assert text.endswith("for a by map:a")
    text = render(config, {}, redact, config.stages[3]).text
    assert 'out/a.txt<file path="out/a.txt"' in text
    assert "made b" in text
    assert '<message stage="map"' in text
    assert text.endswith(" join")
    text = render(config, {}, redact, config.stages[4]).text
    assert 'path="sub/out/a.txt"' in text
    assert '<message stage="sub:map:a"' in text


def test_it_works_by_itself(config: Config, tmp_path: Path) -> None:
    alone = load_config(tmp_path / "sub/orchestrate.toml")
    assert [stage.name for stage in alone.stages] == ["map:a", "map:b", "join"]
    assert alone.stages[0].targets == ("out/a.txt",)
    assert alone.max_workers == 9


def test_the_scripted_agent_plays_the_scenario_of_the_folder(config: Config, tmp_path: Path) -> None:
    played = load_config(tmp_path / "orchestrate.toml", agent="scripted")
    scenarios = [stage.agent.scenario for stage in played.stages if stage.agent]
    assert scenarios == ["sub/scenario.toml"] * 3 + ["scenario.toml"]
    assert [stage.agent.allowed_tools for stage in played.stages if stage.agent][2:] == [
        ("Read",),
        ("Edit(./**)",),
    ]
    # One that only the outer file has is taken from there.
    project = load_config(tmp_path / "sub/orchestrate.toml", agent="own")
    assert project.stages[0].agent is not None
    with pytest.raises(ConfigError, match="unknown agent 'own'"):
        load_config(tmp_path / "orchestrate.toml", agent="own")


def test_what_it_runs_is_approved_with_the_rest(config: Config, tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    approval.approve(config, environ)
    path = tmp_path / "sub/orchestrate.toml"
    path.write_text(INNER.replace("test -s", "rm -r"))
    changed = [item.what for item in approval.unapproved(load_config(config.path), environ)]
    assert changed == ["check of stage 'sub:map:a'", "check of stage 'sub:map:b'"]
    path.chmod(0o666)
    assert any(
        fault.startswith("sub/orchestrate.toml: others can write it")
        for fault in safeguards.unsafe_files(config)
    )


def test_nobody_may_change_it(config: Config, tmp_path: Path) -> None:
    for stage in config.stages:
        before = protect.Guard(tmp_path, {}).begin(stage, print).marks(())
        assert before["sub/orchestrate.toml"]
        assert "sub/dodo.py" in before
    job = agent.Job(
        stage="s", attempt=1, root=tmp_path, cwd=tmp_path, folder=tmp_path, session_id="x", nonce="n", targets=(),
        check=None, hook=(), resume=False, deny_dialogs=False, handover=None, by_file=False, orders=config.orders,
            mail=tmp_path, notes=tmp_path,
    )  # fmt: skip
    profile = config.stages[4].agent
    assert profile is not None
    assert f"Edit(/{tmp_path}/sub/orchestrate.toml)" in rules.never(profile, job)
    assert f"Edit(/{tmp_path}/sub/.claude/**)" in rules.never(profile, job)


def test_files_of_its_folder_are_items(write: Write) -> None:
    inner = '[stages.map]\nforeach = { glob = "src/*.py" }\nprompt = "{{ files[item] }}"\ntargets = ["{{ item }}.md"]\n'
    late = '[stages.late]\nforeach = { lines = "list.txt" }\ncommand = "x {{ item }}"\ntargets = ["l/{{ item }}"]\n'
    outer = (
        '[stages.sub]\norchestrate = "sub/orchestrate.toml"\n[stages.gen]\ncommand = "x"\ntargets = ["sub/list.txt"]\n'
        '[stages.end]\ncommand = "x"\nfile_dep = ["sub/l/x", "sub/src/*.md"]\n'
    )
    path = write(outer, {"sub/orchestrate.toml": inner + late, "sub/src/a.py": "a"})
    config = load_config(path)
    assert [stage.name for stage in config.stages] == ["sub:map:src/a.py", "gen", "end"]
    stage = config.stages[0]
    assert (stage.file_dep, stage.prompt_files, stage.targets) == (
        ("sub/src/a.py",), ("sub/src/a.py",), ("sub/src/a.py.md",),
    )  # fmt: skip
    assert [(late.group, late.makers) for late in config.late] == [("sub:late", ("gen",))]
    assert config.stages[2].after == ("sub:late",)
    (path.parent / "sub/list.txt").write_text("x\n")
    assert [stage.name for stage in Blueprint(path).config({"sub:late"}).stages][1] == "sub:late:x"


def test_files_in_files_and_not_without_end(write: Write, tmp_path: Path) -> None:
    folder = ""
    files = {}
    for _ in range(10):
        files[f"{folder}orchestrate.toml"] = (
            '[stages.in]\norchestrate = "d/orchestrate.toml"\n[stages.x]\ncommand = "x"\n'
        )
        folder += "d/"
    outer = files.pop("orchestrate.toml")
    with pytest.raises(ConfigError) as caught:
        load_config(write(outer, files))
    (problem,) = caught.value.problems
    assert problem.file == "d/" * 8 + "orchestrate.toml"
    assert problem.text == "'d/orchestrate.toml' is included too deeply"
    (tmp_path / problem.file).write_text('[stages.x]\ncommand = "x"\n')
    assert load_config(tmp_path / "orchestrate.toml").stages[0].name == ":".join(["in"] * 8 + ["x"])
    # A file that leads back to one that includes it would have to leave its folder.
    (tmp_path / "d/d").rename(tmp_path / "away")
    os.symlink("..", tmp_path / "d/d")
    with pytest.raises(ConfigError, match="leads outside the project through a symbolic link"):
        load_config(tmp_path / "orchestrate.toml")


def test_a_report_names_it_once(write: Write) -> None:
    outer = '[stages.sub]\norchestrate = "sub/orchestrate.toml"\n[stages.sum]\nprompt = "{{ report }}"\nafter = ["sub"]\n'
    inner = '[stages.a]\ncommand = "x"\n[stages.b]\nforeach = ["c"]\ncommand = "x"\n'
    config = load_config(write(outer, {"sub/orchestrate.toml": inner}))
    assert next(config.named("sum")).report == ("sub",)
    assert [stage.name for stage in config.named("sub")] == ["sub:a", "sub:b:c"]
