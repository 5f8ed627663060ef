"""Where a command is run: the project around it, its stages by name, its tmux. For the commands of `dodo-claude`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dodo_claude.machine import files
from dodo_claude.text.clean import clean_text, one_line
from dodo_claude.text.errors import DodoClaudeError

if TYPE_CHECKING:
    from dodo_claude.config.records import Config
    from dodo_claude.machine.tmux import Tmux
    from dodo_claude.report.report import RunReport
    from dodo_claude.report.runs import Span

FILE = "orchestrate.toml"
# What `attach`, `capture` and `stop` call the session of a detached run.
RUN = "run"


@contextmanager
def faults() -> Iterator[None]:
    """A user's fault is one line and exit status 2; ours keeps its traceback."""
    try:
        yield
    except DodoClaudeError as error:
        say(str(error), err=True)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        # A file that is not as it was a moment ago: somebody removed, moved or replaced it, or what it lies in.
        say(one_line(files.disk_problem(error, "")), err=True)
        sys.exit(2)


def say(text: str, *, nl: bool = True, err: bool = False) -> None:
    """Print `text`: the one way of our commands to a person, so that none of them shows a stranger's text raw.

    JSON has escapes, which stay.
    """
    import click

    click.echo(clean_text(text), nl=nl, err=err)


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
    from dodo_claude.run.run import open_tmux

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
    from dodo_claude.report import history, runs
    from dodo_claude.text.redact import Redactor

    root = find_root()
    state = root / ".orchestrate"
    span = runs.find(state, run_id)
    told = runs.saved(state, span.id)
    if told is None:  # it has not ended, or could not write it
        holder = detached.holder(root) or ""
        live = bool(holder) and holder.startswith(f"pid {span.id.rpartition('-')[2]} ")
        span = replace(span, live=live, holder=holder, chosen=runs.chosen(state, span.id))
        told = history.report(config or find_config(), span, redact=Redactor(os.environ))
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
    there = tmux.sessions().get(session)
    if there is None or not there[1]:
        raise DodoClaudeError(
            f"'{name}': has no session in tmux now (dodo-claude log NAME tells how a stage went)"
        )
    return tmux, there[0]


def complete_stage(context: object, parameter: object, incomplete: str) -> list[str]:
    """For a shell's completion: the stages whose names begin so. Never fails, and offers no name that a configuration does not
    take: what it offers is put into a shell's line as it is."""
    import contextlib
    from urllib.parse import unquote

    from dodo_claude.config import shape
    from dodo_claude.config.documents import MAX_FILE
    from dodo_claude.config.sources import UnreadableError, read_text

    names: dict[str, None] = {}
    with contextlib.suppress(Exception):
        root = find_root()
        with contextlib.suppress(UnreadableError, ValueError):
            stages = shape.loads(read_text(root / FILE, MAX_FILE)).get("stages", {})
            for name, keys in stages.items():
                items = keys.get("foreach") if isinstance(keys, dict) else None
                if isinstance(items, list):
                    names |= dict.fromkeys(f"{name}:{item}" for item in items if isinstance(item, str))
                elif items is None and "orchestrate" not in keys:
                    names[name] = None
        # Those that only a run knows: of files, of lines, of nested orchestrations.
        with contextlib.suppress(OSError):
            for folder in sorted(files.names(root / ".orchestrate" / "stages")):
                names[unquote(folder)] = None
        from dodo_claude.config.schema import is_stage_name

        return [name for name in names if name.startswith(incomplete) and is_stage_name(name)]
    return []
