"""[monitors] as records: which worker has which, with what is the stage's and what its own. Faults: tests/data/broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude import approval
from dodo_claude.config import load_config
from dodo_claude.errors import ConfigError
from dodo_claude.records import Config, Monitor

TEXT = """
[defaults]
agent = "scripted"
env = { LEVEL = "low", MODE = "fast" }

[agents.mine]
command = "mine"

[stages.dev]
prompt = "Work."
cwd = "sub"

[stages.alone]
prompt = "Work."

[stages.each]
prompt = "Work on {{ item }}."
foreach = ["x", "a+b"]

[monitors.build]
beside = ["dev", "each"]
command = "make {{ stage }}"
match = "error|warning"
every = "5s"
env = { LEVEL = "high", MORE = "{{ stage }}" }

[monitors.log]
beside = "each:x"
command = "tail -f {{ item }}.log"
match = "[[x]]"
message = "{{ item }}: {{ lines }}"
recovered_match = "ok"
recovered = "{{ item }} is fine."
context = 0
cwd = "sub"
"""


def load(folder: Path, text: str = TEXT, agent: str | None = None) -> Config:
    (folder / "sub").mkdir(exist_ok=True)
    path = folder / "orchestrate.toml"
    path.write_text(text)
    return load_config(path, agent=agent)


def monitors(config: Config) -> dict[str, list[Monitor]]:
    return {stage.name: list(stage.monitors) for stage in config.stages}


def test_each_worker_has_its_own(tmp_path: Path) -> None:
    found = monitors(load(tmp_path))
    assert {stage: [one.name for one in own] for stage, own in found.items()} == {
        "dev": ["build"],
        "alone": [],
        "each:x": ["build", "log"],
        "each:a+b": ["build"],
    }
    assert found["dev"] == [
        Monitor(
            name="build", command="make dev", match="error|warning", message=None, recovered=None,
            recovered_match=None, context=3, every=5.0, debounce=1.0, cwd="sub",
            env=(("LEVEL", "high"), ("MODE", "fast"), ("MORE", "dev")),
        )
    ]  # fmt: skip
    assert found["each:a+b"][0].command == "make each:a+b"
    assert found["each:a+b"][0].cwd == "."
    log = found["each:x"][1]
    assert (log.command, log.cwd, log.context, log.every) == ("tail -f x.log", "sub", 0, None)
    assert log.env == (("LEVEL", "low"), ("MODE", "fast"))
    assert log.message == "{{ item }}: {{ lines }}"


def test_what_is_put_into_a_command_is_quoted(tmp_path: Path) -> None:
    text = TEXT.replace('"make {{ stage }}"', '"make \\"{{ item }}\\""').replace('["dev", "each"]', '"each"')
    assert [one.command for one in monitors(load(tmp_path, text))["each:a+b"]] == ['make "a+b"']


def test_another_agent_that_takes_no_messages_has_none(tmp_path: Path) -> None:
    assert not any(monitors(load(tmp_path, agent="mine")).values())
    with pytest.raises(ConfigError, match="agent 'mine' of 'dev' can't be spoken to"):
        load(tmp_path, TEXT.replace("cwd = ", "agent = 'mine'\ncwd = ", 1))


def test_its_command_is_approved_like_a_check(tmp_path: Path) -> None:
    items = {item.what: item for item in approval.items(load(tmp_path))}
    build = items["monitor 'build' of stage 'dev'"]
    assert build.text == "cd sub && LEVEL=high MODE=fast MORE=dev make dev"
    assert "monitor 'log' of stage 'each:x'" in items
    for old, new in (("make {{", "make -j {{"), ('LEVEL = "high"', 'LEVEL = "mid"'), ('"sub"', '"."')):
        other = {item.what: item for item in approval.items(load(tmp_path, TEXT.replace(old, new)))}
        assert other[build.what].digest != build.digest
    other = {item.what: item for item in approval.items(load(tmp_path, TEXT.replace("|warning", "")))}
    assert other[build.what].digest == build.digest
