"""What is looked at before anybody starts: whether workers can work here, and whether they may."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from dodo_claude.agents.claude import clients, trust
from dodo_claude.agents.table import agent_of
from dodo_claude.config.records import Config, Stage
from dodo_claude.machine import files, watch
from dodo_claude.machine.files import disk_problem, make_state_dir, write_atomic
from dodo_claude.machine.ours import STATE_DIR, NotOursError
from dodo_claude.run import approval, programs
from dodo_claude.text.errors import DodoClaudeError

# In the state folder; sqlite has the last ones beside its file.
KEPT_OPEN = ("run.lock", "state.db", "state.db-wal", "state.db-shm", "state.db-journal")


class PreflightError(DodoClaudeError):
    """Something that every worker needs is missing. Its text has a line for each problem."""


def look(config: Config, stages: list[Stage], environ: Mapping[str, str]) -> None:
    """May workers of `stages` start, and can they? Raises `DodoClaudeError`."""
    later = [foreach.template for foreach in config.late]
    problems = lacking(config, [*stages, *later], environ)
    if problems:
        raise PreflightError("\n".join(problems))
    approval.require(config, environ)
    # Only now: to ask a program of its version is to run it.
    problems = clients.too_old([*stages, *later], environ)
    if problems:
        raise PreflightError("\n".join(problems))


def lacking(config: Config, stages: list[Stage], environ: Mapping[str, str]) -> list[str]:
    """What every worker of `stages` needs and what of it is missing: fact and remedy, a line each."""
    problems: list[str] = []
    missing = set()
    profiles = {stage.agent.full_name: stage.agent for stage in stages if stage.agent is not None}
    if profiles:
        from dodo_claude.machine import server

        try:
            server.check_version()
        except DodoClaudeError as error:
            problems.append(str(error))
    for profile in profiles.values():
        command = profile.command[0] if profile.command else None
        if command is not None and shutil.which(command, path=environ.get("PATH")) is None:
            hint = (
                "npm install -g @anthropic-ai/claude-code, or --agent scripted"
                if agent_of(profile).can.setup
                else ""
            )
            hint = hint or f"install it, or set agents.{profile.name}.command"
            problems.append(f"agent '{profile.name}': '{command}' not found on PATH ({hint})")
            missing.add(profile.full_name)
        elif agent_of(profile).can.scenario:
            scenario = config.root / (profile.scenario or "scenario.toml")
            if not scenario.is_file():
                problems.append(
                    f"agent '{profile.name}': {profile.scenario} not found beside {config.path.name}; "
                    "the scripted agent plays what that file says (write it, or use another agent)"
                )
    ready = [stage for stage in stages if stage.agent is not None and agent_of(stage.agent).can.setup
             and stage.agent.full_name not in missing]  # fmt: skip
    if ready:
        problems += trust.problems(trust.folders(config, ready), environ)
        problems += clients.settings_problems(config, ready, environ)
    problems += map(str, programs.problems(config, stages, environ))
    problems += unwritable(config)
    return problems


def unwritable(config: Config) -> list[str]:
    """Why a run could not write down here what it does."""
    try:
        probe = make_state_dir(config.root) / f".probe-{os.getpid()}"
        write_atomic(probe, "x")
        files.remove(probe)
        watch.runtime_dir(config.root)
    except OSError as error:
        return [disk_problem(error, config.root)]
    return []


def closed(config: Config) -> list[str]:
    """Of the files that a run keeps open those that it could not open, and why. For nobody who has them open: whoever closes
    a file lets go of its process's locks on it, sqlite's, too."""
    problems = []
    for name in KEPT_OPEN:
        try:
            os.close(files.open_file(config.root / STATE_DIR / name, os.O_RDWR))
        except FileNotFoundError:
            continue  # it is made
        except NotOursError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(disk_problem(error, config.root))
    return problems
