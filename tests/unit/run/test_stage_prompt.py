"""What a stage is told: its prompt with what it quotes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.config import language
from dodo_claude.config.config import load_config
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine.files import make_state_dir
from dodo_claude.run.stage_prompt import message, render
from dodo_claude.state.journal import StageLog
from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor
from tests.samples.stages import STAGE, config_of


def prompt_of(config: Config, stage: Stage, environ: Mapping[str, str] | None = None) -> str:
    environ = environ or {}
    return render(config, environ, Redactor(environ), stage).text


def finish(root: Path, stage: str, message: str, result: str = "succeeded") -> None:
    StageLog(make_state_dir(root), stage).begin().finish({"result": result, "message": message})


def test_the_last_message_that_counts(root: Path) -> None:
    config = config_of(root, STAGE)
    assert message(config, "none") == ""
    finish(root, "one", "old")
    finish(root, "one", "new")
    finish(root, "one", "bad", "failed")
    StageLog(make_state_dir(root), "one").begin()
    assert message(config, "one") == "new"
    grouped = replace(config, groups=(("g", ("g:a", "g:b")),))
    finish(root, "g:a", "A")
    assert message(grouped, "g") == "g:a:\nA\n\ng:b:\n"


def test_a_prompt_with_files_and_messages_as_data(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        """
[stages.one]
prompt = "x"
targets = ["o"]
[stages.two]
prompt = "{{ stage }}: {{ files['in'] }} {{ stages['one'].message }} {{ env['A'] }} {{ env['B'] }}"
env = { A = "stage's" }
[agents.claude]
env_pass = ["B"]
"""
    )
    (root / "in").write_bytes(b"{{ secret }}\xff")
    finish(root, "one", "did it {% raw %}")
    config = load_config(root / "orchestrate.toml")
    environ = {"A": "caller's", "B": "caller's"}
    text = prompt_of(config, config.stages[1], environ)
    for part in ("two: ", "{{ secret }}\N{REPLACEMENT CHARACTER}", "did it {% raw %}", " stage's caller's"):
        assert part in text
    (root / "in").unlink()
    with pytest.raises(
        DodoClaudeError, match=r"^in: No such file or directory \(the prompt of stage 'two' includes it\)$"
    ):
        prompt_of(config, config.stages[1], environ)


def test_a_prompt_that_makes_too_much_is_told_with_its_place(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language, "MOST", 1000)
    (root / "p.md").write_text("\n{% for a in files['in'] %}{% endfor %}")
    (root / "in").write_text("x" * 200)
    text = "[stages.one]\nprompt_file = 'p.md'\n[stages.two]\nprompt = \"{% for a in files['in'] %}{% endfor %}\""
    (root / "orchestrate.toml").write_text(text)
    config = load_config(root / "orchestrate.toml")
    fact = "the template can't be rendered: {}it makes more than 1 000 characters in all"
    for stage, place in zip(
        config.stages,
        (
            "p.md: the prompt of stage 'one': " + fact.format("line 2: "),
            "orchestrate.toml:3: the prompt of stage 'two': " + fact.format(""),
        ),
        strict=True,
    ):
        with pytest.raises(DodoClaudeError) as caught:
            prompt_of(config, stage)
        assert str(caught.value) == place


def test_a_prompt_with_files_of_its_item_and_of_a_glob(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        '[stages.map]\nforeach = ["in/a.txt", "in/b.txt"]\nprompt = "{{ files[item] }}"\ntargets = ["{{ item|stem }}.md"]\n'
        "[stages.all]\nprompt = \"{% for path, text in files.glob('*.md') %}{{ path }}: {{ text }} {% endfor %}\"\n"
    )
    (root / "in").mkdir()
    for name in ("in/a.txt", "in/b.txt", "a.md", "b.md"):
        (root / name).write_text(f"text of {name}")
    config = load_config(root / "orchestrate.toml")
    first, second, every = (prompt_of(config, stage) for stage in config.stages)
    assert "text of in/a.txt" in first
    assert "text of in/b.txt" not in first
    assert "text of in/b.txt" in second
    for name in ("a.md", "b.md"):
        assert f'{name}: <file path="{name}"' in every
        assert f"text of {name}\n</file" in every


def test_a_prompt_with_the_report_of_the_stages_before(root: Path) -> None:
    (root / "orchestrate.toml").write_text(
        """
[orchestrate]
name = "p"
[stages.one]
prompt = "x"
targets = ["o"]
[stages.two]
prompt = "Sum up {{ report }}"
file_dep = ["o"]
[stages.three]
prompt = "x"
"""
    )
    finish(root, "one", "I said </report> and {{ stage }} and sk-abcdefghijklmnopqrstu")
    finish(root, "three", "not this")
    config = load_config(root / "orchestrate.toml")
    text = prompt_of(config, config.stages[1])
    found = re.fullmatch(r'Sum up <report of="p" mark="(\w+)">\n(.*)\n</report mark="\1">', text, re.S)
    assert found is not None
    assert "I said </report> and {{ stage }} and [redacted]" in found[2]
    assert "## one" in found[2]
    assert "not this" not in text
    assert "three" not in text


def test_a_prompt_quotes_files_up_to_a_limit_in_all(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "MOST", 1000)
    for number in range(3):
        (root / f"{number}.txt").write_text("x" * 400)
    text = "[stages.one]\nprompt = \"{% for path, text in files.glob('*.txt') %}{{ path }}{% endfor %}\""
    (root / "orchestrate.toml").write_text(text)
    config = load_config(root / "orchestrate.toml")
    match = r"^orchestrate\.toml:1: the prompt of stage 'one': its 3 files have more than 1 000 characters in all: quote fewer$"
    with pytest.raises(DodoClaudeError, match=match):
        prompt_of(config, config.stages[0])
