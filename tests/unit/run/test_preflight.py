"""What is looked at before any worker starts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dodo_claude.config.records import AgentProfile, Stage
from dodo_claude.machine.ours import NotOursError
from dodo_claude.run.preflight import PreflightError, lacking
from dodo_claude.run.run import Run
from tests.samples.stages import STAGE, config_of

SCRIPTED = AgentProfile("scripted", "scripted", scenario="scenario.toml")


def look(root: Path, environ: dict[str, str], *stages: Stage) -> list[str]:
    return lacking(config_of(root, *stages), list(stages), environ)


def test_all_is_well(root: Path, environ: dict[str, str]) -> None:
    (root / "scenario.toml").write_text("")
    assert (
        look(root, environ, STAGE, replace(STAGE, agent=SCRIPTED), replace(STAGE, agent=None, command="true"))
        == []
    )
    assert os.listdir(root / ".orchestrate") == [".gitignore"]


def test_no_client(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin/claude").chmod(0o644)
    mine = AgentProfile("mine", "command", ("my-agent", "x"))
    assert look(root, environ, STAGE, STAGE, replace(STAGE, agent=mine)) == [
        "agent 'claude': 'claude' not found on PATH (npm install -g @anthropic-ai/claude-code, or --agent scripted)",
        "agent 'mine': 'my-agent' not found on PATH (install it, or set agents.mine.command)",
    ]


def test_no_trust(root: Path, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / ".claude.json").write_text('{"hasCompletedOnboarding": true}')
    (problem,) = look(root, environ, STAGE)
    assert problem.startswith(f"claude: does not trust {root} ")


def test_no_scenario(root: Path, environ: dict[str, str]) -> None:
    assert look(root, environ, replace(STAGE, agent=SCRIPTED)) == [
        "agent 'scripted': scenario.toml not found beside orchestrate.toml; the scripted agent plays what that file "
        "says (write it, or use another agent)"
    ]


def test_no_tmux_is_no_matter_for_commands(
    root: Path, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (problem,) = look(root, environ, STAGE)
    assert problem.startswith("tmux: not found on PATH; tmux 3.2 or newer is needed")
    assert look(root, environ, replace(STAGE, agent=None, command="true")) == []


def test_nowhere_to_write(root: Path, environ: dict[str, str], runtime: Path) -> None:
    (runtime / "dodo-claude").symlink_to(root)
    (problem,) = look(root, environ, STAGE)
    assert problem == f"{runtime}/dodo-claude: must be a folder of yours with mode 0700 (remove it)"
    (root / ".orchestrate").rename(root / "old")
    (root / ".orchestrate").write_text("")
    with pytest.raises(NotOursError, match=r"\.orchestrate: is a file where a folder of ours belongs"):
        look(root, environ, STAGE)


def test_start_says_all_at_once_and_writes_no_plan(root: Path, tmp_path: Path) -> None:
    run = Run(config_of(root, STAGE), {"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path)})
    with pytest.raises(PreflightError, match="'claude' not found"):
        run.start([STAGE])
    assert not (root / ".orchestrate/runs").exists()
    run.close()
