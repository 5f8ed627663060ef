"""The frozen plan: it reads back, and tells of each key what counts."""

from __future__ import annotations

import json
import tempfile
import time
import tomllib
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dodo_claude.config.config import Blueprint
from dodo_claude.config.records import Stage
from dodo_claude.config.schema import SCHEMA
from dodo_claude.run import plan_file
from dodo_claude.run.run import Run
from tests.samples.stages import STAGE, config_of

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"'\\\r\n\t\0\x1b\x7fxuU0😀{}[]#=")
)
NASTY = [
    "\\x41", "\\u0041", "\\", "\\\\x", 'a"b', '"""', "'''", "''' \"\"\"", "\r\n", "a\r\nb\r", "\r", "\0", "\x1b[0m", "\x7f", "\x80",
    "😀", "\u2028", "\ufeff", "\\\n", "ends\\", " ", "", "true", "1979-05-27", "inf", "[x]", "# no comment", "\\x", "\x0b\x0c\x1f",
]  # fmt: skip


def reads_back(stage: Stage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(config_of(Path(folder), stage))
        path = run.write_plan()
        assert path.stat().st_mode & 0o777 == 0o600
        made = tomllib.loads(path.read_text(encoding="utf-8"))
        expected = plan_file.content(run.config, run.id, run.started, run.chosen)
        assert made["run"].keys() == expected["run"].keys()
        assert plain(made["stages"]) == expected["stages"]


def plain(value: object) -> object:
    """With what the writer can't say, which stands as hex, in clear again."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and value.startswith("hex:"):
        return bytes.fromhex(value[4:]).decode()
    return value


@pytest.mark.parametrize("text", NASTY, ids=repr)
def test_the_plan_reads_back(text: str) -> None:
    reads_back(replace(STAGE, prompt=text, check=text, file_dep=(text, "x"), targets=(text,)))


@settings(max_examples=150, deadline=None)
@given(TEXT, st.lists(TEXT, max_size=3), st.none() | TEXT)
def test_any_plan_reads_back(prompt: str, names: list[str], check: str | None) -> None:
    reads_back(replace(STAGE, prompt=prompt, file_dep=tuple(names), check=check))


@pytest.mark.parametrize("name", ["a", "a.b", "a:b", "g:x/y.z@1+2", "1", "a-b_c"])
def test_stages_of_every_name_are_in_the_plan(name: str) -> None:
    reads_back(replace(STAGE, name=name))


def test_the_plan_tells_what_runs(run: Run) -> None:
    text = run.write_plan().read_text()
    plan = tomllib.loads(text)
    assert plan["run"]["id"] == run.id
    waits = {
        "idle_timeout_seconds": 900.0,
        "person_timeout_seconds": 1800.0,
        "max_turns": 200,
        "on_permission": "ask",
    }
    assert plan["stages"]["api"] == {
        "prompt": "Write.", "file_dep": ["in"], "targets": ["a"], "after": [], "session": "w-api", "timeout_seconds": 20.0,
        "repairs": 1, "retries": 0, "keep": "on-failure", "cwd": ".", "agent": "claude", "allowed_tools": [],
        "protect": [], "env": {}, "allow_unchanged": False, **waits,
    }  # fmt: skip


def _keys(table: str) -> set[str]:
    found = json.loads(SCHEMA.read_text())["properties"][table]
    return set(found["additionalProperties"]["properties"])


def test_each_key_that_a_stage_may_have_is_in_the_plan(root: Path) -> None:
    """`foreach` and `orchestrate` make several stages, which are told one by one."""
    (root / "p.md").write_text("x")
    (root / "orchestrate.toml").write_text(
        """
        [orchestrate]
        notify = ["true"]
        [defaults]
        env = { A = "1", MY_TOKEN = "not to be told" }
        [stages.one]
        prompt_file = "p.md"
        model = "haiku"
        allow_unchanged = true
        check = "true"
        timeout = "20s"
        compact_at = "80%"
        [stages.made]
        command = "true"
        [stages.each]
        foreach = ["x"]
        prompt = "{{ item }}"
        [[stages.parts.phases]]
        prompt = "one"
        targets = ["a"]
        [[stages.parts.phases]]
        prompt = "two"
        check = "true"
        compact = "all"
        [[stages.parts.phases]]
        prompt = "three"
        handover = true
        [stages.work]
        plan = "made.toml"
        prompt = "Plan."
        [monitors.m]
        beside = "one"
        command = "date"
        match = "x"
        every = "5s"
        recovered = "well"
        """
    )
    config = Blueprint(root / "orchestrate.toml").config(set())
    told = tomllib.loads(Run(config, {}).write_plan().read_text())["stages"]
    seen = {key.removesuffix("_seconds") for stage in told.values() for key in stage}
    assert _keys("stages") - seen == {"foreach", "orchestrate"}
    one = told["one"]
    assert (one["allow_unchanged"], one["compact_at"], one["timeout_seconds"], one["model"]) == (
        True,
        80.0,
        20.0,
        "haiku",
    )
    assert one["env"] == {"A": "1", "MY_TOKEN": "[redacted]"}
    assert told["each:x"]["item"] == "x"
    assert told["parts"]["phases"] == [
        {"prompt": "one", "targets": ["a"], "handover": False},
        {"prompt": "two", "targets": [], "check": "true", "compact": "all", "handover": False},
        {"prompt": "three", "targets": [], "handover": True},
    ]
    monitor = {key.removesuffix("_seconds") for key in one["monitors"]["m"]}
    assert _keys("monitors") - monitor == {
        "beside",
        "message",
        "recovered_match",
    }  # of which only the first has a value


def test_the_plan_says_when_it_began_and_which_stages_it_is_of(root: Path) -> None:
    run = Run(config_of(root, STAGE, replace(STAGE, name="doc", targets=("d",))), {})
    run.chosen = frozenset({"doc"})
    before = time.time()
    plan = tomllib.loads(run.write_plan().read_text())["run"]
    began = datetime.fromisoformat(plan["started"]).timestamp()
    assert before - 0.001 <= began <= time.time()
    assert plan["chosen"] == ["doc"]
