"""Where a command is run: the project around it, its stages by name, its tmux. For the commands of `dodo-claude`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.text.errors import DodoClaudeError
from dodo_claude.text.redact import Redactor

if TYPE_CHECKING:
    from dodo_claude.config.records import Config
    from dodo_claude.machine.tmux import Tmux
    from dodo_claude.report.record import RunReport
    from dodo_claude.report.runs import Span
    from dodo_claude.report.status import Status

FILE = "orchestrate.toml"
# What `attach`, `capture` and `stop` call the session of a detached run.
RUN = "run"


def here() -> Path:
    """The folder where the user is."""
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise DodoClaudeError("the folder where you are is gone (cd to the project)") from error


def find_root() -> Path:
    """The folder of the orchestrate.toml here or above; for a worker's command, that of its run."""
    given = os.environ.get("DODO_CLAUDE_ROOT")
    if given and os.environ.get("DODO_CLAUDE_STAGE"):
        return Path(given)
    start = here()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise DodoClaudeError(f"{FILE}: not found here or above (dodo-claude init writes one)")


def find_config() -> Config:
    """The configuration of the project around."""
    from dodo_claude.config.config import load_config

    return load_config(find_root() / FILE)


def project_tmux(config: Config) -> Tmux:
    """The tmux server of a project's workers."""
    from dodo_claude.run.project_tmux import open_tmux

    return open_tmux(config, os.environ)


def stage_name(config: Config, worker: str) -> str:
    """The stage that `worker` means: its own name, or its session's."""
    from difflib import get_close_matches

    for stage in config.stages:
        if worker in (stage.name, stage.session):
            return stage.name
    near = get_close_matches(worker, [stage.name for stage in config.stages], 1)
    hint = f"did you mean '{near[0]}'?" if near else "doit list shows all"
    raise DodoClaudeError(f"stage '{worker}': not found ({hint})")


def find_report(run_id: str | None = None, config: Config | None = None) -> tuple[Span, RunReport]:
    """What the last run, or that one, came to: as it was written, or else as far as it got.

    `config`: the project's, if it has been loaded already.
    """
    from dodo_claude.control import detached
    from dodo_claude.report import gather, runs
    from dodo_claude.text.redact import Redactor

    root = find_root()
    state = root / ".orchestrate"
    span = runs.find(state, run_id)
    told = runs.saved(state, span.id)
    if told is None:  # it has not ended, or could not write it
        holder = detached.holder(root) or ""
        live = bool(holder) and holder.startswith(f"pid {span.id.rpartition('-')[2]} ")
        span = replace(span, live=live, holder=holder, chosen=runs.chosen(state, span.id))
        told = gather.report(config or find_config(), span, redact=Redactor(os.environ))
    return span, told


def find_session(worker: str) -> tuple[Tmux, str]:
    """The tmux server and the session's id of a worker that is in tmux now."""
    from dodo_claude.control import detached

    config = find_config()
    session = detached.session_name(config)
    name = RUN
    if worker not in (RUN, session):
        name = stage_name(config, worker)
        session = next(stage.session for stage in config.stages if stage.name == name)
    tmux = project_tmux(config)
    there = tmux.server.sessions().get(session)
    if there is None or not there[1]:
        raise DodoClaudeError(
            f"'{name}': has no session in tmux now (dodo-claude log NAME tells how a stage went)"
        )
    return tmux, there[0]


def find_status() -> Status:
    """How the project stands in whose folder we are; DodoClaudeError where there is none."""
    from dodo_claude.control import detached
    from dodo_claude.report import status as now

    config = find_config()
    tmux = project_tmux(config)
    return now.look(
        config, detached.holder(config.root), tmux.server.living(), detached.session_name(config), Redactor(os.environ)
    )  # fmt: skip
