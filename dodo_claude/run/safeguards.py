"""What must hold before anything of a project runs, whatever its user approved: nobody else could have written its files,
and agents without permission rules have the two consents, and the place, that they need."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from dodo_claude.agents.claude import modes
from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import AgentProfile, Config
from dodo_claude.machine import ownership
from dodo_claude.run import approvable
from dodo_claude.text.clean import one_line

# The command line's consent to bypassPermissions; `--allow-bypass` sets it for one run.
ALLOW_BYPASS = "DODO_CLAUDE_ALLOW_BYPASS"
# What container engines put into their containers: Docker, Podman.
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))


def unsafe_files(config: Config) -> list[str]:
    """The files of `config` that somebody else could write, or did: a line each, with the remedy."""
    names = [config.path.name, *config.included, "dodo.py", *ownership.configuration(config.root)]
    names += [plan.file for plan in config.plans if plan.digest is not None]
    for stage in config.workers:
        names += [stage.prompt_file] if stage.prompt_file is not None else []
        if stage.agent is not None and agent_of(stage.agent).can.scenario:
            names.append(stage.agent.scenario or "scenario.toml")
    names += [item.name for item in approvable.files(config)]
    found = [ownership.fault(config.root, name) for name in dict.fromkeys(names)]
    folders = [config.root, *(config.root / name for name in map(os.path.dirname, config.included))]
    return [fault for fault in [*map(ownership.open_folder, folders), *found] if fault is not None]


def _agents(config: Config) -> dict[str, AgentProfile]:
    return {stage.agent.full_name: stage.agent for stage in config.workers if stage.agent is not None}


def bypass_problems(config: Config, environ: Mapping[str, str], marks: Iterable[Path] = CONTAINER_MARKS) -> list[str]:  # fmt: skip
    """What an agent without permission rules lacks: a line each. The key alone, which a repository brings, is not enough."""
    problems = []
    contained = any(mark.exists() for mark in marks)
    for name, agent in _agents(config).items():
        if agent.permission_mode != modes.BYPASS:
            continue
        if environ.get(ALLOW_BYPASS) != "1":
            problems.append(
                f"agents.{name}: permission_mode '{modes.BYPASS}' needs your consent for this run as well "
                f"(--allow-bypass, or {ALLOW_BYPASS}=1; better: list what the worker may do in allowed_tools)"
            )
        if not contained and not agent.sandbox:
            problems.append(
                f"agents.{name}: permission_mode '{modes.BYPASS}' needs a place where it can do no harm: this is no "
                "container (run it in one, or set sandbox = true)"
            )
    return problems


def sandbox_problems(config: Config, environ: Mapping[str, str]) -> list[str]:
    """What the client's sandbox lacks here, a line each."""
    if not sys.platform.startswith("linux"):
        return []  # macOS has its own
    problems = []
    for name, agent in _agents(config).items():
        path = environ.get("PATH", os.defpath)
        missing = [
            program for program in modes.SANDBOX_PROGRAMS if agent.sandbox and not shutil.which(program, path=path)
        ]  # fmt: skip
        if missing:
            packages = " ".join(modes.SANDBOX_PROGRAMS[program] for program in missing)
            problems.append(
                f"agents.{name}: sandbox: {' and '.join(missing)} not found on PATH (apt install {packages})"
            )
    return problems


def warn(config: Config) -> None:
    """Say on stderr, on each run, which agents work without permission rules."""
    for name, agent in _agents(config).items():
        if agent.permission_mode == modes.BYPASS:
            where = "in the client's sandbox" if agent.sandbox else "in this container"
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(
                    f"WARNING: agent '{one_line(name)}' works without permission rules, {where}\n"
                )
