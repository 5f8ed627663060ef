"""orchestrate.toml as a whole: what is right becomes records, and all that is wrong is said at once, in place."""

from __future__ import annotations

import gc
import os
import pickle
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import toml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dodo_claude.config import checks, config, findings, language, paths, prompts
from dodo_claude.config.config import Blueprint, load_config
from dodo_claude.config.findings import MOST
from dodo_claude.config.records import Budget, Config
from dodo_claude.config.schema import SCHEMA, look, schema
from dodo_claude.text.errors import ConfigError
from tests.samples.configs import BROKEN, EXPECTED, GOOD

ANY_VALIDATOR = jsonschema.Draft202012Validator(schema())


Project = Callable[[str], Path]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Writes a project whose orchestrate.toml has the given text."""

    def write(text: str) -> Path:
        for name in ("prompts/backend.md", "src/a.py", "src/b.py", "src/.c.py"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text("Write {{ files['docs/contract.md'] }}\n")
        path = tmp_path / "orchestrate.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaints(path: Path, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, **options)
    return str(caught.value).split("\n")


# What is right.


@pytest.fixture
def good(project: Project) -> Config:
    return load_config(project(GOOD))


def test_settings(good: Config, tmp_path: Path) -> None:
    assert (good.name, good.max_workers, good.socket) == ("profile", 8, "default")
    assert good.root == Path(os.path.realpath(tmp_path))
    assert [stage.name for stage in good.stages] == [
        "contract",
        "backend",
        "research:bubbletea",
        "research:go/cui",
        "v1.report",
        "build",
    ]
    assert good.groups == (("research", ("research:bubbletea", "research:go/cui")),)
    assert [stage.item for stage in good.named("research")] == ["bubbletea", "go/cui"]
    assert [stage.line for stage in good.stages] == [30, 39, 54, 54, 62, 70]


def test_what_a_run_may_use(good: Config) -> None:
    assert good.budget == Budget(minutes=90, turns=2000, tokens=50_000_000, cost_usd=5)
    assert good.notify == ("say", "it")
    assert (good.retry_delay, good.max_wait, good.worker_memory) == (0.1, 0.0, 1_610_612_736)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0MB", 0), ("600MB", 600_000_000), ("1B", 1), ("64kB", 64_000), ("64 KiB", 65_536), ("1TB", 10**12)],
)
def test_sizes(project: Project, text: str, size: int) -> None:
    text = f'[orchestrate]\nworker_memory = "{text}"\n[stages.a]\ncommand = "true"\n'
    assert load_config(project(text)).worker_memory == size


def test_waits_and_what_a_stage_must_not_touch(good: Config) -> None:
    backend, report = good.stages[1], good.stages[4]
    assert (backend.idle_timeout, backend.person_timeout, report.person_timeout) == (300.0, 600.0, 1800.0)
    assert (backend.on_permission, report.on_permission) == ("deny", "ask")
    assert (backend.max_turns, report.max_turns) == (50, 200)
    assert backend.protect == ("src/*.lock", "tests/**", "setup.cfg")
    assert report.protect == ("src/*.lock",)


def test_a_stage_with_an_agent_of_its_own(good: Config) -> None:
    stage = good.stages[0]
    assert stage.prompt == '\nWrite the contract, "quoted" é, in\n{{ stage }}.\n'.removeprefix("\n")
    assert stage.targets == ("docs/contract.md",)
    assert stage.timeout == 5400.0
    assert stage.session == "profile-contract"
    assert stage.agent is not None
    assert stage.agent.base == "claude"
    assert stage.agent.command == ("claude",)
    assert stage.agent.model == "opus"
    assert stage.agent.allowed_tools == ("Edit(./**)", "Bash(pytest *)", "Read")
    assert stage.agent.disallowed_tools == ("EnterPlanMode", "ExitPlanMode", "AskUserQuestion", "WebFetch")
    assert stage.agent.permission_mode == "dontAsk"
    assert stage.agent.setting_sources == ("user",)
    assert stage.agent.env_pass == ("HOME",)


def test_a_prompt_file_and_what_it_includes_are_file_deps(good: Config) -> None:
    stage = good.stages[1]
    assert stage.prompt == "Write {{ files['docs/contract.md'] }}\n"
    assert stage.prompt_file == "prompts/backend.md"
    assert stage.prompt_files == ("docs/contract.md",)
    assert stage.file_dep == ("docs/contract.md", "prompts/backend.md", "src/a.py", "src/b.py")
    assert stage.env == (("LANG", "C"), ("MODE", "slow"))
    assert (stage.keep, stage.repairs, stage.retries) == ("always", 3, 0)
    assert stage.session == "worker-backend"
    assert stage.agent is not None
    assert (stage.agent.name, stage.agent.command, stage.agent.scenario) == ("scripted", (), "scenario.toml")


def test_foreach(good: Config) -> None:
    stage = good.stages[3]
    assert (stage.group, stage.item) == ("research", "go/cui")
    assert stage.targets == ("research/go/cui.md",)
    assert stage.check == "grep -q go/cui research/go/cui.md"
    assert stage.prompt == "Research {{ item }} with {{ files['docs/contract.md'] }}"
    assert dict(stage.env)["TOPIC"] == "go/cui"
    assert stage.cwd == "src"
    assert stage.file_dep == ("docs/contract.md",)
    assert good.stages[2].session == "profile-research-bubbletea-" + good.stages[2].session[-8:]
    assert stage.session.startswith("profile-research-go-cui-")


def test_what_a_prompt_uses_is_waited_for(good: Config) -> None:
    stage = good.stages[4]
    assert stage.after == ("backend", "research", "research:go/cui")
    assert stage.messages == ("research", "research:go/cui")
    assert stage.prompt_env == ("MODE",)
    assert stage.file_dep == ("research/bubbletea.md", "research/go/cui.md")
    assert stage.allow_unchanged
    assert stage.agent is not None
    assert stage.agent.base == "command"
    assert stage.agent.command == ("my-agent", "--quiet", "two words")
    assert stage.agent.prompt_by == "stdin"
    assert stage.agent.allowed_tools == ("Read",)


def test_a_report_is_of_all_that_its_stage_comes_after(project: Project) -> None:
    """By file_deps, by names and through others; a group stands for its stages; the rest is left out."""
    config = load_config(
        project(
            """
