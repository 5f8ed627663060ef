"""What the agent is started with, and how it refuses to start."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from dodo_claude.agents.scripted.arguments import read_arguments
from tests.unit.agents.scripted.terminal import PATIENCE, environment


def refused(home: Path, *words: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "dodo_claude.agents.scripted", *words],
        capture_output=True,
        text=True,
        env=environment(home, **env),
        cwd=home,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def test_it_refuses_like_the_client(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ say = 'x' }]")
    assert refused(tmp_path, "--x", "1") == "error: unknown option '--x'"
    assert refused(tmp_path, "--resume", "abc") == "No conversation found with session ID: abc"
    assert "argument 'no' is invalid" in refused(tmp_path, "--permission-mode", "no")
    assert "argument missing" in refused(tmp_path, "--model")
    folder = tmp_path / ".claude" / "projects" / re.sub("[/_.]", "-", str(tmp_path))
    folder.mkdir(parents=True)
    (folder / "abc.jsonl").touch()
    assert "already in use" in refused(tmp_path, "--session-id", "abc")
    (tmp_path / "bad.json").write_text("{")
    assert refused(tmp_path, "--settings", str(tmp_path / "bad.json")).startswith("Settings Error")


def test_it_says_what_it_cannot_play(tmp_path: Path) -> None:
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ sya = 'x' }, { exit = -1 }]")
    problem = refused(tmp_path)
    assert (
        "scenario.toml: stages.backend.steps[0]: no known step: 'sya'; did you mean 'say'? (and 1 more)"
        in problem
    )
    assert "DODO_CLAUDE_STAGE is not set" in refused(tmp_path, DODO_CLAUDE_STAGE="")
    assert "DODO_CLAUDE_SCENARIO is not set" in refused(tmp_path, DODO_CLAUDE_SCENARIO="")
    (tmp_path / "scenario.toml").write_text("[stages.backend]\nsteps = [{ say = 'x' }]")
    assert "no entry for the stage 'ui'; add [stages.ui] (there: backend)" in refused(
        tmp_path, DODO_CLAUDE_STAGE="ui"
    )
    assert "it needs a terminal" in refused(tmp_path)


def test_arguments() -> None:
    options, prompt = read_arguments(
        ["--allowedTools", "A", "B(x *)", "--strict-mcp-config", "--model=m", "--", "-p"]
    )
    assert options == {"--allowedTools": ["A", "B(x *)"], "--strict-mcp-config": [], "--model": ["m"]}
    assert prompt == "-p"
    # A variadic option swallows a prompt that no `--` sets apart.
    assert read_arguments(["--allowedTools", "A", "prompt"])[1] is None
    assert read_arguments(["prompt", "--model", "m"])[1] == "prompt"
