"""[monitors] as records: which worker has which, with what is the stage's and what its own. Faults: tests/data/broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from dodo_claude.config import beside
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Config, Monitor, Stage
from dodo_claude.run import approvable
from dodo_claude.text.errors import ConfigError

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
    items = {item.what: item for item in approvable.items(load(tmp_path))}
    build = items["monitor 'build' of stage 'dev'"]
    assert build.text == "cd sub && LEVEL=high MODE=fast MORE=dev make dev"
    assert "monitor 'log' of stage 'each:x'" in items
    for old, new in (("make {{", "make -j {{"), ('LEVEL = "high"', 'LEVEL = "mid"'), ('"sub"', '"."')):
        other = {item.what: item for item in approvable.items(load(tmp_path, TEXT.replace(old, new)))}
        assert other[build.what].digest != build.digest
    other = {item.what: item for item in approvable.items(load(tmp_path, TEXT.replace("|warning", "")))}
    assert other[build.what].digest == build.digest


def test_a_stage_asks_its_own_monitors_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    local_name = Stage.local_name
    monkeypatch.setattr(
        Stage, "local_name", lambda self, name: (asked.append(name), local_name(self, name))[1]
    )
    text = "".join(
        f"[stages.s{number}]\nprompt = 'x'\n[monitors.m{number}]\nbeside = 's{number}'\ncommand = 'x'\nmatch = 'e'\n"
        for number in range(20)
    )
    found = monitors(load(tmp_path, text))
    assert [monitor.name for monitor in found["s7"]] == ["m7"]
    assert len(asked) == 2 * 20


def test_monitors_of_a_stage_stand_in_the_files_order(tmp_path: Path) -> None:
    text = (
        "[stages.each]\nprompt = 'x'\nforeach = ['x', 'y']\n"
        "[monitors.b]\nbeside = 'each:x'\ncommand = 'x'\nmatch = 'e'\n"
        "[monitors.a]\nbeside = ['each', 'each:x']\ncommand = 'x'\nmatch = 'e'\n"
        "[monitors.c]\nbeside = 'each:x'\ncommand = 'x'\nmatch = 'e'\n"
    )
    found = monitors(load(tmp_path, text))
    assert [monitor.name for monitor in found["each:x"]] == ["b", "a", "c"]
    assert [monitor.name for monitor in found["each:y"]] == ["a"]


def test_monitors_beside_all_workers_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "MOST_MONITORS", 4)
    text = (
        "[stages.each]\nprompt = 'x'\nforeach = ['x', 'y']\n"
        "[monitors.a]\nbeside = 'each'\ncommand = 'x'\nmatch = 'e'\n"
        "[monitors.b]\nbeside = 'each'\ncommand = 'x'\nmatch = 'e'\n"
    )
    assert len(load(tmp_path, text).stages) == 2
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text + "[monitors.c]\nbeside = 'each'\ncommand = 'x'\nmatch = 'e'\n")
    assert str(caught.value) == (
        "orchestrate.toml:9:10: monitors.b.beside: more than 4 monitors run beside workers, each counted for each worker "
        "(give them to fewer stages)"
    )