[stages.spec]
prompt = "x"
targets = ["spec.md"]
[stages.map]
foreach = ["a", "b"]
prompt = "{{ files['spec.md'] }}"
targets = ["{{ item }}.md"]
[stages.one]
prompt = "{{ stages['map:a'].message }}"
[stages.other]
prompt = "x"
[stages.sum]
prompt = "{{ report }}"
file_dep = ["*.md"]
after = ["map"]
[stages.of_one]
prompt = "{{ report }}"
after = ["one"]
[stages.later]
prompt = "{{ stages.sum.message }}"
"""
        )
    )
    reports = {stage.name: stage.report for stage in config.stages if stage.report}
    assert reports == {"sum": ("spec", "map"), "of_one": ("spec", "map:a", "one")}


def test_a_command(good: Config) -> None:
    stage = good.stages[5]
    assert (stage.command, stage.prompt, stage.agent, stage.timeout) == ("make -j4", None, None, 90.0)


def test_records_are_frozen_and_can_be_kept(good: Config) -> None:
    with pytest.raises(FrozenInstanceError):
        good.stages[0].name = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(good)) == good
    assert hash(good.stages[0]) == hash(pickle.loads(pickle.dumps(good.stages[0])))


def test_defaults(project: Project, tmp_path: Path) -> None:
    config = load_config(project('[stages.a]\nprompt = "x"\n'))
    assert (config.max_workers, config.socket) == (4, "private")
    stage = config.stages[0]
    assert (stage.repairs, stage.retries, stage.timeout, stage.keep) == (1, 3, 1800.0, "on-failure")
    assert (stage.idle_timeout, stage.person_timeout) == (900.0, 1800.0)
    assert (stage.cwd, stage.check, stage.env, stage.allow_unchanged) == (".", None, (), False)
    assert stage.agent is not None
    assert (stage.agent.name, stage.agent.model) == ("claude", None)
    assert stage.agent.allowed_tools == ("Edit(./**)",)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My Project!", "my-project"), ("x", "x"), ("日本", "project"), ("a" * 50, "a" * 32), (".x.", "x")],
)
def test_the_name_is_the_folders_made_safe(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "orchestrate.toml"
    path.write_text('[stages.a]\ncommand = "true"\n')
    assert load_config(path).name == name


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(project: Project) -> None:
    path = project(GOOD)
    plain = load_config(path)
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load_config(path) == plain
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load_config(path) == plain
    prompt = path.parent / "prompts/backend.md"
    prompt.write_bytes(b"\xef\xbb\xbf" + prompt.read_bytes().replace(b"\n", b"\r\n"))
    assert load_config(path) == plain


def test_one_agent_for_all(project: Project) -> None:
    path = project(GOOD)
    config = load_config(path, agent="other")
    assert {stage.agent.name for stage in config.stages if stage.agent} == {"other"}
    assert complaints(path, agent="scriptd") == [
        "orchestrate.toml:1:1: --agent: unknown agent 'scriptd' (did you mean 'scripted'?)"
    ]


def test_values_in_a_shell_are_quoted(project: Project) -> None:
    text = "[stages.a]\nforeach = [\"x@y\"]\ncommand = \"echo {{ item|replace('@', '; touch PWN ') }} {{ stage }}\"\n"
    command = load_config(project(text)).stages[0].command
    assert shlex.split(str(command)) == ["echo", "x; touch PWN y", "a:x@y"]


@pytest.mark.parametrize(
    ("stage", "session"),
    [
        ("backend", "p-backend"),
        ("a-1", "p-a-1"),
        ("Backend", "p-backend-"),
        ("a.b", "p-a-b-"),
        ("a_b", "p-a-b-"),
        ("a-b", "p-a-b"),
        ("x" * 64, "p-xxxx"),
    ],
)
def test_session_names(project: Project, stage: str, session: str) -> None:
    config = load_config(project(f'[orchestrate]\nname = "p"\n[stages."{stage}"]\nprompt = "x"\n'))
    found = config.stages[0].session
    assert found.startswith(session)
    assert len(found) <= 48
    assert (found == session) == (not session.endswith("-") and len(stage) < 40)
    assert not set(found) - set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_odd_stage_names_have_sessions_of_their_own(project: Project) -> None:
    names = ["a.b", "a_b", "a-b", "A-b", "a.B", "x" * 63, "x" * 64, "work-1", "work-10"]
    text = "".join(f'[stages."{name}"]\nprompt = "x"\n' for name in names)
    assert len({stage.session for stage in load_config(project(text)).stages}) == len(names)


def test_a_glob_finds_files_and_targets_of_others_but_not_its_own(project: Project, tmp_path: Path) -> None:
    path = project(
        '[stages.a]\ncommand = "x"\ntargets = ["src/made.py", "src/sub/deep.py"]\n'
        '[stages.b]\ncommand = "x"\nfile_dep = ["src/*.py"]\ntargets = ["src/b.py"]\n'
        '[stages.c]\ncommand = "x"\nfile_dep = ["**/*.py", "new/[id].ts"]\n'
    )
    (tmp_path / "new").mkdir()
    (tmp_path / "new/[id].ts").write_text("a name, not a glob")
    stages = load_config(path).stages
    assert stages[1].file_dep == ("src/a.py", "src/made.py")
    assert stages[2].file_dep == ("new/[id].ts", "src/a.py", "src/b.py", "src/made.py", "src/sub/deep.py")


def test_the_item_in_tools_and_paths_of_prompts(project: Project) -> None:
    path = project(
        '[agents.claude]\nallowed_tools = ["Read"]\n[stages.a]\nforeach = ["src/a.py", "src/b.py"]\n'
        "prompt = \"{{ files[item] }} {{ files['prompts/' ~ item|stem ~ '.md'] }}\"\n"
        'targets = ["out/{{ item | stem }}.md"]\n'
        'allowed_tools = ["Edit(./out/{{ item|stem }}.md)", "Bash(run {{ item }})"]\n'
    )
    first, second = load_config(path).stages
    assert first.prompt_files == ("src/a.py", "prompts/a.md")
    assert second.prompt_files == ("src/b.py", "prompts/b.md")
    assert second.file_dep == ("prompts/b.md", "src/b.py")
    assert second.targets == ("out/b.md",)
    assert second.agent is not None
    assert second.agent.allowed_tools == ("Read", "Edit(./out/b.md)", "Bash(run src/b.py)")


def test_a_prompt_takes_all_files_of_a_glob(project: Project, tmp_path: Path) -> None:
    path = project(
        '[stages.a]\nforeach = ["x", "y"]\ncommand = "z"\ntargets = ["out/{{ item }}.md"]\n'
        "[stages.b]\nprompt = \"{% for p, t in files.glob('./out/*.md') %}{{ t }}{% endfor %}\"\n"
        'targets = ["out/all.md"]\n'
    )
    (tmp_path / "out").mkdir()
    (tmp_path / "out/by-hand.md").write_text("x")
    (tmp_path / "out/x.md").write_text("x")  # a target that is there is found once
    stage = load_config(path).stages[2]
    assert stage.prompt_globs == (("out/*.md", ("out/by-hand.md", "out/x.md", "out/y.md")),)
    assert stage.file_dep == ("out/by-hand.md", "out/x.md", "out/y.md")
    assert stage.prompt_files == ()


def test_a_file_dep_need_not_be_there(project: Project) -> None:
    assert load_config(project('[stages.a]\ncommand = "x"\nfile_dep = ["not/yet.c"]\n')).stages[0].file_dep


def test_a_plain_file_needs_neither_jinja2_nor_jsonschema(project: Project) -> None:
    path = project('[stages.a]\nforeach = ["x"]\nprompt = "do {{ item }}"\ntargets = ["{{ item }}.md"]\n')
    code = (
        "import sys; from pathlib import Path; import dodo_claude.config.config as c; assert 'jsonschema' not in sys.modules; "
        f"c.load_config(Path({str(path)!r})); sys.exit('jinja2' in sys.modules or 'jsonschema' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What is wrong.


def test_each_broken_file_is_in_the_table() -> None:
    assert sorted(EXPECTED) == sorted(path.name for path in BROKEN.glob("*.toml"))


@pytest.mark.parametrize("name", EXPECTED)
def test_broken(name: str) -> None:
    assert complaints(BROKEN / name, task_names=["taken"]) == EXPECTED[name]


def test_25_wrong_keys_are_25_problems(project: Project) -> None:
    keys = "".join(f"wrong{number} = {number}\n" for number in range(25))
    lines = complaints(project(f'[stages.a]\nprompt = "x"\n{keys}'))
    assert [line.split(": ")[1] for line in lines] == [f"stages.a.wrong{number}" for number in range(25)]
    assert [int(line.split(":")[1]) for line in lines] == list(range(3, 28))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a = '\xff'", "orchestrate.toml:1:6: is not UTF-8 (save it as UTF-8)"),
        (b"\xff\xfea\x00", "orchestrate.toml:1:1: is not UTF-8 (save it as UTF-8)"),
        ("# é\n# ü\xe9".encode() + b"\xe9", "orchestrate.toml:2:5: is not UTF-8 (save it as UTF-8)"),
        (b"#" * 10_000_001, "orchestrate.toml:1:1: is larger than 10 000 000 bytes"),
        (b"a = " + b"[" * 100_000, "orchestrate.toml:1:36: lists or tables are nested too deeply"),
        (b"a = " + b"[" * 300 + b"]" * 300, "orchestrate.toml:1:36: lists or tables are nested too deeply"),
        (b"a" + b".a" * 40 + b" = 1", "orchestrate.toml:1:66: lists or tables are nested too deeply"),
        (b"a = 1\x00", None),
        (b"a = " + b"9" * 5000, "orchestrate.toml:1:5: a number of 5000 characters is too large"),
        (b"\xef\xbb\xbf\xef\xbb\xbfa = 1", None),
    ],
)
def test_what_is_no_text(project: Project, data: bytes, message: str | None) -> None:
    path = project("")
    path.write_bytes(data)
    lines = complaints(path)
    assert len(lines) == 1
    assert message is None or lines == [message]


def test_what_is_no_file(tmp_path: Path) -> None:
    assert complaints(tmp_path / "orchestrate.toml") == ["orchestrate.toml:1:1: no such file"]
    assert complaints(tmp_path) == [f"{tmp_path.name}:1:1: is a folder, not a file"]
    os.mkfifo(tmp_path / "pipe.toml")
    assert complaints(tmp_path / "pipe.toml") == ["pipe.toml:1:1: is not a plain file"]
    (tmp_path / "file").write_text("")
    assert complaints(tmp_path / "file/x.toml") == ["x.toml:1:1: can't be read: not a directory"]
    assert len(complaints(tmp_path / "a\0b")) == 1
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    assert len(complaints(tmp_path / "loop.toml")) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(project: Project) -> None:
    path = project("")
    path.chmod(0)
    assert complaints(path) == ["orchestrate.toml:1:1: can't be read: permission denied"]


def test_links_out_of_the_project(project: Project, tmp_path: Path) -> None:
    path = project(
        '[stages.a]\nprompt = "x"\ntargets = ["away/t"]\nfile_dep = ["out.txt", "*.txt"]\ncwd = "away"\n'
        '[stages.b]\nprompt_file = "away/p.md"\ntargets = ["one/t"]\n'
        '[stages.c]\nprompt = "x"\ntargets = ["two/t"]\n'
    )
    (tmp_path / "away").symlink_to(tmp_path.parent)
    (tmp_path / "out.txt").symlink_to("/etc/hostname")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").symlink_to("one")
    paths = [line.split(": ")[1] for line in complaints(path)]
    assert paths == [
        "stages.a.targets[0]",
        "stages.a.file_dep[0]",
        "stages.a.file_dep[1]",
        "stages.a.cwd",
        "stages.b.prompt_file",
        "stages.c.targets[0]",
    ]


def test_too_many_stages(project: Project) -> None:
    items = ", ".join(f'"i{number}"' for number in range(10_000))
    text = "".join(f'[stages.{name}]\ncommand = "x"\nforeach = [{items}]\n' for name in "ab")
    assert complaints(project(text)) == ["orchestrate.toml:1:2: stages: makes 20000 stages (at most 12000)"]


def test_a_clash_of_names_with_an_item(project: Project) -> None:
    text = '[stages.a]\nforeach = ["x", "y"]\nprompt = "p"\n'
    assert complaints(project(text), task_names=["a:x"])[0].startswith(
        "orchestrate.toml:1:9: stages.a: 'a:x' is"
    )


@pytest.mark.parametrize("length", [1, 2, 3, 999])
def test_a_cycle_of_any_length_is_found_without_recursion(project: Project, length: int) -> None:
    text = "".join(
        f'[stages.s{number}]\ncommand = "x"\nafter = ["s{(number + 1) % length}"]\n'
        for number in range(length)
    )
    (line,) = complaints(project(text))
    assert line.startswith("orchestrate.toml:3:10: stages.s0.after[0]: stages wait for each other: s0 -> ")


def test_a_chain_of_many_stages_loads(project: Project) -> None:
    text = "".join(
        f'[stages.s{number}]\ncommand = "x"\ntargets = ["t{number}"]\nfile_dep = ["t{number + 1}"]\n'
        for number in range(2000)
    )
    assert len(load_config(project(text)).stages) == 2000


def test_cut_anywhere_it_loads_or_says_why(project: Project) -> None:
    path = project(GOOD)
    data = GOOD.encode()
    loaded, said = 0, []
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            load_config(path)
            loaded += 1
        except ConfigError as error:
            said.append(error)
    assert loaded
    assert all(error.problems for error in said)
    assert all("\n" not in str(problem) for error in said for problem in error.problems)


def test_a_byte_changed_anywhere_it_loads_or_says_why(project: Project) -> None:
    path = project(GOOD)
    data, said = bytearray(GOOD.encode()), []
    for index in range(0, len(data), 3):
        before = data[index]
        data[index] = b"\"[]={}#.\\\n\x00\xff'1-"[index % 15]
        path.write_bytes(data)
        try:
            load_config(path)
        except ConfigError as error:
            said.append(error)
        data[index] = before
    assert all(error.problems for error in said)


ODD = st.sampled_from(
    ["", " ", "x", "a", "b", "../x", "/x", "~", ".", "..", "a/../b", "*", "**", "[", "a\0b", "a\nb", "{{ item }}", "{{ x }}",
     "{{", "{% if %}", "{{ files['a'] }}", "{{ stages.a.message }}", "{{ env.X }}", "10 minuts", "1h", "claude", "scripted",
     "bypassPermissions", "private", "always", "-x", "é", "\U0001f600", "\x1b[0m", "a:b", "a=b", "x" * 300]
)  # fmt: skip
ANYTHING = st.recursive(
    ODD | st.booleans() | st.integers() | st.floats() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD, inner, max_size=3),
    max_leaves=4,
)


def _keys(part: str) -> list[str]:
    table = schema()["properties"][part]
    return list((table.get("properties") or table["additionalProperties"]["properties"]).keys())


def tables(part: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(_keys(part)) | ODD, ANYTHING, max_size=6)


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "orchestrate": tables("orchestrate") | ANYTHING,
        "defaults": tables("defaults") | ANYTHING,
        "agents": st.dictionaries(ODD, tables("agents"), max_size=3) | ANYTHING,
        "stages": st.dictionaries(ODD, tables("stages"), max_size=4) | ANYTHING,
    },
)


@given(DOCUMENTS)
@settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
def test_whatever_stands_in_it_it_loads_or_says_why(project: Project, document: dict[str, Any]) -> None:
    path = project(written(document))
    try:
        load_config(path)
    except ConfigError as error:
        for problem in error.problems:
            assert str(problem).isprintable()
            assert problem.line >= 1


# Of each definition of the schema what fits it, and of a text without one.
FITTING = {
    "path": ["a.txt", "in/b.md", "{{ item }}.txt", "out/{{ item|stem }}-{{ stage }}.md", "in/*.md", ".", "sub/orchestrate.toml"],
    "item": ["a", "in/b.md", "3"], "shell": ["true", "test -s {{ item }}", "./x.sh", "cat in/* > a.txt"],
    "text": ["x", "{{ item }}", "b"], "pattern": ["error:", "[a-z]+"], "message": ["{{ lines }}", "{{ stage }}: x"],
    "name": ["a", "b", "plan"], "agentName": ["claude", "scripted", "own"], "monitorName": ["m"], "envName": ["A", "HOME"],
    "model": ["sonnet"], "duration": ["1s", "30m", "2 hours", "8d"], "size": ["600MB", "1.5GiB"], "percent": ["70%"],
    "": ["a", "b", "a:x", "b.md", "x {{ files['in/b.md'] }} {{ stages.a.message }}", "{% for p, t in files.glob('in/*') %}{{ t }}{% endfor %}",
         "{{ item|upper ~ item }}", "{{ report }}", "{{ env.A }}"],
}  # fmt: skip


def fitting(rules: Mapping[str, Any], name: str = "", most: int = 4) -> st.SearchStrategy[Any]:
    """What fits a part of the schema, mostly: so that what is judged behind the schema is reached."""
    if "$ref" in rules:
        name = rules["$ref"].rpartition("/")[2]
        return fitting(schema()["$defs"][name], name)
    if "enum" in rules:
        return st.sampled_from(rules["enum"])
    kinds = [rules["type"]] if isinstance(rules.get("type"), str) else rules.get("type", ["string"])
    found: list[st.SearchStrategy[Any]] = []
    for kind in kinds:
        if kind == "string":
            found.append(st.sampled_from(FITTING.get(name, FITTING[""])))
        elif kind in ("integer", "number"):
            found.append(st.sampled_from([rules.get("minimum", 0), rules.get("maximum", 9), 10**30]))
        elif kind == "boolean":
            found.append(st.booleans())
        elif kind == "array":
            found.append(st.lists(fitting(rules.get("items", {})), max_size=2))
        elif "properties" in rules:
            keys = {key: fitting(value) for key, value in rules["properties"].items()}
            some = st.lists(st.sampled_from(sorted(keys)), max_size=most, unique=True)
            found.append(
                some.flatmap(
                    lambda names, keys=keys: st.fixed_dictionaries({key: keys[key] for key in names})
                )
            )  # type: ignore[misc]
        else:
            names = fitting(rules.get("propertyNames", {}), "name")
            found.append(
                st.dictionaries(names, fitting(rules["additionalProperties"]), min_size=1, max_size=3)
            )
    return st.one_of(found)


FITTING_DOCUMENTS = st.fixed_dictionaries(
    {"stages": fitting(schema()["properties"]["stages"])},
    optional={key: fitting(value) for key, value in schema()["properties"].items() if key != "stages"},
)


@given(FITTING_DOCUMENTS)
@settings(max_examples=100, suppress_health_check=[*HealthCheck], deadline=None)
def test_whatever_its_keys_say_together_it_loads_or_says_why(
    project: Project, document: dict[str, Any]
) -> None:
    path = project(written(document))
    (path.parent / "in").mkdir(exist_ok=True)
    (path.parent / "in/b.md").write_text("b")
    try:
        load_config(path)
    except ConfigError as error:
        for problem in error.problems:
            assert str(problem).isprintable()
            assert problem.line >= 1


def written(value: Any) -> str:
    """A document as TOML with everything in inline tables, as toml's own writer gets some of these wrong."""
    return "".join(f"{written_value(str(key))} = {written_value(part)}\n" for key, part in value.items())


