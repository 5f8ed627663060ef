"""Stages and configurations, made without a file."""

from __future__ import annotations

from pathlib import Path

from dodo_claude.config.records import AgentProfile, Config, Stage

CLAUDE = AgentProfile("claude", "claude", ("claude",))


STAGE = Stage(
    name="api", group=None, item=None, prompt="Write.", prompt_file=None, command=None, file_dep=("in",),
    prompt_files=(), targets=("a",), after=(), agent=CLAUDE, session="w-api", check=None, repairs=1, timeout=20.0, retries=0,
    env=(), cwd=".", keep="on-failure", allow_unchanged=False, line=1,
)  # fmt: skip


def config_of(root: Path, *stages: Stage) -> Config:
    return Config(root / "orchestrate.toml", root, "test", 4, "private", stages, ())