def written_value(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{written_value(key)} = {written_value(part)}" for key, part in value.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(written_value, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def test_the_tests_writer_writes_toml() -> None:
    document = {"a b": [1, True, {"x": '"\n'}], "c": {"d": {}}}
    assert tomllib.loads(written(document)) == document
    assert toml.loads(written({"x": {"y": "z"}})) == {"x": {"y": "z"}}


# The schema.


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    assert SCHEMA.name == "orchestrate.schema.json"


def objects(part: Any) -> list[dict[str, Any]]:
    found = [part] if isinstance(part, dict) and part.get("type") == "object" else []
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return found + [each for value in inner for each in objects(value)]


@given(st.one_of(DOCUMENTS, FITTING_DOCUMENTS))
@settings(max_examples=100, suppress_health_check=[*HealthCheck], deadline=None)
def test_what_a_quick_look_finds_sound_any_validator_does(document: dict[str, Any]) -> None:
    found = [*ANY_VALIDATOR.iter_errors(document)]
    assert not (look(schema())(document) and found)


def test_a_quick_look_sees_that_a_whole_file_is_sound(tmp_path: Path) -> None:
    assert look(schema())(tomllib.loads(GOOD))


def test_of_very_many_faulty_stages_the_first_are_told(project: Project) -> None:
    stages = "".join(f"[stages.s{number}]\ncommand = 1\n" for number in range(2 * MOST))
    lines = complaints(project(stages))
    assert len(lines) == MOST + 1
    assert f"stages.s{MOST - 1}.command" in lines[-1]


def test_no_table_takes_what_it_does_not_know() -> None:
    for table in objects(schema()):
        assert table["additionalProperties"] is False or (
            isinstance(table["additionalProperties"], dict) and "maxProperties" in table
        )


def test_each_key_has_a_description_and_lists_and_texts_a_limit() -> None:
    for table in objects(schema()):
        for key, rules in table.get("properties", {}).items():
            assert rules.get("description", "").endswith("."), key
            resolved = {**schema()["$defs"].get(rules.get("$ref", "").rpartition("/")[2], {}), **rules}
            if resolved.get("type") == "string":
                assert "maxLength" in resolved or "{0," in resolved["pattern"], key
            if resolved.get("type") == "array":
                assert "maxItems" in resolved or "enum" in resolved["items"], key


def test_defaults_are_what_the_schema_says(project: Project) -> None:
    stage = load_config(project('[stages.a]\nprompt = "x"\n')).stages[0]
    for key, rules in schema()["properties"]["stages"]["additionalProperties"]["properties"].items():
        if (
            "default" in rules
            and "duration" not in rules.get("$ref", "")
            and key not in ("agent", "allowed_tools")
        ):
            value = getattr(stage, key)
            assert (
                list(value) if isinstance(rules["default"], list) else dict(value) if key == "env" else value
            ) == rules["default"], key


def test_defaults_of_a_run_are_what_the_schema_says(project: Project) -> None:
    rules = schema()["properties"]["orchestrate"]["properties"]
    written_out = "".join(
        f"{key} = {written_value(rules[key]['default'])}\n"
        for key in ("max_workers", "tmux", "budget", "retry_delay", "max_wait", "worker_memory", "notify")
    )
    stage = '[stages.a]\ncommand = "true"\n'
    path = project("\n" * (1 + written_out.count("\n")) + stage)
    silent = load_config(path)
    path.write_text(f"[orchestrate]\n{written_out}{stage}")
    assert load_config(path) == silent
    assert {key: part["default"] for key, part in rules["budget"]["properties"].items()} == rules["budget"][
        "default"
    ]


def test_the_good_one_is_good_for_any_validator() -> None:
    jsonschema.Draft202012Validator(schema()).validate(tomllib.loads(GOOD))


# -- what proves a stage


UNPROVED = """
[stages.talk]
prompt = "Talk."
[stages.each]
foreach = ["x", "y"]
prompt = "Talk of {{ item }}."
[stages.made]
prompt = "Make it."
targets = ["it"]
[stages.checked]
prompt = "Make it right."
check = "true"
[stages.run]
command = "true"
[stages.asked]
prompt = "What do you say?"
[stages.also]
foreach = ["x"]
prompt = "And you?"
[stages.reader]
prompt = "They said {{ stages.asked.message }} and {{ stages.also.message }}"
targets = ["sum"]
[stages.long]
check = "true"
[[stages.long.phases]]
prompt = "One."
[[stages.long.phases]]
prompt = "Two."
targets = ["two"]
[[stages.long.phases]]
prompt = "Three."
"""


def test_what_only_a_workers_word_proves_is_told(tmp_path: Path) -> None:
    (tmp_path / "orchestrate.toml").write_text(UNPROVED)
    why = "has neither targets nor a check (nothing proves it but its worker's word)"
    assert load_config(tmp_path / "orchestrate.toml").notes == (
        f"orchestrate.toml:2:9: stages.talk: {why}",
        f"orchestrate.toml:4:9: stages.each: {why}",
        f"orchestrate.toml:25:15: stages.long.phases[0]: {why}",
    )
    (tmp_path / "orchestrate.toml").write_text('[defaults]\ncheck = "true"\n[stages.a]\nprompt = "x"\n')
    assert load_config(tmp_path / "orchestrate.toml").notes == ()


@pytest.mark.parametrize("text", ["", "# all is commented\n", "[defaults]\nretries = 1\n", "[stages]\n"])
def test_a_file_without_stages_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchestrate.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "orchestrate.toml")
    why = "has no stages (write a table [stages.NAME] with a prompt or a command for each)"
    assert str(caught.value) == f"orchestrate.toml:1:1: {why}"
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/orchestrate.toml").write_text(text)
    (tmp_path / "orchestrate.toml").write_text('[stages.s]\norchestrate = "sub/orchestrate.toml"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "orchestrate.toml")
    assert str(caught.value) == f"sub/orchestrate.toml:1:1: {why}"


@pytest.mark.parametrize(
    "key",
    [
        "targets = ['{}']", "file_dep = ['{}']", "check = '{}'", "command = '{}'", "session = '{}'", "cwd = '{}'",
        "allowed_tools = ['Read({})']", "env = {{ A = '{}' }}", "prompt = '{}'", "prompt = '{{{{ files[item|replace(\"\", \"xxx\")] }}}}'",
        "phases = [{{ prompt = 'x', targets = ['{}'] }}]", "phases = [{{ prompt = 'x', check = '{}' }}]",
        "phases = [{{ prompt = '{}' }}]", "phases = [{{ prompt = 'x' }}, {{ prompt = 'x', compact = '{}' }}]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", ["{{ item ~ 2 ** 3 }}", "{{ item|replace('', 'xxx') }}"])
def test_a_template_that_would_not_end_is_told_at_its_place(
    project: Project, monkeypatch: pytest.MonkeyPatch, key: str, template: str
) -> None:
    monkeypatch.setattr(language, "MOST", 100)
    quoted = key.format(template.replace("'", '"'))
    work = "" if key.startswith(("prompt", "command", "phases")) else "prompt = 'x'\n"
    path = project(f"[stages.a]\nforeach = ['{'a' * 60}']\n{work}{quoted}")
    if key.startswith(("prompt = '{}'", "phases = [{{ prompt = '{}'")) and "replace" in template:
        load_config(path)  # it is rendered when what it may use is there
    else:
        lines = complaints(path)
        assert len(lines) == 1
        start, _, rest = lines[0].partition(": ")
        assert start.startswith(f"orchestrate.toml:{4 if work else 3}:")
        assert rest.startswith(f"stages.a.{key.partition(' ')[0]}")
        assert "can't raise a number to a power" in rest or "it makes more than 100 characters" in rest


def _numbers(rules: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The keys of the schema that may be a number; a name of the user's is x."""
    if rules.get("type") in ("integer", "number"):
        yield ".".join(path)
    for key, value in rules.get("properties", {}).items():
        yield from _numbers(value, (*path, key))
    if isinstance(rules.get("additionalProperties"), dict):
        yield from _numbers(rules["additionalProperties"], (*path, "x"))


NUMBERS = [*_numbers(schema())]


@pytest.mark.parametrize(
    "number", ["9" * 5000, "0x" + "f" * 5000, "-0b" + "1" * 5000, "0x" + "f" * 900, "1e999"]
)
@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_that_is_too_large_has_its_place(project: Project, key: str, number: str) -> None:
    lines = complaints(project(f"{key} = {number}"))
    place = f"orchestrate.toml:1:{len(key) + 4}: "
    if len(number) > 1000:
        assert lines == [f"{place}a number of {len(number)} characters is too large"]
    else:
        fact = "inf is " if "e" in number else "a number of 1084 digits is too large"
        assert [line for line in lines if line.startswith(f"{place}{key}: {fact}")]
    assert max(map(len, lines)) < 300


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_in_quotes_may_have_any_length(project: Project, key: str) -> None:
    lines = complaints(project(f"{key} = '{'9' * 5000}'"))
    assert [line for line in lines if line.startswith(f"orchestrate.toml:1:{len(key) + 4}: {key}: '999")]


def test_there_may_be_too_many_problems(project: Project) -> None:
    text = "[stages.a]\ncommand = 'true'\n" + "".join(f"k{number} = 1\n" for number in range(300))
    lines = complaints(project(text))
    assert len(lines) == 201
    assert lines[0] == (
        "orchestrate.toml:1:1: has more than 200 problems: these are the first that were found (mend them first)"
    )
    text = "".join(f"[stages.s{number}]\nx = 1\n" for number in range(300))
    assert len(complaints(project(text))) == 201


def test_of_what_is_too_large_only_that_is_said(project: Project) -> None:
    text = "[stages.a]\ncommand = 'true'\nprotect = [" + "1," * 10_001 + "]"
    assert complaints(project(text)) == [
        "orchestrate.toml:3:11: stages.a.protect: has 10001 entries (at most 10000)"
    ]


def test_a_nested_file_and_a_plan_are_looked_at_before_they_are_parsed(project: Project) -> None:
    text = "[stages.sub]\norchestrate = 'sub/orchestrate.toml'\n[stages.p]\nprompt = 'x'\nplan = 'plan.toml'"
    path = project(text)
    (path.parent / "sub").mkdir()
    (path.parent / "sub/orchestrate.toml").write_text("a = " + "[" * 40 + "]" * 40)
    assert complaints(path) == ["sub/orchestrate.toml:1:36: lists or tables are nested too deeply"]
    (path.parent / "sub/orchestrate.toml").write_text("[stages.a]\ncommand = 'true'")
    (path.parent / "plan.toml").write_text(".".join("a" * 40) + " = 1")
    assert Blueprint(path).plan_problems("p") == ("plan.toml:1:66: lists or tables are nested too deeply",)


@pytest.mark.parametrize(
    "template",
    ["{{ item }}", "{{ item|upper }}", "{% for a in 'ab' %}{% for b in 'abcd' %}{% endfor %}{% endfor %}"],
)
def test_what_all_items_make_has_a_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(language, "MOST_TOGETHER", 2000)
    text = f"[stages.a]\nforeach = ['a', 'b', 'c', 'd', 'e', 'f']\ntargets = ['t{{{{ item }}}}']\nprompt = 'x'\ncheck = \"{'x' * 180} {template}\"\n"
    assert complaints(project(text)) == [
        "orchestrate.toml:5:9: stages.a.check: the template can't be rendered: all templates make more than 2 000 characters, and "
        "100 for each text: use fewer items or shorter texts"
    ]
    path = project(text.replace(", 'd', 'e', 'f'", ""))
    for _ in range(3):
        assert len(load_config(path).stages) == 3  # each load may make as much again


def test_what_all_stages_read_has_a_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_READ", 4)
    stages = "".join(f"[stages.s{number}]\ncommand = 'x'\nfile_dep = ['m/*']\n" for number in range(3))
    text = "[stages.m]\ncommand = 'x'\ntargets = ['m/a', 'm/b']\n" + stages
    assert complaints(project(text)) == [
        "orchestrate.toml:12:13: stages.s2.file_dep[0]: with what 'm/*' finds the stages read more than 4 files, each counted "
        "for each (let one stage put them together, and the others read what it made)"
    ]
    assert len(load_config(project(text.replace("'m/b'", ""))).stages) == 4


def test_a_missing_file_is_looked_for_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **more: (asked.append(str(path)), lstat(path, **more))[1])
    path = project("[stages.a]\ncommand = 'x'\nfile_dep = ['no', 'src/no', 'link', 'dir']\n")
    (path.parent / "link").symlink_to("nowhere")
    (path.parent / "dir").mkdir()
    with pytest.raises(ConfigError, match="'dir' is a folder"):
        load_config(path)
    (path.parent / "dir").rmdir()
    os.mkfifo(path.parent / "dir")
    asked.clear()
    texts = {each.path: each.problem.text for each in load_config(path).absent}
    assert texts["link"] == "'link' is a link to what is not there, and no stage makes it"
    assert texts["dir"] == "'dir' is no plain file"
    for name in ("no", "src/no"):
        assert texts[name] == f"'{name}' is not there, and no stage makes it"
        assert asked.count(f"{os.path.realpath(path.parent)}/{name}") == 1


@pytest.mark.parametrize("key", ["prompt", "command"])
def test_that_jinja2_has_too_much_to_read_is_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(language, "MOST_READINGS", 7)
    stages = "".join(
        f"[stages.s{number}]\n{key} = '{{% if stage %}}{key} {number}{{% endif %}}'\n" for number in range(9)
    )
    line, *others = complaints(project(stages))
    assert "jinja2 has more than 7 templates to read" in line
    assert line.startswith(f"orchestrate.toml:{16 if key == 'prompt' else 6}:")
    assert not others


def test_what_all_stages_of_an_included_file_read_has_a_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MOST_SHARED", 5)
    path = project("[stages.n]\norchestrate = 'sub/orchestrate.toml'\nfile_dep = ['src/a.py', 'src/b.py']\n")
    inner = path.parent / "sub" / "orchestrate.toml"
    inner.parent.mkdir()
    stage = "[stages.s{}]\ncommand = 'x'\n"
    inner.write_text("".join(map(stage.format, range(3))))
    assert complaints(path) == [
        "orchestrate.toml:3:12: stages.n.file_dep: 2 entries are read by each of 3 stages, more than 5 in all "
        "(let one stage put them together, and the others read what it made)"
    ]
    inner.write_text("".join(map(stage.format, range(2))))
    assert load_config(path).stages[1].file_dep == ("src/a.py", "src/b.py")


def test_that_many_readers_wait_for_many_late_groups_has_a_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOST_WAITS", 8)
    plans = "".join(f"[stages.p{number}]\nprompt = 'x'\nplan = 'p{number}.toml'\n" for number in range(3))
    readers = "".join(f"[stages.r{number}]\ncommand = 'x'\nfile_dep = ['q']\n" for number in range(3))
    assert complaints(project(plans + readers)) == [
        "orchestrate.toml:18:13: stages.r2.file_dep[0]: 'q' may be made by so many groups whose stages are not known that "
        "stages would wait for more than 8, each counted for each (let a stage have it as a target)"
    ]
    assert len(load_config(project(plans + readers.partition("[stages.r2]")[0])).stages) == 5


def test_a_file_looks_at_its_own_names_alone() -> None:
    class Name(str):
        asked = 0
        __slots__ = ()

        def startswith(self, *of: Any) -> bool:
            Name.asked += 1
            return super().startswith(*of)

    names = sorted(Name(f"n{number:03}:s") for number in range(300))
    assert config._local(names, "n007:") == {"s"}
    assert Name.asked == 2
    assert config._local(names, "") == {*names}


def test_what_globs_are_tried_on_has_a_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MOST_TRIED", 1300)
    made = ", ".join(f"'m/{number}'" for number in range(60))
    text = f"[stages.m]\ncommand = 'x'\ntargets = [{made}]\n"
    reader = "[stages.r]\ncommand = 'x'\nfile_dep = ['m/*1*', 'm/*2*']\n"
    remedy = "(begin the globs with folders of their own)"
    assert complaints(project(text + reader)) == [
        "orchestrate.toml:6:22: stages.r.file_dep[1]: with 'm/*2*' the globs of this file are tried on too many paths: "
        f"1 300 in all, a match counted as 50, a file on disk as a tenth {remedy}"
    ]
    group = "[stages.g]\ncommand = 'x'\nforeach = { glob = ['m/*1*', 'm/*2*'] }\n"
    assert complaints(project(text + group)) == [
        "orchestrate.toml:6:11: stages.g.foreach: with 'm/*2*' the globs of this file are tried on too many paths: "
        f"1 300 in all, a match counted as 50, a file on disk as a tenth {remedy}"
    ]
    assert len(load_config(project(text + reader.replace(", 'm/*2*'", ""))).stages) == 2


def test_of_very_many_problems_the_last_have_no_hint(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "MOST_COMPARED", 5)
    lines = complaints(
        project(
            "[stages.quince]\ncommand = 'x'\nafter = ['quicne', 'quinze', 'nobody', 'quine', 'qince', 'quinec']\n"
        )
    )
    assert ["did you mean 'quince'?" in line for line in lines] == [True, True, False, True, True, False]
    assert "(known stages: quince)" in lines[-1]


def test_what_stages_have_of_the_defaults_is_made_once(project: Project) -> None:
    defaults = '[defaults]\nallowed_tools = ["Bash(x)"]\nenv = { B = "1", A = "2" }\n'
    stages = "".join(f'[stages.s{number}]\nprompt = "x"\n' for number in range(3))
    first, *others = load_config(project(defaults + stages + "env = { B = '3' }\n")).stages
    assert first.env == (("A", "2"), ("B", "1"))
    assert others[1].env == (("A", "2"), ("B", "3"))
    assert others[0].env is first.env
    assert all(other.agent is first.agent for other in others)


def test_what_all_stages_protect_is_judged_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    file = paths.Project.file
    monkeypatch.setattr(paths.Project, "file", lambda self, path: (asked.append(path), file(self, path))[1])
    defaults = "[defaults]\nprotect = ['a', 'b', 'src/*', 'c/../c']\n"
    stages = "".join(f"[stages.s{number}]\ncommand = 'x'\n" for number in range(3))
    group = "foreach = ['x', 'y']\nprotect = ['d', 'b']\n"
    assert complaints(project(defaults + stages)) == [
        "orchestrate.toml:2:31: defaults.protect[3]: 'c/../c' has '..' in it (use a path that stays below the project's folder)"
    ]
    asked.clear()
    first, second, *items = load_config(project(defaults.replace("c/../c", "c") + stages + group)).stages
    assert asked.count("a") == asked.count("d") == 1
    assert first.protect == ("a", "b", "src/*", "c")
    assert second.protect is first.protect
    assert items[0].protect == (*first.protect, "d")
    assert items[1].protect is items[0].protect


def test_a_protected_target_of_all_is_known_by_its_makers_name(project: Project) -> None:
    defaults = "[defaults]\nprotect = ['link/a', 'x']\n"
    path = project(
        defaults + "[stages.s]\ncommand = 'x'\ntargets = ['src/made/a']\n[stages.t]\ncommand = 'x'\n"
    )
    (path.parent / "src" / "made").mkdir()
    (path.parent / "link").symlink_to("src/made")
    first, second = load_config(path).stages
    assert first.protect == ("src/made/a", "x")
    assert second.protect is first.protect


def test_what_is_protected_for_many_stages_that_protect_more_has_a_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MOST_PROTECTED", 5)
    stages = "".join(f"[stages.s{number}]\ncommand = 'x'\nprotect = ['own{number}']\n" for number in range(3))
    assert complaints(project("[defaults]\nprotect = ['a', 'b']\n" + stages)) == [
        "orchestrate.toml:2:11: defaults.protect: 2 entries are added to those of 3 stages, more than 5 in all "
        "(name the files of a folder by a glob, such as 'src/**')"
    ]
    assert len(load_config(project("[defaults]\nprotect = ['a']\n" + stages)).stages) == 3


def test_a_stage_with_other_values_is_that_of_dataclasses(good: Config) -> None:
    stage = good.stages[0]
    assert stage.with_values(targets=("x",), line=7) == replace(stage, targets=("x",), line=7)


def test_a_load_leaves_the_garbage_collector_as_it_was(project: Project) -> None:
    assert gc.isenabled()
    complaints(project("[stages.a]\n"))
    assert gc.isenabled()


def test_who_comes_after_a_group_comes_after_each_of_its_stages(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "MOST_BEFORE", 6)
    group = "[stages.g]\ncommand = 'x'\nforeach = ['a', 'b', 'c']\n"
    text = group + "".join(f"[stages.s{n}]\ncommand = 'x'\nafter = ['g']\n" for n in range(2))
    assert len(load_config(project(text)).stages) == 5
    assert complaints(project(text + "[stages.t]\ncommand = 'x'\nafter = ['g']\n")) == [
        "orchestrate.toml:12:10: stages.t.after[0]: with 'g' stages come after more than 6 others, those of groups counted for "
        "each (let one stage come after the group, and the others after that one)"
    ]


def test_what_reports_are_of_has_a_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_REPORTED", 8)
    text = "[stages.s0]\ncommand = 'x'\n" + "".join(
        f"[stages.s{n}]\nprompt = '{{{{ report }}}}'\nafter = ['s{n - 1}']\n" for n in range(1, 5)
    )
    (line,) = complaints(project(text))
    assert line.startswith(
        "orchestrate.toml:10:10: stages.s3.prompt: with 's3' the reports in prompts are of more"
    )


def test_a_template_that_fails_is_rendered_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """For jinja2 it is more work to fail than to render: 40 variables of 12000 stages took 14 s and 1.4 GB."""
    asked = []
    render = prompts.render_value
    monkeypatch.setattr(
        prompts, "render_value", lambda source, **more: (asked.append(source), render(source, **more))[1]
    )
    text = "[defaults.env]\nA = '{{ stage.name.x }}'\n" + "".join(
        f"[stages.s{n}]\ncommand = 'x'\n" for n in range(9)
    )
    assert len(complaints(project(text))) == 1
    assert asked == ["{{ stage.name.x }}"]


def test_a_folder_is_looked_at_once_however_many_files_are_in_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **more: (asked.append(str(path)), lstat(path, **more))[1])
    path = project("[stages.a]\ncommand = 'x'\ntargets = ['d/e/f', 'd/e/g', 'd/h/i']\n")
    (path.parent / "d").mkdir()
    asked.clear()
    load_config(path)
    root = os.path.realpath(path.parent)
    for name in ("d", "d/e", "d/h", "d/e/f", "d/e/g", "d/h/i"):
        assert asked.count(f"{root}/{name}") == 1, name
